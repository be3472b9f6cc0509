//! `cargo xtask bench digest`: from a plan's bytes to its delivery digest, beside pydicom reading the same file.

use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::{peers, shell};

const AIM_SECONDS: f64 = 0.005;

/// Reads each file so often, and visits every element.
const PYDICOM: &str = "
import json, statistics, sys, time
from pydicom import dcmread
for path in sys.argv[1:]:
    runs = []
    for _ in range(11):
        start = time.perf_counter()
        for element in dcmread(path, force=True).iterall():
            element.value
        runs.append(time.perf_counter() - start)
    print(json.dumps({'file': path, 'seconds': statistics.median(runs)}))
";

pub(super) fn run() -> Result<()> {
    let data = peers::data()?;
    let python = peers::interpreter();
    let plans: Vec<PathBuf> =
        std::iter::once(data.join("pydicom/rtplan.dcm")).chain(dicom(&data.join("pymedphys"))?).collect();
    shell::capture(shell::cargo().args(["build", "--release", "--package", "treatment", "--example", "bench_digest"]))?;
    let target = std::env::var_os("CARGO_TARGET_DIR").unwrap_or_else(|| "target".into());
    let ours = lines(shell::command(shell::root().join(target).join("release/examples/bench_digest")).args(&plans))?;
    let theirs = lines(shell::command(python).args(["-c", PYDICOM]).args(&plans))?;
    println!("{:<28} {:>9} {:>12} {:>12} {:>7}   aim", "", "bytes", "digest", "pydicom", "ratio");
    for (ours, theirs) in ours.iter().zip(&theirs) {
        let number = |line: &Value, field: &str| line.get(field).and_then(Value::as_f64).context("no number");
        let (seconds, read) = (number(ours, "seconds")?, number(theirs, "seconds")?);
        let file = ours.get("file").and_then(Value::as_str).unwrap_or_default();
        println!(
            "{:<28} {:>9} {:>9.3} ms {:>9.1} ms {:>7.0}   < {:.0} ms {}",
            file.rsplit('/').next().unwrap_or(file),
            number(ours, "bytes")?,
            seconds * 1e3,
            read * 1e3,
            read / seconds,
            AIM_SECONDS * 1e3,
            if seconds < AIM_SECONDS { "met" } else { "MISSED" }
        );
    }
    Ok(())
}

fn dicom(folder: &std::path::Path) -> Result<Vec<PathBuf>> {
    let entries = std::fs::read_dir(folder).with_context(|| format!("listing {}", folder.display()))?;
    let mut files: Vec<PathBuf> = entries.map(|entry| Ok(entry?.path())).collect::<Result<_>>()?;
    files.retain(|file| file.extension().is_some_and(|extension| extension == "dcm"));
    files.sort();
    if files.is_empty() {
        bail!("{} holds no plans", folder.display());
    }
    Ok(files)
}

fn lines(command: &mut std::process::Command) -> Result<Vec<Value>> {
    shell::capture(command)?.lines().map(|line| Ok(serde_json::from_str(line)?)).collect()
}

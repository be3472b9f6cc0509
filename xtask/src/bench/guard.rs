//! `cargo xtask bench guard`: a decision at 2,000 people and 2,000,000 patients, and what all that stands around a chart read costs beside
//! the vault's own fetch of the same record.

use anyhow::{Context, Result};
use serde_json::Value;

use crate::shell;

/// What a decision may take, in microseconds, at the 99th percentile.
const AIM_US: f64 = 50.0;
const DECISIONS: &str = "1000000";
const LOGINS: &str = "200";

pub(super) fn run() -> Result<()> {
    for (package, example) in [("guard", "bench_guard"), ("chart", "bench_read")] {
        shell::capture(shell::cargo().args(["build", "--release", "--package", package, "--example", example]))?;
    }
    let target = std::env::var_os("CARGO_TARGET_DIR").unwrap_or_else(|| "target".into());
    let examples = shell::root().join(target).join("release/examples");
    let number = |line: &Value, field: &str| line.get(field).and_then(Value::as_f64).context("no number");
    let kind = |line: &Value| line.get("kind").and_then(Value::as_str).unwrap_or_default().to_owned();

    let out = shell::capture(shell::command(examples.join("bench_guard")).arg(DECISIONS))?;
    println!("2,000 people, 2,000,000 patients, one thread; the log keeps nothing");
    println!("{:<28} {:>10} {:>10} {:>10}", "", "p50", "p99", "p99.9");
    for line in out.lines() {
        let line: Value = serde_json::from_str(line)?;
        let p99 = number(&line, "p99_us")?;
        let verdict = if p99 < AIM_US { "met" } else { "MISSED" };
        println!(
            "{:<28} {:>7.2} µs {:>7.2} µs {:>7.2} µs   p99 < {AIM_US} µs {verdict}",
            kind(&line),
            number(&line, "p50_us")?,
            p99,
            number(&line, "p999_us")?
        );
    }

    let dir = shell::root().join("target/bench/guard");
    if dir.exists() {
        std::fs::remove_dir_all(&dir).with_context(|| format!("clearing {}", dir.display()))?;
    }
    std::fs::create_dir_all(&dir)?;
    let out = shell::capture(shell::command(examples.join("bench_read")).arg(&dir).arg(LOGINS));
    let _ = std::fs::remove_dir_all(&dir);
    let lines = out?.lines().map(serde_json::from_str).collect::<Result<Vec<Value>, _>>()?;
    let alone = lines.iter().find(|line| kind(line) == "fetch alone").context("no fetch")?;
    let (half, most) = (number(alone, "p50_us")?, number(alone, "p99_us")?);
    println!("a chart read on 14 folders, its key in memory: asked for, related, counted, opened, noted durably");
    for line in &lines {
        let (p50, p99) = (number(line, "p50_us")?, number(line, "p99_us")?);
        println!(
            "{:<28} {p50:>7.0} µs {p99:>7.0} µs   {:>5.1} and {:>5.1} times the fetch",
            kind(line),
            p50 / half,
            p99 / most
        );
    }
    Ok(())
}

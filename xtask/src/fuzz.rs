//! `cargo xtask fuzz TARGET`: cargo-fuzz over fuzz/, on the stable toolchain too.

use anyhow::{Result, bail};

use crate::shell;

pub(crate) fn run(arguments: &[&str]) -> Result<()> {
    let (target, seconds) = match arguments {
        [target] => (target, "60"),
        [target, "--seconds", seconds] => (target, *seconds),
        _ => bail!("fuzz TARGET [--seconds N]; the targets: {}", targets()?.join(", ")),
    };
    if seconds.parse::<u32>().is_err() {
        bail!("--seconds takes a whole number, here is {seconds}");
    }
    if !targets()?.iter().any(|known| known == target) {
        bail!("no target {target}; there are: {}", targets()?.join(", "));
    }
    if !shell::installed("cargo-fuzz") {
        shell::run(shell::cargo().args(["install", "cargo-fuzz", "--locked"]))?;
    }
    // Inputs that libFuzzer found go to the first folder; real files, where fetched, are where it starts from.
    let corpus = shell::root().join("fuzz/corpus").join(target);
    std::fs::create_dir_all(&corpus)?;
    let seeds = ["pydicom", "pymedphys"].map(|folder| shell::root().join("target/peers/data").join(folder));
    let seeded = ["dicom_scan", "plan_digest"].contains(target);
    // Its instrumentation is an unstable flag of rustc; the variable lets a stable one take it.
    shell::run(
        shell::cargo()
            .env("RUSTC_BOOTSTRAP", "1")
            .args(["fuzz", "run", target])
            .arg(corpus)
            .args(seeds.iter().filter(|folder| seeded && folder.is_dir()))
            .args(["--", &format!("-max_total_time={seconds}"), "-timeout=10", "-rss_limit_mb=2048"]),
    )
}

fn targets() -> Result<Vec<String>> {
    let mut names = Vec::new();
    for file in std::fs::read_dir(shell::root().join("fuzz/fuzz_targets"))? {
        let path = file?.path();
        if let Some(name) = path.file_stem().and_then(|name| name.to_str()) {
            names.push(name.to_owned());
        }
    }
    names.sort();
    Ok(names)
}

//! `cargo xtask bench keys`: opening keys through fourteen holders over loopback, what the proof and the meter cost, and
//! registering patients.

use anyhow::{Context, Result};
use serde_json::Value;

use crate::shell;

/// What metering may add to the 99th percentile.
const AIM_METERING: f64 = 0.02;
/// In one of a hundred rounds: more in all than 10,000 proofs within some minutes a holder takes from nobody.
const OPENS: &str = "60";
const THREADS: &str = "4";
const PATIENTS: &str = "1000000";

pub(super) fn run() -> Result<()> {
    shell::capture(shell::cargo().args(["build", "--release", "--package", "holder", "--example", "bench_keys"]))?;
    let target = std::env::var_os("CARGO_TARGET_DIR").unwrap_or_else(|| "target".into());
    let program = shell::root().join(target).join("release/examples/bench_keys");
    let dir = shell::root().join("target/bench/keys");
    if dir.exists() {
        std::fs::remove_dir_all(&dir).with_context(|| format!("clearing {}", dir.display()))?;
    }
    let out = shell::capture(shell::command(program).arg(&dir).args([OPENS, THREADS, PATIENTS]));
    let _ = std::fs::remove_dir_all(&dir);
    let lines = out?.lines().map(serde_json::from_str).collect::<Result<Vec<Value>, _>>()?;
    let number = |line: &Value, field: &str| line.get(field).and_then(Value::as_f64).context("no number");
    println!("14 holders over loopback on this machine, {THREADS} callers, no key remembered");
    println!("metered: as it is; proven: the person's proof, no meter; again: the same as proven; bare: neither");
    println!("{:<24} {:>9} {:>9} {:>9} {:>9}", "", "opens", "per s", "p50", "p99");
    let (mut metered, mut proven): (Option<(f64, f64)>, Option<f64>) = (None, None);
    for line in &lines {
        if line.get("what").and_then(Value::as_str) == Some("register") {
            let (patients, seconds) = (number(line, "patients")?, number(line, "seconds")?);
            println!(
                "registering {patients} patients: {seconds:.1} s, {:.0} a second, {:.2} GB of key records; no holder is asked",
                patients / seconds,
                number(line, "bytes")? / 1e9
            );
            continue;
        }
        let kind = line.get("kind").and_then(Value::as_str).unwrap_or_default();
        let (t, p99) = (number(line, "t")?, number(line, "p99")?);
        println!(
            "t = {t:<3} {kind:<16} {:>9} {:>9.0} {:>6.2} ms {:>6.2} ms",
            number(line, "opens")?,
            number(line, "per_second")?,
            number(line, "p50")? * 1e3,
            p99 * 1e3
        );
        match kind {
            "metered" => metered = Some((number(line, "p50")?, p99)),
            "proven" => {
                let (p50, with) = metered.take().context("a line without the metered one before it")?;
                let (half, more) = (p50 / number(line, "p50")? - 1.0, with / p99 - 1.0);
                let verdict = if more <= AIM_METERING { "met" } else { "MISSED" };
                println!(
                    "        the meter adds {:.1} % to p50, {:.1} % to p99   ≤ {:.0} % {verdict}",
                    half * 1e2,
                    more * 1e2,
                    AIM_METERING * 1e2
                );
                proven = Some(p99);
            }
            "again" => {
                let other = proven.take().context("a line without the proven one before it")?;
                println!("        two that are the same differ by {:.1} % of p99", (p99 / other - 1.0).abs() * 1e2);
            }
            _ => {}
        }
    }
    Ok(())
}

//! `cargo xtask test`: everything that must hold, in one command, on a fresh machine.

use std::io::{BufRead, BufReader};
use std::process::Stdio;

use anyhow::{Context, Result, bail};

use crate::report::{Counted, Report};
use crate::{layers, peers, shell, tidy};

pub(crate) fn run() -> Result<()> {
    let mut report = Report::default();
    report.step("format", || shell::run(shell::cargo().args(["fmt", "--all", "--check"])));
    report.step("layers", layers::run);
    report.step("tidy", tidy::run);
    report.step("lints", || {
        shell::run(shell::cargo().args(["clippy", "--workspace", "--all-targets", "--quiet", "--", "-D", "warnings"]))
    });
    // Before the tests: with the object store installed, its tests run among the others instead of being skipped.
    let ready = peers::install(&mut report);
    report.counted("cargo test", || cargo_test(ready.is_some()));
    if let Some(ready) = ready {
        peers::talk(&mut report, ready);
    }
    report.close()
}

/// Plain `cargo test`, shown as it runs; its own closing lines are what is counted.
fn cargo_test(with_store: bool) -> Result<Counted> {
    let mut command = shell::cargo();
    if with_store {
        command.env(peers::STORE, peers::store());
    }
    // Many wait for their own servers: two at once leave the processors idle.
    command.env("RUST_TEST_THREADS", "3");
    let mut child = command.args(["test", "--workspace", "--no-fail-fast"]).stdout(Stdio::piped()).spawn()?;
    let output = child.stdout.take().context("cargo test has no output")?;
    let mut counted = Counted::default();
    for line in BufReader::new(output).lines() {
        let line = line?;
        println!("{line}");
        if let Some((passed, _)) = results(&line) {
            counted.passed += passed;
        }
        if let Some(name) = line.strip_prefix("test ").and_then(|rest| rest.strip_suffix(" ... FAILED")) {
            counted.failures.push(name.to_owned());
        }
    }
    let status = child.wait()?;
    if !status.success() && counted.failures.is_empty() {
        bail!("cargo test: {status}");
    }
    Ok(counted)
}

/// Passed and failed, of a line `test result: ok. 3 passed; 0 failed; …`.
fn results(line: &str) -> Option<(u64, u64)> {
    let counts = line.strip_prefix("test result: ")?.split_once(". ")?.1;
    let mut numbers = counts.split("; ").filter_map(|part| part.split(' ').next()?.parse().ok());
    Some((numbers.next()?, numbers.next()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cargo_tests_closing_line_is_counted() {
        let line = "test result: FAILED. 12 passed; 3 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.01s";
        assert_eq!(results(line), Some((12, 3)));
        assert_eq!(results("running 15 tests"), None);
    }
}

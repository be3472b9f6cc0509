//! Our side: crates/vault/examples/bench_vault.rs in a process of its own, built for release, asked line by line.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{ChildStdin, ChildStdout, Stdio};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::Store;
use crate::shell::{self, Guarded};

pub(super) struct Driver {
    ask: ChildStdin,
    answers: BufReader<ChildStdout>,
    seed: u64,
    process: Guarded,
}

pub(super) struct LimitSeconds {
    pub(super) aes_gcm: f64,
    pub(super) reed_solomon: f64,
    pub(super) write: f64,
}

impl Driver {
    /// Builds the driver, and founds a vault of fourteen folders in `dir`.
    pub(super) fn start(dir: &Path) -> Result<Self> {
        eprintln!("building the vault for release");
        // Not shown: with --json, standard output is the report's alone.
        shell::capture(shell::cargo().args(["build", "--release", "--package", "vault", "--example", "bench_vault"]))?;
        fs::create_dir_all(dir)?;
        let target = std::env::var_os("CARGO_TARGET_DIR").unwrap_or_else(|| "target".into());
        let program = shell::root().join(target).join("release/examples/bench_vault");
        let mut command = shell::command(program);
        command.arg(dir).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut process = Guarded(command.spawn().context("starting the vault's driver")?);
        let ask = process.0.stdin.take().context("the driver's input")?;
        let answers = BufReader::new(process.0.stdout.take().context("the driver's output")?);
        Ok(Self { ask, answers, seed: 0, process })
    }

    /// What the machine itself needs for `bytes`.
    pub(super) fn limits(&mut self, bytes: usize) -> Result<LimitSeconds> {
        let answer = self.question(&format!("limits {bytes}"))?;
        Ok(LimitSeconds {
            aes_gcm: number(&answer, "aes_gcm_seconds")?,
            reed_solomon: number(&answer, "reed_solomon_seconds")?,
            write: number(&answer, "write_seconds")?,
        })
    }

    /// Fetches once more what [`Store::large`] kept from this seed: seconds.
    pub(super) fn fetch_again(&mut self, seed: u64) -> Result<f64> {
        number(&self.question(&format!("again {seed}"))?, "fetch_seconds")
    }

    /// What the next question's records are made from.
    pub(super) fn next_seed(&self) -> u64 {
        self.seed + 1
    }

    fn question(&mut self, question: &str) -> Result<Value> {
        writeln!(self.ask, "{question}").context("the vault's driver has ended")?;
        let mut answer = String::new();
        if self.answers.read_line(&mut answer)? == 0 {
            bail!("the vault's driver ended at: {question}");
        }
        serde_json::from_str(&answer).with_context(|| format!("the vault's driver answered {answer}"))
    }
}

impl Store for Driver {
    fn pause(&self, paused: bool) -> Result<()> {
        Guarded::pause([&self.process], paused)
    }

    fn large(&mut self, bytes: usize) -> Result<(f64, f64)> {
        self.small(bytes, 1, 1)
    }

    fn small(&mut self, bytes: usize, records: usize, writers: usize) -> Result<(f64, f64)> {
        self.seed += 1;
        let answer = self.question(&format!("records {bytes} {records} {writers} {}", self.seed))?;
        Ok((number(&answer, "keep_seconds")?, number(&answer, "fetch_seconds")?))
    }
}

fn number(answer: &Value, field: &str) -> Result<f64> {
    answer.get(field).and_then(Value::as_f64).with_context(|| format!("the driver's answer has no {field}: {answer}"))
}

//! What ran, what it found, how long it took; and the closing line that a machine counts.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};

/// One step of `cargo xtask test`, or one peer.
struct Step {
    name: String,
    passed: u64,
    failed: u64,
    took: Duration,
}

#[derive(Default)]
pub(crate) struct Report {
    steps: Vec<Step>,
    failures: Vec<String>,
}

/// How many checks of a step passed, and what the others said.
#[derive(Default)]
pub(crate) struct Counted {
    pub(crate) passed: u64,
    pub(crate) failures: Vec<String>,
}

impl Counted {
    /// Notes one check.
    pub(crate) fn check(&mut self, name: &str, outcome: Result<()>) {
        match outcome {
            Ok(()) => {
                println!("  ok      {name}");
                self.passed += 1;
            }
            Err(error) => {
                println!("  FAILED  {name}: {error:#}");
                self.failures.push(format!("{name}: {error:#}"));
            }
        }
    }
}

impl Report {
    /// Runs a step that either holds or doesn't.
    pub(crate) fn step(&mut self, name: &str, step: impl FnOnce() -> Result<()>) {
        self.counted(name, || {
            step()?;
            Ok(Counted { passed: 1, failures: Vec::new() })
        });
    }

    /// Runs a step of several checks. One that could not even run counts as one failure.
    pub(crate) fn counted(&mut self, name: &str, step: impl FnOnce() -> Result<Counted>) {
        println!("\n── {name}");
        let start = Instant::now();
        let counted = step().unwrap_or_else(|error| {
            println!("  FAILED  {name}: {error:#}");
            Counted { passed: 0, failures: vec![format!("{error:#}")] }
        });
        let failed = u64::try_from(counted.failures.len()).unwrap_or(u64::MAX);
        self.failures.extend(counted.failures.into_iter().map(|failure| format!("{name}: {failure}")));
        self.steps.push(Step { name: name.into(), passed: counted.passed, failed, took: start.elapsed() });
    }

    /// Prints the table, and the count alone on the last line; an error where anything failed.
    pub(crate) fn close(self) -> Result<()> {
        println!("\n{:<34} {:>7} {:>7} {:>9}", "what ran", "passed", "failed", "seconds");
        for Step { name, passed, failed, took } in &self.steps {
            println!("{name:<34} {passed:>7} {failed:>7} {:>9.1}", took.as_secs_f64());
        }
        for failure in &self.failures {
            println!("failed: {failure}");
        }
        let passed: u64 = self.steps.iter().map(|step| step.passed).sum();
        let failed: u64 = self.steps.iter().map(|step| step.failed).sum();
        println!("\n{passed} passed, {failed} failed");
        if failed > 0 || passed == 0 {
            bail!("{failed} failed");
        }
        Ok(())
    }
}

//! Running other programs: shown before they start, bounded in time where they talk to somebody, ended by id.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

/// The workspace's folder: cargo's word at run time first, since two checkouts may share one target folder.
pub(crate) fn root() -> PathBuf {
    let here = std::env::var_os("CARGO_MANIFEST_DIR").unwrap_or_else(|| env!("CARGO_MANIFEST_DIR").into());
    let here = Path::new(&here);
    here.parent().unwrap_or(here).to_path_buf()
}

/// A program of this workspace, as `cargo build` leaves it.
pub(crate) fn built(program: &str) -> PathBuf {
    let target = std::env::var_os("CARGO_TARGET_DIR").unwrap_or_else(|| "target".into());
    root().join(target).join("debug").join(program)
}

/// A command that starts in the workspace's folder.
pub(crate) fn command(program: impl AsRef<std::ffi::OsStr>) -> Command {
    let mut command = Command::new(program);
    command.current_dir(root());
    command
}

/// The cargo that started us, so that both use the same toolchain.
pub(crate) fn cargo() -> Command {
    command(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
}

/// Runs to the end with our output; a status other than 0 is an error.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    println!("\n$ {}", shown(command));
    let status = command.status().with_context(|| format!("{} does not start", shown(command)))?;
    if !status.success() {
        bail!("{}: {status}", shown(command));
    }
    Ok(())
}

/// Runs to the end and returns what it printed.
pub(crate) fn capture(command: &mut Command) -> Result<String> {
    let output = command.output().with_context(|| format!("{} does not start", shown(command)))?;
    if !output.status.success() {
        bail!("{}: {}\n{}", shown(command), output.status, String::from_utf8_lossy(&output.stderr));
    }
    String::from_utf8(output.stdout).with_context(|| format!("{} printed no UTF-8", shown(command)))
}

/// What a program left behind when it ended, or was ended at its deadline.
pub(crate) struct Ended {
    /// Its exit code; none where a signal or the deadline ended it.
    pub(crate) code: Option<i32>,
    /// Its standard output, then its standard error.
    pub(crate) output: String,
}

/// Runs for at most `limit`. Output goes through files: a full pipe would stop a program that nobody reads.
pub(crate) fn bounded(command: &mut Command, log: &Path, limit: Duration) -> Result<Ended> {
    let errors = log.with_extension("err");
    command.stdin(Stdio::null());
    command.stdout(std::fs::File::create(log)?).stderr(std::fs::File::create(&errors)?);
    let mut child = Guarded(command.spawn().with_context(|| format!("{} does not start", shown(command)))?);
    let deadline = Instant::now() + limit;
    let mut code = None;
    let mut late = "";
    loop {
        if let Some(status) = child.0.try_wait()? {
            code = status.code();
            break;
        }
        if Instant::now() >= deadline {
            late = "\nended: it took longer than it may";
            break;
        }
        sleep(Duration::from_millis(20));
    }
    drop(child);
    let read = |path: &Path| std::fs::read(path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    Ok(Ended { code, output: format!("{}{}{late}", read(log)?, read(&errors)?) })
}

/// A process that doesn't outlive us: killed by its id and waited for, on every way out.
pub(crate) struct Guarded(pub(crate) Child);

impl Guarded {
    /// Stops these processes where they are, or lets them go on.
    pub(crate) fn pause<'a>(processes: impl IntoIterator<Item = &'a Self>, paused: bool) -> Result<()> {
        let signal = if paused { "-STOP" } else { "-CONT" };
        let ids: Vec<String> = processes.into_iter().map(|process| process.0.id().to_string()).collect();
        capture(command("sh").args(["-c", &format!("kill {signal} {}", ids.join(" "))])).map(drop)
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        // Either fails only where the process has ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Whether `program` can be found on the path.
pub(crate) fn installed(program: &str) -> bool {
    std::env::var_os("PATH").is_some_and(|path| std::env::split_paths(&path).any(|dir| dir.join(program).is_file()))
}

fn shown(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
}

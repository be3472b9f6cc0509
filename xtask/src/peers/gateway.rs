//! The gateway under test: a process of the binary that ships, on loopback, with a folder of its own.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::shell::{self, Guarded};

/// A centre of the demo's size is founded and loaded in seconds; a loaded machine gets some more.
const START_LIMIT: Duration = Duration::from_secs(240);

pub(crate) struct Gateway {
    process: Guarded,
    ready: Value,
    ready_file: PathBuf,
    data: PathBuf,
    /// Where a peer may listen for event reports.
    events_port: u16,
}

/// The command line under test.
pub(crate) fn holdfast() -> Command {
    shell::command(shell::built("holdfast"))
}

impl Gateway {
    /// Starts the synthetic centre on `data`, or starts it again where it stands there already.
    pub(crate) fn demo(data: &Path) -> Result<Self> {
        Self::demo_with(data, &[])
    }

    /// The same, with settings from the environment.
    pub(crate) fn demo_with(data: &Path, settings: &[(&str, String)]) -> Result<Self> {
        let ready_file = data.with_extension("ready.json");
        let log = data.with_extension("log");
        if ready_file.exists() {
            std::fs::remove_file(&ready_file)?;
        }
        let mut command = holdfast();
        command.args(["serve", "--demo"]);
        command.envs(settings.iter().map(|(name, value)| (name, value)));
        // Free now: whoever listens there later is a peer of ours.
        let events_port = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let known = |title: &str, more: &str| format!("{{ title = '{title}', network = '127.0.0.0/8', {more} }}");
        let peers = [
            known("REQUESTER", &format!("events = '127.0.0.1:{events_port}'")),
            known("OTHERMACHINE", "machine = 'LINAC-99'"),
            known("*", ""),
        ];
        command.env("HOLDFAST__DIMSE__PEERS", format!("[{}]", peers.join(", ")));
        let folder = data.with_extension("console");
        std::fs::create_dir_all(&folder)?;
        command.env("HOLDFAST__GATE_FOLDERS", format!("[{{ folder = '{}', title = 'CONSOLE' }}]", folder.display()));
        for listener in ["--http", "--dimse", "--operations"] {
            command.args([listener, "127.0.0.1:0"]);
        }
        command.arg("--data").arg(data).arg("--ready-file").arg(&ready_file);
        command.stdin(Stdio::null()).stdout(File::create(&log)?).stderr(File::options().append(true).open(&log)?);
        let mut process = Guarded(command.spawn().context("the gateway does not start")?);
        let deadline = Instant::now() + START_LIMIT;
        loop {
            let written = std::fs::read(&ready_file).ok();
            if let Some(ready) = written.and_then(|bytes| serde_json::from_slice(&bytes).ok()) {
                return Ok(Self { process, ready, ready_file, data: data.to_path_buf(), events_port });
            }
            let ended = process.0.try_wait()?;
            if ended.is_some() || Instant::now() > deadline {
                let said = std::fs::read_to_string(&log).unwrap_or_default();
                bail!("the gateway is not ready ({}):\n{said}", ended.map_or("too slow".into(), |s| s.to_string()));
            }
            sleep(Duration::from_millis(50));
        }
    }

    pub(crate) fn ready_file(&self) -> &Path {
        &self.ready_file
    }

    pub(crate) fn data(&self) -> &Path {
        &self.data
    }

    /// Watched: what is written there, the gate answers.
    pub(crate) fn gate_folder(&self) -> PathBuf {
        self.data.with_extension("console")
    }

    pub(crate) fn events_port(&self) -> u16 {
        self.events_port
    }

    /// One of the texts of the ready file, by JSON pointer.
    pub(crate) fn ready(&self, pointer: &str) -> Result<&str> {
        let found = self.ready.pointer(pointer).and_then(Value::as_str);
        found.with_context(|| format!("the ready file has no {pointer}"))
    }

    pub(crate) fn token(&self, role: &str) -> Result<&str> {
        self.ready(&format!("/tokens/{role}"))
    }

    /// Host and port of the DICOM listener.
    pub(crate) fn dimse(&self) -> Result<(&str, &str)> {
        self.ready("/dimse")?.rsplit_once(':').context("/dimse is no host:port")
    }

    /// SIGKILL, now: nothing is flushed, nothing is said.
    pub(crate) fn kill(mut self) -> Result<()> {
        self.process.0.kill()?;
        self.process.0.wait()?;
        Ok(())
    }
}

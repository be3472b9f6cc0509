//! What a holder refused and noticed, a line each, for whoever sits at its console after an attack.
//!
//! A line has a time, a code, and a text without a patient's name or number. Two files, so that a flood fills no disk:
//! when one is full it takes the other's place, and what is dropped is the oldest.

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use kit::Timestamp;

const FILE: &str = "journal.log";
const BEFORE: &str = "journal.log.1";
const FILE_BYTES_MAX: u64 = 32 * 1024 * 1024;
const LINE_CHARS_MAX: usize = 512;

struct State {
    file: File,
    len: u64,
    /// A full disk took a part of the last line.
    is_torn: bool,
}

pub(crate) struct Journal {
    dir: PathBuf,
    last: Timestamp,
    state: Mutex<State>,
}

impl Journal {
    pub(crate) fn open(dir: &Path) -> io::Result<Self> {
        let (mut file, len) = open(dir)?;
        let (last, is_torn) = last_time(&mut file, len)?;
        Ok(Self { dir: dir.to_owned(), last, state: Mutex::new(State { file, len, is_torn }) })
    }

    /// When the last line was written that stood here at the start.
    pub(crate) fn last_time(&self) -> Timestamp {
        self.last
    }

    /// A disk that takes no line is said on standard error; a refusal stays a refusal.
    pub(crate) fn note(&self, at: Timestamp, code: &str, text: &str) {
        let text: String = text.chars().filter(|c| !c.is_control()).take(LINE_CHARS_MAX).collect();
        let line = format!("{} {at} {code} {text}\n", at.0);
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if let Err(error) = self.write(&mut state, line.as_bytes()) {
            tracing::error!(%error, "the journal takes no line");
        }
    }

    fn write(&self, state: &mut State, line: &[u8]) -> io::Result<()> {
        if state.len + line.len() as u64 > FILE_BYTES_MAX {
            match fs::rename(self.dir.join(FILE), self.dir.join(BEFORE)) {
                // Put aside already, by a try that a full disk ended.
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
            (state.file, state.len) = open(&self.dir)?;
        }
        // What was written of the line before must not become the beginning of this one: it begins with a time.
        if state.is_torn {
            state.file.write_all(b"\n")?;
            state.len += 1;
        }
        state.is_torn = true;
        state.file.write_all(line)?;
        state.is_torn = false;
        state.len += line.len() as u64;
        Ok(())
    }
}

fn open(dir: &Path) -> io::Result<(File, u64)> {
    let file = File::options().read(true).append(true).create(true).mode(0o600).open(dir.join(FILE))?;
    let len = file.metadata()?.len();
    Ok((file, len))
}

/// The newest line's time, and whether the file ends within a line. A line says its time twice, so that half a number is
/// none.
fn last_time(file: &mut File, len: u64) -> io::Result<(Timestamp, bool)> {
    let mut tail = Vec::new();
    file.seek(SeekFrom::Start(len.saturating_sub(8 * LINE_CHARS_MAX as u64)))?;
    file.read_to_end(&mut tail)?;
    let is_torn = tail.last().is_some_and(|byte| *byte != b'\n');
    let tail = String::from_utf8_lossy(&tail);
    let time = |line: &str| {
        let (ms, rest) = line.split_once(' ')?;
        let at = Timestamp(ms.parse().ok()?);
        rest.starts_with(&format!("{at} ")).then_some(at)
    };
    Ok((tail.lines().rev().find_map(time).unwrap_or_default(), is_torn))
}

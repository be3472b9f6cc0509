//! What a holder refused and noticed, a line each, for whoever sits at its console after an attack.
//!
//! A line has a time, a code, and a text without a patient's name or number. Two files, so that a flood fills no disk:
//! when one is full it takes the other's place, and what is dropped is the oldest. What anybody may bring about as often as he
//! likes has so many lines an hour, and a count of the others: it pushes out nothing that tells of a theft.

use std::collections::HashMap;
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
/// Lines of one code in one hour, of what may come as often as somebody likes.
const OFTEN_MAX: u64 = 100;
const HOUR_MS: i64 = 3_600_000;

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
    /// By code: the hour, and how many came in it.
    often: Mutex<HashMap<String, (i64, u64)>>,
}

impl Journal {
    pub(crate) fn open(dir: &Path) -> io::Result<Self> {
        let (mut file, len) = open(dir)?;
        let (last, is_torn) = last_time(&mut file, len)?;
        Ok(Self { dir: dir.to_owned(), last, state: Mutex::new(State { file, len, is_torn }), often: Mutex::default() })
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

    /// As [`Self::note`], of what may come as often as somebody likes: refusals, and what other servers say.
    pub(crate) fn note_often(&self, at: Timestamp, code: &str, text: &str) {
        let hour = at.0.div_euclid(HOUR_MS);
        let (count, before) = {
            let mut often = self.often.lock().unwrap_or_else(PoisonError::into_inner);
            let (of, count) = often.entry(code.to_owned()).or_insert((hour, 0));
            let before = if *of == hour { 0 } else { std::mem::take(count).saturating_sub(OFTEN_MAX) };
            (*of, *count) = (hour, *count + 1);
            (*count, before)
        };
        if before > 0 {
            self.note(at, code, &format!("{before} more of these came in the hour before"));
        }
        match count {
            ..OFTEN_MAX => self.note(at, code, text),
            OFTEN_MAX => {
                self.note(at, code, &format!("{text}; more of these in this hour are counted, and not written"))
            }
            _ => {}
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_pushes_out_nothing_else() {
        let dir = tempfile::TempDir::new().unwrap();
        let journal = Journal::open(dir.path()).unwrap();
        let at = |hours: i64| Timestamp(hours * HOUR_MS + 5);
        journal.note(at(0), "holder.over-budget", "told");
        (0..500_000).for_each(|call| journal.note_often(at(0), "holder.no-such-call", &format!("call {call}")));
        journal.note_often(at(0), "holder.method", "another code has lines of its own");
        let text = || fs::read_to_string(dir.path().join(FILE)).unwrap();
        assert!(text().contains("told") && text().contains("lines of its own") && !dir.path().join(BEFORE).exists());
        assert_eq!(text().lines().count(), 102);
        assert!(text().contains("call 99; more of these in this hour are counted") && !text().contains("call 100"));
        journal.note_often(at(1), "holder.no-such-call", "an hour later");
        let later = text();
        let last: Vec<&str> = later.lines().rev().take(2).collect();
        assert!(
            last[0].ends_with("an hour later") && last[1].ends_with("499900 more of these came in the hour before")
        );
    }
}

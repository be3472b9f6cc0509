//! What a person has to look at: this server's own alarms, and those of others that it heard of.
//!
//! The newest are on the status page until somebody at this server's console says that she has seen them
//! (`holdfast-holder alarms --seen`). They stand in `alarms.cbor`, so that a restart takes none away; the journal has all of
//! them, the seen ones too. The daemon writes the one file, the console the other (`alarms-seen.cbor`), so that neither waits for
//! the other.

use std::collections::VecDeque;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use kit::format::{self, FormatError, Version};
use kit::{Blame, Fault, write_private};
use minicbor::{Decode, Encode};

use crate::wire::Heard;

const FILE: &str = "alarms.cbor";
const DAMAGED: &str = "alarms.cbor.damaged";
const SEEN: &str = "alarms-seen.cbor";
/// How many are kept at hand; a captured server may raise as many as it likes.
pub(crate) const ALARMS_MAX: usize = 64;
const DAY_MS: i64 = 86_400_000;
/// So many of the longest, and some.
const FILE_BYTES_MAX: usize = 512 * 1024;

/// `alarms.cbor`.
#[derive(Default, Encode, Decode)]
struct Kept {
    #[n(0)]
    version: Version<1>,
    /// Alarms ever, the newest among them.
    #[n(1)]
    count: u64,
    /// The newest, the oldest of them first.
    #[n(2)]
    newest: Vec<Heard>,
}

/// `alarms-seen.cbor`: all up to this one.
#[derive(Default, Encode, Decode)]
struct Seen {
    #[n(0)]
    version: Version<1>,
    #[n(1)]
    up_to: u64,
}

#[derive(Default)]
struct State {
    count: u64,
    newest: VecDeque<Heard>,
    is_written: bool,
}

impl From<Kept> for State {
    fn from(Kept { count, newest, .. }: Kept) -> Self {
        Self { count, newest: newest.into(), is_written: true }
    }
}

pub(crate) struct Alarms {
    dir: PathBuf,
    state: Mutex<State>,
}

fn read<T: for<'b> Decode<'b, ()> + Encode<()> + Default>(path: &Path) -> io::Result<Result<T, FormatError>> {
    match fs::read(path) {
        Ok(bytes) => Ok(format::decode("alarms", &bytes, FILE_BYTES_MAX)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Ok(T::default())),
        Err(error) => Err(error),
    }
}

impl Alarms {
    /// Those that stand in the holder's folder; and what is wrong with the file, where it can't be used.
    pub(crate) fn open(dir: &Path) -> (Self, Option<String>) {
        let (kept, wrong) = match read::<Kept>(&dir.join(FILE)) {
            Ok(Ok(kept)) => (kept, None),
            Ok(Err(error)) => (Kept::default(), Some(error.to_string())),
            Err(error) => (Kept::default(), Some(error.to_string())),
        };
        if wrong.is_some() {
            // It stays beside the new one, as evidence.
            let _ = fs::rename(dir.join(FILE), dir.join(DAMAGED));
        }
        (Self { dir: dir.to_owned(), state: Mutex::new(kept.into()) }, wrong)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Those among the newest that nobody has seen, the oldest first. A console's file that can't be read says nothing.
    pub(crate) fn unseen(&self) -> Vec<Heard> {
        let seen: Seen = read(&self.dir.join(SEEN)).ok().and_then(Result::ok).unwrap_or_default();
        let state = self.state();
        let unseen = usize::try_from(state.count.saturating_sub(seen.up_to)).unwrap_or(usize::MAX);
        state.newest.iter().skip(state.newest.len().saturating_sub(unseen)).cloned().collect()
    }

    /// The same words stand among those that nobody has seen, or are less than a day old: what goes on is no news, and what
    /// somebody has seen is said again if it goes on for longer.
    pub(crate) fn knows(&self, new: &Heard) -> bool {
        let same =
            |old: &Heard| (old.from, &old.alarm.code, &old.alarm.text) == (new.from, &new.alarm.code, &new.alarm.text);
        let is_young = |old: &Heard| new.alarm.at.0.saturating_sub(old.alarm.at.0) < DAY_MS;
        self.unseen().iter().any(same) || self.state().newest.iter().any(|old| same(old) && is_young(old))
    }

    /// This very one came before: whoever was killed before it had told everybody tells it again.
    pub(crate) fn has(&self, heard: &Heard) -> bool {
        self.state().newest.contains(heard)
    }

    pub(crate) fn remember(&self, heard: Heard) {
        let mut state = self.state();
        if state.newest.len() == ALARMS_MAX {
            state.newest.pop_front();
        }
        state.newest.push_back(heard);
        (state.count, state.is_written) = (state.count + 1, false);
    }

    /// Brings what is new to the disk. What others say, now and then: a flood of alarms is to be none of writes.
    pub(crate) fn sync(&self) -> io::Result<()> {
        let kept = {
            let mut state = self.state();
            if state.is_written {
                return Ok(());
            }
            state.is_written = true;
            Kept { version: Version, count: state.count, newest: state.newest.iter().cloned().collect() }
        };
        let written = write_private(&self.dir.join(FILE), &format::encode(&kept));
        if written.is_err() {
            self.state().is_written = false;
        }
        written
    }
}

/// At the console, with the daemon running or not: says which nobody has seen yet; with `seen`, that somebody has.
pub(crate) fn run(dir: &Path, seen: bool, say: &mut dyn FnMut(String)) -> Result<(), Fault> {
    let failed = |why: String| Fault::new(Blame::Configuration, "holder.alarms", why);
    let kept = read::<Kept>(&dir.join(FILE)).map_err(|e| failed(format!("{FILE}: {e}")))?;
    let kept = kept.map_err(|e| failed(format!("{FILE}: {e}")))?;
    let count = kept.count;
    let unseen = Alarms { dir: dir.to_owned(), state: Mutex::new(kept.into()) }.unseen();
    if unseen.is_empty() {
        say("no alarm that nobody has seen".to_owned());
    }
    for Heard { from, alarm } in &unseen {
        say(format!("{} server {from} {}: {}", alarm.at, alarm.code, alarm.text));
    }
    if seen {
        let bytes = format::encode(&Seen { version: Version, up_to: count });
        write_private(&dir.join(SEEN), &bytes).map_err(|e| failed(format!("{SEEN}: {e}")))?;
        say(format!("{} are seen: they are off the status page, and stay in the journal", unseen.len()));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use kit::Timestamp;
    use tempfile::TempDir;

    use super::*;
    use crate::wire::Alarm;

    fn alarm(number: usize) -> Heard {
        Heard { from: 3, alarm: Alarm { code: "holder.test".into(), text: format!("{number}"), at: Timestamp(7) } }
    }

    fn said(dir: &Path, seen: bool) -> Vec<String> {
        let mut lines = Vec::new();
        run(dir, seen, &mut |line| lines.push(line)).unwrap();
        lines
    }

    #[test]
    fn alarms_stand_until_somebody_has_seen_them() {
        let dir = TempDir::new().unwrap();
        let (alarms, wrong) = Alarms::open(dir.path());
        assert_eq!((alarms.unseen(), wrong), (Vec::new(), None));
        alarms.sync().unwrap();
        assert!(!dir.path().join(FILE).exists(), "nothing to write");
        (0..ALARMS_MAX + 2).for_each(|number| alarms.remember(alarm(number)));
        alarms.sync().unwrap();
        drop(alarms);
        let (alarms, wrong) = Alarms::open(dir.path());
        let newest: Vec<Heard> = (2..ALARMS_MAX + 2).map(alarm).collect();
        assert_eq!((alarms.unseen(), wrong), (newest, None), "a restart takes none away");

        assert_eq!(said(dir.path(), false).len(), ALARMS_MAX);
        assert_eq!(alarms.unseen().len(), ALARMS_MAX, "looking is not seeing");
        assert_eq!(said(dir.path(), true).len(), ALARMS_MAX + 1);
        assert_eq!(alarms.unseen(), Vec::new(), "the daemon that runs knows");
        let mut later = alarm(ALARMS_MAX);
        assert!(alarms.knows(&later), "it goes on, and somebody has seen it");
        later.alarm.at.0 += DAY_MS;
        assert!(!alarms.knows(&later), "it still goes on the next day");
        alarms.remember(later.clone());
        assert_eq!(alarms.unseen(), vec![later.clone()]);
        later.alarm.at.0 += 2 * DAY_MS;
        assert!(alarms.knows(&later), "nobody has seen the one of the day before");
        alarms.sync().unwrap();
        assert_eq!(said(dir.path(), false).len(), 1);
    }

    #[test]
    fn a_file_that_is_none_costs_no_start_and_is_said() {
        let dir = TempDir::new().unwrap();
        fs::write(dir.path().join(FILE), b"none").unwrap();
        fs::write(dir.path().join(SEEN), b"none").unwrap();
        let (alarms, wrong) = Alarms::open(dir.path());
        assert!(wrong.is_some());
        assert_eq!(fs::read(dir.path().join(DAMAGED)).unwrap(), b"none");
        alarms.remember(alarm(1));
        assert_eq!(alarms.unseen(), vec![alarm(1)]);
        alarms.sync().unwrap();
        assert_eq!(said(dir.path(), true).len(), 2);
        assert_eq!(alarms.unseen(), Vec::new());
    }
}

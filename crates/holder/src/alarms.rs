//! What a person has to look at: this server's own alarms, and those of others that it heard of.
//!
//! The newest are on the status page until somebody at this server's console says that she has seen them
//! (`holdfast-holder alarms --seen`). They stand in `alarms.cbor`, so that a restart takes none away; the journal has all of
//! them, the seen ones too. The daemon writes the one file, the console the other (`alarms-seen.cbor`), so that neither waits for
//! the other.

use std::collections::BTreeMap;
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
    /// Of each of them, the how many-th it was; without, they are the last ones.
    #[n(3)]
    numbers: Option<Vec<u64>>,
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
    /// Each with its number, from 1 on, rising.
    newest: Vec<(u64, Heard)>,
    is_written: bool,
}

impl From<Kept> for State {
    fn from(Kept { count, newest, numbers, .. }: Kept) -> Self {
        let first = count.saturating_sub(newest.len() as u64) + 1;
        let numbers = numbers.filter(|numbers| numbers.len() == newest.len());
        let numbers = numbers.unwrap_or_else(|| (first..).take(newest.len()).collect());
        Self { count, newest: numbers.into_iter().zip(newest).collect(), is_written: true }
    }
}

impl State {
    /// Makes room: whoever has the most goes first, and of his the ones with the same code, the oldest of them. So nobody who
    /// says much pushes out what the others say, this server itself among them.
    fn drop_one(&mut self) {
        let most = |counts: &BTreeMap<&str, usize>| counts.values().copied().max().unwrap_or(0);
        let mut by_sender: BTreeMap<u8, BTreeMap<&str, usize>> = BTreeMap::new();
        for (_, Heard { from, alarm }) in &self.newest {
            *by_sender.entry(*from).or_default().entry(&alarm.code).or_default() += 1;
        }
        let loudest = by_sender.iter().max_by_key(|(_, codes)| (codes.values().sum::<usize>(), most(codes)));
        let Some((from, codes)) = loudest else { return };
        let (from, most) = (*from, most(codes));
        let is_loud = |(_, heard): &(u64, Heard)| heard.from == from && codes.get(&*heard.alarm.code) == Some(&most);
        if let Some(at) = self.newest.iter().position(is_loud) {
            self.newest.remove(at);
        }
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
        state.newest.iter().filter(|(number, _)| *number > seen.up_to).map(|(_, heard)| heard.clone()).collect()
    }

    /// The same words stand among those that nobody has seen, or are less than a day old: what goes on is no news, and what
    /// somebody has seen is said again if it goes on for longer.
    pub(crate) fn knows(&self, new: &Heard) -> bool {
        let same =
            |old: &Heard| (old.from, &old.alarm.code, &old.alarm.text) == (new.from, &new.alarm.code, &new.alarm.text);
        let is_young = |old: &Heard| new.alarm.at.0.saturating_sub(old.alarm.at.0) < DAY_MS;
        self.unseen().iter().any(same) || self.state().newest.iter().any(|(_, old)| same(old) && is_young(old))
    }

    /// This very one came before: whoever was killed before it had told everybody tells it again.
    pub(crate) fn has(&self, heard: &Heard) -> bool {
        self.state().newest.iter().any(|(_, known)| known == heard)
    }

    pub(crate) fn remember(&self, heard: Heard) {
        let mut state = self.state();
        if state.newest.len() >= ALARMS_MAX {
            state.drop_one();
        }
        (state.count, state.is_written) = (state.count + 1, false);
        let number = state.count;
        state.newest.push((number, heard));
    }

    /// Brings what is new to the disk. What others say, now and then: a flood of alarms is to be none of writes.
    pub(crate) fn sync(&self) -> io::Result<()> {
        let kept = {
            let mut state = self.state();
            if state.is_written {
                return Ok(());
            }
            state.is_written = true;
            let (numbers, newest) = state.newest.iter().cloned().unzip();
            Kept { version: Version, count: state.count, newest, numbers: Some(numbers) }
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

    /// What one server says however often, under however many codes, pushes out nothing of the others.
    #[test]
    fn whoever_says_much_pushes_out_his_own() {
        let dir = TempDir::new().unwrap();
        let (alarms, _) = Alarms::open(dir.path());
        let of = |from: u8, code: &str, number: u64| {
            let alarm = Alarm { code: code.to_owned(), text: number.to_string(), at: Timestamp(7) };
            Heard { from, alarm }
        };
        let theft: Vec<Heard> = (1..=8).map(|from| of(from, "holder.over-budget", 0)).collect();
        theft.iter().cloned().for_each(|heard| alarms.remember(heard));
        (0..10_000).for_each(|number| alarms.remember(of(9, "holder.rotten", number)));
        (0..10_000).for_each(|number| alarms.remember(of(10, &format!("holder.{number}"), number)));
        let unseen = alarms.unseen();
        assert!(unseen.len() == ALARMS_MAX && theft.iter().all(|heard| unseen.contains(heard)), "{unseen:?}");
        // A server's own rotten objects push out its own news of a theft last.
        alarms.remember(of(9, "holder.over-budget", 0));
        (0..10_000).for_each(|number| alarms.remember(of(9, "holder.rotten", number)));
        assert!(alarms.unseen().contains(&of(9, "holder.over-budget", 0)));
        // The numbers stay with them: what was seen is seen, over a restart, too.
        alarms.sync().unwrap();
        said(dir.path(), true);
        alarms.remember(of(1, "holder.test", 1));
        alarms.sync().unwrap();
        let (again, wrong) = Alarms::open(dir.path());
        assert_eq!((again.unseen(), wrong), (vec![of(1, "holder.test", 1)], None));
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

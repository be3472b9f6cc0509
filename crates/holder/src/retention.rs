//! How long shards are kept: for ever, unless this server's administrator ends it, on its own console.
//!
//! A vault needs every segment for as long as it lives: keys and records that are in use stand in the oldest ones too. So
//! nothing ends by itself, and no call ends anything. What there is, is one command on this machine, with its daemon
//! stopped, for a vault that is itself at its end. It takes whole volumes, older than the policy in `holder.toml`, counts
//! and says what is lost, and wants this server's number typed. Rejected: a daemon that deletes by its clock, since whoever
//! sets clocks would then delete; and objects by their names, since what names mean is for the vault alone.
//!
//! A file's own time says what anybody wrote there. How old a volume is, is known from `retention.log`: the daemon notes when a
//! newer one was begun, by a clock that the other servers' agree with.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use kit::{Blame, Clock as _, Fault, SystemClock, Timestamp};
use location::{FolderLocation, Stats};

use crate::config::{Config, server_name};
use crate::journal::Journal;
use crate::node::MEMBERS_FILE;
use crate::watch;
use crate::wire::Members;

const FILE: &str = "retention.log";
/// Two lines for each volume of two hundred terabytes.
const FILE_BYTES_MAX: u64 = 64 * 1024 * 1024;
const DAY_MS: i64 = 86_400_000;
/// How far this machine's clock may be from the other servers', as they said last, or ahead of its own journal.
const JUMP_MS_MAX: i64 = 7 * DAY_MS;

/// What `retention.log` says.
#[derive(Default)]
pub(crate) struct Retention {
    path: PathBuf,
    /// Of its whole lines.
    len: u64,
    /// The newest volume, by when it was seen first: all before it were closed by then.
    newest: BTreeMap<u32, Timestamp>,
    /// Volumes whose retention was ended, with what stood in them.
    ended: BTreeMap<u32, Stats>,
    last: Timestamp,
}

fn failed(what: &str, why: impl std::fmt::Display) -> Fault {
    Fault::new(Blame::Configuration, "holder.retention", format!("{what}: {why}"))
}

fn refused(code: &str, why: String) -> Fault {
    Fault::new(Blame::Configuration, code, why).guidance("nothing was removed")
}

impl Retention {
    /// A last line without its end was promised to nobody; any other that doesn't fit is an error.
    pub(crate) fn open(dir: &Path) -> Result<Self, Fault> {
        let path = dir.join(FILE);
        let text = match fs::metadata(&path) {
            Ok(meta) if meta.len() > FILE_BYTES_MAX => return Err(failed(FILE, format!("{} bytes", meta.len()))),
            Ok(_) => fs::read_to_string(&path).map_err(|e| failed(FILE, e))?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
            Err(error) => return Err(failed(FILE, error)),
        };
        let mut retention = Self { path, ..Self::default() };
        for line in text.split_inclusive('\n') {
            let Some(whole) = line.strip_suffix('\n') else { break };
            retention.take(whole).ok_or_else(|| failed(FILE, format!("byte {}: damaged", retention.len)))?;
            retention.len += line.len() as u64;
        }
        Ok(retention)
    }

    fn take(&mut self, line: &str) -> Option<()> {
        let words: Vec<&str> = line.split(' ').collect();
        match words.as_slice() {
            ["newest", at, volume] => {
                let at = Timestamp(at.parse().ok()?);
                self.newest.entry(volume.parse().ok()?).or_insert(at);
                self.last = self.last.max(at);
            }
            ["ended", at, volume, objects, bytes] => {
                let stats = Stats { objects: objects.parse().ok()?, bytes: bytes.parse().ok()? };
                self.ended.insert(volume.parse().ok()?, stats);
                self.last = self.last.max(Timestamp(at.parse().ok()?));
            }
            _ => return None,
        }
        Some(())
    }

    /// Durable on return. At its place, not at the end: what a full disk cut short is written over by the next try.
    fn write(&mut self, line: &str) -> io::Result<()> {
        let file = File::options().write(true).create(true).truncate(false).mode(0o600).open(&self.path)?;
        file.write_all_at(format!("{line}\n").as_bytes(), self.len)?;
        file.sync_all()?;
        self.len += line.len() as u64 + 1;
        self.take(line);
        Ok(())
    }

    /// Notes that `volume` is the newest, where that is news.
    pub(crate) fn note(&mut self, now: Timestamp, volume: u32) -> io::Result<()> {
        if self.newest.last_key_value().is_some_and(|(known, _)| *known >= volume) {
            return Ok(());
        }
        let line = format!("newest {} {volume}", now.max(self.last).0);
        self.write(&line)
    }

    /// Since when nothing was added to a volume; `None` where it is the newest, or nobody knows.
    fn closed(&self, volume: u32) -> Option<Timestamp> {
        self.newest.range(volume.checked_add(1)?..).next().map(|(_, at)| *at)
    }

    /// What stood in volumes that were ended and are gone: a server's counts never fall.
    pub(crate) fn gone(&self, there: &[(u32, PathBuf, Stats)]) -> Stats {
        let is_there = |volume: &u32| there.iter().any(|(number, ..)| number == volume);
        self.ended.iter().filter(|(volume, _)| !is_there(volume)).fold(Stats::default(), |sum, (_, stats)| Stats {
            objects: sum.objects.saturating_add(stats.objects),
            bytes: sum.bytes.saturating_add(stats.bytes),
        })
    }
}

/// What is asked for on the console.
#[derive(Clone, Debug)]
pub(crate) struct Ending {
    /// `2031-04-30`: volumes that were closed before this day.
    pub(crate) before: String,
    /// This server's number, where it was typed.
    pub(crate) confirm: Option<u8>,
}

/// Shows what there is, or ends what may be ended. The daemon must be stopped.
pub(crate) fn run(dir: &Path, ending: Option<&Ending>, say: &mut dyn FnMut(String)) -> Result<(), Fault> {
    let config = Config::load(dir)?;
    let checked = config.checked().map_err(|why| failed(crate::config::FILE_NAME, why))?;
    // Its lock is the daemon's as well.
    let shards = FolderLocation::open(&dir.join("shards"), checked.vault)?;
    let mut retention = Retention::open(dir)?;
    let journal = Journal::open(dir).map_err(|e| failed("journal.log", e))?;
    let (now, volumes) = (SystemClock.now(), shards.volumes()?);
    let (name, days) = (server_name(config.number), config.shards.retention_days);
    let policy = days.map_or("kept for ever".to_owned(), |days| format!("kept for {days} days (holder.toml)"));
    say(format!("{name}: {} volumes; {policy}; it is {now} by this machine's clock", volumes.len()));
    for (number, _, stats) in &volumes {
        let since = retention
            .closed(*number)
            .map_or("open, or not known since when".to_owned(), |at| format!("closed by {at}"));
        say(format!("  volume {number}: {} objects, {} bytes, {since}", stats.objects, stats.bytes));
    }
    let Some(Ending { before, confirm }) = ending else { return Ok(()) };

    let Some(days) = days else {
        let text = "shards.retention_days is not set in holder.toml: everything is kept for ever".to_owned();
        return Err(refused("holder.retention-never", text));
    };
    check_clock(dir, &checked.officer, config.number, now, journal.last_time().max(retention.last))?;
    let limit = now.plus_ms(-DAY_MS.saturating_mul(i64::from(days)));
    let Some(day) = day(before) else {
        return Err(refused("usage.retention", format!("{before}: no day, as in 2031-04-30")));
    };
    if day > limit {
        return Err(refused("holder.retention-young", format!("{before} is not {days} days ago: {limit} is")));
    }
    let newest = volumes.iter().map(|(number, ..)| *number).max().unwrap_or(0);
    let old: Vec<_> = volumes
        .iter()
        .filter(|(number, ..)| *number < newest && retention.closed(*number).is_some_and(|closed| closed < day))
        .collect();
    let objects: u64 = old.iter().map(|(_, _, stats)| stats.objects).sum();
    let bytes: u64 = old.iter().map(|(_, _, stats)| stats.bytes).sum();
    say(format!("{} volumes with {objects} objects, {bytes} bytes, were closed before {before}.", old.len()));
    say(
        "A VAULT NEEDS EVERY ONE OF THEM FOR AS LONG AS IT LIVES: keys and records that are in use stand in the oldest"
            .into(),
    );
    say("volumes too. Each object is this server's piece of a segment. What is removed here is one loss less that those".into());
    say("segments bear; where more servers remove the same than the centre bears (11 of 14), their records are lost for".into());
    say("good, and nothing brings them back. This is for a vault that is at its end. A gateway that still lives will"
        .into());
    say("miss them, say so, and put them here again. The other servers raise an alarm.".into());
    match confirm {
        None => {
            say(format!("Nothing was removed. To remove them: --confirm {}, this server's number.", config.number));
            return Ok(());
        }
        Some(typed) if *typed != config.number => {
            return Err(refused("holder.retention-number", format!("this is {name}, not {}", server_name(*typed))));
        }
        Some(_) => {}
    }
    for (number, path, stats) in old {
        // Written down first: cut short here, the volume is there and counts as there.
        let line = format!("ended {} {number} {} {}", now.0, stats.objects, stats.bytes);
        retention.write(&line).map_err(|e| failed(FILE, e))?;
        let text = format!("volume {number}, {} objects, {} bytes, closed before {before}", stats.objects, stats.bytes);
        journal.note(now, "holder.retention-ended", &text);
        let folder = path.parent().unwrap_or(dir);
        let removed = fs::remove_file(path).and_then(|()| File::open(folder)?.sync_all());
        removed.map_err(|e| failed(&path.display().to_string(), e))?;
        say(format!("removed: {text}"));
    }
    Ok(())
}

/// That nobody set the clock: not back behind what is noted here, and not away from the other servers.
fn check_clock(dir: &Path, officer: &[u8; 32], own: u8, now: Timestamp, noted: Timestamp) -> Result<(), Fault> {
    let wrong = |why: String| Err(refused("holder.clock", why));
    if now < noted {
        return wrong(format!(
            "it is {now} by this machine's clock, and {noted} is noted here: it was set back, or was ahead"
        ));
    }
    let list = dir.join(MEMBERS_FILE);
    let others = match fs::read(&list) {
        Ok(bytes) => {
            let members = Members::open(&bytes, officer).map_err(|e| failed(MEMBERS_FILE, e))?;
            members.servers.iter().filter(|server| server.number != own).count()
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => 0,
        Err(error) => return Err(failed(MEMBERS_FILE, error)),
    };
    let mut said = watch::times(dir).map_err(|e| failed("peers.cbor", e))?;
    said.sort_unstable();
    let ahead = now.0.saturating_sub(noted.0);
    match said.get(said.len() / 2) {
        Some(middle) if 2 * said.len() >= others => {
            let off = now.0.saturating_sub(middle.0);
            if off.abs() <= JUMP_MS_MAX {
                return Ok(());
            }
            wrong(format!(
                "it is {now} by this machine's clock, {} days from the other servers' when they were asked last: start the \
                 holder, and let it see them",
                off / DAY_MS
            ))
        }
        _ if others > 0 => wrong(format!(
            "of {others} other servers {} have said what time it is: start the holder, and let it see them",
            said.len()
        )),
        // Alone: there is nobody else to ask.
        _ if ahead > JUMP_MS_MAX => wrong(format!(
            "it is {now} by this machine's clock, {} days after the last line of its journal: start the holder first",
            ahead / DAY_MS
        )),
        _ => Ok(()),
    }
}

/// The beginning of a day (UTC).
fn day(text: &str) -> Option<Timestamp> {
    let mut parts = text.splitn(3, '-');
    let mut number = |digits: usize| parts.next().filter(|part| part.len() == digits)?.parse::<u32>().ok();
    let asked = (i64::from(number(4)?), number(2)?, number(2)?);
    // Two centuries from 1970 on: some ten thousand comparisons, and no arithmetic of calendars.
    (0..200 * 366).map(|day| Timestamp(day * DAY_MS)).find(|day| day.civil_date() == asked)
}

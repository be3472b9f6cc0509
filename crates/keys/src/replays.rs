//! Proofs that were taken: each counts once at one holder, also where the holder was started anew in between.
//!
//! A proof refused for being older than the start would not do: a statement may be ahead of the holder's clock by as much
//! as it may be behind. So each is remembered on the disk as well. `docs/formats/keys.md` has the bytes.

use std::collections::{HashSet, VecDeque};
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use kit::Timestamp;

use crate::error::HolderError;
use crate::local::{Check, begin_lines, first_half};
use crate::proof::{PROOF_WINDOW_MS, ProofError, Proven};
use crate::seal::digest;

const CURRENT: &str = "proofs.log";
const BEFORE: &str = "proofs.log.1";
const NEXT: &str = "proofs.log.next";
/// Proofs remembered within a window: three thousand charts an hour are a hundred in two minutes; a hundred times that.
const REPLAYS_MAX: usize = 10_000;
/// A statement's time may be a window ahead of us: it is good for two.
const GOOD_MS: i64 = 2 * PROOF_WINDOW_MS + 1;

/// Time, mark, check: a power of two, so that none straddles a sector.
const LINE_BYTES: usize = 32;
const CHECK_BYTES: usize = 8;
type Line = [u8; LINE_BYTES];
/// By it a proof is known among all.
type Mark = Check;

/// Proofs of the last minutes.
#[derive(Default)]
pub struct Replays {
    seen: HashSet<Mark>,
    order: VecDeque<(Timestamp, Mark)>,
    last: Timestamp,
    /// None for one that forgets them when it ends.
    log: Option<Log>,
}

struct Log {
    dir: PathBuf,
    file: File,
    lines: usize,
    first: Option<Timestamp>,
    is_unsynced: bool,
}

fn storage(file: &'static str) -> impl Fn(io::Error) -> HolderError {
    move |source| HolderError::Storage { file, source }
}

fn header() -> Line {
    let mut line = [0; LINE_BYTES];
    line.iter_mut().zip(b"holdfast proofs v1").for_each(|(to, from)| *to = *from);
    line
}

fn line(at: Timestamp, mark: &Mark) -> Line {
    let time = at.0.to_be_bytes();
    let check = digest("holdfast proof line v1", &[&time, mark]).0;
    let mut line = [0; LINE_BYTES];
    line.iter_mut()
        .zip(time.iter().chain(mark).chain(check.iter().take(CHECK_BYTES)))
        .for_each(|(to, from)| *to = *from);
    line
}

fn offset(index: usize) -> u64 {
    (index * LINE_BYTES) as u64
}

impl Replays {
    /// Opens or makes the log in `dir`.
    pub fn open(dir: &Path) -> Result<Self, HolderError> {
        fs::create_dir_all(dir).map_err(storage("the meter's folder"))?;
        let mut replays = Self::default();
        match File::open(dir.join(BEFORE)) {
            Ok(before) => drop(replays.read(&before, BEFORE)?),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(storage(BEFORE)(error)),
        }
        let file = begin_lines(&dir.join(CURRENT), &header()).map_err(storage(CURRENT))?;
        let (lines, first) = replays.read(&file, CURRENT)?;
        replays.log = Some(Log { dir: dir.to_owned(), file, lines, first, is_unsynced: true });
        Ok(replays)
    }

    /// When the newest proof was taken: a time that is over.
    pub fn last_time(&self) -> Timestamp {
        self.last
    }

    /// Takes a proof, once.
    pub fn take(&mut self, proven: &Proven, now: Timestamp) -> Result<(), ProofError> {
        while self.order.front().is_some_and(|(at, _)| at.plus_ms(GOOD_MS) < now) {
            if let Some((_, old)) = self.order.pop_front() {
                self.seen.remove(&old);
            }
        }
        let mark = first_half(proven.mark.0);
        if self.seen.contains(&mark) {
            return Err(ProofError::Replayed);
        }
        if self.order.len() >= REPLAYS_MAX {
            return Err(ProofError::TooMany { max: REPLAYS_MAX });
        }
        if let Some(log) = &mut self.log {
            log.write(now, &mark).map_err(|error| ProofError::Unwritten(error.kind()))?;
        }
        self.remember(now, mark);
        Ok(())
    }

    /// The log, where lines of it may not be on the disk yet; whoever syncs it need not keep others waiting meanwhile.
    pub fn unsynced(&mut self) -> io::Result<Option<File>> {
        let Some(log) = &mut self.log else { return Ok(None) };
        if std::mem::take(&mut log.is_unsynced) { log.file.try_clone().map(Some) } else { Ok(None) }
    }

    fn remember(&mut self, at: Timestamp, mark: Mark) {
        self.seen.insert(mark);
        self.order.push_back((at, mark));
        self.last = self.last.max(at);
    }

    /// Reads a log. A tail that was cut short, or never written, was answered to nobody. Any other line that doesn't fit is
    /// damage: going on without it would take a proof twice. Gives the lines, and the first one's time.
    fn read(&mut self, file: &File, name: &'static str) -> Result<(usize, Option<Timestamp>), HolderError> {
        let damaged = |index: usize| HolderError::Damaged { file: name, offset: offset(index) };
        let length = file.metadata().map_err(storage(name))?.len();
        if length > offset(REPLAYS_MAX + 2) {
            return Err(damaged(REPLAYS_MAX + 2));
        }
        let mut bytes = vec![0; usize::try_from(length).map_err(|_| damaged(0))?];
        file.read_exact_at(&mut bytes, 0).map_err(storage(name))?;
        let (lines, _) = bytes.as_chunks::<LINE_BYTES>();
        let Some((head, lines)) = lines.split_first() else { return Err(damaged(0)) };
        if *head != header() {
            return Err(damaged(0));
        }
        let mut first = None;
        for (index, found) in (1..).zip(lines) {
            let (Some((time, rest)), Some(check)) = (found.split_first_chunk(), found.last_chunk::<CHECK_BYTES>())
            else {
                return Err(damaged(index));
            };
            let at = Timestamp(i64::from_be_bytes(*time));
            let mark = rest.first_chunk::<16>().ok_or_else(|| damaged(index))?;
            if line(at, mark) != *found {
                let behind = lines.get(index..).unwrap_or_default();
                let is_torn = check.iter().chain(behind.iter().flatten()).all(|byte| *byte == 0);
                return if is_torn { Ok((index - 1, first)) } else { Err(damaged(index)) };
            }
            first.get_or_insert(at);
            self.remember(at, *mark);
        }
        Ok((lines.len(), first))
    }
}

impl Log {
    fn write(&mut self, now: Timestamp, mark: &Mark) -> io::Result<()> {
        // What stands in the file before this one is good for nothing any more.
        if self.first.is_some_and(|first| first.plus_ms(GOOD_MS) < now) {
            let next = begin_lines(&self.dir.join(NEXT), &header())?;
            fs::rename(self.dir.join(CURRENT), self.dir.join(BEFORE))?;
            fs::rename(self.dir.join(NEXT), self.dir.join(CURRENT))?;
            (self.file, self.lines, self.first) = (next, 0, None);
        }
        // At its place, not at the end: a line that a full disk cut short is written over by the next try.
        self.file.write_all_at(&line(now, mark), offset(self.lines + 1))?;
        self.lines += 1;
        self.first.get_or_insert(now);
        self.is_unsynced = true;
        Ok(())
    }
}

//! Notes: small groups that are durable at once in the gateway's write-ahead log, and go into the ledger a moment later.
//!
//! A decision, or who read what, has to be on a disk before anything leaves, and must not wait for fourteen disks. The log
//! goes on while the vault is below its floor. `docs/formats/notes.md` has the bytes.

use std::collections::{BTreeMap, HashSet, VecDeque};
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use kit::{Digest, OperationId, PatientId, Timestamp};
use minicbor::bytes::{ByteArray, ByteVec};
use minicbor::{Decode, Encode};

use crate::body::{Head, Prepared, Sealed};
use crate::commit::{Inbox, capacity};
use crate::core::{Core, lock};
use crate::error::{VaultError, gateway};
use crate::seal::{Counted, SALT_BYTES};
use kit::format::{self, Version};

/// One note: it shares a segment's entry block with others.
pub const NOTE_BYTES_MAX: usize = 256 * 1024;

/// Notes that wait, on disk and in memory, while the vault is below its floor: some hundred thousand reads.
pub const NOTES_WAITING_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// A file that has grown past this is left, and removed when its notes are in the ledger.
const FILE_BYTES_MAX: u64 = 4 * 1024 * 1024;

/// How long a note waits for company before it goes into the ledger: within a second is the promise.
const MOVE_EVERY: Duration = Duration::from_millis(250);
/// How often it is said that notes wait.
const SAY_EVERY: Duration = Duration::from_secs(60);

/// Notes that go into the ledger as one group.
const MOVED_ENTRIES_MAX: usize = 512;
const MOVED_BYTES_MAX: usize = 512 * 1024;

const MAGIC: &[u8; 8] = b"HFNOTES1";
const SUFFIX: &str = ".wal";
const PREFIX: &str = "notes-";

#[derive(Encode, Decode)]
struct Payload {
    #[n(0)]
    len: u64,
    #[n(1)]
    compressed: bool,
    #[n(2)]
    digest: Digest,
    #[n(3)]
    bytes: ByteVec,
}

#[derive(Encode, Decode)]
struct Entry {
    #[n(0)]
    time: Timestamp,
    #[n(1)]
    patient: Option<PatientId>,
    #[n(2)]
    kind: String,
    #[n(3)]
    operation: OperationId,
    #[n(4)]
    permit: Option<Digest>,
    #[n(5)]
    meta: ByteVec,
    /// Also tells whether the entry is in the ledger already.
    #[n(6)]
    salt: ByteArray<16>,
    #[n(7)]
    payload: Option<Payload>,
}

#[derive(Encode, Decode)]
struct Note {
    #[n(0)]
    version: Version<1>,
    /// The log's size when it was noted: it is in the ledger from there on, or not at all.
    #[n(1)]
    from: u64,
    #[n(2)]
    entries: Vec<Entry>,
}

impl Entry {
    fn of(prepared: &Prepared) -> Self {
        Self {
            time: prepared.time,
            patient: prepared.scope.patient(),
            kind: prepared.kind.clone(),
            operation: prepared.operation,
            permit: prepared.permit,
            meta: prepared.meta.clone().into(),
            salt: prepared.salt.into(),
            payload: prepared.payload.as_ref().map(|sealed| Payload {
                len: sealed.len,
                compressed: sealed.compressed,
                digest: sealed.digest.wait(),
                bytes: sealed.pieces.concat().into(),
            }),
        }
    }

    fn prepared(self) -> Prepared {
        Prepared {
            time: self.time,
            scope: self.patient.into(),
            kind: self.kind,
            operation: self.operation,
            permit: self.permit,
            meta: self.meta.into(),
            salt: *self.salt,
            payload: self.payload.map(|payload| Sealed {
                len: payload.len,
                compressed: payload.compressed,
                digest: payload.digest.into(),
                pieces: vec![Vec::from(payload.bytes).into()],
            }),
        }
    }
}

/// A note that is not in the ledger yet.
struct Waiting {
    entries: Vec<Prepared>,
    bytes: u64,
    file: u64,
}

/// The file that is being written.
struct Open {
    file: Arc<File>,
    number: u64,
    sealer: Counted,
    next: u32,
    len: u64,
}

#[derive(Default)]
struct State {
    open: Option<Open>,
    next_file: u64,
    waiting: VecDeque<Waiting>,
    bytes: u64,
    /// Notes of each file that are not in the ledger yet.
    outstanding: BTreeMap<u64, u64>,
    /// Notes written and notes synced, counted since the start.
    written: u64,
    synced: u64,
    syncing: bool,
    /// Up to this note a sync has failed: whoever still waits for one of them is told so, rather once too often.
    failed: u64,
    closed: bool,
}

pub(crate) struct Notes {
    core: Arc<Core>,
    /// The way into the ledger; none where the vault is open for reading, and notes wait for the next writer.
    inbox: Option<Arc<Inbox>>,
    dir: PathBuf,
    state: Mutex<State>,
    synced: Condvar,
    bell: Condvar,
    /// Held while notes are being moved.
    moving: Mutex<()>,
}

/// What was in the write-ahead log at the start.
#[derive(Default)]
pub(crate) struct Replayed {
    pub(crate) notes: u64,
    pub(crate) torn_bytes: u64,
    pub(crate) damaged: u64,
    /// Nobody can tell whether they are in the ledger.
    pub(crate) unsure: u64,
}

impl Notes {
    /// Reads what an earlier process left, without what is in the ledger already.
    pub(crate) fn open(core: Arc<Core>, inbox: Option<Arc<Inbox>>, dir: &Path) -> Result<(Self, Replayed), VaultError> {
        let (mut state, mut replayed) = (State::default(), Replayed::default());
        let mut found: Vec<(u64, Note, u64)> = Vec::new();
        for number in files(dir)? {
            let read = read_file(&core, &dir.join(file_name(number)))?;
            replayed.torn_bytes += read.torn_bytes;
            replayed.damaged += read.damaged;
            state.outstanding.insert(number, read.notes.len() as u64);
            found.extend(read.notes.into_iter().map(|(note, bytes)| (number, note, bytes)));
            state.next_file = number + 1;
            if read.damaged > 0 {
                // Evidence; and what could be read of it is in the ledger from now on.
                let name = file_name(number);
                fs::copy(dir.join(&name), dir.join(format!("{name}.damaged")))
                    .map_err(gateway("keeping damaged notes"))?;
            }
        }
        let known = Known::of(&core, found.iter().map(|(_, note, _)| note.from).min())?;
        for (file, note, bytes) in found {
            let noted_at = note.from;
            let entries: Vec<Prepared> = note.entries.into_iter().map(Entry::prepared).collect();
            if entries.iter().any(|entry| known.salts.contains(&entry.salt)) {
                if let Some(left) = state.outstanding.get_mut(&file) {
                    *left -= 1;
                }
                continue;
            }
            if noted_at < known.unsure {
                // It stays in its file, which is not removed: a later start finds out, when the segment can be read.
                replayed.unsure += 1;
                continue;
            }
            replayed.notes += 1;
            state.bytes += bytes;
            state.waiting.push_back(Waiting { entries, bytes, file });
        }
        let notes = Self {
            core,
            inbox,
            dir: dir.to_owned(),
            state: Mutex::new(state),
            synced: Condvar::new(),
            bell: Condvar::new(),
            moving: Mutex::new(()),
        };
        notes.sweep(&mut lock(&notes.state))?;
        Ok((notes, replayed))
    }

    /// Durable on return.
    pub(crate) fn note(&self, entries: Vec<Prepared>) -> Result<(), VaultError> {
        let from = self.core.size();
        let mut record =
            format::encode(&Note { version: Version, from, entries: entries.iter().map(Entry::of).collect() });
        if record.len() > NOTE_BYTES_MAX {
            return Err(VaultError::Note { found: record.len(), max: NOTE_BYTES_MAX });
        }
        let mut state = lock(&self.state);
        let bytes = record.len() as u64;
        if state.closed {
            return Err(VaultError::Closed);
        }
        if state.bytes + bytes > NOTES_WAITING_BYTES_MAX {
            return Err(VaultError::NotesFull { found: state.bytes + bytes, max: NOTES_WAITING_BYTES_MAX });
        }
        let mut open = match state.open.take() {
            Some(open) if open.len < FILE_BYTES_MAX && open.next < u32::MAX => open,
            full => {
                self.retire(&mut state, full)?;
                let number = state.next_file;
                state.next_file += 1;
                self.create(number)?
            }
        };
        open.sealer.seal(open.next, &mut record)?;
        let len = u32::try_from(record.len()).unwrap_or(u32::MAX).to_be_bytes();
        let line = [len.as_slice(), &record].concat();
        if let Err(source) = (&*open.file).write_all(&line) {
            // The file is left as it is: behind half a note nothing could be found.
            self.retire(&mut state, Some(open))?;
            return Err(VaultError::Gateway { operation: "writing a note", source });
        }
        open.next += 1;
        open.len += line.len() as u64;
        let file = open.number;
        state.open = Some(open);
        *state.outstanding.entry(file).or_default() += 1;
        state.bytes += bytes;
        state.waiting.push_back(Waiting { entries, bytes, file });
        state.written += 1;
        let mine = state.written;

        // The first who comes syncs for all who have written meanwhile.
        loop {
            if mine <= state.failed {
                let source = io::Error::other("nobody knows whether it is on the disk");
                return Err(VaultError::Gateway { operation: "syncing notes", source });
            }
            if mine <= state.synced {
                return Ok(());
            }
            if state.syncing {
                state = self.synced.wait(state).unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            state.syncing = true;
            let (upto, file) = (state.written, state.open.as_ref().map(|open| Arc::clone(&open.file)));
            drop(state);
            let result = file.map_or(Ok(()), |file| file.sync_data());
            state = lock(&self.state);
            state.syncing = false;
            match result {
                Ok(()) => state.synced = state.synced.max(upto),
                Err(_) => {
                    // What a failed sync has dropped, a second one doesn't bring back: go on in another file.
                    state.open = None;
                    state.failed = state.failed.max(upto);
                }
            }
            self.synced.notify_all();
        }
    }

    /// Syncs the file that won't be written any more, for all who have written to it.
    fn retire(&self, state: &mut State, open: Option<Open>) -> Result<(), VaultError> {
        let Some(open) = open else { return Ok(()) };
        let result = open.file.sync_data();
        match result {
            Ok(()) => state.synced = state.written,
            Err(_) => state.failed = state.written,
        }
        self.synced.notify_all();
        result.map_err(gateway("syncing notes"))
    }

    fn create(&self, number: u64) -> Result<Open, VaultError> {
        let mut salt = [0; SALT_BYTES];
        self.core.entropy.fill(&mut salt);
        let vault = self.core.shelf().vault;
        let sealer = Counted::new(self.core.vault_key()?.1.bytes(), &salt, binding(vault))?;
        let head = [MAGIC.as_slice(), &vault.0, &salt].concat();
        let write = || {
            let mut options = File::options();
            let mut file = options.create_new(true).append(true).mode(0o600).open(self.dir.join(file_name(number)))?;
            file.write_all(&head)?;
            file.sync_all()?;
            File::open(&self.dir)?.sync_all()?;
            Ok(file)
        };
        let file = write().map_err(gateway("beginning a file of notes"))?;
        Ok(Open { file: Arc::new(file), number, sealer, next: 0, len: head.len() as u64 })
    }

    /// Everything that waits goes into the ledger now, where there is a way.
    pub(crate) fn flush(&self) -> Result<(), VaultError> {
        let Some(inbox) = &self.inbox else { return Ok(()) };
        let _moving = lock(&self.moving);
        loop {
            let mut batch: Vec<Waiting> = Vec::new();
            {
                let mut state = lock(&self.state);
                let (mut entries, mut bytes) = (0, 0);
                while let Some(next) = state.waiting.front() {
                    let size = usize::try_from(next.bytes).unwrap_or(usize::MAX);
                    let full = entries + next.entries.len() > MOVED_ENTRIES_MAX || bytes + size > MOVED_BYTES_MAX;
                    if full && !batch.is_empty() {
                        break;
                    }
                    (entries, bytes) = (entries + next.entries.len(), bytes + size);
                    batch.extend(state.waiting.pop_front());
                }
            }
            if batch.is_empty() {
                return Ok(());
            }
            let entries = batch.iter().flat_map(|note| note.entries.iter().cloned()).collect();
            let kept = inbox.submit(entries, capacity(self.core.shelf().shape));
            let mut state = lock(&self.state);
            if let Err(error) = kept {
                batch.into_iter().rev().for_each(|note| state.waiting.push_front(note));
                return Err(error);
            }
            for note in batch {
                state.bytes -= note.bytes;
                if let Some(left) = state.outstanding.get_mut(&note.file) {
                    *left -= 1;
                }
            }
            self.sweep(&mut state)?;
        }
    }

    /// Removes files of which every note is in the ledger.
    fn sweep(&self, state: &mut State) -> Result<(), VaultError> {
        let open = state.open.as_ref().map(|open| open.number);
        let done: Vec<u64> = state
            .outstanding
            .iter()
            .filter(|&(number, left)| *left == 0 && Some(*number) != open)
            .map(|(number, _)| *number)
            .collect();
        for number in done {
            fs::remove_file(self.dir.join(file_name(number))).map_err(gateway("removing a file of notes"))?;
            state.outstanding.remove(&number);
        }
        Ok(())
    }

    /// Moves what waits, until it is closed.
    pub(crate) fn run(&self) {
        // Said once, and then once in a while: below the floor it fails four times a second.
        let mut said: Option<Instant> = None;
        loop {
            {
                let state = lock(&self.state);
                let waited = self.bell.wait_timeout_while(state, MOVE_EVERY, |state| !state.closed);
                if waited.unwrap_or_else(PoisonError::into_inner).0.closed {
                    return;
                }
            }
            match self.flush() {
                Ok(()) => said = None,
                Err(error) if said.is_none_or(|at| at.elapsed() >= SAY_EVERY) => {
                    tracing::warn!(%error, waiting = self.waiting().0, "notes wait for the ledger");
                    said = Some(Instant::now());
                }
                Err(_) => {}
            }
        }
    }

    /// No note is taken any more; what waits goes into the ledger, or stays in its file for the next start.
    pub(crate) fn close(&self) {
        lock(&self.state).closed = true;
        self.bell.notify_all();
        if self.flush().is_ok() {
            let mut state = lock(&self.state);
            state.open = None;
            if let Err(error) = self.sweep(&mut state) {
                tracing::warn!(%error, "files of notes stay");
            }
        }
    }

    /// Notes and bytes that wait.
    pub(crate) fn waiting(&self) -> (u64, u64) {
        let state = lock(&self.state);
        (state.waiting.len() as u64, state.bytes)
    }
}

fn binding(vault: kit::Id16) -> Vec<u8> {
    [b"holdfast notes v1".as_slice(), &vault.0].concat()
}

fn file_name(number: u64) -> String {
    format!("{PREFIX}{number:08}{SUFFIX}")
}

fn files(dir: &Path) -> Result<Vec<u64>, VaultError> {
    let number = |name: &str| {
        let number: u64 = name.strip_prefix(PREFIX)?.strip_suffix(SUFFIX)?.parse().ok()?;
        (file_name(number) == name).then_some(number)
    };
    let list = || -> io::Result<Vec<u64>> {
        let names = fs::read_dir(dir)?.map(|entry| entry.map(|entry| entry.file_name()));
        let names: Vec<_> = names.collect::<io::Result<_>>()?;
        let mut numbers: Vec<u64> = names.iter().filter_map(|name| number(name.to_str()?)).collect();
        numbers.sort_unstable();
        Ok(numbers)
    };
    list().map_err(gateway("listing notes"))
}

struct ReadFile {
    notes: Vec<(Note, u64)>,
    torn_bytes: u64,
    damaged: u64,
}

/// Notes that are tried with a key before another one is: the first may be damaged.
const NOTES_TRIED_MAX: u32 = 8;

/// Notes are read up to the end. Ones that don't open are damage where a later one does, and a torn tail otherwise.
fn read_file(core: &Core, path: &Path) -> Result<ReadFile, VaultError> {
    let mut bytes = Vec::new();
    let limit = NOTES_WAITING_BYTES_MAX + 2 * FILE_BYTES_MAX;
    let read = File::open(path).and_then(|file| file.take(limit).read_to_end(&mut bytes));
    read.map_err(gateway("reading notes"))?;
    let mut found = ReadFile { notes: Vec::new(), torn_bytes: 0, damaged: 0 };
    let vault = core.shelf().vault;
    let head = bytes.strip_prefix(MAGIC).and_then(|rest| rest.strip_prefix(&vault.0));
    let Some((salt, rest)) = head.and_then(|rest| rest.split_first_chunk::<SALT_BYTES>()) else {
        // A file that a crash cut off in its first bytes holds no note.
        let whole = bytes.len() >= MAGIC.len() + vault.0.len() + SALT_BYTES;
        found.damaged = u64::from(whole);
        found.torn_bytes = if whole { 0 } else { bytes.len() as u64 };
        return Ok(found);
    };
    let (sealed, left) = sealed_notes(rest);
    let sealer = sealer_of(core, salt, &sealed)?;
    let mut unread = 0;
    for (number, sealed) in (0..).zip(sealed) {
        let plain = sealer.open(number, sealed.to_vec());
        match plain.and_then(|plain| format::decode::<Note>("note", &plain, NOTE_BYTES_MAX).ok()) {
            Some(note) => {
                found.damaged += std::mem::take(&mut unread);
                found.torn_bytes = 0;
                found.notes.push((note, sealed.len() as u64));
            }
            None => {
                unread += 1;
                found.torn_bytes += 4 + sealed.len() as u64;
            }
        }
    }
    found.torn_bytes += left;
    Ok(found)
}

/// The whole notes of a file, each as it is sealed, and the bytes behind the last.
fn sealed_notes(mut rest: &[u8]) -> (Vec<&[u8]>, u64) {
    let mut notes = Vec::new();
    while let Some((len, behind)) = rest.split_first_chunk::<4>()
        && let Some((sealed, behind)) = behind.split_at_checked(u32::from_be_bytes(*len) as usize)
    {
        notes.push(sealed);
        rest = behind;
    }
    (notes, rest.len() as u64)
}

/// The newest of the vault's keys that opens one of the first notes; where none does, the newest.
fn sealer_of(core: &Core, salt: &[u8; SALT_BYTES], notes: &[&[u8]]) -> Result<Counted, VaultError> {
    let opens = |sealer: &Counted| {
        (0..NOTES_TRIED_MAX).zip(notes).any(|(number, sealed)| sealer.open(number, sealed.to_vec()).is_some())
    };
    for key in core.secrets.vault.newest_first() {
        let sealer = Counted::new(key.bytes(), salt, binding(core.shelf().vault))?;
        if opens(&sealer) {
            return Ok(sealer);
        }
    }
    Counted::new(core.vault_key()?.1.bytes(), salt, binding(core.shelf().vault))
}

/// What of the ledger the notes are compared with.
#[derive(Default)]
struct Known {
    /// Of all entries from the oldest note on that can be read.
    salts: HashSet<[u8; 16]>,
    /// Behind the last segment that can't be read: a note from before may stand in it.
    unsure: u64,
}

impl Known {
    fn of(core: &Core, from: Option<u64>) -> Result<Self, VaultError> {
        let mut known = Self::default();
        let Some(mut from) = from.map(|from| from.min(core.size())) else { return Ok(known) };
        loop {
            let scanned = core.scan(from, &mut |_, _, bytes| {
                known.salts.insert(*Head::from_bytes(bytes)?.salt);
                Ok::<_, VaultError>(())
            });
            match scanned {
                Ok(_) => return Ok(known),
                // One lost segment must not keep everything closed.
                Err(error @ VaultError::Unreadable { segment, .. }) => {
                    tracing::error!(%error, "notes may stand in it: those that may are kept aside");
                    from = core.shelf().catalogue.get(segment).ok_or(error)?.end();
                    known.unsure = from;
                }
                Err(error) => return Err(error),
            }
        }
    }
}

//! A holder in a folder of its own: its private key, the subjects that it refuses, and its count of openings.

use std::collections::HashSet;
use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use kit::limits::SERVERS_MAX;
use kit::{Entropy, Id16};
use minicbor::{Decode, Encode};
use zeroize::Zeroizing;

use crate::error::HolderError;
use crate::format::{self, FormatError, Version, within};
use crate::holder::{Holder, HolderPublicKey, OpenRequest, SYSTEM_SUBJECT};
use crate::record::share_digest;
use crate::seal::{self, Binding, Contexts, PrivateKey, Seat, digest};
use crate::secret::{SECRET_BYTES, Share};
use crate::shamir::Secret;

/// The key epoch of a holder that has just been made: deal to it with this epoch.
pub const FIRST_EPOCH: u32 = 1;

const KEY: &str = "holder.key";
const KEY_NEW: &str = "holder.key.new";
const REFUSED: &str = "refused.log";
const OPENED: &str = "opened.count";

/// 32 bytes of secret, and a few of version, number, epoch and heads.
const KEY_BYTES_MAX: usize = 64;
/// Subjects refused in one key epoch: 32 MiB of log and some more of memory. A turn of the epoch empties it.
const REFUSED_MAX: usize = 1 << 20;
/// A person's or a purpose's name in a request. Nothing reads more of them.
const NAME_BYTES_MAX: usize = 256;
/// Openings between two fdatasyncs of the count. A killed process loses none of them (the kernel has each); a power
/// failure loses at most this many and one more. Syncing each one would cost a disk's latency per share.
const OPENINGS_UNSYNCED_MAX: u64 = 256;

/// Records of the log are powers of two, so that none straddles a sector: after a power failure each is whole or not
/// there.
const LINE_BYTES: usize = 32;
type Line = [u8; LINE_BYTES];
pub(crate) type Check = [u8; 16];

/// The stored private key.
#[derive(Encode, Decode)]
struct KeyFile {
    #[n(0)]
    version: Version<1>,
    #[n(1)]
    number: u8,
    #[n(2)]
    epoch: u32,
    #[cbor(n(3), with = "crate::format::secret")]
    seed: Secret,
}

struct State {
    refused: HashSet<Id16>,
    /// The check of the log's last line; the next one continues it.
    check: Check,
    opened: u64,
    unsynced: u64,
}

/// A holder whose server is this process. One process at a time holds a folder.
pub struct LocalHolder {
    number: u8,
    epoch: u32,
    private: PrivateKey,
    public: HolderPublicKey,
    contexts: Contexts,
    /// Also the folder's lock.
    log: File,
    count: File,
    state: Mutex<State>,
}

fn storage(file: &'static str) -> impl Fn(io::Error) -> HolderError {
    move |source| HolderError::Storage { file, source }
}

impl LocalHolder {
    /// Makes the folder (which may exist, but may hold no holder) and the holder in it. The key is written last: a
    /// folder without one was never a holder, and init may be repeated.
    pub fn init(dir: &Path, number: u8, entropy: &dyn Entropy) -> Result<Self, HolderError> {
        within("holder", "the number", usize::from(number), 1, SERVERS_MAX)?;
        DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(storage("the holder's folder"))?;
        let log = lock(dir, true)?;
        if dir.join(KEY).try_exists().map_err(storage(KEY))? {
            return Err(HolderError::Exists { file: KEY });
        }
        log.set_len(0).and_then(|()| log.write_all_at(&header(number), 0)).map_err(storage(REFUSED))?;
        log.sync_all().map_err(storage(REFUSED))?;

        let count = private_file().create(true).truncate(true).open(dir.join(OPENED)).map_err(storage(OPENED))?;
        write_count(&count, number, 0).and_then(|()| count.sync_all()).map_err(storage(OPENED))?;

        let mut seed = Zeroizing::new([0; SECRET_BYTES]);
        entropy.fill(seed.as_mut());
        let key = KeyFile { version: Version, number, epoch: FIRST_EPOCH, seed };
        write_key(dir, &Zeroizing::new(format::encode(&key))).map_err(storage(KEY))?;
        drop(log);
        Self::open(dir)
    }

    pub fn open(dir: &Path) -> Result<Self, HolderError> {
        let log = lock(dir, false)?;
        let KeyFile { number, epoch, seed, .. } = read_key(dir)?;
        let private = seal::private_key(&seed).ok_or(FormatError::Invalid { place: KEY, what: "the seed" })?;
        let public = HolderPublicKey::new(number, epoch, &seal::public_key(&private));
        let (refused, check) = read_log(&log, number)?;
        let count = private_file().open(dir.join(OPENED)).map_err(storage(OPENED))?;
        let opened = read_count(&count, number)?;
        let state = Mutex::new(State { refused, check, opened, unsynced: 0 });
        Ok(Self { number, epoch, private, public, contexts: Contexts::default(), log, count, state })
    }

    /// Reads what a start would read, and changes nothing: so that a holder which is open is known to open again. Gives
    /// its public key.
    pub fn look(dir: &Path) -> Result<HolderPublicKey, HolderError> {
        let log = File::open(dir.join(REFUSED)).map_err(storage(REFUSED))?;
        let KeyFile { number, epoch, seed, .. } = read_key(dir)?;
        let private = seal::private_key(&seed).ok_or(FormatError::Invalid { place: KEY, what: "the seed" })?;
        read_log(&log, number)?;
        read_count(&File::open(dir.join(OPENED)).map_err(storage(OPENED))?, number)?;
        Ok(HolderPublicKey::new(number, epoch, &seal::public_key(&private)))
    }

    /// How many subjects this holder refuses.
    pub fn refused(&self) -> usize {
        self.state().refused.len()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What can be said of a request before its subject is looked at.
    fn check(&self, request: &OpenRequest<'_>) -> Result<(), HolderError> {
        let (number, record, batch) = (self.number, request.record, request.batch);
        for (what, name) in [("the person", request.person), ("the purpose", request.purpose)] {
            if name.len() > NAME_BYTES_MAX {
                return Err(HolderError::TooLong { number, what, found: name.len(), max: NAME_BYTES_MAX });
            }
        }
        record.check_in(batch)?;
        if number > record.n {
            return Err(HolderError::NotMine { number, n: record.n });
        }
        if batch.epoch != self.epoch {
            return Err(HolderError::Epoch { number, wanted: batch.epoch, own: self.epoch });
        }
        Ok(())
    }
}

impl Holder for LocalHolder {
    fn number(&self) -> u8 {
        self.number
    }

    fn public_key(&self) -> HolderPublicKey {
        self.public.clone()
    }

    fn open_share(&self, request: &OpenRequest<'_>) -> Result<Share, HolderError> {
        self.check(request)?;
        let (number, record) = (self.number, request.record);
        let erased = HolderError::Erased { number };
        if self.state().refused.contains(&record.subject) {
            return Err(erased);
        }
        let place = usize::from(number) - 1;
        let binding = Binding::of(record, Seat::of(request.batch, number));
        let share = self
            .contexts
            .of(&self.private, request.batch, number)
            .and_then(|context| context.open(&binding, record.shares.get(place)?))
            // An altered digest must not make this holder look like a liar.
            .filter(|share| record.digests.get(place) == Some(&share_digest(&record.salt, number, share)))
            .ok_or(HolderError::Sealed { number })?;
        let mut state = self.state();
        // Again, under the lock that counts: an erasure may have come in between.
        if state.refused.contains(&record.subject) {
            return Err(erased);
        }
        write_count(&self.count, number, state.opened + 1).map_err(storage(OPENED))?;
        state.opened += 1;
        state.unsynced += 1;
        if state.unsynced >= OPENINGS_UNSYNCED_MAX {
            self.count.sync_data().map_err(storage(OPENED))?;
            state.unsynced = 0;
        }
        Ok(Share::new(number, share))
    }

    fn refuse(&self, subject: Id16) -> Result<(), HolderError> {
        if subject.0.starts_with(SYSTEM_SUBJECT) {
            return Err(HolderError::NoPatient { number: self.number });
        }
        let mut state = self.state();
        if state.refused.contains(&subject) {
            return Ok(());
        }
        let written = state.refused.len();
        if written >= REFUSED_MAX {
            return Err(HolderError::Full { number: self.number, max: REFUSED_MAX });
        }
        let (line, check) = line(&state.check, subject);
        // At its place, not at the end: a line that a full disk cut short is written over by the next try.
        self.log.write_all_at(&line, offset(written + 1)).map_err(storage(REFUSED))?;
        self.log.sync_data().map_err(storage(REFUSED))?;
        state.check = check;
        state.refused.insert(subject);
        Ok(())
    }

    fn opened(&self) -> u64 {
        self.state().opened
    }
}

impl Drop for LocalHolder {
    fn drop(&mut self) {
        // Nobody is left to tell of a failure; at worst the stated number of openings is lost.
        let _ = self.count.sync_data();
    }
}

pub(crate) fn private_file() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.read(true).write(true).mode(0o600);
    options
}

/// The refusals, opened and locked: two processes would write over each other's lines.
fn lock(dir: &Path, create: bool) -> Result<File, HolderError> {
    let log = private_file().create(create).open(dir.join(REFUSED)).map_err(storage(REFUSED))?;
    log.try_lock().map_err(|error| match error {
        TryLockError::WouldBlock => HolderError::Locked,
        TryLockError::Error(source) => HolderError::Storage { file: REFUSED, source },
    })?;
    Ok(log)
}

fn write_key(dir: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = private_file().create(true).truncate(true).open(dir.join(KEY_NEW))?;
    file.write_all(bytes)?;
    file.sync_all()?;
    let folder = File::open(dir)?;
    folder.sync_all()?;
    fs::rename(dir.join(KEY_NEW), dir.join(KEY))?;
    folder.sync_all()?;
    // The folder's own name stands in its parent.
    dir.parent().filter(|parent| !parent.as_os_str().is_empty()).map_or(Ok(()), |parent| File::open(parent)?.sync_all())
}

fn read_key(dir: &Path) -> Result<KeyFile, HolderError> {
    let file = File::open(dir.join(KEY)).map_err(storage(KEY))?;
    let mode = file.metadata().map_err(storage(KEY))?.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(HolderError::Readable { file: KEY, mode });
    }
    let mut bytes = Zeroizing::new(Vec::with_capacity(KEY_BYTES_MAX + 1));
    file.take(KEY_BYTES_MAX as u64 + 1).read_to_end(&mut bytes).map_err(storage(KEY))?;
    let key: KeyFile = format::decode(KEY, &bytes, KEY_BYTES_MAX)?;
    within(KEY, "the number", usize::from(key.number), 1, SERVERS_MAX)?;
    Ok(key)
}

/// Where line `index` stands; line 0 is the header.
fn offset(index: usize) -> u64 {
    (index * LINE_BYTES) as u64
}

fn header(number: u8) -> Line {
    let mut line = [0; LINE_BYTES];
    let text = b"holdfast refused";
    line.iter_mut().zip(text.iter().chain(&[1, number])).for_each(|(to, from)| *to = *from);
    line
}

/// A subject, and a check over it and the check before it.
fn line(before: &Check, subject: Id16) -> (Line, Check) {
    let check = first_half(digest("holdfast refused v1", &[before, &subject.0]).0);
    let mut line = [0; LINE_BYTES];
    line.iter_mut().zip(subject.0.iter().chain(&check)).for_each(|(to, from)| *to = *from);
    (line, check)
}

pub(crate) fn first_half([a @ .., _, _, _, _, _, _, _, _, _, _, _, _, _, _, _, _]: [u8; 32]) -> Check {
    a
}

/// Reads the refusals. A last line that is cut short, or whose check was never written (zeros), was not answered for,
/// and is dropped. Any other line that doesn't fit is damage: going on without it would open an erased patient.
fn read_log(log: &File, number: u8) -> Result<(HashSet<Id16>, Check), HolderError> {
    let damaged = |index: usize| HolderError::Damaged { file: REFUSED, offset: offset(index) };
    let length_max = offset(REFUSED_MAX + 1);
    let length = log.metadata().map_err(storage(REFUSED))?.len();
    if length > length_max + LINE_BYTES as u64 {
        return Err(damaged(REFUSED_MAX + 1));
    }
    let mut bytes = vec![0; usize::try_from(length).map_err(|_| damaged(0))?];
    log.read_exact_at(&mut bytes, 0).map_err(storage(REFUSED))?;
    let (lines, torn) = bytes.as_chunks::<LINE_BYTES>();
    let Some((first, lines)) = lines.split_first() else { return Err(damaged(0)) };
    if *first != header(number) {
        return Err(damaged(0));
    }
    let mut check = first_half(digest("holdfast refused v1", &[first]).0);
    let mut refused = HashSet::with_capacity(lines.len());
    for (index, found) in (1..).zip(lines) {
        let (subject, found_check) = found.split_at(16);
        let subject = Id16(subject.try_into().map_err(|_| damaged(index))?);
        let (_, expected) = line(&check, subject);
        if found_check == expected {
            check = expected;
            refused.insert(subject);
        } else if index == lines.len() && torn.is_empty() && found_check.iter().all(|&byte| byte == 0) {
            break;
        } else {
            return Err(damaged(index));
        }
    }
    Ok((refused, check))
}

/// The count stands in two places, written in turn, a sector apart: a power failure can spoil one, never both.
const COUNT_SLOT_BYTES: u64 = 512;

fn count_check(number: u8, count: u64) -> Check {
    first_half(digest("holdfast opened v1", &[&[number], &count.to_be_bytes()]).0)
}

fn write_count(file: &File, number: u8, count: u64) -> io::Result<()> {
    let slot = [count.to_be_bytes().as_slice(), &count_check(number, count)].concat();
    file.write_all_at(&slot, count % 2 * COUNT_SLOT_BYTES)
}

fn read_count(file: &File, number: u8) -> Result<u64, HolderError> {
    let slot = |place: u64| {
        let (mut count, mut check) = ([0; 8], Check::default());
        file.read_exact_at(&mut count, place * COUNT_SLOT_BYTES).ok()?;
        file.read_exact_at(&mut check, place * COUNT_SLOT_BYTES + 8).ok()?;
        let count = u64::from_be_bytes(count);
        (count_check(number, count) == check && count % 2 == place).then_some(count)
    };
    slot(0).max(slot(1)).ok_or(HolderError::Damaged { file: OPENED, offset: 0 })
}

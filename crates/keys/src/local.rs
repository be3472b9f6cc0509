//! A holder in a folder of its own: its private key, the subjects that it refuses, and its count of openings.

use std::collections::HashSet;
use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard};

use kit::limits::SERVERS_MAX;
use kit::{Entropy, Id16, OsEntropy};
use minicbor::{Decode, Encode};
use zeroize::Zeroizing;

use crate::error::HolderError;
use crate::format::{self, FormatError, Version, within};
use crate::holder::{Holder, HolderPublicKey, OpenRequest, SYSTEM_SUBJECT};
use crate::record::{Batch, KeyRecord, share_digest};
use crate::seal::{self, Binding, Context, Contexts, PrivateKey, Seat, digest};
use crate::secret::{SECRET_BYTES, Share};
use crate::shamir::Secret;
use crate::syncing::Syncing;
use crate::turn::{RESEALED_AT_ONCE, Resealed, TurnOrder};

/// The key epoch of a holder that has just been made: deal to it with this epoch.
pub const FIRST_EPOCH: u32 = 1;

const KEY: &str = "holder.key";
/// The next epoch's, while a turn is under way.
const KEY_NEXT: &str = "holder.key.next";
/// The epoch's before, until it is written over.
const KEY_OLD: &str = "holder.key.old";
const REFUSED: &str = "refused.log";
const OPENED: &str = "opened.count";

/// 32 bytes of secret, and a few of version, number, epoch and heads.
const KEY_BYTES_MAX: usize = 64;
/// Subjects refused: 32 MiB of log and some more of memory.
const REFUSED_MAX: usize = 1 << 20;
/// Subjects that a turn of the epoch confirms: some four million patients, at 16 bytes of memory each, and some.
const CONFIRMED_MAX: usize = 1 << 22;
/// A person's or a purpose's name in a request. Nothing reads more of them.
const NAME_BYTES_MAX: usize = 256;
/// Openings between two fdatasyncs of the count. A killed process loses none of them (the kernel has each); a power
/// failure loses at most twice as many. Syncing each one would cost a disk's latency per share.
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
    syncing: Syncing,
}

/// One epoch's key.
struct EpochKey {
    epoch: u32,
    seed: Secret,
    private: PrivateKey,
    public: HolderPublicKey,
    contexts: Contexts,
}

impl EpochKey {
    fn read(dir: &Path, file: &'static str) -> Result<(u8, Self), HolderError> {
        let KeyFile { number, epoch, seed, .. } = read_key(dir, file)?;
        let private = seal::private_key(&seed).ok_or(FormatError::Invalid { place: file, what: "the seed" })?;
        let public = HolderPublicKey::new(number, epoch, &seal::public_key(&private));
        Ok((number, Self { epoch, seed, private, public, contexts: Contexts::default() }))
    }

    /// Makes one and writes it.
    fn make(
        dir: &Path,
        file: &'static str,
        number: u8,
        epoch: u32,
        entropy: &dyn Entropy,
    ) -> Result<Self, HolderError> {
        let mut seed = Zeroizing::new([0; SECRET_BYTES]);
        entropy.fill(seed.as_mut());
        let key = KeyFile { version: Version, number, epoch, seed };
        write_key(dir, file, &Zeroizing::new(format::encode(&key))).map_err(storage(file))?;
        Ok(Self::read(dir, file)?.1)
    }

    /// This holder's own share of a record.
    fn share(&self, number: u8, batch: &Batch, record: &KeyRecord) -> Option<Secret> {
        let place = usize::from(number) - 1;
        let binding = Binding::of(record, Seat::of(batch, number))?;
        let context = self.contexts.of(&self.private, batch, number)?;
        let share = context.open(&binding, record.shares.get(place)?)?;
        // An altered digest must not make this holder look like a liar.
        (record.digests.get(place) == Some(&share_digest(&record.salt, number, &share))).then_some(share)
    }
}

/// The key in use, and while a turn is under way the next one, with whom it was found to open.
struct Epochs {
    now: Arc<EpochKey>,
    next: Option<Arc<EpochKey>>,
    confirmed: HashSet<Id16>,
}

/// A holder whose server is this process. One process at a time holds a folder.
pub struct LocalHolder {
    dir: PathBuf,
    number: u8,
    epochs: RwLock<Epochs>,
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
        Self::init_in(dir, number, FIRST_EPOCH, entropy)
    }

    /// As [`Self::init`], in the epoch of the others: it takes the place of one that is lost.
    pub fn init_in(dir: &Path, number: u8, epoch: u32, entropy: &dyn Entropy) -> Result<Self, HolderError> {
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

        EpochKey::make(dir, KEY, number, epoch, entropy)?;
        drop(log);
        Self::open(dir)
    }

    pub fn open(dir: &Path) -> Result<Self, HolderError> {
        let log = lock(dir, false)?;
        let (number, now) = EpochKey::read(dir, KEY)?;
        let next = match dir.join(KEY_NEXT).try_exists().map_err(storage(KEY_NEXT))? {
            true => {
                Some(EpochKey::read(dir, KEY_NEXT)?).filter(|(owner, next)| *owner == number && next.epoch > now.epoch)
            }
            false => None,
        };
        let next = next.map(|(_, next)| Arc::new(next));
        if next.is_none() {
            // The turn was ended, and a crash came before the old key was destroyed.
            destroy_old_key(dir).map_err(storage(KEY_OLD))?;
        }
        let epochs = RwLock::new(Epochs { now: Arc::new(now), next, confirmed: HashSet::new() });
        let (refused, check) = read_log(&log, number)?;
        let count = private_file().open(dir.join(OPENED)).map_err(storage(OPENED))?;
        let opened = read_count(&count, number)?;
        let state = Mutex::new(State { refused, check, opened, unsynced: 0, syncing: Syncing::default() });
        Ok(Self { dir: dir.to_owned(), number, epochs, log, count, state })
    }

    /// Reads what a start would read, and changes nothing: so that a holder which is open is known to open again. Gives
    /// its public keys: one, or two while an epoch turns.
    pub fn look(dir: &Path) -> Result<Vec<HolderPublicKey>, HolderError> {
        let log = File::open(dir.join(REFUSED)).map_err(storage(REFUSED))?;
        let (number, now) = EpochKey::read(dir, KEY)?;
        read_log(&log, number)?;
        read_count(&File::open(dir.join(OPENED)).map_err(storage(OPENED))?, number)?;
        let next = dir.join(KEY_NEXT).exists().then(|| EpochKey::read(dir, KEY_NEXT)).transpose()?;
        Ok([now].into_iter().chain(next.map(|(_, next)| next)).map(|key| key.public).collect())
    }

    /// The public half of the key in use, and of the next epoch's while a turn is under way.
    pub fn public_keys(&self) -> Vec<HolderPublicKey> {
        let epochs = self.epochs();
        [Some(&epochs.now), epochs.next.as_ref()].into_iter().flatten().map(|key| key.public.clone()).collect()
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
        Ok(())
    }

    fn epochs(&self) -> RwLockReadGuard<'_, Epochs> {
        self.epochs.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// The key of a batch's epoch: the one in use, or the next.
    fn key_of(&self, batch: &Batch) -> Result<Arc<EpochKey>, HolderError> {
        let epochs = self.epochs();
        let found =
            [Some(&epochs.now), epochs.next.as_ref()].into_iter().flatten().find(|key| key.epoch == batch.epoch);
        let wrong = HolderError::Epoch { number: self.number, wanted: batch.epoch, own: epochs.now.epoch };
        found.map(Arc::clone).ok_or(wrong)
    }

    /// The next epoch's key, where a turn to `wanted` is under way.
    fn next_key(&self, wanted: u32) -> Result<Arc<EpochKey>, HolderError> {
        let next = self.epochs().next.clone().filter(|next| next.epoch == wanted);
        next.ok_or(HolderError::NoTurn { number: self.number, wanted })
    }

    fn check_all(&self, batch: &Batch, records: &[KeyRecord]) -> Result<(), HolderError> {
        let number = self.number;
        if records.len() > RESEALED_AT_ONCE {
            let (what, found, max) = ("the list of records", records.len(), RESEALED_AT_ONCE);
            return Err(HolderError::TooLong { number, what, found, max });
        }
        records.iter().try_for_each(|record| match record.check_in(batch) {
            Ok(()) if number > record.n => Err(HolderError::NotMine { number, n: record.n }),
            checked => Ok(checked?),
        })
    }
}

impl Holder for LocalHolder {
    fn number(&self) -> u8 {
        self.number
    }

    fn public_key(&self) -> HolderPublicKey {
        self.epochs().now.public.clone()
    }

    fn has_key(&self, key: &HolderPublicKey) -> bool {
        let epochs = self.epochs();
        epochs.now.public == *key || epochs.next.as_ref().is_some_and(|next| next.public == *key)
    }

    fn begin_turn(&self, epoch: u32) -> Result<HolderPublicKey, HolderError> {
        let mut epochs = self.epochs.write().unwrap_or_else(PoisonError::into_inner);
        if epochs.now.epoch == epoch {
            return Ok(epochs.now.public.clone());
        }
        if let Some(next) = epochs.next.as_ref().filter(|next| next.epoch == epoch) {
            return Ok(next.public.clone());
        }
        if epochs.next.is_some() || epochs.now.epoch.checked_add(1) != Some(epoch) {
            return Err(HolderError::Epoch { number: self.number, wanted: epoch, own: epochs.now.epoch });
        }
        let next = Arc::new(EpochKey::make(&self.dir, KEY_NEXT, self.number, epoch, &OsEntropy)?);
        epochs.next = Some(Arc::clone(&next));
        epochs.confirmed.clear();
        Ok(next.public.clone())
    }

    fn own_encapsulation(&self, batch: Id16) -> Result<Vec<u8>, HolderError> {
        let number = self.number;
        let next = self.epochs().next.clone().ok_or(HolderError::NoTurn { number, wanted: 0 })?;
        own_encapsulation(&next, batch, number)
    }

    fn reseal(&self, from: &Batch, to: &Batch, records: &[KeyRecord]) -> Result<Vec<Resealed>, HolderError> {
        let number = self.number;
        self.check_all(from, records)?;
        to.check()?;
        let (old, next) = (self.key_of(from)?, self.next_key(to.epoch)?);
        // Whoever made an encapsulation could open what is sealed in it.
        let own = own_encapsulation(&next, to.id, number)?;
        if to.encapsulations.get(usize::from(number) - 1).is_none_or(|theirs| **theirs != own) {
            return Err(HolderError::NotOwn { number });
        }
        let context = next.contexts.of(&next.private, to, number).ok_or(HolderError::NotOwn { number })?;
        let refused = |subject| self.state().refused.contains(subject);
        records
            .iter()
            .map(|record| {
                if refused(&record.subject) {
                    return Ok(None);
                }
                let share = old.share(number, from, record).ok_or(HolderError::Sealed { number })?;
                // Its digest is the share's: that was looked at when it was opened.
                let sealed = Binding::of(record, Seat::of(to, number)).and_then(|to| context.seal(&to, &share));
                sealed.map(|sealed| Some(sealed.into())).ok_or(HolderError::Sealed { number })
            })
            .collect()
    }

    fn confirm(&self, batch: &Batch, records: &[KeyRecord]) -> Result<(), HolderError> {
        let number = self.number;
        self.check_all(batch, records)?;
        let now = Arc::clone(&self.epochs().now);
        // It has turned already, or took a lost one's place in the middle of a turn: there is no old key.
        let is_over = now.epoch == batch.epoch;
        let key = if is_over { now } else { self.next_key(batch.epoch)? };
        for record in records {
            key.share(number, batch, record).ok_or(HolderError::Sealed { number })?;
        }
        if is_over {
            return Ok(());
        }
        let mut epochs = self.epochs.write().unwrap_or_else(PoisonError::into_inner);
        let found = epochs.confirmed.len() + records.len();
        if found > CONFIRMED_MAX {
            let (what, max) = ("the list of living subjects", CONFIRMED_MAX);
            return Err(HolderError::TooLong { number, what, found, max });
        }
        epochs.confirmed.extend(records.iter().map(|record| record.subject));
        Ok(())
    }

    fn finish_turn(&self, order: &TurnOrder) -> Result<(), HolderError> {
        let (number, turn) = (self.number, &order.turn);
        let mut epochs = self.epochs.write().unwrap_or_else(PoisonError::into_inner);
        if epochs.now.epoch == turn.epoch {
            return destroy_old_key(&self.dir).map_err(storage(KEY_OLD));
        }
        let next = epochs.next.clone().filter(|next| next.epoch == turn.epoch);
        let next = next.ok_or(HolderError::NoTurn { number, wanted: turn.epoch })?;
        // Who was erased since she was confirmed may still be in the order, or not any more.
        let is_refused = |subject: &Id16| self.state().refused.contains(subject);
        let living = epochs.confirmed.iter().copied().filter(|subject| !is_refused(subject));
        if !turn.is_of(epochs.confirmed.iter().copied()) && !turn.is_of(living) {
            let found = epochs.confirmed.len() as u64;
            return Err(HolderError::NotConfirmed { number, found, wanted: turn.subjects });
        }
        put_next_key(&self.dir).map_err(storage(KEY))?;
        epochs.now = next;
        epochs.next = None;
        epochs.confirmed.clear();
        drop(epochs);
        destroy_old_key(&self.dir).map_err(storage(KEY_OLD))
    }

    fn open_share(&self, request: &OpenRequest<'_>) -> Result<Share, HolderError> {
        self.check(request)?;
        let (number, record) = (self.number, request.record);
        let key = self.key_of(request.batch)?;
        let erased = HolderError::Erased { number };
        if self.state().refused.contains(&record.subject) {
            return Err(erased);
        }
        let share = key.share(number, request.batch, record).ok_or(HolderError::Sealed { number })?;
        let mut state = self.state();
        // Again, under the lock that counts: an erasure may have come in between.
        if state.refused.contains(&record.subject) {
            return Err(erased);
        }
        write_count(&self.count, number, state.opened + 1).map_err(storage(OPENED))?;
        state.opened += 1;
        state.unsynced += 1;
        if state.unsynced >= OPENINGS_UNSYNCED_MAX {
            state.syncing.begin(&self.count).map_err(storage(OPENED))?;
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

/// Opens a log of lines, or begins it with its first; one that is shorter was begun by somebody who didn't come far, and was
/// told nothing of it.
pub(crate) fn begin_lines(path: &Path, first: &[u8]) -> io::Result<File> {
    let file = private_file().create(true).truncate(false).open(path)?;
    if file.metadata()?.len() < first.len() as u64 {
        file.write_all_at(first, 0)?;
        file.sync_all()?;
    }
    Ok(file)
}

/// The refusals, opened and locked: two processes would write over each other's lines.
fn lock(dir: &Path, create: bool) -> Result<File, HolderError> {
    let log = private_file().create(create).open(dir.join(REFUSED)).map_err(storage(REFUSED))?;
    match kit::lock_file(&log) {
        Ok(()) => Ok(log),
        Err(TryLockError::WouldBlock) => Err(HolderError::Locked),
        Err(TryLockError::Error(source)) => Err(HolderError::Storage { file: REFUSED, source }),
    }
}

fn own_encapsulation(next: &EpochKey, batch: Id16, number: u8) -> Result<Vec<u8>, HolderError> {
    let seat = Seat { batch, epoch: next.epoch, number };
    next.public
        .hpke()
        .ok()
        .and_then(|public| Context::encapsulate_to_self(&next.seed, &public, seat))
        .ok_or(HolderError::Sealed { number })
}

/// Puts the next epoch's key in the place of the one in use, which keeps another name until it is destroyed.
fn put_next_key(dir: &Path) -> io::Result<()> {
    match fs::hard_link(dir.join(KEY), dir.join(KEY_OLD)) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => File::open(dir)?.sync_all()?,
    }
    fs::rename(dir.join(KEY_NEXT), dir.join(KEY))?;
    File::open(dir)?.sync_all()
}

/// Writes over what the old key's file held, and takes it away; also what an earlier try left. What a file system or a disk
/// keeps beside that is out of reach here.
fn destroy_old_key(dir: &Path) -> io::Result<()> {
    let mut old = match private_file().open(dir.join(KEY_OLD)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        opened => opened?,
    };
    let found = old.metadata()?;
    if found.ino() == fs::metadata(dir.join(KEY))?.ino() {
        // A second name of the key in use: a turn began to end, and didn't.
        return fs::remove_file(dir.join(KEY_OLD));
    }
    let len = usize::try_from(found.len()).unwrap_or(KEY_BYTES_MAX).min(KEY_BYTES_MAX);
    old.write_all(&vec![0; len])?;
    old.sync_all()?;
    fs::remove_file(dir.join(KEY_OLD))?;
    File::open(dir)?.sync_all()
}

fn write_key(dir: &Path, name: &str, bytes: &[u8]) -> io::Result<()> {
    let new = dir.join(format!("{name}.new"));
    let mut file = private_file().create(true).truncate(true).open(&new)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    let folder = File::open(dir)?;
    folder.sync_all()?;
    fs::rename(new, dir.join(name))?;
    folder.sync_all()?;
    // The folder's own name stands in its parent.
    dir.parent().filter(|parent| !parent.as_os_str().is_empty()).map_or(Ok(()), |parent| File::open(parent)?.sync_all())
}

fn read_key(dir: &Path, name: &'static str) -> Result<KeyFile, HolderError> {
    let file = File::open(dir.join(name)).map_err(storage(name))?;
    let mode = file.metadata().map_err(storage(name))?.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(HolderError::Readable { file: name, mode });
    }
    let mut bytes = Zeroizing::new(Vec::with_capacity(KEY_BYTES_MAX + 1));
    file.take(KEY_BYTES_MAX as u64 + 1).read_to_end(&mut bytes).map_err(storage(name))?;
    let key: KeyFile = format::decode(name, &bytes, KEY_BYTES_MAX)?;
    within(name, "the number", usize::from(key.number), 1, SERVERS_MAX)?;
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

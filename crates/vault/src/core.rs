//! What every part of an open vault shares: the chain, the tree, the secrets, and reading through them.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::thread;

use bytes::Bytes;
use keys::{Batch, DataKey, KeyRecord};
use kit::{Clock, Digest, Entropy, Id16, OperationId, PatientId};
use ledger::{Checkpoint, Tree, leaf_hash};
use zeroize::Zeroizing;

use crate::body::{Extent, Head, Opened, Payload, Prepared, Sealed};
use crate::centre::Centre;
use crate::claim::{SignedClaim, term_of};
use crate::error::VaultError;
use crate::gateway::{Gateway, Hashes};
use crate::hash::{Pending, hash};
use crate::header::{self, Header};
use crate::keymap::{Effect, KEY, KEY_BATCH, Keymap, key_record};
use crate::parcel::{Entry, Parcel, Scope};
use crate::roster::{FirstLook, Heads};
use crate::seal;
use crate::secrets::{Opener, Secrets};
use crate::shelf::{Located, Shelf};
use crate::witness::Witnesses;

/// Opened segments kept: ten full ones of the 3-of-14 code. More would be plaintext of entries' heads lying about.
const OPENED_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Threads that read one large payload, two for each core: while one waits for its disk, another one computes.
const READERS_MAX: usize = 16;

/// Sealed bytes of the large segments that were written last: they went past the system's page cache, and what was just
/// stored is read soon. An imaging study's slices, a plan that is signed.
const WRITTEN_BYTES_MAX: usize = 64 * 1024 * 1024;
/// A smaller one went through the page cache.
const WRITTEN_BYTES_MIN: usize = 256 * 1024;

/// Key records kept decoded: a day's patients, at about 2 KiB each.
const KEY_RECORDS_MAX: usize = 1_024;

/// Batches kept decoded, at about 20 KiB each.
const BATCHES_MAX: usize = 256;

/// A segment as it was written: what stands before each shard, and the first k shards, which are its body.
#[derive(Clone)]
pub(crate) struct Written {
    pub(crate) prefix: Bytes,
    pub(crate) body: Vec<Bytes>,
}

impl Written {
    /// As it would be read, if it is the one that the log knows.
    fn read(&self, located: &Located) -> Option<(Header, Vec<u8>)> {
        let header = header::parts(&self.prefix)?.header;
        let mut body = self.body.concat();
        body.truncate(located.body_len as usize);
        (Header::hash(header) == located.hash).then_some((Header::from_bytes(header).ok()?, body))
    }
}

/// Values by key, the oldest out first.
pub(crate) struct Recent<K, V> {
    held: VecDeque<(K, V, usize)>,
    weight: usize,
    max: usize,
}

impl<K: PartialEq, V: Clone> Recent<K, V> {
    pub(crate) fn new(max: usize) -> Self {
        Self { held: VecDeque::new(), weight: 0, max }
    }

    pub(crate) fn get(&mut self, key: &K) -> Option<V> {
        let at = self.held.iter().position(|(held, ..)| held == key)?;
        let found = self.held.remove(at)?;
        let value = found.1.clone();
        self.held.push_back(found);
        Some(value)
    }

    pub(crate) fn put(&mut self, key: K, value: V, weight: usize) {
        self.remove(&key);
        self.weight += weight;
        self.held.push_back((key, value, weight));
        while self.weight > self.max && self.held.len() > 1 {
            self.weight -= self.held.pop_front().map_or(0, |(_, _, weight)| weight);
        }
    }

    pub(crate) fn remove(&mut self, key: &K) {
        if let Some(at) = self.held.iter().position(|(held, ..)| held == key)
            && let Some((_, _, weight)) = self.held.remove(at)
        {
            self.weight -= weight;
        }
    }
}

fn copy_piece(opened: &Opened, extent: &Extent, place: &mut [u8], index: u64) -> Result<(), VaultError> {
    match opened.piece(extent).filter(|piece| piece.len() == place.len()) {
        Some(piece) => {
            place.copy_from_slice(piece);
            Ok(())
        }
        None => Err(VaultError::Payload { index, what: "an extent is outside of its segment" }),
    }
}

/// What may be exchanged as a whole while others read it: each of them goes on with what it has.
pub(crate) struct Current<T>(RwLock<Arc<T>>);

impl<T> Current<T> {
    fn new(value: T) -> Self {
        Self(RwLock::new(Arc::new(value)))
    }

    pub(crate) fn get(&self) -> Arc<T> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }

    pub(crate) fn set(&self, value: T) {
        self.share(Arc::new(value));
    }

    pub(crate) fn share(&self, value: Arc<T>) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = value;
    }
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

pub(crate) struct Core {
    shelf: Current<Shelf>,
    pub(crate) tree: Mutex<Tree<Hashes>>,
    /// The newest claim that is known: of an earlier writer, or this one's once it is held.
    pub(crate) claimed: Mutex<Option<SignedClaim>>,
    /// The newest signed checkpoint, and its note.
    pub(crate) checkpoint: Mutex<Option<(Checkpoint, Vec<u8>)>>,
    /// The newest one that the witnesses were asked about, with what they said to it: what is handed out. `None` without witnesses.
    heard: Mutex<Option<(Checkpoint, Vec<u8>)>>,
    centre: Current<Centre>,
    /// The highest epoch of a centre record that was put anywhere, be it one that was refused.
    epoch: AtomicU32,
    pub(crate) secrets: Secrets,
    opener: Current<Opener>,
    pub(crate) gateway: Option<Gateway>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) entropy: Arc<dyn Entropy>,
    /// Set by whoever has some.
    pub(crate) witnesses: Current<Option<Witnesses>>,
    keymap: RwLock<Keymap>,
    opened: Mutex<Recent<u64, Arc<Opened>>>,
    written: Mutex<Recent<u64, Written>>,
    key_records: Mutex<Recent<PatientId, Arc<KeyRecord>>>,
    batches: Mutex<Recent<Id16, Arc<Batch>>>,
    /// Where no more of the log was opened than what comes first: nothing else is here.
    first: OnceLock<(FirstLook, Heads)>,
}

/// What a core is made of, before it has read its keymap.
pub(crate) struct Parts {
    pub(crate) shelf: Shelf,
    pub(crate) tree: Tree<Hashes>,
    pub(crate) claim: Option<SignedClaim>,
    /// The highest one of a record that stands anywhere.
    pub(crate) epoch: u32,
    pub(crate) checkpoint: Option<(Checkpoint, Vec<u8>)>,
    pub(crate) centre: Centre,
    pub(crate) secrets: Secrets,
    pub(crate) opener: Opener,
    pub(crate) gateway: Option<Gateway>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) entropy: Arc<dyn Entropy>,
}

impl Core {
    pub(crate) fn new(parts: Parts) -> Self {
        Self {
            shelf: Current::new(parts.shelf),
            tree: Mutex::new(parts.tree),
            claimed: Mutex::new(parts.claim),
            checkpoint: Mutex::new(parts.checkpoint),
            heard: Mutex::new(None),
            epoch: AtomicU32::new(parts.epoch.max(parts.centre.record.epoch)),
            centre: Current::new(parts.centre),
            secrets: parts.secrets,
            opener: Current::new(parts.opener),
            gateway: parts.gateway,
            clock: parts.clock,
            entropy: parts.entropy,
            witnesses: Current::new(None),
            keymap: RwLock::default(),
            opened: Mutex::new(Recent::new(OPENED_BYTES_MAX)),
            written: Mutex::new(Recent::new(WRITTEN_BYTES_MAX)),
            key_records: Mutex::new(Recent::new(KEY_RECORDS_MAX)),
            batches: Mutex::new(Recent::new(BATCHES_MAX)),
            first: OnceLock::new(),
        }
    }

    /// Where the vault stands. Whoever reads several things of it takes it once: it is exchanged when the vault grows.
    pub(crate) fn shelf(&self) -> Arc<Shelf> {
        self.shelf.get()
    }

    /// The vault stands there from now on.
    pub(crate) fn moved(&self, shelf: Arc<Shelf>) {
        self.shelf.share(shelf);
    }

    /// Claims the log under this generation, where the vault stands, on the floor.
    pub(crate) fn claim(&self, generation: u32) -> Result<(), VaultError> {
        let shelf = self.shelf();
        let claim = SignedClaim::sign(&self.secrets.log, shelf.vault, term_of(generation, &*self.entropy))?;
        let (durable, floor) = (claim.vouch(&shelf), shelf.shape.floor());
        if durable < floor {
            return Err(VaultError::NotDurable { durable, floor });
        }
        *lock(&self.claimed) = Some(claim);
        Ok(())
    }

    /// The next centre record's epoch; each is used once.
    pub(crate) fn next_epoch(&self) -> u32 {
        self.epoch.fetch_add(1, Ordering::AcqRel).saturating_add(1)
    }

    pub(crate) fn centre(&self) -> Arc<Centre> {
        self.centre.get()
    }

    pub(crate) fn opener(&self) -> Arc<Opener> {
        self.opener.get()
    }

    pub(crate) fn centre_changed(&self, centre: Centre) {
        self.centre.set(centre);
    }

    /// Others hold the keys from now on.
    pub(crate) fn adopt(&self, centre: Centre, opener: Opener) {
        self.centre.set(centre);
        self.opener.set(opener);
    }

    /// Nothing else is opened from now on.
    pub(crate) fn look_first(&self, look: (FirstLook, Heads)) {
        // There is one look, at the start.
        let _ = self.first.set(look);
    }

    pub(crate) fn first_look(&self) -> Option<FirstLook> {
        self.first.get().map(|(look, _)| look.clone())
    }

    pub(crate) fn size(&self) -> u64 {
        self.shelf().catalogue.entries()
    }

    // Segments.

    /// Reads and opens a segment, and compares what it holds with its header.
    pub(crate) fn open_segment(
        &self,
        shelf: &Shelf,
        segment: u64,
        located: &Located,
    ) -> Result<(Header, Opened), VaultError> {
        let written = lock(&self.written).get(&segment).and_then(|written| written.read(located));
        let (header, sealed) = written.map_or_else(|| shelf.read(segment, located), Ok)?;
        let opened = self.unseal(segment, &header, sealed)?;
        Ok((header, opened))
    }

    /// Keeps a segment at hand that is durable now.
    pub(crate) fn remember_written(&self, segment: u64, written: Written) {
        let bytes = written.body.iter().map(Bytes::len).sum();
        if bytes >= WRITTEN_BYTES_MIN {
            lock(&self.written).put(segment, written, bytes);
        }
    }

    pub(crate) fn unseal(&self, segment: u64, header: &Header, sealed: Vec<u8>) -> Result<Opened, VaultError> {
        let binding = seal::segment_binding(self.shelf().vault, segment, header.term);
        let wrong = |what| VaultError::Segment { segment, what };
        let key = self.secrets.vault.of(header.vault_key()).ok_or_else(|| wrong("the vault's key that it names"))?;
        let plain = seal::open_whole(key.bytes(), &header.salt, &binding, sealed)?;
        let opened = Opened::new(plain.ok_or_else(|| wrong("it does not open"))?)?;
        let leaves = opened.heads.iter().map(|head| Digest::from(leaf_hash(head)));
        if !leaves.eq(header.leaves.iter().copied()) {
            return Err(wrong("its entries are not the header's leaves"));
        }
        Ok(opened)
    }

    fn segment(&self, segment: u64) -> Result<Arc<Opened>, VaultError> {
        if let Some(opened) = lock(&self.opened).get(&segment) {
            return Ok(opened);
        }
        let shelf = self.shelf();
        let located = shelf.catalogue.get(segment).ok_or(VaultError::ChainBroken { segment })?;
        let opened = Arc::new(self.open_segment(&shelf, segment, &located)?.1);
        lock(&self.opened).put(segment, Arc::clone(&opened), opened.bytes());
        Ok(opened)
    }

    // Entries.

    pub(crate) fn head(&self, index: u64) -> Result<(Head, Digest, u64), VaultError> {
        self.with_head(index, |bytes, segment| Ok((Head::from_bytes(bytes)?, leaf_hash(bytes).into(), segment)))
    }

    /// Hands `take` the bytes of an entry's head, and which segment they are in.
    pub(crate) fn with_head<T>(
        &self,
        index: u64,
        take: impl FnOnce(&[u8], u64) -> Result<T, VaultError>,
    ) -> Result<T, VaultError> {
        let absent = VaultError::NoSuchEntry { index, size: self.size() };
        if let Some((_, heads)) = self.first.get() {
            let (bytes, segment) = heads.get(index).ok_or(absent)?;
            return take(bytes, segment);
        }
        let Some((segment, located)) = self.shelf().catalogue.segment_of(index) else { return Err(absent) };
        let opened = self.segment(segment)?;
        let ordinal = index.checked_sub(located.first).and_then(|at| usize::try_from(at).ok());
        let Some(bytes) = ordinal.and_then(|at| opened.heads.get(at)) else { return Err(absent) };
        take(bytes, segment)
    }

    pub(crate) fn entry(&self, index: u64) -> Result<Entry, VaultError> {
        let (head, leaf, segment) = self.head(index)?;
        Ok(head.into_entry(index, leaf, segment))
    }

    /// Hands every head from `from` on to `each`, one segment after the other; gives the next index. Segments without
    /// entries are not read.
    pub(crate) fn scan<E: From<VaultError>>(
        &self,
        from: u64,
        each: &mut impl FnMut(u64, u64, &[u8]) -> Result<(), E>,
    ) -> Result<u64, E> {
        let shelf = self.shelf();
        let (mut next, end) = (from, shelf.catalogue.entries());
        if let Some((_, heads)) = self.first.get() {
            heads.from(from).try_for_each(|(index, segment, head)| each(index, segment, head))?;
            return Ok(end.max(from));
        }
        while next < end {
            let broken = || VaultError::NoSuchEntry { index: next, size: end };
            let (segment, located) = shelf.catalogue.segment_of(next).ok_or_else(broken)?;
            let cached = lock(&self.opened).get(&segment);
            // What is read once, in order, would only push out what is read often.
            let opened = match cached {
                Some(opened) => opened,
                None => Arc::new(self.open_segment(&shelf, segment, &located)?.1),
            };
            for (index, head) in (located.first..).zip(&opened.heads) {
                if index >= next {
                    each(index, segment, head)?;
                }
            }
            next = located.end();
        }
        Ok(next)
    }

    // Payloads.

    /// Compares a payload with its digest, where the segment of its entry is open already.
    pub(crate) fn check_payload(
        &self,
        index: u64,
        payload: &Payload,
        segment: u64,
        opened: &Opened,
    ) -> Result<(), VaultError> {
        match payload.extents.as_slice() {
            [extent] if extent.segment == segment => {
                let digest = opened.piece(extent).map(hash);
                let wrong = VaultError::Payload { index, what: "its digest" };
                if digest == Some(payload.digest) { Ok(()) } else { Err(wrong) }
            }
            _ => self.stored(index, payload).map(drop),
        }
    }

    /// The sealed bytes of a payload, compared with their digest.
    pub(crate) fn stored(&self, index: u64, payload: &Payload) -> Result<Zeroizing<Vec<u8>>, VaultError> {
        let stored = self.sealed(index, payload)?;
        let is_it = hash(&stored) == payload.digest;
        is_it.then_some(stored).ok_or(VaultError::Payload { index, what: "its digest" })
    }

    /// The sealed bytes of a payload, out of segments whose every shard was compared with the signed header's hash of it.
    fn sealed(&self, index: u64, payload: &Payload) -> Result<Zeroizing<Vec<u8>>, VaultError> {
        let wrong = |what| VaultError::Payload { index, what };
        let mut stored = Zeroizing::new(vec![0; usize::try_from(payload.stored_len()).unwrap_or(0)]);
        let (mut places, mut rest) = (Vec::with_capacity(payload.extents.len()), stored.as_mut_slice());
        for extent in &payload.extents {
            let (place, behind) = rest.split_at_mut_checked(extent.len as usize).ok_or_else(|| wrong("its extents"))?;
            places.push((extent, place));
            rest = behind;
        }
        let shelf = &*self.shelf();
        match places.as_mut_slice() {
            [(extent, place)] => copy_piece(&*self.segment(extent.segment)?, extent, place, index)?,
            // A large payload's segments are read past the cache, by several threads.
            several => thread::scope(|scope| {
                let readers =
                    thread::available_parallelism().map_or(2, |cores| (2 * cores.get()).clamp(4, READERS_MAX));
                let share = several.len().div_ceil(readers).max(1);
                let readers: Vec<_> = several
                    .chunks_mut(share)
                    .map(|share| {
                        scope.spawn(move || {
                            share.iter_mut().try_for_each(|(extent, place)| {
                                let segment = extent.segment;
                                let located =
                                    shelf.catalogue.get(segment).ok_or(VaultError::ChainBroken { segment })?;
                                copy_piece(&self.open_segment(shelf, segment, &located)?.1, extent, place, index)
                            })
                        })
                    })
                    .collect();
                readers.into_iter().try_for_each(|reader| {
                    reader.join().unwrap_or(Err(VaultError::Internal { step: "reading a payload" }))
                })
            })?,
        }
        Ok(stored)
    }

    pub(crate) fn fetch(
        &self,
        index: u64,
        person: &str,
        purpose: &str,
    ) -> Result<(Entry, Zeroizing<Vec<u8>>), VaultError> {
        let (head, leaf, segment) = self.head(index)?;
        let wrong = |what| VaultError::Payload { index, what };
        let payload = head.payload.as_ref().ok_or(VaultError::NoPayload { index })?;
        // Asked first: who may not open it costs no disk, and who may is counted before anything is read.
        let key = self.data_key(head.scope(), person, purpose)?;
        // Its digest is for those who can't open it (verify, recovery, auditors): that the key of its patient opens all of it, in
        // order and as what its head says, tells as much.
        let stored = self.sealed(index, payload)?;
        let binding = seal::payload_binding(head.scope(), &head.kind, head.operation, payload.compressed);
        let opened = seal::open_payload(key.bytes(), &binding, stored)?.ok_or_else(|| wrong("it does not open"))?;
        let len = usize::try_from(payload.len).map_err(|_| wrong("its length"))?;
        let plain = if payload.compressed {
            seal::decompress(&opened, len).ok_or_else(|| wrong("it does not decompress to its length"))?
        } else {
            opened
        };
        if plain.len() != len {
            return Err(wrong("its length"));
        }
        Ok((head.into_entry(index, leaf, segment), plain))
    }

    /// Compressed, sealed, hashed: in the caller's thread, before anything waits for anything.
    pub(crate) fn prepare(
        &self,
        parcel: Parcel,
        operation: OperationId,
        permit: Option<Digest>,
        key: &DataKey,
    ) -> Result<Prepared, VaultError> {
        let Parcel { scope, kind, meta, payload } = parcel;
        let payload = match payload.map(Zeroizing::new) {
            None => None,
            Some(plain) => {
                let len = plain.len() as u64;
                let squeezed = seal::compress(&plain);
                let compressed = squeezed.is_some();
                let binding = seal::payload_binding(scope, &kind, operation, compressed);
                let inner = squeezed.unwrap_or(plain);
                let pieces = seal::seal_payload(key.bytes(), &binding, inner, &*self.entropy)?;
                Some(Sealed { len, compressed, digest: Pending::of_pieces(&pieces), pieces })
            }
        };
        let salt = self.entropy.id();
        Ok(Prepared { time: self.clock.now(), scope, kind, operation, permit, meta, salt, payload })
    }

    // Keys.

    pub(crate) fn keymap(&self) -> RwLockReadGuard<'_, Keymap> {
        self.keymap.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn keymap_mut(&self) -> RwLockWriteGuard<'_, Keymap> {
        self.keymap.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads what the keymap hasn't seen yet; from the beginning where `anew`. Segments that can't be put together are
    /// passed over, so that one of them doesn't keep the others from being read; their number is given. What they said
    /// of keys is not known then, and whom they erased only to the holders.
    pub(crate) fn build_keymap(&self, anew: bool) -> Result<u64, VaultError> {
        let mut from = if anew { 0 } else { self.keymap().watermark };
        let (mut effects, mut unreadable) = (Vec::new(), 0);
        let watermark = loop {
            let scanned = self.scan(from, &mut |index, _, bytes| {
                let head = Head::from_bytes(bytes)?;
                effects.extend(Effect::of(&head.kind, head.patient, &head.meta).map(|effect| (index, effect)));
                Ok::<_, VaultError>(())
            });
            match scanned {
                Ok(watermark) => break watermark,
                Err(error @ VaultError::Unreadable { segment, .. }) => {
                    tracing::error!(%error, "passed over");
                    unreadable += 1;
                    from = self.shelf().catalogue.get(segment).ok_or(error)?.end();
                }
                Err(error) => return Err(error),
            }
        };
        let mut keymap = self.keymap_mut();
        if anew {
            *keymap = Keymap::default();
        }
        effects.into_iter().for_each(|(index, effect)| keymap.apply(index, effect));
        keymap.watermark = watermark.max(keymap.watermark);
        keymap.incomplete |= unreadable > 0;
        Ok(unreadable)
    }

    pub(crate) fn save_keymap(&self) -> Result<(), VaultError> {
        let Some(gateway) = &self.gateway else { return Ok(()) };
        let keymap = self.keymap();
        if keymap.incomplete {
            return Ok(());
        }
        let root = lock(&self.tree).root_at(keymap.watermark)?;
        let (_, key) = self.vault_key()?;
        gateway.remember_keymap(&keymap.to_snapshot(self.shelf().vault, key.bytes(), root, &*self.entropy)?)
    }

    /// Living patients in the order of the log, so that who reads their records opens each segment once.
    pub(crate) fn living(&self) -> Vec<PatientId> {
        let keymap = self.keymap();
        let living = keymap.keys.iter().filter(|(patient, _)| !keymap.erased.contains_key(patient));
        let mut living: Vec<(u64, PatientId)> = living.map(|(patient, index)| (*index, *patient)).collect();
        drop(keymap);
        living.sort_unstable();
        living.into_iter().map(|(_, patient)| patient).collect()
    }

    /// The key that seals now, and its number.
    pub(crate) fn vault_key(&self) -> Result<(u16, Arc<DataKey>), VaultError> {
        self.secrets.vault.newest().ok_or(VaultError::KeyRecord)
    }

    pub(crate) fn data_key(&self, scope: Scope, person: &str, purpose: &str) -> Result<Arc<DataKey>, VaultError> {
        let Scope::Patient(patient) = scope else { return Ok(Arc::clone(&self.secrets.centre)) };
        let record = self.key_record(patient)?;
        let opener = self.opener();
        let batch = self.batch(opener.batch_of(&record))?;
        opener.open(&record, &batch, person, purpose)
    }

    pub(crate) fn key_record(&self, patient: PatientId) -> Result<Arc<KeyRecord>, VaultError> {
        if self.keymap().erased.contains_key(&patient) {
            lock(&self.key_records).remove(&patient);
            return Err(VaultError::Erased);
        }
        if let Some(record) = lock(&self.key_records).get(&patient) {
            return Ok(record);
        }
        let record = match self.read_key_record(patient) {
            Err(VaultError::KeyRecord) => {
                tracing::warn!("the key map is wrong: it is built anew from the log");
                self.build_keymap(true)?;
                if self.keymap().erased.contains_key(&patient) {
                    return Err(VaultError::Erased);
                }
                self.read_key_record(patient)?
            }
            other => other?,
        };
        let record = Arc::new(record);
        lock(&self.key_records).put(patient, Arc::clone(&record), 1);
        Ok(record)
    }

    pub(crate) fn read_key_record(&self, patient: PatientId) -> Result<KeyRecord, VaultError> {
        let index = *self.keymap().keys.get(&patient).ok_or(VaultError::UnknownPatient)?;
        let entry = match self.entry(index) {
            Err(VaultError::NoSuchEntry { .. }) => return Err(VaultError::KeyRecord),
            other => other?,
        };
        let hers = entry.kind == KEY && entry.scope == Scope::Patient(patient);
        key_record(patient, &entry.meta).filter(|_| hers).ok_or(VaultError::KeyRecord)
    }

    pub(crate) fn batch(&self, id: Id16) -> Result<Arc<Batch>, VaultError> {
        let centre = self.centre();
        if centre.batch.id == id {
            return Ok(Arc::new(centre.batch.clone()));
        }
        if let Some(batch) = lock(&self.batches).get(&id) {
            return Ok(batch);
        }
        let index = *self.keymap().batches.get(&id).ok_or(VaultError::KeyRecord)?;
        let entry = self.entry(index)?;
        let batch = Batch::from_bytes(&entry.meta).map_err(|_| VaultError::KeyRecord)?;
        if entry.kind != KEY_BATCH || batch.id != id {
            return Err(VaultError::KeyRecord);
        }
        let batch = Arc::new(batch);
        lock(&self.batches).put(id, Arc::clone(&batch), 1);
        Ok(batch)
    }

    /// New key records make old ones stale.
    pub(crate) fn forget_key_record(&self, patient: PatientId) {
        lock(&self.key_records).remove(&patient);
    }

    // The ledger.

    /// Signs the tree as it is now, and remembers it.
    pub(crate) fn sign_checkpoint(&self, tree: &Tree<Hashes>) -> Result<(), VaultError> {
        let origin = self.secrets.log.vkey().name().to_owned();
        let checkpoint = Checkpoint { origin, size: tree.size(), root: tree.root()? };
        let signed = checkpoint.sign(&self.secrets.log)?;
        if let Some(gateway) = &self.gateway {
            gateway.remember_checkpoint(signed.bytes());
        }
        *lock(&self.checkpoint) = Some((checkpoint, signed.into_bytes()));
        Ok(())
    }

    /// The head to show to others, of `entries` at least: the newest has no cosignature while its witnesses are being asked, and no
    /// entry is acknowledged before they were.
    pub(crate) fn head_to_show(&self, entries: u64) -> Option<(Checkpoint, Vec<u8>)> {
        let heard = lock(&self.heard).clone().filter(|(checkpoint, _)| checkpoint.size >= entries);
        heard.or_else(|| lock(&self.checkpoint).clone())
    }

    /// Has the newest head cosigned, where there are witnesses; gives how many have.
    pub(crate) fn witness(&self) -> Result<u8, VaultError> {
        let witnesses = self.witnesses.get();
        let Some(witnesses) = &*witnesses else { return Ok(0) };
        let Some((checkpoint, _)) = lock(&self.checkpoint).clone() else { return Ok(0) };
        // Anew: the note may carry cosignatures that an earlier gateway got. Ed25519 makes the same signature again.
        let signed = checkpoint.sign(&self.secrets.log)?;
        let (cosigned, count) = witnesses.cosign(&self.tree, &checkpoint, &signed)?;
        if count < witnesses.quorum() {
            tracing::warn!(count, quorum = witnesses.quorum(), "too few witnesses cosigned the log's head");
        }
        // The next segment carries it, so that survivors have it.
        let heard = Some((checkpoint, cosigned.into_bytes()));
        lock(&self.heard).clone_from(&heard);
        *lock(&self.checkpoint) = heard;
        Ok(u8::try_from(count).unwrap_or(u8::MAX))
    }
}

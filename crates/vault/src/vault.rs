//! The façade: keep, note, entry, fetch, scan, erase, and how the vault is.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use keys::{CustodianPackage, DataKey, Dealer, Erasure, HolderHealth};
use kit::format::FormatError;
use kit::limits::{GROUP_PARCELS_MAX, OBJECT_BYTES_MAX};
use kit::{Digest, Fault, Id16, OperationId, PatientId, Timestamp};
use ledger::{Checkpoint, SignedCheckpoint, TlogProof, Vkey, WitnessVkey};
use zeroize::Zeroizing;

use crate::body::{Head, Prepared};
use crate::centre;
use crate::commit::{Begin, Committer, Healer, Inbox, capacity, spawn};
use crate::core::{Core, lock};
use crate::damage::DamageList;
use crate::error::VaultError;
use crate::keymap::{ERASED, KEY, KEY_BATCH};
use crate::notes::Notes;
use crate::open::{Mode, Opened};
use crate::parcel::{Entry, Group, KIND_BYTES_MAX, META_BYTES_MAX, Parcel, RESERVED_KINDS, Receipt, Scope};
use crate::secrets::Opener;
use crate::shape::Shape;
use crate::witness::{Witness, WitnessHealth, Witnesses};

/// Keys dealt in one batch, before a new dealer is made: what a thief of this process's memory could open without any
/// holder.
const DEALT_MAX: u32 = 4_096;

/// Key records that go into the ledger as one group, where many are dealt again.
const DEALT_AT_ONCE: usize = 256;

/// A witness's head, beside what is here; sizes in entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Weighed {
    /// What it saw is how this log begins.
    Within { size: u64 },
    /// It has seen more than is here.
    Beyond { size: u64 },
    /// It has seen another history.
    Contradicts { size: u64 },
}

/// As whom the holders are asked when a patient's record is kept.
/// Entries at the log's end whose times are looked at.
const NEWEST: u64 = 64;
const GATEWAY: &str = "gateway:keep";

/// An open vault. Share it by `Arc`; dropping it finishes what was begun.
pub struct Vault {
    core: Arc<Core>,
    opened: Opened,
    /// Where the gateway has a folder: who reads is noted, also where nothing else can be written.
    notes: Option<Arc<Notes>>,
    writer: Option<Writer>,
}

pub(crate) struct Writer {
    inbox: Arc<Inbox>,
    healing: Arc<(Mutex<bool>, Condvar)>,
    broken: Arc<AtomicBool>,
    committer: Option<JoinHandle<()>>,
    threads: Vec<JoinHandle<()>>,
    pub(crate) dealing: Mutex<Option<Arc<Dealing>>>,
    /// Patients whose registration is on its way.
    pub(crate) registering: Mutex<HashSet<PatientId>>,
    /// One change of who holds the keys at a time.
    pub(crate) renewing: Mutex<()>,
}

pub(crate) struct Dealing {
    dealer: Dealer,
    dealt: AtomicU32,
}

/// How a vault begins.
pub(crate) struct Start {
    pub(crate) begin: Begin,
    pub(crate) opened: Opened,
}

/// One location, as the gateway sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LocationHealth {
    pub id: String,
    /// It can be written, and lacks nothing: what is written there counts on receipts.
    pub up: bool,
    /// Segments that it lacks; they are healed when it answers.
    pub missing: u64,
    pub last_error: Option<String>,
}

/// How the vault is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Health {
    pub entries: u64,
    pub segments: u64,
    pub shape: Shape,
    pub locations: Vec<LocationHealth>,
    /// Locations that can be written and lack nothing.
    pub up: usize,
    /// Open for writing, and not below the floor.
    pub writable: bool,
    /// What the next receipt would say.
    pub survives: u8,
    pub notes_waiting: u64,
    pub notes_waiting_bytes: u64,
    /// By number; empty where the custodians opened the vault.
    pub holders: Vec<HolderHealth>,
    pub patients: u64,
    pub erased_patients: u64,
    /// Living patients whose keys were surely dealt before the holders and custodians that there are now: a change is under way, or
    /// was cut short. [`Vault::undealt`] reads every record, and finds as well who was resealed since in a turn.
    pub undealt_patients: u64,
    pub opened: Opened,
    /// What reading came upon since the start.
    pub damage: DamageList,
}

/// What erasing a patient did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Erased {
    /// `None` where she was erased before.
    pub receipt: Option<Receipt>,
    pub erasure: Erasure,
}

/// Who ended a scan.
enum Broken {
    Vault(VaultError),
    Caller(Fault),
    /// The caller has what it wants.
    Enough,
}

impl From<VaultError> for Broken {
    fn from(error: VaultError) -> Self {
        Self::Vault(error)
    }
}

impl Vault {
    pub(crate) fn start(core: Core, mode: Mode, start: Start) -> Result<Self, VaultError> {
        let Start { begin, mut opened } = start;
        let core = Arc::new(core);
        let inbox = Arc::new(Inbox::default());
        let mut notes = None;
        if let Some(gateway) = &core.gateway {
            let way = (mode == Mode::Write).then(|| Arc::clone(&inbox));
            let (open, replayed) = Notes::open(Arc::clone(&core), way, gateway.dir())?;
            opened.replayed_notes = replayed.notes;
            opened.torn_note_bytes = replayed.torn_bytes;
            opened.damaged_notes = replayed.damaged;
            opened.unsure_notes = replayed.unsure;
            notes = Some(Arc::new(open));
        }
        if mode == Mode::Read {
            return Ok(Self { core, opened, notes, writer: None });
        }
        let broken = Arc::new(AtomicBool::new(false));
        let committer = Committer::new(Arc::clone(&core), Arc::clone(&inbox), begin, Arc::clone(&broken))?;
        let mut writer = Writer {
            inbox,
            healing: Arc::default(),
            broken,
            committer: None,
            threads: Vec::new(),
            dealing: Mutex::default(),
            registering: Mutex::default(),
            renewing: Mutex::default(),
        };
        writer.committer = Some(spawn("vault-commit", move || committer.run())?);
        let healer = Healer::new(Arc::clone(&core), Arc::clone(&writer.healing));
        writer.threads.push(spawn("vault-heal", move || healer.run())?);
        if let Some(notes) = &notes {
            let moved = Arc::clone(notes);
            writer.threads.push(spawn("vault-notes", move || moved.run())?);
        }
        Ok(Self { core, opened, notes, writer: Some(writer) })
    }

    /// A crash may have come between an erasure's entry and the holders' refusals; refusing twice is no error. Nobody is asked
    /// by who only reads.
    pub(crate) fn refuse_erased(&self) {
        if self.writer.is_none() {
            return;
        }
        let erased: Vec<PatientId> = self.core.keymap().erased.keys().copied().collect();
        let opener = self.core.opener();
        // Whoever holds no share of hers has nothing to refuse, and a day's erasures are counted.
        let refused = |patient: &&PatientId| match self.core.read_key_record(**patient) {
            Ok(record) => opener.refuse(Id16(patient.0), record.n) > record.n.saturating_sub(record.t),
            Err(_) => opener.erase(Id16(patient.0)).is_ok(),
        };
        let failed = erased.len() - erased.iter().filter(refused).count();
        if failed > 0 {
            tracing::warn!(failed, "erasures that too few holders know; this gateway refuses them by the log");
        }
    }

    pub(crate) fn writer(&self) -> Result<&Writer, VaultError> {
        let writer = self.writer.as_ref().ok_or(VaultError::ReadOnly)?;
        if writer.broken.load(Ordering::Acquire) { Err(VaultError::Closed) } else { Ok(writer) }
    }

    /// Keeps the group's parcels, all or none. Blocks until they are durable; the receipts are in the parcels' order.
    pub fn keep(&self, group: Group) -> Result<Vec<Receipt>, VaultError> {
        let writer = self.writer()?;
        let registered = group.new_patients.len();
        let _reserved = self.reserve(writer, &group.new_patients)?;
        let entries = self.prepare(Some(writer), group)?;
        let mut receipts = writer.submit(&self.core, entries)?;
        Ok(receipts.split_off(registered.min(receipts.len())))
    }

    /// Durable in the gateway's write-ahead log on return, in the ledger within a second. Works below the floor, and on a
    /// vault that is open for reading: what is noted then goes into the ledger when the gateway's folder is next opened
    /// for writing.
    pub fn note(&self, group: Group) -> Result<(), VaultError> {
        let writer = match &self.writer {
            Some(_) => Some(self.writer()?),
            None => None,
        };
        let notes = self.notes.as_ref().ok_or(VaultError::ReadOnly)?;
        let bytes = |parcel: &Parcel| parcel.meta.len() + parcel.payload.as_ref().map_or(0, Vec::len);
        let found = group.parcels.iter().map(bytes).sum();
        let max = crate::notes::NOTE_BYTES_MAX;
        if !group.new_patients.is_empty() || found > max {
            return Err(VaultError::Note { found, max });
        }
        notes.note(self.prepare(writer, group)?)
    }

    /// Every note is in the ledger on return; on a vault that is open for reading they stay in the write-ahead log.
    pub fn flush_notes(&self) -> Result<(), VaultError> {
        self.notes.as_ref().map_or(Ok(()), |notes| notes.flush())
    }

    pub fn entry(&self, index: u64) -> Result<Entry, VaultError> {
        self.core.entry(index)
    }

    /// The entry and its payload. The holders are asked as `person` for `purpose`, and count it.
    pub fn fetch(&self, index: u64, person: &str, purpose: &str) -> Result<(Entry, Zeroizing<Vec<u8>>), VaultError> {
        self.core.fetch(index, person, purpose)
    }

    /// Hands all entries from `from` on to `each`, in order; gives the index to go on from.
    pub fn scan(&self, from: u64, each: &mut dyn FnMut(Entry) -> Result<(), Fault>) -> Result<u64, Fault> {
        self.core.scan(from, &mut |index, segment, bytes| {
            let head = Head::from_bytes(bytes).map_err(|error| Fault::from(VaultError::from(error)))?;
            each(head.into_entry(index, ledger::leaf_hash(bytes).into(), segment))
        })
    }

    /// As [`Self::scan`], for as long as `each` takes what it is given: the entry that it says no to is the first of the next time.
    pub fn scan_while(&self, from: u64, each: &mut dyn FnMut(Entry) -> Result<bool, Fault>) -> Result<u64, Fault> {
        let mut refused = None;
        let ended = self.core.scan(from, &mut |index, segment, bytes: &[u8]| {
            let head = Head::from_bytes(bytes).map_err(|error| Broken::Vault(VaultError::from(error)))?;
            match each(head.into_entry(index, ledger::leaf_hash(bytes).into(), segment)) {
                Ok(true) => Ok(()),
                Ok(false) => {
                    refused = Some(index);
                    Err(Broken::Enough)
                }
                Err(fault) => Err(Broken::Caller(fault)),
            }
        });
        match ended {
            Ok(end) => Ok(end),
            Err(Broken::Enough) => Ok(refused.unwrap_or(from)),
            Err(Broken::Caller(fault)) => Err(fault),
            Err(Broken::Vault(error)) => Err(error.into()),
        }
    }

    /// As [`Self::scan`], over segments that can't be put together: for whoever says that something is missing.
    pub fn scan_what_is_left(&self, from: u64, each: &mut dyn FnMut(Entry) -> Result<(), Fault>) -> Result<u64, Fault> {
        let mut each = |index, segment, bytes: &[u8]| {
            let head = Head::from_bytes(bytes).map_err(|error| Broken::Vault(VaultError::from(error)))?;
            each(head.into_entry(index, ledger::leaf_hash(bytes).into(), segment)).map_err(Broken::Caller)
        };
        let mut from = from;
        loop {
            match self.core.scan(from, &mut each) {
                Err(Broken::Vault(error @ VaultError::Unreadable { segment, .. })) => {
                    from = self.behind_segment(segment).ok_or(error)?;
                }
                Err(Broken::Vault(error)) => return Err(error.into()),
                Err(Broken::Caller(fault)) => return Err(fault),
                Err(Broken::Enough) => return Ok(from),
                Ok(end) => return Ok(end),
            }
        }
    }

    /// The latest time of the newest entries that can be read, by the clock of the gateway that wrote them: of what came later
    /// nothing is known. Of several, for what was noted while nobody wrote stands behind what is newer.
    pub fn newest_time(&self) -> Result<Option<Timestamp>, Fault> {
        let (size, mut back) = (self.size(), NEWEST);
        loop {
            let (from, mut newest) = (size.saturating_sub(back), None);
            self.scan_what_is_left(from, &mut |entry| {
                newest = newest.max(Some(entry.time));
                Ok(())
            })?;
            if newest.is_some() || from == 0 {
                return Ok(newest);
            }
            back = back.saturating_mul(NEWEST);
        }
    }

    /// The first entry behind a segment: where a scan can go on that came upon one with too few good shards.
    pub fn behind_segment(&self, segment: u64) -> Option<u64> {
        self.core.shelf().catalogue.get(segment).map(|located| located.end())
    }

    /// Erases a patient: an entry says so, every holder refuses her key from then on, and so does this vault. The log and
    /// the sealed bytes stay. It may be repeated where too few holders answered.
    pub fn erase(
        &self,
        patient: PatientId,
        permit: Option<Digest>,
        operation: OperationId,
    ) -> Result<Erased, VaultError> {
        let writer = self.writer()?;
        let known = self.core.keymap().keys.contains_key(&patient);
        if !known {
            return Err(VaultError::UnknownPatient);
        }
        let receipt = if self.core.keymap().erased.contains_key(&patient) {
            None
        } else {
            let prepared = self.bare(ERASED, Scope::Patient(patient), operation, permit, Vec::new());
            writer.submit(&self.core, vec![prepared])?.pop()
        };
        Ok(Erased { receipt, erasure: self.core.opener().erase(Id16(patient.0))? })
    }

    /// What opening came upon.
    pub fn opened(&self) -> &Opened {
        &self.opened
    }

    /// Entries in the log.
    pub fn size(&self) -> u64 {
        self.core.size()
    }

    /// The newest signed checkpoint, `None` before the first entry.
    pub fn checkpoint(&self) -> Option<Checkpoint> {
        lock(&self.core.checkpoint).as_ref().map(|(checkpoint, _)| checkpoint.clone())
    }

    /// Has `witnesses` cosign the log's heads from now on, and asks them about the one that there is: where half of
    /// them have seen another history, or more of this one, that is the error. The last call counts.
    pub fn be_witnessed(&self, witnesses: Vec<Arc<dyn Witness>>) -> Result<u8, VaultError> {
        self.core.witnesses.set(Some(Witnesses::new(witnesses)));
        self.core.witness()
    }

    /// Witnesses needed for a quorum, and what is known of each.
    pub fn witnesses(&self) -> (usize, Vec<WitnessHealth>) {
        let witnesses = self.core.witnesses.get();
        witnesses.as_ref().as_ref().map_or((0, Vec::new()), |all| (all.quorum(), all.health()))
    }

    /// That a location isn't what it was (it has fewer objects, or some that are damaged): what it lacks is asked anew, and healed.
    pub fn look_again(&self, location: &str) {
        for slot in self.core.shelf().slots.iter().filter(|slot| slot.id == location) {
            slot.state().doubted = true;
        }
    }

    /// Keeps no patient's opened key in memory any longer: each is asked of the holders anew.
    pub fn forget_opened_keys(&self) {
        if let Opener::Holders(keyring) = &*self.core.opener() {
            keyring.forget();
        }
    }

    /// Their keys: by them a reader tells who has cosigned.
    pub fn witness_keys(&self) -> Vec<WitnessVkey> {
        let witnesses = self.core.witnesses.get();
        witnesses.as_ref().as_ref().map_or_else(Vec::new, |all| all.keys())
    }

    /// The newest that the witnesses, if there are any, were asked about: the C2SP signed note, with their cosignatures.
    pub fn signed_checkpoint(&self) -> Option<Vec<u8>> {
        self.core.head_to_show(0).map(|(_, note)| note)
    }

    /// How a head that a witness keeps, as this log signed it, stands to the log's first `entries`. A note that this log's key did not
    /// sign is an error.
    pub fn weigh(&self, note: &[u8], entries: u64) -> Result<Weighed, VaultError> {
        let head = SignedCheckpoint::open(note, &self.vkey())?;
        Ok(match head.size {
            size if size > entries => Weighed::Beyond { size },
            size if lock(&self.core.tree).root_at(size)? == head.root => Weighed::Within { size },
            size => Weighed::Contradicts { size },
        })
    }

    /// That entry `index` is in the log that the newest checkpoint is the head of; one that witnesses were asked about, where it was
    /// acknowledged.
    pub fn prove(&self, index: u64) -> Result<TlogProof, VaultError> {
        let signed = self.core.head_to_show(index.saturating_add(1));
        let (checkpoint, note) = signed.ok_or(VaultError::NoSuchEntry { index, size: 0 })?;
        let tree = lock(&self.core.tree);
        let path = tree.prove_inclusion(index, checkpoint.size)?;
        Ok(TlogProof { index, leaf: tree.leaf(index)?, path, checkpoint: SignedCheckpoint::from_bytes(&note)? })
    }

    /// The bytes that entry `index` is the leaf of: with [`Self::prove`], what it says can be shown to somebody who has only keys.
    pub fn leaf_bytes(&self, index: u64) -> Result<Vec<u8>, VaultError> {
        self.core.with_head(index, |bytes, _| Ok(bytes.to_vec()))
    }

    /// That the log of `to` entries grew from the log of `from`.
    pub fn prove_consistency(&self, from: u64, to: u64) -> Result<Vec<Digest>, VaultError> {
        Ok(lock(&self.core.tree).prove_consistency(from, to)?)
    }

    /// The log's root when it had so many entries.
    pub fn root_at(&self, size: u64) -> Result<Digest, VaultError> {
        Ok(lock(&self.core.tree).root_at(size)?)
    }

    /// A key for blind tags, derived from a secret of the centre's that no disk holds.
    pub fn index_key(&self) -> Zeroizing<[u8; 32]> {
        Zeroizing::new(*self.core.secrets.index.bytes())
    }

    pub fn id(&self) -> Id16 {
        self.core.shelf().vault
    }

    pub fn shape(&self) -> Shape {
        self.core.shelf().shape
    }

    /// Holders that open a key, and holders that there are.
    pub fn quorum_of_holders(&self) -> (u8, u8) {
        let centre = self.core.centre();
        (centre.record.t, u8::try_from(centre.holders.len()).unwrap_or(u8::MAX))
    }

    /// What was seen of each holder; without the rest of [`Self::health`].
    pub fn holder_health(&self) -> Vec<HolderHealth> {
        self.core.opener().health()
    }

    /// Asks every holder for its share of one of the centre's own keys, all at once. What came of it is in [`Health::holders`].
    pub fn probe_holders(&self, patience: Duration) {
        let centre = self.core.centre();
        if let (Opener::Holders(keyring), Some(record)) = (&*self.core.opener(), centre.secrets.first()) {
            keyring.probe(record, &centre.batch, patience);
        }
    }

    /// The holders that keys are dealt to, by number.
    pub fn holder_keys(&self) -> Vec<keys::HolderPublicKey> {
        self.core.centre().holders.clone()
    }

    /// The key epoch that keys are dealt in.
    pub fn key_epoch(&self) -> u32 {
        self.core.centre().batch.epoch
    }

    /// Custodians needed, and custodians that there are.
    pub fn custodians(&self) -> (u8, u8) {
        let centre = self.core.centre();
        (centre.custodians.m(), centre.custodians.n())
    }

    /// The recovery key's shares, each sealed to its custodian.
    pub fn custodian_package(&self) -> CustodianPackage {
        self.core.centre().custodians.clone()
    }

    /// That package, and those before it, newest first.
    pub fn custodian_packages(&self) -> Vec<CustodianPackage> {
        let shelf = self.core.shelf();
        let locations = shelf.slots.iter().filter_map(|slot| slot.location.as_deref());
        centre::packages(&self.core.centre(), locations)
    }

    /// The centre's log key: write it on paper.
    pub fn vkey(&self) -> Vkey {
        self.core.centre().vkey.clone()
    }

    pub fn is_registered(&self, patient: PatientId) -> bool {
        self.core.keymap().keys.contains_key(&patient)
    }

    pub fn is_erased(&self, patient: PatientId) -> bool {
        self.core.keymap().erased.contains_key(&patient)
    }

    pub fn health(&self) -> Health {
        let core = &self.core;
        let shelf = core.shelf();
        let locations: Vec<LocationHealth> = shelf
            .slots
            .iter()
            .map(|slot| {
                let state = slot.state();
                let last_error = state.last_error.clone();
                LocationHealth { id: slot.id.clone(), up: state.is_whole(), missing: state.missing.len(), last_error }
            })
            .collect();
        let up = locations.iter().filter(|location| location.up).count();
        let notes = self.notes.as_ref();
        let (notes_waiting, notes_waiting_bytes) = notes.map_or((0, 0), |notes| notes.waiting());
        let keymap = core.keymap();
        Health {
            entries: core.size(),
            segments: shelf.catalogue.segments(),
            shape: shelf.shape,
            up,
            writable: self.writer().is_ok() && up >= shelf.shape.floor(),
            survives: shelf.shape.survives(u8::try_from(up).unwrap_or(u8::MAX)),
            locations,
            notes_waiting,
            notes_waiting_bytes,
            holders: self.holder_health(),
            patients: keymap.keys.len() as u64,
            erased_patients: keymap.erased.len() as u64,
            undealt_patients: keymap.undealt(),
            opened: self.opened.clone(),
            damage: lock(&shelf.damage).clone(),
        }
    }

    pub(crate) fn core(&self) -> &Arc<Core> {
        &self.core
    }

    // What keeping needs.

    fn reserve<'a>(&'a self, writer: &'a Writer, patients: &[PatientId]) -> Result<Reserved<'a>, VaultError> {
        let mut registering = lock(&writer.registering);
        let mut reserved = Reserved { writer, patients: Vec::with_capacity(patients.len()) };
        for patient in patients {
            if self.core.keymap().keys.contains_key(patient) || !registering.insert(*patient) {
                drop(registering);
                return Err(VaultError::PatientExists);
            }
            reserved.patients.push(*patient);
        }
        Ok(reserved)
    }

    fn prepare(&self, writer: Option<&Writer>, group: Group) -> Result<Vec<Prepared>, VaultError> {
        check(&group)?;
        let Group { operation, permit, new_patients, parcels } = group;
        let mut data_keys: HashMap<Scope, Arc<DataKey>> = HashMap::new();
        let mut entries = Vec::with_capacity(new_patients.len() + parcels.len());
        for patient in new_patients {
            let dealing = self.dealing(writer.ok_or(VaultError::ReadOnly)?)?;
            let key = DataKey::random(&*self.core.entropy);
            let record = dealing.dealer.deal(Id16(patient.0), &key, &*self.core.entropy)?;
            let scope = Scope::Patient(patient);
            entries.push(self.bare(KEY, scope, operation, permit, record.to_bytes()));
            data_keys.insert(scope, Arc::new(key));
        }
        for parcel in parcels {
            let key = match data_keys.get(&parcel.scope) {
                Some(key) => Arc::clone(key),
                // Without a payload no key is needed; the patient has to be known all the same.
                None if parcel.payload.is_none() => {
                    if let Scope::Patient(patient) = parcel.scope
                        && !self.core.keymap().keys.contains_key(&patient)
                    {
                        return Err(VaultError::UnknownPatient);
                    }
                    Arc::clone(&self.core.secrets.centre)
                }
                None => {
                    let key = self.core.data_key(parcel.scope, GATEWAY, "keep")?;
                    data_keys.insert(parcel.scope, Arc::clone(&key));
                    key
                }
            };
            entries.push(self.core.prepare(parcel, operation, permit, &key)?);
        }
        let capacity = capacity(self.core.shelf().shape);
        let found: usize = entries.iter().map(|entry| entry.head_bytes_max(capacity)).sum();
        let max = capacity - crate::body::BLOCK_FIXED_BYTES;
        if found > max { Err(VaultError::GroupHeads { found, max }) } else { Ok(entries) }
    }

    pub(crate) fn bare(
        &self,
        kind: &str,
        scope: Scope,
        operation: OperationId,
        permit: Option<Digest>,
        meta: Vec<u8>,
    ) -> Prepared {
        let (time, salt) = (self.core.clock.now(), self.core.entropy.id());
        Prepared { time, scope, kind: kind.to_owned(), operation, permit, meta, salt, payload: None }
    }

    /// The current dealer. A new one's batch is in the log before anything refers to it.
    fn dealing(&self, writer: &Writer) -> Result<Arc<Dealing>, VaultError> {
        let mut dealing = lock(&writer.dealing);
        if let Some(current) = dealing.as_ref()
            && current.dealt.fetch_add(1, Ordering::Relaxed) < DEALT_MAX
        {
            return Ok(Arc::clone(current));
        }
        let (centre, entropy) = (self.core.centre(), &*self.core.entropy);
        let epoch = centre.batch.epoch;
        let recovery = centre.custodians.public_key();
        let (dealer, batch) = Dealer::new(&centre.holders, &recovery, centre.record.t, epoch, entropy)?;
        let operation = OperationId::random(entropy);
        let entry = self.bare(KEY_BATCH, Scope::Centre, operation, None, batch.to_bytes());
        writer.submit(&self.core, vec![entry])?;
        let new = Arc::new(Dealing { dealer, dealt: AtomicU32::new(1) });
        *dealing = Some(Arc::clone(&new));
        Ok(new)
    }

    /// Deals new key records for patients' old keys, as a recovery does and a change of custodians or holders: in groups,
    /// after each of which `kept` hears how many there are so far. Gives how many there were.
    pub(crate) fn deal_again(
        &self,
        keys: impl Iterator<Item = Result<(PatientId, Arc<DataKey>), VaultError>>,
        kept: &mut dyn FnMut(u64),
    ) -> Result<u64, VaultError> {
        let (writer, entropy) = (self.writer()?, &*self.core.entropy);
        let (operation, room) = (OperationId::random(entropy), capacity(self.core.shelf().shape) / 2);
        let (mut group, mut bytes, mut dealt) = (Vec::new(), 0, 0);
        for key in keys {
            let (patient, key) = key?;
            let record = self.dealing(writer)?.dealer.deal(Id16(patient.0), &key, entropy)?;
            let prepared = self.bare(KEY, Scope::Patient(patient), operation, None, record.to_bytes());
            bytes += prepared.head_bytes_max(room);
            group.push(prepared);
            dealt += 1;
            if group.len() >= DEALT_AT_ONCE || bytes >= room {
                self.submit(std::mem::take(&mut group))?;
                bytes = 0;
                kept(dealt);
            }
        }
        if !group.is_empty() {
            self.submit(group)?;
            kept(dealt);
        }
        Ok(dealt)
    }

    pub(crate) fn submit(&self, entries: Vec<Prepared>) -> Result<Vec<Receipt>, VaultError> {
        self.writer()?.submit(&self.core, entries)
    }
}

impl Writer {
    /// Does this while nothing is written. It is given the highest generation that is known, and gives the highest one that it
    /// claimed, as this does.
    pub(crate) fn pause(
        &self,
        act: impl FnOnce(u32) -> (u32, Result<(), VaultError>) + Send + 'static,
    ) -> Result<u32, VaultError> {
        self.inbox.pause(act)
    }

    fn submit(&self, core: &Core, entries: Vec<Prepared>) -> Result<Vec<Receipt>, VaultError> {
        self.inbox.submit(entries, capacity(core.shelf().shape))
    }
}

/// Patients whose registration is on its way; nobody else registers them meanwhile.
struct Reserved<'a> {
    writer: &'a Writer,
    patients: Vec<PatientId>,
}

impl Drop for Reserved<'_> {
    fn drop(&mut self) {
        let mut registering = lock(&self.writer.registering);
        for patient in &self.patients {
            registering.remove(patient);
        }
    }
}

fn check(group: &Group) -> Result<(), VaultError> {
    let found = group.parcels.len() + group.new_patients.len();
    if !(1..=GROUP_PARCELS_MAX).contains(&found) {
        return Err(VaultError::GroupSize { found, max: GROUP_PARCELS_MAX });
    }
    for (at, parcel) in group.parcels.iter().enumerate() {
        let allowed = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, b'.' | b'-');
        let kind = parcel.kind.as_str();
        let sound = (1..=KIND_BYTES_MAX).contains(&kind.len()) && kind.bytes().all(allowed);
        if !sound || kind.starts_with(RESERVED_KINDS) {
            return Err(VaultError::Kind { at, max: KIND_BYTES_MAX });
        }
        if parcel.meta.len() > META_BYTES_MAX {
            return Err(VaultError::MetaTooLarge { at, found: parcel.meta.len(), max: META_BYTES_MAX });
        }
        let found = parcel.payload.as_ref().map_or(0, Vec::len);
        if found > OBJECT_BYTES_MAX {
            return Err(VaultError::PayloadTooLarge { at, found, max: OBJECT_BYTES_MAX });
        }
    }
    Ok(())
}

impl Drop for Vault {
    /// Waits for what is on its way. Notes that can't go into the ledger stay in their file.
    fn drop(&mut self) {
        if let Some(notes) = &self.notes {
            notes.close();
        }
        let Some(mut writer) = self.writer.take() else { return };
        writer.close();
        if let Err(error) = self.core.save_keymap() {
            tracing::warn!(%error, "the key map is not remembered: the next start reads the log");
        }
    }
}

impl Writer {
    fn close(&mut self) {
        self.inbox.close();
        let (closed, bell) = &*self.healing;
        *lock(closed) = true;
        bell.notify_all();
        self.committer.take().into_iter().for_each(|thread| drop(thread.join()));
        self.threads.drain(..).for_each(|thread| drop(thread.join()));
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.close();
    }
}

impl fmt::Debug for Vault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mode = if self.writer.is_some() { "for writing" } else { "for reading" };
        write!(f, "Vault({}, {} entries, open {mode})", self.core.shelf().vault, self.core.size())
    }
}

/// What a leaf says, for whoever was handed its bytes with a proof of entry `index`. The segment isn't known, and is said as 0.
pub fn entry_of_leaf(index: u64, bytes: &[u8]) -> Result<Entry, FormatError> {
    Ok(Head::from_bytes(bytes)?.into_entry(index, ledger::leaf_hash(bytes).into(), 0))
}

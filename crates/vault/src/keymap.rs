//! Which entry holds a patient's newest key: a projection of the log, kept as a sealed snapshot in the gateway's folder.

use std::collections::HashMap;

use keys::{Batch, KeyRecord};
use kit::{Digest, Entropy, Id16, PatientId};
use minicbor::{Decode, Encode};

use crate::centre::Centre;
use crate::error::VaultError;
use crate::seal::{self, SALT_BYTES};
use kit::format::{self, Version};

pub(crate) const KEY: &str = "vault.key";
pub(crate) const KEY_BATCH: &str = "vault.key-batch";
pub(crate) const ERASED: &str = "vault.erased";
/// A recovery took her erasure back.
pub(crate) const RESTORED: &str = "vault.restored";
/// From here on keys are dealt to the holders and custodians of another centre record.
pub(crate) const ADOPTED: &str = "vault.adopted";
/// Every holder has destroyed the key of the epoch before.
pub(crate) const TURNED: &str = "vault.turned";
/// The vault is about to move. So that something is written above whatever an earlier move has left somewhere.
pub(crate) const MOVING: &str = "vault.moving";
/// From about here on segments are sealed under another of the vault's keys.
pub(crate) const ROTATED: &str = "vault.rotated";

/// Some ten million patients.
const SNAPSHOT_BYTES_MAX: usize = 512 * 1024 * 1024;

const MAGIC: &[u8; 8] = b"HFKEYMP1";

#[derive(Default)]
pub(crate) struct Keymap {
    /// Entries that it has seen.
    pub(crate) watermark: u64,
    /// Some of them could not be read: it is not remembered so.
    pub(crate) incomplete: bool,
    pub(crate) keys: HashMap<PatientId, u64>,
    pub(crate) batches: HashMap<Id16, u64>,
    /// With the entry that says so.
    pub(crate) erased: HashMap<PatientId, u64>,
    /// Batches of later entries are dealt to the holders that there are now.
    pub(crate) adopted: u64,
    /// Those of entries behind this one are dealt to the custodians that there are now.
    pub(crate) custodians: u64,
    /// The newest centre record, and the newest key epoch, that an entry speaks of.
    pub(crate) logged: (u32, u32),
    /// The key epoch that has begun, and that not all holders have ended the one before of.
    pub(crate) turning: Option<u32>,
}

/// What a change of those who hold the keys says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub(crate) struct Change {
    #[n(0)]
    pub(crate) version: Version<1>,
    /// The centre record's.
    #[n(1)]
    pub(crate) centre: u32,
    /// The holders' keys'.
    #[n(2)]
    pub(crate) keys: u32,
    /// The holders keep their keys of the epoch before until all shares are sealed to the new ones.
    #[n(3)]
    pub(crate) is_turn: bool,
    /// Others are custodians.
    #[n(4)]
    pub(crate) custodians: bool,
}

impl Change {
    const BYTES_MAX: usize = 32;

    /// What led to this centre record.
    pub(crate) fn of(centre: &Centre, is_turn: bool, custodians: bool) -> Self {
        let (centre, keys) = (centre.record.epoch, centre.batch.epoch);
        Self { version: Version, centre, keys, is_turn, custodians }
    }

    pub(crate) fn to_bytes(self) -> Vec<u8> {
        format::encode(&self)
    }

    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        format::decode("a change of who holds the keys", bytes, Self::BYTES_MAX).ok()
    }
}

/// What one entry changes.
#[derive(Clone, Copy)]
pub(crate) enum Effect {
    Key(PatientId),
    Batch(Id16),
    Erased(PatientId),
    Restored(PatientId),
    Adopted(Change),
    Turned,
    /// Another centre record, in which only the vault's key is another one.
    Rotated(Change),
}

/// Whether an entry of this kind says no more than how somebody's key opens: dealt anew, it changes nothing that is known of her.
pub fn deals_keys(kind: &str) -> bool {
    kind == KEY
}

impl Effect {
    pub(crate) fn of(kind: &str, patient: Option<PatientId>, meta: &[u8]) -> Option<Self> {
        match kind {
            // One that is no record of hers takes the place of none that is.
            KEY => patient.filter(|patient| key_record(*patient, meta).is_some()).map(Self::Key),
            KEY_BATCH => Batch::from_bytes(meta).ok().map(|batch| Self::Batch(batch.id)),
            ERASED => patient.map(Self::Erased),
            RESTORED => patient.map(Self::Restored),
            ADOPTED => Change::from_bytes(meta).map(Self::Adopted),
            TURNED => Some(Self::Turned),
            ROTATED => Change::from_bytes(meta).map(Self::Rotated),
            _ => None,
        }
    }
}

/// Her key record, where it is one.
pub(crate) fn key_record(patient: PatientId, meta: &[u8]) -> Option<KeyRecord> {
    KeyRecord::from_bytes(meta).ok().filter(|record| record.subject == Id16(patient.0))
}

#[derive(Encode, Decode)]
struct Snapshot {
    #[n(0)]
    version: Version<3>,
    #[n(1)]
    watermark: u64,
    /// The log's root at the watermark: another history's snapshot is none of this one's.
    #[n(2)]
    root: Digest,
    #[n(3)]
    keys: Vec<(PatientId, u64)>,
    #[n(4)]
    batches: Vec<(Id16, u64)>,
    #[n(5)]
    erased: Vec<(PatientId, u64)>,
    #[n(6)]
    adopted: u64,
    #[n(7)]
    turning: Option<u32>,
    #[n(8)]
    custodians: u64,
    #[n(9)]
    logged: (u32, u32),
}

fn binding(vault: Id16) -> Vec<u8> {
    [b"holdfast keymap v1".as_slice(), &vault.0].concat()
}

impl Keymap {
    /// Living patients whose newest key record is older than the holders or the custodians that there are now.
    pub(crate) fn undealt(&self) -> u64 {
        let since = self.adopted.max(self.custodians);
        if since == 0 {
            return 0;
        }
        let is_before = |(patient, entry): &(&PatientId, &u64)| **entry < since && !self.erased.contains_key(patient);
        self.keys.iter().filter(is_before).count() as u64
    }

    pub(crate) fn apply(&mut self, index: u64, effect: Effect) {
        match effect {
            Effect::Key(patient) => drop(self.keys.insert(patient, index)),
            Effect::Batch(batch) => drop(self.batches.insert(batch, index)),
            // The first one: whoever says it once more moves nothing.
            Effect::Erased(patient) => drop(self.erased.entry(patient).or_insert(index)),
            Effect::Restored(patient) => drop(self.erased.remove(&patient)),
            Effect::Adopted(change) => {
                self.adopted = index;
                if change.custodians {
                    self.custodians = index;
                }
                self.logged = (change.centre, change.keys);
                // A recovery onto other holders ends what was begun with those before.
                let goes_on = self.turning.filter(|epoch| *epoch == change.keys);
                self.turning = change.is_turn.then_some(change.keys).or(goes_on);
            }
            Effect::Rotated(change) => self.logged = (change.centre, change.keys),
            Effect::Turned => self.turning = None,
        }
    }

    /// Magic, salt, sealed CBOR.
    pub(crate) fn to_snapshot(
        &self,
        vault: Id16,
        key: &[u8; 32],
        root: Digest,
        entropy: &dyn Entropy,
    ) -> Result<Vec<u8>, VaultError> {
        let mut salt = [0; SALT_BYTES];
        entropy.fill(&mut salt);
        let mut sealed = format::encode(&Snapshot {
            version: Version,
            watermark: self.watermark,
            root,
            keys: self.keys.iter().map(|(patient, index)| (*patient, *index)).collect(),
            batches: self.batches.iter().map(|(batch, index)| (*batch, *index)).collect(),
            erased: self.erased.iter().map(|(patient, index)| (*patient, *index)).collect(),
            adopted: self.adopted,
            turning: self.turning,
            custodians: self.custodians,
            logged: self.logged,
        });
        seal::seal_whole(key, &salt, &binding(vault), &mut sealed)?;
        Ok([MAGIC.as_slice(), &salt, &sealed].concat())
    }

    /// The snapshot, where it is one of this history; `root_at` gives the log's root at a size, or nothing.
    pub(crate) fn from_snapshot(
        bytes: &[u8],
        vault: Id16,
        key: &[u8; 32],
        root_at: impl FnOnce(u64) -> Option<Digest>,
    ) -> Result<Option<Self>, VaultError> {
        let parts = bytes.strip_prefix(MAGIC).and_then(|rest| rest.split_first_chunk::<SALT_BYTES>());
        let Some((salt, sealed)) = parts.filter(|_| bytes.len() <= SNAPSHOT_BYTES_MAX) else { return Ok(None) };
        let Some(plain) = seal::open_whole(key, salt, &binding(vault), sealed.to_vec())? else { return Ok(None) };
        let Ok(snapshot) = format::decode::<Snapshot>("keymap", &plain, SNAPSHOT_BYTES_MAX) else { return Ok(None) };
        if root_at(snapshot.watermark) != Some(snapshot.root) {
            return Ok(None);
        }
        Ok(Some(Self {
            watermark: snapshot.watermark,
            incomplete: false,
            keys: snapshot.keys.into_iter().collect(),
            batches: snapshot.batches.into_iter().collect(),
            erased: snapshot.erased.into_iter().collect(),
            adopted: snapshot.adopted,
            turning: snapshot.turning,
            custodians: snapshot.custodians,
            logged: snapshot.logged,
        }))
    }
}

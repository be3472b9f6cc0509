//! The turn of the key epoch: every holder seals its own living shares to a new key of its own, and destroys the old one.
//!
//! No key is opened on the way: a holder opens its own share, which it could at any time, and what it gives away is sealed
//! to its own next key in an encapsulation that it made itself. What no holder seals again, because she is erased, nobody
//! opens after the old keys are gone; the custodians' side of her record goes with the next dealing to a new package.

use kit::limits::SERVERS_MAX;
use kit::{Digest, Id16};
use minicbor::bytes::{ByteArray, ByteVec};
use minicbor::{Decode, Encode};

use crate::error::KeysError;
use crate::format::{self, FormatError, Version, within};
use crate::record::{Batch, KeyRecord};
use crate::seal::{ENCAPSULATION_BYTES, SEALED_BYTES, digest};

/// Records in one request to a holder: of the most holders, they are a quarter of a megabyte.
pub const RESEALED_AT_ONCE: usize = 64;

/// One holder's share of one record, sealed again to that holder; none where it refuses the subject.
pub type Resealed = Option<ByteArray<SEALED_BYTES>>;

/// What a holder has to have found to open with its next key before it destroys its old one: so that no gateway has a living
/// patient's shares destroyed by mistake. A hostile one may show made-up records; then the custodians deal the old ones anew.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Turn {
    #[n(0)]
    version: Version<1>,
    #[n(1)]
    pub vault: Id16,
    /// The epoch that begins.
    #[n(2)]
    pub epoch: u32,
    /// Living patients.
    #[n(3)]
    pub subjects: u64,
    /// Over their ids, in order.
    #[n(4)]
    pub digest: Digest,
}

impl Turn {
    const PLACE: &'static str = "turn of the key epoch";
    const BYTES_MAX: usize = 128;

    /// `living` in any order.
    pub fn new(vault: Id16, epoch: u32, living: impl IntoIterator<Item = Id16>) -> Self {
        let (subjects, digest) = named(living);
        Self { version: Version, vault, epoch, subjects, digest }
    }

    pub fn to_bytes(&self) -> Vec<u8> {
        format::encode(self)
    }

    pub fn from_bytes(bytes: &[u8]) -> Result<Self, FormatError> {
        format::decode(Self::PLACE, bytes, Self::BYTES_MAX)
    }

    /// That exactly these were sealed again.
    pub(crate) fn is_of(&self, resealed: impl IntoIterator<Item = Id16>) -> bool {
        (self.subjects, self.digest) == named(resealed)
    }
}

fn named(subjects: impl IntoIterator<Item = Id16>) -> (u64, Digest) {
    let mut subjects: Vec<[u8; 16]> = subjects.into_iter().map(|subject| subject.0).collect();
    subjects.sort_unstable();
    subjects.dedup();
    (subjects.len() as u64, digest("holdfast turn v1", &[subjects.as_flattened()]))
}

/// A turn, and the officer's signature over it: holders on servers of their own ask for one.
#[derive(Clone, Debug)]
pub struct TurnOrder {
    pub turn: Turn,
    pub signature: Vec<u8>,
}

/// The batch to which holders seal again: `encapsulations` are those that each made to itself, holder 1's first. Nothing is
/// sealed to the recovery party in it: its place is filled with zeros.
pub fn turned_batch(id: Id16, epoch: u32, encapsulations: Vec<Vec<u8>>) -> Result<Batch, FormatError> {
    within("key batch", "the number of holders", encapsulations.len(), 1, SERVERS_MAX)?;
    let recovery = vec![0; ENCAPSULATION_BYTES];
    let encapsulations = encapsulations.into_iter().chain([recovery]).map(ByteVec::from).collect();
    let batch = Batch { version: Version, id, epoch, encapsulations };
    batch.check()?;
    Ok(batch)
}

/// The record with every holder's share as it sealed it again, holder 1's first. The secret, the polynomial and what the
/// custodians hold of it stay as they were.
pub fn turned_record(
    record: &KeyRecord,
    to: &Batch,
    shares: Vec<ByteArray<SEALED_BYTES>>,
) -> Result<KeyRecord, KeysError> {
    let recovery_batch = Some(record.recovery_batch());
    let turned = KeyRecord { batch: to.id, shares, recovery_batch, ..record.clone() };
    turned.check_in(to)?;
    Ok(turned)
}

//! What goes in, what stands in the log, and the receipt.

use std::fmt;

use kit::{Digest, OperationId, PatientId, Timestamp};

/// A kind is a word of the room that uses it: `fhir.version`, `guard.decision`.
pub const KIND_BYTES_MAX: usize = 32;

/// Kinds that begin so are the vault's own.
pub const RESERVED_KINDS: &str = "vault.";

/// What a room needs to rebuild its projection, not the record itself: every scan reads it.
pub const META_BYTES_MAX: usize = 64 * 1024;

/// Whose data key seals a payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Scope {
    Centre,
    Patient(PatientId),
}

impl Scope {
    pub(crate) fn patient(self) -> Option<PatientId> {
        match self {
            Self::Centre => None,
            Self::Patient(patient) => Some(patient),
        }
    }
}

impl From<Option<PatientId>> for Scope {
    fn from(patient: Option<PatientId>) -> Self {
        patient.map_or(Self::Centre, Self::Patient)
    }
}

/// One thing to keep.
#[derive(Clone, PartialEq, Eq)]
pub struct Parcel {
    pub scope: Scope,
    /// 1 to 32 of `a`–`z`, `0`–`9`, `.`, `-`.
    pub kind: String,
    /// At most 64 KiB. Sealed under the vault key only: whoever runs a gateway reads it without asking a holder.
    pub meta: Vec<u8>,
    /// At most `kit::limits::OBJECT_BYTES_MAX`. Sealed under the scope's data key.
    pub payload: Option<Vec<u8>>,
}

/// Lengths only: what is in a parcel is somebody's.
impl fmt::Debug for Parcel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let payload = self.payload.as_ref().map(Vec::len);
        write!(f, "Parcel({}, {} bytes of meta, payload of {payload:?} bytes)", self.kind, self.meta.len())
    }
}

/// Parcels that are kept together or not at all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    pub operation: OperationId,
    /// The digest of the permit under which this is done.
    pub permit: Option<Digest>,
    /// Patients to register: each gets a data key, dealt to the holders' public keys without asking any of them.
    pub new_patients: Vec<PatientId>,
    pub parcels: Vec<Parcel>,
}

/// What the log holds of a parcel.
#[derive(Clone, PartialEq, Eq)]
pub struct Entry {
    pub index: u64,
    pub time: Timestamp,
    pub scope: Scope,
    pub kind: String,
    pub operation: OperationId,
    pub permit: Option<Digest>,
    pub meta: Vec<u8>,
    /// Before compression and sealing; `None` where there is no payload.
    pub payload_len: Option<u64>,
    /// The ledger's leaf hash.
    pub leaf: Digest,
    pub segment: u64,
}

/// Neither whose it is nor what it says.
impl fmt::Debug for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { index, kind, segment, payload_len, .. } = self;
        write!(f, "Entry({index}, {kind}, segment {segment}, payload of {payload_len:?} bytes)")
    }
}

/// The proof that a parcel is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Receipt {
    pub index: u64,
    /// The ledger's leaf hash.
    pub leaf: Digest,
    pub segment: u64,
    /// The signed checkpoint of this size holds the entry.
    pub tree_size: u64,
    /// Locations that hold it.
    pub durable: u8,
    /// How many of those may be lost.
    pub survives: u8,
    /// Witnesses that have cosigned a head of the log that holds the entry; 0 where there are none.
    pub witnesses: u8,
}

//! What is stored of a dealt key: a batch of encapsulations, and one record per subject. Public bytes, all of them.

use kit::limits::SERVERS_MAX;
use kit::{Digest, Id16};
use minicbor::bytes::{ByteArray, ByteVec};
use minicbor::{Decode, Encode};

use crate::format::{self, FormatError, Version, within};
use crate::seal::{ENCAPSULATION_BYTES, SEALED_BYTES, digest};
use crate::secret::SECRET_BYTES;

/// A batch of the most holders: 65 encapsulations of 1,120 bytes and their heads, rounded up.
pub(crate) const BATCH_BYTES_MAX: usize = 80 * 1024;
/// A record of the most holders: 64 sealed shares of 48 bytes, 64 digests of 32, and the rest, rounded up.
pub(crate) const RECORD_BYTES_MAX: usize = 8 * 1024;

/// One HPKE encapsulation per holder, then one for the recovery party, shared by all the records of one dealing.
/// A post-quantum encapsulation is 1,120 bytes: paid per patient and holder, it would dwarf the records themselves.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Batch {
    #[n(0)]
    pub(crate) version: Version<1>,
    #[n(1)]
    pub id: Id16,
    /// The key epoch of the holders that it was made for.
    #[n(2)]
    pub epoch: u32,
    #[n(3)]
    pub encapsulations: Vec<ByteVec>,
}

impl Batch {
    const PLACE: &'static str = "key batch";

    pub fn to_bytes(&self) -> Vec<u8> {
        format::encode(self)
    }

    pub fn from_bytes(bytes: &[u8]) -> Result<Self, FormatError> {
        let batch: Self = format::decode(Self::PLACE, bytes, BATCH_BYTES_MAX)?;
        batch.check()?;
        Ok(batch)
    }

    /// The number of holders.
    pub fn n(&self) -> usize {
        self.encapsulations.len().saturating_sub(1)
    }

    pub(crate) fn check(&self) -> Result<(), FormatError> {
        within(Self::PLACE, "the number of holders", self.n(), 1, SERVERS_MAX)?;
        self.encapsulations.iter().try_for_each(|bytes| {
            within(Self::PLACE, "an encapsulation's length", bytes.len(), ENCAPSULATION_BYTES, ENCAPSULATION_BYTES)
        })
    }
}

/// One subject's data key: split t-of-n, each share sealed to its holder, and whole for the recovery party.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct KeyRecord {
    #[n(0)]
    pub(crate) version: Version<1>,
    #[n(1)]
    pub subject: Id16,
    #[n(2)]
    pub batch: Id16,
    #[n(3)]
    pub t: u8,
    #[n(4)]
    pub n: u8,
    /// Random; makes the keys under which this record's shares are sealed its own.
    #[n(5)]
    pub salt: ByteArray<16>,
    /// Holder 1's sealed share first.
    #[n(6)]
    pub shares: Vec<ByteArray<SEALED_BYTES>>,
    /// Holder 1's share's digest first: shows which holder lies.
    #[n(7)]
    pub digests: Vec<Digest>,
    /// Commits to the data key; checked after the shares are combined.
    #[n(8)]
    pub commitment: Digest,
    /// The data key itself, sealed to the recovery party.
    #[n(9)]
    pub recovery: ByteArray<SEALED_BYTES>,
    /// The batch in which it was sealed to the recovery party, where the holders have sealed their shares again since.
    #[n(10)]
    pub recovery_batch: Option<Id16>,
}

impl KeyRecord {
    const PLACE: &'static str = "key record";

    pub fn to_bytes(&self) -> Vec<u8> {
        format::encode(self)
    }

    pub fn from_bytes(bytes: &[u8]) -> Result<Self, FormatError> {
        let record: Self = format::decode(Self::PLACE, bytes, RECORD_BYTES_MAX)?;
        record.check()?;
        Ok(record)
    }

    /// The batch that opens its last field, for the recovery party.
    pub fn recovery_batch(&self) -> Id16 {
        self.recovery_batch.unwrap_or(self.batch)
    }

    pub(crate) fn check(&self) -> Result<(), FormatError> {
        let n = usize::from(self.n);
        within(Self::PLACE, "n", n, 1, SERVERS_MAX)?;
        within(Self::PLACE, "t", usize::from(self.t), 1, n)?;
        within(Self::PLACE, "the number of sealed shares", self.shares.len(), n, n)?;
        within(Self::PLACE, "the number of share digests", self.digests.len(), n, n)
    }

    /// That this record can have been dealt in `batch`: before anything is opened.
    pub(crate) fn check_in(&self, batch: &Batch) -> Result<(), FormatError> {
        self.check_batch(batch, self.batch)
    }

    /// The same of the batch for the recovery party.
    pub(crate) fn check_recovery_in(&self, batch: &Batch) -> Result<(), FormatError> {
        self.check_batch(batch, self.recovery_batch())
    }

    fn check_batch(&self, batch: &Batch, id: Id16) -> Result<(), FormatError> {
        self.check()?;
        batch.check()?;
        within(Self::PLACE, "the number of holders in its batch", batch.n(), usize::from(self.n), usize::from(self.n))?;
        if id == batch.id {
            Ok(())
        } else {
            Err(FormatError::Invalid { place: Self::PLACE, what: "the batch given for it (another id)" })
        }
    }
}

/// Shows which holder lies, before shares are combined. It gives away nothing that can be used: for t >= 2 a share by
/// itself is 32 uniformly random bytes, and with up to t - 1 shares known each other one still is; for t = 1 it is the
/// data key, uniformly random too. Whoever finds one from its digest has guessed a 256-bit key.
pub(crate) fn share_digest(salt: &[u8; 16], number: u8, share: &[u8; SECRET_BYTES]) -> Digest {
    digest("holdfast share digest v1", &[salt, &[number], share])
}

/// Commits to the data key; the same reasoning: the key is uniformly random, so that its digest can't be searched for.
pub(crate) fn commitment(salt: &[u8; 16], subject: Id16, key: &[u8; SECRET_BYTES]) -> Digest {
    digest("holdfast key commitment v1", &[salt, &subject.0, key])
}

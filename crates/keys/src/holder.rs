//! A holder, as the keyring sees it: in this process, on another server, or not there at all.

use std::fmt;

use hpke::{Deserializable, Serializable};
use kit::limits::SERVERS_MAX;
use kit::{Id16, Timestamp};
use minicbor::bytes::ByteArray;
use minicbor::{Decode, Encode};

use crate::error::HolderError;
use crate::format::{self, FormatError, Version, within};
use crate::proof::Proof;
use crate::record::{Batch, KeyRecord};
use crate::seal::{self, PUBLIC_KEY_BYTES};
use crate::secret::Share;
use crate::turn::{Resealed, TurnOrder};

/// What a holder is asked: whose key, and for the holder's own account who wants it, why, and when.
#[derive(Clone, Copy, Debug)]
pub struct OpenRequest<'a> {
    pub record: &'a KeyRecord,
    pub batch: &'a Batch,
    pub person: &'a str,
    pub purpose: &'a str,
    pub at: Timestamp,
    /// The person's own signature over all of this; one on another server opens no patient's key without.
    pub proof: Option<&'a Proof>,
}

/// Subjects that begin so are the centre's own secrets: a holder opens them for a gateway's start, and never refuses them.
/// That a patient's random id begins so is a guess at 56 bits.
pub const SYSTEM_SUBJECT: &[u8] = b"system ";

/// Where a holder's answer goes: called once, from any thread.
pub type Answer = Box<dyn FnOnce(Result<Share, HolderError>) + Send>;

pub trait Holder: Send + Sync {
    /// From 1 to n.
    fn number(&self) -> u8;

    fn public_key(&self) -> HolderPublicKey;

    /// Opens this holder's share and counts it, unless the subject is erased.
    fn open_share(&self, request: &OpenRequest<'_>) -> Result<Share, HolderError>;

    /// As [`Self::open_share`], perhaps without waiting for it: one on another server is asked while the others are.
    fn ask_share(&self, request: &OpenRequest<'_>, answer: Answer) {
        answer(self.open_share(request));
    }

    /// From the moment that this returns `Ok`, the holder opens nothing of `subject`, and a restart doesn't change that.
    /// Refusing twice is no error.
    fn refuse(&self, subject: Id16) -> Result<(), HolderError>;

    /// How many shares this holder has opened since it was made.
    fn opened(&self) -> u64;

    /// It has this key: the one in use, or the next epoch's beside it.
    fn has_key(&self, key: &HolderPublicKey) -> bool {
        self.public_key() == *key
    }

    /// The public half of its key of `epoch`: the one in use, or the next one's, which is made where there is none yet.
    fn begin_turn(&self, epoch: u32) -> Result<HolderPublicKey, HolderError>;

    /// Its encapsulation to itself, to the next epoch's key, for the batch with this id; the same each time.
    fn own_encapsulation(&self, batch: Id16) -> Result<Vec<u8>, HolderError>;

    /// Seals its own shares of `records`, all of batch `from`, again to its next epoch's key, in batch `to`; none for who is
    /// refused. At most [`RESEALED_AT_ONCE`](crate::RESEALED_AT_ONCE) at once.
    fn reseal(&self, from: &Batch, to: &Batch, records: &[KeyRecord]) -> Result<Vec<Resealed>, HolderError>;

    /// That its own shares of these records, as they are stored now, open with the key of their epoch: the next one's, or
    /// the one in use where it has turned already. It gives nothing away.
    fn confirm(&self, batch: &Batch, records: &[KeyRecord]) -> Result<(), HolderError>;

    /// Destroys the old epoch's key, where exactly the order's subjects were confirmed since the turn began or the holder
    /// was started. Doing it twice is no error.
    fn finish_turn(&self, order: &TurnOrder) -> Result<(), HolderError>;
}

/// A holder that is known but cannot be asked: its server is down or lost. It keeps its number's place in the keyring.
#[derive(Clone, Debug)]
pub struct AbsentHolder(HolderPublicKey);

impl AbsentHolder {
    pub fn new(public_key: HolderPublicKey) -> Self {
        Self(public_key)
    }
}

impl Holder for AbsentHolder {
    fn number(&self) -> u8 {
        self.0.number
    }

    fn public_key(&self) -> HolderPublicKey {
        self.0.clone()
    }

    fn open_share(&self, _: &OpenRequest<'_>) -> Result<Share, HolderError> {
        Err(HolderError::Unreachable { number: self.0.number })
    }

    fn refuse(&self, _: Id16) -> Result<(), HolderError> {
        Err(HolderError::Unreachable { number: self.0.number })
    }

    fn opened(&self) -> u64 {
        0
    }

    fn begin_turn(&self, _: u32) -> Result<HolderPublicKey, HolderError> {
        Err(HolderError::Unreachable { number: self.0.number })
    }

    fn own_encapsulation(&self, _: Id16) -> Result<Vec<u8>, HolderError> {
        Err(HolderError::Unreachable { number: self.0.number })
    }

    fn reseal(&self, _: &Batch, _: &Batch, _: &[KeyRecord]) -> Result<Vec<Resealed>, HolderError> {
        Err(HolderError::Unreachable { number: self.0.number })
    }

    fn confirm(&self, _: &Batch, _: &[KeyRecord]) -> Result<(), HolderError> {
        Err(HolderError::Unreachable { number: self.0.number })
    }

    fn finish_turn(&self, _: &TurnOrder) -> Result<(), HolderError> {
        Err(HolderError::Unreachable { number: self.0.number })
    }
}

/// A holder's X-Wing public key, with the place and the epoch that it stands for.
#[derive(Clone, PartialEq, Eq, Encode, Decode)]
pub struct HolderPublicKey {
    #[n(0)]
    version: Version<1>,
    #[n(1)]
    number: u8,
    #[n(2)]
    epoch: u32,
    #[n(3)]
    key: ByteArray<PUBLIC_KEY_BYTES>,
}

impl HolderPublicKey {
    const PLACE: &'static str = "holder's public key";
    /// 1,216 bytes of key and a few of heads.
    const BYTES_MAX: usize = 1_300;

    pub(crate) fn new(number: u8, epoch: u32, key: &seal::PublicKey) -> Self {
        Self { version: Version, number, epoch, key: <[u8; PUBLIC_KEY_BYTES]>::from(key.to_bytes()).into() }
    }

    /// From 1 to n.
    pub fn number(&self) -> u8 {
        self.number
    }

    pub fn epoch(&self) -> u32 {
        self.epoch
    }

    pub fn to_bytes(&self) -> Vec<u8> {
        format::encode(self)
    }

    pub fn from_bytes(bytes: &[u8]) -> Result<Self, FormatError> {
        let key: Self = format::decode(Self::PLACE, bytes, Self::BYTES_MAX)?;
        within(Self::PLACE, "the number", usize::from(key.number), 1, SERVERS_MAX)?;
        key.hpke()?;
        Ok(key)
    }

    pub(crate) fn hpke(&self) -> Result<seal::PublicKey, FormatError> {
        seal::PublicKey::from_bytes(self.key.as_slice())
            .map_err(|_| FormatError::Invalid { place: Self::PLACE, what: "the X-Wing key" })
    }
}

impl fmt::Debug for HolderPublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "HolderPublicKey(holder {}, epoch {})", self.number, self.epoch)
    }
}

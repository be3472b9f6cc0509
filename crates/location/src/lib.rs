//! Where one shard of each segment goes: an independent domain of failure that is written once, read and listed.
//!
//! A location has no overwrite and no delete. It promises only that what `put_if_absent` acknowledged is durable; it is
//! never trusted to give back the right bytes, since its server may be the attacker's. Whoever reads compares each
//! object with the digest in the signed segment header.

mod direct;
mod folder;
mod marker;
#[cfg(feature = "network")]
mod network;
mod record;
#[cfg(any(test, feature = "suite"))]
pub mod suite;
#[cfg(test)]
mod tests;

use std::fmt;
use std::io;
use std::ops::Range;

use kit::{Blame, Explain, Id16};

pub use folder::{FolderLocation, Opened, VOLUME_BYTES_MAX};
pub use marker::Marker;
#[cfg(feature = "network")]
pub use network::Network;

/// A name has to fit any store's key and any file system's path component.
pub const NAME_BYTES_MAX: usize = 120;

/// A shard is at most 1 MiB and a segment's head is far below that; four times as much leaves room for wider codes
/// without letting one object fill a reader's memory.
pub const OBJECT_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Objects in one `put_if_absent`: bounds the memory and the time of one durable batch.
pub const BATCH_OBJECTS_MAX: usize = 4_096;

/// An object's name: 1 to 120 characters of `a`–`z`, `0`–`9`, `.`, `/`, `-`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(String);

impl Name {
    pub fn new(text: impl Into<String>) -> Result<Self, LocationError> {
        let text = text.into();
        if text.is_empty() || text.len() > NAME_BYTES_MAX {
            return Err(LocationError::NameLength { found: text.len(), max: NAME_BYTES_MAX });
        }
        let allowed = |c: &u8| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, b'.' | b'/' | b'-');
        match text.bytes().position(|c| !allowed(&c)) {
            Some(at) => Err(LocationError::NameCharacter { at }),
            None => Ok(Self(text)),
        }
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

/// What became of one object of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Put {
    /// It stands here now.
    Created,
    /// The name was taken; what stands under it is as it was.
    Exists,
}

/// One object to put; its body is `parts` one after the other, so that a caller need not copy them together.
#[derive(Clone, Copy, Debug)]
pub struct Object<'a> {
    pub name: &'a Name,
    pub parts: &'a [&'a [u8]],
}

impl Object<'_> {
    /// The length of the body in bytes.
    pub fn len(&self) -> usize {
        self.parts.iter().map(|part| part.len()).sum()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// That a batch is within what any location takes.
pub fn check_batch(objects: &[Object<'_>]) -> Result<(), LocationError> {
    if objects.len() > BATCH_OBJECTS_MAX {
        return Err(LocationError::BatchTooLarge { found: objects.len(), max: BATCH_OBJECTS_MAX });
    }
    match objects.iter().find(|object| object.len() > OBJECT_BYTES_MAX) {
        Some(large) => {
            let (name, found) = (large.name.clone(), large.len() as u64);
            Err(LocationError::TooLarge { name, found, max: OBJECT_BYTES_MAX as u64 })
        }
        None => Ok(()),
    }
}

/// One line of a listing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    pub name: Name,
    pub len: u64,
}

/// How much stands at a location: the bodies, without what the location adds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    pub objects: u64,
    pub bytes: u64,
}

/// Who waits for an object. It may be called after nobody does any more.
pub type GetAnswer = Box<dyn FnOnce(Result<Option<Vec<u8>>, LocationError>) + Send>;

/// A place for shards. Every implementation passes `suite`.
pub trait Location: Send + Sync {
    /// What people call it: `server-05`.
    fn id(&self) -> &str;

    /// Puts each object whose name is free, in order; of two objects with one name the first wins, also between
    /// concurrent callers. Everything that is reported as created or existing is durable on return, with one sync for
    /// the batch. An object that the location itself finds damaged holds no name: it can be put again, which is how a
    /// scrub heals. An error says that nothing is promised of any of the batch: some may stand there now or later.
    fn put_if_absent(&self, objects: &[Object<'_>]) -> Result<Vec<Put>, LocationError>;

    /// The object, or `range` of it (clipped to its length); `None` where the name is free. `Damaged` where the
    /// location sees that it is not what was put; where it doesn't see it, the reader has to.
    fn get(&self, name: &Name, range: Option<Range<u64>>) -> Result<Option<Vec<u8>>, LocationError>;

    /// The object, for a reader who has its digest from elsewhere and compares: a location may leave out a checksum of its
    /// own. So this says nothing of whether what it gives is what was put.
    fn get_to_compare(&self, name: &Name) -> Result<Option<Vec<u8>>, LocationError> {
        self.get(name, None)
    }

    /// As [`Self::get_to_compare`], perhaps without waiting for it: one on another server is asked while the others are.
    fn ask(&self, name: &Name, answer: GetAnswer) {
        answer(self.get_to_compare(name));
    }

    /// At most `limit` objects in the order of their names' bytes, those after `after`.
    fn list(&self, after: Option<&Name>, limit: usize) -> Result<Vec<Listed>, LocationError>;

    fn stats(&self) -> Result<Stats, LocationError>;
}

/// Why a location didn't do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum LocationError {
    #[error("an object's name has {found} bytes, it needs 1 to {max}")]
    NameLength { found: usize, max: usize },
    #[error("byte {at} of an object's name is none of a-z, 0-9, '.', '/', '-'")]
    NameCharacter { at: usize },
    #[error("object {name} has {found} bytes, the maximum is {max}")]
    TooLarge { name: Name, found: u64, max: u64 },
    #[error("a batch of {found} objects, the maximum is {max}")]
    BatchTooLarge { found: usize, max: usize },
    #[error("location {location} is gone: {reason}")]
    Gone { location: String, reason: String },
    #[error("location {location} is full, putting {bytes} bytes")]
    Full { location: String, bytes: u64 },
    #[error("location {location} refuses: {reason}")]
    Refused { location: String, reason: Refusal },
    #[error("location {location}: what stands under {name} does not match its checksum")]
    Damaged { location: String, name: Name },
    #[error("location {location}: {operation} failed: {source}")]
    Io { location: String, operation: &'static str, source: io::Error },
}

/// Why a location wants nothing to do with the caller.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("the folder has no marker of a vault")]
    NoMarker,
    #[error("the folder's marker is damaged, or of a format that is not known here")]
    MarkerDamaged,
    #[error("the folder is not empty: {entry} stands there")]
    NotEmpty { entry: String },
    #[error("it belongs to vault {found}, not to {expected}")]
    OtherVault { expected: Id16, found: Id16 },
    #[error("another process has it open")]
    InUse,
    #[error("it fails the probe {probe}: {found}")]
    Probe { probe: &'static str, found: String, guidance: &'static str },
    #[error("it denies the request: {code}")]
    Denied { code: String },
    #[error("its configuration does not say where it is: {field} {why}")]
    Configuration { field: &'static str, why: String },
}

impl Explain for LocationError {
    fn blame(&self) -> Blame {
        match self {
            Self::NameLength { .. }
            | Self::NameCharacter { .. }
            | Self::TooLarge { .. }
            | Self::BatchTooLarge { .. } => Blame::Ours,
            Self::Gone { .. } | Self::Full { .. } | Self::Refused { .. } | Self::Io { .. } => Blame::Configuration,
            Self::Damaged { .. } => Blame::Integrity,
        }
    }

    fn code(&self) -> &'static str {
        match self {
            Self::NameLength { .. } | Self::NameCharacter { .. } => "vault.location.name",
            Self::TooLarge { .. } | Self::BatchTooLarge { .. } => "vault.location.too-large",
            Self::Gone { .. } => "vault.location.gone",
            Self::Full { .. } => "vault.location.full",
            Self::Refused { .. } => "vault.location.refused",
            Self::Damaged { .. } => "vault.location.damaged",
            Self::Io { .. } => "vault.location.io",
        }
    }

    fn guidance(&self) -> Option<&'static str> {
        match self {
            Self::Gone { .. } => Some("bring the location back; what it misses is healed by a scrub"),
            Self::Full { .. } => Some("give the location more room; what it misses is healed by a scrub"),
            Self::Refused { reason: Refusal::InUse, .. } => Some("stop the other process that has it open"),
            Self::Refused { reason: Refusal::Probe { guidance, .. }, .. } => Some(guidance),
            Self::Refused { reason: Refusal::Denied { .. }, .. } => {
                Some("look at the location's credentials, at what they may do there, and at both clocks")
            }
            Self::Refused { reason: Refusal::Configuration { .. }, .. } => Some("mend the location's configuration"),
            Self::Refused { .. } => Some("point the configuration at the folder that belongs to this vault"),
            Self::Damaged { .. } => Some("run a scrub: it heals from the other locations what can be healed"),
            Self::Io { .. } => Some("look at the location's disk and its permissions"),
            _ => None,
        }
    }
}

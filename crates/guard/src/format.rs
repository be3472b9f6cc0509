//! The bytes of stored decisions and events: CBOR, one version, one way to write each value
//! (`docs/formats/guard-events.md`).

use kit::{Blame, Explain};
use minicbor::{Decode, Decoder, Encode};

use crate::BUNDLE_BYTES_MAX;

/// The version that this code writes, and the only one that it reads.
pub(crate) const VERSION: u8 = 1;

/// One stored decision, or a signature: under 2,000 bytes; the rest is room for reasons.
pub const STORED_BYTES_MAX: usize = 4_096;

/// One stored event: the largest holds a policy, whole.
pub const EVENT_BYTES_MAX: usize = BUNDLE_BYTES_MAX + STORED_BYTES_MAX;

/// Bytes that are no stored value of guard's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FormatError {
    #[error("a stored {what} is {found} bytes, maximum is {maximum}")]
    TooLong { what: &'static str, found: usize, maximum: usize },
    #[error("a stored {what} has version {found}, this program reads {VERSION}")]
    Version { what: &'static str, found: u8 },
    #[error("a stored {what} does not decode: {why}")]
    Malformed { what: &'static str, why: String },
    #[error("a stored {what} is not in its one canonical form")]
    NotCanonical { what: &'static str },
}

impl Explain for FormatError {
    fn blame(&self) -> Blame {
        Blame::Integrity
    }

    fn code(&self) -> &'static str {
        "guard.format"
    }

    fn guidance(&self) -> Option<&'static str> {
        match self {
            Self::Version { .. } => Some("open this centre with the program version that wrote it, or a newer one"),
            _ => None,
        }
    }
}

pub(crate) fn to_bytes<T: Encode<()>>(value: &T) -> Vec<u8> {
    // Encoding to memory has nothing to fail on; an empty vector would be refused by every reader.
    minicbor::to_vec((VERSION, value)).unwrap_or_default()
}

/// Strict: what doesn't encode to the same bytes again (trailing bytes, extra fields, longer integers) is refused.
pub(crate) fn from_bytes<T>(what: &'static str, bytes: &[u8]) -> Result<T, FormatError>
where
    T: Encode<()> + for<'b> Decode<'b, ()>,
{
    from_bytes_within(what, bytes, STORED_BYTES_MAX)
}

pub(crate) fn from_bytes_within<T>(what: &'static str, bytes: &[u8], maximum: usize) -> Result<T, FormatError>
where
    T: Encode<()> + for<'b> Decode<'b, ()>,
{
    if bytes.len() > maximum {
        return Err(FormatError::TooLong { what, found: bytes.len(), maximum });
    }
    let malformed = |e: minicbor::decode::Error| FormatError::Malformed { what, why: e.to_string() };
    let mut decoder = Decoder::new(bytes);
    if decoder.array().map_err(malformed)? != Some(2) {
        return Err(FormatError::NotCanonical { what });
    }
    let version = decoder.u8().map_err(malformed)?;
    if version != VERSION {
        return Err(FormatError::Version { what, found: version });
    }
    let value = decoder.decode().map_err(malformed)?;
    if to_bytes(&value) != bytes {
        return Err(FormatError::NotCanonical { what });
    }
    Ok(value)
}

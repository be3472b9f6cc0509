//! What this room stores is strict CBOR (`kit::format`); here is what only secrets and small counts need.

use minicbor::decode::Error as DecodeError;
use minicbor::encode::{Error as EncodeError, Write};
use minicbor::{Decoder, Encoder};

pub use kit::format::FormatError;
pub(crate) use kit::format::{Version, decode, encode};

pub(crate) fn within(
    place: &'static str,
    what: &'static str,
    found: usize,
    min: usize,
    max: usize,
) -> Result<(), FormatError> {
    kit::format::within(place, what, found as u64, min as u64, max as u64)
}

/// A 32-byte secret inside a stored struct: `#[cbor(n(…), with = "crate::format::secret")]`.
pub(crate) mod secret {
    use super::{DecodeError, Decoder, EncodeError, Encoder, Write};
    use crate::shamir::Secret;

    pub(crate) fn encode<C, W: Write>(
        secret: &Secret,
        e: &mut Encoder<W>,
        _: &mut C,
    ) -> Result<(), EncodeError<W::Error>> {
        e.bytes(secret.as_slice())?.ok()
    }

    pub(crate) fn decode<C>(d: &mut Decoder<'_>, _: &mut C) -> Result<Secret, DecodeError> {
        let bytes = d.bytes()?.try_into().map_err(|_| DecodeError::message("a secret has 32 bytes"))?;
        Ok(Secret::new(bytes))
    }
}

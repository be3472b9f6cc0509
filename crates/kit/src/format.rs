//! Strict CBOR for what a room stores: one version, one spelling, no byte more.

use minicbor::decode::Error as DecodeError;
use minicbor::encode::{Error as EncodeError, Write};
use minicbor::{Decode, Decoder, Encode, Encoder};
use zeroize::Zeroizing;

/// Bytes that are not the stored thing that they should be.
#[derive(Debug, thiserror::Error)]
pub enum FormatError {
    #[error("{place}: {found} bytes, the maximum is {max}")]
    TooLong { place: &'static str, found: usize, max: usize },
    #[error("{place}: {source}")]
    Cbor { place: &'static str, source: DecodeError },
    #[error("{place}: not in the one canonical form (trailing bytes, extra fields, or a longer spelling of a number)")]
    NotCanonical { place: &'static str },
    #[error("{place}: {what} is {found}, it must be {min} to {max}")]
    Range { place: &'static str, what: &'static str, found: u64, min: u64, max: u64 },
    #[error("{place}: {what} is not valid")]
    Invalid { place: &'static str, what: &'static str },
}

/// The version of a stored form. It encodes as the number `V`, and nothing else decodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Version<const V: u8>;

impl<C, const V: u8> Encode<C> for Version<V> {
    fn encode<W: Write>(&self, e: &mut Encoder<W>, _: &mut C) -> Result<(), EncodeError<W::Error>> {
        e.u8(V)?.ok()
    }
}

impl<'b, C, const V: u8> Decode<'b, C> for Version<V> {
    fn decode(d: &mut Decoder<'b>, _: &mut C) -> Result<Self, DecodeError> {
        match d.u8()? {
            found if found == V => Ok(Self),
            found => Err(DecodeError::message(format!("version {found}, this program reads version {V}"))),
        }
    }
}

/// The one spelling of a value.
pub fn encode<T: Encode<()>>(value: &T) -> Vec<u8> {
    // Room for any stored secret at once: a growing `Vec` would leave copies of it behind.
    let mut out = Vec::with_capacity(512);
    // Writing to a `Vec` cannot fail: its error type is `Infallible`, and no type here refuses to be encoded.
    let _ = minicbor::encode(value, &mut out);
    out
}

/// Decodes `bytes` where they are exactly what [`encode`] makes of the value.
pub fn decode<'b, T>(place: &'static str, bytes: &'b [u8], max: usize) -> Result<T, FormatError>
where
    T: Encode<()> + Decode<'b, ()>,
{
    if bytes.len() > max {
        return Err(FormatError::TooLong { place, found: bytes.len(), max });
    }
    let value: T = minicbor::decode(bytes).map_err(|source| FormatError::Cbor { place, source })?;
    // The value may be a secret; its second spelling is one, too.
    let again = Zeroizing::new(encode(&value));
    if again.as_slice() == bytes { Ok(value) } else { Err(FormatError::NotCanonical { place }) }
}

/// Whether a number of `what` lies within its bounds.
pub fn within(place: &'static str, what: &'static str, found: u64, min: u64, max: u64) -> Result<(), FormatError> {
    if (min..=max).contains(&found) { Ok(()) } else { Err(FormatError::Range { place, what, found, min, max }) }
}

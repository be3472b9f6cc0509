//! Opaque ids: sixteen random bytes, lower-case hex on paper and on the wire.

use std::fmt;
use std::str::FromStr;

use minicbor::{Decode, Encode};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::entropy::Entropy;

/// A text that is no id.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an id is {expected} lower-case hexadecimal digits, here are {found} characters")]
pub struct BadId {
    pub expected: usize,
    pub found: usize,
}

fn hex(bytes: &[u8], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    bytes.iter().try_for_each(|b| write!(f, "{b:02x}"))
}

fn unhex<const N: usize>(text: &str) -> Result<[u8; N], BadId> {
    let bad = || BadId { expected: 2 * N, found: text.chars().count() };
    let digit = |c: u8| match c {
        b'0'..=b'9' => Some(c - b'0'),
        b'a'..=b'f' => Some(c - b'a' + 10),
        _ => None,
    };
    if text.len() != 2 * N {
        return Err(bad());
    }
    let mut out = [0; N];
    for (slot, pair) in out.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
        let &[high, low] = pair else { return Err(bad()) };
        *slot = digit(high).zip(digit(low)).map(|(h, l)| h << 4 | l).ok_or_else(bad)?;
    }
    Ok(out)
}

macro_rules! opaque {
    ($(#[$doc:meta])* $name:ident, $len:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
        #[cbor(transparent)]
        pub struct $name(#[cbor(n(0), with = "minicbor::bytes")] pub [u8; $len]);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                hex(&self.0, f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self)
            }
        }

        impl FromStr for $name {
            type Err = BadId;

            fn from_str(text: &str) -> Result<Self, BadId> {
                unhex(text).map(Self)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
                s.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
                String::deserialize(d)?.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

opaque!(
    /// Any opaque id that has no type of its own yet.
    Id16, 16
);
opaque!(
    /// One patient, inside the centre. Says nothing about her; never printed beside a name.
    PatientId, 16
);
opaque!(
    /// One request, from the edge to the ledger; finds its log lines.
    OperationId, 16
);
opaque!(
    /// A SHA-256 value, unless its place says otherwise.
    Digest, 32
);

impl PatientId {
    pub fn random(entropy: &dyn Entropy) -> Self {
        Self(entropy.id())
    }
}

impl OperationId {
    pub fn random(entropy: &dyn Entropy) -> Self {
        Self(entropy.id())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hex_goes_there_and_back() {
        let id = PatientId(*b"\x00\x01\xfe\xffabcdefghijkl");
        assert_eq!(id.to_string().parse::<PatientId>(), Ok(id));
        assert_eq!("0F".parse::<PatientId>(), Err(BadId { expected: 32, found: 2 }));
        assert!("ZZ".repeat(16).parse::<PatientId>().is_err());
        assert!("é".repeat(16).parse::<PatientId>().is_err());
    }
}

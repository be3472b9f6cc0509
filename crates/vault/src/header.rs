//! A segment's header: public, signed, the same at every location; and the object that a location holds.

use bytes::Bytes;
use kit::limits::SERVERS_MAX;
use kit::{Digest, Id16};
use minicbor::bytes::{ByteArray, ByteVec};
use minicbor::{Decode, Encode};

use crate::body::SEGMENT_ENTRIES_MAX;
use crate::code::shard_len;
use crate::error::VaultError;
use crate::hash::hash;
use crate::location::Name;
use crate::seal::{SALT_BYTES, TAG_BYTES};
use crate::secrets::VAULT_KEYS_MAX;
use crate::shape::{SHARD_BYTES_MAX, Shape};
use kit::format::{self, FormatError, Version, within};

/// 2,048 leaf hashes, 64 shard hashes and a signed note take less than 110 KiB.
pub(crate) const HEADER_BYTES_MAX: usize = 128 * 1024;
pub(crate) const SIGNATURE_BYTES: usize = 64;

/// How much is read at first for a header alone: it holds that of a segment with some dozen entries.
pub(crate) const HEADER_GUESS_BYTES: u64 = 4 * 1024;

/// What the log key signs begins with this; a zero byte, so that it can never be a signed note.
const SIGNED: &[u8] = b"holdfast segment header v1\0";

/// Segments in flight, and so acknowledged between two headers.
const ACKNOWLEDGED_MAX: u64 = 1_024;

/// The segment before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub(crate) struct Previous {
    #[n(0)]
    pub(crate) term: u64,
    /// BLAKE3 of its header.
    #[n(1)]
    pub(crate) hash: Digest,
}

/// That a segment was acknowledged, and on how many locations it stood then: what its receipts promised.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub(crate) struct Acknowledged {
    #[n(0)]
    pub(crate) segment: u64,
    #[n(1)]
    pub(crate) durable: u8,
}

#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub(crate) struct Header {
    #[n(0)]
    pub(crate) version: Version<1>,
    #[n(1)]
    pub(crate) vault: Id16,
    #[n(2)]
    pub(crate) number: u64,
    /// Which writer wrote it: its generation in the upper half, 32 random bits in the lower.
    #[n(3)]
    pub(crate) term: u64,
    /// `None` for segment 0 only.
    #[n(4)]
    pub(crate) previous: Option<Previous>,
    #[n(5)]
    pub(crate) k: u8,
    #[n(6)]
    pub(crate) n: u8,
    /// Of the sealed body, with its tag, without the zeros that fill the shards up.
    #[n(7)]
    pub(crate) body_len: u32,
    #[n(8)]
    pub(crate) salt: ByteArray<SALT_BYTES>,
    /// BLAKE3 of each shard.
    #[n(9)]
    pub(crate) shards: Vec<Digest>,
    /// The number of its first entry.
    #[n(10)]
    pub(crate) first: u64,
    /// The ledger's leaf hashes of its entries.
    #[n(11)]
    pub(crate) leaves: Vec<Digest>,
    /// What was acknowledged since the header before.
    #[n(12)]
    pub(crate) acknowledged: Vec<Acknowledged>,
    /// The newest signed checkpoint, a C2SP signed note; empty before the first.
    #[n(13)]
    pub(crate) checkpoint: ByteVec,
    /// Which of the vault's keys it is sealed under, where that isn't the first.
    #[n(14)]
    pub(crate) vault_key: Option<u16>,
    /// The generation of the centre record under which it is written; none under the founding's.
    #[n(15)]
    pub(crate) record: Option<u32>,
    /// The generation of the record with which the vault moved to where it stood then; none before the first move.
    #[n(16)]
    pub(crate) entered: Option<u32>,
}

impl Header {
    const PLACE: &'static str = "segment header";

    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        format::encode(self)
    }

    /// Strict, but no proof of anything: compare its hash or verify its signature.
    pub(crate) fn from_bytes(bytes: &[u8]) -> Result<Self, FormatError> {
        let header: Self = format::decode(Self::PLACE, bytes, HEADER_BYTES_MAX)?;
        let check = |what, found: usize, min: usize, max: usize| {
            within(Self::PLACE, what, found as u64, min as u64, max as u64)
        };
        let (k, n) = (usize::from(header.k), usize::from(header.n));
        check("n", n, 1, SERVERS_MAX)?;
        check("k", k, 1, n)?;
        check("the number of shards", header.shards.len(), n, n)?;
        check("the body's length", header.body_len as usize, TAG_BYTES, k * SHARD_BYTES_MAX)?;
        check("the number of entries", header.leaves.len(), 0, SEGMENT_ENTRIES_MAX)?;
        check("the number of acknowledgements", header.acknowledged.len(), 0, ACKNOWLEDGED_MAX as usize)?;
        check("the checkpoint's length", header.checkpoint.len(), 0, ledger::NOTE_BYTES_MAX)?;
        let vault_key = usize::from(header.vault_key.unwrap_or(2));
        check("the vault's key", vault_key, 2, VAULT_KEYS_MAX.into())?;
        let record = u64::from(header.record.unwrap_or(1));
        within(Self::PLACE, "the centre record's generation", record, 1, u32::MAX.into())?;
        within(Self::PLACE, "its stand's generation", header.entered.unwrap_or(1).into(), 1, record)?;
        if header.previous.is_some() != (header.number > 0) {
            return Err(FormatError::Invalid { place: Self::PLACE, what: "the segment before" });
        }
        if header.first.checked_add(header.leaves.len() as u64).is_none() {
            return Err(FormatError::Invalid { place: Self::PLACE, what: "the first entry's number" });
        }
        Ok(header)
    }

    /// Which of the vault's keys it is sealed under, from 1.
    pub(crate) fn vault_key(&self) -> u16 {
        self.vault_key.unwrap_or(1)
    }

    /// The centre record under which it is written, and the one with which the vault moved there, by their generations.
    pub(crate) fn record(&self) -> (u32, u32) {
        (self.record.unwrap_or(0), self.entered.unwrap_or(0))
    }

    pub(crate) fn signed_bytes(header: &[u8]) -> Vec<u8> {
        [SIGNED, header].concat()
    }

    pub(crate) fn hash(header: &[u8]) -> Digest {
        hash(header)
    }

    pub(crate) fn shard_len(&self) -> usize {
        shard_len(self.body_len as usize, self.k.into())
    }

    pub(crate) fn has_shape(&self, shape: Shape) -> bool {
        (usize::from(self.k), usize::from(self.n)) == (shape.k(), shape.n())
    }

    /// The number of the shard that these bytes are; `expected` where several are equal.
    pub(crate) fn shard_number(&self, shard: &[u8], expected: usize) -> Option<usize> {
        let hash = hash(shard);
        if self.shards.get(expected) == Some(&hash) {
            return Some(expected);
        }
        self.shards.iter().position(|named| *named == hash)
    }
}

/// What stands before the shard in each object: the header's length, the header, its signature.
pub(crate) fn prefix(header: &[u8], signature: &[u8; SIGNATURE_BYTES]) -> Bytes {
    let len = u32::try_from(header.len()).unwrap_or(u32::MAX).to_be_bytes();
    [len.as_slice(), header, signature].concat().into()
}

/// The parts of an object, or of its beginning.
pub(crate) struct Parts<'a> {
    pub(crate) header: &'a [u8],
    pub(crate) signature: &'a [u8; SIGNATURE_BYTES],
    pub(crate) shard: &'a [u8],
}

/// How many bytes an object's prefix has, by its first four.
pub(crate) fn prefix_len(object: &[u8]) -> Option<usize> {
    let len = u32::from_be_bytes(*object.first_chunk::<4>()?) as usize;
    (len <= HEADER_BYTES_MAX).then_some(4 + len + SIGNATURE_BYTES)
}

pub(crate) fn parts(object: &[u8]) -> Option<Parts<'_>> {
    let (len, rest) = object.split_first_chunk::<4>()?;
    let len = u32::from_be_bytes(*len) as usize;
    if len > HEADER_BYTES_MAX {
        return None;
    }
    let (header, rest) = rest.split_at_checked(len)?;
    let (signature, shard) = rest.split_first_chunk::<SIGNATURE_BYTES>()?;
    Some(Parts { header, signature, shard })
}

/// Which of a vault's layouts an object belongs to: 0 at the founding, one more each time that the vault has moved. Those of
/// another one are listed elsewhere, and are nobody's damage.
pub(crate) type Stand = u8;

/// A stand's segments are listed under this.
fn folder(stand: Stand) -> String {
    if stand == 0 { "s/".to_owned() } else { format!("s{stand}/") }
}

/// The name of a segment's object; `repair` counts what was written beside a damaged one.
pub(crate) fn segment_name(stand: Stand, number: u64, term: u64, repair: u8) -> Result<Name, VaultError> {
    let name = format!("{}{number:016x}-{term:016x}", folder(stand));
    Ok(Name::new(if repair == 0 { name } else { format!("{name}.r{repair}") })?)
}

/// Number, term and repair of a name that [`segment_name`] made for this stand.
pub(crate) fn parse_segment_name(stand: Stand, name: &Name) -> Option<(u64, u64, u8)> {
    let rest = name.as_str().strip_prefix(&folder(stand))?;
    let (id, repair) = match rest.split_once(".r") {
        Some((id, repair)) => (id, repair.parse().ok()?),
        None => (rest, 0),
    };
    let (number, term) = id.split_once('-')?;
    let hex = |text: &str| u64::from_str_radix(text, 16).ok();
    let (number, term) = (hex(number)?, hex(term)?);
    (segment_name(stand, number, term, repair).ok()? == *name).then_some((number, term, repair))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn digest() -> impl Strategy<Value = Digest> {
        any::<[u8; 32]>().prop_map(Digest)
    }

    fn header() -> impl Strategy<Value = Header> {
        let shape = (1u8..=8, 0u8..=8).prop_flat_map(|(k, more)| {
            let n = k + more;
            let body = 16..=u32::from(k) * 1024 * 1024;
            (Just(k), Just(n), body, prop::collection::vec(digest(), usize::from(n)))
        });
        let acknowledged = (any::<u64>(), any::<u8>()).prop_map(|(segment, durable)| Acknowledged { segment, durable });
        let log = (
            any::<u32>(),
            prop::collection::vec(digest(), 0..20),
            prop::collection::vec(acknowledged, 0..5),
            prop::collection::vec(any::<u8>(), 0..300),
            (prop::option::of(2..=VAULT_KEYS_MAX), prop::option::of(1..=u32::MAX), any::<bool>()),
        );
        let place = (any::<[u8; 16]>(), any::<u64>(), any::<u64>(), any::<u64>(), digest(), any::<[u8; 32]>());
        (place, shape, log).prop_map(|((vault, number, term, before, hash, salt), shape, log)| {
            let (k, n, body_len, shards) = shape;
            let (first, leaves, acknowledged, checkpoint, (vault_key, record, moved)) = log;
            Header {
                version: Version,
                vault: Id16(vault),
                number,
                term,
                previous: (number > 0).then_some(Previous { term: before, hash }),
                k,
                n,
                body_len,
                salt: salt.into(),
                shards,
                first: first.into(),
                leaves,
                acknowledged,
                checkpoint: checkpoint.into(),
                vault_key,
                record,
                entered: record.filter(|_| moved),
            }
        })
    }

    proptest! {
        #[test]
        fn headers_go_there_and_back(header in header()) {
            let bytes = header.to_bytes();
            prop_assert_eq!(Header::from_bytes(&bytes).unwrap(), header);
            let mut longer = bytes.clone();
            longer.push(0);
            prop_assert!(Header::from_bytes(&longer).is_err());
            prop_assert!(Header::from_bytes(&bytes[..bytes.len() - 1]).is_err());
        }

        /// Whatever is read as a header is written as the same bytes.
        #[test]
        fn altered_headers_are_refused_or_canonical(header in header(), at in any::<prop::sample::Index>(), to in any::<u8>()) {
            let mut bytes = header.to_bytes();
            let at = at.index(bytes.len());
            bytes[at] = to;
            if let Ok(read) = Header::from_bytes(&bytes) {
                prop_assert_eq!(read.to_bytes(), bytes);
            }
        }

        #[test]
        fn objects_come_apart_as_they_were_put_together(header in prop::collection::vec(any::<u8>(), 0..500), shard in any::<Vec<u8>>()) {
            let object = [prefix(&header, &[9; 64]).as_ref(), &shard].concat();
            let found = parts(&object).unwrap();
            prop_assert_eq!((found.header, found.signature, found.shard), (&header[..], &[9; 64], &shard[..]));
            prop_assert_eq!(prefix_len(&object), Some(object.len() - shard.len()));
            for cut in 0..object.len() - shard.len() {
                prop_assert!(parts(&object[..cut]).is_none());
            }
        }

        #[test]
        fn names_go_there_and_back(stand in any::<u8>(), number in any::<u64>(), term in any::<u64>(), repair in 0u8..9) {
            let name = segment_name(stand, number, term, repair).unwrap();
            prop_assert_eq!(parse_segment_name(stand, &name), Some((number, term, repair)));
            prop_assert_eq!(parse_segment_name(stand.wrapping_add(1), &name), None);
        }
    }

    #[test]
    fn other_names_are_no_segments() {
        for name in [
            "s/",
            "s/1-2",
            "s/0000000000000001-0000000000000002.r0",
            "s/0000000000000001-0000000000000002.r01",
            "w/00000001",
        ] {
            assert_eq!(parse_segment_name(0, &Name::new(name).unwrap()), None, "{name}");
        }
    }
}

//! The inside of a segment: the entries' heads, and the sealed payloads behind them.

use bytes::Bytes;
use kit::{Digest, OperationId, PatientId, Timestamp};
use minicbor::bytes::{ByteArray, ByteVec};
use minicbor::{Decode, Encode};

use crate::hash::Pending;
use crate::parcel::{Entry, Scope};
use kit::format::{self, FormatError, Version, within};

/// Heads in one segment: their leaf hashes stand in its header, at every location.
pub(crate) const SEGMENT_ENTRIES_MAX: usize = 2_048;

/// A batch of key encapsulations for the most holders is the largest meta that the vault itself writes.
const HEAD_BYTES_MAX: usize = 128 * 1024;

/// Everything in a head but its kind, its meta and its extents, rounded up.
const HEAD_FIXED_BYTES: usize = 192;
const EXTENT_BYTES: usize = 24;

/// Length of the block, its version and the array's head.
pub(crate) const BLOCK_FIXED_BYTES: usize = 16;

/// What a body without entries and payloads takes: the length, and an array of the version and an empty array.
pub(crate) const EMPTY_BODY_BYTES: usize = 7;

/// A stretch of one segment's payload area.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub(crate) struct Extent {
    #[n(0)]
    pub(crate) segment: u64,
    /// From the first byte behind the block.
    #[n(1)]
    pub(crate) offset: u32,
    #[n(2)]
    pub(crate) len: u32,
}

/// Where a sealed payload stands, and what it must be.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub(crate) struct Payload {
    /// Before compression and sealing.
    #[n(0)]
    pub(crate) len: u64,
    #[n(1)]
    pub(crate) compressed: bool,
    /// BLAKE3 of the sealed bytes. Of the plain ones it would tell whoever has the vault key what an erased patient's
    /// payload was, if he can guess it.
    #[n(2)]
    pub(crate) digest: Digest,
    #[n(3)]
    pub(crate) extents: Vec<Extent>,
}

impl Payload {
    pub(crate) fn stored_len(&self) -> u64 {
        self.extents.iter().map(|extent| u64::from(extent.len)).sum()
    }
}

/// One entry. Its encoded bytes are the ledger's leaf; the salt keeps what is in it from being guessed by its hash.
#[derive(Clone, PartialEq, Eq, Encode, Decode)]
#[cfg_attr(test, derive(Debug))]
pub(crate) struct Head {
    #[n(0)]
    pub(crate) version: Version<1>,
    #[n(1)]
    pub(crate) time: Timestamp,
    #[n(2)]
    pub(crate) patient: Option<PatientId>,
    #[n(3)]
    pub(crate) kind: String,
    #[n(4)]
    pub(crate) operation: OperationId,
    #[n(5)]
    pub(crate) permit: Option<Digest>,
    #[n(6)]
    pub(crate) meta: ByteVec,
    #[n(7)]
    pub(crate) salt: ByteArray<16>,
    #[n(8)]
    pub(crate) payload: Option<Payload>,
}

impl Head {
    const PLACE: &'static str = "entry head";

    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        format::encode(self)
    }

    pub(crate) fn from_bytes(bytes: &[u8]) -> Result<Self, FormatError> {
        let head: Self = format::decode(Self::PLACE, bytes, HEAD_BYTES_MAX)?;
        if let Some(payload) = &head.payload {
            within(Self::PLACE, "a payload's length", payload.len, 0, kit::limits::OBJECT_BYTES_MAX as u64)?;
            // Salt and tags; what is compressed is shorter, never longer.
            within(Self::PLACE, "a sealed length", payload.stored_len(), 48, payload.len + payload.len / 1024 + 64)?;
        }
        Ok(head)
    }

    pub(crate) fn scope(&self) -> Scope {
        self.patient.into()
    }

    pub(crate) fn into_entry(self, index: u64, leaf: Digest, segment: u64) -> Entry {
        Entry {
            index,
            time: self.time,
            scope: self.scope(),
            payload_len: self.payload.as_ref().map(|payload| payload.len),
            kind: self.kind,
            operation: self.operation,
            permit: self.permit,
            meta: self.meta.into(),
            leaf,
            segment,
        }
    }
}

/// A payload as it will stand: compressed, sealed, hashed.
#[derive(Clone)]
pub(crate) struct Sealed {
    pub(crate) len: u64,
    pub(crate) compressed: bool,
    /// Taken while the first of the pieces are on their way to the locations: only the entry's head needs it.
    pub(crate) digest: Pending,
    /// One behind the other.
    pub(crate) pieces: Vec<Bytes>,
}

impl Sealed {
    fn stored_len(&self) -> usize {
        self.pieces.iter().map(Bytes::len).sum()
    }
}

/// An entry that only needs a place.
#[derive(Clone)]
pub(crate) struct Prepared {
    pub(crate) time: Timestamp,
    pub(crate) scope: Scope,
    pub(crate) kind: String,
    pub(crate) operation: OperationId,
    pub(crate) permit: Option<Digest>,
    pub(crate) meta: Vec<u8>,
    pub(crate) salt: [u8; 16],
    pub(crate) payload: Option<Sealed>,
}

impl Prepared {
    /// The most bytes that its head can take, where a segment carries `capacity` bytes.
    pub(crate) fn head_bytes_max(&self, capacity: usize) -> usize {
        let extents = self.payload.as_ref().map_or(0, |payload| payload.stored_len() / capacity.max(1) + 2);
        HEAD_FIXED_BYTES + self.kind.len() + self.meta.len() + extents * EXTENT_BYTES
    }

    pub(crate) fn payload_bytes(&self) -> usize {
        self.payload.as_ref().map_or(0, Sealed::stored_len)
    }

    pub(crate) fn into_head(self, extents: Vec<Extent>) -> Head {
        let payload = self.payload.map(|sealed| Payload {
            len: sealed.len,
            compressed: sealed.compressed,
            digest: sealed.digest.wait(),
            extents,
        });
        Head {
            version: Version,
            time: self.time,
            patient: self.scope.patient(),
            kind: self.kind,
            operation: self.operation,
            permit: self.permit,
            meta: self.meta.into(),
            salt: self.salt.into(),
            payload,
        }
    }
}

#[derive(Encode, Decode)]
struct Block {
    #[n(0)]
    version: Version<1>,
    #[n(1)]
    heads: Vec<ByteVec>,
}

/// Length of the block, block, payloads: what is sealed as one.
pub(crate) fn assemble(heads: Vec<Vec<u8>>, pieces: &[Bytes], room: usize) -> Vec<u8> {
    let block = format::encode(&Block { version: Version, heads: heads.into_iter().map(ByteVec::from).collect() });
    let payload: usize = pieces.iter().map(Bytes::len).sum();
    let mut body = Vec::with_capacity(4 + block.len() + payload + room);
    body.extend_from_slice(&u32::try_from(block.len()).unwrap_or(u32::MAX).to_be_bytes());
    body.extend_from_slice(&block);
    pieces.iter().for_each(|piece| body.extend_from_slice(piece));
    body
}

/// An opened segment.
pub(crate) struct Opened {
    /// The heads' bytes, in the order of their entries.
    pub(crate) heads: Vec<ByteVec>,
    /// Not wiped when it is dropped: its payloads are sealed once more, each with its own key, and the heads stand beside it
    /// unwiped. It would be one more pass over every large payload, a byte at a time.
    body: Vec<u8>,
    payloads: usize,
}

impl Opened {
    const PLACE: &'static str = "segment body";

    pub(crate) fn new(body: Vec<u8>) -> Result<Self, FormatError> {
        let invalid = FormatError::Invalid { place: Self::PLACE, what: "the block's length" };
        let Some((len, rest)) = body.split_first_chunk::<4>() else { return Err(invalid) };
        let len = u32::from_be_bytes(*len) as usize;
        let Some(block) = rest.get(..len) else { return Err(invalid) };
        let block: Block = format::decode(Self::PLACE, block, len)?;
        within(Self::PLACE, "the number of entries", block.heads.len() as u64, 0, SEGMENT_ENTRIES_MAX as u64)?;
        Ok(Self { heads: block.heads, payloads: 4 + len, body })
    }

    /// The bytes of one extent that is this segment's.
    pub(crate) fn piece(&self, extent: &Extent) -> Option<&[u8]> {
        let start = self.payloads.checked_add(extent.offset as usize)?;
        self.body.get(start..start.checked_add(extent.len as usize)?)
    }

    /// All of it, as it was assembled.
    pub(crate) fn into_body(self) -> Vec<u8> {
        self.body
    }

    pub(crate) fn bytes(&self) -> usize {
        2 * self.body.len()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn head() -> impl Strategy<Value = Head> {
        let payload = (0u64..1 << 20, any::<bool>(), any::<[u8; 32]>(), any::<u64>(), any::<u32>()).prop_map(
            |(len, compressed, digest, segment, offset)| {
                let stored = if compressed { 48 } else { u32::try_from(len).unwrap() + 48 };
                let extents = vec![
                    Extent { segment, offset, len: stored - 40 },
                    Extent { segment: segment.wrapping_add(1), offset: 0, len: 40 },
                ];
                Payload { len, compressed, digest: Digest(digest), extents }
            },
        );
        let who = (any::<i64>(), any::<Option<[u8; 16]>>(), "[a-z.-]{1,32}", any::<[u8; 16]>());
        let what = (any::<Option<[u8; 32]>>(), any::<Vec<u8>>(), any::<[u8; 16]>(), prop::option::of(payload));
        (who, what).prop_map(|((time, patient, kind, operation), (permit, meta, salt, payload))| Head {
            version: Version,
            time: Timestamp(time),
            patient: patient.map(PatientId),
            kind,
            operation: OperationId(operation),
            permit: permit.map(Digest),
            meta: meta.into(),
            salt: salt.into(),
            payload,
        })
    }

    proptest! {
        #[test]
        fn heads_go_there_and_back(head in head()) {
            let bytes = head.to_bytes();
            prop_assert!(Head::from_bytes(&bytes).unwrap() == head);
            let room = HEAD_FIXED_BYTES + head.kind.len() + head.meta.len() + 2 * EXTENT_BYTES;
            prop_assert!(bytes.len() + 5 <= room, "{} bytes, room for {room}", bytes.len());
            let mut longer = bytes.clone();
            longer.push(0xf6);
            prop_assert!(Head::from_bytes(&longer).is_err());
        }

        #[test]
        fn altered_heads_are_refused_or_canonical(head in head(), at in any::<prop::sample::Index>(), to in any::<u8>()) {
            let mut bytes = head.to_bytes();
            let at = at.index(bytes.len());
            bytes[at] = to;
            if let Ok(read) = Head::from_bytes(&bytes) {
                prop_assert_eq!(read.to_bytes(), bytes);
            }
        }

        #[test]
        fn bodies_go_there_and_back(heads in prop::collection::vec(any::<Vec<u8>>(), 0..10), pieces in prop::collection::vec(any::<Vec<u8>>(), 0..5)) {
            let pieces: Vec<Bytes> = pieces.into_iter().map(Bytes::from).collect();
            let opened = Opened::new(assemble(heads.clone(), &pieces, 0)).unwrap();
            prop_assert_eq!(opened.heads.iter().map(|head| head.to_vec()).collect::<Vec<_>>(), heads);
            let mut offset = 0;
            for piece in &pieces {
                let extent = Extent { segment: 0, offset, len: u32::try_from(piece.len()).unwrap() };
                prop_assert_eq!(opened.piece(&extent), Some(&piece[..]));
                offset += extent.len;
            }
            prop_assert_eq!(opened.piece(&Extent { segment: 0, offset, len: 1 }), None);
            prop_assert_eq!(opened.piece(&Extent { segment: 0, offset: u32::MAX, len: u32::MAX }), None);
        }

        #[test]
        fn any_bytes_as_a_body_are_no_panic(bytes in any::<Vec<u8>>()) {
            let _ = Opened::new(bytes);
        }
    }
}

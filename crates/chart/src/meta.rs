//! What `chart` writes beside each sealed payload, so that the index can be rebuilt from the vault alone.
//! Sealed under the vault key like the whole segment; format in `docs/formats/chart-meta.md`.

use kit::{Blame, Digest, Explain};
use minicbor::bytes::ByteVec;
use minicbor::{Decode, Encode};

use crate::relation::Relates;

/// Version of this form.
pub(crate) const FORMAT: u8 = 1;

/// Bytes of a full tag: enough that two identifiers never share one.
pub(crate) const TAG_BYTES: usize = 16;

/// Bytes of a fuzzy tag (name prefix, birth date, phone). 2^24 buckets: with some million names several people
/// share each, so a stolen index gives candidates, not people. What is found is opened and filtered.
pub(crate) const FUZZY_TAG_BYTES: usize = 3;

/// A keyed hash: BLAKE3 in keyed mode under the index key, over length-prefixed parts.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Encode, Decode)]
#[cbor(transparent)]
pub struct Tag(#[n(0)] pub ByteVec);

impl Tag {
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

/// Makes tags; holds the index key, which the holders opened at start and which is on no disk.
pub struct Tagger(blake3::Hasher);

impl Tagger {
    pub fn new(index_key: &[u8; 32]) -> Self {
        Self(blake3::Hasher::new_keyed(index_key))
    }

    fn hash(&self, parts: &[&[u8]]) -> blake3::Hash {
        let mut hasher = self.0.clone();
        for part in parts {
            hasher.update(&(part.len() as u64).to_le_bytes());
            hasher.update(part);
        }
        hasher.finalize()
    }

    /// Full length: for unique identifiers and for compounds that name one patient.
    pub fn full(&self, parts: &[&[u8]]) -> Tag {
        Tag(self.hash(parts).as_bytes().iter().copied().take(TAG_BYTES).collect::<Vec<u8>>().into())
    }

    /// Truncated: for what many people share.
    pub fn fuzzy(&self, parts: &[&[u8]]) -> Tag {
        Tag(self.hash(parts).as_bytes().iter().copied().take(FUZZY_TAG_BYTES).collect::<Vec<u8>>().into())
    }
}

impl std::fmt::Debug for Tagger {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Tagger(..)")
    }
}

/// One version of one record.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Version {
    /// Keyed hash of collection and id.
    #[n(0)]
    pub key: Tag,
    /// FHIR resource type, or `dicom`.
    #[n(1)]
    pub collection: String,
    /// FHIR logical id, or SOP Instance UID.
    #[n(2)]
    pub id: String,
    /// 1 for the first, then one more each.
    #[n(3)]
    pub version: u32,
    /// A tombstone: the record is gone, its history stays.
    #[n(4)]
    pub deleted: bool,
    /// SHA-256 of the payload as it came in, so that a second sending is told from a change.
    #[n(5)]
    pub content: Option<Digest>,
}

/// The `meta` of every entry that `chart` keeps.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Meta {
    #[n(0)]
    pub format: u8,
    /// Set for records and objects.
    #[n(1)]
    pub version: Option<Version>,
    /// Where the current version is found; replaced by the next version's.
    #[n(2)]
    pub tags: Vec<Tag>,
    /// Lists that this entry stands on for good (a patient's accesses, approvals, verdicts).
    #[n(3)]
    pub lists: Vec<Tag>,
    /// What the owning room adds: an access line, a decision, a person's public key.
    #[n(4)]
    pub note: ByteVec,
    /// Of an object: what the owning room knows of its content without opening it.
    #[n(5)]
    pub content: Option<ByteVec>,
    /// Whom it relates to its patient.
    #[n(6)]
    pub(crate) relates: Option<Vec<Relates>>,
}

/// A `meta` that this version can't read.
#[derive(Debug, thiserror::Error)]
pub enum MetaError {
    #[error("entry {index}: its meta is no CBOR of chart-meta v{FORMAT}: {why}")]
    Malformed { index: u64, why: String },
    #[error("entry {index}: chart-meta format {found}, this program reads {FORMAT}")]
    Format { index: u64, found: u8 },
}

impl Explain for MetaError {
    fn blame(&self) -> Blame {
        Blame::Integrity
    }

    fn code(&self) -> &'static str {
        "chart.meta"
    }
}

impl Meta {
    pub fn new(version: Option<Version>) -> Self {
        Self {
            format: FORMAT,
            version,
            tags: Vec::new(),
            lists: Vec::new(),
            note: ByteVec::from(Vec::new()),
            content: None,
            relates: None,
        }
    }

    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(256);
        let Ok(()) = minicbor::encode(self, &mut out) else { unreachable!("a Vec takes every byte") };
        out
    }

    pub fn from_bytes(index: u64, bytes: &[u8]) -> Result<Self, MetaError> {
        let mut decoder = minicbor::Decoder::new(bytes);
        let malformed = |why: String| MetaError::Malformed { index, why };
        let meta: Self = decoder.decode().map_err(|e| malformed(e.to_string()))?;
        if meta.format != FORMAT {
            return Err(MetaError::Format { index, found: meta.format });
        }
        if decoder.position() != bytes.len() {
            return Err(malformed(format!("{} bytes follow its end", bytes.len() - decoder.position())));
        }
        Ok(meta)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_depend_on_key_and_on_the_border_between_parts() {
        let (a, b) = (Tagger::new(&[1; 32]), Tagger::new(&[2; 32]));
        assert_eq!(a.full(&[b"ab", b"c"]), a.full(&[b"ab", b"c"]));
        assert_ne!(a.full(&[b"ab", b"c"]), a.full(&[b"a", b"bc"]));
        assert_ne!(a.full(&[b"ab"]), b.full(&[b"ab"]));
        assert_eq!(a.fuzzy(&[b"x"]).as_bytes().len(), FUZZY_TAG_BYTES);
    }

    #[test]
    fn meta_goes_there_and_back_and_refuses_what_follows() {
        let mut meta = Meta::new(None);
        meta.tags.push(Tag(vec![1, 2, 3].into()));
        let mut bytes = meta.to_bytes();
        assert_eq!(Meta::from_bytes(0, &bytes).unwrap(), meta);
        bytes.push(0);
        assert!(Meta::from_bytes(0, &bytes).is_err());
    }
}

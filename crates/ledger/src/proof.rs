//! Leaves, and the checks that anyone can make with nothing but a proof and two numbers.

use std::fmt;

use kit::Digest;
use tlog_tiles::tlog;

use crate::{Checkpoint, LedgerError};

/// A path through a tree of 2^64 leaves has 64 hashes, a consistency proof one more: what is longer is no proof, and
/// is refused before it is hashed.
pub const PATH_HASHES_MAX: usize = 65;

/// RFC 6962, section 2.1: SHA-256(0x00 ‖ data).
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct LeafHash(pub [u8; 32]);

impl fmt::Display for LeafHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Digest(self.0).fmt(f)
    }
}

impl fmt::Debug for LeafHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LeafHash({self})")
    }
}

impl From<LeafHash> for Digest {
    fn from(leaf: LeafHash) -> Self {
        Self(leaf.0)
    }
}

impl From<Digest> for LeafHash {
    fn from(digest: Digest) -> Self {
        Self(digest.0)
    }
}

pub fn leaf_hash(data: &[u8]) -> LeafHash {
    LeafHash(tlog::record_hash(data).0)
}

/// The root of the tree without leaves: SHA-256 of nothing.
pub fn empty_root() -> Digest {
    Digest(tlog::EMPTY_HASH.0)
}

/// That leaf number `index` of the tree with `size` leaves and `root` is `leaf`.
pub fn check_inclusion(
    path: &[Digest],
    index: u64,
    size: u64,
    leaf: LeafHash,
    root: Digest,
) -> Result<(), LedgerError> {
    let wrong = LedgerError::NotIncluded { index, size };
    if path.len() > PATH_HASHES_MAX {
        return Err(wrong);
    }
    tlog::check_record(&hashes(path), size, tlog::Hash(root.0), index, tlog::Hash(leaf.0)).map_err(|_| wrong)
}

/// That the tree of `to` leaves holds the tree of `from` leaves as its beginning: nothing was changed, dropped or
/// put in between. Every tree holds the empty one, with an empty proof (RFC 9162, section 2.1.4.2).
pub fn check_consistency(
    path: &[Digest],
    from: u64,
    from_root: Digest,
    to: u64,
    to_root: Digest,
) -> Result<(), LedgerError> {
    let wrong = LedgerError::NotConsistent { from, to };
    if from > to || path.len() > PATH_HASHES_MAX {
        return Err(wrong);
    }
    if from == 0 {
        let unequal = to == 0 && to_root != from_root;
        return if path.is_empty() && from_root == empty_root() && !unequal { Ok(()) } else { Err(wrong) };
    }
    tlog::check_tree(&hashes(path), to, tlog::Hash(to_root.0), from, tlog::Hash(from_root.0)).map_err(|_| wrong)
}

/// That `newer` continues `older`: the same log, no shorter, the old leaves as they were. The error names what
/// happened to it: another log's, cut, forked, or rewritten.
pub fn check_growth(older: &Checkpoint, newer: &Checkpoint, path: &[Digest]) -> Result<(), LedgerError> {
    if older.origin != newer.origin {
        return Err(LedgerError::OtherOrigin { expected: older.origin.clone(), found: newer.origin.clone() });
    }
    if newer.size < older.size {
        return Err(LedgerError::Shrunk { from: older.size, to: newer.size });
    }
    if newer.size == older.size && newer.root != older.root {
        return Err(LedgerError::Forked { size: newer.size });
    }
    check_consistency(path, older.size, older.root, newer.size, newer.root)
}

pub(crate) fn hashes(path: &[Digest]) -> Vec<tlog::Hash> {
    path.iter().map(|digest| tlog::Hash(digest.0)).collect()
}

pub(crate) fn digests(path: Vec<tlog::Hash>) -> Vec<Digest> {
    path.into_iter().map(|hash| Digest(hash.0)).collect()
}

//! The tree: append leaves, name its root at any size, prove what it holds.

use std::cell::Cell;

use kit::Digest;
use tlog_tiles::tlog::{self, Hash, HashReader};

use crate::proof::{digests, hashes};
use crate::{HashStore, LeafHash, LedgerError};

/// A million entries a second for twelve days, or a hospital's for as long as it stands; far below where index
/// arithmetic in 64 bits ends.
pub const LEAVES_MAX: u64 = 1 << 40;

/// C2SP tlog-tiles: a full tile holds 2^8 hashes.
pub const TILE_HEIGHT: u8 = 8;

/// A tile as it is served: C2SP tlog-tiles, `tile/<L>/<N>[.p/<W>]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tile {
    pub path: String,
    pub bytes: Vec<u8>,
}

pub struct Tree<S> {
    store: S,
    size: u64,
}

impl<S: HashStore> Tree<S> {
    /// The tree without leaves; whatever the store held is dropped.
    pub fn empty(mut store: S) -> Result<Self, LedgerError> {
        store.truncate(0)?;
        Ok(Self { store, size: 0 })
    }

    /// The tree of `size` leaves with `root`, from the hashes in the store; what stands behind them is dropped.
    /// `StoreDamaged` where they don't make that root: then rebuild with `empty` and `append_all`.
    pub fn open(mut store: S, size: u64, root: Digest) -> Result<Self, LedgerError> {
        if size > LEAVES_MAX {
            return Err(LedgerError::TooManyLeaves { found: size, max: LEAVES_MAX });
        }
        let needed = tlog::stored_hash_count(size);
        if store.len() < needed {
            return Err(LedgerError::StoreDamaged { size });
        }
        store.truncate(needed)?;
        let tree = Self { store, size };
        if tree.root()? == root { Ok(tree) } else { Err(LedgerError::StoreDamaged { size }) }
    }

    /// Leaves in the tree.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Gives the leaf its number.
    pub fn append(&mut self, leaf: LeafHash) -> Result<u64, LedgerError> {
        self.append_all(&[leaf])
    }

    /// Appends the leaves with one write, or none of them; gives the first one's number.
    pub fn append_all(&mut self, leaves: &[LeafHash]) -> Result<u64, LedgerError> {
        let (first, size) = (self.size, self.size.saturating_add(leaves.len() as u64));
        if size > LEAVES_MAX {
            return Err(LedgerError::TooManyLeaves { found: size, max: LEAVES_MAX });
        }
        let mut new = Vec::with_capacity(2 * leaves.len());
        for (index, leaf) in (first..).zip(leaves) {
            let stored = self.ask(&new, |r| tlog::stored_hashes_for_record_hash(index, Hash(leaf.0), r))?;
            new.extend(digests(stored));
        }
        self.store.append(&new)?;
        self.size = size;
        Ok(first)
    }

    pub fn leaf(&self, index: u64) -> Result<LeafHash, LedgerError> {
        if index >= self.size {
            return Err(LedgerError::NoSuchLeaf { index, size: self.size });
        }
        self.store.read(tlog::stored_hash_index(0, index)).map(LeafHash::from)
    }

    pub fn root(&self) -> Result<Digest, LedgerError> {
        self.root_at(self.size)
    }

    /// The root of the tree when it had `size` leaves.
    pub fn root_at(&self, size: u64) -> Result<Digest, LedgerError> {
        if size > self.size {
            return Err(LedgerError::NoSuchTree { from: size, to: size, size: self.size });
        }
        self.ask(&[], |r| tlog::tree_hash(size, r)).map(|root| Digest(root.0))
    }

    /// The proof that leaf `index` is in the tree of `size` leaves. It is checked before it is given away, since the
    /// store may be damaged anywhere below the root.
    pub fn prove_inclusion(&self, index: u64, size: u64) -> Result<Vec<Digest>, LedgerError> {
        if size > self.size {
            return Err(LedgerError::NoSuchTree { from: size, to: size, size: self.size });
        }
        if index >= size {
            return Err(LedgerError::NoSuchLeaf { index, size });
        }
        let path = self.ask(&[], |r| tlog::prove_record(size, index, r)).map(digests)?;
        crate::check_inclusion(&path, index, size, self.leaf(index)?, self.root_at(size)?)
            .map_err(|_| LedgerError::StoreDamaged { size })?;
        Ok(path)
    }

    /// The proof that the tree of `to` leaves grew from the tree of `from`; checked before it is given away.
    pub fn prove_consistency(&self, from: u64, to: u64) -> Result<Vec<Digest>, LedgerError> {
        if from > to || to > self.size {
            return Err(LedgerError::NoSuchTree { from, to, size: self.size });
        }
        if from == 0 {
            return Ok(Vec::new());
        }
        let path = self.ask(&[], |r| tlog::prove_tree(to, from, r)).map(digests)?;
        crate::check_consistency(&path, from, self.root_at(from)?, to, self.root_at(to)?)
            .map_err(|_| LedgerError::StoreDamaged { size: to })?;
        Ok(path)
    }

    /// Tile number `index` of `level`, as wide as the tree is now; `None` past its end.
    pub fn tile(&self, level: u8, index: u64) -> Result<Option<Tile>, LedgerError> {
        // The tree has under 2^40 leaves, so no tile stands above level 5, and the shift can't overflow.
        if level > 5 {
            return Ok(None);
        }
        let hashes_at_level = self.size >> (TILE_HEIGHT * level);
        let width = index.checked_mul(1 << TILE_HEIGHT).map_or(0, |start| hashes_at_level.saturating_sub(start));
        let width = u32::try_from(width.min(1 << TILE_HEIGHT)).unwrap_or(0);
        if width == 0 {
            return Ok(None);
        }
        let tile = tlog_tiles::Tile::new(TILE_HEIGHT, level, index, width, false);
        let bytes = self.ask(&[], |r| tile.read_data(r))?;
        // The Go checksum database puts the height into the path; tlog-tiles fixes it at 8 and leaves it out.
        Ok(Some(Tile { path: tile.path().replacen("tile/8/", "tile/", 1), bytes }))
    }

    /// Lets `tlog_tiles` read the stored hashes, and behind them `new` ones; keeps the store's own error.
    fn ask<T>(
        &self,
        new: &[Digest],
        question: impl FnOnce(&Reader<'_, S>) -> Result<T, tlog::Error>,
    ) -> Result<T, LedgerError> {
        let reader = Reader { store: &self.store, new, failure: Cell::new(None) };
        question(&reader).map_err(|_| reader.failure.take().unwrap_or(LedgerError::StoreDamaged { size: self.size }))
    }
}

struct Reader<'a, S> {
    store: &'a S,
    new: &'a [Digest],
    failure: Cell<Option<LedgerError>>,
}

impl<S: HashStore> Reader<'_, S> {
    fn read(&self, index: u64) -> Result<Digest, LedgerError> {
        let behind = index.checked_sub(self.store.len()).and_then(|at| usize::try_from(at).ok());
        match behind.and_then(|at| self.new.get(at)) {
            Some(hash) => Ok(*hash),
            None => self.store.read(index),
        }
    }
}

impl<S: HashStore> HashReader for Reader<'_, S> {
    fn read_hashes(&self, indexes: &[u64]) -> Result<Vec<Hash>, tlog::Error> {
        let read: Result<Vec<Digest>, LedgerError> = indexes.iter().map(|index| self.read(*index)).collect();
        read.map(|read| hashes(&read)).map_err(|error| {
            self.failure.set(Some(error));
            tlog::Error::IndexesNotInTree
        })
    }
}

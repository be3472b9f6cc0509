//! Where the tree's hashes stand: a flat row of 32-byte values, each complete subtree's hash at its stored hash index.
//!
//! The row is a projection of the leaves: losing it loses nothing, so no write here is synced. What a crash leaves
//! behind is found out when the tree is opened against a checkpoint.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use kit::Digest;

use crate::LedgerError;

const HASH_BYTES: u64 = 32;

pub trait HashStore {
    /// Hashes that stand here.
    fn len(&self) -> u64;

    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn read(&self, index: u64) -> Result<Digest, LedgerError>;

    /// Puts `hashes` behind the last one.
    fn append(&mut self, hashes: &[Digest]) -> Result<(), LedgerError>;

    /// Drops all hashes from number `len` on.
    fn truncate(&mut self, len: u64) -> Result<(), LedgerError>;
}

/// In memory.
#[derive(Clone, Debug, Default)]
pub struct MemoryStore(Vec<Digest>);

impl HashStore for MemoryStore {
    fn len(&self) -> u64 {
        self.0.len() as u64
    }

    fn read(&self, index: u64) -> Result<Digest, LedgerError> {
        let found = usize::try_from(index).ok().and_then(|index| self.0.get(index));
        found.copied().ok_or_else(|| failed("reading", io::ErrorKind::UnexpectedEof.into()))
    }

    fn append(&mut self, hashes: &[Digest]) -> Result<(), LedgerError> {
        self.0.extend_from_slice(hashes);
        Ok(())
    }

    fn truncate(&mut self, len: u64) -> Result<(), LedgerError> {
        self.0.truncate(usize::try_from(len).unwrap_or(usize::MAX));
        Ok(())
    }
}

/// In a file that holds nothing else.
#[derive(Debug)]
pub struct FileStore {
    file: File,
    len: u64,
}

impl FileStore {
    /// Opens or makes the file. A half-written last hash doesn't count.
    pub fn open(path: &Path) -> Result<Self, LedgerError> {
        let open = || File::options().read(true).write(true).create(true).truncate(false).open(path);
        let file = open().map_err(|source| failed("opening", source))?;
        let bytes = file.metadata().map_err(|source| failed("measuring", source))?.len();
        Ok(Self { file, len: bytes / HASH_BYTES })
    }
}

impl HashStore for FileStore {
    fn len(&self) -> u64 {
        self.len
    }

    fn read(&self, index: u64) -> Result<Digest, LedgerError> {
        if index >= self.len {
            return Err(failed("reading", io::ErrorKind::UnexpectedEof.into()));
        }
        let mut hash = [0; 32];
        self.file.read_exact_at(&mut hash, index * HASH_BYTES).map_err(|source| failed("reading", source))?;
        Ok(Digest(hash))
    }

    /// Writes at the known end, so that the rest of a write that failed is written over.
    fn append(&mut self, hashes: &[Digest]) -> Result<(), LedgerError> {
        let bytes: Vec<u8> = hashes.iter().flat_map(|hash| hash.0).collect();
        self.file.write_all_at(&bytes, self.len * HASH_BYTES).map_err(|source| failed("appending to", source))?;
        self.len += hashes.len() as u64;
        Ok(())
    }

    fn truncate(&mut self, len: u64) -> Result<(), LedgerError> {
        if len < self.len {
            self.file.set_len(len * HASH_BYTES).map_err(|source| failed("truncating", source))?;
            self.len = len;
        }
        Ok(())
    }
}

fn failed(operation: &'static str, source: io::Error) -> LedgerError {
    LedgerError::Io { operation, source }
}

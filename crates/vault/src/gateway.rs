//! What the gateway keeps for itself: all of it can be lost. With it a start is faster, and a rollback is noticed.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use kit::Digest;
use ledger::{Checkpoint, FileStore, HashStore, LedgerError, MemoryStore, SignedCheckpoint, Vkey};

use crate::error::{VaultError, gateway};

const VKEY: &str = "log.vkey";
const CHECKPOINT: &str = "checkpoint";
const SETTLED: &str = "settled";
const HASHES: &str = "hashes";
const KEYMAP: &str = "keymap";

/// Two slots, written in turn: one that a crash tore leaves the other. A signed note of one signature is a third of it.
const SLOT_BYTES: usize = 1_024;

/// A vkey is a line.
const VKEY_BYTES_MAX: u64 = 1_024;

pub(crate) struct Gateway {
    dir: PathBuf,
    checkpoints: File,
    settled: File,
    turn: AtomicU64,
}

impl Gateway {
    pub(crate) fn open(dir: &Path) -> Result<Self, VaultError> {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(gateway("making the folder"))?;
        let mut options = File::options();
        options.read(true).write(true).create(true).truncate(false).mode(0o600);
        let checkpoints = options.open(dir.join(CHECKPOINT)).map_err(gateway("opening the checkpoint"))?;
        let settled = options.open(dir.join(SETTLED)).map_err(gateway("opening the count of segments"))?;
        Ok(Self { dir: dir.to_owned(), checkpoints, settled, turn: AtomicU64::new(0) })
    }

    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// The log key that this gateway met first.
    pub(crate) fn vkey(&self) -> Result<Option<Vkey>, VaultError> {
        let path = self.dir.join(VKEY);
        match fs::metadata(&path) {
            Ok(metadata) if metadata.len() <= VKEY_BYTES_MAX => {
                let text = fs::read_to_string(&path).map_err(gateway("reading the log key"))?;
                Ok(Some(text.trim().parse()?))
            }
            Ok(_) => Err(LedgerError::VkeyMalformed("it is too long").into()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(gateway("reading the log key")(error)),
        }
    }

    pub(crate) fn remember_vkey(&self, vkey: &Vkey) -> Result<(), VaultError> {
        self.replace(VKEY, format!("{vkey}\n").as_bytes())
    }

    /// The newest checkpoint that was remembered. Not synced: after a power failure it may be some seconds older.
    pub(crate) fn checkpoint(&self, vkey: &Vkey) -> Option<(Checkpoint, Vec<u8>)> {
        let slot = |at: u64| {
            let mut note = vec![0; SLOT_BYTES];
            let len = self.checkpoints.read_at(&mut note, at * SLOT_BYTES as u64).ok()?;
            note.truncate(len);
            note.truncate(note.iter().position(|byte| *byte == 0).unwrap_or(len));
            let checkpoint = SignedCheckpoint::open(&note, vkey).ok()?;
            Some((checkpoint, note))
        };
        [slot(0), slot(1)].into_iter().flatten().max_by_key(|(checkpoint, _)| checkpoint.size)
    }

    pub(crate) fn remember_checkpoint(&self, note: &[u8]) {
        let mut slot = note.to_vec();
        slot.resize(SLOT_BYTES.max(note.len()), 0);
        let at = self.turn.fetch_add(1, Ordering::Relaxed) % 2;
        if note.len() > SLOT_BYTES || self.checkpoints.write_all_at(&slot, at * SLOT_BYTES as u64).is_err() {
            tracing::warn!("the gateway can't remember a checkpoint: a rollback up to here would not be noticed");
        }
    }

    /// Segments that were acknowledged, seals among them, as far as is remembered: not synced.
    pub(crate) fn settled(&self) -> u64 {
        let mut bytes = [0; 16];
        let read = self.settled.read_exact_at(&mut bytes, 0).is_ok();
        let [count, check] =
            [0, 8].map(|at| bytes.get(at..at + 8).and_then(|half| half.try_into().ok()).map_or(0, u64::from_be_bytes));
        if read && check == !count { count } else { 0 }
    }

    pub(crate) fn remember_settled(&self, segments: u64) {
        let bytes = [segments.to_be_bytes(), (!segments).to_be_bytes()].concat();
        if self.settled.write_all_at(&bytes, 0).is_err() {
            tracing::warn!(
                "the gateway can't remember what is settled: a tail that is damaged would pass for a new one"
            );
        }
    }

    pub(crate) fn forget_hashes(dir: &Path) -> Result<(), VaultError> {
        match fs::remove_file(dir.join(HASHES)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(gateway("removing the hashes")(error)),
            _ => Ok(()),
        }
    }

    pub(crate) fn hashes(&self) -> Result<Hashes, VaultError> {
        Ok(Hashes::File(FileStore::open(&self.dir.join(HASHES))?))
    }

    pub(crate) fn keymap(&self) -> Option<Vec<u8>> {
        fs::read(self.dir.join(KEYMAP)).ok()
    }

    pub(crate) fn remember_keymap(&self, snapshot: &[u8]) -> Result<(), VaultError> {
        self.replace(KEYMAP, snapshot)
    }

    /// Writes beside, syncs, renames.
    fn replace(&self, name: &str, bytes: &[u8]) -> Result<(), VaultError> {
        let draft = self.dir.join(format!("{name}.new"));
        let write = || {
            let mut file = File::options().write(true).create(true).truncate(true).mode(0o600).open(&draft)?;
            file.write_all(bytes)?;
            file.sync_all()?;
            fs::rename(&draft, self.dir.join(name))?;
            File::open(&self.dir)?.sync_all()
        };
        write().map_err(gateway("writing a file"))
    }
}

/// The ledger's hashes: in the gateway's folder, or in memory where there is none.
pub(crate) enum Hashes {
    File(FileStore),
    Memory(MemoryStore),
}

impl HashStore for Hashes {
    fn len(&self) -> u64 {
        match self {
            Self::File(store) => store.len(),
            Self::Memory(store) => store.len(),
        }
    }

    fn read(&self, index: u64) -> Result<Digest, LedgerError> {
        match self {
            Self::File(store) => store.read(index),
            Self::Memory(store) => store.read(index),
        }
    }

    fn append(&mut self, hashes: &[Digest]) -> Result<(), LedgerError> {
        match self {
            Self::File(store) => store.append(hashes),
            Self::Memory(store) => store.append(hashes),
        }
    }

    fn truncate(&mut self, len: u64) -> Result<(), LedgerError> {
        match self {
            Self::File(store) => store.truncate(len),
            Self::Memory(store) => store.truncate(len),
        }
    }
}

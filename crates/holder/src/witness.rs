//! The witness: cosigns a head of the log where it extends the one that it cosigned before, and remembers it first.
//!
//! ```text
//! DIR/witness/witness.key    32 bytes, an Ed25519 seed
//! DIR/witness/seen           two slots, written in turn: length (4), SHA-256 (32), the signed checkpoint
//! ```

use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use kit::{Entropy, Timestamp, write_private};
use ledger::{
    AddCheckpoint, Checkpoint, Cosignature, Cosigner, NOTE_BYTES_MAX, SignedCheckpoint, Vkey, WitnessRefusal,
    WitnessVkey, cosign, judge,
};
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

/// In a server's folder.
pub(crate) const FOLDER: &str = "witness";
const KEY: &str = "witness.key";
const SEEN: &str = "seen";
const SLOT_HEAD_BYTES: usize = 36;
const SLOT_BYTES: usize = SLOT_HEAD_BYTES + NOTE_BYTES_MAX;

pub(crate) struct Witness {
    pair: Ed25519KeyPair,
    vkey: WitnessVkey,
    file: File,
    state: Mutex<State>,
}

/// What it cosigned last, as the log signed it.
struct State {
    note: Option<Vec<u8>>,
    turn: u64,
}

/// Why it didn't cosign.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NotCosigned {
    #[error(transparent)]
    Refused(#[from] WitnessRefusal),
    #[error("what it saw can't be remembered: {0}")]
    Io(#[from] io::Error),
    #[error(transparent)]
    Ledger(#[from] ledger::LedgerError),
}

/// The head that the witness in this server's folder cosigned last, as the log signed it; `None` where it cosigned none, or there
/// is no witness. For whoever has the disk and no running holder.
pub fn last_cosigned(server: &Path) -> io::Result<Option<Vec<u8>>> {
    let file = match File::open(server.join(FOLDER).join(SEEN)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        file => file?,
    };
    let notes = [slot(&file, 0)?, slot(&file, 1)?].into_iter().flatten();
    Ok(notes.max_by_key(|note| size_of(note)))
}

struct Signing<'a>(&'a Ed25519KeyPair, &'a WitnessVkey);

impl Cosigner for Signing<'_> {
    fn name(&self) -> &str {
        self.1.name()
    }

    fn key_id(&self) -> u32 {
        self.1.key_id()
    }

    fn sign(&self, message: &[u8]) -> [u8; 64] {
        let mut out = [0; 64];
        // RFC 8032: 64 bytes. Were it otherwise, zeros would verify nowhere.
        let signature = self.0.sign(message);
        if signature.as_ref().len() == out.len() {
            out.copy_from_slice(signature.as_ref());
        }
        out
    }
}

impl Witness {
    pub(crate) fn init(dir: &Path, entropy: &dyn Entropy) -> io::Result<()> {
        DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
        let mut seed = Zeroizing::new([0; 32]);
        entropy.fill(seed.as_mut());
        // The state first: a witness with a key and no state was never one.
        private(&dir.join(SEEN))?.sync_all()?;
        write_private(&dir.join(KEY), seed.as_ref())
    }

    pub(crate) fn is_there(dir: &Path) -> bool {
        dir.join(KEY).exists()
    }

    /// `name` is the key's, as `server-05.holdfast/<vault>`.
    pub(crate) fn open(dir: &Path, name: &str) -> io::Result<Self> {
        let seed = Zeroizing::new(fs::read(dir.join(KEY))?);
        let pair =
            Ed25519KeyPair::from_seed_unchecked(&seed).map_err(|_| io::Error::other("witness.key is no seed"))?;
        let public = pair.public_key().as_ref().try_into().map_err(|_| io::Error::other("no public key"))?;
        let vkey = WitnessVkey::new(name, &public).map_err(io::Error::other)?;
        let file = File::options().read(true).write(true).open(dir.join(SEEN))?;
        let slots = [slot(&file, 0)?, slot(&file, 1)?];
        // A power failure spoils one slot at most; who can read neither has forgotten what it said.
        if slots.iter().all(Option::is_none) && !is_cut_short(&file)? {
            let text = "witness/seen, byte 0: damaged: this witness can't know what it cosigned";
            return Err(io::Error::other(text));
        }
        let newest = slots.into_iter().enumerate().filter_map(|(at, note)| {
            let note = note?;
            let size = size_of(&note);
            Some((size, at, note))
        });
        let (turn, note) = match newest.max_by_key(|(size, ..)| *size) {
            Some((_, at, note)) => (at as u64 + 1, Some(note)),
            None => (0, None),
        };
        Ok(Self { pair, vkey, file, state: Mutex::new(State { note, turn }) })
    }

    pub(crate) fn vkey(&self) -> &WitnessVkey {
        &self.vkey
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Leaves of the log that it cosigned last.
    pub(crate) fn size(&self) -> u64 {
        self.state().note.as_deref().map_or(0, size_of)
    }

    pub(crate) fn add(&self, log: &Vkey, request: &AddCheckpoint, now: Timestamp) -> Result<Cosignature, NotCosigned> {
        let mut state = self.state();
        let seen: Option<Checkpoint> =
            state.note.as_deref().map(|note| SignedCheckpoint::open(note, log)).transpose()?;
        let shown = judge(seen.as_ref(), request, log)?;
        if seen.as_ref() != Some(&shown) {
            self.remember(&mut state, request.checkpoint.bytes())?;
        }
        let time_s = u64::try_from(now.0 / 1_000).unwrap_or(0).max(1);
        Ok(cosign(&shown, &Signing(&self.pair, &self.vkey), time_s)?)
    }

    /// Durably, before a word is said.
    fn remember(&self, state: &mut State, note: &[u8]) -> io::Result<()> {
        let length = u32::try_from(note.len()).unwrap_or(u32::MAX).to_be_bytes();
        let bytes = [length.as_slice(), &Sha256::digest(note), note].concat();
        self.file.write_all_at(&bytes, state.turn % 2 * SLOT_BYTES as u64)?;
        self.file.sync_data()?;
        state.turn += 1;
        state.note = Some(note.to_vec());
        Ok(())
    }
}

fn private(path: &Path) -> io::Result<File> {
    File::options().read(true).write(true).create(true).truncate(true).mode(0o600).open(path)
}

/// The file ends within the first note that was written into it, or before: nothing was ever cosigned.
fn is_cut_short(file: &File) -> io::Result<bool> {
    let mut length = [0; 4];
    let len = file.metadata()?.len();
    if len >= length.len() as u64 {
        file.read_exact_at(&mut length, 0)?;
    }
    Ok(len < SLOT_HEAD_BYTES as u64 + u64::from(u32::from_be_bytes(length)))
}

fn size_of(note: &[u8]) -> u64 {
    let size = |note: &[u8]| std::str::from_utf8(note).ok()?.lines().nth(1)?.parse().ok();
    size(note).unwrap_or(0)
}

fn slot(file: &File, at: u64) -> io::Result<Option<Vec<u8>>> {
    let mut bytes = vec![0; SLOT_BYTES];
    let mut read = 0;
    while read < bytes.len() {
        let rest = bytes.get_mut(read..).unwrap_or_default();
        match file.read_at(rest, at * SLOT_BYTES as u64 + read as u64)? {
            0 => break,
            more => read += more,
        }
    }
    let sound = || {
        let (head, rest) = bytes.split_at_checked(SLOT_HEAD_BYTES)?;
        let (length, digest) = head.split_first_chunk::<4>()?;
        let note = rest.get(..usize::try_from(u32::from_be_bytes(*length)).ok()?).filter(|note| !note.is_empty())?;
        (Sha256::digest(note).as_slice() == digest).then(|| note.to_vec())
    };
    Ok(sound())
}

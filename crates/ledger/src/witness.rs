//! What a witness is asked and how it judges (C2SP tlog-witness, `add-checkpoint`): it cosigns a checkpoint only where the
//! new tree holds the one that it saw before as its beginning.
//!
//! Pure: who keeps the state and the key is elsewhere. A witness that forgets its state can be made to cosign a fork.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use kit::{Blame, Digest, Explain};

use crate::{Checkpoint, LedgerError, SignedCheckpoint, Vkey, check_growth};

/// C2SP tlog-witness: more lines are no proof.
pub const ADD_CHECKPOINT_HASHES_MAX: usize = 63;
/// Lines of a proof, the first line, and the note.
pub const ADD_CHECKPOINT_BYTES_MAX: usize = 64 + ADD_CHECKPOINT_HASHES_MAX * 45 + 1 + crate::NOTE_BYTES_MAX;

/// The body of a request: `old N`, the proof's hashes in base64, an empty line, and the checkpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AddCheckpoint {
    /// The size that the proof grows from: what the witness is believed to have seen.
    pub old_size: u64,
    pub proof: Vec<Digest>,
    pub checkpoint: SignedCheckpoint,
}

impl AddCheckpoint {
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut text = format!("old {}\n", self.old_size);
        for hash in &self.proof {
            text.push_str(&BASE64_STANDARD.encode(hash.0));
            text.push('\n');
        }
        text.push('\n');
        [text.as_bytes(), self.checkpoint.bytes()].concat()
    }

    /// Strict: exactly what [`Self::to_bytes`] writes.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, LedgerError> {
        let wrong = LedgerError::WitnessRequest;
        if bytes.len() > ADD_CHECKPOINT_BYTES_MAX {
            return Err(wrong("it is too long"));
        }
        let head_end = bytes.windows(2).position(|pair| pair == b"\n\n").ok_or(wrong("it has no empty line"))?;
        let (head, note) = bytes.split_at(head_end + 2);
        let head = std::str::from_utf8(head).map_err(|_| wrong("its head is no text"))?;
        let mut lines = head.trim_end_matches('\n').split('\n');
        let old_size = lines.next().and_then(|line| line.strip_prefix("old ")).and_then(|size| size.parse().ok());
        let old_size = old_size.ok_or(wrong("its first line must be: old, and a size"))?;
        let hash = |line: &str| {
            let bytes = BASE64_STANDARD.decode(line).ok()?;
            Some(Digest(bytes.try_into().ok()?))
        };
        let proof = lines.map(hash).collect::<Option<Vec<_>>>().ok_or(wrong("a line of its proof is no hash"))?;
        if proof.len() > ADD_CHECKPOINT_HASHES_MAX {
            return Err(wrong("its proof has too many hashes"));
        }
        let request = Self { old_size, proof, checkpoint: SignedCheckpoint::from_bytes(note)? };
        if request.to_bytes() == bytes { Ok(request) } else { Err(wrong("it must be written in the one way")) }
    }
}

/// Why a witness doesn't cosign.
#[derive(Debug, thiserror::Error)]
pub enum WitnessRefusal {
    /// Not the log's, or not signed by it.
    #[error(transparent)]
    Unsigned(LedgerError),
    /// The asker is behind, or ahead: it asks again from `has`. No alarm by itself.
    #[error("the request grows from {old_size}, this witness has seen {has}")]
    OldSize { old_size: u64, has: u64 },
    /// It contradicts what the log signed before: both heads, together, are the proof.
    #[error("the log contradicts itself: {why}")]
    Contradiction { why: LedgerError, seen: Box<Checkpoint>, shown: Box<Checkpoint> },
}

impl WitnessRefusal {
    /// Whether somebody has rewritten or forked the log.
    pub fn is_alarm(&self) -> bool {
        matches!(self, Self::Contradiction { .. })
    }
}

impl Explain for WitnessRefusal {
    fn blame(&self) -> Blame {
        match self {
            Self::Unsigned(error) => error.blame(),
            Self::OldSize { .. } => Blame::Conflict,
            Self::Contradiction { .. } => Blame::Integrity,
        }
    }

    fn code(&self) -> &'static str {
        match self {
            Self::Unsigned(_) => "ledger.witness-unsigned",
            Self::OldSize { .. } => "ledger.witness-old-size",
            Self::Contradiction { .. } => "ledger.witness-contradiction",
        }
    }

    fn guidance(&self) -> Option<&'static str> {
        match self {
            Self::Contradiction { .. } => {
                Some("stop the gateway; keep both checkpoints: together they prove that the log was rewritten")
            }
            _ => None,
        }
    }
}

/// What a witness that has seen `seen` says of a request about `log`: the checkpoint that it may cosign, and has to
/// remember first.
pub fn judge(seen: Option<&Checkpoint>, request: &AddCheckpoint, log: &Vkey) -> Result<Checkpoint, WitnessRefusal> {
    let shown = SignedCheckpoint::open(request.checkpoint.bytes(), log).map_err(WitnessRefusal::Unsigned)?;
    let empty = Checkpoint { origin: shown.origin.clone(), size: 0, root: crate::empty_root() };
    let seen = seen.unwrap_or(&empty);
    let contradiction =
        |why| WitnessRefusal::Contradiction { why, seen: Box::new(seen.clone()), shown: Box::new(shown.clone()) };
    // Two heads of one size need no proof to be compared.
    if shown.size == seen.size && shown.root != seen.root {
        return Err(contradiction(LedgerError::Forked { size: seen.size }));
    }
    let old_size = request.old_size;
    if old_size > shown.size {
        return Err(WitnessRefusal::Unsigned(LedgerError::Shrunk { from: old_size, to: shown.size }));
    }
    // A smaller tree can't be judged without a proof to the larger one: whoever is merely behind asks like this, too.
    if old_size != seen.size || shown.size < seen.size {
        return Err(WitnessRefusal::OldSize { old_size, has: seen.size });
    }
    check_growth(seen, &shown, &request.proof).map_err(contradiction)?;
    Ok(shown)
}

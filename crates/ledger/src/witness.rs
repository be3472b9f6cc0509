//! What a witness is asked (C2SP tlog-witness, `add-checkpoint`), and its judgement: bytes and numbers, no keys, no I/O.

use kit::{Blame, Digest, Explain};
use tlog_tiles::tlog;

use crate::{Checkpoint, LedgerError, NOTE_BYTES_MAX, SignedCheckpoint, Vkey, check_consistency, empty_root};

/// C2SP tlog-witness: a client must not send more than 63 lines of proof. A tree of 2^63 leaves needs no more.
pub const PROOF_LINES_MAX: usize = 63;

/// `old `, 20 digits and a newline; 63 hashes of 44 characters with theirs; an empty line; the note.
pub const ADD_CHECKPOINT_BYTES_MAX: usize = 4 + 20 + 1 + PROOF_LINES_MAX * 45 + 1 + NOTE_BYTES_MAX;

/// The body of `add-checkpoint`: a new checkpoint, and the proof that its tree grew from the one of `old_size` leaves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AddCheckpoint {
    pub old_size: u64,
    /// At most `PROOF_LINES_MAX`; a reader refuses more.
    pub proof: Vec<Digest>,
    pub checkpoint: SignedCheckpoint,
}

impl AddCheckpoint {
    pub fn to_bytes(&self) -> Vec<u8> {
        let proof: String = self.proof.iter().map(|hash| format!("{}\n", tlog::Hash(hash.0))).collect();
        let mut bytes = format!("old {}\n{proof}\n", self.old_size).into_bytes();
        bytes.extend_from_slice(self.checkpoint.bytes());
        bytes
    }

    /// Strict: exactly what `to_bytes` writes. Only the form is checked, no signature and no proof.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, LedgerError> {
        if bytes.len() > ADD_CHECKPOINT_BYTES_MAX {
            return Err(LedgerError::RequestTooLarge { found: bytes.len(), max: ADD_CHECKPOINT_BYTES_MAX });
        }
        let wrong = |line, wrong| LedgerError::RequestMalformed { line, wrong };
        let end = bytes.windows(2).position(|pair| pair == b"\n\n");
        let parts = end.and_then(|end| Some((bytes.get(..end)?, bytes.get(end + 2..)?)));
        let (head, note) = parts.ok_or(wrong(1, "no empty line follows it and the proof"))?;
        // What isn't text has no line that parses.
        let head = String::from_utf8_lossy(head);
        let mut lines = head.split('\n');
        let old_size = lines.next().and_then(|line| line.strip_prefix("old ")).and_then(decimal);
        let old_size = old_size.ok_or(wrong(1, "it must be `old` and a size in the one way to write it"))?;
        let found = lines.clone().count();
        if found > PROOF_LINES_MAX {
            return Err(LedgerError::ProofTooLong { found, max: PROOF_LINES_MAX });
        }
        let hash = |(at, line)| tlog::Hash::parse_hash(line).map_err(|_| wrong(at, "it must be a hash in base64"));
        let proof = (2..).zip(lines).map(hash).map(|hash| hash.map(|hash| Digest(hash.0)));
        Ok(Self { old_size, proof: proof.collect::<Result<_, _>>()?, checkpoint: SignedCheckpoint::from_bytes(note)? })
    }
}

pub(crate) fn decimal(text: &str) -> Option<u64> {
    text.parse().ok().filter(|number: &u64| number.to_string() == text)
}

/// Why a witness doesn't cosign.
#[derive(Debug, thiserror::Error)]
pub enum WitnessRefusal {
    #[error("a checkpoint of log {found} where one of {expected} was expected")]
    WrongLog { expected: String, found: String },
    /// Unsigned, or signed wrong.
    #[error("the log's signature: {0}")]
    Unopened(LedgerError),
    #[error("the request is to extend {old_size} leaves, its checkpoint has only {size}")]
    OldBeyondNew { old_size: u64, size: u64 },
    /// The log's own knowledge of this witness is out of date, or another request was faster: it proves again, from
    /// the size that the witness has.
    #[error("the request is to extend {wanted} leaves, this witness has seen {has}")]
    OldSize { wanted: u64, has: u64 },
    /// The request is wrong in itself; it says nothing about the log's history.
    #[error(
        "from {old_size} leaves to {size} the only proof is the empty one, and the tree without leaves has one root"
    )]
    Unfounded { old_size: u64, size: u64 },
    /// Both are signed by the log: together they prove the fork to anybody.
    #[error("two checkpoints of {} leaves with different roots: the log has forked", seen.size)]
    Forked { seen: Box<Checkpoint>, shown: Box<Checkpoint> },
    /// A false proof proves nothing by itself: the log has forked unless it can give a right one between these two.
    #[error("the tree of {} leaves is not proven to begin with the {} that were seen", shown.size, seen.size)]
    Rewritten { seen: Box<Checkpoint>, shown: Box<Checkpoint> },
    /// Whoever asks knows that this witness has seen more, and shows less. The smaller one may be an old, true one.
    #[error("the log went back from {} leaves to {}", seen.size, shown.size)]
    Rollback { seen: Box<Checkpoint>, shown: Box<Checkpoint> },
}

/// Whether the witness that has `seen` this checkpoint of `log` (or none yet) may cosign the request's, and if so
/// which one that is. Its caller makes the new state durable before it cosigns, and lets no second request in between.
///
/// What contradicts `seen` is looked for first: it matters more than whether the request was well put. An old
/// checkpoint in itself contradicts nothing: the log signed it once, and a client that is behind, or anybody who kept
/// it, may send it.
pub fn judge(seen: Option<&Checkpoint>, request: &AddCheckpoint, log: &Vkey) -> Result<Checkpoint, WitnessRefusal> {
    let claimed = request.checkpoint.claimed_origin().map_err(WitnessRefusal::Unopened)?;
    // Its own state too: a caller that mixes up its logs would see a rewriting where there is none.
    for found in [Some(&claimed), seen.map(|seen| &seen.origin)].into_iter().flatten() {
        if found != log.name() {
            return Err(WitnessRefusal::WrongLog { expected: log.name().to_owned(), found: found.clone() });
        }
    }
    let shown = SignedCheckpoint::open(request.checkpoint.bytes(), log).map_err(WitnessRefusal::Unopened)?;
    let (old_size, size, has) = (request.old_size, shown.size, seen.map_or(0, |seen| seen.size));
    let both = |seen: &Checkpoint| (Box::new(seen.clone()), Box::new(shown.clone()));
    if let Some(seen) = seen {
        let (seen, shown) = both(seen);
        if size == has && shown.root != seen.root {
            return Err(WitnessRefusal::Forked { seen, shown });
        }
        if size < has && old_size == has {
            return Err(WitnessRefusal::Rollback { seen, shown });
        }
    }
    if old_size > size {
        return Err(WitnessRefusal::OldBeyondNew { old_size, size });
    }
    if old_size != has {
        return Err(WitnessRefusal::OldSize { wanted: old_size, has });
    }
    if old_size == 0 || old_size == size {
        // No hash can be missing here, so a hash too many is the request's fault and not the log's.
        let rooted = size > 0 || shown.root == empty_root();
        return if request.proof.is_empty() && rooted {
            Ok(shown)
        } else {
            Err(WitnessRefusal::Unfounded { old_size, size })
        };
    }
    if let Some(seen) = seen {
        let proven = check_consistency(&request.proof, has, seen.root, size, shown.root);
        proven.map_err(|_| {
            let (seen, shown) = both(seen);
            WitnessRefusal::Rewritten { seen, shown }
        })?;
    }
    Ok(shown)
}

impl WitnessRefusal {
    /// Whether somebody has to be woken: the log, or who speaks for it, shows another history than before. The rest
    /// is a client that is behind, or noise.
    pub fn is_alarm(&self) -> bool {
        matches!(self, Self::Forked { .. } | Self::Rewritten { .. } | Self::Rollback { .. })
    }
}

impl Explain for WitnessRefusal {
    fn blame(&self) -> Blame {
        match self {
            Self::WrongLog { .. } => Blame::Absent,
            Self::Unopened(_) => Blame::Forbidden,
            Self::OldBeyondNew { .. } | Self::Unfounded { .. } => Blame::Peer,
            Self::OldSize { .. } => Blame::Conflict,
            Self::Forked { .. } | Self::Rewritten { .. } | Self::Rollback { .. } => Blame::Integrity,
        }
    }

    fn code(&self) -> &'static str {
        match self {
            Self::WrongLog { .. } => "ledger.witness.wrong-log",
            Self::Unopened(_) => "ledger.witness.unopened",
            Self::OldBeyondNew { .. } => "ledger.witness.old-beyond-new",
            Self::OldSize { .. } => "ledger.witness.old-size",
            Self::Unfounded { .. } => "ledger.witness.unfounded",
            Self::Forked { .. } => "ledger.witness.forked",
            Self::Rewritten { .. } => "ledger.witness.rewritten",
            Self::Rollback { .. } => "ledger.witness.rollback",
        }
    }

    fn guidance(&self) -> Option<&'static str> {
        match self {
            Self::OldSize { .. } => Some("prove from the size that this witness has, and ask again"),
            Self::Forked { .. } => Some("keep both signed checkpoints: together they prove that the log has forked"),
            Self::Rewritten { .. } => Some(
                "keep both signed checkpoints and ask the log for a proof between them: it has none if it was rewritten",
            ),
            Self::Rollback { .. } => Some(
                "keep both signed checkpoints: the gateway was set back to an older state, or shows less than it has",
            ),
            _ => None,
        }
    }
}

//! That one entry is in the log, for whoever has nothing but the log's and the witnesses' keys (C2SP tlog-proof, v1).

use kit::Digest;
use tlog_tiles::tlog;

use crate::proof::PATH_HASHES_MAX;
use crate::witness::decimal;
use crate::{Checkpoint, LeafHash, LedgerError, NOTE_BYTES_MAX, SignedCheckpoint, Vkey, WitnessVkey};
use crate::{check_inclusion, cosigners};

const FIRST_LINE: &str = "c2sp.org/tlog-proof@v1";

/// Three lines and the hashes, each with its newline; an empty line; the note.
pub const TLOG_PROOF_BYTES_MAX: usize = 23 + 6 + 44 + 1 + 6 + 20 + 1 + PATH_HASHES_MAX * 45 + 1 + NOTE_BYTES_MAX;

/// A proof to be handed on. What it says counts only once it is checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlogProof {
    pub index: u64,
    /// The format's extra data: which leaf that is. Nothing signs it; the path does.
    pub leaf: LeafHash,
    /// RFC 6962's audit path, the lowest hash first.
    pub path: Vec<Digest>,
    /// The head that the path leads to, with whatever cosignatures it bears.
    pub checkpoint: SignedCheckpoint,
}

impl TlogProof {
    pub fn to_bytes(&self) -> Vec<u8> {
        let path: String = self.path.iter().map(|hash| format!("{}\n", tlog::Hash(hash.0))).collect();
        let leaf = tlog::Hash(self.leaf.0);
        let mut bytes = format!("{FIRST_LINE}\nextra {leaf}\nindex {}\n{path}\n", self.index).into_bytes();
        bytes.extend_from_slice(self.checkpoint.bytes());
        bytes
    }

    /// Strict: exactly what `to_bytes` writes. Only the form is checked, no signature and no path.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, LedgerError> {
        if bytes.len() > TLOG_PROOF_BYTES_MAX {
            return Err(LedgerError::RequestTooLarge { found: bytes.len(), max: TLOG_PROOF_BYTES_MAX });
        }
        let wrong = |line, wrong| LedgerError::InclusionMalformed { line, wrong };
        let end = bytes.windows(2).position(|pair| pair == b"\n\n");
        let parts = end.and_then(|end| Some((bytes.get(..end)?, bytes.get(end + 2..)?)));
        let (head, note) = parts.ok_or(wrong(1, "no empty line follows it and the path"))?;
        // What isn't text has no line that parses.
        let head = String::from_utf8_lossy(head);
        let mut lines = head.split('\n');
        if lines.next() != Some(FIRST_LINE) {
            return Err(wrong(1, "it must be c2sp.org/tlog-proof@v1"));
        }
        let hash = |at, line: &str| {
            let hash = tlog::Hash::parse_hash(line).ok().filter(|hash| hash.to_string() == line);
            hash.ok_or(wrong(at, "it must be a hash in base64"))
        };
        let leaf = lines.next().and_then(|line| line.strip_prefix("extra "));
        let leaf = hash(2, leaf.ok_or(wrong(2, "it must be `extra` and the leaf's hash"))?)?;
        let index = lines.next().and_then(|line| line.strip_prefix("index ")).and_then(decimal);
        let index = index.ok_or(wrong(3, "it must be `index` and a number in the one way to write it"))?;
        let found = lines.clone().count();
        if found > PATH_HASHES_MAX {
            return Err(LedgerError::ProofTooLong { found, max: PATH_HASHES_MAX });
        }
        let path = (4..).zip(lines).map(|(at, line)| Ok(Digest(hash(at, line)?.0)));
        let path = path.collect::<Result<_, LedgerError>>()?;
        Ok(Self { index, leaf: LeafHash(leaf.0), path, checkpoint: SignedCheckpoint::from_bytes(note)? })
    }

    /// The head that `log` signed and the leaf is in, and which of `witnesses` cosigned it: their places, rising.
    pub fn check(&self, log: &Vkey, witnesses: &[WitnessVkey]) -> Result<(Checkpoint, Vec<usize>), LedgerError> {
        let (checkpoint, cosigned) = cosigners(self.checkpoint.bytes(), log, witnesses)?;
        check_inclusion(&self.path, self.index, checkpoint.size, self.leaf, checkpoint.root)?;
        Ok((checkpoint, cosigned))
    }
}

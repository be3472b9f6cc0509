//! What can go wrong with a ledger, and whose fault it is.

use std::io;

use kit::{Blame, Explain};

#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    #[error("a signed note of {found} bytes, the maximum is {max}")]
    NoteTooLarge { found: usize, max: usize },
    #[error("a signed note of {found} lines, the maximum is {max}")]
    NoteTooLong { found: usize, max: usize },
    #[error("not a signed note: {0}")]
    NoteMalformed(&'static str),
    #[error("not a checkpoint: {0}")]
    CheckpointMalformed(&'static str),
    #[error("not a verifier key: {0}")]
    VkeyMalformed(&'static str),
    #[error("not a cosignature: {0}")]
    CosignatureMalformed(&'static str),
    #[error("a cosignature's time of {found} s, it must be 1 to {max}")]
    CosignatureTime { found: u64, max: u64 },
    #[error("a cosignature of key {found} under {expected}")]
    OtherWitness { expected: String, found: String },
    #[error("witness {key} has the key of the log or of another witness: it would count twice")]
    WitnessNotIndependent { key: String },
    #[error("a request of {found} bytes, the maximum is {max}")]
    RequestTooLarge { found: usize, max: usize },
    #[error("not a request to a witness: line {line}: {wrong}")]
    RequestMalformed { line: usize, wrong: &'static str },
    #[error("not a proof that an entry is in a log: line {line}: {wrong}")]
    InclusionMalformed { line: usize, wrong: &'static str },
    #[error("a proof of {found} hashes, the maximum is {max}")]
    ProofTooLong { found: usize, max: usize },
    #[error("the note bears no signature of key {key}")]
    Unsigned { key: String },
    #[error("the note's signature of key {key} is wrong")]
    BadSignature { key: String },
    #[error("a checkpoint of origin {found} under the key of {expected}")]
    OtherOrigin { expected: String, found: String },
    #[error("no leaf {index} in a tree of {size}")]
    NoSuchLeaf { index: u64, size: u64 },
    #[error("no tree of {to} leaves that grew from {from}; here are {size}")]
    NoSuchTree { from: u64, to: u64, size: u64 },
    #[error("leaf {index} is not proven to be in the tree of {size}")]
    NotIncluded { index: u64, size: u64 },
    #[error("the tree of {to} leaves is not proven to hold the tree of {from} as its beginning")]
    NotConsistent { from: u64, to: u64 },
    #[error("two checkpoints of {size} leaves with different roots: the log has forked")]
    Forked { size: u64 },
    #[error("the log shrank from {from} leaves to {to}")]
    Shrunk { from: u64, to: u64 },
    #[error("a tree of {found} leaves, the maximum is {max}")]
    TooManyLeaves { found: u64, max: u64 },
    #[error("the stored hashes don't make the tree of {size} leaves")]
    StoreDamaged { size: u64 },
    #[error("{operation} the stored hashes failed: {source}")]
    Io { operation: &'static str, source: io::Error },
}

impl Explain for LedgerError {
    fn blame(&self) -> Blame {
        match self {
            Self::NoteTooLarge { .. }
            | Self::NoteTooLong { .. }
            | Self::NoteMalformed(_)
            | Self::CheckpointMalformed(_)
            | Self::CosignatureMalformed(_)
            | Self::CosignatureTime { .. }
            | Self::OtherWitness { .. }
            | Self::Unsigned { .. }
            | Self::BadSignature { .. }
            | Self::OtherOrigin { .. }
            | Self::NotIncluded { .. }
            | Self::NotConsistent { .. }
            | Self::Forked { .. }
            | Self::Shrunk { .. }
            | Self::StoreDamaged { .. } => Blame::Integrity,
            Self::RequestTooLarge { .. }
            | Self::RequestMalformed { .. }
            | Self::InclusionMalformed { .. }
            | Self::ProofTooLong { .. } => Blame::Peer,
            Self::NoSuchLeaf { .. } | Self::NoSuchTree { .. } => Blame::Absent,
            Self::VkeyMalformed(_)
            | Self::WitnessNotIndependent { .. }
            | Self::TooManyLeaves { .. }
            | Self::Io { .. } => Blame::Configuration,
        }
    }

    fn code(&self) -> &'static str {
        match self {
            Self::NoteTooLarge { .. } | Self::NoteTooLong { .. } | Self::NoteMalformed(_) => "ledger.note",
            Self::CheckpointMalformed(_) => "ledger.checkpoint",
            Self::VkeyMalformed(_) => "ledger.vkey",
            Self::CosignatureMalformed(_) | Self::CosignatureTime { .. } => "ledger.cosignature",
            Self::OtherWitness { .. } => "ledger.other-witness",
            Self::WitnessNotIndependent { .. } => "ledger.witness-not-independent",
            Self::RequestTooLarge { .. }
            | Self::RequestMalformed { .. }
            | Self::InclusionMalformed { .. }
            | Self::ProofTooLong { .. } => "ledger.request",
            Self::Unsigned { .. } => "ledger.unsigned",
            Self::BadSignature { .. } => "ledger.bad-signature",
            Self::OtherOrigin { .. } => "ledger.other-origin",
            Self::NoSuchLeaf { .. } => "ledger.no-such-leaf",
            Self::NoSuchTree { .. } => "ledger.no-such-tree",
            Self::NotIncluded { .. } => "ledger.not-included",
            Self::NotConsistent { .. } => "ledger.not-consistent",
            Self::Forked { .. } => "ledger.forked",
            Self::Shrunk { .. } => "ledger.shrunk",
            Self::TooManyLeaves { .. } => "ledger.full",
            Self::StoreDamaged { .. } => "ledger.store-damaged",
            Self::Io { .. } => "ledger.io",
        }
    }

    fn guidance(&self) -> Option<&'static str> {
        match self {
            Self::Forked { .. } | Self::Shrunk { .. } | Self::NotConsistent { .. } => {
                Some("keep both checkpoints: together they prove that the log was rewritten")
            }
            Self::StoreDamaged { .. } => Some("rebuild the stored hashes from the entries: they are a projection"),
            _ => None,
        }
    }
}

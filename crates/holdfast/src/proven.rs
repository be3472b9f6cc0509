//! That the centre made something which left it: its manifest is named by an entry of the log, and the receipt is carried with it.

use kit::{Blame, Digest, Explain};
use ledger::{TlogProof, Vkey, WitnessVkey, witness_quorum};

/// The note of one entry of the log: the manifests' digests.
#[derive(minicbor::Encode, minicbor::Decode)]
pub struct Round {
    #[n(0)]
    pub version: u8,
    #[n(1)]
    pub manifests: Vec<Digest>,
}

/// By which keys it is checked: kept apart from it.
pub struct Trusted {
    pub log: Vkey,
    pub witnesses: Vec<WitnessVkey>,
}

/// What was proven.
#[derive(Debug)]
pub struct Proven {
    pub entry: u64,
    /// Witnesses that have cosigned the log's head with it.
    pub cosigned: usize,
}

#[derive(Debug, thiserror::Error)]
pub enum ProvenError {
    #[error("its entry of the log can't be read: {0}")]
    Entry(String),
    #[error("its entry in the log names other packs or transfers than this one")]
    NotNamed,
    #[error("its receipt: {0}")]
    Receipt(#[from] ledger::LedgerError),
    #[error("{by} of {of} witnesses have cosigned it, {quorum} are needed")]
    TooFewWitnesses { by: usize, of: usize, quorum: usize },
}

impl Explain for ProvenError {
    fn blame(&self) -> Blame {
        Blame::Integrity
    }

    fn code(&self) -> &'static str {
        "pack.receipt"
    }
}

/// That a log's entry of this kind names `manifest`, and enough witnesses have cosigned a head with it. `entry`: the leaf's bytes.
pub fn check(
    kind: &str,
    manifest: Digest,
    (entry, receipt): (&[u8], &[u8]),
    trusted: &Trusted,
) -> Result<Proven, ProvenError> {
    let proof = TlogProof::from_bytes(receipt)?;
    let (_, cosigned) = proof.check(&trusted.log, &trusted.witnesses)?;
    let no_entry = |why: String| ProvenError::Entry(why);
    let named = vault::entry_of_leaf(proof.index, entry).map_err(|e| no_entry(e.to_string()))?;
    if named.leaf != Digest::from(proof.leaf) || named.kind != kind {
        return Err(ProvenError::NotNamed);
    }
    let meta = chart::Meta::from_bytes(proof.index, &named.meta).map_err(|e| no_entry(e.to_string()))?;
    let round: Round = minicbor::decode(&meta.note).map_err(|e| no_entry(e.to_string()))?;
    if round.version != 1 || !round.manifests.contains(&manifest) {
        return Err(ProvenError::NotNamed);
    }
    let (by, of) = (cosigned.len(), trusted.witnesses.len());
    let quorum = witness_quorum(of);
    if of > 0 && by < quorum {
        return Err(ProvenError::TooFewWitnesses { by, of, quorum });
    }
    Ok(Proven { entry: proof.index, cosigned: by })
}

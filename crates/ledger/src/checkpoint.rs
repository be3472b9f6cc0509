//! The log's head: origin, size and root (C2SP tlog-checkpoint), and its signed form.

use kit::Digest;
use tlog_tiles::tlog;

use crate::note::unverified_text;
use crate::{LedgerError, NoteSigner, Vkey, open_note, sign_note};

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// Which log: the name of its key.
    pub origin: String,
    pub size: u64,
    pub root: Digest,
}

impl Checkpoint {
    /// The three lines that are signed.
    pub fn body(&self) -> String {
        format!("{}\n{}\n{}\n", self.origin, self.size, tlog::Hash(self.root.0))
    }

    /// Strict: exactly what `body` writes. C2SP allows extension lines and advises against them; this log has none.
    pub fn parse(body: &str) -> Result<Self, LedgerError> {
        let parsed = tlog_tiles::Checkpoint::from_bytes(body.as_bytes())
            .map_err(|_| LedgerError::CheckpointMalformed("it must be the lines origin, size and root"))?;
        let checkpoint =
            Self { origin: parsed.origin().to_owned(), size: parsed.size(), root: Digest(parsed.hash().0) };
        if checkpoint.body() == body {
            Ok(checkpoint)
        } else {
            Err(LedgerError::CheckpointMalformed("it must be three lines, written in the one canonical way"))
        }
    }

    pub fn sign(&self, signer: &dyn NoteSigner) -> Result<SignedCheckpoint, LedgerError> {
        let body = self.canonical_body()?;
        same_origin(signer.name(), self)?;
        sign_note(&body, signer).map(SignedCheckpoint)
    }

    /// What this would write has to be what a reader will accept: an origin may hold anything so far.
    pub(crate) fn canonical_body(&self) -> Result<String, LedgerError> {
        let body = self.body();
        if Self::parse(&body)? != *self {
            return Err(LedgerError::CheckpointMalformed("its origin must be one line"));
        }
        Ok(body)
    }
}

/// A checkpoint as it stands and travels: a C2SP signed note. What it says counts only once it is opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedCheckpoint(Vec<u8>);

impl SignedCheckpoint {
    /// The checkpoint in `note`, where `vkey` signed it and it is of `vkey`'s log.
    pub fn open(note: &[u8], vkey: &Vkey) -> Result<Checkpoint, LedgerError> {
        let checkpoint = Checkpoint::parse(&open_note(note, vkey)?)?;
        same_origin(vkey.name(), &checkpoint)?;
        Ok(checkpoint)
    }

    /// A note that has the form of a signed checkpoint, as a peer sends it. Nobody's signature is checked.
    pub fn from_bytes(note: &[u8]) -> Result<Self, LedgerError> {
        Checkpoint::parse(&unverified_text(note)?)?;
        Ok(Self(note.to_vec()))
    }

    /// Which log's checkpoint it says it is: only good for finding the key that tells.
    pub fn claimed_origin(&self) -> Result<String, LedgerError> {
        Ok(Checkpoint::parse(&unverified_text(&self.0)?)?.origin)
    }

    pub fn bytes(&self) -> &[u8] {
        &self.0
    }

    pub fn into_bytes(self) -> Vec<u8> {
        self.0
    }
}

pub(crate) fn same_origin(name: &str, checkpoint: &Checkpoint) -> Result<(), LedgerError> {
    if name == checkpoint.origin {
        Ok(())
    } else {
        Err(LedgerError::OtherOrigin { expected: name.to_owned(), found: checkpoint.origin.clone() })
    }
}

//! Whose signatures count.
//!
//! Pure: the service brings enrolments and endings in the order of the ledger.

use guard::PublicKey;
use kit::Timestamp;
use minicbor::{Decode, Encode};

use crate::signing::approval::{ApprovalError, Enrolment, check_version, strict};

/// Which of a key's signatures an ending takes back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Encode, Decode)]
pub enum Reach {
    /// What came in before the ending still counts: she has left. The time in a signature is the signer's own word, so it
    /// is the ledger's order that tells.
    #[n(0)]
    Later,
    /// Nothing counts: somebody else may have signed.
    #[n(1)]
    All,
}

/// That a key's signatures count no longer.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Ending {
    #[n(0)]
    version: u8,
    #[n(1)]
    pub key: PublicKey,
    #[n(2)]
    pub reach: Reach,
    #[n(3)]
    pub at: Timestamp,
}

impl Ending {
    pub fn new(key: PublicKey, reach: Reach, at: Timestamp) -> Self {
        Self { version: 1, key, reach, at }
    }

    pub fn encode(&self) -> Vec<u8> {
        minicbor::to_vec(self).unwrap_or_default()
    }

    pub fn decode(bytes: &[u8]) -> Result<Self, ApprovalError> {
        let ending: Self = strict(bytes, "the ending")?;
        check_version(ending.version, "the ending").map(|()| ending)
    }
}

/// One enrolment, and what ended it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Person {
    pub enrolment: Enrolment,
    /// The ending that reaches furthest, the earliest of several.
    pub ended: Option<Ending>,
}

/// Everybody who is or was enrolled.
#[derive(Clone, Debug, Default)]
pub struct People {
    enrolments: Vec<Enrolment>,
    /// With their entries.
    endings: Vec<(u64, Ending)>,
}

impl People {
    pub fn new(enrolments: Vec<Enrolment>, endings: Vec<(u64, Ending)>) -> Self {
        Self { enrolments, endings }
    }

    fn counts(&self, key: PublicKey, entry: u64) -> bool {
        let ended = |(at, ending): &(u64, Ending)| ending.key == key && (ending.reach == Reach::All || *at <= entry);
        !self.endings.iter().any(ended)
    }

    /// Whose signatures count in a ledger's entry.
    pub fn counting(&self, entry: u64) -> impl Iterator<Item = &Enrolment> {
        self.enrolments.iter().filter(move |enrolment| self.counts(enrolment.key, entry))
    }

    pub fn ended(&self, key: PublicKey) -> Option<&Ending> {
        let hers = self.endings.iter().map(|(_, ending)| ending).filter(|ending| ending.key == key);
        hers.min_by_key(|ending| (std::cmp::Reverse(ending.reach), ending.at))
    }

    pub fn enrolments(&self) -> &[Enrolment] {
        &self.enrolments
    }

    pub fn all(&self) -> impl Iterator<Item = Person> {
        self.enrolments
            .iter()
            .map(|enrolment| Person { enrolment: enrolment.clone(), ended: self.ended(enrolment.key).cloned() })
    }
}

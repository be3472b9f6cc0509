//! The centre's policies, each signed by the officers of the one before it.
//!
//! ```text
//!  v1 ── its own officers sign ──► in force
//!  v2 ── an officer of v1 proposes; a quorum of the others of v1, and of its own officers, approve ──► in force
//! ```
//! As in The Update Framework's root role (specification 1.0, 5.3): who changes the officers needs the old quorum and the new one, and
//! each version names the one before it, so that none is left out and none comes back. Nobody approves what he proposed. Who writes the
//! gateway's disk, or events into the log, has no officer's key: what isn't signed is refused, said, and changes nothing.

use std::fmt;
use std::sync::Arc;

use kit::{Blame, Digest, Explain, Timestamp};
use minicbor::{Decode, Encode};
use serde::Serialize;
use sha2::{Digest as _, Sha256};

use crate::policy::bundle::{Bundle, BundleError};
use crate::{Event, OfficerStatement, Signed};

/// The first line of what is signed: no signature over anything else can be taken for one over a policy.
const PROPOSAL: &str = "holdfast policy proposal v1";
const APPROVAL: &str = "holdfast policy approval v1";
/// Proposals that wait, of one version: each officer has one at a time.
const OPEN_MAX: usize = 32;
/// Events that were refused at a start, kept to be shown.
const REFUSED_MAX: usize = 16;

/// What somebody says of a policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Encode, Decode)]
#[cbor(index_only)]
pub enum Says {
    #[n(0)]
    Proposes,
    #[n(1)]
    Approves,
}

impl fmt::Display for Says {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Proposes => "proposed",
            Self::Approves => "approved",
        })
    }
}

/// What is signed: that this is to be the centre's policy, in this place of its chain.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct PolicyStatement {
    #[n(0)]
    pub says: Says,
    /// The log's name, so that it can't be carried to another centre.
    #[n(1)]
    pub centre: String,
    /// From 1.
    #[n(2)]
    pub version: u64,
    /// SHA-256 of the policy before it; none before the first.
    #[n(3)]
    pub previous: Option<Digest>,
    /// SHA-256 of the policy.
    #[n(4)]
    pub policy: Digest,
    #[n(5)]
    pub officer: String,
    #[n(6)]
    pub at: Timestamp,
}

impl OfficerStatement for PolicyStatement {
    const WHAT: &'static str = "signature over a policy";

    fn text(&self) -> String {
        let Self { says, centre, version, previous, policy, officer, at } = self;
        let first = match says {
            Says::Proposes => PROPOSAL,
            Says::Approves => APPROVAL,
        };
        let previous = previous.map_or("none".to_owned(), |digest| digest.to_string());
        format!(
            "{first}\ncentre {centre}\nversion {version}\nprevious {previous}\npolicy {policy}\nofficer {officer}\nat {at}\n"
        )
    }

    fn officer(&self) -> &str {
        &self.officer
    }
}

pub type SignedPolicy = Signed<PolicyStatement>;

/// Why a policy, or a signature over one, doesn't count.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChainError {
    #[error(transparent)]
    Bundle(#[from] BundleError),
    #[error("the signature is for {found}, this is {centre}")]
    OtherCentre { found: String, centre: String },
    #[error("the signature is for version {found}, the next one is {next}")]
    OtherVersion { found: u64, next: u64 },
    #[error("the signature follows another policy than the one in force")]
    OtherPrevious,
    #[error("the signature is over another policy than the one beside it")]
    OtherPolicy,
    #[error("nobody has proposed the policy {0}, or another one of that version is in force")]
    NotProposed(Digest),
    #[error("{officer} is no officer with that key, by the policy in force or the one proposed")]
    NotAnOfficer { officer: String },
    #[error("nobody approves a policy that he proposed himself")]
    OwnProposal,
    #[error("the signature doesn't fit the statement and the officer's key")]
    BadSignature,
    #[error("this policy is in force already")]
    InForce,
    #[error("this signature is here already")]
    Twice,
    #[error("{OPEN_MAX} proposals wait already")]
    TooMany,
}

impl Explain for ChainError {
    fn blame(&self) -> Blame {
        match self {
            Self::Bundle(e) => e.blame(),
            Self::OtherPolicy | Self::BadSignature => Blame::Integrity,
            Self::NotAnOfficer { .. } | Self::OwnProposal => Blame::Forbidden,
            _ => Blame::Peer,
        }
    }

    fn code(&self) -> &'static str {
        match self {
            Self::Bundle(e) => e.code(),
            Self::OtherCentre { .. } => "guard.policy.other-centre",
            Self::OtherVersion { .. } => "guard.policy.other-version",
            Self::OtherPrevious => "guard.policy.other-previous",
            Self::OtherPolicy => "guard.policy.other-policy",
            Self::NotProposed(_) => "guard.policy.not-proposed",
            Self::NotAnOfficer { .. } => "guard.policy.not-an-officer",
            Self::OwnProposal => "guard.policy.own-proposal",
            Self::BadSignature => "guard.policy.bad-signature",
            Self::InForce => "guard.policy.in-force",
            Self::Twice => "guard.policy.twice",
            Self::TooMany => "guard.policy.too-many",
        }
    }

    fn guidance(&self) -> Option<&'static str> {
        match self {
            Self::Bundle(e) => e.guidance(),
            Self::OwnProposal => Some("another officer approves it"),
            Self::NotAnOfficer { .. } => Some("`holdfast policy show` lists the officers, and whose keys they are"),
            _ => Some("`holdfast policy show` says what is in force and what is proposed"),
        }
    }
}

/// A policy, who proposed it, and who has approved it so far.
#[derive(Clone, Debug)]
pub struct Proposal {
    pub bundle: Arc<Bundle>,
    pub proposed: SignedPolicy,
    pub approved: Vec<SignedPolicy>,
}

impl Proposal {
    pub fn version(&self) -> u64 {
        self.proposed.statement().version
    }

    /// How many of a policy's officers approve it.
    fn of(&self, bundle: &Bundle) -> usize {
        self.approved.iter().filter(|one| bundle.has(one.statement().officer(), one.key())).count()
    }

    /// How many more it takes: of the officers of the policy before it, and of its own.
    fn wants(&self, before: Option<&Bundle>) -> Wants {
        let more = |bundle: &Bundle| usize::from(bundle.quorum()).saturating_sub(self.of(bundle));
        Wants { of_before: before.map_or(0, more), of_its_own: more(&self.bundle) }
    }
}

/// Approvals that a proposal still lacks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Wants {
    pub of_before: usize,
    pub of_its_own: usize,
}

/// What is in force, and what is proposed; pure: the owner brings events in the order of the ledger.
pub(crate) struct Chain {
    centre: String,
    in_force: Option<Proposal>,
    open: Vec<Proposal>,
    refused: Vec<String>,
}

impl Chain {
    pub(crate) fn new(centre: String) -> Self {
        Self { centre, in_force: None, open: Vec::new(), refused: Vec::new() }
    }

    pub(crate) fn centre(&self) -> &str {
        &self.centre
    }

    pub(crate) fn in_force(&self) -> Option<&Proposal> {
        self.in_force.as_ref()
    }

    pub(crate) fn open(&self) -> impl Iterator<Item = (&Proposal, Wants)> {
        self.open.iter().map(|one| (one, one.wants(self.before())))
    }

    pub(crate) fn refused(&self) -> &[String] {
        &self.refused
    }

    fn before(&self) -> Option<&Bundle> {
        self.in_force.as_ref().map(|proposal| &*proposal.bundle)
    }

    /// What an officer is about to sign of this policy.
    pub(crate) fn statement(&self, says: Says, policy: Digest, officer: &str, at: Timestamp) -> PolicyStatement {
        PolicyStatement {
            says,
            centre: self.centre.clone(),
            version: self.next(),
            previous: self.before().map(Bundle::digest),
            policy,
            officer: officer.to_owned(),
            at,
        }
    }

    fn next(&self) -> u64 {
        self.in_force.as_ref().map_or(0, Proposal::version).saturating_add(1)
    }

    /// That it is of this centre and of the next place, and signed by the key that it names.
    fn judge(&self, signed: &SignedPolicy) -> Result<(), ChainError> {
        let PolicyStatement { centre, version, previous, .. } = signed.statement();
        if *centre != self.centre {
            let (found, centre) = (centre.clone(), self.centre.clone());
            return Err(ChainError::OtherCentre { found, centre });
        }
        if *version != self.next() {
            return Err(ChainError::OtherVersion { found: *version, next: self.next() });
        }
        if *previous != self.before().map(Bundle::digest) {
            return Err(ChainError::OtherPrevious);
        }
        signed.fits().then_some(()).ok_or(ChainError::BadSignature)
    }

    /// A proposal that may wait for approvals.
    pub(crate) fn proposal(&self, text: &str, proposed: &SignedPolicy) -> Result<Proposal, ChainError> {
        self.judge_proposal(text, proposed, Bundle::parse)
    }

    fn judge_proposal(
        &self,
        text: &str,
        proposed: &SignedPolicy,
        read: fn(&str) -> Result<Bundle, BundleError>,
    ) -> Result<Proposal, ChainError> {
        // What nobody signed isn't looked into.
        self.judge(proposed)?;
        let PolicyStatement { says, policy, officer, .. } = proposed.statement();
        if *policy != Digest(Sha256::digest(text).into()) || *says != Says::Proposes {
            return Err(ChainError::OtherPolicy);
        }
        let stranger = || ChainError::NotAnOfficer { officer: officer.clone() };
        let is_officer = |bundle: &Bundle| bundle.has(officer, proposed.key());
        if self.before().is_some_and(|before| !is_officer(before)) {
            return Err(stranger());
        }
        if self.before().is_some_and(|before| before.digest() == *policy) {
            return Err(ChainError::InForce);
        }
        let bundle = read(text)?;
        // The first one's officers are its own.
        if self.before().is_none() && !is_officer(&bundle) {
            return Err(stranger());
        }
        let others = self.open.iter().filter(|one| !one.proposed.is_by_one_person(proposed));
        if others.clone().any(|one| one.bundle.digest() == bundle.digest()) {
            return Err(ChainError::Twice);
        }
        if others.count() >= OPEN_MAX {
            return Err(ChainError::TooMany);
        }
        Ok(Proposal { bundle: bundle.into(), proposed: proposed.clone(), approved: Vec::new() })
    }

    /// The place of the proposal that this approves.
    pub(crate) fn approval(&self, approved: &SignedPolicy) -> Result<usize, ChainError> {
        self.judge(approved)?;
        let PolicyStatement { says, policy, officer, .. } = approved.statement();
        let place = self.open.iter().position(|one| one.bundle.digest() == *policy);
        let Some((place, proposal)) = place.and_then(|place| Some((place, self.open.get(place)?))) else {
            return Err(ChainError::NotProposed(*policy));
        };
        if *says != Says::Approves {
            return Err(ChainError::OtherPolicy);
        }
        let is_officer = |bundle: &Bundle| bundle.has(officer, approved.key());
        if !is_officer(&proposal.bundle) && !self.before().is_some_and(is_officer) {
            return Err(ChainError::NotAnOfficer { officer: officer.clone() });
        }
        if proposal.proposed.is_by_one_person(approved) {
            return Err(ChainError::OwnProposal);
        }
        // An officer whose key changes signs by the old one and by the new one.
        let is_here = |one: &SignedPolicy| one.statement().officer == *officer && one.key() == approved.key();
        if proposal.approved.iter().any(is_here) {
            return Err(ChainError::Twice);
        }
        Ok(place)
    }

    /// Takes an event in; gives whether another policy is in force now. What is not signed as it must be is kept to be shown, and
    /// changes nothing.
    pub(crate) fn take(&mut self, event: &Event) -> bool {
        match self.taken_in(event) {
            Ok(is_other) => is_other,
            Err(error) => {
                tracing::error!(%error, "an event of the policy is refused: what was in force stays");
                if self.refused.len() < REFUSED_MAX {
                    self.refused.push(error.to_string());
                }
                false
            }
        }
    }

    fn taken_in(&mut self, event: &Event) -> Result<bool, ChainError> {
        match event {
            Event::PolicyProposed { text, proposed } => {
                let proposal = self.judge_proposal(text, proposed, Bundle::read)?;
                // Each officer has one at a time.
                self.open.retain(|one| !one.proposed.is_by_one_person(proposed));
                self.open.push(proposal);
                Ok(false)
            }
            Event::PolicyApproved { approved } => {
                let place = self.approval(approved)?;
                let before = self.in_force.as_ref().map(|proposal| Arc::clone(&proposal.bundle));
                let Some(proposal) = self.open.get_mut(place) else { return Ok(false) };
                proposal.approved.push(approved.clone());
                if proposal.wants(before.as_deref()) != (Wants { of_before: 0, of_its_own: 0 }) {
                    return Ok(false);
                }
                // The others followed what was in force before.
                self.in_force = Some(self.open.swap_remove(place));
                self.open.clear();
                Ok(true)
            }
            _ => Ok(false),
        }
    }
}

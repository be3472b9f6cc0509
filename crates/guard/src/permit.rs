//! The proof that one act on one target was allowed.
//!
//! ```text
//!  admit ──► Permit ──check──► kept, opened, issued …
//!              │
//!              ├─ 60 s later ───► Expired
//!              └─ lockdown ─────► LockedDown
//! ```

use kit::{Blame, Digest, Explain, OperationId, Timestamp};
use sha2::{Digest as _, Sha256};

use crate::{Act, Decision, Purpose, Relation, Role, Sensitivity, Target};

/// How long a permit lasts. An act begins at once; a large object takes seconds to commit. Short, so that what was
/// allowed before a role was taken away ends soon.
pub const PERMIT_LIFE_MS: i64 = 60_000;

/// Only [`crate::Guard::admit`] makes one:
/// ```compile_fail,E0451
/// fn forge(decision: guard::Decision, digest: kit::Digest) -> guard::Permit {
///     guard::Permit { decision, digest }
/// }
/// ```
/// and nobody makes two of it:
/// ```compile_fail,E0599
/// fn twice(permit: &guard::Permit) -> guard::Permit {
///     permit.clone()
/// }
/// ```
/// What does compile:
/// ```
/// fn read(permit: &guard::Permit) -> guard::Act {
///     permit.act()
/// }
/// ```
#[derive(Debug)]
#[must_use]
pub struct Permit {
    decision: Decision,
    digest: Digest,
}

impl Permit {
    pub(crate) fn new(decision: Decision) -> Self {
        let digest = Digest(Sha256::digest(decision.to_bytes()).into());
        Self { decision, digest }
    }

    pub(crate) fn decision(&self) -> &Decision {
        &self.decision
    }

    pub fn act(&self) -> Act {
        self.decision.act
    }

    pub fn target(&self) -> Target {
        self.decision.target
    }

    pub fn sensitivity(&self) -> Sensitivity {
        self.decision.sensitivity
    }

    pub fn purpose(&self) -> Purpose {
        self.decision.purpose
    }

    pub fn subject(&self) -> &str {
        &self.decision.subject
    }

    pub fn role(&self) -> Role {
        self.decision.role
    }

    pub fn relation(&self) -> Option<Relation> {
        self.decision.relation
    }

    pub fn operation(&self) -> OperationId {
        self.decision.operation
    }

    /// SHA-256 of the stored decision: what is done under this permit names it.
    pub fn digest(&self) -> Digest {
        self.digest
    }

    pub fn epoch(&self) -> u64 {
        self.decision.epoch
    }

    pub fn expires(&self) -> Timestamp {
        self.decision.at.plus_ms(PERMIT_LIFE_MS)
    }
}

/// Why a permit no longer holds, or never held for this.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PermitError {
    #[error("the permit expired at {expired}, it is {now}")]
    Expired { expired: Timestamp, now: Timestamp },
    #[error("the permit is of lockdown epoch {permit}, the centre is in {current}")]
    LockedDown { permit: u64, current: u64 },
    #[error("the permit is to {have}, this needs one to {need}")]
    WrongAct { have: Act, need: Act },
    #[error("a permit to {have} opens no records")]
    OpensNothing { have: Act },
    #[error("a credential of role {role} is given out under a clinical permit only")]
    NotClinical { role: Role },
}

impl Explain for PermitError {
    fn blame(&self) -> Blame {
        match self {
            Self::Expired { .. } | Self::LockedDown { .. } | Self::NotClinical { .. } => Blame::Forbidden,
            Self::WrongAct { .. } | Self::OpensNothing { .. } => Blame::Ours,
        }
    }

    fn code(&self) -> &'static str {
        match self {
            Self::Expired { .. } => "guard.permit-expired",
            Self::LockedDown { .. } => "guard.locked-down",
            Self::WrongAct { .. } => "guard.permit-act",
            Self::OpensNothing { .. } => "guard.permit-opens-nothing",
            Self::NotClinical { .. } => "guard.permit-not-clinical",
        }
    }

    fn guidance(&self) -> Option<&'static str> {
        match self {
            Self::Expired { .. } | Self::LockedDown { .. } => Some("repeat the request"),
            Self::NotClinical { .. } => Some("give it out at the server's own terminal"),
            _ => None,
        }
    }
}

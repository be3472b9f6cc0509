//! A decision and its record: what was asked, by whom, why, and the answer. It is noted before it is given.

use kit::{Blame, Digest, Explain, Fault, OperationId, Timestamp};
use minicbor::{Decode, Encode};

use crate::budget::OverBudget;
use crate::format::{self, FormatError};
use crate::{Act, Purpose, Relation, Role, Sensitivity, Target, Via};

/// One decision, as the ledger keeps it.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Decision {
    #[n(0)]
    pub at: Timestamp,
    #[n(1)]
    pub operation: OperationId,
    #[n(2)]
    pub subject: String,
    #[n(3)]
    pub role: Role,
    #[n(4)]
    pub via: Via,
    #[n(5)]
    pub act: Act,
    #[n(6)]
    pub target: Target,
    #[n(7)]
    pub sensitivity: Sensitivity,
    #[n(8)]
    pub purpose: Purpose,
    #[n(9)]
    pub allowed: bool,
    /// The rules of the policy that decided, by their `@id`, or why none could.
    #[n(10)]
    pub reason: String,
    /// The lockdown epoch that it was made in.
    #[n(11)]
    pub epoch: u64,
    /// What it was to be done to: `Observation/…`, `Observation?patient`. Ids, types and names of parameters, no value
    /// that was searched for; where the caller of guard said so.
    #[n(12)]
    pub what: Option<String>,
    /// Which policy decided: [`crate::Guard::policy`]. None in what was noted before policies had names.
    #[n(13)]
    pub policy: Option<Digest>,
    /// What the record knows of why she would open this patient's chart. None where it was not asked: of the centre, of machines, and
    /// before it was asked at all.
    #[n(14)]
    pub relation: Option<Relation>,
}

/// A question, as guard's callers put it.
#[derive(Clone, Copy, Debug)]
pub struct Ask<'a> {
    pub act: Act,
    pub target: Target,
    pub sensitivity: Sensitivity,
    pub purpose: Purpose,
    pub operation: OperationId,
    /// None where nobody asks why: of the centre, of machines.
    pub relation: Option<Relation>,
    /// For the record only, no rule looks at it. Empty where there is nothing to say; cut at [`WHAT_BYTES_MAX`].
    pub what: &'a str,
}

/// Of what a decision says it was about: eight references of the longest ids fit.
pub const WHAT_BYTES_MAX: usize = 1_024;

impl Decision {
    pub fn to_bytes(&self) -> Vec<u8> {
        format::to_bytes(self)
    }

    pub fn from_bytes(bytes: &[u8]) -> Result<Self, FormatError> {
        format::from_bytes("decision", bytes)
    }
}

/// Where decisions go. `note` returns once the decision is durable.
pub trait DecisionLog: Send + Sync {
    fn note(&self, decision: &Decision) -> Result<(), Fault>;
}

/// Why not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reason {
    /// No rule allows it.
    NoRule,
    /// These rules forbid it.
    Forbidden { rules: String },
    /// The act does not apply to such a target.
    NotApplicable,
    /// A rule could not be evaluated. A forbidding rule that fails would be skipped, so nothing is allowed then.
    PolicyFailed { rules: String },
    /// Something is closed: this measure doesn't let it.
    Contained { measure: String, since: Timestamp },
    /// It would be one patient too many.
    OverBudget(OverBudget),
    /// She goes on once she has shown her passkey.
    ShowPasskey(OverBudget),
    /// It would change one patient's records too many: somebody else looks first.
    MassChange(OverBudget),
    /// The token was revoked or the session ended since the caller was authenticated.
    CredentialEnded,
    /// The decision could not be written down, so it counts as a no.
    NotRecorded(Box<Fault>),
}

impl std::fmt::Display for Reason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::NoRule => f.write_str("no rule allows it"),
            Self::Forbidden { rules } => write!(f, "forbidden by {rules}"),
            Self::NotApplicable => f.write_str("the act does not apply to this target"),
            Self::PolicyFailed { rules } => write!(f, "the policy failed in {rules}"),
            Self::Contained { measure, since } => write!(f, "closed by {measure}, since {since}"),
            Self::OverBudget(over) | Self::ShowPasskey(over) | Self::MassChange(over) => over.fmt(f),
            Self::CredentialEnded => f.write_str("the credential has ended"),
            Self::NotRecorded(fault) => write!(f, "the decision could not be recorded: {}", fault.message),
        }
    }
}

/// A no. Authenticated, so 403 and not 401.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{role} may not {act}: {reason} (operation {operation})")]
pub struct Denied {
    pub role: Role,
    pub act: Act,
    pub reason: Reason,
    pub operation: OperationId,
}

impl Explain for Denied {
    fn blame(&self) -> Blame {
        match &self.reason {
            Reason::NotRecorded(_) => Blame::Configuration,
            Reason::PolicyFailed { .. } => Blame::Ours,
            _ => Blame::Forbidden,
        }
    }

    fn code(&self) -> &'static str {
        match &self.reason {
            Reason::NoRule | Reason::Forbidden { .. } => "guard.denied",
            Reason::NotApplicable => "guard.not-applicable",
            Reason::PolicyFailed { .. } => "guard.policy-failed",
            Reason::Contained { .. } => "guard.contained",
            Reason::OverBudget(_) => "guard.over-budget",
            Reason::ShowPasskey(_) => "guard.show-passkey",
            Reason::MassChange(_) => "guard.mass-change",
            Reason::CredentialEnded => "guard.credential-ended",
            Reason::NotRecorded(_) => "guard.not-recorded",
        }
    }

    fn guidance(&self) -> Option<&'static str> {
        match &self.reason {
            Reason::NoRule | Reason::Forbidden { .. } => {
                Some("docs/policy.md says who may do what, and for which purpose")
            }
            Reason::Contained { .. } => Some("/containment says what is closed and why; two officers open it again"),
            Reason::OverBudget(_) => Some(
                "in an emergency break the glass for one patient, at /emergency; whoever looks at the alarm gives the next hour: docs/policy.md",
            ),
            Reason::ShowPasskey(_) => Some("show your passkey at /presence, then go on"),
            Reason::MassChange(_) => Some(
                "nothing was changed; somebody else looks at the alarm and closes it, then repeat it: docs/policy.md",
            ),
            Reason::CredentialEnded => Some("sign in again"),
            Reason::NotRecorded(_) => Some("nothing is opened unrecorded: mend the write-ahead log, then repeat"),
            _ => None,
        }
    }
}

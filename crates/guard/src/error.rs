//! What can go wrong at the door, grouped by whose fault it is.

use kit::{Blame, Explain, Fault, Id16};

use crate::alarm::AlarmError;
use crate::containment::ContainError;
use crate::emergency::EmergencyError;
use crate::format::FormatError;
use crate::passkey::PasskeyError;
use crate::permit::PermitError;
use crate::policy::PolicyError;
use crate::policy::chain::ChainError;
use crate::{Role, SUBJECT_CHARS_MAX};

/// Nobody guard knows: 401.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unauthenticated {
    #[error("the credential is not of the form that this centre gives out")]
    Malformed,
    /// Never given out, or ended so long ago that it is forgotten.
    #[error("the credential is unknown here")]
    Unknown,
    #[error("the credential has expired")]
    Expired,
    #[error("the credential was revoked, used up or signed out")]
    Ended,
    #[error("the session was idle for too long")]
    Idle,
    #[error("the session was opened on another computer")]
    OtherDevice,
    #[error("whoever it is for does nothing here until two officers say so")]
    Frozen,
    #[error("the DICOM peer is not in the configuration")]
    UnknownPeer,
}

impl Explain for Unauthenticated {
    fn blame(&self) -> Blame {
        Blame::Forbidden
    }

    fn code(&self) -> &'static str {
        match self {
            Self::Malformed => "guard.credential-malformed",
            Self::Unknown => "guard.credential-unknown",
            Self::Expired => "guard.credential-expired",
            Self::Ended => "guard.credential-ended",
            Self::Idle => "guard.session-idle",
            Self::OtherDevice => "guard.session-elsewhere",
            Self::Frozen => "guard.frozen",
            Self::UnknownPeer => "guard.unknown-peer",
        }
    }

    fn guidance(&self) -> Option<&'static str> {
        Some(match self {
            Self::Frozen => "ask at the server's terminal: holdfast contain status",
            Self::UnknownPeer => "add the peer's AE title and network under [dimse] peers",
            _ => "get a new token or sign-in link at the server's terminal",
        })
    }
}

#[derive(Debug, thiserror::Error)]
pub enum GuardError {
    #[error(transparent)]
    Unauthenticated(#[from] Unauthenticated),
    #[error(transparent)]
    Permit(#[from] PermitError),
    #[error(
        "a subject is 1 to {SUBJECT_CHARS_MAX} ASCII letters, digits and . _ @ -, starting with a letter or digit; \
         here are {length} characters"
    )]
    BadSubject { length: usize },
    #[error("a credential's life of {found_ms} ms is out of bounds, 1 to {maximum_ms}")]
    BadLife { found_ms: i64, maximum_ms: i64 },
    #[error("no credential carries the role {role}: it belongs to the server's own terminal")]
    RoleNotGiven { role: Role },
    #[error("{maximum} credentials of this kind are alive already")]
    TooMany { maximum: usize },
    #[error("no credential {id} is alive")]
    NoCredential { id: Id16 },
    #[error("DICOM peer {title}: {why}")]
    BadPeer { title: String, why: &'static str },
    #[error(transparent)]
    Policy(#[from] PolicyError),
    #[error(transparent)]
    Chain(#[from] ChainError),
    #[error(transparent)]
    Contain(#[from] ContainError),
    #[error(transparent)]
    Alarm(#[from] AlarmError),
    #[error(transparent)]
    Passkey(#[from] PasskeyError),
    #[error(transparent)]
    Emergency(#[from] EmergencyError),
    #[error(transparent)]
    Format(#[from] FormatError),
    #[error("the event could not be kept: {}", .0.message)]
    NotKept(Fault),
    #[error("closed in this process, but that could not be kept: {}", .0.message)]
    ContainmentNotKept(Fault),
}

impl Explain for GuardError {
    fn blame(&self) -> Blame {
        match self {
            Self::Unauthenticated(e) => e.blame(),
            Self::Permit(e) => e.blame(),
            Self::BadSubject { .. } | Self::BadLife { .. } | Self::RoleNotGiven { .. } => Blame::Peer,
            Self::NoCredential { .. } => Blame::Absent,
            Self::TooMany { .. } | Self::BadPeer { .. } => Blame::Configuration,
            Self::Policy(_) => Blame::Ours,
            Self::Chain(e) => e.blame(),
            Self::Contain(e) => e.blame(),
            Self::Alarm(e) => e.blame(),
            Self::Passkey(e) => e.blame(),
            Self::Emergency(e) => e.blame(),
            Self::Format(e) => e.blame(),
            Self::NotKept(fault) | Self::ContainmentNotKept(fault) => fault.blame,
        }
    }

    fn code(&self) -> &'static str {
        match self {
            Self::Unauthenticated(e) => e.code(),
            Self::Permit(e) => e.code(),
            Self::BadSubject { .. } => "guard.bad-subject",
            Self::BadLife { .. } => "guard.bad-life",
            Self::RoleNotGiven { .. } => "guard.role-not-given",
            Self::TooMany { .. } => "guard.too-many-credentials",
            Self::NoCredential { .. } => "guard.no-credential",
            Self::BadPeer { .. } => "guard.bad-peer",
            Self::Policy(_) => "guard.policy",
            Self::Chain(e) => e.code(),
            Self::Contain(e) => e.code(),
            Self::Alarm(e) => e.code(),
            Self::Passkey(e) => e.code(),
            Self::Emergency(e) => e.code(),
            Self::Format(e) => e.code(),
            Self::NotKept(_) => "guard.event-not-kept",
            Self::ContainmentNotKept(_) => "guard.containment-not-kept",
        }
    }

    fn guidance(&self) -> Option<&'static str> {
        match self {
            Self::Unauthenticated(e) => e.guidance(),
            Self::Permit(e) => e.guidance(),
            Self::Chain(e) => e.guidance(),
            Self::Contain(e) => e.guidance(),
            Self::Alarm(e) => e.guidance(),
            Self::Passkey(e) => e.guidance(),
            Self::Emergency(e) => e.guidance(),
            Self::BadSubject { .. } => Some("write it without blanks and accents: dr.rev, or rev@ward-3"),
            Self::TooMany { .. } => Some("revoke tokens that nobody uses, then repeat"),
            Self::NotKept(_) => Some("nothing has changed; mend the vault, then repeat"),
            Self::ContainmentNotKept(_) => Some("it is in force until a restart; mend the vault, then repeat it"),
            _ => None,
        }
    }
}

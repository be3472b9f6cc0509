//! What changes who may come in: credentials given out, used and ended, and lockdowns. The owner keeps each event
//! before it takes effect; replaying them all rebuilds guard.

use std::fmt;

use kit::{Digest, Fault, Id16, PatientId, Timestamp};
use minicbor::{Decode, Encode};

use crate::format::{self, EVENT_BYTES_MAX, FormatError};
use crate::{
    Alarm, AlarmClosed, Changed, Containment, Device, Emergency, Invitation, Passkey, Released, Review, Role,
    ShiftClosed, SignedLift, SignedPolicy,
};

/// What a secret is good for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Encode, Decode)]
#[cbor(index_only)]
pub enum Kind {
    /// A bearer token, for machines and scripts.
    #[n(0)]
    Token,
    /// A sign-in link, good once.
    #[n(1)]
    Link,
    /// A browser's session.
    #[n(2)]
    Session,
}

/// A credential that was given out. The secret itself is nowhere but with its holder.
#[derive(Clone, PartialEq, Eq, Encode, Decode)]
pub struct Issue {
    #[n(0)]
    pub kind: Kind,
    #[n(1)]
    pub id: Id16,
    /// SHA-256 of the secret's text.
    #[n(2)]
    pub hash: Digest,
    #[n(3)]
    pub role: Role,
    #[n(4)]
    pub subject: String,
    #[n(5)]
    pub issued: Timestamp,
    #[n(6)]
    pub expires: Timestamp,
    /// Who gave it out.
    #[n(7)]
    pub by: String,
    /// Of a session: where it was opened. Older ones don't say.
    #[n(8)]
    pub device: Option<Device>,
}

/// Without the hash: it belongs in no log.
impl fmt::Debug for Issue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kind, id, role, subject, .. } = self;
        write!(f, "{kind:?} {id} ({role}, {subject})")
    }
}

/// One event, as the ledger keeps it.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum Event {
    #[n(0)]
    Issued(#[n(0)] Issue),
    /// A link was turned into a session: one event, so that a crash leaves both or neither.
    #[n(1)]
    LinkUsed {
        #[n(0)]
        link: Id16,
        #[n(1)]
        session: Issue,
    },
    /// A token was revoked, a session closed, a passkey taken away, an invitation taken back.
    #[n(2)]
    Ended {
        #[n(0)]
        id: Id16,
        #[n(1)]
        at: Timestamp,
        #[n(2)]
        by: String,
    },
    #[n(3)]
    Lockdown {
        #[n(0)]
        epoch: u64,
        #[n(1)]
        at: Timestamp,
        #[n(2)]
        by: String,
    },
    /// An officer proposes a policy.
    #[n(4)]
    PolicyProposed {
        /// The policy, whole.
        #[n(0)]
        text: String,
        #[n(1)]
        proposed: SignedPolicy,
    },
    /// Another one approves it; with enough of them it is in force.
    #[n(5)]
    PolicyApproved {
        #[n(0)]
        approved: SignedPolicy,
    },
    /// Something is closed.
    #[n(6)]
    Contained(#[n(0)] Containment),
    /// An officer takes it back; with enough of them it is over.
    #[n(7)]
    LiftSigned(#[n(0)] SignedLift),
    /// It is over; there was no officer.
    #[n(8)]
    Lifted {
        #[n(0)]
        id: Id16,
        #[n(1)]
        at: Timestamp,
        #[n(2)]
        by: String,
    },
    /// An administrator invites somebody.
    #[n(9)]
    Invited(#[n(0)] Invitation),
    /// Another one agrees.
    #[n(10)]
    InvitationReleased {
        #[n(0)]
        id: Id16,
        #[n(1)]
        released: Released,
    },
    /// Somebody has a passkey, and the invitation is used up.
    #[n(11)]
    PasskeyAdded(#[n(0)] Passkey),
    /// It was shown: to sign in, or once more within a session.
    #[n(12)]
    PasskeyUsed {
        #[n(0)]
        passkey: Id16,
        #[n(1)]
        changed: Option<Changed>,
        #[n(2)]
        at: Timestamp,
        #[n(3)]
        session: Option<Issue>,
        /// The session that goes on.
        #[n(4)]
        again: Option<Id16>,
    },
    /// The glass was broken, for one patient.
    #[n(13)]
    GlassBroken(#[n(0)] Emergency),
    #[n(14)]
    GlassReviewed {
        #[n(0)]
        id: Id16,
        #[n(1)]
        review: Review,
    },
    #[n(15)]
    AlarmRaised(#[n(0)] Alarm),
    #[n(16)]
    AlarmTaken {
        #[n(0)]
        id: Id16,
        #[n(1)]
        at: Timestamp,
        #[n(2)]
        by: String,
    },
    #[n(17)]
    AlarmClosed {
        #[n(0)]
        id: Id16,
        #[n(1)]
        closed: AlarmClosed,
    },
    /// How many charts each person opened in a shift that nothing explains; of many people in several events.
    #[n(18)]
    ShiftClosed(#[n(0)] ShiftClosed),
    /// Patients who don't exist, and whose charts ring.
    #[n(19)]
    HoneyPlanted {
        #[n(0)]
        patients: Vec<PatientId>,
        #[n(1)]
        at: Timestamp,
        #[n(2)]
        by: String,
    },
}

impl Event {
    /// Read a second time (an index that is made anew), it would be judged by what is in force now, not by what was then.
    pub(crate) fn counts_once(&self) -> bool {
        match self {
            Self::PolicyProposed { .. }
            | Self::PolicyApproved { .. }
            | Self::Contained(_)
            | Self::LiftSigned(_)
            | Self::Lifted { .. }
            | Self::AlarmRaised(_)
            | Self::AlarmTaken { .. }
            | Self::AlarmClosed { .. }
            | Self::ShiftClosed(_) => true,
            Self::GlassBroken(_) | Self::GlassReviewed { .. } | Self::HoneyPlanted { .. } => false,
            Self::Issued(_) | Self::LinkUsed { .. } | Self::Ended { .. } | Self::Lockdown { .. } => false,
            Self::Invited(_) | Self::InvitationReleased { .. } => false,
            Self::PasskeyAdded(_) | Self::PasskeyUsed { .. } => false,
        }
    }

    pub fn to_bytes(&self) -> Vec<u8> {
        format::to_bytes(self)
    }

    pub fn from_bytes(bytes: &[u8]) -> Result<Self, FormatError> {
        format::from_bytes_within("event", bytes, EVENT_BYTES_MAX)
    }
}

/// Where events go. `keep` returns once the event is durable and will be replayed.
pub trait EventLog: Send + Sync {
    fn keep(&self, event: &Event) -> Result<(), Fault>;
}

//! Passkeys (W3C Web Authentication, level 3): who has which, and how somebody comes to one.
//!
//! ```text
//!  invited by one ──► released by another ──► enrolled by the person ──► signs in ──► proves again that she is here
//!     half a code        the other half          both halves
//! ```
//! What an authenticator says is judged by `webauthn-rs`; user verification (a finger, a face, a PIN) is always required.

mod assertion;
mod ceremony;
mod invitation;

use std::collections::BTreeMap;
use std::fmt;

use kit::{Blame, Digest, Explain, Id16, Timestamp};
use minicbor::{Decode, Encode};
use sha2::{Digest as _, Sha256};
use webauthn_rs::prelude as webauthn;

pub use assertion::{Assertion, PasskeyKey};
pub use ceremony::{Begun, CEREMONIES_MAX, CEREMONY_LIFE_MS, RelyingParty};
pub use invitation::{INVITATION_LIFE_MS, Invitation, InvitationStanding, Released};

use crate::{Event, Role};
pub(crate) use ceremony::Ceremonies;
use invitation::Invitations;

/// Of one person: what she carries, what her computers have, and one in a drawer.
pub const PASSKEYS_EACH: usize = 8;
/// Of everybody.
const PASSKEYS_MAX: usize = 50_000;

/// Why a passkey is not taken, or nobody is let in by it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PasskeyError {
    #[error("passkeys need a name that people reach this centre by: {why}")]
    NoRelyingParty { why: String },
    #[error("the browser's answer is not as the standard has it: {why}")]
    Malformed { why: String },
    /// Whatever it was: an unknown login, another's passkey, no user verification, a wrong origin. The log says which.
    #[error("the passkey was not accepted")]
    Refused,
    #[error("this took longer than {} minutes, or was begun elsewhere", CEREMONY_LIFE_MS / 60_000)]
    Over,
    #[error("the code is wrong, used up or expired, or isn't for this login")]
    BadCode,
    #[error("no invitation {id} waits")]
    NoInvitation { id: Id16 },
    #[error("two people let somebody in, and neither of them herself")]
    OnesOwn,
    #[error("{role} is no person's role: give out a token")]
    NoPerson { role: Role },
    #[error("this login is {have} here already; one login has one role")]
    OtherRole { have: Role },
    #[error("{maximum} {what} are there already")]
    TooMany { what: &'static str, maximum: usize },
    #[error("whoever has signed in has to show again that she is here")]
    NotFresh,
}

impl Explain for PasskeyError {
    fn blame(&self) -> Blame {
        match self {
            Self::NoRelyingParty { .. } | Self::TooMany { .. } => Blame::Configuration,
            Self::Malformed { .. } | Self::NoPerson { .. } | Self::OtherRole { .. } => Blame::Peer,
            Self::NoInvitation { .. } => Blame::Absent,
            Self::Refused | Self::Over | Self::BadCode | Self::OnesOwn | Self::NotFresh => Blame::Forbidden,
        }
    }

    fn code(&self) -> &'static str {
        match self {
            Self::NoRelyingParty { .. } => "guard.passkey.no-relying-party",
            Self::Malformed { .. } => "guard.passkey.malformed",
            Self::Refused => "guard.passkey.refused",
            Self::Over => "guard.passkey.over",
            Self::BadCode => "guard.passkey.bad-code",
            Self::NoInvitation { .. } => "guard.passkey.no-invitation",
            Self::OnesOwn => "guard.passkey.ones-own",
            Self::NoPerson { .. } => "guard.passkey.no-person",
            Self::OtherRole { .. } => "guard.passkey.other-role",
            Self::TooMany { .. } => "guard.passkey.too-many",
            Self::NotFresh => "guard.passkey.not-fresh",
        }
    }

    fn guidance(&self) -> Option<&'static str> {
        Some(match self {
            Self::NoRelyingParty { .. } => {
                "set [http] public_url in holdfast.toml to https:// and a name, not an address"
            }
            Self::BadCode => "ask an administrator for another invitation",
            Self::Over | Self::Malformed { .. } => "begin again",
            Self::NotFresh => "show your passkey at /presence, then repeat it",
            _ => return None,
        })
    }
}

/// One passkey that a person enrolled.
#[derive(Clone, PartialEq, Eq, Encode, Decode)]
pub struct Passkey {
    #[n(0)]
    pub id: Id16,
    #[n(1)]
    pub subject: String,
    #[n(2)]
    pub role: Role,
    /// As `webauthn-rs` keeps it, JSON: credential id, public key, counter, flags. Nothing in it is secret.
    #[cbor(n(3), with = "minicbor::bytes")]
    credential: Vec<u8>,
    #[n(4)]
    pub at: Timestamp,
    /// On whose invitation, or beside which passkey of hers.
    #[n(5)]
    pub on: Id16,
}

impl Passkey {
    fn new(id: Id16, (subject, role): (&str, Role), key: &webauthn::Passkey, at: Timestamp, on: Id16) -> Option<Self> {
        let credential = serde_json::to_vec(key).ok()?;
        Some(Self { id, subject: subject.to_owned(), role, credential, at, on })
    }

    fn key(&self) -> Option<webauthn::Passkey> {
        serde_json::from_slice(&self.credential).ok()
    }
}

impl fmt::Debug for Passkey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { id, subject, role, .. } = self;
        write!(f, "passkey {id} ({role}, {subject})")
    }
}

/// What a passkey has become by being used: its counter went up, or it is copied to a second device now.
#[derive(Clone, PartialEq, Eq, Encode, Decode)]
pub struct Changed(#[cbor(n(0), with = "minicbor::bytes")] Vec<u8>);

impl fmt::Debug for Changed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a passkey's counter")
    }
}

/// One that can't be read says so, and lets nobody in: the log outlives the program.
struct Held {
    passkey: Passkey,
    key: Option<webauthn::Passkey>,
}

/// Everybody's.
#[derive(Default)]
pub(crate) struct Passkeys {
    by_id: BTreeMap<Id16, Held>,
    invitations: Invitations,
    /// What a login that isn't here is answered by: nobody outside the log knows it, and it is the same after a restart.
    salt: Option<Digest>,
}

impl Passkeys {
    fn of<'a>(&'a self, subject: &'a str) -> impl Iterator<Item = &'a Held> {
        self.by_id.values().filter(move |held| held.passkey.subject == subject)
    }

    pub(crate) fn all(&self) -> Vec<Passkey> {
        let mut all: Vec<Passkey> = self.by_id.values().map(|held| held.passkey.clone()).collect();
        all.sort_by(|a, b| (&a.subject, a.at, a.id).cmp(&(&b.subject, b.at, b.id)));
        all
    }

    pub(crate) fn get(&self, id: Id16) -> Option<&Passkey> {
        self.by_id.get(&id).map(|held| &held.passkey)
    }

    /// Passkeys and invitations: whatever would let her in again.
    pub(crate) fn ids_of(&self, subject: &str) -> Vec<Id16> {
        let passkeys = self.of(subject).map(|held| held.passkey.id);
        passkeys.chain(self.invitations.of(subject)).collect()
    }

    fn role_of(&self, subject: &str) -> Option<Role> {
        self.of(subject).map(|held| held.passkey.role).next()
    }

    fn check_room(&self, subject: &str) -> Result<(), PasskeyError> {
        let too_many = |what, maximum| Err(PasskeyError::TooMany { what, maximum });
        match (self.of(subject).count(), self.by_id.len()) {
            (PASSKEYS_EACH.., _) => too_many("passkeys of this login", PASSKEYS_EACH),
            (_, PASSKEYS_MAX..) => too_many("passkeys", PASSKEYS_MAX),
            _ => Ok(()),
        }
    }

    fn insert(&mut self, passkey: &Passkey) {
        let key = passkey.key();
        if key.is_none() {
            tracing::error!(id = %passkey.id, "a passkey of the log can't be read: nobody signs in by it");
        }
        self.by_id.insert(passkey.id, Held { passkey: passkey.clone(), key });
    }

    pub(crate) fn apply(&mut self, event: &Event) {
        self.salt.get_or_insert_with(|| Digest(Sha256::digest(event.to_bytes()).into()));
        self.invitations.apply(event);
        match event {
            Event::PasskeyAdded(passkey) => self.insert(passkey),
            Event::PasskeyUsed { passkey, changed: Some(Changed(credential)), .. } => {
                if let Some(held) = self.by_id.get(passkey) {
                    let passkey = Passkey { credential: credential.clone(), ..held.passkey.clone() };
                    self.insert(&passkey);
                }
            }
            Event::Ended { id, .. } => drop(self.by_id.remove(id)),
            _ => {}
        }
    }
}

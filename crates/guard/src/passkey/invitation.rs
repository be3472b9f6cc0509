//! How somebody new comes in: two administrators, each with half of a code, and neither of them in her name.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::LazyLock;

use data_encoding::{Encoding, Specification};
use kit::{Digest, Entropy, Id16, Timestamp};
use minicbor::{Decode, Encode};
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use super::PasskeyError;
use crate::policy::bundle::DAY_MS;
use crate::{Act, Event, Guard, GuardError, Permit, PermitError, Role, caller};

/// She comes in the same day or the next.
pub const INVITATION_LIFE_MS: i64 = 2 * DAY_MS;
/// That wait at one time: a ward that moves in.
const INVITATIONS_MAX: usize = 1_000;
/// Half a code: 80 bits are 16 characters. Who has the other half, and the log with the hash of this one, has two days to guess it.
const HALF_BYTES: usize = 10;
const DOMAIN: &[u8] = b"holdfast invitation v1\0";

/// Crockford's base 32: no letter that is taken for a digit, and read as it is mistaken.
static CODE: LazyLock<Option<Encoding>> = LazyLock::new(|| {
    let mut form = Specification::new();
    form.symbols.push_str("0123456789ABCDEFGHJKMNPQRSTVWXYZ");
    form.translate.from.push_str("abcdefghjkmnpqrstvwxyzoOiIlL");
    form.translate.to.push_str("ABCDEFGHJKMNPQRSTVWXYZ001111");
    form.ignore.push_str(" -");
    form.encoding().ok()
});

/// Half of a code, in groups of four, and what is kept of it.
fn new_half(entropy: &dyn Entropy) -> (Zeroizing<String>, Digest) {
    let mut bytes = Zeroizing::new([0; HALF_BYTES]);
    entropy.fill(bytes.as_mut());
    let text = Zeroizing::new(CODE.as_ref().map(|code| code.encode(bytes.as_ref())).unwrap_or_default());
    let groups: Vec<&str> = (0..text.len()).step_by(4).filter_map(|at| text.get(at..at + 4)).collect();
    (Zeroizing::new(groups.join("-")), hash(bytes.as_ref()))
}

fn hash(half: &[u8]) -> Digest {
    Digest(Sha256::new().chain_update(DOMAIN).chain_update(half).finalize().into())
}

/// The hashes of both halves of what somebody has typed, in the order in which she has.
fn halves(text: &str) -> Option<(Digest, Digest)> {
    // A sheet's worth of typing.
    if text.len() > 200 {
        return None;
    }
    let bytes = Zeroizing::new(CODE.as_ref()?.decode(text.trim().as_bytes()).ok()?);
    let (first, second) = bytes.split_at_checked(HALF_BYTES)?;
    (second.len() == HALF_BYTES).then(|| (hash(first), hash(second)))
}

/// Somebody is to come in. Of the code's halves the log has the hashes.
#[derive(Clone, PartialEq, Eq, Encode, Decode)]
pub struct Invitation {
    #[n(0)]
    pub id: Id16,
    #[n(1)]
    pub subject: String,
    #[n(2)]
    pub role: Role,
    #[n(3)]
    half: Digest,
    #[n(4)]
    pub at: Timestamp,
    #[n(5)]
    pub expires: Timestamp,
    #[n(6)]
    pub by: String,
}

/// The other half.
#[derive(Clone, PartialEq, Eq, Encode, Decode)]
pub struct Released {
    #[n(0)]
    half: Digest,
    #[n(1)]
    pub at: Timestamp,
    #[n(2)]
    pub by: String,
}

/// Without the hashes: they belong in no log.
impl fmt::Debug for Invitation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "invitation {} ({}, {}) by {}", self.id, self.role, self.subject, self.by)
    }
}

impl fmt::Debug for Released {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "released by {}", self.by)
    }
}

/// How it stands with one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvitationStanding {
    pub invitation: Invitation,
    pub released: Option<Released>,
}

/// Those that wait.
#[derive(Default)]
pub(super) struct Invitations(BTreeMap<Id16, InvitationStanding>);

impl Invitations {
    pub(super) fn of(&self, subject: &str) -> impl Iterator<Item = Id16> {
        self.0.values().filter(move |one| one.invitation.subject == subject).map(|one| one.invitation.id)
    }

    fn waiting(&self, now: Timestamp) -> Vec<InvitationStanding> {
        let mut all: Vec<_> = self.0.values().filter(|one| now < one.invitation.expires).cloned().collect();
        all.sort_by_key(|one| (one.invitation.at, one.invitation.id));
        all
    }

    fn get(&self, id: Id16, now: Timestamp) -> Result<&InvitationStanding, PasskeyError> {
        self.0.get(&id).filter(|one| now < one.invitation.expires).ok_or(PasskeyError::NoInvitation { id })
    }

    pub(super) fn waits(&self, id: Id16, now: Timestamp) -> bool {
        self.get(id, now).is_ok()
    }

    /// The invitation of this login that both halves open, whichever of them was typed first.
    pub(super) fn find(&self, subject: &str, code: &str, now: Timestamp) -> Result<&Invitation, PasskeyError> {
        let (first, second) = halves(code).ok_or(PasskeyError::BadCode)?;
        let opens = |one: &&InvitationStanding| {
            let Some(released) = &one.released else { return false };
            let both = (one.invitation.half, released.half);
            one.invitation.subject == subject && (both == (first, second) || both == (second, first))
        };
        let mut waiting = self.0.values().filter(|one| now < one.invitation.expires);
        waiting.find(opens).map(|one| &one.invitation).ok_or(PasskeyError::BadCode)
    }

    pub(super) fn apply(&mut self, event: &Event) {
        match event {
            Event::Invited(invitation) => {
                self.0.retain(|_, one| invitation.at < one.invitation.expires);
                let one = InvitationStanding { invitation: invitation.clone(), released: None };
                self.0.insert(invitation.id, one);
            }
            Event::InvitationReleased { id, released } => {
                if let Some(one) = self.0.get_mut(id) {
                    one.released = Some(released.clone());
                }
            }
            Event::PasskeyAdded(passkey) => drop(self.0.remove(&passkey.on)),
            Event::Ended { id, .. } => drop(self.0.remove(id)),
            _ => {}
        }
    }
}

impl Guard {
    /// One administrator invites somebody; gives half of the code. Nothing is open until another one releases it.
    pub fn invite(&self, permit: &Permit, role: Role, subject: &str) -> Result<(Id16, Zeroizing<String>), GuardError> {
        let _held = self.hold();
        self.check_does(permit, Act::EnrolPerson)?;
        self.invited(permit, role, subject)
    }

    /// Another one releases it; gives the other half.
    pub fn release(&self, permit: &Permit, id: Id16) -> Result<Zeroizing<String>, GuardError> {
        let _held = self.hold();
        self.check_does(permit, Act::EnrolPerson)?;
        let now = self.clock.now();
        let InvitationStanding { invitation, released } = self.passkeys().invitations.get(id, now)?.clone();
        if released.is_some() {
            return Err(PasskeyError::NoInvitation { id }.into());
        }
        if [&invitation.by, &invitation.subject].iter().any(|one| one.as_str() == permit.subject()) {
            return Err(PasskeyError::OnesOwn.into());
        }
        self.released(permit, id)
    }

    /// Whoever sits at the server's own terminal gives the whole code: to the first ones, and to who lost what she had.
    pub fn invite_alone(
        &self,
        permit: &Permit,
        role: Role,
        subject: &str,
    ) -> Result<(Id16, Zeroizing<String>), GuardError> {
        let _held = self.hold();
        self.check_does(permit, Act::ManageAccess)?;
        if permit.role() != Role::Console {
            return Err(PasskeyError::OnesOwn.into());
        }
        if role.reaches() > permit.sensitivity() {
            return Err(PermitError::NotClinical { role }.into());
        }
        let (id, first) = self.invited(permit, role, subject)?;
        let second = self.released(permit, id)?;
        Ok((id, Zeroizing::new(format!("{}-{}", *first, *second))))
    }

    fn invited(&self, permit: &Permit, role: Role, subject: &str) -> Result<(Id16, Zeroizing<String>), GuardError> {
        if role == Role::Console {
            return Err(GuardError::RoleNotGiven { role });
        }
        if role.is_machine() {
            return Err(PasskeyError::NoPerson { role }.into());
        }
        let subject = caller::checked_subject(subject)?;
        let (by, at) = (permit.subject().to_owned(), self.clock.now());
        if subject == by {
            return Err(PasskeyError::OnesOwn.into());
        }
        let passkeys = self.passkeys();
        if let Some(have) = passkeys.role_of(&subject).filter(|have| *have != role) {
            return Err(PasskeyError::OtherRole { have }.into());
        }
        passkeys.check_room(&subject)?;
        if passkeys.invitations.waiting(at).len() >= INVITATIONS_MAX {
            return Err(PasskeyError::TooMany { what: "invitations", maximum: INVITATIONS_MAX }.into());
        }
        drop(passkeys);
        let (half, kept) = new_half(self.entropy.as_ref());
        let (id, expires) = (Id16(self.entropy.id()), at.plus_ms(INVITATION_LIFE_MS));
        self.keep(&Event::Invited(Invitation { id, subject, role, half: kept, at, expires, by }))?;
        Ok((id, half))
    }

    fn released(&self, permit: &Permit, id: Id16) -> Result<Zeroizing<String>, GuardError> {
        let (half, kept) = new_half(self.entropy.as_ref());
        let released = Released { half: kept, at: self.clock.now(), by: permit.subject().to_owned() };
        self.keep(&Event::InvitationReleased { id, released })?;
        Ok(half)
    }

    /// Those that wait, the oldest first.
    pub fn invitations(&self) -> Vec<InvitationStanding> {
        let now = self.clock.now();
        self.passkeys().invitations.waiting(now)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // tests may stop at the first surprise

    use kit::SeededEntropy;

    use super::{halves, new_half};

    #[test]
    fn a_code_is_read_as_people_type_it() {
        let entropy = SeededEntropy::new(7);
        let ((a, first), (b, second)) = (new_half(&entropy), new_half(&entropy));
        assert_eq!((a.len(), a.matches('-').count()), (19, 3));
        let typed = format!(" {} {} ", a.to_lowercase().replace('-', " ").replace('0', "o").replace('1', "l"), *b);
        assert_eq!(halves(&typed).unwrap(), (first, second));
        assert!(halves(&a).is_none() && halves(&format!("{typed}AA")).is_none() && halves("").is_none());
        assert!(halves(&format!("{}U", &typed[..30])).is_none() && halves(&"A".repeat(300)).is_none());
    }
}

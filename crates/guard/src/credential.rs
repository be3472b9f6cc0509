//! Tokens, sign-in links and sessions: secrets of 256 random bits, of which guard knows only the hash.
//!
//! SHA-256 without salt or stretching is enough for them: stretching (Argon2) buys time where a secret can be guessed,
//! and 2^256 can't be. Lookup goes by the hash, which a caller can't choose, so the time it takes tells nothing about
//! the secrets that exist.

use std::collections::HashMap;
use std::sync::atomic::{AtomicI64, Ordering};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use kit::{Digest, Entropy, Id16, Timestamp};
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use crate::error::Unauthenticated;
use crate::event::{Event, Issue, Kind};
use crate::{Device, Sessions};

const SECRET_BYTES: usize = 32;

/// Live credentials of one kind: some ten for each of a large centre's thousand people and machines.
pub const CREDENTIALS_MAX: usize = 10_000;

impl Kind {
    /// What a secret's text begins with: a scanner for leaked secrets finds it, and no kind passes for another.
    fn prefix(self) -> &'static str {
        match self {
            Self::Token => "hf_",
            Self::Link => "hfl_",
            Self::Session => "hfs_",
        }
    }
}

/// A fresh secret and the hash to keep of it.
pub(crate) fn new_secret(kind: Kind, entropy: &dyn Entropy) -> (Zeroizing<String>, Digest) {
    let mut bytes = Zeroizing::new([0; SECRET_BYTES]);
    entropy.fill(bytes.as_mut());
    let mut text = Zeroizing::new(String::with_capacity(64));
    text.push_str(kind.prefix());
    URL_SAFE_NO_PAD.encode_string(bytes.as_ref(), &mut text);
    let hash = hash_of(&text);
    (text, hash)
}

fn hash_of(text: &str) -> Digest {
    Digest(Sha256::digest(text.as_bytes()).into())
}

/// What a presented text would be kept as, where it has the form of a secret of this kind at all.
fn presented(kind: Kind, text: &str) -> Result<Digest, Unauthenticated> {
    let digits = text.strip_prefix(kind.prefix()).ok_or(Unauthenticated::Malformed)?;
    let well_formed = digits.len() == SECRET_BYTES.div_ceil(3) * 4 - 1
        && digits.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
    if well_formed { Ok(hash_of(text)) } else { Err(Unauthenticated::Malformed) }
}

/// One credential that was given out.
pub(crate) struct Credential {
    pub(crate) issue: Issue,
    pub(crate) ended: Option<Timestamp>,
    /// Of a session. In memory only: after a restart it counts from the sign-in, so an older one has to sign in again.
    seen: AtomicI64,
    /// Of a session: when whoever sits there last showed who she is, and by which passkey.
    shown: Timestamp,
    passkey: Option<Id16>,
}

impl Credential {
    /// By the policy of now: one that has become stricter ends what an older one gave out.
    pub(crate) fn live(&self, now: Timestamp, sessions: &Sessions) -> Result<(), Unauthenticated> {
        if self.ended.is_some() {
            return Err(Unauthenticated::Ended);
        }
        let (life_ms, idle_ms) = (sessions.life_ms_of(self.issue.kind), sessions.idle_ms());
        if now >= self.issue.expires.min(self.issue.issued.plus_ms(life_ms)) {
            return Err(Unauthenticated::Expired);
        }
        let unused_ms = now.0.saturating_sub(self.seen.load(Ordering::Relaxed));
        if self.issue.kind == Kind::Session && unused_ms >= idle_ms {
            return Err(Unauthenticated::Idle);
        }
        Ok(())
    }
}

/// All credentials that have not expired.
#[derive(Default)]
pub(crate) struct Credentials {
    by_id: HashMap<Id16, Credential>,
    by_hash: HashMap<Digest, Id16>,
    sessions: Sessions,
}

impl Credentials {
    /// From now on.
    pub(crate) fn live_by(&mut self, sessions: Sessions) {
        self.sessions = sessions;
    }

    /// Finds a live credential by its secret.
    pub(crate) fn find(&self, kind: Kind, text: &str, now: Timestamp) -> Result<&Credential, Unauthenticated> {
        let hash = presented(kind, text)?;
        let found = self.by_hash.get(&hash).and_then(|id| self.by_id.get(id)).ok_or(Unauthenticated::Unknown)?;
        if found.issue.kind != kind {
            return Err(Unauthenticated::Unknown);
        }
        found.live(now, &self.sessions)?;
        found.seen.fetch_max(now.0, Ordering::Relaxed);
        Ok(found)
    }

    /// Where a session was opened.
    pub(crate) fn device_of(&self, id: Id16) -> Option<Device> {
        self.by_id.get(&id).and_then(|c| c.issue.device)
    }

    /// When whoever has this session last showed who she is.
    pub(crate) fn shown(&self, id: Id16) -> Option<Timestamp> {
        self.by_id.get(&id).filter(|c| c.issue.kind == Kind::Session).map(|c| c.shown)
    }

    /// The same of a session that a passkey opened.
    pub(crate) fn shown_passkey(&self, id: Id16) -> Option<Timestamp> {
        self.by_id.get(&id).filter(|c| c.passkey.is_some()).map(|c| c.shown)
    }

    /// When anybody showed a passkey last, among the sessions that are still known.
    pub(crate) fn last_passkey(&self) -> Option<Timestamp> {
        self.by_id.values().filter(|c| c.passkey.is_some()).map(|c| c.shown).max()
    }

    pub(crate) fn is_live(&self, id: Id16, now: Timestamp) -> bool {
        self.by_id.get(&id).is_some_and(|c| c.live(now, &self.sessions).is_ok())
    }

    /// Whatever lets somebody in now.
    pub(crate) fn live_of(&self, subject: &str, now: Timestamp) -> Vec<Id16> {
        let hers = self.by_id.values().filter(|c| c.issue.subject == subject && c.live(now, &self.sessions).is_ok());
        let mut ids: Vec<Id16> = hers.map(|c| c.issue.id).collect();
        ids.sort();
        ids
    }

    pub(crate) fn of_kind(&self, kind: Kind) -> impl Iterator<Item = &Credential> {
        self.by_id.values().filter(move |c| c.issue.kind == kind)
    }

    pub(crate) fn alive(&self, kind: Kind, now: Timestamp) -> usize {
        self.of_kind(kind).filter(|c| c.live(now, &self.sessions).is_ok()).count()
    }

    /// One path for what happens now and for what is replayed.
    pub(crate) fn apply(&mut self, event: &Event, now: Timestamp) {
        match event {
            Event::Issued(issue) => self.insert(issue, None, now),
            Event::LinkUsed { link, session } => {
                self.end(*link, session.issued);
                self.insert(session, None, now);
            }
            Event::PasskeyUsed { passkey, session, again, at, .. } => {
                if let Some(session) = session {
                    self.insert(session, Some(*passkey), now);
                }
                if let Some(credential) = again.and_then(|id| self.by_id.get_mut(&id)) {
                    credential.shown = credential.shown.max(*at);
                }
            }
            Event::Ended { id, at, .. } => self.end(*id, *at),
            Event::Lockdown { .. }
            | Event::Invited(_)
            | Event::InvitationReleased { .. }
            | Event::PasskeyAdded(_)
            | Event::PolicyProposed { .. }
            | Event::PolicyApproved { .. }
            | Event::Contained(_)
            | Event::LiftSigned(_)
            | Event::Lifted { .. }
            | Event::GlassBroken(_)
            | Event::GlassReviewed { .. }
            | Event::AlarmRaised(_)
            | Event::AlarmTaken { .. }
            | Event::AlarmClosed { .. }
            | Event::ShiftClosed(_)
            | Event::HoneyPlanted { .. } => {}
        }
    }

    fn insert(&mut self, issue: &Issue, passkey: Option<Id16>, now: Timestamp) {
        self.by_id.retain(|_, c| now < c.issue.expires);
        self.by_hash.retain(|_, id| self.by_id.contains_key(id));
        let seen = AtomicI64::new(issue.issued.0);
        self.by_hash.insert(issue.hash, issue.id);
        self.by_id
            .insert(issue.id, Credential { issue: issue.clone(), ended: None, seen, shown: issue.issued, passkey });
    }

    fn end(&mut self, id: Id16, at: Timestamp) {
        // A passkey that ends takes the sessions with it that it has opened.
        for credential in self.by_id.values_mut().filter(|c| c.issue.id == id || c.passkey == Some(id)) {
            credential.ended.get_or_insert(at);
        }
    }
}

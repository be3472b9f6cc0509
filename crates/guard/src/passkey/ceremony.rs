//! What happens between a browser and the door: registration (enrolment) and authentication (sign-in, presence).

use std::collections::{HashMap, VecDeque};
use std::sync::{MutexGuard, PoisonError, RwLockReadGuard};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use kit::{Digest, Id16, Timestamp};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use webauthn_rs::prelude::{
    AuthenticationResult, CredentialID, PasskeyAuthentication, PasskeyRegistration, PublicKeyCredential,
    RegisterPublicKeyCredential, Url, Uuid, Webauthn, WebauthnBuilder, WebauthnError,
};
use zeroize::Zeroizing;

use super::{Changed, Passkey, PasskeyError, Passkeys};
use crate::event::{Issue, Kind};
use crate::normal::Signalled;
use crate::policy::bundle::MINUTE_MS;
use crate::{Act, Caller, Device, Event, Guard, GuardError, Permit, Role, Signal, Unauthenticated, Via};

/// A drawer is opened, a key looked for, a PIN mistyped.
pub const CEREMONY_LIFE_MS: i64 = 5 * MINUTE_MS;
/// Under way at one time; beyond, the oldest is over. Whoever floods the page begins a hundred a second, and honest ones still have
/// minutes.
pub const CEREMONIES_MAX: usize = 20_000;
/// An answer of a browser: a certificate chain is a few thousand bytes.
const ANSWER_BYTES_MAX: usize = 64 * 1024;
/// What an authenticator derives a secret from (W3C Web Authentication 3, 10.1.4, PRF extension), beside the centre's name.
const PRF_SALT: &[u8] = b"holdfast proof to holders v1\0";

/// The name that people reach this centre by: a passkey is for one name and works at no other (W3C Web Authentication, 5.4.2). A
/// recovered centre answers by the same one.
pub struct RelyingParty {
    webauthn: Webauthn,
    id: String,
}

impl RelyingParty {
    pub fn new(public_url: &str, centre: &str) -> Result<Self, PasskeyError> {
        let none = |why: &str| PasskeyError::NoRelyingParty { why: why.to_owned() };
        let url = Url::parse(public_url).map_err(|error| none(&format!("{public_url}: {error}")))?;
        let id = url.domain().ok_or_else(|| none(&format!("{public_url} has an address and no name")))?.to_owned();
        if url.scheme() != "https" && id != "localhost" {
            return Err(none(&format!("{public_url} isn't https")));
        }
        let builder = WebauthnBuilder::new(&id, &url).map_err(|error| none(&error.to_string()))?;
        let webauthn = builder.rp_name(centre).build().map_err(|error| none(&error.to_string()))?;
        Ok(Self { webauthn, id })
    }

    pub fn id(&self) -> &str {
        &self.id
    }

    /// Whether a page at this origin is one of that name.
    pub(super) fn is_at(id: &str, origin: &str) -> bool {
        let Ok(url) = Url::parse(origin) else { return false };
        url.domain() == Some(id) && (url.scheme() == "https" || id == "localhost")
    }
}

/// What the browser is to do. The ceremony's id goes there and back; all else of it stays here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Begun {
    pub ceremony: Id16,
    /// `PublicKeyCredentialCreationOptionsJSON` or `PublicKeyCredentialRequestOptionsJSON` (W3C Web Authentication 3, 5.1).
    pub options: String,
}

enum Doing {
    Enrol {
        subject: String,
        role: Role,
        on: Id16,
        state: Box<PasskeyRegistration>,
    },
    /// Without a state where nobody could succeed.
    SignIn {
        subject: String,
        state: Option<Box<PasskeyAuthentication>>,
    },
    Present {
        subject: String,
        session: Id16,
        state: Box<PasskeyAuthentication>,
    },
}

/// Those under way: in memory only, a restart ends them.
#[derive(Default)]
pub(crate) struct Ceremonies {
    by_id: HashMap<Id16, (Timestamp, Doing)>,
    oldest_first: VecDeque<Id16>,
}

impl Ceremonies {
    fn begin(&mut self, id: Id16, at: Timestamp, doing: Doing) {
        let is_over = |begun: Timestamp| at.0 - begun.0 >= CEREMONY_LIFE_MS;
        while let Some(oldest) = self.oldest_first.front().copied() {
            let ended = self.by_id.get(&oldest).is_none_or(|(begun, _)| is_over(*begun));
            if !ended && self.by_id.len() < CEREMONIES_MAX {
                break;
            }
            self.oldest_first.pop_front();
            self.by_id.remove(&oldest);
        }
        self.oldest_first.push_back(id);
        self.by_id.insert(id, (at, doing));
    }

    /// Each is answered once, rightly or wrongly.
    fn take(&mut self, id: Id16, now: Timestamp) -> Result<Doing, PasskeyError> {
        let (begun, doing) = self.by_id.remove(&id).ok_or(PasskeyError::Over)?;
        if now.0 - begun.0 < CEREMONY_LIFE_MS { Ok(doing) } else { Err(PasskeyError::Over) }
    }
}

impl Passkeys {
    pub(super) fn keys_of(&self, subject: &str) -> Vec<webauthn_rs::prelude::Passkey> {
        self.of(subject).filter_map(|held| held.key.clone()).collect()
    }

    /// Which of hers was used, and what it has become.
    fn used(&self, subject: &str, result: &AuthenticationResult) -> Option<(Id16, Role, Option<Changed>)> {
        let held =
            self.of(subject).find(|held| held.key.as_ref().is_some_and(|key| key.cred_id() == result.cred_id()))?;
        let mut key = held.key.clone()?;
        let changed = key.update_credential(result)?.then(|| serde_json::to_vec(&key).ok().map(Changed));
        Some((held.passkey.id, held.passkey.role, changed.flatten()))
    }

    /// The ids of passkeys of a login that isn't here: the same whenever it is asked for, so that asking tells nobody who is.
    fn made_up(&self, subject: &str) -> Vec<CredentialID> {
        let salt = self.salt.map(|salt| salt.0).unwrap_or_default();
        let id = |number: u8| {
            let hash = Sha256::new().chain_update(salt).chain_update([number]).chain_update(subject.as_bytes());
            CredentialID::from(hash.finalize().to_vec())
        };
        let several = id(0).as_slice().first().is_some_and(|byte| *byte < 64);
        (1..=1 + u8::from(several)).map(id).collect()
    }
}

impl Guard {
    /// Passkeys are taken from now on, at this address. The first one stays.
    pub fn take_passkeys(&self, party: RelyingParty) {
        let _ = self.party.set(party);
    }

    /// The name that passkeys are for, where they are taken.
    pub fn passkeys_are_for(&self) -> Option<&str> {
        self.party.get().map(RelyingParty::id)
    }

    pub(super) fn party(&self) -> Result<&RelyingParty, PasskeyError> {
        let why = "none is configured".to_owned();
        self.party.get().ok_or(PasskeyError::NoRelyingParty { why })
    }

    pub(crate) fn passkeys(&self) -> RwLockReadGuard<'_, Passkeys> {
        self.passkeys.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn ceremonies(&self) -> MutexGuard<'_, Ceremonies> {
        self.ceremonies.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn begin(&self, doing: Doing, options: String) -> Begun {
        let ceremony = Id16(self.entropy.id());
        self.ceremonies().begin(ceremony, self.clock.now(), doing);
        Begun { ceremony, options }
    }

    // ---- Enrolment

    /// Somebody shows both halves of a code, and is to make a passkey.
    pub fn begin_enrolment(&self, subject: &str, code: &str) -> Result<Begun, PasskeyError> {
        let now = self.clock.now();
        let (on, role) = {
            let passkeys = self.passkeys();
            let invitation = passkeys.invitations.find(subject, code, now)?;
            (invitation.id, invitation.role)
        };
        self.begin_key(subject, role, on)
    }

    /// Somebody who has just shown a passkey is to make another one, for the drawer.
    pub fn begin_another(&self, caller: &Caller) -> Result<Begun, PasskeyError> {
        let on = self.check_fresh(caller).and(match caller.via {
            Via::Session(id) => Ok(id),
            _ => Err(PasskeyError::NotFresh),
        })?;
        // A session of a link isn't one that a passkey was shown for: a code is for the first one.
        let beside = self.passkeys().of(&caller.subject).map(|held| held.passkey.id).next();
        beside.ok_or(PasskeyError::NotFresh)?;
        self.begin_key(&caller.subject, caller.role, on)
    }

    fn begin_key(&self, subject: &str, role: Role, on: Id16) -> Result<Begun, PasskeyError> {
        let party = self.party()?;
        let passkeys = self.passkeys();
        passkeys.check_room(subject)?;
        let hers = passkeys.keys_of(subject).iter().map(|key| key.cred_id().clone()).collect();
        drop(passkeys);
        // Opaque, and the same for all of hers: an authenticator has one for each.
        let handle =
            Sha256::new().chain_update(b"holdfast user handle v1\0").chain_update(subject.as_bytes()).finalize();
        let handle = Uuid::from_slice(handle.get(..16).unwrap_or_default()).unwrap_or_default();
        let begun = party.webauthn.start_passkey_registration(handle, subject, subject, Some(hers));
        let (options, state) = begun.map_err(|error| refused(subject, &error))?;
        let mut options = serde_json::to_value(&options).unwrap_or_default();
        // Asked for where the key is made: some authenticators derive nothing later (W3C Web Authentication 3, 10.1.4).
        if let (Some(_), Some(Value::Object(extensions))) =
            (self.witness.get(), options.pointer_mut("/publicKey/extensions"))
        {
            extensions.insert("prf".into(), json!({}));
        }
        let options = options.get("publicKey").unwrap_or(&Value::Null).to_string();
        let (subject, state) = (subject.to_owned(), Box::new(state));
        Ok(self.begin(Doing::Enrol { subject, role, on, state }, options))
    }

    /// The passkey that was made. The invitation is used up.
    pub fn finish_enrolment(&self, ceremony: Id16, answer: &str) -> Result<Passkey, GuardError> {
        let now = self.clock.now();
        let Doing::Enrol { subject, role, on, state } = self.ceremonies().take(ceremony, now)? else {
            return Err(PasskeyError::Over.into());
        };
        let answer: RegisterPublicKeyCredential = parse(answer)?;
        let made = self.party()?.webauthn.finish_passkey_registration(&answer, &state);
        let key = made.map_err(|error| refused(&subject, &error))?;
        let _held = self.hold();
        let passkeys = self.passkeys();
        // Meanwhile it was used up or taken back, or she signed out.
        let still = passkeys.invitations.of(&subject).any(|id| id == on) || self.read().is_live(on, now);
        if !still {
            return Err(PasskeyError::BadCode.into());
        }
        passkeys.check_room(&subject)?;
        // An authenticator that gives one key to two people tells nobody apart.
        let is_anybodys = |held: &super::Held| held.key.as_ref().is_some_and(|other| other.cred_id() == key.cred_id());
        if passkeys.by_id.values().any(is_anybodys) {
            return Err(PasskeyError::Refused.into());
        }
        drop(passkeys);
        let passkey = Passkey::new(Id16(self.entropy.id()), (&subject, role), &key, now, on);
        let passkey = passkey.ok_or(PasskeyError::Refused)?;
        self.keep(&Event::PasskeyAdded(passkey.clone()))?;
        tracing::info!(id = %passkey.id, %role, "a passkey was added");
        Ok(passkey)
    }

    // ---- Sign-in

    /// Somebody says who she is, and is to show it. Whoever asks learns nothing of who is here.
    pub fn begin_sign_in(&self, subject: &str) -> Result<Begun, PasskeyError> {
        let party = self.party()?;
        let passkeys = self.passkeys();
        let (hers, made_up) = (passkeys.keys_of(subject), passkeys.made_up(subject));
        drop(passkeys);
        let (state, options) = if hers.is_empty() {
            let mut challenge = [0; 32];
            self.entropy.fill(&mut challenge);
            (None, self.request(party, URL_SAFE_NO_PAD.encode(challenge), &made_up, true))
        } else {
            let (state, options) = self.ask_for(party, subject, &hers)?;
            (Some(state), options)
        };
        let subject = subject.chars().take(crate::SUBJECT_CHARS_MAX).collect();
        Ok(self.begin(Doing::SignIn { subject, state }, options))
    }

    /// Lets her in; the value is for a cookie. `derived` is what her authenticator derived for the holders, where it can.
    pub fn finish_sign_in(
        &self,
        ceremony: Id16,
        answer: &str,
        derived: Option<&str>,
        device: Device,
    ) -> Result<Zeroizing<String>, GuardError> {
        let doing = self.ceremonies().take(ceremony, self.clock.now())?;
        let Doing::SignIn { subject, state } = doing else { return Err(PasskeyError::Over.into()) };
        let answer: PublicKeyCredential = parse(answer)?;
        let state = state.ok_or(PasskeyError::Refused)?;
        let shown = self.judge(&subject, &answer, &state)?;
        let _held = self.hold();
        let (passkey, role, changed) = self.passkeys().used(&subject, &shown).ok_or(PasskeyError::Refused)?;
        if self.contained.read().unwrap_or_else(PoisonError::into_inner).is_frozen(&subject) {
            return Err(Unauthenticated::Frozen.into());
        }
        let life_ms = self.rules().sessions().life_ms_of(Kind::Session);
        let (session, cookie) = self.new_issue(Kind::Session, role, subject.clone(), life_ms, &subject)?;
        let session = Issue { device: Some(device), ..session };
        let (id, at) = (session.id, session.issued);
        self.keep(&Event::PasskeyUsed { passkey, changed, at, session: Some(session), again: None })?;
        if let (Some(witness), Some(secret)) = (self.witness.get(), derived) {
            witness.shown(&subject, secret, id);
        }
        Ok(cookie)
    }

    // ---- Presence

    /// Somebody who has signed in is to show that it is still she who sits there.
    pub fn begin_presence(&self, caller: &Caller) -> Result<Begun, PasskeyError> {
        let Via::Session(session) = caller.via else { return Err(PasskeyError::NotFresh) };
        let hers = self.passkeys().keys_of(&caller.subject);
        if hers.is_empty() {
            return Err(PasskeyError::NotFresh);
        }
        let (state, options) = self.ask_for(self.party()?, &caller.subject, &hers)?;
        Ok(self.begin(Doing::Present { subject: caller.subject.clone(), session, state }, options))
    }

    /// She has shown it, in the session in which she was asked.
    pub fn finish_presence(&self, caller: &Caller, ceremony: Id16, answer: &str) -> Result<(), GuardError> {
        let doing = self.ceremonies().take(ceremony, self.clock.now())?;
        let Doing::Present { subject, session, state } = doing else { return Err(PasskeyError::Over.into()) };
        if caller.via != Via::Session(session) || caller.subject != subject {
            return Err(PasskeyError::Over.into());
        }
        let shown = self.judge(&subject, &parse(answer)?, &state)?;
        let _held = self.hold();
        let (passkey, _, changed) = self.passkeys().used(&subject, &shown).ok_or(PasskeyError::Refused)?;
        let at = self.clock.now();
        self.keep(&Event::PasskeyUsed { passkey, changed, at, session: None, again: Some(session) })
    }

    /// Whether she has shown who she is within the minutes that the policy gives it. Whoever sits at the terminal has.
    pub fn check_fresh(&self, caller: &Caller) -> Result<(), PasskeyError> {
        let within_ms = self.rules().sessions().presence_ms();
        let is_fresh = match caller.via {
            Via::Terminal => true,
            Via::Session(id) => {
                let now = self.clock.now();
                self.read().shown(id).is_some_and(|at| now.0.saturating_sub(at.0) < within_ms)
            }
            Via::Token(_) | Via::AeTitle(_) | Via::Folder => false,
        };
        if is_fresh { Ok(()) } else { Err(PasskeyError::NotFresh) }
    }

    /// When she who has this permit showed her passkey last; none where she hasn't come by one.
    pub(crate) fn passkey_shown(&self, permit: &Permit) -> Option<Timestamp> {
        match permit.decision().via {
            Via::Session(id) => self.read().shown_passkey(id),
            _ => None,
        }
    }

    fn ask_for(
        &self,
        party: &RelyingParty,
        subject: &str,
        hers: &[webauthn_rs::prelude::Passkey],
    ) -> Result<(Box<PasskeyAuthentication>, String), PasskeyError> {
        let begun = party.webauthn.start_passkey_authentication(hers);
        let (options, state) = begun.map_err(|error| refused(subject, &error))?;
        let ids: Vec<CredentialID> = hers.iter().map(|key| key.cred_id().clone()).collect();
        let challenge = URL_SAFE_NO_PAD.encode(&options.public_key.challenge);
        Ok((Box::new(state), self.request(party, challenge, &ids, true)))
    }

    /// One form of it, whoever is asked: what it leaves out, as how a key is reached, would tell the made-up ones.
    pub(super) fn request(
        &self,
        party: &RelyingParty,
        challenge: String,
        ids: &[CredentialID],
        derives: bool,
    ) -> String {
        let allowed = ids.iter().map(|id| json!({ "type": "public-key", "id": URL_SAFE_NO_PAD.encode(id.as_slice()) }));
        let mut options = json!({
            "challenge": challenge, "timeout": CEREMONY_LIFE_MS, "rpId": party.id, "userVerification": "required",
            "allowCredentials": allowed.collect::<Vec<Value>>(),
        });
        if let (true, Some(_), Value::Object(options)) = (derives, self.witness.get(), &mut options) {
            let centre = self.policies.read().unwrap_or_else(PoisonError::into_inner).centre().to_owned();
            let salt = Digest(Sha256::new().chain_update(PRF_SALT).chain_update(centre.as_bytes()).finalize().into());
            let first = URL_SAFE_NO_PAD.encode(salt.0);
            options.insert("extensions".into(), json!({ "prf": { "eval": { "first": first } } }));
        }
        options.to_string()
    }

    fn judge(
        &self,
        subject: &str,
        answer: &PublicKeyCredential,
        state: &PasskeyAuthentication,
    ) -> Result<AuthenticationResult, PasskeyError> {
        match self.party()?.webauthn.finish_passkey_authentication(answer, state) {
            Ok(shown) if shown.user_verified() => Ok(shown),
            Ok(_) => Err(refused(subject, &WebauthnError::UserNotVerified)),
            Err(error) => {
                // Its counter went back: somebody else has used a copy of it (W3C Web Authentication, 6.1.1).
                if matches!(error, WebauthnError::CredentialPossibleCompromise) {
                    let words = "a passkey counts backwards: there is a copy of it";
                    self.ring(Signalled::of(Signal::CopiedPasskey, subject, words));
                }
                Err(refused(subject, &error))
            }
        }
    }

    // ---- Those that are there

    /// Everybody's, by login.
    pub fn all_passkeys(&self, permit: &Permit) -> Result<Vec<Passkey>, GuardError> {
        self.check_does(permit, Act::EnrolPerson)?;
        Ok(self.passkeys().all())
    }

    pub fn passkeys_of(&self, caller: &Caller) -> Vec<Passkey> {
        self.passkeys().of(&caller.subject).map(|held| held.passkey.clone()).collect()
    }

    /// Logins that come in by a passkey.
    pub fn people_with_passkeys(&self) -> usize {
        let passkeys = self.passkeys();
        let people: std::collections::BTreeSet<&str> =
            passkeys.by_id.values().map(|held| held.passkey.subject.as_str()).collect();
        people.len()
    }

    /// When anybody showed one last, within the life of a session.
    pub fn passkey_last_shown(&self) -> Option<Timestamp> {
        self.read().last_passkey()
    }

    /// Nobody comes in by it any more, and the sessions that it opened are over; or an invitation is taken back.
    pub fn end_passkey(&self, permit: &Permit, id: Id16) -> Result<(), GuardError> {
        let _held = self.hold();
        self.check_does(permit, Act::EnrolPerson)?;
        let now = self.clock.now();
        let is_there = {
            let passkeys = self.passkeys();
            passkeys.get(id).is_some() || passkeys.invitations.waits(id, now)
        };
        if !is_there {
            return Err(GuardError::NoCredential { id });
        }
        self.keep(&Event::Ended { id, at: now, by: permit.subject().to_owned() })
    }

    /// The same of one of one's own.
    pub fn end_own_passkey(&self, caller: &Caller, id: Id16) -> Result<(), GuardError> {
        self.check_fresh(caller)?;
        let _held = self.hold();
        let is_hers = self.passkeys().get(id).is_some_and(|passkey| passkey.subject == caller.subject);
        if !is_hers {
            return Err(GuardError::NoCredential { id });
        }
        self.keep(&Event::Ended { id, at: self.clock.now(), by: caller.subject.clone() })
    }
}

/// Told to the log, which names what it was; whoever asked learns that it wasn't accepted.
fn refused(_subject: &str, error: &WebauthnError) -> PasskeyError {
    tracing::info!(%error, "a passkey was refused");
    PasskeyError::Refused
}

pub(super) fn parse<T: DeserializeOwned>(answer: &str) -> Result<T, PasskeyError> {
    if answer.len() > ANSWER_BYTES_MAX {
        let why = format!("{} bytes are more than {ANSWER_BYTES_MAX}", answer.len());
        return Err(PasskeyError::Malformed { why });
    }
    serde_json::from_str(answer).map_err(|error| PasskeyError::Malformed { why: error.to_string() })
}

//! Who is it, may they: the only maker of a [`Permit`].
//!
//! [`Guard`] authenticates (a bearer token, a session, a DICOM peer, the server's own terminal) and makes a [`Caller`];
//! it asks the embedded Cedar policy, hands the decision to the [`DecisionLog`], and only then answers: a [`Permit`] or
//! [`Denied`]. What changes who may come in is an [`Event`], kept by the [`EventLog`] before it takes effect.
//!
//! Guard reads and stores nothing itself, and knows no patient but by opaque id.

mod alarm;
mod budget;
mod caller;
mod containment;
mod credential;
mod decision;
mod emergency;
mod error;
mod event;
mod format;
mod mass;
mod names;
mod normal;
mod officer;
mod passkey;
mod peer;
mod permit;
mod policy;
mod signature;
mod slow;
mod vocabulary;

use std::collections::{HashSet, VecDeque};
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock, RwLockReadGuard};

use kit::{Clock, Digest, Entropy, Fault, Id16, PatientId, Timestamp};
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

pub use alarm::{Alarm, AlarmClosed, AlarmError, AlarmStanding, Alarms};
pub use budget::{Budget, Budgets, OverBudget, Spent};
pub use caller::{Caller, Device, SUBJECT_CHARS_MAX, Via};
pub use containment::{ContainError, Containment, FROZEN_MAX, LIFTERS, LiftStatement, Measure, SignedLift};
pub use credential::CREDENTIALS_MAX;
pub use decision::{Ask, Decision, DecisionLog, Denied, Reason, WHAT_BYTES_MAX};
pub use emergency::{EMERGENCY_HOURS_MAX, Emergency, EmergencyError, EmergencyStanding, Review};
pub use error::{GuardError, Unauthenticated};
pub use event::{Event, EventLog, Issue, Kind};
pub use format::{EVENT_BYTES_MAX, FormatError, STORED_BYTES_MAX};
pub use mass::{Edit, is_dense};
pub use names::{check_name, look_alike, misleads};
pub use normal::{HONEY_MAX, Opening, Shares, Signalled, Watch, Watched};
pub use officer::{OfficerStatement, Signed};
pub use passkey::{
    Assertion, Begun, CEREMONIES_MAX, CEREMONY_LIFE_MS, Changed, INVITATION_LIFE_MS, Invitation, InvitationStanding,
    PASSKEYS_EACH, Passkey, PasskeyError, PasskeyKey, Released, RelyingParty,
};
pub use peer::Peer;
pub use permit::{PERMIT_LIFE_MS, Permit, PermitError};
pub use policy::bundle::{BUNDLE_BYTES_MAX, Bundle, BundleError, Officer, Sessions, changes};
pub use policy::chain::{ChainError, PolicyStatement, Proposal, Says, SignedPolicy, Wants};
pub use policy::{Difference, Policy, PolicyError, Question, RULES_BYTES_MAX};
pub use signature::{PublicKey, SignatureError, SigningKey};
pub use slow::{Counted, ShiftClosed};
pub use vocabulary::{Act, Outcome, Purpose, Relation, Role, Sensitivity, Signal, Target, UnknownWord};

use crate::alarm::Rang;
use crate::containment::Contained;
use crate::credential::Credentials;
use crate::emergency::Emergencies;
use crate::mass::Mass;
use crate::passkey::{Ceremonies, Passkeys};
use crate::policy::chain::Chain;

type Result<T> = std::result::Result<T, GuardError>;

/// Events that have taken effect and wait for a log that takes none: what closes comes first, and there is little of it.
const UNKEPT_MAX: usize = 10_000;

/// One token, as it is listed: everything but the secret, which nobody here knows, and its hash.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    pub id: Id16,
    pub role: Role,
    pub subject: String,
    pub issued: Timestamp,
    pub expires: Timestamp,
    pub by: String,
    pub revoked: Option<Timestamp>,
}

/// What decides.
pub enum Rules {
    /// No policy was signed here: those of the program.
    BuiltIn(Arc<Policy>),
    /// With the rules that decide: the bundle's own, or where those don't hold by this program the last ones that did.
    Signed(Arc<Bundle>, Arc<Policy>),
}

impl Rules {
    pub fn policy(&self) -> &Arc<Policy> {
        match self {
            Self::BuiltIn(policy) => policy,
            Self::Signed(_, policy) => policy,
        }
    }

    pub fn sessions(&self) -> Sessions {
        match self {
            Self::BuiltIn(_) => Sessions::default(),
            Self::Signed(bundle, _) => bundle.sessions(),
        }
    }

    pub fn budgets(&self) -> Budgets {
        match self {
            Self::BuiltIn(_) => Budgets::default(),
            Self::Signed(bundle, _) => bundle.budgets(),
        }
    }

    pub fn alarms(&self) -> Alarms {
        match self {
            Self::BuiltIn(_) => Alarms::default(),
            Self::Signed(bundle, _) => bundle.alarms().clone(),
        }
    }

    /// Of the text that was signed; of the program's rules where none was.
    pub fn digest(&self) -> Digest {
        match self {
            Self::BuiltIn(policy) => policy.digest(),
            Self::Signed(bundle, _) => bundle.digest(),
        }
    }
}

/// How it stands with the centre's policy.
pub struct PolicyStanding {
    /// By which decisions name it.
    pub digest: Digest,
    pub rules: Arc<Rules>,
    /// None where the program's rules are in force, which nobody has signed.
    pub in_force: Option<Proposal>,
    pub open: Vec<(Proposal, Wants)>,
    /// Events of the log that are not signed as they must be; they have changed nothing.
    pub refused: Vec<String>,
}

impl PolicyStanding {
    /// Why the rules of the policy in force don't hold by this program, where they don't.
    pub fn fault(&self) -> Option<&BundleError> {
        self.in_force.as_ref().and_then(|proposal| proposal.bundle.fault())
    }
}

/// Who wants to hear that somebody has shown a secret: whoever makes a person's signing key of it. The secret is not kept.
pub trait Witness: Send + Sync {
    /// A token or a sign-in link that counts, with its text; `as_id` is the credential that goes on from it.
    fn shown(&self, subject: &str, secret: &str, as_id: Id16);

    /// A credential that counts no more.
    fn ended(&self, id: Id16);
}

/// The door.
pub struct Guard {
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
    decisions: Arc<dyn DecisionLog>,
    events: Arc<dyn EventLog>,
    peers: Vec<Peer>,
    /// What decides now.
    rules: RwLock<Arc<Rules>>,
    policies: RwLock<Chain>,
    contained: RwLock<Contained>,
    watch: Mutex<Watch>,
    mass: Mutex<Mass>,
    rang: Mutex<Rang>,
    emergencies: RwLock<Emergencies>,
    /// What closes something and is in force, and couldn't be kept so far.
    unkept: Mutex<VecDeque<Event>>,
    /// Events that count once, by their SHA-256.
    taken: Mutex<HashSet<Digest>>,
    credentials: RwLock<Credentials>,
    party: OnceLock<RelyingParty>,
    passkeys: RwLock<Passkeys>,
    ceremonies: Mutex<Ceremonies>,
    /// Held while an event is kept and applied, so that a link is used once; readers go on meanwhile.
    change: Mutex<()>,
    epoch: AtomicU64,
    witness: OnceLock<Arc<dyn Witness>>,
    /// By which openings are counted: setting the machine's clock gives nobody a new budget, and takes nobody's.
    steady: OnceLock<Arc<dyn Clock>>,
}

impl Guard {
    /// `centre` is the log's name: what the officers' signatures are for. Fails where the embedded policy does not validate.
    pub fn new(
        centre: String,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
        decisions: Arc<dyn DecisionLog>,
        events: Arc<dyn EventLog>,
        peers: Vec<Peer>,
    ) -> Result<Self> {
        let rules = RwLock::new(Arc::new(Rules::BuiltIn(Policy::built_in()?)));
        let policies = RwLock::new(Chain::new(centre));
        Ok(Self {
            clock,
            entropy,
            decisions,
            events,
            peers,
            rules,
            policies,
            contained: RwLock::default(),
            watch: Mutex::default(),
            mass: Mutex::default(),
            rang: Mutex::default(),
            emergencies: RwLock::default(),
            unkept: Mutex::default(),
            taken: Mutex::default(),
            credentials: RwLock::default(),
            party: OnceLock::new(),
            passkeys: RwLock::default(),
            ceremonies: Mutex::default(),
            change: Mutex::default(),
            epoch: AtomicU64::new(0),
            witness: OnceLock::new(),
            steady: OnceLock::new(),
        })
    }

    /// Takes in an event that was kept earlier; in the order in which they were kept.
    pub fn replay(&self, event: &Event) -> Result<()> {
        let _held = self.hold();
        self.apply(event);
        Ok(())
    }

    /// Counts by this clock from now on, which nobody sets; the first one stays. Otherwise by the one that tells the time.
    pub fn count_by(&self, steady: Arc<dyn Clock>) {
        let _ = self.steady.set(steady);
    }

    fn counted_at(&self) -> Timestamp {
        self.steady.get().unwrap_or(&self.clock).now()
    }

    /// Tells `witness` from now on. The first one stays.
    pub fn tell(&self, witness: Arc<dyn Witness>) {
        let _ = self.witness.set(witness);
    }

    // ---- Who is it

    /// The text after `Authorization: Bearer `.
    pub fn authenticate_bearer(&self, token: &str) -> std::result::Result<Caller, Unauthenticated> {
        self.authenticate(Kind::Token, token, Via::Token)
    }

    /// The value of the session cookie. Each use puts off the idle timeout. On another computer than the one it was opened on it is over.
    pub fn authenticate_session(&self, cookie: &str, device: Device) -> std::result::Result<Caller, Unauthenticated> {
        let caller = self.authenticate(Kind::Session, cookie, Via::Session)?;
        let Via::Session(id) = caller.via else { return Err(Unauthenticated::Unknown) };
        if self.read().device_of(id).is_none_or(|opened_on| opened_on == device) {
            return Ok(caller);
        }
        tracing::warn!(session = %id, "a session was shown on another computer than the one it was opened on: it is ended");
        let _held = self.hold();
        self.take_effect(Event::Ended { id, at: self.clock.now(), by: caller.subject });
        Err(Unauthenticated::OtherDevice)
    }

    fn authenticate(
        &self,
        kind: Kind,
        text: &str,
        via: impl Fn(Id16) -> Via,
    ) -> std::result::Result<Caller, Unauthenticated> {
        let credentials = self.read();
        let Issue { id, role, subject, .. } = &credentials.find(kind, text, self.clock.now())?.issue;
        if let Some(witness) = self.witness.get().filter(|_| kind == Kind::Token) {
            witness.shown(subject, text, *id);
        }
        Ok(Caller { subject: subject.clone(), role: *role, via: via(*id) })
    }

    /// Whoever sits at the server's own terminal. Only the binary's command line and control socket call this.
    pub fn console(&self) -> Caller {
        Caller { subject: "local:operator".into(), role: Role::Console, via: Via::Terminal }
    }

    /// A DICOM peer that the configuration names. Weak: neither a title nor an address is a secret.
    pub fn device(&self, ae_title: &str, address: IpAddr) -> std::result::Result<Caller, Unauthenticated> {
        let known = peer::is_ae_title(ae_title) && self.peers.iter().any(|peer| peer.matches(ae_title, address));
        if !known {
            return Err(Unauthenticated::UnknownPeer);
        }
        let via = Via::AeTitle(address.to_canonical());
        Ok(Caller { subject: format!("ae:{ae_title}"), role: Role::Device, via })
    }

    /// What a console writes into a folder that the configuration names. Weak: whoever may write there is the console.
    pub fn folder(&self, title: &str) -> std::result::Result<Caller, Unauthenticated> {
        if !peer::is_ae_title(title) {
            return Err(Unauthenticated::UnknownPeer);
        }
        Ok(Caller { subject: format!("folder:{title}"), role: Role::Device, via: Via::Folder })
    }

    // ---- May they

    /// Decides, writes the decision down, and only then answers.
    pub fn admit(&self, caller: &Caller, ask: Ask<'_>) -> std::result::Result<Permit, Denied> {
        let Ask { act, target, sensitivity, purpose, relation, operation, what } = ask;
        // Before anything else: a lockdown while we decide voids what we decide.
        let epoch = self.epoch.load(Ordering::SeqCst);
        let (role, at, rules) = (caller.role, self.clock.now(), self.rules());
        let related = relation.unwrap_or(Relation::Unexplained);
        let question = Question { role, act, target, sensitivity, purpose, relation: related };
        let contained = self.contained.read().unwrap_or_else(PoisonError::into_inner);
        let verdict = match contained.forbids(&caller.subject, &question) {
            _ if !self.still_in(caller, at) => Err(Reason::CredentialEnded),
            Some(one) => Err(Reason::Contained { measure: one.measure.to_string(), since: one.at }),
            None => rules.policy().decide(question),
        };
        drop(contained);
        let decision = Decision {
            at,
            operation,
            subject: caller.subject.clone(),
            role,
            via: caller.via,
            act,
            target,
            sensitivity,
            purpose,
            allowed: verdict.is_ok(),
            reason: match &verdict {
                Ok(rules) => rules.to_string(),
                Err(reason) => reason.to_string(),
            },
            epoch,
            what: (!what.is_empty())
                .then(|| what.get(..what.floor_char_boundary(WHAT_BYTES_MAX)).unwrap_or_default().to_owned()),
            policy: Some(rules.digest()),
            relation,
        };
        let noted = self.decisions.note(&decision).map_err(|fault| Reason::NotRecorded(Box::new(fault)));
        match noted.and(verdict) {
            Ok(_) => Ok(Permit::new(decision)),
            Err(reason) => {
                tracing::info!(%operation, %role, %act, %reason, "denied");
                Err(Denied { role, act, reason, operation })
            }
        }
    }

    /// A caller may outlive her credential: a long association, a page that was being rendered.
    fn still_in(&self, caller: &Caller, now: Timestamp) -> bool {
        match caller.via {
            Via::Token(id) | Via::Session(id) => self.read().is_live(id, now),
            Via::Terminal | Via::AeTitle(_) | Via::Folder => true,
        }
    }

    /// Whether a permit still holds: not expired, and no lockdown since.
    pub fn check(&self, permit: &Permit) -> std::result::Result<(), PermitError> {
        let (now, current) = (self.clock.now(), self.epoch.load(Ordering::SeqCst));
        if permit.epoch() != current {
            return Err(PermitError::LockedDown { permit: permit.epoch(), current });
        }
        if now >= permit.expires() {
            return Err(PermitError::Expired { expired: permit.expires(), now });
        }
        Ok(())
    }

    /// [`Self::check`], and that the permit is of an act that opens stored payloads at all.
    pub fn check_opens(&self, permit: &Permit) -> std::result::Result<(), PermitError> {
        if !permit.act().opens() {
            return Err(PermitError::OpensNothing { have: permit.act() });
        }
        self.check(permit)
    }

    /// A patient's chart (clinical), or her entry of the directory (administrative), is about to be opened under this permit: it counts
    /// against budgets, where the act does at all. `relation` says what the record knows of why. A refusal is on record.
    pub fn spend(
        &self,
        permit: &Permit,
        patient: PatientId,
        sensitivity: Sensitivity,
        relation: Relation,
    ) -> std::result::Result<(), Denied> {
        if !permit.act().is_counted() {
            return Ok(());
        }
        let (at, budgets, subject, role) = (self.clock.now(), self.rules().budgets(), permit.subject(), permit.role());
        let counted_at = self.counted_at();
        let shown = self.passkey_shown(permit).map(|shown| counted_at.plus_ms(shown.0.saturating_sub(at.0)));
        let opening = Opening { subject, role, patient, sensitivity, relation, at: counted_at, shown };
        let watched = self.watch().open(&budgets, opening);
        let Watched { spent, signals, closed } = watched;
        signals.into_iter().for_each(|signalled| self.ring(signalled));
        if let Some(shift) = closed {
            let _held = self.hold();
            shift.in_parts().for_each(|part| self.keep_when_possible(Event::ShiftClosed(part)));
        }
        let Err(over) = spent else { return Ok(()) };
        tracing::warn!(operation = %permit.operation(), %role, %over, "over budget");
        let reason = if over.wants_passkey { Reason::ShowPasskey(over) } else { Reason::OverBudget(over) };
        let (allowed, target, relation) = (false, Target::Patient(patient), Some(relation));
        let decision =
            Decision { allowed, at, target, relation, reason: reason.to_string(), ..permit.decision().clone() };
        let denied = |reason| Denied { role, act: permit.act(), reason, operation: permit.operation() };
        match self.decisions.note(&decision) {
            Ok(()) => Err(denied(reason)),
            Err(fault) => Err(denied(Reason::NotRecorded(Box::new(fault)))),
        }
    }

    /// What explained it, where this person opened this chart within the hour.
    pub fn explained_lately(&self, subject: &str, patient: PatientId) -> Option<Relation> {
        self.watch().reason(subject, patient, self.counted_at()).filter(|relation| relation.explains())
    }

    /// Whose budget is nearly used up, or was asked for beyond, within a day.
    pub fn near_budgets(&self) -> Vec<Spent> {
        self.watch().near(self.counted_at())
    }

    /// What people opened, and how much of it something explained.
    pub fn shares(&self) -> Shares {
        self.watch().shares()
    }

    fn watch(&self) -> MutexGuard<'_, Watch> {
        self.watch.lock().unwrap_or_else(PoisonError::into_inner)
    }

    // ---- Credentials. Each needs a permit for `ManageAccess`.

    /// A bearer token for a machine or a script. The secret is shown this once.
    pub fn issue_token(
        &self,
        permit: &Permit,
        role: Role,
        subject: &str,
        life_ms: i64,
    ) -> Result<(Id16, Zeroizing<String>)> {
        let maximum_ms = self.rules().sessions().life_ms_of(Kind::Token);
        if !(1..=maximum_ms).contains(&life_ms) {
            return Err(GuardError::BadLife { found_ms: life_ms, maximum_ms });
        }
        self.issue(permit, Kind::Token, role, subject, life_ms)
    }

    /// A code that signs one browser in, once, within the minutes that the policy gives it.
    pub fn sign_in_link(&self, permit: &Permit, role: Role, subject: &str) -> Result<Zeroizing<String>> {
        let life_ms = self.rules().sessions().life_ms_of(Kind::Link);
        self.issue(permit, Kind::Link, role, subject, life_ms).map(|(_, code)| code)
    }

    fn issue(
        &self,
        permit: &Permit,
        kind: Kind,
        role: Role,
        subject: &str,
        life_ms: i64,
    ) -> Result<(Id16, Zeroizing<String>)> {
        self.check_manages(permit)?;
        if role == Role::Console {
            return Err(GuardError::RoleNotGiven { role });
        }
        if role.reaches() > permit.sensitivity() {
            return Err(PermitError::NotClinical { role }.into());
        }
        let subject = caller::checked_subject(subject)?;
        let _held = self.hold();
        let (issue, secret) = self.new_issue(kind, role, subject, life_ms, permit.subject())?;
        let id = issue.id;
        self.keep(&Event::Issued(issue))?;
        Ok((id, secret))
    }

    fn new_issue(
        &self,
        kind: Kind,
        role: Role,
        subject: String,
        life_ms: i64,
        by: &str,
    ) -> Result<(Issue, Zeroizing<String>)> {
        let issued = self.clock.now();
        let alive = self.read().alive(kind, issued);
        if alive >= CREDENTIALS_MAX {
            return Err(GuardError::TooMany { maximum: CREDENTIALS_MAX });
        }
        let (secret, hash) = credential::new_secret(kind, self.entropy.as_ref());
        let (id, expires) = (Id16(self.entropy.id()), issued.plus_ms(life_ms));
        Ok((Issue { kind, id, hash, role, subject, issued, expires, by: by.to_owned(), device: None }, secret))
    }

    /// Ends a token at once.
    pub fn revoke_token(&self, permit: &Permit, id: Id16) -> Result<()> {
        self.check_manages(permit)?;
        let _held = self.hold();
        let at = self.clock.now();
        if !self.read().is_live(id, at) {
            return Err(GuardError::NoCredential { id });
        }
        self.keep(&Event::Ended { id, at, by: permit.subject().to_owned() })
    }

    /// Ends every token, link, session, passkey and invitation of somebody at once; gives which.
    pub fn end_all_of(&self, permit: &Permit, subject: &str) -> Result<Vec<Id16>> {
        self.check_manages(permit)?;
        let _held = self.hold();
        let at = self.clock.now();
        let mut ids = self.read().live_of(subject, at);
        ids.extend(self.passkeys().ids_of(subject));
        for id in &ids {
            self.keep(&Event::Ended { id: *id, at, by: permit.subject().to_owned() })?;
        }
        Ok(ids)
    }

    /// Tokens that have not expired, the newest first; revoked ones stay on the list until then.
    pub fn tokens(&self, permit: &Permit) -> Result<Vec<Token>> {
        self.check_manages(permit)?;
        let mut out: Vec<Token> = self
            .read()
            .of_kind(Kind::Token)
            .map(|credential| {
                let Issue { id, role, subject, issued, expires, by, .. } = credential.issue.clone();
                Token { id, role, subject, issued, expires, by, revoked: credential.ended }
            })
            .collect();
        out.sort_by_key(|token| (std::cmp::Reverse(token.issued), token.id));
        Ok(out)
    }

    /// Turns a sign-in code into a session; the value is for a cookie. The code is used up.
    pub fn use_sign_in_link(&self, code: &str, device: Device) -> Result<Zeroizing<String>> {
        let _held = self.hold();
        let link = self.read().find(Kind::Link, code, self.clock.now())?.issue.clone();
        if self.contained.read().unwrap_or_else(PoisonError::into_inner).is_frozen(&link.subject) {
            return Err(Unauthenticated::Frozen.into());
        }
        let life_ms = self.rules().sessions().life_ms_of(Kind::Session);
        let (session, cookie) =
            self.new_issue(Kind::Session, link.role, link.subject.clone(), life_ms, &link.subject)?;
        let session = Issue { device: Some(device), ..session };
        let id = session.id;
        self.keep(&Event::LinkUsed { link: link.id, session })?;
        if let Some(witness) = self.witness.get() {
            witness.shown(&link.subject, code, id);
        }
        Ok(cookie)
    }

    /// Signs out. A session that is over already stays over.
    pub fn close_session(&self, cookie: &str) -> Result<()> {
        let _held = self.hold();
        let at = self.clock.now();
        let Ok((id, by)) = self.read().find(Kind::Session, cookie, at).map(|c| (c.issue.id, c.issue.subject.clone()))
        else {
            return Ok(());
        };
        self.keep(&Event::Ended { id, at, by })
    }

    // ---- Containment. Closing needs a permit for `Contain`, opening one for `LiftContainment`, and officers.

    /// Closes something. In force before it is kept: containment doesn't wait for a disk. Every permit ends at once: what is asked for next is
    /// decided anew.
    pub fn contain(&self, permit: &Permit, measure: Measure, reason: &str) -> Result<Containment> {
        let _held = self.hold();
        self.check_does(permit, Act::Contain)?;
        let mut contained = self.contained.write().unwrap_or_else(PoisonError::into_inner);
        contained.check_new(&measure, permit.subject(), reason)?;
        let (id, at) = (Id16(self.entropy.id()), self.clock.now());
        let (by, reason) = (permit.subject().to_owned(), reason.to_owned());
        let one = Containment { id, measure, at, by: by.clone(), reason };
        contained.take(&one);
        drop(contained);
        let epoch = self.epoch.fetch_add(1, Ordering::SeqCst).saturating_add(1);
        tracing::warn!(measure = %one.measure, epoch, operation = %permit.operation(), "closed");
        let mut unkept = self.unkept.lock().unwrap_or_else(PoisonError::into_inner);
        for event in [Event::Contained(one.clone()), Event::Lockdown { epoch, at, by }] {
            let _ = self.is_new(&event);
            unkept.push_back(event);
        }
        drop(unkept);
        self.keep_unkept().map_err(GuardError::ContainmentNotKept)?;
        Ok(one)
    }

    /// What is closed, the longest first, and which officers have signed that it opens.
    pub fn contained(&self) -> Vec<(Containment, Vec<SignedLift>)> {
        self.contained.read().unwrap_or_else(PoisonError::into_inner).all()
    }

    /// What an officer signs who opens it again.
    pub fn lift_statement(&self, id: Id16, officer: &str) -> Result<LiftStatement> {
        let contained = self.contained.read().unwrap_or_else(PoisonError::into_inner);
        let (containment, measure) = (id, contained.get(id)?.measure.clone());
        let centre = self.policies.read().unwrap_or_else(PoisonError::into_inner).centre().to_owned();
        Ok(LiftStatement { centre, containment, measure, officer: officer.to_owned(), at: self.clock.now() })
    }

    /// Takes an officer's signature; gives whether it is open again.
    pub fn lift(&self, permit: &Permit, lift: SignedLift) -> Result<bool> {
        let _held = self.hold();
        self.check_does(permit, Act::LiftContainment)?;
        self.check_lift(&lift)?;
        let id = lift.statement().containment;
        self.keep(&Event::LiftSigned(lift))?;
        Ok(self.contained.read().unwrap_or_else(PoisonError::into_inner).get(id).is_err())
    }

    /// Where no policy is in force there are no officers: whoever sits at the terminal opens again.
    pub fn lift_unsigned(&self, permit: &Permit, id: Id16) -> Result<()> {
        let _held = self.hold();
        self.check_does(permit, Act::LiftContainment)?;
        self.contained.read().unwrap_or_else(PoisonError::into_inner).get(id)?;
        if self.has_officers() {
            return Err(ContainError::OfficersSign.into());
        }
        self.keep(&Event::Lifted { id, at: self.clock.now(), by: permit.subject().to_owned() })
    }

    /// The policy in force, where its officers signed one.
    fn bundle(&self) -> Option<Arc<Bundle>> {
        let policies = self.policies.read().unwrap_or_else(PoisonError::into_inner);
        policies.in_force().map(|proposal| Arc::clone(&proposal.bundle))
    }

    fn has_officers(&self) -> bool {
        self.bundle().is_some()
    }

    /// Whether somebody does nothing any more, in whatever role.
    pub fn is_frozen(&self, caller: &Caller) -> bool {
        self.contained.read().unwrap_or_else(PoisonError::into_inner).is_frozen(&caller.subject)
    }

    /// Whether somebody would be allowed this, to show her what she could do: nothing is on record of it, and nothing follows from it.
    pub fn would_allow(&self, caller: &Caller, question: Question) -> bool {
        let contained = self.contained.read().unwrap_or_else(PoisonError::into_inner);
        contained.forbids(&caller.subject, &question).is_none() && self.rules().policy().allows(question)
    }

    /// Events that closed something and could not be kept: a restart would forget them.
    pub fn unkept(&self) -> usize {
        self.unkept.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// In force now, and kept as soon as it can be. Needs the lock that [`Self::hold`] gives.
    fn take_effect(&self, event: Event) {
        self.apply(&event);
        self.keep_when_possible(event);
    }

    /// Keeps what has taken effect already, now or with whatever is kept next. Needs the lock that [`Self::hold`] gives.
    fn keep_when_possible(&self, event: Event) {
        let _ = self.is_new(&event);
        let mut unkept = self.unkept.lock().unwrap_or_else(PoisonError::into_inner);
        if unkept.len() < UNKEPT_MAX {
            unkept.push_back(event);
        }
        drop(unkept);
        if let Err(fault) = self.keep_unkept() {
            tracing::error!(code = fault.code, "what has taken effect couldn't be kept so far");
        }
    }

    /// Tries again to keep what is in force and couldn't be kept.
    fn keep_unkept(&self) -> std::result::Result<(), Fault> {
        let mut unkept = self.unkept.lock().unwrap_or_else(PoisonError::into_inner);
        while let Some(event) = unkept.front() {
            self.events.keep(event)?;
            unkept.pop_front();
        }
        Ok(())
    }

    fn check_lift(&self, lift: &SignedLift) -> std::result::Result<(), ContainError> {
        let (bundle, policies) = (self.bundle(), self.policies.read().unwrap_or_else(PoisonError::into_inner));
        let contained = self.contained.read().unwrap_or_else(PoisonError::into_inner);
        contained.check_lift(policies.centre(), bundle.as_deref(), lift)
    }

    /// One that isn't signed as it must be lifts nothing.
    fn apply_containment(&self, event: &Event) {
        let is_sound = match event {
            Event::LiftSigned(lift) => self.check_lift(lift).map_err(|error| error.to_string()),
            Event::Lifted { .. } if self.has_officers() => Err(ContainError::OfficersSign.to_string()),
            _ => Ok(()),
        };
        if let Err(error) = is_sound {
            tracing::error!(error, "an event that would open something is refused");
            return;
        }
        let policy = self.bundle();
        let mut contained = self.contained.write().unwrap_or_else(PoisonError::into_inner);
        match event {
            Event::Contained(one) => contained.take(one),
            Event::LiftSigned(lift) => drop(contained.lift(policy.as_deref(), lift)),
            Event::Lifted { id, .. } => contained.end(*id),
            _ => {}
        }
    }

    // ---- The policy. Changing it needs a permit for `ChangePolicy`, and the officers.

    /// What is in force, what is proposed, and what was refused.
    pub fn policy(&self) -> PolicyStanding {
        let (rules, policies) = (self.rules(), self.policies.read().unwrap_or_else(PoisonError::into_inner));
        let open = policies.open().map(|(proposal, wants)| (proposal.clone(), wants)).collect();
        let refused = policies.refused().to_vec();
        PolicyStanding { digest: rules.digest(), rules, in_force: policies.in_force().cloned(), open, refused }
    }

    /// What an officer is about to sign: that she proposes this policy, or approves it.
    pub fn policy_statement(&self, says: Says, policy: Digest, officer: &str) -> PolicyStatement {
        let policies = self.policies.read().unwrap_or_else(PoisonError::into_inner);
        policies.statement(says, policy, officer, self.clock.now())
    }

    /// Keeps a policy that an officer proposes; it waits for the others.
    pub fn propose_policy(&self, permit: &Permit, text: &str, proposed: SignedPolicy) -> Result<Proposal> {
        let _held = self.hold();
        self.check_does(permit, Act::ChangePolicy)?;
        let proposal = self.policies.read().unwrap_or_else(PoisonError::into_inner).proposal(text, &proposed)?;
        self.keep(&Event::PolicyProposed { text: text.to_owned(), proposed })?;
        Ok(proposal)
    }

    /// Keeps an officer's approval; gives whether the policy is in force now.
    pub fn approve_policy(&self, permit: &Permit, approved: SignedPolicy) -> Result<bool> {
        let _held = self.hold();
        self.check_does(permit, Act::ChangePolicy)?;
        self.policies.read().unwrap_or_else(PoisonError::into_inner).approval(&approved)?;
        let policy = approved.statement().policy;
        self.keep(&Event::PolicyApproved { approved })?;
        Ok(self.rules().digest() == policy)
    }

    fn rules(&self) -> Arc<Rules> {
        Arc::clone(&self.rules.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn check_manages(&self, permit: &Permit) -> Result<()> {
        self.check_does(permit, Act::ManageAccess)
    }

    fn check_does(&self, permit: &Permit, need: Act) -> Result<()> {
        if permit.act() != need {
            return Err(PermitError::WrongAct { have: permit.act(), need }.into());
        }
        Ok(self.check(permit)?)
    }

    fn is_new(&self, event: &Event) -> bool {
        let digest = || Digest(Sha256::digest(event.to_bytes()).into());
        !event.counts_once() || self.taken.lock().unwrap_or_else(PoisonError::into_inner).insert(digest())
    }

    /// Keeps an event, then lets it take effect. Needs the lock that [`Self::hold`] gives.
    fn keep(&self, event: &Event) -> Result<()> {
        self.keep_unkept().map_err(GuardError::NotKept)?;
        self.events.keep(event).map_err(GuardError::NotKept)?;
        self.apply(event);
        Ok(())
    }

    fn apply(&self, event: &Event) {
        if !self.is_new(event) {
            return;
        }
        if let Event::Lockdown { epoch, .. } = event {
            self.epoch.fetch_max(*epoch, Ordering::SeqCst);
        }
        if let (Event::Ended { id, .. }, Some(witness)) = (event, self.witness.get()) {
            witness.ended(*id);
        }
        self.apply_containment(event);
        self.rang.lock().unwrap_or_else(PoisonError::into_inner).apply(event);
        self.emergencies.write().unwrap_or_else(PoisonError::into_inner).apply(event, self.clock.now());
        match event {
            Event::ShiftClosed(shift) => self.watch().replay(shift),
            Event::HoneyPlanted { patients, .. } => self.watch().plant(patients.iter().copied()),
            _ => {}
        }
        let mut policies = self.policies.write().unwrap_or_else(PoisonError::into_inner);
        if policies.take(event)
            && let Some(proposal) = policies.in_force()
        {
            tracing::warn!(version = proposal.version(), digest = %proposal.bundle.digest(), "another policy is in force");
            let policy = proposal.bundle.policy().map_or_else(|| Arc::clone(self.rules().policy()), Arc::clone);
            if let Some(error) = proposal.bundle.fault() {
                tracing::error!(%error, "its rules don't hold by this program: those before it go on");
            }
            let rules = Arc::new(Rules::Signed(Arc::clone(&proposal.bundle), policy));
            self.credentials.write().unwrap_or_else(PoisonError::into_inner).live_by(rules.sessions());
            *self.rules.write().unwrap_or_else(PoisonError::into_inner) = rules;
        }
        drop(policies);
        self.passkeys.write().unwrap_or_else(PoisonError::into_inner).apply(event);
        self.credentials.write().unwrap_or_else(PoisonError::into_inner).apply(event, self.clock.now());
    }

    fn hold(&self) -> MutexGuard<'_, ()> {
        self.change.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn read(&self) -> RwLockReadGuard<'_, Credentials> {
        self.credentials.read().unwrap_or_else(PoisonError::into_inner)
    }
}

//! What a centre's officers sign, whole: who they are, how many of them a change takes, how long people stay signed in, and who may
//! do what. One TOML text that a person reads before she signs it (`docs/formats/policy.md`).

use std::fmt;
use std::sync::Arc;

use kit::{Blame, Digest, Explain};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::policy::{Policy, PolicyError, Question};
use crate::{
    Act, Alarms, Budgets, Kind, PublicKey, Purpose, Relation, Role, Sensitivity, SignatureError, Target, check_name,
    containment, look_alike,
};

/// Bytes of a bundle: it stands in one entry of the ledger.
pub const BUNDLE_BYTES_MAX: usize = 48 * 1024;
/// A board.
const OFFICERS_MAX: usize = 32;
/// One person alone changes nothing.
const QUORUM_MIN: u8 = 2;

pub(crate) const MINUTE_MS: i64 = 60_000;
pub(crate) const HOUR_MS: i64 = 60 * MINUTE_MS;
pub(crate) const DAY_MS: i64 = 24 * HOUR_MS;

/// A text that is no policy.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BundleError {
    #[error("the policy is {found} bytes, maximum is {BUNDLE_BYTES_MAX}")]
    TooLong { found: usize },
    #[error("the policy is no TOML of this form: {0}")]
    Malformed(String),
    #[error("{what} is {found}, it must be {minimum} to {maximum}")]
    OutOfBounds { what: &'static str, found: u64, minimum: u64, maximum: u64 },
    #[error("officer {number}: {error}")]
    Officer { number: usize, error: SignatureError },
    #[error("officers {one} and {other} look like one person, or have one key")]
    OnePersonTwice { one: usize, other: usize },
    #[error(transparent)]
    Rules(#[from] PolicyError),
    #[error("by these rules nobody could go on: {role} must be allowed to {act}, for {purpose}")]
    LocksOut { role: Role, act: Act, purpose: Purpose },
}

impl Explain for BundleError {
    fn blame(&self) -> Blame {
        Blame::Peer
    }

    fn code(&self) -> &'static str {
        match self {
            Self::TooLong { .. } => "guard.policy.too-long",
            Self::Malformed(_) => "guard.policy.malformed",
            Self::OutOfBounds { .. } => "guard.policy.out-of-bounds",
            Self::Officer { .. } => "guard.policy.officer",
            Self::OnePersonTwice { .. } => "guard.policy.one-person-twice",
            Self::Rules(e) => e.code(),
            Self::LocksOut { .. } => "guard.policy.locks-out",
        }
    }

    fn guidance(&self) -> Option<&'static str> {
        match self {
            Self::Rules(e) => e.guidance(),
            Self::LocksOut { .. } => Some("docs/policy.md lists what every policy has to allow"),
            _ => Some("begin with what `holdfast policy form` prints"),
        }
    }
}

/// Who answers for the policy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Officer {
    pub name: String,
    /// What she is at the centre: `medical director`.
    pub duty: String,
    #[serde(with = "in_base64")]
    pub key: PublicKey,
}

mod in_base64 {
    use serde::{Deserialize as _, Deserializer, Serializer, de::Error as _};

    use crate::PublicKey;

    pub(super) fn serialize<S: Serializer>(key: &PublicKey, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(key)
    }

    pub(super) fn deserialize<'d, D: Deserializer<'d>>(from: D) -> Result<PublicKey, D::Error> {
        String::deserialize(from)?.parse().map_err(D::Error::custom)
    }
}

/// How long people and machines are let in for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Sessions {
    /// A browser that nobody uses.
    pub idle_minutes: u32,
    pub hours: u32,
    /// A sign-in code that nobody uses.
    pub code_minutes: u32,
    pub token_days: u32,
    /// How long it counts that somebody has shown who she is, for what wants her there.
    pub presence_minutes: u32,
}

impl Default for Sessions {
    /// A browser left open in a treatment room; one shift; a code is used beside the person who makes it; a year and a month, for what
    /// is renewed each year.
    fn default() -> Self {
        Self { idle_minutes: 15, hours: 12, code_minutes: 15, token_days: 400, presence_minutes: 5 }
    }
}

impl Sessions {
    fn check(&self) -> Result<(), BundleError> {
        within("sessions.idle_minutes", self.idle_minutes, 60)?;
        within("sessions.hours", self.hours, 24)?;
        within("sessions.code_minutes", self.code_minutes, 60)?;
        within("sessions.token_days", self.token_days, 400)?;
        within("sessions.presence_minutes", self.presence_minutes, 60)
    }

    pub(crate) fn presence_ms(&self) -> i64 {
        i64::from(self.presence_minutes) * MINUTE_MS
    }

    pub(crate) fn idle_ms(&self) -> i64 {
        i64::from(self.idle_minutes) * MINUTE_MS
    }

    pub(crate) fn life_ms_of(&self, kind: Kind) -> i64 {
        match kind {
            Kind::Token => i64::from(self.token_days) * DAY_MS,
            Kind::Link => i64::from(self.code_minutes) * MINUTE_MS,
            Kind::Session => i64::from(self.hours) * HOUR_MS,
        }
    }
}

pub(crate) fn within(what: &'static str, found: u32, maximum: u64) -> Result<(), BundleError> {
    let found = u64::from(found);
    let fits = (1..=maximum).contains(&found);
    fits.then_some(()).ok_or(BundleError::OutOfBounds { what, found, minimum: 1, maximum })
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Text {
    quorum: u8,
    officers: Vec<Officer>,
    #[serde(default)]
    sessions: Sessions,
    #[serde(default)]
    budgets: Budgets,
    #[serde(default)]
    alarms: Alarms,
    rules: String,
}

/// A policy, whole; it holds together, and proves nothing of who wants it.
pub struct Bundle {
    text: String,
    digest: Digest,
    quorum: u8,
    officers: Vec<Officer>,
    sessions: Sessions,
    budgets: Budgets,
    alarms: Alarms,
    /// Or why its rules don't hold by this program.
    policy: Result<Arc<Policy>, BundleError>,
}

impl fmt::Debug for Bundle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Bundle({})", self.digest)
    }
}

/// What no centre's rules may take away, where the program's own allow it, or nobody could go on: to treat, to make packs, to sign people in,
/// to close doors and to open them, to change the policy.
fn indispensable(built_in: &Policy) -> Vec<Question> {
    let needs = |Question { role, act, .. }: &Question| {
        let treats = matches!(act, Act::EnterRecord | Act::ReadTreatmentList | Act::RestorePatient);
        let closes = *act == Act::Contain && matches!(role, Role::Console | Role::SecurityOfficer);
        let runs = matches!(act, Act::ChangePolicy | Act::LiftContainment | Act::ManageAccess | Act::VerifyVault);
        treats || closes || (runs && *role == Role::Console) || containment::is_treatment(*role, *act)
    };
    Question::all().filter(needs).filter(|question| built_in.allows(*question)).collect()
}

impl Bundle {
    pub fn parse(text: &str) -> Result<Self, BundleError> {
        let bundle = Self::read(text)?;
        match &bundle.policy {
            Ok(_) => Ok(bundle),
            Err(error) => Err(error.clone()),
        }
    }

    /// As [`Self::parse`], of one that was signed: its officers stay in office where its rules don't hold by this program, which another
    /// version of it had taken.
    pub(crate) fn read(text: &str) -> Result<Self, BundleError> {
        if text.len() > BUNDLE_BYTES_MAX {
            return Err(BundleError::TooLong { found: text.len() });
        }
        let Text { quorum, officers, sessions, budgets, alarms, rules } =
            toml::from_str(text).map_err(|e| BundleError::Malformed(e.to_string()))?;
        check_officers(quorum, &officers)?;
        sessions.check()?;
        budgets.check()?;
        alarms.check()?;
        let digest = Digest(Sha256::digest(text).into());
        let policy = rules_of(&rules, &alarms);
        Ok(Self { text: text.to_owned(), digest, quorum, officers, sessions, budgets, alarms, policy })
    }

    /// As it was signed.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// SHA-256 of the text: what `sha256sum` says of the file.
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// How many officers, beside the one who proposes it, a change takes.
    pub fn quorum(&self) -> u8 {
        self.quorum
    }

    pub fn officers(&self) -> &[Officer] {
        &self.officers
    }

    pub fn sessions(&self) -> Sessions {
        self.sessions
    }

    pub fn budgets(&self) -> Budgets {
        self.budgets
    }

    pub fn alarms(&self) -> &Alarms {
        &self.alarms
    }

    /// None where its rules don't hold by this program: [`Self::fault`].
    pub fn policy(&self) -> Option<&Arc<Policy>> {
        self.policy.as_ref().ok()
    }

    pub fn fault(&self) -> Option<&BundleError> {
        self.policy.as_ref().err()
    }

    /// The officer of this name and key.
    pub(crate) fn has(&self, name: &str, key: PublicKey) -> bool {
        self.officers.iter().any(|officer| officer.name == name && officer.key == key)
    }
}

fn rules_of(rules: &str, alarms: &Alarms) -> Result<Arc<Policy>, BundleError> {
    let policy = Policy::of_centre(rules)?;
    // An alarm that its owner may not take would go up and up.
    let handles = |role: &Role| Question {
        role: *role,
        act: Act::HandleAlarm,
        target: Target::Centre,
        sensitivity: Sensitivity::Administrative,
        purpose: Purpose::Operations,
        relation: Relation::Unexplained,
    };
    for question in indispensable(&*Policy::built_in()?).into_iter().chain(alarms.owners.iter().map(handles)) {
        if !policy.allows_all(question) {
            let Question { role, act, purpose, .. } = question;
            return Err(BundleError::LocksOut { role, act, purpose });
        }
    }
    Ok(Arc::new(policy))
}

fn check_officers(quorum: u8, officers: &[Officer]) -> Result<(), BundleError> {
    let all = officers.len();
    if !(usize::from(QUORUM_MIN) + 1..=OFFICERS_MAX).contains(&all) {
        let (minimum, maximum) = (u64::from(QUORUM_MIN) + 1, OFFICERS_MAX as u64);
        return Err(BundleError::OutOfBounds { what: "the number of officers", found: all as u64, minimum, maximum });
    }
    // The one who proposes approves nothing.
    if !(usize::from(QUORUM_MIN)..all).contains(&usize::from(quorum)) {
        let (minimum, maximum) = (u64::from(QUORUM_MIN), all.saturating_sub(1) as u64);
        return Err(BundleError::OutOfBounds { what: "quorum", found: quorum.into(), minimum, maximum });
    }
    for (number, officer) in (1..).zip(officers) {
        let names = check_name("officer", &officer.name).and_then(|()| check_name("officer's duty", &officer.duty));
        names.map_err(|error| BundleError::Officer { number, error })?;
    }
    for (one, officer) in (1..).zip(officers) {
        for (other, twin) in (one + 1..).zip(officers.iter().skip(one)) {
            if officer.key == twin.key || look_alike(&officer.name, &twin.name) {
                return Err(BundleError::OnePersonTwice { one, other });
            }
        }
    }
    Ok(())
}

/// What another policy changes, in words; the rules' differences beside it ([`Policy::differences`]).
pub fn changes(before: Option<&Bundle>, after: &Bundle) -> Vec<String> {
    let mut lines = Vec::new();
    let hers = |bundle: &Bundle| -> Vec<Officer> { bundle.officers.clone() };
    let (old, sessions) = before.map_or((Vec::new(), Sessions::default()), |bundle| (hers(bundle), bundle.sessions));
    for officer in after.officers.iter().filter(|officer| !old.contains(officer)) {
        lines.push(format!("{}, {}, is an officer: key {}", officer.name, officer.duty, officer.key));
    }
    for officer in old.iter().filter(|officer| !after.officers.contains(officer)) {
        lines.push(format!("{}, {}, is no officer any more: key {}", officer.name, officer.duty, officer.key));
    }
    let mut number = |what: &str, before: Option<u32>, after: u32| {
        if before != Some(after) {
            let was = before.map_or("nothing was agreed".to_owned(), |before| format!("it was {before}"));
            lines.push(format!("{what}: {after} ({was})"));
        }
    };
    let quorum = before.map(|bundle| bundle.quorum.into());
    number("officers who have to approve a change, beside the one who proposes it", quorum, after.quorum.into());
    let Sessions { idle_minutes, hours, code_minutes, token_days, presence_minutes } = after.sessions;
    number("minutes until an idle session ends", Some(sessions.idle_minutes), idle_minutes);
    number("hours until any session ends", Some(sessions.hours), hours);
    number("minutes until a sign-in code ends", Some(sessions.code_minutes), code_minutes);
    number("days until a token ends, at most", Some(sessions.token_days), token_days);
    number("minutes that a passkey counts as just shown", Some(sessions.presence_minutes), presence_minutes);
    let old = before.map_or(Budgets::default(), |bundle| bundle.budgets);
    let Budgets { person, unexplained, emergency, directory, machine, centre, change, machine_change } = after.budgets;
    for (hour, day, old, new) in [
        (
            "charts that one person opens within an hour",
            "charts that one person opens within a day",
            old.person,
            person,
        ),
        (
            "charts that one person opens within an hour and nothing explains",
            "charts that one person opens within a day and nothing explains",
            old.unexplained,
            unexplained,
        ),
        (
            "emergencies of one person within an hour",
            "emergencies of one person within a day",
            old.emergency,
            emergency,
        ),
        (
            "names that one person sees within an hour",
            "names that one person sees within a day",
            old.directory,
            directory,
        ),
        (
            "charts that one machine opens within an hour",
            "charts that one machine opens within a day",
            old.machine,
            machine,
        ),
        ("charts that all open within an hour", "charts that all open within a day", old.centre, centre),
        (
            "patients whose records one person changes within an hour",
            "patients whose records one person changes within a day",
            old.change,
            change,
        ),
        (
            "patients whose records one machine changes within an hour",
            "patients whose records one machine changes within a day",
            old.machine_change,
            machine_change,
        ),
    ] {
        number(hour, Some(old.hour), new.hour);
        number(day, Some(old.day), new.day);
    }
    let built_in = Alarms::default();
    let (old, new) = (before.map_or(&built_in, |bundle| &bundle.alarms), &after.alarms);
    number("minutes in which an alarm's owner has to take it", Some(old.minutes), new.minutes);
    number("hours in which an emergency has to be reviewed", Some(old.review_hours), new.review_hours);
    if old.owners != new.owners {
        let in_turn = |owners: &[Role]| owners.iter().map(|role| role.as_str()).collect::<Vec<_>>().join(", then ");
        lines.push(format!("who has to take an alarm: {} (it was {})", in_turn(&new.owners), in_turn(&old.owners)));
    }
    lines
}

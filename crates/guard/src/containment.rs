//! What is closed while something is wrong, and what goes on all the same.
//!
//! ```text
//!  contain ──► in force, in this process at once ──► kept
//!  lift: two officers of the policy sign ──► out of force
//! ```
//! A measure is taken by one person in one step, and taken back by two. In every one of them treatment goes on: devices and people ask the
//! gate, what a machine gave is taken in, and the wards get their packs.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use kit::{Blame, Explain, Id16, Timestamp};
use minicbor::{Decode, Encode};
use serde::Serialize;

use crate::policy::{Question, bundle::Bundle};
use crate::{Act, OfficerStatement, Purpose, Role, Signed, UnknownWord, caller};

/// The first line of what is signed.
const LIFT: &str = "holdfast containment lift v1";
/// Officers who have to sign before a measure is taken back.
pub const LIFTERS: usize = 2;
/// Persons and machines that are frozen at one time. Modes don't count: lockdown is always there.
pub const FROZEN_MAX: usize = 1_000;
/// Of them, by one person who isn't at the terminal: a stolen login doesn't fill the list.
const FROZEN_BY_ONE_MAX: usize = 20;
const TERMINAL: &str = "local:";
/// Why somebody closes something: a line on a page.
const REASON_CHARACTERS_MAX: usize = 200;

/// What is closed.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Encode, Decode)]
pub enum Measure {
    /// Somebody, or some machine, does nothing any more: a subject as the log has it.
    #[n(0)]
    Freeze(#[n(0)] String),
    /// Nothing is changed but what treatment needs.
    #[n(1)]
    ReadOnly,
    /// Nothing but treatment: no registrars, no other programs, no exports.
    #[n(2)]
    Island,
    /// The gate, what machines gave, the packs; and those who look into it.
    #[n(3)]
    Lockdown,
}

impl fmt::Display for Measure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Freeze(subject) => write!(f, "freeze {subject}"),
            Self::ReadOnly => f.write_str("read-only"),
            Self::Island => f.write_str("island"),
            Self::Lockdown => f.write_str("lockdown"),
        }
    }
}

impl FromStr for Measure {
    type Err = UnknownWord;

    fn from_str(text: &str) -> Result<Self, UnknownWord> {
        match text {
            "read-only" => Ok(Self::ReadOnly),
            "island" => Ok(Self::Island),
            "lockdown" => Ok(Self::Lockdown),
            other => match other.strip_prefix("freeze ").filter(|subject| caller::is_subject(subject)) {
                Some(subject) => Ok(Self::Freeze(subject.to_owned())),
                None => {
                    let words = "freeze SUBJECT, read-only, island, lockdown".to_owned();
                    Err(UnknownWord { what: "measure", words })
                }
            },
        }
    }
}

impl Serialize for Measure {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl Measure {
    /// Whether it lets somebody do this, as far as it goes: the policy decides beside it.
    pub(crate) fn lets(&self, subject: &str, question: &Question) -> bool {
        let Question { role, act, purpose, .. } = *question;
        match self {
            // The server's own terminal opens doors again: nobody freezes it, whatever stands in the log.
            Self::Freeze(frozen) => subject != frozen || subject.starts_with(TERMINAL),
            // What closes, opens again and shows who did what is never closed by a mode.
            _ if is_for_whoever_looks_into_it(act) || is_treatment(role, act) => true,
            Self::ReadOnly => !changes(act),
            Self::Island => {
                let cares = matches!(purpose, Purpose::Treatment | Purpose::Emergency);
                let is_outside = matches!(role, Role::Service | Role::Registrar | Role::RecordsOfficer);
                cares && !is_outside && act != Act::ExportRecord
            }
            Self::Lockdown => false,
        }
    }
}

/// Without it a beam would have to stop, or a fraction would be forgotten.
pub(crate) fn is_treatment(role: Role, act: Act) -> bool {
    match act {
        Act::CheckGate | Act::MakePacks => true,
        // What a machine gave counts against the next fraction, and a console fetches the plan that it is about to use.
        Act::StoreObject | Act::ReadObject => role == Role::Device,
        // The server's own terminal prints it for a recovery, and hands in what people have signed with keys of their own.
        Act::ReadTreatmentList | Act::ApprovePlan => role == Role::Console,
        _ => false,
    }
}

fn is_for_whoever_looks_into_it(act: Act) -> bool {
    matches!(
        act,
        Act::Contain
            | Act::LiftContainment
            | Act::ManageAccess
            | Act::ChangePolicy
            | Act::VerifyVault
            | Act::ReadAccessLog
            | Act::ReviewEmergency
            | Act::HandleAlarm
    )
}

fn changes(act: Act) -> bool {
    match act {
        Act::RegisterPatient
        | Act::WriteRecord
        | Act::DeleteRecord
        | Act::StoreObject
        | Act::ErasePatient
        | Act::RestorePatient => true,
        // Somebody answers for each of them by a signature, or types in what was given.
        Act::ApprovePlan | Act::EnterRecord => false,
        Act::ReadRecord
        | Act::SearchRecords
        | Act::ReadObject
        | Act::ReadTreatmentList
        | Act::CheckGate
        | Act::ReadAccessLog
        | Act::ManageAccess
        | Act::VerifyVault
        | Act::MakePacks
        | Act::ExportRecord
        | Act::ChangePolicy
        | Act::Contain
        | Act::LiftContainment
        | Act::BreakGlass
        | Act::ReviewEmergency
        | Act::HandleAlarm
        | Act::EnrolPerson => false,
    }
}

/// A measure that was taken.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, Serialize)]
pub struct Containment {
    #[n(0)]
    pub id: Id16,
    #[n(1)]
    pub measure: Measure,
    #[n(2)]
    pub at: Timestamp,
    #[n(3)]
    pub by: String,
    #[n(4)]
    pub reason: String,
}

/// What an officer signs who takes a measure back.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct LiftStatement {
    /// The log's name.
    #[n(0)]
    pub centre: String,
    /// Which measure: it lifts no other.
    #[n(1)]
    pub containment: Id16,
    #[n(2)]
    pub measure: Measure,
    #[n(3)]
    pub officer: String,
    #[n(4)]
    pub at: Timestamp,
}

impl OfficerStatement for LiftStatement {
    const WHAT: &'static str = "signature that lifts a containment";

    fn text(&self) -> String {
        let Self { centre, containment, measure, officer, at } = self;
        format!("{LIFT}\ncentre {centre}\ncontainment {containment}\nmeasure {measure}\nofficer {officer}\nat {at}\n")
    }

    fn officer(&self) -> &str {
        &self.officer
    }
}

pub type SignedLift = Signed<LiftStatement>;

/// Why a measure isn't taken, or not taken back.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ContainError {
    #[error("the reason is empty, longer than {REASON_CHARACTERS_MAX} characters, or has a line break")]
    BadReason,
    #[error("no login, machine or DICOM peer has such a name")]
    BadSubject,
    #[error("{measure} is in force already, {id}")]
    Already { measure: Measure, id: Id16 },
    #[error("{found} are frozen already, maximum is {maximum}{}", if *maximum < FROZEN_MAX { " by one person" } else { "" })]
    TooMany { found: usize, maximum: usize },
    #[error("nobody can freeze the server's own terminal: it is what opens doors again")]
    Terminal,
    #[error("no containment {id} is in force")]
    NotInForce { id: Id16 },
    #[error("the signature is for {found}, this is {centre}")]
    OtherCentre { found: String, centre: String },
    #[error("the signature is for another measure than the one of that number")]
    OtherMeasure,
    #[error("{officer} is no officer of the policy in force with that key")]
    NotAnOfficer { officer: String },
    #[error("the signature doesn't fit the statement and the officer's key")]
    BadSignature,
    #[error("{officer} has signed already: another officer has to")]
    Twice { officer: String },
    #[error("a policy is in force: its officers sign")]
    OfficersSign,
}

impl Explain for ContainError {
    fn blame(&self) -> Blame {
        match self {
            Self::NotInForce { .. } => Blame::Absent,
            Self::BadSignature | Self::OtherMeasure => Blame::Integrity,
            Self::NotAnOfficer { .. } | Self::Twice { .. } | Self::OfficersSign => Blame::Forbidden,
            _ => Blame::Peer,
        }
    }

    fn code(&self) -> &'static str {
        match self {
            Self::BadReason => "guard.contain.bad-reason",
            Self::BadSubject => "guard.contain.bad-subject",
            Self::Already { .. } => "guard.contain.already",
            Self::TooMany { .. } => "guard.contain.too-many",
            Self::Terminal => "guard.contain.terminal",
            Self::NotInForce { .. } => "guard.contain.not-in-force",
            Self::OtherCentre { .. } => "guard.contain.other-centre",
            Self::OtherMeasure => "guard.contain.other-measure",
            Self::NotAnOfficer { .. } => "guard.contain.not-an-officer",
            Self::BadSignature => "guard.contain.bad-signature",
            Self::Twice { .. } => "guard.contain.twice",
            Self::OfficersSign => "guard.contain.officers-sign",
        }
    }

    fn guidance(&self) -> Option<&'static str> {
        Some("`holdfast contain status` lists what is in force, and whose signatures it waits for")
    }
}

fn check_form(measure: &Measure, reason: &str) -> Result<(), ContainError> {
    let length = reason.chars().count();
    if !(1..=REASON_CHARACTERS_MAX).contains(&length) || reason.chars().any(crate::misleads) {
        return Err(ContainError::BadReason);
    }
    match measure {
        Measure::Freeze(subject) if subject.starts_with(TERMINAL) => Err(ContainError::Terminal),
        Measure::Freeze(subject) if !caller::is_subject(subject) => Err(ContainError::BadSubject),
        _ => Ok(()),
    }
}

/// What is in force.
#[derive(Default)]
pub(crate) struct Contained {
    by_id: BTreeMap<Id16, (Containment, Vec<SignedLift>)>,
}

impl Contained {
    pub(crate) fn all(&self) -> Vec<(Containment, Vec<SignedLift>)> {
        let mut all: Vec<_> = self.by_id.values().cloned().collect();
        all.sort_by_key(|(one, _)| (one.at, one.id));
        all
    }

    /// The first measure that doesn't let somebody do this.
    pub(crate) fn forbids(&self, subject: &str, question: &Question) -> Option<&Containment> {
        self.by_id.values().map(|(one, _)| one).find(|one| !one.measure.lets(subject, question))
    }

    /// Those that are frozen do nothing; they don't sign in, either.
    pub(crate) fn is_frozen(&self, subject: &str) -> bool {
        let is_hers = |one: &Containment| matches!(&one.measure, Measure::Freeze(frozen) if frozen == subject);
        !subject.starts_with(TERMINAL) && self.by_id.values().any(|(one, _)| is_hers(one))
    }

    pub(crate) fn check_new(&self, measure: &Measure, by: &str, reason: &str) -> Result<(), ContainError> {
        check_form(measure, reason)?;
        if let Some((one, _)) = self.by_id.values().find(|(one, _)| one.measure == *measure) {
            return Err(ContainError::Already { measure: measure.clone(), id: one.id });
        }
        let frozen = || self.by_id.values().map(|(one, _)| one).filter(|one| matches!(one.measure, Measure::Freeze(_)));
        let (all, by_one) = (frozen().count(), frozen().filter(|one| one.by == by).count());
        let counts = [(all, FROZEN_MAX, true), (by_one, FROZEN_BY_ONE_MAX, !by.starts_with(TERMINAL))];
        match counts.into_iter().find(|(found, maximum, holds)| *holds && found >= maximum) {
            Some((found, maximum, _)) if matches!(measure, Measure::Freeze(_)) => {
                Err(ContainError::TooMany { found, maximum })
            }
            _ => Ok(()),
        }
    }

    pub(crate) fn get(&self, id: Id16) -> Result<&Containment, ContainError> {
        self.by_id.get(&id).map(|(one, _)| one).ok_or(ContainError::NotInForce { id })
    }

    /// That the signature counts: of an officer of the policy in force, who hasn't signed yet.
    pub(crate) fn check_lift(
        &self,
        centre: &str,
        policy: Option<&Bundle>,
        lift: &SignedLift,
    ) -> Result<(), ContainError> {
        let LiftStatement { centre: signed_for, containment, measure, officer, .. } = lift.statement();
        if signed_for != centre {
            let (found, centre) = (signed_for.clone(), centre.to_owned());
            return Err(ContainError::OtherCentre { found, centre });
        }
        let Some((one, lifts)) = self.by_id.get(containment) else {
            return Err(ContainError::NotInForce { id: *containment });
        };
        if one.measure != *measure {
            return Err(ContainError::OtherMeasure);
        }
        if !policy.is_some_and(|policy| policy.has(officer, lift.key())) {
            return Err(ContainError::NotAnOfficer { officer: officer.clone() });
        }
        if !lift.fits() {
            return Err(ContainError::BadSignature);
        }
        if lifts.iter().any(|other| other.is_by_one_person(lift)) {
            return Err(ContainError::Twice { officer: officer.clone() });
        }
        Ok(())
    }

    /// One that is in no form that this program writes is somebody else's.
    pub(crate) fn take(&mut self, containment: &Containment) {
        if let Err(error) = check_form(&containment.measure, &containment.reason) {
            tracing::error!(%error, "an event that closes something is refused");
            return;
        }
        self.by_id.entry(containment.id).or_insert_with(|| (containment.clone(), Vec::new()));
    }

    /// One more signature; with enough of them the measure is over. Gives whether it is.
    pub(crate) fn lift(&mut self, policy: Option<&Bundle>, lift: &SignedLift) -> bool {
        let id = lift.statement().containment;
        let Some((_, lifts)) = self.by_id.get_mut(&id) else { return false };
        lifts.push(lift.clone());
        // Of those who are still in office.
        lifts.retain(|one| policy.is_some_and(|policy| policy.has(one.statement().officer(), one.key())));
        let is_over = lifts.len() >= LIFTERS;
        if is_over {
            self.by_id.remove(&id);
        }
        is_over
    }

    /// Where no policy is in force, and so no officer: whoever sits at the terminal.
    pub(crate) fn end(&mut self, id: Id16) {
        self.by_id.remove(&id);
    }
}

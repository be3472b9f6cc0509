//! Breaking the glass: one patient, some hours, a reason in her own words; somebody else looks at it afterwards.
//!
//! It opens nothing that the policy doesn't let her open: it is a reason, where the record knows of none. It neither exports nor deletes
//! (`policy/never.cedar`).

use std::collections::BTreeMap;
use std::sync::PoisonError;

use kit::{Blame, Explain, Id16, PatientId, Timestamp};
use minicbor::{Decode, Encode};
use serde::Serialize;

use crate::alarm::check_words;
use crate::normal::Signalled;
use crate::policy::bundle::HOUR_MS;
use crate::{Act, Event, Guard, GuardError, OverBudget, Permit, Role, Signal, Target};

pub const EMERGENCY_HOURS_MAX: u32 = 4;
/// One that says less says nothing.
const REASON_CHARACTERS_MIN: usize = 10;
/// Reviewed ones are shown for so long.
const SHOWN_MS: i64 = 30 * 24 * HOUR_MS;

/// A glass that was broken.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Emergency {
    #[n(0)]
    pub id: Id16,
    #[n(1)]
    pub subject: String,
    #[n(2)]
    pub role: Role,
    #[n(3)]
    pub patient: PatientId,
    #[n(4)]
    pub at: Timestamp,
    #[n(5)]
    pub until: Timestamp,
    #[n(6)]
    pub reason: String,
}

/// What somebody else says of it.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, Serialize)]
pub struct Review {
    #[n(0)]
    pub at: Timestamp,
    #[n(1)]
    pub by: String,
    #[n(2)]
    pub justified: bool,
    #[n(3)]
    pub words: String,
}

/// How it stands with one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EmergencyStanding {
    pub emergency: Emergency,
    pub review: Option<Review>,
    /// Until when somebody has to look at it.
    pub due: Timestamp,
    pub is_overdue: bool,
}

/// Why the glass isn't broken, or isn't reviewed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EmergencyError {
    #[error("an emergency lasts 1 to {EMERGENCY_HOURS_MAX} hours, not {found}")]
    BadHours { found: u32 },
    #[error("say why in a line of {REASON_CHARACTERS_MIN} to 200 characters")]
    BadReason,
    #[error("it is of one patient: the permit is not")]
    NoPatient,
    #[error("{0}")]
    OverBudget(OverBudget),
    #[error("no emergency {id} is here")]
    NotHere { id: Id16 },
    #[error("it was reviewed by {by}")]
    Reviewed { by: String },
    #[error("whoever broke the glass doesn't say whether she was right")]
    OnesOwn,
}

impl Explain for EmergencyError {
    fn blame(&self) -> Blame {
        match self {
            Self::BadHours { .. } | Self::BadReason => Blame::Peer,
            Self::NoPatient => Blame::Ours,
            Self::OverBudget(_) | Self::Reviewed { .. } | Self::OnesOwn => Blame::Forbidden,
            Self::NotHere { .. } => Blame::Absent,
        }
    }

    fn code(&self) -> &'static str {
        match self {
            Self::BadHours { .. } => "guard.emergency.bad-hours",
            Self::BadReason => "guard.emergency.bad-reason",
            Self::NoPatient => "guard.emergency.no-patient",
            Self::OverBudget(_) => "guard.over-budget",
            Self::NotHere { .. } => "guard.emergency.not-here",
            Self::Reviewed { .. } => "guard.emergency.reviewed",
            Self::OnesOwn => "guard.emergency.ones-own",
        }
    }

    fn guidance(&self) -> Option<&'static str> {
        match self {
            Self::OverBudget(_) => Some("call whoever is on duty for security: the officers change the budget"),
            _ => Some("docs/policy.md, \"Breaking the glass\""),
        }
    }
}

/// Those of the last weeks, and all that nobody has reviewed.
#[derive(Default)]
pub(crate) struct Emergencies {
    by_id: BTreeMap<Id16, (Emergency, Option<Review>)>,
}

impl Emergencies {
    pub(crate) fn apply(&mut self, event: &Event, now: Timestamp) {
        match event {
            Event::GlassBroken(emergency) => {
                let is_over = |at: Timestamp| at.plus_ms(SHOWN_MS) < now;
                self.by_id.retain(|_, (_, review)| review.as_ref().is_none_or(|review| !is_over(review.at)));
                self.by_id.entry(emergency.id).or_insert_with(|| (emergency.clone(), None));
            }
            Event::GlassReviewed { id, review } => {
                if let Some((_, reviewed)) = self.by_id.get_mut(id) {
                    reviewed.get_or_insert_with(|| review.clone());
                }
            }
            _ => {}
        }
    }

    fn of(&self, subject: &str) -> impl Iterator<Item = &Emergency> {
        self.by_id.values().map(|(emergency, _)| emergency).filter(move |one| one.subject == subject)
    }

    fn since(&self, subject: &str, from: Timestamp) -> u32 {
        self.of(subject).filter(|one| one.at > from).count() as u32
    }
}

impl Guard {
    /// From now on, for some hours, this patient's chart is open to her: with a reason that stands in the log.
    pub fn break_glass(&self, permit: &Permit, reason: &str, hours: u32) -> Result<Emergency, GuardError> {
        let held = self.hold();
        self.check_does(permit, Act::BreakGlass)?;
        let Target::Patient(patient) = permit.target() else { return Err(EmergencyError::NoPatient.into()) };
        if !(1..=EMERGENCY_HOURS_MAX).contains(&hours) {
            return Err(EmergencyError::BadHours { found: hours }.into());
        }
        check_words(reason, REASON_CHARACTERS_MIN).ok_or(EmergencyError::BadReason)?;
        let (at, subject, budget) = (self.clock.now(), permit.subject().to_owned(), self.rules().budgets().emergency);
        let emergencies = self.emergencies.read().unwrap_or_else(PoisonError::into_inner);
        for (ms, limit, window) in [(HOUR_MS, budget.hour, "an hour"), (24 * HOUR_MS, budget.day, "a day")] {
            if emergencies.since(&subject, at.plus_ms(-ms)) >= limit {
                let over =
                    OverBudget { whose: "the person's", what: "emergencies", limit, window, wants_passkey: false };
                drop((emergencies, held));
                self.ring(Signalled::of(Signal::OverBudget, subject, over.to_string()));
                return Err(EmergencyError::OverBudget(over).into());
            }
        }
        drop(emergencies);
        let (id, role, until) = (Id16(self.entropy.id()), permit.role(), at.plus_ms(i64::from(hours) * HOUR_MS));
        let emergency = Emergency { id, subject, role, patient, at, until, reason: reason.trim().to_owned() };
        // Open before it is kept: an emergency waits for no disk, and the decision that let her is on record.
        self.take_effect(Event::GlassBroken(emergency.clone()));
        Ok(emergency)
    }

    /// Whether she broke the glass for this patient, and it is not over.
    pub fn is_emergency(&self, subject: &str, patient: PatientId) -> bool {
        let now = self.clock.now();
        let emergencies = self.emergencies.read().unwrap_or_else(PoisonError::into_inner);
        let is_open = |one: &Emergency| one.patient == patient && one.at <= now && now < one.until;
        emergencies.of(subject).any(is_open)
    }

    /// What waits for a review, the oldest first; then what was reviewed within the last weeks, the newest first.
    pub fn emergencies(&self) -> Vec<EmergencyStanding> {
        let (now, hours) = (self.clock.now(), self.rules().alarms().review_hours);
        let emergencies = self.emergencies.read().unwrap_or_else(PoisonError::into_inner);
        let standing = |(emergency, review): &(Emergency, Option<Review>)| {
            let due = emergency.at.plus_ms(i64::from(hours) * HOUR_MS);
            let (emergency, review) = (emergency.clone(), review.clone());
            EmergencyStanding { is_overdue: review.is_none() && now > due, emergency, review, due }
        };
        let mut all: Vec<EmergencyStanding> = emergencies.by_id.values().map(standing).collect();
        all.sort_by_key(|one| match &one.review {
            None => (false, one.emergency.at.0, one.emergency.id),
            Some(review) => (true, -review.at.0, one.emergency.id),
        });
        all
    }

    /// Somebody else says whether it was one.
    pub fn review_emergency(&self, permit: &Permit, id: Id16, justified: bool, words: &str) -> Result<(), GuardError> {
        let _held = self.hold();
        self.check_does(permit, Act::ReviewEmergency)?;
        check_words(words, 1).ok_or(EmergencyError::BadReason)?;
        let emergencies = self.emergencies.read().unwrap_or_else(PoisonError::into_inner);
        let (emergency, review) = emergencies.by_id.get(&id).ok_or(EmergencyError::NotHere { id })?;
        if let Some(Review { by, .. }) = review {
            return Err(EmergencyError::Reviewed { by: by.clone() }.into());
        }
        if emergency.subject == permit.subject() {
            return Err(EmergencyError::OnesOwn.into());
        }
        drop(emergencies);
        let (at, by, words) = (self.clock.now(), permit.subject().to_owned(), words.trim().to_owned());
        self.keep(&Event::GlassReviewed { id, review: Review { at, by, justified, words } })
    }
}

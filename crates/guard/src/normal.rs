//! Is this normal: what is counted of each opening, and what stands out of it.
//!
//! ```text
//!  one opening ──► honey? ──► budgets ──► why? ──► counted of this shift ──► shift over ──► slow test
//!                    │           │                                                            │
//!                    └───────────┴────────────────────► Signalled ◄───────────────────────────┘
//! ```
//! It knows no patient but by opaque id, keeps no clock, and is the same in a gateway and in `holdfast drill honest-year`.

use std::collections::{HashSet, VecDeque};

use kit::{PatientId, Timestamp};

use crate::budget::Opens;
use crate::policy::bundle::DAY_MS;
use crate::slow::Slow;
use crate::{
    Act, Budgets, Event, Guard, GuardError, OverBudget, Permit, Relation, Role, Sensitivity, ShiftClosed, Signal, Spent,
};

/// Of whom it rings where all together used up what they have.
pub(crate) const EVERYBODY: &str = "everybody together";
/// Days over which shares are told.
const SHARE_DAYS: usize = 30;
/// Made-up patients: 2,000 among 2 million are hit within 693 random openings with even odds.
pub const HONEY_MAX: usize = 20_000;

/// One patient's chart, or her entry of the directory, is about to be opened.
#[derive(Clone, Copy, Debug)]
pub struct Opening<'a> {
    pub subject: &'a str,
    pub role: Role,
    pub patient: PatientId,
    pub sensitivity: Sensitivity,
    pub relation: Relation,
    pub at: Timestamp,
    /// When she last showed her passkey, by the clock of `at`; none where she comes by something that shows none.
    pub shown: Option<Timestamp>,
}

/// What stands out, and of whom.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signalled {
    pub signal: Signal,
    pub subject: String,
    pub words: String,
    /// Of everybody together: who came last.
    pub last: Option<String>,
}

impl Signalled {
    pub(crate) fn of(signal: Signal, subject: impl Into<String>, words: impl Into<String>) -> Self {
        Self { signal, subject: subject.into(), words: words.into(), last: None }
    }
}

/// What becomes of an opening.
#[derive(Debug)]
pub struct Watched {
    pub spent: Result<(), OverBudget>,
    pub signals: Vec<Signalled>,
    /// It was the first one of another shift: what the last one came to, to be kept, so that a restart forgets nothing of it.
    pub closed: Option<ShiftClosed>,
}

/// Of charts that were opened by people.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Shares {
    pub opened: u64,
    pub unexplained: u64,
    pub emergency: u64,
}

/// Who opens what.
#[derive(Clone, Default)]
pub struct Watch {
    opens: Opens,
    slow: Slow,
    honey: HashSet<PatientId>,
    /// By day, the oldest first.
    days: VecDeque<(i64, Shares)>,
}

impl Watch {
    pub fn open(&mut self, budgets: &Budgets, opening: Opening<'_>) -> Watched {
        let Opening { subject, role, patient, sensitivity, relation, at, .. } = opening;
        let mut signals = Vec::new();
        let is_chart = sensitivity == Sensitivity::Clinical;
        if is_chart && self.honey.contains(&patient) {
            signals.push(Signalled::of(Signal::Honey, subject, "opened the chart of a patient who doesn't exist"));
        }
        let spent = self.opens.spend(budgets, &opening);
        if let Some(over) = spent.as_ref().err().filter(|over| !over.wants_passkey) {
            signals.push(match over.is_of_all() {
                true => Signalled {
                    last: Some(subject.to_owned()),
                    ..Signalled::of(Signal::OverBudget, EVERYBODY, over.to_string())
                },
                false => Signalled::of(Signal::OverBudget, subject, over.to_string()),
            });
        }
        let mut closed = None;
        if let (true, false, Ok(is_new)) = (is_chart, role.is_machine(), &spent) {
            let (told, of_last) = self.slow.opened((subject, role), patient, relation.explains(), at);
            closed = of_last;
            signals.extend(told);
            if *is_new {
                self.count(relation, at);
            }
        }
        Watched { spent: spent.map(drop), signals, closed }
    }

    fn count(&mut self, relation: Relation, at: Timestamp) {
        let day = at.0.div_euclid(DAY_MS);
        if self.days.back().is_none_or(|(last, _)| *last < day) {
            self.days.push_back((day, Shares::default()));
        }
        while self.days.len() > SHARE_DAYS {
            self.days.pop_front();
        }
        if let Some((_, shares)) = self.days.back_mut() {
            shares.opened += 1;
            shares.unexplained += u64::from(relation == Relation::Unexplained);
            shares.emergency += u64::from(relation == Relation::BreakGlass);
        }
    }

    /// Of the last 30 days, as far as this process has seen them.
    pub fn shares(&self) -> Shares {
        let add = |all: Shares, (_, of): &(i64, Shares)| Shares {
            opened: all.opened + of.opened,
            unexplained: all.unexplained + of.unexplained,
            emergency: all.emergency + of.emergency,
        };
        self.days.iter().fold(Shares::default(), add)
    }

    /// Somebody has looked at an alarm about her, and closed it.
    pub fn looked_at(&mut self, subject: &str) {
        self.opens.release(subject);
    }

    /// Why she opened this chart, where she did within the hour.
    pub(crate) fn reason(&self, subject: &str, patient: PatientId, now: Timestamp) -> Option<Relation> {
        self.opens.reason(subject, patient, now)
    }

    pub(crate) fn near(&mut self, now: Timestamp) -> Vec<Spent> {
        self.opens.near(now)
    }

    /// Patients who don't exist; whoever opens the chart of one rings. Those beyond [`HONEY_MAX`] are left out.
    pub fn plant(&mut self, patients: impl IntoIterator<Item = PatientId>) {
        for patient in patients {
            if self.honey.len() < HONEY_MAX {
                self.honey.insert(patient);
            }
        }
    }

    pub fn is_honey(&self, patient: PatientId) -> bool {
        self.honey.contains(&patient)
    }

    pub fn honey(&self) -> usize {
        self.honey.len()
    }

    /// Takes in what a shift came to, as it was kept; nothing rings of it again.
    pub fn replay(&mut self, shift: &ShiftClosed) {
        self.slow.replay(shift);
    }
}

/// Patients in one event.
const PATIENTS_IN_EVENT: usize = 2_000;

impl Guard {
    /// These patients don't exist: whoever opens the chart of one rings.
    pub fn plant_honey(&self, permit: &Permit, patients: &[PatientId]) -> Result<(), GuardError> {
        let _held = self.hold();
        self.check_does(permit, Act::ManageAccess)?;
        for some in patients.chunks(PATIENTS_IN_EVENT) {
            let (patients, at, by) = (some.to_vec(), self.clock.now(), permit.subject().to_owned());
            self.keep(&Event::HoneyPlanted { patients, at, by })?;
        }
        Ok(())
    }

    /// How many there are.
    pub fn honey(&self) -> usize {
        self.watch().honey()
    }
}

//! How many patients somebody opens within an hour and a day: what bounds a theft by a login that is allowed to read.
//!
//! Distinct patients count, not records: a chart that was opened is free for the rest of the window. What a beam or a ward needs is never
//! counted. In memory: a restart begins anew, and the holders' own counts, where servers are machines, don't.

use std::collections::{HashMap, HashSet, VecDeque};
use std::fmt;

use kit::{PatientId, Timestamp};
use serde::{Deserialize, Serialize};

use crate::policy::bundle::{BundleError, HOUR_MS, within};
use crate::{Act, Role, Sensitivity};

const DAY_MS: i64 = 24 * HOUR_MS;
/// No person or machine opens more: a budget beyond is none.
const BUDGET_MAX: u64 = 1_000_000;
/// Of a budget, in percent, from which on somebody looks.
const NEAR: usize = 80;

/// Distinct patients within an hour and within a day.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Budget {
    pub hour: u32,
    pub day: u32,
}

/// What the policy allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Budgets {
    /// Charts that one person opens.
    pub person: Budget,
    /// Names, birth dates and numbers that one person sees.
    pub directory: Budget,
    /// Charts that one machine or program opens.
    pub machine: Budget,
    /// Charts that everybody together opens.
    pub centre: Budget,
}

impl Default for Budgets {
    /// A busy clinic's list within an hour; a registrar's day; a planning system that gets a morning's plans; a centre of some hundred people.
    fn default() -> Self {
        Self {
            person: Budget { hour: 60, day: 300 },
            directory: Budget { hour: 600, day: 3_000 },
            machine: Budget { hour: 600, day: 3_000 },
            centre: Budget { hour: 3_000, day: 20_000 },
        }
    }
}

impl Budgets {
    pub(crate) fn check(&self) -> Result<(), BundleError> {
        let Self { person, directory, machine, centre } = self;
        for (what_hour, what_day, budget) in [
            ("budgets.person.hour", "budgets.person.day", person),
            ("budgets.directory.hour", "budgets.directory.day", directory),
            ("budgets.machine.hour", "budgets.machine.day", machine),
            ("budgets.centre.hour", "budgets.centre.day", centre),
        ] {
            within(what_hour, budget.hour, BUDGET_MAX)?;
            within(what_day, budget.day, BUDGET_MAX)?;
        }
        Ok(())
    }
}

/// A budget that is used up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OverBudget {
    pub whose: &'static str,
    pub what: &'static str,
    pub limit: u32,
    pub window: &'static str,
}

impl fmt::Display for OverBudget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { whose, what, limit, window } = self;
        write!(f, "{whose} budget of {limit} {what} within {window} is used up")
    }
}

/// How far somebody's budget is used.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Spent {
    pub subject: String,
    pub charts_hour: usize,
    pub charts_day: usize,
    /// It is nearly used up, or was asked for beyond.
    pub is_near: bool,
    pub is_over: bool,
}

/// Distinct patients of a stretch of time.
#[derive(Default)]
struct Window {
    patients: HashSet<PatientId>,
    /// In the order in which they were counted.
    order: VecDeque<(Timestamp, PatientId)>,
}

impl Window {
    fn forget(&mut self, before: Timestamp) {
        while let Some((_, patient)) = self.order.pop_front_if(|(at, _)| *at <= before) {
            self.patients.remove(&patient);
        }
    }

    fn has_room(&self, patient: PatientId, limit: u32) -> bool {
        self.patients.contains(&patient) || self.patients.len() < limit as usize
    }

    fn take(&mut self, patient: PatientId, at: Timestamp) {
        if self.patients.insert(patient) {
            self.order.push_back((at, patient));
        }
    }
}

#[derive(Default)]
struct Counted {
    hour: Window,
    day: Window,
    /// Of the last one that was opened.
    budget: Option<Budget>,
    /// When more was asked for than there was.
    refused: Option<Timestamp>,
}

impl Counted {
    fn forget(&mut self, now: Timestamp) {
        self.hour.forget(now.plus_ms(-HOUR_MS));
        self.day.forget(now.plus_ms(-DAY_MS));
        self.refused = self.refused.filter(|at| *at > now.plus_ms(-DAY_MS));
    }

    fn check(
        &self,
        patient: PatientId,
        budget: Budget,
        whose: &'static str,
        what: &'static str,
    ) -> Result<(), OverBudget> {
        for (window, limit, name) in [(&self.hour, budget.hour, "an hour"), (&self.day, budget.day, "a day")] {
            if !window.has_room(patient, limit) {
                return Err(OverBudget { whose, what, limit, window: name });
            }
        }
        Ok(())
    }

    fn is_near(&self) -> bool {
        let near = |window: &Window, limit: u32| window.order.len() * 100 >= limit as usize * NEAR;
        self.budget.is_some_and(|budget| near(&self.hour, budget.hour) || near(&self.day, budget.day))
    }

    /// Within the hour, and the day.
    fn opened(&self) -> (usize, usize) {
        (self.hour.order.len(), self.day.order.len())
    }

    fn take(&mut self, patient: PatientId, at: Timestamp) {
        self.hour.take(patient, at);
        self.day.take(patient, at);
    }
}

/// Who has opened whom.
#[derive(Default)]
pub(crate) struct Opens {
    charts: HashMap<String, Counted>,
    directory: HashMap<String, Counted>,
    centre: Counted,
}

/// Whether opening under this act is counted: what hands nothing out, or what treatment waits for, isn't.
pub(crate) fn counts(act: Act) -> bool {
    match act {
        Act::ReadRecord | Act::SearchRecords | Act::ReadObject | Act::ExportRecord => true,
        Act::RegisterPatient
        | Act::WriteRecord
        | Act::DeleteRecord
        | Act::StoreObject
        | Act::ReadTreatmentList
        | Act::ApprovePlan
        | Act::CheckGate
        | Act::ReadAccessLog
        | Act::ManageAccess
        | Act::VerifyVault
        | Act::ErasePatient
        | Act::RestorePatient
        | Act::MakePacks
        | Act::EnterRecord
        | Act::ChangePolicy
        | Act::Contain
        | Act::LiftContainment => false,
    }
}

impl Opens {
    /// One patient's chart, or her entry of the directory, is about to be opened.
    pub(crate) fn spend(
        &mut self,
        budgets: &Budgets,
        (subject, role): (&str, Role),
        (patient, sensitivity): (PatientId, Sensitivity),
        now: Timestamp,
    ) -> Result<(), OverBudget> {
        let is_machine = matches!(role, Role::Device | Role::Service);
        let (of_each, budget, whose, what) = match sensitivity {
            Sensitivity::Administrative => (&mut self.directory, budgets.directory, "the", "names"),
            Sensitivity::Clinical if is_machine => (&mut self.charts, budgets.machine, "the machine's", "charts"),
            Sensitivity::Clinical => (&mut self.charts, budgets.person, "the person's", "charts"),
        };
        let hers = of_each.entry(subject.to_owned()).or_default();
        hers.forget(now);
        hers.budget = Some(budget);
        self.centre.forget(now);
        self.centre.budget = Some(budgets.centre);
        let of_all = match sensitivity {
            Sensitivity::Administrative => Ok(()),
            Sensitivity::Clinical => self.centre.check(patient, budgets.centre, "the centre's", "charts"),
        };
        if let Err(over) = hers.check(patient, budget, whose, what).and(of_all) {
            hers.refused = Some(now);
            return Err(over);
        }
        hers.take(patient, now);
        if sensitivity == Sensitivity::Clinical {
            self.centre.take(patient, now);
        }
        Ok(())
    }

    /// Whose budget is nearly used up, or was asked for beyond, within a day; those who opened most first.
    pub(crate) fn near(&mut self, now: Timestamp) -> Vec<Spent> {
        self.centre.forget(now);
        for each in [&mut self.charts, &mut self.directory] {
            each.retain(|_, counted| {
                counted.forget(now);
                !counted.day.order.is_empty() || counted.refused.is_some()
            });
        }
        let subjects: HashSet<&String> = self.charts.keys().chain(self.directory.keys()).collect();
        let spent = |subject: &String| {
            let (charts, directory) = (self.charts.get(subject), self.directory.get(subject));
            let is_over = [charts, directory].into_iter().flatten().any(|counted| counted.refused.is_some());
            let is_near = [charts, directory].into_iter().flatten().any(Counted::is_near);
            let (charts_hour, charts_day) = charts.map_or((0, 0), Counted::opened);
            Spent { subject: subject.clone(), charts_hour, charts_day, is_near, is_over }
        };
        let (charts_hour, charts_day) = self.centre.opened();
        let (is_near, subject) = (self.centre.is_near(), "everybody together".to_owned());
        let together = Spent { subject, charts_hour, charts_day, is_near, is_over: false };
        let all = subjects.into_iter().map(spent).chain([together]);
        let mut all: Vec<Spent> = all.filter(|one| one.is_near || one.is_over).collect();
        all.sort_by_key(|one| (std::cmp::Reverse(one.charts_day), one.subject.clone()));
        all
    }
}

//! How many patients somebody opens within an hour and a day: what bounds a theft by a login that is allowed to read.
//!
//! Distinct patients count, not records: a chart that was opened is free for the rest of the window. Those that nothing in the record explains
//! have a smaller budget of their own. What a beam or a ward needs is never counted. In memory: a restart begins anew, and the holders' own
//! counts, where servers are machines, don't.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet, VecDeque};
use std::fmt;

use kit::{PatientId, Timestamp};
use serde::{Deserialize, Serialize};

use crate::normal::{EVERYBODY, Opening};
use crate::policy::bundle::{BundleError, DAY_MS, HOUR_MS, MINUTE_MS, within};
use crate::{Act, Relation, Role, Sensitivity};

/// No person or machine opens more: a budget beyond is none.
const BUDGET_MAX: u64 = 1_000_000;
/// Whose the budget is that all have together.
const ALL: &str = "the centre's";
/// Of a budget, in percent, from which on somebody looks.
const NEAR: usize = 80;
/// For how long it isn't asked anew why somebody opens a chart.
const REMEMBERED_MS: i64 = 10 * MINUTE_MS;

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
    /// Of them, those that nothing explains: no appointment, no order, no care team that somebody else wrote.
    pub unexplained: Budget,
    /// How often one person breaks the glass.
    pub emergency: Budget,
    /// Names, birth dates and numbers that one person sees.
    pub directory: Budget,
    /// Charts that one machine or program opens.
    pub machine: Budget,
    /// Charts that everybody together opens.
    pub centre: Budget,
    /// Patients whose records one person replaces or deletes.
    pub change: Budget,
    /// The same of one machine or program.
    pub machine_change: Budget,
}

impl Default for Budgets {
    /// A busy clinic's list within an hour; a registrar's day; a planning system that gets a morning's plans; a centre of some thousand people.
    fn default() -> Self {
        Self {
            person: Budget { hour: 50, day: 200 },
            unexplained: Budget { hour: 12, day: 30 },
            emergency: Budget { hour: 3, day: 8 },
            directory: Budget { hour: 600, day: 3_000 },
            machine: Budget { hour: 600, day: 3_000 },
            centre: Budget { hour: 6_000, day: 40_000 },
            // A front desk that rebooks a clinic; an information system that brings a day's changes.
            change: Budget { hour: 100, day: 400 },
            machine_change: Budget { hour: 5_000, day: 40_000 },
        }
    }
}

impl Budgets {
    pub(crate) fn check(&self) -> Result<(), BundleError> {
        let Self { person, unexplained, emergency, directory, machine, centre, change, machine_change } = self;
        for (what_hour, what_day, budget) in [
            ("budgets.person.hour", "budgets.person.day", person),
            ("budgets.unexplained.hour", "budgets.unexplained.day", unexplained),
            ("budgets.emergency.hour", "budgets.emergency.day", emergency),
            ("budgets.directory.hour", "budgets.directory.day", directory),
            ("budgets.machine.hour", "budgets.machine.day", machine),
            ("budgets.centre.hour", "budgets.centre.day", centre),
            ("budgets.change.hour", "budgets.change.day", change),
            ("budgets.machine_change.hour", "budgets.machine_change.day", machine_change),
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
    /// There is more for whoever shows her passkey.
    pub wants_passkey: bool,
}

impl OverBudget {
    /// All together, and whoever came last: it says nothing of her.
    pub(crate) fn is_of_all(&self) -> bool {
        self.whose == ALL
    }
}

impl fmt::Display for OverBudget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { whose, what, limit, window, wants_passkey } = self;
        let how = if *wants_passkey { "nearly used up: the rest is for whoever shows her passkey" } else { "used up" };
        write!(f, "{whose} budget of {limit} {what} within {window} is {how}")
    }
}

/// How far somebody's budget is used.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Spent {
    pub subject: String,
    pub charts_hour: usize,
    pub charts_day: usize,
    /// Of them, those that nothing explains.
    pub unexplained_day: usize,
    /// It is nearly used up, or was asked for beyond.
    pub is_near: bool,
    pub is_over: bool,
}

/// Distinct patients of a stretch of time, and why each was opened.
#[derive(Clone, Default)]
struct Window {
    patients: HashMap<PatientId, (Relation, Timestamp)>,
    /// In the order in which they were counted.
    order: VecDeque<(Timestamp, PatientId)>,
}

impl Window {
    /// What is older than so long; and what is of the future, by a clock that was set back since.
    fn forget(&mut self, now: Timestamp, life_ms: i64) {
        let before = now.plus_ms(-life_ms);
        while let Some((_, patient)) = self.order.pop_front_if(|(at, _)| *at <= before || *at > now) {
            self.patients.remove(&patient);
        }
    }

    fn has_room(&self, patient: PatientId, limit: u32) -> bool {
        self.patients.contains_key(&patient) || self.patients.len() < limit as usize
    }

    /// Gives whether it is a new one.
    fn take(&mut self, patient: PatientId, relation: Relation, at: Timestamp) -> bool {
        match self.patients.entry(patient) {
            Entry::Vacant(place) => {
                place.insert((relation, at));
                self.order.push_back((at, patient));
                true
            }
            Entry::Occupied(mut known) => {
                // As of when it was asked, not as of when it was last remembered.
                let (was, since) = *known.get();
                if was != relation || at.0.saturating_sub(since.0) >= REMEMBERED_MS {
                    known.insert((relation, at));
                }
                false
            }
        }
    }
}

/// Of an hour and of a day.
#[derive(Clone, Default)]
struct Windows {
    hour: Window,
    day: Window,
    /// That was in force when the last one was opened.
    budget: Option<Budget>,
    /// A person asked for more charts: until somebody has looked at it, or for a day, the hour's budget doesn't come back. A machine's and the
    /// directory's do: a planning system and a front desk go on.
    held: Option<Timestamp>,
    /// Since when the passkey has to be shown: most of it is used.
    asked: Option<Timestamp>,
}

impl Windows {
    fn forget(&mut self, now: Timestamp) {
        self.held = self.held.filter(|at| *at > now.plus_ms(-DAY_MS));
        self.hour.forget(now, if self.held.is_some() { DAY_MS } else { HOUR_MS });
        self.day.forget(now, DAY_MS);
    }

    fn check(
        &mut self,
        patient: PatientId,
        budget: Budget,
        of: (&'static str, &'static str),
    ) -> Result<(), OverBudget> {
        self.budget = Some(budget);
        let (whose, what) = of;
        for (window, limit, name) in [(&self.hour, budget.hour, "an hour"), (&self.day, budget.day, "a day")] {
            if !window.has_room(patient, limit) {
                return Err(OverBudget { whose, what, limit, window: name, wants_passkey: false });
            }
        }
        Ok(())
    }

    /// The last fifth is for whoever has shown her passkey since most of it was used: a session that was stolen ends there.
    fn check_shown(
        &mut self,
        patient: PatientId,
        budget: Budget,
        (whose, what): (&'static str, &'static str),
        (at, shown): (Timestamp, Timestamp),
    ) -> Result<(), OverBudget> {
        let is_last = |window: &Window, limit: u32| {
            !window.patients.contains_key(&patient) && (window.patients.len() + 1) * 100 > limit as usize * NEAR
        };
        let windows = [(&self.hour, budget.hour, "an hour"), (&self.day, budget.day, "a day")];
        let Some((_, limit, window)) = windows.into_iter().find(|(window, limit, _)| is_last(window, *limit)) else {
            if !self.hour.patients.contains_key(&patient) {
                self.asked = None;
            }
            return Ok(());
        };
        let asked = *self.asked.get_or_insert(at);
        if shown >= asked { Ok(()) } else { Err(OverBudget { whose, what, limit, window, wants_passkey: true }) }
    }

    /// Gives whether it is a new one of the day.
    fn take(&mut self, patient: PatientId, relation: Relation, at: Timestamp) -> bool {
        self.hour.take(patient, relation, at);
        self.day.take(patient, relation, at)
    }

    fn is_near(&self) -> bool {
        let near = |window: &Window, limit: u32| window.order.len() * 100 >= limit as usize * NEAR;
        self.budget.is_some_and(|budget| near(&self.hour, budget.hour) || near(&self.day, budget.day))
    }
}

#[derive(Clone, Default)]
struct Counted {
    all: Windows,
    unexplained: Windows,
    /// When more was asked for than there was.
    refused: Option<Timestamp>,
}

impl Counted {
    fn forget(&mut self, now: Timestamp) {
        self.all.forget(now);
        self.unexplained.forget(now);
        self.refused = self.refused.filter(|at| *at > now.plus_ms(-DAY_MS));
    }

    fn is_near(&self) -> bool {
        self.all.is_near() || self.unexplained.is_near()
    }

    /// Within the hour, the day, and of the day those that nothing explains.
    fn opened(&self) -> (usize, usize, usize) {
        (self.all.hour.order.len(), self.all.day.order.len(), self.unexplained.day.order.len())
    }
}

/// Who has opened whom.
#[derive(Clone, Default)]
pub(crate) struct Opens {
    charts: HashMap<String, Counted>,
    directory: HashMap<String, Counted>,
    centre: Windows,
}

impl Act {
    /// Whether opening under it is counted: what hands nothing out, or what treatment waits for, isn't.
    pub fn is_counted(self) -> bool {
        match self {
            Self::ReadRecord | Self::SearchRecords | Self::ReadObject | Self::ExportRecord => true,
            Self::RegisterPatient
            | Self::WriteRecord
            | Self::DeleteRecord
            | Self::StoreObject
            | Self::ReadTreatmentList
            | Self::ApprovePlan
            | Self::CheckGate
            | Self::ReadAccessLog
            | Self::ManageAccess
            | Self::VerifyVault
            | Self::ErasePatient
            | Self::RestorePatient
            | Self::MakePacks
            | Self::EnterRecord
            | Self::ChangePolicy
            | Self::Contain
            | Self::LiftContainment
            | Self::BreakGlass
            | Self::ReviewEmergency
            | Self::HandleAlarm
            | Self::EnrolPerson => false,
        }
    }
}

impl Opens {
    /// One patient's chart, or her entry of the directory, is about to be opened. Gives whether this person hadn't opened it within the day.
    pub(crate) fn spend(&mut self, budgets: &Budgets, opening: &Opening<'_>) -> Result<bool, OverBudget> {
        let Opening { subject, role, patient, sensitivity, relation, at, shown } = *opening;
        let (is_machine, is_clinical) = (role.is_machine(), sensitivity == Sensitivity::Clinical);
        let (of_each, budget, of) = match sensitivity {
            Sensitivity::Administrative => (&mut self.directory, budgets.directory, ("the", "names")),
            Sensitivity::Clinical if is_machine => (&mut self.charts, budgets.machine, ("the machine's", "charts")),
            Sensitivity::Clinical => (&mut self.charts, budgets.person, ("the person's", "charts")),
        };
        let hers = of_each.entry(subject.to_owned()).or_default();
        hers.forget(at);
        self.centre.forget(at);
        let is_person = is_clinical && !is_machine;
        let needs_reason = is_person && !relation.explains();
        // A broken glass has a budget of its own: whatever else is used up, by her or by a thief, this chart opens.
        let is_emergency = is_person && relation == Relation::BreakGlass;
        let mut spent = if is_emergency { Ok(()) } else { hers.all.check(patient, budget, of) };
        if is_person && spent.is_err() {
            hers.all.held.get_or_insert(at);
        }
        if let (true, false, true, Some(shown)) = (is_person, is_emergency, spent.is_ok(), shown) {
            spent = hers.all.check_shown(patient, budget, of, (at, shown));
        }
        if needs_reason && spent.is_ok() {
            let of = ("the person's", "charts that nothing explains");
            spent = hers.unexplained.check(patient, budgets.unexplained, of);
            if spent.is_err() {
                hers.unexplained.held.get_or_insert(at);
            }
            if let (true, Some(shown)) = (spent.is_ok(), shown) {
                spent = hers.unexplained.check_shown(patient, budgets.unexplained, of, (at, shown));
            }
        }
        // What a device fetches is for a beam.
        if is_clinical && !is_emergency && role != Role::Device && spent.is_ok() {
            spent = self.centre.check(patient, budgets.centre, (ALL, "charts"));
        }
        if let Err(over) = spent {
            if !over.wants_passkey {
                hers.refused = Some(at);
            }
            return Err(over);
        }
        if needs_reason {
            hers.unexplained.take(patient, relation, at);
        }
        if is_clinical {
            self.centre.take(patient, relation, at);
        }
        Ok(hers.all.take(patient, relation, at))
    }

    /// Somebody has looked at why she asked for more.
    pub(crate) fn release(&mut self, subject: &str) {
        for each in [&mut self.charts, &mut self.directory] {
            if let Some(hers) = each.get_mut(subject) {
                (hers.all.held, hers.unexplained.held) = (None, None);
            }
        }
    }

    /// Why she opened this chart, where the record was asked within the minutes before. A broken glass is asked for each time: it ends.
    pub(crate) fn reason(&self, subject: &str, patient: PatientId, now: Timestamp) -> Option<Relation> {
        let (relation, at) = self.charts.get(subject)?.all.hour.patients.get(&patient).copied()?;
        let is_lately = at <= now && at > now.plus_ms(-REMEMBERED_MS);
        (is_lately && relation != Relation::BreakGlass).then_some(relation)
    }

    /// Whose budget is nearly used up, or was asked for beyond, within a day; those who opened most first.
    pub(crate) fn near(&mut self, now: Timestamp) -> Vec<Spent> {
        self.centre.forget(now);
        for each in [&mut self.charts, &mut self.directory] {
            each.retain(|_, counted| {
                counted.forget(now);
                !counted.all.day.order.is_empty() || counted.refused.is_some()
            });
        }
        let subjects: HashSet<&String> = self.charts.keys().chain(self.directory.keys()).collect();
        let spent = |subject: &String| {
            let (charts, directory) = (self.charts.get(subject), self.directory.get(subject));
            let is_over = [charts, directory].into_iter().flatten().any(|counted| counted.refused.is_some());
            let is_near = [charts, directory].into_iter().flatten().any(Counted::is_near);
            let (charts_hour, charts_day, unexplained_day) = charts.map_or((0, 0, 0), Counted::opened);
            Spent { subject: subject.clone(), charts_hour, charts_day, unexplained_day, is_near, is_over }
        };
        let (charts_hour, charts_day) = (self.centre.hour.order.len(), self.centre.day.order.len());
        let (is_near, subject) = (self.centre.is_near(), EVERYBODY.to_owned());
        let together = Spent { subject, charts_hour, charts_day, unexplained_day: 0, is_near, is_over: false };
        let all = subjects.into_iter().map(spent).chain([together]);
        let mut all: Vec<Spent> = all.filter(|one| one.is_near || one.is_over).collect();
        all.sort_by_key(|one| (std::cmp::Reverse(one.charts_day), one.subject.clone()));
        all
    }
}

//! Chart checks of everybody on treatment: whose chart a physicist opens first this week.

use chart::Context;
use guard::Permit;
use kit::{Blame, Timestamp, UtcOffset};
use serde::Serialize;

use super::course::{CourseSoFar, course};
use super::list::{as_text, birth_date, display_name};
use super::{Result, Treatment};
use crate::checks::{Check, Stage, State};
use crate::gate::facts::{self, Facts};
use crate::given::Given;
use crate::interruption::calendar::Day;
use crate::interruption::rules::Rules;
use crate::plan::Plan;

/// Those whose checks fail first, then those with what is stale, then by number.
#[derive(Clone, Debug, Serialize)]
pub struct ChartChecks {
    pub as_of: Timestamp,
    #[serde(serialize_with = "as_text")]
    pub utc_offset: UtcOffset,
    pub rows: Vec<CheckedCourse>,
    /// Why the charts of others on treatment can't be read.
    pub unread: Vec<String>,
}

/// One fraction group of one delivery that somebody has signed.
#[derive(Clone, Debug, Serialize)]
pub struct CheckedCourse {
    pub name: String,
    pub number: String,
    pub birth_date: String,
    pub plan: String,
    pub plan_uid: String,
    pub fraction_group: u32,
    pub given: Given,
    pub fractions_planned: u32,
    pub passed: usize,
    /// All that don't pass.
    pub others: Vec<Check>,
}

impl CheckedCourse {
    fn of(facts: &Facts, course: CourseSoFar) -> Self {
        let (passed, others): (Vec<Check>, Vec<Check>) =
            course.checks.into_iter().partition(|check| check.state == State::Pass);
        Self {
            name: display_name(&facts.record),
            number: facts.identifiers.first().cloned().unwrap_or_default(),
            birth_date: birth_date(&facts.record),
            plan: course.plan,
            plan_uid: course.plan_uid,
            fraction_group: course.fraction_group,
            given: course.given,
            fractions_planned: course.fractions_planned,
            passed: passed.len(),
            others,
        }
    }

    pub fn count(&self, state: State) -> usize {
        self.others.iter().filter(|check| check.state == state).count()
    }
}

/// What is checked of one fraction group before a plan is signed.
#[derive(Clone, Debug, Serialize)]
pub struct GroupChecks {
    pub fraction_group: u32,
    pub checks: Vec<Check>,
}

impl Treatment {
    /// The chart checks of everybody on treatment. It opens what they rest on of each chart.
    pub fn chart_checks(&self, context: &Context) -> Result<ChartChecks> {
        let (permit, as_of, living) = self.admit_to_list(context)?;
        let people = self.people()?;
        let (rules, _) = self.rules_by(&people)?;
        let (mut rows, mut unread) = (Vec::new(), Vec::new());
        for facts in facts::read(&self.chart, &permit, &living, self.signers(&people)) {
            let courses = facts.and_then(|facts| {
                let beside = self.beside(&permit, facts.patient).map_err(|e| e.fault())?;
                let courses = self.courses_of(&facts, &rules, &beside)?.courses;
                Ok(courses.into_iter().map(|course| CheckedCourse::of(&facts, course)).collect::<Vec<_>>())
            });
            match courses {
                Ok(courses) => rows.extend(courses),
                Err(fault) if matches!(fault.blame, Blame::Integrity | Blame::Conflict) => unread.push(fault.message),
                Err(fault) => return Err(fault),
            }
        }
        let urgency =
            |row: &CheckedCourse| (row.count(State::Fail), row.count(State::Stale), row.count(State::Unknown));
        rows.sort_by_cached_key(|row| (std::cmp::Reverse(urgency(row)), row.number.clone(), row.plan_uid.clone()));
        Ok(ChartChecks { as_of, utc_offset: self.utc_offset, rows, unread })
    }

    /// What is checked of a plan before it is signed; whether it is, says somebody else.
    pub(super) fn checks_before(
        &self,
        permit: &Permit,
        facts: &Facts,
        plan: &Plan,
        rules: &Rules,
    ) -> Result<Vec<GroupChecks>> {
        let beside = self.beside(permit, facts.patient).map_err(|e| e.fault())?;
        let today = Day::of_dicom(&facts.local(self.chart.now()).0);
        let of_group = |group| {
            let mut checks = course(&self.chart, facts, (plan, group), (rules, today, &beside))?.checks;
            checks.retain(|check| check.stage == Stage::Approval && check.code != "signatures");
            Ok(GroupChecks { fraction_group: group.number, checks })
        };
        plan.groups.iter().map(of_group).collect()
    }
}

//! How long ago the last fraction was.

use std::collections::BTreeSet;

use kit::Timestamp;

use super::facts::Facts;
use crate::given::Course;
use crate::interruption::calendar::Day;
use crate::plan::{FractionGroup, Plan};

/// Between two fractions of one course (Royal College of Radiologists, BFCO(19)1, 4th edition 2019).
const LEAST_HOURS: i32 = 6;

impl Facts {
    /// Days on which fractions of the plan were given, each as often as there were any, by all the records that name a day.
    pub(crate) fn fraction_days(&self, plan: &Plan, group: &FractionGroup) -> Vec<String> {
        self.all_of(plan, group).fraction_days()
    }

    fn all_of<'a>(&self, plan: &'a Plan, group: &'a FractionGroup) -> Course<'a> {
        let mut course = Course::new(self.kin(plan).uids, plan, group);
        self.feed(&mut course, 0, u64::MAX);
        course
    }

    /// When the last fraction of a plan was given, where another one now is too soon: as many were given on this day as the plan's
    /// pattern has, the rests of others among them, or one less than six hours ago. What another group gave by the same beams counts.
    pub(crate) fn too_soon(&self, plan: &Plan, group: &FractionGroup, now: Timestamp) -> Option<String> {
        let (date, time) = self.local(now);
        let today = Day::of_dicom(&date)?;
        // A machine's clock may be ahead, over midnight, too. What is of a later day is no measure of anything.
        let until = today.plus(1).to_string().replace('-', "");
        let treating = |group: &FractionGroup| -> BTreeSet<u32> {
            group.metersets.iter().filter(|(_, meterset)| **meterset > 0).map(|(beam, _)| *beam).collect()
        };
        let ours = treating(group);
        let shares = |one: &&FractionGroup| one.number == group.number || !treating(one).is_disjoint(&ours);
        let courses: Vec<Course<'_>> = plan.groups.iter().filter(shares).map(|one| self.all_of(plan, one)).collect();
        let last = courses.iter().filter_map(|course| course.last_treated(&until)).max()?;
        let days = today.since(Day::of_dicom(last.get(..8)?)?);
        let minutes = |time: &str| {
            let (hours, minutes) = (time.get(..2)?.parse::<i32>().ok()?, time.get(2..4)?.parse::<i32>().ok()?);
            Some(60 * hours + minutes)
        };
        // Without a time it may have been the end of that day.
        let at = last.get(9..).and_then(minutes).unwrap_or(24 * 60);
        let since = days * 24 * 60 + minutes(&time)? - at;
        let given = |course: &Course<'_>| {
            let begun = course.fraction_days().iter().filter(|day| **day == date).count();
            begun.max(course.treated_on(&date))
        };
        let is_full = courses.iter().map(given).sum::<usize>() >= plan.most_a_day(group);
        (is_full || since < LEAST_HOURS * 60).then(|| last.to_owned())
    }
}

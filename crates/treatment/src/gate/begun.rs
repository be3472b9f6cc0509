//! A fraction that was begun and not finished, and what an instruction must say to deliver its rest, and nothing but its rest.

use std::collections::{BTreeMap, BTreeSet};

use chart::{Chart, ChartError};

use super::asked::{Instruction, InstructionGap};
use super::facts::Facts;
use crate::given::Given;
use crate::interruption::calendar::Day;
use crate::plan::{FractionGroup, Plan};

/// Where a beam goes on may differ from where it stopped by so many thousandths of its meterset: machines say both with one decimal, or
/// with two.
const SLACK: i64 = 2;
/// At least half a hundredth: a small beam is written with no more decimals than a large one.
const SLACK_LEAST: i64 = 5;
/// A beam that lacks less than a twentieth counts as whole, as everywhere here.
const WHOLE: i128 = 950;

/// Metersets in thousandths of the plan's dosimeter unit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Begun {
    pub fraction: u32,
    /// On which day it was last treated; none where no record says.
    pub day: Option<Day>,
    /// By beam number.
    pub delivered: BTreeMap<u32, i64>,
    /// Its records alone say where each beam stopped.
    pub is_plain: bool,
}

/// Of a beam, in thousandths of the plan's dosimeter unit; none where it isn't said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stretch {
    pub start: Option<i64>,
    pub end: Option<i64>,
}

impl Facts {
    /// The begun fraction of a plan, where the count says that there is one.
    pub(crate) fn begun(
        &self,
        chart: &Chart,
        plan: &Plan,
        group: &FractionGroup,
        given: &Given,
    ) -> Result<Option<Begun>, ChartError> {
        let Given::Known { unfinished: Some(fraction), .. } = *given else { return Ok(None) };
        let (course, _) = self.course_since(chart, plan, group)?;
        let Some(newest) = course.newest().filter(|newest| newest.fraction == fraction) else { return Ok(None) };
        let delivered = |(number, meterset): (&u32, &i64)| {
            let share = newest.delivered.get(&Some(*number)).copied().unwrap_or(0);
            let delivered = i128::from(share) * i128::from(*meterset) / 1_000_000;
            (*number, i64::try_from(delivered).unwrap_or(i64::MAX))
        };
        let day = newest.day.as_deref().and_then(Day::of_dicom);
        let (delivered, is_plain) = (group.metersets.iter().map(delivered).collect(), newest.is_plain);
        Ok(Some(Begun { fraction, day, delivered, is_plain }))
    }
}

impl Begun {
    /// Everything in which the instruction isn't the rest of this fraction: whole beams are left out, those that have begun go on where
    /// they stopped, up to their end, and the others are whole ones.
    pub(crate) fn gaps(
        &self,
        instruction: &Instruction,
        group: &FractionGroup,
        today: Option<Day>,
    ) -> Vec<InstructionGap> {
        let mut gaps = Vec::new();
        if self.day.is_none() || self.day != today {
            gaps.push(InstructionGap::BegunOnAnotherDay { day: self.day.map(|day| day.to_string()) });
        }
        if !self.is_plain {
            gaps.push(InstructionGap::RestNotPlain);
        }
        let of = |number: &u32| self.delivered.get(number).copied().unwrap_or(0);
        let treats = || group.metersets.iter().filter(|(_, meterset)| **meterset > 0);
        let is_whole =
            |(number, meterset): &(&u32, &i64)| i128::from(of(number)) * 1_000 >= i128::from(**meterset) * WHOLE;
        let due: BTreeSet<u32> = treats().filter(|beam| !is_whole(beam)).map(|(number, _)| *number).collect();
        let done: BTreeSet<u32> = treats().filter(is_whole).map(|(number, _)| *number).collect();
        let listed = |beams: BTreeSet<u32>| Some(beams.into_iter().collect::<Vec<_>>()).filter(|some| !some.is_empty());
        let planned: BTreeSet<u32> = group.metersets.keys().copied().collect();
        gaps.extend(listed(&due - &instruction.beams).map(|beams| InstructionGap::BeamsMissing { beams }));
        gaps.extend(listed(&instruction.beams - &planned).map(|beams| InstructionGap::BeamsUnknown { beams }));
        gaps.extend(listed(&instruction.beams & &done).map(|beams| InstructionGap::BeamsWhole { beams }));
        for (number, meterset) in treats().filter(|(number, _)| due.contains(number)) {
            let (from, said) = (of(number), instruction.continued.get(number));
            let within = |said: Option<i64>, should: i64| {
                let slack = SLACK_LEAST.max(meterset / 1_000 * SLACK);
                said.is_some_and(|said| said.abs_diff(should) <= slack.unsigned_abs())
            };
            let is_so = match said {
                Some(stretch) => from > 0 && within(stretch.start, from) && within(stretch.end, *meterset),
                None => from == 0 || !instruction.beams.contains(number),
            };
            if !is_so {
                let (start, end) = said.map_or((None, None), |said| (said.start, said.end));
                gaps.push(InstructionGap::AnotherStretch { beam: *number, from, to: *meterset, start, end });
            }
        }
        gaps
    }
}

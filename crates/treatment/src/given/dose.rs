//! How much dose that is, at each of the plan's dose references: from what was surely delivered up to what may have been.

use std::collections::BTreeMap;

use super::count::{Delivered, Share, fractions_of};
use super::{Course, Given, Unknown};
use crate::plan::prescription::{Dose, DoseReference, WHOLE};
use crate::plan::{FractionGroup, Plan};

/// What one dose reference has got of one fraction group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReferenceDose {
    pub reference: DoseReference,
    /// Of a whole fraction: none where the plan doesn't say what each of its treating beams gives there.
    pub per_fraction: Option<Dose>,
    /// By the records that are here, and what two people have settled.
    pub at_least: Option<Dose>,
    /// With what may have been given beside, of which no record is here: missing fractions, and the rest of begun ones. None where
    /// nobody can say.
    pub at_most: Option<Dose>,
    /// What it was at least, after each day (`YYYYMMDD`) of treatment.
    pub by_day: Vec<(String, Dose)>,
}

impl ReferenceDose {
    /// From what it was at least to what it may be.
    pub fn in_words(&self) -> String {
        match (self.at_least, self.at_most) {
            (None, _) => "not known".to_owned(),
            (Some(least), None) => format!("{least} at least"),
            (Some(least), Some(most)) if most > least => format!("{least} to {most}"),
            (Some(least), Some(_)) => least.to_string(),
        }
    }
}

/// Days that are drawn, the newest; a course has forty, and each is summed by itself.
const DAYS_MAX: usize = 200;

/// What one beam has delivered, beside what it should.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BeamTotal {
    pub number: u32,
    /// Of one fraction, in thousandths of the dosimeter unit.
    pub meterset: i64,
    /// In all the records that count.
    pub delivered: i64,
}

/// What a course's records say of one fraction group. `before`: fractions that two people have settled, of which no record counts.
pub fn so_far(
    plan: &Plan,
    group: &FractionGroup,
    course: &Course<'_>,
    given: &Given,
    before: u32,
) -> Vec<ReferenceDose> {
    let (surely, at_most) = (course.surely(None), at_most(group, course.delivered(None)));
    let of = |reference: &DoseReference| {
        let of_beam = |beam: u32, share| plan.prescription.dose(group.number, beam, reference, share);
        let per_fraction: Option<Dose> = group.metersets.keys().map(|beam| of_beam(*beam, WHOLE)).sum();
        let sum = |delivered: &Delivered| {
            let of_beams = delivered.values().flatten().filter_map(|(beam, share)| Some(((*beam)?, *share)));
            let sum: Option<Dose> = of_beams
                .map(|(beam, share)| {
                    let share = i64::try_from(share).unwrap_or(i64::MAX);
                    let whole = u32::try_from(share / WHOLE).unwrap_or(u32::MAX);
                    Some(of_beam(beam, WHOLE)?.times(whole).plus(of_beam(beam, share % WHOLE)?))
                })
                .sum();
            Some(sum?.plus(per_fraction?.times(before)))
        };
        let at_least = sum(&surely);
        let at_most = match given {
            // What was told twice was given once or twice, and no more.
            Given::Unknown { why } => {
                let is_bounded = why
                    .iter()
                    .all(|why| matches!(why, Unknown::PartsDiffer | Unknown::ToldTwice | Unknown::PartMissing));
                sum(&at_most).filter(|_| is_bounded && before == 0 && course.is_complete())
            }
            Given::Known { distinct, highest, .. } => sum(&at_most)
                .zip(per_fraction)
                .map(|(most, each)| most.plus(each.times(highest.saturating_sub(*distinct))).max(each.times(*highest))),
        };
        let days: Vec<&str> = course.days().into_iter().rev().take(DAYS_MAX).collect();
        let by_day = days.into_iter().rev();
        let by_day = by_day.filter_map(|day| Some((day.to_owned(), sum(&course.surely(Some(day)))?)));
        ReferenceDose { reference: reference.clone(), per_fraction, at_least, at_most, by_day: by_day.collect() }
    };
    plan.prescription.references.iter().map(of).collect()
}

/// Of what was begun, the rest may have been given as well, and its record lost: each beam of a fraction was delivered whole, or more.
fn at_most(group: &FractionGroup, delivered: Delivered) -> Delivered {
    let whole = |(number, mut beams): (u32, BTreeMap<Option<u32>, Share>)| {
        let most = beams.values().copied().max().unwrap_or(0);
        if most > 0 {
            let all = Share::from(fractions_of(most)) * WHOLE.unsigned_abs();
            for beam in group.metersets.keys() {
                let share = beams.entry(Some(*beam)).or_default();
                *share = all.max(*share);
            }
        }
        (number, beams)
    };
    delivered.into_iter().map(whole).collect()
}

/// By number, those of the group.
pub fn beam_totals(group: &FractionGroup, course: &Course<'_>) -> Vec<BeamTotal> {
    let mut totals: BTreeMap<u32, u64> = group.metersets.keys().map(|beam| (*beam, 0)).collect();
    for (beam, share) in course.surely(None).values().flatten() {
        if let Some(total) = beam.and_then(|beam| totals.get_mut(&beam)) {
            *total = total.saturating_add(*share);
        }
    }
    let of = |(number, share)| {
        let meterset = group.metersets.get(&number).copied().unwrap_or(0);
        let delivered = i128::from(share) * i128::from(meterset) / i128::from(WHOLE);
        BeamTotal { number, meterset, delivered: i64::try_from(delivered).unwrap_or(i64::MAX) }
    };
    totals.into_iter().map(of).collect()
}

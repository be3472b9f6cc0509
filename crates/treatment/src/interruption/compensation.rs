//! What a course that was interrupted is worth, and what can be done: the options of the Royal College of Radiologists'
//! guidance (BFCO(19)1, 4th edition 2019) in its order of preference. It reckons; a physicist checks, and a physician chooses.

use std::fmt;

use serde::Serialize;

use crate::interruption::bed::Tissue;
use crate::interruption::calendar::{Calendar, Day};

/// Two fractions on one day are at least so far apart.
pub const PAIR_HOURS: f64 = 6.0;
/// More in each of them is for nobody; a stereotactic fraction, least of all.
pub const PAIR_DOSE_MAX_GY: f64 = 2.2;
/// Larger ones that are thought of are at most so many times as large: beyond, the late tissue pays for everything. A physicist must
/// confirm the figure for the centre.
pub const LARGER_MAX: f64 = 1.5;
/// Extra fractions that are thought of at most: beyond, the days that they take cost as much as they give.
pub const EXTRA_MAX: u32 = 15;

/// The tissues that a course is weighed by.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Tissues {
    pub tumour: Tissue,
    pub late: Tissue,
    /// In which half of the damage to the late one is repaired.
    pub repair_half_time_hours: f64,
}

/// A course as it was meant, and how far it came.
#[derive(Clone, Debug, PartialEq)]
pub struct Course {
    pub dose_gy: f64,
    pub planned: u32,
    /// Fractions of one day, [`PAIR_HOURS`] apart: 1 as a rule.
    pub per_day: u32,
    /// When fractions were given, in order; several may stand on one day.
    pub given: Vec<Day>,
}

/// What a schedule is worth. Doses in Gy.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Worth {
    pub fractions: u32,
    pub first: Day,
    pub last: Day,
    /// From the first to the last.
    pub days: i32,
    pub tumour_bed: f64,
    pub tumour_eqd2: f64,
    pub late_bed: f64,
    pub late_eqd2: f64,
}

/// One thing that can be done.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "option")]
pub enum Choice {
    /// The fractions that are left, on Saturdays, Sundays and holidays as well.
    EveryDay,
    /// Two on some days.
    TwiceADay { days: u32 },
    /// Fewer or as many, each of this size, by the day on which it was to end.
    LargerFractions { fractions: u32, dose_gy: f64 },
    /// More of the same size, as long as it takes.
    ExtraFractions { extra: u32 },
}

impl fmt::Display for Choice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::EveryDay => f.write_str("on weekends and holidays, too"),
            Self::TwiceADay { days } => write!(f, "two a day, {PAIR_HOURS:.0} h apart, on {days} days"),
            Self::LargerFractions { fractions, dose_gy } => write!(f, "{fractions} larger ones of {dose_gy:.2} Gy"),
            Self::ExtraFractions { extra } => write!(f, "{extra} more"),
        }
    }
}

/// A choice with what comes of it; without, it can't be done for this course.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Weighed {
    #[serde(flatten)]
    pub choice: Choice,
    pub worth: Worth,
}

/// The whole of it, for a physician.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Assessment {
    pub as_planned: Worth,
    /// The fractions that are left go on, as before, once there is treatment again.
    pub as_it_stands: Worth,
    /// Days by which that is longer.
    pub days_lost: i32,
    /// In the guidance's order of preference. One that can't be done is left out.
    pub options: Vec<Weighed>,
}

/// What has been given, and what is to come.
struct Dealt {
    /// With doses: the late tissue's worth and the tumour's, before time takes its part.
    tumour: f64,
    late: f64,
    fractions: u32,
    first: Day,
    last: Day,
}

impl Dealt {
    fn worth(&self, tissues: &Tissues) -> Worth {
        let days = self.last.since(self.first);
        let tumour = self.tumour - tissues.tumour.lost(days.into());
        let late = self.late - tissues.late.lost(days.into());
        Worth {
            fractions: self.fractions,
            first: self.first,
            last: self.last,
            days,
            tumour_bed: tumour,
            tumour_eqd2: tissues.tumour.eqd2(tumour),
            late_bed: late,
            late_eqd2: tissues.late.eqd2(late),
        }
    }
}

impl Course {
    /// None where nothing was given yet, or nothing is left: there is nothing to make up for.
    ///
    /// `usual`: when its machine treats; `now`: the same, with the days on which it stood still. `resumes`: the first day on
    /// which there is treatment again.
    pub fn assess(&self, tissues: &Tissues, usual: &Calendar, now: &Calendar, resumes: Day) -> Option<Assessment> {
        let first = *self.given.first()?;
        let done = u32::try_from(self.given.len()).ok()?;
        let left = self.planned.checked_sub(done).filter(|left| *left > 0)?;
        let plan = usual.course(first).nth(usize::try_from(self.days_for(self.planned)).ok()?.checked_sub(1)?)?;
        let as_planned = self.dealt(tissues, self.planned, first, plan).worth(tissues);
        // The last of the days that so many fractions take.
        let days = |calendar: &Calendar, fractions: u32| {
            calendar.from(resumes).nth(usize::try_from(self.days_for(fractions)).ok()?.checked_sub(1)?)
        };
        let stands = self.dealt(tissues, self.planned, first, days(now, left)?).worth(tissues);

        let every_day = Calendar { every_day: true, ..now.clone() };
        let on_all = days(&every_day, left).filter(|last| *last < stands.last).map(|last| Weighed {
            choice: Choice::EveryDay,
            worth: self.dealt(tissues, self.planned, first, last).worth(tissues),
        });
        let room = now.from(resumes).take_while(|day| *day <= plan).count();
        // Fractions that the days up to the planned one have room for.
        let room = u32::try_from(room).unwrap_or(u32::MAX).saturating_mul(self.per_day);
        let options = [
            on_all,
            self.twice_a_day(tissues, first, (left, room), &|count| days(now, count)),
            self.larger(tissues, (first, plan), (left, room), &as_planned, &|count| days(now, count)),
            self.extra(tissues, first, left, &as_planned, &|count| days(now, count)),
        ];
        let days_lost = stands.last.since(as_planned.last);
        Some(Assessment {
            as_planned,
            as_it_stands: stands,
            days_lost,
            options: options.into_iter().flatten().collect(),
        })
    }

    fn dealt(&self, tissues: &Tissues, fractions: u32, first: Day, last: Day) -> Dealt {
        let tumour = tissues.tumour.of_dose(fractions, self.dose_gy);
        Dealt { tumour, late: self.late(tissues, fractions, self.dose_gy), fractions, first, last }
    }

    /// To the late tissue: between two fractions of a day it isn't repaired.
    fn late(&self, tissues: &Tissues, fractions: u32, dose_gy: f64) -> f64 {
        let of_day =
            |fractions| tissues.late.of_one_day(fractions, dose_gy, PAIR_HOURS, tissues.repair_half_time_hours);
        let per_day = self.per_day.max(1);
        f64::from(fractions / per_day) * of_day(per_day) + of_day(fractions % per_day)
    }

    fn days_for(&self, fractions: u32) -> u32 {
        fractions.div_ceil(self.per_day.max(1))
    }

    /// As few days with two fractions as bring the end to the planned day, or as near as one pair a day can.
    fn twice_a_day(
        &self,
        tissues: &Tissues,
        first: Day,
        (left, room): (u32, u32),
        days: &dyn Fn(u32) -> Option<Day>,
    ) -> Option<Weighed> {
        // Who has several a day gets no more on any.
        if self.dose_gy > PAIR_DOSE_MAX_GY || left < 2 || self.per_day > 1 {
            return None;
        }
        // With p pairs the fractions that are left take left - p days.
        let pairs = left.saturating_sub(room.max(1)).min(left / 2);
        if pairs == 0 {
            return None;
        }
        let last = days(left - pairs)?;
        let mut dealt = self.dealt(tissues, self.planned, first, last);
        let half = tissues.repair_half_time_hours;
        dealt.late += f64::from(pairs)
            * (tissues.late.of_one_day(2, self.dose_gy, PAIR_HOURS, half) - tissues.late.of_dose(2, self.dose_gy));
        Some(Weighed { choice: Choice::TwiceADay { days: pairs }, worth: dealt.worth(tissues) })
    }

    /// Of a size that is worth to the tumour what was planned; by the planned day where days are left to it, else in all the
    /// fractions that are left.
    fn larger(
        &self,
        tissues: &Tissues,
        (first, plan): (Day, Day),
        (left, room): (u32, u32),
        planned: &Worth,
        days: &dyn Fn(u32) -> Option<Day>,
    ) -> Option<Weighed> {
        let fractions = if room == 0 { left } else { left.min(room) };
        let last = if room == 0 { days(fractions)? } else { days(fractions)?.min(plan) };
        let done = self.planned - left;
        let before = tissues.tumour.of_dose(done, self.dose_gy);
        let lost = tissues.tumour.lost(last.since(first).into());
        let dose_gy = tissues.tumour.dose_for(planned.tumour_bed + lost - before, fractions)?;
        // Where nothing was lost, smaller ones would do: they are no compensation.
        if dose_gy <= self.dose_gy || dose_gy > LARGER_MAX * self.dose_gy {
            return None;
        }
        let tumour = before + tissues.tumour.of_dose(fractions, dose_gy);
        let late = self.late(tissues, done, self.dose_gy) + self.late(tissues, fractions, dose_gy);
        let dealt = Dealt { tumour, late, fractions: done + fractions, first, last };
        Some(Weighed { choice: Choice::LargerFractions { fractions, dose_gy }, worth: dealt.worth(tissues) })
    }

    /// As few more as are worth what was planned: each takes a day itself, and some of them a weekend.
    fn extra(
        &self,
        tissues: &Tissues,
        first: Day,
        left: u32,
        planned: &Worth,
        days: &dyn Fn(u32) -> Option<Day>,
    ) -> Option<Weighed> {
        let enough = (0..=EXTRA_MAX).find_map(|extra| {
            let worth = self.dealt(tissues, self.planned + extra, first, days(left + extra)?).worth(tissues);
            let reaches = worth.tumour_bed >= planned.tumour_bed - 1e-9;
            reaches.then_some((extra, worth))
        });
        // Where nothing was lost, there is nothing to make up for.
        let (extra, worth) = enough.filter(|(extra, _)| *extra > 0)?;
        Some(Weighed { choice: Choice::ExtraFractions { extra }, worth })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TISSUES: Tissues = Tissues {
        tumour: Tissue { alpha_beta_gy: 10.0, k_gy_per_day: 0.9, tk_days: 28.0 },
        late: Tissue { alpha_beta_gy: 3.0, k_gy_per_day: 0.0, tk_days: 0.0 },
        repair_half_time_hours: 4.0,
    };

    /// 70 Gy in 35 fractions from a Monday, 15 of them given, then a week of nothing.
    fn a_week_lost() -> Assessment {
        let first: Day = "2026-03-02".parse().unwrap();
        let usual = Calendar::default();
        let given: Vec<Day> = usual.from(first).take(15).collect();
        let stopped = given.last().unwrap().plus(3);
        let now = Calendar { outages: vec![(stopped, stopped.plus(4))], ..Calendar::default() };
        let course = Course { dose_gy: 2.0, planned: 35, per_day: 1, given };
        course.assess(&TISSUES, &usual, &now, stopped.plus(7)).unwrap()
    }

    fn is(found: f64, expected: f64, within: f64) {
        assert!((found - expected).abs() <= within, "{found}, expected {expected}");
    }

    #[test]
    fn a_lost_week_is_weighed_as_the_guidance_does() {
        let found = a_week_lost();
        is(found.as_planned.tumour_bed, 67.8, 1e-9);
        is(found.as_planned.late_bed, 116.67, 5e-3);
        assert_eq!((found.as_planned.days, found.as_it_stands.days, found.days_lost), (46, 53, 7));
        is(found.as_it_stands.tumour_bed, 61.5, 1e-9);
        let [every, pairs, larger, extra] = found.options.as_slice() else { panic!("{found:?}") };
        // Twenty days without a rest, from the fifth Monday on: a day later than planned.
        assert_eq!((every.choice, every.worth.days), (Choice::EveryDay, 47));
        // Five pairs in the three weeks that are left.
        assert_eq!((pairs.choice, pairs.worth.days), (Choice::TwiceADay { days: 5 }, 46));
        is(pairs.worth.tumour_bed, 67.8, 1e-9);
        is(pairs.worth.late_bed, 116.67 + 5.0 * (7.6095 - 6.6667), 1e-2);
        let Choice::LargerFractions { fractions: 15, dose_gy } = larger.choice else { panic!("{larger:?}") };
        is(dose_gy, 2.55, 1e-3);
        is(larger.worth.tumour_bed, 67.8, 1e-9);
        is(larger.worth.late_bed, 120.76, 2e-2);
        // Five extra are worth 67.2, six a weekend less, seven enough.
        assert_eq!(extra.choice, Choice::ExtraFractions { extra: 7 });
        is(extra.worth.tumour_bed, 68.4, 1e-9);
    }

    /// 60 Gy in 50 fractions of 1.2 Gy, two a day, 20 of them given, then a week of nothing. By hand: 30 days of treatment are 25, from a
    /// Monday to the Friday of the fifth week (32 days), a week later 39.
    #[test]
    fn two_a_day_are_weighed_as_two_a_day() {
        let first: Day = "2026-03-02".parse().unwrap();
        let usual = Calendar::default();
        let given: Vec<Day> = usual.from(first).take(10).flat_map(|day| [day; 2]).collect();
        let stopped = first.plus(14);
        let now = Calendar { outages: vec![(stopped, stopped.plus(4))], ..Calendar::default() };
        let course = Course { dose_gy: 1.2, planned: 50, per_day: 2, given };
        let found = course.assess(&TISSUES, &usual, &now, stopped.plus(7)).unwrap();
        assert_eq!((found.as_planned.days, found.as_it_stands.days, found.days_lost), (32, 39, 7));
        // 50 × 1.2 × (1 + 0.12) less 0.9 a day beyond the 28th; 25 pairs, each 2.4 × (1 + 1.35355 × 0.4).
        is(found.as_planned.tumour_bed, 67.2 - 0.9 * 4.0, 1e-9);
        is(found.as_it_stands.tumour_bed, 67.2 - 0.9 * 11.0, 1e-9);
        is(found.as_planned.late_bed, 25.0 * 3.699_41, 1e-3);
        is(found.as_it_stands.late_bed, found.as_planned.late_bed, 1e-9);
        let [every, larger, extra] = found.options.as_slice() else { panic!("{found:?}") };
        // Fifteen days without a rest.
        assert_eq!((every.choice, every.worth.days), (Choice::EveryDay, 35));
        // Ten days have room for twenty of the thirty that are left: 63.6 + 3.6 - 26.88 by twenty are worth 2.016 each.
        let Choice::LargerFractions { fractions: 20, dose_gy } = larger.choice else { panic!("{larger:?}") };
        is(dose_gy, 1.720_1, 1e-3);
        is(larger.worth.tumour_bed, found.as_planned.tumour_bed, 1e-9);
        // Eight are worth 62.652 after 45 days, nine 63.096 and ten 64.44 after 46.
        assert_eq!(extra.choice, Choice::ExtraFractions { extra: 10 });
        is(extra.worth.tumour_bed, 64.44, 1e-9);

        // CHART: 54 Gy in 36 of 1.5 Gy, three a day, on twelve days without a rest.
        let usual = Calendar { every_day: true, ..Calendar::default() };
        let given: Vec<Day> = usual.from(first).take(6).flat_map(|day| [day; 3]).collect();
        let chart = Course { dose_gy: 1.5, planned: 36, per_day: 3, given };
        let found = chart.assess(&TISSUES, &usual, &usual, first.plus(6)).unwrap();
        assert_eq!((found.as_planned.days, found.days_lost), (11, 0));
        is(found.as_planned.tumour_bed, 62.1, 1e-9);
        is(found.as_planned.late_bed, 12.0 * 4.5 * (1.0 + (1.0 + 0.554_74) * 0.5), 1e-2);
    }

    #[test]
    fn what_cant_be_done_is_no_option() {
        let first: Day = "2026-03-02".parse().unwrap();
        let calendar = Calendar::default();
        let course = |dose_gy, planned, given: usize| Course {
            dose_gy,
            planned,
            per_day: 1,
            given: calendar.from(first).take(given).collect(),
        };
        let resumes = first.plus(28);
        let assess = |course: Course| course.assess(&TISSUES, &calendar, &calendar, resumes);
        assert_eq!(assess(course(2.0, 35, 0)), None, "nothing was begun");
        assert_eq!(assess(course(2.0, 15, 15)), None, "nothing is left");
        assert_eq!(assess(course(2.0, 15, 16)), None);
        // Stereotactic, and larger fractions: never two a day.
        let found = assess(course(12.0, 5, 2)).unwrap();
        assert!(found.options.iter().all(|one| !matches!(one.choice, Choice::TwiceADay { .. })), "{found:?}");
        // Past the planned day only size and number are left.
        let found = assess(course(2.0, 15, 10)).unwrap();
        let larger =
            found.options.iter().find(|one| matches!(one.choice, Choice::LargerFractions { fractions: 5, .. }));
        is(larger.unwrap().worth.tumour_bed, found.as_planned.tumour_bed, 1e-9);
        // Days ahead of the plan: nothing is to be made good, and no size is larger.
        let ahead =
            Course { dose_gy: 2.0, planned: 15, per_day: 1, given: (0..10).map(|day| first.plus(day)).collect() };
        let found = ahead.assess(&TISSUES, &calendar, &calendar, first.plus(10)).unwrap();
        assert!(found.options.iter().all(|one| !matches!(one.choice, Choice::LargerFractions { .. })), "{found:?}");
    }
}

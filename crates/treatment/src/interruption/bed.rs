//! The linear-quadratic model, for courses that were interrupted: biologically effective dose, the equivalent dose in
//! fractions of 2 Gy, and the dose per fraction that reaches one.
//!
//! `BED = n·d·(1 + d/(α/β)) − K·max(0, T − Tk)`, as in the Royal College of Radiologists' guidance BFCO(19)1, 4th edition
//! 2019, sections on radiobiology. Doses in Gy, times in days; T is the last day minus the first. The parameters of a
//! tissue are the centre's to choose, and a physicist's to sign.

use kit::{Blame, Explain};
use serde::Serialize;

/// What a tissue makes of dose and time.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Tissue {
    /// α/β in Gy.
    pub alpha_beta_gy: f64,
    /// What proliferation takes back a day, once it has begun.
    pub k_gy_per_day: f64,
    /// When that begins: Tk, days after the first fraction.
    pub tk_days: f64,
}

/// A number that no course and no tissue has.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
#[error("{what}: {found}, it must be {min} to {max} {unit}")]
pub struct BedError {
    pub what: &'static str,
    pub found: f64,
    pub min: f64,
    pub max: f64,
    pub unit: &'static str,
}

impl Explain for BedError {
    fn blame(&self) -> Blame {
        Blame::Peer
    }

    fn code(&self) -> &'static str {
        "treatment.bed"
    }
}

fn within(what: &'static str, found: f64, (min, max): (f64, f64), unit: &'static str) -> Result<f64, BedError> {
    // Not a number is within nothing.
    if (min..=max).contains(&found) { Ok(found) } else { Err(BedError { what, found, min, max, unit }) }
}

/// Fractions of one size, over some days.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Schedule {
    fractions: u32,
    dose_gy: f64,
    days: f64,
}

impl Schedule {
    /// `days`: from the first fraction to the last one.
    pub fn new(fractions: u32, dose_gy: f64, days: f64) -> Result<Self, BedError> {
        within("fractions", fractions.into(), (1.0, 100.0), "fractions")?;
        let dose_gy = within("dose per fraction", dose_gy, (0.01, 40.0), "Gy")?;
        Ok(Self { fractions, dose_gy, days: within("days", days, (0.0, 1_000.0), "days")? })
    }
}

impl Tissue {
    pub fn new(alpha_beta_gy: f64, k_gy_per_day: f64, tk_days: f64) -> Result<Self, BedError> {
        Ok(Self {
            alpha_beta_gy: within("alpha/beta", alpha_beta_gy, (0.1, 50.0), "Gy")?,
            k_gy_per_day: within("K", k_gy_per_day, (0.0, 5.0), "Gy a day")?,
            tk_days: within("Tk", tk_days, (0.0, 365.0), "days")?,
        })
    }

    /// Of dose alone, whatever the time.
    pub fn of_dose(&self, fractions: u32, dose_gy: f64) -> f64 {
        f64::from(fractions) * dose_gy * (1.0 + dose_gy / self.alpha_beta_gy)
    }

    /// What proliferation has taken back after so many days.
    pub fn lost(&self, days: f64) -> f64 {
        self.k_gy_per_day * (days - self.tk_days).max(0.0)
    }

    pub fn bed(&self, schedule: &Schedule) -> f64 {
        self.of_dose(schedule.fractions, schedule.dose_gy) - self.lost(schedule.days)
    }

    /// The dose in fractions of 2 Gy that is worth as much.
    pub fn eqd2(&self, bed_gy: f64) -> f64 {
        bed_gy / (1.0 + 2.0 / self.alpha_beta_gy)
    }

    /// The dose of each of so many fractions that together are worth this much; none for less than nothing.
    pub fn dose_for(&self, bed_gy: f64, fractions: u32) -> Option<f64> {
        let share = 4.0 * bed_gy / (f64::from(fractions) * self.alpha_beta_gy);
        (bed_gy >= 0.0 && fractions > 0).then(|| self.alpha_beta_gy / 2.0 * ((1.0 + share).sqrt() - 1.0))
    }

    /// Of fractions on one day, `hours` apart, where half of the damage is repaired in `half_time_hours` and all of it overnight: each one
    /// meets what is left of every one before it (Thames, 1985; the guidance's section on two a day).
    pub fn of_one_day(&self, fractions: u32, dose_gy: f64, hours: f64, half_time_hours: f64) -> f64 {
        let left = (-std::f64::consts::LN_2 * hours / half_time_hours).exp();
        let met: f64 = (1..fractions).map(|apart| f64::from(fractions - apart) * left.powf(apart.into())).sum();
        self.of_dose(fractions, dose_gy) + 2.0 * met * dose_gy * dose_gy / self.alpha_beta_gy
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FAST: Tissue = Tissue { alpha_beta_gy: 10.0, k_gy_per_day: 0.9, tk_days: 28.0 };
    const LATE: Tissue = Tissue { alpha_beta_gy: 3.0, k_gy_per_day: 0.0, tk_days: 0.0 };

    fn of(tissue: Tissue, fractions: u32, dose: f64, days: f64) -> f64 {
        tissue.bed(&Schedule::new(fractions, dose, days).unwrap())
    }

    fn is(found: f64, expected: f64, within: f64) {
        assert!((found - expected).abs() <= within, "{found}, expected {expected}");
    }

    /// From the guidance, and from calculations that share no code with this.
    #[test]
    fn known_courses_have_their_known_worth() {
        let slow = Tissue { k_gy_per_day: 0.0, ..FAST };
        is(of(slow, 30, 2.0, 39.0), 72.0, 1e-9);
        is(of(LATE, 30, 2.0, 39.0), 100.0, 1e-9);
        is(of(slow, 25, 2.4, 32.0), 74.4, 1e-9);
        is(of(FAST, 35, 2.0, 46.0), 67.8, 1e-9);
        is(of(LATE, 35, 2.0, 46.0), 116.67, 5e-3);
        is(FAST.eqd2(67.8), 56.5, 1e-9);
        // A week lost.
        is(of(FAST, 35, 2.0, 53.0), 61.5, 1e-9);
        // CHART.
        is(of(FAST, 36, 1.5, 12.0), 62.1, 1e-9);
    }

    #[test]
    fn a_lost_week_after_fifteen_fractions_is_made_up_for() {
        let before = FAST.of_dose(15, 2.0);
        // Fifteen larger fractions in the days that are left.
        let dose = FAST.dose_for(67.8 + FAST.lost(46.0) - before, 15).unwrap();
        is(dose, 2.55, 1e-3);
        is(LATE.of_dose(15, 2.0) + LATE.of_dose(15, 2.55), 120.76, 1e-2);
        // All twenty, over the longer time.
        let dose = FAST.dose_for(67.8 + FAST.lost(53.0) - before, 20).unwrap();
        is(dose, 2.221, 1e-3);
        is(LATE.of_dose(15, 2.0) + LATE.of_dose(20, dose), 127.33, 1e-2);
        // Extra fractions take days themselves: five reach Friday, the sixth waits for a weekend.
        for (extra, days, worth) in [(5, 60.0, 67.2), (6, 63.0, 66.9), (7, 64.0, 68.4)] {
            is(of(FAST, 35 + extra, 2.0, days), worth, 1e-9);
        }
    }

    #[test]
    fn two_a_day_are_worth_more_the_closer_they_are() {
        is(LATE.of_one_day(2, 2.0, 6.0, 4.0), 7.609, 1e-3);
        is(LATE.of_one_day(2, 2.0, 8.0, 4.0), 7.333, 1e-3);
        // A day apart, all is repaired.
        is(LATE.of_one_day(2, 2.0, 1e6, 4.0), LATE.of_dose(2, 2.0), 1e-9);
        // Three a day, by the sum over their pairs: 2·(2θ + θ²)/3 of 4.5 Gy more, θ = 2^(-6/4).
        is(LATE.of_one_day(3, 1.5, 6.0, 4.0), 4.5 * (1.0 + (1.0 + 0.554_74) * 0.5), 1e-4);
        is(LATE.of_one_day(1, 2.0, 6.0, 4.0), LATE.of_dose(1, 2.0), 1e-12);
    }

    #[test]
    fn the_dose_for_a_worth_has_that_worth() {
        for fractions in 1..=40 {
            for bed in [0.0, 0.5, 20.0, 67.8, 140.0] {
                let dose = FAST.dose_for(bed, fractions).unwrap();
                is(FAST.of_dose(fractions, dose), bed, 1e-9);
            }
        }
        assert_eq!((FAST.dose_for(-1.0, 5), FAST.dose_for(1.0, 0)), (None, None));
    }

    #[test]
    fn what_no_course_has_is_refused_by_its_bound() {
        let error = Schedule::new(35, f64::NAN, 46.0).unwrap_err();
        assert_eq!(error.what, "dose per fraction");
        assert_eq!(Schedule::new(0, 2.0, 46.0).unwrap_err().to_string(), "fractions: 0, it must be 1 to 100 fractions");
        assert_eq!(Schedule::new(35, 2.0, -1.0).unwrap_err().what, "days");
        assert_eq!(Tissue::new(0.0, 0.9, 28.0).unwrap_err().to_string(), "alpha/beta: 0, it must be 0.1 to 50 Gy");
        assert!(Tissue::new(10.0, -0.1, 28.0).is_err() && Tissue::new(10.0, 0.9, f64::INFINITY).is_err());
    }
}

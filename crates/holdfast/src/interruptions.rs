//! Courses that were interrupted.

use std::ops::RangeInclusive;

use clap::{Args, Subcommand};
use kit::{Blame, Fault};
use serde_json::json;
use treatment::{Calendar, Choice, Day, Interrupted, Schedule, Tissue, Tissues, Worth};

use crate::acts::Answer;
use crate::{Output, commands};

/// What no tissue is outside of.
const REPAIR_HOURS: RangeInclusive<f64> = 0.1..=24.0;

#[derive(Subcommand)]
pub enum Command {
    /// What fractions over some days are worth: biologically effective dose, and the equivalent in fractions of 2 Gy. The
    /// parameters are a physicist's to choose.
    Bed {
        #[arg(long)]
        fractions: u32,
        #[arg(long, value_name = "GY")]
        dose_per_fraction_gy: f64,
        /// The last day minus the first.
        #[arg(long)]
        days: f64,
        #[arg(long, value_name = "GY")]
        alpha_beta_gy: f64,
        /// What proliferation takes back a day.
        #[arg(long, default_value_t = 0.0, value_name = "GY")]
        k_gy_per_day: f64,
        /// The day on which it begins.
        #[arg(long, default_value_t = 0.0, value_name = "DAYS")]
        tk_days: f64,
        #[command(flatten)]
        output: Output,
    },
    /// What a course that was interrupted is worth as planned, as it stands, and by each option of the guideline (RCR
    /// BFCO(19)1) in its order of preference. It reckons; a physicist checks, and a physician chooses.
    Weigh(Box<Weigh>),
}

#[derive(Args)]
pub struct Weigh {
    #[arg(long)]
    planned: u32,
    #[arg(long, value_name = "GY")]
    dose_per_fraction_gy: f64,
    /// The first fraction's day.
    #[arg(long, value_name = "DAY")]
    first: Day,
    /// Fractions given, one on each day of treatment from the first on.
    #[arg(long)]
    given: u32,
    /// First and last day without treatment: 2026-03-23..2026-03-27.
    #[arg(long, value_name = "FROM..TO", value_parser = outage)]
    outage: (Day, Day),
    /// A day on which nobody is treated, once for each; Saturdays and Sundays are none of treatment by themselves.
    #[arg(long = "holiday", value_name = "DAY")]
    holidays: Vec<Day>,
    /// The tumour's.
    #[arg(long, default_value_t = 10.0, value_name = "GY")]
    alpha_beta_gy: f64,
    /// What proliferation takes back a day.
    #[arg(long, default_value_t = 0.9, value_name = "GY")]
    k_gy_per_day: f64,
    /// The day on which it begins.
    #[arg(long, default_value_t = 28.0, value_name = "DAYS")]
    tk_days: f64,
    /// The late tissue's.
    #[arg(long, default_value_t = 3.0, value_name = "GY")]
    late_alpha_beta_gy: f64,
    /// In which half of the damage to it is repaired.
    #[arg(long, default_value_t = 4.0, value_name = "HOURS")]
    repair_half_time_hours: f64,
    #[command(flatten)]
    output: Output,
}

fn outage(text: &str) -> Result<(Day, Day), String> {
    let (from, to) = text.split_once("..").ok_or("two days are needed: 2026-03-23..2026-03-27")?;
    let day = |text: &str| text.parse::<Day>().map_err(|e| e.to_string());
    let (from, to) = (day(from)?, day(to)?);
    if from <= to { Ok((from, to)) } else { Err("it ends before it begins".to_owned()) }
}

impl Weigh {
    fn run(self) -> Result<u8, Fault> {
        let wrong = |error| Fault { code: "usage.bed".to_owned(), ..Fault::of(&error) };
        Schedule::new(self.planned, self.dose_per_fraction_gy, 0.0).map_err(wrong)?;
        let tissues = Tissues {
            tumour: Tissue::new(self.alpha_beta_gy, self.k_gy_per_day, self.tk_days).map_err(wrong)?,
            late: Tissue::new(self.late_alpha_beta_gy, 0.0, 0.0).map_err(wrong)?,
            repair_half_time_hours: self.repair_half_time_hours,
        };
        if !REPAIR_HOURS.contains(&self.repair_half_time_hours) {
            let text = format!("repair half-time: {}, it must be 0.1 to 24 hours", self.repair_half_time_hours);
            return Err(Fault::new(Blame::Peer, "usage.bed", text));
        }
        let usual = Calendar { holidays: self.holidays.into_iter().collect(), ..Calendar::default() };
        let now = Calendar { outages: vec![self.outage], ..usual.clone() };
        let given: Vec<Day> = now.from(self.first).take(usize::try_from(self.given).unwrap_or(usize::MAX)).collect();
        let course = Interrupted { dose_gy: self.dose_per_fraction_gy, planned: self.planned, given };
        let resumes = self.outage.1.plus(1);
        let nothing = || {
            let text = "nothing was given yet, or nothing is left, or what was given comes after the outage";
            Fault::new(Blame::Peer, "usage.course", text)
        };
        let begun = course.given.last().is_some_and(|last| *last < resumes);
        let found = course.assess(&tissues, &usual, &now, resumes).filter(|_| begun).ok_or_else(nothing)?;
        let mut text = format!(
            "{} days longer than planned\n{:<36} {:>4}  {:<10} {:>5}  {:>11} {:>7}  {:>10} {:>7}",
            found.days_lost, "", "frac", "last", "days", "tumour BED", "EQD2", "late BED", "EQD2"
        );
        let mut row = |what: &str, worth: &Worth| {
            let Worth { fractions, last, days, tumour_bed, tumour_eqd2, late_bed, late_eqd2, .. } = worth;
            text.push_str(&format!(
                "\n{what:<36} {fractions:>4}  {last} {days:>6}  {tumour_bed:>11.2} {tumour_eqd2:>7.2}  {late_bed:>10.2} {late_eqd2:>7.2}"
            ));
        };
        row("as planned", &found.as_planned);
        row("as it stands", &found.as_it_stands);
        for (number, option) in (1..).zip(&found.options) {
            let what = match option.choice {
                Choice::EveryDay => "on weekends and holidays, too".to_owned(),
                Choice::TwiceADay { days } => format!("two a day, 6 h apart, on {days} days"),
                Choice::LargerFractions { fractions, dose_gy } => format!("{fractions} larger ones of {dose_gy:.2} Gy"),
                Choice::ExtraFractions { extra } => format!("{extra} more"),
            };
            row(&format!("{number}. {what}"), &option.worth);
        }
        text.push_str(
            "\n  doses in Gy, by the linear-quadratic model; a physicist checks them, and a physician chooses",
        );
        Ok(commands::print(self.output, &Answer::done(text, serde_json::to_value(&found).unwrap_or_default())))
    }
}

impl Command {
    pub fn run(self) -> Result<u8, Fault> {
        let (fractions, dose_per_fraction_gy, days, alpha_beta_gy, k_gy_per_day, tk_days, output) = match self {
            Self::Weigh(weigh) => return weigh.run(),
            Self::Bed { fractions, dose_per_fraction_gy, days, alpha_beta_gy, k_gy_per_day, tk_days, output } => {
                (fractions, dose_per_fraction_gy, days, alpha_beta_gy, k_gy_per_day, tk_days, output)
            }
        };
        let wrong = |error| Fault { code: "usage.bed".to_owned(), ..Fault::of(&error) };
        let tissue = Tissue::new(alpha_beta_gy, k_gy_per_day, tk_days).map_err(wrong)?;
        let schedule = Schedule::new(fractions, dose_per_fraction_gy, days).map_err(wrong)?;
        let (bed, lost) = (tissue.bed(&schedule), tissue.lost(days));
        let eqd2 = tissue.eqd2(bed);
        let text = format!(
            "BED {bed:.2} Gy (alpha/beta {alpha_beta_gy} Gy), EQD2 {eqd2:.2} Gy\n  proliferation took {lost:.2} Gy of it in {days} \
             days\n  by the linear-quadratic model; its parameters are a physicist's to confirm"
        );
        // No more digits than the model has a use for, and none that come of the arithmetic.
        let rounded = |gy: f64| (gy * 1e6).round() / 1e6;
        let json = json!({ "bed_gy": rounded(bed), "eqd2_gy": rounded(eqd2), "lost_gy": rounded(lost) });
        Ok(commands::print(output, &Answer::done(text, json)))
    }
}

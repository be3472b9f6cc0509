//! Courses that were interrupted.

use std::ops::RangeInclusive;

use clap::{Args, Subcommand};
use kit::{Blame, Fault};
use serde_json::json;
use treatment::{Calendar, Chooses, Day, Interrupted, Schedule, Tissue, Tissues};

use crate::acts::{Act, Answer};
use crate::commands::Signing;
use crate::{Data, Output, commands, reports};

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
    /// Everybody on treatment whose course an outage hits: who first, days lost, and what each option is worth. By the rules that a
    /// physicist has signed (`holdfast rules`), or figures of common use. It opens the charts of all of them, for an emergency, and
    /// the ledger says so.
    Triage {
        /// First and last day without treatment: 2026-03-23..2026-03-27.
        #[arg(long, value_name = "FROM..TO", value_parser = outage)]
        outage: (Day, Day),
        #[command(flatten)]
        data: Data,
        #[command(flatten)]
        output: Output,
    },
    /// Sign what is to be done about one patient's interrupted course, with an oncologist's own key. It approves nothing: another dose
    /// or number of fractions needs a plan of its own.
    Choose {
        /// The same days as the triage's.
        #[arg(long, value_name = "FROM..TO", value_parser = outage)]
        outage: (Day, Day),
        /// In at most 200 characters, as the triage has it: "two a day, 6 h apart, on 5 days".
        #[arg(long, value_name = "TEXT")]
        option: String,
        #[command(flatten)]
        signing: Signing,
    },
}

#[derive(Args)]
pub struct Weigh {
    #[arg(long)]
    planned: u32,
    /// Fractions of one day, six hours apart.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=3))]
    per_day: u32,
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
        let per_day = usize::try_from(self.per_day).unwrap_or(1);
        let each = now.from(self.first).flat_map(|day| std::iter::repeat_n(day, per_day));
        let given: Vec<Day> = each.take(usize::try_from(self.given).unwrap_or(usize::MAX)).collect();
        let course =
            Interrupted { dose_gy: self.dose_per_fraction_gy, planned: self.planned, per_day: self.per_day, given };
        let resumes = self.outage.1.plus(1);
        let nothing = || {
            let text = "nothing was given yet, or nothing is left, or what was given comes after the outage";
            Fault::new(Blame::Peer, "usage.course", text)
        };
        let begun = course.given.last().is_some_and(|last| *last < resumes);
        let found = course.assess(&tissues, &usual, &now, resumes).filter(|_| begun).ok_or_else(nothing)?;
        let mut text = format!("{} days longer than planned\n{}", found.days_lost, reports::assessment(&found));
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
            Self::Triage { outage: (first, last), data, output } => {
                return commands::act(&data, output, Act::Triage { first: first.to_string(), last: last.to_string() });
            }
            Self::Choose { outage: (first, last), option, signing } => {
                let (first, last) = (first.to_string(), last.to_string());
                let chooses = Chooses { first, last, option };
                let (patient, role, signer) = signing.who();
                let meant = chooses.clone();
                let ask =
                    |plan| Act::PlanStatement { patient, plan, role, signer, withdraws: None, chooses: Some(chooses) };
                let approval = signing.sign(ask, |said| said.chooses.as_ref() == Some(&meant))?;
                return signing.hand_in(Act::InterruptionChoose { approval });
            }
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

//! Courses that were interrupted.

use clap::Subcommand;
use kit::Fault;
use serde_json::json;
use treatment::{Schedule, Tissue};

use crate::acts::Answer;
use crate::{Output, commands};

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
}

impl Command {
    pub fn run(self) -> Result<u8, Fault> {
        let Self::Bed { fractions, dose_per_fraction_gy, days, alpha_beta_gy, k_gy_per_day, tk_days, output } = self;
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

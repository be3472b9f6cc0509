//! Does the gate say what the tampering's own truth says?
//!
//! Verifies: every plan file that delivers something else, that nobody could deliver, that is made out to somebody
//! else, or that nobody signed, is vetoed with a reason; every harmless re-export of a signed plan is released. Does
//! not verify: that the reason names the right field, or that the signed plan itself is a good one.

use super::Findings;
use crate::system::Verdict;

/// One question to the gate, and the answer that the truth demands.
#[derive(Clone, Debug)]
pub struct Trial {
    /// Which plan, for the report.
    pub plan: String,
    /// What was done to it.
    pub what: String,
    pub must_release: bool,
}

/// What is wrong with the gate's answer; an error is no release.
pub fn judge(trial: &Trial, answer: &Result<Verdict, String>) -> Option<String> {
    let Trial { plan, what, must_release } = trial;
    match (answer, must_release) {
        (Ok(Verdict { released: true, .. }), true) => None,
        (Ok(Verdict { released: true, .. }), false) => Some(format!("plan {plan} was RELEASED although: {what}")),
        (Ok(Verdict { reasons, .. }), false) if reasons.is_empty() => {
            Some(format!("plan {plan} was vetoed without a reason; the change: {what}"))
        }
        (_, false) => None,
        (Ok(Verdict { reasons, .. }), true) => {
            Some(format!("plan {plan} was vetoed although harmless ({what}): {}", reasons.join("; ")))
        }
        (Err(why), true) => Some(format!("plan {plan} was not released although harmless ({what}): {why}")),
    }
}

/// Counts of a series of trials.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    pub dangerous: usize,
    pub harmless: usize,
    pub findings: Findings,
}

impl Tally {
    pub fn count(&mut self, trial: &Trial, answer: &Result<Verdict, String>) {
        if trial.must_release {
            self.harmless += 1;
        } else {
            self.dangerous += 1;
        }
        if let Some(finding) = judge(trial, answer) {
            self.findings.add(finding);
        }
    }
}

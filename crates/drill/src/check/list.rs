//! Is the treatment list the truth?
//!
//! Verifies: every patient in the middle of a course is on it once, under her own number, name and birth date, with
//! the plan's label, the machine, the next fraction and the number planned, all as the generator made them; nobody is
//! on it who should not be. A patient with a complete course may be on it or not, but never with a next fraction. Does
//! not verify: the order of the rows, or how the list is shown.

use std::collections::{BTreeMap, BTreeSet};

use super::Findings;
use crate::synthetic::SyntheticPatient;
use crate::system::ListRow;

/// What one row must say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrueRow {
    pub number: String,
    /// Her name, in her script or romanised.
    pub names: [String; 2],
    pub birth_date: String,
    pub plan: String,
    pub machine: String,
    /// Nothing where all fractions are given.
    pub fraction_next: Option<u32>,
    pub fractions_planned: u32,
}

impl TrueRow {
    /// Nothing for a patient who is not on treatment.
    pub fn of(patient: &SyntheticPatient) -> Option<Self> {
        let course = patient.course.as_ref()?;
        Some(Self {
            number: patient.number.clone(),
            names: [patient.name.text(), patient.name.text_latin()],
            birth_date: patient.birth_date.clone(),
            plan: course.plan_label.clone(),
            machine: course.machine.clone(),
            fraction_next: course.fraction_next(),
            fractions_planned: course.fractions_planned,
        })
    }
}

/// Compares; `strangers` are hospital numbers that came from the user's own files, of which the drill knows no truth.
pub fn judge(truth: &[TrueRow], rows: &[ListRow], strangers: &BTreeSet<String>) -> Findings {
    let mut findings = Findings::default();
    let mut listed: BTreeMap<&str, Vec<&ListRow>> = BTreeMap::new();
    for row in rows {
        listed.entry(row.number.as_str()).or_default().push(row);
    }
    for patient in truth {
        let number = patient.number.as_str();
        match listed.remove(number).as_deref() {
            None | Some([]) if patient.fraction_next.is_none() => {}
            None | Some([]) => findings.add(format!("{number} is on treatment and not on the list")),
            Some([row]) => compare(patient, row, &mut findings),
            Some(several) => findings.add(format!("{number} is on the list {} times", several.len())),
        }
    }
    for number in listed.keys().filter(|number| !strangers.contains(**number)) {
        findings.add(format!("{number} is on the list and not on treatment"));
    }
    findings
}

fn compare(truth: &TrueRow, row: &ListRow, findings: &mut Findings) {
    let mut wrong = |field: &str, is: &str, should: &str| {
        findings.add(format!("{}: {field} is “{is}”, and should be “{should}”", truth.number));
    };
    let fraction = |n: Option<u32>| n.map_or("none".to_owned(), |n| n.to_string());
    if !truth.names.contains(&row.name) {
        wrong("name", &row.name, &truth.names.join("” or “"));
    }
    if row.birth_date != truth.birth_date {
        wrong("birth date", &row.birth_date, &truth.birth_date);
    }
    if row.plan != truth.plan {
        wrong("plan", &row.plan, &truth.plan);
    }
    if row.machine != truth.machine {
        wrong("machine", &row.machine, &truth.machine);
    }
    if row.fraction_next != truth.fraction_next {
        wrong("next fraction", &fraction(row.fraction_next), &fraction(truth.fraction_next));
    }
    if row.fractions_planned != Some(truth.fractions_planned) {
        let (is, should) = (fraction(row.fractions_planned), truth.fractions_planned.to_string());
        wrong("number of fractions", &is, &should);
    }
}

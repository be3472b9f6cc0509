//! Chart checks: what a physicist looks through at approval, every week and at the end, as far as a program can.
//!
//! After the failure modes of AAPM TG-275 (2020) that can be told from the records. A check that fails stops nothing: the gate holds what
//! it holds. What can't be established is unknown, never a pass.

use std::collections::BTreeSet;

use dicom_core::Tag;
use dicom_dictionary_std::tags as t;
use serde::Serialize;

use crate::beside::{Beside, Order, Side};
use crate::gate::{Note, Verdict};
use crate::given::dose::{BeamTotal, ReferenceDose};
use crate::given::doses;
use crate::given::{Given, TreatmentRecord};
use crate::interruption::calendar::Day;
use crate::interruption::rules::Rules;
use crate::plan::delivery::{Class, Row, Value};
use crate::plan::prescription::Dose;
use crate::plan::{ApprovalStatus, Beam, FractionGroup, Plan};

/// Two doses that are one, in ten-thousandths: beam doses are written to the centigray.
const DOSE_SLACK: i64 = 100;
/// And of the whole.
const DOSE_SHARE: i64 = 100;
/// What a beam may have delivered over or under, of what it should have.
const METERSET_SHARE: i64 = 20;
/// Doses that differ, of which a line tells.
const WRONG_SHOWN: usize = 5;
/// A weekly check looks back so far.
const WEEK_DAYS: i32 = 7;

/// When a check is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Stage {
    Approval,
    Weekly,
    End,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    Pass,
    Fail,
    /// It was established, and too long ago.
    Stale,
    Unknown,
}

/// One line of the table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Check {
    pub stage: Stage,
    pub code: &'static str,
    /// In words: what is right where it passes.
    pub what: &'static str,
    pub state: State,
    pub evidence: String,
    /// The day of the newest signature or treatment record that it rests on. None where it rests on the plan, and on her record as it
    /// is now.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub evidence_from: Option<Day>,
}

/// One course, with all that is known of it.
pub struct Checked<'a> {
    pub plan: &'a Plan,
    pub group: &'a FractionGroup,
    pub rules: &'a Rules,
    /// What the gate says now.
    pub verdict: &'a Verdict,
    pub given: &'a Given,
    pub dose: &'a [ReferenceDose],
    pub beams: &'a [BeamTotal],
    /// Those of this plan.
    pub records: &'a [&'a TreatmentRecord],
    /// Of each fraction, in order.
    pub days: &'a [Day],
    /// When it was signed last.
    pub signed: Option<Day>,
    /// What the rest of her record says.
    pub beside: &'a Beside,
    pub today: Day,
}

type Answer = (State, String);

/// All checks that have their time, in their order.
pub fn check(course: &Checked<'_>) -> Vec<Check> {
    let recorded =
        course.records.iter().filter_map(|record| record.treated_on.as_deref().and_then(Day::of_dicom)).max();
    let of = |stage, code, what, (state, evidence): Answer| {
        let evidence_from = match (stage, code) {
            (Stage::Weekly | Stage::End, _) => recorded,
            (Stage::Approval, "signatures") => course.signed,
            (Stage::Approval, _) => None,
        };
        Check { stage, code, what, state, evidence, evidence_from }
    };
    let mut checks = vec![
        of(Stage::Approval, "identity", "the plan is hers", course.identity()),
        of(
            Stage::Approval,
            "signatures",
            "an oncologist and a physicist have signed what it delivers",
            course.signatures(),
        ),
        of(Stage::Approval, "planning-status", "the planning system has approved it", course.planning_status()),
        of(Stage::Approval, "prescription", "its fractions make the prescribed dose", course.prescription()),
        of(Stage::Approval, "order", "it is what was ordered", course.order()),
        of(Stage::Approval, "side", "its side is the diagnosis's", course.side()),
        of(Stage::Approval, "site", "it treats where the diagnosis is", course.site()),
        of(
            Stage::Approval,
            "organ-limits",
            "its fractions keep the organs' limits",
            course.organ_limits(|dose, planned| dose.per_fraction.map(|each| each.times(planned))),
        ),
        of(
            Stage::Approval,
            "isocentre",
            "its beams have one isocentre",
            course.same(t::ISOCENTER_POSITION, "isocentre"),
        ),
        of(
            Stage::Approval,
            "position",
            "its beams have one patient position",
            course.same(t::PATIENT_POSITION, "position"),
        ),
        of(Stage::Approval, "bolus", "its beams have the same bolus", course.same(t::NUMBER_OF_BOLI, "number of boli")),
        of(Stage::Approval, "tolerance-table", "each beam has a tolerance table", course.tolerance_table()),
        of(Stage::Approval, "machine-limits", "each beam is within its machine's limits", course.machine_limits()),
        of(Stage::Approval, "prior-dose", "she was treated by no other plan", course.prior_dose()),
        of(Stage::Approval, "schedule", "a day is booked for each fraction that is left", course.schedule()),
    ];
    if *course.given != Given::NONE {
        checks.extend([
            of(Stage::Weekly, "fractions", "each fraction is on record", course.fractions()),
            of(Stage::Weekly, "sessions", "a week's sessions were verified and ended by themselves", course.sessions()),
            of(Stage::Weekly, "metersets", "each beam has delivered its metersets", course.metersets()),
            of(Stage::Weekly, "intervals", "one fraction a day", course.intervals()),
            of(Stage::Weekly, "recorded-doses", "doses that the machines say are the plan's", course.recorded_doses()),
            of(
                Stage::Weekly,
                "organ-doses",
                "what was given keeps the organs' limits",
                course.organ_limits(|dose, _| dose.at_most),
            ),
        ]);
    }
    if course.given.fractions().is_some_and(|given| given >= course.group.fractions_planned) {
        checks.push(of(Stage::End, "total-dose", "the prescribed dose was given", course.total_dose()));
    }
    checks
}

fn judged(passes: bool, evidence: String) -> Answer {
    (if passes { State::Pass } else { State::Fail }, evidence)
}

fn unknown(why: impl Into<String>) -> Answer {
    (State::Unknown, why.into())
}

fn agree(one: Dose, other: Dose) -> bool {
    (one.0 - other.0).abs() <= DOSE_SLACK.max(other.0.abs() / DOSE_SHARE)
}

impl Checked<'_> {
    /// Findings of these codes fail it.
    fn without(&self, codes: &[&str], passes: &str) -> Answer {
        let found = self.verdict.findings.iter().filter(|finding| codes.contains(&finding.code()));
        let said: Vec<String> =
            found.map(|finding| finding.to_string().lines().next().unwrap_or_default().to_owned()).collect();
        if said.is_empty() { (State::Pass, passes.to_owned()) } else { (State::Fail, said.join("; ")) }
    }

    fn identity(&self) -> Answer {
        let codes = [
            "no-patient-id",
            "another-patient",
            "birth-date-differs",
            "sex-differs",
            "patient-unknown",
            "patient-ambiguous",
            "filed-under-another",
            "record-ended",
        ];
        self.without(&codes, "number, date of birth and sex agree")
    }

    fn signatures(&self) -> Answer {
        let codes = [
            "not-approved",
            "approved-by-one",
            "same-person-twice",
            "withdrawn",
            "rejected",
            "out-of-tolerance",
            "delivery-differs",
        ];
        self.without(&codes, "two people, and nothing has changed since")
    }

    fn planning_status(&self) -> Answer {
        match self.plan.approval_status {
            Some(ApprovalStatus::Approved) => (State::Pass, "APPROVED".to_owned()),
            Some(ApprovalStatus::Unapproved) => (State::Fail, "UNAPPROVED".to_owned()),
            Some(ApprovalStatus::Rejected) => (State::Fail, "REJECTED".to_owned()),
            Some(ApprovalStatus::Unclear) => unknown("Approval Status (300E,0002) says none of its terms"),
            None => unknown("Approval Status (300E,0002) isn't there"),
        }
    }

    fn prescription(&self) -> Answer {
        let planned = self.group.fractions_planned;
        let targets = || self.dose.iter().filter(|dose| dose.reference.is_target);
        if targets().next().is_none() {
            return unknown("the plan names no target");
        }
        let mut said = Vec::new();
        let mut passes = true;
        for target in targets() {
            let (Some(each), Some(prescribed)) = (target.per_fraction, target.reference.prescribed) else {
                return unknown("of a target the plan doesn't say what is prescribed, or what its beams give");
            };
            passes &= agree(each.times(planned), prescribed);
            said.push(format!("{planned} × {each} = {}, prescribed {prescribed}", each.times(planned)));
        }
        judged(passes, said.join("; "))
    }

    /// One of the orders, fractions and doses.
    fn order(&self) -> Answer {
        let planned = self.group.fractions_planned;
        let targets: Vec<(Option<Dose>, Option<Dose>)> = (self.dose.iter().filter(|dose| dose.reference.is_target))
            .map(|dose| (dose.per_fraction.map(|each| each.times(planned)), dose.per_fraction))
            .collect();
        let ordered: Vec<String> = self.beside.orders.iter().map(Order::to_string).collect();
        if ordered.is_empty() {
            return unknown("no order for radiotherapy (ServiceRequest) is in her record");
        }
        // Of what both say, nothing differs; what isn't said on both sides isn't known.
        let fits = |order: &Order| -> Option<bool> {
            let one = |said: &(Option<Dose>, Option<Dose>)| {
                let same = |target: &(Option<Dose>, Option<Dose>)| {
                    let both = [said.0.zip(target.0), said.1.zip(target.1)];
                    both.iter().flatten().all(|(ordered, planned)| agree(*planned, *ordered))
                        && both.iter().any(Option::is_some)
                };
                targets.iter().any(same)
            };
            if order.fractions.is_some_and(|fractions| fractions != planned) {
                return Some(false);
            }
            (order.fractions.is_some() && !order.doses.is_empty() && targets.iter().any(|target| target.0.is_some()))
                .then(|| order.doses.iter().all(one))
        };
        let planned = targets.iter().filter_map(|(total, _)| total.map(|total| total.to_string()));
        let planned =
            format!("{} fractions, {}", self.group.fractions_planned, planned.collect::<Vec<_>>().join(" and "));
        let evidence = format!("ordered: {}; planned: {planned}", ordered.join(" | "));
        let judged: Vec<Option<bool>> = self.beside.orders.iter().map(fits).collect();
        match judged.contains(&Some(true)) {
            true => (State::Pass, evidence),
            false if judged.contains(&None) => unknown(evidence),
            false => (State::Fail, evidence),
        }
    }

    fn side(&self) -> Answer {
        let planned: BTreeSet<Side> = self.plan.sites.iter().flat_map(|words| Side::of_words(words)).collect();
        let diagnosed = &self.beside.sides;
        let words =
            |sides: &BTreeSet<Side>| match sides.iter().map(|side| side.word()).collect::<Vec<_>>().join(" and ") {
                none if none.is_empty() => "no side".to_owned(),
                sides => sides,
            };
        let evidence = format!("the diagnosis says {}, the plan {}", words(diagnosed), words(&planned));
        match (planned.is_empty(), diagnosed.is_empty()) {
            (true, true) => (State::Pass, evidence),
            (false, false) => judged(planned.is_subset(diagnosed), evidence),
            _ => unknown(evidence),
        }
    }

    /// Words that are the same pass; that others mean another place, a person says.
    fn site(&self) -> Answer {
        let plain = |words: &String| words.trim().to_lowercase();
        let (planned, diagnosed): (Vec<String>, Vec<String>) =
            (self.plan.sites.iter().map(plain).collect(), self.beside.sites.iter().map(plain).collect());
        let evidence = format!("plan: {}; diagnosis: {}", self.plan.sites.join(", "), self.beside.sites.join(", "));
        let is_one = |words: &String| {
            words.len() > 2
                && diagnosed.iter().any(|other| other.contains(words.as_str()) || words.contains(other.as_str()))
        };
        if planned.iter().any(is_one) { (State::Pass, evidence) } else { unknown(evidence) }
    }

    fn schedule(&self) -> Answer {
        let Some(given) = self.given.fractions() else { return unknown("how many were given isn't known") };
        let left = usize::try_from(self.group.fractions_planned.saturating_sub(given)).unwrap_or(usize::MAX);
        if left == 0 {
            return (State::Pass, "none is left".to_owned());
        }
        let booked: Vec<Day> = self.beside.booked.iter().copied().filter(|day| *day >= self.today).collect();
        let Some(last) = booked.last() else {
            return unknown(format!(
                "{left} are left, and no appointment from today on says that it is for radiotherapy"
            ));
        };
        let closed = booked.iter().filter(|day| !self.rules.calendar().treats(**day)).map(Day::to_string);
        let closed: Vec<String> = closed.collect();
        if !closed.is_empty() {
            return (State::Fail, format!("booked on days on which nobody is treated: {}", closed.join(", ")));
        }
        judged(booked.len() >= left, format!("{left} are left, {} booked, the last one on {last}", booked.len()))
    }

    /// `of`: what counts for an organ.
    fn organ_limits(&self, of: impl Fn(&ReferenceDose, u32) -> Option<Dose>) -> Answer {
        let organs = || self.dose.iter().filter(|dose| !dose.reference.is_target);
        let limited: Vec<(&ReferenceDose, Dose)> =
            organs().filter_map(|organ| Some((organ, organ.reference.maximum?))).collect();
        if limited.is_empty() {
            return unknown("the plan names no organ with a limit");
        }
        let (mut passes, mut said) = (true, Vec::new());
        for (organ, limit) in limited {
            let name = organ.reference.named();
            let Some(dose) = of(organ, self.group.fractions_planned) else {
                return unknown(format!("{name}: the dose isn't known"));
            };
            passes &= dose <= limit;
            said.push(format!("{name}: {dose}, at most {limit}"));
        }
        judged(passes, said.join("; "))
    }

    fn treating(&self) -> impl Iterator<Item = &Beam> {
        self.plan.beams.iter().filter(|beam| beam.treats && self.group.beams.contains(&beam.number))
    }

    /// The rows of one attribute, of the treating beams.
    fn rows(&self, tag: Tag) -> impl Iterator<Item = &Row> {
        let numbers: BTreeSet<u32> = self.treating().map(|beam| beam.number).collect();
        let is_theirs = move |row: &&Row| row.place.beam.is_some_and(|beam| numbers.contains(&beam));
        self.plan.delivery.rows().iter().filter(move |row| row.tag == tag).filter(is_theirs)
    }

    /// Of the first control point, or of the beam.
    fn same(&self, tag: Tag, what: &str) -> Answer {
        let mut values: Vec<(u32, &Value)> = Vec::new();
        for row in self.rows(tag).filter(|row| row.place.point.is_none_or(|point| point == 0)) {
            values.extend(row.place.beam.map(|beam| (beam, &row.value)));
        }
        let Some((_, first)) = values.first() else { return unknown(format!("the plan doesn't say a {what}")) };
        let others: Vec<String> =
            values.iter().filter(|(_, value)| value != first).map(|(beam, _)| format!("beam {beam}")).collect();
        match others.as_slice() {
            [] => (State::Pass, format!("one {what} for {} beams", values.len())),
            others => (State::Fail, format!("another {what}: {}", others.join(", "))),
        }
    }

    fn tolerance_table(&self) -> Answer {
        let has = |beam: &Beam| {
            self.plan.delivery.rows().iter().any(|row| {
                row.class == Class::Toleranced
                    && row.place.beam == Some(beam.number)
                    && row.place.part.as_deref().is_some_and(|part| part.starts_with("tolerance"))
            })
        };
        let without: Vec<String> =
            self.treating().filter(|beam| !has(beam)).map(|beam| format!("beam {}", beam.number)).collect();
        match without.as_slice() {
            [] => (State::Pass, "in the plan".to_owned()),
            without => unknown(format!("not in the plan: {}", without.join(", "))),
        }
    }

    fn machine_limits(&self) -> Answer {
        let mut wrong = Vec::new();
        for beam in self.treating() {
            let Some(machine) = self.rules.machine(&beam.machine) else {
                return unknown(format!("machine {:?} is not in the rules", beam.machine));
            };
            let limits =
                [(t::NOMINAL_BEAM_ENERGY, "energy", None), (t::DOSE_RATE_SET, "dose rate", machine.dose_rate_max)];
            for (tag, what, most) in limits {
                for row in self.rows(tag).filter(|row| row.place.beam == Some(beam.number)) {
                    let Value::Numbers(values) = &row.value else { continue };
                    for value in values.iter().map(|value| unit(*value)) {
                        let is_energy = tag == t::NOMINAL_BEAM_ENERGY;
                        let is_none_of_its =
                            is_energy && machine.energies.as_ref().is_some_and(|known| !known.contains(&value));
                        if is_none_of_its || most.is_some_and(|most| value > most) {
                            wrong.push(format!("beam {}: {what} {value}", beam.number));
                        }
                    }
                }
            }
            let meterset = self.group.metersets.get(&beam.number).copied().map(unit);
            if meterset.zip(machine.meterset_max).is_some_and(|(meterset, most)| meterset > most) {
                wrong.push(format!("beam {}: meterset {}", beam.number, meterset.unwrap_or_default()));
            }
        }
        wrong.dedup();
        if wrong.is_empty() { (State::Pass, "by the site's rules".to_owned()) } else { (State::Fail, wrong.join("; ")) }
    }

    fn prior_dose(&self) -> Answer {
        match self.verdict.notes.contains(&Note::OthersGiven) {
            true => unknown("fractions of another delivery are on record: a physicist adds them up"),
            false => (State::Pass, "no record of another delivery is here".to_owned()),
        }
    }

    fn fractions(&self) -> Answer {
        match self.given {
            Given::Unknown { why } => unknown(why.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")),
            Given::Known { distinct, highest, .. } if distinct < highest => {
                (State::Fail, format!("{distinct} on record, {highest} by their numbers or a summary"))
            }
            Given::Known { distinct, unfinished: Some(number), .. } => {
                (State::Fail, format!("{distinct} on record, fraction {number} isn't finished"))
            }
            Given::Known { distinct, .. } => (State::Pass, format!("{distinct} on record")),
        }
    }

    fn sessions(&self) -> Answer {
        let day = |record: &TreatmentRecord| record.treated_on.as_deref().and_then(Day::of_dicom);
        let recent: Vec<&&TreatmentRecord> = (self.records.iter())
            .filter(|record| day(record).is_some_and(|day| (0..WEEK_DAYS).contains(&self.today.since(day))))
            .collect();
        let newest = self.records.iter().filter_map(|record| day(record)).max();
        let is_over = self.given.fractions().is_some_and(|given| given >= self.group.fractions_planned);
        if recent.is_empty() {
            return match newest {
                Some(newest) if is_over => (State::Pass, format!("the last one was on {newest}")),
                Some(newest) => (State::Stale, format!("the last one was on {newest}")),
                None => unknown("no record says its day"),
            };
        }
        let beams = || recent.iter().flat_map(|record| &record.beams).filter(|beam| !beam.imaging);
        let odd = beams().filter(|beam| {
            beam.termination.as_deref().is_some_and(|ended| ended != "NORMAL")
                || beam.verification.as_deref().is_some_and(|verified| verified != "VERIFIED")
                || !beam.overrides.is_empty()
        });
        let (odd, all) = (odd.count(), beams().count());
        let unsaid = beams().filter(|beam| beam.termination.is_none() || beam.verification.is_none()).count();
        match (odd, unsaid) {
            (0, 0) => (State::Pass, format!("{all} beams of {} records", recent.len())),
            (0, unsaid) => {
                unknown(format!("{unsaid} of {all} beams don't say how they ended, or whether they were verified"))
            }
            (odd, _) => (State::Fail, format!("{odd} of {all} beams were interrupted, overridden or not verified")),
        }
    }

    fn metersets(&self) -> Answer {
        let Given::Known { distinct, .. } = self.given else {
            return unknown("how many fractions were given isn't known");
        };
        let wrong: Vec<String> = (self.beams.iter())
            .filter(|beam| {
                let should = beam.meterset.saturating_mul(i64::from(*distinct));
                (beam.delivered - should).abs() > should / METERSET_SHARE
            })
            .map(|beam| {
                let should = unit(beam.meterset) * f64::from(*distinct);
                format!("beam {}: {:.2} of {should:.2}", beam.number, unit(beam.delivered))
            })
            .collect();
        if wrong.is_empty() {
            (State::Pass, format!("{} beams", self.beams.len()))
        } else {
            (State::Fail, wrong.join("; "))
        }
    }

    /// What the records say of dose themselves, beside the plan's: of each session, and of what a summary sums up.
    fn recorded_doses(&self) -> Answer {
        let of_all = self.records.iter().flat_map(|record| {
            doses::beside(self.plan, record).into_iter().map(|dose| (record.treated_on.as_deref(), dose))
        });
        let (mut compared, mut unsaid, mut wrong) = (0_u32, 0_u32, Vec::new());
        for (day, dose) in of_all {
            match dose.agrees() {
                Some(true) => compared += 1,
                None => unsaid += 1,
                Some(false) => {
                    let day = day.and_then(Day::of_dicom).map_or("a day unknown".to_owned(), |day| day.to_string());
                    let planned = dose.planned.unwrap_or_default();
                    wrong.push(format!("{day}: {} at {}, by the plan {planned}", dose.said, dose.reference.named()));
                }
            }
        }
        let newest = self.records.iter().filter_map(|record| record.treated_on.as_deref()).max();
        for record in self.records {
            for said in &record.summed_doses {
                let Some(known) = self.dose.iter().find(|dose| dose.reference.number == said.reference) else {
                    continue;
                };
                // What it sums up to which day, or how much it may be, isn't said: nothing to compare.
                let (Some(at_least), Some(at_most), true) = (known.at_least, known.at_most, record.summed_to.is_some())
                else {
                    unsaid += 1;
                    continue;
                };
                // What was given since isn't in it.
                let is_up_to_now = record.summed_to.as_deref() >= newest;
                let at_least = if is_up_to_now { at_least } else { Dose::default() };
                if said.how.agrees_within(said.dose, at_least, at_most) {
                    compared += 1;
                } else {
                    wrong.push(format!(
                        "a summary: {} at {}, by the records {}",
                        said.dose,
                        known.reference.named(),
                        known.in_words()
                    ));
                }
            }
        }
        match (wrong.as_slice(), compared, unsaid) {
            ([], 0, 0) => unknown("no record says a dose"),
            ([], _, 0) => (State::Pass, format!("{compared} doses, calculated or measured")),
            ([], _, unsaid) => unknown(format!(
                "{unsaid} of {} doses can't be compared: the plan doesn't say its own",
                compared + unsaid
            )),
            (wrong, ..) => {
                let more = wrong.len().saturating_sub(WRONG_SHOWN);
                let mut said = wrong.get(..WRONG_SHOWN.min(wrong.len())).unwrap_or_default().join("; ");
                if more > 0 {
                    said.push_str(&format!("; and {more} more"));
                }
                (State::Fail, said)
            }
        }
    }

    fn intervals(&self) -> Answer {
        let twice = self.days.windows(2).filter_map(|pair| match pair {
            [one, other] if one == other => Some(one.to_string()),
            _ => None,
        });
        let twice: Vec<String> = twice.collect();
        match (self.days, twice.as_slice()) {
            ([], _) => unknown("no record says its day"),
            ([.., last], []) => (State::Pass, format!("{} days, the last one {last}", self.days.len())),
            (_, twice) => (State::Fail, format!("more than one on {}", twice.join(", "))),
        }
    }

    fn total_dose(&self) -> Answer {
        let mut said = Vec::new();
        let mut passes = true;
        for target in self.dose.iter().filter(|dose| dose.reference.is_target) {
            let (Some(prescribed), Some(least), Some(most)) =
                (target.reference.prescribed, target.at_least, target.at_most)
            else {
                return unknown("of a target the dose isn't known");
            };
            passes &= agree(least, prescribed) && agree(most, prescribed);
            said.push(format!("{least}, prescribed {prescribed}"));
        }
        if said.is_empty() { unknown("the plan names no target") } else { judged(passes, said.join("; ")) }
    }
}

#[allow(clippy::cast_precision_loss)] // far below 2^52 thousandths
fn unit(thousandths: i64) -> f64 {
    thousandths as f64 / 1e3
}

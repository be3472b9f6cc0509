//! The real treatment room behind the seam of the drill of wrong doses: what it reads, counts and decides, without the store.

use std::collections::BTreeSet;
use std::path::PathBuf;

use drill::synthetic::TECHNIQUES;
use drill::system::{SoFar, Verdict};
use drill::wrong_dose::{self, Gate, Options, Room};
use guard::SigningKey;
use kit::{Blame, Clock, Digest, Explain, Fault, OsEntropy, PatientId, SystemClock, Timestamp};
use treatment::given::dose;
use treatment::{
    Asked, Course, Enrolment, Expected, GateInput, Given, Outcome, Plan, PlanContext, RULES_FORM, Rules, Signed,
    SignerRole, Statement, TreatmentRecord, VerifiedApproval, decide,
};

use crate::drill_system::{Place, Real, short_seed, told};

/// Courses, and plans, of one drill: each takes some milliseconds.
const COURSES_MAX: usize = 1_000_000;
const CENTRE: &str = "Drill centre";
const PATIENT: PatientId = PatientId([7; 16]);

/// What stands beside each plan.
const CONTEXT: PlanContext = PlanContext {
    structure_set: None,
    images: None,
    dose: None,
    prescription: Digest([1; 32]),
    tolerance_tables: Digest([2; 32]),
};

struct RealRoom;

fn unreadable(error: &impl Explain) -> Fault {
    Fault::new(Blame::Peer, "drill.plan", error.to_string())
}

impl Room for RealRoom {
    fn so_far(&self, plan: &[u8], group: u32, records: &[Vec<u8>]) -> Result<SoFar, Fault> {
        let plan = Plan::parse(plan).map_err(|e| unreadable(&e))?;
        let none = || Fault::new(Blame::Ours, "drill.group", format!("the plan has no fraction group {group}"));
        let group = plan.groups.iter().find(|one| one.number == group).ok_or_else(none)?;
        let plans = BTreeSet::from([plan.instance.sop_instance.clone()]);
        let mut course = Course::new(plans, &plan, group);
        records.iter().for_each(|record| course.add(&TreatmentRecord::parse(record)));
        let given = course.given();
        let dose = dose::so_far(&plan, group, &course, &given, 0).into_iter().next();
        Ok(so_far(
            &given,
            dose.as_ref().and_then(|dose| dose.at_least).map(|dose| dose.gy()),
            dose.as_ref().and_then(|dose| dose.at_most).map(|dose| dose.gy()),
        ))
    }

    fn sign(&self, plan: &[u8]) -> Result<Box<dyn Gate>, Fault> {
        let plan = Plan::parse(plan).map_err(|e| unreadable(&e))?;
        let people = [(SignerRole::Oncologist, "drill oncologist"), (SignerRole::Physicist, "drill physicist")];
        let approvals: Result<Vec<VerifiedApproval>, Fault> = (people.into_iter())
            .map(|(role, signer)| {
                let key = SigningKey::generate(&OsEntropy)?;
                let enrolled = Enrolment::new(signer, role, key.public_key()?, Timestamp(0));
                let statement = Statement {
                    centre: CENTRE.to_owned(),
                    patient: PATIENT,
                    delivery: plan.digest(),
                    role,
                    signer: signer.to_owned(),
                    at: Timestamp(0),
                    settles: None,
                    withdraws: None,
                    chooses: None,
                    context: Some(CONTEXT),
                    overrides: None,
                };
                Ok(statement.sign(&key)?.verify(CENTRE, &[enrolled])?)
            })
            .collect();
        let group = plan.groups.first().map(|group| group.number);
        let rules = Rules::parse(RULES_FORM.as_bytes())?;
        Ok(Box::new(RealGate { asked: Asked::group(group), approvals: approvals?, plan, rules }))
    }
}

/// What is known of a course, as the drill asks for it.
pub fn so_far(given: &Given, at_least_gy: Option<f64>, at_most_gy: Option<f64>) -> SoFar {
    let why = match given {
        Given::Known { .. } => Vec::new(),
        Given::Unknown { why } => why.iter().map(ToString::to_string).collect(),
    };
    SoFar { at_least_gy, at_most_gy, fractions: given.fractions(), why }
}

struct RealGate {
    plan: Plan,
    approvals: Vec<VerifiedApproval>,
    rules: Rules,
    asked: Asked,
}

impl Gate for RealGate {
    fn ask(&self, plan: &[u8]) -> Verdict {
        let plan = Plan::parse(plan);
        let identifiers: Vec<String> = self.plan.instance.patient_id.iter().cloned().collect();
        let verdict = decide(&GateInput {
            expected: Expected {
                patient: PATIENT,
                identifiers: &identifiers,
                birth_date: None,
                sex: None,
                number_is_shared: false,
                uid_is_anothers: false,
                has_ended: false,
                is_rejected: false,
                withdrawn: None,
            },
            plan: plan.as_ref(),
            context: Some(&CONTEXT),
            approvals: &self.approvals,
            approved: &[Signed { delivery: &self.plan.delivery, approvals: &self.approvals }],
            asked: &self.asked,
            rules: &self.rules,
            today: None,
            given: &Given::NONE,
            begun: None,
            too_soon: None,
            overridden: &[],
        });
        Verdict {
            released: verdict.outcome == Outcome::Release,
            reasons: verdict.findings.iter().map(ToString::to_string).collect(),
        }
    }
}

#[derive(clap::Args)]
pub struct WrongDose {
    /// Chooses courses, plans and places; the same seed is the same drill.
    #[arg(long)]
    seed: Option<u64>,
    /// Courses simulated.
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..))]
    courses: u32,
    /// Of these, so many are stored in a whole centre, too, record by record.
    #[arg(long, default_value_t = TECHNIQUES as u32)]
    stored: u32,
    /// Synthetic plans that are changed, in turn conformal, arcs, electrons, protons and IMRT.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..))]
    plans: u32,
    /// Of each attribute of a plan, so many places are changed, one at a time.
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..))]
    places: u32,
    /// A folder of DICOM files: the plans among them are changed, too; `cargo xtask peers` fetches real ones.
    #[arg(long, value_name = "DIR")]
    input: Option<PathBuf>,
    /// The twin that must fail: a record comes again with another time of day, and a plan is taken for one that was changed.
    #[arg(long)]
    must_fail: bool,
    #[command(flatten)]
    place: Place,
}

impl WrongDose {
    pub fn run(self) -> Result<u8, Fault> {
        let number = |what: &str, number: u32| {
            let found = usize::try_from(number).unwrap_or(usize::MAX);
            let text = format!("{found} {what}, at most {COURSES_MAX} are possible");
            if found > COURSES_MAX { Err(Fault::new(Blame::Peer, "usage.number", text)) } else { Ok(found) }
        };
        let seed = self.seed.unwrap_or_else(short_seed);
        let options = Options {
            courses: number("courses", self.courses)?,
            stored: number("stored courses", self.stored)?,
            plans: number("plans", self.plans)?,
            places: number("places", self.places)?,
            input: self.input,
            keep: self.place.keep,
            twin: self.must_fail,
            ..Options::new(seed, SystemClock.now(), self.place.root(seed))
        };
        told(self.place.output, |watch| wrong_dose::run(&options, &RealRoom, &Real, watch))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is wrong with a treatment room that the drill must find out.
    #[derive(Clone, Copy, PartialEq, Eq)]
    enum Flaw {
        None,
        /// Counts a fraction more where it counts any.
        CountsOneMore,
        /// Takes what is sure for all that can be.
        IsTooSure,
        /// Knows nothing.
        HoldsEverybody,
        ReleasesEverything,
        /// Releases the signed file, byte for byte, and nothing else; and says no more.
        NamesNothing,
    }

    struct Flawed(Flaw);

    struct FlawedGate(Flaw, Vec<u8>, Box<dyn Gate>);

    impl Room for Flawed {
        fn so_far(&self, plan: &[u8], group: u32, records: &[Vec<u8>]) -> Result<SoFar, Fault> {
            let said = RealRoom.so_far(plan, group, records)?;
            Ok(match self.0 {
                Flaw::CountsOneMore => SoFar { fractions: said.fractions.map(|count| count + 1), ..said },
                Flaw::IsTooSure => SoFar { at_most_gy: said.at_least_gy, ..said },
                Flaw::HoldsEverybody => SoFar { at_most_gy: None, fractions: None, ..said },
                _ => said,
            })
        }

        fn sign(&self, plan: &[u8]) -> Result<Box<dyn Gate>, Fault> {
            Ok(Box::new(FlawedGate(self.0, plan.to_vec(), RealRoom.sign(plan)?)))
        }
    }

    impl Gate for FlawedGate {
        fn ask(&self, plan: &[u8]) -> Verdict {
            let held = Verdict { released: false, reasons: vec!["no".to_owned()] };
            match self.0 {
                Flaw::ReleasesEverything => Verdict { released: true, reasons: Vec::new() },
                Flaw::NamesNothing if plan != self.1 => held,
                _ => self.2.ask(plan),
            }
        }
    }

    fn drill(flaw: Flaw, twin: bool) -> drill::report::Report {
        let dir = tempfile::tempdir().unwrap();
        let (courses, stored) = if flaw == Flaw::None && !twin { (150, TECHNIQUES) } else { (30, 0) };
        let plans = if flaw == Flaw::None { TECHNIQUES } else { 1 };
        let options = Options {
            courses,
            stored,
            plans,
            places: 1,
            twin,
            ..Options::new(14, Timestamp(1_795_392_000_000), dir.path().join("drill"))
        };
        wrong_dose::run(&options, &Flawed(flaw), &Real, &|_| {}).unwrap()
    }

    #[test]
    fn no_wrong_dose() {
        let report = drill(Flaw::None, false);
        assert!(report.held, "{report}");
        let figure = |name| report.figures[name];
        assert_eq!((figure("truth_outside"), figure("fractions_miscounted"), figure("harmless_held")), (0, 0, 0));
        assert_eq!((figure("mutants"), figure("mutants")), (figure("mutants_vetoed"), figure("mutants_named")));
        // So that nothing of it can be empty.
        assert_eq!((figure("courses"), figure("stored_courses"), figure("plans_changed")), (150, 5, 5));
        for (name, least) in [
            ("fraction_groups", 200),
            ("stops", 200),
            ("resumed_same_session", 100),
            ("resumed_later_day", 40),
            ("never_resumed", 20),
            ("duplicates_identical", 100),
            ("duplicates_under_new_uids", 100),
            ("records_missing", 100),
            ("records_contradicting", 50),
            ("dose_exact", 50),
            ("dose_a_range", 50),
            ("mutants", 250),
            ("exported_again", 500),
            ("still_attributes_changed", 20),
            ("stored_records", 50),
        ] {
            assert!(figure(name) >= least, "{name}: {}", figure(name));
        }
    }

    #[test]
    fn each_flaw_is_found_out() {
        const OUTSIDE: &str = "Is the dose that was given ever outside of what is said?";
        const COUNTED: &str = "Is a fraction ever counted twice, or not at all?";
        const DOUBT: &str = "Is a dose ever in doubt though every record came?";
        const VETOED: &str = "Is every change that moves dose vetoed?";
        const NAMED: &str = "Does each veto name the attribute?";
        const RELEASED: &str = "Is every harmless change released?";
        for (flaw, twin, questions) in [
            (Flaw::CountsOneMore, false, &[COUNTED][..]),
            (Flaw::IsTooSure, false, &[OUTSIDE]),
            (Flaw::HoldsEverybody, false, &[DOUBT]),
            (Flaw::ReleasesEverything, false, &[VETOED]),
            (Flaw::NamesNothing, false, &[NAMED, RELEASED]),
            (Flaw::None, true, &[OUTSIDE, COUNTED, VETOED]),
        ] {
            let report = drill(flaw, twin);
            let rung: Vec<&str> = report.checks.iter().filter(|c| !c.held).map(|c| c.question).collect();
            assert_eq!(rung, questions);
            assert_eq!(report.exit_code(), 4);
        }
    }
}

//! After an outage: what stands on paper is typed in, machines' records come late, and the two are one.

use chart::Context;
use guard::{Act, Sensitivity, Target};
use kit::{Blame, Fault, Timestamp, UtcOffset};
use serde::Serialize;

use super::list::{as_text, display_name};
use super::{Result, Treatment};
use crate::dicom::object::Instance;
use crate::gate::facts::{self, Facts};
use crate::given::typed::{Around, TypedError, TypedFraction};
use crate::given::{Given, PairState, Pairing};
use crate::interruption::calendar::Day;
use crate::plan::Plan;

/// What was typed in is kept, and this is what is known now.
#[derive(Clone, Debug, Serialize)]
pub struct Entered {
    pub entry: u64,
    pub given: Given,
    /// Of this fraction: each beam that was typed in.
    pub pairs: Vec<PairSeen>,
}

/// A beam of a fraction that was typed in; metersets in the plan's dosimeter unit.
#[derive(Clone, Debug, Serialize)]
pub struct PairSeen {
    pub plan: String,
    pub plan_uid: String,
    pub fraction_group: Option<u32>,
    pub fraction: Option<u32>,
    pub beam: Option<u32>,
    pub date: Option<String>,
    pub typed: Option<f64>,
    pub machine: Option<f64>,
    pub machine_fraction: Option<u32>,
    pub machine_date: Option<String>,
    pub state: PairState,
    /// Two people have said since what was given.
    pub is_settled: bool,
}

/// All that was typed in of patients on treatment.
#[derive(Clone, Debug, Serialize)]
pub struct Reconciliation {
    pub as_of: Timestamp,
    #[serde(serialize_with = "as_text")]
    pub utc_offset: UtcOffset,
    pub patients: Vec<PatientPairs>,
    /// Whose records can't be opened, or are too many: how many, and why.
    pub unread: Vec<String>,
}

#[derive(Clone, Debug, Serialize)]
pub struct PatientPairs {
    pub name: String,
    pub number: String,
    pub pairs: Vec<PairSeen>,
}

impl PairSeen {
    fn of(facts: &Facts, pairing: &Pairing) -> Self {
        #[allow(clippy::cast_precision_loss)] // metersets are far below 2^52 thousandths
        let unit = |thousandths: i64| thousandths as f64 / 1e3;
        let plan = facts.plans.iter().rev().find(|plan| plan.instance.sop_instance == pairing.plan);
        // By a settlement of any plan of these fractions; of whatever is hers, where nobody can tell which that is.
        let is_its = |one: &&Plan| plan.is_none_or(|plan| one.fraction() == plan.fraction());
        let groups = |one: &Plan| -> Vec<u32> {
            pairing.group.map_or_else(|| one.groups.iter().map(|group| group.number).collect(), |group| vec![group])
        };
        let is_settled = facts.plans.iter().filter(is_its).any(|one| {
            let settled = groups(one).into_iter().filter_map(|group| facts.settled(one.digest(), group));
            settled.map(|said| said.before).any(|before| before > pairing.entry)
        });
        Self {
            plan: plan.and_then(|plan| plan.label.clone()).unwrap_or_default(),
            plan_uid: pairing.plan.clone(),
            fraction_group: pairing.group,
            fraction: pairing.fraction,
            beam: pairing.beam,
            date: pairing.date.clone(),
            typed: pairing.typed.map(unit),
            machine: pairing.machine.map(unit),
            machine_fraction: pairing.machine_fraction,
            machine_date: pairing.machine_date.clone(),
            state: pairing.state,
            is_settled,
        }
    }
}

impl Treatment {
    /// Keeps one fraction as it stands on paper, as a treatment record whose content's origin is USER. `patient`: hospital number or
    /// FHIR id. What can't be is refused, and nothing is kept.
    pub fn enter(&self, context: &Context, patient: &str, typed: &TypedFraction) -> Result<Entered> {
        let patient = self
            .chart
            .find_patient(patient)
            .map_err(|e| e.fault())?
            .ok_or_else(|| Fault::new(Blame::Absent, "patient.unknown", "no patient has this id or identifier"))?;
        let permit = self
            .chart
            .admit(context, Act::EnterRecord, Target::Patient(patient), Sensitivity::Clinical)
            .map_err(|e| e.fault())?;
        let people = self.people()?;
        let facts = facts::read_one(&self.chart, &permit, patient, self.signers(&people))?;
        let uid = || typed.plan_uid.chars().take(64).collect::<String>();
        let plan = facts.plans.iter().rev().find(|plan| plan.instance.sop_instance == typed.plan_uid);
        let plan = plan.ok_or_else(|| TypedError::NoPlan { uid: uid() })?;
        let number = plan.instance.patient_id.as_deref().unwrap_or_default();
        if !facts.identifiers.iter().any(|known| known.trim() == number.trim()) {
            return Err(TypedError::AnothersPlan { uid: uid() }.into());
        }
        let (today, time) = facts.local(self.chart.now());
        let (today, now) = (Day::of_dicom(&today), time.get(..4).unwrap_or_default().to_owned());
        let today =
            today.ok_or_else(|| Fault::new(Blame::Configuration, "treatment.clock", "the clock is beyond 2199"))?;
        let around = Around { today, now: &now, typist: context.caller.subject(), entropy: self.chart.entropy() };
        let file = typed.record(plan, &around)?;
        let group = typed.fraction_group;
        let plan = plan.clone();
        let kept = self.keep(context, Act::EnterRecord, &Instance::parse(&file)?, file)?;
        let facts = facts::read_one(&self.chart, &permit, patient, self.signers(&people))?;
        let given = facts.given(&self.chart, &plan, Some(group)).map_err(|e| e.fault())?;
        let is_this = |one: &&Pairing| one.plan == typed.plan_uid && one.fraction == Some(typed.fraction);
        let pairs = facts.pairings().iter().filter(is_this).map(|one| PairSeen::of(&facts, one)).collect();
        Ok(Entered { entry: kept.entry, given, pairs })
    }

    /// What was typed in of everybody on treatment, beside what machines say: what contradicts first.
    pub fn reconciliation(&self, context: &Context) -> Result<Reconciliation> {
        let (permit, as_of, living) = self.admit_to_list(context)?;
        let people = self.people()?;
        let (mut patients, mut unread) = (Vec::new(), Vec::new());
        for facts in facts::read(&self.chart, &permit, &living, self.signers(&people)) {
            match facts {
                Ok(facts) if facts.pairings().is_empty() => {}
                Ok(facts) => patients.push(PatientPairs {
                    name: display_name(&facts.record),
                    number: facts.identifiers.first().cloned().unwrap_or_default(),
                    pairs: facts.pairings().iter().map(|one| PairSeen::of(&facts, one)).collect(),
                }),
                Err(fault) if matches!(fault.blame, Blame::Integrity | Blame::Conflict) => unread.push(fault.message),
                Err(fault) => return Err(fault),
            }
        }
        let is_open = |one: &PatientPairs| one.pairs.iter().any(|pair| pair.state.is_conflict() && !pair.is_settled);
        patients.sort_by_cached_key(|one| (!is_open(one), one.name.clone(), one.number.clone()));
        Ok(Reconciliation { as_of, utc_offset: self.utc_offset, patients, unread })
    }
}

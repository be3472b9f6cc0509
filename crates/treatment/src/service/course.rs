//! One patient's course: what was signed, what was given of it, session by session, and how much dose that is.

use std::collections::BTreeSet;

use chart::{Chart, Context};
use guard::{Act, Sensitivity, Target};
use kit::{Blame, Digest, Fault, Timestamp, UtcOffset};
use serde::Serialize;

use super::gate::judge;
use super::list::{as_text, birth_date, display_name};
use super::{Result, Treatment};
use crate::checks::{self, Check, Checked};
use crate::gate::facts::{self, Facts};
use crate::gate::{Finding, Note, Outcome, approval_gap, context, context_gap};
use crate::given::dose::{self, ReferenceDose};
use crate::given::{Given, Origin, Override, RecordedBeam, TreatmentRecord};
use crate::interruption::calendar::Day;
use crate::interruption::rules::Rules;
use crate::plan::prescription::Dose;
use crate::plan::{FractionGroup, Plan};
use crate::signing::approval::SignerRole;
use crate::signing::context::ContextPart;

/// Sessions that are shown; a course of forty fractions of twenty beams, a record each, has 800.
const SESSIONS_MAX: usize = 2_000;

/// Everything that a physicist looks at before she says that a course can go on.
#[derive(Clone, Debug, Serialize)]
pub struct PatientCourses {
    pub as_of: Timestamp,
    /// Where the centre's clocks are.
    #[serde(serialize_with = "as_text")]
    pub utc_offset: UtcOffset,
    pub name: String,
    pub number: String,
    pub birth_date: String,
    /// A course for each fraction group of each delivery that somebody has signed.
    pub courses: Vec<CourseSoFar>,
    /// By date and time; those of other plans among them.
    pub sessions: Vec<SessionSeen>,
    /// Treatment records of hers that can't be read.
    pub unreadable_records: usize,
}

#[derive(Clone, Debug, Serialize)]
pub struct CourseSoFar {
    pub plan: String,
    pub plan_uid: String,
    pub delivery: Digest,
    pub fraction_group: u32,
    pub machines: Vec<String>,
    pub signed: Vec<SignedBy>,
    /// What stands beside the plan now.
    pub context: Vec<ContextSeen>,
    pub fractions_planned: u32,
    pub given: Given,
    /// What the gate would say of this plan now, were it asked.
    pub outcome: Outcome,
    pub findings: Vec<Finding>,
    pub notes: Vec<Note>,
    pub dose: Vec<DoseSeen>,
    pub beams: Vec<BeamSeen>,
    pub checks: Vec<Check>,
}

#[derive(Clone, Debug, Serialize)]
pub struct SignedBy {
    pub role: SignerRole,
    pub name: String,
    pub at: Timestamp,
}

#[derive(Clone, Copy, Debug, Serialize)]
pub struct ContextSeen {
    pub part: ContextPart,
    /// None where it isn't here.
    pub content: Option<Digest>,
    /// Two people have signed the plan, and not with this.
    pub is_another: bool,
}

/// Doses in Gy.
#[derive(Clone, Debug, Serialize)]
pub struct DoseSeen {
    pub reference: u32,
    pub description: Option<String>,
    pub is_target: bool,
    pub prescribed_gy: Option<f64>,
    pub maximum_gy: Option<f64>,
    pub per_fraction_gy: Option<f64>,
    pub at_least_gy: Option<f64>,
    /// None where nobody can say.
    pub at_most_gy: Option<f64>,
    /// What it was at least, after each day (`YYYYMMDD`) of treatment.
    pub by_day: Vec<(String, f64)>,
}

impl DoseSeen {
    fn of(seen: ReferenceDose) -> Self {
        let ReferenceDose { reference, per_fraction, at_least, at_most, by_day } = seen;
        Self {
            reference: reference.number,
            description: reference.description,
            is_target: reference.is_target,
            prescribed_gy: reference.prescribed.map(Dose::gy),
            maximum_gy: reference.maximum.map(Dose::gy),
            per_fraction_gy: per_fraction.map(Dose::gy),
            at_least_gy: at_least.map(Dose::gy),
            at_most_gy: at_most.map(Dose::gy),
            by_day: by_day.into_iter().map(|(day, dose)| (day, dose.gy())).collect(),
        }
    }
}

/// Metersets in the plan's dosimeter unit.
#[derive(Clone, Debug, Serialize)]
pub struct BeamSeen {
    pub number: u32,
    pub name: Option<String>,
    /// Of one fraction.
    pub meterset: f64,
    pub delivered: f64,
}

/// One treatment record.
#[derive(Clone, Debug, Serialize)]
pub struct SessionSeen {
    pub record_uid: String,
    pub plan_uid: Option<String>,
    /// `YYYYMMDD`, and `HHMMSS` where the machine's clock stood.
    pub date: Option<String>,
    pub time: Option<String>,
    pub machine: Option<String>,
    pub origin: Option<Origin>,
    pub beams: Vec<BeamSession>,
}

#[derive(Clone, Debug, Serialize)]
pub struct BeamSession {
    pub fraction: Option<u32>,
    pub number: Option<u32>,
    pub name: Option<String>,
    pub imaging: bool,
    pub specified: Option<f64>,
    pub delivered: Option<f64>,
    pub termination: Option<String>,
    pub verification: Option<String>,
    pub overrides: Vec<Override>,
}

#[allow(clippy::cast_precision_loss)] // metersets are far below 2^52 thousandths
fn unit(thousandths: i64) -> f64 {
    thousandths as f64 / 1e3
}

impl BeamSession {
    fn of(beam: &RecordedBeam) -> Self {
        Self {
            fraction: beam.fraction,
            number: beam.number,
            name: beam.name.clone(),
            imaging: beam.imaging,
            specified: beam.specified.map(unit),
            delivered: beam.delivered.map(unit),
            termination: beam.termination.clone(),
            verification: beam.verification.clone(),
            overrides: beam.overrides.clone(),
        }
    }
}

impl SessionSeen {
    fn of(record: &TreatmentRecord) -> Self {
        Self {
            record_uid: record.instance.sop_instance.clone(),
            plan_uid: record.plans.first().cloned(),
            date: record.treated_on.clone(),
            time: record.treated_at.as_deref().and_then(|at| at.get(9..)).map(str::to_owned),
            machine: record.machine.clone(),
            origin: record.origin,
            beams: record.beams.iter().map(BeamSession::of).collect(),
        }
    }
}

impl Treatment {
    /// What is known of one patient's courses. `patient`: hospital number or FHIR id.
    pub fn courses(&self, context: &Context, patient: &str) -> Result<PatientCourses> {
        let patient = self.chart.find_patient(patient).map_err(|e| e.fault())?;
        let target = patient.map_or(Target::Centre, Target::Patient);
        let permit =
            self.chart.admit(context, Act::ReadRecord, target, Sensitivity::Clinical).map_err(|e| e.fault())?;
        let Some(patient) = patient else {
            let text = "no patient has this id or identifier";
            return Err(Fault::new(Blame::Absent, "patient.unknown", text));
        };
        let people = self.people()?;
        let facts = facts::read_one(&self.chart, &permit, patient, self.signers(&people))?;
        let (rules, _) = self.rules_by(&people)?;
        let today = Day::of_dicom(&facts.local(self.chart.now()).0);
        let mut seen = BTreeSet::new();
        let signed = facts.signed_files().rev().filter(|plan| seen.insert(plan.digest()));
        let mut courses = Vec::new();
        for plan in signed {
            for group in &plan.groups {
                courses.push(course(&self.chart, &facts, (plan, group), (&rules, today))?);
            }
        }
        let mut sessions: Vec<SessionSeen> = facts.records().map(SessionSeen::of).take(SESSIONS_MAX).collect();
        sessions.sort_by(|a, b| (&a.date, &a.time).cmp(&(&b.date, &b.time)));
        Ok(PatientCourses {
            as_of: self.chart.now(),
            utc_offset: self.utc_offset,
            name: display_name(&facts.record),
            number: facts.identifiers.first().cloned().unwrap_or_default(),
            birth_date: birth_date(&facts.record),
            courses,
            sessions,
            unreadable_records: facts.unreadable_records(),
        })
    }
}

fn course(
    chart: &Chart,
    facts: &Facts,
    (plan, group): (&Plan, &FractionGroup),
    (rules, today): (&Rules, Option<Day>),
) -> Result<CourseSoFar> {
    let verdict = judge(chart, facts, Ok(plan), Some(group.number), None)?;
    let given = facts.given(chart, plan, Some(group.number)).map_err(|e| e.fault())?;
    let (course, before) = facts.course_since(chart, plan, group).map_err(|e| e.fault())?;
    let machines: BTreeSet<String> =
        plan.beams.iter().filter(|beam| group.beams.contains(&beam.number)).map(|beam| beam.machine.clone()).collect();
    let name_of = |number: u32| plan.beams.iter().find(|beam| beam.number == number).and_then(|beam| beam.name.clone());
    let (totals, doses) = (dose::beam_totals(group, &course), dose::so_far(plan, group, &course, &given, before));
    let records = facts.records_of(plan);
    let days: Vec<Day> = facts.fraction_days(plan, group).iter().filter_map(|day| Day::of_dicom(day)).collect();
    let checks = today.map(|today| {
        checks::check(&Checked {
            plan,
            group,
            rules,
            verdict: &verdict,
            given: &given,
            dose: &doses,
            beams: &totals,
            records: &records,
            days: &days,
            today,
        })
    });
    let beams = totals.iter().map(|total| BeamSeen {
        number: total.number,
        name: name_of(total.number),
        meterset: unit(total.meterset),
        delivered: unit(total.delivered),
    });
    let with = context::of_plan(chart, facts, plan, None).map_err(|e| e.fault())?;
    let of = (facts.patient, plan.digest());
    let is_signed = approval_gap(&facts.approvals, of.0, of.1).is_none();
    let another = context_gap(&facts.approvals, of, &with).filter(|_| is_signed).unwrap_or_default();
    let context = ContextPart::ALL.map(|part| ContextSeen {
        part,
        content: with.part(part),
        is_another: another.contains(&part),
    });
    let signed = facts.approvals.iter().map(|approval| approval.statement()).filter(|s| s.delivery == plan.digest());
    Ok(CourseSoFar {
        plan: plan.label.clone().unwrap_or_default(),
        plan_uid: plan.instance.sop_instance.clone(),
        delivery: plan.digest(),
        fraction_group: group.number,
        machines: machines.into_iter().collect(),
        signed: signed.map(|s| SignedBy { role: s.role, name: s.signer.clone(), at: s.at }).collect(),
        context: context.to_vec(),
        fractions_planned: group.fractions_planned,
        checks: checks.unwrap_or_default(),
        dose: doses.into_iter().map(DoseSeen::of).collect(),
        beams: beams.collect(),
        given,
        outcome: verdict.outcome,
        findings: verdict.findings,
        notes: verdict.notes,
    })
}

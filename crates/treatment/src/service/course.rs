//! One patient's course: what was signed, what was given of it, session by session, and how much dose that is.

use std::collections::{BTreeMap, BTreeSet};

use chart::{Chart, ChartError, Context};
use guard::{Act, Permit, Sensitivity, Target};
use kit::{Blame, Digest, Fault, PatientId, Timestamp, UtcOffset};
use serde::Serialize;
use serde_json::Value;

use super::gate::judge;
use super::list::{as_text, birth_date, display_name};
use super::{Result, Treatment};
use crate::beside::Beside;
use crate::checks::{self, Check, Checked};
use crate::gate::facts::{self, Facts};
use crate::gate::{Asked, Finding, Note, Outcome, approval_gap, context, context_gap};
use crate::given::dose::{self, ReferenceDose};
use crate::given::doses::{self, DoseBeside, How};
use crate::given::{Given, Origin, Override, RecordedBeam, TreatmentRecord};
use crate::interruption::calendar::Day;
use crate::interruption::rules::Rules;
use crate::plan::prescription::Dose;
use crate::plan::shapes::BeamShape;
use crate::plan::{FractionGroup, Plan};
use crate::signing::approval::SignerRole;
use crate::signing::context::ContextPart;

/// Sessions that are shown; a course of forty fractions of twenty beams, a record each, has 800.
const SESSIONS_MAX: usize = 2_000;
/// Orders, diagnoses and appointments of one patient, of each kind, that are looked at.
const BESIDE_MAX: usize = 5_000;

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
    /// What several of them give to one dose reference (300A,0013) together.
    pub totals: Vec<TotalSeen>,
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
    /// The newest fraction, where a beam of it hasn't delivered its meterset.
    pub unfinished: Option<UnfinishedSeen>,
    /// What the gate would say of this plan now, were it asked.
    pub outcome: Outcome,
    pub findings: Vec<Finding>,
    pub notes: Vec<Note>,
    pub dose: Vec<DoseSeen>,
    pub beams: Vec<BeamSeen>,
    pub checks: Vec<Check>,
    /// For the page's drawings alone: packs and transfers carry the plan itself.
    #[serde(skip)]
    pub shapes: Vec<BeamShape>,
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

/// Of one Dose Reference UID, over all courses that name it; doses in Gy.
#[derive(Clone, Debug, Serialize)]
pub struct TotalSeen {
    pub uid: String,
    pub description: Option<String>,
    pub is_target: bool,
    /// The largest that a plan prescribes, and the smallest that one allows.
    pub prescribed_gy: Option<f64>,
    pub maximum_gy: Option<f64>,
    pub at_least_gy: Option<f64>,
    /// None where of one of them nobody can say.
    pub at_most_gy: Option<f64>,
    /// Of how many plans' fractions.
    pub courses: usize,
}

impl TotalSeen {
    /// `of`: what a fraction is, and its group, by which one course under several plans is one; with its doses.
    fn of_all(of: &[((Digest, u32), Vec<DoseSeen>)]) -> Vec<Self> {
        let mut by_uid: BTreeMap<&str, BTreeMap<(Digest, u32), Vec<&DoseSeen>>> = BTreeMap::new();
        for (course, doses) in of {
            for dose in doses {
                if let Some(uid) = &dose.uid {
                    by_uid.entry(uid).or_default().entry(*course).or_default().push(dose);
                }
            }
        }
        let several = by_uid.into_iter().filter(|(_, courses)| courses.len() > 1);
        several.map(|(uid, courses)| Self::of(uid, &courses.into_values().collect::<Vec<_>>())).collect()
    }

    fn of(uid: &str, courses: &[Vec<&DoseSeen>]) -> Self {
        let all = || courses.iter().flatten();
        // A course under several plans has given what any of them says.
        let most = |of: fn(&DoseSeen) -> Option<f64>, course: &[&DoseSeen]| -> Option<f64> {
            course.iter().map(|dose| of(dose)).try_fold(0.0_f64, |most, dose| Some(most.max(dose?)))
        };
        let sum = |of: fn(&DoseSeen) -> Option<f64>| courses.iter().map(|course| most(of, course)).sum::<Option<f64>>();
        Self {
            uid: uid.to_owned(),
            description: all().find_map(|dose| dose.description.clone()),
            is_target: all().any(|dose| dose.is_target),
            prescribed_gy: all().filter_map(|dose| dose.prescribed_gy).reduce(f64::max),
            maximum_gy: all().filter_map(|dose| dose.maximum_gy).reduce(f64::min),
            at_least_gy: sum(|dose| dose.at_least_gy),
            at_most_gy: sum(|dose| dose.at_most_gy),
            courses: courses.len(),
        }
    }
}

/// Doses in Gy.
#[derive(Clone, Debug, Serialize)]
pub struct DoseSeen {
    pub reference: u32,
    /// By which several plans mean the same one.
    pub uid: Option<String>,
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
            uid: reference.uid,
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

/// A fraction that was begun.
#[derive(Clone, Debug, Serialize)]
pub struct UnfinishedSeen {
    pub fraction: u32,
    /// `delivered`: in this fraction.
    pub beams: Vec<BeamSeen>,
}

/// Metersets in the plan's dosimeter unit.
#[derive(Clone, Debug, Serialize)]
pub struct BeamSeen {
    pub number: u32,
    pub name: Option<String>,
    /// Of one fraction.
    pub meterset: f64,
    pub delivered: f64,
    /// `MU`, or `min` of a cobalt unit.
    pub unit: String,
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
    /// Doses of the session as a whole that the record says itself.
    pub doses: Vec<DoseSaid>,
}

/// A dose that a record says itself, in Gy.
#[derive(Clone, Debug, Serialize)]
pub struct DoseSaid {
    pub reference: String,
    pub how: How,
    pub said_gy: f64,
    /// What the plan gives there by what was delivered: none where it doesn't say.
    pub planned_gy: Option<f64>,
    pub agrees: Option<bool>,
}

impl DoseSaid {
    fn of(dose: &DoseBeside) -> Self {
        Self {
            reference: dose.reference.named(),
            how: dose.how,
            said_gy: dose.said.gy(),
            planned_gy: dose.planned.map(Dose::gy),
            agrees: dose.agrees(),
        }
    }
}

#[derive(Clone, Debug, Default, Serialize)]
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
    /// Doses that it says itself.
    pub doses: Vec<DoseSaid>,
}

#[allow(clippy::cast_precision_loss)] // metersets are far below 2^52 thousandths
fn unit(thousandths: i64) -> f64 {
    thousandths as f64 / 1e3
}

impl BeamSession {
    fn of(beam: &RecordedBeam, doses: Vec<DoseSaid>) -> Self {
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
            doses,
        }
    }
}

impl SessionSeen {
    /// `plan`: what it was given by, where that is here.
    fn of(record: &TreatmentRecord, plan: Option<&Plan>) -> Self {
        let doses = plan.map(|plan| doses::beside(plan, record)).unwrap_or_default();
        let of_beam = |index: Option<usize>| -> Vec<DoseSaid> {
            doses.iter().filter(|dose| dose.beam == index).map(DoseSaid::of).collect()
        };
        Self {
            record_uid: record.instance.sop_instance.clone(),
            plan_uid: record.plans.first().cloned(),
            date: record.treated_on.clone(),
            time: record.treated_at.as_deref().and_then(|at| at.get(9..)).map(str::to_owned),
            machine: record.machine.clone(),
            origin: record.origin,
            beams: (record.beams.iter().enumerate())
                .map(|(index, beam)| BeamSession::of(beam, of_beam(Some(index))))
                .collect(),
            doses: of_beam(None),
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
        let beside = self.beside(&permit, patient).map_err(|e| e.fault())?;
        let mut seen = self.courses_of(&facts, &rules, &beside)?;
        for course in &mut seen.courses {
            let plan = facts.signed_files().rev().find(|plan| plan.digest() == course.delivery);
            let group = plan.and_then(|plan| Some((plan, plan.group(Some(course.fraction_group))?)));
            course.shapes = group.map(|(plan, group)| plan.shapes(group)).unwrap_or_default();
        }
        Ok(seen)
    }

    /// What her record says beside her plans.
    pub(super) fn beside(&self, permit: &Permit, patient: PatientId) -> std::result::Result<Beside, ChartError> {
        let of = |kind: &str| -> std::result::Result<Vec<Value>, ChartError> {
            let entries = self.chart.current_of(patient, kind, BESIDE_MAX)?;
            let all = self.chart.release(permit, &entries)?;
            Ok(all.iter().filter_map(|released| serde_json::from_slice(&released.bytes).ok()).collect())
        };
        Ok(Beside::of(&of("ServiceRequest")?, &of("Condition")?, &of("Appointment")?))
    }

    /// `beside`: as far as it was looked at.
    pub(super) fn courses_of(&self, facts: &Facts, rules: &Rules, beside: &Beside) -> Result<PatientCourses> {
        let today = Day::of_dicom(&facts.local(self.chart.now()).0);
        let mut seen = BTreeSet::new();
        let signed = facts.signed_files().rev().filter(|plan| seen.insert(plan.digest()));
        let (mut courses, mut doses) = (Vec::new(), Vec::new());
        for plan in signed {
            for group in &plan.groups {
                let course = course(&self.chart, facts, (plan, group), (rules, today, beside))?;
                doses.push(((plan.fraction(), group.number), course.dose.clone()));
                courses.push(course);
            }
        }
        let of_record = |record: &TreatmentRecord| {
            let plan = facts.signed_files().rev().find(|plan| record.plans.contains(&plan.instance.sop_instance));
            SessionSeen::of(record, plan)
        };
        let mut sessions: Vec<SessionSeen> = facts.records().take(SESSIONS_MAX).map(of_record).collect();
        sessions.sort_by(|a, b| (&a.date, &a.time).cmp(&(&b.date, &b.time)));
        Ok(PatientCourses {
            as_of: self.chart.now(),
            utc_offset: self.utc_offset,
            name: display_name(&facts.record),
            number: facts.identifiers.first().cloned().unwrap_or_default(),
            birth_date: birth_date(&facts.record),
            totals: TotalSeen::of_all(&doses),
            courses,
            sessions,
            unreadable_records: facts.unreadable_records(),
        })
    }
}

pub(super) fn course(
    chart: &Chart,
    facts: &Facts,
    (plan, group): (&Plan, &FractionGroup),
    (rules, today, beside): (&Rules, Option<Day>, &Beside),
) -> Result<CourseSoFar> {
    let verdict = judge(chart, facts, rules, Ok(plan), &Asked::group(Some(group.number)), None)?;
    let given = facts.given(chart, plan, Some(group.number)).map_err(|e| e.fault())?;
    let (course, before) = facts.course_since(chart, plan, group).map_err(|e| e.fault())?;
    let machines: BTreeSet<String> =
        plan.beams.iter().filter(|beam| group.beams.contains(&beam.number)).map(|beam| beam.machine.clone()).collect();
    let name_of = |number: u32| plan.beams.iter().find(|beam| beam.number == number).and_then(|beam| beam.name.clone());
    let (totals, doses) = (dose::beam_totals(group, &course), dose::so_far(plan, group, &course, &given, before));
    let records = facts.records_of(plan);
    let days: Vec<Day> = facts.fraction_days(plan, group).iter().filter_map(|day| Day::of_dicom(day)).collect();
    let signed = facts.approvals.iter().map(|approval| approval.statement()).filter(|s| s.delivery == plan.digest());
    let signed = signed.map(|statement| statement.at).max().and_then(|at| Day::of_dicom(&facts.local(at).0));
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
            signed,
            beside,
            today,
        })
    });
    let beams = totals.iter().map(|total| BeamSeen {
        number: total.number,
        name: name_of(total.number),
        meterset: unit(total.meterset),
        delivered: unit(total.delivered),
        unit: plan.delivery.meterset_unit(total.number),
    });
    let begun = facts.begun(chart, plan, group, &given).map_err(|e| e.fault())?;
    let unfinished = begun.map(|begun| {
        let treats = group.metersets.iter().filter(|(_, meterset)| **meterset > 0);
        let beams = treats.map(|(number, meterset)| BeamSeen {
            number: *number,
            name: name_of(*number),
            meterset: unit(*meterset),
            delivered: unit(begun.delivered.get(number).copied().unwrap_or(0)),
            unit: plan.delivery.meterset_unit(*number),
        });
        UnfinishedSeen { fraction: begun.fraction, beams: beams.collect() }
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
        shapes: Vec::new(),
        given,
        unfinished,
        outcome: verdict.outcome,
        findings: verdict.findings,
        notes: verdict.notes,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dose(uid: &str, at_least: f64, at_most: Option<f64>) -> DoseSeen {
        DoseSeen {
            reference: 1,
            uid: Some(uid.to_owned()),
            description: Some("PTV".to_owned()),
            is_target: true,
            prescribed_gy: Some(70.0),
            maximum_gy: None,
            per_fraction_gy: Some(2.0),
            at_least_gy: Some(at_least),
            at_most_gy: at_most,
            by_day: Vec::new(),
        }
    }

    #[test]
    fn phases_add_up_and_one_course_under_two_plans_counts_once() {
        let (phase, boost) = ((Digest([1; 32]), 1), (Digest([2; 32]), 1));
        let of = |more: Option<f64>| {
            vec![
                (phase, vec![dose("1.2", 48.0, Some(50.0)), dose("1.3", 1.0, Some(1.0))]),
                // Made longer: another plan of the same fractions.
                (phase, vec![dose("1.2", 48.0, Some(52.0))]),
                (boost, vec![dose("1.2", 10.0, more)]),
            ]
        };
        let totals = TotalSeen::of_all(&of(Some(12.0)));
        let [total] = totals.as_slice() else { panic!("{totals:?}") };
        assert_eq!((total.uid.as_str(), total.courses, total.prescribed_gy), ("1.2", 2, Some(70.0)));
        assert_eq!((total.at_least_gy, total.at_most_gy), (Some(58.0), Some(64.0)));
        assert_eq!(TotalSeen::of_all(&of(None))[0].at_most_gy, None, "of one of them nobody can say");
        assert!(TotalSeen::of_all(&of(None)[..1]).is_empty());
    }
}

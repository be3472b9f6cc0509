//! The check before a fraction, on the record.

use std::sync::PoisonError;

use chart::{Chart, ChartError, Context};
use guard::{Act, Permit, Sensitivity, Target};
use kit::{Blame, Fault, PatientId};

use super::intake::Told;
use super::{OBJECTS, Result, TURNS, Treatment};
use crate::dicom::object::Instance;
use crate::error::PlanError;
use crate::gate::context;
use crate::gate::facts::{self, Facts, KeptVerdict, VERDICTS};
use crate::gate::{Asked, Expected, Finding, GateInput, Note, Outcome, Signed, Verdict, decide};
use crate::given::Given;
use crate::interruption::calendar::Day;
use crate::interruption::rules::Rules;
use crate::plan::Plan;

impl Treatment {
    /// The check before a fraction. `patient` is what the caller knows her by (hospital number or FHIR id); without it,
    /// she is whom the plan's Patient ID names. The verdict is an entry before it is an answer.
    ///
    /// `asked` is what is said of the fraction that is due: its group is needed only where the plan has several.
    pub fn gate(&self, context: &Context, patient: Option<&str>, file: &[u8], asked: &Asked) -> Result<Verdict> {
        self.gate_plan(context, patient, Plan::parse(file), asked)
    }

    /// The same of what came over an association: whom it names. What is no instance gets a verdict, too.
    pub fn gate_data_set(
        &self,
        context: &Context,
        data_set: &[u8],
        transfer_syntax: &str,
        asked: &Asked,
    ) -> Result<Verdict> {
        let plan = Instance::parse_data_set(data_set, transfer_syntax).map_err(PlanError::Object);
        self.gate_plan(context, None, plan.and_then(|instance| Plan::parse(&instance.part10(data_set))), asked)
    }

    fn gate_plan(
        &self,
        context: &Context,
        patient: Option<&str>,
        plan: std::result::Result<Plan, PlanError>,
        asked: &Asked,
    ) -> Result<Verdict> {
        let by_number =
            || plan.as_ref().ok()?.instance.patient_id.as_deref().map(|id| self.chart.patient_by_number(id));
        let named = patient.map(|text| self.chart.find_patient(text)).or_else(by_number).transpose();
        // Two patients with one number are a reason to hold, not a reason to give no verdict.
        let (patient, unknown) = match named {
            Ok(found) => (found.flatten(), Finding::PatientUnknown),
            Err(ChartError::AmbiguousPatient) => (None, Finding::PatientAmbiguous),
            Err(error) => return Err(error.fault()),
        };
        // Of two who ask at once, the second one hears of the first one's release.
        let turn = self.turns.get(patient.map_or(0, |patient| usize::from(patient.0[15])) % TURNS);
        let _turn = turn.map(|turn| turn.lock().unwrap_or_else(PoisonError::into_inner));
        let target = patient.map_or(Target::Centre, Target::Patient);
        let permit = self.chart.admit(context, Act::CheckGate, target, Sensitivity::Clinical).map_err(|e| e.fault())?;
        let verdict = match patient {
            Some(patient) => {
                let people = self.people()?;
                let facts = facts::read_one(&self.chart, &permit, patient, self.signers(&people))?;
                let (rules, _) = self.rules_by(&people)?;
                let verdict = judge(&self.chart, &facts, &rules, plan.as_ref(), asked, Some(&permit))?;
                // What isn't hers, or stands under another patient, was shown by mistake.
                let others = [
                    Finding::PatientUnknown,
                    Finding::NoPatientId,
                    Finding::AnotherPatient,
                    Finding::FiledUnderAnother,
                ];
                if let Ok(plan) = &plan
                    && !verdict.findings.iter().any(|finding| others.contains(finding))
                {
                    facts::note_shown(&self.chart, &permit, patient, plan, false).map_err(|e| e.fault())?;
                }
                verdict
            }
            None => nobody(&self.rules()?.0, plan.as_ref(), unknown),
        };
        // Whosever it is said to be, and however often it came before: rejected is rejected.
        if let Some(rejected) = plan.as_ref().ok().filter(|plan| facts::is_rejected(plan)) {
            let (identifier, rejected) = (rejected.instance.patient_id.clone(), Some(rejected.clone()));
            self.note_refused(context, Act::CheckGate, &Told { identifier, rejected, ..Told::default() });
        }
        let kept = KeptVerdict {
            at: self.chart.now(),
            by: permit.subject().to_owned(),
            plan: plan.as_ref().ok().map(|p| p.instance.sop_instance.clone()),
            verdict,
        };
        let payload = serde_json::to_vec(&kept)
            .map_err(|e| Fault::new(Blame::Ours, "treatment.verdict", format!("the verdict: {e}")))?;
        let mut lists = vec![self.chart.list_tag(VERDICTS, patient.as_ref().map_or(&[], |p| p.0.as_slice()))];
        let Verdict { outcome, digest, fraction_group, .. } = &kept.verdict;
        if let (Outcome::Release, Some(patient), Some(digest), Some(group)) = (outcome, patient, digest, fraction_group)
        {
            lists.push(facts::releases(&self.chart, patient, *digest, *group));
        }
        self.chart.append(&permit, patient, "treatment.verdict", &lists, payload).map_err(|e| e.fault())?;
        Ok(kept.verdict)
    }
}

/// Whether two living patients have this number.
pub(super) fn is_shared(chart: &Chart, number: &str) -> std::result::Result<bool, ChartError> {
    match chart.patient_by_number(number) {
        Err(ChartError::AmbiguousPatient) => Ok(true),
        other => other.map(|_| false),
    }
}

pub(super) fn judge(
    chart: &Chart,
    facts: &Facts,
    rules: &Rules,
    plan: std::result::Result<&Plan, &PlanError>,
    asked: &Asked,
    noted: Option<&Permit>,
) -> Result<Verdict> {
    let group = asked.due_group();
    let approved: Vec<Signed<'_>> = facts.signed().collect();
    // A re-export has another UID; what was given of the same delivery counts all the same.
    let given = plan.ok().map(|plan| facts.given(chart, plan, group)).transpose().map_err(|e| e.fault())?;
    let given = given.unwrap_or(Given::NONE);
    let number = plan.ok().and_then(|plan| plan.instance.patient_id.as_deref());
    let uid = plan.ok().map(|plan| chart.object_patient(OBJECTS, &plan.instance.sop_instance)).transpose();
    let owner = uid.map_err(|e| e.fault())?.flatten();
    let number_is_shared =
        number.map(|number| is_shared(chart, number)).transpose().map_err(|e| e.fault())?.unwrap_or(false);
    let context = plan.ok().map(|plan| context::of_plan(chart, facts, plan, noted)).transpose();
    let context = context.map_err(|e| e.fault())?;
    let due = plan.ok().and_then(|plan| Some((plan, plan.group(group)?)));
    let begun = due.map(|(plan, group)| facts.begun(chart, plan, group, &given)).transpose();
    let begun = begun.map_err(|e| e.fault())?.flatten();
    let too_soon = due.and_then(|(plan, group)| facts.too_soon(plan, group, chart.now()));
    let overridden = due.zip(given.fractions()).map_or_else(Vec::new, |((plan, group), given)| {
        facts.overridden(plan.digest(), group.number, given.saturating_add(1))
    });
    let is_rejected = plan.ok().map(|plan| facts.is_rejected(chart, plan)).transpose().map_err(|e| e.fault())?;
    let is_rejected = is_rejected.unwrap_or(false);
    let mut verdict = decide(&GateInput {
        expected: Expected {
            patient: facts.patient,
            identifiers: &facts.identifiers,
            birth_date: facts.birth_date.as_deref(),
            sex: facts.sex,
            number_is_shared,
            uid_is_anothers: owner.is_some_and(|owner| owner != facts.patient),
            has_ended: facts.has_ended(),
            is_rejected,
            withdrawn: plan.ok().and_then(|plan| facts.withdrawn(plan.digest())),
        },
        plan,
        context: context.as_ref(),
        approvals: &facts.approvals,
        approved: &approved,
        asked,
        given: &given,
        begun: begun.as_ref(),
        rules,
        today: Day::of_dicom(&facts.local(chart.now()).0),
        too_soon: too_soon.as_deref(),
        overridden: &overridden,
    });
    if let Ok(plan) = plan {
        let settled = verdict.fraction_group.and_then(|group| facts.settled(plan.digest(), group));
        verdict.notes.extend(settled.map(|_| Note::CountSettled));
        let before = verdict.fraction_group.map(|group| facts.released_before(chart, plan.digest(), group));
        let before = before.transpose().map_err(|e| e.fault())?.flatten();
        verdict.notes.extend(before.map(|at| Note::ReleasedBefore { at }));
        verdict.notes.extend(facts.was_given_others(plan).then_some(Note::OthersGiven));
    }
    Ok(verdict)
}

/// The verdict where nobody here, or more than one, is known by what the caller or the plan says.
fn nobody(rules: &Rules, plan: std::result::Result<&Plan, &PlanError>, unknown: Finding) -> Verdict {
    let mut verdict = decide(&GateInput {
        expected: Expected {
            patient: PatientId([0; 16]),
            identifiers: &[],
            birth_date: None,
            sex: None,
            number_is_shared: false,
            uid_is_anothers: false,
            has_ended: false,
            is_rejected: false,
            withdrawn: None,
        },
        plan,
        context: None,
        approvals: &[],
        approved: &[],
        asked: &Asked::default(),
        given: &Given::NONE,
        begun: None,
        rules,
        today: None,
        too_soon: None,
        overridden: &[],
    });
    for finding in verdict.findings.iter_mut().filter(|finding| **finding == Finding::PatientUnknown) {
        finding.clone_from(&unknown);
    }
    verdict
}

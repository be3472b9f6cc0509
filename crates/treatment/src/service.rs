//! Radiotherapy on real records: what comes in, who signed what, the gate before each fraction, today's list. The
//! decisions themselves are pure ([`crate::gate`]); here they get their facts from the chart and leave their verdict
//! in the ledger.

use std::collections::BTreeSet;
use std::sync::Arc;

use chart::{Chart, ChartError, Context, Demographics, ObjectDraft, ObjectKept, Released};
use guard::{Act, Permit, Sensitivity, Target};
use kit::{Blame, Digest, Fault, PatientId, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::approval::{Approval, ApprovalError, Enrolment, SignerRole, Statement, VerifiedApproval};
use crate::course::{Course, Given, TreatmentRecord};
use crate::delivery::Delivery;
use crate::error::PlanError;
use crate::gate::{Expected, Finding, GateInput, Outcome, Verdict, decide};
use crate::object::Instance;
use crate::plan::Plan;

/// Lists of one patient.
const PLANS: &str = "plans";
const RECORDS: &str = "records";
const APPROVALS: &str = "approvals";
const VERDICTS: &str = "verdicts";
/// Lists of the centre.
const PLANNED: &str = "planned";
const PEOPLE: &str = "people";

/// Enrolments that count; a centre has some hundreds.
const PEOPLE_MAX: usize = 10_000;
/// Plans that the treatment list looks through.
const PLANNED_MAX: usize = 100_000;
/// Verdicts of one patient that are looked through for today's; a course has some forty fractions.
const VERDICTS_MAX: usize = 10_000;

type Result<T> = std::result::Result<T, Fault>;

/// What an approval has led to.
#[derive(Clone, Debug, Serialize)]
pub struct Approved {
    pub digest: Digest,
    /// Roles and names that have validly signed this delivery for this patient.
    pub signers: Vec<String>,
    /// Nothing is missing: the gate can release it.
    pub complete: bool,
}

/// How a patient stands today.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Standing {
    /// Signed by two, fractions left.
    Ready,
    /// The gate's last word today was a release.
    Released,
    /// The gate's last word today was a veto.
    Vetoed,
    /// Something is missing, or isn't known.
    Hold,
    Complete,
}

/// A row of today's list.
#[derive(Clone, Debug, Serialize)]
pub struct TreatmentRow {
    #[serde(skip)]
    pub patient: Option<PatientId>,
    pub name: String,
    pub number: String,
    pub birth_date: String,
    pub plan: String,
    pub machine: String,
    /// The one that is due; none where all are given, or nobody knows.
    pub fraction_next: Option<u32>,
    pub fractions_planned: Option<u32>,
    pub standing: Standing,
    pub why: String,
}

/// Today's list.
#[derive(Clone, Debug, Serialize)]
pub struct TreatmentList {
    pub as_of: Timestamp,
    pub rows: Vec<TreatmentRow>,
}

/// A verdict as it is kept.
#[derive(Serialize, Deserialize)]
struct KeptVerdict {
    at: Timestamp,
    by: String,
    plan: Option<String>,
    verdict: Verdict,
}

/// Everything that is known of one patient's radiotherapy.
struct Facts {
    patient: PatientId,
    record: Value,
    identifiers: Vec<String>,
    birth_date: Option<String>,
    sex: Option<&'static str>,
    /// In the order in which they came.
    plans: Vec<Plan>,
    approvals: Vec<VerifiedApproval>,
    records: Vec<std::result::Result<TreatmentRecord, PlanError>>,
}

/// The room's façade.
pub struct Treatment {
    chart: Arc<Chart>,
    /// The log's name: unique, so that an approval can't be carried to another centre.
    origin: String,
    /// The centre's name on pages.
    centre: String,
}

impl Treatment {
    /// `centre` is the name that pages show; approvals are signed for the log's own name.
    pub fn new(chart: Arc<Chart>, centre: impl Into<String>) -> Self {
        let origin = chart.vault().vkey().name().to_owned();
        Self { chart, origin, centre: centre.into() }
    }

    pub fn chart(&self) -> &Arc<Chart> {
        &self.chart
    }

    pub fn centre(&self) -> &str {
        &self.centre
    }

    /// Keeps an instance that came as a file.
    pub fn store(&self, context: &Context, file: Vec<u8>) -> Result<ObjectKept> {
        let instance = Instance::parse(&file)?;
        self.keep(context, Act::StoreObject, &instance, file)
    }

    /// Keeps an instance that came over an association.
    pub fn store_data_set(&self, context: &Context, data_set: &[u8], transfer_syntax: &str) -> Result<ObjectKept> {
        let instance = Instance::parse_data_set(data_set, transfer_syntax)?;
        self.keep(context, Act::StoreObject, &instance, instance.part10(data_set))
    }

    fn keep(&self, context: &Context, act: Act, instance: &Instance, bytes: Vec<u8>) -> Result<ObjectKept> {
        let no_patient = || {
            Fault::new(Blame::Peer, "treatment.no-patient", "PatientID (0010,0020) is empty: nobody knows whose it is")
        };
        let identifier = instance.patient_id.clone().ok_or_else(no_patient)?;
        let (family, given) = name(instance.patient_name.as_deref().unwrap_or_default());
        let birth_date = instance.birth_date.as_deref().and_then(fhir_date);
        let gender = match instance.sex.as_deref() {
            Some("M") => Some("male"),
            Some("F") => Some("female"),
            Some("O") => Some("other"),
            _ => None,
        };
        let (lists, centre_lists) = match instance.kind {
            kind if kind.is_plan() => (vec![PLANS], vec![PLANNED]),
            kind if kind.is_record() => (vec![RECORDS], vec![]),
            _ => (vec!["images"], vec![]),
        };
        let draft = ObjectDraft {
            collection: "dicom",
            id: instance.sop_instance.clone(),
            patient: Demographics { identifier, family, given, birth_date, gender },
            lists,
            centre_lists,
            bytes,
        };
        self.chart.keep_object(context, act, draft).map_err(|e| e.fault())
    }

    /// Lets a person's signature count from now on.
    pub fn enrol(&self, context: &Context, enrolment: &Enrolment) -> Result<()> {
        let permit = self
            .chart
            .admit(context, Act::ManageAccess, Target::Centre, Sensitivity::Clinical)
            .map_err(|e| e.fault())?;
        let list = self.chart.list_tag(PEOPLE, &[]);
        self.chart.append_note(&permit, "treatment.person", list, enrolment.encode()).map_err(|e| e.fault())?;
        Ok(())
    }

    /// Everybody whose signature counts.
    pub fn people(&self) -> Result<Vec<Enrolment>> {
        let read = || {
            let entries = self.chart.listed(&self.chart.list_tag(PEOPLE, &[]), PEOPLE_MAX)?;
            entries
                .into_iter()
                .map(|entry| Ok(Enrolment::decode(&self.chart.note_of(entry)?.1.note).map_err(Fault::from)?))
                .collect::<std::result::Result<Vec<_>, ChartError>>()
        };
        read().map_err(|e| e.fault())
    }

    /// What a person is about to sign; the file is only read.
    pub fn statement(&self, patient: PatientId, plan: &[u8], role: SignerRole, signer: &str) -> Result<Statement> {
        let delivery = Plan::parse(plan)?.digest();
        let (centre, at) = (self.origin.clone(), self.chart.now());
        Ok(Statement { centre, patient, delivery, role, signer: signer.to_owned(), at })
    }

    /// Takes in one person's signature over what a plan delivers. The plan is kept with it, so that later differences
    /// can be named. Of another patient's plan, or with a signature that doesn't fit, nothing is kept.
    pub fn approve(
        &self,
        context: &Context,
        patient: PatientId,
        file: Vec<u8>,
        approval: &Approval,
    ) -> Result<Approved> {
        let plan = Plan::parse(&file)?;
        let statement = approval.statement();
        if statement.patient != patient || statement.delivery != plan.digest() {
            let text = "the signature is over another delivery or for another patient than what was handed in";
            return Err(Fault::new(Blame::Peer, "treatment.approval.mismatch", text));
        }
        let people = self.people()?;
        approval.verify(&self.origin, &people)?;
        let owner = plan.instance.patient_id.as_deref().map(|id| self.chart.patient_by_identifier(id)).transpose();
        if owner.map_err(|e| e.fault())?.flatten() != Some(patient) {
            let text = "the plan's Patient ID is not one of this patient's identifiers";
            return Err(Fault::new(Blame::Peer, "treatment.approval.another-patient", text));
        }
        self.keep(context, Act::ApprovePlan, &plan.instance, file)?;
        let permit = self
            .chart
            .admit(context, Act::ApprovePlan, Target::Patient(patient), Sensitivity::Clinical)
            .map_err(|e| e.fault())?;
        let list = self.chart.list_tag(APPROVALS, &patient.0);
        self.chart
            .append(&permit, Some(patient), "treatment.approval", &[list], approval.encode())
            .map_err(|e| e.fault())?;
        let signed: BTreeSet<(SignerRole, String)> = self
            .approvals(&permit, patient, &people)?
            .iter()
            .map(VerifiedApproval::statement)
            .filter(|s| s.delivery == plan.digest())
            .map(|s| (s.role, s.signer.clone()))
            .collect();
        let roles: BTreeSet<SignerRole> = signed.iter().map(|(role, _)| *role).collect();
        let names: BTreeSet<&String> = signed.iter().map(|(_, name)| name).collect();
        Ok(Approved {
            digest: plan.digest(),
            complete: roles.len() == 2 && names.len() >= 2,
            signers: signed.iter().map(|(role, name)| format!("{role} {name}")).collect(),
        })
    }

    /// The check before a fraction. `patient` is what the caller knows her by (FHIR id or identifier); without it, she
    /// is whom the plan names. The verdict is an entry before it is an answer.
    pub fn gate(&self, context: &Context, patient: Option<&str>, file: &[u8]) -> Result<Verdict> {
        let plan = Plan::parse(file);
        let named = patient.or_else(|| plan.as_ref().ok()?.instance.patient_id.as_deref());
        let patient = named.map(|text| self.chart.find_patient(text)).transpose().map_err(|e| e.fault())?.flatten();
        let target = patient.map_or(Target::Centre, Target::Patient);
        let permit = self.chart.admit(context, Act::CheckGate, target, Sensitivity::Clinical).map_err(|e| e.fault())?;
        let verdict = match patient {
            Some(patient) => judge(&self.facts(&permit, patient, &self.people()?)?, plan.as_ref()),
            None => nobody(plan.as_ref()),
        };
        let kept = KeptVerdict {
            at: self.chart.now(),
            by: permit.subject().to_owned(),
            plan: plan.as_ref().ok().map(|p| p.instance.sop_instance.clone()),
            verdict,
        };
        let payload = serde_json::to_vec(&kept)
            .map_err(|e| Fault::new(Blame::Ours, "treatment.verdict", format!("the verdict: {e}")))?;
        let list = self.chart.list_tag(VERDICTS, patient.as_ref().map_or(&[], |p| p.0.as_slice()));
        self.chart.append(&permit, patient, "treatment.verdict", &[list], payload).map_err(|e| e.fault())?;
        Ok(kept.verdict)
    }

    /// Who is on treatment, and how each stands: everybody with a plan that isn't given in full.
    pub fn list(&self, context: &Context) -> Result<TreatmentList> {
        let permit = self
            .chart
            .admit(context, Act::ReadTreatmentList, Target::Centre, Sensitivity::Clinical)
            .map_err(|e| e.fault())?;
        let as_of = self.chart.now();
        let planned = self.chart.listed(&self.chart.list_tag(PLANNED, &[]), PLANNED_MAX).map_err(|e| e.fault())?;
        let mut patients = BTreeSet::new();
        for entry in planned {
            patients.extend(self.chart.patient_of_entry(entry).map_err(|e| e.fault())?);
        }
        let people = self.people()?;
        let mut rows = Vec::with_capacity(patients.len());
        for patient in patients {
            if self.chart.is_erased(patient) {
                continue;
            }
            let facts = self.facts(&permit, patient, &people)?;
            let last = self.last_verdict_today(&permit, patient, as_of)?;
            rows.extend(row(&facts, last));
        }
        rows.sort_by(|a, b| (&a.machine, &a.name, &a.number).cmp(&(&b.machine, &b.name, &b.number)));
        Ok(TreatmentList { as_of, rows })
    }

    fn last_verdict_today(&self, permit: &Permit, patient: PatientId, now: Timestamp) -> Result<Option<Verdict>> {
        let list = self.chart.list_tag(VERDICTS, &patient.0);
        let entries = self.chart.listed(&list, VERDICTS_MAX).map_err(|e| e.fault())?;
        let Some(last) = entries.last() else { return Ok(None) };
        let released = self.chart.release(permit, &[*last]).map_err(|e| e.fault())?;
        let kept: Option<KeptVerdict> = released.first().and_then(|r| serde_json::from_slice(&r.bytes).ok());
        Ok(kept.filter(|kept| kept.at.civil_date() == now.civil_date()).map(|kept| kept.verdict))
    }

    fn approvals(&self, permit: &Permit, patient: PatientId, people: &[Enrolment]) -> Result<Vec<VerifiedApproval>> {
        let released = self.chart.release_list(permit, APPROVALS, patient).map_err(|e| e.fault())?;
        let verified = |r: &Released| Approval::decode(&r.bytes).and_then(|a| a.verify(&self.origin, people));
        Ok(released
            .iter()
            .filter_map(|r| {
                // An approval that doesn't verify counts as none: the gate then holds.
                verified(r).inspect_err(|e: &ApprovalError| tracing::warn!(entry = r.entry, %e, "an approval")).ok()
            })
            .collect())
    }

    fn facts(&self, permit: &Permit, patient: PatientId, people: &[Enrolment]) -> Result<Facts> {
        let get = |name| self.chart.release_list(permit, name, patient).map_err(|e| e.fault());
        let record: Value = self
            .chart
            .release_patient(permit, patient)
            .map_err(|e| e.fault())?
            .and_then(|r| serde_json::from_slice(&r.bytes).ok())
            .unwrap_or_default();
        let text = |v: &Value| v.as_str().map(str::to_owned);
        let identifiers = record
            .get("identifier")
            .and_then(Value::as_array)
            .map(|list| list.iter().filter_map(|i| i.get("value").and_then(text)).collect())
            .unwrap_or_default();
        Ok(Facts {
            patient,
            identifiers,
            birth_date: record
                .get("birthDate")
                .and_then(text)
                .map(|date| date.replace('-', ""))
                .filter(|date| date.len() == 8),
            sex: match record.get("gender").and_then(Value::as_str) {
                Some("male") => Some("M"),
                Some("female") => Some("F"),
                Some("other") => Some("O"),
                _ => None,
            },
            record,
            plans: get(PLANS)?.iter().filter_map(|r| Plan::parse(&r.bytes).ok()).collect(),
            approvals: self.approvals(permit, patient, people)?,
            records: get(RECORDS)?.iter().map(|r| TreatmentRecord::parse(&r.bytes)).collect(),
        })
    }
}

fn judge(facts: &Facts, plan: std::result::Result<&Plan, &PlanError>) -> Verdict {
    let approved: Vec<&Delivery> = facts.plans.iter().map(|p| &p.delivery).collect();
    // A re-export has another UID; what was given of the same delivery counts all the same.
    let same: BTreeSet<String> = plan.ok().map_or_else(BTreeSet::new, |plan| {
        facts
            .plans
            .iter()
            .filter(|p| p.digest() == plan.digest())
            .chain(std::iter::once(plan))
            .map(|p| p.instance.sop_instance.clone())
            .collect()
    });
    let given = match plan.ok().map(|plan| plan.groups.as_slice()) {
        Some([only]) => {
            let mut course = Course::new(&same, only.number, true);
            facts.records.iter().for_each(|record| course.add(record));
            course.given()
        }
        _ => Given::NONE,
    };
    decide(&GateInput {
        expected: Expected {
            patient: facts.patient,
            identifiers: &facts.identifiers,
            birth_date: facts.birth_date.as_deref(),
            sex: facts.sex,
        },
        plan,
        approvals: &facts.approvals,
        approved: &approved,
        fraction_group: None,
        given: &given,
    })
}

/// The verdict where nobody here is known by what the caller or the plan says.
fn nobody(plan: std::result::Result<&Plan, &PlanError>) -> Verdict {
    decide(&GateInput {
        expected: Expected { patient: PatientId([0; 16]), identifiers: &[], birth_date: None, sex: None },
        plan,
        approvals: &[],
        approved: &[],
        fraction_group: None,
        given: &Given::NONE,
    })
}

fn row(facts: &Facts, last: Option<Verdict>) -> Option<TreatmentRow> {
    let signed = |plan: &&Plan| facts.approvals.iter().any(|a| a.statement().delivery == plan.digest());
    let plan = facts.plans.iter().rev().find(signed).or(facts.plans.last())?;
    let verdict = judge(facts, Ok(plan));
    let is_complete = |f: &Finding| matches!(f, Finding::AllFractionsGiven { .. });
    let (standing, why) = match (&verdict.findings.as_slice(), last) {
        (findings, _) if findings.iter().any(is_complete) => (Standing::Complete, String::new()),
        (_, Some(last)) if last.outcome == Outcome::Veto => {
            (Standing::Vetoed, last.findings.first().map_or_else(String::new, headline))
        }
        ([], Some(_)) => (Standing::Released, "released by the gate today".to_owned()),
        ([], None) => (Standing::Ready, "signed by two people".to_owned()),
        ([first, ..], _) => (Standing::Hold, headline(first)),
    };
    let machines: BTreeSet<&str> = plan.beams.iter().filter(|b| b.treats).map(|b| b.machine.as_str()).collect();
    Some(TreatmentRow {
        patient: Some(facts.patient),
        name: display_name(&facts.record),
        number: plan.instance.patient_id.clone().unwrap_or_default(),
        birth_date: facts.record.get("birthDate").and_then(Value::as_str).unwrap_or_default().to_owned(),
        plan: plan.label.clone().unwrap_or_default(),
        machine: machines.into_iter().collect::<Vec<_>>().join(", "),
        fraction_next: verdict
            .fractions_given
            .map(|given| given.saturating_add(1))
            .filter(|next| verdict.fractions_planned.is_none_or(|planned| *next <= planned)),
        fractions_planned: verdict.fractions_planned,
        standing,
        why,
    })
}

/// The first line of a finding: a row has no room for a list of fields.
fn headline(finding: &Finding) -> String {
    let text = finding.to_string();
    let line = text.lines().next().unwrap_or_default();
    line.split(" (approved →").next().unwrap_or(line).to_owned()
}

fn display_name(record: &Value) -> String {
    let Some(name) = record.get("name").and_then(|n| n.get(0)) else { return String::new() };
    if let Some(text) = name.get("text").and_then(Value::as_str) {
        return text.to_owned();
    }
    let given = name.get("given").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str);
    given.chain(name.get("family").and_then(Value::as_str)).collect::<Vec<_>>().join(" ")
}

/// Family and given names of a DICOM person name: of its component groups the first that isn't empty.
fn name(text: &str) -> (Option<String>, Vec<String>) {
    let group = text.split('=').find(|group| !group.trim().is_empty()).unwrap_or_default();
    let mut parts = group.split('^').map(|part| part.trim().to_owned());
    let family = parts.next().filter(|part| !part.is_empty());
    let given = parts.take(2).filter(|part| !part.is_empty()).collect();
    (family, given)
}

/// `YYYYMMDD` to `YYYY-MM-DD`; none where no calendar has such a day.
fn fhir_date(dicom: &str) -> Option<String> {
    let text = format!("{}-{}-{}", dicom.get(..4)?, dicom.get(4..6)?, dicom.get(6..8)?);
    chart::fhir::parse_date_time(&text).map(|_| text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dicom_names_and_dates_become_fhir() {
        assert_eq!(name("Alpha^Beta^Gamma^Dr"), (Some("Alpha".into()), vec!["Beta".into(), "Gamma".into()]));
        assert_eq!(name("=Δέλτα^Έψιλον"), (Some("Δέλτα".into()), vec!["Έψιλον".into()]));
        assert_eq!(name(""), (None, vec![]));
        assert_eq!(fhir_date("19540229"), None);
        assert_eq!(fhir_date("19560229"), Some("1956-02-29".into()));
    }
}

//! Everything that is known of one patient's radiotherapy, read from her chart: what the gate and the list judge by.

use std::collections::{BTreeMap, BTreeSet};

use chart::{Chart, ChartError, Released};
use guard::Permit;
use kit::{Blame, Digest, Fault, PatientId, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::approval::{Approval, ApprovalError, VerifiedApproval};
use crate::course::{Course, Given, TreatmentRecord, Unknown};
use crate::error::PlanError;
use crate::gate::{Signed, Verdict};
use crate::people::People;
use crate::plan::Plan;

/// Lists of one patient.
pub(crate) const PLANS: &str = "plans";
pub(crate) const RECORDS: &str = "records";
pub(crate) const APPROVALS: &str = "approvals";
pub(crate) const VERDICTS: &str = "verdicts";
/// Of one plan's SOP Instance UID.
const RECORDS_OF_PLAN: &str = "records-of-plan";
/// Of one plan's entry.
const APPROVALS_OF_FILE: &str = "approvals-of-file";
/// Of one patient and one plan's SOP Instance UID: verdicts on what came under it.
const VERDICTS_OF_PLAN: &str = "verdicts-of-plan";

/// Objects of one kind that one patient may have; a course has under 100.
const LIST_MAX: usize = 10_000;
/// Verdicts on one SOP Instance UID that are looked at: more than one only where different bytes came under it.
const VERDICTS_OF_PLAN_MAX: usize = 100;
/// Patients whose records are opened, and noted as opened, in one go: each note waits for a disk.
const PATIENTS_AT_ONCE: usize = 32;

/// A verdict as it is kept.
#[derive(Serialize, Deserialize)]
pub(crate) struct KeptVerdict {
    pub(crate) at: Timestamp,
    pub(crate) by: String,
    pub(crate) plan: Option<String>,
    pub(crate) verdict: Verdict,
}

pub(crate) struct Facts {
    pub(crate) patient: PatientId,
    pub(crate) record: Value,
    pub(crate) identifiers: Vec<String>,
    pub(crate) birth_date: Option<String>,
    pub(crate) sex: Option<&'static str>,
    /// In the order in which they came.
    pub(crate) plans: Vec<Plan>,
    /// Of each of them, the approvals that its very file was handed in with.
    signed: Vec<Vec<VerifiedApproval>>,
    /// Where her treatment records stand.
    record_entries: BTreeSet<u64>,
    pub(crate) approvals: Vec<VerifiedApproval>,
    pub(crate) records: Vec<Result<TreatmentRecord, PlanError>>,
    /// Deliveries that came under an SOP Instance UID without being stored: to the gate only.
    seen: BTreeMap<String, BTreeSet<Digest>>,
    /// The newest verdict.
    pub(crate) last: Option<KeptVerdict>,
}

/// Where a patient's facts stand in the ledger.
struct Places {
    patient: PatientId,
    record: Option<u64>,
    plans: Vec<u64>,
    /// For each of the plans.
    approvals_of_plans: Vec<Vec<u64>>,
    approvals: Vec<u64>,
    records: Vec<u64>,
    last: Option<u64>,
}

impl Places {
    fn of(chart: &Chart, patient: PatientId) -> Result<Self, ChartError> {
        let list = |name| chart.listed(&chart.list_tag(name, &patient.0), LIST_MAX);
        let plans = list(PLANS)?;
        let approvals_of = |plan: &u64| chart.listed(&approvals_of_file(chart, *plan), LIST_MAX);
        Ok(Self {
            patient,
            record: chart.patient_entry(patient)?,
            approvals_of_plans: plans.iter().map(approvals_of).collect::<Result<_, _>>()?,
            plans,
            approvals: list(APPROVALS)?,
            records: list(RECORDS)?,
            last: chart.newest(&chart.list_tag(VERDICTS, &patient.0))?,
        })
    }

    fn entries(&self) -> impl Iterator<Item = u64> {
        let lists = [&self.plans, &self.approvals, &self.records].into_iter().flatten();
        lists.chain(&self.record).chain(&self.last).copied()
    }
}

/// The list of approvals that were handed in with the plan in `entry`: what is toleranced is compared with that file.
pub(crate) fn approvals_of_file(chart: &Chart, entry: u64) -> chart::Tag {
    chart.list_tag(APPROVALS_OF_FILE, &entry.to_be_bytes())
}

/// The list of treatment records that name a plan, whoever's they are.
pub(crate) fn records_of_plan(chart: &Chart, plan: &str) -> chart::Tag {
    chart.list_tag(RECORDS_OF_PLAN, plan.as_bytes())
}

/// The list of verdicts on what came under one SOP Instance UID.
pub(crate) fn verdicts_of_plan(chart: &Chart, patient: PatientId, plan: &str) -> chart::Tag {
    chart.list_tag(VERDICTS_OF_PLAN, &[patient.0.as_slice(), plan.as_bytes()].concat())
}

/// Whose signatures count, and in which log.
#[derive(Clone, Copy)]
pub(crate) struct Signers<'a> {
    pub(crate) origin: &'a str,
    pub(crate) people: &'a People,
}

/// The facts of each patient, in their order. What can't be read of one patient doesn't keep the others from being read.
pub(crate) fn read(
    chart: &Chart,
    permit: &Permit,
    patients: &[PatientId],
    signers: Signers<'_>,
) -> Vec<Result<Facts, Fault>> {
    let batches = patients.chunks(PATIENTS_AT_ONCE).flat_map(|batch| match read_all(chart, permit, batch, signers) {
        Ok(facts) => facts.into_iter().map(Ok).collect::<Vec<_>>(),
        Err(_) => batch.iter().map(|patient| read_one(chart, permit, *patient, signers)).collect(),
    });
    batches.collect()
}

/// The facts of one patient.
pub(crate) fn read_one(
    chart: &Chart,
    permit: &Permit,
    patient: PatientId,
    signers: Signers<'_>,
) -> Result<Facts, Fault> {
    let facts = read_all(chart, permit, &[patient], signers).map_err(|e| e.fault())?;
    facts.into_iter().next().ok_or_else(|| Fault::new(Blame::Ours, "treatment.facts", "no facts were read"))
}

fn read_all(
    chart: &Chart,
    permit: &Permit,
    patients: &[PatientId],
    signers: Signers<'_>,
) -> Result<Vec<Facts>, ChartError> {
    let places = patients.iter().map(|patient| Places::of(chart, *patient)).collect::<Result<Vec<_>, _>>()?;
    let entries: Vec<u64> = places.iter().flat_map(Places::entries).collect();
    let released: BTreeMap<u64, Released> =
        chart.release(permit, &entries)?.into_iter().map(|released| (released.entry, released)).collect();
    let mut all: Vec<Facts> = places.iter().map(|places| Facts::of(chart, places, &released, signers)).collect();

    // A plan that was exported again and shown to the gate only is stored nowhere, but a verdict tells what it delivers.
    let mut unstored: Vec<(usize, String, u64)> = Vec::new();
    for (at, facts) in all.iter().enumerate() {
        for uid in facts.named() {
            let list = verdicts_of_plan(chart, facts.patient, &uid);
            let verdicts = chart.listed_back(&list, u64::MAX, VERDICTS_OF_PLAN_MAX)?;
            unstored.extend(verdicts.into_iter().map(|entry| (at, uid.clone(), entry)));
        }
    }
    let entries: Vec<u64> = unstored.iter().map(|(.., entry)| *entry).collect();
    for ((at, uid, _), released) in unstored.into_iter().zip(chart.release(permit, &entries)?) {
        let kept: Option<KeptVerdict> = serde_json::from_slice(&released.bytes).ok();
        let digest = kept.and_then(|kept| kept.verdict.digest);
        if let (Some(facts), Some(digest)) = (all.get_mut(at), digest) {
            facts.seen.entry(uid).or_default().insert(digest);
        }
    }
    Ok(all)
}

impl Facts {
    fn of(chart: &Chart, places: &Places, released: &BTreeMap<u64, Released>, signers: Signers<'_>) -> Self {
        let bytes = |entry: &u64| released.get(entry).map(|released| released.bytes.as_slice());
        let all = |entries: &[u64]| entries.iter().filter_map(bytes).collect::<Vec<_>>();
        let record: Value =
            places.record.as_ref().and_then(bytes).and_then(|b| serde_json::from_slice(b).ok()).unwrap_or_default();
        let text = |v: &Value| v.as_str().map(str::to_owned);
        let number_system = chart.number_system();
        let verified = |entry: &u64| {
            // An approval that doesn't verify counts as none: the gate then holds.
            Approval::decode(bytes(entry)?)
                .and_then(|approval| approval.verify(signers.origin, signers.people.counting(*entry)))
                .inspect_err(|error: &ApprovalError| tracing::warn!(%error, "an approval"))
                .ok()
        };
        let approvals: BTreeMap<u64, VerifiedApproval> =
            places.approvals.iter().filter_map(|entry| Some((*entry, verified(entry)?))).collect();
        let (mut plans, mut signed) = (Vec::with_capacity(places.plans.len()), Vec::new());
        for (entry, approvals_of) in places.plans.iter().zip(&places.approvals_of_plans) {
            let Some(plan) = bytes(entry).and_then(|bytes| Plan::parse(bytes).ok()) else { continue };
            signed.push(approvals_of.iter().filter_map(|approval| approvals.get(approval).cloned()).collect());
            plans.push(plan);
        }
        Self {
            patient: places.patient,
            identifiers: record
                .get("identifier")
                .and_then(Value::as_array)
                .into_iter()
                .flatten()
                .filter(|i| number_system.is_none_or(|system| i.get("system").and_then(Value::as_str) == Some(system)))
                .filter_map(|i| i.get("value").and_then(text))
                .collect(),
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
            plans,
            signed,
            record_entries: places.records.iter().copied().collect(),
            approvals: approvals.into_values().collect(),
            records: all(&places.records).into_iter().map(TreatmentRecord::parse).collect(),
            seen: BTreeMap::new(),
            last: places.last.as_ref().and_then(bytes).and_then(|b| serde_json::from_slice(b).ok()),
        }
    }

    /// Deliveries as they were signed, with the setup that was signed, and by whom.
    pub(crate) fn signed(&self) -> impl Iterator<Item = Signed<'_>> {
        let files = self.plans.iter().zip(&self.signed).filter(|(_, approvals)| !approvals.is_empty());
        files.map(|(plan, approvals)| Signed { delivery: &plan.delivery, approvals })
    }

    /// Plans that her records name: what is stored under such a UID need not be what was shown to the gate under it.
    fn named(&self) -> BTreeSet<String> {
        self.records.iter().filter_map(|record| record.as_ref().ok()).flat_map(|record| record.plans.clone()).collect()
    }

    /// What was given of one fraction group of this plan's delivery (of the only one, where none is said), under whatever
    /// SOP Instance UID. A record of a plan that nobody here has seen may be one of it, and one that is filed under another
    /// patient may be hers: then the count isn't known.
    pub(crate) fn given(&self, chart: &Chart, plan: &Plan, group: Option<u32>) -> Result<Given, ChartError> {
        let Some(group) = plan.group(group) else { return Ok(Given::NONE) };
        let mut known: BTreeMap<&str, bool> = BTreeMap::new();
        let digest = plan.digest();
        let stored = self.plans.iter().chain(std::iter::once(plan));
        for stored in stored {
            *known.entry(&stored.instance.sop_instance).or_default() |= stored.digest() == digest;
        }
        for (uid, digests) in &self.seen {
            *known.entry(uid).or_default() |= digests.contains(&digest);
        }
        let same: BTreeSet<String> =
            known.iter().filter(|(_, same)| **same).map(|(uid, _)| (*uid).to_owned()).collect();
        let mut course = Course::new(&same, plan, group);
        for record in &self.records {
            let nobody_knows = |uid: &String| !known.contains_key(uid.as_str());
            match record {
                Ok(record) if record.gave_dose() && record.plans.iter().any(nobody_knows) => {
                    course.doubt(Unknown::UnknownPlan);
                }
                record => course.add(record),
            }
        }
        for uid in same.iter().chain(std::iter::once(&plan.instance.sop_instance)) {
            let records = chart.listed(&records_of_plan(chart, uid), LIST_MAX)?;
            if records.iter().any(|entry| !self.record_entries.contains(entry)) {
                course.doubt(Unknown::AnothersRecord);
            }
        }
        Ok(course.given())
    }
}

//! Everything that is known of one patient's radiotherapy, read from her chart: what the gate and the list judge by.

use std::collections::{BTreeMap, BTreeSet};

use chart::{Chart, ChartError, Released};
use guard::Permit;
use kit::{Blame, Digest, Fault, PatientId, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::approval::{Approval, ApprovalError, Settles, SignerRole, VerifiedApproval};
use crate::course::{Course, Given, TreatmentRecord, Unknown};
use crate::error::PlanError;
use crate::gate::{Signed, Verdict, approval_gap};
use crate::object::Instance;
use crate::people::People;
use crate::plan::Plan;

/// Lists of one patient.
pub(crate) const PLANS: &str = "plans";
pub(crate) const RECORDS: &str = "records";
pub(crate) const APPROVALS: &str = "approvals";
pub(crate) const VERDICTS: &str = "verdicts";
pub(crate) const SETTLEMENTS: &str = "settlements";
/// Of one plan's SOP Instance UID.
const RECORDS_OF_PLAN: &str = "records-of-plan";
/// Of one plan's entry.
const APPROVALS_OF_FILE: &str = "approvals-of-file";
/// Of one patient and one plan's SOP Instance UID: the first verdict on each delivery that came under it.
const VERDICTS_OF_PLAN: &str = "verdicts-of-plan";
/// The same of one delivery.
const VERDICTS_OF_DELIVERY: &str = "verdicts-of-delivery";

/// Objects of one kind that one patient may have; a course has under 100.
const LIST_MAX: usize = 10_000;
/// Different deliveries that may come under one SOP Instance UID without being stored: more make the count unknown.
const DELIVERIES_OF_PLAN_MAX: usize = 100;
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
    pub(crate) approvals: Vec<VerifiedApproval>,
    settlements: Vec<VerifiedApproval>,
    /// By their entries.
    records: BTreeMap<u64, Result<TreatmentRecord, PlanError>>,
    /// What came under an SOP Instance UID, stored or to the gate only.
    known: BTreeMap<String, Vec<Came>>,
    /// SOP Instance UIDs under which too much came to the gate.
    crowded: BTreeSet<String>,
    /// Of her plans, some can't be read.
    pub(crate) has_unreadable_plan: bool,
    /// The newest verdict.
    pub(crate) last: Option<KeptVerdict>,
}

/// Something under a plan's SOP Instance UID.
struct Came {
    entry: u64,
    /// None where nobody can read what it delivers.
    digest: Option<Digest>,
    is_stored: bool,
}

/// Where a patient's facts stand in the ledger.
struct Places {
    patient: PatientId,
    record: Option<u64>,
    plans: Vec<u64>,
    /// For each of the plans.
    approvals_of_plans: Vec<Vec<u64>>,
    approvals: Vec<u64>,
    settlements: Vec<u64>,
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
            settlements: list(SETTLEMENTS)?,
            records: list(RECORDS)?,
            last: chart.newest(&chart.list_tag(VERDICTS, &patient.0))?,
        })
    }

    fn entries(&self) -> impl Iterator<Item = u64> {
        let lists = [&self.plans, &self.approvals, &self.settlements, &self.records].into_iter().flatten();
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

/// Where the gate remembers that a delivery came under an SOP Instance UID. One is noted once, however often it is shown:
/// or whoever shows many would push the others out of sight.
pub(crate) fn noting(
    chart: &Chart,
    patient: PatientId,
    plan: &str,
    delivery: Digest,
) -> Result<Vec<chart::Tag>, ChartError> {
    let of = [patient.0.as_slice(), &delivery.0, plan.as_bytes()].concat();
    let known = chart.list_tag(VERDICTS_OF_DELIVERY, &of);
    let is_new = chart.newest(&known)?.is_none();
    Ok(if is_new { vec![known, verdicts_of_plan(chart, patient, plan)] } else { Vec::new() })
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
    let (mut unstored, mut crowded) = (Vec::new(), Vec::new());
    for (at, facts) in all.iter().enumerate() {
        for uid in facts.named() {
            let list = verdicts_of_plan(chart, facts.patient, &uid);
            let verdicts = chart.listed_back(&list, u64::MAX, DELIVERIES_OF_PLAN_MAX + 1)?;
            if verdicts.len() > DELIVERIES_OF_PLAN_MAX {
                crowded.push((at, uid));
                continue;
            }
            unstored.extend(verdicts.into_iter().map(|entry| (at, uid.clone(), entry)));
        }
    }
    let entries: Vec<u64> = unstored.iter().map(|(.., entry)| *entry).collect();
    for ((at, uid, entry), released) in unstored.into_iter().zip(chart.release(permit, &entries)?) {
        let kept: Option<KeptVerdict> = serde_json::from_slice(&released.bytes).ok();
        let digest = kept.and_then(|kept| kept.verdict.digest);
        if let Some(facts) = all.get_mut(at) {
            facts.known.entry(uid).or_default().push(Came { entry, digest, is_stored: false });
        }
    }
    for (at, uid) in crowded {
        all.get_mut(at).map(|facts| facts.crowded.insert(uid));
    }
    Ok(all)
}

impl Facts {
    fn of(chart: &Chart, places: &Places, released: &BTreeMap<u64, Released>, signers: Signers<'_>) -> Self {
        let bytes = |entry: &u64| released.get(entry).map(|released| released.bytes.as_slice());
        let record: Value =
            places.record.as_ref().and_then(bytes).and_then(|b| serde_json::from_slice(b).ok()).unwrap_or_default();
        let text = |v: &Value| v.as_str().map(str::to_owned);
        let verified = |entry: &u64| {
            // An approval that doesn't verify counts as none: the gate then holds.
            Approval::decode(bytes(entry)?)
                .and_then(|approval| approval.verify(signers.origin, signers.people.counting(*entry)))
                .inspect_err(|error: &ApprovalError| tracing::warn!(%error, "an approval"))
                .ok()
        };
        let settles = |one: &VerifiedApproval| one.statement().settles.is_some();
        let approvals: BTreeMap<u64, VerifiedApproval> = (places.approvals.iter())
            .filter_map(|entry| Some((*entry, verified(entry).filter(|one| !settles(one))?)))
            .collect();
        let (mut plans, mut signed) = (Vec::with_capacity(places.plans.len()), Vec::new());
        let (mut known, mut has_unreadable_plan): (BTreeMap<String, Vec<Came>>, _) = (BTreeMap::new(), false);
        for (entry, approvals_of) in places.plans.iter().zip(&places.approvals_of_plans) {
            let Some(bytes) = bytes(entry) else { continue };
            let plan = Plan::parse(bytes).ok();
            // What came in was an instance, or it would not be here.
            let uid = plan.as_ref().map(|plan| plan.instance.sop_instance.clone());
            let uid = uid.or_else(|| Instance::parse(bytes).ok().map(|instance| instance.sop_instance));
            let came = Came { entry: *entry, digest: plan.as_ref().map(Plan::digest), is_stored: true };
            known.entry(uid.unwrap_or_default()).or_default().push(came);
            has_unreadable_plan |= plan.is_none();
            let Some(plan) = plan else { continue };
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
                .filter(|i| chart.is_number_system(i.get("system").and_then(Value::as_str)))
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
            approvals: approvals.into_values().collect(),
            settlements: places.settlements.iter().filter_map(verified).filter(settles).collect(),
            records: (places.records.iter())
                .filter_map(|entry| Some((*entry, TreatmentRecord::parse(bytes(entry)?))))
                .collect(),
            known,
            crowded: BTreeSet::new(),
            has_unreadable_plan,
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
        self.records.values().filter_map(|record| record.as_ref().ok()).flat_map(|one| one.plans.clone()).collect()
    }

    /// What two people have said that was given of one fraction group of a delivery; the newest word.
    pub(crate) fn settled(&self, delivery: Digest, group: u32) -> Option<Settles> {
        let said: Vec<(Settles, &VerifiedApproval)> = (self.settlements.iter())
            .filter(|one| one.statement().patient == self.patient && one.statement().delivery == delivery)
            .filter_map(|one| Some((one.statement().settles.filter(|said| said.group == group)?, one)))
            .collect();
        let by = |role, said: &Settles, all: &[(Settles, &VerifiedApproval)]| -> Vec<VerifiedApproval> {
            let fits = |(other, one): &&(Settles, &VerifiedApproval)| other == said && one.statement().role == role;
            all.iter().filter(fits).map(|(_, one)| (*one).clone()).collect()
        };
        let by_two = |(one, _): &&(Settles, &VerifiedApproval)| {
            let physicists = by(SignerRole::Physicist, one, &said);
            by(SignerRole::Oncologist, one, &said)
                .iter()
                .any(|o| physicists.iter().any(|p| p.by_another_person_than(o)))
        };
        said.iter().filter(by_two).map(|(said, _)| *said).max_by_key(|said| said.before)
    }

    /// Roles and names that have said it.
    pub(crate) fn who_settled(&self, delivery: Digest, settles: Settles) -> Vec<String> {
        let said = self.settlements.iter().map(VerifiedApproval::statement);
        let said = said.filter(|said| said.delivery == delivery && said.settles == Some(settles));
        let who: BTreeSet<String> = said.map(|said| format!("{} {}", said.role, said.signer)).collect();
        who.into_iter().collect()
    }

    /// What one person has settled, and nobody else yet, with nothing come since: whoever agrees signs the same.
    pub(crate) fn proposed(&self, delivery: Digest, group: u32, given: u32) -> Option<Settles> {
        let newest = self.records.keys().next_back().copied().unwrap_or(0);
        let said = self.settlements.iter().filter(|one| one.statement().delivery == delivery);
        let said = said.filter_map(|one| one.statement().settles);
        said.filter(|said| said.group == group && said.given == given && said.before > newest)
            .max_by_key(|said| said.before)
    }

    /// What was given of one fraction group of this plan's delivery (of the only one, where none is said), under whatever
    /// SOP Instance UID. A record of a plan that nobody here has seen may be one of it, and one that is filed under another
    /// patient may be hers: then the count isn't known, until two people settle it.
    pub(crate) fn given(&self, chart: &Chart, plan: &Plan, group: Option<u32>) -> Result<Given, ChartError> {
        let Some(group) = plan.group(group) else { return Ok(Given::NONE) };
        let digest = plan.digest();
        let settled = self.settled(digest, group.number);
        let from = settled.map_or(0, |said| said.before);
        let is_same = |came: &Came| came.digest == Some(digest);
        let same = self.known.iter().filter(|(_, came)| came.iter().any(is_same)).map(|(uid, _)| uid.clone());
        let same: BTreeSet<String> = same.chain(std::iter::once(plan.instance.sop_instance.clone())).collect();
        let mut course = Course::new(&same, plan, group);
        for (entry, record) in self.records.range(from..) {
            course.add(record);
            let Ok(record) = record else { continue };
            if record.gave_dose() && !record.plans.iter().any(|uid| same.contains(uid)) {
                record.plans.iter().filter_map(|uid| self.doubt(uid, *entry)).for_each(|why| course.doubt(why));
            }
        }
        for uid in &same {
            let records = chart.listed(&records_of_plan(chart, uid), LIST_MAX)?;
            if records.iter().any(|entry| *entry >= from && !self.records.contains_key(entry)) {
                course.doubt(Unknown::AnothersRecord);
            }
        }
        Ok(course.given().beside(settled.map(|said| said.given)))
    }

    /// Why a record that came in `entry`, and names this plan, can't be set aside as another delivery's.
    fn doubt(&self, uid: &str, entry: u64) -> Option<Unknown> {
        if self.crowded.contains(uid) {
            return Some(Unknown::ManyPlans);
        }
        let Some(came) = self.known.get(uid) else { return Some(Unknown::UnknownPlan) };
        let readable: Vec<(&Came, Digest)> = came.iter().filter_map(|one| Some((one, one.digest?))).collect();
        if readable.is_empty() {
            return Some(Unknown::UnreadablePlan);
        }
        // What came under its UID only afterwards, or to the gate only, need not be what was delivered; two people's word is
        // good for it.
        let is_signed = |digest| approval_gap(&self.approvals, self.patient, digest).is_none();
        let was_there = |(one, digest): &(&Came, Digest)| one.entry < entry && (one.is_stored || is_signed(*digest));
        let is_told = readable.iter().any(was_there) || readable.iter().all(|(_, digest)| is_signed(*digest));
        (!is_told).then_some(Unknown::LatePlan)
    }
}

//! Everything that is known of one patient's radiotherapy, read from her chart: what the gate and the list judge by.

use std::collections::{BTreeMap, BTreeSet};

use chart::{Chart, ChartError, Released};
use guard::Permit;
use kit::{Blame, Digest, Fault, PatientId, Timestamp, UtcOffset};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use zeroize::Zeroizing;

pub(crate) use super::places::{
    APPROVALS, CHOICES, OVERRIDES, PLANS, RECORDS, SETTLEMENTS, VERDICTS, WITHDRAWALS, approvals_of_file, is_rejected,
    note_refused, note_rejection, note_shown, records_as, records_of_plan, records_under, releases, taken_back,
};
use super::places::{LIST_MAX, Places, REFUSED_OF_PATIENT, REFUSED_OF_PLAN, Shown, Window, is_rejection, rejected_as};
use crate::dicom::object::Instance;
use crate::error::PlanError;
use crate::gate::here::Here;
use crate::gate::{Overridden, Signed, Verdict, Withdrawn, approval_gap};
use crate::given::{Course, Given, Pairing, Reconciled, TreatmentRecord, Unknown};
use crate::interruption::triage::{Chosen, Outage};
use crate::plan::{ApprovalStatus, FractionGroup, Plan};
use crate::signing::approval::{
    Approval, ApprovalError, Chooses, Overrides, Settles, SignerRole, Statement, VerifiedApproval,
};
use crate::signing::people::People;

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
    /// Those that nobody has taken back since.
    pub(crate) approvals: Vec<VerifiedApproval>,
    /// Of each of them, the entry.
    approved_in: Vec<u64>,
    /// All that there ever were: what was given under them was signed.
    ever_signed: Vec<VerifiedApproval>,
    /// The newest of each delivery.
    pub(super) withdrawn: BTreeMap<Digest, (u64, Withdrawn)>,
    settlements: Vec<VerifiedApproval>,
    choices: Vec<VerifiedApproval>,
    overrides: Vec<VerifiedApproval>,
    /// Deliveries that came with the planning system's rejection, and under which SOP Instance UIDs.
    rejected: Vec<(u64, Option<Digest>, String)>,
    /// Settlements that a signature no longer stands behind.
    voided: Vec<Statement>,
    /// By their entries.
    records: BTreeMap<u64, Result<TreatmentRecord, PlanError>>,
    /// What came under an SOP Instance UID, stored or to the gate only.
    pub(super) known: BTreeMap<String, Vec<Came>>,
    /// Up to these entries her count is known by a settlement alone.
    opaque: Vec<(u64, Unknown)>,
    utc_offset: UtcOffset,
    reconciled: Reconciled,
    /// Of her plans, some can't be read.
    pub(crate) has_unreadable_plan: bool,
    /// The newest verdict.
    pub(crate) last: Option<KeptVerdict>,
}

/// Something under a plan's SOP Instance UID.
pub(super) struct Came {
    pub(super) entry: u64,
    /// None where nobody can read what it delivers.
    pub(super) digest: Option<Digest>,
    /// What one fraction of it is; none where that isn't known.
    pub(super) fraction: Option<Digest>,
    pub(super) is_stored: bool,
    /// It says that it is for a phantom.
    pub(super) is_for_qa: bool,
}

/// A plan's own fractions, under whatever they came.
pub(super) struct Kin {
    /// SOP Instance UIDs under which the same delivery came, or one of which a fraction is the same.
    pub(super) uids: BTreeSet<String>,
    /// Those other deliveries.
    others: BTreeSet<Digest>,
}

/// Whose signatures count, and in which log.
#[derive(Clone, Copy)]
pub(crate) struct Signers<'a> {
    pub(crate) origin: &'a str,
    pub(crate) people: &'a People,
    /// Where the centre's clocks are.
    pub(crate) utc_offset: UtcOffset,
}

/// The facts of each patient, in their order. What can't be read of one patient doesn't keep the others from being read.
pub(crate) fn read(
    chart: &Chart,
    permit: &Permit,
    patients: &[PatientId],
    signers: Signers<'_>,
) -> impl Iterator<Item = Result<Facts, Fault>> {
    patients.chunks(PATIENTS_AT_ONCE).flat_map(move |batch| match read_all(chart, permit, batch, signers) {
        Ok(facts) => facts.into_iter().map(Ok).collect::<Vec<_>>(),
        Err(_) => batch.iter().map(|patient| read_one(chart, permit, *patient, signers)).collect(),
    })
}

/// What is kept of an entry, once it was read.
enum Read {
    Plan(Box<StoredPlan>),
    Record(Box<Result<TreatmentRecord, PlanError>>),
    Bytes(Zeroizing<Vec<u8>>),
}

/// A plan that is here, and whole only where its setup or its fractions may be looked at: a patient has many, and each may take
/// megabytes.
struct StoredPlan {
    came: Came,
    uid: String,
    status: Option<ApprovalStatus>,
    plan: Option<Plan>,
}

impl StoredPlan {
    fn read(entry: u64, bytes: &[u8]) -> Self {
        let plan = Plan::parse(bytes).ok();
        // What came in was an instance, or it would not be here.
        let uid = plan.as_ref().map(|plan| plan.instance.sop_instance.clone());
        let uid = uid.or_else(|| Instance::parse(bytes).ok().map(|instance| instance.sop_instance));
        Self {
            came: Came {
                entry,
                digest: plan.as_ref().map(Plan::digest),
                fraction: plan.as_ref().map(Plan::fraction),
                is_stored: true,
                is_for_qa: plan.as_ref().is_some_and(Plan::is_for_qa),
            },
            uid: uid.unwrap_or_default(),
            // Rejected is rejected, be the rest what it may.
            status: plan.as_ref().map_or_else(|| ApprovalStatus::of_file(bytes), |plan| plan.approval_status),
            plan,
        }
    }
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
    let mut unsigned: BTreeMap<u64, bool> = BTreeMap::new();
    for places in &places {
        let plans = places.plans.entries.iter().zip(&places.approvals_of_plans);
        unsigned.extend(plans.map(|(entry, approvals)| (*entry, approvals.is_empty())));
    }
    let records: BTreeSet<u64> = places.iter().flat_map(|places| places.records.entries.iter().copied()).collect();
    let mut read: BTreeMap<u64, Read> = BTreeMap::new();
    // The newest plan that nobody has signed, of each patient.
    let mut newest: BTreeMap<Option<PatientId>, u64> = BTreeMap::new();
    chart.release_each(permit, &entries, |released| {
        let Released { entry, bytes, patient, .. } = released;
        let kept = match unsigned.get(&entry) {
            Some(is_unsigned) => {
                let plan = StoredPlan::read(entry, &bytes);
                if *is_unsigned
                    && plan.plan.is_some()
                    && let Some(before) = newest.insert(patient, entry)
                    && let Some(Read::Plan(before)) = read.get_mut(&before)
                {
                    before.plan = None;
                }
                Read::Plan(Box::new(plan))
            }
            None if records.contains(&entry) => {
                let record = TreatmentRecord::parse(&bytes).map(|record| record.by_clock(signers.utc_offset.minutes()));
                Read::Record(Box::new(record))
            }
            None => Read::Bytes(bytes),
        };
        read.insert(entry, kept);
    })?;
    let mut all: Vec<Facts> = places.iter().map(|places| Facts::of(chart, places, &mut read, signers)).collect();

    // A plan that was exported again and shown to the gate only is stored nowhere, but a note tells what it delivers.
    for (facts, places) in all.iter_mut().zip(&places) {
        let elsewhere = elsewhere(chart, facts)?;
        facts.opaque.extend(elsewhere.map(|entry| (entry + 1, Unknown::OtherChart)));
        // Other exports, however many, don't make a rejection forgotten.
        for entry in &places.rejected.entries {
            if let Ok(Shown { delivery, plan, .. }) = minicbor::decode::<Shown>(&chart.note_of(*entry)?.1.note) {
                facts.rejected.push((*entry, Some(delivery), plan));
            }
        }
        for entry in &places.shown.entries {
            let (_, meta) = chart.note_of(*entry)?;
            match minicbor::decode::<Shown>(&meta.note) {
                Ok(Shown { version: 1, plan, delivery, fraction, .. }) => {
                    let came =
                        Came { entry: *entry, digest: Some(delivery), fraction, is_stored: false, is_for_qa: false };
                    facts.known.entry(plan).or_default().push(came);
                }
                // Whatever it was may have been treated.
                _ => facts.opaque.push((*entry + 1, Unknown::UnreadablePlan)),
            }
        }
        facts.reconcile();
    }
    Ok(all)
}

/// The newest treatment record that stands in another chart, and came under a number of hers (a number was mistyped, or one woman
/// has two charts), or whose chart her own names as hers, too.
fn elsewhere(chart: &Chart, facts: &Facts) -> Result<Option<u64>, ChartError> {
    let mut newest = None;
    for number in &facts.identifiers {
        let came = Window::of(chart, &records_under(chart, number), LIST_MAX)?;
        let others = came.entries.iter().rev().find(|entry| !facts.records.contains_key(entry)).copied();
        newest = newest.max(others.or(Some(came.from).filter(|from| *from > 0)));
    }
    for link in facts.record.get("link").and_then(Value::as_array).into_iter().flatten() {
        let other = link.get("other").unwrap_or(&Value::Null);
        let is_no_chart = |reference: &str| reference.contains("RelatedPerson/");
        if other.get("reference").and_then(Value::as_str).is_some_and(is_no_chart) {
            continue;
        }
        let linked = linked(chart, other)?;
        // Whom it names nobody here knows: what stands there may be hers, up to when her record said so.
        if linked.is_empty() {
            newest = newest.max(chart.patient_entry(facts.patient)?);
        }
        for other in linked.into_iter().filter(|other| *other != facts.patient) {
            newest = newest.max(chart.newest(&chart.list_tag(RECORDS, &other.0))?);
        }
    }
    Ok(newest)
}

/// Whom a reference to a Patient means: by its id, in whatever spelling (relative, absolute, with a version), and by its identifier.
fn linked(chart: &Chart, other: &Value) -> Result<BTreeSet<PatientId>, ChartError> {
    let mut found = BTreeSet::new();
    if let Some(reference) = other.get("reference").and_then(Value::as_str) {
        let whole = reference.split("/_history/").next().unwrap_or(reference);
        let id = whole.rsplit_once("Patient/").map(|(_, id)| id);
        found.extend(id.map(|id| chart.find_patient(&format!("Patient/{id}"))).transpose()?.flatten());
    }
    if let Some(value) = other.pointer("/identifier/value").and_then(Value::as_str) {
        found.extend(chart.patients_by_number(value)?);
    }
    Ok(found)
}

impl Facts {
    fn reconcile(&mut self) {
        let readable = self.records.iter().filter_map(|(entry, record)| Some((*entry, record.as_ref().ok()?)));
        self.reconciled = Reconciled::of(readable, &Here::of(&self.plans, &self.known));
    }

    fn of(chart: &Chart, places: &Places, read: &mut BTreeMap<u64, Read>, signers: Signers<'_>) -> Self {
        let take = |entries: &[u64], read: &mut BTreeMap<u64, Read>| -> Vec<(u64, Read)> {
            entries.iter().filter_map(|entry| Some((*entry, read.remove(entry)?))).collect()
        };
        let (stored, records) = (take(&places.plans.entries, read), take(&places.records.entries, read));
        let read = &*read;
        let bytes = |entry: &u64| match read.get(entry)? {
            Read::Bytes(bytes) => Some(bytes.as_slice()),
            Read::Plan(_) | Read::Record(_) => None,
        };
        let record: Value =
            places.record.as_ref().and_then(bytes).and_then(|b| serde_json::from_slice(b).ok()).unwrap_or_default();
        let text = |v: &Value| v.as_str().map(str::to_owned);
        // What was handed in before says nothing new, whoever hands it in again.
        let first_in = |entries: &[u64]| {
            let mut seen = BTreeSet::new();
            entries
                .iter()
                .copied()
                .filter(|entry| bytes(entry).is_none_or(|bytes| seen.insert(bytes)))
                .collect::<Vec<_>>()
        };
        let (approved, settled) = (first_in(&places.approvals), first_in(&places.settlements));
        let decoded = |entry: &u64| {
            let approval = Approval::decode(bytes(entry)?);
            approval.inspect_err(|error: &ApprovalError| tracing::warn!(%error, "an approval")).ok()
        };
        let verified = |entry: &u64| {
            // An approval that doesn't verify counts as none: the gate then holds.
            decoded(entry)?
                .verify(signers.origin, signers.people.counting(*entry))
                .inspect_err(|error: &ApprovalError| tracing::warn!(%error, "an approval"))
                .ok()
        };
        let settles = |one: &VerifiedApproval| one.statement().settles.is_some();
        let withdrawn: BTreeMap<Digest, (u64, Withdrawn)> = (first_in(&places.withdrawals).iter())
            .filter_map(|entry| {
                // It was verified when it came, and holds whatever became of the key: to lift it takes two people.
                let said = decoded(entry)?.statement().clone();
                let (role, at, reason) = (said.role, said.at, said.withdraws?.reason);
                (said.patient == places.patient).then_some((said.delivery, (*entry, Withdrawn { role, at, reason })))
            })
            .collect();
        let mut approvals: BTreeMap<u64, VerifiedApproval> = (approved.iter())
            .filter_map(|entry| Some((*entry, verified(entry).filter(|one| one.statement().approves())?)))
            .collect();
        let ever_signed = approvals.values().cloned().collect();
        approvals.retain(|entry, one| withdrawn.get(&one.statement().delivery).is_none_or(|(since, _)| since < entry));
        let (mut plans, mut signed) = (Vec::new(), Vec::new());
        let (mut known, mut has_unreadable_plan): (BTreeMap<String, Vec<Came>>, _) = (BTreeMap::new(), false);
        let mut rejected = Vec::new();
        let approvals_of: BTreeMap<u64, &Vec<u64>> =
            places.plans.entries.iter().copied().zip(&places.approvals_of_plans).collect();
        for (entry, stored) in stored {
            let Read::Plan(stored) = stored else { continue };
            let StoredPlan { came, uid, status, plan } = *stored;
            has_unreadable_plan |= came.digest.is_none();
            if is_rejection(status) {
                rejected.push((entry, came.digest, uid.clone()));
            }
            known.entry(uid).or_default().push(came);
            let (Some(plan), Some(approvals_of)) = (plan, approvals_of.get(&entry)) else { continue };
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
                // FHIR knows dates of a year, or of a month.
                .filter(|date| matches!(date.len(), 4 | 6 | 8)),
            sex: match record.get("gender").and_then(Value::as_str) {
                Some("male") => Some("M"),
                Some("female") => Some("F"),
                Some("other") => Some("O"),
                _ => None,
            },
            record,
            plans,
            signed,
            approved_in: approvals.keys().copied().collect(),
            ever_signed,
            rejected,
            approvals: approvals.into_values().collect(),
            voided: (settled.iter())
                .filter(|entry| verified(entry).is_none())
                .filter_map(decoded)
                .map(|approval| approval.statement().clone())
                .collect(),
            settlements: settled.iter().filter_map(verified).filter(settles).collect(),
            choices: first_in(&places.choices).iter().filter_map(verified).collect(),
            // Whoever withdraws a plan takes back what was answered for it.
            overrides: (first_in(&places.overrides).iter())
                .filter_map(|entry| Some((*entry, verified(entry)?)))
                .filter(|(entry, one)| withdrawn.get(&one.statement().delivery).is_none_or(|(since, _)| since < entry))
                .map(|(_, one)| one)
                .collect(),
            withdrawn,
            records: records
                .into_iter()
                .filter_map(|(entry, read)| match read {
                    Read::Record(record) => Some((entry, *record)),
                    Read::Plan(_) | Read::Bytes(_) => None,
                })
                .collect(),
            known,
            opaque: [
                Some((places.records.from, Unknown::ManyRecords)),
                Some((places.shown.from, Unknown::ManyPlans)),
                Some((places.plans.from, Unknown::ManyPlans)),
                places.taken_back.map(|entry| (entry + 1, Unknown::TakenBack)),
            ]
            .into_iter()
            .flatten()
            .filter(|(from, _)| *from > 0)
            .collect(),
            utc_offset: signers.utc_offset,
            reconciled: Reconciled::default(),
            has_unreadable_plan,
            last: places.last.as_ref().and_then(bytes).and_then(|b| serde_json::from_slice(b).ok()),
        }
    }

    /// Her record says that she has died, that it isn't in use, or that another one has replaced it.
    pub(crate) fn has_ended(&self) -> bool {
        let of = |field: &str| self.record.get(field);
        let replaced = |link: &Value| link.get("type").and_then(Value::as_str) == Some("replaced-by");
        // A date of death that isn't known is said beside it (FHIR R4, 2.1.0.3.1).
        ["deceasedDateTime", "_deceasedDateTime", "_deceasedBoolean"].into_iter().any(|field| of(field).is_some())
            || of("deceasedBoolean") == Some(&Value::Bool(true))
            || of("active") == Some(&Value::Bool(false))
            || of("link").and_then(Value::as_array).into_iter().flatten().any(replaced)
    }

    /// Deliveries as they were signed, with the setup that was signed, and by whom.
    pub(crate) fn signed(&self) -> impl Iterator<Item = Signed<'_>> {
        let files = self.plans.iter().zip(&self.signed).filter(|(_, approvals)| !approvals.is_empty());
        files.map(|(plan, approvals)| Signed { delivery: &plan.delivery, approvals })
    }

    /// Plans whose very files were handed in with approvals.
    pub(crate) fn signed_files(&self) -> impl DoubleEndedIterator<Item = &Plan> {
        let files = self.plans.iter().zip(&self.signed);
        files.filter(|(_, approvals)| !approvals.is_empty()).map(|(plan, _)| plan)
    }

    /// Entries with files under this plan's SOP Instance UID that deliver the same, the newest first.
    pub(crate) fn stored(&self, plan: &Plan) -> Vec<u64> {
        let came = self.known.get(&plan.instance.sop_instance).into_iter().flatten();
        let same = came.filter(|came| came.is_stored && came.digest == Some(plan.digest()));
        let mut entries: Vec<u64> = same.map(|came| came.entry).collect();
        entries.sort_unstable_by(|a, b| b.cmp(a));
        entries
    }

    /// The same, also where the approvals were taken back since.
    pub(crate) fn ever_signed_files(&self) -> impl DoubleEndedIterator<Item = &Plan> {
        let files = self.plans.iter().zip(&self.signed);
        let counts = |plan: &Plan, approvals: &[VerifiedApproval]| {
            !approvals.is_empty() || self.withdrawn.contains_key(&plan.digest())
        };
        files.filter(move |(plan, approvals)| counts(plan, approvals)).map(|(plan, _)| plan)
    }

    /// The last day on which she was given dose, by whatever plan: `YYYYMMDD`.
    pub(crate) fn last_treated(&self) -> Option<&str> {
        self.records().filter(|record| record.gave_dose()).filter_map(|record| record.treated_on.as_deref()).max()
    }

    /// What two people have said that was given of one fraction group of a delivery; the newest word.
    pub(crate) fn settled(&self, delivery: Digest, group: u32) -> Option<Settles> {
        // Each one's newest word: what somebody has taken back stands for nothing.
        let said = self.settlements.iter().filter(|said| self.is_about(said.statement(), delivery, group));
        let words: BTreeMap<(SignerRole, &str), &VerifiedApproval> =
            said.map(|said| ((said.statement().role, said.statement().signer.as_str()), said)).collect();
        let of = |role| words.values().filter(move |said| said.statement().role == role);
        let agree = |o: &VerifiedApproval, p: &VerifiedApproval| {
            o.statement().settles == p.statement().settles && o.by_another_person_than(p)
        };
        let settled = of(SignerRole::Oncologist).filter(|o| of(SignerRole::Physicist).any(|p| agree(o, p)));
        settled.filter_map(|said| said.statement().settles).max_by_key(|said| (said.before, said.given))
    }

    fn is_about(&self, said: &Statement, delivery: Digest, group: u32) -> bool {
        said.patient == self.patient
            && said.delivery == delivery
            && said.settles.is_some_and(|said| said.group == group)
    }

    /// A settlement would be in force that isn't, because a signature under it no longer counts.
    fn is_voided(&self, delivery: Digest, group: u32, from: u64) -> bool {
        let about = |said: &&Statement| self.is_about(said, delivery, group);
        let all = || self.settlements.iter().map(VerifiedApproval::statement).chain(&self.voided).filter(about);
        self.voided.iter().filter(about).any(|void| {
            let other =
                |one: &Statement| one.settles == void.settles && one.role != void.role && one.signer != void.signer;
            void.settles.is_some_and(|settles| settles.before > from) && all().any(other)
        })
    }

    /// Somebody has said another count than two people have, since they had; or nobody has said the same as another.
    fn is_open(&self, delivery: Digest, group: u32) -> bool {
        let about: Vec<&Statement> = (self.settlements.iter())
            .map(VerifiedApproval::statement)
            .filter(|said| self.is_about(said, delivery, group))
            .collect();
        let Some(settled) = self.settled(delivery, group) else { return !about.is_empty() };
        // When the second of them had said so, for the first time: to say it again answers no objection.
        let first = |role| about.iter().position(|said| said.role == role && said.settles == Some(settled));
        let agreed = first(SignerRole::Oncologist).max(first(SignerRole::Physicist));
        let newest: BTreeMap<(SignerRole, &str), (usize, u32)> = (about.iter().enumerate())
            .filter_map(|(at, said)| Some(((said.role, said.signer.as_str()), (at, said.settles?.given))))
            .collect();
        newest.values().any(|(at, given)| *given != settled.given && Some(*at) > agreed)
    }

    /// Roles and names that have said it.
    pub(crate) fn who_settled(&self, delivery: Digest, settles: Settles) -> Vec<String> {
        let said = self.settlements.iter().map(VerifiedApproval::statement);
        let said = said.filter(|said| said.delivery == delivery && said.settles == Some(settles));
        let who: BTreeSet<String> = said.map(|said| format!("{} {}", said.role, said.signer)).collect();
        who.into_iter().collect()
    }

    /// What one person has settled last, with nothing come since: whoever says the same signs the same.
    pub(crate) fn proposed(&self, chart: &Chart, plan: &Plan, asked: Settles) -> Result<Option<Settles>, ChartError> {
        let of = |one: &VerifiedApproval| {
            let said = one.statement();
            said.settles.filter(|settles| said.delivery == plan.digest() && settles.group == asked.group)
        };
        let in_force = self.settled(plan.digest(), asked.group).map_or(0, |said| said.before);
        let open = self.settlements.iter().filter_map(of).filter(|said| said.before > in_force);
        let newest = open.filter(|said| said.given == asked.given).max_by_key(|said| said.before);
        let Some(newest) = newest else { return Ok(None) };
        let Some(group) = plan.group(Some(asked.group)) else { return Ok(None) };
        let since = self.course(chart, plan, &self.kin(plan), group, newest.before)?.given();
        Ok(Some(newest).filter(|_| since == Given::NONE))
    }

    /// What was given of one fraction group of this plan's delivery (of the only one, where none is said), under whatever
    /// SOP Instance UID. A record of a plan that nobody here has seen may be one of it, and one that is filed under another
    /// patient may be hers: then the count isn't known, until two people settle it.
    pub(crate) fn given(&self, chart: &Chart, plan: &Plan, group: Option<u32>) -> Result<Given, ChartError> {
        let Some(group) = plan.group(group) else { return Ok(Given::NONE) };
        let settled = self.settled(plan.digest(), group.number);
        let kin = self.kin(plan);
        let mut given = self.counted(chart, plan, &kin, group, settled)?;
        // Not before: what another one proposes is counted by its own records alone.
        if self.is_open(plan.digest(), group.number) {
            given = given.doubted(Unknown::SettlementOpen);
        }
        // What two people have said since of another plan of the same fractions is no word on this one; but where they knew of more
        // than is counted here, they are asked.
        let from = settled.map_or(0, |said| said.before);
        let left = given.fractions().filter(|given| *given < group.fractions_planned);
        let knew = kin.others.iter().filter_map(|other| self.settled(*other, group.number));
        for said in knew.filter(|said| left.is_some() && said.before > from) {
            if self.counted(chart, plan, &kin, group, Some(said))?.fractions().is_none_or(|more| Some(more) > left) {
                return Ok(Given::Unknown { why: vec![Unknown::SiblingSettled] });
            }
        }
        Ok(given)
    }

    /// The same, beside what was settled.
    fn counted(
        &self,
        chart: &Chart,
        plan: &Plan,
        kin: &Kin,
        group: &FractionGroup,
        settled: Option<Settles>,
    ) -> Result<Given, ChartError> {
        let from = settled.map_or(0, |said| said.before);
        let mut before = Course::new(kin.uids.clone(), plan, group);
        self.feed(&mut before, 0, from);
        let settled = settled.map(|said| before.settled(said.given));
        Ok(self.course(chart, plan, kin, group, from)?.given_beside(settled))
    }

    /// The records that count beside what two people have settled, and how many fractions that was.
    pub(crate) fn course_since<'a>(
        &self,
        chart: &Chart,
        plan: &'a Plan,
        group: &'a FractionGroup,
    ) -> Result<(Course<'a>, u32), ChartError> {
        let settled = self.settled(plan.digest(), group.number);
        let from = settled.map_or(0, |said| said.before);
        let course = self.course(chart, plan, &self.kin(plan), group, from)?;
        Ok((course, settled.map_or(0, |said| said.given)))
    }

    /// What two people answer for, for one fraction of a delivery.
    pub(crate) fn overridden(&self, delivery: Digest, group: u32, fraction: u32) -> Vec<Overridden> {
        let of_it = |one: &VerifiedApproval| {
            let said = one.statement();
            let is_hers = said.patient == self.patient && said.delivery == delivery;
            said.overrides.clone().filter(|over| is_hers && (over.group, over.fraction) == (group, fraction))
        };
        let all: Vec<(&VerifiedApproval, Overrides)> =
            self.overrides.iter().filter_map(|one| Some((one, of_it(one)?))).collect();
        let by = |role, what: Digest| -> Vec<&(&VerifiedApproval, Overrides)> {
            all.iter().filter(|(one, over)| one.statement().role == role && over.what == what).collect()
        };
        let found: BTreeMap<Digest, &str> = all.iter().map(|(_, over)| (over.what, over.finding.as_str())).collect();
        let both = found.into_iter().filter_map(|(what, code)| {
            let (oncologists, physicists) = (by(SignerRole::Oncologist, what), by(SignerRole::Physicist, what));
            let mut pairs = oncologists.iter().flat_map(|o| physicists.iter().map(move |p| (*o, *p)));
            let (o, p) = pairs.find(|(o, p)| o.0.by_another_person_than(p.0))?;
            let who = |(one, over): &(&VerifiedApproval, Overrides)| {
                let said = one.statement();
                format!("{}, {} ({})", said.signer, said.role, over.reason)
            };
            Some(Overridden { finding: code.to_owned(), what, by: vec![who(o), who(p)] })
        });
        both.collect()
    }

    /// What a physician has signed for this course and outage; the newest word.
    pub(crate) fn chosen(&self, delivery: Digest, outage: Outage) -> Option<Chosen> {
        let said = self.choices.iter().rev().map(VerifiedApproval::statement);
        said.filter(|said| said.delivery == delivery && said.role == SignerRole::Oncologist).find_map(|said| {
            let Chooses { first, last, option } = said.chooses.clone()?;
            let is_it = first == outage.first.to_string() && last == outage.last.to_string();
            is_it.then(|| Chosen { option, signer: said.signer.clone(), at: said.at })
        })
    }

    /// Those of one plan's fractions, under whatever it came.
    pub(crate) fn records_of(&self, plan: &Plan) -> Vec<&TreatmentRecord> {
        let uids = self.kin(plan).uids;
        self.records().filter(|record| record.plans.iter().any(|uid| uids.contains(uid))).collect()
    }

    /// Her treatment records that can be read, whatever plan they are of; one that came again, once.
    pub(crate) fn records(&self) -> impl Iterator<Item = &TreatmentRecord> {
        let mut seen = BTreeSet::new();
        self.records.values().flatten().filter(move |record| seen.insert(record.identity()))
    }

    pub(crate) fn unreadable_records(&self) -> usize {
        self.records.values().filter(|record| record.is_err()).count()
    }

    /// What the plan's fractions came under. Taken once for each question: it is a digest over the whole plan.
    pub(super) fn kin(&self, plan: &Plan) -> Kin {
        let (fraction, delivery) = (plan.fraction(), plan.digest());
        let is_kin = |came: &&Came| came.digest == Some(delivery) || came.fraction == Some(fraction);
        let same =
            self.known.iter().filter(|(_, came)| came.iter().any(|one| is_kin(&one))).map(|(uid, _)| uid.clone());
        let others = self.known.values().flatten().filter(is_kin).filter_map(|came| came.digest);
        Kin {
            uids: same.chain([plan.instance.sop_instance.clone()]).collect(),
            others: others.filter(|digest| *digest != delivery).collect(),
        }
    }

    /// SOP Instance UIDs under which a plan's very delivery came, its own among them.
    pub(crate) fn uids_of(&self, plan: &Plan) -> BTreeSet<String> {
        let delivery = plan.digest();
        let same = self.known.iter().filter(|(_, came)| came.iter().any(|one| one.digest == Some(delivery)));
        same.map(|(uid, _)| uid.clone()).chain([plan.instance.sop_instance.clone()]).collect()
    }

    /// When the count that reaches up to this entry was settled, by the centre's clocks.
    fn settled_at(&self, from: u64) -> Option<String> {
        let said = self.settlements.iter().map(VerifiedApproval::statement);
        let said = said.filter(|said| said.settles.is_some_and(|settles| settles.before == from)).map(|said| said.at);
        let (day, time) = self.local(said.min()?);
        Some(format!("{day} {time}"))
    }

    /// `YYYYMMDD` and `HHMMSS` where the centre's clocks are.
    pub(crate) fn local(&self, at: Timestamp) -> (String, String) {
        let at = self.utc_offset.local(at);
        let ((year, month, day), (hour, minute, second, _)) = (at.civil_date(), at.time_of_day());
        (format!("{year:04}{month:02}{day:02}"), format!("{hour:02}{minute:02}{second:02}"))
    }

    /// When this was released last, where no treatment record of hers has come since.
    pub(crate) fn released_before(
        &self,
        chart: &Chart,
        delivery: Digest,
        group: u32,
    ) -> Result<Option<Timestamp>, ChartError> {
        let released = chart.newest(&releases(chart, self.patient, delivery, group))?;
        let since = released.filter(|entry| self.records.keys().next_back() < Some(entry));
        since.map(|entry| Ok(chart.time_and_patient_of(entry)?.0)).transpose()
    }

    /// Records that set aside other deliveries of hers: she was given something else, too.
    pub(crate) fn was_given_others(&self, plan: &Plan) -> bool {
        let same = self.kin(plan).uids;
        let given = self.records.values().filter_map(|record| record.as_ref().ok()).filter(|record| record.gave_dose());
        given.into_iter().any(|record| record.plans.iter().any(|uid| !same.contains(uid)))
    }

    /// The planning system has marked the delivery, or whatever stands under the plan's SOP Instance UID, as rejected, and no two
    /// people have signed the delivery since.
    pub(crate) fn is_rejected(&self, chart: &Chart, plan: &Plan) -> Result<bool, ChartError> {
        Ok(self.rejected_in(chart, plan)?.is_some_and(|rejected| {
            let since = self.approved_in.iter().zip(&self.approvals).filter(|(entry, _)| **entry > rejected);
            let since: Vec<VerifiedApproval> = since.map(|(_, approval)| approval.clone()).collect();
            approval_gap(&since, self.patient, plan.digest()).is_some()
        }))
    }

    /// The newest entry by which it is rejected.
    pub(super) fn rejected_in(&self, chart: &Chart, plan: &Plan) -> Result<Option<u64>, ChartError> {
        let delivery = plan.digest();
        let is_it = |(_, one, uid): &&(u64, Option<Digest>, String)| {
            *one == Some(delivery) || *uid == plan.instance.sop_instance
        };
        let mut rejected = self.rejected.iter().filter(is_it).map(|(entry, ..)| *entry).max();
        // However many others were rejected since.
        for list in rejected_as(chart, self.patient, plan) {
            rejected = rejected.max(chart.newest(&list)?);
        }
        Ok(rejected)
    }

    /// That somebody has taken this delivery's approval back, and two people haven't signed it since.
    pub(crate) fn withdrawn(&self, delivery: Digest) -> Option<&Withdrawn> {
        let (_, withdrawn) = self.withdrawn.get(&delivery)?;
        approval_gap(&self.approvals, self.patient, delivery).map(|_| withdrawn)
    }

    /// The records of these entries, what says the same as another one left out.
    pub(super) fn feed(&self, course: &mut Course<'_>, from: u64, until: u64) {
        let aside = self.reconciled.aside(until);
        let none = BTreeSet::new();
        for (entry, record) in self.records.range(from..until) {
            course.add_but(record, aside.get(entry).unwrap_or(&none));
        }
    }

    /// What was typed in, beside what machines say of it.
    pub(crate) fn pairings(&self) -> &[Pairing] {
        self.reconciled.pairings()
    }

    /// What came from an entry on.
    fn course<'a>(
        &self,
        chart: &Chart,
        plan: &'a Plan,
        kin: &Kin,
        group: &'a FractionGroup,
        from: u64,
    ) -> Result<Course<'a>, ChartError> {
        let same = &kin.uids;
        // What was known when it was settled is settled, and comes again now and then.
        let before = self.records.range(..from).filter_map(|(_, record)| record.as_ref().ok());
        let settled: BTreeSet<Digest> = before.map(TreatmentRecord::identity).collect();
        let settled_at = self.settled_at(from);
        let ours = || kin.others.iter().copied().chain([plan.digest()]);
        // A course that is made longer is no younger for that.
        let (signed_in, signed_on) = ours().filter_map(|one| self.signed_in(one)).min().unzip();
        let mut course = Course::new(same.clone(), plan, group);
        self.records.range(..from).filter_map(|(_, record)| record.as_ref().ok()).for_each(|one| course.remember(one));
        self.opaque.iter().filter(|(until, _)| *until > from).for_each(|(_, why)| course.doubt(*why));
        if ours().any(|one| self.is_voided(one, group.number, from)) {
            course.doubt(Unknown::SettlementVoid);
        }
        if self.reconciled.contradicts(same, group.number, from) {
            course.doubt(Unknown::TypedDiffers);
        }
        let (aside, none) = (self.reconciled.aside(u64::MAX), BTreeSet::new());
        for (entry, record) in self.records.range(from..) {
            if record.as_ref().is_ok_and(|record| settled.contains(&record.identity())) {
                continue;
            }
            let aside = aside.get(entry).unwrap_or(&none);
            let is_news = course.add_but(record, aside);
            let Ok(record) = record else { continue };
            // All that it says was known before: it is no news of a fraction.
            if !is_news || !record.beams.is_empty() && (0..record.beams.len()).all(|at| aside.contains(&at)) {
                continue;
            }
            let is_of_it = record.plans.iter().any(|uid| same.contains(uid));
            let is_of_group = course.concerns(record.fraction_group) != Ok(false);
            // What was treated before it was settled may have been counted then, or not.
            let is_late = settled_at.as_deref().is_some_and(|settled_at| record.gave_dose_before(settled_at));
            if is_of_it && is_of_group && is_late {
                course.doubt(Unknown::LateRecord);
            }
            // The same beams under a UID that says it is for a phantom: whom they treated, the record doesn't say.
            let is_for_qa = |uid: &String| self.known.get(uid).is_some_and(|came| came.iter().all(|one| one.is_for_qa));
            if is_of_it && is_of_group && record.gave_dose() && record.plans.iter().any(is_for_qa) {
                course.doubt(Unknown::PhantomOrPatient);
            }
            if record.gave_dose() && !is_of_it {
                // Of a day before ours was signed: it comes late, and is history.
                let day = record.treated_on.as_deref();
                let is_history = signed_on.as_deref().zip(day).is_some_and(|(ours, day)| day < ours);
                let since = signed_in.filter(|_| !is_history);
                let why = record.plans.iter().filter_map(|uid| self.doubt(uid, *entry, since));
                why.for_each(|why| course.doubt(why));
            }
        }
        let mut refused = vec![chart.list_tag(REFUSED_OF_PATIENT, &self.patient.0)];
        for uid in same {
            refused.push(chart.list_tag(REFUSED_OF_PLAN, uid.as_bytes()));
            let records = Window::of(chart, &records_of_plan(chart, uid), LIST_MAX)?;
            if records.entries.iter().any(|entry| *entry >= from && !self.records.contains_key(entry)) {
                course.doubt(Unknown::AnothersRecord);
            }
            if records.from > from {
                course.doubt(Unknown::ManyRecords);
            }
        }
        let hers: BTreeSet<Digest> = self.records.values().flatten().map(TreatmentRecord::identity).collect();
        for list in &refused {
            let refused = Window::of(chart, list, LIST_MAX)?;
            if refused.from > from {
                course.doubt(Unknown::ManyRecords);
            }
            for entry in refused.entries.iter().filter(|entry| **entry >= from) {
                let (_, meta) = chart.note_of(*entry)?;
                // A note of another length is nobody's record.
                let identity = Digest(meta.note.as_slice().try_into().unwrap_or_default());
                // It came again since, for whomever; or had come before, and counts.
                let came_since = chart.newest(&records_as(chart, identity))?.is_some_and(|came| came > *entry);
                if !came_since && !hers.contains(&identity) {
                    course.doubt(Unknown::RefusedRecord);
                }
            }
        }
        Ok(course)
    }

    /// The entry with which two people had signed a delivery, and the day by that signature, where the centre's clocks are.
    fn signed_in(&self, delivery: Digest) -> Option<(u64, String)> {
        let mut approvals = self.approved_in.iter().zip(&self.approvals).collect::<Vec<_>>();
        approvals.sort_by_key(|(entry, _)| **entry);
        let mut so_far = Vec::with_capacity(approvals.len());
        approvals.into_iter().find_map(|(entry, approval)| {
            so_far.push(approval.clone());
            let is_signed = approval_gap(&so_far, self.patient, delivery).is_none();
            is_signed.then(|| (*entry, self.local(approval.statement().at).0))
        })
    }

    /// Why a record that came in `entry`, and names this plan, can't be set aside as another delivery's. `signed_in`: since then
    /// ours is signed.
    fn doubt(&self, uid: &str, entry: u64, signed_in: Option<u64>) -> Option<Unknown> {
        let Some(came) = self.known.get(uid) else { return Some(Unknown::UnknownPlan) };
        let readable: Vec<(&Came, Digest)> = came.iter().filter_map(|one| Some((one, one.digest?))).collect();
        if readable.is_empty() {
            return Some(Unknown::UnreadablePlan);
        }
        // What came under its UID only afterwards, or to the gate only, need not be what was delivered; two people's word is
        // good for it.
        let is_signed = |digest| approval_gap(&self.ever_signed, self.patient, digest).is_none();
        let was_there = |(one, digest): &(&Came, Digest)| one.entry < entry && (one.is_stored || is_signed(*digest));
        let is_told = readable.iter().any(was_there) || readable.iter().all(|(_, digest)| is_signed(*digest));
        // Who signed ours knew what had been given before; since then nothing is given that nobody has signed.
        let is_told_by_two = readable.iter().all(|(one, digest)| is_signed(*digest) || one.is_for_qa);
        match (is_told, is_told_by_two || signed_in.is_none_or(|signed| entry < signed)) {
            (false, _) => Some(Unknown::LatePlan),
            (true, false) => Some(Unknown::UnsignedPlan),
            (true, true) => None,
        }
    }
}

//! Where one patient's facts stand in the ledger: the lists, and the notes of what was shown or refused.

use std::collections::BTreeSet;

use chart::{Chart, ChartError};
use guard::Permit;
use kit::{Digest, PatientId};
use minicbor::{Decode, Encode};

use crate::plan::{ApprovalStatus, Plan};

/// Lists of one patient.
pub(crate) const PLANS: &str = "plans";
pub(crate) const RECORDS: &str = "records";
pub(crate) const APPROVALS: &str = "approvals";
pub(crate) const VERDICTS: &str = "verdicts";
pub(super) const RELEASES: &str = "releases";
pub(crate) const SETTLEMENTS: &str = "settlements";
pub(crate) const WITHDRAWALS: &str = "withdrawals";
pub(crate) const CHOICES: &str = "choices";
pub(crate) const OVERRIDES: &str = "overrides";
/// Of one plan's SOP Instance UID.
pub(super) const RECORDS_OF_PLAN: &str = "records-of-plan";
/// Of one plan's entry.
pub(super) const APPROVALS_OF_FILE: &str = "approvals-of-file";
/// What came to the gate for a patient: a note for each delivery under each SOP Instance UID.
pub(super) const SHOWN: &str = "shown";
/// Of these, what the planning system had marked as rejected.
pub(super) const REJECTED: &str = "rejected";
/// The same of one delivery, and of one SOP Instance UID.
const REJECTED_AS: &str = "rejected-as";
/// What was shown, of one delivery under one SOP Instance UID.
pub(super) const SHOWN_AS: &str = "shown-as";
/// Of one plan's SOP Instance UID: records that were refused.
pub(super) const REFUSED_OF_PLAN: &str = "refused-of-plan";
/// Of one patient: records that were refused and had a number of hers.
pub(super) const REFUSED_OF_PATIENT: &str = "refused-of-patient";
/// The same of one record.
pub(super) const REFUSED_AS: &str = "refused-as";
/// Records that came with one Patient ID, whoever's they are.
pub(super) const RECORDS_UNDER: &str = "records-under";
/// Records that say the same of what was given, whoever's they are.
pub(super) const RECORDS_AS: &str = "records-as";
/// That a patient's erasure was taken back while somebody else had a number of hers.
pub(super) const TAKEN_BACK: &str = "taken-back";

/// Objects of one kind that one patient may have; a course has under 100.
pub(super) const LIST_MAX: usize = 10_000;
/// Plans of one patient: each is read for each question about her.
pub(super) const PLANS_MAX: usize = 200;
/// Notes of what came to the gate for one patient: a course that is exported anew each day has some forty.
pub(super) const SHOWN_MAX: usize = 1_000;

/// Where a patient's facts stand in the ledger.
pub(super) struct Places {
    pub(super) patient: PatientId,
    pub(super) record: Option<u64>,
    pub(super) plans: Window,
    /// For each of the plans.
    pub(super) approvals_of_plans: Vec<Vec<u64>>,
    pub(super) approvals: Vec<u64>,
    pub(super) settlements: Vec<u64>,
    pub(super) withdrawals: Vec<u64>,
    pub(super) choices: Vec<u64>,
    pub(super) overrides: Vec<u64>,
    pub(super) records: Window,
    pub(super) shown: Window,
    pub(super) rejected: Window,
    pub(super) taken_back: Option<u64>,
    pub(super) last: Option<u64>,
}

/// The newest entries of a list.
pub(super) struct Window {
    /// Rising.
    pub(super) entries: Vec<u64>,
    /// There may be others before this entry.
    pub(super) from: u64,
}

impl Window {
    /// At most so many.
    pub(super) fn of(chart: &Chart, list: &chart::Tag, most: usize) -> Result<Self, ChartError> {
        let mut entries = chart.listed_back(list, u64::MAX, most + 1)?;
        let is_all = entries.len() <= most;
        entries.truncate(most);
        entries.reverse();
        let from = if is_all { 0 } else { entries.first().copied().unwrap_or(u64::MAX) };
        Ok(Self { entries, from })
    }
}

impl Places {
    pub(super) fn of(chart: &Chart, patient: PatientId) -> Result<Self, ChartError> {
        let list = |name| chart.listed(&chart.list_tag(name, &patient.0), LIST_MAX);
        let (mut plans, approvals) =
            (Window::of(chart, &chart.list_tag(PLANS, &patient.0), PLANS_MAX)?, list(APPROVALS)?);
        let approvals_of = |plan: &u64| chart.listed(&approvals_of_file(chart, *plan), LIST_MAX);
        let mut approvals_of_plans = plans.entries.iter().map(approvals_of).collect::<Result<Vec<_>, _>>()?;
        // What somebody has signed isn't pushed out of sight by what nobody has.
        let seen: BTreeSet<u64> = approvals_of_plans.iter().flatten().copied().collect();
        if plans.from > 0 && approvals.iter().any(|approval| !seen.contains(approval)) {
            let before = chart.listed_back(&chart.list_tag(PLANS, &patient.0), plans.from, LIST_MAX)?;
            let with_approvals = before.into_iter().map(|plan| Ok((plan, approvals_of(&plan)?)));
            let with_approvals = with_approvals.collect::<Result<Vec<_>, ChartError>>()?;
            let signed = with_approvals.into_iter().filter(|(_, approvals)| !approvals.is_empty()).take(PLANS_MAX);
            for (plan, approvals) in signed {
                plans.entries.insert(0, plan);
                approvals_of_plans.insert(0, approvals);
            }
        }
        Ok(Self {
            patient,
            record: chart.patient_entry(patient)?,
            approvals_of_plans,
            plans,
            approvals,
            settlements: list(SETTLEMENTS)?,
            withdrawals: list(WITHDRAWALS)?,
            choices: list(CHOICES)?,
            overrides: list(OVERRIDES)?,
            records: Window::of(chart, &chart.list_tag(RECORDS, &patient.0), LIST_MAX)?,
            shown: Window::of(chart, &chart.list_tag(SHOWN, &patient.0), SHOWN_MAX)?,
            rejected: Window::of(chart, &chart.list_tag(REJECTED, &patient.0), LIST_MAX)?,
            taken_back: chart.newest(&taken_back(chart, patient))?,
            last: chart.newest(&chart.list_tag(VERDICTS, &patient.0))?,
        })
    }

    pub(super) fn entries(&self) -> impl Iterator<Item = u64> {
        let signed = [&self.approvals, &self.settlements, &self.withdrawals, &self.choices, &self.overrides];
        let lists = signed.into_iter().chain([&self.plans.entries, &self.records.entries]).flatten();
        lists.chain(&self.record).chain(&self.last).copied()
    }
}

/// The list of approvals that were handed in with the plan in `entry`: what is toleranced is compared with that file.
pub(crate) fn approvals_of_file(chart: &Chart, entry: u64) -> chart::Tag {
    chart.list_tag(APPROVALS_OF_FILE, &entry.to_be_bytes())
}

/// The list of a patient's verdicts that released this.
pub(crate) fn releases(chart: &Chart, patient: PatientId, delivery: Digest, group: u32) -> chart::Tag {
    chart.list_tag(RELEASES, &[&patient.0[..], &delivery.0, &group.to_be_bytes()].concat())
}

/// The list of treatment records that name a plan, whoever's they are.
pub(crate) fn records_of_plan(chart: &Chart, plan: &str) -> chart::Tag {
    chart.list_tag(RECORDS_OF_PLAN, plan.as_bytes())
}

/// The list of treatment records that came with this Patient ID, whoever's they are.
pub(crate) fn records_under(chart: &Chart, number: &str) -> chart::Tag {
    chart.list_tag(RECORDS_UNDER, number.trim().as_bytes())
}

/// The list of treatment records that say this of what was given, whoever's they are.
pub(crate) fn records_as(chart: &Chart, identity: Digest) -> chart::Tag {
    chart.list_tag(RECORDS_AS, &identity.0)
}

/// Notes that a record was refused which names these plans and a number of these patients, once. The note is what the record
/// says was given, or the digest of its bytes where nobody can read that.
pub(crate) fn note_refused(
    chart: &Chart,
    permit: &Permit,
    (plans, patients): (&BTreeSet<String>, &BTreeSet<PatientId>),
    identity: Digest,
) -> Result<(), ChartError> {
    let mut lists: Vec<chart::Tag> =
        plans.iter().map(|plan| chart.list_tag(REFUSED_OF_PLAN, plan.as_bytes())).collect();
    lists.extend(patients.iter().map(|patient| chart.list_tag(REFUSED_OF_PATIENT, &patient.0)));
    let of: Vec<u8> = lists.iter().flat_map(|list| list.as_bytes()).chain(&identity.0).copied().collect();
    let known = chart.list_tag(REFUSED_AS, &of);
    if lists.is_empty() || chart.newest(&known)?.is_some() {
        return Ok(());
    }
    lists.push(known);
    chart.append_note(permit, "treatment.record-refused", lists, identity.0.to_vec()).map(drop)
}

/// The list that says that a patient's erasure was taken back while somebody else had a number of hers.
pub(crate) fn taken_back(chart: &Chart, patient: PatientId) -> chart::Tag {
    chart.list_tag(TAKEN_BACK, &patient.0)
}

/// That a delivery came to the gate for a patient under an SOP Instance UID: treatment records name nothing else, and one need
/// not name the file that was stored. It stands under the vault's key: it says nothing of her.
#[derive(Encode, Decode)]
pub(super) struct Shown {
    #[n(0)]
    pub(super) version: u8,
    #[n(1)]
    pub(super) plan: String,
    #[n(2)]
    pub(super) delivery: Digest,
    /// The planning system had marked it as rejected, or as something that can't be told.
    #[n(3)]
    is_rejected: bool,
    /// What one fraction of it is.
    #[n(4)]
    pub(super) fraction: Option<Digest>,
}

/// A plan that nobody may go by any more, for all that its planning system says.
pub(crate) fn is_rejected(plan: &Plan) -> bool {
    is_rejection(plan.approval_status)
}

pub(super) fn is_rejection(status: Option<ApprovalStatus>) -> bool {
    matches!(status, Some(ApprovalStatus::Rejected | ApprovalStatus::Unclear))
}

/// Notes what came, where it isn't noted yet; `again`: or was, and has lost its force since.
pub(crate) fn note_shown(
    chart: &Chart,
    permit: &Permit,
    patient: PatientId,
    plan: &Plan,
    again: bool,
) -> Result<(), ChartError> {
    let (uid, delivery, fraction) = (&plan.instance.sop_instance, plan.digest(), plan.fraction());
    let is_rejected = is_rejected(plan);
    let of = [patient.0.as_slice(), &[u8::from(is_rejected)], &delivery.0, &fraction.0, uid.as_bytes()].concat();
    let known = chart.list_tag(SHOWN_AS, &of);
    if !again && chart.newest(&known)?.is_some() {
        return Ok(());
    }
    let mut lists = vec![chart.list_tag(SHOWN, &patient.0), known];
    if is_rejected {
        lists.push(chart.list_tag(REJECTED, &patient.0));
        lists.extend(rejected_as(chart, patient, plan));
    }
    chart.append_note(permit, "treatment.shown", lists, shown_as(plan)).map(drop)
}

/// The lists of a patient's rejections of one delivery, and of what stood under one SOP Instance UID.
pub(super) fn rejected_as(chart: &Chart, patient: PatientId, plan: &Plan) -> [chart::Tag; 2] {
    let of = |of: &[u8]| chart.list_tag(REJECTED_AS, &[&patient.0, of].concat());
    [of(&plan.digest().0), of(plan.instance.sop_instance.as_bytes())]
}

fn shown_as(plan: &Plan) -> Vec<u8> {
    let (plan_uid, fraction) = (plan.instance.sop_instance.clone(), Some(plan.fraction()));
    let is_rejected = is_rejected(plan);
    let shown = Shown { version: 1, plan: plan_uid, delivery: plan.digest(), is_rejected, fraction };
    minicbor::to_vec(shown).unwrap_or_default()
}

/// Notes that a plan was stored which its planning system had marked as rejected: other plans, however many, don't make that
/// forgotten.
pub(crate) fn note_rejection(
    chart: &Chart,
    permit: &Permit,
    patient: PatientId,
    plan: &Plan,
) -> Result<(), ChartError> {
    let mut lists = vec![chart.list_tag(REJECTED, &patient.0)];
    lists.extend(rejected_as(chart, patient, plan));
    chart.append_note(permit, "treatment.shown", lists, shown_as(plan)).map(drop)
}

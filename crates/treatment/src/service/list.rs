//! Who is on treatment today, and how each stands.

use std::collections::BTreeSet;

use chart::{Changed, Chart, ChartError, Context};
use guard::{Act, Permit, Sensitivity, Target};
use kit::{Blame, Digest, Fault, PatientId, Timestamp, UtcOffset};
use serde::Serialize;
use serde_json::Value;

use super::approving::is_of_approval;
use super::gate::{is_shared, judge};
use super::recovery::{Clocks, Held, Whom};
use super::{PLANNED, Result, Treatment};
use crate::gate::facts::{self, Facts, KeptVerdict};
use crate::gate::{Asked, Finding, Outcome, Verdict};
use crate::interruption::rules::Rules;
use crate::plan::Plan;

/// The treatment list looks at whoever had a plan or a treatment record come in within so many days: a course takes up
/// to eight weeks, and begins within weeks of its plan. So its cost goes with the patients on treatment, not the archive.
const ON_TREATMENT_DAYS: i64 = 180;
/// Of these, at most so many objects: 500 patients a day for half a year, with a record for each of twenty beams.
const PLANNED_MAX: usize = 2_000_000;
/// Read from the index at once.
const PLANNED_PAGE: usize = 1_000;

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
    /// SOP Instance UID of the plan, where it is held for its approval.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub awaits_approval: Option<String>,
    /// The delivery and the fraction group; none where it is of all of hers.
    #[serde(skip)]
    pub course: Option<(Digest, u32)>,
    /// It is held since one was given lately, and for nothing else.
    #[serde(skip)]
    pub too_soon: bool,
}

/// Today's list.
#[derive(Clone, Debug, Serialize)]
pub struct TreatmentList {
    pub as_of: Timestamp,
    /// Where the centre's clocks are.
    #[serde(serialize_with = "as_text")]
    pub utc_offset: UtcOffset,
    /// Why somebody, or something of somebody, may be missing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub incomplete: Option<String>,
    /// Where a recovery has opened no more than what comes first: when the lost gateway had put that together.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub roster: Option<Timestamp>,
    /// Where a recovery has read it: by which clocks.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub clocks: Option<Clocks>,
    /// Whom a recovery holds beside the gate.
    #[serde(skip)]
    pub holds: Vec<(Held, Whom)>,
    pub rows: Vec<TreatmentRow>,
}

impl TreatmentList {
    /// What can be said where a log is read by another machine than wrote it. Where its clock is behind, everything is held: what was
    /// given lately is of a time to come, and could be given again.
    pub fn read_by(mut self, clocks: Clocks) -> Self {
        self.clocks = Some(clocks);
        if clocks.are_behind() {
            self.hold(Held::ClockBehind, Whom::Everybody);
        }
        self
    }

    /// What can be said where only what comes first was opened, as it was put together then, and what came since. Whose records
    /// changed since may have to do with something that isn't open.
    pub fn by_roster(mut self, at: Timestamp, changed: Changed) -> Self {
        self.hold(Held::ChangedSince, Whom::These(changed.patients));
        if changed.all {
            self.hold(Held::CentreChangedSince, Whom::Everybody);
        }
        self.roster = Some(at);
        self
    }

    /// Nobody of these is ready, neither here nor on a sheet.
    fn hold(&mut self, held: Held, whom: Whom) {
        for row in self.rows.iter_mut().filter(|row| row.patient.is_some_and(|patient| whom.has(patient))) {
            row.fraction_next = None;
            if matches!(row.standing, Standing::Ready | Standing::Released) || row.too_soon {
                (row.standing, row.why, row.too_soon) = (Standing::Hold, held.to_string(), false);
            }
        }
        self.holds.push((held, whom));
    }

    /// What can be said where a part of the log can't be read: nobody is ready, for a fraction that was given, a veto or an
    /// erasure may stand in what is missing.
    pub fn incomplete(mut self, why: String) -> Self {
        self.hold(Held::Incomplete, Whom::Everybody);
        self.incomplete = Some(why);
        self
    }

    /// What can be said of those whose erasures are being taken back: somebody else may have had a number of theirs meanwhile,
    /// and what was given then may stand there.
    pub fn taken_back(mut self, restored: BTreeSet<PatientId>) -> Self {
        self.hold(Held::ErasureTakenBack, Whom::These(restored));
        self
    }
}

pub(super) fn as_text<S: serde::Serializer>(offset: &UtcOffset, to: S) -> std::result::Result<S::Ok, S::Error> {
    to.collect_str(offset)
}

impl Treatment {
    /// Who is on treatment, and how each stands: everybody of whom a plan or a treatment record came in lately, those whose
    /// course is complete among them.
    pub fn list(&self, context: &Context) -> Result<TreatmentList> {
        self.list_as(context, Act::ReadTreatmentList)
    }

    /// The same, by the right to make packs of them: for a gateway that looks up what a recovery will ask first.
    pub fn list_for_packs(&self, context: &Context) -> Result<TreatmentList> {
        self.list_as(context, Act::MakePacks)
    }

    fn list_as(&self, context: &Context, act: Act) -> Result<TreatmentList> {
        let (permit, as_of, living) = self.admit_to_all(context, act)?;
        let people = self.people()?;
        let (rules, _) = self.rules_by(&people)?;
        let day = |at: Timestamp| self.utc_offset.local(at).civil_date();
        let today = |kept: &KeptVerdict| day(kept.at) == day(as_of);
        let mut rows = Vec::with_capacity(living.len());
        let (living, later): (Vec<PatientId>, Vec<PatientId>) =
            living.into_iter().partition(|patient| self.chart.is_registered(*patient));
        rows.extend(later.iter().map(|_| not_open_yet()));
        for facts in facts::read(&self.chart, &permit, &living, self.signers(&people)) {
            match facts {
                Ok(mut facts) => {
                    let last = facts.last.take().filter(today).map(|kept| kept.verdict);
                    rows.extend(rows_of(&self.chart, &facts, &rules, last.as_ref())?);
                }
                // One patient's records, damaged or too many, hide nobody else, and not her either.
                Err(fault) if matches!(fault.blame, Blame::Integrity | Blame::Conflict) => {
                    rows.push(unreadable(&fault))
                }
                Err(fault) => return Err(fault),
            }
        }
        rows.sort_by(|a, b| (&a.machine, &a.name, &a.number).cmp(&(&b.machine, &b.name, &b.number)));
        Ok(TreatmentList {
            as_of,
            utc_offset: self.utc_offset,
            incomplete: None,
            roster: None,
            clocks: None,
            holds: Vec::new(),
            rows,
        })
    }

    /// The right to look at everybody on treatment, as of when, and who that is.
    pub(super) fn admit_to_list(&self, context: &Context) -> Result<(Permit, Timestamp, Vec<PatientId>)> {
        self.admit_to_all(context, Act::ReadTreatmentList)
    }

    /// The right to do this to everybody on treatment.
    pub(super) fn admit_to_all(&self, context: &Context, act: Act) -> Result<(Permit, Timestamp, Vec<PatientId>)> {
        let (permit, as_of, listed) = self.admit_to_listed(context, act)?;
        Ok((permit, as_of, listed.into_iter().filter(|patient| !self.chart.is_erased(*patient)).collect()))
    }

    /// The same, those who are erased among them.
    pub(super) fn admit_to_listed(&self, context: &Context, act: Act) -> Result<(Permit, Timestamp, Vec<PatientId>)> {
        let permit = self.chart.admit(context, act, Target::Centre, Sensitivity::Clinical).map_err(|e| e.fault())?;
        let as_of = self.chart.now();
        let patients = self.on_treatment(as_of).map_err(|e| e.fault())?;
        Ok((permit, as_of, patients.into_iter().collect()))
    }

    /// Whoever had a plan or a treatment record come in lately.
    ///
    /// Where a log is read that nobody writes any more, not by this machine's clock alone: with one that is ahead, or after a long
    /// outage, nobody would have had anything come in lately, and the list would be empty without a word. From the log's end, who was
    /// on treatment then is on it. Never later than the clock: an entry of a time to come makes nobody vanish.
    fn on_treatment(&self, as_of: Timestamp) -> std::result::Result<BTreeSet<PatientId>, ChartError> {
        let as_of = self.log_ends.map_or(as_of, |end| end.min(as_of));
        let since = as_of.0 - ON_TREATMENT_DAYS * 86_400_000;
        self.planned_while(|_, time| time.0 >= since)
    }

    /// Whoever had a plan or a treatment record come in, from the newest back for as long as `goes_on` says of an entry and its
    /// time.
    fn planned_while(
        &self,
        goes_on: impl Fn(u64, Timestamp) -> bool,
    ) -> std::result::Result<BTreeSet<PatientId>, ChartError> {
        let list = self.chart.list_tag(PLANNED, &[]);
        let (mut patients, mut before, mut seen) = (BTreeSet::new(), u64::MAX, 0);
        loop {
            let entries = self.chart.listed_back(&list, before, PLANNED_PAGE)?;
            seen += entries.len();
            if seen > PLANNED_MAX {
                return Err(ChartError::ListTooLong { limit: PLANNED_MAX });
            }
            for entry in &entries {
                let (time, patient) = self.chart.time_and_patient_of(*entry)?;
                if !goes_on(*entry, time) {
                    return Ok(patients);
                }
                patients.extend(patient);
            }
            match entries.last() {
                Some(last) => before = *last,
                None => return Ok(patients),
            }
        }
    }

    /// After a recovery has taken erasures back: `restored` with the entries that had erased them. Where somebody else has a number of
    /// hers by now, or was registered since and treated, who may have been she, what she was given meanwhile may stand there: her
    /// count is unknown until two people settle it.
    pub fn note_taken_back(&self, context: &Context, restored: &[(PatientId, u64)]) -> Result<()> {
        let Some(earliest) = restored.iter().map(|(_, erased)| *erased).min() else { return Ok(()) };
        let read = self
            .chart
            .admit(context, Act::ReadTreatmentList, Target::Centre, Sensitivity::Clinical)
            .map_err(|e| e.fault())?;
        let (people, newest) = (self.people()?, self.newest_treated(earliest).map_err(|e| e.fault())?);
        for (patient, erased) in restored {
            let permit = self
                .chart
                .admit(context, Act::RestorePatient, Target::Patient(*patient), Sensitivity::Administrative)
                .map_err(|e| e.fault())?;
            let facts = facts::read_one(&self.chart, &read, *patient, self.signers(&people))?;
            let mut numbers = facts.identifiers.iter();
            let is_shared = |number: &String| is_shared(&self.chart, number).map_err(|e| e.fault());
            if newest > Some(*erased)
                || numbers.try_fold(false, |any, number| Ok::<_, Fault>(any || is_shared(number)?))?
            {
                let lists = vec![facts::taken_back(&self.chart, *patient)];
                self.chart.append_note(&permit, "treatment.taken-back", lists, Vec::new()).map_err(|e| e.fault())?;
            }
        }
        Ok(())
    }

    /// The newest registration of somebody for whom a plan or a treatment record came since this entry.
    fn newest_treated(&self, entry: u64) -> std::result::Result<Option<u64>, ChartError> {
        let patients = self.planned_while(|came, _| came >= entry)?;
        let registered = patients.into_iter().map(|patient| self.chart.registered_in(patient));
        Ok(registered.collect::<std::result::Result<Vec<_>, _>>()?.into_iter().flatten().max())
    }
}

/// A row for each fraction group of her signed plans that has fractions left; else for the newest plan.
fn rows_of(chart: &Chart, facts: &Facts, rules: &Rules, last: Option<&Verdict>) -> Result<Vec<TreatmentRow>> {
    let is_approved = |plan: &&Plan| facts.approvals.iter().any(|a| a.statement().delivery == plan.digest());
    let (mut seen, mut uids) = (BTreeSet::new(), BTreeSet::new());
    // The files that people signed before others of the same delivery: their setup is what was signed. What stands under one SOP
    // Instance UID is one plan, the newest.
    let newest_first = facts.signed_files().rev().chain(facts.plans.iter().rev());
    let mut is_new = |plan: &&Plan| uids.insert(plan.instance.sop_instance.clone()) && seen.insert(plan.digest());
    let plans: Vec<&Plan> = newest_first.filter(is_approved).filter(|plan| is_new(plan)).collect();
    let mut rows = Vec::new();
    for plan in &plans {
        // What was said of one of her plans is said of no other; what was said of something else, of all of them.
        let is_another = |verdict: &&Verdict| plans.iter().any(|one| Some(one.digest()) == verdict.digest);
        let of_it = last.filter(|verdict| verdict.digest == Some(plan.digest()) || !is_another(verdict));
        for group in &plan.groups {
            let of_group = |verdict: &&Verdict| verdict.fraction_group.is_none_or(|said| said == group.number);
            rows.push(row((chart, rules), facts, plan, Some(group.number), of_it.filter(of_group))?);
        }
    }
    if rows.len() > 1 {
        rows.retain(|row: &TreatmentRow| row.standing != Standing::Complete);
    }
    if let ([], Some(plan)) = (rows.as_slice(), plans.first().copied().or(facts.plans.last())) {
        rows.push(row((chart, rules), facts, plan, plan.groups.first().map(|group| group.number), last)?);
    }
    if rows.is_empty() {
        rows.push(planless(facts));
    }
    Ok(rows)
}

/// She is treated, and by what plan nobody here can tell.
fn planless(facts: &Facts) -> TreatmentRow {
    let why = match facts.has_unreadable_plan {
        true => "her plan can't be read without a doubt",
        false => "treatment records came, and no plan",
    };
    TreatmentRow {
        patient: Some(facts.patient),
        name: display_name(&facts.record),
        number: facts.identifiers.first().cloned().unwrap_or_default(),
        birth_date: birth_date(&facts.record),
        plan: String::new(),
        machine: String::new(),
        fraction_next: None,
        fractions_planned: None,
        standing: Standing::Hold,
        why: why.to_owned(),
        awaits_approval: None,
        course: None,
        too_soon: false,
    }
}

fn row(
    (chart, rules): (&Chart, &Rules),
    facts: &Facts,
    plan: &Plan,
    group: Option<u32>,
    last: Option<&Verdict>,
) -> Result<TreatmentRow> {
    let verdict = judge(chart, facts, rules, Ok(plan), &Asked::group(group), None)?;
    let is_complete = |f: &Finding| matches!(f, Finding::AllFractionsGiven { .. });
    let (standing, why) = match (&verdict.findings.as_slice(), last) {
        (findings, _) if findings.iter().any(is_complete) => (Standing::Complete, String::new()),
        (_, Some(last)) if last.outcome == Outcome::Veto => {
            (Standing::Vetoed, last.findings.first().map_or_else(String::new, headline))
        }
        // Of the fraction that is still due; one that was given since is no release of the next.
        ([], Some(last)) if last.digest == Some(plan.digest()) && last.fractions_given == verdict.fractions_given => {
            (Standing::Released, "released by the gate today".to_owned())
        }
        ([], _) => (Standing::Ready, signed(facts, plan)),
        ([first, ..], _) => (Standing::Hold, headline(first)),
    };
    let machines: BTreeSet<&str> = plan.beams.iter().filter(|b| b.treats).map(|b| b.machine.as_str()).collect();
    Ok(TreatmentRow {
        patient: Some(facts.patient),
        name: display_name(&facts.record),
        number: plan.instance.patient_id.clone().unwrap_or_default(),
        birth_date: birth_date(&facts.record),
        plan: match (plan.label.clone().unwrap_or_default(), group) {
            (label, Some(group)) if plan.groups.len() > 1 => {
                format!("{label}, group {group}").trim_start_matches(", ").to_owned()
            }
            (label, _) => label,
        },
        machine: machines.into_iter().collect::<Vec<_>>().join(", "),
        fraction_next: verdict
            .fractions_given
            .map(|given| given.saturating_add(1))
            .filter(|next| verdict.fractions_planned.is_none_or(|planned| *next <= planned)),
        fractions_planned: verdict.fractions_planned,
        awaits_approval: (standing != Standing::Complete && verdict.findings.iter().any(is_of_approval))
            .then(|| plan.instance.sop_instance.clone()),
        course: group.map(|group| (plan.digest(), group)),
        too_soon: match (standing, last) {
            (Standing::Hold, _) => is_all_too_soon(&verdict),
            (Standing::Vetoed, Some(last)) => is_all_too_soon(last),
            _ => false,
        },
        standing,
        why,
    })
}

fn is_all_too_soon(verdict: &Verdict) -> bool {
    verdict.findings.iter().all(|finding| matches!(finding, Finding::TooSoon { .. }))
}

/// What was signed may be given, whatever has come under its name since: the gate looks at the very file that a console shows.
fn signed(facts: &Facts, plan: &Plan) -> String {
    let of_its_name = facts.plans.iter().rev().find(|one| one.instance.sop_instance == plan.instance.sop_instance);
    match of_its_name.is_some_and(|newest| newest.digest() != plan.digest()) {
        true => "signed by two people; another file under its SOP Instance UID has come since".to_owned(),
        false => "signed by two people".to_owned(),
    }
}

/// Somebody is on treatment, and nobody can read who.
fn unreadable(fault: &Fault) -> TreatmentRow {
    nameless("(records that can't be read)", format!("`holdfast verify` names what is damaged [{}]", fault.code))
}

/// Somebody came on treatment after what comes first was put together: her key isn't among it.
fn not_open_yet() -> TreatmentRow {
    nameless("(came on treatment since)", "the recovery has not come to her records yet".to_owned())
}

fn nameless(name: &str, why: String) -> TreatmentRow {
    TreatmentRow {
        patient: None,
        name: name.to_owned(),
        number: String::new(),
        birth_date: String::new(),
        plan: String::new(),
        machine: String::new(),
        fraction_next: None,
        fractions_planned: None,
        standing: Standing::Hold,
        why,
        awaits_approval: None,
        course: None,
        too_soon: false,
    }
}

/// The first line of a finding: a row has no room for a list of fields.
pub(super) fn headline(finding: &Finding) -> String {
    let text = finding.to_string();
    let line = text.lines().next().unwrap_or_default();
    line.split(" (approved →").next().unwrap_or(line).to_owned()
}

/// As it was registered: a year, a month or a day.
pub(super) fn birth_date(record: &Value) -> String {
    record.get("birthDate").and_then(Value::as_str).unwrap_or_default().to_owned()
}

pub(super) fn display_name(record: &Value) -> String {
    let Some(name) = record.get("name").and_then(|n| n.get(0)) else { return String::new() };
    if let Some(text) = name.get("text").and_then(Value::as_str) {
        return text.to_owned();
    }
    let given = name.get("given").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str);
    given.chain(name.get("family").and_then(Value::as_str)).collect::<Vec<_>>().join(" ")
}

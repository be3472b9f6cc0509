//! Radiotherapy on real records: what comes in, who signed what, the gate before each fraction, today's list. The
//! decisions themselves are pure ([`crate::gate`]); here they get their facts from the chart and leave their verdict
//! in the ledger.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use chart::{Chart, ChartError, Context};
use guard::{Act, Permit, Sensitivity, Target};
use kit::{Blame, Digest, Fault, PatientId, Timestamp, UtcOffset};
use serde::Serialize;
use serde_json::Value;

use crate::approval::{
    Approval, ApprovalError, Enrolment, PublicKey, Settles, SignerRole, Statement, VerifiedApproval,
};
use crate::course::Given;
use crate::error::PlanError;
use crate::facts::{
    self, APPROVALS, Facts, KeptVerdict, SETTLEMENTS, Signers, VERDICTS, WITHDRAWALS, approvals_of_file,
};
use crate::gate::{Expected, Finding, GateInput, Note, Outcome, Signed, Verdict, approval_gap, decide};
use crate::intake::Told;
use crate::object::Instance;
use crate::people::{Ending, People, Reach, look_alike};
use crate::plan::Plan;

/// Lists of the centre.
pub(crate) const PLANNED: &str = "planned";
/// The collection of DICOM objects.
pub(crate) const OBJECTS: &str = "dicom";
const PEOPLE: &str = "people";
const ENDINGS: &str = "people-ended";

/// A signer's name.
const NAME_BYTES_MAX: usize = 128;
/// Enrolments that count; a centre has some hundreds.
const PEOPLE_MAX: usize = 10_000;
/// Fractions that may be settled; no course has half as many.
const SETTLED_MAX: u32 = 1_000;
/// The treatment list looks at whoever had a plan or a treatment record come in within so many days: a course takes up
/// to eight weeks, and begins within weeks of its plan. So its cost goes with the patients on treatment, not the archive.
const ON_TREATMENT_DAYS: i64 = 180;
/// Of these, at most so many objects: 500 patients a day for half a year, with a record for each of twenty beams.
const PLANNED_MAX: usize = 2_000_000;
/// Gates that are asked at once; who is asked about twice waits for herself.
const TURNS: usize = 64;
/// Read from the index at once.
const PLANNED_PAGE: usize = 1_000;

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

/// What a settlement has led to.
#[derive(Clone, Debug, Serialize)]
pub struct Settled {
    pub digest: Digest,
    pub settles: Settles,
    /// Roles and names that have validly signed it.
    pub signers: Vec<String>,
    /// Two people have: it counts.
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
    /// Where the centre's clocks are.
    #[serde(serialize_with = "as_text")]
    pub utc_offset: UtcOffset,
    /// Why somebody, or something of somebody, may be missing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub incomplete: Option<String>,
    pub rows: Vec<TreatmentRow>,
}

impl TreatmentList {
    /// What can be said where a part of the log can't be read: nobody is ready, for a fraction that was given, a veto or an
    /// erasure may stand in what is missing.
    pub fn incomplete(mut self, why: String) -> Self {
        for row in &mut self.rows {
            row.fraction_next = None;
            if matches!(row.standing, Standing::Ready | Standing::Released) {
                (row.standing, row.why) = (Standing::Hold, "her newest records may be missing".to_owned());
            }
        }
        self.incomplete = Some(why);
        self
    }

    /// What can be said of those whose erasures are being taken back: somebody else may have had a number of theirs meanwhile,
    /// and what was given then may stand there.
    pub fn taken_back(mut self, restored: &BTreeSet<PatientId>) -> Self {
        for row in self.rows.iter_mut().filter(|row| row.patient.is_some_and(|patient| restored.contains(&patient))) {
            row.fraction_next = None;
            if matches!(row.standing, Standing::Ready | Standing::Released) {
                (row.standing, row.why) =
                    (Standing::Hold, "her erasure was taken back: the gate says how she stands".to_owned());
            }
        }
        self
    }
}

fn as_text<S: serde::Serializer>(offset: &UtcOffset, to: S) -> std::result::Result<S::Ok, S::Error> {
    to.collect_str(offset)
}

/// The room's façade.
pub struct Treatment {
    pub(crate) chart: Arc<Chart>,
    /// The log's name: unique, so that an approval can't be carried to another centre.
    origin: String,
    /// The centre's name on pages.
    centre: String,
    utc_offset: UtcOffset,
    /// For each patient one of them, while the gate is asked about her.
    turns: [Mutex<()>; TURNS],
}

impl Treatment {
    /// `centre` is the name that pages show; approvals are signed for the log's own name.
    pub fn new(chart: Arc<Chart>, centre: impl Into<String>) -> Self {
        let origin = chart.vault().vkey().name().to_owned();
        let turns = std::array::from_fn(|_| Mutex::new(()));
        Self { chart, origin, centre: centre.into(), utc_offset: UtcOffset::default(), turns }
    }

    /// Where the centre's clocks are: by them a day begins.
    pub fn with_utc_offset(mut self, offset: UtcOffset) -> Self {
        self.utc_offset = offset;
        self
    }

    pub fn chart(&self) -> &Arc<Chart> {
        &self.chart
    }

    pub(crate) fn signers<'a>(&'a self, people: &'a People) -> Signers<'a> {
        Signers { origin: &self.origin, people, utc_offset: self.utc_offset }
    }

    pub fn centre(&self) -> &str {
        &self.centre
    }

    /// Lets a person's signature count from now on.
    ///
    /// A name is one person's, however it is spelt, and a key is one name's: two entries for one person would let her
    /// sign for two.
    pub fn enrol(&self, context: &Context, enrolment: &Enrolment) -> Result<()> {
        let wrong = |code: &str, why: &str| Err(Fault::new(Blame::Peer, code, why));
        let name = enrolment.signer.as_str();
        if name.is_empty() || name.trim() != name || name.chars().any(char::is_control) || name.len() > NAME_BYTES_MAX {
            let why = format!("a name has 1 to {NAME_BYTES_MAX} bytes, no control character, no space at either end");
            return wrong("treatment.person.name", &why);
        }
        let people = self.people()?;
        if people.ended(enrolment.key).is_some() {
            return wrong("treatment.person.ended", "this key's signatures were ended; a new key is needed");
        }
        for known in people.enrolments() {
            if known.signer != name && look_alike(&known.signer, name) {
                return wrong("treatment.person.spelling", "somebody is enrolled whose name looks the same");
            }
            if known.signer != name && known.key == enrolment.key {
                return wrong("treatment.person.key", "this key is enrolled under another name");
            }
        }
        let permit = self
            .chart
            .admit(context, Act::ManageAccess, Target::Centre, Sensitivity::Clinical)
            .map_err(|e| e.fault())?;
        let list = self.chart.list_tag(PEOPLE, &[]);
        self.chart.append_note(&permit, "treatment.person", vec![list], enrolment.encode()).map_err(|e| e.fault())?;
        Ok(())
    }

    /// Ends a key: what it signs from now on counts no longer, or nothing that it ever signed.
    pub fn end_key(&self, context: &Context, key: PublicKey, reach: Reach) -> Result<()> {
        let people = self.people()?;
        if !people.enrolments().iter().any(|known| known.key == key) {
            return Err(Fault::new(Blame::Peer, "treatment.person.unknown", "nobody is enrolled with this key")
                .guidance("`holdfast person list` shows everybody's keys"));
        }
        let permit = self
            .chart
            .admit(context, Act::ManageAccess, Target::Centre, Sensitivity::Clinical)
            .map_err(|e| e.fault())?;
        if people.ended(key).is_some_and(|ended| ended.reach >= reach) {
            return Ok(());
        }
        let list = self.chart.list_tag(ENDINGS, &[]);
        let ending = Ending::new(key, reach, self.chart.now());
        self.chart
            .append_note(&permit, "treatment.person-ended", vec![list], ending.encode())
            .map_err(|e| e.fault())?;
        Ok(())
    }

    /// Everybody whose signature counts, or did.
    pub fn people(&self) -> Result<People> {
        let read = |list| {
            let entries = self.chart.listed(&self.chart.list_tag(list, &[]), PEOPLE_MAX)?;
            let notes = entries.into_iter().map(|entry| Ok((entry, self.chart.note_of(entry)?.1.note.to_vec())));
            notes.collect::<std::result::Result<Vec<_>, ChartError>>()
        };
        let enrolments = read(PEOPLE).map_err(|e| e.fault())?.into_iter().map(|(_, note)| Enrolment::decode(&note));
        let endings = read(ENDINGS).map_err(|e| e.fault())?;
        let endings = endings.into_iter().map(|(entry, note)| Ok((entry, Ending::decode(&note)?)));
        Ok(People::new(
            enrolments.collect::<std::result::Result<_, _>>()?,
            endings.collect::<std::result::Result<_, ApprovalError>>()?,
        ))
    }

    /// What a person is about to sign; the file is only read.
    pub fn statement(&self, patient: PatientId, plan: &[u8], role: SignerRole, signer: &str) -> Result<Statement> {
        Ok(self.statement_of(patient, Plan::parse(plan)?.digest(), role, signer))
    }

    fn statement_of(&self, patient: PatientId, delivery: Digest, role: SignerRole, signer: &str) -> Statement {
        let (centre, at) = (self.origin.clone(), self.chart.now());
        Statement { centre, patient, delivery, role, signer: signer.to_owned(), at, settles: None, withdraws: None }
    }

    /// What a person is about to sign who settles how many fractions of a plan were given: whatever the records say that came
    /// by now. What another one has settled the same, with nothing come since, is signed again.
    pub fn settlement(
        &self,
        context: &Context,
        patient: PatientId,
        plan: &[u8],
        (group, given): (Option<u32>, u32),
        (role, signer): (SignerRole, &str),
    ) -> Result<Statement> {
        let plan = Plan::parse(plan)?;
        let wrong = |code: &str, text: String| Err(Fault::new(Blame::Peer, code, text));
        let Some(found) = plan.group(group) else {
            let text = "the plan has several fraction groups, or not the one that is named: say which";
            return wrong("treatment.settlement.group", text.to_owned());
        };
        let (group, planned) = (found.number, found.fractions_planned);
        if given > planned {
            let text = format!("{given} fractions given, the plan has {planned}");
            return wrong("treatment.settlement.given", text);
        }
        let permit = self
            .chart
            .admit(context, Act::ApprovePlan, Target::Patient(patient), Sensitivity::Clinical)
            .map_err(|e| e.fault())?;
        let people = self.people()?;
        let facts = facts::read_one(&self.chart, &permit, patient, self.signers(&people))?;
        let number = plan.instance.patient_id.as_deref().unwrap_or_default();
        if !facts.identifiers.iter().any(|known| known.trim() == number) {
            let text = "the plan's Patient ID is not one of this patient's identifiers";
            return wrong("treatment.settlement.another-patient", text.to_owned());
        }
        let anew = Settles { group, given, before: self.chart.vault().size() };
        let proposed = facts.proposed(&self.chart, &plan, anew).map_err(|e| e.fault())?;
        let settles = Some(proposed.unwrap_or(anew));
        let statement = self.statement_of(patient, plan.digest(), role, signer);
        Ok(Statement { settles, ..statement })
    }

    /// That somebody whose key counts now has signed it, and may say it of this patient.
    fn signed_now(&self, context: &Context, approval: &Approval) -> Result<(People, Permit)> {
        let people = self.people()?;
        approval.verify(&self.origin, people.counting(u64::MAX))?;
        let patient = Target::Patient(approval.statement().patient);
        let permit = self.chart.admit(context, Act::ApprovePlan, patient, Sensitivity::Clinical);
        Ok((people, permit.map_err(|e| e.fault())?))
    }

    /// Takes in one person's word on how many fractions were given.
    pub fn settle(&self, context: &Context, approval: &Approval) -> Result<Settled> {
        let Statement { patient, delivery, settles, .. } = approval.statement().clone();
        let is_fit = |settles: &Settles| settles.before <= self.chart.vault().size() && settles.given <= SETTLED_MAX;
        let Some(settles) = settles.filter(is_fit) else {
            let text = "what was signed settles no count, or one of records that are still to come, or a number that no course has";
            return Err(Fault::new(Blame::Peer, "treatment.settlement.mismatch", text));
        };
        let (people, permit) = self.signed_now(context, approval)?;
        let lists = [self.chart.list_tag(SETTLEMENTS, &patient.0)];
        self.chart
            .append(&permit, Some(patient), "treatment.settlement", &lists, approval.encode())
            .map_err(|e| e.fault())?;
        let facts = facts::read_one(&self.chart, &permit, patient, self.signers(&people))?;
        let signers = facts.who_settled(delivery, settles);
        let complete = facts.settled(delivery, settles.group) == Some(settles);
        Ok(Settled { digest: delivery, settles, signers, complete })
    }

    /// Takes in one person's word that a plan isn't to be given any more: it holds until two people have signed it again.
    pub fn withdraw(&self, context: &Context, approval: &Approval) -> Result<Digest> {
        let Statement { patient, delivery, withdraws, .. } = approval.statement().clone();
        if withdraws.is_none() {
            let text = "what was signed withdraws nothing";
            return Err(Fault::new(Blame::Peer, "treatment.withdrawal.mismatch", text));
        }
        let (people, permit) = self.signed_now(context, approval)?;
        let facts = facts::read_one(&self.chart, &permit, patient, self.signers(&people))?;
        if !facts.approvals.iter().any(|one| one.statement().delivery == delivery) {
            let text = "nobody's approval of this delivery for this patient is in force";
            return Err(Fault::new(Blame::Peer, "treatment.withdrawal.not-approved", text));
        }
        let lists = [self.chart.list_tag(WITHDRAWALS, &patient.0)];
        self.chart
            .append(&permit, Some(patient), "treatment.withdrawal", &lists, approval.encode())
            .map_err(|e| e.fault())?;
        Ok(delivery)
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
        if statement.patient != patient || statement.delivery != plan.digest() || !statement.approves() {
            let text = "the signature is over another delivery or for another patient than what was handed in";
            return Err(Fault::new(Blame::Peer, "treatment.approval.mismatch", text));
        }
        if facts::is_rejected(&plan) {
            let text = "the planning system's Approval Status (300E,0002) of this file says REJECTED, or nothing that is known";
            return Err(Fault::new(Blame::Peer, "treatment.approval.rejected", text)
                .guidance("sign a file of it that the planning system has not rejected"));
        }
        let people = self.people()?;
        approval.verify(&self.origin, people.counting(u64::MAX))?;
        let owner = plan.instance.patient_id.as_deref().map(|id| self.chart.patient_by_number(id)).transpose();
        if owner.map_err(|e| e.fault())?.flatten() != Some(patient) {
            let text = "the plan's Patient ID is not one of this patient's identifiers";
            return Err(Fault::new(Blame::Peer, "treatment.approval.another-patient", text));
        }
        let kept = self.keep(context, Act::ApprovePlan, &plan.instance, file)?;
        let permit = self
            .chart
            .admit(context, Act::ApprovePlan, Target::Patient(patient), Sensitivity::Clinical)
            .map_err(|e| e.fault())?;
        let lists = [self.chart.list_tag(APPROVALS, &patient.0), approvals_of_file(&self.chart, kept.entry)];
        self.chart
            .append(&permit, Some(patient), "treatment.approval", &lists, approval.encode())
            .map_err(|e| e.fault())?;
        let facts = facts::read_one(&self.chart, &permit, patient, self.signers(&people))?;
        let digest = plan.digest();
        let signed = facts.approvals.iter().map(VerifiedApproval::statement).filter(|s| s.delivery == digest);
        let signers: BTreeSet<String> = signed.map(|s| format!("{} {}", s.role, s.signer)).collect();
        Ok(Approved {
            digest,
            // By the gate's own measure, or the answer here would promise what the gate refuses.
            complete: approval_gap(&facts.approvals, patient, digest).is_none() && !facts.is_rejected(&plan),
            signers: signers.into_iter().collect(),
        })
    }

    /// The check before a fraction. `patient` is what the caller knows her by (hospital number or FHIR id); without it,
    /// she is whom the plan's Patient ID names. The verdict is an entry before it is an answer.
    ///
    /// `group` is the fraction group that is due: needed only where the plan has several.
    pub fn gate(&self, context: &Context, patient: Option<&str>, file: &[u8], group: Option<u32>) -> Result<Verdict> {
        self.gate_plan(context, patient, Plan::parse(file), group)
    }

    /// The same of what came over an association: whom it names, and its only fraction group. What is no instance gets a verdict,
    /// too.
    pub fn gate_data_set(&self, context: &Context, data_set: &[u8], transfer_syntax: &str) -> Result<Verdict> {
        let plan = Instance::parse_data_set(data_set, transfer_syntax).map_err(PlanError::Object);
        self.gate_plan(context, None, plan.and_then(|instance| Plan::parse(&instance.part10(data_set))), None)
    }

    fn gate_plan(
        &self,
        context: &Context,
        patient: Option<&str>,
        plan: std::result::Result<Plan, PlanError>,
        group: Option<u32>,
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
                let verdict = judge(&self.chart, &facts, plan.as_ref(), group)?;
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
            None => nobody(plan.as_ref(), unknown),
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

    /// Who is on treatment, and how each stands: everybody of whom a plan or a treatment record came in lately, those whose
    /// course is complete among them.
    pub fn list(&self, context: &Context) -> Result<TreatmentList> {
        let permit = self
            .chart
            .admit(context, Act::ReadTreatmentList, Target::Centre, Sensitivity::Clinical)
            .map_err(|e| e.fault())?;
        let as_of = self.chart.now();
        let patients = self.on_treatment(as_of).map_err(|e| e.fault())?;
        let people = self.people()?;
        let living: Vec<PatientId> = patients.into_iter().filter(|patient| !self.chart.is_erased(*patient)).collect();
        let day = |at: Timestamp| self.utc_offset.local(at).civil_date();
        let today = |kept: &KeptVerdict| day(kept.at) == day(as_of);
        let mut rows = Vec::with_capacity(living.len());
        for facts in facts::read(&self.chart, &permit, &living, self.signers(&people)) {
            match facts {
                Ok(mut facts) => {
                    let last = facts.last.take().filter(today).map(|kept| kept.verdict);
                    rows.extend(rows_of(&self.chart, &facts, last.as_ref())?);
                }
                // One patient's records, damaged or too many, hide nobody else, and not her either.
                Err(fault) if matches!(fault.blame, Blame::Integrity | Blame::Conflict) => {
                    rows.push(unreadable(&fault))
                }
                Err(fault) => return Err(fault),
            }
        }
        rows.sort_by(|a, b| (&a.machine, &a.name, &a.number).cmp(&(&b.machine, &b.name, &b.number)));
        Ok(TreatmentList { as_of, utc_offset: self.utc_offset, incomplete: None, rows })
    }

    /// Whoever had a plan or a treatment record come in lately.
    fn on_treatment(&self, as_of: Timestamp) -> std::result::Result<BTreeSet<PatientId>, ChartError> {
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
}

/// Whether two living patients have this number.
fn is_shared(chart: &Chart, number: &str) -> std::result::Result<bool, ChartError> {
    match chart.patient_by_number(number) {
        Err(ChartError::AmbiguousPatient) => Ok(true),
        other => other.map(|_| false),
    }
}

fn judge(
    chart: &Chart,
    facts: &Facts,
    plan: std::result::Result<&Plan, &PlanError>,
    group: Option<u32>,
) -> Result<Verdict> {
    let approved: Vec<Signed<'_>> = facts.signed().collect();
    // A re-export has another UID; what was given of the same delivery counts all the same.
    let given = plan.ok().map(|plan| facts.given(chart, plan, group)).transpose().map_err(|e| e.fault())?;
    let given = given.unwrap_or(Given::NONE);
    let number = plan.ok().and_then(|plan| plan.instance.patient_id.as_deref());
    let uid = plan.ok().map(|plan| chart.object_patient(OBJECTS, &plan.instance.sop_instance)).transpose();
    let owner = uid.map_err(|e| e.fault())?.flatten();
    let number_is_shared =
        number.map(|number| is_shared(chart, number)).transpose().map_err(|e| e.fault())?.unwrap_or(false);
    let mut verdict = decide(&GateInput {
        expected: Expected {
            patient: facts.patient,
            identifiers: &facts.identifiers,
            birth_date: facts.birth_date.as_deref(),
            sex: facts.sex,
            number_is_shared,
            uid_is_anothers: owner.is_some_and(|owner| owner != facts.patient),
            has_ended: facts.has_ended(),
            is_rejected: plan.is_ok_and(|plan| facts.is_rejected(plan)),
            withdrawn: plan.ok().and_then(|plan| facts.withdrawn(plan.digest())),
        },
        plan,
        approvals: &facts.approvals,
        approved: &approved,
        fraction_group: group,
        given: &given,
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
fn nobody(plan: std::result::Result<&Plan, &PlanError>, unknown: Finding) -> Verdict {
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
        approvals: &[],
        approved: &[],
        fraction_group: None,
        given: &Given::NONE,
    });
    for finding in verdict.findings.iter_mut().filter(|finding| **finding == Finding::PatientUnknown) {
        finding.clone_from(&unknown);
    }
    verdict
}

/// A row for each fraction group of her signed plans that has fractions left; else for the newest plan.
fn rows_of(chart: &Chart, facts: &Facts, last: Option<&Verdict>) -> Result<Vec<TreatmentRow>> {
    let is_approved = |plan: &&Plan| facts.approvals.iter().any(|a| a.statement().delivery == plan.digest());
    let mut seen = BTreeSet::new();
    // The files that people signed before others of the same delivery: their setup is what was signed.
    let newest_first = facts.signed_files().rev().chain(facts.plans.iter().rev());
    let plans: Vec<&Plan> = newest_first.filter(is_approved).filter(|plan| seen.insert(plan.digest())).collect();
    let mut rows = Vec::new();
    for plan in &plans {
        // What was said of one of her plans is said of no other; what was said of something else, of all of them.
        let is_another = |verdict: &&Verdict| plans.iter().any(|one| Some(one.digest()) == verdict.digest);
        let of_it = last.filter(|verdict| verdict.digest == Some(plan.digest()) || !is_another(verdict));
        for group in &plan.groups {
            let of_group = |verdict: &&Verdict| verdict.fraction_group.is_none_or(|said| said == group.number);
            rows.push(row(chart, facts, plan, Some(group.number), of_it.filter(of_group))?);
        }
    }
    if rows.len() > 1 {
        rows.retain(|row: &TreatmentRow| row.standing != Standing::Complete);
    }
    if let ([], Some(plan)) = (rows.as_slice(), plans.first().copied().or(facts.plans.last())) {
        rows.push(row(chart, facts, plan, plan.groups.first().map(|group| group.number), last)?);
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
        birth_date: facts.record.get("birthDate").and_then(Value::as_str).unwrap_or_default().to_owned(),
        plan: String::new(),
        machine: String::new(),
        fraction_next: None,
        fractions_planned: None,
        standing: Standing::Hold,
        why: why.to_owned(),
    }
}

fn row(chart: &Chart, facts: &Facts, plan: &Plan, group: Option<u32>, last: Option<&Verdict>) -> Result<TreatmentRow> {
    let verdict = judge(chart, facts, Ok(plan), group)?;
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
        ([], _) => (Standing::Ready, "signed by two people".to_owned()),
        ([first, ..], _) => (Standing::Hold, headline(first)),
    };
    let machines: BTreeSet<&str> = plan.beams.iter().filter(|b| b.treats).map(|b| b.machine.as_str()).collect();
    Ok(TreatmentRow {
        patient: Some(facts.patient),
        name: display_name(&facts.record),
        number: plan.instance.patient_id.clone().unwrap_or_default(),
        birth_date: facts.record.get("birthDate").and_then(Value::as_str).unwrap_or_default().to_owned(),
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
        standing,
        why,
    })
}

/// Somebody is on treatment, and nobody can read who.
fn unreadable(fault: &Fault) -> TreatmentRow {
    TreatmentRow {
        patient: None,
        name: "(records that can't be read)".to_owned(),
        number: String::new(),
        birth_date: String::new(),
        plan: String::new(),
        machine: String::new(),
        fraction_next: None,
        fractions_planned: None,
        standing: Standing::Hold,
        why: format!("`holdfast verify` names what is damaged [{}]", fault.code),
    }
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

//! Radiotherapy on real records: what comes in, who signed what, the gate before each fraction, today's list. The
//! decisions themselves are pure ([`crate::gate`]); here they get their facts from the chart and leave their verdict
//! in the ledger.

mod approving;
mod checking;
mod course;
mod entering;
mod gate;
pub(crate) mod intake;
mod list;
mod packs;
mod recovery;
mod signing;
mod transfer;
mod triage;

pub use approving::{
    AskedApproval, ContextLine, ContextSigned, DifferenceSeen, PlanApproval, PlanNamed, PlanSide, Relation,
    SignatureSeen,
};
pub use checking::{ChartChecks, CheckedCourse, GroupChecks};
pub use course::{
    BeamSeen, BeamSession, ContextSeen, CourseSoFar, DoseSaid, DoseSeen, PatientCourses, SessionSeen, SignedBy,
    TotalSeen, UnfinishedSeen,
};
pub use entering::{Entered, PairSeen, PatientPairs, Reconciliation};
pub use list::{Standing, TreatmentList, TreatmentRow};
pub use packs::{Booked, PACKS_AT_ONCE, Pack, Packed, PackedGroup, PackedPlan, Photo, WithdrawnPlan};
pub use recovery::{CHANGES_ALL, Clocks, Held, HeldCourse, Recovered, Whom};
pub use signing::ToSign;
pub use transfer::{Kept as TransferKept, Missing, Transfer};
pub use triage::{RulesInForce, Triage, TriageRow};

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use chart::{Chart, ChartError, Context};
use guard::{Act, Permit, PublicKey, Sensitivity, Target, look_alike};
use kit::{Blame, Digest, Fault, PatientId, Timestamp, UtcOffset};
use serde::Serialize;

use crate::gate::context;
use crate::gate::facts::{
    self, APPROVALS, OVERRIDES, PLANS, RECORDS, SETTLEMENTS, Signers, WITHDRAWALS, approvals_of_file,
};
use crate::gate::{Asked, Finding, OVERRIDABLE, approval_gap, context_gap};
use crate::plan::Plan;
use crate::signing::approval::{
    Approval, ApprovalError, Enrolment, Overrides, Settles, SignerRole, Statement, VerifiedApproval,
};
use crate::signing::context::ContextPart;
use crate::signing::people::{Ending, People, Reach};

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
/// Gates that are asked at once; who is asked about twice waits for herself.
const TURNS: usize = 64;

type Result<T> = std::result::Result<T, Fault>;

/// What an approval has led to.
#[derive(Clone, Debug, Serialize)]
pub struct Approved {
    pub digest: Digest,
    /// Roles and names that have validly signed this delivery for this patient.
    pub signers: Vec<String>,
    /// Nothing is missing: the gate can release it.
    pub complete: bool,
    /// What stands beside the plan now and two people have not signed it with, though they have signed the plan.
    pub changed: Vec<ContextPart>,
    /// Chart checks, of each fraction group: one that fails stops nothing.
    pub checks: Vec<GroupChecks>,
    /// Why there are none: what they rest on can't be read. The approval is kept all the same.
    pub unchecked: Option<String>,
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

/// The room's façade.
pub struct Treatment {
    pub(crate) chart: Arc<Chart>,
    /// The log's name: unique, so that an approval can't be carried to another centre.
    origin: String,
    /// The centre's name on pages.
    centre: String,
    utc_offset: UtcOffset,
    /// Of a log that nobody writes any more: when it ends.
    log_ends: Option<Timestamp>,
    /// For each patient one of them, while the gate is asked about her.
    turns: [Mutex<()>; TURNS],
}

/// A plan comes some weeks before its first fraction; whoever got a fraction is looked after for weeks.
const TREATS: &[chart::Treats] = &[chart::Treats { list: RECORDS, days: 30 }, chart::Treats { list: PLANS, days: 60 }];

impl Treatment {
    /// `centre` is the name that pages show; approvals are signed for the log's own name.
    pub fn new(chart: Arc<Chart>, centre: impl Into<String>) -> Self {
        let origin = chart.vault().vkey().name().to_owned();
        let turns = std::array::from_fn(|_| Mutex::new(()));
        chart.explain_by(TREATS);
        Self { chart, origin, centre: centre.into(), utc_offset: UtcOffset::default(), log_ends: None, turns }
    }

    /// For a log that nobody writes any more.
    pub fn with_log_end(mut self, end: Option<Timestamp>) -> Self {
        self.log_ends = end;
        self
    }

    /// Of the centre's clocks.
    pub fn utc_offset(&self) -> UtcOffset {
        self.utc_offset
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
            let login = |one: &Enrolment| one.passkey().map(|passkey| passkey.login.clone());
            if known.signer != name && login(enrolment).is_some_and(|hers| login(known) == Some(hers)) {
                return wrong("treatment.person.login", "this login is enrolled under another name");
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

    /// What a person is about to sign: the plan, and what stands beside it now. The file is only read.
    pub fn statement(
        &self,
        context: &Context,
        patient: PatientId,
        plan: &[u8],
        (role, signer): (SignerRole, &str),
    ) -> Result<Statement> {
        let plan = Plan::parse(plan)?;
        let permit = self
            .chart
            .admit(context, Act::ApprovePlan, Target::Patient(patient), Sensitivity::Clinical)
            .map_err(|e| e.fault())?;
        let people = self.people()?;
        let facts = facts::read_one(&self.chart, &permit, patient, self.signers(&people))?;
        let with = context::of_plan(&self.chart, &facts, &plan, Some(&permit)).map_err(|e| e.fault())?;
        Ok(Statement { context: Some(with), ..self.statement_of(patient, plan.digest(), role, signer) })
    }

    fn statement_of(&self, patient: PatientId, delivery: Digest, role: SignerRole, signer: &str) -> Statement {
        let (centre, at) = (self.origin.clone(), self.chart.now());
        let signer = signer.to_owned();
        Statement {
            centre,
            patient,
            delivery,
            role,
            signer,
            at,
            settles: None,
            withdraws: None,
            chooses: None,
            context: None,
            overrides: None,
        }
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

    /// What a person is about to sign who answers for a finding of the gate, for the fraction that is due.
    pub fn override_statement(
        &self,
        context: &Context,
        patient: PatientId,
        plan: &[u8],
        (asked, finding, reason): (&Asked, &str, &str),
        (role, signer): (SignerRole, &str),
    ) -> Result<Statement> {
        let plan = Plan::parse(plan)?;
        let wrong = |code: &str, text: String| Err(Fault::new(Blame::Peer, code, text));
        if !OVERRIDABLE.contains(&finding) {
            let text =
                format!("{finding} is nothing that anybody can answer for; what can be: {}", OVERRIDABLE.join(", "));
            return wrong("treatment.override.finding", text);
        }
        let Some(found) = plan.group(asked.due_group()) else {
            let text = "the plan has several fraction groups, or not the one that is named: say which";
            return wrong("treatment.override.group", text.to_owned());
        };
        let permit = self
            .chart
            .admit(context, Act::ApprovePlan, Target::Patient(patient), Sensitivity::Clinical)
            .map_err(|e| e.fault())?;
        let people = self.people()?;
        let facts = facts::read_one(&self.chart, &permit, patient, self.signers(&people))?;
        let given = facts.given(&self.chart, &plan, Some(found.number)).map_err(|e| e.fault())?.fractions();
        let Some(given) = given else {
            let text =
                "how many fractions were given isn't known, so which one is due can't be said: settle that first";
            return wrong("treatment.override.unknown", text.to_owned());
        };
        let verdict = gate::judge(&self.chart, &facts, &self.rules_by(&people)?.0, Ok(&plan), asked, Some(&permit))?;
        let Some(what) = verdict.findings.iter().find(|one| one.code() == finding).map(Finding::digest) else {
            let text = format!("the gate doesn't find {finding}: there is nothing to answer for");
            return wrong("treatment.override.absent", text);
        };
        let (finding, reason) = (finding.to_owned(), reason.to_owned());
        let overrides = Overrides { finding, group: found.number, fraction: given.saturating_add(1), reason, what };
        Ok(Statement { overrides: Some(overrides), ..self.statement_of(patient, plan.digest(), role, signer) })
    }

    /// Takes in one person's word; gives whether two people answer for it now.
    pub fn override_finding(&self, context: &Context, approval: &Approval) -> Result<bool> {
        let Statement { patient, delivery, overrides, .. } = approval.statement().clone();
        let is_one = |overrides: &Overrides| OVERRIDABLE.contains(&overrides.finding.as_str());
        let Some(Overrides { finding, group, fraction, .. }) = overrides.filter(is_one) else {
            let text = "what was signed answers for nothing that anybody can answer for";
            return Err(Fault::new(Blame::Peer, "treatment.override.mismatch", text));
        };
        let (people, permit) = self.signed_now(context, approval)?;
        self.keep_word(&permit, OVERRIDES, "treatment.override", approval)?;
        let facts = facts::read_one(&self.chart, &permit, patient, self.signers(&people))?;
        Ok(facts.overridden(delivery, group, fraction).iter().any(|one| one.finding == finding))
    }

    /// That somebody whose key counts now has signed it, and may say it of this patient.
    fn signed_now(&self, context: &Context, approval: &Approval) -> Result<(People, Permit)> {
        let people = self.people()?;
        approval.verify(&self.origin, people.counting(u64::MAX))?;
        let patient = Target::Patient(approval.statement().patient);
        let permit = self.chart.admit(context, Act::ApprovePlan, patient, Sensitivity::Clinical);
        Ok((people, permit.map_err(|e| e.fault())?))
    }

    /// Adds it to what people said of this patient.
    fn keep_word(&self, permit: &Permit, list: &str, kind: &str, approval: &Approval) -> Result<()> {
        let patient = approval.statement().patient;
        let lists = [self.chart.list_tag(list, &patient.0)];
        self.chart.append(permit, Some(patient), kind, &lists, approval.encode()).map(drop).map_err(|e| e.fault())
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
        self.keep_word(&permit, SETTLEMENTS, "treatment.settlement", approval)?;
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
        self.keep_word(&permit, WITHDRAWALS, "treatment.withdrawal", approval)?;
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
        let with = context::of_plan(&self.chart, &facts, &plan, Some(&permit)).map_err(|e| e.fault())?;
        let is_signed = approval_gap(&facts.approvals, patient, digest).is_none();
        let changed = context_gap(&facts.approvals, (patient, digest), &with).filter(|_| is_signed);
        let signed = facts.approvals.iter().map(VerifiedApproval::statement).filter(|s| s.delivery == digest);
        let signers: BTreeSet<String> = signed.map(|s| format!("{} {}", s.role, s.signer)).collect();
        let rules = self.rules_by(&people);
        let checked = rules.and_then(|(rules, _)| self.checks_before(&permit, &facts, &plan, &rules));
        let (checks, unchecked) = checked.map_or_else(|fault| (Vec::new(), Some(fault.message)), |all| (all, None));
        Ok(Approved {
            checks,
            unchecked,
            digest,
            // By the gate's own measure, or the answer here would promise what the gate refuses.
            complete: is_signed
                && changed.is_none()
                && !facts.is_rejected(&self.chart, &plan).map_err(|e| e.fault())?,
            changed: changed.unwrap_or_default(),
            signers: signers.into_iter().collect(),
        })
    }
}

//! One plan's approval: what was signed, beside what is here now, and what has changed since.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use chart::Context;
use guard::{Act, Permit, Sensitivity, Target};
use kit::{Blame, Digest, Fault, Timestamp, UtcOffset};
use serde::Serialize;

use super::checking::GroupChecks;
use super::gate::judge;
use super::list::{as_text, birth_date, display_name, headline};
use super::{Result, Treatment};
use crate::error::PlanError;
use crate::gate::facts::{self, Facts};
use crate::gate::signings::{PlanFile, Signing, Void};
use crate::gate::{Asked, Finding, approval_gap, context};
use crate::plan::Plan;
use crate::plan::columns::{Columns, LineState};
use crate::plan::diff::{Difference, Field, More};
use crate::plan::shapes::BeamShape;
use crate::signing::approval::SignerRole;
use crate::signing::context::{ContextPart, PlanContext};

/// Differing fields that are spelled out, of each rank; then as many beams and attributes that have more.
const FIELDS_MAX: usize = 200;
/// Plans of hers that are named, and signatures.
const PLANS_MAX: usize = 50;
const SIGNINGS_MAX: usize = 100;
/// Plans that came since and are looked at: whether one of them is a newer one of the course.
const NEWER_MAX: usize = 20;

/// Which plans are to be compared, by their SOP Instance UIDs.
#[derive(Clone, Debug, Default)]
pub struct AskedApproval {
    /// The one that was signed, or is to be; the newest that was, where none is said.
    pub plan: Option<String>,
    /// The one that it is compared with; what is here now of it, where none is said.
    pub with: Option<String>,
}

/// What two people sign, or have signed, with everything that tells it from what is here now.
#[derive(Clone, Debug, Serialize)]
pub struct PlanApproval {
    pub as_of: Timestamp,
    /// Where the centre's clocks are.
    #[serde(serialize_with = "as_text")]
    pub utc_offset: UtcOffset,
    pub name: String,
    pub number: String,
    pub birth_date: String,
    /// None where nobody has signed anything that this is compared with.
    pub signed: Option<PlanSide>,
    pub now: PlanSide,
    pub relation: Relation,
    /// Two people have signed what is here now, with what stands beside it.
    pub is_approved: bool,
    /// Why it isn't, as the gate says it.
    pub why_not: Vec<String>,
    /// Chart checks of what is here now, whoever has signed it.
    pub checks: Vec<GroupChecks>,
    pub signatures: Vec<SignatureSeen>,
    pub context: Vec<ContextLine>,
    /// None where the plan that is here can't be read.
    pub columns: Option<Columns>,
    pub difference: Option<DifferenceSeen>,
    /// Her plans, the newest first.
    pub plans: Vec<PlanNamed>,
    pub plans_left_out: usize,
    pub signatures_left_out: usize,
}

/// A plan's file.
#[derive(Clone, Debug, Serialize)]
pub struct PlanSide {
    pub uid: String,
    pub label: String,
    /// None where it can't be read.
    pub delivery: Option<Digest>,
    pub came: Timestamp,
    /// Why it can't be read without a doubt.
    pub unreadable: Option<String>,
    /// Of all its fraction groups, each beam once.
    pub beams: Vec<BeamShape>,
}

/// How the plan that is here now came to be compared with the one that was signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Relation {
    NothingSigned,
    /// The same delivery under the same SOP Instance UID.
    Itself,
    SameInstance,
    /// It names the signed one as what it was made from.
    Successor,
    /// Another plan of the same fractions.
    SameFractions,
    SameLabel,
    /// Whoever looks has asked for it.
    Chosen,
}

impl fmt::Display for Relation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NothingSigned => "nothing was signed that it could be compared with",
            Self::Itself => "the plan as it was signed is the newest one",
            Self::SameInstance => "a newer file under the same SOP Instance UID",
            Self::Successor => "a plan that names the signed one as what it was made from",
            Self::SameFractions => "another plan of the same fractions",
            Self::SameLabel => "a newer plan with the same RT Plan Label",
            Self::Chosen => "the plan that was chosen",
        })
    }
}

#[derive(Clone, Debug, Serialize)]
pub struct SignatureSeen {
    pub role: SignerRole,
    pub name: String,
    /// The public key that made it; none where it proves nothing.
    pub key: Option<String>,
    /// By the signer's own clock.
    pub at: Timestamp,
    pub delivery: Digest,
    /// Empty where it counts for what is here now.
    pub void: Vec<Void>,
}

/// One thing that a plan is signed with.
#[derive(Clone, Debug, Serialize)]
pub struct ContextLine {
    pub part: ContextPart,
    /// What each who has signed the plan has signed it with; one where they have signed the same.
    pub signed: Vec<ContextSigned>,
    /// None where it isn't here.
    pub now: Option<Digest>,
    pub state: LineState,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ContextSigned {
    pub roles: Vec<SignerRole>,
    pub content: Option<Digest>,
}

/// What differs, field by field, from what was signed to what is here.
#[derive(Clone, Debug, Serialize)]
pub struct DifferenceSeen {
    pub fields: Vec<Field>,
    /// Fields that move dose, and setups that are out of tolerance, spelled out or not.
    pub delivery: usize,
    pub exceeded: usize,
    /// Where those are that aren't spelled out, and how many they are in all.
    pub more: Vec<More>,
    pub left_out: usize,
}

/// One of her plans.
#[derive(Clone, Debug, Serialize)]
pub struct PlanNamed {
    pub uid: String,
    pub came: Timestamp,
    /// The delivery that came last under its UID has signatures that count: of two people, of one, or none.
    pub signatures: u8,
}

/// Codes of findings that speak of a plan's approval.
const OF_APPROVAL: [&str; 10] = [
    "not-a-plan",
    "rejected",
    "withdrawn",
    "approval-status-unclear",
    "not-approved",
    "approved-by-one",
    "same-person-twice",
    "context-differs",
    "delivery-differs",
    "out-of-tolerance",
];

/// Whether a finding speaks of a plan's approval.
pub(super) fn is_of_approval(finding: &Finding) -> bool {
    OF_APPROVAL.contains(&finding.code())
}

impl Treatment {
    /// What was signed of a plan, beside what is here now. `patient`: hospital number or FHIR id.
    pub fn approval(&self, context: &Context, patient: &str, asked: &AskedApproval) -> Result<PlanApproval> {
        let absent = |code: &'static str, text: &str| Fault::new(Blame::Absent, code, text.to_owned());
        let patient = self.chart.find_patient(patient).map_err(|e| e.fault())?;
        let target = patient.map_or(Target::Centre, Target::Patient);
        let permit =
            self.chart.admit(context, Act::ReadRecord, target, Sensitivity::Clinical).map_err(|e| e.fault())?;
        let patient = patient.ok_or_else(|| absent("patient.unknown", "no patient has this id or identifier"))?;
        let people = self.people()?;
        let facts = facts::read_one(&self.chart, &permit, patient, self.signers(&people))?;
        let files = facts.files(&self.chart).map_err(|e| e.fault())?;
        let mut signings = facts.signings(&self.chart, &permit, self.signers(&people)).map_err(|e| e.fault())?;
        let known = Known { treatment: self, permit: &permit, facts: &facts, files: &files, signings: &signings };
        let chosen = known.choose(asked)?.ok_or_else(|| absent("plan.unknown", "she has no plan with this UID"))?;
        let Chosen { signed, now, relation } = chosen;

        let mut why_not = Vec::new();
        let (mut is_approved, mut with, mut checks) = (false, None, Vec::new());
        match &now.plan {
            Ok(plan) => {
                let context = context::of_plan(&self.chart, &facts, plan, None).map_err(|e| e.fault())?;
                facts.hold_against(&self.chart, &mut signings, (plan, &context)).map_err(|e| e.fault())?;
                let (rules, _) = self.rules_by(&people)?;
                let group = Asked::group(plan.groups.first().map(|group| group.number));
                let verdict = judge(&self.chart, &facts, &rules, Ok(plan), &group, None)?;
                let of_it = verdict.findings.iter().filter(|finding| is_of_approval(finding));
                why_not.extend(of_it.map(headline));
                is_approved = why_not.is_empty();
                checks = self.checks_before(&permit, &facts, plan, &rules)?;
                with = Some(context);
            }
            Err(error) => why_not.push(format!("the plan that is here can’t be read without a doubt: {error}")),
        }
        let signed_plan = signed.as_ref().and_then(|side| side.plan.as_ref().ok());
        let deliveries: BTreeSet<Digest> =
            [signed_plan, now.plan.as_ref().ok()].into_iter().flatten().map(Plan::digest).collect();
        let of_both: Vec<&Signing> =
            signings.iter().filter(|one| deliveries.contains(&one.statement.delivery)).rev().collect();
        let columns = now.plan.as_ref().ok().map(|now| Columns::of(signed_plan, now));
        let difference = signed_plan.zip(now.plan.as_ref().ok()).map(|(signed, now)| {
            DifferenceSeen::of(Difference::spelling_out(&signed.delivery, &now.delivery, FIELDS_MAX))
        });
        let plans = known_plans(&facts, &files);
        Ok(PlanApproval {
            as_of: self.chart.now(),
            utc_offset: self.utc_offset,
            name: display_name(&facts.record),
            number: facts.identifiers.first().cloned().unwrap_or_default(),
            birth_date: birth_date(&facts.record),
            context: context_lines(signed_plan.map(Plan::digest), &signings, with.as_ref()),
            signatures: of_both.iter().take(SIGNINGS_MAX).map(|one| SignatureSeen::of(one)).collect(),
            signatures_left_out: of_both.len().saturating_sub(SIGNINGS_MAX),
            plans_left_out: plans.len().saturating_sub(PLANS_MAX),
            plans: self.named(plans.into_iter().take(PLANS_MAX))?,
            signed: signed.map(|side| self.side(side)).transpose()?,
            now: self.side(now)?,
            relation,
            is_approved,
            why_not,
            checks,
            columns,
            difference,
        })
    }

    fn side(&self, side: Side<'_>) -> Result<PlanSide> {
        let (came, _) = self.chart.time_and_patient_of(side.file.entry).map_err(|e| e.fault())?;
        let plan = side.plan.as_ref().ok();
        let mut beams: BTreeMap<u32, BeamShape> = BTreeMap::new();
        for group in plan.iter().flat_map(|plan| &plan.groups) {
            let shapes = plan.map(|plan| plan.shapes(group)).unwrap_or_default();
            beams.extend(shapes.into_iter().map(|shape| (shape.number, shape)));
        }
        Ok(PlanSide {
            uid: side.file.uid.clone(),
            label: plan.and_then(|plan| plan.label.clone()).unwrap_or_default(),
            delivery: plan.map(Plan::digest),
            came,
            unreadable: side.plan.as_ref().err().map(ToString::to_string),
            beams: beams.into_values().collect(),
        })
    }

    fn named<'f>(&self, plans: impl Iterator<Item = (&'f PlanFile, u8)>) -> Result<Vec<PlanNamed>> {
        let named = plans.map(|(file, signatures)| {
            let (came, _) = self.chart.time_and_patient_of(file.entry)?;
            Ok(PlanNamed { uid: file.uid.clone(), came, signatures })
        });
        named.collect::<std::result::Result<_, chart::ChartError>>().map_err(|e| e.fault())
    }
}

/// The newest file under each SOP Instance UID, the newest of them first, with how many people's signatures count.
fn known_plans<'f>(facts: &Facts, files: &'f [PlanFile]) -> Vec<(&'f PlanFile, u8)> {
    let mut seen = BTreeSet::new();
    let newest = files.iter().rev().filter(|file| seen.insert(&file.uid));
    newest.map(|file| (file, file.delivery.map_or(0, |delivery| counting(facts, delivery)))).collect()
}

/// How many people's signatures over a delivery count: two, one, or none.
fn counting(facts: &Facts, delivery: Digest) -> u8 {
    match approval_gap(&facts.approvals, facts.patient, delivery) {
        None => 2,
        Some(Finding::NotApproved) => 0,
        Some(_) => 1,
    }
}

/// A plan's file, read.
struct Side<'f> {
    file: &'f PlanFile,
    plan: std::result::Result<Plan, PlanError>,
}

struct Chosen<'f> {
    signed: Option<Side<'f>>,
    now: Side<'f>,
    relation: Relation,
}

struct Known<'a, 's> {
    treatment: &'a Treatment,
    permit: &'a Permit,
    facts: &'a Facts,
    files: &'a [PlanFile],
    signings: &'s [Signing],
}

impl<'a> Known<'a, '_> {
    /// None where she has no such plan, or none at all.
    fn choose(&self, asked: &AskedApproval) -> Result<Option<Chosen<'a>>> {
        let newest = |uid: &str| self.files.iter().rev().find(|file| file.uid == uid);
        let signed = self.signed(asked.plan.as_deref()).map(|file| self.read(file)).transpose()?;
        // A plan that nobody has signed stands to the right: beside the other one that was asked for, or what it is a newer one of.
        if signed.is_none()
            && let Some(uid) = &asked.plan
        {
            let Some(file) = newest(uid) else { return Ok(None) };
            let now = self.read(file)?;
            let before = match (&asked.with, &now.plan) {
                (Some(with), _) if newest(with).is_none() => return Ok(None),
                (Some(with), _) => self
                    .signed(Some(with))
                    .map(|file| self.read(file))
                    .transpose()?
                    .map(|signed| (signed, Relation::Chosen)),
                (None, Ok(plan)) => self.before(plan, file)?,
                (None, Err(_)) => None,
            };
            let (signed, relation) = before.unzip();
            return Ok(Some(Chosen { signed, now, relation: relation.unwrap_or(Relation::NothingSigned) }));
        }
        let Some(signed) = signed else {
            let Some(file) = asked.with.as_deref().map_or(self.files.last(), newest) else { return Ok(None) };
            return Ok(Some(Chosen { signed: None, now: self.read(file)?, relation: Relation::NothingSigned }));
        };
        if let Some(uid) = &asked.with {
            let Some(file) = newest(uid) else { return Ok(None) };
            return Ok(Some(Chosen { now: self.read(file)?, signed: Some(signed), relation: Relation::Chosen }));
        }
        let own = newest(&signed.file.uid).unwrap_or(signed.file);
        if own.delivery != signed.file.delivery {
            return Ok(Some(Chosen { now: self.read(own)?, signed: Some(signed), relation: Relation::SameInstance }));
        }
        match self.newer(&signed)? {
            Some((now, relation)) => Ok(Some(Chosen { signed: Some(signed), now, relation })),
            None => Ok(Some(Chosen { now: self.read(own)?, signed: Some(signed), relation: Relation::Itself })),
        }
    }

    /// The file that was signed, under this UID where one is said: rather by two people than by one, rather by one than by those whose
    /// word doesn't count any more, and the newest of these.
    fn signed(&self, uid: Option<&str>) -> Option<&'a PlanFile> {
        let is_asked = |file: &&PlanFile| uid.is_none_or(|uid| file.uid == uid);
        let was_signed = |file: &&PlanFile| {
            let of_it = |one: &Signing| Some(one.statement.delivery) == file.delivery && one.key.is_some();
            self.signings.iter().any(of_it)
        };
        let files = self.files.iter().filter(is_asked).filter(was_signed);
        files.max_by_key(|file| (self.counting(file), file.is_signed, file.entry))
    }

    fn counting(&self, file: &PlanFile) -> u8 {
        file.delivery.map_or(0, |delivery| counting(self.facts, delivery))
    }

    fn read(&self, file: &'a PlanFile) -> Result<Side<'a>> {
        let released = self.treatment.chart.release(self.permit, &[file.entry]).map_err(|e| e.fault())?;
        let bytes = released.into_iter().next().map(|one| one.bytes).unwrap_or_default();
        Ok(Side { file, plan: Plan::parse(&bytes) })
    }

    /// A plan of the same course that came after the signed one, and that two people haven't signed for itself.
    fn newer(&self, signed: &Side<'a>) -> Result<Option<(Side<'a>, Relation)>> {
        let Ok(plan) = &signed.plan else { return Ok(None) };
        let is_candidate = |file: &&&PlanFile| {
            file.entry > signed.file.entry
                && file.uid != signed.file.uid
                && file.delivery != signed.file.delivery
                && !file.is_for_qa
                && self.counting(file) < 2
        };
        let newest: Vec<&'a PlanFile> = known_plans(self.facts, self.files).into_iter().map(|(file, _)| file).collect();
        for file in newest.iter().filter(is_candidate).take(NEWER_MAX) {
            let side = self.read(file)?;
            if let Some(relation) = side.plan.as_ref().ok().and_then(|newer| relation(plan, newer)) {
                return Ok(Some((side, relation)));
            }
        }
        Ok(None)
    }

    /// The signed plan that an unsigned one is a newer one of.
    fn before(&self, plan: &Plan, file: &PlanFile) -> Result<Option<(Side<'a>, Relation)>> {
        let uids: BTreeSet<&str> =
            self.files.iter().map(|one| one.uid.as_str()).filter(|uid| *uid != file.uid).collect();
        let mut signed: Vec<&PlanFile> = uids.into_iter().filter_map(|uid| self.signed(Some(uid))).collect();
        signed.sort_by_key(|one| std::cmp::Reverse((self.counting(one), one.entry)));
        for one in signed.into_iter().filter(|one| one.entry < file.entry).take(NEWER_MAX) {
            let side = self.read(one)?;
            if let Some(relation) = side.plan.as_ref().ok().and_then(|before| relation(before, plan)) {
                return Ok(Some((side, relation)));
            }
        }
        Ok(None)
    }
}

/// Why one plan is taken for a newer one of another; none where nothing says so. That both were made on one structure set doesn't: a
/// boost is.
fn relation(before: &Plan, newer: &Plan) -> Option<Relation> {
    let label =
        |plan: &Plan| plan.label.as_deref().map(|label| label.trim().to_lowercase()).filter(|of| !of.is_empty());
    if newer.predecessors.contains(&before.instance.sop_instance) {
        Some(Relation::Successor)
    } else if newer.fraction() == before.fraction() {
        Some(Relation::SameFractions)
    } else {
        (label(before).is_some() && label(before) == label(newer)).then_some(Relation::SameLabel)
    }
}

impl SignatureSeen {
    fn of(signing: &Signing) -> Self {
        let said = &signing.statement;
        Self {
            role: said.role,
            name: said.signer.clone(),
            key: signing.key.map(|key| key.to_string()),
            at: said.at,
            delivery: said.delivery,
            void: signing.void.clone(),
        }
    }
}

impl DifferenceSeen {
    fn of(difference: Difference) -> Self {
        let Difference { fields, delivery, exceeded, mut more } = difference;
        let left_out = more.iter().map(|one| one.fields).sum();
        more.truncate(FIELDS_MAX);
        Self { fields, delivery, exceeded, more, left_out }
    }
}

/// `signed`: the delivery; `now`: none where the plan that is here can't be read.
fn context_lines(signed: Option<Digest>, signings: &[Signing], now: Option<&PlanContext>) -> Vec<ContextLine> {
    // Each one's newest word; rather what counts than what doesn't any more.
    let of_it = |one: &&Signing| Some(one.statement.delivery) == signed && one.key.is_some();
    let all: Vec<&Signing> = signings.iter().filter(of_it).collect();
    let has_counting = all.iter().any(|one| !one.void.iter().any(Void::is_for_good));
    let mut newest: BTreeMap<SignerRole, Option<PlanContext>> = BTreeMap::new();
    for one in all.into_iter().filter(|one| !has_counting || !one.void.iter().any(Void::is_for_good)) {
        newest.insert(one.statement.role, one.statement.context);
    }
    let line = |part: ContextPart| {
        let mut signed: Vec<ContextSigned> = Vec::new();
        for (role, context) in &newest {
            let content = context.and_then(|context| context.part(part));
            match signed.iter_mut().find(|one| one.content == content) {
                Some(same) => same.roles.push(*role),
                None => signed.push(ContextSigned { roles: vec![*role], content }),
            }
        }
        let now = now.and_then(|now| now.part(part));
        let state = match (signed.as_slice(), now) {
            (_, None) => LineState::NotHere,
            ([], Some(_)) => LineState::ToBeSigned,
            (all, Some(_)) if all.iter().all(|one| one.content == now) => LineState::AsSigned,
            (_, Some(_)) => LineState::Another,
        };
        ContextLine { part, signed, now, state }
    };
    ContextPart::ALL.into_iter().map(line).collect()
}

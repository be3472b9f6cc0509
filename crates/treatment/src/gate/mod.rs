//! The fraction gate: the check before each fraction. It releases what it could establish and nothing else; what is
//! unknown is a veto. It advises; it drives no beam.

mod asked;
mod begun;
pub(crate) mod context;
pub(crate) mod facts;
mod here;
mod interval;
mod places;
pub(crate) mod signings;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

pub use asked::{Asked, Instruction, InstructionGap};
pub use begun::{Begun, Stretch};
use kit::{Digest, Explain, PatientId, Timestamp};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::error::PlanError;
use crate::given::{Given, Unknown};
use crate::interruption::calendar::Day;
use crate::interruption::rules::{Rules, Unavailable};
use crate::plan::delivery::{Class, Delivery};
use crate::plan::diff::{Difference, Field};
use crate::plan::{ApprovalStatus, Beam, Plan};
use crate::signing::approval::{SignerRole, VerifiedApproval};
use crate::signing::context::{ContextPart, PlanContext};

/// Differences that a verdict spells out: what fits on a console. The diff has them all.
pub const FIELDS_MAX: usize = 20;

/// Who is to be treated, as the centre's own records have her.
#[derive(Clone, Copy)]
pub struct Expected<'a> {
    pub patient: PatientId,
    /// Every number that she is known by: the plan must carry one of them as its Patient ID.
    pub identifiers: &'a [String],
    /// `YYYYMMDD`; compared where both sides know it.
    pub birth_date: Option<&'a str>,
    /// `M`, `F` or `O`; compared where both sides know it.
    pub sex: Option<&'a str>,
    /// The plan's Patient ID is another living patient's number, too.
    pub number_is_shared: bool,
    /// The plan's SOP Instance UID stands under another patient here.
    pub uid_is_anothers: bool,
    /// Her record says that she has died, or that it isn't in use any more.
    pub has_ended: bool,
    /// The same delivery came with the planning system's rejection, after it was signed.
    pub is_rejected: bool,
    /// Somebody has taken the delivery's approval back, and no two people have signed it since.
    pub withdrawn: Option<&'a Withdrawn>,
}

/// That somebody has taken a plan's approval back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Withdrawn {
    pub role: SignerRole,
    /// By the signer's own clock.
    pub at: Timestamp,
    pub reason: String,
}

/// A plan's file that was handed in with approvals.
#[derive(Clone, Copy)]
pub struct Signed<'a> {
    pub delivery: &'a Delivery,
    pub approvals: &'a [VerifiedApproval],
}

impl Signed<'_> {
    fn by(&self, role: SignerRole) -> bool {
        self.approvals.iter().any(|approval| approval.statement().role == role)
    }
}

/// Everything that the gate looks at.
#[derive(Clone, Copy)]
pub struct GateInput<'a> {
    pub expected: Expected<'a>,
    pub plan: Result<&'a Plan, &'a PlanError>,
    /// With what the plan would be signed now; none where it can't be read.
    pub context: Option<&'a PlanContext>,
    /// Approvals of any plan of hers.
    pub approvals: &'a [VerifiedApproval],
    /// What was handed in with approvals, to say what differs.
    pub approved: &'a [Signed<'a>],
    /// Which fraction, as far as it is said; its group is needed only where the plan has several.
    pub asked: &'a Asked,
    /// For that fraction group.
    pub given: &'a Given,
    /// The fraction that was begun, where one is unfinished.
    pub begun: Option<&'a Begun>,
    /// When the last fraction was given, where the next one is too soon.
    pub too_soon: Option<&'a str>,
    /// What the rules in force say of machines, and the day at the centre.
    pub rules: &'a Rules,
    pub today: Option<Day>,
    /// What two people answer for, for the fraction that is due.
    pub overridden: &'a [Overridden],
}

/// A finding that two people answer for, for one fraction.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Overridden {
    /// The finding's code.
    pub finding: String,
    /// [`Finding::digest`].
    pub what: Digest,
    /// Who, in which role, and why.
    pub by: Vec<String>,
}

/// Findings that two people may answer for. That it is hers, that it was signed as it is, and how many were given, nobody can; that a
/// machine counts on from another number, or stands in for the planned one, they may.
pub const OVERRIDABLE: [&str; 4] = ["too-soon", "out-of-tolerance", "another-fraction", "another-machine"];

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    Release,
    Veto,
}

/// The gate's answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verdict {
    pub outcome: Outcome,
    /// Of the plan in question; none where it couldn't be read.
    pub digest: Option<Digest>,
    /// Why it is vetoed; empty where and only where it is released.
    pub findings: Vec<Finding>,
    /// What a person should know, and what holds nothing up.
    pub notes: Vec<Note>,
    /// The one that the fractions are counted for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fraction_group: Option<u32>,
    pub fractions_planned: Option<u32>,
    pub fractions_given: Option<u32>,
}

/// A reason to hold. The codes are stable.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "code")]
pub enum Finding {
    NotAPlan {
        error: String,
        message: String,
    },
    PatientUnknown,
    PatientAmbiguous,
    NoPatientId,
    AnotherPatient,
    FiledUnderAnother,
    RecordEnded,
    BirthDateDiffers,
    SexDiffers,
    Rejected,
    Withdrawn(Withdrawn),
    /// Approval Status is none of the words that there are.
    ApprovalStatusUnclear,
    NotApproved,
    ApprovedByOne {
        missing: SignerRole,
    },
    SamePersonTwice,
    /// Two people have signed the delivery, but not with what stands beside it now.
    ContextDiffers {
        parts: Vec<ContextPart>,
    },
    DeliveryDiffers {
        approved: Digest,
        fields: Vec<Field>,
        more: usize,
    },
    OutOfTolerance {
        fields: Vec<Field>,
        more: usize,
    },
    FractionGroupUnclear,
    AllFractionsGiven {
        given: u32,
        planned: u32,
    },
    /// The console is about to deliver another one than is due.
    AnotherFraction {
        asked: Vec<u32>,
        due: u32,
    },
    /// It is about to be delivered by a machine that isn't the plan's.
    AnotherMachine {
        asked: String,
        planned: Vec<String>,
        /// Whether the rules in force call it matched to each of these.
        matched: bool,
    },
    MachineUnavailable {
        machine: String,
        why: Unavailable,
    },
    /// The delivery instruction isn't one fraction of this plan.
    InstructionDiffers {
        gaps: Vec<InstructionGap>,
    },
    /// The last one was begun and not finished: what is due is its rest, which this plan isn't.
    FractionUnfinished {
        fraction: u32,
        planned: u32,
    },
    FractionsUnknown {
        why: Vec<Unknown>,
    },
    /// Another fraction of it was given a short while ago.
    TooSoon {
        /// `YYYYMMDD HHMMSS`, or `YYYYMMDD`, by the machine's clock.
        last: String,
    },
}

/// Something worth knowing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "code")]
pub enum Note {
    /// The planning system itself has not marked it as approved.
    NotApprovedInPlanningSystem,
    /// Fewer records than fractions.
    RecordsMissing { distinct: u32, highest: u32 },
    /// A beam of the newest fraction on record has not delivered all that it should.
    FractionUnfinished { fraction: u32 },
    /// The instruction gives the rest of a begun fraction, and nothing else: that is what this verdict is of.
    Continues { fraction: u32 },
    /// Signed, but the signed plan is not at hand, so table-top positions and skin distances were not compared.
    TolerancesNotCompared,
    /// A table-top position or a distance to the skin of the signed plan isn't in this one.
    SetupNotSaid,
    /// Two people have said how many were given; the records alone don't tell.
    CountSettled,
    /// She was given fractions of another delivery as well, which aren't in this count.
    OthersGiven,
    /// Two people answer for a finding, for this fraction.
    Overridden { finding: String, what: String, by: Vec<String> },
    /// It was released before, and no treatment record of hers has come since: whether that fraction was given, nothing here says.
    ReleasedBefore { at: Timestamp },
}

impl Finding {
    /// Of all that it says: SHA-256 of its JSON.
    pub fn digest(&self) -> Digest {
        Digest(Sha256::digest(serde_json::to_vec(self).unwrap_or_default()).into())
    }

    /// The same word that JSON has under `code`.
    pub fn code(&self) -> &'static str {
        match self {
            Self::NotAPlan { .. } => "not-a-plan",
            Self::PatientUnknown => "patient-unknown",
            Self::PatientAmbiguous => "patient-ambiguous",
            Self::NoPatientId => "no-patient-id",
            Self::AnotherPatient => "another-patient",
            Self::FiledUnderAnother => "filed-under-another",
            Self::RecordEnded => "record-ended",
            Self::BirthDateDiffers => "birth-date-differs",
            Self::SexDiffers => "sex-differs",
            Self::Rejected => "rejected",
            Self::Withdrawn(_) => "withdrawn",
            Self::ApprovalStatusUnclear => "approval-status-unclear",
            Self::NotApproved => "not-approved",
            Self::ApprovedByOne { .. } => "approved-by-one",
            Self::SamePersonTwice => "same-person-twice",
            Self::ContextDiffers { .. } => "context-differs",
            Self::DeliveryDiffers { .. } => "delivery-differs",
            Self::OutOfTolerance { .. } => "out-of-tolerance",
            Self::FractionGroupUnclear => "fraction-group-unclear",
            Self::AllFractionsGiven { .. } => "all-fractions-given",
            Self::AnotherFraction { .. } => "another-fraction",
            Self::AnotherMachine { .. } => "another-machine",
            Self::MachineUnavailable { .. } => "machine-unavailable",
            Self::InstructionDiffers { .. } => "instruction-differs",
            Self::FractionUnfinished { .. } => "fraction-unfinished",
            Self::FractionsUnknown { .. } => "fractions-unknown",
            Self::TooSoon { .. } => "too-soon",
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |f: &mut fmt::Formatter<'_>, fields: &[Field], more: usize| {
            fields.iter().try_for_each(|field| write!(f, "\n  {field}"))?;
            if more > 0 { write!(f, "\n  and {more} more") } else { Ok(()) }
        };
        match self {
            Self::NotAPlan { message, .. } => write!(f, "the plan can't be read without a doubt: {message}"),
            Self::PatientUnknown => {
                f.write_str("the patient has no identifier here, so the plan can't be shown to be hers")
            }
            Self::PatientAmbiguous => f.write_str(
                "more than one patient is known by this number: merge them or correct the number, then ask again",
            ),
            Self::NoPatientId => f.write_str("the plan names no patient"),
            Self::AnotherPatient => f.write_str("the plan is another patient's: its Patient ID is not one of hers"),
            Self::FiledUnderAnother => f.write_str(
                "a plan with this SOP Instance UID is filed under another patient here, and treatment records of it would be \
                 refused: export it again, under a UID of its own",
            ),
            Self::RecordEnded => f.write_str(
                "the patient's record says that she has died, that it isn't in use, or that another one has replaced it",
            ),
            Self::BirthDateDiffers => f.write_str("the plan has another date of birth than the patient's record"),
            Self::SexDiffers => f.write_str("the plan has another sex than the patient's record"),
            Self::Rejected => f.write_str("the planning system has marked the plan, or another file of it since, as rejected"),
            Self::Withdrawn(Withdrawn { role, at, reason }) => write!(f, "the {role} took its approval back at {at}: {reason}"),
            Self::ApprovalStatusUnclear => f.write_str(
                "the planning system's Approval Status (300E,0002) is none of APPROVED, UNAPPROVED and REJECTED: whether it \
                 was rejected can't be told",
            ),
            Self::NotApproved => f.write_str("nobody has approved this delivery for this patient"),
            Self::ApprovedByOne { missing } => write!(f, "only one person has approved it: the {missing} is missing"),
            Self::SamePersonTwice => {
                f.write_str("one person has signed as both oncologist and physicist: two people must")
            }
            Self::ContextDiffers { parts } => {
                let parts = parts.iter().map(ContextPart::to_string).collect::<Vec<_>>().join(", ");
                write!(f, "not what two people have signed the plan with: {parts}; look at it, and sign again")
            }
            Self::DeliveryDiffers { fields, more, .. } => {
                f.write_str("it would deliver something else than what was approved (approved → this plan):")?;
                list(f, fields, *more)
            }
            Self::OutOfTolerance { fields, more } => {
                f.write_str("the setup is out of tolerance (approved → this plan):")?;
                list(f, fields, *more)
            }
            Self::FractionGroupUnclear => {
                f.write_str("the plan has several fraction groups, and which of them is due isn't said")
            }
            Self::AllFractionsGiven { given, planned } => {
                write!(f, "all fractions have been given: {given} of {planned}")
            }
            Self::AnotherFraction { asked, due } => {
                let asked = asked.iter().map(u32::to_string).collect::<Vec<_>>().join(" and ");
                write!(f, "fraction {asked} is about to be delivered, and {due} is due")
            }
            Self::AnotherMachine { asked, planned, matched } => {
                let matched = if *matched { "is called matched" } else { "is not called matched" };
                let planned = planned.join(", ");
                write!(f, "it is planned for {planned}, and about to be delivered by {asked}, which {matched} in the rules in force")
            }
            Self::MachineUnavailable { machine, why } => write!(f, "{machine} is not available: {why}"),
            Self::InstructionDiffers { gaps } => {
                f.write_str("the delivery instruction isn't one fraction of this plan")?;
                gaps.iter().try_for_each(|gap| write!(f, "; {gap}"))
            }
            Self::FractionUnfinished { fraction, planned } => write!(
                f,
                "fraction {fraction} of {planned}, the last, was begun and not finished: its rest is due, and this plan gives \
                 a whole one"
            ),
            Self::FractionsUnknown { why } => {
                f.write_str("how many fractions were given isn't known")?;
                why.iter().try_for_each(|reason| write!(f, "; {reason}"))
            }
            Self::TooSoon { last } => write!(
                f,
                "a fraction of it was given at {last} by the machine's clock: the next one is due on another day, and 6 hours later at \
                 least; two people may answer for it (holdfast gate override)"
            ),
        }
    }
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotApprovedInPlanningSystem => f.write_str("the planning system has not marked the plan as approved"),
            Self::RecordsMissing { distinct, highest } => {
                write!(f, "fraction numbers or a summary say that {highest} were given, but only {distinct} are on record")
            }
            Self::FractionUnfinished { fraction } => {
                write!(
                    f,
                    "fraction {fraction} was begun and not finished: ask whether its rest is due before a whole one"
                )
            }
            Self::Continues { fraction } => {
                write!(f, "this is of the rest of fraction {fraction}, as the instruction gives it; never of the whole plan")
            }
            Self::SetupNotSaid => f.write_str(
                "the plan doesn't say a table-top position or a distance to the skin that the approved one says",
            ),
            Self::CountSettled => f.write_str("how many were given is what two people have settled, not what records show"),
            Self::OthersGiven => f.write_str(
                "she was given fractions of another plan as well: this count is of this plan alone, and her total dose isn't in it",
            ),
            Self::Overridden { what, by, .. } => {
                write!(f, "answered for, for this fraction, by {}: {what}", by.join(" and "))
            }
            Self::ReleasedBefore { at } => write!(
                f,
                "it was released at {at}, and no treatment record of hers has come since: ask whether that fraction was given"
            ),
            Self::TolerancesNotCompared => f.write_str(
                "table-top positions and skin distances were not compared: the approved plan is not at hand",
            ),
        }
    }
}

/// Whether this plan may be delivered to this patient now.
pub fn decide(input: &GateInput<'_>) -> Verdict {
    let mut verdict = Verdict {
        outcome: Outcome::Veto,
        digest: None,
        findings: Vec::new(),
        notes: Vec::new(),
        fraction_group: None,
        fractions_planned: None,
        fractions_given: input.given.fractions(),
    };
    match input.plan {
        Err(error) => {
            verdict.findings.push(Finding::NotAPlan { error: error.code().to_owned(), message: error.to_string() })
        }
        Ok(plan) => {
            verdict.digest = Some(plan.digest());
            check_patient(&input.expected, plan, &mut verdict);
            check_approvals(input, plan, &mut verdict);
            check_fractions(input, plan, &mut verdict);
            check_machines(input, plan, &mut verdict);
            set_aside(input.overridden, &mut verdict);
        }
    }
    if verdict.findings.is_empty() {
        verdict.outcome = Outcome::Release;
    }
    verdict
}

/// What two people answer for is a note.
fn set_aside(overridden: &[Overridden], verdict: &mut Verdict) {
    let answered_for = |finding: &Finding| {
        let code = finding.code();
        let is_it = |one: &&Overridden| one.finding == code && one.what == finding.digest();
        overridden.iter().find(is_it).filter(|_| OVERRIDABLE.contains(&code))
    };
    let (set_aside, stand): (Vec<_>, Vec<_>) =
        std::mem::take(&mut verdict.findings).into_iter().partition(|finding| answered_for(finding).is_some());
    verdict.findings = stand;
    for finding in set_aside {
        if let Some(Overridden { finding: code, by, .. }) = answered_for(&finding) {
            let (finding, what, by) = (code.clone(), finding.to_string(), by.clone());
            verdict.notes.push(Note::Overridden { finding, what, by });
        }
    }
}

fn check_patient(expected: &Expected<'_>, plan: &Plan, verdict: &mut Verdict) {
    let instance = &plan.instance;
    let differs = |ours: Option<&str>, theirs: &Option<String>| {
        ours.zip(theirs.as_deref()).is_some_and(|(ours, theirs)| !ours.is_empty() && ours != theirs)
    };
    match &instance.patient_id {
        _ if expected.identifiers.iter().all(|known| known.trim().is_empty()) => {
            verdict.findings.push(Finding::PatientUnknown);
        }
        None => verdict.findings.push(Finding::NoPatientId),
        Some(id) if !expected.identifiers.iter().any(|known| known.trim() == id) => {
            verdict.findings.push(Finding::AnotherPatient);
        }
        Some(_) if expected.number_is_shared => verdict.findings.push(Finding::PatientAmbiguous),
        Some(_) => {}
    }
    if expected.uid_is_anothers {
        verdict.findings.push(Finding::FiledUnderAnother);
    }
    if expected.has_ended {
        verdict.findings.push(Finding::RecordEnded);
    }
    // As much as the record says of it.
    let of_birth =
        |theirs: &str| expected.birth_date.is_some_and(|ours| !theirs.is_empty() && !theirs.starts_with(ours));
    if instance.birth_date.as_deref().is_some_and(of_birth) {
        verdict.findings.push(Finding::BirthDateDiffers);
    }
    if differs(expected.sex, &instance.sex) {
        verdict.findings.push(Finding::SexDiffers);
    }
    verdict.findings.extend(expected.withdrawn.cloned().map(Finding::Withdrawn));
    match plan.approval_status {
        _ if expected.is_rejected => verdict.findings.push(Finding::Rejected),
        Some(ApprovalStatus::Rejected) => verdict.findings.push(Finding::Rejected),
        Some(ApprovalStatus::Approved) => {}
        Some(ApprovalStatus::Unapproved) | None => verdict.notes.push(Note::NotApprovedInPlanningSystem),
        // `rejected`, or `REJECTED` beside another word: whoever wrote it has said something.
        Some(ApprovalStatus::Unclear) => verdict.findings.push(Finding::ApprovalStatusUnclear),
    }
}

/// How far a delivery is approved for a patient.
pub(crate) fn approval_gap(approvals: &[VerifiedApproval], patient: PatientId, delivery: Digest) -> Option<Finding> {
    let of = |role| {
        approvals.iter().filter(move |approval| {
            let statement = approval.statement();
            statement.approves()
                && statement.patient == patient
                && statement.delivery == delivery
                && statement.role == role
        })
    };
    let two_people = of(SignerRole::Oncologist).any(|o| of(SignerRole::Physicist).any(|p| p.by_another_person_than(o)));
    match (of(SignerRole::Oncologist).next(), of(SignerRole::Physicist).next()) {
        _ if two_people => None,
        (None, None) => Some(Finding::NotApproved),
        (None, Some(_)) => Some(Finding::ApprovedByOne { missing: SignerRole::Oncologist }),
        (Some(_), None) => Some(Finding::ApprovedByOne { missing: SignerRole::Physicist }),
        (Some(_), Some(_)) => Some(Finding::SamePersonTwice),
    }
}

/// What has changed since two people have signed a delivery; none where they have signed it with this.
pub(crate) fn context_gap(
    approvals: &[VerifiedApproval],
    (patient, delivery): (PatientId, Digest),
    context: &PlanContext,
) -> Option<Vec<ContextPart>> {
    let of_it = approvals.iter().filter(|approval| {
        let said = approval.statement();
        said.approves() && said.patient == patient && said.delivery == delivery
    });
    // Each one's newest word: who has signed something else since doesn't stand by it any more.
    let newest: BTreeMap<(SignerRole, &str), &VerifiedApproval> =
        of_it.map(|one| ((one.statement().role, one.statement().signer.as_str()), one)).collect();
    let (with_it, with_another): (Vec<_>, Vec<_>) =
        newest.into_values().cloned().partition(|approval| approval.statement().context.as_ref() == Some(context));
    approval_gap(&with_it, patient, delivery)?;
    // By the newest word of each role that is missing; of either, where one person has signed as both.
    let by = |one: &VerifiedApproval, role| one.statement().role == role;
    let roles = [SignerRole::Oncologist, SignerRole::Physicist];
    let both = roles.iter().all(|role| with_it.iter().any(|one| by(one, *role)));
    let missing = roles.into_iter().filter(|role| both || with_it.iter().all(|one| !by(one, *role)));
    let newest = missing.filter_map(|role| with_another.iter().rev().find(|one| by(one, role)));
    let changed = newest.flat_map(|one| context.changed_since(one.statement().context.as_ref()));
    Some(changed.collect::<BTreeSet<_>>().into_iter().collect())
}

fn check_approvals(input: &GateInput<'_>, plan: &Plan, verdict: &mut Verdict) {
    let patient = input.expected.patient;
    let gap = approval_gap(input.approvals, patient, plan.digest());
    if input.expected.withdrawn.is_some() && gap == Some(Finding::NotApproved) {
        // That it was signed, and isn't any more, says it better.
        return;
    }
    let signed =
        input.approved.iter().filter(|one| approval_gap(input.approvals, patient, one.delivery.digest()).is_none());
    let compared: Vec<(&Signed<'_>, Difference)> =
        signed.map(|signed| (signed, Difference::spelling_out(signed.delivery, &plan.delivery, FIELDS_MAX))).collect();
    let nearest = |role: Option<SignerRole>| {
        let by = compared.iter().filter(move |(signed, _)| role.is_none_or(|role| signed.by(role)));
        by.min_by_key(|(_, difference)| (difference.delivery, difference.exceeded))
    };
    if gap.is_none() {
        let of = (patient, plan.digest());
        let changed = input.context.map_or(Some(Vec::new()), |context| context_gap(input.approvals, of, context));
        verdict.findings.extend(changed.map(|parts| Finding::ContextDiffers { parts }));
    }
    match (gap, nearest(None)) {
        (None, Some((_, difference))) if difference.same_delivery() => {
            // Two people have looked at a setup, be it in two files: it has to be what either of them saw.
            for role in [SignerRole::Oncologist, SignerRole::Physicist] {
                check_setup(nearest(Some(role)).map(|(_, difference)| difference), verdict);
            }
        }
        (None, _) => verdict.notes.push(Note::TolerancesNotCompared),
        (Some(gap), nearest) => {
            let differs = nearest.map(|(signed, difference)| {
                let count = difference.delivery;
                let moved = difference.fields.iter().filter(|f| f.class == Class::Delivery).cloned();
                let fields: Vec<Field> = moved.collect();
                let more = count.saturating_sub(fields.len());
                Finding::DeliveryDiffers { approved: signed.delivery.digest(), fields, more }
            });
            // Where another delivery is approved, "differs" says it better than "not approved".
            if differs.is_none() || gap != Finding::NotApproved {
                verdict.findings.push(gap);
            }
            verdict.findings.extend(differs);
        }
    }
}

/// The setup beside the nearest one that somebody in a role has signed.
fn check_setup(signed: Option<&Difference>, verdict: &mut Verdict) {
    let Some(difference) = signed.filter(|difference| difference.same_delivery()) else {
        note(verdict, Note::TolerancesNotCompared);
        return;
    };
    if difference.fields.iter().any(|f| f.class == Class::Toleranced && f.a.is_some() && f.b.is_none()) {
        note(verdict, Note::SetupNotSaid);
    }
    if difference.exceeded > 0 && !verdict.findings.iter().any(|f| matches!(f, Finding::OutOfTolerance { .. })) {
        let fields: Vec<Field> = difference.fields.iter().filter(|field| field.exceeded).cloned().collect();
        let more = difference.exceeded.saturating_sub(fields.len());
        verdict.findings.push(Finding::OutOfTolerance { fields, more });
    }
}

/// Says it once.
fn note(verdict: &mut Verdict, note: Note) {
    if !verdict.notes.contains(&note) {
        verdict.notes.push(note);
    }
}

fn check_fractions(input: &GateInput<'_>, plan: &Plan, verdict: &mut Verdict) {
    let group = plan.group(input.asked.due_group());
    let gaps = input.asked.gaps(plan, group, (input.begun, input.today));
    // Of a begun fraction the rest is asked for. What isn't its rest stands among the gaps.
    let continued = input.asked.goes_on(input.begun).map(|begun| begun.fraction);
    let continues = continued.filter(|_| gaps.is_empty()).map(|fraction| Note::Continues { fraction });
    verdict
        .findings
        .extend(Some(gaps).filter(|gaps| !gaps.is_empty()).map(|gaps| Finding::InstructionDiffers { gaps }));
    let Some(group) = group else {
        verdict.findings.push(Finding::FractionGroupUnclear);
        return;
    };
    verdict.fraction_group = Some(group.number);
    verdict.fractions_planned = Some(group.fractions_planned);
    match input.given {
        Given::Unknown { why } => verdict.findings.push(Finding::FractionsUnknown { why: why.clone() }),
        Given::Known { distinct, highest, unfinished } => {
            let (given, planned) = (*distinct.max(highest), group.fractions_planned);
            match *unfinished {
                _ if continued.is_some() && given <= planned => verdict.notes.extend(continues),
                // The last one, whatever its number is where numbers began again.
                Some(fraction) if given == planned => {
                    verdict.findings.push(Finding::FractionUnfinished { fraction, planned });
                }
                _ if given >= planned => verdict.findings.push(Finding::AllFractionsGiven { given, planned }),
                Some(fraction) => verdict.notes.push(Note::FractionUnfinished { fraction }),
                None => {}
            }
            let due = continued.unwrap_or(given.saturating_add(1));
            let asked: Vec<u32> = input.asked.fractions().into_iter().collect();
            if (given < planned || (continued.is_some() && given <= planned)) && asked.iter().any(|asked| *asked != due)
            {
                verdict.findings.push(Finding::AnotherFraction { asked, due });
            }
            // One that was begun counts, too: its rest may be due at once, and the plan by itself gives a whole one.
            if let Some(last) = input.too_soon.filter(|_| continued.is_none()) {
                verdict.findings.push(Finding::TooSoon { last: last.to_owned() });
            }
            if highest > distinct {
                verdict.notes.push(Note::RecordsMissing { distinct: *distinct, highest: *highest });
            }
        }
    }
}

fn check_machines(input: &GateInput<'_>, plan: &Plan, verdict: &mut Verdict) {
    let group = plan.group(input.asked.due_group());
    let is_due = |beam: &&Beam| beam.treats && group.is_none_or(|group| group.beams.contains(&beam.number));
    let planned: BTreeSet<&str> = plan.beams.iter().filter(is_due).map(|beam| beam.machine.as_str()).collect();
    let asked = input.asked.machine.as_deref();
    if let Some(asked) = asked.filter(|asked| planned.iter().any(|planned| planned != asked)) {
        let is_matched = |planned: &&str| {
            let rule = input.rules.machine(planned);
            *planned == asked || rule.is_some_and(|rule| rule.matched.iter().any(|one| one == asked))
        };
        let matched = planned.iter().all(is_matched);
        let planned = planned.iter().map(|&planned| planned.to_owned()).collect();
        verdict.findings.push(Finding::AnotherMachine { asked: asked.to_owned(), planned, matched });
    }
    // Where it is delivered, as far as that is said; else where it was planned.
    let machines = asked.map_or(planned, |asked| BTreeSet::from([asked]));
    verdict.findings.extend(machines.into_iter().filter_map(|machine| {
        let why = input.rules.unavailable(machine, input.today)?;
        Some(Finding::MachineUnavailable { machine: machine.to_owned(), why })
    }));
}

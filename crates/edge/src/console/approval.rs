//! One plan's approval: what was signed, beside what is here now. `GET /approval?patient=NUMBER`, `&plan=UID`, `&with=UID`.

use std::sync::Arc;

use askama::Template;
use axum::Router;
use axum::extract::Query;
use axum::extract::rejection::QueryRejection;
use axum::http::StatusCode;
use axum::response::Response;
use axum::routing::get;
use kit::{Blame, Digest, UtcOffset};
use serde::Deserialize;
use treatment::{
    AskedApproval, BeamShape, ContextLine, DifferenceSeen, Field, Line, LineState, PlanApproval, PlanNamed, PlanSide,
    Section, SignatureSeen, Treatment,
};

use super::beams;
use super::course::{CheckRow, DIGITS, capitalised, named};
use super::reader::Reader;
use super::{failed, message, moment, page};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    patient: String,
    plan: Option<String>,
    with: Option<String>,
}

#[derive(Template)]
#[template(path = "approval.html")]
struct ApprovalPage {
    as_of: String,
    date: String,
    who: String,
    role: String,
    name: String,
    number: String,
    birth_date: String,
    is_approved: bool,
    /// Whoever looks signs by her passkey, and this plan can be read and waits for it.
    may_sign: bool,
    why_not: Vec<String>,
    relation: String,
    signed: Option<SideShown>,
    now: SideShown,
    checks: Vec<GroupRows>,
    signatures: Vec<SignatureRow>,
    signatures_left_out: usize,
    context: Vec<ContextRow>,
    changes: Option<Changes>,
    drawings: Drawings,
    sections: Vec<SectionShown>,
    lines_left_out: usize,
    lines_left_out_unsettled: usize,
    plans: Vec<PlanRow>,
    plans_left_out: usize,
}

struct SideShown {
    label: String,
    uid: String,
    came: String,
    delivery: String,
    unreadable: Option<String>,
}

/// Chart checks of one fraction group; its number where the plan has several.
struct GroupRows {
    group: Option<u32>,
    rows: Vec<CheckRow>,
}

struct SignatureRow {
    name: String,
    role: String,
    key: String,
    at: String,
    class: &'static str,
    word: &'static str,
    why: String,
}

struct ContextRow {
    what: String,
    signed: String,
    now: String,
    class: &'static str,
    word: &'static str,
}

/// What differs, field by field.
struct Changes {
    delivery: usize,
    exceeded: usize,
    fields: Vec<FieldRow>,
    more: Vec<String>,
    left_out: usize,
}

struct FieldRow {
    place: String,
    attribute: String,
    signed: String,
    now: String,
    class: &'static str,
    word: String,
}

#[derive(Default)]
struct Drawings {
    gantry: Vec<Drawing>,
    beams: Vec<Drawing>,
}

/// A drawing, with what is said under it.
pub(super) struct Drawing {
    pub(super) title: String,
    pub(super) svg: String,
    pub(super) said: String,
}

struct SectionShown {
    title: String,
    lines: Vec<LineRow>,
}

struct LineRow {
    what: String,
    attribute: String,
    signed: String,
    now: String,
    class: &'static str,
    word: &'static str,
}

struct PlanRow {
    uid: String,
    came: String,
    signed: &'static str,
}

pub(super) fn router(treatment: Arc<Treatment>) -> Router {
    Router::new().route("/approval", get(approval)).with_state(treatment)
}

async fn approval(reader: Reader, asked: Result<Query<Asked>, QueryRejection>) -> Response {
    let Ok(Query(Asked { patient, plan, with })) = asked else {
        let text = "Whose plan? The address is /approval?patient=NUMBER, or with &plan=UID and &with=UID behind it.";
        return message(StatusCode::BAD_REQUEST, text);
    };
    let asked = AskedApproval { plan, with };
    let shown = reader.read(move |treatment, context| {
        let approval = treatment.approval(context, &patient, &asked)?;
        Ok((approval, treatment.signs_as(context.caller.subject())?.is_some()))
    });
    match shown.await {
        Ok((approval, signs)) => page(StatusCode::OK, &ApprovalPage::of(approval, signs, &reader)),
        Err(fault) if fault.code == "plan.unknown" => {
            message(StatusCode::NOT_FOUND, "She has no plan, or none with this UID.")
        }
        Err(fault) if fault.blame == Blame::Absent => message(StatusCode::NOT_FOUND, "No patient has this number."),
        Err(fault) => failed("This approval", &fault),
    }
}

/// By colour, icon and word.
fn told(state: LineState) -> (&'static str, &'static str) {
    match state {
        LineState::AsSigned => ("release", "As signed"),
        LineState::WithinTolerance => ("done", "Within tolerance"),
        LineState::Another => ("veto", "Another one"),
        LineState::NotHere => ("hold", "Not here"),
        LineState::ToBeSigned => ("hold", "To be signed"),
    }
}

/// As much as two people compare by eye.
fn short(digest: Digest) -> String {
    digest.to_string().chars().take(DIGITS).collect()
}

/// What isn't there.
const ABSENT: &str = "—";

fn or_absent(said: Option<String>) -> String {
    said.unwrap_or_else(|| ABSENT.to_owned())
}

impl ApprovalPage {
    fn of(approval: PlanApproval, signs: bool, reader: &Reader) -> Self {
        let offset = approval.utc_offset;
        let at = offset.local(approval.as_of).to_string();
        let drawings = Drawings::of(approval.signed.as_ref(), &approval.now);
        let columns = approval.columns;
        let (left_out, left_out_unsettled) =
            columns.as_ref().map_or((0, 0), |columns| (columns.left_out, columns.left_out_unsettled));
        Self {
            as_of: at.get(11..16).unwrap_or_default().to_owned(),
            date: format!("{} UTC{offset}", at.get(..10).unwrap_or_default()),
            who: reader.who(),
            role: reader.role(),
            name: approval.name,
            number: approval.number,
            birth_date: approval.birth_date,
            is_approved: approval.is_approved,
            may_sign: signs && !approval.is_approved && approval.now.unreadable.is_none(),
            why_not: approval.why_not,
            checks: approval
                .checks
                .into_iter()
                .map(|of| GroupRows {
                    group: (of.fraction_group != 1).then_some(of.fraction_group),
                    rows: of.checks.into_iter().map(CheckRow::of).collect(),
                })
                .collect(),
            relation: capitalised(&approval.relation.to_string()),
            signed: approval.signed.map(|side| SideShown::of(side, offset)),
            now: SideShown::of(approval.now, offset),
            signatures: approval.signatures.into_iter().map(|one| SignatureRow::of(one, offset)).collect(),
            signatures_left_out: approval.signatures_left_out,
            context: approval.context.iter().map(ContextRow::of).collect(),
            changes: approval.difference.map(Changes::of),
            drawings,
            sections: columns.into_iter().flat_map(|columns| columns.sections).map(SectionShown::of).collect(),
            lines_left_out: left_out,
            lines_left_out_unsettled: left_out_unsettled,
            plans: approval.plans.into_iter().map(|plan| PlanRow::of(plan, offset)).collect(),
            plans_left_out: approval.plans_left_out,
        }
    }
}

impl SideShown {
    fn of(side: PlanSide, offset: UtcOffset) -> Self {
        Self {
            label: side.label,
            uid: side.uid,
            came: moment(side.came, offset),
            delivery: or_absent(side.delivery.map(|delivery| delivery.to_string())),
            unreadable: side.unreadable,
        }
    }
}

impl SignatureRow {
    fn of(one: SignatureSeen, offset: UtcOffset) -> Self {
        let why = one.void.iter().map(|void| match void.at() {
            Some(at) => format!("{void}, {}", moment(at, offset)),
            None => void.to_string(),
        });
        let (class, word) = if one.void.is_empty() { ("release", "Counts") } else { ("veto", "Void") };
        Self {
            name: one.name,
            role: one.role.to_string(),
            key: or_absent(one.key.map(|key| key.chars().take(DIGITS).collect())),
            at: moment(one.at, offset),
            class,
            word,
            why: why.collect::<Vec<_>>().join("; "),
        }
    }
}

impl ContextRow {
    fn of(line: &ContextLine) -> Self {
        let (class, word) = told(line.state);
        let content = |content: Option<Digest>| content.map_or_else(|| "not here".to_owned(), short);
        let signed = match line.signed.as_slice() {
            [] => ABSENT.to_owned(),
            [one] => content(one.content),
            several => {
                let each = several.iter().map(|one| {
                    let roles = one.roles.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
                    format!("{} ({roles})", content(one.content))
                });
                each.collect::<Vec<_>>().join(", ")
            }
        };
        Self { what: capitalised(&line.part.to_string()), signed, now: content(line.now), class, word }
    }
}

impl Changes {
    fn of(seen: DifferenceSeen) -> Self {
        Self {
            delivery: seen.delivery,
            exceeded: seen.exceeded,
            fields: seen.fields.iter().map(FieldRow::of).collect(),
            more: seen.more.iter().map(ToString::to_string).collect(),
            left_out: seen.left_out,
        }
    }
}

impl FieldRow {
    fn of(field: &Field) -> Self {
        let (class, word) = match (field.moves_dose(), field.exceeded, field.tolerance_mm) {
            (true, ..) => ("veto", "Moves dose".to_owned()),
            (false, true, Some(mm)) => ("veto", format!("Beyond {mm} mm")),
            (false, true, None) => ("veto", "Out of tolerance".to_owned()),
            (false, false, Some(mm)) => ("done", format!("Within {mm} mm")),
            (false, false, None) => ("done", "Moves no dose".to_owned()),
        };
        let with_unit = |value: &Option<String>| {
            or_absent(value.as_ref().map(|value| format!("{value} {}", field.unit).trim_end().to_owned()))
        };
        let attribute = match field.index {
            Some(index) => format!("{} [{index}]", field.attribute),
            None => field.attribute.to_string(),
        };
        Self {
            place: capitalised(&field.place()),
            attribute,
            signed: with_unit(&field.a),
            now: with_unit(&field.b),
            class,
            word,
        }
    }
}

impl Drawing {
    /// A beam's-eye view; one that is compared with another reaches as far.
    pub(super) fn of(shape: &BeamShape, half_field_cm: f64, which: &str) -> Self {
        let mut said: Vec<String> = (shape.said.iter())
            // A unit stays with its number.
            .map(|one| match one.value.rsplit_once(' ') {
                Some((value, unit)) => format!("{} {value}\u{a0}{unit}", one.what),
                None => format!("{} {}", one.what, one.value),
            })
            .collect();
        said.push(beams::caption(shape));
        Self {
            title: format!("{}{which}", named(shape.number, shape.name.as_deref())),
            svg: beams::beams_eye_view(shape, half_field_cm),
            said: said.into_iter().filter(|one| !one.is_empty()).collect::<Vec<_>>().join("; "),
        }
    }

    pub(super) fn gantry(shapes: &[BeamShape], which: &str) -> Option<Self> {
        Some(Self {
            title: format!("Gantry{which}"),
            svg: beams::gantry(shapes)?,
            said: "seen from the foot of the couch (IEC 61217); arcs from the bar to the arrow".to_owned(),
        })
    }
}

impl Drawings {
    /// What looks the same is drawn once.
    fn of(signed: Option<&PlanSide>, now: &PlanSide) -> Self {
        let mut drawings = Self::default();
        let before = signed.map_or(&[][..], |side| side.beams.as_slice());
        let turns =
            |beams: &[BeamShape]| -> Vec<_> { beams.iter().map(|one| (one.number, one.gantry.clone())).collect() };
        if before.is_empty() || turns(before) == turns(&now.beams) {
            drawings.gantry.extend(Drawing::gantry(&now.beams, ""));
        } else {
            drawings.gantry.extend(Drawing::gantry(before, ", as signed"));
            drawings.gantry.extend(Drawing::gantry(&now.beams, ", here now"));
        }
        let mut numbers: Vec<u32> = before.iter().chain(&now.beams).map(|one| one.number).collect();
        numbers.sort_unstable();
        numbers.dedup();
        for number in numbers {
            let find = |beams: &'_ [BeamShape]| beams.iter().position(|one| one.number == number);
            let was = find(before).and_then(|at| before.get(at));
            let is = find(&now.beams).and_then(|at| now.beams.get(at));
            let reach = [was, is].into_iter().flatten().map(beams::half_field_cm).fold(0.0, f64::max);
            let names = |shape: &BeamShape| BeamShape { name: None, ..shape.clone() };
            match (was, is) {
                (Some(was), Some(is)) if names(was) == names(is) => {
                    drawings.beams.push(Drawing::of(is, reach, ""));
                }
                (None, Some(is)) if before.is_empty() => drawings.beams.push(Drawing::of(is, reach, "")),
                _ => {
                    drawings.beams.extend(was.map(|was| Drawing::of(was, reach, ", as signed")));
                    drawings.beams.extend(is.map(|is| Drawing::of(is, reach, ", here now")));
                }
            }
        }
        drawings
    }
}

impl SectionShown {
    fn of(section: Section) -> Self {
        let title = match (section.fraction_group, section.beam) {
            (_, Some(beam)) => format!("Beam {}", named(beam, section.name.as_deref())),
            (Some(group), None) => format!("Fraction group {group}"),
            (None, None) => "Plan".to_owned(),
        };
        Self { title, lines: section.lines.into_iter().map(LineRow::of).collect() }
    }
}

impl LineRow {
    fn of(line: Line) -> Self {
        let (class, word) = told(line.state);
        Self {
            what: capitalised(&line.what),
            attribute: line.attribute.number(),
            signed: or_absent(line.signed),
            now: or_absent(line.now),
            class,
            word,
        }
    }
}

impl PlanRow {
    fn of(plan: PlanNamed, offset: UtcOffset) -> Self {
        let signed = match plan.signatures {
            0 => "nobody’s signature counts",
            1 => "one person’s signature counts",
            _ => "signed by two people",
        };
        Self { uid: plan.uid, came: moment(plan.came, offset), signed }
    }
}

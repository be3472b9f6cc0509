//! One patient's courses: who signed them, what was given, how much dose that is. `GET /course?patient=NUMBER`.

use std::sync::Arc;

use askama::Template;
use axum::Router;
use axum::extract::Query;
use axum::extract::rejection::QueryRejection;
use axum::http::StatusCode;
use axum::response::Response;
use axum::routing::get;
use kit::{Blame, UtcOffset};
use serde::Deserialize;
use treatment::{
    BeamSession, Check, ContextSeen, CourseSoFar, Day, DoseSaid, DoseSeen, Given, How, Origin, Outcome, PatientCourses,
    SessionSeen, SignerRole, Stage, State as CheckState, TotalSeen, Treatment,
};

use super::approval::Drawing;
use super::beams;
use super::draw::{self, DoseCurve};
use super::reader::Reader;
use super::{failed, message, moment, page};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    patient: String,
}

/// As much of a digest as two people compare by eye.
pub(super) const DIGITS: usize = 16;

#[derive(Template)]
#[template(path = "course.html")]
struct CoursePage {
    as_of: String,
    date: String,
    who: String,
    role: String,
    name: String,
    number: String,
    birth_date: String,
    courses: Vec<CourseShown>,
    totals: Vec<DoseRow>,
    sessions: Vec<SessionRow>,
    unreadable_records: usize,
}

pub(super) struct CourseShown {
    pub(super) plan: String,
    pub(super) machines: String,
    /// Where the plan has several fraction groups.
    pub(super) group: Option<u32>,
    class: &'static str,
    pub(super) word: &'static str,
    pub(super) given: String,
    pub(super) findings: Vec<String>,
    pub(super) notes: Vec<String>,
    pub(super) signed: Vec<String>,
    context: Vec<ContextRow>,
    pub(super) delivery: String,
    plan_uid: String,
    drawings: Vec<Drawing>,
    pub(super) doses: Vec<DoseRow>,
    curve: Option<String>,
    beams: Vec<BeamRow>,
    checks: Vec<CheckRow>,
}

pub(super) struct CheckRow {
    pub(super) stage: &'static str,
    pub(super) what: &'static str,
    pub(super) class: &'static str,
    pub(super) word: &'static str,
    pub(super) evidence: String,
}

impl CheckRow {
    pub(super) fn of(check: Check) -> Self {
        let (class, word) = match check.state {
            CheckState::Pass => ("release", "Pass"),
            CheckState::Fail => ("veto", "Fail"),
            CheckState::Stale => ("hold", "Stale"),
            CheckState::Unknown => ("hold", "Unknown"),
        };
        let stage = match check.stage {
            Stage::Approval => "at approval",
            Stage::Weekly => "weekly",
            Stage::End => "at the end",
        };
        let from = check.evidence_from.map(|day| format!(" (as of {day})")).unwrap_or_default();
        Self { stage, what: check.what, class, word, evidence: check.evidence + &from }
    }
}

struct ContextRow {
    what: String,
    class: &'static str,
    word: &'static str,
    content: String,
}

impl ContextRow {
    fn of(seen: &ContextSeen, is_signed: bool) -> Self {
        let (class, word) = match (is_signed, seen.is_another, seen.content) {
            (_, true, _) => ("veto", "Another one since it was signed"),
            (_, false, None) => ("hold", "Not here"),
            (true, false, Some(_)) => ("release", "As it was signed"),
            (false, false, Some(_)) => ("hold", "To be signed"),
        };
        let content =
            seen.content.map_or_else(String::new, |content| content.to_string().chars().take(DIGITS).collect());
        Self { what: capitalised(&seen.part.to_string()), class, word, content }
    }
}

pub(super) fn capitalised(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

pub(super) struct DoseRow {
    pub(super) what: String,
    pub(super) prescribed: String,
    pub(super) per_fraction: String,
    pub(super) so_far: String,
}

struct BeamRow {
    name: String,
    per_fraction: String,
    delivered: String,
    planned: String,
    bar: String,
}

pub(super) struct SessionRow {
    pub(super) date: String,
    pub(super) time: String,
    pub(super) fraction: String,
    pub(super) beam: String,
    pub(super) specified: String,
    pub(super) delivered: String,
    pub(super) ended: String,
    /// It didn't end by itself, or somebody let something pass.
    pub(super) is_odd: bool,
    pub(super) overrides: String,
    pub(super) machine: String,
    pub(super) origin: &'static str,
    /// Doses that the record says itself, beside the plan's.
    doses: Vec<SaidRow>,
}

struct SaidRow {
    text: String,
    differs: bool,
}

impl SaidRow {
    fn of(dose: &DoseSaid) -> Self {
        let DoseSaid { reference, how, said_gy, planned_gy, agrees } = dose;
        let how = match how {
            How::Calculated => "calculated",
            How::Measured => "measured",
        };
        let planned = planned_gy.map_or_else(|| "doesn’t say".to_owned(), gray);
        Self {
            text: format!("{reference}: {} {how}, the plan {planned}", gray(*said_gy)),
            differs: *agrees == Some(false),
        }
    }
}

pub(super) fn router(treatment: Arc<Treatment>) -> Router {
    Router::new().route("/course", get(course)).with_state(treatment)
}

async fn course(reader: Reader, asked: Result<Query<Asked>, QueryRejection>) -> Response {
    let Ok(Query(Asked { patient })) = asked else {
        return message(StatusCode::BAD_REQUEST, "Whose course? The address is /course?patient=NUMBER.");
    };
    match reader.read(move |treatment, context| treatment.courses(context, &patient)).await {
        Ok(courses) => page(StatusCode::OK, &CoursePage::of(courses, &reader)),
        Err(fault) if fault.blame == Blame::Absent => message(StatusCode::NOT_FOUND, "No patient has this number."),
        Err(fault) => failed("This course", &fault),
    }
}

impl CoursePage {
    fn of(courses: PatientCourses, reader: &Reader) -> Self {
        let offset = courses.utc_offset;
        let at = offset.local(courses.as_of).to_string();
        Self {
            as_of: at.get(11..16).unwrap_or_default().to_owned(),
            date: format!("{} UTC{offset}", at.get(..10).unwrap_or_default()),
            who: reader.who(),
            role: reader.role(),
            name: courses.name,
            number: courses.number,
            birth_date: courses.birth_date,
            totals: courses.totals.iter().map(DoseRow::of_all).collect(),
            courses: courses.courses.into_iter().map(|course| CourseShown::of(course, offset)).collect(),
            sessions: courses
                .sessions
                .iter()
                .flat_map(|session| {
                    let of_beams = session.beams.iter().map(move |beam| SessionRow::of(session, beam));
                    of_beams.chain(SessionRow::of_session(session))
                })
                .collect(),
            unreadable_records: courses.unreadable_records,
        }
    }
}

/// Two decimals, as a dose is spoken of.
fn gray(dose: f64) -> String {
    format!("{dose:.2} Gy")
}

impl CourseShown {
    pub(super) fn of(course: CourseSoFar, offset: UtcOffset) -> Self {
        let planned = course.fractions_planned;
        let (class, word) = match (course.outcome, &course.given) {
            (_, given) if course.unfinished.is_none() && given.fractions().is_some_and(|given| given >= planned) => {
                ("done", "Complete")
            }
            (Outcome::Release, _) => ("release", "Ready"),
            (Outcome::Veto, _) => ("hold", "Hold"),
        };
        let given = given_of(&course.given, planned);
        let roles = [SignerRole::Oncologist, SignerRole::Physicist];
        let is_signed = roles.iter().all(|role| course.signed.iter().any(|one| one.role == *role));
        let target = course.dose.iter().find(|dose| dose.is_target && !dose.by_day.is_empty());
        Self {
            curve: target.and_then(curve_of),
            doses: course.dose.iter().map(DoseRow::of).collect(),
            beams: course
                .beams
                .iter()
                .map(|beam| {
                    let whole = beam.meterset * f64::from(planned);
                    BeamRow {
                        name: named(beam.number, beam.name.as_deref()),
                        per_fraction: format!("{:.2} {}", beam.meterset, beam.unit),
                        delivered: format!("{:.2}", beam.delivered),
                        planned: format!("{whole:.2}"),
                        bar: draw::bar(if whole > 0.0 { beam.delivered / whole } else { 0.0 }),
                    }
                })
                .collect(),
            plan: course.plan,
            machines: course.machines.join(", "),
            group: (course.fraction_group != 1).then_some(course.fraction_group),
            class,
            word,
            given,
            findings: course.findings.iter().map(ToString::to_string).collect(),
            notes: course.notes.iter().map(ToString::to_string).collect(),
            signed: course
                .signed
                .iter()
                .map(|one| format!("{}, {}, {}", one.name, one.role, moment(one.at, offset)))
                .collect(),
            context: course.context.iter().map(|seen| ContextRow::of(seen, is_signed)).collect(),
            delivery: course.delivery.to_string(),
            plan_uid: course.plan_uid,
            drawings: (Drawing::gantry(&course.shapes, "").into_iter())
                .chain(course.shapes.iter().map(|shape| Drawing::of(shape, beams::half_field_cm(shape), "")))
                .collect(),
            checks: course.checks.into_iter().map(CheckRow::of).collect(),
        }
    }
}

/// `7 of 25`.
pub(super) fn given_of(given: &Given, planned: u32) -> String {
    match given {
        Given::Known { distinct, highest, .. } if distinct < highest => format!("{distinct} to {highest} of {planned}"),
        Given::Known { distinct, .. } => format!("{distinct} of {planned}"),
        Given::Unknown { .. } => format!("not known, of {planned}"),
    }
}

fn curve_of(dose: &DoseSeen) -> Option<String> {
    let by_day: Vec<(Day, f64)> =
        dose.by_day.iter().filter_map(|(on, dose)| Some((Day::of_dicom(on)?, *dose))).collect();
    draw::dose_curve(&DoseCurve {
        by_day: &by_day,
        prescribed: dose.prescribed_gy,
        at_least: dose.at_least_gy?,
        at_most: dose.at_most_gy,
    })
}

pub(super) fn named(number: u32, name: Option<&str>) -> String {
    match name {
        Some(name) => format!("{number} {name}"),
        None => number.to_string(),
    }
}

impl DoseRow {
    /// Of several courses: how many they are, in place of what a fraction gives.
    pub(super) fn of_all(total: &TotalSeen) -> Self {
        let TotalSeen { uid, description, is_target, prescribed_gy, maximum_gy, at_least_gy, at_most_gy, courses } =
            total.clone();
        let alone = DoseSeen {
            reference: 0,
            description: Some(description.unwrap_or_else(|| format!("reference {uid}"))),
            uid: None,
            is_target,
            prescribed_gy,
            maximum_gy,
            per_fraction_gy: None,
            at_least_gy,
            at_most_gy,
            by_day: Vec::new(),
        };
        Self { per_fraction: courses.to_string(), ..Self::of(&alone) }
    }

    fn of(dose: &DoseSeen) -> Self {
        let kind = if dose.is_target { "target" } else { "organ at risk" };
        let said = |dose: Option<f64>, or: &str| dose.map_or_else(|| or.to_owned(), gray);
        Self {
            what: format!(
                "{} ({kind})",
                dose.description.clone().unwrap_or_else(|| format!("reference {}", dose.reference))
            ),
            prescribed: match (dose.prescribed_gy, dose.maximum_gy) {
                (Some(prescribed), _) => gray(prescribed),
                (None, Some(maximum)) => format!("at most {}", gray(maximum)),
                (None, None) => "not said".to_owned(),
            },
            per_fraction: said(dose.per_fraction_gy, "not said"),
            so_far: match (dose.at_least_gy, dose.at_most_gy) {
                (None, _) => "the plan doesn’t say".to_owned(),
                (Some(least), None) => format!("at least {}, at most not known", gray(least)),
                (Some(least), Some(most)) if most > least => format!("{} to {}", gray(least), gray(most)),
                (Some(least), Some(_)) => gray(least),
            },
        }
    }
}

impl SessionRow {
    pub(super) fn of(session: &SessionSeen, beam: &BeamSession) -> Self {
        let meterset = |said: Option<f64>| said.map_or_else(|| "not said".to_owned(), |said| format!("{said:.2}"));
        let part = |text: &str, range| text.get(range).map(str::to_owned);
        let ended = match (beam.termination.as_deref(), beam.verification.as_deref()) {
            (Some(ended), Some(verified)) => format!("{ended}, {verified}"),
            (Some(one), None) | (None, Some(one)) => one.to_owned(),
            (None, None) => "not said".to_owned(),
        };
        let ended_well = matches!(beam.termination.as_deref(), None | Some("NORMAL"));
        let was_verified = matches!(beam.verification.as_deref(), None | Some("VERIFIED"));
        let overrides = beam.overrides.iter().map(|one| {
            let what = one.parameter.as_deref().unwrap_or("something");
            format!("{what}: {}", one.reason.as_deref().unwrap_or("no reason said"))
        });
        Self {
            date: session.date.as_deref().and_then(Day::of_dicom).map(|day| day.to_string()).unwrap_or_default(),
            time: (session.time.as_deref())
                .and_then(|time| Some(format!("{}:{}", part(time, 0..2)?, part(time, 2..4)?)))
                .unwrap_or_default(),
            fraction: beam.fraction.map_or_else(|| "?".to_owned(), |number| number.to_string()),
            beam: match beam.number {
                Some(number) => named(number, beam.name.as_deref()),
                None => beam.name.clone().unwrap_or_else(|| "?".to_owned()),
            },
            specified: meterset(beam.specified),
            delivered: meterset(beam.delivered),
            is_odd: !ended_well || !was_verified || !beam.overrides.is_empty(),
            ended,
            overrides: overrides.collect::<Vec<_>>().join("; "),
            machine: session.machine.clone().unwrap_or_default(),
            origin: match session.origin {
                Some(Origin::Device) => "machine",
                Some(Origin::User) => "typed in",
                Some(Origin::Simulation) => "simulation",
                None => "not said",
            },
            doses: beam.doses.iter().map(SaidRow::of).collect(),
        }
    }

    /// What the record says of the session as a whole, where it says any dose.
    fn of_session(session: &SessionSeen) -> Option<Self> {
        let all = BeamSession { doses: session.doses.clone(), ..BeamSession::default() };
        let row = Self { beam: "all of them".to_owned(), ..Self::of(session, &all) };
        (!session.doses.is_empty()).then_some(row)
    }
}

//! After an outage: paper is typed in, `GET` and `POST /enter`, and stands beside what machines say, `GET /reconciliation`.

use std::collections::BTreeMap;
use std::sync::Arc;

use askama::Template;
use axum::Router;
use axum::extract::rejection::{FormRejection, QueryRejection};
use axum::extract::{Form, Query};
use axum::http::StatusCode;
use axum::response::Response;
use axum::routing::get;
use chart::Context;
use kit::{Blame, Fault};
use serde::Deserialize;
use treatment::{
    CourseSoFar, Day, Ended, Entered, Given, PairSeen, PairState, PatientCourses, Reconciliation, Treatment, TypedBeam,
    TypedFraction,
};

use super::course::CourseShown;
use super::reader::Reader;
use super::{Total, failed, message, moment, page};

/// Fields of a form: a dozen, and two for each of some twenty beams.
const FIELDS_MAX: usize = 128;

/// Words of a form, and for people.
const ENDED: &[(&str, &str)] = &[
    ("normal", "as planned"),
    ("operator", "stopped by somebody"),
    ("machine", "stopped by the machine"),
    ("unknown", "not written down"),
];

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Whose {
    patient: String,
}

/// What came in a form, by field.
type Fields = BTreeMap<String, String>;

#[derive(Template)]
#[template(path = "enter.html")]
struct EnterPage {
    who: String,
    role: String,
    name: String,
    number: String,
    birth_date: String,
    said: Option<Said>,
    courses: Vec<CourseForm>,
}

struct Said {
    class: &'static str,
    text: String,
}

struct CourseForm {
    plan: String,
    uid: String,
    group: u32,
    /// Where the plan has several.
    group_shown: Option<u32>,
    given: String,
    planned: u32,
    machine: String,
    fraction: String,
    date: String,
    time: String,
    machine_typed: String,
    given_by: String,
    pack: String,
    beams: Vec<BeamForm>,
}

struct BeamForm {
    number: u32,
    name: String,
    planned: String,
    delivered: String,
    ended: String,
}

#[derive(Template)]
#[template(path = "reconciliation.html")]
struct ReconciliationPage {
    centre: String,
    as_of: String,
    who: String,
    role: String,
    totals: Vec<Total>,
    unread: usize,
    rows: Vec<PairRow>,
}

struct PairRow {
    name: String,
    number: String,
    plan: String,
    fraction: String,
    date: String,
    beam: String,
    typed: String,
    machine: String,
    class: &'static str,
    word: &'static str,
    what: &'static str,
}

pub(super) fn router(treatment: Arc<Treatment>) -> Router {
    Router::new()
        .route("/enter", get(form).post(enter))
        .route("/reconciliation", get(reconciliation))
        .with_state(treatment)
}

async fn form(reader: Reader, asked: Result<Query<Whose>, QueryRejection>) -> Response {
    let Ok(Query(Whose { patient })) = asked else {
        return message(StatusCode::BAD_REQUEST, "Whose paper? The address is /enter?patient=NUMBER.");
    };
    match reader.read(move |treatment, context| treatment.courses(context, &patient)).await {
        Ok(courses) => page(StatusCode::OK, &EnterPage::of(&courses, &reader, None, None)),
        Err(fault) if fault.blame == Blame::Absent => message(StatusCode::NOT_FOUND, "No patient has this number."),
        Err(fault) => failed("This form", &fault),
    }
}

async fn enter(reader: Reader, posted: Result<Form<Vec<(String, String)>>, FormRejection>) -> Response {
    let Some(fields) = posted.ok().and_then(|Form(pairs)| fields_of(pairs)) else {
        return message(
            StatusCode::BAD_REQUEST,
            "The form could not be read. Nothing was kept; the paper still has it.",
        );
    };
    let Some(patient) = fields.get("patient").cloned() else {
        return message(StatusCode::BAD_REQUEST, "The form doesn’t say whose it is. Nothing was kept.");
    };
    let (again, asked) = (reader.context(), fields.clone());
    let work = move |treatment: &Treatment, context: &Context| {
        let kept = typed_of(&asked).and_then(|typed| treatment.enter(context, &patient, &typed));
        // The form again: empty for the next one, or as it was typed.
        Ok((kept, treatment.courses(&again, &patient)?))
    };
    match reader.read(work).await {
        Ok((Ok(kept), courses)) => {
            let said = said_of(&kept, &fields);
            page(StatusCode::OK, &EnterPage::of(&courses, &reader, Some(said), None))
        }
        Ok((Err(fault), courses)) => {
            let status = match fault.blame {
                Blame::Peer | Blame::Conflict | Blame::Absent => StatusCode::UNPROCESSABLE_ENTITY,
                Blame::Forbidden => StatusCode::FORBIDDEN,
                _ => StatusCode::INTERNAL_SERVER_ERROR,
            };
            let said = Said { class: "veto", text: format!("Nothing was kept: {}", fault.message) };
            page(status, &EnterPage::of(&courses, &reader, Some(said), Some(&fields)))
        }
        Err(fault) if fault.blame == Blame::Absent => message(StatusCode::NOT_FOUND, "No patient has this number."),
        Err(fault) => failed("This form", &fault),
    }
}

/// Each field once.
fn fields_of(pairs: Vec<(String, String)>) -> Option<Fields> {
    let count = pairs.len();
    let fields: Fields = pairs.into_iter().collect();
    (count <= FIELDS_MAX && fields.len() == count).then_some(fields)
}

/// What the form says. A beam whose meterset is empty wasn't given.
fn typed_of(fields: &Fields) -> Result<TypedFraction, Fault> {
    let wrong = |what: &str| Fault::new(Blame::Peer, "treatment.typed", format!("{what} is missing, or is none"));
    let text = |name: &str| fields.get(name).map(|text| text.trim().to_owned()).filter(|text| !text.is_empty());
    let needed = |name: &str| text(name).ok_or_else(|| wrong(name));
    let number = |name: &str| needed(name)?.parse::<u32>().map_err(|_| wrong(name));
    let mut beams = Vec::new();
    for (name, meterset) in fields.iter().filter(|(_, meterset)| !meterset.trim().is_empty()) {
        let Some(beam) = name.strip_prefix("beam-") else { continue };
        let ended = match fields.get(&format!("ended-{beam}")).map(String::as_str) {
            Some("normal") => Ended::Normal,
            Some("operator") => Ended::Operator,
            Some("machine") => Ended::Machine,
            Some("unknown") => Ended::Unknown,
            _ => return Err(wrong(&format!("how beam {beam} ended"))),
        };
        let number = beam.parse().map_err(|_| wrong("a beam's number"))?;
        beams.push(TypedBeam { number, meterset: meterset.trim().to_owned(), ended });
    }
    Ok(TypedFraction {
        plan_uid: needed("plan")?,
        fraction_group: number("group")?,
        fraction: number("fraction")?,
        date: needed("date")?
            .parse::<Day>()
            .map_err(|why| Fault::new(Blame::Peer, "treatment.typed", why.to_string()))?,
        time: needed("time")?,
        machine: needed("machine")?,
        given_by: needed("given_by")?,
        pack: text("pack"),
        beams,
    })
}

fn said_of(kept: &Entered, fields: &Fields) -> Said {
    let fraction = fields.get("fraction").map(String::as_str).unwrap_or_default();
    let given = match &kept.given {
        Given::Known { distinct, highest, .. } if distinct < highest => {
            format!("fractions given {distinct} to {highest}")
        }
        Given::Known { distinct, .. } => format!("fractions given {distinct}"),
        Given::Unknown { why } => {
            let why: Vec<String> = why.iter().map(ToString::to_string).collect();
            format!("how many were given is not known now: {}", why.join("; "))
        }
    };
    let is_odd = kept.pairs.iter().any(|pair| pair.state.is_conflict()) || matches!(kept.given, Given::Unknown { .. });
    let class = if is_odd { "hold" } else { "release" };
    Said { class, text: format!("Fraction {fraction} is kept, entry {}; {given}.", kept.entry) }
}

impl EnterPage {
    fn of(courses: &PatientCourses, reader: &Reader, said: Option<Said>, typed: Option<&Fields>) -> Self {
        let forms = courses.courses.iter().map(|course| {
            let is_it = |fields: &&Fields| {
                fields.get("plan") == Some(&course.plan_uid)
                    && fields.get("group") == Some(&course.fraction_group.to_string())
            };
            CourseForm::of(course, courses, typed.filter(is_it))
        });
        Self {
            who: reader.who(),
            role: reader.role(),
            name: courses.name.clone(),
            number: courses.number.clone(),
            birth_date: courses.birth_date.clone(),
            said,
            courses: forms.collect(),
        }
    }
}

impl CourseForm {
    fn of(course: &CourseSoFar, courses: &PatientCourses, typed: Option<&Fields>) -> Self {
        let shown = CourseShown::of(course.clone(), courses.utc_offset);
        let today = courses.utc_offset.local(courses.as_of).to_string();
        let field = |name: &str, or: String| typed.map_or(or, |typed| typed.get(name).cloned().unwrap_or_default());
        let next = course.given.fractions().map(|given| given.saturating_add(1));
        let next = next.filter(|next| *next <= course.fractions_planned).map(|next| next.to_string());
        let machine = course.machines.join(", ");
        Self {
            plan: shown.plan,
            uid: course.plan_uid.clone(),
            group: course.fraction_group,
            group_shown: shown.group,
            given: shown.given,
            planned: course.fractions_planned,
            fraction: field("fraction", next.unwrap_or_default()),
            date: field("date", today.get(..10).unwrap_or_default().to_owned()),
            time: field("time", String::new()),
            machine_typed: field("machine", course.machines.first().cloned().unwrap_or_default()),
            machine,
            given_by: field("given_by", String::new()),
            pack: field("pack", String::new()),
            beams: (course.beams.iter())
                .map(|beam| BeamForm {
                    number: beam.number,
                    name: beam
                        .name
                        .as_deref()
                        .map_or(beam.number.to_string(), |name| format!("{} {name}", beam.number)),
                    planned: format!("{:.2}", beam.meterset),
                    delivered: field(&format!("beam-{}", beam.number), String::new()),
                    ended: field(&format!("ended-{}", beam.number), "normal".to_owned()),
                })
                .collect(),
        }
    }
}

async fn reconciliation(reader: Reader) -> Response {
    match reader.read(Treatment::reconciliation).await {
        Ok(found) => page(StatusCode::OK, &ReconciliationPage::of(found, &reader)),
        Err(fault) => failed("This page", &fault),
    }
}

impl ReconciliationPage {
    fn of(found: Reconciliation, reader: &Reader) -> Self {
        let rows: Vec<PairRow> = (found.patients.iter())
            .flat_map(|patient| patient.pairs.iter().map(move |pair| PairRow::of(&patient.name, &patient.number, pair)))
            .collect();
        let total = |(class, word)| Total { class, word, count: rows.iter().filter(|row| row.class == class).count() };
        let totals =
            [("veto", "don’t agree"), ("hold", "wait for the machine"), ("release", "agree"), ("done", "settled")];
        Self {
            centre: reader.treatment.centre().to_owned(),
            as_of: moment(found.as_of, found.utc_offset),
            who: reader.who(),
            role: reader.role(),
            totals: totals.map(total).into(),
            unread: found.unread.len(),
            rows,
        }
    }
}

impl PairRow {
    fn of(name: &str, number: &str, pair: &PairSeen) -> Self {
        let settle = "a physicist looks; an oncologist and a physicist settle what was given";
        let (class, word, what) = match pair.state {
            state if state.is_conflict() && pair.is_settled => ("done", "Settled", ""),
            PairState::Same => ("release", "Agrees", ""),
            PairState::Waiting => ("hold", "Waits", "the machine’s own record may still come"),
            PairState::Differs => ("veto", "Another meterset", settle),
            PairState::Part => ("veto", "A part on both", settle),
            PairState::TypedTwice => ("veto", "Typed in twice", settle),
            PairState::OtherTime => ("veto", "Another time", settle),
            PairState::OtherNumber => ("veto", "Another number", settle),
            PairState::OtherDay => ("veto", "Another day", settle),
        };
        let day = |date: &Option<String>| date.as_deref().and_then(Day::of_dicom).map(|day| day.to_string());
        let meterset = |of: Option<f64>| of.map(|of| format!("{of:.2}"));
        let or_unknown = |number: Option<u32>| number.map_or_else(|| "?".to_owned(), |number| number.to_string());
        // What the machine says elsewhere, with where.
        let elsewhere = match pair.state {
            PairState::OtherNumber => format!(" (fraction {})", or_unknown(pair.machine_fraction)),
            PairState::OtherDay => format!(" ({})", day(&pair.machine_date).unwrap_or_default()),
            _ => String::new(),
        };
        Self {
            name: name.to_owned(),
            number: number.to_owned(),
            plan: pair.plan.clone(),
            fraction: or_unknown(pair.fraction),
            date: day(&pair.date).unwrap_or_default(),
            beam: or_unknown(pair.beam),
            typed: meterset(pair.typed).unwrap_or_else(|| "not said".to_owned()),
            machine: meterset(pair.machine).map_or_else(|| "–".to_owned(), |of| format!("{of}{elsewhere}")),
            class,
            word,
            what,
        }
    }
}

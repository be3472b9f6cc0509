//! Breaking the glass, `GET` and `POST /emergency`, and the queue of those that somebody else has to look at, `POST /emergency/review`.

use std::sync::Arc;

use askama::Template;
use axum::Router;
use axum::extract::rejection::FormRejection;
use axum::extract::{Form, Query};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::{get, post};
use chart::Context;
use guard::{Act, EMERGENCY_HOURS_MAX, EmergencyStanding, PasskeyError, Purpose, Sensitivity, Target};
use kit::{Blame, Explain as _, Fault, Id16, UtcOffset};
use serde::Deserialize;
use treatment::Treatment;

use super::passkeys::to_presence;
use super::reader::Reader;
use super::{failed, message, moment, page};

#[derive(Template)]
#[template(path = "emergency.html")]
struct EmergencyPage {
    centre: String,
    who: String,
    role: String,
    refused: Option<String>,
    patient: String,
    may_break: bool,
    may_review: bool,
    hours_max: u32,
    waiting: usize,
    rows: Vec<Row>,
}

struct Row {
    id: String,
    class: &'static str,
    word: &'static str,
    who: String,
    patient: String,
    patient_brief: String,
    since: String,
    /// Empty where it is over.
    open_until: String,
    reason: String,
    told: String,
    /// Somebody else's, and nobody has looked at it.
    may_review: bool,
}

#[derive(Default, Deserialize)]
struct Asked {
    patient: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Broken {
    patient: String,
    reason: String,
    hours: u32,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Reviewed {
    id: String,
    justified: String,
    words: String,
}

pub(super) fn router(treatment: Arc<Treatment>) -> Router {
    Router::new()
        .route("/emergency", get(shown).post(break_glass))
        .route("/emergency/review", post(review))
        .with_state(treatment)
}

async fn shown(reader: Reader, Query(Asked { patient }): Query<Asked>) -> Response {
    page(StatusCode::OK, &EmergencyPage::of(&reader, None, patient.unwrap_or_default()))
}

async fn break_glass(reader: Reader, posted: Result<Form<Broken>, FormRejection>) -> Response {
    let Ok(Form(Broken { patient, reason, hours })) = posted else {
        return message(StatusCode::BAD_REQUEST, "The form could not be read. Nothing was opened.");
    };
    let number = patient.trim().to_owned();
    let done = reader.read(move |treatment, context| {
        let context = Context { purpose: Purpose::Emergency, ..context.clone() };
        treatment.chart().break_glass(&context, patient.trim(), &reason, hours).map_err(|e| e.fault())
    });
    match done.await {
        Ok(_) => Redirect::to("/emergency").into_response(),
        Err(fault) if matches!(fault.blame, Blame::Peer | Blame::Absent) || fault.code == "guard.over-budget" => {
            page(StatusCode::BAD_REQUEST, &EmergencyPage::of(&reader, Some(fault.message), number))
        }
        Err(fault) => failed("What you asked for", &fault),
    }
}

async fn review(reader: Reader, posted: Result<Form<Reviewed>, FormRejection>) -> Response {
    let Ok(Form(Reviewed { id, justified, words })) = posted else {
        return message(StatusCode::BAD_REQUEST, "The form could not be read. Nothing was done.");
    };
    let usage = |what: String| Fault::new(Blame::Peer, "usage.emergency", what);
    let done = reader.read(move |treatment, context| {
        let id: Id16 = id.parse().map_err(|e: kit::id::BadId| usage(e.to_string()))?;
        let justified = match justified.as_str() {
            "yes" => true,
            "no" => false,
            other => {
                return Err(usage(format!("justified is yes or no, not {} characters else", other.chars().count())));
            }
        };
        let context = Context { purpose: Purpose::Operations, ..context.clone() };
        let (chart, act) = (treatment.chart(), Act::ReviewEmergency);
        let permit = chart.admit(&context, act, Target::Centre, Sensitivity::Administrative).map_err(|e| e.fault())?;
        chart.guard().check_fresh(&context.caller).map_err(|e| Fault::of(&e))?;
        chart.guard().review_emergency(&permit, id, justified, &words).map_err(|e| Fault::of(&e))
    });
    match done.await {
        Ok(()) => Redirect::to("/emergency").into_response(),
        Err(fault) if fault.code == PasskeyError::NotFresh.code() => to_presence("/emergency"),
        Err(fault) if fault.code.starts_with("guard.emergency") || fault.blame == Blame::Peer => {
            page(StatusCode::BAD_REQUEST, &EmergencyPage::of(&reader, Some(fault.message), String::new()))
        }
        Err(fault) => failed("What you asked for", &fault),
    }
}

impl EmergencyPage {
    fn of(reader: &Reader, refused: Option<String>, patient: String) -> Self {
        let (treatment, who) = (&reader.treatment, reader.who());
        let may_review = reader.may(Act::ReviewEmergency, Purpose::Operations);
        // One's own, and whoever answers for them all of them.
        let all = treatment.chart().guard().emergencies().into_iter();
        let all: Vec<EmergencyStanding> = all.filter(|one| may_review || one.emergency.subject == who).collect();
        let waiting = all.iter().filter(|one| one.review.is_none()).count();
        let now = treatment.chart().now();
        let rows = all.into_iter().map(|one| {
            let is_open = now < one.emergency.until;
            row(one, &who, is_open, may_review, treatment.utc_offset())
        });
        Self {
            centre: treatment.centre().to_owned(),
            role: reader.role(),
            refused,
            patient,
            may_break: reader.may_of_a_patient(Act::BreakGlass, Purpose::Emergency),
            may_review,
            hours_max: EMERGENCY_HOURS_MAX,
            waiting,
            rows: rows.collect(),
            who,
        }
    }
}

fn row(one: EmergencyStanding, who: &str, is_open: bool, may_review: bool, offset: UtcOffset) -> Row {
    let EmergencyStanding { emergency, review, due, is_overdue } = one;
    let (class, word, told) = match &review {
        Some(review) if review.justified => ("done", "Justified", format!("{}: {}", review.by, review.words)),
        Some(review) => ("veto", "Not justified", format!("{}: {}", review.by, review.words)),
        None if is_overdue => ("veto", "Overdue", format!("should have been looked at by {}", moment(due, offset))),
        None => ("hold", "Waits", format!("to be looked at by {}", moment(due, offset))),
    };
    let until = moment(emergency.until, offset);
    let since = moment(emergency.at, offset);
    Row {
        id: emergency.id.to_string(),
        class,
        word,
        may_review: may_review && review.is_none() && emergency.subject != who,
        who: format!("{}, {}", emergency.subject, emergency.role),
        patient_brief: emergency.patient.to_string().chars().take(8).collect(),
        patient: emergency.patient.to_string(),
        open_until: if is_open { until } else { String::new() },
        since,
        reason: emergency.reason,
        told,
    }
}

//! One page to close doors by, `GET` and `POST /containment`: it works while the rest is on fire. Opening them again takes two officers' keys,
//! and the server's terminal.

use std::sync::Arc;

use askama::Template;
use axum::Router;
use axum::extract::Form;
use axum::extract::rejection::FormRejection;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::get;
use chart::Context;
use guard::{Act, LIFTERS, Measure, Purpose, Sensitivity, Target};
use kit::{Blame, Fault};
use serde::Deserialize;
use treatment::Treatment;

use super::reader::Reader;
use super::{failed, message, moment, page};

#[derive(Template)]
#[template(path = "containment.html")]
struct ContainmentPage {
    centre: String,
    who: String,
    role: String,
    /// Why the last form wasn't taken.
    refused: Option<String>,
    /// No policy is approved: whoever sits at the terminal opens again.
    has_officers: bool,
    lifters: usize,
    may_close: bool,
    rows: Vec<Row>,
}

struct Row {
    id: String,
    measure: String,
    means: &'static str,
    since: String,
    by: String,
    reason: String,
    signed: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Close {
    measure: String,
    subject: String,
    reason: String,
}

pub(super) fn router(treatment: Arc<Treatment>) -> Router {
    Router::new().route("/containment", get(shown).post(close)).with_state(treatment)
}

fn means(measure: &Measure) -> &'static str {
    match measure {
        Measure::Freeze(_) => "does nothing any more",
        Measure::ReadOnly => "nothing is changed but what treatment needs",
        Measure::Island => "treatment, and nothing else",
        Measure::Lockdown => "the gate, what machines gave, and the packs",
    }
}

async fn shown(reader: Reader) -> Response {
    page(StatusCode::OK, &ContainmentPage::of(&reader, None))
}

async fn close(reader: Reader, posted: Result<Form<Close>, FormRejection>) -> Response {
    let Ok(Form(Close { measure, subject, reason })) = posted else {
        return message(StatusCode::BAD_REQUEST, "The form could not be read. Nothing was closed.");
    };
    let words = if measure == "freeze" { format!("freeze {}", subject.trim()) } else { measure };
    let done = reader.read(move |treatment, context| {
        let usage = |e: guard::UnknownWord| Fault::new(Blame::Peer, "usage.measure", e.to_string());
        let measure: Measure = words.parse().map_err(usage)?;
        // It is no care for anybody.
        let context = Context { purpose: Purpose::Emergency, ..context.clone() };
        let chart = treatment.chart();
        let permit =
            chart.admit(&context, Act::Contain, Target::Centre, Sensitivity::Administrative).map_err(|e| e.fault())?;
        chart.guard().contain(&permit, measure, reason.trim()).map_err(|e| Fault::of(&e))
    });
    match done.await {
        Ok(_) => Redirect::to("/containment").into_response(),
        Err(fault) if fault.blame == Blame::Peer => {
            page(StatusCode::BAD_REQUEST, &ContainmentPage::of(&reader, Some(fault.message)))
        }
        Err(fault) => failed("What you asked for", &fault),
    }
}

impl ContainmentPage {
    fn of(reader: &Reader, refused: Option<String>) -> Self {
        let treatment = &reader.treatment;
        let guard = treatment.chart().guard();
        // Who is suspected of what is for those who answer for it; the others see which mode it is.
        let may_close = reader.may(Act::Contain, Purpose::Emergency);
        let seen = |measure: &Measure| may_close || !matches!(measure, Measure::Freeze(_));
        let all = guard.contained().into_iter().filter(|(one, _)| seen(&one.measure));
        let rows = all.map(|(one, lifts)| Row {
            id: one.id.to_string(),
            measure: one.measure.to_string(),
            means: means(&one.measure),
            since: moment(one.at, treatment.utc_offset()),
            by: if may_close { one.by } else { String::new() },
            reason: if may_close { one.reason } else { String::new() },
            signed: lifts.iter().map(|lift| lift.statement().officer.clone()).collect(),
        });
        Self {
            centre: treatment.centre().to_owned(),
            who: reader.who(),
            role: reader.role(),
            refused,
            has_officers: guard.policy().in_force.is_some(),
            lifters: LIFTERS,
            may_close,
            rows: rows.collect(),
        }
    }
}

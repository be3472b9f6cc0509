//! The fraction gate over HTTP: `POST /gate/check?patient=ID` with the plan as `application/dicom`; and what is known of a
//! patient's courses, for programs: `GET /courses?patient=ID`, and of everybody's chart checks: `GET /checks.json`.
//!
//! The gate says 200 only for a release, 409 for a veto, both with the verdict as JSON: a caller that looks at nothing but the
//! status fails safe.

use axum::Router;
use axum::body::Body;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use chart::Context;
use kit::{Blame, Fault};
use serde::Deserialize;
use treatment::{Outcome, Treatment, Verdict};

use crate::asking::{Asking, Door, Refused, answer};

/// RT Plans are under 20 MB, the largest spot-scanning ones included.
const PLAN_BYTES_MAX: usize = 40 * 1024 * 1024;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    /// Hospital number or FHIR id; without it, she is whom the plan names.
    patient: Option<String>,
    /// Fraction Group Number that is due, where the plan has several.
    #[serde(rename = "fraction-group")]
    fraction_group: Option<u32>,
    /// Which fraction the console is about to deliver, from 1.
    fraction: Option<u32>,
    /// Treatment Machine Name of where it is.
    machine: Option<String>,
}

/// Routes of the gate.
pub(crate) fn router(door: Door) -> Router {
    Router::new()
        .route("/gate/check", post(check).fallback(another_method))
        .route("/courses", get(courses))
        .route("/checks.json", get(checks))
        .with_state(door)
}

/// A framework's bare 405 would leave whoever sets a console up guessing.
async fn another_method(State(door): State<Door>) -> Response {
    let fault = Fault::new(Blame::Peer, "gate.method", "only POST is supported here")
        .guidance(
            "POST /gate/check?patient=ID&fraction-group=N&fraction=N&machine=NAME with the plan (DICOM Part 10) as body and a bearer token",
        )
        .during(Asking::new(door, "gate").operation);
    ([(header::ALLOW, "POST")], answer(StatusCode::METHOD_NOT_ALLOWED, fault)).into_response()
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Whose {
    /// Hospital number or FHIR id.
    patient: String,
}

async fn courses(
    State(door): State<Door>,
    asked: Result<Query<Whose>, QueryRejection>,
    headers: HeaderMap,
) -> Result<Response, Refused> {
    let asking = Asking::new(door, "courses");
    let caller = asking.caller(&headers)?;
    let Ok(Query(Whose { patient })) = asked else {
        return Ok(asking.refuse(StatusCode::BAD_REQUEST, "parameter", "the parameter is patient=ID, once"));
    };
    let admitted = asking.admit(&headers, caller).await?;
    let work = move |treatment: &Treatment, context: &Context| treatment.courses(context, &patient);
    Ok(asking.answer(admitted, work, |_| StatusCode::OK).await)
}

async fn checks(State(door): State<Door>, headers: HeaderMap) -> Result<Response, Refused> {
    let asking = Asking::new(door, "checks");
    let caller = asking.caller(&headers)?;
    let admitted = asking.admit(&headers, caller).await?;
    Ok(asking.answer(admitted, Treatment::chart_checks, |_| StatusCode::OK).await)
}

async fn check(
    State(door): State<Door>,
    asked: Result<Query<Asked>, QueryRejection>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Refused> {
    let asking = Asking::new(door, "gate");
    let Ok(Query(Asked { patient, fraction_group, fraction, machine })) = asked else {
        let why = "the parameters are patient=ID, fraction-group=N, fraction=N and machine=NAME, each at most once";
        return Ok(asking.refuse(StatusCode::BAD_REQUEST, "parameter", why));
    };
    let caller = asking.caller(&headers)?;
    let admitted = asking.admit(&headers, caller).await?;
    let body = asking.body(body, PLAN_BYTES_MAX, "the plan", "").await?;
    let work = move |treatment: &Treatment, context: &Context| {
        let said = treatment::Asked { fraction_group, fraction, machine, instruction: None };
        treatment.gate(context, patient.as_deref(), &body, &said)
    };
    let status = |verdict: &Verdict| match verdict.outcome {
        Outcome::Release => StatusCode::OK,
        Outcome::Veto => StatusCode::CONFLICT,
    };
    Ok(asking.answer(admitted, work, status).await)
}

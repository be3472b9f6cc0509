//! The fraction gate over HTTP: `POST /gate/check?patient=ID` with the plan as `application/dicom`; and what is known of a
//! patient's courses, for programs: `GET /courses?patient=ID`.
//!
//! The gate says 200 only for a release, 409 for a veto, both with the verdict as JSON: a caller that looks at nothing but the
//! status fails safe.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Json, Response};
use axum::routing::{get, post};
use chart::Context;
use guard::Purpose;
use kit::{Blame, Fault, OperationId};
use serde::Deserialize;
use treatment::{Outcome, Treatment};

use crate::intake::{self, BODY_TIME_MAX, Places, Unread, bearer};

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

#[derive(Clone)]
struct Gate {
    treatment: Arc<Treatment>,
    places: Places,
}

/// Routes of the gate.
pub(crate) fn router(treatment: Arc<Treatment>, places: Places) -> Router {
    Router::new()
        .route("/gate/check", post(check).fallback(another_method))
        .route("/courses", get(courses))
        .with_state(Gate { treatment, places })
}

/// A framework's bare 405 would leave whoever sets a console up guessing.
async fn another_method(State(Gate { treatment, .. }): State<Gate>) -> Response {
    let fault = Fault::new(Blame::Peer, "gate.method", "only POST is supported here")
        .guidance(
            "POST /gate/check?patient=ID&fraction-group=N&fraction=N&machine=NAME with the plan (DICOM Part 10) as body and a bearer token",
        )
        .during(OperationId::random(treatment.chart().entropy()));
    ([(header::ALLOW, "POST")], answer(StatusCode::METHOD_NOT_ALLOWED, fault)).into_response()
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Whose {
    /// Hospital number or FHIR id.
    patient: String,
}

async fn courses(
    State(Gate { treatment, places }): State<Gate>,
    asked: Result<Query<Whose>, QueryRejection>,
    headers: HeaderMap,
) -> Response {
    let operation = OperationId::random(treatment.chart().entropy());
    let refuse = |status, blame, code, why: &str| answer(status, Fault::new(blame, code, why).during(operation));
    let token = bearer(&headers).unwrap_or_default();
    let Ok(caller) = treatment.chart().guard().authenticate_bearer(token) else {
        let why = "a bearer token of this centre is needed";
        let refusal = refuse(StatusCode::UNAUTHORIZED, Blame::Forbidden, "courses.unauthenticated", why);
        return ([(header::WWW_AUTHENTICATE, "Bearer")], refusal).into_response();
    };
    let Ok(Query(Whose { patient })) = asked else {
        let why = "the parameter is patient=ID, once";
        return refuse(StatusCode::BAD_REQUEST, Blame::Peer, "courses.parameter", why);
    };
    let Some(_place) = places.take(token).await else {
        let why = "too many requests are on their way, by this token or in all; ask again in a moment";
        return refuse(StatusCode::TOO_MANY_REQUESTS, Blame::Peer, "courses.busy", why);
    };
    let work = move || treatment.courses(&Context { caller, purpose: Purpose::Treatment, operation }, &patient);
    match tokio::task::spawn_blocking(work).await {
        Ok(Ok(courses)) => Json(courses).into_response(),
        Ok(Err(fault)) => answer(status_of(&fault), fault.during(operation)),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

pub(crate) fn status_of(fault: &Fault) -> StatusCode {
    match fault.blame {
        Blame::Peer | Blame::Conflict => StatusCode::UNPROCESSABLE_ENTITY,
        Blame::Forbidden => StatusCode::FORBIDDEN,
        Blame::Absent => StatusCode::NOT_FOUND,
        Blame::Configuration => StatusCode::SERVICE_UNAVAILABLE,
        Blame::Integrity | Blame::Ours => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

async fn check(
    State(Gate { treatment, places }): State<Gate>,
    asked: Result<Query<Asked>, QueryRejection>,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let guard = treatment.chart().guard();
    let operation = OperationId::random(treatment.chart().entropy());
    let refuse = |status, blame, code, why: &str| answer(status, Fault::new(blame, code, why).during(operation));
    let token = bearer(&headers).unwrap_or_default();
    let Ok(Query(asked)) = asked else {
        let why = "the parameters are patient=ID, fraction-group=N, fraction=N and machine=NAME, each at most once";
        return refuse(StatusCode::BAD_REQUEST, Blame::Peer, "gate.parameter", why);
    };
    // Before a byte of the body is read: who sends no good token sends no 40 MiB either.
    let Ok(caller) = guard.authenticate_bearer(token) else {
        let why = "a bearer token of this centre is needed";
        let refusal = refuse(StatusCode::UNAUTHORIZED, Blame::Forbidden, "gate.unauthenticated", why);
        return ([(header::WWW_AUTHENTICATE, "Bearer")], refusal).into_response();
    };
    let Some(_place) = places.take(token).await else {
        let why = "too many plans are on their way, by this token or in all; ask again in a moment";
        return refuse(StatusCode::TOO_MANY_REQUESTS, Blame::Peer, "gate.busy", why);
    };
    let body = match intake::read(body, PLAN_BYTES_MAX).await {
        Ok(body) => body,
        Err(Unread::TooLong) => {
            let why = format!("the plan is larger than {PLAN_BYTES_MAX} bytes");
            return refuse(StatusCode::PAYLOAD_TOO_LARGE, Blame::Peer, "gate.too-long", &why);
        }
        Err(Unread::BrokeOff) => return refuse(StatusCode::BAD_REQUEST, Blame::Peer, "gate.broke-off", "it broke off"),
        Err(Unread::TooSlow) => {
            let why = format!("the plan took longer than {} seconds", BODY_TIME_MAX.as_secs());
            return refuse(StatusCode::REQUEST_TIMEOUT, Blame::Peer, "gate.too-slow", &why);
        }
    };
    let work = move || {
        let context = Context { caller, purpose: Purpose::Treatment, operation };
        let Asked { patient, fraction_group, fraction, machine } = asked;
        let said = treatment::Asked { fraction_group, fraction, machine, instruction: None };
        treatment.gate(&context, patient.as_deref(), &body, &said)
    };
    match tokio::task::spawn_blocking(work).await {
        Ok(Ok(verdict)) => {
            let status = if verdict.outcome == Outcome::Release { StatusCode::OK } else { StatusCode::CONFLICT };
            (status, Json(verdict)).into_response()
        }
        Ok(Err(fault)) => answer(status_of(&fault), fault.during(operation)),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

/// A refusal, as everywhere over HTTP: an OperationOutcome.
pub(crate) fn answer(status: StatusCode, fault: Fault) -> Response {
    let body = chart::fhir::fault_outcome(&fault).to_string();
    (status, [(header::CONTENT_TYPE, "application/fhir+json")], body).into_response()
}

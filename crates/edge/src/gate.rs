//! The fraction gate over HTTP: `POST /gate/check?patient=ID` with the plan as `application/dicom`.
//!
//! 200 only for a release, 409 for a veto, both with the verdict as JSON: a caller that looks at nothing but the status
//! fails safe.

use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Json, Response};
use axum::routing::post;
use chart::Context;
use guard::Purpose;
use kit::{Blame, Fault, OperationId};
use serde::Deserialize;
use treatment::{Outcome, Treatment};

/// RT Plans are under 20 MB, the largest spot-scanning ones included.
const PLAN_BYTES_MAX: usize = 40 * 1024 * 1024;

#[derive(Deserialize)]
struct Asked {
    /// FHIR id or an identifier; without it, she is whom the plan names.
    patient: Option<String>,
}

/// Routes of the gate.
pub fn router(treatment: Arc<Treatment>) -> Router {
    Router::new().route("/gate/check", post(check).layer(DefaultBodyLimit::max(PLAN_BYTES_MAX))).with_state(treatment)
}

/// The token of `Authorization: Bearer …` (RFC 6750); the scheme's case doesn't matter.
pub(crate) fn bearer(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

async fn check(
    State(treatment): State<Arc<Treatment>>,
    Query(asked): Query<Asked>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let guard = treatment.chart().guard();
    let operation = OperationId::random(treatment.chart().entropy());
    let caller = match bearer(&headers).unwrap_or_default() {
        "" => None,
        token => guard.authenticate_bearer(token).ok(),
    };
    let Some(caller) = caller else {
        let fault = Fault::new(Blame::Forbidden, "gate.unauthenticated", "a bearer token of this centre is needed");
        return ([(header::WWW_AUTHENTICATE, "Bearer")], answer(StatusCode::UNAUTHORIZED, fault.during(operation)))
            .into_response();
    };
    let work = move || {
        let context = Context { caller, purpose: Purpose::Treatment, operation };
        treatment.gate(&context, asked.patient.as_deref(), &body)
    };
    match tokio::task::spawn_blocking(work).await {
        Ok(Ok(verdict)) => {
            let status = if verdict.outcome == Outcome::Release { StatusCode::OK } else { StatusCode::CONFLICT };
            (status, Json(verdict)).into_response()
        }
        Ok(Err(fault)) => {
            let status = match fault.blame {
                Blame::Peer | Blame::Conflict => StatusCode::UNPROCESSABLE_ENTITY,
                Blame::Forbidden => StatusCode::FORBIDDEN,
                Blame::Absent => StatusCode::NOT_FOUND,
                Blame::Configuration => StatusCode::SERVICE_UNAVAILABLE,
                Blame::Integrity | Blame::Ours => StatusCode::INTERNAL_SERVER_ERROR,
            };
            answer(status, fault.during(operation))
        }
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

fn answer(status: StatusCode, fault: Fault) -> Response {
    (status, Json(fault)).into_response()
}

//! What stands on paper, for programs that type it in: `POST /records/typed?patient=ID` with one fraction as JSON; and beside what
//! machines say, `GET /reconciliation.json`.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Json, Response};
use axum::routing::{get, post};
use chart::Context;
use guard::{Caller, Purpose};
use kit::{Blame, Fault, OperationId};
use serde::Deserialize;
use treatment::{Treatment, TypedFraction};

use crate::gate::{answer, status_of};
use crate::intake::{self, Places, Unread, bearer};

/// One fraction of some twenty beams.
const BODY_BYTES_MAX: usize = 64 * 1024;

#[derive(Clone)]
struct Typed {
    treatment: Arc<Treatment>,
    places: Places,
}

pub(crate) fn router(treatment: Arc<Treatment>, places: Places) -> Router {
    Router::new()
        .route("/records/typed", post(enter))
        .route("/reconciliation.json", get(reconciliation))
        .with_state(Typed { treatment, places })
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Whose {
    /// Hospital number or FHIR id.
    patient: String,
}

fn refuse(operation: OperationId, status: StatusCode, blame: Blame, code: &str, why: &str) -> Response {
    answer(status, Fault::new(blame, code, why).during(operation))
}

fn caller_of(treatment: &Treatment, headers: &HeaderMap, operation: OperationId) -> Result<Caller, Box<Response>> {
    let token = bearer(headers).unwrap_or_default();
    treatment.chart().guard().authenticate_bearer(token).map_err(|_| {
        let why = "a bearer token of this centre is needed";
        let refusal = refuse(operation, StatusCode::UNAUTHORIZED, Blame::Forbidden, "typed.unauthenticated", why);
        Box::new(([(header::WWW_AUTHENTICATE, "Bearer")], refusal).into_response())
    })
}

async fn enter(
    State(Typed { treatment, places }): State<Typed>,
    asked: Result<Query<Whose>, QueryRejection>,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let operation = OperationId::random(treatment.chart().entropy());
    let caller = match caller_of(&treatment, &headers, operation) {
        Ok(caller) => caller,
        Err(refusal) => return *refusal,
    };
    let Ok(Query(Whose { patient })) = asked else {
        let why = "the parameter is patient=ID, once";
        return refuse(operation, StatusCode::BAD_REQUEST, Blame::Peer, "typed.parameter", why);
    };
    let Some(_place) = places.take(bearer(&headers).unwrap_or_default()).await else {
        let why = "too many requests are on their way, by this token or in all; ask again in a moment";
        return refuse(operation, StatusCode::TOO_MANY_REQUESTS, Blame::Peer, "typed.busy", why);
    };
    let body = match intake::read(body, BODY_BYTES_MAX).await {
        Ok(body) => body,
        Err(Unread::TooLong) => {
            let why = format!("the fraction is larger than {BODY_BYTES_MAX} bytes");
            return refuse(operation, StatusCode::PAYLOAD_TOO_LARGE, Blame::Peer, "typed.too-long", &why);
        }
        Err(Unread::BrokeOff | Unread::TooSlow) => {
            let why = "it broke off, or took too long";
            return refuse(operation, StatusCode::BAD_REQUEST, Blame::Peer, "typed.broke-off", why);
        }
    };
    let typed: TypedFraction = match serde_json::from_slice(&body) {
        Ok(typed) => typed,
        Err(error) => {
            let why = format!("no fraction: {error}");
            return refuse(operation, StatusCode::UNPROCESSABLE_ENTITY, Blame::Peer, "typed.form", &why);
        }
    };
    let work = move || treatment.enter(&Context { caller, purpose: Purpose::Treatment, operation }, &patient, &typed);
    match tokio::task::spawn_blocking(work).await {
        Ok(Ok(entered)) => (StatusCode::CREATED, Json(entered)).into_response(),
        Ok(Err(fault)) => answer(status_of(&fault), fault.during(operation)),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

async fn reconciliation(State(Typed { treatment, places }): State<Typed>, headers: HeaderMap) -> Response {
    let operation = OperationId::random(treatment.chart().entropy());
    let caller = match caller_of(&treatment, &headers, operation) {
        Ok(caller) => caller,
        Err(refusal) => return *refusal,
    };
    let Some(_place) = places.take(bearer(&headers).unwrap_or_default()).await else {
        let why = "too many requests are on their way, by this token or in all; ask again in a moment";
        return refuse(operation, StatusCode::TOO_MANY_REQUESTS, Blame::Peer, "typed.busy", why);
    };
    let work = move || treatment.reconciliation(&Context { caller, purpose: Purpose::Treatment, operation });
    match tokio::task::spawn_blocking(work).await {
        Ok(Ok(found)) => Json(found).into_response(),
        Ok(Err(fault)) => answer(status_of(&fault), fault.during(operation)),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

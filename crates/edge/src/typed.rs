//! What stands on paper, for programs that type it in: `POST /records/typed?patient=ID` with one fraction as JSON; and beside what
//! machines say, `GET /reconciliation.json`.

use axum::Router;
use axum::body::Body;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use axum::routing::{get, post};
use chart::Context;
use serde::Deserialize;
use treatment::{Treatment, TypedFraction};

use crate::asking::{Asking, Door, Refused};

/// One fraction of some twenty beams.
const BODY_BYTES_MAX: usize = 64 * 1024;

pub(crate) fn router(door: Door) -> Router {
    Router::new()
        .route("/records/typed", post(enter))
        .route("/reconciliation.json", get(reconciliation))
        .with_state(door)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Whose {
    /// Hospital number or FHIR id.
    patient: String,
}

async fn enter(
    State(door): State<Door>,
    asked: Result<Query<Whose>, QueryRejection>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Refused> {
    let asking = Asking::new(door, "typed");
    let caller = asking.caller(&headers)?;
    let Ok(Query(Whose { patient })) = asked else {
        return Ok(asking.refuse(StatusCode::BAD_REQUEST, "parameter", "the parameter is patient=ID, once"));
    };
    let admitted = asking.admit(&headers, caller).await?;
    let body = asking.body(body, BODY_BYTES_MAX, "the fraction", "").await?;
    let typed: TypedFraction = match serde_json::from_slice(&body) {
        Ok(typed) => typed,
        Err(error) => {
            return Ok(asking.refuse(StatusCode::UNPROCESSABLE_ENTITY, "form", format!("no fraction: {error}")));
        }
    };
    let work = move |treatment: &Treatment, context: &Context| treatment.enter(context, &patient, &typed);
    Ok(asking.answer(admitted, work, |_| StatusCode::CREATED).await)
}

async fn reconciliation(State(door): State<Door>, headers: HeaderMap) -> Result<Response, Refused> {
    let asking = Asking::new(door, "typed");
    let caller = asking.caller(&headers)?;
    let admitted = asking.admit(&headers, caller).await?;
    Ok(asking.answer(admitted, Treatment::reconciliation, |_| StatusCode::OK).await)
}

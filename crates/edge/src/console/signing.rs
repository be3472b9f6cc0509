//! Signing a plan on a page, by a passkey: `GET /approval/sign?patient=NUMBER&plan=UID`. The text that is signed stands on it, whole.

use std::sync::Arc;

use askama::Template;
use axum::extract::rejection::{JsonRejection, QueryRejection};
use axum::extract::{DefaultBodyLimit, Query};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use guard::Assertion;
use kit::{Blame, Fault};
use serde::{Deserialize, Serialize};
use serde_json::json;
use treatment::{Statement, ToSign, Treatment};

use super::passkeys::{BODY_BYTES_MAX, Shown, told, unreadable, with_script};
use super::reader::Reader;
use super::{failed, message};

#[derive(Template)]
#[template(path = "sign.html")]
struct SignPage {
    who: String,
    role: String,
    name: String,
    number: String,
    birth_date: String,
    label: String,
    signer: String,
    text: String,
    statement: String,
    plan: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    patient: String,
    plan: String,
}

/// What goes to the browser and comes back: whatever is changed of it, the signature doesn't fit.
#[derive(Deserialize, Serialize)]
struct Said {
    patient: String,
    plan: String,
    /// CBOR in base64.
    statement: String,
}

pub(super) fn router(treatment: Arc<Treatment>) -> Router {
    Router::new()
        .route("/approval/sign", get(sign))
        .route("/approval/sign/begin", post(begin))
        .route("/approval/sign/finish", post(finish))
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .with_state(treatment)
}

async fn sign(reader: Reader, asked: Result<Query<Asked>, QueryRejection>) -> Response {
    let Ok(Query(Asked { patient, plan })) = asked else {
        let text = "Which plan? The address is /approval/sign?patient=NUMBER&plan=UID.";
        return message(StatusCode::BAD_REQUEST, text);
    };
    let uid = plan.clone();
    match reader.read(move |treatment, context| treatment.to_sign(context, &patient, &uid)).await {
        Ok(ToSign { name, number, birth_date, label, statement }) => {
            let (who, role) = (reader.who(), reader.role());
            let (signer, text) = (statement.signer.clone(), statement.text());
            let statement = STANDARD.encode(statement.encode());
            let page = SignPage { who, role, name, number, birth_date, label, signer, text, statement, plan };
            with_script(StatusCode::OK, &page)
        }
        Err(fault) if fault.blame == Blame::Absent => message(StatusCode::NOT_FOUND, "She has no such plan."),
        Err(fault) => failed("What you would sign", &fault),
    }
}

fn decoded(statement: &str) -> Result<Vec<u8>, Fault> {
    STANDARD.decode(statement).map_err(|e| Fault::new(Blame::Peer, "console.statement", e.to_string()))
}

async fn begin(reader: Reader, said: Result<Json<Said>, JsonRejection>) -> Response {
    let Ok(Json(said)) = said else { return unreadable() };
    let asked = reader.at_the_door(move |guard, caller| {
        let bytes = decoded(&said.statement)?;
        let statement = Statement::decode(&bytes)?;
        let options = guard.ask_to_sign(caller, &statement.text()).map_err(|e| Fault::of(&e))?;
        Ok((said, options))
    });
    match asked.await {
        Ok((said, options)) => {
            let options: serde_json::Value = serde_json::from_str(&options).unwrap_or_default();
            let number: String = form_urlencoded::byte_serialize(said.patient.as_bytes()).collect();
            let then = format!("/approval?patient={number}");
            let ceremony = serde_json::to_string(&said).unwrap_or_default();
            Json(json!({ "ceremony": ceremony, "options": options, "then": then })).into_response()
        }
        Err(fault) => told(&fault),
    }
}

async fn finish(reader: Reader, shown: Result<Json<Shown>, JsonRejection>) -> Response {
    let Ok(Json(Shown { ceremony, answer, then, .. })) = shown else { return unreadable() };
    let done = reader.read(move |treatment, context| {
        let malformed = |e: serde_json::Error| Fault::new(Blame::Peer, "console.statement", e.to_string());
        let Said { patient, plan, statement } = serde_json::from_str(&ceremony).map_err(malformed)?;
        let assertion = Assertion::from_json(&answer.to_string()).map_err(|e| Fault::of(&e))?;
        treatment.sign_by_passkey(context, (&patient, &plan), &decoded(&statement)?, assertion)
    });
    match done.await {
        Ok(_) => Json(json!({ "then": super::passkeys::own_path(&then) })).into_response(),
        Err(fault) => told(&fault),
    }
}

//! Coming in by a passkey: `/sign-in`, `/enrol`, `/presence`, and one's own, `/passkeys`. These are the pages with a script.

use std::sync::Arc;

use askama::Template;
use axum::extract::rejection::{FormRejection, JsonRejection};
use axum::extract::{DefaultBodyLimit, Form, Query, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use guard::{Begun, PasskeyError};
use kit::{Blame, Explain as _, Fault, Id16};
use serde::Deserialize;
use serde_json::{Value, json};
use treatment::Treatment;
use zeroize::Zeroizing;

use super::device::Here;
use super::reader::Reader;
use super::{blocking, cookie_of, failed, moment, page};

/// As the others, with our own script, which asks our own pages.
const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; script-src 'self'; connect-src 'self'; style-src 'self'; img-src 'self'; \
     form-action 'self'; base-uri 'none'; frame-ancestors 'none'";
/// An attestation with its certificates is a few thousand bytes.
pub(super) const BODY_BYTES_MAX: usize = 96 * 1024;

#[derive(Template)]
#[template(path = "passkeys.html")]
struct CeremonyPage {
    title: &'static str,
    message: String,
    path: &'static str,
    then: String,
    makes: bool,
    asks_login: bool,
    asks_code: bool,
    button: &'static str,
    other: Option<(&'static str, &'static str)>,
}

#[derive(Template)]
#[template(path = "own_passkeys.html")]
struct OwnPage {
    centre: String,
    who: String,
    role: String,
    refused: Option<String>,
    rows: Vec<OwnRow>,
}

struct OwnRow {
    id: String,
    brief: String,
    since: String,
}

#[derive(Deserialize)]
struct Asked {
    #[serde(default)]
    login: String,
    #[serde(default)]
    code: String,
    #[serde(default)]
    then: String,
}

/// What an authenticator said, as the page's script brings it.
#[derive(Deserialize)]
pub(super) struct Shown {
    pub(super) ceremony: String,
    pub(super) answer: Value,
    /// What the authenticator derived for the holders.
    derived: Option<String>,
    #[serde(default)]
    pub(super) then: String,
}

#[derive(Default, Deserialize)]
pub(super) struct Then {
    then: Option<String>,
}

#[derive(Deserialize)]
struct Ended {
    id: String,
}

pub(super) fn router(treatment: Arc<Treatment>) -> Router {
    Router::new()
        .route("/passkeys.js", get(script))
        .route("/sign-in/begin", post(begin_sign_in))
        .route("/sign-in/finish", post(finish_sign_in))
        .route("/enrol", get(enrol))
        .route("/enrol/begin", post(begin_enrolment))
        .route("/enrol/finish", post(finish_enrolment))
        .route("/presence", get(presence))
        .route("/presence/begin", post(begin_presence))
        .route("/presence/finish", post(finish_presence))
        .route("/passkeys", get(own))
        .route("/passkeys/begin", post(begin_another))
        .route("/passkeys/finish", post(finish_enrolment))
        .route("/passkeys/end", post(end_own))
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .with_state(treatment)
}

async fn script() -> impl IntoResponse {
    let headers = [(header::CONTENT_TYPE, "text/javascript; charset=utf-8"), (header::CACHE_CONTROL, "max-age=300")];
    (headers, include_str!("../../templates/passkeys.js"))
}

/// A page of ours, and nothing else that a link could send somebody to.
pub(super) fn own_path(then: &str) -> String {
    let is_own = then.starts_with('/') && !then.starts_with("//") && then.len() <= 200;
    let is_plain = then.bytes().all(|b| b.is_ascii_graphic() && b != b'\\');
    if is_own && is_plain { then.to_owned() } else { "/".to_owned() }
}

pub(super) fn with_script(status: StatusCode, template: &impl Template) -> Response {
    let mut response = page(status, template);
    response.headers_mut().insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(CONTENT_SECURITY_POLICY));
    response
}

/// Who she is comes first; then what she has.
pub(super) fn sign_in_page(treatment: &Treatment, status: StatusCode, message: &str, then: &str) -> Response {
    if treatment.chart().guard().passkeys_are_for().is_none() {
        let text = format!("{message} Please open a sign-in link: holdfast sign-in makes one.");
        return super::message(status, text.trim());
    }
    let message = format!("{message} Who are you? Then show your passkey.").trim().to_owned();
    let (path, then) = ("/sign-in", own_path(then));
    let other = Some(("/enrol", "You have a code, and no passkey yet"));
    let (makes, asks_login, asks_code) = (false, true, false);
    let form =
        CeremonyPage { title: "Sign in", message, path, then, makes, asks_login, asks_code, button: "Sign in", other };
    with_script(status, &form)
}

async fn enrol() -> Response {
    let message = "Two administrators have given you half of a code each. With both, you make a passkey on this computer, on your \
                   phone, or on a security key.";
    let (path, then, other) = ("/enrol", "/sign-in".to_owned(), Some(("/sign-in", "You have a passkey")));
    let (makes, asks_login, asks_code, button) = (true, true, true, "Make a passkey");
    let message = message.to_owned();
    let form = CeremonyPage { title: "Come in", message, path, then, makes, asks_login, asks_code, button, other };
    with_script(StatusCode::OK, &form)
}

async fn presence(reader: Reader, Query(Then { then }): Query<Then>) -> Response {
    if reader.has_no_passkey() {
        let text = "What you want is done by whoever has just shown who she is. You came by a sign-in link a while ago: please open another \
                    one, or come in by a passkey.";
        return super::message(StatusCode::FORBIDDEN, text);
    }
    let message = format!("Is it still you, {}? Show your passkey once more.", reader.who());
    let (path, then) = ("/presence", own_path(&then.unwrap_or_default()));
    let (makes, asks_login, asks_code, button) = (false, false, false, "Show it");
    let form = CeremonyPage {
        title: "Are you there?",
        message,
        path,
        then,
        makes,
        asks_login,
        asks_code,
        button,
        other: None,
    };
    with_script(StatusCode::OK, &form)
}

/// What wants her there sends her there first.
pub(super) fn to_presence(then: &str) -> Response {
    Redirect::to(&format!("/presence?then={then}")).into_response()
}

// ---- What the script asks

pub(super) fn told(fault: &Fault) -> Response {
    let status = match fault.blame {
        Blame::Peer | Blame::Absent => StatusCode::BAD_REQUEST,
        Blame::Forbidden => StatusCode::FORBIDDEN,
        Blame::Configuration => StatusCode::SERVICE_UNAVAILABLE,
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    };
    let message = match (&fault.guidance, fault.message.as_str()) {
        (Some(guidance), message) => format!("{message}: {guidance}."),
        (None, message) => format!("{message}."),
    };
    let message = message.get(..1).unwrap_or_default().to_uppercase() + message.get(1..).unwrap_or_default();
    (status, Json(json!({ "code": fault.code, "message": message }))).into_response()
}

pub(super) fn unreadable() -> Response {
    told(&Fault::new(Blame::Peer, "console.json", "what the page's script sent could not be read"))
}

fn begun(begun: Result<Begun, Fault>, then: &str) -> Response {
    match begun {
        Ok(Begun { ceremony, options }) => {
            let options: Value = serde_json::from_str(&options).unwrap_or_default();
            Json(json!({ "ceremony": ceremony.to_string(), "options": options, "then": own_path(then) }))
                .into_response()
        }
        Err(fault) => told(&fault),
    }
}

fn ceremony(text: &str) -> Result<Id16, Fault> {
    text.parse().map_err(|_| Fault::of(&PasskeyError::Over))
}

async fn begin_sign_in(State(treatment): State<Arc<Treatment>>, asked: Result<Json<Asked>, JsonRejection>) -> Response {
    let Ok(Json(Asked { login, then, .. })) = asked else { return unreadable() };
    let started =
        blocking(move || treatment.chart().guard().begin_sign_in(login.trim()).map_err(|e| Fault::of(&e))).await;
    begun(started, &then)
}

async fn finish_sign_in(
    State(treatment): State<Arc<Treatment>>,
    Here(device): Here,
    shown: Result<Json<Shown>, JsonRejection>,
) -> Response {
    let Ok(Json(Shown { ceremony: id, answer, derived, then })) = shown else { return unreadable() };
    let derived = derived.map(Zeroizing::new);
    let opened = blocking(move || {
        let guard = treatment.chart().guard();
        let derived = derived.as_ref().map(|secret| secret.as_str());
        guard.finish_sign_in(ceremony(&id)?, &answer.to_string(), derived, device).map_err(|e| Fault::of(&e))
    });
    match opened.await {
        Ok(session) => match cookie_of(&session) {
            Some(cookie) => ([(header::SET_COOKIE, cookie)], Json(json!({ "then": own_path(&then) }))).into_response(),
            None => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
        },
        Err(fault) => told(&fault),
    }
}

async fn begin_enrolment(
    State(treatment): State<Arc<Treatment>>,
    asked: Result<Json<Asked>, JsonRejection>,
) -> Response {
    let Ok(Json(Asked { login, code, then })) = asked else { return unreadable() };
    let code = Zeroizing::new(code);
    let work = move || treatment.chart().guard().begin_enrolment(login.trim(), &code).map_err(|e| Fault::of(&e));
    begun(blocking(work).await, &then)
}

async fn finish_enrolment(
    State(treatment): State<Arc<Treatment>>,
    shown: Result<Json<Shown>, JsonRejection>,
) -> Response {
    let Ok(Json(Shown { ceremony: id, answer, then, .. })) = shown else { return unreadable() };
    let work = move || {
        let guard = treatment.chart().guard();
        guard.finish_enrolment(ceremony(&id)?, &answer.to_string()).map_err(|e| Fault::of(&e))
    };
    match blocking(work).await {
        Ok(_) => Json(json!({ "then": own_path(&then) })).into_response(),
        Err(fault) => told(&fault),
    }
}

async fn begin_presence(reader: Reader, asked: Result<Json<Asked>, JsonRejection>) -> Response {
    let Ok(Json(Asked { then, .. })) = asked else { return unreadable() };
    begun(reader.at_the_door(|guard, caller| guard.begin_presence(caller).map_err(|e| Fault::of(&e))).await, &then)
}

async fn finish_presence(reader: Reader, shown: Result<Json<Shown>, JsonRejection>) -> Response {
    let Ok(Json(Shown { ceremony: id, answer, then, .. })) = shown else { return unreadable() };
    let done = reader.at_the_door(move |guard, caller| {
        guard.finish_presence(caller, ceremony(&id)?, &answer.to_string()).map_err(|e| Fault::of(&e))
    });
    match done.await {
        Ok(()) => Json(json!({ "then": own_path(&then) })).into_response(),
        Err(fault) => told(&fault),
    }
}

async fn begin_another(reader: Reader, asked: Result<Json<Asked>, JsonRejection>) -> Response {
    let Ok(Json(Asked { then, .. })) = asked else { return unreadable() };
    begun(reader.at_the_door(|guard, caller| guard.begin_another(caller).map_err(|e| Fault::of(&e))).await, &then)
}

// ---- One's own

async fn own(reader: Reader) -> Response {
    own_page(&reader, StatusCode::OK, None)
}

async fn end_own(reader: Reader, posted: Result<Form<Ended>, FormRejection>) -> Response {
    let Ok(Form(Ended { id })) = posted else {
        return super::message(StatusCode::BAD_REQUEST, "The form could not be read. Nothing was done.");
    };
    let done = reader.at_the_door(move |guard, caller| {
        let id = id.parse().map_err(|e: kit::id::BadId| Fault::new(Blame::Peer, "usage.passkey", e.to_string()))?;
        guard.end_own_passkey(caller, id).map_err(|e| Fault::of(&e))
    });
    match done.await {
        Ok(()) => Redirect::to("/passkeys").into_response(),
        Err(fault) if fault.code == PasskeyError::NotFresh.code() => to_presence("/passkeys"),
        Err(fault) if matches!(fault.blame, Blame::Peer | Blame::Absent) => {
            own_page(&reader, StatusCode::BAD_REQUEST, Some(fault.message))
        }
        Err(fault) => failed("What you asked for", &fault),
    }
}

fn own_page(reader: &Reader, status: StatusCode, refused: Option<String>) -> Response {
    let offset = reader.treatment.utc_offset();
    let row = |one: guard::Passkey| OwnRow {
        brief: one.id.to_string().chars().take(8).collect(),
        id: one.id.to_string(),
        since: moment(one.at, offset),
    };
    let rows = reader.passkeys().into_iter().map(row).collect();
    let centre = reader.treatment.centre().to_owned();
    with_script(status, &OwnPage { centre, who: reader.who(), role: reader.role(), refused, rows })
}

#[cfg(test)]
mod tests {
    use super::own_path;

    #[test]
    fn it_leads_to_a_page_of_ours_or_to_the_first_one() {
        for own in ["/", "/people", "/approval?patient=N-1&plan=1.2.3"] {
            assert_eq!(own_path(own), own);
        }
        let long = format!("/{}", "a".repeat(200));
        for foreign in
            ["", "//evil.example", "https://evil.example", "/\\evil.example", "/a\r\nSet-Cookie: x", "people", &long]
        {
            assert_eq!(own_path(foreign), "/", "{foreign:?}");
        }
    }
}

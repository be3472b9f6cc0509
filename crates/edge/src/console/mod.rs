//! The pages: server-rendered, no script but for passkeys, strict content security policy.

mod alarms;
mod approval;
mod beams;
mod checks;
mod containment;
mod course;
mod device;
mod draw;
mod emergency;
mod entering;
pub mod paper;
mod passkeys;
mod people;
pub mod posture;
mod reader;
mod signing;
mod triage;

use std::sync::Arc;

use askama::Template;
use axum::Router;
use axum::extract::{Form, Query, Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{Html, IntoResponse, Redirect, Response};
use axum::routing::{get, post};
use kit::{Blame, Fault, Timestamp, UtcOffset};
use serde::Deserialize;
use treatment::{Standing, Treatment, TreatmentRow};

use self::device::Here;
use self::reader::Reader;

const COOKIE: &str = "holdfast_session";
/// Nothing but our own style sheet; no script, no frame, no other origin.
const CONTENT_SECURITY_POLICY: &str =
    "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

#[derive(Template)]
#[template(path = "treatment_list.html")]
struct ListPage {
    centre: String,
    as_of: String,
    date: String,
    who: String,
    role: String,
    totals: Vec<Total>,
    rows: Vec<Row>,
}

struct Total {
    class: &'static str,
    word: &'static str,
    count: usize,
}

struct Row {
    name: String,
    number: String,
    birth_date: String,
    plan: String,
    machine: String,
    fraction: String,
    class: &'static str,
    word: &'static str,
    why: String,
    /// Of the plan that is held for its approval.
    awaits_approval: Option<String>,
}

#[derive(Template)]
#[template(path = "sign_in.html")]
struct SignInPage {
    message: String,
    code: Option<String>,
}

#[derive(Deserialize)]
struct Code {
    code: Option<String>,
    then: Option<String>,
}

/// Routes of the pages.
pub fn router(treatment: Arc<Treatment>) -> Router {
    Router::new()
        .route("/", get(list))
        .route("/sign-in", get(ask).post(sign_in))
        .route("/sign-out", post(sign_out))
        .route("/style.css", get(style))
        .with_state(Arc::clone(&treatment))
        .merge(alarms::router(Arc::clone(&treatment)))
        .merge(approval::router(Arc::clone(&treatment)))
        .merge(checks::router(Arc::clone(&treatment)))
        .merge(containment::router(Arc::clone(&treatment)))
        .merge(course::router(Arc::clone(&treatment)))
        .merge(emergency::router(Arc::clone(&treatment)))
        .merge(entering::router(Arc::clone(&treatment)))
        .merge(passkeys::router(Arc::clone(&treatment)))
        .merge(people::router(Arc::clone(&treatment)))
        .merge(signing::router(Arc::clone(&treatment)))
        .merge(triage::router(treatment))
        .layer(middleware::from_fn(own_forms))
}

/// A form does something as whoever is signed in, so only our own pages send one. The session's cookie is SameSite=Strict; that alone takes
/// another port of this host, or a host beside it, for the same site.
async fn own_forms(request: Request, next: Next) -> Response {
    if request.method() == Method::POST && is_foreign(request.headers()) {
        return message(StatusCode::FORBIDDEN, "This form came from another page than ours. Nothing was done.");
    }
    next.run(request).await
}

/// By what a browser says of itself: Fetch Metadata, and Origin where it is too old for that. A program says neither.
fn is_foreign(headers: &HeaderMap) -> bool {
    let text = |name: &str| headers.get(name).map(|value| value.to_str().unwrap_or_default());
    match (text("sec-fetch-site"), text("origin"), text("host")) {
        (Some(site), ..) => !matches!(site, "same-origin" | "none"),
        (None, Some(origin), host) => origin.split_once("://").map(|(_, of)| of) != host,
        (None, None, _) => false,
    }
}

/// What stands at no address.
pub(crate) async fn absent() -> Response {
    message(StatusCode::NOT_FOUND, "There is no such page.")
}

/// The headers that every answer carries.
pub(crate) async fn secure(mut response: Response) -> Response {
    let headers = response.headers_mut();
    for (name, value) in [
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::X_FRAME_OPTIONS, "DENY"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    // A page with our script says so itself.
    let policy = HeaderValue::from_static(CONTENT_SECURITY_POLICY);
    headers.entry(header::CONTENT_SECURITY_POLICY).or_insert(policy);
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    response
}

async fn style() -> impl IntoResponse {
    let headers = [(header::CONTENT_TYPE, "text/css; charset=utf-8"), (header::CACHE_CONTROL, "max-age=300")];
    (headers, include_str!("../../templates/style.css"))
}

fn session(headers: &HeaderMap) -> Option<&str> {
    headers
        .get_all(header::COOKIE)
        .iter()
        .filter_map(|v| v.to_str().ok())
        .flat_map(|v| v.split(';'))
        .find_map(|pair| pair.trim().strip_prefix(COOKIE)?.strip_prefix('='))
}

/// `YYYY-MM-DD HH:MM UTC+HH:MM`, where the centre's clocks are.
fn moment(at: Timestamp, offset: UtcOffset) -> String {
    let at = offset.local(at).to_string();
    format!("{} {} UTC{offset}", at.get(..10).unwrap_or_default(), at.get(11..16).unwrap_or_default())
}

/// Without what turns the reading direction of what follows it, or can't be seen: a number of somebody else's words stands as it is.
fn plain(html: String) -> String {
    let turns =
        |c: char| matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{61c}');
    html.chars().filter(|c| !turns(*c) && (!c.is_control() || *c == '\n')).collect()
}

fn page(status: StatusCode, template: &impl Template) -> Response {
    match template.render() {
        Ok(html) => (status, Html(plain(html))).into_response(),
        Err(error) => {
            tracing::error!(%error, "a page did not render");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

fn message(status: StatusCode, text: impl Into<String>) -> Response {
    page(status, &SignInPage { message: text.into(), code: None })
}

/// `what` wasn't shown.
fn failed(what: &str, fault: &Fault) -> Response {
    if fault.code == "guard.show-passkey" {
        return passkeys::to_presence("/");
    }
    let status = match fault.blame {
        Blame::Forbidden => StatusCode::FORBIDDEN,
        Blame::Configuration => StatusCode::SERVICE_UNAVAILABLE,
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    };
    tracing::warn!(code = fault.code, what, "a page was not shown");
    message(status, format!("{what} can’t be shown: {}", fault.message))
}

/// Runs what blocks (disks, cryptography) off the connection threads.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T, Fault> + Send + 'static) -> Result<T, Fault> {
    tokio::task::spawn_blocking(work)
        .await
        .unwrap_or_else(|_| Err(Fault::new(Blame::Ours, "console.panicked", "the request was given up")))
}

async fn list(reader: Reader) -> Response {
    match reader.read(Treatment::list).await {
        Ok(list) => {
            let at = list.utc_offset.local(list.as_of).to_string();
            let rows: Vec<Row> = list.rows.into_iter().map(row).collect();
            let totals = [("release", "ready"), ("hold", "on hold"), ("veto", "vetoed"), ("done", "complete")]
                .into_iter()
                .map(|(class, word)| Total { class, word, count: rows.iter().filter(|r| r.class == class).count() })
                .collect();
            page(
                StatusCode::OK,
                &ListPage {
                    centre: reader.treatment.centre().to_owned(),
                    as_of: at.get(11..16).unwrap_or_default().to_owned(),
                    date: format!("{} UTC{}", at.get(..10).unwrap_or_default(), list.utc_offset),
                    who: reader.who(),
                    role: reader.role(),
                    totals,
                    rows,
                },
            )
        }
        Err(fault) => failed("The list", &fault),
    }
}

fn row(row: TreatmentRow) -> Row {
    let (class, word) = match row.standing {
        Standing::Ready => ("release", "Ready"),
        Standing::Released => ("release", "Released"),
        Standing::Vetoed => ("veto", "Vetoed"),
        Standing::Hold => ("hold", "Hold"),
        Standing::Complete => ("done", "Complete"),
    };
    let fraction = match (row.fraction_next, row.fractions_planned) {
        (Some(next), Some(planned)) => format!("{next} of {planned}"),
        (None, Some(planned)) if row.standing == Standing::Complete => format!("{planned} of {planned}"),
        (None, Some(planned)) => format!("? of {planned}"),
        _ => "not known".to_owned(),
    };
    Row {
        name: row.name,
        number: row.number,
        birth_date: row.birth_date,
        plan: row.plan,
        machine: row.machine,
        fraction,
        class,
        word,
        why: row.why,
        awaits_approval: row.awaits_approval,
    }
}

/// A link opened in a browser only shows a button: what fetches links ahead can't use one up.
async fn ask(State(treatment): State<Arc<Treatment>>, Query(Code { code, then }): Query<Code>) -> Response {
    match code {
        Some(code) => {
            let message = "This link signs in once, on this computer.".to_owned();
            page(StatusCode::OK, &SignInPage { message, code: Some(code) })
        }
        None => passkeys::sign_in_page(&treatment, StatusCode::OK, "", &then.unwrap_or_default()),
    }
}

async fn sign_in(
    State(treatment): State<Arc<Treatment>>,
    Here(device): Here,
    Form(Code { code, .. }): Form<Code>,
) -> Response {
    let opened = blocking(move || {
        let code = code.unwrap_or_default();
        treatment.chart().guard().use_sign_in_link(&code, device).map_err(Fault::from)
    })
    .await;
    match opened {
        Ok(session) => match cookie_of(&session) {
            Some(cookie) => ([(header::SET_COOKIE, cookie)], Redirect::to("/")).into_response(),
            None => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
        },
        Err(_) => message(StatusCode::UNAUTHORIZED, "This link was used, has expired, or is not ours."),
    }
}

fn cookie_of(session: &str) -> Option<HeaderValue> {
    HeaderValue::from_str(&format!("{COOKIE}={session}; Path=/; HttpOnly; SameSite=Strict")).ok()
}

async fn sign_out(State(treatment): State<Arc<Treatment>>, headers: HeaderMap) -> Response {
    if let Some(session) = session(&headers).map(str::to_owned) {
        let treatment = Arc::clone(&treatment);
        let closed = blocking(move || treatment.chart().guard().close_session(&session).map_err(Fault::from)).await;
        if let Err(fault) = closed {
            return failed("The end of a session", &fault);
        }
    }
    let cookie = format!("{COOKIE}=; Path=/; HttpOnly; SameSite=Strict; Max-Age=0");
    match HeaderValue::from_str(&cookie) {
        // The next one signs in where this one was.
        Ok(cookie) => {
            let next = passkeys::sign_in_page(&treatment, StatusCode::OK, "Signed out.", "/");
            ([(header::SET_COOKIE, cookie)], next).into_response()
        }
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

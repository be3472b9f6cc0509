//! Who comes in: `GET /people`, and `POST /people/invite`, `/people/release`, `/people/end`. Two administrators let somebody in.

use std::sync::Arc;

use askama::Template;
use axum::Router;
use axum::extract::Form;
use axum::extract::rejection::FormRejection;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::{get, post};
use chart::Context;
use guard::{Act, Guard, InvitationStanding, Passkey, PasskeyError, Permit, Purpose, Role, Sensitivity, Target};
use kit::{Blame, Explain as _, Fault, Id16, UtcOffset};
use serde::Deserialize;
use treatment::Treatment;

use super::passkeys::to_presence;
use super::reader::Reader;
use super::{failed, message, moment, page};

#[derive(Template)]
#[template(path = "people.html")]
struct PeoplePage {
    centre: String,
    who: String,
    role: String,
    refused: Option<String>,
    half: Option<Half>,
    roles: Vec<&'static str>,
    invitations: Vec<InvitedRow>,
    passkeys: Vec<PasskeyRow>,
}

struct Half {
    login: String,
    text: String,
    is_released: bool,
}

struct InvitedRow {
    id: String,
    login: String,
    role: String,
    class: &'static str,
    word: &'static str,
    by: String,
    ends: String,
    may_release: bool,
}

struct PasskeyRow {
    id: String,
    brief: String,
    login: String,
    role: String,
    since: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Invited {
    login: String,
    role: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Named {
    id: String,
}

pub(super) fn router(treatment: Arc<Treatment>) -> Router {
    Router::new()
        .route("/people", get(shown))
        .route("/people/invite", post(invite))
        .route("/people/release", post(release))
        .route("/people/end", post(end))
        .with_state(treatment)
}

fn permit(treatment: &Treatment, context: &Context) -> Result<Permit, Fault> {
    let context = Context { purpose: Purpose::Operations, ..context.clone() };
    treatment
        .chart()
        .admit(&context, Act::EnrolPerson, Target::Centre, Sensitivity::Administrative)
        .map_err(|e| e.fault())
}

async fn shown(reader: Reader) -> Response {
    answer(&reader, StatusCode::OK, None, None).await
}

async fn invite(reader: Reader, posted: Result<Form<Invited>, FormRejection>) -> Response {
    let Ok(Form(Invited { login, role })) = posted else { return unreadable() };
    let login = login.trim().to_owned();
    let of = login.clone();
    let done = reader.read(move |treatment, context| {
        let guard = treatment.chart().guard();
        let permit = here(treatment, context, guard)?;
        let role: Role = role.parse().map_err(|e: guard::UnknownWord| usage(e.to_string()))?;
        guard.invite(&permit, role, &login).map_err(|e| Fault::of(&e))
    });
    match done.await {
        Ok((_, text)) => {
            let half = Half { login: of, text: text.to_string(), is_released: false };
            answer(&reader, StatusCode::OK, None, Some(half)).await
        }
        Err(fault) => refused(&reader, fault).await,
    }
}

async fn release(reader: Reader, posted: Result<Form<Named>, FormRejection>) -> Response {
    let Ok(Form(Named { id })) = posted else { return unreadable() };
    let done = reader.read(move |treatment, context| {
        let guard = treatment.chart().guard();
        let permit = here(treatment, context, guard)?;
        let id = parsed(&id)?;
        let text = guard.release(&permit, id).map_err(|e| Fault::of(&e))?;
        let login = guard.invitations().into_iter().find(|one| one.invitation.id == id);
        Ok((login.map(|one| one.invitation.subject).unwrap_or_default(), text))
    });
    match done.await {
        Ok((login, text)) => {
            let half = Half { login, text: text.to_string(), is_released: true };
            answer(&reader, StatusCode::OK, None, Some(half)).await
        }
        Err(fault) => refused(&reader, fault).await,
    }
}

async fn end(reader: Reader, posted: Result<Form<Named>, FormRejection>) -> Response {
    let Ok(Form(Named { id })) = posted else { return unreadable() };
    let done = reader.read(move |treatment, context| {
        let guard = treatment.chart().guard();
        let permit = here(treatment, context, guard)?;
        guard.end_passkey(&permit, parsed(&id)?).map_err(|e| Fault::of(&e))
    });
    match done.await {
        Ok(()) => Redirect::to("/people").into_response(),
        Err(fault) => refused(&reader, fault).await,
    }
}

/// A permit of somebody who has just shown who she is.
fn here(treatment: &Treatment, context: &Context, guard: &Guard) -> Result<Permit, Fault> {
    let permit = permit(treatment, context)?;
    guard.check_fresh(&context.caller).map_err(|e| Fault::of(&e))?;
    Ok(permit)
}

fn usage(what: String) -> Fault {
    Fault::new(Blame::Peer, "usage.people", what)
}

fn parsed(id: &str) -> Result<Id16, Fault> {
    id.parse().map_err(|e: kit::id::BadId| usage(e.to_string()))
}

fn unreadable() -> Response {
    message(StatusCode::BAD_REQUEST, "The form could not be read. Nothing was done.")
}

async fn refused(reader: &Reader, fault: Fault) -> Response {
    match fault.blame {
        _ if fault.code == PasskeyError::NotFresh.code() => to_presence("/people"),
        _ if fault.code.starts_with("guard.passkey") => {
            answer(reader, StatusCode::BAD_REQUEST, Some(fault), None).await
        }
        Blame::Peer | Blame::Absent => answer(reader, StatusCode::BAD_REQUEST, Some(fault), None).await,
        _ => failed("What you asked for", &fault),
    }
}

async fn answer(reader: &Reader, status: StatusCode, refused: Option<Fault>, half: Option<Half>) -> Response {
    let who = reader.who();
    let listed = reader.read(|treatment, context| {
        let permit = permit(treatment, context)?;
        let guard = treatment.chart().guard();
        Ok((guard.invitations(), guard.all_passkeys(&permit).map_err(|e| Fault::of(&e))?))
    });
    let (invitations, passkeys) = match listed.await {
        Ok(listed) => listed,
        Err(fault) => return failed("The list of people", &fault),
    };
    let offset = reader.treatment.utc_offset();
    let roles = Role::ALL.iter().filter(|role| **role != Role::Console && !role.is_machine());
    let shown = PeoplePage {
        centre: reader.treatment.centre().to_owned(),
        role: reader.role(),
        refused: refused.map(|fault| fault.message),
        half,
        roles: roles.map(|role| role.as_str()).collect(),
        invitations: invitations.into_iter().map(|one| invited_row(one, &who, offset)).collect(),
        passkeys: passkeys.into_iter().map(|one| passkey_row(one, offset)).collect(),
        who,
    };
    page(status, &shown)
}

fn invited_row(one: InvitationStanding, who: &str, offset: UtcOffset) -> InvitedRow {
    let InvitationStanding { invitation, released } = one;
    let (class, word) = match released {
        Some(_) => ("release", "Released"),
        None => ("hold", "Waits for another administrator"),
    };
    InvitedRow {
        id: invitation.id.to_string(),
        class,
        word,
        may_release: released.is_none() && invitation.by != who && invitation.subject != who,
        by: match released {
            Some(released) => format!("by {}, released by {}", invitation.by, released.by),
            None => format!("by {}", invitation.by),
        },
        login: invitation.subject,
        role: invitation.role.to_string(),
        ends: moment(invitation.expires, offset),
    }
}

fn passkey_row(one: Passkey, offset: UtcOffset) -> PasskeyRow {
    PasskeyRow {
        brief: one.id.to_string().chars().take(8).collect(),
        id: one.id.to_string(),
        login: one.subject,
        role: one.role.to_string(),
        since: moment(one.at, offset),
    }
}

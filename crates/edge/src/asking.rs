//! A program that asks over HTTP with a bearer token: who it is, a place for it, its body within bounds, and its answer.

use std::sync::Arc;

use axum::body::Body;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Json, Response};
use chart::Context;
use guard::{Caller, Purpose};
use kit::{Blame, Fault, OperationId};
use serde::Serialize;
use treatment::Treatment;

use crate::intake::{self, BODY_TIME_MAX, Place, Places, Unread, bearer};

/// What such programs talk to.
#[derive(Clone)]
pub(crate) struct Door {
    pub(crate) treatment: Arc<Treatment>,
    pub(crate) places: Places,
}

/// One request of theirs.
pub(crate) struct Asking {
    door: Door,
    pub(crate) operation: OperationId,
    /// What the codes of its refusals begin with.
    room: &'static str,
}

/// Whose it is, and that there is a place for it, as long as this lives.
pub(crate) struct Admitted {
    pub(crate) context: Context,
    _place: Place,
}

/// What is said instead of an answer.
pub(crate) struct Refused(Box<Response>);

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        *self.0
    }
}

impl Asking {
    pub(crate) fn new(door: Door, room: &'static str) -> Self {
        let operation = OperationId::random(door.treatment.chart().entropy());
        Self { door, operation, room }
    }

    pub(crate) fn treatment(&self) -> Arc<Treatment> {
        Arc::clone(&self.door.treatment)
    }

    pub(crate) fn refuse(&self, status: StatusCode, what: &str, why: impl Into<String>) -> Response {
        let blame = if status == StatusCode::UNAUTHORIZED { Blame::Forbidden } else { Blame::Peer };
        answer(status, Fault::new(blame, format!("{}.{what}", self.room), why).during(self.operation))
    }

    /// Before a byte of a body is read: who sends no good token sends no 40 MiB either.
    pub(crate) fn caller(&self, headers: &HeaderMap) -> Result<Caller, Refused> {
        let token = bearer(headers).unwrap_or_default();
        self.door.treatment.chart().guard().authenticate_bearer(token).map_err(|_| {
            let why = "a bearer token of this centre is needed";
            let refusal = self.refuse(StatusCode::UNAUTHORIZED, "unauthenticated", why);
            Refused(Box::new(([(header::WWW_AUTHENTICATE, "Bearer")], refusal).into_response()))
        })
    }

    /// Waits for a place; `caller` treats.
    pub(crate) async fn admit(&self, headers: &HeaderMap, caller: Caller) -> Result<Admitted, Refused> {
        let Some(place) = self.door.places.take(bearer(headers).unwrap_or_default()).await else {
            let why = "too many requests are on their way, by this token or in all; ask again in a moment";
            return Err(Refused(Box::new(self.refuse(StatusCode::TOO_MANY_REQUESTS, "busy", why))));
        };
        let context = Context { caller, purpose: Purpose::Treatment, operation: self.operation };
        Ok(Admitted { context, _place: place })
    }

    /// `what`, as a refusal names it; `instead`: what to do where it is too long.
    pub(crate) async fn body(
        &self,
        body: Body,
        bytes_max: usize,
        what: &str,
        instead: &str,
    ) -> Result<Vec<u8>, Refused> {
        let (status, code, why) = match intake::read(body, bytes_max).await {
            Ok(body) => return Ok(body),
            Err(Unread::TooLong) => {
                (StatusCode::PAYLOAD_TOO_LARGE, "too-long", format!("{what} is larger than {bytes_max} bytes{instead}"))
            }
            Err(Unread::BrokeOff) => (StatusCode::BAD_REQUEST, "broke-off", format!("{what} broke off")),
            Err(Unread::TooSlow) => {
                let why = format!("{what} took longer than {} seconds", BODY_TIME_MAX.as_secs());
                (StatusCode::REQUEST_TIMEOUT, "too-slow", why)
            }
        };
        Err(Refused(Box::new(self.refuse(status, code, why))))
    }

    /// What `work` finds, off the connection threads; `status` for what it has found.
    pub(crate) async fn answer<T: Serialize + Send + 'static>(
        self,
        admitted: Admitted,
        work: impl FnOnce(&Treatment, &Context) -> Result<T, Fault> + Send + 'static,
        status: impl FnOnce(&T) -> StatusCode,
    ) -> Response {
        let treatment = self.treatment();
        match tokio::task::spawn_blocking(move || work(&treatment, &admitted.context)).await {
            Ok(Ok(found)) => (status(&found), Json(found)).into_response(),
            Ok(Err(fault)) => answer(status_of(&fault), fault.during(self.operation)),
            Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
        }
    }
}

fn status_of(fault: &Fault) -> StatusCode {
    match fault.blame {
        Blame::Peer | Blame::Conflict => StatusCode::UNPROCESSABLE_ENTITY,
        Blame::Forbidden => StatusCode::FORBIDDEN,
        Blame::Absent => StatusCode::NOT_FOUND,
        Blame::Configuration => StatusCode::SERVICE_UNAVAILABLE,
        Blame::Integrity | Blame::Ours => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

/// A refusal, as everywhere over HTTP: an OperationOutcome.
pub(crate) fn answer(status: StatusCode, fault: Fault) -> Response {
    let body = chart::fhir::fault_outcome(&fault).to_string();
    (status, [(header::CONTENT_TYPE, "application/fhir+json")], body).into_response()
}

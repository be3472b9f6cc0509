//! Who asks for a page, and what is read for them.

use std::sync::Arc;

use axum::extract::{FromRef, FromRequestParts};
use axum::http::StatusCode;
use axum::http::request::Parts;
use axum::response::Response;
use chart::Context;
use guard::{Caller, Purpose};
use kit::{Fault, OperationId};
use treatment::Treatment;

use super::{blocking, message, session};

/// Whoever is signed in. Anybody else is told how to sign in, and no handler is run.
pub(super) struct Reader {
    pub(super) treatment: Arc<Treatment>,
    caller: Caller,
}

impl<S: Send + Sync> FromRequestParts<S> for Reader
where
    Arc<Treatment>: FromRef<S>,
{
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Response> {
        let treatment: Arc<Treatment> = FromRef::from_ref(state);
        let caller = session(&parts.headers).and_then(|s| treatment.chart().guard().authenticate_session(s).ok());
        match caller {
            Some(caller) => Ok(Self { treatment, caller }),
            None => {
                let text = "Please open a sign-in link: holdfast sign-in makes one.";
                Err(message(StatusCode::UNAUTHORIZED, text))
            }
        }
    }
}

impl Reader {
    pub(super) fn who(&self) -> String {
        self.caller.subject().to_owned()
    }

    pub(super) fn role(&self) -> String {
        self.caller.role().to_string()
    }

    /// One act of theirs, under an operation of its own: they treat.
    pub(super) fn context(&self) -> Context {
        let operation = OperationId::random(self.treatment.chart().entropy());
        Context { caller: self.caller.clone(), purpose: Purpose::Treatment, operation }
    }

    /// What they may see, read off the connection threads.
    pub(super) async fn read<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Treatment, &Context) -> Result<T, Fault> + Send + 'static,
    ) -> Result<T, Fault> {
        let (treatment, context) = (Arc::clone(&self.treatment), self.context());
        blocking(move || work(&treatment, &context)).await
    }
}

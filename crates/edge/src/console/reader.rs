//! Who asks for a page, and what is read for them.

use std::sync::Arc;

use axum::extract::{FromRef, FromRequestParts};
use axum::http::request::Parts;
use axum::http::{Method, StatusCode};
use axum::response::Response;
use chart::Context;
use guard::{Act, Caller, Guard, Passkey, Purpose, Question, Relation, Sensitivity, Target};
use kit::{Fault, OperationId, PatientId};
use treatment::Treatment;

use super::passkeys::sign_in_page;
use super::{blocking, device, message, session};

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
        let here = device::of(&parts.extensions, &parts.headers);
        let guard = treatment.chart().guard();
        let caller = session(&parts.headers).and_then(|cookie| guard.authenticate_session(cookie, here).ok());
        match caller {
            Some(caller) if treatment.chart().guard().is_frozen(&caller) => {
                Err(message(StatusCode::FORBIDDEN, "This login does nothing here until two officers say so."))
            }
            Some(caller) => Ok(Self { treatment, caller }),
            None => {
                let then = parts.uri.path_and_query().map(|path| path.as_str()).filter(|_| parts.method == Method::GET);
                Err(sign_in_page(&treatment, StatusCode::UNAUTHORIZED, "", then.unwrap_or("/")))
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

    /// Whether they would be allowed this, of the centre: for what a page offers.
    pub(super) fn may(&self, act: Act, purpose: Purpose) -> bool {
        let (role, target, sensitivity) = (self.caller.role(), Target::Centre, Sensitivity::Administrative);
        let relation = Relation::Unexplained;
        self.treatment
            .chart()
            .guard()
            .would_allow(&self.caller, Question { role, act, target, sensitivity, purpose, relation })
    }

    /// The same of a patient, whoever she is, to whom nothing relates them.
    pub(super) fn may_of_a_patient(&self, act: Act, purpose: Purpose) -> bool {
        let (role, sensitivity, relation) = (self.caller.role(), Sensitivity::Clinical, Relation::Unexplained);
        let target = Target::Patient(PatientId([0; 16]));
        let question = Question { role, act, target, sensitivity, purpose, relation };
        self.treatment.chart().guard().would_allow(&self.caller, question)
    }

    /// One act of theirs, under an operation of its own: they treat.
    pub(super) fn context(&self) -> Context {
        let operation = OperationId::random(self.treatment.chart().entropy());
        Context { caller: self.caller.clone(), purpose: Purpose::Treatment, operation }
    }

    pub(super) fn passkeys(&self) -> Vec<Passkey> {
        self.treatment.chart().guard().passkeys_of(&self.caller)
    }

    pub(super) fn has_no_passkey(&self) -> bool {
        self.passkeys().is_empty()
    }

    /// What they do at the door itself: it wants no permit, and is of themselves alone.
    pub(super) async fn at_the_door<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Guard, &Caller) -> Result<T, Fault> + Send + 'static,
    ) -> Result<T, Fault> {
        let (treatment, caller) = (Arc::clone(&self.treatment), self.caller.clone());
        blocking(move || work(treatment.chart().guard(), &caller)).await
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

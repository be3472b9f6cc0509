//! FHIR R4 over HTTP: which requests there are, what they may carry, and how each is answered. Whatever is refused is
//! refused with an OperationOutcome. Knows nothing of how records are kept: that stands behind [`Records`].
//!
//! A request's life: its address and method name an [`Interaction`]; the bearer token is checked before a byte of the body
//! is read; the body is read within its bound; parsing, checking and the records' own work run on a thread that may
//! block; the answer carries the operation id that finds the log line. No line of the log names a patient.

mod interaction;
mod negotiate;
mod reply;
mod serve;

use std::sync::Arc;

use axum::Router;
use axum::routing::any;
use chart::fhir::{Change, Draft, Issue, Query, Resource, ResponseEntry};
use kit::{Fault, OperationId, Timestamp};

pub use interaction::Interaction;

use crate::account::asked::Asked;
use crate::intake::Places;

/// Where FHIR stands on this server.
pub const ROOT: &str = "/fhir";

/// One version of a record, as it is kept.
#[derive(Clone)]
pub struct Record {
    pub kind: &'static str,
    pub id: String,
    pub version: u32,
    pub updated: Timestamp,
    pub change: Change,
    /// With the id and the version that the server gave it; none where this version deleted it.
    pub bytes: Option<Vec<u8>>,
    /// Of a version that was written by this call.
    pub receipt: Option<Receipt>,
}

/// What the centre promises of a version that it keeps.
#[derive(Clone, Copy)]
pub struct Receipt {
    /// Servers and buckets that may be lost without it.
    pub survives: u8,
    /// Witnesses that cosigned the log's head with it.
    pub witnesses: u8,
    /// Its number in the log.
    pub entry: u64,
}

/// A page of a search or a history.
pub struct Page {
    pub records: Vec<Record>,
    /// The token that leads to the next page, where there is one: letters, digits, `-`, `_`.
    pub next: Option<String>,
}

/// Why something was not done.
pub enum Refusal {
    /// There is no such record, or no such version of it.
    NotFound,
    /// `If-Match` names another version than the current one; none where there never was one.
    VersionConflict {
        current: Option<u32>,
    },
    /// What came in breaks a rule.
    Invalid(Vec<Issue>),
    Fault(Fault),
}

impl From<Fault> for Refusal {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

impl From<Issue> for Refusal {
    fn from(issue: Issue) -> Self {
        Self::Invalid(vec![issue])
    }
}

/// What stands behind the FHIR port. Every call may block. Resources that come in have been checked against R4.
pub trait Records: Send + Sync + 'static {
    /// Who asks, why, and during which operation.
    type Context: Send + 'static;

    /// A new operation id.
    fn operation(&self) -> OperationId;

    /// Whose token is it? None where it is nobody's, or no longer.
    fn authenticate(&self, token: &str, operation: OperationId) -> Option<Self::Context>;

    /// The public address of `/fhir`, where it differs from what clients write into `Host`.
    fn base(&self) -> Option<String> {
        None
    }

    /// Keeps a new record under an id of the server's choice.
    fn create(&self, context: &Self::Context, resource: Resource) -> Result<Record, Refusal>;

    /// The current version; one without bytes where the record is deleted.
    fn read(&self, context: &Self::Context, kind: &'static str, id: &str) -> Result<Record, Refusal>;

    fn vread(&self, context: &Self::Context, kind: &'static str, id: &str, version: u32) -> Result<Record, Refusal>;

    /// Keeps a next version, or the first one under the client's id. The resource's id is `id`.
    fn update(
        &self,
        context: &Self::Context,
        resource: Resource,
        id: &str,
        if_match: Option<u32>,
    ) -> Result<Record, Refusal>;

    /// Keeps a version without bytes; or gives the one that there is already. Not found where nothing ever was.
    fn delete(
        &self,
        context: &Self::Context,
        kind: &'static str,
        id: &str,
        if_match: Option<u32>,
    ) -> Result<Record, Refusal>;

    /// Versions, newest first.
    fn history(
        &self,
        context: &Self::Context,
        kind: &'static str,
        id: &str,
        count: usize,
        page: Option<&str>,
    ) -> Result<Page, Refusal>;

    /// Records that match, each opened and judged by `query.matches`.
    fn search(&self, context: &Self::Context, query: &Query) -> Result<Page, Refusal>;

    /// Does what a Bundle asks: a transaction wholly or not at all. One answer for each entry, in the order of entries.
    fn bundle(&self, context: &Self::Context, draft: Draft) -> Result<Vec<ResponseEntry>, Refusal>;

    /// AuditEvents, oldest first; `base` is this server's address. Where no account is kept there are none.
    fn audit_events(&self, _context: &Self::Context, _base: &str, _asked: &Asked) -> Result<Page, Refusal> {
        Err(Refusal::NotFound)
    }

    /// One of them: a line of an entry.
    fn audit_event(&self, _context: &Self::Context, _base: &str, _entry: u64, _line: usize) -> Result<Record, Refusal> {
        Err(Refusal::NotFound)
    }
}

/// Routes of `/fhir`, with places for bodies of their own.
pub fn router<R: Records>(records: Arc<R>) -> Router {
    router_in(records, Places::default())
}

/// Routes of `/fhir`.
pub(crate) fn router_in<R: Records>(records: Arc<R>, places: Places) -> Router {
    let service = Arc::new(serve::Service::new(records, places));
    // One door for every address and method: a refusal of the framework's own would be no OperationOutcome.
    Router::new()
        .route(ROOT, any(serve::serve::<R>))
        .route(&format!("{ROOT}/"), any(serve::serve::<R>))
        .route(&format!("{ROOT}/{{*rest}}"), any(serve::serve::<R>))
        .with_state(service)
}

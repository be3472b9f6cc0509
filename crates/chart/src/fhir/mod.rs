//! FHIR R4 without I/O: bytes in, checked resources, search facts, queries, transaction plans and answers out.
//! Knows neither the vault nor the index. `docs/fhir.md` describes what the server offers.

mod answer;
mod bundle;
mod capability;
mod check;
mod compartment;
mod instant;
mod issue;
mod json;
mod narrative;
mod query;
mod reference;
mod relates;
mod resource;
mod search;
mod table;

pub use answer::{Change, Link, ResponseEntry, Version, history, response_bundle, searchset};
pub use bundle::{Action, BundleKind, Condition, Draft, Operation, Plan, parse_etag};
pub use capability::capability_statement;
pub use compartment::Compartment;
pub use instant::{Span, parse_date_time};
pub use issue::{Code, Issue, Severity, fault_outcome, operation_outcome, status_of_fault, status_of_issues};
pub use query::{COUNT_DEFAULT, COUNT_MAX, Query, said_once};
pub use relates::{Named, RELATED_MAX, Related};
pub use resource::{AUDIT_EVENT, Resource, is_id, resource_type, resource_types};
pub(crate) use search::token;
pub use search::{FIELDS_MAX, Field, PREFIX_CHARS, Reach, normalise};

//! What can go wrong with a record, grouped by whose fault it is.

use guard::{Denied, GuardError, PermitError};
use kit::{Blame, Explain, Fault};
use vault::VaultError;

use crate::fhir::{Code, Issue};
use crate::index::IndexError;
use crate::meta::MetaError;

#[derive(Debug, thiserror::Error)]
pub enum ChartError {
    #[error("the record breaks {} rules of FHIR R4, the first: {}", .0.len(), first(.0))]
    Invalid(Vec<Issue>),
    #[error("{reference} is not here")]
    NoSuchRecord { reference: String },
    #[error("{reference} was deleted as version {version}")]
    Gone { reference: String, version: u32 },
    #[error("{reference} is at version {current}, the request expects {expected}")]
    VersionConflict {
        reference: String,
        current: u32,
        expected: u32,
        /// Of a Bundle.
        entry: Option<usize>,
    },
    #[error("{reference} would move to another patient; delete it there and create it here")]
    MovesPatient { reference: String },
    #[error("the record refers to {reference}, which is no patient of this centre")]
    UnknownPatient {
        reference: String,
        /// The element that refers to her.
        place: String,
    },
    #[error("more than one patient is known by this: nothing can be done before it is known whose it is")]
    AmbiguousPatient,
    #[error("the index led to another record than was asked for")]
    IndexMisleads,
    #[error("the list has more than {limit} entries, which is its maximum: a part of it would hide the newest")]
    ListTooLong { limit: usize },
    #[error("the permit is for another patient")]
    AnotherPatient,
    #[error("entry {entry} holds no record")]
    NoRecord { entry: u64 },
    #[error(transparent)]
    Denied(#[from] Denied),
    #[error(transparent)]
    Permit(#[from] PermitError),
    #[error(transparent)]
    Guard(#[from] GuardError),
    #[error(transparent)]
    Vault(#[from] VaultError),
    #[error(transparent)]
    Index(#[from] IndexError),
    #[error(transparent)]
    Meta(#[from] MetaError),
    #[error("{0}")]
    Other(Fault),
}

fn first(issues: &[Issue]) -> String {
    issues.first().map_or_else(String::new, |issue| {
        format!("{}: {}", issue.expression.as_deref().unwrap_or("the body"), issue.diagnostics)
    })
}

impl From<Fault> for ChartError {
    fn from(fault: Fault) -> Self {
        Self::Other(fault)
    }
}

impl ChartError {
    /// As it crosses the boundary: a `Fault` that was passed through keeps its own code and guidance.
    pub fn fault(&self) -> Fault {
        match self {
            Self::Other(fault) => fault.clone(),
            error => Fault::of(error),
        }
    }
}

impl ChartError {
    /// What a transaction's entry asked for and isn't here, with its place.
    pub(crate) fn of_entry(self, entry: usize) -> Self {
        let code = match &self {
            Self::NoSuchRecord { .. } => Code::NotFound,
            Self::Gone { .. } => Code::Deleted,
            _ => return self,
        };
        let place = format!("Bundle.entry[{entry}].request.url");
        Self::Invalid(vec![Issue::error(code, self.to_string()).at(place)])
    }

    /// In FHIR's terms, where there is more to say than a fault's blame: a place, or a status of its own.
    pub fn issues(&self) -> Option<Vec<Issue>> {
        match self {
            Self::Invalid(issues) => Some(issues.clone()),
            Self::UnknownPatient { place, .. } => {
                let text = format!("{self} [{}]; what to do: {}", self.code(), self.guidance().unwrap_or_default());
                Some(vec![Issue::error(Code::BusinessRule, text).at(place)])
            }
            Self::Gone { .. } => Some(vec![Issue::error(Code::Deleted, self.to_string())]),
            Self::VersionConflict { entry, .. } => {
                let issue = Issue::error(Code::Precondition, self.to_string());
                Some(vec![match entry {
                    Some(entry) => issue.at(format!("Bundle.entry[{entry}].request.ifMatch")),
                    None => issue,
                }])
            }
            _ => None,
        }
    }
}

impl Explain for ChartError {
    fn blame(&self) -> Blame {
        match self {
            Self::Invalid(_) | Self::UnknownPatient { .. } | Self::MovesPatient { .. } => Blame::Peer,
            Self::AmbiguousPatient | Self::ListTooLong { .. } => Blame::Conflict,
            Self::NoSuchRecord { .. } | Self::Gone { .. } => Blame::Absent,
            Self::VersionConflict { .. } => Blame::Conflict,
            Self::AnotherPatient => Blame::Forbidden,
            Self::NoRecord { .. } => Blame::Ours,
            Self::IndexMisleads => Blame::Integrity,
            Self::Denied(e) => e.blame(),
            Self::Permit(e) => e.blame(),
            Self::Guard(e) => e.blame(),
            Self::Vault(e) => e.blame(),
            Self::Index(e) => e.blame(),
            Self::Meta(e) => e.blame(),
            Self::Other(fault) => fault.blame,
        }
    }

    fn code(&self) -> &'static str {
        match self {
            Self::Invalid(_) => "chart.invalid",
            Self::NoSuchRecord { .. } => "chart.not-found",
            Self::Gone { .. } => "chart.gone",
            Self::VersionConflict { .. } => "chart.version-conflict",
            Self::MovesPatient { .. } => "chart.moves-patient",
            Self::UnknownPatient { .. } => "chart.unknown-patient",
            Self::AmbiguousPatient => "chart.ambiguous-patient",
            Self::ListTooLong { .. } => "chart.list-too-long",
            Self::AnotherPatient => "chart.another-patient",
            Self::NoRecord { .. } => "chart.no-record",
            Self::IndexMisleads => "chart.index-misleads",
            Self::Denied(e) => e.code(),
            Self::Permit(e) => e.code(),
            Self::Guard(e) => e.code(),
            Self::Vault(e) => e.code(),
            Self::Index(e) => e.code(),
            Self::Meta(e) => e.code(),
            Self::Other(_) => "chart.other",
        }
    }

    fn guidance(&self) -> Option<&'static str> {
        match self {
            Self::IndexMisleads => Some("`holdfast scrub` makes the index anew from the ledger"),
            Self::UnknownPatient { .. } => Some("create the Patient first, or in the same transaction"),
            Self::VersionConflict { .. } => Some("read the current version and repeat the change on it"),
            Self::AmbiguousPatient => Some("merge the patients or correct the identifier, then send again"),
            Self::Denied(e) => e.guidance(),
            Self::Permit(e) => e.guidance(),
            Self::Guard(e) => e.guidance(),
            Self::Vault(e) => e.guidance(),
            Self::Index(e) => e.guidance(),
            _ => None,
        }
    }
}

//! Why a holder doesn't do what it was asked, and how that travels.

use keys::HolderError;
use kit::format::FormatError;
use kit::{Explain, Fault};
use location::LocationError;

use crate::wire::Refusal;

/// A refusal and the HTTP status that it travels under.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{} [{}]", refusal.message, refusal.code)]
pub struct Refused {
    pub status: u16,
    pub refusal: Refusal,
}

impl Refused {
    pub fn new(status: u16, code: &str, message: impl Into<String>) -> Self {
        Self { status, refusal: Refusal { code: code.to_owned(), message: message.into(), number: None } }
    }

    pub fn number(mut self, number: u64) -> Self {
        self.refusal.number = Some(number);
        self
    }

    fn of(status: u16, error: &dyn Explain) -> Self {
        Self::new(status, error.code(), error.to_string())
    }
}

impl From<FormatError> for Refused {
    fn from(error: FormatError) -> Self {
        Self::new(400, "holder.malformed", error.to_string())
    }
}

impl From<LocationError> for Refused {
    fn from(error: LocationError) -> Self {
        let status = match &error {
            LocationError::NameLength { .. } | LocationError::NameCharacter { .. } => 400,
            LocationError::TooLarge { .. } | LocationError::BatchTooLarge { .. } => 413,
            LocationError::Full { .. } => 507,
            _ => 500,
        };
        let refused = Self::of(status, &error);
        match error {
            LocationError::Full { bytes, .. } => refused.number(bytes),
            _ => refused,
        }
    }
}

impl From<HolderError> for Refused {
    fn from(error: HolderError) -> Self {
        let status = match &error {
            HolderError::Erased { .. } => 410,
            HolderError::OverBudget { .. } | HolderError::Unproven { .. } => 403,
            HolderError::NoPatient { .. }
            | HolderError::NotMine { .. }
            | HolderError::Epoch { .. }
            | HolderError::Sealed { .. } => 409,
            HolderError::TooLong { .. } | HolderError::Format(_) => 400,
            _ => 500,
        };
        Self::of(status, &error)
    }
}

impl From<Fault> for Refused {
    fn from(fault: Fault) -> Self {
        Self::new(500, &fault.code, fault.message)
    }
}

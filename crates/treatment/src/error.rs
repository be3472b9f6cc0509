//! Why a plan is refused: typed, naming the place, and quoting no value that a peer wrote.

use kit::{Blame, Explain};

use crate::dicom::object::{Kind, ObjectError};
use crate::dicom::scan::{Attribute, ScanError};
use crate::dicom::value::ValueFault;
use crate::plan::delivery::Place;

/// Where a refused plan fails. Every one of them means: hold.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    #[error(transparent)]
    Object(#[from] ObjectError),
    #[error("this is no treatment plan but {kind:?}")]
    NotAPlan { kind: Kind },
    #[error("brachytherapy (Number of Brachy Application Setups (300A,00A0), or its sequences) is not supported: hold")]
    Brachytherapy,
    #[error("{place}: {what} is not supported: hold")]
    Unsupported { place: Place, what: &'static str },
    #[error("{place}: more than {max} {what}")]
    TooMany { place: Place, what: &'static str, max: usize },
    #[error("{place}: {attribute} is not known to the delivery digest, so nobody can say that it moves no dose: hold")]
    Unknown { place: Place, attribute: Attribute },
    #[error("{place}: {attribute} is missing or empty")]
    Missing { place: Place, attribute: Attribute },
    #[error("{place}: {attribute} changes here but was not given in control point 0")]
    Late { place: Place, attribute: Attribute },
    #[error("{place}: {attribute}: {fault}")]
    Value { place: Place, attribute: Attribute, fault: ValueFault },
    #[error("{place}: {attribute} announces {announced}, here are {found}")]
    Count { place: Place, attribute: Attribute, announced: i64, found: usize },
    #[error("{place}: {attribute} comes twice")]
    Duplicate { place: Place, attribute: Attribute },
    #[error("{place}: {attribute} refers to what isn't in the plan")]
    Dangling { place: Place, attribute: Attribute },
    #[error("{place}: no fraction group refers to this beam by Referenced Beam Number (300C,0006)")]
    Unreferenced { place: Place },
    #[error("{place}: {attribute}: {what}")]
    Contradiction { place: Place, attribute: Attribute, what: &'static str },
}

impl From<ScanError> for PlanError {
    fn from(error: ScanError) -> Self {
        Self::Object(ObjectError::Scan(error))
    }
}

impl Explain for PlanError {
    fn blame(&self) -> Blame {
        Blame::Peer
    }

    fn code(&self) -> &'static str {
        match self {
            Self::Object(error) => error.code(),
            Self::NotAPlan { .. } => "treatment.plan.not-a-plan",
            Self::Brachytherapy => "treatment.plan.brachytherapy",
            Self::Unsupported { .. } => "treatment.plan.unsupported",
            Self::TooMany { .. } => "treatment.plan.too-many",
            Self::Unknown { .. } => "treatment.plan.unknown-attribute",
            Self::Missing { .. } => "treatment.plan.missing",
            Self::Late { .. } => "treatment.plan.late",
            Self::Value { .. } => "treatment.plan.value",
            Self::Count { .. } => "treatment.plan.count",
            Self::Duplicate { .. } => "treatment.plan.duplicate",
            Self::Dangling { .. } => "treatment.plan.dangling",
            Self::Unreferenced { .. } => "treatment.plan.unreferenced-beam",
            Self::Contradiction { .. } => "treatment.plan.contradiction",
        }
    }

    fn guidance(&self) -> Option<&'static str> {
        match self {
            Self::Object(error) => error.guidance(),
            Self::NotAPlan { .. } => Some("give it an RT Plan or RT Ion Plan"),
            Self::Brachytherapy | Self::Unsupported { .. } => {
                Some("this delivery can't be verified here; a physicist must verify it another way")
            }
            _ => Some("do not treat from this file; export the plan again from the planning system"),
        }
    }
}

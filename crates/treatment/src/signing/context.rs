//! What a plan is signed with: the structures and images that it was made on, the dose that it was judged by, its prescription,
//! when the machine is to stop and ask. Bytes in `docs/formats/approval.md`.

use std::fmt;

use kit::Digest;
use minicbor::{Decode, Encode};
use serde::{Deserialize, Serialize};

/// Each by its content: the same under another name is the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode, Serialize, Deserialize)]
pub struct PlanContext {
    /// None where it isn't here.
    #[n(0)]
    pub structure_set: Option<Digest>,
    /// Those of the series that the structures were drawn on; none where none of them is here.
    #[n(1)]
    pub images: Option<Digest>,
    /// All doses of the plan alone; none where none is here.
    #[n(2)]
    pub dose: Option<Digest>,
    #[n(3)]
    pub prescription: Digest,
    #[n(4)]
    pub tolerance_tables: Digest,
}

/// One thing that a plan is signed with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ContextPart {
    StructureSet,
    Images,
    Dose,
    Prescription,
    ToleranceTables,
}

impl ContextPart {
    pub const ALL: [Self; 5] =
        [Self::StructureSet, Self::Images, Self::Dose, Self::Prescription, Self::ToleranceTables];
}

impl fmt::Display for ContextPart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::StructureSet => "structure set",
            Self::Images => "images",
            Self::Dose => "dose",
            Self::Prescription => "prescription",
            Self::ToleranceTables => "tolerance tables",
        })
    }
}

impl PlanContext {
    pub fn part(&self, part: ContextPart) -> Option<Digest> {
        match part {
            ContextPart::StructureSet => self.structure_set,
            ContextPart::Images => self.images,
            ContextPart::Dose => self.dose,
            ContextPart::Prescription => Some(self.prescription),
            ContextPart::ToleranceTables => Some(self.tolerance_tables),
        }
    }

    /// What is another one now; all of it where nothing was signed with the plan.
    pub fn changed_since(&self, signed: Option<&Self>) -> Vec<ContextPart> {
        let is_another = |part: &ContextPart| signed.is_none_or(|signed| signed.part(*part) != self.part(*part));
        ContextPart::ALL.into_iter().filter(is_another).collect()
    }

    /// As it stands in what is signed: a line each.
    pub(crate) fn lines(&self) -> String {
        let line = |part: ContextPart| match self.part(part) {
            Some(digest) => format!("{part} {digest}\n"),
            None => format!("{part} none\n"),
        };
        ContextPart::ALL.into_iter().map(line).collect()
    }
}

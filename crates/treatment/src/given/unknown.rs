//! Why nobody can say what was given, in words for whoever has to find out.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Why the count is not known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Unknown {
    UnreadableRecord,
    NoPlan,
    NoFractionGroup,
    UnknownFractionGroup,
    NoFractionNumber,
    Implausible,
    AnothersRecord,
    UnknownPlan,
    LatePlan,
    UnreadablePlan,
    ManyPlans,
    ManyRecords,
    NumbersFall,
    SummaryUndated,
    SummaryAlone,
    SummariesDiffer,
    OtherChart,
    SettlementVoid,
    SettlementOpen,
    TakenBack,
    RefusedRecord,
    LateRecord,
    OtherGroup,
    BeamsDiffer,
    UnclearSummary,
    TreatmentEnded,
    UnsignedPlan,
    SiblingSettled,
    PhantomOrPatient,
    TypedDiffers,
    FractionDiffers,
    PartsDiffer,
    ToldTwice,
    Simulated,
    PartMissing,
    ImageOrTreatment,
    RecordChanged,
}

impl fmt::Display for Unknown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::UnreadableRecord => "a treatment record can't be read",
            Self::NoPlan => "a treatment record doesn't say which plan it is of",
            Self::NoFractionGroup => "a treatment record doesn't say which fraction group it is of",
            Self::UnknownFractionGroup => "a treatment record names a fraction group that the plan doesn't have",
            Self::Implausible => {
                "a treatment record says that in one session a beam delivered more than the plan's meterset, or was to: a physicist \
                 looks, and two people settle what she was given"
            }
            Self::AnothersRecord => "a treatment record of this plan is filed under another patient: two people settle what she was given",
            Self::NoFractionNumber => "a treatment record doesn't say which fraction it is of",
            Self::UnknownPlan => {
                "a treatment record is of a plan that isn't here: store that plan, and if it delivers the same, it counts; \
                 otherwise two people settle what she was given"
            }
            Self::LatePlan => {
                "a treatment record is of a plan that came here after it and that nobody has signed: whether it is what was \
                 delivered then, two people say"
            }
            Self::UnreadablePlan => {
                "a treatment record is of a plan that is here and can't be read: two people settle what she was given"
            }
            Self::ManyPlans => "too many different plans came for her: two people settle what she was given",
            Self::ManyRecords => "too many treatment records came for her: two people settle what she was given",
            Self::SettlementVoid => {
                "somebody who settled what she was given has no key any more that counts: two people settle it again"
            }
            Self::SettlementOpen => {
                "one person has settled what she was given, or has settled it otherwise than both before: a second one signs the same"
            }
            Self::TakenBack => {
                "her erasure was taken back, and somebody else had a number of hers meanwhile: what was given then may stand there; \
                 two people settle it"
            }
            Self::NumbersFall => {
                "a later treatment record has a lower fraction number than an earlier one, or one that doesn't go on from what was \
                 settled: records may be missing; two people settle what she was given"
            }
            Self::LateRecord => {
                "a treatment record came after the count was settled, and is not surely of a fraction since: two people settle it \
                 again"
            }
            Self::RefusedRecord => {
                "a treatment record of this plan, or under a number of hers, was refused when it came: send it again as it should be, or \
                 two people settle what she was given"
            }
            Self::SummaryAlone => {
                "a treatment summary came after the count was settled, and none before it: what it counts beside that can't be \
                 told; two people settle it again"
            }
            Self::SummariesDiffer => {
                "treatment summaries, or summaries and records, came for two exports of the plan, or count less than those before: \
                 whether the later ones go on from the others can't be told, or whether one counts a fraction that was begun by its day; two people \
                 settle what she was given"
            }
            Self::OtherChart => {
                "treatment records stand in another chart that came under a number of hers, or that her record names: they may be of her \
                 fractions; two people settle what she was given"
            }
            Self::OtherGroup => {
                "a treatment record names a fraction group, and a beam that stands in another one of the plan's: two people settle \
                 both"
            }
            Self::BeamsDiffer => {
                "a machine writes one number for several fractions, and of a day not all beams are on record, or not all of one: whether \
                 records are missing can't be told; two people settle what she was given"
            }
            Self::UnclearSummary => "a treatment summary counts less than no fraction",
            Self::TreatmentEnded => {
                "a treatment summary says that the treatment is completed, stopped or suspended: two people settle what she was given \
                 before it goes on"
            }
            Self::SiblingSettled => {
                "how many were given was settled for another plan of the same fractions: two people settle it for this one, too"
            }
            Self::UnsignedPlan => {
                "a treatment record that came since this plan was signed is of another delivery, which no two people have signed: they \
                 sign that one, too, or settle what she was given"
            }
            Self::PhantomOrPatient => {
                "a treatment record is of the same beams under a plan that says it is for a phantom: whether she was treated by it, two \
                 people say"
            }
            Self::TypedDiffers => {
                "what was typed in from paper and what a machine has recorded don't agree, or something was typed in twice: a physicist \
                 looks (the page Paper and machines), and two people settle what she was given"
            }
            Self::FractionDiffers => {
                "treatment records of one time say of one beam that it was of different fractions, or two fractions of one day make one \
                 together: a physicist looks, and two people settle what she was given"
            }
            Self::PartsDiffer => {
                "treatment records of one time say of one beam of a fraction that it delivered more, and less: a physicist looks, and two \
                 people settle what she was given"
            }
            Self::ToldTwice => {
                "of one fraction number the same part of a beam is on record twice, at two times or without one: either one record came by \
                 another clock, or it was given twice: a physicist looks, and two people settle what she was given"
            }
            Self::PartMissing => {
                "a beam is on record from where no record ends, or in parts of which nobody can say where they lie: a part of it may be \
                 missing; a physicist looks, and two people settle what she was given"
            }
            Self::RecordChanged => {
                "a treatment record came again under the same UID with another time, fraction, plan or beam: a physicist looks which one is \
                 right, and two people settle what she was given"
            }
            Self::ImageOrTreatment => {
                "a beam is on record with an image of half its meterset or more, and is not whole without it: a physicist looks whether \
                 that treated, and two people settle what she was given"
            }
            Self::Simulated => {
                "a treatment record of this plan says that it is a simulation: whether she was treated, two people say"
            }
            Self::SummaryUndated => {
                "a treatment summary counts more than the other records, and doesn't say up to which day"
            }
        })
    }
}

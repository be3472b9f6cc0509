//! Radiotherapy: plan, delivery digest, approval, fraction gate, what was given, interruptions.
//!
//! Everything but [`service`] is pure: bytes and values in, values out. The service brings the facts from the chart and
//! leaves the verdict in the ledger. Nothing here drives a beam.

pub mod beside;
pub mod checks;
pub mod dicom;
pub mod error;
pub mod gate;
pub mod given;
pub mod interruption;
pub mod plan;
pub mod service;
pub mod signing;

pub use checks::{Check, Stage, State};
pub use dicom::object::{Instance, Kind, ObjectError};
pub use dicom::scan::{Attribute, ScanError};
pub use error::PlanError;
pub use gate::signings::Void;
pub use gate::{
    Asked, Begun, Expected, Finding, GateInput, Instruction, InstructionGap, Note, OVERRIDABLE, Outcome, Overridden,
    Signed, Verdict, Withdrawn, decide,
};
pub use given::doses::How;
pub use given::typed::{Ended, TypedBeam, TypedError, TypedFraction};
pub use given::{Course, Given, Newest, Origin, PairState, TreatmentRecord};
pub use interruption::bed::{BedError, Schedule, Tissue};
pub use interruption::calendar::{BadDay, Calendar, Day};
pub use interruption::compensation::{Assessment, Choice, Course as Interrupted, Tissues, Worth};
pub use interruption::rules::{Category, FORM as RULES_FORM, Rules, RulesError};
pub use interruption::triage::{Chosen, Outage, Weighing};
pub use plan::columns::{Columns, Line, LineState, Section};
pub use plan::delivery::{Class, Delivery, Place, Row};
pub use plan::diff::{Difference, Field, More};
pub use plan::shapes::{ApplicatorOpening, ApplicatorShape, BeamShape, BlockShape, Dot, Opening, Piece, Spots, Turn};
pub use plan::sheet::{BeamSheet, Setting};
pub use plan::{ApprovalStatus, Beam, FractionGroup, Plan};
pub use service::{Approved, Settled, Standing, Treatment, TreatmentList, TreatmentRow};
pub use service::{
    AskedApproval, ContextLine, ContextSigned, DifferenceSeen, PlanApproval, PlanNamed, PlanSide, Relation,
    SignatureSeen,
};
pub use service::{
    BeamSeen, BeamSession, ContextSeen, CourseSoFar, DoseSaid, DoseSeen, PatientCourses, SessionSeen, SignedBy,
    TotalSeen,
};
pub use service::{Booked, PACKS_AT_ONCE, Pack, Packed, PackedGroup, PackedPlan, Photo, UnfinishedSeen, WithdrawnPlan};
pub use service::{CHANGES_ALL, Clocks, Held, HeldCourse, Recovered, Whom};
pub use service::{ChartChecks, CheckedCourse, GroupChecks};
pub use service::{Entered, PairSeen, PatientPairs, Reconciliation};
pub use service::{Missing, Transfer, TransferKept};
pub use service::{RulesInForce, ToSign, Triage, TriageRow};
pub use signing::approval::{
    Approval, ApprovalError, Chooses, Enrolment, Overrides, Settles, SignerRole, Statement, VerifiedApproval, Withdraws,
};
pub use signing::context::{ContextPart, PlanContext};
pub use signing::people::{Ending, People, Person, Reach};
pub use signing::site_rules::{RulesStatement, SignedRules};

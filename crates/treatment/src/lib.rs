//! Radiotherapy: plan, delivery digest, approval, fraction gate.
//!
//! Everything but [`service`] is pure: bytes and values in, values out. The service brings the facts from the chart and
//! leaves the verdict in the ledger. Nothing here drives a beam.

pub mod approval;
pub mod bed;
pub mod calendar;
pub mod compensation;
pub mod course;
pub mod delivery;
pub mod diff;
pub mod digest;
pub mod error;
mod facts;
pub mod gate;
mod intake;
pub mod object;
pub mod people;
pub mod plan;
mod points;
mod read;
pub mod scan;
pub mod schema;
pub mod service;
pub mod value;

pub use approval::{
    Approval, ApprovalError, Enrolment, PublicKey, Settles, SignerRole, SigningKey, Statement, VerifiedApproval,
    Withdraws,
};
pub use bed::{BedError, Schedule, Tissue};
pub use calendar::{Calendar, Day};
pub use compensation::{Assessment, Choice, Course as Interrupted, Tissues, Worth};
pub use course::{Course, Given, TreatmentRecord};
pub use delivery::{Class, Delivery, Place, Row};
pub use diff::{Difference, Field};
pub use error::PlanError;
pub use gate::{Expected, Finding, GateInput, Note, Outcome, Signed, Verdict, Withdrawn, decide};
pub use object::{Instance, Kind, ObjectError};
pub use people::{Ending, People, Person, Reach};
pub use plan::{ApprovalStatus, Beam, FractionGroup, Plan};
pub use scan::{Attribute, ScanError};
pub use service::{Approved, Settled, Standing, Treatment, TreatmentList, TreatmentRow};

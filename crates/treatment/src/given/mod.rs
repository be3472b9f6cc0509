//! How much of a course has been given, from the records that treatment machines write.

mod count;
pub mod dose;
pub mod doses;
mod parts;
mod reconcile;
mod record;
mod taken;
mod twice;
pub mod typed;
mod unknown;
mod versions;

pub use count::{Course, Given, Newest};
pub use reconcile::{PairState, Pairing};
pub(crate) use reconcile::{Plans, Reconciled};
pub(crate) use record::plans_named;
pub use record::{GroupSummary, Origin, Override, RecordedBeam, TreatmentRecord, Unit};
pub use unknown::Unknown;

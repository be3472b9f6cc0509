//! How much of a course has been given, from the records that treatment machines write.

mod count;
pub mod dose;
mod record;

pub use count::{Course, Given, Unknown};
pub(crate) use record::plans_named;
pub use record::{GroupSummary, Origin, Override, RecordedBeam, TreatmentRecord, Unit};

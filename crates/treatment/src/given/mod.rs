//! How much of a course has been given, from the records that treatment machines write.

mod count;
mod record;

pub use count::{Course, Given, Unknown};
pub(crate) use record::plans_named;
pub use record::{GroupSummary, RecordedBeam, TreatmentRecord, Unit};

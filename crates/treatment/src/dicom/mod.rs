//! A DICOM object, from hostile bytes to values: the depth-capped scan, its values, the closed lists of what may stand in a plan.

pub(crate) mod content;
pub mod object;
pub(crate) mod read;
pub mod scan;
pub mod schema;
pub mod value;

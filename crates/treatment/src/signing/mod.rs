//! Who signs, and what.

pub mod approval;
pub mod context;
pub mod people;
pub mod site_rules;

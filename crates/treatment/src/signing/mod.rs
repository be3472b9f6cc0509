//! Who signs, and what.

pub mod approval;
pub mod people;
pub mod site_rules;

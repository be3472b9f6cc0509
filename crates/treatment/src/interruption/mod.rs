//! What a lost week costs, and what can be done about it.

pub mod bed;
pub mod calendar;
pub mod compensation;
pub mod rules;
pub mod triage;

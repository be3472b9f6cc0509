//! Chart's tests at its façade.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)] // tests may stop at the first surprise

mod access;
mod facade;
mod fhir;
mod relation;
mod site;
mod transactions;

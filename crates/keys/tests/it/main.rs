//! The room's tests, at its façade.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)] // tests may stop at the first surprise

mod by_the_book;
mod centre;
mod custodians;
mod hpke_vectors;
mod keyring;
mod local_holder;
mod meter;
mod proof;
mod records;
mod turn;

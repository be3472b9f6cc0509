//! The vault's tests, at its façade.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)] // tests may stop at the first surprise

mod centre;
mod changes;
mod claims;
mod damage;
mod folders;
mod holes;
mod keep;
mod loss;
mod moving;
mod notes;
mod recover;
mod renew;
mod roster;
mod tails;
mod witnesses;

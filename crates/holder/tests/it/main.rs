//! The holder's tests: a real daemon on loopback, and the gateway's end of the wire.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)] // tests may stop at the first surprise

mod faults;
mod retention;
mod shards;
mod solo;
mod stranger;
mod support;

//! Plans are built here, never stored: photons, arcs, electrons and ions, and what a peer might make of them.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)] // tests may stop at the first surprise
#![allow(unreachable_pub)] // the modules of one test binary see each other

mod approval;
mod asked;
mod build;
mod checks;
mod columns;
mod document;
mod dose;
mod edges;
mod gate;
mod harmless;
mod hostile;
mod mutation;
mod object;
mod passive;
mod rests;
mod shapes;
mod sheet;
mod strict;

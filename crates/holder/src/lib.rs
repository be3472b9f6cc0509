//! The daemon on each server, and the gateway's end of it.
//!
//! A [`Node`] keeps shards (put if absent, get, list: nothing overwrites, nothing deletes), opens its share of one
//! patient's key at a time and counts, and witnesses the log. [`Daemon`] is its door: HTTP/2 over mutual TLS, where
//! machines know each other by their certificates' hashes. [`RemoteLocation`] and [`RemoteHolder`] are what the vault
//! and the keyring of a gateway see of it.
//!
//! ```text
//!  vault ── RemoteLocation ─┐                                 ┌─ FolderLocation
//!                           ├─ Link ══ TLS ══ Daemon ── Node ─┤
//!  keyring ── RemoteHolder ─┘                                 └─ LocalHolder, Meter, Witness
//! ```
//!
//! What is absent: no FHIR, no DICOM, no index, no policy; no plaintext of a record ever passes through here.

mod alarms;
mod call;
mod cli;
mod config;
mod daemon;
mod identity;
mod journal;
mod node;
mod refused;
mod remote;
mod retention;
mod turn;
mod watch;
pub mod wire;
mod witness;

pub use call::{CallError, Link};
pub use cli::{Command, Place};
pub use config::{Config, FILE_NAME, Keys, Shards, server_name};
pub use daemon::{Daemon, Serve};
pub use identity::{Identity, IdentityError, Pin};
pub use location::Network;
pub use node::{Node, Peer};
pub use refused::Refused;
pub use remote::{RemoteHolder, RemoteLocation, Witnessed, witness};
pub use turn::sign_turn;
pub use witness::last_cosigned;

//! A location in an S3 bucket that nobody can empty: not a thief of the gateway's credentials, and not its administrator.
//!
//! What makes it so is the bucket's (versioning, Object Lock in compliance mode, conditional put), and the store may not
//! have it, or may have lost it. So it is probed, and a bucket that lacks one takes no shard. `docs/s3.md` says what to
//! set up.

mod client;
mod config;
mod first;
mod key;
mod place;
mod probe;
mod renew;
#[cfg(any(test, feature = "rig"))]
pub mod rig;
#[cfg(test)]
mod tests;
mod time;
mod xml;

pub use config::{BucketConfig, Credentials};
pub use first::FirstVersions;
pub use location::Network;
pub use place::BucketLocation;
pub use probe::{Probe, ProbeReport};
pub use renew::{Census, RENEW_DAYS_MAX, RenewFailure, RenewReport, renew};

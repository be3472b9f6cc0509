//! What a centre's record says to anybody who holds a location of it, without any key: how to recover it.

use std::sync::Arc;

use kit::Id16;
use ledger::Vkey;

use crate::error::VaultError;
use crate::location::Location;
use crate::shape::Shape;
use crate::which::newest;

/// The public part of the newest centre record; its signature is verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plate {
    pub vault: Id16,
    pub shape: Shape,
    /// Of the locations, those beside the holders' servers.
    pub buckets: u8,
    /// Holders that open a key.
    pub t: u8,
    /// Custodians that recover, and how many there are.
    pub custodians: (u8, u8),
    pub vkey: Vkey,
}

/// Reads the plate from whatever locations there are.
pub fn plate(locations: &[Arc<dyn Location>], vkey: Option<&Vkey>) -> Result<Plate, VaultError> {
    let centre = newest(locations, vkey)?;
    let (shape, t, vault) = (centre.record.shape, centre.record.t, centre.record.vault);
    let servers = centre.holders.len();
    let buckets = u8::try_from(shape.n().saturating_sub(servers)).unwrap_or(u8::MAX);
    Ok(Plate {
        vault,
        shape,
        buckets,
        t,
        custodians: (centre.custodians.m(), centre.custodians.n()),
        vkey: centre.vkey,
    })
}

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
    Ok(Plate { vault, shape, t, custodians: (centre.custodians.m(), centre.custodians.n()), vkey: centre.vkey })
}

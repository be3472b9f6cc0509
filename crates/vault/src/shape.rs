//! How a vault is spread: k-of-n, the floor, and what follows from them.

use kit::limits::SERVERS_MAX;
use minicbor::{Decode, Encode};

use crate::VaultError;

/// One location's piece of one segment. Larger ones would be coded and synced no faster, and a reader of one small
/// record would fetch more.
pub const SHARD_BYTES_MAX: usize = 1024 * 1024;

/// k of n shards give a segment back; a write is acknowledged on `floor` locations or more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Shape {
    #[n(0)]
    k: u8,
    #[n(1)]
    n: u8,
    #[n(2)]
    floor: u8,
}

impl Shape {
    /// `1 <= k <= floor <= n`, and more than half of the locations for a floor: two writers' claims to the log have to
    /// meet at one location, or neither would notice the other.
    pub fn new(k: u8, n: u8, floor: u8) -> Result<Self, VaultError> {
        let shape = Self { k, n, floor };
        if shape.is_sound() { Ok(shape) } else { Err(VaultError::Shape { k, n, floor, max: SERVERS_MAX }) }
    }

    pub(crate) fn is_sound(&self) -> bool {
        let Self { k, n, floor } = *self;
        (1..=floor).contains(&k) && floor <= n && usize::from(n) <= SERVERS_MAX && 2 * u16::from(floor) > u16::from(n)
    }

    /// Shards that give a segment back.
    pub fn k(&self) -> usize {
        self.k.into()
    }

    /// Locations.
    pub fn n(&self) -> usize {
        self.n.into()
    }

    /// The fewest locations that must hold a write before it is acknowledged.
    pub fn floor(&self) -> usize {
        self.floor.into()
    }

    /// The locations that must answer before the vault is opened for writing: so many that at least k of them hold
    /// whatever `floor` locations ever acknowledged. With fewer, a segment that was acknowledged could look like a tail
    /// that never was.
    pub fn quorum(&self) -> usize {
        self.n() - self.floor() + self.k()
    }

    /// Further losses that something on `durable` locations survives.
    pub(crate) fn survives(&self, durable: u8) -> u8 {
        durable.saturating_sub(self.k)
    }
}

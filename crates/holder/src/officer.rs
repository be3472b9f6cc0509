//! The officer of a centre: an Ed25519 key (RFC 8032) that stays offline, and lets servers, gateways and people in.

use std::fmt;

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};

/// The officer's key, while it is at hand.
pub struct Officer(Ed25519KeyPair);

impl Officer {
    /// From 32 random bytes; `None` where the library takes them for no seed, which it takes any 32 bytes for.
    pub fn from_seed(seed: &[u8; 32]) -> Option<Self> {
        Ed25519KeyPair::from_seed_unchecked(seed).ok().map(Self)
    }

    /// 64 hexadecimal digits, as configurations have it.
    pub fn public(&self) -> String {
        self.0.public_key().as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
    }

    pub(crate) fn sign(&self, message: &[u8]) -> Vec<u8> {
        self.0.sign(message).as_ref().to_vec()
    }
}

impl fmt::Debug for Officer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Officer({})", self.public())
    }
}

//! The secrets that leave this room: zeroized when dropped, never printed.

use std::fmt;

use kit::Entropy;
use zeroize::Zeroizing;

/// Bytes of a data key, of a share of one, and of a recovery seed.
pub(crate) const SECRET_BYTES: usize = 32;

/// The key under which one subject's payloads are sealed (AES-256).
pub struct DataKey(Zeroizing<[u8; SECRET_BYTES]>);

impl DataKey {
    pub fn random(entropy: &dyn Entropy) -> Self {
        let mut bytes = Zeroizing::new([0; SECRET_BYTES]);
        entropy.fill(bytes.as_mut());
        Self(bytes)
    }

    /// `bytes` must be uniformly random: a key record holds digests from which a guessable key could be found.
    pub fn from_bytes(bytes: [u8; SECRET_BYTES]) -> Self {
        Self(Zeroizing::new(bytes))
    }

    pub(crate) fn from_secret(secret: Zeroizing<[u8; SECRET_BYTES]>) -> Self {
        Self(secret)
    }

    pub fn bytes(&self) -> &[u8; SECRET_BYTES] {
        &self.0
    }
}

impl fmt::Debug for DataKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DataKey(secret)")
    }
}

/// One holder's share of one data key, opened. Whoever has t of them has the key.
pub struct Share {
    number: u8,
    bytes: Zeroizing<[u8; SECRET_BYTES]>,
}

impl Share {
    pub fn new(number: u8, bytes: Zeroizing<[u8; SECRET_BYTES]>) -> Self {
        Self { number, bytes }
    }

    /// The holder that it was dealt to, from 1.
    pub fn number(&self) -> u8 {
        self.number
    }

    pub fn bytes(&self) -> &[u8; SECRET_BYTES] {
        &self.bytes
    }
}

impl fmt::Debug for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Share({}, secret)", self.number)
    }
}

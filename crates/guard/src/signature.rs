//! Signatures of people: Ed25519 (RFC 8032) over a text that the signer can read before she signs it.

use std::fmt;

use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use kit::{Blame, Entropy, Explain};
use minicbor::{Decode, Encode};
use zeroize::Zeroizing;

use crate::names::NAME_CHARACTERS_MAX;

const PEM_BEGIN: &str = "-----BEGIN PRIVATE KEY-----";
const PEM_END: &str = "-----END PRIVATE KEY-----";

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SignatureError {
    #[error("this is no Ed25519 private key in PKCS#8 PEM form (RFC 5958, RFC 7468)")]
    BadKey,
    #[error("a public key is 32 bytes in base64")]
    BadPublicKey,
    #[error("this is nobody's public key: anybody could sign by it")]
    WeakKey,
    #[error("the name of the {whose} is empty, longer than {NAME_CHARACTERS_MAX} characters, or has a line break")]
    BadName { whose: &'static str },
    #[error("the cryptographic library failed")]
    Library,
}

impl Explain for SignatureError {
    fn blame(&self) -> Blame {
        match self {
            Self::BadKey | Self::BadPublicKey | Self::WeakKey | Self::BadName { .. } => Blame::Peer,
            Self::Library => Blame::Ours,
        }
    }

    fn code(&self) -> &'static str {
        match self {
            Self::BadKey => "guard.signature.bad-key",
            Self::BadPublicKey => "guard.signature.bad-public-key",
            Self::WeakKey => "guard.signature.weak-key",
            Self::BadName { .. } => "guard.signature.bad-name",
            Self::Library => "guard.signature.library",
        }
    }
}

/// An Ed25519 public key (RFC 8032), base64 on paper.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
#[cbor(transparent)]
pub struct PublicKey(#[cbor(n(0), with = "minicbor::bytes")] pub [u8; 32]);

impl PublicKey {
    /// Whether its owner has signed these very bytes.
    pub fn has_signed(&self, text: &str, signature: &[u8; 64]) -> bool {
        UnparsedPublicKey::new(&ED25519, self.0).verify(text.as_bytes(), signature).is_ok()
    }
}

/// A point of small order, in whatever way it is written (the curve has eight: RFC 8032, 5.1.7; libsodium, `ge25519_has_small_order`): a
/// signature by it says nothing of who made it.
fn is_weak(mut key: [u8; 32]) -> bool {
    const ORDER_8: [[u8; 32]; 2] = [
        [
            0x26, 0xe8, 0x95, 0x8f, 0xc2, 0xb2, 0x27, 0xb0, 0x45, 0xc3, 0xf4, 0x89, 0xf2, 0xef, 0x98, 0xf0, 0xd5, 0xdf,
            0xac, 0x05, 0xd3, 0xc6, 0x33, 0x39, 0xb1, 0x38, 0x02, 0x88, 0x6d, 0x53, 0xfc, 0x05,
        ],
        [
            0xc7, 0x17, 0x6a, 0x70, 0x3d, 0x4d, 0xd8, 0x4f, 0xba, 0x3c, 0x0b, 0x76, 0x0d, 0x10, 0x67, 0x0f, 0x2a, 0x20,
            0x53, 0xfa, 0x2c, 0x39, 0xcc, 0xc6, 0x4e, 0xc7, 0xfd, 0x77, 0x92, 0xac, 0x03, 0x7a,
        ],
    ];
    // The sign of x.
    key[31] &= 0x7f;
    let [first, middle @ .., last] = key;
    let is_small = first <= 1 && last == 0 && middle.iter().all(|byte| *byte == 0);
    let is_about_the_prime = first >= 0xec && last == 0x7f && middle.iter().all(|byte| *byte == 0xff);
    is_small || is_about_the_prime || ORDER_8.contains(&key)
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&STANDARD.encode(self.0))
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({self})")
    }
}

impl std::str::FromStr for PublicKey {
    type Err = SignatureError;

    fn from_str(text: &str) -> Result<Self, SignatureError> {
        let bytes = STANDARD.decode(text.trim()).map_err(|_| SignatureError::BadPublicKey)?;
        let key: [u8; 32] = bytes.try_into().map_err(|_| SignatureError::BadPublicKey)?;
        if is_weak(key) {
            return Err(SignatureError::WeakKey);
        }
        Ok(Self(key))
    }
}

/// One person's signing key. It has no `Debug`, and its file is that person's alone.
pub struct SigningKey(Ed25519KeyPair);

impl SigningKey {
    pub fn generate(entropy: &dyn Entropy) -> Result<Self, SignatureError> {
        let mut seed = Zeroizing::new([0; 32]);
        entropy.fill(seed.as_mut());
        Ed25519KeyPair::from_seed_unchecked(seed.as_ref()).map(Self).map_err(|_| SignatureError::Library)
    }

    /// PKCS#8 in PEM, as `openssl genpkey -algorithm ed25519` writes it.
    pub fn from_pem(text: &str) -> Result<Self, SignatureError> {
        let body = text.trim().strip_prefix(PEM_BEGIN).and_then(|rest| rest.strip_suffix(PEM_END));
        let body: Zeroizing<String> = Zeroizing::new(body.ok_or(SignatureError::BadKey)?.split_whitespace().collect());
        let der = Zeroizing::new(STANDARD.decode(body.as_bytes()).map_err(|_| SignatureError::BadKey)?);
        Ed25519KeyPair::from_pkcs8(&der).map(Self).map_err(|_| SignatureError::BadKey)
    }

    pub fn to_pem(&self) -> Result<Zeroizing<String>, SignatureError> {
        let der = self.0.to_pkcs8v1().map_err(|_| SignatureError::Library)?;
        let body = Zeroizing::new(STANDARD.encode(der.as_ref()));
        // 48 bytes are one line of 64 characters, which is all that an Ed25519 key needs.
        Ok(Zeroizing::new(format!("{PEM_BEGIN}\n{}\n{PEM_END}\n", *body)))
    }

    pub fn sign_text(&self, text: &str) -> Result<[u8; 64], SignatureError> {
        let signature = self.0.try_sign(text.as_bytes()).map_err(|_| SignatureError::Library)?;
        signature.as_ref().try_into().map_err(|_| SignatureError::Library)
    }

    pub fn public_key(&self) -> Result<PublicKey, SignatureError> {
        self.0.public_key().as_ref().try_into().map(PublicKey).map_err(|_| SignatureError::Library)
    }
}

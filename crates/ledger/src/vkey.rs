//! Verifier keys in their text form: who signs, what kind of signature, and the public key.

use std::fmt;
use std::str::FromStr;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use signed_note::{StandardVerifier, VerificationError, Verifier, Verifiers};

use crate::LedgerError;

/// A host name with a path; what is longer is no name.
pub const KEY_NAME_BYTES_MAX: usize = 120;

/// C2SP signed-note: signature type 0x01 is Ed25519 over the note's text.
const TYPE_ED25519: u8 = 1;

/// C2SP tlog-cosignature: signature type 0x04 is Ed25519 over a time and the note's text.
const TYPE_COSIGNATURE: u8 = 4;

/// Name, `+`, eight digits, `+`, and 33 bytes in base64.
const VKEY_BYTES_MAX: usize = KEY_NAME_BYTES_MAX + 1 + 8 + 1 + 44;

/// What may stand as a key's name in a signature line and before a plus.
pub(crate) fn is_key_name(name: &str) -> bool {
    signed_note::is_key_name_valid(name) && name.len() <= KEY_NAME_BYTES_MAX && !name.chars().any(char::is_control)
}

/// A key of either kind. The verifier is plain Ed25519 for both: what is signed differs, not how.
#[derive(Clone)]
struct Key {
    text: String,
    id: u32,
    public_key: [u8; 32],
    verifier: StandardVerifier,
}

impl Key {
    fn new(name: &str, kind: u8, public_key: &[u8; 32]) -> Result<Self, LedgerError> {
        Self::parse(&text_of(name, kind, public_key).0, kind)
    }

    /// Strict: only the one way to write it that `text_of` has.
    fn parse(text: &str, kind: u8) -> Result<Self, LedgerError> {
        let wrong = LedgerError::VkeyMalformed;
        if text.len() > VKEY_BYTES_MAX {
            return Err(wrong("it is too long"));
        }
        // The key's own base64 may hold a plus, the name can't.
        let mut parts = text.splitn(3, '+');
        let (Some(name), Some(_), Some(key)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(wrong("it must be name+id+key"));
        };
        if !is_key_name(name) {
            return Err(wrong("its name is empty or too long, or has spaces or control characters"));
        }
        let key = BASE64_STANDARD.decode(key).map_err(|_| wrong("its key must be base64"))?;
        let public_key = match key.split_first() {
            Some((found, key)) if *found == kind => key.try_into().map_err(|_| wrong("its key must have 32 bytes"))?,
            _ => return Err(wrong("its key is of another kind")),
        };
        let (only, id) = text_of(name, kind, &public_key);
        if only != text {
            return Err(wrong("its id must be the eight lower-case digits that follow from its name and key"));
        }
        let verifier = StandardVerifier::new(&text_of(name, TYPE_ED25519, &public_key).0)
            .map_err(|_| wrong("its key is no point of the curve"))?;
        Ok(Self { text: only, id, public_key, verifier })
    }
}

fn text_of(name: &str, kind: u8, public_key: &[u8; 32]) -> (String, u32) {
    let mut key = vec![kind];
    key.extend_from_slice(public_key);
    let id = signed_note::key_id(name, &key);
    (format!("{name}+{id:08x}+{}", BASE64_STANDARD.encode(key)), id)
}

/// A verifier key: who signs, and the public key. Its text form is `name+hash+base64(0x01 ‖ public key)`.
#[derive(Clone)]
pub struct Vkey(Key);

impl Vkey {
    pub fn new(name: &str, public_key: &[u8; 32]) -> Result<Self, LedgerError> {
        Key::new(name, TYPE_ED25519, public_key).map(Self)
    }

    pub fn name(&self) -> &str {
        self.0.verifier.name()
    }

    /// The first four bytes of SHA-256(name ‖ 0x0A ‖ 0x01 ‖ public key).
    pub fn key_id(&self) -> u32 {
        self.0.id
    }

    pub fn public_key(&self) -> &[u8; 32] {
        &self.0.public_key
    }
}

impl FromStr for Vkey {
    type Err = LedgerError;

    /// Strict: only the one way to write it that `Display` has.
    fn from_str(text: &str) -> Result<Self, LedgerError> {
        Key::parse(text, TYPE_ED25519).map(Self)
    }
}

impl fmt::Display for Vkey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.text)
    }
}

impl fmt::Debug for Vkey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Vkey({self})")
    }
}

impl PartialEq for Vkey {
    fn eq(&self, other: &Self) -> bool {
        self.0.text == other.0.text
    }
}

impl Eq for Vkey {}

impl Verifiers for Vkey {
    fn verifier(&self, name: &str, id: u32) -> Result<&dyn Verifier, VerificationError> {
        if (name, id) == (self.name(), self.key_id()) {
            Ok(&self.0.verifier)
        } else {
            Err(VerificationError::UnknownKey { name: name.to_owned(), id })
        }
    }
}

/// A witness's verifier key: its text form is `name+hash+base64(0x04 ‖ public key)`. A type of its own, so that no
/// witness's key can stand where a log's is asked for: the kinds sign different bytes.
#[derive(Clone)]
pub struct WitnessVkey(Key);

impl WitnessVkey {
    pub fn new(name: &str, public_key: &[u8; 32]) -> Result<Self, LedgerError> {
        Key::new(name, TYPE_COSIGNATURE, public_key).map(Self)
    }

    pub fn name(&self) -> &str {
        self.0.verifier.name()
    }

    /// The first four bytes of SHA-256(name ‖ 0x0A ‖ 0x04 ‖ public key).
    pub fn key_id(&self) -> u32 {
        self.0.id
    }

    pub fn public_key(&self) -> &[u8; 32] {
        &self.0.public_key
    }

    pub(crate) fn signed(&self, message: &[u8], signature: &[u8; 64]) -> bool {
        self.0.verifier.verify(message, signature)
    }
}

impl FromStr for WitnessVkey {
    type Err = LedgerError;

    /// Strict: only the one way to write it that `Display` has.
    fn from_str(text: &str) -> Result<Self, LedgerError> {
        Key::parse(text, TYPE_COSIGNATURE).map(Self)
    }
}

impl fmt::Display for WitnessVkey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.text)
    }
}

impl fmt::Debug for WitnessVkey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "WitnessVkey({self})")
    }
}

impl PartialEq for WitnessVkey {
    fn eq(&self, other: &Self) -> bool {
        self.0.text == other.0.text
    }
}

impl Eq for WitnessVkey {}

//! C2SP signed notes: text with Ed25519 signatures, made through whoever holds the key and verified by its text form.

use std::fmt;
use std::str::FromStr;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use signed_note::{
    Note, NoteError, Signature, StandardVerifier, VerificationError, Verifier, VerifierError, Verifiers,
};

use crate::LedgerError;

/// A head of the log with a line from every server as its witness stays under 16 KiB.
pub const NOTE_BYTES_MAX: usize = 32 * 1024;

/// Three lines of text, an empty one, and a signature of the log and of each of 64 servers, with room for others'.
pub const NOTE_LINES_MAX: usize = 104;

/// A host name with a path; what is longer is no name.
pub const KEY_NAME_BYTES_MAX: usize = 120;

/// C2SP signed-note: signature type 0x01 is Ed25519.
const TYPE_ED25519: u8 = 1;

/// Name, `+`, eight digits, `+`, and 33 bytes in base64.
const VKEY_BYTES_MAX: usize = KEY_NAME_BYTES_MAX + 1 + 8 + 1 + 44;

/// Whoever holds a log's signing key: this crate doesn't.
pub trait NoteSigner {
    fn name(&self) -> &str;

    /// As `Vkey::key_id` of the public key.
    fn key_id(&self) -> u32;

    /// The Ed25519 signature (RFC 8032) over exactly these bytes.
    fn sign(&self, text: &[u8]) -> [u8; 64];
}

/// A verifier key: who signs, and the public key. Its text form is `name+hash+base64(0x01 ‖ public key)`.
#[derive(Clone)]
pub struct Vkey {
    text: String,
    public_key: [u8; 32],
    verifier: StandardVerifier,
}

impl Vkey {
    pub fn new(name: &str, public_key: &[u8; 32]) -> Result<Self, LedgerError> {
        let mut key = vec![TYPE_ED25519];
        key.extend_from_slice(public_key);
        let id = signed_note::key_id(name, &key);
        format!("{name}+{id:08x}+{}", BASE64_STANDARD.encode(key)).parse()
    }

    pub fn name(&self) -> &str {
        self.verifier.name()
    }

    /// The first four bytes of SHA-256(name ‖ 0x0A ‖ 0x01 ‖ public key).
    pub fn key_id(&self) -> u32 {
        self.verifier.key_id()
    }

    pub fn public_key(&self) -> &[u8; 32] {
        &self.public_key
    }
}

impl FromStr for Vkey {
    type Err = LedgerError;

    /// Strict: only the one way to write it that `Display` has.
    fn from_str(text: &str) -> Result<Self, LedgerError> {
        let wrong = LedgerError::VkeyMalformed;
        if text.len() > VKEY_BYTES_MAX {
            return Err(wrong("it is too long"));
        }
        let verifier = StandardVerifier::new(text).map_err(|error| {
            wrong(match error {
                VerifierError::Format => "it must be name+id+key",
                VerifierError::Alg => "its key is no Ed25519 key",
                VerifierError::Id => "its id does not follow from its name and key",
            })
        })?;
        // The key's own base64 may hold a plus, the name can't.
        let key = BASE64_STANDARD.decode(text.splitn(3, '+').nth(2).unwrap_or_default()).unwrap_or_default();
        let public_key: [u8; 32] =
            key.get(1..).and_then(|key| key.try_into().ok()).ok_or(wrong("its key must have 32 bytes"))?;
        let name = verifier.name();
        if name.len() > KEY_NAME_BYTES_MAX || name.chars().any(char::is_control) {
            return Err(wrong("its name is too long or has control characters"));
        }
        if format!("{name}+{:08x}+{}", verifier.key_id(), BASE64_STANDARD.encode(key)) != text {
            return Err(wrong("its id must be eight lower-case digits"));
        }
        Ok(Self { text: text.to_owned(), public_key, verifier })
    }
}

impl fmt::Display for Vkey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for Vkey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Vkey({self})")
    }
}

impl PartialEq for Vkey {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for Vkey {}

impl Verifiers for Vkey {
    fn verifier(&self, name: &str, id: u32) -> Result<&dyn Verifier, VerificationError> {
        if (name, id) == (self.name(), self.key_id()) {
            Ok(&self.verifier)
        } else {
            Err(VerificationError::UnknownKey { name: name.to_owned(), id })
        }
    }
}

/// The note over `text`, which ends with a newline, with one signature.
pub fn sign_note(text: &str, signer: &dyn NoteSigner) -> Result<Vec<u8>, LedgerError> {
    let signature = Signature::new(signer.name().to_owned(), signer.key_id(), signer.sign(text.as_bytes()).to_vec())
        .map_err(|_| LedgerError::VkeyMalformed("the signer's name has a space or a plus"))?;
    let note = Note::new(text.as_bytes(), &[signature])
        .map_err(|_| {
            LedgerError::NoteMalformed("the text must end with a newline and hold no other control character")
        })?
        .to_bytes();
    bounded(&note)?;
    Ok(note)
}

/// The text of a note that `vkey` signed. Other keys' signatures may stand beside it; they say nothing here.
pub fn open_note(note: &[u8], vkey: &Vkey) -> Result<String, LedgerError> {
    bounded(note)?;
    let parsed = Note::from_bytes(note)
        .map_err(|_| LedgerError::NoteMalformed("it must be text, an empty line, and lines of signatures"))?;
    let key = || format!("{}+{:08x}", vkey.name(), vkey.key_id());
    parsed.verify(vkey).map_err(|error| match error {
        NoteError::UnverifiedNote => LedgerError::Unsigned { key: key() },
        _ => LedgerError::BadSignature { key: key() },
    })?;
    String::from_utf8(parsed.text().to_vec()).map_err(|_| LedgerError::NoteMalformed("its text must be UTF-8"))
}

fn bounded(note: &[u8]) -> Result<(), LedgerError> {
    if note.len() > NOTE_BYTES_MAX {
        return Err(LedgerError::NoteTooLarge { found: note.len(), max: NOTE_BYTES_MAX });
    }
    let lines = note.iter().filter(|byte| **byte == b'\n').count();
    if lines > NOTE_LINES_MAX {
        return Err(LedgerError::NoteTooLong { found: lines, max: NOTE_LINES_MAX });
    }
    Ok(())
}

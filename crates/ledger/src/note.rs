//! C2SP signed notes: text with Ed25519 signatures, made through whoever holds the key and verified by its text form.

use signed_note::{Note, NoteError, Signature};

use crate::{LedgerError, Vkey};

/// A head of the log with a line from every server as its witness stays under 16 KiB.
pub const NOTE_BYTES_MAX: usize = 32 * 1024;

/// Three lines of text, an empty one, and a signature of the log and of each of 64 servers, with room for others'.
pub const NOTE_LINES_MAX: usize = 104;

/// Whoever holds a log's signing key: this crate doesn't.
pub trait NoteSigner {
    fn name(&self) -> &str;

    /// As `Vkey::key_id` of the public key.
    fn key_id(&self) -> u32;

    /// The Ed25519 signature (RFC 8032) over exactly these bytes.
    fn sign(&self, text: &[u8]) -> [u8; 64];
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
    open_with_others(note, vkey).map(|(text, _)| text)
}

/// The text of a note that `vkey` signed, and the other keys' signatures, of which nothing is known yet.
pub(crate) fn open_with_others(note: &[u8], vkey: &Vkey) -> Result<(String, Vec<Signature>), LedgerError> {
    let parsed = read_note(note)?;
    let key = || format!("{}+{:08x}", vkey.name(), vkey.key_id());
    let (_, others) = parsed.verify(vkey).map_err(|error| match error {
        NoteError::UnverifiedNote => LedgerError::Unsigned { key: key() },
        _ => LedgerError::BadSignature { key: key() },
    })?;
    Ok((text_of(&parsed)?, others))
}

/// The text of a note, whoever signed it.
pub(crate) fn unverified_text(note: &[u8]) -> Result<String, LedgerError> {
    text_of(&read_note(note)?)
}

fn read_note(note: &[u8]) -> Result<Note, LedgerError> {
    bounded(note)?;
    Note::from_bytes(note)
        .map_err(|_| LedgerError::NoteMalformed("it must be text, an empty line, and lines of signatures"))
}

fn text_of(note: &Note) -> Result<String, LedgerError> {
    String::from_utf8(note.text().to_vec()).map_err(|_| LedgerError::NoteMalformed("its text must be UTF-8"))
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

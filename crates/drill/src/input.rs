//! The user's own files that a drill loads beside the synthetic patients.
//!
//! Whatever stands in the folder is either handed to the centre or refused with a reason; nothing is passed over in
//! silence, and no file can stop the drill. Links to folders are not followed, so that a loop has no end to find.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use kit::{Blame, Fault, limits};

use crate::check::bytes::Form;
use crate::report::{Refused, size};

/// A reason is a sentence, not a page.
const REASON_CHARS_MAX: usize = 300;
/// The preamble of a DICOM file and its magic (PS3.10 7.1).
const HEAD_BYTES: usize = 132;

/// A file to load.
pub(crate) struct Own {
    /// Inside the folder.
    pub(crate) name: String,
    path: PathBuf,
    pub(crate) bytes: u64,
}

impl Own {
    pub(crate) fn refused(&self, reason: &str) -> Refused {
        refused(&self.name, reason)
    }
}

fn refused(name: &str, reason: impl ToString) -> Refused {
    let reason = reason.to_string();
    let line = reason.lines().next().unwrap_or_default();
    Refused { file: name.to_owned(), reason: line.chars().take(REASON_CHARS_MAX).collect() }
}

/// Every file under `folder`, sorted by name, and what can't be one.
pub(crate) fn files(folder: &Path) -> Result<(Vec<Own>, Vec<Refused>), Fault> {
    let failed = |e: io::Error| Fault::new(Blame::Peer, "drill.input", format!("{}: {e}", folder.display()));
    fs::read_dir(folder).map_err(failed)?;
    let (mut found, mut others) = (Vec::new(), Vec::new());
    let mut folders = vec![folder.to_owned()];
    let name = |path: &Path| path.strip_prefix(folder).unwrap_or(path).display().to_string();
    while let Some(next) = folders.pop() {
        let entries = match fs::read_dir(&next).and_then(Iterator::collect::<io::Result<Vec<_>>>) {
            Ok(entries) => entries,
            Err(error) => {
                others.push(refused(&name(&next), format!("the folder can't be read: {error}")));
                continue;
            }
        };
        for path in entries.into_iter().map(|entry| entry.path()) {
            // What it is behind a link; a loop of links is an error.
            match fs::metadata(&path) {
                Err(error) => others.push(refused(&name(&path), unreadable(&error))),
                Ok(about) if about.is_file() => {
                    found.push(Own { name: name(&path), path, bytes: about.len() });
                }
                Ok(about) if !about.is_dir() => {
                    others.push(refused(&name(&path), "neither a file nor a folder"));
                }
                Ok(_) if path.is_symlink() => {
                    others.push(refused(&name(&path), "a link to a folder, which is not followed"));
                }
                Ok(_) => folders.push(path),
            }
        }
    }
    found.sort_unstable_by(|a, b| a.name.cmp(&b.name));
    Ok((found, others))
}

fn unreadable(error: &io::Error) -> String {
    format!("it can't be read: {error}")
}

/// What a file is, and its content, if it is no larger than the centre takes.
pub(crate) fn read(own: &Own) -> Result<(Form, Vec<u8>), String> {
    let mut file = File::open(&own.path).map_err(|e| unreadable(&e))?;
    let mut bytes = Vec::new();
    Read::by_ref(&mut file).take(HEAD_BYTES as u64).read_to_end(&mut bytes).map_err(|e| unreadable(&e))?;
    let form = form(&own.path, &bytes).ok_or("neither FHIR JSON nor DICOM")?;
    let (what, max) = match form {
        Form::Dicom => ("a DICOM object", limits::OBJECT_BYTES_MAX),
        _ => ("a FHIR resource", limits::FHIR_BODY_BYTES_MAX),
    };
    let max = max as u64;
    let too_large = |found: u64| format!("larger than {what} may be: {}, the maximum is {}", size(found), size(max));
    if own.bytes > max {
        return Err(too_large(own.bytes));
    }
    // It may have grown meanwhile.
    file.take(max + 1 - bytes.len() as u64).read_to_end(&mut bytes).map_err(|e| unreadable(&e))?;
    if bytes.len() as u64 > max { Err(too_large(bytes.len() as u64)) } else { Ok((form, bytes)) }
}

/// By its content first: scanners write DICOM files without an extension.
fn form(path: &Path, head: &[u8]) -> Option<Form> {
    let called = |wanted: &str| path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case(wanted));
    let text = head.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(head);
    let first = text.iter().find(|byte| !byte.is_ascii_whitespace());
    if head.get(HEAD_BYTES - 4..) == Some(b"DICM") || called("dcm") {
        Some(Form::Dicom)
    } else if first == Some(&b'{') || called("json") {
        Some(Form::Fhir)
    } else {
        None
    }
}

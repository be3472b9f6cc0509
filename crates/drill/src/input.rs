//! The user's own files that a drill loads beside the synthetic patients.

use std::fs;
use std::path::{Path, PathBuf};

use kit::{Blame, Fault, limits};

/// Every file under `folder` that is called `.json` or `.dcm`, with its name inside the folder, sorted.
pub(crate) fn files(folder: &Path) -> Result<Vec<(String, PathBuf)>, Fault> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    let failed = |place: &Path, e| Fault::new(Blame::Peer, "drill.input", format!("{}: {e}", place.display()));
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(&next).map_err(|e| failed(&next, e))? {
            let path = entry.map_err(|e| failed(&next, e))?.path();
            if path.is_dir() && !path.is_symlink() {
                folders.push(path);
            } else if extension(&path, "json") || is_dicom(&path) {
                found.push((path.strip_prefix(folder).unwrap_or(&path).display().to_string(), path));
            }
        }
    }
    found.sort_unstable();
    Ok(found)
}

fn extension(path: &Path, wanted: &str) -> bool {
    path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case(wanted))
}

pub(crate) fn is_dicom(path: &Path) -> bool {
    extension(path, "dcm")
}

/// A file's content, if it is not larger than an object may be.
pub(crate) fn read(path: &Path) -> Result<Vec<u8>, String> {
    let size = fs::metadata(path).map_err(|e| e.to_string())?.len();
    if usize::try_from(size).is_ok_and(|size| size <= limits::OBJECT_BYTES_MAX) {
        return fs::read(path).map_err(|e| e.to_string());
    }
    Err(format!("{size} bytes, maximum is {}", limits::OBJECT_BYTES_MAX))
}

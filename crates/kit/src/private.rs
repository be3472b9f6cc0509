//! A file for its owner alone, whole or not there, also where the power fails.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// Writes `bytes` beside the file, brings them to the disk, and renames them onto it (mode 600).
pub fn write_private(file: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut partial = file.as_os_str().to_owned();
    partial.push(".partial");
    let partial = PathBuf::from(partial);
    match fs::remove_file(&partial) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut out = File::options().write(true).create_new(true).mode(0o600).open(&partial)?;
    out.write_all(bytes)?;
    out.sync_all()?;
    fs::rename(&partial, file)?;
    // The name stands in the folder; one without a parent is in this one.
    let folder = file.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(folder)?.sync_all()
}

/// That root doesn't write into somebody else's folder, or one that is to be made beside his: its owner could read none of it any more,
/// and a service that runs as him would not start. Where nobody knows who runs this, nothing is refused.
pub fn require_own(folder: &Path) -> io::Result<()> {
    // The folder itself, or whatever of the way to it is there.
    let there = folder.ancestors().filter(|way| !way.as_os_str().is_empty()).find_map(|way| fs::metadata(way).ok());
    let (Some(there), Ok(own)) = (there, fs::metadata("/proc/self")) else { return Ok(()) };
    match (own.uid(), there.uid()) {
        (0, owner) if owner != 0 => {
            let text = format!(
                "it is user {owner}'s, and this runs as root: what root writes there its owner can't read. Run it as that user \
                 (runuser -u NAME -- …)"
            );
            Err(io::Error::new(io::ErrorKind::PermissionDenied, text))
        }
        _ => Ok(()),
    }
}

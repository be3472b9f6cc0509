//! Which folders are this centre's. A signed centre record decides; what a folder's marker says is only a hint, since
//! anybody who can write to one folder can write it.

use std::path::{Path, PathBuf};

use kit::Id16;
use ledger::Vkey;

use crate::centre::{self, Centre};
use crate::error::VaultError;
use crate::gateway::Gateway;
use crate::location::{FolderLocation, LocationError, Marker, Refusal};

/// One folder that was looked at.
pub enum Folder {
    /// Its marker names this vault.
    Ours(FolderLocation),
    /// Its marker is damaged, gone, or names another vault; but a centre record of this one stands in it. Good enough to
    /// recover from; to write to it, it has to be marked again.
    Unmarked(FolderLocation, LocationError),
    /// Not to be used.
    Other(LocationError),
}

/// What stands in some folders.
pub struct Folders {
    pub vault: Id16,
    /// In the order in which they were given.
    pub folders: Vec<Folder>,
}

/// Opens folders whose vault isn't known yet. The vault is the one whose centre record opens under `vkey`; without a
/// vkey, the one that all sound records name.
pub fn open_folders(dirs: &[PathBuf], vkey: Option<&Vkey>) -> Result<Folders, VaultError> {
    let opened: Vec<_> = (1..).zip(dirs).map(|(number, dir)| open_folder(dir, number)).collect();
    let records: Vec<Vec<Centre>> =
        opened.iter().map(|(location, _)| location.as_ref().map(records).unwrap_or_default()).collect();
    let ours = centre::of_one_log(records.iter().flatten().cloned().collect(), vkey)?;
    let centre = ours.first().ok_or(VaultError::NoCentreRecord)?;
    let vault = centre.record.vault;
    let folders = opened.into_iter().zip(records).map(|((location, marked), records)| {
        let ours = records.iter().any(|record| record.record.vault == vault && record.vkey == centre.vkey);
        match (location, marked) {
            (Ok(location), Ok(marker)) if marker.vault() == vault => Folder::Ours(location),
            (Ok(location), marked) => {
                let error = marked.map_or_else(|error| error, |marker| other_vault(&marker, vault));
                if ours { Folder::Unmarked(location, error) } else { Folder::Other(error) }
            }
            (Err(error), _) => Folder::Other(error),
        }
    });
    Ok(Folders { vault, folders: folders.collect() })
}

/// Has the next opening take the ledger's hashes from the log, not from the gateway's copy of them.
pub fn forget_hashes(gateway: &Path) -> Result<(), VaultError> {
    Gateway::forget_hashes(gateway)
}

/// The log key that a gateway's folder remembers.
pub fn remembered_vkey(gateway: &Path) -> Result<Option<Vkey>, VaultError> {
    Gateway::open(gateway)?.vkey()
}

type Marked = Result<Marker, LocationError>;

/// The folder, opened by its marker, or without one; and the marker.
fn open_folder(dir: &Path, number: u8) -> (Result<FolderLocation, LocationError>, Marked) {
    match Marker::read(dir) {
        Ok(marker) => (FolderLocation::open_as(dir, marker.clone()), Ok(marker)),
        Err(error @ LocationError::Refused { .. }) => {
            // A name that no centre record has: whoever is asked later sees that nobody knows which one it is.
            let unknown = Marker::new(format!("unmarked-{number}"), Id16([0; 16]), number);
            (FolderLocation::open_as(dir, unknown), Err(error))
        }
        Err(error) => {
            let (location, text) = (dir.display().to_string(), error.to_string());
            (Err(LocationError::Gone { location, reason: text }), Err(error))
        }
    }
}

fn records(location: &FolderLocation) -> Vec<Centre> {
    centre::at(location).unwrap_or_default()
}

fn other_vault(marker: &Marker, expected: Id16) -> LocationError {
    let reason = Refusal::OtherVault { expected, found: marker.vault() };
    LocationError::Refused { location: marker.location().to_owned(), reason }
}

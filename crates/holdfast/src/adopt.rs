//! A lost `gateway/` is made again: a new configuration around the servers that are there.

use std::path::Path;

use kit::{Blame, Fault, Id16};
use vault::location::Marker;
use vault::{Plate, plate};

use crate::centre::{Task, lock, open_servers, shards};
use crate::config::Config;
use crate::staging::{self, UNFINISHED};

/// The centre that was found.
pub struct Adopted {
    plate: Plate,
    /// Servers that show it.
    found: usize,
}

impl std::fmt::Display for Adopted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { plate: Plate { vault, shape, t, custodians: (m, of), vkey }, found } = self;
        let n = shape.n();
        writeln!(f, "adopted the centre that servers/ carries; nothing on the servers was changed")?;
        writeln!(f, "  vault     {vault}, {found} of {n} servers are there")?;
        writeln!(f, "  shape     {} of {n} shards, {t} holders open a key, {m} of {of} custodians recover", shape.k())?;
        writeln!(f, "  log key   {vkey}: compare it with the one on paper")?;
        write!(f, "  addresses, AE titles and peers are the defaults again: edit {}", crate::config::FILE_NAME)
    }
}

/// Writes a new configuration where the servers' folders carry a vault and none is there; `None` where they carry none.
pub fn adopt(data: &Path) -> Result<Option<Adopted>, Fault> {
    if Config::is_there(data) || data.join(UNFINISHED).exists() {
        return Ok(None);
    }
    let failed = |e| Fault::new(Blame::Configuration, "centre.folder", format!("{}: {e}", data.display()));
    let mut folders = staging::server_folders(data).map_err(failed)?;
    let marked: Vec<(String, Id16)> = folders
        .iter()
        .filter_map(|folder| Some((folder.display().to_string(), Marker::read(&shards(folder)).ok()?.vault())))
        .collect();
    let Some((first, vault)) = marked.first() else { return Ok(None) };
    if let Some((other, found)) = marked.iter().find(|(_, found)| found != vault) {
        let text = format!("{first} is marked as vault {vault}'s, {other} as vault {found}'s");
        return Err(Fault::new(Blame::Integrity, "centre.many-vaults", text)
            .guidance("nothing was changed; leave only one centre's servers in servers/, then repeat"));
    }
    let _lock = lock(data)?;
    folders.retain(|folder| Marker::read(&shards(folder)).is_ok());
    let locations = open_servers(&folders, None, Task::Recover)?.locations;
    let plate = plate(&locations, None)?;
    Config::new(plate.shape.n()).save(data)?;
    Ok(Some(Adopted { plate, found: locations.len() }))
}

/// What to do where the configuration is missing.
pub fn guidance(data: &Path) -> String {
    format!(
        "`holdfast init --data {}` lays a centre out; where servers/ carries one already, it only makes the configuration again",
        data.display()
    )
}

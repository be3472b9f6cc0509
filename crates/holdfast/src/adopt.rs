//! A lost `gateway/` is made again: a new configuration around the servers that are there.

use std::path::Path;

use kit::{Blame, Fault};
use vault::{Plate, plate, remembered_vkey};

use crate::centre::{NO_SERVER, Task, lock, open_servers};
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
        write!(
            f,
            "  addresses, AE titles, peers and the number's system are the defaults again: edit {}; `serve` names each \
             setting that was another before",
            crate::config::FILE_NAME
        )
    }
}

/// Writes a new configuration where the servers' folders carry a vault and none is there; `None` where they carry none.
pub fn adopt(data: &Path) -> Result<Option<Adopted>, Fault> {
    if Config::is_there(data) || data.join(UNFINISHED).exists() {
        return Ok(None);
    }
    let failed = |e| Fault::new(Blame::Configuration, "centre.folder", format!("{}: {e}", data.display()));
    let Some(last) = staging::server_folders(data).map_err(failed)?.last().and_then(|folder| staging::number(folder))
    else {
        return Ok(None);
    };
    let gateway = data.join("gateway");
    let vkey = if gateway.is_dir() { remembered_vkey(&gateway)? } else { None };
    let folders = Config::new(last).server_folders(data);
    let locations = match open_servers(&folders, vkey.as_ref(), Task::Recover) {
        Ok(servers) => servers.locations,
        Err(fault) if fault.code == NO_SERVER => return Ok(None),
        Err(fault) if fault.code == "vault.many-centres" => {
            let guidance = "nothing was changed; leave only one centre's servers in servers/, then repeat";
            return Err(fault.guidance(guidance));
        }
        Err(fault) => return Err(fault),
    };
    let plate = plate(&locations, vkey.as_ref())?;
    let _lock = lock(data)?;
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

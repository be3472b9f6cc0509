//! A lost `gateway/` is made again: a new configuration around the servers that are there.

use std::path::{Path, PathBuf};

use kit::{Blame, Fault};
use vault::{Plate, plate, remembered_vkey};

use crate::bucket_files;
use crate::centre::lock;
use crate::config::Config;
use crate::site::{NO_SERVER, Task, open_servers};
use crate::staging::{self, UNFINISHED};

/// The centre that was found.
pub struct Adopted {
    plate: Plate,
    /// Servers that show it.
    found: usize,
}

impl std::fmt::Display for Adopted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { plate: Plate { vault, shape, t, custodians: (m, of), vkey, buckets }, found } = self;
        let n = shape.n();
        writeln!(f, "adopted the centre that servers/ carries; nothing on the servers was changed")?;
        writeln!(
            f,
            "  vault     {vault}, {found} of {} servers are there, {buckets} buckets beside them",
            n - usize::from(*buckets)
        )?;
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
/// `buckets`: the files of those that the centre has beside its servers.
pub fn adopt(data: &Path, buckets: &[PathBuf]) -> Result<Option<Adopted>, Fault> {
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
    let servers = u8::try_from(plate.shape.n()).unwrap_or(u8::MAX).saturating_sub(plate.buckets);
    if buckets.len() != usize::from(plate.buckets) {
        let text = format!("the files of {} buckets are given, the centre has {}", buckets.len(), plate.buckets);
        return Err(Fault::new(Blame::Peer, "usage.buckets", text)
            .guidance("nothing was changed; repeat with --bucket FILE for each"));
    }
    bucket_files::take_beside(buckets, &gateway, servers)?;
    Config::new(usize::from(servers)).save(data)?;
    Ok(Some(Adopted { plate, found: locations.len() }))
}

/// What to do where the configuration is missing.
pub fn guidance(data: &Path) -> String {
    format!(
        "is this the centre's data folder? --data DIR or HOLDFAST_DATA names another. `holdfast init --data {}` lays a NEW centre out; \
         where servers/ carries one already, it only makes the configuration again",
        data.display()
    )
}

//! Sheets in clear, for a recovery that has only begun: the same that a pack holds, without a seal and without the log's proof.

use std::fs;
use std::path::Path;

use edge::console::paper::{self, Trust};
use kit::{Blame, Clock as _, Fault, SystemClock, write_private};

use super::archive::DATA;
use super::commands::line_of;
use super::{Files, files_of, id_of};
use crate::first::FirstSight;

/// How many sheets there are, and of how many patients there is none.
pub struct Written {
    pub sheets: usize,
    pub missing: usize,
}

/// A folder is to hold nothing else: what is older in it could be taken for new.
pub fn require_empty(out: &Path) -> Result<(), Fault> {
    match fs::read_dir(out).is_ok_and(|mut there| there.next().is_some()) {
        true => Err(failed(out, "it is not empty: what is older in it could be taken for new")),
        false => Ok(()),
    }
}

/// Into a folder that is empty or absent: `index.html`, and a folder for each patient with her sheet and her plans' files.
pub fn write(sight: &FirstSight, out: &Path) -> Result<Written, Fault> {
    require_empty(out)?;
    let (mut rows, mut bad) = (Vec::new(), Vec::new());
    let as_of = sight.list.roster.unwrap_or(sight.list.as_of);
    sight.packs(&mut |patient, pack| {
        let id = id_of(sight.chart(), patient);
        let files: Files = match pack.and_then(|pack| files_of(&pack, &id)) {
            Ok(files) => files,
            Err(fault) => {
                bad.push(format!("{id}: {} [{}]", fault.message, fault.code));
                return Ok(());
            }
        };
        let folder = out.join(&id);
        fs::create_dir_all(&folder).map_err(|e| failed(&folder, e))?;
        for (name, bytes) in &files {
            write_private(&folder.join(name), bytes).map_err(|e| failed(&folder.join(name), e))?;
        }
        let data = files.get(DATA).and_then(|data| serde_json::from_slice(data).ok()).unwrap_or_default();
        rows.push(line_of(&id, &data, as_of, None));
        Ok(())
    })?;
    rows.sort_by(|a, b| (&a.machines, &a.name, &a.number).cmp(&(&b.machines, &b.name, &b.number)));
    let now = SystemClock.now().to_string();
    let now = format!("{} UTC", now.get(..16).unwrap_or_default().replace('T', " "));
    let list = paper::list(&now, Trust::Recovery, &rows, &bad)?;
    fs::create_dir_all(out).map_err(|e| failed(out, e))?;
    let index = out.join("index.html");
    write_private(&index, list.as_bytes()).map_err(|e| failed(&index, e))?;
    Ok(Written { sheets: rows.len(), missing: bad.len() })
}

fn failed(place: &Path, why: impl std::fmt::Display) -> Fault {
    Fault::new(Blame::Peer, "recover.sheets", format!("{}: {why}", place.display()))
}

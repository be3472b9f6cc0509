//! What an attack has left of a centre, and what the custodians open of it.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use keys::{CustodianError, CustodianPackage, Custody, Plugins, RecoveryKey};
use kit::{Blame, Fault, OsEntropy, SystemClock};
use vault::location::Location;
use vault::{LoggedErasure, Plate, Vault, Vkey, Weighed};
use zeroize::Zeroizing;

use crate::site::{Servers, Task, open_servers};

/// What an attack has left, and onto what a centre is recovered.
pub struct Left<'a> {
    /// Surviving servers' folders.
    pub from: &'a [PathBuf],
    /// Survivors that are no folders.
    pub beside: Vec<Arc<dyn Location>>,
    /// The custodians'.
    pub secrets: &'a [Zeroizing<String>],
    pub plugins: &'a dyn Plugins,
    /// The log key from the custodians' sheets: survivors that show another one are not believed.
    pub vkey: Option<&'a Vkey>,
    /// Of machines of their own; without it the servers are folders.
    pub plan: Option<&'a Path>,
    /// Erasures that stand in the log from this entry on are taken back.
    pub restore_from: Option<u64>,
    /// Patients whose keys the custodians don't open keep nobody else from being recovered.
    pub leave_sealed: bool,
}

/// The survivors that were given, and the key that the custodians open of what they show.
pub struct Gathered {
    pub survivors: Vec<Arc<dyn Location>>,
    pub plate: Plate,
    pub key: Arc<RecoveryKey>,
}

impl Left<'_> {
    pub fn gather(&self) -> Result<Gathered, Fault> {
        let folders =
            if self.from.is_empty() { Servers::default() } else { open_servers(self.from, self.vkey, Task::Recover)? };
        let survivors: Vec<Arc<dyn Location>> =
            folders.locations.into_iter().chain(self.beside.iter().cloned()).collect();
        let plate = vault::plate(&survivors, self.vkey)?;
        enough_custodians(self.secrets, plate.custodians)?;
        let key = Arc::new(recovery_key(vault::packages(&survivors, self.vkey)?, self.secrets, self.plugins)?);
        Ok(Gathered { survivors, plate, key })
    }

    /// The erasures that the survivors' log holds; changes nothing.
    pub fn erasures(&self) -> Result<Vec<LoggedErasure>, Fault> {
        let Gathered { survivors, key, .. } = self.gather()?;
        Ok(vault::erasures(survivors, key, self.vkey, Arc::new(SystemClock), Arc::new(OsEntropy))?)
    }
}

/// What survivors' witnesses cosigned last, beside the log that was recovered: by the folder.
pub type Witnessed = Vec<(PathBuf, Weighed)>;

/// Weighs it. What can't be read, or is of another log, weighs nothing: whoever has a disk can write that.
pub fn weigh(from: &[PathBuf], vault: &Vault, entries: u64) -> Witnessed {
    let weighed = from.iter().filter_map(|folder| {
        let note = holder::last_cosigned(folder).map_err(|error| tracing::warn!(%error, "a survivor's witness"));
        let weighed = vault.weigh(&note.ok()??, entries);
        let weighed = weighed.map_err(|error| tracing::warn!(%error, "what a survivor's witness cosigned"));
        Some((folder.clone(), weighed.ok()?))
    });
    weighed.collect()
}

/// Of the custodians of the record that counts, or of those before, where that one was only being put.
fn recovery_key(
    offers: Vec<Vec<CustodianPackage>>,
    secrets: &[Zeroizing<String>],
    plugins: &dyn Plugins,
) -> Result<RecoveryKey, Fault> {
    let mut first = None;
    for packages in offers {
        match Custody::open(packages, secrets, plugins).and_then(Custody::newest) {
            Ok(key) => return Ok(key),
            Err(error) => drop(first.get_or_insert(error)),
        }
    }
    Err(first.unwrap_or(CustodianError::NoPackage).into())
}

/// Said before anything is made: the vault itself finds out late, and in numbers of a package.
fn enough_custodians(secrets: &[Zeroizing<String>], (needed, of): (u8, u8)) -> Result<(), Fault> {
    let different = secrets.iter().map(|secret| secret.as_str()).collect::<BTreeSet<_>>().len();
    if different >= usize::from(needed) {
        return Ok(());
    }
    let text = format!("secrets of {different} different custodians are given, {needed} of the {of} are needed");
    Err(Fault::new(Blame::Peer, "keys.custodian-not-enough", text)
        .guidance("nothing was changed; call in more custodians, each with a secret of her own"))
}

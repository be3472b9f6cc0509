//! Where a centre's servers and buckets are: folders with their holders in this process, or machines of their own.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use holder::Network;
use holder::wire::Status;
use keys::{Holder, LocalHolder};
use kit::{Blame, Entropy, Fault, Id16};
use vault::location::{FolderLocation, Location, LocationError, Marker};
use vault::{Folder, VaultError, Vkey};

use crate::buckets::Buckets;
use crate::config::Config;
use crate::diagnose::explained;
use crate::domains::{Domain, Domains};
use crate::fleet::Fleet;
use crate::signers::Signers;
use crate::standing::{self, Seen};

/// The code of the fault that says: these folders carry no centre.
pub const NO_SERVER: &str = "centre.no-server";

fn failed(place: &Path, why: impl std::fmt::Display) -> Fault {
    Fault::new(Blame::Configuration, "centre.folder", format!("{}: {why}", place.display()))
}

pub fn shards(server: &Path) -> PathBuf {
    server.join("shards")
}

pub fn holder(server: &Path) -> PathBuf {
    server.join("holder")
}

pub fn location_id(number: u8) -> String {
    format!("server-{number:02}")
}

/// Makes a location and a holder on each server.
pub fn fresh_servers(folders: &[PathBuf], vault: Id16, entropy: &dyn Entropy) -> Result<Servers, Fault> {
    let mut servers = Servers::default();
    for (number, folder) in (1..).zip(folders) {
        fs::create_dir_all(folder).map_err(|e| failed(folder, e))?;
        let marker = Marker::new(location_id(number), vault, number);
        servers.locations.push(Arc::new(FolderLocation::init(&shards(folder), marker)?));
        servers.holders.push(Arc::new(LocalHolder::init(&holder(folder), number, entropy)?));
    }
    Ok(servers)
}

#[derive(Default)]
pub struct Servers {
    pub locations: Vec<Arc<dyn Location>>,
    pub holders: Vec<Arc<dyn Holder>>,
}

/// Where a centre's servers and buckets are.
pub enum Site {
    /// Folders, with their holders in this process, and the buckets beside them.
    Folders(Folders),
    /// Machines of their own, and who signs towards them.
    Fleet(Box<Fleet>, Arc<Signers>),
}

pub struct Folders {
    /// More of them come when the centre grows.
    all: RwLock<Vec<PathBuf>>,
    buckets: Buckets,
}

impl Folders {
    pub fn all(&self) -> Vec<PathBuf> {
        self.all.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub fn set(&self, all: Vec<PathBuf>) {
        *self.all.write().unwrap_or_else(PoisonError::into_inner) = all;
    }
}

impl Site {
    /// With the buckets whose files stand in the gateway's folder.
    pub fn folders(folders: Vec<PathBuf>, data: &Path) -> Result<Self, Fault> {
        let buckets = Buckets::open_with(&data.join("gateway"), Network::start)?;
        Ok(Self::Folders(Folders { all: RwLock::new(folders), buckets }))
    }

    pub fn of(config: &Config, data: &Path) -> Result<Self, Fault> {
        match config.officer_key() {
            Some(officer) => {
                let officer = officer.map_err(|why| failed(data, why))?;
                let gateway = data.join("gateway");
                let fleet = Fleet::open(&gateway, &officer)?;
                let signers = Signers::open(&gateway, fleet.vault())?;
                signers.end(&fleet.members().ended);
                Ok(Self::Fleet(Box::new(fleet), signers))
            }
            None => Self::folders(config.server_folders(data), data),
        }
    }

    pub fn signers(&self) -> Option<&Arc<Signers>> {
        match self {
            Self::Folders(_) => None,
            Self::Fleet(_, signers) => Some(signers),
        }
    }

    pub fn servers(&self, vkey: Option<&Vkey>, task: Task) -> Result<Servers, Fault> {
        match self {
            Self::Folders(Folders { buckets, .. }) => {
                let folders = self.server_folders().unwrap_or_default();
                let mut servers = open_servers(&folders, vkey, task).map_err(|fault| self.explained(fault))?;
                servers.locations.extend(buckets.locations());
                Ok(servers)
            }
            Self::Fleet(fleet, _) => Ok(fleet.servers()),
        }
    }

    /// A fault of opening, with what is wrong at each server.
    pub fn explained(&self, fault: Fault) -> Fault {
        let (fault, silent) = match self {
            Self::Folders(folders) => (explained(fault, &folders.all()), Vec::new()),
            Self::Fleet(fleet, _) => {
                let silent =
                    (1..).zip(fleet.look()).filter_map(|(number, seen)| Some((location_id(number), seen.err()?)));
                (fault, silent.collect())
            }
        };
        let buckets = self.buckets().states().into_iter();
        let silent =
            silent.into_iter().chain(buckets.filter_map(|bucket| Some((bucket.id.clone(), bucket.trouble()?))));
        let message = silent.fold(fault.message, |text, (name, why)| format!("{text}\n  {name}: {why}"));
        Fault { message, ..fault }
    }

    /// What each server shows of its holder now.
    pub fn look(&self) -> Seen {
        match self {
            Self::Folders(folders) => standing::look(&folders.all()),
            Self::Fleet(fleet, _) => fleet.look(),
        }
    }

    pub fn buckets(&self) -> &Buckets {
        match self {
            Self::Folders(folders) => &folders.buckets,
            Self::Fleet(fleet, _) => fleet.buckets(),
        }
    }

    /// The servers' folders, where they are folders.
    pub fn server_folders(&self) -> Option<Vec<PathBuf>> {
        match self {
            Self::Folders(folders) => Some(folders.all()),
            Self::Fleet(..) => None,
        }
    }

    /// What each location could share with others: those on one disk, of one administrator or with the same credentials
    /// fall together.
    pub fn domains(&self, administrators: &BTreeMap<String, String>) -> Domains {
        let named: Vec<(String, Domain)> = match self {
            Self::Folders(folders) => {
                let disk = |folder: &PathBuf| fs::metadata(folder).ok().map(|found| format!("disk {}", found.dev()));
                let domain = |folder: &PathBuf| Domain { host: disk(folder), ..Domain::default() };
                let servers = (1..).zip(folders.all()).map(|(number, folder)| (location_id(number), domain(&folder)));
                servers.chain(folders.buckets.domains().iter().cloned()).collect()
            }
            Self::Fleet(fleet, _) => fleet.domains(),
        };
        let administered =
            |(name, domain): (String, Domain)| Domain { administrator: administrators.get(&name).cloned(), ..domain };
        Domains::of(&named.into_iter().map(administered).collect::<Vec<_>>())
    }

    /// What each server said of itself when it was asked last; none where the servers are folders.
    pub fn statuses(&self) -> Vec<(u8, Result<Status, String>)> {
        match self {
            Self::Folders(_) => Vec::new(),
            Self::Fleet(fleet, _) => fleet.statuses(),
        }
    }

    /// What each server showed at the start. A machine that is down then is asked again whenever it is needed.
    pub fn at_start(&self) -> Seen {
        match self {
            Self::Folders(folders) => standing::look(&folders.all()),
            Self::Fleet(fleet, _) => fleet.keys(),
        }
    }

    pub fn name(&self, place: usize) -> String {
        let folders = self.server_folders().unwrap_or_default();
        let named = folders.get(place).and_then(|folder| folder.file_name().map(OsStr::to_owned));
        let number = u8::try_from(place + 1).unwrap_or(u8::MAX);
        named.map_or_else(|| location_id(number), |name| name.to_string_lossy().into_owned())
    }
}

/// What servers' folders are opened for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Task {
    Serve,
    /// As to serve; nothing is changed.
    Look,
    /// A server whose shards are gone altogether gets an empty location, and one whose marker is damaged a new marker, for
    /// a scrub to heal: only on an operator's word, since a disk that isn't mounted looks the same.
    Mend,
    /// Whatever holds shards of ours counts, in any order, marked or not.
    Recover,
}

/// Opens what is there. What isn't, or isn't ours, is left out and said: the vault and the keyring go on without it as
/// far as their numbers allow. Whose the folders are is told by the centre record that `vkey` signed.
pub fn open_servers(folders: &[PathBuf], vkey: Option<&Vkey>, task: Task) -> Result<Servers, Fault> {
    let places: Vec<PathBuf> = folders.iter().map(|folder| shards(folder)).collect();
    if task == Task::Mend {
        places.iter().try_for_each(|place| FolderLocation::make_volumes(place))?;
    }
    let opened = match vault::open_folders(&places, vkey) {
        Err(VaultError::NoCentreRecord) => {
            let text = format!("none of the {} server folders holds shards that nobody else has open", folders.len());
            return Err(Fault::new(Blame::Configuration, NO_SERVER, text).guidance(
                "stop a gateway that has them open, or mount the servers' disks; where they are lost, `holdfast recover` \
                 rebuilds from three survivors",
            ));
        }
        opened => opened?,
    };
    // A marker can be copied: of two folders that say the same name, the one in its own place is believed.
    let in_place: Vec<String> = (1..)
        .zip(&opened.folders)
        .filter(|(number, folder)| matches!(folder, Folder::Ours(location) if location.id() == location_id(*number)))
        .map(|(number, _)| location_id(number))
        .collect();
    let mut servers = Servers::default();
    for ((number, folder), (place, opened_as)) in (1..).zip(folders).zip(places.iter().zip(opened.folders)) {
        let id = location_id(number);
        let marker = Marker::new(id.clone(), opened.vault, number);
        let is_gone = fs::read_dir(place).map_or(true, |mut entries| entries.next().is_none());
        let location = match (opened_as, task) {
            (Folder::Ours(location), Task::Recover) | (Folder::Unmarked(location, _), Task::Recover) => Ok(location),
            (Folder::Ours(location), _) if location.id() != id && in_place.iter().any(|one| one == location.id()) => {
                let expected = format!("the place of {id} is marked as {}", location.id());
                if task == Task::Mend {
                    location.mark(marker)
                } else {
                    Err(LocationError::Gone { location: id, reason: expected })
                }
            }
            (Folder::Ours(location), _) => Ok(location),
            (Folder::Unmarked(location, _), Task::Mend) => location.mark(marker),
            (Folder::Unmarked(_, error), Task::Serve | Task::Look) => Err(error),
            (Folder::Other(_), Task::Mend) if is_gone => {
                fs::create_dir_all(folder).map_err(|e| failed(folder, e))?;
                FolderLocation::init(place, marker)
            }
            (Folder::Other(error), _) => Err(error),
        };
        match location {
            Ok(location) => servers.locations.push(Arc::new(location)),
            Err(error) => tracing::warn!(server = %folder.display(), %error, "its shards can't be used"),
        }
        match LocalHolder::open(&holder(folder)) {
            Ok(holder) => servers.holders.push(Arc::new(holder)),
            Err(error) => tracing::warn!(server = %folder.display(), %error, "its holder can't be used"),
        }
    }
    Ok(servers)
}

//! How a centre is put together: folders, holders, vault, chart, treatment.
//!
//! ```text
//! DIR/servers/server-01 … server-14     one server each: shards/, holder/
//! DIR/gateway/                          holdfast.toml, index, notes, lock: all of it can be lost
//! DIR/custodians-MOVE-OFFLINE/          only after init, until they are handed out
//! ```

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::{self, File, TryLockError};
use std::net::SocketAddr;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use chart::{Chart, ChartError, Context};
use guard::{Purpose, Sensitivity, Target};
use holder::wire::Status;
use keys::{Holder, LocalHolder, RecoveryKey};
use kit::limits::SERVERS_MAX;
use kit::{Blame, Entropy, Fault, Id16, OperationId, OsEntropy, SystemClock, Timestamp, write_private};
use treatment::{Treatment, TreatmentList};
use vault::location::{FolderLocation, Location, LocationError, Marker};
use vault::{Access, Folder, Founding, Mode, Opening, Recovery, RecoveryReport, Vault, VaultError, VerifyReport, Vkey};
use zeroize::Zeroizing;

use crate::buckets::{BucketState, Buckets};
use crate::config::Config;
use crate::custodians::Custodians;
use crate::diagnose::explained;
use crate::domains::{Domain, Domains};
use crate::fleet::Fleet;
use crate::left::{Gathered, Left};
use crate::plan::Machines;
use crate::say::plural;
use crate::signers::Signers;
use crate::staging::{Begun, require_finished};
use crate::standing::{self, Seen, Standing};
use crate::{adopt, settings};

/// The code of the fault that says: another process has this centre open.
pub const BUSY: &str = "centre.busy";
/// The code of the fault that says: these folders carry no centre.
pub const NO_SERVER: &str = "centre.no-server";

const LOCK: &str = "gateway/lock";
/// In the gateway's folder.
const INDEX: &str = "index.sqlite";

const CUSTODIANS_FOLDER: &str = "custodians-MOVE-OFFLINE";
/// Where the centre's name is noted.
const NAME_LIST: &str = "centre-name";

fn failed(place: &Path, why: impl std::fmt::Display) -> Fault {
    Fault::new(Blame::Configuration, "centre.folder", format!("{}: {why}", place.display()))
}

/// How many servers and buckets, and what they buy.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    pub servers: u8,
    /// Locations beside the servers; they hold no keys and witness nothing.
    pub buckets: u8,
    pub shards_needed: u8,
    pub keys_needed: u8,
    pub floor: u8,
}

impl Shape {
    /// Defaults: 3 of n shards, so that all but three may be lost; all but two of the holders to open a key, so that
    /// two may be down on any day, and a thief needs nearly all. A write is taken on more than half.
    pub fn of(servers: u8, shards_needed: Option<u8>, keys_needed: Option<u8>) -> Result<Self, Fault> {
        Self::with_buckets(servers, 0, shards_needed, keys_needed)
    }

    /// As [`Self::of`], with locations beside the servers: shards go to all of them, keys to the servers.
    pub fn with_buckets(
        servers: u8,
        buckets: u8,
        shards_needed: Option<u8>,
        keys_needed: Option<u8>,
    ) -> Result<Self, Fault> {
        let all = servers.saturating_add(buckets);
        let shards = shards_needed.unwrap_or(if all >= 5 { 3 } else { all.div_ceil(2) });
        let keys = keys_needed.unwrap_or(if servers >= 5 { servers - 2 } else { servers });
        // Halfway between "all must answer to write" and "all must answer to open": see `vault::Shape::quorum`.
        let floor = all.saturating_add(shards).div_ceil(2);
        let bad = |what: &str, found: u8, of: u8, whose: &str| {
            let text = format!("{what}: {found}, it must be 1 to {of}, the number of {whose}");
            Err(Fault::new(Blame::Peer, "usage.shape", text))
        };
        let places = if buckets == 0 { "servers" } else { "servers and buckets" };
        match (shards, keys) {
            _ if usize::from(all) > SERVERS_MAX => {
                let text = format!("{servers} servers and {buckets} buckets, the maximum is {SERVERS_MAX} together");
                Err(Fault::new(Blame::Peer, "usage.shape", text))
            }
            (0, _) => bad("shards needed", shards, all, places),
            (s, _) if s > all => bad("shards needed", s, all, places),
            (_, 0) => bad("keys needed", keys, servers, "servers"),
            (_, k) if k > servers => bad("keys needed", k, servers, "servers"),
            _ => Ok(Self { servers, buckets, shards_needed: shards, keys_needed: keys, floor }),
        }
    }

    /// Places for shards.
    pub fn locations(self) -> u8 {
        self.servers.saturating_add(self.buckets)
    }

    /// In one sentence, what this centre survives.
    pub fn promise(self) -> String {
        let Self { servers, buckets, shards_needed, keys_needed, .. } = self;
        if self.locations() == 1 {
            return "This centre stands on ONE server: it survives NO loss. For promises that hold, let it grow onto 14 \
                    servers on separate machines while it runs (`holdfast centre grow --servers 14 --custodian FILE --custodian FILE`), or lay it out on \
                    machines of their own from the first day (`holdfast centre plan`)."
                .to_owned();
        }
        let (beside, of) = match buckets {
            0 => (String::new(), ""),
            count => (format!(" and {}", plural(count.into(), "bucket")), " servers"),
        };
        format!(
            "{servers} servers{beside}: any {} may be lost or encrypted and no record is; the disks of any {}{of} together \
             open nothing; with fewer than {keys_needed} holders alive, custodians are needed. That holds for servers that \
             are separate machines, not for folders on one disk.",
            self.locations() - shards_needed,
            keys_needed - 1,
        )
    }
}

/// An empty centre that is about to be laid out.
pub struct NewCentre {
    pub name: String,
    pub shape: Shape,
    pub custodians: Custodians,
}

/// What was laid out.
pub struct Made {
    pub name: String,
    pub promise: String,
    /// The centre's log key.
    pub vkey: Vkey,
    /// Where secrets of custodians that were made here lie.
    pub custodian_secrets: Option<PathBuf>,
}

impl NewCentre {
    /// Lays an empty centre out. An existing centre is left alone.
    pub fn lay_out(self, data: &Path, entropy: &dyn Entropy) -> Result<Made, Fault> {
        let begun = Begun::begin(data, "init")?;
        let made = self.lay_out_in(data, entropy)?;
        begun.finish()?;
        Ok(made)
    }

    /// As [`Self::lay_out`], in a folder that the caller has begun and finishes.
    pub fn lay_out_in(self, data: &Path, entropy: &dyn Entropy) -> Result<Made, Fault> {
        let config = Config::new(usize::from(self.shape.servers));
        let vault = Id16(entropy.id());
        let folders = config.server_folders(data);
        let servers = fresh_servers(&folders, vault, entropy)?;
        self.found(data, vault, servers, config, |_| Ok(Site::folders(folders)))
    }

    /// Founds the vault on servers that are there; `site` is asked for once the log key is known.
    pub fn found(
        self,
        data: &Path,
        vault: Id16,
        servers: Servers,
        config: Config,
        site: impl FnOnce(&Vkey) -> Result<Site, Fault>,
    ) -> Result<Made, Fault> {
        let shape = vault::Shape::new(self.shape.shards_needed, self.shape.locations(), self.shape.floor)?;
        let vault = vault::found(Founding {
            vault,
            origin: format!("holdfast/{vault}"),
            shape,
            locations: servers.locations,
            holders: servers.holders,
            t: self.shape.keys_needed,
            cache_ms: 0,
            custodians: self.custodians.package,
            gateway: Some(data.join("gateway")),
            clock: Arc::new(SystemClock),
            entropy: Arc::new(OsEntropy),
        })?;
        let vkey = vault.vkey();
        let site = site(&vkey)?;
        let centre = Centre::around(vault, config, site, data, lock(data)?, Task::Serve)?;
        // So that a recovered centre knows it.
        note(centre.chart(), "centre.name", NAME_LIST, self.name.as_bytes())?;
        let config = centre.config.clone();
        drop(centre);
        let custodian_secrets = write_custodians(data, &self.custodians.secrets, &vkey)?;
        config.save(data)?;
        Ok(Made { name: self.name, promise: self.shape.promise(), vkey, custodian_secrets })
    }
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
fn fresh_servers(folders: &[PathBuf], vault: Id16, entropy: &dyn Entropy) -> Result<Servers, Fault> {
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

/// Where a centre's servers are.
pub enum Site {
    /// Folders, with their holders in this process. More of them come when the centre grows.
    Folders(RwLock<Vec<PathBuf>>),
    /// Machines of their own, and who signs towards them.
    Fleet(Box<Fleet>, Arc<Signers>),
}

impl Site {
    fn folders(folders: Vec<PathBuf>) -> Self {
        Self::Folders(RwLock::new(folders))
    }

    fn of(config: &Config, data: &Path) -> Result<Self, Fault> {
        match config.officer_key() {
            Some(officer) => {
                let officer = officer.map_err(|why| failed(data, why))?;
                let gateway = data.join("gateway");
                let fleet = Fleet::open(&gateway, &officer)?;
                let signers = Signers::open(&gateway, fleet.vault())?;
                signers.end(&fleet.members().ended);
                Ok(Self::Fleet(Box::new(fleet), signers))
            }
            None => Ok(Self::folders(config.server_folders(data))),
        }
    }

    fn signers(&self) -> Option<&Arc<Signers>> {
        match self {
            Self::Folders(_) => None,
            Self::Fleet(_, signers) => Some(signers),
        }
    }

    fn servers(&self, vkey: Option<&Vkey>, task: Task) -> Result<Servers, Fault> {
        match self {
            Self::Folders(folders) => open_servers(&held(folders), vkey, task).map_err(|fault| self.explained(fault)),
            Self::Fleet(fleet, _) => Ok(fleet.servers()),
        }
    }

    /// A fault of opening, with what is wrong at each server.
    fn explained(&self, fault: Fault) -> Fault {
        match self {
            Self::Folders(folders) => explained(fault, &held(folders)),
            Self::Fleet(fleet, _) => {
                let silent = (1..).zip(fleet.look()).filter_map(|(number, seen)| Some((number, seen.err()?)));
                let silent = silent.map(|(number, why)| (location_id(number), why));
                let buckets = fleet.buckets().states().into_iter();
                let silent = silent.chain(buckets.filter_map(|bucket| Some((bucket.id.clone(), bucket.trouble()?))));
                let message = silent.fold(fault.message, |text, (name, why)| format!("{text}\n  {name}: {why}"));
                Fault { message, ..fault }
            }
        }
    }

    /// What each server shows of its holder now.
    fn look(&self) -> Seen {
        match self {
            Self::Folders(folders) => standing::look(&held(folders)),
            Self::Fleet(fleet, _) => fleet.look(),
        }
    }

    fn buckets(&self) -> Option<&Buckets> {
        match self {
            Self::Folders(_) => None,
            Self::Fleet(fleet, _) => Some(fleet.buckets()),
        }
    }

    /// What each location could share with others: those on one disk, of one administrator or with the same credentials
    /// fall together.
    fn domains(&self, administrators: &BTreeMap<String, String>) -> Domains {
        let named: Vec<(String, Domain)> = match self {
            Self::Folders(folders) => {
                let disk = |folder: &PathBuf| fs::metadata(folder).ok().map(|found| format!("disk {}", found.dev()));
                let domain = |folder| Domain { host: disk(folder), ..Domain::default() };
                (1..).zip(&held(folders)).map(|(number, folder)| (location_id(number), domain(folder))).collect()
            }
            Self::Fleet(fleet, _) => fleet.domains(),
        };
        let administered =
            |(name, domain): (String, Domain)| Domain { administrator: administrators.get(&name).cloned(), ..domain };
        Domains::of(&named.into_iter().map(administered).collect::<Vec<_>>())
    }

    /// What each server said of itself when it was asked last; none where the servers are folders.
    fn statuses(&self) -> Vec<(u8, Result<Status, String>)> {
        match self {
            Self::Folders(_) => Vec::new(),
            Self::Fleet(fleet, _) => fleet.statuses(),
        }
    }

    /// What each server showed at the start. A machine that is down then is asked again whenever it is needed.
    fn at_start(&self) -> Seen {
        match self {
            Self::Folders(folders) => standing::look(&held(folders)),
            Self::Fleet(fleet, _) => fleet.keys(),
        }
    }

    fn name(&self, place: usize) -> String {
        let named = match self {
            Self::Folders(folders) => {
                held(folders).get(place).and_then(|folder| folder.file_name().map(OsStr::to_owned))
            }
            Self::Fleet(..) => None,
        };
        let number = u8::try_from(place + 1).unwrap_or(u8::MAX);
        named.map_or_else(|| location_id(number), |name| name.to_string_lossy().into_owned())
    }
}

fn held(folders: &RwLock<Vec<PathBuf>>) -> Vec<PathBuf> {
    folders.read().unwrap_or_else(PoisonError::into_inner).clone()
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

fn write_custodians(data: &Path, secrets: &[Zeroizing<String>], vkey: &Vkey) -> Result<Option<PathBuf>, Fault> {
    if secrets.is_empty() {
        return Ok(None);
    }
    let folder = data.join(CUSTODIANS_FOLDER);
    fs::create_dir_all(&folder).map_err(|e| failed(&folder, e))?;
    for (number, secret) in (1..).zip(secrets) {
        let text = Zeroizing::new(format!(
            "# Custodian {number}. Keep it offline, away from the others.\n\
             # The centre's log key, public: it tells this centre from a forged one.\n# --vkey {vkey}\n{}\n",
            secret.as_str()
        ));
        let file = folder.join(format!("custodian-{number}.txt"));
        write_private(&file, text.as_bytes()).map_err(|e| failed(&file, e))?;
    }
    Ok(Some(folder))
}

/// An open centre.
pub struct Centre {
    config: Config,
    name: String,
    site: Site,
    /// What the holders' folders showed when this centre was opened.
    holders_at_start: Mutex<Seen>,
    index_is_sound: bool,
    treatment: Arc<Treatment>,
    pages: Mutex<Option<SocketAddr>>,
    gateway: PathBuf,
    /// Held for as long as the centre is open.
    _lock: File,
}

impl Centre {
    /// Opens the centre in `data`. One process at a time: another one gets the fault [`BUSY`].
    pub fn open(data: &Path) -> Result<Self, Fault> {
        require_finished(data)?;
        Self::open_with(Self::config_of(data)?, data, Task::Serve, None)
    }

    /// As [`Self::open`], with a configuration from elsewhere.
    pub fn open_as(data: &Path, config: Config) -> Result<Self, Fault> {
        require_finished(data)?;
        Self::open_with(config, data, Task::Serve, None)
    }

    /// As [`Self::open`], in a folder that the caller has begun.
    pub fn open_begun(data: &Path) -> Result<Self, Fault> {
        Self::open_with(Self::config_of(data)?, data, Task::Serve, None)
    }

    /// In a folder that the caller has begun, where nothing is remembered: the log key is from elsewhere, and the settings are
    /// those that the ledger holds.
    pub fn open_anew(data: &Path, config: Config, vkey: Vkey) -> Result<Self, Fault> {
        let mut centre = Self::open_with(config, data, Task::Serve, Some(vkey))?;
        centre.config = settings::restored(centre.chart(), &centre.config)?;
        centre.config.save(data)?;
        Ok(centre)
    }

    fn config_of(data: &Path) -> Result<Config, Fault> {
        Config::load(data).map_err(|fault| {
            if Config::is_there(data) {
                return fault;
            }
            // One that is served with a configuration from elsewhere is open, whatever is missing here.
            let busy = data.join(LOCK).exists().then(|| lock(data).err()).flatten();
            busy.unwrap_or_else(|| fault.guidance(adopt::guidance(data)))
        })
    }

    /// As [`Self::open`], and servers whose shards are gone get empty folders, for a scrub to fill; those whose marker is
    /// damaged get a new one.
    pub fn open_to_mend(data: &Path) -> Result<Self, Fault> {
        require_finished(data)?;
        // The log itself has them, and a scrub reads all of it: a flipped bit in the gateway's copy would stay for ever.
        vault::forget_hashes(&data.join("gateway"))?;
        Self::open_with(Self::config_of(data)?, data, Task::Mend, None)
    }

    /// As [`Self::open`], for looking only: nothing is healed before it was seen, and k servers are enough.
    pub fn open_to_look(data: &Path) -> Result<Self, Fault> {
        require_finished(data)?;
        Self::open_with(Self::config_of(data)?, data, Task::Look, None)
    }

    fn open_with(config: Config, data: &Path, task: Task, given: Option<Vkey>) -> Result<Self, Fault> {
        let lock = lock(data)?;
        let gateway = data.join("gateway");
        let vkey = vault::remembered_vkey(&gateway)?;
        let site = Site::of(&config, data)?;
        if let (Some(buckets), true) = (site.buckets(), task != Task::Look) {
            // One that lacks something is left out, and said; the centre goes on within its floor.
            buckets.probe();
        }
        let servers = site.servers(vkey.as_ref(), task)?;
        let cache_ms = u64::from(config.keys.cache_seconds) * 1_000;
        let vault = vault::open(Opening {
            locations: servers.locations,
            access: Access::Holders {
                holders: servers.holders,
                cache_ms,
                prover: site.signers().map(|signers| Arc::clone(signers) as _),
            },
            gateway: Some(gateway),
            vkey: given,
            mode: if task == Task::Look { Mode::Read } else { Mode::Write },
            clock: Arc::new(SystemClock),
            entropy: Arc::new(OsEntropy),
        })
        .map_err(|error| site.explained(error.into()))?;
        if let (Site::Fleet(fleet, _), true) = (&site, task != Task::Look) {
            vault.be_witnessed(fleet.witnesses(vault.quorum_of_holders().1))?;
        }
        if let (Some(buckets), Task::Serve) = (site.buckets(), task) {
            buckets.look_every(Duration::from_secs(u64::from(config.buckets.probe_minutes) * 60));
        }
        Self::around(vault, config, site, data, lock, task)
    }

    fn around(vault: Vault, config: Config, site: Site, data: &Path, lock: File, task: Task) -> Result<Self, Fault> {
        let index = data.join("gateway").join(INDEX);
        // All of it is read only where somebody asks: a large one takes minutes.
        let index_is_sound = task == Task::Serve || chart::Index::file_is_sound(&index);
        if !index_is_sound && task == Task::Mend {
            chart::Index::forget(&index).map_err(|e| ChartError::from(e).fault())?;
        }
        let chart = Chart::open(
            Arc::new(vault),
            (index_is_sound || task == Task::Mend).then_some(&*index),
            config.guard_peers()?,
            Arc::new(SystemClock),
            Arc::new(OsEntropy),
        )
        .map_err(|e| e.fault())?
        .with_number_system(config.patients.number_system.clone());
        let (name, chart) = (name_of(&chart)?, Arc::new(chart));
        if let Some(signers) = site.signers() {
            signers.listen(&chart)?;
        }
        let treatment = Treatment::new(chart, name.clone()).with_utc_offset(config.utc_offset());
        let treatment = Arc::new(treatment);
        if let Site::Fleet(fleet, _) = &site {
            fleet.know(&treatment.chart().vault().holder_keys());
        }
        let holders_at_start = Mutex::new(site.at_start());
        let (pages, gateway) = (Mutex::new(None), data.join("gateway"));
        Ok(Self { config, name, site, holders_at_start, index_is_sound, treatment, pages, gateway, _lock: lock })
    }

    /// Rebuilds a centre in an empty folder: new servers, new holders, new keys for every living patient's key. Patients
    /// don't wait for all of that: `listed` gets the treatment list as soon as the survivors can be read, or why there is none.
    pub fn recover(
        left: Left<'_>,
        into: &Path,
        listed: &mut dyn FnMut(Result<TreatmentList, Fault>),
    ) -> Result<(Self, RecoveryReport), Fault> {
        let begun = Begun::begin(into, "recover")?;
        let Gathered { survivors, plate, key } = left.gather()?;
        let Left { vkey, plan, restore_from, .. } = left;
        let lock = lock(into)?;
        listed(preview(&survivors, Arc::clone(&key), vkey, restore_from, into));
        let machines = plan.map(|plan| Machines::of(plan, into)).transpose()?;
        if let Some(other) = machines.as_ref().map(|machines| machines.vault).filter(|vault| *vault != plate.vault) {
            let text = format!("the plan is of vault {other}, the survivors are of {}", plate.vault);
            return Err(Fault::new(Blame::Peer, "usage.plan", text)
                .guidance("nothing was recovered; make a plan for this centre: holdfast centre plan --survivor DIR"));
        }
        let config = machines.as_ref().map_or_else(|| Config::new(plate.shape.n()), |machines| machines.config.clone());
        let t = machines.as_ref().map_or(plate.t, |machines| machines.shape.keys_needed);
        let fresh = match &machines {
            Some(machines) => machines.servers(),
            None => fresh_servers(&config.server_folders(into), plate.vault, &OsEntropy)?,
        };
        let (vault, report) = vault::recover(Recovery {
            survivors,
            key,
            vkey: vkey.cloned(),
            fresh: fresh.locations,
            holders: fresh.holders,
            t,
            cache_ms: u64::from(config.keys.cache_seconds) * 1_000,
            custodians: None,
            restore_from,
            gateway: Some(into.join("gateway")),
            clock: Arc::new(SystemClock),
            entropy: Arc::new(OsEntropy),
        })?;
        let site = match machines {
            Some(machines) => machines.join(&vault.vkey())?,
            None => Site::of(&config, into)?,
        };
        let mut centre = Self::around(vault, config, site, into, lock, Task::Serve)?;
        centre.config = settings::restored(centre.chart(), &centre.config)?;
        centre.config.save(into)?;
        begun.finish()?;
        Ok((centre, report))
    }

    /// What is damaged in servers' folders as an attack left them; asks the custodians and no holder, and changes nothing.
    pub fn examine(folders: &[PathBuf], secrets: &[String]) -> Result<VerifyReport, Fault> {
        let locations = open_servers(folders, None, Task::Recover)?.locations;
        Ok(vault::examine(locations, secrets, None, Arc::new(SystemClock), Arc::new(OsEntropy))?)
    }

    pub fn chart(&self) -> &Arc<Chart> {
        self.treatment.chart()
    }

    /// False where the index's file was no database when it was opened, to look or to mend.
    pub fn index_was_sound(&self) -> bool {
        self.index_is_sound
    }

    pub fn treatment(&self) -> &Arc<Treatment> {
        &self.treatment
    }

    /// Who signs towards holders on servers of their own.
    pub fn signers(&self) -> Option<&Arc<Signers>> {
        self.site.signers()
    }

    pub fn config(&self) -> &Config {
        &self.config
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    /// When its name was first noted, or thereabouts: the time of its first entry.
    pub fn founded_at(&self) -> Result<Timestamp, Fault> {
        let chart = self.chart();
        let first = chart.listed_first(&chart.list_tag(NAME_LIST, &[])).map_err(|e| e.fault())?;
        let Some(first) = first else { return Ok(chart.now()) };
        Ok(chart.note_of(first).map_err(|e| e.fault())?.0.time)
    }

    /// What answers now, by what the servers' disks show.
    pub fn standing(&self) -> Standing {
        let now = self.site.look();
        Standing::of(self.chart().vault(), &|place| self.site.name(place), &self.at_start(), Some(&now))
            .beside(self.bucket_states(), self.domains())
    }

    /// The gateway's folder.
    pub fn gateway(&self) -> &Path {
        &self.gateway
    }

    fn at_start(&self) -> Seen {
        self.holders_at_start.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The servers, where they are machines of their own.
    pub fn fleet(&self) -> Option<&Fleet> {
        match &self.site {
            Site::Folders(_) => None,
            Site::Fleet(fleet, _) => Some(fleet),
        }
    }

    /// The servers' folders, where they are folders.
    pub fn folders(&self) -> Option<Vec<PathBuf>> {
        match &self.site {
            Site::Folders(folders) => Some(held(folders)),
            Site::Fleet(..) => None,
        }
    }

    /// These are its servers' folders from now on.
    pub fn set_folders(&self, all: Vec<PathBuf>) {
        if let Site::Folders(folders) = &self.site {
            *folders.write().unwrap_or_else(PoisonError::into_inner) = all;
        }
    }

    /// How many servers and buckets there are, and what they buy.
    pub fn shape(&self) -> Shape {
        let vault = self.chart().vault();
        let (shape, (keys_needed, servers)) = (vault.shape(), vault.quorum_of_holders());
        let byte = |n: usize| u8::try_from(n).unwrap_or(u8::MAX);
        let buckets = byte(shape.n()).saturating_sub(servers);
        Shape { servers, buckets, shards_needed: byte(shape.k()), keys_needed, floor: byte(shape.floor()) }
    }

    /// Others hold the keys now: what was seen of the holders is looked at anew.
    pub fn holders_changed(&self) {
        if let Site::Fleet(fleet, _) = &self.site {
            fleet.know(&self.chart().vault().holder_keys());
        }
        *self.holders_at_start.lock().unwrap_or_else(PoisonError::into_inner) = self.site.at_start();
    }

    /// How many of its locations fall independently of each other.
    pub fn domains(&self) -> Domains {
        self.site.domains(&self.config.administrators)
    }

    /// How each of its buckets is; none where there are none.
    pub fn bucket_states(&self) -> Vec<BucketState> {
        self.site.buckets().map(Buckets::states).unwrap_or_default()
    }

    /// Counts at once what somebody hid or wrote over in them.
    pub fn count_buckets(&self) {
        if let Some(buckets) = self.site.buckets() {
            buckets.count();
        }
    }

    /// What each server said of itself when it was asked last; none where the servers are folders.
    pub fn statuses(&self) -> Vec<(u8, Result<Status, String>)> {
        self.site.statuses()
    }

    /// As [`Self::standing`], without looking at any disk: one may hang.
    pub fn standing_in_memory(&self) -> Standing {
        Standing::of(self.chart().vault(), &|place| self.site.name(place), &self.at_start(), None)
            .beside(self.bucket_states(), Domains::default())
    }

    /// Servers that are open, and whose marker on the disk can't be read any more.
    pub fn damaged_markers(&self) -> Vec<String> {
        let Some(folders) = self.folders() else { return Vec::new() };
        let health = self.chart().vault().health();
        let is_open = |id: &String| health.locations.iter().any(|location| location.up && location.id == *id);
        let damaged = (1..).zip(&folders).filter(|(_, folder)| Marker::read(&shards(folder)).is_err());
        damaged.map(|(number, _)| location_id(number)).filter(is_open).collect()
    }

    /// In one sentence, what this centre survives when all of it is there.
    pub fn promise(&self) -> String {
        self.shape().promise()
    }

    /// Where the pages listen, once they do.
    pub fn set_pages_address(&self, address: SocketAddr) {
        *self.pages.lock().unwrap_or_else(PoisonError::into_inner) = Some(address);
    }

    pub fn sign_in_url(&self, code: &str) -> String {
        format!("{}/sign-in?code={code}", self.public_url())
    }

    /// Where people reach the pages.
    pub fn public_url(&self) -> String {
        let address = || self.pages.lock().unwrap_or_else(PoisonError::into_inner).unwrap_or(self.config.http.listen);
        self.config.http.public_url.clone().unwrap_or_else(|| format!("http://{}", address()))
    }

    /// Brings what waits into the ledger.
    pub fn settle(&self) -> Result<(), Fault> {
        Ok(self.chart().vault().flush_notes()?)
    }
}

/// The treatment list, read from the survivors by the custodians' key. What is noted of it, and the index that it took, are
/// the new gateway's: the one goes into its ledger, the other is gone on from.
fn preview(
    survivors: &[Arc<dyn Location>],
    key: Arc<RecoveryKey>,
    vkey: Option<&Vkey>,
    restore_from: Option<u64>,
    into: &Path,
) -> Result<TreatmentList, Fault> {
    let (clock, entropy) = (Arc::new(SystemClock), Arc::new(OsEntropy));
    let gateway = into.join("gateway");
    let (survivors, at) = (survivors.to_vec(), gateway.clone());
    let vault = vault::preview(survivors, key, vkey, restore_from, at, Arc::clone(&clock) as _, entropy.clone())?;
    let index = gateway.join(INDEX);
    let chart = Chart::open(Arc::new(vault), Some(&index), Vec::new(), clock, entropy).map_err(|e| e.fault())?;
    let context = Context {
        caller: chart.guard().console(),
        purpose: Purpose::Emergency,
        operation: OperationId::random(chart.entropy()),
    };
    let name = name_of(&chart)?;
    Treatment::new(Arc::new(chart), name).list(&context)
}

/// Notes something of the whole centre in the ledger, as the gateway's own console.
pub fn note(chart: &Chart, kind: &str, list: &str, bytes: &[u8]) -> Result<(), Fault> {
    let context = Context {
        caller: chart.guard().console(),
        purpose: Purpose::Operations,
        operation: OperationId::random(chart.entropy()),
    };
    let permit = chart
        .admit(&context, guard::Act::ManageAccess, Target::Centre, Sensitivity::Administrative)
        .map_err(|e| e.fault())?;
    chart.append_note(&permit, kind, chart.list_tag(list, &[]), bytes.to_vec()).map_err(|e| e.fault())?;
    Ok(())
}

/// The name that was noted last.
fn name_of(chart: &Chart) -> Result<String, Fault> {
    let newest = chart.newest(&chart.list_tag(NAME_LIST, &[])).map_err(|e| e.fault())?;
    let Some(newest) = newest else { return Ok("a centre without a name".to_owned()) };
    let (_, meta) = chart.note_of(newest).map_err(|e| e.fault())?;
    Ok(String::from_utf8_lossy(&meta.note).into_owned())
}

pub fn lock(data: &Path) -> Result<File, Fault> {
    let folder = data.join("gateway");
    fs::create_dir_all(&folder).map_err(|e| failed(&folder, e))?;
    let file = data.join(LOCK);
    let lock = File::options().create(true).append(true).open(&file).map_err(|e| failed(&file, e))?;
    match lock.try_lock() {
        Ok(()) => {
            // A killed server's: nobody may be asked there any more.
            crate::control::forget(data);
            Ok(lock)
        }
        Err(TryLockError::WouldBlock) => {
            let text = format!("{} is open in another process", data.display());
            Err(Fault::new(Blame::Configuration, BUSY, text))
        }
        Err(TryLockError::Error(error)) => Err(failed(&file, error)),
    }
}

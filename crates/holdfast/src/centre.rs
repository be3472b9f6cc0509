//! How a centre is put together: folders, holders, vault, chart, treatment.
//!
//! ```text
//! DIR/servers/server-01 … server-14     one server each: shards/, holder/
//! DIR/gateway/                          holdfast.toml, index, notes, lock: all of it can be lost
//! DIR/custodians-MOVE-OFFLINE/          only after init, until they are handed out
//! ```

use std::fs::{self, File, TryLockError};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use chart::{Chart, ChartError, Context};
use guard::{Purpose, Sensitivity, Target};
use holder::wire::Status;
use kit::limits::SERVERS_MAX;
use kit::{
    Blame, Clock as _, Entropy, Fault, Id16, OperationId, OsEntropy, SteadyClock, SystemClock, Timestamp, write_private,
};
use treatment::Treatment;
use vault::location::Marker;
use vault::{Access, Founding, Mode, Opening, Recovery, RecoveryReport, Vault, VerifyReport, Vkey};
use zeroize::Zeroizing;

use crate::buckets::BucketState;
use crate::config::Config;
use crate::custodians::Custodians;
use crate::domains::Domains;
use crate::first::{FirstSight, Looker};
use crate::fleet::Fleet;
use crate::left::{Gathered, Left, Witnessed};
use crate::plan::Machines;
use crate::say::plural;
use crate::signers::Signers;
use crate::site::{Servers, Site, Task, fresh_servers, location_id, open_servers, shards};
use crate::staging::{Begun, require_finished};
use crate::standing::{Seen, Standing};
use crate::{adopt, bucket_files, left, settings, siem};

/// The code of the fault that says: another process has this centre open.
pub const BUSY: &str = "centre.busy";

/// The code of the fault that says: the erasure that is to be taken back isn't there.
const NOTHING_TO_TAKE_BACK: &str = "vault.nothing-to-take-back";

/// How often each holder is to show that it opens shares; and how soon again where one didn't.
const PROBE_EVERY: Duration = Duration::from_secs(10 * 60);
const PROBE_AGAIN: Duration = Duration::from_secs(60);
/// How long all of them together are waited for.
const PROBE_PATIENCE: Duration = Duration::from_secs(2);

const LOCK: &str = "gateway/lock";
/// In the gateway's folder.
pub const INDEX: &str = "index.sqlite";

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
                    servers while it runs: where they are folders, each on a disk of another machine, by `holdfast centre grow \
                    --servers 14 --custodian FILE --custodian FILE`; where they are machines, by `holdfast centre extend \
                    --addresses …`. Or lay it out on 14 machines from the first day (`holdfast centre plan`)."
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
    /// Lays an empty centre out, with buckets by their files. An existing centre is left alone.
    pub fn lay_out(self, data: &Path, buckets: &[PathBuf], entropy: &dyn Entropy) -> Result<Made, Fault> {
        let begun = Begun::begin(data, "init")?;
        bucket_files::take_beside(buckets, &data.join("gateway"), self.shape.servers)?;
        let made = self.lay_out_in(data, entropy)?;
        begun.finish()?;
        Ok(made)
    }

    /// As [`Self::lay_out`], in a folder that the caller has begun and finishes.
    pub fn lay_out_in(self, data: &Path, entropy: &dyn Entropy) -> Result<Made, Fault> {
        let config = Config::new(usize::from(self.shape.servers));
        let vault = Id16(entropy.id());
        let folders = config.server_folders(data);
        let mut servers = fresh_servers(&folders, vault, entropy)?;
        let site = Site::folders(folders, data)?;
        site.buckets().require()?;
        servers.locations.extend(site.buckets().locations());
        self.found(data, vault, servers, config, |_| Ok(site))
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

/// Where a gateway listens.
#[derive(Clone, Copy, Debug)]
pub struct Listening {
    pub http: SocketAddr,
    pub operations: SocketAddr,
    pub dimse: SocketAddr,
}

/// An open centre.
pub struct Centre {
    config: Config,
    name: String,
    site: Site,
    /// What the holders' folders showed when this centre was opened.
    holders_at_start: Mutex<Seen>,
    /// When the holders were last asked for a share.
    probed: Mutex<Option<Instant>>,
    index_is_sound: bool,
    treatment: Arc<Treatment>,
    /// Where this process listens; none before it serves.
    listening: Mutex<Option<Listening>>,
    /// When the log was read, with every signature in it that counts.
    opened: Timestamp,
    /// Held by whoever makes downtime packs.
    packing: Mutex<()>,
    /// How far the account is sent.
    siem: siem::Seen,
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
        if task != Task::Look {
            // One that lacks something is left out, and said; the centre goes on within its floor.
            site.buckets().probe();
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
        if task == Task::Serve {
            site.buckets().look_every(Duration::from_secs(u64::from(config.buckets.probe_minutes) * 60));
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
        .with_number_system(config.patients.number_system.clone())
        .with_login_system(config.people.login_system.clone());
        chart.guard().count_by(Arc::new(SteadyClock::start(Timestamp(0))));
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
        let (listening, gateway, opened) = (Mutex::new(None), data.join("gateway"), SystemClock.now());
        let (probed, packing) = (Mutex::default(), Mutex::default());
        Ok(Self {
            config,
            name,
            site,
            holders_at_start,
            probed,
            index_is_sound,
            treatment,
            listening,
            opened,
            packing,
            siem: siem::Seen::default(),
            gateway,
            _lock: lock,
        })
    }

    /// Rebuilds a centre in an empty folder: new servers, new holders, new keys for every living patient's key. Patients
    /// don't wait for all of that: `seen` gets what comes first by the newest roster, where there is one, and
    /// then by all of the log, or why there is nothing.
    pub fn recover(
        left: Left<'_>,
        into: &Path,
        seen: &mut dyn FnMut(Result<FirstSight, Fault>),
    ) -> Result<(Self, RecoveryReport, Witnessed), Fault> {
        let begun = Begun::begin(into, "recover")?;
        let Gathered { survivors, plate, key } = left.gather()?;
        let Left { from, vkey, plan, restore_from, leave_sealed, .. } = left;
        let lock = lock(into)?;
        let looker = Looker {
            survivors: survivors.clone(),
            key: Arc::clone(&key),
            vkey: vkey.cloned(),
            gateway: into.join("gateway"),
            clock: Arc::new(SystemClock),
        };
        // Whose erasures are taken back, all of the log tells.
        match restore_from.map_or_else(|| looker.by_roster(), |_| Ok(None)) {
            Ok(sight) => sight.into_iter().for_each(|sight| seen(Ok(sight))),
            Err(fault) => tracing::warn!(code = fault.code, "nothing by the roster: {}", fault.message),
        }
        match looker.by_all(restore_from) {
            // Not later, when all of it was read.
            Err(fault) if fault.code == NOTHING_TO_TAKE_BACK => return Err(fault),
            sight => seen(sight),
        }
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
            leave_sealed,
            gateway: Some(into.join("gateway")),
            clock: Arc::new(SystemClock),
            entropy: Arc::new(OsEntropy),
        })?;
        let witnessed = left::weigh(from, &vault, report.entries);
        let site = match machines {
            Some(machines) => machines.join(&vault.vkey())?,
            None => Site::of(&config, into)?,
        };
        let mut centre = Self::around(vault, config, site, into, lock, Task::Serve)?;
        centre.config = settings::restored(centre.chart(), &centre.config)?;
        centre.config.save(into)?;
        centre.treatment().note_taken_back(&emergency(centre.chart()), &report.restored)?;
        begun.finish()?;
        Ok((centre, report, witnessed))
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
        self.probe();
        let now = self.site.look();
        let doubtful = self.fleet().map(Fleet::take_doubtful).unwrap_or_default();
        doubtful.iter().for_each(|location| self.chart().vault().look_again(location));
        Standing::of(self.chart().vault(), &|place| self.site.name(place), &self.at_start(), Some(&now))
            .beside(self.bucket_states(), self.domains())
            .hearing(&self.fleet().map(Fleet::statuses).unwrap_or_default())
    }

    /// Has each holder open a share, where that was long ago.
    fn probe(&self) {
        let vault = self.chart().vault();
        let is_failing = vault.holder_health().iter().any(|holder| holder.failing > 0);
        let every = if is_failing { PROBE_AGAIN } else { PROBE_EVERY };
        let mut probed = self.probed.lock().unwrap_or_else(PoisonError::into_inner);
        if probed.is_none_or(|at| at.elapsed() >= every) {
            *probed = Some(Instant::now());
            drop(probed);
            vault.probe_holders(PROBE_PATIENCE);
        }
    }

    /// The gateway's folder.
    /// The data folder: what is relative in the configuration is relative to it.
    pub fn data(&self) -> &Path {
        self.gateway.parent().unwrap_or(&self.gateway)
    }

    /// One making of downtime packs at a time.
    pub fn packing(&self) -> MutexGuard<'_, ()> {
        self.packing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn siem(&self) -> &siem::Seen {
        &self.siem
    }

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
        self.site.server_folders()
    }

    /// These are its servers' folders from now on.
    pub fn set_folders(&self, all: Vec<PathBuf>) {
        if let Site::Folders(folders) = &self.site {
            folders.set(all);
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
        *self.probed.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// How many of its locations fall independently of each other.
    pub fn domains(&self) -> Domains {
        self.site.domains(&self.config.administrators)
    }

    /// How each of its buckets is; none where there are none.
    pub fn bucket_states(&self) -> Vec<BucketState> {
        self.site.buckets().states()
    }

    /// Counts at once what somebody hid or wrote over in them.
    pub fn count_buckets(&self) {
        self.site.buckets().count();
    }

    /// What each server said of itself when it was asked last; none where the servers are folders.
    pub fn statuses(&self) -> Vec<(u8, Result<Status, String>)> {
        self.site.statuses()
    }

    /// As [`Self::standing`], without looking at any disk: one may hang.
    pub fn standing_in_memory(&self) -> Standing {
        // Machines say how they are: a vault at rest comes upon none that is gone.
        let seen = self.fleet().and_then(Fleet::seen);
        Standing::of(self.chart().vault(), &|place| self.site.name(place), &self.at_start(), seen.as_ref())
            .beside(self.bucket_states(), Domains::default())
            .hearing(&self.fleet().map(Fleet::statuses).unwrap_or_default())
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

    /// Where this gateway listens, once it does.
    pub fn set_listening(&self, addresses: Listening) {
        *self.listening.lock().unwrap_or_else(PoisonError::into_inner) = Some(addresses);
    }

    /// None where no gateway runs.
    pub fn listening(&self) -> Option<Listening> {
        *self.listening.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// When the log was read, with every signature in it that counts.
    pub fn opened(&self) -> Timestamp {
        self.opened
    }

    /// How long ago the holders were asked for a share.
    pub fn probed_ago(&self) -> Option<Duration> {
        self.probed.lock().unwrap_or_else(PoisonError::into_inner).map(|at| at.elapsed())
    }

    pub fn sign_in_url(&self, code: &str) -> String {
        format!("{}/sign-in?code={code}", self.public_url())
    }

    /// Where people reach the pages.
    pub fn public_url(&self) -> String {
        let address = || self.listening().map_or(self.config.http.listen, |at| at.http);
        let here = || match address() {
            // By the name, which a passkey can be for.
            address if address.ip() == Ipv4Addr::LOCALHOST => format!("http://localhost:{}", address.port()),
            address => format!("http://{address}"),
        };
        self.config.http.public_url.clone().unwrap_or_else(here)
    }

    /// Brings what waits into the ledger.
    pub fn settle(&self) -> Result<(), Fault> {
        Ok(self.chart().vault().flush_notes()?)
    }
}

/// For what a recovery does before anybody can sign in.
pub fn emergency(chart: &Chart) -> Context {
    Context {
        caller: chart.guard().console(),
        purpose: Purpose::Emergency,
        operation: OperationId::random(chart.entropy()),
    }
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
    chart.append_note(&permit, kind, vec![chart.list_tag(list, &[])], bytes.to_vec()).map_err(|e| e.fault())?;
    Ok(())
}

/// The name that was noted last.
pub fn name_of(chart: &Chart) -> Result<String, Fault> {
    let newest = chart.newest(&chart.list_tag(NAME_LIST, &[])).map_err(|e| e.fault())?;
    let Some(newest) = newest else { return Ok("a centre without a name".to_owned()) };
    let (_, meta) = chart.note_of(newest).map_err(|e| e.fault())?;
    Ok(String::from_utf8_lossy(&meta.note).into_owned())
}

pub fn lock(data: &Path) -> Result<File, Fault> {
    let folder = data.join("gateway");
    kit::require_own(&folder).map_err(|e| failed(data, e))?;
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

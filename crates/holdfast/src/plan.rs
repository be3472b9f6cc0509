//! A centre on servers of its own: `holdfast centre plan` writes what each machine needs, `holdfast init --plan` founds the
//! centre once their holders answer.
//!
//! ```text
//! PLAN/plan.toml                     servers, addresses, join codes
//! PLAN/officer-MOVE-OFFLINE/         the officer's key: lets servers, gateways and people in
//! PLAN/server-01 … server-14         to each server: holder.toml, a systemd unit, a page of instructions
//! PLAN/gateway/                      to the gateway: its certificate and key, a systemd unit, a page of instructions
//! PLAN/gateway/bucket-13.toml …      a file for each bucket, to be filled in
//! PLAN/renewer-bucket-13 …           to another machine: what keeps the bucket locked
//! ```
//!
//! No server's key is made here: each makes its own, and shows the card of it under a code that came with its folder.

use std::collections::BTreeMap;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use clap::{Args, Subcommand};
use holder::wire::{self, Card, Member, Members, Message as _, Signed};
use holder::{Identity, Link, Network, Pin, server_name};
use keys::{HolderPublicKey, Officer};
use kit::format::Version;
use kit::id::BadId;
use kit::{Blame, Digest, Entropy, Fault, Id16, OsEntropy, SystemClock, write_private};
use serde::{Deserialize, Serialize};
use vault::Vkey;
use zeroize::Zeroizing;

use crate::bucket_files::{self, BucketPlace, bucket_id};
use crate::centre::{Made, NewCentre, Shape};
use crate::config::Config;
use crate::custodians::Custodians;
use crate::domains::{Domain, Domains};
use crate::fleet::{Fleet, MEMBERS};
use crate::say::plural;
use crate::signers::{self, Signers};
use crate::site::{Servers, Site, Task, open_servers};
use crate::staging::Begun;
use crate::{Data, Output};
use crate::{gateways, grow, scripts};

const PLAN: &str = "plan.toml";
pub const OFFICER_FOLDER: &str = "officer-MOVE-OFFLINE";
pub const OFFICER_KEY: &str = "officer.key";
const PATIENCE: Duration = Duration::from_secs(10);
/// A name on a page.
const ADMINISTRATOR_CHARACTERS_MAX: usize = 64;

#[derive(Subcommand)]
pub enum Command {
    /// Write the configuration, the units and the instructions for each server of a new centre.
    Plan(Box<Planning>),
    /// At the gateway: write what new machines need that are to be added to the servers that there are.
    Extend(grow::Extend),
    /// At the gateway: take more servers in while records are read and kept. Every record is sealed and coded anew for all of
    /// them, every living patient's key dealt anew. Takes the custodians.
    Grow(grow::Grow),
    /// Who belongs to the centre, by the list that its officer signed: servers with their addresses, gateways.
    Show {
        #[command(flatten)]
        data: Data,
        #[command(flatten)]
        output: Output,
    },
}

#[derive(Args)]
pub struct Planning {
    /// The centre's name, as approvals and checkpoints carry it.
    #[arg(long, default_value = "Cancer centre")]
    name: String,
    #[arg(long, default_value_t = 14, value_parser = clap::value_parser!(u8).range(1..=64))]
    servers: u8,
    /// The servers' addresses in the order of their numbers: `10.1.2.1,10.1.2.2` or `10.1.2.1:7414,…`. Numbers, not
    /// names: in the night of an attack nobody may be there to answer for names. Without them the plan gives the servers
    /// addresses in a network of their own.
    #[arg(long, value_delimiter = ',', value_name = "ADDR,…")]
    addresses: Vec<String>,
    /// Of servers without addresses: they are .1, .2, … of it.
    #[arg(long, default_value = "10.74.14.0", conflicts_with = "addresses", value_name = "NETWORK")]
    network: Ipv4Addr,
    /// The port of those that are given without one.
    #[arg(long, default_value_t = PORT)]
    port: u16,
    /// Servers that are enough to put every record together again [default: 3, or fewer with few servers].
    #[arg(long)]
    shards_needed: Option<u8>,
    /// Holders that are needed to open a key [default: all but two of five or more, else all].
    #[arg(long)]
    keys_needed: Option<u8>,
    /// A bucket that keeps shards beside the servers, once for each: `s3.example.org:9000/BUCKET/PREFIX`. The prefix
    /// may be left out. Credentials go into files that are written for them, never here.
    #[arg(long = "bucket", value_name = "PLACE")]
    buckets: Vec<BucketPlace>,
    /// Who administers each server, then each bucket: a person, a team, a company; nothing between two commas where
    /// nobody knows. What one administers counts as one.
    #[arg(long, value_delimiter = ',', value_name = "NAME,…")]
    administrators: Vec<String>,
    /// For machines onto which a centre is to be recovered: the folder of a server of it that is left; `recover --plan` takes
    /// the plan. With as many servers and buckets as it had.
    #[arg(long = "survivor", value_name = "DIR", conflicts_with = "shards_needed")]
    survivors: Vec<PathBuf>,
    /// The log key of the centre that is to be recovered, where survivors contradict each other.
    #[arg(long, value_name = "VKEY", requires = "survivors")]
    vkey: Option<Vkey>,
    /// The officer's key that there is: whom she has certified goes on. Without one a new key is made, and everybody is
    /// certified anew.
    #[arg(long, value_name = "FILE", requires = "survivors")]
    officer_key: Option<PathBuf>,
    /// An empty or absent folder.
    #[arg(long, default_value = "holdfast-plan", value_name = "DIR")]
    out: PathBuf,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Plan {
    name: String,
    vault: String,
    officer: String,
    shards_needed: u8,
    keys_needed: u8,
    servers: Vec<Server>,
    /// Their files stand in the gateway's folder.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    buckets: Vec<String>,
    /// By the location's name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    administrators: BTreeMap<String, String>,
}

/// Locations beside the servers, and who administers all of them.
#[derive(Default)]
pub struct Beside {
    /// Each with its location's name.
    pub buckets: Vec<(String, BucketPlace)>,
    pub administrators: BTreeMap<String, String>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Server {
    address: SocketAddr,
    join_code: String,
}

fn failed(place: &Path, why: impl std::fmt::Display) -> Fault {
    Fault::new(Blame::Configuration, "plan.folder", format!("{}: {why}", place.display()))
}

fn usage(text: String) -> Fault {
    Fault::new(Blame::Peer, "usage.plan", text)
}

/// A secret, or a public key, as text; and back.
pub fn hex(bytes: &[u8; 32]) -> Zeroizing<String> {
    Zeroizing::new(Digest(*bytes).to_string())
}

fn secret(text: &str) -> Option<Zeroizing<[u8; 32]>> {
    text.parse().map(|Digest(bytes)| Zeroizing::new(bytes)).ok()
}

impl Command {
    pub fn run(self) -> Result<u8, Fault> {
        match self {
            Self::Plan(planning) => planning.run(),
            Self::Show { data, output } => gateways::show(&data.data, output),
            Self::Extend(extend) => extend.run(),
            Self::Grow(grow) => grow.run(),
        }
    }
}

impl Planning {
    fn run(self) -> Result<u8, Fault> {
        let Self { name, servers, port, out, .. } = self;
        let beside = beside(servers, self.buckets, self.administrators)?;
        let recovered = Recovered::of(&self.survivors, self.vkey.as_ref(), self.officer_key.as_deref())?;
        let shards = recovered.as_ref().map(|found| found.shards_needed).or(self.shards_needed);
        let shape = Shape::with_buckets(servers, beside.count(), shards, self.keys_needed)?;
        if let Some(had) = recovered.as_ref().map(|found| found.locations).filter(|had| *had != shape.locations()) {
            let text =
                format!("{} servers and buckets, the centre that is to be recovered had {had}", shape.locations());
            return Err(usage(text));
        }
        let given = match self.addresses.is_empty() {
            true => (1..=u32::from(servers))
                .map(|number| (Ipv4Addr::from_bits(u32::from(self.network).saturating_add(number))).to_string())
                .collect(),
            false => self.addresses.clone(),
        };
        let addresses = socket_addresses(&given, port, servers)?;
        let count = beside.count();
        let is_recovered = recovered.is_some();
        write(&name, shape, &addresses, &beside, recovered, &out, &OsEntropy)?;
        let and = if count == 0 { String::new() } else { format!(" and {}", plural(count.into(), "bucket")) };
        say!("{name}: {servers} servers{and} are planned in {}", out.display());
        if let (true, [first, .., last]) = (self.addresses.is_empty(), addresses.as_slice()) {
            say!(
                "  0. no addresses were given: server-01 to the last are to have {} to {} (others: --addresses, --network);",
                first.ip(),
                last.ip()
            );
        }
        say!(
            "  1. sh {}/setup-servers.sh PATH-OF-holdfast-holder sets all servers up by ssh; or copy server-01 … to the",
            out.display()
        );
        say!("     servers, one folder to each, and run `sh setup.sh` in it as root (RUNBOOK.md says what that does);");
        let found = if is_recovered { "recover --from DIR … --custodian FILE … --into DIR" } else { "init" };
        say!("  2. copy the whole folder to the gateway: holdfast {found} --plan {}", out.display());
        say!("  3. put {OFFICER_FOLDER} on two offline media and delete it here: it lets servers and gateways in.");
        if count > 0 {
            say!("     before that, fill in the bucket-….toml in its folder gateway; RUNBOOK.md there says with what.");
        }
        say!("  {}", shape.promise());
        let domains = beside.domains(&addresses);
        say!(
            "  {} are {}: {}",
            plural(domains.locations, "location"),
            plural(domains.independent, "independent domain"),
            domains.evidence()
        );
        Ok(0)
    }
}

/// Where a holder listens unless somebody says otherwise.
pub const PORT: u16 = 7414;

/// An IP address with a port, or without.
pub fn socket_address(text: &str, port: u16) -> Result<SocketAddr, Fault> {
    let with_port = || text.parse::<IpAddr>().map(|ip| SocketAddr::new(ip, port));
    text.parse::<SocketAddr>().or_else(|_| with_port()).map_err(|_| usage(format!("{text}: no IP address")))
}

pub fn socket_addresses(texts: &[String], port: u16, servers: u8) -> Result<Vec<SocketAddr>, Fault> {
    let addresses = texts.iter().map(|text| socket_address(text, port)).collect::<Result<Vec<_>, _>>()?;
    if addresses.len() != usize::from(servers) {
        return Err(usage(format!("{} addresses for {servers} servers", addresses.len())));
    }
    let mut seen = std::collections::BTreeSet::new();
    match addresses.iter().find(|address| !seen.insert(**address)) {
        Some(twice) => Err(usage(format!("{twice} is the address of two servers"))),
        None => Ok(addresses),
    }
}

/// The buckets with their names, and everybody's administrator.
fn beside(servers: u8, places: Vec<BucketPlace>, administrators: Vec<String>) -> Result<Beside, Fault> {
    let mut seen = std::collections::BTreeSet::new();
    if let Some(twice) = places.iter().find(|one| !seen.insert((&one.endpoint, &one.bucket, &one.prefix))) {
        let BucketPlace { endpoint, bucket, prefix } = twice;
        return Err(usage(format!("{endpoint}/{bucket}/{prefix} is the place of two buckets")));
    }
    let buckets: Vec<_> = (usize::from(servers) + 1..).map(bucket_id).zip(places).collect();
    let names: Vec<String> = (1..=servers).map(server_name).chain(buckets.iter().map(|(id, _)| id.clone())).collect();
    if !administrators.is_empty() && administrators.len() != names.len() {
        let (found, of) = (administrators.len(), names.len());
        return Err(usage(format!("{found} administrators for {of} servers and buckets")));
    }
    let fits = |name: &String| name.chars().count() <= ADMINISTRATOR_CHARACTERS_MAX && !name.contains(char::is_control);
    if let Some(wrong) = administrators.iter().find(|name| !fits(name)) {
        return Err(usage(format!(
            "{wrong:?}: an administrator has at most {ADMINISTRATOR_CHARACTERS_MAX} characters"
        )));
    }
    let named = names.into_iter().zip(administrators).map(|(place, name)| (place, name.trim().to_owned()));
    Ok(Beside { buckets, administrators: named.filter(|(_, name)| !name.is_empty()).collect() })
}

impl Beside {
    fn count(&self) -> u8 {
        u8::try_from(self.buckets.len()).unwrap_or(u8::MAX)
    }

    /// As far as a plan knows: not yet with whose credentials.
    fn domains(&self, addresses: &[SocketAddr]) -> Domains {
        let administrator = |name: &String| self.administrators.get(name).cloned();
        let servers = (1..).zip(addresses).map(|(number, address)| Domain {
            host: Some(address.ip().to_string()),
            administrator: administrator(&server_name(number)),
            ..Domain::default()
        });
        let buckets = self.buckets.iter().map(|(id, place)| Domain {
            is_bucket: true,
            host: place.host(),
            administrator: administrator(id),
            ..Domain::default()
        });
        Domains::of(&servers.chain(buckets).collect::<Vec<_>>())
    }
}

/// The centre that is to be recovered onto the machines of a plan.
pub struct Recovered {
    vault: Id16,
    /// As many as its records are coded for.
    shards_needed: u8,
    locations: u8,
    officer: Option<Zeroizing<[u8; 32]>>,
}

impl Recovered {
    fn of(survivors: &[PathBuf], vkey: Option<&Vkey>, officer: Option<&Path>) -> Result<Option<Self>, Fault> {
        if survivors.is_empty() {
            return Ok(None);
        }
        let plate = vault::plate(&open_servers(survivors, vkey, Task::Recover)?.locations, vkey)?;
        let byte = |n: usize| u8::try_from(n).unwrap_or(u8::MAX);
        let (shards_needed, locations) = (byte(plate.shape.k()), byte(plate.shape.n()));
        let officer = officer.map(officer_seed).transpose()?;
        Ok(Some(Self { vault: plate.vault, shards_needed, locations, officer }))
    }
}

/// What each machine of a centre needs; of a new one, or of one that is to be recovered.
pub fn write(
    name: &str,
    shape: Shape,
    addresses: &[SocketAddr],
    beside: &Beside,
    recovered: Option<Recovered>,
    out: &Path,
    entropy: &dyn Entropy,
) -> Result<(), Fault> {
    require_empty(out)?;
    let random = || {
        let mut bytes = Zeroizing::new([0; 32]);
        entropy.fill(bytes.as_mut());
        bytes
    };
    let (vault, officer) = recovered.map_or((None, None), |found| (Some(found.vault), found.officer));
    let seed = officer.unwrap_or_else(random);
    let officer = Officer::from_seed(&seed).ok_or_else(|| failed(out, "no seed"))?;
    let vault = vault.unwrap_or_else(|| Id16(entropy.id()));
    let gateway = out.join("gateway");
    let identity = Identity::init(&gateway).map_err(|e| failed(&gateway, e))?;
    let officer_folder = out.join(OFFICER_FOLDER);
    let text = Zeroizing::new(format!(
        "# The officer's key of {name}. Whoever has it lets servers, gateways and people in. Keep it offline.\n{}\n",
        hex(&seed).as_str()
    ));
    private(&officer_folder, OFFICER_KEY, text.as_bytes())?;
    let plan = Plan {
        name: name.to_owned(),
        vault: vault.to_string(),
        officer: hex(&officer.public()).to_string(),
        shards_needed: shape.shards_needed,
        keys_needed: shape.keys_needed,
        servers: addresses
            .iter()
            .map(|address| Server { address: *address, join_code: hex(&random()).to_string() })
            .collect(),
        buckets: beside.buckets.iter().map(|(id, _)| id.clone()).collect(),
        administrators: beside.administrators.clone(),
    };
    for (number, server) in (1..).zip(&plan.servers) {
        let config = holder::Config {
            vault: plan.vault.clone(),
            number,
            listen: SocketAddr::new(IpAddr::from([0, 0, 0, 0]), server.address.port()),
            officer: plan.officer.clone(),
            gateways: vec![identity.pin().to_string()],
            join_code: server.join_code.clone(),
            keys: holder::Keys { needed: shape.keys_needed, holders: shape.servers },
            shards: holder::Shards::default(),
            key_epoch: keys::FIRST_EPOCH,
            budgets: keys::Budgets::default(),
        };
        write_server_folder(&config, name, server.address, &out.join(server_name(number)))?;
    }
    let runbook = gateway_runbook(name, addresses) + &bucket_files::gateway_steps(&beside.buckets);
    private(&gateway, "RUNBOOK.md", runbook.as_bytes())?;
    bucket_files::plan(out, name, &beside.buckets, &plan.vault)?;
    let start = "holdfast serve --data /var/lib/holdfast/data";
    let gateway_unit = unit("Holdfast gateway", start, "/var/lib/holdfast", 16_384);
    private(&gateway, "holdfast.service", gateway_unit.as_bytes())?;
    private(&gateway, "setup.sh", scripts::gateway().as_bytes())?;
    private(out, "setup-servers.sh", scripts::servers(addresses).as_bytes())?;
    let text = toml::to_string_pretty(&plan).map_err(|e| failed(out, e))?;
    private(out, PLAN, text.as_bytes())
}

/// What one server needs.
fn write_server_folder(config: &holder::Config, name: &str, address: SocketAddr, out: &Path) -> Result<(), Fault> {
    let (start, home) = ("holdfast-holder run --dir /var/lib/holdfast-holder", "/var/lib/holdfast-holder");
    config.save(out)?;
    private(out, "RUNBOOK.md", server_runbook(name, config.number, address).as_bytes())?;
    private(out, "setup.sh", scripts::server().as_bytes())?;
    private(out, "holdfast-holder.service", unit("Holdfast holder", start, home, 4_096).as_bytes())
}

/// A machine that is to take the place of one that is lost or captured.
pub struct NewServer<'a> {
    pub members: &'a Members,
    /// Her public key.
    pub officer: [u8; 32],
    pub number: u8,
    pub address: SocketAddr,
    /// The others' key epoch.
    pub epoch: u32,
    pub keys: holder::Keys,
}

/// In a prepared server's folder: where it will be.
const PREPARED: &str = "prepared.toml";

/// Writes what the new machine needs.
pub fn write_server(new: &NewServer<'_>, out: &Path, entropy: &dyn Entropy) -> Result<(), Fault> {
    require_empty(out)?;
    let mut code = Zeroizing::new([0; 32]);
    entropy.fill(code.as_mut());
    let join_code = hex(&code).to_string();
    let config = holder::Config {
        vault: new.members.vault.to_string(),
        number: new.number,
        listen: SocketAddr::new(IpAddr::from([0, 0, 0, 0]), new.address.port()),
        officer: hex(&new.officer).to_string(),
        gateways: new.members.gateways.iter().map(Pin::to_string).collect(),
        join_code: join_code.clone(),
        keys: new.keys,
        shards: holder::Shards::default(),
        key_epoch: new.epoch,
        budgets: keys::Budgets::default(),
    };
    write_server_folder(&config, "a new server", new.address, out)?;
    let place = Server { address: new.address, join_code };
    let text = Zeroizing::new(toml::to_string_pretty(&place).map_err(|e| failed(out, e))?);
    private(out, PREPARED, text.as_bytes())
}

/// The machine that was set up from a prepared folder, as the list of members will have it.
pub fn prepared_member(
    folder: &Path,
    number: u8,
    vault: Id16,
    identity: &Identity,
    network: &Network,
) -> Result<Member, Fault> {
    let file = folder.join(PREPARED);
    let text = Zeroizing::new(fs::read_to_string(&file).map_err(|e| failed(&file, e))?);
    let server: Server = toml::from_str(&text).map_err(|e| failed(&file, e))?;
    card(&server, number, vault, identity, network).map_err(|why| {
        let text = format!("{} at {}: {why}", server_name(number), server.address);
        Fault::new(Blame::Configuration, "plan.servers", text)
            .guidance("nothing was changed; follow RUNBOOK.md on the new machine, then repeat")
    })
}

pub fn require_empty(out: &Path) -> Result<(), Fault> {
    if fs::read_dir(out).is_ok_and(|mut entries| entries.next().is_some()) {
        return Err(failed(out, "not empty").guidance("nothing was changed; name an empty or absent folder"));
    }
    Ok(())
}

pub fn private(folder: &Path, file: &str, bytes: &[u8]) -> Result<(), Fault> {
    let path = folder.join(file);
    fs::create_dir_all(folder).and_then(|()| write_private(&path, bytes)).map_err(|e| failed(&path, e))
}

/// The officer's key from a file: its first line that is no comment.
pub fn officer_key(file: &Path) -> Result<Officer, Fault> {
    let seed = officer_seed(file)?;
    Officer::from_seed(&seed).ok_or_else(|| failed(file, "no key"))
}

fn officer_seed(file: &Path) -> Result<Zeroizing<[u8; 32]>, Fault> {
    let text = Zeroizing::new(fs::read_to_string(file).map_err(|e| failed(file, e))?);
    let line = text.lines().map(str::trim).find(|line| !line.is_empty() && !line.starts_with('#'));
    line.and_then(secret).ok_or_else(|| failed(file, "no line is 64 hexadecimal digits"))
}

/// The machines of a plan, whose holders answer.
pub struct Machines {
    pub name: String,
    pub vault: Id16,
    pub shape: Shape,
    pub config: Config,
    fleet: Fleet,
    list: Members,
    officer: Officer,
    identity: Identity,
    network: Network,
    gateway: PathBuf,
}

impl Machines {
    /// Makes the gateway in a data folder that the caller has begun, and asks all of them who they are.
    pub fn of(folder: &Path, data: &Path) -> Result<Self, Fault> {
        let file = folder.join(PLAN);
        let text = Zeroizing::new(fs::read_to_string(&file).map_err(|e| failed(&file, e))?);
        let plan: Plan = toml::from_str(&text).map_err(|e| failed(&file, e))?;
        let vault: Id16 = plan.vault.parse().map_err(|e: BadId| failed(&file, format!("vault: {e}")))?;
        let officer = officer_key(&folder.join(OFFICER_FOLDER).join(OFFICER_KEY))?;
        let count = |of: usize| u8::try_from(of).unwrap_or(u8::MAX);
        let (servers, buckets) = (count(plan.servers.len()), count(plan.buckets.len()));
        let shape = Shape::with_buckets(servers, buckets, Some(plan.shards_needed), Some(plan.keys_needed))?;
        let gateway = data.join("gateway");
        for name in ["tls.key", "tls.cert"] {
            let bytes = Zeroizing::new(fs::read(folder.join("gateway").join(name)).map_err(|e| failed(folder, e))?);
            private(&gateway, name, &bytes)?;
        }
        let identity = Identity::open(&gateway).map_err(|e| failed(&gateway, e))?;
        signers::enrol_gateway(&gateway, &officer, vault)?;
        bucket_files::bring(folder, &gateway, plan.buckets.iter().cloned())?;
        let network = Network::start().map_err(|e| failed(folder, e))?;
        let list = Members {
            format: Version,
            vault,
            version: 1,
            servers: members(&plan, vault, &identity, &network)?,
            gateways: vec![identity.pin()],
            ended: Vec::new(),
            log: String::new(),
            splits: None,
        };
        let (officer_key, administrators) = (Some(plan.officer.clone()), plan.administrators.clone());
        let holders = gateways::addresses(&list);
        let config = Config { officer: officer_key, administrators, holders, ..Config::new(0) };
        let fleet = Fleet::of(&list, &identity)?.with_buckets(&gateway)?;
        fleet.buckets().require()?;
        Ok(Self { name: plan.name, vault, shape, config, fleet, list, officer, identity, network, gateway })
    }

    pub fn servers(&self) -> Servers {
        self.fleet.servers()
    }

    /// Brings them the list of who belongs to the centre, with the key of its log.
    pub fn join(mut self, vkey: &Vkey) -> Result<Site, Fault> {
        self.list.log = vkey.to_string();
        let signed = self.list.sign(&self.officer);
        private(&self.gateway, MEMBERS, &signed)?;
        bring(&self.list, &signed, &self.identity, &self.network)?;
        Ok(Site::Fleet(Box::new(self.fleet), Signers::open(&self.gateway, self.vault)?))
    }
}

/// Founds the centre of a plan.
pub fn found(folder: &Path, data: &Path, custodians: Custodians) -> Result<Made, Fault> {
    let begun = Begun::begin(data, "init")?;
    let machines = Machines::of(folder, data)?;
    let new = NewCentre { name: machines.name.clone(), shape: machines.shape, custodians };
    let (vault, servers, config) = (machines.vault, machines.servers(), machines.config.clone());
    let made = new.found(data, vault, servers, config, |vkey| machines.join(vkey))?;
    begun.finish()?;
    Ok(made)
}

/// Reads all servers' cards, and believes those that were made with the code that was brought there.
fn members(plan: &Plan, vault: Id16, identity: &Identity, network: &Network) -> Result<Vec<Member>, Fault> {
    let mut troubles = Vec::new();
    let mut members = Vec::new();
    for (number, server) in (1..).zip(&plan.servers) {
        match card(server, number, vault, identity, network) {
            Ok(member) => members.push(member),
            Err(why) => troubles.push(format!("{} at {}: {why}", server_name(number), server.address)),
        }
    }
    if troubles.is_empty() {
        return Ok(members);
    }
    let text = format!("{} of {} servers don't answer as planned", troubles.len(), plan.servers.len());
    let message = troubles.iter().fold(text, |text, trouble| format!("{text}\n  {trouble}"));
    Err(Fault::new(Blame::Configuration, "plan.servers", message)
        .guidance("nothing was founded; follow RUNBOOK.md there, then repeat: all servers are needed this once"))
}

fn card(server: &Server, number: u8, vault: Id16, identity: &Identity, network: &Network) -> Result<Member, String> {
    let code = secret(&server.join_code).ok_or("join_code: no 64 hexadecimal digits")?;
    let read = |pin: Option<Pin>| {
        let link = Link::new(server.address, identity, pin, Arc::new(SystemClock)).map_err(|e| e.to_string())?;
        let answer = network.wait(link.call(wire::CARD, Vec::new(), PATIENCE, Signed::MAX));
        let bytes = answer.map_err(|e| e.to_string())?.unwrap_or_default();
        Card::open(&bytes, &code).map_err(|e| e.to_string())
    };
    // Whoever passed another's card on doesn't have its key: the second time it has to.
    let card = read(None).and_then(|card| read(Some(card.pin)))?;
    if (card.number, card.vault) != (number, vault) {
        return Err(format!("it is {} of vault {}", server_name(card.number), card.vault));
    }
    HolderPublicKey::from_bytes(&card.key).map_err(|e| e.to_string())?;
    let Card { pin, witness, key, .. } = card;
    Ok(Member { number, address: server.address.to_string(), pin, witness, key })
}

/// Brings the list of members to all servers.
pub fn bring(list: &Members, signed: &[u8], identity: &Identity, network: &Network) -> Result<(), Fault> {
    for member in &list.servers {
        let wrong = |why: String| {
            Fault::new(Blame::Configuration, "plan.members", format!("{}: {why}", server_name(member.number)))
        };
        let address = member.address.parse().map_err(|_| wrong("no address".to_owned()))?;
        let link =
            Link::new(address, identity, Some(member.pin), Arc::new(SystemClock)).map_err(|e| wrong(e.to_string()))?;
        let body = vec![bytes::Bytes::copy_from_slice(signed)];
        network.wait(link.call(wire::MEMBERS, body, PATIENCE, 1024)).map_err(|e| wrong(e.to_string()))?;
    }
    Ok(())
}

fn server_runbook(name: &str, number: u8, address: SocketAddr) -> String {
    format!(
        "# {name}: {server}, {address}\n\n\
         This machine keeps one of the shards of every record, one share of every key, and an eye on the log. It opens \
         nothing by itself.\n\n\
         `sh setup.sh` as root, in this folder with the program `holdfast-holder` in it, does steps 1 to 4.\n\n\
         1. Install the program `holdfast-holder` to /usr/local/bin, and make its account:\n   \
            `useradd --system --home-dir /var/lib/holdfast-holder --create-home holdfast`\n\
         2. Copy what is in this folder into /var/lib/holdfast-holder, on a disk of this machine: `cp -r FOLDER/. \
            /var/lib/holdfast-holder && chown -R holdfast: /var/lib/holdfast-holder && chmod 700 /var/lib/holdfast-holder`. Delete \
            FOLDER then: the join code in it is used once.\n\
         3. `runuser -u holdfast -- holdfast-holder init --dir /var/lib/holdfast-holder`. It makes this machine's own keys; they \
            never leave it, and no copy of them is needed. As root it is refused: what root writes, the service can't read.\n\
         4. `cp /var/lib/holdfast-holder/holdfast-holder.service /etc/systemd/system/ && systemctl enable --now \
            holdfast-holder`\n\
         5. Open the firewall for TCP port {port} from the gateway and the other servers, and for nobody else.\n\n\
         The administrator of this machine should not be the administrator of more than two others: one who has all \
         of them is one server.\n\n\
         **When it is lost**: don't restore its disk from a copy (the others notice it and raise an alarm; it has forgotten \
         what it counted, and after a turn of keys it opens nothing). Set up a new \
         machine: `holdfast holder prepare` at the gateway, then `holdfast holder replace`.\n\n\
         **What it refused and noticed**: journal.log in its folder.\n",
        server = server_name(number),
        port = address.port()
    )
}

fn gateway_runbook(name: &str, addresses: &[SocketAddr]) -> String {
    let servers = (1..)
        .zip(addresses)
        .fold(String::new(), |text, (number, address)| format!("{text}- {} at {address}\n", server_name(number)));
    format!(
        "# {name}: the gateway\n\n\
         It can be lost: whoever has the plan and the officer's key makes another one. It keeps no record and opens \
         nothing without the servers.\n\n\
         `sh PLAN/gateway/setup.sh` as root, with the program `holdfast` in PLAN/gateway, does steps 1 to 3.\n\n\
         1. Install the program `holdfast` to /usr/local/bin, and make its account:\n   \
            `useradd --system --home-dir /var/lib/holdfast --create-home holdfast`\n\
         2. When all servers run, with the whole folder of the plan, the officer's key in it: `cp -r PLAN /var/lib/holdfast/plan && \
            chown -R holdfast: /var/lib/holdfast && chmod 700 /var/lib/holdfast`, then `runuser -u holdfast -- holdfast init --plan \
            /var/lib/holdfast/plan --data /var/lib/holdfast/data`. All commands are run so, as holdfast: as root they are refused.\n\
         3. `cp PLAN/gateway/holdfast.service /etc/systemd/system/ && systemctl enable --now holdfast`\n\
         4. Let the first people and devices in, while the officer's key is here: `holdfast sign-in … --officer-key FILE`, \
            `holdfast token new … --officer-key FILE`, each with `--data /var/lib/holdfast/data`; FILE is \
            /var/lib/holdfast/plan/officer-MOVE-OFFLINE/officer.key, which the account holdfast can read. Then hand the custodians' sheets out \
            and delete them here, take the officer's key away, and delete every copy of the plan, here and where it was made: \
            `shred` its officer's key first.\n\
         5. Addresses, AE titles and peers stand in /var/lib/holdfast/data/gateway/holdfast.toml; `serve --config FILE` \
            takes another file. `holdfast centre show` lists the servers. Pages and FHIR listen on 127.0.0.1:8080 without TLS: a proxy \
            on this machine speaks it (a Caddyfile: `records.hospital.example {{ reverse_proxy 127.0.0.1:8080 }}`), and its name is \
            `http.public_url`. DICOM from other machines: `dimse.listen` with this machine's address, and who may call in \
            `dimse.peers`. Open the firewall for both, and for nobody else.\n\
         6. Downtime packs (`holdfast pack key --data /var/lib/holdfast/data`, `pack prepare`, [packs]): the service writes only where its unit lets it, so \
            `systemctl edit holdfast` and `[Service]`, `ReadWritePaths=-/mnt/ward-a` (with the dash: a stick that isn't there keeps nobody from starting).\n\n\
         **When it is lost, or stolen**: on a new machine, `holdfast gateway new --server ADDRESS --officer-key FILE --data \
         /var/lib/holdfast/data` (any \
         server below). The lost one is shut out by it.\n\n\
         Its servers:\n\n{servers}"
    )
}

/// A systemd unit that lets the program reach its own folder and the network, and nothing else.
fn unit(description: &str, start: &str, home: &str, files: u32) -> String {
    format!(
        "[Unit]\nDescription={description}\nAfter=network-online.target time-sync.target\nWants=network-online.target time-sync.target\n\
         RequiresMountsFor={home}\nStartLimitIntervalSec=0\n\n\
         [Service]\nUser=holdfast\nExecStart=/usr/local/bin/{start}\nRestart=always\nRestartSec=2\n\
         LimitNOFILE={files}\nLimitCORE=0\nReadWritePaths={home}\nProtectSystem=strict\nProtectHome=yes\n\
         PrivateTmp=yes\nPrivateDevices=yes\nNoNewPrivileges=yes\nCapabilityBoundingSet=\n\
         ProtectKernelTunables=yes\nProtectKernelModules=yes\nProtectKernelLogs=yes\nProtectControlGroups=yes\nProtectClock=yes\n\
         ProtectHostname=yes\nProtectProc=invisible\nLockPersonality=yes\nRestrictNamespaces=yes\nRestrictRealtime=yes\n\
         RestrictSUIDSGID=yes\nRemoveIPC=yes\nSystemCallArchitectures=native\n\
         RestrictAddressFamilies=AF_INET AF_INET6\nMemoryDenyWriteExecute=yes\nSystemCallFilter=@system-service\n\
         UMask=0077\n\n[Install]\nWantedBy=multi-user.target\n"
    )
}

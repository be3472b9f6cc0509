//! A centre gets more servers while it runs: `centre extend` writes what new machines need, `centre grow` takes them in.
//!
//! ```text
//!  extend ──► a folder for each new machine ──► its two commands ──► grow: their cards, the officer's list, the custodians
//!  grow       the list ─ every record for all of them ─ a pause, the centre record ─ every key dealt anew ─ old keys destroyed
//! ```
//! It goes on where it was cut short. On folders there is nothing to prepare: `grow --servers 14` makes them.

use std::fs;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;
use holder::server_name;
use holder::wire::{Member, Members, Split};
use keys::{Holder, HolderPublicKey, LocalHolder, Turn, TurnOrder};
use kit::{Blame, Fault, OsEntropy};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use vault::Move;
use vault::location::{FolderLocation, Location, Marker};

use crate::acts::{Act, Answer, Ask, decode_file, encode_file};
use crate::centre::{Centre, Shape};
use crate::config::Config;
use crate::plugins::Client;
use crate::renewals::{KeyStanding, by_custodians, end_turn, members_and_network, members_of, perform_by, usage};
use crate::site::{holder as holder_folder, location_id, shards};
use crate::{Data, Output, certificates, commands, control, plan};

/// In the folder that [`Extend`] writes.
const EXTENSION: &str = "extension.toml";

/// How large a centre is to be, with all of its servers.
#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Size {
    pub servers: u8,
    pub shards_needed: Option<u8>,
    pub keys_needed: Option<u8>,
}

impl Size {
    fn shape(self, buckets: u8) -> Result<Shape, Fault> {
        Shape::with_buckets(self.servers, buckets, self.shards_needed, self.keys_needed)
    }
}

// ---- At the centre

/// `members`: the list with the new machines at its end, as the officer signed it; none where the servers are folders.
pub fn grow(centre: &Centre, size: Size, members: Option<Vec<u8>>, ask: Ask<'_>) -> Result<Answer, Fault> {
    let vault = centre.chart().vault();
    vault.settle()?;
    let now = centre.shape();
    let to = size.shape(now.buckets)?;
    let is_moved = size.servers == now.servers;
    if size.servers < now.servers || is_moved && vault.turning().is_none() {
        return Err(usage(format!("{} servers, there are {}", size.servers, now.servers))
            .guidance("nothing was changed; a centre grows, and what is lost is replaced: holdfast holder replace"));
    }
    // Before anything changes.
    let key = ask(vault.custodian_packages())?.newest()?;
    let mut untold = Vec::new();
    if !is_moved {
        let health = vault.health();
        if let Some(away) = health.locations.iter().find(|location| !location.up) {
            return Err(usage(format!("{} is not whole: a centre grows while all its servers are", away.id))
                .guidance("nothing was changed; bring it back, or replace it first: holdfast holder replace"));
        }
        let own = vault.turn_keys()?;
        let epoch = own.first().map_or(0, HolderPublicKey::epoch);
        let numbers = now.servers + 1..=size.servers;
        if let Some(signed) = &members {
            fit(&certificates::signed_list(centre, signed)?, &numbers, epoch)?;
            untold = certificates::take_members(centre, signed)?.untold;
        }
        let (locations, added) = match (centre.fleet(), centre.folders(), members) {
            (Some(fleet), _, Some(_)) => {
                let all = fleet.servers();
                let is_new = |id: &str| numbers.clone().any(|number| location_id(number) == id);
                let locations = all.locations.into_iter().filter(|location| is_new(location.id())).collect();
                let added = all.holders.into_iter().filter(|holder| numbers.contains(&holder.number())).collect();
                (locations, added)
            }
            (None, Some(folders), None) => make_folders(centre, folders, size.servers, epoch)?,
            _ => return Err(usage("a list of members belongs to servers that are machines of their own")),
        };
        let added: Vec<Arc<dyn Holder>> = added;
        if locations.len() != numbers.len() || added.len() != numbers.len() {
            return Err(usage(format!("{} of {} new servers are on the list", added.len(), numbers.len())));
        }
        let new = added.iter().map(|holder| holder.public_key());
        vault.move_to(
            Move {
                shape: vault::Shape::new(to.shards_needed, to.locations(), to.floor)?,
                public: own.into_iter().chain(new).collect(),
                holders: vault.holders().into_iter().chain(added.iter().cloned()).collect(),
                locations: vault.locations().into_iter().chain(locations).collect(),
                t: to.keys_needed,
            },
            &mut |_, _| {},
        )?;
    }
    if let Some(fleet) = centre.fleet() {
        vault.be_witnessed(fleet.witnesses(size.servers))?;
    }
    centre.holders_changed();
    let dealt = vault.deal_anew(&key, &mut |_, _| {})?;
    let turn = vault.reseal(&mut |_, _| {})?;
    let mut text = format!(
        "{}\n  {dealt} living patients were dealt anew, to all of them; what stood on the servers before stands there still, and opens \
         with nothing once their old keys are destroyed",
        centre.promise()
    );
    text.push_str(&certificates::untold_lines(&untold));
    if centre.fleet().is_none() {
        let ended = end_turn(centre, TurnOrder { turn, signature: Vec::new() })?;
        text.push_str(&format!("\n{}", ended.text));
        return Ok(Answer::done(text, json!({ "servers": size.servers, "patients": dealt })));
    }
    let json = json!({ "turn": encode_file(&turn.to_bytes()), "servers": size.servers, "patients": dealt,
                       "untold": untold });
    Ok(Answer::done(text, json))
}

/// Before a list is brought to anybody: it has all the new machines, each with a key of the epoch that begins.
fn fit(list: &Members, numbers: &RangeInclusive<u8>, epoch: u32) -> Result<(), Fault> {
    let new = || list.servers.iter().filter(|member| numbers.contains(&member.number));
    if new().count() != numbers.len() || list.servers.len() != usize::from(*numbers.end()) {
        return Err(usage(format!("{} of {} new servers are on the list", new().count(), numbers.len())));
    }
    let made = |member: &Member| HolderPublicKey::from_bytes(&member.key).map(|key| key.epoch()).ok();
    match new().find(|member| made(member) != Some(epoch)) {
        Some(wrong) => {
            let (server, made) = (location_id(wrong.number), made(wrong).unwrap_or(0));
            Err(usage(format!("{server}'s key is of epoch {made}, the others' next one is {epoch}")).guidance(
                "nothing was changed; the keys have turned since it was prepared: holdfast centre extend, anew",
            ))
        }
        None => Ok(()),
    }
}

type Added = (Vec<Arc<dyn Location>>, Vec<Arc<dyn Holder>>);

/// Makes folders for more servers, or goes on with those that an earlier growth made, be it to more of them; the configuration
/// names them before anything stands there.
fn make_folders(centre: &Centre, mut folders: Vec<PathBuf>, servers: u8, epoch: u32) -> Result<Added, Fault> {
    let data = centre.gateway().parent().unwrap_or(centre.gateway()).to_owned();
    let mut listed = Config::load(&data)?.servers;
    listed.truncate(usize::from(servers).min(folders.len()));
    folders.truncate(listed.len());
    listed.extend(Config::new(usize::from(servers)).servers.into_iter().skip(folders.len()));
    folders.extend(listed.iter().skip(folders.len()).map(|name| data.join(name)));
    let vault = centre.chart().vault().id();
    let (mut locations, mut holders): Added = Default::default();
    let there = usize::from(centre.shape().servers);
    for (number, folder) in (1..).zip(&folders).skip(there) {
        let failed =
            |e: std::io::Error| Fault::new(Blame::Configuration, "centre.folder", format!("{}: {e}", folder.display()));
        fs::create_dir_all(folder).map_err(failed)?;
        let (place, keys) = (shards(folder), holder_folder(folder));
        let marker = Marker::new(location_id(number), vault, number);
        locations.push(Arc::new(match Marker::read(&place) {
            Ok(_) => FolderLocation::open(&place, vault)?,
            Err(_) => FolderLocation::init(&place, marker)?,
        }));
        holders.push(Arc::new(match LocalHolder::look(&keys) {
            Ok(made) if made.iter().any(|key| key.epoch() == epoch) => LocalHolder::open(&keys)?,
            found => {
                // Made by a growth that was cut short, and the keys have turned since: nothing was dealt to it.
                if found.is_ok() {
                    set_aside(&keys).map_err(failed)?;
                }
                LocalHolder::init_in(&keys, number, epoch, &OsEntropy)?
            }
        }));
    }
    Config::save_servers(&data, &listed)?;
    centre.set_folders(folders);
    Ok((locations, holders))
}

/// Under another name beside it.
fn set_aside(folder: &Path) -> std::io::Result<()> {
    let name = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let free = (1..=u32::MAX).map(|n| folder.with_file_name(format!("{name}-set-aside-{n}"))).find(|one| !one.exists());
    fs::rename(folder, free.unwrap_or_default())
}

// ---- On the command line

#[derive(Args)]
pub struct Extend {
    /// The new servers' addresses: their numbers follow those that there are. With or without a port.
    #[arg(long, value_delimiter = ',', required = true, value_name = "ADDR,…")]
    addresses: Vec<String>,
    /// The port of those that are given without one.
    #[arg(long, default_value_t = plan::PORT)]
    port: u16,
    #[command(flatten)]
    needed: Needed,
    /// An empty or absent folder.
    #[arg(long, default_value = "holdfast-extension", value_name = "DIR")]
    out: PathBuf,
    #[command(flatten)]
    data: Data,
}

#[derive(Args)]
struct Needed {
    /// Servers that are enough to put every record together again; never fewer than now [default: 3, or fewer with few servers].
    #[arg(long)]
    shards_needed: Option<u8>,
    /// Holders that are needed to open a key [default: all but two of five or more, else all].
    #[arg(long)]
    keys_needed: Option<u8>,
}

fn failed(place: &Path, why: impl std::fmt::Display) -> Fault {
    Fault::new(Blame::Configuration, "grow.folder", format!("{}: {why}", place.display()))
}

impl Extend {
    pub fn run(self) -> Result<u8, Fault> {
        let (mut members, officer) = members_of(&self.data.data)?;
        let now = KeyStanding::ask(&self.data.data)?;
        // Others on the list are of a growth that wasn't done: these take their places.
        members.servers.truncate(now.split.holders.into());
        let count = |of: usize| u8::try_from(of).unwrap_or(u8::MAX);
        let (there, new) = (count(members.servers.len()), count(self.addresses.len()));
        let addresses = plan::socket_addresses(&self.addresses, self.port, new)?;
        if let Some(twice) = addresses.iter().find(|one| members.servers.iter().any(|m| m.address == one.to_string())) {
            return Err(usage(format!("{twice} is the address of a server that is there")));
        }
        let Needed { shards_needed, keys_needed } = self.needed;
        let size = Size { servers: there.saturating_add(new), shards_needed, keys_needed };
        let (shape, epoch) = (size.shape(now.buckets)?, now.next_epoch());
        plan::require_empty(&self.out)?;
        let keys = holder::Keys { needed: shape.keys_needed, holders: shape.servers };
        for (number, address) in (there + 1..).zip(addresses) {
            let new = plan::NewServer { members: &members, officer, number, address, epoch, keys };
            plan::write_server(&new, &self.out.join(server_name(number)), &OsEntropy)?;
        }
        let text = toml::to_string_pretty(&size).map_err(|e| failed(&self.out, e))?;
        plan::private(&self.out, EXTENSION, text.as_bytes())?;
        say!("{}: {new} new servers, {} in all", self.out.display(), size.servers);
        say!("  1. copy each folder to its machine and follow its RUNBOOK.md (two commands);");
        say!("  2. here: holdfast centre grow --prepared {} --officer-key FILE --custodian FILE …", self.out.display());
        say!("  {}", shape.promise());
        Ok(0)
    }
}

#[derive(Args)]
pub struct Grow {
    /// Where the servers are folders: how many there are to be.
    #[arg(long, required_unless_present = "prepared", conflicts_with = "prepared",
          value_parser = clap::value_parser!(u8).range(1..=64))]
    servers: Option<u8>,
    #[command(flatten)]
    needed: Needed,
    /// Where the servers are machines of their own: the folder that `centre extend` wrote.
    #[arg(long, value_name = "DIR", requires = "officer_key", conflicts_with_all = ["shards_needed", "keys_needed"])]
    prepared: Option<PathBuf>,
    #[arg(long, value_name = "FILE", requires = "prepared")]
    officer_key: Option<PathBuf>,
    /// A custodian's secret (AGE-SECRET-KEY-1…), or its 24 words, in a file; of as many as are needed.
    #[arg(long = "custodian", value_name = "FILE", required = true)]
    custodians: Vec<PathBuf>,
    #[command(flatten)]
    plugins: Client,
    #[command(flatten)]
    data: Data,
    #[command(flatten)]
    output: Output,
}

impl Grow {
    pub fn run(self) -> Result<u8, Fault> {
        let (Some(prepared), Some(key)) = (self.prepared, self.officer_key) else {
            let Needed { shards_needed, keys_needed } = self.needed;
            let servers = self.servers.ok_or_else(|| usage("how many servers"))?;
            let act = Act::CentreGrow { size: Size { servers, shards_needed, keys_needed }, members: None };
            return by_custodians(&self.data, self.output, act, &self.custodians, &self.plugins);
        };
        let officer = plan::officer_key(&key)?;
        let file = prepared.join(EXTENSION);
        let text = fs::read_to_string(&file).map_err(|e| failed(&file, e))?;
        let size: Size = toml::from_str(&text).map_err(|e| failed(&file, e))?;
        let data = &self.data.data;
        let now = KeyStanding::ask(data)?;
        let (mut list, split) = extended(&prepared, size, &now, data)?;
        let mut answer = Answer::done("", json!({ "servers": size.servers }));
        if now.split != split || now.turning.is_some() {
            let members = Some(encode_file(&list.sign(&officer)));
            let act = Act::CentreGrow { size, members };
            answer = perform_by(data, act, &self.custodians, &self.plugins)?;
            let turn = answer.json.get("turn").and_then(Value::as_str).unwrap_or_default().to_owned();
            let wrong = |e: kit::format::FormatError| Fault::new(Blame::Ours, "control.turn", e.to_string());
            let signed = holder::sign_turn(&Turn::from_bytes(&decode_file(&turn)?).map_err(wrong)?, &officer);
            let act = Act::KeysTurned { turn, signature: encode_file(&signed.signature) };
            answer.text.push_str(&format!("\n{}", control::perform(data, act)?.text));
        } else if list.splits == Some(vec![split]) {
            return Err(usage(format!("{} servers, there are {}", size.servers, now.split.holders)));
        }
        // Nothing is left that is split as before: no holder opens such a key any more.
        list.splits = Some(vec![split]);
        list.version += 1;
        let told = control::perform(data, Act::MembersTake { members: encode_file(&list.sign(&officer)) })?;
        answer.exit = answer.exit.max(told.exit);
        answer.text.push_str(&told.text);
        Ok(commands::print(self.output, &answer))
    }
}

/// The list with the new machines at its end, and how keys are split then: their cards are believed where they were made with
/// the codes that were brought there.
fn extended(prepared: &Path, size: Size, now: &KeyStanding, data: &Path) -> Result<(Members, Split), Fault> {
    let (held, identity, network) = members_and_network(data)?;
    let shape = size.shape(now.buckets)?;
    let split = Split { needed: shape.keys_needed, holders: shape.servers };
    let mut members = held.clone();
    // As far as they are in use.
    members.servers.truncate(now.split.holders.into());
    let there = u8::try_from(members.servers.len()).unwrap_or(u8::MAX);
    for number in there + 1..=size.servers {
        let folder = prepared.join(server_name(number));
        members.servers.push(plan::prepared_member(&folder, number, members.vault, &identity, &network)?);
    }
    if now.split != split {
        // What is dealt to those before is opened until all of it is dealt to these.
        members.splits = Some(vec![now.split, split]);
    }
    members.version += u64::from(members != held);
    Ok((members, split))
}

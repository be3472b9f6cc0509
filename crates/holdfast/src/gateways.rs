//! Another gateway in the place of one that was lost or stolen, where servers are machines of their own: `holdfast gateway
//! new`. All that it needs of the lost one stands at the servers; what lets it in is the officer's signature.
//!
//! ```text
//!  new machine's own certificate ── officer's pass ──► a server: the newest list of members
//!  that list, one version on, with this gateway and no other ── officer's signature ──► all servers
//! ```

use std::collections::{BTreeMap, HashSet};
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use clap::Subcommand;
use holder::wire::{self, Members, Message as _, Newcomer, Signed};
use holder::{Identity, Link, Network, Pin, server_name};
use keys::Officer;
use kit::format::Version;
use kit::{Blame, Fault, SystemClock};
use serde_json::json;
use vault::Vkey;

use crate::acts::Answer;
use crate::centre::Centre;
use crate::config::{Config, FILE_NAME};
use crate::fleet::{Fleet, MEMBERS};
use crate::say::plural;
use crate::staging::Begun;
use crate::{DEGRADED, Data, Output, bucket_files, certificates, commands, plan, renewals, signers};

const PATIENCE: Duration = Duration::from_secs(10);

fn failed(why: impl std::fmt::Display) -> Fault {
    Fault::new(Blame::Configuration, "gateway.new", why.to_string())
}

#[derive(Subcommand)]
pub enum Command {
    /// Make this machine the gateway of a centre whose gateway was lost or stolen. It gets certificates of its own, and every
    /// other gateway is shut out at all servers.
    New {
        /// A server of the centre, or several: the first that answers knows the others.
        #[arg(long = "server", value_name = "ADDR", required_unless_present = "members")]
        servers: Vec<SocketAddr>,
        /// The lost gateway's members.cbor, where there is a copy; the servers are asked for a newer one.
        #[arg(long, value_name = "FILE")]
        members: Option<PathBuf>,
        /// The officer's key: she signs the list that lets this machine in. Take the medium out again.
        #[arg(long, value_name = "FILE")]
        officer_key: PathBuf,
        /// The centre's log key, as `init` printed it and the custodians' sheets have it; without one, the officer's list
        /// says it.
        #[arg(long, value_name = "VKEY")]
        vkey: Option<Vkey>,
        /// The file of a bucket of the centre (bucket-13.toml), once for each.
        #[arg(long = "bucket", value_name = "FILE")]
        buckets: Vec<PathBuf>,
        #[command(flatten)]
        data: Data,
        #[command(flatten)]
        output: Output,
    },
}

impl Command {
    pub fn run(self) -> Result<u8, Fault> {
        let Self::New { servers, members, officer_key, vkey, buckets, data, output } = self;
        let officer = plan::officer_key(&officer_key)?;
        let begun = Begun::begin(&data.data, "gateway new")?;
        let gateway = data.data.join("gateway");
        let identity = Identity::init(&gateway).map_err(failed)?;
        let asking = Asking { officer: &officer, identity: &identity, network: Network::start().map_err(failed)? };
        let list = asking.newest(members.as_deref(), &servers)?;
        let log: Vkey = list.log.parse().map_err(|e| failed(format!("the list's log key: {e}")))?;
        if let Some(vkey) = vkey.filter(|vkey| *vkey != log) {
            let text = format!("the officer's list is of the log {log}, not {vkey}");
            return Err(Fault::new(Blame::Integrity, "gateway.other-log", text)
                .guidance("nothing was changed at any server; one of the two is another centre's"));
        }
        bucket_files::take(&buckets, &gateway)?;
        signers::enrol_gateway(&gateway, &officer, list.vault)?;
        let list = Members { version: list.version.saturating_add(1), gateways: vec![identity.pin()], ..list };
        plan::private(&gateway, MEMBERS, &list.sign(&officer))?;
        let untold = Fleet::open(&gateway, &officer.public())?.bring();
        let config = Config {
            officer: Some(plan::hex(&officer.public()).to_string()),
            holders: addresses(&list),
            ..Config::new(0)
        };
        let centre = Centre::open_anew(&data.data, config, log).map_err(|fault| not_opened(fault, &untold))?;
        let before = list.ended.iter().copied().collect::<HashSet<_>>();
        let noted = certificates::note(&centre, list.clone(), &before);
        let answer = said(&centre, &data.data, &list, &untold);
        drop(centre);
        begun.finish()?;
        if let Err(fault) = noted {
            complain!("holdfast: the ledger has no entry of the new list of members: {fault}");
        }
        Ok(commands::print(output, &answer))
    }
}

fn not_opened(fault: Fault, untold: &[String]) -> Fault {
    let message = untold.iter().fold(fault.message, |text, one| format!("{text}\n  {one}"));
    Fault { message, ..fault }.guidance("the servers that answer have shut the other gateways out; repeat the command")
}

/// Says what came of it.
fn said(centre: &Centre, data: &Path, list: &Members, untold: &[String]) -> Answer {
    let (pin, servers) = (list.gateways.first().map(Pin::to_string).unwrap_or_default(), list.servers.len());
    let mut text = format!(
        "{}: this machine is its gateway, and every other one is shut out\n  its pin   {pin}, in version {} of the list of \
         members\n  log key   {}: compare it with the one on paper\n  settings are those of the lost gateway, but for the \
         addresses where it listens and who administers what: {}\n  `holdfast serve` runs it",
        centre.name(),
        list.version,
        list.log,
        data.join(FILE_NAME).display()
    );
    let places = centre.chart().vault().shape().n();
    let missing = places.saturating_sub(servers + centre.bucket_states().len());
    if missing > 0 {
        let missing = plural(missing, "bucket");
        text.push_str(&format!("\n  {missing} of this centre have no file here: put it into gateway/buckets"));
    }
    text.push_str(&certificates::untold_lines(untold));
    let exit = if untold.is_empty() && missing == 0 { 0 } else { DEGRADED };
    let json =
        json!({ "pin": pin, "version": list.version, "log": list.log, "untold": untold, "buckets_missing": missing });
    Answer { exit, text, json }
}

/// A newcomer who has the officer's word and knows some server.
struct Asking<'a> {
    officer: &'a Officer,
    identity: &'a Identity,
    network: Network,
}

impl Asking<'_> {
    /// The newest list that the officer signed, as far as more than half of the servers know.
    fn newest(&self, copy: Option<&Path>, servers: &[SocketAddr]) -> Result<Members, Fault> {
        let wrong = |why: String| failed(why).guidance("nothing was changed at any server");
        let mut troubles = Vec::new();
        let mut known = Vec::new();
        if let Some(file) = copy {
            let open = fs::read(file).map_err(|e| e.to_string()).and_then(|bytes| self.open(&bytes));
            known.push(open.map_err(|why| wrong(format!("{}: {why}", file.display())))?);
        }
        for address in servers {
            match self.ask(*address, None) {
                Ok(list) => known.push(list),
                Err(why) => troubles.push(why),
            }
        }
        let seed = known.into_iter().max_by_key(|list| list.version);
        let mut newest = seed.ok_or_else(|| wrong(format!("no server gives its list: {}", troubles.join("; "))))?;
        // Each of them by its own certificate: who lies about one address, or is behind, is not alone.
        // Those behind the ones that hold keys yet are to become some of the centre's, and perhaps never do.
        let in_use = newest.splits.iter().flatten().next().map_or(newest.servers.len(), |split| split.holders.into());
        let (mut answered, of) = (0, newest.servers.len().min(in_use));
        for member in newest.servers.iter().take(of).cloned().collect::<Vec<_>>() {
            let address = member.address.parse().map_err(|_| "no address".to_owned());
            match address.and_then(|address| self.ask(address, Some(member.pin))) {
                Ok(list) if list.vault == newest.vault => {
                    answered += 1;
                    newest = if list.version > newest.version { list } else { newest };
                }
                Ok(_) => troubles.push(format!("{}: it is of another vault", server_name(member.number))),
                Err(why) => troubles.push(format!("{}: {why}", server_name(member.number))),
            }
        }
        if answered * 2 <= of {
            let why = format!("{answered} of {of} servers give their list, more than half are needed");
            return Err(wrong(troubles.iter().fold(why, |text, one| format!("{text}\n  {one}"))));
        }
        Ok(newest)
    }

    fn open(&self, bytes: &[u8]) -> Result<Members, String> {
        Members::open(bytes, &self.officer.public()).map_err(|e| e.to_string())
    }

    /// A server's list. Without a pin whoever answers is heard: the officer's signature is what counts, and her pass is of no
    /// use to anybody else.
    fn ask(&self, address: SocketAddr, pin: Option<Pin>) -> Result<Members, String> {
        let link = Link::new(address, self.identity, pin, Arc::new(SystemClock)).map_err(|e| e.to_string())?;
        let pass = Newcomer { format: Version, pin: self.identity.pin() }.sign(self.officer);
        let answer = self.network.wait(link.call(wire::MEMBERS_GET, vec![pass.into()], PATIENCE, Signed::MAX));
        let bytes = answer.map_err(|e| e.to_string())?.ok_or_else(|| format!("{address} has no list of members"))?;
        self.open(&bytes)
    }
}

/// Each server's address, by its name, as a configuration has them.
pub fn addresses(list: &Members) -> BTreeMap<String, SocketAddr> {
    let named = |member: &wire::Member| Some((server_name(member.number), member.address.parse().ok()?));
    list.servers.iter().filter_map(named).collect()
}

/// Where a configuration says another address than the officer's list.
pub fn differing(configured: &BTreeMap<String, SocketAddr>, list: &Members) -> Vec<String> {
    let listed = addresses(list);
    let differs = |(name, address): (&String, &SocketAddr)| match listed.get(name) {
        Some(is) if is == address => None,
        Some(is) => Some(format!("{name} is at {is}, [holders] says {address}")),
        None => Some(format!("{name} is none of the centre's servers")),
    };
    configured.iter().filter_map(differs).collect()
}

/// `holdfast centre show`.
pub fn show(data: &Path, output: Output) -> Result<u8, Fault> {
    let (list, _) = renewals::members_of(data)?;
    let servers =
        list.servers.iter().map(|one| format!("{}  {:<24} {}", server_name(one.number), one.address, one.pin));
    let gateways = list.gateways.iter().map(|pin| format!("gateway    {:<24} {pin}", ""));
    let ended = plural(list.ended.len(), "certificate");
    let first = format!("version {} of the list of members, vault {}; {ended} ended", list.version, list.vault);
    let text = std::iter::once(first).chain(servers).chain(gateways).collect::<Vec<_>>().join("\n");
    let json = json!({
        "version": list.version, "vault": list.vault.to_string(), "log": list.log,
        "servers": list.servers.iter().map(|one| json!({
            "name": server_name(one.number), "address": one.address, "pin": one.pin.to_string() })).collect::<Vec<_>>(),
        "gateways": list.gateways.iter().map(Pin::to_string).collect::<Vec<_>>(),
        "ended": list.ended.iter().map(ToString::to_string).collect::<Vec<_>>(),
    });
    Ok(commands::print(output, &Answer::done(text, json)))
}

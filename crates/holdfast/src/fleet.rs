//! The servers as machines of their own: links to their holders, as the list of members has them.

use std::collections::BTreeSet;
use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use bytes::Bytes;
use holder::wire::{self, Member, Members, Status};
use holder::{CallError, Identity, Link, Network, RemoteHolder, RemoteLocation, Witnessed, server_name};
use keys::{Holder, HolderPublicKey};
use kit::{Blame, Clock as _, Fault, Id16, SystemClock, write_private};
use ledger::{AddCheckpoint, WitnessVkey};
use minicbor::bytes::ByteVec;
use vault::location::Location;
use vault::{Said, Witness, WitnessAnswer};

use crate::buckets::Buckets;
use crate::domains::Domain;
use crate::site::Servers;
use crate::standing::Seen;

/// How long the page that says how the servers are waits for one of them; and with connecting to it.
const LOOK_PATIENCE: Duration = Duration::from_secs(2);
const LOOK_WHOLE: Duration = Duration::from_millis(3_500);

/// How long a server may take to take a list of members.
const TELL_PATIENCE: Duration = Duration::from_secs(10);

/// In the gateway's folder.
pub const MEMBERS: &str = "members.cbor";

fn failed(place: &Path, why: impl std::fmt::Display) -> Fault {
    Fault::new(Blame::Configuration, "fleet.members", format!("{}: {why}", place.display()))
}

/// One server. Another machine may take its place.
struct Server {
    number: u8,
    key: RwLock<HolderPublicKey>,
    witness: RwLock<WitnessVkey>,
    link: Arc<Link>,
    opened: Arc<AtomicU64>,
    /// What it said last, or why it said nothing.
    last: Mutex<Option<Result<Status, String>>>,
    /// Of its objects: how many there were, and how many of them were rotten, when it answered last.
    objects: Mutex<(u64, u64)>,
    /// By how much its clock was ahead of this gateway's when it answered last, its way here included.
    clock_ahead_ms: Mutex<Option<i64>>,
}

impl Server {
    fn of(member: &Member, identity: &Identity) -> Result<Self, Fault> {
        let wrong = |why: String| {
            let text = format!("{}: {why}", server_name(member.number));
            Fault::new(Blame::Configuration, "fleet.members", text)
        };
        let address: SocketAddr = member.address.parse().map_err(|e| wrong(format!("its address: {e}")))?;
        let key = HolderPublicKey::from_bytes(&member.key).map_err(|e| wrong(e.to_string()))?;
        if key.number() != member.number {
            return Err(wrong(format!("its key is of holder {}", key.number())));
        }
        let witness = member.witness.parse().map_err(|e: ledger::LedgerError| wrong(e.to_string()))?;
        let link = Link::new(address, identity, Some(member.pin), Arc::new(SystemClock));
        let link = Arc::new(link.map_err(|e| wrong(e.to_string()))?);
        let (key, witness) = (RwLock::new(key), RwLock::new(witness));
        let (opened, last, objects) = (Arc::default(), Mutex::default(), Mutex::default());
        let clock_ahead_ms = Mutex::default();
        Ok(Self { number: member.number, key, witness, link, opened, last, objects, clock_ahead_ms })
    }
}

/// All of them.
pub struct Fleet {
    vault: Id16,
    network: Network,
    members: Mutex<Members>,
    /// The list as the officer signed it; empty while a centre is founded, and brought by whoever founds it.
    signed: Mutex<Bytes>,
    /// In the order of their numbers. More of them come when the centre grows.
    servers: RwLock<Vec<Arc<Server>>>,
    buckets: Buckets,
    /// Names of servers that have lost something, and of which nobody has taken note yet.
    doubtful: Mutex<BTreeSet<String>>,
}

impl Fleet {
    /// By the list that stands in the gateway's folder, which `officer` signed.
    pub fn open(gateway: &Path, officer: &[u8; 32]) -> Result<Self, Fault> {
        let file = gateway.join(MEMBERS);
        let bytes = fs::read(&file).map_err(|e| failed(&file, e))?;
        let members = Members::open(&bytes, officer).map_err(|e| failed(&file, e))?;
        let identity = Identity::open(gateway).map_err(|e| failed(gateway, e))?;
        let fleet = Self::of(&members, &identity)?.with_buckets(gateway)?;
        *lock(&fleet.signed) = bytes.into();
        Ok(fleet)
    }

    /// With the buckets whose files stand in the gateway's folder.
    pub fn with_buckets(mut self, gateway: &Path) -> Result<Self, Fault> {
        self.buckets = Buckets::open(gateway, &self.network)?;
        Ok(self)
    }

    pub fn buckets(&self) -> &Buckets {
        &self.buckets
    }

    pub fn of(members: &Members, identity: &Identity) -> Result<Self, Fault> {
        let server = |member: &Member| Server::of(member, identity).map(Arc::new);
        let network = Network::start().map_err(|e| failed(Path::new("the network"), e))?;
        Ok(Self {
            vault: members.vault,
            network,
            members: Mutex::new(members.clone()),
            signed: Mutex::default(),
            doubtful: Mutex::default(),
            servers: RwLock::new(members.servers.iter().map(server).collect::<Result<_, Fault>>()?),
            buckets: Buckets::default(),
        })
    }

    pub fn vault(&self) -> Id16 {
        self.vault
    }

    fn all(&self) -> Vec<Arc<Server>> {
        read(&self.servers)
    }

    pub fn servers(&self) -> Servers {
        let all = self.all();
        let location = |server: &Arc<Server>| -> Arc<dyn Location> {
            let (id, network) = (server_name(server.number), self.network.clone());
            Arc::new(RemoteLocation::new(id, network, Arc::clone(&server.link)))
        };
        let holder = |server: &Arc<Server>| -> Arc<dyn Holder> {
            let (link, opened) = (Arc::clone(&server.link), Arc::clone(&server.opened));
            Arc::new(RemoteHolder::new(read(&server.key), self.network.clone(), link, opened))
        };
        Servers {
            locations: all.iter().map(location).chain(self.buckets.locations()).collect(),
            holders: all.iter().map(holder).collect(),
        }
    }

    /// The first so many servers as witnesses of the log: those behind them are to become some of the centre's.
    pub fn witnesses(&self, in_use: u8) -> Vec<Arc<dyn Witness>> {
        let witness = |server: &Arc<Server>| -> Arc<dyn Witness> {
            let (network, link) = (self.network.clone(), Arc::clone(&server.link));
            Arc::new(Remote { vkey: read(&server.witness), network, link })
        };
        self.all().iter().take(in_use.into()).map(witness).collect()
    }

    /// Asks all of them at once how they are. Those that go by an older list of members get the one that is here: they were
    /// away when it was brought.
    pub fn look(&self) -> Seen {
        let (version, signed) = (lock(&self.members).version, lock(&self.signed).clone());
        let all = self.all();
        let asked: Vec<_> = all
            .iter()
            .map(|server| {
                let (link, (give, answer)) = (Arc::clone(&server.link), tokio::sync::oneshot::channel());
                let signed = signed.clone();
                self.network.spawn(async move {
                    let status = link.ask::<Status>(wire::STATUS, Vec::new(), LOOK_PATIENCE);
                    let late = CallError::Late { address: link.address(), seconds: LOOK_WHOLE.as_secs() };
                    let status = tokio::time::timeout(LOOK_WHOLE, status).await.unwrap_or(Err(late));
                    let is_behind = match &status {
                        Ok(status) => status.members < version,
                        // By its list this gateway isn't one yet.
                        Err(CallError::Refused(refused)) => refused.refusal.code == wire::STRANGER,
                        Err(_) => false,
                    };
                    // Here, not where it is waited for: the others may take longer.
                    drop(give.send((status, SystemClock.now())));
                    if is_behind
                        && !signed.is_empty()
                        && let Err(error) = link.call(wire::MEMBERS, vec![signed], TELL_PATIENCE, 1024).await
                    {
                        tracing::warn!(%error, "a server did not take the list of members");
                    }
                });
                answer
            })
            .collect();
        all.iter()
            .zip(asked)
            .map(|(server, answer)| {
                let (answer, heard) = match self.network.wait(answer) {
                    Ok((answer, heard)) => (answer.map_err(|error| error.to_string()), Some(heard)),
                    Err(_) => (Err("this process is ending".to_owned()), None),
                };
                *lock(&server.clock_ahead_ms) =
                    answer.as_ref().ok().zip(heard).map(|(status, heard)| status.at.0.saturating_sub(heard.0));
                if let Ok(status) = &answer {
                    server.opened.store(status.opened, Ordering::Relaxed);
                    let (objects, rotten) =
                        std::mem::replace(&mut *lock(&server.objects), (status.objects, status.rotten));
                    if status.objects < objects || status.rotten > rotten {
                        lock(&self.doubtful).insert(server_name(server.number));
                    }
                }
                let seen = keys_of(&answer);
                *lock(&server.last) = Some(answer);
                seen
            })
            .collect()
    }

    /// What was seen when they were asked last; nothing where one of them never was.
    pub fn seen(&self) -> Option<Seen> {
        self.all().iter().map(|server| lock(&server.last).as_ref().map(keys_of)).collect()
    }

    /// Locations that have lost something since they were asked before.
    pub fn take_doubtful(&self) -> BTreeSet<String> {
        std::mem::take(&mut *lock(&self.doubtful))
    }

    /// What each server and each bucket could share with others, by its name.
    pub fn domains(&self) -> Vec<(String, Domain)> {
        let server = |server: &Arc<Server>| {
            let host = Some(server.link.address().ip().to_string());
            (server_name(server.number), Domain { host, ..Domain::default() })
        };
        self.all().iter().map(server).chain(self.buckets.domains().iter().cloned()).collect()
    }

    /// As they were when they were asked last: those that were.
    pub fn statuses(&self) -> Vec<(u8, Result<Status, String>)> {
        self.all().iter().filter_map(|server| Some((server.number, lock(&server.last).clone()?))).collect()
    }

    /// By how much each server's clock is ahead of this gateway's, by its number; none of those that didn't answer.
    pub fn clocks(&self) -> Vec<(u8, Option<i64>)> {
        self.all().iter().map(|server| (server.number, *lock(&server.clock_ahead_ms))).collect()
    }

    /// The public keys that the holders are known to have.
    pub fn keys(&self) -> Seen {
        self.all().iter().map(|server| Ok(vec![read(&server.key)])).collect()
    }

    /// The keys that the centre record names: a certificate tells who a holder is, the record which of its keys counts.
    pub fn know(&self, keys: &[HolderPublicKey]) {
        for server in self.all() {
            if let Some(key) = keys.iter().find(|key| key.number() == server.number) {
                write(&server.key, key.clone());
            }
        }
    }

    /// The list as it is.
    pub fn members(&self) -> Members {
        lock(&self.members).clone()
    }

    /// The same, as the officer signed it.
    pub fn signed_members(&self) -> Bytes {
        lock(&self.signed).clone()
    }

    /// Takes a newer list, `signed` by the officer, brings it to every server that answers, and goes to the machines that it names
    /// from now on: more of them at its end perhaps, or others there, behind the first `in_use`. Gives those that could not be told: they
    /// get it once they answer, from here or from the others.
    pub fn take(&self, new: Members, signed: &[u8], in_use: u8, gateway: &Path) -> Result<Vec<String>, Fault> {
        let file = gateway.join(MEMBERS);
        let mut held = lock(&self.members);
        let numbered = (1..).zip(&new.servers).all(|(number, member)| member.number == number);
        if new.vault != self.vault || !numbered || new.servers.len() < in_use.into() {
            return Err(failed(&file, "the list is of another centre, or of other servers"));
        }
        if new.version < held.version || (new.version == held.version && new != *held) {
            return Err(failed(&file, format!("version {} of the list, {} is here", new.version, held.version)));
        }
        let identity = Identity::open(gateway).map_err(|e| failed(gateway, e))?;
        let more = new.servers.iter().skip(held.servers.len());
        let more = more.map(|member| Server::of(member, &identity).map(Arc::new)).collect::<Result<Vec<_>, _>>()?;
        write_private(&file, signed).map_err(|e| failed(&file, e))?;
        let mut all = self.all();
        for (server, member) in all.iter().zip(&new.servers) {
            let wrong = |why: String| failed(&file, format!("{}: {why}", server_name(member.number)));
            let address = member.address.parse().map_err(|_| wrong("no address".to_owned()))?;
            let was = held.servers.iter().find(|was| was.number == member.number);
            if was.is_none_or(|was| (&was.address, was.pin) != (&member.address, member.pin)) {
                let moved = self.network.wait(server.link.retarget(address, &identity, member.pin));
                moved.map_err(|e| wrong(e.to_string()))?;
                server.opened.store(0, Ordering::Relaxed);
            }
            // The list says with which key a machine came; since then its keys may have turned.
            if was.is_none_or(|was| was.key != member.key) {
                write(&server.key, HolderPublicKey::from_bytes(&member.key).map_err(|e| wrong(e.to_string()))?);
            }
            write(&server.witness, member.witness.parse().map_err(|e: ledger::LedgerError| wrong(e.to_string()))?);
        }
        all.truncate(new.servers.len());
        all.extend(more);
        write(&self.servers, all);
        let list = Bytes::copy_from_slice(signed);
        *lock(&self.signed) = list.clone();
        *held = new;
        drop(held);
        Ok(self.tell(&list))
    }

    /// Brings the list that is here to all servers; gives those that did not take it.
    pub fn bring(&self) -> Vec<String> {
        self.tell(&self.signed_members())
    }

    /// Brings a signed list to all of them at once; gives those that did not take it.
    fn tell(&self, signed: &Bytes) -> Vec<String> {
        let told: Vec<_> = self
            .all()
            .iter()
            .map(|server| {
                let (link, (give, answer)) = (Arc::clone(&server.link), tokio::sync::oneshot::channel());
                let body = vec![signed.clone()];
                self.network.spawn(async move {
                    drop(give.send(link.call(wire::MEMBERS, body, TELL_PATIENCE, 1024).await));
                });
                (server.number, answer)
            })
            .collect();
        let untold = |(number, answer): (u8, tokio::sync::oneshot::Receiver<Result<Option<Bytes>, CallError>>)| {
            let why = match self.network.wait(answer) {
                Ok(Ok(_)) => return None,
                Ok(Err(error)) => error.to_string(),
                Err(_) => "this process is ending".to_owned(),
            };
            Some(format!("{}: {why}", server_name(number)))
        };
        told.into_iter().filter_map(untold).collect()
    }
}

/// The keys that a status shows.
fn keys_of(status: &Result<Status, String>) -> Result<Vec<HolderPublicKey>, String> {
    let shown = |bytes: &ByteVec| HolderPublicKey::from_bytes(bytes).map_err(|error| error.to_string());
    status.as_ref().map_err(Clone::clone).and_then(|status| status.keys.iter().map(shown).collect())
}

fn lock<T>(held: &Mutex<T>) -> MutexGuard<'_, T> {
    held.lock().unwrap_or_else(PoisonError::into_inner)
}

fn read<T: Clone>(held: &RwLock<T>) -> T {
    held.read().unwrap_or_else(PoisonError::into_inner).clone()
}

fn write<T>(held: &RwLock<T>, value: T) {
    *held.write().unwrap_or_else(PoisonError::into_inner) = value;
}

/// A server, as a witness.
struct Remote {
    vkey: WitnessVkey,
    network: Network,
    link: Arc<Link>,
}

impl Witness for Remote {
    fn vkey(&self) -> &WitnessVkey {
        &self.vkey
    }

    fn add(&self, request: AddCheckpoint, answer: WitnessAnswer) {
        let link = Arc::clone(&self.link);
        self.network.spawn(async move {
            answer(match holder::witness(&link, &request).await {
                Witnessed::Cosigned(cosignature) => Said::Cosigned(cosignature),
                Witnessed::Has(size) => Said::Has(size),
                Witnessed::Contradicted(why) => Said::Contradicted(why),
                Witnessed::Silent(why) => Said::Silent(why),
            });
        });
    }
}

//! The drills on servers of their own: the real holders, each a process, behind the drill's seam.

use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use drill::system::{ChartBudget, Founded, Lie, MachineBuilder, Machines, Noticed, Tried};
use holder::wire::{self, ListRequest, Listing, Members, Message as _, RefuseSubject, Status};
use holder::{Daemon, Identity, Link, Network, Node, Peer, Pin, Refused, Serve, Witnessed, server_name};
use keys::NoPlugins;
use kit::{Blame, Entropy, Fault, Id16, OsEntropy, SystemClock};

use crate::centre::{Centre, Shape};
use crate::config::Config;
use crate::custodians::Custodians;
use crate::drill_system::{CUSTODIANS, CUSTODIANS_NEEDED, Real, Running};
use crate::plan;

const PATIENCE: Duration = Duration::from_secs(10);
/// A holder starts in well under a second; a busy machine takes longer.
const START_PATIENCE: Duration = Duration::from_secs(60);
/// Objects that a captured administrator tries to overwrite at each server.
const OVERWRITES: usize = 20;

fn failed(what: &str, why: impl std::fmt::Display) -> Fault {
    Fault::new(Blame::Configuration, "drill.machines", format!("{what}: {why}"))
}

impl MachineBuilder for Real {
    fn found_machines(
        &self,
        site: &Path,
        servers: usize,
        budget: Option<ChartBudget>,
    ) -> Result<(Founded, Box<dyn Machines>), Fault> {
        let (founded, machines) = found(site, servers, budget, &plan::Beside::default(), |_| Ok(()))?;
        Ok((founded, Box::new(machines)))
    }
}

/// Founds a centre on servers that are processes, with what stands beside them; `prepare` gets the plan's folder first.
pub fn found(
    site: &Path,
    servers: usize,
    budget: Option<ChartBudget>,
    beside: &plan::Beside,
    prepare: impl FnOnce(&Path) -> Result<(), Fault>,
) -> Result<(Founded, Processes), Fault> {
    let addresses = free_addresses(servers)?;
    let (folder, data) = (site.join("plan"), site.join("centre"));
    let folders = lay_out(&folder, &addresses, beside, prepare, |config| {
        let Some(ChartBudget { person, gateway, each }) = budget else { return };
        let b = &mut config.budgets;
        // So much that its part is the whole.
        let whole = (person * u32::from(config.keys.holders)).div_ceil(u32::from(config.keys.needed));
        (b.person_hour, b.delegate_hour) = if each { (whole, whole) } else { (person, person) };
        if !each {
            (b.gateway_hour, b.all_hour) = (gateway, gateway);
        }
    })?;
    let network = Network::start().map_err(|e| failed("the network", e))?;
    let processes = (0..servers).map(|_| Mutex::new(State::Stopped)).collect();
    let gateway = data.join("gateway");
    let fleet = Processes { addresses, folders: folders.clone(), gateway, processes, network };
    (0..servers).try_for_each(|server| fleet.start(server))?;
    let (custodians, recipients): (Vec<_>, Vec<_>) = (0..CUSTODIANS).map(|_| keys::new_identity()).unzip();
    plan::found(&folder, &data, Custodians::establish(recipients, CUSTODIANS_NEEDED, &NoPlugins)?)?;
    // Each read asks the holders: a key that is remembered would hide what they say.
    let mut config = Config::load(&data)?;
    config.keys.cache_seconds = 0;
    config.save(&data)?;
    let mut system = Running::start(Centre::open(&data)?, custodians.clone())?;
    system.certify(plan::officer_key(&folder.join(plan::OFFICER_FOLDER).join(plan::OFFICER_KEY))?)?;
    let system = Box::new(system);
    let (gateway, custodians_needed) = (data.join("gateway"), usize::from(CUSTODIANS_NEEDED));
    Ok((Founded { system, servers: folders, gateway, custodians, custodians_needed }, fleet))
}

/// Plans a drill's centre in `folder`, and initialises the holders that it names, each with its configuration as `set` has it;
/// gives their folders.
pub fn lay_out(
    folder: &Path,
    addresses: &[SocketAddr],
    beside: &plan::Beside,
    prepare: impl FnOnce(&Path) -> Result<(), Fault>,
    set: impl Fn(&mut holder::Config),
) -> Result<Vec<PathBuf>, Fault> {
    let count = |of: usize| u8::try_from(of).unwrap_or(u8::MAX);
    let shape = Shape::with_buckets(count(addresses.len()), count(beside.buckets.len()), None, None)?;
    plan::write("Drill centre", shape, addresses, beside, None, folder, &OsEntropy)?;
    prepare(folder)?;
    let folders: Vec<PathBuf> = (1..).take(addresses.len()).map(|number| folder.join(server_name(number))).collect();
    for folder in &folders {
        // A drill fills no disk, and may stand on one that has little room.
        let mut config = holder::Config::load(folder)?;
        config.shards.reserve_bytes = 0;
        set(&mut config);
        config.save(folder)?;
        Node::init(folder, &OsEntropy)?;
    }
    Ok(folders)
}

/// Waits until somebody listens there.
pub fn wait_for(server: usize, address: SocketAddr) -> Result<(), Fault> {
    let begun = Instant::now();
    while TcpStream::connect(address).is_err() {
        if begun.elapsed() > START_PATIENCE {
            return Err(failed(&server_name(u8::try_from(server + 1).unwrap_or(0)), "it does not answer"));
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    Ok(())
}

/// Ports that are free at an address of this fleet's own in the loopback network: at 127.0.0.1 another fleet, or anybody's
/// outgoing connection, may take one before its holder does.
pub fn free_addresses(count: usize) -> Result<Vec<SocketAddr>, Fault> {
    let [a, b, c, ..] = OsEntropy.id();
    let own = Ipv4Addr::new(127, a, b, c.clamp(2, 254));
    let listeners: Result<Vec<_>, _> = (0..count).map(|_| TcpListener::bind((own, 0))).collect();
    let listeners = listeners.map_err(|e| failed("a free port", e))?;
    listeners.iter().map(|listener| listener.local_addr().map_err(|e| failed("a free port", e))).collect()
}

enum State {
    Stopped,
    Runs(Child),
    /// A liar in this process.
    Lies(tokio::task::JoinHandle<()>),
}

pub struct Processes {
    addresses: Vec<SocketAddr>,
    folders: Vec<PathBuf>,
    gateway: PathBuf,
    processes: Vec<Mutex<State>>,
    network: Network,
}

impl Processes {
    fn parts(&self, server: usize) -> Result<(SocketAddr, &PathBuf, &Mutex<State>), Fault> {
        let parts = (self.addresses.get(server), self.folders.get(server), self.processes.get(server));
        match parts {
            (Some(address), Some(folder), Some(state)) => Ok((*address, folder, state)),
            _ => Err(failed("servers", format!("there is no server {server}"))),
        }
    }

    fn start(&self, server: usize) -> Result<(), Fault> {
        let (address, folder, state) = self.parts(server)?;
        let program = std::env::current_exe().map_err(|e| failed("this program", e))?;
        let log = File::options().create(true).append(true).open(folder.join("holder.log"));
        let process = Command::new(program)
            .args(["holder", "run", "--dir"])
            .arg(folder)
            .args(["--listen", &address.to_string()])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log.map_err(|e| failed("a holder's log", e))?)
            .spawn()
            .map_err(|e| failed("starting a holder", e))?;
        *state.lock().unwrap_or_else(PoisonError::into_inner) = State::Runs(process);
        wait_for(server, address)
    }

    /// To a server, with the gateway's certificate.
    fn gateways_link(&self, server: usize) -> Result<Link, Fault> {
        let (address, folder, _) = self.parts(server)?;
        let identity = Identity::open(&self.gateway).map_err(|e| failed("the gateway's identity", e))?;
        let pin = Identity::open(folder).map_err(|e| failed("a server's identity", e))?.pin();
        Link::new(address, &identity, Some(pin), Arc::new(SystemClock)).map_err(|e| failed("a link", e))
    }

    fn end(&self, server: usize) {
        let Ok((_, _, state)) = self.parts(server) else { return };
        let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
        match std::mem::replace(&mut *state, State::Stopped) {
            State::Runs(mut process) => {
                // Killed, not asked: what was acknowledged has to be there all the same.
                let _ = process.kill();
                let _ = process.wait();
            }
            State::Lies(task) => {
                task.abort();
                let _ = self.network.wait(task);
            }
            State::Stopped => {}
        }
    }
}

impl Drop for Processes {
    fn drop(&mut self) {
        (0..self.folders.len()).for_each(|server| self.end(server));
    }
}

impl Machines for Processes {
    fn memory(&self, server: usize, into: &Path) -> Result<(), Fault> {
        let (_, _, state) = self.parts(server)?;
        let state = state.lock().unwrap_or_else(PoisonError::into_inner);
        let State::Runs(process) = &*state else { return Err(failed("a memory", "the process does not run")) };
        copy_memory(process.id(), into).map_err(|e| failed("a memory", e))
    }

    fn turn(&self, server: usize, lie: Lie) -> Result<(), Fault> {
        self.end(server);
        let (address, folder, state) = self.parts(server)?;
        let identity = Identity::open(folder).map_err(|e| failed("a liar's identity", e))?;
        let liar = Arc::new(Liar { node: Node::open(folder)?, lie, turn: AtomicUsize::new(0) });
        let begun = Instant::now();
        let task = self.network.wait(async {
            // The port is free once the kernel says so.
            loop {
                match Daemon::bind(Arc::clone(&liar) as _, &identity, address).await {
                    Ok(daemon) => return Ok(tokio::spawn(daemon.run())),
                    Err(error) if begun.elapsed() > START_PATIENCE => return Err(failed("a liar's port", error)),
                    Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
                }
            }
        })?;
        *state.lock().unwrap_or_else(PoisonError::into_inner) = State::Lies(task);
        Ok(())
    }

    fn mend(&self, server: usize) -> Result<(), Fault> {
        self.end(server);
        // Its connections let go of the folder's lock when they notice.
        let begun = Instant::now();
        let (_, folder, _) = self.parts(server)?;
        while let Err(fault) = Node::open(folder).map(drop) {
            if begun.elapsed() > START_PATIENCE {
                return Err(fault);
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        self.start(server)
    }

    fn rampage(&self) -> Result<Vec<Tried>, Fault> {
        Rampage::begin(self)?.all()
    }

    fn show(&self, server: usize, request: &[u8]) -> Result<bool, Fault> {
        let request = ledger::AddCheckpoint::from_bytes(request).map_err(|e| failed("a forged head", e))?;
        let link = self.gateways_link(server)?;
        Ok(matches!(self.network.wait(holder::witness(&link, &request)), Witnessed::Cosigned(_)))
    }

    fn alarmed(&self, of: Noticed) -> Result<usize, Fault> {
        let code = match of {
            Noticed::Contradiction => wire::CONTRADICTION,
            Noticed::OverBudget => wire::OVER_BUDGET,
        };
        let mut alarmed = 0;
        for server in 0..self.folders.len() {
            let link = self.gateways_link(server)?;
            let status: Status = self
                .network
                .wait(link.ask(wire::STATUS, Vec::new(), PATIENCE))
                .map_err(|e| failed("a server's status", e))?;
            alarmed += usize::from(status.alarms.iter().any(|heard| heard.alarm.code == code));
        }
        Ok(alarmed)
    }

    fn stop(&self) {
        (0..self.folders.len()).for_each(|server| self.end(server));
    }
}

/// All that a process may write in its memory: its heap, its stacks, its buffers. (What it only executes or reads is in
/// its program's file.)
fn copy_memory(process: u32, into: &Path) -> std::io::Result<()> {
    let maps = fs::read_to_string(format!("/proc/{process}/maps"))?;
    let mut memory = File::open(format!("/proc/{process}/mem"))?;
    let mut out = std::io::BufWriter::new(File::create(into)?);
    for line in maps.lines() {
        let mut fields = line.split_whitespace();
        let (Some(range), Some(rights)) = (fields.next(), fields.next()) else { continue };
        let is_special = line.ends_with("[vvar]") || line.ends_with("[vsyscall]");
        if !rights.starts_with("rw") || is_special {
            continue;
        }
        let bounds = range
            .split_once('-')
            .and_then(|(from, to)| Some((u64::from_str_radix(from, 16).ok()?, u64::from_str_radix(to, 16).ok()?)));
        let Some((from, to)) = bounds else { continue };
        memory.seek(SeekFrom::Start(from))?;
        // Pages that were promised and never touched can't be read; they hold nothing.
        let _ = std::io::copy(&mut (&mut memory).take(to - from), &mut out);
    }
    out.flush()
}

/// A holder in the hands of somebody who wants what is read to be wrong.
struct Liar {
    node: Node,
    lie: Lie,
    turn: AtomicUsize,
}

impl Liar {
    fn lies_now(&self) -> Lie {
        match self.lie {
            Lie::Everything => match self.turn.fetch_add(1, Ordering::Relaxed) % 3 {
                0 => Lie::Garbage,
                1 => Lie::OldShard,
                _ => Lie::WrongShare,
            },
            one => one,
        }
    }

    /// Another object of this server, the first of the list.
    fn old(&self, peer: Peer) -> Option<Bytes> {
        let list = ListRequest { after: None, limit: 1 }.to_bytes().into();
        let lines = Listing::from_bytes(&self.node.call(peer, wire::LIST, list).ok()?).ok()?.lines;
        let name = lines.into_iter().next()?.0;
        let get = wire::GetRequest { name, range: None }.to_bytes().into();
        self.node.call(peer, wire::GET, get).ok()
    }
}

impl Serve for Liar {
    fn peer(&self, pin: Pin) -> Peer {
        self.node.peer(pin)
    }

    fn call(&self, peer: Peer, path: &str, body: Bytes) -> Result<Bytes, Refused> {
        let honest = self.node.call(peer, path, body)?;
        let random = |length: usize| {
            let mut bytes = vec![0; length];
            OsEntropy.fill(&mut bytes);
            Bytes::from(bytes)
        };
        let everything = self.lie == Lie::Everything;
        Ok(match (path, self.lies_now()) {
            (wire::GET, Lie::Garbage) => random(honest.len()),
            (wire::GET, Lie::OldShard) => self.old(peer).unwrap_or_else(|| random(honest.len())),
            (wire::GET, Lie::WrongShare) if everything => random(honest.len() / 2),
            (wire::OPEN, Lie::WrongShare) => random(honest.len()),
            (wire::OPEN, _) if everything => random(honest.len()),
            (wire::LIST | wire::STATS | wire::STATUS, Lie::Garbage) if everything => random(honest.len()),
            _ => honest,
        })
    }
}

/// What somebody does who has the gateway's folder, and the plan with the officer's key.
struct Rampage<'a> {
    machines: &'a Processes,
    links: Vec<Link>,
    members: Members,
}

impl<'a> Rampage<'a> {
    fn begin(machines: &'a Processes) -> Result<Self, Fault> {
        let identity = Identity::open(&machines.gateway).map_err(|e| failed("the gateway's identity", e))?;
        let config = Config::load(machines.gateway.parent().unwrap_or(&machines.gateway))?;
        let officer = config.officer_key().ok_or_else(|| failed("the officer", "none"))?;
        let officer = officer.map_err(|e| failed("the officer", e))?;
        let list = fs::read(machines.gateway.join(crate::fleet::MEMBERS)).map_err(|e| failed("the members", e))?;
        let members = Members::open(&list, &officer).map_err(|e| failed("the members", e))?;
        let link = |(address, member): (&SocketAddr, &wire::Member)| {
            Link::new(*address, &identity, Some(member.pin), Arc::new(SystemClock)).map_err(|e| failed("a link", e))
        };
        let links = machines.addresses.iter().zip(&members.servers).map(link).collect::<Result<_, _>>()?;
        Ok(Self { machines, links, members })
    }

    fn call(&self, link: &Link, path: &str, body: Vec<Bytes>) -> Result<Bytes, String> {
        let call = link.call(path, body, PATIENCE, wire::PUT_BYTES_MAX);
        self.machines.network.wait(call).map(Option::unwrap_or_default).map_err(|e| e.to_string())
    }

    fn names(&self, link: &Link) -> Result<Vec<(String, u64)>, Fault> {
        let body = ListRequest { after: None, limit: 4_096 }.to_bytes().into();
        let listed = self.call(link, wire::LIST, vec![body]).map_err(|e| failed("listing", e))?;
        Ok(Listing::from_bytes(&listed).map_err(|e| failed("listing", e))?.lines)
    }

    fn all(self) -> Result<Vec<Tried>, Fault> {
        Ok(vec![self.deletes(), self.overwrites()?, self.forges_lists(), self.forgets()])
    }

    /// Calls that other stores have.
    fn deletes(&self) -> Tried {
        let (mut times, mut done) = (0, 0);
        for link in &self.links {
            for path in ["/v1/shards/delete", "/v1/shards/truncate", "/v1/shards/purge", "/v1/keys/delete", "/v1/reset"]
            {
                times += 1;
                done += usize::from(self.call(link, path, Vec::new()).is_ok());
            }
        }
        Tried { what: "asked servers to delete", times, done }
    }

    /// Puts other bytes under names that are taken; done where they are other afterwards.
    fn overwrites(&self) -> Result<Tried, Fault> {
        let (mut times, mut done) = (0, 0);
        for link in &self.links {
            for (name, _) in self.names(link)?.into_iter().take(OVERWRITES) {
                let get = || {
                    let body = wire::GetRequest { name: name.clone(), range: None }.to_bytes().into();
                    self.call(link, wire::GET, vec![body])
                };
                let before = get();
                let parsed = vault::location::Name::new(name.as_str())?;
                let body = vec![wire::put_head(&parsed, 9).into(), Bytes::from_static(b"destroyed")];
                times += 1;
                let _ = self.call(link, wire::PUT, body);
                done += usize::from(get() != before);
            }
        }
        Ok(Tried { what: "put other bytes under names that are taken", times, done })
    }

    /// Lists of members that the officer did not sign, or that leave a server out.
    fn forges_lists(&self) -> Tried {
        let stranger = keys::Officer::from_seed(&[1; 32]);
        let list = Members { version: u64::MAX, gateways: Vec::new(), ..self.members.clone() };
        let Some(forged) = stranger.map(|officer| list.sign(&officer)) else {
            return Tried { what: "brought a forged list of members", times: 0, done: 0 };
        };
        let done =
            self.links.iter().filter(|link| self.call(link, wire::MEMBERS, vec![Bytes::from(forged.clone())]).is_ok());
        Tried { what: "brought a forged list of members", times: self.links.len(), done: done.count() }
    }

    /// Has the holders refuse the centre's own keys: nobody erases those.
    fn forgets(&self) -> Tried {
        let subjects = [*b"system vault key", *b"system index key", *b"system data key ", *b"system log seed "];
        let (mut times, mut done) = (0, 0);
        for link in &self.links {
            for subject in subjects {
                times += 1;
                let body = RefuseSubject { subject: Id16(subject) }.to_bytes().into();
                done += usize::from(self.call(link, wire::REFUSE, vec![body]).is_ok());
            }
        }
        Tried { what: "had the centre's own keys refused for ever", times, done }
    }
}

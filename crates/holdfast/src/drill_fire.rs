//! A centre under fire: holders and a gateway, each a process, behind the drill's seam; and what strikes them.
//!
//! As root, with `ip`, `unshare` and `nsenter`, the drill goes into a network of its own, and each server into another one on a
//! cable to a switch there: a cable can be pulled. The kernel takes all of it away with the last process. Elsewhere the
//! servers listen on loopback, and none is cut off.

use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use drill::system::{Door, Ground, GroundBuilder, Strike};
use drill::under_fire;
use holder::{Network, server_name};
use keys::NoPlugins;
use kit::{Blame, Fault};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tokio::signal::unix::{SignalKind, signal};

use crate::config::Config;
use crate::custodians::Custodians;
use crate::drill_machines::{free_addresses, lay_out, wait_for};
use crate::drill_system::{CUSTODIANS, CUSTODIANS_NEEDED, Place, short_seed, told};
use crate::plan::{self, Beside, OFFICER_FOLDER, OFFICER_KEY};

/// Tells the program that it runs within a network of its own.
const WITHIN: &str = "HOLDFAST_DRILL_NETWORK";
/// Charts an hour and a day, for everybody: the drill reads all that it keeps.
const CHARTS: u32 = 10_000_000;
const PORT: u16 = 7414;
/// How long a process may take to start, or to end in order.
const PATIENCE: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(20);
/// A night.
const MINUTES_MAX: f64 = 12.0 * 60.0;

fn failed(what: &str, why: impl std::fmt::Display) -> Fault {
    Fault::new(Blame::Configuration, "drill.fire", format!("{what}: {why}"))
}

fn lock<T>(held: &Mutex<T>) -> MutexGuard<'_, T> {
    held.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Servers and a gateway under fire.
#[derive(clap::Args)]
pub struct UnderFire {
    /// Chooses whom, how and for how long.
    #[arg(long)]
    seed: Option<u64>,
    /// How long servers are struck; parts of a minute are possible.
    #[arg(long, default_value_t = 2.0)]
    minutes: f64,
    /// The twin that must fail.
    #[arg(long)]
    must_fail: bool,
    #[command(flatten)]
    place: Place,
}

impl UnderFire {
    pub fn run(self) -> Result<u8, Fault> {
        if !(0.1..=MINUTES_MAX).contains(&self.minutes) {
            let text = format!("{} minutes, at least 0.1 and at most {MINUTES_MAX} are possible", self.minutes);
            return Err(Fault::new(Blame::Peer, "usage.minutes", text));
        }
        let networks = networks();
        let seed = self.seed.unwrap_or_else(short_seed);
        let options = under_fire::Options {
            seed,
            under_fire: Duration::from_secs_f64(60.0 * self.minutes),
            root: self.place.root(seed),
            keep: self.place.keep,
            twin: self.must_fail,
        };
        told(self.place.output, |watch| under_fire::run(&options, &Builder { networks }, watch))
    }
}

/// Whether this process is in a network of its own; it goes there where it may, and begins anew. Or why it may not.
fn networks() -> Result<(), String> {
    if std::env::var_os(WITHIN).is_some() {
        return Ok(());
    }
    if !fs::metadata("/proc/self").is_ok_and(|process| process.uid() == 0) {
        return Err("that takes root".to_owned());
    }
    for words in [["ip", "-V"], ["nsenter", "--version"]] {
        let [program, word] = words;
        run(Command::new(program).arg(word))?;
    }
    run(Command::new("unshare").args(["--net", "true"]))?;
    let program = std::env::current_exe().map_err(|e| e.to_string())?;
    let error =
        Command::new("unshare").arg("--net").arg(program).args(std::env::args_os().skip(1)).env(WITHIN, "1").exec();
    Err(error.to_string())
}

fn run(command: &mut Command) -> Result<(), String> {
    let what = format!("{command:?}");
    match command.output() {
        Ok(output) if output.status.success() => Ok(()),
        Ok(output) => Err(format!("{what}: {}", String::from_utf8_lossy(&output.stderr).trim())),
        Err(error) => Err(format!("{what}: {error}")),
    }
}

fn ip(words: &str) -> Result<(), String> {
    run(Command::new("ip").args(words.split(' ')))
}

/// A network for each server, on a cable of its own to one switch.
struct Cables(Vec<File>);

const SWITCH: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 1);

impl Cables {
    fn lay(servers: usize) -> Result<Self, String> {
        for words in ["link set lo up", "link add switch type bridge", "link set switch up"] {
            ip(words)?;
        }
        ip(&format!("addr add {SWITCH}/24 dev switch"))?;
        let mut cables = Self(Vec::new());
        for server in 0..servers {
            // Somebody has to be the first in a network; it stays as long as its file is open here.
            let mut first = Command::new("unshare");
            let mut first = first.args(["--net", "cat"]).stdin(Stdio::piped()).spawn().map_err(|e| e.to_string())?;
            let laid = cables.lay_one(server, first.id());
            let _ = first.kill();
            let _ = first.wait();
            laid?;
        }
        Ok(cables)
    }

    fn lay_one(&mut self, server: usize, first: u32) -> Result<(), String> {
        let (place, begun) = (format!("/proc/{first}/ns/net"), Instant::now());
        let own = fs::read_link("/proc/self/ns/net").map_err(|e| e.to_string())?;
        while fs::read_link(&place).map_err(|e| e.to_string())? == own {
            if begun.elapsed() > PATIENCE {
                return Err("no network of its own".to_owned());
            }
            thread::sleep(POLL);
        }
        self.0.push(File::open(&place).map_err(|e| e.to_string())?);
        ip(&format!("link add cable{server} type veth peer name wire netns {first}"))?;
        ip(&format!("link set cable{server} master switch up"))?;
        self.ip(server, &format!("addr add {}/24 dev wire", address(server).ip()))?;
        self.ip(server, "link set wire up")?;
        self.ip(server, "link set lo up")
    }

    /// Runs a program there.
    fn within(&self, server: usize) -> Command {
        let mut command = Command::new("nsenter");
        if let Some(network) = self.0.get(server) {
            command.arg(format!("--net=/proc/{}/fd/{}", std::process::id(), network.as_raw_fd()));
        }
        command
    }

    fn ip(&self, server: usize, words: &str) -> Result<(), String> {
        run(self.within(server).arg("ip").args(words.split(' ')))
    }

    /// Cuts a server off, or ends that.
    fn cut(&self, server: usize, how: Strike, off: bool) -> Result<(), String> {
        match (how, off) {
            (Strike::Mute, true) => {
                self.ip(server, &format!("neigh replace {SWITCH} lladdr 02:00:00:00:00:01 dev wire nud permanent"))
            }
            (Strike::Mute, false) => self.ip(server, &format!("neigh del {SWITCH} dev wire")),
            (_, true) => ip(&format!("link set cable{server} down")),
            (_, false) => ip(&format!("link set cable{server} up")),
        }
    }
}

fn address(server: usize) -> SocketAddr {
    let number = u8::try_from(11 + server).unwrap_or(u8::MAX);
    SocketAddr::from((Ipv4Addr::new(10, 77, 0, number), PORT))
}

struct Builder {
    networks: Result<(), String>,
}

impl GroundBuilder for Builder {
    fn found_ground(&self, site: &Path, servers: usize) -> Result<Box<dyn Ground>, Fault> {
        let cables = self.networks.clone().and_then(|()| Cables::lay(servers));
        let addresses = if cables.is_ok() { (0..servers).map(address).collect() } else { free_addresses(servers)? };
        let (plan, data) = (site.join("plan"), site.join("centre"));
        let folders = lay_out(
            &plan,
            &addresses,
            &Beside::default(),
            |_| Ok(()),
            |config| {
                for (_, budget) in config.budgets.charts() {
                    *budget = CHARTS;
                }
            },
        )?;
        // FHIR, operations, DIMSE: addresses that stay the same when the gateway starts again.
        let [fhir, operations, dimse] = free_addresses(3)?.try_into().map_err(|_| failed("a free port", "none"))?;
        let (asked, network) = (Arc::new(AtomicBool::new(false)), Network::start().map_err(|e| failed("signals", e))?);
        let flag = Arc::clone(&asked);
        network.spawn(async move {
            let (Ok(mut interrupt), Ok(mut terminate)) =
                (signal(SignalKind::interrupt()), signal(SignalKind::terminate()))
            else {
                return;
            };
            tokio::select! { _ = interrupt.recv() => {}, _ = terminate.recv() => {} }
            flag.store(true, Ordering::SeqCst);
        });
        let program = std::env::current_exe().map_err(|e| failed("this program", e))?;
        let mut centre = Processes {
            program,
            cables,
            servers: folders.into_iter().zip(addresses).map(Server::new).collect(),
            gateway: Mutex::default(),
            data: data.clone(),
            addresses: [fhir, operations, dimse],
            token: String::new(),
            fallen: Mutex::default(),
            asked,
            _network: network,
        };
        for server in 0..servers {
            let place = centre.server(server)?;
            *lock(&place.process) = Some(centre.start(server, place)?);
        }
        for (server, place) in centre.servers.iter().enumerate() {
            wait_for(server, place.address)?;
        }
        let (_, recipients): (Vec<_>, Vec<_>) = (0..CUSTODIANS).map(|_| keys::new_identity()).unzip();
        plan::found(&plan, &data, Custodians::establish(recipients, CUSTODIANS_NEEDED, &NoPlugins)?)?;
        // Each read asks the holders: a key that is remembered would hide what they say.
        let mut config = Config::load(&data)?;
        config.keys.cache_seconds = 0;
        config.save(&data)?;
        centre.start_gateway()?;
        centre.token = centre.new_token(&plan.join(OFFICER_FOLDER).join(OFFICER_KEY))?;
        Ok(Box::new(centre))
    }
}

struct Server {
    folder: PathBuf,
    address: SocketAddr,
    process: Mutex<Option<Child>>,
    struck: Mutex<Option<Strike>>,
}

impl Server {
    fn new((folder, address): (PathBuf, SocketAddr)) -> Self {
        Self { folder, address, process: Mutex::default(), struck: Mutex::default() }
    }
}

struct Processes {
    program: PathBuf,
    cables: Result<Cables, String>,
    servers: Vec<Server>,
    gateway: Mutex<Option<Child>>,
    data: PathBuf,
    /// Of FHIR, operations and DIMSE.
    addresses: [SocketAddr; 3],
    token: String,
    /// What ended by itself.
    fallen: Mutex<Vec<String>>,
    asked: Arc<AtomicBool>,
    /// Hears signals.
    _network: Network,
}

impl Processes {
    fn server(&self, server: usize) -> Result<&Server, Fault> {
        self.servers.get(server).ok_or_else(|| failed("servers", format!("there is no server {server}")))
    }

    fn start(&self, server: usize, place: &Server) -> Result<Child, Fault> {
        let mut command = match &self.cables {
            Ok(cables) => {
                let mut command = cables.within(server);
                command.arg(&self.program);
                command
            }
            Err(_) => Command::new(&self.program),
        };
        let log = File::options().create(true).append(true).open(place.folder.join("holder.log"));
        command
            .args(["holder", "run", "--dir"])
            .arg(&place.folder)
            .args(["--listen", &place.address.to_string()])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log.map_err(|e| failed("a holder's log", e))?)
            .spawn()
            .map_err(|e| failed("starting a holder", e))
    }

    fn new_token(&self, officer: &Path) -> Result<String, Fault> {
        let output = Command::new(&self.program)
            .args(["token", "new", "--role", "service", "--subject", "under-fire", "--json", "--officer-key"])
            .arg(officer)
            .arg("--data")
            .arg(&self.data)
            .output()
            .map_err(|e| failed("a token", e))?;
        let json: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
        let token = json.get("token").and_then(Value::as_str).map(str::to_owned);
        token.ok_or_else(|| failed("a token", String::from_utf8_lossy(&output.stderr).trim()))
    }

    fn ready_file(&self) -> PathBuf {
        self.data.with_extension("ready")
    }

    fn spawn_gateway(&self) -> Result<Child, Fault> {
        let _ = fs::remove_file(self.ready_file());
        let [fhir, operations, dimse] = self.addresses.map(|address| address.to_string());
        let log = File::options().create(true).append(true).open(self.data.with_extension("log"));
        Command::new(&self.program)
            .args(["serve", "--http", &fhir, "--operations", &operations, "--dimse", &dimse, "--data"])
            .arg(&self.data)
            .arg("--ready-file")
            .arg(self.ready_file())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log.map_err(|e| failed("the gateway's log", e))?)
            .spawn()
            .map_err(|e| failed("starting the gateway", e))
    }

    fn fell(&self, who: String, status: ExitStatus) {
        lock(&self.fallen).push(format!("{who} ended by itself: {status}"));
    }
}

fn send(process: &Child, signal: Signal) -> Result<(), Fault> {
    let id = i32::try_from(process.id()).ok().and_then(Pid::from_raw);
    let id = id.ok_or_else(|| failed("a signal", "no process"))?;
    kill_process(id, signal).map_err(|e| failed("a signal", e))
}

/// Killed, and gone.
fn end(process: &Mutex<Option<Child>>) {
    if let Some(mut process) = lock(process).take() {
        let _ = process.kill();
        let _ = process.wait();
    }
}

impl Drop for Processes {
    fn drop(&mut self) {
        end(&self.gateway);
        self.servers.iter().for_each(|server| end(&server.process));
    }
}

impl Ground for Processes {
    fn no_cuts(&self) -> Option<String> {
        self.cables.as_ref().err().cloned()
    }

    fn strike(&self, server: usize, how: Strike) -> Result<(), Fault> {
        let place = self.server(server)?;
        *lock(&place.struck) = Some(how);
        match (how, &self.cables, &*lock(&place.process)) {
            (Strike::Kill, ..) => {}
            (Strike::Pause, _, Some(process)) => return send(process, Signal::STOP),
            (Strike::Unplug | Strike::Mute, Ok(cables), _) => {
                return cables.cut(server, how, true).map_err(|e| failed("cutting a server off", e));
            }
            (Strike::Unplug | Strike::Mute, Err(why), _) => return Err(failed("cutting a server off", why)),
            (Strike::Pause, _, None) => return Err(failed("pausing a server", "it does not run")),
        }
        end(&place.process);
        Ok(())
    }

    fn mend(&self, server: usize) -> Result<(), Fault> {
        let place = self.server(server)?;
        let how = lock(&place.struck).take();
        let mut process = lock(&place.process);
        match (how, &self.cables, &*process) {
            (Some(Strike::Pause), _, Some(process)) => send(process, Signal::CONT),
            (Some(how @ (Strike::Unplug | Strike::Mute)), Ok(cables), _) => {
                cables.cut(server, how, false).map_err(|e| failed("plugging a server in", e))
            }
            (_, _, None) => {
                *process = Some(self.start(server, place)?);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn kill_gateway(&self) {
        end(&self.gateway);
    }

    fn gateway_runs(&self) -> bool {
        let mut running = lock(&self.gateway);
        if let Some(Ok(Some(status))) = running.as_mut().map(Child::try_wait) {
            self.fell("the gateway".to_owned(), status);
            *running = None;
        }
        running.is_some()
    }

    fn start_gateway(&self) -> Result<(), Fault> {
        {
            let mut running = lock(&self.gateway);
            if running.is_none() {
                *running = Some(self.spawn_gateway()?);
            }
        }
        let begun = Instant::now();
        while !self.ready_file().exists() {
            thread::sleep(POLL);
            let mut running = lock(&self.gateway);
            match running.as_mut().map(Child::try_wait) {
                Some(Ok(None)) if begun.elapsed() < PATIENCE => {}
                Some(Ok(None) | Err(_)) => {
                    drop(running);
                    end(&self.gateway);
                    return Err(failed("the gateway", format!("it is not ready after {} s", PATIENCE.as_secs())));
                }
                Some(Ok(Some(status))) => {
                    *running = None;
                    return Err(failed("the gateway", format!("it did not start: {status}")));
                }
                None => return Err(failed("the gateway", "it was killed")),
            }
        }
        Ok(())
    }

    fn door(&self) -> Door<'_> {
        let [fhir, operations, _] = self.addresses;
        Door { fhir, operations, token: &self.token }
    }

    fn verify(&self) -> Result<(), String> {
        if let Some(process) = lock(&self.gateway).as_mut() {
            send(process, Signal::TERM).map_err(|fault| fault.message)?;
            let begun = Instant::now();
            while !matches!(process.try_wait(), Ok(Some(_))) {
                if begun.elapsed() > PATIENCE {
                    return Err("the gateway does not end when it is asked to".to_owned());
                }
                thread::sleep(POLL);
            }
        }
        end(&self.gateway);
        let output = Command::new(&self.program).args(["verify", "--data"]).arg(&self.data).output();
        let output = output.map_err(|e| e.to_string())?;
        let said = [output.stdout, output.stderr].concat();
        let said = String::from_utf8_lossy(&said).trim().replace('\n', "; ");
        if output.status.success() { Ok(()) } else { Err(format!("verify: {}: {said}", output.status)) }
    }

    fn fallen(&self) -> Vec<String> {
        for (number, server) in (1..).zip(&self.servers) {
            if let Some(Ok(Some(status))) = lock(&server.process).as_mut().map(Child::try_wait) {
                self.fell(server_name(number), status);
            }
        }
        lock(&self.fallen).clone()
    }

    fn stopped(&self) -> bool {
        self.asked.load(Ordering::SeqCst)
    }
}

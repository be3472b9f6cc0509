//! A Tahoe-LAFS grid on loopback: introducer, fourteen storage nodes, one client that serves as gateway.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::Store;
use crate::shell::{self, Guarded};

const VERSION: &str = "1.20.0";
const STORAGE_NODES: usize = 14;

/// Sixteen Python processes on two cores take their time to start.
const START_PATIENCE: Duration = Duration::from_secs(180);
const ANSWER_PATIENCE: Duration = Duration::from_secs(300);

/// What Tahoe-LAFS's client speaks with its storage nodes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Protocol {
    /// As it comes: HTTP over TLS.
    Http,
    /// The older one.
    Foolscap,
}

impl Protocol {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Http => "HTTP",
            Self::Foolscap => "Foolscap",
        }
    }
}

/// On a busy machine a storage node is now and then taken for lost, and an upload to all fourteen refused.
const ATTEMPTS: usize = 6;

/// Tahoe-LAFS answers a failure with a page of HTML and its call stack; the reason stands at the beginning.
const REASON_CHARS: usize = 400;

pub(super) struct Grid {
    gateway: String,
    seed: u64,
    /// Ended, client first, when the grid is dropped. They also end themselves when their standard input closes,
    /// which is held open by us: not even a killed benchmark leaves them behind.
    nodes: Vec<Guarded>,
}

impl Grid {
    /// Installs Tahoe-LAFS below `kept` unless it is there, and starts a grid in `dir`.
    pub(super) fn start(kept: &Path, dir: &Path, protocol: Protocol) -> Result<Self> {
        let tahoe = install(kept)?;
        fs::create_dir_all(dir)?;
        let mut ports = free_ports(STORAGE_NODES + 2)?.into_iter();
        let mut port = || ports.next().context("a port for each node");

        eprintln!("starting {} Tahoe-LAFS nodes", STORAGE_NODES + 2);
        let mut nodes = Vec::new();
        let introducer = dir.join("introducer");
        create(&tahoe, "create-introducer", &introducer, &listening(port()?))?;
        nodes.push(start(&tahoe, &introducer)?);
        let address = introducer.join("private/introducer.furl");
        wait("the introducer", || Ok(address.exists()))?;
        let furl = fs::read_to_string(&address)?.trim().to_owned();
        let coding = ["--shares-needed=3", "--shares-happy=14", "--shares-total=14"].map(str::to_owned);

        let mut waiting = Vec::new();
        for number in 1..=STORAGE_NODES {
            let node = dir.join(format!("storage-{number:02}"));
            let mut options = listening(port()?);
            options.extend([format!("--introducer={furl}"), "--webport=none".to_owned()]);
            create(&tahoe, "create-node", &node, &options)?;
            waiting.push(node);
        }
        let client = dir.join("client");
        let web = port()?;
        let gateway = format!("127.0.0.1:{web}");
        let mut options = vec![format!("--introducer={furl}"), format!("--webport=tcp:{web}:interface=127.0.0.1")];
        options.extend(coding);
        create(&tahoe, "create-client", &client, &options)?;
        if protocol == Protocol::Foolscap {
            let path = client.join("tahoe.cfg");
            let config = fs::read_to_string(&path)?;
            fs::write(&path, config.replace("[client]\n", "[client]\nforce_foolscap = true\n"))?;
        }
        waiting.push(client);
        for node in &waiting {
            nodes.push(start(&tahoe, node)?);
        }
        nodes.reverse();
        let grid = Self { gateway, seed: 0, nodes };
        wait("a grid of fourteen", || Ok(grid.connected().is_ok_and(|servers| servers == STORAGE_NODES)))?;
        // The first upload finds connections still being made; it is refused until there are fourteen.
        let first = || Connection::open(&grid.gateway)?.request("PUT", "/uri", &noise(0, super::SMALL_BYTES));
        wait("a first upload", || Ok(first().is_ok()))?;
        Ok(grid)
    }

    /// Storage nodes that the client is connected with.
    fn connected(&self) -> Result<usize> {
        let welcome = Connection::open(&self.gateway)?.request("GET", "/?t=json", b"")?;
        let welcome: Value = serde_json::from_slice(&welcome)?;
        let servers = welcome.get("servers").and_then(Value::as_array).context("the welcome page lists no servers")?;
        let status = |server: &&Value| server.get("connection_status").and_then(Value::as_str).map(str::to_owned);
        Ok(servers
            .iter()
            .filter(|server| status(server).is_some_and(|text| text.to_lowercase().starts_with("connected")))
            .count())
    }

    fn objects(&mut self, bytes: usize, count: usize) -> Vec<Vec<u8>> {
        let mut next = || {
            self.seed += 1;
            noise(self.seed, bytes)
        };
        (0..count).map(|_| next()).collect()
    }
}

impl Store for Grid {
    fn pause(&self, paused: bool) -> Result<()> {
        Guarded::pause(&self.nodes, paused)?;
        // Its client looks after its connections once it goes on.
        match paused {
            true => Ok(()),
            false => wait("a grid of fourteen", || Ok(self.connected().is_ok_and(|servers| servers == STORAGE_NODES))),
        }
    }

    fn large(&mut self, bytes: usize) -> Result<(f64, f64)> {
        self.small(bytes, 1, 1)
    }

    fn small(&mut self, bytes: usize, records: usize, writers: usize) -> Result<(f64, f64)> {
        let mut failure = None;
        // Only the attempt that succeeds is counted.
        for _ in 0..ATTEMPTS {
            let objects = self.objects(bytes, records);
            match attempt(&self.gateway, &objects, writers) {
                Ok(seconds) => return Ok(seconds),
                Err(error) => failure = Some(error),
            }
            wait("a grid of fourteen", || Ok(self.connected().is_ok_and(|servers| servers == STORAGE_NODES)))?;
        }
        let failure = failure.unwrap_or_else(|| anyhow::anyhow!("no attempt"));
        Err(failure.context("Tahoe-LAFS lost its nodes again and again: quieten the machine, or try --foolscap"))
    }
}

fn attempt(gateway: &str, objects: &[Vec<u8>], writers: usize) -> Result<(f64, f64)> {
    let (keep, caps) = spread(gateway, objects, writers, |connection, object| {
        let cap = String::from_utf8(connection.request("PUT", "/uri", object)?)?;
        if cap.starts_with("URI:CHK:") { Ok(cap) } else { bail!("no capability of an immutable file: {cap}") }
    })?;
    let (fetch, fetched) = spread(gateway, &caps, writers, |connection, cap| {
        connection.request("GET", &format!("/uri/{}", cap.replace(':', "%3A")), b"")
    })?;
    if fetched != objects {
        bail!("Tahoe-LAFS gave back other bytes than it was given");
    }
    Ok((keep, fetch))
}

/// Does `work` over `items` from `threads` connections; the seconds it took, and the results in order.
fn spread<I: Sync, O: Send>(
    gateway: &str,
    items: &[I],
    threads: usize,
    work: impl Fn(&mut Connection, &I) -> Result<O> + Sync,
) -> Result<(f64, Vec<O>)> {
    let waiting = Mutex::new(items.iter().enumerate());
    let start = Instant::now();
    let done: Result<Vec<Vec<(usize, O)>>> = thread::scope(|scope| {
        let threads: Vec<_> = (0..threads)
            .map(|_| {
                scope.spawn(|| {
                    let mut connection = Connection::open(gateway)?;
                    let mut done = Vec::new();
                    loop {
                        let next = waiting.lock().map_err(|_| anyhow::anyhow!("a writer panicked"))?.next();
                        let Some((number, item)) = next else { return Ok(done) };
                        done.push((number, work(&mut connection, item)?));
                    }
                })
            })
            .collect();
        let join = |thread: thread::ScopedJoinHandle<'_, Result<_>>| {
            thread.join().unwrap_or_else(|_| bail!("a writer panicked"))
        };
        threads.into_iter().map(join).collect()
    });
    let seconds = start.elapsed().as_secs_f64();
    let mut done: Vec<(usize, O)> = done?.into_iter().flatten().collect();
    done.sort_by_key(|(number, _)| *number);
    Ok((seconds, done.into_iter().map(|(_, result)| result).collect()))
}

/// HTTP/1.1 over one connection, as far as Tahoe-LAFS needs it: answers of known length, or in chunks.
struct Connection {
    host: String,
    stream: BufReader<TcpStream>,
}

impl Connection {
    fn open(host: &str) -> Result<Self> {
        let stream = TcpStream::connect(host).with_context(|| format!("connecting to {host}"))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(ANSWER_PATIENCE))?;
        stream.set_write_timeout(Some(ANSWER_PATIENCE))?;
        Ok(Self { host: host.to_owned(), stream: BufReader::with_capacity(256 * 1024, stream) })
    }

    fn request(&mut self, method: &str, path: &str, body: &[u8]) -> Result<Vec<u8>> {
        let length = body.len();
        let head = format!("{method} {path} HTTP/1.1\r\nHost: {}\r\nContent-Length: {length}\r\n\r\n", self.host);
        let stream = self.stream.get_mut();
        stream.write_all(head.as_bytes())?;
        stream.write_all(body)?;
        let line = self.line()?;
        let status = line.split(' ').nth(1).unwrap_or_default().to_owned();
        let mut length = None;
        loop {
            let line = self.line()?;
            let Some((name, value)) = line.split_once(':') else { break };
            if name.eq_ignore_ascii_case("content-length") {
                length = Some(value.trim().parse()?);
            }
        }
        let mut answer = Vec::new();
        if let Some(length) = length {
            self.read(length, &mut answer)?;
        } else {
            loop {
                let chunk = usize::from_str_radix(&self.line()?, 16).context("the length of a chunk")?;
                self.read(chunk, &mut answer)?;
                self.line()?;
                if chunk == 0 {
                    break;
                }
            }
        }
        if !status.starts_with('2') {
            let page = String::from_utf8_lossy(&answer);
            let reason = page.split("<div class=\"error\">").nth(1).unwrap_or(&page);
            bail!("{method} {path}: {status}: {}", reason.trim().chars().take(REASON_CHARS).collect::<String>());
        }
        Ok(answer)
    }

    fn line(&mut self) -> Result<String> {
        let mut line = String::new();
        if self.stream.read_line(&mut line)? == 0 {
            bail!("Tahoe-LAFS hung up");
        }
        Ok(line.trim_end().to_owned())
    }

    fn read(&mut self, bytes: usize, into: &mut Vec<u8>) -> Result<()> {
        let start = into.len();
        into.resize(start + bytes, 0);
        self.stream.read_exact(into.get_mut(start..).unwrap_or_default()).context("reading an answer")
    }
}

fn install(kept: &Path) -> Result<PathBuf> {
    let (venv, wanted) = (kept.join("venv"), format!("tahoe-lafs=={VERSION}"));
    let (tahoe, stamp) = (venv.join("bin/tahoe"), venv.join("installed.txt"));
    if fs::read_to_string(&stamp).is_ok_and(|have| have == wanted) {
        return Ok(tahoe);
    }
    fs::create_dir_all(kept)?;
    eprintln!("installing {wanted}");
    let made = shell::capture(shell::command("python3").args(["-m", "venv", "--clear"]).arg(&venv));
    made.context("Tahoe-LAFS needs python3 with venv: on Debian, apt-get install python3-venv")?;
    let python = venv.join("bin/python");
    shell::capture(shell::command(python).args([
        "-m",
        "pip",
        "install",
        "-q",
        "--disable-pip-version-check",
        &wanted,
    ]))?;
    fs::write(&stamp, wanted)?;
    Ok(tahoe)
}

/// Ports that are free now, below those that Linux gives to outgoing connections, of which the nodes make hundreds
/// before the last of them listens.
fn free_ports(count: usize) -> Result<Vec<u16>> {
    let first = 20_000 + u16::try_from(std::process::id() % 10_000)?;
    let free = (first..32_768).filter(|port| TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).is_ok());
    let ports: Vec<u16> = free.take(count).collect();
    if ports.len() == count { Ok(ports) } else { bail!("only {} of {count} ports are free", ports.len()) }
}

fn listening(port: u16) -> Vec<String> {
    vec![
        "--listen=tcp".to_owned(),
        format!("--port=tcp:{port}:interface=127.0.0.1"),
        format!("--location=tcp:127.0.0.1:{port}"),
    ]
}

fn create(tahoe: &Path, what: &str, node: &Path, options: &[String]) -> Result<()> {
    shell::capture(shell::command(tahoe).arg(what).args(options).arg(node)).map(drop)
}

fn start(tahoe: &Path, node: &Path) -> Result<Guarded> {
    let log = fs::File::create(node.join("output.log"))?;
    let mut command = shell::command(tahoe);
    command.arg("run").arg(node).stdin(Stdio::piped()).stdout(log.try_clone()?).stderr(log);
    command.spawn().map(Guarded).with_context(|| format!("starting {}", node.display()))
}

fn wait(what: &str, ready: impl Fn() -> Result<bool>) -> Result<()> {
    let start = Instant::now();
    while !ready()? {
        if start.elapsed() > START_PATIENCE {
            bail!("{what} did not come up within {} s", START_PATIENCE.as_secs());
        }
        thread::sleep(Duration::from_millis(200));
    }
    Ok(())
}

/// Bytes that no compressor shortens, the same for the same seed (SplitMix64; Steele, Lea and Flood, OOPSLA 2014).
fn noise(seed: u64, bytes: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mut next = || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)).to_le_bytes()
    };
    let mut noise: Vec<u8> = (0..bytes.div_ceil(8)).flat_map(|_| next()).collect();
    noise.truncate(bytes);
    noise
}

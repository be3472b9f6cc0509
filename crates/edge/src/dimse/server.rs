//! The listener: a thread for each connection, bounded, and a stop that lets objects under way finish.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use kit::Explain;
use tokio::sync::Semaphore;

use super::error::DimseError;
use super::{Settings, Store, association, message};

/// Connections that were told why they end, and have a second to hear it; with those and a crowd of silent ones, the
/// threads are bounded. Past that, a connection is closed unheard.
const LEAVING_MAX: usize = 64;
/// When `accept` fails (no file descriptor left, most likely): don't spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// After `stop_timeout`, sockets are shut; their threads see it at once, unless they are storing.
const SHUT_TIMEOUT: Duration = Duration::from_secs(5);

/// What every connection's thread needs.
pub(super) struct Shared {
    pub(super) settings: Settings,
    pub(super) store: Arc<dyn Store>,
    pub(super) budget: Arc<Semaphore>,
    pub(super) stopping: AtomicBool,
    connections: Mutex<Connections>,
    ended: Condvar,
}

/// Open connections, by number in the order in which they came.
#[derive(Default)]
struct Connections {
    next: u64,
    open: BTreeMap<u64, Connection>,
}

struct Connection {
    socket: TcpStream,
    standing: Standing,
    /// None where the system doesn't say; such are one peer.
    peer: Option<IpAddr>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Standing {
    /// Has not asked for an association, or not got one.
    Silent,
    Associated,
    /// Was shut to make room.
    Shut,
}

/// A connection's place in the table, until it ends; however it ends.
pub(super) struct Slot<'a> {
    shared: &'a Shared,
    number: u64,
}

impl Slot<'_> {
    /// Takes one of the associations; false where all are taken.
    pub(super) fn open(&mut self) -> bool {
        let mut connections = self.shared.lock();
        let settings = &self.shared.settings;
        let Some(peer) = connections.open.get(&self.number).map(|connection| connection.peer) else { return false };
        let associated = || connections.open.values().filter(|c| c.standing == Standing::Associated);
        // No machine takes the places of all others.
        let of_the_peer = associated().filter(|connection| connection.peer == peer).count();
        if associated().count() >= settings.associations_max || of_the_peer >= settings.peer_associations_max {
            return false;
        }
        match connections.open.get_mut(&self.number) {
            Some(connection) if connection.standing == Standing::Silent => {
                connection.standing = Standing::Associated;
                true
            }
            _ => false,
        }
    }
}

impl Drop for Slot<'_> {
    fn drop(&mut self) {
        self.shared.lock().open.remove(&self.number);
        self.shared.ended.notify_all();
    }
}

impl Connections {
    fn count(&self, standing: Standing) -> usize {
        self.open.values().filter(|connection| connection.standing == standing).count()
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Connections> {
        self.connections.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Enters a connection into the table. Where too many have said nothing yet, the oldest of them goes.
    fn enter(&self, stream: &TcpStream) -> Option<u64> {
        let socket = stream.try_clone().ok()?;
        let peer = stream.peer_addr().ok().map(|address| address.ip());
        let mut connections = self.lock();
        if connections.count(Standing::Silent) >= self.settings.silent_max
            && let Some(oldest) = connections.open.values_mut().find(|c| c.standing == Standing::Silent)
        {
            // Its thread sees the end of the stream, and leaves.
            let _ = oldest.socket.shutdown(Shutdown::Both);
            oldest.standing = Standing::Shut;
        }
        let maximum = self.settings.associations_max + self.settings.silent_max + LEAVING_MAX;
        if connections.open.len() >= maximum {
            return None;
        }
        let number = connections.next;
        connections.next += 1;
        connections.open.insert(number, Connection { socket, standing: Standing::Silent, peer });
        Some(number)
    }

    /// Whether everybody is gone within this time.
    fn empty_within(&self, limit: Duration) -> bool {
        let busy = |connections: &mut Connections| !connections.open.is_empty();
        let waited = self.ended.wait_timeout_while(self.lock(), limit, busy);
        !waited.unwrap_or_else(PoisonError::into_inner).1.timed_out()
    }
}

/// A running SCP. Dropping it closes the port; [`Server::stop`] also waits for what is under way.
pub struct Server {
    address: SocketAddr,
    shared: Arc<Shared>,
    accepting: Option<JoinHandle<()>>,
}

impl Server {
    /// Listens on `address`; port 0 takes any free one.
    pub fn start(address: SocketAddr, settings: Settings, store: Arc<dyn Store>) -> Result<Self, DimseError> {
        let io = |source| DimseError::Io { place: "opening the DICOM port", source };
        let listener = TcpListener::bind(address).map_err(io)?;
        let address = listener.local_addr().map_err(io)?;
        let shared = Arc::new(Shared {
            budget: message::budget(settings.bytes_in_flight_max),
            settings,
            store,
            stopping: AtomicBool::new(false),
            connections: Mutex::default(),
            ended: Condvar::new(),
        });
        let theirs = Arc::clone(&shared);
        let accepting =
            std::thread::Builder::new().name("dimse-accept".into()).spawn(move || accept(&listener, &theirs));
        Ok(Self { address, shared, accepting: Some(accepting.map_err(io)?) })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Associations that are open now.
    pub fn associations(&self) -> usize {
        self.shared.lock().count(Standing::Associated)
    }

    /// Closes the port, ends associations that are idle, lets objects under way finish, and cuts off what takes longer
    /// than the settings allow.
    pub fn stop(mut self) {
        self.close_port();
        if self.shared.empty_within(self.shared.settings.stop_timeout) {
            return;
        }
        for connection in self.shared.lock().open.values() {
            let _ = connection.socket.shutdown(Shutdown::Both);
        }
        if !self.shared.empty_within(SHUT_TIMEOUT) {
            tracing::warn!("a DICOM object is still being stored while the server stops");
        }
    }

    fn close_port(&mut self) {
        self.shared.stopping.store(true, Ordering::SeqCst);
        // `accept` wakes only for a connection, so here is one.
        let host = match self.address.ip() {
            IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
            IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
            ip => ip,
        };
        let woken = TcpStream::connect_timeout(&SocketAddr::new(host, self.address.port()), SHUT_TIMEOUT);
        if let Some(thread) = self.accepting.take()
            && woken.is_ok()
        {
            let _ = thread.join();
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if self.accepting.is_some() {
            self.close_port();
        }
    }
}

fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    loop {
        let accepted = listener.accept();
        if shared.stopping.load(Ordering::SeqCst) {
            return;
        }
        let Ok((stream, address)) = accepted else {
            std::thread::sleep(ACCEPT_PAUSE);
            continue;
        };
        let Some(number) = shared.enter(&stream) else {
            tracing::warn!(code = "dimse.too-many-connections", "a DICOM connection was closed unheard");
            continue;
        };
        let theirs = Arc::clone(shared);
        let spawned = std::thread::Builder::new()
            .name("dimse".into())
            .spawn(move || connection(stream, address.ip().to_canonical(), &theirs, number));
        if let Err(error) = spawned {
            tracing::error!(%error, "no thread for a DICOM connection");
            drop(Slot { shared, number });
        }
    }
}

/// One connection's thread. Should the rooms below panic, it ends here: this association is lost, and no other.
fn connection(stream: TcpStream, address: IpAddr, shared: &Shared, number: u64) {
    let mut slot = Slot { shared, number };
    let began = Instant::now();
    let ended = association::serve(stream, address, shared, &mut slot);
    let seconds = began.elapsed().as_secs_f64();
    let end = match &ended {
        Ok(_) => "dimse.released",
        Err(error) => error.code(),
    };
    metrics::counter!("holdfast_dimse_associations_total", "end" => end).increment(1);
    match ended {
        Ok(stored) => tracing::info!(%address, stored, seconds, "DICOM association released"),
        // A port scan, a balancer's probe: worth a line, not an alarm.
        Err(error) => tracing::info!(%address, end, seconds, %error, "DICOM association ended"),
    }
}

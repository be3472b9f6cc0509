//! The account, sent to the hospital's SIEM: DICOM audit messages by syslog over TLS (RFC 5425).
//!
//! Syslog answers nothing: what was written may sit in a buffer of a SIEM that has just lost power. So a line counts as sent only
//! when the connection has lived on for some seconds after it (with data unacknowledged for longer, the system ends it); until
//! then the place in the ledger that a next connection begins at stays before it. A SIEM may get a line twice, each with its entry's
//! number, and never loses one. Nobody waits for it: it is read behind the ledger, on a thread of its own, a page at a time.

use std::collections::VecDeque;
use std::fs;
use std::io::{self, Read as _, Write as _};
use std::net::{TcpStream, ToSocketAddrs as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use edge::account::{message, syslog};
use kit::{Blame, Fault};
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, ClientConnection, RootCertStore};

use crate::centre::Centre;
use crate::config::Audit;

/// In the gateway's folder: the entry that the next connection begins with, in decimal.
const FILE_NAME: &str = "siem.next";
/// Lines that are held at once; each is some kilobytes.
const PAGE_LINES: usize = 200;
/// How often the ledger is looked at for more.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// For a connection, its handshake, and each write.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long a connection must live on for what it took to count as sent: longer than data may stay unacknowledged.
const SETTLED_AFTER: Duration = Duration::from_secs(20);
const UNACKNOWLEDGED_MAX: Duration = Duration::from_secs(15);
/// Between two tries.
const BACK_OFF: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));
/// For a look whether the other end is still there.
const GLANCE: Duration = Duration::from_millis(5);
/// What a SIEM may say unasked, of which nothing is wanted: more in one look, and it is no syslog receiver.
const CHATTER_BYTES_MAX: usize = 64 * 1024;
/// Roots of one file: a hospital has a handful.
const CERTIFICATES_MAX: usize = 100;

/// How far it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Where it is sent to; none: nowhere.
    pub to: Option<String>,
    /// The entry that is sent next.
    pub next: u64,
    /// Why there is no connection.
    pub trouble: Option<String>,
    pub is_connected: bool,
}

/// What others look at.
#[derive(Clone, Default)]
pub struct Seen(Arc<Mutex<Progress>>);

impl Seen {
    pub fn progress(&self) -> Progress {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set(&self, change: impl FnOnce(&mut Progress)) {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

/// Starts to send, where the configuration says where to. Ends with the process.
pub fn start(centre: &Arc<Centre>, data: &Path) -> Result<(), Fault> {
    let wrong = |why: String| Fault::new(Blame::Configuration, "config.audit", why);
    let audit = &centre.config().audit;
    let Some(address) = audit.address() else { return Ok(()) };
    let (host, port) = address.map_err(wrong)?;
    let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
    let name = ServerName::try_from(host.clone()).map_err(|e| wrong(format!("audit.syslog: {host}: {e}")))?;
    let tls = Arc::new(tls(audit, data).map_err(wrong)?);
    let file = centre.gateway().join(FILE_NAME);
    // A ledger that was set back has fewer than were sent of it once.
    let next = begin(&file)?.min(centre.chart().vault().size());
    let seen = centre.siem().clone();
    seen.set(|progress| *progress = Progress { to: audit.syslog.clone(), next, ..Progress::default() });
    let sender = Sender { centre: Arc::clone(centre), host, port, name, tls, file, settled: next, seen };
    let spawned = thread::Builder::new().name("siem".into()).spawn(move || sender.forever());
    spawned.map(drop).map_err(|error| Fault::new(Blame::Ours, "siem.thread", error.to_string()))
}

/// The numbers for /metrics.
pub fn gauge(centre: &Centre) {
    let progress = centre.siem().progress();
    if progress.to.is_some() {
        let behind = centre.chart().vault().size().saturating_sub(progress.next);
        // Counts of a centre are far below 2^52, where a f64 becomes inexact.
        metrics::gauge!("holdfast_siem_behind").set(behind as f64);
        metrics::gauge!("holdfast_siem_connected").set(f64::from(u8::from(progress.is_connected)));
    }
}

/// Where an earlier process was; at the ledger's beginning where there was none.
fn begin(file: &Path) -> Result<u64, Fault> {
    match fs::read_to_string(file) {
        Ok(text) => text.trim().parse().map_err(|_| {
            let text = format!("{} holds no number of an entry", file.display());
            Fault::new(Blame::Configuration, "siem.next", text)
                .guidance("remove it: all of the account is sent again, and the SIEM knows it by the entries' numbers")
        }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(0),
        Err(error) => Err(Fault::new(Blame::Configuration, "siem.next", format!("{}: {error}", file.display()))),
    }
}

fn tls(audit: &Audit, data: &Path) -> Result<ClientConfig, String> {
    let pem = |file: &PathBuf| -> Result<Vec<CertificateDer<'static>>, String> {
        let wrong = |e: &dyn std::fmt::Display| format!("audit: {}: {e}", file.display());
        let found = CertificateDer::pem_file_iter(data.join(file)).map_err(|e| wrong(&e))?;
        let found: Vec<_> = found.take(CERTIFICATES_MAX).collect::<Result<_, _>>().map_err(|e| wrong(&e))?;
        if found.is_empty() { Err(wrong(&"no certificate is in it")) } else { Ok(found) }
    };
    let mut roots = RootCertStore::empty();
    for certificate in audit.ca.iter().map(pem).collect::<Result<Vec<_>, _>>()?.into_iter().flatten() {
        roots.add(certificate).map_err(|e| format!("audit.ca: {e}"))?;
    }
    let builder = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|e| e.to_string())?
        .with_root_certificates(roots);
    match (&audit.certificate, &audit.key) {
        (Some(certificate), Some(key)) => {
            let private = PrivateKeyDer::from_pem_file(data.join(key))
                .map_err(|e| format!("audit.key: {}: {e}", key.display()))?;
            builder.with_client_auth_cert(pem(certificate)?, private).map_err(|e| format!("audit.certificate: {e}"))
        }
        _ => Ok(builder.with_no_client_auth()),
    }
}

struct Sender {
    centre: Arc<Centre>,
    host: String,
    port: u16,
    name: ServerName<'static>,
    tls: Arc<ClientConfig>,
    file: PathBuf,
    /// Everything before it is sent, and the connection lived on.
    settled: u64,
    seen: Seen,
}

impl Sender {
    fn forever(mut self) {
        let mut wait = BACK_OFF.0;
        loop {
            let begun = Instant::now();
            let why = match self.connect() {
                Ok(line) => {
                    self.seen.set(|progress| (progress.is_connected, progress.trouble) = (true, None));
                    self.send_over(line)
                }
                Err(why) => why,
            };
            tracing::warn!(host = %self.host, port = self.port, error = %why, "the SIEM doesn't take the account");
            let next = self.settled;
            self.seen.set(|progress| {
                (progress.is_connected, progress.trouble, progress.next) = (false, Some(why.to_string()), next);
            });
            // A line that held is tried again sooner than one that never did.
            wait = if begun.elapsed() > SETTLED_AFTER { BACK_OFF.0 } else { wait };
            thread::sleep(wait);
            wait = (wait * 2).min(BACK_OFF.1);
        }
    }

    fn connect(&self) -> io::Result<Line> {
        let mut last = io::Error::new(io::ErrorKind::NotFound, "its name has no address");
        for address in (self.host.as_str(), self.port).to_socket_addrs()? {
            match TcpStream::connect_timeout(&address, PATIENCE) {
                Ok(socket) => {
                    return Line::open(socket, ClientConnection::new(Arc::clone(&self.tls), self.name.clone()));
                }
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    /// Until it breaks.
    fn send_over(&mut self, mut line: Line) -> io::Error {
        let host = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        let chart = Arc::clone(self.centre.chart());
        let (centre, mut next) = (chart.centre(), self.settled);
        // What was written, and when.
        let mut unsettled: VecDeque<(u64, Instant)> = VecDeque::new();
        loop {
            let page = match chart.account(next, PAGE_LINES) {
                Ok(page) => page,
                Err(error) => return io::Error::other(error.fault().code),
            };
            for account in &page.rows {
                let text = message::audit_message(&centre, account);
                let frame = syslog::frame(&host, account.at(), syslog::severity(account), &text);
                if let Err(error) = line.write(&frame) {
                    return error;
                }
            }
            if let Err(error) = line.flush().and_then(|()| line.glance()) {
                return error;
            }
            let now = Instant::now();
            if page.next > next {
                next = page.next;
                unsettled.push_back((next, now));
                self.seen.set(|progress| progress.next = next);
            }
            let mut settled = None;
            while let Some((entry, _)) = unsettled.front().filter(|(_, at)| now.duration_since(*at) >= SETTLED_AFTER) {
                settled = Some(*entry);
                unsettled.pop_front();
            }
            if let Some(settled) = settled
                && let Err(error) = self.settle(settled)
            {
                return error;
            }
            if page.is_last {
                thread::sleep(LOOK_EVERY);
            }
        }
    }

    /// Written whole or not at all, also where the power fails.
    fn settle(&mut self, entry: u64) -> io::Result<()> {
        kit::write_private(&self.file, format!("{entry}\n").as_bytes())?;
        self.settled = entry;
        Ok(())
    }
}

/// A TLS connection on which one side speaks.
struct Line {
    tls: ClientConnection,
    socket: TcpStream,
}

impl Line {
    fn open(socket: TcpStream, tls: Result<ClientConnection, tokio_rustls::rustls::Error>) -> io::Result<Self> {
        socket.set_nodelay(true)?;
        socket.set_read_timeout(Some(PATIENCE))?;
        socket.set_write_timeout(Some(PATIENCE))?;
        socket2::SockRef::from(&socket).set_tcp_user_timeout(Some(UNACKNOWLEDGED_MAX))?;
        let mut line = Self { tls: tls.map_err(io::Error::other)?, socket };
        let begun = Instant::now();
        while line.tls.is_handshaking() {
            // One that sends its certificate byte by byte has that long and no longer.
            if begun.elapsed() > PATIENCE {
                return Err(io::Error::new(io::ErrorKind::TimedOut, "the handshake took too long"));
            }
            while line.tls.wants_write() {
                line.tls.write_tls(&mut line.socket)?;
            }
            if line.tls.is_handshaking() && line.read()? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        line.socket.set_read_timeout(Some(GLANCE))?;
        Ok(line)
    }

    fn read(&mut self) -> io::Result<usize> {
        let read = self.tls.read_tls(&mut self.socket)?;
        if let Err(error) = self.tls.process_new_packets() {
            // What is wrong with it is told to the other end.
            let _ = self.tls.write_tls(&mut self.socket);
            return Err(io::Error::new(io::ErrorKind::InvalidData, error));
        }
        Ok(read)
    }

    fn write(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            // Its buffer is bounded: what doesn't fit goes out first.
            let taken = self.tls.writer().write(bytes)?;
            bytes = bytes.get(taken..).unwrap_or_default();
            if taken == 0 || self.tls.wants_write() {
                self.flush()?;
            }
        }
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        while self.tls.wants_write() {
            if self.tls.write_tls(&mut self.socket)? == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
        }
        Ok(())
    }

    /// Whether the other end is still there: an end that is said, or a reset, is seen here.
    fn glance(&mut self) -> io::Result<()> {
        let mut heard = 0;
        loop {
            match self.read() {
                Ok(0) => return Err(io::Error::new(io::ErrorKind::ConnectionAborted, "the SIEM ended the connection")),
                Ok(read) => heard += read,
                Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
                    return Ok(());
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
            if heard > CHATTER_BYTES_MAX {
                return Err(io::Error::new(io::ErrorKind::InvalidData, "it answers, which no syslog receiver does"));
            }
            let mut said = [0; 1_024];
            loop {
                match self.tls.reader().read(&mut said) {
                    Ok(0) => {
                        let text = "the SIEM ended the connection";
                        return Err(io::Error::new(io::ErrorKind::ConnectionAborted, text));
                    }
                    Ok(_) => {}
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                    Err(error) => return Err(error),
                }
            }
            self.flush()?;
        }
    }
}

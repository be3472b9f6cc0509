//! The door of a [`Node`]: HTTP/2 over mutual TLS, with a bound on everything that a peer can make us hold.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Body as _, Incoming};
use hyper::header::CONTENT_TYPE;
use hyper::server::conn::http2::Builder;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;

use crate::identity::{Identity, Pin};
use crate::node::{Node, Peer};
use crate::refused::Refused;
use crate::wire::Message;

/// Some gateways, the other servers, and as many again that are just coming.
const CONNECTIONS_MAX: usize = 256;
/// Connections of one address that haven't shown a certificate yet: an eighth of the room, so that one machine that only connects
/// keeps nobody else out.
const HANDSHAKES_MAX: usize = CONNECTIONS_MAX / 8;
/// Connections of certificates that nobody knows.
const STRANGERS_MAX: usize = 16;
const STREAMS_MAX: u32 = 128;
const HANDSHAKE_PATIENCE: Duration = Duration::from_secs(5);
/// A put of 16 MiB at 1 MiB/s.
const BODY_PATIENCE: Duration = Duration::from_secs(20);
/// How long a call waits for room before it is told to come again.
const ROOM_PATIENCE: Duration = Duration::from_secs(2);
/// Bodies in memory at once, in KiB: 128 MiB.
const BODIES_KIB_MAX: usize = 128 * 1024;
/// Calls that read or write the disk at once.
const CALLS_MAX: usize = 32;
const WINDOW_BYTES: u32 = 4 * 1024 * 1024;
/// Of a body that nobody wants, so much is let in, for so long: a client that is still sending hears no answer.
const DRAIN_BYTES_MAX: usize = 32 * 1024 * 1024;
const DRAIN_PATIENCE: Duration = Duration::from_secs(2);

/// What stands behind the door.
pub trait Serve: Send + Sync + 'static {
    fn peer(&self, pin: Pin) -> Peer;

    /// Answers a call, in a thread that may wait.
    fn call(&self, peer: Peer, path: &str, body: Bytes) -> Result<Bytes, Refused>;

    /// That something was refused before it was a call.
    fn refused_at_the_door(&self, _pin: Pin, _path: &str, _refused: &Refused) {}

    /// That somebody at this address showed no certificate, or spoke something else.
    fn no_handshake(&self, _from: IpAddr, _why: &str) {}
}

impl Serve for Node {
    fn peer(&self, pin: Pin) -> Peer {
        Self::peer(self, pin)
    }

    fn call(&self, peer: Peer, path: &str, body: Bytes) -> Result<Bytes, Refused> {
        Self::call(self, peer, path, body)
    }

    fn refused_at_the_door(&self, pin: Pin, path: &str, refused: &Refused) {
        Self::note_refused(self, Self::peer(self, pin), path, refused);
    }

    fn no_handshake(&self, from: IpAddr, why: &str) {
        Self::note_no_handshake(self, from, why);
    }
}

/// Who is connected and hasn't shown a certificate, by address.
#[derive(Default)]
struct Handshakes(Mutex<HashMap<IpAddr, usize>>);

/// One of them, until it is dropped.
struct Handshake {
    from: IpAddr,
    of: Arc<Handshakes>,
}

impl Handshakes {
    fn begin(self: &Arc<Self>, from: IpAddr) -> Option<Handshake> {
        let mut open = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = open.entry(from).or_default();
        if *count >= HANDSHAKES_MAX {
            return None;
        }
        *count += 1;
        Some(Handshake { from, of: Arc::clone(self) })
    }
}

impl Drop for Handshake {
    fn drop(&mut self) {
        let mut open = self.of.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = open.get_mut(&self.from) {
            *count -= 1;
            if *count == 0 {
                open.remove(&self.from);
            }
        }
    }
}

struct Door {
    node: Arc<dyn Serve>,
    tls: TlsAcceptor,
    handshakes: Arc<Handshakes>,
    connections: Arc<Semaphore>,
    strangers: Arc<Semaphore>,
    bodies: Arc<Semaphore>,
    calls: Arc<Semaphore>,
}

/// A listening holder.
pub struct Daemon {
    listener: TcpListener,
    door: Arc<Door>,
}

impl Daemon {
    pub async fn bind(node: Arc<dyn Serve>, identity: &Identity, listen: SocketAddr) -> io::Result<Self> {
        let tls = TlsAcceptor::from(identity.server().map_err(io::Error::other)?);
        let semaphore = |permits| Arc::new(Semaphore::new(permits));
        let door = Door {
            node,
            tls,
            handshakes: Arc::default(),
            connections: semaphore(CONNECTIONS_MAX),
            strangers: semaphore(STRANGERS_MAX),
            bodies: semaphore(BODIES_KIB_MAX),
            calls: semaphore(CALLS_MAX),
        };
        Ok(Self { listener: TcpListener::bind(listen).await?, door: Arc::new(door) })
    }

    pub fn address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Answers until it is dropped, and its connections with it.
    pub async fn run(self) {
        let mut connections = JoinSet::new();
        loop {
            let accepted = tokio::select! {
                accepted = self.listener.accept() => accepted,
                Some(_) = connections.join_next() => continue,
            };
            let (stream, from) = match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    // Too many open files, and the like: it passes, and spinning wouldn't make it pass sooner.
                    tracing::warn!(%error, "accepting a connection failed");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    continue;
                }
            };
            let Some(handshake) = self.door.handshakes.begin(from.ip().to_canonical()) else {
                tracing::debug!(
                    max = HANDSHAKES_MAX,
                    "too many connections of one address without a certificate: one is dropped"
                );
                continue;
            };
            let Ok(room) = Arc::clone(&self.door.connections).try_acquire_owned() else {
                tracing::warn!(max = CONNECTIONS_MAX, "too many connections: one is dropped");
                continue;
            };
            let door = Arc::clone(&self.door);
            connections.spawn(async move {
                if let Err(error) = door.serve(stream, handshake).await {
                    tracing::debug!(%error, "a connection ended");
                }
                drop(room);
            });
        }
    }
}

/// Takes in what is left of a refused call's body, and keeps none of it.
async fn drain(mut body: Incoming) {
    let all = async {
        let mut taken = 0;
        while let Some(Ok(frame)) = body.frame().await {
            taken += frame.data_ref().map_or(0, Bytes::len);
            if taken > DRAIN_BYTES_MAX {
                return;
            }
        }
    };
    let _ = timeout(DRAIN_PATIENCE, all).await;
}

impl Door {
    async fn serve(
        self: Arc<Self>,
        stream: TcpStream,
        handshake: Handshake,
    ) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        stream.set_nodelay(true)?;
        let stream = match timeout(HANDSHAKE_PATIENCE, self.tls.accept(stream)).await {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => {
                // Whoever connects and goes away asked for nothing: monitors do.
                if !matches!(error.kind(), io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset) {
                    self.node.no_handshake(handshake.from, &error.to_string());
                }
                return Err(error.into());
            }
            Err(late) => {
                self.node.no_handshake(handshake.from, "none within its time");
                return Err(late.into());
            }
        };
        let pin = Pin::of_peer(stream.get_ref().1).ok_or("no certificate")?;
        drop(handshake);
        let _room = match self.node.peer(pin) {
            Peer::Stranger(_) => Some(Arc::clone(&self.strangers).try_acquire_owned()?),
            _ => None,
        };
        let door = &self;
        let service = service_fn(move |request| {
            let door = Arc::clone(door);
            async move { Ok::<_, std::convert::Infallible>(door.answer(pin, request).await) }
        });
        Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .max_concurrent_streams(STREAMS_MAX)
            .max_header_list_size(8 * 1024)
            .initial_stream_window_size(WINDOW_BYTES)
            .initial_connection_window_size(WINDOW_BYTES)
            .keep_alive_interval(Duration::from_secs(30))
            .keep_alive_timeout(Duration::from_secs(10))
            .serve_connection(TokioIo::new(stream), service)
            .await?;
        Ok(())
    }

    async fn answer(&self, pin: Pin, request: Request<Incoming>) -> Response<Full<Bytes>> {
        let answered = self.call(pin, request).await;
        let (status, body) = match answered {
            Ok(body) => (StatusCode::OK, body),
            Err(refused) => {
                let status = StatusCode::from_u16(refused.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
                (status, refused.refusal.to_bytes().into())
            }
        };
        let mut response = Response::new(Full::new(body));
        *response.status_mut() = status;
        response.headers_mut().insert(CONTENT_TYPE, hyper::header::HeaderValue::from_static("application/cbor"));
        response
    }

    async fn call(&self, pin: Pin, request: Request<Incoming>) -> Result<Bytes, Refused> {
        let path = request.uri().path().to_owned();
        let (head, mut body) = request.into_parts();
        let (peer, body, rooms) = match self.take(pin, &path, &head.method, &mut body).await {
            Ok(taken) => taken,
            Err(refused) => {
                self.node.refused_at_the_door(pin, &path, &refused);
                drain(body).await;
                return Err(refused);
            }
        };
        let node = Arc::clone(&self.node);
        let work = tokio::task::spawn_blocking(move || {
            let answer = node.call(peer, &path, body);
            drop(rooms);
            answer
        });
        work.await.unwrap_or_else(|_| Err(Refused::new(500, "holder.internal", "this call failed within the holder")))
    }

    /// A call's body, whom it is from, and the room that it takes.
    async fn take(
        &self,
        pin: Pin,
        path: &str,
        method: &Method,
        incoming: &mut Incoming,
    ) -> Result<(Peer, Bytes, [OwnedSemaphorePermit; 2]), Refused> {
        let Some(max) = Node::body_max(path) else {
            return Err(Refused::new(404, "holder.no-such-call", "there is no such call"));
        };
        if *method != Method::POST {
            return Err(Refused::new(405, "holder.method", "every call is a POST"));
        }
        // Asked for anew at each call: a list of members may have come since the handshake.
        let peer = self.node.peer(pin);
        let announced = incoming.size_hint().exact();
        let Some(length) = announced else {
            return Err(Refused::new(411, "holder.length", "a call announces its length"));
        };
        if length > max as u64 {
            let text = format!("a body of {length} bytes, the maximum is {max}");
            return Err(Refused::new(413, "holder.too-large", text).number(max as u64));
        }
        let kib = u32::try_from(length.div_ceil(1024)).unwrap_or(u32::MAX).max(1);
        let body_room = self.room(Arc::clone(&self.bodies), kib).await?;
        let body = match timeout(BODY_PATIENCE, Limited::new(incoming, max).collect()).await {
            Ok(Ok(body)) => body.to_bytes(),
            Ok(Err(_)) => return Err(Refused::new(400, "holder.body", "the body ended before its length")),
            Err(_) => return Err(Refused::new(408, "holder.slow", "the body did not come in time")),
        };
        let call_room = self.room(Arc::clone(&self.calls), 1).await?;
        Ok((peer, body, [body_room, call_room]))
    }

    async fn room(&self, semaphore: Arc<Semaphore>, permits: u32) -> Result<OwnedSemaphorePermit, Refused> {
        match timeout(ROOM_PATIENCE, semaphore.acquire_many_owned(permits)).await {
            Ok(Ok(permit)) => Ok(permit),
            _ => Err(Refused::new(503, "holder.busy", "too much at once: come again in a second").number(1)),
        }
    }
}

//! The client's end of a connection to one holder: HTTP/2 over mutual TLS, kept open, opened again when it is lost.
//!
//! A holder that doesn't answer is left alone for a while, longer each time: whoever waits for fourteen servers must not
//! wait for the dead one at each call.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use bytes::{Buf, Bytes};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full, Limited, StreamBody};
use hyper::body::Frame;
use hyper::client::conn::http2::{Builder, SendRequest};
use hyper::header::{CONTENT_LENGTH, CONTENT_TYPE};
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use kit::{Clock, Timestamp};
use tokio::net::TcpStream;
use tokio::sync::Mutex;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use crate::identity::{Identity, Pin};
use crate::refused::Refused;
use crate::wire::{self, Message, Refusal};

/// Connecting and the handshake, on a hospital's own network.
const CONNECT_PATIENCE: Duration = Duration::from_secs(3);
/// How long a holder that let somebody wait is left alone: from, and at most.
const PAUSE_MS: (i64, i64) = (500, 15_000);
/// One that said at once that it isn't there costs nothing to ask again.
const SHORT_PAUSE_MS: i64 = 200;
/// A batch of shards in flight; without it a put would stop for an answer at every 64 KiB.
const WINDOW_BYTES: u32 = 4 * 1024 * 1024;

type Body = BoxBody<Bytes, io::Error>;

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// It answered, and said no.
    #[error(transparent)]
    Refused(#[from] Refused),
    #[error("{address} can't be reached: {why}")]
    Unreachable { address: SocketAddr, why: String },
    #[error("{address} did not answer within {seconds} s")]
    Late { address: SocketAddr, seconds: u64 },
    #[error("{address} answered what is no answer: {why}")]
    Malformed { address: SocketAddr, why: String },
}

#[derive(Default)]
struct State {
    sender: Option<SendRequest<Body>>,
    /// How often in a row it let somebody wait.
    failures: u32,
    /// Until then nobody tries.
    paused_until: Timestamp,
    why: String,
}

/// One holder at its address.
pub struct Link {
    place: RwLock<(SocketAddr, TlsConnector)>,
    clock: Arc<dyn Clock>,
    state: Mutex<State>,
}

impl Link {
    /// `pin` is the certificate that the holder has to show. `None` believes whoever answers, for reading its card.
    pub fn new(
        address: SocketAddr,
        identity: &Identity,
        pin: Option<Pin>,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, crate::IdentityError> {
        let place = RwLock::new((address, TlsConnector::from(identity.client(pin)?)));
        Ok(Self { place, clock, state: Mutex::default() })
    }

    pub fn address(&self) -> SocketAddr {
        self.place.read().unwrap_or_else(PoisonError::into_inner).0
    }

    /// Another machine has taken its place.
    pub async fn retarget(
        &self,
        address: SocketAddr,
        identity: &Identity,
        pin: Pin,
    ) -> Result<(), crate::IdentityError> {
        let connector = TlsConnector::from(identity.client(Some(pin))?);
        *self.place.write().unwrap_or_else(PoisonError::into_inner) = (address, connector);
        *self.state.lock().await = State::default();
        Ok(())
    }

    /// Sends a body and gives the answer's, of at most `answer_max` bytes; `None` for "there is no such thing".
    pub async fn call(
        &self,
        path: &str,
        body: Vec<Bytes>,
        patience: Duration,
        answer_max: usize,
    ) -> Result<Option<Bytes>, CallError> {
        let address = self.address();
        let sender = self.sender().await?;
        let late = || CallError::Late { address, seconds: patience.as_secs().max(1) };
        match timeout(patience, exchange(sender, path, body, answer_max)).await {
            Ok(Ok((status, bytes))) => {
                self.state.lock().await.failures = 0;
                self.judge(status, bytes)
            }
            Ok(Err(why)) => {
                self.failed(why.to_string(), false).await;
                Err(CallError::Unreachable { address, why: why.to_string() })
            }
            Err(_) => {
                self.failed(late().to_string(), true).await;
                Err(late())
            }
        }
    }

    /// A message, and a message back.
    pub async fn ask<T: Message>(&self, path: &str, body: Vec<u8>, patience: Duration) -> Result<T, CallError> {
        let malformed = |why: String| CallError::Malformed { address: self.address(), why };
        let answer = self.call(path, vec![body.into()], patience, T::MAX).await?;
        let answer = answer.ok_or_else(|| malformed("nothing".to_owned()))?;
        T::from_bytes(&answer).map_err(|error| malformed(error.to_string()))
    }

    fn judge(&self, status: StatusCode, bytes: Bytes) -> Result<Option<Bytes>, CallError> {
        if status == StatusCode::OK {
            return Ok(Some(bytes));
        }
        match Refusal::from_bytes(&bytes) {
            Ok(refusal) if status == StatusCode::NOT_FOUND && refusal.code == wire::ABSENT => Ok(None),
            Ok(refusal) => Err(Refused { status: status.as_u16(), refusal }.into()),
            Err(error) => {
                Err(CallError::Malformed { address: self.address(), why: format!("status {status}, {error}") })
            }
        }
    }

    async fn failed(&self, why: String, was_late: bool) {
        let mut state = self.state.lock().await;
        state.sender = None;
        state.pause(self.clock.now(), why, was_late);
    }

    async fn sender(&self) -> Result<SendRequest<Body>, CallError> {
        let mut state = self.state.lock().await;
        if let Some(sender) = state.sender.as_ref().filter(|sender| !sender.is_closed()) {
            return Ok(sender.clone());
        }
        state.sender = None;
        let now = self.clock.now();
        // Set back by more than a pause: the clock was changed, so that nobody knows when the pause ends.
        if now < state.paused_until && state.paused_until <= now.plus_ms(PAUSE_MS.1) {
            return Err(CallError::Unreachable { address: self.address(), why: state.why.clone() });
        }
        match timeout(CONNECT_PATIENCE, self.connect()).await {
            Ok(Ok(sender)) => {
                state.sender = Some(sender.clone());
                Ok(sender)
            }
            Ok(Err(why)) => Err(self.unreachable(&mut state, why.to_string(), false)),
            Err(_) => Err(self.unreachable(&mut state, format!("no connection within {CONNECT_PATIENCE:?}"), true)),
        }
    }

    fn unreachable(&self, state: &mut State, why: String, was_late: bool) -> CallError {
        state.pause(self.clock.now(), why.clone(), was_late);
        CallError::Unreachable { address: self.address(), why }
    }

    async fn connect(&self) -> io::Result<SendRequest<Body>> {
        let (address, connector) = self.place.read().unwrap_or_else(PoisonError::into_inner).clone();
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let stream = connector.connect(Identity::server_name()?, stream).await?;
        let (sender, connection) = Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .initial_stream_window_size(WINDOW_BYTES)
            .initial_connection_window_size(WINDOW_BYTES)
            .keep_alive_interval(Duration::from_secs(10))
            .keep_alive_timeout(Duration::from_secs(5))
            .handshake(TokioIo::new(stream))
            .await
            .map_err(io::Error::other)?;
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "a connection to a holder ended");
            }
        });
        Ok(sender)
    }
}

impl State {
    fn pause(&mut self, now: Timestamp, why: String, was_late: bool) {
        let (from, most) = PAUSE_MS;
        let pause = if was_late {
            self.failures = self.failures.saturating_add(1);
            from.saturating_mul(1 << self.failures.min(10)).min(most)
        } else {
            SHORT_PAUSE_MS
        };
        self.paused_until = now.plus_ms(pause);
        self.why = why;
    }
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Link({})", self.address())
    }
}

async fn exchange(
    mut sender: SendRequest<Body>,
    path: &str,
    body: Vec<Bytes>,
    answer_max: usize,
) -> Result<(StatusCode, Bytes), Box<dyn std::error::Error + Send + Sync>> {
    let length: usize = body.iter().map(Buf::remaining).sum();
    let body: Body = match <[Bytes; 1]>::try_from(body) {
        Ok([one]) => Full::new(one).map_err(|never| match never {}).boxed(),
        Err(parts) => BodyExt::boxed(StreamBody::new(Parts(parts.into_iter()))),
    };
    let request = Request::builder()
        .method(Method::POST)
        .uri(format!("https://holdfast{path}"))
        .header(CONTENT_LENGTH, length)
        .header(CONTENT_TYPE, "application/cbor")
        .body(body)?;
    let answer = sender.send_request(request).await?;
    let status = answer.status();
    let bytes = Limited::new(answer.into_body(), answer_max).collect().await?.to_bytes();
    Ok((status, bytes))
}

/// The parts of a body, one frame each.
struct Parts(std::vec::IntoIter<Bytes>);

impl futures_core::Stream for Parts {
    type Item = Result<Frame<Bytes>, io::Error>;

    fn poll_next(
        mut self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Self::Item>> {
        std::task::Poll::Ready(self.0.next().map(|part| Ok(Frame::data(part))))
    }
}

//! HTTP/1.1 on a listener: a bounded number of connections, heads that arrive in time, and a stop that lets answers under
//! way finish.
//!
//! `axum::serve` bounds neither connections nor the time that a head may take: half-sent requests would hold sockets
//! for ever.

use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::http::Request;
use hyper::body::Incoming;
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

/// Connections of one listener; a hospital's systems and consoles have some hundreds. Past it, new ones wait.
const CONNECTIONS_MAX: usize = 1_024;

/// From the connection, or from the last answer, to the end of the next request's head.
const HEAD_TIME_MAX: Duration = Duration::from_secs(30);

/// What is under way when the server stops has so long to finish.
const STOP_TIME_MAX: Duration = Duration::from_secs(30);

/// When `accept` fails (no file descriptor left, most likely): don't spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Whom a request came from: the peer of its connection.
#[derive(Clone, Copy, Debug)]
pub struct From(pub IpAddr);

/// Serves until `stop`.
pub async fn serve(listener: TcpListener, router: Router, stop: impl Future<Output = ()>) -> io::Result<()> {
    let mut http = hyper::server::conn::http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(HEAD_TIME_MAX);
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let graceful = GracefulShutdown::new();
    let mut stop = std::pin::pin!(stop);
    loop {
        let place = Arc::clone(&places).acquire_owned().await.map_err(io::Error::other)?;
        let (stream, peer) = tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok(accepted) => accepted,
                Err(_) => {
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            },
            () = &mut stop => break,
        };
        // Answers are written whole: waiting for more to send would only delay them.
        let _ = stream.set_nodelay(true);
        let router = TowerToHyperService::new(router.clone());
        let service = service_fn(move |mut request: Request<Incoming>| {
            request.extensions_mut().insert(From(peer.ip()));
            router.call(request)
        });
        let connection = graceful.watch(http.serve_connection(TokioIo::new(stream), service));
        tokio::spawn(async move {
            // A client that breaks off, or whose head came too late, is no fault of ours.
            let _ = connection.await;
            drop(place);
        });
    }
    drop(listener);
    let _ = tokio::time::timeout(STOP_TIME_MAX, graceful.shutdown()).await;
    Ok(())
}

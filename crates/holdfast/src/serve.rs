//! `holdfast serve`: the gateway. Pages, FHIR and the gate on one listener, health and metrics on another, DIMSE on a
//! third.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::get;
use kit::{Blame, Fault, OsEntropy};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use serde_json::json;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use crate::acts::{self, Act, Answer};
use crate::centre::{Centre, Listening};
use crate::config::Config;
use crate::standing::Standing;
use crate::{control, demo, first, gateways, packs, posture, settings, siem, watched};

/// The demo's folder, apart from a real centre's.
const DEMO_DATA: &str = "holdfast-demo";
/// `edge` and `guard` write the lines that an operation id finds. No line of theirs names a patient; what a DICOM library says may quote
/// its peer.
const DEFAULT_LOG: &str = "warn,dicom_parser=off,dicom_object=off,dicom_encoding=off,dicom_ul=off,holdfast=info,vault=info,edge=info,guard=info,holder=info";
/// Who signs in by the link that each start prints.
const FIRST_SIGN_IN: &str = "first-sign-in";
/// For what is still being worked on once nobody is connected any more.
const STOP_MAX: Duration = Duration::from_secs(10);
/// A probe waits no longer for the servers, which have three seconds each, all at once; monitors give up after 5 to 10 seconds.
const LOOK_TIME_MAX: Duration = Duration::from_secs(4);
/// How often the servers are looked at where no monitor does.
const LOOK_EVERY: Duration = Duration::from_secs(60);

#[derive(clap::Args)]
pub struct Serve {
    /// The centre's data folder [default: holdfast-data, with --demo holdfast-demo].
    #[arg(long, env = "HOLDFAST_DATA", value_name = "DIR")]
    data: Option<PathBuf>,
    /// The configuration [default: gateway/holdfast.toml in the data folder].
    #[arg(long, value_name = "FILE", conflicts_with = "demo")]
    config: Option<PathBuf>,
    /// Lay out a synthetic centre with 14 server folders and patients on treatment, if it isn't there yet.
    #[arg(long)]
    demo: bool,
    /// Where pages and FHIR listen.
    #[arg(long, value_name = "ADDR")]
    http: Option<SocketAddr>,
    /// Where DICOM listens.
    #[arg(long, value_name = "ADDR")]
    dimse: Option<SocketAddr>,
    /// Where /healthz, /readyz and /metrics listen.
    #[arg(long, value_name = "ADDR")]
    operations: Option<SocketAddr>,
    /// Write the addresses as JSON to this file once everything listens; with a sign-in link, and with --demo also tokens.
    #[arg(long, value_name = "FILE")]
    ready_file: Option<PathBuf>,
}

impl Serve {
    pub fn run(self) -> Result<u8, Fault> {
        logging();
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .build()
            .map_err(|e| Fault::new(Blame::Configuration, "serve.runtime", e.to_string()))?;
        let served = runtime.block_on(self.serve());
        // What is acknowledged is durable. Who works still, works for somebody who has gone.
        runtime.shutdown_timeout(STOP_MAX);
        served.map(|()| 0)
    }

    async fn serve(self) -> Result<(), Fault> {
        let fallback = if self.demo { DEMO_DATA } else { "holdfast-data" };
        let data = self.data.clone().unwrap_or_else(|| fallback.into());
        if self.demo {
            let folder = data.clone();
            blocking(move || demo::prepare(&folder)).await?;
        }
        let (folder, file) = (data.clone(), self.config.clone());
        let open = move || match file {
            Some(file) => Centre::open_as(&folder, Config::load_file(&file)?),
            None => Centre::open(&folder),
        };
        let centre = Arc::new(blocking(open).await?);
        if self.demo {
            demo::require_demo(&centre)?;
        }
        let config = centre.config();
        if let Some(fleet) = centre.fleet() {
            let moved = gateways::differing(&config.holders, &fleet.members());
            moved
                .iter()
                .for_each(|line| complain!("holdfast: the list of members counts, not the configuration: {line}"));
        }
        let noted = Arc::clone(&centre);
        // Too few servers to write is no reason to serve nobody.
        match blocking(move || settings::note(noted.chart(), noted.config())).await {
            Ok(changes) => changes
                .iter()
                .for_each(|change| complain!("holdfast: a setting is not what it was at the last start: {change}")),
            Err(fault) => complain!("holdfast: the settings are not noted in the ledger: {fault}"),
        }

        let http = listen("http", self.http.unwrap_or(config.http.listen)).await?;
        let operations = listen("operations", self.operations.unwrap_or(config.operations.listen)).await?;
        let addresses = Listening {
            http: address(&http)?,
            operations: address(&operations)?,
            dimse: self.dimse.unwrap_or(config.dimse.listen),
        };
        let dimse = edge::dimse::Server::start(
            addresses.dimse,
            edge::dimse::Settings {
                archive_titles: config.dimse.archive_titles.clone(),
                gate_title: config.dimse.gate_title.clone(),
                ..edge::dimse::Settings::default()
            },
            Arc::new(edge::archive::Archive::new(
                Arc::clone(centre.treatment()),
                config.known_peers()?,
                config.dimse.gate_title.clone(),
            )),
        )?;
        let addresses = Listening { dimse: dimse.address(), ..addresses };
        centre.set_listening(addresses);
        match guard::RelyingParty::new(&centre.public_url(), centre.treatment().centre()) {
            Ok(party) => centre.chart().guard().take_passkeys(party),
            Err(error) => complain!("holdfast: nobody signs in by a passkey: {error}"),
        }
        control::listen(&centre, &data, &OsEntropy)?;

        let pages = edge::router_at(
            centre.treatment(),
            config.http.public_url.as_deref(),
            Some(Arc::new(posture::Shown(Arc::clone(&centre)))),
        );
        let recorder = PrometheusBuilder::new()
            .install_recorder()
            .map_err(|e| Fault::new(Blame::Ours, "serve.metrics", e.to_string()))?;
        let health = health(Arc::clone(&centre), recorder);

        if !addresses.http.ip().is_loopback() && config.http.public_url.is_none() {
            complain!(
                "holdfast: http.listen {} takes connections from other machines without TLS: put a TLS proxy before it, and its name into \
                 http.public_url",
                addresses.http
            );
        }
        let end = hear_the_end()?;
        self.announce(&centre, &data, &addresses)?;
        watched::start(&centre)?;
        siem::start(&centre, &data)?;
        tokio::spawn(make_packs(Arc::clone(&centre)));
        let serving = async {
            tokio::try_join!(
                edge::http::serve(http, pages, stop(end.clone())),
                edge::http::serve(operations, health, stop(end)),
            )
        };
        serving.await.map_err(|e| Fault::new(Blame::Configuration, "serve.listener", e.to_string()))?;
        tracing::info!("stopping: associations end, notes go into the ledger");
        blocking(move || {
            dimse.stop();
            centre.settle()
        })
        .await
    }

    /// Says where everything is, and what this centre survives.
    fn announce(&self, centre: &Centre, data: &std::path::Path, at: &Listening) -> Result<(), Fault> {
        say!("{}", centre.name());
        say!("  data        {}", data.display());
        let url = centre.public_url();
        say!("  pages       {url}/");
        say!("  FHIR R4     {url}/fhir");
        if centre.config().http.public_url.is_some() {
            say!("  behind it   http://{}", at.http);
        }
        say!(
            "  DICOM       {} (called AE titles {}; {} asks the fraction gate)",
            at.dimse,
            centre.config().dimse.archive_titles.join(", "),
            centre.config().dimse.gate_title
        );
        say!("  operations  http://{}/healthz, /readyz, /metrics", at.operations);
        let standing = centre.standing();
        for line in standing.lines() {
            say!("  {line}");
        }
        if standing.is_whole() {
            say!("  {}", centre.promise());
        }
        let mut ready = vec![
            ("http", json!(format!("http://{}", at.http))),
            ("pages", json!(centre.public_url())),
            ("fhir", json!(format!("http://{}/fhir", at.http))),
            ("dimse", json!(at.dimse.to_string())),
            ("operations", json!(format!("http://{}", at.operations))),
        ];
        if self.demo {
            match demo::welcome(centre) {
                Ok(welcome) => {
                    say!("  sign in     {}", welcome.sign_in);
                    say!("  tokens      shown this once, for 30 days or until the demo is started again:");
                    for (role, token) in &welcome.tokens {
                        say!("    {role:<17} {token}");
                    }
                    let tokens: serde_json::Map<_, _> =
                        welcome.tokens.iter().map(|(role, token)| (role.to_string(), json!(token))).collect();
                    ready.push(("sign_in", json!(welcome.sign_in)));
                    ready.push(("tokens", json!(tokens)));
                }
                // As below: what is left is served, to whoever has a token already.
                Err(fault) => say!("  sign in     no link and no tokens were made: {}", fault.message),
            }
        } else if centre.signers().is_some() {
            say!(
                "  sign in     holdfast sign-in --role ROLE --subject NAME --officer-key FILE --data {} makes a link",
                data.display()
            );
        } else {
            // Serving doesn't depend on it: a link is an entry, and a centre below its floor takes none.
            let sign_in =
                Act::SignIn { role: "therapist".to_owned(), subject: FIRST_SIGN_IN.to_owned(), certified: false };
            match acts::perform(centre, sign_in, &mut acts::nobody, &mut std::io::sink()) {
                Ok(Answer { json, .. }) => {
                    let link = json.get("sign_in").cloned().unwrap_or_default();
                    say!("  sign in     {}", link.as_str().unwrap_or_default());
                    ready.push(("sign_in", link));
                }
                Err(fault) => say!("  sign in     no link was made: {}", fault.message),
            }
            say!(
                "              as a therapist: one use, 15 minutes; `holdfast sign-in --role ROLE --subject NAME` makes others"
            );
        }
        let ready: serde_json::Value = ready.into_iter().map(|(key, value)| (key.to_owned(), value)).collect();
        if let Some(file) = &self.ready_file {
            kit::write_private(file, ready.to_string().as_bytes())
                .map_err(|e| Fault::new(Blame::Configuration, "serve.ready-file", e.to_string()))?;
        }
        Ok(())
    }
}

pub fn logging() {
    let filter = tracing_subscriber::EnvFilter::try_from_default_env()
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new(DEFAULT_LOG));
    // A second subscriber in one process is a test's; the first stays.
    let _ = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).try_init();
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T, Fault> + Send + 'static) -> Result<T, Fault> {
    tokio::task::spawn_blocking(work)
        .await
        .unwrap_or_else(|e| Err(Fault::new(Blame::Ours, "serve.task", e.to_string())))
}

async fn listen(what: &str, address: SocketAddr) -> Result<TcpListener, Fault> {
    TcpListener::bind(address).await.map_err(|e| {
        Fault::new(Blame::Configuration, "serve.address", format!("{what}: {address}: {e}"))
            .guidance("end what listens there, or give another address (port 0 takes any free one)")
    })
}

fn address(listener: &TcpListener) -> Result<SocketAddr, Fault> {
    listener.local_addr().map_err(|e| Fault::new(Blame::Configuration, "serve.address", e.to_string()))
}

/// Downtime packs, and what a recovery opens first, at the start and again and again. What fails is said here and on the posture
/// page, and tried again.
async fn make_packs(centre: Arc<Centre>) {
    let every = Duration::from_secs(u64::from(centre.config().packs.every_minutes) * 60);
    loop {
        let making = Arc::clone(&centre);
        match blocking(move || first::keep(&making)).await {
            Ok(None) => {}
            Ok(Some(made)) if made.missing.is_empty() && made.failed.is_empty() => {
                tracing::info!(packs = made.packs, "downtime packs");
            }
            Ok(Some(made)) => {
                let packs::Made { packs, of, missing, failed, .. } = made;
                tracing::warn!(packs, of, ?missing, ?failed, "downtime packs are incomplete");
            }
            Err(fault) => tracing::error!(
                code = fault.code,
                "downtime packs, or what a recovery opens first, were not made: {}",
                fault.message
            ),
        }
        tokio::time::sleep(every).await;
    }
}

/// Hears when the process is asked to end, from the call on: whoever is told that it serves may ask at once.
fn hear_the_end() -> Result<watch::Receiver<()>, Fault> {
    let failed = |e: io::Error| Fault::new(Blame::Configuration, "serve.signals", e.to_string());
    let mut terminate = signal(SignalKind::terminate()).map_err(failed)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(failed)?;
    let (tell, told) = watch::channel(());
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        drop(tell);
    });
    Ok(told)
}

/// Until then.
async fn stop(mut told: watch::Receiver<()>) {
    // Nothing is ever sent: that nobody can send any more is the message.
    while told.changed().await.is_ok() {}
}

/// What the operations listener knows.
#[derive(Clone)]
struct Watch {
    centre: Arc<Centre>,
    recorder: PrometheusHandle,
    /// Held by whoever looks at the servers' disks, so that one that hangs holds one thread and not one for each probe.
    looking: Arc<tokio::sync::Mutex<()>>,
}

impl Watch {
    /// By the disks, or from memory where a disk takes too long.
    async fn standing(&self) -> Standing {
        let centre = Arc::clone(&self.centre);
        let look = async {
            let held = Arc::clone(&self.looking).lock_owned().await;
            let look = move || {
                let standing = centre.standing();
                drop(held);
                standing
            };
            tokio::task::spawn_blocking(look).await.ok()
        };
        let looked = tokio::time::timeout(LOOK_TIME_MAX, look).await.ok().flatten();
        looked.unwrap_or_else(|| self.centre.standing_in_memory())
    }
}

/// Health and metrics; nothing here names a patient.
fn health(centre: Arc<Centre>, recorder: PrometheusHandle) -> Router {
    let watch = Watch { centre, recorder, looking: Arc::default() };
    // Though nobody asks: what a server has lost is to be brought to it anew.
    let looks = watch.clone();
    tokio::spawn(async move {
        loop {
            tokio::time::sleep(LOOK_EVERY).await;
            looks.standing().await;
        }
    });
    Router::new()
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(ready))
        .route("/metrics", get(numbers))
        .with_state(watch)
}

/// 200 while records can be written and opened, and in words how far it is from that.
async fn ready(State(watch): State<Watch>) -> (StatusCode, String) {
    let standing = watch.standing().await;
    // A holder of this process whose disk is gone still opens keys from memory: that is a word, not a status. A machine that doesn't
    // answer opens nothing.
    let holders_up = match watch.centre.fleet() {
        Some(_) => standing.holders_up(),
        None => watch.centre.standing_in_memory().holders_up(),
    };
    let is_ready = standing.health.writable && holders_up >= standing.holders_needed;
    let status = if is_ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, standing.lines().join("\n") + "\n")
}

async fn numbers(State(watch): State<Watch>) -> String {
    watch.standing().await.gauge();
    siem::gauge(&watch.centre);
    watch.recorder.render()
}

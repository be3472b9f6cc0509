//! `holdfast holder …`, and the same as a program of its own, `holdfast-holder`.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread;

use clap::{Args, Subcommand};
use kit::{Blame, Fault, OsEntropy};

use crate::alarms;
use crate::config::{Config, server_name};
use crate::daemon::Daemon;
use crate::identity::Identity;
use crate::node::Node;
use crate::retention::{self, Ending};
use crate::watch::{Watch, scrub_forever, sync_forever};

/// Where a server's holder lies.
#[derive(Args, Clone, Debug)]
pub struct Place {
    /// The holder's folder, with its holder.toml.
    #[arg(long, env = "HOLDFAST_HOLDER", default_value = "holdfast-holder", value_name = "DIR")]
    dir: PathBuf,
}

/// The daemon on each server: keeps shards, opens key shares, witnesses the log.
#[derive(Subcommand, Clone, Debug)]
pub enum Command {
    /// Make this server's identity, its keys and its empty store. May be repeated.
    Init {
        #[command(flatten)]
        place: Place,
    },
    /// Answer gateways and the other servers, until stopped.
    Run {
        #[command(flatten)]
        place: Place,
        /// Listen here instead of where holder.toml says.
        #[arg(long, value_name = "ADDR")]
        listen: Option<SocketAddr>,
    },
    /// What this server and the others noticed, that nobody has seen yet.
    Alarms {
        #[command(flatten)]
        place: Place,
        /// They have been seen: take them off the status page. The journal keeps them.
        #[arg(long)]
        seen: bool,
    },
    /// How long this server keeps what it has; and, with the daemon stopped, the end of it. Nothing ends by itself, and no
    /// call ends anything. A vault that lives needs every volume, the oldest too.
    Retention {
        #[command(flatten)]
        place: Place,
        /// Show it, and end nothing: as without any option.
        #[arg(long, conflicts_with = "end_before")]
        show: bool,
        /// Volumes that were closed before this day, which is longer ago than `shards.retention_days` of holder.toml. Without
        /// --confirm it only says what would be lost.
        #[arg(long, value_name = "YYYY-MM-DD")]
        end_before: Option<String>,
        /// Remove them for good: this server's number, typed.
        #[arg(long, value_name = "NUMBER", requires = "end_before")]
        confirm: Option<u8>,
    },
}

fn failed(why: impl std::fmt::Display) -> Fault {
    Fault::new(Blame::Configuration, "holder.run", why.to_string())
}

impl Command {
    /// Does it; what it has to say goes to `say`.
    pub fn run(self, say: &mut dyn FnMut(String)) -> Result<u8, Fault> {
        match self {
            Self::Init { place } => {
                let card = Node::init(&place.dir, &OsEntropy)?;
                say(format!("{}: a holder of vault {}", server_name(card.number), card.vault));
                say(format!("  certificate {}", card.pin));
                say(format!("  run it: holdfast-holder run --dir {}", place.dir.display()));
                Ok(0)
            }
            Self::Alarms { place, seen } => {
                alarms::run(&place.dir, seen, say)?;
                Ok(0)
            }
            Self::Retention { place, show: _, end_before, confirm } => {
                let ending = end_before.map(|before| Ending { before, confirm });
                retention::run(&place.dir, ending.as_ref(), say)?;
                Ok(0)
            }
            Self::Run { place, listen } => {
                let config = Config::load(&place.dir)?;
                let identity = || Identity::open(&place.dir).map_err(failed);
                let node = Arc::new(Node::open(&place.dir)?);
                for (name, work) in [("scrub", scrub_forever as fn(&Node)), ("sync", sync_forever)] {
                    let node = Arc::clone(&node);
                    thread::Builder::new().name(name.into()).spawn(move || work(&node)).map_err(failed)?;
                }
                let last = Arc::clone(&node);
                let watch = Watch::new(Arc::clone(&node), identity()?, &place.dir);
                let runtime = tokio::runtime::Builder::new_multi_thread()
                    .worker_threads(2)
                    .max_blocking_threads(64)
                    .enable_all()
                    .build()
                    .map_err(failed)?;
                runtime.block_on(async {
                    let door = identity()?;
                    let daemon = Daemon::bind(node, &door, listen.unwrap_or(config.listen)).await.map_err(failed)?;
                    let address = daemon.address().map_err(failed)?;
                    say(format!("{} answers at {address}", server_name(config.number)));
                    tokio::select! {
                        () = daemon.run() => {}
                        () = watch.run() => {}
                        () = stopped() => {}
                    }
                    Ok::<_, Fault>(())
                })?;
                // What was acknowledged is durable; what is under way was promised to nobody.
                runtime.shutdown_timeout(std::time::Duration::from_secs(2));
                last.sync();
                Ok(0)
            }
        }
    }
}

/// SIGINT or SIGTERM.
async fn stopped() {
    use tokio::signal::unix::{SignalKind, signal};
    let (Ok(mut interrupt), Ok(mut terminate)) = (signal(SignalKind::interrupt()), signal(SignalKind::terminate()))
    else {
        return std::future::pending().await;
    };
    tokio::select! { _ = interrupt.recv() => {}, _ = terminate.recv() => {} }
}

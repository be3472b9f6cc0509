//! A holder on loopback, and a gateway that it knows.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use holder::{Config, Daemon, Identity, Link, Network, Node, Pin, Shards, server_name};
use kit::{OsEntropy, SystemClock};
use tempfile::TempDir;
use tokio::task::JoinHandle;

pub(crate) const VAULT: &str = "000102030405060708090a0b0c0d0e0f";
pub(crate) const JOIN_CODE: [u8; 32] = [9; 32];

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A server's folder, set up but not listening.
pub(crate) struct Server {
    pub(crate) dir: TempDir,
    pub(crate) gateway: Arc<Identity>,
    pub(crate) network: Network,
}

impl Server {
    pub(crate) fn new(number: u8, shards: Shards) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let gateway = Arc::new(Identity::init(&dir.path().join("gateway")).unwrap());
        let config = Config {
            vault: VAULT.into(),
            number,
            listen: "127.0.0.1:0".parse().unwrap(),
            officer: hex(&[7; 32]),
            gateways: vec![gateway.pin().to_string()],
            join_code: hex(&JOIN_CODE),
            key_epoch: keys::FIRST_EPOCH,
            keys: holder::Keys { needed: 12, holders: 14 },
            shards,
            budgets: keys::Budgets::default(),
        };
        let server = dir.path().join(server_name(number));
        config.save(&server).unwrap();
        Node::init(&server, &OsEntropy).unwrap();
        Self { dir, gateway, network: Network::start().unwrap() }
    }

    pub(crate) fn folder(&self, number: u8) -> PathBuf {
        self.dir.path().join(server_name(number))
    }

    pub(crate) fn start(&self, number: u8) -> Running {
        Running::start(&self.network, &self.folder(number))
    }

    pub(crate) fn link(&self, running: &Running, identity: &Identity, pin: Option<Pin>) -> Arc<Link> {
        Arc::new(Link::new(running.address, identity, pin, Arc::new(SystemClock)).unwrap())
    }
}

/// A holder that listens, until it is dropped.
pub(crate) struct Running {
    pub(crate) address: SocketAddr,
    pub(crate) pin: Pin,
    pub(crate) node: Arc<Node>,
    task: JoinHandle<()>,
}

impl Running {
    fn start(network: &Network, folder: &Path) -> Self {
        let identity = Identity::open(folder).unwrap();
        let node = Arc::new(Node::open(folder).unwrap());
        let listen = node.config().listen;
        let (address, task) = network.wait(async {
            let daemon = Daemon::bind(Arc::clone(&node) as _, &identity, listen).await.unwrap();
            let address = daemon.address().unwrap();
            (address, tokio::spawn(daemon.run()))
        });
        Self { address, pin: identity.pin(), node, task }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.task.abort();
        // Calls that are under way in a thread hold the node, and the node its folder's lock.
        let node = Arc::clone(&self.node);
        for _ in 0..500 {
            if Arc::strong_count(&node) <= 2 {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
    }
}

//! The driver of `cargo xtask bench keys`: fourteen holders over loopback, each with its own door, asked by one keyring.
//!
//! `bench_keys DIR OPENS THREADS PATIENTS`: prints a line of JSON for each measurement.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)] // a measurement may stop at the first surprise

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Instant;

use bytes::Bytes;
use holder::wire::{Message as _, OpenShare};
use holder::{Config, Daemon, Identity, Link, Network, Node, Peer, Pin, Refused, RemoteHolder, Serve, Shards};
use keys::{
    Authority, Batch, Budgets, CustodianPackage, DataKey, Dealer, FIRST_EPOCH, Holder, HolderPublicKey, KeyRecord,
    Keyring, Known, LocalHolder, Officer, OpenRequest, PersonKey, Proof, Prover, RecoveryPublicKey, Replays, Signer,
    Speaks, Statement, new_identity,
};
use kit::{Clock, Entropy, Id16, OsEntropy, SystemClock};

const N: u8 = 14;
/// Short ones, and many: what the machine does beside falls on all of them alike.
const ROUNDS: usize = 100;
/// What nobody is compared with closely needs fewer.
const ROUNDS_BARE: usize = 10;
const PERSON: &str = "dr.bench";
const VAULT: Id16 = Id16([0x11; 16]);

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [dir, opens, threads, patients] = arguments.as_slice() else { panic!("bench_keys DIR OPENS THREADS PATIENTS") };
    let (dir, opens, threads) = (PathBuf::from(dir), opens.parse().unwrap(), threads.parse().unwrap());
    let network = Network::start().unwrap();
    let fleets = [
        ("metered", Fleet::start(&dir.join("metered"), &network, Kind::Metered)),
        ("proven", Fleet::start(&dir.join("proven"), &network, Kind::Proven)),
        // The same once more: as far as these two differ, nothing is told by a difference.
        ("again", Fleet::start(&dir.join("again"), &network, Kind::Proven)),
        ("bare", Fleet::start(&dir.join("bare"), &network, Kind::Bare)),
    ];
    let (_, recipient) = new_identity();
    let (_, recovery) = CustodianPackage::establish(1, &[recipient], &OsEntropy).unwrap();
    for t in [12, 3] {
        // By turns, each of them first in its turn, so that all have the same of whatever else the machine does.
        let mut seconds = [const { Vec::new() }; 4];
        for round in 0..ROUNDS {
            for turn in 0..fleets.len() {
                let at = (round + turn) % fleets.len();
                if fleets[at].0 != "bare" || round < ROUNDS_BARE {
                    seconds[at].extend(fleets[at].1.opens(t, opens, threads, &recovery));
                }
            }
        }
        for ((what, _), mut seconds) in fleets.iter().zip(seconds) {
            seconds.sort_by(f64::total_cmp);
            let at = |share: f64| seconds[((seconds.len() - 1) as f64 * share) as usize];
            let mean = seconds.iter().sum::<f64>() / seconds.len() as f64;
            println!(
                r#"{{"what":"open","t":{t},"kind":"{what}","opens":{},"per_second":{},"p50":{},"p99":{}}}"#,
                seconds.len(),
                threads as f64 / mean,
                at(0.5),
                at(0.99)
            );
        }
    }
    registration(&fleets[0].1.keys, &recovery, patients.parse().unwrap());
}

/// Registering asks nobody: public keys are enough.
fn registration(keys: &[HolderPublicKey], recovery: &RecoveryPublicKey, patients: usize) {
    let begun = Instant::now();
    let bytes: usize = thread::scope(|scope| {
        let deal = |count: usize| {
            let (mut bytes, mut left) = (0, count);
            while left > 0 {
                // As the vault does: a new batch now and then.
                let (dealer, batch) = Dealer::new(keys, recovery, 12, FIRST_EPOCH, &OsEntropy).unwrap();
                bytes += batch.to_bytes().len();
                for _ in 0..left.min(4_096) {
                    let record = dealer.deal(Id16(OsEntropy.id()), &DataKey::random(&OsEntropy), &OsEntropy).unwrap();
                    bytes += record.to_bytes().len();
                }
                left -= left.min(4_096);
            }
            bytes
        };
        let cores = thread::available_parallelism().unwrap().get();
        let threads: Vec<_> = (0..cores).map(|_| scope.spawn(move || deal(patients / cores))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).sum()
    });
    let seconds = begun.elapsed().as_secs_f64();
    println!(r#"{{"what":"register","patients":{patients},"seconds":{seconds},"bytes":{bytes}}}"#);
}

struct Fleet {
    network: Network,
    links: Vec<Arc<Link>>,
    keys: Vec<HolderPublicKey>,
    prover: Arc<Person>,
}

struct Person(Signer);

impl Prover for Person {
    fn prove(&self, statement: &Statement<'_>) -> Option<Proof> {
        Some(self.0.sign(VAULT, statement, &OsEntropy))
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// As it is: the person's proof, and the meter.
    Metered,
    /// The proof, and no meter.
    Proven,
    /// Opens whatever it is asked.
    Bare,
}

/// A holder without a meter, and without asking for a proof where it has no officer.
struct Bare {
    holder: LocalHolder,
    officer: Option<[u8; 32]>,
    replays: Mutex<Replays>,
    known: Known,
}

impl Serve for Bare {
    fn peer(&self, pin: Pin) -> Peer {
        Peer::Gateway(pin)
    }

    fn call(&self, _: Peer, _: &str, body: Bytes) -> Result<Bytes, Refused> {
        let request = OpenShare::from_bytes(&body)?;
        let (record, batch) = (KeyRecord::from_bytes(&request.record)?, Batch::from_bytes(&request.batch)?);
        let (person, purpose, at) = (request.person.as_str(), request.purpose.as_str(), request.at);
        if let Some(officer) = self.officer {
            let statement = Statement { patient: record.subject, commitment: record.commitment, person, purpose, at };
            let proof = Proof::from_bytes(request.proof.as_ref().unwrap()).unwrap();
            let authority = Authority { known: &self.known, vault: VAULT, officer, ended: &[] };
            let proven = proof.check(&authority, &statement, SystemClock.now()).unwrap();
            self.replays.lock().unwrap().take(&proven, SystemClock.now()).unwrap();
        }
        let asked = OpenRequest { record: &record, batch: &batch, person, purpose, at, proof: None };
        Ok(Bytes::copy_from_slice(self.holder.open_share(&asked)?.bytes()))
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

impl Fleet {
    fn start(dir: &Path, network: &Network, kind: Kind) -> Self {
        let officer = Officer::from_seed(&[3; 32]).unwrap();
        let gateway = Identity::init(&dir.join("gateway")).unwrap();
        let most = u32::MAX;
        let (mut links, mut keys) = (Vec::new(), Vec::new());
        for number in 1..=N {
            let folder = dir.join(format!("server-{number:02}"));
            let config = Config {
                vault: hex(&VAULT.0),
                number,
                listen: "127.0.0.1:0".parse().unwrap(),
                officer: hex(&officer.public()),
                gateways: vec![gateway.pin().to_string()],
                join_code: hex(&[5; 32]),
                key_epoch: keys::FIRST_EPOCH,
                keys: holder::Keys { needed: 3, holders: N },
                shards: Shards::default(),
                budgets: Budgets {
                    person_hour: most,
                    person_day: most,
                    gateway_hour: most,
                    gateway_day: most,
                    all_hour: most,
                    all_day: most,
                    ..Budgets::default()
                },
            };
            config.save(&folder).unwrap();
            Node::init(&folder, &OsEntropy).unwrap();
            let key = LocalHolder::look(&folder.join("holder")).unwrap().remove(0);
            let serve: Arc<dyn Serve> = if kind == Kind::Metered {
                Arc::new(Node::open(&folder).unwrap())
            } else {
                let holder = LocalHolder::open(&folder.join("holder")).unwrap();
                let officer = (kind == Kind::Proven).then(|| officer.public());
                // On the disk, as a holder's own: what is measured is the meter alone.
                let replays = Mutex::new(Replays::open(&folder.join("meter")).unwrap());
                Arc::new(Bare { holder, officer, replays, known: Known::default() })
            };
            let identity = Identity::open(&folder).unwrap();
            let address = network.wait(async {
                let daemon = Daemon::bind(serve, &identity, config.listen).await.unwrap();
                let address = daemon.address().unwrap();
                tokio::spawn(daemon.run());
                address
            });
            let link = Link::new(address, &gateway, Some(identity.pin()), Arc::new(SystemClock)).unwrap();
            links.push(Arc::new(link));
            keys.push(key);
        }
        let person = PersonKey::random(&OsEntropy).unwrap();
        let now = SystemClock.now();
        let life = (now.plus_ms(-60_000), now.plus_ms(86_400_000));
        let certificate = officer.enrol(VAULT, PERSON, Speaks::Person, person.public(), life, &OsEntropy).unwrap();
        let prover = Arc::new(Person(Signer::new(vec![certificate], person)));
        Self { network: network.clone(), links, keys, prover }
    }

    /// The seconds of each opening, of so many patients who were never opened before.
    fn opens(&self, t: u8, opens: usize, threads: usize, recovery: &RecoveryPublicKey) -> Vec<f64> {
        let holder = |(link, key): (&Arc<Link>, &HolderPublicKey)| -> Arc<dyn Holder> {
            Arc::new(RemoteHolder::new(key.clone(), self.network.clone(), Arc::clone(link), Arc::default()))
        };
        let holders = self.links.iter().zip(&self.keys).map(holder).collect();
        let keyring =
            Keyring::new(holders, t, 0, Arc::new(SystemClock)).unwrap().with_prover(Some(self.prover.clone()));
        let (dealer, batch) = Dealer::new(&self.keys, recovery, t, FIRST_EPOCH, &OsEntropy).unwrap();
        let deal = |_| dealer.deal(Id16(OsEntropy.id()), &DataKey::random(&OsEntropy), &OsEntropy).unwrap();
        let records: Vec<KeyRecord> = (0..opens + 1).map(deal).collect();
        // Connections, and the batch's contexts at each holder, are there before the clock runs.
        for _ in 0..4 {
            keyring.open(&records[opens], &batch, PERSON, "treatment").unwrap();
        }
        let next = AtomicUsize::new(0);
        thread::scope(|scope| {
            let run = || {
                let mut seconds = Vec::new();
                loop {
                    let Some(record) = records[..opens].get(next.fetch_add(1, Ordering::Relaxed)) else {
                        return seconds;
                    };
                    let begun = Instant::now();
                    keyring.open(record, &batch, PERSON, "treatment").unwrap();
                    seconds.push(begun.elapsed().as_secs_f64());
                }
            };
            let threads: Vec<_> = (0..threads).map(|_| scope.spawn(run)).collect();
            threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
        })
    }
}

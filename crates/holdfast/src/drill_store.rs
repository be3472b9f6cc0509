//! A real object store behind the drill's seam: SeaweedFS on loopback, and the thief's hands at it.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

use bucket::Credentials;
use bucket::rig::{self, Hand};
use drill::system::{FoundWithStore, Store, StoreBuilder, Tried};
use holder::Network;
use kit::{Blame, Clock as _, Entropy as _, Fault, Id16, OsEntropy, SystemClock, write_private};
use zeroize::Zeroizing;

use crate::bucket_files::{BucketPlace, bucket_id};
use crate::drill_machines;
use crate::plan::Beside;

/// Versions of a bucket that the thief tries one by one.
const TRIED: usize = 100;
const RETENTION_DAYS: u32 = 60;
const DAY_MS: i64 = 86_400_000;

fn failed(what: &str, why: impl std::fmt::Display) -> Fault {
    Fault::new(Blame::Configuration, "drill.store", format!("{what}: {why}"))
}

/// Builds centres with buckets of a SeaweedFS, whose program this is.
pub struct WithStore {
    pub weed: PathBuf,
}

impl StoreBuilder for WithStore {
    fn found_with_store(&self, site: &Path, servers: usize, buckets: usize) -> Result<FoundWithStore, Fault> {
        let secret = || Zeroizing::new(Id16(OsEntropy.id()).to_string());
        let [gateway, renewer] =
            ["GATEWAY", "RENEWER"].map(|name| Credentials { access_key_id: name.to_owned(), secret: secret() });
        // An address of its own in the loopback network: nothing but S3 listens there.
        let [a, b, c, ..] = OsEntropy.id();
        let address = Ipv4Addr::new(127, a, b, c.clamp(2, 254));
        let names: Vec<String> = (servers + 1..).take(buckets).map(bucket_id).collect();
        let words: Vec<&str> = names.iter().map(String::as_str).collect();
        let folder = site.join("store");
        fs::create_dir_all(&folder).map_err(|e| failed("the store's folder", e))?;
        let store = rig::Store::new(&self.weed, &folder, address, [&gateway, &renewer], &words, None);
        let mut store = store.map_err(|e| failed("the store", e))?;
        store.start().map_err(|e| failed("the store", e))?;
        let mut places = Vec::new();
        for name in &names {
            let hand = |who: &Credentials| store.hand(name, who).map_err(Fault::from);
            let place = Place { bucket: name.clone(), gateway: hand(&gateway)?, renewer: hand(&renewer)? };
            place.renewer.make_good_bucket(RETENTION_DAYS).map_err(|e| failed(name, e))?;
            places.push(place);
        }
        let place =
            |name: &String| BucketPlace { endpoint: store.endpoint(), bucket: name.clone(), prefix: PREFIX.to_owned() };
        let beside =
            Beside { buckets: names.iter().map(|name| (name.clone(), place(name))).collect(), ..Beside::default() };
        let (founded, machines) = drill_machines::found(site, servers, None, &beside, |plan| {
            names.iter().try_for_each(|name| fill_in(&plan.join("gateway").join(format!("{name}.toml")), &gateway))
        })?;
        let network = Network::start().map_err(|e| failed("the network", e))?;
        let real = RealStore { store, address, places, network, open: Mutex::default() };
        Ok(FoundWithStore { founded, machines: Box::new(machines), store: Box::new(real) })
    }
}

/// What all of the centre's objects begin with.
const PREFIX: &str = "vault";

/// Writes credentials into a file that a plan made for them.
fn fill_in(file: &Path, who: &Credentials) -> Result<(), Fault> {
    let text = Zeroizing::new(fs::read_to_string(file).map_err(|e| failed("a bucket's file", e))?);
    let id = format!("\naccess_key_id = \"{}\"", who.access_key_id);
    let secret = Zeroizing::new(format!("\nsecret = \"{}\"", who.secret.as_str()));
    let text = Zeroizing::new(text.replacen("\naccess_key_id = \"\"", &id, 1).replacen("\nsecret = \"\"", &secret, 1));
    write_private(file, text.as_bytes()).map_err(|e| failed("a bucket's file", e))
}

/// One bucket, and both identities at it.
struct Place {
    bucket: String,
    gateway: Hand,
    renewer: Hand,
}

struct RealStore {
    store: rig::Store,
    address: Ipv4Addr,
    places: Vec<Place>,
    network: Network,
    /// The filer's port, where it is open.
    open: Mutex<Option<Opened>>,
}

impl RealStore {
    /// Where the filer would be reached from another machine.
    fn filer(&self) -> SocketAddr {
        SocketAddr::from((self.address, self.store.filer().port()))
    }
}

impl Store for RealStore {
    fn versions(&self) -> Result<BTreeSet<String>, Fault> {
        let mut all = BTreeSet::new();
        for Place { bucket, renewer, .. } in &self.places {
            let listed = renewer.versions(&format!("{PREFIX}/o/")).map_err(|e| failed(bucket, e))?;
            for one in listed.iter().filter(|one| !one.hides) {
                if renewer.get(&one.key, &one.version).is_ok() {
                    all.insert(format!("{bucket}: {} {}", one.key, one.version));
                }
            }
        }
        Ok(all)
    }

    fn rob(&self) -> Result<Vec<Tried>, Fault> {
        let mut tried: Vec<Tried> = WHAT.iter().map(|what| Tried { what, times: 0, done: 0 }).collect();
        let mut note = |at: usize, done: bool| {
            if let Some(one) = tried.get_mut(at) {
                one.times += 1;
                one.done += usize::from(done);
            }
        };
        for Place { bucket, gateway, renewer } in &self.places {
            let listed = renewer.versions(&format!("{PREFIX}/o/")).map_err(|e| failed(bucket, e))?;
            for one in listed.iter().filter(|one| !one.hides).take(TRIED) {
                note(0, gateway.delete(&one.key, &one.version).is_ok());
                note(1, renewer.delete(&one.key, &one.version).is_ok());
                let tomorrow = SystemClock.now().plus_ms(DAY_MS);
                for who in [gateway, renewer] {
                    note(2, who.retain(&one.key, &one.version, tomorrow).is_ok());
                }
            }
            note(3, gateway.set_versioning("Suspended").is_ok());
            note(4, gateway.set_lock("GOVERNANCE", 1).is_ok());
            for who in [gateway, renewer] {
                note(5, who.delete_bucket().is_ok());
            }
        }
        tried.push(self.empty_through_filer()?);
        Ok(tried)
    }

    fn empty_through_filer(&self) -> Result<Tried, Fault> {
        let emptied = self.places.iter().filter(|place| {
            let path = format!("{}/{PREFIX}/o/", place.bucket);
            rig::delete_by_filer(&self.network, self.filer(), &path).is_ok()
        });
        let what = "asked the filer to delete all of a bucket";
        Ok(Tried { what, times: self.places.len(), done: emptied.count() })
    }

    fn set_filer_open(&self, open: bool) -> Result<(), Fault> {
        let mut opened = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if open && opened.is_none() {
            let new = Opened::new(self.filer(), self.store.filer()).map_err(|e| failed("opening the filer", e))?;
            *opened = Some(new);
        } else if !open {
            *opened = None;
        }
        Ok(())
    }
}

/// What the thief tries, in the order of [`RealStore::rob`].
const WHAT: [&str; 6] = [
    "asked S3 to delete a version, as the gateway",
    "asked S3 to delete a version, as the renewer",
    "asked S3 for a shorter retention",
    "asked S3 to suspend versioning, as the gateway",
    "asked S3 for a lock that can be lifted, as the gateway",
    "asked S3 to delete a bucket",
];

/// A port that lets through to another one, as a firewall does.
struct Opened {
    at: SocketAddr,
    is_over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Opened {
    fn new(at: SocketAddr, to: SocketAddr) -> io::Result<Self> {
        let (listener, is_over) = (TcpListener::bind(at)?, Arc::new(AtomicBool::new(false)));
        let ends = Arc::clone(&is_over);
        let thread = thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if ends.load(Ordering::Relaxed) {
                    return;
                }
                // Whoever is let through has a connection that fails where this one does.
                let _ = TcpStream::connect(to).and_then(|other| pass(stream, other));
            }
        });
        Ok(Self { at, is_over, thread: Some(thread) })
    }
}

impl Drop for Opened {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
        // It waits for somebody.
        let _ = TcpStream::connect(self.at);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Both ways, until either end has had enough.
fn pass(left: TcpStream, right: TcpStream) -> io::Result<()> {
    for (mut from, mut to) in [(left.try_clone()?, right.try_clone()?), (right, left)] {
        thread::spawn(move || {
            let _ = io::copy(&mut from, &mut to);
            let _ = to.shutdown(Shutdown::Both);
        });
    }
    Ok(())
}

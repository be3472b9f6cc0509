//! One TOML file: defaults, then the file, then the environment (`HOLDFAST__HTTP__LISTEN`), then flags. An unknown
//! key is an error: a misspelt safety setting must not be silently ignored.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use kit::id::BadId;
use kit::{Blame, Digest, Fault, UtcOffset};
use serde::{Deserialize, Serialize};

use crate::packs;
use crate::staging::sync_folder;

/// In the gateway's folder: it is lost and made anew with it.
pub const FILE_NAME: &str = "gateway/holdfast.toml";
const ENVIRONMENT_PREFIX: &str = "HOLDFAST__";
/// A configuration is a page of text.
const FILE_BYTES_MAX: u64 = 1024 * 1024;
/// A day: a bucket that lacks something may not go unnoticed for longer.
const PROBE_MINUTES_MAX: u32 = 24 * 60;
/// A day: packs of yesterday say nothing of today's fractions.
const PACKS_MINUTES_MAX: u32 = 24 * 60;
const PACKS_STALE_HOURS_MAX: u32 = 3 * 24;
/// An hour: longer, and a budget of an hour is none.
const CACHE_SECONDS_MAX: u32 = 3_600;

fn unwritable(data: &Path, why: impl std::fmt::Display) -> Fault {
    Fault::new(Blame::Configuration, "config.unwritable", format!("{}: {why}", data.join(FILE_NAME).display()))
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// One folder per server, relative to the data folder or absolute: shards, and that server's holder. Empty where the
    /// servers are machines of their own.
    pub servers: Vec<PathBuf>,
    /// The officer's public key, 64 hexadecimal digits: the servers are machines, those on the list of members that she
    /// signed, `gateway/members.cbor`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub officer: Option<String>,
    pub http: Http,
    pub dimse: Dimse,
    pub operations: Operations,
    pub keys: Keys,
    pub patients: Patients,
    #[serde(default)]
    pub people: People,
    #[serde(default)]
    pub pages: Pages,
    #[serde(default)]
    pub buckets: Buckets,
    #[serde(default)]
    pub packs: Packs,
    /// Where the account is sent.
    #[serde(default)]
    pub audit: Audit,
    /// Folders into which consoles write the plan that they are about to use: the gate answers beside it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub gate_folders: Vec<GateFolder>,
    #[serde(default, skip_serializing_if = "Doctor::is_default")]
    pub doctor: Doctor,
    /// Who administers each location, by its name (`server-01`, `bucket-13`): a person, a team, a company.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub administrators: BTreeMap<String, String>,
    /// Where the servers are that are machines, by name: for people to read. The list that the officer signed is what
    /// counts; a start says where the two differ.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub holders: BTreeMap<String, SocketAddr>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GateFolder {
    /// Absolute.
    pub folder: PathBuf,
    /// Whose it is, as an AE title is written: in the ledger it stands as `folder:TITLE`.
    pub title: String,
    /// The treatment machine whose console it is, as plans name it (300A,00B2).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub machine: Option<String>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Http {
    pub listen: SocketAddr,
    /// How the outside reaches this listener, as `https://records.hospital.example`: for links and FHIR addresses. Without
    /// one, `http://` and whatever the client calls us.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub public_url: Option<String>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Dimse {
    pub listen: SocketAddr,
    /// Called AE titles that store.
    pub archive_titles: Vec<String>,
    /// Called AE title that asks the fraction gate.
    pub gate_title: String,
    /// Who may connect. Plain DIMSE proves no identity: an address and a title are all that it has.
    pub peers: Vec<Peer>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Peer {
    /// Calling AE title, or `*`.
    pub title: String,
    /// `127.0.0.1` or `10.1.2.0/24`.
    pub network: String,
    /// The treatment machine that this AE is, as plans name it (300A,00B2): the gate holds a plan for another one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub machine: Option<String>,
    /// Where it takes event reports of procedure steps (UPS Event): `10.1.2.3:104`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub events: Option<SocketAddr>,
}

/// Health and metrics: their own listener, so that it can stand on another network.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Operations {
    pub listen: SocketAddr,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Keys {
    /// How long an opened patient key stays in the gateway's memory, for the person who opened it; at most an hour.
    pub cache_seconds: u32,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pages {
    /// How far the centre's clocks are ahead of UTC: `+05:30`. By them a day begins, and pages say the time.
    pub utc_offset: String,
}

impl Default for Pages {
    fn default() -> Self {
        Self { utc_offset: UtcOffset::default().to_string() }
    }
}

/// Each bucket's place and credentials stand in a file of its own, `gateway/buckets/`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Buckets {
    /// How often they are probed: settings of a bucket can be changed.
    pub probe_minutes: u32,
}

impl Default for Buckets {
    fn default() -> Self {
        Self { probe_minutes: 60 }
    }
}

/// Downtime packs: none are made where either list is empty.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Packs {
    /// The wards' age X25519 recipients (`holdfast pack key`); each ward opens all packs.
    #[serde(default)]
    pub recipients: Vec<String>,
    /// Where they are brought, relative to the data folder or absolute: shares of ward PCs, sticks.
    #[serde(default)]
    pub folders: Vec<PathBuf>,
    #[serde(default = "every_minutes")]
    pub every_minutes: u32,
    /// Older packs are stale, and the posture page is red.
    #[serde(default = "stale_hours")]
    pub stale_hours: u32,
}

fn every_minutes() -> u32 {
    60
}

fn stale_hours() -> u32 {
    6
}

impl Default for Packs {
    fn default() -> Self {
        let (every_minutes, stale_hours) = (every_minutes(), stale_hours());
        Self { recipients: Vec::new(), folders: Vec::new(), every_minutes, stale_hours }
    }
}

/// Bounds of `holdfast doctor`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Doctor {
    /// So much of each disk, and of its inodes, is to be free: less is a finding.
    pub disk_free_percent_min: u8,
}

impl Default for Doctor {
    fn default() -> Self {
        Self { disk_free_percent_min: 10 }
    }
}

impl Doctor {
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// The hospital's SIEM. Files are relative to the data folder or absolute.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Audit {
    /// Where it takes syslog over TLS: `tls://siem.hospital.example:6514`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub syslog: Option<String>,
    /// The certificates that its own is signed by, PEM: no other is believed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca: Option<PathBuf>,
    /// Who this gateway is, where the SIEM asks: its certificates and its key, PEM.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate: Option<PathBuf>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<PathBuf>,
}

impl Audit {
    /// Host and port.
    pub fn address(&self) -> Option<Result<(&str, u16), String>> {
        let text = self.syslog.as_deref()?;
        let parts = text.strip_prefix("tls://").and_then(|rest| rest.rsplit_once(':'));
        let found = parts.and_then(|(host, port)| Some((host, port.parse().ok().filter(|port| *port != 0)?)));
        let host = |text: &str| text.trim_start_matches('[').trim_end_matches(']').len();
        let good = found.filter(|(name, _)| host(name) > 0 && !name.contains(['/', '@']));
        Some(good.ok_or_else(|| "audit.syslog: tls://, a host, and a port: syslog without TLS is not sent".to_owned()))
    }

    fn check(&self) -> Result<(), String> {
        let Some(address) = self.address() else { return Ok(()) };
        address?;
        if self.ca.is_none() {
            return Err("audit.ca: audit.syslog needs the certificates that the SIEM's own is signed by".to_owned());
        }
        if self.certificate.is_some() != self.key.is_some() {
            return Err("audit.certificate and audit.key come together".to_owned());
        }
        Ok(())
    }
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Patients {
    /// Naming system (`Identifier.system`) of the hospital number, which DICOM calls Patient ID. Without one, an
    /// identifier counts whatever its system, and a number that two patients carry in different systems is ambiguous.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub number_system: Option<String>,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct People {
    /// Naming system (`Identifier.system`) of logins: a Practitioner with an identifier of it is whoever signs in by that name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub login_system: Option<String>,
}

impl Config {
    /// The defaults for servers in `servers/server-01` … under the data folder.
    pub fn new(servers: usize) -> Self {
        let local = |port| SocketAddr::from(([127, 0, 0, 1], port));
        Self {
            servers: (1..=servers).map(|n| PathBuf::from(format!("servers/server-{n:02}"))).collect(),
            officer: None,
            http: Http { listen: local(8080), public_url: None },
            dimse: Dimse {
                listen: local(11112),
                // ANY-SCP is what dcmtk and pynetdicom call by default.
                archive_titles: vec!["HOLDFAST".into(), "ANY-SCP".into()],
                gate_title: "GATE".into(),
                peers: vec![Peer { title: "*".into(), network: "127.0.0.0/8".into(), machine: None, events: None }],
            },
            operations: Operations { listen: local(8081) },
            keys: Keys { cache_seconds: 300 },
            patients: Patients::default(),
            people: People::default(),
            pages: Pages::default(),
            buckets: Buckets::default(),
            packs: Packs::default(),
            audit: Audit::default(),
            gate_folders: Vec::new(),
            doctor: Doctor::default(),
            administrators: BTreeMap::new(),
            holders: BTreeMap::new(),
        }
    }

    /// Whether there is a configuration. A file of nothing but blanks or zeros (a power failure leaves such) is none.
    pub fn is_there(data: &Path) -> bool {
        match std::fs::read(data.join(FILE_NAME)) {
            Ok(bytes) => bytes.iter().any(|byte| *byte != 0 && !byte.is_ascii_whitespace()),
            Err(error) => error.kind() != std::io::ErrorKind::NotFound,
        }
    }

    /// Reads `gateway/holdfast.toml` of a data folder, with the environment on top.
    pub fn load(data: &Path) -> Result<Self, Fault> {
        Self::load_file(&data.join(FILE_NAME))
    }

    /// The same, from a file anywhere. What is relative in it is relative to the data folder all the same.
    pub fn load_file(file: &Path) -> Result<Self, Fault> {
        Self::load_with(file, environment()?.into_iter())
    }

    fn load_with(file: &Path, environment: impl Iterator<Item = (String, String)>) -> Result<Self, Fault> {
        let wrong =
            |why: String| Fault::new(Blame::Configuration, "config.invalid", format!("{}: {why}", file.display()));
        let length = std::fs::metadata(file).map_err(|e| wrong(e.to_string()))?.len();
        if length > FILE_BYTES_MAX {
            return Err(wrong(format!("{length} bytes, maximum is {FILE_BYTES_MAX}")));
        }
        let text = std::fs::read_to_string(file).map_err(|e| wrong(e.to_string()))?;
        let table: toml::Table = text.parse().map_err(|e: toml::de::Error| wrong(e.to_string()))?;
        let defaults = toml::Table::try_from(Self::new(0)).map_err(|e| wrong(e.to_string()))?;
        let mut merged = merge(defaults, table);
        for (name, value) in environment {
            let Some(path) = name.strip_prefix(ENVIRONMENT_PREFIX) else { continue };
            let keys: Vec<String> = path.split("__").map(str::to_lowercase).collect();
            // A bare word is a string; everything else is TOML.
            let value = format!("v = {value}")
                .parse::<toml::Table>()
                .ok()
                .and_then(|mut t| t.remove("v"))
                .unwrap_or(toml::Value::String(value));
            let overlay = keys
                .iter()
                .rev()
                .fold(value, |inner, key| toml::Value::Table(std::iter::once((key.clone(), inner)).collect()));
            if let toml::Value::Table(overlay) = overlay {
                merged = merge(merged, overlay);
            }
        }
        let config: Self = merged.try_into().map_err(|e: toml::de::Error| wrong(e.to_string()))?;
        if let Some(officer) = config.officer_key() {
            officer.map_err(wrong)?;
            if !config.servers.is_empty() {
                return Err(wrong("servers: folders beside an officer, whose list has the servers".into()));
            }
        } else if !config.holders.is_empty() {
            return Err(wrong("holders: addresses without an officer, whose list has the servers".into()));
        } else if config.servers.is_empty() || config.servers.len() > kit::limits::SERVERS_MAX {
            let (found, maximum) = (config.servers.len(), kit::limits::SERVERS_MAX);
            return Err(wrong(format!("servers: {found} folders, at least 1 and at most {maximum} are needed")));
        }
        if let Err(error) = config.pages.utc_offset.parse::<UtcOffset>() {
            return Err(wrong(format!("pages.utc_offset: {error}")));
        }
        if config.keys.cache_seconds > CACHE_SECONDS_MAX {
            return Err(wrong(format!("keys.cache_seconds: at most {CACHE_SECONDS_MAX}")));
        }
        if !(1..=PROBE_MINUTES_MAX).contains(&config.buckets.probe_minutes) {
            return Err(wrong(format!("buckets.probe_minutes: it must be 1 to {PROBE_MINUTES_MAX}")));
        }
        let Packs { recipients, every_minutes, stale_hours, .. } = &config.packs;
        recipients.iter().try_for_each(|text| packs::recipient(text).map(drop)).map_err(wrong)?;
        if !(5..=PACKS_MINUTES_MAX).contains(every_minutes) {
            return Err(wrong(format!("packs.every_minutes: it must be 5 to {PACKS_MINUTES_MAX}")));
        }
        if !(1..=PACKS_STALE_HOURS_MAX).contains(stale_hours) || stale_hours * 60 < *every_minutes {
            let most = PACKS_STALE_HOURS_MAX;
            return Err(wrong(format!(
                "packs.stale_hours: it must be 1 to {most}, and no shorter than packs.every_minutes"
            )));
        }
        config.audit.check().map_err(wrong)?;
        if config.doctor.disk_free_percent_min > 100 {
            return Err(wrong("doctor.disk_free_percent_min: at most 100".into()));
        }
        if config.http.public_url.as_deref().is_some_and(|url| !is_origin(url)) {
            return Err(wrong("http.public_url: http:// or https://, a host, and a port where needed; no path".into()));
        }
        Ok(config)
    }

    /// Writes the file, whole or not at all, also where the power fails.
    pub fn save(&self, data: &Path) -> Result<(), Fault> {
        Self::write(data, &toml::to_string_pretty(self).map_err(|e| unwritable(data, e))?)
    }

    /// Names more servers in the file, and leaves the rest of it as it is.
    pub fn save_servers(data: &Path, servers: &[PathBuf]) -> Result<(), Fault> {
        let text = std::fs::read_to_string(data.join(FILE_NAME)).map_err(|e| unwritable(data, e))?;
        let mut table: toml::Table = text.parse().map_err(|e: toml::de::Error| unwritable(data, e))?;
        table.insert("servers".to_owned(), toml::Value::try_from(servers).map_err(|e| unwritable(data, e))?);
        Self::write(data, &toml::to_string_pretty(&table).map_err(|e| unwritable(data, e))?)
    }

    fn write(data: &Path, text: &str) -> Result<(), Fault> {
        let file = data.join(FILE_NAME);
        let partial = data.join(format!("{FILE_NAME}.partial"));
        let write = || {
            let mut out = std::fs::File::create(&partial)?;
            out.write_all(text.as_bytes())?;
            out.sync_all()?;
            std::fs::rename(&partial, &file)?;
            sync_folder(&data.join("gateway"))?;
            sync_folder(data)
        };
        write().map_err(|e| unwritable(data, e))
    }

    /// Where the servers are machines of their own.
    pub fn officer_key(&self) -> Option<Result<[u8; 32], String>> {
        let officer = self.officer.as_deref()?;
        Some(officer.parse().map(|Digest(bytes)| bytes).map_err(|e: BadId| format!("officer: {e}")))
    }

    /// Each server's folder.
    pub fn server_folders(&self, data: &Path) -> Vec<PathBuf> {
        self.servers.iter().map(|server| data.join(server)).collect()
    }

    /// Checked when it was loaded.
    pub fn utc_offset(&self) -> UtcOffset {
        self.pages.utc_offset.parse().unwrap_or_default()
    }

    /// What is known of callers by their AE titles. `*` is nobody in particular.
    pub fn known_peers(&self) -> Result<BTreeMap<String, edge::steps::Known>, Fault> {
        let mut known = BTreeMap::new();
        for Peer { title, machine, events, .. } in &self.dimse.peers {
            if machine.is_none() && events.is_none() {
                continue;
            }
            let said = edge::steps::Known { machine: machine.clone(), events: *events };
            if title == "*" || known.insert(title.clone(), said).is_some() {
                let text = format!("dimse.peers: machine and events are of one AE title, said once: {title}");
                return Err(Fault::new(Blame::Configuration, "config.peer", text));
            }
        }
        Ok(known)
    }

    pub fn guard_peers(&self) -> Result<Vec<guard::Peer>, Fault> {
        self.dimse.peers.iter().map(|p| guard::Peer::new(&p.title, &p.network).map_err(Fault::from)).collect()
    }
}

/// Scheme, host, port: pages and FHIR stand at fixed paths, so a path before them would lead nowhere.
fn is_origin(url: &str) -> bool {
    let host = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://"));
    host.is_some_and(|host| {
        !host.is_empty() && host.bytes().all(|b| b.is_ascii_alphanumeric() || b".:-[]".contains(&b))
    })
}

/// The variables that are meant for us. Others are nobody's business here, whatever bytes they hold.
fn environment() -> Result<Vec<(String, String)>, Fault> {
    let ours = std::env::vars_os().filter_map(|(name, value)| {
        let name = name.into_string().ok().filter(|name| name.starts_with(ENVIRONMENT_PREFIX))?;
        Some((name, value))
    });
    ours.map(|(name, value)| match value.into_string() {
        Ok(value) => Ok((name, value)),
        Err(_) => {
            let text = format!("the environment variable {name} is no UTF-8");
            Err(Fault::new(Blame::Configuration, "config.environment", text).guidance("correct it, or unset it"))
        }
    })
    .collect()
}

/// `over` on top of `under`; tables are merged, everything else is replaced.
pub fn merge(mut under: toml::Table, over: toml::Table) -> toml::Table {
    let mut rest = BTreeMap::from_iter(over);
    for (key, value) in std::mem::take(&mut rest) {
        let value = match (under.remove(&key), value) {
            (Some(toml::Value::Table(a)), toml::Value::Table(b)) => toml::Value::Table(merge(a, b)),
            (_, b) => b,
        };
        under.insert(key, value);
    }
    under
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(text: &str, environment: &[(&str, &str)]) -> Result<Config, Fault> {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("gateway")).unwrap();
        std::fs::write(dir.path().join(FILE_NAME), text).unwrap();
        Config::load_with(&dir.path().join(FILE_NAME), environment.iter().map(|(a, b)| ((*a).into(), (*b).into())))
    }

    #[test]
    fn the_environment_stands_over_the_file_and_the_file_over_the_defaults() {
        let config = load(
            "servers = ['a']\n[http]\nlisten = '127.0.0.1:1'\n[dimse]\ngate_title = 'G1'\n",
            &[("HOLDFAST__HTTP__LISTEN", "127.0.0.1:2"), ("HOLDFAST__KEYS__CACHE_SECONDS", "7"), ("OTHER", "x")],
        )
        .unwrap();
        assert_eq!(config.http.listen.port(), 2);
        assert_eq!(config.dimse.gate_title, "G1");
        assert_eq!(config.dimse.listen.port(), 11112);
        assert_eq!(config.keys.cache_seconds, 7);
    }

    #[test]
    fn an_unknown_key_is_an_error_that_names_it() {
        assert!(load("servers = ['a']\n[http]\nlissen = '127.0.0.1:1'\n", &[]).unwrap_err().message.contains("lissen"));
        assert!(load("servers = ['a']\n", &[("HOLDFAST__KEYS__CASH", "1")]).unwrap_err().message.contains("cash"));
        assert!(load("servers = []\n", &[]).is_err());
    }

    #[test]
    fn a_public_url_is_an_origin() {
        let load = |url: &str| load(&format!("servers = ['a']\n[http]\npublic_url = '{url}'\n"), &[]);
        for good in ["https://records.example", "http://10.1.2.3:8080", "https://[2001:db8::1]:8443"] {
            assert_eq!(load(good).unwrap().http.public_url.as_deref(), Some(good));
        }
        for bad in ["records.example", "https://", "https://a.example/", "https://a.example/fhir", "ftp://a.example"] {
            assert!(load(bad).unwrap_err().message.contains("public_url"), "{bad}");
        }
    }

    #[test]
    fn a_siem_is_reached_over_tls_and_known_by_its_ca() {
        let load = |text: &str| load(&format!("servers = ['a']\n[audit]\n{text}\n"), &[]);
        let good = load("syslog = 'tls://[::1]:6514'\nca = 'siem.pem'").unwrap();
        assert_eq!(good.audit.address().unwrap().unwrap(), ("[::1]", 6514));
        for (bad, named) in [
            ("syslog = 'tcp://siem:514'\nca = 'a'", "audit.syslog"),
            ("syslog = 'tls://siem'\nca = 'a'", "audit.syslog"),
            ("syslog = 'tls://:6514'\nca = 'a'", "audit.syslog"),
            ("syslog = 'tls://siem:0'\nca = 'a'", "audit.syslog"),
            ("syslog = 'tls://siem:6514'", "audit.ca"),
            ("syslog = 'tls://siem:6514'\nca = 'a'\nkey = 'b'", "audit.certificate"),
        ] {
            assert!(load(bad).unwrap_err().message.contains(named), "{bad}");
        }
    }

    #[test]
    fn buckets_are_probed_at_least_once_a_day() {
        assert_eq!(load("servers = ['a']\n", &[]).unwrap().buckets.probe_minutes, 60);
        for wrong in ["0", "1441"] {
            let refused = load("servers = ['a']\n", &[("HOLDFAST__BUCKETS__PROBE_MINUTES", wrong)]).unwrap_err();
            assert!(refused.message.contains("probe_minutes"), "{refused}");
        }
    }

    #[test]
    fn what_is_saved_loads_the_same() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("gateway")).unwrap();
        Config::new(14).save(dir.path()).unwrap();
        let loaded = Config::load_with(&dir.path().join(FILE_NAME), std::iter::empty()).unwrap();
        assert_eq!(loaded.servers, Config::new(14).servers);
    }
}

//! `holder.toml`: what a server's administrator sets. An unknown key is an error.

use std::fs::{self, File};
use std::io::Read;
use std::net::SocketAddr;
use std::path::Path;

use kit::id::BadId;
use kit::{Blame, Digest, Fault, Id16, write_private};
use serde::{Deserialize, Serialize};

use crate::identity::Pin;

pub const FILE_NAME: &str = "holder.toml";
/// A page of text.
const FILE_BYTES_MAX: u64 = 256 * 1024;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The centre's vault: 32 hexadecimal digits.
    pub vault: String,
    /// This server's, from 1.
    pub number: u8,
    pub listen: SocketAddr,
    /// The officer's public key: 64 hexadecimal digits. What she signed counts here, and nothing else does.
    pub officer: String,
    /// Pins of the gateways, until the first list of members that the officer signed.
    pub gateways: Vec<String>,
    /// The centre's secret for this server's card: 64 hexadecimal digits. Of no use once the centre is founded.
    pub join_code: String,
    /// The key epoch of the others, where it takes the place of one that was lost.
    #[serde(default = "first_epoch")]
    pub key_epoch: u32,
    pub keys: Keys,
    #[serde(default)]
    pub shards: Shards,
    /// Charts that the whole centre opens. Each holder counts by itself, and lets its part of them through.
    #[serde(default)]
    pub budgets: keys::Budgets,
}

fn first_epoch() -> u32 {
    keys::FIRST_EPOCH
}

/// How each key is split, until a list of members says so. It stands here, since a gateway in a thief's hands chooses the records that it shows, and the
/// fewer holders a chart takes, the smaller is each one's part of a budget.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Keys {
    /// Holders that open a key.
    pub needed: u8,
    /// Holders that there are.
    pub holders: u8,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Shards {
    /// The most bytes of objects; 0 for as many as the disk takes.
    pub quota_bytes: u64,
    /// Left free on the disk, so that refusals and counts can still be written.
    pub reserve_bytes: u64,
    /// How fast the holder reads its own objects over for bit rot; 0 for not at all.
    pub scrub_bytes_per_second: u64,
    /// After so many days the administrator may end the retention of a volume, on this machine's console; without it,
    /// never. Nothing ends by itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retention_days: Option<u32>,
}

impl Default for Shards {
    fn default() -> Self {
        Self {
            quota_bytes: 0,
            reserve_bytes: 1024 * 1024 * 1024,
            scrub_bytes_per_second: 8 * 1024 * 1024,
            retention_days: None,
        }
    }
}

/// A configuration whose texts were read.
pub(crate) struct Checked {
    pub(crate) vault: Id16,
    pub(crate) officer: [u8; 32],
    pub(crate) gateways: Vec<Pin>,
    pub(crate) join_code: [u8; 32],
}

fn wrong(file: &Path, why: impl std::fmt::Display) -> Fault {
    Fault::new(Blame::Configuration, "holder.config", format!("{}: {why}", file.display()))
}

impl Config {
    pub fn load(dir: &Path) -> Result<Self, Fault> {
        let file = dir.join(FILE_NAME);
        let mut text = String::new();
        let opened = File::open(&file).map_err(|e| wrong(&file, e))?;
        opened.take(FILE_BYTES_MAX + 1).read_to_string(&mut text).map_err(|e| wrong(&file, e))?;
        if text.len() as u64 > FILE_BYTES_MAX {
            return Err(wrong(&file, format!("more than {FILE_BYTES_MAX} bytes")));
        }
        let config: Self = toml::from_str(&text).map_err(|e| wrong(&file, e))?;
        config.checked().map_err(|why| wrong(&file, why))?;
        Ok(config)
    }

    pub fn save(&self, dir: &Path) -> Result<(), Fault> {
        let file = dir.join(FILE_NAME);
        let text = toml::to_string_pretty(self).map_err(|e| wrong(&file, e))?;
        fs::create_dir_all(dir).and_then(|()| write_private(&file, text.as_bytes())).map_err(|e| wrong(&file, e))
    }

    /// What this holder lets through of the centre's budgets, where no list of members says how keys are split.
    pub(crate) fn part(&self) -> keys::Budgets {
        self.part_of(self.keys)
    }

    pub(crate) fn part_of(&self, keys: Keys) -> keys::Budgets {
        self.budgets.part(keys.needed, keys.holders)
    }

    pub(crate) fn checked(&self) -> Result<Checked, String> {
        // 32 bytes, as digits: what stands for a digest elsewhere is a key or a secret here.
        let bytes = |what: &str, text: &str| text.parse().map(|Digest(b)| b).map_err(|e: BadId| format!("{what}: {e}"));
        let number = usize::from(self.number);
        if !(1..=kit::limits::SERVERS_MAX).contains(&number) {
            return Err(format!("number: {number}, it must be 1 to {}", kit::limits::SERVERS_MAX));
        }
        let officer = bytes("officer", &self.officer)?;
        if keys::is_small_order(&officer) {
            return Err("officer: a point of small order is nobody's key".to_owned());
        }
        if self.shards.retention_days == Some(0) {
            return Err("shards.retention_days: 0; leave it out to keep everything for ever".to_owned());
        }
        let Keys { needed, holders } = self.keys;
        if !(1..=holders).contains(&needed) || usize::from(holders) > kit::limits::SERVERS_MAX || self.number > holders
        {
            let max = kit::limits::SERVERS_MAX;
            return Err(format!("keys: {needed} of {holders}, for holder {number}; at most {max} holders"));
        }
        // A budget of nothing is meant so; one whose part is nothing is not.
        let (mut whole, mut part) = (self.budgets, self.part());
        let mut both = whole.charts().into_iter().zip(part.charts());
        if let Some(((name, budget), _)) = both.find(|((_, whole), (_, part))| **whole > 0 && **part == 0) {
            return Err(format!(
                "budgets.{name}: {budget}, of which none is this holder's part ({needed} of {holders})"
            ));
        }
        Ok(Checked {
            vault: self.vault.parse().map_err(|e: BadId| format!("vault: {e}"))?,
            officer,
            gateways: self
                .gateways
                .iter()
                .map(|pin| pin.parse().map_err(|e: BadId| format!("gateways: {e}")))
                .collect::<Result<_, _>>()?,
            join_code: bytes("join_code", &self.join_code)?,
        })
    }
}

/// What people call a server: `server-05`.
pub fn server_name(number: u8) -> String {
    format!("server-{number:02}")
}

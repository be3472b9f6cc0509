//! Checks a bundle with nothing but the file, its receiver's key, and the sender's log keys.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, Read};
use std::path::PathBuf;

use archive::{ArchiveError, Contents, MANIFEST, compare, sha256};
use clap::Args;
use kit::{Blame, Fault, Timestamp, UtcOffset};
use serde_json::{Value, json};

use super::{BESIDE, BOUNDS, DATA, DOCUMENT, ENTRY, KEYS, KIND, PAGE, PDF, README, RECEIPT};
use crate::acts::Answer;
use crate::commands::print;
use crate::plugins::Client;
use crate::proven::{self, Trusted};
use crate::say::plural;
use crate::{DEGRADED, INTEGRITY, Output, outside};

/// What an age file begins with (age-encryption.org/v1).
const AGE: &[u8] = b"age-encryption.org/";
/// Of a file that is looked into. The data has every session; a manifest has a line for each file.
const KEPT_BYTES_MAX: u64 = 64 * 1024 * 1024;
const KEPT: [&str; 5] = [MANIFEST, DATA, KEYS, ENTRY, RECEIPT];
/// Without one of these it is no bundle.
const NEEDED: [&str; 6] = [README, PAGE, PDF, DOCUMENT, DATA, KEYS];
/// Differences that are named.
const NAMED_MAX: usize = 100;
const IDENTITIES_BYTES_MAX: u64 = 64 * 1024;

#[derive(Args)]
pub struct Verify {
    file: PathBuf,
    /// The receiver's age identity (AGE-SECRET-KEY-1… or AGE-PLUGIN-…), where it is sealed.
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
    /// The sender's log key, and each of its witnesses', as `ledger keys` prints them there: got by another way than the bundle came by.
    #[arg(long, value_name = "VKEY", allow_hyphen_values = true, conflicts_with = "keys")]
    vkey: Vec<String>,
    /// What `ledger keys` printed there, in a file.
    #[arg(long, value_name = "FILE")]
    keys: Option<PathBuf>,
    #[command(flatten)]
    plugins: Client,
    #[command(flatten)]
    output: Output,
}

/// What was found.
struct Found {
    contents: Contents,
    /// Why it could not be read to its end.
    broken: Option<ArchiveError>,
}

impl Verify {
    pub fn run(self) -> Result<u8, Fault> {
        let trusted = self.trusted()?;
        let found = self.read()?;
        Ok(print(self.output, &judge(&found, trusted)?))
    }

    /// None where nobody gave any.
    fn trusted(&self) -> Result<Option<Trusted>, Fault> {
        if self.vkey.is_empty() && self.keys.is_none() {
            return Ok(None);
        }
        let (logs, witness): (Vec<String>, Vec<String>) =
            self.vkey.iter().cloned().partition(|key| key.parse::<ledger::Vkey>().is_ok());
        outside::Keys { keys: self.keys.clone(), log: logs.into_iter().next(), witness }.read().map(Some)
    }

    fn read(&self) -> Result<Found, Fault> {
        let failed = |why: String| Fault::new(Blame::Peer, "transfer.file", format!("{}: {why}", self.file.display()));
        let file = File::open(&self.file).map_err(|e| failed(e.to_string()))?;
        let mut file = BufReader::new(file);
        let is_sealed = file.fill_buf().map_err(|e| failed(e.to_string()))?.starts_with(AGE);
        let mut reader: Box<dyn Read> = match (is_sealed, &self.key) {
            (false, _) => Box::new(file),
            (true, None) => {
                let text = format!("{}: it is sealed, and opens with its receiver's key (--key)", self.file.display());
                return Err(Fault::new(Blame::Peer, "usage.key", text));
            }
            (true, Some(key)) => {
                let no = |why: String| Fault::new(Blame::Peer, "transfer.key", format!("{}: {why}", key.display()));
                let length = fs::metadata(key).map_err(|e| no(e.to_string()))?.len();
                if length > IDENTITIES_BYTES_MAX {
                    return Err(no(format!("{length} bytes, the maximum is {IDENTITIES_BYTES_MAX}")));
                }
                let text = zeroize::Zeroizing::new(fs::read_to_string(key).map_err(|e| no(e.to_string()))?);
                Box::new(self.plugins.opened(&text, file)?)
            }
        };
        let mut contents = Contents::default();
        let keep = |name: &str| KEPT.contains(&name).then_some(KEPT_BYTES_MAX);
        let broken = archive::read(&mut reader, BOUNDS, keep, &mut contents).err();
        Ok(Found { contents, broken })
    }
}

fn judge(found: &Found, trusted: Option<Trusted>) -> Result<Answer, Fault> {
    let Contents { files, kept } = &found.contents;
    let file = |name: &str| kept.get(name).map(|bytes| bytes.as_slice()).unwrap_or_default();
    let mut wrong: Vec<String> = found.broken.iter().map(|why| format!("DAMAGED {why}")).collect();
    match kept.get(MANIFEST) {
        Some(manifest) => {
            let all = compare(manifest, files, &BESIDE);
            wrong.extend(all.iter().take(NAMED_MAX).map(ToString::to_string));
            wrong
                .extend(all.len().checked_sub(NAMED_MAX + 1).map(|more| format!("and {} other differences", more + 1)));
            let needed = NEEDED.iter().filter(|name| !files.contains_key(**name));
            wrong.extend(needed.map(|name| format!("MISSING {name}: no bundle is without it")));
        }
        None => wrong.push(format!("MISSING {MANIFEST}: whether anything else is can't be told")),
    }
    wrong.sort();
    wrong.dedup();

    let is_checked = trusted.is_some();
    let trusted = match trusted {
        Some(trusted) => Some(trusted),
        // By its own word: that it is of one piece, and no more.
        None => std::str::from_utf8(file(KEYS)).ok().and_then(|text| outside::trusted(text).ok()),
    };
    let proof = (file(ENTRY), file(RECEIPT));
    let proven = trusted.as_ref().map(|trusted| proven::check(KIND, sha256(file(MANIFEST)), proof, trusted));
    let mut text = String::new();
    let data: Value = serde_json::from_slice(file(DATA)).unwrap_or_default();
    text.push_str(&about(&data));
    let modalities = count(files.keys().filter_map(|name| name.strip_prefix("dicom/")?.split('/').next()));
    let kinds = files.keys().filter(|name| name.starts_with("fhir/")).count();
    let modalities: Vec<String> = modalities.iter().map(|(what, many)| format!("{many} {what}")).collect();
    let dicom = if modalities.is_empty() { "none".to_owned() } else { modalities.join(", ") };
    text.push_str(&format!("\n  {}: DICOM {dicom}; {} of FHIR", plural(files.len(), "file"), plural(kinds, "file")));
    if wrong.is_empty() {
        text.push_str("\n  whole: every file is there, as the manifest has it, and no other");
    }
    wrong.iter().for_each(|line| text.push_str(&format!("\n  {line}")));
    let (mut exit, mut entry) = (if wrong.is_empty() { 0 } else { INTEGRITY }, None);
    match (&proven, &trusted) {
        (Some(Ok(proven)), Some(trusted)) => {
            entry = Some(proven.entry);
            let of = trusted.witnesses.len();
            let by = match of {
                0 => "by the log's word alone: it has no witnesses".to_owned(),
                of => format!("{} of {of} witnesses have cosigned that", proven.cosigned),
            };
            text.push_str(&format!("\n  entry {} of the log {} names it; {by}", proven.entry, trusted.log.name()));
        }
        (Some(Err(why)), _) => {
            exit = INTEGRITY;
            text.push_str(&format!("\n  NOT PROVEN: {why}"));
        }
        _ => {
            exit = INTEGRITY;
            text.push_str(&format!("\n  NOT PROVEN: there is no {KEYS} that can be read"));
        }
    }
    if !is_checked {
        exit = exit.max(DEGRADED);
        let key = trusted.as_ref().map(|trusted| trusted.log.to_string()).unwrap_or_default();
        text.push_str(&format!(
            "\n  NOBODY HAS CHECKED WHO MADE IT: no key was given. It says {key}: ask that centre by another way, then --vkey"
        ));
    }
    let missing: Vec<&str> = (data.get("missing").and_then(Value::as_array).into_iter().flatten())
        .filter_map(|one| one.get("what")?.as_str())
        .collect();
    if !missing.is_empty() {
        exit = exit.max(DEGRADED);
        missing.iter().for_each(|line| text.push_str(&format!("\n  NOT IN IT, as its sender says: {line}")));
    }
    let said = |field: &str| data.get(field).cloned().unwrap_or(Value::Null);
    let json = json!({
        "id": said("id"), "from": said("centre"), "to": said("to"), "by": said("by"), "role": said("role"), "as_of": said("as_of"),
        "number": data.pointer("/seen/number"), "names": said("names"), "files": files.len(),
        "whole": wrong.is_empty(), "wrong": wrong, "checked": is_checked,
        "proven": proven.as_ref().is_some_and(Result::is_ok), "entry": entry, "missing": missing,
    });
    Ok(Answer { exit, text, json })
}

fn count<'a>(words: impl Iterator<Item = &'a str>) -> BTreeMap<&'a str, usize> {
    words.fold(BTreeMap::new(), |mut all, word| {
        *all.entry(word).or_default() += 1;
        all
    })
}

/// Whose it is, by whom and when, as it says.
fn about(data: &Value) -> String {
    let text = |path: &str| {
        let text = data.pointer(path).and_then(Value::as_str).unwrap_or("?");
        text.chars().filter(|c| !c.is_control()).collect::<String>()
    };
    if data.is_null() {
        return format!("a bundle that doesn't say whose it is: there is no {DATA} that can be read");
    }
    let at = data.get("as_of").cloned().and_then(|at| serde_json::from_value::<Timestamp>(at).ok());
    let offset: UtcOffset = text("/seen/utc_offset").parse().unwrap_or_default();
    let at = at.map(|at| offset.local(at).to_string()).unwrap_or_default();
    let at = at.get(..16).unwrap_or_default().replace('T', " ");
    format!(
        "{} ({}, born {}), from {} to {}\n  made by {} ({}) at {at} UTC{offset}: {}",
        text("/seen/name"),
        text("/seen/number"),
        text("/seen/birth_date"),
        text("/centre"),
        text("/to"),
        text("/by"),
        text("/role"),
        text("/reason"),
    )
}

//! `holdfast pack`: at the centre it makes packs; on a ward, with nothing but a folder and a key, it checks and opens them.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use age::x25519::Identity;
use clap::{Args, Subcommand};
use edge::console::paper::{self, Opened, Trust};
use kit::{Blame, Clock as _, Digest, Fault, SystemClock, Timestamp, UtcOffset, write_private};
use serde_json::{Value, json};

use super::archive::{
    DATA, Files, LIST, LIST_ID, List, Listed, MANIFEST, PACK_BYTES_MAX, PackError, SHEET, Trusted, check, open, sha256,
};
use super::{CLOCKS_MS, EXTENSION, packs_in, prepare, ward};
use crate::acts::{Act, Answer};
use crate::commands::{act, print};
use crate::{DEGRADED, Data, INTEGRITY, Output, control};

/// A day and two hours: packs that were brought yesterday before work are good all of today.
const MAX_AGE_HOURS: u32 = 26;

#[derive(Subcommand)]
pub enum Command {
    /// Make a ward's key. Its recipient goes into holdfast.toml, the file to the ward; remake it when servers are replaced.
    Key {
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
        #[command(flatten)]
        data: Data,
        #[command(flatten)]
        output: Output,
    },
    /// Lay a folder out for packs: a ward PC's share, a stick. Where it isn't, nothing is written.
    Prepare { folder: PathBuf },
    /// Make the packs of everybody on treatment now, and bring them to the folders. `serve` does so by itself.
    Make {
        #[command(flatten)]
        data: Data,
        #[command(flatten)]
        output: Output,
    },
    /// Check packs without opening anything to be seen: who made them, whether they are whole and all there, how old they are. Asks
    /// nobody; exit 4 where one is damaged or not the centre's, 3 where one is too old or missing, or nobody can tell.
    Verify {
        #[command(flatten)]
        packs: Packs,
        #[command(flatten)]
        output: Output,
    },
    /// Check packs and open them into a folder, with a list for a browser. Asks nobody. What fails is named and left out.
    Open {
        #[command(flatten)]
        packs: Packs,
        /// A new folder. What is in it then is readable: delete it when the outage is over.
        #[arg(long, value_name = "DIR")]
        out: PathBuf,
        #[command(flatten)]
        output: Output,
    },
}

#[derive(Args)]
pub struct Packs {
    /// A pack, or a folder of packs.
    #[arg(required = true)]
    paths: Vec<PathBuf>,
    /// The ward's key.
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    #[arg(long, default_value_t = MAX_AGE_HOURS, value_name = "HOURS")]
    max_age_hours: u32,
}

/// One pack, looked into.
struct Looked {
    id: String,
    path: PathBuf,
    found: Result<Found, PackError>,
}

struct Found {
    files: Files,
    manifest: Digest,
    data: Value,
    as_of: Timestamp,
    age_ms: i64,
    cosigned: usize,
}

/// All of them: each patient's newest, and what is wrong with the rest.
struct Sight {
    is_checked: bool,
    packs: Vec<Looked>,
    /// Lines of what isn't shown, or isn't there.
    lacks: Vec<String>,
    /// Whether a list says that nothing is missing.
    is_whole: bool,
}

impl Command {
    pub fn run(self) -> Result<u8, Fault> {
        match self {
            Self::Key { out, data, output } => {
                let keys = control::perform(&data.data, Act::LedgerKeys)?.json;
                let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
                let log = keys.get("log").map(text).unwrap_or_default();
                let witnesses = keys.get("witnesses").and_then(Value::as_array).into_iter().flatten().map(text);
                let recipient = ward::write(&out, &Identity::generate(), &log, &witnesses.collect::<Vec<_>>())?;
                let said = format!(
                    "{}: the ward's key; bring it there, and keep a copy on paper in the safe\n  \
                     [packs] in gateway/holdfast.toml:  recipients = [\"{recipient}\"]",
                    out.display()
                );
                Ok(print(output, &Answer::done(said, json!({ "recipient": recipient }))))
            }
            Self::Prepare { folder } => {
                prepare(&folder)?;
                say!("{}: packs may be brought here; [packs] in gateway/holdfast.toml names it", folder.display());
                Ok(0)
            }
            Self::Make { data, output } => act(&data, output, Act::PacksMake),
            Self::Verify { packs, output } => Ok(print(output, &packs.verdict(&packs.look()?))),
            Self::Open { packs, out, output } => packs.open(&out, output),
        }
    }
}

impl Packs {
    fn look(&self) -> Result<Sight, Fault> {
        let (identity, trusted) = ward::read(&self.key)?;
        let (mut files, mut lacks, mut is_folder) = (Vec::new(), Vec::new(), false);
        for path in &self.paths {
            let failed = |e: std::io::Error| Fault::new(Blame::Peer, "pack.path", format!("{}: {e}", path.display()));
            if fs::metadata(path).map_err(failed)?.is_dir() {
                is_folder = true;
                files.extend(packs_in(path).map_err(failed)?.into_iter().map(|(_, path)| path));
            } else {
                files.push(path.clone());
            }
        }
        files.sort();
        files.dedup();
        if files.is_empty() {
            let paths = self.paths.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(", ");
            let text = format!("{paths}: no packs (ID.{EXTENSION}) are there");
            return Err(Fault::new(Blame::Absent, "pack.none", text));
        }
        let now = SystemClock.now();
        let (mut lists, mut newest, mut packs): (Vec<List>, BTreeMap<String, Looked>, Vec<Looked>) = Default::default();
        for path in files {
            let name = path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
            match look_into(&path, &name, &identity, trusted.as_ref(), now) {
                Ok(Inside::List(list)) => lists.push(list),
                Ok(Inside::Pack(found)) => match newest.get(&name).and_then(|one| one.found.as_ref().ok()) {
                    Some(other) if other.as_of >= found.as_of => {
                        lacks.push(format!("{}: an older copy, as of {}", path.display(), found.as_of));
                    }
                    other => {
                        lacks.extend(other.map(|other| format!("{name}: an older copy, as of {}", other.as_of)));
                        newest.insert(name.clone(), Looked { id: name, path, found: Ok(found) });
                    }
                },
                Err(why) => packs.push(Looked { id: name, path, found: Err(why) }),
            }
        }
        packs.extend(newest.into_values());
        packs.sort_by(|a, b| (&a.id, &a.path).cmp(&(&b.id, &b.path)));
        let list = lists.into_iter().max_by_key(|list| list.as_of);
        let is_whole = match &list {
            Some(list) => {
                let before = lacks.len();
                lacks.extend(list.packs.iter().filter_map(|listed| lacking(list, listed, &packs)));
                lacks.len() == before
            }
            None => !is_folder,
        };
        if list.is_none() && is_folder {
            lacks.push("there is no list that can be believed: whether packs are missing can't be told".to_owned());
        }
        Ok(Sight { is_checked: trusted.is_some(), packs, lacks, is_whole })
    }

    /// Why it isn't to be trusted as it stands.
    fn doubt(&self, found: &Found) -> Option<&'static str> {
        match found.age_ms {
            age if age > i64::from(self.max_age_hours) * 3_600_000 => Some("OLD"),
            age if age < -CLOCKS_MS => Some("OF A TIME TO COME"),
            _ => None,
        }
    }

    fn verdict(&self, sight: &Sight) -> Answer {
        let (mut lines, mut rows) = (Vec::new(), Vec::new());
        let (mut good, mut doubted, mut bad) = (0, 0, 0);
        for one in &sight.packs {
            let (word, said) = match &one.found {
                Ok(found) => match self.doubt(found) {
                    Some(doubt) => {
                        doubted += 1;
                        (doubt, age(found))
                    }
                    None => {
                        good += 1;
                        ("good", age(found))
                    }
                },
                Err(why) => {
                    bad += 1;
                    ("DAMAGED", why.to_string())
                }
            };
            lines.push(format!("  {}  {word}: {said}", one.id));
            rows.push(match &one.found {
                Ok(found) => json!({ "pack": one.id, "state": word.to_lowercase(), "as_of": found.as_of,
                                     "age_s": found.age_ms / 1_000, "cosigned": found.cosigned }),
                Err(why) => json!({ "pack": one.id, "state": "damaged", "why": why.to_string() }),
            });
        }
        let newest = sight.packs.iter().filter_map(|one| one.found.as_ref().ok()).map(|found| found.as_of).max();
        let count = sight.packs.len();
        let mut head = format!(
            "{count} packs: {good} good, {doubted} older than {} h or of a time to come, {bad} damaged",
            self.max_age_hours
        );
        if !sight.is_checked {
            head.push_str("\n  NOBODY HAS CHECKED WHO MADE THEM: the key's file has no log's key");
        }
        sight.lacks.iter().for_each(|line| head.push_str(&format!("\n  NOT HERE {line}")));
        lines.insert(0, head);
        let exit = match (bad, doubted) {
            (1.., _) => INTEGRITY,
            (0, 0) if sight.is_checked && sight.is_whole => 0,
            _ => DEGRADED,
        };
        let json = json!({ "packs": rows, "good": good, "doubted": doubted, "damaged": bad, "newest": newest,
                           "not_here": sight.lacks, "checked": sight.is_checked });
        Answer { exit, text: lines.join("\n"), json }
    }

    fn open(&self, out: &Path, output: Output) -> Result<u8, Fault> {
        let failed = |place: &Path, e: &dyn std::fmt::Display| {
            Fault::new(Blame::Peer, "pack.out", format!("{}: {e}", place.display()))
        };
        if fs::read_dir(out).is_ok_and(|mut there| there.next().is_some()) {
            return Err(failed(out, &"it is not empty: what is older in it could be taken for new"));
        }
        let sight = self.look()?;
        let (mut rows, mut bad) = (Vec::new(), sight.lacks.clone());
        for one in &sight.packs {
            let found = match &one.found {
                Ok(found) => found,
                Err(why) => {
                    bad.push(format!("{}: {why}", one.path.display()));
                    continue;
                }
            };
            let folder = out.join(&one.id);
            fs::create_dir_all(&folder).map_err(|e| failed(&folder, &e))?;
            for (name, bytes) in &found.files {
                write_private(&folder.join(name), bytes).map_err(|e| failed(&folder.join(name), &e))?;
            }
            rows.push(line_of(&one.id, &found.data, found.as_of, self.doubt(found)));
        }
        rows.sort_by(|a, b| (&a.machines, &a.name, &a.number).cmp(&(&b.machines, &b.name, &b.number)));
        let opened = SystemClock.now().to_string();
        let opened = format!("{} UTC", opened.get(..16).unwrap_or_default().replace('T', " "));
        let trust = if sight.is_checked { Trust::Checked } else { Trust::Unchecked };
        let list = paper::list(&opened, trust, &[], &rows, &bad)?;
        fs::create_dir_all(out).map_err(|e| failed(out, &e))?;
        let index = out.join("index.html");
        write_private(&index, list.as_bytes()).map_err(|e| failed(&index, &e))?;
        let mut answer = self.verdict(&sight);
        let head: Vec<&str> = answer.text.lines().filter(|line| !line.contains("  good: ")).collect();
        answer.text = format!(
            "{}\n  {} for a browser; what is in {} is readable: delete it when the outage is over",
            head.join("\n"),
            index.display(),
            out.display()
        );
        if let Some(json) = answer.json.as_object_mut() {
            json.insert("index".to_owned(), json!(index.display().to_string()));
        }
        Ok(print(output, &answer))
    }
}

/// A pack's line in the list of those that were opened.
pub(super) fn line_of(id: &str, data: &Value, as_of: Timestamp, doubt: Option<&str>) -> Opened {
    let text = |field: &str| data.get(field).and_then(Value::as_str).unwrap_or_default().to_owned();
    let courses = || data.get("courses").and_then(Value::as_array).into_iter().flatten();
    let each = |of: &dyn Fn(&Value) -> String| courses().map(of).collect::<Vec<_>>().join(", ");
    let given = |course: &Value| {
        let number = |path: &str| course.pointer(path).and_then(Value::as_u64);
        let of = number("/fractions_planned").unwrap_or(0);
        match (number("/given/distinct"), number("/given/highest")) {
            (Some(distinct), Some(highest)) if distinct < highest => format!("{distinct} to {highest} of {of}"),
            (Some(distinct), _) => format!("{distinct} of {of}"),
            _ => format!("? of {of}"),
        }
    };
    let codes = |course: &Value| -> Vec<String> {
        let findings = course.get("findings").and_then(Value::as_array).into_iter().flatten();
        findings.filter_map(|finding| finding.get("code")?.as_str().map(str::to_owned)).collect()
    };
    let is_held = |course: &Value| codes(course).iter().any(|code| code != "too-soon");
    let is_late = |course: &Value| !codes(course).is_empty();
    let is_begun = |course: &Value| course.get("unfinished").is_some_and(|unfinished| !unfinished.is_null());
    let state = match () {
        () if courses().next().is_none() => "no signed plan",
        () if courses().any(is_held) => "HELD",
        () if courses().any(is_begun) => "a fraction is unfinished",
        () if courses().any(is_late) => "one was given lately",
        () => "ready",
    };
    // By the centre's clocks, as on the sheet.
    let offset: UtcOffset = text("utc_offset").parse().unwrap_or_default();
    let at = offset.local(as_of).to_string();
    Opened {
        folder: id.to_owned(),
        name: text("name"),
        number: text("number"),
        birth_date: text("birth_date"),
        machines: each(&|course| {
            let all = course.get("machines").and_then(Value::as_array).into_iter().flatten();
            all.filter_map(Value::as_str).collect::<Vec<_>>().join(", ")
        }),
        plans: each(&|course| course.get("plan").and_then(Value::as_str).unwrap_or_default().to_owned()),
        given: each(&given),
        state: state.to_owned(),
        as_of: format!("{} UTC{offset}", at.get(..16).unwrap_or_default().replace('T', " ")),
        doubt: doubt.map(str::to_owned),
    }
}

/// What the list names and isn't here as the list names it.
fn lacking(list: &List, listed: &Listed, packs: &[Looked]) -> Option<String> {
    let here = packs.iter().filter(|one| one.id == listed.id).filter_map(|one| one.found.as_ref().ok()).next();
    match here {
        None if packs.iter().any(|one| one.id == listed.id) => None,
        None => Some(format!("{}: the list of {} names it", listed.id, list.as_of)),
        Some(found) if found.manifest != listed.manifest && found.as_of < list.as_of => {
            Some(format!("{}: the list of {} names a newer one", listed.id, list.as_of))
        }
        Some(_) => None,
    }
}

/// `3 h 12 min old`.
fn age(found: &Found) -> String {
    let minutes = found.age_ms / 60_000;
    match (found.age_ms < -CLOCKS_MS, minutes / 60) {
        (true, _) => format!("as of {}, by this machine's clock", found.as_of),
        (_, 0) => format!("{} min old", minutes.max(0)),
        (_, hours) => format!("{hours} h {} min old", minutes % 60),
    }
}

enum Inside {
    Pack(Found),
    List(List),
}

/// `name`: of the file; it is the pack's, or somebody has given it another one's.
fn look_into(
    path: &Path,
    name: &str,
    identity: &Identity,
    trusted: Option<&Trusted>,
    now: Timestamp,
) -> Result<Inside, PackError> {
    let no_pack = |why: String| PackError::NoPack(why);
    let there = fs::symlink_metadata(path).map_err(|e| no_pack(e.to_string()))?;
    if !there.is_file() {
        return Err(no_pack("it is no file".to_owned()));
    }
    if there.len() > 2 * PACK_BYTES_MAX as u64 {
        return Err(PackError::TooLarge { found: there.len() });
    }
    let files = open(&fs::read(path).map_err(|e| no_pack(e.to_string()))?, identity)?;
    let cosigned = trusted.map(|trusted| check(&files, trusted)).transpose()?.unwrap_or(0);
    if let Some(list) = files.get(LIST) {
        let list: List = serde_json::from_slice(list).map_err(|e| no_pack(format!("{LIST}: {e}")))?;
        return match list.id == name {
            true => Ok(Inside::List(list)),
            false => Err(no_pack(format!("it is the list, and has another name than {}", list.id))),
        };
    }
    let data = files.get(DATA).ok_or_else(|| no_pack(format!("there is no {DATA}")))?;
    let data: Value = serde_json::from_slice(data).map_err(|e| no_pack(format!("{DATA}: {e}")))?;
    let id = data.get("id").and_then(Value::as_str).unwrap_or_default();
    if id != name || id == LIST_ID {
        return Err(no_pack(format!("it is pack {id:.16}, under another one's name")));
    }
    let as_of = data.get("as_of").cloned().and_then(|at| serde_json::from_value::<Timestamp>(at).ok());
    let as_of = as_of.ok_or_else(|| no_pack(format!("{DATA} doesn't say as of when")))?;
    if !files.contains_key(SHEET) {
        return Err(no_pack(format!("there is no {SHEET}")));
    }
    let manifest = sha256(files.get(MANIFEST).map_or(&[], |manifest| manifest.as_slice()));
    Ok(Inside::Pack(Found { files, manifest, data, as_of, age_ms: now.0.saturating_sub(as_of.0), cosigned }))
}

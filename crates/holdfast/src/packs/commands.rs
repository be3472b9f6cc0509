//! `holdfast pack`: at the centre it makes packs; on a ward, with nothing but a folder and a key, it checks and opens them.

use std::fs;
use std::path::{Path, PathBuf};

use age::x25519::Identity;
use clap::{Args, Subcommand};
use edge::console::paper::{self, Opened};
use kit::{Blame, Clock as _, Fault, SystemClock, Timestamp, write_private};
use serde_json::{Value, json};

use super::archive::{DATA, Files, PACK_BYTES_MAX, PackError, SHEET, Trusted, check, open};
use super::{EXTENSION, prepare, ward};
use crate::acts::{Act, Answer};
use crate::commands::{act, print};
use crate::{DEGRADED, Data, INTEGRITY, Output, control};

/// A day and two hours: packs that were brought yesterday before work are good all of today.
const MAX_AGE_HOURS: u32 = 26;
const PACKS_MAX: usize = 100_000;

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
    /// Check packs without opening anything to be seen: who made them, whether they are whole, how old they are. Asks nobody; exit 4
    /// where one is damaged or not the centre's, 3 where one is too old.
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
    data: Value,
    as_of: Timestamp,
    age_ms: i64,
    cosigned: usize,
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
            Self::Verify { packs, output } => {
                let looked = packs.look()?;
                Ok(print(output, &packs.verdict(&looked.1, looked.0)))
            }
            Self::Open { packs, out, output } => packs.open(&out, output),
        }
    }
}

impl Packs {
    /// Whether they were checked by the centre's keys, and each of them.
    fn look(&self) -> Result<(bool, Vec<Looked>), Fault> {
        let (identity, trusted) = ward::read(&self.key)?;
        let mut files = Vec::new();
        for path in &self.paths {
            let failed = |e: std::io::Error| Fault::new(Blame::Peer, "pack.path", format!("{}: {e}", path.display()));
            if !fs::metadata(path).map_err(failed)?.is_dir() {
                files.push(path.clone());
                continue;
            }
            for entry in fs::read_dir(path).map_err(failed)?.take(PACKS_MAX) {
                let file = entry.map_err(failed)?.path();
                files.extend(Some(file).filter(|file| file.extension().is_some_and(|kind| kind == EXTENSION)));
            }
        }
        files.sort();
        files.dedup();
        if files.is_empty() {
            let paths = self.paths.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(", ");
            let text = format!("{paths}: no packs (*.{EXTENSION}) are there");
            return Err(Fault::new(Blame::Absent, "pack.none", text));
        }
        let now = SystemClock.now();
        let looked = files.into_iter().map(|path| Looked {
            id: path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default(),
            found: look_into(&path, &identity, trusted.as_ref(), now),
            path,
        });
        Ok((trusted.is_some(), looked.collect()))
    }

    fn is_stale(&self, found: &Found) -> bool {
        found.age_ms > i64::from(self.max_age_hours) * 3_600_000
    }

    fn verdict(&self, looked: &[Looked], is_checked: bool) -> Answer {
        let (mut lines, mut rows) = (Vec::new(), Vec::new());
        let (mut good, mut stale, mut bad) = (0, 0, 0);
        for one in looked {
            let (word, said) = match &one.found {
                Ok(found) if self.is_stale(found) => {
                    stale += 1;
                    ("OLD", age(found))
                }
                Ok(found) => {
                    good += 1;
                    ("good", age(found))
                }
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
        let newest = looked.iter().filter_map(|one| one.found.as_ref().ok()).map(|found| found.as_of).max();
        let mut head =
            format!("{} packs: {good} good, {stale} older than {} h, {bad} damaged", looked.len(), self.max_age_hours);
        if !is_checked {
            head.push_str("\n  NOBODY HAS CHECKED WHO MADE THEM: the key's file has no log's key");
        }
        lines.insert(0, head);
        let exit = match (bad, stale) {
            (1.., _) => INTEGRITY,
            (0, 1..) => DEGRADED,
            _ => 0,
        };
        let json = json!({ "packs": rows, "good": good, "old": stale, "damaged": bad, "newest": newest,
                           "checked": is_checked });
        Answer { exit, text: lines.join("\n"), json }
    }

    fn open(&self, out: &Path, output: Output) -> Result<u8, Fault> {
        let failed = |place: &Path, e: &dyn std::fmt::Display| {
            Fault::new(Blame::Peer, "pack.out", format!("{}: {e}", place.display()))
        };
        if fs::read_dir(out).is_ok_and(|mut there| there.next().is_some()) {
            return Err(failed(out, &"it is not empty: what is older in it could be taken for new"));
        }
        let (is_checked, looked) = self.look()?;
        let (mut rows, mut bad) = (Vec::new(), Vec::new());
        for one in &looked {
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
            rows.push(self.row(one, found));
        }
        rows.sort_by(|a, b| (&a.machines, &a.name, &a.number).cmp(&(&b.machines, &b.name, &b.number)));
        let opened = SystemClock.now().to_string();
        let list = paper::list(opened.get(..16).unwrap_or_default(), is_checked, &rows, &bad)?;
        fs::create_dir_all(out).map_err(|e| failed(out, &e))?;
        let index = out.join("index.html");
        write_private(&index, list.as_bytes()).map_err(|e| failed(&index, &e))?;
        let mut answer = self.verdict(&looked, is_checked);
        let head = answer.text.lines().next().unwrap_or_default().to_owned();
        let bad: String = bad.iter().map(|line| format!("\n  NOT OPENED {line}")).collect();
        answer.text = format!(
            "{head}{bad}\n  {} for a browser; what is in {} is readable: delete it when the outage is over",
            index.display(),
            out.display()
        );
        if let Some(json) = answer.json.as_object_mut() {
            json.insert("index".to_owned(), json!(index.display().to_string()));
        }
        Ok(print(output, &answer))
    }

    fn row(&self, one: &Looked, found: &Found) -> Opened {
        let text = |field: &str| found.data.get(field).and_then(Value::as_str).unwrap_or_default().to_owned();
        let courses = || found.data.get("courses").and_then(Value::as_array).into_iter().flatten();
        let each = |of: &dyn Fn(&Value) -> String| courses().map(of).collect::<Vec<_>>().join(", ");
        let given = |course: &Value| {
            let of = course.get("fractions_planned").and_then(Value::as_u64).unwrap_or(0);
            match course.pointer("/given/distinct").and_then(Value::as_u64) {
                Some(given) => format!("{given} of {of}"),
                None => format!("? of {of}"),
            }
        };
        Opened {
            folder: one.id.clone(),
            name: text("name"),
            number: text("number"),
            birth_date: text("birth_date"),
            machines: each(&|course| {
                let all = course.get("machines").and_then(Value::as_array).into_iter().flatten();
                all.filter_map(Value::as_str).collect::<Vec<_>>().join(", ")
            }),
            plans: each(&|course| course.get("plan").and_then(Value::as_str).unwrap_or_default().to_owned()),
            given: each(&given),
            as_of: found.as_of.to_string().get(..16).unwrap_or_default().replace('T', " "),
            is_stale: self.is_stale(found),
        }
    }
}

/// `3 h 12 min old`.
fn age(found: &Found) -> String {
    let minutes = found.age_ms / 60_000;
    match (minutes < 0, minutes / 60) {
        (true, _) => format!("as of {}, which is yet to come by this machine's clock", found.as_of),
        (_, 0) => format!("{minutes} min old"),
        (_, hours) => format!("{hours} h {} min old", minutes % 60),
    }
}

fn look_into(path: &Path, identity: &Identity, trusted: Option<&Trusted>, now: Timestamp) -> Result<Found, PackError> {
    let no_pack = |why: String| PackError::NoPack(why);
    let length = fs::metadata(path).map_err(|e| no_pack(e.to_string()))?.len();
    if length > 2 * PACK_BYTES_MAX as u64 {
        return Err(PackError::TooLarge { found: length });
    }
    let files = open(&fs::read(path).map_err(|e| no_pack(e.to_string()))?, identity)?;
    let cosigned = trusted.map(|trusted| check(&files, trusted)).transpose()?.unwrap_or(0);
    let data = files.get(DATA).ok_or_else(|| no_pack(format!("there is no {DATA}")))?;
    let data: Value = serde_json::from_slice(data).map_err(|e| no_pack(format!("{DATA}: {e}")))?;
    let as_of = data.get("as_of").cloned().and_then(|at| serde_json::from_value::<Timestamp>(at).ok());
    let as_of = as_of.ok_or_else(|| no_pack(format!("{DATA} doesn't say as of when")))?;
    if !files.contains_key(SHEET) {
        return Err(no_pack(format!("there is no {SHEET}")));
    }
    Ok(Found { files, data, as_of, age_ms: now.0.saturating_sub(as_of.0), cosigned })
}

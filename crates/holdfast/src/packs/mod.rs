//! Downtime packs: what each patient on treatment needs on a day when nothing runs, sealed to the wards' keys, and brought to
//! folders: a ward PC's share, a stick.
//!
//! ```text
//! treatment: who, plans, dose so far ──► sheet, files, manifest ──► an entry of the log names the manifests
//!                                                              └──► tar + entry + receipt, in age ──► FOLDER/ID.pack
//! ```
//! A pack is stale by its own time, whoever carries it. `docs/formats/pack.md` has the bytes.

pub mod archive;
mod commands;
pub mod ward;

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::str::FromStr as _;

use age::x25519::Recipient;
use chart::Context;
use guard::{Purpose, Sensitivity, Target};
use kit::{Blame, Fault, OperationId, PatientId, Timestamp};
use serde::{Deserialize, Serialize};
use treatment::{PACKS_AT_ONCE, Pack};
use zeroize::Zeroizing;

use self::archive::{DATA, ENTRY, Files, KIND, RECEIPT, Round, SHEET, close, seal, sha256};
use crate::DEGRADED;
use crate::acts::Answer;
use crate::centre::Centre;
use crate::say::plural;

pub use commands::Command;

/// What a folder has to have before anything is written there: a stick that isn't plugged in leaves an empty folder behind.
pub const MARKER: &str = "HOW-TO-OPEN.txt";
/// What was brought to a folder last.
const STATUS: &str = "status.json";
const EXTENSION: &str = "pack";
const LIST: &str = "packs";
/// A status is some lines.
const STATUS_BYTES_MAX: u64 = 64 * 1024;

/// What was brought to a folder, and when. Nothing of a patient.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Brought {
    /// Nothing in it is older.
    pub as_of: Timestamp,
    pub packs: usize,
    /// Of so many patients of whom there was to be one.
    pub of: usize,
}

/// One folder, as it is now.
pub struct FolderState {
    pub folder: PathBuf,
    /// Why there is nothing, or nothing that can be believed.
    pub brought: Result<Brought, String>,
}

/// What one making of packs has come to.
#[derive(Debug, Serialize)]
pub struct Made {
    pub as_of: Timestamp,
    pub packs: usize,
    pub of: usize,
    /// Why some are missing, each code once with how many times.
    pub missing: Vec<String>,
    /// Folders that could not be written, and why.
    pub failed: Vec<String>,
    pub folders: usize,
}

fn folders_of(centre: &Centre) -> Vec<PathBuf> {
    centre.config().packs.folders.iter().map(|folder| centre.data().join(folder)).collect()
}

fn recipients_of(centre: &Centre) -> Result<Vec<Recipient>, Fault> {
    let each = centre.config().packs.recipients.iter().map(|text| recipient(text));
    each.collect::<Result<_, _>>().map_err(|why| Fault::new(Blame::Configuration, "packs.recipients", why))
}

/// An age X25519 recipient.
pub fn recipient(text: &str) -> Result<Recipient, String> {
    Recipient::from_str(text).map_err(|why| format!("packs.recipients: {text:?}: {why}"))
}

/// Whether packs are to be made at all.
pub fn are_wanted(centre: &Centre) -> bool {
    let packs = &centre.config().packs;
    !packs.recipients.is_empty() && !packs.folders.is_empty()
}

/// Each folder, by what stands in it.
pub fn look(centre: &Centre) -> Vec<FolderState> {
    folders_of(centre).into_iter().map(|folder| FolderState { brought: brought_to(&folder), folder }).collect()
}

fn brought_to(folder: &Path) -> Result<Brought, String> {
    prepared(folder)?;
    let file = folder.join(STATUS);
    let length = fs::metadata(&file).map_err(|_| "no packs were brought there yet".to_owned())?.len();
    if length > STATUS_BYTES_MAX {
        return Err(format!("{STATUS} has {length} bytes, the maximum is {STATUS_BYTES_MAX}"));
    }
    let text = fs::read(&file).map_err(|e| e.to_string())?;
    serde_json::from_slice(&text).map_err(|e| format!("{STATUS}: {e}"))
}

fn prepared(folder: &Path) -> Result<(), String> {
    match folder.join(MARKER).is_file() {
        true => Ok(()),
        false => Err(format!("there is no {MARKER} in it: not plugged in, or never prepared (holdfast pack prepare)")),
    }
}

/// Lays a folder out as a place for packs.
pub fn prepare(folder: &Path) -> Result<(), Fault> {
    let text = "Downtime packs of a radiotherapy department (Holdfast), one file for each patient on treatment.\n\
                They open with the ward's key and nothing else: no server, no network.\n\n\
                  holdfast pack verify THIS-FOLDER --key ward.key\n\
                  holdfast pack open THIS-FOLDER --key ward.key --out FOLDER\n\n\
                and then FOLDER/index.html in any browser; print from there. Without holdfast, one by one:\n\n\
                  age -d -i ward.key FILE.pack | tar x\n\n\
                Keep the key apart from this folder. A pack says what was known at its time, and releases nothing.\n";
    let write = || {
        fs::create_dir_all(folder)?;
        write_whole(&folder.join(MARKER), text.as_bytes())
    };
    write().map_err(|e: io::Error| Fault::new(Blame::Peer, "packs.folder", format!("{}: {e}", folder.display())))
}

/// Whole or not at all. Others may read it: what is secret in it is sealed.
fn write_whole(file: &Path, bytes: &[u8]) -> io::Result<()> {
    let partial = file.with_extension("partial");
    let mut out = File::create(&partial)?;
    out.write_all(bytes)?;
    out.sync_all()?;
    fs::rename(&partial, file)
}

/// A name that tells nobody whose it is, and is the same each time: a new pack takes the old one's place.
fn id_of(centre: &Centre, patient: PatientId) -> String {
    let tag = centre.chart().list_tag(LIST, &patient.0);
    tag.as_bytes().iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}

/// Makes the packs of everybody on treatment, and brings them to the folders. One patient's that can't be made keeps nobody else's
/// from being made, and the one of before stays where it is.
pub fn make(centre: &Centre) -> Result<Made, Fault> {
    let _alone = centre.packing();
    let recipients = recipients_of(centre)?;
    let chart = centre.chart();
    let as_of = chart.now();
    let (mut folders, mut failed) = (Vec::new(), Vec::new());
    for folder in folders_of(centre) {
        match prepared(&folder) {
            Ok(()) => folders.push(folder),
            Err(why) => failed.push(format!("{}: {why}", folder.display())),
        }
    }
    if recipients.is_empty() || (folders.is_empty() && failed.is_empty()) {
        let text =
            "packs need at least one recipient (holdfast pack key makes one) and one folder: [packs] in holdfast.toml";
        return Err(Fault::new(Blame::Configuration, "packs.unconfigured", text));
    }
    let patients = centre.treatment().packed_patients(&context(centre))?;
    let (mut expected, mut packs, mut of) = (BTreeSet::new(), 0, 0);
    let mut missing: std::collections::BTreeMap<String, usize> = std::collections::BTreeMap::new();
    for some in patients.chunks(PACKS_AT_ONCE) {
        let each = centre.treatment().packs(&context(centre), some)?;
        let mut round = Vec::new();
        for (patient, pack) in some.iter().zip(each) {
            let id = id_of(centre, *patient);
            match pack.and_then(|pack| pack.map(|pack| files_of(&pack, &id)).transpose()) {
                Ok(None) => continue,
                Ok(Some(files)) => round.push((id.clone(), files)),
                Err(fault) => *missing.entry(fault.code).or_default() += 1,
            }
            of += 1;
            // Also where there is none this time: the one of before is better than nothing.
            expected.insert(id);
        }
        packs += bring(centre, round, &recipients, &mut folders, &mut failed)?;
    }
    for folder in &folders {
        let status = Brought { as_of, packs, of };
        let bytes = serde_json::to_vec(&status).unwrap_or_default();
        let finish = || {
            forget_others(folder, &expected)?;
            write_whole(&folder.join(STATUS), &bytes)?;
            File::open(folder)?.sync_all()
        };
        if let Err(why) = finish() {
            failed.push(format!("{}: {why}", folder.display()));
        }
    }
    let missing = missing.into_iter().map(|(code, times)| format!("{times} × {code}")).collect();
    Ok(Made { as_of, packs, of, missing, failed, folders: folders.len() })
}

/// Exit 3 where somebody is missing, or a folder.
pub fn answer(made: &Made) -> Answer {
    let (packs, of) = (made.packs, made.of);
    let mut text = format!("{packs} of {of} packs, in {}", plural(made.folders, "folder"));
    made.missing.iter().for_each(|line| text.push_str(&format!("\n  NOT MADE {line}: the one of before stays")));
    made.failed.iter().for_each(|line| text.push_str(&format!("\n  NOT BROUGHT {line}")));
    let exit = if made.missing.is_empty() && made.failed.is_empty() { 0 } else { DEGRADED };
    Answer { exit, text, json: serde_json::to_value(made).unwrap_or_default() }
}

fn context(centre: &Centre) -> Context {
    let chart = centre.chart();
    let operation = OperationId::random(chart.entropy());
    Context { caller: chart.guard().console(), purpose: Purpose::Treatment, operation }
}

/// All but the manifest, entry and receipt.
fn files_of(pack: &Pack, id: &str) -> Result<Files, Fault> {
    let failed = |e: serde_json::Error| Fault::new(Blame::Ours, "packs.data", e.to_string());
    let mut files = Files::new();
    let mut put = |name: &str, bytes: Vec<u8>| files.insert(name.to_owned(), Zeroizing::new(bytes));
    let data = serde_json::to_vec_pretty(pack).map_err(failed)?;
    let photo = pack.photo.as_ref().map(|photo| if photo.is_png { "photo.png" } else { "photo.jpg" });
    let sheet = edge::console::paper::sheet(pack, id, sha256(&data), photo)?;
    put(SHEET, sheet.into_bytes());
    put(DATA, data);
    if let (Some(name), Some(photo)) = (photo, &pack.photo) {
        put(name, photo.bytes.clone());
    }
    for plan in &pack.plans {
        if let Some(name) = &plan.file {
            put(name, plan.bytes.clone());
        }
    }
    Ok(files)
}

/// Notes the manifests in the log, and brings the packs to every folder that takes them. A folder that fails is left alone from then
/// on. Gives how many packs were made.
fn bring(
    centre: &Centre,
    mut round: Vec<(String, Files)>,
    recipients: &[Recipient],
    folders: &mut Vec<PathBuf>,
    failed: &mut Vec<String>,
) -> Result<usize, Fault> {
    if round.is_empty() {
        return Ok(0);
    }
    let chart = centre.chart();
    let note = Round { version: 1, manifests: round.iter_mut().map(|(_, files)| close(files)).collect() };
    let note = minicbor::to_vec(&note).map_err(|e| Fault::new(Blame::Ours, "packs.note", e.to_string()))?;
    let permit = chart
        .admit(&context(centre), guard::Act::MakePacks, Target::Centre, Sensitivity::Clinical)
        .map_err(|e| e.fault())?;
    let lists = vec![chart.list_tag(LIST, &[])];
    let entry = chart.append_note(&permit, KIND, lists, note).map_err(|e| e.fault())?.index;
    let (leaf, proof) = (chart.vault().leaf_bytes(entry)?, chart.vault().prove(entry)?.to_bytes());
    let mut made = 0;
    for (id, mut files) in round {
        files.insert(ENTRY.to_owned(), Zeroizing::new(leaf.clone()));
        files.insert(RECEIPT.to_owned(), Zeroizing::new(proof.clone()));
        let sealed = seal(&files, recipients).map_err(|e| Fault::of(&e))?;
        made += 1;
        folders.retain(|folder| match write_whole(&folder.join(format!("{id}.{EXTENSION}")), &sealed) {
            Ok(()) => true,
            Err(why) => {
                failed.push(format!("{}: {why}", folder.display()));
                false
            }
        });
    }
    Ok(made)
}

/// Takes away packs of who is on treatment no more.
fn forget_others(folder: &Path, expected: &BTreeSet<String>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let is_pack = path.extension().is_some_and(|extension| extension == EXTENSION);
        let is_expected = path.file_stem().and_then(|stem| stem.to_str()).is_some_and(|stem| expected.contains(stem));
        if is_pack && !is_expected {
            fs::remove_file(&path)?;
        }
    }
    Ok(())
}

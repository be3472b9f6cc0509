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
pub mod sheets;
pub mod ward;

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::str::FromStr as _;

use age::x25519::Recipient;
use chart::{Chart, Context};
use guard::{Purpose, Sensitivity, Target};
use kit::{Blame, Entropy as _, Fault, Id16, OperationId, OsEntropy, PatientId, Timestamp};
use serde::{Deserialize, Serialize};
use treatment::{PACKS_AT_ONCE, Pack, Packed};
use zeroize::Zeroizing;

use self::archive::{
    DATA, ENTRY, Files, KIND, LIST, LIST_ID, List, Listed, RECEIPT, Round, SHEET, close, seal, sha256,
};
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
/// The list of the log's entries that name packs.
const ROUNDS: &str = "packs";
/// A folder of packs has some thousand at most.
const ENTRIES_MAX: usize = 100_000;
/// So many patients may end their courses within an hour, whatever the list was before.
const LEAVING_MIN: usize = 5;
/// Two machines' clocks.
const CLOCKS_MS: i64 = 10 * 60_000;
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
    /// Whose courses are complete: no pack is made of them.
    pub complete: usize,
    /// Of which centre's log.
    pub log: String,
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
    pub complete: usize,
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
    let of = |folder: PathBuf| FolderState { brought: standing(centre, &folder), folder };
    folders_of(centre).into_iter().map(of).collect()
}

/// As the status says, and as many packs as it says are there.
fn standing(centre: &Centre, folder: &Path) -> Result<Brought, String> {
    let brought = brought_to(centre, folder)?.ok_or("no packs were brought there yet")?;
    if brought.as_of > centre.chart().now().plus_ms(CLOCKS_MS) {
        return Err(format!("its {STATUS} is of a time to come: {}", brought.as_of));
    }
    let there = packs_in(folder).map_err(|e| e.to_string())?.iter().filter(|(id, _)| id != LIST_ID).count();
    match there < brought.packs {
        true => Err(format!("{there} packs are there, {} were brought", brought.packs)),
        false => Ok(brought),
    }
}

/// What was brought there last; nothing yet.
fn brought_to(centre: &Centre, folder: &Path) -> Result<Option<Brought>, String> {
    prepared(folder)?;
    let file = folder.join(STATUS);
    let found = match fs::symlink_metadata(&file) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        other => other.map_err(|e| e.to_string())?,
    };
    if !found.is_file() || found.len() > STATUS_BYTES_MAX {
        return Err(format!("{STATUS} is no file of at most {STATUS_BYTES_MAX} bytes"));
    }
    let text = fs::read(&file).map_err(|e| e.to_string())?;
    // What nobody can read says nothing, and is written anew.
    let Ok(brought) = serde_json::from_slice::<Brought>(&text) else { return Ok(None) };
    match brought.log == log_of(centre) {
        true => Ok(Some(brought)),
        false => Err("packs of another centre are there".to_owned()),
    }
}

fn log_of(centre: &Centre) -> String {
    centre.chart().vault().vkey().name().to_owned()
}

fn prepared(folder: &Path) -> Result<(), String> {
    match folder.join(MARKER).is_file() {
        true => Ok(()),
        false => Err(format!("there is no {MARKER} in it: not plugged in, or never prepared (holdfast pack prepare)")),
    }
}

/// Files by the name of a pack, with their IDs; whatever else is there is nobody's business.
pub fn packs_in(folder: &Path) -> io::Result<Vec<(String, PathBuf)>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder)?.take(ENTRIES_MAX) {
        let entry = entry?;
        let id = id_of_name(&entry.path());
        if let Some(id) = id.filter(|_| entry.file_type().is_ok_and(|kind| kind.is_file())) {
            found.push((id, entry.path()));
        }
    }
    found.sort();
    Ok(found)
}

/// `ID.pack`.
fn id_of_name(path: &Path) -> Option<String> {
    let id = path.file_name()?.to_str()?.strip_suffix(".pack")?;
    let is_id = id.len() == 16 && id.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte));
    is_id.then(|| id.to_owned())
}

/// Lays a folder out as a place for packs.
pub fn prepare(folder: &Path) -> Result<(), Fault> {
    let text = "Downtime packs of a radiotherapy department (Holdfast), one file for each patient on treatment.\n\
                They open with the ward's key and nothing else: no server, no network.\n\n\
                  holdfast pack verify THIS-FOLDER --key ward.key\n\
                  holdfast pack open THIS-FOLDER --key ward.key --out FOLDER\n\n\
                and then FOLDER/index.html in any browser; print from there. Without holdfast, one by one, each into a folder of its own:\n\n\
                  mkdir ID && age -d -i ward.key ID.pack | tar x -C ID\n\n\
                Keep the key apart from this folder. A pack says what was known at its time, and releases nothing.\n";
    let write = || {
        fs::create_dir_all(folder)?;
        write_whole(&folder.join(MARKER), text.as_bytes())
    };
    write().map_err(|e: io::Error| Fault::new(Blame::Peer, "packs.folder", format!("{}: {e}", folder.display())))
}

/// Whole or not at all. Others may read it: what is secret in it is sealed. The folder may be somebody else's: under a name that he
/// can't guess, and no link of his is followed.
fn write_whole(file: &Path, bytes: &[u8]) -> io::Result<()> {
    let partial = file.with_file_name(format!(".{}.partial", Id16(OsEntropy.id())));
    let write = || {
        let mut out = File::options().write(true).create_new(true).open(&partial)?;
        out.write_all(bytes)?;
        out.sync_all()?;
        fs::rename(&partial, file)
    };
    write().inspect_err(|_| drop(fs::remove_file(&partial)))
}

/// A name that tells nobody whose it is, and is the same each time: a new pack takes the old one's place.
fn id_of(chart: &Chart, patient: PatientId) -> String {
    let tag = chart.list_tag(ROUNDS, &patient.0);
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
        match brought_to(centre, &folder) {
            Ok(_) => folders.push(folder),
            Err(why) => failed.push(format!("{}: {why}", folder.display())),
        }
    }
    if recipients.is_empty() || (folders.is_empty() && failed.is_empty()) {
        let text =
            "packs need at least one recipient (holdfast pack key makes one) and one folder: [packs] in holdfast.toml";
        return Err(Fault::new(Blame::Configuration, "packs.unconfigured", text));
    }
    let Packed { patients, erased } = centre.treatment().packed_patients(&context(chart))?;
    let erased: BTreeSet<String> = erased.into_iter().map(|patient| id_of(chart, patient)).collect();
    let (mut expected, mut listed, mut complete) = (BTreeSet::new(), Vec::new(), 0);
    let mut missing: BTreeMap<String, usize> = BTreeMap::new();
    for some in patients.chunks(PACKS_AT_ONCE) {
        let each = centre.treatment().packs(&context(chart), some)?;
        let mut round = Vec::new();
        for (patient, pack) in some.iter().zip(each) {
            let id = id_of(chart, *patient);
            match pack.and_then(|pack| pack.map(|pack| files_of(&pack, &id)).transpose()) {
                Ok(None) => {
                    complete += 1;
                    continue;
                }
                Ok(Some(files)) => round.push((id.clone(), files)),
                Err(fault) => *missing.entry(fault.code).or_default() += 1,
            }
            // Also where there is none this time: the one of before is better than nothing.
            expected.insert(id);
        }
        listed.extend(bring(centre, round, &recipients, &mut folders, &mut failed)?);
    }
    let (packs, of) = (listed.len(), expected.len());
    // Last of all: by it a ward knows that a pack is missing.
    let list = List { id: LIST_ID.to_owned(), as_of, packs: listed };
    let list = serde_json::to_vec_pretty(&list).unwrap_or_default();
    let list = Files::from([(LIST.to_owned(), Zeroizing::new(list))]);
    bring(centre, vec![(LIST_ID.to_owned(), list)], &recipients, &mut folders, &mut failed)?;
    for folder in &folders {
        let status = Brought { as_of, packs, of, complete, log: log_of(centre) };
        let bytes = serde_json::to_vec(&status).unwrap_or_default();
        let finish = || {
            let kept = forget_others(folder, &expected, &erased)?;
            write_whole(&folder.join(STATUS), &bytes)?;
            File::open(folder)?.sync_all()?;
            io::Result::Ok(kept)
        };
        match finish() {
            Ok(0) => {}
            Ok(kept) => failed.push(format!(
                "{}: {kept} packs of patients who are on the list no more were left there: the list has shrunk to {of}. Where that is \
                 right, take them away",
                folder.display()
            )),
            Err(why) => failed.push(format!("{}: {why}", folder.display())),
        }
    }
    let missing = missing.into_iter().map(|(code, times)| format!("{times} × {code}")).collect();
    Ok(Made { as_of, packs, of, complete, missing, failed, folders: folders.len() })
}

/// Exit 3 where somebody is missing, or a folder.
pub fn answer(made: &Made) -> Answer {
    let (packs, of) = (made.packs, made.of);
    let mut text = format!("{packs} of {of} packs, in {}", plural(made.folders, "folder"));
    if made.complete > 0 {
        text.push_str(&format!("; none of {} whose courses are complete", plural(made.complete, "patient")));
    }
    made.missing.iter().for_each(|line| text.push_str(&format!("\n  NOT MADE {line}: the one of before stays")));
    made.failed.iter().for_each(|line| text.push_str(&format!("\n  NOT BROUGHT {line}")));
    let exit = if made.missing.is_empty() && made.failed.is_empty() { 0 } else { DEGRADED };
    Answer { exit, text, json: serde_json::to_value(made).unwrap_or_default() }
}

pub fn context(chart: &Chart) -> Context {
    let operation = OperationId::random(chart.entropy());
    Context { caller: chart.guard().console(), purpose: Purpose::Treatment, operation }
}

/// All but the manifest, entry and receipt.
fn files_of(pack: &Pack, id: &str) -> Result<Files, Fault> {
    let failed = |e: serde_json::Error| Fault::new(Blame::Ours, "packs.data", e.to_string());
    let mut files = Files::new();
    let mut put = |name: &str, bytes: Vec<u8>| files.insert(name.to_owned(), Zeroizing::new(bytes));
    let mut data = serde_json::to_value(pack).map_err(failed)?;
    // So that a pack under another one's name is noticed.
    data.as_object_mut().into_iter().for_each(|data| drop(data.insert("id".to_owned(), id.into())));
    let data = serde_json::to_vec_pretty(&data).map_err(failed)?;
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
/// on. Gives what was made.
fn bring(
    centre: &Centre,
    mut round: Vec<(String, Files)>,
    recipients: &[Recipient],
    folders: &mut Vec<PathBuf>,
    failed: &mut Vec<String>,
) -> Result<Vec<Listed>, Fault> {
    if round.is_empty() {
        return Ok(Vec::new());
    }
    let chart = centre.chart();
    let made: Vec<Listed> =
        round.iter_mut().map(|(id, files)| Listed { id: id.clone(), manifest: close(files) }).collect();
    let note = Round { version: 1, manifests: made.iter().map(|one| one.manifest).collect() };
    let note = minicbor::to_vec(&note).map_err(|e| Fault::new(Blame::Ours, "packs.note", e.to_string()))?;
    let permit = chart
        .admit(&context(chart), guard::Act::MakePacks, Target::Centre, Sensitivity::Clinical)
        .map_err(|e| e.fault())?;
    let lists = vec![chart.list_tag(ROUNDS, &[])];
    let entry = chart.append_note(&permit, KIND, lists, note).map_err(|e| e.fault())?.index;
    let (leaf, proof) = (chart.vault().leaf_bytes(entry)?, chart.vault().prove(entry)?.to_bytes());
    for (id, mut files) in round {
        files.insert(ENTRY.to_owned(), Zeroizing::new(leaf.clone()));
        files.insert(RECEIPT.to_owned(), Zeroizing::new(proof.clone()));
        let sealed = seal(&files, recipients).map_err(|e| Fault::of(&e))?;
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

/// Takes away packs of who is on treatment no more, and what a making that was killed has left. Where that would be most of what is
/// there, something else is wrong (a clock that jumped), and only what is erased goes. Gives how many were left.
fn forget_others(folder: &Path, expected: &BTreeSet<String>, erased: &BTreeSet<String>) -> io::Result<usize> {
    for entry in fs::read_dir(folder)?.take(ENTRIES_MAX) {
        let path = entry?.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let random = name.strip_prefix('.').and_then(|name| name.strip_suffix(".partial"));
        if random.is_some_and(|random| random.parse::<Id16>().is_ok()) {
            fs::remove_file(&path)?;
        }
    }
    let others = packs_in(folder)?.into_iter().filter(|(id, _)| !expected.contains(id) && id != LIST_ID);
    let (erased, left): (Vec<_>, Vec<_>) = others.partition(|(id, _)| erased.contains(id));
    erased.iter().try_for_each(|(_, path)| fs::remove_file(path))?;
    if left.len() > LEAVING_MIN && left.len() > expected.len() {
        return Ok(left.len());
    }
    left.iter().try_for_each(|(_, path)| fs::remove_file(path))?;
    Ok(0)
}

//! A transfer: one patient's bundle for the centre where she goes on, that opens with `age` and `tar` and without this program.
//!
//! ```text
//!  a person's token ─► guard ─► treatment: files as received ─► tar ─► the command ─► age ─► FILE
//!                                    └─► summary ─► page, PDF, FHIR document ─► manifest ─► an entry of the log, and its receipt
//! ```
//! What leaves was noted before it left; at the end the log names the manifest. `docs/formats/transfer.md` has the bytes.

mod commands;
mod document;
mod summary;
mod verify;

use std::io::Write;

use archive::{ArchiveError, Bounds, MANIFEST, Writer};
use chart::Context;
use guard::Purpose;
use kit::{Blame, Digest, Fault, Id16, OperationId};
use serde::{Deserialize, Serialize};
use serde_json::json;
use treatment::Transfer;

use self::summary::Summary;
use crate::acts::Answer;
use crate::centre::Centre;
use crate::proven::Round;
use crate::say::plural;
use crate::{DEGRADED, outside};

pub use commands::{Command, token_of};

/// The kind of the entry that names a transfer's manifest.
const KIND: &str = "treatment.transferred";
/// Four breathing patients' CTs, and room; a stick holds it. A file of ustar may have half of that.
const BOUNDS: Bounds =
    Bounds { bytes: 16 * 1024 * 1024 * 1024, files: 100_000, name_bytes: archive::NAME_BYTES_MAX, folders: true };
const README: &str = "README.txt";
const DATA: &str = "transfer.json";
const PAGE: &str = "summary.html";
const PDF: &str = "summary.pdf";
const DOCUMENT: &str = "fhir/summary.json";
const MISSING: &str = "missing.txt";
const KEYS: &str = "keys.txt";
const ENTRY: &str = "entry.cbor";
const RECEIPT: &str = "receipt.tlog-proof";
/// What speaks of the manifest.
const BESIDE: [&str; 2] = [ENTRY, RECEIPT];
/// A name or a reason, as somebody types it.
const WORDS_CHARS_MAX: usize = 200;

/// What a person asks for.
#[derive(Clone, Serialize, Deserialize)]
pub struct Asked {
    /// Hers: it says who answers for it.
    token: String,
    patient: String,
    to: String,
    reason: String,
    purpose: String,
    /// As the command seals it; none where it doesn't.
    recipients: Vec<String>,
}

/// Who makes it, for whom and why.
struct Head {
    id: String,
    by: String,
    role: String,
    purpose: &'static str,
    to: String,
    reason: String,
    log: String,
}

fn failed(error: ArchiveError) -> Fault {
    Fault::of(&error)
}

/// One line without what moves a cursor.
fn words(what: &str, text: &str) -> Result<String, Fault> {
    let text = text.trim();
    let length = text.chars().count();
    if length == 0 || length > WORDS_CHARS_MAX || text.chars().any(char::is_control) {
        let why = format!("{what} has {length} characters: 1 to {WORDS_CHARS_MAX} on one line are needed");
        return Err(Fault::new(Blame::Peer, "usage.transfer", why));
    }
    Ok(text.to_owned())
}

/// Writes the bundle to `out`, and has the log name it.
pub fn make(centre: &Centre, asked: &Asked, out: &mut dyn Write) -> Result<Answer, Fault> {
    let (chart, treatment) = (centre.chart(), centre.treatment());
    let (to, reason) = (words("the other centre's name", &asked.to)?, words("the reason", &asked.reason)?);
    let purpose: Purpose = asked
        .purpose
        .parse()
        .map_err(|e: guard::UnknownWord| Fault::new(Blame::Peer, "usage.purpose", e.to_string()))?;
    let caller = chart.guard().authenticate_bearer(asked.token.trim()).map_err(|e| Fault::of(&e))?;
    let context = Context { caller, purpose, operation: OperationId::random(chart.entropy()) };
    let head = Head {
        id: Id16(chart.entropy().id()).to_string(),
        by: context.caller.subject().to_owned(),
        role: context.caller.role().to_string(),
        purpose: purpose.as_str(),
        log: chart.vault().vkey().name().to_owned(),
        to,
        reason,
    };
    let what = format!("transfer to {}", head.to);

    let mut archive = Writer::new(out, BOUNDS);
    archive.add(README, readme(treatment.centre()).as_bytes()).map_err(failed)?;
    let mut bytes = 0;
    let mut take = |name: &str, file: &[u8]| {
        bytes += file.len();
        archive.add(name, file).map(drop).map_err(failed)
    };
    let transfer = treatment.transfer(&context, &asked.patient, &what, &mut take)?;
    let summary = Summary::of(&transfer, &head);
    let base = format!("{}/fhir", centre.public_url());
    let document = document::of(&transfer, &summary, &head, &base)?;
    let paper = summary.paper();
    for (name, file) in [
        (PAGE, paper.page()?.into_bytes()),
        (PDF, paper.pdf()),
        (DOCUMENT, document),
        (DATA, data_of(&transfer, &head)?),
        (KEYS, format!("{}\n", outside::keys(chart.vault()).text).into_bytes()),
        (MISSING, missing_of(&transfer).into_bytes()),
    ] {
        if !file.is_empty() {
            archive.add(name, &file).map_err(failed)?;
        }
    }
    let files = archive.files().len();
    let manifest = archive.manifest();
    let digest = archive.add(MANIFEST, manifest.as_bytes()).map_err(failed)?;

    // Under her key: whoever reads her chart later sees where it went, and why.
    let record = json!({ "version": 1, "id": head.id, "to": head.to, "by": head.by, "role": head.role, "reason": head.reason,
                         "recipients": asked.recipients, "manifest": digest, "files": files });
    let entry =
        treatment.note_transfer(&context, transfer.patient, &what, (KIND, note(digest)?), record.to_string())?;
    archive.add(ENTRY, &chart.vault().leaf_bytes(entry)?).map_err(failed)?;
    archive.add(RECEIPT, &chart.vault().prove(entry)?.to_bytes()).map_err(failed)?;
    archive.finish().map_err(failed)?;

    let objects: usize = transfer.objects.values().sum();
    let resources: usize = transfer.resources.values().sum();
    let mut text = format!(
        "{}, {bytes} bytes: {}, {}\n  entry {entry} of the log names its manifest, SHA-256 {digest}",
        plural(files, "file"),
        plural(objects, "DICOM object"),
        plural(resources, "FHIR resource"),
    );
    transfer.missing.iter().for_each(|one| text.push_str(&format!("\n  NOT IN IT {}", one.what)));
    let exit = if transfer.missing.is_empty() { 0 } else { DEGRADED };
    let json = json!({ "id": head.id, "entry": entry, "manifest": digest, "files": files, "bytes": bytes,
                       "objects": transfer.objects, "resources": transfer.resources,
                       "missing": transfer.missing.iter().map(|one| &one.what).collect::<Vec<_>>() });
    Ok(Answer { exit, text, json })
}

fn note(manifest: Digest) -> Result<Vec<u8>, Fault> {
    let round = Round { version: 1, manifests: vec![manifest] };
    minicbor::to_vec(&round).map_err(|e| Fault::new(Blame::Ours, "transfer.note", e.to_string()))
}

/// What the summary says, for programs.
fn data_of(transfer: &Transfer, head: &Head) -> Result<Vec<u8>, Fault> {
    let missing: Vec<_> = transfer.missing.iter().map(|one| json!({ "what": one.what, "uids": one.uids })).collect();
    let data = json!({
        "version": 1, "id": head.id, "as_of": transfer.seen.as_of, "centre": transfer.centre, "log": head.log,
        "to": head.to, "by": head.by, "role": head.role, "purpose": head.purpose, "reason": head.reason,
        "names": transfer.names, "sex": transfer.sex, "alerts": transfer.alerts, "diagnoses": transfer.diagnoses,
        "withdrawn": transfer.withdrawn, "unsigned": transfer.unsigned, "objects": transfer.objects,
        "resources": transfer.resources, "missing": missing, "seen": transfer.seen,
    });
    serde_json::to_vec_pretty(&data).map_err(|e| Fault::new(Blame::Ours, "transfer.data", e.to_string()))
}

/// Empty where nothing is.
fn missing_of(transfer: &Transfer) -> String {
    let lines = transfer.missing.iter().map(|one| {
        let uids: String = one.uids.iter().map(|uid| format!("  {uid}\n")).collect();
        format!("{}\n{uid}", one.what, uid = uids)
    });
    lines.collect()
}

fn readme(centre: &str) -> String {
    format!(
        "One patient's radiotherapy, handed on by {centre}. No program of ours is needed to read it.\n\
         \n\
         Read first:   {PAGE} (any browser; names in every script) or {PDF}\n\
         DICOM files:  dicom/MODALITY/SOP-INSTANCE-UID.dcm, byte for byte as they were received (PS3.10). There is no DICOMDIR:\n\
                       import the folder. UID-vN.dcm is an earlier version of a plan that somebody has signed.\n\
         FHIR R4:      {DOCUMENT} (a document: the summary, with what it refers to); fhir/KIND-N.ndjson (all records, a line each)\n\
         For programs: {DATA} (all of the summary), approvals/N.cbor (signatures over what a plan delivers)\n\
         Missing:      {MISSING}, where something that is named here was not in the archive; the summary says so, too\n\
         \n\
         To open it (age-encryption.org, tar), and to check that every file is there and unaltered:\n\
         \n\
           age -d -i YOUR-KEY FILE | tar x -C A-NEW-FOLDER\n\
           cd A-NEW-FOLDER && sha256sum -c {MANIFEST}\n\
         \n\
         That says nothing of who made it: whoever has your recipient can write such a file. {ENTRY} and {RECEIPT}\n\
         (C2SP tlog-proof) prove that the log of {centre} names the SHA-256 of {MANIFEST}. The log's keys are in\n\
         {KEYS}: compare them with the centre by another way than the one that this file came by. Then, with Holdfast:\n\
         \n\
           holdfast transfer verify FILE --key YOUR-KEY --keys KEYS\n\
         \n\
         or by hand: docs/formats/transfer.md of Holdfast has every byte. The summary releases nothing: what it says was known at its\n\
         time, and whoever goes on with her checks it.\n"
    )
}

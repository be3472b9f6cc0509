//! What has shown that this centre can be given back, kept in its ledger: each scrub and verification that read all of it, and each
//! recovery from survivors.
//!
//! A drill on folders of its own proves the program and nothing of this centre: it leaves nothing here. A rehearsal does: the centre's own
//! survivors, recovered elsewhere, and the log that came out is a beginning of the one that runs.

use kit::format::{self, Version};
use kit::{Blame, Digest, Fault, Id16, Timestamp};
use minicbor::{Decode, Encode};
use serde::{Deserialize, Serialize};
use serde_json::json;
use vault::{RecoveryReport, ScrubReport, VerifyReport};

use crate::acts::Answer;
use crate::centre::{self, Centre};

const READINGS: &str = "centre-readings";
const RESTORINGS: &str = "centre-restorings";
const KIND: &str = "centre.proof";
const NOTE_BYTES_MAX: usize = 1_024;

#[derive(Encode, Decode)]
struct Note {
    #[n(0)]
    format: Version<1>,
    #[n(1)]
    proof: Proof,
}

/// What was done, and what came of it.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum Proof {
    /// Every shard, signature, entry and payload was read.
    #[n(0)]
    Read(#[n(0)] Reading),
    /// This centre stands on what was recovered, or was recovered elsewhere to try it.
    #[n(1)]
    Restored(#[n(0)] Restoring),
}

#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Reading {
    /// What was damaged was made again.
    #[n(0)]
    pub is_scrub: bool,
    #[n(1)]
    pub segments: u64,
    /// Damaged afterwards.
    #[n(2)]
    pub damaged: u64,
    /// Segments of which too little is left.
    #[n(3)]
    pub lost: u64,
    #[n(4)]
    pub is_sound: bool,
    /// The index says what the ledger says.
    #[n(5)]
    pub index_is_true: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, Serialize, Deserialize)]
pub struct Restoring {
    #[n(0)]
    pub at: Timestamp,
    #[n(1)]
    pub is_rehearsal: bool,
    /// Of the log, and its root with so many.
    #[n(2)]
    pub entries: u64,
    #[n(3)]
    pub root: Digest,
    #[n(4)]
    pub survivors: u64,
    #[n(5)]
    pub patients: u64,
    /// Whose keys no record opened.
    #[n(6)]
    pub unopened: u64,
}

/// The newest of each.
#[derive(Default)]
pub struct Proofs {
    pub read: Option<(Timestamp, Reading)>,
    pub restored: Option<Restoring>,
}

fn note(centre: &Centre, proof: Proof) -> Result<(), Fault> {
    let list = match proof {
        Proof::Read(_) => READINGS,
        Proof::Restored(_) => RESTORINGS,
    };
    centre::note(centre.chart(), KIND, list, &format::encode(&Note { format: Version, proof }))
}

/// Keeps it where anything can be kept: what was found is told either way.
fn keep(centre: &Centre, answer: &mut Answer, proof: Proof) {
    if !centre.chart().vault().health().writable {
        return;
    }
    if let Err(fault) = note(centre, proof) {
        answer.text.push_str(&format!("\n  not noted for holdfast doctor: {}", fault.message));
    }
}

pub fn scrubbed(centre: &Centre, report: &ScrubReport, answer: &mut Answer) {
    let reading = Reading {
        is_scrub: true,
        segments: report.segments,
        damaged: report.unhealed.total,
        lost: report.lost_segments,
        is_sound: report.is_whole(),
        // It was made anew where it was not.
        index_is_true: true,
    };
    keep(centre, answer, Proof::Read(reading));
}

/// One that only looks, at a centre that doesn't run, writes nothing and so proves nothing to anybody later.
pub fn verified(centre: &Centre, report: &VerifyReport, index_is_true: bool, answer: &mut Answer) {
    let reading = Reading {
        is_scrub: false,
        segments: report.segments,
        damaged: report.damage.total,
        lost: report.lost_segments,
        is_sound: report.is_clean(),
        index_is_true,
    };
    keep(centre, answer, Proof::Read(reading));
}

/// Notes in a centre that was just recovered that it was.
pub fn recovered(centre: &Centre, report: &RecoveryReport, answer: &mut Answer) {
    let root = match centre.chart().vault().root_at(report.entries) {
        Ok(root) => root,
        Err(error) => {
            answer.text.push_str(&format!("\n  not noted for holdfast doctor: {error}"));
            return;
        }
    };
    let restoring = Restoring {
        at: centre.chart().now(),
        is_rehearsal: false,
        entries: report.entries,
        root,
        survivors: report.survivors as u64,
        patients: report.patients,
        unopened: report.unopened_patients,
    };
    keep(centre, answer, Proof::Restored(restoring));
}

pub fn newest(centre: &Centre) -> Result<Proofs, Fault> {
    let chart = centre.chart();
    let mut found = Proofs::default();
    for list in [READINGS, RESTORINGS] {
        let Some(entry) = chart.newest(&chart.list_tag(list, &[])).map_err(|e| e.fault())? else { continue };
        let (entry, meta) = chart.note_of(entry).map_err(|e| e.fault())?;
        let note: Note = format::decode("a proof", &meta.note, NOTE_BYTES_MAX)
            .map_err(|e| Fault::new(Blame::Integrity, "doctor.proof", e.to_string()))?;
        match note.proof {
            Proof::Read(reading) => found.read = Some((entry.time, reading)),
            Proof::Restored(restoring) => found.restored = Some(restoring),
        }
    }
    // A recovery wrote all of it on other servers: what was read before was read on those that are gone.
    let made = found.restored.as_ref().filter(|one| !one.is_rehearsal).map(|one| one.at);
    found.read = found.read.filter(|(at, _)| made.is_none_or(|made| *at >= made));
    Ok(found)
}

/// What a folder into which this centre was recovered shows of it, as it crosses the control port.
#[derive(Serialize, Deserialize)]
pub struct Rehearsal {
    vault: Id16,
    restoring: Restoring,
}

/// Looks into a folder that `holdfast recover` made.
pub fn rehearsal(folder: &std::path::Path) -> Result<Rehearsal, Fault> {
    let centre = Centre::open_to_look(folder)?;
    let Some(restoring) = newest(&centre)?.restored.filter(|one| !one.is_rehearsal) else {
        let text = format!("{}: its log says of no recovery", folder.display());
        return Err(Fault::new(Blame::Absent, "doctor.rehearsal", text)
            .guidance("give the folder that holdfast recover --into made from this centre's servers"));
    };
    Ok(Rehearsal { vault: centre.chart().vault().id(), restoring })
}

/// Takes it in where what came out is a beginning of this log.
pub fn rehearsed(centre: &Centre, Rehearsal { vault: of, restoring }: Rehearsal) -> Result<Answer, Fault> {
    let vault = centre.chart().vault();
    let wrong = |text: String| Err(Fault::new(Blame::Integrity, "doctor.rehearsal", text));
    if of != vault.id() {
        return wrong(format!("what was recovered is of vault {of}, this centre is {}", vault.id()));
    }
    if restoring.entries > vault.size() {
        return wrong(format!("{} entries were recovered, this log has {}", restoring.entries, vault.size()));
    }
    if vault.root_at(restoring.entries)? != restoring.root {
        return wrong(format!(
            "the {} entries that were recovered are another history than this log's",
            restoring.entries
        ));
    }
    let (entries, patients, at) = (restoring.entries, restoring.patients, restoring.at);
    note(centre, Proof::Restored(Restoring { is_rehearsal: true, ..restoring }))?;
    let text = format!(
        "{entries} of {} entries and the keys of {patients} patients were given back at {at}: it is noted. The folder holds all of them: \
         destroy it",
        vault.size()
    );
    Ok(Answer::done(text, json!({ "entries": entries, "patients": patients, "at": at.to_string() })))
}

//! `holdfast access --for-patient`: a patient's own list of who saw her chart, in words that need no explanation.
//!
//! It names people, times, reasons and kinds of records, and nothing that stands in a record. What one person did on one day for one
//! reason stands together: a visit opens dozens of records.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use chart::{AccessAsked, AccessRow, Context};
use guard::{Act as Does, Purpose, Role};
use kit::{Blame, Fault, OperationId, PatientId, Timestamp, UtcOffset};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::acts::{Act, Answer, decode_file, encode_file};
use crate::centre::Centre;
use crate::paper::{Block, Paper, Section};
use crate::say::plural;
use crate::{Data, Output, commands, control};

/// Lines of the paper: a course of a year has some hundreds. Beyond it, the paper says that it isn't complete.
const VISITS_MAX: usize = 20_000;

/// What is asked of the centre.
#[derive(Serialize, Deserialize)]
pub struct Asked {
    pub patient: String,
    /// Of the records officer who answers her; none at the server's own terminal.
    pub token: Option<String>,
}

/// Writes who-saw.html and who-saw.pdf.
pub fn print_into(data: &Data, output: Output, asked: Asked, out: &Path) -> Result<u8, Fault> {
    let unwritable =
        |file: &Path, e: std::io::Error| Fault::new(Blame::Peer, "file.unwritable", format!("{}: {e}", file.display()));
    let answer = control::perform(&data.data, Act::WhoSaw(asked))?;
    fs::create_dir_all(out).map_err(|e| unwritable(out, e))?;
    let mut files = Vec::new();
    for kind in ["html", "pdf"] {
        let file = out.join(format!("who-saw.{kind}"));
        let bytes = decode_file(answer.json.get(kind).and_then(|text| text.as_str()).unwrap_or_default())?;
        kit::write_private(&file, &bytes).map_err(|e| unwritable(&file, e))?;
        files.push(file.display().to_string());
    }
    let text = format!("{}\n  {}", answer.text, files.join("\n  "));
    Ok(commands::print(output, &Answer { exit: answer.exit, text, json: json!({ "files": files }) }))
}

/// At the centre.
pub fn perform(centre: &Centre, asked: &Asked, patient: PatientId) -> Result<Answer, Fault> {
    let chart = centre.chart();
    let caller = match &asked.token {
        Some(token) => chart.guard().authenticate_bearer(token).map_err(|e| Fault::of(&e))?,
        None => chart.guard().console(),
    };
    let by = match asked.token {
        Some(_) => format!("{} ({})", caller.subject(), caller.role()),
        None => "the centre's own terminal".to_owned(),
    };
    let operation = OperationId::random(chart.entropy());
    let context = Context { caller, purpose: Purpose::PatientRequest, operation };
    let offset = centre.config().utc_offset();
    let (mut visits, mut page) = (Visits { offset, ..Visits::default() }, AccessAsked::default());
    loop {
        let found = chart.access(&context, patient, page).map_err(|e| e.fault())?;
        found.rows.iter().for_each(|row| visits.add(row));
        match found.next {
            Some(next) if !visits.is_cut => page = next,
            _ => break,
        }
    }
    let paper = paper(centre, &asked.patient, &by, &visits);
    let json = json!({ "html": encode_file(paper.page()?.as_bytes()), "pdf": encode_file(&paper.pdf()) });
    let text = format!(
        "{} of people and machines, {} refused",
        plural(visits.done.len(), "visit"),
        plural(visits.refused.len(), "attempt")
    );
    Ok(Answer::done(text, json))
}

#[derive(Default)]
struct Visits {
    offset: UtcOffset,
    /// By day, who, what she is, and why.
    done: BTreeMap<(String, String, Role, Purpose), Done>,
    refused: BTreeMap<(String, String, Role, Purpose, Does), Refused>,
    first: Option<Timestamp>,
    is_cut: bool,
}

#[derive(Default)]
struct Done {
    times: Option<(Timestamp, Timestamp)>,
    /// By what was done, and of which kind.
    counts: BTreeMap<(&'static str, &'static str), usize>,
    /// What needs no kind.
    acts: BTreeMap<&'static str, usize>,
}

#[derive(Default)]
struct Refused {
    times: Option<(Timestamp, Timestamp)>,
    count: usize,
}

fn widen(times: &mut Option<(Timestamp, Timestamp)>, at: Timestamp) {
    *times = Some(times.map_or((at, at), |(first, last)| (first.min(at), last.max(at))));
}

impl Visits {
    fn add(&mut self, row: &AccessRow) {
        let local = self.offset.local(row.at).to_string();
        let day = local.get(..10).unwrap_or_default().to_owned();
        self.first = Some(self.first.map_or(row.at, |first| first.min(row.at)));
        if self.done.len() + self.refused.len() >= VISITS_MAX {
            self.is_cut = true;
            return;
        }
        let verb = match row.outcome {
            "opened" => "looked at",
            "written" => "wrote",
            "deleted" => "deleted",
            "denied" => {
                let one = self.refused.entry((day, row.who.clone(), row.role, row.why, row.act)).or_default();
                widen(&mut one.times, row.at);
                one.count += 1;
                return;
            }
            // What was allowed and done stands in a line of its own; for some acts there is none.
            _ => match act(row.act) {
                Some(words) => {
                    let visit = self.done.entry((day, row.who.clone(), row.role, row.why)).or_default();
                    widen(&mut visit.times, row.at);
                    *visit.acts.entry(words).or_default() += 1;
                    return;
                }
                None => return,
            },
        };
        let visit = self.done.entry((day, row.who.clone(), row.role, row.why)).or_default();
        widen(&mut visit.times, row.at);
        *visit.counts.entry((verb, kind(&row.what))).or_default() += 1;
    }
}

/// An act that leaves no line of a record.
fn act(act: Does) -> Option<&'static str> {
    match act {
        Does::ReadAccessLog => Some("looked at this list"),
        Does::ErasePatient => Some("made your records unreadable for good"),
        Does::RestorePatient => Some("made your records readable again after an attack"),
        Does::ExportRecord => Some("handed your records to another hospital"),
        _ => None,
    }
}

/// Kinds of records in plain words; none says more than a heading of a paper chart would.
fn kind(what: &str) -> &'static str {
    match what.split('/').next().unwrap_or_default() {
        "Patient" | "Person" | "RelatedPerson" => "your name, address and numbers",
        "Appointment" | "AppointmentResponse" | "Schedule" | "Slot" => "appointments",
        "Encounter" | "EpisodeOfCare" => "visits and stays",
        "Condition" => "diagnoses",
        "AllergyIntolerance" | "Flag" => "allergies and warnings",
        "Observation" | "DiagnosticReport" | "Specimen" | "Media" => "test results, measurements and reports",
        "MedicationRequest"
        | "MedicationStatement"
        | "MedicationAdministration"
        | "MedicationDispense"
        | "Medication" => "medicines",
        "Procedure" | "CarePlan" | "CareTeam" | "Goal" | "ServiceRequest" => "procedures and plans of care",
        "DocumentReference" | "Composition" | "Binary" | "DocumentManifest" => "letters and documents",
        "Consent" => "consents",
        "Coverage" | "Claim" | "ClaimResponse" | "Invoice" | "Account" | "ExplanationOfBenefit" => {
            "insurance and bills"
        }
        "dicom" | "ImagingStudy" => "images and radiotherapy plans",
        "treatment.transfer" | "treatment.transferred" => "handing on to another hospital",
        other if other.starts_with("treatment.") => "radiotherapy checks and approvals",
        _ => "other records",
    }
}

fn why(purpose: Purpose) -> &'static str {
    match purpose {
        Purpose::Treatment => "your treatment",
        Purpose::Emergency => "an emergency",
        Purpose::Operations => "running the hospital",
        Purpose::Audit => "checking who sees records",
        Purpose::PatientRequest => "you asked for it",
    }
}

fn role(role: Role) -> &'static str {
    match role {
        Role::Oncologist => "cancer doctor",
        Role::Surgeon => "surgeon",
        Role::Pathologist => "pathologist",
        Role::Physicist => "radiation physicist",
        Role::Therapist => "radiation therapist",
        Role::Nurse => "nurse",
        Role::Registrar => "registration desk",
        Role::RecordsOfficer => "medical records office",
        Role::ItAdministrator => "computer department",
        Role::Auditor => "auditor",
        Role::SecurityOfficer => "data security officer",
        Role::Device => "treatment machine or scanner",
        Role::Service => "another computer system of the hospital",
        Role::Console => "the records server itself",
    }
}

/// What somebody wanted who was refused.
fn wanted(act: Does) -> &'static str {
    match act {
        Does::ReadRecord | Does::ReadObject | Does::ReadTreatmentList | Does::CheckGate => "to look at your records",
        Does::SearchRecords => "to search in your records",
        Does::WriteRecord | Does::StoreObject | Does::EnterRecord | Does::ApprovePlan | Does::RegisterPatient => {
            "to write in your records"
        }
        Does::DeleteRecord | Does::ErasePatient => "to delete your records",
        Does::ReadAccessLog => "to look at this list",
        Does::ExportRecord | Does::MakePacks => "to take your records out of the hospital's system",
        _ => "to do something with your records",
    }
}

fn clock(offset: UtcOffset, times: Option<(Timestamp, Timestamp)>) -> String {
    let at = |at| offset.local(at).to_string().get(11..16).unwrap_or_default().to_owned();
    match times.map(|(first, last)| (at(first), at(last))) {
        Some((first, last)) if first == last => first,
        Some((first, last)) => format!("{first} to {last}"),
        None => String::new(),
    }
}

impl Done {
    /// One for each kind of record, and one for each other act.
    fn words(&self) -> Vec<String> {
        let times = |count: usize| if count == 1 { String::new() } else { format!(" ({count})") };
        let kinds = self.counts.iter().map(|((verb, kind), count)| format!("{verb} {kind}{}", times(*count)));
        kinds.chain(self.acts.iter().map(|(words, count)| format!("{words}{}", times(*count)))).collect()
    }
}

fn paper(centre: &Centre, patient: &str, by: &str, visits: &Visits) -> Paper {
    let offset = visits.offset;
    let name = centre.treatment().centre();
    let now = offset.local(centre.chart().now()).to_string();
    let today = now.get(..16).unwrap_or_default().replace('T', " ");
    let who = format!("{name} · record {patient} · {today}");
    let is_machine = |role: Role| matches!(role, Role::Device | Role::Service | Role::Console);
    let table = |machines: bool| {
        let mut all: Vec<_> = visits.done.iter().filter(|((_, _, role, _), _)| is_machine(*role) == machines).collect();
        all.sort_by_key(|(_, done)| std::cmp::Reverse(done.times));
        // A cell that is as long as a paragraph leaves the others no room: a visit's kinds stand below each other.
        let rows = all.into_iter().flat_map(|((day, who, one, purpose), done)| {
            let when = format!("{day}, {}", clock(offset, done.times));
            let visit = [when, format!("{who}, {}", role(*one)), why(*purpose).to_owned()];
            done.words().into_iter().enumerate().map(move |(line, words)| {
                let begin = if line == 0 { visit.clone() } else { Default::default() };
                begin.into_iter().chain([words]).collect()
            })
        });
        let rows: Vec<Vec<String>> = rows.collect();
        match rows.is_empty() {
            true => Block::Lines(vec!["Nobody.".to_owned()]),
            false => Block::Table { head: vec!["When", "Who", "Why", "What"], rows },
        }
    };
    let mut about = vec![
        "This is the list of everybody who looked at your records, wrote in them, or tried to, newest first.".to_owned(),
        "It says who, when, for which reason, and what kind of record. What stands in your records is not on it.".to_owned(),
        "A number in brackets says how many records of that kind. All that one person did on one day for one reason stands together.".to_owned(),
        format!("Times are of the clock on the wall (UTC{offset})."),
    ];
    if let Some(first) = visits.first {
        let day = offset.local(first).to_string().get(..10).unwrap_or_default().to_owned();
        about.push(format!(
            "It begins on {day}, when your records were first kept in this system, and is complete up to today."
        ));
    }
    let mut first = vec![Block::Lines(about)];
    if visits.is_cut {
        let text = format!(
            "This list stops after {VISITS_MAX} lines. There is more: ask the medical records office for the rest."
        );
        first.push(Block::Alarm(text));
    }
    Paper {
        title: "Who saw my records?".to_owned(),
        head: who.clone(),
        who,
        notice: None,
        foot: format!("{name} · printed {today} at your request, by {by} · from a log that nobody can change unseen"),
        sections: [
            Section::new("About this list", first),
            Section::new("People", vec![table(false)]),
            Section::new("Machines and computer systems", vec![table(true)]),
            refused(visits),
            Section::new(
                "If something looks wrong",
                vec![Block::Lines(vec![
                    "You may ask why somebody looked at your records. Take this list to the medical records office, or to the hospital's data \
                     protection officer."
                        .to_owned(),
                ])],
            ),
        ]
        .into_iter()
        .map(Section::cleaned)
        .collect(),
    }
}

fn refused(visits: &Visits) -> Section {
    let mut all: Vec<_> = visits.refused.iter().collect();
    all.sort_by_key(|(_, one)| std::cmp::Reverse(one.times));
    let rows = all.into_iter().map(|((day, who, one, purpose, act), refused)| {
        let times = if refused.count == 1 { String::new() } else { format!(" ({} times)", refused.count) };
        let person = format!("{who}, {}", role(*one));
        let what = format!("{}{times}", wanted(*act));
        vec![format!("{day}, {}", clock(visits.offset, refused.times)), person, why(*purpose).to_owned(), what]
    });
    let rows: Vec<Vec<String>> = rows.collect();
    let blocks = match rows.is_empty() {
        true => vec![Block::Lines(vec!["Nobody.".to_owned()])],
        false => vec![
            Block::Lines(vec!["They wanted to, and the system said no: they saw nothing.".to_owned()]),
            Block::Table { head: vec!["When", "Who", "Reason given", "Wanted"], rows },
        ],
    };
    Section::new("Who tried and was refused", blocks)
}

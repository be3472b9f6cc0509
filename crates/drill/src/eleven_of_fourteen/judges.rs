//! Each question of the drill, put to the judge that answers it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use kit::{Blame, Fault};

use super::load::Kept;
use super::{Progress, Watch};
use crate::check::account;
use crate::check::bytes::Manifest;
use crate::check::gate::{Tally, Trial};
use crate::check::list::{self, TrueRow};
use crate::check::plaintext::{Needles, Planted, Searched};
use crate::check::{Findings, damage};
use crate::report::{Check, Seconds, counted, size};
use crate::synthetic::{self, TECHNIQUES};
use crate::system::{Blamed, ListRow, Locked, Loot, System};
use crate::tamper;
use crate::work::spread;

/// Acknowledgements that a thief tries to read, where he could open the centre at all.
const THEFTS: usize = 25;
/// Acknowledgements that are read back after the recovery from damaged servers: the first recovery reads all of them.
const READ_AGAIN: usize = 2_000;
/// Processors that search; more would wait for the disk.
const THREADS: usize = 4;
/// What P4 of the design allows from survivors to list.
const LIST_SECONDS_MAX: f64 = 60.0;

const NO_CENTRE: &str = "there is no centre to ask";

/// A recovered centre, or why there is none.
pub(crate) type Recovered<'a> = Result<&'a dyn System, &'a String>;

/// A fault in a director's report: what happened, without the code that a log line is found by.
pub(crate) fn said(fault: Fault) -> String {
    fault.message.trim_end_matches('.').to_owned()
}

fn finding(text: String) -> Findings {
    let mut findings = Findings::default();
    findings.add(text);
    findings
}

pub(crate) fn nothing_readable(
    planted: impl Iterator<Item = Planted>,
    stolen: &[(String, PathBuf)],
    watch: Watch<'_>,
) -> Result<Check, Fault> {
    let needles = Needles::new(planted);
    let progress = |done, total| watch(Progress { stage: "searching the stolen disks", done, total });
    let failed = |e| Fault::new(Blame::Configuration, "drill.io", format!("the stolen disks: {e}"));
    let Searched { files, bytes, streams, findings, .. } =
        needles.search(stolen, THREADS, &progress).map_err(failed)?;
    let mut findings = findings;
    needles.too_short().iter().for_each(|what| findings.add(format!("{what} is too short to be searched for")));
    let looked_at = format!(
        "{} (names, numbers, phones, diagnoses, keys) in {}, against {} ({}) of the stolen servers and the gateway, and \
         {} in them that can be unfolded like a compressed stream.",
        counted(needles.values(), "value", "values"),
        counted(needles.forms(), "written form", "written forms"),
        counted(files, "file", "files"),
        size(bytes),
        counted(streams, "stretch", "stretches"),
    );
    let limits = "what can be inferred from sizes and times; forms of writing that are not on the checker's list.";
    let question = "Can anything of a patient be read on the stolen disks?";
    Ok(Check::new("P2", question, looked_at, findings, limits))
}

/// The centre's own software in a thief's hands: it must open nothing, and for the one reason that doesn't depend on
/// chance.
pub(crate) fn thief(stolen: usize, attempt: Result<Box<dyn Loot>, Locked>, manifest: &Manifest) -> Check {
    let mut findings = Findings::default();
    let outcome = match attempt {
        Ok(loot) => {
            findings.add(format!("the centre opened in the hands of a thief of {stolen} servers"));
            let tried = manifest.len().min(THEFTS);
            let mut read = 0;
            for index in 0..tried {
                let payload = manifest.handle(index).and_then(|handle| loot.read_back(handle).ok());
                read += usize::from(payload.is_some_and(|payload| manifest.judge(index, Ok(&payload)).is_none()));
            }
            if read > 0 {
                findings.add(format!("he read {read} of the {tried} records that he tried"));
            }
            "It opened.".to_owned()
        }
        Err(Locked::TooFewHolders { have, need }) => {
            if have != stolen {
                findings.add(format!("{have} keyholders answered the thief, and he has {stolen}"));
            }
            format!("It did not open: {need} of the servers' keyholders are needed, and he has {have}.")
        }
        Err(Locked::Other(fault)) => {
            // That he failed proves nothing: a thief mends what is merely broken.
            findings.add(format!("it failed for another reason than missing keyholders: {}", said(fault)));
            "It did not open.".to_owned()
        }
    };
    let looked_at = format!(
        "The centre's own software, started for reading on {} and the gateway. {outcome}",
        counted(stolen, "stolen server", "stolen servers")
    );
    let limits = "what a thief reads through a running gateway before he is noticed.";
    Check::new("P2", "Do the stolen servers open nothing by themselves?", looked_at, findings, limits)
}

pub(crate) fn nothing_lost(manifest: &Manifest, recovered: Recovered<'_>, readers: usize, watch: Watch<'_>) -> Check {
    let findings = read_back(manifest, usize::MAX, recovered, readers, watch, "reading everything back");
    let looked_at = format!(
        "{} ({}), approvals and verdicts among them, each compared with the drill's own note of it.",
        counted(manifest.len(), "acknowledged entry", "acknowledged entries"),
        size(manifest.bytes())
    );
    let limits = "whether the records were right when they were written.";
    Check::new("P1", "Is every acknowledged record back, byte for byte?", looked_at, findings, limits)
}

/// The same, after a recovery that was given the damaged servers as well.
pub(crate) fn nothing_wrong_from_damaged(
    manifest: &Manifest,
    servers: usize,
    recovered: Recovered<'_>,
    readers: usize,
    watch: Watch<'_>,
) -> Check {
    let findings = read_back(manifest, READ_AGAIN, recovered, readers, watch, "reading back once more");
    let compared = if recovered.is_ok() { manifest.len().min(READ_AGAIN) } else { 0 };
    let looked_at = format!(
        "A second recovery, given all {} in any order, a damaged one first; {} compared.",
        counted(servers, "server", "servers"),
        counted(compared, "acknowledged entry", "acknowledged entries"),
    );
    let limits = "how long a recovery takes that has to read damaged servers.";
    let question = "Do damaged servers among the good ones change nothing?";
    Check::new("P1", question, looked_at, findings, limits)
}

fn read_back(
    manifest: &Manifest,
    most: usize,
    recovered: Recovered<'_>,
    readers: usize,
    watch: Watch<'_>,
    stage: &'static str,
) -> Findings {
    match recovered {
        Ok(system) => {
            manifest.judge_some(most, readers, &|handle| system.read_back(handle).map_err(said), &|done, total| {
                watch(Progress { stage, done, total })
            })
        }
        Err(why) => finding(format!("the centre could not be recovered: {why}")),
    }
}

pub(crate) fn damage_named(attacked: &BTreeMap<usize, String>, blamed: &Result<Vec<Blamed>, String>) -> Check {
    let named: BTreeSet<usize> = blamed.iter().flatten().map(|one| one.server).collect();
    let looked_at = format!(
        "The centre's own verification of all servers' folders names {}; the drill attacked {}.",
        counted(named.len(), "damaged server", "damaged servers"),
        attacked.len()
    );
    let limits = "whether the centre's words for the damage are the right ones.";
    let question = "Does the centre name each damaged server, and no other?";
    Check::new("P1", question, looked_at, damage::judge(attacked, blamed), limits)
}

pub(crate) fn accounted_for(kept: &Kept, recovered: Recovered<'_>) -> Check {
    let mut findings = Findings::default();
    let mut lines = 0;
    for noted in kept.accounts.values() {
        lines += noted.before.len();
        if let Ok(system) = recovered {
            findings.extend(account::judge(noted, system.account(&noted.number).map_err(said)));
        }
    }
    if recovered.is_err() {
        findings.add(NO_CENTRE);
    }
    let looked_at = format!(
        "{} of {}: what the drill did to them, and what the centre said of it before the attack.",
        counted(lines, "line", "lines"),
        counted(kept.accounts.len(), "patient", "patients"),
    );
    let limits = "deeds that the drill did not do itself.";
    Check::new("P6", "Is the account of who did what with a chart whole?", looked_at, findings, limits)
}

/// The catalogue of tampering on one plan of each technique, and a course that has had its last fraction.
pub(crate) fn tampered_plans(
    centre: &synthetic::Centre,
    recovered: Recovered<'_>,
    threads: usize,
    watch: Watch<'_>,
    tally: &mut Tally,
) {
    let Ok(system) = recovered else {
        tally.findings.add(NO_CENTRE);
        return;
    };
    let mut trials: Vec<(String, Trial, Vec<u8>)> = Vec::new();
    for index in 0..centre.on_treatment {
        let patient = centre.patient(index);
        let Some(course) = patient.course else { continue };
        let plan = course.plan_label.clone();
        if index < TECHNIQUES {
            for edit in tamper::catalogue() {
                let what = edit.what.to_owned();
                match edit.apply(&course.plan, centre.seed) {
                    Ok(Some(file)) => {
                        let trial = Trial { plan: plan.clone(), what, must_release: edit.must_release() };
                        trials.push((patient.number.clone(), trial, file));
                    }
                    Ok(None) => {}
                    Err(error) => tally.findings.add(format!("plan {plan} could not be tampered with: {error}")),
                }
            }
        } else {
            let complete = course.fractions_given == course.fractions_planned;
            let what = if complete { "all fractions are given" } else { "nothing; the plan as it was signed" };
            let trial = Trial { plan, what: what.to_owned(), must_release: !complete };
            trials.push((patient.number, trial, course.plan));
        }
    }
    let total = trials.len();
    let answers = spread(threads, total, |index| {
        watch(Progress { stage: "asking the gate", done: index + 1, total });
        let (number, _, file) = trials.get(index).ok_or("no such trial")?;
        system.gate(number, file).map_err(said)
    });
    for ((_, trial, _), answer) in trials.iter().zip(&answers) {
        tally.count(trial, answer);
    }
}

pub(crate) fn no_wrong_dose(tally: Tally) -> Check {
    let looked_at = format!(
        "{} that must be vetoed (tampered with, unsigned, made out to somebody else, or complete) and {} that must be \
         released (signed, also after a harmless second export).",
        counted(tally.dangerous, "plan", "plans"),
        counted(tally.harmless, "plan", "plans"),
    );
    let limits = "whether the signed plan itself was a good one.";
    Check::new("P3", "Does the gate hold every wrong dose, and nothing else?", looked_at, tally.findings, limits)
}

pub(crate) fn treatment_goes_on(
    truth: &[TrueRow],
    lists: &[Result<Vec<ListRow>, String>],
    strangers: &BTreeSet<String>,
    seconds: &Seconds,
) -> Check {
    let mut findings = Findings::default();
    for listed in lists {
        findings.extend(match listed {
            Ok(rows) => list::judge(truth, rows, strangers),
            Err(why) => finding(format!("there is no treatment list: {why}")),
        });
    }
    let (seconds, all) = (seconds.to_treatment_list, seconds.recovering);
    if let Some(seconds) = seconds.filter(|seconds| *seconds > LIST_SECONDS_MAX) {
        findings.add(format!("the list took {seconds:.1} seconds, {LIST_SECONDS_MAX:.0} are allowed"));
    }
    let time = match seconds {
        Some(seconds) => {
            format!("the list came after {seconds:.1} seconds, and again when everything stood, after {all:.1}")
        }
        None => "the list never came".to_owned(),
    };
    let looked_at = format!("{} with a course; {time}.", counted(truth.len(), "patient", "patients"));
    let limits = "how long it takes on the hospital's own machines.";
    Check::new("P4", "Is the list of patients on treatment back, and right?", looked_at, findings, limits)
}

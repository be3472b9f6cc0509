//! Treatments first: of a small archive and of a large one, with as many patients on treatment, a recovery shows who they are and what
//! they need, before it has looked at anything else.
//!
//! The truth is the generator's. That the time doesn't grow with the archive is judged by how much of the log was opened; the seconds are
//! told beside it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use kit::{Blame, Fault};

use crate::attack::DrillRoot;
use crate::check::Findings;
use crate::check::list::{self, TrueRow};
use crate::eleven_of_fourteen::Progress;
use crate::machines::Options;
use crate::report::{self, Check, Report, Seconds, counted, grouped};
use crate::synthetic::{self, Rng, SyntheticPatient};
use crate::system::{FirstLooks, FirstSeen, Founded, Remains, Signer, System};
use crate::work::spread;

const SERVERS: usize = 14;
const LEFT: usize = 3;
const LOADED_AT_ONCE: usize = 500;
/// The smaller archive has one of so many patients.
const SMALLER: usize = 200;
/// What is opened may differ by so much in a hundred: who is on treatment differs, too.
const MORE_PERCENT: usize = 25;
/// And so many entries, decisions and lines of who saw what: when they come into the log is the clock's business.
const MORE_ENTRIES: usize = 100;
/// On a machine of two cores.
const SECONDS_MAX: f64 = 60.0;

type Watch<'a> = &'a (dyn Fn(Progress) + Sync);

/// Runs the drill. An error means that it could not be run; broken promises stand in the report.
pub fn run(
    options: &Options,
    on_treatment: usize,
    builder: &dyn FirstLooks,
    watch: Watch<'_>,
) -> Result<Report, Fault> {
    let root = DrillRoot::create(&options.root)?;
    let report = both(&root, options, on_treatment, builder, watch);
    if !options.keep {
        root.destroy()?;
    }
    report
}

/// What came of one archive.
struct Sight {
    patients: usize,
    truth: Vec<TrueRow>,
    seen: Result<FirstSeen, String>,
    to_list: Option<f64>,
    to_sheets: f64,
}

fn both(
    root: &DrillRoot,
    options: &Options,
    on_treatment: usize,
    builder: &dyn FirstLooks,
    watch: Watch<'_>,
) -> Result<Report, Fault> {
    let begun = Instant::now();
    if on_treatment == 0 || on_treatment > options.patients {
        let said = format!("{on_treatment} patients on treatment, 1 to {} are possible", options.patients);
        return Err(Fault::new(Blame::Peer, "drill.on-treatment", said));
    }
    let small = (options.patients / SMALLER).max(on_treatment);
    let mut seen = Vec::new();
    for patients in [small, options.patients] {
        let place = root.path().join(patients.to_string());
        seen.push(sight(&place, options, (patients, on_treatment), builder, watch)?);
        if !options.keep {
            fs::remove_dir_all(&place).map_err(|e| Fault::new(Blame::Ours, "drill.folder", e.to_string()))?;
        }
    }
    let [small, large] = seen.try_into().map_err(|_| Fault::new(Blame::Ours, "drill.sights", "not two"))?;
    let checks = vec![judge(&small), judge(&large), judge_size(&small, &large)];
    let milliseconds = |seconds: f64| {
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // seconds of a drill
        let all = (seconds * 1e3) as u64;
        all
    };
    let mut figures = BTreeMap::new();
    let names = [
        [
            "small_archive_patients",
            "small_archive_to_list_ms",
            "small_archive_to_sheets_ms",
            "small_archive_entries_opened",
        ],
        [
            "large_archive_patients",
            "large_archive_to_list_ms",
            "large_archive_to_sheets_ms",
            "large_archive_entries_opened",
        ],
    ];
    for ([patients, to_list, to_sheets, entries], sight) in names.into_iter().zip([&small, &large]) {
        figures.insert(patients, sight.patients as u64);
        figures.insert(to_list, sight.to_list.map_or(0, milliseconds));
        figures.insert(to_sheets, milliseconds(sight.to_sheets));
        figures.insert(entries, sight.seen.as_ref().map_or(0, |seen| seen.entries as u64));
    }
    let told = |sight: &Sight| match sight.to_list {
        Some(seconds) => format!("{seconds:.1} s to the list, {:.1} s to the sheets", sight.to_sheets),
        None => "no list".to_owned(),
    };
    let story = format!(
        "{LEFT} of {SERVERS} servers were left, and the custodians. Of {} in the archive, {on_treatment} on treatment: {}. Of {}: {}.",
        counted(small.patients, "patient", "patients"),
        told(&small),
        counted(large.patients, "patient", "patients"),
        told(&large),
    );
    Ok(Report {
        drill: "treatments-first",
        title: "treatments before anything else".to_owned(),
        story,
        seed: options.seed,
        held: checks.iter().all(|check| check.held),
        centre: report::Centre {
            servers: SERVERS,
            servers_lost: SERVERS - LEFT,
            patients: large.patients,
            on_treatment,
            ..report::Centre::default()
        },
        attacks: Vec::new(),
        deeds: Vec::new(),
        figures,
        checks,
        seconds: Seconds {
            to_treatment_list: large.to_list,
            whole_drill: begun.elapsed().as_secs_f64(),
            ..Seconds::default()
        },
        refused: Vec::new(),
    })
}

fn sight(
    place: &Path,
    options: &Options,
    (patients, on_treatment): (usize, usize),
    builder: &dyn FirstLooks,
    watch: Watch<'_>,
) -> Result<Sight, Fault> {
    let Options { seed, today, writers, .. } = *options;
    let centre = synthetic::Centre { seed, today, patients, on_treatment, images: synthetic::Images::Slice };
    let Founded { system, servers, custodians, custodians_needed, .. } =
        builder.found(&place.join("centre"), SERVERS)?;
    // The twin: of one of them no plan was there when the gateway put together what comes first.
    let late = options.twin.then(|| (0..patients).find(|at| is_on_the_way(&centre.patient(*at)))).flatten();
    let loaded = AtomicUsize::new(0);
    let done = |some: usize| {
        let done = loaded.fetch_add(some, Ordering::Relaxed) + some;
        watch(Progress { stage: "loading patients", done, total: patients });
    };
    // The archive was there before those who are on treatment now: they are the first ones by number.
    let archived = patients - on_treatment;
    let imported = spread(writers, archived.div_ceil(LOADED_AT_ONCE), |batch| {
        let first = on_treatment + batch * LOADED_AT_ONCE;
        let some = first..patients.min(first + LOADED_AT_ONCE);
        let charts: Vec<Vec<u8>> = some.clone().filter_map(|at| centre.patient(at).fhir.into_iter().next()).collect();
        system.archive(&charts.iter().map(Vec::as_slice).collect::<Vec<_>>())?;
        done(some.len());
        Ok(())
    });
    imported.into_iter().collect::<Result<(), Fault>>()?;
    let truth = spread(writers, on_treatment, |at| {
        let patient = centre.patient(at);
        let resources: Vec<&[u8]> = patient.fhir.iter().map(Vec::as_slice).collect();
        system.keep_fhir(&resources)?;
        if late != Some(at) {
            treat(&*system, &patient)?;
        }
        done(1);
        Ok(TrueRow::of(&patient))
    });
    let truth: Vec<Option<TrueRow>> = truth.into_iter().collect::<Result<_, Fault>>()?;
    system.settle()?;
    if let Some(at) = late {
        treat(&*system, &centre.patient(at))?;
    }
    drop(system);

    watch(Progress { stage: "recovering", done: 0, total: 1 });
    let mut left = servers;
    Rng::new(seed, "servers", 0).shuffle(&mut left);
    left.truncate(LEFT);
    let present = custodians.get(..custodians_needed).unwrap_or_default();
    let remains = Remains { servers: &left, custodians: present, restore_from: None };
    let (back, mut to_list) = (Instant::now(), None);
    let mut listed = || to_list = Some(back.elapsed().as_secs_f64());
    let seen = builder.first_sight(&remains, &place.join("gateway"), &place.join("sheets"), &mut listed);
    let to_sheets = back.elapsed().as_secs_f64();
    let seen = seen.map_err(|fault| format!("{} [{}]", fault.message, fault.code));
    Ok(Sight { patients, truth: truth.into_iter().flatten().collect(), seen, to_list, to_sheets })
}

fn is_on_the_way(patient: &SyntheticPatient) -> bool {
    patient.course.as_ref().is_some_and(|course| course.fraction_next().is_some())
}

fn treat(system: &dyn System, patient: &SyntheticPatient) -> Result<(), Fault> {
    let Some(course) = &patient.course else { return Ok(()) };
    let plan = system.store_dicom(&course.plan)?;
    for file in &course.others {
        system.store_dicom(file)?;
    }
    system.approve(&plan, Signer::Oncologist)?;
    system.approve(&plan, Signer::Physicist)?;
    for file in &course.records {
        system.store_dicom(file)?;
    }
    Ok(())
}

/// The list is the truth, and everybody who has something left to be given has a sheet.
fn judge(sight: &Sight) -> Check {
    let on_the_way = sight.truth.iter().filter(|row| row.fraction_next.is_some()).count();
    let mut findings = Findings::default();
    match &sight.seen {
        Err(why) => findings.add(format!("nothing was seen: {why}")),
        Ok(seen) => {
            findings.extend(list::judge(&sight.truth, &seen.rows, &BTreeSet::new()));
            if seen.sheets != on_the_way {
                findings.add(format!("{} sheets, {on_the_way} patients have something left to be given", seen.sheets));
            }
        }
    }
    let looked_at = format!(
        "{} in the archive, {} with a course, {on_the_way} with something left to be given.",
        counted(sight.patients, "patient", "patients"),
        grouped(sight.truth.len())
    );
    let limits = "what stands on a sheet, which the packs' own tests compare.";
    Check::new("P4", "Are those on treatment back before anything else, and right?", looked_at, findings, limits)
}

fn judge_size(small: &Sight, large: &Sight) -> Check {
    let mut findings = Findings::default();
    let opened = |sight: &Sight| sight.seen.as_ref().map_or((0, 0), |seen| (seen.entries, seen.log));
    let ((few, short), (many, long)) = (opened(small), opened(large));
    if few == 0 || many == 0 {
        findings.add("not by a roster: all of the log was read".to_owned());
    }
    if many * 100 > few * (100 + MORE_PERCENT) + MORE_ENTRIES * 100 {
        findings.add(format!(
            "{} entries were opened of the large archive, {} of the small one",
            grouped(many),
            grouped(few)
        ));
    }
    for sight in [small, large].into_iter().filter(|sight| sight.to_sheets > SECONDS_MAX) {
        findings.add(format!("{:.1} seconds of {} patients", sight.to_sheets, grouped(sight.patients)));
    }
    let looked_at = format!(
        "{} of {} entries opened after {:.1} seconds, and {} of {} after {:.1}.",
        grouped(few),
        grouped(short),
        small.to_sheets,
        grouped(many),
        grouped(long),
        large.to_sheets
    );
    let limits = "how long it takes on the hospital's own machines.";
    Check::new("P4", "Is it as fast with a large archive?", looked_at, findings, limits)
}

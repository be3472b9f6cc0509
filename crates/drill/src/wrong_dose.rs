//! No wrong dose, in counts: courses with all that goes wrong with their records, and plans with all that can be changed in them.
//!
//! The truth of a course is written down before its records are made of it, and reckoned from the plan's bytes by the drill's own
//! walker; what moves dose stands in a table of the drill's own, by hand from the standard. Nothing of the treatment room is named
//! here: it stands behind [`Room`].

mod attributes;
mod course;
mod mutants;
mod record;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Instant;

use kit::{Blame, Fault, Timestamp};

use crate::attack::DrillRoot;
use crate::check::Findings;
use crate::check::bytes::Form;
use crate::eleven_of_fourteen::Progress;
use crate::input;
use crate::report::{self, Check, Refused, Report, Seconds, counted, grouped};
use crate::synthetic::{self, Rng, TECHNIQUES};
use crate::system::{Builder, Signer, SoFar, System, Verdict};
use crate::tamper::walk::File;
use crate::tamper::{self, WalkError};
use crate::work::spread;
use attributes::Module;
use course::{Course, Planned};
use mutants::{Found, Original};

/// Fractions of one simulated course.
const PLANNED_MAX: u32 = 40;
/// Draws of each edit of the catalogue on each plan.
const EDITS_EACH: u64 = 2;
/// Servers of the centre that some courses go through.
const SERVERS: usize = 3;

type Watch<'a> = &'a (dyn Fn(Progress) + Sync);

/// The treatment room: bytes in, numbers and verdicts out.
pub trait Room: Sync {
    /// What records (files, in the order in which they came) make of one fraction group of a plan, at its first dose reference.
    fn so_far(&self, plan: &[u8], group: u32, records: &[Vec<u8>]) -> Result<SoFar, Fault>;

    /// A gate that stands where two people have signed this plan.
    fn sign(&self, plan: &[u8]) -> Result<Box<dyn Gate>, Fault>;
}

pub trait Gate: Sync {
    fn ask(&self, plan: &[u8]) -> Verdict;
}

/// What to drill.
#[derive(Clone, Debug)]
pub struct Options {
    pub seed: u64,
    pub today: Timestamp,
    /// Courses simulated.
    pub courses: usize,
    /// Of these, the first ones are stored in a whole centre, too, record by record.
    pub stored: usize,
    /// Synthetic plans that are changed, a fifth of them of each technique.
    pub plans: usize,
    /// Places of each attribute of a plan that are changed.
    pub places: usize,
    /// A folder with plans of the user's own.
    pub input: Option<PathBuf>,
    pub root: PathBuf,
    pub keep: bool,
    pub writers: usize,
    /// The twin that must fail.
    pub twin: bool,
}

impl Options {
    pub fn new(seed: u64, today: Timestamp, root: PathBuf) -> Self {
        Self {
            seed,
            today,
            courses: 200,
            stored: TECHNIQUES,
            plans: TECHNIQUES,
            places: 2,
            input: None,
            root,
            keep: false,
            writers: 4,
            twin: false,
        }
    }
}

/// What happened in the courses.
#[derive(Clone, Copy, Debug, Default)]
struct Counts {
    groups: u64,
    fractions: u64,
    records: u64,
    stops: u64,
    resumed: u64,
    resumed_later: u64,
    abandoned: u64,
    duplicates: u64,
    under_new_uids: u64,
    lost: u64,
    contradicting: u64,
    by_another_clock: u64,
    begun_again: u64,
    out_of_order: u64,
    exact: u64,
    ranges: u64,
    held: u64,
}

impl Counts {
    fn add(&mut self, other: &Self) {
        let Self { groups, fractions, records, stops, resumed, resumed_later, abandoned, .. } = other;
        self.groups += groups;
        self.fractions += fractions;
        self.records += records;
        self.stops += stops;
        self.resumed += resumed;
        self.resumed_later += resumed_later;
        self.abandoned += abandoned;
        let Self { duplicates, under_new_uids, lost, contradicting, by_another_clock, begun_again, .. } = other;
        self.duplicates += duplicates;
        self.under_new_uids += under_new_uids;
        self.lost += lost;
        self.contradicting += contradicting;
        self.by_another_clock += by_another_clock;
        self.begun_again += begun_again;
        let Self { out_of_order, exact, ranges, held, .. } = other;
        self.out_of_order += out_of_order;
        self.exact += exact;
        self.ranges += ranges;
        self.held += held;
    }
}

/// What is wrong with courses.
#[derive(Default)]
struct Judged {
    counts: Counts,
    outside: Findings,
    counted: Findings,
    blurred: Findings,
    why: BTreeMap<String, u64>,
}

impl Judged {
    fn extend(&mut self, other: Self) {
        self.counts.add(&other.counts);
        self.outside.extend(other.outside);
        self.counted.extend(other.counted);
        self.blurred.extend(other.blurred);
        other.why.into_iter().for_each(|(why, times)| *self.why.entry(why).or_default() += times);
    }

    fn judge(&mut self, what: &str, course: &Course, said: &SoFar) {
        let Course { truth_gy, fractions, is_whole, rounding_gy, .. } = course;
        let SoFar { at_least_gy, at_most_gy, fractions: known, why } = said;
        self.counts.groups += 1;
        let least = at_least_gy.unwrap_or(0.0);
        if least > truth_gy + rounding_gy || at_most_gy.is_some_and(|most| most < truth_gy - rounding_gy) {
            let most = at_most_gy.map_or("nobody knows".to_owned(), |most| format!("{most:.4} Gy"));
            self.outside.add(format!("{what}: {least:.4} Gy to {most}, it was {truth_gy:.4} Gy"));
        }
        match known {
            Some(known) if known != fractions => {
                self.counted.add(format!("{what}: {known} fractions, there were {fractions}"));
            }
            _ => {}
        }
        let is_exact = at_most_gy.is_some_and(|most| (most - least).abs() <= *rounding_gy);
        match known {
            None => self.counts.held += 1,
            Some(_) if is_exact => self.counts.exact += 1,
            Some(_) => self.counts.ranges += 1,
        }
        why.iter().for_each(|why| *self.why.entry(why.clone()).or_default() += 1);
        if *is_whole && !is_exact {
            self.blurred.add(format!("{what}: {least:.4} to {at_most_gy:?} Gy, {}", why.join("; ")));
        }
    }
}

/// Runs the drill. An error means that it could not be run; broken promises stand in the report.
pub fn run(options: &Options, room: &dyn Room, builder: &dyn Builder, watch: Watch<'_>) -> Result<Report, Fault> {
    let root = DrillRoot::create(&options.root)?;
    let report = run_in(&root, options, room, builder, watch);
    if !options.keep {
        root.destroy()?;
    }
    report
}

fn walked(error: WalkError) -> Fault {
    Fault::new(Blame::Ours, "drill.walk", error.to_string())
}

/// One synthetic course of treatment: hers, and a whole record of it.
struct Drawn {
    patient: synthetic::SyntheticPatient,
    planned: Planned,
}

fn draw(options: &Options, index: usize) -> Result<Drawn, Fault> {
    let number = u64::try_from(index).unwrap_or(u64::MAX);
    // Every technique once, then others; each course of a centre of its own.
    let (seed, patients) = (options.seed.wrapping_add(number), TECHNIQUES + 1);
    let centre = synthetic::Centre {
        seed,
        today: options.today,
        patients,
        on_treatment: patients,
        images: synthetic::Images::Slice,
    };
    let (mut patient, further) = centre.patient_treated(index % TECHNIQUES, &[options.today]);
    let none = || Fault::new(Blame::Ours, "drill.course", "a synthetic patient without a course");
    let course = patient.course.as_mut().ok_or_else(none)?;
    let record = course.records.first().or_else(|| further.first()?.records.first()).ok_or_else(none)?;
    let planned = Planned::draw(&Rng::new(seed, "plan", 0), &course.plan, record).map_err(walked)?;
    Ok(Drawn { patient, planned })
}

fn simulate(options: &Options, room: &dyn Room, index: usize) -> Result<Judged, Fault> {
    let (mut judged, Drawn { planned, .. }) = (Judged::default(), draw(options, index)?);
    let rng = Rng::new(options.seed, "course", u64::try_from(index).unwrap_or(u64::MAX));
    for group in &planned.groups {
        let course = Course::draw(&rng, &planned, group, &mut judged.counts).map_err(walked)?;
        let said = room.so_far(&planned.file, group.number, &course.records)?;
        judged.judge(&format!("course {index}, fraction group {}", group.number), &course, &said);
    }
    if options.twin
        && index == 0
        && let Some(group) = planned.groups.first()
    {
        let course = Course::twin(&rng, &planned, group);
        judged.judge("the twin", &course, &room.so_far(&planned.file, group.number, &course.records)?);
    }
    Ok(judged)
}

/// The same through a whole centre: stored, signed, and each record by itself.
fn store(options: &Options, system: &dyn System, index: usize) -> Result<Judged, Fault> {
    let (mut judged, Drawn { patient, planned }) = (Judged::default(), draw(options, index)?);
    let resources: Vec<&[u8]> = patient.fhir.iter().map(Vec::as_slice).collect();
    system.keep_fhir(&resources)?;
    let plan = system.store_dicom(&planned.file)?;
    system.approve(&plan, Signer::Oncologist)?;
    system.approve(&plan, Signer::Physicist)?;
    let rng = Rng::new(options.seed, "course", u64::try_from(index).unwrap_or(u64::MAX));
    let mut courses = Vec::new();
    for group in &planned.groups {
        let course = Course::draw(&rng, &planned, group, &mut judged.counts).map_err(walked)?;
        course.records.iter().try_for_each(|record| system.store_dicom(record).map(drop))?;
        courses.push((group.number, course));
    }
    let mut said = system.doses(&patient.number)?;
    for (group, course) in courses {
        let none = || Fault::new(Blame::Ours, "drill.course", "a signed course is not shown");
        let said = said.remove(&group).ok_or_else(none)?;
        judged.judge(&format!("stored course {index}, fraction group {group}"), &course, &said);
    }
    Ok(judged)
}

/// Mutants of one attribute class of one module.
#[derive(Clone, Copy, Default)]
struct Tally {
    made: u64,
    vetoed: u64,
    named: u64,
}

/// What became of changed plans.
#[derive(Default)]
struct Changed {
    tally: BTreeMap<(Module, &'static str), Tally>,
    attributes: BTreeMap<Module, std::collections::BTreeSet<u32>>,
    passed: Findings,
    unnamed: Findings,
    held: Findings,
    unlisted: Findings,
    edits: u64,
    still: u64,
    exports: u64,
    plans: u64,
}

impl Changed {
    fn extend(&mut self, other: Self) {
        for (key, Tally { made, vetoed, named }) in other.tally {
            let ours = self.tally.entry(key).or_default();
            (ours.made, ours.vetoed, ours.named) = (ours.made + made, ours.vetoed + vetoed, ours.named + named);
        }
        other.attributes.into_iter().for_each(|(module, tags)| self.attributes.entry(module).or_default().extend(tags));
        self.passed.extend(other.passed);
        self.unnamed.extend(other.unnamed);
        self.held.extend(other.held);
        self.unlisted.extend(other.unlisted);
        self.edits += other.edits;
        self.still += other.still;
        self.exports += other.exports;
        self.plans += other.plans;
    }

    fn sum(&self) -> Tally {
        self.tally.values().fold(Tally::default(), |sum, one| Tally {
            made: sum.made + one.made,
            vetoed: sum.vetoed + one.vetoed,
            named: sum.named + one.named,
        })
    }
}

/// All that is done to one plan. None where the gate doesn't release it as it is: why.
fn change(
    options: &Options,
    room: &dyn Room,
    what: &str,
    plan: &[u8],
    seed: u64,
) -> Result<Result<Changed, String>, Fault> {
    let original = match Original::read(plan) {
        Ok(original) => original,
        Err(error) => return Ok(Err(error.to_string())),
    };
    let gate = match room.sign(plan) {
        Ok(gate) => gate,
        Err(fault) => return Ok(Err(fault.message)),
    };
    let as_it_is = gate.ask(plan);
    if !as_it_is.released {
        return Ok(Err(as_it_is.reasons.join("; ")));
    }
    let (mut changed, rng) = (Changed { plans: 1, ..Changed::default() }, Rng::new(seed, "mutants", 0));
    let Found { spots, unlisted } = original.spots(&rng, options.places);
    for (tag, times) in unlisted {
        changed.unlisted.add(format!("{what}: {} ({times} times)", mutants::number(tag)));
    }
    for spot in &spots {
        let Some(mutant) = original.mutant(&rng, spot) else { continue };
        let (verdict, number) = (gate.ask(&mutant), mutants::number(spot.tag));
        let Some(moves) = spot.moves else {
            changed.still += 1;
            if !verdict.released {
                changed.held.add(format!("{what}: {number} held it: {}", verdict.reasons.join("; ")));
            }
            continue;
        };
        let tally = changed.tally.entry((spot.module, moves.class)).or_default();
        tally.made += 1;
        changed.attributes.entry(spot.module).or_default().insert(spot.tag);
        if verdict.released {
            changed
                .passed
                .add(format!("{what}: {number} of the {} was changed, and it was released", spot.module.name()));
            continue;
        }
        tally.vetoed += 1;
        let names = |tag: u32| verdict.reasons.iter().any(|reason| reason.contains(&mutants::number(tag)));
        if names(spot.tag) || moves.named.iter().any(|tag| names(*tag)) {
            tally.named += 1;
        } else {
            changed.unnamed.add(format!(
                "{what}: {number} of the {}: {}",
                spot.module.name(),
                verdict.reasons.join("; ")
            ));
        }
    }
    let mut by_edit = |edit: &tamper::Edit, edited: &[u8], what: String| {
        let verdict = gate.ask(edited);
        match edit.must_release() {
            true => changed.exports += 1,
            false => changed.edits += 1,
        }
        match (edit.must_release(), verdict.released) {
            (true, false) => changed.held.add(format!("{what}: {}", verdict.reasons.join("; "))),
            (false, true) => changed.passed.add(what),
            _ => {}
        }
    };
    for edit in tamper::catalogue() {
        for draw in 0..EDITS_EACH {
            // What doesn't apply to real files, they may lack: a walker's error is the same.
            let Ok(Some(edited)) = edit.apply(plan, seed.wrapping_add(draw)) else { continue };
            by_edit(edit, &edited, format!("{what}: {}", edit.name));
            // Exported once more by yet another system.
            // The table top stands in the first control point, and moves from the next one on where those say it, too.
            let again = tamper::catalogue()
                .filter(|one| one.must_release() && ![edit.name, "table-top-3-mm"].contains(&one.name));
            let again: Vec<_> = again.filter(|_| edit.must_release() && draw == 0).collect();
            for second in again {
                let Ok(Some(edited)) = second.apply(&edited, seed) else { continue };
                by_edit(second, &edited, format!("{what}: {}, then {}", edit.name, second.name));
            }
        }
    }
    if options.twin && seed == options.seed {
        changed.passed.add("the twin: a plan that is as it was signed, taken for one that is not");
    }
    Ok(Ok(changed))
}

/// Synthetic plans, and the user's own.
fn plans(options: &Options, refused: &mut Vec<Refused>) -> Result<Vec<(String, Vec<u8>)>, Fault> {
    let mut plans = Vec::new();
    for index in 0..options.plans {
        let technique = ["conformal", "arcs", "electrons", "protons", "IMRT"].get(index % TECHNIQUES).copied();
        plans.push((format!("plan {index} ({})", technique.unwrap_or_default()), draw(options, index)?.planned.file));
    }
    if let Some(folder) = &options.input {
        let (files, others) = input::files(folder)?;
        refused.extend(others);
        for own in files {
            match input::read(&own) {
                Ok((Form::Dicom, bytes)) => plans.push((own.name, part10(bytes))),
                Ok(_) => {}
                Err(reason) => refused.push(own.refused(&reason)),
            }
        }
    }
    Ok(plans)
}

/// A data set without a head gets one: the walker reads files. Explicit where a value representation stands behind the first tag.
fn part10(bytes: Vec<u8>) -> Vec<u8> {
    if bytes.get(128..132) == Some(b"DICM") {
        return bytes;
    }
    let is_explicit = bytes.get(4..6).is_some_and(|vr| vr.iter().all(u8::is_ascii_uppercase));
    let syntax: &[u8] = if is_explicit { b"1.2.840.10008.1.2.1\0" } else { b"1.2.840.10008.1.2\0" };
    let length = u8::try_from(syntax.len()).unwrap_or(0);
    let file = [&[0; 128][..], b"DICM\x02\x00\x10\x00UI", &[length, 0], syntax, &bytes].concat();
    // What can't be walked stays as it is: that is said where it is changed.
    let Ok(mut file) = File::read(&file) else { return bytes };
    for (media, own) in [(0x0002_0002, 0x0008_0016), (0x0002_0003, 0x0008_0018)] {
        file.meta.set_text(media, *b"UI", &file.data.text(own).unwrap_or_default());
    }
    file.write()
}

fn run_in(
    root: &DrillRoot,
    options: &Options,
    room: &dyn Room,
    builder: &dyn Builder,
    watch: Watch<'_>,
) -> Result<Report, Fault> {
    let begun = Instant::now();
    let stage = |stage, total| watch(Progress { stage, done: 0, total });
    stage("courses", options.courses);
    let mut judged = Judged::default();
    for one in spread(options.writers, options.courses, |index| simulate(options, room, index)) {
        judged.extend(one?);
    }
    stage("courses, stored", options.stored);
    let system = builder.found(&root.path().join("centre"), SERVERS)?.system;
    let mut stored = Judged::default();
    for one in spread(options.writers, options.stored, |index| store(options, &*system, index)) {
        stored.extend(one?);
    }
    drop(system);
    let mut refused = Vec::new();
    let plans = plans(options, &mut refused)?;
    stage("plans", plans.len());
    let mut changed = Changed::default();
    let of = |index: usize| {
        let Some((what, plan)) = plans.get(index) else { return Ok(Ok(Changed::default())) };
        change(options, room, what, plan, options.seed.wrapping_add(u64::try_from(index).unwrap_or(u64::MAX)))
    };
    for ((what, _), one) in plans.iter().zip(spread(options.writers, plans.len(), of)) {
        match one? {
            Ok(one) => changed.extend(one),
            // The user's own may be no plans at all; ours are.
            Err(reason) if what.starts_with("plan ") => changed.held.add(format!("{what}: {reason}")),
            Err(reason) => refused.push(Refused { file: what.clone(), reason }),
        }
    }
    Ok(told(options, judged, stored, changed, refused, begun.elapsed().as_secs_f64()))
}

fn told(
    options: &Options,
    judged: Judged,
    stored: Judged,
    changed: Changed,
    refused: Vec<Refused>,
    whole_drill: f64,
) -> Report {
    let (counts, sum) = (judged.counts, changed.sum());
    let story = format!(
        "{} were simulated ({} of fractions, {} fractions), by plans of five techniques: {} records were made of them. {} stops, {} of \
         which were resumed in the same session and {} on a later day, {} never; {} records came twice as they were, {} again under a \
         new SOP Instance UID, {} by another clock or without its time, {} never, {} were contradicted by another one; of {} the records \
         came in any order, and in {} the numbers began again. The dose so far was exact {} times, a range {} times, and {} times two \
         people have to say what was given.",
        counted(options.courses, "course", "courses"),
        counted(size(counts.groups), "group", "groups"),
        grouped(size(counts.fractions)),
        grouped(size(counts.records)),
        grouped(size(counts.stops)),
        grouped(size(counts.resumed)),
        grouped(size(counts.resumed_later)),
        grouped(size(counts.abandoned)),
        grouped(size(counts.duplicates)),
        grouped(size(counts.under_new_uids)),
        grouped(size(counts.by_another_clock)),
        grouped(size(counts.lost)),
        grouped(size(counts.contradicting)),
        counted(size(counts.out_of_order), "group", "groups"),
        grouped(size(counts.begun_again)),
        grouped(size(counts.exact)),
        grouped(size(counts.ranges)),
        grouped(size(counts.held)),
    );
    let mut deeds: Vec<String> = (changed.tally.iter())
        .map(|((module, class), Tally { made, vetoed, named })| {
            format!("{}, {class}: {made} mutants, {vetoed} vetoed, {named} by name.", module.name())
        })
        .collect();
    deeds.extend(changed.attributes.iter().map(|(module, tags)| {
        format!("{}: {} changed.", module.name(), counted(tags.len(), "attribute", "attributes"))
    }));
    deeds.extend(judged.why.iter().map(|(why, times)| format!("Not known {times} times: {why}.")));
    let figures = BTreeMap::from([
        ("courses", options.courses as u64),
        ("fraction_groups", counts.groups),
        ("fractions", counts.fractions),
        ("records", counts.records),
        ("stops", counts.stops),
        ("resumed_same_session", counts.resumed),
        ("resumed_later_day", counts.resumed_later),
        ("never_resumed", counts.abandoned),
        ("duplicates_identical", counts.duplicates),
        ("duplicates_under_new_uids", counts.under_new_uids),
        ("records_missing", counts.lost),
        ("records_contradicting", counts.contradicting),
        ("records_by_another_clock", counts.by_another_clock),
        ("numbers_begun_again", counts.begun_again),
        ("groups_out_of_order", counts.out_of_order),
        ("dose_exact", counts.exact),
        ("dose_a_range", counts.ranges),
        ("dose_unknown", counts.held),
        ("truth_outside", judged.outside.total as u64),
        ("fractions_miscounted", judged.counted.total as u64),
        ("stored_courses", options.stored as u64),
        ("stored_records", stored.counts.records),
        ("stored_truth_outside", stored.outside.total as u64),
        ("plans_changed", changed.plans),
        ("mutants", sum.made),
        ("mutants_vetoed", sum.vetoed),
        ("mutants_named", sum.named),
        ("edits_that_move_dose", changed.edits),
        ("still_attributes_changed", changed.still),
        ("exported_again", changed.exports),
        ("harmless_held", changed.held.total as u64),
    ]);
    let of_courses = format!("{}.", counted(size(counts.groups), "fraction group", "fraction groups"));
    let of_stored = format!(
        "{}, {}: parsed, sealed, signed, counted and shown.",
        counted(size(stored.counts.groups), "fraction group", "fraction groups"),
        counted(size(stored.counts.records), "record", "records")
    );
    let mut through = stored.outside;
    through.extend(stored.counted);
    through.extend(stored.blurred);
    let checks = vec![
        Check::new(
            "P3",
            "Is the dose that was given ever outside of what is said?",
            of_courses.clone(),
            judged.outside,
            "fractions above the highest number on record; a session without a record that ended elsewhere than planned; a record that \
             is wrong, and alone.",
        ),
        Check::new(
            "P3",
            "Is a fraction ever counted twice, or not at all?",
            of_courses,
            judged.counted,
            "numbers that begin again where records are missing; a record that is wrong, and alone.",
        ),
        Check::new(
            "P4",
            "Is a dose ever in doubt though every record came?",
            "Every seventh course or so.".to_owned(),
            judged.blurred,
            "how wide a range is.",
        ),
        Check::new(
            "P3",
            "Is it the same through a whole centre?",
            of_stored,
            through,
            "the doors that records come in by.",
        ),
        Check::new(
            "P3",
            "Is every change that moves dose vetoed?",
            format!(
                "{} mutants of {}, each by the least that counts, and {} edits.",
                grouped(size(sum.made)),
                counted(size(changed.plans), "plan", "plans"),
                grouped(size(changed.edits))
            ),
            changed.passed,
            "attributes that none of these plans has.",
        ),
        Check::new(
            "P3",
            "Does each veto name the attribute?",
            format!("{} of {} mutants.", grouped(size(sum.named)), grouped(size(sum.made))),
            changed.unnamed,
            "of numbers that tie two parts of a plan together, which of the two was changed.",
        ),
        Check::new(
            "P3",
            "Is every attribute on one of the drill's own lists?",
            counted(size(changed.plans), "plan", "plans"),
            changed.unlisted,
            "private attributes.",
        ),
        Check::new(
            "P4",
            "Is every harmless change released?",
            format!(
                "{} exports, one or two after another, and {} names and descriptions changed.",
                grouped(size(changed.exports)),
                grouped(size(changed.still))
            ),
            changed.held,
            "what a planning system may do that none of these edits does.",
        ),
    ];
    Report {
        drill: "wrong-dose",
        title: "no wrong dose".to_owned(),
        story,
        seed: options.seed,
        held: checks.iter().all(|check| check.held),
        centre: report::Centre { servers: SERVERS, patients: options.stored, ..report::Centre::default() },
        attacks: Vec::new(),
        deeds,
        figures,
        checks,
        seconds: Seconds { whole_drill, ..Seconds::default() },
        refused,
    }
}

fn size(count: u64) -> usize {
    usize::try_from(count).unwrap_or(usize::MAX)
}

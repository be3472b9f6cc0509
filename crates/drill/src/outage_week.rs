//! A week without servers: patients are treated by their downtime packs and on paper; the centre comes back from three of fourteen
//! servers; the paper is typed in, some of it with a slip; the machines' records come late, in any order, some of them twice.
//!
//! The truth is the drill's own list of what was given on which day. It reckons days lost by itself, day by day.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::time::Instant;

use kit::{Blame, Fault, Timestamp};

use crate::attack::DrillRoot;
use crate::check::Findings;
use crate::eleven_of_fourteen::Progress;
use crate::machines::Options;
use crate::report::{self, Check, Report, Seconds, counted, grouped};
use crate::synthetic::{self, Further, Rng, SyntheticPatient};
use crate::system::{Builder, Founded, Paper, Remains, Signer, System};
use crate::work::spread;

const SERVERS: usize = 14;
const LEFT: usize = 3;
/// Days without servers.
const DAYS: usize = 5;
const DAY_MS: i64 = 86_400_000;
/// Of a hundred patients, how many are treated on a day of it; of whose fractions the machine's record comes; whose comes twice; whose
/// paper is typed in with a slip.
const TREATED: u64 = 80;
const ON_RECORD: u64 = 70;
const TWICE: u64 = 10;
const SLIPS: u64 = 6;

type Watch<'a> = &'a (dyn Fn(Progress) + Sync);

/// Runs the drill. An error means that it could not be run; broken promises stand in the report.
pub fn run(options: &Options, builder: &dyn Builder, watch: Watch<'_>) -> Result<Report, Fault> {
    let root = DrillRoot::create(&options.root)?;
    let report = week(&root, options, builder, watch);
    if !options.keep {
        root.destroy()?;
    }
    report
}

/// One patient, what was given in these days, and what happens to the evidence.
struct Case {
    patient: SyntheticPatient,
    given: Vec<Further>,
    /// Of which of these the machine's record comes, and what is typed in of each.
    on_record: Vec<bool>,
    paper: Vec<Paper>,
    slipped: bool,
}

impl Case {
    /// What she was really given by now.
    fn truth(&self) -> u32 {
        let before = self.patient.course.as_ref().map_or(0, |course| course.fractions_given);
        before + u32::try_from(self.given.len()).unwrap_or(0)
    }

    fn planned(&self) -> u32 {
        self.patient.course.as_ref().map_or(0, |course| course.fractions_planned)
    }

    fn plan(&self) -> &[u8] {
        self.patient.course.as_ref().map_or(&[], |course| &course.plan)
    }

    /// She was on treatment when it began, and isn't through.
    fn is_on_the_way(&self) -> bool {
        self.truth() < self.planned()
    }

    fn days(&self) -> Vec<i64> {
        let before = self.patient.course.iter().flat_map(|course| &course.days);
        before.chain(self.given.iter().map(|further| &further.day)).map(|day| number_of(*day)).collect()
    }
}

/// Days since 1970-01-01.
fn number_of(day: Timestamp) -> i64 {
    day.0.div_euclid(DAY_MS)
}

/// Monday to Friday; 1970-01-01 was a Thursday.
fn is_weekday(day: i64) -> bool {
    (day + 3).rem_euclid(7) < 5
}

fn iso(day: Timestamp) -> String {
    let (year, month, day) = day.civil_date();
    format!("{year:04}-{month:02}-{day:02}")
}

/// The weekdays before a day, the earliest first.
fn weekdays_before(today: Timestamp) -> Vec<Timestamp> {
    let mut days: Vec<Timestamp> =
        (1..).map(|back| today.plus_ms(-back * DAY_MS)).filter(|day| is_weekday(number_of(*day))).take(DAYS).collect();
    days.reverse();
    days
}

fn case(options: &Options, centre: synthetic::Centre, days: &[Timestamp], index: usize) -> Case {
    let rng = Rng::new(options.seed, "outage", u64::try_from(index).unwrap_or(u64::MAX));
    // Whoever hasn't begun waits; of the others most are treated on most days.
    let hers: Vec<Timestamp> = days.iter().copied().filter(|_| rng.chance(TREATED)).collect();
    let begun = centre.patient(index).course.is_some_and(|course| course.fractions_given > 0);
    let (patient, given) = centre.patient_treated(index, if begun { &hers } else { &[] });
    let on_record: Vec<bool> = given.iter().map(|_| rng.chance(ON_RECORD)).collect();
    let (plan_uid, machine) =
        patient.course.as_ref().map(|course| (course.plan_uid.clone(), course.machine.clone())).unwrap_or_default();
    let as_written = |further: &Further| Paper {
        plan_uid: plan_uid.clone(),
        fraction: further.number,
        date: iso(further.day),
        time: further.time.clone(),
        machine: machine.clone(),
        beams: further.beams.iter().map(|(number, meterset)| (*number, format!("{meterset:.1}"))).collect(),
    };
    let mut paper: Vec<Paper> = given.iter().map(as_written).collect();
    // One slip, where the machine's record shows it: paper that stands alone is all that there is.
    let slip = rng.chance(SLIPS).then(|| on_record.iter().position(|comes| *comes)).flatten();
    if let Some(sheet) = slip.and_then(|at| paper.get_mut(at)) {
        match rng.below(3) {
            0 => sheet.fraction = sheet.fraction % patient.course.as_ref().map_or(1, |c| c.fractions_planned) + 1,
            1 => {
                sheet.date = iso(given.get(slip.unwrap_or(0)).map_or(options.today, |one| one.day.plus_ms(-9 * DAY_MS)))
            }
            _ => sheet.beams.iter_mut().take(1).for_each(|(_, meterset)| {
                let more = meterset.parse::<f64>().unwrap_or(0.0) + 7.0;
                *meterset = format!("{more:.1}");
            }),
        }
    }
    Case { patient, given, on_record, paper, slipped: slip.is_some() }
}

fn week(root: &DrillRoot, options: &Options, builder: &dyn Builder, watch: Watch<'_>) -> Result<Report, Fault> {
    let begun = Instant::now();
    let Options { seed, patients, .. } = *options;
    let days = weekdays_before(options.today);
    let (Some(first), Some(last)) = (days.first().copied(), days.last().copied()) else {
        return Err(Fault::new(Blame::Ours, "drill.days", "no day"));
    };
    let centre =
        synthetic::Centre { seed, today: first, patients, on_treatment: patients, images: synthetic::Images::Slice };
    let stage = |stage, done, total| watch(Progress { stage, done, total });
    let mut cases: Vec<Case> = (0..patients).map(|index| case(options, centre, &days, index)).collect();
    if options.twin {
        forget(&mut cases)?;
    }

    stage("loading", 0, patients);
    let Founded { system, servers, gateway, custodians, custodians_needed } =
        builder.found(&root.path().join("centre"), SERVERS)?;
    spread(options.writers, cases.len(), |at| cases.get(at).map_or(Ok(()), |case| load(&*system, case)))
        .into_iter()
        .collect::<Result<(), Fault>>()?;
    let packs = system.packs()?;
    system.settle()?;
    drop(system);
    let loading = begun.elapsed().as_secs_f64();
    let mut checks = vec![judge_packs(&cases, &packs)];

    // All but three servers are gone, and the gateway.
    stage("an outage", 0, 1);
    let rng = Rng::new(seed, "servers", 0);
    let mut order = servers;
    rng.shuffle(&mut order);
    let survivors = order.split_off(order.len() - LEFT);
    for lost in order.iter().chain([&gateway]) {
        fs::remove_dir_all(lost).map_err(|e| Fault::new(Blame::Ours, "drill.lost", e.to_string()))?;
    }
    let remains = Remains {
        servers: &survivors,
        custodians: custodians.get(..custodians_needed).unwrap_or_default(),
        restore_from: None,
    };
    let back = Instant::now();
    let mut to_list = None;
    let system = builder.recover(&remains, &root.path().join("again"), &mut |list| {
        to_list = to_list.or_else(|| list.ok().map(|_| back.elapsed().as_secs_f64()));
    })?;
    let recovering = back.elapsed().as_secs_f64();

    // Paper and records, of each patient in any order; everybody's at once.
    stage("paper", 0, patients);
    let (typed, late) = evidence(&*system, options, &cases)?;
    let mut release = None;
    checks.extend(judge_gate(&*system, &cases, || release = release.or(Some(back.elapsed().as_secs_f64())))?);
    checks.push(judge_triage(&*system, &cases, (first, last))?);
    stage("settling", 0, 1);
    checks.push(settle(&*system, &cases)?);
    checks.sort_by_key(|check| check.promise);

    let given: usize = cases.iter().map(|case| case.given.len()).sum();
    let slips = cases.iter().filter(|case| case.slipped).count();
    let shown = release.map_or_else(|| "No fraction was released".to_owned(), |seconds| {
        format!("{seconds:.0} seconds after the recovery began, the paper of all of them typed in by then, the first fraction was released")
    });
    let story = format!(
        "{} on radiotherapy; from {} to {} the centre had no servers. {} were given by downtime packs and paper. It came back from {LEFT} of \
         {SERVERS} servers; {} were typed in, {slips} patients' with a slip, and {} of machines came late. {shown}.",
        counted(patients, "patient", "patients"),
        iso(first),
        iso(last),
        counted(given, "fraction", "fractions"),
        counted(typed, "form", "forms"),
        counted(late, "record", "records"),
    );
    let figures = BTreeMap::from([
        ("fractions_given", given as u64),
        ("forms_typed_in", typed as u64),
        ("late_records", late as u64),
        ("patients_with_a_slip", slips as u64),
        ("packs", packs.len() as u64),
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // seconds of a drill
        ("to_first_release_ms", release.map_or(0, |seconds| (seconds * 1e3) as u64)),
    ]);
    let whole_drill = begun.elapsed().as_secs_f64();
    Ok(Report {
        drill: "outage-week",
        title: "a week on paper".to_owned(),
        story,
        seed,
        held: checks.iter().all(|check| check.held),
        centre: report::Centre {
            servers: SERVERS,
            servers_lost: SERVERS - LEFT,
            patients,
            on_treatment: patients,
            ..report::Centre::default()
        },
        attacks: Vec::new(),
        deeds: Vec::new(),
        figures,
        checks,
        seconds: Seconds { loading, to_treatment_list: to_list, recovering, whole_drill, ..Seconds::default() },
        refused: Vec::new(),
    })
}

/// The twin: of one patient neither paper nor record ever comes, and the centre can't know.
fn forget(cases: &mut [Case]) -> Result<(), Fault> {
    let one = cases.iter_mut().find(|case| case.is_on_the_way() && !case.given.is_empty() && !case.slipped);
    let one = one.ok_or_else(|| Fault::new(Blame::Ours, "drill.twin", "nobody was treated: take more patients"))?;
    one.paper.clear();
    one.on_record.iter_mut().for_each(|comes| *comes = false);
    Ok(())
}

fn load(system: &dyn System, case: &Case) -> Result<(), Fault> {
    let resources: Vec<&[u8]> = case.patient.fhir.iter().map(Vec::as_slice).collect();
    system.keep_fhir(&resources)?;
    let Some(course) = &case.patient.course else { return Ok(()) };
    let plan = system.store_dicom(&course.plan)?;
    for file in &course.others {
        system.store_dicom(file)?;
    }
    system.approve(&plan, Signer::Oncologist)?;
    system.approve(&plan, Signer::Physicist)?;
    course.records.iter().try_for_each(|record| system.store_dicom(record).map(drop))
}

/// Types all paper in and brings the late records; gives how many of each.
fn evidence(system: &dyn System, options: &Options, cases: &[Case]) -> Result<(usize, usize), Fault> {
    enum One<'a> {
        Paper(&'a Paper),
        Record(&'a [u8]),
    }
    let of = |at: usize| -> Result<(usize, usize), Fault> {
        let Some(case) = cases.get(at) else { return Ok((0, 0)) };
        let rng = Rng::new(options.seed, "evidence", u64::try_from(at).unwrap_or(u64::MAX));
        let mut all: Vec<One<'_>> = case.paper.iter().map(One::Paper).collect();
        for (further, _) in case.given.iter().zip(&case.on_record).filter(|(_, comes)| **comes) {
            for record in &further.records {
                let times = if rng.chance(TWICE) { 2 } else { 1 };
                all.extend((0..times).map(|_| One::Record(record)));
            }
        }
        rng.shuffle(&mut all);
        let mut done = (0, 0);
        for one in all {
            match one {
                One::Paper(paper) => {
                    system.type_in(&case.patient.number, paper)?;
                    done.0 += 1;
                }
                One::Record(record) => {
                    system.store_dicom(record)?;
                    done.1 += 1;
                }
            }
        }
        Ok(done)
    };
    let done = spread(options.writers, cases.len(), of).into_iter().collect::<Result<Vec<_>, Fault>>()?;
    Ok(done.into_iter().fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1)))
}

fn judge_packs(cases: &[Case], packs: &[crate::system::PackRow]) -> Check {
    let mut findings = Findings::default();
    let by_number: BTreeMap<&str, &crate::system::PackRow> =
        packs.iter().map(|pack| (pack.number.as_str(), pack)).collect();
    let before = |case: &Case| case.patient.course.as_ref().map_or(0, |course| course.fractions_given);
    let due = || cases.iter().filter(|case| before(case) < case.planned());
    for case in due() {
        let at = case.patient.number_in_centre;
        match by_number.get(case.patient.number.as_str()) {
            None => findings.add(format!("patient {at} has no pack")),
            Some(pack) if pack.fraction_next != Some(before(case) + 1) => {
                findings.add(format!(
                    "patient {at}: the forms begin at {:?}, {} was due",
                    pack.fraction_next,
                    before(case) + 1
                ));
            }
            Some(pack) if !pack.has_plan_file => findings.add(format!("patient {at}: no plan file")),
            Some(_) => {}
        }
    }
    Check::new(
        "P4",
        "Could everybody on treatment be treated by a downtime pack?",
        format!("{}: the fraction that was due, and the plan's file.", counted(due().count(), "patient", "patients")),
        findings,
        "the paper itself: `holdfast pack open` and its own tests look at that.",
    )
}

/// Before anybody settles anything: nobody is released wrongly, nobody is held without a reason, no fraction is lost or counted twice.
fn judge_gate(system: &dyn System, cases: &[Case], mut released: impl FnMut()) -> Result<Vec<Check>, Fault> {
    let next: BTreeMap<String, Option<u32>> =
        system.treatment_list()?.into_iter().map(|row| (row.number, row.fraction_next)).collect();
    let disagreeing = system.disagreeing()?;
    let (mut wrong, mut held, mut counts, mut named) =
        (Findings::default(), Findings::default(), Findings::default(), Findings::default());
    let (mut releases, mut on_the_way) = (0, 0);
    for case in cases.iter().filter(|case| case.planned() > 0) {
        let (at, number) = (case.patient.number_in_centre, &case.patient.number);
        let verdict = system.gate(number, case.plan())?;
        if verdict.released {
            releases += 1;
            released();
        }
        let due = case.is_on_the_way().then(|| case.truth() + 1);
        on_the_way += usize::from(due.is_some());
        let knows = next.get(number).copied().flatten();
        if verdict.released && (due.is_none() || case.slipped || knows != due) {
            wrong.add(format!("patient {at} is released for fraction {knows:?}, {due:?} is due"));
        }
        if !verdict.released && due.is_some() && !case.slipped {
            held.add(format!("patient {at} is held: {}", verdict.reasons.join("; ")));
        }
        if !case.slipped && knows != due {
            counts.add(format!("patient {at}: the list says {knows:?} is next, {due:?} is"));
        }
        if case.slipped != disagreeing.contains(number) {
            let what = if case.slipped { "a slip is not named" } else { "is named, without a slip" };
            named.add(format!("patient {at}: {what}"));
        }
    }
    let all = counted(cases.len(), "patient", "patients");
    let slips = cases.iter().filter(|case| case.slipped).count();
    Ok(vec![
        Check::new(
            "P3",
            "Is any fraction released wrongly?",
            format!("{} of {all}, each against what was really given.", counted(releases, "release", "releases")),
            wrong,
            "paper that was typed in wrongly, where no machine's record ever comes: it is all that there is.",
        ),
        Check::new(
            "P4",
            "Is anybody held without a reason?",
            format!("{} of {all} have fractions left.", grouped(on_the_way)),
            held,
            "what a physicist would have let pass.",
        ),
        Check::new(
            "P3",
            "Is a fraction lost, or counted twice?",
            format!("the next fraction of {all}, {slips} with a slip left aside."),
            counts,
            "the dose of each: fractions are counted.",
        ),
        Check::new(
            "P6",
            "Is every slip named, and nothing else?",
            format!("{} of {all}.", counted(slips, "slip", "slips")),
            named,
            "who made it.",
        ),
    ])
}

/// Days lost, reckoned day by day.
fn judge_triage(system: &dyn System, cases: &[Case], (first, last): (Timestamp, Timestamp)) -> Result<Check, Fault> {
    let rows = system.interrupted(&iso(first), &iso(last))?;
    let by_number: BTreeMap<&str, _> = rows.iter().map(|row| (row.number.as_str(), row)).collect();
    let (mut findings, mut looked) = (Findings::default(), 0);
    for case in cases.iter().filter(|case| !case.slipped && case.is_on_the_way() && case.truth() > 0) {
        looked += 1;
        let (at, lost) = (case.patient.number_in_centre, lost(&case.days(), case.planned(), number_of(last)));
        match by_number.get(case.patient.number.as_str()) {
            None => findings.add(format!("patient {at} is not on the list")),
            Some(row) if (row.fractions_given, row.days_lost) != (Some(case.truth()), Some(lost)) => {
                findings.add(format!(
                    "patient {at}: {:?} given and {:?} days lost, {} and {lost} by the drill's own reckoning",
                    row.fractions_given,
                    row.days_lost,
                    case.truth()
                ))
            }
            Some(_) => {}
        }
    }
    Ok(Check::new(
        "P4",
        "Is it right by how much each course is longer?",
        format!("{}, reckoned day by day from the drill's own list.", counted(looked, "course", "courses")),
        findings,
        "doses and what makes up for it: the oracles of `interruption` are tests of their own.",
    ))
}

/// By how many days the end is later than it was to be, where treatment goes on on the first weekday behind both the outage and what
/// was given last.
fn lost(days: &[i64], planned: u32, outage_last: i64) -> i32 {
    let (Some(first), Some(newest)) = (days.first().copied(), days.last().copied()) else { return 0 };
    let weekday = |from: i64, count: usize| (from..).filter(|day| is_weekday(*day)).nth(count).unwrap_or(from);
    let planned = usize::try_from(planned).unwrap_or(0);
    // The first day was one of treatment, whatever it was.
    let was_to_end = if planned <= 1 { first } else { weekday(first + 1, planned - 2) };
    let left = planned.saturating_sub(days.len());
    let ends = weekday(newest.max(outage_last) + 1, left.saturating_sub(1));
    i32::try_from(ends - was_to_end).unwrap_or(i32::MAX)
}

/// Two people settle what slipped; then everybody goes on.
fn settle(system: &dyn System, cases: &[Case]) -> Result<Check, Fault> {
    let slipped: Vec<&Case> = cases.iter().filter(|case| case.slipped).collect();
    let mut findings = Findings::default();
    for case in &slipped {
        system.settle_given(&case.patient.number, case.plan(), case.truth())?;
        let verdict = system.gate(&case.patient.number, case.plan())?;
        if verdict.released != case.is_on_the_way() {
            let at = case.patient.number_in_centre;
            findings.add(format!("patient {at} is settled, and {}", verdict.reasons.join("; ")));
        }
    }
    let open: BTreeSet<String> = system.disagreeing()?;
    open.iter().for_each(|_| findings.add("somebody is still named as not agreeing"));
    Ok(Check::new(
        "P4",
        "Does everybody go on once two people have settled what slipped?",
        format!("{}.", counted(slipped.len(), "patient", "patients")),
        findings,
        "whether the two were right.",
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_lost_are_counted_on_a_calendar() {
        let day = |text: &str| {
            let known = [("2026-03-02", 20_514), ("2026-03-23", 20_535), ("2026-03-29", 20_541)];
            known.iter().find(|(known, _)| *known == text).unwrap().1
        };
        assert!(is_weekday(day("2026-03-02")) && !is_weekday(day("2026-03-29")));
        // 35 fractions from a Monday, 15 given, a week lost: a week longer.
        let given: Vec<i64> = (day("2026-03-02")..day("2026-03-23")).filter(|day| is_weekday(*day)).collect();
        assert_eq!((given.len(), lost(&given, 35, day("2026-03-29"))), (15, 7));
        let days = weekdays_before(Timestamp(day("2026-03-23") * DAY_MS + 1));
        assert_eq!(days.iter().map(|day| iso(*day)).collect::<Vec<_>>()[0], "2026-03-16");
    }
}

//! The treatment summary: made once, and printed as a page, as PDF and as a FHIR document's narrative.

use std::collections::BTreeSet;

use kit::{Timestamp, UtcOffset};
use treatment::{CourseSoFar, Day, DoseSeen, Given, Origin, Outcome, SessionSeen, TotalSeen, Transfer};

use super::{DATA, Head, MISSING, PAGE};
use crate::paper::{Block, Paper, Section, is_printable, plain};

/// Lines of what was given that are printed; the data has all of them.
const SESSIONS_SHOWN: usize = 400;
/// Between two days of treatment; a weekend is no interruption.
const GAP_DAYS: i32 = 3;

pub struct Summary {
    pub title: String,
    /// On every page.
    pub who: String,
    /// Her names, in whatever script.
    pub names: Vec<String>,
    pub number: String,
    pub birth_date: String,
    pub foot: String,
    pub as_of: Timestamp,
    pub sections: Vec<Section>,
}

fn moment(at: Timestamp, offset: UtcOffset) -> String {
    let text = offset.local(at).to_string();
    format!("{} UTC{offset}", text.get(..16).unwrap_or_default().replace('T', " "))
}

/// `2026-11-30`, of DICOM's or what stands there.
fn day(text: &str) -> String {
    Day::of_dicom(text).map_or_else(|| text.to_owned(), |day| day.to_string())
}

/// `10:56`.
fn clock(time: &str) -> Option<String> {
    Some(format!("{}:{}", time.get(..2)?, time.get(2..4)?))
}

fn gray(dose: f64) -> String {
    format!("{dose:.2} Gy")
}

fn or_not_said(text: Option<String>) -> String {
    text.unwrap_or_else(|| "not said".to_owned())
}

impl Summary {
    pub fn of(transfer: &Transfer, head: &Head) -> Self {
        let seen = &transfer.seen;
        let as_of = moment(seen.as_of, seen.utc_offset);
        let name = if seen.name.is_empty() { "(no name in her record)" } else { &seen.name };
        let mut sections = vec![about(transfer, head, &as_of), missing(transfer)];
        sections.extend(seen.courses.iter().map(|course| course_section(course, seen.utc_offset)));
        if seen.courses.is_empty() {
            let text = "No plan of hers is signed here: nothing says what is to be given.".to_owned();
            sections.push(Section::new("Courses", vec![Block::Alarm(text)]));
        }
        sections.extend(totals(&seen.totals));
        sections.extend(other_plans(transfer));
        sections.push(given_section(&seen.sessions, seen.unreadable_records, seen.utc_offset.local(seen.as_of)));
        sections.push(contents(transfer));
        Self {
            title: "Radiotherapy treatment summary, for transfer".to_owned(),
            who: plain(&format!("{name} · {} · born {}", seen.number, seen.birth_date)),
            names: transfer.names.iter().map(|name| plain(name)).collect(),
            number: plain(&seen.number),
            birth_date: seen.birth_date.clone(),
            foot: plain(&format!("{} · transfer {} · as of {as_of} · it releases nothing", transfer.centre, head.id)),
            as_of: seen.as_of,
            sections: sections.into_iter().map(Section::cleaned).collect(),
        }
    }

    /// The name that the paper shows: one of hers in letters that it has.
    fn printed_name(&self) -> String {
        let printable = self.names.iter().find(|name| is_printable(name)).cloned();
        printable.unwrap_or_else(|| format!("(name: see {PAGE})"))
    }

    /// As it is printed.
    pub fn paper(self) -> Paper {
        let head = format!("{} · {} · born {}", self.printed_name(), self.number, self.birth_date);
        let lacks_letters = !self.names.iter().all(|name| is_printable(name));
        let notice = lacks_letters.then(|| {
            format!(
                "Her name is also written in letters that this paper doesn't have. It is in {PAGE}, beside this file."
            )
        });
        let Self { title, who, foot, sections, .. } = self;
        Paper { title, who, head, notice, foot, sections }
    }
}

fn about(transfer: &Transfer, head: &Head, as_of: &str) -> Section {
    let seen = &transfer.seen;
    let some = |all: &[String]| if all.is_empty() { "none in her record".to_owned() } else { all.join("; ") };
    let facts = vec![
        ("Name", some(&transfer.names)),
        ("Hospital number", seen.number.clone()),
        ("Born", seen.birth_date.clone()),
        ("Sex", or_not_said(transfer.sex.clone())),
        ("Diagnoses", some(&transfer.diagnoses)),
        ("Alerts", some(&transfer.alerts)),
        ("From", transfer.centre.clone()),
        ("To", head.to.clone()),
        ("Reason", head.reason.clone()),
        ("Made by", format!("{} ({}), {as_of}", head.by, head.role)),
    ];
    let rule = "What was known at that time, by this centre's records. It releases nothing: whoever goes on with her checks it, and asks \
                what was given since.";
    Section::new("Patient", vec![Block::Facts(facts), Block::Lines(vec![rule.to_owned()])])
}

fn missing(transfer: &Transfer) -> Section {
    let lines: Vec<String> = transfer.missing.iter().map(|one| one.what.clone()).collect();
    let block = match lines.is_empty() {
        true => {
            vec![Block::Lines(vec!["Everything that her plans, structure sets and doses name is in it.".to_owned()])]
        }
        false => vec![
            Block::Alarm(format!(
                "NOT IN IT: some of what is named here was not in this centre's archive. {MISSING} lists it."
            )),
            Block::Lines(lines),
        ],
    };
    Section::new("Completeness", block)
}

fn course_section(course: &CourseSoFar, offset: UtcOffset) -> Section {
    let planned = course.fractions_planned;
    let mut blocks = Vec::new();
    let given = match &course.given {
        Given::Known { distinct, highest, .. } if distinct < highest => {
            format!("{distinct} to {highest} of {planned}: records are missing")
        }
        Given::Known { distinct, .. } => format!("{distinct} of {planned}"),
        Given::Unknown { why } => {
            let text = format!(
                "HOW MANY FRACTIONS WERE GIVEN IS NOT KNOWN. Settle it before the next one. Planned: {planned}."
            );
            blocks.push(Block::Alarm(text));
            blocks.push(Block::Lines(why.iter().map(ToString::to_string).collect()));
            format!("not known, of {planned}")
        }
    };
    if let Some(unfinished) = &course.unfinished {
        blocks.push(Block::Alarm(format!("Fraction {} was begun and not finished.", unfinished.fraction)));
        let rows = unfinished.beams.iter().map(|beam| {
            let name = beam.name.clone().unwrap_or_default();
            vec![format!("{} {name}", beam.number), format!("{:.2}", beam.meterset), format!("{:.2}", beam.delivered)]
        });
        blocks.push(Block::Table { head: vec!["Beam", "Planned", "Delivered"], rows: rows.collect() });
    }
    let signed = course.signed.iter().map(|one| format!("{}, {}, {}", one.name, one.role, moment(one.at, offset)));
    let signed: Vec<String> = signed.collect();
    let is_done = course.given.fractions().is_some_and(|given| given >= planned);
    let state = match course.outcome {
        _ if is_done => "all fractions are given",
        Outcome::Release => "nothing holds the next fraction",
        Outcome::Veto => "HELD: see the findings",
    };
    blocks.push(Block::Facts(vec![
        ("Fractions given", given),
        ("Machines", course.machines.join(", ")),
        ("Plan's UID", course.plan_uid.clone()),
        ("Delivery digest", course.delivery.to_string()),
        ("Signed by", if signed.is_empty() { "nobody".to_owned() } else { signed.join("; ") }),
        ("This centre's gate", state.to_owned()),
    ]));
    let findings: Vec<String> = course.findings.iter().map(|finding| format!("Open: {finding}")).collect();
    let notes = course.notes.iter().map(ToString::to_string);
    let lines: Vec<String> = findings.into_iter().chain(notes).collect();
    if !lines.is_empty() {
        blocks.push(Block::Lines(lines));
    }
    blocks.push(Block::Table {
        head: vec!["Dose reference", "Prescribed", "A fraction", "So far"],
        rows: course.dose.iter().map(dose_row).collect(),
    });
    blocks.push(Block::Table {
        head: vec!["Beam", "Meterset a fraction", "Delivered so far"],
        rows: (course.beams.iter())
            .map(|beam| {
                let name = format!("{} {}", beam.number, beam.name.clone().unwrap_or_default());
                vec![name, format!("{:.2}", beam.meterset), format!("{:.2}", beam.delivered)]
            })
            .collect(),
    });
    let group =
        if course.fraction_group == 1 { String::new() } else { format!(", fraction group {}", course.fraction_group) };
    let plan = if course.plan.is_empty() { "(a plan without a name)" } else { &course.plan };
    Section::new(format!("Course: {plan}{group}"), blocks)
}

fn so_far(at_least: Option<f64>, at_most: Option<f64>) -> String {
    match (at_least, at_most) {
        (None, _) => "the plan doesn't say".to_owned(),
        (Some(least), None) => format!("at least {}, at most not known", gray(least)),
        (Some(least), Some(most)) if most > least => format!("{} to {}", gray(least), gray(most)),
        (Some(least), Some(_)) => gray(least),
    }
}

fn prescribed(prescribed: Option<f64>, maximum: Option<f64>) -> String {
    match (prescribed, maximum) {
        (Some(prescribed), _) => gray(prescribed),
        (None, Some(maximum)) => format!("at most {}", gray(maximum)),
        (None, None) => "not said".to_owned(),
    }
}

fn dose_row(dose: &DoseSeen) -> Vec<String> {
    let kind = if dose.is_target { "target" } else { "organ at risk" };
    let what = dose.description.clone().unwrap_or_else(|| format!("reference {}", dose.reference));
    vec![
        format!("{what} ({kind})"),
        prescribed(dose.prescribed_gy, dose.maximum_gy),
        or_not_said(dose.per_fraction_gy.map(gray)),
        so_far(dose.at_least_gy, dose.at_most_gy),
    ]
}

fn totals(totals: &[TotalSeen]) -> Option<Section> {
    let row = |total: &TotalSeen| {
        vec![
            total.description.clone().unwrap_or_else(|| format!("reference {}", total.uid)),
            total.courses.to_string(),
            prescribed(total.prescribed_gy, total.maximum_gy),
            so_far(total.at_least_gy, total.at_most_gy),
        ]
    };
    let head = vec!["Dose reference", "Courses", "Prescribed", "So far, together"];
    let table = Block::Table { head, rows: totals.iter().map(row).collect() };
    (!totals.is_empty()).then(|| Section::new("Several courses together", vec![table]))
}

/// What must not be given.
fn other_plans(transfer: &Transfer) -> Option<Section> {
    let mut blocks = Vec::new();
    for one in &transfer.withdrawn {
        let at = moment(one.at, transfer.seen.utc_offset);
        let plan = format!("{} (SOP Instance UID {})", one.plan, one.plan_uid);
        blocks.push(Block::Alarm(format!("WITHDRAWN: {plan}, {at}, by the {}: {}", one.by, one.reason)));
    }
    if !transfer.unsigned.is_empty() {
        blocks.push(Block::Alarm(format!("Signed by nobody: {}", transfer.unsigned.join(", "))));
    }
    (!blocks.is_empty()).then(|| Section::new("Plans not to be given", blocks))
}

fn given_section(sessions: &[SessionSeen], unreadable: usize, as_of: Timestamp) -> Section {
    let mut blocks = Vec::new();
    if unreadable > 0 {
        blocks.push(Block::Alarm(format!(
            "{unreadable} treatment records of hers can't be read: more may have been given."
        )));
    }
    let treats = |session: &&SessionSeen| session.beams.iter().any(|beam| !beam.imaging);
    let days: BTreeSet<Day> =
        sessions.iter().filter(treats).filter_map(|session| Day::of_dicom(session.date.as_deref()?)).collect();
    let today = Day::of_dicom(&as_of.to_string().chars().filter(char::is_ascii_digit).take(8).collect::<String>());
    let last = days.last().map(|last| match today.map(|today| today.since(*last)) {
        Some(days) if days >= 0 => format!("Last treated on {last}, {days} days before this summary"),
        _ => format!("Last treated on {last}"),
    });
    let gaps: Vec<String> = (days.iter().zip(days.iter().skip(1)))
        .map(|(before, after)| (before, after, after.since(*before)))
        .filter(|(.., days)| *days > GAP_DAYS)
        .map(|(before, after, days)| format!("Interruption: nothing between {before} and {after}, {days} days"))
        .collect();
    let none = match days.len() {
        0 => Some("No record says that anything was given".to_owned()),
        _ if gaps.is_empty() => Some(format!("Never more than {GAP_DAYS} days between two days of treatment")),
        _ => None,
    };
    blocks.push(Block::Lines(none.into_iter().chain(gaps).chain(last).collect()));
    let mut rows: Vec<Vec<String>> = Vec::new();
    for session in sessions {
        rows.extend(session.beams.iter().filter(|beam| !beam.imaging).map(|beam| {
            let number = |value: Option<u32>| or_not_said(value.map(|value| value.to_string()));
            let meterset = |value: Option<f64>| or_not_said(value.map(|value| format!("{value:.2}")));
            vec![
                or_not_said(session.date.as_deref().map(day)),
                session.time.as_deref().and_then(clock).unwrap_or_default(),
                number(beam.fraction),
                format!("{} {}", number(beam.number), beam.name.clone().unwrap_or_default()),
                meterset(beam.specified),
                meterset(beam.delivered),
                or_not_said(beam.termination.clone()),
                match session.origin {
                    Some(Origin::User) => format!("{} (typed in)", session.machine.clone().unwrap_or_default()),
                    _ => session.machine.clone().unwrap_or_default(),
                },
            ]
        }));
    }
    // The newest first.
    rows.reverse();
    let left = rows.len().saturating_sub(SESSIONS_SHOWN);
    rows.truncate(SESSIONS_SHOWN);
    let head = vec!["Day", "Time", "Fraction", "Beam", "Specified", "Delivered", "Ended", "Machine"];
    blocks.push(Block::Table { head, rows });
    if left > 0 {
        blocks.push(Block::Lines(vec![format!("{left} older lines are in {DATA}.")]));
    }
    Section::new("What was given, by the treatment records", blocks)
}

fn contents(transfer: &Transfer) -> Section {
    let objects = transfer.objects.iter().map(|(what, count)| vec![format!("DICOM {what}"), count.to_string()]);
    let resources = transfer.resources.iter().map(|(what, count)| vec![format!("FHIR {what}"), count.to_string()]);
    let table = Block::Table { head: vec!["Kind", "Count"], rows: objects.chain(resources).collect() };
    Section::new("What is in this bundle", vec![table])
}

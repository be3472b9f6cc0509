//! Downtime packs as pages that a browser opens from a stick: no server, no network, black on white, A4.

use askama::Template;
use kit::{Blame, Digest, Fault};
use qrcode::QrCode;
use qrcode::render::svg;
use treatment::{BeamSheet, Booked, CourseSoFar, Day, Given, Pack};

use super::course::{CourseShown, DoseRow, SessionRow};
use super::moment;

/// A week of fractions, that are filled in by hand.
const FORMS: u32 = 5;
/// Lines of what was given, on paper; the data has all of them.
const SESSIONS_SHOWN: usize = 60;

#[derive(Template)]
#[template(path = "sheet.html")]
struct Sheet<'a> {
    id: &'a str,
    digest: String,
    digest_short: String,
    as_of: String,
    centre: &'a str,
    name: &'a str,
    number: &'a str,
    birth_date: &'a str,
    sex: Option<&'a str>,
    /// Beside the sheet.
    photo: Option<&'a str>,
    phones: &'a [String],
    diagnoses: &'a [String],
    appointments: Vec<String>,
    days: String,
    qr: String,
    courses: Vec<SheetCourse>,
    sessions: Vec<SessionRow>,
    sessions_left: usize,
    unreadable: usize,
}

struct SheetCourse {
    plan: String,
    group: Option<u32>,
    machines: String,
    given: String,
    planned: u32,
    word: &'static str,
    file: String,
    uid: String,
    digest: String,
    signed: Vec<String>,
    findings: Vec<String>,
    notes: Vec<String>,
    doses: Vec<DoseRow>,
    beams: Vec<BeamSheet>,
    forms: Vec<Form>,
}

/// One fraction, to be filled in.
struct Form {
    /// Its number; a line to write it on, where nobody knows.
    fraction: String,
    beams: Vec<FormBeam>,
}

struct FormBeam {
    number: u32,
    name: Option<String>,
    planned: String,
}

impl SheetCourse {
    fn of(pack: &Pack, course: &CourseSoFar) -> Self {
        let plan = pack.plans.iter().find(|plan| plan.delivery == course.delivery);
        let group = plan.and_then(|plan| plan.groups.iter().find(|group| group.number == course.fraction_group));
        let beams = group.map(|group| group.beams.clone()).unwrap_or_default();
        let treating = || beams.iter().filter(|beam| beam.treats);
        let form = |fraction: String| Form {
            fraction,
            beams: treating()
                .map(|beam| FormBeam {
                    number: beam.number,
                    name: beam.name.clone(),
                    planned: beam.meterset.clone().unwrap_or_default(),
                })
                .collect(),
        };
        let forms = match course.given.fractions() {
            Some(given) => (given.saturating_add(1)..=course.fractions_planned)
                .take(FORMS as usize)
                .map(|number| form(number.to_string()))
                .collect(),
            None => (0..FORMS.min(course.fractions_planned)).map(|_| form("____".to_owned())).collect(),
        };
        let is_file = plan.and_then(|plan| plan.file.clone());
        let CourseShown { plan, machines, group, word, given, findings, notes, signed, delivery, doses, .. } =
            CourseShown::of(course.clone(), pack.seen.utc_offset);
        let unknown = matches!(course.given, Given::Unknown { .. });
        Self {
            plan: if plan.is_empty() { "Plan".to_owned() } else { plan },
            group,
            machines,
            given: if unknown { format!("{given}: settle it before the next one") } else { given },
            planned: course.fractions_planned,
            word,
            file: is_file
                .unwrap_or_else(|| "not here: take it from the planning system, and compare its digest".into()),
            uid: course.plan_uid.clone(),
            digest: delivery,
            signed,
            findings,
            notes,
            doses,
            beams,
            forms,
        }
    }
}

/// The page of one pack. `id`: the pack's; `digest`: SHA-256 of its `pack.json`; `photo`: the file beside the page.
pub fn sheet(pack: &Pack, id: &str, digest: Digest, photo: Option<&str>) -> Result<String, Fault> {
    let failed = |why: String| Fault::new(Blame::Ours, "pack.sheet", why);
    let seen = &pack.seen;
    let digest = digest.to_string();
    let short: String = digest.chars().take(16).collect();
    // What a typed-in form names: which pack, and that nobody has changed it.
    let code = format!("HOLDFAST-PACK:1:{id}:{}:{short}", seen.as_of);
    let code = QrCode::new(code.as_bytes()).map_err(|e| failed(e.to_string()))?;
    let code = code.render::<svg::Color<'_>>().min_dimensions(120, 120).quiet_zone(true).build();
    // A document of its own inside the page: its head is not wanted there.
    let qr = code.split_once("?>").map_or(code.clone(), |(_, svg)| svg.to_owned());
    let mut sessions: Vec<SessionRow> = (seen.sessions.iter())
        .flat_map(|session| session.beams.iter().map(move |beam| SessionRow::of(session, beam)))
        .collect();
    sessions.reverse();
    let sessions_left = sessions.len().saturating_sub(SESSIONS_SHOWN);
    sessions.truncate(SESSIONS_SHOWN);
    let booked = |one: &Booked| format!("{} {}", one.start.replace('T', " "), one.what).trim_end().to_owned();
    let sheet = Sheet {
        id,
        digest_short: short,
        digest,
        as_of: moment(seen.as_of, seen.utc_offset),
        centre: &pack.centre,
        name: &seen.name,
        number: &seen.number,
        birth_date: &seen.birth_date,
        sex: pack.sex.as_deref(),
        photo,
        phones: &pack.phones,
        diagnoses: &pack.diagnoses,
        appointments: pack.appointments.iter().map(booked).collect(),
        days: pack.treatment_days.iter().map(Day::to_string).collect::<Vec<_>>().join(", "),
        qr,
        courses: seen.courses.iter().map(|course| SheetCourse::of(pack, course)).collect(),
        sessions,
        sessions_left,
        unreadable: seen.unreadable_records,
    };
    sheet.render().map_err(|e| failed(e.to_string()))
}

/// A line of the list of packs.
pub struct Opened {
    /// Beside the list.
    pub folder: String,
    pub name: String,
    pub number: String,
    pub birth_date: String,
    pub machines: String,
    pub plans: String,
    pub given: String,
    pub as_of: String,
    pub is_stale: bool,
}

#[derive(Template)]
#[template(path = "sheets.html")]
struct Sheets<'a> {
    opened: &'a str,
    checked: bool,
    rows: &'a [Opened],
    bad: &'a [String],
}

/// The list of the packs that were opened, and why others were not.
pub fn list(opened: &str, checked: bool, rows: &[Opened], bad: &[String]) -> Result<String, Fault> {
    let page = Sheets { opened, checked, rows, bad };
    page.render().map_err(|e| Fault::new(Blame::Ours, "pack.list", e.to_string()))
}

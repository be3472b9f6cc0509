//! Downtime packs as pages that a browser opens from a stick: no server, no network, black on white, A4.

use askama::Template;
use kit::{Blame, Digest, Fault};
use qrcode::QrCode;
use qrcode::render::svg;
use treatment::{
    BeamSeen, BeamSheet, Booked, Clocks, CourseSoFar, Day, Given, Outcome, Pack, Recovered, Setting, UnfinishedSeen,
};

use super::course::{CourseShown, DoseRow, SessionRow};
use super::{moment, plain};

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
    has_other_photo: bool,
    alerts: &'a [String],
    phones: &'a [String],
    diagnoses: &'a [String],
    orders: &'a [String],
    appointments: Vec<String>,
    days: String,
    qr: String,
    /// On every page: what must not be overlooked.
    banners: Vec<String>,
    /// Where a recovery has made it: what its machine's clock said.
    machine_clock: Option<String>,
    courses: Vec<SheetCourse>,
    totals: Vec<DoseRow>,
    withdrawn: Vec<String>,
    unsigned: &'a [String],
    sessions: Vec<SheetSession>,
    sessions_left: usize,
    unreadable: usize,
}

struct SheetSession {
    plan: String,
    row: SessionRow,
}

struct SheetCourse {
    /// By which this paper lets nothing be given.
    is_held: bool,
    /// It is held for no other reason than that one was given lately.
    too_soon: bool,
    rest: Option<Rest>,
    words: Vec<Setting>,
    plan: String,
    group: Option<u32>,
    machines: String,
    given: String,
    planned: u32,
    word: &'static str,
    /// It is held by the recovery that made the sheet, whatever the gate said.
    is_held_beside: bool,
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

/// What is left of a fraction that was begun.
struct Rest {
    fraction: u32,
    beams: Vec<RestBeam>,
}

struct RestBeam {
    name: String,
    planned: String,
    delivered: String,
    left: String,
    unit: String,
}

/// One fraction, to be filled in.
struct Form {
    /// Its number, or which fraction's rest it is.
    fraction: String,
    beams: Vec<FormBeam>,
}

/// What holds a fraction by itself, and is over in some hours.
const TOO_SOON: &str = "too-soon";

struct FormBeam {
    name: String,
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
                    name: beam
                        .name
                        .as_deref()
                        .map_or(beam.number.to_string(), |name| format!("{} {name}", beam.number)),
                    planned: beam.meterset.clone().unwrap_or_default(),
                })
                .collect(),
        };
        let is_vetoed = course.outcome == Outcome::Veto;
        let beside = pack.recovered.iter().flat_map(|one| one.held_by(course.delivery, course.fraction_group));
        let beside: Vec<String> = beside.map(str::to_owned).collect();
        let is_held_beside = !beside.is_empty();
        let is_held = is_held_beside || is_vetoed && course.findings.iter().any(|finding| finding.code() != TOO_SOON);
        let rest = course.unfinished.as_ref().map(Rest::of);
        let mut forms: Vec<Form> = Vec::new();
        // Where it is held, paper gives no licence: two people settle it first, and sign what they give on a sheet of their own.
        if let (Some(given), false) = (course.given.fractions(), is_held) {
            forms.extend(rest.as_ref().map(Rest::form));
            let next = given.saturating_add(1)..=course.fractions_planned;
            forms.extend(next.take(FORMS as usize).map(|number| form(number.to_string())));
        }
        let is_file = plan.and_then(|plan| plan.file.clone());
        let CourseShown { plan, machines, group, word, given, findings, notes, signed, delivery, doses, .. } =
            CourseShown::of(course.clone(), pack.seen.utc_offset);
        // The list says the gate's first finding as well.
        let is_new = |why: &String| !findings.iter().any(|finding| finding.starts_with(why.as_str()));
        let findings: Vec<String> = beside.into_iter().filter(is_new).chain(findings.iter().cloned()).collect();
        let unknown = matches!(course.given, Given::Unknown { .. });
        Self {
            is_held,
            too_soon: is_vetoed && !is_held,
            rest,
            words: pack
                .plans
                .iter()
                .find(|plan| plan.delivery == course.delivery)
                .map(|plan| plan.words.clone())
                .unwrap_or_default(),
            plan: if plan.is_empty() { "Plan".to_owned() } else { plan },
            group,
            machines,
            given: if unknown { format!("{given}: settle it before the next one") } else { given },
            planned: course.fractions_planned,
            word,
            is_held_beside,
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

impl Rest {
    fn of(unfinished: &UnfinishedSeen) -> Self {
        let beam = |beam: &BeamSeen| RestBeam {
            name: beam.name.as_deref().map_or(beam.number.to_string(), |name| format!("{} {name}", beam.number)),
            planned: format!("{:.2}", beam.meterset),
            delivered: format!("{:.2}", beam.delivered),
            left: format!("{:.2}", (beam.meterset - beam.delivered).max(0.0)),
            unit: beam.unit.clone(),
        };
        Self { fraction: unfinished.fraction, beams: unfinished.beams.iter().map(beam).collect() }
    }

    fn form(&self) -> Form {
        let open = self.beams.iter().filter(|beam| beam.left != "0.00");
        Form {
            fraction: format!("{} (the rest)", self.fraction),
            beams: open
                .map(|beam| FormBeam { name: beam.name.clone(), planned: format!("{} {}", beam.left, beam.unit) })
                .collect(),
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
    let label = |uid: Option<&String>| {
        let course = seen.courses.iter().find(|course| Some(&course.plan_uid) == uid);
        course.map_or_else(|| "another plan".to_owned(), |course| course.plan.clone())
    };
    let mut sessions: Vec<SheetSession> = (seen.sessions.iter())
        .flat_map(|session| session.beams.iter().map(move |beam| (session, SessionRow::of(session, beam))))
        .map(|(session, row)| SheetSession { plan: label(session.plan_uid.as_ref()), row })
        .collect();
    sessions.reverse();
    let sessions_left = sessions.len().saturating_sub(SESSIONS_SHOWN);
    sessions.truncate(SESSIONS_SHOWN);
    let booked = |one: &Booked| format!("{} {}", one.start.replace('T', " "), one.what).trim_end().to_owned();
    let courses: Vec<SheetCourse> = seen.courses.iter().map(|course| SheetCourse::of(pack, course)).collect();
    let is_held = courses.is_empty() || courses.iter().any(|course| course.is_held);
    let recovered = pack.recovered.as_ref();
    let banner = match (is_held, seen.unreadable_records > 0, pack.withdrawn.is_empty()) {
        (true, ..) => Some("HELD – see the first page: not everything of hers may be given"),
        (false, true, _) => Some("RECORDS MISSING – see the last page"),
        (false, false, false) => Some("A PLAN OF HERS IS WITHDRAWN – see the first page"),
        _ => None,
    };
    let banner = match recovered.filter(|one| !one.held.is_empty()) {
        Some(one) => Some(format!("HELD – {}. Nothing may be given by this paper", one.held.join("; "))),
        None => banner.map(str::to_owned),
    };
    let mut banners: Vec<String> = recovered.map(cautions).unwrap_or_default();
    banners.extend(banner);
    let withdrawn = pack.withdrawn.iter().map(|one| {
        let at = moment(one.at, seen.utc_offset);
        format!("{} (SOP Instance UID {}): withdrawn {at} by the {}: {}", one.plan, one.plan_uid, one.by, one.reason)
    });
    let sheet = Sheet {
        id,
        banners,
        machine_clock: recovered.map(|one| moment(one.clocks.machine, seen.utc_offset)),
        has_other_photo: pack.has_other_photo,
        alerts: &pack.alerts,
        totals: seen.totals.iter().map(DoseRow::of_all).collect(),
        withdrawn: withdrawn.collect(),
        unsigned: &pack.unsigned,
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
        orders: &pack.orders,
        appointments: pack.appointments.iter().map(booked).collect(),
        days: pack.treatment_days.iter().map(Day::to_string).collect::<Vec<_>>().join(", "),
        qr,
        courses,
        sessions,
        sessions_left,
        unreadable: seen.unreadable_records,
    };
    sheet.render().map(plain).map_err(|e| failed(e.to_string()))
}

/// What a recovery says of everything that it has written.
fn cautions(recovered: &Recovered) -> Vec<String> {
    list_cautions(recovered.incomplete.as_deref(), recovered.clocks)
}

/// The same, for the list of its sheets.
pub fn list_cautions(incomplete: Option<&str>, clocks: Clocks) -> Vec<String> {
    let missing =
        |why: &str| format!("INCOMPLETE: {why}. Fractions, vetoes and erasures may be missing: nobody is ready");
    incomplete.map(missing).into_iter().chain(clocks.doubt().map(|doubt| format!("CLOCK: {doubt}"))).collect()
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
    /// What the gate said then, of the course that is worst off.
    pub state: String,
    pub as_of: String,
    /// Why it isn't to be trusted as it stands.
    pub doubt: Option<String>,
}

#[derive(Template)]
#[template(path = "sheets.html")]
struct Sheets<'a> {
    opened: &'a str,
    trust: Trust,
    cautions: &'a [String],
    rows: &'a [Opened],
    bad: &'a [String],
}

/// By what the sheets of a list are to be believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trust {
    /// Each is in the centre's log.
    Checked,
    /// No keys were given to check it by.
    Unchecked,
    /// They are of a recovery that had only begun.
    Recovery,
    /// They are of a recovery that has read all that can be read.
    Whole,
}

/// The list of the packs that were opened, and why others were not; `cautions`: what must not be overlooked.
pub fn list(opened: &str, trust: Trust, cautions: &[String], rows: &[Opened], bad: &[String]) -> Result<String, Fault> {
    let page = Sheets { opened, trust, cautions, rows, bad };
    page.render().map(plain).map_err(|e| Fault::new(Blame::Ours, "pack.list", e.to_string()))
}

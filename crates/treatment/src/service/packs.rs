//! Downtime packs: of everybody on treatment, what a ward needs on a day when nothing runs.
//!
//! Here they are put together; who seals them, and where they are brought, is the centre's business.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chart::Context;
use guard::{Act, Permit, Sensitivity, Target};
use kit::{Digest, PatientId, Timestamp};
use serde::Serialize;
use serde_json::Value;

use super::course::PatientCourses;
use super::recovery::Recovered;
use super::triage::phones;
use super::{Result, Treatment};
use crate::gate::facts::{self, Facts};
use crate::interruption::calendar::Day;
use crate::interruption::rules::Rules;
use crate::plan::Plan;
use crate::plan::sheet::{BeamSheet, Setting, in_words};

/// Patients whose packs are put together under one permit, which lasts a minute.
pub const PACKS_AT_ONCE: usize = 32;
/// A photograph that is larger stays at home: a pack is carried on a stick.
const PHOTO_BYTES_MAX: usize = 1024 * 1024;
/// Appointments of one patient that are looked at, and that are printed.
const APPOINTMENTS_MAX: usize = 5_000;
const APPOINTMENTS_SHOWN: usize = 10;
/// Alerts of one patient that are looked at.
const ALERTS_MAX: usize = 200;
/// Days on which her next fractions may be, that are printed.
const DAYS_AHEAD: usize = 10;

/// What is needed of one patient.
#[derive(Clone, Debug, Serialize)]
pub struct Pack {
    #[serde(skip)]
    pub patient: PatientId,
    pub centre: String,
    /// FHIR's word.
    pub sex: Option<String>,
    pub phones: Vec<String>,
    #[serde(skip)]
    pub photo: Option<Photo>,
    /// There is one in her record, and it is too large, elsewhere, or of a kind that isn't printed.
    pub has_other_photo: bool,
    /// Active Flags and allergies.
    pub alerts: Vec<String>,
    pub diagnoses: Vec<String>,
    /// What was ordered for her, beside what her plans prescribe: orders for radiotherapy that stand.
    pub orders: Vec<String>,
    /// Booked from today on.
    pub appointments: Vec<Booked>,
    /// The next days on which machines treat.
    pub treatment_days: Vec<Day>,
    #[serde(flatten)]
    pub seen: PatientCourses,
    pub plans: Vec<PackedPlan>,
    /// Plans of hers that are not to be given any more: they may still stand at a console.
    pub withdrawn: Vec<WithdrawnPlan>,
    /// Plans that are here and that nobody has signed, the newest: their names.
    pub unsigned: Vec<String>,
    /// Where no gateway has made it, but a recovery.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub recovered: Option<Recovered>,
}

impl Pack {
    /// As a recovery's sheet: it says what the log's end knew, whatever this machine's clock says.
    pub fn recovered(&mut self, recovered: Recovered) {
        self.seen.as_of = recovered.clocks.newest;
        self.recovered = Some(recovered);
    }
}

#[derive(Clone, Debug, Serialize)]
pub struct WithdrawnPlan {
    pub plan: String,
    pub plan_uid: String,
    pub at: Timestamp,
    pub by: String,
    pub reason: String,
}

/// Of whom packs are made.
pub struct Packed {
    pub patients: Vec<PatientId>,
    /// Who was on the list, and is erased: nothing of hers may stay on a ward.
    pub erased: Vec<PatientId>,
}

#[derive(Clone)]
pub struct Photo {
    /// `image/jpeg` or `image/png`, as its bytes say.
    pub is_png: bool,
    pub bytes: Vec<u8>,
}

impl std::fmt::Debug for Photo {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Photo({} bytes)", self.bytes.len())
    }
}

#[derive(Clone, Debug, Serialize)]
pub struct Booked {
    /// As it was booked, with its zone.
    pub start: String,
    pub what: String,
}

/// A plan that somebody has signed, and the file that the console takes.
#[derive(Clone, Serialize)]
pub struct PackedPlan {
    pub plan_uid: String,
    pub delivery: Digest,
    /// In the pack; none where the file that was signed isn't here any more.
    pub file: Option<String>,
    #[serde(skip)]
    pub bytes: Vec<u8>,
    pub groups: Vec<PackedGroup>,
    /// What the planner has written in words.
    pub words: Vec<Setting>,
}

impl std::fmt::Debug for PackedPlan {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "PackedPlan({}, {} bytes)", self.delivery, self.bytes.len())
    }
}

#[derive(Clone, Debug, Serialize)]
pub struct PackedGroup {
    pub number: u32,
    pub beams: Vec<BeamSheet>,
}

impl Treatment {
    /// Everybody of whom there is to be a pack: who is on the treatment list and not at the end of every course.
    pub fn packed_patients(&self, context: &Context) -> Result<Packed> {
        let (_, _, listed) = self.admit_to_listed(context, Act::MakePacks)?;
        let (erased, patients) = listed.into_iter().partition(|patient| self.chart.is_erased(*patient));
        Ok(Packed { patients, erased })
    }

    /// The packs of some of them, at most [`PACKS_AT_ONCE`], in their order; none for who has nothing left to be given. What can't be
    /// read of one keeps nobody else from hers.
    pub fn packs(&self, context: &Context, patients: &[PatientId]) -> Result<Vec<Result<Option<Pack>>>> {
        let permit =
            self.chart.admit(context, Act::MakePacks, Target::Centre, Sensitivity::Clinical).map_err(|e| e.fault())?;
        let people = self.people()?;
        let (rules, _) = self.rules_by(&people)?;
        let patients = patients.get(..PACKS_AT_ONCE.min(patients.len())).unwrap_or_default();
        let each = facts::read(&self.chart, &permit, patients, self.signers(&people));
        Ok(each.map(|facts| self.pack(&permit, &facts?, &rules)).collect())
    }

    fn pack(&self, permit: &Permit, facts: &Facts, rules: &Rules) -> Result<Option<Pack>> {
        let beside = self.beside(permit, facts.patient).map_err(|e| e.fault())?;
        let seen = self.courses_of(facts, rules, &beside)?;
        let is_over = |course: &super::course::CourseSoFar| {
            course.unfinished.is_none()
                && course.given.fractions().is_some_and(|given| given >= course.fractions_planned)
        };
        let is_signed = |plan: &&Plan| seen.courses.iter().any(|course| course.delivery == plan.digest());
        let unsigned: Vec<String> = (facts.plans.iter().filter(|plan| !is_signed(plan) && !plan.is_for_qa()))
            .map(|plan| plan.label.clone().unwrap_or_else(|| plan.instance.sop_instance.clone()))
            .collect();
        // A phase that is over, and another one that waits for signatures: she is on treatment.
        if !seen.courses.is_empty() && seen.courses.iter().all(is_over) && unsigned.is_empty() {
            return Ok(None);
        }
        let now = self.chart.now();
        let today = Day::of_dicom(&facts.local(now).0);
        let ahead = today.into_iter().flat_map(|today| rules.calendar().from(today));
        let plans = self.plans_of(permit, facts, &seen)?;
        Ok(Some(Pack {
            patient: facts.patient,
            centre: self.centre.clone(),
            sex: facts.record.get("gender").and_then(Value::as_str).map(str::to_owned),
            phones: phones(&facts.record).map(str::to_owned).collect(),
            has_other_photo: facts.record.get("photo").is_some() && photo(&facts.record).is_none(),
            photo: photo(&facts.record),
            alerts: self.alerts(permit, facts.patient)?,
            diagnoses: self.diagnoses(permit, facts.patient)?,
            orders: beside.orders.iter().map(ToString::to_string).collect(),
            appointments: self.appointments(permit, facts, now)?,
            treatment_days: ahead.take(DAYS_AHEAD).collect(),
            seen,
            plans,
            withdrawn: withdrawn(facts),
            unsigned,
            recovered: None,
        }))
    }

    /// The files of the deliveries that her courses are of.
    fn plans_of(&self, permit: &Permit, facts: &Facts, seen: &PatientCourses) -> Result<Vec<PackedPlan>> {
        let mut plans: Vec<PackedPlan> = Vec::new();
        for plan in facts.signed_files().rev() {
            let is_hers = seen.courses.iter().any(|course| course.delivery == plan.digest());
            if !is_hers || plans.iter().any(|packed| packed.delivery == plan.digest()) {
                continue;
            }
            let bytes = self.file_of(permit, facts, plan)?;
            let file = bytes.is_some().then(|| format!("plan-{}.dcm", plans.len() + 1));
            plans.push(PackedPlan {
                plan_uid: plan.instance.sop_instance.clone(),
                delivery: plan.digest(),
                file,
                words: in_words(bytes.as_deref().unwrap_or_default()),
                bytes: bytes.unwrap_or_default(),
                groups: (plan.groups.iter())
                    .map(|group| PackedGroup { number: group.number, beams: plan.sheet(group) })
                    .collect(),
            });
        }
        Ok(plans)
    }

    /// A stored file that delivers what was signed, with the setup that was signed.
    fn file_of(&self, permit: &Permit, facts: &Facts, plan: &Plan) -> Result<Option<Vec<u8>>> {
        for entry in facts.stored(plan) {
            for released in self.chart.release(permit, &[entry]).map_err(|e| e.fault())? {
                let is_it = Plan::parse(&released.bytes)
                    .is_ok_and(|found| found.delivery == plan.delivery && !facts::is_rejected(&found));
                if is_it {
                    return Ok(Some(released.bytes.to_vec()));
                }
            }
        }
        Ok(None)
    }

    /// What whoever stands beside her must know: FHIR Flags that are active, and allergies that nobody has refuted.
    pub(super) fn alerts(&self, permit: &Permit, patient: PatientId) -> Result<Vec<String>> {
        let mut alerts = Vec::new();
        for (kind, status) in [("Flag", "/status"), ("AllergyIntolerance", "/clinicalStatus/coding/0/code")] {
            let entries = self.chart.current_of(patient, kind, ALERTS_MAX).map_err(|e| e.fault())?;
            for released in self.chart.release(permit, &entries).map_err(|e| e.fault())? {
                let Ok(one) = serde_json::from_slice::<Value>(&released.bytes) else { continue };
                let code = |path: &str| one.pointer(path).and_then(Value::as_str);
                let is_refuted =
                    matches!(code("/verificationStatus/coding/0/code"), Some("refuted" | "entered-in-error"));
                if is_refuted || matches!(code(status), Some("inactive" | "resolved" | "entered-in-error")) {
                    continue;
                }
                let what = if kind == "Flag" { "" } else { "allergy: " };
                alerts.extend(concept(&one).map(|text| format!("{what}{text}")));
            }
        }
        Ok(alerts)
    }

    pub(super) fn diagnoses(&self, permit: &Permit, patient: PatientId) -> Result<Vec<String>> {
        let conditions = self.diagnoses_of(permit, patient).map_err(|e| e.fault())?;
        Ok(conditions.iter().filter_map(concept).collect())
    }

    fn appointments(&self, permit: &Permit, facts: &Facts, now: Timestamp) -> Result<Vec<Booked>> {
        let entries = self.chart.current_of(facts.patient, "Appointment", APPOINTMENTS_MAX).map_err(|e| e.fault())?;
        let today = facts.local(now).0;
        let mut booked = Vec::new();
        for released in self.chart.release(permit, &entries).map_err(|e| e.fault())? {
            let Ok(one) = serde_json::from_slice::<Value>(&released.bytes) else { continue };
            let text = |field: &str| one.get(field).and_then(Value::as_str);
            let comes = matches!(text("status"), Some("booked" | "pending" | "arrived" | "checked-in" | "waitlist"));
            let Some(start) = text("start").filter(|_| comes) else { continue };
            // By its own zone's day: a day too many is better than one too few.
            if start.get(..10).is_some_and(|day| day.replace('-', "") >= today) {
                let what = text("description").map(str::to_owned);
                let what = what.or_else(|| one.pointer("/serviceType/0").and_then(text_of)).unwrap_or_default();
                booked.push(Booked { start: start.to_owned(), what });
            }
        }
        booked.sort_by(|a, b| a.start.cmp(&b.start));
        booked.truncate(APPOINTMENTS_SHOWN);
        Ok(booked)
    }
}

/// Deliveries whose approval somebody has taken back.
pub(super) fn withdrawn(facts: &Facts) -> Vec<WithdrawnPlan> {
    let mut all: Vec<WithdrawnPlan> = Vec::new();
    for plan in facts.ever_signed_files() {
        let Some(withdrawn) = facts.withdrawn(plan.digest()) else { continue };
        let plan_uid = plan.instance.sop_instance.clone();
        if all.iter().any(|one| one.plan_uid == plan_uid) {
            continue;
        }
        all.push(WithdrawnPlan {
            plan: plan.label.clone().unwrap_or_default(),
            plan_uid,
            at: withdrawn.at,
            by: withdrawn.role.to_string(),
            reason: withdrawn.reason.clone(),
        });
    }
    all
}

/// The words of a Condition's code, with its ICD-10 code where it has one.
fn concept(condition: &Value) -> Option<String> {
    let code = condition.get("code")?;
    let coding = |field: &str| code.pointer(&format!("/coding/0/{field}")).and_then(Value::as_str);
    let words = text_of(code).or_else(|| coding("display").map(str::to_owned));
    match (words, coding("code")) {
        (Some(words), Some(code)) => Some(format!("{words} ({code})")),
        (words, code) => words.or_else(|| code.map(str::to_owned)),
    }
}

fn text_of(concept: &Value) -> Option<String> {
    concept.get("text").and_then(Value::as_str).map(str::to_owned)
}

/// The first photograph in her record that a browser shows. Nothing is fetched from elsewhere.
fn photo(record: &Value) -> Option<Photo> {
    let all = record.get("photo").and_then(Value::as_array).into_iter().flatten();
    all.filter_map(|one| STANDARD.decode(one.get("data")?.as_str()?).ok())
        .filter(|bytes| bytes.len() <= PHOTO_BYTES_MAX)
        .find_map(|bytes| {
            let is_png = bytes.starts_with(b"\x89PNG\r\n\x1a\n");
            (is_png || bytes.starts_with(b"\xff\xd8\xff")).then_some(Photo { is_png, bytes })
        })
}

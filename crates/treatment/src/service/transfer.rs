//! A transfer: everything of one patient that another centre needs to go on with her, opened file by file.
//!
//! ```text
//!  facts, courses ──► plans, records, images as received ──► approvals ──► FHIR ──► what is named and isn't here
//! ```
//! Each file is handed on as it is opened; here stays what a summary is made of.

use std::collections::{BTreeMap, BTreeSet};

use chart::{Chart, ChartError, Context, Released, fhir};
use guard::{Act, Permit, Sensitivity, Target};
use kit::{Blame, Fault, PatientId};
use serde_json::Value;

use super::course::PatientCourses;
use super::packs::{WithdrawnPlan, withdrawn};
use super::{OBJECTS, Result, Treatment};
use crate::dicom::content::{Needed, needs_of, series_of};
use crate::dicom::object::{Instance, Kind};
use crate::dicom::scan::Tree;
use crate::gate::facts::{self, APPROVALS, Facts, PLANS, RECORDS, approvals_of_file};

/// What was handed on, of her and of the centre.
const TRANSFERS: &str = "transfers";
/// Objects on one of her lists, with those that were replaced: cone-beam images of forty fractions, and breathing's ten phases.
const OBJECTS_MAX: usize = 50_000;
/// What is opened at once, and the one that goes beyond.
const OPENED_BYTES_MAX: u64 = 16 * 1024 * 1024;
const OPENED_MAX: usize = 64;
/// Of a permit's minute, for what is opened at once.
const PERMIT_LEFT_MS: i64 = 30_000;
/// Living resources of one kind.
const RESOURCES_MAX: usize = 100_000;
/// One file of resources, and the one that goes beyond.
const LINES_BYTES_MAX: usize = 16 * 1024 * 1024;
/// What a summary is made of. The rest is in the files alone.
const KEPT_BYTES_MAX: usize = 8 * 1024 * 1024;
const KEPT_MAX: usize = 500;
/// Kinds that whoever goes on with her reads first.
const FIRST: [&str; 9] = [
    "Patient",
    "Condition",
    "AllergyIntolerance",
    "Flag",
    "MedicationRequest",
    "MedicationStatement",
    "Procedure",
    "CarePlan",
    "Observation",
];
/// UIDs of one kind that are named one by one.
const NAMED_MAX: usize = 1_000;

/// Takes one file: its name and its bytes.
type Take<'a> = &'a mut dyn FnMut(&str, &[u8]) -> Result<()>;

/// What a summary is made of.
#[derive(Debug)]
pub struct Transfer {
    pub patient: PatientId,
    pub centre: String,
    /// Her names as her record has them, in whatever script; the first is the one that pages show.
    pub names: Vec<String>,
    /// FHIR's word.
    pub sex: Option<String>,
    pub seen: PatientCourses,
    pub alerts: Vec<String>,
    pub diagnoses: Vec<String>,
    pub withdrawn: Vec<WithdrawnPlan>,
    /// Plans that nobody has signed: their names.
    pub unsigned: Vec<String>,
    /// Objects of each modality.
    pub objects: BTreeMap<&'static str, usize>,
    /// Resources of each kind.
    pub resources: BTreeMap<String, usize>,
    /// Those that a summary refers to, the Patient first.
    pub kept: Vec<Kept>,
    pub missing: Vec<Missing>,
}

/// One resource with the id that references name.
pub struct Kept {
    pub kind: String,
    pub id: String,
    pub json: Vec<u8>,
}

impl std::fmt::Debug for Kept {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Kept({}, {} bytes)", self.kind, self.json.len())
    }
}

/// What should be there and isn't.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Missing {
    pub what: String,
    /// SOP Instance UIDs, or of series, the first thousand.
    pub uids: Vec<String>,
}

/// One object that is to go.
struct Stored {
    entry: u64,
    /// None where it is the newest of its UID.
    older: Option<u32>,
}

/// What was handed on, and what that names.
#[derive(Default)]
struct Handed {
    objects: BTreeMap<&'static str, usize>,
    instances: BTreeSet<String>,
    unreadable: usize,
    /// By what is named: who names it.
    needs: BTreeMap<(Needed, String), &'static str>,
    doses_of: BTreeSet<String>,
    /// Of images; and those that structure sets were drawn on, which needn't name each image.
    series: BTreeSet<String>,
    drawn_on: BTreeSet<String>,
}

/// A permit, asked for anew where it ends soon: what is opened may take longer than it lasts.
struct Held<'a> {
    permit: Permit,
    admit: &'a dyn Fn() -> Result<Permit>,
    chart: &'a Chart,
}

impl Held<'_> {
    fn permit(&mut self) -> Result<&Permit> {
        if self.permit.expires() < self.chart.now().plus_ms(PERMIT_LEFT_MS) {
            self.permit = (self.admit)()?;
        }
        Ok(&self.permit)
    }
}

impl Treatment {
    /// Hands one patient's files to `take`. `asked`: hospital number or FHIR id; `what`: for the record of the decision.
    pub fn transfer(&self, context: &Context, asked: &str, what: &str, take: Take<'_>) -> Result<Transfer> {
        let patient = self.chart.find_patient(asked).map_err(|e| e.fault())?;
        let target = patient.map_or(Target::Centre, Target::Patient);
        let admit = || {
            let permit = self.chart.admit_to_do(context, Act::ExportRecord, target, Sensitivity::Clinical, what);
            permit.map_err(|e| e.fault())
        };
        let permit = admit()?;
        let Some(patient) = patient else {
            return Err(Fault::new(Blame::Absent, "patient.unknown", "no patient has this id or identifier"));
        };
        if self.chart.is_erased(patient) {
            return Err(Fault::new(Blame::Absent, "patient.erased", "this patient is erased: nothing of hers opens"));
        }
        let people = self.people()?;
        let facts = facts::read_one(&self.chart, &permit, patient, self.signers(&people))?;
        let (rules, _) = self.rules_by(&people)?;
        let beside = self.beside(&permit, patient).map_err(|e| e.fault())?;
        let seen = self.courses_of(&facts, &rules, &beside)?;
        let (alerts, diagnoses) = (self.alerts(&permit, patient)?, self.diagnoses(&permit, patient)?);

        let mut held = Held { permit, admit: &admit, chart: &self.chart };
        let mut handed = Handed::default();
        for list in [PLANS, RECORDS, "images"] {
            for some in self.stored(patient, list).map_err(|e| e.fault())? {
                let permit = held.permit()?;
                let entries: Vec<u64> = some.iter().map(|one| one.entry).collect();
                let released = self.chart.release(permit, &entries).map_err(|e| e.fault())?;
                for (stored, released) in some.iter().zip(released) {
                    take(&handed.name(stored, &released), &released.bytes)?;
                }
            }
        }
        let approvals = self.chart.listed(&self.chart.list_tag(APPROVALS, &patient.0), OBJECTS_MAX);
        let approvals =
            self.chart.release(held.permit()?, &approvals.map_err(|e| e.fault())?).map_err(|e| e.fault())?;
        for (number, approval) in (1..).zip(&approvals) {
            take(&format!("approvals/{number}.cbor"), &approval.bytes)?;
        }
        let (mut resources, mut kept) = (BTreeMap::new(), Vec::new());
        let kinds = fhir::resource_types().into_iter().filter(|kind| !FIRST.contains(kind));
        for kind in FIRST.into_iter().chain(kinds) {
            let count = self.hand_resources(&mut held, (patient, kind), &mut kept, take)?;
            if count > 0 {
                resources.insert(kind.to_owned(), count);
            }
        }
        Ok(Transfer {
            patient,
            centre: self.centre.clone(),
            names: names(&facts.record),
            sex: facts.record.get("gender").and_then(Value::as_str).map(str::to_owned),
            alerts,
            diagnoses,
            withdrawn: withdrawn(&facts),
            unsigned: unsigned(&facts, &seen),
            missing: handed.missing(&facts, &seen),
            objects: handed.objects,
            seen,
            resources,
            kept,
        })
    }

    /// Notes what was handed on: under her key, and in the log's own words the note by which whoever got it can check it. Gives the
    /// latter's entry.
    pub fn note_transfer(
        &self,
        context: &Context,
        patient: PatientId,
        what: &str,
        (kind, note): (&str, Vec<u8>),
        record: String,
    ) -> Result<u64> {
        let target = Target::Patient(patient);
        let noted = || {
            let permit = self.chart.admit_to_do(context, Act::ExportRecord, target, Sensitivity::Clinical, what)?;
            let lists = [self.chart.list_tag(TRANSFERS, &patient.0)];
            self.chart.append(&permit, Some(patient), "treatment.transfer", &lists, record.into_bytes())?;
            let lists = vec![self.chart.list_tag(TRANSFERS, &[])];
            self.chart.append_note(&permit, kind, lists, note)
        };
        noted().map(|receipt| receipt.index).map_err(|e: ChartError| e.fault())
    }

    /// Her objects that are current, and plans that somebody has signed, in parts that are opened at once.
    fn stored(&self, patient: PatientId, list: &str) -> std::result::Result<Vec<Vec<Stored>>, ChartError> {
        let (mut parts, mut part, mut bytes): (Vec<Vec<Stored>>, Vec<Stored>, u64) = (Vec::new(), Vec::new(), 0);
        for entry in self.chart.listed(&self.chart.list_tag(list, &patient.0), OBJECTS_MAX)? {
            let (head, meta) = self.chart.note_of(entry)?;
            let Some(version) = meta.version else { continue };
            let is_newest = self.chart.object_entry(OBJECTS, &version.id, patient)? == Some(entry);
            let is_signed = list == PLANS && self.chart.newest(&approvals_of_file(&self.chart, entry))?.is_some();
            if !is_newest && !is_signed {
                continue;
            }
            let length = head.payload_len.unwrap_or(0);
            part.push(Stored { entry, older: (!is_newest).then_some(version.version) });
            bytes += length;
            if bytes >= OPENED_BYTES_MAX || part.len() >= OPENED_MAX {
                parts.push(std::mem::take(&mut part));
                bytes = 0;
            }
        }
        parts.push(part);
        Ok(parts)
    }

    /// Her living resources of one kind, a line each; gives how many.
    fn hand_resources(
        &self,
        held: &mut Held<'_>,
        (patient, kind): (PatientId, &str),
        kept: &mut Vec<Kept>,
        take: Take<'_>,
    ) -> Result<usize> {
        let entries = self.chart.current_of(patient, kind, RESOURCES_MAX + 1).map_err(|e| e.fault())?;
        if entries.len() > RESOURCES_MAX {
            let text = format!("more than {RESOURCES_MAX} resources of the kind {kind}, which is the maximum");
            return Err(Fault::new(Blame::Peer, "transfer.resources", text));
        }
        let (mut lines, mut part) = (Vec::new(), 1);
        let mut hand = |lines: &mut Vec<u8>| {
            let name = format!("fhir/{kind}-{part}.ndjson");
            part += 1;
            take(&name, &std::mem::take(lines))
        };
        for some in entries.chunks(OPENED_MAX) {
            let permit = held.permit()?;
            for Released { version, bytes, .. } in self.chart.release_resources(permit, some).map_err(|e| e.fault())? {
                // Between tokens alone: inside a string JSON escapes it.
                lines.extend(bytes.iter().map(|byte| if matches!(byte, b'\n' | b'\r') { b' ' } else { *byte }));
                lines.push(b'\n');
                let so_far: usize = kept.iter().map(|kept| kept.json.len()).sum();
                if FIRST.contains(&kind) && kept.len() < KEPT_MAX && so_far + bytes.len() <= KEPT_BYTES_MAX {
                    kept.push(Kept { kind: kind.to_owned(), id: version.id, json: bytes.to_vec() });
                }
                if lines.len() >= LINES_BYTES_MAX {
                    hand(&mut lines)?;
                }
            }
        }
        if !lines.is_empty() {
            hand(&mut lines)?;
        }
        Ok(entries.len())
    }
}

impl Handed {
    /// Looks into an object, and gives its name: `dicom/CT/UID.dcm`.
    fn name(&mut self, stored: &Stored, released: &Released) -> String {
        let uid = &released.version.id;
        let instance = Instance::parse(&released.bytes).ok();
        let kind = instance.as_ref().map(|instance| instance.kind);
        self.series.extend(instance.filter(|one| one.kind == Kind::CtImage).map(|instance| instance.series));
        let modality = kind.map_or("OTHER", modality);
        *self.objects.entry(modality).or_default() += 1;
        self.instances.insert(uid.clone());
        match (kind, Tree::of_file(&released.bytes)) {
            (Some(kind), Ok(tree)) => {
                if kind == Kind::RtStructureSet {
                    self.drawn_on.extend(series_of(&tree));
                }
                for need in needs_of(&tree) {
                    if kind == Kind::RtDose && need.0 == Needed::Plan {
                        self.doses_of.insert(need.1.clone());
                    }
                    self.needs.insert(need, modality);
                }
            }
            _ => self.unreadable += 1,
        }
        match stored.older {
            None => format!("dicom/{modality}/{uid}.dcm"),
            Some(version) => format!("dicom/{modality}/{uid}-v{version}.dcm"),
        }
    }

    /// What should be there and isn't.
    fn missing(&self, facts: &Facts, seen: &PatientCourses) -> Vec<Missing> {
        let mut missing: BTreeMap<(Needed, &'static str), Vec<String>> = BTreeMap::new();
        for ((needed, uid), by) in &self.needs {
            if !self.instances.contains(uid) {
                missing.entry((*needed, by)).or_default().push(uid.clone());
            }
        }
        let mut all: Vec<Missing> = (missing.into_iter())
            .map(|((needed, by), mut uids)| {
                let what = match needed {
                    Needed::Plan => "plans",
                    Needed::StructureSet => "structure sets",
                    Needed::Dose => "doses",
                    Needed::Image => "images",
                };
                let what = format!("{} {what} that objects of modality {by} name", uids.len());
                uids.truncate(NAMED_MAX);
                Missing { what, uids }
            })
            .collect();
        let mut say = |what: String, uids: Vec<String>| all.push(Missing { what, uids });
        let signed: BTreeSet<&String> = seen.courses.iter().map(|course| &course.plan_uid).collect();
        let doseless: Vec<String> =
            signed.iter().filter(|uid| !self.doses_of.contains(**uid)).map(|uid| (*uid).clone()).collect();
        if !doseless.is_empty() {
            say(format!("doses of {} signed plans: none here names them", doseless.len()), doseless);
        }
        let unplaced: Vec<String> = (facts.signed_files())
            .filter(|plan| plan.structure_sets.is_empty())
            .map(|plan| plan.instance.sop_instance.clone())
            .collect();
        if !unplaced.is_empty() {
            say(format!("structure sets of {} signed plans, which name none", unplaced.len()), unplaced);
        }
        let absent: Vec<String> = self.drawn_on.difference(&self.series).cloned().collect();
        if !absent.is_empty() {
            say(format!("every image of {} series that structure sets were drawn on", absent.len()), absent);
        }
        if signed.is_empty() {
            say("a plan that somebody has signed".to_owned(), Vec::new());
        }
        let records = facts.records().count();
        if records > seen.sessions.len() {
            say(format!("{records} treatment records are in it, the summary has {}", seen.sessions.len()), Vec::new());
        }
        if facts.record.get("link").and_then(Value::as_array).is_some_and(|links| !links.is_empty()) {
            say("what stands in another chart that hers is linked with".to_owned(), Vec::new());
        }
        if facts.has_unreadable_plan {
            say(
                "what a plan says that can't be read here: its fractions and dose aren't in the summary".into(),
                Vec::new(),
            );
        }
        if self.unreadable > 0 {
            say(format!("{} objects are in it that can't be read here", self.unreadable), Vec::new());
        }
        all
    }
}

/// DICOM's word, by which the files are put into folders.
fn modality(kind: Kind) -> &'static str {
    match kind {
        Kind::CtImage => "CT",
        Kind::RtImage => "RTIMAGE",
        Kind::RtDose => "RTDOSE",
        Kind::RtStructureSet => "RTSTRUCT",
        Kind::RtPlan | Kind::RtIonPlan | Kind::RtBeamsDeliveryInstruction => "RTPLAN",
        Kind::RtBeamsRecord | Kind::RtIonBeamsRecord | Kind::RtBrachyRecord | Kind::RtTreatmentSummary => "RTRECORD",
    }
}

fn unsigned(facts: &Facts, seen: &PatientCourses) -> Vec<String> {
    let is_signed = |plan: &crate::plan::Plan| seen.courses.iter().any(|course| course.delivery == plan.digest());
    let others = facts.plans.iter().filter(|plan| !is_signed(plan) && !plan.is_for_qa());
    others.map(|plan| plan.label.clone().unwrap_or_else(|| plan.instance.sop_instance.clone())).collect()
}

/// As her record has them.
fn names(record: &Value) -> Vec<String> {
    let all = record.get("name").and_then(Value::as_array).into_iter().flatten();
    let one = |name: &Value| {
        let text = name.get("text").and_then(Value::as_str).map(str::to_owned);
        text.unwrap_or_else(|| {
            let given = name.get("given").and_then(Value::as_array).into_iter().flatten();
            let parts = given.chain(name.get("family")).filter_map(Value::as_str);
            parts.collect::<Vec<_>>().join(" ")
        })
    };
    all.map(one).filter(|name| !name.trim().is_empty()).collect()
}

//! What comes in: DICOM objects that are kept, and what of those that are refused must not be forgotten.

use std::collections::BTreeSet;

use chart::{ChartError, Context, Demographics, ObjectDraft, ObjectKept};
use dicom_dictionary_std::tags as t;
use guard::{Act, Sensitivity, Target};
use kit::{Blame, Digest, Fault, PatientId};
use sha2::{Digest as _, Sha256};

use crate::dicom::object::{Instance, Kind, ObjectError};
use crate::dicom::scan::Tree;
use crate::dicom::value::{trimmed, uid};
use crate::error::PlanError;
use crate::gate::context::Noted;
use crate::gate::facts::{self, PLANS, RECORDS, records_of_plan};
use crate::given::{TreatmentRecord, plans_named};
use crate::plan::Plan;
use crate::service::{OBJECTS, PLANNED, Treatment};

type Result<T> = std::result::Result<T, Fault>;

/// Plans, and patients with one number, whose counts one refused record makes unknown.
const REFUSED_MAX: usize = 4;

/// What an object tells that may be refused.
#[derive(Default)]
pub(crate) struct Told {
    pub(crate) identifier: Option<String>,
    /// A treatment record's plans.
    pub(crate) plans: BTreeSet<String>,
    /// What a treatment record says was given; none where it gave nothing.
    pub(crate) record: Option<Digest>,
    /// It is a plan that its planning system has marked as rejected.
    pub(crate) rejected: Option<Plan>,
}

impl Treatment {
    /// Keeps an instance that came as a file.
    pub fn store(&self, context: &Context, file: Vec<u8>) -> Result<ObjectKept> {
        match Instance::parse(&file) {
            Ok(instance) => self.keep(context, Act::StoreObject, &instance, file),
            Err(error) => {
                self.note_unread(context, Act::StoreObject, Tree::of_file(&file).ok(), &file);
                Err(error.into())
            }
        }
    }

    /// Keeps an instance that came over an association.
    pub fn store_data_set(&self, context: &Context, data_set: &[u8], transfer_syntax: &str) -> Result<ObjectKept> {
        match Instance::parse_data_set(data_set, transfer_syntax) {
            Ok(instance) => self.keep(context, Act::StoreObject, &instance, instance.part10(data_set)),
            Err(error) => {
                self.note_refusal(context, Act::StoreObject, data_set, transfer_syntax);
                Err(error.into())
            }
        }
    }

    /// That an object was refused before it came here: by whoever speaks with its sender.
    pub fn note_refusal(&self, context: &Context, act: Act, data_set: &[u8], transfer_syntax: &str) {
        self.note_unread(context, act, Tree::of_data_set(data_set, transfer_syntax).ok(), data_set);
    }

    pub(crate) fn keep(&self, context: &Context, act: Act, instance: &Instance, bytes: Vec<u8>) -> Result<ObjectKept> {
        let no_patient = || {
            Fault::new(Blame::Peer, "treatment.no-patient", "PatientID (0010,0020) is empty: nobody knows whose it is")
        };
        // Blank is empty, whatever its blanks are.
        let identifier = instance.patient_id.clone().filter(|id| !id.trim().is_empty());
        let mut told = Told { identifier: identifier.clone(), ..Told::default() };
        if instance.kind.is_record() {
            told.record = match TreatmentRecord::parse(&bytes) {
                Ok(record) => {
                    told.plans.extend(record.plans.iter().cloned());
                    record.gave_anything().then(|| record.identity())
                }
                // Nothing of it could ever be counted, and once kept it would hold every fraction for ever: no later record
                // can say what it should have said. Its sender is told, and still has it.
                Err(PlanError::Object(error @ ObjectError::EmptyRecord { .. })) => return Err(error.into()),
                // Another one that can't be read may tell of a fraction: it is kept, and makes the count unknown.
                Err(_) => {
                    told.plans = Tree::of_file(&bytes).map(|tree| plans_named(tree.root())).unwrap_or_default();
                    Some(Digest(Sha256::digest(&bytes).into()))
                }
            };
        }
        if instance.kind.is_plan() {
            told.rejected = Plan::parse(&bytes).ok().filter(facts::is_rejected);
        }
        // Refused for what it is, and not because something is down: then it is sent again.
        let refused = |fault: &Fault| {
            let is_late = fault.code == "guard.permit-expired";
            if is_late || matches!(fault.blame, Blame::Peer | Blame::Conflict) {
                self.note_refused(context, act, &told);
            }
        };
        let identifier = identifier.ok_or_else(no_patient).inspect_err(refused)?;
        if !told.plans.is_empty() {
            self.check_owner(&identifier, &told.plans).inspect_err(refused)?;
        }
        let (family, given) = name(instance.patient_name.as_deref().unwrap_or_default());
        let birth_date = instance.birth_date.as_deref().and_then(fhir_date);
        let gender = match instance.sex.as_deref() {
            Some("M") => Some("male"),
            Some("F") => Some("female"),
            Some("O") => Some("other"),
            _ => None,
        };
        let (lists, centre_lists) = match instance.kind {
            kind if kind.is_plan() => (vec![PLANS], vec![PLANNED]),
            kind if kind.is_record() => (vec![RECORDS], vec![PLANNED]),
            _ => (vec!["images"], vec![]),
        };
        let noted = || {
            let owner = self.chart.patient_by_number(identifier.trim())?;
            let before =
                owner.map(|owner| self.chart.object_entry(OBJECTS, &instance.sop_instance, owner)).transpose()?;
            Noted::of(&self.chart, instance, &bytes, before.flatten())
        };
        // Two patients with one number are refused below, by that name.
        let noted = match noted() {
            Err(ChartError::AmbiguousPatient) => Noted::default(),
            other => other.map_err(|e| e.fault())?,
        };
        let of_plans = told.plans.iter().map(|plan| records_of_plan(&self.chart, plan));
        let under = instance.kind.is_record().then(|| facts::records_under(&self.chart, &identifier));
        let draft = ObjectDraft {
            collection: OBJECTS,
            id: instance.sop_instance.clone(),
            patient: Demographics { identifier, family, given, birth_date, gender },
            lists,
            centre_lists,
            tags: of_plans
                .chain(told.record.map(|identity| facts::records_as(&self.chart, identity)))
                .chain(under)
                .collect(),
            patient_lists: noted.lists,
            content: noted.content,
            bytes,
        };
        let kept = self.chart.keep_object(context, act, draft).map_err(|e| e.fault()).inspect_err(refused)?;
        match (&told.rejected, &kept.receipt) {
            (Some(plan), Some(_)) => {
                let permit = self
                    .chart
                    .admit(context, act, Target::Patient(kept.patient), Sensitivity::Clinical)
                    .map_err(|e| e.fault())?;
                facts::note_rejection(&self.chart, &permit, kept.patient, plan).map_err(|e| e.fault())?;
            }
            // These bytes were here already; that they come again is new, where two people have signed it since.
            (Some(plan), None) => self.note_rejected(context, act, plan, kept.patient)?,
            (None, _) => {}
        }
        Ok(kept)
    }

    /// What isn't even an instance may be a record that tells of a fraction, or a plan that was rejected.
    fn note_unread(&self, context: &Context, act: Act, tree: Option<Tree<'_>>, bytes: &[u8]) {
        let Some(tree) = tree else { return };
        let root = tree.root();
        let class = root.get(t::SOP_CLASS_UID).and_then(|class| uid(class.bytes()).ok());
        let kind = class.and_then(|class| Kind::of_sop_class(&class));
        let session = [t::TREATMENT_SESSION_BEAM_SEQUENCE, t::TREATMENT_SESSION_ION_BEAM_SEQUENCE];
        // Where its class isn't said, what it holds tells.
        let is_record = kind.map_or_else(|| session.iter().any(|tag| root.get(*tag).is_some()), Kind::is_record);
        let number = root.get(t::PATIENT_ID).map(|id| String::from_utf8_lossy(trimmed(id.bytes())).into_owned());
        // What was wrong may have been what was said of it, not what it says: then it comes again as the same.
        let identity = || match TreatmentRecord::of_tree(&tree) {
            Ok(record) => record.identity(),
            Err(_) => Digest(Sha256::digest(bytes).into()),
        };
        let told = Told {
            identifier: number,
            plans: if is_record { plans_named(root) } else { BTreeSet::new() },
            record: is_record.then(identity),
            rejected: Plan::of_tree(&tree).ok().filter(facts::is_rejected),
        };
        self.note_refused(context, act, &told);
    }

    /// That a treatment record was refused: until it comes again, the count of whoever's plan it names isn't known, nor hers whose
    /// number it has. The same of a plan that was marked as rejected. Its sender has been told; a note that fails is in the log.
    pub(crate) fn note_refused(&self, context: &Context, act: Act, told: &Told) {
        let note = || -> std::result::Result<(), Fault> {
            let number = told.identifier.as_deref().map(str::trim).filter(|number| !number.is_empty());
            let named =
                number.map(|number| self.chart.patients_by_number(number)).transpose().map_err(|e| e.fault())?;
            let named = named.unwrap_or_default();
            if let Some(plan) = &told.rejected {
                let owner = self.chart.object_patient(OBJECTS, &plan.instance.sop_instance).map_err(|e| e.fault())?;
                named
                    .iter()
                    .copied()
                    .chain(owner)
                    .try_for_each(|patient| self.note_rejected(context, act, plan, patient))?;
            }
            let Some(identity) = told.record else { return Ok(()) };
            // The standard has one; a record that names very many would hold all of them at once. What isn't here holds nobody.
            let mut plans = told.plans.clone();
            if plans.len() > REFUSED_MAX {
                plans.retain(|plan| matches!(self.chart.object_patient(OBJECTS, plan), Ok(Some(_)) | Err(_)));
            }
            let named = if named.len() > REFUSED_MAX { BTreeSet::new() } else { named };
            if plans.len() > REFUSED_MAX {
                return Err(Fault::new(Blame::Peer, "treatment.record.plans", "it names more plans than are noted"));
            }
            let first = plans.first().map(|plan| self.chart.object_patient(OBJECTS, plan)).transpose();
            let owner = first.map_err(|e| e.fault())?.flatten().or(named.first().copied());
            let whose = Target::Patient(owner.unwrap_or_else(|| PatientId::random(self.chart.entropy())));
            let permit = self.chart.admit(context, act, whose, Sensitivity::Clinical).map_err(|e| e.fault())?;
            facts::note_refused(&self.chart, &permit, (&plans, &named), identity).map_err(|e| e.fault())
        };
        if let Err(error) = note() {
            tracing::warn!(%error, "a refused object");
        }
    }

    /// That the planning system's rejection of a plan came, where that isn't in force already.
    fn note_rejected(&self, context: &Context, act: Act, plan: &Plan, patient: PatientId) -> Result<()> {
        let permit =
            self.chart.admit(context, act, Target::Patient(patient), Sensitivity::Clinical).map_err(|e| e.fault())?;
        let people = self.people()?;
        let facts = facts::read_one(&self.chart, &permit, patient, self.signers(&people))?;
        if facts.is_rejected(&self.chart, plan).map_err(|e| e.fault())? {
            return Ok(());
        }
        facts::note_shown(&self.chart, &permit, patient, plan, true).map_err(|e| e.fault())
    }

    /// A treatment record of a plan that is another patient's would be missing from that one's count.
    fn check_owner(&self, identifier: &str, plans: &BTreeSet<String>) -> Result<()> {
        let patient = self.chart.patient_by_number(identifier).map_err(|e| e.fault())?;
        for plan in plans {
            let owner = self.chart.object_patient(OBJECTS, plan).map_err(|e| e.fault())?;
            if owner.is_some() && owner != patient {
                let text = "the treatment record is of a plan that is another patient's: its Patient ID or its reference is wrong";
                return Err(Fault::new(Blame::Peer, "treatment.record.another-patient", text));
            }
        }
        Ok(())
    }
}

/// Family and given names of a DICOM person name: of its component groups the first that isn't empty.
fn name(text: &str) -> (Option<String>, Vec<String>) {
    let group = text.split('=').find(|group| !group.trim().is_empty()).unwrap_or_default();
    let mut parts = group.split('^').map(|part| part.trim().to_owned());
    let family = parts.next().filter(|part| !part.is_empty());
    let given = parts.take(2).filter(|part| !part.is_empty()).collect();
    (family, given)
}

/// `YYYYMMDD` to `YYYY-MM-DD`; none where no calendar has such a day.
fn fhir_date(dicom: &str) -> Option<String> {
    let text = format!("{}-{}-{}", dicom.get(..4)?, dicom.get(4..6)?, dicom.get(6..8)?);
    chart::fhir::parse_date_time(&text).map(|_| text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dicom_names_and_dates_become_fhir() {
        assert_eq!(name("Alpha^Beta^Gamma^Dr"), (Some("Alpha".into()), vec!["Beta".into(), "Gamma".into()]));
        assert_eq!(name("=Δέλτα^Έψιλον"), (Some("Δέλτα".into()), vec!["Έψιλον".into()]));
        assert_eq!(name(""), (None, vec![]));
        assert_eq!(fhir_date("19540229"), None);
        assert_eq!(fhir_date("19560229"), Some("1956-02-29".into()));
    }
}

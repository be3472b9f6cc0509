//! Objects that are no FHIR resource (DICOM instances) and facts that belong to a patient (approvals, verdicts).

use std::collections::BTreeSet;

use guard::{Act, Permit, Sensitivity, Target};
use kit::{Digest, PatientId, Timestamp};
use serde_json::json;
use sha2::{Digest as _, Sha256};
use vault::{Receipt, Scope};

use crate::fhir::{Resource, token};
use crate::meta::{Meta, Tag, Version};
use crate::{Chart, ChartError, Context, Draft, Located, Result, scope_of};

/// Patients with one number, erased ones among them, that are looked at.
const NAMESAKES_MAX: usize = 64;

/// What an object says of its patient.
#[derive(Clone, Default)]
pub struct Demographics {
    /// Patient ID (0010,0020), not empty.
    pub identifier: String,
    /// Family and given names, decoded.
    pub family: Option<String>,
    pub given: Vec<String>,
    /// `YYYY-MM-DD`.
    pub birth_date: Option<String>,
    /// FHIR code: `male`, `female`, `other`, `unknown`.
    pub gender: Option<&'static str>,
}

/// An object that is about to be kept.
pub struct ObjectDraft {
    pub collection: &'static str,
    /// SOP Instance UID.
    pub id: String,
    pub patient: Demographics,
    /// Names of lists of this patient that the object goes on: `plans`, `records`.
    pub lists: Vec<&'static str>,
    /// The same of something of hers: `images-of-series`, and which.
    pub patient_lists: Vec<(&'static str, String)>,
    /// Names of lists of the whole centre.
    pub centre_lists: Vec<&'static str>,
    /// Lists of something else.
    pub tags: Vec<Tag>,
    /// What the owning room knows of its content without opening it.
    pub content: Option<Vec<u8>>,
    pub bytes: Vec<u8>,
}

/// Where it went.
#[derive(Clone, Debug)]
pub struct ObjectKept {
    pub patient: PatientId,
    pub entry: u64,
    pub version: u32,
    /// None where the same bytes were here already.
    pub receipt: Option<Receipt>,
    /// The patient was not known and was registered from the object.
    pub registered: bool,
}

impl Chart {
    pub(crate) fn key(&self, collection: &str, id: &str) -> Tag {
        self.tagger.full(&[b"record", collection.as_bytes(), id.as_bytes()])
    }

    pub(crate) fn locate(&self, collection: &str, id: &str) -> Result<Option<Located>> {
        Ok(self.index.locate(&self.key(collection, id))?)
    }

    /// The search tags of a hospital number: any of them.
    fn number_tags(&self, value: &str) -> Vec<Tag> {
        let value = value.trim();
        let values = match self.number_system.as_deref() {
            system @ Some(_) => vec![token(system, value), token(None, value)],
            None => vec![value.to_owned()],
        };
        let tag = |value: String| self.tagger.full(&[b"search", b"Patient", b"identifier", value.as_bytes()]);
        values.into_iter().map(tag).collect()
    }

    /// The living patients with this hospital number: what DICOM calls Patient ID. Never a FHIR id, which whoever writes a
    /// record may choose.
    pub fn patients_by_number(&self, value: &str) -> Result<BTreeSet<PatientId>> {
        let found = self.index.search(&[self.number_tags(value)], 0, NAMESAKES_MAX)?;
        // An erased patient's number is free again: she is known by nothing any more.
        Ok(found.into_iter().filter_map(|found| found.patient).filter(|patient| !self.is_erased(*patient)).collect())
    }

    /// The one living patient with this hospital number.
    pub fn patient_by_number(&self, value: &str) -> Result<Option<PatientId>> {
        let found = self.patients_by_number(value)?;
        if found.len() > 1 { Err(ChartError::AmbiguousPatient) } else { Ok(found.into_iter().next()) }
    }

    /// Resolves what a person types: `Patient/ID` is a FHIR id; anything else a hospital number or a FHIR id, and where
    /// the two are different patients nobody guesses. A deleted Patient still answers to her id, not to her number.
    pub fn find_patient(&self, text: &str) -> Result<Option<PatientId>> {
        if let Some(id) = text.strip_prefix("Patient/") {
            return Ok(self.locate("Patient", id)?.and_then(|found| found.patient));
        }
        let by_number = self.patient_by_number(text)?;
        let by_id = self.locate("Patient", text)?;
        match (by_number, by_id) {
            (Some(number), Some(id)) if !id.deleted && id.patient != Some(number) => Err(ChartError::AmbiguousPatient),
            (Some(number), _) => Ok(Some(number)),
            (None, id) => Ok(id.and_then(|found| found.patient)),
        }
    }

    /// Keeps an object under its patient, who is registered from it where she is unknown, as a PACS does. The same
    /// bytes sent twice are kept once; other bytes under the same id are a new version, and nothing is lost.
    /// `act` is what brings it here: storing, or handing in an approval together with its plan.
    pub fn keep_object(&self, context: &Context, act: Act, draft: ObjectDraft) -> Result<ObjectKept> {
        let (identities, key) = (self.number_tags(&draft.patient.identifier), self.key(draft.collection, &draft.id));
        let _held = self.hold(&identities.iter().chain([&key]).collect::<Vec<_>>());

        let known = self.patient_by_number(&draft.patient.identifier)?;
        let patient = known.unwrap_or_else(|| PatientId::random(self.entropy.as_ref()));
        let permit = self.admit(context, act, Target::Patient(patient), Sensitivity::Clinical)?;

        let content = Digest(Sha256::digest(&draft.bytes).into());
        let current = self.index.locate(&key)?;
        if let Some(found) = &current {
            let (_, meta) = self.note_of(found.entry)?;
            if found.patient == Some(patient) && meta.version.is_some_and(|v| v.content == Some(content)) {
                let (entry, version) = (found.entry, found.version);
                return Ok(ObjectKept { patient, entry, version, receipt: None, registered: false });
            }
            if found.patient != Some(patient) {
                return Err(ChartError::MovesPatient { reference: format!("{} object", draft.collection) });
            }
        }
        let version = current.map_or(1, |found| found.version + 1);
        let mut meta = Meta::new(Some(Version {
            key,
            collection: draft.collection.into(),
            id: draft.id,
            version,
            deleted: false,
            content: Some(content),
        }));
        meta.lists = draft.lists.iter().map(|name| self.list_tag(name, &patient.0)).collect();
        let of = |(name, of): &(&str, String)| self.list_tag(name, &[&patient.0, of.as_bytes()].concat());
        meta.lists.extend(draft.patient_lists.iter().map(of));
        meta.lists.extend(draft.centre_lists.iter().map(|name| self.list_tag(name, &[])));
        meta.lists.extend(draft.tags);
        meta.content = draft.content.map(Into::into);
        let object =
            Draft { scope: Scope::Patient(patient), kind: draft.collection.into(), meta, payload: Some(draft.bytes) };
        let (new_patients, drafts) = if known.is_none() {
            (vec![patient], vec![self.registration(patient, &draft.patient)?, object])
        } else {
            (Vec::new(), vec![object])
        };
        let receipts = self.keep(&permit, new_patients, drafts)?;
        let receipt = receipts.last().cloned();
        let entry = receipt.as_ref().map_or(0, |r| r.index);
        Ok(ObjectKept { patient, entry, version, receipt, registered: known.is_none() })
    }

    /// Where the newest version of this object of hers stands.
    pub fn object_entry(&self, collection: &str, id: &str, patient: PatientId) -> Result<Option<u64>> {
        let found = self.index.locate(&self.key(collection, id))?;
        Ok(found.filter(|found| found.patient == Some(patient)).map(|found| found.entry))
    }

    /// Whose object this is, where it is here.
    pub fn object_patient(&self, collection: &str, id: &str) -> Result<Option<PatientId>> {
        Ok(self.index.locate(&self.key(collection, id))?.and_then(|found| found.patient))
    }

    /// A Patient resource out of what an object says, marked as made from it.
    fn registration(&self, patient: PatientId, from: &Demographics) -> Result<Draft> {
        let mut name = serde_json::Map::new();
        name.extend(from.family.as_ref().filter(|f| !f.is_empty()).map(|family| ("family".into(), json!(family))));
        if !from.given.is_empty() {
            name.insert("given".into(), json!(from.given));
        }
        let mut resource = serde_json::Map::new();
        let mut set = |key: &str, value: Option<serde_json::Value>| resource.extend(value.map(|v| (key.to_owned(), v)));
        set("resourceType", Some(json!("Patient")));
        set("meta", Some(json!({ "tag": [{ "system": "urn:holdfast:origin", "code": "from-dicom" }] })));
        let mut number = serde_json::Map::new();
        number.extend(self.number_system.as_ref().map(|system| ("system".to_owned(), json!(system))));
        number.insert("value".to_owned(), json!(from.identifier));
        set("identifier", Some(json!([number])));
        set("name", (!name.is_empty()).then(|| json!([name])));
        set("gender", from.gender.map(|gender| json!(gender)));
        set("birthDate", from.birth_date.as_ref().map(|date| json!(date)));
        let bytes = serde_json::to_vec(&resource).unwrap_or_default();
        let parsed = Resource::parse(&bytes, Some("Patient")).map_err(ChartError::Invalid)?;
        let id = kit::Id16(self.entropy.id()).to_string();
        self.version_draft(&parsed, &id, 1, patient.into())
    }

    /// Adds a fact, to a patient's record or to the centre's: it is never changed, only followed by others.
    pub fn append(
        &self,
        permit: &Permit,
        patient: Option<PatientId>,
        kind: &str,
        lists: &[Tag],
        payload: Vec<u8>,
    ) -> Result<Receipt> {
        let id = kit::Id16(self.entropy.id()).to_string();
        let mut meta = Meta::new(Some(Version {
            key: self.key(kind, &id),
            collection: kind.into(),
            id,
            version: 1,
            deleted: false,
            content: None,
        }));
        meta.lists = lists.to_vec();
        let draft = Draft { scope: scope_of(patient), kind: kind.into(), meta, payload: Some(payload) };
        self.keep(permit, Vec::new(), vec![draft])?.pop().ok_or(ChartError::NoRecord { entry: 0 })
    }

    /// Adds a fact of the centre that is no patient's, under the vault key only.
    pub fn append_note(&self, permit: &Permit, kind: &str, lists: Vec<Tag>, note: Vec<u8>) -> Result<Receipt> {
        let mut meta = Meta::new(None);
        meta.lists = lists;
        meta.note = note.into();
        let draft = Draft { scope: Scope::Centre, kind: kind.into(), meta, payload: None };
        self.keep(permit, Vec::new(), vec![draft])?.pop().ok_or(ChartError::NoRecord { entry: 0 })
    }

    /// When an entry was made, and the patient that it is about.
    pub fn time_and_patient_of(&self, entry: u64) -> Result<(Timestamp, Option<PatientId>)> {
        let entry = self.vault.entry(entry)?;
        let patient = crate::patient_of(&entry);
        crate::trace::saw(entry.index, patient);
        Ok((entry.time, patient))
    }

    /// The entry of her newest Patient resource.
    pub fn patient_entry(&self, patient: PatientId) -> Result<Option<u64>> {
        self.newest(&self.patient_record_list(patient))
    }

    /// The entry of her first Patient resource.
    pub fn registered_in(&self, patient: PatientId) -> Result<Option<u64>> {
        self.listed_first(&self.patient_record_list(patient))
    }

    /// Versions of her Patient resource.
    pub(crate) fn patient_record_list(&self, patient: PatientId) -> Tag {
        self.list_tag("patient-record", &patient.0)
    }

    /// Whether the holders refuse her key.
    pub fn is_erased(&self, patient: PatientId) -> bool {
        self.vault.is_erased(patient)
    }

    /// Erases a patient: every holder refuses her key from now on; the log stays.
    pub fn erase(&self, permit: &Permit, patient: PatientId) -> Result<vault::Erased> {
        self.guard.check(permit)?;
        if permit.act() != Act::ErasePatient || permit.target() != Target::Patient(patient) {
            return Err(ChartError::AnotherPatient);
        }
        Ok(self.vault.erase(patient, Some(permit.digest()), permit.operation())?)
    }
}

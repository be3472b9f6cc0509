//! Changes to FHIR resources: whose chart each belongs to, who may make it, and all of them kept or none.
//!
//! A change's life: its locks are held; `prepare` locates, asks guard, and judges; `commit` keeps. Who may not is told so
//! before anything is said of what is here.

use std::collections::{BTreeMap, HashMap, HashSet};

use guard::{Act, Edit, Permit, Sensitivity, Target, is_dense};
use kit::{Digest, PatientId, Timestamp};
use sha2::{Digest as _, Sha256};

use crate::fhir::{Code, Compartment, Field, Issue, Reach, Resource};
use crate::locks::Keys;
use crate::meta::{Meta, Tag, Version};
use crate::sensitivity::{nothing_clinical_inside, sensitivity};
use crate::{Chart, ChartError, Context, Draft, Kept, Located, Result, scope_of, what};

/// One change of one record.
pub(crate) struct Write {
    pub(crate) kind: &'static str,
    pub(crate) id: String,
    /// None: a delete.
    pub(crate) resource: Option<Resource>,
    pub(crate) if_match: Option<u32>,
    /// The entry of a Bundle that asks for it.
    pub(crate) entry: Option<usize>,
}

impl Write {
    pub(crate) fn put(resource: Resource, id: impl Into<String>, if_match: Option<u32>) -> Self {
        Self { kind: resource.kind(), id: id.into(), resource: Some(resource), if_match, entry: None }
    }

    pub(crate) fn delete(kind: &'static str, id: impl Into<String>, if_match: Option<u32>) -> Self {
        Self { kind, id: id.into(), resource: None, if_match, entry: None }
    }

    pub(crate) fn of_entry(mut self, entry: usize) -> Self {
        self.entry = Some(entry);
        self
    }

    fn reference(&self) -> String {
        format!("{}/{}", self.kind, self.id)
    }

    /// A path into the resource, as the client sees it: in a Bundle, from the Bundle on.
    fn place(&self, path: &str) -> String {
        let rest = path.split_once('.').map_or_else(String::new, |(_, rest)| format!(".{rest}"));
        match self.entry {
            Some(entry) => format!("Bundle.entry[{entry}].resource{rest}"),
            None => path.to_owned(),
        }
    }

    fn refused(&self, issue: Issue) -> ChartError {
        let place = self.place(issue.expression.as_deref().unwrap_or(self.kind));
        ChartError::Invalid(vec![issue.at(place)])
    }
}

/// Changes that may be made, and are not made yet. Whoever has one holds the locks of its records.
pub(crate) struct Prepared {
    permit: Permit,
    writes: Vec<Write>,
    /// For each: what is there, whose it is, and the number of the version to be made, if any.
    plan: Vec<Planned>,
    registered: Vec<PatientId>,
}

pub(crate) struct Planned {
    found: Option<Located>,
    pub(crate) owner: Option<PatientId>,
    pub(crate) version: Option<u32>,
}

impl Prepared {
    /// What is going to happen to a record.
    pub(crate) fn of(&self, kind: &str, id: &str) -> Option<(&Write, &Planned)> {
        self.writes.iter().zip(&self.plan).find(|(write, _)| write.kind == kind && write.id == id)
    }
}

/// What else happens in the same act.
struct Together<'a> {
    registered: HashMap<&'a str, PatientId>,
    /// Patients that were deleted, and are brought back.
    restored: HashSet<&'a str>,
    deleted: HashSet<&'a str>,
}

impl Chart {
    pub(crate) fn new_record_id(&self) -> String {
        kit::Id16(self.entropy.id()).to_string()
    }

    /// One change by itself; none where a record is to be deleted that isn't there.
    pub(crate) fn write_one(&self, context: &Context, write: Write) -> Result<Option<Kept>> {
        Ok(self.write(context, vec![write])?.pop().flatten())
    }

    /// Keeps all of them or none.
    pub(crate) fn write(&self, context: &Context, writes: Vec<Write>) -> Result<Vec<Option<Kept>>> {
        let _held = self.hold_keys(&self.keys_of(&writes));
        let prepared = self.prepare(context, writes)?;
        self.commit(prepared)
    }

    /// What changes must be alone with: their records; and what must stay as it is meanwhile: the Patients that they
    /// refer to, who must not be deleted, and their identifiers, which others may be about to find free.
    pub(crate) fn keys_of(&self, writes: &[Write]) -> Keys {
        let mut keys = Keys::default();
        for write in writes {
            keys.alone.push(self.key(write.kind, &write.id));
            let Some(resource) = &write.resource else { continue };
            if let Ok(Compartment::Patient { id, .. }) = resource.compartment() {
                keys.together.push(self.key("Patient", &id));
            }
            keys.together.extend(resource.identifiers().iter().map(|field| self.field_tag(write.kind, field)));
        }
        keys
    }

    /// Finds, asks and judges; the locks of `keys_of` are held.
    pub(crate) fn prepare(&self, context: &Context, writes: Vec<Write>) -> Result<Prepared> {
        let current = writes.iter().map(|write| self.locate(write.kind, &write.id)).collect::<Result<Vec<_>>>()?;
        let mut together = Together { registered: HashMap::new(), restored: HashSet::new(), deleted: HashSet::new() };
        for (write, found) in writes.iter().zip(&current).filter(|(write, _)| write.kind == "Patient") {
            let id = write.id.as_str();
            match (&write.resource, found) {
                (None, _) => drop(together.deleted.insert(id)),
                (Some(_), None) => drop(together.registered.insert(id, PatientId::random(self.entropy.as_ref()))),
                (Some(_), Some(found)) if found.deleted => drop(together.restored.insert(id)),
                _ => {}
            }
        }
        let judged: Vec<Result<Option<PatientId>>> =
            writes.iter().zip(&current).map(|(write, found)| self.owner(write, found.as_ref(), &together)).collect();
        // Before a refusal that tells what is here: who may not do this at all hears only that.
        let known = judged.iter().zip(&current).map(|(owner, found)| match owner {
            Ok(owner) => *owner,
            Err(_) => found.and_then(|found| found.patient),
        });
        let permit = self.admit_writes(context, &writes, &known.collect::<Vec<_>>(), &together)?;

        let mut plan = Vec::with_capacity(writes.len());
        for ((write, found), owner) in writes.iter().zip(current).zip(judged) {
            plan.push(Planned { found, owner: owner?, version: next_version(write, found.as_ref())? });
        }
        self.leaves_no_orphans(&writes, &plan)?;
        let registered = together.registered.into_values().collect();
        Ok(Prepared { permit, writes, plan, registered })
    }

    /// Keeps what was prepared. None for a delete of what isn't there; what was deleted already stays as it is.
    pub(crate) fn commit(&self, prepared: Prepared) -> Result<Vec<Option<Kept>>> {
        let Prepared { permit, writes, plan, registered } = prepared;
        let mut drafts = Vec::with_capacity(writes.len());
        let mut kept = Vec::with_capacity(writes.len());
        for (write, planned) in writes.iter().zip(&plan) {
            let record = Kept {
                kind: write.kind,
                id: write.id.clone(),
                version: 0,
                updated: Timestamp::default(),
                bytes: None,
                created: planned.found.is_none_or(|found| found.deleted),
                survives: 0,
                witnesses: 0,
                entry: 0,
            };
            kept.push(match (planned.version, planned.found) {
                (Some(version), _) => {
                    drafts.push(match &write.resource {
                        Some(resource) => self.version_draft(resource, &write.id, version, planned.owner)?,
                        None => self.tombstone(write.kind, &write.id, version, planned.owner),
                    });
                    Some(Kept { version, ..record })
                }
                (None, Some(Located { version, updated, entry, .. })) => {
                    Some(Kept { version, updated, entry, created: false, ..record })
                }
                (None, None) => None,
            });
        }
        if drafts.is_empty() {
            return Ok(kept);
        }
        self.guard.change(&permit, &edits(&writes, &plan))?;
        let receipts = self.keep(&permit, registered, drafts)?;
        let made = kept.iter_mut().zip(&writes).zip(&plan).filter(|(_, planned)| planned.version.is_some());
        for (((kept, write), _), receipt) in made.zip(&receipts) {
            let Some(kept) = kept else { continue };
            kept.updated = self.vault.entry(receipt.index)?.time;
            kept.bytes = match &write.resource {
                Some(resource) => {
                    let stored = resource.stored(&kept.id, kept.version, kept.updated);
                    Some(stored.map_err(|issue| ChartError::Invalid(vec![issue]))?)
                }
                None => None,
            };
            (kept.survives, kept.witnesses, kept.entry) = (receipt.survives, receipt.witnesses, receipt.index);
        }
        Ok(kept)
    }

    /// Whose chart a change belongs to.
    fn owner(&self, write: &Write, found: Option<&Located>, together: &Together<'_>) -> Result<Option<PatientId>> {
        let Some(resource) = &write.resource else { return Ok(found.and_then(|found| found.patient)) };
        nothing_clinical_inside(resource).map_err(|issue| write.refused(issue))?;
        let compartment = resource.compartment().map_err(|issue| write.refused(issue))?;
        let (owner, place) = match compartment {
            Compartment::Itself => {
                let own = found.and_then(|f| f.patient).or_else(|| together.registered.get(write.id.as_str()).copied());
                (own, write.kind.to_owned())
            }
            Compartment::Patient { id, place } => (Some(self.known_patient(write, &id, &place, together)?), place),
            Compartment::Centre => (None, write.kind.to_owned()),
            Compartment::Elsewhere { place } => {
                let reference = "a patient elsewhere, where Patient/id of this centre is needed".to_owned();
                return Err(ChartError::UnknownPatient { reference, place: write.place(&place) });
            }
        };
        if found.is_some_and(|found| found.patient != owner) {
            let text = "the record would move to another patient; delete it there and create it here";
            return Err(write.refused(Issue::error(Code::BusinessRule, text).at(place)));
        }
        Ok(owner)
    }

    fn known_patient(&self, write: &Write, id: &str, place: &str, together: &Together<'_>) -> Result<PatientId> {
        if let Some(patient) = together.registered.get(id) {
            return Ok(*patient);
        }
        match self.locate("Patient", id)? {
            Some(Located { deleted: false, patient: Some(patient), .. }) if !together.deleted.contains(id) => {
                Ok(patient)
            }
            // Deleted before, and brought back by this very act.
            Some(Located { deleted: true, patient: Some(patient), .. }) if together.restored.contains(id) => {
                Ok(patient)
            }
            _ => Err(ChartError::UnknownPatient { reference: format!("Patient/{id}"), place: write.place(place) }),
        }
    }

    /// A Patient goes only after her records: what is left would be of nobody whom anyone could find.
    fn leaves_no_orphans(&self, writes: &[Write], plan: &[Planned]) -> Result<()> {
        let gone: HashSet<Tag> = writes
            .iter()
            .filter(|write| write.resource.is_none())
            .map(|write| self.key(write.kind, &write.id))
            .collect();
        for (write, planned) in writes.iter().zip(plan) {
            let (None, "Patient", Some(_), Some(patient)) =
                (&write.resource, write.kind, planned.version, planned.owner)
            else {
                continue;
            };
            let living = self.index.living(patient, gone.len() + 1)?;
            if living.iter().any(|key| !gone.contains(key)) {
                let text = "she has records that are not deleted: delete them first, or in the same transaction";
                let issue = Issue::error(Code::Conflict, text);
                return Err(match write.entry {
                    Some(entry) => ChartError::Invalid(vec![issue.at(format!("Bundle.entry[{entry}].request.url"))]),
                    None => ChartError::Invalid(vec![issue]),
                });
            }
        }
        Ok(())
    }

    /// One decision for each act on each patient; all must be a yes. The permit that the entries name is for the one
    /// patient, or for the centre where a transaction is about several.
    fn admit_writes(
        &self,
        context: &Context,
        writes: &[Write],
        owners: &[Option<PatientId>],
        together: &Together<'_>,
    ) -> Result<Permit> {
        let mut needed: BTreeMap<(Option<PatientId>, Act), (Sensitivity, Vec<String>)> = BTreeMap::new();
        for (write, owner) in writes.iter().zip(owners) {
            let registers = write.kind == "Patient" && together.registered.contains_key(write.id.as_str());
            let act = match write.resource {
                None => Act::DeleteRecord,
                Some(_) if registers => Act::RegisterPatient,
                Some(_) => Act::WriteRecord,
            };
            let (most, references) = needed.entry((*owner, act)).or_insert((Sensitivity::Administrative, Vec::new()));
            *most = (*most).max(sensitivity(write.kind));
            references.push(write.reference());
        }
        let several = needed.keys().any(|(owner, _)| Some(owner) != owners.first());
        let mut permit = None;
        for ((owner, act), (sensitivity, references)) in needed {
            permit = Some(self.admit_to_do(context, act, what::target(owner), sensitivity, &what::all(&references))?);
        }
        match permit {
            Some(permit) if !several => Ok(permit),
            _ => {
                let most = writes.iter().map(|write| sensitivity(write.kind)).max().unwrap_or(Sensitivity::Clinical);
                let references: Vec<String> = writes.iter().map(Write::reference).collect();
                self.admit_to_do(context, Act::WriteRecord, Target::Centre, most, &what::all(&references))
            }
        }
    }

    /// The payload is the client's bytes as they came: id, version and time are the entry's own, and are set in what
    /// leaves.
    pub(crate) fn version_draft(
        &self,
        resource: &Resource,
        id: &str,
        version: u32,
        owner: Option<PatientId>,
    ) -> Result<Draft> {
        let kind = resource.kind();
        let mut meta = self.version_meta(kind, id, version, false);
        let fields = resource.search_fields().map_err(|issue| ChartError::Invalid(vec![issue]))?;
        meta.tags.push(self.type_tag(kind));
        meta.tags.extend(fields.iter().filter(|f| f.param != "_id").map(|field| self.field_tag(kind, field)));
        meta.tags.push(self.field_tag(kind, &Field { param: "_id", value: id.to_owned(), reach: Reach::Unique }));
        meta.tags.sort();
        meta.tags.dedup();
        if let ("Patient", Some(patient)) = (kind, owner) {
            meta.lists.push(self.patient_record_list(patient));
        }
        self.relate(resource, id, owner, &mut meta);
        Ok(Draft { scope: scope_of(owner), kind: "fhir".into(), meta, payload: Some(resource.bytes().to_vec()) })
    }

    fn tombstone(&self, kind: &str, id: &str, version: u32, owner: Option<PatientId>) -> Draft {
        Draft {
            scope: scope_of(owner),
            kind: "fhir".into(),
            meta: self.version_meta(kind, id, version, true),
            payload: None,
        }
    }

    fn version_meta(&self, kind: &str, id: &str, version: u32, deleted: bool) -> Meta {
        Meta::new(Some(Version {
            key: self.key(kind, id),
            collection: kind.into(),
            id: id.into(),
            version,
            deleted,
            content: None,
        }))
    }
}

/// The number of the version that a change makes; none where a record is to be deleted that isn't there, or no longer.
fn next_version(write: &Write, found: Option<&Located>) -> Result<Option<u32>> {
    let current = found.map_or(0, |found| found.version);
    if let Some(expected) = write.if_match
        && expected != current
    {
        return Err(ChartError::VersionConflict {
            reference: write.reference(),
            current,
            expected,
            entry: write.entry,
        });
    }
    let nothing_to_delete = write.resource.is_none() && found.is_none_or(|found| found.deleted);
    Ok((!nothing_to_delete).then(|| current.saturating_add(1)))
}

/// Of whom what is there already is replaced or deleted.
fn edits(writes: &[Write], plan: &[Planned]) -> Vec<Edit> {
    let edit = |(write, planned): (&Write, &Planned)| {
        let is_there = planned.version.is_some() && planned.found.is_some_and(|found| !found.deleted);
        let patient = planned.owner.filter(|_| is_there)?;
        let Some(resource) = &write.resource else { return Some(Edit { patient, like: None, is_dense: false }) };
        let bytes = resource.bytes();
        Some(Edit { patient, like: Some(likeness(resource, &write.id)), is_dense: is_dense(bytes) })
    };
    writes.iter().zip(plan).filter_map(edit).collect()
}

/// What a record says, without whose it is and which it is: equal for the same edit of one patient after another.
fn likeness(resource: &Resource, id: &str) -> Digest {
    let text = String::from_utf8_lossy(resource.bytes());
    let whose = match resource.compartment() {
        Ok(Compartment::Patient { id, .. }) => format!("Patient/{id}"),
        _ => format!("Patient/{id}"),
    };
    let text = text.replace(&format!("\"{whose}\""), "\"\"").replace(&format!("\"{id}\""), "\"\"");
    Digest(Sha256::digest(text.as_bytes()).into())
}

//! FHIR resources on the vault: create, read, update, delete, history, search, transactions.

use std::collections::{BTreeMap, HashMap};

use guard::{Act, Permit, Sensitivity, Target};
use kit::{Explain, PatientId, Timestamp};
use zeroize::Zeroizing;

use crate::fhir::{
    Action, Code, Compartment, Draft as BundleDraft, Field, Issue, Operation, Plan, Query, Reach, Resource,
    ResponseEntry, fault_outcome, operation_outcome, status_of_fault, status_of_issues,
};
use crate::meta::{Meta, Tag, Version};
use crate::{Chart, ChartError, Context, Draft, Located, Released, Result, scope_of};

/// Versions in one answer to a history.
const HISTORY_MAX: usize = 100;
/// Records that one search may open before it answers with what it has and a link to the rest: truncated tags give
/// candidates, and each that is opened counts.
const SEARCH_OPENED_MAX: usize = 200;
/// Types that say who somebody is and when she comes, and nothing about her illness.
const ADMINISTRATIVE: &[&str] = &[
    "Appointment",
    "AppointmentResponse",
    "Endpoint",
    "HealthcareService",
    "Location",
    "Organization",
    "OrganizationAffiliation",
    "Patient",
    "Practitioner",
    "PractitionerRole",
    "RelatedPerson",
    "Schedule",
    "Slot",
];

/// What a write left.
#[derive(Clone, Debug)]
pub struct Kept {
    pub kind: &'static str,
    pub id: String,
    pub version: u32,
    pub updated: Timestamp,
    /// As stored; none for a tombstone.
    pub bytes: Option<Vec<u8>>,
    pub created: bool,
    /// Losses that the write survives.
    pub survives: u8,
    /// Its number in the ledger.
    pub entry: u64,
}

/// A page of a search.
#[derive(Debug)]
pub struct Page {
    pub found: Vec<Released>,
    /// Where the next page begins; none after the last.
    pub next: Option<String>,
}

enum Write {
    Create { resource: Resource, id: String },
    Update { resource: Resource, id: String, if_match: Option<u32> },
    Delete { kind: &'static str, id: String, if_match: Option<u32> },
}

impl Write {
    fn kind(&self) -> &'static str {
        match self {
            Self::Create { resource, .. } | Self::Update { resource, .. } => resource.kind(),
            Self::Delete { kind, .. } => kind,
        }
    }

    fn id(&self) -> &str {
        match self {
            Self::Create { id, .. } | Self::Update { id, .. } | Self::Delete { id, .. } => id,
        }
    }

    fn resource(&self) -> Option<&Resource> {
        match self {
            Self::Create { resource, .. } | Self::Update { resource, .. } => Some(resource),
            Self::Delete { .. } => None,
        }
    }

    fn reference(&self) -> String {
        format!("{}/{}", self.kind(), self.id())
    }
}

/// How much a type says of a patient.
fn sensitivity(kind: &str) -> Sensitivity {
    if ADMINISTRATIVE.contains(&kind) { Sensitivity::Administrative } else { Sensitivity::Clinical }
}

fn target(patient: Option<PatientId>) -> Target {
    patient.map_or(Target::Centre, Target::Patient)
}

impl Chart {
    fn new_record_id(&self) -> String {
        kit::Id16(self.entropy.id()).to_string()
    }

    /// Keeps a new resource under an id of our own making.
    pub fn create(&self, context: &Context, resource: Resource) -> Result<Kept> {
        let id = self.new_record_id();
        self.write_one(context, Write::Create { resource, id })
    }

    /// Keeps the next version, or the first where there is none (update as create).
    pub fn update(&self, context: &Context, resource: Resource, id: &str, if_match: Option<u32>) -> Result<Kept> {
        self.write_one(context, Write::Update { resource, id: id.to_owned(), if_match })
    }

    /// Keeps resources that have their ids already, as a load from another system does: all of them or none.
    pub fn import(&self, context: &Context, resources: &[&[u8]]) -> Result<Vec<Kept>> {
        let writes = resources.iter().map(|bytes| {
            let resource = Resource::parse(bytes, None).map_err(ChartError::Invalid)?;
            Ok(match resource.id().map(str::to_owned) {
                Some(id) => Write::Update { resource, id, if_match: None },
                None => Write::Create { resource, id: self.new_record_id() },
            })
        });
        self.write(context, writes.collect::<Result<_>>()?)
    }

    /// Writes a tombstone version; earlier versions stay. What was deleted already stays as it is.
    pub fn delete(&self, context: &Context, kind: &'static str, id: &str, if_match: Option<u32>) -> Result<Kept> {
        match self.locate(kind, id)? {
            Some(found) if found.deleted => {
                let _permit = self.admit(context, Act::DeleteRecord, target(found.patient), sensitivity(kind))?;
                Ok(Kept {
                    kind,
                    id: id.to_owned(),
                    version: found.version,
                    updated: found.updated,
                    bytes: None,
                    created: false,
                    survives: 0,
                    entry: found.entry,
                })
            }
            _ => self.write_one(context, Write::Delete { kind, id: id.to_owned(), if_match }),
        }
    }

    fn write_one(&self, context: &Context, write: Write) -> Result<Kept> {
        let reference = write.reference();
        self.write(context, vec![write])?.pop().ok_or(ChartError::NoSuchRecord { reference })
    }

    /// Keeps all of them or none.
    fn write(&self, context: &Context, writes: Vec<Write>) -> Result<Vec<Kept>> {
        let keys: Vec<Tag> = writes.iter().map(|write| self.key(write.kind(), write.id())).collect();
        let _held = self.hold(&keys.iter().collect::<Vec<_>>());
        let current = keys.iter().map(|key| Ok(self.index.locate(key)?)).collect::<Result<Vec<Option<Located>>>>()?;

        let mut registered: HashMap<&str, PatientId> = HashMap::new();
        for (write, found) in writes.iter().zip(&current) {
            if write.kind() == "Patient" && write.resource().is_some() && found.is_none() {
                registered.insert(write.id(), PatientId::random(self.entropy.as_ref()));
            }
        }
        let mut owners = Vec::with_capacity(writes.len());
        for (write, found) in writes.iter().zip(&current) {
            owners.push(self.owner(write, found.as_ref(), &registered)?);
        }
        let permit = self.admit_writes(context, &writes, &owners, !registered.is_empty())?;

        let mut drafts = Vec::with_capacity(writes.len());
        let mut kept = Vec::with_capacity(writes.len());
        for ((write, found), owner) in writes.iter().zip(&current).zip(&owners) {
            let version = next_version(write, found.as_ref())?;
            let draft = match write.resource() {
                Some(resource) => self.version_draft(resource, write.id(), version, *owner)?,
                None => self.tombstone(write.kind(), write.id(), version, *owner),
            };
            kept.push(Kept {
                kind: write.kind(),
                id: write.id().to_owned(),
                version,
                updated: Timestamp::default(),
                bytes: None,
                created: found.is_none_or(|f| f.deleted),
                survives: 0,
                entry: 0,
            });
            drafts.push(draft);
        }
        let receipts = self.keep(&permit, registered.into_values().collect(), drafts)?;
        for ((kept, receipt), write) in kept.iter_mut().zip(&receipts).zip(&writes) {
            kept.updated = self.vault.entry(receipt.index)?.time;
            kept.bytes = write.resource().map(|r| r.stored(&kept.id, kept.version, kept.updated));
            (kept.survives, kept.entry) = (receipt.survives, receipt.index);
        }
        Ok(kept)
    }

    /// Whose chart a write belongs to.
    fn owner(
        &self,
        write: &Write,
        found: Option<&Located>,
        registered: &HashMap<&str, PatientId>,
    ) -> Result<Option<PatientId>> {
        let Some(resource) = write.resource() else {
            let absent = || ChartError::NoSuchRecord { reference: write.reference() };
            return Ok(found.ok_or_else(absent)?.patient);
        };
        let compartment = resource.compartment().map_err(|issue| ChartError::Invalid(vec![issue]))?;
        let owner = match compartment {
            Compartment::Itself => found.and_then(|f| f.patient).or_else(|| registered.get(write.id()).copied()),
            Compartment::Patient(id) => Some(self.known_patient(&id, registered)?),
            Compartment::Centre => None,
            Compartment::Elsewhere => {
                let reference = "a patient elsewhere, where Patient/id of this centre is needed".to_owned();
                return Err(ChartError::UnknownPatient { reference });
            }
        };
        match found {
            Some(found) if found.patient != owner => Err(ChartError::MovesPatient { reference: write.reference() }),
            _ => Ok(owner),
        }
    }

    fn known_patient(&self, id: &str, registered: &HashMap<&str, PatientId>) -> Result<PatientId> {
        if let Some(patient) = registered.get(id) {
            return Ok(*patient);
        }
        match self.locate("Patient", id)? {
            Some(Located { deleted: false, patient: Some(patient), .. }) => Ok(patient),
            _ => Err(ChartError::UnknownPatient { reference: format!("Patient/{id}") }),
        }
    }

    /// One decision for each act on each patient; all must be a yes. The permit that the entries name is for the one
    /// patient, or for the centre where a transaction is about several.
    fn admit_writes(
        &self,
        context: &Context,
        writes: &[Write],
        owners: &[Option<PatientId>],
        registers: bool,
    ) -> Result<Permit> {
        let mut needed: BTreeMap<(Option<PatientId>, Act), Sensitivity> = BTreeMap::new();
        for (write, owner) in writes.iter().zip(owners) {
            let act = match write {
                Write::Delete { .. } => Act::DeleteRecord,
                _ if registers && write.kind() == "Patient" => Act::RegisterPatient,
                _ => Act::WriteRecord,
            };
            let most = needed.entry((*owner, act)).or_insert(Sensitivity::Administrative);
            *most = (*most).max(sensitivity(write.kind()));
        }
        let several = needed.keys().any(|(owner, _)| Some(owner) != owners.first());
        let mut permit = None;
        for ((owner, act), sensitivity) in needed {
            permit = Some(self.admit(context, act, target(owner), sensitivity)?);
        }
        match permit {
            Some(permit) if !several => Ok(permit),
            _ => {
                let most = writes.iter().map(|write| sensitivity(write.kind())).max();
                self.admit(context, Act::WriteRecord, Target::Centre, most.unwrap_or(Sensitivity::Clinical))
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

    fn type_tag(&self, kind: &str) -> Tag {
        self.tagger.full(&[b"type", kind.as_bytes()])
    }

    fn field_tag(&self, kind: &str, field: &Field) -> Tag {
        let parts = [b"search", kind.as_bytes(), field.param.as_bytes(), field.value.as_bytes()];
        match field.reach {
            Reach::Unique => self.tagger.full(&parts),
            Reach::Shared => self.tagger.fuzzy(&parts),
        }
    }

    /// Finds a record and the right to do `act` to it. Who may not is told so before being told whether it is there.
    fn admit_to(&self, context: &Context, act: Act, kind: &str, id: &str) -> Result<(Located, Permit)> {
        match self.locate(kind, id)? {
            Some(found) => Ok((found, self.admit(context, act, target(found.patient), sensitivity(kind))?)),
            None => {
                let _permit = self.admit(context, act, Target::Centre, sensitivity(kind))?;
                Err(ChartError::NoSuchRecord { reference: format!("{kind}/{id}") })
            }
        }
    }

    /// The current version, or the one asked for; a tombstone has no bytes.
    pub fn read(&self, context: &Context, kind: &str, id: &str, version: Option<u32>) -> Result<Released> {
        let (found, permit) = self.admit_to(context, Act::ReadRecord, kind, id)?;
        let absent = || ChartError::NoSuchRecord { reference: format!("{kind}/{id}") };
        let entry = match version {
            None => found.entry,
            Some(version) => self.index.entry_of_version(found.row, version)?.ok_or_else(absent)?,
        };
        self.release_resources(&permit, &[entry])?.pop().ok_or_else(absent)
    }

    /// Opens and notes resources, and sets in them the id, version and time of their entries.
    fn release_resources(&self, permit: &Permit, entries: &[u64]) -> Result<Vec<Released>> {
        let mut opened = self.release(permit, entries)?;
        for released in opened.iter_mut().filter(|released| !released.version.deleted) {
            let resource = Resource::opened(&released.bytes).map_err(|issue| ChartError::Invalid(vec![issue]))?;
            let Version { id, version, .. } = &released.version;
            released.bytes = Zeroizing::new(resource.stored(id, *version, released.updated));
        }
        Ok(opened)
    }

    /// At most `count` versions older than `before`, newest first, tombstones included; and where the next page begins.
    pub fn history(
        &self,
        context: &Context,
        kind: &str,
        id: &str,
        count: usize,
        before: Option<u32>,
    ) -> Result<(Vec<Released>, Option<u32>)> {
        let (found, permit) = self.admit_to(context, Act::ReadRecord, kind, id)?;
        let count = count.min(HISTORY_MAX);
        // One more than fits, to know whether there is a next page.
        let mut entries = self.index.history(found.row, before.unwrap_or(u32::MAX), count + 1)?;
        let more = entries.len() > count;
        entries.truncate(count);
        let released = self.release_resources(&permit, &entries)?;
        let next = released.last().map(|oldest| oldest.version.version).filter(|_| more);
        Ok((released, next))
    }

    /// What matches, oldest first. Candidates are opened (and noted) one page at a time, and judged in full.
    pub fn search(&self, context: &Context, query: &Query) -> Result<Page> {
        let permit = self.admit(context, Act::SearchRecords, Target::Centre, sensitivity(query.kind()))?;
        let mut groups = vec![vec![self.type_tag(query.kind())]];
        groups.extend(
            query.groups().iter().map(|g| g.iter().map(|f| self.field_tag(query.kind(), f)).collect::<Vec<_>>()),
        );
        let mut after: i64 = match query.page() {
            None => 0,
            Some(token) => token.parse().map_err(|_| {
                ChartError::Invalid(vec![Issue::error(Code::Value, "_page is no page token of this server")])
            })?,
        };
        let (mut found, mut opened) = (Vec::new(), 0);
        loop {
            // One more than fits, to know whether there is a next page.
            let wanted = query.count() + 1 - found.len();
            let candidates = self.index.search(&groups, after, wanted)?;
            let exhausted = candidates.len() < wanted;
            for candidate in candidates {
                if found.len() == query.count() || opened == SEARCH_OPENED_MAX {
                    return Ok(Page { found, next: Some(after.to_string()) });
                }
                after = candidate.row;
                if candidate.patient.is_some_and(|p| self.is_erased(p)) || !query.allows_time(candidate.updated) {
                    continue;
                }
                opened += 1;
                for released in self.release_resources(&permit, &[candidate.entry])? {
                    if Resource::opened(&released.bytes).is_ok_and(|resource| query.matches(&resource)) {
                        found.push(released);
                    }
                }
            }
            if exhausted {
                return Ok(Page { found, next: None });
            }
        }
    }

    /// A transaction (all or nothing) or a batch (each entry for itself); one answer an entry, in their order.
    pub fn transact(&self, context: &Context, draft: BundleDraft) -> Result<Vec<ResponseEntry>> {
        let mut existing = BTreeMap::new();
        for condition in draft.conditions() {
            // Whether somebody is here is itself an answer: only who may search is given it.
            let kind = condition.query.kind();
            let _permit = self.admit(context, Act::SearchRecords, Target::Centre, sensitivity(kind))?;
            let groups: Vec<Vec<Tag>> = condition
                .query
                .groups()
                .iter()
                .map(|g| g.iter().map(|f| self.field_tag(condition.query.kind(), f)).collect())
                .collect();
            let found = self.index.search(&groups, 0, 2)?;
            match found.as_slice() {
                [] => {}
                [one] => {
                    let (_, meta) = self.note_of(one.entry)?;
                    existing.extend(meta.version.map(|version| (condition.entry, version.id)));
                }
                _ => {
                    let issue = Issue::error(Code::Conflict, "ifNoneExist finds more than one")
                        .at(format!("Bundle.entry[{}].request.ifNoneExist", condition.entry));
                    return Err(ChartError::Invalid(vec![issue]));
                }
            }
        }
        let plan = draft.plan(&existing, &mut || self.new_record_id()).map_err(ChartError::Invalid)?;
        let mut answers: BTreeMap<usize, ResponseEntry> = BTreeMap::new();
        match plan {
            Plan::Transaction(operations) => {
                let mut writes = Vec::new();
                let mut numbers = Vec::new();
                let mut rest = Vec::new();
                for Operation { entry, action } in operations {
                    match write_of(action) {
                        Ok(write) => {
                            writes.push(write);
                            numbers.push(entry);
                        }
                        Err(action) => rest.push((entry, action)),
                    }
                }
                if !writes.is_empty() {
                    let kept = self.write(context, writes)?;
                    answers.extend(numbers.into_iter().zip(kept.into_iter().map(answer_of)));
                }
                for (entry, action) in rest {
                    answers.insert(entry, self.act(context, action)?);
                }
            }
            Plan::Batch(operations) => {
                for Operation { entry, action } in operations {
                    let answer = match action {
                        Err(issues) => refusal(status_of_issues(&issues), operation_outcome(&issues)),
                        Ok(action) => self.act(context, action).unwrap_or_else(|error| refusal_of(&error)),
                    };
                    answers.insert(entry, answer);
                }
            }
        }
        Ok(answers.into_values().collect())
    }

    /// One action by itself.
    fn act(&self, context: &Context, action: Action) -> Result<ResponseEntry> {
        match action {
            Action::Exists { kind, id } => {
                let (found, _) = self.admit_to(context, Act::ReadRecord, kind, &id)?;
                Ok(ResponseEntry {
                    status: 200,
                    location: Some(format!("{kind}/{id}/_history/{}", found.version)),
                    version: Some(found.version),
                    updated: Some(found.updated),
                    ..ResponseEntry::default()
                })
            }
            Action::Read { kind, id, version } => {
                let number = version.as_deref().map(str::parse).transpose();
                let missing = |_| ChartError::NoSuchRecord { reference: format!("{kind}/{id}/_history") };
                let released = self.read(context, kind, &id, number.map_err(missing)?)?;
                if released.version.deleted {
                    let version = released.version.version;
                    return Err(ChartError::Gone { reference: format!("{kind}/{id}"), version });
                }
                Ok(ResponseEntry {
                    status: 200,
                    version: Some(released.version.version),
                    updated: Some(released.updated),
                    resource: Some(released.bytes.to_vec()),
                    ..ResponseEntry::default()
                })
            }
            Action::Search(query) => {
                let page = self.search(context, &query)?;
                let versions: Vec<_> = page.found.iter().map(Released::as_version).collect();
                let next = page.next.as_deref().map(|token| query.link("", Some(token)));
                let links: Vec<crate::fhir::Link<'_>> =
                    next.iter().map(|url| crate::fhir::Link { relation: "next", url }).collect();
                let bundle = crate::fhir::searchset("", &links, &versions);
                Ok(ResponseEntry { status: 200, resource: Some(bundle), ..ResponseEntry::default() })
            }
            Action::Delete { kind, id, if_match } => self.delete(context, kind, &id, if_match).map(answer_of),
            Action::Create { resource, id } => self.write_one(context, Write::Create { resource, id }).map(answer_of),
            Action::Update { resource, id, if_match } => {
                self.write_one(context, Write::Update { resource, id, if_match }).map(answer_of)
            }
        }
    }
}

impl Released {
    /// As Bundles show it.
    pub fn as_version(&self) -> crate::fhir::Version<'_> {
        crate::fhir::Version {
            kind: &self.version.collection,
            id: &self.version.id,
            version: self.version.version,
            updated: self.updated,
            bytes: (!self.version.deleted).then_some(&self.bytes),
        }
    }
}

fn write_of(action: Action) -> std::result::Result<Write, Action> {
    match action {
        Action::Create { resource, id } => Ok(Write::Create { resource, id }),
        Action::Update { resource, id, if_match } => Ok(Write::Update { resource, id, if_match }),
        Action::Delete { kind, id, if_match } => Ok(Write::Delete { kind, id, if_match }),
        other => Err(other),
    }
}

fn answer_of(kept: Kept) -> ResponseEntry {
    ResponseEntry {
        status: match (&kept.bytes, kept.created) {
            (None, _) => 204,
            (Some(_), true) => 201,
            (Some(_), false) => 200,
        },
        location: Some(format!("{}/{}/_history/{}", kept.kind, kept.id, kept.version)),
        version: Some(kept.version),
        updated: Some(kept.updated),
        ..ResponseEntry::default()
    }
}

fn refusal(status: u16, outcome: serde_json::Value) -> ResponseEntry {
    ResponseEntry { status, outcome: Some(outcome), ..ResponseEntry::default() }
}

fn refusal_of(error: &ChartError) -> ResponseEntry {
    match error {
        ChartError::Invalid(issues) => refusal(status_of_issues(issues), operation_outcome(issues)),
        error => {
            let fault = error.fault();
            tracing::info!(code = error.code(), "a batch entry was refused");
            refusal(status_of_fault(&fault), fault_outcome(&fault))
        }
    }
}

/// The number of the version that a write makes.
fn next_version(write: &Write, found: Option<&Located>) -> Result<u32> {
    let conflict =
        |current, expected| Err(ChartError::VersionConflict { reference: write.reference(), current, expected });
    let current = found.map_or(0, |f| f.version);
    match write {
        Write::Create { .. } => {}
        Write::Update { if_match: Some(expected), .. } | Write::Delete { if_match: Some(expected), .. }
            if *expected != current =>
        {
            return conflict(current, *expected);
        }
        _ => {}
    }
    Ok(current.saturating_add(1))
}

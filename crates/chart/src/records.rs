//! FHIR resources on the vault: create, read, update, delete, history, search.

use guard::{Act, Permit, Target};
use kit::{PatientId, Timestamp};
use zeroize::Zeroizing;

use crate::fhir::{Change, Field, Query, Reach, Resource};
use crate::meta::{Tag, Version};
use crate::sensitivity::sensitivity;
use crate::writes::Write;
use crate::{Chart, ChartError, Context, Located, Released, Result, what};

/// Versions in one answer to a history.
const HISTORY_MAX: usize = 100;

/// Bytes of records that are opened for one page, and the one that goes beyond: it ends there, and the next one goes on.
const PAGE_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Records that one search may open before it answers with what it has and a link to the rest: truncated tags give
/// candidates, and each that is opened counts.
const SEARCH_OPENED_MAX: usize = 200;
/// Steps through the index that one search may take before it does the same: a time or a second name may rule out
/// thousands that need not be opened.
const SEARCH_STEPS_MAX: usize = 50;

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
    /// Witnesses that cosigned the log's head with it.
    pub witnesses: u8,
    /// Its number in the ledger.
    pub entry: u64,
}

/// A page of a search.
#[derive(Debug)]
pub struct Page {
    pub found: Vec<Released>,
    /// Where the next page begins; none after the last.
    pub next: Option<String>,
    /// Of what was opened for it.
    pub(crate) bytes: usize,
}

impl Chart {
    /// Keeps a new resource under an id of our own making.
    pub fn create(&self, context: &Context, resource: Resource) -> Result<Kept> {
        let id = self.new_record_id();
        self.put(context, Write::put(resource, id, None))
    }

    /// Keeps the next version, or the first where there is none (update as create).
    pub fn update(&self, context: &Context, resource: Resource, id: &str, if_match: Option<u32>) -> Result<Kept> {
        self.put(context, Write::put(resource, id, if_match))
    }

    fn put(&self, context: &Context, write: Write) -> Result<Kept> {
        let reference = format!("{}/{}", write.kind, write.id);
        self.write_one(context, write)?.ok_or(ChartError::NoSuchRecord { reference })
    }

    /// Keeps resources that have their ids already, as a load from another system does: all of them or none.
    pub fn import(&self, context: &Context, resources: &[&[u8]]) -> Result<Vec<Kept>> {
        let writes = resources.iter().map(|bytes| {
            let resource = Resource::parse(bytes, None).map_err(ChartError::Invalid)?;
            let id = resource.id().map_or_else(|| self.new_record_id(), str::to_owned);
            Ok(Write::put(resource, id, None))
        });
        Ok(self.write(context, writes.collect::<Result<_>>()?)?.into_iter().flatten().collect())
    }

    /// Writes a tombstone version; earlier versions stay. What was deleted already stays as it is; none where nothing was
    /// ever there.
    pub fn delete(
        &self,
        context: &Context,
        kind: &'static str,
        id: &str,
        if_match: Option<u32>,
    ) -> Result<Option<Kept>> {
        self.write_one(context, Write::delete(kind, id, if_match))
    }

    pub(crate) fn type_tag(&self, kind: &str) -> Tag {
        self.tagger.full(&[b"type", kind.as_bytes()])
    }

    pub(crate) fn field_tag(&self, kind: &str, field: &Field) -> Tag {
        let parts = [b"search", kind.as_bytes(), field.param.as_bytes(), field.value.as_bytes()];
        match field.reach {
            Reach::Unique => self.tagger.full(&parts),
            Reach::Shared => self.tagger.fuzzy(&parts),
        }
    }

    /// Entries with the current versions of one patient's living resources of one type, so many at most. What is in them, only
    /// [`Chart::release`] says.
    pub fn current_of(&self, patient: PatientId, kind: &str, limit: usize) -> Result<Vec<u64>> {
        Ok(self.index.living_under(patient, &self.type_tag(kind), limit)?)
    }

    /// Finds a record and the right to do `act` to it. Who may not is told so before being told whether it is there.
    pub(crate) fn admit_to(&self, context: &Context, act: Act, kind: &str, id: &str) -> Result<(Located, Permit)> {
        let found = self.locate(kind, id)?;
        let reference = format!("{kind}/{id}");
        let target = what::target(found.and_then(|found| found.patient));
        let permit = self.admit_to_do(context, act, target, sensitivity(kind), &reference)?;
        Ok((found.ok_or(ChartError::NoSuchRecord { reference })?, permit))
    }

    /// The current version, or the one asked for; a tombstone has no bytes.
    pub fn read(&self, context: &Context, kind: &str, id: &str, version: Option<u32>) -> Result<Released> {
        let (_, permit) = self.admit_to(context, Act::ReadRecord, kind, id)?;
        self.read_under(&permit, kind, id, version)
    }

    pub(crate) fn read_under(&self, permit: &Permit, kind: &str, id: &str, version: Option<u32>) -> Result<Released> {
        let absent = || ChartError::NoSuchRecord { reference: format!("{kind}/{id}") };
        let found = self.locate(kind, id)?.ok_or_else(absent)?;
        let entry = match version {
            None => found.entry,
            Some(version) => self.index.entry_of_version(found.row, version)?.ok_or_else(absent)?,
        };
        let released = self.release_resources(permit, &[entry])?.pop().ok_or_else(absent)?;
        // The index is believed in nothing: what it led to has to be what was asked for.
        let wanted = version.unwrap_or(found.version);
        if released.version.key != self.key(kind, id) || released.version.version != wanted {
            return Err(ChartError::IndexMisleads);
        }
        Ok(released)
    }

    /// Opens and notes resources, and sets in them the id, version and time of their entries.
    pub fn release_resources(&self, permit: &Permit, entries: &[u64]) -> Result<Vec<Released>> {
        let mut opened = self.release(permit, entries)?;
        for released in &mut opened {
            let Version { id, version, deleted, .. } = &released.version;
            if *deleted {
                released.change = Change::Deleted;
                continue;
            }
            let invalid = |issue| ChartError::Invalid(vec![issue]);
            let resource = Resource::opened(&released.bytes).map_err(invalid)?;
            // Who sent it under this id chose the id; ours are never sent to us before we made them.
            released.change = match (version, resource.id() == Some(id.as_str())) {
                (1, true) => Change::PutAnew,
                (1, false) => Change::Created,
                _ => Change::Put,
            };
            released.bytes = Zeroizing::new(resource.stored(id, *version, released.updated).map_err(invalid)?);
        }
        Ok(opened)
    }

    /// At most `count` versions older than `before`, newest first, tombstones included, and as many as fit into an answer; and where
    /// the next page begins.
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
        let mut fit = 0;
        let mut bytes = 0;
        for entry in entries.iter().take(count) {
            bytes += self.vault.entry(*entry)?.payload_len.unwrap_or(0);
            if fit > 0 && bytes > PAGE_BYTES_MAX as u64 {
                break;
            }
            fit += 1;
        }
        let beyond = entries.get(fit).copied();
        entries.truncate(fit);
        let mut released = self.release_resources(&permit, &entries)?;
        let mut deleted_before = match beyond {
            Some(entry) => self.note_of(entry)?.1.version.is_some_and(|version| version.deleted),
            None => false,
        };
        for version in released.iter_mut().rev() {
            if deleted_before && version.change == Change::Put {
                version.change = Change::PutAnew;
            }
            deleted_before = version.version.deleted;
        }
        let next = released.last().map(|oldest| oldest.version.version).filter(|_| beyond.is_some());
        Ok((released, next))
    }

    /// What matches, oldest first. Candidates are opened (and noted) one page at a time, and judged in full.
    pub fn search(&self, context: &Context, query: &Query) -> Result<Page> {
        let permit = self.admit_search(context, query)?;
        self.search_under(context, permit, query)
    }

    /// The right to a search. One for the records of one patient is asked, and noted, as hers; so is each of several.
    pub(crate) fn admit_search(&self, context: &Context, query: &Query) -> Result<Permit> {
        let (sensitivity, what) = (sensitivity(query.kind()), what::search(query));
        let mut hers = None;
        let asked = query.patients();
        for id in &asked {
            if let Some(Located { patient: Some(patient), .. }) = self.locate("Patient", id)? {
                let target = Target::Patient(patient);
                hers = Some(self.admit_to_do(context, Act::SearchRecords, target, sensitivity, &what)?);
            }
        }
        match hers {
            Some(permit) if asked.len() == 1 => Ok(permit),
            _ => self.admit_to_do(context, Act::SearchRecords, Target::Centre, sensitivity, &what),
        }
    }

    pub(crate) fn search_under(&self, context: &Context, permit: Permit, query: &Query) -> Result<Page> {
        let kind = query.kind();
        let mut groups: Vec<Vec<Tag>> =
            query.groups().iter().map(|g| g.iter().map(|f| self.field_tag(kind, f)).collect()).collect();
        // Truncated tags are shared between types as well, and nothing of another type may be opened.
        groups.push(vec![self.type_tag(kind)]);
        let mut after = query.after().map_err(|issue| ChartError::Invalid(vec![issue]))?;
        let (mut found, mut opened, mut bytes, mut steps) = (Vec::new(), 0, 0, 0);
        let mut centre = None;
        loop {
            // One more than fits, to know whether there is a next page.
            let scanned = self.index.scan(&groups, after, query.count() + 1 - found.len())?;
            for candidate in scanned.found {
                if found.len() == query.count() || opened == SEARCH_OPENED_MAX || bytes > PAGE_BYTES_MAX {
                    return Ok(Page { found, next: Some(after.to_string()), bytes });
                }
                after = candidate.row;
                if candidate.patient.is_some_and(|p| self.is_erased(p)) || !query.allows_time(candidate.updated) {
                    continue;
                }
                opened += 1;
                let fits = match (permit.target(), candidate.patient) {
                    (Target::Patient(hers), Some(patient)) => hers == patient,
                    _ => true,
                };
                // She is named in a record of somebody else's.
                if !fits && centre.is_none() {
                    let what = what::search(query);
                    let act = Act::SearchRecords;
                    centre = Some(self.admit_to_do(context, act, Target::Centre, sensitivity(kind), &what)?);
                }
                let permit = centre.as_ref().filter(|_| !fits).unwrap_or(&permit);
                for released in self.release_resources(permit, &[candidate.entry])? {
                    bytes += released.bytes.len();
                    if Resource::opened(&released.bytes).is_ok_and(|resource| query.matches(&resource)) {
                        found.push(released);
                    }
                }
            }
            let Some(next) = scanned.next else { return Ok(Page { found, next: None, bytes }) };
            after = next;
            steps += 1;
            if steps == SEARCH_STEPS_MAX {
                return Ok(Page { found, next: Some(after.to_string()), bytes });
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
            change: self.change,
            bytes: (!self.version.deleted).then_some(&self.bytes),
        }
    }
}

//! Records in memory: every version in a list, searched by opening all of them.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use chart::fhir::{Action, Change, Draft, Plan, Query, Resource, ResponseEntry};
use edge::fhir::{Page, Receipt, Record, Records, Refusal};
use kit::{Blame, Fault, OperationId, Timestamp};

pub(crate) const TOKEN: &str = "good-token";

type Versions = BTreeMap<(&'static str, String), Vec<Record>>;

#[derive(Default)]
pub(crate) struct Memory {
    versions: Mutex<Versions>,
    numbers: AtomicU64,
}

impl Memory {
    fn number(&self) -> u64 {
        self.numbers.fetch_add(1, Ordering::SeqCst)
    }

    fn keep(
        &self,
        kind: &'static str,
        id: &str,
        resource: Option<&Resource>,
        if_match: Option<u32>,
        anew: Change,
    ) -> Result<Record, Refusal> {
        let mut all = self.versions.lock().unwrap();
        let versions = all.entry((kind, id.to_owned())).or_default();
        let current = u32::try_from(versions.len()).unwrap();
        if if_match.is_some_and(|wanted| wanted != current) {
            return Err(Refusal::VersionConflict { current: Some(current).filter(|n| *n > 0) });
        }
        let updated = Timestamp(1_713_916_799_000 + i64::try_from(self.number()).unwrap());
        let bytes = resource.map(|resource| resource.stored(id, current + 1, updated).unwrap());
        let change = match (&bytes, versions.last()) {
            (None, _) => Change::Deleted,
            (Some(_), Some(Record { bytes: Some(_), .. })) => Change::Put,
            (Some(_), _) => anew,
        };
        let record = Record {
            kind,
            id: id.to_owned(),
            version: current + 1,
            updated,
            change,
            bytes,
            receipt: Some(Receipt { survives: 11, witnesses: 12, entry: 7 }),
        };
        versions.push(record.clone());
        Ok(record)
    }

    fn versions_of(&self, kind: &'static str, id: &str) -> Result<Vec<Record>, Refusal> {
        self.versions.lock().unwrap().get(&(kind, id.to_owned())).cloned().ok_or(Refusal::NotFound)
    }
}

fn page(records: Vec<Record>, count: usize, token: Option<&str>) -> Page {
    let start = token.map_or(0, |token| token.parse().unwrap());
    let next = (records.len() > start + count).then(|| (start + count).to_string());
    Page { records: records.into_iter().skip(start).take(count).collect(), next }
}

impl Records for Memory {
    type Context = String;

    fn operation(&self) -> OperationId {
        let mut id = [0; 16];
        id[..8].copy_from_slice(&self.number().to_le_bytes());
        OperationId(id)
    }

    fn authenticate(&self, token: &str, _operation: OperationId) -> Option<String> {
        ["good-token", "forbidden", "panics"].contains(&token).then(|| token.to_owned())
    }

    fn create(&self, _context: &String, resource: Resource) -> Result<Record, Refusal> {
        let id = format!("id-{:04}", self.number());
        self.keep(resource.kind(), &id, Some(&resource), None, Change::Created)
    }

    fn read(&self, context: &String, kind: &'static str, id: &str) -> Result<Record, Refusal> {
        match context.as_str() {
            "forbidden" => Err(Fault::new(Blame::Forbidden, "guard.denied", "not for this role").into()),
            "panics" => panic!("a fault of ours"),
            _ => self.versions_of(kind, id)?.pop().ok_or(Refusal::NotFound),
        }
    }

    fn vread(&self, _context: &String, kind: &'static str, id: &str, version: u32) -> Result<Record, Refusal> {
        self.versions_of(kind, id)?.into_iter().find(|record| record.version == version).ok_or(Refusal::NotFound)
    }

    fn update(
        &self,
        _context: &String,
        resource: Resource,
        id: &str,
        if_match: Option<u32>,
    ) -> Result<Record, Refusal> {
        self.keep(resource.kind(), id, Some(&resource), if_match, Change::PutAnew)
    }

    fn delete(
        &self,
        _context: &String,
        kind: &'static str,
        id: &str,
        if_match: Option<u32>,
    ) -> Result<Record, Refusal> {
        let current = self.versions_of(kind, id)?.pop().ok_or(Refusal::NotFound)?;
        if current.bytes.is_none() {
            return Ok(current);
        }
        self.keep(kind, id, None, if_match, Change::Created)
    }

    fn history(
        &self,
        _context: &String,
        kind: &'static str,
        id: &str,
        count: usize,
        token: Option<&str>,
    ) -> Result<Page, Refusal> {
        let versions = self.versions_of(kind, id)?;
        Ok(page(versions.into_iter().rev().collect(), count, token))
    }

    fn search(&self, _context: &String, query: &Query) -> Result<Page, Refusal> {
        let all = self.versions.lock().unwrap();
        let current = all.values().filter_map(|versions| versions.last());
        let matches = |record: &&Record| {
            let bytes = record.bytes.as_ref();
            bytes.is_some_and(|bytes| query.matches(&Resource::opened(bytes).unwrap()))
        };
        Ok(page(current.filter(matches).cloned().collect(), query.count(), query.page()))
    }

    fn bundle(&self, _context: &String, draft: Draft) -> Result<Vec<ResponseEntry>, Refusal> {
        let plan =
            draft.plan(&BTreeMap::new(), &mut || format!("id-{:04}", self.number())).map_err(Refusal::Invalid)?;
        let Plan::Transaction(operations) = plan else { panic!("the tests send transactions only") };
        let mut answers = vec![ResponseEntry::default(); operations.len()];
        for operation in operations {
            let Action::Create { resource, id, .. } = operation.action else { panic!("the tests create only") };
            let record = self.keep(resource.kind(), &id, Some(&resource), None, Change::Created)?;
            answers[operation.entry] = ResponseEntry {
                status: 201,
                location: Some(format!("{}/{id}/_history/1", record.kind)),
                version: Some(1),
                updated: Some(record.updated),
                ..ResponseEntry::default()
            };
        }
        Ok(answers)
    }
}

//! FHIR's port on the centre's own records.

use std::sync::Arc;

use chart::fhir::{Change, Draft, Query, Resource, ResponseEntry};
use chart::{Chart, ChartError, Context, Kept, Released};
use guard::{Purpose, Role};
use kit::OperationId;

use crate::account::asked::Asked;
use crate::audit;
use crate::fhir::{Page, ROOT, Receipt, Record, Records, Refusal};

/// [`Records`] over the chart.
pub struct ChartRecords(Arc<Chart>, Option<String>);

impl ChartRecords {
    pub fn new(chart: Arc<Chart>) -> Self {
        Self(chart, None)
    }

    /// As they are reached from outside: `https://records.hospital.example`.
    pub fn at(self, public_url: Option<&str>) -> Self {
        Self(self.0, public_url.map(|url| format!("{url}{ROOT}")))
    }
}

impl From<ChartError> for Refusal {
    fn from(error: ChartError) -> Self {
        match error {
            ChartError::NoSuchRecord { .. } => Self::NotFound,
            ChartError::VersionConflict { current, entry: None, .. } => {
                Self::VersionConflict { current: (current > 0).then_some(current) }
            }
            error => error.issues().map_or_else(|| Self::Fault(error.fault()), Self::Invalid),
        }
    }
}

/// `created`: how it came to be, where nothing was there before.
fn kept(kept: Kept, created: Change) -> Record {
    let Kept { kind, id, version, updated, bytes, survives, witnesses, entry, .. } = kept;
    let change = match (&bytes, kept.created) {
        (None, _) => Change::Deleted,
        (Some(_), true) => created,
        (Some(_), false) => Change::Put,
    };
    Record { kind, id, version, updated, change, bytes, receipt: Some(Receipt { survives, witnesses, entry }) }
}

fn released(kind: &'static str, released: &Released) -> Record {
    Record {
        kind,
        id: released.version.id.clone(),
        version: released.version.version,
        updated: released.updated,
        change: released.change,
        bytes: (!released.version.deleted).then(|| released.bytes.to_vec()),
        receipt: None,
    }
}

impl Records for ChartRecords {
    type Context = Context;

    fn operation(&self) -> OperationId {
        OperationId::random(self.0.entropy())
    }

    fn base(&self) -> Option<String> {
        self.1.clone()
    }

    fn authenticate(&self, token: &str, operation: OperationId) -> Option<Context> {
        let caller = self.0.guard().authenticate_bearer(token).ok()?;
        // What each role is there for; clinicians treat, the others run the centre.
        let purpose = match caller.role() {
            Role::Oncologist
            | Role::Surgeon
            | Role::Pathologist
            | Role::Physicist
            | Role::Therapist
            | Role::Nurse
            | Role::Device
            | Role::Service => Purpose::Treatment,
            Role::Registrar | Role::ItAdministrator | Role::Console => Purpose::Operations,
            Role::RecordsOfficer => Purpose::PatientRequest,
            Role::SecurityOfficer | Role::Auditor => Purpose::Audit,
        };
        Some(Context { caller, purpose, operation })
    }

    fn create(&self, context: &Context, resource: Resource) -> Result<Record, Refusal> {
        Ok(kept(self.0.create(context, resource)?, Change::Created))
    }

    fn read(&self, context: &Context, kind: &'static str, id: &str) -> Result<Record, Refusal> {
        Ok(released(kind, &self.0.read(context, kind, id, None)?))
    }

    fn vread(&self, context: &Context, kind: &'static str, id: &str, version: u32) -> Result<Record, Refusal> {
        Ok(released(kind, &self.0.read(context, kind, id, Some(version))?))
    }

    fn update(
        &self,
        context: &Context,
        resource: Resource,
        id: &str,
        if_match: Option<u32>,
    ) -> Result<Record, Refusal> {
        Ok(kept(self.0.update(context, resource, id, if_match)?, Change::PutAnew))
    }

    fn delete(
        &self,
        context: &Context,
        kind: &'static str,
        id: &str,
        if_match: Option<u32>,
    ) -> Result<Record, Refusal> {
        let deleted = self.0.delete(context, kind, id, if_match)?.ok_or(Refusal::NotFound)?;
        Ok(kept(deleted, Change::Created))
    }

    fn history(
        &self,
        context: &Context,
        kind: &'static str,
        id: &str,
        count: usize,
        page: Option<&str>,
    ) -> Result<Page, Refusal> {
        let before = match page.map(str::parse).transpose() {
            Ok(before) => before,
            Err(_) => return Err(Refusal::NotFound),
        };
        let (versions, next) = self.0.history(context, kind, id, count, before)?;
        let records = versions.iter().map(|version| released(kind, version)).collect();
        Ok(Page { records, next: next.map(|version| version.to_string()) })
    }

    fn search(&self, context: &Context, query: &Query) -> Result<Page, Refusal> {
        let page = self.0.search(context, query)?;
        let records = page.found.iter().map(|found| released(query.kind(), found)).collect();
        Ok(Page { records, next: page.next })
    }

    fn bundle(&self, context: &Context, draft: Draft) -> Result<Vec<ResponseEntry>, Refusal> {
        Ok(self.0.transact(context, &draft)?)
    }

    fn audit_events(&self, context: &Context, base: &str, asked: &Asked) -> Result<Page, Refusal> {
        audit::events(&self.0, context, base, asked)
    }

    fn audit_event(&self, context: &Context, base: &str, entry: u64, line: usize) -> Result<Record, Refusal> {
        audit::event(&self.0, context, base, entry, line)
    }
}

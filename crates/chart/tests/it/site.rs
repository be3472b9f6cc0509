//! A centre of five folders, and who asks it what.

use std::path::Path;
use std::sync::Arc;

use chart::fhir::{Draft, Query, Resource, ResponseEntry};
use chart::{AccessAsked, AccessRow, Chart, ChartError, Context};
use guard::{Act, Purpose, Role, Sensitivity, Target};
use keys::{CustodianPackage, Holder, LocalHolder};
use kit::{Id16, OperationId, OsEntropy, SystemClock};
use serde_json::{Value, json};
use vault::location::{FolderLocation, Location, Marker};
use vault::{Access, Founding, Mode, Opening, Shape};

pub(crate) const SERVERS: u8 = 5;

pub(crate) struct Site(tempfile::TempDir);

impl Site {
    pub(crate) fn found() -> (Self, Chart) {
        let site = Self(tempfile::tempdir().unwrap());
        let vault = Id16(*b"chart facade 001");
        let mut locations: Vec<Arc<dyn Location>> = Vec::new();
        let mut holders: Vec<Arc<dyn Holder>> = Vec::new();
        for number in 1..=SERVERS {
            let marker = Marker::new(format!("server-{number}"), vault, number);
            locations.push(Arc::new(FolderLocation::init(&site.at(&format!("{number}/shards")), marker).unwrap()));
            let folder = site.at(&format!("{number}/holder"));
            holders.push(Arc::new(LocalHolder::init(&folder, number, &OsEntropy).unwrap()));
        }
        let (_, recipient) = keys::new_identity();
        let (custodians, _) = CustodianPackage::establish(1, &[recipient], &OsEntropy).unwrap();
        let founded = vault::found(Founding {
            vault,
            origin: "chart.test/facade".into(),
            shape: Shape::new(3, SERVERS, 3).unwrap(),
            locations,
            holders,
            t: 3,
            cache_ms: 60_000,
            custodians,
            gateway: Some(site.at("gateway")),
            clock: Arc::new(SystemClock),
            entropy: Arc::new(OsEntropy),
        })
        .unwrap();
        let chart = site.chart(founded, Some(&site.at("gateway/index.sqlite")));
        (site, chart)
    }

    pub(crate) fn at(&self, path: &str) -> std::path::PathBuf {
        let path = self.0.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        path
    }

    fn chart(&self, vault: vault::Vault, index: Option<&Path>) -> Chart {
        Chart::open(Arc::new(vault), index, Vec::new(), Arc::new(SystemClock), Arc::new(OsEntropy)).unwrap()
    }

    /// Opens it again, with an index that is rebuilt from nothing.
    pub(crate) fn reopen(&self) -> Chart {
        let mut locations: Vec<Arc<dyn Location>> = Vec::new();
        let mut holders: Vec<Arc<dyn Holder>> = Vec::new();
        for number in 1..=SERVERS {
            let shards = self.at(&format!("{number}/shards"));
            locations.push(Arc::new(FolderLocation::open(&shards, Id16(*b"chart facade 001")).unwrap()));
            holders.push(Arc::new(LocalHolder::open(&self.at(&format!("{number}/holder"))).unwrap()));
        }
        let vault = vault::open(Opening {
            locations,
            access: Access::Holders { holders, cache_ms: 0, prover: None },
            gateway: Some(self.at("gateway")),
            vkey: None,
            mode: Mode::Write,
            clock: Arc::new(SystemClock),
            entropy: Arc::new(OsEntropy),
        })
        .unwrap();
        self.chart(vault, None)
    }
}

pub(crate) fn context(chart: &Chart, role: Role, purpose: Purpose) -> Context {
    let guard = chart.guard();
    let console = Context { caller: guard.console(), purpose: Purpose::Operations, operation: operation() };
    let permit = chart.admit(&console, Act::ManageAccess, Target::Centre, Sensitivity::Clinical).unwrap();
    let (_, token) = guard.issue_token(&permit, role, "somebody", 60_000).unwrap();
    Context { caller: guard.authenticate_bearer(&token).unwrap(), purpose, operation: operation() }
}

pub(crate) fn operation() -> OperationId {
    OperationId::random(&OsEntropy)
}

pub(crate) fn resource(text: &str) -> Resource {
    Resource::parse(text.as_bytes(), None).unwrap()
}

/// A transaction or batch of `entries`, sent to `http://h/fhir`.
pub(crate) fn bundle(kind: &str, entries: &[Value]) -> Draft {
    let text = json!({ "resourceType": "Bundle", "type": kind, "entry": entries }).to_string();
    Draft::parse_at("http://h/fhir", text.as_bytes()).unwrap_or_else(|issues| panic!("{issues:#?}"))
}

pub(crate) fn post(resource: Value) -> Value {
    json!({ "request": { "method": "POST", "url": resource["resourceType"] }, "resource": resource })
}

pub(crate) fn ask(method: &str, url: &str) -> Value {
    json!({ "request": { "method": method, "url": url } })
}

pub(crate) fn transact(
    chart: &Chart,
    who: &Context,
    kind: &str,
    entries: &[Value],
) -> Result<Vec<ResponseEntry>, ChartError> {
    chart.transact(&Context { operation: operation(), ..who.clone() }, &bundle(kind, entries))
}

pub(crate) fn statuses(answers: &[ResponseEntry]) -> Vec<u16> {
    answers.iter().map(|answer| answer.status).collect()
}

/// How many a search finds.
pub(crate) fn count(chart: &Chart, who: &Context, kind: &str, query: &str) -> usize {
    chart.search(who, &Query::parse_encoded(kind, query).unwrap()).unwrap().found.len()
}

/// Her access list.
pub(crate) fn accesses(chart: &Chart, patient: &str) -> Vec<AccessRow> {
    let auditor = context(chart, Role::Auditor, Purpose::Audit);
    let patient = chart.find_patient(patient).unwrap().unwrap();
    chart.access(&auditor, patient, AccessAsked::default()).unwrap().rows
}

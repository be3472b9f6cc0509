//! The façade: records on a real vault of five folders, behind permits.

use std::path::Path;
use std::sync::Arc;

use chart::fhir::{Draft, Query, Resource};
use chart::{Chart, ChartError, Context};
use guard::{Act, Purpose, Role, Sensitivity, Target};
use keys::{CustodianPackage, Holder, LocalHolder};
use kit::{Id16, OperationId, OsEntropy, SystemClock};
use vault::location::{FolderLocation, Location, Marker};
use vault::{Access, Founding, Mode, Opening, Shape};

const SERVERS: u8 = 5;

struct Site(tempfile::TempDir);

impl Site {
    fn found() -> (Self, Chart) {
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

    fn at(&self, path: &str) -> std::path::PathBuf {
        let path = self.0.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        path
    }

    fn chart(&self, vault: vault::Vault, index: Option<&Path>) -> Chart {
        Chart::open(Arc::new(vault), index, Vec::new(), Arc::new(SystemClock), Arc::new(OsEntropy)).unwrap()
    }

    /// Opens it again, with an index that is rebuilt from nothing.
    fn reopen(&self) -> Chart {
        let mut locations: Vec<Arc<dyn Location>> = Vec::new();
        let mut holders: Vec<Arc<dyn Holder>> = Vec::new();
        for number in 1..=SERVERS {
            let shards = self.at(&format!("{number}/shards"));
            locations.push(Arc::new(FolderLocation::open(&shards, Id16(*b"chart facade 001")).unwrap()));
            holders.push(Arc::new(LocalHolder::open(&self.at(&format!("{number}/holder"))).unwrap()));
        }
        let vault = vault::open(Opening {
            locations,
            access: Access::Holders { holders, cache_ms: 0 },
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

fn context(chart: &Chart, role: Role, purpose: Purpose) -> Context {
    let guard = chart.guard();
    let console = Context { caller: guard.console(), purpose: Purpose::Operations, operation: operation() };
    let permit = chart.admit(&console, Act::ManageAccess, Target::Centre, Sensitivity::Clinical).unwrap();
    let (_, token) = guard.issue_token(&permit, role, "somebody", 60_000).unwrap();
    Context { caller: guard.authenticate_bearer(&token).unwrap(), purpose, operation: operation() }
}

fn operation() -> OperationId {
    OperationId::random(&OsEntropy)
}

fn resource(text: &str) -> Resource {
    Resource::parse(text.as_bytes(), None).unwrap()
}

const PATIENT: &str = r#"{"resourceType":"Patient","id":"p1","identifier":[{"value":"N-77"}],
    "name":[{"family":"ലക്ഷ്മി","given":["മാതൃക"]}],"birthDate":"1961-02-03","telecom":[{"system":"phone","value":"+91 09846 012345"}]}"#;

fn condition(patient: &str) -> String {
    format!(
        r#"{{"resourceType":"Condition","subject":{{"reference":"Patient/{patient}"}},"code":{{"text":"planted diagnosis"}}}}"#
    )
}

#[test]
fn a_record_lives_through_versions_searches_and_a_rebuilt_index() {
    let (site, chart) = Site::found();
    let who = context(&chart, Role::Oncologist, Purpose::Treatment);
    let kept = chart.update(&who, resource(PATIENT), "p1", None).unwrap();
    assert!(kept.created && kept.version == 1 && kept.survives == 2);
    let next = PATIENT.replace("1961-02-03", "1961-02-04");
    assert!(matches!(
        chart.update(&who, resource(&next), "p1", Some(7)),
        Err(ChartError::VersionConflict { current: 1, expected: 7, .. })
    ));
    assert_eq!(chart.update(&who, resource(&next), "p1", Some(1)).unwrap().version, 2);
    let diagnosis = chart.create(&who, resource(&condition("p1"))).unwrap();
    assert!(matches!(chart.create(&who, resource(&condition("nobody"))), Err(ChartError::UnknownPatient { .. })));

    let look = |chart: &Chart, who: &Context| {
        let read = chart.read(who, "Patient", "p1", Some(1)).unwrap();
        assert!(std::str::from_utf8(&read.bytes).unwrap().contains("1961-02-03"));
        let found = |kind: &str, query: &str| {
            let query = Query::parse_encoded(kind, query).unwrap();
            chart.search(who, &query).unwrap().found.len()
        };
        assert_eq!(found("Patient", "name=%E0%B4%B2%E0%B4%95"), 1, "two letters of the family name");
        assert_eq!(found("Patient", "birthdate=1961-02-04"), 1);
        assert_eq!(found("Patient", "birthdate=1961-02-03"), 0, "that was version 1");
        assert_eq!(found("Patient", "phone=9846012345"), 1);
        assert_eq!(found("Patient", "identifier=N-77"), 1);
        assert_eq!(found("Condition", "patient=p1"), 1);
        assert_eq!(found("Condition", ""), 1);
        let (history, next) = chart.history(who, "Patient", "p1", 10, None).unwrap();
        assert_eq!((history.len(), next), (2, None));
    };
    look(&chart, &who);

    let gone = chart.delete(&who, "Condition", &diagnosis.id, None).unwrap();
    assert!(gone.bytes.is_none() && gone.version == 2);
    assert!(chart.read(&who, "Condition", &diagnosis.id, None).unwrap().version.deleted);
    assert!(!chart.read(&who, "Condition", &diagnosis.id, Some(1)).unwrap().bytes.is_empty());
    chart.update(&who, resource(&condition("p1").replacen('{', "{\"id\":\"c2\",", 1)), "c2", None).unwrap();

    // Nothing of her stands in the gateway's folder, the index's pages and log included.
    for entry in std::fs::read_dir(site.at("gateway")).unwrap() {
        let bytes = std::fs::read(entry.unwrap().path()).unwrap_or_default();
        for planted in ["ലക്ഷ്മി", "N-77", "9846012345", "1961-02-0", "planted diagnosis"] {
            assert!(!bytes.windows(planted.len()).any(|w| w == planted.as_bytes()), "{planted}");
        }
    }
    drop(chart);
    let chart = site.reopen();
    let who = context(&chart, Role::Oncologist, Purpose::Treatment);
    look(&chart, &who);
}

#[test]
fn a_transaction_is_kept_wholly_or_not_at_all() {
    let (_site, chart) = Site::found();
    let who = context(&chart, Role::Oncologist, Purpose::Treatment);
    let bundle = |subject: &str| {
        format!(
            r#"{{"resourceType":"Bundle","type":"transaction","entry":[
                {{"fullUrl":"urn:uuid:0b0f9d3e-7f5e-4a39-9b0f-5f7b8f3a2c11","resource":{{"resourceType":"Patient","birthDate":"1950-01-01"}},
                  "request":{{"method":"POST","url":"Patient"}}}},
                {{"resource":{{"resourceType":"Condition","subject":{{"reference":"{subject}"}}}},
                  "request":{{"method":"POST","url":"Condition"}}}}]}}"#
        )
    };
    let before = chart.vault().health().patients;
    let refused = chart.transact(&who, Draft::parse(bundle("Patient/nobody").as_bytes()).unwrap());
    assert!(matches!(refused, Err(ChartError::UnknownPatient { .. })));
    assert_eq!(chart.vault().health().patients, before);
    let urn = "urn:uuid:0b0f9d3e-7f5e-4a39-9b0f-5f7b8f3a2c11";
    let answers = chart.transact(&who, Draft::parse(bundle(urn).as_bytes()).unwrap()).unwrap();
    assert!(answers.iter().all(|a| a.status == 201), "{answers:?}");
    assert_eq!(chart.vault().health().patients, before + 1);
}

#[test]
fn who_may_not_gets_nothing_and_stands_on_the_list() {
    let (_site, chart) = Site::found();
    let doctor = context(&chart, Role::Oncologist, Purpose::Treatment);
    chart.update(&doctor, resource(PATIENT), "p1", None).unwrap();
    let secret = chart.create(&doctor, resource(&condition("p1"))).unwrap();
    for (role, purpose) in [
        (Role::ItAdministrator, Purpose::Operations),
        (Role::Auditor, Purpose::Audit),
        (Role::Registrar, Purpose::Operations),
    ] {
        let who = context(&chart, role, purpose);
        assert!(matches!(chart.read(&who, "Condition", &secret.id, None), Err(ChartError::Denied(_))), "{role}");
        // Whether a record is there is not told to who may not read it.
        assert!(matches!(chart.read(&who, "Condition", "no-such", None), Err(ChartError::Denied(_))), "{role}");
        assert!(matches!(chart.create(&who, resource(&condition("p1"))), Err(ChartError::Denied(_))), "{role}");
    }
    let auditor = context(&chart, Role::Auditor, Purpose::Audit);
    let patient = chart.find_patient("N-77").unwrap().unwrap();
    let rows = chart.access(&auditor, patient).unwrap();
    let denied = |role: Role| rows.iter().filter(|row| row.outcome == "denied" && row.role == role).count();
    assert!(denied(Role::ItAdministrator) >= 2 && denied(Role::Registrar) >= 2, "{rows:?}");
    // A permit for another patient opens nothing of hers.
    let other = chart.admit(&doctor, Act::ReadRecord, Target::Patient(kit::PatientId([9; 16])), Sensitivity::Clinical);
    assert!(matches!(chart.release(&other.unwrap(), &[secret.entry]), Err(ChartError::AnotherPatient)));
    // After a lockdown, neither does hers.
    let permit = chart.admit(&doctor, Act::ReadRecord, Target::Patient(patient), Sensitivity::Clinical).unwrap();
    let console = Context { caller: chart.guard().console(), purpose: Purpose::Operations, operation: operation() };
    let manage = chart.admit(&console, Act::ManageAccess, Target::Centre, Sensitivity::Administrative).unwrap();
    chart.guard().lockdown(&manage).unwrap();
    assert!(matches!(chart.release(&permit, &[secret.entry]), Err(ChartError::Permit(_))));
}

#[test]
fn an_erased_patient_is_refused_and_the_log_stays_whole() {
    let (_site, chart) = Site::found();
    let doctor = context(&chart, Role::Oncologist, Purpose::Treatment);
    chart.update(&doctor, resource(PATIENT), "p1", None).unwrap();
    let patient = chart.find_patient("p1").unwrap().unwrap();
    let console = Context { caller: chart.guard().console(), purpose: Purpose::PatientRequest, operation: operation() };
    let permit =
        chart.admit(&console, Act::ErasePatient, Target::Patient(patient), Sensitivity::Administrative).unwrap();
    let erased = chart.erase(&permit, patient).unwrap();
    assert_eq!(erased.erasure.refused_by.len(), usize::from(SERVERS));
    assert!(chart.read(&doctor, "Patient", "p1", None).is_err());
    assert!(chart.vault().verify().unwrap().is_clean());
}

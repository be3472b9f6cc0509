//! The façade: records on a real vault of five folders, behind permits.

use chart::fhir::{Draft, Query};
use chart::{Chart, ChartError, Context};
use guard::{Act, Purpose, Role, Sensitivity, Target};

use crate::site::{SERVERS, Site, accesses, context, operation, resource};

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

    let gone = chart.delete(&who, "Condition", &diagnosis.id, None).unwrap().unwrap();
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
    let refused = chart.transact(&who, &Draft::parse(bundle("Patient/nobody").as_bytes()).unwrap());
    assert!(matches!(refused, Err(ChartError::UnknownPatient { .. })));
    assert_eq!(chart.vault().health().patients, before);
    let urn = "urn:uuid:0b0f9d3e-7f5e-4a39-9b0f-5f7b8f3a2c11";
    let answers = chart.transact(&who, &Draft::parse(bundle(urn).as_bytes()).unwrap()).unwrap();
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
    let patient = chart.find_patient("N-77").unwrap().unwrap();
    let rows = accesses(&chart, "N-77");
    let denied = |role: Role| rows.iter().filter(|row| row.outcome == "denied" && row.role == role).count();
    assert!(denied(Role::ItAdministrator) >= 2 && denied(Role::Registrar) >= 2, "{rows:?}");
    // A permit for another patient opens nothing of hers.
    let other = chart.admit(&doctor, Act::ReadRecord, Target::Patient(kit::PatientId([9; 16])), Sensitivity::Clinical);
    assert!(matches!(chart.release(&other.unwrap(), &[secret.entry]), Err(ChartError::AnotherPatient)));
    // After a lockdown, neither does hers.
    let permit = chart.admit(&doctor, Act::ReadRecord, Target::Patient(patient), Sensitivity::Clinical).unwrap();
    let console = Context { caller: chart.guard().console(), purpose: Purpose::Operations, operation: operation() };
    let close = chart.admit(&console, Act::Contain, Target::Centre, Sensitivity::Administrative).unwrap();
    chart.guard().contain(&close, guard::Measure::Lockdown, "a drill").unwrap();
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

#[test]
fn a_hospital_number_is_no_fhir_id_and_nobody_guesses() {
    let (_site, chart) = Site::found();
    let registrar = context(&chart, Role::Registrar, Purpose::Operations);
    chart.update(&registrar, resource(PATIENT), "p1", None).unwrap();
    let hers = chart.patient_by_number("N-77").unwrap();
    assert!(hers.is_some());
    // Whoever may write a Patient chooses an id; it takes nobody's number away.
    let imposter = r#"{"resourceType":"Patient","id":"N-77","name":[{"family":"Imposter"}]}"#;
    chart.update(&registrar, resource(imposter), "N-77", None).unwrap();
    assert_eq!(chart.patient_by_number("N-77").unwrap(), hers);
    assert!(matches!(chart.find_patient("N-77"), Err(ChartError::AmbiguousPatient)));
    assert_eq!(chart.find_patient("Patient/p1").unwrap(), hers);
    assert_ne!(chart.find_patient("Patient/N-77").unwrap(), hers);
    chart.delete(&registrar, "Patient", "N-77", None).unwrap();
    assert_eq!(chart.find_patient("N-77").unwrap(), hers);
}

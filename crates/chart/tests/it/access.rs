//! Who may, and what is on record of it: no answer tells what is here to those who may not know it.

use std::collections::BTreeSet;

use chart::fhir::{Code, Query};
use chart::{Chart, ChartError, Context};
use guard::{Act, Purpose, Role, Sensitivity, Target};

use crate::site::{Site, accesses, ask, context, operation, post, resource, transact};

const OUTSIDERS: [(Role, Purpose); 3] =
    [(Role::ItAdministrator, Purpose::Operations), (Role::Auditor, Purpose::Audit), (Role::Device, Purpose::Treatment)];

fn patient(id: &str) -> String {
    format!(r#"{{"resourceType":"Patient","id":"{id}","identifier":[{{"value":"N-{id}"}}]}}"#)
}

fn observation(id: &str, patient: &str) -> String {
    format!(
        r#"{{"resourceType":"Observation","id":"{id}","status":"final","code":{{"text":"x"}},
            "subject":{{"reference":"Patient/{patient}"}}}}"#
    )
}

/// Two patients, and an observation of the first.
fn centre() -> (Site, Chart, Context) {
    let (site, chart) = Site::found();
    let doctor = context(&chart, Role::Oncologist, Purpose::Treatment);
    for id in ["p1", "p2"] {
        chart.update(&doctor, resource(&patient(id)), id, None).unwrap();
    }
    chart.update(&doctor, resource(&observation("o1", "p1")), "o1", None).unwrap();
    (site, chart, doctor)
}

/// The same caller in another request.
fn again(who: &Context) -> Context {
    Context { operation: operation(), ..who.clone() }
}

#[test]
fn who_may_not_write_learns_nothing_of_what_is_here() {
    let (_site, chart, _doctor) = centre();
    for (role, purpose) in OUTSIDERS {
        let who = context(&chart, role, purpose);
        let denied = |result: Result<(), ChartError>, what: &str| {
            assert!(matches!(result, Err(ChartError::Denied(_))), "{role}: {what}: {result:?}");
        };
        let put = |id: &str, patient: &str, if_match| {
            chart.update(&again(&who), resource(&observation(id, patient)), id, if_match).map(drop)
        };
        for patient in ["p1", "nobody"] {
            let new = resource(&observation("n", patient));
            denied(chart.create(&again(&who), new).map(drop), "create");
        }
        for (id, patient, if_match) in [
            ("o1", "p1", None),
            ("o1", "p2", None),
            ("o1", "nobody", None),
            ("none", "p1", None),
            ("o1", "p1", Some(9)),
        ] {
            denied(put(id, patient, if_match), "update");
        }
        for id in ["o1", "none"] {
            for if_match in [None, Some(9)] {
                denied(chart.delete(&again(&who), "Observation", id, if_match).map(drop), "delete");
            }
        }
        denied(chart.delete(&again(&who), "Patient", "p1", None).map(drop), "delete a patient with records");
        for url in ["Observation/o1", "Observation/none", "Observation?patient=p1", "Observation?patient=nobody"] {
            denied(transact(&chart, &who, "transaction", &[ask("GET", url)]).map(drop), url);
        }
        for entries in [["Observation/o1", "Patient/none"], ["Observation/none", "Patient/none"]] {
            let entries = entries.map(|url| ask("DELETE", url));
            denied(transact(&chart, &who, "transaction", &entries).map(drop), "deletes");
        }
    }
    let refusals = accesses(&chart, "p1").into_iter().filter(|row| row.outcome == "denied");
    assert!(refusals.clone().count() >= 3 * 8, "each refusal that was about her is on her list");
    assert!(refusals.clone().any(|row| row.what == "Observation/o1"));
    assert!(refusals.clone().any(|row| row.what == "Observation?patient"), "a search for her records as well");
}

#[test]
fn the_list_says_what_was_written_and_what_was_not() {
    let (_site, chart, doctor) = centre();
    let stale = chart.update(&again(&doctor), resource(&observation("o1", "p1")), "o1", Some(9));
    assert!(matches!(stale, Err(ChartError::VersionConflict { .. })));
    let done = again(&doctor);
    chart.update(&done, resource(&observation("o1", "p1")), "o1", Some(1)).unwrap();
    chart.delete(&again(&doctor), "Observation", "o1", None).unwrap();
    let query = Query::parse_encoded("Observation", "patient=p1&_lastUpdated=gt2020").unwrap();
    chart.search(&again(&doctor), &query).unwrap();

    let rows = accesses(&chart, "p1");
    let of = |outcome: &str| -> Vec<&str> {
        rows.iter().filter(|row| row.outcome == outcome).map(|row| row.what.as_str()).collect()
    };
    assert_eq!(of("written"), ["Patient/p1/_history/1", "Observation/o1/_history/1", "Observation/o1/_history/2"]);
    assert_eq!(of("deleted"), ["Observation/o1/_history/3"]);
    assert_eq!(of("allowed").iter().filter(|what| **what == "Observation/o1").count(), 4, "the stale one too");
    assert!(of("allowed").contains(&"Observation?_lastUpdated&patient"), "{rows:#?}");
    let written = rows.iter().find(|row| row.what == "Observation/o1/_history/2").unwrap();
    assert_eq!(
        (written.who.as_str(), written.role, written.operation.as_str()),
        ("somebody", Role::Oncologist, done.operation.to_string().as_str())
    );
    // Nothing of another patient's stands on it.
    assert!(rows.iter().all(|row| !row.what.contains("p2")));
}

/// What is opened at once is one line, or a few, and each record of it stands on her list.
#[test]
fn what_is_opened_at_once_is_a_line_or_a_few() {
    let (_site, chart, doctor) = centre();
    let entries: Vec<u64> = (0..120)
        .map(|number| {
            let id = format!("m{number}");
            chart.update(&again(&doctor), resource(&observation(&id, "p1")), &id, None).unwrap().entry
        })
        .collect();
    let target = Target::Patient(chart.find_patient("p1").unwrap().unwrap());
    let permit = chart.admit(&again(&doctor), Act::ReadRecord, target, Sensitivity::Clinical).unwrap();
    assert_eq!(chart.release(&permit, &entries).unwrap().len(), 120);

    let rows = accesses(&chart, "p1").into_iter().filter(|row| row.outcome == "opened");
    let (lines, whats): (BTreeSet<u64>, Vec<String>) = rows.map(|row| (row.entry, row.what)).unzip();
    assert_eq!(lines.len(), 2, "a line names up to 100");
    assert!(whats.into_iter().eq((0..120).map(|number| format!("Observation/m{number}/_history/1"))));
}

#[test]
fn an_administrative_record_holds_nothing_clinical() {
    let (_site, chart, _doctor) = centre();
    let registrar = context(&chart, Role::Registrar, Purpose::Operations);
    let with = |inside: &str| {
        let referring = r##""managingOrganization":{"reference":"#o"}"##;
        let text = patient("p3").replacen('{', &format!(r#"{{"contained":[{inside}],{referring},"#), 1);
        chart.update(&again(&registrar), resource(&text), "p3", None)
    };
    let condition = r##"{"resourceType":"Condition","id":"c","subject":{"reference":"#"}}"##;
    let organization = r#"{"resourceType":"Organization","id":"o","name":"ward"}"#;
    let Err(ChartError::Invalid(issues)) = with(&format!("{organization},{condition}")) else { panic!() };
    assert_eq!((issues[0].code, issues[0].expression.as_deref()), (Code::BusinessRule, Some("Patient.contained[1]")));
    assert!(with(organization).is_ok());
    let entry = post(serde_json::json!({ "resourceType": "Slot", "status": "free", "start": "2026-01-01T00:00:00Z",
        "end": "2026-01-01T01:00:00Z", "schedule": { "reference": "Schedule/1" },
        "contained": [serde_json::from_str::<serde_json::Value>(condition).unwrap()] }));
    let Err(ChartError::Invalid(issues)) = transact(&chart, &registrar, "transaction", &[entry]) else { panic!() };
    assert_eq!(issues[0].expression.as_deref(), Some("Bundle.entry[0].resource.contained[0]"));
}

#[test]
fn a_record_that_names_her_anywhere_is_hers() {
    let (_site, chart, doctor) = centre();
    let verified = |targets: &str| {
        let text = format!(r#"{{"resourceType":"VerificationResult","status":"validated","target":[{targets}]}}"#);
        chart.create(&again(&doctor), resource(&text))
    };
    let kept = verified(r#"{"reference":"Patient/p1"}"#).unwrap();
    assert_eq!(
        chart.read(&doctor, "VerificationResult", &kept.id, None).unwrap().patient,
        chart.find_patient("p1").unwrap()
    );
    assert!(verified(r#"{"reference":"Organization/x"}"#).is_ok());
    let Err(ChartError::Invalid(issues)) = verified(r#"{"reference":"Patient/p1"},{"reference":"Patient/p2"}"#) else {
        panic!()
    };
    assert_eq!(
        (issues[0].code, issues[0].expression.as_deref()),
        (Code::BusinessRule, Some("VerificationResult.target"))
    );
    let unknown = verified(r#"{"reference":"Patient/nobody"}"#).unwrap_err().issues().unwrap();
    assert_eq!(unknown[0].expression.as_deref(), Some("VerificationResult.target"));
    let moved = chart.update(&again(&doctor), resource(&observation("o1", "p2")), "o1", None).unwrap_err();
    assert_eq!(moved.issues().unwrap()[0].expression.as_deref(), Some("Observation.subject"));
}

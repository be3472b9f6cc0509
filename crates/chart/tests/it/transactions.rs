//! Transactions and batches on a real vault: all or nothing, and each for itself.

use std::sync::Barrier;

use chart::ChartError;
use chart::fhir::{Code, Query, Resource};
use guard::{Purpose, Role};
use serde_json::{Value, json};

use crate::site::{Site, ask, context, count, post, statuses, transact};

const URN: &str = "urn:uuid:0b0f9d3e-7f5e-4a39-9b0f-5f7b8f3a2c11";

fn patient(number: &str) -> Value {
    json!({ "resourceType": "Patient", "identifier": [{ "system": "http://h/mrn", "value": number }] })
}

fn observation(subject: &str) -> Value {
    json!({ "resourceType": "Observation", "status": "final", "code": { "text": "x" },
            "subject": { "reference": subject } })
}

/// A POST of a patient with this number, unless there is one.
fn unless_known(number: &str) -> Value {
    let mut entry = post(patient(number));
    entry["request"]["ifNoneExist"] = json!(format!("identifier=http://h/mrn|{number}"));
    entry
}

fn put(resource: Value) -> Value {
    let url = format!("{}/{}", resource["resourceType"].as_str().unwrap(), resource["id"].as_str().unwrap());
    json!({ "request": { "method": "PUT", "url": url }, "resource": resource })
}

fn with_id(mut resource: Value, id: &str) -> Value {
    resource["id"] = json!(id);
    resource
}

#[track_caller]
fn refused_with(result: Result<impl std::fmt::Debug, ChartError>, code: Code, place: Option<&str>) {
    let issues = result.expect_err("it was taken").issues().expect("it says more than a fault");
    assert_eq!((issues[0].code, issues[0].expression.as_deref()), (code, place), "{issues:#?}");
}

#[test]
fn a_read_that_fails_leaves_nothing_written() {
    let (_site, chart) = Site::found();
    let doctor = context(&chart, Role::Oncologist, Purpose::Treatment);
    let registrar = context(&chart, Role::Registrar, Purpose::Operations);
    transact(&chart, &doctor, "transaction", &[put(with_id(patient("P"), "p")), put(with_id(patient("Q"), "q"))])
        .unwrap();
    chart.delete(&doctor, "Patient", "q", None).unwrap();
    transact(&chart, &doctor, "transaction", &[put(with_id(observation("Patient/p"), "o"))]).unwrap();

    for (who, number, read) in [
        (&doctor, "A-1", ask("GET", "Patient/nope")),
        (&doctor, "A-2", ask("GET", "Patient/p/_history/2")),
        (&doctor, "A-3", ask("GET", "Patient/q")),
        (&doctor, "A-4", ask("GET", "Patient/q/_history/2")),
        (&doctor, "A-5", ask("GET", "Patient?_page=zz")),
        (&registrar, "A-6", ask("GET", "Observation/o")),
        (&registrar, "A-7", ask("GET", "Observation?patient=p")),
    ] {
        let patients = chart.vault().health().patients;
        let answer = transact(&chart, who, "transaction", &[post(patient(number)), read.clone()]);
        match number {
            "A-1" | "A-2" => refused_with(answer, Code::NotFound, Some("Bundle.entry[1].request.url")),
            "A-3" | "A-4" => refused_with(answer, Code::Deleted, Some("Bundle.entry[1].request.url")),
            _ => assert!(answer.is_err(), "{read}"),
        }
        assert_eq!(count(&chart, &doctor, "Patient", &format!("identifier={number}")), 0, "{read}");
        assert_eq!(chart.vault().health().patients, patients, "{read}");
    }
    let mut stale = put(with_id(patient("P"), "p"));
    stale["request"]["ifMatch"] = json!("W/\"7\"");
    let place = Some("Bundle.entry[1].request.ifMatch");
    refused_with(transact(&chart, &doctor, "transaction", &[post(patient("A-8")), stale]), Code::Precondition, place);
    // What the transaction itself writes can be read in it.
    let entries = [ask("GET", "Patient/new"), put(with_id(patient("N"), "new")), ask("GET", "Patient?identifier=N")];
    let answers = transact(&chart, &doctor, "transaction", &entries).unwrap();
    assert_eq!(statuses(&answers), [200, 201, 200]);
    let found: Value = serde_json::from_slice(answers[2].resource.as_ref().unwrap()).unwrap();
    assert_eq!(found["entry"][0]["fullUrl"], "http://h/fhir/Patient/new");
    assert_eq!(found["link"][0]["url"], "http://h/fhir/Patient?identifier=N");
    Resource::parse(answers[2].resource.as_ref().unwrap(), Some("Bundle")).unwrap();
}

#[test]
fn of_many_who_look_before_they_create_one_creates() {
    let (_site, chart) = Site::found();
    let doctor = context(&chart, Role::Oncologist, Purpose::Treatment);
    for (round, kind) in ["transaction", "batch", "transaction"].into_iter().enumerate() {
        let number = format!("RACE-{round}");
        let start = Barrier::new(4);
        let created: usize = std::thread::scope(|scope| {
            let runs: Vec<_> = (0..4)
                .map(|_| {
                    scope.spawn(|| {
                        start.wait();
                        transact(&chart, &doctor, kind, &[unless_known(&number)]).unwrap()
                    })
                })
                .collect();
            runs.into_iter().filter(|_| true).map(|run| usize::from(run.join().unwrap()[0].status == 201)).sum()
        });
        assert_eq!((created, count(&chart, &doctor, "Patient", &format!("identifier={number}"))), (1, 1), "{kind}");
    }
}

#[test]
fn conditions_see_the_whole_bundle() {
    let (_site, chart) = Site::found();
    let doctor = context(&chart, Role::Oncologist, Purpose::Treatment);
    let parsed = |entries: &[Value]| {
        let text = json!({ "resourceType": "Bundle", "type": "transaction", "entry": entries }).to_string();
        chart::fhir::Draft::parse(text.as_bytes()).map(drop)
    };
    for entries in [[unless_known("I-1"), unless_known("I-1")], [post(patient("I-1")), unless_known("I-1")]] {
        let issues = parsed(&entries).unwrap_err();
        let place = Some("Bundle.entry[1].request.ifNoneExist");
        assert!(issues.iter().any(|i| i.code == Code::Duplicate && i.expression.as_deref() == place), "{issues:#?}");
    }
    parsed(&[unless_known("I-1"), unless_known("I-2")]).unwrap();
    // A batch goes entry by entry: the second one finds what the first one made.
    let answers = transact(&chart, &doctor, "batch", &[unless_known("I-1"), unless_known("I-1")]).unwrap();
    assert_eq!(statuses(&answers), [201, 200]);
    assert_eq!(answers[0].location, answers[1].location, "the one that was found is the one that was made");

    // More than one: 412, and in a batch of that entry alone. So is a condition that somebody may not ask.
    transact(&chart, &doctor, "transaction", &[post(patient("TWO")), post(patient("TWO"))]).unwrap();
    let several = transact(&chart, &doctor, "transaction", &[unless_known("TWO")]);
    refused_with(several, Code::MultipleMatches, Some("Bundle.entry[0].request.ifNoneExist"));
    let answers = transact(&chart, &doctor, "batch", &[unless_known("TWO"), post(patient("I-3"))]).unwrap();
    assert_eq!(statuses(&answers), [412, 201]);
    let registrar = context(&chart, Role::Registrar, Purpose::Operations);
    let mut clinical = post(json!({ "resourceType": "Library", "status": "draft", "type": { "text": "x" } }));
    clinical["request"]["ifNoneExist"] = json!("identifier=x");
    let answers = transact(&chart, &registrar, "batch", &[clinical, post(patient("I-4"))]).unwrap();
    assert_eq!(statuses(&answers), [403, 201]);
    // Nor may an entry change what a condition of the same Bundle finds.
    let known = answers[1].location.as_deref().unwrap().split('/').nth(1).unwrap().to_owned();
    let both = transact(&chart, &doctor, "transaction", &[put(with_id(patient("I-4"), &known))]);
    assert!(both.is_ok());
}

#[test]
fn a_delete_of_what_is_not_there_is_done_everywhere_and_leaves_no_version() {
    let (_site, chart) = Site::found();
    let doctor = context(&chart, Role::Oncologist, Purpose::Treatment);
    transact(&chart, &doctor, "transaction", &[put(with_id(patient("P"), "p"))]).unwrap();
    chart.delete(&doctor, "Patient", "p", None).unwrap();
    for kind in ["transaction", "batch"] {
        let entries = [ask("DELETE", "Patient/never-was"), ask("DELETE", "Patient/p"), post(patient("X"))];
        let answers = transact(&chart, &doctor, kind, &entries).unwrap();
        assert_eq!((statuses(&answers), answers[1].version), (vec![204, 204, 201], Some(2)), "{kind}");
    }
    assert_eq!(chart.history(&doctor, "Patient", "p", 10, None).unwrap().0.len(), 2);
    for (id, wrong) in [("p", 1), ("never-was", 1)] {
        let stale = chart.delete(&doctor, "Patient", id, Some(wrong));
        refused_with(stale, Code::Precondition, None);
    }
    assert!(chart.delete(&doctor, "Patient", "p", Some(2)).is_ok(), "the tombstone is what it expects");
}

#[test]
fn nobody_s_records_are_left_behind() {
    let (_site, chart) = Site::found();
    let doctor = context(&chart, Role::Oncologist, Purpose::Treatment);
    let registrar = context(&chart, Role::Registrar, Purpose::Operations);
    transact(&chart, &doctor, "transaction", &[put(with_id(patient("P"), "p"))]).unwrap();
    let both = [ask("DELETE", "Patient/p"), post(observation("Patient/p"))];
    let refused = transact(&chart, &doctor, "transaction", &both);
    refused_with(refused, Code::BusinessRule, Some("Bundle.entry[1].resource.subject"));
    assert_eq!(count(&chart, &doctor, "Patient", "identifier=P"), 1);

    transact(&chart, &doctor, "transaction", &[put(with_id(observation("Patient/p"), "o"))]).unwrap();
    for who in [&registrar, &doctor] {
        refused_with(chart.delete(who, "Patient", "p", None), Code::Conflict, None);
    }
    let both = [ask("DELETE", "Patient/p"), ask("DELETE", "Observation/o")];
    assert_eq!(statuses(&transact(&chart, &doctor, "transaction", &both).unwrap()), [204, 204]);
    // Brought back together with a record of hers.
    let again = [put(with_id(patient("P"), "p")), post(observation("Patient/p"))];
    assert_eq!(statuses(&transact(&chart, &doctor, "transaction", &again).unwrap()), [201, 201]);
}

#[test]
fn in_a_batch_a_broken_entry_is_its_own_answer() {
    let (_site, chart) = Site::found();
    let doctor = context(&chart, Role::Oncologist, Purpose::Treatment);
    let nope = json!({ "request": { "method": "POST", "url": "Patient" }, "resource": { "resourceType": "Nope" } });
    let answers = transact(&chart, &doctor, "batch", &[nope, post(patient("B")), ask("GET", "Patient/none")]).unwrap();
    assert_eq!(statuses(&answers), [422, 201, 404]);
    let place = &answers[0].outcome.as_ref().unwrap()["issue"][0]["expression"][0];
    assert_eq!(place, "Bundle.entry[0].resource.resourceType");
}

#[test]
fn a_bundle_registers_as_many_patients_as_it_may_have_entries() {
    let (_site, chart) = Site::found();
    let registrar = context(&chart, Role::Registrar, Purpose::Operations);
    let entries: Vec<Value> = (0..1_000).map(|n| post(patient(&format!("M-{n}")))).collect();
    let answers = transact(&chart, &registrar, "transaction", &entries).unwrap();
    assert!(answers.iter().all(|answer| answer.status == 201));
    assert_eq!(chart.vault().health().patients, 1_000);
}

#[test]
fn urls_of_entries_may_begin_with_this_server() {
    let (_site, chart) = Site::found();
    let doctor = context(&chart, Role::Oncologist, Purpose::Treatment);
    let mut created = post(patient("U"));
    created["request"]["url"] = json!("/Patient");
    created["fullUrl"] = json!(URN);
    let mut observed = post(observation(URN));
    observed["request"]["url"] = json!("http://h/fhir/Observation");
    let answers = transact(&chart, &doctor, "transaction", &[created, observed]).unwrap();
    assert_eq!(statuses(&answers), [201, 201]);
    let at = answers[0].location.as_deref().unwrap().split("/_history").next().unwrap().to_owned();
    // Her own address, as this server gave it, is no patient elsewhere.
    let mut absolute = post(observation(&format!("http://h/fhir/{at}")));
    absolute["request"]["url"] = json!("Observation");
    let answers = transact(&chart, &doctor, "transaction", &[absolute, ask("GET", &format!("/{at}"))]).unwrap();
    assert_eq!(statuses(&answers), [201, 200]);
    assert_eq!(count(&chart, &doctor, "Observation", &format!("patient={at}")), 2);
    let query = format!("patient=http://h/fhir/{at}");
    let query = chart::fhir::Query::parse_at("http://h/fhir", "Observation", &query).unwrap();
    assert_eq!(chart.search(&doctor, &query).unwrap().found.len(), 2);
    let elsewhere = transact(&chart, &doctor, "transaction", &[post(observation("http://other/fhir/Patient/1"))]);
    refused_with(elsewhere, Code::BusinessRule, Some("Bundle.entry[0].resource.subject"));
}

/// Of large records no answer is larger than what a gateway has memory for: a page ends earlier, and the next one goes on; in a
/// Bundle the rest is asked for in another.
#[test]
fn an_answer_ends_where_it_gets_too_large() {
    let (_site, chart) = Site::found();
    let doctor = context(&chart, Role::Oncologist, Purpose::Treatment);
    transact(&chart, &doctor, "transaction", &[put(with_id(patient("P"), "p"))]).unwrap();
    let data = "QUJD".repeat(5 * 256 * 1024);
    let large = json!({ "resourceType": "DocumentReference", "status": "current", "subject": { "reference": "Patient/p" },
        "content": [{ "attachment": { "contentType": "text/plain", "data": data } }] });
    for _ in 0..7 {
        transact(&chart, &doctor, "transaction", &[put(with_id(large.clone(), "d0"))]).unwrap();
    }
    for number in 1..6 {
        transact(&chart, &doctor, "transaction", &[put(with_id(large.clone(), &format!("d{number}")))]).unwrap();
    }
    let (mut found, mut pages, mut at) = (0, 0, String::new());
    loop {
        let query = Query::parse_encoded("DocumentReference", &format!("patient=p{at}")).unwrap();
        let page = chart.search(&doctor, &query).unwrap();
        let bytes: usize = page.found.iter().map(|found| found.bytes.len()).sum();
        assert!(bytes <= 21 * 1024 * 1024 + 4_096, "{bytes}");
        (found, pages) = (found + page.found.len(), pages + 1);
        match page.next {
            Some(next) => at = format!("&_page={next}"),
            None => break,
        }
    }
    assert_eq!((found, pages), (6, 2));
    let (mut seen, mut before) = (Vec::new(), None);
    loop {
        let (versions, next) = chart.history(&doctor, "DocumentReference", "d0", 100, before).unwrap();
        assert!((1..=3).contains(&versions.len()), "{}", versions.len());
        seen.extend(versions.iter().map(|released| released.version.version));
        match next {
            Some(next) => before = Some(next),
            None => break,
        }
    }
    assert_eq!(seen, [7, 6, 5, 4, 3, 2, 1]);
    for kind in ["batch", "transaction"] {
        let asked = vec![ask("GET", "DocumentReference?patient=p"); 20];
        let answers = transact(&chart, &doctor, kind, &asked).unwrap();
        let bytes: usize = answers.iter().filter_map(|answer| answer.resource.as_ref()).map(Vec::len).sum();
        assert!(bytes <= 64 * 1024 * 1024, "{bytes}");
        assert_eq!(statuses(&answers)[..2], [200, 200], "{kind}");
        let rest = answers.last().unwrap();
        assert!(rest.status >= 400 && rest.outcome.as_ref().unwrap().to_string().contains("too-costly"), "{rest:?}");
    }
}

/// Blanks around a number are none of it, whoever asks.
#[test]
fn blanks_around_a_number_are_none_of_it() {
    let (_site, chart) = Site::found();
    let doctor = context(&chart, Role::Oncologist, Purpose::Treatment);
    transact(&chart, &doctor, "transaction", &[post(patient("B-1 ")), post(patient("B-2"))]).unwrap();
    for number in ["B-1", " B-1", "B-2 "] {
        assert_eq!(chart.patients_by_number(number).unwrap().len(), 1, "{number:?}");
        let encoded = number.replace(' ', "%20");
        assert_eq!(count(&chart, &doctor, "Patient", &format!("identifier={encoded}")), 1, "{number:?}");
        assert_eq!(count(&chart, &doctor, "Patient", &format!("identifier=http://h/mrn|{encoded}")), 1, "{number:?}");
    }
    transact(&chart, &doctor, "transaction", &[post(patient("B-1"))]).unwrap();
    assert_eq!(chart.patients_by_number("B-1").unwrap().len(), 2);
}

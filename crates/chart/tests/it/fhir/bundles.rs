//! Transactions and batches: order, ids, references, conflicts.

use std::collections::BTreeMap;

use chart::fhir::{Action, BundleKind, Code, Draft, Issue, Operation, Plan};
use serde_json::{Value, json};

const URN: &str = "urn:uuid:c757873d-ec9a-4326-a141-556f43239520";

fn request(method: &str, url: &str) -> Value {
    json!({ "request": { "method": method, "url": url } })
}

fn with(mut entry: Value, more: Value) -> Value {
    entry.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    entry
}

fn draft(kind: &str, entries: &[Value]) -> Result<Draft, Vec<Issue>> {
    Draft::parse(json!({ "resourceType": "Bundle", "type": kind, "entry": entries }).to_string().as_bytes())
}

fn planned(draft: Draft, existing: &[(usize, &str)]) -> Result<Vec<Operation<Action>>, Vec<Issue>> {
    let existing: BTreeMap<usize, String> = existing.iter().map(|(n, id)| (*n, (*id).to_owned())).collect();
    let mut next = 0;
    let plan = draft.plan(&existing, &mut || {
        next += 1;
        format!("new-{next}")
    })?;
    let Plan::Transaction(operations) = plan else { panic!("a batch") };
    Ok(operations)
}

fn condition(subject: &str) -> Value {
    json!({ "resource": { "resourceType": "Condition", "subject": { "reference": subject } } })
}

#[test]
fn operations_are_ordered_and_references_follow_the_new_ids() {
    let div = format!("<div xmlns=\"http://www.w3.org/1999/xhtml\"><a href=\"{URN}\">x</a></div>");
    let entries = [
        request("GET", "Patient?name=x"),
        with(
            request("PUT", "Condition/c1"),
            json!({ "resource": {
            "resourceType": "Condition", "id": "c1", "subject": { "reference": URN, "identifier": { "value": URN } },
            "text": { "status": "generated", "div": div } } }),
        ),
        with(request("POST", "Patient"), json!({ "fullUrl": URN, "resource": { "resourceType": "Patient" } })),
        request("DELETE", "Observation/o1"),
        with(
            with(request("POST", "Condition"), condition("Patient/99")),
            json!({ "fullUrl": "http://a.example/fhir/Condition/1" }),
        ),
        with(
            with(request("POST", "Patient"), json!({ "fullUrl": "http://a.example/fhir/Patient/99" })),
            json!({ "resource": { "resourceType": "Patient", "id": "99" } }),
        ),
        request("GET", "Patient/p/_history/2"),
    ];
    let operations = planned(draft("transaction", &entries).unwrap(), &[]).unwrap();
    assert_eq!(operations.iter().map(|o| o.entry).collect::<Vec<_>>(), [3, 2, 4, 5, 1, 0, 6]);
    let Action::Create { id: patient, .. } = &operations[1].action else { panic!() };
    let Action::Update { resource, id, if_match: None } = &operations[4].action else { panic!() };
    assert_eq!(id, "c1");
    let updated: Value = serde_json::from_slice(resource.bytes()).unwrap();
    assert_eq!(updated["subject"]["reference"], format!("Patient/{patient}"));
    assert_eq!(updated["subject"]["identifier"]["value"], URN, "a number is no address");
    assert!(updated["text"]["div"].as_str().unwrap().contains(&format!("href=\"Patient/{patient}\"")));
    let Action::Create { resource, .. } = &operations[2].action else { panic!() };
    let Action::Create { id: other, .. } = &operations[3].action else { panic!() };
    let created: Value = serde_json::from_slice(resource.bytes()).unwrap();
    assert_eq!(created["subject"]["reference"], format!("Patient/{other}"), "relative to the entry's own server");
    let Action::Read { version: Some(version), .. } = &operations[6].action else { panic!() };
    assert_eq!(version, "2");
}

#[test]
fn if_none_exist_keeps_what_is_there() {
    let entries = [
        with(
            json!({ "request": { "method": "POST", "url": "Patient", "ifNoneExist": "identifier=urn:mrn|1" } }),
            json!({ "fullUrl": URN, "resource": { "resourceType": "Patient" } }),
        ),
        with(request("POST", "Condition"), condition(URN)),
    ];
    let asked = draft("transaction", &entries).unwrap();
    let conditions = asked.conditions();
    assert_eq!(conditions.iter().map(|c| (c.entry, c.query.kind())).collect::<Vec<_>>(), [(0, "Patient")]);
    let operations = planned(asked, &[(0, "known")]).unwrap();
    assert!(matches!(&operations[0].action, Action::Exists { kind: "Patient", id } if id == "known"));
    let Action::Create { resource, .. } = &operations[1].action else { panic!() };
    assert!(std::str::from_utf8(resource.bytes()).unwrap().contains("Patient/known"));
    // What it finds, no other entry may change.
    let changed = [
        with(
            json!({ "request": { "method": "POST", "url": "Patient", "ifNoneExist": "identifier=1" } }),
            json!({ "resource": { "resourceType": "Patient" } }),
        ),
        request("DELETE", "Patient/known"),
    ];
    let issues = planned(draft("transaction", &changed).unwrap(), &[(0, "known")]).unwrap_err();
    assert_eq!(issues[0].expression.as_deref(), Some("Bundle.entry[0].request.ifNoneExist"));
    let by_name = json!({ "request": { "method": "POST", "url": "Patient", "ifNoneExist": "name=x" }, "resource": { "resourceType": "Patient" } });
    assert_eq!(draft("transaction", &[by_name]).err().unwrap()[0].code, Code::NotSupported);
}

#[test]
fn what_collides_or_leads_nowhere_is_refused_at_its_entry() {
    let patient = json!({ "resource": { "resourceType": "Patient", "id": "p" } });
    let bare = json!({ "resource": { "resourceType": "Patient" } });
    let put = with(request("PUT", "Patient/p"), patient.clone());
    for (entries, place) in [
        (vec![put.clone(), put.clone()], "Bundle.entry[1].request.url"),
        (vec![put.clone(), request("DELETE", "Patient/p")], "Bundle.entry[1].request.url"),
        (vec![with(request("PUT", "Patient/q"), patient.clone())], "Bundle.entry[0].resource.id"),
        (vec![with(request("PUT", "Patient/q"), bare.clone())], "Bundle.entry[0].resource.id"),
        (vec![with(request("PUT", "Patient?identifier=1"), bare.clone())], "Bundle.entry[0].request.url"),
        (vec![with(request("PATCH", "Patient/p"), patient.clone())], "Bundle.entry[0].resource"),
        (vec![request("PATCH", "Patient/p")], "Bundle.entry[0].request.method"),
        (vec![request("HEAD", "Patient/p")], "Bundle.entry[0].request.method"),
        (vec![with(request("POST", "Condition"), bare.clone())], "Bundle.entry[0].resource.resourceType"),
        (vec![with(request("POST", "http://a.example/Patient"), bare.clone())], "Bundle.entry[0].request.url"),
        (vec![request("POST", "Patient")], "Bundle.entry[0].resource"),
        (vec![with(request("GET", "Patient/p"), bare.clone())], "Bundle.entry[0].resource"),
        (vec![request("GET", "Patient?gender=female")], "Bundle.entry[0].request.url"),
        (vec![bare.clone()], "Bundle.entry[0].request"),
        (vec![with(request("POST", "Condition"), condition(URN))], "Bundle.entry[0].resource.subject.reference"),
        (
            vec![with(request("POST", "Patient"), json!({ "resource": { "resourceType": "Patient", "gender": "x" } }))],
            "Bundle.entry[0].resource.gender",
        ),
        (
            vec![with(with(request("POST", "Patient"), bare.clone()), json!({ "fullUrl": URN })); 2],
            "Bundle.entry[1].fullUrl",
        ),
        (
            vec![json!({ "request": { "method": "DELETE", "url": "Patient/p", "ifMatch": "three" } })],
            "Bundle.entry[0].request.ifMatch",
        ),
        (
            vec![with(
                json!({ "request": { "method": "POST", "url": "Patient", "ifMatch": "W/\"1\"" } }),
                bare.clone(),
            )],
            "Bundle.entry[0].request.ifMatch",
        ),
        (
            vec![json!({ "request": { "method": "DELETE", "url": "Patient/p", "ifNoneExist": "identifier=1" } })],
            "Bundle.entry[0].request.ifNoneExist",
        ),
    ] {
        let issues = draft("transaction", &entries).and_then(|draft| planned(draft, &[])).expect_err(place);
        assert!(issues.iter().any(|i| i.expression.as_deref() == Some(place)), "{place} is not among {issues:#?}");
    }
    let many = vec![with(request("POST", "Patient"), bare); 1_001];
    assert_eq!(draft("transaction", &many).err().unwrap()[0].code, Code::TooCostly);
    assert!(draft("collection", &[]).is_err() && draft("transaction", &[]).is_err(), "an empty array is no entry");
    assert!(Draft::parse(br#"{"resourceType":"Bundle","type":"transaction"}"#).is_ok(), "nothing to do");
    assert!(Draft::parse(br#"{"resourceType":"Patient"}"#).is_err());
}

#[test]
fn in_a_batch_each_entry_fails_for_itself() {
    let entries = [
        with(request("POST", "Patient"), json!({ "resource": { "resourceType": "Patient", "gender": "x" } })),
        with(request("POST", "Patient"), json!({ "resource": { "resourceType": "Patient" } })),
        request("PATCH", "Patient/1"),
        with(
            json!({ "request": { "method": "PUT", "url": "Patient/p", "ifMatch": "W/\"3\"" } }),
            json!({ "resource": { "resourceType": "Patient", "id": "p" } }),
        ),
    ];
    let asked = draft("batch", &entries).unwrap();
    assert_eq!(asked.kind(), BundleKind::Batch);
    let Plan::Batch(operations) = asked.plan(&BTreeMap::new(), &mut || "new".to_owned()).unwrap() else { panic!() };
    let by_entry: BTreeMap<usize, bool> = operations.iter().map(|o| (o.entry, o.action.is_ok())).collect();
    assert_eq!(by_entry.into_values().collect::<Vec<_>>(), [false, true, false, true]);
    assert!(operations.iter().any(|o| matches!(&o.action, Ok(Action::Update { if_match: Some(3), .. }))));
}

/// Around its resource, an entry of a batch is held to the same rules as one of a transaction, and fails for itself.
#[test]
fn what_stands_around_a_resource_is_checked_in_a_batch_too() {
    let modifier = json!([{ "url": "http://a.example/not", "valueBoolean": true }]);
    let good = || with(request("POST", "Patient"), json!({ "resource": { "resourceType": "Patient" } }));
    let changed = |change: fn(&mut Value, Value)| {
        let mut entry = good();
        change(&mut entry, modifier.clone());
        entry
    };
    let entries = [
        good(),
        changed(|entry, modifier| entry["modifierExtension"] = modifier),
        changed(|entry, modifier| entry["request"]["modifierExtension"] = modifier),
        changed(|entry, modifier| entry["resource"]["modifierExtension"] = modifier),
        changed(|entry, _| entry["zzUnknown"] = json!(true)),
        changed(|entry, _| entry["fullUrl"] = json!(" ")),
    ];
    let places = [
        "Bundle.entry[1].modifierExtension[0]",
        "Bundle.entry[2].request.modifierExtension[0]",
        "Bundle.entry[3].resource.modifierExtension[0]",
        "Bundle.entry[4].zzUnknown",
        "Bundle.entry[5].fullUrl",
    ];
    let plan = draft("batch", &entries).unwrap().plan(&BTreeMap::new(), &mut || "new".to_owned()).unwrap();
    let Plan::Batch(operations) = plan else { panic!("a transaction") };
    let found: Vec<(usize, Option<String>)> = operations
        .iter()
        .map(|operation| (operation.entry, operation.action.as_ref().err().and_then(|i| i[0].expression.clone())))
        .collect();
    assert!(found.contains(&(0, None)), "{found:?}");
    for (number, place) in (1..).zip(places) {
        assert!(found.contains(&(number, Some(place.to_owned()))), "{place}: {found:?}");
        let refused = draft("transaction", &[entries[number].clone()]).and_then(|draft| planned(draft, &[]).map(drop));
        let place = place.replace(&format!("entry[{number}]"), "entry[0]");
        assert_eq!(refused.unwrap_err()[0].expression.as_deref(), Some(place.as_str()));
    }
    let twice = r#"{"resourceType":"Bundle","type":"batch","entry":[{"request":{"method":"POST","url":"Patient"},
        "resource":{"resourceType":"Patient"},"resource":{"resourceType":"Patient","active":true}}]}"#;
    let plan = Draft::parse(twice.as_bytes()).unwrap().plan(&BTreeMap::new(), &mut || "new".to_owned()).unwrap();
    let Plan::Batch(operations) = plan else { panic!("a transaction") };
    let issues = operations[0].action.as_ref().unwrap_err();
    assert_eq!(issues[0].expression.as_deref(), Some("Bundle.entry[0].resource"));
}

#[test]
fn an_entry_whose_address_holds_no_id_says_what_an_id_is() {
    for id in ["%20", "a_b", "a".repeat(65).as_str()] {
        for entry in [request("DELETE", &format!("Patient/{id}")), request("GET", &format!("Patient/{id}"))] {
            let issue = draft("transaction", &[entry]).err().unwrap().remove(0);
            assert_eq!(issue.expression.as_deref(), Some("Bundle.entry[0].request.url"));
            assert!(issue.diagnostics.contains(r"[A-Za-z0-9\-\.]{1,64}"), "{issue:?}");
        }
    }
}

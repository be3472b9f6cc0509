//! What the server says must itself be valid FHIR.

use chart::fhir::{
    BundleKind, Change, Code, Issue, Link, Resource, ResponseEntry, Version, capability_statement, fault_outcome,
    history, operation_outcome, response_bundle, searchset, status_of_fault,
};
use kit::{Blame, Fault, OperationId, Timestamp};
use serde_json::Value;

use super::{PATIENT, parse};

fn valid(bytes: &[u8]) -> Value {
    Resource::parse(bytes, None).unwrap_or_else(|issues| panic!("{issues:#?}"));
    serde_json::from_slice(bytes).unwrap()
}

#[test]
fn capability_statement_is_valid() {
    let statement = valid(capability_statement("https://records.example/fhir", "0.1.0").to_string().as_bytes());
    let resources = statement["rest"][0]["resource"].as_array().unwrap();
    assert_eq!(resources.len(), 146);
    let patient = resources.iter().find(|r| r["type"] == "Patient").unwrap();
    let params: Vec<&str> =
        patient["searchParam"].as_array().unwrap().iter().map(|p| p["name"].as_str().unwrap()).collect();
    for name in ["_id", "_lastUpdated", "identifier", "name", "family", "given", "birthdate", "phone"] {
        assert!(params.contains(&name), "{name}");
    }
}

#[test]
fn outcomes_are_valid_and_faults_keep_their_secrets() {
    let issues: Vec<Issue> =
        (0..80).map(|n| Issue::error(Code::Value, format!("number {n}")).at("Patient.name")).collect();
    let outcome = valid(operation_outcome(&issues).to_string().as_bytes());
    assert_eq!(outcome["issue"].as_array().unwrap().len(), 51);
    valid(operation_outcome(&[]).to_string().as_bytes());
    for (blame, status) in [
        (Blame::Peer, 422),
        (Blame::Forbidden, 403),
        (Blame::Absent, 404),
        (Blame::Conflict, 409),
        (Blame::Configuration, 503),
        (Blame::Integrity, 500),
        (Blame::Ours, 500),
    ] {
        let fault = Fault::new(blame, "room.code", "inner words").guidance("do this").during(OperationId([7; 16]));
        assert_eq!(status_of_fault(&fault), status);
        let text = fault_outcome(&fault).to_string();
        valid(text.as_bytes());
        assert!(text.contains("room.code") && text.contains(&"07".repeat(16)));
        assert_eq!(text.contains("inner words"), status != 500, "{text}");
    }
}

#[test]
fn bundles_are_valid_and_hold_resources_byte_for_byte() {
    let at = Timestamp(1_713_916_799_999);
    let stored = parse(PATIENT).stored("p-1", 2, at).unwrap();
    let version = |version, bytes| {
        let change = match (version, bytes) {
            (_, None) => Change::Deleted,
            (1, _) => Change::Created,
            _ => Change::Put,
        };
        Version { kind: "Patient", id: "p-1", version, updated: at, change, bytes }
    };
    let links = [
        Link { relation: "self", url: "http://h/fhir/Patient?name=%22" },
        Link { relation: "next", url: "http://h/fhir/Patient?name=%22&_page=2" },
    ];
    let found = searchset("http://h/fhir", &links, &[version(2, Some(&stored))]);
    valid(&found);
    assert!(String::from_utf8(found).unwrap().contains(std::str::from_utf8(&stored).unwrap()));
    valid(&searchset("http://h/fhir", &links[..1], &[]));
    let all = history(
        "http://h/fhir",
        &links[..1],
        &[version(3, None), version(2, Some(&stored)), version(1, Some(&stored))],
    );
    let all = valid(&all);
    let methods: Vec<&str> =
        all["entry"].as_array().unwrap().iter().map(|e| e["request"]["method"].as_str().unwrap()).collect();
    assert_eq!(methods, ["DELETE", "PUT", "POST"]);
    let entries = [
        ResponseEntry {
            status: 201,
            location: Some("Patient/p-1/_history/1".into()),
            version: Some(1),
            updated: Some(at),
            resource: Some(stored),
            outcome: None,
        },
        ResponseEntry { status: 404, outcome: Some(operation_outcome(&[])), ..ResponseEntry::default() },
    ];
    let answer = valid(&response_bundle(BundleKind::Batch, &entries));
    assert_eq!(answer["entry"][0]["response"]["status"], "201 Created");
    assert_eq!(answer["entry"][1]["response"]["outcome"]["resourceType"], "OperationOutcome");
    valid(&response_bundle(BundleKind::Transaction, &[]));
}

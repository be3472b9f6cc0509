//! The CapabilityStatement: what this server does, in FHIR's own form. HL7 FHIR R4, capabilitystatement.html.

use serde_json::{Value, json};

use super::resource::AUDIT_EVENT;
use super::table::table;

/// When what it says last changed.
const REVISED: &str = "2026-12-01";

/// The statement of a server whose addresses begin with `base`.
pub fn capability_statement(base: &str, software_version: &str) -> Value {
    let resources: Vec<Value> = table().resource_types().into_iter().map(resource).collect();
    let codes = |all: &[&str]| all.iter().map(|code| json!({ "code": code })).collect::<Vec<_>>();
    json!({
        "resourceType": "CapabilityStatement",
        "status": "active",
        "date": REVISED,
        "kind": "instance",
        "software": { "name": "Holdfast", "version": software_version },
        "implementation": { "description": "Records of a cancer centre that stay safe through a ransomware attack", "url": base },
        "fhirVersion": "4.0.1",
        "format": ["application/fhir+json", "json"],
        "rest": [{
            "mode": "server",
            "documentation": "Records are sealed: a search finds by equality, names by how they begin. A parameter, modifier \
                              or prefix that is not listed is refused, never ignored.",
            "security": { "description": "A bearer token in every request but this one (RFC 6750)." },
            "resource": resources,
            "interaction": codes(&["transaction", "batch"]),
        }],
    })
}

/// Who saw what: made from the log, and written by nobody.
fn account() -> Value {
    let params = [("patient", "reference"), ("date", "date"), ("entry", "number")];
    json!({
        "type": AUDIT_EVENT,
        "documentation": "Made from the ledger, in the patterns of IHE BALP. `entry` is the number of a ledger's entry, from \
                          which on it is read: who has read up to one goes on from the next and misses nothing.",
        "interaction": [{ "code": "read" }, { "code": "search-type" }],
        "versioning": "no-version",
        "searchParam": params.map(|(name, of)| json!({ "name": name, "type": of })),
    })
}

fn resource(kind: &'static str) -> Value {
    if kind == AUDIT_EVENT {
        return account();
    }
    let interactions: Vec<Value> = ["read", "vread", "update", "delete", "history-instance", "create", "search-type"]
        .iter()
        .map(|code| json!({ "code": code }))
        .collect();
    let offered = table().search(kind).iter().map(|(name, _)| *name);
    let params: Vec<Value> = ["_id", "_lastUpdated"]
        .into_iter()
        .chain(offered)
        .map(|name| {
            let of = match name {
                "_lastUpdated" | "birthdate" => "date",
                "name" | "family" | "given" => "string",
                "patient" | "subject" => "reference",
                _ => "token",
            };
            json!({ "name": name, "type": of })
        })
        .collect();
    json!({
        "type": kind,
        "interaction": interactions,
        "versioning": "versioned",
        "readHistory": true,
        "updateCreate": true,
        "conditionalCreate": false,
        "conditionalUpdate": false,
        "conditionalDelete": "not-supported",
        "searchParam": params,
    })
}

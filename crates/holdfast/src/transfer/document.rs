//! The summary as a FHIR R4 document (hl7.org/fhir/R4/documents.html): a Composition, what it refers to, and who made it.

use kit::{Blame, Fault, Timestamp};
use serde_json::{Value, json};
use treatment::{Transfer, TransferKept as Kept};

use super::Head;
use super::summary::Summary;

/// LOINC's summary of an episode of care.
const TYPE: (&str, &str) = ("34133-9", "Summary of episode note");

/// A section of what is in her record, and of which kinds.
const SECTIONS: [(&str, &[&str]); 5] = [
    ("Diagnoses", &["Condition"]),
    ("Allergies and alerts", &["AllergyIntolerance", "Flag"]),
    ("Medication", &["MedicationRequest", "MedicationStatement"]),
    ("Procedures and plans of care", &["Procedure", "CarePlan"]),
    ("Observations", &["Observation"]),
];

fn failed(why: impl std::fmt::Display) -> Fault {
    Fault::new(Blame::Ours, "transfer.document", why.to_string())
}

/// RFC 9562, of what names it here.
fn uuid(id: &str) -> String {
    let part = |range| id.get(range).unwrap_or_default();
    format!("{}-{}-{}-{}-{}", part(0..8), part(8..12), part(12..16), part(16..20), part(20..32))
}

fn instant(at: Timestamp) -> String {
    at.to_string()
}

fn narrative(html: &str) -> Value {
    json!({ "status": "generated", "div": format!("<div xmlns=\"http://www.w3.org/1999/xhtml\">{html}</div>") })
}

/// `base`: of the address that her resources have at this centre; by it relative references lead within the document.
pub fn of(transfer: &Transfer, summary: &Summary, head: &Head, base: &str) -> Result<Vec<u8>, Fault> {
    let reference = |kept: &Kept| json!({ "reference": format!("{}/{}", kept.kind, kept.id) });
    let patient = transfer.kept.iter().find(|kept| kept.kind == "Patient");
    let patient = patient.ok_or_else(|| failed("her Patient resource isn't among what was opened"))?;
    let mut sections = Vec::new();
    for section in &summary.sections {
        sections.push(json!({ "title": section.title, "text": narrative(&section.html()?) }));
    }
    for (title, kinds) in SECTIONS {
        let entries: Vec<Value> =
            transfer.kept.iter().filter(|kept| kinds.contains(&kept.kind.as_str())).map(reference).collect();
        let all: usize = kinds.iter().filter_map(|kind| transfer.resources.get(*kind)).sum();
        if entries.is_empty() {
            continue;
        }
        let files: Vec<String> = kinds.iter().map(|kind| format!("{kind}-1.ndjson")).collect();
        let text = format!("<p>{} of {all}; all are in {}</p>", entries.len(), files.join(", "));
        sections.push(json!({ "title": title, "text": narrative(&text), "entry": entries }));
    }
    let composition = json!({
        "resourceType": "Composition", "id": head.id, "status": "final",
        "type": { "coding": [{ "system": "http://loinc.org", "code": TYPE.0, "display": TYPE.1 }] },
        "subject": reference(patient), "date": instant(summary.as_of), "title": summary.title,
        "author": [
            { "display": format!("{} ({})", head.by, head.role) },
            { "reference": format!("Organization/{}", head.id) }
        ],
        "custodian": { "reference": format!("Organization/{}", head.id) },
        "section": sections,
    });
    let organization = json!({ "resourceType": "Organization", "id": head.id, "name": transfer.centre });
    let mut entries = vec![entry(base, "Composition", &head.id, &composition.to_string())];
    entries.push(entry(base, "Organization", &head.id, &organization.to_string()));
    for kept in &transfer.kept {
        let text = std::str::from_utf8(&kept.json).map_err(failed)?;
        entries.push(entry(base, &kept.kind, &kept.id, text));
    }
    let identifier = json!({ "system": "urn:ietf:rfc:3986", "value": format!("urn:uuid:{}", uuid(&head.id)) });
    // Her resources as they are stored: no parser of ours has written them anew.
    Ok(format!(
        "{{\"resourceType\":\"Bundle\",\"identifier\":{identifier},\"type\":\"document\",\"timestamp\":\"{}\",\"entry\":[\n{}\n]}}\n",
        instant(summary.as_of),
        entries.join(",\n")
    )
    .into_bytes())
}

fn entry(base: &str, kind: &str, id: &str, resource: &str) -> String {
    let address = Value::from(format!("{base}/{kind}/{id}"));
    format!("{{\"fullUrl\":{address},\"resource\":{resource}}}")
}

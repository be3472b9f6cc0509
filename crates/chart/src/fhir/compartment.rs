//! Whose record a resource is. One resource belongs to one patient, because it is sealed under her key: what names two
//! patients is refused. HL7 FHIR R4, compartmentdefinition-patient.html, and the search parameters patient and subject
//! where that definition leaves a type out.

use std::collections::BTreeSet;

use fhirkit::Json;

use super::issue::{Code, Issue};
use super::reference::{self, Reference};
use super::resource::{Resource, find};
use super::table::table;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Compartment {
    /// A Patient resource: its own chart.
    Itself,
    /// The chart of the Patient with this logical id.
    Patient(String),
    /// Names no patient: staff, places, definitions.
    Centre,
    /// Names a patient, but not as `Patient/id`: by a URL elsewhere, a contained resource, a number or a name. Nobody can
    /// tell whose key should seal it, or find it when she asks for her records.
    Elsewhere,
}

#[derive(Default)]
struct Owners {
    patients: BTreeSet<String>,
    elsewhere: bool,
}

impl Resource {
    pub fn compartment(&self) -> Result<Compartment, Issue> {
        if self.kind() == "Patient" {
            return Ok(Compartment::Itself);
        }
        let mut owners = Owners::default();
        owners.collect(self.json(), self.kind());
        let elsewhere = owners.elsewhere;
        let mut patients = owners.patients.into_iter();
        match (patients.next(), patients.next()) {
            (Some(_), Some(_)) => Err(Issue::error(
                Code::BusinessRule,
                "it names two patients or more; a record belongs to one patient's chart and is sealed under her key",
            )
            .at(self.kind())),
            (Some(one), None) => Ok(Compartment::Patient(one)),
            (None, _) if elsewhere => Ok(Compartment::Elsewhere),
            (None, _) => Ok(Compartment::Centre),
        }
    }
}

impl Owners {
    fn collect(&mut self, json: &Json, kind: &str) {
        let search = table().search(kind);
        let primary = |path: &str| search.iter().any(|(name, paths)| *name == "patient" && paths.contains(&path));
        // A Binary is protected like the resource that it names. HL7 FHIR R4, binary.html#security-context.
        let binary: &[&str] = if kind == "Binary" { &["securityContext"] } else { &[] };
        for path in table().compartment(kind).iter().chain(binary) {
            for found in find(json, path) {
                self.reference(json, found, primary(path));
            }
        }
        // A Bundle or Parameters kept as it is holds whole resources.
        for path in ["entry.resource", "parameter.resource"] {
            for inside in find(json, path) {
                match (inside.get("resourceType").and_then(Json::as_str), inside.get("id").and_then(Json::as_str)) {
                    (Some("Patient"), Some(id)) => {
                        self.patients.insert(id.to_owned());
                    }
                    (Some("Patient"), None) => self.elsewhere = true,
                    (Some(kind), _) => self.collect(inside, kind),
                    _ => {}
                }
            }
        }
    }

    fn reference(&mut self, resource: &Json, found: &Json, primary: bool) {
        let text = |key: &str| found.get(key).and_then(Json::as_str);
        match text("reference").map(reference::parse) {
            Some(Some(Reference::Local { kind: "Patient", id })) => {
                self.patients.insert(id.to_owned());
            }
            Some(Some(
                Reference::Local { .. } | Reference::Absolute { kind: Some("Group" | "Device" | "Practitioner") },
            )) => {}
            Some(Some(Reference::Contained(id))) => {
                self.elsewhere |= find(resource, "contained").iter().any(|inside| {
                    inside.get("id").and_then(Json::as_str) == Some(id)
                        && inside.get("resourceType").and_then(Json::as_str) == Some("Patient")
                });
            }
            Some(Some(Reference::Absolute { kind: Some(kind) })) => self.elsewhere |= kind == "Patient",
            Some(_) => self.elsewhere |= primary,
            None => self.elsewhere |= primary && text("type").is_none_or(|kind| kind == "Patient"),
        }
    }
}

//! Whose record a resource is. One resource belongs to one patient, because it is sealed under her key: what names two
//! patients is refused. HL7 FHIR R4, compartmentdefinition-patient.html, and the search parameters patient and subject
//! where that definition leaves a type out; and any reference to a Patient, wherever it stands, in a resource that none of
//! these place.

use std::collections::BTreeMap;

use fhirkit::Json;

use super::issue::{Code, Issue};
use super::reference::{self, Reference};
use super::resource::{Resource, find};
use super::table::table;

/// Places are paths through the resource, for whoever has to be told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Compartment {
    /// A Patient resource: its own chart.
    Itself,
    /// The chart of the Patient with this logical id.
    Patient { id: String, place: String },
    /// Names no patient: staff, places, definitions.
    Centre,
    /// Names a patient, but not as `Patient/id`: by a URL elsewhere, a contained resource, a number or a name. Nobody can
    /// tell whose key should seal it, or find it when she asks for her records.
    Elsewhere { place: String },
}

#[derive(Default)]
struct Owners {
    /// Each with the first place that names her.
    patients: BTreeMap<String, String>,
    elsewhere: Option<String>,
}

impl Resource {
    pub fn compartment(&self) -> Result<Compartment, Issue> {
        if self.kind() == "Patient" {
            return Ok(Compartment::Itself);
        }
        let mut owners = Owners::default();
        owners.collect(self.json(), self.kind(), self.kind());
        if owners.patients.is_empty() && owners.elsewhere.is_none() {
            owners.walk(self.json(), &mut self.kind().to_owned());
        }
        let elsewhere = owners.elsewhere;
        let mut patients = owners.patients.into_iter();
        match (patients.next(), patients.next()) {
            (Some(_), Some((_, place))) => Err(Issue::error(
                Code::BusinessRule,
                "it names two patients or more; a record belongs to one patient's chart and is sealed under her key",
            )
            .at(place)),
            (Some((id, place)), None) => Ok(Compartment::Patient { id, place }),
            (None, _) => Ok(elsewhere.map_or(Compartment::Centre, |place| Compartment::Elsewhere { place })),
        }
    }
}

impl Owners {
    fn patient(&mut self, id: &str, place: &str) {
        self.patients.entry(id.to_owned()).or_insert_with(|| place.to_owned());
    }

    fn elsewhere(&mut self, place: &str) {
        self.elsewhere.get_or_insert_with(|| place.to_owned());
    }

    fn collect(&mut self, json: &Json, kind: &str, root: &str) {
        let search = table().search(kind);
        let primary = |path: &str| search.iter().any(|(name, paths)| *name == "patient" && paths.contains(&path));
        // A Binary is protected like the resource that it names. HL7 FHIR R4, binary.html#security-context.
        let binary: &[&str] = if kind == "Binary" { &["securityContext"] } else { &[] };
        for path in table().compartment(kind).iter().chain(binary) {
            for found in find(json, path) {
                self.reference(json, found, primary(path), &format!("{root}.{path}"));
            }
        }
        // A Bundle or Parameters kept as it is holds whole resources.
        for path in ["entry.resource", "parameter.resource"] {
            for inside in find(json, path) {
                let root = format!("{root}.{path}");
                match (inside.get("resourceType").and_then(Json::as_str), inside.get("id").and_then(Json::as_str)) {
                    (Some("Patient"), Some(id)) => self.patient(id, &root),
                    (Some("Patient"), None) => self.elsewhere(&root),
                    (Some(kind), _) => self.collect(inside, kind, &root),
                    _ => {}
                }
            }
        }
    }

    /// Every reference to a Patient of this centre, at any depth (which the parser bounds).
    fn walk(&mut self, json: &Json, place: &mut String) {
        if let Some(Reference::Local { kind: "Patient", id }) =
            json.get("reference").and_then(Json::as_str).and_then(reference::parse)
        {
            self.patient(id, place);
        }
        let length = place.len();
        for (key, value) in json.as_object().into_iter().flatten() {
            place.push('.');
            place.push_str(key);
            match value {
                Json::Array(items) => items.iter().for_each(|item| self.walk(item, place)),
                value => self.walk(value, place),
            }
            place.truncate(length);
        }
    }

    fn reference(&mut self, resource: &Json, found: &Json, primary: bool, place: &str) {
        let text = |key: &str| found.get(key).and_then(Json::as_str);
        let elsewhere = match text("reference").map(reference::parse) {
            Some(Some(Reference::Local { kind: "Patient", id })) => {
                self.patient(id, place);
                false
            }
            Some(Some(
                Reference::Local { .. } | Reference::Absolute { kind: Some("Group" | "Device" | "Practitioner") },
            )) => false,
            Some(Some(Reference::Contained(id))) => find(resource, "contained").iter().any(|inside| {
                inside.get("id").and_then(Json::as_str) == Some(id)
                    && inside.get("resourceType").and_then(Json::as_str) == Some("Patient")
            }),
            Some(Some(Reference::Absolute { kind: Some(kind) })) => kind == "Patient",
            Some(_) => primary,
            None => primary && text("type").is_none_or(|kind| kind == "Patient"),
        };
        if elsewhere {
            self.elsewhere(place);
        }
    }
}

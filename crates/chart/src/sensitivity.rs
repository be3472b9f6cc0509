//! How much a record says of a patient. It goes by the type alone: nobody reads a record to find out who may read it.

use guard::Sensitivity;

use crate::fhir::{Code, Issue, Resource};

/// Types that say who somebody is and when she comes, and nothing about her illness.
const ADMINISTRATIVE: &[&str] = &[
    "Appointment",
    "AppointmentResponse",
    "Endpoint",
    "HealthcareService",
    "Location",
    "Organization",
    "OrganizationAffiliation",
    "Patient",
    "Practitioner",
    "PractitionerRole",
    "RelatedPerson",
    "Schedule",
    "Slot",
];

pub(crate) fn sensitivity(kind: &str) -> Sensitivity {
    if ADMINISTRATIVE.contains(&kind) { Sensitivity::Administrative } else { Sensitivity::Clinical }
}

/// An administrative record may hold no clinical one inside: whoever reads the outside reads it all.
pub(crate) fn nothing_clinical_inside(resource: &Resource) -> Result<(), Issue> {
    if sensitivity(resource.kind()) == Sensitivity::Clinical {
        return Ok(());
    }
    let inside = resource.contained_types();
    match inside.iter().position(|kind| sensitivity(kind) == Sensitivity::Clinical) {
        None => Ok(()),
        Some(number) => {
            let text =
                "a clinical resource can't be contained in an administrative one: keep it as a record of its own";
            Err(Issue::error(Code::BusinessRule, text).at(format!("{}.contained[{number}]", resource.kind())))
        }
    }
}

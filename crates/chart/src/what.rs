//! What an act is done to, as decisions name it: opaque ids, types and names of parameters; never a value.

use guard::Target;
use kit::PatientId;

use crate::fhir::Query;

/// References that one decision names; the versions that a transaction leaves are each on the list by themselves.
const NAMED_MAX: usize = 8;

pub(crate) fn target(patient: Option<PatientId>) -> Target {
    patient.map_or(Target::Centre, Target::Patient)
}

/// `Patient/1, Condition/2 and 3 more`.
pub(crate) fn all(references: &[String]) -> String {
    let mut text = references.iter().take(NAMED_MAX).map(String::as_str).collect::<Vec<_>>().join(", ");
    if references.len() > NAMED_MAX {
        text.push_str(&format!(" and {} more", references.len() - NAMED_MAX));
    }
    text
}

/// `Observation?patient&_lastUpdated`.
pub(crate) fn search(query: &Query) -> String {
    let names = query.parameters();
    let mark = if names.is_empty() { "" } else { "?" };
    format!("{}{mark}{}", query.kind(), names.join("&"))
}

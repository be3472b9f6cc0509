//! FHIR R4 as bytes in, bytes out: what is refused and where, what is kept to the byte, what is found.

mod answers;
mod bundles;
mod checks;
mod examples;
mod mutations;
mod search;

use chart::fhir::{Issue, Resource};

/// A synthetic patient whose name stands in three scripts, with everything that is easily lost: an escape, a blank too
/// many, digits after the point, an extension beside a primitive.
pub(crate) const PATIENT: &str = r##"{ "resourceType":"Patient",
  "id": "p-1",
  "text": {"status":"generated","div":"<div xmlns=\"http://www.w3.org/1999/xhtml\"><p>ലക്ഷ്മി</p></div>"},
  "contained": [{"resourceType":"Organization","id":"org","name":"Kera\u006ca ward"}],
  "extension": [{"url":"http://holdfast.example/height","valueDecimal":161.50}],
  "identifier": [{"use":"official","system":"urn:holdfast:mrn","value":"KL-0042"},{"value":"loose"}],
  "active": true,
  "name": [{"use":"official","text":"ലക്ഷ്മി മാതൃക","family":"മാതൃക","given":["ലക്ഷ്മി"],"_given":[{"id":"g"}]},
           {"family":"नमूना","given":["लक्ष्मी"]}, {"family":"மாதிரி","given":["லட்சுமி"]},
           {"family":"Ångström-Näyte","given":["Elsa Maria"]}],
  "telecom": [{"system":"phone","value":"+91 98460-12345"},{"system":"email","value":"Elsa@Naeyte.example"}],
  "gender": "female",
  "birthDate": "1961-02-03",
  "_birthDate": {"extension":[{"url":"http://hl7.org/fhir/StructureDefinition/patient-birthTime","valueDateTime":"1961-02-03T04:05:06+05:30"}]},
  "address": [{"use":"home","line":["1 Test Road"],"country":"IN"}],
  "contact": [{"name":{"family":"മാതൃക"},"relationship":[{"text":"mother"}]}],
  "managingOrganization": {"reference":"#org"}
}"##;

pub(crate) const OBSERVATION: &str = r#"{"resourceType":"Observation","id":"o1","status":"final",
  "category":[{"coding":[{"system":"http://terminology.hl7.org/CodeSystem/observation-category","code":"laboratory"}]}],
  "code":{"coding":[{"system":"http://loinc.org","code":"718-7","display":"Hemoglobin"}],"text":"Haemoglobin"},
  "subject":{"reference":"Patient/p-1"},"effectiveDateTime":"2026-05-04T10:00:00.250+05:30","issued":"2026-05-04T11:00:00Z",
  "valueQuantity":{"value":11.20,"comparator":">=","unit":"g/dL","system":"http://unitsofmeasure.org","code":"g/dL"},
  "component":[{"code":{"text":"a"},"valueInteger":3},{"code":{"text":"b"},"valueBoolean":false}]}"#;

pub(crate) fn parse(text: &str) -> Resource {
    Resource::parse(text.as_bytes(), None).unwrap_or_else(|issues| panic!("{issues:#?}"))
}

pub(crate) fn refusal(text: &str) -> Vec<Issue> {
    Resource::parse(text.as_bytes(), None).expect_err(text)
}

/// Is it refused, at `place`?
pub(crate) fn refused_at(text: &str, place: &str) {
    let issues = refusal(text);
    assert!(issues.iter().any(|issue| issue.expression.as_deref() == Some(place)), "{place} is not among {issues:#?}");
}

//! HL7's own R4 examples: npm `hl7.fhir.r4.examples` 4.0.1, unpacked, in the folder that HOLDFAST_FHIR_EXAMPLES names.
//! `cargo xtask test` fetches it; without it there is nothing to try.

use std::collections::BTreeMap;

use chart::fhir::Resource;

/// The 27 of 5,306 that are refused, and why: each but the first three breaks a rule of R4 itself.
const REFUSED: &[(&str, &str)] = &[
    ("Bundle-dataelements.json", "21 MB, larger than a body may be"),
    ("Bundle-resources.json", "35 MB, larger than a body may be"),
    ("Basic-referral.json", "three modifierExtensions, which R4 forbids whoever doesn't know them to process"),
    ("ActivityDefinition-blood-tubes-supply.json", "txt-2: an empty narrative"),
    ("ActivityDefinition-heart-valve-replacement.json", "txt-2: an empty narrative"),
    ("EventDefinition-example.json", "txt-2: an empty narrative"),
    ("Questionnaire-zika-virus-exposure-assessment.json", "txt-2: an empty narrative"),
    ("Bundle-v2-valuesets.json", "holds CodeSystem v2-0550"),
    ("CodeSystem-v2-0550.json", "codes that end in a blank or are one (U+00A0)"),
    ("DeviceMetric-example.json", "parent refers to a DeviceDefinition, may only to a Device"),
    ("DeviceUseStatement-example.json", "reasonReference refers to a Procedure, which it may not"),
    (
        "MedicationRequest-medrx0301.json",
        "dispenseRequest.performer refers to a Practitioner, may only to an Organization",
    ),
    ("Observation-clinical-gender.json", "performer refers to an Encounter"),
    ("ImplementationGuide-fhir.json", "no name, no status, a reference with an id of 73 characters"),
    ("ig-r4.json", "no name, no status, a reference with an id of 73 characters"),
    ("Questionnaire-qs1.json", "items without linkId"),
    ("SearchParameter-codesystem-extensions-CodeSystem-author.json", "no base"),
    ("SearchParameter-codesystem-extensions-CodeSystem-effective.json", "no base"),
    ("SearchParameter-codesystem-extensions-CodeSystem-end.json", "no base"),
    ("SearchParameter-codesystem-extensions-CodeSystem-keyword.json", "no base"),
    ("SearchParameter-codesystem-extensions-CodeSystem-workflow.json", "no base"),
    (
        "SearchParameter-questionnaireresponse-extensions-QuestionnaireResponse-item-subject.json",
        "an id of 73 characters",
    ),
    ("SearchParameter-valueset-extensions-ValueSet-author.json", "no base"),
    ("SearchParameter-valueset-extensions-ValueSet-effective.json", "no base"),
    ("SearchParameter-valueset-extensions-ValueSet-end.json", "no base"),
    ("SearchParameter-valueset-extensions-ValueSet-keyword.json", "no base"),
    ("SearchParameter-valueset-extensions-ValueSet-workflow.json", "no base"),
];

#[test]
fn official_examples_pass() {
    let Some(folder) = std::env::var_os("HOLDFAST_FHIR_EXAMPLES") else { return };
    let mut paths: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    let (mut good, mut refused, mut wrong) = (0, BTreeMap::new(), Vec::new());
    for path in paths {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if !name.ends_with(".json") || name.starts_with('.') || name == "package.json" {
            continue;
        }
        let bytes = std::fs::read(&path).unwrap();
        let found = Resource::parse(&bytes, None);
        // The typed reader of another crate, made from the same definitions by other hands: what it refuses, we refuse.
        let text = std::str::from_utf8(&bytes).unwrap();
        if found.is_ok() && fhirkit::from_json_strict::<fhirkit::r4::Resource>(text).is_err() {
            wrong.push(format!("{name}: refused by fhirkit only"));
        }
        match found {
            Ok(resource) => {
                good += 1;
                let stored = resource.stored("new-id", 7, kit::Timestamp(1_713_916_799_999)).unwrap();
                let again = Resource::parse(&stored, Some(resource.kind())).unwrap_or_else(|e| panic!("{name}: {e:?}"));
                assert_eq!((again.id(), again.version_id()), (Some("new-id"), Some("7")), "{name}");
                resource.search_fields().unwrap_or_else(|e| panic!("{name}: {e:?}"));
                let _ = resource.compartment();
            }
            Err(issues) => {
                refused.insert(name, issues);
            }
        }
    }
    for (name, issues) in &refused {
        if !REFUSED.iter().any(|(known, _)| known == name) {
            wrong.push(format!("{name}: {:?}", issues.first()));
        }
    }
    wrong.extend(REFUSED.iter().filter(|(n, _)| !refused.contains_key(*n)).map(|(n, _)| format!("{n}: accepted")));
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert_eq!((good, refused.len()), (5_279, REFUSED.len()));
}

//! The synthetic centre: valid by other people's parsers, the same from the same seed.

use std::collections::BTreeSet;

use dicom_dictionary_std::tags;
use dicom_object::{DefaultDicomObject, from_reader};
use drill::synthetic::{Centre, Script, Technique};
use serde_json::Value;

use crate::{TODAY, centre};

fn object(bytes: &[u8]) -> DefaultDicomObject {
    from_reader(&bytes[128..]).unwrap()
}

#[test]
fn the_same_seed_makes_the_same_centre() {
    let all: Vec<_> = centre(6, 2).generate().collect();
    let again = centre(6, 2).patient(4);
    assert_eq!(all[4].fhir, again.fhir);
    assert_eq!(all[1].course.as_ref().unwrap().plan, centre(6, 2).patient(1).course.unwrap().plan);
    assert_ne!(Centre { seed: 8, ..centre(6, 2) }.patient(4).fhir, again.fhir);
}

#[test]
fn resources_are_valid_r4_and_cover_the_types() {
    let mut types = BTreeSet::new();
    for patient in centre(60, 0).generate() {
        for bytes in &patient.fhir {
            let value: Value = serde_json::from_slice(bytes).unwrap();
            let kind = value["resourceType"].as_str().unwrap().to_owned();
            let (_, issues) = fhirkit::from_json::<fhirkit::r4::Resource>(std::str::from_utf8(bytes).unwrap()).unwrap();
            assert!(issues.is_empty(), "{kind}: {issues:?}");
            types.insert(kind);
        }
        let first: Value = serde_json::from_slice(&patient.fhir[0]).unwrap();
        assert_eq!(first["resourceType"], "Patient");
        assert_eq!(first["name"][0]["text"], patient.name.text());
        assert!(patient.phone.starts_with("+910") && patient.phone.len() == 13, "no number that India allots");
    }
    let wanted = "AllergyIntolerance Appointment CarePlan Condition DiagnosticReport DocumentReference Encounter \
                  MedicationRequest Observation Patient Procedure Specimen";
    assert_eq!(types.into_iter().collect::<Vec<_>>().join(" "), wanted);
}

#[test]
fn numbers_and_names_are_distinct_and_in_all_scripts() {
    let patients: Vec<_> = centre(2_000, 0).generate().collect();
    let numbers: BTreeSet<_> = patients.iter().map(|p| &p.number).collect();
    let names: BTreeSet<_> = patients.iter().map(|p| p.name.text()).collect();
    assert_eq!(numbers.len(), patients.len());
    assert!(names.len() > 1_990, "{} names", names.len());
    for script in [Script::Latin, Script::Malayalam, Script::Devanagari, Script::Tamil] {
        assert!(patients.iter().filter(|p| p.name.script == script).count() > 100, "{script:?}");
    }
}

#[test]
fn a_course_holds_what_its_truth_says() {
    let mut techniques = Vec::new();
    for patient in centre(24, 24).generate() {
        let course = patient.course.unwrap();
        let plan = object(&course.plan);
        assert_eq!(plan.element(tags::PATIENT_ID).unwrap().to_str().unwrap(), patient.number);
        let group = &plan.element(tags::FRACTION_GROUP_SEQUENCE).unwrap().items().unwrap()[0];
        let planned: u32 = group.element(tags::NUMBER_OF_FRACTIONS_PLANNED).unwrap().to_int().unwrap();
        assert_eq!(planned, course.fractions_planned);
        let uid = plan.element(tags::SOP_INSTANCE_UID).unwrap().to_str().unwrap();
        let mut fractions = BTreeSet::new();
        for bytes in &course.records {
            let record = object(bytes);
            let reference = &record.element(tags::REFERENCED_RT_PLAN_SEQUENCE).unwrap().items().unwrap()[0];
            assert_eq!(reference.element(tags::REFERENCED_SOP_INSTANCE_UID).unwrap().to_str().unwrap(), uid);
            fractions.insert(record.element(tags::INSTANCE_NUMBER).unwrap().to_int::<u32>().unwrap());
        }
        assert_eq!(fractions, (1..=course.fractions_given).collect());
        assert_eq!(course.others.len(), 3);
        course.others.iter().for_each(|bytes| drop(object(bytes)));
        techniques.push(course.technique);
    }
    assert_eq!(techniques[..4], [Technique::Conformal, Technique::Arc, Technique::Electron, Technique::Ion]);
    assert!(techniques[4..].contains(&Technique::Arc));
}

#[test]
fn the_treatment_room_reads_every_course_as_the_truth_says() {
    for patient in (Centre { seed: 3, today: TODAY, patients: 40, on_treatment: 40 }).generate() {
        let course = patient.course.unwrap();
        let plan = treatment::Plan::parse(&course.plan).unwrap_or_else(|e| panic!("{:?}: {e}", course.technique));
        let plans = BTreeSet::from([plan.instance.sop_instance.clone()]);
        let mut read = treatment::Course::new(plans.clone(), &plan, &plan.groups[0]);
        course.records.iter().for_each(|bytes| read.add(&treatment::TreatmentRecord::parse(bytes)));
        let given = read.given().fractions();
        assert_eq!(given, Some(course.fractions_given), "{:?}", course.technique);
    }
}

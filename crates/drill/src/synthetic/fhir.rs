//! The synthetic patient's records: FHIR R4 (4.0.1) resources, every code from its required binding.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use kit::Timestamp;
use serde_json::{Value, json};

use super::person::{Diagnosis, Name, day, iso_date};
use super::rng::Rng;

/// Naming system of the hospital number; `example` is reserved (RFC 2606).
pub const NUMBER_SYSTEM: &str = "https://hospital.example/identifier/mrn";

const TERMINOLOGY: &str = "http://terminology.hl7.org/CodeSystem";
const LOINC: &str = "http://loinc.org";
const UCUM: &str = "http://unitsofmeasure.org";
const ICD_10: &str = "http://hl7.org/fhir/sid/icd-10";
const SNOMED: &str = "http://snomed.info/sct";

/// Who it is about, as the resources need it.
pub(super) struct Subject<'a> {
    pub(super) id: &'a str,
    pub(super) number: &'a str,
    pub(super) name: &'a Name,
    pub(super) female: bool,
    pub(super) birth_date: &'a str,
    pub(super) phone: &'a str,
    pub(super) diagnosis: &'a Diagnosis,
}

/// The patient first; everything else refers to her.
pub(super) fn resources(rng: &Rng, who: &Subject<'_>, today: Timestamp) -> Vec<Vec<u8>> {
    let patient = json!({ "reference": format!("Patient/{}", who.id) });
    let seen = -rng.on_grid(20.0, 200.0, 1.0);
    #[allow(clippy::cast_possible_truncation)] // between −200 and −20
    let date = |later: i64| iso_date(day(today, seen as i64 + later));
    let instant = |later: i64, hour: u64| format!("{}T{hour:02}:30:00+05:30", date(later));
    let encounter_id = rng.id();
    let specimen_id = rng.id();
    let observation_id = rng.id();
    let condition_id = rng.id();
    let refer = |kind: &str, id: &str| json!({ "reference": format!("{kind}/{id}") });
    let note = format!(
        "{} ({}), {}. {}. Seen in the joint clinic; plan explained in her own language.",
        who.name.text(),
        who.name.text_latin(),
        who.number,
        who.diagnosis.text
    );
    let hour = 9 + rng.below(8);
    let mut condition = json!({
        "resourceType": "Condition", "id": condition_id,
        "clinicalStatus": status("condition-clinical", "active"),
        "verificationStatus": status("condition-ver-status", "confirmed"),
        "category": [status("condition-category", "encounter-diagnosis")],
        "code": diagnosis(who.diagnosis), "subject": patient,
        "encounter": refer("Encounter", &encounter_id), "recordedDate": date(7)
    });
    if let Some((site, condition)) = who.diagnosis.body_site().zip(condition.as_object_mut()) {
        condition.insert("bodySite".to_owned(), json!([{ "text": site }]));
    }

    let mut out = vec![
        patient_resource(who),
        json!({
            "resourceType": "Encounter", "id": encounter_id, "status": "finished",
            "class": { "system": format!("{TERMINOLOGY}/v3-ActCode"), "code": "AMB", "display": "ambulatory" },
            "subject": patient, "period": { "start": instant(0, hour), "end": instant(0, hour + 1) }
        }),
        condition,
        json!({
            "resourceType": "Procedure", "id": rng.id(), "status": "completed",
            "code": { "coding": [{ "system": SNOMED, "code": "86273004", "display": "Biopsy" }], "text": "Biopsy" },
            "subject": patient, "performedDateTime": date(1), "reasonReference": [refer("Condition", &condition_id)]
        }),
        json!({
            "resourceType": "Specimen", "id": specimen_id, "status": "available",
            "type": { "text": "Core biopsy, formalin fixed" }, "subject": patient,
            "receivedTime": instant(1, 15), "collection": { "collectedDateTime": instant(1, 11) }
        }),
        json!({
            "resourceType": "Observation", "id": observation_id, "status": "final",
            "category": [status("observation-category", "laboratory")],
            "code": coded(LOINC, "718-7", "Hemoglobin [Mass/volume] in Blood"),
            "subject": patient, "effectiveDateTime": instant(1, 10),
            "valueQuantity": {
                "value": decimal(rng.on_grid(80.0, 150.0, 1.0) / 10.0), "unit": "g/dL", "system": UCUM, "code": "g/dL"
            }
        }),
        json!({
            "resourceType": "Observation", "id": rng.id(), "status": "final",
            "category": [status("observation-category", "vital-signs")],
            "code": coded(LOINC, "29463-7", "Body weight"),
            "subject": patient, "effectiveDateTime": instant(0, hour),
            "valueQuantity": {
                "value": decimal(rng.on_grid(380.0, 950.0, 5.0) / 10.0), "unit": "kg", "system": UCUM, "code": "kg"
            }
        }),
        json!({
            "resourceType": "DiagnosticReport", "id": rng.id(), "status": "final",
            "code": coded(LOINC, "11526-1", "Pathology study"),
            "subject": patient, "effectiveDateTime": date(4), "issued": instant(4, 16),
            "specimen": [refer("Specimen", &specimen_id)], "result": [refer("Observation", &observation_id)],
            "conclusion": who.diagnosis.text, "conclusionCode": [diagnosis(who.diagnosis)]
        }),
        json!({
            "resourceType": "CarePlan", "id": rng.id(), "status": "active", "intent": "plan",
            "title": "Course of treatment", "subject": patient, "period": { "start": date(10) },
            "addresses": [refer("Condition", &condition_id)],
            "activity": [{ "detail": { "status": "in-progress", "description": "Radiotherapy, then review" } }]
        }),
        json!({
            "resourceType": "Appointment", "id": rng.id(), "status": "booked",
            "description": "Review", "start": format!("{}T{hour:02}:00:00+05:30", iso_date(day(today, 1))),
            "end": format!("{}T{hour:02}:20:00+05:30", iso_date(day(today, 1))),
            "participant": [{ "actor": patient, "required": "required", "status": "accepted" }]
        }),
        json!({
            "resourceType": "DocumentReference", "id": rng.id(), "status": "current", "docStatus": "final",
            "type": coded(LOINC, "11488-4", "Consult note"), "subject": patient, "date": instant(7, 17),
            "content": [{ "attachment": {
                "contentType": "text/plain; charset=utf-8", "language": who.name.script.language(),
                "data": STANDARD.encode(&note), "title": "Joint clinic"
            } }]
        }),
    ];
    if rng.chance(60) {
        out.push(json!({
            "resourceType": "MedicationRequest", "id": rng.id(), "status": "active", "intent": "order",
            "medicationCodeableConcept": { "text": "Ondansetron 8 mg tablet" }, "subject": patient,
            "authoredOn": date(8), "dosageInstruction": [{ "text": "One tablet twice a day when needed" }]
        }));
    }
    if rng.chance(25) {
        out.push(json!({
            "resourceType": "AllergyIntolerance", "id": rng.id(),
            "clinicalStatus": status("allergyintolerance-clinical", "active"),
            "verificationStatus": status("allergyintolerance-verification", "confirmed"),
            "type": "allergy", "category": ["medication"], "criticality": "high",
            "code": { "text": "Iodinated contrast" }, "patient": patient, "recordedDate": date(0)
        }));
    }
    out.iter().map(|resource| resource.to_string().into_bytes()).collect()
}

/// What an oncologist has ordered, as HL7's CodeX Radiation Therapy guide writes a phase prescription.
pub(super) fn order(rng: &Rng, who: &Subject<'_>) -> Vec<u8> {
    const CODEX: &str = "http://hl7.org/fhir/us/codex-radiation-therapy/StructureDefinition/codexrt-radiotherapy-";
    let Diagnosis { dose_gy, fractions, .. } = who.diagnosis;
    let centigray = |gy: f64| json!({ "value": (gy * 100.0).round(), "unit": "cGy", "system": UCUM, "code": "cGy" });
    json!({
        "resourceType": "ServiceRequest", "id": rng.id(),
        "extension": [
            { "url": format!("{CODEX}fractions-prescribed"), "valuePositiveInt": fractions },
            { "url": format!("{CODEX}dose-prescribed-to-volume"), "extension": [
                { "url": "fractionDose", "valueQuantity": centigray(dose_gy / f64::from(*fractions)) },
                { "url": "totalDose", "valueQuantity": centigray(*dose_gy) }
            ] }
        ],
        "status": "active", "intent": "original-order",
        "code": coded(SNOMED, "108290001", "Radiation oncology AND/OR radiotherapy"),
        "subject": { "reference": format!("Patient/{}", who.id) }
    })
    .to_string()
    .into_bytes()
}

/// An appointment for each fraction that is left, on working days from today on.
pub(super) fn bookings(rng: &Rng, who: &Subject<'_>, today: Timestamp, left: u32) -> Vec<Vec<u8>> {
    let hour = 8 + rng.below(9);
    // 1970-01-01 was a Thursday: Saturday and Sunday are days 2 and 3 from there.
    let is_working = |day: &Timestamp| !matches!(day.0.div_euclid(super::DAY_MS).rem_euclid(7), 2 | 3);
    let days = (0..).map(|later| day(today, later)).filter(is_working).take(usize::try_from(left).unwrap_or(0));
    let booking = |day: Timestamp| {
        json!({
            "resourceType": "Appointment", "id": rng.id(), "status": "booked", "description": "Radiotherapy",
            "start": format!("{}T{hour:02}:00:00+05:30", iso_date(day)),
            "end": format!("{}T{hour:02}:15:00+05:30", iso_date(day)),
            "participant": [{
                "actor": { "reference": format!("Patient/{}", who.id) }, "required": "required", "status": "accepted"
            }]
        })
        .to_string()
        .into_bytes()
    };
    days.map(booking).collect()
}

fn patient_resource(who: &Subject<'_>) -> Value {
    let mut names = vec![json!({
        "use": "official", "text": who.name.text(), "family": who.name.family, "given": [who.name.given]
    })];
    if who.name.given != who.name.given_latin {
        names.push(json!({
            "use": "usual", "text": who.name.text_latin(),
            "family": who.name.family_latin, "given": [who.name.given_latin]
        }));
    }
    json!({
        "resourceType": "Patient", "id": who.id,
        "identifier": [{
            "use": "official", "type": coded(&format!("{TERMINOLOGY}/v2-0203"), "MR", "Medical record number"),
            "system": NUMBER_SYSTEM, "value": who.number
        }],
        "active": true, "name": names,
        "telecom": [{ "system": "phone", "value": who.phone, "use": "mobile" }],
        "gender": if who.female { "female" } else { "male" }, "birthDate": who.birth_date,
        "communication": [{
            "language": { "coding": [{ "system": "urn:ietf:bcp:47", "code": who.name.script.language() }] },
            "preferred": true
        }]
    })
}

fn coded(system: &str, code: &str, display: &str) -> Value {
    json!({ "coding": [{ "system": system, "code": code, "display": display }] })
}

fn status(system: &str, code: &str) -> Value {
    json!({ "coding": [{ "system": format!("{TERMINOLOGY}/{system}"), "code": code }] })
}

fn diagnosis(diagnosis: &Diagnosis) -> Value {
    let mut coding = vec![json!({ "system": ICD_10, "code": diagnosis.icd10, "display": diagnosis.text })];
    if let Some((code, display)) = diagnosis.snomed {
        coding.push(json!({ "system": SNOMED, "code": code, "display": display }));
    }
    json!({ "coding": coding, "text": diagnosis.text })
}

/// One digit after the point, kept as it is written (FHIR decimals carry their precision).
fn decimal(value: f64) -> Value {
    format!("{value:.1}").parse::<serde_json::Number>().map_or(Value::Null, Value::Number)
}

//! The synthetic centre: valid by other people's parsers, the same from the same seed.

use std::collections::{BTreeMap, BTreeSet};

use dicom_core::Tag;
use dicom_dictionary_std::tags;
use dicom_object::{DefaultDicomObject, InMemDicomObject, from_reader};
use drill::synthetic::{Centre, Images, Script, Side, SyntheticPatient, TECHNIQUES, Technique};
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
    let series = Centre { images: Images::Series, ..centre(6, 6) };
    let (one, other) = (series.patient(1).course.unwrap(), series.patient(1).course.unwrap());
    assert_eq!((one.others, one.records), (other.others, other.records));
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
    let each = [Technique::Conformal, Technique::Arc, Technique::Electron, Technique::Ion, Technique::Imrt];
    assert_eq!(techniques[..TECHNIQUES], each);
    assert!(techniques[TECHNIQUES..].contains(&Technique::Arc));
}

#[test]
fn the_treatment_room_reads_every_course_as_the_truth_says() {
    for patient in (Centre { seed: 3, today: TODAY, patients: 40, on_treatment: 40, images: Images::Slice }).generate()
    {
        let course = patient.course.unwrap();
        let plan = treatment::Plan::parse(&course.plan).unwrap_or_else(|e| panic!("{:?}: {e}", course.technique));
        let plans = BTreeSet::from([plan.instance.sop_instance.clone()]);
        let mut read = treatment::Course::new(plans.clone(), &plan, &plan.groups[0]);
        course.records.iter().for_each(|bytes| read.add(&treatment::TreatmentRecord::parse(bytes)));
        let given = read.given().fractions();
        assert_eq!(given, Some(course.fractions_given), "{:?}", course.technique);
    }
}

fn whole(seed: u64) -> Centre {
    Centre { seed, today: TODAY, patients: TECHNIQUES, on_treatment: TECHNIQUES, images: Images::Series }
}

fn text(object: &InMemDicomObject, tag: Tag) -> String {
    let text = object.element(tag).unwrap_or_else(|e| panic!("{tag}: {e}")).to_str().unwrap();
    text.trim_end_matches(['\0', ' ']).to_owned()
}

fn numbers(object: &InMemDicomObject, tag: Tag) -> Vec<f64> {
    object.element(tag).unwrap_or_else(|e| panic!("{tag}: {e}")).to_multi_float64().unwrap()
}

fn items(object: &InMemDicomObject, tag: Tag) -> &[InMemDicomObject] {
    object.element(tag).unwrap_or_else(|e| panic!("{tag}: {e}")).items().unwrap()
}

fn referenced(object: &InMemDicomObject, sequence: Tag) -> Vec<String> {
    items(object, sequence).iter().map(|item| text(item, tags::REFERENCED_SOP_INSTANCE_UID)).collect()
}

/// What is drawn, by name: contours of points.
fn drawn(structures: &InMemDicomObject) -> BTreeMap<String, Vec<Vec<f64>>> {
    let names = items(structures, tags::STRUCTURE_SET_ROI_SEQUENCE);
    let name = |number: &str| {
        let roi = names.iter().find(|roi| text(roi, tags::ROI_NUMBER) == number).unwrap();
        text(roi, tags::ROI_NAME)
    };
    let of = |roi: &InMemDicomObject| {
        let contours = items(roi, tags::CONTOUR_SEQUENCE).iter().map(|one| numbers(one, tags::CONTOUR_DATA));
        (name(&text(roi, tags::REFERENCED_ROI_NUMBER)), contours.collect())
    };
    items(structures, tags::ROI_CONTOUR_SEQUENCE).iter().map(of).collect()
}

/// Gy at a point of the grid, and the mean in an axis-parallel ellipsoid.
struct Dose {
    origin: Vec<f64>,
    spacing: f64,
    size: [usize; 2],
    offsets: Vec<f64>,
    gy: Vec<f64>,
}

impl Dose {
    fn of(object: &InMemDicomObject) -> Self {
        let scaling = numbers(object, tags::DOSE_GRID_SCALING)[0];
        let samples = object.element(tags::PIXEL_DATA).unwrap().to_multi_int::<u16>().unwrap();
        Self {
            origin: numbers(object, tags::IMAGE_POSITION_PATIENT),
            spacing: numbers(object, tags::PIXEL_SPACING)[0],
            size: [tags::COLUMNS, tags::ROWS].map(|tag| object.element(tag).unwrap().to_int().unwrap()),
            offsets: numbers(object, tags::GRID_FRAME_OFFSET_VECTOR),
            gy: samples.iter().map(|sample| f64::from(*sample) * scaling).collect(),
        }
    }

    /// With where each is.
    fn points(&self) -> impl Iterator<Item = ([f64; 3], f64)> {
        self.gy.iter().enumerate().map(|(index, gy)| {
            let [columns, rows] = self.size;
            let (column, row, frame) = (index % columns, index / columns % rows, index / columns / rows);
            let at = |k: usize, step: usize| self.origin[k] + step as f64 * self.spacing;
            ([at(0, column), at(1, row), self.origin[2] + self.offsets[frame]], *gy)
        })
    }

    fn mean(&self, inside: impl Fn(&[f64; 3]) -> bool) -> f64 {
        let doses: Vec<f64> = self.points().filter(|(at, _)| inside(at)).map(|(_, gy)| gy).collect();
        doses.iter().sum::<f64>() / doses.len() as f64
    }
}

/// Everything that one patient's objects say of each other; what is measured of the dose: at the isocentre, in the target.
fn linked(patient: &SyntheticPatient) -> [f64; 2] {
    let course = patient.course.as_ref().unwrap();
    let (slices, [structures, dose]) = course.others.split_at(course.others.len() - 2) else { unreachable!() };
    let plan = object(&course.plan);
    let (structures, dose) = (object(structures), object(dose));
    let slices: Vec<_> = slices.iter().map(|slice| object(slice)).collect();
    for one in slices.iter().chain([&plan, &structures, &dose]) {
        assert_eq!(text(one, tags::FRAME_OF_REFERENCE_UID), text(&plan, tags::FRAME_OF_REFERENCE_UID));
        assert_eq!(text(one, tags::STUDY_INSTANCE_UID), text(&plan, tags::STUDY_INSTANCE_UID));
    }
    assert_eq!(referenced(&dose, tags::REFERENCED_RT_PLAN_SEQUENCE), [course.plan_uid.as_str()]);
    let structures_uid = text(&structures, tags::SOP_INSTANCE_UID);
    for one in [&plan, &dose] {
        assert_eq!(referenced(one, tags::REFERENCED_STRUCTURE_SET_SEQUENCE), [structures_uid.as_str()]);
    }

    // Each contour on the slice that it names.
    let by_uid: BTreeMap<String, f64> = slices
        .iter()
        .map(|one| (text(one, tags::SOP_INSTANCE_UID), numbers(one, tags::IMAGE_POSITION_PATIENT)[2]))
        .collect();
    assert_eq!(by_uid.len(), slices.len());
    for contour in
        items(&structures, tags::ROI_CONTOUR_SEQUENCE).iter().flat_map(|roi| items(roi, tags::CONTOUR_SEQUENCE))
    {
        let z = by_uid[&referenced(contour, tags::CONTOUR_IMAGE_SEQUENCE)[0]];
        assert!(numbers(contour, tags::CONTOUR_DATA).chunks(3).all(|point| point[2] == z));
    }
    let drawn = drawn(&structures);
    assert!(["BODY", "PTV", "CTV", "GTV"].iter().all(|name| drawn.contains_key(*name)) && drawn.len() > 4);
    let has_bolus = matches!(course.technique, Technique::Conformal | Technique::Electron);
    assert_eq!(drawn.contains_key("Bolus"), has_bolus);

    // The target's middle is the isocentre, and on the side of the diagnosis.
    let ion = course.technique == Technique::Ion;
    let beams = items(&plan, if ion { tags::ION_BEAM_SEQUENCE } else { tags::BEAM_SEQUENCE });
    let points = if ion { tags::ION_CONTROL_POINT_SEQUENCE } else { tags::CONTROL_POINT_SEQUENCE };
    let isocentre = numbers(&items(&beams[0], points)[0], tags::ISOCENTER_POSITION);
    let bounds = |name: &str, axis: usize| {
        let values = drawn[name].iter().flat_map(|contour| contour.iter().skip(axis).step_by(3)).copied();
        let (low, high) = values.fold((f64::MAX, f64::MIN), |(low, high), value| (low.min(value), high.max(value)));
        [(low + high) / 2.0, (high - low) / 2.0]
    };
    let ptv = [0, 1, 2].map(|axis| bounds("PTV", axis));
    for axis in 0..3 {
        assert!((ptv[axis][0] - isocentre[axis]).abs() < 0.2, "{:?}", patient.diagnosis);
    }
    let to_the_left = isocentre[0] - bounds("BODY", 0)[0];
    match patient.diagnosis.side {
        Some(Side::Left) => assert!(to_the_left > 5.0),
        Some(Side::Right) => assert!(to_the_left < -5.0),
        None => assert!(to_the_left.abs() < 5.0),
    }
    let site = text(&plan, tags::TREATMENT_SITE);
    assert!(patient.diagnosis.body_site().is_none_or(|body_site| site == body_site));

    // The machine can stand so: leaves within jaws, banks that don't meet.
    for point in beams.iter().filter(|_| !ion).flat_map(|beam| items(beam, points)) {
        let Ok(devices) = point.element(tags::BEAM_LIMITING_DEVICE_POSITION_SEQUENCE) else { continue };
        let of = |kind: &str| {
            let device = devices.items().unwrap().iter().find(|d| text(d, tags::RT_BEAM_LIMITING_DEVICE_TYPE) == kind);
            device.map(|device| numbers(device, tags::LEAF_JAW_POSITIONS))
        };
        let jaw = of("ASYMX").map_or(200.0, |jaws| jaws[1]);
        let Some(leaves) = of("MLCX") else { continue };
        let (low, high) = leaves.split_at(60);
        assert!(low.iter().zip(high).all(|(low, high)| low <= high && -low <= jaw && *high <= jaw), "{jaw} {leaves:?}");
    }

    let dose = Dose::of(&dose);
    let at_isocentre = dose.points().find(|(at, _)| at.iter().zip(&isocentre).all(|(a, b)| (a - b).abs() < 1e-6));
    let prescribed = numbers(&items(&plan, tags::DOSE_REFERENCE_SEQUENCE)[0], tags::TARGET_PRESCRIPTION_DOSE)[0];
    let in_target =
        |at: &[f64; 3]| (0..3).map(|k| ((at[k] - ptv[k][0]) / ptv[k][1].max(1.0)).powi(2)).sum::<f64>() < 1.0;
    let [body_x, body_y] = [0, 1].map(|axis| bounds("BODY", axis));
    let outside =
        |at: &[f64; 3]| ((at[0] - body_x[0]) / body_x[1]).powi(2) + ((at[1] - body_y[0]) / body_y[1]).powi(2) > 1.01;
    assert!(dose.points().filter(|(at, _)| outside(at)).all(|(_, gy)| gy == 0.0));
    [at_isocentre.unwrap().1 / prescribed, dose.mean(in_target) / prescribed]
}

#[test]
fn a_whole_course_is_linked_for_every_seed() {
    let mut worst = BTreeMap::new();
    for seed in 0..40 {
        for patient in whole(seed).generate() {
            let [at_isocentre, mean] = linked(&patient);
            let what = format!("{seed} {} {at_isocentre} {mean}", patient.diagnosis.icd10);
            assert!((at_isocentre - 1.0).abs() < 1e-3, "{what}");
            assert!((mean - 1.0).abs() < 0.05, "{what}");
            let entry = worst.entry(patient.diagnosis.icd10).or_insert(mean);
            if (mean - 1.0).abs() > (*entry - 1.0).abs() {
                *entry = mean;
            }
        }
    }
    println!("mean in the target, the worst: {worst:?}");
    assert_eq!(worst.len(), 11, "every diagnosis");
}

#[test]
fn one_slice_is_linked_alike() {
    for patient in centre(24, 24).generate() {
        assert!((linked(&patient)[0] - 1.0).abs() < 1e-3);
    }
}

#[test]
fn objects_are_small() {
    for patient in whole(3).generate() {
        let course = patient.course.unwrap();
        let sizes: Vec<usize> = course.others.iter().map(Vec::len).collect();
        let (images, [structures, dose]) = sizes.split_at(sizes.len() - 2) else { unreachable!() };
        let images: usize = images.iter().sum();
        println!("{:?}: CT {images}, {structures}, {dose}, plan {}", course.technique, course.plan.len());
        assert!(sizes.len() == 33 && images < 600_000 && *structures < 150_000 && *dose < 300_000);
        assert!(course.plan.len() < 250_000 && course.records.iter().all(|record| record.len() < 40_000));
    }
    for patient in centre(24, 24).generate() {
        assert!(patient.course.unwrap().others.iter().map(Vec::len).sum::<usize>() < 40_000);
    }
}

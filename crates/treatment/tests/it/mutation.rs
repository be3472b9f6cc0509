//! Every value of every plan, changed by one unit, one at a time: what moves dose is noticed and named, what doesn't
//! is not.

use std::collections::BTreeMap;

use dicom_core::{Tag, VR};
use dicom_dictionary_std::tags as t;
use treatment::{Attribute, Class, Difference, Plan};

use crate::build::{IMPLICIT, Item, Path, V, all, file, vr_of};

/// What may change without a word. Kept here by hand, so that an attribute that slips into the reader's list of
/// harmless ones is caught.
const HARMLESS: &[Tag] = &[
    t::SOP_INSTANCE_UID,
    t::STUDY_DATE,
    t::MODALITY,
    t::OPERATORS_NAME,
    t::MANUFACTURER,
    t::PATIENT_NAME,
    t::PATIENT_ID,
    t::PATIENT_BIRTH_DATE,
    t::PATIENT_SEX,
    t::STUDY_INSTANCE_UID,
    t::SERIES_INSTANCE_UID,
    t::RT_PLAN_LABEL,
    t::RT_PLAN_DATE,
    t::FRACTION_GROUP_DESCRIPTION,
    t::BEAM_DOSE,
    t::BEAM_NAME,
    t::BLOCK_NAME,
    t::BOLUS_DESCRIPTION,
    t::COMPENSATOR_DESCRIPTION,
    t::APPLICATOR_DESCRIPTION,
    t::FIXATION_DEVICE_DESCRIPTION,
    t::APPROVAL_STATUS,
    t::TOLERANCE_TABLE_LABEL,
    // A table that isn't in the plan stands in the machine.
    t::TOLERANCE_TABLE_NUMBER,
    t::REFERENCED_TOLERANCE_TABLE_NUMBER,
];

const TOLERANCED: &[Tag] = &[
    t::TABLE_TOP_VERTICAL_POSITION,
    t::TABLE_TOP_LONGITUDINAL_POSITION,
    t::TABLE_TOP_LATERAL_POSITION,
    t::SOURCE_TO_SURFACE_DISTANCE,
    t::GANTRY_ANGLE_TOLERANCE,
];

/// Numbers that name an item: the item goes, and another comes.
const KEYS: &[Tag] = &[
    t::FRACTION_GROUP_NUMBER,
    t::BEAM_NUMBER,
    t::BLOCK_NUMBER,
    t::BLOCK_SLAB_NUMBER,
    t::COMPENSATOR_NUMBER,
    t::GENERAL_ACCESSORY_NUMBER,
    t::REFERENCED_ROI_NUMBER,
    t::RT_BEAM_LIMITING_DEVICE_TYPE,
];

/// One unit of what the digest resolves, or the least that a text can change.
fn nudge(tag: Tag, text: &str, vr: VR) -> String {
    let step = match tag {
        t::BEAM_METERSET | t::METERSET_EXPOSURE | t::NOMINAL_BEAM_ENERGY | t::DOSE_RATE_SET => 0.001,
        t::CUMULATIVE_METERSET_WEIGHT | t::START_CUMULATIVE_METERSET_WEIGHT | t::END_CUMULATIVE_METERSET_WEIGHT => 2e-6,
        t::WEDGE_FACTOR
        | t::TOTAL_BLOCK_TRAY_FACTOR
        | t::TOTAL_COMPENSATOR_TRAY_FACTOR
        | t::BLOCK_TRANSMISSION
        | t::COMPENSATOR_TRANSMISSION_DATA => 1e-6,
        _ => 0.01,
    };
    match vr {
        VR::DS => {
            // The last of several values: leaves and outlines are long.
            let mut parts: Vec<&str> = text.split('\\').collect();
            let last = parts.pop().unwrap().parse::<f64>().unwrap() + step;
            let last = format!("{last:.7}");
            parts.push(&last);
            parts.join("\\")
        }
        VR::IS => (text.parse::<i64>().unwrap() + 1).to_string(),
        VR::UI => format!("{text}9"),
        VR::DA => "20231231".into(),
        VR::CS if text == "CW" => "CC".into(),
        VR::CS if text == "IN" => "OUT".into(),
        VR::CS => format!("{text}X"),
        VR::LT => text.replacen("10", "01", 1),
        _ => format!("{text}z"),
    }
}

pub type Mutant = (Path, Tag, V);

pub fn mutants(plan: &Item) -> Vec<Mutant> {
    let mut all = Vec::new();
    plan.walk(&mut Vec::new(), &mut |path, tag, value| {
        let changed = match value {
            V::Text(..) if matches!(tag, t::SPECIFIC_CHARACTER_SET) => return,
            V::Text(_, text) if text.is_empty() => return,
            V::Text(vr, text) => V::Text(*vr, nudge(tag, text, vr_of(tag))),
            V::Floats(values) => {
                let mut values = values.clone();
                *values.last_mut().unwrap() += 0.015_625;
                V::Floats(values)
            }
            V::Double(n) => V::Double(n + 0.015_625),
            V::Short(n) => V::Short(n + 1),
            V::Unsigned(n) => V::Unsigned(n + 7),
            V::Sequence(_) => return,
        };
        all.push((path.clone(), tag, changed));
    });
    all
}

#[test]
fn each_change_of_one_unit_is_noticed_and_named() {
    let mut noticed = BTreeMap::<&str, usize>::new();
    for (name, plan) in all() {
        let original = Plan::parse(&file(&plan, IMPLICIT)).unwrap();
        for (path, tag, value) in mutants(&plan) {
            let what = format!("{name} {path:?} {}", Attribute(tag));
            let mut mutant = plan.clone();
            mutant.at(&path).0.insert(tag, value);
            let parsed = Plan::parse(&file(&mutant, IMPLICIT));
            if HARMLESS.contains(&tag) {
                assert_eq!(parsed.expect(&what).digest(), original.digest(), "{what}");
                *noticed.entry("harmless").or_default() += 1;
                continue;
            }
            let Ok(parsed) = parsed else {
                assert!(!TOLERANCED.contains(&tag), "{what}: {:?}", parsed.err());
                *noticed.entry("refused").or_default() += 1;
                continue;
            };
            let difference = Difference::of(&original.delivery, &parsed.delivery);
            let expected = if TOLERANCED.contains(&tag) { Class::Toleranced } else { Class::Delivery };
            assert!(!difference.fields.is_empty(), "{what}: not noticed");
            assert_eq!(difference.same_delivery(), original.digest() == parsed.digest(), "{what}");
            assert_eq!(difference.same_delivery(), expected == Class::Toleranced, "{what}: {difference:?}");
            if !KEYS.contains(&tag) {
                for field in &difference.fields {
                    assert_eq!(field.attribute, Attribute(tag), "{what}: {field:?}");
                    assert_eq!(field.class, expected, "{what}");
                }
            }
            *noticed.entry("differs").or_default() += 1;
        }
    }
    // So that the loops can't have been empty.
    assert!(noticed["differs"] > 300 && noticed["refused"] > 40 && noticed["harmless"] > 60, "{noticed:?}");
}

#[test]
fn each_value_that_is_taken_away_is_noticed() {
    for (name, plan) in all() {
        let original = Plan::parse(&file(&plan, IMPLICIT)).unwrap();
        let mut all = Vec::new();
        plan.walk(&mut Vec::new(), &mut |path, tag, value| {
            if !matches!(value, V::Text(_, text) if text.is_empty()) {
                all.push((path.clone(), tag));
            }
        });
        for (path, tag) in all {
            let what = format!("{name} {path:?} {}", Attribute(tag));
            let mut mutant = plan.clone();
            mutant.at(&path).0.remove(&tag);
            let Ok(parsed) = Plan::parse(&file_or_data(&mutant)) else { continue };
            let quiet = HARMLESS.contains(&tag)
                || TOLERANCED.contains(&tag)
                || matches!(tag, t::SPECIFIC_CHARACTER_SET | t::TOLERANCE_TABLE_SEQUENCE)
                // That there is no brachytherapy is seen from the plan.
                || tag == t::NUMBER_OF_BRACHY_APPLICATION_SETUPS
                // The only setup is hers without saying so.
                || tag == t::REFERENCED_PATIENT_SETUP_NUMBER
                // The last point of an arc takes the direction over, and turns no more.
                || is_inherited(&plan, &path, tag);
            assert_eq!(parsed.digest() == original.digest(), quiet, "{what}");
        }
    }
}

/// Whether a later control point repeats what the one before it has.
fn is_inherited(plan: &Item, path: &[(Tag, usize)], tag: Tag) -> bool {
    let Some((&(points, index), outer)) = path.split_last() else { return false };
    if !matches!(points, t::CONTROL_POINT_SEQUENCE | t::ION_CONTROL_POINT_SEQUENCE) || index == 0 {
        return false;
    }
    let mut plan = plan.clone();
    let before = plan.at(&[outer, &[(points, index - 1)]].concat()).0.get(&tag).cloned();
    let here = plan.at(path).0.get(&tag).cloned();
    before == here
}

fn file_or_data(item: &Item) -> Vec<u8> {
    if item.0.contains_key(&t::SOP_CLASS_UID) && item.0.contains_key(&t::SOP_INSTANCE_UID) {
        file(item, IMPLICIT)
    } else {
        crate::build::data_set(item, IMPLICIT)
    }
}

#[test]
fn the_diff_says_where_and_by_how_much() {
    let mut plan = crate::build::photons();
    let before = Plan::parse(&file(&plan, IMPLICIT)).unwrap();
    let point = crate::build::point_at(0, 0);
    plan.at(&point).set(t::GANTRY_ANGLE, "300.6");
    plan.at(&[&point[..], &[(t::BEAM_LIMITING_DEVICE_POSITION_SEQUENCE, 1)]].concat())
        .set(t::LEAF_JAW_POSITIONS, "-40.25\\61");
    plan.at(&[(t::FRACTION_GROUP_SEQUENCE, 0), (t::REFERENCED_BEAM_SEQUENCE, 1)]).set(t::BEAM_METERSET, "88");
    plan.at(&point).set(t::TABLE_TOP_VERTICAL_POSITION, "-150.5");
    let after = Plan::parse(&file(&plan, IMPLICIT)).unwrap();
    let difference = Difference::of(&before.delivery, &after.delivery);
    let lines: Vec<String> = difference.fields.iter().map(ToString::to_string).collect();
    assert_eq!(
        lines,
        [
            "beam 1 point 0 (to point 1): (300A,011E) GantryAngle: 300.50 → 300.60 °",
            "beam 1 point 0 device ASYMY (to point 1): (300A,011C) LeafJawPositions [2]: 60.00 → 61.00 mm",
            "group 1 beam 2: (300A,0086) BeamMeterset: 87.500 → 88.000 MU",
            "beam 1 point 0: (300A,0128) TableTopVerticalPosition: -120.50 → -150.50 mm (toleranced, beyond 20 mm)",
        ]
    );
    assert!(!difference.within_tolerance());
    let json = serde_json::to_value(&difference).unwrap();
    assert_eq!(json["fields"][0]["keyword"], "GantryAngle");
    assert_eq!(json["fields"][0]["tag"], "(300A,011E)");
    assert_eq!(json["fields"][0]["beam"], 1);
    assert_eq!(json["fields"][0]["control_point"], 0);
    assert_eq!(json["fields"][3]["class"], "toleranced");
    assert_eq!(serde_json::from_value::<Difference>(json).unwrap(), difference);
}

/// Every leaf of every point moved, and one meterset: the leaves are counted, what is spelled out is bounded, and the
/// meterset is named.
#[test]
fn a_difference_of_any_size_is_bounded_and_counted() {
    use treatment::plan::diff::FIELDS_MAX;
    let points = 178;
    let mut plan = crate::build::arcs(points);
    let before = Plan::parse(&file(&plan, IMPLICIT)).unwrap();
    for beam in 0..2 {
        for point in 0..points {
            let mut path = crate::build::point_at(beam, point);
            path.push((t::BEAM_LIMITING_DEVICE_POSITION_SEQUENCE, if point == 0 { 2 } else { 0 }));
            let device = plan.at(&path);
            let shifted: Vec<String> = device
                .text(t::LEAF_JAW_POSITIONS)
                .split('\\')
                .map(|leaf| format!("{:.2}", leaf.parse::<f64>().unwrap() + point as f64 / 100.0 + 1.0))
                .collect();
            device.set(t::LEAF_JAW_POSITIONS, shifted.join("\\"));
        }
    }
    plan.at(&[(t::FRACTION_GROUP_SEQUENCE, 0), (t::REFERENCED_BEAM_SEQUENCE, 1)]).set(t::BEAM_METERSET, "250");
    let after = Plan::parse(&file(&plan, IMPLICIT)).unwrap();
    let difference = Difference::of(&before.delivery, &after.delivery);
    assert_eq!((difference.fields.len(), difference.delivery), (FIELDS_MAX, 2 * points * 120 + 1));
    assert_eq!(difference.more.iter().map(|more| more.fields).sum::<usize>(), difference.delivery - FIELDS_MAX);
    let left_out: Vec<String> = difference.more.iter().map(ToString::to_string).collect();
    assert!(left_out.contains(&"group 1 beam 2: (300A,0086) BeamMeterset: 1 more".to_owned()), "{left_out:?}");
    let few = Difference::spelling_out(&before.delivery, &after.delivery, 20);
    assert_eq!((few.fields.len(), few.delivery), (20, difference.delivery));
    assert!(!few.same_delivery());
}

/// What is taken over differs in one way all along; a leaf that stands while others move is one difference too.
#[test]
fn points_that_differ_alike_are_one_difference() {
    let points = 60;
    let mut plan = crate::build::photons();
    let beam = plan.at(&crate::build::beam_at(0));
    let last = beam.at(&[(t::CONTROL_POINT_SEQUENCE, 1)]).clone();
    for index in 2..points {
        beam.sequence(t::CONTROL_POINT_SEQUENCE).push(last.clone().with(t::CONTROL_POINT_INDEX, index.to_string()));
    }
    beam.set(t::NUMBER_OF_CONTROL_POINTS, points.to_string());
    let device = [(t::CONTROL_POINT_SEQUENCE, 0), (t::BEAM_LIMITING_DEVICE_POSITION_SEQUENCE, 2)];
    let shifted = "-11\\-11\\-12\\-13\\11\\11\\12\\13";
    let mut moved = plan.clone();
    plan.at(&crate::build::beam_at(0)).at(&device).set(t::LEAF_JAW_POSITIONS, "-10\\-11\\-12\\-13\\10\\11\\12\\13");
    moved.at(&crate::build::beam_at(0)).at(&device).set(t::LEAF_JAW_POSITIONS, shifted);
    // At point 30 one of the two goes back, repeated in full.
    let mut repeated = plan.at(&crate::build::beam_at(0)).at(&device).clone();
    repeated.set(t::LEAF_JAW_POSITIONS, "-11\\-11\\-12\\-13\\10\\11\\12\\13");
    moved
        .at(&crate::build::point_at(0, 30))
        .0
        .insert(t::BEAM_LIMITING_DEVICE_POSITION_SEQUENCE, V::Sequence(vec![repeated]));
    let [a, b] = [plan, moved].map(|plan| Plan::parse(&file(&plan, IMPLICIT)).unwrap().delivery);
    let lines: Vec<String> = Difference::of(&a, &b).fields.iter().map(ToString::to_string).collect();
    assert_eq!(
        lines,
        [
            "beam 1 point 0 device MLCX (to point 59): (300A,011C) LeafJawPositions [1]: -10.00 → -11.00 mm",
            "beam 1 point 0 device MLCX (to point 29): (300A,011C) LeafJawPositions [5]: 10.00 → 11.00 mm",
        ]
    );
}

/// A value of another length is shown by its first numbers and its length.
#[test]
fn a_long_value_is_not_spelled_out() {
    let [a, b] = [40, 41].map(|spots| Plan::parse(&file(&crate::build::ions(1, spots), IMPLICIT)).unwrap().delivery);
    let difference = Difference::of(&a, &b);
    let map = difference.fields.iter().find(|f| f.attribute.0 == t::SCAN_SPOT_POSITION_MAP).unwrap();
    assert!(map.a.as_ref().is_some_and(|a| a.ends_with("… (80 values)") && a.len() < 200), "{map:?}");
}

#[test]
fn a_toleranced_field_says_so() {
    let line = |tag: Tag, text: &str| {
        let mut plan = crate::build::photons();
        let before = Plan::parse(&file(&plan, IMPLICIT)).unwrap();
        plan.at(&crate::build::point_at(0, 0)).set(tag, text);
        plan.at(&[(t::TOLERANCE_TABLE_SEQUENCE, 0)]).set(t::GANTRY_ANGLE_TOLERANCE, "2");
        let after = Plan::parse(&file(&plan, IMPLICIT)).unwrap();
        let difference = Difference::of(&before.delivery, &after.delivery);
        difference.fields.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
    };
    let table = "beam 1 tolerance: (300A,0044) GantryAngleTolerance: 1.00 → 2.00 ° (toleranced)";
    assert_eq!(
        line(t::TABLE_TOP_VERTICAL_POSITION, "-121"),
        format!("{table}; beam 1 point 0: (300A,0128) TableTopVerticalPosition: -120.50 → -121.00 mm (toleranced)")
    );
    let far = line(t::SOURCE_TO_SURFACE_DISTANCE, "890");
    assert!(far.starts_with("beam 1 point 0"), "what is out of tolerance comes first: {far}");
    assert!(far.contains("912.30 → 890.00 mm (toleranced, beyond 10 mm)"), "{far}");
}

/// A meterset is counted in what the beam's dosimeter counts.
#[test]
fn a_meterset_has_the_unit_of_its_dosimeter() {
    let delivery = |unit: &str, meterset: &str| {
        let mut plan = crate::build::photons();
        plan.at(&crate::build::beam_at(1)).set(t::PRIMARY_DOSIMETER_UNIT, unit);
        plan.at(&crate::build::point_at(1, 0)).set(t::DOSE_RATE_SET, meterset);
        plan.at(&[(t::FRACTION_GROUP_SEQUENCE, 0), (t::REFERENCED_BEAM_SEQUENCE, 1)]).set(t::BEAM_METERSET, meterset);
        Plan::parse(&file(&plan, IMPLICIT)).unwrap().delivery
    };
    let lines = |a, b| -> Vec<String> { Difference::of(&a, &b).fields.iter().map(ToString::to_string).collect() };
    let rate = "beam 2 point 0 (to point 3): (300A,0115) DoseRateSet:";
    let meterset = "group 1 beam 2: (300A,0086) BeamMeterset:";
    for (unit, meterset_unit, rate_unit) in [("MU", " MU", " MU/min"), ("NP", " NP", " NP/min"), ("MINUTE", " min", "")]
    {
        let expected =
            [format!("{rate} 87.000 → 88.000{rate_unit}"), format!("{meterset} 87.000 → 88.000{meterset_unit}")];
        assert_eq!(lines(delivery(unit, "87"), delivery(unit, "88")), expected);
    }
    let both = lines(delivery("MU", "87"), delivery("NP", "88"));
    assert_eq!(both[0], "beam 2: (300A,00B3) PrimaryDosimeterUnit: MU → NP");
    assert_eq!(both[2], format!("{meterset} 87.000 MU → 88.000 NP"));
}

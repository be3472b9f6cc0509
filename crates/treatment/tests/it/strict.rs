//! A plan that can be read in two ways is refused, and the refusal says where.

use dicom_core::{Tag, VR};
use dicom_dictionary_std::tags as t;
use treatment::{Plan, PlanError};

use crate::build::{EXPLICIT, IMPLICIT, Item, V, arcs, beam_at, file, ions, photons, point_at};

pub fn parse(plan: &Item) -> Result<Plan, PlanError> {
    Plan::parse(&file(plan, IMPLICIT))
}

/// The refusal of a plan that was changed at a path.
pub fn refusal(mut plan: Item, path: &[(Tag, usize)], change: impl FnOnce(&mut Item)) -> PlanError {
    change(plan.at(path));
    parse(&plan).unwrap_err()
}

macro_rules! refused {
    ($plan:expr, $path:expr, $change:expr, $pattern:pat, $words:literal) => {{
        let error = refusal($plan, &$path, $change);
        assert!(matches!(error, $pattern), "{error:?}");
        assert!(error.to_string().contains($words), "{error}");
    }};
}

pub(crate) use refused;

pub const GROUP: [(Tag, usize); 1] = [(t::FRACTION_GROUP_SEQUENCE, 0)];
pub const FIRST_REFERENCE: [(Tag, usize); 2] = [(t::FRACTION_GROUP_SEQUENCE, 0), (t::REFERENCED_BEAM_SEQUENCE, 0)];

#[test]
fn a_number_that_its_type_does_not_hold_is_out_of_range() {
    // 2147483647 is the last that an IS holds.
    for number in ["2147483648", "99999999999", "-1", "-2147483649"] {
        refused!(
            photons(),
            beam_at(1),
            |b| b.set(t::BEAM_NUMBER, number),
            PlanError::Value { .. },
            "item 2: (300A,00C0) BeamNumber: value 1 lies outside of 0 to 2147483647"
        );
        refused!(
            photons(),
            FIRST_REFERENCE,
            |r| r.set(t::REFERENCED_BEAM_NUMBER, number),
            PlanError::Value { .. },
            "group 1 item 1: (300C,0006) ReferencedBeamNumber: value 1 lies outside of 0 to 2147483647"
        );
    }
    let error = refusal(photons(), &GROUP, |g| g.set(t::NUMBER_OF_BEAMS, "2147483648"));
    assert!(error.to_string().ends_with("value 1 lies outside of -2147483648 to 2147483647"), "{error}");
    refused!(
        photons(),
        beam_at(1),
        |b| b.set(t::BEAM_NUMBER, "2147483648x"),
        PlanError::Value { .. },
        "value 1 is not a number"
    );
}

#[test]
fn beams_and_groups_must_fit_together() {
    refused!(
        photons(),
        beam_at(1),
        |b| b.set(t::BEAM_NUMBER, "1"),
        PlanError::Duplicate { .. },
        "BeamNumber comes twice"
    );
    refused!(
        photons(),
        FIRST_REFERENCE,
        |r| r.set(t::REFERENCED_BEAM_NUMBER, "9"),
        PlanError::Dangling { .. },
        "beam 9"
    );
    refused!(
        photons(),
        beam_at(1),
        |b| b.set(t::BEAM_NUMBER, ""),
        PlanError::Missing { .. },
        "item 2: (300A,00C0) BeamNumber is missing"
    );
    refused!(
        photons(),
        FIRST_REFERENCE,
        |r| r.set(t::REFERENCED_BEAM_NUMBER, "2"),
        PlanError::Duplicate { .. },
        "group 1"
    );
    refused!(
        photons(),
        GROUP,
        |g| {
            g.sequence(t::REFERENCED_BEAM_SEQUENCE).pop();
            g.set(t::NUMBER_OF_BEAMS, "1");
        },
        PlanError::Unreferenced { .. },
        "beam 2: no fraction group"
    );
    refused!(
        photons(),
        GROUP,
        |g| g.set(t::NUMBER_OF_BEAMS, "3"),
        PlanError::Count { announced: 3, found: 2, .. },
        "NumberOfBeams"
    );
    refused!(
        photons(),
        GROUP,
        |g| g.set(t::NUMBER_OF_FRACTIONS_PLANNED, ""),
        PlanError::Missing { .. },
        "NumberOfFractionsPlanned"
    );
    refused!(photons(), GROUP, |g| g.set(t::NUMBER_OF_FRACTIONS_PLANNED, "0"), PlanError::Value { .. }, "1 to 1000");
    refused!(
        photons(),
        GROUP,
        |g| g.set(t::FRACTION_PATTERN, "11111"),
        PlanError::Value { .. },
        "it has 5 values, it takes 7"
    );
    refused!(
        photons(),
        GROUP,
        |g| g.set(t::NUMBER_OF_BRACHY_APPLICATION_SETUPS, "1"),
        PlanError::Brachytherapy,
        "not supported: hold"
    );
    refused!(
        photons(),
        [],
        |p| {
            p.0.remove(&t::FRACTION_GROUP_SEQUENCE);
        },
        PlanError::Missing { .. },
        "FractionGroupSequence"
    );
    refused!(
        photons(),
        [],
        |p| {
            p.0.remove(&t::BEAM_SEQUENCE);
        },
        PlanError::Dangling { .. } | PlanError::Missing { .. },
        "Sequence"
    );
    refused!(
        photons(),
        [],
        |p| {
            p.0.remove(&t::PATIENT_SETUP_SEQUENCE);
        },
        PlanError::Dangling { .. },
        "ReferencedPatientSetupNumber"
    );
    refused!(
        photons(),
        [],
        |p| {
            let setup = p.at(&[(t::PATIENT_SETUP_SEQUENCE, 0)]).clone();
            p.sequence(t::PATIENT_SETUP_SEQUENCE).push(setup);
        },
        PlanError::Duplicate { .. },
        "PatientSetupNumber"
    );
    refused!(
        photons(),
        [(t::PATIENT_SETUP_SEQUENCE, 0)],
        |s| {
            s.0.remove(&t::PATIENT_POSITION);
        },
        PlanError::Missing { .. },
        "beam 1 setup: (0018,5100) PatientPosition"
    );
    refused!(
        photons(),
        [],
        |p| {
            let beams = p.0[&t::BEAM_SEQUENCE].clone();
            p.0.insert(t::ION_BEAM_SEQUENCE, beams);
        },
        PlanError::Unknown { .. },
        "IonBeamSequence"
    );
    refused!(
        photons(),
        beam_at(1),
        |b| b.set(t::NUMBER_OF_WEDGES, "2"),
        PlanError::Count { announced: 2, found: 1, .. },
        "NumberOfWedges"
    );
    refused!(
        photons(),
        beam_at(1),
        |b| {
            b.0.remove(&t::NUMBER_OF_BLOCKS);
        },
        PlanError::Missing { .. },
        "NumberOfBlocks"
    );
    refused!(
        photons(),
        beam_at(0),
        |b| b.set(t::NUMBER_OF_CONTROL_POINTS, "3"),
        PlanError::Count { .. },
        "NumberOfControlPoints"
    );
    refused!(
        photons(),
        beam_at(0),
        |b| b.set(t::TREATMENT_DELIVERY_TYPE, "MAYBE"),
        PlanError::Value { .. },
        "none of TREATMENT"
    );
    let two_setups = |mut plan: Item| {
        let second = plan.at(&[(t::PATIENT_SETUP_SEQUENCE, 0)]).clone().with(t::PATIENT_SETUP_NUMBER, "2");
        plan.sequence(t::PATIENT_SETUP_SEQUENCE).push(second);
        plan
    };
    refused!(
        two_setups(photons()),
        beam_at(0),
        |b| {
            b.0.remove(&t::REFERENCED_PATIENT_SETUP_NUMBER);
        },
        PlanError::Missing { .. },
        "ReferencedPatientSetupNumber"
    );
}

#[test]
fn metersets_and_weights_must_make_a_beam() {
    for (meterset, words) in [
        ("", "missing"),
        ("-1", "outside of 0"),
        ("NaN", "not a number"),
        ("inf", "not a number"),
        ("1e99", "outside"),
        ("1\\2", "2 values"),
        ("0", "delivers nothing"),
        ("1,5", "not a number"),
        ("00000000000000001", "17 characters"),
    ] {
        let error = refusal(photons(), &FIRST_REFERENCE, |r| r.set(t::BEAM_METERSET, meterset));
        assert!(error.to_string().contains(words), "{meterset}: {error}");
        assert!(error.to_string().starts_with("group 1 beam 1: (300A,0086) BeamMeterset"), "{error}");
    }
    refused!(
        photons(),
        FIRST_REFERENCE,
        |r| {
            r.0.remove(&t::BEAM_METERSET);
        },
        PlanError::Missing { .. },
        "BeamMeterset"
    );
    refused!(
        photons(),
        point_at(1, 2),
        |p| p.set(t::CUMULATIVE_METERSET_WEIGHT, "0.3"),
        PlanError::Contradiction { .. },
        "beam 2 point 2: (300A,0134) CumulativeMetersetWeight: the weight falls"
    );
    // Falling by less than the digest resolves is falling.
    refused!(
        photons(),
        point_at(1, 2),
        |p| p.set(t::CUMULATIVE_METERSET_WEIGHT, "0.39999999999"),
        PlanError::Contradiction { .. },
        "falls"
    );
    refused!(
        photons(),
        point_at(1, 0),
        |p| p.set(t::CUMULATIVE_METERSET_WEIGHT, "0.1"),
        PlanError::Contradiction { .. },
        "not nought"
    );
    refused!(
        photons(),
        point_at(1, 3),
        |p| p.set(t::CUMULATIVE_METERSET_WEIGHT, "0.9"),
        PlanError::Contradiction { .. },
        "not the beam's final weight"
    );
    refused!(
        photons(),
        point_at(1, 3),
        |p| p.set(t::CUMULATIVE_METERSET_WEIGHT, ""),
        PlanError::Missing { .. },
        "CumulativeMetersetWeight"
    );
    refused!(
        photons(),
        beam_at(0),
        |b| b.set(t::FINAL_CUMULATIVE_METERSET_WEIGHT, "0"),
        PlanError::Contradiction { .. },
        "ends at nothing"
    );
    refused!(
        photons(),
        beam_at(0),
        |b| {
            b.0.remove(&t::FINAL_CUMULATIVE_METERSET_WEIGHT);
        },
        PlanError::Missing { .. },
        "FinalCumulative"
    );
    refused!(
        photons(),
        point_at(1, 3),
        |p| p.set(t::CONTROL_POINT_INDEX, "2"),
        PlanError::Contradiction { .. },
        "not in order"
    );
}

#[test]
fn the_first_control_point_says_everything() {
    for tag in [
        t::NOMINAL_BEAM_ENERGY,
        t::GANTRY_ANGLE,
        t::GANTRY_ROTATION_DIRECTION,
        t::BEAM_LIMITING_DEVICE_ANGLE,
        t::BEAM_LIMITING_DEVICE_ROTATION_DIRECTION,
        t::PATIENT_SUPPORT_ANGLE,
        t::PATIENT_SUPPORT_ROTATION_DIRECTION,
        t::TABLE_TOP_ECCENTRIC_ANGLE,
        t::TABLE_TOP_ECCENTRIC_ROTATION_DIRECTION,
        t::ISOCENTER_POSITION,
        t::BEAM_LIMITING_DEVICE_POSITION_SEQUENCE,
    ] {
        for emptied in [false, true] {
            let error = refusal(photons(), &point_at(0, 0), |p| match emptied && vr_is_text(p, tag) {
                true => p.set(tag, ""),
                false => drop(p.0.remove(&tag)),
            });
            assert!(matches!(error, PlanError::Missing { .. }), "{error:?}");
        }
    }
    // What changes later must have been said at first.
    refused!(
        photons(),
        point_at(0, 1),
        |p| p.set(t::TABLE_TOP_ECCENTRIC_AXIS_DISTANCE, "5"),
        PlanError::Late { .. },
        "point 1"
    );
    let mut plan = photons();
    plan.at(&point_at(0, 0)).set(t::DOSE_RATE_SET, "");
    refused!(plan, point_at(0, 1), |p| p.set(t::DOSE_RATE_SET, "600"), PlanError::Late { .. }, "DoseRateSet");
    // An empty value where there was one: unchanged or gone?
    refused!(
        photons(),
        point_at(0, 1),
        |p| p.set(t::DOSE_RATE_SET, ""),
        PlanError::Missing { .. },
        "beam 1 point 1: (300A,0115) DoseRateSet"
    );
    // One leaf bank of the first point.
    refused!(
        photons(),
        point_at(0, 0),
        |p| {
            p.sequence(t::BEAM_LIMITING_DEVICE_POSITION_SEQUENCE).pop();
        },
        PlanError::Missing { .. },
        "device MLCX"
    );
    refused!(
        photons(),
        point_at(1, 0),
        |p| {
            p.0.remove(&t::WEDGE_POSITION_SEQUENCE);
        },
        PlanError::Late { .. } | PlanError::Missing { .. },
        "wedge 1"
    );
}

fn vr_is_text(item: &Item, tag: Tag) -> bool {
    matches!(item.0.get(&tag), Some(V::Text(..)))
}

fn device(point: Vec<(Tag, usize)>, index: usize) -> Vec<(Tag, usize)> {
    [point, vec![(t::BEAM_LIMITING_DEVICE_POSITION_SEQUENCE, index)]].concat()
}

#[test]
fn shapes_must_have_their_numbers() {
    refused!(
        photons(),
        device(point_at(0, 0), 2),
        |d| d.set(t::LEAF_JAW_POSITIONS, "1\\2\\3\\4\\5\\6"),
        PlanError::Value { .. },
        "it has 6 values, it takes 8"
    );
    refused!(
        photons(),
        device(point_at(0, 0), 2),
        |d| d.set(t::LEAF_JAW_POSITIONS, "1\\2\\3"),
        PlanError::Value { .. },
        "pairs"
    );
    refused!(
        photons(),
        device(point_at(0, 0), 1),
        |d| d.set(t::LEAF_JAW_POSITIONS, "1\\"),
        PlanError::Value { .. },
        "value 2 is empty"
    );
    refused!(
        photons(),
        device(point_at(0, 0), 0),
        |d| d.set(t::RT_BEAM_LIMITING_DEVICE_TYPE, "MLCY"),
        PlanError::Dangling { .. },
        "device MLCY"
    );
    refused!(
        photons(),
        device(point_at(0, 0), 0),
        |d| d.set(t::RT_BEAM_LIMITING_DEVICE_TYPE, "MLCX"),
        PlanError::Duplicate { .. },
        "device MLCX"
    );
    let leaves = [(t::BEAM_SEQUENCE, 0), (t::BEAM_LIMITING_DEVICE_SEQUENCE, 2)];
    refused!(
        photons(),
        leaves,
        |d| d.set(t::LEAF_POSITION_BOUNDARIES, "-10\\-5\\0\\5"),
        PlanError::Value { .. },
        "it has 4 values, it takes 5"
    );
    refused!(
        photons(),
        leaves,
        |d| d.set(t::LEAF_POSITION_BOUNDARIES, "-10\\-5\\0\\-1\\10"),
        PlanError::Contradiction { .. },
        "don't rise"
    );
    refused!(
        photons(),
        leaves,
        |d| {
            d.0.remove(&t::LEAF_POSITION_BOUNDARIES);
        },
        PlanError::Missing { .. },
        "LeafPositionBoundaries"
    );
    let block = [(t::BEAM_SEQUENCE, 1), (t::BLOCK_SEQUENCE, 0)];
    refused!(
        photons(),
        block,
        |b| b.set(t::BLOCK_NUMBER_OF_POINTS, "4"),
        PlanError::Value { .. },
        "it has 6 values, it takes 8"
    );
    let compensator = [(t::BEAM_SEQUENCE, 1), (t::COMPENSATOR_SEQUENCE, 0)];
    refused!(photons(), compensator, |c| c.set(t::COMPENSATOR_ROWS, "3"), PlanError::Value { .. }, "it takes 6");
    refused!(
        photons(),
        point_at(0, 0),
        |p| p.set(t::ISOCENTER_POSITION, "1\\2"),
        PlanError::Value { .. },
        "it has 2 values, it takes 3"
    );
    refused!(
        photons(),
        point_at(0, 0),
        |p| p.set(t::GANTRY_ANGLE, "360.01"),
        PlanError::Value { .. },
        "outside of -360 to 360"
    );
    refused!(
        photons(),
        beam_at(0),
        |b| {
            b.0.insert(t::FRACTION_GROUP_NUMBER, V::Text(VR::IS, "1".into()));
        },
        PlanError::Unknown { .. },
        "beam 1"
    );
}

#[test]
fn an_unknown_standard_attribute_is_refused_wherever_dose_is_described() {
    // Real attributes of the standard that don't belong there, or that this digest doesn't cover.
    let tomotherapy = Tag(0x300A, 0x0658);
    for (path, place) in [
        (vec![], "plan"),
        (GROUP.to_vec(), "group 1"),
        (FIRST_REFERENCE.to_vec(), "group 1 beam 1"),
        (beam_at(0), "beam 1"),
        (point_at(0, 1), "beam 1 point 1"),
        (device(point_at(0, 0), 0), "beam 1 point 0 device ASYMX"),
        (vec![(t::BEAM_SEQUENCE, 1), (t::BLOCK_SEQUENCE, 0)], "beam 2 block 1"),
        (vec![(t::PATIENT_SETUP_SEQUENCE, 0)], "beam 1 setup"),
    ] {
        let error = refusal(photons(), &path, |item| drop(item.0.insert(tomotherapy, V::Sequence(vec![]))));
        let PlanError::Unknown { place: at, attribute } = &error else { panic!("{error:?}") };
        assert_eq!((at.to_string().as_str(), attribute.0), (place, tomotherapy));
        assert!(error.to_string().contains("(300A,0658) RadiationDosimeterUnitSequence"), "{error}");
        // A private one at the same place is nobody's business.
        let mut with_private = photons();
        with_private.at(&path).0.insert(Tag(0x3287, 0x1001), V::Text(VR::LO, "x".into()));
        assert_eq!(parse(&with_private).unwrap().digest(), parse(&photons()).unwrap().digest());
    }
    let enhanced = |beam: &mut Item| beam.set(t::ENHANCED_RT_BEAM_LIMITING_DEVICE_DEFINITION_FLAG, "YES");
    refused!(photons(), beam_at(0), enhanced, PlanError::Unsupported { .. }, "enhanced");
    let sinogram = |point: &mut Item| drop(point.0.insert(Tag(0x300D, 0x0010), V::Text(VR::LO, "TOMO_HA_01".into())));
    refused!(photons(), point_at(0, 1), sinogram, PlanError::Unsupported { .. }, "private");
}

#[test]
fn turns_must_be_told_apart() {
    refused!(
        arcs(5),
        point_at(0, 2),
        |p| p.set(t::GANTRY_ROTATION_DIRECTION, "NONE"),
        PlanError::Contradiction { .. },
        "point 3: (300A,011E) GantryAngle: the angle changes, and nothing says which way round"
    );
    refused!(
        arcs(5),
        point_at(0, 0),
        |p| p.set(t::GANTRY_ROTATION_DIRECTION, "LEFT"),
        PlanError::Value { .. },
        "CW, CC, NONE"
    );
    let full_turn = |p: &mut Item| {
        p.set(t::GANTRY_ANGLE, "0");
        p.set(t::GANTRY_ROTATION_DIRECTION, "CW");
    };
    let mut plan = photons();
    full_turn(plan.at(&point_at(0, 0)));
    refused!(
        plan,
        point_at(0, 1),
        |p| p.set(t::GANTRY_ANGLE, "360"),
        PlanError::Contradiction { .. },
        "a full turn or none"
    );
    // From -350° to 20°, clockwise: 370°, and its digest would be that of 30°.
    let mut plan = photons();
    plan.at(&point_at(0, 0)).set(t::GANTRY_ANGLE, "-350");
    plan.at(&point_at(0, 0)).set(t::GANTRY_ROTATION_DIRECTION, "CW");
    refused!(
        plan,
        point_at(0, 1),
        |p| p.set(t::GANTRY_ANGLE, "20"),
        PlanError::Contradiction { .. },
        "more than a full turn"
    );
    // 359.995° rounds to 360.00°, which is 0.00°: the same place.
    let digest = |angle: &str| {
        let mut plan = photons();
        plan.at(&point_at(0, 0)).set(t::GANTRY_ANGLE, angle);
        parse(&plan).unwrap().digest()
    };
    assert_eq!(digest("359.995"), digest("0"));
    assert_eq!(digest("360"), digest("0"));
    assert_eq!(digest("-90"), digest("270"));
    assert_ne!(digest("359.994"), digest("0"));
    // The other way round is another delivery, though every angle is the same.
    let mut half = arcs(2);
    for (beam, start, end) in [(0, "90", "270"), (1, "90", "270")] {
        half.at(&point_at(beam, 0)).set(t::GANTRY_ANGLE, start);
        half.at(&point_at(beam, 1)).set(t::GANTRY_ANGLE, end);
    }
    let clockwise = parse(&half).unwrap().digest();
    half.at(&point_at(0, 0)).set(t::GANTRY_ROTATION_DIRECTION, "CC");
    assert_ne!(parse(&half).unwrap().digest(), clockwise);
}

#[test]
fn a_couch_that_moves_while_the_beam_is_on_is_delivery() {
    let with_couch = |positions: [&str; 2]| {
        let mut plan = photons();
        for (point, position) in positions.into_iter().enumerate() {
            plan.at(&point_at(0, point)).set(t::TABLE_TOP_LONGITUDINAL_POSITION, position);
        }
        parse(&plan).unwrap()
    };
    let still = with_couch(["900", "900"]);
    assert_eq!(still.digest(), parse(&photons()).unwrap().digest());
    assert_eq!(with_couch(["700", "700"]).digest(), still.digest());
    assert_ne!(with_couch(["900", "950"]).digest(), still.digest());
    assert_eq!(with_couch(["900", "950"]).digest(), with_couch(["700", "750"]).digest());
    let unsaid = |position: &'static str| {
        let mut plan = photons();
        plan.at(&point_at(0, 0)).set(t::TABLE_TOP_LONGITUDINAL_POSITION, "");
        plan.at(&point_at(0, 1)).set(t::TABLE_TOP_LONGITUDINAL_POSITION, position);
        parse(&plan)
    };
    assert_eq!(unsaid("").unwrap().digest(), still.digest());
    assert!(matches!(unsaid("950"), Err(PlanError::Late { .. })));
}

#[test]
fn a_setup_field_may_do_without_dose_but_is_signed_too() {
    let mut plan = photons();
    let before = parse(&plan).unwrap();
    assert_eq!(before.beams.iter().map(|b| b.treats).collect::<Vec<_>>(), [true, true, false]);
    let imaging = plan.at(&beam_at(2));
    for tag in [t::FINAL_CUMULATIVE_METERSET_WEIGHT, t::PRIMARY_DOSIMETER_UNIT] {
        imaging.0.remove(&tag);
    }
    for point in imaging.sequence(t::CONTROL_POINT_SEQUENCE) {
        point.set(t::CUMULATIVE_METERSET_WEIGHT, "");
        point.0.remove(&t::NOMINAL_BEAM_ENERGY);
    }
    let after = parse(&plan).unwrap();
    assert_ne!(after.digest(), before.digest());
    // The same beam, called a treatment, is refused: nothing refers to it, and its energy is missing.
    plan.at(&beam_at(2)).set(t::TREATMENT_DELIVERY_TYPE, "TREATMENT");
    assert!(parse(&plan).is_err());
}

#[test]
fn spots_must_add_up() {
    let point = |index| vec![(t::ION_BEAM_SEQUENCE, 0), (t::ION_CONTROL_POINT_SEQUENCE, index)];
    let mut plan = ions(2, 4);
    parse(&plan).unwrap();
    refused!(
        ions(2, 4),
        point(0),
        |p| p.set(t::NUMBER_OF_SCAN_SPOT_POSITIONS, "5"),
        PlanError::Value { .. },
        "it takes 10"
    );
    refused!(
        ions(2, 4),
        point(0),
        |p| {
            p.0.insert(t::SCAN_SPOT_METERSET_WEIGHTS, V::Floats(vec![1.0, 1.0, 1.0, 2.0]));
        },
        PlanError::Contradiction { .. },
        "add up"
    );
    refused!(
        ions(2, 4),
        point(0),
        |p| {
            p.0.insert(t::SCAN_SPOT_METERSET_WEIGHTS, V::Floats(vec![f32::NAN; 4]));
        },
        PlanError::Value { .. },
        "not finite"
    );
    refused!(
        ions(2, 4),
        point(0),
        |p| {
            p.0.insert(t::SCAN_SPOT_METERSET_WEIGHTS, V::Floats(vec![2.0, -1.0, 1.0, 2.0]));
        },
        PlanError::Value { .. },
        "outside of 0"
    );
    for tag in [t::SCAN_SPOT_TUNE_ID, t::SCAN_SPOT_POSITION_MAP, t::SCAN_SPOT_METERSET_WEIGHTS, t::NUMBER_OF_PAINTINGS]
    {
        refused!(
            ions(2, 4),
            point(1),
            |p| {
                p.0.remove(&tag);
            },
            PlanError::Missing { .. },
            "point 1"
        );
    }
    refused!(
        ions(2, 4),
        point(0),
        |p| {
            p.0.remove(&t::SNOUT_POSITION);
        },
        PlanError::Missing { .. },
        "SnoutPosition"
    );
    refused!(
        ions(2, 4),
        point(0),
        |p| {
            p.0.remove(&t::RANGE_SHIFTER_SETTINGS_SEQUENCE);
        },
        PlanError::Missing { .. },
        "shifter 1"
    );
    let line = |beam: &mut Item| beam.set(t::SCAN_MODE, "LINE");
    refused!(ions(2, 4), [(t::ION_BEAM_SEQUENCE, 0)], line, PlanError::Unsupported { .. }, "Scan Mode");
    // Where dose goes within a layer is delivery, though the layer's sum is the same.
    let before = parse(&plan).unwrap().digest();
    plan.at(&point(0)).0.insert(t::SCAN_SPOT_METERSET_WEIGHTS, V::Floats(vec![1.5, 0.5, 1.0, 1.0]));
    assert_ne!(parse(&plan).unwrap().digest(), before);
}

#[test]
fn a_value_representation_is_not_negotiable() {
    let mut plan = photons();
    plan.at(&point_at(0, 0)).0.insert(t::GANTRY_ANGLE, V::Text(VR::LO, "300.5".into()));
    let error = Plan::parse(&file(&plan, EXPLICIT)).unwrap_err();
    assert!(error.to_string().contains("it has the value representation LO, the standard has DS"), "{error}");
    let mut plan = photons();
    plan.at(&beam_at(0)).0.insert(t::BEAM_LIMITING_DEVICE_SEQUENCE, V::Text(VR::UN, "xx".into()));
    assert!(Plan::parse(&file(&plan, EXPLICIT)).is_err());
}

#[test]
fn other_objects_are_no_plans() {
    let dose = crate::build::object(treatment::Kind::RtDose.sop_class(), "RTDOSE");
    assert!(matches!(parse(&dose), Err(PlanError::NotAPlan { .. })));
    for bytes in
        [&b""[..], b"not DICOM at all, but long enough to hold something", b"\x7fELF\x02\x01\x01\0\0\0", b"\x08"]
    {
        assert!(Plan::parse(bytes).unwrap_err().to_string().starts_with("this is not DICOM"));
    }
}

/// The promise is 5 ms; a shared test machine and an unoptimised build get some more.
#[test]
fn a_digest_takes_milliseconds() {
    for (name, plan) in [("two arcs of 178 control points", arcs(178)), ("60 layers of 200 spots", ions(60, 200))] {
        let bytes = file(&plan, IMPLICIT);
        let fastest = (0..20)
            .map(|_| {
                let start = std::time::Instant::now();
                Plan::parse(&bytes).unwrap();
                start.elapsed()
            })
            .min()
            .unwrap();
        println!("{name}: {} bytes, {fastest:?}", bytes.len());
        assert!(fastest.as_millis() < 50, "{name}: {fastest:?}");
    }
}

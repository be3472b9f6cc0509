//! At the edges of what can be read: emptied values, padding, weights next to nothing. What is refused is refused by
//! its own name, and what moves no dose refuses no plan.

use dicom_dictionary_std::tags as t;
use treatment::PlanError;

use crate::build::{Item, V, beam_at, ions, photons, point_at};
use crate::strict::{FIRST_REFERENCE, GROUP, parse, refusal, refused};

/// What would deliver nothing, or can't be said to be nothing, is refused by its own name.
#[test]
fn a_refusal_names_what_is_wrong() {
    for meterset in ["0.0004", "0.000499999"] {
        let change = |r: &mut Item| r.set(t::BEAM_METERSET, meterset);
        refused!(photons(), FIRST_REFERENCE, change, PlanError::Contradiction { .. }, "delivers nothing");
    }
    let mut least = photons();
    least.at(&FIRST_REFERENCE).set(t::BEAM_METERSET, "0.0005");
    parse(&least).unwrap();
    for tag in [t::TREATMENT_MACHINE_SEQUENCE, t::BRACHY_TREATMENT_TYPE] {
        let change = |p: &mut Item| match tag {
            t::BRACHY_TREATMENT_TYPE => p.set(tag, "MANUAL"),
            _ => drop(p.0.insert(tag, V::Sequence(vec![Item::new().with(t::TREATMENT_MACHINE_NAME, "X")]))),
        };
        refused!(photons(), [], change, PlanError::Unknown { .. }, "plan: (300A,020");
    }
    let passive = crate::passive::passive_ions;
    let ion_point = [(t::ION_BEAM_SEQUENCE, 0), (t::ION_CONTROL_POINT_SEQUENCE, 0)];
    let mut without = passive();
    without
        .at(&[(t::ION_BEAM_SEQUENCE, 0), (t::ION_CONTROL_POINT_SEQUENCE, 1)])
        .0
        .remove(&t::ION_WEDGE_POSITION_SEQUENCE);
    let change = |p: &mut Item| drop(p.0.remove(&t::ION_WEDGE_POSITION_SEQUENCE));
    refused!(without, ion_point, change, PlanError::Missing { .. }, "wedge 1: (300A,03AC) IonWedgePositionSequence");
    let compensator = [(t::BEAM_SEQUENCE, 1), (t::COMPENSATOR_SEQUENCE, 0)];
    for tag in [t::COMPENSATOR_ROWS, t::COMPENSATOR_COLUMNS] {
        let error = refusal(photons(), &compensator, |c| drop(c.0.remove(&tag)));
        let PlanError::Missing { attribute, .. } = error else { panic!("{error:?}") };
        assert_eq!(attribute.0, tag);
    }
    let block = [(t::ION_BEAM_SEQUENCE, 0), (t::ION_BLOCK_SEQUENCE, 0)];
    let change = |b: &mut Item| drop(b.0.remove(&t::NUMBER_OF_BLOCK_SLAB_ITEMS));
    refused!(passive(), block, change, PlanError::Missing { .. }, "block 1: (300A,0440) NumberOfBlockSlabItems");
    let change = |b: &mut Item| b.set(t::NUMBER_OF_BLOCK_SLAB_ITEMS, "3");
    refused!(passive(), block, change, PlanError::Count { announced: 3, found: 2, .. }, "here are 2");
    let change = |g: &mut Item| g.set(t::FRACTION_PATTERN, "0000000");
    refused!(photons(), GROUP, change, PlanError::Contradiction { .. }, "FractionPattern: it gives no fraction");
    for (tag, number) in [(t::REPEAT_FRACTION_CYCLE_LENGTH, "-1"), (t::NUMBER_OF_FRACTION_PATTERN_DIGITS_PER_DAY, "0")]
    {
        let error = refusal(photons(), &GROUP, |g| g.set(tag, number));
        let PlanError::Value { attribute, .. } = &error else { panic!("{error:?}") };
        assert_eq!(attribute.0, tag);
        assert!(error.to_string().contains("outside of 1 to 100"), "{error}");
    }
}

/// Weights far below what the digest resolves are nought, and neither fall nor lie outside.
#[test]
fn tiny_weights_are_nought() {
    let mut plan = photons();
    plan.at(&point_at(1, 1)).set(t::CUMULATIVE_METERSET_WEIGHT, "1e-50");
    let tiny = parse(&plan).unwrap().digest();
    plan.at(&point_at(1, 1)).set(t::CUMULATIVE_METERSET_WEIGHT, "0");
    assert_eq!(parse(&plan).unwrap().digest(), tiny);
    plan.at(&point_at(1, 1)).set(t::CUMULATIVE_METERSET_WEIGHT, "-1e-50");
    assert!(parse(&plan).is_err());
    let falling = [("1e-50", "1e-51"), ("1e-50", "0")];
    for (first, second) in falling {
        let mut plan = photons();
        plan.at(&point_at(1, 1)).set(t::CUMULATIVE_METERSET_WEIGHT, first);
        let change = |p: &mut Item| p.set(t::CUMULATIVE_METERSET_WEIGHT, second);
        refused!(plan, point_at(1, 2), change, PlanError::Contradiction { .. }, "falls");
    }
    let spots = |least: f32| {
        let mut plan = ions(2, 4);
        let point = plan.at(&[(t::ION_BEAM_SEQUENCE, 0), (t::ION_CONTROL_POINT_SEQUENCE, 0)]);
        point.0.insert(t::SCAN_SPOT_METERSET_WEIGHTS, V::Floats(vec![2.0, least, 1.0, 1.0]));
        parse(&plan).map(|plan| plan.digest())
    };
    assert_eq!(spots(1e-42), spots(0.0));
    assert!(spots(0.0).is_ok() && spots(-1e-42).is_err());
}

/// Every share is rounded; 2,400 of them may miss the sum by as many half units.
#[test]
fn rounded_spots_add_up() {
    let mut plan = ions(2, 2_400);
    let beam = plan.at(&[(t::ION_BEAM_SEQUENCE, 0)]);
    beam.set(t::FINAL_CUMULATIVE_METERSET_WEIGHT, "1");
    for (index, (weight, spot)) in [("0", 0.333), ("0.333", 0.0), ("0.333", 0.667), ("1", 0.0)].into_iter().enumerate()
    {
        let point = beam.at(&[(t::ION_CONTROL_POINT_SEQUENCE, index)]);
        point.set(t::CUMULATIVE_METERSET_WEIGHT, weight);
        point.0.insert(t::SCAN_SPOT_METERSET_WEIGHTS, V::Floats(vec![spot / 2_400.0; 2_400]));
    }
    parse(&plan).unwrap();
    // A percent of the layer is missing.
    let point = [(t::ION_BEAM_SEQUENCE, 0), (t::ION_CONTROL_POINT_SEQUENCE, 0)];
    let change =
        |p: &mut Item| drop(p.0.insert(t::SCAN_SPOT_METERSET_WEIGHTS, V::Floats(vec![0.3297 / 2_400.0; 2_400])));
    refused!(plan, point, change, PlanError::Contradiction { .. }, "add up");
}

/// A name that can't be read, and a date in an old form, move no dose.
#[test]
fn what_moves_no_dose_refuses_no_plan() {
    let mut plan = photons();
    let digest = parse(&plan).unwrap().digest();
    plan.set(t::SPECIFIC_CHARACTER_SET, "\\ISO 2022 IR 87");
    plan.set(t::PATIENT_NAME, "Yamada^Tarou=\u{1b}$B;3ED\u{1b}(B^\u{1b}$BB@O:\u{1b}(B");
    plan.set(t::STUDY_DATE, "2024.01.01");
    let read = parse(&plan).unwrap();
    assert_eq!((read.digest(), &read.instance.patient_name, &read.instance.study_date), (digest, &None, &None));
    // Whose it is must be read without a doubt.
    plan.set(t::PATIENT_ID, "\u{1b}$B;3");
    assert!(parse(&plan).is_err());
}

/// A machine without a name is none, however it is padded.
#[test]
fn a_text_of_padding_only_is_empty() {
    for padding in ["\0\0", " \0", "\0 \0 ", "  ", ""] {
        for (plan, path, tag) in [
            (photons(), beam_at(0), t::TREATMENT_MACHINE_NAME),
            (crate::build::electrons(), vec![(t::BEAM_SEQUENCE, 0), (t::APPLICATOR_SEQUENCE, 0)], t::APPLICATOR_ID),
            (
                ions(2, 4),
                vec![
                    (t::ION_BEAM_SEQUENCE, 0),
                    (t::ION_CONTROL_POINT_SEQUENCE, 0),
                    (t::RANGE_SHIFTER_SETTINGS_SEQUENCE, 0),
                ],
                t::RANGE_SHIFTER_SETTING,
            ),
        ] {
            let error = refusal(plan, &path, |item| item.set(tag, padding));
            let PlanError::Missing { attribute, .. } = error else { panic!("{padding:?}: {error:?}") };
            assert_eq!(attribute.0, tag);
        }
        // Where it isn't needed it is as absent.
        let mut plan = photons();
        plan.at(&beam_at(0)).set(t::DEVICE_SERIAL_NUMBER, padding);
        let padded = parse(&plan).unwrap().digest();
        plan.at(&beam_at(0)).0.remove(&t::DEVICE_SERIAL_NUMBER);
        assert_eq!(padded, parse(&plan).unwrap().digest());
    }
}

/// "Unchanged" and "none" can't be told apart, for a sequence and for the couch as little as for a value.
#[test]
fn what_is_emptied_after_it_had_a_value_is_refused() {
    let shape = t::BEAM_LIMITING_DEVICE_POSITION_SEQUENCE;
    for (plan, beams, points, beam, point, sequence) in [
        (photons(), t::BEAM_SEQUENCE, t::CONTROL_POINT_SEQUENCE, 0, 1, shape),
        (photons(), t::BEAM_SEQUENCE, t::CONTROL_POINT_SEQUENCE, 1, 1, t::WEDGE_POSITION_SEQUENCE),
        (ions(2, 4), t::ION_BEAM_SEQUENCE, t::ION_CONTROL_POINT_SEQUENCE, 0, 2, t::RANGE_SHIFTER_SETTINGS_SEQUENCE),
    ] {
        let error = refusal(plan.clone(), &[(beams, beam), (points, point)], |p| {
            p.0.insert(sequence, V::Sequence(vec![]));
        });
        let PlanError::Missing { place, attribute } = &error else { panic!("{error:?}") };
        assert_eq!((place.point, attribute.0), (Some(u32::try_from(point).unwrap()), sequence));
        parse(&plan).unwrap();
    }
    // An item that sets a device to nothing.
    for (plan, beams, points, sequence, tag) in [
        (crate::build::arcs(5), t::BEAM_SEQUENCE, t::CONTROL_POINT_SEQUENCE, shape, t::LEAF_JAW_POSITIONS),
        (
            crate::passive::passive_ions(),
            t::ION_BEAM_SEQUENCE,
            t::ION_CONTROL_POINT_SEQUENCE,
            t::RANGE_SHIFTER_SETTINGS_SEQUENCE,
            t::RANGE_SHIFTER_SETTING,
        ),
    ] {
        let path = [(beams, 0), (points, 1), (sequence, 0)];
        let error = refusal(plan, &path, |item| drop(item.0.remove(&tag)));
        assert!(matches!(error, PlanError::Missing { attribute, .. } if attribute.0 == tag), "{error:?}");
    }
    // There is nothing that an empty sequence could take away.
    let mut plan = photons();
    plan.at(&point_at(0, 1)).0.insert(t::WEDGE_POSITION_SEQUENCE, V::Sequence(vec![]));
    assert_eq!(parse(&plan).unwrap().digest(), parse(&photons()).unwrap().digest());
    for tag in [t::TABLE_TOP_VERTICAL_POSITION, t::TABLE_TOP_LONGITUDINAL_POSITION, t::TABLE_TOP_LATERAL_POSITION] {
        let mut plan = photons();
        plan.at(&point_at(1, 1)).set(tag, "150");
        parse(&plan).unwrap();
        refused!(plan, point_at(1, 2), |p| p.set(tag, ""), PlanError::Missing { .. }, "beam 2 point 2: (300A,012");
    }
    // The distance to the skin is toleranced, and empty at will.
    let mut plan = photons();
    plan.at(&point_at(0, 1)).set(t::SOURCE_TO_SURFACE_DISTANCE, "");
    parse(&plan).unwrap();
    // Spots are never taken over, not in a setup field either.
    let mut plan = ions(2, 4);
    plan.at(&[(t::ION_BEAM_SEQUENCE, 0)]).set(t::SCAN_MODE, "UNIFORM");
    let last = [(t::ION_BEAM_SEQUENCE, 0), (t::ION_CONTROL_POINT_SEQUENCE, 3)];
    refused!(plan, last, |p| drop(p.0.remove(&t::SCAN_SPOT_TUNE_ID)), PlanError::Missing { .. }, "ScanSpotTuneID");
}

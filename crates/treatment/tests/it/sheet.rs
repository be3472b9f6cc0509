//! The paper of a plan: every row that moves dose stands on it, and what changes while the beam is on says so.

use std::collections::BTreeSet;

use dicom_dictionary_std::tags as t;
use treatment::{BeamSheet, Plan};

use crate::build::{self, EXPLICIT, Item, later_point, point_at, position};

fn sheets(plan: &Item) -> Vec<BeamSheet> {
    let plan = Plan::parse(&build::file(plan, EXPLICIT)).unwrap();
    plan.sheet(&plan.groups[0])
}

fn value<'a>(beam: &'a BeamSheet, what: &str) -> &'a str {
    let line = beam.settings.iter().find(|one| one.what == what);
    line.map_or_else(|| panic!("{what}: {:?}", beam.settings), |line| line.value.as_str())
}

#[test]
fn what_changes_while_the_beam_is_on_says_so() {
    let beams = sheets(&build::photons());
    let (open, wedged) = (&beams[0], &beams[1]);
    assert_eq!(value(open, "Gantry"), "300.50 °");
    assert_eq!((value(open, "Couch pitch"), value(open, "Couch roll")), ("358.50 °", "0.25 °"));
    assert_eq!(value(open, "device ASYMX: Leaf Jaw Positions"), "-50.00, 50.00 mm");
    assert_eq!(open.not_by_hand.as_deref(), Some("2 control points, 1 leaf shapes"));
    assert_eq!(value(wedged, "wedge 1: Wedge Position"), "IN to OUT");
    assert!(wedged.not_by_hand.is_some());
    assert!(!open.tolerances.is_empty() && open.settings.iter().all(|one| !one.what.starts_with("tolerance")));

    // Both ways round, and there and back again.
    let arcs = sheets(&build::arcs(20));
    assert_eq!(value(&arcs[0], "Gantry"), "181.00 clockwise to 179.00 °");
    assert_eq!(value(&arcs[1], "Gantry"), "179.00 counter-clockwise to 181.00 °");
    assert_eq!(arcs[0].not_by_hand.as_deref(), Some("20 control points, 20 leaf shapes"));
    let mut swing = build::arcs(5);
    let path = [("182", "CW"), ("200", "CW"), ("220", "CC"), ("200", "CC"), ("182", "NONE")];
    for (index, (angle, way)) in path.into_iter().enumerate() {
        let point = swing.at(&point_at(0, index));
        point.set(t::GANTRY_ANGLE, angle);
        point.set(t::GANTRY_ROTATION_DIRECTION, way);
    }
    assert_eq!(value(&sheets(&swing)[0], "Gantry"), "182.00 clockwise to 220.00 counter-clockwise to 182.00 °");

    // A jaw that closes half way.
    let mut plan = build::photons();
    let beam = plan.at(&build::beam_at(0));
    beam.set(t::NUMBER_OF_CONTROL_POINTS, "3");
    let points = beam.sequence(t::CONTROL_POINT_SEQUENCE);
    points[1] = later_point(1, "0.5").items(t::BEAM_LIMITING_DEVICE_POSITION_SEQUENCE, [position("ASYMX", "-10\\10")]);
    points.push(later_point(2, "1"));
    assert_eq!(value(&sheets(&plan)[0], "device ASYMX: Leaf Jaw Positions"), "-50.00, 50.00 to -10.00, 10.00 mm");

    let electrons = sheets(&build::electrons());
    assert_eq!(electrons[0].not_by_hand, None, "a cut-out and an applicator are set by hand");
    let ions = sheets(&build::ions(3, 4));
    assert!(ions[0].not_by_hand.as_deref().unwrap().contains("scan spots"), "{:?}", ions[0].not_by_hand);
}

/// Nothing that the digest is taken over is missing: it stands on the paper, or the paper says that it stands in the file.
#[test]
fn no_row_of_a_plan_is_missing() {
    let spoken = |tag| {
        Some(match tag {
            t::RADIATION_TYPE => "Radiation",
            t::BEAM_TYPE => "Delivery",
            t::NOMINAL_BEAM_ENERGY => "Energy",
            t::DOSE_RATE_SET => "Dose rate",
            t::GANTRY_ANGLE => "Gantry",
            t::BEAM_LIMITING_DEVICE_ANGLE => "Collimator",
            t::PATIENT_SUPPORT_ANGLE => "Couch",
            t::TABLE_TOP_PITCH_ANGLE => "Couch pitch",
            t::TABLE_TOP_ROLL_ANGLE => "Couch roll",
            t::TABLE_TOP_ECCENTRIC_ANGLE => "Table top eccentric angle",
            t::GANTRY_PITCH_ANGLE => "Gantry pitch",
            t::TABLE_TOP_VERTICAL_POSITION => "Table vertical",
            t::TABLE_TOP_LONGITUDINAL_POSITION => "Table longitudinal",
            t::TABLE_TOP_LATERAL_POSITION => "Table lateral",
            t::SNOUT_POSITION => "Snout",
            t::ISOCENTER_POSITION => "Isocentre",
            t::SOURCE_TO_SURFACE_DISTANCE => "SSD",
            _ => return None,
        })
    };
    // In the head of a beam; weights and the ways that things turn are said with what they are of; names of parts are parts' names.
    let elsewhere = [
        t::TREATMENT_MACHINE_NAME,
        t::PRIMARY_DOSIMETER_UNIT,
        t::BEAM_METERSET,
        t::CUMULATIVE_METERSET_WEIGHT,
        t::RT_BEAM_LIMITING_DEVICE_TYPE,
        t::NUMBER_OF_LEAF_JAW_PAIRS,
        t::LEAF_POSITION_BOUNDARIES,
        t::SOURCE_TO_BEAM_LIMITING_DEVICE_DISTANCE,
        t::ISOCENTER_TO_BEAM_LIMITING_DEVICE_DISTANCE,
    ];
    let mut checked = 0;
    for (name, item) in build::all() {
        let plan = Plan::parse(&build::file(&item, EXPLICIT)).unwrap();
        for beam in plan.groups.iter().flat_map(|group| plan.sheet(group)) {
            let lines: BTreeSet<&str> =
                beam.settings.iter().chain(&beam.tolerances).map(|one| one.what.as_str()).collect();
            let rows = plan.delivery.rows().iter().filter(|row| row.place.beam == Some(beam.number));
            for row in rows {
                let keyword = treatment::Attribute(row.tag).keyword();
                let is_many = row.place.point.is_some() && format!("{:?}", row.value).matches(',').count() > 1;
                let is_said = elsewhere.contains(&row.tag)
                    || keyword.ends_with("RotationDirection")
                    || (keyword.ends_with("Number") && row.tag != t::DEVICE_SERIAL_NUMBER)
                    || keyword.starts_with("NumberOf")
                    || keyword.ends_with("Sequence")
                    || (is_many && row.tag != t::ISOCENTER_POSITION && beam.not_by_hand.is_some());
                let is_level = format!("{:?}", row.value) == "Numbers([0])" && keyword.starts_with("TableTop");
                let words: String = keyword.to_lowercase();
                let is_there = spoken(row.tag).is_some_and(|what| row.place.part.is_none() && lines.contains(what))
                    || lines.iter().any(|line| line.replace(' ', "").to_lowercase().ends_with(&words));
                assert!(
                    is_said || is_level || is_there,
                    "{name}, beam {}: {} {keyword}: {lines:?}",
                    beam.number,
                    row.place
                );
                checked += 1;
            }
        }
    }
    assert!(checked > 1_000, "{checked}");
}

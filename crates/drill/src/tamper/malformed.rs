//! Edits after which nobody could say what would be delivered: files that must be refused, never guessed at.

use super::plan::{Plan, tag};
use super::walk::Tag;
use super::{Act, Class, Edit};
use crate::synthetic::Rng;

const fn tree(name: &'static str, what: &'static str, act: fn(&mut Plan, &Rng) -> bool) -> Edit {
    Edit { name, what, class: Class::Malformed, act: Act::Tree(act) }
}

const fn raw(name: &'static str, what: &'static str, act: fn(&[u8], &Rng) -> Option<Vec<u8>>) -> Edit {
    Edit { name, what, class: Class::Malformed, act: Act::Raw(act) }
}

#[rustfmt::skip]
pub(super) const EDITS: &[Edit] = &[
    tree("beam-number-twice", "two beams have the same number", beam_number_twice),
    tree("weights-fall", "the cumulative meterset weight falls", weights_fall),
    tree("first-point-without-gantry", "the first control point has no gantry angle", |p, _| first_point_without(p, tag::GANTRY_ANGLE)),
    tree("first-point-without-isocentre", "the first control point has no isocentre", |p, _| first_point_without(p, tag::ISOCENTER_POSITION)),
    tree("first-point-without-energy", "the first control point has no energy", |p, _| first_point_without(p, tag::NOMINAL_BEAM_ENERGY)),
    tree("meterset-missing", "a beam's meterset is missing", meterset_missing),
    tree("meterset-no-number", "a beam's meterset is no number", meterset_no_number),
    tree("point-count-wrong", "the number of control points does not match", point_count_wrong),
    tree("leaf-missing", "a leaf has no position", leaf_missing),
    tree("reference-to-no-beam", "the fraction group calls for a beam that isn't there", reference_to_no_beam),
    tree("unknown-attribute", "a standard attribute stands inside a beam where the standard has none", unknown_attribute),
    tree("spot-missing", "a spot has a weight and no position", spot_missing),
    raw("truncated", "the file ends too early", truncated),
    raw("nested", "sequences nest ten thousand deep", nested),
    raw("empty", "the file is empty", |_, _| Some(vec![])),
];

fn beam_number_twice(plan: &mut Plan, _: &Rng) -> bool {
    let [first, second, ..] = plan.beams() else { return false };
    let Some(number) = first.text(tag::BEAM_NUMBER) else { return false };
    second.set_text(tag::BEAM_NUMBER, *b"IS", &number);
    true
}

fn weights_fall(plan: &mut Plan, _: &Rng) -> bool {
    plan.points().any(|points| match points.as_mut_slice() {
        [_, inner, .., _] => {
            inner.set_numbers(tag::CUMULATIVE_METERSET_WEIGHT, &[-0.5]);
            true
        }
        _ => false,
    })
}

fn first_point_without(plan: &mut Plan, tag: Tag) -> bool {
    plan.points().filter_map(|points| points.first_mut()).any(|point| point.remove(tag))
}

fn meterset_missing(plan: &mut Plan, _: &Rng) -> bool {
    let beam = plan.referenced_beams().and_then(|beams| beams.first_mut());
    beam.is_some_and(|beam| beam.remove(tag::BEAM_METERSET))
}

fn meterset_no_number(plan: &mut Plan, _: &Rng) -> bool {
    let beam = plan.referenced_beams().and_then(|beams| beams.first_mut());
    beam.map(|beam| beam.set_text(tag::BEAM_METERSET, *b"DS", "1O0.5")).is_some()
}

fn point_count_wrong(plan: &mut Plan, _: &Rng) -> bool {
    let beam = plan.beams().first_mut();
    beam.map(|beam| beam.set_text(tag::NUMBER_OF_CONTROL_POINTS, *b"IS", "777")).is_some()
}

fn leaf_missing(plan: &mut Plan, _: &Rng) -> bool {
    let mut devices =
        plan.all_points().filter_map(|point| point.items_mut(tag::BEAM_LIMITING_DEVICE_POSITION_SEQUENCE)).flatten();
    devices.any(|device| {
        let mut positions = device.numbers(tag::LEAF_JAW_POSITIONS);
        let several = positions.len() > 2;
        if several {
            positions.pop();
            device.set_numbers(tag::LEAF_JAW_POSITIONS, &positions);
        }
        several
    })
}

fn reference_to_no_beam(plan: &mut Plan, _: &Rng) -> bool {
    let reference = plan.referenced_beams().and_then(|beams| beams.first_mut());
    reference.map(|reference| reference.set_text(tag::REFERENCED_BEAM_NUMBER, *b"IS", "4242")).is_some()
}

/// (0018,0060) KVP stands in ion control points and nowhere in a photon beam; (0018,1150) Exposure Time in neither.
fn unknown_attribute(plan: &mut Plan, _: &Rng) -> bool {
    const EXPOSURE_TIME: Tag = 0x0018_1150;
    plan.all_points().next().map(|point| point.set_text(EXPOSURE_TIME, *b"IS", "100")).is_some()
}

fn spot_missing(plan: &mut Plan, _: &Rng) -> bool {
    let point = plan.all_points().find(|point| point.floats(tag::SCAN_SPOT_POSITION_MAP).len() > 2);
    point.is_some_and(|point| {
        let mut positions = point.floats(tag::SCAN_SPOT_POSITION_MAP);
        positions.truncate(positions.len() - 2);
        point.set_floats(tag::SCAN_SPOT_POSITION_MAP, &positions);
        true
    })
}

fn truncated(file: &[u8], rng: &Rng) -> Option<Vec<u8>> {
    // Inside the last quarter, where the beams are. To an odd length: elements end at even ones, and a file that ends with one is
    // whole, but for attributes that may not matter.
    let quarter = file.len() / 4;
    let end = file.len() - 1 - rng.index(quarter);
    file.get(..end - usize::from(end.is_multiple_of(2))).map(<[u8]>::to_vec)
}

/// Appends a private sequence that nests until a recursive parser runs out of stack.
fn nested(file: &[u8], _: &Rng) -> Option<Vec<u8>> {
    const DEPTH: usize = 10_000;
    let mut out = file.to_vec();
    for _ in 0..DEPTH {
        // (3301,1001) SQ of undefined length, one item of undefined length.
        out.extend(b"\x01\x33\x01\x10SQ\x00\x00\xff\xff\xff\xff\xfe\xff\x00\xe0\xff\xff\xff\xff");
    }
    for _ in 0..DEPTH {
        out.extend(b"\xfe\xff\x0d\xe0\x00\x00\x00\x00\xfe\xff\xdd\xe0\x00\x00\x00\x00");
    }
    Some(out)
}

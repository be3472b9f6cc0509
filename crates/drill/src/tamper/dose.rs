//! Edits that move dose. Each is what a thief of the plan store, a careless hand or a broken export could do.

use super::plan::{Plan, tag};
use super::walk::{Dataset, Tag};
use super::{Act, Class, Edit};
use crate::synthetic::Rng;

const fn edit(name: &'static str, what: &'static str, act: fn(&mut Plan, &Rng) -> bool) -> Edit {
    Edit { name, what, class: Class::MovesDose, act: Act::Tree(act) }
}

const fn displaced(name: &'static str, what: &'static str, act: fn(&mut Plan, &Rng) -> bool) -> Edit {
    Edit { name, what, class: Class::Displaced, act: Act::Tree(act) }
}

#[rustfmt::skip]
pub(super) const EDITS: &[Edit] = &[
    edit("meterset-1-percent", "one beam delivers 1 % more", |p, _| reference_number(p, tag::BEAM_METERSET, |mu| mu * 1.01)),
    edit("meterset-0.01-mu", "one beam delivers 0.01 MU more", |p, _| reference_number(p, tag::BEAM_METERSET, |mu| mu + 0.01)),
    edit("metersets-swapped", "two beams' metersets are swapped", metersets_swapped),
    edit("fractions-one-more", "one fraction more is planned", fractions_one_more),
    edit("beam-removed", "one beam is left out", beam_removed),
    edit("beam-repeated", "one beam is given twice", beam_repeated),
    edit("gantry-1-degree", "the gantry stands 1° further", |p, _| first_point_number(p, tag::GANTRY_ANGLE, |a| (a + 1.0) % 360.0)),
    edit("gantry-turns-other-way", "the gantry turns the other way round", gantry_turns_other_way),
    edit("arc-bent", "one gantry angle inside an arc is 1° off", arc_bent),
    edit("collimator-1-degree", "the collimator stands 1° further", |p, _| first_point_number(p, tag::BEAM_LIMITING_DEVICE_ANGLE, |a| (a + 1.0) % 360.0)),
    edit("couch-2-degrees", "the couch stands 2° further", |p, _| first_point_number(p, tag::PATIENT_SUPPORT_ANGLE, |a| (a + 2.0) % 360.0)),
    edit("energy", "another beam energy", |p, _| first_point_number(p, tag::NOMINAL_BEAM_ENERGY, |e| if (e - 6.0).abs() < 0.01 { 10.0 } else { e + 4.0 })),
    edit("fluence-mode", "with the flattening filter instead of without, or the other way round", fluence_mode),
    edit("machine", "another treatment machine", machine),
    edit("isocentre-2-mm", "the isocentre lies 2 mm elsewhere", isocentre),
    edit("leaf-1-mm", "one leaf stands 1 mm further out, at one control point", leaf),
    edit("jaw-5-mm", "one jaw stands 5 mm further out", jaw),
    edit("leaf-boundary-1-mm", "one leaf is 1 mm wider", leaf_boundary),
    edit("dose-rate", "another dose rate", |p, _| first_point_number(p, tag::DOSE_RATE_SET, |r| if r > 0.0 { r / 2.0 } else { 300.0 })),
    edit("weights", "the dose is distributed otherwise along the beam", weights),
    edit("weights-cut-short", "the beam ends at half its final weight", weights_cut_short),
    edit("control-point-removed", "one control point inside a beam is left out", control_point_removed),
    edit("wedge-dropped", "a wedge is left out", wedge_dropped),
    edit("wedge-angle", "a wedge of another angle", |p, _| device_number(p, tag::WEDGE_SEQUENCE, tag::WEDGE_ANGLE, |a| a + 15.0)),
    edit("wedge-turned", "a wedge is turned round", |p, _| device_number(p, tag::WEDGE_SEQUENCE, tag::WEDGE_ORIENTATION, |a| (a + 180.0) % 360.0)),
    edit("wedge-out", "a wedge is moved out of the beam", wedge_out),
    edit("bolus-dropped", "a bolus is left out", bolus_dropped),
    edit("block-dropped", "a block is left out", block_dropped),
    edit("block-2-mm", "one corner of a block is 2 mm elsewhere", block_moved),
    edit("applicator", "another applicator", |p, _| device_text(p, tag::APPLICATOR_SEQUENCE, tag::APPLICATOR_ID, *b"SH", "A20X20")),
    edit("accessory-code", "another accessory is called for", accessory_code),
    edit("other-patient", "the plan is made out to another patient", other_patient),
    edit("patient-position", "the patient lies the other way round", patient_position),
    edit("radiation-type", "another kind of radiation", |p, _| beam_text(p, tag::RADIATION_TYPE, *b"CS", |t| if t == "PHOTON" { "ELECTRON" } else { "PHOTON" })),
    edit("delivery-type", "a set-up beam instead of treatment", |p, _| beam_text(p, tag::TREATMENT_DELIVERY_TYPE, *b"CS", |_| "SETUP")),
    edit("dosimeter-unit", "minutes instead of monitor units", |p, _| beam_text(p, tag::PRIMARY_DOSIMETER_UNIT, *b"CS", |_| "MINUTE")),
    edit("source-axis-distance", "another distance from source to axis", source_axis_distance),
    edit("spot-weight", "one proton spot gives dose that another one should", spot_weight),
    edit("spot-2-mm", "one proton spot lies 2 mm elsewhere", spot_moved),
    edit("spot-tune", "proton spots of another size", spot_tune),
    edit("layer-energy", "one proton layer lies deeper", layer_energy),
    edit("range-shifter-out", "the range shifter is moved out of the beam", range_shifter_out),
    displaced("table-top-100-mm", "the table top stands 100 mm lower", |p, _| first_point_number(p, tag::TABLE_TOP_VERTICAL_POSITION, |mm| mm - 100.0)),
    displaced("skin-50-mm", "the skin lies 50 mm nearer to the source", |p, _| first_point_number(p, tag::SOURCE_TO_SURFACE_DISTANCE, |mm| mm - 50.0)),
    edit("range-shifter-dropped", "the range shifter is left out", range_shifter_dropped),
];

/// Changes the first number of an attribute in a data set that has it.
fn number(of: &mut Dataset, tag: Tag, change: impl Fn(f64) -> f64) -> bool {
    let mut numbers = of.numbers(tag);
    let Some(first) = numbers.first_mut() else { return false };
    *first = change(*first);
    of.set_numbers(tag, &numbers);
    true
}

fn reference_number(plan: &mut Plan, tag: Tag, change: impl Fn(f64) -> f64) -> bool {
    plan.referenced_beams().and_then(|beams| beams.first_mut()).is_some_and(|beam| number(beam, tag, change))
}

/// In the first control point of the first beam whose one has the attribute.
fn first_point_number(plan: &mut Plan, tag: Tag, change: impl Fn(f64) -> f64) -> bool {
    plan.points().filter_map(|points| points.first_mut()).any(|point| number(point, tag, &change))
}

fn device_number(plan: &mut Plan, sequence: Tag, tag: Tag, change: impl Fn(f64) -> f64) -> bool {
    let device = plan.beam_with(sequence).and_then(|beam| beam.items_mut(sequence)?.first_mut());
    device.is_some_and(|device| number(device, tag, change))
}

fn device_text(plan: &mut Plan, sequence: Tag, tag: Tag, vr: [u8; 2], text: &str) -> bool {
    let device = plan.beam_with(sequence).and_then(|beam| beam.items_mut(sequence)?.first_mut());
    device.map(|device| device.set_text(tag, vr, text)).is_some()
}

fn beam_text(plan: &mut Plan, tag: Tag, vr: [u8; 2], change: impl Fn(&str) -> &'static str) -> bool {
    let Some((beam, text)) = plan.beams().iter_mut().find_map(|beam| beam.text(tag).map(|text| (beam, text))) else {
        return false;
    };
    beam.set_text(tag, vr, change(&text));
    true
}

fn metersets_swapped(plan: &mut Plan, _: &Rng) -> bool {
    let Some([first, second, ..]) = plan.referenced_beams().map(Vec::as_mut_slice) else { return false };
    let (a, b) = (first.numbers(tag::BEAM_METERSET), second.numbers(tag::BEAM_METERSET));
    if a == b || a.is_empty() || b.is_empty() {
        return false;
    }
    first.set_numbers(tag::BEAM_METERSET, &b);
    second.set_numbers(tag::BEAM_METERSET, &a);
    true
}

fn fractions_one_more(plan: &mut Plan, _: &Rng) -> bool {
    let Some(group) = plan.fraction_group() else { return false };
    let Some(planned) = group.number(tag::NUMBER_OF_FRACTIONS_PLANNED) else { return false };
    group.set_text(tag::NUMBER_OF_FRACTIONS_PLANNED, *b"IS", &format!("{}", planned + 1.0));
    true
}

/// Sets Number of Beams to what is referenced.
fn count_beams(plan: &mut Plan) {
    let count = plan.referenced_beams().map_or(0, |beams| beams.len());
    if let Some(group) = plan.fraction_group() {
        group.set_text(tag::NUMBER_OF_BEAMS, *b"IS", &count.to_string());
    }
}

fn beam_removed(plan: &mut Plan, rng: &Rng) -> bool {
    let Some(beams) = plan.beams_vec().filter(|beams| beams.len() > 1) else { return false };
    let gone = beams.remove(rng.index(beams.len())).number(tag::BEAM_NUMBER);
    if let Some(references) = plan.referenced_beams() {
        references.retain(|reference| reference.number(tag::REFERENCED_BEAM_NUMBER) != gone);
    }
    count_beams(plan);
    true
}

fn beam_repeated(plan: &mut Plan, rng: &Rng) -> bool {
    const NEW_NUMBER: &str = "97";
    let Some(beams) = plan.beams_vec() else { return false };
    let Some(mut again) = beams.get(rng.index(beams.len())).cloned() else { return false };
    let number = again.number(tag::BEAM_NUMBER);
    again.set_text(tag::BEAM_NUMBER, *b"IS", NEW_NUMBER);
    beams.push(again);
    let Some(references) = plan.referenced_beams() else { return false };
    let same = references.iter().find(|reference| reference.number(tag::REFERENCED_BEAM_NUMBER) == number);
    let Some(mut reference) = same.cloned() else { return false };
    reference.set_text(tag::REFERENCED_BEAM_NUMBER, *b"IS", NEW_NUMBER);
    references.push(reference);
    count_beams(plan);
    true
}

fn gantry_turns_other_way(plan: &mut Plan, _: &Rng) -> bool {
    let mut turned = false;
    for point in plan.all_points() {
        let other = match point.text(tag::GANTRY_ROTATION_DIRECTION).as_deref() {
            Some("CW") => "CC",
            Some("CC") => "CW",
            _ => continue,
        };
        point.set_text(tag::GANTRY_ROTATION_DIRECTION, *b"CS", other);
        turned = true;
    }
    turned
}

fn arc_bent(plan: &mut Plan, rng: &Rng) -> bool {
    let inside = |points: &mut Vec<Dataset>| {
        let count = points.len();
        (count > 2).then(|| 1 + rng.index(count - 2)).and_then(|index| {
            let point = points.get_mut(index)?;
            number(point, tag::GANTRY_ANGLE, |angle| (angle + 1.0) % 360.0).then_some(())
        })
    };
    plan.points().any(|points| inside(points).is_some())
}

fn fluence_mode(plan: &mut Plan, _: &Rng) -> bool {
    let beam = plan.beam_with(tag::PRIMARY_FLUENCE_MODE_SEQUENCE);
    let mode = beam.and_then(|beam| beam.items_mut(tag::PRIMARY_FLUENCE_MODE_SEQUENCE)?.first_mut());
    let Some(mode) = mode else { return false };
    if mode.text(tag::FLUENCE_MODE).as_deref() == Some("STANDARD") {
        mode.set_text(tag::FLUENCE_MODE, *b"CS", "NON_STANDARD");
        mode.set_text(tag::FLUENCE_MODE_ID, *b"SH", "FFF");
    } else {
        mode.set_text(tag::FLUENCE_MODE, *b"CS", "STANDARD");
        mode.remove(tag::FLUENCE_MODE_ID);
    }
    true
}

fn machine(plan: &mut Plan, _: &Rng) -> bool {
    // Moved as a whole: a plan for two machines would be vetoed for that alone.
    let beams = plan.beams();
    beams.iter_mut().for_each(|beam| beam.set_text(tag::TREATMENT_MACHINE_NAME, *b"SH", "LINAC-9"));
    !beams.is_empty()
}

fn isocentre(plan: &mut Plan, rng: &Rng) -> bool {
    let axis = rng.index(3);
    let mut moved = false;
    for point in plan.all_points() {
        let mut position = point.numbers(tag::ISOCENTER_POSITION);
        if let Some(coordinate) = position.get_mut(axis) {
            *coordinate += 2.0;
            point.set_numbers(tag::ISOCENTER_POSITION, &position);
            moved = true;
        }
    }
    moved
}

/// Moves one of the first half of a device's positions (the negative side) outwards.
fn open_device(plan: &mut Plan, rng: &Rng, is_leaves: bool, by_mm: f64) -> bool {
    let mut places: Vec<&mut Dataset> = plan
        .all_points()
        .filter_map(|point| point.items_mut(tag::BEAM_LIMITING_DEVICE_POSITION_SEQUENCE))
        .flatten()
        .filter(|device| (device.numbers(tag::LEAF_JAW_POSITIONS).len() > 2) == is_leaves)
        .collect();
    let chosen = rng.index(places.len());
    let Some(device) = places.get_mut(chosen) else { return false };
    let mut positions = device.numbers(tag::LEAF_JAW_POSITIONS);
    let which = rng.index(positions.len() / 2);
    let Some(position) = positions.get_mut(which) else { return false };
    *position -= by_mm;
    device.set_numbers(tag::LEAF_JAW_POSITIONS, &positions);
    true
}

fn leaf(plan: &mut Plan, rng: &Rng) -> bool {
    open_device(plan, rng, true, 1.0)
}

fn jaw(plan: &mut Plan, rng: &Rng) -> bool {
    open_device(plan, rng, false, 5.0)
}

fn leaf_boundary(plan: &mut Plan, _: &Rng) -> bool {
    let mut devices = plan.beams().iter_mut().filter_map(|b| b.items_mut(tag::BEAM_LIMITING_DEVICE_SEQUENCE)).flatten();
    devices.any(|device| {
        let mut boundaries = device.numbers(tag::LEAF_POSITION_BOUNDARIES);
        let middle = boundaries.len() / 2;
        let Some(boundary) = boundaries.get_mut(middle) else { return false };
        *boundary += 1.0;
        device.set_numbers(tag::LEAF_POSITION_BOUNDARIES, &boundaries);
        true
    })
}

/// Moves one inner cumulative weight half way towards the next different one below.
fn weights(plan: &mut Plan, _: &Rng) -> bool {
    plan.points().any(|points| {
        let weights: Vec<f64> =
            points.iter().filter_map(|point| point.number(tag::CUMULATIVE_METERSET_WEIGHT)).collect();
        let last = weights.len().saturating_sub(1);
        let inner = weights.iter().zip(weights.iter().skip(1)).take(last.saturating_sub(1));
        let Some((index, moved)) =
            (1..).zip(inner).find_map(|(index, (below, here))| (here > below).then(|| (index, (below + here) / 2.0)))
        else {
            return false;
        };
        // Points at the same weight move along (a step between two shapes).
        let old = weights.get(index).copied();
        for point in points.iter_mut() {
            if point.number(tag::CUMULATIVE_METERSET_WEIGHT) == old {
                point.set_numbers(tag::CUMULATIVE_METERSET_WEIGHT, &[moved]);
            }
        }
        true
    })
}

fn weights_cut_short(plan: &mut Plan, _: &Rng) -> bool {
    plan.beams().first_mut().is_some_and(|b| number(b, tag::FINAL_CUMULATIVE_METERSET_WEIGHT, |weight| weight * 2.0))
}

fn control_point_removed(plan: &mut Plan, rng: &Rng) -> bool {
    let mut removed = false;
    if let Some(points) = plan.points().find(|points| points.len() > 3) {
        // Not a first or last one, and not one that only repeats its neighbours' weight: that one may be dead weight.
        let weight = |points: &Vec<Dataset>, index: usize| {
            points.get(index).and_then(|point| point.number(tag::CUMULATIVE_METERSET_WEIGHT))
        };
        let candidates: Vec<usize> =
            (1..points.len() - 1).filter(|i| weight(points, *i) != weight(points, i - 1)).collect();
        let Some(gone) = candidates.get(rng.index(candidates.len())) else { return false };
        points.remove(*gone);
        for (index, point) in points.iter_mut().enumerate() {
            point.set_text(tag::CONTROL_POINT_INDEX, *b"IS", &index.to_string());
        }
        removed = true;
    }
    let counts: Vec<usize> = plan.points().map(|points| points.len()).collect();
    for (beam, count) in plan.beams().iter_mut().zip(counts) {
        beam.set_text(tag::NUMBER_OF_CONTROL_POINTS, *b"IS", &count.to_string());
    }
    removed
}

fn wedge_dropped(plan: &mut Plan, _: &Rng) -> bool {
    let Some(beam) = plan.beam_with(tag::WEDGE_SEQUENCE) else { return false };
    beam.remove(tag::WEDGE_SEQUENCE);
    beam.set_text(tag::NUMBER_OF_WEDGES, *b"IS", "0");
    for point in beam.items_mut(tag::CONTROL_POINT_SEQUENCE).into_iter().flatten() {
        point.remove(tag::WEDGE_POSITION_SEQUENCE);
    }
    true
}

fn wedge_out(plan: &mut Plan, _: &Rng) -> bool {
    let mut positions = plan.all_points().filter_map(|point| point.items_mut(tag::WEDGE_POSITION_SEQUENCE)).flatten();
    let inside = positions.find(|position| position.text(tag::WEDGE_POSITION).as_deref() == Some("IN"));
    inside.map(|position| position.set_text(tag::WEDGE_POSITION, *b"CS", "OUT")).is_some()
}

fn bolus_dropped(plan: &mut Plan, _: &Rng) -> bool {
    let Some(beam) = plan.beam_with(tag::REFERENCED_BOLUS_SEQUENCE) else { return false };
    beam.set_text(tag::NUMBER_OF_BOLI, *b"IS", "0");
    beam.remove(tag::REFERENCED_BOLUS_SEQUENCE)
}

fn block_dropped(plan: &mut Plan, _: &Rng) -> bool {
    let Some(beam) = plan.beam_with(tag::BLOCK_SEQUENCE) else { return false };
    beam.set_text(tag::NUMBER_OF_BLOCKS, *b"IS", "0");
    beam.remove(tag::BLOCK_SEQUENCE)
}

fn block_moved(plan: &mut Plan, _: &Rng) -> bool {
    device_number(plan, tag::BLOCK_SEQUENCE, tag::BLOCK_DATA, |x| x + 2.0)
}

fn accessory_code(plan: &mut Plan, _: &Rng) -> bool {
    [tag::WEDGE_SEQUENCE, tag::BLOCK_SEQUENCE, tag::APPLICATOR_SEQUENCE, tag::RANGE_SHIFTER_SEQUENCE]
        .into_iter()
        .any(|sequence| device_text(plan, sequence, tag::ACCESSORY_CODE, *b"LO", "OTHER-1"))
}

fn other_patient(plan: &mut Plan, _: &Rng) -> bool {
    plan.data().set_text(tag::PATIENT_ID, *b"LO", "SYN-OTHER-0000");
    true
}

fn patient_position(plan: &mut Plan, _: &Rng) -> bool {
    let setups = plan.data().items_mut(tag::PATIENT_SETUP_SEQUENCE).into_iter().flatten();
    let mut turned = false;
    for setup in setups {
        if let Some(position) = setup.text(tag::PATIENT_POSITION) {
            let other = if position.starts_with("HF") { "FFS" } else { "HFS" };
            setup.set_text(tag::PATIENT_POSITION, *b"CS", other);
            turned = true;
        }
    }
    turned
}

fn source_axis_distance(plan: &mut Plan, _: &Rng) -> bool {
    plan.beams().iter_mut().any(|beam| {
        let mut distances = beam.floats(tag::VIRTUAL_SOURCE_AXIS_DISTANCES);
        if let Some(distance) = distances.first_mut() {
            *distance -= 10.0;
            beam.set_floats(tag::VIRTUAL_SOURCE_AXIS_DISTANCES, &distances);
            return true;
        }
        number(beam, tag::SOURCE_AXIS_DISTANCE, |distance| distance - 10.0)
    })
}

/// The first control point whose spots carry dose.
fn spots(plan: &mut Plan) -> Option<&mut Dataset> {
    plan.all_points().find(|point| point.floats(tag::SCAN_SPOT_METERSET_WEIGHTS).iter().any(|weight| *weight > 0.0))
}

fn spot_weight(plan: &mut Plan, rng: &Rng) -> bool {
    let Some(point) = spots(plan) else { return false };
    let mut weights = point.floats(tag::SCAN_SPOT_METERSET_WEIGHTS);
    let from = rng.index(weights.len());
    let to = (from + 1) % weights.len();
    let taken = weights.get(from).copied().unwrap_or_default() / 2.0;
    if let Some(weight) = weights.get_mut(from) {
        *weight -= taken;
    }
    if let Some(weight) = weights.get_mut(to) {
        *weight += taken;
    }
    point.set_floats(tag::SCAN_SPOT_METERSET_WEIGHTS, &weights);
    from != to && taken > 0.0
}

fn spot_moved(plan: &mut Plan, rng: &Rng) -> bool {
    let Some(point) = spots(plan) else { return false };
    let mut positions = point.floats(tag::SCAN_SPOT_POSITION_MAP);
    let which = rng.index(positions.len());
    let Some(position) = positions.get_mut(which) else { return false };
    *position += 2.0;
    point.set_floats(tag::SCAN_SPOT_POSITION_MAP, &positions);
    true
}

fn spot_tune(plan: &mut Plan, _: &Rng) -> bool {
    let Some(point) = spots(plan) else { return false };
    let there = point.text(tag::SCAN_SPOT_TUNE_ID).is_some();
    point.set_text(tag::SCAN_SPOT_TUNE_ID, *b"SH", "9.0");
    there
}

fn layer_energy(plan: &mut Plan, _: &Rng) -> bool {
    if spots(plan).is_none() {
        return false;
    }
    let last = plan.points().next().and_then(|points| points.last_mut());
    let Some(energy) = last.as_ref().and_then(|point| point.number(tag::NOMINAL_BEAM_ENERGY)) else { return false };
    let layer = plan.all_points().filter(|point| point.number(tag::NOMINAL_BEAM_ENERGY) == Some(energy));
    layer.map(|point| point.set_numbers(tag::NOMINAL_BEAM_ENERGY, &[energy + 1.0])).count() > 0
}

fn range_shifter_out(plan: &mut Plan, _: &Rng) -> bool {
    let settings = plan.all_points().filter_map(|point| point.items_mut(tag::RANGE_SHIFTER_SETTINGS_SEQUENCE));
    let mut settings = settings.flatten();
    let inside = settings.find(|setting| setting.text(tag::RANGE_SHIFTER_SETTING).as_deref() == Some("IN"));
    inside.map(|setting| setting.set_text(tag::RANGE_SHIFTER_SETTING, *b"LO", "OUT")).is_some()
}

fn range_shifter_dropped(plan: &mut Plan, _: &Rng) -> bool {
    let Some(beam) = plan.beam_with(tag::RANGE_SHIFTER_SEQUENCE) else { return false };
    beam.remove(tag::RANGE_SHIFTER_SEQUENCE);
    beam.set_text(tag::NUMBER_OF_RANGE_SHIFTERS, *b"IS", "0");
    for point in beam.items_mut(tag::ION_CONTROL_POINT_SEQUENCE).into_iter().flatten() {
        point.remove(tag::RANGE_SHIFTER_SETTINGS_SEQUENCE);
    }
    true
}

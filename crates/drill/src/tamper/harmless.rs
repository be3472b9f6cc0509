//! Edits that a second export of the same plan makes, and that move no dose: the gate must release, or nobody will
//! believe its vetoes.

use super::plan::{Plan, tag};
use super::walk::{Dataset, Element, Tag, Value};
use super::{Act, Class, Edit};
use crate::synthetic::Rng;

const fn edit(name: &'static str, what: &'static str, act: fn(&mut Plan, &Rng) -> bool) -> Edit {
    Edit { name, what, class: Class::Harmless, act: Act::Tree(act) }
}

#[rustfmt::skip]
pub(super) const EDITS: &[Edit] = &[
    edit("as-it-is", "nothing", |_, _| true),
    edit("new-uids", "new instance UIDs", new_uids),
    edit("new-dates", "other dates and times of creation", new_dates),
    edit("other-people-and-stations", "other operators, stations, institutions and software versions", other_people),
    edit("private-attributes", "a vendor's private attributes added, in beams and control points too", private),
    edit("decimals", "the same numbers in another decimal form", decimals),
    edit("beam-order", "the beams in another order", beam_order),
    edit("reference-order", "the fraction group names its beams in another order", reference_order),
    edit("device-order", "the beam limiting devices in another order", device_order),
    edit("weights-rescaled", "meterset weights up to 64 instead of 1", weights_rescaled),
    edit("inherited-repeated", "every control point repeats what it inherits", inherited_repeated),
    edit("inherited-dropped", "repeated values left out where the standard lets them be inherited", inherited_dropped),
    edit("table-top-3-mm", "the table top stands 3 mm lower, as on any other day", table_top),
    edit("described", "a description added to a beam", described),
    edit("marked-approved", "the planning system's own approval mark", marked_approved),
    edit("implicit-vr", "another transfer syntax: Implicit VR Little Endian", implicit),
    edit("undefined-lengths", "sequences of undefined length", undefined_lengths),
    edit("all-at-once", "several of these together", all_at_once),
];

fn new_uids(plan: &mut Plan, rng: &Rng) -> bool {
    const MEDIA_STORAGE_SOP_INSTANCE_UID: Tag = 0x0002_0003;
    const SERIES_INSTANCE_UID: Tag = 0x0020_000E;
    let uid = rng.uid();
    plan.file.meta.set_text(MEDIA_STORAGE_SOP_INSTANCE_UID, *b"UI", &uid);
    plan.data().set_text(tag::SOP_INSTANCE_UID, *b"UI", &uid);
    plan.data().set_text(SERIES_INSTANCE_UID, *b"UI", &rng.uid());
    true
}

fn new_dates(plan: &mut Plan, _: &Rng) -> bool {
    const DATES: [Tag; 3] = [0x0008_0012, 0x0008_0020, 0x300A_0006];
    const TIMES: [Tag; 3] = [0x0008_0013, 0x0008_0030, 0x300A_0007];
    DATES.iter().for_each(|tag| plan.data().set_text(*tag, *b"DA", "20260228"));
    TIMES.iter().for_each(|tag| plan.data().set_text(*tag, *b"TM", "235959.5"));
    true
}

fn other_people(plan: &mut Plan, _: &Rng) -> bool {
    plan.data().set_text(0x0008_0080, *b"LO", "Another Institution");
    plan.data().set_text(0x0008_1010, *b"SH", "PLAN-8");
    plan.data().set_text(0x0008_1070, *b"PN", "Somebody^Else");
    plan.data().set_text(0x0018_1020, *b"LO", "9.9.1");
    true
}

fn private(plan: &mut Plan, _: &Rng) -> bool {
    let mark = |dataset: &mut Dataset| {
        dataset.set_text(0x3299_0010, *b"LO", "EXAMPLE VENDOR");
        dataset.set_text(0x3299_1001, *b"LO", "whatever it is");
        dataset.set(0x3299_1002, *b"UN", b"\x01\x02\x03\x04");
    };
    mark(plan.data());
    plan.beams().iter_mut().for_each(mark);
    plan.all_points().for_each(mark);
    true
}

/// Attributes of value representation DS in the beams; implicit files don't say it themselves.
const DECIMALS: &[Tag] = &[
    tag::BEAM_METERSET,
    tag::SOURCE_AXIS_DISTANCE,
    tag::LEAF_POSITION_BOUNDARIES,
    tag::WEDGE_ORIENTATION,
    tag::BLOCK_DATA,
    tag::FINAL_CUMULATIVE_METERSET_WEIGHT,
    tag::NOMINAL_BEAM_ENERGY,
    tag::DOSE_RATE_SET,
    tag::LEAF_JAW_POSITIONS,
    tag::GANTRY_ANGLE,
    tag::BEAM_LIMITING_DEVICE_ANGLE,
    tag::PATIENT_SUPPORT_ANGLE,
    tag::ISOCENTER_POSITION,
    tag::CUMULATIVE_METERSET_WEIGHT,
];

fn decimals(plan: &mut Plan, _: &Rng) -> bool {
    fn rewrite(dataset: &mut Dataset, form: &mut usize) {
        for element in &mut dataset.0 {
            match &mut element.value {
                Value::Items(items) => items.iter_mut().for_each(|item| rewrite(item, form)),
                Value::Bytes(bytes) if DECIMALS.contains(&element.tag) => {
                    let text = String::from_utf8_lossy(bytes).into_owned();
                    let other: Vec<String> = text.trim().split('\\').map(|number| other_form(number, form)).collect();
                    let mut other = other.join("\\").into_bytes();
                    if other.len() % 2 == 1 {
                        other.push(b' ');
                    }
                    // A short value length holds 65,534 bytes (PS3.5 7.1.2).
                    if other.len() <= 65_534 {
                        *bytes = other;
                    }
                }
                Value::Bytes(_) => {}
            }
        }
    }
    rewrite(plan.data(), &mut 0);
    true
}

/// The same number, written in one of five ways in turn, within the sixteen characters that DS has.
fn other_form(number: &str, form: &mut usize) -> String {
    *form += 1;
    let plain = number.trim();
    let point = if plain.contains('.') { "" } else { "." };
    let written = match *form % 5 {
        0 => format!("{plain}{point}00"),
        1 => format!(" {plain} "),
        2 if !plain.starts_with(['-', '+']) => format!("+{plain}"),
        3 => format!("{plain}e0"),
        4 if !plain.starts_with(['-', '+']) => format!("0{plain}"),
        _ => plain.to_owned(),
    };
    if plain.is_empty() || plain.contains(['e', 'E']) || written.len() > 16 { plain.to_owned() } else { written }
}

fn beam_order(plan: &mut Plan, _: &Rng) -> bool {
    plan.beams().reverse();
    plan.beams().len() > 1
}

fn reference_order(plan: &mut Plan, _: &Rng) -> bool {
    plan.referenced_beams().is_some_and(|beams| {
        beams.reverse();
        beams.len() > 1
    })
}

fn device_order(plan: &mut Plan, _: &Rng) -> bool {
    let mut reversed = false;
    for beam in plan.beams() {
        if let Some(devices) = beam.items_mut(tag::BEAM_LIMITING_DEVICE_SEQUENCE) {
            devices.reverse();
            reversed = true;
        }
    }
    for point in plan.all_points() {
        if let Some(devices) = point.items_mut(tag::BEAM_LIMITING_DEVICE_POSITION_SEQUENCE) {
            devices.reverse();
        }
    }
    reversed
}

fn weights_rescaled(plan: &mut Plan, _: &Rng) -> bool {
    // A power of two: exact in FL as well as in decimals, so that the same numbers come out of the division.
    let scaled = |dataset: &mut Dataset, tag: Tag| {
        if let Some(weight) = dataset.number(tag) {
            dataset.set_numbers(tag, &[weight * 64.0]);
        }
    };
    plan.beams().iter_mut().for_each(|beam| scaled(beam, tag::FINAL_CUMULATIVE_METERSET_WEIGHT));
    plan.all_points().for_each(|point| scaled(point, tag::CUMULATIVE_METERSET_WEIGHT));
    // Spots' weights are on the same scale (PS3.3 C.8.8.25.4).
    for point in plan.all_points() {
        let weights: Vec<f32> =
            point.floats(tag::SCAN_SPOT_METERSET_WEIGHTS).iter().map(|weight| weight * 64.0).collect();
        if !weights.is_empty() {
            point.set_floats(tag::SCAN_SPOT_METERSET_WEIGHTS, &weights);
        }
    }
    true
}

/// What a control point inherits from the one before where it doesn't say (PS3.3 C.8.8.14.5).
const INHERITED: &[Tag] = &[
    tag::NOMINAL_BEAM_ENERGY,
    tag::DOSE_RATE_SET,
    tag::WEDGE_POSITION_SEQUENCE,
    tag::GANTRY_ANGLE,
    tag::GANTRY_ROTATION_DIRECTION,
    tag::BEAM_LIMITING_DEVICE_ANGLE,
    0x300A_0121, // Beam Limiting Device Rotation Direction
    tag::PATIENT_SUPPORT_ANGLE,
    0x300A_0123, // Patient Support Rotation Direction
    tag::TABLE_TOP_VERTICAL_POSITION,
    0x300A_0129, // Table Top Longitudinal Position
    0x300A_012A, // Table Top Lateral Position
    tag::ISOCENTER_POSITION,
];

fn inherited_repeated(plan: &mut Plan, _: &Rng) -> bool {
    let mut repeated = false;
    for points in plan.points() {
        let mut state: Vec<Element> = Vec::new();
        for point in points {
            let devices = merged(&state, point);
            for tag in INHERITED {
                let before = state.iter().find(|element| element.tag == *tag).cloned();
                if let (None, Some(before)) = (point.get(*tag), before) {
                    point.put(before);
                    repeated = true;
                }
            }
            if let Some(devices) = devices {
                point.put(devices);
            }
            let kept = |tag: &Tag| point.get(*tag).cloned();
            let mut now: Vec<Element> = INHERITED.iter().filter_map(kept).collect();
            now.extend(point.get(tag::BEAM_LIMITING_DEVICE_POSITION_SEQUENCE).cloned());
            state = now;
        }
    }
    repeated
}

/// The positions of all devices at this point: its own, and the last ones of those it doesn't name.
fn merged(state: &[Element], point: &Dataset) -> Option<Element> {
    const AT: Tag = tag::BEAM_LIMITING_DEVICE_POSITION_SEQUENCE;
    let before = state.iter().find(|element| element.tag == AT)?;
    let Value::Items(before_items) = &before.value else { return None };
    let own = point.items(AT);
    let kind = |device: &Dataset| device.text(tag::RT_BEAM_LIMITING_DEVICE_TYPE);
    let kept = before_items.iter().filter(|device| own.iter().all(|mine| kind(mine) != kind(device)));
    let all: Vec<Dataset> = own.iter().chain(kept).cloned().collect();
    Some(Element { value: Value::Items(all), ..before.clone() })
}

fn inherited_dropped(plan: &mut Plan, _: &Rng) -> bool {
    let mut dropped = false;
    for points in plan.points() {
        let mut state: Vec<Element> = Vec::new();
        for (index, point) in points.iter_mut().enumerate() {
            for tag in INHERITED {
                let now = point.get(*tag).cloned();
                let before = state.iter().find(|element| element.tag == *tag);
                if index > 0 && now.is_some() && now.as_ref() == before {
                    point.remove(*tag);
                    dropped = true;
                }
                if let Some(now) = now {
                    state.retain(|element| element.tag != *tag);
                    state.push(now);
                }
            }
        }
    }
    dropped
}

fn table_top(plan: &mut Plan, _: &Rng) -> bool {
    let point = plan.points().find_map(|points| points.first_mut());
    let height = point.as_ref().and_then(|point| point.number(tag::TABLE_TOP_VERTICAL_POSITION));
    point.zip(height).map(|(p, mm)| p.set_numbers(tag::TABLE_TOP_VERTICAL_POSITION, &[mm - 3.0])).is_some()
}

fn described(plan: &mut Plan, _: &Rng) -> bool {
    plan.beams().first_mut().map(|beam| beam.set_text(tag::BEAM_DESCRIPTION, *b"ST", "as planned")).is_some()
}

fn marked_approved(plan: &mut Plan, _: &Rng) -> bool {
    plan.data().set_text(0x300E_0002, *b"CS", "APPROVED");
    plan.data().set_text(0x300E_0004, *b"DA", "20260227");
    plan.data().set_text(0x300E_0005, *b"TM", "120000");
    plan.data().set_text(0x300E_0008, *b"PN", "Reviewer^Duty");
    true
}

fn implicit(plan: &mut Plan, _: &Rng) -> bool {
    std::mem::replace(&mut plan.file.explicit, false)
}

fn undefined_lengths(plan: &mut Plan, _: &Rng) -> bool {
    !std::mem::replace(&mut plan.file.undefined_lengths, true)
}

fn all_at_once(plan: &mut Plan, rng: &Rng) -> bool {
    for act in [new_uids, new_dates, private, weights_rescaled, inherited_repeated, decimals, undefined_lengths] {
        act(plan, rng);
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_forms_are_the_same_number() {
        let mut form = 0;
        for number in ["0", "-12.5", "600", "0.8000001", "-0.25", "359", "1e-3", "123456789012345"] {
            for _ in 0..5 {
                let other = other_form(number, &mut form);
                assert!(other.len() <= 16, "{other}");
                assert_eq!(other.trim().trim_start_matches('+').parse::<f64>(), number.parse::<f64>(), "{other}");
            }
        }
    }
}

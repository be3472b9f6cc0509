//! Rewrites that move no dose, at random and all at once: the digest stays, and so does the canonical text.

use dicom_core::{Tag, VR};
use dicom_dictionary_std::tags as t;
use proptest::prelude::*;
use treatment::{Difference, Plan};

use crate::build::{EXPLICIT, IMPLICIT, Item, Layout, V, all, beam_at, file, photons};

/// Random choices that replay from a seed (SplitMix64).
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ z >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ z >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
        usize::try_from((z ^ z >> 31) % sides as u64).unwrap()
    }

    fn shuffle<T>(&mut self, items: &mut [T]) {
        for i in (1..items.len()).rev() {
            items.swap(i, self.roll(i + 1));
        }
    }
}

/// Another spelling of the same decimal, of 16 characters at most.
fn respell(text: &str, dice: &mut Dice) -> String {
    let (sign, digits) = match text.strip_prefix('-') {
        Some(rest) => ("-", rest),
        None => ("", text.trim_start_matches('+')),
    };
    let (whole, part) = digits.split_once('.').unwrap_or((digits, ""));
    let spelled = match dice.roll(7) {
        0 => format!("{sign}{whole}.{part}0"),
        1 if sign.is_empty() => format!("+{digits}"),
        2 => format!("{digits}e0").replacen("", sign, 1),
        3 => format!("{sign}0{digits}"),
        4 => format!("{sign}{whole}{part}E-{}", part.len()),
        5 => format!(" {text}"),
        6 => format!("{text} "),
        _ => text.to_owned(),
    };
    if spelled.trim().len() <= 16 { spelled } else { text.to_owned() }
}

fn respell_all(item: &mut Item, dice: &mut Dice) {
    for value in item.0.values_mut() {
        match value {
            V::Text(VR::DS, text) if !text.is_empty() => {
                *text = text.split('\\').map(|one| respell(one, dice)).collect::<Vec<_>>().join("\\");
            }
            V::Text(VR::IS, text) if !text.is_empty() && dice.roll(2) == 0 => *text = format!(" 0{text} "),
            V::Text(VR::SH | VR::LO | VR::CS, text) if !text.is_empty() && dice.roll(3) == 0 => {
                *text = format!("{text}  ")
            }
            V::Sequence(items) => items.iter_mut().for_each(|item| respell_all(item, dice)),
            _ => {}
        }
    }
}

fn add_private(item: &mut Item, dice: &mut Dice) {
    if dice.roll(3) == 0 {
        item.0.insert(Tag(0x3287, 0x0010), V::Text(VR::LO, "VENDOR 1.0".into()));
        item.0.insert(Tag(0x3287, 0x1000), V::Text(VR::LO, format!("note {}", dice.roll(1000))));
    }
    for value in item.0.values_mut() {
        if let V::Sequence(items) = value {
            items.iter_mut().for_each(|item| add_private(item, dice));
        }
    }
}

/// The same decimal times ten to the `power`.
fn scaled(text: &str, power: usize) -> String {
    let (whole, part) = text.split_once('.').unwrap_or((text, ""));
    let part = format!("{part:0<power$}");
    let (moved, rest) = part.split_at(power);
    format!("{whole}{moved}.{rest}0")
}

/// All weights of a beam, with its final one: times ten to a power where they are decimal, times sixteen where they
/// are binary, since either is exact.
fn rescale(beam: &mut Item, points: Tag, dice: &mut Dice) {
    let binary = points == t::ION_CONTROL_POINT_SEQUENCE;
    let power = dice.roll(4);
    let times = |text: &str| {
        if binary { format!("{:.1}", text.parse::<f64>().unwrap() * 16.0) } else { scaled(text, power) }
    };
    let final_weight = times(beam.text(t::FINAL_CUMULATIVE_METERSET_WEIGHT));
    beam.set(t::FINAL_CUMULATIVE_METERSET_WEIGHT, final_weight);
    for point in beam.sequence(points) {
        let weight = times(point.text(t::CUMULATIVE_METERSET_WEIGHT));
        point.set(t::CUMULATIVE_METERSET_WEIGHT, weight);
        if let Some(V::Floats(spots)) = point.0.get_mut(&t::SCAN_SPOT_METERSET_WEIGHTS) {
            spots.iter_mut().for_each(|spot| *spot *= 16.0);
        }
    }
    if beam.0.contains_key(&t::PLANNED_VERIFICATION_IMAGE_SEQUENCE) {
        for image in beam.sequence(t::PLANNED_VERIFICATION_IMAGE_SEQUENCE) {
            for tag in [t::START_CUMULATIVE_METERSET_WEIGHT, t::END_CUMULATIVE_METERSET_WEIGHT] {
                let weight = times(image.text(tag));
                image.set(tag, weight);
            }
        }
    }
}

/// Repeats what a control point takes over, or drops what it repeats.
fn repeat_or_drop(points: &mut [Item], dice: &mut Dice) {
    let own = [t::CONTROL_POINT_INDEX, t::CUMULATIVE_METERSET_WEIGHT];
    let spots = [
        t::SCAN_SPOT_TUNE_ID,
        t::NUMBER_OF_SCAN_SPOT_POSITIONS,
        t::SCAN_SPOT_POSITION_MAP,
        t::SCAN_SPOT_METERSET_WEIGHTS,
        t::NUMBER_OF_PAINTINGS,
    ];
    let devices = t::BEAM_LIMITING_DEVICE_POSITION_SEQUENCE;
    let mut state = points[0].clone();
    for point in &mut points[1..] {
        let here = point.clone();
        for (tag, value) in state.0.clone() {
            if own.contains(&tag) || spots.contains(&tag) || tag == devices {
                continue;
            }
            match here.0.get(&tag) {
                None if dice.roll(2) == 0 => {
                    point.0.insert(tag, value);
                }
                Some(same) if *same == value && dice.roll(2) == 0 => {
                    point.0.remove(&tag);
                }
                _ => {}
            }
        }
        // Device by device: each is taken over on its own.
        if let Some(V::Sequence(known)) = state.0.get(&devices).cloned() {
            let mut current = match here.0.get(&devices) {
                Some(V::Sequence(items)) => items.clone(),
                _ => Vec::new(),
            };
            for device in &known {
                let kind = device.text(t::RT_BEAM_LIMITING_DEVICE_TYPE);
                let at = current.iter().position(|c| c.text(t::RT_BEAM_LIMITING_DEVICE_TYPE) == kind);
                match at {
                    None if dice.roll(2) == 0 => current.push(device.clone()),
                    Some(i) if current[i] == *device && dice.roll(2) == 0 => {
                        current.remove(i);
                    }
                    _ => {}
                }
            }
            let mut after = known;
            for device in &current {
                let kind = device.text(t::RT_BEAM_LIMITING_DEVICE_TYPE);
                match after.iter_mut().find(|d| d.text(t::RT_BEAM_LIMITING_DEVICE_TYPE) == kind) {
                    Some(slot) => *slot = device.clone(),
                    None => after.push(device.clone()),
                }
            }
            state.0.insert(devices, V::Sequence(after));
            if current.is_empty() {
                point.0.remove(&devices);
            } else {
                point.0.insert(devices, V::Sequence(current));
            }
        }
        for (tag, value) in here.0 {
            if tag != devices {
                state.0.insert(tag, value);
            }
        }
    }
}

fn rewrite(mut plan: Item, seed: u64) -> Vec<u8> {
    let dice = &mut Dice(seed);
    for (tag, text) in [
        (t::SOP_INSTANCE_UID, format!("2.25.{}", dice.roll(1 << 40))),
        (t::SERIES_INSTANCE_UID, format!("2.25.{}", dice.roll(1 << 40))),
        (t::STUDY_DATE, "20250102".into()),
        (t::RT_PLAN_DATE, "20250102".into()),
        (t::RT_PLAN_LABEL, "renamed".into()),
        (t::OPERATORS_NAME, "Another^One".into()),
        (t::STATION_NAME, "WS9".into()),
    ] {
        plan.set(tag, text);
    }
    let (beams, points) = match plan.0.contains_key(&t::BEAM_SEQUENCE) {
        true => (t::BEAM_SEQUENCE, t::CONTROL_POINT_SEQUENCE),
        false => (t::ION_BEAM_SEQUENCE, t::ION_CONTROL_POINT_SEQUENCE),
    };
    for beam in plan.sequence(beams) {
        repeat_or_drop(beam.sequence(points), dice);
        rescale(beam, points, dice);
        beam.set(t::BEAM_NAME, "renamed");
        if beam.0.contains_key(&t::BEAM_LIMITING_DEVICE_SEQUENCE) {
            dice.shuffle(beam.sequence(t::BEAM_LIMITING_DEVICE_SEQUENCE));
        }
    }
    dice.shuffle(plan.sequence(beams));
    dice.shuffle(plan.at(&[(t::FRACTION_GROUP_SEQUENCE, 0)]).sequence(t::REFERENCED_BEAM_SEQUENCE));
    respell_all(&mut plan, dice);
    add_private(&mut plan, dice);
    let layouts = [IMPLICIT, EXPLICIT, Layout { explicit: true, undefined_lengths: false }];
    file(&plan, layouts[dice.roll(3)])
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn a_harmless_export_keeps_the_digest(seed in any::<u64>()) {
        for (name, plan) in all() {
            let original = Plan::parse(&file(&plan, IMPLICIT)).unwrap();
            let exported = match Plan::parse(&rewrite(plan, seed)) {
                Ok(exported) => exported,
                Err(error) => return Err(TestCaseError::fail(format!("{name}: {error}"))),
            };
            let difference = Difference::of(&original.delivery, &exported.delivery);
            prop_assert_eq!(original.delivery.canonical(), exported.delivery.canonical(), "{} {:?}", name, difference);
            prop_assert_eq!(original.digest(), exported.digest());
            prop_assert!(difference.same_delivery() && difference.within_tolerance());
        }
    }
}

/// Weights divided by three are no decimals: rounding after the division makes them equal all the same.
/// A file without its preamble, and a bare data set, deliver the same; a meta group that was cut is none.
#[test]
fn a_preamble_delivers_nothing() {
    let whole = file(&photons(), IMPLICIT);
    let digest = Plan::parse(&whole).unwrap().digest();
    assert_eq!(Plan::parse(&whole[132..]).unwrap().digest(), digest);
    for cut in [136, 140, 150, 260] {
        assert!(Plan::parse(&whole[cut..]).is_err(), "{cut}");
    }
    assert!(Plan::parse(&whole[132..160]).is_err());
}

#[test]
fn weights_on_another_scale_are_the_same_shares() {
    let mut plan = crate::build::photons();
    let original = Plan::parse(&file(&plan, IMPLICIT)).unwrap();
    let beam = plan.at(&crate::build::beam_at(1));
    beam.set(t::FINAL_CUMULATIVE_METERSET_WEIGHT, "87.5");
    for (index, weight) in [(1, "35"), (2, "35.0"), (3, "8.75E1")] {
        beam.at(&[(t::CONTROL_POINT_SEQUENCE, index)]).set(t::CUMULATIVE_METERSET_WEIGHT, weight);
    }
    assert_eq!(Plan::parse(&file(&plan, IMPLICIT)).unwrap().digest(), original.digest());
}

/// The definition in docs/formats names this digest: whoever writes another reader can check it.
#[test]
fn the_text_of_a_small_plan_is_as_documented() {
    let plan = Plan::parse(&file(&crate::build::electrons(), IMPLICIT)).unwrap();
    let canonical = plan.delivery.canonical();
    let documented = include_str!("../../../../docs/formats/delivery-digest.md");
    for line in canonical.lines() {
        assert!(documented.contains(line), "not in the document: {line}");
    }
    assert!(documented.contains(&plan.digest().to_string()), "{}", plan.digest());
    let sha: [u8; 32] =
        aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, canonical.as_bytes()).as_ref().try_into().unwrap();
    assert_eq!(plan.digest().0, sha);
}

/// dcmtk pads data sets and their items (`dcmconv +p`).
#[test]
fn padding_says_nothing() {
    let padding = Tag(0xFFFC, 0xFFFC);
    let digest = |item: &Item, layout| Plan::parse(&file(item, layout)).unwrap().digest();
    let mut padded = photons().with(padding, "\0\0\0\0\0\0");
    padded.at(&beam_at(0)).set(padding, "\0\0");
    for layout in [IMPLICIT, EXPLICIT] {
        assert_eq!(digest(&padded, layout), digest(&photons(), layout));
    }
}

//! What a therapist sets by hand for each beam, in words: for the paper that goes on when nothing else does.
//!
//! It is taken from the rows that the delivery digest is taken over, so that paper and digest can't disagree, and every row stands on it:
//! one that changes while the beam is on says so. Leaf positions stand in the plan's file alone, and the paper says that, too.

use std::collections::BTreeMap;

use dicom_core::Tag;
use dicom_dictionary_std::tags as t;
use serde::Serialize;

use super::diff::{shown, unit};
use super::{FractionGroup, Plan, TOLERANCE};
use crate::dicom::scan::{Attribute, Set, Tree};
use crate::dicom::schema::Kind;
use crate::dicom::value::Characters;
use crate::plan::delivery::{Row, Units, Value};

/// A beam of one fraction.
#[derive(Clone, Debug, Serialize)]
pub struct BeamSheet {
    pub number: u32,
    pub name: Option<String>,
    pub machine: String,
    /// False for setup and imaging beams.
    pub treats: bool,
    /// With its unit; none where the plan says none.
    pub meterset: Option<String>,
    /// Why nobody can set it by hand: it is loaded from the plan's file, or not given.
    pub not_by_hand: Option<String>,
    pub settings: Vec<Setting>,
    /// Of when the machine stops and asks.
    pub tolerances: Vec<Setting>,
}

/// `Gantry`: `180.00 clockwise to 178.00 °`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Setting {
    pub what: String,
    pub value: String,
}

/// What is set on the machine first, by the word that is spoken, with what says which way it turns. Everything else follows by the
/// standard's name.
pub(super) const SPOKEN: &[(&str, Tag, Option<Tag>)] = &[
    ("Radiation", t::RADIATION_TYPE, None),
    ("Delivery", t::BEAM_TYPE, None),
    ("Energy", t::NOMINAL_BEAM_ENERGY, None),
    ("Dose rate", t::DOSE_RATE_SET, None),
    ("Gantry", t::GANTRY_ANGLE, Some(t::GANTRY_ROTATION_DIRECTION)),
    ("Collimator", t::BEAM_LIMITING_DEVICE_ANGLE, Some(t::BEAM_LIMITING_DEVICE_ROTATION_DIRECTION)),
    ("Couch", t::PATIENT_SUPPORT_ANGLE, Some(t::PATIENT_SUPPORT_ROTATION_DIRECTION)),
    ("Couch pitch", t::TABLE_TOP_PITCH_ANGLE, Some(t::TABLE_TOP_PITCH_ROTATION_DIRECTION)),
    ("Couch roll", t::TABLE_TOP_ROLL_ANGLE, Some(t::TABLE_TOP_ROLL_ROTATION_DIRECTION)),
    ("Table top eccentric angle", t::TABLE_TOP_ECCENTRIC_ANGLE, Some(t::TABLE_TOP_ECCENTRIC_ROTATION_DIRECTION)),
    ("Gantry pitch", t::GANTRY_PITCH_ANGLE, Some(t::GANTRY_PITCH_ROTATION_DIRECTION)),
    ("Table vertical", t::TABLE_TOP_VERTICAL_POSITION, None),
    ("Table longitudinal", t::TABLE_TOP_LONGITUDINAL_POSITION, None),
    ("Table lateral", t::TABLE_TOP_LATERAL_POSITION, None),
    ("Snout", t::SNOUT_POSITION, None),
    ("Isocentre", t::ISOCENTER_POSITION, None),
    ("SSD", t::SOURCE_TO_SURFACE_DISTANCE, None),
];

/// Said elsewhere on the sheet, or the name of the part that it stands in.
const SAID: &[Tag] = &[
    t::TREATMENT_MACHINE_NAME,
    t::PRIMARY_DOSIMETER_UNIT,
    t::BEAM_METERSET,
    t::CUMULATIVE_METERSET_WEIGHT,
    t::BEAM_NUMBER,
    t::REFERENCED_BEAM_NUMBER,
    // Wedges and the like stand there themselves.
    t::NUMBER_OF_WEDGES,
    t::NUMBER_OF_COMPENSATORS,
    t::NUMBER_OF_BOLI,
    t::NUMBER_OF_BLOCKS,
    t::NUMBER_OF_RANGE_SHIFTERS,
    t::NUMBER_OF_LATERAL_SPREADING_DEVICES,
    t::NUMBER_OF_RANGE_MODULATORS,
    t::NUMBER_OF_CONTROL_POINTS,
    t::RT_BEAM_LIMITING_DEVICE_TYPE,
    t::NUMBER_OF_LEAF_JAW_PAIRS,
    t::LEAF_POSITION_BOUNDARIES,
    t::SOURCE_TO_BEAM_LIMITING_DEVICE_DISTANCE,
    t::ISOCENTER_TO_BEAM_LIMITING_DEVICE_DISTANCE,
];

/// A jaw has two ends; a collimator of leaves has more, and they stand in the file.
pub(super) const JAW_ENDS: usize = 2;
/// Values of one setting that are spelled out while the beam is on.
pub(super) const STEPS_SHOWN: usize = 6;

impl Plan {
    /// The beams of one fraction, in the order of the plan.
    pub fn sheet(&self, group: &FractionGroup) -> Vec<BeamSheet> {
        let all_units = self.delivery.units();
        let mut rows: BTreeMap<u32, Vec<&Row>> = BTreeMap::new();
        for row in self.delivery.rows() {
            if let Some(beam) = row.place.beam.filter(|beam| group.beams.contains(beam)) {
                rows.entry(beam).or_default().push(row);
            }
        }
        let beams = self.beams.iter().filter(|beam| group.beams.contains(&beam.number));
        beams
            .map(|beam| {
                let units = all_units.get(&beam.number).copied().unwrap_or_default();
                let rows = rows.get(&beam.number).map_or(&[][..], Vec::as_slice);
                let tracks = Tracks::of(rows);
                let (tolerances, settings) = tracks.settings(units);
                BeamSheet {
                    number: beam.number,
                    name: beam.name.clone(),
                    machine: beam.machine.clone(),
                    treats: beam.treats,
                    meterset: group
                        .metersets
                        .get(&beam.number)
                        .map(|thousandths| with_unit(&Value::Numbers([*thousandths].into()), Kind::Meterset, units)),
                    not_by_hand: tracks.not_by_hand(),
                    settings,
                    tolerances,
                }
            })
            .collect()
    }
}

/// One thing of a beam, from control point to control point; one that stands outside of them has one value.
pub(super) type Track<'a> = Vec<&'a Row>;

/// By part and attribute, in the order of the rows.
pub(super) struct Tracks<'a> {
    pub(super) all: Vec<((Option<&'a str>, Tag), Track<'a>)>,
    /// Where in `all`.
    place: BTreeMap<(Option<&'a str>, Tag), usize>,
    points: usize,
}

impl<'a> Tracks<'a> {
    pub(super) fn of(rows: &[&'a Row]) -> Self {
        let mut place: BTreeMap<(Option<&'a str>, Tag), usize> = BTreeMap::new();
        let mut all: Vec<((Option<&'a str>, Tag), Track<'a>)> = Vec::new();
        for row in rows {
            let key = (row.place.part.as_deref(), row.tag);
            let at = *place.entry(key).or_insert_with(|| {
                all.push((key, Vec::new()));
                all.len() - 1
            });
            all.get_mut(at).into_iter().for_each(|(_, track)| track.push(row));
        }
        let points = rows.iter().filter_map(|row| row.place.point).max().map_or(0, |last| last as usize + 1);
        Self { all, place, points }
    }

    fn get(&self, tag: Tag) -> Option<&Track<'a>> {
        self.of_part(None, tag)
    }

    pub(super) fn of_part(&self, part: Option<&str>, tag: Tag) -> Option<&Track<'a>> {
        self.place.get(&(part, tag)).and_then(|at| self.all.get(*at)).map(|(_, track)| track)
    }

    /// Leaves, spots, or anything that changes while the beam is on.
    fn not_by_hand(&self) -> Option<String> {
        let is_of_points = |track: &Track<'_>| track.first().is_some_and(|row| row.place.point.is_some());
        let moving = self.all.iter().filter(|(_, track)| is_of_points(track));
        let moving: Vec<_> = moving.filter(|((_, tag), _)| *tag != t::CUMULATIVE_METERSET_WEIGHT).collect();
        let leaves =
            |track: &Track<'_>| track.iter().any(|row| row.len() > JAW_ENDS && row.tag == t::LEAF_JAW_POSITIONS);
        let shapes = moving.iter().filter(|(_, track)| leaves(track)).map(|(_, track)| steps(track).len()).max();
        let spots = moving.iter().any(|((_, tag), _)| *tag == t::SCAN_SPOT_POSITION_MAP);
        let changes = moving.iter().any(|(_, track)| steps(track).len() > 1);
        let points = self.points;
        match (shapes, spots, changes) {
            (Some(shapes), ..) => Some(format!("{points} control points, {shapes} leaf shapes")),
            (None, true, _) => Some(format!("{points} control points with scan spots")),
            (None, false, true) => Some(format!("{points} control points, settings change while the beam is on")),
            (None, false, false) => None,
        }
    }

    /// Tolerances, and all the rest.
    fn settings(&self, units: Units<'_>) -> (Vec<Setting>, Vec<Setting>) {
        let (mut tolerances, mut settings) = (Vec::new(), Vec::new());
        let mut said: Vec<Tag> = SAID.to_vec();
        for (what, tag, direction) in SPOKEN {
            said.extend([Some(*tag), *direction].into_iter().flatten());
            let Some(track) = self.get(*tag) else { continue };
            let turns = direction.and_then(|tag| self.get(tag));
            let is_usual = turns.is_some() && !["Gantry", "Collimator", "Couch"].contains(what);
            // A table that isn't tilted is no setting.
            if is_usual && track.iter().all(|row| is_nought(row)) {
                continue;
            }
            settings.push(Setting { what: (*what).to_owned(), value: path(track, turns, units) });
        }
        for ((part, tag), track) in &self.all {
            // Leaves and spots: `not_by_hand` says that they stand in the file.
            let is_in_file = track.iter().any(|row| row.place.point.is_some() && row.len() > JAW_ENDS);
            let keyword = Attribute(*tag).keyword();
            if is_in_file
                || keyword.ends_with("Sequence")
                || is_key(part, track)
                || (part.is_none() && said.contains(tag))
                || SAID.contains(tag)
            {
                continue;
            }
            let name = words(keyword);
            let what = part.map_or(name.clone(), |part| format!("{part}: {name}"));
            let setting = Setting { what, value: path(track, None, units) };
            match part.is_some_and(|part| part.starts_with(TOLERANCE)) {
                true => tolerances.push(setting),
                false => settings.push(setting),
            }
        }
        (tolerances, settings)
    }
}

/// `wedge 1`, Wedge Number 1.
pub(super) fn is_key(part: &Option<&str>, track: &Track<'_>) -> bool {
    let number = part.and_then(|part| part.rsplit(' ').next());
    let is_number = |row: &&Row| number.is_some_and(|number| shown(&row.value, row.kind) == number);
    let is_named = |row: &&Row| {
        let keyword = Attribute(row.tag).keyword();
        keyword.ends_with("Number") || keyword.ends_with("Sequence")
    };
    part.is_some() && track.iter().all(|row| is_number(row) && is_named(row))
}

pub(super) fn is_nought(row: &Row) -> bool {
    matches!(&row.value, Value::Numbers(numbers) if numbers.iter().all(|number| *number == 0))
}

/// What it is one after the other, each once.
pub(super) fn steps<'a>(track: &Track<'a>) -> Vec<&'a Row> {
    let mut steps: Vec<&Row> = Vec::new();
    for row in track {
        if steps.last().is_none_or(|last| last.value != row.value) {
            steps.push(row);
        }
    }
    steps
}

/// A value; where it changes, from where to where, and which way it turns.
pub(super) fn path(track: &Track<'_>, turns: Option<&Track<'_>>, units: Units<'_>) -> String {
    let Some(first) = track.first() else { return String::new() };
    let steps = match turns {
        Some(turns) => corners(track, turns),
        None => steps(track).into_iter().map(|row| (row, None)).collect(),
    };
    if steps.len() == 1 {
        return with_unit(&first.value, first.kind, units);
    }
    let text = |(row, way): &(&Row, Option<&str>)| {
        let value = shown(&row.value, row.kind);
        way.map_or(value.clone(), |way| format!("{value} {way}"))
    };
    let mut all: Vec<String> = steps.iter().map(text).collect();
    if all.len() > STEPS_SHOWN {
        let left = all.len() - STEPS_SHOWN;
        let last = all.pop().unwrap_or_default();
        all.truncate(STEPS_SHOWN - 1);
        all.push(format!("… ({left} more) …"));
        all.push(last);
    }
    format!("{} {}", all.join(" to "), unit(first.kind, units)).trim_end().to_owned()
}

/// Where something that turns begins, turns the other way, and ends; what stands still is where it begins alone.
fn corners<'a>(track: &Track<'a>, turns: &Track<'a>) -> Vec<(&'a Row, Option<&'static str>)> {
    let way_at = |point: Option<u32>| {
        let row = turns.iter().rev().find(|row| row.place.point <= point)?;
        match &row.value {
            Value::Text(text) if **text == *"CW" => Some("clockwise"),
            Value::Text(text) if **text == *"CC" => Some("counter-clockwise"),
            _ => None,
        }
    };
    let mut corners: Vec<(&Row, Option<&'static str>)> = Vec::new();
    for (at, row) in track.iter().enumerate() {
        let way = way_at(row.place.point);
        let is_last = at + 1 == track.len();
        let is_corner = corners.last().is_none_or(|(_, before)| way != *before) && !(is_last && at > 0);
        if is_corner {
            corners.push((*row, way));
        }
    }
    let moves = track.iter().any(|row| Some(&row.value) != track.first().map(|first| &first.value));
    match (moves, track.last()) {
        (true, Some(last)) => {
            corners.push((*last, None));
            corners
        }
        _ => corners.into_iter().take(1).map(|(row, _)| (row, None)).collect(),
    }
}

fn with_unit(value: &Value, kind: Kind, units: Units<'_>) -> String {
    let unit = unit(kind, units);
    let shown = shown(value, kind);
    // Two decimals of a meterset, as it is spoken of; a third where it has one.
    let shown = if kind == Kind::Meterset { shown.strip_suffix('0').unwrap_or(&shown) } else { &shown };
    format!("{shown} {unit}").trim_end().to_owned()
}

/// `FixationDeviceLabel`, for people.
pub(super) fn words(keyword: &str) -> String {
    let mut words = String::new();
    for letter in keyword.chars() {
        if letter.is_uppercase() && words.chars().next_back().is_some_and(char::is_lowercase) {
            words.push(' ');
        }
        words.push(letter);
    }
    words
}

/// What planners write in words, wherever it stands in a plan: it moves no dose by the digest, and a therapist goes by it.
const IN_WORDS: &[Tag] = &[
    t::RT_PLAN_NAME,
    t::RT_PLAN_DESCRIPTION,
    t::PRESCRIPTION_DESCRIPTION,
    t::TREATMENT_SITE,
    t::FRACTION_GROUP_DESCRIPTION,
    t::BEAM_DESCRIPTION,
    t::ENTITY_LONG_LABEL,
    t::PATIENT_SETUP_LABEL,
    t::SETUP_TECHNIQUE_DESCRIPTION,
    t::SETUP_DEVICE_DESCRIPTION,
    t::FIXATION_DEVICE_DESCRIPTION,
    t::SHIELDING_DEVICE_DESCRIPTION,
    t::BOLUS_DESCRIPTION,
    t::BLOCK_NAME,
    t::MATERIAL_ID,
];
/// Lines of it; a plan of twenty beams has some dozens.
const WORDS_MAX: usize = 100;

/// Of a plan's file, in the order of the file, each line once.
pub(crate) fn in_words(file: &[u8]) -> Vec<Setting> {
    let Ok(tree) = Tree::of_file(file) else { return Vec::new() };
    let Ok(characters) = Characters::of(tree.root()) else { return Vec::new() };
    let mut lines = Vec::new();
    // What was stored has a bounded depth: `dicom::scan`.
    collect(tree.root(), &characters, None, &mut lines);
    lines
}

fn collect(set: Set<'_>, characters: &Characters, beam: Option<&str>, lines: &mut Vec<Setting>) {
    let own = [t::BEAM_NAME, t::BEAM_NUMBER].into_iter().find_map(|tag| characters.text(set.get(tag)?.bytes()).ok());
    let beam = own.as_deref().filter(|name| !name.is_empty()).or(beam);
    for element in set.elements() {
        if IN_WORDS.contains(&element.tag())
            && let Ok(text) = characters.text(element.bytes())
            && !text.trim().is_empty()
        {
            let name = words(Attribute(element.tag()).keyword());
            let what = beam.map_or(name.clone(), |beam| format!("{beam}: {name}"));
            let line = Setting { what, value: text };
            if !lines.contains(&line) && lines.len() < WORDS_MAX {
                lines.push(line);
            }
        }
        element.items().for_each(|item| collect(item, characters, beam, lines));
    }
}

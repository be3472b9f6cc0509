//! What a therapist sets by hand for each beam, in words: for the paper that goes on when nothing else does.
//!
//! It is taken from the rows that the delivery digest is taken over, so that paper and digest can't disagree. It is no
//! substitute for the plan's file: leaf positions stand in the file alone.

use std::collections::BTreeMap;

use dicom_core::Tag;
use dicom_dictionary_std::tags as t;
use serde::Serialize;

use super::diff::{shown, unit};
use super::{FractionGroup, Plan};
use crate::dicom::scan::Attribute;
use crate::dicom::schema::Kind;
use crate::plan::delivery::{Row, Value};

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
    pub settings: Vec<Setting>,
}

/// `Gantry`: `180.00 to 178.00 °, CW`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Setting {
    pub what: String,
    pub value: String,
}

/// What is set on the machine, in the order in which it is done; the direction of what turns.
const SETTINGS: &[(&str, Tag, Option<Tag>)] = &[
    ("Radiation", t::RADIATION_TYPE, None),
    ("Delivery", t::BEAM_TYPE, None),
    ("Energy", t::NOMINAL_BEAM_ENERGY, None),
    ("Dose rate", t::DOSE_RATE_SET, None),
    ("Gantry", t::GANTRY_ANGLE, Some(t::GANTRY_ROTATION_DIRECTION)),
    ("Collimator", t::BEAM_LIMITING_DEVICE_ANGLE, Some(t::BEAM_LIMITING_DEVICE_ROTATION_DIRECTION)),
    ("Couch", t::PATIENT_SUPPORT_ANGLE, Some(t::PATIENT_SUPPORT_ROTATION_DIRECTION)),
    ("Table vertical", t::TABLE_TOP_VERTICAL_POSITION, None),
    ("Table longitudinal", t::TABLE_TOP_LONGITUDINAL_POSITION, None),
    ("Table lateral", t::TABLE_TOP_LATERAL_POSITION, None),
    ("Snout", t::SNOUT_POSITION, None),
    ("Isocentre", t::ISOCENTER_POSITION, None),
    ("SSD", t::SOURCE_TO_SURFACE_DISTANCE, None),
];

/// Parts whose rows a hand can't set, or that are in the file alone.
const NOT_BY_HAND: [Tag; 2] = [t::LEAF_POSITION_BOUNDARIES, t::NUMBER_OF_LEAF_JAW_PAIRS];

/// A jaw has two ends; a collimator of leaves has more, and they stand in the file.
const JAW_ENDS: usize = 2;

impl Plan {
    /// The beams of one fraction, in the order of the plan.
    pub fn sheet(&self, group: &FractionGroup) -> Vec<BeamSheet> {
        let dosimeters = self.delivery.dosimeters();
        let mut rows: BTreeMap<u32, Vec<&Row>> = BTreeMap::new();
        for row in self.delivery.rows() {
            if let Some(beam) = row.place.beam.filter(|beam| group.beams.contains(beam)) {
                rows.entry(beam).or_default().push(row);
            }
        }
        let beams = self.beams.iter().filter(|beam| group.beams.contains(&beam.number));
        beams
            .map(|beam| {
                let dosimeter = dosimeters.get(&beam.number).copied();
                let rows = rows.get(&beam.number).map_or(&[][..], Vec::as_slice);
                BeamSheet {
                    number: beam.number,
                    name: beam.name.clone(),
                    machine: beam.machine.clone(),
                    treats: beam.treats,
                    meterset: group.metersets.get(&beam.number).map(|thousandths| {
                        let row = Value::Numbers([*thousandths].into());
                        with_unit(&row, Kind::Meterset, dosimeter)
                    }),
                    settings: settings(rows, dosimeter),
                }
            })
            .collect()
    }
}

fn with_unit(value: &Value, kind: Kind, dosimeter: Option<&str>) -> String {
    let unit = unit(kind, dosimeter);
    let shown = shown(value, kind);
    // Two decimals of a meterset, as it is spoken of; a third where it has one.
    let shown = if kind == Kind::Meterset { shown.strip_suffix('0').unwrap_or(&shown) } else { &shown };
    format!("{shown} {unit}").trim_end().to_owned()
}

fn settings(rows: &[&Row], dosimeter: Option<&str>) -> Vec<Setting> {
    let of_beam = |tag: Tag| rows.iter().filter(move |row| row.tag == tag && row.place.part.is_none());
    let mut settings: Vec<Setting> = SETTINGS
        .iter()
        .filter_map(|(what, tag, direction)| {
            let (first, last) = (of_beam(*tag).next()?, of_beam(*tag).next_back()?);
            let moves = of_beam(*tag).any(|row| row.value != first.value);
            let mut value = match moves {
                false => with_unit(&first.value, first.kind, dosimeter),
                true => {
                    let unit = unit(first.kind, dosimeter);
                    format!("{} to {} {unit}", shown(&first.value, first.kind), shown(&last.value, last.kind))
                }
            };
            let turns = direction.and_then(|tag| of_beam(tag).find(|row| !is_text(row, "NONE")));
            if let Some(turns) = turns.filter(|_| moves) {
                value = format!("{value}, {}", shown(&turns.value, turns.kind));
            }
            Some(Setting { what: (*what).to_owned(), value })
        })
        .collect();
    // Wedges, applicators, blocks, boluses, how she lies and what holds her: whatever else the beam has, jaws where it begins.
    let first_point = rows.iter().filter_map(|row| row.place.point).min();
    for row in rows.iter().filter(|row| row.place.point.is_none() || row.place.point == first_point) {
        let Some(part) = &row.place.part else { continue };
        if NOT_BY_HAND.contains(&row.tag) || (row.place.point.is_some() && row.len() > JAW_ENDS) {
            continue;
        }
        let what = format!("{part}: {}", words(Attribute(row.tag).keyword()));
        settings.push(Setting { what, value: with_unit(&row.value, row.kind, dosimeter) });
    }
    settings
}

/// `FixationDeviceLabel`, for people.
fn words(keyword: &str) -> String {
    let mut words = String::new();
    for letter in keyword.chars() {
        if letter.is_uppercase() && words.chars().next_back().is_some_and(char::is_lowercase) {
            words.push(' ');
        }
        words.push(letter);
    }
    words
}

fn is_text(row: &Row, text: &str) -> bool {
    matches!(&row.value, Value::Text(found) if **found == *text)
}

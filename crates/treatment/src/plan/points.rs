//! A beam's control points: what each takes over from the one before, and whether they make one delivery that can be
//! read in one way only.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use dicom_core::Tag;
use dicom_dictionary_std::tags as t;

use crate::dicom::read::{Found, Reader, needed_integer, number};
use crate::dicom::scan::{Attribute, Set};
use crate::dicom::schema::Kind;
use crate::dicom::value::{Number, ValueFault};
use crate::error::PlanError;
use crate::plan::delivery::{Class, Place, Row, Value};
use crate::plan::{Lists, check_rows};

/// One beam's control points, with what each takes over from the one before.
pub(crate) struct Points<'a> {
    pub reader: Reader<'a>,
    pub lists: &'a Lists,
    pub beam: &'a Place,
    /// The rows of the beam itself.
    pub defined: &'a [Row],
}

/// Devices that a beam defines and a control point sets, by the label of their rows. Wedges are set by a sequence of
/// each kind of plan's own.
const SET_IN_POINTS: [(&str, Tag); 4] = [
    ("device", t::BEAM_LIMITING_DEVICE_POSITION_SEQUENCE),
    ("shifter", t::RANGE_SHIFTER_SETTINGS_SEQUENCE),
    ("spreader", t::LATERAL_SPREADING_DEVICE_SETTINGS_SEQUENCE),
    ("modulator", t::RANGE_MODULATOR_SETTINGS_SEQUENCE),
];

type Key = (Option<Arc<str>>, Tag);

/// What a control point says of the meterset, in shares of the beam.
struct Weights {
    cumulative: Option<i64>,
    /// The sum of its spots.
    spots: Option<i64>,
    /// By how much the spots may miss what the point delivers.
    slack: i64,
}

/// Angle, the direction it turns in.
const ROTATIONS: [(Tag, Tag); 7] = [
    (t::GANTRY_ANGLE, t::GANTRY_ROTATION_DIRECTION),
    (t::BEAM_LIMITING_DEVICE_ANGLE, t::BEAM_LIMITING_DEVICE_ROTATION_DIRECTION),
    (t::PATIENT_SUPPORT_ANGLE, t::PATIENT_SUPPORT_ROTATION_DIRECTION),
    (t::TABLE_TOP_ECCENTRIC_ANGLE, t::TABLE_TOP_ECCENTRIC_ROTATION_DIRECTION),
    (t::TABLE_TOP_PITCH_ANGLE, t::TABLE_TOP_PITCH_ROTATION_DIRECTION),
    (t::TABLE_TOP_ROLL_ANGLE, t::TABLE_TOP_ROLL_ROTATION_DIRECTION),
    (t::GANTRY_PITCH_ANGLE, t::GANTRY_PITCH_ROTATION_DIRECTION),
];

const TABLE_TOP: [Tag; 3] =
    [t::TABLE_TOP_VERTICAL_POSITION, t::TABLE_TOP_LONGITUDINAL_POSITION, t::TABLE_TOP_LATERAL_POSITION];

/// Spots are given anew in every control point that scans.
const SPOTS: [Tag; 5] = [
    t::SCAN_SPOT_TUNE_ID,
    t::NUMBER_OF_SCAN_SPOT_POSITIONS,
    t::SCAN_SPOT_POSITION_MAP,
    t::SCAN_SPOT_METERSET_WEIGHTS,
    t::NUMBER_OF_PAINTINGS,
];

/// The weights of a control point's spots must add up to its share of the beam, in units of 10^-7 of the beam: a
/// ten-thousandth, far above the rounding of single-precision weights, far below what matters. Each spot's share was
/// rounded by up to half a unit more.
const SPOT_SUM_SLACK: i64 = 1_000;

impl Points<'_> {
    pub(crate) fn read(&self, points: &[Set<'_>], rows: &mut Vec<Row>) -> Result<(), PlanError> {
        let fewest = if self.reader.treats { 2 } else { 1 };
        if points.len() < fewest {
            let attribute = Attribute(t::NUMBER_OF_CONTROL_POINTS);
            let what = "a treatment beam has at least two control points";
            return Err(PlanError::Contradiction { place: self.beam.clone(), attribute, what });
        }
        self.check_weights(points)?;
        let mut state: BTreeMap<Key, Row> = BTreeMap::new();
        let mut angles: BTreeMap<Tag, i64> = BTreeMap::new();
        let mut table_top: Vec<[Option<i64>; 3]> = Vec::new();
        let mut weights: Vec<Weights> = Vec::new();
        for (index, point) in (0_u32..).zip(points) {
            let place = self.beam.point(index);
            if needed_integer(*point, t::CONTROL_POINT_INDEX, &place)? != i64::from(index) {
                let what = "the control points are not in order from 0";
                return Err(PlanError::Contradiction { place, attribute: Attribute(t::CONTROL_POINT_INDEX), what });
            }
            let mut found = Found::default();
            self.reader.read(point.elements(), self.lists.point, &place, &mut found)?;
            self.check_spots(&found.rows, &place)?;
            check_nothing_emptied(&found, &state, &place)?;
            check_rotation(&mut angles, &found.angles, &state, &place)?;
            for row in found.rows {
                let key = (row.place.part.clone(), row.tag);
                let is_late = row.class == Class::Delivery || TABLE_TOP.contains(&row.tag);
                if index > 0 && is_late && !state.contains_key(&key) {
                    return Err(PlanError::Late { place: row.place, attribute: Attribute(row.tag) });
                }
                self.check_pairs(&row)?;
                state.insert(key, row);
            }
            let sum = |tag| match &state.get(&(None, tag))?.value {
                Value::Numbers(numbers) => Some(numbers.iter().fold(0_i64, |sum, n| sum.saturating_add(*n))),
                Value::Text(_) => None,
            };
            let spot_count = state.get(&(None, t::SCAN_SPOT_METERSET_WEIGHTS)).map_or(0, Row::len);
            weights.push(Weights {
                cumulative: sum(t::CUMULATIVE_METERSET_WEIGHT),
                spots: sum(t::SCAN_SPOT_METERSET_WEIGHTS),
                slack: SPOT_SUM_SLACK + i64::try_from(spot_count.div_ceil(2)).unwrap_or(0),
            });
            if index == 0 {
                self.check_settings(&state, &place)?;
            }
            check_directions(&state, &place)?;
            table_top.push(TABLE_TOP.map(sum));
            let here = state.values().filter(|row| index == 0 || !TABLE_TOP.contains(&row.tag));
            rows.extend(
                here.map(|row| Row { place: Place { point: Some(index), ..row.place.clone() }, ..row.clone() }),
            );
            check_rows(rows, &place)?;
        }
        self.check_spot_sums(&weights)?;
        self.couch_motion(&table_top, rows);
        Ok(())
    }

    /// The spots of a control point share out what the beam delivers up to the next one (PS3.3 C.8.8.25.7).
    fn check_spot_sums(&self, weights: &[Weights]) -> Result<(), PlanError> {
        let following = weights.iter().skip(1).chain(weights.last());
        for (index, (point, following)) in (0_u32..).zip(weights.iter().zip(following)) {
            let (Some(here), Some(spots), Some(next)) = (point.cumulative, point.spots, following.cumulative) else {
                continue;
            };
            if (next - here - spots).abs() > point.slack {
                return Err(PlanError::Contradiction {
                    place: self.beam.point(index),
                    attribute: Attribute(t::SCAN_SPOT_METERSET_WEIGHTS),
                    what: "the spots don't add up to the weight that the control point delivers",
                });
            }
        }
        Ok(())
    }

    /// Where the couch stands is toleranced; how it moves while the beam is on is delivery.
    fn couch_motion(&self, table_top: &[[Option<i64>; 3]], rows: &mut Vec<Row>) {
        for (axis, tag) in TABLE_TOP.into_iter().enumerate() {
            let at = |point: &[Option<i64>; 3]| point.get(axis).copied().flatten();
            let Some(start) = table_top.first().and_then(at) else { continue };
            let moved: Vec<i64> = table_top.iter().map(|point| at(point).unwrap_or(start) - start).collect();
            if moved.iter().all(|mm| *mm == 0) {
                continue;
            }
            for (index, mm) in (0_u32..).zip(moved).skip(1) {
                let value = Value::Numbers([mm].into());
                let place = self.beam.point(index);
                rows.push(Row { place, tag, kind: Kind::Length, value, class: Class::Delivery, tolerance: None });
            }
        }
    }

    /// From nought, never falling, to the final weight; compared exactly, not as rounded.
    fn check_weights(&self, points: &[Set<'_>]) -> Result<(), PlanError> {
        let attribute = Attribute(t::CUMULATIVE_METERSET_WEIGHT);
        let mut previous: Option<Number> = None;
        for (index, point) in (0_u32..).zip(points) {
            let place = self.beam.point(index);
            let contradiction = |what| PlanError::Contradiction { place: place.clone(), attribute, what };
            let Some(weight) = number(*point, t::CUMULATIVE_METERSET_WEIGHT, &place)? else {
                if self.reader.treats {
                    return Err(PlanError::Missing { place, attribute });
                }
                continue;
            };
            if index == 0 && !weight.is_zero() {
                return Err(contradiction("the first weight is not nought"));
            }
            if previous.is_some_and(|previous| !previous.at_most(weight)) {
                return Err(contradiction("the weight falls"));
            }
            previous = Some(weight);
        }
        let whole = self.reader.whole.filter(|whole| !whole.is_zero());
        let Some((last, whole)) = previous.zip(whole) else { return Ok(()) };
        if last.share(whole, Kind::Weight.places()) != Some(10_i64.pow(Kind::Weight.places())) {
            let what = "the last weight is not the beam's final weight";
            return Err(PlanError::Contradiction { place: self.beam.clone(), attribute, what });
        }
        Ok(())
    }

    /// Two positions for each pair of leaves or jaws that the beam defines.
    fn check_pairs(&self, row: &Row) -> Result<(), PlanError> {
        let (t::LEAF_JAW_POSITIONS, Value::Numbers(positions)) = (row.tag, &row.value) else { return Ok(()) };
        let defines = |d: &&Row| d.tag == t::NUMBER_OF_LEAF_JAW_PAIRS && d.place.part == row.place.part;
        match self.defined.iter().find(defines).map(|d| &d.value) {
            Some(Value::Numbers(pairs)) if pairs.first() == i64::try_from(positions.len() / 2).ok().as_ref() => Ok(()),
            Some(Value::Numbers(pairs)) => {
                let expected = pairs.first().map_or(0, |n| n.saturating_mul(2)).to_string();
                let fault = ValueFault::Multiplicity { found: positions.len(), expected };
                Err(PlanError::Value { place: row.place.clone(), attribute: Attribute(row.tag), fault })
            }
            _ => Err(PlanError::Dangling {
                place: row.place.clone(),
                attribute: Attribute(t::RT_BEAM_LIMITING_DEVICE_TYPE),
            }),
        }
    }

    /// Control point 0 sets exactly the devices that the beam defines.
    fn check_settings(&self, state: &BTreeMap<Key, Row>, place: &Place) -> Result<(), PlanError> {
        for (label, tag) in SET_IN_POINTS.into_iter().chain([("wedge", self.lists.wedge_positions)]) {
            fn parts<'r>(rows: impl Iterator<Item = &'r Row>, label: &str) -> BTreeSet<&'r str> {
                let parts = rows.filter_map(|row| row.place.part.as_deref());
                parts.filter(|part| part.strip_prefix(label).is_some_and(|rest| rest.starts_with(' '))).collect()
            }
            let (defined, set) = (parts(self.defined.iter(), label), parts(state.values(), label));
            if let Some(part) = set.difference(&defined).next() {
                return Err(PlanError::Dangling { place: place.part(part), attribute: Attribute(tag) });
            }
            if let Some(part) = defined.difference(&set).next().filter(|_| self.reader.treats) {
                return Err(PlanError::Missing { place: place.part(part), attribute: Attribute(tag) });
            }
        }
        let has = |label: &str| {
            self.defined
                .iter()
                .filter_map(|row| row.place.part.as_deref())
                .any(|part| part.split(' ').next() == Some(label))
        };
        let missing = |tag| Err(PlanError::Missing { place: place.clone(), attribute: Attribute(tag) });
        // Ion beams may be shaped by the scanning magnets alone; a photon or electron beam has an edge.
        if self.reader.treats && self.lists.beams == t::BEAM_SEQUENCE && !has("device") && !has("applicator") {
            return missing(t::BEAM_LIMITING_DEVICE_POSITION_SEQUENCE);
        }
        if has("snout") && !state.contains_key(&(None, t::SNOUT_POSITION)) {
            return missing(t::SNOUT_POSITION);
        }
        Ok(())
    }

    fn check_spots(&self, rows: &[Row], place: &Place) -> Result<(), PlanError> {
        let of = |tag| rows.iter().find(|row| row.tag == tag && row.place.part.is_none()).map(|row| &row.value);
        let mode = self.defined.iter().find(|row| row.tag == t::SCAN_MODE && row.place.part.is_none());
        match mode.map(|row| &row.value) {
            Some(Value::Text(mode)) if matches!(&**mode, "MODULATED" | "MODULATED_SPEC") => {}
            None => return Ok(()),
            Some(Value::Text(mode)) if matches!(&**mode, "NONE" | "UNIFORM") => return Ok(()),
            // Line scanning, for one, keeps its lines in private attributes.
            Some(_) => {
                let what = "a Scan Mode (300A,0308) that the standard doesn't define";
                return Err(PlanError::Unsupported { place: self.beam.clone(), what });
            }
        }
        if let Some(tag) = SPOTS.into_iter().find(|tag| of(*tag).is_none()).filter(|_| self.reader.treats) {
            return Err(PlanError::Missing { place: place.clone(), attribute: Attribute(tag) });
        }
        let Some(Value::Numbers(count)) = of(t::NUMBER_OF_SCAN_SPOT_POSITIONS) else { return Ok(()) };
        let count = count.first().copied().unwrap_or(0);
        for (tag, each) in [(t::SCAN_SPOT_POSITION_MAP, 2), (t::SCAN_SPOT_METERSET_WEIGHTS, 1)] {
            let Some(Value::Numbers(values)) = of(tag) else { continue };
            if i64::try_from(values.len()) != Ok(count.saturating_mul(each)) {
                let expected = count.saturating_mul(each).to_string();
                let fault = ValueFault::Multiplicity { found: values.len(), expected };
                return Err(PlanError::Value { place: place.clone(), attribute: Attribute(tag), fault });
            }
        }
        Ok(())
    }
}

/// What is there but empty where it had a value is "unchanged" or "none": it can't be told which. And spots are never
/// taken over, so leaving them out says no more than emptying them.
fn check_nothing_emptied(found: &Found, state: &BTreeMap<Key, Row>, place: &Place) -> Result<(), PlanError> {
    // A distance to the skin is left empty at will. Where the couch stands is toleranced, how it moves is delivery.
    let counts = |row: &Row| row.class == Class::Delivery || TABLE_TOP.contains(&row.tag);
    let emptied = found
        .empty
        .iter()
        .find(|empty| state.iter().any(|((part, tag), row)| counts(row) && empty.empties(part.as_deref(), *tag)));
    if let Some(empty) = emptied {
        let place = Place { part: empty.part.clone(), ..place.clone() };
        return Err(PlanError::Missing { place, attribute: Attribute(empty.tag) });
    }
    let lost = SPOTS.into_iter().find(|tag| {
        state.contains_key(&(None, *tag)) && !found.rows.iter().any(|row| row.tag == *tag && row.place.part.is_none())
    });
    match lost {
        Some(tag) => Err(PlanError::Missing { place: place.clone(), attribute: Attribute(tag) }),
        None => Ok(()),
    }
}

fn check_directions(state: &BTreeMap<Key, Row>, place: &Place) -> Result<(), PlanError> {
    for (_, direction) in ROTATIONS {
        if let Some(Value::Text(text)) = state.get(&(None, direction)).map(|row| &row.value)
            && !matches!(&**text, "CW" | "CC" | "NONE")
        {
            let fault = ValueFault::NotOneOf { allowed: "CW, CC, NONE" };
            return Err(PlanError::Value { place: place.clone(), attribute: Attribute(direction), fault });
        }
    }
    Ok(())
}

/// A direction holds for the segment that follows its control point (PS3.3 C.8.8.14.5), so an angle may change only
/// where the point before turns. And 0° to 360° is a full turn or none: it can't be told which. Nor can it be told how far is
/// meant where the numbers are further apart.
fn check_rotation(
    angles: &mut BTreeMap<Tag, i64>,
    found: &[(Tag, i64)],
    state: &BTreeMap<Key, Row>,
    place: &Place,
) -> Result<(), PlanError> {
    for (tag, angle) in found {
        let Some((_, direction)) = ROTATIONS.iter().find(|(turning, _)| turning == tag) else { continue };
        let Some(previous) = angles.insert(*tag, *angle).filter(|previous| previous != angle) else { continue };
        let contradiction = |what| PlanError::Contradiction { place: place.clone(), attribute: Attribute(*tag), what };
        let full_turn = 360 * 10_i64.pow(Kind::Angle.places());
        if (previous - angle) % full_turn == 0 {
            return Err(contradiction("a full turn or none"));
        }
        // Within a turn, 20° after -350° is 30° on, not 370°.
        if (previous - angle).abs() > full_turn {
            return Err(contradiction("more than a full turn"));
        }
        match state.get(&(None, *direction)).map(|row| &row.value) {
            Some(Value::Text(turns)) if matches!(&**turns, "CW" | "CC") => {}
            _ => return Err(contradiction("the angle changes, and nothing says which way round")),
        }
    }
    Ok(())
}

//! What a plan would deliver, as one ordered list of rows. The digest and the diff are both made from this list, so
//! they can't disagree.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use dicom_core::Tag;
use dicom_dictionary_std::tags;
use kit::Digest;
use serde::{Deserialize, Serialize};

use crate::dicom::schema::Kind;
use crate::plan::diff::unit;
use crate::plan::digest;

/// Where in a plan: the plan itself, a fraction group, a beam, one of its control points, a device in it.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    pub group: Option<u32>,
    pub beam: Option<u32>,
    pub point: Option<u32>,
    /// `device MLCX`, `block 1 slab 2`.
    pub part: Option<Arc<str>>,
}

impl Place {
    pub(crate) fn group(number: u32) -> Self {
        Self { group: Some(number), ..Self::default() }
    }

    pub(crate) fn beam(number: u32) -> Self {
        Self { beam: Some(number), ..Self::default() }
    }

    pub(crate) fn point(&self, index: u32) -> Self {
        Self { point: Some(index), ..self.clone() }
    }

    /// A part of this place, or a part of its part.
    pub(crate) fn part(&self, label: &str) -> Self {
        let part = self.part.as_ref().map_or_else(|| label.into(), |outer| format!("{outer} {label}").into());
        Self { part: Some(part), ..self.clone() }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut space = "";
        for (word, number) in [("group", self.group), ("beam", self.beam), ("point", self.point)] {
            if let Some(number) = number {
                write!(f, "{space}{word} {number}")?;
                space = " ";
            }
        }
        match &self.part {
            Some(part) => write!(f, "{space}{part}"),
            None if space.is_empty() => f.write_str("plan"),
            None => Ok(()),
        }
    }
}

/// A value in its canonical form: whole numbers of the kind's resolution, or a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    Numbers(Arc<[i64]>),
    Text(Arc<str>),
}

/// Whether a difference moves dose.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Class {
    /// It does: it is in the digest.
    Delivery,
    /// It is compared with a tolerance instead.
    Toleranced,
}

/// One fact about the delivery.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    pub place: Place,
    pub tag: Tag,
    pub kind: Kind,
    pub value: Value,
    pub class: Class,
    /// For a toleranced row, in units of the kind's resolution; none where any difference is only reported.
    pub tolerance: Option<i64>,
}

impl Row {
    pub(crate) fn key_order(&self, other: &Self) -> Ordering {
        (&self.place, self.tag).cmp(&(&other.place, other.tag))
    }

    /// How many values it has.
    pub(crate) fn len(&self) -> usize {
        match &self.value {
            Value::Numbers(numbers) => numbers.len(),
            Value::Text(_) => 1,
        }
    }

    pub(crate) fn number(place: Place, tag: Tag, number: i64) -> Self {
        let value = Value::Numbers([number].into());
        Self { place, tag, kind: Kind::Integer, value, class: Class::Delivery, tolerance: None }
    }

    pub(crate) fn text(place: Place, tag: Tag, text: &str) -> Self {
        let value = Value::Text(text.into());
        Self { place, tag, kind: Kind::Text, value, class: Class::Delivery, tolerance: None }
    }
}

/// Everything in a plan that moves dose, and the digest over it.
#[derive(Clone, PartialEq, Eq)]
pub struct Delivery {
    rows: Vec<Row>,
    digest: Digest,
}

/// An arc has thousands of rows; its digest says as much.
impl fmt::Debug for Delivery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Delivery({}, {} rows)", self.digest, self.rows.len())
    }
}

/// What belongs to the course, or to the machine, and not to what a fraction is.
const COURSE: [Tag; 8] = [
    tags::NUMBER_OF_FRACTIONS_PLANNED,
    tags::NUMBER_OF_FRACTION_PATTERN_DIGITS_PER_DAY,
    tags::REPEAT_FRACTION_CYCLE_LENGTH,
    tags::FRACTION_PATTERN,
    tags::NUMBER_OF_BEAMS,
    tags::TREATMENT_MACHINE_NAME,
    tags::DEVICE_SERIAL_NUMBER,
    tags::DOSE_RATE_SET,
];

/// What a beam's values are counted in, where that differs from beam to beam.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Units<'a> {
    /// Primary Dosimeter Unit (300A,00B3).
    pub(crate) dosimeter: Option<&'a str>,
    /// Whose nominal energy is the voltage that made them: MV, as of an X-ray tube, and not MeV.
    pub(crate) is_of_photons: bool,
}

impl Delivery {
    pub(crate) fn of_rows(mut rows: Vec<Row>) -> Self {
        rows.sort_by(Row::key_order);
        let digest = digest::of(&rows);
        Self { rows, digest }
    }

    /// By place, then by tag.
    pub fn rows(&self) -> &[Row] {
        &self.rows
    }

    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// Of what one fraction treats with, however many there are, and on whichever machine: a course that is made longer, or
    /// goes on at another machine, is one course. `treats`: of a beam, that it is no setup or imaging beam.
    pub(crate) fn fraction(&self, treats: impl Fn(u32) -> bool) -> Digest {
        let is_of_it = |row: &&Row| !COURSE.contains(&row.tag) && row.place.beam.is_none_or(&treats);
        digest::of(self.rows.iter().filter(is_of_it))
    }

    /// What a beam's metersets are counted in, for people: `MU`, `min`; nothing where it isn't said.
    pub fn meterset_unit(&self, beam: u32) -> String {
        unit(Kind::Meterset, self.units().get(&beam).copied().unwrap_or_default()).into_owned()
    }

    /// Primary Dosimeter Unit (300A,00B3) of each beam that has one.
    pub(crate) fn dosimeters(&self) -> BTreeMap<u32, &str> {
        self.units().into_iter().filter_map(|(beam, units)| Some((beam, units.dosimeter?))).collect()
    }

    /// In what each beam's values are counted.
    pub(crate) fn units(&self) -> BTreeMap<u32, Units<'_>> {
        let mut all: BTreeMap<u32, Units<'_>> = BTreeMap::new();
        for row in self.rows.iter().filter(|row| row.place.part.is_none()) {
            let (Some(beam), Value::Text(said)) = (row.place.beam, &row.value) else { continue };
            match row.tag {
                tags::PRIMARY_DOSIMETER_UNIT => all.entry(beam).or_default().dosimeter = Some(said),
                tags::RADIATION_TYPE => all.entry(beam).or_default().is_of_photons = &**said == "PHOTON",
                _ => {}
            }
        }
        all
    }

    /// The text that the digest is taken over: `sha256sum` of it prints the digest.
    pub fn canonical(&self) -> String {
        // All of it is ASCII but texts, which were decoded to UTF-8.
        String::from_utf8_lossy(&digest::canonical(&self.rows)).into_owned()
    }
}

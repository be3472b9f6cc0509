//! What differs between two deliveries, field by field, in a physicist's words and units.
//!
//! Made from the rows that the digest is made from: there is a difference of class `Delivery` where and only where
//! the digests differ.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use dicom_core::Tag;
use serde::{Deserialize, Serialize};

use crate::dicom::scan::Attribute;
use crate::dicom::schema::Kind;
use crate::plan::delivery::{Class, Delivery, Place, Row, Units, Value};

/// Fields that a difference spells out, of each rank. A plan whose every leaf moved has millions; nobody reads them,
/// and the gate must answer.
pub const FIELDS_MAX: usize = 10_000;

/// Numbers that are spelled out of a value whose shape differs; its length is given with them.
pub(super) const NUMBERS_SHOWN_MAX: usize = 16;

/// Two deliveries compared. Every differing field is counted; of each rank the first are spelled out, what moves dose
/// before what is out of tolerance, and that before the rest.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Difference {
    pub fields: Vec<Field>,
    /// Fields that move dose, spelled out or not.
    pub delivery: usize,
    /// Toleranced fields that are out of tolerance, spelled out or not.
    pub exceeded: usize,
    /// What `fields` leaves out, by beam and attribute.
    pub more: Vec<More>,
}

/// How many fields of one attribute are not spelled out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct More {
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub fraction_group: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub beam: Option<u32>,
    #[serde(flatten)]
    pub attribute: Attribute,
    pub fields: usize,
}

/// One differing value.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Field {
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub fraction_group: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub beam: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub control_point: Option<u32>,
    /// The last of the control points in a row that differ in the same way.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub through_control_point: Option<u32>,
    /// The device or other item: `device MLCX`, `block 1`.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub part: Option<String>,
    /// Which of several values, from 1.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub index: Option<usize>,
    #[serde(flatten)]
    pub attribute: Attribute,
    /// None where the first delivery doesn't have it.
    pub a: Option<String>,
    /// None where the second delivery doesn't have it.
    pub b: Option<String>,
    #[serde(skip_serializing_if = "str::is_empty", default)]
    pub unit: Cow<'static, str>,
    pub class: Class,
    /// For a toleranced field that has one.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub tolerance_mm: Option<i64>,
    /// For a toleranced field: whether it lies outside of its tolerance.
    pub exceeded: bool,
}

impl Difference {
    pub fn of(a: &Delivery, b: &Delivery) -> Self {
        Self::spelling_out(a, b, FIELDS_MAX)
    }

    /// As `of`, with at most so many fields of each rank spelled out.
    pub fn spelling_out(a: &Delivery, b: &Delivery, fields_max: usize) -> Self {
        let units = [a, b].map(Delivery::units);
        let mut comparison = Comparison { fields_max, units, ..Comparison::default() };
        for (a, b) in pairs(a.rows(), b.rows()) {
            comparison.rows(a, b);
        }
        comparison.finish()
    }

    /// Whether both deliver the same dose: whether their digests are equal.
    pub fn same_delivery(&self) -> bool {
        self.delivery == 0
    }

    /// Whether table-top positions and distances to the skin agree within tolerance too.
    pub fn within_tolerance(&self) -> bool {
        self.exceeded == 0
    }

    pub fn delivery_fields(&self) -> impl Iterator<Item = &Field> {
        self.fields.iter().filter(|field| field.class == Class::Delivery)
    }
}

impl fmt::Display for More {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let place = Place { group: self.fraction_group, beam: self.beam, ..Place::default() };
        write!(f, "{place}: {}: {} more", self.attribute, self.fields)
    }
}

impl Field {
    /// `beam 2 point 4 device MLCX (to point 9)`.
    pub fn place(&self) -> String {
        let place = Place {
            group: self.fraction_group,
            beam: self.beam,
            point: self.control_point,
            part: self.part.as_deref().map(Into::into),
        };
        match self.through_control_point {
            Some(through) => format!("{place} (to point {through})"),
            None => place.to_string(),
        }
    }

    pub fn moves_dose(&self) -> bool {
        self.class == Class::Delivery
    }
}

impl fmt::Display for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place(), self.attribute)?;
        if let Some(index) = self.index {
            write!(f, " [{index}]")?;
        }
        let shown = |value: &Option<String>| value.clone().unwrap_or_else(|| "absent".into());
        write!(f, ": {} → {}", shown(&self.a), shown(&self.b))?;
        if !self.unit.is_empty() {
            write!(f, " {}", self.unit)?;
        }
        match (self.class, self.tolerance_mm) {
            (Class::Delivery, _) => Ok(()),
            (Class::Toleranced, Some(mm)) if self.exceeded => write!(f, " (toleranced, beyond {mm} mm)"),
            (Class::Toleranced, _) => f.write_str(" (toleranced)"),
        }
    }
}

/// The unit of a value; of a meterset and its rate as the beam's dosimeter has it, and none where it says nothing.
pub(super) fn unit(kind: Kind, units: Units<'_>) -> Cow<'static, str> {
    match (kind, units.dosimeter) {
        (Kind::Energy, _) if units.is_of_photons => "MV".into(),
        (Kind::Meterset, Some("MINUTE")) => "min".into(),
        (Kind::Meterset, dosimeter) => dosimeter.unwrap_or_default().to_owned().into(),
        // A cobalt unit's dose rate has no unit in the plan.
        (Kind::Rate, None | Some("MINUTE")) => "".into(),
        (Kind::Rate, Some(dosimeter)) => format!("{dosimeter}/min").into(),
        _ => kind.unit().into(),
    }
}

/// Rows of the same place and tag, side by side. Both lists are in that order.
fn pairs<'r>(a: &'r [Row], b: &'r [Row]) -> impl Iterator<Item = (Option<&'r Row>, Option<&'r Row>)> {
    let (mut a, mut b) = (a.iter().peekable(), b.iter().peekable());
    std::iter::from_fn(move || {
        let order = match (a.peek(), b.peek()) {
            (Some(x), Some(y)) => x.key_order(y),
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (None, None) => return None,
        };
        Some(match order {
            Ordering::Less => (a.next(), None),
            Ordering::Greater => (None, b.next()),
            Ordering::Equal => (a.next(), b.next()),
        })
    })
}

/// What moves dose first, then what is out of tolerance, then the rest.
const RANKS: usize = 3;

/// One attribute of one part at one control point, on both sides.
#[derive(Clone, Copy)]
struct Pair<'r> {
    a: Option<&'r Row>,
    b: Option<&'r Row>,
    class: Class,
}

/// A row that differs in the same way from control point to control point: that is one difference, not many.
struct Run<'r> {
    pair: Pair<'r>,
    through: u32,
    /// The fields that it is spelled out by: which of several values, rank, position among those of the rank.
    fields: Vec<(usize, usize, usize)>,
}

impl Run<'_> {
    /// The field that spells out a value, where there was room for one. They rise by index.
    fn field(&self, index: usize) -> Option<(usize, usize, usize)> {
        let position = self.fields.binary_search_by_key(&index, |field| field.0).ok()?;
        self.fields.get(position).copied()
    }
}

#[derive(Default)]
struct Comparison<'r> {
    fields_max: usize,
    /// On either side: what each beam's meterset is counted in.
    units: [BTreeMap<u32, Units<'r>>; 2],
    kept: [Vec<Field>; RANKS],
    counted: [usize; RANKS],
    more: BTreeMap<(Option<u32>, Option<u32>, Tag), usize>,
    beam: Option<u32>,
    /// Of the beam at hand, by part and attribute.
    runs: BTreeMap<(Option<&'r str>, Tag), Run<'r>>,
}

impl<'r> Comparison<'r> {
    fn rows(&mut self, a: Option<&'r Row>, b: Option<&'r Row>) {
        let Some(row) = a.or(b) else { return };
        if self.beam != row.place.beam {
            self.close_all();
            self.beam = row.place.beam;
        }
        if same(a, b) {
            return;
        }
        // The same row may be toleranced on one side and delivery on the other: a couch that moves against one that
        // stands.
        let is_delivery = [a, b].iter().flatten().any(|r| r.class == Class::Delivery);
        let pair = Pair { a, b, class: if is_delivery { Class::Delivery } else { row.class } };
        let Some(point) = row.place.point else {
            for index in pair.differing() {
                self.add(row, pair, index);
            }
            return;
        };
        let key = (row.place.part.as_deref(), row.tag);
        let before = match self.runs.remove(&key) {
            Some(run) if run.through.checked_add(1) == Some(point) && run.pair.class == pair.class => Some(run),
            Some(run) => {
                self.close(&run);
                None
            }
            None => None,
        };
        let run = match before {
            Some(run) if same(run.pair.a, a) && same(run.pair.b, b) => Run { through: point, ..run },
            before => {
                let mut fields = Vec::new();
                if let Some(before) = &before {
                    self.close(before);
                }
                for index in pair.differing() {
                    // The same leaf as far off as at the point before, while another moved on.
                    let goes_on = |before: &&Run<'_>| {
                        before.pair.number_at(index).is_some_and(|at| Some(at) == pair.number_at(index))
                    };
                    match before.as_ref().filter(goes_on) {
                        Some(before) => fields.extend(before.field(index)),
                        None => fields.extend(self.add(row, pair, index)),
                    }
                }
                Run { pair, through: point, fields }
            }
        };
        self.runs.insert(key, run);
    }

    /// Counts a differing value, and spells it out where there is room.
    fn add(&mut self, row: &Row, pair: Pair<'_>, index: usize) -> Option<(usize, usize, usize)> {
        let exceeded = pair.exceeded(index);
        let rank = match pair.class {
            Class::Delivery => 0,
            Class::Toleranced if exceeded => 1,
            Class::Toleranced => 2,
        };
        *self.counted.get_mut(rank)? += 1;
        let kept = self.kept.get_mut(rank)?;
        if kept.len() >= self.fields_max {
            *self.more.entry((row.place.group, row.place.beam, row.tag)).or_default() += 1;
            return None;
        }
        let (mut a, mut b) = pair.shown(index, row.kind);
        let [unit, unit_b] = self
            .units
            .each_ref()
            .map(|all| unit(row.kind, row.place.beam.and_then(|beam| all.get(&beam)).copied().unwrap_or_default()));
        // Two units: each value takes its own.
        let one_unit = unit == unit_b || a.is_none() || b.is_none();
        if !one_unit {
            for (value, unit) in [(&mut a, &unit), (&mut b, &unit_b)] {
                *value = value.take().map(|value| format!("{value} {unit}").trim_end().to_owned());
            }
        }
        let unit = match (&a, one_unit) {
            (_, false) => Cow::default(),
            (Some(_), true) => unit,
            (None, true) => unit_b,
        };
        kept.push(Field {
            fraction_group: row.place.group,
            beam: row.place.beam,
            control_point: row.place.point,
            through_control_point: None,
            part: row.place.part.as_deref().map(str::to_owned),
            index: Some(index).filter(|_| pair.numbers().is_some() && row.len() > 1).map(|index| index + 1),
            attribute: Attribute(row.tag),
            a,
            b,
            unit,
            class: pair.class,
            tolerance_mm: row.tolerance.filter(|_| rank > 0).map(|tolerance| tolerance / 10_i64.pow(row.kind.places())),
            exceeded,
        });
        Some((index, rank, kept.len() - 1))
    }

    fn close(&mut self, run: &Run<'_>) {
        for (_, rank, position) in &run.fields {
            if let Some(field) = self.kept.get_mut(*rank).and_then(|kept| kept.get_mut(*position)) {
                field.through_control_point = Some(run.through).filter(|through| Some(*through) != field.control_point);
            }
        }
    }

    fn close_all(&mut self) {
        for run in std::mem::take(&mut self.runs).into_values() {
            self.close(&run);
        }
    }

    fn finish(mut self) -> Difference {
        self.close_all();
        let [delivery, exceeded, _] = self.counted;
        let more = self.more.into_iter().map(|((fraction_group, beam, tag), fields)| More {
            fraction_group,
            beam,
            attribute: Attribute(tag),
            fields,
        });
        Difference { fields: self.kept.into_iter().flatten().collect(), delivery, exceeded, more: more.collect() }
    }
}

impl<'r> Pair<'r> {
    /// The numbers of both, where they can be held against one another one by one.
    fn numbers(self) -> Option<(&'r [i64], &'r [i64])> {
        match (&self.a?.value, &self.b?.value) {
            (Value::Numbers(a), Value::Numbers(b)) if a.len() == b.len() => Some((a, b)),
            _ => None,
        }
    }

    fn number_at(self, index: usize) -> Option<(i64, i64)> {
        let (a, b) = self.numbers()?;
        Some((*a.get(index)?, *b.get(index)?))
    }

    /// Which of its values differ, from 0; the only one where they aren't compared one by one.
    fn differing(self) -> impl Iterator<Item = usize> + use<'r> {
        let numbers = self.numbers();
        let whole = numbers.is_none().then_some(0);
        let each = numbers.into_iter().flat_map(|(a, b)| a.iter().zip(b).enumerate());
        whole.into_iter().chain(each.filter(|(_, (a, b))| a != b).map(|(index, _)| index))
    }

    fn exceeded(self, index: usize) -> bool {
        // A toleranced value that one side lacks can't be out of tolerance: planning systems leave it empty.
        let tolerance = self.a.and_then(|row| row.tolerance);
        let apart = self.number_at(index).map(|(a, b)| a.abs_diff(b));
        apart.zip(tolerance).is_some_and(|(apart, tolerance)| apart > tolerance.unsigned_abs())
    }

    fn shown(self, index: usize, kind: Kind) -> (Option<String>, Option<String>) {
        match self.number_at(index) {
            Some((a, b)) => (Some(fixed(a, kind)), Some(fixed(b, kind))),
            None => {
                let of = |row: &Row| shown(&row.value, row.kind);
                (self.a.map(of), self.b.map(of))
            }
        }
    }
}

/// Whether two rows have one value. A value that is taken over from point to point is one allocation.
fn same(a: Option<&Row>, b: Option<&Row>) -> bool {
    match (a.map(|row| &row.value), b.map(|row| &row.value)) {
        (Some(Value::Numbers(a)), Some(Value::Numbers(b))) => Arc::ptr_eq(a, b) || a == b,
        (a, b) => a == b,
    }
}

pub(super) fn shown(value: &Value, kind: Kind) -> String {
    match value {
        Value::Text(text) => text.to_string(),
        Value::Numbers(numbers) => {
            let shown: Vec<String> = numbers.iter().take(NUMBERS_SHOWN_MAX).map(|n| fixed(*n, kind)).collect();
            let shown = shown.join(", ");
            if numbers.len() > NUMBERS_SHOWN_MAX { format!("{shown}, … ({} values)", numbers.len()) } else { shown }
        }
    }
}

/// `-13.00`: a fixed-point number with all its places, so that nobody wonders what was rounded.
fn fixed(number: i64, kind: Kind) -> String {
    let places = usize::try_from(kind.places()).unwrap_or(0);
    if places == 0 {
        return number.to_string();
    }
    let scale = 10_u64.pow(kind.places());
    let (whole, part) = (number.unsigned_abs() / scale, number.unsigned_abs() % scale);
    format!("{}{whole}.{part:0places$}", if number < 0 { "-" } else { "" })
}

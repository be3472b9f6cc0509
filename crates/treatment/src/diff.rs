//! What differs between two deliveries, field by field, in a physicist's words and units.
//!
//! Made from the rows that the digest is made from: there is a difference of class `Delivery` where and only where
//! the digests differ.

use std::cmp::Ordering;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::delivery::{Class, Delivery, Place, Row, Value};
use crate::scan::Attribute;
use crate::schema::Kind;

/// Two deliveries compared.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Difference {
    pub fields: Vec<Field>,
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
    pub keyword: String,
    /// `(300A,011E)`.
    pub tag: String,
    /// None where the first delivery doesn't have it.
    pub a: Option<String>,
    /// None where the second delivery doesn't have it.
    pub b: Option<String>,
    #[serde(skip_serializing_if = "String::is_empty", default)]
    pub unit: String,
    pub class: Class,
    /// For a toleranced field: whether it lies outside of its tolerance.
    pub exceeded: bool,
}

impl Difference {
    pub fn of(a: &Delivery, b: &Delivery) -> Self {
        let mut fields = Vec::new();
        for (a, b) in pairs(a.rows(), b.rows()) {
            compare(a, b, &mut fields);
        }
        join_points(&mut fields);
        Self { fields }
    }

    /// Whether both deliver the same dose: whether their digests are equal.
    pub fn same_delivery(&self) -> bool {
        !self.fields.iter().any(|field| field.class == Class::Delivery)
    }

    /// Whether table-top positions and distances to the skin agree within tolerance too.
    pub fn within_tolerance(&self) -> bool {
        !self.fields.iter().any(|field| field.exceeded)
    }

    pub fn delivery_fields(&self) -> impl Iterator<Item = &Field> {
        self.fields.iter().filter(|field| field.class == Class::Delivery)
    }
}

impl std::fmt::Display for Field {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let place = Place {
            group: self.fraction_group,
            beam: self.beam,
            point: self.control_point,
            part: self.part.as_deref().map(Into::into),
        };
        write!(f, "{place}")?;
        if let Some(through) = self.through_control_point {
            write!(f, " (to point {through})")?;
        }
        write!(f, ": {} {}", self.tag, self.keyword)?;
        if let Some(index) = self.index {
            write!(f, " [{index}]")?;
        }
        let shown = |value: &Option<String>| value.clone().unwrap_or_else(|| "absent".into());
        write!(f, ": {} → {}", shown(&self.a), shown(&self.b))?;
        if !self.unit.is_empty() {
            write!(f, " {}", self.unit)?;
        }
        Ok(())
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

fn compare(a: Option<&Row>, b: Option<&Row>, fields: &mut Vec<Field>) {
    let Some(row) = a.or(b) else { return };
    // The same row may be toleranced on one side and delivery on the other: a couch that moves against one that stands.
    let class = if [a, b].iter().flatten().any(|r| r.class == Class::Delivery) { Class::Delivery } else { row.class };
    let mut push = |index, a: Option<String>, b: Option<String>, exceeded| {
        fields.push(Field {
            fraction_group: row.place.group,
            beam: row.place.beam,
            control_point: row.place.point,
            through_control_point: None,
            part: row.place.part.as_deref().map(str::to_owned),
            index,
            keyword: Attribute(row.tag).keyword().to_owned(),
            tag: Attribute(row.tag).number(),
            a,
            b,
            unit: row.kind.unit().to_owned(),
            class,
            exceeded,
        });
    };
    match (a.map(|r| &r.value), b.map(|r| &r.value)) {
        (Some(x), Some(y)) if x == y => {}
        (Some(Value::Numbers(x)), Some(Value::Numbers(y))) if x.len() == y.len() => {
            for (i, (x, y)) in x.iter().zip(y.iter()).enumerate().filter(|(_, (x, y))| x != y) {
                let exceeded = row.tolerance.is_some_and(|tolerance| (x - y).abs() > tolerance);
                let index = Some(i + 1).filter(|_| row.len() > 1);
                push(index, Some(fixed(*x, row.kind)), Some(fixed(*y, row.kind)), exceeded);
            }
        }
        // A toleranced value that one side lacks can't be out of tolerance: planning systems leave it empty.
        (x, y) => push(None, x.map(|v| shown(v, row.kind)), y.map(|v| shown(v, row.kind)), false),
    }
}

fn shown(value: &Value, kind: Kind) -> String {
    match value {
        Value::Text(text) => Arc::clone(text).to_string(),
        Value::Numbers(numbers) => numbers.iter().map(|n| fixed(*n, kind)).collect::<Vec<_>>().join(", "),
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

/// A value that is taken over from point to point differs at all of them: that is one difference.
fn join_points(fields: &mut Vec<Field>) {
    let all = std::mem::take(fields);
    let mut open: std::collections::BTreeMap<_, usize> = std::collections::BTreeMap::new();
    for field in all {
        let key = (field.beam, field.part.clone(), field.tag.clone(), field.index);
        let joined = field.control_point.and_then(|point| {
            let last = fields.get_mut(*open.get(&key)?)?;
            let reached = last.through_control_point.or(last.control_point)?;
            let same = (&last.a, &last.b, last.class) == (&field.a, &field.b, field.class);
            (same && reached + 1 == point).then(|| last.through_control_point = Some(point))
        });
        if joined.is_none() {
            open.insert(key, fields.len());
            fields.push(field);
        }
    }
}

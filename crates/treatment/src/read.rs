//! Reads one data set of a plan by its closed list, into rows.

use std::sync::Arc;

use dicom_core::dictionary::{DataDictionary, DataDictionaryEntry, VirtualVr};
use dicom_core::{Tag, VR};
use dicom_dictionary_std::{StandardDataDictionary, tags as t};

use crate::delivery::{Class, Place, Row, Value};
use crate::error::PlanError;
use crate::scan::{Attribute, Element, Set};
use crate::schema::{Count, Key, Kind, Need, Part, Rule};
use crate::value::{Characters, Number, ValueFault, code, integers, numbers, trimmed};

/// A private creator whose elements are the delivery itself: the leaf open times of a tomotherapy machine, in group
/// 300D of its control points. A digest that ignores them would call any two such plans the same.
const TOMOTHERAPY: &[u8] = b"TOMO_HA_01";

/// Items of one sequence of devices, blocks, setup aids: none comes near in a treatment room.
const ITEMS_MAX: usize = 100;

/// How a data set is to be read.
pub(crate) struct Reader<'a> {
    pub characters: &'a Characters,
    /// Whether the beam treats; a setup beam may do without energy, meterset and weights.
    pub treats: bool,
    /// The beam's Final Cumulative Meterset Weight, by which weights are divided.
    pub whole: Option<Number>,
}

/// What was read.
#[derive(Default)]
pub(crate) struct Found {
    pub rows: Vec<Row>,
    /// Angles before they are reduced to [0°, 360°), to tell a full turn from none.
    pub angles: Vec<(Tag, i64)>,
    /// What is there but empty.
    pub empty: Vec<Empty>,
}

/// A value without bytes, or a sequence without items.
pub(crate) struct Empty {
    pub part: Option<Arc<str>>,
    pub tag: Tag,
    /// For a sequence: what its items are called.
    pub label: Option<&'static str>,
}

impl Empty {
    /// Whether a row stands for what is empty here: the value itself, or anything in an item of the sequence.
    pub(crate) fn empties(&self, part: Option<&str>, tag: Tag) -> bool {
        let Some(label) = self.label else { return (self.part.as_deref(), self.tag) == (part, tag) };
        let inside = match &self.part {
            Some(outer) => part.and_then(|part| part.strip_prefix(&**outer)?.strip_prefix(' ')),
            None => part,
        };
        inside.and_then(|part| part.strip_prefix(label)).is_some_and(|rest| rest.is_empty() || rest.starts_with(' '))
    }
}

impl Reader<'_> {
    pub(crate) fn read<'t>(
        &self,
        elements: impl Iterator<Item = Element<'t>>,
        rules: &'static [Rule],
        place: &Place,
        found: &mut Found,
    ) -> Result<(), PlanError> {
        let first = place.point.is_none_or(|point| point == 0);
        let mut seen = 0_u128;
        for element in elements {
            let tag = element.tag();
            if tag.group() % 2 == 1 {
                refuse_private_delivery(element, place)?;
                continue;
            }
            // A group length says nothing; it was retired in 2008.
            if tag.element() == 0 {
                continue;
            }
            let attribute = Attribute(tag);
            let Ok(index) = rules.binary_search_by_key(&tag, |rule| rule.tag) else {
                return Err(PlanError::Unknown { place: place.clone(), attribute });
            };
            let Some(rule) = rules.get(index) else { continue };
            match rule.part {
                Part::Harmless | Part::Tied => {}
                Part::Digested(..) | Part::Toleranced(..) if trimmed(element.bytes()).is_empty() => {
                    found.empty.push(Empty { part: place.part.clone(), tag, label: None });
                    continue;
                }
                Part::Digested(kind, count, _) => {
                    let value = self.value(element, kind, count, place, found)?;
                    let place = place.clone();
                    found.rows.push(Row { place, tag, kind, value, class: Class::Delivery, tolerance: None });
                }
                Part::Toleranced(kind, count, tolerance) => {
                    let value = self.value(element, kind, count, place, found)?;
                    let tolerance = tolerance.map(|whole| whole * 10_i64.pow(kind.places()));
                    let place = place.clone();
                    found.rows.push(Row { place, tag, kind, value, class: Class::Toleranced, tolerance });
                }
                Part::Items(label, key, inner) => self.items(element, label, key, inner, place, found)?,
            }
            seen |= 1 << index;
        }
        for (index, rule) in rules.iter().enumerate() {
            let Part::Digested(_, _, need) = rule.part else { continue };
            let needed = match need {
                Need::Optional => false,
                Need::First => first,
                Need::Treatment => first && self.treats,
                Need::Every => self.treats,
            };
            if needed && seen >> index & 1 == 0 {
                return Err(PlanError::Missing { place: place.clone(), attribute: Attribute(rule.tag) });
            }
        }
        Ok(())
    }

    fn items(
        &self,
        sequence: Element<'_>,
        label: &'static str,
        key: Key,
        rules: &'static [Rule],
        place: &Place,
        found: &mut Found,
    ) -> Result<(), PlanError> {
        check_vr(sequence, place)?;
        if sequence.items().next().is_none() {
            found.empty.push(Empty { part: place.part.clone(), tag: sequence.tag(), label: Some(label) });
        }
        let mut names: Vec<String> = Vec::new();
        for (order, item) in (1_i64..).zip(sequence.items()) {
            let (tag, number, name) = match key {
                Key::Sole | Key::Order => (sequence.tag(), order, format!("{label} {order}")),
                Key::Number(tag) => {
                    let number = needed_integer(item, tag, &place.part(label))?;
                    (tag, number, format!("{label} {number}"))
                }
                Key::Code(tag) => {
                    let text = needed_code(item, tag, &place.part(label))?;
                    (tag, order, format!("{label} {text}"))
                }
            };
            if names.len() >= ITEMS_MAX {
                return Err(PlanError::TooMany { place: place.part(label), what: "items", max: ITEMS_MAX });
            }
            if names.contains(&name) || (key == Key::Sole && order > 1) {
                return Err(PlanError::Duplicate { place: place.part(&name), attribute: Attribute(tag) });
            }
            let place = place.part(if key == Key::Sole { label } else { &name });
            // The item itself is a fact, even where it says nothing else: a bolus is a bolus.
            found.rows.push(match key {
                Key::Code(tag) => Row::text(place.clone(), tag, name.trim_start_matches(label).trim_start()),
                _ => Row::number(place.clone(), tag, number),
            });
            names.push(name);
            self.read(item.elements(), rules, &place, found)?;
        }
        Ok(())
    }

    fn value(
        &self,
        element: Element<'_>,
        kind: Kind,
        count: Count,
        place: &Place,
        found: &mut Found,
    ) -> Result<Value, PlanError> {
        check_vr(element, place)?;
        let fault = |fault| PlanError::Value { place: place.clone(), attribute: Attribute(element.tag()), fault };
        if matches!(kind, Kind::Code | Kind::Text) {
            return self.text(element, kind).map(|text| Value::Text(text.into())).map_err(fault);
        }
        let numbers = numbers(element).map_err(fault)?;
        check_count(numbers.len(), count).map_err(fault)?;
        let (min, max) = kind.range();
        let scale = 10_i64.pow(kind.places());
        let mut fixed = Vec::with_capacity(numbers.len());
        for (i, number) in numbers.iter().enumerate() {
            let value = match (kind, self.whole) {
                (Kind::Weight, Some(whole)) if !whole.is_zero() => number.share(whole, kind.places()),
                (Kind::Weight, _) => Some(0).filter(|_| number.is_zero()),
                _ => number.fixed(kind.places()),
            };
            let bounds = min.saturating_mul(scale)..=max.saturating_mul(scale);
            let value = value.filter(|value| bounds.contains(value) && !(min == 0 && number.is_negative()));
            fixed.push(
                value.ok_or_else(|| fault(ValueFault::OutOfRange { index: i + 1, min, max, unit: kind.unit() }))?,
            );
        }
        if kind == Kind::Angle {
            found.angles.extend(fixed.first().map(|angle| (element.tag(), *angle)));
            for angle in &mut fixed {
                *angle = angle.rem_euclid(360 * scale);
            }
        }
        Ok(Value::Numbers(fixed.into()))
    }

    fn text(&self, element: Element<'_>, kind: Kind) -> Result<String, ValueFault> {
        if kind == Kind::Code {
            return code(element.bytes());
        }
        let max = match element.vr() {
            VR::SH => 16,
            VR::LO => 64,
            _ => 10_240,
        };
        let text = self.characters.text(element.bytes())?;
        let characters = text.chars().count();
        if text.contains('\\') {
            return Err(ValueFault::Multiplicity { found: text.split('\\').count(), expected: "1".into() });
        }
        if characters > max {
            return Err(ValueFault::TooLong { index: 1, characters, max });
        }
        Ok(text)
    }
}

fn check_count(found: usize, count: Count) -> Result<(), ValueFault> {
    let (fits, expected) = match count {
        Count::One => (found == 1, "1".to_owned()),
        Count::Exactly(n) => (found == n, n.to_string()),
        Count::Pairs => (found > 0 && found.is_multiple_of(2), "pairs".to_owned()),
        Count::Any => (found > 0, "1 or more".to_owned()),
    };
    if fits { Ok(()) } else { Err(ValueFault::Multiplicity { found, expected }) }
}

/// The value representation must be the standard's, where that has exactly one.
pub(crate) fn check_vr(element: Element<'_>, place: &Place) -> Result<(), PlanError> {
    match StandardDataDictionary.by_tag(element.tag()).map(|entry| entry.vr()) {
        Some(VirtualVr::Exact(expected)) if expected != element.vr() => Err(PlanError::Value {
            place: place.clone(),
            attribute: Attribute(element.tag()),
            fault: ValueFault::Vr { found: element.vr().to_string(), expected: expected.to_string() },
        }),
        _ => Ok(()),
    }
}

/// The one value of an element that may be missing or empty.
fn one<T: Copy>(
    set: Set<'_>,
    tag: Tag,
    place: &Place,
    values: fn(Element<'_>) -> Result<Vec<T>, ValueFault>,
) -> Result<Option<T>, PlanError> {
    let Some(element) = set.get(tag).filter(|e| !trimmed(e.bytes()).is_empty()) else { return Ok(None) };
    check_vr(element, place)?;
    let fault = |fault| PlanError::Value { place: place.clone(), attribute: Attribute(tag), fault };
    match values(element).map_err(fault)?.as_slice() {
        [one] => Ok(Some(*one)),
        several => Err(fault(ValueFault::Multiplicity { found: several.len(), expected: "1".into() })),
    }
}

pub(crate) fn integer(set: Set<'_>, tag: Tag, place: &Place) -> Result<Option<i64>, PlanError> {
    one(set, tag, place, integers)
}

pub(crate) fn number(set: Set<'_>, tag: Tag, place: &Place) -> Result<Option<Number>, PlanError> {
    one(set, tag, place, numbers)
}

pub(crate) fn needed_integer(set: Set<'_>, tag: Tag, place: &Place) -> Result<i64, PlanError> {
    integer(set, tag, place)?.ok_or_else(|| PlanError::Missing { place: place.clone(), attribute: Attribute(tag) })
}

/// The number of a beam, a fraction group, a setup: not negative.
pub(crate) fn needed_number(set: Set<'_>, tag: Tag, place: &Place) -> Result<u32, PlanError> {
    let (min, max) = (0, i64::from(i32::MAX));
    u32::try_from(needed_integer(set, tag, place)?).map_err(|_| PlanError::Value {
        place: place.clone(),
        attribute: Attribute(tag),
        fault: ValueFault::OutOfRange { index: 1, min, max, unit: "" },
    })
}

/// A code that names an item. It stands in the names of rows, so it holds no space.
fn needed_code(set: Set<'_>, tag: Tag, place: &Place) -> Result<String, PlanError> {
    let attribute = Attribute(tag);
    let element = set.get(tag).ok_or_else(|| PlanError::Missing { place: place.clone(), attribute })?;
    check_vr(element, place)?;
    match code(element.bytes()) {
        Ok(text) if text.is_empty() => Err(PlanError::Missing { place: place.clone(), attribute }),
        Ok(text) if text.contains(' ') => {
            Err(PlanError::Value { place: place.clone(), attribute, fault: ValueFault::Characters })
        }
        Ok(text) => Ok(text),
        Err(fault) => Err(PlanError::Value { place: place.clone(), attribute, fault }),
    }
}

/// The items of a sequence that may be missing.
pub(crate) fn sequence<'t>(set: Set<'t>, tag: Tag, place: &Place) -> Result<Vec<Set<'t>>, PlanError> {
    let Some(element) = set.get(tag) else { return Ok(Vec::new()) };
    check_vr(element, place)?;
    Ok(element.items().collect())
}

fn refuse_private_delivery(element: Element<'_>, place: &Place) -> Result<(), PlanError> {
    let is_creator = (0x0010..=0x00FF).contains(&element.tag().element());
    if place.beam.is_some() && is_creator && trimmed(element.bytes()) == TOMOTHERAPY {
        return Err(PlanError::Unsupported { place: place.clone(), what: "a delivery in private attributes" });
    }
    Ok(())
}

/// The one attribute that switches a beam to devices described by another model.
pub(crate) fn refuse_enhanced_devices(beam: Set<'_>, place: &Place) -> Result<(), PlanError> {
    match beam.get(t::ENHANCED_RT_BEAM_LIMITING_DEVICE_DEFINITION_FLAG).map(|e| trimmed(e.bytes())) {
        None | Some(b"NO") => Ok(()),
        Some(_) => Err(PlanError::Unsupported { place: place.clone(), what: "an enhanced beam limiting device" }),
    }
}

//! Reads one data set of a plan by its closed list, into rows.

use std::cell::Cell;
use std::sync::Arc;

use dicom_core::dictionary::{DataDictionary, DataDictionaryEntry, VirtualVr};
use dicom_core::{Tag, VR};
use dicom_dictionary_std::{StandardDataDictionary, tags as t};

use crate::dicom::scan::{Attribute, Element, Set};
use crate::dicom::schema::{Count, Key, Kind, Need, Part, Rule};
use crate::dicom::value::{Characters, Number, ValueFault, Values, code, count, integers, numbers, trimmed};
use crate::error::PlanError;
use crate::plan::delivery::{Class, Place, Row, Value};

/// A private creator whose elements are the delivery itself: the leaf open times of a tomotherapy machine, in group
/// 300D of its control points. A digest that ignores them would call any two such plans the same.
const TOMOTHERAPY: &[u8] = b"TOMO_HA_01";

/// Items of one sequence of devices, blocks, setup aids: none comes near in a treatment room.
const ITEMS_MAX: usize = 100;

/// Elements of one plan that are read by a list: ten scanned fields of 400 layers have 240,000.
const ELEMENTS_MAX: usize = 500_000;

/// Values of one element: a compensator of 512 by 512 has 262,144, a layer's spots some thousands.
const VALUES_MAX: usize = 1_000_000;

/// Numbers that one plan holds, and that its rows repeat: a scanned ion plan of 400 layers and 2,000 spots a layer has
/// five million.
pub(crate) const NUMBERS_MAX: usize = 20_000_000;

/// What was read of one plan so far, by all of its readers.
#[derive(Default)]
pub(crate) struct Spent {
    elements: Cell<usize>,
    numbers: Cell<usize>,
}

impl Spent {
    fn element(&self, place: &Place) -> Result<(), PlanError> {
        Self::add(&self.elements, 1, ("elements", ELEMENTS_MAX), place)
    }

    fn numbers(&self, count: usize, place: &Place) -> Result<(), PlanError> {
        Self::add(&self.numbers, count, ("numbers", NUMBERS_MAX), place)
    }

    fn add(
        so_far: &Cell<usize>,
        count: usize,
        (what, max): (&'static str, usize),
        place: &Place,
    ) -> Result<(), PlanError> {
        so_far.set(so_far.get().saturating_add(count));
        if so_far.get() > max { Err(PlanError::TooMany { place: place.clone(), what, max }) } else { Ok(()) }
    }
}

/// How a data set is to be read.
#[derive(Clone, Copy)]
pub(crate) struct Reader<'a> {
    pub characters: &'a Characters,
    pub spent: &'a Spent,
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
        // A control point may take a value over; a device that it sets anew says what to.
        let first = place.point.is_none_or(|point| point == 0) || place.part.is_some();
        let mut seen = 0_u128;
        for element in elements {
            self.spent.element(place)?;
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
                Part::Digested(kind, count, _) | Part::Toleranced(kind, count, _) => {
                    let Some(value) = self.value(element, kind, count, place, found)? else {
                        found.empty.push(Empty { part: place.part.clone(), tag, label: None });
                        continue;
                    };
                    let (class, tolerance) = match rule.part {
                        Part::Toleranced(_, _, tolerance) => (Class::Toleranced, tolerance),
                        _ => (Class::Delivery, None),
                    };
                    let tolerance = tolerance.map(|whole| whole * 10_i64.pow(kind.places()));
                    found.rows.push(Row { place: place.clone(), tag, kind, value, class, tolerance });
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

    /// A value in its canonical form; none where there is nothing but padding.
    fn value(
        &self,
        element: Element<'_>,
        kind: Kind,
        count: Count,
        place: &Place,
        found: &mut Found,
    ) -> Result<Option<Value>, PlanError> {
        if trimmed(element.bytes()).is_empty() {
            return Ok(None);
        }
        check_vr(element, place)?;
        let fault = |fault| PlanError::Value { place: place.clone(), attribute: Attribute(element.tag()), fault };
        if matches!(kind, Kind::Code | Kind::Text) {
            let text = self.text(element, kind).map_err(fault)?;
            return Ok(Some(text).filter(|text| !text.is_empty()).map(|text| Value::Text(text.into())));
        }
        let values = crate::dicom::value::count(element).map_err(fault)?;
        check_count(values, count).map_err(fault)?;
        self.spent.numbers(values, place)?;
        let (min, max) = kind.range();
        let scale = 10_i64.pow(kind.places());
        let mut fixed = Vec::with_capacity(values);
        for (i, number) in numbers(element).map_err(fault)?.enumerate() {
            let number = number.map_err(fault)?;
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
        Ok(Some(Value::Numbers(fixed.into())))
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
        // No character set takes more than four bytes a character.
        let least = trimmed(element.bytes()).len().div_ceil(4);
        if least > max {
            return Err(ValueFault::TooLong { index: 1, characters: least, max });
        }
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
        _ if found > VALUES_MAX => (false, format!("{VALUES_MAX} at most")),
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
fn one<T>(
    set: Set<'_>,
    tag: Tag,
    place: &Place,
    values: for<'t> fn(Element<'t>) -> Result<Values<'t, T>, ValueFault>,
) -> Result<Option<T>, PlanError> {
    let Some(element) = set.get(tag).filter(|e| !trimmed(e.bytes()).is_empty()) else { return Ok(None) };
    check_vr(element, place)?;
    let fault = |fault| PlanError::Value { place: place.clone(), attribute: Attribute(tag), fault };
    check_count(count(element).map_err(fault)?, Count::One).map_err(fault)?;
    values(element).map_err(fault)?.next().transpose().map_err(fault)
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
    let number = match needed_integer(set, tag, place) {
        // What no IS holds is outside of these bounds too, which are the narrower ones.
        Err(PlanError::Value { fault: ValueFault::OutOfRange { .. }, .. }) => None,
        number => u32::try_from(number?).ok(),
    };
    let (min, max) = (0, i64::from(i32::MAX));
    number.ok_or_else(|| PlanError::Value {
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

//! Every attribute that moves dose, changed by the least that counts, one at a time; and every one that moves none.

use std::collections::BTreeMap;

use super::attributes::{MOVES, Module, Moves, STILL, Step};
use crate::synthetic::Rng;
use crate::tamper::WalkError;
use crate::tamper::walk::{Dataset, File, Tag, Value, decimal};

const FINAL_WEIGHT: Tag = 0x300A_010E;
/// SH; longer ones have longer representations, and room.
const TEXT_MAX: usize = 16;

/// The way to one element: sequences with their item, then the element's tag.
type Path = Vec<(Tag, usize)>;

/// Where an attribute was found, and what it is.
pub(super) struct Spot {
    pub(super) module: Module,
    path: Path,
    pub(super) tag: Tag,
    /// None where it moves no dose.
    pub(super) moves: Option<&'static Moves>,
    /// The beam's Final Cumulative Meterset Weight.
    whole: f64,
}

/// A plan's attributes, and those that are on none of the drill's lists.
#[derive(Default)]
pub(super) struct Found {
    pub(super) spots: Vec<Spot>,
    pub(super) unlisted: BTreeMap<Tag, usize>,
}

/// `(300A,0086)`.
pub(super) fn number(tag: Tag) -> String {
    format!("({:04X},{:04X})", tag >> 16, tag & 0xFFFF)
}

/// A plan that is edited.
pub(super) struct Original(File);

impl Original {
    pub(super) fn read(plan: &[u8]) -> Result<Self, WalkError> {
        File::read(plan).map(Self)
    }

    /// At most so many of each attribute, drawn by lot.
    pub(super) fn spots(&self, rng: &Rng, most: usize) -> Found {
        let mut found = Found::default();
        for (module, sequence) in Module::ALL {
            for (at, item) in self.0.data.items(sequence).iter().enumerate() {
                walk(item, module, &mut vec![(sequence, at)], item.number(FINAL_WEIGHT).unwrap_or(1.0), &mut found);
            }
        }
        rng.shuffle(&mut found.spots);
        let mut seen: BTreeMap<(Module, Tag), usize> = BTreeMap::new();
        found.spots.retain(|spot| {
            let seen = seen.entry((spot.module, spot.tag)).or_default();
            *seen += 1;
            *seen <= most
        });
        found
    }

    /// The plan with one value changed; none where nothing can be changed there.
    pub(super) fn mutant(&self, rng: &Rng, spot: &Spot) -> Option<Vec<u8>> {
        let mut file = self.0.clone();
        let mut set = &mut file.data;
        for (sequence, at) in &spot.path {
            set = set.items_mut(*sequence)?.get_mut(*at)?;
        }
        let step = spot.moves.map_or(Step::Letter, |moves| moves.step);
        change(set, spot.tag, step, spot.whole, rng).then(|| file.write())
    }
}

fn walk(set: &Dataset, module: Module, path: &mut Path, whole: f64, found: &mut Found) {
    for element in &set.0 {
        // Private ones are the re-exports' business.
        if element.tag >> 16 & 1 == 1 {
            continue;
        }
        match &element.value {
            Value::Items(items) => {
                for (at, item) in items.iter().enumerate() {
                    path.push((element.tag, at));
                    walk(item, module, path, whole, found);
                    path.pop();
                }
            }
            Value::Bytes(bytes) if bytes.iter().all(|byte| [0, b' '].contains(byte)) && bytes.len() < 4 => {}
            Value::Bytes(_) => {
                let moves = MOVES.iter().find(|moves| moves.tag == element.tag);
                if moves.is_none() && !STILL.contains(&element.tag) {
                    *found.unlisted.entry(element.tag).or_default() += 1;
                    continue;
                }
                found.spots.push(Spot { module, path: path.clone(), tag: element.tag, moves, whole });
            }
        }
    }
}

fn change(set: &mut Dataset, tag: Tag, step: Step, whole: f64, rng: &Rng) -> bool {
    let vr = set.get(tag).map_or(*b"UN", |element| element.vr);
    match step {
        Step::More(more) => decimals(set, tag, more, rng),
        Step::Weight => decimals(set, tag, whole * 1e-6, rng),
        Step::Floats(more) => floats(set, tag, more, rng),
        #[allow(clippy::cast_possible_truncation)] // FL
        Step::Weights => floats(set, tag, (whole * 1e-6) as f32, rng),
        Step::Double(more) => {
            let bytes: Option<[u8; 8]> = set.bytes(tag).and_then(|bytes| bytes.try_into().ok());
            let Some(value) = bytes.map(f64::from_le_bytes) else { return false };
            set.set(tag, vr, &(value + more).to_le_bytes());
            true
        }
        Step::Short => {
            let bytes: Option<[u8; 2]> = set.bytes(tag).and_then(|bytes| bytes.try_into().ok());
            let Some(value) = bytes.map(u16::from_le_bytes) else { return false };
            set.set(tag, vr, &(value + 1).to_le_bytes());
            true
        }
        Step::One => {
            let Some(value) = set.text(tag).and_then(|text| text.trim().parse::<i64>().ok()) else { return false };
            set.set_text(tag, vr, &(value + 1).to_string());
            true
        }
        Step::Letter => {
            let Some(text) = set.text(tag) else { return false };
            let (room, mut chars) = (text.len() < TEXT_MAX, text.chars());
            let last = chars.next_back();
            let other = match (room, last) {
                // A fraction pattern and a UID take digits alone.
                (_, Some('0')) => format!("{}1", chars.as_str()),
                (_, Some('0'..='9')) => format!("{}0", chars.as_str()),
                (true, _) => format!("{text}X"),
                (false, Some('X')) => format!("{}Y", chars.as_str()),
                (false, _) => format!("{}X", chars.as_str()),
            };
            set.set_text(tag, vr, &other);
            true
        }
        Step::Otherwise(pairs) => {
            let text = set.text(tag);
            let other = pairs.iter().find(|(from, _)| Some(*from) == text.as_deref());
            let Some((_, other)) = other else { return false };
            set.set_text(tag, vr, other);
            true
        }
    }
}

fn decimals(set: &mut Dataset, tag: Tag, more: f64, rng: &Rng) -> bool {
    let Some(text) = set.text(tag) else { return false };
    let mut parts: Vec<String> = text.split('\\').map(|part| part.trim().to_owned()).collect();
    let at = rng.index(parts.len());
    let Some(part) = parts.get_mut(at) else { return false };
    let Ok(value) = part.parse::<f64>() else { return false };
    *part = decimal(value + more);
    let vr = set.get(tag).map_or(*b"DS", |element| element.vr);
    set.set_text(tag, vr, &parts.join("\\"));
    true
}

fn floats(set: &mut Dataset, tag: Tag, more: f32, rng: &Rng) -> bool {
    let mut values = set.floats(tag);
    let at = rng.index(values.len());
    let Some(value) = values.get_mut(at) else { return false };
    let before = std::mem::replace(value, *value + more);
    // Beside a large number so little is lost.
    if value.to_bits() == before.to_bits() {
        return false;
    }
    set.set_floats(tag, &values);
    true
}

//! What a beam looks like: through which openings it comes, which spots it paints, how the gantry turns. For drawings.
//!
//! Taken from the rows that the delivery digest is taken over, so that picture and digest can't disagree. A drawing is bounded: of
//! more openings or spots than it has room for it takes some, and says how many there are.

use std::collections::BTreeMap;

use dicom_core::Tag;
use dicom_dictionary_std::tags as t;
use serde::Serialize;

use super::sheet::Setting;
use super::{FractionGroup, Plan};
use crate::dicom::object::Kind;
use crate::plan::delivery::{Row, Value};

/// Beams that are drawn; a plan of twenty is a large one.
const BEAMS_MAX: usize = 40;
/// Openings of one beam: an arc has some hundred, and more than these overlie each other to a grey.
const OPENINGS_MAX: usize = 16;
/// Pairs of leaves, and pieces of one opening: a collimator of two layers has 60 pairs in all.
const PAIRS_MAX: usize = 400;
/// Points of one block's edge.
const BLOCK_POINTS_MAX: usize = 500;
const BLOCKS_MAX: usize = 20;
/// Spots of one beam, and the squares in which they are added up until there are no more, in hundredths of a millimetre.
const SPOTS_MAX: usize = 500;
const CELLS: [i64; 7] = [1, 100, 200, 500, 1_000, 2_000, 5_000];
/// Times that a gantry turns round.
const TURNS_MAX: usize = 16;
/// Where no device bounds an opening, in hundredths of a millimetre: further out than any device goes.
const FAR: i64 = 100_000;
/// What is said under a drawing.
const SAID: [&str; 4] = ["Energy", "Gantry", "Collimator", "Couch"];

/// A treating beam. Lengths are in millimetres in the plane of the isocentre: by IEC 61217 in the beam limiting device's system, of an
/// ion beam in the gantry's.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct BeamShape {
    pub number: u32,
    pub name: Option<String>,
    pub is_ion: bool,
    pub control_points: usize,
    /// Energy and angles, in words.
    pub said: Vec<Setting>,
    /// One, of no sweep, where the gantry stands.
    pub gantry: Vec<Turn>,
    /// The first is that of control point 0. Some of them, evenly, where there are many; none where nothing bounds the beam.
    pub openings: Vec<Opening>,
    /// As many as there are.
    pub openings_in_all: usize,
    pub blocks: Vec<BlockShape>,
    pub applicator: Option<ApplicatorShape>,
    pub spots: Option<Spots>,
}

/// From an angle, clockwise as far as this; counter-clockwise where it is negative.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Turn {
    pub from_deg: f64,
    pub sweep_deg: f64,
}

/// What jaws and leaves leave open, in pieces that don't overlap.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Opening {
    pub control_point: u32,
    pub pieces: Vec<Piece>,
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Piece {
    pub x_mm: [f64; 2],
    pub y_mm: [f64; 2],
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct BlockShape {
    pub name: String,
    /// Block Type (300A,00F8) APERTURE: the beam comes through it, and not round it.
    pub is_aperture: bool,
    pub edge_mm: Vec<[f64; 2]>,
    pub points_in_all: usize,
}

/// As the plan says it: where along the beam, the standard leaves open.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ApplicatorShape {
    pub id: String,
    pub opening: Option<ApplicatorOpening>,
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum ApplicatorOpening {
    Rectangle { x_mm: f64, y_mm: f64 },
    Circle { diameter_mm: f64 },
}

/// Of all control points together.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Spots {
    pub dots: Vec<Dot>,
    /// How many they are, in how many control points that scan.
    pub in_all: usize,
    pub layers: usize,
    /// The side of the squares in which they are added up; none where each dot is one place.
    pub square_mm: Option<f64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Dot {
    pub x_mm: f64,
    pub y_mm: f64,
    /// Of the beam's meterset.
    pub share: f64,
}

impl Plan {
    /// The treating beams of one fraction.
    pub fn shapes(&self, group: &FractionGroup) -> Vec<BeamShape> {
        let mut rows: BTreeMap<u32, Vec<&Row>> = BTreeMap::new();
        for row in self.delivery.rows().iter().filter(|row| row.place.group.is_none()) {
            if let Some(beam) = row.place.beam.filter(|beam| group.beams.contains(beam)) {
                rows.entry(beam).or_default().push(row);
            }
        }
        let sheets = self.sheet(group).into_iter().filter(|sheet| sheet.treats).take(BEAMS_MAX);
        sheets
            .map(|sheet| {
                let known = Known::of(rows.get(&sheet.number).map_or(&[][..], Vec::as_slice));
                let (openings, openings_in_all) = known.openings();
                BeamShape {
                    is_ion: self.instance.kind == Kind::RtIonPlan,
                    control_points: known.points,
                    gantry: known.gantry(),
                    openings,
                    openings_in_all,
                    blocks: known.blocks(),
                    applicator: known.applicator(),
                    spots: known.spots(),
                    said: sheet.settings.into_iter().filter(|one| SAID.contains(&one.what.as_str())).collect(),
                    number: sheet.number,
                    name: sheet.name,
                }
            })
            .collect()
    }
}

/// In whole hundredths of a millimetre.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Rectangle {
    x: [i64; 2],
    y: [i64; 2],
}

impl Rectangle {
    const ALL: Self = Self { x: [-FAR, FAR], y: [-FAR, FAR] };

    /// What both leave open; none where that is nothing.
    fn and(self, other: Self) -> Option<Self> {
        let both = |a: [i64; 2], b: [i64; 2]| Some([a[0].max(b[0]), a[1].min(b[1])]).filter(|[from, to]| from < to);
        Some(Self { x: both(self.x, other.x)?, y: both(self.y, other.y)? })
    }

    fn is_bounded(self) -> bool {
        self.x.iter().chain(&self.y).all(|edge| edge.abs() < FAR)
    }
}

/// One of a beam's devices: the axis that it moves along, and where each pair's opening lies on the other one.
struct Device<'a> {
    part: &'a str,
    moves_along_y: bool,
    /// One more than pairs; none of a jaw, which bounds the whole of the other axis.
    boundaries: Option<&'a [i64]>,
}

impl Device<'_> {
    /// The opening of each pair.
    fn openings(&self, positions: &[i64]) -> Vec<Rectangle> {
        let (first, second) = positions.split_at(positions.len() / 2);
        let pairs = first.iter().zip(second).enumerate().filter_map(|(at, (from, to))| {
            let across = match self.boundaries {
                Some(boundaries) => [*boundaries.get(at)?, *boundaries.get(at + 1)?],
                None => [-FAR, FAR],
            };
            let along = [*from, *to];
            Some(match self.moves_along_y {
                true => Rectangle { x: across, y: along },
                false => Rectangle { x: along, y: across },
            })
        });
        pairs.collect()
    }
}

/// By part and attribute; then by control point, where it is of one.
type ByPart<'a, T> = BTreeMap<(Option<&'a str>, Tag), BTreeMap<Option<u32>, T>>;

/// What the rows of one beam say.
struct Known<'a> {
    numbers: ByPart<'a, &'a [i64]>,
    texts: ByPart<'a, &'a str>,
    points: usize,
}

impl<'a> Known<'a> {
    fn of(rows: &[&'a Row]) -> Self {
        let mut known = Self { numbers: BTreeMap::new(), texts: BTreeMap::new(), points: 0 };
        for row in rows {
            let key = (row.place.part.as_deref(), row.tag);
            match &row.value {
                Value::Numbers(numbers) => {
                    known.numbers.entry(key).or_default().insert(row.place.point, numbers);
                }
                Value::Text(text) => {
                    known.texts.entry(key).or_default().insert(row.place.point, text);
                }
            }
        }
        known.points = rows.iter().filter_map(|row| row.place.point).max().map_or(0, |last| last as usize + 1);
        known
    }

    fn each(&self, part: Option<&'a str>, tag: Tag) -> impl Iterator<Item = (u32, &'a [i64])> + use<'_, 'a> {
        let of = self.numbers.get(&(part, tag)).into_iter().flatten();
        of.filter_map(|(point, numbers)| Some(((*point)?, *numbers)))
    }

    fn fixed(&self, part: &'a str, tag: Tag) -> Option<&'a [i64]> {
        self.numbers.get(&(Some(part), tag))?.get(&None).copied()
    }

    fn text(&self, part: &'a str, tag: Tag) -> Option<&'a str> {
        self.texts.get(&(Some(part), tag))?.get(&None).copied()
    }

    /// Names of the beam's parts that begin so, each once.
    fn parts(&self, label: &str) -> Vec<&'a str> {
        let all = self.numbers.keys().chain(self.texts.keys()).filter_map(|(part, _)| *part);
        let mut parts: Vec<&str> = all.filter(|part| part.starts_with(label)).collect();
        parts.sort_unstable();
        parts.dedup();
        parts
    }

    fn devices(&self) -> Vec<Device<'a>> {
        let device = |part: &'a str| {
            let kind = part.strip_prefix("device ")?;
            let boundaries = self.fixed(part, t::LEAF_POSITION_BOUNDARIES);
            // X, ASYMX, MLCX, and MLCX1 of two layers.
            let axis = kind.trim_end_matches(|c: char| c.is_ascii_digit()).chars().next_back()?;
            let is_known = matches!(axis, 'X' | 'Y') && (boundaries.is_some() || !kind.contains("MLC"));
            is_known.then_some(Device { part, moves_along_y: axis == 'Y', boundaries })
        };
        self.parts("device ").into_iter().filter_map(device).collect()
    }

    /// Those that are drawn, and how many there are that differ from the one before.
    fn openings(&self) -> (Vec<Opening>, usize) {
        let devices = self.devices();
        let is_huge = |device: &Device<'_>| device.boundaries.is_some_and(|of| of.len() > PAIRS_MAX + 1);
        if devices.is_empty() || devices.iter().any(is_huge) {
            return (Vec::new(), 0);
        }
        // Of each control point, where each device stands.
        let mut stands: BTreeMap<u32, Vec<Option<&[i64]>>> = BTreeMap::new();
        for (at, device) in devices.iter().enumerate() {
            for (point, positions) in self.each(Some(device.part), t::LEAF_JAW_POSITIONS) {
                let of = stands.entry(point).or_insert_with(|| vec![None; devices.len()]);
                of.get_mut(at).into_iter().for_each(|one| *one = Some(positions));
            }
        }
        let mut different: Vec<(u32, Vec<Option<&[i64]>>)> = stands.into_iter().collect();
        different.dedup_by(|later, before| later.1 == before.1);
        let in_all = different.len();
        let opening = |(control_point, stands): &(u32, Vec<Option<&[i64]>>)| {
            let mut open = vec![Rectangle::ALL];
            for (device, positions) in devices.iter().zip(stands) {
                let Some(positions) = positions else { continue };
                let pairs = device.openings(positions);
                open = open.iter().flat_map(|one| pairs.iter().filter_map(|pair| one.and(*pair))).collect();
                open.truncate(PAIRS_MAX);
            }
            let is_bounded = open.iter().all(|one| one.is_bounded());
            is_bounded.then(|| Opening { control_point: *control_point, pieces: joined(open) })
        };
        (evenly(&different, OPENINGS_MAX).filter_map(opening).collect(), in_all)
    }

    fn gantry(&self) -> Vec<Turn> {
        let angles: Vec<(u32, i64)> =
            self.each(None, t::GANTRY_ANGLE).filter_map(|(point, of)| Some((point, *of.first()?))).collect();
        let directions = self.texts.get(&(None, t::GANTRY_ROTATION_DIRECTION));
        let Some((_, start)) = angles.first().copied() else { return Vec::new() };
        let mut turns: Vec<(i64, i64)> = Vec::new();
        for ((point, from), (_, to)) in angles.iter().zip(angles.iter().skip(1)) {
            let way = directions.and_then(|all| all.get(&Some(*point))).copied();
            let sweep = match way {
                Some("CW") => (to - from).rem_euclid(36_000),
                Some("CC") => -(from - to).rem_euclid(36_000),
                _ => 0,
            };
            match turns.last_mut() {
                _ if sweep == 0 => {}
                Some((_, so_far)) if so_far.signum() == sweep.signum() => *so_far += sweep,
                _ => turns.push((*from, sweep)),
            }
        }
        if turns.is_empty() {
            turns.push((start, 0));
        }
        let degrees = |(from, sweep): (i64, i64)| Turn { from_deg: hundredths(from), sweep_deg: hundredths(sweep) };
        turns.into_iter().take(TURNS_MAX).map(degrees).collect()
    }

    fn blocks(&self) -> Vec<BlockShape> {
        let block = |part: &'a str| {
            let edge: Vec<[i64; 2]> = pairs(self.fixed(part, t::BLOCK_DATA)?).collect();
            Some(BlockShape {
                name: part.to_owned(),
                is_aperture: self.text(part, t::BLOCK_TYPE) == Some("APERTURE"),
                edge_mm: evenly(&edge, BLOCK_POINTS_MAX).map(|at| at.map(hundredths)).collect(),
                points_in_all: edge.len(),
            })
        };
        self.parts("block ").into_iter().filter_map(block).take(BLOCKS_MAX).collect()
    }

    fn applicator(&self) -> Option<ApplicatorShape> {
        let id = self.text("applicator", t::APPLICATOR_ID)?.to_owned();
        let opening = "applicator opening";
        let length = |tag| self.fixed(opening, tag)?.first().copied().map(hundredths);
        let opening = match self.text(opening, t::APPLICATOR_APERTURE_SHAPE) {
            Some("SYM_SQUARE") => {
                length(t::APPLICATOR_OPENING).map(|side| ApplicatorOpening::Rectangle { x_mm: side, y_mm: side })
            }
            Some("SYM_RECTANGLE") => length(t::APPLICATOR_OPENING_X)
                .zip(length(t::APPLICATOR_OPENING_Y))
                .map(|(x_mm, y_mm)| ApplicatorOpening::Rectangle { x_mm, y_mm }),
            Some("SYM_CIRCULAR") => {
                length(t::APPLICATOR_OPENING).map(|diameter_mm| ApplicatorOpening::Circle { diameter_mm })
            }
            _ => None,
        };
        Some(ApplicatorShape { id, opening })
    }

    fn spots(&self) -> Option<Spots> {
        let weights: BTreeMap<u32, &[i64]> = self.each(None, t::SCAN_SPOT_METERSET_WEIGHTS).collect();
        let mut all: BTreeMap<[i64; 2], i64> = BTreeMap::new();
        let (mut in_all, mut layers) = (0, 0);
        for (point, map) in self.each(None, t::SCAN_SPOT_POSITION_MAP) {
            let Some(weights) = weights.get(&point).filter(|of| of.iter().any(|weight| *weight > 0)) else { continue };
            layers += 1;
            for (at, weight) in pairs(map).zip(*weights).filter(|(_, weight)| **weight > 0) {
                in_all += 1;
                *all.entry(at).or_default() += weight;
            }
        }
        let added_up = |cell: i64| {
            let mut squares: BTreeMap<[i64; 2], i64> = BTreeMap::new();
            for (at, weight) in &all {
                let square = at.map(|along| (along + cell / 2).div_euclid(cell) * cell);
                *squares.entry(square).or_default() += weight;
            }
            (cell, squares)
        };
        let (cell, squares) = CELLS.into_iter().map(added_up).find(|(_, squares)| squares.len() <= SPOTS_MAX)?;
        let dot = |(at, weight): (&[i64; 2], &i64)| {
            let [x_mm, y_mm] = at.map(hundredths);
            Dot { x_mm, y_mm, share: ten_millionths(*weight) }
        };
        let dots: Vec<Dot> = squares.iter().map(dot).collect();
        let square_mm = (cell > 1).then(|| hundredths(cell));
        (!dots.is_empty()).then_some(Spots { dots, in_all, layers, square_mm })
    }
}

/// At most so many, the first and the last among them.
fn evenly<T>(all: &[T], most: usize) -> impl Iterator<Item = &T> {
    let taken = all.len().min(most);
    (0..taken).filter_map(move |at| all.get(at * (all.len() - 1) / (taken - 1).max(1)))
}

fn pairs(numbers: &[i64]) -> impl Iterator<Item = [i64; 2]> + '_ {
    numbers.chunks_exact(2).filter_map(|pair| pair.try_into().ok())
}

/// Pieces that lie on one another with the same edges are one.
fn joined(pieces: Vec<Rectangle>) -> Vec<Piece> {
    let mut joined: Vec<Rectangle> = Vec::new();
    for piece in pieces {
        match joined.last_mut() {
            Some(last) if last.x == piece.x && last.y[1] == piece.y[0] => last.y[1] = piece.y[1],
            Some(last) if last.y == piece.y && last.x[1] == piece.x[0] => last.x[1] = piece.x[1],
            _ => joined.push(piece),
        }
    }
    joined.into_iter().map(|one| Piece { x_mm: one.x.map(hundredths), y_mm: one.y.map(hundredths) }).collect()
}

/// Millimetres, or degrees.
#[allow(clippy::cast_precision_loss)] // far below 2^52 hundredths
fn hundredths(number: i64) -> f64 {
    number as f64 / 1e2
}

#[allow(clippy::cast_precision_loss)] // at most a whole beam, 10^7
fn ten_millionths(number: i64) -> f64 {
    number as f64 / 1e7
}

//! Beams of a linear accelerator: conformal, step and shoot, arcs, electrons.

use dicom_dictionary_std::tags;

use super::super::dose::electron_half_mm;
use super::super::item::Item;
use super::super::person::Side;
use super::super::phantom::Site;
use super::super::rng::Rng;
use super::aperture::{Aperture, WHOLE, device, jaws, photon_devices};
use super::{BOLUS_ROI, Beam, Radiation, SAD_MM, Study, meterset};

/// From the target's outline to the edge of the field, for the penumbra.
const PHOTON_MARGIN_MM: f64 = 7.0;
const ELECTRON_MARGIN_MM: f64 = 10.0;

/// What is particular to one beam of a linear accelerator; the rest is the same for all.
struct Shape {
    number: u32,
    name: String,
    kind: &'static str,
    radiation: Radiation,
    energy: f64,
    meterset: f64,
    dose_rate: f64,
    collimator_degrees: f64,
    couch_degrees: f64,
    flattening_filter_free: bool,
}

impl Shape {
    fn beam(
        self,
        rng: &Rng,
        (study, machine): (&Study, &str),
        devices: Vec<Item>,
        points: Vec<Point>,
        more: impl FnOnce(Item) -> Item,
    ) -> Beam {
        let weights: Vec<f64> = points.iter().map(|point| point.weight).collect();
        let gantry_degrees = points.first().map_or(0.0, |point| point.gantry_degrees);
        let last = points.len().saturating_sub(1);
        let rays = rays(&points);
        let control_points = points
            .into_iter()
            .enumerate()
            .map(|(index, point)| point.item(rng, study, index, index == last, &self))
            .collect::<Vec<_>>();
        let mode = if self.flattening_filter_free { "NON_STANDARD" } else { "STANDARD" };
        let fluence = Item::new()
            .text(tags::FLUENCE_MODE, mode)
            .with(|item| if self.flattening_filter_free { item.text(tags::FLUENCE_MODE_ID, "FFF") } else { item });
        let item = Item::new()
            .text(tags::MANUFACTURER, "Synthetic Systems")
            .text(tags::MANUFACTURER_MODEL_NAME, "Accelerator")
            .text(tags::DEVICE_SERIAL_NUMBER, "42")
            .items(tags::PRIMARY_FLUENCE_MODE_SEQUENCE, vec![fluence])
            .text(tags::TREATMENT_MACHINE_NAME, machine)
            .text(tags::PRIMARY_DOSIMETER_UNIT, "MU")
            .ds(tags::SOURCE_AXIS_DISTANCE, &[SAD_MM])
            .items(tags::BEAM_LIMITING_DEVICE_SEQUENCE, devices)
            .int(tags::BEAM_NUMBER, self.number)
            .text(tags::BEAM_NAME, &self.name)
            .text(tags::BEAM_TYPE, self.kind)
            .text(tags::RADIATION_TYPE, self.radiation.term())
            .text(tags::TREATMENT_DELIVERY_TYPE, "TREATMENT")
            .int(tags::NUMBER_OF_WEDGES, 0)
            .int(tags::NUMBER_OF_COMPENSATORS, 0)
            .int(tags::NUMBER_OF_BOLI, 0)
            .int(tags::NUMBER_OF_BLOCKS, 0)
            .with(more)
            .ds(tags::FINAL_CUMULATIVE_METERSET_WEIGHT, &[weights.last().copied().unwrap_or(1.0)])
            .int(tags::NUMBER_OF_CONTROL_POINTS, control_points.len())
            .items(tags::CONTROL_POINT_SEQUENCE, control_points)
            .int(tags::REFERENCED_PATIENT_SETUP_NUMBER, 1)
            .int(tags::REFERENCED_TOLERANCE_TABLE_NUMBER, 1);
        Beam {
            number: self.number,
            name: self.name,
            kind: self.kind,
            radiation: self.radiation,
            energy: self.energy,
            meterset: self.meterset,
            blocks: 0,
            wedges: 0,
            bolus_mm: None,
            gantry_degrees,
            rays,
            margin_mm: if self.radiation == Radiation::Electron { ELECTRON_MARGIN_MM } else { PHOTON_MARGIN_MM },
            weights,
            spots: vec![],
            devices: if self.radiation == Radiation::Electron { ELECTRON_DEVICES } else { PHOTON_DEVICES },
            item,
        }
    }
}

const PHOTON_DEVICES: &[(&str, u32)] = &[("ASYMX", 1), ("ASYMY", 1), ("MLCX", 60)];
const ELECTRON_DEVICES: &[(&str, u32)] = &[("X", 1), ("Y", 1)];

/// One control point of a photon or electron beam: what changes along the beam.
struct Point {
    weight: f64,
    gantry_degrees: f64,
    rotation: &'static str,
    /// Device and its positions, only where they change.
    positions: Vec<(&'static str, Vec<f64>)>,
    wedge_in: Option<bool>,
}

impl Point {
    fn item(self, rng: &Rng, study: &Study, index: usize, last: bool, shape: &Shape) -> Item {
        let first = index == 0;
        let depth_mm = study.phantom.isocentre_depth_mm(self.gantry_degrees);
        let surface_mm = ((SAD_MM - depth_mm) * 10.0).round() / 10.0;
        let positions = self.positions.into_iter().map(|(device, positions)| {
            Item::new().text(tags::RT_BEAM_LIMITING_DEVICE_TYPE, device).ds(tags::LEAF_JAW_POSITIONS, &positions)
        });
        let positions: Vec<Item> = positions.collect();
        Item::new()
            .int(tags::CONTROL_POINT_INDEX, index)
            .ds(tags::CUMULATIVE_METERSET_WEIGHT, &[self.weight])
            .with(|point| {
                if positions.is_empty() {
                    point
                } else {
                    point.items(tags::BEAM_LIMITING_DEVICE_POSITION_SEQUENCE, positions)
                }
            })
            .with(|point| match self.wedge_in {
                None => point,
                Some(wedge_in) => point.items(
                    tags::WEDGE_POSITION_SEQUENCE,
                    vec![
                        Item::new()
                            .text(tags::WEDGE_POSITION, if wedge_in { "IN" } else { "OUT" })
                            .int(tags::REFERENCED_WEDGE_NUMBER, 1),
                    ],
                ),
            })
            .with(|point| {
                if first {
                    point
                        .ds(tags::NOMINAL_BEAM_ENERGY, &[shape.energy])
                        .ds(tags::DOSE_RATE_SET, &[shape.dose_rate])
                        .ds(tags::GANTRY_ANGLE, &[self.gantry_degrees])
                        .text(tags::GANTRY_ROTATION_DIRECTION, self.rotation)
                        .ds(tags::BEAM_LIMITING_DEVICE_ANGLE, &[shape.collimator_degrees])
                        .text(tags::BEAM_LIMITING_DEVICE_ROTATION_DIRECTION, "NONE")
                        .ds(tags::PATIENT_SUPPORT_ANGLE, &[shape.couch_degrees])
                        .text(tags::PATIENT_SUPPORT_ROTATION_DIRECTION, "NONE")
                        .ds(tags::TABLE_TOP_ECCENTRIC_ANGLE, &[0.0])
                        .text(tags::TABLE_TOP_ECCENTRIC_ROTATION_DIRECTION, "NONE")
                        .ds(tags::TABLE_TOP_VERTICAL_POSITION, &[rng.on_grid(-200.0, -50.0, 1.0)])
                        .ds(tags::TABLE_TOP_LONGITUDINAL_POSITION, &[rng.on_grid(500.0, 1_500.0, 1.0)])
                        .ds(tags::TABLE_TOP_LATERAL_POSITION, &[rng.on_grid(-50.0, 50.0, 1.0)])
                        .ds(tags::ISOCENTER_POSITION, &study.isocentre_mm())
                        .ds(tags::SOURCE_TO_SURFACE_DISTANCE, &[surface_mm])
                        .fl(tags::TABLE_TOP_PITCH_ANGLE, &[0.0])
                        .text(tags::TABLE_TOP_PITCH_ROTATION_DIRECTION, "NONE")
                        .fl(tags::TABLE_TOP_ROLL_ANGLE, &[0.0])
                        .text(tags::TABLE_TOP_ROLL_ROTATION_DIRECTION, "NONE")
                } else if self.rotation == "NONE" {
                    point
                } else {
                    // An arc's last control point ends the rotation (PS3.3 C.8.8.14.8).
                    point
                        .ds(tags::GANTRY_ANGLE, &[self.gantry_degrees])
                        .with(|p| if last { p.text(tags::GANTRY_ROTATION_DIRECTION, "NONE") } else { p })
                }
            })
    }
}

/// Segments of an arc that are taken together for its dose.
const SEGMENTS_OF_RAY: usize = 7;

/// The directions that a beam comes from, and the share of its meterset from each.
fn rays(points: &[Point]) -> Vec<(f64, f64)> {
    let first = points.first().map_or(0.0, |point| point.gantry_degrees);
    if points.first().is_none_or(|point| point.rotation == "NONE") {
        return vec![(first, 1.0)];
    }
    let segments: Vec<(f64, f64)> =
        points.iter().zip(points.iter().skip(1)).map(|(a, b)| (a.gantry_degrees, b.weight - a.weight)).collect();
    let middle = |chunk: &[(f64, f64)]| chunk.get(chunk.len() / 2).map_or(first, |(gantry, _)| *gantry);
    segments.chunks(SEGMENTS_OF_RAY).map(|chunk| (middle(chunk), chunk.iter().map(|(_, w)| w).sum())).collect()
}

/// Cumulative weights up to 1, seven decimals as planning systems write them, from what each segment weighs.
fn cumulative(segments: &[f64]) -> Vec<f64> {
    let total: f64 = segments.iter().sum();
    let mut sum = 0.0;
    let steps = segments.iter().map(|segment| {
        sum += segment;
        (sum / total * 1e7).round() / 1e7
    });
    std::iter::once(0.0).chain(steps).collect()
}

fn still(weight: f64, gantry_degrees: f64, positions: Vec<(&'static str, Vec<f64>)>) -> Point {
    Point { weight, gantry_degrees, rotation: "NONE", positions, wedge_in: None }
}

/// The target's outline from there, with its margin.
fn aperture(study: &Study, gantry_degrees: f64, collimator_degrees: f64) -> Aperture {
    Aperture::new(study.phantom.planning.outline(gantry_degrees, PHOTON_MARGIN_MM), collimator_degrees)
}

/// Jaws and leaves round all of an aperture.
fn open(aperture: &Aperture) -> Vec<(&'static str, Vec<f64>)> {
    let mut positions = jaws([aperture]);
    positions.push(("MLCX", aperture.leaves(WHOLE)));
    positions
}

/// Three static beams: a field in field, a wedged one, one with bolus. A breast is treated by two that pass by the lung.
pub(super) fn conformal(rng: &Rng, study: &Study, machine: &str) -> Vec<Beam> {
    let energy = rng.pick(&[6.0, 15.0]);
    let angles = match (study.phantom.site, study.phantom.side) {
        (Site::Breast, Some(Side::Right)) => [("AP", 10.0), ("LAT", 220.0), ("MED", 40.0)],
        (Site::Breast, _) => [("AP", 330.0), ("LAT", 120.0), ("MED", 300.0)],
        _ => [("AP", 340.0), ("LT", 80.0), ("RT", 240.0)],
    };
    let [first, second, third] = angles.map(|(name, from)| (name, rng.on_grid(from, from + 20.0, 1.0)));
    let shape = |number: u32, name: &str| Shape {
        number,
        name: name.to_owned(),
        // Its leaves move while the beam is off: nothing changes where the meterset does (PS3.3 C.8.8.14).
        kind: "STATIC",
        radiation: Radiation::Photon,
        energy,
        meterset: meterset(rng, 60.0, 140.0),
        dose_rate: 600.0,
        collimator_degrees: rng.on_grid(0.0, 30.0, 1.0),
        couch_degrees: 0.0,
        flattening_filter_free: false,
    };
    let whole = |shape: &Shape, gantry: f64| aperture(study, gantry, shape.collimator_degrees);

    let one = shape(1, first.0);
    let through = whole(&one, first.1);
    let points = vec![
        still(0.0, first.1, open(&through)),
        still(0.8, first.1, vec![]),
        still(0.8, first.1, vec![("MLCX", through.leaves([-0.6, 0.7]))]),
        still(1.0, first.1, vec![]),
    ];
    let field_in_field = one.beam(rng, (study, machine), photon_devices(), points, |beam| beam);

    let wedge = Item::new()
        .int(tags::WEDGE_NUMBER, 1)
        .text(tags::WEDGE_TYPE, "STANDARD")
        .text(tags::WEDGE_ID, "W30")
        .text(tags::ACCESSORY_CODE, "W-30-L")
        .ds(tags::WEDGE_ANGLE, &[30.0])
        .ds(tags::WEDGE_FACTOR, &[0.536])
        .ds(tags::WEDGE_ORIENTATION, &[90.0])
        .ds(tags::SOURCE_TO_WEDGE_TRAY_DISTANCE, &[610.0]);
    let two = shape(2, second.0);
    let start = Point { wedge_in: Some(true), ..still(0.0, second.1, open(&whole(&two, second.1))) };
    let points = vec![start, still(1.0, second.1, vec![])];
    let wedged = two.beam(rng, (study, machine), photon_devices(), points, |beam| {
        beam.int(tags::NUMBER_OF_WEDGES, 1).items(tags::WEDGE_SEQUENCE, vec![wedge])
    });

    let three = shape(3, third.0);
    let points = vec![still(0.0, third.1, open(&whole(&three, third.1))), still(1.0, third.1, vec![])];
    let with_bolus = three.beam(rng, (study, machine), photon_devices(), points, |beam| with_bolus(beam, 5));
    vec![field_in_field, Beam { wedges: 1, ..wedged }, Beam { bolus_mm: Some(5), ..with_bolus }]
}

fn with_bolus(beam: Item, thickness_mm: u32) -> Item {
    let bolus = Item::new()
        .int(tags::REFERENCED_ROI_NUMBER, BOLUS_ROI)
        .text(tags::BOLUS_ID, format!("B{thickness_mm}"))
        .text(tags::BOLUS_DESCRIPTION, format!("{thickness_mm} mm sheet"))
        .text(tags::ACCESSORY_CODE, format!("BOL-{thickness_mm}"));
    beam.int(tags::NUMBER_OF_BOLI, 1).items(tags::REFERENCED_BOLUS_SEQUENCE, vec![bolus])
}

/// Gantry angles of step and shoot, and what is shot from each: parts of the outline that overlap.
const FIELDS: u32 = 7;
const SEGMENTS: [[f64; 2]; 4] = [[-1.0, 0.1], [-0.6, 0.4], [-0.4, 0.7], [-0.1, 1.0]];

/// Seven fields round the patient, four segments each (step and shoot): a pair of control points for each segment.
pub(super) fn step_and_shoot(rng: &Rng, study: &Study, machine: &str) -> Vec<Beam> {
    let start = rng.on_grid(0.0, 25.0, 1.0);
    let fields = (0..FIELDS).map(|field| {
        let gantry = (start + 360.0 / f64::from(FIELDS) * f64::from(field)).round();
        let collimator_degrees = 2.0;
        let through = aperture(study, gantry, collimator_degrees);
        let weights = cumulative(&SEGMENTS.map(|_| rng.on_grid(0.5, 1.5, 0.05)));
        let mut points = Vec::new();
        for (segment, (from, to)) in SEGMENTS.into_iter().zip(weights.iter().zip(weights.iter().skip(1))) {
            let mut positions = if points.is_empty() { jaws([&through]) } else { vec![] };
            let part = segment.map(|edge| edge.clamp(-1.0, 1.0) * rng.on_grid(0.9, 1.0, 0.01));
            positions.push(("MLCX", through.leaves(part)));
            points.push(still(*from, gantry, positions));
            points.push(still(*to, gantry, vec![]));
        }
        Shape {
            number: field + 1,
            name: format!("G{gantry:03}"),
            kind: "STATIC",
            radiation: Radiation::Photon,
            energy: 6.0,
            meterset: meterset(rng, 50.0, 120.0),
            dose_rate: 600.0,
            collimator_degrees,
            couch_degrees: 0.0,
            flattening_filter_free: false,
        }
        .beam(rng, (study, machine), photon_devices(), points, |beam| beam)
    });
    fields.collect()
}

/// Control points of one arc: every 4° over 356°.
const ARC_POINTS: u32 = 90;

/// Two arcs, there and back.
pub(super) fn arcs(rng: &Rng, study: &Study, machine: &str) -> Vec<Beam> {
    let flattening_filter_free = rng.chance(30);
    let arcs = [(1_u32, "ARC CW", "CW", 182.0, 4.0), (2, "ARC CCW", "CC", 178.0, -4.0)];
    let beam = |(number, name, rotation, start, step): (u32, &str, &'static str, f64, f64)| {
        let collimator_degrees = if step > 0.0 { 15.0 } else { 345.0 };
        let gantry = |k: u32| (start + step * f64::from(k)).rem_euclid(360.0);
        let through: Vec<Aperture> = (0..ARC_POINTS).map(|k| aperture(study, gantry(k), collimator_degrees)).collect();
        let weights = cumulative(&[(); ARC_POINTS as usize - 1].map(|()| rng.on_grid(0.005, 0.018, 0.0005)));
        let points = (0..).zip(through.iter().zip(&weights)).map(|(k, (here, weight))| {
            let mut positions = if k == 0 { jaws(&through) } else { vec![] };
            let part = [-rng.on_grid(0.5, 1.0, 0.05), rng.on_grid(0.5, 1.0, 0.05)];
            positions.push(("MLCX", here.leaves(part)));
            Point { rotation, ..still(*weight, gantry(k), positions) }
        });
        let points = points.collect();
        Shape {
            number,
            name: name.to_owned(),
            kind: "DYNAMIC",
            radiation: Radiation::Photon,
            energy: 6.0,
            meterset: meterset(rng, 180.0, 420.0),
            dose_rate: if flattening_filter_free { 1_400.0 } else { 600.0 },
            collimator_degrees,
            couch_degrees: 0.0,
            flattening_filter_free,
        }
        .beam(rng, (study, machine), photon_devices(), points, |beam| beam)
    };
    arcs.into_iter().map(beam).collect()
}

/// What the machine has.
const ELECTRON_ENERGIES_MEV: [f64; 4] = [6.0, 9.0, 12.0, 15.0];
/// From where nine tenths of the dose are to where half of it is.
const ELECTRON_FALL_MM: f64 = 9.0;

/// One electron beam: applicator, poured cut-out, bolus; the energy reaches the far side of the target.
pub(super) fn electron(rng: &Rng, study: &Study, machine: &str) -> Beam {
    const COLLIMATOR_DEGREES: f64 = 5.0;
    let gantry = if study.phantom.side == Some(Side::Right) { 340.0 } else { 20.0 };
    let bolus_mm = rng.pick(&[5_u32, 10]);
    let target = &study.phantom.planning;
    let far_mm = study.phantom.isocentre_depth_mm(gantry) + target.depth_half_mm(gantry) + f64::from(bolus_mm);
    let reaches = |energy: &&f64| electron_half_mm(**energy) - ELECTRON_FALL_MM >= far_mm;
    let energy = ELECTRON_ENERGIES_MEV.iter().find(reaches).copied().unwrap_or(15.0);
    let outline = target.outline(gantry, ELECTRON_MARGIN_MM);
    let corners = (0..16).flat_map(|k| {
        let (sin, cos) = (f64::from(k) * std::f64::consts::TAU / 16.0).sin_cos();
        let (across, along) = (outline.across_mm * cos, outline.along_mm * sin);
        let (turn_sin, turn_cos) = COLLIMATOR_DEGREES.to_radians().sin_cos();
        [across * turn_cos + along * turn_sin, along * turn_cos - across * turn_sin]
            .map(|mm| (mm * 10.0).round() / 10.0)
    });
    let corners: Vec<f64> = corners.collect();
    let block = Item::new()
        .text(tags::MATERIAL_ID, "LOW-MELT ALLOY")
        .text(tags::BLOCK_TRAY_ID, "E10")
        .ds(tags::SOURCE_TO_BLOCK_TRAY_DISTANCE, &[950.0])
        .text(tags::BLOCK_TYPE, "APERTURE")
        .text(tags::BLOCK_DIVERGENCE, "ABSENT")
        .text(tags::BLOCK_MOUNTING_POSITION, "PATIENT_SIDE")
        .text(tags::ACCESSORY_CODE, "CUT-0311")
        .int(tags::BLOCK_NUMBER, 1)
        .text(tags::BLOCK_NAME, "Cut-out")
        .ds(tags::BLOCK_THICKNESS, &[12.0])
        .int(tags::BLOCK_NUMBER_OF_POINTS, corners.len() / 2)
        .ds(tags::BLOCK_DATA, &corners);
    let applicator = Item::new()
        .text(tags::ACCESSORY_CODE, "APP-10")
        .text(tags::APPLICATOR_ID, "A10X10")
        .text(tags::APPLICATOR_TYPE, "ELECTRON_SQUARE")
        .text(tags::APPLICATOR_DESCRIPTION, "10 cm x 10 cm");
    let square = vec![("X", vec![-75.0, 75.0]), ("Y", vec![-75.0, 75.0])];
    let beam = Shape {
        number: 1,
        name: "EN FACE".to_owned(),
        kind: "STATIC",
        radiation: Radiation::Electron,
        energy,
        meterset: meterset(rng, 150.0, 330.0),
        dose_rate: 400.0,
        collimator_degrees: COLLIMATOR_DEGREES,
        couch_degrees: 0.0,
        flattening_filter_free: false,
    }
    .beam(
        rng,
        (study, machine),
        vec![device("X", 450.0, 1), device("Y", 350.0, 1)],
        vec![still(0.0, gantry, square), still(1.0, gantry, vec![])],
        |beam| {
            let beam = beam.int(tags::NUMBER_OF_BLOCKS, 1).items(tags::BLOCK_SEQUENCE, vec![block]);
            with_bolus(beam.items(tags::APPLICATOR_SEQUENCE, vec![applicator]), bolus_mm)
        },
    );
    Beam { blocks: 1, bolus_mm: Some(bolus_mm), ..beam }
}

//! RT Plans (PS3.3 A.20) and RT Ion Plans (A.49) that a linear accelerator or a scanning proton machine could deliver:
//! complete in everything that moves dose, invented in everything else.

mod ion;

use dicom_dictionary_std::{tags, uids};
use kit::Timestamp;

use super::fhir::Subject;
use super::item::Item;
use super::person::{Diagnosis, Technique, da};
use super::rng::Rng;

const MACHINES: &[&str] = &["LINAC-1", "LINAC-2", "LINAC-3"];
const PROTON_MACHINE: &str = "PROTON-1";
/// Source to axis, every linear accelerator of this centre.
const SAD_MM: f64 = 1_000.0;

/// The study that a course's objects stand in, and whom they are about.
pub(super) struct Study {
    pub(super) uid: String,
    pub(super) frame_of_reference: String,
    pub(super) ct: String,
    pub(super) structures: String,
    pub(super) isocentre_mm: [f64; 3],
    number: String,
    person_name: String,
    birth_date: String,
    sex: &'static str,
    date: Timestamp,
}

impl Study {
    pub(super) fn draw(rng: &Rng, who: &Subject<'_>, begun: Timestamp) -> Self {
        Self {
            uid: rng.uid(),
            frame_of_reference: rng.uid(),
            ct: rng.uid(),
            structures: rng.uid(),
            isocentre_mm: [
                rng.on_grid(-80.0, 80.0, 0.1),
                rng.on_grid(-120.0, 20.0, 0.1),
                rng.on_grid(-300.0, 300.0, 0.1),
            ],
            number: who.number.to_owned(),
            person_name: who.name.person_name(),
            birth_date: who.birth_date.replace('-', ""),
            sex: if who.female { "F" } else { "M" },
            date: begun.plus_ms(-7 * super::DAY_MS),
        }
    }

    /// Patient, General Study, Series, Equipment and SOP Common of one object.
    pub(super) fn header(&self, class: &str, instance: &str, modality: &str, series: String) -> Item {
        Item::new()
            .text(tags::SPECIFIC_CHARACTER_SET, "ISO_IR 192")
            .text(tags::INSTANCE_CREATION_DATE, da(self.date))
            .text(tags::INSTANCE_CREATION_TIME, "101500")
            .text(tags::SOP_CLASS_UID, class)
            .text(tags::SOP_INSTANCE_UID, instance)
            .text(tags::STUDY_DATE, da(self.date))
            .text(tags::STUDY_TIME, "093000")
            .empty(tags::ACCESSION_NUMBER)
            .text(tags::MODALITY, modality)
            .text(tags::MANUFACTURER, "Synthetic Systems")
            .text(tags::MANUFACTURER_MODEL_NAME, "Planner")
            .text(tags::STATION_NAME, "PLAN-7")
            .empty(tags::REFERRING_PHYSICIAN_NAME)
            .text(tags::OPERATORS_NAME, "Operator^Duty")
            .text(tags::PATIENT_NAME, &self.person_name)
            .text(tags::PATIENT_ID, &self.number)
            .text(tags::PATIENT_BIRTH_DATE, &self.birth_date)
            .text(tags::PATIENT_SEX, self.sex)
            .text(tags::DEVICE_SERIAL_NUMBER, "0007")
            .text(tags::SOFTWARE_VERSIONS, "1.0")
            .text(tags::STUDY_INSTANCE_UID, &self.uid)
            .text(tags::SERIES_INSTANCE_UID, series)
            .text(tags::STUDY_ID, "1")
            .int(tags::SERIES_NUMBER, 1)
    }
}

/// A plan, and what its treatment records must say.
pub(super) struct Plan {
    pub(super) technique: Technique,
    pub(super) uid: String,
    pub(super) label: String,
    pub(super) machine: String,
    pub(super) fractions: u32,
    pub(super) dose_gy: f64,
    pub(super) beams: Vec<Beam>,
    pub(super) file: Vec<u8>,
}

/// What one beam delivers.
pub(super) struct Beam {
    pub(super) number: u32,
    pub(super) name: String,
    pub(super) kind: &'static str,
    pub(super) radiation: &'static str,
    pub(super) energy: f64,
    pub(super) meterset: f64,
    pub(super) blocks: u32,
    pub(super) wedges: u32,
    pub(super) boli: u32,
    pub(super) gantry_degrees: f64,
    /// Cumulative Meterset Weight of every control point; the last one is the final weight.
    pub(super) weights: Vec<f64>,
    /// Scan Spot Position Map and Meterset Weights of every control point; ion beams only.
    pub(super) spots: Vec<(Vec<f32>, Vec<f32>)>,
    /// Type and number of pairs of each beam limiting device.
    pub(super) devices: &'static [(&'static str, u32)],
    item: Item,
}

impl Plan {
    pub(super) fn draw(rng: &Rng, study: &Study, diagnosis: &Diagnosis) -> Self {
        let technique = diagnosis.technique;
        let machine = if technique == Technique::Ion { PROTON_MACHINE } else { rng.pick(MACHINES) }.to_owned();
        let dose_per_fraction = diagnosis.dose_gy / f64::from(diagnosis.fractions);
        let mut beams = match technique {
            Technique::Conformal => conformal(rng, study, &machine),
            Technique::Arc => arcs(rng, study, &machine),
            Technique::Electron => vec![electron(rng, study, &machine)],
            Technique::Ion => ion::beams(rng, study, &machine),
        };
        let uid = rng.uid();
        let label = format!("{}-{}", diagnosis.icd10.replace('.', ""), rng.below(90) + 10);
        let share = dose_per_fraction / beams.iter().map(|beam| beam.meterset).sum::<f64>().max(1.0);
        let target = rng.uid();
        let referenced = beams.iter().map(|beam| {
            Item::new()
                .text(tags::REFERENCED_DOSE_REFERENCE_UID, &target)
                .ds(tags::BEAM_DOSE, &[((beam.meterset * share) * 1e4).round() / 1e4])
                .ds(tags::BEAM_METERSET, &[beam.meterset])
                .int(tags::REFERENCED_BEAM_NUMBER, beam.number)
        });
        let fraction_group = Item::new()
            .int(tags::FRACTION_GROUP_NUMBER, 1)
            .int(tags::NUMBER_OF_FRACTIONS_PLANNED, diagnosis.fractions)
            .int(tags::NUMBER_OF_BEAMS, beams.len())
            .int(tags::NUMBER_OF_BRACHY_APPLICATION_SETUPS, 0)
            .items(tags::REFERENCED_BEAM_SEQUENCE, referenced.collect());
        let dose_reference = Item::new()
            .int(tags::DOSE_REFERENCE_NUMBER, 1)
            .text(tags::DOSE_REFERENCE_UID, &target)
            .text(tags::DOSE_REFERENCE_STRUCTURE_TYPE, "SITE")
            .text(tags::DOSE_REFERENCE_DESCRIPTION, "PTV")
            .text(tags::DOSE_REFERENCE_TYPE, "TARGET")
            .ds(tags::TARGET_PRESCRIPTION_DOSE, &[diagnosis.dose_gy]);
        let setup = Item::new()
            .text(tags::PATIENT_POSITION, "HFS")
            .items(
                tags::FIXATION_DEVICE_SEQUENCE,
                vec![
                    Item::new()
                        .text(tags::FIXATION_DEVICE_TYPE, "MASK")
                        .text(tags::FIXATION_DEVICE_LABEL, "M1")
                        .text(tags::ACCESSORY_CODE, "FIX-17"),
                ],
            )
            .int(tags::PATIENT_SETUP_NUMBER, 1)
            .text(tags::SETUP_TECHNIQUE, "ISOCENTRIC");
        let (class, tolerances) = match technique {
            Technique::Ion => (uids::RT_ION_PLAN_STORAGE, tags::ION_TOLERANCE_TABLE_SEQUENCE),
            _ => (uids::RT_PLAN_STORAGE, tags::TOLERANCE_TABLE_SEQUENCE),
        };
        let items = beams.iter_mut().map(|beam| std::mem::replace(&mut beam.item, Item::new())).collect();
        let file = study
            .header(class, &uid, "RTPLAN", rng.uid())
            .text(tags::FRAME_OF_REFERENCE_UID, &study.frame_of_reference)
            .empty(tags::POSITION_REFERENCE_INDICATOR)
            .text(tags::RT_PLAN_LABEL, &label)
            .text(tags::RT_PLAN_NAME, diagnosis.icd10)
            .text(tags::RT_PLAN_DATE, da(study.date))
            .text(tags::RT_PLAN_TIME, "140000")
            .text(tags::PLAN_INTENT, "CURATIVE")
            .text(tags::RT_PLAN_GEOMETRY, "PATIENT")
            .items(tags::DOSE_REFERENCE_SEQUENCE, vec![dose_reference])
            .items(tolerances, vec![tolerance_table(technique)])
            .items(tags::FRACTION_GROUP_SEQUENCE, vec![fraction_group])
            .with(|plan| match technique {
                Technique::Ion => plan.items(tags::ION_BEAM_SEQUENCE, items),
                _ => plan.items(tags::BEAM_SEQUENCE, items),
            })
            .items(tags::PATIENT_SETUP_SEQUENCE, vec![setup])
            .items(
                tags::REFERENCED_STRUCTURE_SET_SEQUENCE,
                vec![reference(uids::RT_STRUCTURE_SET_STORAGE, &study.structures)],
            )
            // A flag of the planning system; the centre's approval is two people's signatures.
            .text(tags::APPROVAL_STATUS, "UNAPPROVED")
            .file();
        let (fractions, dose_gy) = (diagnosis.fractions, diagnosis.dose_gy);
        Self { technique, uid, label, machine, fractions, dose_gy, beams, file }
    }

    pub(super) fn class(&self) -> &'static str {
        if self.technique == Technique::Ion { uids::RT_ION_PLAN_STORAGE } else { uids::RT_PLAN_STORAGE }
    }
}

pub(super) fn reference(class: &str, instance: &str) -> Item {
    Item::new().text(tags::REFERENCED_SOP_CLASS_UID, class).text(tags::REFERENCED_SOP_INSTANCE_UID, instance)
}

fn tolerance_table(technique: Technique) -> Item {
    Item::new()
        .int(tags::TOLERANCE_TABLE_NUMBER, 1)
        .text(tags::TOLERANCE_TABLE_LABEL, "T1")
        .ds(tags::GANTRY_ANGLE_TOLERANCE, &[0.5])
        .with(|table| match technique {
            Technique::Ion => table,
            _ => table.ds(tags::BEAM_LIMITING_DEVICE_ANGLE_TOLERANCE, &[0.5]),
        })
        .ds(tags::PATIENT_SUPPORT_ANGLE_TOLERANCE, &[0.5])
        .ds(tags::TABLE_TOP_VERTICAL_POSITION_TOLERANCE, &[20.0])
        .ds(tags::TABLE_TOP_LONGITUDINAL_POSITION_TOLERANCE, &[20.0])
        .ds(tags::TABLE_TOP_LATERAL_POSITION_TOLERANCE, &[20.0])
}

/// What is particular to one beam of a linear accelerator; the rest is the same for all.
struct Shape {
    number: u32,
    name: String,
    kind: &'static str,
    radiation: &'static str,
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
        machine: &str,
        devices: Vec<Item>,
        points: Vec<Point>,
        more: impl FnOnce(Item) -> Item,
    ) -> Beam {
        let weights: Vec<f64> = points.iter().map(|point| point.weight).collect();
        let gantry_degrees = points.first().map_or(0.0, |point| point.gantry_degrees);
        let last = points.len().saturating_sub(1);
        let control_points = points
            .into_iter()
            .enumerate()
            .map(|(index, point)| point.item(rng, index, index == last, &self))
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
            .text(tags::RADIATION_TYPE, self.radiation)
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
            boli: 0,
            gantry_degrees,
            weights,
            spots: vec![],
            devices: if self.radiation == "ELECTRON" { ELECTRON_DEVICES } else { PHOTON_DEVICES },
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
    isocentre_mm: [f64; 3],
}

impl Point {
    fn item(self, rng: &Rng, index: usize, last: bool, shape: &Shape) -> Item {
        let first = index == 0;
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
                        .ds(tags::ISOCENTER_POSITION, &self.isocentre_mm)
                        .ds(tags::SOURCE_TO_SURFACE_DISTANCE, &[rng.on_grid(850.0, 980.0, 1.0)])
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

fn jaws(x_mm: f64, y_mm: f64) -> Vec<(&'static str, Vec<f64>)> {
    vec![("ASYMX", vec![-x_mm, x_mm]), ("ASYMY", vec![-y_mm, y_mm])]
}

fn device(kind: &str, distance_mm: f64, pairs: usize) -> Item {
    Item::new()
        .text(tags::RT_BEAM_LIMITING_DEVICE_TYPE, kind)
        .ds(tags::SOURCE_TO_BEAM_LIMITING_DEVICE_DISTANCE, &[distance_mm])
        .int(tags::NUMBER_OF_LEAF_JAW_PAIRS, pairs)
}

/// Sixty pairs: ten of 10 mm, forty of 5 mm, ten of 10 mm.
fn leaf_boundaries() -> Vec<f64> {
    let outer = (0..10).map(|k| -200.0 + 10.0 * f64::from(k));
    let inner = (0..40).map(|k| -100.0 + 5.0 * f64::from(k));
    let far = (0..=10).map(|k| 100.0 + 10.0 * f64::from(k));
    outer.chain(inner).chain(far).collect()
}

fn photon_devices() -> Vec<Item> {
    vec![
        device("ASYMX", 450.0, 1),
        device("ASYMY", 350.0, 1),
        device("MLCX", 509.0, 60).ds(tags::LEAF_POSITION_BOUNDARIES, &leaf_boundaries()),
    ]
}

/// Leaves round an ellipse of half-axes `x_mm`, `y_mm`, its centre moved by `shift_mm`; closed outside it.
fn leaves(x_mm: f64, y_mm: f64, shift_mm: f64) -> Vec<f64> {
    let boundaries = leaf_boundaries();
    let half: Vec<f64> = boundaries
        .iter()
        .zip(boundaries.iter().skip(1))
        .map(|(low, high)| {
            let y = (low + high) / 2.0 / y_mm;
            if y.abs() < 1.0 { x_mm * (1.0 - y * y).sqrt() } else { 0.0 }
        })
        .collect();
    let on_grid = |value: f64| (value * 10.0).round() / 10.0;
    let bank = |sign: f64| half.iter().map(move |h| on_grid(shift_mm + sign * h));
    bank(-1.0).chain(bank(1.0)).collect()
}

fn meterset(rng: &Rng, from: f64, to: f64) -> f64 {
    (rng.on_grid(from, to, 0.1) * 10.0).round() / 10.0
}

/// Three static beams: a field in field, a wedged one, one with bolus.
fn conformal(rng: &Rng, study: &Study, machine: &str) -> Vec<Beam> {
    let (x, y) = (rng.on_grid(35.0, 70.0, 1.0), rng.on_grid(50.0, 90.0, 1.0));
    let energy = rng.pick(&[6.0, 15.0]);
    let shape = |number: u32, name: &str, kind: &'static str| Shape {
        number,
        name: name.to_owned(),
        kind,
        radiation: "PHOTON",
        energy,
        meterset: meterset(rng, 60.0, 140.0),
        dose_rate: 600.0,
        collimator_degrees: rng.on_grid(0.0, 30.0, 1.0),
        couch_degrees: 0.0,
        flattening_filter_free: false,
    };
    let point = |weight: f64, gantry: f64, positions, wedge_in| Point {
        weight,
        gantry_degrees: gantry,
        rotation: "NONE",
        positions,
        wedge_in,
        isocentre_mm: study.isocentre_mm,
    };
    let open = |x: f64, y: f64| {
        let mut positions = jaws(x + 5.0, y + 5.0);
        positions.push(("MLCX", leaves(x, y, 0.0)));
        positions
    };
    let gantry = rng.on_grid(300.0, 359.0, 1.0);
    let field_in_field = shape(1, "AP", "DYNAMIC").beam(
        rng,
        machine,
        photon_devices(),
        vec![
            point(0.0, gantry, open(x, y), None),
            point(0.8, gantry, vec![], None),
            point(0.8, gantry, vec![("MLCX", leaves(x - 12.0, y - 10.0, 4.0))], None),
            point(1.0, gantry, vec![], None),
        ],
        |beam| beam,
    );
    let wedge = Item::new()
        .int(tags::WEDGE_NUMBER, 1)
        .text(tags::WEDGE_TYPE, "STANDARD")
        .text(tags::WEDGE_ID, "W30")
        .text(tags::ACCESSORY_CODE, "W-30-L")
        .ds(tags::WEDGE_ANGLE, &[30.0])
        .ds(tags::WEDGE_FACTOR, &[0.536])
        .ds(tags::WEDGE_ORIENTATION, &[90.0])
        .ds(tags::SOURCE_TO_WEDGE_TRAY_DISTANCE, &[610.0]);
    let wedged = shape(2, "LT", "STATIC").beam(
        rng,
        machine,
        photon_devices(),
        vec![point(0.0, rng.on_grid(80.0, 120.0, 1.0), open(x, y), Some(true)), point(1.0, 0.0, vec![], None)],
        |beam| beam.int(tags::NUMBER_OF_WEDGES, 1).items(tags::WEDGE_SEQUENCE, vec![wedge]),
    );
    let bolus = bolus_item(5);
    let with_bolus = shape(3, "RT", "STATIC").beam(
        rng,
        machine,
        photon_devices(),
        vec![point(0.0, rng.on_grid(240.0, 280.0, 1.0), open(x, y), None), point(1.0, 0.0, vec![], None)],
        |beam| beam.int(tags::NUMBER_OF_BOLI, 1).items(tags::REFERENCED_BOLUS_SEQUENCE, vec![bolus]),
    );
    vec![field_in_field, Beam { wedges: 1, ..wedged }, Beam { boli: 1, ..with_bolus }]
}

fn bolus_item(thickness_mm: u32) -> Item {
    Item::new()
        .int(tags::REFERENCED_ROI_NUMBER, 3)
        .text(tags::BOLUS_ID, format!("B{thickness_mm}"))
        .text(tags::BOLUS_DESCRIPTION, format!("{thickness_mm} mm sheet"))
        .text(tags::ACCESSORY_CODE, format!("BOL-{thickness_mm}"))
}

/// Control points of one arc: every 4° over 356°.
const ARC_POINTS: u32 = 90;

/// Two arcs, there and back.
fn arcs(rng: &Rng, study: &Study, machine: &str) -> Vec<Beam> {
    let flattening_filter_free = rng.chance(30);
    let (x, y) = (rng.on_grid(25.0, 50.0, 1.0), rng.on_grid(30.0, 80.0, 1.0));
    [(1_u32, "ARC CW", "CW", 182.0, 4.0), (2, "ARC CCW", "CC", 178.0, -4.0)]
        .into_iter()
        .map(|(number, name, rotation, start, step)| {
            let mut points = Vec::new();
            let mut weight = 0.0;
            for k in 0..ARC_POINTS {
                let mut positions = if k == 0 { jaws(x + 8.0, y + 8.0) } else { vec![] };
                let breathing = rng.on_grid(0.55, 1.0, 0.05);
                positions.push(("MLCX", leaves(x * breathing, y, rng.on_grid(-6.0, 6.0, 0.5))));
                points.push(Point {
                    weight,
                    gantry_degrees: (start + step * f64::from(k)).rem_euclid(360.0),
                    rotation,
                    positions,
                    wedge_in: None,
                    isocentre_mm: study.isocentre_mm,
                });
                weight = ((weight + rng.on_grid(0.005, 0.018, 0.0005)) * 1e4).round() / 1e4;
            }
            // Normalised to 1, seven decimals as planning systems write them.
            let total = points.last().map_or(1.0, |point| point.weight);
            points.iter_mut().for_each(|point| point.weight = (point.weight / total * 1e7).round() / 1e7);
            Shape {
                number,
                name: name.to_owned(),
                kind: "DYNAMIC",
                radiation: "PHOTON",
                energy: 6.0,
                meterset: meterset(rng, 180.0, 420.0),
                dose_rate: if flattening_filter_free { 1_400.0 } else { 600.0 },
                collimator_degrees: if step > 0.0 { 15.0 } else { 345.0 },
                couch_degrees: 0.0,
                flattening_filter_free,
            }
            .beam(rng, machine, photon_devices(), points, |beam| beam)
        })
        .collect()
}

/// One electron beam: applicator, poured cut-out, bolus.
fn electron(rng: &Rng, study: &Study, machine: &str) -> Beam {
    let outline: Vec<f64> = (0..16)
        .flat_map(|k| {
            let angle = f64::from(k) * std::f64::consts::TAU / 16.0;
            [(angle.cos() * 32.0 * 10.0).round() / 10.0, (angle.sin() * 38.0 * 10.0).round() / 10.0]
        })
        .collect();
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
        .int(tags::BLOCK_NUMBER_OF_POINTS, outline.len() / 2)
        .ds(tags::BLOCK_DATA, &outline);
    let applicator = Item::new()
        .text(tags::ACCESSORY_CODE, "APP-10")
        .text(tags::APPLICATOR_ID, "A10X10")
        .text(tags::APPLICATOR_TYPE, "ELECTRON_SQUARE")
        .text(tags::APPLICATOR_DESCRIPTION, "10 cm x 10 cm");
    let point = |weight: f64, positions| Point {
        weight,
        gantry_degrees: 340.0,
        rotation: "NONE",
        positions,
        wedge_in: None,
        isocentre_mm: study.isocentre_mm,
    };
    let beam = Shape {
        number: 1,
        name: "EN FACE".to_owned(),
        kind: "STATIC",
        radiation: "ELECTRON",
        energy: rng.pick(&[6.0, 9.0, 12.0]),
        meterset: meterset(rng, 150.0, 330.0),
        dose_rate: 400.0,
        collimator_degrees: 5.0,
        couch_degrees: 0.0,
        flattening_filter_free: false,
    }
    .beam(
        rng,
        machine,
        vec![device("X", 450.0, 1), device("Y", 350.0, 1)],
        vec![point(0.0, vec![("X", vec![-75.0, 75.0]), ("Y", vec![-75.0, 75.0])]), point(1.0, vec![])],
        |beam| {
            beam.int(tags::NUMBER_OF_BLOCKS, 1)
                .items(tags::BLOCK_SEQUENCE, vec![block])
                .items(tags::APPLICATOR_SEQUENCE, vec![applicator])
                .int(tags::NUMBER_OF_BOLI, 1)
                .items(tags::REFERENCED_BOLUS_SEQUENCE, vec![bolus_item(10)])
        },
    );
    Beam { blocks: 1, boli: 1, ..beam }
}

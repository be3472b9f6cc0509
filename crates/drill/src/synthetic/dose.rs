//! The RT Dose of a plan: analytic, in a body of water, so that it is plausible and quick, and nothing to treat by.
//!
//! A beam is what its depth lets through times an ellipse with a soft edge, the target's outline and a margin in the beam's eye view.
//! Each beam gives the isocentre exactly the Beam Dose of its plan, so that all together give what is prescribed. Not modelled: lungs
//! and bones, wedges, the inside of a modulated beam, scatter beyond the edge.

use dicom_core::Tag;
use dicom_dictionary_std::{tags, uids};

use super::image::pixels;
use super::item::Item;
use super::phantom::to_source;
use super::plan::{Beam, PTV_ROI, Plan, Radiation, SAD_MM, Study, reference};

/// Rows or columns of the longer side, at most.
const SIDE: f64 = 72.0;
/// What the largest dose is stored as.
const LARGEST: f64 = 60_000.0;
/// Of the volume histogram.
const BIN_GY: f64 = 0.5;

/// From the edge of a field, where half of the dose is, to where a quarter or so is.
fn softness_mm(radiation: Radiation) -> f64 {
    if radiation == Radiation::Electron { 4.0 } else { 2.5 }
}

/// Steps of an edge's table, by the square of the distance from the beam's middle.
const STEPS: u16 = 512;

/// One direction that a beam comes from.
struct Ray {
    to_source: [f64; 2],
    /// Dose at the isocentre, over what the depth there lets through.
    dose_gy: f64,
    radiation: Radiation,
    energy: f64,
    bolus_mm: f64,
    /// Half of the target's thickness along the beam.
    target_half_mm: f64,
    across_mm: f64,
    along_mm: f64,
    edge: Edge,
}

/// The share of the dose by the square of the distance from the middle, 1 where the edge is.
struct Edge {
    shares: Vec<f64>,
    per_square: f64,
}

impl Edge {
    fn new(radius_mm: f64, softness_mm: f64) -> Self {
        let share = |r: f64| 1.0 / (1.0 + ((r - 1.0) * radius_mm / softness_mm).exp());
        let end = 1.0 + 6.0 * softness_mm / radius_mm;
        let per_square = f64::from(STEPS - 1) / (end * end);
        let middle = share(0.0);
        let shares = (0..STEPS).map(|k| share((f64::from(k) / per_square).sqrt()) / middle).collect();
        Self { shares, per_square }
    }

    fn at(&self, square: f64) -> f64 {
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // beyond the table there is nothing
        let index = (square * self.per_square) as usize;
        self.shares.get(index).copied().unwrap_or(0.0)
    }

    /// The largest square that gets anything.
    fn end(&self) -> f64 {
        f64::from(STEPS - 1) / self.per_square
    }
}

impl Ray {
    /// What reaches a point: `depth_mm` below the skin, `beyond_mm` behind the isocentre.
    fn depth_dose(&self, depth_mm: f64, beyond_mm: f64) -> f64 {
        let depth_mm = depth_mm + self.bolus_mm;
        match self.radiation {
            // Build-up, then exponential, about 4.6 % a cm at 6 MV and 3.2 % at 15 MV.
            Radiation::Photon => {
                let (per_mm, build_up_mm) = if self.energy > 10.0 { (0.003_2, 8.0) } else { (0.004_6, 4.5) };
                (1.0 - 0.6 * (-depth_mm / build_up_mm).exp()) * (-per_mm * depth_mm).exp()
            }
            // Half at 1 cm for each 2.33 MeV (IAEA TRS-398), flat before it.
            Radiation::Electron => 1.0 / (1.0 + ((depth_mm - electron_half_mm(self.energy)) / 4.0).exp()),
            // A spread-out Bragg peak over the target, with what it has at its entrance.
            Radiation::Proton => {
                let reach_mm = self.target_half_mm + super::plan::PROTON_MARGIN_MM;
                let before_mm = (-reach_mm - beyond_mm).max(0.0);
                (0.6 + 0.4 * (-before_mm / 30.0).exp()) / (1.0 + ((beyond_mm - reach_mm) / 1.2).exp())
            }
        }
    }

    /// Nearer to the source the beam is narrower and stronger.
    fn magnification(&self, beyond_mm: f64) -> f64 {
        let sad_mm = if self.radiation == Radiation::Proton { 2.0 * SAD_MM } else { SAD_MM };
        sad_mm / (sad_mm + beyond_mm)
    }
}

/// Where the depth dose of electrons falls to a half.
pub(super) fn electron_half_mm(energy_mev: f64) -> f64 {
    energy_mev / 2.33 * 10.0
}

fn rays(study: &Study, plan: &Plan, beam: &Beam) -> Vec<Ray> {
    let whole: f64 = plan.beams.iter().map(|beam| beam.meterset).sum();
    let dose_gy = plan.dose_gy * beam.meterset / whole.max(1.0);
    let target = &study.phantom.planning;
    let each = beam.rays.iter().map(|(gantry, share)| {
        let outline = target.outline(*gantry, beam.margin_mm);
        let radius_mm = (outline.across_mm * outline.along_mm).sqrt();
        Ray {
            to_source: to_source(*gantry),
            dose_gy: dose_gy * share,
            radiation: beam.radiation,
            energy: beam.energy,
            bolus_mm: f64::from(beam.bolus_mm.unwrap_or(0)),
            target_half_mm: target.depth_half_mm(*gantry),
            across_mm: outline.across_mm,
            along_mm: outline.along_mm,
            edge: Edge::new(radius_mm, softness_mm(beam.radiation)),
        }
    });
    let mut rays: Vec<Ray> = each.collect();
    let reaches = rays
        .iter()
        .zip(&beam.rays)
        .map(|(ray, (gantry, share))| share * ray.depth_dose(study.phantom.isocentre_depth_mm(*gantry), 0.0));
    let reaches: f64 = reaches.sum();
    rays.iter_mut().for_each(|ray| ray.dose_gy /= reaches.max(f64::MIN_POSITIVE));
    rays
}

/// Columns, rows and where the first of each is; the isocentre is one of the points.
struct Grid {
    spacing_mm: f64,
    x_mm: Vec<f64>,
    y_mm: Vec<f64>,
    z_mm: Vec<f64>,
}

impl Grid {
    fn of(study: &Study) -> Self {
        let ([x, y, _], [a, b, _]) = (study.phantom.body.centre_mm, study.phantom.body.half_mm);
        let spacing_mm = (a.max(b) * 2.0 / SIDE * 2.0).ceil() / 2.0;
        let [iso_x, iso_y, _] = study.isocentre_mm();
        let line = |middle: f64, from: f64, to: f64| {
            #[allow(clippy::cast_possible_truncation)] // within a body
            let steps = |mm: f64| ((mm - middle) / spacing_mm) as i32;
            (steps(from)..=steps(to)).map(|k| middle + f64::from(k) * spacing_mm).collect()
        };
        let z_mm = study.slices.iter().map(|slice| slice.z_mm).collect();
        Self { spacing_mm, x_mm: line(iso_x, x - a, x + a), y_mm: line(iso_y, y - b, y + b), z_mm }
    }

    /// Dose in Gy along z, of one column and row after the other.
    fn filled(&self, study: &Study, plan: &Plan) -> Vec<f64> {
        let [iso_x, iso_y, iso_z] = study.isocentre_mm();
        let rays: Vec<Ray> = plan.beams.iter().flat_map(|beam| rays(study, plan, beam)).collect();
        let squares: Vec<f64> = self.z_mm.iter().map(|z| (z - iso_z).powi(2)).collect();
        let mut dose = vec![0.0; self.x_mm.len() * self.y_mm.len() * self.z_mm.len()];
        let mut lines = dose.chunks_exact_mut(self.z_mm.len());
        for y in &self.y_mm {
            for x in &self.x_mm {
                let Some(line) = lines.next() else { continue };
                let (off_x, off_y) = (x - iso_x, y - iso_y);
                for ray in &rays {
                    let [to_x, to_y] = ray.to_source;
                    let beyond_mm = -(off_x * to_x + off_y * to_y);
                    let magnification = ray.magnification(beyond_mm);
                    // Across the beam: at right angles to the direction it comes from.
                    let across = ((off_y * to_x - off_x * to_y) * magnification / ray.across_mm).powi(2);
                    if across > ray.edge.end() {
                        continue;
                    }
                    let Some(depth_mm) = study.phantom.depth_mm([*x, *y], ray.to_source) else { break };
                    let here = ray.dose_gy * ray.depth_dose(depth_mm, beyond_mm) * magnification.powi(2);
                    let along = (magnification / ray.along_mm).powi(2);
                    let reach = (ray.edge.end() - across) / along;
                    for (point, square) in line.iter_mut().zip(&squares).filter(|(_, square)| **square < reach) {
                        *point += here * ray.edge.at(across + square * along);
                    }
                }
            }
        }
        dose
    }
}

/// What the target gets: a cumulative volume histogram (PS3.3 C.8.8.4).
fn histogram(study: &Study, grid: &Grid, dose: &[f64]) -> Item {
    let (target, [iso_x, iso_y, iso_z]) = (&study.phantom.planning, study.isocentre_mm());
    let [a, b, c] = target.half_mm;
    let places = grid.y_mm.iter().flat_map(|y| grid.x_mm.iter().map(move |x| (x, y)));
    let places = places.flat_map(|(x, y)| grid.z_mm.iter().map(move |z| (x, y, z)));
    let inside = places.zip(dose).filter(|((x, y, z), _)| {
        ((**x - iso_x) / a).powi(2) + ((**y - iso_y) / b).powi(2) + ((**z - iso_z) / c).powi(2) < 1.0
    });
    let mut inside: Vec<f64> = inside.map(|(_, dose)| *dose).collect();
    inside.sort_unstable_by(f64::total_cmp);
    let millilitres = grid.spacing_mm.powi(2) * super::image::SLICE_MM / 1_000.0;
    let (smallest, largest) = (inside.first().copied().unwrap_or(0.0), inside.last().copied().unwrap_or(0.0));
    #[allow(clippy::cast_precision_loss)] // points of a target
    let (count, volume_of) = (inside.len() as f64, |points: usize| points as f64 * millilitres);
    let to_mean = |value: f64| (value * 1e4).round() / 1e4;
    let mean = inside.iter().sum::<f64>() / count.max(1.0);
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // a prescription is below 100 Gy
    let bins = (largest / BIN_GY).ceil() as u32 + 1;
    let data = (0..bins).flat_map(|bin| {
        let at_least = inside.partition_point(|dose| *dose < f64::from(bin) * BIN_GY);
        [BIN_GY, to_mean(volume_of(inside.len() - at_least))]
    });
    Item::new()
        .items(
            tags::DVH_REFERENCED_ROI_SEQUENCE,
            vec![
                Item::new().text(tags::DVHROI_CONTRIBUTION_TYPE, "INCLUDED").int(tags::REFERENCED_ROI_NUMBER, PTV_ROI),
            ],
        )
        .text(tags::DVH_TYPE, "CUMULATIVE")
        .text(tags::DOSE_UNITS, "GY")
        .text(tags::DOSE_TYPE, "PHYSICAL")
        .ds(tags::DVH_DOSE_SCALING, &[1.0])
        .text(tags::DVH_VOLUME_UNITS, "CM3")
        .int(tags::DVH_NUMBER_OF_BINS, bins)
        .ds(tags::DVH_MINIMUM_DOSE, &[to_mean(smallest)])
        .ds(tags::DVH_MAXIMUM_DOSE, &[to_mean(largest)])
        .ds(tags::DVH_MEAN_DOSE, &[to_mean(mean)])
        .ds(tags::DVH_DATA, &data.collect::<Vec<f64>>())
}

pub(super) fn dose(study: &Study, plan: &Plan) -> Vec<u8> {
    let grid = Grid::of(study);
    let dose = grid.filled(study, plan);
    let largest = dose.iter().copied().fold(0.0, f64::max);
    // Ten decimals are what a decimal string of this size has.
    let scaling = (largest / LARGEST * 1e10).ceil() / 1e10;
    let frames = grid.z_mm.len();
    let samples = (0..frames).flat_map(|frame| {
        dose.iter().skip(frame).step_by(frames).map(|gy| {
            #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // up to LARGEST
            let sample = (gy / scaling).round() as u16;
            sample
        })
    });
    let samples = samples.collect();
    let first = |line: &[f64]| line.first().copied().unwrap_or(0.0);
    let from_z = first(&grid.z_mm);
    let offsets: Vec<f64> = grid.z_mm.iter().map(|z| z - from_z).collect();
    let side = |line: &[f64]| u16::try_from(line.len()).unwrap_or(0);
    let item = study
        .header(uids::RT_DOSE_STORAGE, &format!("{}.4", study.uid), "RTDOSE", study.series(3))
        .text(tags::FRAME_OF_REFERENCE_UID, &study.frame_of_reference)
        .empty(tags::POSITION_REFERENCE_INDICATOR)
        .int(tags::INSTANCE_NUMBER, 1)
        .ds(tags::SLICE_THICKNESS, &[super::image::SLICE_MM])
        .ds(tags::IMAGE_POSITION_PATIENT, &[first(&grid.x_mm), first(&grid.y_mm), from_z])
        .ds(tags::IMAGE_ORIENTATION_PATIENT, &[1.0, 0.0, 0.0, 0.0, 1.0, 0.0])
        .int(tags::NUMBER_OF_FRAMES, frames)
        .at(tags::FRAME_INCREMENT_POINTER, Tag(0x3004, 0x000C))
        .text(tags::DOSE_UNITS, "GY")
        .text(tags::DOSE_TYPE, "PHYSICAL")
        .text(tags::DOSE_SUMMATION_TYPE, "PLAN")
        .ds(tags::GRID_FRAME_OFFSET_VECTOR, &offsets)
        .ds(tags::DOSE_GRID_SCALING, &[scaling])
        .items(tags::REFERENCED_RT_PLAN_SEQUENCE, vec![reference(plan.class(), &plan.uid)])
        .items(
            tags::REFERENCED_STRUCTURE_SET_SEQUENCE,
            vec![reference(uids::RT_STRUCTURE_SET_STORAGE, &study.structures)],
        )
        .items(tags::DVH_SEQUENCE, vec![histogram(study, &grid, &dose)]);
    pixels(item, side(&grid.y_mm), side(&grid.x_mm), grid.spacing_mm).samples(samples).file()
}

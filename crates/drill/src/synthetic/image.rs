//! The CT series of a phantom: small slices, valid ones, as far to the head and to the feet as the target needs.

use dicom_dictionary_std::{tags, uids};

use super::Images;
use super::item::Item;
use super::phantom::Ellipse;
use super::plan::Study;

/// Rows and columns.
const PIXELS: u16 = 80;
/// From one slice to the next.
pub(super) const SLICE_MM: f64 = 5.0;
/// To either side of the isocentre's slice.
const SLICES_BESIDE: i32 = 15;
/// Of what is stored; below every CT number here, noise included.
const INTERCEPT: i16 = -1_024;
const AIR_HU: i16 = -1_000;
const WATER_HU: i16 = 0;

/// One slice of the series: which one it is, from 1, and where.
#[derive(Clone, Copy, Debug)]
pub(super) struct Slice {
    pub(super) number: u32,
    pub(super) z_mm: f64,
}

/// From the feet to the head.
pub(super) fn slices(isocentre_z_mm: f64, images: Images) -> Vec<Slice> {
    let beside = if images == Images::Series { SLICES_BESIDE } else { 0 };
    let z_mm = |k: i32| isocentre_z_mm + f64::from(k) * SLICE_MM;
    (1..).zip(-beside..=beside).map(|(number, k)| Slice { number, z_mm: z_mm(k) }).collect()
}

/// Describes square sixteen-bit pixels.
pub(super) fn pixels(item: Item, rows: u16, columns: u16, spacing_mm: f64) -> Item {
    item.us(tags::SAMPLES_PER_PIXEL, 1)
        .text(tags::PHOTOMETRIC_INTERPRETATION, "MONOCHROME2")
        .us(tags::ROWS, rows)
        .us(tags::COLUMNS, columns)
        .ds(tags::PIXEL_SPACING, &[spacing_mm, spacing_mm])
        .us(tags::BITS_ALLOCATED, 16)
        .us(tags::BITS_STORED, 16)
        .us(tags::HIGH_BIT, 15)
        .us(tags::PIXEL_REPRESENTATION, 0)
}

/// A slice's pixels, and where the middle of the first one is.
struct Canvas {
    samples: Vec<u16>,
    corner_mm: [f64; 2],
    spacing_mm: f64,
}

fn stored(hu: i16) -> u16 {
    u16::try_from(hu - INTERCEPT).unwrap_or(0)
}

impl Canvas {
    /// From the first pixel whose middle is at or after `from_mm` to the last one before `to_mm`.
    fn between(&self, corner_mm: f64, from_mm: f64, to_mm: f64) -> std::ops::Range<usize> {
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // clamped to the rows of a slice
        let at = |mm: f64| ((mm - corner_mm) / self.spacing_mm).ceil().clamp(0.0, f64::from(PIXELS)) as usize;
        at(from_mm)..at(to_mm)
    }

    fn fill(&mut self, Ellipse { centre_mm: [x, y], half_mm: [a, b] }: Ellipse, hu: i16) {
        let [left_mm, top_mm] = self.corner_mm;
        for row in self.between(top_mm, y - b, y + b) {
            #[allow(clippy::cast_precision_loss)] // a row of a slice
            let off = (top_mm + row as f64 * self.spacing_mm - y) / b;
            let half = a * (1.0 - off * off).max(0.0).sqrt();
            let columns = self.between(left_mm, x - half, x + half);
            let start = row * usize::from(PIXELS);
            if let Some(run) = self.samples.get_mut(start + columns.start..start + columns.end) {
                run.fill(stored(hu));
            }
        }
    }

    /// A scanner's grain: ±8 HU round what is there. An xorshift generator (Marsaglia 2003) suffices for it.
    fn grain(&mut self, seed: u32) {
        let mut state = seed | 1;
        for sample in &mut self.samples {
            state ^= state << 13;
            state ^= state >> 17;
            state ^= state << 5;
            *sample = *sample + u16::try_from(state >> 28).unwrap_or(0) - 8;
        }
    }
}

/// One file for each slice.
pub(super) fn series(study: &Study) -> Vec<Vec<u8>> {
    study.slices.iter().map(|slice| ct(study, *slice)).collect()
}

fn ct(study: &Study, Slice { number, z_mm }: Slice) -> Vec<u8> {
    let phantom = &study.phantom;
    let ([x, y, _], [a, b, _]) = (phantom.body.centre_mm, phantom.body.half_mm);
    // Some air on all sides.
    let spacing_mm = (a.max(b) * 2.2 / f64::from(PIXELS) * 10.0).ceil() / 10.0;
    let half_mm = f64::from(PIXELS - 1) / 2.0 * spacing_mm;
    let corner_mm = [x - half_mm, y - half_mm];
    let samples = vec![stored(AIR_HU); usize::from(PIXELS) * usize::from(PIXELS)];
    let mut canvas = Canvas { samples, corner_mm, spacing_mm };
    let organs = phantom.organs.iter().map(|organ| (&organ.solid, organ.hu));
    for (solid, hu) in std::iter::once((&phantom.body, WATER_HU)).chain(organs).chain([(&phantom.gross, 40)]) {
        if let Some(ellipse) = solid.at(z_mm) {
            canvas.fill(ellipse, hu);
        }
    }
    canvas.grain(study.grain.wrapping_add(number.wrapping_mul(0x9E37_79B9)));
    let [left, top] = corner_mm;
    let item = study
        .header(uids::CT_IMAGE_STORAGE, &study.ct(number), "CT", study.series(1))
        .text(tags::FRAME_OF_REFERENCE_UID, &study.frame_of_reference)
        .empty(tags::POSITION_REFERENCE_INDICATOR)
        .text(tags::IMAGE_TYPE, "ORIGINAL\\PRIMARY\\AXIAL")
        .int(tags::INSTANCE_NUMBER, number)
        .int(tags::ACQUISITION_NUMBER, 1)
        .text(tags::BODY_PART_EXAMINED, phantom.part)
        .text(tags::PATIENT_POSITION, "HFS")
        .ds(tags::KVP, &[120.0])
        .ds(tags::SLICE_THICKNESS, &[SLICE_MM])
        .ds(tags::SLICE_LOCATION, &[z_mm])
        .ds(tags::IMAGE_POSITION_PATIENT, &[left, top, z_mm])
        .ds(tags::IMAGE_ORIENTATION_PATIENT, &[1.0, 0.0, 0.0, 0.0, 1.0, 0.0])
        .ds(tags::RESCALE_INTERCEPT, &[f64::from(INTERCEPT)])
        .ds(tags::RESCALE_SLOPE, &[1.0])
        .text(tags::RESCALE_TYPE, "HU");
    pixels(item, PIXELS, PIXELS, spacing_mm).samples(canvas.samples).file()
}

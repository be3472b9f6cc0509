//! The objects beside a plan: a CT slice, an RT Structure Set and an RT Dose of a water phantom. Small, and valid.

use dicom_core::Tag;
use dicom_dictionary_std::{tags, uids};

use super::item::Item;
use super::plan::{Plan, Study, reference};

/// Rows and columns of the CT slice, and its pixels' size.
const CT_PIXELS: u16 = 96;
const CT_SPACING_MM: f64 = 4.0;
/// Rows, columns and frames of the dose grid.
const DOSE_PIXELS: u16 = 24;
const DOSE_FRAMES: u16 = 8;
const DOSE_SPACING_MM: f64 = 6.0;

fn pixels(item: Item, rows: u16, spacing_mm: f64, signed: u16) -> Item {
    item.us(tags::SAMPLES_PER_PIXEL, 1)
        .text(tags::PHOTOMETRIC_INTERPRETATION, "MONOCHROME2")
        .us(tags::ROWS, rows)
        .us(tags::COLUMNS, rows)
        .ds(tags::PIXEL_SPACING, &[spacing_mm, spacing_mm])
        .us(tags::BITS_ALLOCATED, 16)
        .us(tags::BITS_STORED, 16)
        .us(tags::HIGH_BIT, 15)
        .us(tags::PIXEL_REPRESENTATION, signed)
}

/// Water inside an ellipse, air outside; stored as HU + 1024.
pub(super) fn ct_slice(study: &Study) -> Vec<u8> {
    let half = f64::from(CT_PIXELS) / 2.0;
    let samples = grid(CT_PIXELS).map(|(column, row)| {
        let (x, y) = ((f64::from(column) + 0.5 - half) / half, (f64::from(row) + 0.5 - half) / half);
        if (x / 0.85).powi(2) + (y / 0.6).powi(2) < 1.0 { 1_024 + column % 7 } else { 24 }
    });
    let samples = samples.collect();
    let corner = -half * CT_SPACING_MM;
    let slice_mm = study.isocentre_mm[2];
    let item = study
        .header(uids::CT_IMAGE_STORAGE, &study.ct, "CT", format!("{}.1", study.uid))
        .text(tags::FRAME_OF_REFERENCE_UID, &study.frame_of_reference)
        .empty(tags::POSITION_REFERENCE_INDICATOR)
        .text(tags::IMAGE_TYPE, "ORIGINAL\\PRIMARY\\AXIAL")
        .int(tags::INSTANCE_NUMBER, 1)
        .int(tags::ACQUISITION_NUMBER, 1)
        .text(tags::PATIENT_POSITION, "HFS")
        .ds(tags::KVP, &[120.0])
        .ds(tags::SLICE_THICKNESS, &[3.0])
        .ds(tags::SLICE_LOCATION, &[slice_mm])
        .ds(tags::IMAGE_POSITION_PATIENT, &[corner, corner, slice_mm])
        .ds(tags::IMAGE_ORIENTATION_PATIENT, &[1.0, 0.0, 0.0, 0.0, 1.0, 0.0])
        .ds(tags::RESCALE_INTERCEPT, &[-1_024.0])
        .ds(tags::RESCALE_SLOPE, &[1.0])
        .text(tags::RESCALE_TYPE, "HU");
    pixels(item, CT_PIXELS, CT_SPACING_MM, 0).samples(samples).file()
}

fn grid(pixels: u16) -> impl Iterator<Item = (u16, u16)> {
    (0..pixels).flat_map(move |row| (0..pixels).map(move |column| (column, row)))
}

/// Body, target and bolus, a contour each.
pub(super) fn structure_set(study: &Study) -> Vec<u8> {
    let rois = [(1_u32, "BODY", "EXTERNAL", 150.0), (2, "PTV", "PTV", 40.0), (3, "Bolus", "BOLUS", 60.0)];
    let [x0, y0, z0] = study.isocentre_mm;
    let contour = |radius_mm: f64| {
        let points = (0..24).flat_map(move |k| {
            let angle = f64::from(k) * std::f64::consts::TAU / 24.0;
            let on_grid = |value: f64| (value * 100.0).round() / 100.0;
            [on_grid(x0 + radius_mm * angle.cos()), on_grid(y0 + radius_mm * angle.sin()), z0]
        });
        Item::new()
            .items(tags::CONTOUR_IMAGE_SEQUENCE, vec![reference(uids::CT_IMAGE_STORAGE, &study.ct)])
            .text(tags::CONTOUR_GEOMETRIC_TYPE, "CLOSED_PLANAR")
            .int(tags::NUMBER_OF_CONTOUR_POINTS, 24)
            .ds(tags::CONTOUR_DATA, &points.collect::<Vec<_>>())
    };
    let series = Item::new()
        .text(tags::SERIES_INSTANCE_UID, format!("{}.1", study.uid))
        .items(tags::CONTOUR_IMAGE_SEQUENCE, vec![reference(uids::CT_IMAGE_STORAGE, &study.ct)]);
    let referenced_study =
        reference(DETACHED_STUDY_MANAGEMENT, &study.uid).items(tags::RT_REFERENCED_SERIES_SEQUENCE, vec![series]);
    let frame = Item::new()
        .text(tags::FRAME_OF_REFERENCE_UID, &study.frame_of_reference)
        .items(tags::RT_REFERENCED_STUDY_SEQUENCE, vec![referenced_study]);
    let of_each = |make: &dyn Fn(u32, &str, &str, f64) -> Item| -> Vec<Item> {
        rois.iter().map(|(number, name, kind, radius)| make(*number, name, kind, *radius)).collect()
    };
    study
        .header(uids::RT_STRUCTURE_SET_STORAGE, &study.structures, "RTSTRUCT", format!("{}.2", study.uid))
        .text(tags::FRAME_OF_REFERENCE_UID, &study.frame_of_reference)
        .empty(tags::POSITION_REFERENCE_INDICATOR)
        .text(tags::STRUCTURE_SET_LABEL, "PLANNING")
        .empty(tags::STRUCTURE_SET_DATE)
        .empty(tags::STRUCTURE_SET_TIME)
        .items(tags::REFERENCED_FRAME_OF_REFERENCE_SEQUENCE, vec![frame])
        .items(
            tags::STRUCTURE_SET_ROI_SEQUENCE,
            of_each(&|number, name, _, _| {
                Item::new()
                    .int(tags::ROI_NUMBER, number)
                    .text(tags::REFERENCED_FRAME_OF_REFERENCE_UID, &study.frame_of_reference)
                    .text(tags::ROI_NAME, name)
                    .text(tags::ROI_GENERATION_ALGORITHM, "MANUAL")
            }),
        )
        .items(
            tags::ROI_CONTOUR_SEQUENCE,
            of_each(&|number, _, _, radius| {
                Item::new()
                    .text(tags::ROI_DISPLAY_COLOR, "255\\0\\0")
                    .items(tags::CONTOUR_SEQUENCE, vec![contour(radius)])
                    .int(tags::REFERENCED_ROI_NUMBER, number)
            }),
        )
        .items(
            tags::RTROI_OBSERVATIONS_SEQUENCE,
            of_each(&|number, _, kind, _| {
                Item::new()
                    .int(tags::OBSERVATION_NUMBER, number)
                    .int(tags::REFERENCED_ROI_NUMBER, number)
                    .text(tags::RTROI_INTERPRETED_TYPE, kind)
                    .empty(tags::ROI_INTERPRETER)
            }),
        )
        .text(tags::APPROVAL_STATUS, "UNAPPROVED")
        .file()
}

/// Named by RT Structure Sets for their study although it is retired (PS3.3 C.8.8.5).
const DETACHED_STUDY_MANAGEMENT: &str = "1.2.840.10008.3.1.2.3.1";

/// A smooth hill of dose round the isocentre.
pub(super) fn dose(study: &Study, plan: &Plan) -> Vec<u8> {
    let half = f64::from(DOSE_PIXELS) / 2.0;
    let samples = (0..DOSE_FRAMES).flat_map(|frame| {
        grid(DOSE_PIXELS).map(move |(column, row)| {
            let away = |index: u16, half: f64| ((f64::from(index) + 0.5 - half) / half).powi(2);
            let r2 = away(column, half) + away(row, half) + away(frame, f64::from(DOSE_FRAMES) / 2.0);
            #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // between 0 and 60,000
            let sample = ((-2.0 * r2).exp() * 60_000.0).round() as u16;
            sample
        })
    });
    let samples = samples.collect();
    let [x0, y0, z0] = study.isocentre_mm;
    let offset = half * DOSE_SPACING_MM;
    let offsets: Vec<f64> = (0..DOSE_FRAMES).map(|frame| f64::from(frame) * DOSE_SPACING_MM).collect();
    let item = study
        .header(uids::RT_DOSE_STORAGE, &format!("{}.4", study.uid), "RTDOSE", format!("{}.3", study.uid))
        .text(tags::FRAME_OF_REFERENCE_UID, &study.frame_of_reference)
        .empty(tags::POSITION_REFERENCE_INDICATOR)
        .int(tags::INSTANCE_NUMBER, 1)
        .ds(tags::SLICE_THICKNESS, &[DOSE_SPACING_MM])
        .ds(tags::IMAGE_POSITION_PATIENT, &[x0 - offset, y0 - offset, z0 - offset])
        .ds(tags::IMAGE_ORIENTATION_PATIENT, &[1.0, 0.0, 0.0, 0.0, 1.0, 0.0])
        .int(tags::NUMBER_OF_FRAMES, DOSE_FRAMES)
        .at(tags::FRAME_INCREMENT_POINTER, Tag(0x3004, 0x000C))
        .text(tags::DOSE_UNITS, "GY")
        .text(tags::DOSE_TYPE, "PHYSICAL")
        .text(tags::DOSE_SUMMATION_TYPE, "PLAN")
        .ds(tags::GRID_FRAME_OFFSET_VECTOR, &offsets)
        .ds(tags::DOSE_GRID_SCALING, &[(plan.dose_gy / 60_000.0 * 1e10).round() / 1e10])
        .items(tags::REFERENCED_RT_PLAN_SEQUENCE, vec![reference(plan.class(), &plan.uid)]);
    pixels(item, DOSE_PIXELS, DOSE_SPACING_MM, 0).samples(samples).file()
}

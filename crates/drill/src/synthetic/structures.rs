//! The RT Structure Set of a phantom: outline, targets, organs at risk, bolus; a contour on each slice that cuts them.

use dicom_dictionary_std::{tags, uids};

use super::image::Slice;
use super::item::Item;
use super::phantom::{Ellipse, Phantom, Solid, to_source};
use super::plan::{BOLUS_ROI, PTV_ROI, Plan, Study, reference};

/// Of an ellipse that is drawn.
const POINTS: u32 = 24;

/// Half of how long the bolus is, and half of the part of the skin that it covers.
const BOLUS_HALF_MM: f64 = 60.0;
const BOLUS_HALF_RADIANS: f64 = 0.6;
/// Corners along each of its two faces.
const BOLUS_CORNERS: i32 = 5;

/// A region of interest: number, name, RT ROI Interpreted Type, colour, and its corners where it is cut.
struct Region<'a> {
    number: u32,
    name: &'static str,
    kind: &'static str,
    colour: &'static str,
    corners: Box<dyn Fn(f64) -> Option<Vec<[f64; 2]>> + 'a>,
}

fn round(Ellipse { centre_mm: [x, y], half_mm: [a, b] }: Ellipse) -> Vec<[f64; 2]> {
    let angles = (0..POINTS).map(|k| f64::from(k) * std::f64::consts::TAU / f64::from(POINTS));
    angles.map(|angle| [x + a * angle.cos(), y + b * angle.sin()]).collect()
}

/// A sheet on the skin, where the beam that needs it comes in.
fn sheet(phantom: &Phantom, gantry_degrees: f64, thickness_mm: f64) -> Vec<[f64; 2]> {
    let ([cx, cy, _], [a, b, _], [x, y, _]) = (phantom.body.centre_mm, phantom.body.half_mm, phantom.isocentre_mm());
    let ([to_x, to_y], depth) = (to_source(gantry_degrees), phantom.isocentre_depth_mm(gantry_degrees));
    let middle = ((y + to_y * depth - cy) / b).atan2((x + to_x * depth - cx) / a);
    let face = |out: f64| {
        (-BOLUS_CORNERS..=BOLUS_CORNERS).map(move |k| {
            let angle = middle + f64::from(k) / f64::from(BOLUS_CORNERS) * BOLUS_HALF_RADIANS;
            [cx + (a + out) * angle.cos(), cy + (b + out) * angle.sin()]
        })
    };
    face(0.0).chain(face(thickness_mm).rev()).collect()
}

fn regions<'a>(study: &'a Study, plan: &Plan) -> Vec<Region<'a>> {
    let phantom = &study.phantom;
    let drawn = |number, name, kind, colour, solid: &'a Solid| Region {
        number,
        name,
        kind,
        colour,
        corners: Box::new(|z_mm| solid.at(z_mm).map(round)),
    };
    let mut regions = vec![
        drawn(1, "BODY", "EXTERNAL", "0\\255\\0", &phantom.body),
        drawn(PTV_ROI, "PTV", "PTV", "255\\0\\0", &phantom.planning),
        drawn(4, "CTV", "CTV", "255\\128\\0", &phantom.clinical),
        drawn(5, "GTV", "GTV", "192\\0\\64", &phantom.gross),
    ];
    let named = phantom.organs.iter().filter(|organ| !organ.name.is_empty());
    regions.extend((6..).zip(named).map(|(n, organ)| drawn(n, organ.name, "ORGAN", "64\\128\\255", &organ.solid)));
    if let Some((gantry_degrees, mm)) = plan.beams.iter().find_map(|beam| Some((beam.gantry_degrees, beam.bolus_mm?))) {
        let middle_z = study.isocentre_mm()[2];
        let corners = move |z_mm: f64| {
            ((z_mm - middle_z).abs() < BOLUS_HALF_MM).then(|| sheet(phantom, gantry_degrees, f64::from(mm)))
        };
        let corners = Box::new(corners);
        regions.push(Region { number: BOLUS_ROI, name: "Bolus", kind: "BOLUS", colour: "0\\255\\255", corners });
    }
    regions
}

fn contour(study: &Study, Slice { number, z_mm }: Slice, corners: &[[f64; 2]]) -> Item {
    let tenth = |value: f64| (value * 10.0).round() / 10.0;
    let points: Vec<f64> = corners.iter().flat_map(|[x, y]| [tenth(*x), tenth(*y), z_mm]).collect();
    Item::new()
        .items(tags::CONTOUR_IMAGE_SEQUENCE, vec![reference(uids::CT_IMAGE_STORAGE, &study.ct(number))])
        .text(tags::CONTOUR_GEOMETRIC_TYPE, "CLOSED_PLANAR")
        .int(tags::NUMBER_OF_CONTOUR_POINTS, corners.len())
        .ds(tags::CONTOUR_DATA, &points)
}

pub(super) fn structure_set(study: &Study, plan: &Plan) -> Vec<u8> {
    let mut drawn: Vec<(Region<'_>, Vec<Item>)> = Vec::new();
    for region in regions(study, plan) {
        let cut = study.slices.iter().filter_map(|slice| Some((slice, (region.corners)(slice.z_mm)?)));
        let contours: Vec<Item> = cut.map(|(slice, corners)| contour(study, *slice, &corners)).collect();
        // What no slice cuts isn't there.
        if !contours.is_empty() {
            drawn.push((region, contours));
        }
    }
    let images = study.slices.iter().map(|slice| reference(uids::CT_IMAGE_STORAGE, &study.ct(slice.number)));
    let series = Item::new()
        .text(tags::SERIES_INSTANCE_UID, study.series(1))
        .items(tags::CONTOUR_IMAGE_SEQUENCE, images.collect());
    let referenced_study =
        reference(DETACHED_STUDY_MANAGEMENT, &study.uid).items(tags::RT_REFERENCED_SERIES_SEQUENCE, vec![series]);
    let frame = Item::new()
        .text(tags::FRAME_OF_REFERENCE_UID, &study.frame_of_reference)
        .items(tags::RT_REFERENCED_STUDY_SEQUENCE, vec![referenced_study]);
    let of_each = |make: &dyn Fn(&Region<'_>) -> Item| drawn.iter().map(|(region, _)| make(region)).collect();
    let rois: Vec<Item> = of_each(&|region| {
        Item::new()
            .int(tags::ROI_NUMBER, region.number)
            .text(tags::REFERENCED_FRAME_OF_REFERENCE_UID, &study.frame_of_reference)
            .text(tags::ROI_NAME, region.name)
            .text(tags::ROI_GENERATION_ALGORITHM, "MANUAL")
    });
    let observations: Vec<Item> = of_each(&|region| {
        Item::new()
            .int(tags::OBSERVATION_NUMBER, region.number)
            .int(tags::REFERENCED_ROI_NUMBER, region.number)
            .text(tags::RTROI_INTERPRETED_TYPE, region.kind)
            .empty(tags::ROI_INTERPRETER)
    });
    let contours = drawn.into_iter().map(|(region, contours)| {
        Item::new()
            .text(tags::ROI_DISPLAY_COLOR, region.colour)
            .items(tags::CONTOUR_SEQUENCE, contours)
            .int(tags::REFERENCED_ROI_NUMBER, region.number)
    });
    study
        .header(uids::RT_STRUCTURE_SET_STORAGE, &study.structures, "RTSTRUCT", study.series(2))
        .text(tags::FRAME_OF_REFERENCE_UID, &study.frame_of_reference)
        .empty(tags::POSITION_REFERENCE_INDICATOR)
        .text(tags::STRUCTURE_SET_LABEL, "PLANNING")
        .empty(tags::STRUCTURE_SET_DATE)
        .empty(tags::STRUCTURE_SET_TIME)
        .items(tags::REFERENCED_FRAME_OF_REFERENCE_SEQUENCE, vec![frame])
        .items(tags::STRUCTURE_SET_ROI_SEQUENCE, rois)
        .items(tags::ROI_CONTOUR_SEQUENCE, contours.collect())
        .items(tags::RTROI_OBSERVATIONS_SEQUENCE, observations)
        .text(tags::APPROVAL_STATUS, "UNAPPROVED")
        .file()
}

/// Named by RT Structure Sets for their study although it is retired (PS3.3 C.8.8.5).
const DETACHED_STUDY_MANAGEMENT: &str = "1.2.840.10008.3.1.2.3.1";

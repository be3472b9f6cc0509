//! Scanned proton beams: layers of energy, a map of spots in each (PS3.3 C.8.8.25).

use dicom_dictionary_std::tags;

use super::super::item::Item;
use super::super::rng::Rng;
use super::{Beam, PROTON_MARGIN_MM, Radiation, Study, meterset};

/// Energy layers of one proton beam, and from one spot to the next.
const LAYERS: u32 = 6;
const SPOT_MM: f64 = 8.0;
/// To the side of the target's outline.
const MARGIN_MM: f64 = 8.0;
/// What the range shifter takes away, as so much water.
const SHIFTER_MM: f32 = 41.2;

/// Two scanned beams; each layer is a pair of control points, the second one carries no meterset (PS3.3 C.8.8.25).
pub(super) fn beams(rng: &Rng, study: &Study, machine: &str) -> Vec<Beam> {
    [(1_u32, "RPO", rng.on_grid(200.0, 240.0, 1.0)), (2, "LPO", rng.on_grid(120.0, 160.0, 1.0))]
        .into_iter()
        .map(|(number, name, gantry)| beam(rng, study, machine, number, name, gantry))
        .collect()
}

/// The energy that goes so far in water: R = 0.0022 E^1.77 in cm and MeV (Bortfeld 1997).
fn energy_mev(range_mm: f64) -> f64 {
    ((range_mm / 10.0 / 0.002_2).powf(1.0 / 1.77) * 10.0).round() / 10.0
}

/// Where it is, and its weight.
type Spot = ([f32; 2], f32);

/// Energies from the far side of the target to the near one, with spots over its outline; the first layer gives most.
fn layers(rng: &Rng, study: &Study, gantry: f64) -> Vec<(f64, Vec<Spot>)> {
    let target = &study.phantom.planning;
    let (middle_mm, half_mm) = (study.phantom.isocentre_depth_mm(gantry), target.depth_half_mm(gantry));
    let reach_mm = half_mm + PROTON_MARGIN_MM;
    let outline = target.outline(gantry, MARGIN_MM);
    #[allow(clippy::cast_possible_truncation)] // a few spots to each side
    let beside = |half: f64| (half / SPOT_MM) as i16;
    let (columns, rows) = (beside(outline.across_mm), beside(outline.along_mm));
    let places = (-rows..=rows).flat_map(|row| (-columns..=columns).map(move |column| (column, row)));
    let at = |k: i16| f64::from(k) * SPOT_MM;
    let inside = |(column, row): &(i16, i16)| {
        (at(*column) / outline.across_mm).powi(2) + (at(*row) / outline.along_mm).powi(2) < 1.0
    };
    let places: Vec<(i16, i16)> = places.filter(inside).collect();
    let layer = |layer: u32| {
        let nearer_mm = 2.0 * reach_mm * f64::from(layer) / f64::from(LAYERS - 1);
        let range_mm = (middle_mm + reach_mm - nearer_mm).max(1.0) + f64::from(SHIFTER_MM);
        let spots = places.iter().map(|(column, row)| {
            let weight = f32::from(u16::try_from(rng.below(400)).unwrap_or(0) + 800) / 1_000.0;
            #[allow(clippy::cast_possible_truncation)] // FL is what the standard gives it
            let place = [at(*column) as f32, at(*row) as f32];
            (place, if layer == 0 { weight } else { weight / 4.0 })
        });
        (energy_mev(range_mm), spots.collect())
    };
    (0..LAYERS).map(layer).collect()
}

fn beam(rng: &Rng, study: &Study, machine: &str, number: u32, name: &str, gantry: f64) -> Beam {
    let meterset = meterset(rng, 90.0, 200.0);
    let layers = layers(rng, study, gantry);
    let top_energy = layers.first().map_or(0.0, |(energy, _)| *energy);
    let mut weights = Vec::new();
    let mut points = Vec::new();
    let mut all_spots = Vec::new();
    let mut cumulative = 0.0;
    for (energy, spots) in &layers {
        for second in [false, true] {
            weights.push(cumulative);
            let spot_weights: Vec<f32> = spots.iter().map(|(_, w)| if second { 0.0 } else { *w }).collect();
            let positions: Vec<f32> = spots.iter().flat_map(|(position, _)| *position).collect();
            let index = points.len();
            let point = Item::new()
                .int(tags::CONTROL_POINT_INDEX, index)
                .ds(tags::CUMULATIVE_METERSET_WEIGHT, &[cumulative])
                .ds(tags::NOMINAL_BEAM_ENERGY, &[*energy])
                .text(tags::SCAN_SPOT_TUNE_ID, "4.0")
                .int(tags::NUMBER_OF_SCAN_SPOT_POSITIONS, spots.len())
                .fl(tags::SCAN_SPOT_POSITION_MAP, &positions)
                .fl(tags::SCAN_SPOT_METERSET_WEIGHTS, &spot_weights)
                .fl(tags::SCANNING_SPOT_SIZE, &[4.0, 4.0])
                .int(tags::NUMBER_OF_PAINTINGS, 1)
                .with(|point| if index == 0 { first_point(point, study, gantry) } else { point });
            points.push(point);
            all_spots.push((positions, spot_weights));
            if !second {
                let sum: f64 = spots.iter().map(|(_, w)| f64::from(*w)).sum();
                cumulative = ((cumulative + sum) * 1e6).round() / 1e6;
            }
        }
    }
    let range_shifter = Item::new()
        .text(tags::ACCESSORY_CODE, "RS-40")
        .int(tags::RANGE_SHIFTER_NUMBER, 1)
        .text(tags::RANGE_SHIFTER_ID, "RS40")
        .text(tags::RANGE_SHIFTER_TYPE, "BINARY");
    let snout = Item::new().text(tags::ACCESSORY_CODE, "SN-1").text(tags::SNOUT_ID, "S1");
    let item = Item::new()
        .text(tags::MANUFACTURER, "Synthetic Systems")
        .text(tags::TREATMENT_MACHINE_NAME, machine)
        .text(tags::PRIMARY_DOSIMETER_UNIT, "MU")
        .int(tags::BEAM_NUMBER, number)
        .text(tags::BEAM_NAME, name)
        .text(tags::BEAM_TYPE, "STATIC")
        .text(tags::RADIATION_TYPE, "PROTON")
        .text(tags::TREATMENT_DELIVERY_TYPE, "TREATMENT")
        .int(tags::NUMBER_OF_WEDGES, 0)
        .int(tags::NUMBER_OF_COMPENSATORS, 0)
        .int(tags::NUMBER_OF_BOLI, 0)
        .int(tags::NUMBER_OF_BLOCKS, 0)
        .text(tags::SCAN_MODE, "MODULATED")
        .text(tags::MODULATED_SCAN_MODE_TYPE, "STATIONARY")
        .fl(tags::VIRTUAL_SOURCE_AXIS_DISTANCES, &[2_000.0, 1_800.0])
        .items(tags::SNOUT_SEQUENCE, vec![snout])
        .int(tags::NUMBER_OF_RANGE_SHIFTERS, 1)
        .items(tags::RANGE_SHIFTER_SEQUENCE, vec![range_shifter])
        .int(tags::NUMBER_OF_LATERAL_SPREADING_DEVICES, 0)
        .int(tags::NUMBER_OF_RANGE_MODULATORS, 0)
        .text(tags::PATIENT_SUPPORT_TYPE, "TABLE")
        .ds(tags::FINAL_CUMULATIVE_METERSET_WEIGHT, &[cumulative])
        .int(tags::NUMBER_OF_CONTROL_POINTS, points.len())
        .items(tags::ION_CONTROL_POINT_SEQUENCE, points)
        .int(tags::REFERENCED_PATIENT_SETUP_NUMBER, 1)
        .int(tags::REFERENCED_TOLERANCE_TABLE_NUMBER, 1);
    Beam {
        number,
        name: name.to_owned(),
        kind: "STATIC",
        radiation: Radiation::Proton,
        energy: top_energy,
        meterset,
        blocks: 0,
        wedges: 0,
        bolus_mm: None,
        gantry_degrees: gantry,
        rays: vec![(gantry, 1.0)],
        margin_mm: MARGIN_MM,
        weights,
        spots: all_spots,
        devices: &[],
        item,
    }
}

/// What an ion beam's first control point gives for all that follow.
fn first_point(point: Item, study: &Study, gantry: f64) -> Item {
    let setting = Item::new()
        .text(tags::RANGE_SHIFTER_SETTING, "IN")
        .fl(tags::ISOCENTER_TO_RANGE_SHIFTER_DISTANCE, &[310.0])
        .fl(tags::RANGE_SHIFTER_WATER_EQUIVALENT_THICKNESS, &[SHIFTER_MM])
        .int(tags::REFERENCED_RANGE_SHIFTER_NUMBER, 1);
    point
        .ds(tags::GANTRY_ANGLE, &[gantry])
        .text(tags::GANTRY_ROTATION_DIRECTION, "NONE")
        .ds(tags::BEAM_LIMITING_DEVICE_ANGLE, &[0.0])
        .text(tags::BEAM_LIMITING_DEVICE_ROTATION_DIRECTION, "NONE")
        .ds(tags::PATIENT_SUPPORT_ANGLE, &[0.0])
        .text(tags::PATIENT_SUPPORT_ROTATION_DIRECTION, "NONE")
        .ds(tags::TABLE_TOP_VERTICAL_POSITION, &[-120.0])
        .ds(tags::TABLE_TOP_LONGITUDINAL_POSITION, &[900.0])
        .ds(tags::TABLE_TOP_LATERAL_POSITION, &[0.0])
        .ds(tags::ISOCENTER_POSITION, &study.isocentre_mm())
        .fl(tags::TABLE_TOP_PITCH_ANGLE, &[0.0])
        .text(tags::TABLE_TOP_PITCH_ROTATION_DIRECTION, "NONE")
        .fl(tags::TABLE_TOP_ROLL_ANGLE, &[0.0])
        .text(tags::TABLE_TOP_ROLL_ROTATION_DIRECTION, "NONE")
        .fl(tags::GANTRY_PITCH_ANGLE, &[0.0])
        .text(tags::GANTRY_PITCH_ROTATION_DIRECTION, "NONE")
        .fl(tags::SNOUT_POSITION, &[300.0])
        .fl(tags::METERSET_RATE, &[1_000.0])
        .items(tags::RANGE_SHIFTER_SETTINGS_SEQUENCE, vec![setting])
}

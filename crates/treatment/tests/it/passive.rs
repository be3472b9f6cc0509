//! A passive ion field with every device that the standard lets hang on one.

use dicom_dictionary_std::{tags as t, uids};

use crate::build::{Item, V, beam, first_point, group, jaws, later_point, leaves, plan, position};

pub fn passive_ions() -> Item {
    let mut ion = beam(1, "passive")
        .with(t::RADIATION_TYPE, "ION")
        .with(t::RADIATION_MASS_NUMBER, "12")
        .with(t::RADIATION_ATOMIC_NUMBER, "6")
        .with(t::SCAN_MODE, "NONE")
        .with(t::PRIMARY_DOSIMETER_UNIT, "NP")
        .with(t::PATIENT_SUPPORT_TYPE, "CHAIR")
        .with(t::PATIENT_SUPPORT_ID, "CH1")
        .with(t::PATIENT_SUPPORT_ACCESSORY_CODE, "CH-1")
        .with(t::FIXATION_EYE, "LEFT")
        .floats(t::FIXATION_LIGHT_AZIMUTHAL_ANGLE, &[12.5])
        .floats(t::FIXATION_LIGHT_POLAR_ANGLE, &[20.25])
        .floats(t::TOTAL_WEDGE_TRAY_WATER_EQUIVALENT_THICKNESS, &[1.5])
        .floats(t::TOTAL_BLOCK_TRAY_WATER_EQUIVALENT_THICKNESS, &[2.5])
        .floats(t::TOTAL_COMPENSATOR_TRAY_WATER_EQUIVALENT_THICKNESS, &[3.5])
        .floats(t::VIRTUAL_SOURCE_AXIS_DISTANCES, &[2000.0, 2500.0])
        .with(t::FINAL_CUMULATIVE_METERSET_WEIGHT, "2")
        .with(t::NUMBER_OF_CONTROL_POINTS, "3");
    ion.0.remove(&t::SOURCE_AXIS_DISTANCE);
    ion.0.insert(t::RADIATION_CHARGE_STATE, V::Short(6));
    for tag in [
        t::NUMBER_OF_WEDGES,
        t::NUMBER_OF_COMPENSATORS,
        t::NUMBER_OF_BOLI,
        t::NUMBER_OF_BLOCKS,
        t::NUMBER_OF_RANGE_SHIFTERS,
        t::NUMBER_OF_LATERAL_SPREADING_DEVICES,
        t::NUMBER_OF_RANGE_MODULATORS,
    ] {
        ion.set(tag, "1");
    }
    let ion = with_devices(ion).items(t::ION_CONTROL_POINT_SEQUENCE, points());
    plan(uids::RT_ION_PLAN_STORAGE)
        .items(t::FRACTION_GROUP_SEQUENCE, [group(&[(1, "1500000000")])])
        .items(t::ION_BEAM_SEQUENCE, [ion])
}

fn with_devices(beam: Item) -> Item {
    let [jaws, leaves] = [jaws("X"), leaves(4)].map(|mut device| {
        device.0.remove(&t::SOURCE_TO_BEAM_LIMITING_DEVICE_DISTANCE);
        device.floats(t::ISOCENTER_TO_BEAM_LIMITING_DEVICE_DISTANCE, &[350.0])
    });
    beam.items(t::ION_BEAM_LIMITING_DEVICE_SEQUENCE, [jaws, leaves])
        .items(
            t::PLANNED_VERIFICATION_IMAGE_SEQUENCE,
            [Item::new()
                .with(t::METERSET_EXPOSURE, "2")
                .with(t::START_CUMULATIVE_METERSET_WEIGHT, "0")
                .with(t::END_CUMULATIVE_METERSET_WEIGHT, "0.5")],
        )
        .items(
            t::ION_WEDGE_SEQUENCE,
            [Item::new()
                .with(t::WEDGE_NUMBER, "1")
                .with(t::WEDGE_TYPE, "PARTIAL_STANDARD")
                .with(t::WEDGE_ID, "W30")
                .with(t::WEDGE_ANGLE, "30")
                .with(t::WEDGE_ORIENTATION, "90")
                .floats(t::ISOCENTER_TO_WEDGE_TRAY_DISTANCE, &[410.5])
                .with(t::ACCESSORY_CODE, "W-3")],
        )
        .items(
            t::ION_RANGE_COMPENSATOR_SEQUENCE,
            [Item::new()
                .with(t::MATERIAL_ID, "PMMA")
                .with(t::COMPENSATOR_NUMBER, "1")
                .with(t::COMPENSATOR_ID, "C7")
                .with(t::ACCESSORY_CODE, "C-7")
                .with(t::COMPENSATOR_DIVERGENCE, "PRESENT")
                .with(t::COMPENSATOR_MOUNTING_POSITION, "SOURCE_SIDE")
                .with(t::COMPENSATOR_ROWS, "2")
                .with(t::COMPENSATOR_COLUMNS, "2")
                .with(t::COMPENSATOR_PIXEL_SPACING, "3\\3")
                .with(t::COMPENSATOR_POSITION, "-5\\5")
                .with(t::COMPENSATOR_THICKNESS_DATA, "1\\2\\3\\4")
                .floats(t::ISOCENTER_TO_COMPENSATOR_TRAY_DISTANCE, &[300.5])
                .floats(t::COMPENSATOR_COLUMN_OFFSET, &[1.5])
                .floats(t::ISOCENTER_TO_COMPENSATOR_DISTANCES, &[300.0, 300.0, 301.0, 301.0])
                .floats(t::COMPENSATOR_RELATIVE_STOPPING_POWER_RATIO, &[1.125])
                .floats(t::COMPENSATOR_MILLING_TOOL_DIAMETER, &[3.25])],
        )
        .items(
            t::ION_BLOCK_SEQUENCE,
            [Item::new()
                .with(t::MATERIAL_ID, "BRASS")
                .with(t::BLOCK_TRAY_ID, "T4")
                .floats(t::ISOCENTER_TO_BLOCK_TRAY_DISTANCE, &[280.5])
                .with(t::BLOCK_TYPE, "APERTURE")
                .with(t::BLOCK_DIVERGENCE, "ABSENT")
                .with(t::BLOCK_MOUNTING_POSITION, "PATIENT_SIDE")
                .with(t::BLOCK_NUMBER, "1")
                .with(t::BLOCK_THICKNESS, "60")
                .with(t::BLOCK_NUMBER_OF_POINTS, "3")
                .with(t::BLOCK_DATA, "0\\0\\10\\0\\0\\10.5")
                .with(t::NUMBER_OF_BLOCK_SLAB_ITEMS, "2")
                .items(
                    t::BLOCK_SLAB_SEQUENCE,
                    [1, 2].map(|number| {
                        let mut slab = Item::new().with(t::BLOCK_SLAB_THICKNESS, "30");
                        slab.set(t::ACCESSORY_CODE, format!("S-{number}"));
                        slab.0.insert(t::BLOCK_SLAB_NUMBER, V::Unsigned(number));
                        slab
                    }),
                )],
        )
        .items(t::SNOUT_SEQUENCE, [Item::new().with(t::SNOUT_ID, "S1").with(t::ACCESSORY_CODE, "SN-1")])
        .items(
            t::APPLICATOR_SEQUENCE,
            [Item::new()
                .with(t::APPLICATOR_ID, "A1")
                .with(t::APPLICATOR_TYPE, "OTHER")
                .items(t::APPLICATOR_GEOMETRY_SEQUENCE, [Item::new().with(t::APPLICATOR_APERTURE_SHAPE, "CIRCULAR")])],
        )
        .items(
            t::RANGE_SHIFTER_SEQUENCE,
            [Item::new()
                .with(t::RANGE_SHIFTER_NUMBER, "1")
                .with(t::RANGE_SHIFTER_ID, "RS")
                .with(t::RANGE_SHIFTER_TYPE, "ANALOG")],
        )
        .items(
            t::LATERAL_SPREADING_DEVICE_SEQUENCE,
            [Item::new()
                .with(t::LATERAL_SPREADING_DEVICE_NUMBER, "1")
                .with(t::LATERAL_SPREADING_DEVICE_ID, "SC2")
                .with(t::LATERAL_SPREADING_DEVICE_TYPE, "SCATTERER")],
        )
        .items(
            t::RANGE_MODULATOR_SEQUENCE,
            [Item::new()
                .with(t::RANGE_MODULATOR_NUMBER, "1")
                .with(t::RANGE_MODULATOR_ID, "MW5")
                .with(t::RANGE_MODULATOR_TYPE, "WHL_MODWEIGHTS")
                .with(t::BEAM_CURRENT_MODULATION_ID, "BCM3")],
        )
        .items(
            t::GENERAL_ACCESSORY_SEQUENCE,
            [Item::new().with(t::GENERAL_ACCESSORY_NUMBER, "1").with(t::GENERAL_ACCESSORY_ID, "GRID")],
        )
        .items(
            t::REFERENCED_BOLUS_SEQUENCE,
            [Item::new().with(t::REFERENCED_ROI_NUMBER, "12").with(t::BOLUS_ID, "5mm")],
        )
}

fn points() -> [Item; 3] {
    let mut first = first_point();
    for absent in [
        t::DOSE_RATE_SET,
        t::TABLE_TOP_ECCENTRIC_ANGLE,
        t::TABLE_TOP_ECCENTRIC_ROTATION_DIRECTION,
        t::SOURCE_TO_SURFACE_DISTANCE,
    ] {
        first.0.remove(&absent);
    }
    let wedge = |position: &str, edge: f32| {
        Item::new()
            .floats(t::WEDGE_THIN_EDGE_POSITION, &[edge])
            .with(t::WEDGE_POSITION, position)
            .with(t::REFERENCED_WEDGE_NUMBER, "1")
    };
    let shifter = |setting: &str, water: f32| {
        Item::new()
            .with(t::RANGE_SHIFTER_SETTING, setting)
            .floats(t::RANGE_SHIFTER_WATER_EQUIVALENT_THICKNESS, &[water])
            .with(t::REFERENCED_RANGE_SHIFTER_NUMBER, "1")
    };
    let first = first
        .with(t::KVP, "120")
        .floats(t::HEAD_FIXATION_ANGLE, &[1.5])
        .with(t::CHAIR_HEAD_FRAME_POSITION, "12.5")
        .floats(t::SNOUT_POSITION, &[421.5])
        .floats(t::METERSET_RATE, &[100.0])
        .items(
            t::BEAM_LIMITING_DEVICE_POSITION_SEQUENCE,
            [position("X", "-50\\50"), position("MLCX", "-1\\-2\\-3\\-4\\1\\2\\3\\4")],
        )
        .items(t::ION_WEDGE_POSITION_SEQUENCE, [wedge("IN", 4.5)])
        .items(t::RANGE_SHIFTER_SETTINGS_SEQUENCE, [shifter("12", 40.5)])
        .items(
            t::LATERAL_SPREADING_DEVICE_SETTINGS_SEQUENCE,
            [Item::new()
                .floats(t::LATERAL_SPREADING_DEVICE_WATER_EQUIVALENT_THICKNESS, &[2.5])
                .with(t::LATERAL_SPREADING_DEVICE_SETTING, "IN")
                .floats(t::ISOCENTER_TO_LATERAL_SPREADING_DEVICE_DISTANCE, &[1800.0])
                .with(t::REFERENCED_LATERAL_SPREADING_DEVICE_NUMBER, "1")],
        )
        .items(
            t::RANGE_MODULATOR_SETTINGS_SEQUENCE,
            [Item::new()
                .floats(t::RANGE_MODULATOR_GATING_START_VALUE, &[0.25])
                .floats(t::RANGE_MODULATOR_GATING_STOP_VALUE, &[0.75])
                .floats(t::RANGE_MODULATOR_GATING_START_WATER_EQUIVALENT_THICKNESS, &[10.0])
                .floats(t::RANGE_MODULATOR_GATING_STOP_WATER_EQUIVALENT_THICKNESS, &[50.0])
                .floats(t::ISOCENTER_TO_RANGE_MODULATOR_DISTANCE, &[1500.0])
                .with(t::REFERENCED_RANGE_MODULATOR_NUMBER, "1")],
        );
    let second = later_point(1, "1")
        .items(t::ION_WEDGE_POSITION_SEQUENCE, [wedge("OUT", 0.0)])
        .items(t::RANGE_SHIFTER_SETTINGS_SEQUENCE, [shifter("14", 47.25)]);
    [first, second, later_point(2, "2")]
}

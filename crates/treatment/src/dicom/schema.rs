//! The closed lists: every standard attribute that may stand in a plan, a fraction group, a beam, a control point or
//! one of their sequences, and what the delivery digest makes of it. Whatever is on no list is an error, so that a
//! new edition of the standard can't add a dose-moving attribute that the digest silently ignores.
//!
//! After DICOM PS3.3 2024e, sections C.8.8.9, C.8.8.11 to C.8.8.14 and C.8.8.24 to C.8.8.27. Every list rises by tag.
#![allow(deprecated)] // plans written before an attribute was retired are still treated

mod ion;

use dicom_core::Tag;
use dicom_dictionary_std::tags as t;

pub use ion::{ION_BEAM, ION_CONTROL_POINT};

use Count::{Any, Exactly, One, Pairs};
use Kind::{Angle, Clock, Code, Energy, Factor, Integer, Length, Meterset, Rate, Text, Voltage, Weight};
use Need::{Every, First, Optional, Treatment};

/// What a value measures, and so its unit, its resolution and its range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Length,
    /// Reduced to [0°, 360°) after rounding.
    Angle,
    Meterset,
    /// A share of the beam's Final Cumulative Meterset Weight.
    Weight,
    Energy,
    Voltage,
    Rate,
    Factor,
    Clock,
    Integer,
    Code,
    Text,
}

impl Kind {
    /// Decimal places of the fixed-point value.
    pub fn places(self) -> u32 {
        match self {
            Length | Angle => 2,
            Meterset | Energy | Voltage | Rate | Clock => 3,
            Factor => 6,
            Weight => 7,
            Integer | Code | Text => 0,
        }
    }

    /// The unit of the whole number before the decimal point. What a meterset is counted in says the beam's Primary
    /// Dosimeter Unit; monitor units are the usual one.
    pub fn unit(self) -> &'static str {
        match self {
            Length => "mm",
            Angle => "°",
            Meterset => "MU",
            Energy => "MeV",
            Voltage => "kV",
            Rate => "MU/min",
            Clock => "s",
            Weight | Factor | Integer | Code | Text => "",
        }
    }

    /// Smallest and largest value, in whole units: generous, so that only nonsense falls outside.
    pub fn range(self) -> (i64, i64) {
        match self {
            // A fixed beam line may put its virtual source a hundred metres away.
            Length => (-100_000, 100_000),
            Angle => (-360, 360),
            // Ion machines count particles (dosimeter unit NP): up to 10^12 a field.
            Meterset | Rate => (0, 1_000_000_000_000_000),
            Weight => (0, 1),
            Energy | Voltage => (0, 100_000),
            Factor => (-1_000_000, 1_000_000),
            Clock => (0, 1_000_000),
            Integer => (i64::MIN, i64::MAX),
            Code | Text => (0, 0),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Count {
    One,
    Exactly(usize),
    Pairs,
    Any,
}

/// When a value must be there and not empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    Optional,
    /// In control point 0; outside of control points and in the items of a sequence, always.
    First,
    /// As `First`, but only in a beam that treats: a setup beam may do without.
    Treatment,
    /// In every control point of a beam that treats.
    Every,
}

/// How the items of a sequence are told apart. Never by their order in the file where the standard numbers them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Key {
    Number(Tag),
    Code(Tag),
    Order,
    /// One item at most.
    Sole,
}

#[derive(Clone, Copy)]
pub enum Part {
    /// In the digest.
    Digested(Kind, Count, Need),
    /// Not in the digest; a difference beyond so many millimetres is reported as out of tolerance. Without a number,
    /// any difference is reported, and none is out of tolerance.
    Toleranced(Kind, Count, Option<i64>),
    /// A sequence whose items are read by the list; the label names an item's rows.
    Items(&'static str, Key, &'static [Rule]),
    /// Read by code of its own: numbers that tie the parts together.
    Tied,
    /// Moves no dose.
    Harmless,
}

#[derive(Clone, Copy)]
pub struct Rule {
    pub tag: Tag,
    pub part: Part,
}

const fn rule(tag: Tag, kind: Kind, count: Count, need: Need) -> Rule {
    Rule { tag, part: Part::Digested(kind, count, need) }
}

const fn toleranced(tag: Tag, kind: Kind, tolerance_mm: Option<i64>) -> Rule {
    Rule { tag, part: Part::Toleranced(kind, One, tolerance_mm) }
}

const fn items(tag: Tag, label: &'static str, key: Key, rules: &'static [Rule]) -> Rule {
    Rule { tag, part: Part::Items(label, key, rules) }
}

const fn tied(tag: Tag) -> Rule {
    Rule { tag, part: Part::Tied }
}

const fn harmless(tag: Tag) -> Rule {
    Rule { tag, part: Part::Harmless }
}

/// Every list, for whoever wants to go through them all; sequences lead to theirs.
pub const ALL: [&[Rule]; 9] = [
    PLAN,
    FRACTION_GROUP,
    REFERENCED_BEAM,
    BEAM,
    CONTROL_POINT,
    ION_BEAM,
    ION_CONTROL_POINT,
    PATIENT_SETUP,
    TOLERANCE_TABLE,
];

/// Table-top positions are set at the first fraction and drift with the patient's set-up. A physicist must confirm
/// the figure for the centre.
pub const TABLE_TOP_TOLERANCE_MM: i64 = 20;

/// The distance to the skin follows breathing and weight. A physicist must confirm the figure for the centre.
pub const SURFACE_TOLERANCE_MM: i64 = 10;

/// The plan itself, as far as radiotherapy goes: groups 3002 to 3010. Its other groups say who, when and where.
pub const PLAN: &[Rule] = &[
    harmless(t::RT_PLAN_LABEL),
    harmless(t::RT_PLAN_NAME),
    harmless(t::RT_PLAN_DESCRIPTION),
    harmless(t::RT_PLAN_DATE),
    harmless(t::RT_PLAN_TIME),
    harmless(t::TREATMENT_PROTOCOLS),
    harmless(t::PLAN_INTENT),
    harmless(t::TREATMENT_SITES),
    rule(t::RT_PLAN_GEOMETRY, Code, One, First),
    harmless(t::PRESCRIPTION_DESCRIPTION),
    harmless(t::DOSE_REFERENCE_SEQUENCE),
    tied(t::TOLERANCE_TABLE_SEQUENCE),
    tied(t::FRACTION_GROUP_SEQUENCE),
    tied(t::BEAM_SEQUENCE),
    tied(t::PATIENT_SETUP_SEQUENCE),
    tied(t::BRACHY_TREATMENT_TECHNIQUE),
    tied(t::SOURCE_SEQUENCE),
    tied(t::APPLICATION_SETUP_SEQUENCE),
    tied(t::ION_TOLERANCE_TABLE_SEQUENCE),
    tied(t::ION_BEAM_SEQUENCE),
    harmless(t::REFERENCED_RT_PLAN_SEQUENCE),
    harmless(t::REFERENCED_STRUCTURE_SET_SEQUENCE),
    harmless(t::REFERENCED_DOSE_SEQUENCE),
    harmless(t::APPROVAL_STATUS),
    harmless(t::REVIEW_DATE),
    harmless(t::REVIEW_TIME),
    harmless(t::REVIEWER_NAME),
    harmless(t::TREATMENT_SITE),
    harmless(t::TREATMENT_SITE_CODE_SEQUENCE),
];

pub const FRACTION_GROUP: &[Rule] = &[
    harmless(t::DEFINITION_SOURCE_SEQUENCE),
    tied(t::FRACTION_GROUP_NUMBER),
    harmless(t::FRACTION_GROUP_DESCRIPTION),
    rule(t::NUMBER_OF_FRACTIONS_PLANNED, Integer, One, First),
    rule(t::NUMBER_OF_FRACTION_PATTERN_DIGITS_PER_DAY, Integer, One, Optional),
    rule(t::REPEAT_FRACTION_CYCLE_LENGTH, Integer, One, Optional),
    rule(t::FRACTION_PATTERN, Text, One, Optional),
    tied(t::NUMBER_OF_BEAMS),
    harmless(t::BEAM_DOSE_MEANING),
    tied(t::NUMBER_OF_BRACHY_APPLICATION_SETUPS),
    tied(t::REFERENCED_BEAM_SEQUENCE),
    tied(t::REFERENCED_BRACHY_APPLICATION_SETUP_SEQUENCE),
    harmless(t::REFERENCED_DOSE_REFERENCE_SEQUENCE),
    harmless(t::REFERENCED_DOSE_SEQUENCE),
];

/// What one fraction group says of one beam. The beam dose is a result of the delivery, not a part of it.
pub const REFERENCED_BEAM: &[Rule] = &[
    harmless(t::BEAM_DOSE_SPECIFICATION_POINT),
    harmless(t::REFERENCED_DOSE_REFERENCE_UID),
    harmless(t::BEAM_DOSE),
    rule(t::BEAM_METERSET, Meterset, One, Treatment),
    harmless(t::BEAM_DOSE_POINT_DEPTH),
    harmless(t::BEAM_DOSE_POINT_EQUIVALENT_DEPTH),
    harmless(t::BEAM_DOSE_POINT_SSD),
    harmless(t::BEAM_DOSE_MEANING),
    harmless(t::BEAM_DOSE_VERIFICATION_CONTROL_POINT_SEQUENCE),
    harmless(t::AVERAGE_BEAM_DOSE_POINT_DEPTH),
    harmless(t::AVERAGE_BEAM_DOSE_POINT_EQUIVALENT_DEPTH),
    harmless(t::AVERAGE_BEAM_DOSE_POINT_SSD),
    harmless(t::BEAM_DOSE_TYPE),
    harmless(t::ALTERNATE_BEAM_DOSE),
    harmless(t::ALTERNATE_BEAM_DOSE_TYPE),
    harmless(t::DEPTH_VALUE_AVERAGING_FLAG),
    harmless(t::BEAM_DOSE_POINT_SOURCE_TO_EXTERNAL_CONTOUR_DISTANCE),
    rule(t::BEAM_DELIVERY_DURATION_LIMIT, Clock, One, Optional),
    harmless(t::RADIATION_DEVICE_CONFIGURATION_AND_COMMISSIONING_KEY_SEQUENCE),
    tied(t::REFERENCED_BEAM_NUMBER),
    harmless(t::REFERENCED_DOSE_REFERENCE_SEQUENCE),
    harmless(t::DOSE_CALIBRATION_CONDITIONS_SEQUENCE),
    harmless(t::DOSE_CALIBRATION_CONDITIONS_VERIFIED_FLAG),
];

pub const BEAM: &[Rule] = &[
    harmless(t::MANUFACTURER),
    harmless(t::INSTITUTION_NAME),
    harmless(t::INSTITUTION_ADDRESS),
    harmless(t::INSTITUTIONAL_DEPARTMENT_NAME),
    harmless(t::INSTITUTIONAL_DEPARTMENT_TYPE_CODE_SEQUENCE),
    harmless(t::MANUFACTURER_MODEL_NAME),
    harmless(t::DEFINITION_SOURCE_SEQUENCE),
    rule(t::DEVICE_SERIAL_NUMBER, Text, One, Optional),
    harmless(t::SOFTWARE_VERSIONS),
    harmless(t::DATE_OF_MANUFACTURE),
    harmless(t::DATE_OF_INSTALLATION),
    items(
        t::PRIMARY_FLUENCE_MODE_SEQUENCE,
        "fluence",
        Key::Sole,
        &[rule(t::FLUENCE_MODE, Code, One, First), rule(t::FLUENCE_MODE_ID, Text, One, Optional)],
    ),
    tied(t::ENHANCED_RT_BEAM_LIMITING_DEVICE_DEFINITION_FLAG),
    harmless(t::TABLE_TOP_POSITION_ALIGNMENT_UID),
    rule(t::TREATMENT_MACHINE_NAME, Text, One, First),
    rule(t::PRIMARY_DOSIMETER_UNIT, Code, One, Treatment),
    rule(t::SOURCE_AXIS_DISTANCE, Length, One, Optional),
    items(t::BEAM_LIMITING_DEVICE_SEQUENCE, "device", Key::Code(t::RT_BEAM_LIMITING_DEVICE_TYPE), DEVICE),
    tied(t::BEAM_NUMBER),
    harmless(t::BEAM_NAME),
    harmless(t::BEAM_DESCRIPTION),
    rule(t::BEAM_TYPE, Code, One, First),
    rule(t::RADIATION_TYPE, Code, One, First),
    rule(t::HIGH_DOSE_TECHNIQUE_TYPE, Code, One, Optional),
    items(t::PLANNED_VERIFICATION_IMAGE_SEQUENCE, "image", Key::Order, VERIFICATION_IMAGE),
    rule(t::TREATMENT_DELIVERY_TYPE, Code, One, Optional),
    tied(t::NUMBER_OF_WEDGES),
    items(t::WEDGE_SEQUENCE, "wedge", Key::Number(t::WEDGE_NUMBER), WEDGE),
    tied(t::NUMBER_OF_COMPENSATORS),
    rule(t::TOTAL_COMPENSATOR_TRAY_FACTOR, Factor, One, Optional),
    items(t::COMPENSATOR_SEQUENCE, "compensator", Key::Number(t::COMPENSATOR_NUMBER), COMPENSATOR),
    tied(t::NUMBER_OF_BOLI),
    tied(t::NUMBER_OF_BLOCKS),
    rule(t::TOTAL_BLOCK_TRAY_FACTOR, Factor, One, Optional),
    items(t::BLOCK_SEQUENCE, "block", Key::Number(t::BLOCK_NUMBER), BLOCK),
    items(t::APPLICATOR_SEQUENCE, "applicator", Key::Sole, APPLICATOR),
    tied(t::FINAL_CUMULATIVE_METERSET_WEIGHT),
    tied(t::NUMBER_OF_CONTROL_POINTS),
    tied(t::CONTROL_POINT_SEQUENCE),
    items(t::GENERAL_ACCESSORY_SEQUENCE, "accessory", Key::Number(t::GENERAL_ACCESSORY_NUMBER), ACCESSORY),
    harmless(t::REFERENCED_REFERENCE_IMAGE_SEQUENCE),
    harmless(t::REFERENCED_DOSE_REFERENCE_SEQUENCE),
    tied(t::REFERENCED_PATIENT_SETUP_NUMBER),
    harmless(t::REFERENCED_DOSE_SEQUENCE),
    tied(t::REFERENCED_TOLERANCE_TABLE_NUMBER),
    items(t::REFERENCED_BOLUS_SEQUENCE, "bolus", Key::Number(t::REFERENCED_ROI_NUMBER), BOLUS),
    harmless(t::ENTITY_LONG_LABEL),
    harmless(t::RT_TREATMENT_TECHNIQUE_CODE_SEQUENCE),
];

const DEVICE: &[Rule] = &[
    tied(t::RT_BEAM_LIMITING_DEVICE_TYPE),
    rule(t::SOURCE_TO_BEAM_LIMITING_DEVICE_DISTANCE, Length, One, Optional),
    rule(t::ISOCENTER_TO_BEAM_LIMITING_DEVICE_DISTANCE, Length, One, Optional),
    rule(t::NUMBER_OF_LEAF_JAW_PAIRS, Integer, One, First),
    rule(t::LEAF_POSITION_BOUNDARIES, Length, Any, Optional),
];

/// A portal image is taken with the treatment beam: its meterset is dose.
const VERIFICATION_IMAGE: &[Rule] = &[
    harmless(t::RT_IMAGE_PLANE),
    harmless(t::X_RAY_IMAGE_RECEPTOR_TRANSLATION),
    harmless(t::X_RAY_IMAGE_RECEPTOR_ANGLE),
    harmless(t::RT_IMAGE_ORIENTATION),
    harmless(t::RT_IMAGE_POSITION),
    harmless(t::RT_IMAGE_SID),
    rule(t::METERSET_EXPOSURE, Meterset, One, Optional),
    harmless(t::IMAGING_DEVICE_SPECIFIC_ACQUISITION_PARAMETERS),
    harmless(t::REFERENCED_REFERENCE_IMAGE_NUMBER),
    rule(t::START_CUMULATIVE_METERSET_WEIGHT, Weight, One, Optional),
    rule(t::END_CUMULATIVE_METERSET_WEIGHT, Weight, One, Optional),
];

const WEDGE: &[Rule] = &[
    tied(t::WEDGE_NUMBER),
    rule(t::WEDGE_TYPE, Code, One, Optional),
    rule(t::WEDGE_ID, Text, One, Optional),
    rule(t::WEDGE_ANGLE, Integer, One, Optional),
    rule(t::WEDGE_FACTOR, Factor, One, Optional),
    rule(t::WEDGE_ORIENTATION, Angle, One, Optional),
    rule(t::ISOCENTER_TO_WEDGE_TRAY_DISTANCE, Length, One, Optional),
    rule(t::SOURCE_TO_WEDGE_TRAY_DISTANCE, Length, One, Optional),
    rule(t::EFFECTIVE_WEDGE_ANGLE, Angle, One, Optional),
    rule(t::ACCESSORY_CODE, Text, One, Optional),
];

const COMPENSATOR: &[Rule] = &[
    rule(t::MATERIAL_ID, Text, One, Optional),
    tied(t::COMPENSATOR_NUMBER),
    rule(t::COMPENSATOR_ID, Text, One, Optional),
    rule(t::SOURCE_TO_COMPENSATOR_TRAY_DISTANCE, Length, One, Optional),
    rule(t::COMPENSATOR_ROWS, Integer, One, Optional),
    rule(t::COMPENSATOR_COLUMNS, Integer, One, Optional),
    rule(t::COMPENSATOR_PIXEL_SPACING, Length, Exactly(2), Optional),
    rule(t::COMPENSATOR_POSITION, Length, Exactly(2), Optional),
    rule(t::COMPENSATOR_TRANSMISSION_DATA, Factor, Any, Optional),
    rule(t::COMPENSATOR_THICKNESS_DATA, Length, Any, Optional),
    rule(t::COMPENSATOR_TYPE, Code, One, Optional),
    rule(t::COMPENSATOR_TRAY_ID, Text, One, Optional),
    rule(t::ACCESSORY_CODE, Text, One, Optional),
    rule(t::COMPENSATOR_DIVERGENCE, Code, One, Optional),
    rule(t::COMPENSATOR_MOUNTING_POSITION, Code, One, Optional),
    rule(t::SOURCE_TO_COMPENSATOR_DISTANCE, Length, Any, Optional),
    rule(t::ISOCENTER_TO_COMPENSATOR_TRAY_DISTANCE, Length, One, Optional),
    rule(t::COMPENSATOR_COLUMN_OFFSET, Length, One, Optional),
    rule(t::ISOCENTER_TO_COMPENSATOR_DISTANCES, Length, Any, Optional),
    rule(t::COMPENSATOR_RELATIVE_STOPPING_POWER_RATIO, Factor, One, Optional),
    rule(t::COMPENSATOR_MILLING_TOOL_DIAMETER, Length, One, Optional),
    harmless(t::COMPENSATOR_DESCRIPTION),
    rule(t::COMPENSATOR_SURFACE_REPRESENTATION_FLAG, Code, One, Optional),
    rule(t::TRAY_ACCESSORY_CODE, Text, One, Optional),
];

const BLOCK: &[Rule] = &[
    rule(t::MATERIAL_ID, Text, One, Optional),
    rule(t::BLOCK_TRAY_ID, Text, One, Optional),
    rule(t::SOURCE_TO_BLOCK_TRAY_DISTANCE, Length, One, Optional),
    rule(t::ISOCENTER_TO_BLOCK_TRAY_DISTANCE, Length, One, Optional),
    rule(t::BLOCK_TYPE, Code, One, First),
    rule(t::ACCESSORY_CODE, Text, One, Optional),
    rule(t::BLOCK_DIVERGENCE, Code, One, Optional),
    rule(t::BLOCK_MOUNTING_POSITION, Code, One, Optional),
    tied(t::BLOCK_NUMBER),
    harmless(t::BLOCK_NAME),
    rule(t::BLOCK_THICKNESS, Length, One, Optional),
    rule(t::BLOCK_TRANSMISSION, Factor, One, Optional),
    rule(t::BLOCK_NUMBER_OF_POINTS, Integer, One, First),
    rule(t::BLOCK_DATA, Length, Pairs, First),
    rule(t::TRAY_ACCESSORY_CODE, Text, One, Optional),
    rule(t::NUMBER_OF_BLOCK_SLAB_ITEMS, Integer, One, Optional),
    items(
        t::BLOCK_SLAB_SEQUENCE,
        "slab",
        Key::Number(t::BLOCK_SLAB_NUMBER),
        &[
            rule(t::ACCESSORY_CODE, Text, One, Optional),
            rule(t::BLOCK_SLAB_THICKNESS, Length, One, Optional),
            tied(t::BLOCK_SLAB_NUMBER),
        ],
    ),
];

const APPLICATOR: &[Rule] = &[
    rule(t::ACCESSORY_CODE, Text, One, Optional),
    rule(t::APPLICATOR_ID, Text, One, First),
    rule(t::APPLICATOR_TYPE, Code, One, First),
    harmless(t::APPLICATOR_DESCRIPTION),
    items(
        t::APPLICATOR_GEOMETRY_SEQUENCE,
        "opening",
        Key::Sole,
        &[
            rule(t::APPLICATOR_APERTURE_SHAPE, Code, One, First),
            rule(t::APPLICATOR_OPENING, Length, One, Optional),
            rule(t::APPLICATOR_OPENING_X, Length, One, Optional),
            rule(t::APPLICATOR_OPENING_Y, Length, One, Optional),
        ],
    ),
    rule(t::SOURCE_TO_APPLICATOR_MOUNTING_POSITION_DISTANCE, Length, One, Optional),
];

const ACCESSORY: &[Rule] = &[
    rule(t::ACCESSORY_CODE, Text, One, Optional),
    rule(t::GENERAL_ACCESSORY_ID, Text, One, First),
    harmless(t::GENERAL_ACCESSORY_DESCRIPTION),
    rule(t::GENERAL_ACCESSORY_TYPE, Code, One, Optional),
    tied(t::GENERAL_ACCESSORY_NUMBER),
    rule(t::SOURCE_TO_GENERAL_ACCESSORY_DISTANCE, Length, One, Optional),
    rule(t::ISOCENTER_TO_GENERAL_ACCESSORY_DISTANCE, Length, One, Optional),
];

const BOLUS: &[Rule] = &[
    tied(t::REFERENCED_ROI_NUMBER),
    rule(t::BOLUS_ID, Text, One, Optional),
    harmless(t::BOLUS_DESCRIPTION),
    rule(t::ACCESSORY_CODE, Text, One, Optional),
];

const DEVICE_POSITION: &[Rule] =
    &[tied(t::RT_BEAM_LIMITING_DEVICE_TYPE), rule(t::LEAF_JAW_POSITIONS, Length, Pairs, First)];

const WEDGE_POSITION: &[Rule] = &[
    rule(t::WEDGE_THIN_EDGE_POSITION, Length, One, Optional),
    rule(t::WEDGE_POSITION, Code, One, First),
    tied(t::REFERENCED_WEDGE_NUMBER),
];

pub const CONTROL_POINT: &[Rule] = &[
    tied(t::CONTROL_POINT_INDEX),
    rule(t::NOMINAL_BEAM_ENERGY, Energy, One, Treatment),
    rule(t::DOSE_RATE_SET, Rate, One, Optional),
    items(t::WEDGE_POSITION_SEQUENCE, "wedge", Key::Number(t::REFERENCED_WEDGE_NUMBER), WEDGE_POSITION),
    items(
        t::BEAM_LIMITING_DEVICE_POSITION_SEQUENCE,
        "device",
        Key::Code(t::RT_BEAM_LIMITING_DEVICE_TYPE),
        DEVICE_POSITION,
    ),
    rule(t::GANTRY_ANGLE, Angle, One, First),
    rule(t::GANTRY_ROTATION_DIRECTION, Code, One, First),
    rule(t::BEAM_LIMITING_DEVICE_ANGLE, Angle, One, First),
    rule(t::BEAM_LIMITING_DEVICE_ROTATION_DIRECTION, Code, One, First),
    rule(t::PATIENT_SUPPORT_ANGLE, Angle, One, First),
    rule(t::PATIENT_SUPPORT_ROTATION_DIRECTION, Code, One, First),
    rule(t::TABLE_TOP_ECCENTRIC_AXIS_DISTANCE, Length, One, Optional),
    rule(t::TABLE_TOP_ECCENTRIC_ANGLE, Angle, One, First),
    rule(t::TABLE_TOP_ECCENTRIC_ROTATION_DIRECTION, Code, One, First),
    toleranced(t::TABLE_TOP_VERTICAL_POSITION, Length, Some(TABLE_TOP_TOLERANCE_MM)),
    toleranced(t::TABLE_TOP_LONGITUDINAL_POSITION, Length, Some(TABLE_TOP_TOLERANCE_MM)),
    toleranced(t::TABLE_TOP_LATERAL_POSITION, Length, Some(TABLE_TOP_TOLERANCE_MM)),
    rule(t::ISOCENTER_POSITION, Length, Exactly(3), First),
    harmless(t::SURFACE_ENTRY_POINT),
    toleranced(t::SOURCE_TO_SURFACE_DISTANCE, Length, Some(SURFACE_TOLERANCE_MM)),
    harmless(t::AVERAGE_BEAM_DOSE_POINT_SOURCE_TO_EXTERNAL_CONTOUR_DISTANCE),
    toleranced(t::SOURCE_TO_EXTERNAL_CONTOUR_DISTANCE, Length, Some(SURFACE_TOLERANCE_MM)),
    harmless(t::EXTERNAL_CONTOUR_ENTRY_POINT),
    rule(t::CUMULATIVE_METERSET_WEIGHT, Weight, One, Every),
    rule(t::TABLE_TOP_PITCH_ANGLE, Angle, One, Optional),
    rule(t::TABLE_TOP_PITCH_ROTATION_DIRECTION, Code, One, Optional),
    rule(t::TABLE_TOP_ROLL_ANGLE, Angle, One, Optional),
    rule(t::TABLE_TOP_ROLL_ROTATION_DIRECTION, Code, One, Optional),
    rule(t::GANTRY_PITCH_ANGLE, Angle, One, Optional),
    rule(t::GANTRY_PITCH_ROTATION_DIRECTION, Code, One, Optional),
    harmless(t::REFERENCED_DOSE_REFERENCE_SEQUENCE),
    harmless(t::REFERENCED_DOSE_SEQUENCE),
];

/// How the patient lies, what holds her, and how far she is moved from her marks.
pub const PATIENT_SETUP: &[Rule] = &[
    rule(t::PATIENT_POSITION, Code, One, Optional),
    tied(t::PATIENT_SETUP_NUMBER),
    harmless(t::PATIENT_SETUP_LABEL),
    rule(t::PATIENT_ADDITIONAL_POSITION, Text, One, Optional),
    items(
        t::FIXATION_DEVICE_SEQUENCE,
        "fixation",
        Key::Order,
        &[
            rule(t::ACCESSORY_CODE, Text, One, Optional),
            rule(t::FIXATION_DEVICE_TYPE, Code, One, Optional),
            rule(t::FIXATION_DEVICE_LABEL, Text, One, Optional),
            harmless(t::FIXATION_DEVICE_DESCRIPTION),
            rule(t::FIXATION_DEVICE_POSITION, Text, One, Optional),
            rule(t::FIXATION_DEVICE_PITCH_ANGLE, Angle, One, Optional),
            rule(t::FIXATION_DEVICE_ROLL_ANGLE, Angle, One, Optional),
        ],
    ),
    items(
        t::SHIELDING_DEVICE_SEQUENCE,
        "shielding",
        Key::Order,
        &[
            rule(t::ACCESSORY_CODE, Text, One, Optional),
            rule(t::SHIELDING_DEVICE_TYPE, Code, One, Optional),
            rule(t::SHIELDING_DEVICE_LABEL, Text, One, Optional),
            harmless(t::SHIELDING_DEVICE_DESCRIPTION),
            rule(t::SHIELDING_DEVICE_POSITION, Text, One, Optional),
        ],
    ),
    rule(t::SETUP_TECHNIQUE, Code, One, Optional),
    harmless(t::SETUP_TECHNIQUE_DESCRIPTION),
    items(
        t::SETUP_DEVICE_SEQUENCE,
        "aid",
        Key::Order,
        &[
            rule(t::ACCESSORY_CODE, Text, One, Optional),
            rule(t::SETUP_DEVICE_TYPE, Code, One, Optional),
            rule(t::SETUP_DEVICE_LABEL, Text, One, Optional),
            harmless(t::SETUP_DEVICE_DESCRIPTION),
            rule(t::SETUP_DEVICE_PARAMETER, Factor, One, Optional),
            harmless(t::SETUP_REFERENCE_DESCRIPTION),
        ],
    ),
    rule(t::TABLE_TOP_VERTICAL_SETUP_DISPLACEMENT, Length, One, Optional),
    rule(t::TABLE_TOP_LONGITUDINAL_SETUP_DISPLACEMENT, Length, One, Optional),
    rule(t::TABLE_TOP_LATERAL_SETUP_DISPLACEMENT, Length, One, Optional),
    harmless(t::REFERENCED_SETUP_IMAGE_SEQUENCE),
    items(
        t::MOTION_SYNCHRONIZATION_SEQUENCE,
        "motion",
        Key::Order,
        &[
            rule(t::RESPIRATORY_MOTION_COMPENSATION_TECHNIQUE, Code, One, Optional),
            rule(t::RESPIRATORY_SIGNAL_SOURCE, Code, One, Optional),
            harmless(t::RESPIRATORY_MOTION_COMPENSATION_TECHNIQUE_DESCRIPTION),
            harmless(t::RESPIRATORY_SIGNAL_SOURCE_ID),
        ],
    ),
    harmless(t::PATIENT_TREATMENT_PREPARATION_SEQUENCE),
];

/// When the machine stops to ask. A system on the way may put its own table in, and the dose stays the same; so a
/// difference is reported, and vetoes nothing.
pub const TOLERANCE_TABLE: &[Rule] = &[
    tied(t::TOLERANCE_TABLE_NUMBER),
    harmless(t::TOLERANCE_TABLE_LABEL),
    toleranced(t::GANTRY_ANGLE_TOLERANCE, Angle, None),
    toleranced(t::BEAM_LIMITING_DEVICE_ANGLE_TOLERANCE, Angle, None),
    items(
        t::BEAM_LIMITING_DEVICE_TOLERANCE_SEQUENCE,
        "device",
        Key::Code(t::RT_BEAM_LIMITING_DEVICE_TYPE),
        &[toleranced(t::BEAM_LIMITING_DEVICE_POSITION_TOLERANCE, Length, None), tied(t::RT_BEAM_LIMITING_DEVICE_TYPE)],
    ),
    toleranced(t::SNOUT_POSITION_TOLERANCE, Length, None),
    toleranced(t::PATIENT_SUPPORT_ANGLE_TOLERANCE, Angle, None),
    toleranced(t::TABLE_TOP_ECCENTRIC_ANGLE_TOLERANCE, Angle, None),
    toleranced(t::TABLE_TOP_PITCH_ANGLE_TOLERANCE, Angle, None),
    toleranced(t::TABLE_TOP_ROLL_ANGLE_TOLERANCE, Angle, None),
    toleranced(t::TABLE_TOP_VERTICAL_POSITION_TOLERANCE, Length, None),
    toleranced(t::TABLE_TOP_LONGITUDINAL_POSITION_TOLERANCE, Length, None),
    toleranced(t::TABLE_TOP_LATERAL_POSITION_TOLERANCE, Length, None),
    toleranced(t::GANTRY_PITCH_ANGLE_TOLERANCE, Angle, None),
    toleranced(t::HEAD_FIXATION_ANGLE_TOLERANCE, Angle, None),
    toleranced(t::CHAIR_HEAD_FRAME_POSITION_TOLERANCE, Length, None),
    toleranced(t::FIXATION_LIGHT_AZIMUTHAL_ANGLE_TOLERANCE, Angle, None),
    toleranced(t::FIXATION_LIGHT_POLAR_ANGLE_TOLERANCE, Angle, None),
];

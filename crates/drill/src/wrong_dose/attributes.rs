//! What of a plan moves dose, by hand from DICOM PS3.3 edition 2024e, sections C.8.8.12 (Patient Setup), C.8.8.13 (Fraction Scheme),
//! C.8.8.14 (Beams) and C.8.8.25 (Ion Beams): kept here beside the room's own lists, so that an attribute that slips from theirs is
//! caught, and one that is on neither is named.

use crate::tamper::walk::Tag;

/// Where an attribute stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Module {
    Setup,
    Fractions,
    Beams,
    IonBeams,
}

impl Module {
    /// The sequences of a plan that are walked, whole.
    pub(super) const ALL: [(Self, Tag); 4] = [
        (Self::Setup, 0x300A_0180),
        (Self::Fractions, 0x300A_0070),
        (Self::Beams, 0x300A_00B0),
        (Self::IonBeams, 0x300A_03A2),
    ];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Setup => "RT Patient Setup",
            Self::Fractions => "RT Fraction Scheme",
            Self::Beams => "RT Beams",
            Self::IonBeams => "RT Ion Beams",
        }
    }
}

/// The least change that counts.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Step {
    /// DS: so much more.
    More(f64),
    /// FL: so much more.
    Floats(f32),
    /// DS, a millionth of the beam's Final Cumulative Meterset Weight.
    Weight,
    /// FL, the same.
    Weights,
    /// FD: so much more.
    Double(f64),
    /// IS: one more.
    One,
    /// US or SS: one more.
    Short,
    /// A letter more, or another one.
    Letter,
    /// CW to CC, and so on.
    Otherwise(&'static [(&'static str, &'static str)]),
}

/// An attribute that moves dose. `named`: one that a finding may name instead, since the two contradict each other.
pub(super) struct Moves {
    pub(super) tag: Tag,
    pub(super) class: &'static str,
    pub(super) step: Step,
    pub(super) named: &'static [Tag],
}

const fn moves(class: &'static str, tag: Tag, step: Step) -> Moves {
    Moves { tag, class, step, named: &[] }
}

const fn tied(class: &'static str, tag: Tag, step: Step, named: &'static [Tag]) -> Moves {
    Moves { tag, class, step, named }
}

/// A hundredth of a millimetre or degree, a thousandth of a monitor unit, mega-electronvolt or second, a millionth of a factor.
const MM: Step = Step::More(0.01);
const DEGREE: Step = Step::More(0.01);
const THOUSANDTH: Step = Step::More(0.001);
const FACTOR: Step = Step::More(1e-6);
const MM_FLOAT: Step = Step::Floats(0.01);
/// Beyond what a table top, and a distance to the skin, may differ from day to day.
const TABLE_TOP: Step = Step::More(25.0);
const SKIN: Step = Step::More(15.0);
const TURN: Step = Step::Otherwise(&[("CW", "CC"), ("CC", "CW"), ("NONE", "CW")]);
const WEDGE: Step = Step::Otherwise(&[("IN", "OUT"), ("OUT", "IN")]);

const METERSET: &str = "meterset";
const COUNTS: &str = "numbers and counts";
const BEAM: &str = "machine, radiation, energy";
const ANGLES: &str = "angles";
const COLLIMATION: &str = "jaws and leaves";
const PLACE: &str = "isocentre and table";
const DEVICES: &str = "wedges, blocks, compensators";
const ACCESSORIES: &str = "applicators, bolus, accessories";
const RANGE: &str = "range and spreading";
const SPOTS: &str = "spots";
const SETUP: &str = "position and fixation";

#[rustfmt::skip]
pub(super) const MOVES: &[Moves] = &[
    // Patient Setup.
    moves(SETUP, 0x0018_5100, Step::Letter), // Patient Position
    moves(SETUP, 0x300A_0184, Step::Letter), // Patient Additional Position
    moves(SETUP, 0x300A_0192, Step::Letter), // Fixation Device Type
    moves(SETUP, 0x300A_0194, Step::Letter), // Fixation Device Label
    moves(SETUP, 0x300A_0198, Step::Letter), // Fixation Device Position
    moves(SETUP, 0x300A_0199, MM_FLOAT), // Fixation Device Pitch Angle
    moves(SETUP, 0x300A_019A, MM_FLOAT), // Fixation Device Roll Angle
    moves(SETUP, 0x300A_01A2, Step::Letter), // Shielding Device Type
    moves(SETUP, 0x300A_01A4, Step::Letter), // Shielding Device Label
    moves(SETUP, 0x300A_01A8, Step::Letter), // Shielding Device Position
    moves(SETUP, 0x300A_01B0, Step::Letter), // Setup Technique
    moves(SETUP, 0x300A_01B6, Step::Letter), // Setup Device Type
    moves(SETUP, 0x300A_01B8, Step::Letter), // Setup Device Label
    moves(SETUP, 0x300A_01BC, FACTOR), // Setup Device Parameter
    moves(SETUP, 0x0018_9170, Step::Letter), // Respiratory Motion Compensation Technique
    moves(SETUP, 0x0018_9171, Step::Letter), // Respiratory Signal Source
    moves(SETUP, 0x300A_01D2, MM), // Table Top Vertical Setup Displacement
    moves(SETUP, 0x300A_01D4, MM), // Table Top Longitudinal Setup Displacement
    moves(SETUP, 0x300A_01D6, MM), // Table Top Lateral Setup Displacement
    tied(COUNTS, 0x300A_0182, Step::One, &[0x300C_006A]), // Patient Setup Number
    // Fraction Scheme.
    tied(COUNTS, 0x300A_0071, Step::One, &[0x300A_0078, 0x300A_0086]), // Fraction Group Number
    moves(COUNTS, 0x300A_0078, Step::One), // Number of Fractions Planned
    moves(COUNTS, 0x300A_0079, Step::One), // Number of Fraction Pattern Digits Per Day
    moves(COUNTS, 0x300A_007A, Step::One), // Repeat Fraction Cycle Length
    moves(COUNTS, 0x300A_007B, Step::Letter), // Fraction Pattern
    moves(COUNTS, 0x300A_0080, Step::One), // Number of Beams
    moves(COUNTS, 0x300A_00A0, Step::One), // Number of Brachy Application Setups
    moves(METERSET, 0x300A_0086, THOUSANDTH), // Beam Meterset
    moves(METERSET, 0x300A_00C5, Step::Double(0.001)), // Beam Delivery Duration Limit
    tied(COUNTS, 0x300C_0006, Step::One, &[0x300A_00C0, 0x300A_0086]), // Referenced Beam Number
    // Beams, and what Ion Beams have in common with them.
    moves(BEAM, 0x0018_1000, Step::Letter), // Device Serial Number
    moves(BEAM, 0x3002_0051, Step::Letter), // Fluence Mode
    moves(BEAM, 0x3002_0052, Step::Letter), // Fluence Mode ID
    moves(METERSET, 0x3002_0032, THOUSANDTH), // Meterset Exposure
    moves(METERSET, 0x300C_0008, Step::Weight), // Start Cumulative Meterset Weight
    moves(METERSET, 0x300C_0009, Step::Weight), // End Cumulative Meterset Weight
    moves(BEAM, 0x300A_00B2, Step::Letter), // Treatment Machine Name
    moves(BEAM, 0x300A_00B3, Step::Letter), // Primary Dosimeter Unit
    moves(BEAM, 0x300A_00B4, MM), // Source-Axis Distance
    tied(COLLIMATION, 0x300A_00B8, Step::Letter, &[0x300A_00BC, 0x300A_011A, 0x300A_011C]), // RT Beam Limiting Device Type
    moves(COLLIMATION, 0x300A_00BA, MM), // Source to Beam Limiting Device Distance
    moves(COLLIMATION, 0x300A_00BB, MM_FLOAT), // Isocenter to Beam Limiting Device Distance
    tied(COLLIMATION, 0x300A_00BC, Step::One, &[0x300A_00BE, 0x300A_011C]), // Number of Leaf/Jaw Pairs
    moves(COLLIMATION, 0x300A_00BE, MM), // Leaf Position Boundaries
    tied(COUNTS, 0x300A_00C0, Step::One, &[0x300C_0006]), // Beam Number
    moves(BEAM, 0x300A_00C4, Step::Letter), // Beam Type
    moves(BEAM, 0x300A_00C6, Step::Letter), // Radiation Type
    moves(BEAM, 0x300A_00C7, Step::Letter), // High-Dose Technique Type
    moves(BEAM, 0x300A_00CE, Step::Letter), // Treatment Delivery Type
    moves(COUNTS, 0x300A_00D0, Step::One), // Number of Wedges
    tied(COUNTS, 0x300A_00D2, Step::One, &[0x300C_00C0, 0x300A_0116, 0x300A_03AC]), // Wedge Number
    moves(DEVICES, 0x300A_00D3, Step::Letter), // Wedge Type
    moves(DEVICES, 0x300A_00D4, Step::Letter), // Wedge ID
    moves(DEVICES, 0x300A_00D5, Step::One), // Wedge Angle
    moves(DEVICES, 0x300A_00D6, FACTOR), // Wedge Factor
    moves(DEVICES, 0x300A_00D7, MM_FLOAT), // Total Wedge Tray Water-Equivalent Thickness
    moves(DEVICES, 0x300A_00D8, DEGREE), // Wedge Orientation
    moves(DEVICES, 0x300A_00D9, MM_FLOAT), // Isocenter to Wedge Tray Distance
    moves(DEVICES, 0x300A_00DA, MM), // Source to Wedge Tray Distance
    moves(DEVICES, 0x300A_00DB, MM_FLOAT), // Wedge Thin Edge Position
    moves(DEVICES, 0x300A_00DE, DEGREE), // Effective Wedge Angle
    moves(COUNTS, 0x300A_00E0, Step::One), // Number of Compensators
    moves(DEVICES, 0x300A_00E1, Step::Letter), // Material ID
    moves(DEVICES, 0x300A_00E2, FACTOR), // Total Compensator Tray Factor
    tied(COUNTS, 0x300A_00E4, Step::One, &[0x300A_00E7, 0x300A_00E8, 0x300A_00E5]), // Compensator Number
    moves(DEVICES, 0x300A_00E5, Step::Letter), // Compensator ID
    moves(DEVICES, 0x300A_00E6, MM), // Source to Compensator Tray Distance
    moves(DEVICES, 0x300A_00E7, Step::One), // Compensator Rows
    moves(DEVICES, 0x300A_00E8, Step::One), // Compensator Columns
    moves(DEVICES, 0x300A_00E9, MM), // Compensator Pixel Spacing
    moves(DEVICES, 0x300A_00EA, MM), // Compensator Position
    moves(DEVICES, 0x300A_00EB, FACTOR), // Compensator Transmission Data
    moves(DEVICES, 0x300A_00EC, MM), // Compensator Thickness Data
    moves(COUNTS, 0x300A_00ED, Step::One), // Number of Boli
    moves(DEVICES, 0x300A_00EE, Step::Letter), // Compensator Type
    moves(DEVICES, 0x300A_00EF, Step::Letter), // Compensator Tray ID
    moves(COUNTS, 0x300A_00F0, Step::One), // Number of Blocks
    moves(DEVICES, 0x300A_00F2, FACTOR), // Total Block Tray Factor
    moves(DEVICES, 0x300A_00F3, MM_FLOAT), // Total Block Tray Water-Equivalent Thickness
    moves(DEVICES, 0x300A_00F5, Step::Letter), // Block Tray ID
    moves(DEVICES, 0x300A_00F6, MM), // Source to Block Tray Distance
    moves(DEVICES, 0x300A_00F7, MM_FLOAT), // Isocenter to Block Tray Distance
    moves(DEVICES, 0x300A_00F8, Step::Letter), // Block Type
    moves(ACCESSORIES, 0x300A_00F9, Step::Letter), // Accessory Code
    moves(DEVICES, 0x300A_00FA, Step::Letter), // Block Divergence
    moves(DEVICES, 0x300A_00FB, Step::Letter), // Block Mounting Position
    tied(COUNTS, 0x300A_00FC, Step::One, &[0x300A_0104, 0x300A_0106, 0x300A_00F8]), // Block Number
    moves(DEVICES, 0x300A_0100, MM), // Block Thickness
    moves(DEVICES, 0x300A_0102, FACTOR), // Block Transmission
    tied(DEVICES, 0x300A_0104, Step::One, &[0x300A_0106]), // Block Number of Points
    moves(DEVICES, 0x300A_0106, MM), // Block Data
    moves(ACCESSORIES, 0x300A_0108, Step::Letter), // Applicator ID
    moves(ACCESSORIES, 0x300A_0109, Step::Letter), // Applicator Type
    tied(METERSET, 0x300A_010E, Step::Weight, &[0x300A_0134]), // Final Cumulative Meterset Weight
    moves(COUNTS, 0x300A_0110, Step::One), // Number of Control Points
    moves(COUNTS, 0x300A_0112, Step::One), // Control Point Index
    moves(BEAM, 0x300A_0114, THOUSANDTH), // Nominal Beam Energy
    moves(BEAM, 0x300A_0115, THOUSANDTH), // Dose Rate Set
    moves(DEVICES, 0x300A_0118, WEDGE), // Wedge Position
    moves(COLLIMATION, 0x300A_011C, MM), // Leaf/Jaw Positions
    moves(ANGLES, 0x300A_011E, DEGREE), // Gantry Angle
    tied(ANGLES, 0x300A_011F, TURN, &[0x300A_011E]), // Gantry Rotation Direction
    moves(ANGLES, 0x300A_0120, DEGREE), // Beam Limiting Device Angle
    moves(ANGLES, 0x300A_0121, TURN), // Beam Limiting Device Rotation Direction
    moves(ANGLES, 0x300A_0122, DEGREE), // Patient Support Angle
    moves(ANGLES, 0x300A_0123, TURN), // Patient Support Rotation Direction
    moves(PLACE, 0x300A_0124, MM), // Table Top Eccentric Axis Distance
    moves(ANGLES, 0x300A_0125, DEGREE), // Table Top Eccentric Angle
    moves(ANGLES, 0x300A_0126, TURN), // Table Top Eccentric Rotation Direction
    moves(PLACE, 0x300A_0128, TABLE_TOP), // Table Top Vertical Position
    moves(PLACE, 0x300A_0129, TABLE_TOP), // Table Top Longitudinal Position
    moves(PLACE, 0x300A_012A, TABLE_TOP), // Table Top Lateral Position
    moves(PLACE, 0x300A_012C, MM), // Isocenter Position
    moves(PLACE, 0x300A_0130, SKIN), // Source to Surface Distance
    moves(PLACE, 0x300A_0132, Step::Floats(15.0)), // Source to External Contour Distance
    moves(METERSET, 0x300A_0134, Step::Weight), // Cumulative Meterset Weight
    moves(ANGLES, 0x300A_0140, MM_FLOAT), // Table Top Pitch Angle
    moves(ANGLES, 0x300A_0142, TURN), // Table Top Pitch Rotation Direction
    moves(ANGLES, 0x300A_0144, MM_FLOAT), // Table Top Roll Angle
    moves(ANGLES, 0x300A_0146, TURN), // Table Top Roll Rotation Direction
    moves(ANGLES, 0x300A_0148, MM_FLOAT), // Head Fixation Angle
    moves(ANGLES, 0x300A_014A, MM_FLOAT), // Gantry Pitch Angle
    moves(ANGLES, 0x300A_014C, TURN), // Gantry Pitch Rotation Direction
    moves(DEVICES, 0x300A_02E1, Step::Letter), // Compensator Mounting Position
    moves(DEVICES, 0x300A_02E2, MM), // Source to Compensator Distance
    moves(DEVICES, 0x300A_02E3, MM_FLOAT), // Total Compensator Tray Water-Equivalent Thickness
    moves(DEVICES, 0x300A_02E4, MM_FLOAT), // Isocenter to Compensator Tray Distance
    moves(DEVICES, 0x300A_02E5, MM_FLOAT), // Compensator Column Offset
    moves(DEVICES, 0x300A_02E6, MM_FLOAT), // Isocenter to Compensator Distances
    moves(DEVICES, 0x300A_02E7, Step::Floats(0.001)), // Compensator Relative Stopping Power Ratio
    moves(DEVICES, 0x300A_02E8, MM_FLOAT), // Compensator Milling Tool Diameter
    moves(DEVICES, 0x300A_02EC, Step::Letter), // Compensator Surface Representation Flag
    moves(DEVICES, 0x300A_02E0, Step::Letter), // Compensator Divergence
    moves(ACCESSORIES, 0x300A_0421, Step::Letter), // General Accessory ID
    moves(ACCESSORIES, 0x300A_0423, Step::Letter), // General Accessory Type
    moves(ACCESSORIES, 0x300A_0424, Step::One), // General Accessory Number
    moves(ACCESSORIES, 0x300A_0425, MM_FLOAT), // Source to General Accessory Distance
    moves(ACCESSORIES, 0x300A_0426, MM), // Isocenter to General Accessory Distance
    moves(DEVICES, 0x300A_0440, Step::One), // Number of Block Slab Items
    moves(DEVICES, 0x300A_0442, MM), // Block Slab Thickness
    tied(COUNTS, 0x300A_0443, Step::Short, &[0x300A_0442, 0x300A_00F9]), // Block Slab Number
    moves(ACCESSORIES, 0x300A_00DC, Step::Letter), // Bolus ID
    moves(ACCESSORIES, 0x300A_0432, Step::Letter), // Applicator Aperture Shape
    moves(ACCESSORIES, 0x300A_0433, MM_FLOAT), // Applicator Opening
    moves(ACCESSORIES, 0x300A_0434, MM_FLOAT), // Applicator Opening X
    moves(ACCESSORIES, 0x300A_0435, MM_FLOAT), // Applicator Opening Y
    moves(ACCESSORIES, 0x300A_0436, MM_FLOAT), // Source to Applicator Mounting Position Distance
    moves(DEVICES, 0x300A_0355, Step::Letter), // Tray Accessory Code
    tied(SETUP, 0x300C_006A, Step::One, &[0x300A_0182]), // Referenced Patient Setup Number
    tied(ACCESSORIES, 0x3006_0084, Step::One, &[0x300A_00DC, 0x300A_00F9]), // Referenced ROI Number
    tied(COUNTS, 0x300C_00C0, Step::One, &[0x300A_0116, 0x300A_03AC, 0x300A_0118]), // Referenced Wedge Number
    // Ion Beams alone.
    moves(BEAM, 0x0018_0060, THOUSANDTH), // KVP
    moves(BEAM, 0x300A_0302, Step::One), // Radiation Mass Number
    moves(BEAM, 0x300A_0304, Step::One), // Radiation Atomic Number
    moves(BEAM, 0x300A_0306, Step::Short), // Radiation Charge State
    moves(SETUP, 0x300A_0150, Step::Letter), // Fixation Eye
    moves(SETUP, 0x300A_0151, MM), // Chair Head Frame Position
    moves(SETUP, 0x300A_0356, MM_FLOAT), // Fixation Light Azimuthal Angle
    moves(SETUP, 0x300A_0358, MM_FLOAT), // Fixation Light Polar Angle
    moves(SPOTS, 0x300A_0308, Step::Letter), // Scan Mode
    moves(SPOTS, 0x300A_0309, Step::Letter), // Modulated Scan Mode Type
    moves(BEAM, 0x300A_030A, MM_FLOAT), // Virtual Source-Axis Distances
    moves(COLLIMATION, 0x300A_030D, MM_FLOAT), // Snout Position
    moves(COLLIMATION, 0x300A_030F, Step::Letter), // Snout ID
    moves(COUNTS, 0x300A_0312, Step::One), // Number of Range Shifters
    tied(COUNTS, 0x300A_0316, Step::One, &[0x300C_0100, 0x300A_0360]), // Range Shifter Number
    moves(RANGE, 0x300A_0318, Step::Letter), // Range Shifter ID
    moves(RANGE, 0x300A_0320, Step::Letter), // Range Shifter Type
    moves(COUNTS, 0x300A_0330, Step::One), // Number of Lateral Spreading Devices
    tied(COUNTS, 0x300A_0334, Step::One, &[0x300C_0102, 0x300A_0370]), // Lateral Spreading Device Number
    moves(RANGE, 0x300A_0336, Step::Letter), // Lateral Spreading Device ID
    moves(RANGE, 0x300A_0338, Step::Letter), // Lateral Spreading Device Type
    moves(COUNTS, 0x300A_0340, Step::One), // Number of Range Modulators
    tied(COUNTS, 0x300A_0344, Step::One, &[0x300C_0104, 0x300A_0380]), // Range Modulator Number
    moves(RANGE, 0x300A_0346, Step::Letter), // Range Modulator ID
    moves(RANGE, 0x300A_0348, Step::Letter), // Range Modulator Type
    moves(RANGE, 0x300A_034C, Step::Letter), // Beam Current Modulation ID
    moves(PLACE, 0x300A_0350, Step::Letter), // Patient Support Type
    moves(PLACE, 0x300A_0352, Step::Letter), // Patient Support ID
    moves(PLACE, 0x300A_0354, Step::Letter), // Patient Support Accessory Code
    moves(RANGE, 0x300A_0362, Step::Letter), // Range Shifter Setting
    moves(RANGE, 0x300A_0364, MM_FLOAT), // Isocenter to Range Shifter Distance
    moves(RANGE, 0x300A_0366, MM_FLOAT), // Range Shifter Water Equivalent Thickness
    moves(RANGE, 0x300A_0372, Step::Letter), // Lateral Spreading Device Setting
    moves(RANGE, 0x300A_0374, MM_FLOAT), // Isocenter to Lateral Spreading Device Distance
    moves(RANGE, 0x300A_033C, MM_FLOAT), // Lateral Spreading Device Water Equivalent Thickness
    moves(RANGE, 0x300A_0382, Step::Floats(0.001)), // Range Modulator Gating Start Value
    moves(RANGE, 0x300A_0384, Step::Floats(0.001)), // Range Modulator Gating Stop Value
    moves(RANGE, 0x300A_0386, MM_FLOAT), // Range Modulator Gating Start Water Equivalent Thickness
    moves(RANGE, 0x300A_0388, MM_FLOAT), // Range Modulator Gating Stop Water Equivalent Thickness
    moves(RANGE, 0x300A_038A, MM_FLOAT), // Isocenter to Range Modulator Distance
    moves(METERSET, 0x300A_035A, Step::Floats(0.01)), // Meterset Rate
    moves(SPOTS, 0x300A_0390, Step::Letter), // Scan Spot Tune ID
    tied(SPOTS, 0x300A_0392, Step::One, &[0x300A_0394, 0x300A_0396]), // Number of Scan Spot Positions
    moves(SPOTS, 0x300A_0394, MM_FLOAT), // Scan Spot Position Map
    moves(SPOTS, 0x300A_0395, Step::Letter), // Scan Spot Reordering Allowed
    moves(SPOTS, 0x300A_0396, Step::Weights), // Scan Spot Meterset Weights
    moves(SPOTS, 0x300A_0398, MM_FLOAT), // Scanning Spot Size
    moves(SPOTS, 0x300A_039A, Step::One), // Number of Paintings
    tied(COUNTS, 0x300C_0100, Step::One, &[0x300A_0360, 0x300A_0314]), // Referenced Range Shifter Number
    tied(COUNTS, 0x300C_0102, Step::One, &[0x300A_0370, 0x300A_0332]), // Referenced Lateral Spreading Device Number
    tied(COUNTS, 0x300C_0104, Step::One, &[0x300A_0380, 0x300A_0342]), // Referenced Range Modulator Number
];

/// What moves none: names, descriptions, and what was reckoned from the delivery. The tolerance table that a beam refers to is one of
/// the machine's, and says when it stops to ask. A binary one has no text to change, and isn't changed.
#[rustfmt::skip]
pub(super) const STILL: &[Tag] = &[
    0x0008_0070, 0x0008_0080, 0x0008_0081, 0x0008_1040, 0x0008_1090, 0x0018_1020, // who made it, where
    0x0008_1150, 0x0008_1155, // references to other objects
    0x3002_000A, 0x3002_000C, 0x3002_000D, 0x3002_000E, 0x3002_0010, 0x3002_0012, 0x3002_0022, 0x3002_0026, // of portal images
    0x300A_0072, // Fraction Group Description
    0x300A_0082, 0x300A_0083, 0x300A_0084, 0x300A_0088, 0x300A_0089, 0x300A_008A, 0x300A_008B, 0x300A_008C, 0x300A_008D,
    0x300A_008E, 0x300A_008F, 0x300A_0090, 0x300A_0091, 0x300A_0092, 0x300A_0093, 0x300A_0094, // Beam Dose, its point
    0x300A_00C2, 0x300A_00C3, // Beam Name, Description
    0x300A_00C8, // Reference Image Number
    0x300A_00DD, // Bolus Description
    0x300A_00FE, // Block Name
    0x300A_010A, // Applicator Description
    0x300A_010C, 0x300C_0051, // Cumulative Dose Reference Coefficient, Referenced Dose Reference Number
    0x300A_012E, 0x300A_0131, 0x300A_0133, // Surface Entry Point
    0x300A_0183, // Patient Setup Label
    0x300A_0196, 0x300A_01A6, 0x300A_01B2, 0x300A_01BA, 0x300A_01D0, // descriptions of setup devices
    0x300A_02EB, // Compensator Description
    0x300A_0422, // General Accessory Description
    0x300C_00A0, // Referenced Tolerance Table Number
    0x3010_0038, // Entity Long Label
    0x300C_0007, // Referenced Reference Image Number
    0x0008_0100, 0x0008_0102, 0x0008_0104, // codes of what is described
];

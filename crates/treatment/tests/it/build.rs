//! A DICOM writer and the plans that the tests start from. It shares no code with the reader.

use std::collections::BTreeMap;

use dicom_core::dictionary::{DataDictionary, DataDictionaryEntry};
use dicom_core::{Tag, VR};
use dicom_dictionary_std::{StandardDataDictionary, tags as t, uids};

#[derive(Clone, Debug, PartialEq)]
pub enum V {
    Text(VR, String),
    Floats(Vec<f32>),
    Double(f64),
    Short(i16),
    Unsigned(u16),
    Sequence(Vec<Item>),
}

/// The sequences and positions that lead to an item.
pub type Path = Vec<(Tag, usize)>;

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Item(pub BTreeMap<Tag, V>);

impl Item {
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets a text; its value representation is the dictionary's.
    pub fn with(mut self, tag: Tag, text: impl Into<String>) -> Self {
        self.set(tag, text);
        self
    }

    pub fn set(&mut self, tag: Tag, text: impl Into<String>) {
        self.0.insert(tag, V::Text(vr_of(tag), text.into()));
    }

    pub fn double(&mut self, tag: Tag, value: f64) {
        self.0.insert(tag, V::Double(value));
    }

    pub fn floats(mut self, tag: Tag, values: &[f32]) -> Self {
        self.0.insert(tag, V::Floats(values.to_vec()));
        self
    }

    pub fn items(mut self, tag: Tag, items: impl IntoIterator<Item = Item>) -> Self {
        self.0.insert(tag, V::Sequence(items.into_iter().collect()));
        self
    }

    pub fn text(&self, tag: Tag) -> &str {
        match &self.0[&tag] {
            V::Text(_, text) => text,
            other => panic!("{other:?}"),
        }
    }

    /// The item at a path of sequences and positions.
    pub fn at(&mut self, path: &[(Tag, usize)]) -> &mut Item {
        path.iter().fold(self, |item, (tag, index)| match item.0.get_mut(tag) {
            Some(V::Sequence(items)) => &mut items[*index],
            other => panic!("{tag}: {other:?}"),
        })
    }

    pub fn sequence(&mut self, tag: Tag) -> &mut Vec<Item> {
        match self.0.get_mut(&tag) {
            Some(V::Sequence(items)) => items,
            other => panic!("{tag}: {other:?}"),
        }
    }

    /// Every value, with the path of its item.
    pub fn walk(&self, path: &mut Path, see: &mut impl FnMut(&Path, Tag, &V)) {
        for (tag, value) in &self.0 {
            see(path, *tag, value);
            if let V::Sequence(items) = value {
                for (index, item) in items.iter().enumerate() {
                    path.push((*tag, index));
                    item.walk(path, see);
                    path.pop();
                }
            }
        }
    }
}

pub fn vr_of(tag: Tag) -> VR {
    StandardDataDictionary.by_tag(tag).map_or(VR::LO, |entry| entry.vr().relaxed())
}

/// How the bytes are laid out; the content is the same.
#[derive(Clone, Copy, Debug)]
pub struct Layout {
    pub explicit: bool,
    pub undefined_lengths: bool,
}

pub const IMPLICIT: Layout = Layout { explicit: false, undefined_lengths: false };
pub const EXPLICIT: Layout = Layout { explicit: true, undefined_lengths: true };

pub fn data_set(item: &Item, layout: Layout) -> Vec<u8> {
    let mut out = Vec::new();
    for (tag, value) in &item.0 {
        element(*tag, value, layout, &mut out);
    }
    out
}

fn put_tag(tag: Tag, out: &mut Vec<u8>) {
    out.extend(tag.0.to_le_bytes());
    out.extend(tag.1.to_le_bytes());
}

fn element(tag: Tag, value: &V, layout: Layout, out: &mut Vec<u8>) {
    let (vr, bytes) = match value {
        V::Text(vr, text) => {
            let mut bytes = text.clone().into_bytes();
            if bytes.len() % 2 == 1 {
                bytes.push(if *vr == VR::UI { 0 } else { b' ' });
            }
            (*vr, bytes)
        }
        V::Floats(values) => (VR::FL, values.iter().flat_map(|v| v.to_le_bytes()).collect()),
        V::Double(value) => (VR::FD, value.to_le_bytes().to_vec()),
        V::Short(value) => (VR::SS, value.to_le_bytes().to_vec()),
        V::Unsigned(value) => (VR::US, value.to_le_bytes().to_vec()),
        V::Sequence(items) => (VR::SQ, sequence(items, layout)),
    };
    put_tag(tag, out);
    let undefined = vr == VR::SQ && layout.undefined_lengths;
    let length = if undefined { u32::MAX } else { u32::try_from(bytes.len()).unwrap() };
    if !layout.explicit {
        out.extend(length.to_le_bytes());
    } else {
        out.extend(vr.to_string().as_bytes());
        if matches!(vr, VR::SQ | VR::UN | VR::OB | VR::UT | VR::UC | VR::UR) {
            out.extend([0, 0]);
            out.extend(length.to_le_bytes());
        } else {
            out.extend(u16::try_from(length).unwrap().to_le_bytes());
        }
    }
    out.extend(bytes);
    if undefined {
        put_tag(Tag(0xFFFE, 0xE0DD), out);
        out.extend([0; 4]);
    }
}

fn sequence(items: &[Item], layout: Layout) -> Vec<u8> {
    let mut out = Vec::new();
    for item in items {
        let body = data_set(item, layout);
        put_tag(Tag(0xFFFE, 0xE000), &mut out);
        let length = if layout.undefined_lengths { u32::MAX } else { u32::try_from(body.len()).unwrap() };
        out.extend(length.to_le_bytes());
        out.extend(body);
        if layout.undefined_lengths {
            put_tag(Tag(0xFFFE, 0xE00D), &mut out);
            out.extend([0; 4]);
        }
    }
    out
}

/// A Part 10 file.
pub fn file(item: &Item, layout: Layout) -> Vec<u8> {
    let syntax = if layout.explicit { uids::EXPLICIT_VR_LITTLE_ENDIAN } else { uids::IMPLICIT_VR_LITTLE_ENDIAN };
    let meta = Item::new()
        .with(t::MEDIA_STORAGE_SOP_CLASS_UID, item.text(t::SOP_CLASS_UID))
        .with(t::MEDIA_STORAGE_SOP_INSTANCE_UID, item.text(t::SOP_INSTANCE_UID))
        .with(t::TRANSFER_SYNTAX_UID, syntax)
        .with(t::IMPLEMENTATION_CLASS_UID, "2.25.1");
    let meta = data_set(&meta, Layout { explicit: true, undefined_lengths: false });
    let mut out = vec![0; 128];
    out.extend(b"DICM\x02\x00\x00\x00UL\x04\x00");
    out.extend(u32::try_from(meta.len()).unwrap().to_le_bytes());
    out.extend(meta);
    out.extend(data_set(item, layout));
    out
}

pub fn object(class: &str, modality: &str) -> Item {
    Item::new()
        .with(t::SPECIFIC_CHARACTER_SET, "ISO_IR 192")
        .with(t::SOP_CLASS_UID, class)
        .with(t::SOP_INSTANCE_UID, "1.2.3.4")
        .with(t::STUDY_DATE, "20240401")
        .with(t::MODALITY, modality)
        .with(t::PATIENT_NAME, "അമ്മിണി^പരീക്ഷ")
        .with(t::PATIENT_ID, "MRN-7")
        .with(t::PATIENT_BIRTH_DATE, "19610203")
        .with(t::PATIENT_SEX, "F")
        .with(t::STUDY_INSTANCE_UID, "1.2.3")
        .with(t::SERIES_INSTANCE_UID, "1.2.3.1")
}

fn setup() -> Item {
    Item::new()
        .with(t::PATIENT_POSITION, "HFS")
        .with(t::PATIENT_SETUP_NUMBER, "1")
        .with(t::SETUP_TECHNIQUE, "ISOCENTRIC")
        .with(t::TABLE_TOP_LATERAL_SETUP_DISPLACEMENT, "12.5")
        .items(
            t::FIXATION_DEVICE_SEQUENCE,
            [Item::new()
                .with(t::FIXATION_DEVICE_TYPE, "MASK")
                .with(t::FIXATION_DEVICE_LABEL, "M1")
                .with(t::FIXATION_DEVICE_DESCRIPTION, "thermoplastic")],
        )
}

pub fn group(metersets: &[(u32, &str)]) -> Item {
    let beams = metersets.iter().map(|(number, meterset)| {
        Item::new()
            .with(t::BEAM_DOSE, "1.1")
            .with(t::BEAM_METERSET, *meterset)
            .with(t::REFERENCED_BEAM_NUMBER, number.to_string())
    });
    Item::new()
        .with(t::FRACTION_GROUP_NUMBER, "1")
        .with(t::FRACTION_GROUP_DESCRIPTION, "daily")
        .with(t::NUMBER_OF_FRACTIONS_PLANNED, "25")
        .with(t::NUMBER_OF_FRACTION_PATTERN_DIGITS_PER_DAY, "1")
        .with(t::REPEAT_FRACTION_CYCLE_LENGTH, "1")
        .with(t::FRACTION_PATTERN, "1111100")
        .with(t::NUMBER_OF_BEAMS, metersets.len().to_string())
        .with(t::NUMBER_OF_BRACHY_APPLICATION_SETUPS, "0")
        .items(t::REFERENCED_BEAM_SEQUENCE, beams)
}

pub fn plan(class: &str) -> Item {
    object(class, "RTPLAN")
        .with(t::OPERATORS_NAME, "Someone")
        .with(t::RT_PLAN_LABEL, "Breast L")
        .with(t::RT_PLAN_DATE, "20240401")
        .with(t::RT_PLAN_GEOMETRY, "PATIENT")
        .with(t::APPROVAL_STATUS, "APPROVED")
        .items(t::PATIENT_SETUP_SEQUENCE, [setup()])
}

pub fn beam(number: u32, name: &str) -> Item {
    Item::new()
        .with(t::MANUFACTURER, "Linac works")
        .with(t::DEVICE_SERIAL_NUMBER, "77")
        .with(t::TREATMENT_MACHINE_NAME, "LINAC2")
        .with(t::PRIMARY_DOSIMETER_UNIT, "MU")
        .with(t::SOURCE_AXIS_DISTANCE, "1000.0")
        .with(t::BEAM_NUMBER, number.to_string())
        .with(t::BEAM_NAME, name)
        .with(t::BEAM_TYPE, "STATIC")
        .with(t::RADIATION_TYPE, "PHOTON")
        .with(t::TREATMENT_DELIVERY_TYPE, "TREATMENT")
        .with(t::NUMBER_OF_WEDGES, "0")
        .with(t::NUMBER_OF_COMPENSATORS, "0")
        .with(t::NUMBER_OF_BOLI, "0")
        .with(t::NUMBER_OF_BLOCKS, "0")
        .with(t::FINAL_CUMULATIVE_METERSET_WEIGHT, "1")
        .with(t::REFERENCED_PATIENT_SETUP_NUMBER, "1")
}

pub fn jaws(kind: &str) -> Item {
    Item::new()
        .with(t::RT_BEAM_LIMITING_DEVICE_TYPE, kind)
        .with(t::SOURCE_TO_BEAM_LIMITING_DEVICE_DISTANCE, "450")
        .with(t::NUMBER_OF_LEAF_JAW_PAIRS, "1")
}

pub fn leaves(pairs: usize) -> Item {
    let half = i64::try_from(pairs).unwrap() * 5 / 2;
    let boundaries: Vec<String> = (0..=pairs).map(|i| (i64::try_from(i).unwrap() * 5 - half).to_string()).collect();
    Item::new()
        .with(t::RT_BEAM_LIMITING_DEVICE_TYPE, "MLCX")
        .with(t::NUMBER_OF_LEAF_JAW_PAIRS, pairs.to_string())
        .with(t::LEAF_POSITION_BOUNDARIES, boundaries.join("\\"))
}

pub fn position(kind: &str, positions: &str) -> Item {
    Item::new().with(t::RT_BEAM_LIMITING_DEVICE_TYPE, kind).with(t::LEAF_JAW_POSITIONS, positions)
}

fn leaf_positions(pairs: usize, shift: usize) -> String {
    let bank = |sign: &str| {
        (0..pairs).map(|i| format!("{sign}{}.{}", 10 + (i + shift) % 30, (i * 7 + shift) % 10)).collect::<Vec<_>>()
    };
    [bank("-"), bank("")].concat().join("\\")
}

pub fn first_point() -> Item {
    Item::new()
        .with(t::CONTROL_POINT_INDEX, "0")
        .with(t::NOMINAL_BEAM_ENERGY, "6")
        .with(t::DOSE_RATE_SET, "600")
        .with(t::GANTRY_ANGLE, "300.5")
        .with(t::GANTRY_ROTATION_DIRECTION, "NONE")
        .with(t::BEAM_LIMITING_DEVICE_ANGLE, "5")
        .with(t::BEAM_LIMITING_DEVICE_ROTATION_DIRECTION, "NONE")
        .with(t::PATIENT_SUPPORT_ANGLE, "0")
        .with(t::PATIENT_SUPPORT_ROTATION_DIRECTION, "NONE")
        .with(t::TABLE_TOP_ECCENTRIC_ANGLE, "0")
        .with(t::TABLE_TOP_ECCENTRIC_ROTATION_DIRECTION, "NONE")
        .with(t::TABLE_TOP_VERTICAL_POSITION, "-120.5")
        .with(t::TABLE_TOP_LONGITUDINAL_POSITION, "900")
        .with(t::TABLE_TOP_LATERAL_POSITION, "3")
        .with(t::ISOCENTER_POSITION, "12.34\\-56.78\\90.12")
        .with(t::SOURCE_TO_SURFACE_DISTANCE, "912.3")
        .with(t::CUMULATIVE_METERSET_WEIGHT, "0")
        .floats(t::TABLE_TOP_PITCH_ANGLE, &[-1.5])
        .with(t::TABLE_TOP_PITCH_ROTATION_DIRECTION, "NONE")
        .floats(t::TABLE_TOP_ROLL_ANGLE, &[0.25])
        .with(t::TABLE_TOP_ROLL_ROTATION_DIRECTION, "NONE")
}

pub fn later_point(index: usize, weight: impl Into<String>) -> Item {
    Item::new().with(t::CONTROL_POINT_INDEX, index.to_string()).with(t::CUMULATIVE_METERSET_WEIGHT, weight)
}

fn with_points(mut beam: Item, points: Vec<Item>) -> Item {
    beam.set(t::NUMBER_OF_CONTROL_POINTS, points.len().to_string());
    beam.items(t::CONTROL_POINT_SEQUENCE, points)
}

/// Two static photon fields with everything that can hang on them, and a setup field.
pub fn photons() -> Item {
    let mut open = with_points(
        beam(1, "medial").items(t::BEAM_LIMITING_DEVICE_SEQUENCE, [jaws("ASYMX"), jaws("ASYMY"), leaves(4)]),
        vec![
            first_point().items(
                t::BEAM_LIMITING_DEVICE_POSITION_SEQUENCE,
                [
                    position("ASYMX", "-50\\50"),
                    position("ASYMY", "-40.25\\60"),
                    position("MLCX", &leaf_positions(4, 0)),
                ],
            ),
            later_point(1, "1"),
        ],
    );
    open = open.items(
        t::PRIMARY_FLUENCE_MODE_SEQUENCE,
        [Item::new().with(t::FLUENCE_MODE, "NON_STANDARD").with(t::FLUENCE_MODE_ID, "FFF")],
    );
    open = open.items(
        t::PLANNED_VERIFICATION_IMAGE_SEQUENCE,
        [Item::new()
            .with(t::METERSET_EXPOSURE, "2")
            .with(t::START_CUMULATIVE_METERSET_WEIGHT, "0")
            .with(t::END_CUMULATIVE_METERSET_WEIGHT, "0.5")],
    );
    open.set(t::REFERENCED_TOLERANCE_TABLE_NUMBER, "3");

    let mut wedged = with_points(
        beam(2, "lateral").items(t::BEAM_LIMITING_DEVICE_SEQUENCE, [jaws("X"), jaws("Y")]),
        vec![
            first_point()
                .with(t::GANTRY_ANGLE, "120")
                .items(t::BEAM_LIMITING_DEVICE_POSITION_SEQUENCE, [position("X", "-50\\50"), position("Y", "-45\\45")])
                .items(
                    t::WEDGE_POSITION_SEQUENCE,
                    [Item::new().with(t::WEDGE_POSITION, "IN").with(t::REFERENCED_WEDGE_NUMBER, "1")],
                ),
            later_point(1, "0.4"),
            later_point(2, "0.4").items(
                t::WEDGE_POSITION_SEQUENCE,
                [Item::new().with(t::WEDGE_POSITION, "OUT").with(t::REFERENCED_WEDGE_NUMBER, "1")],
            ),
            later_point(3, "1.0"),
        ],
    );
    for (tag, number) in [
        (t::NUMBER_OF_WEDGES, "1"),
        (t::NUMBER_OF_COMPENSATORS, "1"),
        (t::NUMBER_OF_BOLI, "1"),
        (t::NUMBER_OF_BLOCKS, "1"),
    ] {
        wedged.set(tag, number);
    }
    wedged.set(t::TOTAL_BLOCK_TRAY_FACTOR, "0.97");
    wedged.set(t::TOTAL_COMPENSATOR_TRAY_FACTOR, "0.96");
    wedged = wedged
        .items(
            t::WEDGE_SEQUENCE,
            [Item::new()
                .with(t::WEDGE_NUMBER, "1")
                .with(t::WEDGE_TYPE, "MOTORIZED")
                .with(t::WEDGE_ID, "W60")
                .with(t::WEDGE_ANGLE, "60")
                .with(t::WEDGE_FACTOR, "0.271")
                .with(t::WEDGE_ORIENTATION, "180")
                .with(t::SOURCE_TO_WEDGE_TRAY_DISTANCE, "400")
                .with(t::EFFECTIVE_WEDGE_ANGLE, "31.5")
                .with(t::ACCESSORY_CODE, "W-1")],
        )
        .items(
            t::COMPENSATOR_SEQUENCE,
            [Item::new()
                .with(t::MATERIAL_ID, "BRASS")
                .with(t::COMPENSATOR_NUMBER, "1")
                .with(t::COMPENSATOR_ID, "C1")
                .with(t::SOURCE_TO_COMPENSATOR_TRAY_DISTANCE, "650")
                .with(t::COMPENSATOR_ROWS, "2")
                .with(t::COMPENSATOR_COLUMNS, "2")
                .with(t::COMPENSATOR_PIXEL_SPACING, "10\\10")
                .with(t::COMPENSATOR_POSITION, "-5\\5")
                .with(t::COMPENSATOR_TRANSMISSION_DATA, "0.9\\0.8\\0.7\\0.6")
                .with(t::COMPENSATOR_THICKNESS_DATA, "1\\2\\3\\4")
                .with(t::COMPENSATOR_TYPE, "STANDARD")
                .with(t::COMPENSATOR_TRAY_ID, "T1")
                .with(t::COMPENSATOR_DESCRIPTION, "anything")],
        )
        .items(
            t::BLOCK_SEQUENCE,
            [Item::new()
                .with(t::MATERIAL_ID, "CERROBEND")
                .with(t::BLOCK_TRAY_ID, "TRAY7")
                .with(t::SOURCE_TO_BLOCK_TRAY_DISTANCE, "560")
                .with(t::BLOCK_TYPE, "SHIELDING")
                .with(t::ACCESSORY_CODE, "B-9")
                .with(t::BLOCK_DIVERGENCE, "PRESENT")
                .with(t::BLOCK_MOUNTING_POSITION, "SOURCE_SIDE")
                .with(t::BLOCK_NUMBER, "1")
                .with(t::BLOCK_NAME, "lung")
                .with(t::BLOCK_THICKNESS, "80")
                .with(t::BLOCK_TRANSMISSION, "0.03")
                .with(t::BLOCK_NUMBER_OF_POINTS, "3")
                .with(t::BLOCK_DATA, "0\\0\\10\\0\\0\\10.5")],
        )
        .items(
            t::GENERAL_ACCESSORY_SEQUENCE,
            [Item::new()
                .with(t::GENERAL_ACCESSORY_NUMBER, "1")
                .with(t::GENERAL_ACCESSORY_ID, "GRID")
                .with(t::GENERAL_ACCESSORY_TYPE, "TRAY")
                .with(t::ACCESSORY_CODE, "G-1")],
        )
        .items(
            t::REFERENCED_BOLUS_SEQUENCE,
            [Item::new()
                .with(t::REFERENCED_ROI_NUMBER, "12")
                .with(t::BOLUS_ID, "5mm")
                .with(t::BOLUS_DESCRIPTION, "gel")
                .with(t::ACCESSORY_CODE, "BO-1")],
        );

    let imaging = with_points(
        beam(3, "kV AP").with(t::TREATMENT_DELIVERY_TYPE, "SETUP").items(t::BEAM_LIMITING_DEVICE_SEQUENCE, [jaws("X")]),
        vec![
            first_point().items(t::BEAM_LIMITING_DEVICE_POSITION_SEQUENCE, [position("X", "-100\\100")]),
            later_point(1, "1"),
        ],
    );
    let tolerance = Item::new()
        .with(t::TOLERANCE_TABLE_NUMBER, "3")
        .with(t::GANTRY_ANGLE_TOLERANCE, "1")
        .with(t::TOLERANCE_TABLE_LABEL, "Breast");
    plan(uids::RT_PLAN_STORAGE)
        .items(t::FRACTION_GROUP_SEQUENCE, [group(&[(1, "101.25"), (2, "87.5")])])
        .items(t::BEAM_SEQUENCE, [open, wedged, imaging])
        .items(t::TOLERANCE_TABLE_SEQUENCE, [tolerance])
}

/// Two arcs of `points` control points each, of 60 leaf pairs.
pub fn arcs(points: usize) -> Item {
    let arc = |number: u32, direction: &str| {
        let all = (0..points).map(|i| {
            let tenths = 1810 + 3580 * i / (points - 1).max(1);
            let angle = if direction == "CW" { tenths % 3600 } else { (7200 - tenths) % 3600 };
            let mut point =
                if i == 0 { first_point() } else { later_point(i, format!("{:.6}", i as f64 / (points - 1) as f64)) };
            point.set(t::GANTRY_ANGLE, format!("{}.{}", angle / 10, angle % 10));
            point.set(t::GANTRY_ROTATION_DIRECTION, if i + 1 == points { "NONE" } else { direction });
            let leaves = position("MLCX", &leaf_positions(60, i));
            let mut devices = vec![leaves];
            if i == 0 {
                devices.splice(0..0, [position("ASYMX", "-70\\70"), position("ASYMY", "-80\\80")]);
            }
            point.items(t::BEAM_LIMITING_DEVICE_POSITION_SEQUENCE, devices)
        });
        with_points(
            beam(number, direction)
                .with(t::BEAM_TYPE, "DYNAMIC")
                .items(t::BEAM_LIMITING_DEVICE_SEQUENCE, [jaws("ASYMX"), jaws("ASYMY"), leaves(60)]),
            all.collect(),
        )
    };
    plan(uids::RT_PLAN_STORAGE)
        .items(t::FRACTION_GROUP_SEQUENCE, [group(&[(1, "254.3"), (2, "249.8")])])
        .items(t::BEAM_SEQUENCE, [arc(1, "CW"), arc(2, "CC")])
}

/// An electron field with an applicator and a cut-out.
pub fn electrons() -> Item {
    let mut electron = with_points(
        beam(1, "boost")
            .with(t::RADIATION_TYPE, "ELECTRON")
            .items(t::BEAM_LIMITING_DEVICE_SEQUENCE, [jaws("X"), jaws("Y")]),
        vec![
            first_point()
                .with(t::NOMINAL_BEAM_ENERGY, "12")
                .items(t::BEAM_LIMITING_DEVICE_POSITION_SEQUENCE, [position("X", "-75\\75"), position("Y", "-75\\75")]),
            later_point(1, "1"),
        ],
    );
    electron.set(t::NUMBER_OF_BLOCKS, "1");
    electron = electron
        .items(
            t::APPLICATOR_SEQUENCE,
            [Item::new()
                .with(t::ACCESSORY_CODE, "A-10")
                .with(t::APPLICATOR_ID, "10x10")
                .with(t::APPLICATOR_TYPE, "ELECTRON_SQUARE")
                .with(t::APPLICATOR_DESCRIPTION, "cone")],
        )
        .items(
            t::BLOCK_SEQUENCE,
            [Item::new()
                .with(t::MATERIAL_ID, "")
                .with(t::SOURCE_TO_BLOCK_TRAY_DISTANCE, "950")
                .with(t::BLOCK_TYPE, "APERTURE")
                .with(t::BLOCK_DIVERGENCE, "ABSENT")
                .with(t::BLOCK_NUMBER, "1")
                .with(t::BLOCK_THICKNESS, "15")
                .with(t::BLOCK_NUMBER_OF_POINTS, "4")
                .with(t::BLOCK_DATA, "-30\\-30\\30\\-30\\30\\30\\-30\\30")],
        );
    plan(uids::RT_PLAN_STORAGE)
        .items(t::FRACTION_GROUP_SEQUENCE, [group(&[(1, "212")])])
        .items(t::BEAM_SEQUENCE, [electron])
}

/// One scanned proton field of `layers` energies with `spots` spots each.
pub fn ions(layers: usize, spots: usize) -> Item {
    let mut points = Vec::new();
    for layer in 0..layers {
        let map: Vec<f32> = (0..2 * spots).map(|i| ((i * 37 + layer) % 400) as f32 * 0.25 - 50.0).collect();
        for end in [false, true] {
            let index = 2 * layer + usize::from(end);
            let weight = (layer + usize::from(end)) * spots;
            let mut point = if index == 0 { first_point() } else { later_point(index, format!("{weight}.0")) };
            for absent in [
                t::DOSE_RATE_SET,
                t::TABLE_TOP_ECCENTRIC_ANGLE,
                t::TABLE_TOP_ECCENTRIC_ROTATION_DIRECTION,
                t::SOURCE_TO_SURFACE_DISTANCE,
            ] {
                point.0.remove(&absent);
            }
            point.set(t::NOMINAL_BEAM_ENERGY, format!("{}.5", 160 - layer));
            point.set(t::SCAN_SPOT_TUNE_ID, "T4");
            point.set(t::NUMBER_OF_SCAN_SPOT_POSITIONS, spots.to_string());
            point.set(t::NUMBER_OF_PAINTINGS, "1");
            let weights = vec![if end { 0.0 } else { 1.0 }; spots];
            point = point
                .floats(t::SCAN_SPOT_POSITION_MAP, &map)
                .floats(t::SCAN_SPOT_METERSET_WEIGHTS, &weights)
                .floats(t::SCANNING_SPOT_SIZE, &[5.5, 5.25]);
            if index == 0 {
                point = point.floats(t::SNOUT_POSITION, &[421.5]).floats(t::METERSET_RATE, &[100.0]).items(
                    t::RANGE_SHIFTER_SETTINGS_SEQUENCE,
                    [Item::new()
                        .with(t::RANGE_SHIFTER_SETTING, "IN")
                        .floats(t::ISOCENTER_TO_RANGE_SHIFTER_DISTANCE, &[300.0])
                        .floats(t::RANGE_SHIFTER_WATER_EQUIVALENT_THICKNESS, &[40.5])
                        .with(t::REFERENCED_RANGE_SHIFTER_NUMBER, "1")],
                );
            }
            points.push(point);
        }
    }
    let mut ion = beam(1, "proton")
        .with(t::RADIATION_TYPE, "PROTON")
        .with(t::SCAN_MODE, "MODULATED")
        .with(t::PATIENT_SUPPORT_TYPE, "TABLE")
        .with(t::NUMBER_OF_RANGE_SHIFTERS, "1")
        .with(t::NUMBER_OF_LATERAL_SPREADING_DEVICES, "0")
        .with(t::NUMBER_OF_RANGE_MODULATORS, "0")
        .with(t::FINAL_CUMULATIVE_METERSET_WEIGHT, (layers * spots).to_string())
        .with(t::NUMBER_OF_CONTROL_POINTS, points.len().to_string())
        .floats(t::VIRTUAL_SOURCE_AXIS_DISTANCES, &[2000.0, 2500.0])
        .items(t::SNOUT_SEQUENCE, [Item::new().with(t::SNOUT_ID, "S1")])
        .items(
            t::RANGE_SHIFTER_SEQUENCE,
            [Item::new()
                .with(t::RANGE_SHIFTER_NUMBER, "1")
                .with(t::RANGE_SHIFTER_ID, "RS40")
                .with(t::RANGE_SHIFTER_TYPE, "BINARY")],
        )
        .items(t::ION_CONTROL_POINT_SEQUENCE, points);
    ion.0.remove(&t::SOURCE_AXIS_DISTANCE);
    ion.0.insert(t::RADIATION_CHARGE_STATE, V::Short(1));
    plan(uids::RT_ION_PLAN_STORAGE)
        .items(t::FRACTION_GROUP_SEQUENCE, [group(&[(1, "254.3")])])
        .items(t::ION_BEAM_SEQUENCE, [ion])
}

/// The plans that every general test goes over.
pub fn all() -> Vec<(&'static str, Item)> {
    vec![
        ("photons", photons()),
        ("arcs", arcs(5)),
        ("electrons", electrons()),
        ("ions", ions(3, 4)),
        ("passive ions", crate::passive::passive_ions()),
    ]
}

pub fn beam_at(number: usize) -> Path {
    vec![(t::BEAM_SEQUENCE, number)]
}

pub fn point_at(beam: usize, point: usize) -> Path {
    vec![(t::BEAM_SEQUENCE, beam), (t::CONTROL_POINT_SEQUENCE, point)]
}

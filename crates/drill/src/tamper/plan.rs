//! Where things stand in an RT Plan and an RT Ion Plan (PS3.3 C.8.8.13, C.8.8.14, C.8.8.25), for those who edit them.

use super::walk::{Dataset, File, Tag, WalkError};

pub(super) mod tag {
    //! Attributes by keyword; PS3.6.
    use super::Tag;

    pub(in super::super) const SOP_INSTANCE_UID: Tag = 0x0008_0018;
    pub(in super::super) const PATIENT_ID: Tag = 0x0010_0020;
    pub(in super::super) const PATIENT_POSITION: Tag = 0x0018_5100;
    pub(in super::super) const PRIMARY_FLUENCE_MODE_SEQUENCE: Tag = 0x3002_0050;
    pub(in super::super) const FLUENCE_MODE: Tag = 0x3002_0051;
    pub(in super::super) const FLUENCE_MODE_ID: Tag = 0x3002_0052;
    pub(in super::super) const FRACTION_GROUP_SEQUENCE: Tag = 0x300A_0070;
    pub(in super::super) const NUMBER_OF_FRACTIONS_PLANNED: Tag = 0x300A_0078;
    pub(in super::super) const NUMBER_OF_BEAMS: Tag = 0x300A_0080;
    pub(in super::super) const BEAM_METERSET: Tag = 0x300A_0086;
    pub(in super::super) const BEAM_SEQUENCE: Tag = 0x300A_00B0;
    pub(in super::super) const TREATMENT_MACHINE_NAME: Tag = 0x300A_00B2;
    pub(in super::super) const PRIMARY_DOSIMETER_UNIT: Tag = 0x300A_00B3;
    pub(in super::super) const SOURCE_AXIS_DISTANCE: Tag = 0x300A_00B4;
    pub(in super::super) const BEAM_LIMITING_DEVICE_SEQUENCE: Tag = 0x300A_00B6;
    pub(in super::super) const RT_BEAM_LIMITING_DEVICE_TYPE: Tag = 0x300A_00B8;
    pub(in super::super) const LEAF_POSITION_BOUNDARIES: Tag = 0x300A_00BE;
    pub(in super::super) const BEAM_NUMBER: Tag = 0x300A_00C0;
    pub(in super::super) const BEAM_DESCRIPTION: Tag = 0x300A_00C3;
    pub(in super::super) const RADIATION_TYPE: Tag = 0x300A_00C6;
    pub(in super::super) const TREATMENT_DELIVERY_TYPE: Tag = 0x300A_00CE;
    pub(in super::super) const NUMBER_OF_WEDGES: Tag = 0x300A_00D0;
    pub(in super::super) const WEDGE_SEQUENCE: Tag = 0x300A_00D1;
    pub(in super::super) const WEDGE_ANGLE: Tag = 0x300A_00D5;
    pub(in super::super) const WEDGE_ORIENTATION: Tag = 0x300A_00D8;
    pub(in super::super) const NUMBER_OF_BOLI: Tag = 0x300A_00ED;
    pub(in super::super) const NUMBER_OF_BLOCKS: Tag = 0x300A_00F0;
    pub(in super::super) const BLOCK_SEQUENCE: Tag = 0x300A_00F4;
    pub(in super::super) const ACCESSORY_CODE: Tag = 0x300A_00F9;
    pub(in super::super) const BLOCK_DATA: Tag = 0x300A_0106;
    pub(in super::super) const APPLICATOR_SEQUENCE: Tag = 0x300A_0107;
    pub(in super::super) const APPLICATOR_ID: Tag = 0x300A_0108;
    pub(in super::super) const FINAL_CUMULATIVE_METERSET_WEIGHT: Tag = 0x300A_010E;
    pub(in super::super) const NUMBER_OF_CONTROL_POINTS: Tag = 0x300A_0110;
    pub(in super::super) const CONTROL_POINT_SEQUENCE: Tag = 0x300A_0111;
    pub(in super::super) const CONTROL_POINT_INDEX: Tag = 0x300A_0112;
    pub(in super::super) const NOMINAL_BEAM_ENERGY: Tag = 0x300A_0114;
    pub(in super::super) const DOSE_RATE_SET: Tag = 0x300A_0115;
    pub(in super::super) const WEDGE_POSITION_SEQUENCE: Tag = 0x300A_0116;
    pub(in super::super) const WEDGE_POSITION: Tag = 0x300A_0118;
    pub(in super::super) const BEAM_LIMITING_DEVICE_POSITION_SEQUENCE: Tag = 0x300A_011A;
    pub(in super::super) const LEAF_JAW_POSITIONS: Tag = 0x300A_011C;
    pub(in super::super) const GANTRY_ANGLE: Tag = 0x300A_011E;
    pub(in super::super) const GANTRY_ROTATION_DIRECTION: Tag = 0x300A_011F;
    pub(in super::super) const BEAM_LIMITING_DEVICE_ANGLE: Tag = 0x300A_0120;
    pub(in super::super) const PATIENT_SUPPORT_ANGLE: Tag = 0x300A_0122;
    pub(in super::super) const TABLE_TOP_VERTICAL_POSITION: Tag = 0x300A_0128;
    pub(in super::super) const ISOCENTER_POSITION: Tag = 0x300A_012C;
    pub(in super::super) const SOURCE_TO_SURFACE_DISTANCE: Tag = 0x300A_0130;
    pub(in super::super) const CUMULATIVE_METERSET_WEIGHT: Tag = 0x300A_0134;
    pub(in super::super) const PATIENT_SETUP_SEQUENCE: Tag = 0x300A_0180;
    pub(in super::super) const VIRTUAL_SOURCE_AXIS_DISTANCES: Tag = 0x300A_030A;
    pub(in super::super) const NUMBER_OF_RANGE_SHIFTERS: Tag = 0x300A_0312;
    pub(in super::super) const RANGE_SHIFTER_SEQUENCE: Tag = 0x300A_0314;
    pub(in super::super) const RANGE_SHIFTER_SETTINGS_SEQUENCE: Tag = 0x300A_0360;
    pub(in super::super) const RANGE_SHIFTER_SETTING: Tag = 0x300A_0362;
    pub(in super::super) const SCAN_SPOT_TUNE_ID: Tag = 0x300A_0390;
    pub(in super::super) const SCAN_SPOT_POSITION_MAP: Tag = 0x300A_0394;
    pub(in super::super) const SCAN_SPOT_METERSET_WEIGHTS: Tag = 0x300A_0396;
    pub(in super::super) const ION_BEAM_SEQUENCE: Tag = 0x300A_03A2;
    pub(in super::super) const ION_CONTROL_POINT_SEQUENCE: Tag = 0x300A_03A8;
    pub(in super::super) const REFERENCED_BEAM_SEQUENCE: Tag = 0x300C_0004;
    pub(in super::super) const REFERENCED_BEAM_NUMBER: Tag = 0x300C_0006;
    pub(in super::super) const REFERENCED_BOLUS_SEQUENCE: Tag = 0x300C_00B0;
}

/// A walked plan; ion plans keep their beams elsewhere.
pub(super) struct Plan {
    pub(super) file: File,
    beams_at: Tag,
    points_at: Tag,
}

impl Plan {
    pub(super) fn read(bytes: &[u8]) -> Result<Self, WalkError> {
        let file = File::read(bytes)?;
        let ion = file.data.get(tag::ION_BEAM_SEQUENCE).is_some();
        let (beams_at, points_at) = if ion {
            (tag::ION_BEAM_SEQUENCE, tag::ION_CONTROL_POINT_SEQUENCE)
        } else {
            (tag::BEAM_SEQUENCE, tag::CONTROL_POINT_SEQUENCE)
        };
        Ok(Self { file, beams_at, points_at })
    }

    pub(super) fn data(&mut self) -> &mut Dataset {
        &mut self.file.data
    }

    /// All beams; none where the file has none.
    pub(super) fn beams(&mut self) -> &mut [Dataset] {
        self.file.data.items_mut(self.beams_at).map_or(&mut [], Vec::as_mut_slice)
    }

    pub(super) fn beams_vec(&mut self) -> Option<&mut Vec<Dataset>> {
        self.file.data.items_mut(self.beams_at)
    }

    /// All control points of all beams, beam by beam.
    pub(super) fn points(&mut self) -> impl Iterator<Item = &mut Vec<Dataset>> {
        let points_at = self.points_at;
        self.beams().iter_mut().filter_map(move |beam| beam.items_mut(points_at))
    }

    /// The control points of every beam, as one list.
    pub(super) fn all_points(&mut self) -> impl Iterator<Item = &mut Dataset> {
        self.points().flatten()
    }

    pub(super) fn fraction_group(&mut self) -> Option<&mut Dataset> {
        self.file.data.items_mut(tag::FRACTION_GROUP_SEQUENCE)?.first_mut()
    }

    pub(super) fn referenced_beams(&mut self) -> Option<&mut Vec<Dataset>> {
        self.fraction_group()?.items_mut(tag::REFERENCED_BEAM_SEQUENCE)
    }

    /// The first beam that has this sequence, with a value.
    pub(super) fn beam_with(&mut self, sequence: Tag) -> Option<&mut Dataset> {
        self.beams().iter_mut().find(|beam| !beam.items(sequence).is_empty())
    }
}

//! One DICOM object as the centre keeps it: which kind it is, whose it is, and where it belongs. No pixel is read.

use dicom_dictionary_std::{tags as t, uids};
use kit::{Blame, Explain};
use serde::{Deserialize, Serialize};

use crate::dicom::scan::{Attribute, ScanError, Tree};
use crate::dicom::value::{Characters, ValueFault, trimmed, uid};

/// What the centre keeps of DICOM.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    CtImage,
    RtImage,
    RtDose,
    RtStructureSet,
    RtPlan,
    RtIonPlan,
    RtBeamsRecord,
    RtIonBeamsRecord,
    RtBrachyRecord,
    RtTreatmentSummary,
    RtBeamsDeliveryInstruction,
}

impl Kind {
    pub const ALL: [Self; 11] = [
        Self::CtImage,
        Self::RtImage,
        Self::RtDose,
        Self::RtStructureSet,
        Self::RtPlan,
        Self::RtIonPlan,
        Self::RtBeamsRecord,
        Self::RtIonBeamsRecord,
        Self::RtBrachyRecord,
        Self::RtTreatmentSummary,
        Self::RtBeamsDeliveryInstruction,
    ];

    /// Its storage SOP class.
    pub fn sop_class(self) -> &'static str {
        match self {
            Self::CtImage => uids::CT_IMAGE_STORAGE,
            Self::RtImage => uids::RT_IMAGE_STORAGE,
            Self::RtDose => uids::RT_DOSE_STORAGE,
            Self::RtStructureSet => uids::RT_STRUCTURE_SET_STORAGE,
            Self::RtPlan => uids::RT_PLAN_STORAGE,
            Self::RtIonPlan => uids::RT_ION_PLAN_STORAGE,
            Self::RtBeamsRecord => uids::RT_BEAMS_TREATMENT_RECORD_STORAGE,
            Self::RtIonBeamsRecord => uids::RT_ION_BEAMS_TREATMENT_RECORD_STORAGE,
            Self::RtBrachyRecord => uids::RT_BRACHY_TREATMENT_RECORD_STORAGE,
            Self::RtTreatmentSummary => uids::RT_TREATMENT_SUMMARY_RECORD_STORAGE,
            Self::RtBeamsDeliveryInstruction => uids::RT_BEAMS_DELIVERY_INSTRUCTION_STORAGE,
        }
    }

    pub fn of_sop_class(uid: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.sop_class() == uid)
    }

    pub fn is_plan(self) -> bool {
        matches!(self, Self::RtPlan | Self::RtIonPlan)
    }

    /// Whether it tells of fractions that were delivered.
    pub fn is_record(self) -> bool {
        matches!(self, Self::RtBeamsRecord | Self::RtIonBeamsRecord | Self::RtTreatmentSummary)
    }
}

/// Why an object is not kept. No message quotes a value: it may be a name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ObjectError {
    #[error(transparent)]
    Scan(#[from] ScanError),
    #[error("{attribute} is missing or empty")]
    Missing { attribute: Attribute },
    #[error("{attribute}: {fault}")]
    Value { attribute: Attribute, fault: ValueFault },
    #[error("SOP class {uid} is not kept here")]
    Class { uid: String },
    #[error("the file meta group and the data set disagree about {attribute}")]
    Disagree { attribute: Attribute },
    #[error("{attribute} is missing or empty: the treatment record tells of no beam")]
    EmptyRecord { attribute: Attribute },
}

impl Explain for ObjectError {
    fn blame(&self) -> Blame {
        Blame::Peer
    }

    fn code(&self) -> &'static str {
        match self {
            Self::Scan(error) => error.code(),
            Self::Missing { .. } => "treatment.object.missing",
            Self::Value { .. } => "treatment.object.value",
            Self::Class { .. } => "treatment.object.class",
            Self::Disagree { .. } => "treatment.object.disagree",
            Self::EmptyRecord { .. } => "treatment.object.empty-record",
        }
    }

    fn guidance(&self) -> Option<&'static str> {
        match self {
            Self::Scan(error) => error.guidance(),
            Self::Value { fault: ValueFault::Characters, .. } => {
                Some("set Specific Character Set (0008,0005) to what the text is written in; UTF-8 is ISO_IR 192")
            }
            Self::Class { .. } => Some(
                "CT, RT Structure Set, Plan, Ion Plan, Dose, Image, Beams Delivery Instruction and treatment records are kept",
            ),
            Self::EmptyRecord { .. } => {
                Some("send the session's whole record from where it was written; what was given must not go uncounted")
            }
            _ => None,
        }
    }
}

/// What a DICOM object says of itself.
#[derive(Clone, PartialEq, Eq)]
pub struct Instance {
    pub kind: Kind,
    pub sop_instance: String,
    /// As the bytes are written; a data set must be kept together with it.
    pub transfer_syntax: String,
    pub study: String,
    pub series: String,
    pub modality: String,
    /// None where absent or empty: then nobody knows whose it is.
    pub patient_id: Option<String>,
    /// As DICOM writes it: component groups by `=`, components by `^`. None where absent, empty or written in
    /// characters that aren't read here: it is nobody's proof of anything, and no reason to refuse what it stands on.
    pub patient_name: Option<String>,
    /// `YYYYMMDD`.
    pub birth_date: Option<String>,
    /// `M`, `F` or `O`.
    pub sex: Option<String>,
    /// `YYYYMMDD`; none where it is written in another way.
    pub study_date: Option<String>,
    pub frame_of_reference: Option<String>,
}

/// Names no patient.
impl std::fmt::Debug for Instance {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Instance").field("kind", &self.kind).finish_non_exhaustive()
    }
}

impl Instance {
    /// A file, with or without a Part 10 header.
    pub fn parse(bytes: &[u8]) -> Result<Self, ObjectError> {
        Self::of_tree(&Tree::of_file(bytes)?)
    }

    /// A bare data set, as an association delivers it.
    pub fn parse_data_set(bytes: &[u8], transfer_syntax: &str) -> Result<Self, ObjectError> {
        Self::of_tree(&Tree::of_data_set(bytes, transfer_syntax)?)
    }

    pub(crate) fn of_tree(tree: &Tree<'_>) -> Result<Self, ObjectError> {
        let root = tree.root();
        let bytes = |tag| root.get(tag).map(|e| e.bytes()).filter(|b| !trimmed(b).is_empty());
        let value = |tag| move |fault| ObjectError::Value { attribute: Attribute(tag), fault };
        let needed_uid = |tag| {
            let bytes = bytes(tag).ok_or(ObjectError::Missing { attribute: Attribute(tag) })?;
            uid(bytes).map_err(value(tag))
        };
        let class = needed_uid(t::SOP_CLASS_UID)?;
        let kind = Kind::of_sop_class(&class).ok_or(ObjectError::Class { uid: class.clone() })?;
        let sop_instance = needed_uid(t::SOP_INSTANCE_UID)?;
        // The instance in the meta group is not compared: tools that anonymise rewrite the data set and forget it. The
        // data set is what is read, and what counts.
        if tree.meta_class.as_ref().is_some_and(|said| *said != class) {
            return Err(ObjectError::Disagree { attribute: Attribute(t::SOP_CLASS_UID) });
        }
        let characters = Characters::of(root).map_err(value(t::SPECIFIC_CHARACTER_SET))?;
        let text = |tag| match bytes(tag) {
            Some(bytes) => {
                characters.text(bytes).map(|text| Some(text).filter(|text| !text.is_empty())).map_err(value(tag))
            }
            None => Ok(None),
        };
        let date = |tag| match text(tag)? {
            Some(date) if date.len() != 8 || !date.bytes().all(|b| b.is_ascii_digit()) => {
                Err(value(tag)(ValueFault::NotOneOf { allowed: "YYYYMMDD" }))
            }
            date => Ok(date),
        };
        Ok(Self {
            kind,
            sop_instance,
            transfer_syntax: tree.transfer_syntax.clone(),
            study: needed_uid(t::STUDY_INSTANCE_UID)?,
            series: needed_uid(t::SERIES_INSTANCE_UID)?,
            modality: text(t::MODALITY)?.unwrap_or_default(),
            patient_id: text(t::PATIENT_ID)?,
            patient_name: text(t::PATIENT_NAME).unwrap_or(None),
            birth_date: date(t::PATIENT_BIRTH_DATE)?,
            sex: text(t::PATIENT_SEX)?,
            study_date: date(t::STUDY_DATE).unwrap_or(None),
            frame_of_reference: bytes(t::FRAME_OF_REFERENCE_UID)
                .map(|bytes| uid(bytes).map_err(value(t::FRAME_OF_REFERENCE_UID)))
                .transpose()?,
        })
    }

    /// A file as PS3.10 has it, around a data set that came over an association: what is kept can then be read
    /// without knowing how it arrived. The data set's bytes stay as they are.
    pub fn part10(&self, data_set: &[u8]) -> Vec<u8> {
        /// Under 2.25, the root for UUIDs (PS3.5 section B.2).
        const IMPLEMENTATION: &str = "2.25.98236713018412345178920471120936745201";
        // File Meta Information Version (0002,0001), then the identifiers.
        let mut meta = b"\x02\x00\x01\x00OB\x00\x00\x02\x00\x00\x00\x00\x01".to_vec();
        for (tag, uid) in [
            (t::MEDIA_STORAGE_SOP_CLASS_UID, self.kind.sop_class()),
            (t::MEDIA_STORAGE_SOP_INSTANCE_UID, &self.sop_instance),
            (t::TRANSFER_SYNTAX_UID, &self.transfer_syntax),
            (t::IMPLEMENTATION_CLASS_UID, IMPLEMENTATION),
        ] {
            let padding = uid.len() % 2;
            meta.extend(tag.group().to_le_bytes());
            meta.extend(tag.element().to_le_bytes());
            meta.extend(b"UI");
            // `parse` has bounded every one of them to 64 characters.
            meta.extend(u16::try_from(uid.len() + padding).unwrap_or(0).to_le_bytes());
            meta.extend(uid.as_bytes());
            meta.resize(meta.len() + padding, 0);
        }
        let mut file = vec![0; 128];
        file.extend(b"DICM\x02\x00\x00\x00UL\x04\x00");
        file.extend(u32::try_from(meta.len()).unwrap_or(0).to_le_bytes());
        file.extend(meta);
        file.extend(data_set);
        file
    }
}

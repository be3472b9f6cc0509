//! RT Plans (PS3.3 A.20) and RT Ion Plans (A.49) that a linear accelerator or a scanning proton machine could deliver:
//! complete in everything that moves dose, invented in everything else.

mod aperture;
mod ion;
mod linac;

use dicom_dictionary_std::{tags, uids};
use kit::Timestamp;

use super::Images;
use super::fhir::Subject;
use super::image::{self, Slice};
use super::item::Item;
use super::person::{Diagnosis, Technique, da};
use super::phantom::Phantom;
use super::rng::Rng;

const MACHINES: &[&str] = &["LINAC-1", "LINAC-2", "LINAC-3"];
const PROTON_MACHINE: &str = "PROTON-1";
/// Source to axis, every linear accelerator of this centre.
pub(super) const SAD_MM: f64 = 1_000.0;
/// Behind the target and before it, for what isn't known of a range.
pub(super) const PROTON_MARGIN_MM: f64 = 4.0;

/// ROI Number of what a plan refers to.
pub(super) const PTV_ROI: u32 = 2;
pub(super) const BOLUS_ROI: u32 = 3;

/// Radiation Type (300A,00C6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Radiation {
    Photon,
    Electron,
    Proton,
}

impl Radiation {
    pub(super) fn term(self) -> &'static str {
        match self {
            Self::Photon => "PHOTON",
            Self::Electron => "ELECTRON",
            Self::Proton => "PROTON",
        }
    }
}

/// The study that a course's objects stand in, and whom they are about.
pub(super) struct Study {
    pub(super) uid: String,
    pub(super) frame_of_reference: String,
    /// What the slices' UIDs begin with.
    ct: String,
    pub(super) structures: String,
    pub(super) phantom: Phantom,
    pub(super) slices: Vec<Slice>,
    /// Seeds the images' noise.
    pub(super) grain: u32,
    number: String,
    person_name: String,
    birth_date: String,
    sex: &'static str,
    date: Timestamp,
}

impl Study {
    pub(super) fn draw(rng: &Rng, who: &Subject<'_>, begun: Timestamp, images: Images) -> Self {
        let phantom = Phantom::draw(rng, who.diagnosis);
        Self {
            uid: rng.uid(),
            frame_of_reference: rng.uid(),
            ct: rng.uid(),
            structures: rng.uid(),
            slices: image::slices(phantom.isocentre_mm()[2], images),
            phantom,
            grain: u32::try_from(rng.below(1 << 32)).unwrap_or(0),
            number: who.number.to_owned(),
            person_name: who.name.person_name(),
            birth_date: who.birth_date.replace('-', ""),
            sex: if who.female { "F" } else { "M" },
            date: begun.plus_ms(-7 * super::DAY_MS),
        }
    }

    /// The middle of the target.
    pub(super) fn isocentre_mm(&self) -> [f64; 3] {
        self.phantom.isocentre_mm()
    }

    /// SOP Instance UID of a slice.
    pub(super) fn ct(&self, number: u32) -> String {
        format!("{}.{number}", self.ct)
    }

    pub(super) fn series(&self, number: u32) -> String {
        format!("{}.{number}", self.uid)
    }

    /// Patient, General Study, Series, Equipment and SOP Common of one object.
    pub(super) fn header(&self, class: &str, instance: &str, modality: &str, series: String) -> Item {
        Item::new()
            .text(tags::SPECIFIC_CHARACTER_SET, "ISO_IR 192")
            .text(tags::INSTANCE_CREATION_DATE, da(self.date))
            .text(tags::INSTANCE_CREATION_TIME, "101500")
            .text(tags::SOP_CLASS_UID, class)
            .text(tags::SOP_INSTANCE_UID, instance)
            .text(tags::STUDY_DATE, da(self.date))
            .text(tags::STUDY_TIME, "093000")
            .empty(tags::ACCESSION_NUMBER)
            .text(tags::MODALITY, modality)
            .text(tags::MANUFACTURER, "Synthetic Systems")
            .text(tags::MANUFACTURER_MODEL_NAME, "Planner")
            .text(tags::STATION_NAME, "PLAN-7")
            .empty(tags::REFERRING_PHYSICIAN_NAME)
            .text(tags::OPERATORS_NAME, "Operator^Duty")
            .text(tags::PATIENT_NAME, &self.person_name)
            .text(tags::PATIENT_ID, &self.number)
            .text(tags::PATIENT_BIRTH_DATE, &self.birth_date)
            .text(tags::PATIENT_SEX, self.sex)
            .text(tags::DEVICE_SERIAL_NUMBER, "0007")
            .text(tags::SOFTWARE_VERSIONS, "1.0")
            .text(tags::STUDY_INSTANCE_UID, &self.uid)
            .text(tags::SERIES_INSTANCE_UID, series)
            .text(tags::STUDY_ID, "1")
            .int(tags::SERIES_NUMBER, 1)
    }
}

/// The plan's one dose reference, by its number.
pub(super) const TARGET_REFERENCE: u32 = 1;

/// A plan, and what its treatment records must say.
pub(super) struct Plan {
    pub(super) technique: Technique,
    pub(super) uid: String,
    pub(super) label: String,
    pub(super) machine: String,
    pub(super) fractions: u32,
    pub(super) dose_gy: f64,
    pub(super) beams: Vec<Beam>,
    pub(super) file: Vec<u8>,
}

/// What one beam delivers.
pub(super) struct Beam {
    pub(super) number: u32,
    pub(super) name: String,
    pub(super) kind: &'static str,
    pub(super) radiation: Radiation,
    pub(super) energy: f64,
    pub(super) meterset: f64,
    pub(super) blocks: u32,
    pub(super) wedges: u32,
    pub(super) bolus_mm: Option<u32>,
    pub(super) gantry_degrees: f64,
    /// The directions that it comes from, and the share of its meterset from each.
    pub(super) rays: Vec<(f64, f64)>,
    /// Round the target's outline.
    pub(super) margin_mm: f64,
    /// Cumulative Meterset Weight of every control point; the last one is the final weight.
    pub(super) weights: Vec<f64>,
    /// Scan Spot Position Map and Meterset Weights of every control point; ion beams only.
    pub(super) spots: Vec<(Vec<f32>, Vec<f32>)>,
    /// Type and number of pairs of each beam limiting device.
    pub(super) devices: &'static [(&'static str, u32)],
    item: Item,
}

impl Plan {
    /// What a beam gives to the target in one fraction, in Gy.
    pub(super) fn dose_of(&self, beam: &Beam) -> f64 {
        let all: f64 = self.beams.iter().map(|beam| beam.meterset).sum();
        self.dose_gy / f64::from(self.fractions) * beam.meterset / all.max(1.0)
    }

    pub(super) fn draw(rng: &Rng, study: &Study, diagnosis: &Diagnosis) -> Self {
        let technique = diagnosis.technique;
        let machine = if technique == Technique::Ion { PROTON_MACHINE } else { rng.pick(MACHINES) }.to_owned();
        let dose_per_fraction = diagnosis.dose_gy / f64::from(diagnosis.fractions);
        let mut beams = match technique {
            Technique::Conformal => linac::conformal(rng, study, &machine),
            Technique::Arc => linac::arcs(rng, study, &machine),
            Technique::Electron => vec![linac::electron(rng, study, &machine)],
            Technique::Imrt => linac::step_and_shoot(rng, study, &machine),
            Technique::Ion => ion::beams(rng, study, &machine),
        };
        let uid = rng.uid();
        let label = format!("{}-{}", diagnosis.icd10.replace('.', ""), rng.below(90) + 10);
        let share = dose_per_fraction / beams.iter().map(|beam| beam.meterset).sum::<f64>().max(1.0);
        let target = rng.uid();
        let referenced = beams.iter().map(|beam| {
            Item::new()
                .text(tags::REFERENCED_DOSE_REFERENCE_UID, &target)
                .ds(tags::BEAM_DOSE, &[((beam.meterset * share) * 1e4).round() / 1e4])
                .ds(tags::BEAM_METERSET, &[beam.meterset])
                .int(tags::REFERENCED_BEAM_NUMBER, beam.number)
        });
        let fraction_group = Item::new()
            .int(tags::FRACTION_GROUP_NUMBER, 1)
            .int(tags::NUMBER_OF_FRACTIONS_PLANNED, diagnosis.fractions)
            .int(tags::NUMBER_OF_BEAMS, beams.len())
            .int(tags::NUMBER_OF_BRACHY_APPLICATION_SETUPS, 0)
            .items(tags::REFERENCED_BEAM_SEQUENCE, referenced.collect());
        let dose_reference = Item::new()
            .int(tags::DOSE_REFERENCE_NUMBER, TARGET_REFERENCE)
            .text(tags::DOSE_REFERENCE_UID, &target)
            .int(tags::REFERENCED_ROI_NUMBER, PTV_ROI)
            .text(tags::DOSE_REFERENCE_STRUCTURE_TYPE, "VOLUME")
            .text(tags::DOSE_REFERENCE_DESCRIPTION, "PTV")
            .text(tags::DOSE_REFERENCE_TYPE, "TARGET")
            .ds(tags::TARGET_PRESCRIPTION_DOSE, &[diagnosis.dose_gy]);
        let setup = Item::new()
            .text(tags::PATIENT_POSITION, "HFS")
            .items(
                tags::FIXATION_DEVICE_SEQUENCE,
                vec![
                    Item::new()
                        .text(tags::FIXATION_DEVICE_TYPE, "MASK")
                        .text(tags::FIXATION_DEVICE_LABEL, "M1")
                        .text(tags::ACCESSORY_CODE, "FIX-17"),
                ],
            )
            .int(tags::PATIENT_SETUP_NUMBER, 1)
            .text(tags::SETUP_TECHNIQUE, "ISOCENTRIC");
        let (class, tolerances) = match technique {
            Technique::Ion => (uids::RT_ION_PLAN_STORAGE, tags::ION_TOLERANCE_TABLE_SEQUENCE),
            _ => (uids::RT_PLAN_STORAGE, tags::TOLERANCE_TABLE_SEQUENCE),
        };
        let items = beams.iter_mut().map(|beam| std::mem::replace(&mut beam.item, Item::new())).collect();
        let file = study
            .header(class, &uid, "RTPLAN", rng.uid())
            .text(tags::FRAME_OF_REFERENCE_UID, &study.frame_of_reference)
            .empty(tags::POSITION_REFERENCE_INDICATOR)
            .text(tags::RT_PLAN_LABEL, &label)
            .text(tags::RT_PLAN_NAME, diagnosis.icd10)
            .text(tags::RT_PLAN_DATE, da(study.date))
            .text(tags::RT_PLAN_TIME, "140000")
            .text(tags::PLAN_INTENT, "CURATIVE")
            .text(tags::RT_PLAN_GEOMETRY, "PATIENT")
            .text(tags::TREATMENT_SITE, diagnosis.body_site().unwrap_or_else(|| diagnosis.text.to_owned()))
            .items(tags::DOSE_REFERENCE_SEQUENCE, vec![dose_reference])
            .items(tolerances, vec![tolerance_table(technique)])
            .items(tags::FRACTION_GROUP_SEQUENCE, vec![fraction_group])
            .with(|plan| match technique {
                Technique::Ion => plan.items(tags::ION_BEAM_SEQUENCE, items),
                _ => plan.items(tags::BEAM_SEQUENCE, items),
            })
            .items(tags::PATIENT_SETUP_SEQUENCE, vec![setup])
            .items(
                tags::REFERENCED_STRUCTURE_SET_SEQUENCE,
                vec![reference(uids::RT_STRUCTURE_SET_STORAGE, &study.structures)],
            )
            // A flag of the planning system, forgotten now and then; the centre's approval is two people's signatures.
            .with(|plan| match label.ends_with('0') {
                true => plan.text(tags::APPROVAL_STATUS, "UNAPPROVED"),
                false => plan
                    .text(tags::APPROVAL_STATUS, "APPROVED")
                    .text(tags::REVIEW_DATE, da(study.date))
                    .text(tags::REVIEW_TIME, "160000")
                    .text(tags::REVIEWER_NAME, "Synthetic^Planner"),
            })
            .file();
        let (fractions, dose_gy) = (diagnosis.fractions, diagnosis.dose_gy);
        Self { technique, uid, label, machine, fractions, dose_gy, beams, file }
    }

    pub(super) fn class(&self) -> &'static str {
        if self.technique == Technique::Ion { uids::RT_ION_PLAN_STORAGE } else { uids::RT_PLAN_STORAGE }
    }
}

pub(super) fn reference(class: &str, instance: &str) -> Item {
    Item::new().text(tags::REFERENCED_SOP_CLASS_UID, class).text(tags::REFERENCED_SOP_INSTANCE_UID, instance)
}

fn tolerance_table(technique: Technique) -> Item {
    Item::new()
        .int(tags::TOLERANCE_TABLE_NUMBER, 1)
        .text(tags::TOLERANCE_TABLE_LABEL, "T1")
        .ds(tags::GANTRY_ANGLE_TOLERANCE, &[0.5])
        .with(|table| match technique {
            Technique::Ion => table,
            _ => table.ds(tags::BEAM_LIMITING_DEVICE_ANGLE_TOLERANCE, &[0.5]),
        })
        .ds(tags::PATIENT_SUPPORT_ANGLE_TOLERANCE, &[0.5])
        .ds(tags::TABLE_TOP_VERTICAL_POSITION_TOLERANCE, &[20.0])
        .ds(tags::TABLE_TOP_LONGITUDINAL_POSITION_TOLERANCE, &[20.0])
        .ds(tags::TABLE_TOP_LATERAL_POSITION_TOLERANCE, &[20.0])
}

fn meterset(rng: &Rng, from: f64, to: f64) -> f64 {
    (rng.on_grid(from, to, 0.1) * 10.0).round() / 10.0
}

//! Doses that a treatment record says itself, beside those that the plan gives there.
//!
//! A machine may write what it reckons that a beam has given to one of the plan's dose references, and what a detector on the
//! patient has measured. It counts for nothing in the dose so far, which is the plan's by what was delivered; where the two differ, a
//! physicist wants to know. DICOM PS3.3 sections C.8.8.21 (RT Beams Session Record), C.8.8.18 (Measured Dose Reference Record),
//! C.8.8.19 (Calculated Dose Reference Record) and C.8.8.23 (RT Treatment Summary Record), edition 2024d.

use dicom_core::Tag;
use dicom_dictionary_std::tags as t;
use serde::Serialize;

use super::record::{RecordedBeam, TreatmentRecord};
use crate::dicom::scan::Set;
use crate::dicom::value::code;
use crate::plan::prescription::{self, Dose, DoseReference, WHOLE};
use crate::plan::{FractionGroup, Plan};

/// Doses that are kept of one list of a record; a plan has a dozen references.
const DOSES_MAX: usize = 100;

/// Where a dose comes from that isn't the plan's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum How {
    Calculated,
    Measured,
}

/// What a record says that one of the plan's dose references has got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SaidDose {
    pub how: How,
    /// Referenced Dose Reference Number (300C,0051). Points of the record's own are none of the plan's, and are left out.
    pub reference: u32,
    pub dose: Dose,
}

/// One of them, beside what the plan gives there by the delivered meterset.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DoseBeside {
    /// Of the record's beams, from nought: none where it is of the session as a whole.
    pub beam: Option<usize>,
    pub reference: DoseReference,
    pub how: How,
    pub said: Dose,
    /// None where the plan, or the record, doesn't say enough.
    pub planned: Option<Dose>,
}

/// Two of them are one to the centigray, as they are written, or within this share: a calculation within a hundredth, a measurement on
/// the skin within a twentieth, as AAPM Report 87 (TG-62, diode in vivo dosimetry, 2005) has it for most fields.
const SLACK: i64 = 100;
const CALCULATED_SHARE: i64 = 100;
const MEASURED_SHARE: i64 = 20;

impl How {
    pub(crate) fn agrees(self, said: Dose, planned: Dose) -> bool {
        let share = if self == Self::Measured { MEASURED_SHARE } else { CALCULATED_SHARE };
        (said.0 - planned.0).abs() <= SLACK.max(planned.0.abs() / share)
    }

    /// Whether it lies within a range.
    pub(crate) fn agrees_within(self, said: Dose, at_least: Dose, at_most: Dose) -> bool {
        self.agrees(said, at_least) || self.agrees(said, at_most) || (at_least..at_most).contains(&said)
    }
}

impl DoseBeside {
    /// None where there is nothing to compare it with.
    pub fn agrees(&self) -> Option<bool> {
        Some(self.how.agrees(self.said, self.planned?))
    }
}

/// One list of a record. What can't be read is left out: it is no reason to refuse what was given.
fn list(set: Set<'_>, sequence: Tag, value: Tag, how: How) -> Vec<SaidDose> {
    let items = set.get(sequence).into_iter().flat_map(|sequence| sequence.items()).take(DOSES_MAX);
    // A relative measurement says nothing in gray (Dose Units, 3004,0002).
    let is_gray = |item: Set<'_>| {
        item.get(t::DOSE_UNITS).is_none_or(|units| matches!(code(units.bytes()).as_deref(), Ok("GY" | "")))
    };
    let said = items.filter(|item| is_gray(*item)).filter_map(|item| {
        let reference = prescription::natural(item, t::REFERENCED_DOSE_REFERENCE_NUMBER)?;
        Some(SaidDose { how, reference, dose: prescription::dose(item, value)? })
    });
    said.collect()
}

/// Of an item of a session's beams.
pub(super) fn of_beam(beam: Set<'_>) -> Vec<SaidDose> {
    let calculated = (t::REFERENCED_CALCULATED_DOSE_REFERENCE_SEQUENCE, t::CALCULATED_DOSE_REFERENCE_DOSE_VALUE);
    let measured = (t::REFERENCED_MEASURED_DOSE_REFERENCE_SEQUENCE, t::MEASURED_DOSE_VALUE);
    let mut said = list(beam, calculated.0, calculated.1, How::Calculated);
    said.extend(list(beam, measured.0, measured.1, How::Measured));
    said
}

/// Of a session as a whole.
pub(super) fn of_session(root: Set<'_>) -> Vec<SaidDose> {
    let calculated = (t::CALCULATED_DOSE_REFERENCE_SEQUENCE, t::CALCULATED_DOSE_REFERENCE_DOSE_VALUE);
    let measured = (t::MEASURED_DOSE_REFERENCE_SEQUENCE, t::MEASURED_DOSE_VALUE);
    let mut said = list(root, calculated.0, calculated.1, How::Calculated);
    said.extend(list(root, measured.0, measured.1, How::Measured));
    said
}

/// Of all that a summary sums up.
pub(super) fn summed(root: Set<'_>) -> Vec<SaidDose> {
    let value = t::CUMULATIVE_DOSE_TO_DOSE_REFERENCE;
    let mut said = list(root, t::TREATMENT_SUMMARY_CALCULATED_DOSE_REFERENCE_SEQUENCE, value, How::Calculated);
    said.extend(list(root, t::TREATMENT_SUMMARY_MEASURED_DOSE_REFERENCE_SEQUENCE, value, How::Measured));
    said
}

/// What a record says of dose, beside the plan that it was given by.
pub fn beside(plan: &Plan, record: &TreatmentRecord) -> Vec<DoseBeside> {
    let group = plan.group(record.fraction_group);
    let reference = |said: &SaidDose| plan.prescription.references.iter().find(|one| one.number == said.reference);
    let of_beams = record.beams.iter().enumerate().flat_map(|(index, beam)| {
        beam.doses.iter().filter_map(move |said| {
            let reference = reference(said)?;
            let planned = group.and_then(|group| planned(plan, group, beam, reference));
            let SaidDose { how, dose, .. } = *said;
            Some(DoseBeside { beam: Some(index), reference: reference.clone(), how, said: dose, planned })
        })
    });
    let of_session = record.doses.iter().filter_map(|said| {
        let reference = reference(said)?;
        let treated = record.beams.iter().filter(|beam| !beam.imaging);
        let planned = group.and_then(|group| treated.map(|beam| planned(plan, group, beam, reference)).sum());
        Some(DoseBeside { beam: None, reference: reference.clone(), how: said.how, said: said.dose, planned })
    });
    of_beams.chain(of_session).collect()
}

/// What the plan gives to a reference by as much of a beam as was delivered, from where it began.
fn planned(plan: &Plan, group: &FractionGroup, beam: &RecordedBeam, reference: &DoseReference) -> Option<Dose> {
    let number = beam.number?;
    let meterset = group.metersets.get(&number).copied().filter(|meterset| *meterset > 0)?;
    let share = |thousandths: i64| {
        let share = i128::from(thousandths) * i128::from(WHOLE) / i128::from(meterset);
        // Over by a little is as much as the last control point gave, and in proportion.
        i64::try_from(share).ok().filter(|share| (0..=2 * WHOLE).contains(share))
    };
    let at = |thousandths: i64| {
        let share = share(thousandths)?;
        let of = |share| plan.prescription.dose(group.number, number, reference, share);
        let (within, over) = (share.min(WHOLE), (share - WHOLE).max(0));
        let whole = of(WHOLE)?;
        let more = i64::try_from(i128::from(whole.0) * i128::from(over) / i128::from(WHOLE)).ok()?;
        Some(of(within)?.plus(Dose(more)))
    };
    let (from, to) = (at(beam.began)?, at(beam.began.saturating_add(beam.delivered?))?);
    Some(Dose(to.0 - from.0))
}

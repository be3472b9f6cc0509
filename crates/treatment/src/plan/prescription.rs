//! What a plan means to give, and where: its dose references, and what each beam adds to them.
//!
//! None of it moves dose, so none of it stands in the delivery digest, and what of it can't be read is left out: it tells a
//! physicist how far a course has come, and releases nothing. DICOM PS3.3 sections C.8.8.10 (RT Prescription), C.8.8.13 (RT
//! Fraction Scheme) and C.8.8.14.7 (Cumulative Dose Reference Coefficient), edition 2024e.

use std::collections::BTreeMap;
use std::fmt;

use dicom_core::Tag;
use dicom_dictionary_std::tags as t;

use super::delivery::Place;
use crate::dicom::read::{integer, number, sequence};
use crate::dicom::scan::Set;
use crate::dicom::value::{Characters, code, uid};

/// Dose references that are kept of one plan; a plan has a dozen.
const REFERENCES_MAX: usize = 100;

/// Decimal places of a dose in Gy, and of a coefficient or share.
const DOSE_PLACES: u32 = 4;
const SHARE_PLACES: u32 = 6;
/// All of a beam.
pub const WHOLE: i64 = 10_i64.pow(SHARE_PLACES);

/// An absorbed dose, in ten-thousandths of a gray.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Dose(pub i64);

impl Dose {
    #[allow(clippy::cast_precision_loss)] // doses of patients are far below 2^52 of these
    pub fn gy(self) -> f64 {
        self.0 as f64 / 1e4
    }

    pub fn plus(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }

    pub fn times(self, count: u32) -> Self {
        Self(self.0.saturating_mul(i64::from(count)))
    }
}

impl std::iter::Sum for Dose {
    fn sum<I: Iterator<Item = Self>>(doses: I) -> Self {
        doses.fold(Self(0), Self::plus)
    }
}

/// To the centigray, as it is spoken of.
impl fmt::Display for Dose {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.2} Gy", self.gy())
    }
}

/// An item of Dose Reference Sequence (300A,0010).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DoseReference {
    pub number: u32,
    /// By which several plans mean the same one.
    pub uid: Option<String>,
    pub description: Option<String>,
    /// Dose Reference Type (300A,0020): a target, or an organ at risk.
    pub is_target: bool,
    /// Target Prescription Dose (300A,0026).
    pub prescribed: Option<Dose>,
    /// Organ at Risk Maximum Dose (300A,002C), or Delivery Maximum Dose (300A,0023).
    pub maximum: Option<Dose>,
}

impl DoseReference {
    /// Its description, or its number.
    pub fn named(&self) -> String {
        self.description.clone().unwrap_or_else(|| format!("reference {}", self.number))
    }
}

/// What one beam gives in one fraction.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct BeamDose {
    /// Beam Dose (300A,0084).
    dose: Option<Dose>,
    /// Referenced Dose Reference UID (300A,0083): where that is.
    at: Option<String>,
}

/// How a reference's dose grows along a beam: shares of its meterset, with coefficients of its dose.
type Growth = Vec<(i64, i64)>;

/// All that a plan says of dose.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Prescription {
    /// By number.
    pub references: Vec<DoseReference>,
    /// By fraction group and beam.
    doses: BTreeMap<(u32, u32), BeamDose>,
    /// By beam and dose reference.
    growth: BTreeMap<(u32, u32), Growth>,
}

impl Prescription {
    /// Of a plan's root, and its beams by number.
    pub(super) fn read(root: Set<'_>, characters: &Characters, beams: &BTreeMap<u32, Set<'_>>, points: Tag) -> Self {
        let mut read = Self::default();
        let text = |set: Set<'_>, tag| {
            let text = set.get(tag).and_then(|e| characters.text(e.bytes()).ok());
            text.filter(|text| !text.is_empty())
        };
        for item in items(root, t::DOSE_REFERENCE_SEQUENCE).into_iter().take(REFERENCES_MAX) {
            let Some(number) = natural(item, t::DOSE_REFERENCE_NUMBER) else { continue };
            read.references.push(DoseReference {
                number,
                uid: uid_of(item, t::DOSE_REFERENCE_UID),
                description: text(item, t::DOSE_REFERENCE_DESCRIPTION),
                is_target: item.get(t::DOSE_REFERENCE_TYPE).is_some_and(|e| code(e.bytes()).as_deref() == Ok("TARGET")),
                prescribed: dose(item, t::TARGET_PRESCRIPTION_DOSE),
                maximum: dose(item, t::ORGAN_AT_RISK_MAXIMUM_DOSE).or_else(|| dose(item, t::DELIVERY_MAXIMUM_DOSE)),
            });
        }
        read.references.sort_by_key(|reference| reference.number);
        // Two of one number are none: which of them a beam means can't be told.
        let twice = |number| read.references.iter().filter(|one| one.number == number).count() > 1;
        let twice: Vec<u32> = read.references.iter().map(|one| one.number).filter(|number| twice(*number)).collect();
        read.references.retain(|one| !twice.contains(&one.number));
        for group in items(root, t::FRACTION_GROUP_SEQUENCE) {
            let Some(number) = natural(group, t::FRACTION_GROUP_NUMBER) else { continue };
            for beam in items(group, t::REFERENCED_BEAM_SEQUENCE) {
                let Some(beam_number) = natural(beam, t::REFERENCED_BEAM_NUMBER) else { continue };
                let given =
                    BeamDose { dose: dose(beam, t::BEAM_DOSE), at: uid_of(beam, t::REFERENCED_DOSE_REFERENCE_UID) };
                read.doses.insert((number, beam_number), given);
            }
        }
        for (beam, set) in beams {
            read.grow(*beam, *set, points);
        }
        read
    }

    /// At which reference each beam's dose is; `?` where it isn't one of the plan's.
    pub(super) fn points(&self) -> Vec<String> {
        let number =
            |uid: &String| self.references.iter().find(|one| one.uid.as_ref() == Some(uid)).map(|one| one.number);
        let line = |((group, beam), given): (&(u32, u32), &BeamDose)| {
            let at = given.at.as_ref()?;
            let at = number(at).map_or("?".to_owned(), |number| number.to_string());
            Some(format!("group {group} beam {beam} at {at}"))
        };
        self.doses.iter().filter_map(line).collect()
    }

    fn grow(&mut self, beam: u32, set: Set<'_>, points: Tag) {
        let place = Place::beam(beam);
        let Some(whole) = number(set, t::FINAL_CUMULATIVE_METERSET_WEIGHT, &place).ok().flatten() else { return };
        for point in items(set, points) {
            let weight = number(point, t::CUMULATIVE_METERSET_WEIGHT, &place).ok().flatten();
            let Some(share) = weight.and_then(|weight| weight.share(whole, SHARE_PLACES)) else { continue };
            for one in items(point, t::REFERENCED_DOSE_REFERENCE_SEQUENCE) {
                let coefficient = number(one, t::CUMULATIVE_DOSE_REFERENCE_COEFFICIENT, &place).ok().flatten();
                let coefficient = coefficient.and_then(|coefficient| coefficient.fixed(SHARE_PLACES));
                let reference = natural(one, t::REFERENCED_DOSE_REFERENCE_NUMBER);
                if let Some((reference, coefficient)) = reference.zip(coefficient)
                    && self.references.iter().any(|known| known.number == reference)
                {
                    self.growth.entry((beam, reference)).or_default().push((share, coefficient));
                }
            }
        }
    }

    /// What a dose reference gets where so much of a beam's meterset (millionths) is delivered in one fraction of a group; none where
    /// the plan doesn't say. From one control point to the next it grows as the meterset does.
    pub fn dose(&self, group: u32, beam: u32, reference: &DoseReference, share: i64) -> Option<Dose> {
        let BeamDose { dose, at } = self.doses.get(&(group, beam))?;
        let coefficient = match self.growth.get(&(beam, reference.number)) {
            Some(growth) => grown(growth, share)?,
            // It is the beam's own point.
            None if at.is_some() && *at == reference.uid => share,
            None => return None,
        };
        let product = i128::from((*dose)?.0) * i128::from(coefficient) / i128::from(WHOLE);
        i64::try_from(product).ok().map(Dose)
    }
}

/// Between the points that it lies between, in proportion.
fn grown(growth: &Growth, share: i64) -> Option<i64> {
    let behind = growth.iter().position(|(at, _)| *at >= share).or(growth.len().checked_sub(1))?;
    let (to, last) = *growth.get(behind)?;
    let (from, first) = behind.checked_sub(1).and_then(|before| growth.get(before)).copied().unwrap_or((0, 0));
    if share >= to || to == from {
        return Some(last);
    }
    let part = i128::from(last - first) * i128::from(share - from) / i128::from(to - from);
    i64::try_from(part).ok().map(|part| first + part)
}

fn items(set: Set<'_>, tag: Tag) -> Vec<Set<'_>> {
    sequence(set, tag, &Place::default()).unwrap_or_default()
}

pub(crate) fn natural(set: Set<'_>, tag: Tag) -> Option<u32> {
    integer(set, tag, &Place::default()).ok()?.and_then(|number| u32::try_from(number).ok())
}

pub(crate) fn dose(set: Set<'_>, tag: Tag) -> Option<Dose> {
    let dose = number(set, tag, &Place::default()).ok()??;
    (!dose.is_negative()).then_some(dose.fixed(DOSE_PLACES).map(Dose)).flatten()
}

fn uid_of(set: Set<'_>, tag: Tag) -> Option<String> {
    uid(set.get(tag)?.bytes()).ok().filter(|uid| !uid.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dose_grows_from_control_point_to_control_point() {
        // Half the meterset, four fifths of the dose.
        let growth = vec![(0, 0), (WHOLE / 2, WHOLE * 8 / 10), (WHOLE, WHOLE)];
        let at = |share| grown(&growth, share);
        assert_eq!(
            [0, 250_000, 500_000, 750_000, 1_000_000].map(at),
            [0, 400_000, 800_000, 900_000, 1_000_000].map(Some)
        );
        // More than all of it is no more than all of it here: whole ones are counted before.
        assert_eq!(at(1_200_000), Some(WHOLE));
        assert_eq!(grown(&vec![], 1), None);
        assert_eq!(Dose(700_049).to_string(), "70.00 Gy");
    }
}

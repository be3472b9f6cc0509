//! How much of a course has been given, from the records that treatment machines write.

use std::collections::BTreeSet;
use std::fmt;

use dicom_dictionary_std::tags as t;
use serde::{Deserialize, Serialize};

use crate::delivery::Place;
use crate::error::PlanError;
use crate::object::{Instance, Kind, ObjectError};
use crate::read::{integer, number, sequence};
use crate::scan::{Attribute, Set, Tree};
use crate::value::{code, trimmed, uid};

/// One RT Beams or RT Ion Beams Treatment Record, as far as it tells what was given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TreatmentRecord {
    pub instance: Instance,
    /// SOP Instance UID of the plan that was delivered; none where the record doesn't say.
    pub plan: Option<String>,
    pub fraction_group: Option<u32>,
    /// `YYYYMMDD`.
    pub treatment_date: Option<String>,
    pub beams: Vec<RecordedBeam>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordedBeam {
    pub number: Option<u32>,
    pub fraction: Option<u32>,
    /// False for a setup or imaging beam, and for one that delivered nothing at all.
    pub gave_dose: bool,
}

impl TreatmentRecord {
    /// Whether any of its beams gave dose, as far as it tells.
    pub fn gave_dose(&self) -> bool {
        self.beams.iter().any(|beam| beam.gave_dose)
    }

    /// A file, with or without a Part 10 header.
    pub fn parse(bytes: &[u8]) -> Result<Self, PlanError> {
        Self::of_tree(&Tree::of_file(bytes)?)
    }

    fn of_tree(tree: &Tree<'_>) -> Result<Self, PlanError> {
        let instance = Instance::of_tree(tree)?;
        let session = match instance.kind {
            Kind::RtBeamsRecord => t::TREATMENT_SESSION_BEAM_SEQUENCE,
            Kind::RtIonBeamsRecord => t::TREATMENT_SESSION_ION_BEAM_SEQUENCE,
            kind => return Err(ObjectError::Class { uid: kind.sop_class().to_owned() }.into()),
        };
        let (root, place) = (tree.root(), Place::default());
        let plan = match sequence(root, t::REFERENCED_RT_PLAN_SEQUENCE, &place)?.first() {
            None => None,
            Some(plan) => match plan.get(t::REFERENCED_SOP_INSTANCE_UID) {
                None => None,
                Some(element) => Some(uid(element.bytes()).map_err(|fault| PlanError::Value {
                    place: place.clone(),
                    attribute: Attribute(t::REFERENCED_SOP_INSTANCE_UID),
                    fault,
                })?),
            },
        };
        let beams = sequence(root, session, &place)?.into_iter().map(|beam| recorded(beam, &place));
        let beams = beams.collect::<Result<_, _>>()?;
        Ok(Self {
            plan,
            fraction_group: positive(root, t::REFERENCED_FRACTION_GROUP_NUMBER, &place)?,
            treatment_date: root
                .get(t::TREATMENT_DATE)
                .map(|e| String::from_utf8_lossy(trimmed(e.bytes())).into_owned())
                .filter(|date| date.len() == 8 && date.bytes().all(|b| b.is_ascii_digit())),
            beams,
            instance,
        })
    }
}

fn recorded(beam: Set<'_>, place: &Place) -> Result<RecordedBeam, PlanError> {
    let kind = beam.get(t::TREATMENT_DELIVERY_TYPE).and_then(|e| code(e.bytes()).ok()).unwrap_or_default();
    let delivered = number(beam, t::DELIVERED_PRIMARY_METERSET, place)?;
    Ok(RecordedBeam {
        number: positive(beam, t::REFERENCED_BEAM_NUMBER, place)?,
        fraction: positive(beam, t::CURRENT_FRACTION_NUMBER, place)?,
        // What isn't said to be imaging treated, and what isn't said to be nothing was something.
        gave_dose: !matches!(kind.as_str(), "SETUP" | "OPEN_PORTFILM" | "TRMT_PORTFILM")
            && delivered.is_none_or(|meterset| !meterset.is_zero()),
    })
}

fn positive(set: Set<'_>, tag: dicom_core::Tag, place: &Place) -> Result<Option<u32>, PlanError> {
    Ok(integer(set, tag, place)?.and_then(|n| u32::try_from(n).ok()).filter(|n| *n > 0))
}

/// How many fractions were given.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "state")]
pub enum Given {
    Known {
        /// Different fraction numbers on record: a record sent again, and the partial records of one fraction, count
        /// once.
        distinct: u32,
        /// The highest fraction number on record. Where it is above `distinct`, records are missing.
        highest: u32,
    },
    Unknown {
        why: Vec<Unknown>,
    },
}

impl Given {
    /// No record at all.
    pub const NONE: Self = Self::Known { distinct: 0, highest: 0 };

    /// Fractions that must be taken as given: a missing record is no licence to give a fraction again.
    pub fn fractions(&self) -> Option<u32> {
        match self {
            Self::Known { distinct, highest } => Some(*distinct.max(highest)),
            Self::Unknown { .. } => None,
        }
    }
}

/// Why the count is not known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Unknown {
    UnreadableRecord,
    NoPlan,
    NoFractionGroup,
    NoFractionNumber,
    UnknownPlan,
}

impl fmt::Display for Unknown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::UnreadableRecord => "a treatment record can't be read",
            Self::NoPlan => "a treatment record doesn't say which plan it is of",
            Self::NoFractionGroup => "a treatment record doesn't say which fraction group it is of",
            Self::NoFractionNumber => "a treatment record doesn't say which fraction it is of",
            Self::UnknownPlan => {
                "a treatment record is of a plan that isn't here: store that plan, and it is known what it gave"
            }
        })
    }
}

/// Counts one patient's records for one fraction group of one plan, under all the SOP Instance UIDs that the same
/// delivery was exported by.
pub struct Course<'a> {
    plans: &'a BTreeSet<String>,
    group: u32,
    /// With one group in the plan, a record need not name it.
    only_group: bool,
    fractions: BTreeSet<u32>,
    unknown: BTreeSet<Unknown>,
}

impl<'a> Course<'a> {
    pub fn new(plans: &'a BTreeSet<String>, group: u32, only_group: bool) -> Self {
        Self { plans, group, only_group, fractions: BTreeSet::new(), unknown: BTreeSet::new() }
    }

    /// The count isn't known, for a reason that the records alone don't show.
    pub fn doubt(&mut self, why: Unknown) {
        self.unknown.insert(why);
    }

    /// Any record of the patient, in any order, as often as it came.
    pub fn add(&mut self, record: &Result<TreatmentRecord, PlanError>) {
        let Ok(record) = record else {
            self.unknown.insert(Unknown::UnreadableRecord);
            return;
        };
        match &record.plan {
            None => {
                self.unknown.insert(Unknown::NoPlan);
                return;
            }
            Some(plan) if !self.plans.contains(plan) => return,
            Some(_) => {}
        }
        let beams: Vec<&RecordedBeam> = record.beams.iter().filter(|beam| beam.gave_dose).collect();
        if beams.is_empty() {
            return;
        }
        match record.fraction_group {
            Some(group) if group != self.group => return,
            None if !self.only_group => {
                self.unknown.insert(Unknown::NoFractionGroup);
                return;
            }
            _ => {}
        }
        for beam in beams {
            match beam.fraction {
                Some(fraction) => self.fractions.insert(fraction),
                None => self.unknown.insert(Unknown::NoFractionNumber),
            };
        }
    }

    pub fn given(&self) -> Given {
        if !self.unknown.is_empty() {
            return Given::Unknown { why: self.unknown.iter().copied().collect() };
        }
        Given::Known {
            distinct: u32::try_from(self.fractions.len()).unwrap_or(u32::MAX),
            highest: self.fractions.last().copied().unwrap_or(0),
        }
    }
}

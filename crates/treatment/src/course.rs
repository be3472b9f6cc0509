//! How much of a course has been given, from the records that treatment machines write.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use dicom_core::Tag;
use dicom_dictionary_std::tags as t;
use serde::{Deserialize, Serialize};

use crate::delivery::Place;
use crate::error::PlanError;
use crate::object::{Instance, Kind, ObjectError};
use crate::plan::{FractionGroup, Plan};
use crate::read::{integer, number, sequence};
use crate::scan::{Attribute, Set, Tree};
use crate::schema;
use crate::value::{Number, code, trimmed, uid};

/// One RT Beams or RT Ion Beams Treatment Record, or RT Treatment Summary Record, as far as it tells what was given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TreatmentRecord {
    pub instance: Instance,
    /// SOP Instance UID of the plan that was delivered; none where the record doesn't say.
    pub plan: Option<String>,
    pub fraction_group: Option<u32>,
    /// Treatment Date and Time, as they stand there; none where one of them is missing.
    pub treated_at: Option<String>,
    pub beams: Vec<RecordedBeam>,
    /// Of a summary: what it counts in each fraction group.
    pub summaries: Vec<GroupSummary>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordedBeam {
    pub number: Option<u32>,
    pub fraction: Option<u32>,
    /// It says that it set up or took an image.
    pub imaging: bool,
    /// Thousandths of the dosimeter unit; none where it isn't said.
    pub delivered: Option<i64>,
    /// Less than nothing was delivered, or nothing where a control point says otherwise.
    pub contradicts: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GroupSummary {
    pub group: Option<u32>,
    pub fractions_delivered: Option<u32>,
}

impl RecordedBeam {
    /// What isn't said to be imaging treated, and what isn't said to be nothing was something.
    fn gave_dose(&self) -> bool {
        self.contradicts || (!self.imaging && self.delivered != Some(0))
    }
}

impl TreatmentRecord {
    /// Whether any of its beams gave dose, as far as it tells.
    pub fn gave_dose(&self) -> bool {
        self.beams.iter().any(RecordedBeam::gave_dose)
            || self.summaries.iter().any(|s| s.fractions_delivered != Some(0))
    }

    /// A file, with or without a Part 10 header.
    pub fn parse(bytes: &[u8]) -> Result<Self, PlanError> {
        Self::of_tree(&Tree::of_file(bytes)?)
    }

    fn of_tree(tree: &Tree<'_>) -> Result<Self, PlanError> {
        let instance = Instance::of_tree(tree)?;
        let (root, place) = (tree.root(), Place::default());
        let (mut beams, mut summaries) = (Vec::new(), Vec::new());
        let mut session = |beam_sequence, points| {
            for beam in sequence(root, beam_sequence, &place)? {
                beams.push(recorded(beam, points, &place)?);
            }
            Ok::<_, PlanError>(())
        };
        match instance.kind {
            Kind::RtBeamsRecord => session(t::TREATMENT_SESSION_BEAM_SEQUENCE, t::CONTROL_POINT_DELIVERY_SEQUENCE)?,
            Kind::RtIonBeamsRecord => {
                session(t::TREATMENT_SESSION_ION_BEAM_SEQUENCE, t::ION_CONTROL_POINT_DELIVERY_SEQUENCE)?;
            }
            Kind::RtTreatmentSummary => {
                for group in sequence(root, t::FRACTION_GROUP_SUMMARY_SEQUENCE, &place)? {
                    let delivered = integer(group, t::NUMBER_OF_FRACTIONS_DELIVERED, &place)?;
                    summaries.push(GroupSummary {
                        group: positive(group, t::REFERENCED_FRACTION_GROUP_NUMBER, &place)?,
                        fractions_delivered: delivered.and_then(|n| u32::try_from(n).ok()),
                    });
                }
            }
            kind => return Err(ObjectError::Class { uid: kind.sop_class().to_owned() }.into()),
        }
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
        let text = |tag| {
            let text = root.get(tag).map(|e| String::from_utf8_lossy(trimmed(e.bytes())).into_owned());
            text.filter(|text| text.bytes().any(|byte| byte.is_ascii_digit()))
        };
        Ok(Self {
            plan,
            fraction_group: positive(root, t::REFERENCED_FRACTION_GROUP_NUMBER, &place)?,
            treated_at: text(t::TREATMENT_DATE)
                .zip(text(t::TREATMENT_TIME))
                .map(|(date, time)| format!("{date} {time}")),
            beams,
            summaries,
            instance,
        })
    }
}

fn recorded(beam: Set<'_>, points: Tag, place: &Place) -> Result<RecordedBeam, PlanError> {
    let kind = beam.get(t::TREATMENT_DELIVERY_TYPE).and_then(|e| code(e.bytes()).ok()).unwrap_or_default();
    let said = number(beam, t::DELIVERED_PRIMARY_METERSET, place)?;
    // From the meterset where it began (a resumed beam's isn't zero) to the one where it ended.
    let mut reached = BTreeSet::new();
    for point in sequence(beam, points, place)? {
        reached.extend(thousandths(number(point, t::DELIVERED_METERSET, place)?));
    }
    let moved = reached.len() > 1;
    Ok(RecordedBeam {
        number: positive(beam, t::REFERENCED_BEAM_NUMBER, place)?,
        fraction: positive(beam, t::CURRENT_FRACTION_NUMBER, place)?,
        imaging: matches!(kind.as_str(), "SETUP" | "OPEN_PORTFILM" | "TRMT_PORTFILM"),
        delivered: thousandths(said),
        contradicts: said.is_some_and(|said| said.is_negative() || (said.is_zero() && moved)),
    })
}

fn thousandths(meterset: Option<Number>) -> Option<i64> {
    meterset?.fixed(schema::Kind::Meterset.places())
}

fn positive(set: Set<'_>, tag: dicom_core::Tag, place: &Place) -> Result<Option<u32>, PlanError> {
    Ok(integer(set, tag, place)?.and_then(|n| u32::try_from(n).ok()).filter(|n| *n > 0))
}

/// How many fractions were given.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "state")]
pub enum Given {
    Known {
        /// Whole fractions that the delivered metersets make, and the begun ones: a record that came again counts once,
        /// and so do the parts of an interrupted fraction.
        distinct: u32,
        /// The highest fraction number on record, or a summary's count. Where it is above `distinct`, records are missing.
        highest: u32,
        /// The newest fraction, where a beam of it hasn't delivered its meterset.
        unfinished: Option<u32>,
    },
    Unknown {
        why: Vec<Unknown>,
    },
}

impl Given {
    /// No record at all.
    pub const NONE: Self = Self::Known { distinct: 0, highest: 0, unfinished: None };

    /// Fractions that must be taken as given: a missing record is no licence to give a fraction again.
    pub fn fractions(&self) -> Option<u32> {
        match self {
            Self::Known { distinct, highest, .. } => Some(*distinct.max(highest)),
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
    UnknownFractionGroup,
    NoFractionNumber,
    Contradiction,
    UnknownPlan,
}

impl fmt::Display for Unknown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::UnreadableRecord => "a treatment record can't be read",
            Self::NoPlan => "a treatment record doesn't say which plan it is of",
            Self::NoFractionGroup => "a treatment record doesn't say which fraction group it is of",
            Self::UnknownFractionGroup => "a treatment record names a fraction group that the plan doesn't have",
            Self::Contradiction => "a treatment record contradicts itself about what was delivered",
            Self::NoFractionNumber => "a treatment record doesn't say which fraction it is of",
            Self::UnknownPlan => {
                "a treatment record is of a plan that isn't here: store that plan, and it is known what it gave"
            }
        })
    }
}

/// Of a beam's meterset, in millionths.
type Share = u64;
const WHOLE: Share = 1_000_000;
/// What a fraction may be over or under and still be one.
const SLACK: Share = WHOLE / 20;
/// A beam that is said to have taken an image has treated where it delivered that much.
const NO_IMAGE: Share = WHOLE / 2;

/// What one beam delivered, by session: a record that came again is the same session.
type Sessions = BTreeMap<String, Share>;

/// Counts one patient's records for one fraction group of one plan, under all the SOP Instance UIDs that the same
/// delivery was exported by.
///
/// It is metersets that are counted, not fraction numbers alone: numbers begin again after a second import, and some
/// machines write the same one every day.
pub struct Course<'a> {
    plans: &'a BTreeSet<String>,
    plan: &'a Plan,
    group: &'a FractionGroup,
    /// By fraction number and beam.
    fractions: BTreeMap<u32, BTreeMap<Option<u32>, Sessions>>,
    summary: u32,
    unknown: BTreeSet<Unknown>,
}

impl<'a> Course<'a> {
    pub fn new(plans: &'a BTreeSet<String>, plan: &'a Plan, group: &'a FractionGroup) -> Self {
        Self { plans, plan, group, fractions: BTreeMap::new(), summary: 0, unknown: BTreeSet::new() }
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
        for summary in record.summaries.iter().filter(|summary| summary.fractions_delivered != Some(0)) {
            match (self.concerns(summary.group), summary.fractions_delivered) {
                (Ok(false), _) => {}
                (Ok(true), Some(delivered)) => self.summary = self.summary.max(delivered),
                (Ok(true), None) => self.doubt(Unknown::NoFractionNumber),
                (Err(why), _) => self.doubt(why),
            }
        }
        self.add_beams(record);
    }

    fn add_beams(&mut self, record: &TreatmentRecord) {
        let mut shares: BTreeMap<(u32, Option<u32>), Share> = BTreeMap::new();
        for beam in &record.beams {
            let share = self.share(beam);
            if !beam.contradicts && share == 0 {
                continue;
            }
            match (self.concerns(record.fraction_group), beam.fraction) {
                (Ok(false), _) => {}
                (Err(why), _) => self.doubt(why),
                _ if beam.contradicts => self.doubt(Unknown::Contradiction),
                (Ok(true), None) => self.doubt(Unknown::NoFractionNumber),
                (Ok(true), Some(fraction)) => *shares.entry((fraction, beam.number)).or_default() += share,
            }
        }
        let session = record.treated_at.as_ref().unwrap_or(&record.instance.sop_instance);
        for ((fraction, beam), share) in shares {
            let sessions = self.fractions.entry(fraction).or_default().entry(beam).or_default();
            let known = sessions.entry(session.clone()).or_default();
            *known = share.max(*known);
        }
    }

    /// Whether a record is of our fraction group.
    fn concerns(&self, group: Option<u32>) -> Result<bool, Unknown> {
        match group {
            Some(number) if number == self.group.number => Ok(true),
            Some(number) if self.plan.groups.iter().any(|group| group.number == number) => Ok(false),
            Some(_) => Err(Unknown::UnknownFractionGroup),
            // With one group in the plan, a record need not name it.
            None if self.plan.groups.len() == 1 => Ok(true),
            None => Err(Unknown::NoFractionGroup),
        }
    }

    /// What it delivered of what its beam should: all of it, where either isn't said.
    fn share(&self, beam: &RecordedBeam) -> Share {
        let planned = beam.number.and_then(|number| self.group.metersets.get(&number));
        let share = match (beam.delivered, planned) {
            (Some(0), _) => 0,
            (Some(delivered), Some(planned)) if *planned > 0 => {
                let millionths = i128::from(delivered) * i128::from(WHOLE) / i128::from(*planned);
                Share::try_from(millionths.max(1)).unwrap_or(Share::MAX / 1_000)
            }
            // An image by a beam that treats nobody.
            (_, None) if beam.imaging => 0,
            _ => WHOLE,
        };
        if beam.imaging && share < NO_IMAGE { 0 } else { share }
    }

    pub fn given(&self) -> Given {
        if !self.unknown.is_empty() {
            return Given::Unknown { why: self.unknown.iter().copied().collect() };
        }
        let delivered = |sessions: &Sessions| sessions.values().fold(0, |sum: Share, share| sum.saturating_add(*share));
        let whole = |beams: &BTreeMap<Option<u32>, Sessions>| {
            let most = beams.values().map(delivered).max().unwrap_or(0);
            u32::try_from(most.saturating_sub(SLACK).div_ceil(WHOLE).max(1)).unwrap_or(u32::MAX)
        };
        let unfinished = self.fractions.last_key_value().filter(|(_, beams)| {
            let lacks = |number: &u32| beams.get(&Some(*number)).map_or(0, delivered) < WHOLE - SLACK;
            let told_apart = beams.keys().all(|beam| beam.is_some_and(|beam| self.group.beams.contains(&beam)));
            told_apart && self.group.metersets.keys().any(lacks)
        });
        Given::Known {
            distinct: self.fractions.values().map(whole).fold(0, u32::saturating_add),
            highest: self.fractions.last_key_value().map_or(0, |(number, _)| *number).max(self.summary),
            unfinished: unfinished.map(|(number, _)| *number),
        }
    }
}

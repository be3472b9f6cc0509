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
    /// SOP Instance UID of the plan that was delivered: none where the record doesn't say, several where it contradicts
    /// the standard.
    pub plans: Vec<String>,
    pub fraction_group: Option<u32>,
    /// Treatment Date and Time, to the second; none where one of them is missing.
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
    /// Thousandths of the dosimeter unit, as the beam says, or what its control points went through where that is more;
    /// none where the beam doesn't say.
    pub delivered: Option<i64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GroupSummary {
    pub group: Option<u32>,
    pub fractions_delivered: Option<u32>,
}

/// 20 MU: a portal image takes some.
const IMAGE_MAX: i64 = 20_000;

impl RecordedBeam {
    /// What isn't said to be imaging treated, and what isn't said to be nothing was something. Nobody images with as much
    /// as a small fraction's beam delivers.
    fn gave_dose(&self) -> bool {
        match self.delivered {
            Some(delivered) if self.imaging => delivered >= IMAGE_MAX,
            delivered => !self.imaging && delivered != Some(0),
        }
    }
}

impl TreatmentRecord {
    /// Whether any of its beams gave dose, as far as it tells.
    pub fn gave_dose(&self) -> bool {
        self.beams.iter().any(RecordedBeam::gave_dose)
            || self.summaries.iter().any(|s| s.fractions_delivered.is_some_and(|n| n > 0))
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
            let items = sequence(root, beam_sequence, &place)?;
            // Type 1, one item or more (PS3.3 sections C.8.8.21 and C.8.8.26, edition 2024d).
            if items.iter().all(|beam| beam.elements().next().is_none()) {
                return Err(PlanError::Object(ObjectError::EmptyRecord { attribute: Attribute(beam_sequence) }));
            }
            for beam in items {
                beams.push(recorded(beam, points, &place)?);
            }
            Ok(())
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
        let mut plans = Vec::new();
        for plan in sequence(root, t::REFERENCED_RT_PLAN_SEQUENCE, &place)? {
            let Some(element) = plan.get(t::REFERENCED_SOP_INSTANCE_UID) else { continue };
            plans.push(uid(element.bytes()).map_err(|fault| PlanError::Value {
                place: place.clone(),
                attribute: Attribute(t::REFERENCED_SOP_INSTANCE_UID),
                fault,
            })?);
        }
        // Hours, minutes, seconds: an archive may write fractions of a second, or leave them.
        let digits = |tag, many: usize| {
            let text = root.get(tag).map(|e| String::from_utf8_lossy(trimmed(e.bytes())).into_owned())?;
            let digits: String =
                text.chars().take_while(|c| *c != '.').filter(char::is_ascii_digit).take(many).collect();
            (!digits.is_empty()).then(|| format!("{digits:0<many$}"))
        };
        Ok(Self {
            plans,
            fraction_group: positive(root, t::REFERENCED_FRACTION_GROUP_NUMBER, &place)?,
            treated_at: digits(t::TREATMENT_DATE, 8)
                .zip(digits(t::TREATMENT_TIME, 6))
                .map(|(date, time)| format!("{date} {time}")),
            beams,
            summaries,
            instance,
        })
    }
}

fn recorded(beam: Set<'_>, points: Tag, place: &Place) -> Result<RecordedBeam, PlanError> {
    let kind = beam.get(t::TREATMENT_DELIVERY_TYPE).and_then(|e| code(e.bytes()).ok()).unwrap_or_default();
    let said = thousandths(number(beam, t::DELIVERED_PRIMARY_METERSET, place)?);
    // From the meterset where it began (a resumed beam's isn't zero) to the one where it ended.
    let mut reached = BTreeSet::new();
    for point in sequence(beam, points, place)? {
        reached.extend(thousandths(number(point, t::DELIVERED_METERSET, place)?));
    }
    let moved = reached.first().zip(reached.last()).map(|(first, last)| last.saturating_sub(*first));
    Ok(RecordedBeam {
        number: positive(beam, t::REFERENCED_BEAM_NUMBER, place)?,
        fraction: positive(beam, t::CURRENT_FRACTION_NUMBER, place)?,
        imaging: matches!(kind.as_str(), "SETUP" | "OPEN_PORTFILM" | "TRMT_PORTFILM"),
        // Less than nothing is as good as unsaid; control points alone say nothing of a beam that says nothing.
        delivered: said.filter(|said| *said >= 0).map(|said| said.max(moved.unwrap_or(0))),
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
    Implausible,
    AnothersRecord,
    UnknownPlan,
}

impl fmt::Display for Unknown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::UnreadableRecord => "a treatment record can't be read",
            Self::NoPlan => "a treatment record doesn't say which plan it is of",
            Self::NoFractionGroup => "a treatment record doesn't say which fraction group it is of",
            Self::UnknownFractionGroup => "a treatment record names a fraction group that the plan doesn't have",
            Self::Implausible => "a treatment record says that a beam delivered several times its meterset",
            Self::AnothersRecord => "a treatment record of this plan is filed under another patient",
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
/// A beam that is said to have taken images has treated where they add up to that much.
const NO_IMAGE: Share = WHOLE / 2;
/// More in one session is a wrong number, not a treatment.
const SESSION_MAX: Share = 3 * WHOLE;

/// A beam, and whether it is said to have taken an image.
type Exposure = (Option<u32>, bool);

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
    fractions: BTreeMap<u32, BTreeMap<Exposure, Sessions>>,
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
        if record.plans.is_empty() {
            // What gave nothing, as far as it tells, is missing from no plan's count: a summary without a number, for one.
            if record.gave_dose() {
                self.unknown.insert(Unknown::NoPlan);
            }
            return;
        }
        if !record.plans.iter().any(|plan| self.plans.contains(plan)) {
            return;
        }
        for summary in &record.summaries {
            // An empty count says nothing; the other records do.
            let Some(delivered) = summary.fractions_delivered.filter(|delivered| *delivered > 0) else { continue };
            match self.concerns(summary.group) {
                Ok(false) => {}
                Ok(true) => self.summary = self.summary.max(delivered),
                Err(why) => self.doubt(why),
            }
        }
        self.add_beams(record);
    }

    fn add_beams(&mut self, record: &TreatmentRecord) {
        let mut shares: BTreeMap<(u32, Exposure), Share> = BTreeMap::new();
        for beam in &record.beams {
            let share = self.share(beam);
            if share == 0 {
                continue;
            }
            match (self.concerns(record.fraction_group), beam.fraction) {
                (Ok(false), _) => {}
                // An image may belong to no fraction.
                (Err(_), _) | (_, None) if beam.imaging && share < NO_IMAGE => {}
                (Err(why), _) => self.doubt(why),
                (Ok(true), None) => self.doubt(Unknown::NoFractionNumber),
                (Ok(true), Some(fraction)) => {
                    *shares.entry((fraction, (beam.number, beam.imaging))).or_default() += share;
                }
            }
        }
        let session = record.treated_at.as_ref().unwrap_or(&record.instance.sop_instance);
        for ((fraction, exposure), share) in shares {
            if share > SESSION_MAX {
                self.doubt(Unknown::Implausible);
            }
            let sessions = self.fractions.entry(fraction).or_default().entry(exposure).or_default();
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
        match (beam.delivered, planned) {
            (Some(0), _) => 0,
            (Some(delivered), Some(planned)) if *planned > 0 => {
                let millionths = i128::from(delivered) * i128::from(WHOLE) / i128::from(*planned);
                Share::try_from(millionths.max(1)).unwrap_or(Share::MAX / 1_000)
            }
            // An image by a beam that treats nobody, or of which nothing more is said.
            (_, None) | (None, _) if beam.imaging => 0,
            _ => WHOLE,
        }
    }

    pub fn given(&self) -> Given {
        if !self.unknown.is_empty() {
            return Given::Unknown { why: self.unknown.iter().copied().collect() };
        }
        let delivered = |(exposure, sessions): (&Exposure, &Sessions)| {
            let sum = sessions.values().fold(0, |sum: Share, share| sum.saturating_add(*share));
            if exposure.1 && sum < NO_IMAGE { 0 } else { sum }
        };
        let treated = |beams: &BTreeMap<Exposure, Sessions>| beams.iter().any(|one| delivered(one) > 0);
        let whole = |beams: &BTreeMap<Exposure, Sessions>| {
            let most = beams.iter().map(delivered).max().unwrap_or(0);
            u32::try_from(most.saturating_sub(SLACK).div_ceil(WHOLE).max(1)).unwrap_or(u32::MAX)
        };
        let fractions: BTreeMap<u32, &BTreeMap<Exposure, Sessions>> =
            self.fractions.iter().filter(|(_, beams)| treated(beams)).map(|(number, beams)| (*number, beams)).collect();
        let newest = fractions.last_key_value();
        let unfinished = newest.filter(|(_, beams)| {
            let of = |number: u32| -> Share {
                let exposures = [false, true].map(|imaging| (Some(number), imaging));
                exposures.iter().filter_map(|exposure| beams.get_key_value(exposure)).map(delivered).sum()
            };
            let told_apart = beams.keys().all(|(beam, _)| beam.is_some_and(|beam| self.group.beams.contains(&beam)));
            told_apart && self.group.metersets.keys().any(|number| of(*number) < WHOLE - SLACK)
        });
        Given::Known {
            distinct: fractions.values().map(|beams| whole(beams)).fold(0, u32::saturating_add),
            highest: newest.map_or(0, |(number, _)| *number).max(self.summary),
            unfinished: unfinished.map(|(number, _)| *number),
        }
    }
}

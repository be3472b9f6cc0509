//! What is said beside the plan of the fraction to come: its fraction group and number, and, where a treatment management system
//! writes one, its RT Beams Delivery Instruction (PS3.3 section C.8.8.29, edition 2024d).

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use dicom_dictionary_std::tags as t;
use serde::{Deserialize, Serialize};

use super::begun::{Begun, Stretch};
use crate::dicom::object::{Instance, Kind, ObjectError};
use crate::dicom::read::{self, integer, sequence};
use crate::dicom::scan::{Attribute, Set, Tree};
use crate::dicom::value::{code, uid};
use crate::error::PlanError;
use crate::interruption::calendar::Day;
use crate::plan::delivery::Place;
use crate::plan::{FractionGroup, Plan};

/// As far as it is said; what isn't is not held against anybody, but for the group of a plan that has several.
#[derive(Clone, Debug, Default)]
pub struct Asked {
    /// Fraction Group Number.
    pub fraction_group: Option<u32>,
    /// Fraction Number, from 1.
    pub fraction: Option<u32>,
    /// Treatment Machine Name of where it is about to be delivered.
    pub machine: Option<String>,
    pub instruction: Option<Result<Instruction, PlanError>>,
}

/// What the machine is told to deliver in this session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Instruction {
    pub instance: Instance,
    /// SOP class and instance UID.
    pub plan_class: String,
    pub plan: String,
    /// Of all of its beams: only one may be said.
    pub fraction_group: Option<u32>,
    /// What each beam that treats is a fraction of: numbers, from 1.
    pub fractions: BTreeSet<u32>,
    /// Beam numbers that treat.
    pub beams: BTreeSet<u32>,
    /// Of these, which go on where they were interrupted, or begin or end elsewhere than the plan does.
    pub continued: BTreeMap<u32, Stretch>,
    /// It leaves tasks out, or says that it does.
    pub omits: bool,
}

/// Why an instruction isn't of this plan's fraction.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "what")]
pub enum InstructionGap {
    Unreadable {
        message: String,
    },
    AnotherPlan,
    AnotherPatient,
    /// Its group, and the one that was asked for beside it.
    AnotherGroup,
    SeveralFractions {
        fractions: Vec<u32>,
    },
    /// Beams of the group that it leaves out.
    BeamsMissing {
        beams: Vec<u32>,
    },
    /// Beams that it treats with, and that don't treat in the group.
    BeamsUnknown {
        beams: Vec<u32>,
    },
    /// It gives the rest of beams, and a whole fraction is due.
    Continuation {
        beams: Vec<u32>,
    },
    /// Beams of a begun fraction that it treats with, and that have delivered all of theirs.
    BeamsWhole {
        beams: Vec<u32>,
    },
    /// A beam of a begun fraction goes on elsewhere than it stopped, or ends elsewhere than it should; thousandths of the plan's
    /// dosimeter unit. Nothing where the instruction gives all of it, or doesn't say.
    AnotherStretch {
        beam: u32,
        from: i64,
        to: i64,
        start: Option<i64>,
        end: Option<i64>,
    },
    /// The rest is due on the day on which it was begun; on another one it's a physicist's question.
    BegunOnAnotherDay {
        day: Option<String>,
    },
    /// Where the beams of the begun fraction stopped isn't plain from its records.
    RestNotPlain,
    Omits,
}

impl Asked {
    pub fn group(fraction_group: Option<u32>) -> Self {
        Self { fraction_group, ..Self::default() }
    }

    fn readable(&self) -> Option<&Instruction> {
        self.instruction.as_ref()?.as_ref().ok()
    }

    /// The instruction's word, where there is one.
    pub fn due_group(&self) -> Option<u32> {
        self.readable().and_then(|instruction| instruction.fraction_group).or(self.fraction_group)
    }

    /// Every number that is said: there should be one at most.
    pub(crate) fn fractions(&self) -> BTreeSet<u32> {
        let said = self.readable().map(|instruction| instruction.fractions.clone()).unwrap_or_default();
        said.into_iter().chain(self.fraction).collect()
    }

    /// The fraction that was begun, where the instruction is of that one.
    pub(crate) fn goes_on<'b>(&self, begun: Option<&'b Begun>) -> Option<&'b Begun> {
        begun.filter(|begun| self.readable().is_some_and(|said| said.fractions == BTreeSet::from([begun.fraction])))
    }

    /// Everything in which the instruction isn't what this plan delivers in one fraction of the group, or of one that was begun its
    /// rest.
    pub(crate) fn gaps(
        &self,
        plan: &Plan,
        group: Option<&FractionGroup>,
        (begun, today): (Option<&Begun>, Option<Day>),
    ) -> Vec<InstructionGap> {
        let instruction = match &self.instruction {
            None => return Vec::new(),
            Some(Err(error)) => return vec![InstructionGap::Unreadable { message: error.to_string() }],
            Some(Ok(instruction)) => instruction,
        };
        let Instruction { instance, plan_class, plan: named, fraction_group, fractions, beams, continued, omits } =
            instruction;
        let listed =
            |beams: BTreeSet<u32>| Some(beams.into_iter().collect::<Vec<_>>()).filter(|beams| !beams.is_empty());
        let mut gaps = Vec::new();
        let hers = &plan.instance;
        let is_it = *named == hers.sop_instance && plan_class == hers.kind.sop_class();
        gaps.extend((!is_it).then_some(InstructionGap::AnotherPlan));
        let differs = |one: &Option<String>, other: &Option<String>| one.is_some() && other.is_some() && one != other;
        let is_anothers = instance.patient_id != hers.patient_id
            || differs(&instance.birth_date, &hers.birth_date)
            || differs(&instance.sex, &hers.sex);
        gaps.extend(is_anothers.then_some(InstructionGap::AnotherPatient));
        let both = self.fraction_group.zip(*fraction_group);
        gaps.extend(both.filter(|(asked, said)| asked != said).map(|_| InstructionGap::AnotherGroup));
        if fractions.len() > 1 {
            gaps.extend(listed(fractions.clone()).map(|fractions| InstructionGap::SeveralFractions { fractions }));
        }
        if let Some((group, begun)) = group.zip(self.goes_on(begun)) {
            gaps.extend(begun.gaps(instruction, group, today));
            gaps.extend(omits.then_some(InstructionGap::Omits));
            return gaps;
        }
        if let Some(group) = group {
            let due: BTreeSet<u32> = group.metersets.keys().copied().collect();
            gaps.extend(listed(&due - beams).map(|beams| InstructionGap::BeamsMissing { beams }));
            gaps.extend(listed(beams - &due).map(|beams| InstructionGap::BeamsUnknown { beams }));
        }
        gaps.extend(listed(continued.keys().copied().collect()).map(|beams| InstructionGap::Continuation { beams }));
        gaps.extend(omits.then_some(InstructionGap::Omits));
        gaps
    }
}

impl fmt::Display for InstructionGap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |numbers: &[u32]| numbers.iter().map(u32::to_string).collect::<Vec<_>>().join(", ");
        match self {
            Self::Unreadable { message } => write!(f, "it can't be read: {message}"),
            Self::AnotherPlan => f.write_str("it names another plan"),
            Self::AnotherPatient => f.write_str("it is another patient's"),
            Self::AnotherGroup => f.write_str("it names another fraction group"),
            Self::SeveralFractions { fractions } => write!(f, "its beams are of fractions {}", list(fractions)),
            Self::BeamsMissing { beams } => write!(f, "it leaves out beams {} of the fraction group", list(beams)),
            Self::BeamsUnknown { beams } => write!(f, "beams {} don't treat in the fraction group", list(beams)),
            Self::Omits => f.write_str("it leaves beam tasks out"),
            Self::Continuation { beams } => {
                write!(f, "it gives the rest of beams {}, and a whole fraction is due", list(beams))
            }
            Self::BeamsWhole { beams } => {
                write!(f, "beams {} have delivered all of theirs in the begun fraction", list(beams))
            }
            Self::AnotherStretch { beam, from, to, start, end } => {
                let plain = |thousandths: &i64| format!("{:.2}", *thousandths as f64 / 1e3);
                write!(f, "beam {beam} is due from {} to {}, and is given ", plain(from), plain(to))?;
                match (start, end) {
                    (None, None) if *from > 0 => f.write_str("as a whole"),
                    (start, end) => {
                        let said = |of: &Option<i64>| of.as_ref().map_or_else(|| "?".to_owned(), plain);
                        write!(f, "from {} to {}", said(start), said(end))
                    }
                }
            }
            Self::BegunOnAnotherDay { day: Some(day) } => write!(f, "the fraction was begun on {day}"),
            Self::RestNotPlain => {
                f.write_str("where the begun fraction stopped isn't plain from its records: a physicist decides")
            }
            Self::BegunOnAnotherDay { day: None } => f.write_str("no record says on which day the fraction was begun"),
        }
    }
}

impl Instruction {
    /// A file, with or without a Part 10 header.
    pub fn parse(bytes: &[u8]) -> Result<Self, PlanError> {
        Self::of_tree(&Tree::of_file(bytes)?)
    }

    fn of_tree(tree: &Tree<'_>) -> Result<Self, PlanError> {
        let (instance, root, place) = (Instance::of_tree(tree)?, tree.root(), Place::default());
        if instance.kind != Kind::RtBeamsDeliveryInstruction {
            return Err(ObjectError::Class { uid: instance.kind.sop_class().to_owned() }.into());
        }
        let attribute = |tag| Attribute(tag);
        let missing = |tag| PlanError::Missing { place: Place::default(), attribute: attribute(tag) };
        let contradiction =
            |tag, what| PlanError::Contradiction { place: Place::default(), attribute: attribute(tag), what };
        let number = |task: Set<'_>, tag| -> Result<Option<u32>, PlanError> {
            let Some(said) = integer(task, tag, &Place::default())? else { return Ok(None) };
            let number = u32::try_from(said).ok().filter(|number| *number > 0);
            number.map(Some).ok_or_else(|| contradiction(tag, "it is no number from 1 on"))
        };
        let meterset = |task: Set<'_>, tag| -> Result<Option<i64>, PlanError> {
            let Some(said) = read::number(task, tag, &Place::default())? else { return Ok(None) };
            let fixed = said.fixed(3).filter(|fixed| *fixed >= 0);
            fixed.map(Some).ok_or_else(|| contradiction(tag, "it is no meterset"))
        };
        let text = |task: Set<'_>, tag| {
            let said = task.get(tag).and_then(|element| code(element.bytes()).ok()).filter(|said| !said.is_empty());
            said.ok_or_else(|| missing(tag))
        };

        let plans = sequence(root, t::REFERENCED_RT_PLAN_SEQUENCE, &place)?;
        let [plan] = plans.as_slice() else { return Err(missing(t::REFERENCED_RT_PLAN_SEQUENCE)) };
        let of_plan = |tag| {
            let element = plan.get(tag).ok_or_else(|| missing(tag))?;
            let said = uid(element.bytes());
            said.map_err(|fault| PlanError::Value { place: Place::default(), attribute: attribute(tag), fault })
        };
        let (plan_class, plan) = (of_plan(t::REFERENCED_SOP_CLASS_UID)?, of_plan(t::REFERENCED_SOP_INSTANCE_UID)?);
        let (mut groups, mut fractions) = (BTreeSet::new(), BTreeSet::new());
        let (mut beams, mut continued) = (BTreeSet::new(), BTreeMap::new());
        for task in sequence(root, t::BEAM_TASK_SEQUENCE, &place)? {
            let treats = match text(task, t::BEAM_TASK_TYPE)?.as_str() {
                "TREAT" | "VERIFY_AND_TREAT" => true,
                "VERIFY" => false,
                _ => return Err(contradiction(t::BEAM_TASK_TYPE, "it is none of VERIFY, TREAT and VERIFY_AND_TREAT")),
            };
            groups.extend(number(task, t::REFERENCED_FRACTION_GROUP_NUMBER)?);
            if !treats {
                continue;
            }
            let fraction = number(task, t::CURRENT_FRACTION_NUMBER)?;
            fractions.insert(fraction.ok_or_else(|| missing(t::CURRENT_FRACTION_NUMBER))?);
            let beam = number(task, t::REFERENCED_BEAM_NUMBER)?.ok_or_else(|| missing(t::REFERENCED_BEAM_NUMBER))?;
            if !beams.insert(beam) {
                return Err(contradiction(t::REFERENCED_BEAM_NUMBER, "two tasks treat with the same beam"));
            }
            let stretch = Stretch {
                start: meterset(task, t::CONTINUATION_START_METERSET)?,
                end: meterset(task, t::CONTINUATION_END_METERSET)?,
            };
            match text(task, t::TREATMENT_DELIVERY_TYPE)?.as_str() {
                // A whole beam has no place to begin or to end at.
                "TREATMENT" if stretch.start.or(stretch.end).is_none() => {}
                "TREATMENT" | "CONTINUATION" => drop(continued.insert(beam, stretch)),
                _ => {
                    return Err(contradiction(t::TREATMENT_DELIVERY_TYPE, "it is neither TREATMENT nor CONTINUATION"));
                }
            }
        }
        if beams.is_empty() {
            return Err(missing(t::BEAM_TASK_SEQUENCE));
        }
        if groups.len() > 1 {
            return Err(contradiction(t::REFERENCED_FRACTION_GROUP_NUMBER, "its tasks name several"));
        }
        let omits = root.get(t::OMITTED_BEAM_TASK_SEQUENCE).is_some_and(|sequence| sequence.items().next().is_some());
        let fraction_group = groups.pop_first();
        Ok(Self { instance, plan_class, plan, fraction_group, fractions, beams, continued, omits })
    }
}

//! An RT Plan or RT Ion Plan, read strictly. What can be read in two ways is an error, never a guess.

pub mod columns;
pub mod delivery;
pub mod diff;
pub mod digest;
mod points;
pub mod prescription;
pub mod shapes;
pub mod sheet;

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};

use dicom_core::Tag;
use dicom_dictionary_std::tags as t;
use kit::Digest;

use crate::dicom::content;
use crate::dicom::object::{Instance, Kind as ObjectKind, ObjectError};
use crate::dicom::read::{
    Found, NUMBERS_MAX, Reader, Spent, check_vr, integer, needed_integer, needed_number, number,
    refuse_enhanced_devices, sequence,
};
use crate::dicom::scan::{Attribute, Set, Tree};
use crate::dicom::schema::{self, Kind, Rule};
use crate::dicom::value::{Characters, ValueFault, code, trimmed};
use crate::error::PlanError;
use crate::plan::delivery::{Class, Delivery, Place, Row, Value};
use crate::plan::points::Points;
use crate::plan::prescription::{Dose, Prescription};

/// Beams of one plan, and fraction groups: a plan of twenty beams is a large one.
const BEAMS_MAX: usize = 1_000;
const GROUPS_MAX: usize = 100;

/// The part of a beam that its tolerance table is.
const TOLERANCE: &str = "tolerance";

/// Rows of one plan. Control points repeat what they take over, so a small file could ask for any number of rows; two
/// arcs make 8,000, ten scanned fields of 400 layers 200,000.
const ROWS_MAX: usize = 300_000;

/// Treatment Sites (300A,000B): retired, and still written.
const TREATMENT_SITES: Tag = Tag(0x300A, 0x000B);

/// A plan that was read without a doubt, and what it would deliver.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    pub instance: Instance,
    pub label: Option<String>,
    /// Where it treats, in the planner's words: label, name, Treatment Sites (300A,000B), Treatment Site (3010,0077).
    pub sites: Vec<String>,
    /// The planning system's own word. Nobody's signature.
    pub approval_status: Option<ApprovalStatus>,
    /// Plan Intent (300A,000A).
    pub intent: Option<String>,
    /// By number.
    pub groups: Vec<FractionGroup>,
    /// By number.
    pub beams: Vec<Beam>,
    pub delivery: Delivery,
    pub prescription: Prescription,
    /// Of all that is prescribed, as it is written.
    pub prescribed: Digest,
    /// SOP Instance UIDs of what it was made on.
    pub structure_sets: BTreeSet<String>,
    /// SOP Instance UIDs of the plans that it says it was made from.
    pub predecessors: BTreeSet<String>,
}

/// Approval Status (300E,0002), DICOM PS3.3 C.8.8.16: one of three defined terms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ApprovalStatus {
    Approved,
    Unapproved,
    Rejected,
    /// Something else: another spelling, several values, bytes that are no code.
    Unclear,
}

impl ApprovalStatus {
    /// Of a file that need not be a plan that can be read.
    pub(crate) fn of_file(bytes: &[u8]) -> Option<Self> {
        let tree = Tree::of_file(bytes).ok()?;
        let status = tree.root().get(t::APPROVAL_STATUS)?;
        Self::of(status.bytes())
    }

    /// `None` where nothing is said.
    fn of(bytes: &[u8]) -> Option<Self> {
        match code(bytes).as_deref() {
            Ok("") => None,
            Ok("APPROVED") => Some(Self::Approved),
            Ok("UNAPPROVED") => Some(Self::Unapproved),
            Ok("REJECTED") => Some(Self::Rejected),
            Ok(_) | Err(_) => Some(Self::Unclear),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FractionGroup {
    pub number: u32,
    pub fractions_planned: u32,
    /// Beams of the group, rising.
    pub beams: Vec<u32>,
    /// What each treating beam delivers in one fraction, in thousandths of the dosimeter unit.
    pub metersets: BTreeMap<u32, i64>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Beam {
    pub number: u32,
    pub name: Option<String>,
    pub machine: String,
    /// False for setup and imaging beams.
    pub treats: bool,
}

impl Plan {
    /// The fraction group with this number; the only one, where none is said.
    pub fn group(&self, number: Option<u32>) -> Option<&FractionGroup> {
        match (number, self.groups.as_slice()) {
            (None, [only]) => Some(only),
            (None, _) => None,
            (Some(number), groups) => groups.iter().find(|group| group.number == number),
        }
    }

    /// A file, with or without a Part 10 header.
    pub fn parse(bytes: &[u8]) -> Result<Self, PlanError> {
        Self::of_tree(&Tree::of_file(bytes)?)
    }

    /// A bare data set, as an association delivers it.
    pub fn parse_data_set(bytes: &[u8], transfer_syntax: &str) -> Result<Self, PlanError> {
        Self::of_tree(&Tree::of_data_set(bytes, transfer_syntax)?)
    }

    pub fn digest(&self) -> Digest {
        self.delivery.digest()
    }

    /// Of when the machine is to stop and ask, in each beam.
    pub(crate) fn tolerance_tables(&self) -> Digest {
        let is_of_it = |row: &&Row| row.place.part.as_deref().is_some_and(|part| part.starts_with(TOLERANCE));
        digest::of_text("holdfast tolerance tables v1", self.delivery.rows().iter().filter(is_of_it))
    }

    /// It says that it is for a phantom.
    pub fn is_for_qa(&self) -> bool {
        matches!(self.intent.as_deref(), Some("VERIFICATION" | "MACHINE_QA"))
    }

    /// As many fractions as the pattern has on its fullest day; one, where there is no pattern.
    pub fn most_a_day(&self, group: &FractionGroup) -> usize {
        let place = Place::group(group.number);
        let said = |tag| self.delivery.rows().iter().find(|row| row.tag == tag && row.place == place);
        let digits = match said(t::NUMBER_OF_FRACTION_PATTERN_DIGITS_PER_DAY).map(|row| &row.value) {
            Some(Value::Numbers(numbers)) => numbers.first().and_then(|digits| usize::try_from(*digits).ok()),
            _ => None,
        };
        let Some(Value::Text(pattern)) = said(t::FRACTION_PATTERN).map(|row| &row.value) else { return 1 };
        let days = pattern.as_bytes().chunks(digits.unwrap_or(1).max(1));
        days.map(|day| day.iter().filter(|slot| **slot == b'1').count()).max().unwrap_or(1).max(1)
    }

    pub fn is_palliative(&self) -> bool {
        self.intent.as_deref() == Some("PALLIATIVE")
    }

    /// What a fraction of this group gives to the target that is prescribed most: by its beams; where they don't say, by its
    /// prescription and the fractions planned, where there is one group. A target's prescription may be of a whole course, of which
    /// this plan is a part.
    pub fn target_dose(&self, group: &FractionGroup) -> Option<Dose> {
        let targets = self.prescription.references.iter().filter(|reference| reference.is_target);
        let highest = targets.max_by_key(|reference| reference.prescribed)?;
        let beams = group.metersets.keys();
        let by_beams: Option<Dose> =
            beams.map(|beam| self.prescription.dose(group.number, *beam, highest, prescription::WHOLE)).sum();
        let by_prescription = highest.prescribed.filter(|_| self.groups.len() == 1);
        by_beams
            .filter(|dose| dose.0 > 0)
            .or(by_prescription.map(|prescribed| Dose(prescribed.0 / i64::from(group.fractions_planned.max(1)))))
    }

    /// Of what one fraction treats with: the same in a course that is made longer, or goes on at another machine.
    pub fn fraction(&self) -> Digest {
        self.delivery.fraction(|number| self.beams.iter().any(|beam| beam.number == number && beam.treats))
    }

    pub(crate) fn of_tree(tree: &Tree<'_>) -> Result<Self, PlanError> {
        let instance = Instance::of_tree(tree)?;
        let lists = Lists::of(instance.kind).ok_or(PlanError::NotAPlan { kind: instance.kind })?;
        let root = tree.root();
        let plan = Place::default();
        refuse_brachytherapy(root, &plan)?;
        let characters = Characters::of(root)
            .map_err(|fault| ObjectError::Value { attribute: Attribute(t::SPECIFIC_CHARACTER_SET), fault })?;
        let text = |set: Set<'_>, tag| {
            let bytes = set.get(tag).map(|e| e.bytes()).unwrap_or_default();
            characters.text(bytes).ok().filter(|text| !text.is_empty())
        };
        let spent = Spent::default();
        let reader = Reader { characters: &characters, spent: &spent, treats: true, whole: None };
        let mut found = Found::default();
        let radiotherapy = root.elements().filter(|e| (0x3002..=0x3010).contains(&e.tag().group()));
        reader.read(radiotherapy, schema::PLAN, &plan, &mut found)?;
        let mut rows = found.rows;
        rows.push(Row::text(plan.clone(), t::SOP_CLASS_UID, instance.kind.sop_class()));

        let sets = by_number(sequence(root, lists.beams, &plan)?, t::BEAM_NUMBER, &plan)?;
        for other in [t::BEAM_SEQUENCE, t::ION_BEAM_SEQUENCE].into_iter().filter(|tag| *tag != lists.beams) {
            if root.get(other).is_some() {
                return Err(PlanError::Unknown { place: plan, attribute: Attribute(other) });
            }
        }
        if sets.is_empty() {
            return Err(PlanError::Missing { place: plan, attribute: Attribute(lists.beams) });
        }
        if sets.len() > BEAMS_MAX {
            return Err(PlanError::TooMany { place: plan, what: "beams", max: BEAMS_MAX });
        }
        let mut beams = Vec::new();
        for (number, set) in &sets {
            let place = Place::beam(*number);
            let treats = treats(*set, &place)?;
            beams.push(Beam {
                number: *number,
                name: text(*set, t::BEAM_NAME),
                machine: text(*set, t::TREATMENT_MACHINE_NAME).unwrap_or_default(),
                treats,
            });
        }

        let mut groups = Vec::new();
        for (number, set) in
            by_number(sequence(root, t::FRACTION_GROUP_SEQUENCE, &plan)?, t::FRACTION_GROUP_NUMBER, &plan)?
        {
            groups.push(fraction_group(number, set, &beams, reader, &mut rows)?);
        }
        if groups.len() > GROUPS_MAX {
            return Err(PlanError::TooMany { place: plan, what: "fraction groups", max: GROUPS_MAX });
        }
        if groups.is_empty() {
            return Err(PlanError::Missing { place: plan, attribute: Attribute(t::FRACTION_GROUP_SEQUENCE) });
        }
        let referenced: BTreeSet<u32> = groups.iter().flat_map(|group| group.beams.iter().copied()).collect();
        if let Some(beam) = beams.iter().find(|beam| beam.treats && !referenced.contains(&beam.number)) {
            return Err(PlanError::Unreferenced { place: Place::beam(beam.number) });
        }

        let setups = by_number(sequence(root, t::PATIENT_SETUP_SEQUENCE, &plan)?, t::PATIENT_SETUP_NUMBER, &plan)?;
        let tolerances = by_number(sequence(root, lists.tolerances, &plan)?, t::TOLERANCE_TABLE_NUMBER, &plan)?;
        let mut around = Around {
            lists: &lists,
            reader,
            setups: Shared::of(setups, "setup", schema::PATIENT_SETUP),
            tolerances: Shared::of(tolerances, TOLERANCE, schema::TOLERANCE_TABLE),
        };
        for (beam, set) in beams.iter().zip(sets.values()) {
            around.beam(beam, *set, &mut rows)?;
        }
        if rows.iter().map(Row::len).sum::<usize>() > NUMBERS_MAX {
            return Err(PlanError::TooMany { place: plan, what: "numbers", max: NUMBERS_MAX });
        }
        let prescription = Prescription::read(root, &characters, &sets, lists.points);
        Ok(Self {
            label: text(root, t::RT_PLAN_LABEL),
            sites: [t::RT_PLAN_LABEL, t::RT_PLAN_NAME, TREATMENT_SITES, t::TREATMENT_SITE]
                .into_iter()
                .filter_map(|tag| text(root, tag))
                .collect(),
            approval_status: root.get(t::APPROVAL_STATUS).and_then(|element| ApprovalStatus::of(element.bytes())),
            intent: text(root, t::PLAN_INTENT),
            prescribed: content::prescription(root, prescription.points()),
            prescription,
            structure_sets: content::structure_sets_of(root),
            predecessors: content::predecessors_of(root),
            groups,
            beams,
            delivery: Delivery::of_rows(rows),
            instance,
        })
    }
}

/// What differs between the two kinds of plan.
pub(crate) struct Lists {
    pub beams: Tag,
    beam: &'static [Rule],
    points: Tag,
    pub point: &'static [Rule],
    tolerances: Tag,
    pub wedge_positions: Tag,
    /// Announced number, announced sequence.
    counts: &'static [(Tag, Tag)],
}

impl Lists {
    fn of(kind: ObjectKind) -> Option<Self> {
        match kind {
            ObjectKind::RtPlan => Some(Self {
                beams: t::BEAM_SEQUENCE,
                beam: schema::BEAM,
                points: t::CONTROL_POINT_SEQUENCE,
                point: schema::CONTROL_POINT,
                tolerances: t::TOLERANCE_TABLE_SEQUENCE,
                wedge_positions: t::WEDGE_POSITION_SEQUENCE,
                counts: &[
                    (t::NUMBER_OF_CONTROL_POINTS, t::CONTROL_POINT_SEQUENCE),
                    (t::NUMBER_OF_WEDGES, t::WEDGE_SEQUENCE),
                    (t::NUMBER_OF_COMPENSATORS, t::COMPENSATOR_SEQUENCE),
                    (t::NUMBER_OF_BOLI, t::REFERENCED_BOLUS_SEQUENCE),
                    (t::NUMBER_OF_BLOCKS, t::BLOCK_SEQUENCE),
                ],
            }),
            ObjectKind::RtIonPlan => Some(Self {
                beams: t::ION_BEAM_SEQUENCE,
                beam: schema::ION_BEAM,
                points: t::ION_CONTROL_POINT_SEQUENCE,
                point: schema::ION_CONTROL_POINT,
                tolerances: t::ION_TOLERANCE_TABLE_SEQUENCE,
                wedge_positions: t::ION_WEDGE_POSITION_SEQUENCE,
                counts: &[
                    (t::NUMBER_OF_CONTROL_POINTS, t::ION_CONTROL_POINT_SEQUENCE),
                    (t::NUMBER_OF_WEDGES, t::ION_WEDGE_SEQUENCE),
                    (t::NUMBER_OF_COMPENSATORS, t::ION_RANGE_COMPENSATOR_SEQUENCE),
                    (t::NUMBER_OF_BOLI, t::REFERENCED_BOLUS_SEQUENCE),
                    (t::NUMBER_OF_BLOCKS, t::ION_BLOCK_SEQUENCE),
                    (t::NUMBER_OF_RANGE_SHIFTERS, t::RANGE_SHIFTER_SEQUENCE),
                    (t::NUMBER_OF_LATERAL_SPREADING_DEVICES, t::LATERAL_SPREADING_DEVICE_SEQUENCE),
                    (t::NUMBER_OF_RANGE_MODULATORS, t::RANGE_MODULATOR_SEQUENCE),
                ],
            }),
            _ => None,
        }
    }
}

fn refuse_brachytherapy(root: Set<'_>, place: &Place) -> Result<(), PlanError> {
    let setups = [t::BRACHY_TREATMENT_TECHNIQUE, t::SOURCE_SEQUENCE, t::APPLICATION_SETUP_SEQUENCE];
    let mut is_brachy = setups
        .into_iter()
        .any(|tag| root.get(tag).is_some_and(|e| !trimmed(e.bytes()).is_empty() || e.items().next().is_some()));
    for group in sequence(root, t::FRACTION_GROUP_SEQUENCE, place)? {
        is_brachy |= integer(group, t::NUMBER_OF_BRACHY_APPLICATION_SETUPS, place)?.unwrap_or(0) != 0;
        is_brachy |= !sequence(group, t::REFERENCED_BRACHY_APPLICATION_SETUP_SEQUENCE, place)?.is_empty();
    }
    if is_brachy { Err(PlanError::Brachytherapy) } else { Ok(()) }
}

/// Items by the number that names them; never by their order in the file.
fn by_number<'t>(items: Vec<Set<'t>>, tag: Tag, place: &Place) -> Result<BTreeMap<u32, Set<'t>>, PlanError> {
    let mut all = BTreeMap::new();
    for (order, item) in (1_u64..).zip(items) {
        // One whose number can't be read is told by its order: there is nothing else.
        let number = needed_number(item, tag, &place.part(&format!("item {order}")))?;
        if all.insert(number, item).is_some() {
            return Err(PlanError::Duplicate { place: place.clone(), attribute: Attribute(tag) });
        }
    }
    Ok(all)
}

/// Whether the beam treats. Where the type is not given, it does: the stricter reading.
fn treats(beam: Set<'_>, place: &Place) -> Result<bool, PlanError> {
    let tag = t::TREATMENT_DELIVERY_TYPE;
    let Some(element) = beam.get(tag).filter(|e| !trimmed(e.bytes()).is_empty()) else { return Ok(true) };
    check_vr(element, place)?;
    let fault = |fault| PlanError::Value { place: place.clone(), attribute: Attribute(tag), fault };
    match code(element.bytes()).map_err(fault)?.as_str() {
        "TREATMENT" | "CONTINUATION" => Ok(true),
        "SETUP" | "OPEN_PORTFILM" | "TRMT_PORTFILM" => Ok(false),
        _ => {
            Err(fault(ValueFault::NotOneOf { allowed: "TREATMENT, CONTINUATION, SETUP, OPEN_PORTFILM, TRMT_PORTFILM" }))
        }
    }
}

fn fraction_group(
    group: u32,
    set: Set<'_>,
    beams: &[Beam],
    reader: Reader<'_>,
    rows: &mut Vec<Row>,
) -> Result<FractionGroup, PlanError> {
    let place = Place::group(group);
    let mut found = Found::default();
    reader.read(set.elements(), schema::FRACTION_GROUP, &place, &mut found)?;
    rows.push(Row::number(place.clone(), t::FRACTION_GROUP_NUMBER, i64::from(group)));

    let planned = needed_integer(set, t::NUMBER_OF_FRACTIONS_PLANNED, &place)?;
    let fractions_planned = u32::try_from(planned).ok().filter(|n| (1..=1_000).contains(n)).ok_or_else(|| {
        let fault = ValueFault::OutOfRange { index: 1, min: 1, max: 1_000, unit: "" };
        PlanError::Value { place: place.clone(), attribute: Attribute(t::NUMBER_OF_FRACTIONS_PLANNED), fault }
    })?;
    check_pattern(set, &found.rows, &place)?;
    rows.append(&mut found.rows);

    let references = sequence(set, t::REFERENCED_BEAM_SEQUENCE, &place)?;
    check_announced(set, t::NUMBER_OF_BEAMS, references.len(), &place)?;
    let references = by_number(references, t::REFERENCED_BEAM_NUMBER, &place)?;
    let mut metersets = BTreeMap::new();
    for (beam_number, reference) in &references {
        let place = Place { beam: Some(*beam_number), ..place.clone() };
        let Some(beam) = beams.binary_search_by_key(beam_number, |beam| beam.number).ok().and_then(|i| beams.get(i))
        else {
            return Err(PlanError::Dangling { place, attribute: Attribute(t::REFERENCED_BEAM_NUMBER) });
        };
        let reader = Reader { treats: beam.treats, ..reader };
        reader.read(reference.elements(), schema::REFERENCED_BEAM, &place, &mut found)?;
        let meterset = number(*reference, t::BEAM_METERSET, &place)?.and_then(|m| m.fixed(Kind::Meterset.places()));
        metersets.extend(meterset.filter(|_| beam.treats).map(|meterset| (*beam_number, meterset)));
        if beam.treats && meterset == Some(0) {
            let what = "a treatment beam delivers nothing";
            return Err(PlanError::Contradiction { place, attribute: Attribute(t::BEAM_METERSET), what });
        }
        found.rows.push(Row::number(place, t::REFERENCED_BEAM_NUMBER, i64::from(*beam_number)));
    }
    rows.append(&mut found.rows);
    Ok(FractionGroup { number: group, fractions_planned, beams: references.into_keys().collect(), metersets })
}

/// Weeks of a pattern's cycle, and its digits a day: two fractions a day for two weeks are much.
const CYCLE_MAX: i64 = 100;

/// The pattern says on which days of the cycle a fraction is given: noughts and ones, as many as the cycle has.
fn check_pattern(group: Set<'_>, rows: &[Row], place: &Place) -> Result<(), PlanError> {
    let pattern = rows.iter().find(|row| row.tag == t::FRACTION_PATTERN).map(|row| &row.value);
    let Some(Value::Text(pattern)) = pattern else { return Ok(()) };
    let fault = |fault| PlanError::Value { place: place.clone(), attribute: Attribute(t::FRACTION_PATTERN), fault };
    if !pattern.bytes().all(|b| matches!(b, b'0' | b'1')) {
        return Err(fault(ValueFault::NotOneOf { allowed: "0 and 1" }));
    }
    if !pattern.contains('1') {
        let what = "it gives no fraction on any day";
        return Err(PlanError::Contradiction { place: place.clone(), attribute: Attribute(t::FRACTION_PATTERN), what });
    }
    let of = |tag| match integer(group, tag, place)? {
        Some(number) if !(1..=CYCLE_MAX).contains(&number) => Err(PlanError::Value {
            place: place.clone(),
            attribute: Attribute(tag),
            fault: ValueFault::OutOfRange { index: 1, min: 1, max: CYCLE_MAX, unit: "" },
        }),
        number => Ok(number),
    };
    let (digits, weeks) = (of(t::NUMBER_OF_FRACTION_PATTERN_DIGITS_PER_DAY)?, of(t::REPEAT_FRACTION_CYCLE_LENGTH)?);
    if let (Some(digits), Some(weeks)) = (digits, weeks) {
        let expected = digits.saturating_mul(weeks).saturating_mul(7);
        if i64::try_from(pattern.len()) != Ok(expected) {
            return Err(fault(ValueFault::Multiplicity { found: pattern.len(), expected: expected.to_string() }));
        }
    }
    Ok(())
}

pub(crate) fn check_rows(rows: &[Row], place: &Place) -> Result<(), PlanError> {
    if rows.len() <= ROWS_MAX {
        return Ok(());
    }
    Err(PlanError::TooMany { place: place.clone(), what: "values", max: ROWS_MAX })
}

fn check_announced(set: Set<'_>, tag: Tag, found: usize, place: &Place) -> Result<(), PlanError> {
    let announced = needed_integer(set, tag, place)?;
    if i64::try_from(found) == Ok(announced) {
        return Ok(());
    }
    Err(PlanError::Count { place: place.clone(), attribute: Attribute(tag), announced, found })
}

/// What stands around a beam, and is said once for several.
struct Around<'a> {
    lists: &'a Lists,
    reader: Reader<'a>,
    setups: Shared<'a>,
    tolerances: Shared<'a>,
}

/// Sets that any number of beams may refer to. Each is read once, at the first beam that does: a setup of a hundred
/// devices under a thousand beams is a small file.
struct Shared<'a> {
    sets: BTreeMap<u32, Set<'a>>,
    label: &'static str,
    rules: &'static [Rule],
    read: BTreeMap<u32, Vec<Row>>,
}

impl<'a> Shared<'a> {
    fn of(sets: BTreeMap<u32, Set<'a>>, label: &'static str, rules: &'static [Rule]) -> Self {
        Self { sets, label, rules, read: BTreeMap::new() }
    }

    /// The rows of one of them, under a beam; none where the plan has no such number. No list of these depends on
    /// whether the beam treats.
    fn rows(&mut self, number: u32, beam: &Place, reader: Reader<'_>) -> Result<Option<Vec<Row>>, PlanError> {
        let Some(set) = self.sets.get(&number) else { return Ok(None) };
        let rows = match self.read.entry(number) {
            Entry::Occupied(read) => read.into_mut(),
            Entry::Vacant(unread) => {
                let mut found = Found::default();
                reader.read(set.elements(), self.rules, &beam.part(self.label), &mut found)?;
                unread.insert(found.rows)
            }
        };
        let here = |row: &Row| Row { place: Place { beam: beam.beam, ..row.place.clone() }, ..row.clone() };
        Ok(Some(rows.iter().map(here).collect()))
    }
}

impl Around<'_> {
    fn beam(&mut self, beam: &Beam, set: Set<'_>, rows: &mut Vec<Row>) -> Result<(), PlanError> {
        let place = Place::beam(beam.number);
        refuse_enhanced_devices(set, &place)?;
        let whole = number(set, t::FINAL_CUMULATIVE_METERSET_WEIGHT, &place)?;
        if beam.treats {
            let attribute = Attribute(t::FINAL_CUMULATIVE_METERSET_WEIGHT);
            match whole {
                None => return Err(PlanError::Missing { place, attribute }),
                Some(whole) if whole.is_zero() || whole.is_negative() => {
                    let what = "a treatment beam ends at nothing";
                    return Err(PlanError::Contradiction { place, attribute, what });
                }
                Some(_) => {}
            }
        }
        let reader = Reader { treats: beam.treats, whole, ..self.reader };
        let mut found = Found::default();
        reader.read(set.elements(), self.lists.beam, &place, &mut found)?;
        found.rows.push(Row::number(place.clone(), t::BEAM_NUMBER, i64::from(beam.number)));
        for (announced, announced_sequence) in self.lists.counts {
            let items = sequence(set, *announced_sequence, &place)?;
            check_announced(set, *announced, items.len(), &place)?;
            let count = i64::try_from(items.len()).unwrap_or(i64::MAX);
            found.rows.push(Row::number(place.clone(), *announced, count));
        }
        check_shapes(&found.rows)?;
        self.setup(set, beam, &place, &mut found)?;
        self.tolerance(set, &place, &mut found)?;

        let points = sequence(set, self.lists.points, &place)?;
        Points { reader, lists: self.lists, beam: &place, defined: &found.rows }.read(&points, rows)?;
        rows.append(&mut found.rows);
        check_rows(rows, &place)
    }

    /// The patient's setup for this beam: the one it refers to, or the only one there is.
    fn setup(&mut self, set: Set<'_>, beam: &Beam, place: &Place, found: &mut Found) -> Result<(), PlanError> {
        let attribute = Attribute(t::REFERENCED_PATIENT_SETUP_NUMBER);
        let referenced = integer(set, attribute.0, place)?;
        let number = match referenced {
            Some(number) => u32::try_from(number).ok(),
            None if self.setups.sets.len() > 1 => {
                return Err(PlanError::Missing { place: place.clone(), attribute });
            }
            None => self.setups.sets.keys().next().copied(),
        };
        let rows = match number {
            Some(number) => self.setups.rows(number, place, self.reader)?,
            None => None,
        };
        if referenced.is_some() && rows.is_none() {
            return Err(PlanError::Dangling { place: place.clone(), attribute });
        }
        let (place, mut rows) = (place.part("setup"), rows.unwrap_or_default());
        let has_position = rows
            .iter()
            .any(|row| matches!(row.tag, t::PATIENT_POSITION | t::PATIENT_ADDITIONAL_POSITION) && row.place == place);
        found.rows.append(&mut rows);
        if beam.treats && !has_position {
            return Err(PlanError::Missing { place, attribute: Attribute(t::PATIENT_POSITION) });
        }
        Ok(())
    }

    fn tolerance(&mut self, set: Set<'_>, place: &Place, found: &mut Found) -> Result<(), PlanError> {
        let number = integer(set, t::REFERENCED_TOLERANCE_TABLE_NUMBER, place)?;
        let Some(number) = number.and_then(|n| u32::try_from(n).ok()) else { return Ok(()) };
        // A table may stand in the machine instead of in the plan; no dose depends on it.
        let rows = self.tolerances.rows(number, place, self.reader)?.unwrap_or_default();
        found.rows.extend(rows.into_iter().map(|row| Row { class: Class::Toleranced, ..row }));
        Ok(())
    }
}

/// Announced sizes inside a beam against the values that follow them.
fn check_shapes(rows: &[Row]) -> Result<(), PlanError> {
    let numbers = |place: &Place, tag| match rows.iter().find(|row| row.tag == tag && row.place == *place)?.value {
        Value::Numbers(ref numbers) => Some(numbers.clone()),
        Value::Text(_) => None,
    };
    let one = |place: &Place, tag| {
        let first = numbers(place, tag).and_then(|n| n.first().copied());
        first.ok_or_else(|| PlanError::Missing { place: place.clone(), attribute: Attribute(tag) })
    };
    let with_slabs: BTreeSet<&str> = rows
        .iter()
        .filter(|row| row.tag == t::NUMBER_OF_BLOCK_SLAB_ITEMS)
        .filter_map(|row| row.place.part.as_deref())
        .collect();
    let wrong = |row: &Row, expected: i64, found: usize| PlanError::Value {
        place: row.place.clone(),
        attribute: Attribute(row.tag),
        fault: ValueFault::Multiplicity { found, expected: expected.to_string() },
    };
    for row in rows {
        let (place, Value::Numbers(values)) = (&row.place, &row.value) else { continue };
        let found = values.len();
        let expected = match row.tag {
            t::NUMBER_OF_LEAF_JAW_PAIRS => {
                let pairs = values.first().copied().unwrap_or(0);
                let is_leaves = place.part.as_deref().is_some_and(|part| part.contains("MLC"));
                if pairs < 1 || (!is_leaves && pairs != 1) {
                    return Err(PlanError::Value {
                        place: place.clone(),
                        attribute: Attribute(row.tag),
                        fault: ValueFault::OutOfRange { index: 1, min: 1, max: 1, unit: "" },
                    });
                }
                if is_leaves && numbers(place, t::LEAF_POSITION_BOUNDARIES).is_none() {
                    let attribute = Attribute(t::LEAF_POSITION_BOUNDARIES);
                    return Err(PlanError::Missing { place: place.clone(), attribute });
                }
                continue;
            }
            t::LEAF_POSITION_BOUNDARIES => {
                if values.is_sorted_by(|a, b| a < b) {
                    one(place, t::NUMBER_OF_LEAF_JAW_PAIRS)?.saturating_add(1)
                } else {
                    let what = "the boundaries don't rise";
                    return Err(PlanError::Contradiction { place: place.clone(), attribute: Attribute(row.tag), what });
                }
            }
            t::BLOCK_DATA => one(place, t::BLOCK_NUMBER_OF_POINTS)?.saturating_mul(2),
            t::COMPENSATOR_TRANSMISSION_DATA | t::COMPENSATOR_THICKNESS_DATA => {
                one(place, t::COMPENSATOR_ROWS)?.saturating_mul(one(place, t::COMPENSATOR_COLUMNS)?)
            }
            t::NUMBER_OF_BLOCK_SLAB_ITEMS => {
                let part = |row: &&Row| row.tag == t::BLOCK_SLAB_NUMBER && starts_with(row, place);
                let announced = values.first().copied().unwrap_or(0);
                let found = rows.iter().filter(part).count();
                if i64::try_from(found) != Ok(announced) {
                    let attribute = Attribute(row.tag);
                    return Err(PlanError::Count { place: place.clone(), attribute, announced, found });
                }
                continue;
            }
            t::BLOCK_SLAB_NUMBER => {
                let block = place.part.as_deref().and_then(|part| part.rsplit_once(" slab ")).map_or("", |part| part.0);
                if !with_slabs.contains(block) {
                    return Err(PlanError::Missing {
                        place: Place { part: Some(block.into()), ..place.clone() },
                        attribute: Attribute(t::NUMBER_OF_BLOCK_SLAB_ITEMS),
                    });
                }
                continue;
            }
            _ => continue,
        };
        if i64::try_from(found) != Ok(expected) {
            return Err(wrong(row, expected, found));
        }
    }
    Ok(())
}

fn starts_with(row: &Row, place: &Place) -> bool {
    let (Some(part), Some(outer)) = (&row.place.part, &place.part) else { return false };
    part.strip_prefix(&**outer).is_some_and(|rest| rest.starts_with(' '))
}

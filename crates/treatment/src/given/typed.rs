//! A fraction that somebody types in from paper, as the treatment record that it becomes: RT Beams Treatment Record or RT Ion Beams
//! Treatment Record (PS3.3 A.31, A.54), whose Treatment Record Content Origin (300A,0709) is USER.

use std::collections::BTreeSet;

use dicom_core::dictionary::{DataDictionary, DataDictionaryEntry};
use dicom_core::value::{DataSetSequence, PrimitiveValue};
use dicom_core::{DataElement, Tag, VR};
use dicom_dictionary_std::{StandardDataDictionary, tags as t, uids};
use dicom_object::{FileMetaTableBuilder, InMemDicomObject};
use kit::{Blame, Entropy, Explain};
use serde::Deserialize;

use crate::dicom::object::Kind;
use crate::interruption::calendar::Day;
use crate::plan::delivery::Value;
use crate::plan::{FractionGroup, Plan};

/// Machines, people and packs have names of so many bytes (LO, PN: 64 characters).
const NAME_BYTES_MAX: usize = 64;
/// What is typed of a beam is a slip beyond so many times its meterset.
const TIMES_MAX: i64 = 10;
/// Paper is typed in within weeks.
const DAYS_MAX: i32 = 120;

/// What stands on the paper.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TypedFraction {
    /// SOP Instance UID.
    pub plan_uid: String,
    pub fraction_group: u32,
    pub fraction: u32,
    /// By the centre's clocks.
    pub date: Day,
    /// `HH:MM`.
    pub time: String,
    pub machine: String,
    /// Who gave it, as written there.
    pub given_by: String,
    /// The downtime pack's number, where the form is one of its forms.
    #[serde(default)]
    pub pack: Option<String>,
    pub beams: Vec<TypedBeam>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TypedBeam {
    pub number: u32,
    /// In the plan's dosimeter unit, with at most three decimals: `183.7`.
    pub meterset: String,
    pub ended: Ended,
}

/// Treatment Termination Status (3008,002A).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Ended {
    Normal,
    /// Somebody stopped it.
    Operator,
    /// The machine stopped it.
    Machine,
    Unknown,
}

impl Ended {
    fn code(self) -> &'static str {
        match self {
            Self::Normal => "NORMAL",
            Self::Operator => "OPERATOR",
            Self::Machine => "MACHINE",
            Self::Unknown => "UNKNOWN",
        }
    }
}

/// What can't be what stands on the paper.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TypedError {
    #[error("plan {uid} is not here: store it first")]
    NoPlan { uid: String },
    #[error("plan {uid} is another patient's")]
    AnothersPlan { uid: String },
    #[error("fraction group {group}: the plan has none of this number")]
    NoGroup { group: u32 },
    #[error("fraction {found}: it must be 1 to {planned}")]
    Fraction { found: u32, planned: u32 },
    #[error("date {found}: it must be {first} to {last}, today")]
    Date { found: Day, first: Day, last: Day },
    #[error("time {found:?}: it must be HH:MM, from 00:00 to 23:59")]
    Time { found: String },
    #[error("time {found}: it is still to come")]
    ToCome { found: String },
    #[error("{what}: 1 to {NAME_BYTES_MAX} bytes, no control character, no backslash; found {found}")]
    Name { what: &'static str, found: usize },
    #[error("beam {number}: the fraction group has no such beam that treats; it has {has}")]
    NoBeam { number: u32, has: String },
    #[error("beam {number} is there twice")]
    BeamTwice { number: u32 },
    #[error("no beam is there")]
    NoBeams,
    #[error("beam {number}: meterset {found:?}: a number with at most three decimals is needed")]
    NoNumber { number: u32, found: String },
    #[error("beam {number}: meterset {found}: it must be 0 to {most}, ten times what is planned")]
    Meterset { number: u32, found: String, most: String },
    #[error("beam {number}: 0 delivered, and ended as planned")]
    NothingNormally { number: u32 },
    #[error("the record can't be written: {why}")]
    Unwritable { why: String },
}

impl Explain for TypedError {
    fn blame(&self) -> Blame {
        match self {
            Self::NoPlan { .. } => Blame::Absent,
            Self::Unwritable { .. } => Blame::Ours,
            _ => Blame::Peer,
        }
    }

    fn code(&self) -> &'static str {
        "treatment.typed"
    }
}

/// Who and when, that isn't on the paper.
pub(crate) struct Around<'a> {
    pub(crate) today: Day,
    /// `HHMM`.
    pub(crate) now: &'a str,
    /// Who types it in.
    pub(crate) typist: &'a str,
    pub(crate) entropy: &'a dyn Entropy,
}

/// `183.7` in thousandths.
fn thousandths(text: &str) -> Option<i64> {
    let text = text.trim();
    let (whole, part) = text.split_once('.').unwrap_or((text, ""));
    let is_digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || whole.len() > 9 || part.len() > 3 || !is_digits(whole) || !is_digits(part) {
        return None;
    }
    let part: i64 = format!("{part:0<3}").parse().ok()?;
    Some(whole.parse::<i64>().ok()? * 1_000 + part)
}

fn decimal(thousandths: i64) -> String {
    let text = format!("{}.{:03}", thousandths / 1_000, thousandths % 1_000);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// What turns the reading direction of what follows it.
fn turns(c: char) -> bool {
    matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{61c}')
}

fn name(what: &'static str, text: &str) -> Result<String, TypedError> {
    let text = text.trim();
    let is_fit =
        (1..=NAME_BYTES_MAX).contains(&text.len()) && !text.chars().any(|c| c.is_control() || c == '\\' || turns(c));
    if is_fit { Ok(text.to_owned()) } else { Err(TypedError::Name { what, found: text.len() }) }
}

/// `HH:MM` as `HHMM00`.
fn time(text: &str) -> Result<String, TypedError> {
    let wrong = || TypedError::Time { found: text.chars().take(16).collect() };
    let (hours, minutes) = text.trim().split_once(':').ok_or_else(wrong)?;
    let number = |part: &str, below: u8| {
        let is_two = part.len() == 2 && part.bytes().all(|byte| byte.is_ascii_digit());
        part.parse::<u8>().ok().filter(|number| is_two && *number < below)
    };
    match (number(hours, 24), number(minutes, 60)) {
        (Some(hours), Some(minutes)) => Ok(format!("{hours:02}{minutes:02}00")),
        _ => Err(wrong()),
    }
}

impl TypedFraction {
    /// The record as a file, of this plan of hers.
    pub(crate) fn record(&self, plan: &Plan, around: &Around<'_>) -> Result<Vec<u8>, TypedError> {
        let group = plan.group(Some(self.fraction_group)).ok_or(TypedError::NoGroup { group: self.fraction_group })?;
        if !(1..=group.fractions_planned).contains(&self.fraction) {
            return Err(TypedError::Fraction { found: self.fraction, planned: group.fractions_planned });
        }
        let (first, last) = (around.today.plus(-DAYS_MAX), around.today);
        if self.date < first || self.date > last {
            return Err(TypedError::Date { found: self.date, first, last });
        }
        let (date, time) = (self.date.to_string().replace('-', ""), time(&self.time)?);
        if self.date == around.today && time.get(..4).is_some_and(|time| time > around.now) {
            return Err(TypedError::ToCome { found: self.time.chars().take(16).collect() });
        }
        let (machine, given_by) = (name("machine", &self.machine)?, name("given by", &self.given_by)?);
        let pack = self.pack.as_deref().filter(|pack| !pack.trim().is_empty());
        let pack = pack.map(|pack| name("pack", pack)).transpose()?;
        let is_ion = plan.instance.kind == Kind::RtIonPlan;
        let class =
            if is_ion { uids::RT_ION_BEAMS_TREATMENT_RECORD_STORAGE } else { uids::RT_BEAMS_TREATMENT_RECORD_STORAGE };
        let mut seen = BTreeSet::new();
        let beams = self.beams.iter().map(|beam| {
            if !seen.insert(beam.number) {
                return Err(TypedError::BeamTwice { number: beam.number });
            }
            self.beam(beam, (plan, group), (&date, &time), is_ion)
        });
        let beams = beams.collect::<Result<Vec<_>, _>>()?;
        if beams.is_empty() {
            return Err(TypedError::NoBeams);
        }
        let of = &plan.instance;
        let uid = || format!("2.25.{}", u128::from_be_bytes(around.entropy.id()));
        let (instance, series) = (uid(), uid());
        let unit = self.unit(plan).unwrap_or("MU");
        let comment = format!(
            "typed in from paper by {}{}",
            around.typist,
            pack.map_or_else(String::new, |pack| format!(", downtime pack {pack}"))
        );
        let plan_reference = Item::new()
            .text(t::REFERENCED_SOP_CLASS_UID, of.kind.sop_class())
            .text(t::REFERENCED_SOP_INSTANCE_UID, &of.sop_instance);
        let machine = Item::new()
            .empty(t::MANUFACTURER)
            .empty(t::INSTITUTION_NAME)
            .empty(t::MANUFACTURER_MODEL_NAME)
            .empty(t::DEVICE_SERIAL_NUMBER)
            .text(t::TREATMENT_MACHINE_NAME, &machine);
        let sequence = if is_ion { t::TREATMENT_SESSION_ION_BEAM_SEQUENCE } else { t::TREATMENT_SESSION_BEAM_SEQUENCE };
        let said = |text: &Option<String>| text.clone().unwrap_or_default();
        Item::new()
            .text(t::SPECIFIC_CHARACTER_SET, "ISO_IR 192")
            .text(t::SOP_CLASS_UID, class)
            .text(t::SOP_INSTANCE_UID, &instance)
            .text(t::STUDY_DATE, said(&of.study_date))
            .empty(t::STUDY_TIME)
            .empty(t::ACCESSION_NUMBER)
            .text(t::MODALITY, "RTRECORD")
            .empty(t::MANUFACTURER)
            .empty(t::REFERRING_PHYSICIAN_NAME)
            .text(t::OPERATORS_NAME, &given_by)
            .text(t::PATIENT_NAME, said(&of.patient_name))
            .text(t::PATIENT_ID, said(&of.patient_id))
            .text(t::PATIENT_BIRTH_DATE, said(&of.birth_date))
            .text(t::PATIENT_SEX, said(&of.sex))
            .text(t::STUDY_INSTANCE_UID, &of.study)
            .text(t::SERIES_INSTANCE_UID, &series)
            .empty(t::STUDY_ID)
            .empty(t::SERIES_NUMBER)
            .text(t::INSTANCE_NUMBER, self.fraction.to_string())
            .text(t::TREATMENT_DATE, &date)
            .text(t::TREATMENT_TIME, &time)
            .items(t::REFERENCED_RT_PLAN_SEQUENCE, vec![plan_reference])
            .empty(t::REFERENCED_TREATMENT_RECORD_SEQUENCE)
            .items(t::TREATMENT_MACHINE_SEQUENCE, vec![machine])
            .text(t::REFERENCED_FRACTION_GROUP_NUMBER, group.number.to_string())
            .text(t::NUMBER_OF_FRACTIONS_PLANNED, group.fractions_planned.to_string())
            .text(t::PRIMARY_DOSIMETER_UNIT, unit)
            .text(t::TREATMENT_RECORD_CONTENT_ORIGIN, "USER")
            .text(t::INSTANCE_CREATION_DATE, around.today.to_string().replace('-', ""))
            .text(t::SERIES_DESCRIPTION, &comment)
            .items(sequence, beams)
            .file()
    }

    fn unit<'a>(&self, plan: &'a Plan) -> Option<&'a str> {
        let dosimeters = plan.delivery.dosimeters();
        self.beams.iter().find_map(|beam| dosimeters.get(&beam.number).copied())
    }

    fn beam(
        &self,
        typed: &TypedBeam,
        (plan, group): (&Plan, &FractionGroup),
        (date, time): (&str, &str),
        is_ion: bool,
    ) -> Result<Item, TypedError> {
        let number = typed.number;
        let treats = |number: &u32| plan.beams.iter().any(|beam| beam.number == *number && beam.treats);
        let planned = group.metersets.get(&number).copied().filter(|_| treats(&number));
        let Some(planned) = planned else {
            let has = group.beams.iter().filter(|number| treats(number)).map(u32::to_string);
            return Err(TypedError::NoBeam { number, has: has.collect::<Vec<_>>().join(", ") });
        };
        let found: String = typed.meterset.chars().take(16).collect();
        let delivered =
            thousandths(&typed.meterset).ok_or_else(|| TypedError::NoNumber { number, found: found.clone() })?;
        if delivered > planned.saturating_mul(TIMES_MAX) {
            let most = decimal(planned.saturating_mul(TIMES_MAX));
            return Err(TypedError::Meterset { number, found, most });
        }
        if delivered == 0 && typed.ended == Ended::Normal {
            return Err(TypedError::NothingNormally { number });
        }
        let text = |tag: Tag| {
            let rows = plan.delivery.rows().iter();
            let mut of_it =
                rows.filter(|row| row.place.beam == Some(number) && row.tag == tag && row.place.part.is_none());
            of_it.find_map(|row| match &row.value {
                Value::Text(text) => Some(text.to_string()),
                Value::Numbers(_) => None,
            })
        };
        let parts = |kind: &str| {
            let of_beam = plan.delivery.rows().iter().filter(|row| row.place.beam == Some(number));
            let named = of_beam.filter_map(|row| row.place.part.as_deref()).filter_map(|part| part.strip_prefix(kind));
            named.filter_map(|part| part.split(' ').next()).collect::<BTreeSet<_>>().len().to_string()
        };
        let name = plan.beams.iter().find(|beam| beam.number == number).and_then(|beam| beam.name.clone());
        // Where it began, and where it ended: that is all that paper says.
        let point = |index: u32, meterset: i64| {
            Item::new()
                .text(t::TREATMENT_CONTROL_POINT_DATE, date)
                .text(t::TREATMENT_CONTROL_POINT_TIME, time)
                .text(t::SPECIFIED_METERSET, decimal(if index == 0 { 0 } else { planned }))
                .text(t::DELIVERED_METERSET, decimal(meterset))
                .text(t::REFERENCED_CONTROL_POINT_INDEX, index.to_string())
        };
        let last = plan.delivery.rows().iter().filter(|row| row.place.beam == Some(number));
        let last = last.filter_map(|row| row.place.point).max().unwrap_or(1).max(1);
        let points = vec![point(0, 0), point(last, delivered)];
        let item = Item::new()
            .text(t::REFERENCED_BEAM_NUMBER, number.to_string())
            .text(t::BEAM_NAME, name.unwrap_or_default())
            .text(t::BEAM_TYPE, text(t::BEAM_TYPE).unwrap_or_default())
            .text(t::RADIATION_TYPE, text(t::RADIATION_TYPE).unwrap_or_default())
            .text(t::TREATMENT_DELIVERY_TYPE, "TREATMENT")
            .text(t::CURRENT_FRACTION_NUMBER, self.fraction.to_string())
            .text(t::TREATMENT_TERMINATION_STATUS, typed.ended.code())
            // Nobody's record-and-verify system saw it.
            .text(t::TREATMENT_VERIFICATION_STATUS, "NOT_VERIFIED")
            .text(t::SPECIFIED_PRIMARY_METERSET, decimal(planned))
            .text(t::DELIVERED_PRIMARY_METERSET, decimal(delivered))
            .text(t::NUMBER_OF_WEDGES, parts("wedge "))
            .text(t::NUMBER_OF_COMPENSATORS, parts("compensator "))
            .text(t::NUMBER_OF_BOLI, parts("bolus "))
            .text(t::NUMBER_OF_BLOCKS, parts("block "))
            .text(t::NUMBER_OF_CONTROL_POINTS, (last + 1).to_string());
        let sequence = if is_ion { t::ION_CONTROL_POINT_DELIVERY_SEQUENCE } else { t::CONTROL_POINT_DELIVERY_SEQUENCE };
        Ok(item.items(sequence, points))
    }
}

/// A data set put together element by element; value representations come from the standard's dictionary.
struct Item(InMemDicomObject);

impl Item {
    fn new() -> Self {
        Self(InMemDicomObject::new_empty())
    }

    fn put(mut self, tag: Tag, value: PrimitiveValue) -> Self {
        let vr = StandardDataDictionary.by_tag(tag).map_or(VR::UN, |entry| entry.vr().relaxed());
        self.0.put(DataElement::new(tag, vr, value));
        self
    }

    fn text(self, tag: Tag, value: impl AsRef<str>) -> Self {
        match value.as_ref() {
            "" => self.put(tag, PrimitiveValue::Empty),
            text => self.put(tag, PrimitiveValue::from(text)),
        }
    }

    /// Present without a value (type 2).
    fn empty(self, tag: Tag) -> Self {
        self.put(tag, PrimitiveValue::Empty)
    }

    fn items(mut self, tag: Tag, items: Vec<Item>) -> Self {
        let items: Vec<InMemDicomObject> = items.into_iter().map(|item| item.0).collect();
        self.0.put(DataElement::new(tag, VR::SQ, DataSetSequence::from(items)));
        self
    }

    fn file(self) -> Result<Vec<u8>, TypedError> {
        let failed = |why: &dyn std::fmt::Display| TypedError::Unwritable { why: why.to_string() };
        let meta = FileMetaTableBuilder::new().transfer_syntax(uids::EXPLICIT_VR_LITTLE_ENDIAN);
        let object = self.0.with_meta(meta).map_err(|e| failed(&e))?;
        let mut bytes = Vec::new();
        object.write_all(&mut bytes).map_err(|e| failed(&e))?;
        Ok(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metersets_are_read_exactly_or_not_at_all() {
        for (text, is) in
            [("183.7", 183_700), ("0", 0), ("12", 12_000), (" 1.005 ", 1_005), ("999999999.999", 999_999_999_999)]
        {
            assert_eq!(thousandths(text), Some(is), "{text}");
            assert_eq!(thousandths(&decimal(is)), Some(is));
        }
        for text in ["", ".", "1.", "-1", "1.0005", "1,5", "1e3", "+1", "0x1", "1234567890", "nan"] {
            let read = thousandths(text);
            assert!(read.is_none() || text == "1.", "{text}: {read:?}");
        }
        for (text, is) in
            [("09:05", Some("090500")), ("23:59", Some("235900")), ("24:00", None), ("9:05", None), ("", None)]
        {
            assert_eq!(time(text).ok().as_deref(), is, "{text}");
        }
    }
}

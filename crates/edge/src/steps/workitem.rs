//! Data sets of procedure steps: what a requester says (PS3.4 table CC.2.5-3), and what is said to it.

use std::collections::BTreeSet;

use dicom_core::value::{DataSetSequence, PrimitiveValue};
use dicom_core::{DataElement, Tag, VR};
use dicom_dictionary_std::{tags as t, uids};
use dicom_encoding::TransferSyntax;
use dicom_encoding::text::SpecificCharacterSet;
use dicom_object::InMemDicomObject;
use dicom_transfer_syntax_registry::entries::IMPLICIT_VR_LITTLE_ENDIAN;
use dicom_transfer_syntax_registry::{TransferSyntaxIndex as _, TransferSyntaxRegistry};
use kit::Timestamp;
use treatment::dicom::scan::{Set, Tree};
use treatment::dicom::value::{Characters, code, trimmed, uid};

use super::{Reasons, State, Step};
use crate::dimse::{Outcome, status};

/// A step that names a plan is some kilobytes.
const BYTES_MAX: usize = 64 * 1024;
/// Long Text is 10,240 characters, Short Text 1,024 (PS3.5 table 6.2-1).
const REASON_CHARS_MAX: usize = 10_240;
const PROGRESS_CHARS_MAX: usize = 1_024;
/// Code Meaning is a Long String.
const MEANING_CHARS_MAX: usize = 64;
/// Of the reasons for a cancellation.
const REASONS_MAX: usize = 32;

/// Where DICOM's instructions and procedure steps have their classes.
const RT_INSTRUCTIONS: &str = "1.2.840.10008.5.1.4.34.";

/// The checks that are made here (PS3.16 CID 9241): is it what was signed? That a dose is right, nobody here calculates.
const CHECKS: [(&str, &str); 2] = [("121732", uids::RT_PLAN_STORAGE), ("121734", uids::RT_ION_PLAN_STORAGE)];

/// What is to be checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Order {
    /// As the requester knows her.
    pub patient: Option<String>,
    /// As the step has them.
    pub birth_date: Option<String>,
    pub sex: Option<String>,
    /// SOP Instance UIDs.
    pub plan: String,
    pub instruction: Option<String>,
}

/// Who wants to be told.
pub(super) struct Subscription {
    pub(super) receiver: String,
    pub(super) wants_lock: bool,
}

fn refused(status: u16, why: &'static str) -> Outcome {
    Outcome::refused(status, why)
}

/// The words of an attribute; none where it is missing or empty.
fn words(set: Set<'_>, tag: Tag) -> Option<String> {
    code(set.get(tag)?.bytes()).ok().filter(|said| !said.is_empty())
}

fn tree<'b>(bytes: &'b [u8], transfer_syntax: &str) -> Result<Tree<'b>, Outcome> {
    if bytes.len() > BYTES_MAX {
        return Err(refused(status::RESOURCE_LIMITATION, "a procedure step of more than 64 KiB"));
    }
    Tree::of_data_set(bytes, transfer_syntax).map_err(|_| refused(status::CANNOT_UNDERSTAND, "no data set"))
}

/// Reads what is to be created.
pub fn read(bytes: &[u8], transfer_syntax: &str) -> Result<Order, Outcome> {
    // First of all how deep it is: the parser that follows recurses.
    let tree = tree(bytes, transfer_syntax)?;
    let root = tree.root();
    let present = |tag, why| match root.get(tag) {
        None => Err(refused(status::MISSING_ATTRIBUTE, why)),
        Some(element) if element.items().next().is_none() && trimmed(element.bytes()).is_empty() => {
            Err(refused(status::MISSING_ATTRIBUTE_VALUE, why))
        }
        Some(_) => Ok(()),
    };
    present(t::PROCEDURE_STEP_STATE, "Procedure Step State (0074,1000)")?;
    if words(root, t::PROCEDURE_STEP_STATE).as_deref() != Some("SCHEDULED") {
        return Err(refused(status::NOT_SCHEDULED, "Procedure Step State (0074,1000) is not SCHEDULED"));
    }
    for (tag, why) in [
        (t::SCHEDULED_PROCEDURE_STEP_PRIORITY, "Scheduled Procedure Step Priority (0074,1200)"),
        (t::PROCEDURE_STEP_LABEL, "Procedure Step Label (0074,1204)"),
        (t::SCHEDULED_PROCEDURE_STEP_START_DATE_TIME, "Scheduled Procedure Step Start DateTime (0040,4005)"),
        (t::INPUT_READINESS_STATE, "Input Readiness State (0040,4041)"),
        (t::SCHEDULED_WORKITEM_CODE_SEQUENCE, "Scheduled Workitem Code Sequence (0040,4018)"),
        (t::INPUT_INFORMATION_SEQUENCE, "Input Information Sequence (0040,4021)"),
    ] {
        present(tag, why)?;
    }
    let wrong = |why| refused(status::INVALID_ATTRIBUTE_VALUE, why);
    if root.get(t::TRANSACTION_UID).is_some_and(|element| !trimmed(element.bytes()).is_empty()) {
        return Err(wrong("Transaction UID (0008,1195) has a value"));
    }
    if words(root, t::INPUT_READINESS_STATE).as_deref() != Some("READY") {
        return Err(wrong("Input Readiness State (0040,4041) is not READY"));
    }
    let coded = root.get(t::SCHEDULED_WORKITEM_CODE_SEQUENCE).into_iter().flat_map(|sequence| sequence.items());
    let coded: Vec<_> =
        coded.map(|item| (words(item, t::CODING_SCHEME_DESIGNATOR), words(item, t::CODE_VALUE))).collect();
    let check = match coded.as_slice() {
        [(Some(scheme), Some(code))] if scheme == "DCM" => CHECKS.iter().find(|(known, _)| known == code),
        _ => None,
    };
    let Some((_, class)) = check else {
        return Err(wrong("the workitem is not 121732 or 121734, DCM: plan difference check"));
    };
    // What can't be read of the input may be what matters.
    let mut inputs = BTreeSet::new();
    for item in root.get(t::INPUT_INFORMATION_SEQUENCE).into_iter().flat_map(|sequence| sequence.items()) {
        for reference in item.get(t::REFERENCED_SOP_SEQUENCE).into_iter().flat_map(|sequence| sequence.items()) {
            let part =
                |tag| reference.get(tag).and_then(|element| uid(element.bytes()).ok()).filter(|uid| !uid.is_empty());
            let both = part(t::REFERENCED_SOP_CLASS_UID).zip(part(t::REFERENCED_SOP_INSTANCE_UID));
            let (class, instance) = both.ok_or_else(|| wrong("a reference of the input can't be read"))?;
            if class.starts_with(RT_INSTRUCTIONS) && class != uids::RT_BEAMS_DELIVERY_INSTRUCTION_STORAGE {
                return Err(wrong("the input has an instruction of another class"));
            }
            inputs.insert((class, instance));
        }
    }
    let of = |wanted: &[&str]| -> Vec<String> {
        let wanted = inputs.iter().filter(|(class, _)| wanted.contains(&class.as_str()));
        wanted.map(|(_, instance)| instance.clone()).collect()
    };
    let (plans, of_class) = (of(&[uids::RT_PLAN_STORAGE, uids::RT_ION_PLAN_STORAGE]), of(&[*class]));
    let ([_], [plan]) = (plans.as_slice(), of_class.as_slice()) else {
        return Err(wrong("the input is not one plan of the workitem's kind"));
    };
    let mut instructions = of(&[uids::RT_BEAMS_DELIVERY_INSTRUCTION_STORAGE]);
    if instructions.len() > 1 {
        return Err(wrong("the input has several delivery instructions"));
    }
    let characters = Characters::of(root).map_err(|_| wrong("Specific Character Set (0008,0005)"))?;
    let patient = match root.get(t::PATIENT_ID) {
        Some(element) => characters.text(element.bytes()).map_err(|_| wrong("Patient ID (0010,0020) can't be read"))?,
        None => String::new(),
    };
    Ok(Order {
        patient: Some(patient.trim().to_owned()).filter(|said| !said.is_empty()),
        birth_date: words(root, t::PATIENT_BIRTH_DATE),
        sex: words(root, t::PATIENT_SEX),
        plan: plan.clone(),
        instruction: instructions.pop(),
    })
}

/// Reads who wants to be told, or no more.
pub(super) fn subscription(bytes: &[u8], transfer_syntax: &str) -> Result<Subscription, Outcome> {
    let tree = tree(bytes, transfer_syntax)?;
    let receiver = tree.root().get(t::RECEIVING_AE).map(|element| trimmed(element.bytes()).to_vec());
    let receiver = receiver.and_then(|bytes| String::from_utf8(bytes).ok()).map(|title| title.trim().to_owned());
    let receiver = receiver.filter(|title| (1..=16).contains(&title.len()));
    let receiver = receiver.ok_or_else(|| refused(status::MISSING_ATTRIBUTE_VALUE, "Receiving AE (0074,1234)"))?;
    let wants_lock = words(tree.root(), t::DELETION_LOCK).as_deref() == Some("TRUE");
    Ok(Subscription { receiver, wants_lock })
}

fn text(tag: Tag, vr: VR, text: impl Into<String>) -> DataElement<InMemDicomObject> {
    DataElement::new(tag, vr, PrimitiveValue::from(text.into()))
}

fn sequence(tag: Tag, items: Vec<InMemDicomObject>) -> DataElement<InMemDicomObject> {
    DataElement::new(tag, VR::SQ, DataSetSequence::from(items))
}

fn coded(value: &str, scheme: &str, meaning: &str) -> InMemDicomObject {
    let short = |text: &str, max| text.chars().filter(|c| !c.is_control() && *c != '\\').take(max).collect::<String>();
    InMemDicomObject::from_element_iter([
        // A Code Value has sixteen characters; a longer one is a Long Code Value (PS3.3 table 8.8-1).
        if value.len() > 16 { text(t::LONG_CODE_VALUE, VR::UC, value) } else { text(t::CODE_VALUE, VR::SH, value) },
        text(t::CODING_SCHEME_DESIGNATOR, VR::SH, scheme),
        text(t::CODE_MEANING, VR::LO, short(meaning, MEANING_CHARS_MAX)),
    ])
}

/// Why, in words; lines stay lines.
fn in_words(reasons: &Reasons) -> String {
    let all: Vec<String> = reasons.iter().map(|(code, why)| format!("{code}: {why}")).collect();
    all.join("\r\n").chars().filter(|c| !c.is_control() || ['\r', '\n'].contains(c)).take(REASON_CHARS_MAX).collect()
}

/// Discontinued for unspecified reason (CID 9300), which every peer knows; and each finding by its own code.
fn reason_codes(reasons: &Reasons) -> DataElement<InMemDicomObject> {
    let mut codes = vec![coded("110513", "DCM", "Discontinued for unspecified reason")];
    codes.extend(reasons.iter().take(REASONS_MAX).map(|(code, why)| coded(code, "99HOLDFAST", why)));
    sequence(t::PROCEDURE_STEP_DISCONTINUATION_REASON_CODE_SEQUENCE, codes)
}

/// The information of a UPS State Report, in implicit VR little endian.
pub(super) fn state_report(state: &State) -> Vec<u8> {
    let mut data = InMemDicomObject::new_empty();
    data.put(text(t::INPUT_READINESS_STATE, VR::CS, "READY"));
    data.put(text(t::PROCEDURE_STEP_STATE, VR::CS, state.word()));
    if let State::Canceled(reasons) = state {
        data.put(text(t::REASON_FOR_CANCELLATION, VR::LT, in_words(reasons)));
        data.put(reason_codes(reasons));
    }
    // It is ours, and small: there is nothing in it that can't be written.
    in_utf8(data, &IMPLICIT_VR_LITTLE_ENDIAN.erased()).unwrap_or_default()
}

/// `YYYYMMDDHHMMSS.mmm&ZZXX` (VR DT), in UTC.
fn date_time(at: Timestamp) -> String {
    let digits: String = at.to_string().chars().filter(char::is_ascii_digit).collect();
    format!("{}+0000", digits.get(..14).unwrap_or_default())
}

/// Where a step stands, as its requester created it and as it went on: these attributes, or all. Never the Transaction UID.
pub(super) fn write(step: &Step, attributes: &[Tag], transfer_syntax: &str) -> Result<Vec<u8>, Outcome> {
    let syntax = |uid: &str| {
        TransferSyntaxRegistry.get(uid).ok_or_else(|| refused(status::CANNOT_UNDERSTAND, "no transfer syntax"))
    };
    // How deep it is was looked at when it came.
    let data = InMemDicomObject::read_dataset_with_ts(step.data.0.as_slice(), syntax(step.data.1)?);
    let mut data = data.map_err(|_| refused(status::CANNOT_UNDERSTAND, "no data set"))?;
    let state = &step.state;
    data.put(text(t::SOP_CLASS_UID, VR::UI, uids::UNIFIED_PROCEDURE_STEP_PUSH));
    data.put(text(t::PROCEDURE_STEP_STATE, VR::CS, state.word()));
    data.put(text(
        t::SCHEDULED_PROCEDURE_STEP_MODIFICATION_DATE_TIME,
        VR::DT,
        date_time(step.ended.or(step.begun).unwrap_or(step.made)),
    ));
    let mut progress = InMemDicomObject::new_empty();
    match state {
        State::Scheduled | State::InProgress => {}
        State::Completed(said) => {
            progress.put(text(t::PROCEDURE_STEP_PROGRESS, VR::DS, "100"));
            let said: String = said.chars().filter(|c| !c.is_control()).take(PROGRESS_CHARS_MAX).collect();
            progress.put(text(t::PROCEDURE_STEP_PROGRESS_DESCRIPTION, VR::ST, said));
        }
        State::Canceled(reasons) => {
            progress.put(text(
                t::PROCEDURE_STEP_CANCELLATION_DATE_TIME,
                VR::DT,
                date_time(step.ended.unwrap_or(step.made)),
            ));
            progress.put(text(t::REASON_FOR_CANCELLATION, VR::LT, in_words(reasons)));
            progress.put(reason_codes(reasons));
        }
    }
    data.put(sequence(t::PROCEDURE_STEP_PROGRESS_INFORMATION_SEQUENCE, vec![progress]));
    if let (State::Completed(_), Some((begun, ended))) = (state, step.begun.zip(step.ended)) {
        let scheduled = data.element(t::SCHEDULED_WORKITEM_CODE_SEQUENCE).ok().and_then(|element| element.items());
        let performed = InMemDicomObject::from_element_iter([
            sequence(t::ACTUAL_HUMAN_PERFORMERS_SEQUENCE, Vec::new()),
            sequence(t::PERFORMED_STATION_NAME_CODE_SEQUENCE, Vec::new()),
            text(t::PERFORMED_PROCEDURE_STEP_START_DATE_TIME, VR::DT, date_time(begun)),
            sequence(t::PERFORMED_WORKITEM_CODE_SEQUENCE, scheduled.map(<[_]>::to_vec).unwrap_or_default()),
            sequence(t::PERFORMED_PROCESSING_PARAMETERS_SEQUENCE, Vec::new()),
            text(t::PERFORMED_PROCEDURE_STEP_END_DATE_TIME, VR::DT, date_time(ended)),
            sequence(t::OUTPUT_INFORMATION_SEQUENCE, Vec::new()),
        ]);
        data.put(sequence(t::UNIFIED_PROCEDURE_STEP_PERFORMED_PROCEDURE_SEQUENCE, vec![performed]));
    }
    data.remove_element(t::TRANSACTION_UID);
    if !attributes.is_empty() {
        let wanted = data.into_iter().filter(|element| attributes.contains(&element.header().tag));
        data = InMemDicomObject::from_element_iter(wanted.collect::<Vec<_>>());
    }
    in_utf8(data, syntax(transfer_syntax)?)
        .ok_or_else(|| refused(status::PROCESSING_FAILURE, "it can't be written in this transfer syntax"))
}

/// Names were read in whatever characters they came in; reasons quote arrows and signs.
fn in_utf8(mut data: InMemDicomObject, syntax: &TransferSyntax) -> Option<Vec<u8>> {
    data.put(text(t::SPECIFIC_CHARACTER_SET, VR::CS, "ISO_IR 192"));
    let mut bytes = Vec::new();
    data.write_dataset_with_ts_cs(&mut bytes, syntax, SpecificCharacterSet::ISO_IR_192).ok()?;
    Some(bytes)
}

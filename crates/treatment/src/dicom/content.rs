//! What an image, a structure set or a dose says, as one digest: the same for the same content under another SOP Instance UID, in
//! another transfer syntax or with its numbers in another form. The form is defined in `docs/formats/content-digest.md`.

use std::collections::BTreeSet;

use dicom_core::dictionary::{DataDictionary, DataDictionaryEntry, VirtualVr};
use dicom_core::{Tag, VR};
use dicom_dictionary_std::StandardDataDictionary;
use dicom_dictionary_std::tags as t;
use kit::Digest;
use sha2::{Digest as _, Sha256};

use crate::dicom::scan::{Element, Set, Tree};
use crate::dicom::value::{code, numbers, trimmed, uid};

/// The first line of what is hashed.
const VERSION: &[u8] = b"holdfast content v1\n";

/// Acquisition, image, imaging of radiotherapy, dose, structures, which beam a dose is of, pixels.
const GROUPS: [u16; 7] = [0x0018, 0x0028, 0x3002, 0x3004, 0x3006, 0x300C, 0x7FE0];

/// Of group 0020: where a slice lies.
const PLACES: [Tag; 2] = [t::IMAGE_POSITION_PATIENT, t::IMAGE_ORIENTATION_PATIENT];

/// What names, colours or refers, and says nothing of what is there. What it refers to is in a plan's context by its own content.
const SAYS_NOTHING: [Tag; 9] = [
    t::DEVICE_SERIAL_NUMBER,
    t::SOFTWARE_VERSIONS,
    t::PROTOCOL_NAME,
    t::STRUCTURE_SET_LABEL,
    t::STRUCTURE_SET_NAME,
    t::STRUCTURE_SET_DESCRIPTION,
    t::REFERENCED_FRAME_OF_REFERENCE_SEQUENCE,
    t::CONTOUR_IMAGE_SEQUENCE,
    t::ROI_DISPLAY_COLOR,
];

/// Series that a structure set was drawn on; one of a breathing patient has ten or so.
const SERIES_MAX: usize = 1_000;

/// Objects that one names: a structure set names each image that it was drawn on.
const NEEDED_MAX: usize = 20_000;

/// Over everything in the object that isn't somebody's name for it.
pub(crate) fn digest(tree: &Tree<'_>) -> Digest {
    let mut hasher = Sha256::new();
    hasher.update(VERSION);
    let class = tree.root().get(t::SOP_CLASS_UID).and_then(|class| uid(class.bytes()).ok()).unwrap_or_default();
    hasher.update(class.as_bytes());
    hasher.update(b"\n");
    set(&mut hasher, tree.root(), true);
    Digest(hasher.finalize().into())
}

/// Of what is several contents, whatever their order.
pub(crate) fn of_all(what: &str, contents: impl IntoIterator<Item = Digest>) -> Digest {
    let mut lines: Vec<String> = contents.into_iter().map(|content| content.to_string()).collect();
    lines.sort_unstable();
    lines.dedup();
    let mut hasher = Sha256::new();
    hasher.update(format!("holdfast {what} v1\n"));
    lines.iter().for_each(|line| hasher.update(format!("{line}\n")));
    Digest(hasher.finalize().into())
}

fn counts(element: &Element<'_>, outermost: bool) -> bool {
    let tag = element.tag();
    // Inside an item of these groups stands what belongs to it, such as the code of a structure.
    let is_of_it = !outermost || GROUPS.contains(&tag.group()) || PLACES.contains(&tag);
    let is_private_or_length = tag.group() % 2 == 1 || tag.element() == 0;
    // By what the standard says that it is, whatever is written: a grid's scaling as a UID is a scaling all the same.
    let is_a_name = matches!(vr_of(element), VR::UI | VR::DA | VR::TM | VR::DT | VR::PN);
    is_of_it && !is_private_or_length && !is_a_name && !SAYS_NOTHING.contains(&tag)
}

/// As the dictionary has it; as written, of what it doesn't know.
fn vr_of(element: &Element<'_>) -> VR {
    let known = StandardDataDictionary.by_tag(element.tag()).map(|entry| entry.vr());
    match known {
        Some(VirtualVr::Exact(vr)) => vr,
        _ => element.vr(),
    }
}

/// What is written of an element's value.
#[derive(Clone, Copy)]
enum Form {
    Bytes = 1,
    Numbers = 2,
    Items = 3,
    Fragments = 4,
}

fn set(hasher: &mut Sha256, of: Set<'_>, outermost: bool) {
    for element in of.elements().filter(|element| counts(element, outermost)) {
        write(hasher, element);
    }
}

fn write(hasher: &mut Sha256, element: Element<'_>) {
    let tag = element.tag();
    let mut put = |form: Form, value: &[u8]| {
        hasher.update(tag.group().to_be_bytes());
        hasher.update(tag.element().to_be_bytes());
        hasher.update([form as u8]);
        hasher.update((value.len() as u64).to_be_bytes());
        hasher.update(value);
    };
    let is_text =
        |vr| matches!(vr, VR::AE | VR::AS | VR::CS | VR::LO | VR::LT | VR::SH | VR::ST | VR::UC | VR::UR | VR::UT);
    // A sequence whose representation wasn't known on the way (UN, PS3.5 section 6.2.2) has items all the same.
    let mut items = element.items().peekable();
    match element.vr() {
        vr if vr == VR::SQ || items.peek().is_some() => {
            // In whatever order they come.
            let mut each: Vec<[u8; 32]> = items.map(|item| of_set(item).0).collect();
            each.sort_unstable();
            put(Form::Items, &each.concat());
        }
        VR::DS | VR::IS if let Some(text) = plain(element) => put(Form::Numbers, &text),
        vr if is_text(vr) => put(Form::Bytes, trimmed(element.bytes())),
        _ if element.is_encapsulated() => put(Form::Fragments, element.bytes_or_fragments()),
        _ => put(Form::Bytes, element.bytes()),
    }
}

/// Everything in an item.
fn of_set(item: Set<'_>) -> Digest {
    let mut hasher = Sha256::new();
    set(&mut hasher, item, false);
    Digest(hasher.finalize().into())
}

/// What is prescribed: every Dose Reference, and what each fraction group says of each of its beams, in whatever order. `points`: where
/// each beam's dose is, a line each, since a UID isn't counted.
pub(crate) fn prescription(plan: Set<'_>, points: Vec<String>) -> Digest {
    let mut lines: Vec<String> =
        items(plan, t::DOSE_REFERENCE_SEQUENCE).map(|item| format!("reference {}", of_set(item))).collect();
    for group in items(plan, t::FRACTION_GROUP_SEQUENCE) {
        let number = group.get(t::FRACTION_GROUP_NUMBER).and_then(plain).unwrap_or_default();
        let number = String::from_utf8_lossy(&number).into_owned();
        let beams =
            items(group, t::REFERENCED_BEAM_SEQUENCE).chain(items(group, t::REFERENCED_DOSE_REFERENCE_SEQUENCE));
        lines.extend(beams.map(|beam| format!("group {number} {}", of_set(beam))));
    }
    lines.extend(plan.get(t::PRESCRIPTION_DESCRIPTION).map(|text| {
        let mut hasher = Sha256::new();
        write(&mut hasher, text);
        format!("description {}", Digest(hasher.finalize().into()))
    }));
    lines.extend(points);
    lines.sort_unstable();
    let mut hasher = Sha256::new();
    hasher.update("holdfast prescription v1\n");
    lines.iter().for_each(|line| hasher.update(format!("{line}\n")));
    Digest(hasher.finalize().into())
}

/// Decimal numbers without what can be written in two ways; none where one of them is none.
fn plain(element: Element<'_>) -> Option<Vec<u8>> {
    let mut text = Vec::with_capacity(element.bytes().len());
    for number in numbers(element).ok()? {
        number.ok()?.write_plain(&mut text);
    }
    Some(text)
}

fn items(set: Set<'_>, tag: Tag) -> impl Iterator<Item = Set<'_>> {
    set.get(tag).into_iter().flat_map(Element::items)
}

/// Series Instance UIDs of the images that a structure set was drawn on.
pub(crate) fn series_of(structure_set: &Tree<'_>) -> Vec<String> {
    let frames = items(structure_set.root(), t::REFERENCED_FRAME_OF_REFERENCE_SEQUENCE);
    let studies = frames.flat_map(|frame| items(frame, t::RT_REFERENCED_STUDY_SEQUENCE));
    let series = studies.flat_map(|study| items(study, t::RT_REFERENCED_SERIES_SEQUENCE));
    let mut series: Vec<String> = series.filter_map(|series| named(series, t::SERIES_INSTANCE_UID)).collect();
    series.sort_unstable();
    series.dedup();
    series.truncate(SERIES_MAX);
    series
}

/// The plan whose dose this is: empty where it names none that can be read, so that it is any plan's; none where it is the dose of
/// several.
pub(crate) fn plan_of(dose: &Tree<'_>) -> Option<String> {
    let plans = items(dose.root(), t::REFERENCED_RT_PLAN_SEQUENCE);
    let plans: BTreeSet<String> = plans.filter_map(|plan| named(plan, t::REFERENCED_SOP_INSTANCE_UID)).collect();
    let mut plans = plans.into_iter();
    match (plans.next(), plans.next()) {
        (first, None) => Some(first.unwrap_or_default()),
        _ => None,
    }
}

/// The structure sets that a plan was made on: one, by the standard.
pub(crate) fn structure_sets_of(plan: Set<'_>) -> BTreeSet<String> {
    let all = items(plan, t::REFERENCED_STRUCTURE_SET_SEQUENCE);
    all.filter_map(|one| named(one, t::REFERENCED_SOP_INSTANCE_UID)).take(SERIES_MAX).collect()
}

/// The plans that a plan says it was made from: RT Plan Relationship (300A,0055) PREDECESSOR.
pub(crate) fn predecessors_of(plan: Set<'_>) -> BTreeSet<String> {
    let is_predecessor = |one: &Set<'_>| {
        one.get(t::RT_PLAN_RELATIONSHIP).is_some_and(|is| code(is.bytes()).as_deref() == Ok("PREDECESSOR"))
    };
    let all = items(plan, t::REFERENCED_RT_PLAN_SEQUENCE).filter(is_predecessor);
    all.filter_map(|one| named(one, t::REFERENCED_SOP_INSTANCE_UID)).take(SERIES_MAX).collect()
}

/// What an object names that whoever goes by it needs beside it: what it is, and its SOP Instance UID.
pub(crate) fn needs_of(tree: &Tree<'_>) -> BTreeSet<(Needed, String)> {
    let root = tree.root();
    let of = |set: Set<'_>, tag, what: Needed| -> Vec<(Needed, String)> {
        items(set, tag).filter_map(|one| Some((what, named(one, t::REFERENCED_SOP_INSTANCE_UID)?))).collect()
    };
    let frames = items(root, t::REFERENCED_FRAME_OF_REFERENCE_SEQUENCE);
    let studies = frames.flat_map(|frame| items(frame, t::RT_REFERENCED_STUDY_SEQUENCE));
    let series = studies.flat_map(|study| items(study, t::RT_REFERENCED_SERIES_SEQUENCE));
    let images = series.flat_map(|series| of(series, t::CONTOUR_IMAGE_SEQUENCE, Needed::Image));
    let beside = [
        (t::REFERENCED_RT_PLAN_SEQUENCE, Needed::Plan),
        (t::REFERENCED_STRUCTURE_SET_SEQUENCE, Needed::StructureSet),
        (t::REFERENCED_DOSE_SEQUENCE, Needed::Dose),
    ];
    let beside = beside.into_iter().flat_map(|(tag, what)| of(root, tag, what));
    images.chain(beside).take(NEEDED_MAX).collect()
}

/// What is named by another object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Needed {
    Plan,
    StructureSet,
    Dose,
    Image,
}

fn named(set: Set<'_>, tag: Tag) -> Option<String> {
    uid(set.get(tag)?.bytes()).ok().filter(|uid| !uid.is_empty())
}

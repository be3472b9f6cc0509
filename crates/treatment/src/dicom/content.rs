//! What an image, a structure set or a dose says, as one digest: the same for the same content under another SOP Instance UID, in
//! another transfer syntax or with its numbers in another form. The form is defined in `docs/formats/content-digest.md`.

use dicom_core::Tag;
use dicom_core::VR;
use dicom_dictionary_std::tags as t;
use kit::Digest;
use sha2::{Digest as _, Sha256};

use crate::dicom::scan::{Element, Set, Tree};
use crate::dicom::value::{numbers, trimmed, uid};

/// The first line of what is hashed.
const VERSION: &[u8] = b"holdfast content v1\n";

/// Acquisition, image, imaging of radiotherapy, dose, structures, pixels.
const GROUPS: [u16; 6] = [0x0018, 0x0028, 0x3002, 0x3004, 0x3006, 0x7FE0];

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
const SERIES_MAX: usize = 64;

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
    let is_a_name = matches!(element.vr(), VR::UI | VR::DA | VR::TM | VR::DT | VR::PN);
    is_of_it && !is_private_or_length && !is_a_name && !SAYS_NOTHING.contains(&tag)
}

/// What is written of an element's value.
#[derive(Clone, Copy)]
enum Form {
    Bytes = 1,
    Numbers = 2,
    Items = 3,
    EndOfItem = 4,
}

fn set(hasher: &mut Sha256, of: Set<'_>, outermost: bool) {
    for element in of.elements().filter(|element| counts(element, outermost)) {
        let tag = element.tag();
        let mut head = |form: Form, length: usize| {
            hasher.update(tag.group().to_be_bytes());
            hasher.update(tag.element().to_be_bytes());
            hasher.update([form as u8]);
            hasher.update((length as u64).to_be_bytes());
        };
        match element.vr() {
            VR::SQ => {
                let items: Vec<Set<'_>> = element.items().collect();
                head(Form::Items, items.len());
                for item in items {
                    set(hasher, item, false);
                    hasher.update([Form::EndOfItem as u8]);
                }
            }
            VR::DS | VR::IS if let Some(text) = plain(element) => {
                head(Form::Numbers, text.len());
                hasher.update(&text);
            }
            VR::AE | VR::AS | VR::CS | VR::LO | VR::LT | VR::SH | VR::ST | VR::UC | VR::UR | VR::UT => {
                let text = trimmed(element.bytes());
                head(Form::Bytes, text.len());
                hasher.update(text);
            }
            _ => {
                let bytes = element.bytes_or_fragments();
                head(Form::Bytes, bytes.len());
                hasher.update(bytes);
            }
        }
    }
}

/// Decimal numbers without what can be written in two ways; none where one of them is none.
fn plain(element: Element<'_>) -> Option<Vec<u8>> {
    let mut text = Vec::with_capacity(element.bytes().len());
    for number in numbers(element).ok()? {
        number.ok()?.write_plain(&mut text);
    }
    Some(text)
}

/// Series Instance UIDs of the images that a structure set was drawn on.
pub(crate) fn series_of(structure_set: &Tree<'_>) -> Vec<String> {
    fn items(set: Set<'_>, tag: Tag) -> impl Iterator<Item = Set<'_>> {
        set.get(tag).into_iter().flat_map(Element::items)
    }
    let frames = items(structure_set.root(), t::REFERENCED_FRAME_OF_REFERENCE_SEQUENCE);
    let studies = frames.flat_map(|frame| items(frame, t::RT_REFERENCED_STUDY_SEQUENCE));
    let series = studies.flat_map(|study| items(study, t::RT_REFERENCED_SERIES_SEQUENCE));
    let mut series: Vec<String> = series.filter_map(|series| named(series, t::SERIES_INSTANCE_UID)).collect();
    series.sort_unstable();
    series.dedup();
    series.truncate(SERIES_MAX);
    series
}

/// The plan whose dose this is; none where it is the dose of several.
pub(crate) fn plan_of(dose: &Tree<'_>) -> Option<String> {
    let plans = dose.root().get(t::REFERENCED_RT_PLAN_SEQUENCE)?.items();
    let mut plans = plans.filter_map(|plan| named(plan, t::REFERENCED_SOP_INSTANCE_UID));
    plans.next().filter(|_| plans.next().is_none())
}

/// The structure set that a plan was made on.
pub(crate) fn structure_set_of(plan: Set<'_>) -> Option<String> {
    let first = plan.get(t::REFERENCED_STRUCTURE_SET_SEQUENCE)?.items().next()?;
    named(first, t::REFERENCED_SOP_INSTANCE_UID)
}

fn named(set: Set<'_>, tag: Tag) -> Option<String> {
    uid(set.get(tag)?.bytes()).ok().filter(|uid| !uid.is_empty())
}

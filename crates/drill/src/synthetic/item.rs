//! A DICOM data set put together element by element; value representations come from the standard's dictionary.

use dicom_core::dictionary::{DataDictionary, DataDictionaryEntry};
use dicom_core::value::{DataSetSequence, PrimitiveValue};
use dicom_core::{DataElement, Tag, VR};
use dicom_dictionary_std::{StandardDataDictionary, tags, uids};
use dicom_object::{FileMetaTableBuilder, InMemDicomObject};

/// A data set or an item of a sequence.
pub(super) struct Item(InMemDicomObject);

fn vr(tag: Tag) -> VR {
    StandardDataDictionary.by_tag(tag).map_or(VR::UN, |entry| entry.vr().relaxed())
}

impl Item {
    pub(super) fn new() -> Self {
        Self(InMemDicomObject::new_empty())
    }

    fn put(mut self, tag: Tag, value: PrimitiveValue) -> Self {
        self.0.put(DataElement::new(tag, vr(tag), value));
        self
    }

    pub(super) fn text(self, tag: Tag, value: impl Into<String>) -> Self {
        self.put(tag, PrimitiveValue::from(value.into()))
    }

    /// Present without a value (type 2).
    pub(super) fn empty(self, tag: Tag) -> Self {
        self.put(tag, PrimitiveValue::Empty)
    }

    /// IS.
    pub(super) fn int(self, tag: Tag, value: impl std::fmt::Display) -> Self {
        self.text(tag, value.to_string())
    }

    /// DS, one or more; at most ten decimals, so that sixteen characters suffice (PS3.5 6.2).
    pub(super) fn ds(self, tag: Tag, values: &[f64]) -> Self {
        self.text(tag, values.iter().map(|v| decimal_string(*v)).collect::<Vec<_>>().join("\\"))
    }

    /// US.
    pub(super) fn us(self, tag: Tag, value: u16) -> Self {
        self.put(tag, PrimitiveValue::from(value))
    }

    /// FL, one or more.
    pub(super) fn fl(self, tag: Tag, values: &[f32]) -> Self {
        self.put(tag, PrimitiveValue::F32(values.iter().copied().collect()))
    }

    /// AT.
    pub(super) fn at(self, tag: Tag, value: Tag) -> Self {
        self.put(tag, PrimitiveValue::from(value))
    }

    /// Sixteen-bit samples.
    pub(super) fn samples(mut self, values: Vec<u16>) -> Self {
        self.0.put(DataElement::new(tags::PIXEL_DATA, VR::OW, PrimitiveValue::U16(values.into())));
        self
    }

    pub(super) fn items(mut self, tag: Tag, items: Vec<Item>) -> Self {
        let items: Vec<InMemDicomObject> = items.into_iter().map(|item| item.0).collect();
        self.0.put(DataElement::new(tag, VR::SQ, DataSetSequence::from(items)));
        self
    }

    /// Adds what `more` puts in.
    pub(super) fn with(self, more: impl FnOnce(Self) -> Self) -> Self {
        more(self)
    }

    /// The data set as a Part 10 file, Explicit VR Little Endian.
    pub(super) fn file(self) -> Vec<u8> {
        let mut bytes = Vec::new();
        let meta = FileMetaTableBuilder::new().transfer_syntax(uids::EXPLICIT_VR_LITTLE_ENDIAN);
        // Writing into memory fails only where a value can't be encoded; the generator's own values can, and an
        // empty file would fail the very test that generates it.
        match self.0.with_meta(meta) {
            Ok(object) if object.write_all(&mut bytes).is_ok() => bytes,
            _ => Vec::new(),
        }
    }
}

fn decimal_string(value: f64) -> String {
    let text = format!("{value:.10}");
    let text = text.trim_end_matches('0').trim_end_matches('.');
    let text = if text == "-0" { "0" } else { text };
    text.get(..text.len().min(16)).unwrap_or_default().to_owned()
}

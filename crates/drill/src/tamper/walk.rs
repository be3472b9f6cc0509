//! A walker over DICOM data sets in Explicit and Implicit VR Little Endian (PS3.5 7 and PS3.10 7), small enough to be
//! believed: what tampers with plans must not share a parser with what judges them.
//!
//! Keeps every element's bytes as they are. Writes sequences with defined lengths, or undefined ones on request. Does
//! not decode pixel data in fragments, and no other transfer syntax.

/// Plans nest five deep; more is an attack of the kind that the gateway must survive, not this walker.
const DEPTH_MAX: usize = 16;
const PREAMBLE_BYTES: usize = 128;
const UNDEFINED: u32 = u32::MAX;
const IMPLICIT: &str = "1.2.840.10008.1.2";
const EXPLICIT: &str = "1.2.840.10008.1.2.1";

/// Group and element in one number, as the standard prints them: `0x300A_00B0`.
pub type Tag = u32;

const ITEM: Tag = 0xFFFE_E000;
const ITEM_END: Tag = 0xFFFE_E00D;
const SEQUENCE_END: Tag = 0xFFFE_E0DD;
const TRANSFER_SYNTAX: Tag = 0x0002_0010;
const META_LENGTH: Tag = 0x0002_0000;

/// Why a file can't be walked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WalkError {
    #[error("no Part 10 file: the prefix DICM is missing after the {PREAMBLE_BYTES} bytes of preamble")]
    NotPart10,
    #[error("at byte {at}: {wanted} bytes wanted, {left} are left")]
    Short { at: usize, wanted: usize, left: usize },
    #[error("at byte {at}: sequences nest deeper than {DEPTH_MAX}")]
    TooDeep { at: usize },
    #[error("at byte {at}: element ({:04X},{:04X}) where an item was expected", tag >> 16, tag & 0xFFFF)]
    NoItem { at: usize, tag: Tag },
    #[error("at byte {at}: undefined length of a value that is no sequence")]
    UndefinedLength { at: usize },
    #[error("transfer syntax {0} is not walked")]
    TransferSyntax(String),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    Bytes(Vec<u8>),
    Items(Vec<Dataset>),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Element {
    pub tag: Tag,
    /// Two spaces where the file gives none.
    pub vr: [u8; 2],
    pub value: Value,
}

/// Elements in the order of the file.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Dataset(pub Vec<Element>);

/// A Part 10 file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct File {
    pub preamble: Vec<u8>,
    pub meta: Dataset,
    pub explicit: bool,
    pub undefined_lengths: bool,
    pub data: Dataset,
}

struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8], WalkError> {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        let taken = rest.get(..count).ok_or(WalkError::Short { at: self.at, wanted: count, left: rest.len() })?;
        self.at += count;
        Ok(taken)
    }

    fn u16(&mut self) -> Result<u16, WalkError> {
        Ok(self.take(2)?.iter().rev().fold(0, |n, b| n << 8 | u16::from(*b)))
    }

    fn u32(&mut self) -> Result<u32, WalkError> {
        Ok(self.take(4)?.iter().rev().fold(0, |n, b| n << 8 | u32::from(*b)))
    }

    fn tag(&mut self) -> Result<Tag, WalkError> {
        Ok(u32::from(self.u16()?) << 16 | u32::from(self.u16()?))
    }

    fn done(&self) -> bool {
        self.at >= self.bytes.len()
    }
}

/// Value representations with a 32-bit length behind two reserved bytes (PS3.5 7.1.2).
fn is_long(vr: [u8; 2]) -> bool {
    [b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV"].contains(&&vr)
}

fn length(length: u32) -> usize {
    usize::try_from(length).unwrap_or(usize::MAX)
}

fn element(cursor: &mut Cursor<'_>, explicit: bool, depth: usize) -> Result<Element, WalkError> {
    let tag = cursor.tag()?;
    let (vr, size) = if explicit {
        let vr: [u8; 2] = cursor.take(2)?.try_into().unwrap_or(*b"  ");
        if is_long(vr) {
            cursor.take(2)?;
            (vr, cursor.u32()?)
        } else {
            (vr, u32::from(cursor.u16()?))
        }
    } else {
        (*b"  ", cursor.u32()?)
    };
    // A sequence of unknown representation is written implicitly whatever the file is (PS3.5 6.2.2 note 4).
    let inner_explicit = explicit && vr != *b"UN";
    if size == UNDEFINED {
        let sequence = vr == *b"SQ" || vr == *b"UN" || vr == *b"  ";
        if !sequence {
            return Err(WalkError::UndefinedLength { at: cursor.at });
        }
        let value = Value::Items(items(cursor, inner_explicit, depth, true)?);
        return Ok(Element { tag, vr, value });
    }
    let at = cursor.at;
    let bytes = cursor.take(length(size))?;
    let value = if vr == *b"SQ" {
        Value::Items(items(
            &mut Cursor { bytes: cursor.bytes.get(..cursor.at).unwrap_or_default(), at },
            explicit,
            depth,
            false,
        )?)
    } else if vr == *b"  " && bytes.starts_with(&[0xFE, 0xFF, 0x00, 0xE0]) {
        // Implicit: only an item can begin like this, unless it is a coincidence in binary data.
        let mut inner = Cursor { bytes: cursor.bytes.get(..cursor.at).unwrap_or_default(), at };
        items(&mut inner, false, depth, false).map_or_else(|_| Value::Bytes(bytes.to_vec()), Value::Items)
    } else {
        Value::Bytes(bytes.to_vec())
    };
    Ok(Element { tag, vr, value })
}

/// Items up to the delimiter (`undefined`) or the end of the cursor.
fn items(cursor: &mut Cursor<'_>, explicit: bool, depth: usize, undefined: bool) -> Result<Vec<Dataset>, WalkError> {
    if depth >= DEPTH_MAX {
        return Err(WalkError::TooDeep { at: cursor.at });
    }
    let mut found = Vec::new();
    while undefined || !cursor.done() {
        let at = cursor.at;
        let tag = cursor.tag()?;
        let size = cursor.u32()?;
        match (tag, size) {
            (SEQUENCE_END, _) if undefined => break,
            (ITEM, UNDEFINED) => {
                let mut elements = Vec::new();
                loop {
                    let ahead = cursor.at;
                    if cursor.tag()? == ITEM_END {
                        cursor.u32()?;
                        break;
                    }
                    cursor.at = ahead;
                    elements.push(element(cursor, explicit, depth + 1)?);
                }
                found.push(Dataset(elements));
            }
            (ITEM, _) => {
                let start = cursor.at;
                cursor.take(length(size))?;
                let bytes = cursor.bytes.get(..cursor.at).unwrap_or_default();
                found.push(dataset(&mut Cursor { bytes, at: start }, explicit, depth + 1)?);
            }
            _ => return Err(WalkError::NoItem { at, tag }),
        }
    }
    Ok(found)
}

fn dataset(cursor: &mut Cursor<'_>, explicit: bool, depth: usize) -> Result<Dataset, WalkError> {
    let mut elements = Vec::new();
    while !cursor.done() {
        elements.push(element(cursor, explicit, depth)?);
    }
    Ok(Dataset(elements))
}

impl File {
    pub fn read(bytes: &[u8]) -> Result<Self, WalkError> {
        let mut cursor = Cursor { bytes, at: 0 };
        let preamble = cursor.take(PREAMBLE_BYTES).map_err(|_| WalkError::NotPart10)?.to_vec();
        if cursor.take(4).ok() != Some(b"DICM") {
            return Err(WalkError::NotPart10);
        }
        let mut meta = Vec::new();
        while bytes.get(cursor.at..cursor.at + 2) == Some(&[2, 0]) {
            meta.push(element(&mut cursor, true, 0)?);
        }
        let meta = Dataset(meta);
        let syntax = meta.text(TRANSFER_SYNTAX).unwrap_or_default();
        let explicit = match syntax.as_str() {
            EXPLICIT => true,
            IMPLICIT => false,
            _ => return Err(WalkError::TransferSyntax(syntax)),
        };
        let data = dataset(&mut cursor, explicit, 0)?;
        Ok(Self { preamble, meta, explicit, undefined_lengths: false, data })
    }

    pub fn write(&self) -> Vec<u8> {
        let mut meta = self.meta.clone();
        meta.set(TRANSFER_SYNTAX, *b"UI", if self.explicit { EXPLICIT } else { IMPLICIT }.as_bytes());
        meta.0.retain(|element| element.tag != META_LENGTH);
        let meta = encode(&meta, true, false);
        let mut out = self.preamble.clone();
        out.extend_from_slice(b"DICM\x02\x00\x00\x00UL\x04\x00");
        out.extend(u32::try_from(meta.len()).unwrap_or(UNDEFINED).to_le_bytes());
        out.extend(meta);
        out.extend(encode(&self.data, self.explicit, self.undefined_lengths));
        out
    }
}

fn put_tag(out: &mut Vec<u8>, tag: Tag) {
    let [a, b, c, d] = tag.to_be_bytes();
    out.extend([b, a, d, c]);
}

fn encode(dataset: &Dataset, explicit: bool, undefined: bool) -> Vec<u8> {
    let mut out = Vec::new();
    for element in &dataset.0 {
        put_tag(&mut out, element.tag);
        let sequence = matches!(element.value, Value::Items(_));
        let vr = match (element.vr, sequence) {
            // Known to be a sequence by its bytes only; it keeps what explicit files call it.
            ([b' ', b' '], true) => *b"SQ",
            ([b' ', b' '], false) => *b"UN",
            (vr, _) => vr,
        };
        let open = sequence && undefined;
        let bytes = match &element.value {
            Value::Bytes(bytes) => bytes.clone(),
            Value::Items(items) => encode_items(items, explicit && vr != *b"UN", undefined),
        };
        let size = if open { UNDEFINED } else { u32::try_from(bytes.len()).unwrap_or(UNDEFINED) };
        if explicit {
            out.extend(vr);
            match (is_long(vr), u16::try_from(size)) {
                (false, Ok(short)) => out.extend(short.to_le_bytes()),
                (_, _) => {
                    out.extend([0, 0]);
                    out.extend(size.to_le_bytes());
                }
            }
        } else {
            out.extend(size.to_le_bytes());
        }
        out.extend(bytes);
        if open {
            put_tag(&mut out, SEQUENCE_END);
            out.extend([0; 4]);
        }
    }
    out
}

fn encode_items(items: &[Dataset], explicit: bool, undefined: bool) -> Vec<u8> {
    let mut out = Vec::new();
    for item in items {
        let bytes = encode(item, explicit, undefined);
        put_tag(&mut out, ITEM);
        let size = if undefined { UNDEFINED } else { u32::try_from(bytes.len()).unwrap_or(UNDEFINED) };
        out.extend(size.to_le_bytes());
        out.extend(bytes);
        if undefined {
            put_tag(&mut out, ITEM_END);
            out.extend([0; 4]);
        }
    }
    out
}

impl Dataset {
    pub fn get(&self, tag: Tag) -> Option<&Element> {
        self.0.iter().find(|element| element.tag == tag)
    }

    pub fn bytes(&self, tag: Tag) -> Option<&[u8]> {
        match &self.get(tag)?.value {
            Value::Bytes(bytes) => Some(bytes),
            Value::Items(_) => None,
        }
    }

    /// A text value without its padding; nothing where it is absent or empty.
    pub fn text(&self, tag: Tag) -> Option<String> {
        let text = String::from_utf8_lossy(self.bytes(tag)?);
        let text = text.trim_matches(['\0', ' ']);
        (!text.is_empty()).then(|| text.to_owned())
    }

    /// The numbers of a DS or IS value; empty where one of them is none.
    pub fn numbers(&self, tag: Tag) -> Vec<f64> {
        let text = self.text(tag).unwrap_or_default();
        let numbers: Result<Vec<f64>, _> = text.split('\\').map(|part| part.trim().parse()).collect();
        numbers.unwrap_or_default()
    }

    pub fn number(&self, tag: Tag) -> Option<f64> {
        self.numbers(tag).first().copied()
    }

    /// FL.
    pub fn floats(&self, tag: Tag) -> Vec<f32> {
        let bytes = self.bytes(tag).unwrap_or_default();
        bytes.chunks_exact(4).map(|four| f32::from_le_bytes(four.try_into().unwrap_or_default())).collect()
    }

    pub fn items(&self, tag: Tag) -> &[Dataset] {
        match self.get(tag).map(|element| &element.value) {
            Some(Value::Items(items)) => items,
            _ => &[],
        }
    }

    /// The items of a sequence that is there.
    pub fn items_mut(&mut self, tag: Tag) -> Option<&mut Vec<Dataset>> {
        match self.0.iter_mut().find(|element| element.tag == tag).map(|element| &mut element.value) {
            Some(Value::Items(items)) => Some(items),
            _ => None,
        }
    }

    /// Puts an element in, in the standard's order, in place of one that is there. Pads to an even length.
    pub fn set(&mut self, tag: Tag, vr: [u8; 2], bytes: &[u8]) {
        let mut bytes = bytes.to_vec();
        if bytes.len() % 2 == 1 {
            bytes.push(if vr == *b"UI" || vr == *b"OB" || vr == *b"UN" { 0 } else { b' ' });
        }
        self.put(Element { tag, vr, value: Value::Bytes(bytes) });
    }

    pub fn put(&mut self, element: Element) {
        match self.0.iter_mut().find(|have| have.tag == element.tag) {
            Some(have) => {
                // An implicit file's unknown representation stays unknown.
                let vr = if have.vr == *b"  " { have.vr } else { element.vr };
                *have = Element { vr, ..element };
            }
            None => {
                let place = self.0.partition_point(|have| have.tag < element.tag);
                self.0.insert(place, element);
            }
        }
    }

    pub fn set_text(&mut self, tag: Tag, vr: [u8; 2], text: &str) {
        self.set(tag, vr, text.as_bytes());
    }

    /// DS, at most sixteen characters each.
    pub fn set_numbers(&mut self, tag: Tag, numbers: &[f64]) {
        let texts: Vec<String> = numbers.iter().map(|number| decimal(*number)).collect();
        self.set_text(tag, *b"DS", &texts.join("\\"));
    }

    pub fn set_floats(&mut self, tag: Tag, numbers: &[f32]) {
        let bytes: Vec<u8> = numbers.iter().flat_map(|number| number.to_le_bytes()).collect();
        self.set(tag, *b"FL", &bytes);
    }

    pub fn remove(&mut self, tag: Tag) -> bool {
        let before = self.0.len();
        self.0.retain(|element| element.tag != tag);
        before != self.0.len()
    }
}

/// Nine decimals at most, no needless zeros.
pub(crate) fn decimal(number: f64) -> String {
    let text = format!("{number:.9}");
    let text = text.trim_end_matches('0').trim_end_matches('.');
    text.get(..text.len().min(16)).unwrap_or_default().to_owned()
}

/// Where the data set begins: behind preamble, prefix and File Meta Information; 0 in a file without them.
pub fn data_set_at(bytes: &[u8]) -> usize {
    if bytes.get(PREAMBLE_BYTES..PREAMBLE_BYTES + 4) != Some(b"DICM") {
        return 0;
    }
    let mut cursor = Cursor { bytes, at: PREAMBLE_BYTES + 4 };
    while bytes.get(cursor.at..cursor.at + 2) == Some(&[2, 0]) {
        if element(&mut cursor, true, 0).is_err() {
            break;
        }
    }
    cursor.at
}

//! The structure of a DICOM data set, found by one bounded, iterative pass over its bytes: nothing here recurses, so
//! nothing that a peer sends can exhaust the stack.
//!
//! `dicom-object` 0.10.1 recurses over nested sequences and aborts the process on about 64 KiB of them. This pass
//! checks depth, count, order and every length first. It keeps what it found as an index into the caller's bytes, and
//! the plan is read from that same index: two parsers that disagree about one file are how a tampered plan slips
//! through, so there is only one. The tests hold it against `dicom-object`.

use std::fmt;
use std::ops::{Range, RangeInclusive};

use dicom_core::dictionary::{DataDictionary, DataDictionaryEntry, VirtualVr};
use dicom_core::{Tag, VR};
use dicom_dictionary_std::{StandardDataDictionary, uids};
use dicom_transfer_syntax_registry::{TransferSyntaxIndex, TransferSyntaxRegistry};
use kit::limits::OBJECT_BYTES_MAX;
use kit::{Blame, Explain};
use serde::de::Error as _;
use serde::ser::SerializeStruct as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Sequences inside sequences. The deepest attribute of an RT object stands at level 6 (a treatment record's
/// corrected parameters).
pub const DEPTH_MAX: usize = 16;

/// Elements and items of one object: a structure set of 100,000 contours holds about 600,000. Each costs 20 bytes of
/// memory here, whatever it costs on the wire (8 bytes at least).
pub const ELEMENTS_MAX: usize = 2_000_000;

const ITEM: Tag = Tag(0xFFFE, 0xE000);
/// Data Set Trailing Padding, which dcmtk puts behind items, too: bytes without a meaning (PS3.10 7.2).
const PADDING: Tag = Tag(0xFFFC, 0xFFFC);
const ITEM_END: Tag = Tag(0xFFFE, 0xE00D);
const SEQUENCE_END: Tag = Tag(0xFFFE, 0xE0DD);
const PIXEL_DATA: Tag = Tag(0x7FE0, 0x0010);
const UNDEFINED: u32 = u32::MAX;

/// The groups of a file's meta information, and those of a data set: below are commands and directories.
const META: RangeInclusive<u16> = 0x0002..=0x0002;
const DATA: RangeInclusive<u16> = 0x0008..=0xFFFC;

/// What is wrong with the bytes, and where: `at` counts from the first byte of the file or data set.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ScanError {
    #[error("{bytes} bytes, the maximum is {OBJECT_BYTES_MAX}")]
    TooLarge { bytes: usize },
    #[error("this is not DICOM: it begins with neither a file header nor an element of group 0008")]
    NotDicom,
    #[error("byte {at}: sequences nest deeper than {DEPTH_MAX} levels")]
    TooDeep { at: usize },
    #[error("byte {at}: more than {ELEMENTS_MAX} elements")]
    TooMany { at: usize },
    #[error("byte {at}: {needed} bytes are announced, {left} are left")]
    Truncated { at: usize, needed: u64, left: usize },
    #[error("byte {at}: the length {length} of {tag} is odd")]
    OddLength { at: usize, tag: Attribute, length: u32 },
    #[error("byte {at}: {tag} has an undefined length, which only a sequence or encapsulated pixel data may have")]
    UndefinedLength { at: usize, tag: Attribute },
    #[error("byte {at}: {tag} follows {previous}: tags must rise, and none may come twice")]
    Order { at: usize, tag: Attribute, previous: Attribute },
    #[error("byte {at}: {tag} can't stand here")]
    Misplaced { at: usize, tag: Attribute },
    #[error("byte {at}: {tag} has the value representation {found:02x?}, which the standard doesn't have")]
    BadVr { at: usize, tag: Attribute, found: [u8; 2] },
    #[error("the file meta group is not as DICOM PS3.10 section 7.1 has it: {what}")]
    Meta { what: &'static str },
    #[error("transfer syntax {uid} is not supported: {why}")]
    TransferSyntax { uid: String, why: &'static str },
}

impl Explain for ScanError {
    fn blame(&self) -> Blame {
        Blame::Peer
    }

    fn code(&self) -> &'static str {
        match self {
            Self::TooLarge { .. } => "treatment.scan.too-large",
            Self::NotDicom => "treatment.scan.not-dicom",
            Self::TooDeep { .. } => "treatment.scan.too-deep",
            Self::TooMany { .. } => "treatment.scan.too-many-elements",
            Self::Truncated { .. } => "treatment.scan.truncated",
            Self::OddLength { .. } => "treatment.scan.odd-length",
            Self::UndefinedLength { .. } => "treatment.scan.undefined-length",
            Self::Order { .. } => "treatment.scan.order",
            Self::Misplaced { .. } => "treatment.scan.misplaced",
            Self::BadVr { .. } => "treatment.scan.bad-vr",
            Self::Meta { .. } => "treatment.scan.meta",
            Self::TransferSyntax { .. } => "treatment.scan.transfer-syntax",
        }
    }

    fn guidance(&self) -> Option<&'static str> {
        match self {
            Self::NotDicom => Some("choose the file that the planning system exported"),
            Self::TransferSyntax { .. } => Some("export it again as Explicit or Implicit VR Little Endian"),
            _ => Some("export it again from the system that made it; the copy is damaged or was built by hand"),
        }
    }
}

/// A tag that prints itself as `(300A,011E) GantryAngle`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Attribute(pub Tag);

impl Attribute {
    /// The dictionary's keyword; empty for a private or unknown tag.
    pub fn keyword(self) -> &'static str {
        StandardDataDictionary.by_tag(self.0).map_or("", |entry| entry.alias)
    }

    /// `(300A,011E)`.
    pub fn number(self) -> String {
        format!("({:04X},{:04X})", self.0.group(), self.0.element())
    }
}

impl fmt::Display for Attribute {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let keyword = self.keyword();
        write!(f, "{}{}{keyword}", self.number(), if keyword.is_empty() { "" } else { " " })
    }
}

impl fmt::Debug for Attribute {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// As `keyword` and `tag`, among the fields of whatever has it.
impl Serialize for Attribute {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut fields = serializer.serialize_struct("Attribute", 2)?;
        fields.serialize_field("keyword", self.keyword())?;
        fields.serialize_field("tag", &self.number())?;
        fields.end()
    }
}

impl<'de> Deserialize<'de> for Attribute {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        struct Fields {
            tag: String,
        }
        let text = Fields::deserialize(deserializer)?.tag;
        let numbers = text.strip_prefix('(').and_then(|text| text.strip_suffix(')')?.split_once(','));
        let tag = numbers.and_then(|(group, element)| {
            Some(Tag(u16::from_str_radix(group, 16).ok()?, u16::from_str_radix(element, 16).ok()?))
        });
        tag.map(Self).ok_or_else(|| D::Error::custom("a tag is written as (GGGG,EEEE)"))
    }
}

/// How the elements of a data set are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    Implicit,
    Explicit,
}

impl Encoding {
    /// The encoding of a transfer syntax, or why it isn't read here. An encapsulated syntax compresses its pixels
    /// only; its data set is Explicit VR Little Endian (PS3.5 section A.4).
    #[allow(deprecated)] // big endian is named only to be refused
    pub fn of(transfer_syntax: &str) -> Result<Self, ScanError> {
        let refused = |why| Err(ScanError::TransferSyntax { uid: printable(transfer_syntax), why });
        match transfer_syntax {
            uids::IMPLICIT_VR_LITTLE_ENDIAN => Ok(Self::Implicit),
            uids::EXPLICIT_VR_LITTLE_ENDIAN => Ok(Self::Explicit),
            uids::EXPLICIT_VR_BIG_ENDIAN => refused("big endian was retired in 2006"),
            uids::DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN => refused("a deflated object can swell without bound"),
            other => match TransferSyntaxRegistry.get(other) {
                Some(known) if known.is_encapsulated_pixel_data() => Ok(Self::Explicit),
                Some(_) => refused("its data set is not plainly encoded"),
                None => refused("it is not known here"),
            },
        }
    }
}

/// What a peer wrote, bounded and harmless enough for an error message.
fn printable(text: &str) -> String {
    text.chars().take(64).map(|c| if c.is_ascii_graphic() { c } else { '?' }).collect()
}

/// One element or item: where its value stands, and the index of what follows it at its own level.
#[derive(Clone, Copy, Debug)]
struct Node {
    tag: Tag,
    vr: VR,
    start: u32,
    length: u32,
    next: u32,
}

/// The index over one object's bytes: elements and items in file order, children right behind their parent.
pub struct Tree<'a> {
    bytes: &'a [u8],
    nodes: Vec<Node>,
    pub transfer_syntax: String,
    /// The SOP class as the file meta group has it; none for a bare data set.
    pub meta_class: Option<String>,
}

/// (0002,0000) FileMetaInformationGroupLength, UL, four bytes: with it a meta group begins (PS3.10, section 7.1).
const META_LENGTH: [u8; 8] = [2, 0, 0, 0, b'U', b'L', 4, 0];

impl<'a> Tree<'a> {
    /// A file: Part 10 with its preamble and meta group, or a bare data set as some systems write it to disk. A bare
    /// one is Explicit VR where its first element spells a value representation, else Implicit VR, the default of
    /// DICOM; in Implicit VR those two bytes would announce over 16 KiB for an element of group 0008 that is never
    /// so long. The whole of it must then scan.
    pub fn of_file(bytes: &'a [u8]) -> Result<Self, ScanError> {
        if bytes.get(128..132) == Some(b"DICM") {
            return Self::of_part10(bytes, 132);
        }
        // Some write the meta group without the preamble before it.
        if bytes.starts_with(&META_LENGTH) {
            return Self::of_part10(bytes, 0);
        }
        // A data set begins with group 0008; another start with group 0002 is a file that has lost more, which says more.
        if !matches!(bytes, [0x08 | 0x02, 0, _, _, _, _, _, _, ..]) {
            return Err(ScanError::NotDicom);
        }
        let explicit = matches!(bytes.get(4..6), Some(&[a, b]) if VR::from_binary([a, b]).is_some());
        Self::of_data_set(
            bytes,
            if explicit { uids::EXPLICIT_VR_LITTLE_ENDIAN } else { uids::IMPLICIT_VR_LITTLE_ENDIAN },
        )
    }

    /// A bare data set, as an association delivers it in a transfer syntax that both sides agreed on.
    pub fn of_data_set(bytes: &'a [u8], transfer_syntax: &str) -> Result<Self, ScanError> {
        let encoding = Encoding::of(transfer_syntax)?;
        let nodes = walk(bytes, 0..bytes.len(), DATA, encoding)?;
        Ok(Self { bytes, nodes, transfer_syntax: transfer_syntax.to_owned(), meta_class: None })
    }

    /// `start`: where its meta group begins.
    fn of_part10(bytes: &'a [u8], start: usize) -> Result<Self, ScanError> {
        let bad = |what| ScanError::Meta { what };
        let length = bytes.get(start..start + 12).and_then(|first| first.strip_prefix(&META_LENGTH));
        let Some(&[a, b, c, d]) = length else {
            return Err(bad("it doesn't begin with its group length"));
        };
        let data = start + 12 + usize::try_from(u32::from_le_bytes([a, b, c, d])).unwrap_or(usize::MAX - start - 12);
        if data > bytes.len() {
            return Err(ScanError::Truncated {
                at: start,
                needed: u64::try_from(data - start).unwrap_or(u64::MAX),
                left: bytes.len() - start,
            });
        }
        let meta = Tree {
            bytes,
            nodes: walk(bytes, start..data, META, Encoding::Explicit)?,
            transfer_syntax: String::new(),
            meta_class: None,
        };
        let uid = |tag, what| {
            let value = meta.root().get(tag).map(|e| e.bytes()).ok_or(bad(what))?;
            std::str::from_utf8(value).map(|text| text.trim_end_matches(['\0', ' ']).to_owned()).map_err(|_| bad(what))
        };
        let transfer_syntax = uid(Tag(0x0002, 0x0010), "no Transfer Syntax UID (0002,0010)")?;
        let class = uid(Tag(0x0002, 0x0002), "no Media Storage SOP Class UID (0002,0002)")?;
        let nodes = walk(bytes, data..bytes.len(), DATA, Encoding::of(&transfer_syntax)?)?;
        Ok(Self { bytes, nodes, transfer_syntax, meta_class: Some(class) })
    }

    /// The outermost data set.
    pub fn root(&self) -> Set<'_> {
        Set { bytes: self.bytes, nodes: &self.nodes, first: 0, last: self.nodes.len() }
    }
}

/// A data set: the object itself or one item of a sequence.
#[derive(Clone, Copy)]
pub struct Set<'t> {
    bytes: &'t [u8],
    nodes: &'t [Node],
    first: usize,
    last: usize,
}

impl<'t> Set<'t> {
    /// Its elements, by rising tag.
    pub fn elements(self) -> impl Iterator<Item = Element<'t>> {
        self.children().map(move |(index, node)| Element { set: self, node, index })
    }

    pub fn get(self, tag: Tag) -> Option<Element<'t>> {
        self.elements().take_while(|e| e.tag() <= tag).find(|e| e.tag() == tag)
    }

    fn children(self) -> impl Iterator<Item = (usize, Node)> {
        let mut index = self.first;
        std::iter::from_fn(move || {
            let node = *self.nodes.get(index).filter(|_| index < self.last)?;
            let here = std::mem::replace(&mut index, node.next as usize);
            Some((here, node))
        })
    }
}

/// One element.
#[derive(Clone, Copy)]
pub struct Element<'t> {
    set: Set<'t>,
    node: Node,
    index: usize,
}

impl<'t> Element<'t> {
    pub fn tag(self) -> Tag {
        self.node.tag
    }

    /// As written in Explicit VR, from the dictionary in Implicit VR; `UN` for what it doesn't know.
    pub fn vr(self) -> VR {
        self.node.vr
    }

    pub fn bytes(self) -> &'t [u8] {
        let start = self.node.start as usize;
        self.set.bytes.get(start..start + self.node.length as usize).unwrap_or_default()
    }

    /// Pixel data in fragments: its length is none.
    pub(crate) fn is_encapsulated(self) -> bool {
        self.node.tag == PIXEL_DATA && self.node.length == 0
    }

    /// The same; of encapsulated pixel data, which ends an object, everything from its first fragment on.
    pub(crate) fn bytes_or_fragments(self) -> &'t [u8] {
        if self.is_encapsulated() {
            return self.set.bytes.get(self.node.start as usize..).unwrap_or_default();
        }
        self.bytes()
    }

    /// The items of a sequence; none for anything else.
    pub fn items(self) -> impl Iterator<Item = Set<'t>> {
        let inside = Set { first: self.index + 1, last: self.node.next as usize, ..self.set };
        inside.children().map(move |(index, node)| Set { first: index + 1, last: node.next as usize, ..inside })
    }
}

/// What is being read at one level of nesting.
struct Frame {
    kind: Kind,
    /// Where it ends; none where a delimiter will say so.
    end: Option<usize>,
    /// No child may reach beyond this: the nearest known end.
    limit: usize,
    encoding: Encoding,
    /// Its node, whose `next` is set when the frame closes; none for the outermost.
    node: Option<usize>,
    previous: Option<Tag>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Set,
    Sequence,
    Fragments,
}

fn walk(
    bytes: &[u8],
    range: Range<usize>,
    groups: RangeInclusive<u16>,
    encoding: Encoding,
) -> Result<Vec<Node>, ScanError> {
    if bytes.len() > OBJECT_BYTES_MAX {
        return Err(ScanError::TooLarge { bytes: bytes.len() });
    }
    let outermost =
        Frame { kind: Kind::Set, end: Some(range.end), limit: range.end, encoding, node: None, previous: None };
    let mut walk = Walk { bytes, groups, at: range.start, nodes: Vec::new(), frames: vec![outermost] };
    while let Some(mut frame) = walk.frames.pop() {
        if frame.end == Some(walk.at) {
            walk.close(&frame);
            continue;
        }
        let inner = match frame.kind {
            Kind::Set => walk.element(&mut frame)?,
            Kind::Sequence => walk.item(&frame)?,
            Kind::Fragments => walk.fragment(&frame)?,
        };
        match inner {
            Step::Done => walk.close(&frame),
            Step::On => walk.frames.push(frame),
            Step::Into(inner) => {
                walk.frames.push(frame);
                // Sequences and their items alternate, so a level is two frames.
                if walk.frames.len() > 2 * DEPTH_MAX {
                    return Err(ScanError::TooDeep { at: walk.at });
                }
                walk.frames.push(inner);
            }
        }
    }
    Ok(walk.nodes)
}

enum Step {
    On,
    Into(Frame),
    Done,
}

struct Walk<'a> {
    bytes: &'a [u8],
    groups: RangeInclusive<u16>,
    at: usize,
    nodes: Vec<Node>,
    frames: Vec<Frame>,
}

impl Walk<'_> {
    fn close(&mut self, frame: &Frame) {
        let next = index(self.nodes.len());
        if let Some(node) = frame.node.and_then(|n| self.nodes.get_mut(n)) {
            node.next = next;
        }
    }

    /// The next `N` bytes, which must end before `limit`.
    fn take<const N: usize>(&mut self, limit: usize) -> Result<[u8; N], ScanError> {
        let truncated = ScanError::Truncated { at: self.at, needed: N as u64, left: limit.saturating_sub(self.at) };
        let taken = self.bytes.get(self.at..limit).and_then(|rest| rest.first_chunk::<N>()).ok_or(truncated)?;
        self.at += N;
        Ok(*taken)
    }

    fn tag(&mut self, limit: usize) -> Result<Tag, ScanError> {
        let [a, b, c, d] = self.take(limit)?;
        Ok(Tag(u16::from_le_bytes([a, b]), u16::from_le_bytes([c, d])))
    }

    /// Steps over a value of a known length, or says how far it would reach.
    fn skip(&mut self, tag: Tag, length: u32, limit: usize) -> Result<usize, ScanError> {
        if length % 2 == 1 {
            return Err(ScanError::OddLength { at: self.at, tag: Attribute(tag), length });
        }
        let left = limit.saturating_sub(self.at);
        match usize::try_from(length) {
            Ok(bytes) if bytes <= left => Ok(self.at + bytes),
            _ => Err(ScanError::Truncated { at: self.at, needed: u64::from(length), left }),
        }
    }

    fn node(&mut self, tag: Tag, vr: VR, length: u32) -> Result<usize, ScanError> {
        if self.nodes.len() >= ELEMENTS_MAX {
            return Err(ScanError::TooMany { at: self.at });
        }
        let here = self.nodes.len();
        let length = if length == UNDEFINED { 0 } else { length };
        self.nodes.push(Node { tag, vr, start: index(self.at), length, next: index(here + 1) });
        Ok(here)
    }

    fn element(&mut self, frame: &mut Frame) -> Result<Step, ScanError> {
        let at = self.at;
        let tag = self.tag(frame.limit)?;
        if tag == ITEM_END && frame.end.is_none() {
            return self.delimiter(tag, frame.limit);
        }
        if !self.groups.contains(&tag.group()) {
            return Err(ScanError::Misplaced { at, tag: Attribute(tag) });
        }
        if let Some(previous) = frame.previous.filter(|previous| *previous >= tag) {
            return Err(ScanError::Order { at, tag: Attribute(tag), previous: Attribute(previous) });
        }
        frame.previous = Some(tag);
        let (vr, length) = self.header(tag, frame)?;
        if tag == PADDING && length != UNDEFINED {
            self.at = self.skip(tag, length, frame.limit)?;
            return Ok(Step::On);
        }
        let node = self.node(tag, vr, length)?;
        let end = if length == UNDEFINED { None } else { Some(self.skip(tag, length, frame.limit)?) };
        let inner = |kind, encoding| {
            Ok(Step::Into(Frame {
                kind,
                end,
                limit: end.unwrap_or(frame.limit),
                encoding,
                node: Some(node),
                previous: None,
            }))
        };
        match (vr, end) {
            (VR::SQ, _) => inner(Kind::Sequence, frame.encoding),
            // An unknown value of undefined length is a sequence in Implicit VR, whatever is around it (PS3.5 6.2.2).
            (VR::UN, None) => inner(Kind::Sequence, Encoding::Implicit),
            (VR::OB | VR::OW, None) if tag == PIXEL_DATA && frame.encoding == Encoding::Explicit => {
                inner(Kind::Fragments, frame.encoding)
            }
            (_, None) => Err(ScanError::UndefinedLength { at, tag: Attribute(tag) }),
            (_, Some(end)) => {
                self.at = end;
                Ok(Step::On)
            }
        }
    }

    /// Value representation and length, by the layouts of PS3.5 section 7.1.
    fn header(&mut self, tag: Tag, frame: &Frame) -> Result<(VR, u32), ScanError> {
        use VR::{OB, OD, OF, OL, OV, OW, SQ, SV, UC, UN, UR, UT, UV};
        if frame.encoding == Encoding::Implicit {
            let vr = match StandardDataDictionary.by_tag(tag).map(|entry| entry.vr()) {
                Some(VirtualVr::Exact(vr)) => vr,
                Some(several) => several.relaxed(),
                None => UN,
            };
            return Ok((vr, u32::from_le_bytes(self.take(frame.limit)?)));
        }
        let at = self.at;
        let found = self.take(frame.limit)?;
        let vr = VR::from_binary(found).ok_or(ScanError::BadVr { at, tag: Attribute(tag), found })?;
        if matches!(vr, OB | OD | OF | OL | OV | OW | SQ | SV | UC | UN | UR | UT | UV) {
            let _reserved: [u8; 2] = self.take(frame.limit)?;
            Ok((vr, u32::from_le_bytes(self.take(frame.limit)?)))
        } else {
            Ok((vr, u32::from(u16::from_le_bytes(self.take(frame.limit)?))))
        }
    }

    fn item(&mut self, frame: &Frame) -> Result<Step, ScanError> {
        let at = self.at;
        match self.tag(frame.limit)? {
            ITEM => {
                let length = u32::from_le_bytes(self.take(frame.limit)?);
                let node = self.node(ITEM, VR::UN, length)?;
                let end = if length == UNDEFINED { None } else { Some(self.skip(ITEM, length, frame.limit)?) };
                let (kind, encoding) = (Kind::Set, frame.encoding);
                let limit = end.unwrap_or(frame.limit);
                Ok(Step::Into(Frame { kind, end, limit, encoding, node: Some(node), previous: None }))
            }
            SEQUENCE_END if frame.end.is_none() => self.delimiter(SEQUENCE_END, frame.limit),
            tag => Err(ScanError::Misplaced { at, tag: Attribute(tag) }),
        }
    }

    /// One fragment of encapsulated pixel data; its content is nobody's business here.
    fn fragment(&mut self, frame: &Frame) -> Result<Step, ScanError> {
        let at = self.at;
        match self.tag(frame.limit)? {
            ITEM => {
                let length = u32::from_le_bytes(self.take(frame.limit)?);
                if length == UNDEFINED {
                    return Err(ScanError::UndefinedLength { at, tag: Attribute(ITEM) });
                }
                self.at = self.skip(ITEM, length, frame.limit)?;
                Ok(Step::On)
            }
            SEQUENCE_END => self.delimiter(SEQUENCE_END, frame.limit),
            tag => Err(ScanError::Misplaced { at, tag: Attribute(tag) }),
        }
    }

    fn delimiter(&mut self, tag: Tag, limit: usize) -> Result<Step, ScanError> {
        let at = self.at;
        match u32::from_le_bytes(self.take(limit)?) {
            0 => Ok(Step::Done),
            _ => Err(ScanError::Misplaced { at, tag: Attribute(tag) }),
        }
    }
}

/// Node numbers and offsets fit: `OBJECT_BYTES_MAX` and `ELEMENTS_MAX` are far below 2^32.
fn index(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}

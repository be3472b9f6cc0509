//! Can anything of a patient be read on the servers?
//!
//! Verifies: none of the planted values stands in any byte of any file (or file name) under the given folders: raw
//! UTF-8, UTF-16 in both byte orders, ASCII letters in either case, hexadecimal, base64 and base64url at every
//! alignment, percent-encoded, with JSON or XML escapes, reversed; nor inside a zstd, gzip, zlib or zip stream that
//! begins anywhere, three deep. None of the given keys either, raw, reversed, hexadecimal or base64. Does not verify:
//! values under eight bytes (their names are given); other encodings (base64 with line breaks, encodings of encodings); deflate streams
//! without a header; other compressors; a value cut in pieces; what can be inferred from sizes and times.
//!
//! An Aho–Corasick automaton was considered: ten thousand patients make a million needles of thirty million bytes, and
//! about as many states. Instead each needle is found by its last eight bytes: a filter says for nearly every position of
//! the text that nothing ends there, and a table gives the needles where it can't.

use std::collections::HashMap;
use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use miniz_oxide::inflate::stream::{InflateState, inflate};
use miniz_oxide::{DataFormat, MZFlush, MZStatus};

use super::Findings;

/// Eight bytes of random text match one of a million needles once in 10¹³ positions.
const NEEDLE_BYTES_MIN: usize = 8;
/// A larger file is searched piece by piece; pieces overlap by more than the longest needle.
const PIECE_BYTES: usize = 256 * 1024 * 1024;
const OVERLAP_BYTES: usize = 64 * 1024;
/// Streams inside streams.
const DEPTH_MAX: usize = 3;
/// Bits of the filter per needle, at least: one position in a hundred is looked up for nothing, and the filter of a
/// million needles still fits in a processor's cache.
const BITS_PER_NEEDLE: usize = 16;

/// How far compressed streams are unfolded. What lies beyond is a finding: not searched is not the same as clean.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// What one stream may unfold to.
    pub stream_bytes: usize,
    /// All streams of one piece together.
    pub streams_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { stream_bytes: 64 * 1024 * 1024, streams_bytes: 1024 * 1024 * 1024 }
    }
}

/// Something that must not be readable.
pub struct Planted {
    /// For the report: `phone of SYN-31415927`.
    pub what: String,
    pub value: Vec<u8>,
    /// A key: not text, so it has no case, no UTF-16 and no escapes.
    pub secret: bool,
}

impl Planted {
    pub fn text(what: impl Into<String>, value: &str) -> Self {
        Self { what: what.into(), value: value.as_bytes().to_vec(), secret: false }
    }

    pub fn secret(what: impl Into<String>, value: &[u8]) -> Self {
        Self { what: what.into(), value: value.to_vec(), secret: true }
    }
}

/// How a needle is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    Raw,
    Utf16LittleEndian,
    Utf16BigEndian,
    Hexadecimal,
    Base64,
    Base64Url,
    Percent,
    JsonEscapes,
    XmlEscapes,
    Reversed,
}

impl Encoding {
    pub fn name(self) -> &'static str {
        match self {
            Self::Raw => "in the clear",
            Self::Utf16LittleEndian => "in UTF-16LE",
            Self::Utf16BigEndian => "in UTF-16BE",
            Self::Hexadecimal => "in hexadecimal",
            Self::Base64 => "in base64",
            Self::Base64Url => "in base64url",
            Self::Percent => "percent-encoded",
            Self::JsonEscapes => "with JSON escapes",
            Self::XmlEscapes => "with XML escapes",
            Self::Reversed => "reversed",
        }
    }
}

struct Needle {
    start: usize,
    length: usize,
    planted: usize,
    encoding: Encoding,
    /// Upper and lower case differ.
    exact: bool,
    /// It says the same few bytes again: `Kaikaikai`.
    repeats: bool,
    /// The next needle with the same last eight bytes.
    next: Option<usize>,
}

/// All planted values in all encodings, ready to be searched for.
pub struct Needles {
    what: Vec<String>,
    text: Vec<u8>,
    needles: Vec<Needle>,
    heads: HashMap<u64, usize>,
    filter: Filter,
    too_short: Vec<String>,
    limits: Limits,
}

/// How much was searched, and what was found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Searched {
    pub files: usize,
    pub bytes: u64,
    /// Compressed streams that were unfolded, and what they unfolded to.
    pub streams: usize,
    pub stream_bytes: u64,
    pub findings: Findings,
}

impl Searched {
    fn add(&mut self, other: Self) {
        self.files += other.files;
        self.bytes += other.bytes;
        self.streams += other.streams;
        self.stream_bytes += other.stream_bytes;
        self.findings.extend(other.findings);
    }
}

/// Fewer different bytes in a row than a needle has at least, over and over.
fn repeats(bytes: &[u8]) -> bool {
    (1..NEEDLE_BYTES_MIN)
        .any(|period| bytes.iter().zip(bytes.iter().skip(period)).all(|(a, b)| a.eq_ignore_ascii_case(b)))
}

fn last_eight(bytes: &[u8]) -> Option<u64> {
    let (_, tail) = bytes.split_last_chunk::<8>()?;
    Some(u64::from_le_bytes(tail.map(|byte| byte.to_ascii_lowercase())))
}

impl Needles {
    pub fn new(planted: impl IntoIterator<Item = Planted>) -> Self {
        let (mut what, mut text, mut needles, mut too_short) = (Vec::new(), Vec::new(), Vec::<Needle>::new(), vec![]);
        for value in planted {
            if value.value.len() < NEEDLE_BYTES_MIN {
                too_short.push(value.what);
                continue;
            }
            let mut written: Vec<(Encoding, bool, Vec<u8>)> = encodings(&value);
            written.retain(|(.., bytes)| bytes.len() >= NEEDLE_BYTES_MIN);
            for (encoding, exact, bytes) in written {
                let (start, length) = (text.len(), bytes.len());
                let repeats = repeats(&bytes);
                needles.push(Needle { start, length, planted: what.len(), encoding, exact, repeats, next: None });
                text.extend(bytes);
            }
            what.push(value.what);
        }
        let mut filter = Filter::new(needles.len());
        let mut heads = HashMap::with_capacity(needles.len());
        for (index, needle) in needles.iter_mut().enumerate() {
            let bytes = text.get(needle.start..needle.start + needle.length).unwrap_or_default();
            let Some(key) = last_eight(bytes) else { continue };
            needle.next = heads.insert(key, index);
            filter.add(key);
        }
        Self { what, text, needles, heads, filter, too_short, limits: Limits::default() }
    }

    pub fn within(self, limits: Limits) -> Self {
        Self { limits, ..self }
    }

    /// Values that are searched for.
    pub fn values(&self) -> usize {
        self.what.len()
    }

    /// All their written forms.
    pub fn forms(&self) -> usize {
        self.needles.len()
    }

    /// Planted values that are too short to be told from chance.
    pub fn too_short(&self) -> &[String] {
        &self.too_short
    }

    /// Searches every file under the folders, on several threads. Names a place by the folder's label.
    pub fn search(
        &self,
        folders: &[(String, PathBuf)],
        threads: usize,
        progress: &(dyn Fn(usize, usize) + Sync),
    ) -> io::Result<Searched> {
        let mut files = Vec::new();
        for (label, folder) in folders {
            list(folder, folder, label, &mut files)?;
        }
        let each = crate::work::spread(threads, files.len(), |index| {
            let searched = files.get(index).map_or(Ok(Searched::default()), |(name, path)| self.file(name, path));
            progress(index + 1, files.len());
            searched
        });
        let mut all = Searched::default();
        each.into_iter().try_for_each(|one| one.map(|one| all.add(one)))?;
        Ok(all)
    }

    fn file(&self, name: &str, path: &Path) -> io::Result<Searched> {
        let mut found = Searched { files: 1, ..Searched::default() };
        self.piece(name.as_bytes(), &format!("the file name {name}"), 0, 0, &mut found);
        let mut file = fs::File::open(path)?;
        let (mut piece, mut at) = (Vec::new(), 0);
        loop {
            let wanted = u64::try_from(PIECE_BYTES - piece.len()).unwrap_or(0);
            let read = io::Read::by_ref(&mut file).take(wanted).read_to_end(&mut piece)?;
            found.bytes += u64::try_from(read).unwrap_or(0);
            self.piece(&piece, name, at, 0, &mut found);
            if piece.len() < PIECE_BYTES {
                return Ok(found);
            }
            at += piece.len() - OVERLAP_BYTES;
            piece.drain(..piece.len() - OVERLAP_BYTES);
        }
    }

    /// One piece of memory that begins at byte `at` of `place`, and the streams in it.
    fn piece(&self, bytes: &[u8], place: &str, at: usize, depth: usize, found: &mut Searched) {
        self.scan(bytes, |end, needle| {
            // Noise that looks like a compressed stream unfolds to repetitions by itself: three bytes and a length are enough.
            if depth > 0 && needle.repeats {
                return;
            }
            let start = at + end + 1 - needle.length;
            let what = self.what.get(needle.planted).map_or("", String::as_str);
            found.findings.add(format!("{what}: {} in {place} at byte {start}", needle.encoding.name()));
        });
        if depth >= DEPTH_MAX {
            return;
        }
        let mut budget = self.limits.streams_bytes;
        for (offset, kind) in streams(bytes) {
            let inside = || format!("{} at byte {} of {place}", kind.name(), at + offset);
            if budget < NEEDLE_BYTES_MIN {
                let max = self.limits.streams_bytes;
                found.findings.add(format!("not searched, since {max} bytes were unfolded before: {}", inside()));
                return;
            }
            let limit = budget.min(self.limits.stream_bytes);
            // One byte more than is searched shows that there is more.
            let mut unfolded = kind.unfold(bytes.get(offset..).unwrap_or_default(), limit + 1);
            if unfolded.len() < NEEDLE_BYTES_MIN {
                continue;
            }
            if unfolded.len() > limit {
                unfolded.truncate(limit);
                found.findings.add(format!("not searched beyond its first {limit} bytes: {}", inside()));
            }
            budget -= unfolded.len();
            found.streams += 1;
            found.stream_bytes += u64::try_from(unfolded.len()).unwrap_or(0);
            self.piece(&unfolded, &inside(), 0, depth + 1, found);
        }
    }

    /// Calls `hit` with the last byte's index of every needle in `bytes`.
    fn scan(&self, bytes: &[u8], mut hit: impl FnMut(usize, &Needle)) {
        let mut window = 0_u64;
        for (end, byte) in bytes.iter().enumerate() {
            window = window >> 8 | u64::from(byte.to_ascii_lowercase()) << 56;
            if !self.filter.may_have(window) {
                continue;
            }
            let mut candidate = self.heads.get(&window).copied();
            while let Some(needle) = candidate.and_then(|index| self.needles.get(index)) {
                candidate = needle.next;
                let wanted = self.text.get(needle.start..needle.start + needle.length).unwrap_or_default();
                let Some(start) = (end + 1).checked_sub(needle.length) else { continue };
                let there = bytes.get(start..=end).unwrap_or_default();
                let same = if needle.exact { there == wanted } else { there.eq_ignore_ascii_case(wanted) };
                if same {
                    hit(end, needle);
                }
            }
        }
    }
}

/// Two sieves: which pairs of last bytes occur at all (8 KiB, in the nearest cache; nine of ten positions of
/// ciphertext end here), then a Bloom filter whose three bits stand in one word.
struct Filter {
    pairs: Vec<u64>,
    words: Vec<u64>,
    shift: u32,
}

impl Filter {
    fn new(keys: usize) -> Self {
        let words = (keys.max(1) * BITS_PER_NEEDLE / 64).next_power_of_two().max(1 << 10);
        Self { pairs: vec![0; 1 << 10], words: vec![0; words], shift: 64 - words.trailing_zeros() }
    }

    /// Of the last two bytes.
    fn pair(key: u64) -> (usize, u64) {
        let pair = key >> 48;
        (usize::try_from(pair >> 6).unwrap_or(0), 1 << (pair & 63))
    }

    /// Fibonacci hashing: the high bits choose the word, lower ones the bits in it.
    fn place(&self, key: u64) -> (usize, u64) {
        let hash = key.wrapping_mul(0x9E37_79B9_7F4A_7C15);
        let bit = |from: u32| 1_u64 << ((hash >> from) & 63);
        (usize::try_from(hash >> self.shift).unwrap_or(0), bit(36) | bit(30) | bit(24))
    }

    fn add(&mut self, key: u64) {
        let ((pair, bit), (word, bits)) = (Self::pair(key), self.place(key));
        if let (Some(pair), Some(word)) = (self.pairs.get_mut(pair), self.words.get_mut(word)) {
            *pair |= bit;
            *word |= bits;
        }
    }

    fn may_have(&self, key: u64) -> bool {
        let (pair, bit) = Self::pair(key);
        if self.pairs.get(pair).is_none_or(|pairs| pairs & bit == 0) {
            return false;
        }
        let (word, bits) = self.place(key);
        self.words.get(word).is_some_and(|word| word & bits == bits)
    }
}

fn list(root: &Path, folder: &Path, label: &str, files: &mut Vec<(String, PathBuf)>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let about = fs::symlink_metadata(&path)?;
        if about.is_dir() {
            list(root, &path, label, files)?;
        } else if about.is_file() {
            let inside = path.strip_prefix(root).unwrap_or(&path);
            files.push((format!("{label}/{}", inside.display()), path));
        }
    }
    Ok(())
}

/// All forms of a value: how, whether case matters, and the bytes.
fn encodings(planted: &Planted) -> Vec<(Encoding, bool, Vec<u8>)> {
    let value = &planted.value;
    let hexadecimal: String = value.iter().map(|byte| format!("{byte:02x}")).collect();
    let reversed: Vec<u8> = value.iter().rev().copied().collect();
    let mut out = vec![
        (Encoding::Raw, planted.secret, value.clone()),
        (Encoding::Hexadecimal, false, hexadecimal.into_bytes()),
        (Encoding::Reversed, planted.secret, reversed.clone()),
    ];
    for skipped in 0..3 {
        let mut padded = vec![0; skipped];
        padded.extend(value);
        // Characters that hold bits of nothing but the value.
        let (first, last) = (usize::from(skipped > 0) + skipped, padded.len() * 8 / 6);
        let standard = STANDARD_NO_PAD.encode(&padded);
        let url = URL_SAFE_NO_PAD.encode(&padded);
        let fragment = |text: &str| text.as_bytes().get(first..last).unwrap_or_default().to_vec();
        if fragment(&url) != fragment(&standard) {
            out.push((Encoding::Base64Url, true, fragment(&url)));
        }
        out.push((Encoding::Base64, true, fragment(&standard)));
    }
    let Some(text) = std::str::from_utf8(value).ok().filter(|_| !planted.secret) else { return out };
    let utf16 = |bytes: fn(u16) -> [u8; 2]| text.encode_utf16().flat_map(bytes).collect::<Vec<u8>>();
    out.push((Encoding::Utf16LittleEndian, false, utf16(u16::to_le_bytes)));
    out.push((Encoding::Utf16BigEndian, false, utf16(u16::to_be_bytes)));
    let unreserved = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    let percent = |space: &str| -> Vec<u8> {
        let each = value.iter().map(|byte| match byte {
            b' ' => space.to_owned(),
            byte if unreserved(*byte) => char::from(*byte).to_string(),
            byte => format!("%{byte:02X}"),
        });
        each.collect::<String>().into_bytes()
    };
    for form in [percent("%20"), percent("+")] {
        if form != *value && !out.iter().any(|(.., have)| *have == form) {
            out.push((Encoding::Percent, false, form));
        }
    }
    if !text.is_ascii() {
        let escaped = |escape: &dyn Fn(char) -> String| -> Vec<u8> {
            text.chars().map(|c| if c.is_ascii() { c.to_string() } else { escape(c) }).collect::<String>().into_bytes()
        };
        let json = |c: char| c.encode_utf16(&mut [0; 2]).iter().map(|unit| format!("\\u{unit:04x}")).collect();
        out.push((Encoding::JsonEscapes, false, escaped(&json)));
        out.push((Encoding::XmlEscapes, false, escaped(&|c| format!("&#{};", u32::from(c)))));
        out.push((Encoding::XmlEscapes, false, escaped(&|c| format!("&#x{:x};", u32::from(c)))));
        out.push((Encoding::XmlEscapes, false, escaped(&|c| format!("&#x{:04x};", u32::from(c)))));
        out.push((Encoding::Reversed, false, text.chars().rev().collect::<String>().into_bytes()));
    }
    out
}

#[derive(Clone, Copy)]
enum Stream {
    Zstd,
    Gzip,
    Zlib,
    Zip,
}

/// Places where a compressed stream may begin, by its magic.
fn streams(bytes: &[u8]) -> impl Iterator<Item = (usize, Stream)> {
    bytes.windows(4).enumerate().filter_map(|(at, window)| {
        let kind = match window {
            [0x28, 0xB5, 0x2F, 0xFD] => Stream::Zstd,
            [0x1F, 0x8B, 0x08, _] => Stream::Gzip,
            // RFC 1950: method 8, window 32 KiB, and a header that is a multiple of 31.
            [0x78, 0x01 | 0x5E | 0x9C | 0xDA, ..] => Stream::Zlib,
            [b'P', b'K', 3, 4] => Stream::Zip,
            _ => return None,
        };
        Some((at, kind))
    })
}

impl Stream {
    fn name(self) -> &'static str {
        match self {
            Self::Zstd => "a zstd stream",
            Self::Gzip => "a gzip stream",
            Self::Zlib => "a zlib stream",
            Self::Zip => "a zip member",
        }
    }

    /// What can be had of the stream, up to `limit` bytes; a broken stream gives its beginning.
    fn unfold(self, bytes: &[u8], limit: usize) -> Vec<u8> {
        let deflate = |skip: usize| raw_inflate(bytes.get(skip..).unwrap_or_default(), limit);
        match self {
            Self::Zstd => {
                let mut out = Vec::new();
                if let Ok(decoder) = zstd::stream::read::Decoder::with_buffer(bytes) {
                    let take = u64::try_from(limit).unwrap_or(u64::MAX);
                    // An error after some output still leaves that output to search.
                    let _ = decoder.single_frame().take(take).read_to_end(&mut out);
                }
                out
            }
            Self::Zlib => deflate(2),
            Self::Gzip => gzip_header(bytes).map(deflate).unwrap_or_default(),
            Self::Zip => {
                let word = |at: usize| {
                    let two = bytes.get(at..at + 2).unwrap_or_default();
                    two.iter().rev().fold(0, |n, byte| n << 8 | usize::from(*byte))
                };
                if word(8) == 8 { deflate(30 + word(26) + word(28)) } else { vec![] }
            }
        }
    }
}

/// Length of a gzip header (RFC 1952 2.3).
fn gzip_header(bytes: &[u8]) -> Option<usize> {
    let flags = *bytes.get(3)?;
    let mut at = 10;
    if flags & 4 != 0 {
        at += 2 + usize::from(*bytes.get(at)?) + (usize::from(*bytes.get(at + 1)?) << 8);
    }
    for text in [8, 16] {
        if flags & text != 0 {
            at += bytes.get(at..)?.iter().position(|byte| *byte == 0)? + 1;
        }
    }
    Some(at + if flags & 2 != 0 { 2 } else { 0 })
}

fn raw_inflate(mut bytes: &[u8], limit: usize) -> Vec<u8> {
    let mut state = InflateState::new_boxed(DataFormat::Raw);
    let (mut out, mut buffer) = (Vec::new(), vec![0; 32 * 1024]);
    while out.len() < limit {
        let step = inflate(&mut state, bytes, &mut buffer, MZFlush::None);
        out.extend_from_slice(buffer.get(..step.bytes_written).unwrap_or_default());
        bytes = bytes.get(step.bytes_consumed..).unwrap_or_default();
        match step.status {
            Ok(MZStatus::Ok) if step.bytes_written > 0 || step.bytes_consumed > 0 => {}
            _ => break,
        }
    }
    out.truncate(limit);
    out
}

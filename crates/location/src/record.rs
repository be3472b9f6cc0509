//! The bytes of a volume: records one after the other, each with a head that a scan can trust and skip by.
//!
//! Bytes in, bytes out, but for `scan`, which reads a file by position. `docs/formats/location.md` has the layout.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;

use twox_hash::xxhash3_128::Hasher as Xxh3;

use crate::{NAME_BYTES_MAX, Name, OBJECT_BYTES_MAX};

/// Begins every record. The first byte is no ASCII and no UTF-8 start, and the line ends notice a transfer that
/// changes them (as PNG's signature does).
const MAGIC: [u8; 8] = *b"\x89HFOBJ\r\n";

/// Begins a filling, which stands between records: zeros up to the border of a block.
const FILLING: [u8; 8] = *b"\x89HFFIL\r\n";

/// Longer ones are damage: two of the largest blocks.
const FILLING_BYTES_MAX: usize = 8 * 1024;

const FORMAT: u16 = 2;

/// Magic, format, name length, body length, head check.
pub(crate) const HEAD_BYTES: usize = 24;

const CHECKED_BYTES: usize = 16;

/// XXH3 of 128 bits over everything before it in the record: it finds accidents, at the speed of memory. Against the
/// rest, who reads an object compares it with the hash in a signed header.
pub(crate) const CHECKSUM_BYTES: usize = 16;

/// Big enough for many heads of small records at once, small enough to waste little where a body follows.
const WINDOW_BYTES: usize = 16 * 1024;

/// The bytes of a record before its body.
pub(crate) fn head(name: &Name, body_len: u32) -> Vec<u8> {
    let name = name.as_str().as_bytes();
    let name_len = u16::try_from(name.len()).unwrap_or(u16::MAX);
    let mut head = Vec::with_capacity(HEAD_BYTES + name.len());
    head.extend_from_slice(&MAGIC);
    head.extend_from_slice(&FORMAT.to_be_bytes());
    head.extend_from_slice(&name_len.to_be_bytes());
    head.extend_from_slice(&body_len.to_be_bytes());
    let check = head_check(&head, name);
    head.extend_from_slice(&check);
    head.extend_from_slice(name);
    head
}

/// The name and body length in the head at the beginning of `bytes`, where one stands there whole and unharmed.
fn parse_head(bytes: &[u8]) -> Option<(Name, u32)> {
    let (head, rest) = bytes.split_at_checked(HEAD_BYTES)?;
    let (checked, check) = head.split_at_checked(CHECKED_BYTES)?;
    let fields = checked.strip_prefix(&MAGIC)?;
    let &[f0, f1, n0, n1, b0, b1, b2, b3] = fields else { return None };
    let name = rest.get(..usize::from(u16::from_be_bytes([n0, n1])))?;
    let body_len = u32::from_be_bytes([b0, b1, b2, b3]);
    let sound = u16::from_be_bytes([f0, f1]) == FORMAT
        && body_len as usize <= OBJECT_BYTES_MAX
        && check == head_check(checked, name);
    if !sound {
        return None;
    }
    Some((Name::new(std::str::from_utf8(name).ok()?).ok()?, body_len))
}

fn head_check(fields: &[u8], name: &[u8]) -> [u8; 8] {
    let mut hasher = blake3::Hasher::new();
    hasher.update(fields).update(name);
    let mut check = [0; 8];
    hasher.finalize_xof().fill(&mut check);
    check
}

pub(crate) fn checksum(head: &[u8], parts: &[&[u8]]) -> [u8; CHECKSUM_BYTES] {
    let mut hasher = Xxh3::new();
    hasher.write(head);
    parts.iter().for_each(|part| hasher.write(part));
    hasher.finish_128().to_be_bytes()
}

/// The length of the whole record.
pub(crate) fn record_len(name: &Name, body_len: u32) -> u64 {
    (HEAD_BYTES + name.as_str().len() + CHECKSUM_BYTES) as u64 + u64::from(body_len)
}

/// From `at` on up to the next border of a block, or to the one behind that, where there is no room for a filling's beginning.
pub(crate) fn filling(at: u64, block: usize) -> Vec<u8> {
    let room = usize::try_from(at.wrapping_neg() % block as u64).unwrap_or(0);
    let mut filling = Vec::new();
    if room > 0 {
        filling.extend_from_slice(&FILLING);
        filling.resize(if room < FILLING.len() { room + block } else { room }, 0);
    }
    filling
}

/// What a scan passed over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Scan {
    /// The volume's length.
    pub(crate) len: u64,
    /// Between records: heads that were damaged, with what stood behind them.
    pub(crate) skipped: u64,
    /// Behind the last record: the rest of an append that a crash or a full disk cut short.
    pub(crate) torn: u64,
}

/// Hands each record's name, position and body length to `found`, reading heads only. A damaged head costs its own
/// record, not the rest: the scan goes on at the next head that is whole.
pub(crate) fn scan(file: &File, mut found: impl FnMut(Name, u64, u32)) -> io::Result<Scan> {
    let mut scan = Scan { len: file.metadata()?.len(), ..Scan::default() };
    let mut window = Window { file, bytes: Vec::new(), start: 0, end: scan.len };
    let mut at = 0;
    while at < scan.len {
        match parse_head(window.at(at)?) {
            Some((name, body_len)) => {
                let next = at + record_len(&name, body_len);
                if next > scan.len {
                    scan.torn = scan.len - at;
                    break;
                }
                found(name, at, body_len);
                at = next;
            }
            None => match next_head(&mut window, at + 1)? {
                Some(next) => {
                    if !is_filling(file, at..next)? {
                        scan.skipped += next - at;
                    }
                    at = next;
                }
                None => {
                    if !is_filling(file, at..scan.len)? {
                        scan.torn = scan.len - at;
                    }
                    break;
                }
            },
        }
    }
    Ok(scan)
}

/// A filling stands there, and nothing else.
fn is_filling(file: &File, range: Range<u64>) -> io::Result<bool> {
    let len = usize::try_from(range.end - range.start).unwrap_or(usize::MAX);
    if !(FILLING.len()..=FILLING_BYTES_MAX).contains(&len) {
        return Ok(false);
    }
    let mut bytes = vec![0; len];
    file.read_exact_at(&mut bytes, range.start)?;
    Ok(bytes.strip_prefix(&FILLING).is_some_and(|rest| rest.iter().all(|byte| *byte == 0)))
}

/// Where the next whole head begins, from `at` on.
fn next_head(window: &mut Window<'_>, mut at: u64) -> io::Result<Option<u64>> {
    loop {
        let bytes = window.at(at)?;
        if bytes.len() < HEAD_BYTES {
            return Ok(None);
        }
        match bytes.windows(MAGIC.len()).position(|candidate| candidate == MAGIC) {
            Some(0) if parse_head(bytes).is_some() => return Ok(Some(at)),
            Some(0) => at += 1,
            Some(distance) => at += distance as u64,
            // The magic may lie across the window's end.
            None => at += (bytes.len() + 1 - MAGIC.len()) as u64,
        }
    }
}

/// A piece of the file in memory.
struct Window<'a> {
    file: &'a File,
    bytes: Vec<u8>,
    start: u64,
    end: u64,
}

impl Window<'_> {
    /// The bytes from `at` on: enough for a head and the longest name, unless the file ends first.
    fn at(&mut self, at: u64) -> io::Result<&[u8]> {
        let offset = |start: u64| at.checked_sub(start).and_then(|offset| usize::try_from(offset).ok());
        let needed = (HEAD_BYTES + NAME_BYTES_MAX).min(usize::try_from(self.end - at).unwrap_or(usize::MAX));
        let have = offset(self.start).and_then(|offset| self.bytes.get(offset..)).map_or(0, <[u8]>::len);
        if have < needed {
            let len = WINDOW_BYTES.min(usize::try_from(self.end - at).unwrap_or(usize::MAX));
            self.bytes.resize(len, 0);
            self.file.read_exact_at(&mut self.bytes, at)?;
            self.start = at;
        }
        Ok(offset(self.start).and_then(|offset| self.bytes.get(offset..)).unwrap_or_default())
    }
}

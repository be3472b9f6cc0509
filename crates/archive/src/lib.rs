//! A tar archive with a manifest: what downtime packs and transfers are inside their age files.
//!
//! ```text
//!  Writer: add, add, … ──► manifest ──► add what speaks of it ──► finish
//!  read: names, digests, and the bytes of what the caller keeps ──► compare with the manifest
//! ```
//! Plain files with plain names, nothing else: no link, no path out of the folder, no extension of tar. Neither side holds a file in
//! memory that its caller doesn't.

use std::collections::BTreeMap;
use std::fmt;
use std::io::{self, Read, Write};

use kit::{Blame, Digest, Explain};
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

/// SHA-256 and name of every other file but those that speak of it, as `sha256sum` writes and checks it.
pub const MANIFEST: &str = "MANIFEST.sha256";

/// Names of ustar (POSIX.1-1988) without its second field: longer ones would need an extension.
pub const NAME_BYTES_MAX: usize = 100;
/// What is read at once of a file that is only hashed.
const CHUNK: usize = 64 * 1024;
/// Behind the two blocks that end an archive: what fills a record of twenty blocks.
const TAIL_BYTES_MAX: u64 = 20 * 512;

/// How much an archive may be.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Of all files together, with the archive's own blocks.
    pub bytes: u64,
    pub files: usize,
    /// Of one name; at most [`NAME_BYTES_MAX`].
    pub name_bytes: usize,
    /// Whether a name may have folders.
    pub folders: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ArchiveError {
    #[error("entry {number} of it is no file with a plain name")]
    NotPlain { number: usize },
    #[error("{name} stands in it twice")]
    Twice { name: String },
    #[error("more than {maximum} files")]
    TooMany { maximum: usize },
    #[error("more than {maximum} bytes")]
    TooLarge { maximum: u64 },
    #[error("{name} has more than {maximum} bytes")]
    FileTooLarge { name: String, maximum: u64 },
    #[error("it is cut short within {name}")]
    CutShort { name: String },
    #[error("it is cut short, or no archive, behind {files} files: {why}")]
    Broken { files: usize, why: String },
    #[error("something stands behind its end")]
    Tail,
    #[error("it can't be written: {0}")]
    Write(String),
}

impl Explain for ArchiveError {
    fn blame(&self) -> Blame {
        match self {
            Self::TooMany { .. } | Self::TooLarge { .. } | Self::FileTooLarge { .. } => Blame::Peer,
            Self::Write(_) => Blame::Configuration,
            _ => Blame::Integrity,
        }
    }

    fn code(&self) -> &'static str {
        match self {
            Self::TooMany { .. } | Self::TooLarge { .. } | Self::FileTooLarge { .. } => "archive.too-large",
            Self::Write(_) => "archive.write",
            _ => "archive.damaged",
        }
    }
}

type Result<T> = std::result::Result<T, ArchiveError>;

impl Bounds {
    /// Letters, digits, `.` and `-`, no `.` at a beginning; with folders also `/` between such names.
    fn is_plain(&self, name: &str) -> bool {
        let is_part = |part: &str| {
            let is_known = |byte: u8| byte.is_ascii_alphanumeric() || b".-".contains(&byte);
            !part.is_empty() && !part.starts_with('.') && part.bytes().all(is_known)
        };
        name.len() <= self.name_bytes.min(NAME_BYTES_MAX)
            && (self.folders || !name.contains('/'))
            && name.split('/').all(is_part)
    }
}

fn blocks(length: u64) -> u64 {
    length.div_ceil(512).saturating_add(1).saturating_mul(512)
}

pub fn sha256(bytes: &[u8]) -> Digest {
    Digest(Sha256::digest(bytes).into())
}

/// Writes an archive, a file after the other.
pub struct Writer<W: Write> {
    tar: tar::Builder<W>,
    bounds: Bounds,
    files: BTreeMap<String, Digest>,
    bytes: u64,
}

impl<W: Write> Writer<W> {
    pub fn new(to: W, bounds: Bounds) -> Self {
        Self { tar: tar::Builder::new(to), bounds, files: BTreeMap::new(), bytes: 1_024 }
    }

    pub fn add(&mut self, name: &str, bytes: &[u8]) -> Result<Digest> {
        if !self.bounds.is_plain(name) {
            return Err(ArchiveError::NotPlain { number: self.files.len() + 1 });
        }
        if self.files.contains_key(name) {
            return Err(ArchiveError::Twice { name: name.to_owned() });
        }
        if self.files.len() >= self.bounds.files {
            return Err(ArchiveError::TooMany { maximum: self.bounds.files });
        }
        self.bytes = self.bytes.saturating_add(blocks(bytes.len() as u64));
        if self.bytes > self.bounds.bytes {
            return Err(ArchiveError::TooLarge { maximum: self.bounds.bytes });
        }
        let failed = |e: io::Error| ArchiveError::Write(e.to_string());
        let mut header = tar::Header::new_ustar();
        header.set_path(name).map_err(failed)?;
        header.set_size(bytes.len() as u64);
        header.set_mode(0o600);
        header.set_mtime(0);
        header.set_cksum();
        self.tar.append(&header, bytes).map_err(failed)?;
        let digest = sha256(bytes);
        self.files.insert(name.to_owned(), digest);
        Ok(digest)
    }

    /// Of every file so far.
    pub fn manifest(&self) -> String {
        manifest(self.files.iter().map(|(name, digest)| (name.as_str(), *digest)))
    }

    pub fn files(&self) -> &BTreeMap<String, Digest> {
        &self.files
    }

    pub fn finish(self) -> Result<W> {
        self.tar.into_inner().map_err(|e| ArchiveError::Write(e.to_string()))
    }
}

/// A line for each file, by name.
pub fn manifest<'a>(files: impl Iterator<Item = (&'a str, Digest)>) -> String {
    files.map(|(name, digest)| format!("{digest}  {name}\n")).collect()
}

/// What an archive holds.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Contents {
    /// Of each file, SHA-256.
    pub files: BTreeMap<String, Digest>,
    /// The bytes of those that were asked for.
    pub kept: BTreeMap<String, Zeroizing<Vec<u8>>>,
}

/// Reads an archive to its end. `keep`: how many bytes of a file are kept at most; of none where it is only hashed. What a header says
/// is not believed: as much is read as there is. Where that fails `so_far` has what came before.
pub fn read(from: impl Read, bounds: Bounds, keep: impl Fn(&str) -> Option<u64>, so_far: &mut Contents) -> Result<()> {
    let mut archive = tar::Archive::new(from.take(bounds.bytes.saturating_add(1)));
    let result = entries(&mut archive, bounds, keep, so_far);
    let mut rest = archive.into_inner();
    let result = result.and_then(|end| {
        tail(&mut rest, so_far.files.len())?;
        // One that is cut between two files reads as if it ended there, but for the two empty blocks of an end.
        let read = bounds.bytes.saturating_add(1) - rest.limit();
        let why = "it doesn't end".to_owned();
        if read < end + 1_024 { Err(ArchiveError::Broken { files: so_far.files.len(), why }) } else { Ok(()) }
    });
    // Whatever was said of it: the bound had cut it.
    if rest.limit() == 0 { Err(ArchiveError::TooLarge { maximum: bounds.bytes }) } else { result }
}

/// A record is filled up with zeros; and whoever reads to the end learns whether it is the end.
fn tail(rest: &mut impl Read, files: usize) -> Result<()> {
    let mut tail = Vec::new();
    let read = rest.take(TAIL_BYTES_MAX + 1).read_to_end(&mut tail);
    read.map_err(|e| ArchiveError::Broken { files, why: e.to_string() })?;
    let is_end = tail.len() as u64 <= TAIL_BYTES_MAX && tail.iter().all(|byte| *byte == 0);
    if is_end { Ok(()) } else { Err(ArchiveError::Tail) }
}

/// Gives where the last of them ends.
fn entries<R: Read>(
    archive: &mut tar::Archive<R>,
    bounds: Bounds,
    keep: impl Fn(&str) -> Option<u64>,
    so_far: &mut Contents,
) -> Result<u64> {
    let mut end = 0;
    let broken = |files: usize| move |e: io::Error| ArchiveError::Broken { files, why: e.to_string() };
    // Raw: long names and other extensions are entries of a kind that is refused, and take no memory.
    let mut entries = archive.entries().map_err(broken(0))?.raw(true);
    for number in 1.. {
        let Some(entry) = entries.next() else { break };
        let mut entry = entry.map_err(broken(number - 1))?;
        let not_plain = ArchiveError::NotPlain { number };
        let name = String::from_utf8(entry.header().path_bytes().into_owned()).unwrap_or_default();
        if !bounds.is_plain(&name) || !entry.header().entry_type().is_file() {
            return Err(not_plain);
        }
        if so_far.files.contains_key(&name) {
            return Err(ArchiveError::Twice { name });
        }
        if number > bounds.files {
            return Err(ArchiveError::TooMany { maximum: bounds.files });
        }
        let wanted = entry.header().entry_size().map_err(broken(number - 1))?;
        let (mut hasher, mut found, mut kept) = (Sha256::new(), 0_u64, keep(&name).map(|_| Zeroizing::new(Vec::new())));
        let mut chunk = Zeroizing::new(vec![0; CHUNK]);
        loop {
            let cut = |_| ArchiveError::CutShort { name: name.clone() };
            let length = entry.read(&mut chunk).map_err(cut)?;
            let bytes = chunk.get(..length).unwrap_or_default();
            if bytes.is_empty() {
                break;
            }
            found += length as u64;
            hasher.update(bytes);
            if let (Some(kept), Some(maximum)) = (&mut kept, keep(&name)) {
                if found > maximum {
                    return Err(ArchiveError::FileTooLarge { name, maximum });
                }
                kept.extend_from_slice(bytes);
            }
        }
        if found != wanted {
            return Err(ArchiveError::CutShort { name });
        }
        if let Some(bytes) = kept {
            so_far.kept.insert(name.clone(), bytes);
        }
        so_far.files.insert(name, Digest(hasher.finalize().into()));
        end += blocks(found);
    }
    Ok(end)
}

/// How an archive differs from its manifest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wrong {
    Altered {
        name: String,
    },
    Missing {
        name: String,
    },
    Extra {
        name: String,
    },
    Renamed {
        from: String,
        to: String,
    },
    /// A line of the manifest that is none, or names what an earlier one does.
    Line {
        number: usize,
    },
}

impl Wrong {
    /// The file that it is about.
    pub fn name(&self) -> &str {
        match self {
            Self::Altered { name } | Self::Missing { name } | Self::Extra { name } => name,
            Self::Renamed { to, .. } => to,
            Self::Line { .. } => MANIFEST,
        }
    }
}

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Altered { name } => write!(f, "ALTERED {name}"),
            Self::Missing { name } => write!(f, "MISSING {name}"),
            Self::Extra { name } => write!(f, "EXTRA {name}: the manifest doesn't name it"),
            Self::Renamed { from, to } => write!(f, "RENAMED {from} to {to}"),
            Self::Line { number } => write!(f, "line {number} of {MANIFEST} is none of a manifest"),
        }
    }
}

/// Every difference between a manifest and the files that it speaks of: all but itself and `beside`.
pub fn compare(manifest: &[u8], files: &BTreeMap<String, Digest>, beside: &[&str]) -> Vec<Wrong> {
    let text = String::from_utf8_lossy(manifest);
    let (mut said, mut wrong): (BTreeMap<&str, &str>, Vec<Wrong>) = (BTreeMap::new(), Vec::new());
    for (number, line) in (1..).zip(text.lines()) {
        let is_digest = |text: &str| text.len() == 64 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        match line.split_once("  ").filter(|(digest, name)| is_digest(digest) && !said.contains_key(name)) {
            Some((digest, name)) => drop(said.insert(name, digest)),
            None => wrong.push(Wrong::Line { number }),
        }
    }
    let is_covered = |name: &str| name != MANIFEST && !beside.contains(&name);
    let mut found: BTreeMap<&str, String> = files
        .iter()
        .filter(|(name, _)| is_covered(name))
        .map(|(name, digest)| (name.as_str(), digest.to_string()))
        .collect();
    let mut missing: Vec<(&str, &str)> = Vec::new();
    for (name, digest) in said {
        match found.remove(name) {
            Some(is) if is == digest => {}
            Some(_) => wrong.push(Wrong::Altered { name: name.to_owned() }),
            None => missing.push((name, digest)),
        }
    }
    for (name, digest) in missing {
        let other = found.iter().find(|(_, is)| *is == digest).map(|(other, _)| (*other).to_owned());
        wrong.push(match other {
            Some(to) => {
                found.remove(to.as_str());
                Wrong::Renamed { from: name.to_owned(), to }
            }
            None => Wrong::Missing { name: name.to_owned() },
        });
    }
    wrong.extend(found.into_keys().map(|name| Wrong::Extra { name: name.to_owned() }));
    wrong
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)] // tests may stop at the first surprise
mod tests {
    use super::*;

    const BOUNDS: Bounds = Bounds { bytes: 64 * 1024, files: 4, name_bytes: 40, folders: true };
    const FILES: [(&str, &[u8]); 3] = [("a.txt", b"alpha"), ("dicom/CT/1.2.dcm", &[7; 1_500]), ("z", b"")];

    fn archive() -> Vec<u8> {
        let mut writer = Writer::new(Vec::new(), BOUNDS);
        for (name, bytes) in FILES {
            writer.add(name, bytes).unwrap();
        }
        let manifest = writer.manifest();
        writer.add(MANIFEST, manifest.as_bytes()).unwrap();
        writer.finish().unwrap()
    }

    fn opened(bytes: &[u8]) -> Result<Contents> {
        let mut contents = Contents::default();
        read(bytes, BOUNDS, |name| (name != "z").then_some(2_000), &mut contents).map(|()| contents)
    }

    #[test]
    fn what_is_written_is_read() {
        let contents = opened(&archive()).unwrap();
        assert_eq!(contents.files.len(), 4);
        for (name, bytes) in FILES {
            assert_eq!(contents.files[name], sha256(bytes));
            assert_eq!(contents.kept.get(name).map(|kept| kept.as_slice()), (name != "z").then_some(bytes));
        }
        assert_eq!(compare(&contents.kept[MANIFEST], &contents.files, &[]), []);
    }

    #[test]
    fn it_ends_where_it_ends() {
        let whole = archive();
        for cut in 0..whole.len() {
            assert!(opened(&whole[..cut]).is_err(), "{cut}");
        }
        let second = FILES[1].0.to_owned();
        assert_eq!(opened(&whole[..2_048]), Err(ArchiveError::CutShort { name: second }));
        assert!(opened(&[whole.clone(), vec![0; 8_192]].concat()).is_ok());
        assert_eq!(opened(&[whole.clone(), vec![1]].concat()), Err(ArchiveError::Tail));
        assert_eq!(opened(&[whole, vec![0; 32 * 1_024]].concat()), Err(ArchiveError::Tail));
    }

    #[test]
    fn what_goes_beyond_a_bound_is_refused() {
        let mut writer = Writer::new(io::sink(), BOUNDS);
        for name in ["", "/a", "../a", "a//b", ".a", "a/.b", "a b", "ä", &"a".repeat(41)] {
            assert_eq!(writer.add(name, b""), Err(ArchiveError::NotPlain { number: 1 }), "{name}");
        }
        assert_eq!(writer.add("a", &[0; 64 * 1024]), Err(ArchiveError::TooLarge { maximum: BOUNDS.bytes }));
        let mut writer = Writer::new(io::sink(), BOUNDS);
        for number in 0..4 {
            writer.add(&format!("{number}"), b"").unwrap();
        }
        assert_eq!(writer.add("0", b""), Err(ArchiveError::Twice { name: "0".to_owned() }));
        assert_eq!(writer.add("5", b""), Err(ArchiveError::TooMany { maximum: 4 }));
        let whole = archive();
        let said = |bounds, most| read(whole.as_slice(), bounds, |_| most, &mut Contents::default());
        let tight = |bytes, files| Bounds { bytes, files, ..BOUNDS };
        assert_eq!(said(tight(1_000, 4), None), Err(ArchiveError::TooLarge { maximum: 1_000 }));
        assert_eq!(said(tight(65_536, 3), None), Err(ArchiveError::TooMany { maximum: 3 }));
        let name = FILES[1].0.to_owned();
        assert_eq!(said(BOUNDS, Some(1_000)), Err(ArchiveError::FileTooLarge { name, maximum: 1_000 }));
    }

    #[test]
    fn each_difference_has_its_name() {
        let Contents { files, kept } = opened(&archive()).unwrap();
        let manifest = kept[MANIFEST].as_slice();
        let said = |files: &BTreeMap<String, Digest>| {
            compare(manifest, files, &["receipt"]).iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        let with = |taken: &str, put: Option<(&str, Digest)>| {
            let mut files = files.clone();
            files.remove(taken);
            files.extend(put.map(|(name, digest)| (name.to_owned(), digest)));
            said(&files)
        };
        let other = sha256(b"x");
        assert_eq!(with("", Some(("receipt", other))), [""; 0]);
        assert_eq!(with("z", Some(("z", other))), ["ALTERED z"]);
        assert_eq!(with("a.txt", None), ["MISSING a.txt"]);
        assert_eq!(with("", Some(("more", other))), ["EXTRA more: the manifest doesn't name it"]);
        assert_eq!(with("a.txt", Some(("b.txt", files["a.txt"]))), ["RENAMED a.txt to b.txt"]);
        assert_eq!(compare(b"no manifest\n", &BTreeMap::new(), &[]), [Wrong::Line { number: 1 }]);
        assert_eq!(compare(&manifest.repeat(2), &files, &[]).len(), 3, "each name once");
    }

    #[test]
    fn whatever_a_header_says_it_is_read_within_its_bounds() {
        let plain = archive();
        // Every bit of every header, the types of links, sparse and long names among what comes of it, with its sum made right.
        for header in (0..plain.len()).step_by(512).filter(|at| plain[at + 257..].starts_with(b"ustar")) {
            for (at, bit) in (0..512).flat_map(|at| (0..8).map(move |bit| (at, bit))) {
                let mut altered = plain.clone();
                altered[header + at] ^= 1 << bit;
                let mut fixed = tar::Header::from_byte_slice(&altered[header..header + 512]).clone();
                fixed.set_cksum();
                altered[header..header + 512].copy_from_slice(fixed.as_bytes());
                if let Ok(found) = opened(&altered) {
                    assert!(found.kept.values().map(|bytes| bytes.len()).sum::<usize>() <= plain.len());
                    assert!(found.files.keys().all(|name| BOUNDS.is_plain(name)));
                }
            }
        }
    }
}

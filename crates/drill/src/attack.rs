//! What is done to a server's folder: the ways in which an attacker destroys or changes what he holds.
//!
//! Real destruction of real files, so a folder is touched only where it lies inside a drill's own root, which the
//! drill itself made and marked. Symbolic links are neither followed nor left.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use kit::{Blame, Explain};
use serde::Serialize;

use crate::synthetic::Rng;

/// Name and content of the file that marks a drill's root.
const MARKER: &str = "HOLDFAST-DRILL-ROOT";
const MARKER_TEXT: &str = "Everything in this folder belongs to an attack drill and is destroyed by it.\n";

/// Files are sealed in pieces of this size, so that a volume of 256 MiB is never in memory twice.
const PIECE_BYTES: usize = 8 * 1024 * 1024;
/// One flipped bit in so many bytes, and at least so many a file: no shard of a megabyte stays whole.
const BYTES_PER_FLIP: u64 = 64 * 1024;
const FLIPS_MIN: u64 = 8;
/// Markers and keys are smaller, volumes of records larger. A small file gets one flipped bit: what it says may then
/// still look sound, and be wrong, which is harder to see through than noise.
const SMALL_BYTES_MAX: u64 = 4 * 1024;

#[derive(Debug, thiserror::Error)]
pub enum AttackError {
    #[error("{0} is no drill's root: its marker is missing, so nothing in it is touched")]
    Unmarked(PathBuf),
    #[error("{folder} does not lie inside the drill's root {root}, so it is not touched")]
    Outside { folder: PathBuf, root: PathBuf },
    #[error("{0} is not empty: a drill begins in an empty folder")]
    NotEmpty(PathBuf),
    #[error("{0} was to be rolled back, and no older copy of it was taken")]
    NoOlderCopy(PathBuf),
    #[error("{place}: {source}")]
    Io { place: PathBuf, source: io::Error },
    #[error("sealing with the lost key failed")]
    Seal,
}

impl Explain for AttackError {
    fn blame(&self) -> Blame {
        match self {
            Self::Unmarked(_) | Self::Outside { .. } | Self::NotEmpty(_) => Blame::Peer,
            Self::Io { .. } => Blame::Configuration,
            Self::NoOlderCopy(_) | Self::Seal => Blame::Ours,
        }
    }

    fn code(&self) -> &'static str {
        match self {
            Self::Unmarked(_) => "drill.unmarked",
            Self::Outside { .. } => "drill.outside",
            Self::NotEmpty(_) => "drill.not-empty",
            Self::NoOlderCopy(_) => "drill.no-older-copy",
            Self::Io { .. } => "drill.io",
            Self::Seal => "drill.seal",
        }
    }
}

fn at(place: &Path) -> impl FnOnce(io::Error) -> AttackError {
    let place = place.to_owned();
    move |source| AttackError::Io { place, source }
}

/// A folder that the drill made for itself. Only what lies in it can be attacked.
#[derive(Debug)]
pub struct DrillRoot(PathBuf);

impl DrillRoot {
    /// Marks an empty folder; makes it where it is missing.
    pub fn create(folder: &Path) -> Result<Self, AttackError> {
        fs::create_dir_all(folder).map_err(at(folder))?;
        if fs::read_dir(folder).map_err(at(folder))?.next().is_some() {
            return Err(AttackError::NotEmpty(folder.to_owned()));
        }
        fs::write(folder.join(MARKER), MARKER_TEXT).map_err(at(folder))?;
        Self::open(folder)
    }

    /// A root that was made before.
    pub fn open(folder: &Path) -> Result<Self, AttackError> {
        let root = fs::canonicalize(folder).map_err(at(folder))?;
        match fs::read_to_string(root.join(MARKER)) {
            Ok(text) if text == MARKER_TEXT => Ok(Self(root)),
            _ => Err(AttackError::Unmarked(root)),
        }
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Removes the root with everything in it; only a folder that still bears the marker.
    pub fn destroy(self) -> Result<(), AttackError> {
        let root = Self::open(&self.0)?.0;
        fs::remove_dir_all(&root).map_err(at(&root))
    }

    /// The folder's real path, once it is sure that it is the drill's to destroy.
    fn claim(&self, folder: &Path) -> Result<PathBuf, AttackError> {
        Self::open(&self.0)?;
        let real = fs::canonicalize(folder).map_err(at(folder))?;
        if real == self.0 || !real.starts_with(&self.0) {
            return Err(AttackError::Outside { folder: real, root: self.0.clone() });
        }
        Ok(real)
    }
}

/// What happens to one server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Attack {
    /// Every file gone.
    Wiped,
    /// Every file sealed with a key that nobody has, and renamed.
    Encrypted,
    /// Bits flipped here and there in every file.
    BitFlipped,
    /// Every file cut somewhere.
    Truncated,
    /// The folder as it was some time ago: everything in it is valid, and stale.
    RolledBack,
}

impl Attack {
    pub const ALL: [Self; 5] = [Self::Wiped, Self::Encrypted, Self::BitFlipped, Self::Truncated, Self::RolledBack];
}

/// Which of a server's files are hit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reach {
    Everything,
    /// Markers and keys are left alone, so that the server still looks like one of the centre's: whoever reads it has to
    /// find out by himself which of its records are bad.
    LargeFiles,
}

/// What happens to one server: which attack, and to which files.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Blow {
    pub attack: Attack,
    pub reach: Reach,
}

impl Blow {
    /// `attack` on every file.
    pub fn thorough(attack: Attack) -> Self {
        Self { attack, reach: Reach::Everything }
    }

    /// For people.
    pub fn what(self) -> &'static str {
        match (self.attack, self.reach) {
            (Attack::Wiped, Reach::Everything) => "wiped",
            (Attack::Wiped, Reach::LargeFiles) => "large files deleted",
            (Attack::Encrypted, Reach::Everything) => "encrypted with a key that nobody has",
            (Attack::Encrypted, Reach::LargeFiles) => "large files encrypted in place, with a key that nobody has",
            (Attack::BitFlipped, Reach::Everything) => "bits flipped in every file",
            (Attack::BitFlipped, Reach::LargeFiles) => "bits flipped in the large files",
            (Attack::Truncated, Reach::Everything) => "every file cut short",
            (Attack::Truncated, Reach::LargeFiles) => "large files cut short",
            (Attack::RolledBack, _) => "rolled back to an older state",
        }
    }

    /// Destroys or changes `folder`. `older` is a copy of it that `copy` took earlier, for the roll-back.
    pub fn strike(
        self,
        root: &DrillRoot,
        folder: &Path,
        older: Option<&Path>,
        seed: u64,
    ) -> Result<Damage, AttackError> {
        let folder = root.claim(folder)?;
        let mut files = files(&folder)?;
        let everything = self.reach == Reach::Everything || self.attack == Attack::RolledBack;
        files.retain(|(_, size)| everything || *size > SMALL_BYTES_MAX);
        let damage = Damage { files: files.len(), bytes: files.iter().map(|(_, size)| size).sum() };
        let rng = |number| Rng::new(seed, "attack", number);
        let mut numbered = files.iter().zip(0_u64..);
        match self.attack {
            // Folders and links go as well.
            Attack::Wiped if everything => empty(&folder)?,
            Attack::Wiped => numbered.try_for_each(|((file, _), _)| fs::remove_file(file).map_err(at(file)))?,
            Attack::Encrypted => numbered.try_for_each(|((file, _), n)| encrypt(file, &rng(n), everything))?,
            Attack::BitFlipped => numbered.try_for_each(|((file, size), n)| flip(file, *size, &rng(n)))?,
            Attack::Truncated => numbered.try_for_each(|((file, size), n)| {
                let handle = fs::OpenOptions::new().write(true).open(file).map_err(at(file))?;
                // A volume ends with a segment that holds no entry: who lacks only that one has lost nothing, and looks like a
                // server that was slower than the others. So a large file loses more than its last few kilobytes.
                let cut = if *size > 2 * SMALL_BYTES_MAX { size - SMALL_BYTES_MAX } else { *size };
                handle.set_len(rng(n).below(cut)).map_err(at(file))
            })?,
            Attack::RolledBack => {
                let older = older.ok_or_else(|| AttackError::NoOlderCopy(folder.clone()))?;
                empty(&folder)?;
                copy(older, &folder)?;
            }
        }
        Ok(damage)
    }
}

/// How much was hit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Damage {
    pub files: usize,
    pub bytes: u64,
}

/// Chooses `count` of `servers` servers, and what happens to each: every kind of attack at least once where there are
/// enough of them, first on every file, the next time on the large ones only.
pub fn choose(seed: u64, servers: usize, count: usize) -> Vec<(usize, Blow)> {
    let rng = Rng::new(seed, "choose", 0);
    let mut numbers: Vec<usize> = (0..servers).collect();
    rng.shuffle(&mut numbers);
    let reaches = [Reach::Everything, Reach::LargeFiles].into_iter().cycle();
    let rounds = reaches.flat_map(|reach| Attack::ALL.map(|attack| Blow { attack, reach }));
    let mut blows: Vec<Blow> = rounds.take(count).collect();
    rng.shuffle(&mut blows);
    let mut chosen: Vec<(usize, Blow)> = numbers.into_iter().zip(blows).collect();
    chosen.sort_unstable();
    chosen
}

/// All regular files under `folder` with their sizes, sorted by path.
fn files(folder: &Path) -> Result<Vec<(PathBuf, u64)>, AttackError> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(&next).map_err(at(&next))? {
            let path = entry.map_err(at(&next))?.path();
            let about = fs::symlink_metadata(&path).map_err(at(&path))?;
            if about.is_dir() {
                folders.push(path);
            } else if about.is_file() {
                found.push((path, about.len()));
            }
        }
    }
    found.sort_unstable();
    Ok(found)
}

/// Removes everything in `folder`, not the folder itself.
fn empty(folder: &Path) -> Result<(), AttackError> {
    for entry in fs::read_dir(folder).map_err(at(folder))? {
        let path = entry.map_err(at(folder))?.path();
        let about = fs::symlink_metadata(&path).map_err(at(&path))?;
        // A link is removed, not what it leads to.
        if about.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) }.map_err(at(&path))?;
    }
    Ok(())
}

/// Copies files and folders; for the older state that a server is rolled back to.
pub fn copy(from: &Path, to: &Path) -> Result<(), AttackError> {
    fs::create_dir_all(to).map_err(at(to))?;
    for entry in fs::read_dir(from).map_err(at(from))? {
        let path = entry.map_err(at(from))?.path();
        let about = fs::symlink_metadata(&path).map_err(at(&path))?;
        let target = to.join(path.file_name().unwrap_or_default());
        if about.is_dir() {
            copy(&path, &target)?;
        } else if about.is_file() {
            fs::copy(&path, &target).map_err(at(&path))?;
        }
    }
    Ok(())
}

/// AES-256-GCM (NIST SP 800-38D) under a key of this file's own, which goes out of scope here and nowhere else.
fn encrypt(file: &Path, rng: &Rng, rename: bool) -> Result<(), AttackError> {
    let mut key = [0; 32];
    rng.entropy().fill(&mut key);
    let key = LessSafeKey::new(UnboundKey::new(&AES_256_GCM, &key).map_err(|_| AttackError::Seal)?);
    let bytes = fs::read(file).map_err(at(file))?;
    let mut sealed = Vec::with_capacity(bytes.len() + 16);
    for (number, piece) in (0_u32..).zip(bytes.chunks(PIECE_BYTES)) {
        let mut nonce = [0; 12];
        nonce.iter_mut().zip(number.to_be_bytes()).for_each(|(slot, byte)| *slot = byte);
        let mut piece = piece.to_vec();
        let nonce = Nonce::assume_unique_for_key(nonce);
        key.seal_in_place_append_tag(nonce, Aad::empty(), &mut piece).map_err(|_| AttackError::Seal)?;
        sealed.extend(piece);
    }
    if !rename {
        return fs::write(file, sealed).map_err(at(file));
    }
    let mut locked = file.as_os_str().to_owned();
    locked.push(".locked");
    fs::write(&locked, sealed).map_err(at(file))?;
    fs::remove_file(file).map_err(at(file))
}

fn flip(file: &Path, size: u64, rng: &Rng) -> Result<(), AttackError> {
    let mut bytes = fs::read(file).map_err(at(file))?;
    let flips = if size > SMALL_BYTES_MAX { (size / BYTES_PER_FLIP).max(FLIPS_MIN) } else { 1 };
    for _ in 0..flips {
        let place = rng.index(bytes.len());
        if let Some(byte) = bytes.get_mut(place) {
            *byte ^= 1 << rng.below(8);
        }
    }
    fs::write(file, bytes).map_err(at(file))
}

//! One pack as a file: a tar archive in an age file, so that `age -d -i ward.key FILE | tar x` opens it where this program isn't.
//! `docs/formats/pack.md` has the bytes.

use std::collections::BTreeMap;

use age::x25519::{Identity, Recipient};
use archive::{ArchiveError, Bounds, Contents, Writer};
use kit::{Digest, Explain};
use zeroize::Zeroizing;

use crate::proven::{self, ProvenError};
pub use crate::proven::{Round, Trusted};

pub use archive::{MANIFEST, sha256};

/// The entry of the log that names this manifest: the leaf's bytes.
pub const ENTRY: &str = "entry.cbor";
/// That the entry is in the log (C2SP tlog-proof).
pub const RECEIPT: &str = "receipt.tlog-proof";
/// What the sheet is printed from.
pub const DATA: &str = "pack.json";
pub const SHEET: &str = "sheet.html";
/// In the pack of this ID alone: which packs there are, and by which manifests.
pub const LIST: &str = "list.json";
pub const LIST_ID: &str = "0000000000000000";
/// The kind of that entry.
pub const KIND: &str = "treatment.packs";

/// Plans of some megabytes, a photograph, the sheet.
pub const PACK_BYTES_MAX: usize = 64 * 1024 * 1024;
const BOUNDS: Bounds = Bounds { bytes: PACK_BYTES_MAX as u64, files: 64, name_bytes: 64, folders: false };
/// What speaks of the manifest.
pub const BESIDE: [&str; 2] = [ENTRY, RECEIPT];

#[derive(Debug, thiserror::Error)]
pub enum PackError {
    #[error("it is no age file, or was cut short")]
    NoAge,
    #[error("it isn't sealed to this key")]
    NotForThisKey,
    #[error("{found} bytes, the maximum is {PACK_BYTES_MAX}")]
    TooLarge { found: u64 },
    #[error("what is in it is no pack: {0}")]
    NoPack(String),
    #[error("what is in it is no pack: {0}")]
    Archive(#[from] ArchiveError),
    #[error("{name} is not what the manifest says")]
    Altered { name: String },
    #[error(transparent)]
    Proven(#[from] ProvenError),
    #[error("it can't be sealed: {0}")]
    Seal(String),
}

impl Explain for PackError {
    fn blame(&self) -> kit::Blame {
        match self {
            Self::NotForThisKey | Self::TooLarge { .. } => kit::Blame::Peer,
            Self::Seal(_) => kit::Blame::Ours,
            _ => kit::Blame::Integrity,
        }
    }

    fn code(&self) -> &'static str {
        match self {
            Self::NotForThisKey => "pack.key",
            Self::TooLarge { .. } => "pack.too-large",
            Self::Seal(_) => "pack.seal",
            Self::Proven(error) => error.code(),
            _ => "pack.damaged",
        }
    }
}

/// Names and contents.
pub type Files = BTreeMap<String, Zeroizing<Vec<u8>>>;

/// What was brought to the folders in one go.
#[derive(Debug, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct List {
    pub id: String,
    pub as_of: kit::Timestamp,
    pub packs: Vec<Listed>,
}

#[derive(Debug, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Listed {
    pub id: String,
    /// SHA-256 of its manifest.
    pub manifest: Digest,
}

/// Adds the manifest; gives its digest.
pub fn close(files: &mut Files) -> Digest {
    let covered = files.iter().filter(|(name, _)| *name != MANIFEST && !BESIDE.contains(&name.as_str()));
    let manifest = archive::manifest(covered.map(|(name, bytes)| (name.as_str(), sha256(bytes)))).into_bytes();
    let digest = sha256(&manifest);
    files.insert(MANIFEST.to_owned(), Zeroizing::new(manifest));
    digest
}

/// The archive, readable by each of `recipients` alone.
pub fn seal(files: &Files, recipients: &[Recipient]) -> Result<Vec<u8>, PackError> {
    let failed = |why: &dyn std::fmt::Display| PackError::Seal(why.to_string());
    // Room for all of it at once: what grows leaves copies behind.
    let room = files.values().map(|bytes| bytes.len().next_multiple_of(512) + 512).sum::<usize>() + 1_024;
    if room > PACK_BYTES_MAX {
        return Err(PackError::TooLarge { found: room as u64 });
    }
    let mut plain = Zeroizing::new(Vec::with_capacity(room));
    let mut archive = Writer::new(&mut *plain, BOUNDS);
    for (name, bytes) in files {
        archive.add(name, bytes).map_err(|e| failed(&e))?;
    }
    archive.finish().map_err(|e| failed(&e))?;
    let each = recipients.iter().map(|one| one as &dyn age::Recipient);
    let encryptor = age::Encryptor::with_recipients(each).map_err(|e| failed(&e))?;
    let mut sealed = Vec::with_capacity(plain.len() + 4_096);
    let mut writer = encryptor.wrap_output(&mut sealed).map_err(|e| failed(&e))?;
    std::io::Write::write_all(&mut writer, &plain).map_err(|e| failed(&e))?;
    writer.finish().map_err(|e| failed(&e))?;
    Ok(sealed)
}

/// Opens a pack, and compares it with its manifest.
pub fn open(sealed: &[u8], identity: &Identity) -> Result<Files, PackError> {
    if sealed.len() > 2 * PACK_BYTES_MAX {
        return Err(PackError::TooLarge { found: sealed.len() as u64 });
    }
    let decryptor = age::Decryptor::new_buffered(sealed).map_err(|_| PackError::NoAge)?;
    let reader = decryptor.decrypt(std::iter::once(identity as &dyn age::Identity)).map_err(|error| match error {
        age::DecryptError::NoMatchingKeys => PackError::NotForThisKey,
        _ => PackError::NoAge,
    })?;
    let mut contents = Contents::default();
    match archive::read(reader, BOUNDS, |_| Some(PACK_BYTES_MAX as u64), &mut contents) {
        Err(ArchiveError::CutShort { .. } | ArchiveError::Broken { .. }) => return Err(PackError::NoAge),
        other => other?,
    }
    let Contents { files: digests, kept: files } = contents;
    let manifest = files.get(MANIFEST).ok_or_else(|| PackError::NoPack(format!("there is no {MANIFEST}")))?;
    match archive::compare(manifest, &digests, &BESIDE).first() {
        Some(wrong) => Err(PackError::Altered { name: wrong.name().to_owned() }),
        None => Ok(files),
    }
}

/// That the centre made it. Gives how many witnesses have cosigned that.
pub fn check(files: &Files, trusted: &Trusted) -> Result<usize, PackError> {
    let file = |name: &str| files.get(name).ok_or_else(|| PackError::NoPack(format!("there is no {name}")));
    let (manifest, proof) = (sha256(file(MANIFEST)?), (file(ENTRY)?.as_slice(), file(RECEIPT)?.as_slice()));
    Ok(proven::check(KIND, manifest, proof, trusted)?.cosigned)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files() -> Files {
        let file = |text: &str| Zeroizing::new(text.as_bytes().to_vec());
        let mut files = Files::from([
            (DATA.to_owned(), file("{}")),
            (SHEET.to_owned(), file("<p>")),
            ("plan-1.dcm".into(), file("x")),
        ]);
        close(&mut files);
        files
    }

    #[test]
    fn a_pack_opens_with_its_key_alone() {
        let (mine, other) = (Identity::generate(), Identity::generate());
        let sealed = seal(&files(), &[mine.to_public(), Identity::generate().to_public()]).unwrap();
        assert_eq!(open(&sealed, &mine).unwrap(), files());
        assert!(matches!(open(&sealed, &other), Err(PackError::NotForThisKey)));
        for cut in [0, 1, 100, sealed.len() / 2, sealed.len() - 1] {
            assert!(matches!(open(&sealed[..cut], &mine), Err(PackError::NoAge)), "{cut}");
        }
        for at in (0..sealed.len()).step_by(97) {
            let mut altered = sealed.clone();
            altered[at] ^= 1;
            assert!(open(&altered, &mine).is_err(), "{at}");
        }
    }

    #[test]
    fn whoever_can_seal_alters_nothing_unnoticed() {
        let mine = Identity::generate();
        for name in [DATA, SHEET, "plan-1.dcm"] {
            let mut files = files();
            files.get_mut(name).unwrap()[0] ^= 1;
            let sealed = seal(&files, &[mine.to_public()]).unwrap();
            assert!(matches!(open(&sealed, &mine), Err(PackError::Altered { name: said }) if said == name));
        }
        let mut more = files();
        more.insert("more.html".to_owned(), Zeroizing::new(Vec::new()));
        let sealed = seal(&more, &[mine.to_public()]).unwrap();
        assert!(matches!(open(&sealed, &mine), Err(PackError::Altered { name }) if name == "more.html"));
        let mut less = files();
        less.remove("plan-1.dcm");
        assert!(open(&seal(&less, &[mine.to_public()]).unwrap(), &mine).is_err());
    }

    #[test]
    fn nothing_in_it_is_a_path_or_a_link() {
        let mine = Identity::generate();
        for (name, kind) in
            [("a/b", tar::EntryType::Regular), ("x", tar::EntryType::Symlink), (".x", tar::EntryType::Regular)]
        {
            let mut archive = tar::Builder::new(Vec::new());
            let mut header = tar::Header::new_ustar();
            header.set_size(0);
            header.set_entry_type(kind);
            header.set_path(name).unwrap();
            header.set_cksum();
            archive.append(&header, &[][..]).unwrap();
            let plain = archive.into_inner().unwrap();
            let sealed = age::encrypt(&mine.to_public(), &plain).unwrap();
            assert!(matches!(open(&sealed, &mine), Err(PackError::Archive(_))), "{name}");
        }
        let sealed = age::encrypt(&mine.to_public(), b"no archive").unwrap();
        assert!(open(&sealed, &mine).is_err());
    }
}

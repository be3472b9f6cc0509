//! One pack as a file: a tar archive in an age file, so that `age -d -i ward.key FILE | tar x` opens it where this program isn't.
//! `docs/formats/pack.md` has the bytes.

use std::collections::BTreeMap;
use std::io::Read as _;

use age::x25519::{Identity, Recipient};
use kit::{Digest, Explain};
use sha2::{Digest as _, Sha256};
use vault::Vkey;
use zeroize::Zeroizing;

use ledger::{TlogProof, WitnessVkey, witness_quorum};

/// Of every other file but the two below: SHA-256 and name, as `sha256sum` writes and checks it.
pub const MANIFEST: &str = "MANIFEST.sha256";
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
const FILES_MAX: usize = 64;
const NAME_BYTES_MAX: usize = 64;

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
    #[error("{name} is not what the manifest says")]
    Altered { name: String },
    #[error("its entry in the log names other packs than this one")]
    NotNamed,
    #[error("its receipt: {0}")]
    Receipt(#[from] ledger::LedgerError),
    #[error("{by} of {of} witnesses have cosigned it, {quorum} are needed")]
    TooFewWitnesses { by: usize, of: usize, quorum: usize },
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
            Self::Receipt(_) | Self::TooFewWitnesses { .. } | Self::NotNamed => "pack.receipt",
            _ => "pack.damaged",
        }
    }
}

/// Names and contents.
pub type Files = BTreeMap<String, Zeroizing<Vec<u8>>>;

/// The note of one entry of the log: the manifests' digests.
#[derive(minicbor::Encode, minicbor::Decode)]
pub struct Round {
    #[n(0)]
    pub version: u8,
    #[n(1)]
    pub manifests: Vec<Digest>,
}

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

/// By which keys a pack is checked: kept beside the ward's key, apart from the packs.
pub struct Trusted {
    pub log: Vkey,
    pub witnesses: Vec<WitnessVkey>,
}

pub fn sha256(bytes: &[u8]) -> Digest {
    Digest(Sha256::digest(bytes).into())
}

/// What the manifest speaks of: all but itself and what speaks of it.
fn covered(files: &Files) -> impl Iterator<Item = (&String, &Zeroizing<Vec<u8>>)> {
    files.iter().filter(|(name, _)| ![MANIFEST, ENTRY, RECEIPT].contains(&name.as_str()))
}

fn manifest_of(files: &Files) -> String {
    covered(files).map(|(name, bytes)| format!("{}  {name}\n", sha256(bytes))).collect()
}

/// Adds the manifest; gives its digest.
pub fn close(files: &mut Files) -> Digest {
    let manifest = manifest_of(files).into_bytes();
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
    let mut archive = tar::Builder::new(&mut *plain);
    for (name, bytes) in files {
        let mut header = tar::Header::new_ustar();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o600);
        header.set_mtime(0);
        archive.append_data(&mut header, name, bytes.as_slice()).map_err(|e| failed(&e))?;
    }
    archive.finish().map_err(|e| failed(&e))?;
    drop(archive);
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
    let mut plain = Zeroizing::new(Vec::with_capacity(sealed.len()));
    let most = PACK_BYTES_MAX as u64;
    reader.take(most + 1).read_to_end(&mut plain).map_err(|_| PackError::NoAge)?;
    if plain.len() as u64 > most {
        return Err(PackError::TooLarge { found: plain.len() as u64 });
    }
    let files = unpack(&plain)?;
    let manifest = files.get(MANIFEST).ok_or_else(|| PackError::NoPack(format!("there is no {MANIFEST}")))?;
    if manifest_of(&files).as_bytes() != manifest.as_slice() {
        let said = String::from_utf8_lossy(manifest).into_owned();
        let is_said = |name: &str, bytes: &[u8]| said.lines().any(|line| line == format!("{}  {name}", sha256(bytes)));
        let altered = covered(&files).find(|(name, bytes)| !is_said(name, bytes));
        let name = altered.map_or(MANIFEST, |(name, _)| name);
        return Err(PackError::Altered { name: name.to_owned() });
    }
    Ok(files)
}

/// Nothing is written anywhere: a name is a name, and no path.
fn unpack(plain: &[u8]) -> Result<Files, PackError> {
    let bad = |why: String| PackError::NoPack(why);
    let mut files = Files::new();
    let mut archive = tar::Archive::new(plain);
    for entry in archive.entries().map_err(|e| bad(e.to_string()))? {
        let mut entry = entry.map_err(|e| bad(e.to_string()))?;
        let name = entry.path_bytes().into_owned();
        let name = String::from_utf8(name).map_err(|_| bad("a name that is no text".to_owned()))?;
        let is_name = !name.is_empty()
            && name.len() <= NAME_BYTES_MAX
            && !name.starts_with('.')
            && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-".contains(&byte));
        if !is_name || !entry.header().entry_type().is_file() {
            return Err(bad("something in it is no file with a plain name".to_owned()));
        }
        // As much as there is: what the header says is not believed.
        let mut bytes = Zeroizing::new(Vec::new());
        entry.read_to_end(&mut bytes).map_err(|e| bad(e.to_string()))?;
        if files.insert(name.clone(), bytes).is_some() {
            return Err(bad(format!("{name} stands in it twice")));
        }
        if files.len() > FILES_MAX {
            return Err(bad(format!("more than {FILES_MAX} files")));
        }
    }
    Ok(files)
}

/// That the centre made it: its manifest is named by an entry of the log, whose head enough witnesses have cosigned. Gives how many.
pub fn check(files: &Files, trusted: &Trusted) -> Result<usize, PackError> {
    let file = |name: &str| files.get(name).ok_or_else(|| PackError::NoPack(format!("there is no {name}")));
    let (manifest, entry, receipt) = (sha256(file(MANIFEST)?), file(ENTRY)?, file(RECEIPT)?);
    let proof = TlogProof::from_bytes(receipt)?;
    let (_, cosigned) = proof.check(&trusted.log, &trusted.witnesses)?;
    let no_entry = |why: String| PackError::NoPack(format!("{ENTRY}: {why}"));
    let named = vault::entry_of_leaf(proof.index, entry).map_err(|e| no_entry(e.to_string()))?;
    if named.leaf != Digest::from(proof.leaf) || named.kind != KIND {
        return Err(PackError::NotNamed);
    }
    let meta = chart::Meta::from_bytes(proof.index, &named.meta).map_err(|e| no_entry(e.to_string()))?;
    let round: Round = minicbor::decode(&meta.note).map_err(|e| no_entry(e.to_string()))?;
    if round.version != 1 || !round.manifests.contains(&manifest) {
        return Err(PackError::NotNamed);
    }
    let (by, of) = (cosigned.len(), trusted.witnesses.len());
    let quorum = witness_quorum(of);
    if of > 0 && by < quorum {
        return Err(PackError::TooFewWitnesses { by, of, quorum });
    }
    Ok(by)
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
            assert!(matches!(open(&sealed, &mine), Err(PackError::NoPack(_))), "{name}");
        }
        let sealed = age::encrypt(&mine.to_public(), b"no archive").unwrap();
        assert!(open(&sealed, &mine).is_err());
    }

    #[test]
    fn whatever_the_archive_says_it_is_read_within_its_bounds() {
        let mut archive = tar::Builder::new(Vec::new());
        for (name, bytes) in files() {
            let mut header = tar::Header::new_ustar();
            header.set_size(bytes.len() as u64);
            archive.append_data(&mut header, name, bytes.as_slice()).unwrap();
        }
        let plain = archive.into_inner().unwrap();
        assert_eq!(unpack(&plain).unwrap(), files());
        // Every byte of every header, the types of links, sparse and long names among what comes of it, with its sum made right.
        for header in (0..plain.len()).step_by(512).filter(|at| plain[at + 257..].starts_with(b"ustar")) {
            for (at, bit) in (0..512).flat_map(|at| (0..8).map(move |bit| (at, bit))) {
                let mut altered = plain.clone();
                altered[header + at] ^= 1 << bit;
                let mut fixed = tar::Header::from_byte_slice(&altered[header..header + 512]).clone();
                fixed.set_cksum();
                altered[header..header + 512].copy_from_slice(fixed.as_bytes());
                if let Ok(found) = unpack(&altered) {
                    assert!(found.values().map(|bytes| bytes.len()).sum::<usize>() <= plain.len());
                }
            }
        }
    }
}

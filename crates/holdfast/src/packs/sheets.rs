//! Sheets in clear, for a recovery that has only begun: the same that a pack holds, without a seal and without the log's proof.
//!
//! They say no more than the newest list does: what holds somebody there holds her sheet, by the same words. When all of the log was
//! read, those that say something else by it are written anew, and who is on the list no more has none.

use std::collections::BTreeMap;
use std::fs::{self, DirEntry};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use chart::Chart;
use edge::console::paper::{self, Opened, Trust, list_cautions};
use kit::{Blame, Digest, Explain, Fault, PatientId, write_private};
use treatment::Pack;

use super::archive::{DATA, SHEET, sha256};
use super::commands::line_of;
use super::{files_of, id_of};
use crate::first::FirstSight;
use crate::say::plural;

/// The list of them, written last: without it they are not all there.
const INDEX: &str = "index.html";
/// By it a folder is known that may be written to again.
const MARKER: &str = "holdfast-sheets";
/// What [`write_private`] leaves where it is killed.
const PARTIAL: &str = ".partial";

#[derive(Debug, thiserror::Error)]
pub enum SheetsError {
    #[error(
        "{}: no recovery wrote this, and it was left alone: what is older among sheets could be taken for new",
        .0.display()
    )]
    Foreign(PathBuf),
    #[error("{}: the sheets in it are of another centre, and were left alone", .0.display())]
    OtherCentre(PathBuf),
    #[error("{}: {why}", place.display())]
    Place { place: PathBuf, why: io::Error },
    #[error("{}: missing there: {lacking}; the first of that, {}: {why}", folder.display(), place.display())]
    Lacking { folder: PathBuf, lacking: String, place: PathBuf, why: io::Error },
}

impl Explain for SheetsError {
    fn blame(&self) -> Blame {
        Blame::Peer
    }

    fn code(&self) -> &'static str {
        match self {
            Self::Foreign(_) => "recover.sheets.foreign",
            Self::OtherCentre(_) => "recover.sheets.another-centre",
            Self::Place { .. } => "recover.sheets.place",
            Self::Lacking { .. } => "recover.sheets.lacking",
        }
    }

    fn guidance(&self) -> Option<&'static str> {
        Some("name an empty folder, or one that an earlier try of this recovery has begun, with room in it")
    }
}

fn at(place: &Path) -> impl FnOnce(io::Error) -> SheetsError {
    let place = place.to_owned();
    |why| SheetsError::Place { place, why }
}

/// Sheets in their folder.
pub struct Sheets {
    out: PathBuf,
    /// Those that this recovery has written.
    said: BTreeMap<String, Said>,
}

struct Said {
    /// Of all that it says, but for the clocks.
    digest: Digest,
    /// Number and name.
    who: String,
}

/// What one writing has come to. Whoever reads `who` sees the list as well.
#[derive(Default)]
pub struct Written {
    pub sheets: usize,
    /// Of so many patients none could be made.
    pub missing: usize,
    /// Whose sheets were written before, and said something else.
    pub changed: Vec<String>,
    /// Whose could not be written.
    pub lacking: Vec<String>,
    /// Why something is not there.
    pub failed: Option<Fault>,
}

/// While they are written.
#[derive(Default)]
struct Round {
    rows: Vec<Opened>,
    bad: Vec<String>,
    changed: Vec<String>,
    lacking: Vec<String>,
    failed: Option<(PathBuf, io::Error)>,
}

impl Sheets {
    /// Into a folder that is absent, or empty, or holds what an earlier try has written, and nothing else.
    pub fn at(out: &Path) -> Result<Self, SheetsError> {
        match require_ours(out) {
            // Tried again when there is something to write: what is in the way may be gone by then, and the recovery goes on.
            Ok(()) | Err(SheetsError::Place { .. }) => {}
            Err(refused) => return Err(refused),
        }
        Ok(Self { out: out.to_owned(), said: BTreeMap::new() })
    }

    pub fn index(&self) -> PathBuf {
        self.out.join(INDEX)
    }

    /// Nothing was written yet, and what stands there is an earlier try's, as of when it says.
    pub fn are_of_before(&self) -> bool {
        self.said.is_empty() && self.index().exists()
    }

    /// `index.html`, and a folder for each patient with her sheet and her plans' files.
    pub fn write(&mut self, sight: &FirstSight) -> Result<Written, Fault> {
        self.claim(sight.chart()).map_err(|e| Fault::of(&e))?;
        let before = std::mem::take(&mut self.said);
        let mut round = Round::default();
        let read = sight.packs(&mut |patient, pack| {
            self.one(sight, &before, (patient, pack), &mut round);
            Ok(())
        });
        // Whoever was not said anew is on the list no more, or can't be read: what her sheet says is true no more.
        for (id, said) in before.iter().filter(|(id, _)| !self.said.contains_key(*id)) {
            let folder = self.out.join(id);
            match remove(&folder) {
                Ok(()) => round.changed.push(said.who.clone()),
                Err(why) => round.failed = round.failed.or(Some((folder, why))),
            }
        }
        let Round { mut rows, mut bad, changed, lacking, mut failed } = round;
        if let Err(fault) = read {
            // No list of them, as not all were come to; but whose sheets are others now has to be said.
            let failed = Some(fault);
            return Ok(Written { sheets: rows.len(), missing: bad.len(), changed, lacking, failed });
        }
        rows.sort_by(|a, b| (&a.machines, &a.name, &a.number).cmp(&(&b.machines, &b.name, &b.number)));
        let list = &sight.list;
        let now = list.as_of.to_string();
        let now = format!("{} UTC", now.get(..16).unwrap_or_default().replace('T', " "));
        let trust = if list.roster.is_some() { Trust::Recovery } else { Trust::Whole };
        let mut cautions = list.clocks.map_or(Vec::new(), |clocks| list_cautions(list.incomplete.as_deref(), clocks));
        let missing = bad.len();
        if !lacking.is_empty() {
            bad.extend(lacking.iter().map(|who| format!("{who}: it could not be written")));
            cautions.push(format!("{} could not be written, and are missing here", plural(lacking.len(), "sheet")));
        }
        let page = paper::list(&now, trust, &cautions, &rows, &bad)?;
        let index = self.index();
        let unindexed = write_private(&index, page.as_bytes()).err();
        let has_index = unindexed.is_none();
        failed = failed.or(unindexed.map(|why| (index, why)));
        let failed = failed.map(|(place, why)| {
            let of = rows.len() + lacking.len();
            let mut what = vec![format!("{} of {}", lacking.len(), plural(of, "sheet"))];
            what.extend((!has_index).then(|| INDEX.to_owned()));
            let lacking = what.join(" and ");
            Fault::of(&SheetsError::Lacking { folder: self.out.clone(), lacking, place, why })
        });
        Ok(Written { sheets: rows.len(), missing, changed, lacking, failed })
    }

    /// One patient's, where it isn't there as it is to be.
    fn one(
        &mut self,
        sight: &FirstSight,
        before: &BTreeMap<String, Said>,
        (patient, pack): (PatientId, Result<Pack, Fault>),
        round: &mut Round,
    ) {
        let id = id_of(sight.chart(), patient);
        let made = pack.and_then(|mut pack| {
            let recovered = sight.list.recovered(patient);
            recovered.into_iter().for_each(|recovered| pack.recovered(recovered));
            let files = files_of(&pack, &id)?;
            Ok((pack, files))
        });
        let (pack, files) = match made {
            Ok(made) => made,
            Err(fault) => return round.bad.push(format!("{id}: {} [{}]", fault.message, fault.code)),
        };
        let said = Said { digest: digest_of(&pack), who: format!("{} {}", pack.seen.number, pack.seen.name) };
        let was = before.get(&id);
        if was.is_none_or(|was| was.digest != said.digest) {
            if let Err(failed) = self.put(&id, &files) {
                round.failed.get_or_insert(failed);
                return round.lacking.push(said.who);
            }
            if !before.is_empty() {
                round.changed.push(said.who.clone());
            }
        }
        self.said.insert(id.clone(), said);
        let data = files.get(DATA).and_then(|data| serde_json::from_slice(data).ok()).unwrap_or_default();
        round.rows.push(Opened { state: sight.list.said_of(patient), ..line_of(&id, &data, pack.seen.as_of, None) });
    }

    /// All of hers or nothing; each whole, the sheet last.
    fn put(&self, id: &str, files: &super::Files) -> Result<(), (PathBuf, io::Error)> {
        let folder = self.out.join(id);
        let write = || {
            remove(&folder).and_then(|()| fs::create_dir_all(&folder)).map_err(|why| (folder.clone(), why))?;
            let sheet_last = files.iter().filter(|(name, _)| *name != SHEET).chain(files.get_key_value(SHEET));
            for (name, bytes) in sheet_last {
                let file = folder.join(name);
                write_private(&file, bytes).map_err(|why| (file, why))?;
            }
            Ok(())
        };
        write().inspect_err(|_| drop(remove(&folder)))
    }

    /// The folder is this centre's, and has nothing but what this recovery has written; the index is gone until all of it is true.
    fn claim(&self, chart: &Chart) -> Result<(), SheetsError> {
        let out = &self.out;
        require_ours(out)?;
        fs::create_dir_all(out).map_err(at(out))?;
        let (marker, log) = (out.join(MARKER), chart.vault().vkey().name().to_owned());
        let text =
            format!("Sheets that a recovery of {log} writes, IN CLEAR. What stands beside this is written over.\n");
        match fs::read(&marker) {
            Ok(found) if found == text.as_bytes() => {}
            Ok(_) => return Err(SheetsError::OtherCentre(out.clone())),
            Err(why) if why.kind() == ErrorKind::NotFound => {
                write_private(&marker, text.as_bytes()).map_err(at(&marker))?;
            }
            Err(why) => return Err(at(&marker)(why)),
        }
        let index = self.index();
        remove_file(&index).map_err(at(&index))?;
        for entry in entries(out)? {
            let name = entry.file_name();
            if is_id(&name.to_string_lossy()) && !self.said.contains_key(&*name.to_string_lossy()) {
                remove(&entry.path()).map_err(at(&entry.path()))?;
            }
        }
        Ok(())
    }
}

/// Of what it says of her: neither of when it was read, nor by which clock.
fn digest_of(pack: &Pack) -> Digest {
    let mut said = serde_json::to_value(pack).unwrap_or_default();
    if let Some(said) = said.as_object_mut() {
        said.remove("as_of");
        said.get_mut("recovered").and_then(|one| one.as_object_mut()).map(|one| one.remove("clocks"));
    }
    sha256(said.to_string().as_bytes())
}

/// As [`id_of`] makes them.
fn is_id(name: &str) -> bool {
    name.len() == 16 && name.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
}

fn is_file_of_hers(name: &str) -> bool {
    let plan = name.strip_prefix("plan-").and_then(|rest| rest.strip_suffix(".dcm"));
    matches!(name, SHEET | DATA | "photo.png" | "photo.jpg") || plan.is_some_and(|n| n.parse::<u32>().is_ok())
}

fn entries(folder: &Path) -> Result<Vec<DirEntry>, SheetsError> {
    match fs::read_dir(folder) {
        Err(why) if why.kind() == ErrorKind::NotFound => Ok(Vec::new()),
        found => found.and_then(Iterator::collect).map_err(at(folder)),
    }
}

/// Nothing is there, or nothing but what a recovery has written. No link is followed.
fn require_ours(out: &Path) -> Result<(), SheetsError> {
    let all = entries(out)?;
    let whole = |name: &str| name.strip_suffix(PARTIAL).unwrap_or(name).to_owned();
    let has_marker = all.iter().any(|entry| whole(&entry.file_name().to_string_lossy()) == MARKER);
    for entry in all {
        let (name, path) = (entry.file_name().to_string_lossy().into_owned(), entry.path());
        let kind = entry.file_type().map_err(at(&path))?;
        if has_marker && kind.is_file() && matches!(whole(&name).as_str(), MARKER | INDEX) {
            continue;
        }
        if !(has_marker && kind.is_dir() && is_id(&name)) {
            return Err(SheetsError::Foreign(path));
        }
        for entry in entries(&path)? {
            let is_file = entry.file_type().map_err(at(&path))?.is_file();
            if !is_file || !is_file_of_hers(&whole(&entry.file_name().to_string_lossy())) {
                return Err(SheetsError::Foreign(entry.path()));
            }
        }
    }
    Ok(())
}

fn remove(folder: &Path) -> io::Result<()> {
    absent(fs::remove_dir_all(folder))
}

fn remove_file(file: &Path) -> io::Result<()> {
    absent(fs::remove_file(file))
}

fn absent(removed: io::Result<()>) -> io::Result<()> {
    match removed {
        Err(why) if why.kind() == ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

//! Watched folders: a console that can do nothing but write files asks the fraction gate by writing the plan that it is about to use.
//!
//! ```text
//! FOLDER/plan.dcm ──► asked/.judged ──► FOLDER/verdicts/plan.dcm.SHA.RELEASE.txt, or .VETO.txt with the findings
//!                                └────► FOLDER/asked/plan.dcm
//! ```
//! A verdict has the beginning of the file's SHA-256 in its name, so that it is of no other file; and it is of now: it is taken away after
//! half an hour, at a start, and before the same name is asked about again. No verdict is no release.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use chart::Context;
use guard::Purpose;
use kit::{Blame, Fault, OperationId};
use sha2::{Digest as _, Sha256};
use treatment::{Asked, Outcome};

use crate::centre::Centre;
use crate::config::GateFolder;

const LOOK_EVERY: Duration = Duration::from_secs(1);
/// What could not be asked is asked again.
const RETRY_AFTER: Duration = Duration::from_secs(30);
const VERDICT_LIFE: Duration = Duration::from_secs(30 * 60);
/// For a physicist to look at what was vetoed.
const ASKED_LIFE: Duration = Duration::from_secs(7 * 24 * 3_600);
/// As of a plan over HTTP.
const PLAN_BYTES_MAX: u64 = 40 * 1024 * 1024;
/// Of any kind, in one folder.
const ENTRIES_MAX: usize = 1_024;
/// Of the SHA-256, in a verdict's name.
const DIGITS: usize = 16;
const NAME_BYTES_MAX: usize = 128;
const VERDICTS: &str = "verdicts";
const ASKED: &str = "asked";

/// As a file looked: once it does twice, its writer is done.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Look {
    len: u64,
    modified: Option<SystemTime>,
}

struct Watch {
    centre: Arc<Centre>,
    folder: GateFolder,
    /// By name: as it looked, and when it may be asked about.
    looks: HashMap<String, (Look, Instant)>,
    is_gone: bool,
    has_begun: bool,
}

/// Watches all folders that the configuration names, each on a thread of its own: a share that hangs holds no other up. Ends with the
/// process.
pub fn start(centre: &Arc<Centre>) -> Result<(), Fault> {
    for folder in centre.config().gate_folders.clone() {
        let wrong = |why: String| Fault::new(Blame::Configuration, "config.gate-folder", why);
        let place = folder.folder.display().to_string();
        if !folder.folder.is_absolute() {
            return Err(wrong(format!("gate_folders: {place} does not begin with /")));
        }
        centre.chart().guard().folder(&folder.title).map_err(|_| {
            wrong(format!("gate_folders: the title of {place} is no AE title: 1 to 16 letters, digits, _ and -"))
        })?;
        let watch =
            Watch { centre: Arc::clone(centre), folder, looks: HashMap::new(), is_gone: false, has_begun: false };
        let spawned = thread::Builder::new().name("gate-folder".into()).spawn(move || watch.forever());
        spawned.map_err(|error| Fault::new(Blame::Ours, "gate-folder.thread", error.to_string()))?;
    }
    Ok(())
}

impl Watch {
    fn forever(mut self) {
        loop {
            // A share that is away is said once, and looked for on.
            match self.look() {
                Ok(()) => self.is_gone = false,
                Err(error) if !self.is_gone => {
                    tracing::error!(folder = %self.folder.folder.display(), %error, "a watched folder can't be read");
                    self.is_gone = true;
                }
                Err(_) => {}
            }
            thread::sleep(LOOK_EVERY);
        }
    }

    fn look(&mut self) -> io::Result<()> {
        let root = self.folder.folder.clone();
        for folder in [VERDICTS, ASKED] {
            match fs::create_dir(root.join(folder)) {
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
                _ => {}
            }
        }
        // What was said before this process began is of no use.
        let life = if self.has_begun { VERDICT_LIFE } else { Duration::ZERO };
        clear(&root.join(VERDICTS), life)?;
        clear(&root.join(ASKED), ASKED_LIFE)?;
        self.has_begun = true;
        let (now, mut files) = (Instant::now(), Vec::new());
        for (count, entry) in fs::read_dir(&root)?.enumerate() {
            if count >= ENTRIES_MAX {
                // Nobody knows what stands behind them: nothing that was said is to be believed.
                clear(&root.join(VERDICTS), Duration::ZERO)?;
                return Err(io::Error::other(format!("more than {ENTRIES_MAX} entries: nothing is asked about")));
            }
            let Ok(entry) = entry else { continue };
            let Some(name) = entry.file_name().to_str().map(str::to_owned).filter(|name| is_plan_name(name)) else {
                continue;
            };
            // Of a link, itself: it is no file.
            if let Some(data) = entry.metadata().ok().filter(fs::Metadata::is_file) {
                files.push((name, Look { len: data.len(), modified: data.modified().ok() }));
            }
        }
        let is_known = |name: &str, look: &Look| self.looks.get(name).is_some_and(|(before, _)| before == look);
        // First of all what was said of others under the names of new ones.
        for (name, _) in files.iter().filter(|(name, look)| !is_known(name, look)) {
            forget(&root, name)?;
        }
        let mut seen = HashMap::new();
        for (name, look) in files {
            let known = self.looks.get(&name).copied().filter(|(before, _)| *before == look);
            let due = match known {
                Some((_, due)) if due <= now => match self.ask(&root, &name) {
                    Ok(()) => continue,
                    Err(fault) => {
                        tracing::warn!(code = fault.code, "a watched folder's plan could not be asked about");
                        let why = format!(
                            "ERROR: no release\r\n\r\n{}: {}\r\nIt is asked about again.\r\n",
                            fault.code, fault.message
                        );
                        say(&root, &name, "ERROR", &why)?;
                        now + RETRY_AFTER
                    }
                },
                Some((_, due)) => due,
                None => now,
            };
            seen.insert(name, (look, due));
        }
        self.looks = seen;
        Ok(())
    }

    /// Takes the file away, judges what was taken, and says so.
    fn ask(&self, root: &Path, name: &str) -> Result<(), Fault> {
        let failed = |error: io::Error| Fault::new(Blame::Configuration, "gate-folder.file", error.to_string());
        let (path, taken) = (root.join(name), root.join(ASKED).join(".judged"));
        fs::rename(&path, &taken).map_err(failed)?;
        // A hard link that stands in both places is no file that was taken.
        if path.exists() {
            fs::remove_file(&taken).map_err(failed)?;
        }
        let judged = self.judge(&taken);
        let back = |fault: Fault| {
            // It is asked about again, unless another one has come under its name.
            if !path.exists() {
                let _ = fs::rename(&taken, &path);
            }
            fault
        };
        let (word, file, said) = judged.map_err(back)?;
        fs::rename(&taken, root.join(ASKED).join(name)).map_err(failed)?;
        // Another one under its name is asked about next: nothing stands beside it meanwhile.
        if path.exists() {
            return Ok(());
        }
        let now = self.centre.chart().now();
        let file = file.map_or_else(String::new, |file| format!("SHA-256 {file}\r\n"));
        let text = format!("{word}\r\n\r\n{said}\r\nfile {name}\r\n{file}asked {now}; taken away after 30 minutes\r\n");
        let digest = file.get(8..8 + DIGITS).unwrap_or("too-large");
        say(root, name, &format!("{digest}.{word}"), &text).map_err(failed)?;
        if path.exists() {
            forget(root, name).map_err(failed)?;
        }
        Ok(())
    }

    /// The verdict's word, the file's SHA-256 where it was read, and the reasons.
    fn judge(&self, taken: &Path) -> Result<(&'static str, Option<String>, String), Fault> {
        let failed = |error: io::Error| Fault::new(Blame::Configuration, "gate-folder.file", error.to_string());
        let is_plain = fs::symlink_metadata(taken).map_err(failed)?.is_file();
        if !is_plain {
            return Ok(("VETO", None, "not-a-plan: it is no file\r\n".to_owned()));
        }
        let mut bytes = Vec::new();
        let file = File::open(taken).map_err(failed)?;
        file.take(PLAN_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(failed)?;
        if bytes.len() as u64 > PLAN_BYTES_MAX {
            return Ok(("VETO", None, "not-a-plan: it is larger than 40 MiB\r\n".to_owned()));
        }
        let chart = self.centre.chart();
        let caller = chart.guard().folder(&self.folder.title).map_err(Fault::from)?;
        let operation = OperationId::random(chart.entropy());
        let context = Context { caller, purpose: Purpose::Treatment, operation };
        let asked = Asked { machine: self.folder.machine.clone(), ..Asked::default() };
        let verdict = self.centre.treatment().gate(&context, None, &bytes, &asked)?;
        let number = |n: Option<u32>| n.map_or_else(|| "?".to_owned(), |n| n.to_string());
        let mut said = String::new();
        if verdict.outcome == Outcome::Release {
            let due = number(verdict.fractions_given.map(|given| given.saturating_add(1)));
            said.push_str(&format!("fraction {due} of {}\r\n", number(verdict.fractions_planned)));
        }
        for finding in &verdict.findings {
            said.push_str(&format!("{}: {finding}\r\n", finding.code()).replace("\n  ", "\r\n  "));
        }
        verdict.notes.iter().for_each(|note| said.push_str(&format!("note: {note}\r\n")));
        if let Some(digest) = verdict.digest {
            said.push_str(&format!("delivery {digest}\r\n"));
        }
        let word = if verdict.outcome == Outcome::Release { "RELEASE" } else { "VETO" };
        let file = Sha256::digest(&bytes).iter().map(|byte| format!("{byte:02x}")).collect();
        Ok((word, Some(file), said))
    }
}

/// Whole files that are meant: not those that are still being written under another name.
fn is_plan_name(name: &str) -> bool {
    let is_unfinished =
        [".part", ".tmp", ".partial", ".crdownload"].iter().any(|end| name.to_ascii_lowercase().ends_with(end));
    !name.starts_with('.') && !is_unfinished && name.len() <= NAME_BYTES_MAX && !name.chars().any(char::is_control)
}

/// Takes away whatever was said of this name; on shares that don't tell capitals apart, of any of its spellings.
fn forget(root: &Path, name: &str) -> io::Result<()> {
    let begins = format!("{}.", name.to_lowercase());
    for entry in fs::read_dir(root.join(VERDICTS))?.flatten() {
        if entry.file_name().to_string_lossy().to_lowercase().starts_with(&begins) {
            match fs::remove_file(entry.path()) {
                // A folder says nothing.
                Err(error) if error.kind() != io::ErrorKind::NotFound && entry.path().is_file() => return Err(error),
                _ => {}
            }
        }
    }
    Ok(())
}

/// Whole or not at all, and in the place of whatever was said before.
fn say(root: &Path, name: &str, word: &str, text: &str) -> io::Result<()> {
    forget(root, name)?;
    let begun = root.join(VERDICTS).join(".begun.tmp");
    let mut file = File::create(&begun)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(begun, root.join(VERDICTS).join(format!("{name}.{word}.txt")))
}

/// Takes files away that are older than this, or of a time to come. What isn't a file stays.
fn clear(folder: &Path, life: Duration) -> io::Result<()> {
    for entry in fs::read_dir(folder)?.flatten() {
        let Some(data) = entry.metadata().ok().filter(fs::Metadata::is_file) else { continue };
        let is_fresh = data.modified().ok().and_then(|at| at.elapsed().ok()).is_some_and(|age| age < life);
        if !is_fresh && let Err(error) = fs::remove_file(entry.path()) {
            tracing::warn!(folder = %folder.display(), %error, "an old file stays");
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_are_asked_about() {
        assert!(is_plan_name("RP.1.2.3.dcm") && is_plan_name("plan") && is_plan_name("PLAN 7.DCM"));
        for no in [".hidden", "plan.dcm.part", "plan.TMP", "plan.partial", "a\nb", &"x".repeat(129)] {
            assert!(!is_plan_name(no), "{no}");
        }
    }

    #[test]
    fn one_verdict_at_a_time() {
        let dir = tempfile::tempdir().unwrap();
        let verdicts = dir.path().join(VERDICTS);
        fs::create_dir_all(verdicts.join("a.VETO.txt")).unwrap();
        let names = || -> Vec<_> {
            let all = fs::read_dir(&verdicts).unwrap().map(|entry| entry.unwrap());
            let files = all.filter(|entry| entry.metadata().unwrap().is_file());
            files.map(|entry| entry.file_name().into_string().unwrap()).collect()
        };
        say(dir.path(), "a", "0123.RELEASE", "x").unwrap();
        say(dir.path(), "A", "4567.VETO", "y").unwrap();
        assert_eq!(names(), ["A.4567.VETO.txt"], "whatever its capitals, and a folder in the way");
        say(dir.path(), "a.b", "89.RELEASE", "z").unwrap();
        forget(dir.path(), "a.b").unwrap();
        assert_eq!(names(), ["A.4567.VETO.txt"]);
        clear(&verdicts, Duration::from_secs(60)).unwrap();
        assert_eq!(names().len(), 1);
        let file = File::options().write(true).open(verdicts.join("A.4567.VETO.txt")).unwrap();
        let modified = file.metadata().unwrap().modified().unwrap();
        file.set_modified(modified + Duration::from_secs(3_600)).unwrap();
        clear(&verdicts, Duration::from_secs(60)).unwrap();
        assert!(names().is_empty(), "of a time to come");
    }
}

//! Watched folders: a console that can do nothing but write files asks the fraction gate by writing the plan that it is about to use.
//!
//! ```text
//! FOLDER/plan.dcm ──► asked ──► FOLDER/verdicts/plan.dcm.RELEASE.txt, or .VETO.txt with the findings, or .ERROR.txt
//!        └──► FOLDER/asked/plan.dcm
//! ```
//! A verdict is of these bytes (their SHA-256 stands in it) and of now: it is taken away after half an hour, and before the same name
//! is asked about again. No verdict is no release.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};
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
const FILES_MAX: usize = 256;
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
        let watch = Watch { centre: Arc::clone(centre), folder, looks: HashMap::new(), is_gone: false };
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
        clear(&root.join(VERDICTS), VERDICT_LIFE)?;
        clear(&root.join(ASKED), ASKED_LIFE)?;
        let (now, mut seen) = (Instant::now(), HashMap::new());
        for entry in fs::read_dir(&root)?.take(FILES_MAX) {
            let entry = entry?;
            let Some(name) = entry.file_name().to_str().map(str::to_owned).filter(|name| is_plan_name(name)) else {
                continue;
            };
            // Of a link, itself: it is no file.
            let Ok(data) = entry.metadata() else { continue };
            if !data.is_file() {
                continue;
            }
            let look = Look { len: data.len(), modified: data.modified().ok() };
            let known = self.looks.get(&name).copied().filter(|(before, _)| *before == look);
            let due = match known {
                Some((_, due)) if due <= now => match self.ask(&root, &name, data.len()) {
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
                None => {
                    // A new one: what was said of another one under this name is of no use any more.
                    forget(&root, &name)?;
                    now
                }
            };
            seen.insert(name, (look, due));
        }
        self.looks = seen;
        Ok(())
    }

    fn ask(&self, root: &Path, name: &str, len: u64) -> Result<(), Fault> {
        let failed = |error: io::Error| Fault::new(Blame::Configuration, "gate-folder.file", error.to_string());
        let path = root.join(name);
        let (mut bytes, mut said) = (Vec::new(), String::new());
        let is_too_long = len > PLAN_BYTES_MAX;
        if !is_too_long {
            File::open(&path).and_then(|file| file.take(PLAN_BYTES_MAX).read_to_end(&mut bytes)).map_err(failed)?;
        }
        let outcome = if is_too_long {
            said.push_str("not-a-plan: it is larger than 40 MiB\r\n");
            Outcome::Veto
        } else {
            let chart = self.centre.chart();
            let caller = chart.guard().folder(&self.folder.title).map_err(Fault::from)?;
            let operation = OperationId::random(chart.entropy());
            let context = Context { caller, purpose: Purpose::Treatment, operation };
            let asked = Asked { machine: self.folder.machine.clone(), ..Asked::default() };
            let verdict = self.centre.treatment().gate(&context, None, &bytes, &asked)?;
            let number = |n: Option<u32>| n.map_or_else(|| "?".to_owned(), |n| n.to_string());
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
            verdict.outcome
        };
        let word = if outcome == Outcome::Release { "RELEASE" } else { "VETO" };
        let file: String = Sha256::digest(&bytes).iter().map(|byte| format!("{byte:02x}")).collect();
        let now = self.centre.chart().now();
        // First the file goes: were it to stay, it would be asked about again and again.
        fs::rename(&path, root.join(ASKED).join(name)).map_err(failed)?;
        let text = format!(
            "{word}\r\n\r\n{said}\r\nfile {name}, SHA-256 {file}\r\nasked {now}; taken away after 30 minutes\r\n"
        );
        say(root, name, word, &text).map_err(failed)
    }
}

/// Whole files that are meant: not those that are still being written under another name.
fn is_plan_name(name: &str) -> bool {
    let is_unfinished =
        [".part", ".tmp", ".partial", ".crdownload"].iter().any(|end| name.to_ascii_lowercase().ends_with(end));
    !name.starts_with('.') && !is_unfinished && name.len() <= NAME_BYTES_MAX && !name.chars().any(char::is_control)
}

fn verdict_of(root: &Path, name: &str, word: &str) -> PathBuf {
    root.join(VERDICTS).join(format!("{name}.{word}.txt"))
}

fn forget(root: &Path, name: &str) -> io::Result<()> {
    for word in ["RELEASE", "VETO", "ERROR"] {
        match fs::remove_file(verdict_of(root, name, word)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

/// Whole or not at all, and in the place of whatever was said before.
fn say(root: &Path, name: &str, word: &str, text: &str) -> io::Result<()> {
    forget(root, name)?;
    let whole = verdict_of(root, name, word);
    let begun = root.join(VERDICTS).join(format!(".{name}.tmp"));
    let mut file = File::create(&begun)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(begun, whole)
}

/// Takes files away that are older than this.
fn clear(folder: &Path, life: Duration) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let age = entry.metadata().and_then(|data| data.modified()).ok().and_then(|at| at.elapsed().ok());
        if age.is_some_and(|age| age > life) {
            fs::remove_file(entry.path())?;
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
        fs::create_dir(dir.path().join(VERDICTS)).unwrap();
        say(dir.path(), "a", "RELEASE", "x").unwrap();
        say(dir.path(), "a", "VETO", "y").unwrap();
        let names: Vec<_> = fs::read_dir(dir.path().join(VERDICTS)).unwrap().map(|e| e.unwrap().file_name()).collect();
        assert_eq!(names, ["a.VETO.txt"]);
        clear(&dir.path().join(VERDICTS), Duration::from_secs(60)).unwrap();
        assert!(verdict_of(dir.path(), "a", "VETO").exists());
        clear(&dir.path().join(VERDICTS), Duration::ZERO).unwrap();
        assert!(!verdict_of(dir.path(), "a", "VETO").exists());
    }
}

//! Folders that are made whole or not at all.
//!
//! A folder is begun with the file [`UNFINISHED`] and done once that file is gone; a centre in an unfinished folder isn't
//! opened, so no record can be in it. That is why a command that was cut short may be repeated: what it left is cleared
//! away, and nothing else ever is.
//!
//! Building beside the folder and renaming was rejected: a data folder is often a mount point, and its servers are other
//! disks. Nothing can be renamed onto those.

use std::fs::{self, File, TryLockError};
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};

use kit::{Blame, Fault};

use crate::config::Config;

/// Stands in a folder from the first step to the last.
pub const UNFINISHED: &str = "holdfast-unfinished";
/// The file's text, before the command.
const FORM: &str = "holdfast unfinished v1: ";
/// Its text is a line.
const TEXT_BYTES_MAX: u64 = 256;
/// On every freshly made ext4 disk.
const LOST_AND_FOUND: &str = "lost+found";
/// What init, recover and the demo make, beside `gateway` and the servers.
const MADE: [&str; 3] = ["custodians-MOVE-OFFLINE", "people", "example"];
const MADE_ON_SERVERS: [&str; 2] = ["shards", "holder"];

fn failed(place: &Path, why: impl std::fmt::Display) -> Fault {
    Fault::new(Blame::Configuration, "centre.folder", format!("{}: {why}", place.display()))
}

fn conflict(code: &str, text: String, guidance: &str) -> Fault {
    Fault::new(Blame::Conflict, code, text).guidance(format!("nothing was changed; {guidance}"))
}

/// A folder that is being made. Given up (dropped without [`Self::finish`]), it is empty or absent again.
pub struct Begun {
    data: PathBuf,
    /// The folder wasn't there before.
    is_new: bool,
    is_done: bool,
    /// Also the lock: two commands at once would clear away each other's work.
    _file: File,
}

impl Begun {
    /// Begins, or begins again what the same command left unfinished. A folder that holds anything else is refused by
    /// the name of what it holds, before anything is done; only disks may be mounted in it already, empty.
    pub fn begin(data: &Path, command: &str) -> Result<Self, Fault> {
        kit::require_own(data).map_err(|e| failed(data, e))?;
        let path = data.join(UNFINISHED);
        let was_begun = path.exists();
        if !was_begun {
            refuse_unless_empty(data)?;
        }
        let is_new = !data.exists();
        fs::create_dir_all(data).map_err(|e| failed(data, e))?;
        let opened = if was_begun {
            File::options().read(true).append(true).open(&path)
        } else {
            File::options().create_new(true).append(true).open(&path)
        };
        let mut file = opened.map_err(|e| failed(&path, e))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let text = format!("another process is laying out {}", data.display());
                return Err(conflict("centre.unfinished", text, "wait for it"));
            }
            Err(TryLockError::Error(error)) => return Err(failed(&path, error)),
        }
        if was_begun {
            match begun_by(data) {
                Some(other) if other != command => {
                    let text = format!("{} was begun by `holdfast {other}` and isn't finished", data.display());
                    return Err(conflict("centre.unfinished", text, "repeat that command, or remove the folder"));
                }
                _ => clear(data).map_err(|e| failed(data, e))?,
            }
            refuse_unless_empty(data)?;
        } else {
            let text = format!("{FORM}{command}\n");
            file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).map_err(|e| failed(&path, e))?;
            sync_folder(data).map_err(|e| failed(data, e))?;
        }
        Ok(Self { data: data.to_owned(), is_new, is_done: false, _file: file })
    }

    /// The one moment from which the folder counts.
    pub fn finish(mut self) -> Result<(), Fault> {
        let end = || {
            fs::remove_file(self.data.join(UNFINISHED))?;
            sync_folder(&self.data)?;
            // The folder's own name stands in its parent.
            match self.data.parent().filter(|parent| !parent.as_os_str().is_empty()) {
                Some(parent) if self.is_new => sync_folder(parent),
                _ => Ok(()),
            }
        };
        end().map_err(|e| failed(&self.data, e))?;
        self.is_done = true;
        Ok(())
    }
}

impl Drop for Begun {
    /// Nobody is left to tell of a failure; the file that stays says that the folder doesn't count.
    fn drop(&mut self) {
        if self.is_done || clear(&self.data).is_err() {
            return;
        }
        if self.is_new {
            let servers = server_folders(&self.data).unwrap_or_default();
            let within = [self.data.join("servers"), self.data.join("gateway")];
            servers.iter().chain(&within).for_each(|folder| drop(fs::remove_dir(folder)));
        }
        let _ = fs::remove_file(self.data.join(UNFINISHED));
        if self.is_new {
            let _ = fs::remove_dir(&self.data);
        }
    }
}

/// The command that began a folder and didn't finish it.
pub fn begun_by(data: &Path) -> Option<String> {
    let path = data.join(UNFINISHED);
    let is_short = fs::metadata(&path).ok()?.len() <= TEXT_BYTES_MAX;
    let text = if is_short { fs::read_to_string(&path).unwrap_or_default() } else { String::new() };
    // Cut short while it was written, it names no command; it says all the same that nothing here counts.
    Some(text.strip_prefix(FORM).unwrap_or_default().trim().to_owned()).filter(|command| !command.is_empty())
}

/// Before a centre is opened.
pub fn require_finished(data: &Path) -> Result<(), Fault> {
    if !data.join(UNFINISHED).exists() {
        return Ok(());
    }
    let command = begun_by(data).unwrap_or_else(|| "init".to_owned());
    let text = format!("{} was begun by `holdfast {command}` and isn't finished", data.display());
    Err(Fault::new(Blame::Configuration, "centre.unfinished", text)
        .guidance(format!("no record is in it; repeat `holdfast {command}`")))
}

fn refuse_unless_empty(data: &Path) -> Result<(), Fault> {
    if Config::is_there(data) && !data.join(UNFINISHED).exists() {
        let text = format!("{} holds a centre", data.display());
        return Err(conflict("centre.exists", text, "`holdfast serve` runs it; another one needs an empty folder"));
    }
    match stranger(data, Path::new("")).map_err(|e| failed(data, e))? {
        None => Ok(()),
        Some(name) => {
            let text = format!("{} is not empty: {} stands there", data.display(), name.display());
            let guidance = "name an empty or absent folder (empty disks may be mounted at servers/server-01 …)";
            Err(conflict("centre.not-empty", text, guidance))
        }
    }
}

/// The first thing in a folder, below `at`, that is no empty place for a disk.
fn stranger(data: &Path, at: &Path) -> io::Result<Option<PathBuf>> {
    let listed = match fs::read_dir(data.join(at)) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        listed => listed?,
    };
    for entry in listed {
        let name = at.join(entry?.file_name());
        if name.ends_with(LOST_AND_FOUND) || name == Path::new(UNFINISHED) {
            continue;
        }
        let is_place = name == Path::new("gateway")
            || name == Path::new("servers")
            || (at == Path::new("servers") && is_server(&name));
        if !is_place || !data.join(&name).is_dir() {
            return Ok(Some(name));
        }
        if let Some(found) = stranger(data, &name)? {
            return Ok(Some(found));
        }
    }
    Ok(None)
}

fn is_server(path: &Path) -> bool {
    number(path).is_some()
}

/// NN of `server-NN`.
pub fn number(server: &Path) -> Option<usize> {
    let digits = server.file_name()?.to_str()?.strip_prefix("server-")?;
    digits.parse().ok().filter(|_| digits.len() == 2 && digits.bytes().all(|b| b.is_ascii_digit()))
}

/// Folders `servers/server-NN`, in their order.
pub fn server_folders(data: &Path) -> io::Result<Vec<PathBuf>> {
    let listed = match fs::read_dir(data.join("servers")) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        listed => listed?,
    };
    let mut folders = listed.map(|entry| Ok(entry?.path())).collect::<io::Result<Vec<_>>>()?;
    folders.retain(|folder| is_server(folder) && folder.is_dir());
    folders.sort();
    Ok(folders)
}

/// Takes away what a command makes, and leaves places where disks may be mounted.
fn clear(data: &Path) -> io::Result<()> {
    let mut made: Vec<PathBuf> = MADE.iter().map(|name| data.join(name)).collect();
    for folder in server_folders(data)? {
        made.extend(MADE_ON_SERVERS.iter().map(|name| folder.join(name)));
    }
    match fs::read_dir(data.join("gateway")) {
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        listed => {
            for entry in listed? {
                made.push(entry?.path());
            }
        }
    }
    for path in made.iter().filter(|path| !path.ends_with(LOST_AND_FOUND)) {
        let removed = if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) };
        removed.or_else(|e| if e.kind() == ErrorKind::NotFound { Ok(()) } else { Err(e) })?;
    }
    Ok(())
}

/// A name is durable once its folder is.
pub fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

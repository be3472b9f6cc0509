//! Brings what was written to the disk while others go on: who opens a key doesn't wait for a disk's latency.

use std::fs::File;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

/// One file's, or one after the other of those that take each other's place.
#[derive(Default)]
pub(crate) struct Syncing {
    is_busy: Arc<AtomicBool>,
    has_failed: Arc<AtomicBool>,
}

impl Syncing {
    /// Begins to sync what stands in the file now. Where the one before isn't done yet, the disk is slower than the callers, and
    /// they wait. An error comes at the next call.
    pub(crate) fn begin(&self, file: &File) -> io::Result<()> {
        if self.has_failed.swap(false, Ordering::AcqRel) {
            return Err(io::Error::other("what was written before can't be brought to the disk"));
        }
        if self.is_busy.swap(true, Ordering::AcqRel) {
            return file.sync_data();
        }
        let (is_busy, has_failed) = (Arc::clone(&self.is_busy), Arc::clone(&self.has_failed));
        let begun = file.try_clone().and_then(|file| {
            thread::Builder::new().name("keys-sync".to_owned()).spawn(move || {
                has_failed.fetch_or(file.sync_data().is_err(), Ordering::AcqRel);
                is_busy.store(false, Ordering::Release);
            })
        });
        if begun.is_err() {
            self.is_busy.store(false, Ordering::Release);
            return file.sync_data();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_fails_is_told_to_the_next_one() {
        let dir = tempfile::tempdir().unwrap();
        let (good, (_, pipe)) = (File::create(dir.path().join("file")).unwrap(), io::pipe().unwrap());
        let wait = |syncing: &Syncing| {
            while syncing.is_busy.load(Ordering::Acquire) {
                thread::yield_now();
            }
        };
        let syncing = Syncing::default();
        syncing.begin(&good).unwrap();
        wait(&syncing);
        // A pipe has no disk.
        syncing.begin(&File::from(std::os::fd::OwnedFd::from(pipe))).unwrap();
        wait(&syncing);
        assert!(syncing.begin(&good).is_err());
        syncing.begin(&good).unwrap();
    }
}

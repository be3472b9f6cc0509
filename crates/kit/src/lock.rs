//! Files that one process has at a time.

use std::fs::{File, TryLockError};
use std::thread;
use std::time::{Duration, Instant};

/// A process that another one has just started has its open files, and with them its locks, until it runs its own program.
const PATIENCE: Duration = Duration::from_millis(250);

/// Locks the file; `WouldBlock` where another process has it for longer than a process takes to start.
pub fn lock_file(file: &File) -> Result<(), TryLockError> {
    let begun = Instant::now();
    loop {
        match file.try_lock() {
            Err(TryLockError::WouldBlock) if begun.elapsed() < PATIENCE => thread::sleep(PATIENCE / 25),
            other => return other,
        }
    }
}

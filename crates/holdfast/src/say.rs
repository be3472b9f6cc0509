//! What commands print. `println!` ends the process when whoever reads has gone (`holdfast access … | head`); here a closed
//! pipe is nobody's fault, and any other failure makes the command fail: a report on a full disk is no report.

use std::fmt::Arguments;
use std::io::{self, ErrorKind, Write};
use std::sync::atomic::{AtomicBool, Ordering};

static UNWRITTEN: AtomicBool = AtomicBool::new(false);

/// A line for standard output.
macro_rules! say {
    ($($text:tt)*) => { $crate::say::line(format_args!($($text)*)) };
}

/// A line for standard error.
macro_rules! complain {
    ($($text:tt)*) => { $crate::say::complaint(format_args!($($text)*)) };
}

pub fn line(text: Arguments<'_>) {
    let mut out = io::stdout().lock();
    if let Err(error) = writeln!(out, "{text}")
        && error.kind() != ErrorKind::BrokenPipe
        && !UNWRITTEN.swap(true, Ordering::Relaxed)
    {
        complaint(format_args!("holdfast: the output can't be written: {error}"));
    }
}

/// `1 bucket`, `2 buckets`.
pub fn plural(count: usize, word: &str) -> String {
    format!("{count} {word}{}", if count == 1 { "" } else { "s" })
}

/// There is nowhere to say that this failed.
pub fn complaint(text: Arguments<'_>) {
    let _ = writeln!(io::stderr().lock(), "{text}");
}

/// Whether something that was to be said is lost.
pub fn failed() -> bool {
    let flushed = io::stdout().lock().flush();
    UNWRITTEN.load(Ordering::Relaxed) || flushed.is_err_and(|error| error.kind() != ErrorKind::BrokenPipe)
}

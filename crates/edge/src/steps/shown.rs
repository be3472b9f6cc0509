//! The plans and delivery instructions that callers have sent to the gate, for as long as a procedure step may name them.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use kit::Timestamp;

use super::whose;
use crate::dimse::Peer;

/// From showing it to the check: a patient is set up in between.
const LIFE_MS: i64 = 30 * 60_000;
/// Of all callers together: plans are under 20 MB, most of them under 1.
const BYTES_MAX: usize = 256 * 1024 * 1024;
const FILES_MAX: usize = 256;

struct One {
    of: (String, String),
    uid: String,
    at: Timestamp,
    file: Arc<Vec<u8>>,
}

/// Oldest first.
#[derive(Default)]
pub(crate) struct Shown(Mutex<VecDeque<One>>);

impl Shown {
    /// What this caller shows now takes the place of what it showed under the same UID.
    pub(crate) fn keep(&self, peer: &Peer, uid: &str, file: Vec<u8>, now: Timestamp) {
        let mut shown = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let of = whose(peer);
        shown.retain(|one| one.at.plus_ms(LIFE_MS) > now && !(one.of == of && one.uid == uid));
        let mut held: usize = shown.iter().map(|one| one.file.len()).sum();
        while held + file.len() > BYTES_MAX || shown.len() >= FILES_MAX {
            // More than fits: the oldest go, and whoever needs them shows them again.
            let Some(oldest) = shown.pop_front() else { return };
            held -= oldest.file.len();
        }
        shown.push_back(One { of, uid: uid.to_owned(), at: now, file: Arc::new(file) });
    }

    pub(crate) fn of(&self, peer: &Peer, uid: &str, now: Timestamp) -> Option<Arc<Vec<u8>>> {
        let (shown, of) = (self.0.lock().unwrap_or_else(PoisonError::into_inner), whose(peer));
        let is_it = |one: &&One| one.of == of && one.uid == uid && one.at.plus_ms(LIFE_MS) > now;
        shown.iter().find(is_it).map(|one| Arc::clone(&one.file))
    }
}

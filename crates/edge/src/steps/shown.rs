//! The plans and delivery instructions that callers have sent to the gate, for as long as a procedure step may name them.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use kit::Timestamp;

use super::whose;
use crate::dimse::Peer;

/// From showing it to the check: a patient is set up in between.
const LIFE_MS: i64 = 30 * 60_000;
/// Of one caller: plans are under 20 MB, most of them under 1. Its own oldest go.
const BYTES_OF_ONE_MAX: usize = 64 * 1024 * 1024;
const FILES_OF_ONE_MAX: usize = 32;
/// Of all callers together; past it nothing more is kept, and nobody's is put out.
const BYTES_MAX: usize = 512 * 1024 * 1024;
const FILES_MAX: usize = 512;

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
        let held = |shown: &VecDeque<One>, mine: bool| {
            let of_whom = shown.iter().filter(|one| !mine || one.of == of);
            of_whom.fold((0, 0), |(files, bytes), one| (files + 1, bytes + one.file.len()))
        };
        if file.len() > BYTES_OF_ONE_MAX {
            return;
        }
        loop {
            let (files, bytes) = held(&shown, true);
            if files < FILES_OF_ONE_MAX && bytes + file.len() <= BYTES_OF_ONE_MAX {
                break;
            }
            let Some(oldest) = shown.iter().position(|one| one.of == of) else { break };
            shown.remove(oldest);
        }
        let (files, bytes) = held(&shown, false);
        if files >= FILES_MAX || bytes + file.len() > BYTES_MAX {
            tracing::warn!(files, "too much is shown to the gate at one time: a plan isn't kept for its step");
            return;
        }
        shown.push_back(One { of, uid: uid.to_owned(), at: now, file: Arc::new(file) });
    }

    /// What was sent under this UID can't be taken for it any more.
    pub(crate) fn forget(&self, peer: &Peer, uid: &str) {
        let (mut shown, of) = (self.0.lock().unwrap_or_else(PoisonError::into_inner), whose(peer));
        shown.retain(|one| !(one.of == of && one.uid == uid));
    }

    pub(crate) fn of(&self, peer: &Peer, uid: &str, now: Timestamp) -> Option<Arc<Vec<u8>>> {
        let (shown, of) = (self.0.lock().unwrap_or_else(PoisonError::into_inner), whose(peer));
        let is_it = |one: &&One| one.of == of && one.uid == uid && one.at.plus_ms(LIFE_MS) > now;
        shown.iter().find(is_it).map(|one| Arc::clone(&one.file))
    }
}

//! What waits for the committer: groups from callers, landings from the locations' threads.

use std::collections::VecDeque;
use std::sync::mpsc::{self, SyncSender};
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;

use super::Pause;
use crate::body::Prepared;
use crate::core::lock;
use crate::error::VaultError;
use crate::parcel::Receipt;

/// Sealed payloads that wait, each in the memory that it came in; who comes with more has to wait himself. One object may
/// be larger, then it waits alone.
const WAITING_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Groups that wait. Each has a thread waiting with it.
const WAITING_GROUPS_MAX: usize = 4_096;

/// One group, ready to be committed.
pub(crate) struct Submission {
    pub(crate) entries: Vec<Prepared>,
    /// The most bytes that its heads can take.
    pub(crate) heads: usize,
    /// Sealed payload bytes.
    pub(crate) payload: usize,
    pub(crate) answer: SyncSender<Result<Vec<Receipt>, VaultError>>,
}

/// That a location has put, or failed to put, one object.
pub(crate) struct Landed {
    pub(crate) slot: usize,
    pub(crate) number: u64,
    pub(crate) term: u64,
    pub(crate) ok: bool,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<Submission>,
    bytes: usize,
    landed: Vec<Landed>,
    pause: Option<Pause>,
    closed: bool,
}

#[derive(Default)]
pub(crate) struct Inbox {
    state: Mutex<State>,
    /// Something came for the committer.
    came: Condvar,
    /// There is room for callers again.
    room: Condvar,
}

pub(crate) struct News {
    pub(crate) submissions: Vec<Submission>,
    pub(crate) landed: Vec<Landed>,
    pub(crate) pause: Option<Pause>,
    pub(crate) closed: bool,
}

impl Inbox {
    /// Waits for the answer. `capacity` is what one segment carries.
    pub(crate) fn submit(&self, entries: Vec<Prepared>, capacity: usize) -> Result<Vec<Receipt>, VaultError> {
        let (answer, answered) = mpsc::sync_channel(1);
        let heads = entries.iter().map(|entry| entry.head_bytes_max(capacity)).sum();
        let payload = entries.iter().map(Prepared::payload_bytes).sum();
        let submission = Submission { entries, heads, payload, answer };
        {
            let mut state = lock(&self.state);
            let full = |state: &State| {
                let bytes = state.bytes + submission.payload > WAITING_BYTES_MAX;
                !state.closed && !state.waiting.is_empty() && (bytes || state.waiting.len() >= WAITING_GROUPS_MAX)
            };
            while full(&state) {
                state = self.room.wait(state).unwrap_or_else(PoisonError::into_inner);
            }
            if state.closed {
                return Err(VaultError::Closed);
            }
            state.bytes += submission.payload + submission.heads;
            state.waiting.push_back(submission);
        }
        self.came.notify_one();
        answered.recv().unwrap_or(Err(VaultError::Closed))
    }

    /// Has the committer do this as soon as nothing is on its way, and waits for it. Gives the generation that it claimed.
    pub(crate) fn pause(
        &self,
        act: impl FnOnce(u32) -> (u32, Result<(), VaultError>) + Send + 'static,
    ) -> Result<u32, VaultError> {
        let (answer, answered) = mpsc::sync_channel(1);
        {
            let mut state = lock(&self.state);
            if state.closed {
                return Err(VaultError::Closed);
            }
            state.pause = Some(Pause { act: Box::new(act), answer });
        }
        self.came.notify_one();
        answered.recv().unwrap_or(Err(VaultError::Closed))
    }

    pub(crate) fn landed(&self, landed: impl Iterator<Item = Landed>) {
        lock(&self.state).landed.extend(landed);
        self.came.notify_one();
    }

    /// Nobody will answer any more: who waits is told so.
    pub(crate) fn abandon(&self) {
        self.close();
        // Their senders go with them, and so each of them hears.
        let mut state = lock(&self.state);
        state.waiting.clear();
        state.pause = None;
    }

    pub(crate) fn close(&self) {
        lock(&self.state).closed = true;
        self.came.notify_all();
        self.room.notify_all();
    }

    /// Waits for landings, for the end where nothing is on its way, or for `enough` bytes of groups (`None`: groups are left where they are); not
    /// longer than `patience`.
    pub(crate) fn wait(&self, enough: Option<usize>, patience: Option<Duration>, idle: bool) -> News {
        let mut state = lock(&self.state);
        let ready = |state: &State| {
            let group = enough.is_some_and(|enough| state.bytes >= enough || (state.closed && state.bytes > 0));
            !state.landed.is_empty() || state.pause.is_some() || group || (state.closed && idle)
        };
        match patience {
            None => {
                while !ready(&state) {
                    state = self.came.wait(state).unwrap_or_else(PoisonError::into_inner);
                }
            }
            Some(patience) => {
                let waited = self.came.wait_timeout_while(state, patience, |state| !ready(state));
                state = waited.unwrap_or_else(PoisonError::into_inner).0;
            }
        }
        let landed = std::mem::take(&mut state.landed);
        // Groups are not split over two commits without need: what a landing makes free is taken in the next round.
        let take = enough.is_some_and(|enough| state.bytes >= enough || state.closed);
        let submissions = if take {
            state.bytes = 0;
            state.waiting.drain(..).collect()
        } else {
            Vec::new()
        };
        let pause = state.pause.take();
        let closed = state.closed && state.waiting.is_empty();
        drop(state);
        self.room.notify_all();
        News { submissions, landed, pause, closed }
    }
}

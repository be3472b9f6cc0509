//! One thread for each location: whatever waits for it goes there in one batch, with one sync.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, PoisonError};

use bytes::Bytes;

use super::inbox::{Inbox, Landed};
use super::{CLAIM, FLIGHT_MAX};
use crate::core::lock;
use crate::location::{Name, Object, Put};
use crate::shelf::{Shelf, Slot};

/// What waits for one location. A location that lags so far behind the others is taken for down, and healed later. Each
/// shard that waits holds its whole segment: 14 MiB of a full one with the 3-of-14 code, 224 MiB in all.
const QUEUE_MAX: usize = 2 * FLIGHT_MAX;

pub(crate) struct Job {
    pub(super) name: Name,
    pub(super) parts: [Bytes; 2],
    pub(super) number: u64,
    pub(super) term: u64,
}

#[derive(Default)]
struct State {
    jobs: VecDeque<Job>,
    busy: bool,
    closed: bool,
}

#[derive(Default)]
pub(crate) struct Queue {
    state: Mutex<State>,
    came: Condvar,
}

impl Queue {
    /// False where the location lags too far behind.
    pub(super) fn push(&self, job: Job) -> bool {
        let mut state = lock(&self.state);
        if state.jobs.len() >= QUEUE_MAX {
            return false;
        }
        state.jobs.push_back(job);
        drop(state);
        self.came.notify_one();
        true
    }

    /// Forgets what waits. What of it belongs to segments that are acknowledged is on the list of what the location lacks.
    pub(super) fn clear(&self) {
        lock(&self.state).jobs.clear();
    }

    /// Nothing waits and nothing is being written: the location isn't hanging.
    pub(super) fn is_idle(&self) -> bool {
        let state = lock(&self.state);
        state.jobs.is_empty() && !state.busy
    }

    pub(crate) fn close(&self) {
        lock(&self.state).closed = true;
        self.came.notify_one();
    }
}

pub(crate) struct Worker {
    shelf: Arc<Shelf>,
    inbox: Arc<Inbox>,
    at: usize,
}

impl Worker {
    pub(super) fn new(shelf: Arc<Shelf>, inbox: Arc<Inbox>, at: usize) -> Self {
        Self { shelf, inbox, at }
    }

    /// Until the queue is closed and empty.
    pub(crate) fn run(self) {
        let Some(slot) = self.shelf.slots.get(self.at) else { return };
        loop {
            let jobs: Vec<Job> = {
                let mut state = lock(&slot.queue.state);
                state.busy = false;
                while state.jobs.is_empty() && !state.closed {
                    state = slot.queue.came.wait(state).unwrap_or_else(PoisonError::into_inner);
                }
                if state.jobs.is_empty() {
                    return;
                }
                state.busy = true;
                state.jobs.drain(..).collect()
            };
            self.put(slot, &jobs);
        }
    }

    fn put(&self, slot: &Slot, jobs: &[Job]) {
        let parts: Vec<[&[u8]; 2]> = jobs.iter().map(|job| job.parts.each_ref().map(|part| part.as_ref())).collect();
        let objects: Vec<Object<'_>> =
            jobs.iter().zip(&parts).map(|(job, parts)| Object { name: &job.name, parts }).collect();
        let put = slot.location.as_ref().map(|location| location.put_if_absent(&objects));
        let results = match put {
            Some(Ok(results)) => results,
            Some(Err(error)) => {
                slot.fail(&error);
                Vec::new()
            }
            None => Vec::new(),
        };
        let landed = jobs.iter().enumerate().map(|(i, job)| {
            let ok = match results.get(i) {
                Some(Put::Created) => true,
                // A segment's name has its writer's term in it: what stands there is what was to be put. A claim's
                // name may be another writer's.
                Some(Put::Exists) => job.number != CLAIM,
                None => false,
            };
            Landed { slot: self.at, number: job.number, term: job.term, ok }
        });
        self.inbox.landed(landed);
    }
}

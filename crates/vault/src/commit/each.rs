//! Asks all locations at once, and waits for none longer than a write would.

use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Instant;

use super::{FLOOR_WAIT, STRAGGLER_WAIT, spawn};
use crate::shelf::{Shelf, Slot};

/// True for those that did it in time. Who isn't there isn't asked; one that lets everybody wait, once `enough` have done it, is
/// taken for down: it is healed when it answers.
pub(crate) fn at_each(
    shelf: &Arc<Shelf>,
    enough: usize,
    act: impl Fn(usize, &Slot) -> bool + Send + Sync + 'static,
) -> Vec<bool> {
    let (act, (said, heard)) = (Arc::new(act), mpsc::channel());
    let mut waiting: Vec<usize> = Vec::new();
    for (at, slot) in shelf.slots.iter().enumerate().filter(|(_, slot)| slot.location.is_some()) {
        if slot.state().down {
            continue;
        }
        let (shelf, act, said) = (Arc::clone(shelf), Arc::clone(&act), said.clone());
        let ask = move || {
            let done = shelf.slots.get(at).is_some_and(|slot| act(at, slot));
            // Nobody may be waiting any more.
            let _ = said.send((at, done));
        };
        match spawn("vault-ask", ask) {
            Ok(_) => waiting.push(at),
            Err(error) => tracing::error!(location = slot.id, %error, "it wasn't asked"),
        }
    }
    drop(said);
    let (mut done, since) = (vec![false; shelf.slots.len()], Instant::now());
    while !waiting.is_empty() {
        let is_enough = done.iter().filter(|done| **done).count() >= enough;
        let patience = if is_enough { STRAGGLER_WAIT } else { FLOOR_WAIT };
        match heard.recv_timeout(patience.saturating_sub(since.elapsed())) {
            Ok((at, did)) => {
                waiting.retain(|one| *one != at);
                done.iter_mut().skip(at).take(1).for_each(|done| *done = did);
            }
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => break,
        }
    }
    for slot in waiting.into_iter().filter_map(|at| shelf.slots.get(at)) {
        tracing::warn!(location = slot.id, "a location is too slow");
        slot.state().down = true;
    }
    done
}

/// What each one gives, asked at once; `None` where that panicked. Waits for all: a call over the network has its own patience,
/// a folder has none.
pub(crate) fn all_at_once<T: Sync, R: Send>(of: &[T], ask: impl Fn(usize, &T) -> R + Sync) -> Vec<Option<R>> {
    let ask = &ask;
    thread::scope(|scope| {
        let asked: Vec<_> = of.iter().enumerate().map(|(at, one)| scope.spawn(move || ask(at, one))).collect();
        asked.into_iter().map(|thread| thread.join().ok()).collect()
    })
}

//! Makes shards again: of one segment at every location that lacks it, and in the background for who was down.

use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;

use super::worker::Queue;
use crate::code::Coder;
use crate::core::{Core, lock};
use crate::error::VaultError;
use crate::header::{self, Header, segment_name};
use crate::location::{Object, Put};
use crate::shelf::{Found, Located, REPAIRS_MAX, Shelf};

/// How often a location that is down is asked again.
const PROBE: Duration = Duration::from_millis(1_000);

/// Segments healed at one location between two looks at the others.
const HEALED_AT_ONCE: usize = 64;

/// The beginning that a segment's objects share, and its n shards, from k good ones; compared with the header's hashes.
pub(crate) fn remake(
    core: &Core,
    coder: &mut Coder,
    segment: u64,
    located: &Located,
) -> Result<(Bytes, Vec<Bytes>), VaultError> {
    let (header, body) = core.shelf.read(segment, located)?;
    let shards = coder.encode(body)?;
    let hashes = shards.iter().map(|shard| kit::Digest(*blake3::hash(shard).as_bytes()));
    if !hashes.eq(header.shards.iter().copied()) {
        return Err(VaultError::Segment { segment, what: "its shards, made again" });
    }
    let bytes = header.to_bytes();
    // Ed25519 is deterministic (RFC 8032): the same header has the same signature.
    let signature = core.secrets.log.sign_bytes(&Header::signed_bytes(&bytes));
    Ok((header::prefix(&bytes, &signature), shards))
}

/// Puts one object where a good one is missing: under its own name where that is free, else beside it. True where a good
/// one stands there afterwards.
pub(crate) fn put_shard(
    shelf: &Shelf,
    at: usize,
    segment: u64,
    located: &Located,
    object: [&[u8]; 2],
) -> Result<bool, VaultError> {
    let Some(slot) = shelf.slots.get(at) else { return Ok(false) };
    let Some(location) = &slot.location else { return Ok(false) };
    for repair in 0..=REPAIRS_MAX {
        let name = segment_name(segment, located.term, repair)?;
        let put = location.put_if_absent(&[Object { name: &name, parts: &object }]);
        match put.inspect_err(|error| slot.fail(error))?.first() {
            Some(Put::Created) => return Ok(true),
            _ => {
                if is_good(shelf, at, segment, located) {
                    return Ok(true);
                }
            }
        }
    }
    Ok(false)
}

/// The right shard, in its own place.
fn is_good(shelf: &Shelf, at: usize, segment: u64, located: &Located) -> bool {
    matches!(shelf.examine(at, segment, located, &mut None, true), Found::Good { what: None, .. })
}

/// Puts one segment wherever it is missing or damaged and can be put; gives the number of locations that have it good.
pub(crate) fn restore(core: &Core, coder: &mut Coder, segment: u64) -> Result<usize, VaultError> {
    let located = core.catalogue.get(segment).ok_or(VaultError::ChainBroken { segment })?;
    let bad: Vec<usize> =
        (0..core.shelf.slots.len()).filter(|&at| !is_good(&core.shelf, at, segment, &located)).collect();
    let mut good = core.shelf.slots.len() - bad.len();
    if !bad.is_empty() {
        let (prefix, shards) = remake(core, coder, segment, &located)?;
        for at in bad {
            let shard = shards.get(at).map(Bytes::as_ref).unwrap_or_default();
            good += usize::from(put_shard(&core.shelf, at, segment, &located, [&prefix, shard]).unwrap_or(false));
        }
    }
    Ok(good)
}

/// Asks those who are down, and brings them what they missed.
pub(crate) struct Healer {
    core: Arc<Core>,
    queues: Vec<Option<Arc<Queue>>>,
    closed: Arc<(Mutex<bool>, Condvar)>,
}

impl Healer {
    pub(crate) fn new(core: Arc<Core>, queues: Vec<Option<Arc<Queue>>>, closed: Arc<(Mutex<bool>, Condvar)>) -> Self {
        Self { core, queues, closed }
    }

    pub(crate) fn run(self) {
        let mut coder = Coder::new(self.core.shelf.shape);
        loop {
            let (closed, bell) = &*self.closed;
            let waited = bell.wait_timeout_while(lock(closed), PROBE, |closed| !*closed);
            if *waited.unwrap_or_else(PoisonError::into_inner).0 {
                return;
            }
            for at in 0..self.core.shelf.slots.len() {
                // A location whose thread still hangs in a write would hang this one, too.
                if self.queues.get(at).and_then(Option::as_ref).is_some_and(|queue| queue.is_idle()) {
                    self.heal(&mut coder, at);
                }
            }
        }
    }

    fn heal(&self, coder: &mut Coder, at: usize) {
        let Some(slot) = self.core.shelf.slots.get(at) else { return };
        let (down, lacks) = {
            let state = slot.state();
            (state.down, state.missing.first())
        };
        if !down && lacks.is_none() {
            return;
        }
        let Some(Ok(_)) = slot.location.as_ref().map(|location| location.stats()) else { return };
        for _ in 0..HEALED_AT_ONCE {
            let Some(segment) = slot.state().missing.first() else { break };
            match self.core.catalogue.get(segment) {
                // It was refused, and so it is nobody's; or it isn't acknowledged yet, and then its writer still cares.
                None => break,
                Some(located) => {
                    let Ok((prefix, shards)) = remake(&self.core, coder, segment, &located) else { return };
                    let shard = shards.get(at).map(Bytes::as_ref).unwrap_or_default();
                    if put_shard(&self.core.shelf, at, segment, &located, [&prefix, shard]).is_err() {
                        return;
                    }
                    tracing::info!(location = slot.id, segment, "healed");
                }
            }
            slot.state().missing.remove(segment);
        }
        let mut state = slot.state();
        if state.down {
            tracing::info!(location = slot.id, "a location is back");
        }
        state.down = false;
    }
}

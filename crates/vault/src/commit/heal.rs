//! Makes shards again: of one segment at every location that lacks it, and in the background for who was down.

use std::collections::HashSet;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;

use crate::code::{Coded, Coder};
use crate::core::{Core, lock};
use crate::error::VaultError;
use crate::header::{self, Header, segment_name};
use crate::location::{Object, Put};
use crate::shelf::{Found, Located, REPAIRS_MAX, Shelf};
use crate::survey::Survey;

/// How often a location that is down is asked again.
const PROBE: Duration = Duration::from_millis(1_000);

/// Segments healed at one location between two looks at the others.
const HEALED_AT_ONCE: usize = 64;

/// The beginning that a segment's objects share, and its n shards, from k good ones; compared with the header's hashes.
pub(crate) fn remake(
    core: &Core,
    shelf: &Shelf,
    coder: &mut Coder,
    segment: u64,
    located: &Located,
) -> Result<(Bytes, Vec<Bytes>), VaultError> {
    let (header, body) = shelf.read(segment, located)?;
    let Coded { shards, hashes } = coder.encode(body)?;
    if hashes != header.shards {
        return Err(VaultError::Segment { segment, what: "its shards, made again" });
    }
    let bytes = header.to_bytes();
    // Ed25519 is deterministic (RFC 8032): the same header has the same signature.
    let signature = core.secrets.log.sign_bytes(&Header::signed_bytes(&bytes));
    Ok((header::prefix(&bytes, &signature), shards))
}

/// Makes one location's shard again, and puts it there. True where a good one stands there afterwards.
pub(crate) fn bring(
    core: &Core,
    shelf: &Shelf,
    coder: &mut Coder,
    at: usize,
    segment: u64,
    located: &Located,
) -> Result<bool, VaultError> {
    let (prefix, shards) = remake(core, shelf, coder, segment, located)?;
    let shard = shards.get(at).map(Bytes::as_ref).unwrap_or_default();
    put_shard(shelf, at, segment, located, [&prefix, shard])
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
        let name = segment_name(shelf.stand, segment, located.term, repair)?;
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
pub(crate) fn restore(core: &Core, shelf: &Shelf, coder: &mut Coder, segment: u64) -> Result<usize, VaultError> {
    let located = shelf.catalogue.get(segment).ok_or(VaultError::ChainBroken { segment })?;
    let bad: Vec<usize> = (0..shelf.slots.len()).filter(|&at| !is_good(shelf, at, segment, &located)).collect();
    let mut good = shelf.slots.len() - bad.len();
    if !bad.is_empty() {
        let (prefix, shards) = remake(core, shelf, coder, segment, &located)?;
        for at in bad {
            let shard = shards.get(at).map(Bytes::as_ref).unwrap_or_default();
            if put_shard(shelf, at, segment, &located, [&prefix, shard]).unwrap_or(false) {
                shelf.slots.get(at).iter().for_each(|slot| slot.state().missing.remove(segment));
                good += 1;
            }
        }
    }
    Ok(good)
}

/// Asks those who are down, and brings everyone what he lacks.
pub(crate) struct Healer {
    core: Arc<Core>,
    shelf: Arc<Shelf>,
    closed: Arc<(Mutex<bool>, Condvar)>,
    coder: Coder,
    /// What could not be healed, by location: it isn't tried again until a location comes back.
    passed_over: HashSet<(usize, u64)>,
}

impl Healer {
    pub(crate) fn new(core: Arc<Core>, closed: Arc<(Mutex<bool>, Condvar)>) -> Self {
        let shelf = core.shelf();
        let coder = Coder::new(shelf.shape);
        Self { core, shelf, closed, coder, passed_over: HashSet::new() }
    }

    pub(crate) fn run(mut self) {
        let closed = Arc::clone(&self.closed);
        let (closed, bell) = &*closed;
        let mut patience = Duration::ZERO;
        loop {
            let waited = bell.wait_timeout_while(lock(closed), patience, |closed| !*closed);
            if *waited.unwrap_or_else(PoisonError::into_inner).0 {
                return;
            }
            let shelf = self.core.shelf();
            if !Arc::ptr_eq(&shelf, &self.shelf) {
                (self.coder, self.shelf) = (Coder::new(shelf.shape), Arc::clone(&shelf));
                self.passed_over.clear();
            }
            let mut healed = false;
            for (at, slot) in shelf.slots.iter().enumerate() {
                // A location whose thread still hangs in a write would hang this one, too.
                if slot.location.is_some() && slot.queue.is_idle() {
                    healed |= self.heal(at);
                }
            }
            // As long as there is something to do, nobody waits.
            patience = if healed { Duration::ZERO } else { PROBE };
        }
    }

    /// True where something was healed.
    fn heal(&mut self, at: usize) -> bool {
        let (core, shelf) = (Arc::clone(&self.core), Arc::clone(&self.shelf));
        let Some(slot) = shelf.slots.get(at) else { return false };
        let Some(location) = &slot.location else { return false };
        let (asked_anew, lacks) = {
            let state = slot.state();
            (state.down || state.doubted, !state.bare && state.missing.first().is_some())
        };
        if (!asked_anew && !lacks) || location.stats().is_err() || (asked_anew && !self.welcome(at)) {
            return false;
        }
        if slot.state().bare {
            return false;
        }
        let (mut healed, mut from) = (false, 0);
        for _ in 0..HEALED_AT_ONCE {
            let next = slot.state().missing.first_from(from);
            let Some(segment) = next else { break };
            from = segment + 1;
            let Some(located) = shelf.catalogue.get(segment) else { break };
            if self.passed_over.contains(&(at, segment)) {
                continue;
            }
            match bring(&core, &shelf, &mut self.coder, at, segment, &located) {
                Ok(true) => {
                    tracing::info!(location = slot.id, segment, "healed");
                    let mut state = slot.state();
                    state.missing.remove(segment);
                    state.healed += 1;
                    healed = true;
                }
                Err(VaultError::Location(_)) => return healed,
                // All its names are taken by what is no shard, or too few are left to make it again.
                Ok(false) | Err(_) => drop(self.passed_over.insert((at, segment))),
            }
        }
        if slot.state().is_whole()
            && let Some(claim) = lock(&core.claimed).clone()
            && let Err(error) = claim.put(&**location)
        {
            slot.fail(&error);
        }
        healed
    }

    /// A location that was down answers again, or has fewer objects than it had: what it lacks is asked anew, since it may not be
    /// the one that went.
    fn welcome(&mut self, at: usize) -> bool {
        let (core, shelf) = (&self.core, &self.shelf);
        let Some(slot) = shelf.slots.get(at) else { return false };
        let segments = shelf.catalogue.segments();
        let mut survey = Survey::at(shelf, &core.centre(), at);
        if survey.responding() == 0 {
            return false;
        }
        survey.catch_up(shelf, &core.centre());
        survey.give(shelf, &core.centre());
        if !survey.is_told(at) {
            return false;
        }
        let lacks: Vec<u64> = (0..segments)
            .filter(|&segment| shelf.catalogue.get(segment).is_some_and(|one| !survey.lists(at, segment, one.term)))
            .collect();
        self.passed_over.clear();
        tracing::info!(location = slot.id, lacks = lacks.len(), "a location is back");
        let mut state = slot.state();
        lacks.into_iter().for_each(|segment| state.missing.insert(segment));
        (state.down, state.doubted, state.bare) = (false, false, survey.is_bare(at));
        true
    }
}

//! The vault's locations together: reads objects, judges them, and remembers who is down and what he lacks.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, mpsc};
use std::time::{Duration, Instant};

use aws_lc_rs::signature::{ED25519, UnparsedPublicKey};
use bytes::Bytes;
use kit::{Digest, Id16};

use crate::body::EMPTY_BODY_BYTES;
use crate::code;
use crate::commit::Queue;
use crate::damage::{DamageList, What};
use crate::error::VaultError;
use crate::header::{self, HEADER_GUESS_BYTES, Header, Previous, SIGNATURE_BYTES, Stand, segment_name};
use crate::location::{Location, LocationError};
use crate::seal::TAG_BYTES;
use crate::shape::Shape;

/// How often an object that was altered again after it was healed is written anew beside itself.
pub(crate) const REPAIRS_MAX: u8 = 8;

/// A location that takes longer gets company: within a hospital an answer takes milliseconds.
const LATE: Duration = Duration::from_millis(300);

/// So long it is asked behind the others.
const LATE_FOR: Duration = Duration::from_secs(30);

/// What a location gives.
type Got = Result<Option<Vec<u8>>, LocationError>;

/// One location of the vault, in its place; `None` where it was not given.
pub(crate) struct Slot {
    pub(crate) id: String,
    pub(crate) location: Option<Arc<dyn Location>>,
    /// What waits to be put there, where the vault is open for writing.
    pub(crate) queue: Queue,
    state: Mutex<SlotState>,
}

#[derive(Default)]
pub(crate) struct SlotState {
    /// It gave an error, or lets everybody wait: nothing is sent there until it has answered again.
    pub(crate) down: bool,
    pub(crate) last_error: Option<String>,
    /// When it last let a reader wait.
    late: Option<Instant>,
    /// What it has is to be asked anew: somebody has seen that it isn't what it was.
    pub(crate) doubted: bool,
    /// It shows no centre record: an empty one in its place, which a scrub has to fill. Nothing is sent there.
    pub(crate) bare: bool,
    /// Segments of the log that it lacks. As long as there is one, nothing later counts as durable there: of a survivor
    /// with a hole, what stands behind the hole is worth less than a receipt says.
    pub(crate) missing: Ranges,
    /// Segments that it was brought since the vault was opened.
    pub(crate) healed: u64,
}

impl SlotState {
    /// It can be written, and lacks nothing.
    pub(crate) fn is_whole(&self) -> bool {
        !self.down && !self.bare && self.missing.first().is_none()
    }

    /// Whom a reader asks first: the lowest.
    fn rank(&self) -> u8 {
        let is_late = self.late.is_some_and(|since| since.elapsed() < LATE_FOR);
        if self.down { 2 } else { u8::from(is_late) }
    }

    /// It lacks nothing of the log before this segment.
    pub(crate) fn has_all_before(&self, segment: u64) -> bool {
        !self.bare && self.missing.first().is_none_or(|first| first >= segment)
    }
}

impl Slot {
    pub(crate) fn new(id: String, location: Option<Arc<dyn Location>>) -> Self {
        let down = location.is_none();
        let state = Mutex::new(SlotState { down, ..SlotState::default() });
        Self { id, location, queue: Queue::default(), state }
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, SlotState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// It lets a reader wait.
    fn lag(&self) {
        let was = self.state().late.replace(Instant::now());
        if was.is_none_or(|since| since.elapsed() >= LATE_FOR) {
            tracing::warn!(location = self.id, "a location lets readers wait");
        }
    }

    pub(crate) fn fail(&self, error: &LocationError) {
        let mut state = self.state();
        if !state.down {
            tracing::warn!(location = self.id, %error, "a location is down");
        }
        state.down = true;
        state.last_error = Some(error.to_string());
    }
}

/// Numbers, kept as stretches: a location that is down for a week lacks one stretch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Ranges(BTreeMap<u64, u64>);

impl Ranges {
    pub(crate) fn insert(&mut self, number: u64) {
        let before = self.0.range(..=number).next_back().map(|(&start, &end)| (start, end));
        let start = match before {
            Some((_, end)) if end > number => return,
            Some((start, end)) if end == number => start,
            _ => number,
        };
        let end = self.0.remove(&(number + 1)).unwrap_or(number + 1);
        self.0.insert(start, end);
    }

    pub(crate) fn remove(&mut self, number: u64) {
        let Some((&start, &end)) = self.0.range(..=number).next_back() else { return };
        if end <= number {
            return;
        }
        self.0.remove(&start);
        if start < number {
            self.0.insert(start, number);
        }
        if number + 1 < end {
            self.0.insert(number + 1, end);
        }
    }

    pub(crate) fn first(&self) -> Option<u64> {
        self.0.keys().next().copied()
    }

    /// The first that is `number` or more.
    pub(crate) fn first_from(&self, number: u64) -> Option<u64> {
        let inside = self.0.range(..=number).next_back().filter(|(_, end)| **end > number).map(|_| number);
        inside.or_else(|| self.0.range(number..).next().map(|(start, _)| *start))
    }

    pub(crate) fn len(&self) -> u64 {
        self.0.iter().map(|(start, end)| end - start).sum()
    }
}

/// One segment of the chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Located {
    pub(crate) term: u64,
    /// BLAKE3 of its header.
    pub(crate) hash: Digest,
    pub(crate) first: u64,
    pub(crate) count: u32,
    pub(crate) body_len: u32,
}

impl Located {
    pub(crate) fn new(header: &Header, hash: Digest) -> Self {
        let count = u32::try_from(header.leaves.len()).unwrap_or(u32::MAX);
        Self { term: header.term, hash, first: header.first, count, body_len: header.body_len }
    }

    pub(crate) fn as_previous(&self) -> Previous {
        Previous { term: self.term, hash: self.hash }
    }

    /// It holds nothing: it was written for what its header says of those before it.
    pub(crate) fn is_seal(&self) -> bool {
        self.count == 0 && self.body_len as usize == EMPTY_BODY_BYTES + TAG_BYTES
    }

    /// A segment whose header no location shows; its entries are those between its neighbours.
    pub(crate) fn lost(term: u64, first: u64, end: u64) -> Self {
        let count = u32::try_from(end.saturating_sub(first)).unwrap_or(u32::MAX);
        Self { term, hash: Digest([0; 32]), first, count, body_len: 0 }
    }

    pub(crate) fn is_lost(&self) -> bool {
        self.hash == Digest([0; 32])
    }

    pub(crate) fn end(&self) -> u64 {
        self.first + u64::from(self.count)
    }
}

/// The chain of segments, 0 first.
#[derive(Default)]
pub(crate) struct Catalogue(RwLock<Vec<Located>>);

impl Catalogue {
    fn new(segments: Vec<Located>) -> Self {
        Self(RwLock::new(segments))
    }

    fn read(&self) -> std::sync::RwLockReadGuard<'_, Vec<Located>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// These, in place of what it had.
    pub(crate) fn set(&self, segments: Vec<Located>) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = segments;
    }

    /// From which segment on they have which term.
    pub(crate) fn terms(&self) -> Vec<(u64, u64)> {
        let mut terms: Vec<(u64, u64)> = Vec::new();
        for (number, located) in (0..).zip(&*self.read()) {
            if terms.last().is_none_or(|(_, term)| *term != located.term) {
                terms.push((number, located.term));
            }
        }
        terms
    }

    pub(crate) fn push(&self, located: Located) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).push(located);
    }

    pub(crate) fn get(&self, segment: u64) -> Option<Located> {
        self.read().get(usize::try_from(segment).ok()?).copied()
    }

    pub(crate) fn segments(&self) -> u64 {
        self.read().len() as u64
    }

    pub(crate) fn last(&self) -> Option<(u64, Located)> {
        let segments = self.read();
        segments.last().map(|located| (segments.len() as u64 - 1, *located))
    }

    /// What the next segment names as the one before it.
    pub(crate) fn tip(&self) -> Option<Previous> {
        self.last().map(|(_, located)| located.as_previous())
    }

    /// Entries in the log.
    pub(crate) fn entries(&self) -> u64 {
        self.read().last().map_or(0, Located::end)
    }

    /// The segment of an entry.
    pub(crate) fn segment_of(&self, index: u64) -> Option<(u64, Located)> {
        let segments = self.read();
        let at = segments.partition_point(|located| located.end() <= index);
        segments.get(at).map(|located| (at as u64, *located))
    }
}

/// One object as it was found.
pub(crate) enum Found {
    /// A good shard. `what` says that it stands at the wrong location.
    Good {
        number: usize,
        shard: Bytes,
        what: Option<What>,
    },
    Bad(What),
}

pub(crate) struct Shelf {
    pub(crate) vault: Id16,
    pub(crate) stand: Stand,
    pub(crate) shape: Shape,
    pub(crate) slots: Vec<Slot>,
    /// The segments of the log as they stand here.
    pub(crate) catalogue: Catalogue,
    log: [u8; 32],
    /// What reading came upon since the start.
    pub(crate) damage: Mutex<DamageList>,
}

impl Shelf {
    pub(crate) fn new(vault: Id16, stand: Stand, shape: Shape, slots: Vec<Slot>, log: [u8; 32]) -> Self {
        Self { vault, stand, shape, slots, catalogue: Catalogue::default(), log, damage: Mutex::default() }
    }

    /// With these segments standing there.
    pub(crate) fn holding(self, segments: Vec<Located>) -> Self {
        Self { catalogue: Catalogue::new(segments), ..self }
    }

    /// Locations that can be written, as far as is known, and lack nothing.
    pub(crate) fn whole(&self) -> usize {
        self.slots.iter().filter(|slot| slot.state().is_whole()).count()
    }

    /// The vault's log key signed these bytes.
    pub(crate) fn has_signed(&self, bytes: &[u8], signature: &[u8; SIGNATURE_BYTES]) -> bool {
        UnparsedPublicKey::new(&ED25519, self.log).verify(bytes, signature).is_ok()
    }

    pub(crate) fn is_signed(&self, header: &[u8], signature: &[u8; SIGNATURE_BYTES]) -> bool {
        self.has_signed(&Header::signed_bytes(header), signature)
    }

    /// A header that this vault's log key signed.
    pub(crate) fn signed_header(&self, parts: &header::Parts<'_>) -> Option<Header> {
        let header = Header::from_bytes(parts.header).ok()?;
        let ours = header.vault == self.vault && header.has_shape(self.shape);
        (ours && self.is_signed(parts.header, parts.signature)).then_some(header)
    }

    /// The beginning of an object, with its whole header, or nothing.
    pub(crate) fn beginning(&self, at: usize, segment: u64, term: u64) -> Option<Vec<u8>> {
        let slot = self.slots.get(at)?;
        let location = slot.location.as_ref()?;
        let name = segment_name(self.stand, segment, term, 0).ok()?;
        let start = location.get(&name, Some(0..HEADER_GUESS_BYTES)).ok()??;
        let len = header::prefix_len(&start)?;
        if len <= start.len() {
            return Some(start);
        }
        location.get(&name, Some(0..len as u64)).ok()?
    }

    /// The header with the expected hash, from whichever location shows it.
    pub(crate) fn header(&self, segment: u64, term: u64, hash: Digest) -> Option<Header> {
        let good = |bytes: &[u8]| {
            let parts = header::parts(bytes)?;
            (Header::hash(parts.header) == hash).then(|| Header::from_bytes(parts.header).ok()).flatten()
        };
        let n = self.slots.len();
        // Start at another location for each segment: all of them share the work.
        let order = (0..n).map(|i| (i + usize::try_from(segment).unwrap_or(0)) % n.max(1));
        order.clone().find_map(|at| good(&self.beginning(at, segment, term)?)).or_else(|| {
            // Perhaps it stands only in an object that was healed.
            order.flat_map(|at| (1..=REPAIRS_MAX).map(move |repair| (at, repair))).find_map(|(at, repair)| {
                let location = self.slots.get(at)?.location.as_ref()?;
                good(&location.get(&segment_name(self.stand, segment, term, repair).ok()?, None).ok()??)
            })
        })
    }

    /// What stands at one location of one segment. `header` is filled by the first good one.
    pub(crate) fn examine(
        &self,
        at: usize,
        segment: u64,
        located: &Located,
        header: &mut Option<Header>,
        strict: bool,
    ) -> Found {
        self.examine_from(None, at, segment, located, header, strict)
    }

    /// As [`Self::examine`]; `answer` is what the location gave for the first name, where it has been asked.
    fn examine_from(
        &self,
        mut answer: Option<Got>,
        at: usize,
        segment: u64,
        located: &Located,
        header: &mut Option<Header>,
        strict: bool,
    ) -> Found {
        let Some(slot) = self.slots.get(at) else { return Found::Bad(What::Unreachable) };
        let Some(location) = &slot.location else { return Found::Bad(What::Unreachable) };
        let (mut first, mut swapped) = (None, None);
        for repair in 0..=REPAIRS_MAX {
            let Ok(name) = segment_name(self.stand, segment, located.term, repair) else { break };
            // The shard is compared with the hash in the header below; who checks everything wants the location's word, too.
            let object = match answer.take() {
                Some(answer) => answer,
                None if strict => location.get(&name, None),
                None => location.get_to_compare(&name),
            };
            let what = match object {
                Ok(Some(object)) => match self.judge(at, segment, located, object.into(), header, strict) {
                    Found::Bad(what) => what,
                    // It helps, but perhaps the right one was put beside it.
                    Found::Good { number, shard, what: Some(what) } => {
                        swapped.get_or_insert(Found::Good { number, shard, what: Some(what) });
                        what
                    }
                    good => return good,
                },
                Ok(None) => {
                    first.get_or_insert(What::Missing);
                    break;
                }
                Err(LocationError::Damaged { .. }) => What::Altered,
                Err(error) => {
                    slot.fail(&error);
                    What::Unreachable
                }
            };
            first.get_or_insert(what);
            if what == What::Unreachable {
                break;
            }
        }
        swapped.unwrap_or(Found::Bad(first.unwrap_or(What::Missing)))
    }

    fn judge(
        &self,
        at: usize,
        segment: u64,
        located: &Located,
        object: Bytes,
        known: &mut Option<Header>,
        strict: bool,
    ) -> Found {
        let Some(parts) = header::parts(&object) else {
            let whole = header::prefix_len(&object).is_none_or(|len| object.len() >= len);
            return Found::Bad(if whole && object.len() >= 4 { What::Altered } else { What::Truncated });
        };
        if Header::hash(parts.header) != located.hash {
            return Found::Bad(match self.signed_header(&parts) {
                Some(other) if other.number != segment => What::Swapped,
                Some(_) => What::Stale,
                None => What::Altered,
            });
        }
        // The chain vouches for this header; whoever checks everything checks the signature, too.
        if strict && !self.is_signed(parts.header, parts.signature) {
            return Found::Bad(What::Altered);
        }
        if known.is_none() {
            *known = Header::from_bytes(parts.header).ok();
        }
        let Some(header) = known else { return Found::Bad(What::Altered) };
        if parts.shard.len() < header.shard_len() {
            return Found::Bad(What::Truncated);
        }
        match header.shard_number(parts.shard, at) {
            Some(number) => {
                let what = (number != at).then_some(What::Swapped);
                Found::Good { number, shard: object.slice_ref(parts.shard), what }
            }
            None => Found::Bad(What::Altered),
        }
    }

    /// The segment's header and sealed body, from the first k good shards. What is damaged on the way is noted.
    pub(crate) fn read(&self, segment: u64, located: &Located) -> Result<(Header, Vec<u8>), VaultError> {
        let (k, mut header) = (self.shape.k(), None);
        let mut shards: Vec<(usize, Bytes)> = Vec::with_capacity(k);
        // The first k shards are the body itself; who let others wait is asked later, who is known to be down last.
        let mut order: Vec<usize> = (0..self.slots.len()).collect();
        order.sort_by_key(|&at| self.slots.get(at).map(|slot| slot.state().rank()));
        let mut order = order.into_iter();
        let name = segment_name(self.stand, segment, located.term, 0)?;
        let (give, answers) = mpsc::channel();
        let (mut waiting, mut late) = (Vec::with_capacity(k), 0);
        loop {
            // As many are under way as are missing, and another one for each that is late.
            while shards.len() + waiting.len() < k + late
                && let Some(at) = order.next()
            {
                if let Some(location) = self.slots.get(at).and_then(|slot| slot.location.as_ref()) {
                    let give = give.clone();
                    waiting.push(at);
                    // Whoever stopped listening has enough.
                    location.ask(&name, Box::new(move |got| drop(give.send((at, got)))));
                }
            }
            if shards.len() == k || waiting.is_empty() {
                break;
            }
            let Ok((at, got)) = answers.recv_timeout(LATE) else {
                late = waiting.len();
                waiting.iter().filter_map(|at| self.slots.get(*at)).for_each(Slot::lag);
                continue;
            };
            waiting.retain(|waits| *waits != at);
            let (what, good) = match self.examine_from(Some(got), at, segment, located, &mut header, false) {
                Found::Good { number, shard, what } => (what, Some((number, shard))),
                Found::Bad(what) => (Some(what), None),
            };
            if let Some(what) = what {
                self.note(at, Some(segment), what);
            }
            if let Some((number, shard)) = good
                && shards.iter().all(|(have, _)| *have != number)
            {
                shards.push((number, shard));
            }
        }
        match header {
            Some(header) if shards.len() == k => {
                let body = code::decode(self.shape, located.body_len as usize, &shards)?;
                Ok((header, body))
            }
            _ => Err(VaultError::Unreadable { segment, good: shards.len(), need: k }),
        }
    }

    /// Puts damage on the list; who is simply not there is no damage to his objects.
    pub(crate) fn note(&self, at: usize, segment: Option<u64>, what: What) {
        let Some(slot) = self.slots.get(at) else { return };
        if what != What::Unreachable {
            tracing::warn!(location = slot.id, ?segment, %what, "damage");
            let mut damage = self.damage.lock().unwrap_or_else(PoisonError::into_inner);
            // A record that is read a thousand times is damaged once.
            if !damage.lists(&slot.id, segment, what) {
                damage.push(&slot.id, segment, what);
            }
        }
    }
}

impl fmt::Debug for Shelf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Shelf({}, {} locations)", self.vault, self.slots.len())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn ranges_are_a_set(steps in prop::collection::vec((any::<bool>(), 0u64..40), 0..200)) {
            let (mut ranges, mut set) = (Ranges::default(), BTreeSet::new());
            for (insert, number) in steps {
                if insert {
                    ranges.insert(number);
                    set.insert(number);
                } else {
                    ranges.remove(number);
                    set.remove(&number);
                }
                prop_assert_eq!(ranges.first(), set.first().copied());
                prop_assert_eq!(ranges.first_from(number), set.range(number..).next().copied());
                prop_assert_eq!(ranges.len(), set.len() as u64);
                let apart = ranges.0.iter().zip(ranges.0.iter().skip(1)).all(|((_, end), (start, _))| end < start);
                prop_assert!(apart, "stretches that touch are one");
            }
        }
    }
}

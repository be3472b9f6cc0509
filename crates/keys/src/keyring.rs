//! The keyring: opens data keys by asking t of n holders, and drops those who lie.

use std::collections::{HashMap, VecDeque};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use kit::limits::SERVERS_MAX;
use kit::{Clock, Digest, Explain, Id16, Timestamp};

use crate::error::{HolderError, KeysError};
use crate::holder::{Holder, OpenRequest};
use crate::proof::{Prover, Statement};
use crate::record::{Batch, KeyRecord, commitment, share_digest};
use crate::secret::{DataKey, Share};
use crate::shamir;

/// Opened keys kept at once: some days' patients of a large centre. They are what a thief of the gateway's memory finds.
const CACHE_KEYS_MAX: usize = 4_096;

/// Who refuses a subject from now on, and who did not answer. Enough refuse that the others cannot open her.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Erasure {
    pub refused_by: Vec<u8>,
    pub silent: Vec<u8>,
}

/// What the keyring has seen of one holder since it was made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HolderHealth {
    pub number: u8,
    /// Shares that it gave and that matched their digests.
    pub good: u64,
    /// Requests that it refused because the subject is erased.
    pub erased: u64,
    /// Requests that it refused over a budget, or for want of a proof.
    pub refused: u64,
    /// Requests that it did not answer, or answered with another error.
    pub silent: u64,
    /// Shares that it gave and that did not match: it is damaged or hostile.
    pub lies: u64,
    /// Requests in a row, since its last good share, that it did not answer, or answered with another error.
    pub failing: u64,
    /// The stable code of its last error.
    pub last_error: Option<&'static str>,
    /// Its own count of the shares that it opened.
    pub opened: u64,
}

struct Cached {
    key: Arc<DataKey>,
    batch: Id16,
    commitment: Digest,
    since: Timestamp,
}

/// Whose key, and who opened it: what one person has opened is counted to nobody else, and so is open to nobody else.
type Opened = (Id16, Arc<str>);

/// Opened keys, and the order in which they were opened.
#[derive(Default)]
struct Cache {
    keys: HashMap<Opened, Cached>,
    order: VecDeque<(Timestamp, Opened)>,
    /// Counts erasures, so that a key whose opening overlapped one is not kept.
    erasures: u64,
}

impl Cache {
    /// Drops what was kept long enough, and then what is too many.
    fn sweep(&mut self, now: Timestamp, keep_ms: i64) {
        while let Some((since, opened)) = self.order.front() {
            if is_fresh(*since, now, keep_ms) && self.order.len() <= CACHE_KEYS_MAX {
                break;
            }
            if self.keys.get(opened).is_some_and(|cached| cached.since == *since) {
                self.keys.remove(opened);
            }
            self.order.pop_front();
        }
    }
}

/// Not older than `keep_ms`, nor from a time to come (then the clock was set back, and nobody knows how old it is).
fn is_fresh(since: Timestamp, now: Timestamp, keep_ms: i64) -> bool {
    since <= now && now < since.plus_ms(keep_ms)
}

/// What the holders said to one request, by their numbers.
#[derive(Default)]
struct Said {
    good: Vec<Share>,
    erased: Vec<u8>,
    /// Refused, since a budget is used up.
    over: Vec<u8>,
    /// Refused, since the person's proof is missing or doesn't count.
    unproven: Vec<u8>,
    /// Their clock is another one than ours.
    off: Vec<u8>,
    silent: Vec<u8>,
    lying: Vec<u8>,
    /// Asked, and of no help so far: for each of them one more is asked.
    given_up: usize,
}

/// A holder that takes longer than this gets company: on a hospital's own network an answer takes milliseconds.
const LATE: Duration = Duration::from_millis(300);

/// Opens data keys, asking t holders at once and no more than are needed: every holder beyond t that were asked would
/// count an opening that nobody needed.
pub struct Keyring {
    /// By number, from 1.
    holders: Vec<Arc<dyn Holder>>,
    t: u8,
    n: u8,
    cache_ms: i64,
    clock: Arc<dyn Clock>,
    prover: Option<Arc<dyn Prover>>,
    cache: Mutex<Cache>,
    health: Mutex<Vec<HolderHealth>>,
}

impl Keyring {
    /// `holders` are all n holders, each number from 1 to n once, in any order; one that is down is an
    /// [`AbsentHolder`](crate::AbsentHolder). `cache_ms` 0 caches nothing.
    pub fn new(
        mut holders: Vec<Arc<dyn Holder>>,
        t: u8,
        cache_ms: u64,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, KeysError> {
        let shape = KeysError::Shape { t: usize::from(t), n: holders.len(), max: SERVERS_MAX };
        let n = u8::try_from(holders.len()).ok().filter(|&n| usize::from(n) <= SERVERS_MAX && (1..=n).contains(&t));
        let Some(n) = n else { return Err(shape) };
        holders.sort_by_key(|holder| holder.number());
        for (number, holder) in (1..=n).zip(&holders) {
            if holder.number() != number {
                return Err(KeysError::Numbering { place: usize::from(number), found: holder.number() });
            }
        }
        let health = (1..=n).map(|number| HolderHealth { number, ..Default::default() }).collect();
        Ok(Self {
            holders,
            t,
            n,
            cache_ms: i64::try_from(cache_ms).unwrap_or(i64::MAX),
            clock,
            prover: None,
            cache: Mutex::default(),
            health: Mutex::new(health),
        })
    }

    /// With whoever signs for the people who ask: holders on other servers want to see it.
    pub fn with_prover(mut self, prover: Option<Arc<dyn Prover>>) -> Self {
        self.prover = prover;
        self
    }

    /// As this one, with other holders in the places, t of whom open: opened keys are not taken along.
    pub fn with_holders(&self, holders: Vec<Arc<dyn Holder>>, t: u8) -> Result<Self, KeysError> {
        let cache_ms = u64::try_from(self.cache_ms).unwrap_or(0);
        Ok(Self::new(holders, t, cache_ms, Arc::clone(&self.clock))?.with_prover(self.prover.clone()))
    }

    /// All of them, by number.
    pub fn holders(&self) -> &[Arc<dyn Holder>] {
        &self.holders
    }

    /// Opens the record's data key for `person` and `purpose`, which the holders are told.
    pub fn open(
        &self,
        record: &KeyRecord,
        batch: &Batch,
        person: &str,
        purpose: &str,
    ) -> Result<Arc<DataKey>, KeysError> {
        // Each subject starts at another holder, so that all of them share the work.
        let start = record.subject.0.iter().fold(0, |sum, &byte| sum + usize::from(byte));
        self.danger_open_from(start, record, batch, person, purpose)
    }

    /// As [`Self::open`], asking from this holder on. For drills: a thief chooses whom he asks.
    pub fn danger_open_from(
        &self,
        start: usize,
        record: &KeyRecord,
        batch: &Batch,
        person: &str,
        purpose: &str,
    ) -> Result<Arc<DataKey>, KeysError> {
        record.check_in(batch)?;
        let now = self.clock.now();
        let opened: Opened = (record.subject, person.into());
        let erasures = {
            let mut cache = self.cache();
            cache.sweep(now, self.cache_ms);
            if let Some(cached) = cache.keys.get(&opened)
                && is_fresh(cached.since, now, self.cache_ms)
                && (cached.batch, cached.commitment) == (record.batch, record.commitment)
            {
                return Ok(cached.key.clone());
            }
            cache.erasures
        };
        let (patient, commitment) = (record.subject, record.commitment);
        let statement = Statement { patient, commitment, person, purpose, at: now };
        let proof = self.prover.as_ref().and_then(|prover| prover.prove(&statement));
        let request = OpenRequest { record, batch, person, purpose, at: now, proof: proof.as_ref() };
        let key = Arc::new(self.ask(start, &request)?);
        let mut cache = self.cache();
        if self.cache_ms > 0 && cache.erasures == erasures {
            let (batch, commitment) = (record.batch, record.commitment);
            cache.keys.insert(opened.clone(), Cached { key: key.clone(), batch, commitment, since: now });
            cache.order.push_back((now, opened));
            cache.sweep(now, self.cache_ms);
        }
        Ok(key)
    }

    fn ask(&self, start: usize, request: &OpenRequest<'_>) -> Result<DataKey, KeysError> {
        let record = request.record;
        let (t, n) = (usize::from(record.t), usize::from(record.n));
        let mut said = Said { good: Vec::with_capacity(t), ..Said::default() };
        let mut places = (0..n).map(|step| (start % n + step) % n);
        let (give, answers) = mpsc::channel();
        let mut give = Some(give);
        let mut waiting = Vec::with_capacity(n);
        // True while there was one more to ask.
        let mut ask_next = |waiting: &mut Vec<usize>| {
            let place = places.next();
            match (place, &give) {
                (Some(place), Some(give)) => {
                    let give = give.clone();
                    waiting.push(place);
                    // Whoever stopped listening has enough.
                    let answer = Box::new(move |answer| drop(give.send((place, answer))));
                    let number = u8::try_from(place + 1).unwrap_or(u8::MAX);
                    match self.holders.get(place) {
                        Some(holder) => holder.ask_share(request, answer),
                        None => answer(Err(HolderError::Unreachable { number })),
                    }
                }
                // The last one: from now on an answer that never comes ends the wait.
                _ => give = None,
            }
            place.is_some()
        };
        let (mut asked, mut late) = (0, Vec::new());
        // More refuse than the key can do without: nobody need open another share of it.
        let refuse =
            |said: &Said| [&said.erased, &said.over, &said.unproven, &said.off].iter().any(|by| by.len() > n - t);
        while said.good.len() < t && !refuse(&said) {
            // As many are under way as are missing.
            let mut is_more = true;
            while is_more && asked < said.given_up + t {
                is_more = ask_next(&mut waiting);
                asked += usize::from(is_more);
            }
            match answers.recv_timeout(LATE) {
                Ok((place, answer)) => {
                    waiting.retain(|&waits| waits != place);
                    let is_good = self.hear(record, place, answer, &mut said);
                    said.given_up += usize::from(!is_good);
                }
                // Slow, or cut off: another one may be faster.
                Err(RecvTimeoutError::Timeout) => {
                    said.given_up += 1;
                    late.clone_from(&waiting);
                }
                Err(RecvTimeoutError::Disconnected) => break,
            }
            if waiting.is_empty() && asked == n {
                break;
            }
        }
        late.retain(|place| waiting.contains(place));
        for place in late {
            let late = HolderError::Unreachable { number: u8::try_from(place + 1).unwrap_or(u8::MAX) };
            self.hear(record, place, Err(late), &mut said);
        }
        let Said { good, erased, over, unproven, off, mut silent, lying, .. } = said;
        if erased.len() > n - t {
            return Err(KeysError::Refused { by: erased });
        }
        if good.len() < t && !over.is_empty() {
            return Err(KeysError::OverBudget { by: over });
        }
        if good.len() < t && unproven.len() > n - t {
            return Err(KeysError::Unproven { by: unproven });
        }
        if good.len() < t && off.len() > n - t {
            return Err(KeysError::Clock { by: off });
        }
        silent.extend(unproven.into_iter().chain(off));
        if good.len() < t {
            return Err(KeysError::NotEnoughHolders { have: good.len(), need: t, erased, silent, lying });
        }
        let shares: Vec<_> = good.iter().take(t).map(|share| (share.number(), share.bytes())).collect();
        let key = shamir::combine(&shares).ok_or(KeysError::Crypto { step: "combining" })?;
        if commitment(&record.salt, record.subject, &key) != record.commitment {
            return Err(KeysError::Commitment { by: good.iter().map(Share::number).collect() });
        }
        Ok(DataKey::from_secret(key))
    }

    /// Asks every holder for its share of this record, for nobody, and keeps none: who answers other questions may open nothing
    /// all the same. What came of it is in [`Self::health`].
    pub fn probe(&self, record: &KeyRecord, batch: &Batch, patience: Duration) {
        let (person, purpose, at) = ("gateway", "probe", self.clock.now());
        let request = OpenRequest { record, batch, person, purpose, at, proof: None };
        let (give, answers) = mpsc::channel();
        for (place, holder) in self.holders.iter().enumerate() {
            let give = give.clone();
            // Whoever stopped listening has waited long enough.
            holder.ask_share(&request, Box::new(move |answer| drop(give.send((place, answer)))));
        }
        drop(give);
        let (until, mut said) = (Instant::now() + patience, Said::default());
        let mut waiting: Vec<usize> = (0..self.holders.len()).collect();
        while let Ok((place, answer)) = answers.recv_timeout(until.saturating_duration_since(Instant::now())) {
            waiting.retain(|waits| *waits != place);
            self.hear(record, place, answer, &mut said);
        }
        for place in waiting {
            let number = u8::try_from(place + 1).unwrap_or(u8::MAX);
            self.hear(record, place, Err(HolderError::Unreachable { number }), &mut said);
        }
    }

    /// Judges one holder's answer; true where it helps.
    fn hear(&self, record: &KeyRecord, place: usize, answer: Result<Share, HolderError>, said: &mut Said) -> bool {
        let number = u8::try_from(place + 1).unwrap_or(u8::MAX);
        let mut health = self.health.lock().unwrap_or_else(PoisonError::into_inner);
        let health = health.get_mut(place);
        match answer {
            Ok(share)
                if share.number() == number
                    && record.digests.get(place) == Some(&share_digest(&record.salt, number, share.bytes())) =>
            {
                said.good.push(share);
                health.into_iter().for_each(|holder| (holder.good, holder.failing) = (holder.good + 1, 0));
                true
            }
            Ok(_) => {
                said.lying.push(number);
                health.into_iter().for_each(|holder| holder.lies += 1);
                false
            }
            Err(error) => {
                match error {
                    HolderError::Erased { .. } => &mut said.erased,
                    HolderError::OverBudget { .. } => &mut said.over,
                    HolderError::Unproven { .. } => &mut said.unproven,
                    HolderError::Clock { .. } => &mut said.off,
                    _ => &mut said.silent,
                }
                .push(number);
                health.into_iter().for_each(|holder| {
                    match error {
                        HolderError::Erased { .. } => holder.erased += 1,
                        // It does what it is there for.
                        HolderError::OverBudget { .. } | HolderError::Unproven { .. } => holder.refused += 1,
                        _ => (holder.silent, holder.failing) = (holder.silent + 1, holder.failing + 1),
                    }
                    holder.last_error = Some(error.code());
                });
                false
            }
        }
    }

    /// Asks every holder to refuse `subject`. `Ok` means that so many do that the others can't open her any more, in
    /// records dealt with this keyring's t; in either case it may be repeated, and her key is no longer kept here.
    ///
    /// It becomes irreversible when the holders turn their key epoch; until then a holder that loses its refusals (its
    /// folder rolled back by an attacker) could open her share again.
    pub fn erase(&self, subject: Id16) -> Result<Erasure, KeysError> {
        let (mut refused_by, mut silent) = (Vec::new(), Vec::new());
        for (number, holder) in (1..).zip(&self.holders) {
            match holder.refuse(subject) {
                Ok(()) => refused_by.push(number),
                Err(error) => {
                    silent.push(number);
                    let mut health = self.health.lock().unwrap_or_else(PoisonError::into_inner);
                    health.get_mut(usize::from(number) - 1).into_iter().for_each(|holder| {
                        holder.silent += 1;
                        holder.last_error = Some(error.code());
                    });
                }
            }
        }
        let mut cache = self.cache();
        cache.erasures += 1;
        cache.keys.retain(|(of, _), _| *of != subject);
        drop(cache);
        let (have, need) = (refused_by.len(), usize::from(self.n - self.t) + 1);
        if have < need {
            return Err(KeysError::NotErased { have, need, refused_by, silent });
        }
        Ok(Erasure { refused_by, silent })
    }

    /// Keeps no opened key any longer, whosever it is: somebody may open nothing from now on.
    pub fn forget(&self) {
        let mut cache = self.cache();
        // As an erasure does: what is being opened now isn't kept either.
        cache.erasures += 1;
        cache.keys.clear();
        cache.order.clear();
    }

    /// By holder number. Also sweeps keys that have been kept long enough, so that calling it now and then bounds their
    /// stay in an idle process.
    pub fn health(&self) -> Vec<HolderHealth> {
        self.cache().sweep(self.clock.now(), self.cache_ms);
        let mut health = self.health.lock().unwrap_or_else(PoisonError::into_inner).clone();
        health.iter_mut().zip(&self.holders).for_each(|(seen, holder)| seen.opened = holder.opened());
        health
    }

    pub fn t(&self) -> u8 {
        self.t
    }

    pub fn n(&self) -> u8 {
        self.n
    }

    fn cache(&self) -> MutexGuard<'_, Cache> {
        self.cache.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

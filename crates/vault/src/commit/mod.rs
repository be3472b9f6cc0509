//! Group commit: one thread takes all that waits, makes segments of it, and answers when they are durable.
//!
//! ```text
//!  callers ──► inbox ──► plan ──► build ──► one queue and thread per location ──► put_if_absent, one sync a batch
//!                                                        │
//!  receipts ◄── checkpoint ◄── tree ◄── floor reached? ◄─┘
//! ```
//!
//! A segment that isn't full waits while another is on its way: whatever comes in meanwhile shares its syncs. Full
//! segments don't wait, so that a large object is coded while the segment before it is being written.

mod heal;
mod inbox;
mod plan;
mod worker;

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use kit::Digest;
use ledger::LeafHash;
use minicbor::bytes::ByteVec;

use crate::body::{Prepared, assemble};
use crate::claim::SignedClaim;
use crate::code::Coder;
use crate::core::{Core, lock};
use crate::error::VaultError;
use crate::hash::hash_each;
use crate::header::{self, Acknowledged, Header, Previous, segment_name};
use crate::keymap::Effect;
use crate::parcel::Receipt;
use crate::seal::{self, SALT_BYTES, TAG_BYTES};
use crate::shape::{SHARD_BYTES_MAX, Shape};
use crate::shelf::Located;
use kit::format::Version;

pub(crate) use heal::{Healer, bring, put_shard, remake, restore};
pub(crate) use inbox::Inbox;
use inbox::Landed;
use plan::{Answer, Plan, Planner};
use worker::Job;
pub(crate) use worker::{Queue, Worker};

/// Segments on their way at once. Eight full ones are 112 MiB of shards with the 3-of-14 code: enough that coding and
/// writing overlap, and that a location's one sync serves several.
const FLIGHT_MAX: usize = 8;

/// How long an answer waits for a location that is slower than the others, once the floor is reached.
const STRAGGLER_WAIT: Duration = Duration::from_secs(2);

/// How long it waits for the floor. A disk that needs longer is as good as down.
const FLOOR_WAIT: Duration = Duration::from_secs(30);

/// How long the log is quiet before a seal is written: a segment that holds nothing, for what its header says of the
/// ones before it. Until then only the gateway knows that the newest of them were acknowledged.
const SEAL_AFTER: Duration = Duration::from_secs(1);

/// How often the two are looked at.
const TICK: Duration = Duration::from_millis(50);

/// The plaintext that one segment carries.
pub(crate) fn capacity(shape: Shape) -> usize {
    shape.k() * SHARD_BYTES_MAX - TAG_BYTES
}

/// A segment that was handed to the locations.
struct Flight {
    number: u64,
    located: Located,
    leaves: Vec<LeafHash>,
    effects: Vec<(u64, Effect)>,
    answers: Vec<Answer>,
    marks: Marks,
}

/// Which locations were given something, and which have it.
struct Marks {
    waiting: u64,
    done: u64,
    since: Instant,
}

impl Marks {
    fn land(&mut self, slot: usize, ok: bool) {
        let bit = 1 << slot;
        self.waiting &= !bit;
        if ok {
            self.done |= bit;
        }
    }

    fn has(&self, slot: usize) -> bool {
        self.done & (1 << slot) != 0
    }

    fn durable(&self) -> usize {
        self.done.count_ones() as usize
    }
}

/// This writer's right to write: its generation, claimed at the floor before anything else is written. So no two
/// writers ever share a generation, and of two tails the later writer's can be told.
enum Claim {
    None,
    Asked { claim: SignedClaim, marks: Marks },
    Held { term: u64 },
}

/// What a committer goes on from.
pub(crate) struct Begin {
    /// The highest generation that anyone has claimed or written in.
    pub(crate) generation: u32,
    pub(crate) unsettled: Vec<u64>,
    pub(crate) unsealed: bool,
}

pub(crate) struct Committer {
    core: Arc<Core>,
    inbox: Arc<Inbox>,
    queues: Vec<Option<Arc<Queue>>>,
    coder: Coder,
    claim: Claim,
    /// The highest generation that anyone has claimed.
    generation: u32,
    planner: Planner,
    flight: VecDeque<Flight>,
    tip: Option<Previous>,
    acknowledged: Vec<Acknowledged>,
    /// No header says yet that the newest entries were acknowledged.
    unsealed: bool,
    /// Adopted segments that stand on fewer locations than the floor; nothing is built on them until they are healed.
    unsettled: Vec<u64>,
    /// The ledger took no leaf: nothing can be acknowledged any more.
    broken: Arc<AtomicBool>,
}

impl Committer {
    pub(crate) fn new(
        core: Arc<Core>,
        inbox: Arc<Inbox>,
        queues: Vec<Option<Arc<Queue>>>,
        Begin { generation, unsettled, unsealed }: Begin,
        broken: Arc<AtomicBool>,
    ) -> Self {
        let shape = core.shelf.shape;
        let planner = Planner::new(capacity(shape), core.catalogue.segments());
        let tip = core.catalogue.last().map(|(_, located)| Previous { term: located.term, hash: located.hash });
        Self {
            coder: Coder::new(shape),
            claim: Claim::None,
            flight: VecDeque::new(),
            acknowledged: Vec::new(),
            unsealed,
            core,
            inbox,
            queues,
            generation,
            planner,
            tip,
            unsettled,
            broken,
        }
    }

    /// Until the inbox is closed and everything in it is answered.
    pub(crate) fn run(mut self) {
        let _last = Last { inbox: Arc::clone(&self.inbox), broken: Arc::clone(&self.broken) };
        let mut last_seal = false;
        loop {
            let idle = self.flight.is_empty() && !matches!(self.claim, Claim::Asked { .. });
            let take = self.planner.is_empty();
            // A group that isn't a segment's worth waits for what is on its way.
            let enough = if idle { 1 } else { capacity(self.core.shelf.shape) };
            let dispatchable = !take && self.flight.len() < FLIGHT_MAX && !matches!(self.claim, Claim::Asked { .. });
            let patience = match (dispatchable, idle) {
                (true, _) => Some(Duration::ZERO),
                (false, false) => Some(TICK),
                (false, true) => self.unsealed.then_some(SEAL_AFTER),
            };
            let news = self.inbox.wait(take.then_some(enough), patience, idle);
            let quiet = idle && take && news.landed.is_empty() && news.submissions.is_empty();
            news.landed.iter().for_each(|landed| self.land(landed));
            self.settle();
            for submission in news.submissions {
                self.planner.add(submission);
            }
            if take {
                self.planner.close();
            }
            // The last word, too: whoever comes after the end has to be told. Once: below the floor it isn't kept.
            if quiet && self.unsealed && !last_seal && self.core.shelf.whole() >= self.core.shelf.shape.floor() {
                last_seal = news.closed;
                self.planner.add_seal();
            }
            self.dispatch();
            if news.closed && self.planner.is_empty() && self.flight.is_empty() {
                break;
            }
        }
    }

    fn land(&mut self, landed: &Landed) {
        if landed.number == CLAIM {
            if let Claim::Asked { claim, marks } = &mut self.claim
                && claim.term == landed.term
            {
                marks.land(landed.slot, landed.ok);
            }
        } else if let Some(flight) =
            self.flight.iter_mut().find(|flight| (flight.number, flight.located.term) == (landed.number, landed.term))
        {
            flight.marks.land(landed.slot, landed.ok);
        } else if landed.ok
            && self.core.catalogue.get(landed.number).is_some_and(|located| located.term == landed.term)
            && let Some(slot) = self.core.shelf.slots.get(landed.slot)
        {
            // A straggler, behind the acknowledgement.
            slot.state().missing.remove(landed.number);
        }
    }

    /// Locations that have this segment, and everything before it: what a receipt promises is what any of them gives back.
    fn holders(&self, flight: &Flight) -> usize {
        let slots = self.core.shelf.slots.iter().enumerate();
        slots.filter(|(at, slot)| flight.marks.has(*at) && slot.state().has_all_before(flight.number)).count()
    }

    /// Acknowledges, in order, what has reached its locations.
    fn settle(&mut self) {
        let floor = self.core.shelf.shape.floor();
        if let Claim::Asked { claim, marks } = &self.claim {
            let (term, durable) = (claim.term, marks.durable());
            if durable >= floor {
                *lock(&self.core.claim) = Some(claim.clone());
                self.claim = Claim::Held { term };
            } else if marks.waiting == 0 || marks.since.elapsed() > FLOOR_WAIT {
                self.refuse(|| VaultError::NotDurable { durable, floor });
            }
        }
        let mut acknowledged = Vec::new();
        while let Some(flight) = self.flight.front() {
            let (durable, waited) = (self.holders(flight), flight.marks.since.elapsed());
            let all = flight.marks.waiting == 0;
            if durable >= floor && (all || waited > STRAGGLER_WAIT) {
                let Some(flight) = self.flight.pop_front() else { break };
                self.pass_over(flight.marks.waiting);
                match self.acknowledge(flight) {
                    Ok(answers) => acknowledged.extend(answers),
                    Err(error) => self.give_up(&error),
                }
            } else if all || waited > FLOOR_WAIT {
                self.refuse(|| VaultError::NotDurable { durable, floor });
            } else {
                break;
            }
        }
        if acknowledged.is_empty() {
            return;
        }
        // One head for all that was settled together.
        match self.core.witness() {
            Ok(witnesses) => {
                for (answer, mut receipts) in acknowledged {
                    receipts.iter_mut().for_each(|receipt| receipt.witnesses = witnesses);
                    answer.send(Ok(receipts));
                }
            }
            Err(error) => {
                let contradicted = || match error {
                    VaultError::Contradicted { by, of } => VaultError::Contradicted { by, of },
                    _ => VaultError::Closed,
                };
                acknowledged.into_iter().for_each(|(answer, _)| answer.send(Err(contradicted())));
                self.give_up(&error);
            }
        }
    }

    fn give_up(&mut self, error: &VaultError) {
        tracing::error!(%error, "the log can't go on");
        self.broken.store(true, Ordering::Release);
        self.inbox.close();
        self.refuse(|| VaultError::Closed);
    }

    /// A location that lets everyone wait gets nothing more until it has caught up; then it is healed.
    fn pass_over(&self, waiting: u64) {
        for (_, slot) in self.core.shelf.slots.iter().enumerate().filter(|(at, _)| waiting & (1 << at) != 0) {
            tracing::warn!(location = slot.id, "a location is too slow");
            slot.state().down = true;
        }
    }

    /// Puts what is durable into the log; gives what is to be answered once its head is cosigned.
    fn acknowledge(&mut self, flight: Flight) -> Result<Vec<(Answer, Vec<Receipt>)>, VaultError> {
        let durable = u8::try_from(self.holders(&flight)).unwrap_or(u8::MAX);
        let Flight { number, located, leaves, effects, answers, marks } = flight;
        for (at, slot) in self.core.shelf.slots.iter().enumerate() {
            if slot.location.is_some() && !marks.has(at) {
                slot.state().missing.insert(number);
            }
        }
        let mut tree = lock(&self.core.tree);
        if !leaves.is_empty() {
            tree.append_all(&leaves)?;
        }
        self.core.catalogue.push(located);
        {
            let mut keymap = self.core.keymap_mut();
            for (index, effect) in effects {
                keymap.apply(index, effect);
                if let Effect::Key(patient) | Effect::Erased(patient) = effect {
                    self.core.forget_key_record(patient);
                }
            }
            keymap.watermark = located.end();
        }
        self.acknowledged.push(Acknowledged { segment: number, durable });
        if let Some(gateway) = &self.core.gateway {
            gateway.remember_settled(number + 1);
        }
        if leaves.is_empty() {
            self.unsealed &= !located.is_seal();
            return Ok(Vec::new());
        }
        self.unsealed = true;
        let tree_size = tree.size();
        self.core.sign_checkpoint(&tree)?;
        drop(tree);
        let survives = self.core.shelf.shape.survives(durable);
        let mut receipts = (located.first..).zip(&leaves).map(|(index, leaf)| Receipt {
            index,
            leaf: (*leaf).into(),
            segment: number,
            tree_size,
            durable,
            survives,
            witnesses: 0,
        });
        let receipts = |answer: Answer| {
            let own = receipts.by_ref().take(answer.entries).collect();
            (answer, own)
        };
        Ok(answers.into_iter().map(receipts).collect())
    }

    /// Answers everything that is planned or on its way with an error, and starts again behind the last segment that was
    /// acknowledged, under a new claim: what this one has left at some locations can't be taken for the log.
    fn refuse(&mut self, error: impl Fn() -> VaultError) {
        for queue in self.queues.iter().flatten() {
            queue.clear();
        }
        let flying = self.flight.drain(..).flat_map(|flight| flight.answers);
        for answer in flying.chain(self.planner.abandon(self.core.catalogue.segments())) {
            answer.send(Err(error()));
        }
        self.tip = self.core.catalogue.last().map(|(_, located)| Previous { term: located.term, hash: located.hash });
        self.claim = Claim::None;
    }

    fn dispatch(&mut self) {
        while !self.planner.is_empty() && self.flight.len() < FLIGHT_MAX {
            if self.broken.load(Ordering::Acquire) {
                return self.refuse(|| VaultError::Closed);
            }
            let floor = self.core.shelf.shape.floor();
            let up = self.core.shelf.whole().min(self.settled());
            if up < floor {
                return self.refuse(|| VaultError::BelowFloor { up, floor });
            }
            let term = match self.claim {
                Claim::Held { term } => term,
                Claim::Asked { .. } => return,
                Claim::None => {
                    let Some(generation) = self.generation.checked_add(1) else {
                        return self.refuse(|| VaultError::Generations { max: u32::MAX });
                    };
                    if let Err(error) = self.ask_claim(generation) {
                        tracing::error!(%error, "no claim can be made");
                        self.refuse(|| VaultError::Internal { step: "claiming the log" });
                    }
                    return;
                }
            };
            let Some(plan) = self.planner.next() else { return };
            if let Err((error, answers)) = self.launch(plan, term) {
                tracing::error!(%error, "a segment can't be made");
                answers.into_iter().for_each(|answer| answer.send(Err(VaultError::Internal { step: "a segment" })));
                self.refuse(|| VaultError::Internal { step: "a segment" });
                return;
            }
            // What has landed meanwhile is acknowledged before the next one is built.
            if self.flight.len() > 1 {
                return;
            }
        }
    }

    /// Heals what was adopted on too few locations; gives the fewest on which any of it stands.
    fn settled(&mut self) -> usize {
        let (core, coder) = (&self.core, &mut self.coder);
        let (floor, mut fewest) = (core.shelf.shape.floor(), usize::MAX);
        self.unsettled.retain(|&segment| {
            let good = restore(core, coder, segment).unwrap_or(0);
            fewest = fewest.min(good);
            good < floor
        });
        fewest
    }

    fn ask_claim(&mut self, generation: u32) -> Result<(), VaultError> {
        self.generation = generation;
        let mut random = [0; 4];
        self.core.entropy.fill(&mut random);
        let term = u64::from(generation) << 32 | u64::from(u32::from_be_bytes(random));
        let claim = SignedClaim::sign(&self.core.secrets.log, self.core.shelf.vault, term)?;
        let parts = [claim.body.clone(), Bytes::new()];
        let marks = self.send(|_| Job { name: claim.name.clone(), parts: parts.clone(), number: CLAIM, term });
        self.claim = Claim::Asked { claim, marks };
        Ok(())
    }

    /// Hands each location that is up its job. A claim goes only to those that lack nothing: it says so of them.
    fn send(&self, job: impl Fn(usize) -> Job) -> Marks {
        let mut waiting = 0;
        for (at, slot) in self.core.shelf.slots.iter().enumerate() {
            let Some(Some(queue)) = self.queues.get(at) else { continue };
            let job = job(at);
            {
                let state = slot.state();
                if state.down || state.bare || (job.number == CLAIM && !state.is_whole()) {
                    continue;
                }
            }
            if queue.push(job) {
                waiting |= 1 << at;
            } else {
                slot.state().down = true;
            }
        }
        Marks { waiting, done: 0, since: Instant::now() }
    }

    fn launch(&mut self, plan: Plan, term: u64) -> Result<(), (VaultError, Vec<Answer>)> {
        let Plan { number, heads, pieces, answers } = plan;
        match self.build(number, term, heads, &pieces) {
            Ok((located, leaves, effects, prefix, shards)) => {
                let name = match segment_name(number, term, 0) {
                    Ok(name) => name,
                    Err(error) => return Err((error, answers)),
                };
                let marks = self.send(|at| {
                    let shard = shards.get(at).cloned().unwrap_or_default();
                    Job { name: name.clone(), parts: [prefix.clone(), shard], number, term }
                });
                self.tip = Some(Previous { term, hash: located.hash });
                self.flight.push_back(Flight { number, located, leaves, effects, answers, marks });
                Ok(())
            }
            Err(error) => Err((error, answers)),
        }
    }

    /// Encodes, seals, codes, hashes, signs.
    #[allow(clippy::type_complexity)] // one caller, which takes it apart at once
    fn build(
        &mut self,
        number: u64,
        term: u64,
        heads: Vec<(Prepared, Vec<crate::body::Extent>)>,
        pieces: &[Bytes],
    ) -> Result<(Located, Vec<LeafHash>, Vec<(u64, Effect)>, Bytes, Vec<Bytes>), VaultError> {
        let core = &self.core;
        let first = self.flight.back().map_or_else(|| core.size(), |flight| flight.located.end());
        let (mut encoded, mut leaves, mut effects) = (Vec::new(), Vec::new(), Vec::new());
        for (index, (prepared, extents)) in (first..).zip(heads) {
            effects.extend(
                Effect::of(&prepared.kind, prepared.scope.patient(), &prepared.meta).map(|effect| (index, effect)),
            );
            let bytes = prepared.into_head(extents).to_bytes();
            leaves.push(ledger::leaf_hash(&bytes));
            encoded.push(bytes);
        }
        let shape = core.shelf.shape;
        let mut body = assemble(encoded, pieces, TAG_BYTES + 2 * shape.k());
        let mut salt = [0; SALT_BYTES];
        core.entropy.fill(&mut salt);
        let (vault_key, key) = core.vault_key()?;
        seal::seal_whole(key.bytes(), &salt, &seal::segment_binding(core.shelf.vault, number, term), &mut body)?;
        let body_len = u32::try_from(body.len()).map_err(|_| VaultError::Internal { step: "measuring a segment" })?;
        let shards = self.coder.encode(body)?;
        let narrow = |of: usize| u8::try_from(of).unwrap_or(u8::MAX);
        let checkpoint = lock(&core.checkpoint).as_ref().map(|(_, note)| note.clone()).unwrap_or_default();
        let header = Header {
            version: Version,
            vault: core.shelf.vault,
            number,
            term,
            previous: self.tip,
            k: narrow(shape.k()),
            n: narrow(shape.n()),
            body_len,
            salt: salt.into(),
            shards: hash_each(&shards),
            first,
            leaves: leaves.iter().map(|leaf| Digest::from(*leaf)).collect(),
            acknowledged: std::mem::take(&mut self.acknowledged),
            checkpoint: ByteVec::from(checkpoint),
            vault_key: (vault_key > 1).then_some(vault_key),
        };
        let bytes = header.to_bytes();
        // What is written has to be what a reader will accept.
        Header::from_bytes(&bytes)?;
        let signature = core.secrets.log.sign_bytes(&Header::signed_bytes(&bytes));
        let located = Located::new(&header, Header::hash(&bytes));
        Ok((located, leaves, effects, header::prefix(&bytes, &signature), shards))
    }
}

/// The number under which a claim's landing is told; no segment ever has it.
const CLAIM: u64 = u64::MAX;

/// What happens when the committer ends, be it by a panic: nobody waits for it for ever.
struct Last {
    inbox: Arc<Inbox>,
    broken: Arc<AtomicBool>,
}

impl Drop for Last {
    fn drop(&mut self) {
        self.broken.store(true, Ordering::Release);
        self.inbox.abandon();
    }
}

/// Makes one queue and worker for each location that was given.
pub(crate) fn workers(core: &Arc<Core>, inbox: &Arc<Inbox>) -> (Vec<Option<Arc<Queue>>>, Vec<Worker>) {
    let mut workers = Vec::new();
    let queues = core.shelf.slots.iter().enumerate().map(|(at, slot)| {
        let queue = Arc::new(Queue::default());
        slot.location.as_ref()?;
        workers.push(Worker::new(Arc::clone(core), Arc::clone(inbox), Arc::clone(&queue), at));
        Some(queue)
    });
    let queues = queues.collect();
    (queues, workers)
}

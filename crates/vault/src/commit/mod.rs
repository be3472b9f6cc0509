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

mod each;
mod heal;
mod inbox;
mod make;
mod plan;
mod worker;

use std::collections::VecDeque;
use std::num::NonZero;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::SyncSender;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use bytes::Bytes;
use kit::Digest;
use ledger::LeafHash;
use minicbor::bytes::ByteVec;

use crate::body::{Prepared, assemble};
use crate::claim::{SignedClaim, term_of};
use crate::code::Coder;
use crate::core::{Core, Written, lock};
use crate::error::{VaultError, gateway};
use crate::header::{Acknowledged, Previous, segment_name};
use crate::keymap::Effect;
use crate::parcel::Receipt;
use crate::seal::TAG_BYTES;
use crate::shape::{SHARD_BYTES_MAX, Shape};
use crate::shelf::{Located, Shelf};

pub(crate) use each::{all_at_once, at_each};
pub(crate) use heal::{Healer, bring, put_shard, remake, restore};
pub(crate) use inbox::Inbox;
use inbox::Landed;
pub(crate) use make::{Coding, Content, Made, code, make};
use plan::{Answer, Plan, Planner};
pub(crate) use worker::Queue;
use worker::{Job, Worker};

/// Segments on their way at once. Eight full ones are 112 MiB of shards with the 3-of-14 code: enough that coding and
/// writing overlap, and that a location's one sync serves several.
const FLIGHT_MAX: usize = 8;

/// Segments of one large payload that are coded at once: half of those that may be on their way.
const CODERS_MAX: usize = FLIGHT_MAX / 2;

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
    /// For whoever reads it soon.
    written: Written,
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

/// Is given the highest generation that is known, and gives the highest one that it claimed, whatever became of it.
type Act = Box<dyn FnOnce(u32) -> (u32, Result<(), VaultError>) + Send>;

/// What is done while nothing is on its way: who wants to keep something waits meanwhile.
pub(crate) struct Pause {
    act: Act,
    answer: SyncSender<Result<u32, VaultError>>,
}

pub(crate) struct Committer {
    core: Arc<Core>,
    /// Where it writes; another one once the vault has grown.
    shelf: Arc<Shelf>,
    inbox: Arc<Inbox>,
    /// One for each location.
    workers: Vec<JoinHandle<()>>,
    /// What is to be done as soon as nothing is on its way.
    pause: Option<Pause>,
    /// The first for whichever segment's turn it is, the others for those that are coded with it.
    coders: Vec<Coder>,
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
        Begin { generation, unsettled, unsealed }: Begin,
        broken: Arc<AtomicBool>,
    ) -> Result<Self, VaultError> {
        let shelf = core.shelf();
        Ok(Self {
            coders: coders(shelf.shape),
            claim: Claim::None,
            flight: VecDeque::new(),
            acknowledged: Vec::new(),
            unsealed,
            workers: workers(&shelf, &inbox)?,
            pause: None,
            planner: Planner::new(capacity(shelf.shape), shelf.catalogue.segments()),
            tip: shelf.catalogue.tip(),
            core,
            shelf,
            inbox,
            generation,
            unsettled,
            broken,
        })
    }

    /// Until the inbox is closed and everything in it is answered.
    pub(crate) fn run(mut self) {
        let _last = Last { inbox: Arc::clone(&self.inbox), broken: Arc::clone(&self.broken) };
        let mut last_seal = false;
        loop {
            let asked = matches!(self.claim, Claim::Asked { .. });
            let idle = self.flight.is_empty() && !asked;
            let planned = !self.planner.is_empty();
            let take = !planned && self.pause.is_none();
            // A group that isn't a segment's worth waits for what is on its way.
            let enough = if idle { 1 } else { capacity(self.shelf.shape) };
            let dispatchable = planned && self.flight.len() < FLIGHT_MAX && !asked;
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
            if news.pause.is_some() {
                self.pause = news.pause;
            }
            if take {
                self.planner.close();
            }
            // The last word, too: whoever comes after the end has to be told. Once: below the floor it isn't kept.
            if quiet && self.unsealed && !last_seal && self.shelf.whole() >= self.shelf.shape.floor() {
                last_seal = news.closed;
                self.planner.add_seal();
            }
            self.dispatch();
            let quiet = self.planner.is_empty() && self.flight.is_empty() && !matches!(self.claim, Claim::Asked { .. });
            if quiet
                && let Some(Pause { act, answer }) = self.pause.take()
                && !self.broken.load(Ordering::Acquire)
            {
                let (generation, done) = act(self.generation);
                self.go_on(generation);
                let _ = answer.try_send(done.map(|()| generation));
            }
            if news.closed && self.planner.is_empty() && self.flight.is_empty() {
                break;
            }
        }
        // Landings are waited for no more.
        self.shelf.slots.iter().for_each(|slot| slot.queue.close());
        self.workers.drain(..).for_each(|worker| drop(worker.join()));
    }

    /// From where the core stands now, under a generation above this one: what is written from here on is told from all that
    /// stood under a lower one.
    fn go_on(&mut self, generation: u32) {
        (self.generation, self.claim) = (self.generation.max(generation), Claim::None);
        let shelf = self.core.shelf();
        if Arc::ptr_eq(&shelf, &self.shelf) {
            return;
        }
        self.shelf.slots.iter().for_each(|slot| slot.queue.close());
        self.shelf = shelf;
        // Those before end by themselves: one that hangs in a write to a location must not hold up everyone.
        match workers(&self.shelf, &self.inbox) {
            Ok(workers) => self.workers = workers,
            Err(error) => return self.give_up(&error),
        }
        let shape = self.shelf.shape;
        (self.coders, self.planner) = (coders(shape), Planner::new(capacity(shape), self.shelf.catalogue.segments()));
        self.tip = self.shelf.catalogue.tip();
        self.unsettled.clear();
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
            && self.shelf.catalogue.get(landed.number).is_some_and(|located| located.term == landed.term)
            && let Some(slot) = self.shelf.slots.get(landed.slot)
        {
            // A straggler, behind the acknowledgement.
            slot.state().missing.remove(landed.number);
        }
    }

    /// Locations that have this segment, and everything before it: what a receipt promises is what any of them gives back.
    fn holders(&self, flight: &Flight) -> usize {
        let slots = self.shelf.slots.iter().enumerate();
        slots.filter(|(at, slot)| flight.marks.has(*at) && slot.state().has_all_before(flight.number)).count()
    }

    /// Acknowledges, in order, what has reached its locations.
    fn settle(&mut self) {
        let floor = self.shelf.shape.floor();
        if let Claim::Asked { claim, marks } = &self.claim {
            let (term, durable) = (claim.term, marks.durable());
            if durable >= floor {
                *lock(&self.core.claimed) = Some(claim.clone());
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
        for (_, slot) in self.shelf.slots.iter().enumerate().filter(|(at, _)| waiting & (1 << at) != 0) {
            tracing::warn!(location = slot.id, "a location is too slow");
            slot.state().down = true;
        }
    }

    /// Puts what is durable into the log; gives what is to be answered once its head is cosigned.
    fn acknowledge(&mut self, flight: Flight) -> Result<Vec<(Answer, Vec<Receipt>)>, VaultError> {
        let durable = u8::try_from(self.holders(&flight)).unwrap_or(u8::MAX);
        let Flight { number, located, written, leaves, effects, answers, marks } = flight;
        for (at, slot) in self.shelf.slots.iter().enumerate() {
            if slot.location.is_some() && !marks.has(at) {
                slot.state().missing.insert(number);
            }
        }
        let mut tree = lock(&self.core.tree);
        if !leaves.is_empty() {
            tree.append_all(&leaves)?;
        }
        self.shelf.catalogue.push(located);
        self.core.remember_written(number, written);
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
        let survives = self.shelf.shape.survives(durable);
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
        self.shelf.slots.iter().for_each(|slot| slot.queue.clear());
        let flying = self.flight.drain(..).flat_map(|flight| flight.answers);
        for answer in flying.chain(self.planner.abandon(self.shelf.catalogue.segments())) {
            answer.send(Err(error()));
        }
        self.tip = self.shelf.catalogue.tip();
        self.claim = Claim::None;
    }

    fn dispatch(&mut self) {
        while !self.planner.is_empty() && self.flight.len() < FLIGHT_MAX {
            if self.broken.load(Ordering::Acquire) {
                return self.refuse(|| VaultError::Closed);
            }
            let floor = self.shelf.shape.floor();
            let up = self.shelf.whole().min(self.settled());
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
        let (core, shelf) = (&self.core, &self.shelf);
        let Some(coder) = self.coders.first_mut() else { return 0 };
        let (floor, mut fewest) = (shelf.shape.floor(), usize::MAX);
        self.unsettled.retain(|&segment| {
            let good = restore(core, shelf, coder, segment).unwrap_or(0);
            fewest = fewest.min(good);
            good < floor
        });
        fewest
    }

    fn ask_claim(&mut self, generation: u32) -> Result<(), VaultError> {
        self.generation = generation;
        let term = term_of(generation, &*self.core.entropy);
        let claim = SignedClaim::sign(&self.core.secrets.log, self.shelf.vault, term)?;
        let parts = [claim.body.clone(), Bytes::new()];
        let marks = self.send(|_| Job { name: claim.name.clone(), parts: parts.clone(), number: CLAIM, term });
        self.claim = Claim::Asked { claim, marks };
        Ok(())
    }

    /// Hands each location that is up its job. A claim goes only to those that lack nothing: it says so of them.
    fn send(&self, job: impl Fn(usize) -> Job) -> Marks {
        let mut waiting = 0;
        for (at, slot) in self.shelf.slots.iter().enumerate().filter(|(_, slot)| slot.location.is_some()) {
            let job = job(at);
            {
                let state = slot.state();
                if state.down || state.bare || (job.number == CLAIM && !state.is_whole()) {
                    continue;
                }
            }
            if slot.queue.push(job) {
                waiting |= 1 << at;
            } else {
                slot.state().down = true;
            }
        }
        Marks { waiting, done: 0, since: Instant::now() }
    }

    fn launch(&mut self, plan: Plan, term: u64) -> Result<(), (VaultError, Vec<Answer>)> {
        let Plan { number, heads, pieces, answers, coding } = plan;
        match self.build((number, term), heads, &pieces, coding) {
            Ok((Made { located, prefix, shards }, leaves, effects)) => {
                let name = match segment_name(self.shelf.stand, number, term, 0) {
                    Ok(name) => name,
                    Err(error) => return Err((error, answers)),
                };
                let marks = self.send(|at| {
                    let shard = shards.get(at).cloned().unwrap_or_default();
                    Job { name: name.clone(), parts: [prefix.clone(), shard], number, term }
                });
                self.tip = Some(Previous { term, hash: located.hash });
                let written = Written { prefix, body: shards.into_iter().take(self.shelf.shape.k()).collect() };
                self.flight.push_back(Flight { number, located, written, leaves, effects, answers, marks });
                Ok(())
            }
            Err(error) => Err((error, answers)),
        }
    }

    /// The segment, the leaves of its entries, and what they change.
    #[allow(clippy::type_complexity)] // one caller, which takes it apart at once
    fn build(
        &mut self,
        name: (u64, u64),
        heads: Vec<(Prepared, Vec<crate::body::Extent>)>,
        pieces: &[Bytes],
        coding: Option<Coding>,
    ) -> Result<(Made, Vec<LeafHash>, Vec<(u64, Effect)>), VaultError> {
        let first = self.flight.back().map_or_else(|| self.core.size(), |flight| flight.located.end());
        let (mut encoded, mut leaves, mut effects) = (Vec::new(), Vec::new(), Vec::new());
        for (index, (prepared, extents)) in (first..).zip(heads) {
            effects.extend(
                Effect::of(&prepared.kind, prepared.scope.patient(), &prepared.meta).map(|effect| (index, effect)),
            );
            let bytes = prepared.into_head(extents).to_bytes();
            leaves.push(ledger::leaf_hash(&bytes));
            encoded.push(bytes);
        }
        let coding = match coding.filter(|coding| coding.term == name.1) {
            Some(coding) => coding,
            None => self.code(name, encoded, pieces)?,
        };
        let checkpoint = lock(&self.core.checkpoint).as_ref().map(|(_, note)| note.clone()).unwrap_or_default();
        let content = Content {
            previous: self.tip,
            first,
            leaves: leaves.iter().map(|leaf| Digest::from(*leaf)).collect(),
            acknowledged: std::mem::take(&mut self.acknowledged),
            checkpoint: ByteVec::from(checkpoint),
        };
        Ok((make(&self.core, &self.shelf, content, coding)?, leaves, effects))
    }

    /// One segment, and the next ones of a large payload on the other cores.
    fn code(&mut self, name: (u64, u64), heads: Vec<Vec<u8>>, pieces: &[Bytes]) -> Result<Coding, VaultError> {
        let (core, shelf) = (&*self.core, &*self.shelf);
        let room = TAG_BYTES + 2 * shelf.shape.k();
        let (coder, others) = self.coders.split_first_mut().ok_or(VaultError::Internal { step: "coding" })?;
        thread::scope(|scope| {
            for (plan, coder) in self.planner.payloads().zip(others) {
                let name = (plan.number, name.1);
                // What can't be coded here is tried once more when its turn comes.
                let ahead =
                    move || plan.coding = code(core, shelf, coder, name, assemble(Vec::new(), &plan.pieces, room)).ok();
                if let Err(error) = thread::Builder::new().name("vault-code".to_owned()).spawn_scoped(scope, ahead) {
                    tracing::warn!(%error, "a segment is not coded ahead");
                }
            }
            code(core, shelf, coder, name, assemble(heads, pieces, room))
        })
    }
}

fn coders(shape: Shape) -> Vec<Coder> {
    let cores = thread::available_parallelism().map_or(1, NonZero::get);
    (0..cores.clamp(1, CODERS_MAX)).map(|_| Coder::new(shape)).collect()
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

/// Starts one worker for each location that was given.
fn workers(shelf: &Arc<Shelf>, inbox: &Arc<Inbox>) -> Result<Vec<JoinHandle<()>>, VaultError> {
    let given = shelf.slots.iter().enumerate().filter(|(_, slot)| slot.location.is_some());
    given
        .map(|(at, _)| {
            let worker = Worker::new(Arc::clone(shelf), Arc::clone(inbox), at);
            spawn("vault-location", move || worker.run())
        })
        .collect()
}

pub(crate) fn spawn(name: &str, run: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>, VaultError> {
    thread::Builder::new().name(name.to_owned()).spawn(run).map_err(gateway("starting a thread"))
}

//! A vault moves to other locations and other holders, while records are read and kept: from 1 server to 3, to 14.
//!
//! ```text
//!  meanwhile   each segment is opened, and sealed, coded and signed anew ──► the new stand, a chain of its own
//!  a pause     what came since; a claim; the centre record that names the new stand, at the floor of the old one: it has moved
//!              ──► the record at the others ──► all is read and written there
//! ```
//! Entries keep their numbers, segments theirs, the ledger its tree. A stand's segments are listed under its own prefix, so
//! that neither the old one's nor those of a move that was cut short are taken for the log's. What was copied then is gone on
//! from. Whoever wants to keep something during the pause waits. What a start makes of a move that ended in the pause says
//! [`which`](crate::which).
//!
//! The keys are a turn of the key epoch ([`renew`](crate::renew)) in which all is dealt anew: those who stay make their next
//! keys, [`Vault::deal_anew`] deals to all, and the old keys are destroyed at its end.

use std::sync::Arc;

use bytes::Bytes;
use keys::{Holder, HolderPublicKey};

use crate::centre::Centre;
use crate::claim::{SignedClaim, term_of};
use crate::code::Coder;
use crate::commit::{Content, Made, at_each, code, make};
use crate::core::{Core, lock};
use crate::error::VaultError;
use crate::found::{Drafting, distinct};
use crate::header::{Header, Previous, Stand, segment_name};
use crate::keymap::MOVING;
use crate::location::{Location, Name};
use crate::mend::{heal_centre, put_record, without_record};
use crate::open::Chain;
use crate::recover::{COPIED_BYTES, COPIED_SEGMENTS, put_at};
use crate::renew::Progress;
use crate::shape::Shape;
use crate::shelf::{Located, Shelf, Slot};
use crate::survey::Survey;
use crate::vault::Vault;

/// Segments that may be left when the pause begins: writers wait for their copying.
const LEFT_MAX: u64 = 16;

/// Rounds after which no fewer are left than before: the writers are as fast as the copying. Then they wait, too.
const VAIN_MAX: u32 = 8;

/// Where a vault moves.
pub struct Move {
    /// With at least as many shards to give a segment back as now: a segment has to fit.
    pub shape: Shape,
    /// n of them; the first gets shard 0. Those that stay are among [`Vault::locations`].
    pub locations: Vec<Arc<dyn Location>>,
    /// All who hold the keys from then on, by number, each with its key of the epoch that [`Vault::turn_keys`] began.
    pub public: Vec<HolderPublicKey>,
    pub holders: Vec<Arc<dyn Holder>>,
    /// Of them, so many open a key.
    pub t: u8,
}

impl Vault {
    /// The locations that are there, in the order of their shards.
    pub fn locations(&self) -> Vec<Arc<dyn Location>> {
        self.core().shelf().slots.iter().filter_map(|slot| slot.location.clone()).collect()
    }

    /// Moves, and opens there what is kept and read from then on. All the locations have to answer when it begins, and until it
    /// ends so many that as many may be lost as before. Where it fails the vault stays where it is, and what was copied is gone on
    /// from when it is done again; where its writer ends then, the next start may find it done. Gives the centre record's epoch.
    /// `progress` hears of segments.
    pub fn move_to(&self, to: Move, progress: Progress<'_>) -> Result<u32, VaultError> {
        let writer = self.writer()?;
        let _one = lock(&writer.renewing);
        self.settle_record()?;
        let core = Arc::clone(self.core());
        let before = core.centre();
        let Move { shape, locations, public, holders, t } = to;
        let from = core.shelf();
        if locations.len() != shape.n() {
            return Err(VaultError::LocationCount { found: locations.len(), n: shape.n() });
        }
        if shape.k() < from.shape.k() {
            return Err(VaultError::FewerShards { k: shape.k(), before: from.shape.k() });
        }
        // What receipts promised has to hold.
        let (bears, before_it) = (shape.n() - shape.k(), from.shape.n() - from.shape.k());
        if bears < before_it {
            return Err(VaultError::BearsLess { bears, before: before_it });
        }
        let stand = from.stand.checked_add(1).ok_or(VaultError::Stands { max: Stand::MAX })?;
        let ids = distinct(&locations)?;
        let opener = core.opener().renewed(holders, &public, t)?;
        self.enter(MOVING, Vec::new())?;
        let draft = Drafting {
            stand,
            shape,
            t,
            locations: ids.clone(),
            holders: public,
            ..Drafting::like(&before, core.next_epoch(), 0)
        };
        let slots = ids.into_iter().zip(locations).map(|(id, location)| Slot::new(id, Some(location))).collect();
        let to = Shelf::new(from.vault, stand, shape, slots, *before.vkey.public_key());
        let mut copy = Copy::begin(Arc::clone(&core), from, to)?;
        let (mut fewest, mut vain) = (u64::MAX, 0);
        while copy.left() > LEFT_MAX && vain < VAIN_MAX {
            copy.go_on()?;
            vain = if copy.left() < fewest { 0 } else { vain + 1 };
            fewest = fewest.min(copy.left());
            progress(copy.done(), copy.done() + copy.left());
        }
        // Whoever deals from here on deals to the new ones. Taken before the pause: who deals waits for the committer.
        let mut dealing = lock(&writer.dealing);
        writer.pause(move |highest| {
            let Some(generation) = highest.max(copy.generation).checked_add(1) else {
                return (highest, Err(VaultError::Generations { max: u32::MAX }));
            };
            let moved = copy.end(generation, draft).map(|(claim, centre)| {
                *lock(&core.claimed) = Some(claim);
                core.adopt(centre, opener);
                core.moved(Arc::clone(&copy.to));
                // It has moved. Who doesn't get the record now is given it when it is back.
                let has = put_record(&copy.to, 0, &core.centre());
                without_record(&copy.to, &has);
            });
            (generation, moved)
        })?;
        *dealing = None;
        // Before anybody is dealt to them: what stands above its entry is theirs.
        self.settle_record()?;
        drop(dealing);
        self.registrations_ended(self.core().centre().record.epoch)
    }
}

/// The copying of a vault's segments to another stand.
struct Copy {
    core: Arc<Core>,
    from: Arc<Shelf>,
    to: Arc<Shelf>,
    coder: Coder,
    /// What is copied has this one: newer than what an earlier move has left.
    generation: u32,
    term: u64,
}

impl Copy {
    fn begin(core: Arc<Core>, from: Arc<Shelf>, to: Shelf) -> Result<Self, VaultError> {
        let survey = Survey::of(&to, None);
        // Each has the record that there is: by it one that is away when the next one is put is told from an empty one.
        let before = core.centre();
        let is_there = |at: &usize| survey.shown.get(*at).is_some_and(Option::is_some);
        let there = (0..to.slots.len()).filter(is_there).filter_map(|at| to.slots.get(at));
        let have = there.filter(|slot| heal_centre(slot, &before).unwrap_or(false)).count();
        let need = to.shape.n();
        if have < need {
            return Err(VaultError::NotEnoughLocations { have, need, older: Vec::new() });
        }
        let claimed = lock(&core.claimed).as_ref().map_or(0, SignedClaim::generation);
        let newest = claimed.max(survey.generation());
        let generation = newest.checked_add(1).ok_or(VaultError::Generations { max: u32::MAX })?;
        let term = term_of(generation, &*core.entropy);
        let to = Arc::new(copied(&from, to, &survey));
        Ok(Self { coder: Coder::new(to.shape), core, from, to, generation, term })
    }

    fn done(&self) -> u64 {
        self.to.catalogue.segments()
    }

    fn left(&self) -> u64 {
        self.from.catalogue.segments().saturating_sub(self.done())
    }

    /// One round.
    fn go_on(&mut self) -> Result<(), VaultError> {
        let (mut batch, mut bytes, mut round): (Vec<(Name, Bytes, Vec<Bytes>)>, _, _) = (Vec::new(), 0, Vec::new());
        let mut previous = self.to.catalogue.tip();
        for segment in self.done()..self.from.catalogue.segments() {
            let Made { located, prefix, shards } = self.make(segment, previous)?;
            previous = Some(located.as_previous());
            bytes += shards.iter().map(|shard| prefix.len() + shard.len()).sum::<usize>();
            batch.push((segment_name(self.to.stand, segment, located.term, 0)?, prefix, shards));
            round.push((segment, located));
            if bytes >= COPIED_BYTES || batch.len() >= COPIED_SEGMENTS {
                break;
            }
        }
        let put = at_each(&self.to, self.to.shape.floor(), move |at, slot| {
            let put = slot.location.as_ref().map(|location| put_at(&batch, at, &**location));
            put.is_some_and(|put| put.inspect_err(|error| slot.fail(error)).is_ok())
        });
        for (slot, _) in self.to.slots.iter().zip(put).filter(|(_, put)| !put) {
            let mut state = slot.state();
            state.down = true;
            round.iter().for_each(|(segment, _)| state.missing.insert(*segment));
        }
        self.bears(self.to.whole())?;
        round.into_iter().for_each(|(_, located)| self.to.catalogue.push(located));
        Ok(())
    }

    /// With so many locations that lack nothing as many may be lost as when all of the old ones are there: what receipts
    /// promised holds.
    fn bears(&self, durable: usize) -> Result<(), VaultError> {
        let (now, then) = (self.from.shape, self.to.shape);
        let floor = then.floor().max(then.k() + now.n() - now.k());
        if durable < floor { Err(VaultError::NotDurable { durable, floor }) } else { Ok(()) }
    }

    /// The same segment for the new stand.
    fn make(&mut self, segment: u64, previous: Option<Previous>) -> Result<Made, VaultError> {
        let located = self.from.catalogue.get(segment).ok_or(VaultError::ChainBroken { segment })?;
        let (header, opened) = self.core.open_segment(&self.from, segment, &located)?;
        let Header { number, first, leaves, acknowledged, checkpoint, .. } = header;
        let coding = code(&self.core, &self.to, &mut self.coder, (number, self.term), opened.into_body())?;
        let content = Content { previous, first, leaves, acknowledged, checkpoint };
        make(&self.core, &self.to, content, coding)
    }

    /// While nothing is written: the rest; a claim, which says that nothing is missing where it is put; the centre record. At
    /// the floor of the old stand that closes it: whoever may write there is shown it.
    fn end(&mut self, generation: u32, draft: Drafting) -> Result<(SignedClaim, Centre), VaultError> {
        let Self { core, from, .. } = self;
        let (core, from) = (Arc::clone(core), Arc::clone(from));
        while self.left() > 0 {
            self.go_on()?;
        }
        // Where another gateway has gone on, the witnesses know.
        core.witness()?;
        let claim = SignedClaim::sign(&core.secrets.log, from.vault, term_of(generation, &*core.entropy))?;
        let on_floor =
            |durable, floor| if durable < floor { Err(VaultError::NotDurable { durable, floor }) } else { Ok(()) };
        on_floor(claim.vouch(&from), from.shape.floor())?;
        self.bears(claim.vouch(&self.to))?;

        let draft = Drafting { since: generation, entered: generation, ..draft };
        let centre = draft.sign(&core.secrets, Some(&core.centre()), &*core.clock, &*core.entropy)?;
        let has = put_record(&from, from.shape.floor(), &centre);
        on_floor(has.iter().filter(|has| **has).count(), from.shape.floor())?;
        Ok((claim, centre))
    }
}

/// The new stand with what of it an earlier move has copied: as far as every location lists it, and it is the old one's.
fn copied(from: &Shelf, to: Shelf, survey: &Survey) -> Shelf {
    let Ok(chain) = Chain::find(&to, survey) else { return to };
    if chain.gap.is_some() {
        return to;
    }
    let n = to.slots.len();
    let everywhere = |number: u64, located: &Located| (0..n).all(|at| survey.lists(at, number, located.term));
    let same = |number: u64, located: &Located| {
        let of = |shelf: &Shelf, located: &Located| shelf.header(number, located.term, located.hash);
        let (there, here) = (of(&to, located), from.catalogue.get(number).and_then(|here| of(from, &here)));
        let content = |header: Header| (header.first, header.leaves, header.body_len, header.checkpoint);
        there.zip(here).is_some_and(|(there, here)| content(there) == content(here))
    };
    let segments = (0..)
        .zip(chain.segments)
        .take_while(|(number, located)| everywhere(*number, located) && same(*number, located));
    let segments = segments.map(|(_, located)| located).collect();
    to.holding(segments)
}

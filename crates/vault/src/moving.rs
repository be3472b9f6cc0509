//! A vault moves to other locations and other holders, while records are read and kept: from 1 server to 3, to 14.
//!
//! ```text
//!  meanwhile   each segment is opened, and sealed, coded and signed anew ──► the new stand, a chain of its own
//!  a pause     what came since; a claim; the centre record that names the new stand ──► all is read and written there
//! ```
//! Entries keep their numbers, segments theirs, the ledger its tree. A stand's segments are listed under its own prefix, so
//! that neither the old one's nor those of a move that was cut short are taken for the log's. What was copied then is gone on
//! from. Whoever wants to keep something during the pause waits.
//!
//! The keys are a turn of the key epoch ([`renew`](crate::renew)) in which all is dealt anew: those who stay make their next
//! keys, [`Vault::deal_anew`] deals to all, and the old keys are destroyed at its end.

use std::sync::Arc;

use bytes::Bytes;
use keys::{Holder, HolderPublicKey};

use crate::centre::Centre;
use crate::claim::{SignedClaim, term_of};
use crate::code::Coder;
use crate::commit::{Content, Made, make};
use crate::core::{Core, lock};
use crate::error::VaultError;
use crate::found::{Drafting, distinct};
use crate::header::{Header, Previous, Stand, segment_name};
use crate::keymap::{ADOPTED, Change};
use crate::location::{Location, Name};
use crate::mend::{heal_centre, judge_centre};
use crate::open::Chain;
use crate::recover::{COPIED_BYTES, COPIED_SEGMENTS, put_each};
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

    /// Moves, and opens there what is kept and read from then on. All the locations have to answer when it begins, and enough
    /// of them for a write until it ends. Where it fails before a location has taken the record, the vault stays where it is; what was copied is gone on from when it
    /// is done again. Gives the centre record's epoch. `progress` hears of segments.
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
        let draft = Drafting { stand, shape, t, locations: ids.clone(), holders: public, ..Drafting::like(&before) };
        let centre = draft.sign(&core.secrets, Some(&before), &*core.clock, &*core.entropy)?;
        let change = Change::of(&centre, true, false).to_bytes();
        let epoch = centre.record.epoch;

        let slots = ids.into_iter().zip(locations).map(|(id, location)| Slot::new(id, Some(location))).collect();
        let to = Shelf::new(from.vault, stand, shape, slots, *centre.vkey.public_key());
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
        writer.pause(move || {
            let generation = copy.end(&before, &centre)?;
            core.moved(copy.to);
            core.adopt(centre, opener);
            Ok(generation)
        })?;
        *dealing = None;
        drop(dealing);
        self.enter(ADOPTED, change)?;
        self.registrations_ended(epoch)
    }
}

/// The copying of a vault's segments to another stand.
struct Copy {
    core: Arc<Core>,
    from: Arc<Shelf>,
    to: Arc<Shelf>,
    coder: Coder,
    /// Above every generation that stands anywhere.
    generation: u32,
    term: u64,
}

impl Copy {
    fn begin(core: Arc<Core>, from: Arc<Shelf>, to: Shelf) -> Result<Self, VaultError> {
        let survey = Survey::of(&to, None);
        let (have, need) = (survey.responding(), to.shape.n());
        if have < need {
            return Err(VaultError::NotEnoughLocations { have, need });
        }
        let claimed = lock(&core.claim).as_ref().map_or(0, SignedClaim::generation);
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
        let up = self.to.slots.iter().map(|slot| slot.location.as_deref().filter(|_| !slot.state().down));
        for (slot, put) in self.to.slots.iter().zip(put_each(&batch, up)) {
            if let Err(VaultError::Location(error)) = &put {
                slot.fail(error);
            }
            let mut state = slot.state();
            if state.down || put.is_err() {
                state.down = true;
                round.iter().for_each(|(segment, _)| state.missing.insert(*segment));
            }
        }
        let (durable, floor) = (self.to.whole(), self.to.shape.floor());
        if durable < floor {
            return Err(VaultError::NotDurable { durable, floor });
        }
        round.into_iter().for_each(|(_, located)| self.to.catalogue.push(located));
        Ok(())
    }

    /// The same segment for the new stand.
    fn make(&mut self, segment: u64, previous: Option<Previous>) -> Result<Made, VaultError> {
        let located = self.from.catalogue.get(segment).ok_or(VaultError::ChainBroken { segment })?;
        let (header, opened) = self.core.open_segment(&self.from, segment, &located)?;
        let Header { number, first, leaves, acknowledged, checkpoint, .. } = header;
        let body = opened.into_body();
        let content = Content { number, term: self.term, previous, first, leaves, acknowledged, checkpoint, body };
        make(&self.core, &self.to, &mut self.coder, content)
    }

    /// While nothing is written: the rest, the claim that says that nothing is missing there, and the centre record. Once one
    /// location has that, whoever is shown it opens the new stand, so that this process doesn't go back either. A start that isn't
    /// shown it, since that location is away, goes on in the old one: nothing closes that yet.
    fn end(&mut self, before: &Centre, centre: &Centre) -> Result<u32, VaultError> {
        while self.left() > 0 {
            self.go_on()?;
        }
        let claim = SignedClaim::sign(&self.core.secrets.log, self.to.vault, self.term)?;
        claim.vouch(&self.to);
        let (durable, floor) = (self.to.whole(), self.to.shape.floor());
        if durable < floor {
            return Err(VaultError::NotDurable { durable, floor });
        }
        let put = |slot: &Slot| !slot.state().down && heal_centre(slot, centre).unwrap_or(false);
        let shown: Vec<bool> = self.to.slots.iter().map(put).collect();
        if !shown.contains(&true) {
            return Err(VaultError::NotDurable { durable: 0, floor });
        }
        // One that came as far as its segments is filled up by a scrub.
        for (slot, _) in self.to.slots.iter().zip(shown).filter(|(_, shown)| !shown) {
            slot.state().bare = true;
        }
        // Those that are left behind say where the vault has gone.
        for slot in self.from.slots.iter().filter(|slot| judge_centre(slot, before).is_none()) {
            if judge_centre(slot, centre).is_some() && !heal_centre(slot, centre).unwrap_or(false) {
                tracing::warn!(location = slot.id, "it doesn't say where the vault has moved");
            }
        }
        *lock(&self.core.claim) = Some(claim);
        Ok(self.generation)
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

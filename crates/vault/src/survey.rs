//! What stands at each location: names, and what of them a signature vouches for.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, PoisonError};

use crate::centre::Centre;
use crate::claim::{self, SignedClaim, generation};
use crate::commit::all_at_once;
use crate::core::lock;
use crate::damage::What;
use crate::header::{self, parse_segment_name};
use crate::location::{Location, LocationError, Name};
use crate::mend::{heal_centre, judge_centre, was_away};
use crate::shelf::Shelf;

/// Names asked for at once.
pub(crate) const LIST_PAGE: usize = 4_096;

/// Claims, and headers, of one location that are tried, from the highest generation down. A name alone proves nothing;
/// whoever makes up more of them than this hides what else stands at his own location, and nobody else's.
const TRIED_MAX: usize = 16;

/// What one location shows.
#[derive(Default)]
pub(crate) struct Shown {
    /// The newest claim that the log key signed.
    pub(crate) claim: Option<SignedClaim>,
    /// The newest header that the log key signed.
    pub(crate) written: Option<Written>,
    /// The centre record stands there.
    pub(crate) centre: bool,
    /// It was away when that was put everywhere, and is to get it.
    pub(crate) owed: bool,
}

/// What a signed header says of its writer.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Written {
    pub(crate) generation: u32,
    /// The centre record under which it wrote.
    pub(crate) record: u32,
    /// The one with which the vault moved to where it wrote; what a move copies has that of where it comes from.
    pub(crate) entered: u32,
}

/// Number and term → the locations that list it.
type Listed = BTreeMap<(u64, u64), u64>;

pub(crate) struct Survey {
    pub(crate) segments: Listed,
    /// By location; `None` where it gave no answer.
    pub(crate) shown: Vec<Option<Shown>>,
}

impl Survey {
    /// `centre`: the record that has to stand there, where one is expected yet. All locations are looked at at once.
    pub(crate) fn of(shelf: &Shelf, centre: Option<&Centre>) -> Self {
        let segments = Mutex::default();
        let shown = all_at_once(&shelf.slots, |at, _| look(shelf, at, &segments));
        let mut survey = Self::new(segments, shown.into_iter().map(Option::flatten).collect());
        if let Some(centre) = centre {
            survey.expect(shelf, centre);
        }
        survey
    }

    /// Of one location.
    pub(crate) fn at(shelf: &Shelf, centre: &Centre, at: usize) -> Self {
        let segments = Mutex::default();
        let shown =
            (0..shelf.slots.len()).map(|one| (one == at).then(|| look(shelf, at, &segments)).flatten()).collect();
        let mut survey = Self::new(segments, shown);
        survey.judged(at, shelf.slots.get(at).map(|slot| judge_centre(slot, centre)));
        survey
    }

    fn new(segments: Mutex<Listed>, shown: Vec<Option<Shown>>) -> Self {
        Self { segments: segments.into_inner().unwrap_or_else(PoisonError::into_inner), shown }
    }

    /// Which locations show this record.
    pub(crate) fn expect(&mut self, shelf: &Shelf, centre: &Centre) {
        let shown = &self.shown;
        let is_shown = |at| shown.get(at).is_some_and(Option::is_some);
        let judged = all_at_once(&shelf.slots, |at, slot| is_shown(at).then(|| judge_centre(slot, centre)));
        judged.into_iter().enumerate().for_each(|(at, judged)| self.judged(at, judged.flatten()));
    }

    fn judged(&mut self, at: usize, judged: Option<Option<What>>) {
        let (Some(shown), Some(judged)) = (self.shown.get_mut(at), judged) else { return };
        match judged {
            // It went in the middle of being looked at.
            Some(What::Unreachable) => *shown = None,
            wrong => shown.iter_mut().for_each(|shown| shown.centre = wrong.is_none()),
        }
    }

    /// Locations that gave an answer.
    pub(crate) fn responding(&self) -> usize {
        self.shown.iter().flatten().count()
    }

    /// The location shows the centre record, and a claim as new as the newest segment that anybody shows. A claim goes only
    /// to a location that lacks nothing; so an empty or older one in its place doesn't count as an answer: what it lost, it
    /// would otherwise vouch never to have had.
    pub(crate) fn answers(&self, at: usize) -> bool {
        let claimed = |shown: &Shown| shown.claim.as_ref().map_or(0, SignedClaim::generation);
        let shown = self.shown.get(at).and_then(Option::as_ref);
        shown.is_some_and(|shown| (shown.centre || shown.owed) && claimed(shown) >= self.written())
    }

    pub(crate) fn answering(&self) -> usize {
        (0..self.shown.len()).filter(|&at| self.answers(at)).count()
    }

    /// Those that respond, and don't answer.
    pub(crate) fn not_answering(&self, shelf: &Shelf) -> Vec<String> {
        let silent = |at: &usize| self.shown.get(*at).is_some_and(Option::is_some) && !self.answers(*at);
        (0..self.shown.len()).filter(silent).filter_map(|at| Some(shelf.slots.get(at)?.id.clone())).collect()
    }

    /// An empty one stands in the location's place, or its centre record is damaged: a scrub has to fill it.
    pub(crate) fn is_bare(&self, at: usize) -> bool {
        self.shown.get(at).and_then(Option::as_ref).is_some_and(|shown| !shown.centre && !shown.owed)
    }

    /// Finds those that were away when the centre record changed: they show the one before. An empty one in a location's place
    /// shows none, and waits for a scrub.
    pub(crate) fn catch_up(&mut self, shelf: &Shelf, centre: &Centre) {
        for (slot, shown) in shelf.slots.iter().zip(&mut self.shown) {
            if let Some(shown) = shown.as_mut().filter(|shown| !shown.centre) {
                shown.owed = was_away(slot, centre);
            }
        }
    }

    /// Gives them the record. One that doesn't take it is down.
    pub(crate) fn give(&mut self, shelf: &Shelf, centre: &Centre) {
        for (slot, shown) in shelf.slots.iter().zip(&mut self.shown) {
            if let Some(shown) = shown.as_mut().filter(|shown| shown.owed) {
                shown.centre = heal_centre(slot, centre).unwrap_or(false);
                shown.owed = !shown.centre;
                slot.state().down |= shown.owed;
                tracing::info!(location = slot.id, given = shown.centre, "it was away when the centre record changed");
            }
        }
    }

    /// It answered, and has the record or is known to lack it.
    pub(crate) fn is_told(&self, at: usize) -> bool {
        self.shown.get(at).and_then(Option::as_ref).is_some_and(|shown| !shown.owed)
    }

    /// The highest generation that anyone has claimed or written in.
    pub(crate) fn generation(&self) -> u32 {
        let claimed = self.claim().map_or(0, |claim| claim.generation());
        self.written().max(claimed)
    }

    /// The newest claim.
    pub(crate) fn claim(&self) -> Option<&SignedClaim> {
        self.shown.iter().flatten().filter_map(|shown| shown.claim.as_ref()).max_by_key(|claim| claim.term)
    }

    /// The generation of the newest signed segment.
    pub(crate) fn written(&self) -> u32 {
        self.newest().map_or(0, |newest| newest.generation)
    }

    /// What the newest signed segment says of its writer.
    pub(crate) fn newest(&self) -> Option<Written> {
        self.shown.iter().flatten().filter_map(|shown| shown.written).max()
    }

    /// The location lists this segment.
    pub(crate) fn lists(&self, at: usize, number: u64, term: u64) -> bool {
        self.segments.get(&(number, term)).is_some_and(|mask| mask & (1 << at) != 0)
    }
}

/// What one location lists and shows; `None` where it gave no answer.
fn look(shelf: &Shelf, at: usize, segments: &Mutex<Listed>) -> Option<Shown> {
    let slot = shelf.slots.get(at)?;
    look_at(shelf, at, slot.location.as_deref()?, segments).inspect_err(|error| slot.fail(error)).ok()
}

fn look_at(
    shelf: &Shelf,
    at: usize,
    location: &dyn Location,
    segments: &Mutex<Listed>,
) -> Result<Shown, LocationError> {
    let (mut claims, mut headers) = (BTreeSet::<(u32, Name)>::new(), BTreeSet::<(u32, u64, u64)>::new());
    let mut after = None;
    loop {
        let page = location.list(after.as_ref(), LIST_PAGE)?;
        let mut segments = lock(segments);
        for listed in &page {
            if let Some((number, term, _)) = parse_segment_name(shelf.stand, &listed.name) {
                *segments.entry((number, term)).or_default() |= 1 << at;
                headers.insert((generation(term), number, term));
            } else if let Some(generation) = claim::parse_name(&listed.name) {
                claims.insert((generation, listed.name.clone()));
            }
            if headers.len() > TRIED_MAX {
                headers.pop_first();
            }
            if claims.len() > TRIED_MAX {
                claims.pop_first();
            }
        }
        match page.into_iter().next_back() {
            Some(last) => after = Some(last.name),
            None => break,
        }
    }
    let claim = claims.iter().rev().find_map(|(_, name)| {
        let body = location.get(name, None).ok()??;
        SignedClaim::open(shelf, name, &body)
    });
    let written = headers.iter().rev().find_map(|&(generation, number, term)| {
        let bytes = shelf.beginning(at, number, term)?;
        let header = shelf.signed_header(&header::parts(&bytes)?)?;
        let (record, entered) = header.record();
        let written = Written { generation, record, entered };
        ((header.number, header.term) == (number, term)).then_some(written)
    });
    Ok(Shown { claim, written, centre: true, owed: false })
}

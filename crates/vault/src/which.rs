//! Which of the centre records that stand at the locations counts.
//!
//! Each is made under a claim of its own, whose generation it says, while nothing is written; each segment says under which
//! record it was written, in the generation of its writer. So what was written tells which record was in force then. One that is
//! younger than all that was written is *pending*: its writer ended when it was put, perhaps at one location only. It
//! counts, unless something is written above it, by somebody who wasn't shown it, or was refused it: then it never was.
//!
//! A move's record names another stand, so that a start may go on in the one and the next start, which is shown more, in the other:
//!
//! ```text
//!  a move    a claim, generation g ─► its record, at the floor of where it comes from ─► everywhere else ─► an entry, under g
//!
//!  a start   something under g, or a later record, stands in the new stand? ─► the move is done, for good
//!              no ─► something above g stands where it came from? ───────────► it never was
//!                      no ─► it is gone on with, under a record of its own: a claim and that are put at the same floor before anything
//!                            is written, so that what was left there meanwhile, below the floor, can't outweigh it later
//! ```
//! Who writes in a stand was shown a quorum of its locations, and so whatever stands at its floor.

use std::sync::Arc;

use keys::RecoveryPublicKey;
use ledger::Vkey;

use crate::centre::{self, Centre};
use crate::claim::SignedClaim;
use crate::commit::all_at_once;
use crate::error::VaultError;
use crate::location::Location;
use crate::mend::{heal_centre, judge_centre};
use crate::open::shelve;
use crate::shelf::{Shelf, Slot};
use crate::survey::Survey;

/// One of the vault's layouts, as the locations show it.
pub(crate) struct Standing {
    pub(crate) centre: Centre,
    pub(crate) shelf: Shelf,
    pub(crate) survey: Survey,
    /// The record under which the newest of it was written, where `centre` is pending.
    in_force: Option<Centre>,
}

/// The record that counts, and what else has to be known before anything is written.
pub(crate) struct Which {
    pub(crate) counts: Standing,
    pub(crate) before: Before,
    /// The highest generation that any of them shows, and the highest epoch of a record.
    pub(crate) generation: u32,
    pub(crate) epoch: u32,
}

/// Where the vault stood before a move that may not be done: nobody may go on there.
pub(crate) struct Before(Vec<Standing>);

impl Which {
    /// `pinned`: the centre's log key, where it is known. With `anywhere` a location that no record names is looked at, too.
    pub(crate) fn of(
        locations: &[Arc<dyn Location>],
        pinned: Option<&Vkey>,
        anywhere: bool,
    ) -> Result<Self, VaultError> {
        let shown = all_at_once(locations, |_, location| centre::at(&**location).ok());
        let records = shown.into_iter().flatten().flatten().flatten().collect();
        let records = centre::of_one_log(records, pinned)?;
        let mut looked: Vec<Standing> = Vec::new();
        for stand in by_stand(&records) {
            let one = Standing::look(&stand, locations, anywhere).ok_or(VaultError::NoCentreRecord)?;
            let is_entered = one.is_entered();
            looked.push(one);
            if is_entered {
                break;
            }
        }
        let generation = looked.iter().map(|one| one.survey.generation().max(one.generation())).max().unwrap_or(0);
        let epoch = records.iter().map(|one| one.record.epoch).max().unwrap_or(0);
        let at = (0..looked.len()).max_by_key(|&at| looked.get(at).map_or(0, Standing::generation));
        let mut looked = looked.into_iter().skip(at.unwrap_or(0));
        let counts = looked.next().ok_or(VaultError::NoCentreRecord)?;
        let mut before: Vec<Standing> = looked.collect();
        let Some(last) = before.pop() else { return Ok(Self { counts, before: Before(before), generation, epoch }) };
        // It was never done, and where to isn't there: it goes on where it was.
        if counts.lacks_quorum() && !last.may_be_left_for(&counts.centre) {
            return Ok(Self { counts: last, before: Before(Vec::new()), generation, epoch });
        }
        // Of moves before this one those may be done that enough were given, and that nobody wrote after.
        before.retain(|one| one.generation() > last.generation() && last.may_be_left_for(&one.centre));
        before.push(last);
        Ok(Self { counts, before: Before(before), generation, epoch })
    }

    /// A record that stands nowhere yet.
    pub(crate) fn unrecorded(centre: Centre, locations: Vec<Arc<dyn Location>>) -> Self {
        let shelf = shelve(&centre, locations, false);
        let survey = Survey::of(&shelf, None);
        let (generation, epoch) = (survey.generation().max(centre.record.since()), centre.record.epoch);
        let counts = Standing { centre, shelf, survey, in_force: None };
        Self { counts, before: Before(Vec::new()), generation, epoch }
    }

    /// For those who only read: nothing is written yet where a move may not be done, so that what stood before has all of it, where
    /// enough is left of that.
    pub(crate) fn readable(self) -> Result<Self, VaultError> {
        let gives_back = |one: &Standing| one.survey.responding() >= one.centre.record.shape.k();
        let Self { counts, before: Before(before), generation, epoch } = self;
        let counts = before.into_iter().rev().find(gives_back).unwrap_or(counts);
        // Those that were to become its locations have the record, and nothing that it speaks of.
        let is_its = |slot: &Slot| slot.location.as_ref().is_some_and(|location| location.id() == slot.id);
        if counts.survey.segments.is_empty() && !counts.shelf.slots.iter().any(is_its) {
            return Err(VaultError::NoneOfIts);
        }
        Ok(Self { counts, before: Before(Vec::new()), generation, epoch })
    }

    /// For those who have a recovery key: nothing is written yet under a pending record, so that it counts only where what is
    /// in force isn't of theirs.
    pub(crate) fn opened_by(mut self, key: &RecoveryPublicKey) -> Self {
        let is_theirs = |one: &mut Centre| one.custodians.public_key() == *key;
        if let Some(in_force) = self.counts.in_force.take_if(is_theirs) {
            self.counts.centre = in_force;
        }
        self
    }

    /// The records that a recovery may go by, the first one rather.
    pub(crate) fn recoverable(self) -> Result<Vec<Centre>, VaultError> {
        let Standing { centre, in_force, .. } = self.readable()?.counts;
        Ok([centre].into_iter().chain(in_force).collect())
    }
}

impl Before {
    /// Enough of its locations have answered to tell that nobody went on there.
    pub(crate) fn settled(&self) -> Result<(), VaultError> {
        for Standing { centre, shelf, survey, .. } in &self.0 {
            let (have, need) = (survey.answering(), centre.record.shape.quorum());
            if have < need {
                return Err(unsettled(shelf, |at| survey.answers(at), need));
            }
        }
        Ok(())
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// From here on nobody who is shown a quorum of its locations goes on there: this claim stands at its floor, and the record
    /// that was made under it.
    pub(crate) fn close(&self, claim: &SignedClaim, moved: &Centre) -> Result<(), VaultError> {
        self.at_floor(|location, _| claim.put(location).unwrap_or(false))?;
        self.at_floor(|_, slot| heal_centre(slot, moved).unwrap_or(false))
    }

    fn at_floor(&self, put: impl Fn(&dyn Location, &Slot) -> bool) -> Result<(), VaultError> {
        for Standing { shelf, survey, .. } in &self.0 {
            let stands = |(at, slot): (usize, &Slot)| {
                survey.answers(at) && slot.location.as_deref().is_some_and(|location| put(location, slot))
            };
            let stands: Vec<bool> = shelf.slots.iter().enumerate().map(stands).collect();
            let (have, need) = (stands.iter().filter(|stands| **stands).count(), shelf.shape.floor());
            if have < need {
                return Err(unsettled(shelf, |at| stands.get(at) == Some(&true), need));
            }
        }
        Ok(())
    }
}

/// Says which of them don't count.
fn unsettled(shelf: &Shelf, counts: impl Fn(usize) -> bool, need: usize) -> VaultError {
    let slots = shelf.slots.iter().enumerate();
    let missing: Vec<&str> = slots.filter(|(at, _)| !counts(*at)).map(|(_, slot)| slot.id.as_str()).collect();
    VaultError::MoveUnsettled { have: shelf.slots.len() - missing.len(), need, missing: missing.join(", ") }
}

impl Standing {
    /// `records`: all of one stand, the newest first.
    fn look(records: &[&Centre], locations: &[Arc<dyn Location>], anywhere: bool) -> Option<Self> {
        let newest = records.first()?;
        let named = |location: &&Arc<dyn Location>| newest.record.locations.iter().any(|id| id == location.id());
        let own = locations.iter().filter(|location| anywhere || named(location)).cloned().collect();
        let shelf = shelve(newest, own, anywhere);
        let mut survey = Survey::of(&shelf, None);
        let entered = newest.record.entered();
        let written = survey.newest().filter(|written| written.entered == entered);
        let (generation, under) = written.map_or((0, 0), |written| (written.generation, written.record));
        let pending = Some(newest).filter(|one| one.record.since() > generation);
        let in_force = records.iter().find(|one| one.record.since() == under);
        // That none is shown which anything was written under can be only where most locations are away.
        let centre: Centre = (**pending.or(in_force).unwrap_or(newest)).clone();
        let in_force = in_force.filter(|_| pending.is_some()).map(|one| (*one).clone());
        survey.expect(&shelf, &centre);
        survey.catch_up(&shelf, &centre);
        Some(Self { centre, shelf, survey, in_force })
    }

    /// The vault was founded there, or somebody wrote there after the move.
    fn is_entered(&self) -> bool {
        let entered = self.centre.record.entered();
        entered == 0 || self.survey.newest().is_some_and(|written| written.entered == entered)
    }

    /// Of the newest thing that was written there; what moves have copied there, one after the other, is none.
    fn generation(&self) -> u32 {
        let written = if self.is_entered() { self.survey.written() } else { 0 };
        written.max(self.centre.record.since())
    }

    fn lacks_quorum(&self) -> bool {
        self.survey.answering() < self.centre.record.shape.quorum()
    }

    /// So many show this record of a move from here, or may, that it may be done.
    fn may_be_left_for(&self, moved: &Centre) -> bool {
        let may = |(at, slot): &(usize, &Slot)| {
            let answered = self.survey.shown.get(*at).is_some_and(Option::is_some);
            !answered || judge_centre(slot, moved).is_none()
        };
        self.shelf.slots.iter().enumerate().filter(may).count() >= self.shelf.shape.floor()
    }
}

/// The records of each stand, newest first; in the order of the moves, the last first.
fn by_stand(newest_first: &[Centre]) -> Vec<Vec<&Centre>> {
    let mut stands: Vec<Vec<&Centre>> = Vec::new();
    for centre in newest_first {
        let entered = centre.record.entered();
        match stands.iter_mut().find(|stand| stand.iter().any(|one| one.record.entered() == entered)) {
            Some(stand) => stand.push(centre),
            None => stands.push(vec![centre]),
        }
    }
    stands.sort_by_key(|stand| std::cmp::Reverse(stand.first().map(|one| one.record.entered())));
    stands
}

/// The record that counts for those who only read.
pub(crate) fn newest(locations: &[Arc<dyn Location>], pinned: Option<&Vkey>) -> Result<Centre, VaultError> {
    Ok(Which::of(locations, pinned, true)?.readable()?.counts.centre)
}

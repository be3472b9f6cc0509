//! Which of the centre records that stand at the locations counts.
//!
//! Each is made under a claim of its own, so that of those of one stand the one of the highest generation does. A move's names
//! another stand, and when its writer ended perhaps one location alone showed it. So a start may go on in the one stand
//! and the next one, which is shown more, in the other, if what was written didn't decide:
//!
//! ```text
//!  a move    a claim, generation g ─► its record, at the floor of where it comes from ─► everywhere else ─► an entry, above g
//!
//!  a start   something above g stands in the new stand? ───────────────► the move is done, for good
//!              no ─► something above g stands where it came from? ─────► it never was: who wrote that wasn't shown it
//!                      no ─► it is gone on with: its record is put at that floor before anything is written above g
//! ```
//! Who writes in a stand was shown a quorum of its locations, and so whatever stands at its floor.

use std::sync::Arc;

use ledger::Vkey;

use crate::centre::{self, Centre};
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
}

/// The record that counts, and what else has to be known before anything is written.
pub(crate) struct Which {
    pub(crate) counts: Standing,
    pub(crate) before: Before,
    /// The highest generation that any of them shows.
    pub(crate) generation: u32,
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
        let records = locations.iter().filter_map(|location| centre::at(&**location).ok()).flatten().collect();
        let records = centre::of_one_log(records, pinned)?;
        let mut looked: Vec<Standing> = Vec::new();
        for centre in newest_of_each_stand(&records) {
            let one = Standing::look(centre, locations, anywhere);
            let is_entered = one.is_entered();
            looked.push(one);
            if is_entered {
                break;
            }
        }
        let generation = looked.iter().map(|one| one.survey.generation().max(one.generation())).max().unwrap_or(0);
        let at = (0..looked.len()).max_by_key(|&at| looked.get(at).map_or(0, Standing::generation));
        let mut looked = looked.into_iter().skip(at.unwrap_or(0));
        let counts = looked.next().ok_or(VaultError::NoCentreRecord)?;
        let mut before: Vec<Standing> = looked.collect();
        // A move that too few were given to be done, and that nobody wrote after.
        let last = before.pop();
        before.retain(|one| last.as_ref().is_some_and(|last| last.may_be_left_for(&one.centre)));
        before.extend(last);
        Ok(Self { counts, before: Before(before), generation })
    }

    /// A record that stands nowhere yet.
    pub(crate) fn unrecorded(centre: Centre, locations: Vec<Arc<dyn Location>>) -> Self {
        let shelf = shelve(&centre, locations, false);
        let survey = Survey::of(&shelf, None);
        let generation = survey.generation();
        Self { counts: Standing { centre, shelf, survey }, before: Before(Vec::new()), generation }
    }
}

impl Before {
    /// Enough of its locations have answered to tell that nobody went on there.
    pub(crate) fn settled(&self) -> Result<(), VaultError> {
        for Standing { centre, survey, .. } in &self.0 {
            let (have, need) = (survey.answering(), centre.record.shape.quorum());
            if have < need {
                return Err(VaultError::MoveUnsettled { have, need });
            }
        }
        Ok(())
    }

    /// From here on nobody who is shown a quorum of its locations goes on there: the record of the move stands at its floor.
    pub(crate) fn close(&self, moved: &Centre) -> Result<(), VaultError> {
        for Standing { shelf, .. } in &self.0 {
            let stands = |slot: &&Slot| heal_centre(slot, moved).unwrap_or(false);
            let (have, need) = (shelf.slots.iter().filter(stands).count(), shelf.shape.floor());
            if have < need {
                return Err(VaultError::MoveUnsettled { have, need });
            }
        }
        Ok(())
    }
}

impl Standing {
    fn look(centre: &Centre, locations: &[Arc<dyn Location>], anywhere: bool) -> Self {
        let named = |location: &&Arc<dyn Location>| centre.record.locations.iter().any(|id| id == location.id());
        let own = locations.iter().filter(|location| anywhere || named(location)).cloned().collect();
        let shelf = shelve(centre, own, anywhere);
        let survey = Survey::of(&shelf, Some(centre));
        Self { centre: centre.clone(), shelf, survey }
    }

    /// The vault was founded there, or somebody wrote there after the move.
    fn is_entered(&self) -> bool {
        self.centre.record.entered() == 0 || self.survey.written() > self.centre.record.entered()
    }

    /// Of the newest thing that was written there.
    fn generation(&self) -> u32 {
        self.survey.written().max(self.centre.record.since())
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

/// In the order of the moves, the last first.
fn newest_of_each_stand(newest_first: &[Centre]) -> Vec<&Centre> {
    let mut stands: Vec<&Centre> = Vec::new();
    for centre in newest_first {
        if stands.iter().all(|one| one.record.entered() != centre.record.entered()) {
            stands.push(centre);
        }
    }
    stands.sort_by_key(|one| std::cmp::Reverse(one.record.entered()));
    stands
}

/// The record that counts for those who only read. Where a move may not be done, and what is left doesn't give its stand back, it
/// is the one before it.
pub(crate) fn newest(locations: &[Arc<dyn Location>], pinned: Option<&Vkey>) -> Result<Centre, VaultError> {
    let Which { counts, before, .. } = Which::of(locations, pinned, true)?;
    let gives_back = |one: &Standing| one.survey.responding() >= one.centre.record.shape.k();
    if !gives_back(&counts)
        && let Some(before) = before.0.into_iter().find(gives_back)
    {
        tracing::warn!("the vault was being moved, and too little is left of where to: what stood before is read");
        return Ok(before.centre);
    }
    Ok(counts.centre)
}

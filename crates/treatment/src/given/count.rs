//! How many fractions the records make.

use std::cell::OnceCell;
use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::parts::{by_day, has_unclear_image};
use super::record::{RecordedBeam, Unit};
use super::taken::Taken;
use super::twice::{self, Stretch};
use super::unknown::Unknown;
use super::versions::Versions;
use crate::plan::{FractionGroup, Plan};

/// How many fractions were given.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "state")]
pub enum Given {
    Known {
        /// Whole fractions that the delivered metersets make, and the begun ones: a record that came again counts once,
        /// and so do the parts of an interrupted fraction.
        distinct: u32,
        /// These, and the fraction numbers that are missing between them; or a summary's count, where that is higher. Where it
        /// is above `distinct`, records are missing.
        highest: u32,
        /// The newest fraction, where a beam of it hasn't delivered its meterset.
        unfinished: Option<u32>,
    },
    Unknown {
        why: Vec<Unknown>,
    },
}

impl Given {
    /// No record at all.
    pub const NONE: Self = Self::Known { distinct: 0, highest: 0, unfinished: None };

    /// For one more reason it isn't known.
    pub(crate) fn doubted(self, reason: Unknown) -> Self {
        let mut why = if let Self::Unknown { why } = self { why } else { Vec::new() };
        why.push(reason);
        Self::Unknown { why }
    }

    /// Fractions that must be taken as given: a missing record is no licence to give a fraction again.
    pub fn fractions(&self) -> Option<u32> {
        match self {
            Self::Known { distinct, highest, .. } => Some(*distinct.max(highest)),
            Self::Unknown { .. } => None,
        }
    }
}

/// Of a beam's meterset, in millionths.
pub(super) type Share = u64;
pub(super) const WHOLE: Share = 1_000_000;
/// What a fraction may be over or under and still be one.
pub(super) const SLACK: Share = WHOLE / 20;
/// A beam that is said to have taken images has treated where those of a day add up to that much.
pub(super) const NO_IMAGE: Share = WHOLE / 2;
/// More than that of a beam is as good as this much: the number is wrong, whatever it is.
const SHARE_MAX: Share = 10 * WHOLE;
/// Fractions of one day that are told apart: no pattern has as many.
const OF_A_DAY_MAX: u32 = 32;
/// More in one session is a wrong number, or a wrong dose: a physicist looks.
pub(super) const SESSION_MAX: Share = WHOLE + SLACK;

/// A beam, and whether it is said to have taken an image.
pub(super) type Exposure = (Option<u32>, bool);

/// By fraction number and beam, in millionths of the beam's meterset.
pub(crate) type Delivered = BTreeMap<u32, BTreeMap<Option<u32>, Share>>;

/// One treatment, the earliest first: its day, and its time where that is known; else, what tells it from others is its record's
/// SOP Instance UID. Of one day or time, the lower fraction number first.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Session {
    /// `YYYYMMDD HHMMSS`, `YYYYMMDD`, or not known.
    pub(super) when: Option<String>,
    pub(super) fraction: u32,
    pub(super) record: Option<String>,
}

impl Session {
    pub(super) fn date(&self) -> Option<&str> {
        self.when.as_deref()?.get(..8)
    }

    /// Where its time is known.
    pub(super) fn at(&self) -> Option<&str> {
        self.when.as_deref().filter(|_| self.record.is_none())
    }
}

/// What one beam delivered, by session: a record that came again is the same session.
pub(super) type Sessions = BTreeMap<Session, Share>;

/// What was delivered under one fraction number.
pub(super) type Exposures = BTreeMap<Exposure, Sessions>;

/// What was treated while fraction numbers went up.
type Run = BTreeMap<u32, Exposures>;

/// The newest fraction.
pub struct Newest {
    pub fraction: u32,
    /// On which it was last treated: `YYYYMMDD`.
    pub day: Option<String>,
    /// By beam, in millionths of its meterset.
    pub delivered: BTreeMap<Option<u32>, u64>,
    /// Where each of its beams stopped is plain from its records alone.
    pub is_plain: bool,
}

/// What two people have said was given, and what the records said that had come by then.
pub(crate) struct Settled {
    given: u32,
    /// The number of the newest fraction: the machine may go on from there.
    last_number: u32,
    /// The machine may go on from what was settled, too: its numbers may have been the count of what was given.
    numbers_are_counts: bool,
    /// It was written for several fractions: some machines write the same one every day.
    writes_one_number: bool,
    /// What the summaries counted, by their plan's SOP Instance UID.
    summed: BTreeMap<String, u32>,
}

/// Counts one patient's records for one fraction group of one plan, under all the SOP Instance UIDs that the same
/// delivery was exported by.
///
/// It is metersets that are counted, not fraction numbers alone: numbers begin again after a second import, and some
/// machines write the same one every day.
pub struct Course<'a> {
    pub(super) plans: BTreeSet<String>,
    pub(super) plan: &'a Plan,
    pub(super) group: &'a FractionGroup,
    /// Of the plan's beams.
    units: BTreeMap<u32, Unit>,
    pub(super) sessions: BTreeMap<Session, BTreeMap<Exposure, Share>>,
    /// The least that any record says of a session, where they contradict each other; `sessions` has the most.
    pub(super) least: BTreeMap<(Session, Exposure), Share>,
    /// Where on the beam each record says that it was.
    pub(super) stretches: BTreeMap<(Session, Exposure), BTreeSet<Stretch>>,
    /// Those that may have been told of before, once somebody asks.
    pub(super) again: OnceCell<BTreeMap<(Session, Exposure), Share>>,
    /// Those that say that they are the rest of what was begun.
    pub(super) rests: BTreeSet<Session>,
    /// Each with its plan's SOP Instance UID, and the day up to which it counts.
    pub(super) summaries: BTreeSet<(String, Option<String>, u32)>,
    /// The plans' SOP Instance UIDs that `sessions` name.
    pub(super) recorded: BTreeSet<String>,
    /// Whether the treatment has ended, or rests, as of which day.
    pub(super) ended: Vec<(Option<String>, bool)>,
    /// Why the count isn't known, of what the records say.
    pub(super) unknown: BTreeSet<Unknown>,
    /// And of what they don't.
    doubts: BTreeSet<Unknown>,
    pub(super) versions: Versions,
    pub(super) taken: Vec<Taken>,
}

impl<'a> Course<'a> {
    pub fn new(plans: BTreeSet<String>, plan: &'a Plan, group: &'a FractionGroup) -> Self {
        let units = plan.delivery.dosimeters().into_iter().map(|(beam, unit)| (beam, Unit::of(unit))).collect();
        Self {
            plans,
            plan,
            group,
            units,
            sessions: BTreeMap::new(),
            least: BTreeMap::new(),
            stretches: BTreeMap::new(),
            again: OnceCell::new(),
            rests: BTreeSet::new(),
            summaries: BTreeSet::new(),
            recorded: BTreeSet::new(),
            ended: Vec::new(),
            unknown: BTreeSet::new(),
            doubts: BTreeSet::new(),
            versions: Versions::default(),
            taken: Vec::new(),
        }
    }

    /// The count isn't known, for a reason that a record alone doesn't show.
    pub fn doubt(&mut self, why: Unknown) {
        self.doubts.insert(why);
    }

    /// Whether a record is of our fraction group.
    pub(crate) fn concerns(&self, group: Option<u32>) -> Result<bool, Unknown> {
        match group {
            Some(number) if number == self.group.number => Ok(true),
            Some(number) if self.plan.groups.iter().any(|group| group.number == number) => Ok(false),
            Some(_) => Err(Unknown::UnknownFractionGroup),
            // With one group in the plan, a record need not name it.
            None if self.plan.groups.len() == 1 => Ok(true),
            None => Err(Unknown::NoFractionGroup),
        }
    }

    /// The record names one of the plan's groups, and the beam stands in another one of them only.
    pub(super) fn is_elsewhere(&self, group: Option<u32>, beam: &RecordedBeam) -> bool {
        let has = |group: &FractionGroup| beam.number.is_some_and(|number| group.beams.contains(&number));
        let named = self.plan.groups.iter().find(|one| group == Some(one.number));
        named.is_some_and(|named| !has(named)) && self.plan.groups.iter().any(has)
    }

    /// What a meterset is of what the plan's beam delivers; none where the plan says no meterset, or says it in another unit.
    pub(super) fn of_planned(&self, beam: &RecordedBeam, meterset: i64) -> Option<Share> {
        let number = beam.number?;
        let planned = self.group.metersets.get(&number).filter(|planned| **planned > 0)?;
        let is_comparable = self.units.get(&number).zip(beam.unit).is_none_or(|(planned, said)| *planned == said);
        let millionths = i128::from(meterset) * i128::from(WHOLE) / i128::from(*planned);
        is_comparable.then(|| Share::try_from(millionths.max(1)).unwrap_or(SHARE_MAX).min(SHARE_MAX))
    }

    /// A beam's meterset, in thousandths, where it is in that unit.
    pub(super) fn planned_in(&self, beam: u32, unit: Unit) -> Option<u64> {
        let meterset = self.group.metersets.get(&beam).filter(|_| self.units.get(&beam) == Some(&unit))?;
        u64::try_from(*meterset).ok()
    }

    /// Beams that treat, rising.
    pub(super) fn treating(&self) -> impl Iterator<Item = u32> {
        let metersets = &self.group.metersets;
        self.group.beams.iter().copied().filter(|beam| metersets.get(beam).is_some_and(|meterset| *meterset > 0))
    }

    pub(super) fn has(&self, beam: u32) -> bool {
        self.group.beams.contains(&beam)
    }

    /// Where a session's part of a beam lies; nowhere of its own where it was told of before.
    pub(super) fn told_first(&self, session: &Session, exposure: Exposure) -> impl Iterator<Item = &Stretch> {
        let key = (session.clone(), exposure);
        self.stretches.get(&key).filter(|_| self.again().get(&key) != Some(&0)).into_iter().flatten()
    }

    /// What it delivered of what its beam should: all of it, where either isn't said, or is said in another unit.
    pub(super) fn share(&self, beam: &RecordedBeam) -> Share {
        let planned = beam.number.and_then(|number| self.group.metersets.get(&number));
        let is_planned = planned.is_some_and(|planned| *planned > 0);
        match (beam.delivered, planned) {
            (Some(0), _) if beam.contradicts_nothing && is_planned && !beam.imaging => WHOLE,
            (Some(0), _) => 0,
            (Some(delivered), Some(_)) if is_planned => self.of_planned(beam, delivered).unwrap_or(WHOLE),
            // An image by a beam that treats nobody, or of which nothing more is said.
            (_, None) | (None, _) if beam.imaging => 0,
            _ => WHOLE,
        }
    }

    /// Days on which something was treated, rising.
    pub(crate) fn days(&self) -> BTreeSet<&str> {
        self.sessions
            .iter()
            .filter(|(_, exposures)| treats(exposures))
            .filter_map(|(session, _)| session.date())
            .collect()
    }

    /// When something was treated last, up to the end of a day (`YYYYMMDD`): `YYYYMMDD HHMMSS`, or `YYYYMMDD`.
    pub(crate) fn last_treated(&self, until: &str) -> Option<&str> {
        let treated = self.sessions.iter().filter(|(_, exposures)| treats(exposures));
        let by_then = treated.filter(|(session, _)| session.date().is_some_and(|date| date <= until));
        by_then.filter_map(|(session, _)| session.when.as_deref()).max()
    }

    /// The newest fraction, of the last numbers where they began again.
    pub fn newest(&self) -> Option<Newest> {
        let run = self.runs().ok()?.pop()?;
        let (fraction, exposures) = run.into_iter().rfind(|(_, exposures)| most(exposures) > 0)?;
        // An image of another day is none of it.
        let day = days_of(&exposures).max().map(str::to_owned);
        let is_plain = self.is_plain(&exposures);
        // Of several fractions under one number, the last one.
        let before = Share::from(fractions_of(most(&exposures)).saturating_sub(1)).saturating_mul(WHOLE);
        let mut delivered = beams_of(&exposures);
        delivered.values_mut().for_each(|share| *share = share.saturating_sub(before));
        Some(Newest { fraction, day, delivered, is_plain })
    }

    /// Fractions of which something was treated on a day, the rests of others among them.
    pub(crate) fn treated_on(&self, day: &str) -> usize {
        let mut of_day = Run::new();
        let sessions = self.sessions.iter().filter(|(session, _)| session.date() == Some(day));
        sessions.for_each(|(session, exposures)| enter(&mut of_day, session, exposures));
        usize::try_from(distinct(&of_day)).unwrap_or(usize::MAX)
    }

    /// The day of each fraction, in order: of a begun one, when it was begun. What has no day is left out.
    pub(crate) fn fraction_days(&self) -> Vec<String> {
        let (mut all, mut days, mut before) = (Run::new(), Vec::new(), 0_u32);
        let dated = self.sessions.iter().filter_map(|(session, exposures)| Some((session.date()?, session, exposures)));
        let mut dated: Vec<_> = dated.collect();
        dated.sort_by_key(|(day, ..)| *day);
        for of_day in dated.chunk_by(|(one, ..), (other, ..)| one == other) {
            of_day.iter().for_each(|(_, session, exposures)| enter(&mut all, session, exposures));
            let count = distinct(&all);
            let day = of_day.first().map(|(day, ..)| *day).unwrap_or_default();
            days.extend((before..count.min(before.saturating_add(OF_A_DAY_MAX))).map(|_| day.to_owned()));
            before = count.max(before);
        }
        days
    }

    /// What may have been delivered under each fraction number, by beam, up to a day, whatever the order: none where a record doesn't
    /// say by which.
    pub(crate) fn delivered(&self, until: Option<&str>) -> Delivered {
        self.by_beam(until, |_, _, most| most)
    }

    /// The same, as far as it is sure: where records of one session contradict each other, the least; and of those of a day without a
    /// time, which may be one record that came again, the most of one.
    pub(crate) fn surely(&self, until: Option<&str>) -> Delivered {
        let again = self.again();
        let mut untimed: BTreeMap<(Option<&str>, u32, Exposure), (Share, &Session)> = BTreeMap::new();
        for (session, exposures) in self.sessions.iter().filter(|(session, _)| session.record.is_some()) {
            let is_sure = |exposure| again.get(&(session.clone(), exposure)) != Some(&0);
            for (exposure, share) in exposures.iter().filter(|of| is_sure(*of.0)) {
                let most = untimed.entry((session.date(), session.fraction, *exposure)).or_insert((*share, session));
                *most = (*most).max((*share, session));
            }
        }
        self.by_beam(until, |session, exposure, most| {
            let of_day = untimed.get(&(session.date(), session.fraction, exposure));
            if session.record.is_some() && of_day.is_none_or(|(_, said)| *said != session) {
                return 0;
            }
            let of = (session.clone(), exposure);
            [self.least.get(&of), again.get(&of)].into_iter().flatten().fold(most, |least, one| least.min(*one))
        })
    }

    fn by_beam(&self, until: Option<&str>, share: impl Fn(&Session, Exposure, Share) -> Share) -> Delivered {
        let mut all = Run::new();
        for (session, exposures) in &self.sessions {
            if until.is_none_or(|day| session.date() <= Some(day)) {
                let said = exposures.iter().map(|(exposure, most)| (*exposure, share(session, *exposure, *most)));
                enter(&mut all, session, &said.filter(|(_, share)| *share > 0).collect());
            }
        }
        all.iter().map(|(number, exposures)| (*number, beams_of(exposures))).collect()
    }

    fn again(&self) -> &BTreeMap<(Session, Exposure), Share> {
        self.again.get_or_init(|| twice::again(&self.sessions, &self.stretches, self.plan.most_a_day(self.group)))
    }

    /// Records of one session contradict each other by more than a fraction may be over or under; of the newest one, which may have to
    /// be finished, by anything.
    fn contradicts_itself(&self, newest: Option<&Exposures>) -> bool {
        let is_of_newest = |session: &Session, exposure: &Exposure| {
            newest.and_then(|newest| newest.get(exposure)).is_some_and(|sessions| sessions.contains_key(session))
        };
        self.stretches.iter().any(|((session, exposure), stretches)| {
            let (least, most) = twice::said(stretches);
            // Images are as many as they are.
            if exposure.1 && most < NO_IMAGE {
                return false;
            }
            // More than the beam has is implausible, and said as that.
            most <= SESSION_MAX && (most - least > SLACK || (most > least && is_of_newest(session, exposure)))
        })
    }

    /// Nothing but its own records tells what was given, and no number is missing between them.
    pub(super) fn is_complete(&self) -> bool {
        self.summaries.is_empty() && self.runs().is_ok_and(|runs| runs.iter().all(|run| missing(run, 0) == 0))
    }

    pub fn given(&self) -> Given {
        self.given_beside(None)
    }

    /// What two people have said was given, where these are the records that had come by then.
    pub(crate) fn settled(&self, given: u32) -> Settled {
        let runs = self.runs().unwrap_or_default();
        let newest = self.sessions.iter().rfind(|(session, exposures)| session.when.is_some() && treats(exposures));
        let last =
            runs.last().map(highest).filter(|number| *number > 0).or(newest.map(|(session, _)| session.fraction));
        let of_last = last.and_then(|last| runs.last()?.get(&last));
        let mut summed = BTreeMap::new();
        for (plan, _, delivered) in &self.summaries {
            let most = summed.entry(plan.clone()).or_insert(*delivered);
            *most = (*most).max(*delivered);
        }
        let writes_one_number = of_last.is_some_and(|exposures| most(exposures) > WHOLE + SLACK);
        let last_number = last.unwrap_or(0);
        // Not where numbers began again, nor where they were ahead.
        let numbers_are_counts = runs.len() == 1 && given >= last_number;
        Settled { given, last_number, numbers_are_counts, writes_one_number, summed }
    }

    /// What was given in all, where these are the records that came since two people have said how many were given before.
    pub(crate) fn given_beside(&self, settled: Option<Settled>) -> Given {
        let mut unknown = &self.unknown | &self.doubts;
        let runs = self.runs().unwrap_or_else(|why| {
            unknown.insert(why);
            Vec::new()
        });
        let before = settled.as_ref().map_or(0, |settled| settled.given);
        // The first numbers since go on from what was settled, from the machine's own last one, or begin again; otherwise how
        // many are missing can't be told.
        let least = runs.first().and_then(lowest).unwrap_or(1);
        let from = if settled.is_some() { least.saturating_sub(1) } else { 0 };
        let goes_on = |settled: &Settled| {
            let is_last_again = settled.writes_one_number && settled.last_number == least;
            let is_count = settled.numbers_are_counts && settled.given == from;
            is_last_again || is_count || [settled.last_number, 0].contains(&from)
        };
        if settled.as_ref().is_some_and(|settled| !goes_on(settled)) {
            unknown.insert(Unknown::NumbersFall);
        }
        let first = runs.first().and_then(|run| run.get(&least));
        // What was begun was settled as a whole one; its rest may come under its number, and that may be any that isn't surely new.
        let may_be_rest = |settled: &Settled| {
            least <= settled.last_number.max(settled.given) && first.is_some_and(|first| self.is_unfinished(first))
        };
        if settled.as_ref().is_some_and(may_be_rest) {
            unknown.insert(Unknown::LateRecord);
        }
        for run in &runs {
            if self.has_one_fraction_as_two(run) {
                unknown.insert(Unknown::FractionDiffers);
            }
            if run.len() > 1 && run.values().any(|exposures| most(exposures) > WHOLE + SLACK) {
                unknown.insert(Unknown::ToldTwice);
            }
        }
        if runs.iter().flat_map(BTreeMap::values).any(|exposures| self.is_torn(exposures)) {
            unknown.insert(Unknown::BeamsDiffer);
        }
        let newest = runs.last().and_then(|run| run.iter().rfind(|(_, exposures)| most(exposures) > 0));
        let unfinished = newest.filter(|(_, exposures)| self.is_unfinished(exposures));
        if self.contradicts_itself(unfinished.map(|(_, exposures)| exposures)) {
            unknown.insert(Unknown::PartsDiffer);
        }
        let parted = || runs.iter().flat_map(BTreeMap::values).any(|exposures| self.lacks_a_part(exposures, false));
        // Where one number stands for several fractions, the others' parts are whole beams.
        let is_of_one = |exposures: &Exposures| most(exposures) <= WHOLE + SLACK;
        let begun = unfinished.map(|(_, exposures)| exposures).filter(|exposures| is_of_one(exposures));
        if begun.is_some_and(|exposures| self.lacks_a_part(exposures, true)) || parted() {
            unknown.insert(Unknown::PartMissing);
        }
        if !self.again().is_empty() {
            unknown.insert(Unknown::ToldTwice);
        }
        if runs.iter().flat_map(BTreeMap::values).any(has_unclear_image) {
            unknown.insert(Unknown::ImageOrTreatment);
        }
        // Numbers that begin again begin at 1; what is missing of each stretch is missing for good.
        let counted: Vec<(u32, u32)> = (runs.iter().enumerate())
            .map(|(at, run)| (distinct(run), missing(run, if at == 0 { from } else { 0 })))
            .collect();
        let distinct = counted.iter().fold(0, |sum: u32, (distinct, _)| sum.saturating_add(*distinct));
        let recorded = counted.iter().fold(distinct, |sum, (_, missing)| sum.saturating_add(*missing));
        let summed = self.summed(recorded, settled.as_ref()).unwrap_or_else(|why| {
            unknown.insert(why);
            0
        });
        let highest = before.saturating_add(recorded.max(summed));
        // Where all were given it has ended anyway.
        if self.has_ended() && highest < self.group.fractions_planned {
            unknown.insert(Unknown::TreatmentEnded);
        }
        if !unknown.is_empty() {
            return Given::Unknown { why: unknown.into_iter().collect() };
        }
        Given::Known {
            distinct: before.saturating_add(distinct),
            highest,
            unfinished: unfinished.map(|(number, _)| *number),
        }
    }

    /// Somebody says that the treatment has ended, or rests, and nobody since that it went on.
    fn has_ended(&self) -> bool {
        // Of one day, or where neither says of which, the one that came later is the newer one.
        let went_on = |at: usize, since: &Option<String>| {
            let mut others = self.ended.iter().enumerate().filter(|(_, (_, ended))| !ended);
            others.any(|(other, (day, _))| (since.is_some() && day > since) || (day == since && other > at))
        };
        self.ended.iter().enumerate().any(|(at, (day, ended))| *ended && !went_on(at, day))
    }

    /// Two fractions of one day are both unfinished, and no beam was treated in both: one, told under two numbers.
    fn has_one_fraction_as_two(&self, run: &Run) -> bool {
        let mut days: BTreeMap<&str, Vec<&Exposures>> = BTreeMap::new();
        for exposures in run.values().filter(|exposures| most(exposures) > 0 && self.is_unfinished(exposures)) {
            let of: BTreeSet<&str> = days_of(exposures).collect();
            of.into_iter().for_each(|day| days.entry(day).or_default().push(exposures));
        }
        let are_one = |one: &Exposures, other: &Exposures| {
            let (one, other) = (beams_of(one), beams_of(other));
            one.iter().all(|(beam, share)| share + other.get(beam).copied().unwrap_or(0) <= WHOLE + SLACK)
        };
        days.values().any(|of_day| of_day.iter().zip(of_day.iter().skip(1)).any(|(one, other)| are_one(one, other)))
    }

    /// What was treated, in the order of time, a new run where fraction numbers begin again at 1. A number that falls to
    /// another one doesn't say whether it fills a gap or begins again; but the rest of an interrupted fraction may come late.
    fn runs(&self) -> Result<Vec<Run>, Unknown> {
        let mut runs = vec![Run::new()];
        let (undated, dated): (Vec<_>, Vec<_>) = self.sessions.iter().partition(|(session, _)| session.when.is_none());
        for (session, exposures) in dated {
            let last = runs.last().map_or(0, highest);
            if treats(exposures) && session.fraction < last {
                let before = runs.last().and_then(|run| run.get(&session.fraction));
                let is_rest_of = |before: &Exposures| {
                    let sum = |exposure| before.get(exposure).map_or(0, sum);
                    exposures.iter().all(|(exposure, share)| sum(exposure) + share <= WHOLE + SLACK)
                };
                let goes_on = before.is_some_and(|before| {
                    let sum = |exposure| before.get(exposure).map_or(0, sum);
                    let begun = before.values().flat_map(BTreeMap::keys).filter_map(Session::date).max();
                    // A beam that wasn't begun, behind later days' fractions, may as well be of one whose other records are lost.
                    let later = runs.last().into_iter().flat_map(|run| run.range(session.fraction + 1..));
                    let mut later = later.flat_map(|(_, exposures)| exposures.values().flat_map(BTreeMap::keys));
                    let mut treated = exposures.iter().filter(|((_, imaging), share)| !imaging || **share >= NO_IMAGE);
                    let were_begun = treated.all(|(exposure, _)| sum(exposure) > 0);
                    let is_behind = later.any(|one| one.date() > begun && one.date() < session.date());
                    most(before) > 0 && is_rest_of(before) && (were_begun || !is_behind)
                });
                // What isn't whole may be the rest of the first one, whose other records are lost.
                let begins_again = !self.rests.contains(session)
                    && (before.is_some_and(|before| !is_rest_of(before)) || self.is_whole(session, exposures));
                match (goes_on, session.fraction) {
                    (true, _) => {}
                    (false, 1) if begins_again => runs.push(Run::new()),
                    (false, _) => return Err(Unknown::NumbersFall),
                }
            }
            runs.last_mut().into_iter().for_each(|run| enter(run, session, exposures));
        }
        // What isn't dated counts by its number alone.
        for (session, exposures) in undated {
            runs.first_mut().into_iter().for_each(|run| enter(run, session, exposures));
        }
        Ok(runs)
    }

    /// Each beam of the group delivered its meterset in one session, from the beginning.
    fn is_whole(&self, session: &Session, exposures: &BTreeMap<Exposure, Share>) -> bool {
        let of = |beam: u32| {
            [false, true].iter().filter_map(|imaging| exposures.get(&(Some(beam), *imaging))).sum::<Share>()
        };
        !self.rests.contains(session) && self.group.metersets.keys().all(|beam| of(*beam) >= WHOLE - SLACK)
    }

    /// Fractions by the summaries: each one's, and what was treated after the day up to which it counts. They count whole courses,
    /// so beside what was settled it is by how much they have risen since. Unknown where one counts more than all the records,
    /// and doesn't say up to which day; and where those of one export of the plan may go on from those of another, or not.
    fn summed(&self, recorded: u32, settled: Option<&Settled>) -> Result<u32, Unknown> {
        let mut summed: BTreeMap<&str, u32> = BTreeMap::new();
        for (plan, day, delivered) in &self.summaries {
            let before = match settled {
                Some(settled) => *settled.summed.get(plan).ok_or(Unknown::SummaryAlone)?,
                None => 0,
            };
            let is_of_another = !self.recorded.is_empty() && !self.recorded.contains(plan);
            let Some(delivered) = delivered.checked_sub(before).filter(|_| !is_of_another) else {
                return Err(Unknown::SummariesDiffer);
            };
            let mut later = 0;
            match day {
                None if delivered > recorded && !self.sessions.is_empty() => return Err(Unknown::SummaryUndated),
                None => {}
                Some(day) => {
                    // What was begun by then, and went on later, it has counted.
                    let counted = |is_in: &dyn Fn(&str) -> bool| {
                        let mut run = Run::new();
                        let dated = self.sessions.iter().filter(|(session, _)| session.date().is_some_and(is_in));
                        dated.for_each(|(session, exposures)| enter(&mut run, session, exposures));
                        distinct(&run)
                    };
                    later = counted(&|_| true).saturating_sub(counted(&|date| date <= day.as_str()));
                    // Or not, where it counts whole ones only: the records tell, unless it knows of more than they do.
                    let has_rests = counted(&|date| date > day.as_str()) > later;
                    if has_rests && delivered.saturating_add(later) > recorded {
                        return Err(Unknown::SummariesDiffer);
                    }
                }
            }
            let most = summed.entry(plan).or_default();
            *most = (*most).max(if delivered > 0 { delivered.saturating_add(later) } else { 0 });
        }
        let mut risen = summed.into_values().filter(|most| *most > 0);
        let first = risen.next().unwrap_or(0);
        if risen.next().is_some() { Err(Unknown::SummariesDiffer) } else { Ok(first) }
    }

    /// One number stands for several fractions, and on some day not all of its beams were delivered, or less than all of each:
    /// whether that was one begun fraction, or several of which records are missing, can't be told.
    fn is_torn(&self, exposures: &Exposures) -> bool {
        if most(exposures) <= WHOLE + SLACK {
            return false;
        }
        let planned = || self.group.metersets.iter().filter(|(_, meterset)| **meterset > 0).map(|(number, _)| *number);
        let mut days: BTreeMap<Option<&str>, BTreeMap<u32, Share>> = BTreeMap::new();
        for ((beam, imaging), sessions) in exposures {
            let Some(beam) = beam else { return false };
            // A day's images are none of it, as long as they are images.
            for of in by_day(sessions) {
                let (day, sum) = (of.first().and_then(|(session, _)| session.date()), written(of));
                let known = days.entry(day).or_default().entry(*beam).or_default();
                *known = known.saturating_add(if *imaging && sum < NO_IMAGE { 0 } else { sum });
            }
        }
        let of_days = days.values().filter_map(|day| day.values().max()).filter(|most| **most > 0);
        let of_days = of_days.map(|most| fractions_of(*most));
        let by_day = of_days.fold(0, u32::saturating_add);
        let are_pieces = by_day != fractions_of(most(exposures));
        are_pieces
            || days.values().any(|day| {
                let of = |beam| day.get(&beam).copied().unwrap_or(0);
                let most = planned().map(of).max().unwrap_or(0);
                planned().any(|beam| of(beam) + NO_IMAGE <= most)
            })
    }

    /// A beam of it hasn't delivered its meterset, as far as its beams can be told apart; where one number stands for several fractions,
    /// as often as any has begun to.
    fn is_unfinished(&self, exposures: &Exposures) -> bool {
        let of = |number: u32| -> Share {
            let both = [false, true].map(|imaging| (Some(number), imaging));
            let sum: Share = both.iter().filter_map(|exposure| exposures.get_key_value(exposure)).map(delivered).sum();
            sum.saturating_add(self.begun_by_image(exposures, Some(number)))
        };
        let are_told_apart = exposures.keys().all(|(beam, _)| beam.is_some());
        let wholes = Share::from(fractions_of(most(exposures))).saturating_mul(WHOLE);
        are_told_apart && self.group.metersets.keys().any(|number| of(*number).saturating_add(SLACK) < wholes)
    }
}

fn enter(run: &mut Run, session: &Session, exposures: &BTreeMap<Exposure, Share>) {
    for (exposure, share) in exposures {
        let sessions = run.entry(session.fraction).or_default().entry(*exposure).or_default();
        sessions.insert(session.clone(), *share);
    }
}

/// What is nearly a whole one is one: a machine's metersets may be a little less each day, or more.
fn sum<'a>(sessions: impl IntoIterator<Item = (&'a Session, &'a Share)>) -> Share {
    let snapped = |share: Share| if share.abs_diff(WHOLE) <= SLACK { WHOLE } else { share };
    sessions.into_iter().fold(0, |sum: Share, (_, share)| sum.saturating_add(snapped(*share)))
}

pub(super) fn written<'a>(sessions: impl IntoIterator<Item = (&'a Session, &'a Share)>) -> Share {
    sessions.into_iter().fold(0, |sum: Share, (_, share)| sum.saturating_add(*share))
}

/// Images are none of a fraction's dose, as long as they are images.
pub(super) fn delivered((exposure, sessions): (&Exposure, &Sessions)) -> Share {
    match exposure.1 {
        false => sum(sessions),
        true => by_day(sessions).map(sum).filter(|sum| *sum >= NO_IMAGE).fold(0, Share::saturating_add),
    }
}

/// The same as it is written: a little less each day is less dose.
fn exactly((exposure, sessions): (&Exposure, &Sessions)) -> Share {
    match exposure.1 {
        false => written(sessions),
        true => by_day(sessions).map(written).filter(|sum| *sum >= NO_IMAGE).fold(0, Share::saturating_add),
    }
}

/// Of each beam, as it is written.
fn beams_of(exposures: &Exposures) -> BTreeMap<Option<u32>, Share> {
    let mut beams: BTreeMap<Option<u32>, Share> = BTreeMap::new();
    for exposure in exposures {
        *beams.entry(exposure.0.0).or_default() += exactly(exposure);
    }
    beams
}

/// On which something of it was treated.
fn days_of(exposures: &Exposures) -> impl Iterator<Item = &str> {
    let treated = exposures.iter().filter(|of| delivered(*of) > 0).flat_map(|(_, sessions)| sessions.keys());
    treated.filter_map(Session::date)
}

/// By the beam that delivered most.
fn most(exposures: &Exposures) -> Share {
    exposures.iter().map(delivered).max().unwrap_or(0)
}

/// Whole fractions that the metersets make, and the begun ones.
fn distinct(run: &Run) -> u32 {
    run.values().map(most).filter(|most| *most > 0).map(fractions_of).fold(0, u32::saturating_add)
}

/// Fractions that so much of one beam makes under one number, the begun one among them.
pub(super) fn fractions_of(share: Share) -> u32 {
    u32::try_from(share.saturating_sub(SLACK).div_ceil(WHOLE).max(1)).unwrap_or(u32::MAX)
}

/// One session's exposures are no images alone.
fn treats(exposures: &BTreeMap<Exposure, Share>) -> bool {
    exposures.iter().any(|((_, imaging), share)| !imaging || *share >= NO_IMAGE)
}

/// The numbers under which something was treated, rising.
fn numbers(run: &Run) -> impl DoubleEndedIterator<Item = u32> {
    run.iter().filter(|(_, exposures)| most(exposures) > 0).map(|(number, _)| *number)
}

fn highest(run: &Run) -> u32 {
    numbers(run).next_back().unwrap_or(0)
}

fn lowest(run: &Run) -> Option<u32> {
    numbers(run).next()
}

/// How many numbers after `from`, and below the highest, have no record.
fn missing(run: &Run, from: u32) -> u32 {
    let there = numbers(run).filter(|number| *number > from).count();
    highest(run).saturating_sub(from).saturating_sub(u32::try_from(there).unwrap_or(u32::MAX))
}

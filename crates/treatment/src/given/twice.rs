//! Sessions that may be told of twice: the same one by two clocks, under two UIDs, or by two people.
//!
//! A record that comes again says the same time, and counts once. Where an archive drops seconds, an export says another zone's time, or
//! no time at all, it looks like another session of the same fraction. Nobody delivers the same part of a beam twice in one
//! fraction: what looks so is told of twice, or a wrong dose, and a physicist looks.

use std::collections::{BTreeMap, BTreeSet};

use super::count::{Exposure, NO_IMAGE, SLACK, Session, Share, WHOLE};
use crate::interruption::calendar::Day;

/// Two parts may overlap by so much and still follow each other, or differ by so much and still be the same: of a small beam it is a decimal.
const JOINT: Share = WHOLE / 50;
/// Nobody is treated twice within so many seconds.
const APART: i64 = 6 * 3_600;
/// The furthest clocks of two zones, and the steps in which they differ; an archive may have dropped the seconds.
const ZONES: i64 = 14 * 3_600;
const ZONE_STEP: i64 = 15 * 60;
const SECONDS: i64 = 60;
/// Parts of one beam under one number that are near each other: no beam is stopped as often.
const PARTS_MAX: usize = 100;

/// Part of a beam, from one share of its meterset to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Stretch {
    pub(super) from: Share,
    pub(super) to: Share,
    /// Its control points say where it lies; else it is taken to lie at the beginning.
    pub(super) is_told: bool,
    /// It says that the beam had begun before, whether it says where or not.
    pub(super) is_rest: bool,
    /// It says that somebody, or the machine, stopped it.
    pub(super) was_stopped: bool,
}

impl Stretch {
    pub(super) fn length(self) -> Share {
        self.to.saturating_sub(self.from)
    }

    /// As much as they may overlap and still follow each other: no half of either.
    fn joint(self, other: Self) -> Share {
        JOINT.min(self.length() / 2).min(other.length() / 2)
    }

    /// Whether both can't be parts of one fraction. Of what doesn't say where it lies, only the very same may be the same again.
    pub(super) fn overlaps(self, other: Self) -> bool {
        match self.is_told && other.is_told {
            true => self.from.max(other.from) + self.joint(other) < self.to.min(other.to),
            false => self.length().abs_diff(other.length()) <= JOINT,
        }
    }
}

/// What records of one session say of one beam: the least, and the most. Parts that follow each other add up, though the machine writes the
/// session's time into each.
pub(super) fn said(stretches: &BTreeSet<Stretch>) -> (Share, Share) {
    let told = stretches.iter().all(|one| one.is_told);
    let pairs = stretches.iter().zip(stretches.iter().skip(1));
    // In their order, so that neighbours tell.
    let follow = told && pairs.clone().all(|(one, next)| next.from + one.joint(*next) >= one.to);
    let sum = stretches.iter().fold(0, |sum: Share, one| sum.saturating_add(one.length()));
    if follow {
        return (sum, sum);
    }
    let least = stretches.iter().map(|one| one.length()).min().unwrap_or(0);
    let (mut most, mut end) = (0, 0);
    for one in stretches {
        most += one.to.saturating_sub(one.from.max(end));
        end = end.max(one.to);
    }
    (least, most.max(least))
}

/// One session's part of one beam.
struct Piece<'a> {
    session: &'a Session,
    exposure: Exposure,
    share: Share,
    stretches: &'a BTreeSet<Stretch>,
    /// Seconds, on the machine's clock; none where no time is said.
    at: Option<i64>,
}

impl Piece<'_> {
    fn key(&self) -> (Session, Exposure) {
        (self.session.clone(), self.exposure)
    }

    fn says(&self, what: impl Fn(&Stretch) -> bool) -> bool {
        self.stretches.iter().all(what)
    }

    /// One that says that it goes on, and one that doesn't, are parts of the beam; so are two that differ and together make it, where
    /// they don't say that they lie elsewhere.
    fn completes(&self, other: &Self) -> bool {
        let sum = self.share.saturating_add(other.share);
        let is_rest = |piece: &Self| piece.says(|one| one.is_rest);
        let goes_on = is_rest(self) != is_rest(other) && sum <= WHOLE + SLACK;
        let are_told = self.says(|one| one.is_told) && other.says(|one| one.is_told);
        !are_told && (goes_on || (self.share.abs_diff(other.share) > JOINT && sum.abs_diff(WHOLE) <= SLACK))
    }

    fn overlaps(&self, other: &Self) -> bool {
        !self.completes(other) && self.stretches.iter().any(|one| other.stretches.iter().any(|two| one.overlaps(*two)))
    }

    /// Whether it may be the other one, told of again.
    fn is_again(&self, other: &Self, course: Pattern) -> bool {
        let is_too_much = self.share.saturating_add(other.share) > WHOLE + SLACK;
        // A treatment and what is said to be its image, in one record: whole both, or neither is the other.
        if self.session == other.session && self.share.min(other.share) < WHOLE - SLACK {
            return false;
        }
        let (Some(at), Some(before)) = (self.at, other.at) else {
            // One without a time is of the whole day; what a day has room for, the sum over it tells. By another zone it is the next.
            return match self.session.date() == other.session.date() {
                true => (course.rises && is_too_much) || (!is_too_much && self.overlaps(other)),
                false => course.rises && (is_too_much || self.overlaps(other)),
            };
        };
        let apart = (at - before).abs();
        let from_step = apart % ZONE_STEP;
        let is_other_zone = course.most_a_day == 1
            && (from_step <= SECONDS || from_step >= ZONE_STEP - SECONDS)
            && self.overlaps(other);
        let is_near = apart < APART || course.rises;
        apart <= ZONES && ((is_near && (is_too_much || self.overlaps(other))) || is_other_zone)
    }
}

/// How fractions follow each other.
#[derive(Clone, Copy)]
struct Pattern {
    most_a_day: usize,
    /// Each has a number of its own: one number is no two fractions within a day.
    rises: bool,
}

/// `YYYYMMDD HHMMSS` in seconds.
fn seconds(when: &str) -> Option<i64> {
    let day = Day::of_dicom(when.get(..8)?)?;
    let time = when.get(9..15)?;
    let part = |range: std::ops::Range<usize>| time.get(range)?.parse::<i64>().ok();
    let days = i64::from(day.since(Day::of_dicom("20000101")?));
    Some(days * 86_400 + part(0..2)? * 3_600 + part(2..4)? * 60 + part(4..6)?)
}

/// Of sessions that may be one, told of twice: as much of each as is sure. Of all but the first nothing, and of that the least that one of
/// them says. `most_a_day`: fractions.
pub(super) fn again(
    sessions: &BTreeMap<Session, BTreeMap<Exposure, Share>>,
    stretches: &BTreeMap<(Session, Exposure), BTreeSet<Stretch>>,
    most_a_day: usize,
) -> BTreeMap<(Session, Exposure), Share> {
    let numbers: BTreeSet<u32> = sessions.keys().map(|session| session.fraction).collect();
    let course = Pattern { most_a_day, rises: numbers.len() > 1 };
    let mut by_beam: BTreeMap<(u32, Option<u32>), Vec<Piece<'_>>> = BTreeMap::new();
    for (session, exposures) in sessions {
        for (exposure, share) in exposures.iter().filter(|((_, imaging), share)| !imaging || **share >= NO_IMAGE) {
            let Some(stretches) = stretches.get(&(session.clone(), *exposure)) else { continue };
            let at = session.when.as_deref().and_then(seconds);
            let piece = Piece { session, exposure: *exposure, share: *share, stretches, at };
            by_beam.entry((session.fraction, exposure.0)).or_default().push(piece);
        }
    }
    let mut all = BTreeMap::new();
    for mut pieces in by_beam.into_values() {
        // What has a time first: what has none is compared with it.
        pieces.sort_by_key(|piece| (piece.at.is_none(), piece.at));
        let (mut first, mut of_day) = (Vec::<&Piece<'_>>::new(), BTreeMap::<_, Vec<&Piece<'_>>>::new());
        let mut sums: BTreeMap<Option<&str>, Share> = BTreeMap::new();
        for piece in &pieces {
            let day = piece.session.date();
            let near: Vec<&Piece<'_>> = match piece.at {
                Some(at) => {
                    first.iter().rev().take_while(|one| one.at.is_some_and(|one| at - one <= ZONES)).copied().collect()
                }
                None if course.rises => (first.iter().rev())
                    .filter(|one| one.session.date().zip(day).is_some_and(|(one, day)| is_next(one, day)))
                    .take(PARTS_MAX)
                    .copied()
                    .collect(),
                None => of_day.get(&day).cloned().unwrap_or_default(),
            };
            let is_full =
                near.len() >= PARTS_MAX || is_too_much_at_once(piece, &near) || has_no_room(piece, &sums, most_a_day);
            let same: Vec<&Piece<'_>> = near.into_iter().filter(|one| piece.is_again(one, course)).collect();
            if same.is_empty() && !is_full {
                let sum = sums.entry(day).or_default();
                *sum = sum.saturating_add(piece.share);
                first.push(piece);
                of_day.entry(day).or_default().push(piece);
                continue;
            }
            all.insert(piece.key(), 0);
            for one in same {
                let sure = all.entry(one.key()).or_insert(said(one.stretches).0);
                *sure = said(piece.stretches).0.min(*sure);
            }
        }
    }
    all
}

/// The same day, or one of its neighbours.
fn is_next(one: &str, other: &str) -> bool {
    Day::of_dicom(one).zip(Day::of_dicom(other)).is_some_and(|(one, other)| one.since(other).abs() <= 1)
}

/// All that was told of the beam in some hours is more than it has.
fn is_too_much_at_once(piece: &Piece<'_>, near: &[&Piece<'_>]) -> bool {
    // An image of the same session is none of the beam's parts.
    let others = near.iter().filter(|one| one.session != piece.session);
    let at_once = others.filter(|one| one.at.zip(piece.at).is_some_and(|(before, at)| at - before < APART));
    let sum = at_once.fold(0, |sum: Share, one| sum.saturating_add(one.share));
    sum > 0 && sum.saturating_add(piece.share) > WHOLE + SLACK
}

/// What has no time is one more than its day has room for; what has no day, than a fraction has.
fn has_no_room(piece: &Piece<'_>, of_day: &BTreeMap<Option<&str>, Share>, most_a_day: usize) -> bool {
    let (sum, fractions) = match piece.session.date() {
        Some(day) => (of_day.get(&Some(day)).copied().unwrap_or(0), u64::try_from(most_a_day).unwrap_or(1)),
        None => (of_day.values().fold(0, |sum: Share, share| sum.saturating_add(*share)), 1),
    };
    piece.at.is_none() && sum > 0 && sum.saturating_add(piece.share) > fractions.saturating_mul(WHOLE) + SLACK
}

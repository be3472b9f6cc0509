//! Whether a beam's parts are all there: from its beginning on, each where the one before it ended.

use std::collections::BTreeMap;

use super::count::{Course, Exposure, Exposures, NO_IMAGE, SLACK, Session, Sessions, Share, WHOLE, delivered, written};
use super::record::{RecordedBeam, Unit};
use super::twice::Stretch;
use super::unknown::Unknown;

/// So much may lie between two parts of which nothing is missing, and a tenth of a monitor unit: of a small beam that is more.
const GAP: Share = WHOLE / 200;
const GAP_THOUSANDTHS: u64 = 100;

/// What one record says of one beam of a fraction, in several items or in one, and what is wrong with that.
pub(super) fn of_one_record(mut items: Vec<Stretch>, imaging: bool) -> (Vec<Stretch>, Option<Unknown>) {
    if items.len() < 2 {
        return (items, None);
    }
    items.sort();
    let sum = lengths(&items);
    let beginnings = items.iter().filter(|one| !one.is_rest).count();
    let was_stopped = items.iter().all(|one| one.was_stopped);
    let merged = vec![Stretch { from: 0, to: sum, is_told: false, is_rest: beginnings == 0, was_stopped }];
    // One that says where it lies, behind one that doesn't.
    let is_elsewhere = items.iter().any(|one| one.is_rest && one.is_told);
    // Images are as many as they are.
    if imaging {
        return (merged, None);
    }
    // An open part and a wedged one, each to what it was to give: one goes on where the other one ended.
    let begins = items.first().is_some_and(|first| first.from == 0);
    if begins && follow(&items, GAP) && sum.abs_diff(WHOLE) <= SLACK {
        return (items.into_iter().map(|one| Stretch { is_told: true, is_rest: false, ..one }).collect(), None);
    }
    let are_alike = items.iter().zip(items.iter().skip(1)).any(|(one, next)| one.overlaps(*next));
    match items.iter().all(|one| one.is_told) {
        true => (items, are_alike.then_some(Unknown::ToldTwice)),
        false if is_elsewhere => (merged, Some(Unknown::PartMissing)),
        // A beginning, and what says that it goes on.
        false if beginnings == 1 => (merged, None),
        false if are_alike => (merged, Some(Unknown::ToldTwice)),
        // An open part and a wedged one, each from nought.
        false if sum.abs_diff(WHOLE) <= SLACK => (merged, None),
        false => (merged, Some(Unknown::PartMissing)),
    }
}

fn lengths(parts: &[Stretch]) -> Share {
    parts.iter().fold(0, |sum: Share, part| sum.saturating_add(part.length()))
}

/// Whether parts, in their order, follow each other: where one ends, the next begins.
fn follow(parts: &[Stretch], gap: Share) -> bool {
    parts.iter().zip(parts.iter().skip(1)).all(|(one, next)| one.to.abs_diff(next.from) <= gap)
}

/// Where they end, if nothing lies between them.
fn end(parts: &[Stretch], gap: Share) -> Option<Share> {
    let first = parts.first()?;
    parts.iter().try_fold(first.to, |end, part| (part.from <= end.saturating_add(gap)).then(|| end.max(part.to)))
}

/// The most that images of one day have of the beam's meterset.
fn imaged(exposures: &Exposures, beam: Option<u32>) -> Share {
    exposures.get(&(beam, true)).map(by_day).and_then(|days| days.map(written).max()).unwrap_or(0)
}

impl Course<'_> {
    pub(super) fn stretch(&self, beam: &RecordedBeam, share: Share, was_to: Option<Share>) -> Stretch {
        let began = self.of_planned(beam, beam.began).filter(|_| beam.began > 0).unwrap_or(0);
        let from = if beam.is_placed { began } else { 0 };
        // It was to give less than the beam has: the rest of one that was begun.
        let was_to_give_less = !beam.imaging && was_to.is_some_and(|to| to < WHOLE - SLACK) && share < WHOLE - SLACK;
        Stretch {
            from,
            to: from.saturating_add(share),
            is_told: beam.is_placed && !(was_to_give_less && from == 0),
            is_rest: beam.goes_on || (beam.is_stretch && began > self.gap(beam.number)) || was_to_give_less,
            was_stopped: matches!(beam.termination.as_deref(), Some("OPERATOR" | "MACHINE")),
        }
    }

    fn gap(&self, beam: Option<u32>) -> Share {
        let planned = beam.and_then(|beam| self.planned_in(beam, Unit::Mu)).filter(|planned| *planned > 0);
        planned.map_or(GAP, |planned| GAP.max(GAP_THOUSANDTHS * WHOLE / planned))
    }

    /// By beam, in their order; what was told of before lies where that does.
    fn parts(&self, exposures: &Exposures) -> BTreeMap<Option<u32>, Vec<Stretch>> {
        let mut beams: BTreeMap<Option<u32>, Vec<Stretch>> = BTreeMap::new();
        for (exposure, sessions) in exposures.iter().filter(|of| delivered(*of) > 0) {
            beams.entry(exposure.0).or_default().extend(self.stretches_of(exposure, sessions));
        }
        beams.values_mut().for_each(|parts| parts.sort());
        beams
    }

    fn stretches_of<'s>(&'s self, exposure: &'s Exposure, sessions: &'s Sessions) -> impl Iterator<Item = &'s Stretch> {
        sessions.keys().flat_map(|session| self.told_first(session, *exposure))
    }

    /// A beam's parts don't follow each other from its beginning, as far as they say where they lie. Of a fraction that is to be finished
    /// they have to say it, where they are several: its rest goes by it.
    pub(super) fn lacks_a_part(&self, exposures: &Exposures, is_to_be_finished: bool) -> bool {
        self.parts(exposures).into_iter().any(|(beam, parts)| {
            let (gap, imaged) = (self.gap(beam), self.begun_by_image(exposures, beam));
            let sum = imaged.saturating_add(lengths(&parts));
            let is_whole = sum >= WHOLE - SLACK;
            let are_told = parts.iter().all(|part| part.is_told);
            // Several fractions under one number begin at nought each; a whole beam may lack what a fraction may lack.
            let from = imaged.saturating_add(if is_whole { SLACK } else { gap });
            let begins = parts.first().is_none_or(|first| first.from <= from);
            let has_beginning = parts.iter().any(|part| !part.is_rest) || (are_told && begins);
            if !has_beginning && !is_whole {
                return true;
            }
            if is_to_be_finished && parts.len() > 1 {
                return !are_told || !begins || !follow(&parts, gap);
            }
            let falls_short = end(&parts, gap).is_none_or(|end| end < WHOLE - SLACK && is_whole);
            are_told && (!begins || falls_short)
        })
    }

    /// What an image has given of a beam that goes on, as its control points say, from where that image ended.
    pub(super) fn begun_by_image(&self, exposures: &Exposures, beam: Option<u32>) -> Share {
        let (exposure, imaged) = ((beam, false), imaged(exposures, beam));
        let sessions = exposures.get(&exposure).into_iter();
        let parts: Vec<&Stretch> = sessions.flat_map(|sessions| self.stretches_of(&exposure, sessions)).collect();
        let from = parts.iter().map(|part| part.from).min().unwrap_or(0);
        let goes_on = parts.iter().all(|part| part.is_told) && from > 0 && from.abs_diff(imaged) <= self.gap(beam);
        if goes_on { imaged } else { 0 }
    }

    /// Where the beams of an unfinished fraction stopped, their records alone say: it is one fraction, the beams went one after the other in
    /// the plan's order, and the one that stopped has its parts where they are said to lie, from its beginning on.
    pub(super) fn is_plain(&self, exposures: &Exposures) -> bool {
        let of_one_fraction = exposures.iter().all(|of| delivered(of) <= WHOLE + SLACK);
        let are_planned = exposures.keys().all(|(beam, imaging)| *imaging || beam.is_some_and(|beam| self.has(beam)));
        let have_times = exposures.values().flat_map(BTreeMap::keys).all(|session| session.at().is_some());
        let parts = self.parts(exposures);
        let of = |beam: u32| parts.get(&Some(beam)).map_or(&[] as &[Stretch], Vec::as_slice);
        let sum = |beam| lengths(of(beam));
        let mut left = self.treating().skip_while(|beam| sum(*beam) >= WHOLE - SLACK);
        let stopped = left.next();
        // One that has begun behind it: the record of what lies between may be lost.
        let in_order = left.all(|beam| sum(beam) == 0);
        let is_told = stopped.is_none_or(|beam| {
            // An image may have given some of it, where its control points don't say that they begin at nought.
            let is_alone = of(beam).iter().all(|part| part.is_told) || imaged(exposures, Some(beam)) == 0;
            // What doesn't say that it was stopped may be the rest of another part, whose record is lost.
            let was_stopped = of(beam).last().is_none_or(|last| last.was_stopped);
            let first = of(beam).first();
            is_alone && was_stopped && first.is_none_or(|first| !first.is_rest && first.from <= self.gap(Some(beam)))
        });
        of_one_fraction && are_planned && have_times && in_order && is_told
    }
}

/// In the order of time; what has no day is one.
pub(super) fn by_day(sessions: &Sessions) -> impl Iterator<Item = Vec<(&Session, &Share)>> {
    let mut days: BTreeMap<Option<&str>, Vec<(&Session, &Share)>> = BTreeMap::new();
    for (session, share) in sessions {
        days.entry(session.date()).or_default().push((session, share));
    }
    days.into_values()
}

/// A beam isn't whole without what is said to be its image: whether that treated can't be told. One of which nothing else is said, and
/// whose image is the whole beam, has treated.
pub(super) fn has_unclear_image(exposures: &Exposures) -> bool {
    let of_day = |exposure: &Exposure, day: Option<&str>| {
        let sessions = exposures.get(exposure).into_iter().flatten();
        written(sessions.filter(|(session, _)| session.date() == day))
    };
    exposures.iter().filter(|((_, imaging), _)| *imaging).any(|((beam, _), sessions)| {
        by_day(sessions).any(|of| {
            let day = of.first().and_then(|(session, _)| session.date());
            let (imaged, treated) = (written(of), of_day(&(*beam, false), day));
            imaged >= NO_IMAGE && treated < WHOLE - SLACK && (treated > 0 || imaged < WHOLE - SLACK)
        })
    })
}

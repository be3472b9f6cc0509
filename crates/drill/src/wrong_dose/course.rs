//! Courses as they really were, and what becomes of their evidence.
//!
//! The truth is written down here first, part by part of each beam; the records are made of it after. Nothing is read back from a
//! record, and the dose is reckoned from the plan's own bytes by the drill's walker.

use std::collections::BTreeMap;

use super::record::{Clock, Said, Template};
use super::{Counts, PLANNED_MAX};
use crate::synthetic::Rng;
use crate::tamper::WalkError;
use crate::tamper::walk::{Dataset, Element, File, Tag, Value};

/// Of a hundred fractions, those that stop on the way; of those, what is resumed in the same session, or on a later day. The others
/// never are.
const STOPPED: u64 = 18;
const SAME_DAY: u64 = 60;
const LATER: u64 = 25;
/// Of a hundred sessions, those whose record never comes, comes twice as it is, comes again under a new SOP Instance UID, or is
/// contradicted by another one.
const LOST: u64 = 8;
const TWICE: u64 = 7;
const AGAIN: u64 = 7;
const CONTRADICTED: u64 = 4;
/// And those whose record comes again by another clock, without its seconds, or without a time.
const OTHER_CLOCK: u64 = 3;
const ZONES: [i64; 5] = [-480, -60, 60, 330, 540];
/// Of a hundred courses of which all evidence comes, those whose machine numbers its fractions from 1 again on the way.
const BEGUN_AGAIN: u64 = 25;
/// Of a hundred courses, those of which all evidence comes as it should, whole.
const WHOLE: u64 = 15;
/// Of a hundred beams, those whose machine stops up to a hundredth early or late each day.
const DRIFTS: u64 = 15;

/// In the plan.
const FRACTION_GROUPS: Tag = 0x300A_0070;
const GROUP_NUMBER: Tag = 0x300A_0071;
const PLANNED: Tag = 0x300A_0078;
const NUMBER_OF_BEAMS: Tag = 0x300A_0080;
const BEAM_DOSE: Tag = 0x300A_0084;
const BEAM_METERSET: Tag = 0x300A_0086;
const REFERENCED_BEAMS: Tag = 0x300C_0004;
const REFERENCED_BEAM: Tag = 0x300C_0006;
const BEAMS: Tag = 0x300A_00B0;
const BEAM_NUMBER: Tag = 0x300A_00C0;
const FINAL_WEIGHT: Tag = 0x300A_010E;
const CONTROL_POINTS: Tag = 0x300A_0111;
const CUMULATIVE_WEIGHT: Tag = 0x300A_0134;
const REFERENCED_DOSES: Tag = 0x300C_0050;
const COEFFICIENT: Tag = 0x300A_010C;
const REFERENCED_DOSE: Tag = 0x300C_0051;

/// One beam of one fraction group.
pub(super) struct Beam {
    pub(super) number: u32,
    /// Thousandths of the dosimeter unit, of one fraction.
    pub(super) meterset: i64,
    dose_gy: f64,
    /// Shares of the meterset with shares of the dose, from nought to one.
    growth: Vec<(f64, f64)>,
}

impl Beam {
    /// What the target gets of so much of it. Beyond the meterset, in proportion.
    fn dose(&self, delivered: i64) -> f64 {
        #[allow(clippy::cast_precision_loss)] // metersets
        let share = delivered as f64 / self.meterset.max(1) as f64;
        let between = self.growth.windows(2).find_map(|pair| {
            let [(from, first), (to, last)] = pair else { return None };
            (share >= *from && share <= *to && to > from).then(|| first + (last - first) * (share - from) / (to - from))
        });
        self.dose_gy * between.unwrap_or(share)
    }
}

pub(super) struct Group {
    pub(super) number: u32,
    pub(super) planned: u32,
    pub(super) beams: Vec<Beam>,
}

/// A plan, its fraction groups, and a record of its machine to make others of.
pub(super) struct Planned {
    pub(super) file: Vec<u8>,
    pub(super) groups: Vec<Group>,
    pub(super) template: Template,
}

fn thousandths(value: f64) -> i64 {
    #[allow(clippy::cast_possible_truncation)] // metersets
    let whole = (value * 1e3).round() as i64;
    whole
}

impl Planned {
    /// Of a synthetic plan and a whole record of it: as it is, or with a second fraction group, or with doses that grow along a beam
    /// otherwise than its meterset.
    pub(super) fn draw(rng: &Rng, plan: &[u8], record: &[u8]) -> Result<Self, WalkError> {
        let mut file = File::read(plan)?;
        if rng.chance(50) {
            split(&mut file.data, rng);
        }
        let mut growths = BTreeMap::new();
        if rng.chance(30) {
            growths = bend(&mut file.data);
        }
        let groups = file.data.items(FRACTION_GROUPS).iter().map(|group| group_of(group, &growths)).collect();
        Ok(Self { file: file.write(), groups, template: Template::read(record)? })
    }
}

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // small whole numbers
fn natural(set: &Dataset, tag: Tag) -> u32 {
    set.number(tag).unwrap_or(0.0) as u32
}

fn group_of(group: &Dataset, growths: &BTreeMap<u32, Vec<(f64, f64)>>) -> Group {
    let beams = group.items(REFERENCED_BEAMS).iter().map(|beam| {
        let number = natural(beam, REFERENCED_BEAM);
        Beam {
            number,
            meterset: thousandths(beam.number(BEAM_METERSET).unwrap_or(0.0)),
            dose_gy: beam.number(BEAM_DOSE).unwrap_or(0.0),
            growth: growths.get(&number).cloned().unwrap_or_default(),
        }
    });
    Group { number: natural(group, GROUP_NUMBER), planned: natural(group, PLANNED), beams: beams.collect() }
}

/// A boost: the last beams in a fraction group of their own; a beam that is alone stands in both, with half of it in the second.
fn split(plan: &mut Dataset, rng: &Rng) {
    let Some(groups) = plan.items_mut(FRACTION_GROUPS) else { return };
    let Some(mut boost) = groups.first().cloned() else { return };
    boost.set_text(GROUP_NUMBER, *b"IS", "2");
    boost.set_text(PLANNED, *b"IS", &(2 + rng.below(6)).to_string());
    if let Some(first) = groups.first_mut() {
        let (Some(ours), Some(theirs)) = (first.items_mut(REFERENCED_BEAMS), boost.items_mut(REFERENCED_BEAMS)) else {
            return;
        };
        if ours.len() > 1 {
            *theirs = ours.split_off(ours.len().div_ceil(2));
        } else {
            for tag in [BEAM_METERSET, BEAM_DOSE] {
                for beam in theirs.iter_mut() {
                    let half: Vec<f64> = beam.numbers(tag).iter().map(|whole| whole / 2.0).collect();
                    beam.set_numbers(tag, &half);
                }
            }
        }
        let counts = [ours.len(), theirs.len()];
        first.set_text(NUMBER_OF_BEAMS, *b"IS", &counts[0].to_string());
        boost.set_text(NUMBER_OF_BEAMS, *b"IS", &counts[1].to_string());
    }
    groups.push(boost);
}

/// The first beam's first half of the meterset gives three quarters of the dose at the target: what its control points say of it, by
/// beam number. Photon and electron plans.
fn bend(plan: &mut Dataset) -> BTreeMap<u32, Vec<(f64, f64)>> {
    let Some(beam) = plan.items_mut(BEAMS).and_then(|beams| beams.first_mut()) else { return BTreeMap::new() };
    let (number, whole) = (natural(beam, BEAM_NUMBER), beam.number(FINAL_WEIGHT).unwrap_or(0.0));
    let mut growth = Vec::new();
    for point in beam.items_mut(CONTROL_POINTS).into_iter().flatten() {
        let share = point.number(CUMULATIVE_WEIGHT).unwrap_or(0.0) / whole;
        let coefficient = (((2.0 - share) * share) * 1e6).round() / 1e6;
        let mut reference = Dataset::default();
        reference.set_numbers(COEFFICIENT, &[coefficient]);
        reference.set_text(REFERENCED_DOSE, *b"IS", "1");
        let value = Value::Items(vec![reference]);
        point.put(Element { tag: REFERENCED_DOSES, vr: *b"SQ", value });
        growth.push((share, coefficient));
    }
    BTreeMap::from([(number, growth)])
}

/// A beam of the group, by its place, from one meterset to another; and how much it really was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Part {
    pub(super) beam: usize,
    pub(super) from: i64,
    pub(super) to: i64,
    pub(super) delivered: i64,
}

/// What happened between the beam's being switched on and off, on one day.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Session {
    pub(super) fraction: u32,
    /// From the first day of treatment.
    pub(super) day: i64,
    pub(super) minute: u32,
    pub(super) parts: Vec<Part>,
}

/// What was given of one fraction group.
fn sessions(rng: &Rng, group: &Group, counts: &mut Counts, is_whole: bool) -> Vec<Session> {
    let mut sessions = Vec::new();
    let given = 1 + rng.below(u64::from(group.planned.min(PLANNED_MAX)));
    let mut day = 0;
    let mut left: Option<(u32, Vec<Part>)> = None;
    for fraction in 1..=u32::try_from(given).unwrap_or(u32::MAX) {
        let mut minute = 600 + u32::try_from(rng.below(60)).unwrap_or(0);
        let all: Vec<Part> = (group.beams.iter().enumerate())
            .map(|(beam, of)| Part { beam, from: 0, to: of.meterset, delivered: of.meterset })
            .collect();
        // What is left of the fraction before: before this one, or after it.
        if let Some((fraction, parts)) = left.take() {
            counts.resumed_later += 1;
            sessions.push(Session { fraction, day, minute: if rng.chance(50) { 540 } else { 1_020 }, parts });
        }
        let cut = (!is_whole && rng.chance(STOPPED)).then(|| cut(rng, &all)).flatten();
        let Some((done, mut rest)) = cut else {
            sessions.push(Session { fraction, day, minute, parts: all });
            day += if day % 7 == 4 { 3 } else { 1 };
            continue;
        };
        counts.stops += 1;
        sessions.push(Session { fraction, day, minute, parts: done });
        match rng.below(100) {
            lot if lot < SAME_DAY => {
                minute += 45;
                // And once more.
                if let Some((done, again)) = rng.chance(20).then(|| self::cut(rng, &rest)).flatten() {
                    (counts.stops, counts.resumed) = (counts.stops + 1, counts.resumed + 1);
                    sessions.push(Session { fraction, day, minute, parts: done });
                    (rest, minute) = (again, minute + 45);
                }
                counts.resumed += 1;
                sessions.push(Session { fraction, day, minute, parts: rest });
            }
            lot if lot < SAME_DAY + LATER => left = Some((fraction, rest)),
            _ => counts.abandoned += 1,
        }
        day += if day % 7 == 4 { 3 } else { 1 };
    }
    if let Some((fraction, parts)) = left {
        counts.resumed_later += 1;
        sessions.push(Session { fraction, day, minute: 540, parts });
    }
    counts.fractions += given;
    sessions
}

/// Stopped within one of the parts: what was delivered, and what is left. None where none of them is long enough.
fn cut(rng: &Rng, parts: &[Part]) -> Option<(Vec<Part>, Vec<Part>)> {
    let at = rng.index(parts.len());
    let part = parts.get(at)?;
    let length = u64::try_from(part.to - part.from).ok().filter(|length| *length > 2)?;
    let stop = part.from + 1 + i64::try_from(rng.below(length - 2)).unwrap_or(0);
    let (before, behind) = (parts.get(..at)?, parts.get(at + 1..)?);
    let first = Part { to: stop, delivered: stop - part.from, ..part.clone() };
    let second = Part { from: stop, delivered: part.to - stop, ..part.clone() };
    Some(([before, &[first]].concat(), [&[second], behind].concat()))
}

/// One group's course: the truth, and the records that come, in the order in which they do.
pub(super) struct Course {
    /// Up to the highest fraction number that is on record: of what came after, nothing here can tell.
    pub(super) truth_gy: f64,
    pub(super) fractions: u32,
    pub(super) records: Vec<Vec<u8>>,
    /// Every record came, none contradicts another, and no fraction waits for its rest.
    pub(super) is_whole: bool,
    /// What rounding to the ten-thousandth of a gray may add up to: one for each beam of each session.
    pub(super) rounding_gy: f64,
}

impl Course {
    pub(super) fn draw(rng: &Rng, planned: &Planned, group: &Group, counts: &mut Counts) -> Result<Self, WalkError> {
        let is_whole = rng.chance(WHOLE);
        let mut all = sessions(rng, group, counts, is_whole);
        let mut said = Vec::new();
        let mut highest = 0;
        // Its clock is kept, or it writes a day and no time.
        let timed = is_whole || !rng.chance(5);
        let fractions = all.iter().map(|session| session.fraction).max().unwrap_or(0);
        let begins_again = (is_whole && fractions > 1 && rng.chance(BEGUN_AGAIN))
            .then(|| 1 + u32::try_from(rng.below(u64::from(fractions - 1))).unwrap_or(0));
        if let Some(before) = begins_again {
            counts.begun_again += 1;
            all.iter_mut().filter(|one| one.fraction > before).for_each(|one| one.fraction -= before);
        }
        for session in &mut all {
            if !is_whole && rng.chance(LOST) {
                counts.lost += 1;
                continue;
            }
            highest = highest.max(session.fraction);
            if !is_whole {
                drift(rng, group, session);
            }
            let clock = if timed { Clock::Whole } else { Clock::Day };
            let mut told = Said { session: session.clone(), uid: rng.uid(), clock };
            if timed && !is_whole && rng.chance(CONTRADICTED) {
                counts.contradicting += 1;
                let other = contradiction(rng, group, session, &mut told);
                said.push(other);
            }
            if rng.chance(TWICE) {
                counts.duplicates += 1;
                said.push(told.clone());
            }
            if (timed || rng.chance(50)) && rng.chance(AGAIN) {
                counts.under_new_uids += 1;
                said.push(Said { uid: rng.uid(), ..told.clone() });
            }
            if timed && !is_whole && rng.chance(OTHER_CLOCK) {
                counts.by_another_clock += 1;
                let clock = match rng.below(3) {
                    0 => Clock::Minutes,
                    1 => Clock::Day,
                    _ => Clock::Zone(rng.pick(&ZONES)),
                };
                said.push(Said { uid: rng.uid(), clock, ..told.clone() });
            }
            said.push(told);
        }
        counts.records += said.len() as u64;
        if rng.chance(70) {
            counts.out_of_order += 1;
            rng.shuffle(&mut said);
        }
        let records = said.iter().map(|one| planned.template.record(group, one)).collect();
        Ok(Self {
            truth_gy: truth(group, &all, highest),
            fractions: if begins_again.is_some() { fractions } else { highest },
            records,
            is_whole,
            rounding_gy: all.iter().flat_map(|session| &session.parts).fold(1e-4, |sum, _| sum + 1e-4),
        })
    }

    /// The twin: nothing is missing, and the last record comes again as that of another fraction, on the next day.
    pub(super) fn twin(rng: &Rng, planned: &Planned, group: &Group) -> Self {
        let all = sessions(rng, group, &mut Counts::default(), true);
        let mut said: Vec<Said> =
            all.iter().map(|session| Said { session: session.clone(), uid: rng.uid(), clock: Clock::Whole }).collect();
        if let Some(again) = said.last().cloned() {
            let Session { day, fraction, .. } = again.session;
            let session = Session { day: day + 1, fraction: fraction + 1, ..again.session };
            said.push(Said { uid: rng.uid(), session, ..again });
        }
        let highest = all.iter().map(|session| session.fraction).max().unwrap_or(0);
        Self {
            truth_gy: truth(group, &all, highest),
            fractions: highest,
            records: said.iter().map(|one| planned.template.record(group, one)).collect(),
            is_whole: false,
            rounding_gy: 0.01,
        }
    }
}

/// Some beams end a little early or late; what is not on record ended where it should.
fn drift(rng: &Rng, group: &Group, session: &mut Session) {
    for part in &mut session.parts {
        let Some(beam) = group.beams.get(part.beam).filter(|beam| beam.growth.is_empty()) else { continue };
        if part.from == 0 && part.to == beam.meterset && rng.chance(DRIFTS) {
            let most = u64::try_from(beam.meterset / 100).unwrap_or(0);
            part.delivered += i64::try_from(rng.below(2 * most + 1)).unwrap_or(0) - i64::try_from(most).unwrap_or(0);
        }
    }
}

/// Another record of the same session: it says another meterset, one that no plan has, or another fraction. One of the two is right.
fn contradiction(rng: &Rng, group: &Group, session: &mut Session, told: &mut Said) -> Said {
    let mut other = Said { uid: rng.uid(), ..told.clone() };
    let at = rng.index(other.session.parts.len());
    let lot = rng.below(4);
    let Some(part) = other.session.parts.get_mut(at) else { return other };
    match lot {
        0 => {
            let highest = u64::from(group.planned);
            other.session.fraction = 1 + u32::try_from(rng.below(highest)).unwrap_or(0);
        }
        1 => part.delivered = group.beams.get(part.beam).map_or(0, |beam| beam.meterset * 11 / 10),
        _ => {
            part.delivered = (part.delivered * i64::try_from(30 + rng.below(60)).unwrap_or(50) / 100).max(1);
            if rng.chance(50) {
                *session = other.session.clone();
            }
        }
    }
    other
}

/// What the target got in fractions up to `highest`.
fn truth(group: &Group, sessions: &[Session], highest: u32) -> f64 {
    let mut delivered: BTreeMap<(u32, usize), i64> = BTreeMap::new();
    for session in sessions.iter().filter(|session| session.fraction <= highest) {
        for part in &session.parts {
            *delivered.entry((session.fraction, part.beam)).or_default() += part.delivered;
        }
    }
    delivered.iter().filter_map(|((_, beam), delivered)| Some(group.beams.get(*beam)?.dose(*delivered))).sum()
}

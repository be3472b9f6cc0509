//! Thefts at every speed, by one login or fifty, by thieves who know the thresholds; and how soon somebody closes the door.

use std::collections::{BTreeMap, BTreeSet};

use rand::RngExt as _;
use rand::seq::SliceRandom as _;
use rand_distr::{Distribution as _, LogNormal};
use rand_pcg::Pcg64Mcg;

use super::centre::{Act, Centre, DAY_MS, HOUR_MS, MINUTE_MS, hour, stream};
use super::{Answer, Signal, Watching};

/// A theft that nobody has seen by then goes on.
pub const FOLLOWED_DAYS: i64 = 120;
/// Logins that ring within an hour until whoever looks at it closes more than those.
const LOCKDOWN_AT: usize = 3;

/// How one steals.
#[derive(Clone, Copy, Debug)]
pub struct Thief {
    pub name: &'static str,
    pub logins: usize,
    /// Charts of each login within an hour and a day.
    pub hour: u32,
    pub day: u32,
    /// First those whom records relate to the login: nothing about them is unexplained.
    pub panel_first: bool,
    /// At night; else while its owner works, among what she opens.
    pub at_night: bool,
}

pub const THIEVES: [Thief; 9] = [
    Thief {
        name: "20 a minute, whoever comes",
        logins: 1,
        hour: 1_200,
        day: 9_600,
        panel_first: false,
        at_night: true,
    },
    Thief {
        name: "20 a minute, her own patients first",
        logins: 1,
        hour: 1_200,
        day: 9_600,
        panel_first: true,
        at_night: true,
    },
    Thief { name: "one a minute, whoever comes", logins: 1, hour: 60, day: 480, panel_first: false, at_night: false },
    Thief { name: "just under the hourly budget", logins: 1, hour: 11, day: 29, panel_first: false, at_night: false },
    Thief { name: "20 a day", logins: 1, hour: 5, day: 20, panel_first: false, at_night: false },
    Thief { name: "5 a day", logins: 1, hour: 2, day: 5, panel_first: false, at_night: false },
    Thief { name: "2 a day, who knows the test", logins: 1, hour: 1, day: 2, panel_first: false, at_night: false },
    Thief {
        name: "fifty logins, 20 a minute",
        logins: 50,
        hour: 1_200,
        day: 9_600,
        panel_first: false,
        at_night: true,
    },
    Thief { name: "fifty logins, 5 a day each", logins: 50, hour: 2, day: 5, panel_first: false, at_night: false },
];

/// What one theft came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lost {
    pub charts: u64,
    /// From its beginning until nothing of it is open; none where it still goes on after [`FOLLOWED_DAYS`].
    pub contained_ms: Option<i64>,
    /// Until the first alarm.
    pub seen_ms: Option<i64>,
    pub by: Option<Signal>,
}

fn minutes(rng: &mut Pcg64Mcg, median: f64, sigma: f64) -> i64 {
    let drawn = LogNormal::new(median.ln(), sigma).map_or(median, |spread| spread.sample(rng));
    #[allow(clippy::cast_possible_truncation)] // minutes
    let ms = (drawn * 60_000.0) as i64;
    ms
}

/// From an alarm until the login is closed: whoever is on duty takes it, calls its owner, and freezes it. Made up: 20 minutes by day, 40 by
/// night, at the median; four hours more for what only a count over weeks says.
fn response(rng: &mut Pcg64Mcg, at: i64, signal: Signal) -> i64 {
    let taken = minutes(rng, if (8..20).contains(&hour(at)) { 20.0 } else { 40.0 }, 0.7);
    match signal {
        Signal::SlowTheft => taken + minutes(rng, 240.0, 0.7),
        Signal::OverBudget | Signal::Honey => taken,
    }
}

/// Runs one, from day `first` of the year on, against a watch that has seen the days before it.
pub fn run(centre: &Centre, mut watch: Box<dyn Watching>, thief: Thief, honey: &[u64], first: i64, seed: u64) -> Lost {
    let mut rng = stream(seed, thief.name, first.unsigned_abs());
    let mut people: Vec<usize> = (0..centre.people.len()).collect();
    people.shuffle(&mut rng);
    people.truncate(thief.logins);
    let mut wanted: BTreeMap<usize, Vec<u64>> = BTreeMap::new();
    for person in &people {
        let mut panel = if thief.panel_first { centre.panel(*person) } else { Vec::new() };
        panel.reverse();
        wanted.insert(*person, panel);
    }
    let (mut stolen, mut closed): (BTreeSet<u64>, BTreeMap<usize, i64>) = (BTreeSet::new(), BTreeMap::new());
    let (mut rang, mut lockdown): (Vec<(i64, usize)>, i64) = (Vec::new(), i64::MAX);
    let (mut began, mut seen, mut by) = (None, None, None);
    for day in first..first + FOLLOWED_DAYS {
        let mut acts: Vec<(Act, bool)> = Vec::new();
        for person in &people {
            let honest = centre.day_of(*person, day);
            let (from, to) = hours_of(thief, &honest, day);
            acts.extend(honest.into_iter().map(|act| (act, false)));
            acts.extend(
                attempts(thief, from, to, &mut rng)
                    .map(|at| (Act { at, person: *person, patient: 0, explained: false }, true)),
            );
        }
        acts.sort();
        let mut refused: BTreeMap<usize, i64> = BTreeMap::new();
        for (mut act, is_theft) in acts {
            let is_closed = closed.get(&act.person).is_some_and(|at| *at <= act.at);
            // Who was refused comes again a quarter of an hour later.
            let waits = is_theft && refused.get(&act.person).is_some_and(|until| act.at < *until);
            if is_closed || act.at >= lockdown || waits {
                continue;
            }
            if is_theft {
                began.get_or_insert(act.at);
                let hers = wanted.get_mut(&act.person).and_then(Vec::pop);
                let in_archive = centre.patients + honey.len() as u64;
                (act.patient, act.explained) = match hers {
                    Some(patient) => (patient, true),
                    None => (rng.random_range(0..in_archive), false),
                };
            }
            let Answer { opened, alarms } = watch.open(centre, &act);
            match (is_theft, opened) {
                (true, true) if act.patient < centre.patients => drop(stolen.insert(act.patient)),
                (true, false) => drop(refused.insert(act.person, act.at + 15 * MINUTE_MS)),
                _ => {}
            }
            for (signal, person) in alarms.into_iter().filter(|(_, person)| people.contains(person)) {
                // What rings of an honest opening before the theft began is somebody else's.
                let Some(begun) = began.filter(|begun| act.at >= *begun) else { continue };
                if seen.is_none() {
                    (seen, by) = (Some(act.at - begun), Some(signal));
                }
                let end = act.at + response(&mut rng, act.at, signal);
                closed.entry(person).and_modify(|at| *at = end.min(*at)).or_insert(end);
                rang.push((act.at, person));
                let lately: BTreeSet<usize> =
                    rang.iter().filter(|(at, _)| act.at - at <= HOUR_MS).map(|(_, person)| *person).collect();
                if lately.len() >= LOCKDOWN_AT {
                    lockdown = lockdown.min(end);
                }
            }
        }
        if closed.len() == people.len() || lockdown <= super::centre::FIRST_MS + (day + 1) * DAY_MS {
            break;
        }
    }
    let last = closed.values().copied().max().filter(|_| closed.len() == people.len());
    let end = last.unwrap_or(i64::MAX).min(lockdown);
    let contained_ms = (end < i64::MAX).then(|| end - began.unwrap_or(end));
    Lost { charts: stolen.len() as u64, contained_ms, seen_ms: seen, by }
}

/// When he is at work on a day.
fn hours_of(thief: Thief, honest: &[Act], day: i64) -> (i64, i64) {
    let midnight = super::centre::FIRST_MS + day * DAY_MS;
    match (thief.at_night, honest.iter().map(|act| act.at).min()) {
        (true, _) => (midnight + HOUR_MS, midnight + 5 * HOUR_MS),
        (false, Some(first)) => (first, first + 8 * HOUR_MS),
        // She isn't there: nor is he, who wants to look like her.
        (false, None) => (midnight, midnight),
    }
}

/// Times at which he tries.
fn attempts(thief: Thief, from: i64, to: i64, rng: &mut Pcg64Mcg) -> impl Iterator<Item = i64> {
    let (mut at, mut left, step) =
        (from + rng.random_range(0..30 * MINUTE_MS), thief.day, HOUR_MS / i64::from(thief.hour));
    std::iter::from_fn(move || {
        let this = at;
        at += step;
        left = left.checked_sub(1)?;
        (this < to).then_some(this)
    })
}

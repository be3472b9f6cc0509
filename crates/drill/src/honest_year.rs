//! A year of an honest centre, and thefts in it at every speed: what is lost before the doors close, and how often honest people are
//! disturbed.
//!
//! The watch behind the seam is the gateway's own (`guard::Watch`). The drill knows who is honest and what was stolen; it shares nothing with
//! the watch, and thieves are run on seeds that nobody tuned it by.

pub mod centre;
pub mod theft;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use kit::Fault;

use crate::check::Findings;
use crate::eleven_of_fourteen::Progress;
use crate::report::{self, Check, Report, Seconds, grouped};
use centre::{Act, Centre, DAY_MS, FIRST_MS};
use theft::{Lost, THIEVES};

/// Why the watch rang.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Signal {
    OverBudget,
    SlowTheft,
    Honey,
}

/// Of whom it rings where it is about nobody by herself.
pub const EVERYBODY: usize = usize::MAX;

/// What the watch says to an opening.
#[derive(Clone, Debug, Default)]
pub struct Answer {
    pub opened: bool,
    /// And of whom.
    pub alarms: Vec<(Signal, usize)>,
}

/// The watch that is tried.
pub trait Watching {
    fn open(&mut self, centre: &Centre, act: &Act) -> Answer;
    /// Patients who don't exist: numbers beyond those of the centre.
    fn plant(&mut self, honey: &[u64]);
    /// An alarm about her was looked at, and closed.
    fn looked_at(&mut self, centre: &Centre, person: usize);
    fn copy(&self) -> Box<dyn Watching>;
}

pub struct Options {
    pub seed: u64,
    pub staff: usize,
    pub patients: u64,
    pub days: i64,
    /// Of each thief.
    pub thefts: usize,
    pub honey: u64,
}

/// Days in which the watch learns what is usual here, before anything is counted.
const LEARNS_DAYS: i64 = 28;
/// The goals.
const FAST_CHARTS: u64 = 50;
const SLOW_DAYS: i64 = 21;
/// Of slow thefts that have to be seen in time: where every one of them is, an interval of confidence can say no more than this.
const SLOW_SEEN_PERCENT: u64 = 90;

type Watch<'a> = &'a (dyn Fn(Progress) + Sync);

/// What honest people had of it.
#[derive(Default)]
struct Honest {
    explained: u64,
    explained_refused: u64,
    unexplained: u64,
    unexplained_refused: u64,
    alarms: BTreeMap<Signal, u64>,
    user_weeks: f64,
}

/// Runs the drill.
pub fn run(options: &Options, mut watching: Box<dyn Watching>, watch: Watch<'_>) -> Result<Report, Fault> {
    let begun = Instant::now();
    let Options { seed, staff, patients, days, thefts, honey } = *options;
    let centre = Centre::new(seed, staff, patients);
    let honey: Vec<u64> = (patients..patients + honey).collect();
    watching.plant(&honey);
    let mut honest = Honest::default();
    // Thefts begin in the middle of what was learnt, and at its end.
    let (middle, mut at_middle) = (LEARNS_DAYS + (days - LEARNS_DAYS) / 2, None);
    for day in 0..days {
        watch(Progress {
            stage: "honest days",
            done: day.unsigned_abs() as usize,
            total: days.unsigned_abs() as usize,
        });
        if day == middle {
            at_middle = Some(watching.copy());
        }
        live(&centre, day, watching.as_mut(), (day >= LEARNS_DAYS).then_some(&mut honest));
    }
    #[allow(clippy::cast_precision_loss)] // people and days
    let user_weeks = centre.people.len() as f64 * (days - LEARNS_DAYS) as f64 / 7.0;
    honest.user_weeks = user_weeks;
    let mut lost: Vec<Vec<Lost>> = Vec::new();
    for (number, thief) in THIEVES.iter().enumerate() {
        watch(Progress { stage: "thefts", done: number, total: THIEVES.len() });
        let one = |theft: usize| {
            let seed = seed.wrapping_mul(31).wrapping_add(theft as u64 + 1);
            match at_middle.as_ref().filter(|_| theft.is_multiple_of(2)) {
                Some(at_middle) => theft::run(&centre, at_middle.copy(), *thief, &honey, middle, seed),
                None => theft::run(&centre, watching.copy(), *thief, &honey, days, seed),
            }
        };
        lost.push((0..thefts).map(one).collect());
    }
    Ok(told(options, &centre, &honest, &lost, begun.elapsed().as_secs_f64()))
}

/// One honest day of everybody; counted, where it is.
fn live(centre: &Centre, day: i64, watching: &mut dyn Watching, mut honest: Option<&mut Honest>) {
    let mut acts: Vec<Act> = (0..centre.people.len()).flat_map(|person| centre.day_of(person, day)).collect();
    acts.sort();
    let mut rang: BTreeSet<(usize, Signal)> = BTreeSet::new();
    for act in acts {
        let Answer { opened, alarms } = watching.open(centre, &act);
        if let Some(honest) = &mut honest {
            let (all, refused) = match act.explained {
                true => (&mut honest.explained, &mut honest.explained_refused),
                false => (&mut honest.unexplained, &mut honest.unexplained_refused),
            };
            *all += 1;
            *refused += u64::from(!opened);
        }
        for (signal, person) in alarms {
            // While one is open, the same rings no second time.
            if rang.insert((person, signal))
                && let Some(honest) = &mut honest
            {
                *honest.alarms.entry(signal).or_default() += 1;
            }
        }
    }
    // Whoever is on duty has looked at all of them by the evening.
    rang.iter().for_each(|(person, _)| watching.looked_at(centre, *person));
}

/// The middle one, and the one that 95 of 100 don't reach; of an empty list nothing.
fn quantiles(values: &mut [u64]) -> (u64, u64) {
    values.sort_unstable();
    let at = |percent: usize| values.get((values.len() * percent).div_ceil(100).max(1) - 1).copied().unwrap_or(0);
    (at(50), at(95))
}

/// Order statistics between which the median lies with 95 % confidence (binomial, by the normal approximation).
fn interval_of_median(sorted: &[u64]) -> (u64, u64) {
    #[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss)] // few thefts
    let half = (0.98 * (sorted.len() as f64).sqrt()).ceil() as usize;
    let middle = sorted.len() / 2;
    let low = sorted.get(middle.saturating_sub(half)).copied().unwrap_or(0);
    (low, sorted.get((middle + half).min(sorted.len().saturating_sub(1))).copied().unwrap_or(0))
}

/// Wilson's interval, 95 %, in percent.
#[allow(clippy::cast_precision_loss)] // few thefts
fn wilson(of: usize, all: usize) -> (f64, f64) {
    const Z: f64 = 1.96;
    let (n, p) = (all as f64, of as f64 / all as f64);
    let middle = Z.mul_add(Z / (2.0 * n), p);
    let half = Z * (p * (1.0 - p) / n + Z * Z / (4.0 * n * n)).sqrt();
    let scale = 100.0 / (1.0 + Z * Z / n);
    ((middle - half) * scale, (middle + half) * scale)
}

#[allow(clippy::cast_precision_loss)] // days
fn days_of(ms: i64) -> f64 {
    ms as f64 / DAY_MS as f64
}

fn told(options: &Options, centre: &Centre, honest: &Honest, lost: &[Vec<Lost>], seconds: f64) -> Report {
    let mut figures = BTreeMap::new();
    let mut deeds = Vec::new();
    let (mut fast, mut slow) = (Findings::default(), Findings::default());
    let (mut fast_told, mut slow_told) = (Vec::new(), String::new());
    for (thief, lost) in THIEVES.iter().zip(lost) {
        let mut charts: Vec<u64> = lost.iter().map(|one| one.charts).collect();
        let (median, p95) = quantiles(&mut charts);
        let (low, high) = interval_of_median(&charts);
        let contained: Vec<i64> = lost.iter().filter_map(|one| one.contained_ms).collect();
        let seen = lost.iter().filter(|one| one.seen_ms.is_some_and(|ms| ms <= SLOW_DAYS * DAY_MS)).count();
        let mut days: Vec<u64> = contained.iter().map(|ms| ms.unsigned_abs()).collect();
        let (days_median, days_p95) = quantiles(&mut days);
        let (seen_low, seen_high) = wilson(seen, lost.len());
        let by = |signal| lost.iter().filter(|one| one.by == Some(signal)).count();
        deeds.push(format!(
            "{}: charts lost {median} (median, 95 % confidence {low} to {high}), p95 {p95}; seen within {SLOW_DAYS} days {seen} of {} ({seen_low:.0} \
             to {seen_high:.0} %), by budget {}, slow test {}, honey {}; contained {} of {}, after {:.2} days (median), {:.2} (p95)",
            thief.name,
            lost.len(),
            by(Signal::OverBudget),
            by(Signal::SlowTheft),
            by(Signal::Honey),
            contained.len(),
            lost.len(),
            days_of(days_median.cast_signed()),
            days_of(days_p95.cast_signed()),
        ));
        if thief.logins == 1 && thief.hour >= 60 {
            fast_told.push(format!("{}: {p95} (p95)", thief.name));
            if p95 > FAST_CHARTS {
                fast.add(format!("{}: {p95} charts at the 95th percentile, {FAST_CHARTS} are the goal", thief.name));
            }
        }
        if thief.logins == 1 && (5..60).contains(&thief.day) {
            let percent = seen * 100 / lost.len().max(1);
            slow_told.push_str(&format!("{}: {seen} of {}; ", thief.name, lost.len()));
            if (percent as u64) < SLOW_SEEN_PERCENT {
                slow.add(format!("{}: {percent} % were seen within {SLOW_DAYS} days", thief.name));
            }
        }
    }
    let alarms: u64 = honest.alarms.values().sum();
    #[allow(clippy::cast_precision_loss)] // alarms of a year
    let false_per_100 = alarms as f64 * 100.0 / honest.user_weeks;
    #[allow(clippy::cast_precision_loss)]
    let interrupted = honest.explained_refused as f64 * 10_000.0 / honest.explained.max(1) as f64;
    let of = |signal| honest.alarms.get(&signal).copied().unwrap_or(0);
    let (mut too_often, mut in_the_way) = (Findings::default(), Findings::default());
    if false_per_100 > 1.0 {
        too_often.add(format!("{false_per_100:.2} false alarms per 100 user-weeks, 1 is the goal"));
    }
    if interrupted > 1.0 {
        in_the_way.add(format!("{interrupted:.2} interruptions per 10,000 explained openings, 1 is the goal"));
    }
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // thousandths of a small number
    figures.extend([
        ("people", centre.people.len() as u64),
        ("explained_openings", honest.explained),
        ("explained_refused", honest.explained_refused),
        ("unexplained_openings", honest.unexplained),
        ("unexplained_refused", honest.unexplained_refused),
        ("false_alarms", alarms),
        ("false_alarms_per_100000_user_weeks", (false_per_100 * 1_000.0).round() as u64),
    ]);
    let checks = vec![
        Check::new(
            "P5",
            "does a fast theft get 50 charts or fewer, in 95 of 100?",
            fast_told.join("; "),
            fast,
            "by one login; how long people take to an alarm is made up (20 minutes by day, 40 by night, at the median)",
        ),
        Check::new(
            "P5",
            "is a slow theft seen within three weeks?",
            slow_told,
            slow,
            "by one login, of 5 charts a day or more",
        ),
        Check::new(
            "P5",
            "is there one false alarm or fewer per 100 user-weeks?",
            format!(
                "{false_per_100:.3} per 100 user-weeks: over budget {}, slow test {}, honey {}, in {:.0} user-weeks",
                of(Signal::OverBudget),
                of(Signal::SlowTheft),
                of(Signal::Honey),
                honest.user_weeks
            ),
            too_often,
            "the year is made up; a centre's own first month says what is usual there",
        ),
        Check::new(
            "P5",
            "is one explained opening in 10,000 or fewer interrupted?",
            format!(
                "{} of {} explained ones refused ({interrupted:.3} per 10,000), {} of {} unexplained ones",
                honest.explained_refused, honest.explained, honest.unexplained_refused, honest.unexplained
            ),
            in_the_way,
            "as above",
        ),
    ];
    Report {
        drill: "honest-year",
        title: "an honest year, and thefts in it".to_owned(),
        story: format!(
            "{} of {} staff opened charts of {} patients for {} days; then {} thefts of each kind, on seeds of their own. The first {LEARNS_DAYS} \
             days count for nothing but learning.",
            grouped(centre.people.len()),
            grouped(options.staff),
            grouped(usize::try_from(options.patients).unwrap_or(usize::MAX)),
            options.days,
            options.thefts
        ),
        seed: options.seed,
        held: checks.iter().all(|check| check.held),
        centre: report::Centre::default(),
        attacks: Vec::new(),
        deeds,
        figures,
        checks,
        seconds: Seconds { whole_drill: seconds, ..Seconds::default() },
        refused: Vec::new(),
    }
}

/// The first moment of a day.
pub fn day(number: i64) -> i64 {
    FIRST_MS + number * DAY_MS
}

//! Slow theft: sequential tests of how many charts somebody opens in a shift, all of them and those that nothing explains.
//!
//! Each is a CUSUM of log-likelihood ratios (Page 1954; Lorden 1971: with a threshold h a false alarm comes after e^h shifts or later, on
//! average) between two negative binomial distributions: what is usual of this person, and the same with so many more. Honest counts are
//! overdispersed (an on-call night, a tumour board), so that a Poisson test would ring daily. What is usual is learnt of each role and time of
//! day, and of each person with a delay of [`DELAY`] shifts: a thief doesn't teach it within the weeks in which he is to be seen.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};

use kit::{PatientId, Timestamp};
use minicbor::{Decode, Encode};

use crate::normal::Signalled;
use crate::policy::bundle::HOUR_MS;
use crate::{Role, Signal};

const SHIFT_MS: i64 = 8 * HOUR_MS;
/// Of a day.
const SHIFTS: i64 = 3;
/// Where it rings. By simulation (`holdfast drill honest-year`).
const THRESHOLD: f64 = 9.0;
/// Shifts that a count waits before it is taken for usual: five a week, four weeks.
const DELAY: usize = 20;
/// What is thought of a role before anything was seen of it counts as much as so many shifts.
const PRIOR_SHIFTS: f64 = 200.0;
/// A person is taken for usual of her role until she has worked some shifts.
const OWN_SHIFTS: f64 = 15.0;
/// She may differ from it so far: beyond, somebody looks.
const OWN_FACTOR_MAX: f64 = 4.0;
/// What a shift tells is forgotten by half after so many shifts, of one person and of a whole role.
const OWN_HALF_LIFE: f64 = 120.0;
const ROLE_HALF_LIFE: f64 = 20_000.0;
/// People that are followed: those who have opened something lately.
const PEOPLE_MAX: usize = 20_000;
/// People of a shift in one event.
const PEOPLE_IN_EVENT: usize = 500;

/// What a shift came to, as the ledger keeps it.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct ShiftClosed {
    /// In shifts of eight hours since the Unix epoch.
    #[n(0)]
    pub number: i64,
    #[n(1)]
    pub counts: Vec<Counted>,
}

/// Charts that somebody opened in a shift.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Counted {
    #[n(0)]
    pub subject: String,
    #[n(1)]
    pub role: Role,
    #[n(2)]
    pub opened: u32,
    /// Of them, those that nothing explains.
    #[n(3)]
    pub unexplained: u32,
}

impl ShiftClosed {
    /// Each small enough for an event.
    pub(crate) fn in_parts(&self) -> impl Iterator<Item = Self> {
        let number = self.number;
        self.counts.chunks(PEOPLE_IN_EVENT).map(move |counts| Self { number, counts: counts.to_vec() })
    }
}

/// What is counted, and what is looked for.
struct Measure {
    what: &'static str,
    of: fn(&Counted) -> u32,
    /// In a shift, beyond what is usual.
    extra: f64,
    /// Before anything was seen of a role: mean, and variance over mean.
    prior: (f64, f64),
    /// More in one shift is no measure of what is usual.
    learnt_max: u32,
}

const MEASURES: [Measure; 2] = [
    Measure {
        what: "charts that nothing explains",
        of: |counted| counted.unexplained,
        extra: 3.0,
        prior: (1.0, 3.0),
        learnt_max: 25,
    },
    Measure { what: "charts", of: |counted| counted.opened, extra: 20.0, prior: (20.0, 8.0), learnt_max: 150 },
];

/// Sums that forget.
#[derive(Clone, Copy, Default)]
struct Usual {
    shifts: f64,
    sum: f64,
    squares: f64,
}

impl Usual {
    fn learn(&mut self, count: u32, half_life: f64) {
        let (keep, count) = ((-std::f64::consts::LN_2 / half_life).exp(), f64::from(count));
        self.shifts = self.shifts.mul_add(keep, 1.0);
        self.sum = self.sum.mul_add(keep, count);
        self.squares = self.squares.mul_add(keep, count * count);
    }

    /// Mean, and variance over mean.
    fn of_role(&self, (prior, prior_spread): (f64, f64)) -> (f64, f64) {
        let shifts = self.shifts + PRIOR_SHIFTS;
        let mean = prior.mul_add(PRIOR_SHIFTS, self.sum) / shifts;
        let square = prior.mul_add(prior, prior * prior_spread).mul_add(PRIOR_SHIFTS, self.squares) / shifts;
        let spread = mean.mul_add(-mean, square) / mean.max(0.05);
        // A count is never less spread than at random.
        (mean.max(0.05), spread.max(1.05))
    }
}

/// One person by one measure.
#[derive(Clone, Default)]
struct Score {
    score: f64,
    usual: Usual,
    /// Counts that are not taken for usual yet, the oldest first.
    waiting: VecDeque<u32>,
}

impl Score {
    /// Gives what is usual of her, where it rings.
    fn judge(&mut self, count: u32, measure: &Measure, (mean, spread): (f64, f64)) -> Option<f64> {
        let hers = OWN_SHIFTS.mul_add(mean, self.usual.sum) / (OWN_SHIFTS + self.usual.shifts);
        let usual = hers.clamp(mean / OWN_FACTOR_MAX, mean * OWN_FACTOR_MAX);
        self.score = (self.score + ratio(count, usual, spread, measure.extra)).max(0.0);
        self.waiting.push_back(count.min(measure.learnt_max));
        if self.waiting.len() > DELAY
            && let Some(old) = self.waiting.pop_front()
        {
            self.usual.learn(old, OWN_HALF_LIFE);
        }
        let rings = self.score >= THRESHOLD;
        if rings {
            self.score = 0.0;
        }
        rings.then_some(usual)
    }
}

#[derive(Clone)]
struct Person {
    role: Role,
    scores: [Score; 2],
    last: i64,
}

/// Whom somebody has opened in the shift that is going on.
#[derive(Clone)]
struct Opened {
    role: Role,
    all: HashSet<PatientId>,
    unexplained: HashSet<PatientId>,
}

/// Everybody's shifts.
#[derive(Clone, Default)]
pub(crate) struct Slow {
    people: HashMap<String, Person>,
    roles: BTreeMap<(Role, i64), [Usual; 2]>,
    /// That is going on.
    shift: i64,
    now: HashMap<String, Opened>,
}

impl Slow {
    /// A chart was opened. The first one of another shift closes the last one.
    pub(crate) fn opened(
        &mut self,
        (subject, role): (&str, Role),
        patient: PatientId,
        explained: bool,
        at: Timestamp,
    ) -> (Vec<Signalled>, Option<ShiftClosed>) {
        let shift = at.0.div_euclid(SHIFT_MS);
        let closed = (shift > self.shift && !self.now.is_empty()).then(|| self.close());
        self.shift = self.shift.max(shift);
        let told = closed.as_ref().map(|closed| self.judge(closed)).unwrap_or_default();
        if !self.now.contains_key(subject) {
            let nothing = Opened { role, all: HashSet::new(), unexplained: HashSet::new() };
            self.now.insert(subject.to_owned(), nothing);
        }
        if let Some(hers) = self.now.get_mut(subject) {
            hers.all.insert(patient);
            if !explained {
                hers.unexplained.insert(patient);
            }
        }
        (told, closed)
    }

    fn close(&mut self) -> ShiftClosed {
        let count = |set: &HashSet<PatientId>| u32::try_from(set.len()).unwrap_or(u32::MAX);
        let counted = |(subject, opened): (String, Opened)| {
            let Opened { role, all, unexplained } = opened;
            Counted { subject, role, opened: count(&all), unexplained: count(&unexplained) }
        };
        let mut counts: Vec<Counted> = self.now.drain().map(counted).collect();
        counts.sort_by(|a, b| a.subject.cmp(&b.subject));
        ShiftClosed { number: self.shift, counts }
    }

    pub(crate) fn replay(&mut self, shift: &ShiftClosed) {
        self.shift = self.shift.max(shift.number.saturating_add(1));
        drop(self.judge(shift));
    }

    /// Who has opened too many for too long; then it is learnt.
    fn judge(&mut self, shift: &ShiftClosed) -> Vec<Signalled> {
        let mut told = Vec::new();
        let time_of_day = shift.number.rem_euclid(SHIFTS);
        for counted in &shift.counts {
            let Counted { subject, role, .. } = counted;
            let key = (*role, time_of_day);
            let of_role = self.roles.get(&key).copied().unwrap_or_default();
            if !self.people.contains_key(subject) && self.people.len() >= PEOPLE_MAX {
                self.forget_the_longest_gone();
            }
            let nothing = || Person { role: *role, scores: Default::default(), last: shift.number };
            let person = self.people.entry(subject.clone()).or_insert_with(nothing);
            // Other work has other charts that are usual; what she has opened too many of so far stays: a second role is no new beginning.
            person.role = *role;
            person.last = shift.number;
            let each = MEASURES.iter().zip(&mut person.scores).zip(&of_role);
            for ((measure, score), of_role) in each {
                let count = (measure.of)(counted);
                if let Some(usual) = score.judge(count, measure, of_role.of_role(measure.prior)) {
                    let what = measure.what;
                    let words =
                        format!("{count} {what} in a shift, after more than usual for some: {usual:.1} are usual");
                    told.push(Signalled::of(Signal::SlowTheft, subject.as_str(), words));
                }
            }
            for (measure, usual) in MEASURES.iter().zip(self.roles.entry(key).or_default()) {
                usual.learn((measure.of)(counted).min(measure.learnt_max), ROLE_HALF_LIFE);
            }
        }
        told
    }

    fn forget_the_longest_gone(&mut self) {
        let gone = self.people.iter().min_by_key(|(_, person)| person.last).map(|(subject, _)| subject.clone());
        if let Some(gone) = gone {
            self.people.remove(&gone);
        }
    }
}

/// ln of how much likelier a count is where so many were added: negative binomial of mean m and variance m·spread, so of size
/// m / (spread − 1), against the same size with a larger mean.
fn ratio(count: u32, mean: f64, spread: f64, extra: f64) -> f64 {
    let (size, more) = (mean / (spread - 1.0), mean + extra);
    let of_each = (more / mean * (size + mean) / (size + more)).ln();
    let of_none = size * ((size + more) / (size + mean)).ln();
    f64::from(count).mul_add(of_each, -of_none)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The ratio is that of two negative binomial probabilities, worked out by their own formula.
    #[test]
    fn the_ratio_is_that_of_the_two_distributions() {
        let ln_probability = |count: u32, mean: f64, size: f64| {
            let mut ln = size * (size / (size + mean)).ln();
            for n in 0..count {
                let n = f64::from(n);
                ln += ((size + n) / (n + 1.0)).ln() + (mean / (size + mean)).ln();
            }
            ln
        };
        for (count, mean, spread, extra) in
            [(0, 1.0, 3.0, 3.0), (5, 1.0, 3.0, 3.0), (25, 0.4, 1.5, 3.0), (90, 30.0, 8.0, 20.0)]
        {
            let size = mean / (spread - 1.0);
            let expected = ln_probability(count, mean + extra, size) - ln_probability(count, mean, size);
            assert!((ratio(count, mean, spread, extra) - expected).abs() < 1e-9, "{count} {mean} {spread}");
        }
    }
}

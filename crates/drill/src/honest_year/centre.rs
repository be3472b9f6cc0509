//! The people of a centre and their honest days: shifts, clinic lists, referrals by telephone, on-call nights, tumour boards, colleagues on
//! leave, registries. Counts are overdispersed on purpose: people differ, days differ, and some days have a reason that no record knows.

use std::collections::BTreeSet;

use rand::{RngExt as _, SeedableRng as _};
use rand_distr::{Distribution as _, Gamma, Poisson};
use rand_pcg::Pcg64Mcg;

pub const MINUTE_MS: i64 = 60_000;
pub const HOUR_MS: i64 = 60 * MINUTE_MS;
pub const DAY_MS: i64 = 24 * HOUR_MS;
/// India's clocks.
const OFFSET_MS: i64 = 5 * HOUR_MS + 30 * MINUTE_MS;
/// 2027-01-01 00:00 there.
pub const FIRST_MS: i64 = 1_798_741_800_000;
const SHIFT_MS: i64 = 8 * HOUR_MS;

/// What a trade does, on average; shares are of those who open charts.
pub struct Trade {
    /// guard's word for it.
    pub role: &'static str,
    share: f64,
    /// Charts in a shift that an appointment, an order or a care team explains.
    explained: f64,
    /// And others: a telephone call, a colleague's question, a walk-in before anybody has written it down.
    unexplained: f64,
    /// Patients whom records relate to one of them at one time.
    panel: u64,
    /// Works at every hour.
    rotates: bool,
    boards: bool,
}

/// Made up for this drill, so that 5 to 6 % of openings are unexplained, as explanation-based auditing found (over 94 % explained).
pub const TRADES: [Trade; 6] = [
    Trade {
        role: "oncologist",
        share: 0.10,
        explained: 24.0,
        unexplained: 1.6,
        panel: 250,
        rotates: false,
        boards: true,
    },
    Trade { role: "surgeon", share: 0.06, explained: 15.0, unexplained: 1.2, panel: 120, rotates: false, boards: true },
    Trade {
        role: "pathologist",
        share: 0.04,
        explained: 28.0,
        unexplained: 0.8,
        panel: 200,
        rotates: false,
        boards: true,
    },
    Trade {
        role: "physicist",
        share: 0.03,
        explained: 12.0,
        unexplained: 0.5,
        panel: 400,
        rotates: false,
        boards: false,
    },
    Trade {
        role: "therapist",
        share: 0.17,
        explained: 30.0,
        unexplained: 0.4,
        panel: 500,
        rotates: false,
        boards: false,
    },
    Trade { role: "nurse", share: 0.60, explained: 18.0, unexplained: 1.0, panel: 60, rotates: true, boards: false },
];

/// One who opens charts.
pub struct Person {
    pub name: String,
    pub trade: &'static Trade,
    /// How much she does, and how often without a reason on record, beside others of her trade.
    busy: f64,
    asked: f64,
    /// Her panel is the patients from this one on.
    panel: u64,
    /// The day of the year on which her leave begins.
    leave: i64,
    rotation: i64,
}

/// One chart that is about to be opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Act {
    pub at: i64,
    pub person: usize,
    pub patient: u64,
    pub explained: bool,
}

pub struct Centre {
    pub people: Vec<Person>,
    pub patients: u64,
    seed: u64,
}

pub fn stream(seed: u64, purpose: &str, number: u64) -> Pcg64Mcg {
    let mut hasher = blake3::Hasher::new_derive_key("holdfast 2026 honest year");
    hasher.update(&seed.to_le_bytes()).update(&number.to_le_bytes()).update(purpose.as_bytes());
    let mut start = [0; 16];
    hasher.finalize_xof().fill(&mut start);
    Pcg64Mcg::from_seed(start)
}

/// Mean 1; the smaller the shape, the further apart.
fn around_one(rng: &mut Pcg64Mcg, shape: f64) -> f64 {
    Gamma::new(shape, 1.0 / shape).map_or(1.0, |gamma| gamma.sample(rng))
}

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // a count of charts
fn count(rng: &mut Pcg64Mcg, mean: f64) -> u64 {
    Poisson::new(mean.max(1e-9)).map_or(0, |poisson| poisson.sample(rng) as u64)
}

impl Centre {
    /// `staff` people, of whom some three in four open charts.
    pub fn new(seed: u64, staff: usize, patients: u64) -> Self {
        let mut rng = stream(seed, "people", 0);
        let mut people = Vec::new();
        for trade in &TRADES {
            #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss)]
            let many = (staff as f64 * 0.75 * trade.share).round() as usize;
            for number in 1..=many.max(1) {
                people.push(Person {
                    name: format!("{}-{number}", trade.role),
                    trade,
                    busy: around_one(&mut rng, 8.0),
                    asked: around_one(&mut rng, 1.5),
                    panel: rng.random_range(0..patients),
                    leave: rng.random_range(0..365),
                    rotation: rng.random_range(0..21),
                });
            }
        }
        Self { people, patients, seed }
    }

    /// What one person opens on one day (`day` 0 is a Friday, 1 January 2027), in no order.
    pub fn day_of(&self, person: usize, day: i64) -> Vec<Act> {
        let mut acts = Vec::new();
        let Some(one) = self.people.get(person) else { return acts };
        let number = u64::try_from(day).unwrap_or_default() * 1_000_003 + person as u64;
        let mut rng = stream(self.seed, "day", number);
        let Some(starts) = self.shift(one, day, &mut rng) else { return acts };
        let midnight = FIRST_MS + day * DAY_MS;
        let at_night = starts >= 22 * HOUR_MS;
        let today = around_one(&mut rng, 6.0);
        let explained = count(&mut rng, one.trade.explained * one.busy * today);
        let today = around_one(&mut rng, 1.2);
        let usual = one.trade.unexplained * one.asked * today * if at_night { 2.0 } else { 1.0 };
        let more = self.on_no_record(one, day, &mut rng);
        let unexplained = count(&mut rng, usual + more);
        let mut seen = BTreeSet::new();
        for _ in 0..explained {
            let patient = (one.panel + rng.random_range(0..one.trade.panel)) % self.patients;
            // A third of them in the first minutes: the list of the day.
            let within = if rng.random_bool(0.3) { 20 * MINUTE_MS } else { SHIFT_MS };
            let at = midnight + starts + rng.random_range(0..within);
            if seen.insert(patient) {
                acts.push(Act { at, person, patient, explained: true });
            }
        }
        for _ in 0..unexplained {
            let (patient, at) = (rng.random_range(0..self.patients), midnight + starts + rng.random_range(0..SHIFT_MS));
            if seen.insert(patient) {
                acts.push(Act { at, person, patient, explained: false });
            }
        }
        acts
    }

    /// When she comes, after midnight; none where she doesn't.
    fn shift(&self, one: &Person, day: i64, rng: &mut Pcg64Mcg) -> Option<i64> {
        let in_year = day.rem_euclid(365);
        let on_leave = (in_year - one.leave).rem_euclid(365) < 21;
        // A dozen days in the year on which outpatients don't come.
        let holiday = in_year % 30 == 25;
        // Day 0 is a Friday.
        let weekday = (day + 4).rem_euclid(7);
        if on_leave {
            return None;
        }
        if one.trade.rotates {
            // Five mornings, five evenings, five nights, and six days off among them.
            return match (day + one.rotation).rem_euclid(21) {
                0..=4 => Some(6 * HOUR_MS),
                7..=11 => Some(14 * HOUR_MS),
                14..=18 => Some(22 * HOUR_MS),
                _ => None,
            };
        }
        match weekday >= 5 || holiday {
            true => rng.random_bool(0.12).then_some(8 * HOUR_MS),
            // Some are on call.
            false if one.trade.boards && rng.random_bool(0.04) => Some(22 * HOUR_MS),
            false => rng.random_bool(0.93).then_some(8 * HOUR_MS),
        }
    }

    /// Days with a reason that no record knows.
    fn on_no_record(&self, one: &Person, day: i64, rng: &mut Pcg64Mcg) -> f64 {
        if !one.trade.boards {
            return 0.0;
        }
        let mut more = 0.0;
        // A colleague's patients: a week in eight, by the week.
        let week = u64::try_from(day.div_euclid(7)).unwrap_or_default();
        let mut weekly = stream(self.seed, &one.name, week);
        if weekly.random_bool(0.12) {
            more += 3.0;
        }
        // A tumour board each Wednesday; one in five stands in nobody's calendar.
        if (day + 4).rem_euclid(7) == 2 && rng.random_bool(0.3) && rng.random_bool(0.2) {
            more += 9.0;
        }
        // A registry, a thesis: once or twice a year, for a day.
        if rng.random_bool(0.006) {
            more += 14.0;
        }
        more
    }

    /// Patients whom records relate to her.
    pub fn panel(&self, person: usize) -> Vec<u64> {
        let Some(one) = self.people.get(person) else { return Vec::new() };
        (0..one.trade.panel).map(|n| (one.panel + n) % self.patients).collect()
    }
}

/// Local hour of day.
pub fn hour(at: i64) -> i64 {
    (at + OFFSET_MS).rem_euclid(DAY_MS) / HOUR_MS
}

//! Budgets, against a model that keeps everything and counts it anew each time.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use keys::{Account, Budgets, Meter, MeterError};
use kit::{Id16, Timestamp};
use proptest::prelude::*;

const HOUR: i64 = 3_600_000;
const DAY: i64 = 24 * HOUR;
const START: i64 = 1_795_392_000_000;

fn small() -> Budgets {
    Budgets {
        person_hour: 4,
        person_day: 9,
        delegate_hour: 5,
        delegate_day: 7,
        gateway_hour: 8,
        gateway_day: 20,
        all_hour: 10,
        all_day: 24,
        erasures_day: 3,
    }
}

/// A thief who chooses the t holders with the most left gets no more than the budget, and one who takes what comes a part.
#[test]
fn parts_of_a_budget_hold_the_whole_centre_to_it() {
    for n in 1..=20_u8 {
        for (t, budget) in (1..=n).flat_map(|t| [0, 1, 6, 7, 59, 600].map(|budget| (t, budget))) {
            let part = Budgets { person_hour: budget, ..small() }.part(t, n).person_hour;
            let mut left = vec![part; usize::from(n)];
            let mut charts = 0;
            loop {
                left.sort_unstable_by(|a, b| b.cmp(a));
                let chosen = &mut left[..usize::from(t)];
                if chosen.contains(&0) {
                    break;
                }
                chosen.iter_mut().for_each(|left| *left -= 1);
                charts += 1;
            }
            assert!(part <= charts && charts <= budget, "{charts} charts of {budget}, {t} of {n}, {part} each");
        }
    }
    let part = Budgets::default().part(12, 14);
    assert_eq!((part.person_hour, part.gateway_day, part.erasures_day), (514, 10_285, 20));
    assert_eq!(Budgets { all_day: u32::MAX, ..small() }.part(14, 14).all_day, u32::MAX);
}

fn open(dir: &Path, now: i64) -> Meter {
    Meter::open(dir, small(), Timestamp(now)).unwrap()
}

fn account(person: &str, gateway: u8) -> (String, bool, [u8; 1]) {
    (person.to_owned(), person.contains(':'), [gateway])
}

fn admit(meter: &Meter, now: i64, (person, is_delegated, gateway): &(String, bool, [u8; 1]), patient: u8) -> bool {
    let account = Account { person, purpose: "treatment", is_delegated: *is_delegated, gateway };
    match meter.admit(Timestamp(now), account, Id16([patient; 16])) {
        Ok(()) => true,
        Err(MeterError::OverBudget(_)) => false,
        Err(other) => panic!("{other}"),
    }
}

/// Time, person, gateway, patient.
type Opening = (i64, String, u8, u8);
type Of<'a> = &'a dyn Fn(&Opening) -> bool;

/// Every opening that was admitted.
#[derive(Default)]
struct Model(Vec<Opening>);

impl Model {
    /// Patients whose first opening within the last day, among those that `of` chooses, lies after `since`.
    fn charts(&self, now: i64, since: i64, of: Of<'_>) -> (usize, BTreeSet<u8>) {
        // What is a day old is forgotten: a patient who is seen again then counts anew, from then.
        let mut first: std::collections::BTreeMap<u8, i64> = std::collections::BTreeMap::new();
        for opening in self.0.iter().filter(|opening| of(opening)) {
            let known = first.get(&opening.3).copied();
            if known.is_none_or(|at| at + DAY <= opening.0) {
                first.insert(opening.3, opening.0);
            }
        }
        first.retain(|_, at| *at + DAY > now);
        (first.values().filter(|at| **at > since).count(), first.into_keys().collect())
    }

    fn admits(&mut self, now: i64, (person, is_delegated, gateway): &(String, bool, [u8; 1]), patient: u8) -> bool {
        let b = small();
        let (hour, day) = if *is_delegated { (b.delegate_hour, b.delegate_day) } else { (b.person_hour, b.person_day) };
        let accounts: [(Of<'_>, u32, u32); 3] = [
            // A gateway's devices and consoles are counted together.
            (&|o| if *is_delegated { o.1.contains(':') && o.2 == gateway[0] } else { o.1 == *person }, hour, day),
            (&|o| o.2 == gateway[0], b.gateway_hour, b.gateway_day),
            (&|_| true, b.all_hour, b.all_day),
        ];
        let fits = accounts.iter().all(|(of, hour, day)| {
            let (within_day, seen) = self.charts(now, now - DAY, of);
            let (within_hour, _) = self.charts(now, now - HOUR, of);
            seen.contains(&patient) || (within_day < *day as usize && within_hour < *hour as usize)
        });
        if fits {
            self.0.push((now, person.clone(), gateway[0], patient));
        }
        fits
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn what_is_admitted_is_what_the_model_admits(
        steps in prop::collection::vec((0i64..2 * HOUR, 0usize..4, 0u8..2, 0u8..30, prop::bool::weighted(0.05)), 1..150)
    ) {
        let dir = tempfile::tempdir().unwrap();
        let (mut meter, mut model, mut now) = (open(dir.path(), START), Model::default(), START);
        for (pause, person, gateway, patient, restart) in steps {
            now += pause;
            let account = account(["dr.a", "dr.b", "ae:LINAC", "local:operator"][person], gateway);
            prop_assert_eq!(admit(&meter, now, &account, patient), model.admits(now, &account, patient));
            if restart {
                drop(meter);
                meter = open(dir.path(), now);
            }
        }
    }
}

#[test]
fn a_clock_that_is_set_back_gives_no_budget_back() {
    let dir = tempfile::tempdir().unwrap();
    let meter = open(dir.path(), START);
    let dr = account("dr.a", 1);
    assert!((0..4).all(|patient| admit(&meter, START, &dr, patient)));
    for back in [0, -DAY, -365 * DAY] {
        assert!(!admit(&meter, START + back, &dr, 9), "{back}");
    }
    drop(meter);
    let meter = open(dir.path(), START - 30 * DAY);
    assert!(!admit(&meter, START - 30 * DAY, &dr, 9), "nor does a start");
    assert!(admit(&meter, START + HOUR, &dr, 9));
}

#[test]
fn who_is_over_budget_hears_whose_it_is_and_when_it_ends() {
    let dir = tempfile::tempdir().unwrap();
    let meter = open(dir.path(), START);
    let dr = account("dr.a", 1);
    for patient in 0..4 {
        assert!(admit(&meter, START + i64::from(patient), &dr, patient));
    }
    // Seen again, she doesn't count.
    assert!(admit(&meter, START + 10, &dr, 2));
    let asked = Account { person: "dr.a", purpose: "audit", is_delegated: false, gateway: &[1] };
    let Err(MeterError::OverBudget(over)) = meter.admit(Timestamp(START + 20), asked, Id16([9; 16])) else { panic!() };
    assert_eq!((over.whose.as_str(), over.window, over.count, over.limit), ("dr.a", "an hour", 4, 4));
    assert_eq!(over.next, Timestamp(START + HOUR));
    assert!(admit(&meter, over.next.0, &dr, 9));
    let counts = meter.counts(over.next);
    assert_eq!((counts.hour, counts.day, counts.persons), (4, 5, vec![("dr.a".to_owned(), 5)]));
}

#[test]
fn names_that_a_gateway_makes_up_have_one_budget_together() {
    let dir = tempfile::tempdir().unwrap();
    let meter = open(dir.path(), START);
    let admitted = (0..50).filter(|n| admit(&meter, START, &account(&format!("ae:MADE-UP-{n}"), 1), *n)).count();
    assert_eq!(admitted, 5, "delegate_hour");
    assert!(admit(&meter, START, &account("dr.a", 1), 60), "people have theirs");
    let asked = Account { person: "ae:LINAC1", purpose: "treatment", is_delegated: true, gateway: &[1] };
    let Err(MeterError::OverBudget(over)) = meter.admit(Timestamp(START), asked, Id16([61; 16])) else { panic!() };
    assert_eq!((over.whose.as_str(), over.limit), ("the devices and consoles of this gateway together", 5));
    drop(meter);
    assert!(!admit(&open(dir.path(), START), START, &account("ae:ANOTHER", 1), 62), "nor does a start give any back");
}

#[test]
fn erasures_have_a_budget_of_their_own() {
    let dir = tempfile::tempdir().unwrap();
    let erase = |meter: &Meter, now, patient| meter.admit_erasure(Timestamp(now), &[1], Id16([patient; 16])).is_ok();
    let meter = open(dir.path(), START);
    assert!((0..3).all(|patient| erase(&meter, START, patient)));
    assert!(erase(&meter, START, 2), "the same one again is no other");
    assert!(!erase(&meter, START + HOUR, 3));
    drop(meter);
    let meter = open(dir.path(), START + 2 * HOUR);
    assert!(!erase(&meter, START + 2 * HOUR, 3) && erase(&meter, START + DAY, 3));
}

#[test]
fn a_torn_last_line_is_dropped_and_any_other_misfit_is_damage() {
    let dir = tempfile::tempdir().unwrap();
    let meter = open(dir.path(), START);
    let dr = account("dr.a", 1);
    assert!((0..3).all(|patient| admit(&meter, START, &dr, patient)));
    drop(meter);
    let file = dir.path().join("meter.log");
    let whole = fs::read(&file).unwrap();
    assert_eq!(whole.len(), 4 * 64);
    for length in 3 * 64..4 * 64 {
        fs::write(&file, &whole[..length]).unwrap();
        let meter = open(dir.path(), START);
        assert_eq!(meter.counts(Timestamp(START)).day, 2, "cut at {length}");
        assert!(admit(&meter, START, &dr, 7) && admit(&meter, START, &dr, 8) && !admit(&meter, START, &dr, 9));
    }
    for at in 0..4 * 64 {
        let mut altered = whole.clone();
        altered[at] ^= 1;
        fs::write(&file, &altered).unwrap();
        assert!(Meter::open(dir.path(), small(), Timestamp(START)).is_err(), "byte {at}");
    }
}

#[test]
fn the_journal_stays_small_and_forgets_nothing_that_counts() {
    let dir = tempfile::tempdir().unwrap();
    let mut meter = open(dir.path(), START);
    let dr = account("dr.a", 1);
    for hour in 0..24 * 10 {
        let now = START + hour * HOUR;
        admit(&meter, now, &dr, u8::try_from(hour % 250).unwrap());
        if hour % 7 == 0 {
            let before = meter.counts(Timestamp(now));
            drop(meter);
            meter = open(dir.path(), now);
            let after = meter.counts(Timestamp(now));
            assert_eq!((after.hour, after.day), (before.hour, before.day), "hour {hour}");
        }
    }
    let bytes: u64 = fs::read_dir(dir.path()).unwrap().map(|file| file.unwrap().metadata().unwrap().len()).sum();
    assert!(bytes <= 64 * 60, "{bytes} bytes for two days of at most 24 openings");
}

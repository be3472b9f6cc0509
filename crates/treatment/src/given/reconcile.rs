//! What was typed in from paper, beside what the machine says of the same fraction once its record comes: one fraction, counted once.
//!
//! ```text
//!  typed (origin USER)  ─┐  same plan, group, beam, fraction and day?
//!  machine's (not said,  ├─► within the hour, the same whole meterset: the machine's counts
//!  or DEVICE)           ─┘   anything else that can't be two fractions: nobody knows, and a physicist looks
//! ```
//! A typed record of which no machine's has come counts as any other. A machine's record always counts: what two people settled before
//! it came is settled again, as with any late record.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::record::{Origin, TreatmentRecord};

/// Half a monitor unit: people write what a display shows, and round it; of a small beam, two in a hundred.
const SAME: i64 = 500;
const SAME_PART: i64 = 50;
/// Paper has the time when somebody wrote it.
const MINUTES: u32 = 60;

/// What is known of a typed beam.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum PairState {
    /// The machine says the same: a whole one, within the hour.
    Same,
    /// No machine's record of it has come.
    Waiting,
    /// The machine says another meterset, or none.
    Differs,
    /// Both say the same part of a fraction: whether it is one part or two can't be told.
    Part,
    /// Typed in more than once, and together more than the plan's meterset, or more fractions of one day than the plan has.
    TypedTwice,
    /// The machine has it at another time of that day, or doesn't say when.
    OtherTime,
    /// Of that time, or day, the machine has it under another fraction number.
    OtherNumber,
    /// That fraction is there on another day.
    OtherDay,
}

impl PairState {
    /// Nobody knows what was given until two people have said it.
    pub fn is_conflict(self) -> bool {
        !matches!(self, Self::Same | Self::Waiting)
    }
}

/// One beam of one fraction that was typed in; metersets in thousandths.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pairing {
    /// SOP Instance UID.
    pub plan: String,
    pub group: Option<u32>,
    pub fraction: Option<u32>,
    pub beam: Option<u32>,
    /// `YYYYMMDD`.
    pub date: Option<String>,
    pub typed: Option<i64>,
    /// Where the machine says something of it, be it under another number or on another day.
    pub machine: Option<i64>,
    /// Its number and day there.
    pub machine_fraction: Option<u32>,
    pub machine_date: Option<String>,
    pub state: PairState,
    /// The newest entry that says something new of it.
    pub entry: u64,
    /// SOP Instance UIDs that have part in it.
    pub(crate) plans: BTreeSet<String>,
}

/// What a fraction belongs to: the plan by what one fraction of it is, and its group.
type Course = (String, Option<u32>);

/// A beam in a record.
type Place = (u64, usize);

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    course: Course,
    beam: Option<u32>,
    fraction: Option<u32>,
    date: Option<String>,
}

struct Seen<'a> {
    place: Place,
    plan: &'a str,
    /// `YYYYMMDD HHMMSS`.
    when: Option<&'a str>,
    delivered: Option<i64>,
}

impl Seen<'_> {
    /// Of the day.
    fn minute(&self) -> Option<u32> {
        let time = self.when?.get(9..13)?;
        Some(time.get(..2)?.parse::<u32>().ok()? * 60 + time.get(2..)?.parse::<u32>().ok()?)
    }
}

/// Both sides of what agrees.
#[derive(Debug)]
struct Pair {
    typed: Vec<Place>,
    machine: Vec<Place>,
}

/// What the plans say, for whoever doesn't know them.
pub(crate) trait Plans {
    /// Whether any of it is known.
    fn knows(&self, plan: &str) -> bool;
    /// What one fraction of a plan is: the same for exports, and for a course that was made longer or moved.
    fn course(&self, plan: &str) -> String;
    /// The group that is meant; the only one where a record names none.
    fn group(&self, plan: &str, named: Option<u32>) -> Option<u32>;
    /// Of one beam, in thousandths.
    fn meterset(&self, plan: &str, group: Option<u32>, beam: Option<u32>) -> Option<i64>;
    /// Fractions of one day.
    fn most_a_day(&self, plan: &str, group: Option<u32>) -> usize;
}

#[derive(Debug, Default)]
pub(crate) struct Reconciled {
    same: Vec<Pair>,
    pairings: Vec<Pairing>,
}

impl Reconciled {
    /// Of all the records of one patient, by their entries.
    pub(crate) fn of<'a>(
        records: impl Iterator<Item = (u64, &'a TreatmentRecord)> + Clone,
        plans: &impl Plans,
    ) -> Self {
        // Nothing was typed in, most times.
        if !records.clone().any(|(_, record)| is_typed(record)) {
            return Self::default();
        }
        let (mut typed, mut machine) = (Side::new(), Side::new());
        for (entry, record) in records.filter(|(_, record)| record.origin != Some(Origin::Simulation)) {
            // The standard has one; of several, the one that is here.
            let plan = record.plans.iter().find(|plan| plans.knows(plan)).or(record.plans.first());
            let Some(plan) = plan else { continue };
            let hers = is_typed(record);
            let side = if hers { &mut typed } else { &mut machine };
            // An image is nobody's fraction; paper that says nothing was given says nothing.
            let beams = record.beams.iter().enumerate().filter(|(_, beam)| !beam.imaging);
            for (at, beam) in beams.filter(|(_, beam)| !hers || beam.delivered != Some(0)) {
                let course = (plans.course(plan), plans.group(plan, record.fraction_group));
                let (date, when) = (record.treated_on.clone(), record.treated_at.as_deref());
                let key = Key { course, beam: beam.number, fraction: beam.fraction, date };
                // Nothing, and ended as it should: how much nobody knows.
                let delivered = beam.delivered.filter(|delivered| *delivered != 0 || !beam.contradicts_nothing);
                side.entry(key).or_default().push(Seen { place: (entry, at), plan: plan.as_str(), when, delivered });
            }
        }
        let (mut same, mut pairings) = (Vec::new(), Vec::new());
        for (key, hers) in &typed {
            let Judged { found, state } = judge(key, hers, (&typed, &machine), plans);
            let theirs = found.map_or(&[][..], |(_, theirs)| theirs.as_slice());
            if state == PairState::Same {
                let places = |all: &[Seen<'_>]| all.iter().map(|one| one.place).collect();
                same.push(Pair { typed: places(hers), machine: places(theirs) });
            }
            pairings.push(Pairing {
                plan: hers.first().map(|one| one.plan.to_owned()).unwrap_or_default(),
                group: key.course.1,
                fraction: key.fraction,
                beam: key.beam,
                date: key.date.clone(),
                typed: sum(hers),
                machine: found.and_then(|(_, theirs)| sum(theirs)),
                machine_fraction: found.and_then(|(key, _)| key.fraction),
                machine_date: found.and_then(|(key, _)| key.date.clone()),
                state,
                entry: newest(hers).max(newest(theirs)),
                plans: hers.iter().chain(theirs).map(|one| one.plan.to_owned()).collect(),
            });
        }
        pairings.sort_by(|a, b| (&a.date, a.fraction, a.beam).cmp(&(&b.date, b.fraction, b.beam)));
        Self { same, pairings }
    }

    pub(crate) fn pairings(&self) -> &[Pairing] {
        &self.pairings
    }

    /// Whether something that was typed in of a course contradicts other evidence, some of which came in `from` or later. `plans`: all
    /// the SOP Instance UIDs that its fractions came under.
    pub(crate) fn contradicts(&self, plans: &BTreeSet<String>, group: u32, from: u64) -> bool {
        let is_of_it = |one: &&Pairing| !one.plans.is_disjoint(plans) && one.group.is_none_or(|named| named == group);
        self.pairings.iter().filter(is_of_it).any(|one| one.state.is_conflict() && one.entry >= from)
    }

    /// Typed beams that count for nothing among the records before `until`, since a machine's record says the same by then. A machine's
    /// record is never set aside: what came after a settlement may be news, whatever somebody had typed in before.
    pub(crate) fn aside(&self, until: u64) -> BTreeMap<u64, BTreeSet<usize>> {
        let mut aside: BTreeMap<u64, BTreeSet<usize>> = BTreeMap::new();
        let came = |pair: &&Pair| pair.machine.iter().any(|place| place.0 < until);
        for (entry, at) in self.same.iter().filter(came).flat_map(|pair| &pair.typed) {
            aside.entry(*entry).or_default().insert(*at);
        }
        aside
    }
}

fn is_typed(record: &TreatmentRecord) -> bool {
    record.origin == Some(Origin::User)
}

/// What was said, each once, with the entry in which it was said first.
fn once<'s>(seen: &'s [Seen<'_>]) -> BTreeMap<(Option<&'s str>, Option<i64>), u64> {
    let mut once = BTreeMap::new();
    for one in seen {
        let first = once.entry((one.when, one.delivered)).or_insert(one.place.0);
        *first = (*first).min(one.place.0);
    }
    once
}

/// All of it; none where one doesn't say.
fn sum(seen: &[Seen<'_>]) -> Option<i64> {
    once(seen).keys().try_fold(0_i64, |sum, (_, delivered)| Some(sum.saturating_add((*delivered)?)))
}

/// The newest entry that isn't what had come before.
fn newest(seen: &[Seen<'_>]) -> u64 {
    once(seen).values().copied().max().unwrap_or(0)
}

type Side<'a> = BTreeMap<Key, Vec<Seen<'a>>>;

/// What the machine says of it, and how that stands to it.
struct Judged<'r, 'a> {
    found: Option<(&'r Key, &'r Vec<Seen<'a>>)>,
    state: PairState,
}

fn judge<'a, 'r>(
    key: &Key,
    hers: &[Seen<'_>],
    (typed, machine): (&'r Side<'a>, &'r Side<'a>),
    plans: &impl Plans,
) -> Judged<'r, 'a> {
    use PairState::{Differs, OtherDay, OtherNumber, OtherTime, Part, Same, TypedTwice, Waiting};
    let plan = hers.first().map(|one| one.plan).unwrap_or_default();
    let planned = plans.meterset(plan, key.course.1, key.beam);
    let total = sum(hers);
    let is_too_much =
        |total: Option<i64>| total.zip(planned).is_none_or(|(total, planned)| total > planned + planned / 20);
    let found = machine.get_key_value(key);
    let judged = |found, state| Judged { found, state };
    // Parts of one fraction add up to it, one after the other; the same twice doesn't.
    let sessions = once(hers);
    let times: BTreeSet<Option<&str>> = sessions.keys().map(|(when, _)| *when).collect();
    if sessions.len() > 1 && (is_too_much(total) || times.len() < sessions.len()) {
        return judged(found, TypedTwice);
    }
    if let Some((_, theirs)) = found {
        let same = planned.map_or(0, |planned| SAME.min(planned / SAME_PART));
        let agree = total.zip(sum(theirs)).is_some_and(|(a, b)| (a - b).abs() <= same);
        let is_part = total.zip(planned).is_none_or(|(total, planned)| total < planned - planned / 20);
        let state = match (agree, is_part) {
            (false, _) => Differs,
            _ if !is_near(hers, theirs) => OtherTime,
            (true, true) => Part,
            (true, false) => Same,
        };
        return judged(found, state);
    }
    let is_of_beam = |other: &Key| other.course == key.course && other.beam == key.beam;
    // What a machine says that somebody else has typed in is his.
    let free = |(other, _): &(&Key, &Vec<Seen<'_>>)| is_of_beam(other) && !typed.contains_key(*other);
    let of_day = |(other, _): &(&Key, &Vec<Seen<'_>>)| other.date == key.date;
    let most = plans.most_a_day(plan, key.course.1);
    let mut others = machine.iter().filter(free).filter(of_day);
    if let Some(other) = others.clone().find(|(_, theirs)| is_near_any(hers, theirs)) {
        return judged(Some(other), OtherNumber);
    }
    if let Some(other) = others.next().filter(|_| most <= 1) {
        return judged(Some(other), OtherNumber);
    }
    // More fractions of one day than the plan has: one of them has another's number.
    let numbers = typed.iter().chain(machine).filter(|(other, _)| is_of_beam(other) && other.date == key.date);
    let numbers: BTreeSet<Option<u32>> = numbers.map(|(other, _)| other.fraction).collect();
    if numbers.len() > most {
        return judged(None, TypedTwice);
    }
    // The rest of a fraction that was begun on another day, or all of it again.
    let is_again = |(other, theirs): &(&Key, &Vec<Seen<'_>>)| {
        let both = total.zip(sum(theirs)).map(|(a, b)| a.saturating_add(b));
        is_of_beam(other) && other.fraction == key.fraction && other.date != key.date && is_too_much(both)
    };
    if let Some(other) = machine.iter().filter(free).find(is_again) {
        return judged(Some(other), OtherDay);
    }
    match typed.iter().any(|other| is_again(&other)) {
        true => judged(None, OtherDay),
        false => judged(None, Waiting),
    }
}

/// Each that was typed in is within the hour of something that the machine says. The rest of an interrupted fraction may have come later,
/// and stands on the same line of the paper: together they have to be as much.
fn is_near(hers: &[Seen<'_>], theirs: &[Seen<'_>]) -> bool {
    hers.iter().all(|one| is_near_any(std::slice::from_ref(one), theirs))
}

fn is_near_any(hers: &[Seen<'_>], theirs: &[Seen<'_>]) -> bool {
    hers.iter()
        .filter_map(Seen::minute)
        .any(|a| theirs.iter().filter_map(Seen::minute).any(|b| a.abs_diff(b) <= MINUTES))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::dicom::object::{Instance, Kind};
    use crate::given::RecordedBeam;

    /// A plan with so many fractions a day.
    struct One(usize);

    /// A hundred monitor units; the second beam has half of it.
    const PLANNED: i64 = 100_000;

    impl Plans for One {
        fn knows(&self, _: &str) -> bool {
            true
        }
        fn course(&self, plan: &str) -> String {
            plan.to_owned()
        }
        fn group(&self, _: &str, named: Option<u32>) -> Option<u32> {
            named.or(Some(1))
        }
        fn meterset(&self, _: &str, _: Option<u32>, beam: Option<u32>) -> Option<i64> {
            Some(if beam == Some(2) { PLANNED / 2 } else { PLANNED })
        }
        fn most_a_day(&self, _: &str, _: Option<u32>) -> usize {
            self.0
        }
    }

    fn record(origin: Origin, fraction: u32, day: u32, time: u32, beams: &[(u32, i64)]) -> TreatmentRecord {
        let beam = |(number, delivered): &(u32, i64)| RecordedBeam {
            number: Some(*number),
            name: None,
            fraction: Some(fraction),
            imaging: false,
            delivered: Some(*delivered),
            unit: None,
            contradicts_nothing: false,
            specified: None,
            termination: None,
            verification: None,
            overrides: Vec::new(),
            began: 0,
            is_stretch: false,
            goes_on: false,
            is_placed: false,
            is_absurd: false,
            doses: Vec::new(),
        };
        let on = format!("202612{day:02}");
        TreatmentRecord {
            instance: Instance {
                kind: Kind::RtBeamsRecord,
                sop_instance: format!("1.{fraction}.{day}.{time}"),
                transfer_syntax: String::new(),
                study: String::new(),
                series: String::new(),
                modality: String::new(),
                patient_id: None,
                patient_name: None,
                birth_date: None,
                sex: None,
                study_date: None,
                frame_of_reference: None,
            },
            plans: vec!["1.2".to_owned()],
            fraction_group: Some(1),
            treated_at: Some(format!("{on} {time:04}00")),
            treated_on: Some(on),
            utc_offset: None,
            written: None,
            beams: beams.iter().map(beam).collect(),
            summaries: Vec::new(),
            ended: None,
            summed_to: None,
            machine: None,
            origin: Some(origin),
            doses: Vec::new(),
            summed_doses: Vec::new(),
        }
    }

    fn reconciled(records: &BTreeMap<u64, TreatmentRecord>) -> Reconciled {
        Reconciled::of(records.iter().map(|(entry, record)| (*entry, record)), &One(1))
    }

    fn states(records: Vec<TreatmentRecord>) -> Vec<PairState> {
        states_of(1, records)
    }

    fn states_of(a_day: usize, records: Vec<TreatmentRecord>) -> Vec<PairState> {
        let records: BTreeMap<u64, TreatmentRecord> = (1..).zip(records).collect();
        let found = Reconciled::of(records.iter().map(|(entry, record)| (*entry, record)), &One(a_day));
        found.pairings().iter().map(|one| one.state).collect()
    }

    fn typed(fraction: u32, day: u32, time: u32, delivered: i64) -> TreatmentRecord {
        record(Origin::User, fraction, day, time, &[(1, delivered)])
    }

    fn machine(fraction: u32, day: u32, time: u32, delivered: i64) -> TreatmentRecord {
        record(Origin::Device, fraction, day, time, &[(1, delivered)])
    }

    #[test]
    fn what_agrees_is_one_and_what_does_not_is_named() {
        use PairState::{Differs, OtherDay, OtherNumber, OtherTime, Part, Same, TypedTwice, Waiting};
        let whole = PLANNED;
        assert_eq!(states(vec![machine(1, 1, 900, whole)]), [], "nothing was typed");
        assert_eq!(states(vec![typed(1, 1, 900, whole)]), [Waiting]);
        assert_eq!(states(vec![typed(1, 1, 900, whole), machine(1, 1, 1000, whole)]), [Same]);
        assert_eq!(states(vec![typed(1, 1, 900, whole), machine(1, 1, 1001, whole)]), [OtherTime]);
        assert_eq!(states(vec![machine(1, 1, 930, whole), typed(1, 1, 900, whole - SAME)]), [Same], "rounded");
        assert_eq!(states(vec![machine(1, 1, 930, whole), typed(1, 1, 900, whole - SAME - 1)]), [Differs]);
        // Two parts of one fraction, on either side.
        let parts = [(18_000, 900), (82_000, 940)];
        let typed_parts = || parts.iter().map(|(part, at)| typed(1, 1, *at, *part));
        let of_machine = parts.iter().map(|(part, at)| machine(1, 1, *at + 1, *part));
        assert_eq!(states(typed_parts().chain([machine(1, 1, 920, whole)]).collect()), [Same]);
        assert_eq!(states(typed_parts().chain(of_machine).collect()), [Same]);
        let resumed = [machine(1, 1, 905, 18_000), machine(1, 1, 1130, 82_000), typed(1, 1, 900, whole)];
        assert_eq!(states(resumed.to_vec()), [Same], "the rest came later");
        // Half on each side, or the same half on both: nobody can tell.
        assert_eq!(states(vec![typed(1, 1, 900, whole / 2), machine(1, 1, 930, whole / 2)]), [Part]);
        assert_eq!(states(vec![typed(1, 1, 900, whole), typed(1, 1, 1000, whole)]), [TypedTwice]);
        assert_eq!(states(vec![typed(1, 1, 900, 45_000), typed(1, 1, 900, 55_000)]), [TypedTwice], "at one time");
        assert_eq!(states(vec![typed(1, 1, 900, whole), typed(1, 1, 900, whole)]), [Waiting], "it came again");
        // Two people type one form: the second one under the next number, or on the next day.
        assert_eq!(states(vec![typed(1, 1, 900, whole), typed(2, 1, 900, whole)]), [TypedTwice; 2]);
        assert_eq!(states(vec![typed(1, 1, 900, whole), typed(1, 2, 900, whole)]), [OtherDay; 2]);
        let paired = [typed(1, 1, 900, whole), machine(1, 1, 900, whole), typed(2, 1, 900, whole)];
        assert_eq!(states(paired.to_vec()), [Same, TypedTwice]);
        assert_eq!(
            states(vec![typed(1, 1, 900, 18_000), typed(1, 2, 900, 82_000)]),
            [Waiting; 2],
            "the rest, next day"
        );
        assert_eq!(states(vec![machine(1, 1, 900, 18_000), typed(1, 2, 900, 82_000)]), [Waiting], "the same");
        assert_eq!(states(vec![typed(2, 1, 900, whole), machine(1, 1, 1500, whole)]), [OtherNumber]);
        assert_eq!(states(vec![typed(1, 2, 900, whole), machine(1, 1, 900, whole)]), [OtherDay]);
        let another = [typed(1, 1, 900, whole), machine(1, 1, 900, whole), typed(2, 2, 900, whole)];
        assert_eq!(states(another.to_vec()), [Same, Waiting]);
        // Twice a day, the second one on paper; and under the first one's number, or too high a one.
        let morning = || machine(1, 1, 800, whole);
        assert_eq!(states_of(2, vec![morning(), typed(2, 1, 1500, whole)]), [Waiting]);
        assert_eq!(states_of(2, vec![morning(), typed(1, 1, 1500, whole)]), [OtherTime]);
        assert_eq!(states_of(2, vec![morning(), machine(2, 1, 1500, whole), typed(3, 1, 1500, whole)]), [OtherNumber]);
        // The machine says nothing was given; or that it was, and not how much.
        let nothing = |contradicts_nothing| {
            let mut record = machine(1, 1, 900, 0);
            record.beams[0].contradicts_nothing = contradicts_nothing;
            record
        };
        for contradicts_nothing in [false, true] {
            assert_eq!(states(vec![typed(1, 1, 900, whole), nothing(contradicts_nothing)]), [Differs]);
        }
        let simulated = TreatmentRecord { origin: Some(Origin::Simulation), ..machine(1, 1, 900, whole) };
        assert_eq!(states(vec![typed(1, 1, 900, whole), simulated]), [Waiting]);
        let untimed = TreatmentRecord { treated_at: None, ..machine(1, 1, 900, whole) };
        assert_eq!(states(vec![typed(1, 1, 900, whole), untimed]), [OtherTime]);
    }

    /// What became of each fraction: whether a machine's record came, whether it was typed in, which first.
    fn fractions() -> impl Strategy<Value = Vec<(bool, bool, bool, i64)>> {
        prop::collection::vec((any::<bool>(), any::<bool>(), any::<bool>(), -400_i64..400), 1..12)
    }

    fn course(fractions: &[(bool, bool, bool, i64)]) -> Vec<TreatmentRecord> {
        let (mut first, mut late) = (Vec::new(), Vec::new());
        for (at, (by_machine, by_hand, machine_first, rounding)) in (1..).zip(fractions) {
            let both = [(1, PLANNED), (2, PLANNED / 2)];
            let rounded = both.map(|(beam, meterset)| (beam, meterset + rounding));
            let hers = by_hand.then(|| record(Origin::User, at, at, 900, &rounded));
            let theirs = by_machine.then(|| record(Origin::Device, at, at, 930, &both));
            let (a, b) = if *machine_first { (theirs, hers) } else { (hers, theirs) };
            first.extend(a);
            late.extend(b);
        }
        first.extend(late);
        first
    }

    proptest! {
        /// However records arrive: each fraction counts once, none is lost, and no machine's record is set aside.
        #[test]
        fn each_fraction_counts_once(fractions in fractions(), again in any::<prop::sample::Index>()) {
            let mut all = course(&fractions);
            if !all.is_empty() {
                let one = again.get(&all).clone();
                all.push(one);
            }
            let records: BTreeMap<u64, TreatmentRecord> = (1..).zip(all).collect();
            let found = reconciled(&records);
            prop_assert!(found.pairings().iter().all(|one| !one.state.is_conflict()), "{:?}", found.pairings());
            for until in 1..=u64::try_from(records.len()).unwrap() + 1 {
                let aside = found.aside(until);
                prop_assert!(aside.keys().all(|entry| records[entry].origin == Some(Origin::User)));
                // As the count does: what came again is the same session.
                let mut counted: BTreeMap<Option<u32>, BTreeSet<Option<String>>> = BTreeMap::new();
                for (entry, record) in records.range(..until) {
                    if !aside.get(entry).is_some_and(|beams| beams.contains(&0)) {
                        counted.entry(record.beams[0].fraction).or_default().insert(record.treated_at.clone());
                    }
                }
                let there: BTreeSet<Option<u32>> =
                    records.range(..until).map(|(_, record)| record.beams[0].fraction).collect();
                prop_assert_eq!(counted.keys().copied().collect::<BTreeSet<_>>(), there);
                prop_assert!(counted.values().all(|sessions| sessions.len() == 1), "{:?}", counted);
            }
        }

        /// One slip of whoever types is never taken for a fraction more, nor for the machine's own: it is named.
        #[test]
        fn a_slip_is_named(count in 1_u32..10, at in any::<prop::sample::Index>(), kind in 0..3, by in 1_i64..50) {
            let at = u32::try_from(at.index(count as usize)).unwrap() + 1;
            let mut all: Vec<TreatmentRecord> = (1..=count).map(|n| machine(n, n, 930, PLANNED)).collect();
            for n in 1..=count {
                all.push(match (n == at, kind) {
                    (true, 0) => typed(n + 20, n, 900, PLANNED),
                    (true, 1) => typed(n, n + 15, 900, PLANNED),
                    (true, _) => typed(n, n, 900, PLANNED - SAME - by * 1_000),
                    _ => typed(n, n, 900, PLANNED),
                });
            }
            let records = (1..).zip(all).collect();
            let found = reconciled(&records);
            let conflicts = found.pairings().iter().filter(|one| one.state.is_conflict()).count();
            prop_assert!(conflicts >= 1, "{:?}", found.pairings());
            let hers = BTreeSet::from(["1.2".to_owned()]);
            prop_assert!(found.contradicts(&hers, 1, 0) && !found.contradicts(&hers, 2, 0));
            prop_assert!(!found.contradicts(&BTreeSet::from(["1.3".to_owned()]), 1, 0));
            prop_assert!(!found.contradicts(&hers, 1, 1_000), "what was settled since is settled");
        }
    }
}

//! What was typed in from paper, beside what the machine says of the same fraction once its record comes: one fraction, counted once.
//!
//! ```text
//!  typed (origin USER)   ─┐  same plan, group, beam, fraction and day?
//!  machine's (any other) ─┴─► the same metersets: one of the two counts
//!                             others, or another number or day: nobody knows, and a physicist looks
//! ```
//! A typed record of which no machine's has come counts as any other.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::record::{Origin, RecordedBeam, TreatmentRecord};

/// Half a monitor unit: people write what a display shows, and round it.
const SAME: i64 = 500;

/// What is known of a typed beam.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum PairState {
    /// The machine says the same.
    Same,
    /// No machine's record of it has come.
    Waiting,
    /// The machine says another meterset, or none.
    Differs,
    /// Typed in more than once, and together more than the plan's meterset.
    TypedTwice,
    /// Of that day the machine has it under another fraction number.
    OtherNumber,
    /// The machine has that fraction on another day.
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
    /// The newest entry that has part in it.
    pub entry: u64,
    course: Course,
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
    when: Option<&'a str>,
    delivered: Option<i64>,
}

/// Both sides of what agrees.
#[derive(Debug)]
struct Pair {
    typed: Vec<Place>,
    machine: Vec<Place>,
}

/// What the plans say, for whoever doesn't know them.
pub(crate) trait Plans {
    /// What one fraction of a plan is: the same for exports, and for a course that was made longer or moved.
    fn course(&self, plan: &str) -> String;
    /// The group that is meant; the only one where a record names none.
    fn group(&self, plan: &str, named: Option<u32>) -> Option<u32>;
    /// Of one beam, in thousandths.
    fn meterset(&self, plan: &str, group: Option<u32>, beam: Option<u32>) -> Option<i64>;
    fn several_a_day(&self, plan: &str, group: Option<u32>) -> bool;
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
        let (mut typed, mut machine): (BTreeMap<Key, Vec<Seen<'_>>>, BTreeMap<Key, Vec<Seen<'_>>>) = Default::default();
        for (entry, record) in records {
            let Some(plan) = record.plans.first() else { continue };
            let side = if is_typed(record) { &mut typed } else { &mut machine };
            for (at, beam) in record.beams.iter().enumerate().filter(|(_, beam)| counts(beam)) {
                let course = (plans.course(plan), plans.group(plan, record.fraction_group));
                let (date, when) = (record.treated_on.clone(), record.treated_at.as_deref());
                let key = Key { course, beam: beam.number, fraction: beam.fraction, date };
                let seen = Seen { place: (entry, at), plan: plan.as_str(), when, delivered: beam.delivered };
                side.entry(key).or_default().push(seen);
            }
        }
        let (mut same, mut pairings) = (Vec::new(), Vec::new());
        for (key, hers) in &typed {
            let (found, state) = judge(key, hers, (&typed, &machine), plans);
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
                entry: hers.iter().chain(theirs).map(|one| one.place.0).max().unwrap_or(0),
                course: key.course.clone(),
            });
        }
        pairings.sort_by(|a, b| (&a.date, a.fraction, a.beam).cmp(&(&b.date, b.fraction, b.beam)));
        Self { same, pairings }
    }

    pub(crate) fn pairings(&self) -> &[Pairing] {
        &self.pairings
    }

    /// Whether something that was typed in of a course contradicts a machine's record, one of which came in `from` or later.
    pub(crate) fn contradicts(&self, course: &str, group: u32, from: u64) -> bool {
        let is_of_it = |one: &&Pairing| one.course.0 == course && one.course.1.is_none_or(|named| named == group);
        self.pairings.iter().filter(is_of_it).any(|one| one.state.is_conflict() && one.entry >= from)
    }

    /// Beams that count for nothing among the records of these entries, since others say the same: the typed ones; both sides, where
    /// either came before `from` and is settled.
    pub(crate) fn aside(&self, from: u64, until: u64) -> BTreeMap<u64, BTreeSet<usize>> {
        let mut aside: BTreeMap<u64, BTreeSet<usize>> = BTreeMap::new();
        let is_here = |place: &&Place| (from..until).contains(&place.0);
        for pair in &self.same {
            let settled = pair.typed.iter().chain(&pair.machine).any(|place| place.0 < from);
            let is_doubled = settled || pair.machine.iter().any(|place| is_here(&place));
            let machine = pair.machine.iter().filter(|_| settled);
            let typed = pair.typed.iter().filter(|_| is_doubled);
            for (entry, at) in machine.chain(typed).filter(is_here) {
                aside.entry(*entry).or_default().insert(*at);
            }
        }
        aside
    }
}

fn is_typed(record: &TreatmentRecord) -> bool {
    record.origin == Some(Origin::User)
}

/// An image is nobody's fraction, and what gave nothing says nothing.
fn counts(beam: &RecordedBeam) -> bool {
    !beam.imaging && beam.delivered != Some(0)
}

/// All that was said, what came again once; none where one doesn't say.
fn sum(seen: &[Seen<'_>]) -> Option<i64> {
    let once: BTreeSet<(Option<&str>, Option<i64>)> = seen.iter().map(|one| (one.when, one.delivered)).collect();
    once.into_iter().try_fold(0_i64, |sum, (_, delivered)| Some(sum.saturating_add(delivered?)))
}

type Side<'a> = BTreeMap<Key, Vec<Seen<'a>>>;

/// What the machine says of it, and how that stands to it.
fn judge<'a, 'r>(
    key: &Key,
    hers: &[Seen<'_>],
    (typed, machine): (&'r Side<'a>, &'r Side<'a>),
    plans: &impl Plans,
) -> (Option<(&'r Key, &'r Vec<Seen<'a>>)>, PairState) {
    let plan = hers.first().map(|one| one.plan).unwrap_or_default();
    let sessions: BTreeSet<Option<&str>> = hers.iter().map(|one| one.when).collect();
    let planned = plans.meterset(plan, key.course.1, key.beam);
    let (found, total) = (machine.get_key_value(key), sum(hers));
    // Parts of one fraction add up to it; the same twice doesn't.
    let too_much = total.zip(planned).is_none_or(|(total, planned)| total > planned + planned / 20);
    if sessions.len() > 1 && too_much {
        return (found, PairState::TypedTwice);
    }
    if let Some((_, theirs)) = found {
        let agree = total.zip(sum(theirs)).is_some_and(|(a, b)| a.abs_diff(b) <= SAME.unsigned_abs());
        return (found, if agree { PairState::Same } else { PairState::Differs });
    }
    // What a machine says that somebody else has typed in is his.
    let free = |other: &Key| other.course == key.course && other.beam == key.beam && !typed.contains_key(other);
    let of_day = machine.iter().find(|(other, _)| free(other) && other.date == key.date);
    if let Some(of_day) = of_day.filter(|_| !plans.several_a_day(plan, key.course.1)) {
        return (Some(of_day), PairState::OtherNumber);
    }
    match machine.iter().find(|(other, _)| free(other) && other.fraction == key.fraction) {
        Some(of_number) => (Some(of_number), PairState::OtherDay),
        None => (None, PairState::Waiting),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::dicom::object::{Instance, Kind};

    struct One;

    /// A hundred monitor units a beam.
    const PLANNED: i64 = 100_000;

    impl Plans for One {
        fn course(&self, plan: &str) -> String {
            plan.to_owned()
        }
        fn group(&self, _: &str, named: Option<u32>) -> Option<u32> {
            named.or(Some(1))
        }
        fn meterset(&self, _: &str, _: Option<u32>, _: Option<u32>) -> Option<i64> {
            Some(PLANNED)
        }
        fn several_a_day(&self, _: &str, _: Option<u32>) -> bool {
            false
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
            treated_at: Some(format!("{on} {time:06}")),
            treated_on: Some(on),
            beams: beams.iter().map(beam).collect(),
            summaries: Vec::new(),
            ended: None,
            summed_to: None,
            machine: None,
            origin: Some(origin),
        }
    }

    fn reconciled(records: &BTreeMap<u64, TreatmentRecord>) -> Reconciled {
        Reconciled::of(records.iter().map(|(entry, record)| (*entry, record)), &One)
    }

    fn states(records: Vec<TreatmentRecord>) -> Vec<PairState> {
        let records = (1..).zip(records).collect();
        reconciled(&records).pairings().iter().map(|one| one.state).collect()
    }

    fn typed(fraction: u32, day: u32, time: u32, delivered: i64) -> TreatmentRecord {
        record(Origin::User, fraction, day, time, &[(1, delivered)])
    }

    fn machine(fraction: u32, day: u32, time: u32, delivered: i64) -> TreatmentRecord {
        record(Origin::Device, fraction, day, time, &[(1, delivered)])
    }

    #[test]
    fn what_agrees_is_one_and_what_does_not_is_named() {
        use PairState::{Differs, OtherDay, OtherNumber, Same, TypedTwice, Waiting};
        let whole = PLANNED;
        assert_eq!(states(vec![machine(1, 1, 9, whole)]), [], "nothing was typed");
        assert_eq!(states(vec![typed(1, 1, 9, whole)]), [Waiting]);
        assert_eq!(states(vec![typed(1, 1, 9, whole), machine(1, 1, 10, whole)]), [Same]);
        assert_eq!(states(vec![machine(1, 1, 10, whole), typed(1, 1, 9, whole - SAME)]), [Same], "rounded");
        assert_eq!(states(vec![machine(1, 1, 10, whole), typed(1, 1, 9, whole - SAME - 1)]), [Differs]);
        // Two parts of one fraction, on either side.
        let parts = [(18_000, 9), (82_000, 11)];
        let typed_parts = || parts.iter().map(|(part, at)| typed(1, 1, *at, *part));
        let of_machine = parts.iter().map(|(part, at)| machine(1, 1, *at + 1, *part));
        assert_eq!(states(typed_parts().chain([machine(1, 1, 9, whole)]).collect()), [Same]);
        assert_eq!(states(typed_parts().chain(of_machine).collect()), [Same]);
        assert_eq!(states(vec![typed(1, 1, 9, whole), typed(1, 1, 10, whole)]), [TypedTwice]);
        assert_eq!(states(vec![typed(1, 1, 9, whole), typed(1, 1, 9, whole)]), [Waiting], "it came again");
        assert_eq!(states(vec![typed(2, 1, 9, whole), machine(1, 1, 9, whole)]), [OtherNumber]);
        assert_eq!(states(vec![typed(1, 2, 9, whole), machine(1, 1, 9, whole)]), [OtherDay]);
        let another = [typed(1, 1, 9, whole), machine(1, 1, 9, whole), typed(2, 2, 9, whole)];
        assert_eq!(states(another.to_vec()), [Same, Waiting]);
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
            let hers = by_hand.then(|| record(Origin::User, at, at, 9, &rounded));
            let theirs = by_machine.then(|| record(Origin::Device, at, at, 10, &both));
            let (a, b) = if *machine_first { (theirs, hers) } else { (hers, theirs) };
            first.extend(a);
            late.extend(b);
        }
        first.extend(late);
        first
    }

    proptest! {
        /// However records arrive, and whenever a count is settled between them: each fraction counts once, and none is lost.
        #[test]
        fn each_fraction_counts_once(fractions in fractions(), settled in 0_u64..24, again in any::<prop::sample::Index>()) {
            let mut all = course(&fractions);
            if !all.is_empty() {
                let one = again.get(&all).clone();
                all.push(one);
            }
            let records: BTreeMap<u64, TreatmentRecord> = (1..).zip(all).collect();
            let found = reconciled(&records);
            prop_assert!(found.pairings().iter().all(|one| !one.state.is_conflict()), "{:?}", found.pairings());
            for (number, (by_machine, by_hand, ..)) in (1..).zip(&fractions) {
                let mut counted = 0;
                for (from, until) in [(0, settled), (settled, u64::MAX)] {
                    let aside = found.aside(from, until);
                    // As the count does: what came again is the same session.
                    let sessions: BTreeSet<_> = records
                        .range(from..until)
                        .filter(|(entry, record)| {
                            let first_known = records.iter().find(|(_, other)| *other == *record).map(|(at, _)| *at);
                            let is_settled = from > 0 && first_known < Some(from);
                            !is_settled
                                && record.beams[0].fraction == Some(number)
                                && !aside.get(entry).is_some_and(|beams| beams.contains(&0))
                        })
                        .map(|(_, record)| record.treated_at.clone())
                        .collect();
                    counted += sessions.len();
                }
                prop_assert_eq!(counted, usize::from(*by_machine || *by_hand), "fraction {}", number);
            }
        }

        /// One slip of whoever types is never taken for a fraction more, nor for the machine's own: it is named.
        #[test]
        fn a_slip_is_named(count in 1_u32..10, at in any::<prop::sample::Index>(), kind in 0..3, by in 1_i64..50) {
            let at = u32::try_from(at.index(count as usize)).unwrap() + 1;
            let mut all: Vec<TreatmentRecord> = (1..=count).map(|n| machine(n, n, 10, PLANNED)).collect();
            for n in 1..=count {
                all.push(match (n == at, kind) {
                    (true, 0) => typed(n + 20, n, 9, PLANNED),
                    (true, 1) => typed(n, n + 15, 9, PLANNED),
                    (true, _) => typed(n, n, 9, PLANNED - SAME - by * 1_000),
                    _ => typed(n, n, 9, PLANNED),
                });
            }
            let records = (1..).zip(all).collect();
            let found = reconciled(&records);
            let conflicts = found.pairings().iter().filter(|one| one.state.is_conflict()).count();
            prop_assert_eq!(conflicts, 1);
            prop_assert!(found.contradicts("1.2", 1, 0) && !found.contradicts("1.2", 2, 0));
            prop_assert!(!found.contradicts("1.2", 1, 1_000), "what was settled since is settled");
        }
    }
}

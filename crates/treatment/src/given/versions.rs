//! Records that come again under their SOP Instance UID: the same, more of the same session, or corrected.

use std::collections::{BTreeMap, BTreeSet};

use super::record::{Origin, RecordedBeam, TreatmentRecord};

/// Its number, and the fraction's.
type Beam = (Option<u32>, Option<u32>);

pub(super) struct Version {
    /// When, of which group and plans.
    place: (Option<String>, Option<u32>, Vec<String>),
    /// Whose word it is; several, where they have said the same.
    whose: BTreeSet<Whose>,
    /// Each item that says that something was given, word for word as far as it tells what, and how often it stands there.
    items: BTreeMap<String, usize>,
    /// Beams that were given, and those of which it says that nothing was, by number and fraction.
    given: BTreeSet<Beam>,
    noughts: BTreeSet<Beam>,
    is_ours: bool,
    /// It was counted when two people settled the count.
    is_settled: bool,
    /// All that came under the UID, word for word.
    told: BTreeSet<String>,
}

/// What doesn't say so is a machine's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Whose {
    Machine,
    Typed,
    Simulated,
}

impl Whose {
    fn of(record: &TreatmentRecord) -> Self {
        match record.origin {
            Some(Origin::User) => Self::Typed,
            Some(Origin::Simulation) => Self::Simulated,
            _ => Self::Machine,
        }
    }
}

impl Version {
    /// `group`: whose it is, where it need not say so.
    pub(super) fn of(
        record: &TreatmentRecord,
        group: Option<u32>,
        is_ours: bool,
        gave: impl Fn(&RecordedBeam) -> bool,
    ) -> Self {
        let when = record.treated_at.as_ref().or(record.treated_on.as_ref()).cloned();
        let (mut items, mut given, mut noughts) = (BTreeMap::new(), BTreeSet::new(), BTreeSet::new());
        for beam in &record.beams {
            let gave = gave(beam);
            // A session's record may list from its beginning on what it is to give.
            if gave {
                *items.entry(words(beam)).or_default() += 1;
            }
            if !beam.imaging {
                let of = if gave { &mut given } else { &mut noughts };
                of.insert((beam.number, beam.fraction));
            }
        }
        let place = (when, group, record.plans.clone());
        let whose = BTreeSet::from([Whose::of(record)]);
        let told = BTreeSet::from([format!("{whose:?} {place:?} {items:?} {noughts:?}")]);
        Self { place, whose, items, given, noughts, is_ours, is_settled: false, told }
    }

    fn has_all_of(&self, other: &Self) -> bool {
        other.items.iter().all(|(item, count)| self.items.get(item).is_some_and(|has| has >= count))
    }
}

/// All that a count goes by.
fn words(beam: &RecordedBeam) -> String {
    let RecordedBeam { number, fraction, imaging, delivered, unit, specified, .. } = beam;
    let RecordedBeam { began, is_stretch, goes_on, is_placed, is_absurd, .. } = beam;
    // Which end it came to counts where it stopped, and where nothing else says that it was whole.
    let contradicts_nothing = beam.contradicts_nothing && *delivered == Some(0);
    let was_stopped = matches!(beam.termination.as_deref(), Some("OPERATOR" | "MACHINE"));
    // Said of a beam that was given, and no word on how much.
    let RecordedBeam { name: _, verification: _, overrides: _, doses: _, .. } = beam;
    let what = (number, fraction, imaging, delivered, unit, contradicts_nothing, specified, was_stopped);
    format!("{what:?} {:?}", (began, is_stretch, goes_on, is_placed, is_absurd))
}

pub(super) enum Told {
    /// For the first time, or as before: whatever it says counts beside the others.
    AsIt,
    /// Nothing of its beams that it hasn't said before.
    Known,
    /// It says all that it said before word for word, and more.
    Grown,
    /// It says something else; which of the two is true, a physicist says.
    Changed,
}

/// By SOP Instance UID, of all of hers.
#[derive(Default)]
pub(super) struct Versions(BTreeMap<String, Version>);

impl Versions {
    pub(super) fn tell(&mut self, now: Version, record: &TreatmentRecord) -> Told {
        let uid = &record.instance.sop_instance;
        let Some(before) = self.0.get_mut(uid) else {
            self.0.insert(uid.clone(), now);
            return Told::AsIt;
        };
        // An older version that is sent a second time, for one.
        let came_before = now.told.is_subset(&before.told);
        before.told.extend(now.told.iter().cloned());
        if before.items.is_empty() && !before.is_settled {
            let told = std::mem::take(&mut before.told);
            *before = Version { told, ..now };
            return Told::AsIt;
        }
        let takes_back = now.noughts.difference(&now.given).any(|beam| before.given.contains(beam));
        if now.items.is_empty() && !takes_back {
            return Told::AsIt;
        }
        let concerns = before.is_ours || now.is_ours;
        let is_of_its_place = before.place == now.place;
        if is_of_its_place && before.items == now.items {
            return match before.is_settled {
                true if now.whose.is_subset(&before.whose) => Told::Known,
                // What two people settled was another's word.
                true if concerns => Told::Changed,
                _ => {
                    before.whose.extend(now.whose);
                    Told::AsIt
                }
            };
        }
        // What somebody typed under the UID of what a machine wrote, or the other way round, is no more of the same.
        let is_its_own = is_of_its_place && before.whose == now.whose && !before.is_settled;
        match (now.has_all_of(before), before.has_all_of(&now)) {
            _ if came_before => Told::Known,
            (true, _) if is_its_own => {
                let told = std::mem::take(&mut before.told);
                *before = Version { told, ..now };
                Told::Grown
            }
            (_, true) if is_its_own && !takes_back => Told::Known,
            _ if concerns => Told::Changed,
            _ => Told::AsIt,
        }
    }

    /// One that was counted when two people settled the count.
    pub(super) fn settle(&mut self, now: Version, record: &TreatmentRecord) {
        if now.items.is_empty() {
            return;
        }
        let now = Version { is_settled: true, ..now };
        match self.0.get_mut(&record.instance.sop_instance) {
            Some(before) if before.place == now.place && before.items == now.items => before.whose.extend(now.whose),
            Some(before) if before.place == now.place && before.whose == now.whose && before.has_all_of(&now) => {}
            Some(before) => *before = now,
            None => drop(self.0.insert(record.instance.sop_instance.clone(), now)),
        }
    }
}

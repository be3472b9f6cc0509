//! Records that come again under their SOP Instance UID: the same, more of the same session, or corrected.

use std::collections::BTreeMap;

use super::count::{Exposure, Session};
use super::record::{RecordedBeam, TreatmentRecord};
use super::twice::Stretch;

/// What a record was taken to say of one beam in one session.
pub(super) type Part = (Session, Exposure, Stretch);

struct Version {
    /// When, of which group and plans.
    place: (Option<String>, Option<u32>, Vec<String>),
    /// Each item word for word, as far as it tells what was given, and how often.
    items: BTreeMap<String, usize>,
    is_ours: bool,
    /// It was counted when two people settled the count.
    is_settled: bool,
    gave: Vec<Part>,
}

impl Version {
    fn of(record: &TreatmentRecord, is_ours: bool, is_settled: bool) -> Self {
        let when = record.treated_at.as_ref().or(record.treated_on.as_ref()).cloned();
        let mut items = BTreeMap::new();
        for RecordedBeam { number, fraction, imaging, delivered, unit, began, goes_on, is_placed, .. } in &record.beams
        {
            let item = (number, fraction, imaging, delivered, unit, began, goes_on, is_placed);
            *items.entry(format!("{item:?}")).or_default() += 1;
        }
        let place = (when, record.fraction_group, record.plans.clone());
        Self { place, items, is_ours, is_settled, gave: Vec::new() }
    }

    fn has_all_of(&self, other: &Self) -> bool {
        other.items.iter().all(|(item, count)| self.items.get(item).is_some_and(|has| has >= count))
    }
}

pub(super) enum Told {
    /// For the first time, or as before: whatever it says counts beside the others.
    AsIt,
    /// Nothing of its beams that it hasn't said before.
    Less,
    /// It says all that it said before word for word, and more: this is what it was taken to say then.
    Grown(Vec<Part>),
    /// It says something else; which of the two is true, a physicist says.
    Changed,
}

/// By SOP Instance UID, of all of hers.
#[derive(Default)]
pub(super) struct Versions(BTreeMap<String, Version>);

impl Versions {
    pub(super) fn tell(&mut self, record: &TreatmentRecord, is_ours: bool) -> Told {
        let now = Version::of(record, is_ours, false);
        if now.items.is_empty() {
            return Told::AsIt;
        }
        let uid = &record.instance.sop_instance;
        let Some(before) = self.0.get_mut(uid) else {
            self.0.insert(uid.clone(), now);
            return Told::AsIt;
        };
        if before.place == now.place && before.items == now.items {
            return Told::AsIt;
        }
        let concerns = before.is_ours || now.is_ours;
        let (grows, shrinks) = (now.has_all_of(before), before.has_all_of(&now));
        if before.place != now.place || before.is_settled || !(grows || shrinks) {
            return if concerns { Told::Changed } else { Told::AsIt };
        }
        if grows { Told::Grown(std::mem::replace(before, now).gave) } else { Told::Less }
    }

    /// One that was counted when two people settled the count.
    pub(super) fn settle(&mut self, record: &TreatmentRecord, is_ours: bool) {
        let now = Version::of(record, is_ours, true);
        if !now.items.is_empty() {
            self.0.insert(record.instance.sop_instance.clone(), now);
        }
    }

    /// What it was taken to say.
    pub(super) fn gave(&mut self, record: &TreatmentRecord, parts: Vec<Part>) {
        if let Some(version) = self.0.get_mut(&record.instance.sop_instance) {
            version.gave.extend(parts);
        }
    }
}

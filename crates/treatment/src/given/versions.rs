//! Records that come again under their SOP Instance UID: the same, more of the same session, or corrected.

use std::collections::BTreeMap;

use super::count::{Exposure, Session};
use super::record::TreatmentRecord;
use super::twice::Stretch;

/// What a record was taken to say of one beam in one session.
pub(super) type Part = (Session, Exposure, Stretch);

/// A beam of a fraction, and whether it took an image.
type Beam = (Option<u32>, Option<u32>, bool);

struct Version {
    /// When, of which group and plans.
    place: (Option<String>, Option<u32>, Vec<String>),
    /// How much each delivered, in thousandths.
    beams: BTreeMap<Beam, i64>,
    is_ours: bool,
    gave: Vec<Part>,
}

pub(super) enum Told {
    /// For the first time, or as before: whatever it says counts beside the others.
    AsIt,
    /// It says all that it said before, and more: this is what it was taken to say then.
    Grown(Vec<Part>),
    /// It says something else; which of the two is true, a physicist says.
    Changed,
}

/// By SOP Instance UID, of all of hers.
#[derive(Default)]
pub(super) struct Versions(BTreeMap<String, Version>);

impl Versions {
    pub(super) fn tell(&mut self, record: &TreatmentRecord, is_ours: bool) -> Told {
        let when = record.treated_at.as_ref().or(record.treated_on.as_ref()).cloned();
        let place = (when, record.fraction_group, record.plans.clone());
        let mut beams: BTreeMap<Beam, i64> = BTreeMap::new();
        for beam in &record.beams {
            let sum = beams.entry((beam.number, beam.fraction, beam.imaging)).or_default();
            *sum = sum.saturating_add(beam.delivered.unwrap_or(0));
        }
        let now = Version { place, beams, is_ours, gave: Vec::new() };
        if now.beams.is_empty() {
            return Told::AsIt;
        }
        let uid = &record.instance.sop_instance;
        let Some(before) = self.0.get_mut(uid) else {
            self.0.insert(uid.clone(), now);
            return Told::AsIt;
        };
        let has = |all: &Version, of: &Version| of.beams.keys().all(|beam| all.beams.contains_key(beam));
        let concerns = before.is_ours || now.is_ours;
        let is_other = before.place != now.place || !(has(&now, before) || has(before, &now));
        let grows = before.beams.iter().all(|(beam, sum)| now.beams.get(beam).is_some_and(|now| now >= sum));
        match (is_other, grows && now.beams != before.beams) {
            (true, _) if concerns => Told::Changed,
            (false, true) => Told::Grown(std::mem::replace(before, now).gave),
            _ => Told::AsIt,
        }
    }

    /// What it was taken to say.
    pub(super) fn gave(&mut self, record: &TreatmentRecord, parts: Vec<Part>) {
        if let Some(version) = self.0.get_mut(&record.instance.sop_instance) {
            version.gave.extend(parts);
        }
    }
}

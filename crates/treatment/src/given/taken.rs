//! What a record says, taken in: each one once, however often it comes.

use std::collections::{BTreeMap, BTreeSet};

use super::count::{Course, Exposure, NO_IMAGE, SESSION_MAX, Session, Share};
use super::parts::of_one_record;
use super::record::{Origin, TreatmentRecord};
use super::twice::{self, Stretch};
use super::unknown::Unknown;
use super::versions::{Told, Version};
use crate::error::PlanError;

/// A record that counts.
pub(super) struct Taken {
    record: TreatmentRecord,
    /// Beams of which others say what they do.
    aside: BTreeSet<usize>,
    /// All that it says of its beams, it or another version of it says elsewhere.
    is_known: bool,
}

impl Course<'_> {
    /// Any record of the patient, in any order, as often as it came.
    pub fn add(&mut self, record: &Result<TreatmentRecord, PlanError>) {
        self.add_but(record, &BTreeSet::new());
    }

    /// The same, without some of its beams: others say of them what they do. Gives whether it says anything of its beams that it, or
    /// another version of it, hasn't said before.
    pub(crate) fn add_but(&mut self, record: &Result<TreatmentRecord, PlanError>, aside: &BTreeSet<usize>) -> bool {
        let Ok(record) = record else {
            self.doubt(Unknown::UnreadableRecord);
            return true;
        };
        let mut taken = Taken { record: record.clone(), aside: aside.clone(), is_known: false };
        match self.told(record) {
            Told::AsIt => {}
            Told::Known => taken.is_known = true,
            Told::Grown => self.forget(&record.instance.sop_instance),
            Told::Changed => self.doubt(Unknown::RecordChanged),
        }
        self.count(&taken);
        let is_news = !taken.is_known;
        self.taken.push(taken);
        is_news
    }

    /// Its beams under this UID are said again, and more of them: all is counted as if they hadn't been said before.
    fn forget(&mut self, uid: &str) {
        self.unknown.clear();
        self.sessions.clear();
        self.least.clear();
        self.stretches.clear();
        self.again.take();
        self.rests.clear();
        self.summaries.clear();
        self.recorded.clear();
        self.ended.clear();
        let mut taken = std::mem::take(&mut self.taken);
        for one in &mut taken {
            one.is_known |= one.record.instance.sop_instance == uid;
            self.count(one);
        }
        self.taken = taken;
    }

    fn count(&mut self, Taken { record, aside, is_known }: &Taken) {
        if record.plans.is_empty() {
            // What gave nothing, as far as it tells, is missing from no plan's count: a summary without a number, for one.
            if record.gave_dose() && !is_known {
                self.unknown.insert(Unknown::NoPlan);
            }
            return;
        }
        let Some(plan) = record.plans.iter().find(|plan| self.plans.contains(*plan)) else { return };
        if record.origin == Some(Origin::Simulation) {
            if record.gave_dose() && self.concerns(record.fraction_group) != Ok(false) {
                self.unclear(Unknown::Simulated);
            }
            return;
        }
        let ended = record.ended.map(|ended| (record.summed_to.clone().or_else(|| record.treated_on.clone()), ended));
        self.ended.extend(ended);
        for summary in &record.summaries {
            if summary.is_unclear && self.concerns(summary.group) != Ok(false) {
                self.unclear(Unknown::UnclearSummary);
            }
            // An empty count says nothing; the other records do.
            let Some(delivered) = summary.fractions_delivered.filter(|delivered| *delivered > 0) else { continue };
            match self.concerns(summary.group) {
                Ok(false) => {}
                Ok(true) => drop(self.summaries.insert((plan.clone(), record.summed_to.clone(), delivered))),
                Err(why) => self.unclear(why),
            }
        }
        let before = self.sessions.len();
        let plan = plan.clone();
        if !is_known {
            self.add_beams(record, aside);
        }
        if self.sessions.len() > before {
            self.recorded.insert(plan);
        }
    }

    /// One that was counted when two people settled the count: what comes under its UID is that one.
    pub(crate) fn remember(&mut self, record: &TreatmentRecord) {
        let (group, is_ours) = (self.group_of(record), self.is_ours(record));
        self.versions.settle(Version::of(record, group, is_ours, |beam| self.share(beam) > 0), record);
    }

    fn told(&mut self, record: &TreatmentRecord) -> Told {
        let (group, is_ours) = (self.group_of(record), self.is_ours(record));
        let version = Version::of(record, group, is_ours, |beam| self.share(beam) > 0);
        self.versions.tell(version, record)
    }

    /// With one group in the plan, a record need not name it.
    fn group_of(&self, record: &TreatmentRecord) -> Option<u32> {
        record.fraction_group.or_else(|| (self.plan.groups.len() == 1).then_some(self.group.number))
    }

    /// Of what a record says, this isn't known.
    fn unclear(&mut self, why: Unknown) {
        self.unknown.insert(why);
    }

    fn is_ours(&self, record: &TreatmentRecord) -> bool {
        record.plans.iter().any(|plan| self.plans.contains(plan))
    }

    fn add_beams(&mut self, record: &TreatmentRecord, aside: &BTreeSet<usize>) {
        self.again.take();
        let mut shares: BTreeMap<(u32, Exposure), Share> = BTreeMap::new();
        let mut items: BTreeMap<(u32, Exposure), Vec<Stretch>> = BTreeMap::new();
        for (_, beam) in record.beams.iter().enumerate().filter(|(at, _)| !aside.contains(at)) {
            let share = self.share(beam);
            if share == 0 {
                continue;
            }
            let was_to = beam.specified.and_then(|meterset| self.of_planned(beam, meterset));
            if (was_to > Some(SESSION_MAX) || beam.is_absurd) && self.concerns(record.fraction_group) != Ok(false) {
                self.unclear(Unknown::Implausible);
            }
            if self.is_elsewhere(record.fraction_group, beam) {
                self.unclear(Unknown::OtherGroup);
                continue;
            }
            match (self.concerns(record.fraction_group), beam.fraction) {
                (Ok(false), _) => {}
                // An image may belong to no fraction.
                (Err(_), _) | (_, None) if beam.imaging && share < NO_IMAGE => {}
                (Err(why), _) => self.unclear(why),
                (Ok(true), None) => self.unclear(Unknown::NoFractionNumber),
                (Ok(true), Some(fraction)) => {
                    let key = (fraction, (beam.number, beam.imaging));
                    let known = shares.entry(key).or_default();
                    *known = known.saturating_add(share);
                    items.entry(key).or_default().push(self.stretch(beam, share, was_to));
                }
            }
        }
        let when = record.treated_at.as_ref().or(record.treated_on.as_ref());
        let untimed = record.treated_at.is_none().then(|| record.instance.sop_instance.clone());
        let session = |fraction| Session { when: when.cloned(), fraction, record: untimed.clone() };
        for (fraction, exposure) in self.of_other_fractions(&session(0), &shares) {
            self.unclear(Unknown::FractionDiffers);
            // Of none of them it is sure.
            self.least.insert((session(fraction), exposure), 0);
        }
        for ((fraction, exposure), share) in shares {
            if share > SESSION_MAX {
                self.unclear(Unknown::Implausible);
            }
            let session = session(fraction);
            let (said, wrong) = of_one_record(items.remove(&(fraction, exposure)).unwrap_or_default(), exposure.1);
            wrong.into_iter().for_each(|why| self.unclear(why));
            if !exposure.1 && said.iter().any(|part| part.is_rest) {
                self.rests.insert(session.clone());
            }
            let stretches = self.stretches.entry((session.clone(), exposure)).or_default();
            stretches.extend(said);
            let (least, most) = twice::said(stretches);
            // Of more than the beam has, no more than that is sure.
            let least = least.min(SESSION_MAX);
            if least < most {
                let known = self.least.entry((session.clone(), exposure)).or_insert(least);
                *known = least.min(*known);
            }
            self.sessions.entry(session).or_default().insert(exposure, most);
        }
    }

    /// Fractions of which records of one time say that one beam treated in them, where they differ: no beam treats twice at once. One
    /// record may tell of several.
    fn of_other_fractions(
        &self,
        session: &Session,
        shares: &BTreeMap<(u32, Exposure), Share>,
    ) -> BTreeSet<(u32, Exposure)> {
        let of_time = Session { fraction: 0, ..session.clone() }..=Session { fraction: u32::MAX, ..session.clone() };
        let of_time = self.sessions.range(of_time).filter(|(one, _)| one.record.is_none() && one.when.is_some());
        let mut known: BTreeMap<Exposure, BTreeSet<u32>> = BTreeMap::new();
        for (one, exposures) in of_time {
            for exposure in exposures.keys() {
                known.entry(*exposure).or_default().insert(one.fraction);
            }
        }
        let mut said: BTreeMap<Exposure, BTreeSet<u32>> = BTreeMap::new();
        for (fraction, exposure) in shares.keys() {
            said.entry(*exposure).or_default().insert(*fraction);
        }
        let differ = said.iter().filter_map(|(exposure, said)| Some((exposure, said, known.get(exposure)?)));
        let differ = differ.filter(|(_, said, known)| said != known);
        differ.flat_map(|(exposure, said, known)| said.union(known).map(|fraction| (*fraction, *exposure))).collect()
    }
}

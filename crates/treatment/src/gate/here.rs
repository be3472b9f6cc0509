//! What the plans that are here say of a record that names them.

use std::collections::BTreeMap;

use kit::Digest;

use crate::gate::facts::Came;
use crate::given::Plans;
use crate::plan::{FractionGroup, Plan};

/// By what is here of them.
pub(super) struct Here<'a> {
    plans: &'a [Plan],
    /// SOP Instance UIDs with the first one of those under which the same fractions came, be it by way of a third.
    courses: BTreeMap<&'a str, &'a str>,
}

impl<'a> Here<'a> {
    pub(super) fn of(plans: &'a [Plan], known: &'a BTreeMap<String, Vec<Came>>) -> Self {
        let fractions = |uid: &str| known.get(uid).into_iter().flatten().filter_map(|came| came.fraction);
        let mut with: BTreeMap<Digest, Vec<&str>> = BTreeMap::new();
        for uid in known.keys() {
            fractions(uid).for_each(|fraction| with.entry(fraction).or_default().push(uid));
        }
        let mut courses: BTreeMap<&str, &str> = BTreeMap::new();
        for first in known.keys() {
            if courses.contains_key(first.as_str()) {
                continue;
            }
            courses.insert(first, first);
            let mut open = vec![first.as_str()];
            while let Some(uid) = open.pop() {
                // Each fraction leads to its kin once: whoever shows a thousand files holds no gate up.
                for kin in fractions(uid).filter_map(|fraction| with.remove(&fraction)).flatten() {
                    if !courses.contains_key(kin) {
                        courses.insert(kin, first);
                        open.push(kin);
                    }
                }
            }
        }
        Self { plans, courses }
    }

    fn plan(&self, uid: &str) -> Option<&Plan> {
        self.plans.iter().rev().find(|plan| plan.instance.sop_instance == uid)
    }

    fn group_of(&self, uid: &str, number: Option<u32>) -> Option<(&Plan, &FractionGroup)> {
        let plan = self.plan(uid)?;
        Some((plan, plan.group(number)?))
    }
}

impl Plans for Here<'_> {
    fn knows(&self, uid: &str) -> bool {
        self.courses.contains_key(uid)
    }

    fn course(&self, uid: &str) -> String {
        self.courses.get(uid).map_or(uid, |first| *first).to_owned()
    }

    fn group(&self, uid: &str, named: Option<u32>) -> Option<u32> {
        named.or_else(|| Some(self.group_of(uid, None)?.1.number))
    }

    fn meterset(&self, uid: &str, group: Option<u32>, beam: Option<u32>) -> Option<i64> {
        self.group_of(uid, group)?.1.metersets.get(&beam?).copied()
    }

    fn most_a_day(&self, uid: &str, group: Option<u32>) -> usize {
        self.group_of(uid, group).map_or(1, |(plan, group)| plan.most_a_day(group))
    }
}

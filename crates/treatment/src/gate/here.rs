//! What the plans that are here say of a record that names them.

use std::collections::BTreeMap;

use crate::gate::facts::Came;
use crate::given::Plans;
use crate::plan::{FractionGroup, Plan};

/// By what is here of them.
pub(super) struct Here<'a> {
    pub(super) plans: &'a [Plan],
    pub(super) known: &'a BTreeMap<String, Vec<Came>>,
}

impl Here<'_> {
    fn plan(&self, uid: &str) -> Option<&Plan> {
        self.plans.iter().rev().find(|plan| plan.instance.sop_instance == uid)
    }

    fn group_of(&self, uid: &str, number: Option<u32>) -> Option<(&Plan, &FractionGroup)> {
        let plan = self.plan(uid)?;
        Some((plan, plan.group(number)?))
    }
}

impl Plans for Here<'_> {
    fn course(&self, uid: &str) -> String {
        let came = self.known.get(uid).into_iter().flatten().find_map(|came| came.fraction);
        came.map_or_else(|| uid.to_owned(), |fraction| fraction.to_string())
    }

    fn group(&self, uid: &str, named: Option<u32>) -> Option<u32> {
        named.or_else(|| Some(self.group_of(uid, None)?.1.number))
    }

    fn meterset(&self, uid: &str, group: Option<u32>, beam: Option<u32>) -> Option<i64> {
        self.group_of(uid, group)?.1.metersets.get(&beam?).copied()
    }

    fn several_a_day(&self, uid: &str, group: Option<u32>) -> bool {
        self.group_of(uid, group).is_some_and(|(plan, group)| plan.several_a_day(group))
    }
}

//! What a piece of work looked up: which entries the index led it to, and which patients they are of.
//!
//! Over those entries alone the same work finds the same, for what it looked up and didn't find isn't there either. That makes a
//! roster ([`vault::Vault::keep_roster`]) of any work, without a list of what it reads, which would be wrong with its next change.

use std::cell::RefCell;
use std::collections::BTreeSet;

use kit::PatientId;

/// What was looked up.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Looked {
    pub(crate) entries: BTreeSet<u64>,
    pub(crate) patients: BTreeSet<PatientId>,
}

thread_local! {
    static LOOKED: RefCell<Option<Looked>> = const { RefCell::new(None) };
}

/// Does `work`, and gives what it looked up in this thread. Work within work is the outer one's, too.
pub(crate) fn looking<T>(work: impl FnOnce() -> T) -> (T, Looked) {
    let before = LOOKED.replace(Some(Looked::default()));
    let done = work();
    let looked = LOOKED.replace(before).unwrap_or_default();
    LOOKED.with_borrow_mut(|outer| {
        if let Some(outer) = outer {
            outer.entries.extend(&looked.entries);
            outer.patients.extend(&looked.patients);
        }
    });
    (done, looked)
}

pub(crate) fn saw_entries(entries: &[u64]) {
    LOOKED.with_borrow_mut(|looked| looked.iter_mut().for_each(|looked| looked.entries.extend(entries)));
}

pub(crate) fn saw(entry: u64, patient: Option<PatientId>) {
    LOOKED.with_borrow_mut(|looked| {
        if let Some(looked) = looked {
            looked.entries.insert(entry);
            looked.patients.extend(patient);
        }
    });
}

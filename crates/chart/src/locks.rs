//! Who waits for whom: writers of the same record, and whoever looks for an identifier before taking it.

use std::collections::BTreeMap;
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use crate::meta::Tag;

/// Stripes of the lock: one for each first byte of a tag.
const STRIPES: usize = 256;

/// What one act needs to stand still.
#[derive(Default)]
pub(crate) struct Keys {
    /// It changes these.
    pub(crate) alone: Vec<Tag>,
    /// It relies on these; others may rely on them at the same time.
    pub(crate) together: Vec<Tag>,
}

pub(crate) struct Locks(Vec<RwLock<()>>);

/// Held until it is dropped.
pub(crate) enum Held<'a> {
    Alone(#[expect(dead_code, reason = "held, not used")] RwLockWriteGuard<'a, ()>),
    Together(#[expect(dead_code, reason = "held, not used")] RwLockReadGuard<'a, ()>),
}

impl Default for Locks {
    fn default() -> Self {
        Self((0..STRIPES).map(|_| RwLock::new(())).collect())
    }
}

impl Locks {
    /// Each act takes all its stripes at once, each once, and in their order, so that two can't block each other for
    /// good. Whoever holds some must take no more.
    pub(crate) fn hold<'t>(
        &self,
        alone: impl Iterator<Item = &'t Tag>,
        together: impl Iterator<Item = &'t Tag>,
    ) -> Vec<Held<'_>> {
        let number = |tag: &Tag| tag.as_bytes().first().map_or(0, |byte| usize::from(*byte));
        let mut wanted: BTreeMap<usize, bool> = together.map(|tag| (number(tag), false)).collect();
        wanted.extend(alone.map(|tag| (number(tag), true)));
        wanted
            .into_iter()
            .filter_map(|(number, alone)| Some((self.0.get(number)?, alone)))
            .map(|(stripe, alone)| match alone {
                true => Held::Alone(stripe.write().unwrap_or_else(PoisonError::into_inner)),
                false => Held::Together(stripe.read().unwrap_or_else(PoisonError::into_inner)),
            })
            .collect()
    }
}

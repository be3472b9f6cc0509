//! What a location shows that is not what was put there.

use std::collections::BTreeMap;
use std::fmt;

/// Damage listed one by one; what is more is only counted. A location of a large archive can lose millions of objects,
/// and nobody reads past the first hundred.
pub const DAMAGE_LISTED_MAX: usize = 1_000;

/// What is wrong with one object at one location.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum What {
    /// It isn't there.
    Missing,
    /// It is shorter than its header says.
    Truncated,
    /// Its bytes are others than the signed header names.
    Altered,
    /// It is whole and ours, but belongs elsewhere: another segment's, or another location's.
    Swapped,
    /// It is ours and older: of a tail that was abandoned, or the location shows a state from before.
    Stale,
    /// The location gives no answer.
    Unreachable,
}

impl fmt::Display for What {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Missing => "missing",
            Self::Truncated => "truncated",
            Self::Altered => "altered",
            Self::Swapped => "swapped",
            Self::Stale => "stale",
            Self::Unreachable => "unreachable",
        })
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Damage {
    pub location: String,
    /// `None`: the centre record, or with `Unreachable` the whole location.
    pub segment: Option<u64>,
    pub what: What,
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.segment {
            None if self.what == What::Unreachable => write!(f, "{} is unreachable", self.location),
            Some(segment) => write!(f, "{}: segment {segment} is {}", self.location, self.what),
            None => write!(f, "{}: the centre record is {}", self.location, self.what),
        }
    }
}

/// Damage, counted in full and listed up to a bound.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DamageList {
    pub listed: Vec<Damage>,
    pub total: u64,
    /// Of these, what nobody could look at.
    pub unreachable: u64,
    pub by_location: BTreeMap<String, u64>,
}

impl DamageList {
    pub(crate) fn push(&mut self, location: &str, segment: Option<u64>, what: What) {
        self.total += 1;
        self.unreachable += u64::from(what == What::Unreachable);
        *self.by_location.entry(location.to_owned()).or_default() += 1;
        if self.listed.len() < DAMAGE_LISTED_MAX {
            self.listed.push(Damage { location: location.to_owned(), segment, what });
        }
    }

    pub(crate) fn lists(&self, location: &str, segment: Option<u64>, what: What) -> bool {
        self.listed.iter().any(|one| (one.location.as_str(), one.segment, one.what) == (location, segment, what))
    }

    pub fn is_empty(&self) -> bool {
        self.total == 0
    }
}

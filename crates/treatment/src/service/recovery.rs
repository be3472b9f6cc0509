//! What a recovery says beside the gate: by which clocks it reads, and whom it holds. The list and the sheets have it from here, so
//! that no paper says more than the list.

use std::collections::BTreeSet;
use std::fmt;

use kit::{Digest, PatientId, Timestamp};
use serde::Serialize;

use super::list::{Standing, TreatmentList};

/// Two machines' clocks, and one of them in another zone's summer.
const BEHIND_MS: i64 = 60 * 60_000;
const HOUR_MS: i64 = 60 * 60_000;
/// A gateway that runs writes something each hour.
const AHEAD_HOURS: i64 = 2;

/// Kinds of entries that change how everybody stands: rules, and whose word counts.
pub const CHANGES_ALL: [&str; 3] = ["treatment.rules", "treatment.person-ended", "centre.settings"];

/// This machine's clock, beside the log that it reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Clocks {
    /// Of the newest entry that was read, by the gateway that wrote it: what came later isn't known.
    pub newest: Timestamp,
    pub machine: Timestamp,
}

impl Clocks {
    /// It is earlier here than when the log was written: whatever asks how long ago something was, is answered wrong.
    pub fn are_behind(self) -> bool {
        self.machine.0.saturating_add(BEHIND_MS) < self.newest.0
    }

    /// Why one of them may be wrong. An outage of some days and a clock that is ahead look the same: only who reads it can tell.
    pub fn doubt(self) -> Option<String> {
        let Self { newest, machine } = self;
        let hours = machine.0.saturating_sub(newest.0) / HOUR_MS;
        let age = if hours < 48 { format!("{hours} hours") } else { format!("{} days", hours / 24) };
        if self.are_behind() {
            return Some(format!(
                "this machine's clock says {machine}, and the log's newest entry is of {newest}: one of the two is wrong; set the clock right if it is this one, and recover again"
            ));
        }
        // What was given today may have been yesterday by another clock, so hours count.
        (hours >= AHEAD_HOURS).then(|| {
            format!(
                "the newest entry is {age} old ({newest}); this machine's clock says {machine}: what was given since is not known, \
                 or the clock is wrong"
            )
        })
    }
}

/// Why a recovery holds what the gate would not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Held {
    ClockBehind,
    Incomplete,
    ErasureTakenBack,
    ChangedSince,
    CentreChangedSince,
}

impl fmt::Display for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ClockBehind => "this machine's clock is behind the log: it must be set right first",
            Self::Incomplete => "her newest records may be missing",
            Self::ErasureTakenBack => "her erasure was taken back: the gate says how she stands",
            Self::ChangedSince => "something came in after the list was put together",
            Self::CentreChangedSince => "rules or signers changed after the list was put together",
        })
    }
}

/// Whom.
#[derive(Clone, Debug)]
pub enum Whom {
    Everybody,
    These(BTreeSet<PatientId>),
}

impl Whom {
    pub(super) fn has(&self, patient: PatientId) -> bool {
        match self {
            Self::Everybody => true,
            Self::These(these) => these.contains(&patient),
        }
    }
}

/// What a recovery says on the sheet of somebody.
#[derive(Clone, Debug, Serialize)]
pub struct Recovered {
    pub clocks: Clocks,
    /// Why something of hers may be missing.
    pub incomplete: Option<String>,
    /// Nothing of hers may be given by what was read, for these reasons.
    pub held: Vec<String>,
    /// Nor of these courses.
    pub held_courses: Vec<HeldCourse>,
}

#[derive(Clone, Debug, Serialize)]
pub struct HeldCourse {
    pub delivery: Digest,
    pub fraction_group: u32,
    pub why: String,
}

impl Recovered {
    /// Why this course is held: as the list says it.
    pub fn held_by(&self, delivery: Digest, group: u32) -> Vec<&str> {
        let is_it = |one: &&HeldCourse| (one.delivery, one.fraction_group) == (delivery, group);
        let of_it = self.held_courses.iter().filter(is_it).map(|one| &one.why);
        self.held.iter().chain(of_it).map(String::as_str).collect()
    }
}

impl TreatmentList {
    /// What her sheet says beside the gate, that it be no more than the list does; none where this is no recovery's list.
    pub fn recovered(&self, patient: PatientId) -> Option<Recovered> {
        let clocks = self.clocks?;
        let of_her = self.holds.iter().filter(|(_, whom)| whom.has(patient));
        let mut held: Vec<String> = of_her.map(|(held, _)| held.to_string()).collect();
        let mut held_courses = Vec::new();
        let mut is_listed = false;
        for row in self.rows.iter().filter(|row| row.patient == Some(patient)) {
            is_listed = true;
            // That one was given lately is over in some hours: the sheet says how long to wait.
            let is_held = matches!(row.standing, Standing::Hold | Standing::Vetoed) && !row.too_soon;
            match row.course {
                _ if !is_held || held.contains(&row.why) => {}
                Some((delivery, fraction_group)) => {
                    held_courses.push(HeldCourse { delivery, fraction_group, why: row.why.clone() });
                }
                None => held.push(row.why.clone()),
            }
        }
        if !is_listed {
            held.push("she is not on the list".to_owned());
        }
        Some(Recovered { clocks, incomplete: self.incomplete.clone(), held, held_courses })
    }

    /// As the list says it, and nothing else: the line of her sheet.
    pub fn said_of(&self, patient: PatientId) -> String {
        let rows: Vec<_> = self.rows.iter().filter(|row| row.patient == Some(patient)).collect();
        let said = rows.iter().map(|row| match rows.len() {
            1 => format!("{:?}: {}", row.standing, row.why),
            _ => format!("{}: {:?}: {}", row.plan, row.standing, row.why),
        });
        match rows.is_empty() {
            true => "Hold: she is not on the list".to_owned(),
            false => said.collect::<Vec<_>>().join("; "),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_is_behind_holds_and_one_that_is_ahead_is_said() {
        const HOUR: i64 = 3_600_000;
        const DAY_MS: i64 = 24 * HOUR;
        let clocks =
            |ahead: i64| Clocks { newest: Timestamp(1_000 * DAY_MS), machine: Timestamp(1_000 * DAY_MS + ahead) };
        for ahead in [-HOUR, 0, HOUR, 2 * HOUR - 1] {
            assert_eq!((clocks(ahead).are_behind(), clocks(ahead).doubt()), (false, None), "{ahead}");
        }
        assert!(clocks(-HOUR - 1).are_behind() && clocks(-200 * DAY_MS).are_behind());
        let said = clocks(-200 * DAY_MS).doubt().unwrap();
        for time in [clocks(0).newest, clocks(-200 * DAY_MS).machine] {
            assert!(said.contains(&time.to_string()), "{said}");
        }
        assert!(clocks(3 * HOUR).doubt().unwrap().contains("is 3 hours old"));
        let ahead = clocks(200 * DAY_MS);
        assert!(!ahead.are_behind());
        assert!(ahead.doubt().unwrap().contains("200 days old"), "{ahead:?}");
    }
}

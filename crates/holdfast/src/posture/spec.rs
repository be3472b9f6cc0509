//! What a control is beside how it stands: and that none passes without a proof that still lasts.

use std::borrow::Cow;

use edge::console::posture::{Control, Grade, Layer, Proof};
use guard::Role;
use kit::Timestamp;

pub const HOUR_MS: i64 = 3_600_000;
pub const DAY_MS: i64 = 24 * HOUR_MS;
/// What is looked at while the page is made: nobody waits longer for it.
pub const LIVE_MS: i64 = HOUR_MS;
/// Once a year, and some days for whoever was on leave.
pub const YEAR_MS: i64 = 380 * DAY_MS;
/// A proof of a time to come is none: a clock was set back. Two clocks may differ by so much.
const AHEAD_MS: i64 = 5 * 60_000;

/// One control.
pub struct Spec {
    pub id: &'static str,
    pub layer: Layer,
    pub what: &'static str,
    pub owner: Role,
    pub mend: &'static str,
    /// How long a proof lasts.
    pub lasts_ms: i64,
}

/// What was found of one.
pub struct Found {
    pub grade: Grade,
    pub state: String,
    pub evidence: String,
    pub shown: Option<Proof>,
}

impl Found {
    pub fn new(grade: Grade, state: impl Into<String>, evidence: impl Into<String>) -> Self {
        Self { grade, state: state.into(), evidence: evidence.into(), shown: None }
    }

    /// What showed it.
    pub fn by(mut self, at: Timestamp, by: impl Into<String>) -> Self {
        self.shown = Some(Proof { at, by: by.into() });
        self
    }
}

impl Spec {
    pub fn control(&self, now: Timestamp, found: Found) -> Control {
        self.named(self.what.to_owned(), now, found)
    }

    /// Where the name has a number in it.
    pub fn named(&self, what: String, now: Timestamp, found: Found) -> Control {
        let Found { grade, state, evidence, shown } = found;
        let age_ms = shown.as_ref().map(|proof| now.0.saturating_sub(proof.at.0));
        let (grade, note) = match (grade, age_ms) {
            (Grade::Pass, None) => (Grade::Unknown, None),
            (Grade::Pass, Some(age)) if age < -AHEAD_MS => {
                (Grade::Unknown, Some(Cow::Borrowed("; its proof is of a time to come")))
            }
            (Grade::Pass, Some(age)) if age > self.lasts_ms => {
                (Grade::Stale, Some(Cow::Owned(format!("; a proof lasts {} days", self.lasts_ms / DAY_MS))))
            }
            (grade, _) => (grade, None),
        };
        let Self { id, layer, owner, mend, .. } = *self;
        let evidence = evidence + note.as_deref().unwrap_or_default();
        let holds = matches!(grade, Grade::Pass | Grade::Stale);
        let (proven, found) = if holds { (shown, None) } else { (None, shown) };
        let mend = mend.to_owned();
        Control { id, layer, what, grade, state, evidence, proven, found, owner, mend, put_off: None }
    }
}

#[cfg(test)]
mod tests {
    use edge::console::posture::Severity;

    use super::*;

    const SPEC: Spec = Spec {
        id: "a.b",
        layer: Layer::Host,
        what: "It",
        owner: Role::ItAdministrator,
        mend: "mend",
        lasts_ms: DAY_MS,
    };

    #[test]
    fn nothing_passes_without_a_proof_that_lasts() {
        let now = Timestamp(100 * DAY_MS);
        let graded = |grade, at: Option<i64>| {
            let found = Found::new(grade, "", "");
            SPEC.control(now, at.map_or_else(|| Found::new(grade, "", ""), |at| found.by(Timestamp(at), "x"))).grade
        };
        assert_eq!(graded(Grade::Pass, None), Grade::Unknown);
        assert_eq!(graded(Grade::Pass, Some(now.0)), Grade::Pass);
        assert_eq!(graded(Grade::Pass, Some(now.0 - DAY_MS)), Grade::Pass);
        assert_eq!(graded(Grade::Pass, Some(now.0 - DAY_MS - 1)), Grade::Stale);
        assert_eq!(graded(Grade::Pass, Some(now.0 + AHEAD_MS)), Grade::Pass);
        assert_eq!(graded(Grade::Pass, Some(now.0 + AHEAD_MS + 1)), Grade::Unknown);
        // What fails fails, however fresh or old.
        for at in [None, Some(now.0), Some(0)] {
            assert_eq!(graded(Grade::Fail(Severity::Broken), at), Grade::Fail(Severity::Broken));
        }
    }
}

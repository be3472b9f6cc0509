//! Is the account of who did what with a patient's records whole?
//!
//! Verifies, for some patients: every deed of the drill's own (records stored, plans signed, the gate asked, a chart
//! opened, a chart refused) is on the account at least as often as the drill did it; and every line that the centre
//! showed before the attack is there after it, unchanged and in its place. Does not verify: other patients, deeds that
//! the drill knows nothing of, or that nobody can read past the account.

use std::collections::BTreeMap;

use super::Findings;
use crate::system::{AccountLine, Deed};

/// One patient's account, as the drill noted it.
#[derive(Clone, Debug, Default)]
pub struct Noted {
    pub number: String,
    /// What the drill did, and how often.
    pub deeds: BTreeMap<Deed, usize>,
    /// What the centre said before the attack.
    pub before: Vec<AccountLine>,
    /// What was wrong by then.
    pub wrong: Vec<&'static str>,
}

impl Deed {
    fn what(self) -> &'static str {
        match self {
            Self::Registered => "she was registered",
            Self::Stored => "an object of hers was stored",
            Self::Approved => "her plan was signed",
            Self::GateAsked => "the gate was asked about her",
            Self::Opened => "her chart was opened",
            Self::Refused => "somebody was refused her chart",
        }
    }
}

/// What is wrong with the account, given what the centre says after the recovery.
pub fn judge(noted: &Noted, after: Result<Vec<AccountLine>, String>) -> Findings {
    let mut findings = Findings::default();
    let number = &noted.number;
    let after = match after {
        Ok(after) => after,
        Err(why) => {
            findings.add(format!("the account of {number} is lost: {why}"));
            return findings;
        }
    };
    noted.wrong.iter().for_each(|what| findings.add(format!("account of {number}: {what}")));
    for (deed, times) in &noted.deeds {
        let found = after.iter().filter(|line| line.deed == Some(*deed)).count();
        if found < *times {
            let what = deed.what();
            findings.add(format!("account of {number}: that {what} is on it {found} times, it was {times} times"));
        }
    }
    let mut lines = after.iter();
    for line in &noted.before {
        match lines.next() {
            Some(now) if now == line => {}
            Some(now) => {
                findings.add(format!("account of {number}: \"{}\" stands where \"{}\" did", now.text, line.text));
            }
            None => findings.add(format!("account of {number}: \"{}\" is gone", line.text)),
        }
    }
    findings
}

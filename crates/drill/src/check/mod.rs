//! The judges. Each looks at what comes out of the centre with its own eyes: none shares code with what it checks, and
//! each says what it verifies and what it doesn't.

pub mod account;
pub mod bytes;
pub mod damage;
pub mod gate;
pub mod list;
pub mod plaintext;

/// Findings that a report spells out; the others are counted.
pub const FINDINGS_MAX: usize = 50;

/// Findings, the first of them in words.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Findings {
    pub spelled_out: Vec<String>,
    pub total: usize,
}

impl Findings {
    pub fn add(&mut self, finding: impl Into<String>) {
        self.total += 1;
        if self.spelled_out.len() < FINDINGS_MAX {
            self.spelled_out.push(finding.into());
        }
    }

    pub fn extend(&mut self, others: Self) {
        let silent = others.total - others.spelled_out.len();
        others.spelled_out.into_iter().for_each(|finding| self.add(finding));
        self.total += silent;
    }

    pub fn none(&self) -> bool {
        self.total == 0
    }
}

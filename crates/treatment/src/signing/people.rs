//! Whose signatures count.
//!
//! Pure: the service brings enrolments and endings in the order of the ledger.

use kit::Timestamp;
use minicbor::{Decode, Encode};

use unicode_normalization::UnicodeNormalization as _;
use unicode_security::confusable_detection::skeleton;

use crate::signing::approval::{ApprovalError, Enrolment, PublicKey, check_version, strict};

/// Which of a key's signatures an ending takes back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Encode, Decode)]
pub enum Reach {
    /// What came in before the ending still counts: she has left. The time in a signature is the signer's own word, so it
    /// is the ledger's order that tells.
    #[n(0)]
    Later,
    /// Nothing counts: somebody else may have signed.
    #[n(1)]
    All,
}

/// That a key's signatures count no longer.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Ending {
    #[n(0)]
    version: u8,
    #[n(1)]
    pub key: PublicKey,
    #[n(2)]
    pub reach: Reach,
    #[n(3)]
    pub at: Timestamp,
}

impl Ending {
    pub fn new(key: PublicKey, reach: Reach, at: Timestamp) -> Self {
        Self { version: 1, key, reach, at }
    }

    pub fn encode(&self) -> Vec<u8> {
        minicbor::to_vec(self).unwrap_or_default()
    }

    pub fn decode(bytes: &[u8]) -> Result<Self, ApprovalError> {
        let ending: Self = strict(bytes, "the ending")?;
        check_version(ending.version, "the ending").map(|()| ending)
    }
}

/// One enrolment, and what ended it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Person {
    pub enrolment: Enrolment,
    /// The ending that reaches furthest, the earliest of several.
    pub ended: Option<Ending>,
}

/// Everybody who is or was enrolled.
#[derive(Clone, Debug, Default)]
pub struct People {
    enrolments: Vec<Enrolment>,
    /// With their entries.
    endings: Vec<(u64, Ending)>,
}

impl People {
    pub fn new(enrolments: Vec<Enrolment>, endings: Vec<(u64, Ending)>) -> Self {
        Self { enrolments, endings }
    }

    fn counts(&self, key: PublicKey, entry: u64) -> bool {
        let ended = |(at, ending): &(u64, Ending)| ending.key == key && (ending.reach == Reach::All || *at <= entry);
        !self.endings.iter().any(ended)
    }

    /// Whose signatures count in a ledger's entry.
    pub fn counting(&self, entry: u64) -> impl Iterator<Item = &Enrolment> {
        self.enrolments.iter().filter(move |enrolment| self.counts(enrolment.key, entry))
    }

    pub fn ended(&self, key: PublicKey) -> Option<&Ending> {
        let hers = self.endings.iter().map(|(_, ending)| ending).filter(|ending| ending.key == key);
        hers.min_by_key(|ending| (std::cmp::Reverse(ending.reach), ending.at))
    }

    pub fn enrolments(&self) -> &[Enrolment] {
        &self.enrolments
    }

    pub fn all(&self) -> impl Iterator<Item = Person> {
        self.enrolments
            .iter()
            .map(|enrolment| Person { enrolment: enrolment.clone(), ended: self.ended(enrolment.key).cloned() })
    }
}

/// Whether a reader may take one name for the other (Unicode TR 39, skeletons), whatever their case, their blanks and the
/// characters in them that nobody sees.
pub(crate) fn look_alike(one: &str, other: &str) -> bool {
    looks(one).iter().zip(&looks(other)).any(|(one, other)| one == other)
}

/// As it is written, and in small letters: a capital I looks like an l, a small i doesn't.
fn looks(name: &str) -> [String; 2] {
    let shape = |text: &str| -> String { skeleton(text).filter(|c| !is_invisible(*c)).collect() };
    let seen: String = name.nfkc().filter(|c| !is_invisible(*c)).collect();
    let as_written = shape(&shape(&seen).to_lowercase());
    [as_written, shape(&seen.to_lowercase())].map(|look| look.split_whitespace().collect::<Vec<_>>().join(" "))
}

/// Joiners (which names in Malayalam and Tamil have good use for), marks of direction, selectors of variants, tags.
fn is_invisible(c: char) -> bool {
    matches!(c,
        '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}' | '\u{180b}'..='\u{180f}'
        | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{3164}' | '\u{fe00}'..='\u{fe0f}'
        | '\u{feff}' | '\u{ffa0}' | '\u{fff0}'..='\u{fffb}' | '\u{1d159}' | '\u{2800}' | '\u{1bca0}'..='\u{1bca3}' | '\u{1d173}'..='\u{1d17a}'
        | '\u{e0000}'..='\u{e0fff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_look_the_same_are_the_same() {
        for twin in [
            "Asha Kumar\u{200b}",
            "asha  kumar",
            "A\u{2060}sha Kumar",
            "\u{202e}Asha Kumar",
            "\u{410}sha Kumar",
            "Ａsha Kumar",
            "Asha Kumar\u{fff9}",
            "Asha Kumar\u{1d159}",
        ] {
            assert!(look_alike(twin, "Asha Kumar"), "{twin:?}");
        }
        for twin in ["Demo OncoIogist", "Demo 0ncologist", "demo oncologist", "Demo 0nc0I0gist"] {
            assert!(look_alike(twin, "Demo Oncologist"), "{twin:?}");
        }
        for other in ["Asha Kumari", "Usha Kumar", "Asha"] {
            assert!(!look_alike(other, "Asha Kumar"));
        }
        // With and without the joiner: one name, spelt in two ways.
        assert!(look_alike("ന്\u{200d}റെ", "ന്റെ"));
        assert!(!look_alike("രാധ", "രാജ"));
    }
}

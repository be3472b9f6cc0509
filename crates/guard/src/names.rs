//! Names of people and of centres: what is read is to be what is signed, and nobody is to pass for another.

use unicode_normalization::UnicodeNormalization as _;
use unicode_security::confusable_detection::skeleton;

use crate::SignatureError;

/// A centre's or a person's name: what a door plate holds.
pub(crate) const NAME_CHARACTERS_MAX: usize = 128;

/// Breaks a line, or turns the order in which it is read (Unicode's bidirectional controls): what is read is to be what is signed.
pub fn misleads(c: char) -> bool {
    let turns = matches!(c, '\u{061C}' | '\u{200E}' | '\u{200F}' | '\u{202A}'..='\u{202E}' | '\u{2066}'..='\u{2069}');
    turns || c.is_control()
}

pub fn check_name(whose: &'static str, name: &str) -> Result<(), SignatureError> {
    let length = name.chars().count();
    let is_name = (1..=NAME_CHARACTERS_MAX).contains(&length) && !name.chars().any(misleads);
    if is_name { Ok(()) } else { Err(SignatureError::BadName { whose }) }
}

/// Whether a reader may take one name for the other (Unicode TR 39, skeletons), whatever their case, their blanks and the
/// characters in them that nobody sees.
pub fn look_alike(one: &str, other: &str) -> bool {
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

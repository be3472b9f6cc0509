//! What can be searched in a resource, normalised. The index holds only keyed hashes of these facts; what it finds is
//! opened and judged again in full.
//!
//! Names: NFKD, lower case, Latin, Greek and Cyrillic accents (U+0300–U+036F) dropped, other marks kept: a vowel sign or
//! virama of an Indic script is a letter of the name, not an accent. Joiners and other invisible characters are
//! dropped, and Malayalam chillu letters become consonant and virama, so that both ways to write them meet. What is
//! neither letter, digit nor mark separates words. A name matches where it, from the start of any of its words on,
//! begins with the value. Comparison is by code points: a bare consonant also finds its syllables, as while typing.

use std::collections::BTreeSet;

use fhirkit::Json;
use unicode_normalization::UnicodeNormalization;
use unicode_normalization::char::is_combining_mark;

use super::issue::{Code, Issue};
use super::reference::{self, Reference};
use super::resource::{Resource, find};
use super::table::table;

/// Prefixes of 1 to so many characters are indexed. Longer ones hardly narrow a search further, and every one more lets
/// a stolen index confirm a guessed name further.
pub const PREFIX_CHARS: usize = 8;

/// Facts of one resource: their tags must fit the 64 KiB that the vault allows beside a payload.
pub const FIELDS_MAX: usize = 2_000;

/// Phone numbers match on so many last digits: trunk prefixes and country codes are written in many ways.
const PHONE_DIGITS: usize = 10;

/// How the index should tag a fact.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reach {
    /// Names one resource or one person: a full-length tag.
    Unique,
    /// Many share it: a truncated tag, and what it finds is filtered.
    Shared,
}

/// One searchable fact.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Field {
    pub param: &'static str,
    pub value: String,
    pub reach: Reach,
}

impl Field {
    pub(crate) fn new(param: &'static str, value: impl Into<String>) -> Self {
        let reach = match param {
            "_id" | "identifier" | "patient" | "subject" => Reach::Unique,
            _ => Reach::Shared,
        };
        Self { param, value: value.into(), reach }
    }
}

/// What a resource of type `kind` is known by, with and without a system.
pub(crate) fn identifiers_of(kind: &str, json: &Json) -> BTreeSet<String> {
    let paths = table().search(kind).iter().filter(|(name, _)| *name == "identifier").flat_map(|(_, paths)| paths);
    paths
        .flat_map(|path| find(json, path))
        .filter_map(|found| {
            let part = |key: &str| found.get(key).and_then(Json::as_str);
            Some([part("value")?.trim().to_owned(), token(part("system"), part("value")?)])
        })
        .flatten()
        .collect()
}

impl Resource {
    /// Every fact that the index should know; an error where there are more than `FIELDS_MAX`.
    pub fn search_fields(&self) -> Result<Vec<Field>, Issue> {
        let mut fields = BTreeSet::new();
        fields.extend(self.id().map(|id| Field::new("_id", id)));
        for (param, paths) in table().search(self.kind()) {
            for value in self.values(param, paths) {
                let starts = word_starts(&value).flat_map(|start| (1..=PREFIX_CHARS).map_while(|n| prefix(start, n)));
                let found: Box<dyn Iterator<Item = &str>> =
                    if is_name(param) { Box::new(starts) } else { Box::new(std::iter::once(value.as_str())) };
                for fact in found {
                    fields.insert(Field::new(param, fact));
                    if fields.len() > FIELDS_MAX {
                        let text = format!("more than {FIELDS_MAX} searchable facts (names, numbers, references)");
                        return Err(Issue::error(Code::TooCostly, text).at(self.kind()));
                    }
                }
            }
        }
        Ok(fields.into_iter().collect())
    }

    /// Does `param` hold `value`, as `query_value` normalised it?
    pub(crate) fn holds(&self, param: &str, value: &str) -> bool {
        if param == "_id" {
            return self.id() == Some(value);
        }
        let Some((param, paths)) = table().search(self.kind()).iter().find(|(name, _)| *name == param) else {
            return false;
        };
        self.values(param, paths).iter().any(|found| match is_name(param) {
            true => word_starts(found).any(|start| start.starts_with(value)),
            // A date lies within the one that is asked for where it begins with it.
            false if *param == "birthdate" => {
                found.strip_prefix(value).is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
            }
            false => found == value,
        })
    }

    /// The normalised values of a search parameter.
    fn values(&self, param: &str, paths: &[&str]) -> Vec<String> {
        let mut values = Vec::new();
        for path in paths {
            let (path, system) = match path.split_once("?system=") {
                Some((path, system)) => (path, Some(system)),
                None => (*path, None),
            };
            for found in find(self.json(), path) {
                let part = |key: &str| found.get(key).and_then(Json::as_str);
                match param {
                    "identifier" => {
                        let Some(value) = part("value") else { continue };
                        values.push(value.trim().to_owned());
                        values.push(token(part("system"), value));
                    }
                    "phone" | "email" | "telecom" => {
                        if system.is_none() || part("system") == system {
                            values.extend(part("value").map(telecom));
                        }
                    }
                    "patient" | "subject" => {
                        if let Some(Reference::Local { kind, id }) = part("reference").and_then(reference::parse)
                            && (param == "subject" || kind == "Patient")
                        {
                            values.push(format!("{kind}/{id}"));
                        }
                    }
                    _ if is_name(param) => {
                        let parts = ["family", "given", "prefix", "suffix", "text"];
                        let strings = found
                            .as_str()
                            .into_iter()
                            .chain(parts.iter().flat_map(|part| find(found, part)).filter_map(Json::as_str));
                        values.extend(strings.map(normalise).filter(|name| !name.is_empty()));
                    }
                    _ => values.extend(found.as_str().map(str::to_owned)),
                }
            }
        }
        values
    }
}

pub(crate) fn is_name(param: &str) -> bool {
    matches!(param, "name" | "family" | "given")
}

/// Ends an identifier's system: a control character, which no value holds, so that `a|b` without a system is not `b` of
/// system `a`.
pub(crate) const SYSTEM_END: char = '\u{1f}';

/// Identifier with its system; none is told from every system there is. Blanks around a value are none of it: DICOM, which names
/// the same patients, pads with them.
pub(crate) fn token(system: Option<&str>, value: &str) -> String {
    format!("{}{SYSTEM_END}{}", system.unwrap_or_default(), value.trim())
}

/// The first `n` characters, where there are so many.
pub(crate) fn prefix(text: &str, n: usize) -> Option<&str> {
    match text.char_indices().nth(n) {
        Some((at, _)) => text.get(..at),
        None => (text.chars().count() == n).then_some(text),
    }
}

fn word_starts(name: &str) -> impl Iterator<Item = &str> {
    std::iter::once(name).chain(name.match_indices(' ').filter_map(|(at, _)| name.get(at + 1..)))
}

/// A name as it is compared; the rule stands at the top of this file.
pub fn normalise(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.nfkd().flat_map(char::to_lowercase) {
        match c {
            '\u{300}'..='\u{36f}'
            | '\u{93c}'
            | '\u{9bc}'
            | '\u{a3c}'
            | '\u{abc}'
            | '\u{b3c}'
            | '\u{cbc}'
            | '\u{ad}'
            | '\u{200b}'..='\u{200f}'
            | '\u{2060}'
            | '\u{feff}'
            | '\''
            | '\u{2019}' => {}
            // Unicode, chapter 12, Malayalam: a chillu letter is the consonant without its vowel.
            '\u{d7a}' => out.push_str("\u{d23}\u{d4d}"),
            '\u{d7b}' => out.push_str("\u{d28}\u{d4d}"),
            '\u{d7c}' => out.push_str("\u{d30}\u{d4d}"),
            '\u{d7d}' => out.push_str("\u{d32}\u{d4d}"),
            '\u{d7e}' => out.push_str("\u{d33}\u{d4d}"),
            '\u{d7f}' => out.push_str("\u{d15}\u{d4d}"),
            '\u{d54}' => out.push_str("\u{d2e}\u{d4d}"),
            '\u{d55}' => out.push_str("\u{d2f}\u{d4d}"),
            '\u{d56}' => out.push_str("\u{d34}\u{d4d}"),
            // Unicode, chapter 12, Malayalam: the same vowel sign AU in the old and in the new orthography. NFKD has taken the
            // old one apart.
            '\u{d57}' if out.ends_with('\u{d46}') => {
                out.pop();
                out.push('\u{d57}');
            }
            // Unicode, chapter 12, Tamil: the conjunct Sri is written with either letter.
            '\u{bb0}' if out.ends_with("\u{bb6}\u{bcd}") => {
                out.truncate(out.len() - "\u{bb6}\u{bcd}".len());
                out.push_str("\u{bb8}\u{bcd}\u{bb0}");
            }
            c if c.is_alphanumeric() || is_combining_mark(c) => out.push(c),
            _ if out.is_empty() || out.ends_with(' ') => {}
            _ => out.push(' '),
        }
    }
    out.truncate(out.trim_end().len());
    out
}

/// A telecom as it is compared: what looks like an address in lower case, a number by its last digits.
pub(crate) fn telecom(text: &str) -> String {
    let text = text.trim();
    if text.chars().any(|c| c == '@' || c.is_ascii_alphabetic()) {
        return text.to_lowercase();
    }
    let digits: Vec<char> = text.chars().filter_map(digit).collect();
    digits.iter().skip(digits.len().saturating_sub(PHONE_DIGITS)).collect()
}

/// Decimal digits of ASCII and of the scripts of India; each of these has its ten in a row.
fn digit(c: char) -> Option<char> {
    const ZEROS: [u32; 10] = [0x966, 0x9e6, 0xa66, 0xae6, 0xb66, 0xbe6, 0xc66, 0xce6, 0xd66, 0x30];
    ZEROS
        .iter()
        .find_map(|zero| u32::from(c).checked_sub(*zero).filter(|n| *n < 10))
        .and_then(|n| char::from_digit(n, 10))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accents_go_and_indic_marks_stay() {
        assert_eq!(normalise("  Ångström-O’Brien "), "angstrom obrien");
        assert_eq!(normalise("S.Lakshmi"), "s lakshmi");
        assert_eq!(normalise("ലക്ഷ്മി മാതൃക"), "ലക്ഷ്മി മാതൃക");
        assert_eq!(normalise("लक्ष्मी"), "लक्ष्मी");
        assert_eq!(normalise("லட்சுமி"), "லட்சுமி");
        assert_eq!(normalise("സാജന്\u{200d}"), normalise("സാജൻ"), "both ways to write a chillu");
        assert_eq!(normalise("\u{958}"), normalise("\u{915}\u{93c}"), "both ways to write a nukta letter");
        assert_eq!(normalise("ज़ैदी"), normalise("जैदी"), "with and without a nukta");
        assert_eq!(normalise("ਜ਼ੈਦੀ"), normalise("ਜੈਦੀ"), "with and without a nukta");
        assert_eq!(normalise("ഗൗരി"), normalise("ഗൌരി"), "both signs of the vowel AU");
        assert_eq!(normalise("ஸ்ரீ"), normalise("ஶ்ரீ"), "both letters of Sri");
        assert_ne!(normalise("ஶ"), normalise("ஸ"));
        assert_ne!(normalise("കി"), normalise("ക"));
    }

    #[test]
    fn phones_meet_however_they_are_written() {
        for written in ["+91 98460-12345", "09846012345", "98460 12345", "+91 ൯൮൪൬൦ ൧൨൩൪൫", "००९१९८४६०१२३४५"]
        {
            assert_eq!(telecom(written), "9846012345", "{written}");
        }
        assert_eq!(telecom(" A@B.example "), "a@b.example");
    }

    #[test]
    fn prefixes_are_whole_characters() {
        assert_eq!(prefix("മാതൃക", 2), Some("മാ"));
        assert_eq!(prefix("ab", 2), Some("ab"));
        assert_eq!(prefix("ab", 3), None);
    }
}

//! JSON as text: tokens with their places, so that limits are checked before a recursive parser sees the input, and so
//! that a value can be replaced while every other byte stays as the client sent it.

use std::ops::Range;

use super::issue::{Code, Issue};

/// Arrays and objects inside each other. The deepest R4 example reaches 22; reading and checking recurse per level.
pub(crate) const DEPTH_MAX: usize = 64;

/// Values of any kind in one body: each costs up to 100 bytes in memory, so 16 MiB of `[0,0,…]` may not claim more than
/// 50 MB. R4's own value set expansions hold 311,000; a clinical Bundle of a thousand entries holds less.
pub(crate) const VALUES_MAX: usize = 500_000;

/// Members of one object: R4's widest example has 34, and duplicates are looked for pair by pair.
const MEMBERS_MAX: usize = 256;

/// One token: its first byte (`"` for a string, `0` for a number or literal) and its place.
pub(crate) type Token = (u8, Range<usize>);

/// Tokens of `text`, valid JSON or not; the parser proper judges the grammar.
pub(crate) struct Tokens<'a> {
    bytes: &'a [u8],
    at: usize,
}

pub(crate) fn tokens(text: &str) -> Tokens<'_> {
    Tokens { bytes: text.as_bytes(), at: 0 }
}

impl Iterator for Tokens<'_> {
    type Item = Token;

    fn next(&mut self) -> Option<Token> {
        while self.bytes.get(self.at)?.is_ascii_whitespace() {
            self.at += 1;
        }
        let start = self.at;
        let first = *self.bytes.get(start)?;
        self.at += 1;
        match first {
            b'{' | b'}' | b'[' | b']' | b':' | b',' => return Some((first, start..self.at)),
            b'"' => {
                while let Some(&byte) = self.bytes.get(self.at) {
                    self.at += if byte == b'\\' { 2 } else { 1 };
                    if byte == b'"' {
                        break;
                    }
                }
                self.at = self.at.min(self.bytes.len());
                return Some((b'"', start..self.at));
            }
            _ => {}
        }
        while let Some(byte) = self.bytes.get(self.at)
            && !byte.is_ascii_whitespace()
            && !b"{}[]:,\"".contains(byte)
        {
            self.at += 1;
        }
        Some((b'0', start..self.at))
    }
}

/// Refuses what would exhaust stack or memory before anything is built from it.
pub(crate) fn within_limits(text: &str) -> Result<(), Issue> {
    let mut members: Vec<usize> = Vec::new();
    let mut values = 0_usize;
    for (kind, place) in tokens(text) {
        match kind {
            b'{' | b'[' => {
                members.push(0);
                if members.len() > DEPTH_MAX {
                    let at = place.start;
                    let text = format!("nested {} deep at byte {at}, the maximum is {DEPTH_MAX}", members.len());
                    return Err(Issue::error(Code::Syntax, text));
                }
                values += 1;
            }
            b'}' | b']' => {
                members.pop();
            }
            b':' => {
                // What stands before it was a key, not a value.
                values = values.saturating_sub(1);
                if let Some(count) = members.last_mut() {
                    *count += 1;
                    if *count > MEMBERS_MAX {
                        let text = format!("an object with {count} members, the maximum is {MEMBERS_MAX}");
                        return Err(Issue::error(Code::Syntax, text));
                    }
                }
            }
            b',' => {}
            _ => values += 1,
        }
        if values > VALUES_MAX {
            return Err(Issue::error(Code::TooLong, format!("more than {VALUES_MAX} values")));
        }
    }
    Ok(())
}

/// The path of the first key that is written with an escape. No element of FHIR needs one, and a key that two readers
/// could read differently is no key to look for.
pub(crate) fn escaped_key(text: &str) -> Option<String> {
    walk(text, |_, escaped| escaped)
}

/// The path to the value that begins at byte `at`.
pub(crate) fn path_to(text: &str, at: usize) -> String {
    walk(text, |place, _| place.start >= at).unwrap_or_default()
}

/// The path to the first token that `stop` is true of: told its place, and whether it is a key with an escape in it.
fn walk(text: &str, stop: impl Fn(&Range<usize>, bool) -> bool) -> Option<String> {
    // For each array or object that is open: the last key, or the number of the element.
    let mut open: Vec<(bool, String, usize)> = Vec::new();
    let mut all = tokens(text).peekable();
    while let Some((kind, place)) = all.next() {
        let mut escaped = false;
        if kind == b'"' && all.peek().is_some_and(|(next, _)| *next == b':') {
            let key = text.get(place.clone())?.trim_matches('"');
            escaped = key.contains('\\');
            if let Some((_, last, _)) = open.last_mut() {
                last.clear();
                last.push_str(if escaped { "(no element name)" } else { key });
            }
        }
        if stop(&place, escaped) {
            let parts = open.iter().map(|(array, key, number)| match array {
                true => format!("[{number}]"),
                false => format!(".{key}"),
            });
            return Some(parts.collect::<String>().trim_start_matches('.').to_owned());
        }
        match kind {
            b'{' | b'[' => open.push((kind == b'[', String::new(), 0)),
            b'}' | b']' => drop(open.pop()),
            b',' => {
                if let Some((_, _, number)) = open.last_mut() {
                    *number += 1;
                }
            }
            _ => {}
        }
    }
    None
}

/// One member of an object: key (without quotes; escapes in keys were refused) and the place of its value.
pub(crate) struct Member<'a> {
    pub(crate) key: &'a str,
    pub(crate) value: Range<usize>,
}

/// The members of the object that begins at or after `from` in valid JSON; `None` where something else stands there.
pub(crate) fn members(text: &str, from: usize) -> Option<Vec<Member<'_>>> {
    parts(text, from, b'{').map(|found| {
        found.into_iter().filter_map(|(key, value)| Some(Member { key: text.get(key?)?, value })).collect()
    })
}

/// The places of the elements of the array that begins at or after `from` in valid JSON.
pub(crate) fn elements(text: &str, from: usize) -> Option<Vec<Range<usize>>> {
    parts(text, from, b'[').map(|found| found.into_iter().map(|(_, value)| value).collect())
}

type Part = (Option<Range<usize>>, Range<usize>);

fn parts(text: &str, from: usize, open: u8) -> Option<Vec<Part>> {
    let mut tokens = Tokens { bytes: text.as_bytes(), at: from };
    if tokens.next()?.0 != open {
        return None;
    }
    let (mut found, mut depth, mut start, mut key) = (Vec::new(), 1_usize, None, None);
    let mut end = from;
    for (kind, place) in tokens {
        match kind {
            b'}' | b']' if depth == 1 => {
                if let Some(start) = start {
                    found.push((key.take(), start..end));
                }
                return Some(found);
            }
            b',' if depth == 1 => found.push((key.take(), start.take()?..end)),
            b':' if depth == 1 => key = Some(start.take()? + 1..end.checked_sub(1)?),
            _ => {
                match kind {
                    b'{' | b'[' => depth += 1,
                    b'}' | b']' => depth -= 1,
                    _ => {}
                }
                start.get_or_insert(place.start);
                end = place.end;
            }
        }
    }
    None
}

/// `text` with each place replaced; places in ascending order, apart from each other.
pub(crate) fn spliced(text: &str, edits: &[(Range<usize>, String)]) -> String {
    let mut out = String::with_capacity(text.len() + edits.iter().map(|(_, with)| with.len()).sum::<usize>());
    let mut done = 0;
    for (place, with) in edits {
        out.push_str(text.get(done..place.start).unwrap_or_default());
        out.push_str(with);
        done = place.end;
    }
    out.push_str(text.get(done..).unwrap_or_default());
    out
}

/// `text` as a JSON string, quotes included.
pub(crate) fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_and_elements_stand_where_they_are() {
        let text = r#" { "a" : [1, {"b":"]}"}, []] ,"c":{}, "d" : -1.50e3 } "#;
        let found = members(text, 0).unwrap();
        let shown: Vec<(&str, &str)> = found.iter().map(|m| (m.key, &text[m.value.clone()])).collect();
        assert_eq!(shown, [("a", r#"[1, {"b":"]}"}, []]"#), ("c", "{}"), ("d", "-1.50e3")]);
        let inside: Vec<&str> = elements(text, found[0].value.start).unwrap().into_iter().map(|p| &text[p]).collect();
        assert_eq!(inside, ["1", r#"{"b":"]}"}"#, "[]"]);
    }

    #[test]
    fn an_escaped_key_is_found_where_it_is() {
        for (text, place) in [
            (r#"{"a":"\u0041","b":["\n",{"c\n":1}]}"#, Some("b[1].(no element name)")),
            (r#"{"\u0069d":1}"#, Some("(no element name)")),
            (r#"{"a":[[],[1,{"b":{}}]],"c":"\":{"}"#, None),
        ] {
            assert_eq!(escaped_key(text).as_deref(), place, "{text}");
        }
    }

    #[test]
    fn limits_name_number_and_bound() {
        assert!(within_limits(&"[".repeat(DEPTH_MAX)).is_ok());
        let deep = within_limits(&"[".repeat(1_000_000)).unwrap_err();
        assert!(deep.diagnostics.contains("65") && deep.diagnostics.contains("64"), "{deep:?}");
        assert!(within_limits(&format!("[{}1]", "1,".repeat(VALUES_MAX))).is_err());
        let wide: String = (0..=MEMBERS_MAX).map(|n| format!("\"k{n}\":1,")).collect();
        assert!(within_limits(&format!("{{{wide}")).is_err());
        assert!(within_limits("\"\\").is_ok(), "a cut-off string ends the tokens");
    }
}

//! An object's name as the key of a bucket and back: reversible, in the same order, and never anything like a path.
//!
//! `-` → `.d` (dash), `.` → `.p` (point), `/` → `.s` (slash), all others as they are, and `-` behind the last. Stores take
//! a `/` in a key for a folder's end, and some refuse or rewrite `.`, `..` and `a//b`. The three codes stand in the order
//! of what they stand for, below `0`; the end mark is lower than any of them, so that keys sort as names do even where a
//! store sorts them with something of its own appended (SeaweedFS lists folders called `KEY.versions`).

use location::Name;

/// What ends every key.
const END: char = '-';

pub(crate) fn encode(name: &Name) -> String {
    let mut key = String::with_capacity(2 * name.as_str().len() + 1);
    for c in name.as_str().chars() {
        match c {
            '-' => key.push_str(".d"),
            '.' => key.push_str(".p"),
            '/' => key.push_str(".s"),
            c => key.push(c),
        }
    }
    key.push(END);
    key
}

/// `None` where no name has this key: somebody else's object.
pub(crate) fn decode(key: &str) -> Option<Name> {
    let mut name = String::with_capacity(key.len());
    let mut chars = key.strip_suffix(END)?.chars();
    while let Some(c) = chars.next() {
        name.push(match c {
            '.' => match chars.next()? {
                'd' => '-',
                'p' => '.',
                's' => '/',
                _ => return None,
            },
            '-' | '/' => return None,
            c => c,
        });
    }
    Name::new(name).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn names() -> impl Strategy<Value = Name> {
        // Few letters, so that names share beginnings.
        "[ab09./-]{1,120}".prop_map(|text| Name::new(text).unwrap())
    }

    #[test]
    fn known_keys() {
        for (name, key) in [("s/010/2", "s.s010.s2-"), (".", ".p-"), ("..", ".p.p-"), ("a//b", "a.s.sb-"), ("-", ".d-")]
        {
            assert_eq!(encode(&Name::new(name).unwrap()), key);
        }
        for stranger in ["", "-", "a", "a--", ".-", ".x-", "a/b-", "A-", "a-b-", ".p", "ä-"] {
            assert_eq!(decode(stranger), None, "{stranger}");
        }
    }

    proptest! {
        #[test]
        fn a_name_comes_back_and_has_one_key(name in names()) {
            let key = encode(&name);
            prop_assert!(key.len() <= 2 * location::NAME_BYTES_MAX + 1);
            prop_assert!(!key.contains('/') && !key.contains(".."));
            prop_assert_eq!(decode(&key), Some(name));
        }

        #[test]
        fn what_is_read_as_a_name_is_its_key(key in "[ab0.dps/-]{0,12}") {
            if let Some(name) = decode(&key) {
                prop_assert_eq!(encode(&name), key);
            }
        }

        #[test]
        fn keys_sort_as_names_do_even_with_a_tail(a in names(), b in names()) {
            for tail in ["", ".versions", "~"] {
                let (left, right) = (encode(&a) + tail, encode(&b) + tail);
                prop_assert_eq!(a.cmp(&b), left.as_bytes().cmp(right.as_bytes()));
            }
        }
    }
}

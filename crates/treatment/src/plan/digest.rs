//! The delivery digest: SHA-256 over a plain text with one line a fact, so that a physicist can read what was signed
//! and any other tool can compute it again. The form is defined in `docs/formats/delivery-digest.md`.

use kit::Digest;
use sha2::{Digest as _, Sha256};

use crate::plan::delivery::{Class, Place, Row, Value};

/// The first line. Another list of attributes, another rounding or another form is another version.
pub const VERSION: &str = "holdfast delivery v1";

pub(crate) fn of<'r>(rows: impl IntoIterator<Item = &'r Row>) -> Digest {
    Digest(Sha256::digest(canonical(rows)).into())
}

/// Of rows that are in no delivery digest, under a first line of their own.
pub(crate) fn of_text<'r>(version: &str, rows: impl IntoIterator<Item = &'r Row>) -> Digest {
    Digest(Sha256::digest(text(version, rows)).into())
}

pub(crate) fn canonical<'r>(rows: impl IntoIterator<Item = &'r Row>) -> Vec<u8> {
    text(VERSION, rows.into_iter().filter(|row| row.class == Class::Delivery))
}

fn text<'r>(version: &str, rows: impl IntoIterator<Item = &'r Row>) -> Vec<u8> {
    let rows = rows.into_iter();
    // A leaf position takes about six characters, and leaves are nearly all there is.
    let mut out = Vec::with_capacity(rows.size_hint().1.unwrap_or(0) * 64);
    out.extend_from_slice(version.as_bytes());
    out.push(b'\n');
    let (mut place, mut prefix) = (None::<&Place>, String::new());
    for row in rows {
        if place != Some(&row.place) {
            place = Some(&row.place);
            prefix = row.place.to_string();
        }
        out.extend_from_slice(prefix.as_bytes());
        out.extend_from_slice(b" (");
        hexadecimal(&mut out, row.tag.group());
        out.push(b',');
        hexadecimal(&mut out, row.tag.element());
        out.extend_from_slice(b") ");
        match &row.value {
            Value::Text(text) => out.extend_from_slice(text.as_bytes()),
            Value::Numbers(numbers) => {
                for (i, number) in numbers.iter().enumerate() {
                    if i > 0 {
                        out.push(b',');
                    }
                    decimal(&mut out, *number);
                }
            }
        }
        out.push(b'\n');
    }
    out
}

fn hexadecimal(out: &mut Vec<u8>, number: u16) {
    out.extend([12, 8, 4, 0].map(|shift| match u8::try_from(number >> shift & 15).unwrap_or(0) {
        digit @ 0..=9 => b'0' + digit,
        digit => b'A' + digit - 10,
    }));
}

/// As `write!` would, at a fraction of its time: an arc has some 50,000 numbers, and a digest has 5 ms.
fn decimal(out: &mut Vec<u8>, number: i64) {
    let mut digits = [b'0'; 20];
    let (mut rest, mut start) = (number.unsigned_abs(), digits.len());
    for digit in digits.iter_mut().rev() {
        *digit = b'0' + u8::try_from(rest % 10).unwrap_or(0);
        rest /= 10;
        start -= 1;
        if rest == 0 {
            break;
        }
    }
    if number < 0 {
        out.push(b'-');
    }
    out.extend_from_slice(digits.get(start..).unwrap_or_default());
}

#[cfg(test)]
mod tests {
    #[test]
    fn numbers_are_written_as_the_standard_library_would() {
        for number in [0, 7, -7, 10, 36_000, -74_187, i64::MAX, i64::MIN] {
            let mut out = Vec::new();
            super::decimal(&mut out, number);
            assert_eq!(out, number.to_string().into_bytes());
        }
        let mut out = Vec::new();
        super::hexadecimal(&mut out, 0x30AF);
        assert_eq!(out, b"30AF");
    }
}

//! The values of DICOM elements, decoded strictly and held exactly: no number here passes through binary floating
//! point arithmetic.

use std::ops::Range;

use dicom_core::{Tag, VR};
use dicom_encoding::text::{SpecificCharacterSet, TextCodec};

use crate::dicom::scan::{Element, Set};

/// A decimal string and an integer string hold at most so many characters (PS3.5 table 6.2-1).
const DS_CHARACTERS_MAX: usize = 16;
const IS_CHARACTERS_MAX: usize = 12;

/// What is wrong with one value. It never quotes the value: that may be a name in the wrong place.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ValueFault {
    #[error("it has the value representation {found}, the standard has {expected}")]
    Vr { found: &'static str, expected: &'static str },
    #[error("value {index} is not a number")]
    NotANumber { index: usize },
    #[error("value {index} is not finite")]
    NotFinite { index: usize },
    #[error("value {index} has {characters} characters, the maximum is {max}")]
    TooLong { index: usize, characters: usize, max: usize },
    #[error("value {index} lies outside of {min} to {max}{}", with_blank(unit))]
    OutOfRange { index: usize, min: i64, max: i64, unit: &'static str },
    #[error("it has {found} values, it takes {expected}")]
    Multiplicity { found: usize, expected: String },
    #[error("value {index} is empty")]
    Empty { index: usize },
    #[error("its length {bytes} is no multiple of {size}")]
    Size { bytes: usize, size: usize },
    #[error("it has a character that its value representation or the character set doesn't allow")]
    Characters,
    #[error("character set {0} is not supported")]
    CharacterSet(String),
    #[error("it is none of {allowed}")]
    NotOneOf { allowed: &'static str },
}

/// Most numbers have no unit.
fn with_blank(unit: &str) -> String {
    if unit.is_empty() { String::new() } else { format!(" {unit}") }
}

/// An exact number: `mantissa · 10^ten · 2^two`. A DS is decimal (`two` = 0), an FL or FD binary (`ten` = 0).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Number {
    mantissa: i64,
    ten: i32,
    two: i32,
}

impl Number {
    const ZERO: Self = Self { mantissa: 0, ten: 0, two: 0 };

    /// In the one form that it has when it is decimal: `-105e-1`, and a comma behind it.
    pub(crate) fn write_plain(self, to: &mut Vec<u8>) {
        let Self { mut mantissa, mut ten, two } = self.reduced();
        while mantissa != 0 && mantissa % 10 == 0 {
            (mantissa, ten) = (mantissa / 10, ten + 1);
        }
        to.extend_from_slice(mantissa.to_string().as_bytes());
        for (sign, exponent) in [(b'e', ten), (b'p', two)] {
            if exponent != 0 {
                to.push(sign);
                to.extend_from_slice(exponent.to_string().as_bytes());
            }
        }
        to.push(b',');
    }

    pub fn is_zero(self) -> bool {
        self.mantissa == 0
    }

    pub fn is_negative(self) -> bool {
        self.mantissa < 0
    }

    /// Whether `self <= other`, exactly. Two numbers that are too far apart to be put over one scale are told by their
    /// magnitudes; should these not tell either, which no two weights of one beam come to, it is false.
    pub fn at_most(self, other: Self) -> bool {
        let (ten, two) = (self.ten.min(other.ten), self.two.min(other.two));
        let scaled = |n: Self| {
            let (tens, twos) = (n.ten.checked_sub(ten)?, n.two.checked_sub(two)?);
            let power = 10_i128
                .checked_pow(u32::try_from(tens).ok()?)?
                .checked_mul(1_i128.checked_shl(u32::try_from(twos).ok()?)?)?;
            i128::from(n.mantissa).checked_mul(power)
        };
        if self.is_zero() || other.is_zero() {
            return self.mantissa.signum() <= other.mantissa.signum();
        }
        match (self.mantissa > 0, other.mantissa > 0, scaled(self), scaled(other)) {
            (_, _, Some(a), Some(b)) => a <= b,
            (false, true, ..) => true,
            (true, true, ..) => self.log2().end <= other.log2().start,
            (false, false, ..) => other.log2().end <= self.log2().start,
            (true, false, ..) => false,
        }
    }

    /// Two powers of two that the magnitude lies between.
    fn log2(self) -> Range<i64> {
        let bits = i64::from(64 - self.mantissa.unsigned_abs().leading_zeros());
        // log2(10) lies between 3.3219 and 3.3220.
        let (ten, two) = (i64::from(self.ten), i64::from(self.two));
        let (near, far) = (ten * 33_219 / 10_000, ten * 33_220 / 10_000);
        let (least, most) = if ten >= 0 { (near, far + 1) } else { (far - 1, near) };
        bits - 1 + least + two..bits + most + two
    }

    /// A decimal string: `-12.5`, `+1`, `.5`, `1.`, `1e0`, with spaces around it.
    fn of_ds(text: &[u8], index: usize) -> Result<Self, ValueFault> {
        let text = trimmed(text);
        if text.is_empty() {
            return Err(ValueFault::Empty { index });
        }
        if text.len() > DS_CHARACTERS_MAX {
            return Err(ValueFault::TooLong { index, characters: text.len(), max: DS_CHARACTERS_MAX });
        }
        let bad = ValueFault::NotANumber { index };
        let (negative, mut rest) = match text {
            [b'-', rest @ ..] => (true, rest),
            [b'+', rest @ ..] => (false, rest),
            rest => (false, rest),
        };
        let (mut mantissa, mut ten, mut digits, mut point) = (0_i64, 0_i32, 0, false);
        while let [c, next @ ..] = rest {
            match c {
                b'0'..=b'9' => {
                    mantissa = mantissa * 10 + i64::from(c - b'0');
                    digits += 1;
                    ten -= i32::from(point);
                }
                b'.' if !point => point = true,
                b'e' | b'E' => break,
                _ => return Err(bad),
            }
            rest = next;
        }
        if digits == 0 {
            return Err(bad);
        }
        if let [_, exponent @ ..] = rest {
            // `i32::from_str` takes what a DS takes: an optional sign and digits. Sixteen characters can't overflow a
            // sum of two such numbers unless the exponent alone does.
            let exponent = std::str::from_utf8(exponent).ok().and_then(|e| e.parse::<i32>().ok()).ok_or(bad)?;
            ten = ten.saturating_add(exponent);
        }
        Ok(Self { mantissa: if negative { -mantissa } else { mantissa }, ten, two: 0 }.reduced())
    }

    fn of_f64(value: f64, index: usize) -> Result<Self, ValueFault> {
        if !value.is_finite() {
            return Err(ValueFault::NotFinite { index });
        }
        let bits = value.to_bits();
        let exponent = i32::try_from(bits >> 52 & 0x7FF).unwrap_or(0);
        let fraction = i64::try_from(bits & ((1 << 52) - 1)).unwrap_or(0);
        let magnitude = if exponent == 0 { fraction } else { fraction | 1 << 52 };
        let mantissa = if bits >> 63 == 1 { -magnitude } else { magnitude };
        Ok(Self { mantissa, ten: 0, two: exponent.max(1) - 1075 }.reduced())
    }

    /// The same number with the smallest mantissa, so that products below stay small.
    fn reduced(mut self) -> Self {
        if self.mantissa == 0 {
            return Self::ZERO;
        }
        if self.two != 0 {
            let zeros = self.mantissa.trailing_zeros();
            self.mantissa >>= zeros;
            self.two += i32::try_from(zeros).unwrap_or(0);
        } else {
            while self.ten < 0 && self.mantissa % 10 == 0 {
                self.mantissa /= 10;
                self.ten += 1;
            }
        }
        self
    }

    /// The number in units of `10^-places`, rounded half away from zero; none where it doesn't fit.
    pub fn fixed(self, places: u32) -> Option<i64> {
        let shift = self.ten.checked_add(i32::try_from(places).ok()?)?;
        // Leaf positions, nearly all of the numbers there are, need no wide arithmetic.
        if self.two == 0
            && let Some(short) = POWERS.get(usize::try_from(shift).unwrap_or(usize::MAX))
            && let Some(product) = self.mantissa.checked_mul(*short)
        {
            return Some(product);
        }
        let (mut over, mut under) = (i128::from(self.mantissa), 1_i128);
        if over == 0 {
            return Some(0);
        }
        // Beyond these a 63-bit mantissa has either left i64 or vanished below half a unit.
        if shift > 18 || self.two > 62 {
            return None;
        }
        if shift < -20 || self.two < -110 {
            return Some(0);
        }
        if shift >= 0 {
            over = over.checked_mul(10_i128.pow(shift.unsigned_abs()))?;
        } else {
            under = 10_i128.pow(shift.unsigned_abs());
        }
        if self.two >= 0 {
            over = over.checked_mul(1 << self.two)?;
        } else {
            under = under.checked_mul(1 << self.two.unsigned_abs())?;
        }
        divide(over, under)
    }

    /// `self / whole` in units of `10^-places`, rounded half away from zero; none where it doesn't fit.
    pub fn share(self, whole: Self, places: u32) -> Option<i64> {
        let (mut over, mut under) = (i128::from(self.mantissa), i128::from(whole.mantissa));
        if under == 0 {
            return None;
        }
        // Below a quarter of a unit: the spots that a planning system left at 1e-42.
        let unit = i64::from(places) * 33_220 / 10_000 + 1;
        if over == 0 || self.log2().end - whole.log2().start + unit < -2 {
            return Some(0);
        }
        let ten = self.ten.checked_sub(whole.ten)?.checked_add(i32::try_from(places).ok()?)?;
        let two = self.two.checked_sub(whole.two)?;
        if ten.unsigned_abs() > 38 || two.unsigned_abs() > 126 {
            return None;
        }
        let (grown, power) = (if ten >= 0 { &mut over } else { &mut under }, 10_i128.pow(ten.unsigned_abs()));
        *grown = grown.checked_mul(power)?;
        let (grown, power) = (if two >= 0 { &mut over } else { &mut under }, 1_i128 << two.unsigned_abs());
        *grown = grown.checked_mul(power)?;
        divide(over, under)
    }
}

const POWERS: [i64; 4] = [1, 10, 100, 1_000];

/// Half away from zero.
fn divide(over: i128, under: i128) -> Option<i64> {
    let (magnitude, divisor) = (over.unsigned_abs(), under.unsigned_abs());
    // 128-bit division is a library call; most numbers here are short.
    let rounded = match (u64::try_from(magnitude), u64::try_from(divisor)) {
        (Ok(m), Ok(d)) => u128::from(m / d) + u128::from(m % d >= d.div_ceil(2)),
        _ => magnitude / divisor + u128::from(magnitude % divisor >= divisor.div_ceil(2)),
    };
    let rounded = i64::try_from(rounded).ok()?;
    Some(if (over < 0) == (under < 0) { rounded } else { -rounded })
}

/// Without the padding of a text value: spaces, nothing else.
pub fn trimmed(mut bytes: &[u8]) -> &[u8] {
    while let [b' ', rest @ ..] | [rest @ .., b' '] = bytes {
        bytes = rest;
    }
    bytes
}

/// The values of a backslash-separated text; none for an empty one.
fn parts(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    let blank = trimmed(bytes).is_empty();
    bytes.split(|b| *b == b'\\').filter(move |_| !blank)
}

/// How many values a numeric element has. Nothing is decoded for it: a value of two bytes on the wire takes eight
/// times as many in memory.
pub fn count(element: Element<'_>) -> Result<usize, ValueFault> {
    let bytes = element.bytes();
    let sized = |size| match bytes.len() % size {
        0 => Ok(bytes.len() / size),
        _ => Err(ValueFault::Size { bytes: bytes.len(), size }),
    };
    match element.vr() {
        VR::DS | VR::IS if trimmed(bytes).is_empty() => Ok(0),
        VR::DS | VR::IS => Ok(1 + bytes.iter().filter(|b| **b == b'\\').count()),
        VR::US | VR::SS => sized(2),
        VR::FL | VR::UL => sized(4),
        VR::FD => sized(8),
        other => Err(ValueFault::Vr { found: other.to_string(), expected: "IS" }),
    }
}

/// The values of an element, one by one, each of which may be faulty.
pub type Values<'t, T> = Box<dyn Iterator<Item = Result<T, ValueFault>> + 't>;

/// The values of a numeric element, exactly.
pub fn numbers(element: Element<'_>) -> Result<Values<'_, Number>, ValueFault> {
    let bytes = element.bytes();
    Ok(match element.vr() {
        VR::DS => Box::new(parts(bytes).enumerate().map(|(i, text)| Number::of_ds(text, i + 1))),
        VR::FL => {
            Box::new(chunks(bytes)?.enumerate().map(|(i, b)| Number::of_f64(f64::from(f32::from_le_bytes(b)), i + 1)))
        }
        VR::FD => Box::new(chunks(bytes)?.enumerate().map(|(i, b)| Number::of_f64(f64::from_le_bytes(b), i + 1))),
        _ => Box::new(integers(element)?.map(|n| n.map(|n| Number { mantissa: n, ten: 0, two: 0 }))),
    })
}

/// The values of an integer element.
pub fn integers(element: Element<'_>) -> Result<Values<'_, i64>, ValueFault> {
    let bytes = element.bytes();
    Ok(match element.vr() {
        VR::IS => Box::new(parts(bytes).enumerate().map(|(i, text)| integer(text, i + 1))),
        VR::US => Box::new(chunks(bytes)?.map(|b| Ok(i64::from(u16::from_le_bytes(b))))),
        VR::SS => Box::new(chunks(bytes)?.map(|b| Ok(i64::from(i16::from_le_bytes(b))))),
        VR::UL => Box::new(chunks(bytes)?.map(|b| Ok(i64::from(u32::from_le_bytes(b))))),
        other => return Err(ValueFault::Vr { found: other.to_string(), expected: "IS" }),
    })
}

fn integer(text: &[u8], index: usize) -> Result<i64, ValueFault> {
    let text = trimmed(text);
    if text.is_empty() {
        return Err(ValueFault::Empty { index });
    }
    if text.len() > IS_CHARACTERS_MAX {
        return Err(ValueFault::TooLong { index, characters: text.len(), max: IS_CHARACTERS_MAX });
    }
    let text = std::str::from_utf8(text).map_err(|_| ValueFault::NotANumber { index })?;
    // Twelve characters are no more than an i64 holds; an IS holds what an i32 holds (PS3.5 table 6.2-1).
    let number = text.parse::<i64>().map_err(|_| ValueFault::NotANumber { index })?;
    let (min, max) = (i64::from(i32::MIN), i64::from(i32::MAX));
    let fits = (min..=max).contains(&number);
    if fits { Ok(number) } else { Err(ValueFault::OutOfRange { index, min, max, unit: "" }) }
}

fn chunks<const N: usize>(bytes: &[u8]) -> Result<impl Iterator<Item = [u8; N]> + '_, ValueFault> {
    let (whole, rest) = bytes.as_chunks::<N>();
    if rest.is_empty() { Ok(whole.iter().copied()) } else { Err(ValueFault::Size { bytes: bytes.len(), size: N }) }
}

/// How an object's texts are written: its Specific Character Set (0008,0005).
#[derive(Clone, Debug)]
pub enum Characters {
    Ascii,
    Known(SpecificCharacterSet),
    /// Latin-1 but for these.
    Latin(&'static [(u8, char)]),
}

/// ISO 8859-9, Turkish (ISO_IR 148).
const LATIN_5: [(u8, char); 6] = [(0xD0, 'Ğ'), (0xDD, 'İ'), (0xDE, 'Ş'), (0xF0, 'ğ'), (0xFD, 'ı'), (0xFE, 'ş')];

/// ISO 8859-15, with the euro sign (ISO_IR 203).
const LATIN_9: [(u8, char); 8] =
    [(0xA4, '€'), (0xA6, 'Š'), (0xA8, 'š'), (0xB4, 'Ž'), (0xB8, 'ž'), (0xBC, 'Œ'), (0xBD, 'œ'), (0xBE, 'Ÿ')];

impl Characters {
    pub fn of(root: Set<'_>) -> Result<Self, ValueFault> {
        let Some(element) = root.get(Tag(0x0008, 0x0005)) else { return Ok(Self::Ascii) };
        let text = trimmed(element.bytes());
        let named = |code: &[u8]| {
            let code = std::str::from_utf8(code).map_err(|_| ValueFault::Characters)?.trim();
            if matches!(code, "" | "ISO_IR 6" | "ISO 2022 IR 6") {
                return Ok(Self::Ascii);
            }
            match code {
                "ISO_IR 148" | "ISO 2022 IR 148" => return Ok(Self::Latin(&LATIN_5)),
                "ISO_IR 203" | "ISO 2022 IR 203" => return Ok(Self::Latin(&LATIN_9)),
                _ => {}
            }
            let known = SpecificCharacterSet::from_code(code).map(Self::Known);
            known
                .ok_or_else(|| ValueFault::CharacterSet(code.chars().filter(char::is_ascii_graphic).take(20).collect()))
        };
        // With several sets, texts switch between them by escape sequences, which `text` refuses; a text without one
        // is in the first.
        named(text.split(|b| *b == b'\\').next().unwrap_or_default())
    }

    /// One text, without the padding that PS3.5 calls insignificant.
    pub fn text(&self, bytes: &[u8]) -> Result<String, ValueFault> {
        let decoded = match self {
            Self::Known(set) if *set != SpecificCharacterSet::ISO_IR_192 && !bytes.is_ascii() => {
                set.decode(bytes).map_err(|_| ValueFault::Characters)?
            }
            Self::Latin(others) => {
                let decode = |b: &u8| others.iter().find(|(byte, _)| byte == b).map_or(char::from(*b), |(_, c)| *c);
                bytes.iter().map(decode).collect()
            }
            Self::Ascii if !bytes.is_ascii() => return Err(ValueFault::Characters),
            // The decoder of the library replaces what is no UTF-8; a name must not be guessed.
            _ => std::str::from_utf8(bytes).map_err(|_| ValueFault::Characters)?.to_owned(),
        };
        let text = decoded.trim_matches([' ', '\0']);
        if text.chars().any(|c| c.is_control()) {
            return Err(ValueFault::Characters);
        }
        Ok(text.to_owned())
    }
}

/// A code string: upper-case letters, digits, space and underscore, 16 at most.
pub fn code(bytes: &[u8]) -> Result<String, ValueFault> {
    let bytes = trimmed(bytes);
    if bytes.len() > 16 {
        return Err(ValueFault::TooLong { index: 1, characters: bytes.len(), max: 16 });
    }
    if !bytes.iter().all(|b| matches!(b, b'A'..=b'Z' | b'0'..=b'9' | b' ' | b'_')) {
        return Err(ValueFault::Characters);
    }
    Ok(String::from_utf8_lossy(bytes).into_owned())
}

/// A unique identifier: digits and dots, 64 at most, padded by one NUL.
pub fn uid(bytes: &[u8]) -> Result<String, ValueFault> {
    let text = trimmed(bytes.strip_suffix(b"\0").unwrap_or(bytes));
    if text.len() > 64 {
        return Err(ValueFault::TooLong { index: 1, characters: text.len(), max: 64 });
    }
    if !text.split(|b| *b == b'.').all(|part| !part.is_empty() && part.iter().all(u8::is_ascii_digit)) {
        return Err(ValueFault::Characters);
    }
    Ok(String::from_utf8_lossy(text).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ds(text: &str, places: u32) -> Option<i64> {
        Number::of_ds(text.as_bytes(), 1).unwrap().fixed(places)
    }

    #[test]
    fn decimal_strings_are_exact_and_round_half_away_from_zero() {
        for same in ["1", "1.0", "1.00", "+1", "1e0", "10E-1", " 1 ", "0.1e1", "01", "1.", ".01e2", "1.00000000000000"]
        {
            assert_eq!(ds(same, 2), Some(100), "{same}");
        }
        assert_eq!(ds("0.005", 2), Some(1));
        assert_eq!(ds("-0.005", 2), Some(-1));
        assert_eq!(ds("0.00499999999999", 2), Some(0));
        assert_eq!(ds("2.675", 2), Some(268)); // a binary float gives 267
        assert_eq!(ds("-0", 2), Some(0));
        assert_eq!(ds("1e-99", 2), Some(0));
        assert_eq!(ds("0e99", 2), Some(0));
        assert_eq!(ds("1e99", 2), None);
        assert_eq!(ds("9e-2147483647", 2), Some(0));
        assert_eq!(ds("-741.87000000000", 2), Some(-74187));
        for bad in ["x", "1,5", "1e", "e1", ".", "+", "1.2.3", "NaN", "inf", "0x1", "1 2", "--1", "1e1.5"] {
            assert_eq!(Number::of_ds(bad.as_bytes(), 1), Err(ValueFault::NotANumber { index: 1 }), "{bad}");
        }
        assert!(matches!(Number::of_ds(b"1.0000000000000000", 3), Err(ValueFault::TooLong { index: 3, .. })));
        assert!(matches!(Number::of_ds(b"  ", 1), Err(ValueFault::Empty { .. })));
    }

    #[test]
    fn binary_floats_are_taken_for_exactly_what_they_hold() {
        let fl = |x: f32, places| Number::of_f64(f64::from(x), 1).unwrap().fixed(places);
        assert_eq!(fl(52.4, 2), Some(5240));
        assert_eq!(fl(-0.125, 2), Some(-13));
        assert_eq!(fl(0.0, 2), Some(0));
        assert_eq!(fl(f32::MIN_POSITIVE, 2), Some(0));
        assert_eq!(fl(f32::MAX, 2), None);
        assert_eq!(Number::of_f64(f64::NAN, 2), Err(ValueFault::NotFinite { index: 2 }));
        assert_eq!(Number::of_f64(5e-324, 1).unwrap().fixed(2), Some(0));
    }

    #[test]
    fn numbers_are_compared_over_any_distance() {
        let of = |text: &str| Number::of_ds(text.as_bytes(), 1).unwrap();
        let rising =
            ["-1e300", "-1", "-1e-50", "0", "1e-300", "1e-50", "1.00000000000e-9", "1e-9", "1", "1e50", "9e300"];
        for (i, a) in rising.iter().enumerate() {
            for (j, b) in rising.iter().enumerate() {
                assert_eq!(of(a).at_most(of(b)), i <= j || of(a) == of(b), "{a} {b}");
            }
        }
    }

    #[test]
    fn shares_are_exact() {
        let of = |text: &str| Number::of_ds(text.as_bytes(), 1).unwrap();
        assert_eq!(of("1").share(of("3"), 7), Some(3_333_333));
        assert_eq!(of("2").share(of("3"), 7), Some(6_666_667));
        assert_eq!(of("0.5").share(of("100"), 7), of("0.005").share(of("1"), 7));
        assert_eq!(of("1").share(of("0"), 7), None);
        assert_eq!(Number::of_f64(1e-42, 1).unwrap().share(of("1"), 7), Some(0));
        assert_eq!(of("1e-300").share(of("123456.7"), 7), Some(0));
        assert_eq!(of("-1e-300").share(of("123456.7"), 7), Some(0));
        assert_eq!(of("1e300").share(of("1"), 7), None);
        assert_eq!(of("5e-8").share(of("1"), 7), Some(1));
        assert_eq!(of("4.9999999999e-8").share(of("1"), 7), Some(0));
        assert_eq!(of("1e-300").share(of("2e-300"), 7), Some(5_000_000));
        let half = Number::of_f64(0.5, 1).unwrap();
        assert_eq!(half.share(of("2.0"), 7), Some(2_500_000));
    }
}

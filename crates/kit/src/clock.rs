//! Time as an argument, so that a test can own it.

use std::fmt;
use std::str::FromStr;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use minicbor::{Decode, Encode};
use serde::{Deserialize, Serialize};

/// Milliseconds since 1970-01-01T00:00:00Z, leap seconds not counted (POSIX time × 1000).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Encode, Decode, Serialize, Deserialize)]
#[cbor(transparent)]
#[serde(transparent)]
pub struct Timestamp(#[n(0)] pub i64);

impl Timestamp {
    /// `self` plus `milliseconds`, saturating.
    pub fn plus_ms(self, milliseconds: i64) -> Self {
        Self(self.0.saturating_add(milliseconds))
    }

    /// Year, month 1–12, day 1–31, of the UTC calendar day.
    ///
    /// Days to civil date after Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms".
    pub fn civil_date(self) -> (i64, u32, u32) {
        let z = self.0.div_euclid(86_400_000) + 719_468;
        let era = z.div_euclid(146_097);
        let day_of_era = z.rem_euclid(146_097);
        let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let mp = (5 * day_of_year + 2) / 153;
        let day = u32::try_from(day_of_year - (153 * mp + 2) / 5 + 1).unwrap_or(1);
        let month = u32::try_from(if mp < 10 { mp + 3 } else { mp - 9 }).unwrap_or(1);
        (year_of_era + era * 400 + i64::from(month <= 2), month, day)
    }

    /// Hour, minute, second, millisecond of the UTC day.
    pub fn time_of_day(self) -> (u32, u32, u32, u32) {
        let ms = u32::try_from(self.0.rem_euclid(86_400_000)).unwrap_or(0);
        (ms / 3_600_000, ms / 60_000 % 60, ms / 1_000 % 60, ms % 1_000)
    }
}

/// How far a place's clocks are ahead of UTC: `+05:30`, `-03:00`, `+00:00` (RFC 3339, time-numoffset). A centre stands in
/// one place; where its clocks change in summer, somebody sets it twice a year.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct UtcOffset {
    minutes: i16,
}

impl UtcOffset {
    /// By which a clock there is ahead of UTC.
    pub fn minutes(self) -> i32 {
        self.minutes.into()
    }

    /// What a clock there shows at `at`, as if it were UTC.
    pub fn local(self, at: Timestamp) -> Timestamp {
        at.plus_ms(i64::from(self.minutes) * 60_000)
    }
}

/// An offset from UTC that is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an offset from UTC is +HH:MM or -HH:MM, at most 14 hours")]
pub struct BadUtcOffset;

impl FromStr for UtcOffset {
    type Err = BadUtcOffset;

    fn from_str(text: &str) -> Result<Self, BadUtcOffset> {
        let (sign, rest) = match text.split_at_checked(1) {
            Some(("+", rest)) => (1, rest),
            Some(("-", rest)) => (-1, rest),
            _ => return Err(BadUtcOffset),
        };
        let number = |digits: &str| {
            let is_number = digits.len() == 2 && digits.bytes().all(|digit| digit.is_ascii_digit());
            digits.parse::<i16>().ok().filter(|_| is_number).ok_or(BadUtcOffset)
        };
        let (hours, minutes) = rest.split_once(':').ok_or(BadUtcOffset)?;
        let (hours, minutes) = (number(hours)?, number(minutes)?);
        let ahead = 60 * hours + minutes;
        if minutes < 60 && ahead <= 14 * 60 { Ok(Self { minutes: sign * ahead }) } else { Err(BadUtcOffset) }
    }
}

impl fmt::Display for UtcOffset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (sign, minutes) = (if self.minutes < 0 { '-' } else { '+' }, self.minutes.unsigned_abs());
        write!(f, "{sign}{:02}:{:02}", minutes / 60, minutes % 60)
    }
}

/// RFC 3339 in UTC with milliseconds: a valid FHIR `instant`.
impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (year, month, day) = self.civil_date();
        let (hour, minute, second, ms) = self.time_of_day();
        write!(f, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{ms:03}Z")
    }
}

/// Where the time comes from.
pub trait Clock: Send + Sync {
    fn now(&self) -> Timestamp;
}

/// The machine's clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[allow(clippy::disallowed_methods)] // the one place that asks the machine
    fn now(&self) -> Timestamp {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_millis());
        Timestamp(i64::try_from(since).unwrap_or(i64::MAX))
    }
}

/// The machine's clock as it was at the start, and from then on what has truly gone by: somebody who sets the machine's
/// clock doesn't move it. For windows in which something is counted.
#[derive(Clone, Copy, Debug)]
pub struct SteadyClock {
    start: Timestamp,
    since: Instant,
}

impl SteadyClock {
    /// `not_before`: a time that is known to be over; where the machine's clock says less, it was set back meanwhile.
    pub fn start(not_before: Timestamp) -> Self {
        Self::at(SystemClock.now().max(not_before))
    }

    /// As if it were `start` now.
    pub fn at(start: Timestamp) -> Self {
        Self { start, since: Instant::now() }
    }
}

impl Clock for SteadyClock {
    fn now(&self) -> Timestamp {
        self.start.plus_ms(i64::try_from(self.since.elapsed().as_millis()).unwrap_or(i64::MAX))
    }
}

/// A clock that a test sets.
#[derive(Debug, Default)]
pub struct ManualClock(AtomicI64);

impl ManualClock {
    pub fn new(now: Timestamp) -> Self {
        Self(AtomicI64::new(now.0))
    }

    pub fn advance_ms(&self, milliseconds: i64) {
        self.0.fetch_add(milliseconds, Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        Timestamp(self.0.load(Ordering::SeqCst))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prints_known_instants() {
        assert_eq!(Timestamp(0).to_string(), "1970-01-01T00:00:00.000Z");
        assert_eq!(Timestamp(951_782_400_000).to_string(), "2000-02-29T00:00:00.000Z");
        assert_eq!(Timestamp(1_713_916_799_999).to_string(), "2024-04-23T23:59:59.999Z");
        assert_eq!(Timestamp(-1).to_string(), "1969-12-31T23:59:59.999Z");
    }

    #[test]
    fn local_time_is_what_the_wall_clock_shows() {
        let at = Timestamp(1_713_897_000_000); // 2024-04-23T18:30:00Z
        assert_eq!("+05:30".parse::<UtcOffset>().unwrap().local(at).to_string(), "2024-04-24T00:00:00.000Z");
        assert_eq!("-03:00".parse::<UtcOffset>().unwrap().local(at).to_string(), "2024-04-23T15:30:00.000Z");
        for text in ["+00:00", "+05:30", "-09:30", "+14:00"] {
            assert_eq!(text.parse::<UtcOffset>().unwrap().to_string(), text);
        }
        for bad in ["", "Z", "5:30", "+5:30", "+05:60", "+14:01", "+0530", "++5:30", "+05:3é"] {
            assert_eq!(bad.parse::<UtcOffset>(), Err(BadUtcOffset), "{bad}");
        }
    }
}

//! FHIR dates and times as spans of milliseconds: `2026-02` is the whole month.

use kit::Timestamp;

/// From `start` up to, but without, `end`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    pub start: Timestamp,
    pub end: Timestamp,
}

const DAY_MS: i64 = 86_400_000;

/// Days since 1970-01-01 of a date of the Gregorian calendar, after Howard Hinnant, "chrono-Compatible Low-Level Date
/// Algorithms".
fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

fn number(text: &str, digits: usize, least: i64, most: i64) -> Option<i64> {
    let good = text.len() == digits && text.bytes().all(|b| b.is_ascii_digit());
    text.parse().ok().filter(|n| good && (least..=most).contains(n))
}

/// A FHIR `date`, `dateTime` or `instant`; `None` where it is none, or names a day that no calendar has. A time of day
/// needs its zone. HL7 FHIR R4, datatypes.html#dateTime.
pub fn parse_date_time(text: &str) -> Option<Span> {
    let (date, time) = match text.split_once('T') {
        Some((date, time)) => (date, Some(time)),
        None => (text, None),
    };
    let mut parts = date.splitn(3, '-');
    let year = number(parts.next()?, 4, 1, 9999)?;
    let month = parts.next().map(|m| number(m, 2, 1, 12).ok_or(())).transpose().ok()?;
    let day = parts.next().map(|d| number(d, 2, 1, 31).ok_or(())).transpose().ok()?;
    let next_month = |month: i64| if month == 12 { days(year + 1, 1, 1) } else { days(year, month + 1, 1) };
    let (first, after) = match (month, day) {
        (None, _) => (days(year, 1, 1), days(year + 1, 1, 1)),
        (Some(month), None) => (days(year, month, 1), next_month(month)),
        (Some(month), Some(day)) => {
            let first = days(year, month, day);
            if first >= next_month(month) {
                return None;
            }
            (first, first + 1)
        }
    };
    let Some(time) = time else {
        return Some(Span { start: Timestamp(first * DAY_MS), end: Timestamp(after * DAY_MS) });
    };
    day?;
    let zone_at = time.find(['Z', '+', '-'])?;
    let (clock, zone) = time.split_at_checked(zone_at)?;
    let offset_min = match zone.split_at_checked(1)? {
        ("Z", "") => 0,
        (sign, rest) if sign != "Z" => {
            let (hours, minutes) = rest.split_once(':')?;
            let minutes = number(hours, 2, 0, 14)? * 60 + number(minutes, 2, 0, 59)?;
            if sign == "-" { -minutes } else { minutes }
        }
        _ => return None,
    };
    let (clock, fraction) = match clock.split_once('.') {
        Some((clock, fraction)) => (clock, Some(fraction)),
        None => (clock, None),
    };
    let mut parts = clock.splitn(3, ':');
    let hour = number(parts.next()?, 2, 0, 23)?;
    let minute = number(parts.next()?, 2, 0, 59)?;
    // 60 is a leap second, which POSIX time doesn't count.
    let second = number(parts.next()?, 2, 0, 60)?;
    let start = first * DAY_MS + ((hour * 60 + minute - offset_min) * 60 + second) * 1_000;
    let Some(fraction) = fraction else {
        return Some(Span { start: Timestamp(start), end: Timestamp(start + 1_000) });
    };
    if fraction.is_empty() || !fraction.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let digits = fraction.get(..fraction.len().min(3))?;
    let unit = [1_000, 100, 10, 1].get(digits.len()).copied()?;
    let ms = start + digits.parse::<i64>().ok()? * unit;
    Some(Span { start: Timestamp(ms), end: Timestamp(ms + unit) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_as_wide_as_what_is_given() {
        let span = |text: &str| parse_date_time(text).map(|s| (s.start.to_string(), s.end.0 - s.start.0));
        assert_eq!(span("2024"), Some(("2024-01-01T00:00:00.000Z".into(), 366 * DAY_MS)));
        assert_eq!(span("2024-02"), Some(("2024-02-01T00:00:00.000Z".into(), 29 * DAY_MS)));
        assert_eq!(span("2024-12-31"), Some(("2024-12-31T00:00:00.000Z".into(), DAY_MS)));
        assert_eq!(span("2026-05-04T01:02:03+05:30"), Some(("2026-05-03T19:32:03.000Z".into(), 1_000)));
        assert_eq!(span("2026-05-04T01:02:03.45Z"), Some(("2026-05-04T01:02:03.450Z".into(), 10)));
        assert_eq!(span("2026-05-04T01:02:03.4567891Z"), Some(("2026-05-04T01:02:03.456Z".into(), 1)));
    }

    #[test]
    fn days_that_no_calendar_has_are_refused() {
        for wrong in [
            "",
            "0000",
            "24",
            "2023-02-29",
            "1900-02-29",
            "2024-04-31",
            "2024-13",
            "2024-00",
            "2024-1-1",
            "soon",
            "2024-01-01T",
            "2024-01-01T10:00Z",
            "2024-01-01T10:00:00",
            "2024-01T10:00:00Z",
            "2024-01-01T24:00:00Z",
            "2024-01-01T10:00:00.Z",
            "2024-01-01T10:00:00+15:00",
            "2024-01-01T10:00:00Zx",
            "２０２４",
        ] {
            assert_eq!(parse_date_time(wrong), None, "{wrong}");
        }
        assert!(parse_date_time("2000-02-29").is_some());
    }
}

//! The one form of time that S3 writes in XML: `2026-12-25T03:46:47Z`, with or without a fraction.

use kit::Timestamp;

/// `None` for anything else.
pub(crate) fn parse(text: &str) -> Option<Timestamp> {
    let rest = text.strip_suffix('Z')?;
    let (date, time) = rest.split_once('T')?;
    let (time, fraction) = time.split_once('.').unwrap_or((time, "0"));
    let [year, month, day] = numbers(date, '-', [4, 2, 2])?;
    let [hour, minute, second] = numbers(time, ':', [2, 2, 2])?;
    let is_number = !fraction.is_empty() && fraction.len() <= 9 && fraction.bytes().all(|c| c.is_ascii_digit());
    let in_bounds = (1..=12).contains(&month) && hour < 24 && minute < 60 && second < 60;
    if !is_number || !in_bounds {
        return None;
    }
    let milliseconds: i64 = format!("{fraction:0<3}").get(..3)?.parse().ok()?;
    let midnight = Timestamp(days(year, month, day) * 86_400_000);
    // A day that the month doesn't have would come back as another one.
    let (_, _, really) = midnight.civil_date();
    (i64::from(really) == day).then(|| midnight.plus_ms(((hour * 60 + minute) * 60 + second) * 1_000 + milliseconds))
}

fn numbers(text: &str, separator: char, lengths: [usize; 3]) -> Option<[i64; 3]> {
    let mut parts = text.split(separator);
    let mut out = [0; 3];
    for (number, len) in out.iter_mut().zip(lengths) {
        let part = parts.next()?;
        if part.len() != len || !part.bytes().all(|c| c.is_ascii_digit()) {
            return None;
        }
        *number = part.parse().ok()?;
    }
    parts.next().is_none().then_some(out)
}

/// Days from 1970-01-01; the other way round as [`Timestamp::civil_date`], after the same source.
fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * (month + if month > 2 { -3 } else { 9 }) + 2) / 5 + day - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn reads_what_s3_writes_and_nothing_else() {
        assert_eq!(parse("1970-01-01T00:00:00Z"), Some(Timestamp(0)));
        assert_eq!(parse("2000-02-29T00:00:00.000Z"), Some(Timestamp(951_782_400_000)));
        assert_eq!(parse("2024-04-23T23:59:59.999Z"), Some(Timestamp(1_713_916_799_999)));
        assert_eq!(parse("2024-04-23T23:59:59.5Z"), Some(Timestamp(1_713_916_799_500)));
        for wrong in [
            "",
            "Z",
            "2024-04-23",
            "2024-04-23T23:59:59",
            "2024-13-01T00:00:00Z",
            "2023-02-29T00:00:00Z",
            "2024-04-31T00:00:00Z",
            "2024-04-00T00:00:00Z",
            "2024-04-23T24:00:00Z",
            "2024-04-23T00:00:00.Z",
            "2024-04-23T00:00:00+01:00Z",
            "+024-04-23T00:00:00Z",
            "2024-4-23T00:00:00Z",
            "٢٠٢٤-04-23T00:00:00Z",
        ] {
            assert_eq!(parse(wrong), None, "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn what_is_printed_is_read(ms in -60_000_000_000_000_i64..250_000_000_000_000) {
            prop_assert_eq!(parse(&Timestamp(ms).to_string()), Some(Timestamp(ms)));
        }

        #[test]
        fn no_text_panics(text in ".{0,40}") {
            let _ = parse(&text);
        }
    }
}

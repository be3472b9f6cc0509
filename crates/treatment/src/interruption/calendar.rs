//! Days on which a machine treats.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use kit::Timestamp;
use serde::{Deserialize, Serialize};

/// A day of the Gregorian calendar, counted from 1970-01-01.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Day(i32);

/// A text that is no day.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a day is YYYY-MM-DD, from 1900-01-01 to 2199-12-31, and in the calendar")]
pub struct BadDay;

impl Day {
    /// From 0, Monday.
    pub fn weekday(self) -> u8 {
        // 1970-01-01 was a Thursday.
        u8::try_from((self.0 + 3).rem_euclid(7)).unwrap_or(0)
    }

    #[must_use]
    pub fn plus(self, days: i32) -> Self {
        Self(self.0.saturating_add(days))
    }

    /// `YYYYMMDD`, as DICOM writes it.
    pub fn of_dicom(text: &str) -> Option<Self> {
        let (year, month, day) = (text.get(..4)?, text.get(4..6)?, text.get(6..)?);
        format!("{year}-{month}-{day}").parse().ok()
    }

    /// Days from `earlier` to this one.
    pub fn since(self, earlier: Self) -> i32 {
        self.0 - earlier.0
    }
}

impl FromStr for Day {
    type Err = BadDay;

    fn from_str(text: &str) -> Result<Self, BadDay> {
        let (year, month, day) = match text.as_bytes() {
            [_, _, _, _, b'-', _, _, b'-', _, _] if text.is_ascii() => (text.get(..4), text.get(5..7), text.get(8..)),
            _ => return Err(BadDay),
        };
        let number = |part: Option<&str>| {
            part.filter(|digits| digits.bytes().all(|b| b.is_ascii_digit()))
                .and_then(|digits| digits.parse::<i32>().ok())
        };
        let (year, month, day) = (number(year), number(month), number(day));
        let (Some(year @ 1900..=2199), Some(month @ 1..=12), Some(day @ 1..=31)) = (year, month, day) else {
            return Err(BadDay);
        };
        // Days from civil date after Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms".
        let from_march = year - i32::from(month <= 2);
        let (era, shifted) = (from_march.div_euclid(400), (month + 9) % 12);
        let year_of_era = from_march.rem_euclid(400);
        let day_of_year = (153 * shifted + 2) / 5 + day - 1;
        let found =
            Self(era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468);
        // The thirtieth of February would be the first or second of March.
        if found.to_string() == text { Ok(found) } else { Err(BadDay) }
    }
}

impl fmt::Display for Day {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (year, month, day) = Timestamp(i64::from(self.0) * 86_400_000).civil_date();
        write!(f, "{year:04}-{month:02}-{day:02}")
    }
}

impl From<Day> for String {
    fn from(day: Day) -> Self {
        day.to_string()
    }
}

impl TryFrom<String> for Day {
    type Error = BadDay;

    fn try_from(text: String) -> Result<Self, BadDay> {
        text.parse()
    }
}

/// Days of the week, Monday first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Week([bool; 7]);

/// As a file has them.
const WEEKDAYS: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];

impl Default for Week {
    /// Monday to Friday.
    fn default() -> Self {
        Self([true, true, true, true, true, false, false])
    }
}

impl Week {
    /// Of their names, each once, one at least.
    pub fn of<'a>(names: impl Iterator<Item = &'a str>) -> Result<Self, String> {
        let mut week = [false; 7];
        for name in names {
            let known = WEEKDAYS.iter().position(|known| *known == name).and_then(|at| week.get_mut(at));
            match known {
                Some(day) if !*day => *day = true,
                Some(_) => return Err(format!("{name:?} stands twice")),
                None => return Err(format!("{name:?} is none of {}", WEEKDAYS.join(", "))),
            }
        }
        if week.contains(&true) { Ok(Self(week)) } else { Err("no day of treatment in a week".to_owned()) }
    }

    fn has(self, day: Day) -> bool {
        self.0.get(usize::from(day.weekday())).copied().unwrap_or(false)
    }
}

/// When a machine treats: on its days of the week, but for holidays.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Calendar {
    pub week: Week,
    /// Also on the others, and on holidays.
    pub every_day: bool,
    pub holidays: BTreeSet<Day>,
    /// The machine stood still: first and last day.
    pub outages: Vec<(Day, Day)>,
}

impl Calendar {
    pub fn treats(&self, day: Day) -> bool {
        let stood = self.outages.iter().any(|(first, last)| (*first..=*last).contains(&day));
        !stood && (self.every_day || (self.week.has(day) && !self.holidays.contains(&day)))
    }

    /// Those of a course that is begun on `first`, be that one of them or not.
    pub fn course(&self, first: Day) -> impl Iterator<Item = Day> + '_ {
        std::iter::once(first).chain(self.from(first.plus(1)))
    }

    /// Days of treatment from `first` on, in order, within two years: no course is longer.
    pub fn from(&self, first: Day) -> impl Iterator<Item = Day> + '_ {
        (0..2 * 366).map(move |days| first.plus(days)).filter(|day| self.treats(*day))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn day(text: &str) -> Day {
        text.parse().unwrap()
    }

    #[test]
    fn days_are_those_of_the_calendar() {
        assert_eq!(day("1970-01-01").since(day("1970-01-01")), 0);
        assert_eq!(day("2024-03-01").since(day("2024-02-28")), 2);
        assert_eq!(day("2100-03-01").since(day("2100-02-28")), 1);
        assert_eq!(day("2026-11-29").weekday(), 6, "a Sunday");
        for wrong in
            ["2026-02-30", "2026-13-01", "26-01-01", "2026-1-01", "2026-01-01 ", "+026-01-01", "2026-00-10", ""]
        {
            assert_eq!(wrong.parse::<Day>(), Err(BadDay), "{wrong}");
        }
        // All days that there are, in order, each one the day after the one before.
        let (mut before, last) = (day("1900-01-01"), day("2199-12-31"));
        while before < last {
            let next = before.plus(1);
            assert_eq!(next.to_string().parse(), Ok(next));
            assert_eq!((before.weekday() + 1) % 7, next.weekday());
            before = next;
        }
    }

    #[test]
    fn a_machine_rests_and_stands_still() {
        let mut calendar = Calendar { holidays: [day("2026-01-26")].into(), ..Calendar::default() };
        calendar.outages.push((day("2026-01-28"), day("2026-01-29")));
        let days: Vec<String> = calendar.from(day("2026-01-23")).take(4).map(|day| day.to_string()).collect();
        assert_eq!(days, ["2026-01-23", "2026-01-27", "2026-01-30", "2026-02-02"]);
        calendar.every_day = true;
        let days: Vec<String> = calendar.from(day("2026-01-24")).take(5).map(|day| day.to_string()).collect();
        assert_eq!(days, ["2026-01-24", "2026-01-25", "2026-01-26", "2026-01-27", "2026-01-30"]);
    }
}

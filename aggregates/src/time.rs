//! Moments as whole microseconds since 1970 UTC, given to the rules by whoever holds the clock.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

const MICROS_PER_SECOND: i64 = 1_000_000;
const SECONDS_PER_MINUTE: i64 = 60;
const SECONDS_PER_DAY: i64 = 86_400;

/// Microseconds since 1970-01-01T00:00:00Z.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(transparent)]
pub struct Timestamp(pub i64);

impl Timestamp {
    pub fn from_secs(seconds: i64) -> Self {
        Self(seconds * MICROS_PER_SECOND)
    }

    pub fn plus_secs(self, seconds: i64) -> Self {
        Self(self.0.saturating_add(seconds.saturating_mul(MICROS_PER_SECOND)))
    }

    pub fn minus_secs(self, seconds: i64) -> Self {
        self.plus_secs(-seconds)
    }

    /// Days since 1970-01-01 in UTC.
    pub fn utc_day(self) -> i64 {
        self.0.div_euclid(MICROS_PER_SECOND * SECONDS_PER_DAY)
    }

    /// Whole minutes since 1970 in UTC.
    pub fn utc_minute(self) -> i64 {
        self.0.div_euclid(MICROS_PER_SECOND * SECONDS_PER_MINUTE)
    }

    /// Whole ISO weeks (from Monday, UTC) since the one that 1970 began in.
    pub fn iso_week(self) -> i64 {
        // 1970-01-01 was a Thursday.
        (self.utc_day() + 3).div_euclid(7)
    }

    /// Whole calendar months since January 1970, in UTC.
    pub fn utc_month(self) -> i64 {
        let (year, month) = year_and_month(self.utc_day());
        (year - 1970) * 12 + month - 1
    }

    /// When the UTC minute after this moment's begins.
    pub fn next_minute(self) -> Self {
        Self::from_secs((self.utc_minute() + 1) * SECONDS_PER_MINUTE)
    }

    /// When the UTC day after this moment's begins.
    pub fn next_day(self) -> Self {
        Self::from_secs((self.utc_day() + 1) * SECONDS_PER_DAY)
    }

    /// When the UTC month after this moment's begins.
    pub fn next_month(self) -> Self {
        let (year, month) = year_and_month(self.utc_day());
        let (year, month) = if month == 12 { (year + 1, 1) } else { (year, month + 1) };
        Self::from_secs(first_day_of(year, month) * SECONDS_PER_DAY)
    }

    /// Seconds from `now` until this moment, rounded up; 0 once it has come.
    pub fn secs_after(self, now: Self) -> u32 {
        let micros = self.0.saturating_sub(now.0).max(0);
        let seconds = micros / MICROS_PER_SECOND + i64::from(micros % MICROS_PER_SECOND != 0);
        u32::try_from(seconds).unwrap_or(u32::MAX)
    }

    /// The start of the UTC quarter-hour this moment lies in, in microseconds since 1970.
    pub fn quarter_hour(self) -> Self {
        let quarter = 900 * MICROS_PER_SECOND;
        Self(self.0.div_euclid(quarter) * quarter)
    }
}

/// As RFC 3339 writes it, in UTC and to the second.
impl fmt::Display for Timestamp {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (year, month) = year_and_month(self.utc_day());
        let day = self.utc_day() - first_day_of(year, month) + 1;
        let second = self.0.div_euclid(MICROS_PER_SECOND).rem_euclid(SECONDS_PER_DAY);
        let (hour, minute) = (second / 3_600, second / SECONDS_PER_MINUTE % 60);
        let second = second % SECONDS_PER_MINUTE;
        write!(formatter, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
    }
}

// The proleptic Gregorian calendar, counted in years that begin in March, so that a leap day is a
// year's last; 400 such years are always 146 097 days.

const DAYS_PER_ERA: i64 = 146_097;
/// Days from 0000-03-01 to 1970-01-01.
const EPOCH_DAY: i64 = 719_468;

fn year_and_month(utc_day: i64) -> (i64, i64) {
    let day = utc_day + EPOCH_DAY;
    let era = day.div_euclid(DAYS_PER_ERA);
    let day_of_era = day.rem_euclid(DAYS_PER_ERA);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / (DAYS_PER_ERA - 1)) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let march_month = (5 * day_of_year + 2) / 153;
    let month = if march_month < 10 { march_month + 3 } else { march_month - 9 };
    (era * 400 + year_of_era + i64::from(month <= 2), month)
}

/// Days since 1970-01-01 of a month's first day.
fn first_day_of(year: i64, month: i64) -> i64 {
    let march_year = if month <= 2 { year - 1 } else { year };
    let era = march_year.div_euclid(400);
    let year_of_era = march_year.rem_euclid(400);
    let march_month = if month > 2 { month - 3 } else { month + 9 };
    let day_of_year = (153 * march_month + 2) / 5;
    era * DAYS_PER_ERA + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - EPOCH_DAY
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn months_are_counted_as_the_calendar_has_them() {
        // Walks a thousand years day by day beside the lengths of the months.
        let (mut year, mut month, mut day_of_month) = (1970, 1, 1);
        for day in 0..365_250 {
            let at = Timestamp::from_secs(day * SECONDS_PER_DAY + 3_600);
            assert_eq!(at.utc_month(), (year - 1970) * 12 + month - 1, "{year}-{month}-{day_of_month}");
            let leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
            let length = match month {
                2 => 28 + i64::from(leap),
                4 | 6 | 9 | 11 => 30,
                _ => 31,
            };
            assert_eq!(
                at.next_month(),
                Timestamp::from_secs((day + 1 + length - day_of_month) * SECONDS_PER_DAY)
            );
            day_of_month += 1;
            if day_of_month > length {
                (month, day_of_month) = (month + 1, 1);
            }
            if month > 12 {
                (year, month) = (year + 1, 1);
            }
        }
    }

    #[test]
    fn a_moment_is_written_as_people_read_it() {
        for (at, written) in [
            (0, "1970-01-01T00:00:00Z"),
            (-1, "1969-12-31T23:59:59Z"),
            (951_868_799_999_999, "2000-02-29T23:59:59Z"),
            (1_795_857_334_908_385, "2026-11-28T09:15:34Z"),
        ] {
            assert_eq!(Timestamp(at).to_string(), written);
        }
    }

    #[test]
    fn a_week_begins_on_monday() {
        // 2026-11-23 is a Monday, 20 780 days after 1970 began.
        let monday = Timestamp::from_secs(20_780 * SECONDS_PER_DAY);
        assert_eq!(monday.plus_secs(-1).iso_week() + 1, monday.iso_week());
        assert_eq!(monday.iso_week(), monday.plus_secs(7 * SECONDS_PER_DAY - 1).iso_week());
    }

    #[test]
    fn seconds_until_are_rounded_up() {
        assert_eq!(Timestamp(1_000_001).secs_after(Timestamp(0)), 2);
        assert_eq!(Timestamp(1_000_000).secs_after(Timestamp(0)), 1);
        assert_eq!(Timestamp(0).secs_after(Timestamp(5)), 0);
        assert_eq!(Timestamp(59_999_999).next_minute(), Timestamp(60_000_000));
        assert_eq!(Timestamp(60_000_000).next_minute(), Timestamp(120_000_000));
    }
}

//! What may be named as a moment, over HTTP and on the command line.

use std::str::FromStr;

use chrono::{DateTime, Datelike, Utc};
use codexapi_aggregates::time::Timestamp;
use serde::{Deserialize, Serialize};

const LAST_YEAR: i32 = 9999;

/// A moment that somebody has named, as RFC 3339 text. It lies within the years 1 to 9999: beyond them Postgres, and
/// most of our clients, cannot read such a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "DateTime<Utc>", into = "DateTime<Utc>")]
pub struct NamedMoment(pub Timestamp);

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("a moment must lie in the years 1 to {LAST_YEAR}, not in {year}")]
pub struct BeyondTheCalendar {
    year: i32,
}

impl TryFrom<DateTime<Utc>> for NamedMoment {
    type Error = BeyondTheCalendar;

    fn try_from(moment: DateTime<Utc>) -> Result<Self, BeyondTheCalendar> {
        match moment.year() {
            1..=LAST_YEAR => Ok(Self(Timestamp(moment.timestamp_micros()))),
            year => Err(BeyondTheCalendar { year }),
        }
    }
}

impl From<NamedMoment> for DateTime<Utc> {
    fn from(NamedMoment(at): NamedMoment) -> Self {
        Self::from_timestamp_micros(at.0).unwrap_or_default()
    }
}

impl FromStr for NamedMoment {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> anyhow::Result<Self> {
        Ok(Self::try_from(text.parse::<DateTime<Utc>>()?)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_named_moment_lies_in_the_calendar() {
        let last: NamedMoment = "9999-12-31T23:59:59.999999Z".parse().expect("the last moment");
        assert_eq!(last.0, Timestamp(253_402_300_799_999_999));
        let said = |text: &str| text.parse::<NamedMoment>().map_err(|error| error.to_string());
        let beyond = |year: i32| Err(format!("a moment must lie in the years 1 to 9999, not in {year}"));
        assert_eq!(said("+10000-01-01T00:00:00Z"), beyond(10_000));
        assert_eq!(said("+262142-12-31T00:00:00Z"), beyond(262_142));
        assert_eq!(said("0000-12-31T23:59:59Z"), beyond(0));
        // The last hour of that year west of Greenwich is the next year's in UTC.
        assert_eq!(said("9999-12-31T23:30:00-01:00"), beyond(10_000));
        assert!(said("tomorrow").is_err());
    }

    #[test]
    fn a_body_with_a_moment_beyond_it_is_refused_with_the_reason() {
        let read = |text: &str| serde_json::from_str::<NamedMoment>(text);
        assert!(read("\"2027-01-01T00:00:00+02:00\"").is_ok());
        let refused = read("\"+10000-01-01T00:00:00Z\"").expect_err("beyond the calendar");
        assert!(refused.to_string().contains("the years 1 to 9999"), "{refused}");
    }
}

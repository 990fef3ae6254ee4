//! Days as the caller counts them: `?timezone=`, else the `x-timezone` header, else UTC.
//!
//! Sums are kept by quarter-hour, so every zone on earth divides them rightly.

use chrono::{DateTime, NaiveDate, NaiveTime, TimeDelta, TimeZone, Utc};
use chrono_tz::Tz;
use http::HeaderMap;

use super::error::Problem;

/// The caller's zone; `named` is the query's.
///
/// # Errors
/// `invalid_timezone` for a name that is none.
pub fn zone(named: Option<&str>, headers: &HeaderMap) -> Result<Tz, Problem> {
    let header = headers.get("x-timezone").and_then(|value| value.to_str().ok());
    named.or(header).unwrap_or("UTC").parse().map_err(|_| {
        Problem::invalid("invalid_timezone", "`timezone` is a name such as Europe/Berlin or Asia/Kolkata.")
    })
}

/// The first moment of `day`; where clocks skip midnight, the first moment after the gap.
pub fn start_of_day(zone: Tz, day: NaiveDate) -> DateTime<Utc> {
    let midnight = day.and_time(NaiveTime::MIN);
    let quarters = (0..=96).map(|quarter| midnight + TimeDelta::minutes(15 * quarter));
    quarters
        .filter_map(|local| zone.from_local_datetime(&local).earliest())
        .map(|moment| moment.with_timezone(&Utc))
        .next()
        .unwrap_or_else(|| midnight.and_utc())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn day(text: &str) -> NaiveDate {
        text.parse().expect("a day")
    }

    #[test]
    fn a_day_begins_at_the_callers_midnight() {
        let kolkata: Tz = "Asia/Kolkata".parse().expect("a zone");
        assert_eq!(start_of_day(kolkata, day("2026-11-22")).to_rfc3339(), "2026-11-21T18:30:00+00:00");
        assert_eq!(start_of_day(Tz::UTC, day("2026-11-22")).to_rfc3339(), "2026-11-22T00:00:00+00:00");
    }

    #[test]
    fn a_day_whose_midnight_is_skipped_begins_after_the_gap() {
        let cairo: Tz = "Africa/Cairo".parse().expect("a zone");
        // Clocks go from 23:59:59 on 23 April 2026 to 01:00 on the 24th.
        assert_eq!(start_of_day(cairo, day("2026-04-24")).to_rfc3339(), "2026-04-23T22:00:00+00:00");
    }

    #[test]
    fn a_zone_comes_from_the_query_then_from_the_header() {
        let mut headers = HeaderMap::new();
        headers.insert("x-timezone", "Asia/Kathmandu".parse().expect("a header"));
        assert_eq!(zone(None, &headers).expect("known").name(), "Asia/Kathmandu");
        assert_eq!(zone(Some("Europe/Berlin"), &headers).expect("known").name(), "Europe/Berlin");
        assert_eq!(zone(Some("Middle/Earth"), &headers).expect_err("unknown").code, "invalid_timezone");
    }
}

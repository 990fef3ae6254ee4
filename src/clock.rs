//! The only clock and the only source of ids. Rules get both in their commands.

use std::time::{SystemTime, UNIX_EPOCH};

use codexapi_aggregates::time::Timestamp;
use uuid::Uuid;

/// Wall-clock time, in microseconds since 1970.
#[allow(clippy::disallowed_methods)]
pub fn now() -> Timestamp {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock set before 1970");
    Timestamp(i64::try_from(since_epoch.as_micros()).expect("a clock set before the year 294 000"))
}

/// A fresh id; ids made later sort later.
#[allow(clippy::disallowed_methods)]
pub fn new_id() -> Uuid {
    Uuid::now_v7()
}

/// A moment for people and headers: seconds, UTC.
pub fn rfc3339(at: Timestamp) -> String {
    let time = chrono::DateTime::from_timestamp_micros(at.0).unwrap_or(chrono::DateTime::UNIX_EPOCH);
    time.to_rfc3339_opts(chrono::SecondsFormat::Secs, true)
}

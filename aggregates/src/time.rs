//! Moments as whole microseconds since 1970 UTC, given to the rules by whoever holds the clock.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

const MICROS_PER_SECOND: i64 = 1_000_000;
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

    /// The start of the UTC quarter-hour this moment lies in, in microseconds since 1970.
    pub fn quarter_hour(self) -> Self {
        let quarter = 900 * MICROS_PER_SECOND;
        Self(self.0.div_euclid(quarter) * quarter)
    }
}

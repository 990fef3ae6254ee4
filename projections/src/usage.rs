//! Usage by UTC quarter-hour × customer × key × model × client family.
//!
//! A quarter-hour is the finest step by which time zones differ, so any zone's days can be summed
//! from these rows exactly; the zone is applied when reading, and each caller has their own. A
//! reversed charge is booked back in the quarter-hour it was charged in: the day then says what its
//! usage came to, whenever the mistake was found.

use std::collections::BTreeMap;

use chrono::{DateTime, Days, NaiveDate, Utc};
use chrono_tz::Tz;
use codexapi_aggregates::money::MicroUsd;
use codexapi_aggregates::time::Timestamp;
use codexapi_aggregates::usage::ClientFamily;
use serde::{Deserialize, Serialize};
use sqlx::{PgConnection, PgPool};
use uuid::Uuid;

use crate::generations::Generation;
use crate::rows;
use crate::{ReadError, Table, WriteError};

/// The most days one query sums; the latest ones of a longer range.
pub const MAX_DAYS: u64 = 400;

pub(crate) const TABLE: Table = Table {
    name: "usage_quarters",
    columns: "account_id uuid NOT NULL, quarter timestamptz NOT NULL, key_id uuid NOT NULL, \
        billed_model text NOT NULL, model text NOT NULL, family text NOT NULL, requests bigint NOT NULL, \
        input_tokens bigint NOT NULL, cached_input_tokens bigint NOT NULL, \
        cache_write_tokens bigint NOT NULL, cumulative_input_tokens bigint NOT NULL, \
        already_billed_tokens bigint NOT NULL, output_tokens bigint NOT NULL, reasoning_tokens bigint NOT NULL, \
        charged_micro bigint NOT NULL, reversed_micro bigint NOT NULL, covered_micro bigint NOT NULL, \
        shortfall_micro bigint NOT NULL, insured_micro bigint NOT NULL, \
        PRIMARY KEY (account_id, quarter, key_id, billed_model, model, family)",
    indexes: &["(billed_model, quarter)"],
};

/// The columns that add up.
pub(crate) const SUMS: [&str; 13] = [
    "requests",
    "input_tokens",
    "cached_input_tokens",
    "cache_write_tokens",
    "cumulative_input_tokens",
    "already_billed_tokens",
    "output_tokens",
    "reasoning_tokens",
    "charged_micro",
    "reversed_micro",
    "covered_micro",
    "shortfall_micro",
    "insured_micro",
];

/// What usage adds up to.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct UsageSums {
    pub requests: i64,
    /// Uncached, cached and written to a cache: disjoint, together `cumulative_input_tokens`.
    pub input_tokens: i64,
    pub cached_input_tokens: i64,
    pub cache_write_tokens: i64,
    /// Every input token sent.
    pub cumulative_input_tokens: i64,
    /// What of those had been billed before in the same conversation; the rest was billed.
    pub already_billed_tokens: i64,
    /// Reasoning included.
    pub output_tokens: i64,
    pub reasoning_tokens: i64,
    /// Charged at first; `reversed_micro` of it went back.
    pub charged_micro: MicroUsd,
    pub reversed_micro: MicroUsd,
    /// What plans paid.
    pub covered_micro: MicroUsd,
    pub shortfall_micro: MicroUsd,
    pub insured_micro: MicroUsd,
}

impl UsageSums {
    /// Input tokens that were billed.
    pub fn billed_input_tokens(&self) -> i64 {
        self.cumulative_input_tokens - self.already_billed_tokens
    }

    pub(crate) fn add(&mut self, generation: &Generation) {
        self.requests += 1;
        self.input_tokens += generation.input_tokens;
        self.cached_input_tokens += generation.cached_input_tokens;
        self.cache_write_tokens += generation.cache_write_5m_tokens + generation.cache_write_1h_tokens;
        self.cumulative_input_tokens += generation.cumulative_input_tokens;
        self.already_billed_tokens += generation.already_billed_tokens;
        self.output_tokens += generation.output_tokens;
        self.reasoning_tokens += generation.reasoning_tokens;
        self.charged_micro += generation.charged_micro;
        self.covered_micro += generation.covered_micro;
        self.shortfall_micro += generation.shortfall_micro;
        self.insured_micro += generation.insured_micro;
    }
}

/// What a day's usage is divided by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Breakdown {
    Total,
    Family,
    BilledModel,
    /// The label the client asked for.
    Model,
    Key,
}

/// One day's usage in the caller's zone, whole or of one part.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct UsageDay {
    pub day: NaiveDate,
    /// The family's, model's or key's name; absent for `Breakdown::Total`.
    pub part: Option<String>,
    #[serde(flatten)]
    pub sums: UsageSums,
}

/// A customer's usage by day in `zone`, from the first to the last day given, both included, in
/// order; days without usage have no row. At most `MAX_DAYS` days.
pub async fn daily(
    pool: &PgPool,
    account: Uuid,
    zone: Tz,
    from: NaiveDate,
    to: NaiveDate,
    breakdown: Breakdown,
) -> Result<Vec<UsageDay>, ReadError> {
    let part = match breakdown {
        Breakdown::Total => "null::text",
        Breakdown::Family => "family",
        Breakdown::BilledModel => "billed_model",
        Breakdown::Model => "model",
        Breakdown::Key => "key_id::text",
    };
    let statement = format!(
        "SELECT to_jsonb(d) FROM (SELECT {DAY} AS day, {part} AS part, {} FROM usage_quarters \
         WHERE account_id = $4 AND {IN_RANGE} GROUP BY 1, 2 ORDER BY 1, 2) d",
        summed()
    );
    let select = rows::select(&statement).bind(zone.name()).bind(first_day(from, to)).bind(to).bind(account);
    rows::fetch_all(pool, TABLE.name, select).await
}

/// A customer's usage in the quarter-hours that begin at or after `since`.
pub async fn totals_since(
    pool: &PgPool,
    account: Uuid,
    since: DateTime<Utc>,
) -> Result<UsageSums, ReadError> {
    let statement = format!(
        "SELECT to_jsonb(s) FROM (SELECT {} FROM usage_quarters WHERE account_id = $1 AND quarter >= $2) s",
        summed()
    );
    let select = rows::select(&statement).bind(account).bind(since);
    Ok(rows::fetch_optional(pool, TABLE.name, select).await?.unwrap_or_default())
}

/// What one key of a customer used in the quarter-hours that begin at or after `since`.
pub async fn of_key_since(
    pool: &PgPool,
    account: Uuid,
    key: Uuid,
    since: DateTime<Utc>,
) -> Result<UsageSums, ReadError> {
    let statement = format!(
        "SELECT to_jsonb(s) FROM (SELECT {} FROM usage_quarters \
         WHERE account_id = $1 AND quarter >= $2 AND key_id = $3) s",
        summed()
    );
    let select = rows::select(&statement).bind(account).bind(since).bind(key);
    Ok(rows::fetch_optional(pool, TABLE.name, select).await?.unwrap_or_default())
}

/// The day a quarter-hour lies in, in zone `$1`.
pub(crate) const DAY: &str = "(quarter AT TIME ZONE $1)::date";

/// Quarter-hours of the days `$2` to `$3` in zone `$1`. The local day decides, because midnight may
/// come twice or never where clocks change; the range in UTC beside it is what the index can use,
/// and two days are more than any zone is off.
pub(crate) const IN_RANGE: &str = "(quarter AT TIME ZONE $1)::date BETWEEN $2 AND $3 \
    AND quarter >= ($2::date - 2)::timestamp AT TIME ZONE 'UTC' \
    AND quarter < ($3::date + 3)::timestamp AT TIME ZONE 'UTC'";

/// The first of at most `MAX_DAYS` days that end with `to`.
pub(crate) fn first_day(from: NaiveDate, to: NaiveDate) -> NaiveDate {
    to.checked_sub_days(Days::new(MAX_DAYS - 1)).map_or(from, |earliest| from.max(earliest))
}

/// Sums of `bigint` are `numeric` to Postgres; an amount past the range of an i64 is an error.
pub(crate) fn summed() -> String {
    SUMS.map(|column| format!("coalesce(sum({column}), 0)::bigint AS {column}")).join(", ")
}

/// What customers' usage is summed by: the key of a table whose other columns are `SUMS`.
pub(crate) trait Part: Ord + Serialize {
    const TABLE: Table;
    const COLUMNS: &str;

    /// The rows that a customer's generation counts in.
    fn of(generation: &Generation, account_id: Uuid) -> impl IntoIterator<Item = Self>;
}

/// The rows of such a table that a batch touches, and what it adds to each.
pub(crate) struct Usage<P>(BTreeMap<P, UsageSums>);

impl<P> Default for Usage<P> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

impl<P: Part> Usage<P> {
    pub(crate) fn settled(&mut self, generation: &Generation) {
        self.each(generation, |sums| sums.add(generation));
    }

    pub(crate) fn reversed(&mut self, generation: &Generation) {
        self.each(generation, |sums| sums.reversed_micro += generation.reversed_micro);
    }

    pub(crate) async fn write(self, connection: &mut PgConnection, version: i32) -> Result<(), WriteError> {
        rows::add(connection, &P::TABLE, version, self.0, P::COLUMNS, &SUMS).await
    }

    /// Customers only: what operator principals use is the operator's cost, not anyone's usage.
    fn each(&mut self, generation: &Generation, add: impl Fn(&mut UsageSums)) {
        let Some(account_id) = generation.account_id else { return };
        for part in P::of(generation, account_id) {
            add(self.0.entry(part).or_default());
        }
    }
}

#[derive(PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub(crate) struct Quarter {
    account_id: Uuid,
    quarter: DateTime<Utc>,
    key_id: Uuid,
    billed_model: String,
    model: String,
    family: ClientFamily,
}

impl Part for Quarter {
    const TABLE: Table = TABLE;
    const COLUMNS: &str = "account_id, quarter, key_id, billed_model, model, family";

    fn of(generation: &Generation, account_id: Uuid) -> impl IntoIterator<Item = Self> {
        [Self {
            account_id,
            quarter: quarter_of(generation.settled_at),
            key_id: generation.key_id,
            billed_model: generation.billed_model.clone(),
            model: generation.model.clone(),
            family: generation.family,
        }]
    }
}

/// The start of the UTC quarter-hour a moment lies in.
pub(crate) fn quarter_of(at: DateTime<Utc>) -> DateTime<Utc> {
    let quarter = Timestamp(at.timestamp_micros()).quarter_hour();
    DateTime::from_timestamp_micros(quarter.0).unwrap_or(at)
}

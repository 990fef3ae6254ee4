//! Usage by UTC day and by week × billed model × customer: what tells the operator who uses most. It is part of
//! `generations`.
//!
//! A range has few weeks and days, however many quarter-hours: a month of a thousand customers is ten thousand rows.

use chrono::{Datelike, NaiveDate, TimeDelta};
use chrono_tz::Tz;
use serde::{Deserialize, Serialize};
use sqlx::PgPool;
use uuid::Uuid;

use crate::generations::Generation;
use crate::rows;
use crate::usage::{DAY, Part, SUMS, UsageSums, first_day, summed};
use crate::{ReadError, Table};

pub(crate) const TABLE: Table = Table {
    name: "customer_spans",
    columns: "billed_model text NOT NULL, days bigint NOT NULL, first_day date NOT NULL, account_id uuid NOT NULL, \
        requests bigint NOT NULL, input_tokens bigint NOT NULL, cached_input_tokens bigint NOT NULL, \
        cache_write_tokens bigint NOT NULL, cumulative_input_tokens bigint NOT NULL, \
        already_billed_tokens bigint NOT NULL, output_tokens bigint NOT NULL, reasoning_tokens bigint NOT NULL, \
        charged_micro bigint NOT NULL, reversed_micro bigint NOT NULL, covered_micro bigint NOT NULL, \
        shortfall_micro bigint NOT NULL, insured_micro bigint NOT NULL, \
        PRIMARY KEY (billed_model, days, first_day, account_id)",
    indexes: &[],
};

/// What one customer used.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CustomerUsage {
    pub account_id: Uuid,
    #[serde(flatten)]
    pub sums: UsageSums,
}

/// UTC days that have quarter-hours within the days `$2` to `$3` in zone `$1`, from `since` to before `until`, and among
/// them those that have all of theirs there, from `first` to before `after`. No zone is a day off, so all four are at
/// most a day beside the range's own ends.
const UTC_DAYS: &str = "SELECT coalesce(min(day), $2) AS since, \
    coalesce(min(day) FILTER (WHERE whole), min(day), $2) AS first, \
    coalesce(max(day) FILTER (WHERE whole) + 1, min(day), $2) AS after, \
    coalesce(max(day) + 1, $2) AS until \
    FROM unnest(ARRAY[$2::date - 1, $2, $2 + 1, $3::date - 1, $3, $3 + 1]) AS day \
    CROSS JOIN LATERAL (SELECT (day::timestamp AT TIME ZONE 'UTC' AT TIME ZONE $1)::date AS begins, \
        ((day + time '23:45') AT TIME ZONE 'UTC' AT TIME ZONE $1)::date AS ends) AS local \
    CROSS JOIN LATERAL (SELECT begins >= $2 AND ends <= $3 AS whole) AS wholly \
    WHERE ends >= $2 AND begins <= $3";

/// The `limit` customers who were charged most for `models`, from the first to the last day given in `zone`, both
/// included; dearest first. At most `usage::MAX_DAYS` days.
///
/// Summed from whole weeks, the whole UTC days beside them, and at the two ends, where the zone's days are no UTC
/// days, from a day's worth of `usage_quarters`.
pub async fn top_customers(
    pool: &PgPool,
    zone: Tz,
    from: NaiveDate,
    to: NaiveDate,
    models: &[String],
    limit: u32,
) -> Result<Vec<CustomerUsage>, ReadError> {
    let from = first_day(from, to);
    let days = sqlx::query_as(UTC_DAYS).bind(zone.name()).bind(from).bind(to);
    let (since, first, after, until): (NaiveDate, NaiveDate, NaiveDate, NaiveDate) =
        days.fetch_one(pool).await?;
    let (first_week, after_weeks) = weeks(first, after);
    let (summed, columns) = (summed(), SUMS.join(", "));
    let quarters = |begin: &str, end: &str| {
        format!(
            "SELECT account_id, {columns} FROM usage_quarters WHERE billed_model = ANY($4) \
             AND {DAY} BETWEEN $2 AND $3 AND quarter >= {begin}::timestamp AT TIME ZONE 'UTC' \
             AND quarter < {end}::timestamp AT TIME ZONE 'UTC'"
        )
    };
    let spans = |days: i64, begin: &str, end: &str| {
        format!(
            "SELECT account_id, {columns} FROM customer_spans WHERE billed_model = ANY($4) \
             AND days = {days} AND first_day >= {begin} AND first_day < {end}"
        )
    };
    let parts = [
        quarters("$6", "$7"),
        spans(1, "$7", "$8"),
        spans(WEEK, "$8", "$9"),
        spans(1, "$9", "$10"),
        quarters("$10", "$11"),
    ];
    let statement = format!(
        "SELECT to_jsonb(c) FROM (SELECT account_id, {summed} FROM ({}) used GROUP BY 1 \
         ORDER BY sum(charged_micro) - sum(reversed_micro) DESC, account_id LIMIT $5) c",
        parts.join(" UNION ALL ")
    );
    // Planned each time: what is quickest depends on the days.
    let select = rows::select(&statement).persistent(false);
    let select = select.bind(zone.name()).bind(from).bind(to).bind(models).bind(i64::from(limit));
    let bounds = [since, first, first_week, after_weeks, after, until];
    rows::fetch_all(pool, TABLE.name, bounds.into_iter().fold(select, |select, day| select.bind(day))).await
}

/// Days of a week, which begins on whichever day of the week the calendar's first one was.
const WEEK: i64 = 7;

/// The first day of the week that a day lies in.
fn week_of(day: NaiveDate) -> NaiveDate {
    day - TimeDelta::days(i64::from(day.num_days_from_ce()).rem_euclid(WEEK))
}

/// The whole weeks among the days from `first` to before `after`, given in the same way; both are `after` where there
/// is none.
fn weeks(first: NaiveDate, after: NaiveDate) -> (NaiveDate, NaiveDate) {
    let first_week = week_of(first + TimeDelta::days(WEEK - 1));
    let after_weeks = week_of(after);
    if first_week < after_weeks { (first_week, after_weeks) } else { (after, after) }
}

#[derive(PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub(crate) struct CustomerSpan {
    billed_model: String,
    days: i64,
    first_day: NaiveDate,
    account_id: Uuid,
}

impl Part for CustomerSpan {
    const TABLE: Table = TABLE;
    const COLUMNS: &str = "billed_model, days, first_day, account_id";

    fn of(generation: &Generation, account_id: Uuid) -> impl IntoIterator<Item = Self> {
        let day = generation.settled_at.date_naive();
        let billed_model = &generation.billed_model;
        [(1, day), (WEEK, week_of(day))].map(|(days, first_day)| Self {
            billed_model: billed_model.clone(),
            days,
            first_day,
            account_id,
        })
    }
}

//! Usage by UTC day × billed model × customer: what tells the operator who uses most, however many quarter-hours a
//! range has. It is part of `generations`.

use chrono::NaiveDate;
use chrono_tz::Tz;
use serde::{Deserialize, Serialize};
use sqlx::PgPool;
use uuid::Uuid;

use crate::generations::Generation;
use crate::rows;
use crate::usage::{DAY, Part, SUMS, UsageSums, first_day, summed};
use crate::{ReadError, Table};

pub(crate) const TABLE: Table = Table {
    name: "customer_days",
    columns: "billed_model text NOT NULL, day date NOT NULL, account_id uuid NOT NULL, requests bigint NOT NULL, \
        input_tokens bigint NOT NULL, cached_input_tokens bigint NOT NULL, \
        cache_write_tokens bigint NOT NULL, cumulative_input_tokens bigint NOT NULL, \
        already_billed_tokens bigint NOT NULL, output_tokens bigint NOT NULL, reasoning_tokens bigint NOT NULL, \
        charged_micro bigint NOT NULL, reversed_micro bigint NOT NULL, covered_micro bigint NOT NULL, \
        shortfall_micro bigint NOT NULL, insured_micro bigint NOT NULL, \
        PRIMARY KEY (billed_model, day, account_id)",
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
const UTC_DAYS: &str = "SELECT min(day) AS since, max(day) + 1 AS until, \
    coalesce(min(day) FILTER (WHERE whole), min(day)) AS first, \
    coalesce(max(day) FILTER (WHERE whole) + 1, min(day)) AS after \
    FROM unnest(ARRAY[$2::date - 1, $2, $2 + 1, $3::date - 1, $3, $3 + 1]) AS day \
    CROSS JOIN LATERAL (SELECT (day::timestamp AT TIME ZONE 'UTC' AT TIME ZONE $1)::date AS begins, \
        ((day + time '23:45') AT TIME ZONE 'UTC' AT TIME ZONE $1)::date AS ends) AS local \
    CROSS JOIN LATERAL (SELECT begins >= $2 AND ends <= $3 AS whole) AS wholly \
    WHERE ends >= $2 AND begins <= $3";

/// The `limit` customers who were charged most for `models`, from the first to the last day given in `zone`, both
/// included; dearest first. At most `usage::MAX_DAYS` days.
///
/// UTC days that lie wholly in the range are summed from `customer_days`; what is left at its two ends, a day's worth
/// together whatever the zone, is summed from `usage_quarters`.
pub async fn top_customers(
    pool: &PgPool,
    zone: Tz,
    from: NaiveDate,
    to: NaiveDate,
    models: &[String],
    limit: u32,
) -> Result<Vec<CustomerUsage>, ReadError> {
    let (summed, columns) = (summed(), SUMS.join(", "));
    let statement = format!(
        "WITH days AS ({UTC_DAYS}), used AS (\
             SELECT account_id, {columns} FROM customer_days WHERE billed_model = ANY($4) \
             AND day >= (SELECT first FROM days) AND day < (SELECT after FROM days) \
             UNION ALL \
             SELECT account_id, {columns} FROM days \
             CROSS JOIN LATERAL (VALUES (since, first), (after, until)) AS rest (begins, ends) \
             JOIN usage_quarters ON quarter >= begins::timestamp AT TIME ZONE 'UTC' \
                 AND quarter < ends::timestamp AT TIME ZONE 'UTC' \
             WHERE billed_model = ANY($4) AND {DAY} BETWEEN $2 AND $3) \
         SELECT to_jsonb(c) FROM (SELECT account_id, {summed} FROM used GROUP BY 1 \
             ORDER BY sum(charged_micro) - sum(reversed_micro) DESC, account_id LIMIT $5) c"
    );
    let select = rows::select(&statement).bind(zone.name()).bind(first_day(from, to)).bind(to);
    rows::fetch_all(pool, TABLE.name, select.bind(models).bind(i64::from(limit))).await
}

#[derive(PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub(crate) struct CustomerDay {
    billed_model: String,
    day: NaiveDate,
    account_id: Uuid,
}

impl Part for CustomerDay {
    const TABLE: Table = TABLE;
    const COLUMNS: &str = "billed_model, day, account_id";

    fn of(generation: &Generation, account_id: Uuid) -> Self {
        let day = generation.settled_at.date_naive();
        Self { billed_model: generation.billed_model.clone(), day, account_id }
    }
}

//! Usage by UTC quarter-hour × billed model, of all customers together: what operators' reports sum, a few rows an hour
//! however many customers there are.

use chrono::{DateTime, NaiveDate, Utc};
use chrono_tz::Tz;
use serde::{Deserialize, Serialize};
use sqlx::PgPool;
use uuid::Uuid;

use crate::generations::Generation;
use crate::rows;
use crate::usage::{DAY, IN_RANGE, Part, UsageSums, first_day, quarter_of, summed};
use crate::{ReadError, Table};

pub(crate) const TABLE: Table = Table {
    name: "model_quarters",
    columns: "quarter timestamptz NOT NULL, billed_model text NOT NULL, requests bigint NOT NULL, \
        input_tokens bigint NOT NULL, cached_input_tokens bigint NOT NULL, \
        cache_write_tokens bigint NOT NULL, cumulative_input_tokens bigint NOT NULL, \
        already_billed_tokens bigint NOT NULL, output_tokens bigint NOT NULL, reasoning_tokens bigint NOT NULL, \
        charged_micro bigint NOT NULL, reversed_micro bigint NOT NULL, covered_micro bigint NOT NULL, \
        shortfall_micro bigint NOT NULL, insured_micro bigint NOT NULL, \
        PRIMARY KEY (quarter, billed_model)",
    indexes: &[],
};

/// What one model was used for by all customers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ModelUsage {
    pub billed_model: String,
    #[serde(flatten)]
    pub sums: UsageSums,
}

/// All customers' usage by billed model, from the first to the last day given in `zone`, both included, in
/// order; models without usage have no row. At most `MAX_DAYS` days.
pub async fn by_model(
    pool: &PgPool,
    zone: Tz,
    from: NaiveDate,
    to: NaiveDate,
) -> Result<Vec<ModelUsage>, ReadError> {
    let statement = format!(
        "SELECT to_jsonb(m) FROM (SELECT billed_model, {} FROM model_quarters \
         WHERE {IN_RANGE} GROUP BY 1 ORDER BY 1) m",
        summed()
    );
    let select = rows::select(&statement).bind(zone.name()).bind(first_day(from, to)).bind(to);
    rows::fetch_all(pool, TABLE.name, select).await
}

/// One day's usage of one model by all customers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ModelUsageDay {
    pub day: NaiveDate,
    pub billed_model: String,
    #[serde(flatten)]
    pub sums: UsageSums,
}

/// All customers' usage by day in `zone` and billed model, from the first to the last day given, both included, in
/// order. At most `MAX_DAYS` days.
pub async fn daily_by_model(
    pool: &PgPool,
    zone: Tz,
    from: NaiveDate,
    to: NaiveDate,
) -> Result<Vec<ModelUsageDay>, ReadError> {
    let statement = format!(
        "SELECT to_jsonb(d) FROM (SELECT {DAY} AS day, billed_model, {} FROM model_quarters \
         WHERE {IN_RANGE} GROUP BY 1, 2 ORDER BY 1, 2) d",
        summed()
    );
    let select = rows::select(&statement).bind(zone.name()).bind(first_day(from, to)).bind(to);
    rows::fetch_all(pool, TABLE.name, select).await
}

#[derive(PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub(crate) struct ModelQuarter {
    quarter: DateTime<Utc>,
    billed_model: String,
}

impl Part for ModelQuarter {
    const TABLE: Table = TABLE;
    const COLUMNS: &str = "quarter, billed_model";

    fn of(generation: &Generation, _: Uuid) -> impl IntoIterator<Item = Self> {
        let quarter = quarter_of(generation.settled_at);
        [Self { quarter, billed_model: generation.billed_model.clone() }]
    }
}

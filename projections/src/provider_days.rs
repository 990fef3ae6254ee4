//! What providers were asked and cost, by UTC day × provider × the provider's own name of the model: the form of their
//! invoices, so that the two can be compared. It is part of `generations`.
//!
//! An attempt stands on the day its generation was settled; tokens stand with the attempt that served.

use std::collections::BTreeMap;

use chrono::NaiveDate;
use codexapi_aggregates::money::MicroUsd;
use serde::{Deserialize, Serialize};
use sqlx::{PgConnection, PgPool};
use uuid::Uuid;

use crate::generations::Generation;
use crate::rows;
use crate::{ReadError, Table, WriteError};

pub(crate) const TABLE: Table = Table {
    name: "provider_days",
    columns: "provider text NOT NULL, day date NOT NULL, upstream_model text NOT NULL, \
        attempts bigint NOT NULL, tokens bigint NOT NULL, cost_micro bigint NOT NULL, \
        PRIMARY KEY (provider, day, upstream_model)",
    indexes: &[],
};

/// The columns that add up.
const SUMS: [&str; 3] = ["attempts", "tokens", "cost_micro"];

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ProviderSums {
    pub attempts: i64,
    /// Input, cached and cache writes included, and output.
    pub tokens: i64,
    pub cost_micro: MicroUsd,
}

/// Whether anything was ever asked of `provider`.
pub async fn is_known(pool: &PgPool, provider: &str) -> Result<bool, ReadError> {
    let found = sqlx::query_scalar("SELECT EXISTS (SELECT FROM provider_days WHERE provider = $1)");
    Ok(found.bind(provider).fetch_one(pool).await?)
}

/// One day and model, as an invoice and as the log have it; what one of them lacks is absent.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Compared {
    pub day: NaiveDate,
    pub model: String,
    pub invoiced_tokens: Option<i64>,
    pub invoiced_micro: Option<MicroUsd>,
    pub attempts: Option<i64>,
    pub tokens: Option<i64>,
    pub cost_micro: Option<MicroUsd>,
}

impl Compared {
    /// What was invoiced, less what is recorded.
    pub fn difference_micro(&self) -> MicroUsd {
        self.invoiced_micro.unwrap_or_default() - self.cost_micro.unwrap_or_default()
    }
}

/// The same over all days and models.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ComparedSums {
    pub rows: i64,
    pub differing: i64,
    pub invoiced_micro: MicroUsd,
    pub cost_micro: MicroUsd,
}

/// Which invoice is compared with which days.
#[derive(Clone, Debug, PartialEq)]
pub struct Invoiced {
    pub invoice_id: Uuid,
    pub provider: String,
    pub first_day: NaiveDate,
    pub last_day: NaiveDate,
}

/// Rows of an invoice (`provider_invoice_days`) beside what the log has of its provider and days, whichever of the two
/// has them.
const COMPARED: &str = "SELECT coalesce(i.day, r.day) AS day, coalesce(i.model, r.upstream_model) AS model, \
    i.tokens AS invoiced_tokens, i.cost_micro AS invoiced_micro, r.attempts, r.tokens, r.cost_micro \
    FROM (SELECT * FROM provider_invoice_days WHERE invoice_id = $1) i FULL JOIN \
    (SELECT * FROM provider_days WHERE provider = $2 AND day BETWEEN $3 AND $4) r \
    ON r.day = i.day AND r.upstream_model = i.model";

/// Compares an invoice with the log, by day and model, in order, from the row after `after`; and whether there are more
/// than `limit`.
pub async fn compare(
    pool: &PgPool,
    invoiced: &Invoiced,
    after: Option<(NaiveDate, String)>,
    limit: u32,
) -> Result<(Vec<Compared>, bool), ReadError> {
    let statement = format!(
        "SELECT to_jsonb(c) FROM ({COMPARED}) c WHERE $5::date IS NULL OR (c.day, c.model) > ($5, $6) \
         ORDER BY c.day, c.model LIMIT $7"
    );
    let (day, model) = after.unzip();
    let select = bound(rows::select(&statement), invoiced).bind(day).bind(model).bind(i64::from(limit) + 1);
    let mut rows: Vec<Compared> = rows::fetch_all(pool, TABLE.name, select).await?;
    let more = rows.len() > limit as usize;
    rows.truncate(limit as usize);
    Ok((rows, more))
}

/// What an invoice and the log come to over all its days.
pub async fn compare_all(pool: &PgPool, invoiced: &Invoiced) -> Result<ComparedSums, ReadError> {
    let statement = format!(
        "SELECT to_jsonb(s) FROM (SELECT count(*) AS rows, \
         count(*) FILTER (WHERE coalesce(invoiced_micro, 0) <> coalesce(cost_micro, 0)) AS differing, \
         coalesce(sum(invoiced_micro), 0)::bigint AS invoiced_micro, \
         coalesce(sum(cost_micro), 0)::bigint AS cost_micro FROM ({COMPARED}) c) s"
    );
    let sums = rows::fetch_optional(pool, TABLE.name, bound(rows::select(&statement), invoiced)).await?;
    Ok(sums.unwrap_or_default())
}

fn bound<'q>(select: rows::Select<'q>, invoiced: &Invoiced) -> rows::Select<'q> {
    let Invoiced { invoice_id, provider, first_day, last_day } = invoiced;
    select.bind(*invoice_id).bind(provider.clone()).bind(*first_day).bind(*last_day)
}

/// The days a batch touches, and what it adds to each.
#[derive(Default)]
pub(crate) struct ProviderDays(BTreeMap<DayKey, ProviderSums>);

#[derive(PartialEq, Eq, PartialOrd, Ord, Serialize)]
struct DayKey {
    provider: String,
    day: NaiveDate,
    upstream_model: String,
}

impl ProviderDays {
    pub(crate) fn settled(&mut self, generation: &Generation) {
        let served = generation.attempts.last().map(|attempt| attempt.attempt.number);
        for attempt in &generation.attempts {
            let key = DayKey {
                provider: attempt.attempt.provider.clone(),
                day: generation.settled_at.date_naive(),
                upstream_model: attempt.attempt.upstream_model.clone(),
            };
            let sums = self.0.entry(key).or_default();
            sums.attempts += 1;
            sums.cost_micro += attempt.provider_cost_micro;
            if Some(attempt.attempt.number) == served {
                sums.tokens += generation.cumulative_input_tokens + generation.output_tokens;
            }
        }
    }

    pub(crate) async fn write(self, connection: &mut PgConnection, version: i32) -> Result<(), WriteError> {
        rows::add(connection, &TABLE, version, self.0, "provider, day, upstream_model", &SUMS).await
    }
}

//! Every settled generation, and the rollups of them: usage by customer and by model, margin by provider.
//!
//! The rollups are one projection with the generations, because a reversed charge must leave the
//! quarter-hour, key, model and provider it was booked under, and the event names only the
//! generation. Its row is the answer, but only if it is exactly as far on as the rollup: so they
//! share one checkpoint and one transaction, and are rebuilt together.

mod row;

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use codexapi_aggregates::event::{AnyEvent, RecordedEvent};
use codexapi_aggregates::ids::PlanId;
use codexapi_aggregates::money::{MicroUsd, PicoUsd};
use codexapi_aggregates::pricing::rating::Line;
use codexapi_aggregates::pricing::tariff::Mode;
use codexapi_aggregates::usage::{
    AttemptResult, BillingPolicy, ClientFamily, Outcome, Protocol, UsageEvent, UsageSource,
};
use codexapi_aggregates::wallet::events::ReversalReason;
use futures::FutureExt;
use futures::future::BoxFuture;
use serde::{Deserialize, Serialize};
use sqlx::{PgConnection, PgPool};
use uuid::Uuid;

use crate::customer_usage::CustomerSpan;
use crate::margin::MarginQuarters;
use crate::model_usage::ModelQuarter;
use crate::provider_days::ProviderDays;
use crate::rows::{self, time};
use crate::usage::{Quarter, Usage};
use crate::{
    FoldError, Page, Projection, ReadError, ReadModel, Table, WriteError, customer_usage, margin,
    model_usage, page, provider_days, usage,
};

pub static READ_MODEL: ReadModel = ReadModel {
    name: "generations",
    revision: 5,
    aggregates: &["usage"],
    tables: &[
        TABLE,
        usage::TABLE,
        model_usage::TABLE,
        customer_usage::TABLE,
        margin::TABLE,
        provider_days::TABLE,
    ],
    batch: || Box::<Generations>::default(),
};

const TABLE: Table = Table {
    name: "generations",
    columns: "generation_id uuid PRIMARY KEY, position bigint NOT NULL, account_id uuid, key_id uuid NOT NULL, \
        usage_stream text NOT NULL, sequence bigint NOT NULL, request_id text, \
        family text NOT NULL, protocol text NOT NULL, model text NOT NULL, billed_model text NOT NULL, \
        served_model text NOT NULL, provider text NOT NULL, provider_response_id text, \
        outcome text NOT NULL, usage_source text NOT NULL, policy text NOT NULL, \
        input_tokens bigint NOT NULL, cached_input_tokens bigint NOT NULL, \
        cache_write_5m_tokens bigint NOT NULL, cache_write_1h_tokens bigint NOT NULL, \
        cumulative_input_tokens bigint NOT NULL, already_billed_tokens bigint NOT NULL, \
        output_tokens bigint NOT NULL, reasoning_tokens bigint NOT NULL, web_search_calls bigint NOT NULL, \
        card_version bigint NOT NULL, mode text NOT NULL, lines jsonb NOT NULL, remainder_pico text NOT NULL, \
        cost_micro bigint NOT NULL, charged_micro bigint NOT NULL, covered_micro bigint NOT NULL, \
        shortfall_micro bigint NOT NULL, insured_micro bigint NOT NULL, \
        provider_cost_micro bigint NOT NULL, attempts jsonb NOT NULL, \
        held_ms bigint NOT NULL, first_byte_ms bigint, total_ms bigint NOT NULL, balance_micro bigint, \
        plan_id text, settled_at timestamptz NOT NULL, reversed_at timestamptz, reversal_reason text, \
        reversed_micro bigint NOT NULL",
    indexes: &["(account_id, settled_at DESC, position DESC)", "(position)"],
};

/// One settled generation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Generation {
    pub generation_id: Uuid,
    /// Place in the log; the key of paging.
    pub position: i64,
    /// Who paid; absent where the operator did.
    pub account_id: Option<Uuid>,
    pub key_id: Uuid,
    /// Where its event stands, for "why is this number what it is".
    pub usage_stream: String,
    pub sequence: i64,
    pub request_id: Option<String>,
    pub family: ClientFamily,
    pub protocol: Protocol,
    /// The label the client asked for.
    pub model: String,
    /// The model whose card is billed.
    pub billed_model: String,
    /// The model the provider says answered.
    pub served_model: String,
    pub provider: String,
    pub provider_response_id: Option<String>,
    pub outcome: Outcome,
    pub usage_source: UsageSource,
    pub policy: BillingPolicy,
    /// Uncached input. Input tokens are disjoint and sum to `cumulative_input_tokens`.
    pub input_tokens: i64,
    pub cached_input_tokens: i64,
    pub cache_write_5m_tokens: i64,
    pub cache_write_1h_tokens: i64,
    /// Every input token of the request: the size of its context.
    pub cumulative_input_tokens: i64,
    /// What of that this conversation had been billed for before; the rest was charged.
    pub already_billed_tokens: i64,
    /// Reasoning included.
    pub output_tokens: i64,
    pub reasoning_tokens: i64,
    pub web_search_calls: i64,
    pub card_version: u32,
    pub mode: Mode,
    pub lines: Vec<Line>,
    pub remainder_pico: PicoUsd,
    /// cost = charged + covered + shortfall.
    pub cost_micro: MicroUsd,
    pub charged_micro: MicroUsd,
    /// What a plan paid.
    pub covered_micro: MicroUsd,
    /// What the balance could not pay.
    pub shortfall_micro: MicroUsd,
    /// What the customer was spared because the provider failed; not part of the cost.
    pub insured_micro: MicroUsd,
    pub provider_cost_micro: MicroUsd,
    pub attempts: Vec<AttemptResult>,
    pub held_ms: u32,
    pub first_byte_ms: Option<u32>,
    pub total_ms: u32,
    /// The wallet's balance after the charge; absent where the operator paid.
    pub balance_micro: Option<MicroUsd>,
    /// The plan that paid; absent where the wallet or the operator did.
    pub plan_id: Option<PlanId>,
    pub settled_at: DateTime<Utc>,
    pub reversed_at: Option<DateTime<Utc>>,
    pub reversal_reason: Option<ReversalReason>,
    /// What went back to the wallet.
    pub reversed_micro: MicroUsd,
}

impl Generation {
    /// Input tokens that this generation was billed for.
    pub fn billed_input_tokens(&self) -> i64 {
        self.cumulative_input_tokens - self.already_billed_tokens
    }

    /// What the lines come to beyond the most that an estimate may cost; nobody pays it.
    pub fn capped_micro(&self) -> MicroUsd {
        let (lines_micro, _) = self.lines.iter().map(|line| line.amount_pico).sum::<PicoUsd>().round();
        lines_micro - self.cost_micro - self.insured_micro
    }
}

/// Which generations to list; the default is all.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Filter {
    /// Settled at or after.
    pub from: Option<DateTime<Utc>>,
    /// Settled before.
    pub to: Option<DateTime<Utc>>,
}

/// One generation of one customer.
pub async fn get(pool: &PgPool, account: Uuid, generation: Uuid) -> Result<Option<Generation>, ReadError> {
    let select =
        rows::select("SELECT to_jsonb(g) FROM generations g WHERE generation_id = $1 AND account_id = $2");
    rows::fetch_optional(pool, TABLE.name, select.bind(generation).bind(account)).await
}

/// One generation, whoever paid; for the operator.
pub async fn find(pool: &PgPool, generation: Uuid) -> Result<Option<Generation>, ReadError> {
    let select = rows::select("SELECT to_jsonb(g) FROM generations g WHERE generation_id = $1");
    rows::fetch_optional(pool, TABLE.name, select.bind(generation)).await
}

/// Positions looked through for the latest generations of some models.
const RECENT_POSITIONS: i64 = 200_000;

/// The latest generations of `models`, whoever paid, newest first; older ones than a bounded stretch of the log are
/// not looked for.
pub async fn recent(pool: &PgPool, models: &[String], limit: u32) -> Result<Vec<Generation>, ReadError> {
    let select = rows::select(
        "SELECT to_jsonb(g) FROM generations g WHERE billed_model = ANY($1) \
         AND position > (SELECT coalesce(max(position), 0) FROM generations) - $2 \
         ORDER BY position DESC LIMIT $3",
    );
    let select = select.bind(models).bind(RECENT_POSITIONS).bind(i64::from(limit));
    rows::fetch_all(pool, TABLE.name, select).await
}

/// A customer's generations, newest first; `before` is the last page's `next`. A `before` that is
/// none of this customer's begins anew.
///
/// Rows are ordered by the time they were settled at, then by position, so that a filter by time
/// reads only the rows it shows; the position alone is the cursor, and its time is looked up.
pub async fn page(
    pool: &PgPool,
    account: Uuid,
    filter: Filter,
    before: Option<i64>,
    limit: u32,
) -> Result<Page<Generation>, ReadError> {
    let settled_at: Option<DateTime<Utc>> = match before {
        Some(position) => {
            sqlx::query_scalar("SELECT settled_at FROM generations WHERE position = $1 AND account_id = $2")
                .bind(position)
                .bind(account)
                .fetch_optional(pool)
                .await?
        }
        None => None,
    };
    let select = rows::select(
        "SELECT to_jsonb(g) FROM generations g WHERE account_id = $1 \
         AND settled_at >= coalesce($2, '-infinity') AND settled_at < coalesce($3, 'infinity') \
         AND (settled_at, position) < (coalesce($4, 'infinity'), $5) \
         ORDER BY settled_at DESC, position DESC LIMIT $6",
    );
    let select = select
        .bind(account)
        .bind(filter.from)
        .bind(filter.to)
        .bind(settled_at)
        .bind(before.unwrap_or(i64::MAX))
        .bind(page::rows_to_read(limit));
    let rows = rows::fetch_all(pool, TABLE.name, select).await?;
    Ok(Page::of(rows, limit, |generation: &Generation| generation.position))
}

#[derive(Default)]
struct Generations {
    settled: Vec<Generation>,
    /// Reversals, of generations of this batch or of earlier ones.
    reversed: BTreeMap<Uuid, Reversal>,
    usage: Usage<Quarter>,
    models: Usage<ModelQuarter>,
    customers: Usage<CustomerSpan>,
    margin: MarginQuarters,
    provider_days: ProviderDays,
}

#[derive(Serialize)]
struct Reversal {
    generation_id: Uuid,
    at: DateTime<Utc>,
    reason: ReversalReason,
    amount_micro: MicroUsd,
}

impl Projection for Generations {
    fn fold(&mut self, event: &RecordedEvent) -> Result<(), FoldError> {
        let AnyEvent::Usage(usage) = &event.event else { return Ok(()) };
        match usage {
            UsageEvent::GenerationSettled(settled) => {
                let generation = row::generation(event, settled)?;
                self.usage.settled(&generation);
                self.models.settled(&generation);
                self.customers.settled(&generation);
                self.margin.settled(&generation);
                self.provider_days.settled(&generation);
                self.settled.push(generation);
            }
            UsageEvent::ChargeReversed { generation_id, reason, amount_micro, at, .. } => {
                let reversal = Reversal {
                    generation_id: generation_id.0,
                    at: time(event, *at)?,
                    reason: *reason,
                    amount_micro: *amount_micro,
                };
                self.reversed.insert(generation_id.0, reversal);
            }
            UsageEvent::GenerationOpened { .. }
            | UsageEvent::AttemptStarted { .. }
            | UsageEvent::GenerationReleased { .. }
            | UsageEvent::ReviewDismissed { .. } => {}
        }
        Ok(())
    }

    fn write<'a>(
        mut self: Box<Self>,
        connection: &'a mut PgConnection,
        version: i32,
    ) -> BoxFuture<'a, Result<(), WriteError>> {
        async move {
            rows::copy(&mut *connection, &TABLE, version, &self.settled).await?;
            for generation in self.mark_reversed(&mut *connection, version).await? {
                self.usage.reversed(&generation);
                self.models.reversed(&generation);
                self.customers.reversed(&generation);
                self.margin.reversed(&generation);
            }
            self.usage.write(&mut *connection, version).await?;
            self.models.write(&mut *connection, version).await?;
            self.customers.write(&mut *connection, version).await?;
            self.margin.write(&mut *connection, version).await?;
            self.provider_days.write(connection, version).await
        }
        .boxed()
    }
}

impl Generations {
    /// Marks reversed generations and returns their rows, this batch's own among them.
    async fn mark_reversed(
        &self,
        connection: &mut PgConnection,
        version: i32,
    ) -> Result<Vec<Generation>, WriteError> {
        if self.reversed.is_empty() {
            return Ok(vec![]);
        }
        let statement = format!(
            "UPDATE {} g SET reversed_at = r.at, reversal_reason = r.reason, reversed_micro = r.amount_micro \
             FROM json_to_recordset($1::json) \
                 AS r (generation_id uuid, at timestamptz, reason text, amount_micro bigint) \
             WHERE g.generation_id = r.generation_id AND g.reversed_at IS NULL RETURNING to_jsonb(g)",
            TABLE.version(version)
        );
        let reversals: Vec<&Reversal> = self.reversed.values().collect();
        let marked: Vec<serde_json::Value> = sqlx::query_scalar(&statement)
            .bind(serde_json::to_string(&reversals)?)
            .fetch_all(connection)
            .await?;
        let marked: Vec<Generation> =
            marked.into_iter().map(serde_json::from_value).collect::<Result<_, _>>()?;
        let known = |id: &Uuid| marked.iter().any(|generation| generation.generation_id == *id);
        let ids: Vec<Uuid> = self.reversed.keys().filter(|id| !known(id)).copied().collect();
        if !ids.is_empty() {
            return Err(WriteError::Unknown { kind: "a reversal of a generation", ids });
        }
        Ok(marked)
    }
}

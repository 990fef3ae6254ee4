//! Rebuilding balances and usage from the log, beside the same in pure SQL: the same rows, indexes and statistics, no
//! check. The SQL is given the log with its JSON taken apart already.

use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use codexapi::rebuild::{self, Progress};
use serde::Serialize;
use sqlx::PgPool;

use super::appends::per_second;
use super::service::World;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Rebuilds {
    events: i64,
    seconds: f64,
    events_per_second: u64,
    sql_seconds: f64,
    sql_events_per_second: u64,
    /// Every read model, one after the other.
    all_seconds: f64,
    all_events_per_second: u64,
}

/// The read models that hold balances and usage.
const BALANCES_AND_USAGE: [&str; 2] = ["wallet_balances", "generations"];

const TABLES: [&str; 8] = [
    "bench_log",
    "bench_balances",
    "bench_generations",
    "bench_usage",
    "bench_models",
    "bench_spans",
    "bench_margin",
    "bench_provider_days",
];

const LOG: [&str; 2] = [
    "CREATE TABLE bench_log AS
     SELECT position, aggregate_type, aggregate_id, sequence, event_type, payload::jsonb AS payload,
         metadata::jsonb AS metadata
     FROM events",
    "ANALYZE bench_log",
];

const SQL: [&str; 17] = [
    "CREATE TABLE bench_balances AS
     SELECT aggregate_id::uuid AS account_id,
         sum((body->>'amount_micro')::bigint) FILTER (WHERE kind = 'CreditGranted') AS granted_micro,
         sum((body->>'expired_micro')::bigint) FILTER (WHERE kind = 'GrantExpired') AS expired_micro,
         sum((body->>'charged_micro')::bigint) AS charged_micro,
         sum((body->>'covered_by_plan_micro')::bigint) AS covered_micro,
         sum((body->>'shortfall_micro')::bigint) AS shortfall_micro,
         sum((body->>'insured_micro')::bigint) AS insured_micro,
         sum((body->>'amount_micro')::bigint) FILTER (WHERE kind = 'ChargeReversed') AS reversed_micro,
         (array_agg((body->>'balance_micro')::bigint ORDER BY position DESC))[1] AS balance_micro,
         (array_agg((body->>'held_micro')::bigint ORDER BY position DESC))[1] AS held_micro,
         max(sequence) AS sequence, max(position) AS position, min(position) AS first_position,
         max((body->>'at')::bigint) AS updated_at
     FROM bench_log, jsonb_each(payload) AS e(kind, body) WHERE aggregate_type = 'wallet' GROUP BY aggregate_id",
    "ALTER TABLE bench_balances ADD PRIMARY KEY (account_id)",
    "CREATE INDEX ON bench_balances (first_position)",
    "CREATE TABLE bench_generations AS
     SELECT (body->>'generation_id')::uuid AS generation_id, position,
         (body#>>'{payer,wallet,account_id}')::uuid AS account_id, (body->>'key_id')::uuid AS key_id,
         aggregate_id AS usage_stream, sequence, metadata->>'request_id' AS request_id, body->>'family' AS family,
         body->>'protocol' AS protocol, body->>'model' AS model, body->>'billed_model' AS billed_model,
         body->>'served_model' AS served_model, body->>'provider' AS provider,
         body->>'provider_response_id' AS provider_response_id, body->>'outcome' AS outcome,
         body->>'usage_source' AS usage_source, body->>'policy' AS policy,
         coalesce((body#>>'{usage,input}')::bigint, 0) AS input_tokens,
         coalesce((body#>>'{usage,cached_input}')::bigint, 0) AS cached_input_tokens,
         coalesce((body#>>'{usage,output}')::bigint, 0) AS output_tokens,
         (body->>'already_billed_tokens')::bigint AS already_billed_tokens,
         (body->>'card_version')::bigint AS card_version, body->>'mode' AS mode, body->'lines' AS lines,
         body->>'remainder_pico' AS remainder_pico, (body->>'cost_micro')::bigint AS cost_micro,
         (body->>'charged_micro')::bigint AS charged_micro,
         (body->>'covered_by_plan_micro')::bigint AS covered_micro,
         (body->>'shortfall_micro')::bigint AS shortfall_micro, (body->>'insured_micro')::bigint AS insured_micro,
         (body->>'provider_cost_micro')::bigint AS provider_cost_micro, body->'attempts' AS attempts,
         (body->>'balance_micro')::bigint AS balance_micro,
         to_timestamp((body->>'at')::numeric / 1000000) AS settled_at
     FROM bench_log, jsonb_each(payload) AS e(kind, body)
     WHERE aggregate_type = 'usage' AND event_type = 'usage.generation_settled'",
    "ALTER TABLE bench_generations ADD PRIMARY KEY (generation_id)",
    "CREATE INDEX ON bench_generations (account_id, settled_at DESC, position DESC)",
    "CREATE INDEX ON bench_generations (position)",
    "CREATE TABLE bench_usage AS
     SELECT account_id, date_bin('15 minutes', settled_at, 'epoch') AS quarter, key_id, billed_model, model, family,
         count(*) AS requests, sum(input_tokens) AS input_tokens, sum(cached_input_tokens) AS cached_input_tokens,
         sum(output_tokens) AS output_tokens, sum(charged_micro) AS charged_micro,
         sum(covered_micro) AS covered_micro, sum(shortfall_micro) AS shortfall_micro,
         sum(insured_micro) AS insured_micro
     FROM bench_generations GROUP BY 1, 2, 3, 4, 5, 6",
    "ALTER TABLE bench_usage ADD PRIMARY KEY (account_id, quarter, key_id, billed_model, model, family)",
    "CREATE TABLE bench_margin AS
     SELECT date_bin('15 minutes', settled_at, 'epoch') AS quarter, billed_model, provider, count(*) AS requests,
         sum(charged_micro) AS charged_micro, sum(provider_cost_micro) AS provider_cost_micro
     FROM bench_generations GROUP BY 1, 2, 3",
    "ALTER TABLE bench_margin ADD PRIMARY KEY (quarter, billed_model, provider)",
    "CREATE TABLE bench_models AS
     SELECT quarter, billed_model, sum(requests)::bigint AS requests, sum(input_tokens)::bigint AS input_tokens,
         sum(cached_input_tokens)::bigint AS cached_input_tokens, sum(output_tokens)::bigint AS output_tokens,
         sum(charged_micro)::bigint AS charged_micro, sum(covered_micro)::bigint AS covered_micro,
         sum(shortfall_micro)::bigint AS shortfall_micro, sum(insured_micro)::bigint AS insured_micro
     FROM bench_usage GROUP BY 1, 2",
    "ALTER TABLE bench_models ADD PRIMARY KEY (quarter, billed_model)",
    "CREATE TABLE bench_spans AS
     SELECT billed_model, span.days, span.first_day, account_id, count(*) AS requests,
         sum(input_tokens)::bigint AS input_tokens, sum(cached_input_tokens)::bigint AS cached_input_tokens,
         sum(output_tokens)::bigint AS output_tokens, sum(charged_micro)::bigint AS charged_micro,
         sum(covered_micro)::bigint AS covered_micro, sum(shortfall_micro)::bigint AS shortfall_micro,
         sum(insured_micro)::bigint AS insured_micro
     FROM bench_generations
     CROSS JOIN LATERAL (SELECT (settled_at AT TIME ZONE 'UTC')::date AS day) settled
     CROSS JOIN LATERAL (VALUES (1::bigint, day), (7, day - (day - '0001-01-01'::date + 1) % 7)) span(days, first_day)
     GROUP BY 1, 2, 3, 4",
    "ALTER TABLE bench_spans ADD PRIMARY KEY (billed_model, days, first_day, account_id)",
    "CREATE TABLE bench_provider_days AS
     SELECT attempt->>'provider' AS provider, (settled_at AT TIME ZONE 'UTC')::date AS day,
         attempt->>'upstream_model' AS upstream_model, count(*) AS attempts,
         sum((attempt->>'provider_cost_micro')::bigint)::bigint AS cost_micro
     FROM bench_generations, jsonb_array_elements(attempts) attempt GROUP BY 1, 2, 3",
    "ANALYZE bench_balances, bench_generations, bench_usage, bench_models, bench_spans, bench_margin,
         bench_provider_days",
];

pub async fn measure(world: &World) -> anyhow::Result<Rebuilds> {
    let pool = &world.pool;
    let events: i64 = sqlx::query_scalar("SELECT count(*) FROM events").fetch_one(pool).await?;
    let models = BALANCES_AND_USAGE.iter().map(|name| rebuild::named(name));
    let models: Vec<_> = models.collect::<Result<Vec<_>, _>>()?.concat();
    let ours = rebuilt(pool, &models).await?;
    for statement in LOG {
        sqlx::query(statement).execute(pool).await.context("the log for SQL")?;
    }
    let started = Instant::now();
    for statement in SQL {
        sqlx::query(statement).execute(pool).await.context("the same in SQL")?;
    }
    let sql = started.elapsed();
    same_balances(pool).await?;
    for table in TABLES {
        sqlx::query(&format!("DROP TABLE {table}")).execute(pool).await?;
    }
    let all = build(world).await?;
    let rate = |took: Duration| per_second(events as u64, took);
    Ok(Rebuilds {
        events,
        seconds: ours.as_secs_f64(),
        events_per_second: rate(ours),
        sql_seconds: sql.as_secs_f64(),
        sql_events_per_second: rate(sql),
        all_seconds: all.as_secs_f64(),
        all_events_per_second: rate(all),
    })
}

/// Every read model, one after the other: the service would take far longer to catch up with a filled log.
pub async fn build(world: &World) -> anyhow::Result<Duration> {
    rebuilt(&world.pool, &rebuild::named("all")?).await
}

async fn rebuilt(
    pool: &PgPool,
    models: &[&'static codexapi_projections::ReadModel],
) -> anyhow::Result<Duration> {
    let started = Instant::now();
    rebuild::rebuild(pool, models, &Progress::silent()).await?;
    Ok(started.elapsed())
}

/// The two ways agree, so that neither has left something out.
async fn same_balances(pool: &PgPool) -> anyhow::Result<()> {
    let differing: i64 = sqlx::query_scalar(
        "SELECT count(*) FROM wallet_balances b FULL JOIN bench_balances s USING (account_id)
         WHERE (b.balance_micro, b.held_micro, b.charged_micro, b.sequence) IS DISTINCT FROM
               (s.balance_micro, s.held_micro, coalesce(s.charged_micro, 0), s.sequence)",
    )
    .fetch_one(pool)
    .await?;
    let usage: i64 = sqlx::query_scalar(
        "SELECT count(*) FROM usage_quarters u FULL JOIN bench_usage s
         USING (account_id, quarter, key_id, billed_model, model, family)
         WHERE (u.requests, u.charged_micro, u.output_tokens) IS DISTINCT FROM
               (s.requests, s.charged_micro, s.output_tokens)",
    )
    .fetch_one(pool)
    .await?;
    let spans: i64 = sqlx::query_scalar(
        "SELECT count(*) FROM customer_spans c FULL JOIN bench_spans s
         USING (billed_model, days, first_day, account_id)
         WHERE (c.requests, c.charged_micro, c.output_tokens) IS DISTINCT FROM
               (s.requests, s.charged_micro, s.output_tokens)",
    )
    .fetch_one(pool)
    .await?;
    ensure!(
        differing == 0 && usage == 0 && spans == 0,
        "{differing} balances, {usage} quarter-hours and {spans} days and weeks differ from SQL's"
    );
    Ok(())
}

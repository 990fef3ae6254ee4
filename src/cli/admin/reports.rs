//! What operators read: the queue of what wants their eye, and the margin.

use std::collections::BTreeMap;

use anyhow::Context;
use chrono::{DateTime, Days, NaiveDate};
use chrono_tz::Tz;
use codexapi_aggregates::pricing::{BOOK_STREAM, PriceBook};
use codexapi_aggregates::routing::ModelFamily;
use codexapi_projections::{margin as margins, queue as queues};
use serde_json::json;

use super::{Desk, ListArguments};
use crate::cli::output::Output;
use crate::clock;
use crate::http::admin::serving_usage;

/// Days shown where no first day is named.
const DEFAULT_DAYS: u64 = 30;

/// Customers and recent requests of each family, in JSON.
const SHOWN_PER_FAMILY: u32 = 20;

/// Newest first; what is resolved only where asked for.
pub(super) async fn queue(desk: &Desk, all: bool, page: &ListArguments) -> anyhow::Result<()> {
    let page = queues::page(desk.log.pool(), !all, page.before, page.limit).await?;
    let row = |entry: &queues::QueueEntry| {
        let (held, charged) = match entry.reasons.contains(&queues::QueueReason::HoldExpired) {
            true => (Some(entry.amount_micro), None),
            false => (None, Some(entry.amount_micro)),
        };
        json!({
            "id": entry.position,
            "at": entry.at,
            "reasons": entry.reasons,
            "generation": entry.generation_id,
            "account": entry.account_id,
            "provider": entry.provider,
            "model": entry.model,
            "providerResponse": entry.provider_response_id,
            "firstGeneration": entry.first_generation_id,
            "heldUsd": held.map(|held| held.to_string()),
            "chargedUsd": charged.map(|charged| charged.to_string()),
            "providerCostUsd": entry.provider_cost_micro.to_string(),
            "resolution": entry.resolution,
            "resolvedAt": entry.resolved_at,
        })
    };
    desk.list(&page, row);
    Ok(())
}

/// By day, model and provider, from the first to the last day named.
pub(super) async fn margin(
    desk: &Desk,
    from: Option<NaiveDate>,
    to: Option<NaiveDate>,
    zone: Tz,
) -> anyhow::Result<()> {
    let (from, to) = range(from, to, zone)?;
    let days = margins::daily(desk.log.pool(), zone, from, to).await?;
    let rows: Vec<_> = days
        .iter()
        .map(|day| {
            json!({
                "day": day.day,
                "model": day.billed_model,
                "provider": day.provider,
                "requests": day.sums.requests,
                "chargedUsd": day.sums.charged_micro.to_string(),
                "reversedUsd": day.sums.reversed_micro.to_string(),
                "providerCostUsd": day.sums.provider_cost_micro.to_string(),
                "checksUsd": day.sums.checks_cost_micro.to_string(),
                "lossUsd": day.sums.loss_micro().to_string(),
                "marginUsd": day.sums.margin_micro().to_string(),
            })
        })
        .collect();
    desk.output.table(&rows);
    Ok(())
}

/// Cost, charges and margin of serving, by family and day; as JSON with customers and recent requests.
pub(super) async fn serving_usage(
    desk: &Desk,
    from: Option<NaiveDate>,
    to: Option<NaiveDate>,
    zone: Tz,
) -> anyhow::Result<()> {
    let (from, to) = range(from, to, zone)?;
    let costs = |book: &PriceBook| {
        ModelFamily::ALL
            .into_iter()
            .map(|family| (family, book.serving_cost(family)))
            .collect::<BTreeMap<_, _>>()
    };
    let costs = desk.log.read(BOOK_STREAM, costs).await?;
    let usage = serving_usage::gather(desk.log.pool(), costs, zone, from, to, SHOWN_PER_FAMILY).await?;
    match desk.output {
        Output::Json => desk.output.record(&serde_json::to_value(&usage)?),
        Output::Text => desk.output.table(&usage.rows()),
    }
    Ok(())
}

fn range(from: Option<NaiveDate>, to: Option<NaiveDate>, zone: Tz) -> anyhow::Result<(NaiveDate, NaiveDate)> {
    let now = DateTime::from_timestamp_micros(clock::now().0).context("a clock within the calendar")?;
    let to = to.unwrap_or_else(|| now.with_timezone(&zone).date_naive());
    let from = match from {
        Some(from) => from,
        None => to.checked_sub_days(Days::new(DEFAULT_DAYS)).context("--to is too early")?,
    };
    anyhow::ensure!(from <= to, "the first day, {from}, is after the last, {to}");
    Ok((from, to))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_day_is_not_after_the_last() {
        let day = |text: &str| text.parse::<NaiveDate>().expect("a day");
        let (first, last) = (day("2026-11-01"), day("2026-11-30"));
        assert_eq!(range(Some(first), Some(last), Tz::UTC).expect("a month"), (first, last));
        assert_eq!(range(Some(last), Some(last), Tz::UTC).expect("one day"), (last, last));
        let refusal = range(Some(last), Some(first), Tz::UTC).expect_err("backwards").to_string();
        assert_eq!(refusal, "the first day, 2026-11-30, is after the last, 2026-11-01");
        range(Some(day("9000-01-01")), None, Tz::UTC).expect_err("after today");
    }
}

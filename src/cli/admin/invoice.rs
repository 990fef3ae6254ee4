//! A provider's invoice beside what the log says that its attempts cost.

use std::path::PathBuf;

use anyhow::Context;
use clap::Args;
use serde_json::json;

use super::Desk;
use crate::invoices;

/// Rows shown; the rest is read over HTTP, page by page.
const SHOWN: u32 = 1_000;

/// An invoice to import.
#[derive(Args)]
pub(super) struct InvoiceArguments {
    /// The provider's name here
    provider: String,
    /// A CSV file with the columns day, model, cost_usd and, where there are any, tokens
    file: PathBuf,
}

pub(super) async fn run(desk: &Desk, arguments: InvoiceArguments) -> anyhow::Result<()> {
    let InvoiceArguments { provider, file } = arguments;
    let read = std::fs::read(&file).with_context(|| format!("reading {}", file.display()))?;
    let (pool, by) = (desk.log.pool(), &desk.metadata.actor);
    let imported = invoices::import(pool, &provider, &read, by).await;
    let (imported, new) = imported.with_context(|| format!("importing {}", file.display()))?;
    let (rows, more, sums) = invoices::compare(pool, &imported, None, SHOWN).await?;
    let rows: Vec<_> = rows
        .iter()
        .map(|row| {
            json!({
                "day": row.day,
                "model": row.model,
                "invoicedUsd": row.invoiced_micro.map(|amount| amount.to_string()),
                "recordedUsd": row.cost_micro.map(|amount| amount.to_string()),
                "differenceUsd": row.difference_micro().to_string(),
            })
        })
        .collect();
    desk.output.table(&rows);
    let (id, before) = (imported.invoice_id, if new { "" } else { ", which was imported before" });
    let difference = sums.invoiced_micro - sums.cost_micro;
    eprintln!("invoice {id}{before}: ${difference} more than is recorded, {} rows differ", sums.differing);
    if more {
        eprintln!("these are the first {SHOWN} of {} rows", sums.rows);
    }
    Ok(())
}

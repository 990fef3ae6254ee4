//! A statement's head, lines and foot in either format.

use codexapi_aggregates::money::MicroUsd;
use codexapi_projections::movements::Movement;
use serde_json::json;

use super::Range;
use super::csv;
use crate::http::movement::MovementLine;

#[derive(Clone, Copy, Debug)]
pub(super) enum Format {
    Json,
    Csv,
}

/// Balance and debt at one moment.
#[derive(Clone, Copy, Debug)]
pub(super) struct Standing {
    pub balance: MicroUsd,
    pub debt: MicroUsd,
}

const COLUMNS: [&str; 15] = [
    "at",
    "kind",
    "amount_usd",
    "balance_usd",
    "debt_change_usd",
    "debt_usd",
    "model",
    "source",
    "item",
    "reason",
    "expires_at",
    "generation_id",
    "grant_id",
    "purchase_or_adjustment_id",
    "id",
];

pub(super) fn head(format: Format, range: &Range, opening: Standing) -> String {
    match format {
        Format::Json => {
            let head = json!({
                "accountId": range.account,
                "from": range.days.0,
                "to": range.days.1,
                "timezone": range.timezone,
                "openingBalanceMicro": opening.balance,
                "openingBalanceUsd": opening.balance.to_string(),
                "openingDebtMicro": opening.debt,
            });
            let head = head.to_string();
            format!("{},\"movements\":[", head.trim_end_matches('}'))
        }
        Format::Csv => {
            let heading = COLUMNS.map(str::to_owned);
            csv::row(&heading) + &standing_row("opening_balance", opening)
        }
    }
}

/// Lines for `page`, after which balance and debt stand as `standing` then says. `first` for the first of a statement.
pub(super) fn lines(
    format: Format,
    page: &[Movement],
    standing: &mut Standing,
    first: bool,
) -> anyhow::Result<String> {
    let mut text = String::new();
    for (number, movement) in page.iter().enumerate() {
        standing.balance = movement.balance_micro;
        standing.debt += movement.debt_change_micro;
        match format {
            Format::Json => {
                if !first || number > 0 {
                    text.push(',');
                }
                text.push_str(&serde_json::to_string(&MovementLine::from(movement))?);
            }
            Format::Csv => text.push_str(&csv::row(&cells(movement, standing.debt)?)),
        }
    }
    Ok(text)
}

pub(super) fn foot(format: Format, closing: Standing) -> String {
    match format {
        Format::Json => {
            let foot = json!({
                "closingBalanceMicro": closing.balance,
                "closingBalanceUsd": closing.balance.to_string(),
                "closingDebtMicro": closing.debt,
            });
            format!("],{}", foot.to_string().trim_start_matches('{'))
        }
        Format::Csv => standing_row("closing_balance", closing),
    }
}

fn standing_row(kind: &str, standing: Standing) -> String {
    let mut cells = [const { String::new() }; COLUMNS.len()];
    cells[1] = kind.into();
    cells[3] = standing.balance.to_string();
    cells[5] = standing.debt.to_string();
    csv::row(&cells)
}

fn cells(movement: &Movement, debt: MicroUsd) -> anyhow::Result<[String; COLUMNS.len()]> {
    let line = MovementLine::from(movement);
    let id = |id: Option<uuid::Uuid>| id.map(|id| id.to_string()).unwrap_or_default();
    let moment = |at: chrono::DateTime<chrono::Utc>| at.to_rfc3339_opts(chrono::SecondsFormat::Micros, true);
    Ok([
        moment(line.at),
        name(&line.kind)?,
        line.amount_usd,
        line.balance_usd,
        movement.debt_change_micro.to_string(),
        debt.to_string(),
        csv::text(&line.model.unwrap_or_default()),
        name(&line.source)?,
        name(&line.item)?,
        name(&line.reason)?,
        line.expires_at.map(moment).unwrap_or_default(),
        id(line.generation_id),
        id(line.grant_id),
        id(line.purchase_id.or(line.adjustment_id)),
        line.id.to_string(),
    ])
}

/// The name a value has in JSON; nothing for none.
fn name(value: &impl serde::Serialize) -> anyhow::Result<String> {
    match serde_json::to_value(value)? {
        serde_json::Value::Null => Ok(String::new()),
        serde_json::Value::String(name) => Ok(name),
        other => anyhow::bail!("{other} is no name"),
    }
}

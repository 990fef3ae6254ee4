//! Customers with their balances, and what an operator does to them.

use clap::Args;
use codexapi_aggregates::account::{Account, AccountRefusal};
use codexapi_aggregates::ids::AccountId;
use codexapi_aggregates::money::MicroUsd;
use codexapi_projections::movements;
use serde_json::json;

use super::{ACCOUNT, Desk, ListArguments};
use crate::accounts::listing;
use crate::accounts::{self, AdjustCredit, CreditChange, TakingReason, given, notes};
use crate::cli::words::{dollars, variant};
use crate::http::movement::MovementLine;

#[derive(Args)]
pub(super) struct TakeArguments {
    #[arg(help = ACCOUNT)]
    account: AccountId,
    /// Dollars, such as 10 or 2.50
    #[arg(value_parser = dollars)]
    dollars: MicroUsd,
    /// granted-in-error, duplicate-credit, abuse or customer-request
    #[arg(long, value_parser = variant::<TakingReason>)]
    reason: TakingReason,
    #[command(flatten)]
    change: ChangeArguments,
}

#[derive(Args)]
pub(super) struct SetBalanceArguments {
    #[arg(help = ACCOUNT)]
    account: AccountId,
    /// The balance there should be, in dollars
    #[arg(value_parser = dollars)]
    dollars: MicroUsd,
    /// The balance you saw; where it is another by now, nothing changes
    #[arg(long, value_name = "DOLLARS", value_parser = dollars)]
    seen: MicroUsd,
    #[command(flatten)]
    change: ChangeArguments,
}

#[derive(Args)]
struct ChangeArguments {
    /// The same key with the same inputs moves credit once, however often it is sent
    #[arg(long = "key", value_name = "IDEMPOTENCY_KEY", value_parser = given::idempotency_key)]
    idempotency_key: String,
    /// For other operators; kept beside the log, where it can be erased
    #[arg(long)]
    note: Option<String>,
}

/// Newest first, with balances.
pub(super) async fn list(desk: &Desk, search: Option<&str>, page: &ListArguments) -> anyhow::Result<()> {
    let page = listing::customers(desk.log.pool(), search, page.before, page.limit).await?;
    let row = |customer: &listing::Customer| {
        json!({
            "account": customer.account_id,
            "name": customer.name,
            "email": customer.email,
            "balanceUsd": customer.balance_micro.to_string(),
            "heldUsd": customer.held_micro.to_string(),
            "debtUsd": customer.debt_micro.to_string(),
            "registeredAt": customer.registered_at,
            "position": customer.position,
        })
    };
    desk.list(&page, row);
    Ok(())
}

/// Every movement of a wallet, newest first.
pub(super) async fn transactions(
    desk: &Desk,
    account: AccountId,
    page: &ListArguments,
) -> anyhow::Result<()> {
    let registered = desk.log.read(&account.to_string(), Account::is_registered).await?;
    anyhow::ensure!(registered, AccountRefusal::NotRegistered);
    let page = movements::page(desk.log.pool(), account.0, page.before, page.limit).await?;
    let ids: Vec<_> = page.rows.iter().filter_map(|row| row.adjustment_id.or(row.grant_id)).collect();
    let notes = notes::by_movements(desk.log.pool(), &ids).await?;
    let row = |row: &movements::Movement| {
        let line = MovementLine::from(row);
        json!({
            "at": line.at,
            "kind": line.kind,
            "amountUsd": line.amount_usd,
            "balanceUsd": line.balance_usd,
            "debtChangeUsd": row.debt_change_micro.to_string(),
            "about": line.generation_id.or(line.purchase_id).or(line.adjustment_id).or(line.grant_id),
            "reason": line.reason,
            "note": row.adjustment_id.or(row.grant_id).and_then(|id| notes.get(&id)),
            "position": row.position,
        })
    };
    desk.list(&page, row);
    Ok(())
}

pub(super) async fn take(desk: &Desk, arguments: TakeArguments) -> anyhow::Result<()> {
    let TakeArguments { account, dollars, reason, change } = arguments;
    adjust(desk, account, CreditChange::Down { amount_micro: dollars, reason }, change).await
}

pub(super) async fn set_balance(desk: &Desk, arguments: SetBalanceArguments) -> anyhow::Result<()> {
    let SetBalanceArguments { account, dollars, seen, change } = arguments;
    adjust(desk, account, CreditChange::To { balance_micro: dollars, seen_micro: seen }, change).await
}

async fn adjust(
    desk: &Desk,
    account_id: AccountId,
    change: CreditChange,
    ChangeArguments { idempotency_key, note }: ChangeArguments,
) -> anyhow::Result<()> {
    let adjust = AdjustCredit { account_id, change, note, idempotency_key };
    let done = accounts::adjust_credit(&desk.log, &desk.wallet.terms(), &desk.metadata, adjust).await?;
    desk.output.record(&json!({
        "movement": done.movement_id,
        "changeUsd": done.change_micro.to_string(),
        "balanceUsd": done.balance_micro.to_string(),
        "balanceMicro": done.balance_micro,
        "replayed": done.replayed,
    }));
    Ok(())
}

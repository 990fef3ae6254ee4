//! Whether a customer's keys work at all.

use codexapi_aggregates::account::{Account, AccountCommand, AccountRefusal, SuspensionReason};
use codexapi_aggregates::event::Metadata;
use codexapi_aggregates::ids::AccountId;

use crate::commands::CommandError;
use crate::event_log::EventLog;

/// None of the account's keys works any more. Suspending it again changes nothing. Returns the position after which
/// it counts everywhere; 0 where nothing changed.
pub async fn suspend(
    log: &EventLog,
    metadata: &Metadata,
    account_id: AccountId,
    reason: SuspensionReason,
) -> Result<i64, CommandError<AccountRefusal>> {
    let decide = |account: &Account, now| account.decide(AccountCommand::SuspendAccount { reason, now });
    Ok(log.execute(&account_id.to_string(), metadata, decide).await?.position)
}

/// Its keys work again. Returns as `suspend` does.
pub async fn reinstate(
    log: &EventLog,
    metadata: &Metadata,
    account_id: AccountId,
) -> Result<i64, CommandError<AccountRefusal>> {
    let decide = |account: &Account, now| account.decide(AccountCommand::ReinstateAccount { now });
    Ok(log.execute(&account_id.to_string(), metadata, decide).await?.position)
}

//! Grants that have left a wallet's state, as the log knows them.

use anyhow::Context;
use codexapi_aggregates::ids::{AccountId, GrantId};
use codexapi_aggregates::wallet::{GrantTerms, WalletEvent};

use crate::event_log::EventLog;

/// What a grant was given as; `None` where the wallet never had it. Wanted where a payment is reinstated so late that
/// the wallet answers `UnknownGrant`.
pub async fn recall_grant(
    log: &EventLog,
    account: AccountId,
    grant: GrantId,
) -> anyhow::Result<Option<GrantTerms>> {
    let payload: Option<sqlx::types::Json<WalletEvent>> = sqlx::query_scalar(
        "SELECT payload FROM events WHERE aggregate_type = 'wallet' AND aggregate_id = $1
           AND event_type = 'wallet.credit_granted' AND payload->'CreditGranted'->>'grant_id' = $2
         ORDER BY sequence LIMIT 1",
    )
    .bind(account.to_string())
    .bind(grant.to_string())
    .fetch_optional(log.pool())
    .await
    .context("recalling a grant")?;
    match payload.map(|payload| payload.0) {
        None => Ok(None),
        Some(WalletEvent::CreditGranted { source, amount_micro, expires_at, at, .. }) => {
            Ok(Some(GrantTerms { source, amount_micro, expires_at, granted_at: at }))
        }
        Some(_) => anyhow::bail!("a row of type wallet.credit_granted holds another event"),
    }
}

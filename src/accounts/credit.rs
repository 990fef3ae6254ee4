//! Credit that an operator grants, at most once per idempotency key.

use codexapi_aggregates::account::{Account, AccountRefusal};
use codexapi_aggregates::event::Metadata;
use codexapi_aggregates::ids::{AccountId, GrantId};
use codexapi_aggregates::money::MicroUsd;
use codexapi_aggregates::time::Timestamp;
use codexapi_aggregates::wallet::events::{GrantSource, WalletEvent};
use codexapi_aggregates::wallet::{Wallet, WalletAction, WalletCommand, WalletRefusal, WalletTerms};

use super::adjusting::{self, CreditChange};
use crate::clock;
use crate::commands::CommandError;
use crate::event_log::{EventLog, IdempotencyKey};

/// Credit to be granted.
#[derive(Clone, Debug)]
pub struct GrantCredit {
    pub account_id: AccountId,
    pub source: GrantSource,
    pub amount_micro: MicroUsd,
    pub expires_at: Option<Timestamp>,
    /// The caller's: the same key with the same inputs grants once and answers as the first time.
    pub idempotency_key: String,
}

/// A grant, as it was first made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CreditGranted {
    pub grant_id: GrantId,
    pub balance_micro: MicroUsd,
    /// The key had been used before; nothing was granted this time.
    pub replayed: bool,
    pub position: i64,
}

/// Why no credit was granted.
#[derive(Debug, thiserror::Error)]
pub enum CreditRefusal {
    #[error(transparent)]
    Account(AccountRefusal),
    #[error(transparent)]
    Wallet(WalletRefusal),
}

/// Grants credit to a registered customer.
pub async fn grant_credit(
    log: &EventLog,
    terms: &WalletTerms,
    metadata: &Metadata,
    grant: GrantCredit,
) -> Result<CreditGranted, CommandError<CreditRefusal>> {
    let stream = grant.account_id.to_string();
    let registered = log.read(&stream, Account::is_registered).await.map_err(CommandError::Failed)?;
    if !registered {
        return Err(CommandError::Refused(CreditRefusal::Account(AccountRefusal::NotRegistered)));
    }
    let grant_id = GrantId(clock::new_id());
    let key = IdempotencyKey {
        command: adjusting::COMMAND,
        account: stream.clone(),
        key: grant.idempotency_key.clone(),
        inputs_digest: adjusting::inputs_digest(CreditChange::Up {
            amount_micro: grant.amount_micro,
            source: grant.source,
            expires_at: grant.expires_at,
        }),
        keep_forever: true,
    };
    let committed = log
        .execute_once(&stream, metadata, key, |wallet: &Wallet, now| {
            let action = WalletAction::GrantCredit {
                grant_id,
                source: grant.source,
                amount_micro: grant.amount_micro,
                expires_at: grant.expires_at,
            };
            wallet.decide(WalletCommand { action, terms: terms.clone(), now }).map_err(CreditRefusal::Wallet)
        })
        .await?;
    committed
        .events
        .iter()
        .find_map(|event| match event {
            WalletEvent::CreditGranted { grant_id, balance_micro, .. } => Some(CreditGranted {
                grant_id: *grant_id,
                balance_micro: *balance_micro,
                replayed: committed.replayed,
                position: committed.position,
            }),
            _ => None,
        })
        .ok_or_else(|| CommandError::Failed(anyhow::anyhow!("a grant left no event")))
}

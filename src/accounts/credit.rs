//! Credit that an operator grants: an adjustment upwards, so that one key moves credit once whichever way it is used.

use codexapi_aggregates::event::Metadata;
use codexapi_aggregates::ids::AccountId;
use codexapi_aggregates::money::MicroUsd;
use codexapi_aggregates::time::Timestamp;
use codexapi_aggregates::wallet::WalletTerms;
use codexapi_aggregates::wallet::events::GrantSource;

use super::adjusting::{AdjustCredit, AdjustRefusal, CreditAdjusted, CreditChange, adjust_credit};
use crate::commands::CommandError;
use crate::event_log::EventLog;

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

impl From<GrantCredit> for AdjustCredit {
    fn from(grant: GrantCredit) -> Self {
        let GrantCredit { account_id, source, amount_micro, expires_at, idempotency_key } = grant;
        let change = CreditChange::Up { amount_micro, source, expires_at };
        Self { account_id, change, note: None, idempotency_key }
    }
}

/// Grants credit to a registered customer.
///
/// # Errors
/// Refused with its numbers; what is refused leaves no trace.
pub async fn grant_credit(
    log: &EventLog,
    terms: &WalletTerms,
    metadata: &Metadata,
    grant: GrantCredit,
) -> Result<CreditAdjusted, CommandError<AdjustRefusal>> {
    adjust_credit(log, terms, metadata, grant.into()).await
}

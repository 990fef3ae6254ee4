//! The two-stream rule: the claim is on record and the credit in the wallet at once.

use super::{BonusAction, BonusCommand, BonusEvent, BonusRefusal, Bonuses};
use crate::ids::GrantId;
use crate::money::MicroUsd;
use crate::time::Timestamp;
use crate::wallet::{
    GrantSource, Wallet, WalletAction, WalletCommand, WalletEvent, WalletRefusal, WalletTerms,
};

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ShareCreditRefusal {
    #[error(transparent)]
    Bonus(#[from] BonusRefusal),
    #[error(transparent)]
    Wallet(#[from] WalletRefusal),
}

/// Grants the share credit, once ever. The third value is the wallet's balance after it.
///
/// # Errors
/// It was claimed before, or the wallet takes no such grant.
pub fn claim_share_credit(
    bonuses: &Bonuses,
    wallet: &Wallet,
    (grant_id, amount_micro): (GrantId, MicroUsd),
    terms: &WalletTerms,
    now: Timestamp,
) -> Result<(Vec<BonusEvent>, Vec<WalletEvent>, MicroUsd), ShareCreditRefusal> {
    let claim = BonusAction::ClaimShareCredit { grant_id, amount_micro };
    let bonus_events = bonuses.decide(BonusCommand { action: claim, now })?;
    let source = GrantSource::ShareCredit;
    let action = WalletAction::GrantCredit { grant_id, source, amount_micro, expires_at: None };
    let wallet_events = wallet.decide(WalletCommand { action, terms: terms.clone(), now })?;
    let balance = wallet_events.last().map_or_else(|| wallet.balance(), WalletEvent::balance);
    Ok((bonus_events, wallet_events, balance))
}

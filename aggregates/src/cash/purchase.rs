//! The two-stream rule: money leaves the Cash Wallet and credit enters the Token Wallet at once.
//!
//! The caller appends the events of both atomically. Nothing else spends cash.

use super::{CashAction, CashCommand, CashEvent, CashRefusal, CashWallet};
use crate::ids::GrantId;
use crate::money::MicroUsd;
use crate::time::Timestamp;
use crate::wallet::{
    GrantSource, Wallet, WalletAction, WalletCommand, WalletEvent, WalletRefusal, WalletTerms,
};

/// A token package as the catalogue prices it, `quantity` times.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenOrder {
    /// Also the grant's id in the Token Wallet.
    pub purchase_id: GrantId,
    pub plan_id: String,
    pub quantity: u32,
    /// For all of them.
    pub price_micro: MicroUsd,
    pub credit_micro: MicroUsd,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PurchaseRefusal {
    #[error(transparent)]
    Cash(#[from] CashRefusal),
    #[error(transparent)]
    Wallet(#[from] WalletRefusal),
}

/// What a purchase left in both wallets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bought {
    pub cash_balance_micro: MicroUsd,
    pub token_balance_micro: MicroUsd,
}

/// Buys a token package with the Cash Wallet's money.
///
/// # Errors
/// The cash does not cover it or is owed, or the Token Wallet takes no such grant.
pub fn buy_tokens(
    cash: &CashWallet,
    wallet: &Wallet,
    order: &TokenOrder,
    terms: &WalletTerms,
    now: Timestamp,
) -> Result<(Vec<CashEvent>, Vec<WalletEvent>, Bought), PurchaseRefusal> {
    let cash_events = cash.decide(CashCommand { action: CashAction::BuyTokens(order.clone()), now })?;
    let action = WalletAction::GrantCredit {
        grant_id: order.purchase_id,
        source: GrantSource::TopUp,
        amount_micro: order.credit_micro,
        expires_at: None,
    };
    let wallet_events = wallet.decide(WalletCommand { action, terms: terms.clone(), now })?;
    let bought = Bought {
        cash_balance_micro: cash_events.last().map_or_else(|| cash.balance(), CashEvent::balance),
        token_balance_micro: wallet_events.last().map_or_else(|| wallet.balance(), WalletEvent::balance),
    };
    Ok((cash_events, wallet_events, bought))
}

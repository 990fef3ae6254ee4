//! Token packages bought with a customer's real money, at most once per idempotency key.

use codexapi_aggregates::cash::{CashEvent, CashWallet, PurchaseRefusal, TokenOrder, buy_tokens as buy};
use codexapi_aggregates::catalog::{CATALOG_STREAM, Catalog};
use codexapi_aggregates::event::Metadata;
use codexapi_aggregates::ids::{AccountId, GrantId, PlanId};
use codexapi_aggregates::money::MicroUsd;
use codexapi_aggregates::wallet::{Wallet, WalletEvent, WalletTerms};
use sha2::{Digest, Sha256};

use crate::clock;
use crate::commands::CommandError;
use crate::event_log::{EventLog, IdempotencyKey};

/// What is bought.
#[derive(Clone, Debug)]
pub struct BuyTokens {
    pub account_id: AccountId,
    pub plan_id: PlanId,
    pub quantity: u32,
    /// The caller's: the same key with the same inputs buys once and answers as the first time.
    pub idempotency_key: String,
}

/// A purchase, as it was first made.
#[derive(Clone, Debug, PartialEq)]
pub struct TokensBought {
    pub purchase_id: GrantId,
    pub price_micro: MicroUsd,
    pub credit_micro: MicroUsd,
    pub cash_balance_micro: MicroUsd,
    pub token_balance_micro: MicroUsd,
    /// The key had been used before; nothing was bought this time.
    pub replayed: bool,
}

/// Why nothing was bought.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BuyRefusal {
    #[error("no plan is called {0}")]
    UnknownPlan(PlanId),
    #[error("{0} is no token package; it is bought by card")]
    NoTokens(PlanId),
    #[error("1 to {most} of this plan may be bought at a time, not {got}")]
    QuantityOutOfRange { got: u32, most: u32 },
    #[error(transparent)]
    Purchase(PurchaseRefusal),
}

/// Buys a token package: its price leaves the Cash Wallet and its credit enters the Token Wallet, or neither.
pub async fn buy_tokens(
    log: &EventLog,
    terms: &WalletTerms,
    metadata: &Metadata,
    asked: BuyTokens,
) -> Result<TokensBought, CommandError<BuyRefusal>> {
    let stream = asked.account_id.to_string();
    let purchase_id = GrantId(clock::new_id());
    let priced = |catalog: &Catalog| priced(catalog, &asked, purchase_id);
    let order = log.read(CATALOG_STREAM, priced).await.map_err(CommandError::unread)?;
    let inputs = serde_json::json!([asked.plan_id, asked.quantity]);
    let key = IdempotencyKey {
        command: "buy_tokens",
        account: stream.clone(),
        key: asked.idempotency_key.clone(),
        inputs_digest: Sha256::digest(inputs.to_string().as_bytes()).into(),
        keep_forever: true,
    };
    // The catalogue has its say within the command: a key that was used before answers as it did then, whatever has
    // become of the plan.
    let decide = |cash: &CashWallet, wallet: &Wallet, now| {
        let order = order.as_ref().map_err(BuyRefusal::clone)?;
        buy(cash, wallet, order, terms, now).map_err(BuyRefusal::Purchase)
    };
    let (committed, _) = log.execute_pair_once(&stream, &stream, metadata, key, decide).await?;
    let paid = committed.first.events.iter().find_map(|event| match event {
        CashEvent::TokensBought { purchase_id, amount_micro, credit_micro, balance_micro, .. } => {
            Some((*purchase_id, *amount_micro, *credit_micro, *balance_micro))
        }
        _ => None,
    });
    let token_balance_micro = committed.second.events.last().map(WalletEvent::balance);
    let (purchase_id, price_micro, credit_micro, cash_balance_micro) =
        paid.ok_or_else(|| CommandError::Failed(anyhow::anyhow!("a purchase left no event")))?;
    Ok(TokensBought {
        purchase_id,
        price_micro,
        credit_micro,
        cash_balance_micro,
        token_balance_micro: token_balance_micro
            .ok_or_else(|| CommandError::Failed(anyhow::anyhow!("a purchase granted nothing")))?,
        replayed: committed.first.replayed,
    })
}

fn priced(catalog: &Catalog, asked: &BuyTokens, purchase_id: GrantId) -> Result<TokenOrder, BuyRefusal> {
    let BuyTokens { plan_id, quantity, .. } = asked;
    let plan = catalog.plan(plan_id).ok_or_else(|| BuyRefusal::UnknownPlan(plan_id.clone()))?;
    let out_of_range = BuyRefusal::QuantityOutOfRange { got: *quantity, most: plan.max_quantity };
    if !(1..=plan.max_quantity).contains(quantity) {
        return Err(out_of_range);
    }
    let credit_micro = plan.credit(*quantity).ok_or_else(|| BuyRefusal::NoTokens(plan_id.clone()))?;
    let price_micro = plan.price(*quantity).ok_or(out_of_range)?;
    let (plan_id, quantity) = (plan_id.to_string(), *quantity);
    Ok(TokenOrder { purchase_id, plan_id, quantity, price_micro, credit_micro })
}

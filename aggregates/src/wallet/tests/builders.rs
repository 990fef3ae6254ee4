//! A wallet in the making: each step decides, folds what it decided, and returns it.

use std::sync::Arc;

use crate::examples::{
    a_micro_per_token, adjustment_id, attempt, generation, grant_id, key, micro, node, purchase_id, quote,
    second,
};
use crate::money::MicroUsd;
use crate::pricing::PriceBook;
use crate::time::Timestamp;
use crate::usage::ClientFamily;
use crate::wallet::{
    AdjustmentReason, ChargedBy, GrantPart, GrantSource, HoldLimits, PlaceHold, ProviderFailure,
    PurchaseItem, ReleaseReason, ReversalReason, SettleHold, Wallet, WalletAction, WalletCommand,
    WalletEvent, WalletRefusal, WalletTerms,
};

/// No leak, so that every example's numbers are the balance's own; holds expire after 1 000 s.
pub fn strict_terms() -> WalletTerms {
    WalletTerms {
        leak_floor_micro: micro(0),
        leak_basis_points: 0,
        hold_max_age_secs: 1_000,
        ..WalletTerms::default()
    }
}

/// A wallet, its terms and its clock.
#[derive(Clone)]
pub struct Story {
    pub wallet: Wallet,
    pub terms: WalletTerms,
    pub now: Timestamp,
    pub events: Vec<WalletEvent>,
}

impl Story {
    pub fn begin() -> Self {
        Self { wallet: Wallet::default(), terms: strict_terms(), now: second(0), events: vec![] }
    }

    /// The story so far, `seconds` after it began.
    pub fn at(mut self, seconds: i64) -> Self {
        self.now = second(seconds);
        self
    }

    /// Decides and folds; a refusal leaves everything as it was.
    pub fn act(&mut self, action: WalletAction) -> Result<Vec<WalletEvent>, WalletRefusal> {
        let events =
            self.wallet.decide(WalletCommand { action, terms: self.terms.clone(), now: self.now })?;
        for event in &events {
            self.wallet.evolve(event);
        }
        self.events.extend(events.iter().cloned());
        Ok(events)
    }

    /// A step that must not be refused.
    pub fn with(mut self, action: WalletAction) -> Self {
        self.act(action).expect("the story's own steps are allowed");
        self
    }

    pub fn granted(self, number: u128, amount: i64) -> Self {
        self.with(grant(number, amount, None))
    }

    pub fn granted_until(self, number: u128, amount: i64, expires_at: i64) -> Self {
        self.with(grant(number, amount, Some(expires_at)))
    }

    /// Credit that nobody paid for.
    pub fn given(self, number: u128, amount: i64) -> Self {
        self.with(gift(number, amount, None))
    }

    /// A hold whose estimate and worst case are `tokens` micro-USD each.
    pub fn held(self, number: u128, tokens: u64) -> Self {
        self.with(hold(number, tokens))
    }

    pub fn settled(self, number: u128, cost: i64) -> Self {
        self.with(settle(number, cost))
    }

    pub fn taken_back(self, number: u128, amount: i64) -> Self {
        self.with(take_back(number, amount))
    }

    pub fn reinstated(self, number: u128, amount: i64) -> Self {
        self.with(reinstate(number, amount))
    }

    /// What there is to spend, and what is owed.
    pub fn balance_and_debt(&self) -> (i64, i64) {
        (self.wallet.balance().0, self.wallet.debt().0)
    }

    pub fn remaining(&self, number: u128) -> Option<MicroUsd> {
        self.wallet.grant(grant_id(number)).map(|grant| grant.remaining_micro)
    }
}

pub fn grant(number: u128, amount: i64, expires_at: Option<i64>) -> WalletAction {
    WalletAction::GrantCredit {
        grant_id: grant_id(number),
        source: GrantSource::TopUp,
        amount_micro: micro(amount),
        expires_at: expires_at.map(second),
    }
}

pub fn gift(number: u128, amount: i64, expires_at: Option<i64>) -> WalletAction {
    WalletAction::GrantCredit {
        grant_id: grant_id(number),
        source: GrantSource::Admin,
        amount_micro: micro(amount),
        expires_at: expires_at.map(second),
    }
}

pub fn take_back(number: u128, amount: i64) -> WalletAction {
    WalletAction::TakeBackPayment { payment_id: grant_id(number), amount_micro: micro(amount) }
}

pub fn reinstate(number: u128, amount: i64) -> WalletAction {
    WalletAction::ReinstatePayment {
        payment_id: grant_id(number),
        amount_micro: micro(amount),
        recalled: None,
    }
}

pub fn purchase(number: u128, amount: i64) -> WalletAction {
    WalletAction::Purchase {
        purchase_id: purchase_id(number),
        item: PurchaseItem::ProjectSlot,
        amount_micro: micro(amount),
    }
}

pub fn adjust_down(number: u128, amount: i64) -> WalletAction {
    WalletAction::AdjustDown {
        adjustment_id: adjustment_id(number),
        reason: AdjustmentReason::GrantedInError,
        amount_micro: micro(amount),
    }
}

/// All input, so that nothing but `tokens` decides: needed = held = worst.
pub fn hold(number: u128, tokens: u64) -> WalletAction {
    WalletAction::PlaceHold(Box::new(request(number, tokens, 0)))
}

/// `input` tokens and at most `max_output` tokens, at a micro-USD each.
pub fn request(number: u128, input: u64, max_output: u64) -> PlaceHold {
    PlaceHold {
        generation_id: generation(number),
        key_id: key(1),
        family: ClientFamily::CodexCli,
        input_tokens: input,
        already_billed_tokens: 0,
        policies: PriceBook::default().family_policies(ClientFamily::CodexCli),
        cached_tokens: 0,
        max_output_tokens: max_output,
        quote: quote(a_micro_per_token()),
        cash_debt_micro: micro(0),
        limits: HoldLimits::default(),
        fair_use: Arc::default(),
        attempt: attempt(),
        node: node(1),
    }
}

pub fn place(request: PlaceHold) -> WalletAction {
    WalletAction::PlaceHold(Box::new(request))
}

pub fn settle(number: u128, cost: i64) -> WalletAction {
    settle_after(number, cost, ProviderFailure::None)
}

pub fn settle_after(number: u128, cost: i64, provider_failure: ProviderFailure) -> WalletAction {
    WalletAction::SettleHold(SettleHold {
        generation_id: generation(number),
        cost_micro: micro(cost),
        new_input_tokens: 100,
        output_tokens: 10,
        model: crate::examples::MODEL.into(),
        provider_failure,
    })
}

pub fn release(number: u128) -> WalletAction {
    WalletAction::ReleaseHold {
        generation_id: generation(number),
        reason: ReleaseReason::NothingDelivered,
        attempts: vec![],
    }
}

/// Gives `amount` back to the first grant for a charge of key `of`, made at `charged_at`.
pub fn reverse_for(number: u128, amount: i64, of: u128, charged_at: Timestamp) -> WalletAction {
    WalletAction::ReverseCharge {
        generation_id: generation(number),
        reason: ReversalReason::BadGeneration,
        parts: vec![GrantPart { grant_id: grant_id(1), amount_micro: micro(amount) }],
        charged: Some(ChargedBy { key_id: key(of), at: charged_at }),
        plan: None,
    }
}

pub fn sweep() -> WalletAction {
    WalletAction::ExpireHolds { dead_nodes: vec![] }
}

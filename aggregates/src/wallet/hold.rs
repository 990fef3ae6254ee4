//! Placing a hold: no byte of a request leaves before it is durable, whoever the customer is.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::entitlements::PlanCover;
use super::events::WalletEvent;
use super::key_use::AskedOfKey;
use super::{Decision, HoldLimits, MAX_OPEN_HOLDS, Wallet, WalletRefusal};
use crate::catalog::FairUseInForce;
use crate::ids::{GenerationId, KeyId, NodeIncarnation, PlanId};
use crate::money::MicroUsd;
use crate::pricing::FamilyPolicies;
use crate::pricing::tariff::Quote;
use crate::usage::buckets::MAX_TOKENS;
use crate::usage::{Attempt, AttemptOrder, BillingPolicy, ClientFamily, MAX_ATTEMPTS};

/// Output that a balance must cover before a request is admitted, in tokens.
const NEEDED_OUTPUT: u64 = 256;

/// Web searches that a worst case counts. No dialect bounds them by itself, so the number is a
/// judgement: an answer that searches makes a handful, and ten at today's fees stay below the
/// smallest leak limit, so that requests beside it are not kept waiting for searches that never
/// come. Searches beyond it are charged as reported, like any usage beyond a hold.
pub const WORST_WEB_SEARCHES: i64 = 10;

/// Sets credit aside for one generation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PlaceHold {
    pub generation_id: GenerationId,
    pub key_id: KeyId,
    pub family: ClientFamily,
    /// Estimated input tokens of the whole request.
    pub input_tokens: u64,
    /// Those of them that this conversation was billed for before.
    pub already_billed_tokens: u64,
    /// Whether those are charged again, by who pays.
    pub policies: FamilyPolicies,
    /// Those of them that the provider probably reads from its cache.
    pub cached_tokens: u64,
    /// The request's own limit, else the model's, in tokens.
    pub max_output_tokens: u64,
    pub quote: Quote,
    /// What the payer's Cash Wallet owes: token credit may have been bought with a payment that was taken back.
    pub cash_debt_micro: MicroUsd,
    /// What the key may use; none by default.
    pub limits: HoldLimits,
    /// Of the plans that are or were sold, as it is now.
    pub fair_use: Arc<FairUseInForce>,
    /// The first attempt, on record before it is dispatched.
    pub attempt: Attempt,
    pub node: NodeIncarnation,
}

impl PlaceHold {
    /// A limit of more than `MAX_TOKENS` is the client's to write and changes nothing: no balance
    /// covers either. Capped, no product of it with a rate leaves the range of micro-USD.
    fn capped(self) -> Self {
        Self {
            input_tokens: self.input_tokens.min(MAX_TOKENS),
            max_output_tokens: self.max_output_tokens.min(MAX_TOKENS),
            ..self
        }
    }

    /// Estimated input that `plan`, or the wallet, will be charged for.
    pub(super) fn new_input(&self, plan: Option<&PlanId>) -> u64 {
        self.input_tokens.saturating_sub(self.not_charged_again(plan))
    }

    fn not_charged_again(&self, plan: Option<&PlanId>) -> u64 {
        match self.policies.of(plan.map(PlanId::as_str)) {
            BillingPolicy::Delta => self.already_billed_tokens,
            BillingPolicy::Full => 0,
        }
    }

    /// What the input will probably cost the wallet, fees per call included.
    fn input_micro(&self) -> MicroUsd {
        let rates = self.quote.billed.rates_for(self.input_tokens);
        let new = self.new_input(None);
        let cached = self.cached_tokens.saturating_sub(self.not_charged_again(None)).min(new);
        let tokens = rates.cached_input().of(cached) + rates.input.of(new - cached);
        tokens.ceil() + self.quote.billed.fees.per_call_micro
    }

    fn output_micro(&self, tokens: u64) -> MicroUsd {
        self.quote.billed.rates_for(self.input_tokens).output.of(tokens).ceil()
    }

    /// The most the generation can cost: dearest bucket, dearest tier, all the output it may have,
    /// and `WORST_WEB_SEARCHES`.
    fn worst_micro(&self) -> MicroUsd {
        let billed = &self.quote.billed;
        let tokens =
            billed.dearest_input().of(self.input_tokens) + billed.dearest_output().of(self.max_output_tokens);
        let searches = MicroUsd(billed.fees.web_search_micro.0 * WORST_WEB_SEARCHES);
        tokens.ceil() + billed.fees.per_call_micro + searches
    }
}

impl Decision<'_> {
    /// Puts a further attempt on record before it is dispatched; the first stands in the hold. No
    /// event where it is the last one started.
    pub(super) fn start_attempt(
        &mut self,
        generation_id: GenerationId,
        attempt: Attempt,
    ) -> Result<(), WalletRefusal> {
        let wallet = self.wallet.as_ref();
        let hold = wallet.holds.get(&generation_id).ok_or(WalletRefusal::UnknownHold { generation_id })?;
        match attempt.follows(&hold.attempt) {
            AttemptOrder::Repeated => return Ok(()),
            AttemptOrder::Next => {}
            AttemptOrder::TooMany => return Err(WalletRefusal::TooManyAttempts { most: MAX_ATTEMPTS }),
            AttemptOrder::OutOfOrder { expected } => {
                return Err(WalletRefusal::AttemptOutOfOrder { expected, got: attempt.number });
            }
        }
        let event = WalletEvent::AttemptStarted {
            generation_id,
            attempt,
            balance_micro: wallet.balance(),
            held_micro: wallet.held_micro,
            at: self.now,
        };
        self.emit_last(event);
        Ok(())
    }

    pub(super) fn place_hold(&mut self, command: PlaceHold) -> Result<(), WalletRefusal> {
        let command = command.capped();
        let generation_id = command.generation_id;
        let wallet = self.wallet.as_ref();
        if wallet.holds.contains_key(&generation_id) || wallet.expired_holds.contains_key(&generation_id) {
            return Err(WalletRefusal::HoldExists { generation_id });
        }
        let model = &command.quote.model;
        let leak_limit = wallet.history.leak_limit(&self.terms, self.now);
        let expected = wallet.history.expected_output(model).min(command.max_output_tokens);
        let mut needed_output = expected.min(NEEDED_OUTPUT);
        if wallet.history.shortfalls(self.now) > leak_limit {
            // A wallet that keeps running into shortfalls must cover what it is known to ask for.
            let largest = wallet.history.largest_output(model, self.now).min(command.max_output_tokens);
            needed_output = needed_output.max(largest);
        }
        let requested = command.input_micro() + command.output_micro(needed_output);
        if let Some(cover) = wallet.cover(&command, expected, self.now)? {
            return self.place_covered(command, cover);
        }
        if wallet.debt_micro.is_positive() {
            return Err(WalletRefusal::InDebt { debt: wallet.debt_micro });
        }
        if command.cash_debt_micro.is_positive() {
            return Err(WalletRefusal::CashInDebt { debt: command.cash_debt_micro });
        }
        let worst_micro = command.worst_micro();
        let asked = AskedOfKey {
            key_id: command.key_id,
            input_tokens: command.input_tokens,
            needed_micro: requested,
            worst_micro,
        };
        wallet.refuse_beyond(&command.limits, &asked, self.now)?;
        let funds = wallet.funds();
        if funds.balance < requested {
            return Err(WalletRefusal::InsufficientCredit { available: funds.balance, requested });
        }
        let open_holds = wallet.holds_on_balance();
        let covers_estimates = funds.unheld >= requested;
        let covers_worst =
            open_holds == 0 || wallet.worst_micro + worst_micro <= funds.for_worst + leak_limit;
        if !covers_estimates || !covers_worst || wallet.holds.len() >= MAX_OPEN_HOLDS {
            return Err(WalletRefusal::MustWait { open_holds });
        }
        let amount_micro = command.input_micro() + command.output_micro(expected);
        let event = WalletEvent::HoldPlaced {
            generation_id,
            key_id: command.key_id,
            family: command.family,
            amount_micro,
            worst_micro,
            input_tokens: command.input_tokens,
            quote: Box::new(command.quote),
            attempt: command.attempt,
            node: command.node,
            plan: None,
            balance_micro: wallet.balance(),
            held_micro: wallet.held_micro + amount_micro,
            at: self.now,
        };
        self.emit_last(event);
        Ok(())
    }

    /// A plan pays: the balance has no say, and nothing of it is set aside.
    fn place_covered(&mut self, command: PlaceHold, cover: PlanCover) -> Result<(), WalletRefusal> {
        let wallet = self.wallet.as_ref();
        let (key_id, input_tokens) = (command.key_id, command.input_tokens);
        let asked =
            AskedOfKey { key_id, input_tokens, needed_micro: MicroUsd::ZERO, worst_micro: MicroUsd::ZERO };
        wallet.refuse_beyond(&command.limits, &asked, self.now)?;
        let open_holds = wallet.holds.len();
        if open_holds >= MAX_OPEN_HOLDS {
            return Err(WalletRefusal::MustWait { open_holds });
        }
        let event = WalletEvent::HoldPlaced {
            generation_id: command.generation_id,
            key_id,
            family: command.family,
            amount_micro: MicroUsd::ZERO,
            worst_micro: command.worst_micro(),
            input_tokens,
            quote: Box::new(command.quote),
            attempt: command.attempt,
            node: command.node,
            plan: Some(Box::new(cover)),
            balance_micro: wallet.balance(),
            held_micro: wallet.held_micro,
            at: self.now,
        };
        self.emit_last(event);
        Ok(())
    }
}

/// What a new hold or a purchase can count on.
pub(super) struct Funds {
    /// Unexpired credit.
    pub balance: MicroUsd,
    /// Unexpired credit less what open holds have set aside of it.
    pub unheld: MicroUsd,
    /// What open holds and the new one could spend together.
    pub for_worst: MicroUsd,
}

impl Wallet {
    /// Open holds that the balance pays for.
    pub(super) fn holds_on_balance(&self) -> usize {
        self.holds.len() - self.entitlements.open_holds
    }

    /// Credit that has expired but is kept for older holds is theirs alone: it lightens what they
    /// press on the rest, and a new hold cannot have it.
    pub(super) fn funds(&self) -> Funds {
        let unexpired = self.grants.iter().filter(|grant| !grant.expired);
        let balance: MicroUsd = unexpired.map(|grant| grant.remaining_micro).sum();
        if !self.keeps_expired_credit() {
            return Funds { balance, unheld: balance - self.held_micro, for_worst: balance };
        }
        Funds {
            balance,
            unheld: balance + self.kept_by_all(|hold| hold.amount_micro) - self.held_micro,
            for_worst: balance + self.kept_by_all(|hold| hold.worst_micro),
        }
    }
}

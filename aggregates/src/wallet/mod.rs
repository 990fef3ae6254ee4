//! A customer's prepaid credit: an ordered set of grants, the holds on it, and what was charged.
//!
//! The rules are a ladder of refusals ending in events. Folding compares no clocks: what is due at
//! a command's `now` (expired grants, holds past their hard age) is emitted by that command first.

pub mod entitlements;
pub mod events;
mod expiry;
mod grants;
mod history;
mod hold;
mod key_use;
mod payments;
mod refusal;
mod settle;
mod takings;

#[cfg(test)]
pub(crate) mod tests;

use std::borrow::Cow;
use std::collections::BTreeMap;

use cqrs_es::Aggregate;
use cqrs_es::event_sink::EventSink;
use serde::{Deserialize, Serialize};

pub use events::{
    AdjustmentReason, ChargedBy, ExpiryReason, GrantPart, GrantSource, GrantTerms, PurchaseItem,
    ReleaseReason, ReversalReason, WalletEvent,
};
pub use grants::{Grant, MAX_GRANT};
pub use hold::{PlaceHold, WORST_WEB_SEARCHES};
pub use key_use::{HoldLimits, KeyUseNow};
pub use refusal::WalletRefusal;
pub use settle::{ProviderFailure, SettleHold};

use crate::ids::{AdjustmentId, GenerationId, GrantId, KeyId, NodeIncarnation, PlanId, PurchaseId};
use crate::money::MicroUsd;
use crate::time::Timestamp;
use crate::usage::{Attempt, AttemptResult};
use entitlements::{
    Block, EntitlementEnd, EntitlementSource, EntitlementTerms, Entitlements, PaidPeriod, PlanCover, PlanUse,
    WalletFallback,
};
use history::History;
use key_use::KeyUses;
use payments::TakenBack;
use takings::RecentTakings;

/// Open holds a wallet may have; the next request waits.
pub const MAX_OPEN_HOLDS: usize = 4_096;

/// How long an expired hold can still be settled; later only an adjustment can.
const EXPIRED_HOLDS_KEPT_SECS: i64 = 30 * 86_400;

// Commands

/// What the operator has set; part of every command, so that a fold needs no configuration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WalletTerms {
    /// Seconds after which a hold expires whatever its node does.
    pub hold_max_age_secs: i64,
    /// The leak limit is the larger of this and `leak_basis_points` of the last 90 days' payments.
    pub leak_floor_micro: MicroUsd,
    pub leak_basis_points: u32,
    /// Generations a day that are free because the provider failed mid-stream.
    pub insured_generations_per_day: u32,
    pub insured_micro_per_day: MicroUsd,
}

impl Default for WalletTerms {
    fn default() -> Self {
        Self {
            hold_max_age_secs: 6 * 3_600,
            leak_floor_micro: MicroUsd::dollars(2),
            leak_basis_points: 1_000,
            insured_generations_per_day: 20,
            insured_micro_per_day: MicroUsd::dollars(2),
        }
    }
}

/// Something asked of a wallet at a moment (the later of the clock and the wallet's last event).
#[derive(Clone, Debug, PartialEq)]
pub struct WalletCommand {
    pub action: WalletAction,
    pub terms: WalletTerms,
    pub now: Timestamp,
}

#[derive(Clone, Debug, PartialEq)]
pub enum WalletAction {
    GrantCredit {
        grant_id: GrantId,
        source: GrantSource,
        amount_micro: MicroUsd,
        expires_at: Option<Timestamp>,
    },
    PlaceHold(Box<PlaceHold>),
    /// A further attempt at a provider, before it is dispatched.
    StartAttempt {
        generation_id: GenerationId,
        attempt: Attempt,
    },
    SettleHold(SettleHold),
    ReleaseHold {
        generation_id: GenerationId,
        reason: ReleaseReason,
        /// How each attempt failed.
        attempts: Vec<AttemptResult>,
    },
    /// Names node incarnations that are dead; also expires what is due.
    ExpireHolds {
        dead_nodes: Vec<NodeIncarnation>,
    },
    /// Gives a whole charge back to the grants it came from. Whether it may is the usage stream's rule.
    ReverseCharge {
        generation_id: GenerationId,
        reason: ReversalReason,
        parts: Vec<GrantPart>,
        /// Whose charge it was, where that is known.
        charged: Option<ChargedBy>,
        /// What it used of a plan.
        plan: Option<Box<PlanUse>>,
    },
    /// Time of a plan; after what the wallet already has of it.
    GrantEntitlement {
        /// For a payment, the payment's id.
        entitlement_id: GrantId,
        source: EntitlementSource,
        terms: EntitlementTerms,
        /// Where it is bought by the period.
        period: Option<PaidPeriod>,
    },
    /// Takes back what of a grant lies ahead; nothing where it is over.
    EndEntitlement {
        entitlement_id: GrantId,
        reason: EntitlementEnd,
    },
    /// Gives back what ending a grant took.
    ReinstateEntitlement {
        entitlement_id: GrantId,
    },
    /// How long a plan covers beyond its end; nothing where it is not running.
    SetEntitlementGrace {
        plan_id: PlanId,
        grace_secs: u32,
    },
    /// When the wallet pays for a customer who has a plan; what is absent stays.
    SetWalletFallback {
        outside_scope: Option<bool>,
        past_fair_use: Option<bool>,
    },
    /// Buys something from the credit that no hold has set aside.
    Purchase {
        purchase_id: PurchaseId,
        item: PurchaseItem,
        amount_micro: MicroUsd,
    },
    /// An operator's downward correction; never below what is there.
    AdjustDown {
        adjustment_id: AdjustmentId,
        reason: AdjustmentReason,
        amount_micro: MicroUsd,
    },
    /// A payment or a part of it was reversed. How much of its credit that concerns is the payment
    /// stream's rule.
    TakeBackPayment {
        payment_id: GrantId,
        amount_micro: MicroUsd,
    },
    /// A reversal did not stand.
    ReinstatePayment {
        payment_id: GrantId,
        amount_micro: MicroUsd,
        /// The log's word on the payment's grant, where `UnknownGrant` said that it has left the state.
        recalled: Option<GrantTerms>,
    },
}

// State

/// An open hold.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Hold {
    pub key_id: KeyId,
    pub amount_micro: MicroUsd,
    pub worst_micro: MicroUsd,
    /// The billed model.
    pub model: String,
    pub node: NodeIncarnation,
    pub placed_at: Timestamp,
    /// The last one started.
    pub attempt: Attempt,
    /// The plan that pays; nothing is set aside of the balance then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plan: Option<Box<PlanCover>>,
}

impl Hold {
    /// Whether it may spend credit that expires at `expires_at`.
    fn pays_before(&self, expires_at: Timestamp) -> bool {
        self.plan.is_none() && self.placed_at < expires_at
    }
}

/// A hold that expired and whose usage may still become known.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct ExpiredHold {
    hold: Hold,
    expired_at: Timestamp,
}

/// One customer's credit.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Wallet {
    /// In spend order.
    grants: Vec<Grant>,
    holds: BTreeMap<GenerationId, Hold>,
    expired_holds: BTreeMap<GenerationId, ExpiredHold>,
    /// Reversed payments that neither their grant nor other paid credit could cover.
    #[serde(default)]
    debt_micro: MicroUsd,
    #[serde(default)]
    taken_back: TakenBack,
    #[serde(default)]
    recent_takings: RecentTakings,
    /// Σ of open holds.
    held_micro: MicroUsd,
    /// Σ of open holds' worst cases.
    worst_micro: MicroUsd,
    history: History,
    keys: KeyUses,
    #[serde(default)]
    entitlements: Entitlements,
}

impl Wallet {
    /// Σ of what remains of every grant, in micro-USD.
    pub fn balance(&self) -> MicroUsd {
        self.grants.iter().map(|grant| grant.remaining_micro).sum()
    }

    /// Reversed payments still owed, in micro-USD; later credit pays them first.
    pub fn debt(&self) -> MicroUsd {
        self.debt_micro
    }

    /// Σ of open holds, in micro-USD.
    pub fn held(&self) -> MicroUsd {
        self.held_micro
    }

    /// What no open hold has set aside; never below 0.
    pub fn available(&self) -> MicroUsd {
        (self.balance() - self.held_micro).max(MicroUsd::ZERO)
    }

    pub fn open_holds(&self) -> impl Iterator<Item = (&GenerationId, &Hold)> {
        self.holds.iter()
    }

    /// The hold of a generation while it is open.
    pub fn open_hold(&self, generation_id: GenerationId) -> Option<&Hold> {
        self.holds.get(&generation_id)
    }

    pub fn grants(&self) -> &[Grant] {
        &self.grants
    }

    /// When the wallet pays for a customer who has a plan.
    pub fn wallet_fallback(&self) -> WalletFallback {
        self.entitlements.fallback
    }

    // Rules

    pub fn decide(&self, command: WalletCommand) -> Result<Vec<WalletEvent>, WalletRefusal> {
        let WalletCommand { action, terms, now } = command;
        let mut decision = Decision { wallet: Cow::Borrowed(self), events: Vec::new(), terms, now };
        decision.expire_what_is_due();
        match action {
            WalletAction::GrantCredit { grant_id, source, amount_micro, expires_at } => {
                decision.grant_credit(grant_id, source, amount_micro, expires_at)?;
            }
            WalletAction::PlaceHold(hold) => decision.place_hold(*hold)?,
            WalletAction::StartAttempt { generation_id, attempt } => {
                decision.start_attempt(generation_id, attempt)?;
            }
            WalletAction::SettleHold(settle) => decision.settle_hold(settle)?,
            WalletAction::ReleaseHold { generation_id, reason, attempts } => {
                decision.release_hold(generation_id, reason, attempts)?;
            }
            WalletAction::ExpireHolds { dead_nodes } => decision.expire_holds_of(&dead_nodes),
            WalletAction::ReverseCharge { generation_id, reason, parts, charged, plan } => {
                decision.reverse_charge(generation_id, reason, parts, charged, plan)?;
            }
            WalletAction::GrantEntitlement { entitlement_id, source, terms, period } => {
                decision.grant_entitlement(entitlement_id, source, terms, period)?;
            }
            WalletAction::EndEntitlement { entitlement_id, reason } => {
                decision.end_entitlement(entitlement_id, reason);
            }
            WalletAction::ReinstateEntitlement { entitlement_id } => {
                decision.reinstate_entitlement(entitlement_id);
            }
            WalletAction::SetEntitlementGrace { plan_id, grace_secs } => {
                decision.set_entitlement_grace(plan_id, grace_secs);
            }
            WalletAction::SetWalletFallback { outside_scope, past_fair_use } => {
                decision.set_wallet_fallback(outside_scope, past_fair_use);
            }
            WalletAction::Purchase { purchase_id, item, amount_micro } => {
                decision.purchase(purchase_id, item, amount_micro)?;
            }
            WalletAction::AdjustDown { adjustment_id, reason, amount_micro } => {
                decision.adjust_down(adjustment_id, reason, amount_micro)?;
            }
            WalletAction::TakeBackPayment { payment_id, amount_micro } => {
                decision.take_back_payment(payment_id, amount_micro)?;
            }
            WalletAction::ReinstatePayment { payment_id, amount_micro, recalled } => {
                decision.reinstate_payment(payment_id, amount_micro, recalled)?;
            }
        }
        Ok(decision.events)
    }

    fn evolve(&mut self, event: &WalletEvent) {
        self.debt_micro += event.debt_change();
        match event {
            WalletEvent::CreditGranted {
                grant_id,
                source,
                amount_micro,
                expires_at,
                debt_paid_micro,
                at,
                ..
            } => {
                self.history.remember_grant(*source, *amount_micro, *at);
                self.add_grant(Grant {
                    grant_id: *grant_id,
                    source: *source,
                    amount_micro: *amount_micro,
                    remaining_micro: *amount_micro - *debt_paid_micro,
                    expires_at: *expires_at,
                    granted_at: *at,
                    spent_at: *at,
                    expired: false,
                });
            }
            WalletEvent::GrantExpired { grant_id, expired_micro, .. } => {
                if let Some(grant) = self.grant_mut(*grant_id) {
                    grant.remaining_micro -= *expired_micro;
                    grant.expired = true;
                }
            }
            WalletEvent::HoldPlaced {
                generation_id,
                key_id,
                amount_micro,
                worst_micro,
                input_tokens,
                quote,
                attempt,
                node,
                plan,
                at,
                ..
            } => {
                match plan {
                    Some(cover) => self.entitlements.hold(cover),
                    None => {
                        self.held_micro += *amount_micro;
                        self.worst_micro += *worst_micro;
                    }
                }
                let hold = Hold {
                    key_id: *key_id,
                    amount_micro: *amount_micro,
                    worst_micro: *worst_micro,
                    model: quote.model.clone(),
                    node: *node,
                    placed_at: *at,
                    attempt: attempt.clone(),
                    plan: plan.clone(),
                };
                self.holds.insert(*generation_id, hold);
                self.keys.count_request(*key_id, *input_tokens, *at);
            }
            WalletEvent::AttemptStarted { generation_id, attempt, .. } => {
                if let Some(hold) = self.holds.get_mut(generation_id) {
                    hold.attempt = attempt.clone();
                }
            }
            WalletEvent::HoldReleased { generation_id, .. } => {
                self.close_hold(*generation_id);
                self.expired_holds.remove(generation_id);
            }
            WalletEvent::HoldExpired { generation_id, at, .. } => {
                if let Some(hold) = self.close_hold(*generation_id) {
                    self.expired_holds.insert(*generation_id, ExpiredHold { hold, expired_at: *at });
                }
                let oldest = at.minus_secs(EXPIRED_HOLDS_KEPT_SECS);
                self.expired_holds.retain(|_, expired| expired.expired_at >= oldest);
            }
            WalletEvent::UsageCharged {
                generation_id,
                model,
                output_tokens,
                charged_micro,
                shortfall_micro,
                insured_micro,
                from,
                plan,
                at,
                ..
            } => {
                let expired = self.expired_holds.remove(generation_id).map(|expired| expired.hold);
                if let Some(hold) = self.close_hold(*generation_id).or(expired) {
                    self.keys.count_charge(hold.key_id, *output_tokens, *charged_micro, *at);
                }
                self.take_from_grants(from, *at);
                if let Some(used) = plan {
                    self.entitlements.count(used);
                }
                self.history.remember_charge(model, *output_tokens, *shortfall_micro, *insured_micro, *at);
            }
            WalletEvent::ChargeReversed { to, charged, amount_micro, plan, .. } => {
                self.give_back_to_grants(to);
                if let Some(used) = plan {
                    self.entitlements.uncount(used);
                }
                if let Some(ChargedBy { key_id, at }) = charged {
                    self.keys.give_back(*key_id, *amount_micro, *at);
                }
            }
            WalletEvent::PurchaseMade { purchase_id, from, at, .. } => {
                self.take_from_grants(from, *at);
                self.recent_takings.remember(purchase_id.0);
            }
            WalletEvent::CreditAdjusted { adjustment_id, from, at, .. } => {
                self.take_from_grants(from, *at);
                self.recent_takings.remember(adjustment_id.0);
            }
            WalletEvent::PaymentReversed { payment_id, amount_micro, from, at, .. } => {
                self.payment_reversed(*payment_id, *amount_micro, from, *at);
            }
            WalletEvent::PaymentReinstated {
                payment_id, amount_micro, debt_paid_micro, grant, at, ..
            } => {
                self.payment_reinstated(*payment_id, *amount_micro, *debt_paid_micro, *grant, *at);
            }
            WalletEvent::EntitlementGranted {
                entitlement_id, source, terms, starts_at, ends_at, at, ..
            } => {
                let block = Block {
                    entitlement_id: *entitlement_id,
                    source: *source,
                    starts_at: *starts_at,
                    ends_at: *ends_at,
                };
                self.entitlements.grant(terms, block, *at);
            }
            WalletEvent::EntitlementEnded { entitlement_id, plan_id, taken_us, at, .. } => {
                self.entitlements.end(plan_id, *entitlement_id, *taken_us, *at);
            }
            WalletEvent::EntitlementReinstated { entitlement_id, plan_id, starts_at, ends_at, .. } => {
                self.entitlements.reinstate(plan_id, *entitlement_id, *starts_at, *ends_at);
            }
            WalletEvent::EntitlementGraceSet { plan_id, grace_secs, .. } => {
                self.entitlements.set_grace(plan_id, *grace_secs);
            }
            WalletEvent::EntitlementExpired { plan_id, .. } => self.entitlements.expire(plan_id),
            WalletEvent::WalletFallbackSet { fallback, .. } => self.entitlements.fallback = *fallback,
        }
    }

    /// The expired hold of a generation whose usage may still be settled at `now`.
    fn expired_hold(&self, generation_id: GenerationId, now: Timestamp) -> Option<&Hold> {
        let oldest = now.minus_secs(EXPIRED_HOLDS_KEPT_SECS);
        let expired = self.expired_holds.get(&generation_id)?;
        (expired.expired_at >= oldest).then_some(&expired.hold)
    }

    fn close_hold(&mut self, generation_id: GenerationId) -> Option<Hold> {
        let hold = self.holds.remove(&generation_id)?;
        match &hold.plan {
            Some(cover) => self.entitlements.close(cover),
            None => {
                self.held_micro -= hold.amount_micro;
                self.worst_micro -= hold.worst_micro;
            }
        }
        Some(hold)
    }
}

/// A decision in the making: the events so far, and the wallet as it is after those that later
/// steps look at. The wallet is copied only when a step must see the one before it.
struct Decision<'a> {
    wallet: Cow<'a, Wallet>,
    events: Vec<WalletEvent>,
    terms: WalletTerms,
    now: Timestamp,
}

impl Decision<'_> {
    /// Emits an event that later steps of this decision must see.
    fn emit(&mut self, event: WalletEvent) {
        self.wallet.to_mut().evolve(&event);
        self.events.push(event);
    }

    /// Emits an event that no later step of this decision looks at.
    fn emit_last(&mut self, event: WalletEvent) {
        self.events.push(event);
    }

    /// Emits an event that closes a hold, then the expiry of what was kept for it alone.
    fn emit_closing(&mut self, event: WalletEvent) {
        if self.wallet.keeps_expired_credit() {
            self.emit(event);
            self.expire_what_nothing_holds();
        } else {
            self.emit_last(event);
        }
    }
}

// cqrs-es

impl Aggregate for Wallet {
    const TYPE: &'static str = "wallet";
    type Command = WalletCommand;
    type Event = WalletEvent;
    type Error = WalletRefusal;
    type Services = ();

    async fn handle(
        &mut self,
        command: WalletCommand,
        _: &(),
        sink: &EventSink<Self>,
    ) -> Result<(), WalletRefusal> {
        for event in self.decide(command)? {
            sink.write(event, self).await;
        }
        Ok(())
    }

    fn apply(&mut self, event: WalletEvent) {
        self.evolve(&event);
    }
}

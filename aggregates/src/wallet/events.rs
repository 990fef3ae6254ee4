//! What can happen to a wallet. Every event carries the resulting balance and the total held.

use cqrs_es::DomainEvent;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::entitlements::{
    EntitlementEnd, EntitlementSource, EntitlementTerms, PaidPeriod, PlanCover, PlanUse, WalletFallback,
};
use crate::ids::{AdjustmentId, GenerationId, GrantId, KeyId, NodeIncarnation, PlanId, PurchaseId};
use crate::money::MicroUsd;
use crate::pricing::tariff::Quote;
use crate::time::Timestamp;
use crate::usage::{Attempt, AttemptResult, ClientFamily};

/// Where credit came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum GrantSource {
    TopUp,
    Admin,
    ShareCredit,
    Gumroad,
    Referral,
    Promo,
}

impl GrantSource {
    /// Whether it was bought: a reversed payment is taken from such credit, and is debt beyond it.
    pub fn is_paid(self) -> bool {
        match self {
            Self::TopUp => true,
            Self::Admin | Self::ShareCredit | Self::Gumroad | Self::Referral | Self::Promo => false,
        }
    }
}

/// What can be bought from a wallet's credit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum PurchaseItem {
    /// Room for one more managed project.
    ProjectSlot,
    /// A call that generates nothing, where the operator has set a price of calls.
    ApiCall,
}

/// Why an operator took credit away.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum AdjustmentReason {
    /// It should not have been granted.
    GrantedInError,
    /// It was granted twice.
    DuplicateCredit,
    /// It was come by against the terms.
    Abuse,
    /// The customer asked for it.
    CustomerRequest,
    /// An operator named the balance that there should be.
    BalanceSet,
}

/// What a grant was given as; an exhausted one that has left the state is known by it again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct GrantTerms {
    pub source: GrantSource,
    pub amount_micro: MicroUsd,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Timestamp>,
    pub granted_at: Timestamp,
}

/// A part of a movement, taken from or given back to one grant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct GrantPart {
    pub grant_id: GrantId,
    pub amount_micro: MicroUsd,
}

/// The key that a charge was made for, and when.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ChargedBy {
    pub key_id: KeyId,
    pub at: Timestamp,
}

/// Why a hold was closed without a charge.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ReleaseReason {
    /// The provider was not reached, refused, or failed before any output.
    NothingDelivered,
    /// An error body inside a 200, before any output.
    ErrorInSuccess,
    /// The client left before the request was dispatched.
    NotDispatched,
    /// Settling could not be made durable in time; the client was told and pays nothing.
    SettlementTimedOut,
    /// It had expired, and an operator has decided that nothing is to be charged.
    ByOperator,
}

/// Why a hold expired.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ExpiryReason {
    /// It reached the hard age.
    Age,
    /// The node incarnation that served it is dead.
    NodeDead,
}

/// Why a charge was taken back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ReversalReason {
    /// The client had been told that settling failed.
    ToldFailed,
    /// The operator judged the generation bad.
    BadGeneration,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub enum WalletEvent {
    CreditGranted {
        grant_id: GrantId,
        source: GrantSource,
        amount_micro: MicroUsd,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        expires_at: Option<Timestamp>,
        /// What of it paid debt; the rest can be spent.
        #[serde(default, skip_serializing_if = "is_zero")]
        debt_paid_micro: MicroUsd,
        balance_micro: MicroUsd,
        held_micro: MicroUsd,
        at: Timestamp,
    },
    /// Credit that nobody used in time. What open holds may still need stays until they close.
    GrantExpired {
        grant_id: GrantId,
        expired_micro: MicroUsd,
        kept_micro: MicroUsd,
        balance_micro: MicroUsd,
        held_micro: MicroUsd,
        at: Timestamp,
    },
    HoldPlaced {
        generation_id: GenerationId,
        key_id: KeyId,
        family: ClientFamily,
        /// The estimate that is set aside.
        amount_micro: MicroUsd,
        /// What the generation can cost at most.
        worst_micro: MicroUsd,
        /// Estimated input of the whole request, in tokens; counted against the key's limit.
        #[serde(default)]
        input_tokens: u64,
        quote: Box<Quote>,
        /// The first attempt at a provider, on record before it is dispatched.
        attempt: Attempt,
        node: NodeIncarnation,
        /// The plan that pays; `amount_micro` is 0 then, and `worst_micro` presses on no balance.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        plan: Option<Box<PlanCover>>,
        balance_micro: MicroUsd,
        /// Σ of open holds, this one included.
        held_micro: MicroUsd,
        at: Timestamp,
    },
    /// A further attempt at a provider, on record before it is dispatched.
    AttemptStarted {
        generation_id: GenerationId,
        attempt: Attempt,
        balance_micro: MicroUsd,
        held_micro: MicroUsd,
        at: Timestamp,
    },
    HoldReleased {
        generation_id: GenerationId,
        reason: ReleaseReason,
        /// How each attempt failed; absent in older events.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        attempts: Vec<AttemptResult>,
        balance_micro: MicroUsd,
        held_micro: MicroUsd,
        at: Timestamp,
    },
    HoldExpired {
        generation_id: GenerationId,
        reason: ExpiryReason,
        /// The last attempt, which the provider may have billed; absent in older events.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        attempt: Option<Attempt>,
        amount_micro: MicroUsd,
        balance_micro: MicroUsd,
        held_micro: MicroUsd,
        at: Timestamp,
    },
    /// The hold is closed and the generation paid: cost = charged + covered_by_plan + shortfall.
    UsageCharged {
        generation_id: GenerationId,
        /// The billed model, whose recent outputs size later holds.
        model: String,
        output_tokens: u64,
        cost_micro: MicroUsd,
        charged_micro: MicroUsd,
        covered_by_plan_micro: MicroUsd,
        /// What the balance could not cover; the operator's leak.
        shortfall_micro: MicroUsd,
        /// What the customer was spared because the provider failed mid-stream. Not part of the cost.
        insured_micro: MicroUsd,
        from: Vec<GrantPart>,
        /// What it used of the plan that pays.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        plan: Option<Box<PlanUse>>,
        /// The hold had expired before its usage became known.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        late: bool,
        balance_micro: MicroUsd,
        held_micro: MicroUsd,
        at: Timestamp,
    },
    ChargeReversed {
        generation_id: GenerationId,
        reason: ReversalReason,
        amount_micro: MicroUsd,
        to: Vec<GrantPart>,
        /// Whose charge it was and when, so that the key's budgets get it back.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        charged: Option<ChargedBy>,
        /// What of it, paid with bought credit, paid debt instead of going back: amount = parts + this.
        #[serde(default, skip_serializing_if = "is_zero")]
        debt_paid_micro: MicroUsd,
        /// What is given back of a plan.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        plan: Option<Box<PlanUse>>,
        balance_micro: MicroUsd,
        held_micro: MicroUsd,
        at: Timestamp,
    },
    /// Time of a plan, from `starts_at` on: now, or when what the wallet has of it ends.
    EntitlementGranted {
        entitlement_id: GrantId,
        source: EntitlementSource,
        terms: Box<EntitlementTerms>,
        /// Where it was bought by the period; without one its length is that of the terms.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        period: Option<PaidPeriod>,
        starts_at: Timestamp,
        ends_at: Timestamp,
        balance_micro: MicroUsd,
        held_micro: MicroUsd,
        at: Timestamp,
    },
    /// What of a grant lay ahead is taken back, and what follows it moves up.
    EntitlementEnded {
        entitlement_id: GrantId,
        plan_id: PlanId,
        reason: EntitlementEnd,
        /// Microseconds.
        taken_us: i64,
        /// When the plan ends now.
        ends_at: Timestamp,
        balance_micro: MicroUsd,
        held_micro: MicroUsd,
        at: Timestamp,
    },
    /// What ending a grant took is given back, after what the wallet has of the plan.
    EntitlementReinstated {
        entitlement_id: GrantId,
        plan_id: PlanId,
        starts_at: Timestamp,
        ends_at: Timestamp,
        balance_micro: MicroUsd,
        held_micro: MicroUsd,
        at: Timestamp,
    },
    /// How long a plan covers beyond its end, while it is expected to be paid for again.
    EntitlementGraceSet {
        plan_id: PlanId,
        /// 0 for none.
        grace_secs: u32,
        /// When the plan ends, without it.
        ends_at: Timestamp,
        balance_micro: MicroUsd,
        held_micro: MicroUsd,
        at: Timestamp,
    },
    /// The time of a plan is over, and the grace after it.
    EntitlementExpired {
        plan_id: PlanId,
        ends_at: Timestamp,
        balance_micro: MicroUsd,
        held_micro: MicroUsd,
        at: Timestamp,
    },
    /// When the wallet pays for a customer who has a plan.
    WalletFallbackSet {
        fallback: WalletFallback,
        balance_micro: MicroUsd,
        held_micro: MicroUsd,
        at: Timestamp,
    },
    PurchaseMade {
        purchase_id: PurchaseId,
        item: PurchaseItem,
        amount_micro: MicroUsd,
        from: Vec<GrantPart>,
        balance_micro: MicroUsd,
        held_micro: MicroUsd,
        at: Timestamp,
    },
    /// An operator took credit away.
    CreditAdjusted {
        adjustment_id: AdjustmentId,
        reason: AdjustmentReason,
        amount_micro: MicroUsd,
        from: Vec<GrantPart>,
        balance_micro: MicroUsd,
        held_micro: MicroUsd,
        at: Timestamp,
    },
    /// A payment, or a part of it, was refunded or disputed: amount = parts + debt added.
    PaymentReversed {
        payment_id: GrantId,
        amount_micro: MicroUsd,
        from: Vec<GrantPart>,
        debt_added_micro: MicroUsd,
        /// The whole debt after it.
        debt_micro: MicroUsd,
        balance_micro: MicroUsd,
        held_micro: MicroUsd,
        at: Timestamp,
    },
    /// What was taken back for a payment is the customer's again: amount = debt paid + credit that
    /// returned to the payment's grant.
    PaymentReinstated {
        payment_id: GrantId,
        amount_micro: MicroUsd,
        debt_paid_micro: MicroUsd,
        /// The payment's grant, where it had left the state and returns with this credit.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        grant: Option<GrantTerms>,
        /// The whole debt after it.
        debt_micro: MicroUsd,
        balance_micro: MicroUsd,
        held_micro: MicroUsd,
        at: Timestamp,
    },
}

fn is_zero(amount: &MicroUsd) -> bool {
    *amount == MicroUsd::ZERO
}

impl WalletEvent {
    /// The balance after this event, in micro-USD.
    pub fn balance(&self) -> MicroUsd {
        match self {
            Self::CreditGranted { balance_micro, .. }
            | Self::GrantExpired { balance_micro, .. }
            | Self::HoldPlaced { balance_micro, .. }
            | Self::AttemptStarted { balance_micro, .. }
            | Self::HoldReleased { balance_micro, .. }
            | Self::HoldExpired { balance_micro, .. }
            | Self::UsageCharged { balance_micro, .. }
            | Self::ChargeReversed { balance_micro, .. }
            | Self::PurchaseMade { balance_micro, .. }
            | Self::CreditAdjusted { balance_micro, .. }
            | Self::PaymentReversed { balance_micro, .. }
            | Self::PaymentReinstated { balance_micro, .. }
            | Self::EntitlementGranted { balance_micro, .. }
            | Self::EntitlementEnded { balance_micro, .. }
            | Self::EntitlementReinstated { balance_micro, .. }
            | Self::EntitlementGraceSet { balance_micro, .. }
            | Self::EntitlementExpired { balance_micro, .. }
            | Self::WalletFallbackSet { balance_micro, .. } => *balance_micro,
        }
    }

    /// The total held after this event, in micro-USD.
    pub fn held(&self) -> MicroUsd {
        match self {
            Self::CreditGranted { held_micro, .. }
            | Self::GrantExpired { held_micro, .. }
            | Self::HoldPlaced { held_micro, .. }
            | Self::AttemptStarted { held_micro, .. }
            | Self::HoldReleased { held_micro, .. }
            | Self::HoldExpired { held_micro, .. }
            | Self::UsageCharged { held_micro, .. }
            | Self::ChargeReversed { held_micro, .. }
            | Self::PurchaseMade { held_micro, .. }
            | Self::CreditAdjusted { held_micro, .. }
            | Self::PaymentReversed { held_micro, .. }
            | Self::PaymentReinstated { held_micro, .. }
            | Self::EntitlementGranted { held_micro, .. }
            | Self::EntitlementEnded { held_micro, .. }
            | Self::EntitlementReinstated { held_micro, .. }
            | Self::EntitlementGraceSet { held_micro, .. }
            | Self::EntitlementExpired { held_micro, .. }
            | Self::WalletFallbackSet { held_micro, .. } => *held_micro,
        }
    }

    /// What it adds to the debt; negative where it paid some.
    pub fn debt_change(&self) -> MicroUsd {
        match self {
            Self::CreditGranted { debt_paid_micro, .. }
            | Self::ChargeReversed { debt_paid_micro, .. }
            | Self::PaymentReinstated { debt_paid_micro, .. } => MicroUsd::ZERO - *debt_paid_micro,
            Self::PaymentReversed { debt_added_micro, .. } => *debt_added_micro,
            Self::GrantExpired { .. }
            | Self::HoldPlaced { .. }
            | Self::AttemptStarted { .. }
            | Self::HoldReleased { .. }
            | Self::HoldExpired { .. }
            | Self::UsageCharged { .. }
            | Self::PurchaseMade { .. }
            | Self::CreditAdjusted { .. }
            | Self::EntitlementGranted { .. }
            | Self::EntitlementEnded { .. }
            | Self::EntitlementReinstated { .. }
            | Self::EntitlementGraceSet { .. }
            | Self::EntitlementExpired { .. }
            | Self::WalletFallbackSet { .. } => MicroUsd::ZERO,
        }
    }

    /// When the rule decided it.
    pub fn at(&self) -> Timestamp {
        match self {
            Self::CreditGranted { at, .. }
            | Self::GrantExpired { at, .. }
            | Self::HoldPlaced { at, .. }
            | Self::AttemptStarted { at, .. }
            | Self::HoldReleased { at, .. }
            | Self::HoldExpired { at, .. }
            | Self::UsageCharged { at, .. }
            | Self::ChargeReversed { at, .. }
            | Self::PurchaseMade { at, .. }
            | Self::CreditAdjusted { at, .. }
            | Self::PaymentReversed { at, .. }
            | Self::PaymentReinstated { at, .. }
            | Self::EntitlementGranted { at, .. }
            | Self::EntitlementEnded { at, .. }
            | Self::EntitlementReinstated { at, .. }
            | Self::EntitlementGraceSet { at, .. }
            | Self::EntitlementExpired { at, .. }
            | Self::WalletFallbackSet { at, .. } => *at,
        }
    }
}

impl DomainEvent for WalletEvent {
    fn event_type(&self) -> String {
        match self {
            Self::CreditGranted { .. } => "wallet.credit_granted",
            Self::GrantExpired { .. } => "wallet.grant_expired",
            Self::HoldPlaced { .. } => "wallet.hold_placed",
            Self::AttemptStarted { .. } => "wallet.attempt_started",
            Self::HoldReleased { .. } => "wallet.hold_released",
            Self::HoldExpired { .. } => "wallet.hold_expired",
            Self::UsageCharged { .. } => "wallet.usage_charged",
            Self::ChargeReversed { .. } => "wallet.charge_reversed",
            Self::PurchaseMade { .. } => "wallet.purchase_made",
            Self::CreditAdjusted { .. } => "wallet.credit_adjusted",
            Self::PaymentReversed { .. } => "wallet.payment_reversed",
            Self::PaymentReinstated { .. } => "wallet.payment_reinstated",
            Self::EntitlementGranted { .. } => "wallet.entitlement_granted",
            Self::EntitlementEnded { .. } => "wallet.entitlement_ended",
            Self::EntitlementReinstated { .. } => "wallet.entitlement_reinstated",
            Self::EntitlementGraceSet { .. } => "wallet.entitlement_grace_set",
            Self::EntitlementExpired { .. } => "wallet.entitlement_expired",
            Self::WalletFallbackSet { .. } => "wallet.wallet_fallback_set",
        }
        .into()
    }

    fn event_version(&self) -> String {
        "1".into()
    }
}

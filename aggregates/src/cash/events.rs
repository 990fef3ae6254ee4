//! What can happen to a Cash Wallet. Every event carries the resulting balance and debt.

use cqrs_es::DomainEvent;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::ids::{CommissionId, GrantId};
use crate::money::MicroUsd;
use crate::time::Timestamp;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub enum CashEvent {
    ToppedUp {
        payment_id: GrantId,
        amount_micro: MicroUsd,
        balance_micro: MicroUsd,
        debt_micro: MicroUsd,
        at: Timestamp,
    },
    /// A refund or dispute took a part of a payment back; what the balance could not give is debt.
    PaymentTakenBack {
        payment_id: GrantId,
        amount_micro: MicroUsd,
        balance_micro: MicroUsd,
        debt_micro: MicroUsd,
        at: Timestamp,
    },
    /// A dispute was won, or a refund failed: what it had taken is there again.
    PaymentReinstated {
        payment_id: GrantId,
        amount_micro: MicroUsd,
        balance_micro: MicroUsd,
        debt_micro: MicroUsd,
        at: Timestamp,
    },
    /// A referral's commission, paid in after review.
    CommissionPaid {
        commission_id: CommissionId,
        amount_micro: MicroUsd,
        balance_micro: MicroUsd,
        debt_micro: MicroUsd,
        at: Timestamp,
    },
    /// The purchase that the commission was for was refunded or disputed.
    CommissionTakenBack {
        commission_id: CommissionId,
        amount_micro: MicroUsd,
        balance_micro: MicroUsd,
        debt_micro: MicroUsd,
        at: Timestamp,
    },
    CommissionReinstated {
        commission_id: CommissionId,
        amount_micro: MicroUsd,
        balance_micro: MicroUsd,
        debt_micro: MicroUsd,
        at: Timestamp,
    },
    /// Money became token credit: the Token Wallet has a grant of this id, appended with this event.
    TokensBought {
        purchase_id: GrantId,
        plan_id: String,
        quantity: u32,
        /// What was paid.
        amount_micro: MicroUsd,
        /// What the Token Wallet was granted.
        credit_micro: MicroUsd,
        balance_micro: MicroUsd,
        debt_micro: MicroUsd,
        at: Timestamp,
    },
}

impl CashEvent {
    /// The balance after this event, in micro-USD.
    pub fn balance(&self) -> MicroUsd {
        match self {
            Self::ToppedUp { balance_micro, .. }
            | Self::PaymentTakenBack { balance_micro, .. }
            | Self::PaymentReinstated { balance_micro, .. }
            | Self::CommissionPaid { balance_micro, .. }
            | Self::CommissionTakenBack { balance_micro, .. }
            | Self::CommissionReinstated { balance_micro, .. }
            | Self::TokensBought { balance_micro, .. } => *balance_micro,
        }
    }

    /// The debt after this event, in micro-USD.
    pub fn debt(&self) -> MicroUsd {
        match self {
            Self::ToppedUp { debt_micro, .. }
            | Self::PaymentTakenBack { debt_micro, .. }
            | Self::PaymentReinstated { debt_micro, .. }
            | Self::CommissionPaid { debt_micro, .. }
            | Self::CommissionTakenBack { debt_micro, .. }
            | Self::CommissionReinstated { debt_micro, .. }
            | Self::TokensBought { debt_micro, .. } => *debt_micro,
        }
    }

    /// What the event adds to balance less debt; negative where it takes.
    pub fn change(&self) -> MicroUsd {
        match self {
            Self::ToppedUp { amount_micro, .. }
            | Self::PaymentReinstated { amount_micro, .. }
            | Self::CommissionPaid { amount_micro, .. }
            | Self::CommissionReinstated { amount_micro, .. } => *amount_micro,
            Self::PaymentTakenBack { amount_micro, .. }
            | Self::CommissionTakenBack { amount_micro, .. }
            | Self::TokensBought { amount_micro, .. } => MicroUsd::ZERO - *amount_micro,
        }
    }

    /// When the rule decided it.
    pub fn at(&self) -> Timestamp {
        match self {
            Self::ToppedUp { at, .. }
            | Self::PaymentTakenBack { at, .. }
            | Self::PaymentReinstated { at, .. }
            | Self::CommissionPaid { at, .. }
            | Self::CommissionTakenBack { at, .. }
            | Self::CommissionReinstated { at, .. }
            | Self::TokensBought { at, .. } => *at,
        }
    }
}

impl DomainEvent for CashEvent {
    fn event_type(&self) -> String {
        match self {
            Self::ToppedUp { .. } => "cash_wallet.topped_up",
            Self::PaymentTakenBack { .. } => "cash_wallet.payment_taken_back",
            Self::PaymentReinstated { .. } => "cash_wallet.payment_reinstated",
            Self::CommissionPaid { .. } => "cash_wallet.commission_paid",
            Self::CommissionTakenBack { .. } => "cash_wallet.commission_taken_back",
            Self::CommissionReinstated { .. } => "cash_wallet.commission_reinstated",
            Self::TokensBought { .. } => "cash_wallet.tokens_bought",
        }
        .into()
    }

    fn event_version(&self) -> String {
        "1".into()
    }
}

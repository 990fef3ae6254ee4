//! What can happen between a customer who referred others and those who were referred.

use cqrs_es::DomainEvent;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::ids::{AccountId, CommissionId, GrantId};
use crate::money::MicroUsd;
use crate::time::Timestamp;

/// Where a commission stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum CommissionStanding {
    /// An operator has not looked at it.
    Pending,
    /// It is in the Cash Wallet.
    Paid,
    Rejected,
}

/// Why an operator pays no commission.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RejectionReason {
    SelfReferral,
    Abuse,
    PurchaseReversed,
    Requested,
}

/// What one purchase of a referred customer brings. Each event of a commission carries the whole of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Commission {
    /// The payment's id: a purchase brings one.
    pub commission_id: CommissionId,
    pub payment_id: GrantId,
    pub referred_id: AccountId,
    pub purchase_micro: MicroUsd,
    pub basis_points: u32,
    /// Of the whole purchase.
    pub amount_micro: MicroUsd,
    /// What refunds and disputes of the purchase leave of it.
    pub remaining_micro: MicroUsd,
    pub standing: CommissionStanding,
    pub earned_at: Timestamp,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub enum ReferralEvent {
    /// What this account's friends name.
    CodeIssued {
        code: String,
        at: Timestamp,
    },
    /// This account was referred by another.
    Attributed {
        referrer_id: AccountId,
        code: String,
        at: Timestamp,
    },
    /// From now on this account is no new customer.
    FirstPurchaseNoted {
        payment_id: GrantId,
        purchased_at: Timestamp,
        at: Timestamp,
    },
    /// The code was named after the first purchase.
    AttributionVoided {
        referrer_id: AccountId,
        at: Timestamp,
    },
    CommissionEarned {
        commission: Box<Commission>,
        at: Timestamp,
    },
    /// Refunds and disputes of the purchase leave less or more of it than before. Where it was paid, the Cash Wallet
    /// has the difference in the same append.
    CommissionAdjusted {
        commission: Box<Commission>,
        at: Timestamp,
    },
    /// The Cash Wallet has it in the same append.
    CommissionApproved {
        commission: Box<Commission>,
        at: Timestamp,
    },
    CommissionRejected {
        commission: Box<Commission>,
        reason: RejectionReason,
        at: Timestamp,
    },
}

impl DomainEvent for ReferralEvent {
    fn event_type(&self) -> String {
        match self {
            Self::CodeIssued { .. } => "referral.code_issued",
            Self::Attributed { .. } => "referral.attributed",
            Self::FirstPurchaseNoted { .. } => "referral.first_purchase_noted",
            Self::AttributionVoided { .. } => "referral.attribution_voided",
            Self::CommissionEarned { .. } => "referral.commission_earned",
            Self::CommissionAdjusted { .. } => "referral.commission_adjusted",
            Self::CommissionApproved { .. } => "referral.commission_approved",
            Self::CommissionRejected { .. } => "referral.commission_rejected",
        }
        .into()
    }

    fn event_version(&self) -> String {
        "1".into()
    }
}

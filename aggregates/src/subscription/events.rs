//! What can happen to a customer's subscription. Ids of the payment provider's objects are no personal data.

use cqrs_es::DomainEvent;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::ids::PaymentId;
use crate::money::MicroUsd;
use crate::time::Timestamp;
use crate::wallet::entitlements::EntitlementTerms;

/// What is sold again and again. Price and time stay as they were when it was asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SubscriptionTerms {
    /// Its first payment's, which also stands on every object of the payment provider's that is made for it.
    pub payment_id: PaymentId,
    /// Of each period.
    pub price_micro: MicroUsd,
    pub livemode: bool,
    /// What each period gives; how long it is, the payment provider's month says.
    pub entitlement: EntitlementTerms,
}

/// Why it does not go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SubscriptionEnd {
    /// The customer or the operator wished so.
    Cancelled,
    /// No more is tried to have it paid.
    Unpaid,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub enum SubscriptionEvent {
    /// A customer is sent to a checkout; the first payment is started in the same append.
    Requested { terms: Box<SubscriptionTerms>, at: Timestamp },
    /// The first period is paid, and the payment provider bills the next ones by itself.
    Started {
        payment_id: PaymentId,
        /// The payment provider's id of it.
        provider_id: String,
        period_ends_at: Timestamp,
        at: Timestamp,
    },
    /// A further period is paid.
    Renewed { payment_id: PaymentId, period_ends_at: Timestamp, at: Timestamp },
    /// A further period should be paid, and was not when it was tried.
    PastDue {
        payment_id: PaymentId,
        /// Of that period.
        period_ends_at: Timestamp,
        /// The plan still covers until then.
        grace_ends_at: Timestamp,
        at: Timestamp,
    },
    /// It will not be paid for again.
    CancellationSet { ends_at: Timestamp, at: Timestamp },
    /// It will be paid for again after all.
    CancellationLifted { at: Timestamp },
    /// The payment provider bills no more of it. What was paid for lasts as long as it would have.
    Ended { reason: SubscriptionEnd, at: Timestamp },
}

impl DomainEvent for SubscriptionEvent {
    fn event_type(&self) -> String {
        match self {
            Self::Requested { .. } => "subscription.requested",
            Self::Started { .. } => "subscription.started",
            Self::Renewed { .. } => "subscription.renewed",
            Self::PastDue { .. } => "subscription.past_due",
            Self::CancellationSet { .. } => "subscription.cancellation_set",
            Self::CancellationLifted { .. } => "subscription.cancellation_lifted",
            Self::Ended { .. } => "subscription.ended",
        }
        .into()
    }

    fn event_version(&self) -> String {
        "1".into()
    }
}

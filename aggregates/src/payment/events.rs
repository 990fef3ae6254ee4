//! What can happen to a payment. Ids of the payment provider's objects are no personal data; card
//! numbers, names and addresses are never ours to begin with.

use cqrs_es::DomainEvent;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::ids::{AccountId, PaymentId};
use crate::money::MicroUsd;
use crate::time::Timestamp;
use crate::wallet::entitlements::EntitlementTerms;

/// What prices are in. Micro-USD is all we account in, so there is one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Currency {
    Usd,
}

/// What a payment buys, whatever the quantity: amounts are of the whole payment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Purpose {
    /// Credit in the token wallet.
    TokenCredit { credit_micro: MicroUsd },
    /// Real money in the cash wallet, as much as is paid.
    CashTopUp,
    /// Time of a plan.
    Entitlement { terms: Box<EntitlementTerms> },
}

/// How the customer is asked for the money.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Channel {
    /// A page of the payment provider's that the customer is sent to.
    Checkout,
    /// A saved card, without the customer.
    OffSession,
    /// An invoice of a subscription.
    Invoice,
}

/// Why no money came.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum FailureReason {
    /// The card or bank said no.
    Declined,
    /// The bank wants the customer, who is not there.
    AuthenticationRequired,
    /// The payment provider would not have the request.
    NotAccepted,
}

/// How far a refund is. Later ones outrank earlier ones, in whatever order they are heard of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RefundStatus {
    /// On its way or arrived.
    Made,
    /// It came back, or was called off.
    Failed,
}

/// How far a dispute is. Later ones outrank earlier ones, in whatever order they are heard of: a lost
/// dispute may still be won on appeal, a won one is not lost again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum DisputeStatus {
    /// The bank asks; no money has moved.
    Inquiry,
    /// The money is withheld.
    Open,
    Lost,
    /// The money is ours again, or never left.
    Won,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub enum PaymentEvent {
    /// On record before the payment provider hears of it.
    PaymentStarted {
        payment_id: PaymentId,
        account_id: AccountId,
        channel: Channel,
        purpose: Purpose,
        /// The catalogue's name of what is bought.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        plan_id: Option<String>,
        quantity: u32,
        /// Of the whole payment; whole cents.
        price_micro: MicroUsd,
        currency: Currency,
        /// Real money, not the payment provider's test mode.
        livemode: bool,
        at: Timestamp,
    },
    /// The page where the customer pays exists.
    CheckoutOpened {
        payment_id: PaymentId,
        session_id: String,
        at: Timestamp,
    },
    /// The money is ours. The credit for it stands in the same append, in the wallet's stream.
    PaymentCredited {
        payment_id: PaymentId,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        payment_intent_id: Option<String>,
        paid_micro: MicroUsd,
        granted_micro: MicroUsd,
        /// Less than granted where reversals were heard of before the payment was.
        remaining_micro: MicroUsd,
        at: Timestamp,
    },
    PaymentFailed {
        payment_id: PaymentId,
        reason: FailureReason,
        at: Timestamp,
    },
    /// The customer did not pay in time.
    PaymentExpired {
        payment_id: PaymentId,
        at: Timestamp,
    },
    RefundRecorded {
        payment_id: PaymentId,
        refund_id: String,
        amount_micro: MicroUsd,
        status: RefundStatus,
        /// All refunds and disputes that hold now.
        reversed_micro: MicroUsd,
        /// What should remain of the credit, below 0 where more was reversed than paid.
        remaining_micro: MicroUsd,
        at: Timestamp,
    },
    DisputeRecorded {
        payment_id: PaymentId,
        dispute_id: String,
        amount_micro: MicroUsd,
        status: DisputeStatus,
        reversed_micro: MicroUsd,
        remaining_micro: MicroUsd,
        at: Timestamp,
    },
}

impl PaymentEvent {
    pub fn at(&self) -> Timestamp {
        match self {
            Self::PaymentStarted { at, .. }
            | Self::CheckoutOpened { at, .. }
            | Self::PaymentCredited { at, .. }
            | Self::PaymentFailed { at, .. }
            | Self::PaymentExpired { at, .. }
            | Self::RefundRecorded { at, .. }
            | Self::DisputeRecorded { at, .. } => *at,
        }
    }

    pub fn payment_id(&self) -> PaymentId {
        match self {
            Self::PaymentStarted { payment_id, .. }
            | Self::CheckoutOpened { payment_id, .. }
            | Self::PaymentCredited { payment_id, .. }
            | Self::PaymentFailed { payment_id, .. }
            | Self::PaymentExpired { payment_id, .. }
            | Self::RefundRecorded { payment_id, .. }
            | Self::DisputeRecorded { payment_id, .. } => *payment_id,
        }
    }
}

impl DomainEvent for PaymentEvent {
    fn event_type(&self) -> String {
        match self {
            Self::PaymentStarted { .. } => "payment.payment_started",
            Self::CheckoutOpened { .. } => "payment.checkout_opened",
            Self::PaymentCredited { .. } => "payment.payment_credited",
            Self::PaymentFailed { .. } => "payment.payment_failed",
            Self::PaymentExpired { .. } => "payment.payment_expired",
            Self::RefundRecorded { .. } => "payment.refund_recorded",
            Self::DisputeRecorded { .. } => "payment.dispute_recorded",
        }
        .into()
    }

    fn event_version(&self) -> String {
        "1".into()
    }
}

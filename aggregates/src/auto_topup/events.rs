//! What can happen to a wallet's automatic top-up. The card is not named: it stands in an erasable table.

use cqrs_es::DomainEvent;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::ids::PaymentId;
use crate::money::MicroUsd;
use crate::payment::FailureReason;
use crate::time::Timestamp;

/// What each top-up buys.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TopUpOrder {
    /// The catalogue's name of it; absent where credit is bought for as much as it is worth.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plan_id: Option<String>,
    pub price_micro: MicroUsd,
    pub credit_micro: MicroUsd,
}

/// Why it is off.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OffReason {
    /// The customer wished so.
    Asked,
    /// The card was declined too often in a row.
    Declined,
    /// There is no card any more.
    NoCard,
}

/// Why a top-up did not come about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum AttemptFailure {
    Declined,
    AuthenticationRequired,
    NotAccepted,
    /// It was called off before the card was asked.
    Expired,
}

impl From<FailureReason> for AttemptFailure {
    fn from(reason: FailureReason) -> Self {
        match reason {
            FailureReason::Declined => Self::Declined,
            FailureReason::AuthenticationRequired => Self::AuthenticationRequired,
            FailureReason::NotAccepted => Self::NotAccepted,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub enum AutoTopUpEvent {
    /// Also when its terms change while it is on.
    SwitchedOn {
        order: TopUpOrder,
        /// It fires below this balance.
        threshold_micro: MicroUsd,
        /// The most it pays in a calendar month, UTC.
        monthly_limit_micro: MicroUsd,
        at: Timestamp,
    },
    SwitchedOff {
        reason: OffReason,
        at: Timestamp,
    },
    /// The payment is started in the same append.
    AttemptStarted {
        payment_id: PaymentId,
        /// Counts the attempts of this wallet; with the wallet's id it is the provider's idempotency key.
        arming: u64,
        balance_micro: MicroUsd,
        price_micro: MicroUsd,
        /// Of this month, this attempt included.
        spent_micro: MicroUsd,
        at: Timestamp,
    },
    AttemptCredited {
        payment_id: PaymentId,
        at: Timestamp,
    },
    AttemptFailed {
        payment_id: PaymentId,
        reason: AttemptFailure,
        /// In a row.
        failures: u32,
        /// Of this month, this attempt no longer included.
        spent_micro: MicroUsd,
        /// It does not fire again before that.
        cools_until: Timestamp,
        at: Timestamp,
    },
}

impl AutoTopUpEvent {
    pub fn at(&self) -> Timestamp {
        match self {
            Self::SwitchedOn { at, .. }
            | Self::SwitchedOff { at, .. }
            | Self::AttemptStarted { at, .. }
            | Self::AttemptCredited { at, .. }
            | Self::AttemptFailed { at, .. } => *at,
        }
    }
}

impl DomainEvent for AutoTopUpEvent {
    fn event_type(&self) -> String {
        match self {
            Self::SwitchedOn { .. } => "auto_topup.switched_on",
            Self::SwitchedOff { .. } => "auto_topup.switched_off",
            Self::AttemptStarted { .. } => "auto_topup.attempt_started",
            Self::AttemptCredited { .. } => "auto_topup.attempt_credited",
            Self::AttemptFailed { .. } => "auto_topup.attempt_failed",
        }
        .into()
    }

    fn event_version(&self) -> String {
        "1".into()
    }
}

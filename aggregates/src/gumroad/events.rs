//! What can happen to the credit of a customer who bought at Gumroad.

use cqrs_es::DomainEvent;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::ids::{AccountId, GrantId};
use crate::money::MicroUsd;
use crate::time::Timestamp;

/// Why an operator looks at a sign-up before it brings credit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum DoubtReason {
    /// No licence key was given.
    NoLicence,
    /// Another account has the licence's credit, or waits for it.
    LicenceTaken,
    /// Gumroad could not be asked about the licence.
    NotVerified,
    /// An account was made from this device before.
    RepeatedDevice,
    /// An account was made from this network before.
    RepeatedNetwork,
    /// An account was made with this address before.
    RepeatedEmail,
}

/// Why an operator gives no credit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum DenialReason {
    NoPurchase,
    Duplicate,
    Abuse,
    Requested,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SignupStanding {
    /// An operator has not looked at it.
    Waiting,
    Granted,
    Denied,
}

/// A customer who came from Gumroad.com. Each event carries the whole of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Signup {
    pub account_id: AccountId,
    /// A licence key was given; the stream is named by its keyed digest.
    pub has_licence: bool,
    /// Gumroad says that the licence is good.
    pub verified: bool,
    /// Empty where the credit was given at once.
    pub doubts: Vec<DoubtReason>,
    pub amount_micro: MicroUsd,
    pub standing: SignupStanding,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grant_id: Option<GrantId>,
    pub signed_up_at: Timestamp,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub enum GumroadEvent {
    SignedUp {
        signup: Signup,
        at: Timestamp,
    },
    /// The Token Wallet has the grant in the same append.
    CreditGranted {
        signup: Signup,
        at: Timestamp,
    },
    CreditDenied {
        signup: Signup,
        reason: DenialReason,
        at: Timestamp,
    },
}

impl GumroadEvent {
    pub fn signup(&self) -> &Signup {
        match self {
            Self::SignedUp { signup, .. }
            | Self::CreditGranted { signup, .. }
            | Self::CreditDenied { signup, .. } => signup,
        }
    }

    pub fn at(&self) -> Timestamp {
        match self {
            Self::SignedUp { at, .. } | Self::CreditGranted { at, .. } | Self::CreditDenied { at, .. } => *at,
        }
    }
}

impl DomainEvent for GumroadEvent {
    fn event_type(&self) -> String {
        match self {
            Self::SignedUp { .. } => "gumroad.signed_up",
            Self::CreditGranted { .. } => "gumroad.credit_granted",
            Self::CreditDenied { .. } => "gumroad.credit_denied",
        }
        .into()
    }

    fn event_version(&self) -> String {
        "1".into()
    }
}

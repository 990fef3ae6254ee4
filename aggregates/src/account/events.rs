//! What can happen to an account. Personal data and secrets stand elsewhere: events carry a person
//! id and keyed digests.

use cqrs_es::DomainEvent;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::ids::{AccountId, KeyId, PersonId};
use crate::money::MicroUsd;
use crate::time::Timestamp;

/// What a key may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum KeyKind {
    /// The customer's username, used as bearer; each customer has exactly one active.
    SystemToken,
    /// A further key of a customer.
    Api,
    /// A key linked to no customer: generations are the operator's cost.
    Operator,
    /// Opens the operator's routes.
    Admin,
}

impl KeyKind {
    pub fn name(self) -> &'static str {
        match self {
            Self::SystemToken => "system_token",
            Self::Api => "api",
            Self::Operator => "operator",
            Self::Admin => "admin",
        }
    }
}

/// What a key may use and from where; what is absent is not limited.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct KeyLimits {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub requests_per_minute: Option<u32>,
    /// Input and output together.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tokens_per_minute: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parallel_requests: Option<u32>,
    /// Per UTC day.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub daily_budget_micro: Option<MicroUsd>,
    /// Per UTC month.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub monthly_budget_micro: Option<MicroUsd>,
    /// In alphabetical order; empty for all.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub allowed_models: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Timestamp>,
    /// Only some networks may use it. Which ones is personal data and stands in an erasable table.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub has_networks: bool,
}

/// What a customer wants done with requests while a surge that customers see is on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ToolboxChoice {
    /// Served as asked for, at the surge's prices.
    #[default]
    Stay,
    /// Served and billed as the budget model.
    Deepseek,
    /// Turned away until the surge ends.
    Pause,
}

impl ToolboxChoice {
    pub const ALL: [Self; 3] = [Self::Stay, Self::Deepseek, Self::Pause];

    pub fn name(self) -> &'static str {
        match self {
            Self::Stay => "stay",
            Self::Deepseek => "deepseek",
            Self::Pause => "pause",
        }
    }
}

/// Why an account is suspended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SuspensionReason {
    /// The customer asked for it.
    Requested,
    Abuse,
    /// A payment is disputed or was taken back.
    PaymentDispute,
    /// Somebody else seems to use it.
    Compromised,
    Investigation,
}

/// Why a key stopped working.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RevocationReason {
    Requested,
    Rotated,
    Compromised,
    AccountClosed,
}

/// Why an operator opened a sealed token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RevealReason {
    Delivery,
    Support,
    Investigation,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub enum AccountEvent {
    CustomerRegistered {
        account_id: AccountId,
        person_id: PersonId,
        at: Timestamp,
    },
    KeyIssued {
        key_id: KeyId,
        kind: KeyKind,
        /// HMAC-SHA256 of the token under the deployment's digest key, lower-case hex.
        digest: String,
        /// The first characters, enough to recognise a key by and far too few to use.
        prefix: String,
        at: Timestamp,
    },
    KeyRevoked {
        key_id: KeyId,
        reason: RevocationReason,
        at: Timestamp,
    },
    KeyLimitsSet {
        key_id: KeyId,
        limits: Box<KeyLimits>,
        at: Timestamp,
    },
    /// None of its keys works until it is reinstated.
    AccountSuspended {
        reason: SuspensionReason,
        at: Timestamp,
    },
    AccountReinstated {
        at: Timestamp,
    },
    /// A sealed token was opened for an operator; the actor stands in the metadata.
    TokenRevealed {
        key_id: KeyId,
        reason: RevealReason,
        at: Timestamp,
    },
    /// What the customer wants done during surges from now on.
    ToolboxSet {
        choice: ToolboxChoice,
        at: Timestamp,
    },
}

impl DomainEvent for AccountEvent {
    fn event_type(&self) -> String {
        match self {
            Self::CustomerRegistered { .. } => "account.customer_registered",
            Self::KeyIssued { .. } => "account.key_issued",
            Self::KeyRevoked { .. } => "account.key_revoked",
            Self::KeyLimitsSet { .. } => "account.key_limits_set",
            Self::AccountSuspended { .. } => "account.account_suspended",
            Self::AccountReinstated { .. } => "account.account_reinstated",
            Self::TokenRevealed { .. } => "account.token_revealed",
            Self::ToolboxSet { .. } => "account.toolbox_set",
        }
        .into()
    }

    fn event_version(&self) -> String {
        "1".into()
    }
}

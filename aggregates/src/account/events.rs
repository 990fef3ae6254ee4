//! What can happen to an account. Personal data and secrets stand elsewhere: events carry a person
//! id and keyed digests.

use cqrs_es::DomainEvent;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::ids::{AccountId, KeyId, PersonId};
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
    /// A sealed token was opened for an operator; the actor stands in the metadata.
    TokenRevealed {
        key_id: KeyId,
        reason: RevealReason,
        at: Timestamp,
    },
}

impl DomainEvent for AccountEvent {
    fn event_type(&self) -> String {
        match self {
            Self::CustomerRegistered { .. } => "account.customer_registered",
            Self::KeyIssued { .. } => "account.key_issued",
            Self::KeyRevoked { .. } => "account.key_revoked",
            Self::TokenRevealed { .. } => "account.token_revealed",
        }
        .into()
    }

    fn event_version(&self) -> String {
        "1".into()
    }
}

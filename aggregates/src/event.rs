//! What every event of every aggregate has in common: the stream it stands in and what caused it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::account::AccountEvent;
use crate::auto_topup::AutoTopUpEvent;
use crate::bonus::BonusEvent;
use crate::cash::CashEvent;
use crate::catalog::CatalogEvent;
use crate::gumroad::GumroadEvent;
use crate::log::LogEvent;
use crate::payment::PaymentEvent;
use crate::pricing::PricingEvent;
use crate::referral::ReferralEvent;
use crate::routing::RoutingEvent;
use crate::service::ServiceEvent;
use crate::subscription::SubscriptionEvent;
use crate::usage::UsageEvent;
use crate::wallet::events::WalletEvent;

/// Who caused an event, by which request, and because of what. Never personal data, never a secret.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Metadata {
    /// `customer:<account id>`, `operator:<name>`, `key:<key id>` or `process:<name>`.
    pub actor: String,
    /// The request id that the client was told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
    /// What led to this event, as `<aggregate>.<event_type>:<event id>` or a process's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<String>,
}

impl Metadata {
    pub fn process(name: &str) -> Self {
        Self { actor: format!("process:{name}"), ..Self::default() }
    }
}

/// Any event of the log, decoded.
#[derive(Clone, Debug, PartialEq)]
pub enum AnyEvent {
    Account(AccountEvent),
    AutoTopUp(AutoTopUpEvent),
    Bonus(BonusEvent),
    Cash(CashEvent),
    Gumroad(GumroadEvent),
    Catalog(CatalogEvent),
    Log(LogEvent),
    Payment(PaymentEvent),
    Pricing(PricingEvent),
    Referral(ReferralEvent),
    Routing(RoutingEvent),
    Service(ServiceEvent),
    Subscription(SubscriptionEvent),
    Usage(UsageEvent),
    Wallet(WalletEvent),
}

/// An event that this build cannot read: an unknown aggregate, or a payload that is not its type's.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    #[error("no aggregate is called {0:?}")]
    UnknownAggregate(String),
    #[error("payload of {aggregate_type}: {source}")]
    Payload { aggregate_type: String, source: serde_json::Error },
}

impl AnyEvent {
    /// Decodes a stored payload (JSON text) of `aggregate_type`. Older versions of an event type are
    /// brought to the current one here; every type is at version 1 so far.
    pub fn decode(aggregate_type: &str, payload: &[u8]) -> Result<Self, DecodeError> {
        let failed = |source| DecodeError::Payload { aggregate_type: aggregate_type.into(), source };
        match aggregate_type {
            "account" => serde_json::from_slice(payload).map(Self::Account).map_err(failed),
            "auto_topup" => serde_json::from_slice(payload).map(Self::AutoTopUp).map_err(failed),
            "bonus" => serde_json::from_slice(payload).map(Self::Bonus).map_err(failed),
            "cash_wallet" => serde_json::from_slice(payload).map(Self::Cash).map_err(failed),
            "gumroad" => serde_json::from_slice(payload).map(Self::Gumroad).map_err(failed),
            "catalog" => serde_json::from_slice(payload).map(Self::Catalog).map_err(failed),
            "log" => serde_json::from_slice(payload).map(Self::Log).map_err(failed),
            "payment" => serde_json::from_slice(payload).map(Self::Payment).map_err(failed),
            "pricing" => serde_json::from_slice(payload).map(Self::Pricing).map_err(failed),
            "referral" => serde_json::from_slice(payload).map(Self::Referral).map_err(failed),
            "routing" => serde_json::from_slice(payload).map(Self::Routing).map_err(failed),
            "service" => serde_json::from_slice(payload).map(Self::Service).map_err(failed),
            "subscription" => serde_json::from_slice(payload).map(Self::Subscription).map_err(failed),
            "usage" => serde_json::from_slice(payload).map(Self::Usage).map_err(failed),
            "wallet" => serde_json::from_slice(payload).map(Self::Wallet).map_err(failed),
            other => Err(DecodeError::UnknownAggregate(other.into())),
        }
    }
}

/// A committed event as every reader sees it.
#[derive(Clone, Debug, PartialEq)]
pub struct RecordedEvent {
    /// Place in the shard's total order; holes are possible.
    pub position: i64,
    pub event_id: uuid::Uuid,
    pub aggregate_id: String,
    /// 1 for a stream's first event.
    pub sequence: i64,
    pub recorded_at: crate::time::Timestamp,
    pub metadata: Metadata,
    pub event: AnyEvent,
}

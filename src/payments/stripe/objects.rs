//! Stripe's objects, the fields we read. A value we do not know is kept as text or absent, never guessed.

use std::collections::BTreeMap;

use codexapi_aggregates::money::MicroUsd;
use codexapi_aggregates::payment::Currency;
use serde::Deserialize;

/// What we wrote on an object.
pub type Metadata = BTreeMap<String, String>;

/// An object that is named by its id, or stands there whole where it was asked for.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(untagged)]
pub enum Reference<T = Named> {
    Id(String),
    Whole(Box<T>),
}

/// Any object.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Named {
    pub id: String,
}

/// Something that stands in lists.
pub trait Listed {
    fn id(&self) -> &str;
}

impl<T: Listed> Reference<T> {
    pub fn id(&self) -> &str {
        match self {
            Self::Id(id) => id,
            Self::Whole(object) => object.id(),
        }
    }
}

impl Listed for Named {
    fn id(&self) -> &str {
        &self.id
    }
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct List<T> {
    pub data: Vec<T>,
    pub has_more: bool,
}

/// A page where a customer pays.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct CheckoutSession {
    pub id: String,
    pub livemode: bool,
    pub mode: String,
    /// `paid`, `unpaid` or `no_payment_required`.
    pub payment_status: String,
    /// `open`, `complete` or `expired`.
    pub status: Option<String>,
    pub amount_total: Option<i64>,
    pub currency: Option<String>,
    pub client_reference_id: Option<String>,
    #[serde(default)]
    pub metadata: Option<Metadata>,
    pub payment_intent: Option<Reference<PaymentIntent>>,
    pub customer: Option<Reference>,
    /// Only while it is open.
    pub url: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct PaymentIntent {
    pub id: String,
    pub livemode: bool,
    pub amount: i64,
    #[serde(default)]
    pub amount_received: i64,
    pub currency: String,
    /// `succeeded`, `canceled`, `requires_payment_method` and others.
    pub status: String,
    #[serde(default)]
    pub metadata: Metadata,
    pub customer: Option<Reference>,
    pub payment_method: Option<Reference>,
    /// `off_session` where the card may be charged again without the customer.
    pub setup_future_usage: Option<String>,
    pub last_payment_error: Option<PaymentError>,
}

/// Why the last attempt failed.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct PaymentError {
    pub code: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Refund {
    pub id: String,
    pub amount: i64,
    pub currency: String,
    /// `pending`, `requires_action`, `succeeded`, `failed` or `canceled`.
    pub status: Option<String>,
    pub payment_intent: Option<Reference>,
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Dispute {
    pub id: String,
    pub livemode: bool,
    pub amount: i64,
    pub currency: String,
    pub status: String,
    pub payment_intent: Option<Reference>,
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Charge {
    pub id: String,
    pub payment_intent: Option<Reference>,
}

impl Listed for CheckoutSession {
    fn id(&self) -> &str {
        &self.id
    }
}

impl Listed for PaymentIntent {
    fn id(&self) -> &str {
        &self.id
    }
}

impl Listed for Refund {
    fn id(&self) -> &str {
        &self.id
    }
}

impl Listed for Dispute {
    fn id(&self) -> &str {
        &self.id
    }
}

/// Cents as we account; `None` beyond any amount.
pub fn micro_of_cents(cents: i64) -> Option<MicroUsd> {
    cents.checked_mul(10_000).map(MicroUsd)
}

/// Stripe's name of a currency; `None` for any but ours.
pub fn currency_of(name: &str) -> Option<Currency> {
    (name == "usd").then_some(Currency::Usd)
}

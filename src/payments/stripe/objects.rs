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
    /// Where a subscription begins, the invoice of its first period.
    pub invoice: Option<Reference>,
    /// Only while it is open.
    pub url: Option<String>,
}

/// What is to be paid for a period of a subscription.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Invoice {
    pub id: String,
    pub livemode: bool,
    /// `draft`, `open`, `paid`, `uncollectible` or `void`.
    pub status: Option<String>,
    pub amount_paid: i64,
    pub currency: String,
    /// `subscription_create`, `subscription_cycle` and others.
    pub billing_reason: Option<String>,
    /// Whether it was tried to have it paid.
    #[serde(default)]
    pub attempted: bool,
    pub parent: Option<InvoiceParent>,
    pub lines: List<InvoiceLine>,
    /// Only where they were asked for.
    pub payments: Option<List<InvoicePayment>>,
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct InvoiceParent {
    pub subscription_details: Option<SubscriptionDetails>,
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct SubscriptionDetails {
    pub subscription: Reference,
    /// As it stood on the subscription.
    #[serde(default)]
    pub metadata: Option<Metadata>,
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct InvoiceLine {
    pub period: Period,
}

/// In seconds of 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub struct Period {
    pub start: i64,
    pub end: i64,
}

/// That and how an invoice was paid, or was to be.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct InvoicePayment {
    pub invoice: Reference,
    pub payment: InvoicePaidBy,
    /// `open`, `paid` or `canceled`.
    pub status: String,
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct InvoicePaidBy {
    pub payment_intent: Option<Reference>,
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct StripeSubscription {
    pub id: String,
    /// `active`, `past_due`, `unpaid`, `canceled`, `incomplete_expired` and others.
    pub status: String,
    pub cancel_at_period_end: bool,
    pub cancel_at: Option<i64>,
    #[serde(default)]
    pub metadata: Metadata,
}

/// That something happened to an object.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Happening {
    pub id: String,
    pub data: HappenedTo,
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct HappenedTo {
    /// As it was then.
    pub object: HappenedObject,
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(tag = "object", rename_all = "snake_case")]
pub enum HappenedObject {
    Invoice(Box<Invoice>),
    Subscription(StripeSubscription),
    Dispute(Dispute),
    Refund(Refund),
    #[serde(other)]
    Other,
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

impl Listed for Invoice {
    fn id(&self) -> &str {
        &self.id
    }
}

impl Listed for Happening {
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

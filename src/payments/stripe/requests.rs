//! What we ask of Stripe.

use codexapi_aggregates::ids::{AccountId, PaymentId};
use codexapi_aggregates::money::MicroUsd;
use serde::de::DeserializeOwned;

use super::client::{Call, Send};
use super::form::Form;
use super::{
    Charge, CheckoutSession, Dispute, Happening, Invoice, InvoicePayment, List, Listed, PaymentIntent,
    Refund, Stripe, StripeError, StripeSubscription,
};

/// Objects on a page: Stripe's own limit.
const PAGE: &str = "100";

/// The keys of what we write on Stripe's objects.
pub const PAYMENT_ID: &str = "payment_id";
pub const ACCOUNT_ID: &str = "account_id";

/// A page to be opened where one payment is paid.
#[derive(Clone, Debug)]
pub struct NewCheckout<'a> {
    pub payment_id: PaymentId,
    pub account_id: AccountId,
    /// What the customer sees.
    pub name: &'a str,
    /// Whole cents.
    pub price_micro: MicroUsd,
    pub success_url: &'a str,
    pub cancel_url: &'a str,
    /// The customer's card may be charged again later, without the customer.
    pub save_card: bool,
    /// It is paid again every month, until it is cancelled.
    pub monthly: bool,
    /// Stripe's customer, where this account has one.
    pub customer_id: Option<&'a str>,
}

/// A saved card to be charged while its owner is away.
#[derive(Clone, Debug)]
pub struct SavedCardCharge<'a> {
    pub payment_id: PaymentId,
    pub account_id: AccountId,
    /// Whole cents.
    pub price_micro: MicroUsd,
    pub customer_id: &'a str,
    pub payment_method_id: &'a str,
    pub idempotency_key: &'a str,
}

impl Stripe {
    /// Opens a page, once per payment.
    pub async fn open_checkout(&self, checkout: &NewCheckout<'_>) -> Result<CheckoutSession, StripeError> {
        let (payment_id, account_id) = (checkout.payment_id.to_string(), checkout.account_id.to_string());
        let (mode, made) = match checkout.monthly {
            true => ("subscription", "subscription_data"),
            false => ("payment", "payment_intent_data"),
        };
        let mut form = Form::default()
            .with("mode", mode)
            .with("client_reference_id", &account_id)
            .with(format!("metadata[{PAYMENT_ID}]"), &payment_id)
            .with(format!("metadata[{ACCOUNT_ID}]"), &account_id)
            .with(format!("{made}[metadata][{PAYMENT_ID}]"), &payment_id)
            .with(format!("{made}[metadata][{ACCOUNT_ID}]"), &account_id)
            .with("line_items[0][quantity]", "1")
            .with("line_items[0][price_data][currency]", "usd")
            .with("line_items[0][price_data][unit_amount]", (checkout.price_micro.0 / 10_000).to_string())
            .with("line_items[0][price_data][product_data][name]", checkout.name)
            .with("success_url", checkout.success_url)
            .with("cancel_url", checkout.cancel_url)
            .with_some("customer", checkout.customer_id);
        if checkout.monthly {
            form = form.with("line_items[0][price_data][recurring][interval]", "month");
        } else if checkout.save_card {
            form = form.with("payment_intent_data[setup_future_usage]", "off_session");
            if checkout.customer_id.is_none() {
                form = form.with("customer_creation", "always");
            }
        }
        let send = Send::Post { form, idempotency_key: &payment_id };
        self.call(Call { what: "open a checkout", path: "/v1/checkout/sessions".into(), send }).await
    }

    /// Charges a saved card, once per key. A card's no is `Refused` with Stripe's code of it.
    pub async fn charge_saved_card(
        &self,
        charge: &SavedCardCharge<'_>,
    ) -> Result<PaymentIntent, StripeError> {
        let form = Form::default()
            .with("amount", (charge.price_micro.0 / 10_000).to_string())
            .with("currency", "usd")
            .with("customer", charge.customer_id)
            .with("payment_method", charge.payment_method_id)
            .with("off_session", "true")
            .with("confirm", "true")
            .with(format!("metadata[{PAYMENT_ID}]"), charge.payment_id.to_string())
            .with(format!("metadata[{ACCOUNT_ID}]"), charge.account_id.to_string());
        let send = Send::Post { form, idempotency_key: charge.idempotency_key };
        self.call(Call { what: "charge a saved card", path: "/v1/payment_intents".into(), send }).await
    }

    /// A session, with its payment intent.
    pub async fn checkout_session(&self, id: &str) -> Result<CheckoutSession, StripeError> {
        let query = Form::default().with("expand[0]", "payment_intent");
        self.one("fetch a checkout session", "/v1/checkout/sessions", id, query).await
    }

    pub async fn payment_intent(&self, id: &str) -> Result<PaymentIntent, StripeError> {
        self.one("fetch a payment intent", "/v1/payment_intents", id, Form::default()).await
    }

    /// An invoice, with how it was paid.
    pub async fn invoice(&self, id: &str) -> Result<Invoice, StripeError> {
        let query = Form::default().with("expand[0]", "payments");
        self.one("fetch an invoice", "/v1/invoices", id, query).await
    }

    /// Which invoice a payment intent is for, if it is for one.
    pub async fn invoice_of_intent(&self, intent: &str) -> Result<Option<String>, StripeError> {
        let query = Form::default()
            .with("payment[type]", "payment_intent")
            .with("payment[payment_intent]", intent)
            .with("limit", "1");
        let what = "list payments of invoices";
        let call = Call { what, path: "/v1/invoice_payments".into(), send: Send::Get(query) };
        let found: List<InvoicePayment> = self.call(call).await?;
        Ok(found.data.first().map(|payment| payment.invoice.id().to_owned()))
    }

    pub async fn subscription(&self, id: &str) -> Result<StripeSubscription, StripeError> {
        self.one("fetch a subscription", "/v1/subscriptions", id, Form::default()).await
    }

    /// Lets a subscription end with its period, or go on after it; once per key.
    pub async fn cancel_at_period_end(
        &self,
        id: &str,
        cancels: bool,
        idempotency_key: &str,
    ) -> Result<StripeSubscription, StripeError> {
        let what = "change a subscription";
        if !is_an_id(id) {
            return Err(StripeError::NotFound { what });
        }
        let form = Form::default().with("cancel_at_period_end", if cancels { "true" } else { "false" });
        let send = Send::Post { form, idempotency_key };
        self.call(Call { what, path: format!("/v1/subscriptions/{id}"), send }).await
    }

    /// A page of what happened since, of these types, newest first, after the event `after`.
    pub async fn happened_since(
        &self,
        types: &[&str],
        since_secs: i64,
        after: Option<&str>,
    ) -> Result<List<Happening>, StripeError> {
        let query = Form::default()
            .with("limit", PAGE)
            .with("created[gte]", since_secs.to_string())
            .with_some("starting_after", after);
        let query = types
            .iter()
            .enumerate()
            .fold(query, |query, (place, name)| query.with(format!("types[{place}]"), *name));
        self.call(Call { what: "list events", path: "/v1/events".into(), send: Send::Get(query) }).await
    }

    pub async fn charge(&self, id: &str) -> Result<Charge, StripeError> {
        self.one("fetch a charge", "/v1/charges", id, Form::default()).await
    }

    pub async fn refund(&self, id: &str) -> Result<Refund, StripeError> {
        self.one("fetch a refund", "/v1/refunds", id, Form::default()).await
    }

    pub async fn dispute(&self, id: &str) -> Result<Dispute, StripeError> {
        self.one("fetch a dispute", "/v1/disputes", id, Form::default()).await
    }

    /// A page of what was made since, in seconds of 1970, newest first, after the object `after`.
    pub async fn since<T: DeserializeOwned + Since>(
        &self,
        since_secs: i64,
        after: Option<&str>,
    ) -> Result<List<T>, StripeError> {
        let query = Form::default()
            .with("limit", PAGE)
            .with("created[gte]", since_secs.to_string())
            .with_some("starting_after", after);
        self.call(Call { what: T::WHAT, path: T::PATH.into(), send: Send::Get(query) }).await
    }

    /// A page of the refunds or disputes of one payment intent, newest first, after the object `after`.
    pub async fn of_intent<T: DeserializeOwned + Since>(
        &self,
        intent: &str,
        after: Option<&str>,
    ) -> Result<List<T>, StripeError> {
        let query = Form::default()
            .with("payment_intent", intent)
            .with("limit", PAGE)
            .with_some("starting_after", after);
        self.call(Call { what: T::WHAT, path: T::PATH.into(), send: Send::Get(query) }).await
    }

    async fn one<T: DeserializeOwned>(
        &self,
        what: &'static str,
        path: &str,
        id: &str,
        query: Form,
    ) -> Result<T, StripeError> {
        // An id becomes a part of the path: nothing that is no id of Stripe's gets there.
        if !is_an_id(id) {
            return Err(StripeError::NotFound { what });
        }
        self.call(Call { what, path: format!("{path}/{id}"), send: Send::Get(query) }).await
    }
}

/// What can be listed by when it was made.
pub trait Since: Listed {
    const WHAT: &'static str;
    const PATH: &'static str;
}

impl Since for CheckoutSession {
    const WHAT: &'static str = "list checkout sessions";
    const PATH: &'static str = "/v1/checkout/sessions";
}

impl Since for Invoice {
    const WHAT: &'static str = "list invoices";
    const PATH: &'static str = "/v1/invoices";
}

impl Since for PaymentIntent {
    const WHAT: &'static str = "list payment intents";
    const PATH: &'static str = "/v1/payment_intents";
}

impl Since for Refund {
    const WHAT: &'static str = "list refunds";
    const PATH: &'static str = "/v1/refunds";
}

impl Since for Dispute {
    const WHAT: &'static str = "list disputes";
    const PATH: &'static str = "/v1/disputes";
}

fn is_an_id(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    (1..=255).contains(&text.len()) && text.bytes().all(allowed)
}

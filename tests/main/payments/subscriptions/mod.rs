//! A plan that is paid every month: bought at Stripe's page, renewed by invoice, past due, cancelled, over.

mod buying;
mod ending;
mod foreign;
mod renewing;

use codexapi::payments::stripe::Invoice;
use codexapi::payments::subscriptions::payment_of;
use codexapi_aggregates::catalog::FairUseInForce;
use codexapi_aggregates::ids::{AccountId, PaymentId};
use codexapi_aggregates::payment::{Payment, Standing};
use codexapi_aggregates::subscription::{Current, Subscription};
use codexapi_aggregates::time::Timestamp;
use codexapi_aggregates::wallet::Wallet;
use serde_json::{Value, json};

use super::Till;
use crate::http::bearer;

pub const CHECKOUT: &str = "/api/v1/wallet/stripe/checkout";
pub const CONFIRM: &str = "/api/v1/wallet/stripe/confirm";
pub const SUBSCRIPTION: &str = "/api/v1/subscription";

/// The fake's month.
pub const MONTH_SECS: i64 = 30 * 86_400;

/// What a plan covers beyond its end by default.
pub const GRACE_SECS: i64 = 3 * 86_400;

/// A customer with a token, and what tests ask as them.
pub struct Customer<'a> {
    pub till: &'a Till,
    pub account_id: AccountId,
    token: String,
}

/// What Stripe made of a subscription.
pub struct AtStripe {
    pub subscription: String,
    pub card: String,
}

impl<'a> Customer<'a> {
    pub async fn new(till: &'a Till) -> Self {
        let customer = till.service.customer().await;
        let token = customer.system_token.token.reveal().to_owned();
        Self { till, account_id: customer.account_id, token }
    }

    pub async fn post(&self, path: &str, body: Value) -> (u16, Value) {
        let authorization = bearer(&self.token);
        let headers = [("authorization", authorization.as_str())];
        let (status, answer) = self.till.service.post(path, &headers, body.to_string()).await;
        (status.as_u16(), answer)
    }

    pub async fn get(&self, path: &str) -> Value {
        let authorization = bearer(&self.token);
        let (status, answer) = self.till.service.get(path, &[("authorization", &authorization)]).await;
        assert_eq!(status.as_u16(), 200, "{answer}");
        answer
    }

    /// A page where the first month is paid.
    pub async fn page(&self) -> Value {
        let (status, page) = self.post(CHECKOUT, json!({ "planId": "unlimited" })).await;
        assert_eq!(status, 200, "{page}");
        page
    }

    /// Pays the first month; nobody is told yet.
    pub async fn subscribe(&self) -> AtStripe {
        let page = self.page().await;
        pay(self.till, &page).await
    }

    pub async fn current(&self) -> Option<Current> {
        let look = |subscription: &Subscription| subscription.current().cloned();
        self.till.service.app.log.read(&self.account_id.to_string(), look).await.expect("read")
    }

    /// Whether a plan covers at a moment.
    pub async fn covers(&self, at: Timestamp) -> bool {
        let look = |wallet: &Wallet| !wallet.plan_status(at, &FairUseInForce::default()).is_empty();
        self.till.service.app.log.read(&self.account_id.to_string(), look).await.expect("read")
    }

    /// The plan covers until a moment, and not at it.
    pub async fn assert_covers_until(&self, end: Timestamp) {
        assert!(self.covers(Timestamp(end.0 - 1)).await, "until then");
        assert!(!self.covers(end).await, "not a moment longer");
    }

    pub async fn grants(&self) -> i64 {
        self.till.count("wallet.entitlement_granted", self.account_id).await
    }
}

/// Somebody pays at a page.
pub async fn pay(till: &Till, page: &Value) -> AtStripe {
    let session = page["sessionId"].as_str().unwrap_or_else(|| panic!("no page: {page}"));
    let paid = till.stripe.control("POST", &format!("/checkout/sessions/{session}/pay"), json!({})).await;
    let subscription = paid["subscription"].as_str().expect("a subscription").to_owned();
    let card =
        object(till, &subscription).await["default_payment_method"].as_str().expect("a card").to_owned();
    AtStripe { subscription, card }
}

impl AtStripe {
    /// Its month is over: the next is billed, and its card asked. The new invoice, if one was made.
    pub async fn renew(&self, till: &Till) -> String {
        till.stripe.control("POST", &format!("/subscriptions/{}/renew", self.subscription), json!({})).await;
        let invoices = till.payments().stripe.since::<Invoice>(0, None).await.expect("a list").data;
        let details = |invoice: &Invoice| {
            let parent = invoice.parent.clone()?;
            Some(parent.subscription_details?.subscription.id().to_owned())
        };
        let newest = invoices.iter().find(|invoice| details(invoice).as_deref() == Some(&self.subscription));
        newest.expect("an invoice").id.clone()
    }

    /// What its card says from now on.
    pub async fn card_says(&self, till: &Till, card: &str) {
        let path = format!("/payment_methods/{}", self.card);
        till.stripe.control("POST", &path, json!({ "card": card })).await;
    }
}

/// An object as Stripe has it.
pub async fn object(till: &Till, id: &str) -> Value {
    till.stripe.control("PATCH", &format!("/objects/{id}"), json!({})).await
}

/// Tells of all that happened since `known` events were held.
pub async fn tell(till: &Till, known: usize) {
    for event in till.stripe.held().await.split_off(known) {
        assert_eq!(till.stripe.deliver(&event).await, Some(200));
    }
}

/// Where the payment of an invoice of a further month stands.
pub async fn standing(till: &Till, invoice: &str) -> Option<Standing> {
    standing_of(till, payment_of(invoice)).await
}

pub async fn standing_of(till: &Till, payment_id: PaymentId) -> Option<Standing> {
    let look = |payment: &Payment| payment.started().map(|_| payment.standing());
    till.service.app.log.read(&payment_id.to_string(), look).await.expect("read")
}

/// The intent that paid an invoice.
pub async fn intent_of(till: &Till, invoice: &str) -> String {
    let invoice = till.payments().stripe.invoice(invoice).await.expect("an invoice");
    let payments = invoice.payments.expect("asked for").data;
    payments[0].payment.payment_intent.as_ref().expect("an intent").id().to_owned()
}

/// An event about an object, told at once; what came of it.
pub async fn tell_of(till: &Till, object: &str, kind: &str) -> (String, Option<String>) {
    let path = format!("/objects/{object}/emit");
    let event = till.stripe.control("POST", &path, json!({ "type": kind })).await;
    // The event itself says of which mode it is; Stripe's own word on the object counts.
    let as_ours = json!({ "edit": { "livemode": false } });
    let event = event["id"].as_str().expect("an id");
    assert_eq!(till.stripe.deliver_spoiled(event, as_ours).await, Some(200));
    till.inbox().await.remove(0)
}

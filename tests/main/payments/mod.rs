//! Payments over real HTTP, against a strict fake of Stripe: what is paid is credited exactly once, whatever becomes
//! of webhooks, and nothing else ever is.

mod auto_topup;
mod checkout;
mod crediting;
mod forged;
mod killed;
mod lost;
mod plans;
mod receipts;
mod reversed;
mod subscriptions;

use std::net::SocketAddr;
use std::sync::Arc;

use codexapi::clock;
use codexapi::embedded::{FakeStripe, FakeStripeOptions};
use codexapi::http::router;
use codexapi::payments::Payments;
use codexapi::payments::checkout::{Checkout, Order};
use codexapi::processes::reconciler;
use codexapi::verify::{self, HoldTerms, VerifyOptions};
use codexapi_aggregates::cash::CashWallet;
use codexapi_aggregates::ids::AccountId;
use codexapi_aggregates::money::MicroUsd;
use codexapi_aggregates::payment::Purpose;
use codexapi_aggregates::wallet::Wallet;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::net::TcpListener;

use crate::http::{Service, operator};

pub const KEY: &str = "sk_test_0123456789abcdef";
pub const SECRET: &str = "whsec_0123456789abcdef";

/// What every payment here costs, and the credit that it buys.
pub const PRICE: MicroUsd = MicroUsd::dollars(10);
pub const CREDIT: MicroUsd = MicroUsd::dollars(25);

/// A fake Stripe and what tests ask of it.
pub struct Stripe {
    pub fake: FakeStripe,
    client: reqwest::Client,
    _folder: TempDir,
}

impl Stripe {
    pub async fn start() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let options = FakeStripeOptions::new(folder.path().join("stripe"), KEY);
        let fake = FakeStripe::start(options).await.expect("the fake Stripe");
        let client = codexapi::tls::http_client_builder().no_proxy().build().expect("a client");
        Self { fake, client, _folder: folder }
    }

    /// Has events told to a service, when the test says so.
    pub async fn tell(&self, service: &str) {
        let url = format!("{service}/api/v1/stripe/webhook");
        self.control("POST", "/webhooks", json!({ "url": url, "secret": SECRET })).await;
        self.plan(json!({ "mode": "hold" })).await;
    }

    pub async fn plan(&self, plan: Value) {
        self.control("PUT", "/deliveries/plan", plan).await;
    }

    /// A call of the fake's own control.
    pub async fn control(&self, method: &str, path: &str, body: Value) -> Value {
        let url = format!("{}/_control{path}", self.fake.base_url());
        let method = method.parse().expect("a method");
        let answer = self.client.request(method, url).body(body.to_string()).send().await.expect("sent");
        let (status, body) = (answer.status(), answer.json::<Value>().await.expect("JSON"));
        assert!(status.is_success(), "{path}: {body}");
        body
    }

    /// A call of Stripe's API.
    pub async fn api(&self, path: &str, form: &[(&str, &str)]) -> Value {
        let body = form.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join("&");
        let answer = self
            .client
            .post(format!("{}/v1{path}", self.fake.base_url()))
            .bearer_auth(KEY)
            .header("content-type", "application/x-www-form-urlencoded")
            .body(body)
            .send()
            .await
            .expect("sent");
        let (status, body) = (answer.status(), answer.json::<Value>().await.expect("JSON"));
        assert!(status.is_success(), "{path}: {body}");
        body
    }

    /// Somebody pays; the id of the payment intent.
    pub async fn pay(&self, checkout: &Checkout) -> String {
        let path = format!("/checkout/sessions/{}/pay", checkout.session_id);
        let session = self.control("POST", &path, json!({})).await;
        assert_eq!(session["payment_status"], "paid", "{session}");
        session["payment_intent"].as_str().expect("an intent").to_owned()
    }

    /// Gives a part of the money back.
    pub async fn refund(&self, intent: &str, cents: i64) -> String {
        let refund =
            self.api("/refunds", &[("payment_intent", intent), ("amount", &cents.to_string())]).await;
        refund["id"].as_str().expect("an id").to_owned()
    }

    /// The cardholder objects to all of it.
    pub async fn dispute(&self, intent: &str) -> String {
        let dispute = self.control("POST", "/disputes", json!({ "payment_intent": intent })).await;
        dispute["id"].as_str().expect("an id").to_owned()
    }

    pub async fn decide_dispute(&self, dispute: &str, verdict: &str) {
        self.control("POST", &format!("/disputes/{dispute}/{verdict}"), json!({})).await;
    }

    /// The events that were not told yet, oldest first.
    pub async fn held(&self) -> Vec<String> {
        let deliveries = self.control("GET", "/deliveries", json!({})).await;
        let held = deliveries["held"].as_array().expect("a list").iter();
        held.map(|event| event.as_str().expect("an id").to_owned()).collect()
    }

    /// Tells of one event; what the service answered, if it did.
    pub async fn deliver(&self, event: &str) -> Option<u16> {
        self.deliver_spoiled(event, json!({})).await
    }

    pub async fn deliver_spoiled(&self, event: &str, spoiled: Value) -> Option<u16> {
        let body = json!({ "event": event, "spoiled": spoiled });
        let told = self.control("POST", "/deliveries", body).await;
        told["attempts"][0]["status"].as_u64().map(|status| u16::try_from(status).expect("a status"))
    }
}

/// A service that takes payments by a fake Stripe, on a real listener.
pub struct Till {
    pub service: Service,
    pub stripe: Stripe,
}

impl Till {
    pub async fn start() -> Self {
        Self::start_with(&[]).await
    }

    /// The same with `more` settings.
    pub async fn start_with(more: &[(&str, &str)]) -> Self {
        let stripe = Stripe::start().await;
        let base = stripe.fake.base_url().to_owned();
        let ours = [
            ("CODEXAPI_STRIPE_SECRET_KEY", KEY),
            ("CODEXAPI_STRIPE_WEBHOOK_SECRET", SECRET),
            ("CODEXAPI_STRIPE_API_BASE", base.as_str()),
        ];
        let service = Service::start_with(&[ours.as_slice(), more].concat()).await;
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let app = router(Arc::clone(&service.app)).into_make_service_with_connect_info::<SocketAddr>();
        tokio::spawn(async move { axum::serve(listener, app).await });
        stripe.tell(&format!("http://{address}")).await;
        Self { service, stripe }
    }

    pub fn payments(&self) -> &Payments {
        self.service.app.payments.as_ref().expect("payments are taken")
    }

    /// A customer, and a page where `CREDIT` for `PRICE` is paid.
    pub async fn checkout(&self) -> (AccountId, Checkout) {
        let account_id = self.service.customer().await.account_id;
        (account_id, open(self.payments(), account_id, Purpose::TokenCredit { credit_micro: CREDIT }).await)
    }

    /// The token wallet's balance less its debt.
    pub async fn net(&self, account_id: AccountId) -> MicroUsd {
        let look = |wallet: &Wallet| wallet.balance() - wallet.debt();
        self.service.app.log.read(&account_id.to_string(), look).await.expect("read")
    }

    pub async fn cash(&self, account_id: AccountId) -> MicroUsd {
        let look = |cash: &CashWallet| cash.balance() - cash.debt();
        self.service.app.log.read(&account_id.to_string(), look).await.expect("read")
    }

    /// One pass of the reconciler; how many payments it brought further.
    pub async fn reconcile(&self) -> u64 {
        reconciler::pass(self.payments()).await.expect("reconciled").expect("nobody else does")
    }

    /// How many events of a type an account's streams have.
    pub async fn count(&self, event_type: &str, account_id: AccountId) -> i64 {
        sqlx::query_scalar("SELECT count(*) FROM events WHERE event_type = $1 AND aggregate_id = $2")
            .bind(event_type)
            .bind(account_id.to_string())
            .fetch_one(&self.service.app.pool)
            .await
            .expect("counted")
    }

    /// Effect and reason of every line of the operator's inbox, newest first.
    pub async fn inbox(&self) -> Vec<(String, Option<String>)> {
        let page = codexapi::payments::inbox::page(&self.service.app.pool, None, 200).await.expect("read");
        page.rows.into_iter().map(|entry| (entry.effect, entry.reason)).collect()
    }

    /// `verify` finds every payment, grant and read table as it should be.
    pub async fn verifies(&self) {
        let options = VerifyOptions::new(HoldTerms::standard(clock::now()));
        let report = verify::run(&self.service.app.pool, &options).await.expect("carried out");
        assert_eq!(report.difference, None);
    }
}

/// A page where an account pays `PRICE` for something.
pub async fn open(payments: &Payments, account_id: AccountId, purpose: Purpose) -> Checkout {
    let order = Order {
        account_id,
        purpose,
        plan_id: None,
        quantity: 1,
        price_micro: PRICE,
        name: "Credit".into(),
        code: None,
        save_card: false,
    };
    payments.open_checkout(&order, None, "https://codexapi.test", &operator()).await.expect("opened")
}

/// Numbers that are the same at every run.
pub struct Dice(u64);

impl Dice {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    /// From 0 to `sides` − 1.
    pub fn throw(&mut self, sides: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % u64::try_from(sides).expect("few")).expect("few")
    }

    /// Each of `events` 0 to 3 times, in any order.
    pub fn deal(&mut self, events: &[String]) -> Vec<String> {
        let mut dealt: Vec<String> =
            events.iter().flat_map(|event| vec![event.clone(); self.throw(4)]).collect();
        for place in (1..dealt.len()).rev() {
            dealt.swap(place, self.throw(place + 1));
        }
        dealt
    }
}

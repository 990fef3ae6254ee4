//! `/api/v1/cash-wallet/stripe/…` and what all checkouts have in common: an order becomes a page of Stripe's.

use std::sync::Arc;

use axum::extract::State;
use axum::{Extension, Json};
use chrono::{DateTime, Utc};
use codexapi_aggregates::ids::AccountId;
use codexapi_aggregates::money::MicroUsd;
use codexapi_aggregates::payment::Purpose;
use codexapi_aggregates::wallet::entitlements::EntitlementTerms;
use codexapi_projections::payments as rows;
use codexapi_protocols::errors::ErrorKind;
use http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use super::stripe::{ConfirmCheckout, CreditedPayment, credited, payments};
use crate::app::App;
use crate::clock;
use crate::http::admin::Actor;
use crate::http::admin::body::AdminBody;
use crate::http::auth::CustomerCaller;
use crate::http::error::{ErrorBody, Problem};
use crate::http::query::NoQuery;
use crate::payments::Payments;
use crate::payments::checkout::{Checkout, Order};

/// Checkouts an account may open an hour without paying at one of them.
const MOST_UNPAID_AN_HOUR: i64 = 30;

const HOUR_SECS: i64 = 3_600;

/// Bytes of a customer's idempotency key.
const MAX_KEY_BYTES: usize = 255;

/// Real money to be loaded.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LoadCash {
    /// Micro-USD: $1 is 1 000 000. Whole cents, from $0.50 to $100 000.
    amount_micro: i64,
    /// The card may be charged again later, for what you switch on.
    #[serde(default)]
    save_card: bool,
    /// 1 to 255 visible characters of your choice: the same key with the same order opens the same page again.
    idempotency_key: Option<String>,
}

/// A page of Stripe's where the order is paid. Nothing is credited before that.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct CheckoutPage {
    payment_id: Uuid,
    session_id: String,
    /// Send the customer there; absent where it was paid, or is over.
    url: Option<String>,
    price_micro: i64,
    #[schema(example = "50.000000")]
    price_usd: String,
}

/// Opens a page where the caller's cash wallet is topped up.
#[utoipa::path(
    post, path = "/api/v1/cash-wallet/stripe/checkout", operation_id = "open_cash_checkout", tag = "billing",
    request_body = LoadCash,
    responses((status = 200, body = CheckoutPage), (status = 400, body = ErrorBody), (status = 401, body = ErrorBody),
        (status = 409, body = ErrorBody), (status = 429, body = ErrorBody), (status = 503, body = ErrorBody)),
    security(("bearer" = []), ("apiKey" = []))
)]
pub async fn load_cash(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<CustomerCaller>,
    actor: Actor,
    _: NoQuery,
    AdminBody(LoadCash { amount_micro, save_card, idempotency_key }): AdminBody<LoadCash>,
) -> Result<Json<CheckoutPage>, Problem> {
    let order = Order {
        account_id: caller.account_id,
        purpose: Purpose::CashTopUp,
        plan_id: None,
        quantity: 1,
        price_micro: MicroUsd(amount_micro),
        name: "Cash Wallet".into(),
        code: None,
        save_card,
    };
    open(&app, &actor, &order, idempotency_key.as_deref()).await.map(Json)
}

/// Credits a top-up of the cash wallet that Stripe says is paid; again, it changes nothing and answers alike.
#[utoipa::path(
    post, path = "/api/v1/cash-wallet/stripe/confirm", operation_id = "confirm_cash_checkout", tag = "billing",
    request_body = ConfirmCheckout,
    responses((status = 200, body = CreditedPayment), (status = 400, body = ErrorBody),
        (status = 401, body = ErrorBody), (status = 404, body = ErrorBody), (status = 409, body = ErrorBody),
        (status = 503, body = ErrorBody)),
    security(("bearer" = []), ("apiKey" = []))
)]
pub async fn confirm_cash(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<CustomerCaller>,
    actor: Actor,
    _: NoQuery,
    AdminBody(confirm): AdminBody<ConfirmCheckout>,
) -> Result<Json<CreditedPayment>, Problem> {
    let is_cash = |purpose: &Purpose| *purpose == Purpose::CashTopUp;
    let settled = payments(&app)?
        .confirm_for(caller.account_id, confirm.session_id(), is_cash, &actor.metadata)
        .await?;
    credited(settled).map(Json)
}

/// Opens a page for an order.
pub(super) async fn open(
    app: &App,
    actor: &Actor,
    order: &Order,
    idempotency_key: Option<&str>,
) -> Result<CheckoutPage, Problem> {
    let payments = may_open(app, order, idempotency_key).await?;
    let page = payments.open_checkout(order, idempotency_key, &app.public_url(), &actor.metadata).await?;
    Ok(page_of(order, page))
}

/// Opens a page for an order that is paid again every month.
pub(super) async fn open_monthly(
    app: &App,
    actor: &Actor,
    order: &Order,
    terms: &EntitlementTerms,
    idempotency_key: Option<&str>,
) -> Result<CheckoutPage, Problem> {
    let payments = may_open(app, order, idempotency_key).await?;
    let (url, metadata) = (app.public_url(), &actor.metadata);
    let page = payments.open_subscription(order, terms, idempotency_key, &url, metadata).await?;
    Ok(page_of(order, page))
}

async fn may_open<'a>(
    app: &'a App,
    order: &Order,
    idempotency_key: Option<&str>,
) -> Result<&'a Arc<Payments>, Problem> {
    let payments = payments(app)?;
    if idempotency_key.is_some_and(|key| !is_a_key(key)) {
        let message = format!("`idempotencyKey` is 1 to {MAX_KEY_BYTES} visible ASCII characters.");
        return Err(Problem::invalid("invalid_idempotency_key", message));
    }
    refuse_a_flood(app, order.account_id).await?;
    Ok(payments)
}

fn page_of(order: &Order, page: Checkout) -> CheckoutPage {
    CheckoutPage {
        payment_id: page.payment_id.0,
        session_id: page.session_id,
        url: page.url,
        price_micro: order.price_micro.0,
        price_usd: order.price_micro.to_string(),
    }
}

/// Each page is one at Stripe, too. The read model may be a moment behind, which is near enough.
async fn refuse_a_flood(app: &App, account_id: AccountId) -> Result<(), Problem> {
    let since: DateTime<Utc> =
        DateTime::from_timestamp_micros(clock::now().minus_secs(HOUR_SECS).0).unwrap_or_default();
    if rows::open_since(&app.pool, account_id.0, since).await? < MOST_UNPAID_AN_HOUR {
        return Ok(());
    }
    let message =
        "Many checkouts were opened and none was paid. Pay at one of them, or try again in an hour.";
    let status = StatusCode::TOO_MANY_REQUESTS;
    Err(Problem::new(status, ErrorKind::RateLimited, "too_many_checkouts", message))
}

fn is_a_key(key: &str) -> bool {
    (1..=MAX_KEY_BYTES).contains(&key.len()) && key.bytes().all(|byte| byte.is_ascii_graphic())
}

//! `/api/v1/wallet/stripe/…` and `/api/v1/wallet/top-up`: from Stripe's page back to credit in the wallet.
//!
//! Whatever a customer brings, what counts is what Stripe says when we ask: the same command as a webhook's. Whose
//! payment it is must be the caller's before anything comes of it.

use std::sync::Arc;

use axum::extract::State;
use axum::{Extension, Json};
use codexapi_aggregates::bonus::TopUpRefusal;
use codexapi_aggregates::ids::{AccountId, PaymentId};
use codexapi_aggregates::money::MicroUsd;
use codexapi_aggregates::payment::{CreditingRefusal, PaymentRefusal, Purpose};
use codexapi_aggregates::subscription::SubscriptionRefusal;
use codexapi_protocols::errors::ErrorKind;
use http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use super::refusal::sentence;
use crate::app::App;
use crate::http::admin::Actor;
use crate::http::admin::body::AdminBody;
use crate::http::auth::CustomerCaller;
use crate::http::error::{ErrorBody, Problem};
use crate::http::query::NoQuery;
use crate::payments::Payments;
use crate::payments::checkout::CheckoutError;
use crate::payments::inbox::Effect;
use crate::payments::settle::{SettleError, Settled};
use crate::payments::stripe::StripeError;
use crate::payments::webhook::reason_of;

/// Seconds after which Stripe may answer again.
const RETRY_AFTER_SECONDS: u32 = 5;

/// The page that the customer comes back from.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ConfirmCheckout {
    /// `cs_…`, as the return page's address has it.
    session_id: String,
}

impl ConfirmCheckout {
    pub fn session_id(&self) -> &str {
        &self.session_id
    }
}

/// A payment that the wallet is to be credited with.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TopUp {
    /// As the checkout answered.
    payment_id: Uuid,
}

/// A payment that is credited.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct CreditedPayment {
    payment_id: Uuid,
    /// Whether it had been credited before this request.
    already_credited: bool,
    /// What the payment's credit comes to, less what was refunded or is disputed.
    credit_micro: i64,
    #[schema(example = "10.000000")]
    credit_usd: String,
    balance_micro: i64,
    #[schema(example = "12.345678")]
    balance_usd: String,
}

/// Credits a payment that Stripe says is paid; again, it changes nothing and answers alike.
#[utoipa::path(
    post, path = "/api/v1/wallet/stripe/confirm", operation_id = "confirm_wallet_checkout", tag = "billing",
    request_body = ConfirmCheckout,
    responses((status = 200, body = CreditedPayment), (status = 400, body = ErrorBody),
        (status = 401, body = ErrorBody), (status = 404, body = ErrorBody), (status = 409, body = ErrorBody),
        (status = 503, body = ErrorBody)),
    security(("bearer" = []), ("apiKey" = []))
)]
pub async fn confirm(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<CustomerCaller>,
    actor: Actor,
    _: NoQuery,
    AdminBody(ConfirmCheckout { session_id }): AdminBody<ConfirmCheckout>,
) -> Result<Json<CreditedPayment>, Problem> {
    let settled = payments(&app)?
        .confirm_for(caller.account_id, &session_id, buys_for_the_token_wallet, &actor.metadata)
        .await?;
    credited(settled).map(Json)
}

/// Credits a payment of the caller's that is paid and has not been used: never anything else, and never twice.
#[utoipa::path(
    post, path = "/api/v1/wallet/top-up", operation_id = "top_up_wallet", tag = "billing",
    request_body = TopUp,
    responses((status = 200, body = CreditedPayment), (status = 400, body = ErrorBody),
        (status = 401, body = ErrorBody), (status = 404, body = ErrorBody), (status = 409, body = ErrorBody),
        (status = 503, body = ErrorBody)),
    security(("bearer" = []), ("apiKey" = []))
)]
pub async fn top_up(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<CustomerCaller>,
    actor: Actor,
    _: NoQuery,
    AdminBody(TopUp { payment_id }): AdminBody<TopUp>,
) -> Result<Json<CreditedPayment>, Problem> {
    let payments = payments(&app)?;
    let session_id = payments.unused_session(caller.account_id, PaymentId(payment_id)).await?;
    let settled = payments
        .confirm_for(caller.account_id, &session_id, buys_for_the_token_wallet, &actor.metadata)
        .await?;
    if settled.remaining_micro.is_some() && settled.effect == Effect::NothingNew {
        return Err(already_used());
    }
    credited(settled).map(Json)
}

/// What takes payments, or that nothing does.
pub fn payments(app: &App) -> Result<&Arc<Payments>, Problem> {
    let message = "Payments are not set up here.";
    app.payments.as_ref().ok_or_else(|| {
        let status = StatusCode::SERVICE_UNAVAILABLE;
        Problem::new(status, ErrorKind::Unavailable, "payments_not_configured", message)
    })
}

fn buys_for_the_token_wallet(purpose: &Purpose) -> bool {
    match purpose {
        Purpose::TokenCredit { .. } | Purpose::Entitlement { .. } => true,
        Purpose::CashTopUp => false,
    }
}

/// What a customer is told of a payment that Stripe was asked about.
pub fn credited(settled: Settled) -> Result<CreditedPayment, Problem> {
    let (Some(credit), Some(balance)) = (settled.remaining_micro, settled.balance_micro) else {
        return Err(not_confirmed());
    };
    let MicroUsd(credit_micro) = credit;
    Ok(CreditedPayment {
        payment_id: settled.payment_id.0,
        already_credited: settled.effect == Effect::NothingNew,
        credit_micro,
        credit_usd: credit.to_string(),
        balance_micro: balance.0,
        balance_usd: balance.to_string(),
    })
}

fn conflict(code: &'static str, message: impl Into<String>) -> Problem {
    Problem::new(StatusCode::CONFLICT, ErrorKind::InvalidRequest, code, message)
}

fn not_confirmed() -> Problem {
    conflict("payment_not_confirmed", "Stripe has not confirmed this payment. Nothing was credited.")
}

fn already_used() -> Problem {
    conflict("payment_already_used", "This payment was credited before. Nothing was credited again.")
}

impl Payments {
    /// The checkout of a payment of the caller's that has not been credited.
    async fn unused_session(&self, account_id: AccountId, payment_id: PaymentId) -> Result<String, Problem> {
        use crate::payments::settle::Look;
        match self.look(account_id, payment_id).await? {
            Look::Credited => Err(already_used()),
            Look::Uncredited { session_id: Some(session_id) } => Ok(session_id),
            Look::Uncredited { session_id: None } => Err(not_confirmed()),
        }
    }
}

impl From<StripeError> for Problem {
    fn from(error: StripeError) -> Self {
        match error {
            StripeError::NotFound { .. } => not_found(),
            StripeError::Refused { .. } => {
                let message =
                    "The payment provider did not accept this. Tell us the request id if it stays so.";
                let (status, kind) = (StatusCode::BAD_GATEWAY, ErrorKind::UpstreamFailed);
                Self {
                    cause: Some(Arc::new(error.into())),
                    ..Self::new(status, kind, "stripe_refused", message)
                }
            }
            StripeError::Unavailable { .. } | StripeError::Unreadable { .. } => {
                let message =
                    "The payment provider does not answer. Nothing was charged twice; try again shortly.";
                let (status, kind) = (StatusCode::SERVICE_UNAVAILABLE, ErrorKind::Unavailable);
                Self {
                    retry_after_seconds: Some(RETRY_AFTER_SECONDS),
                    cause: Some(Arc::new(error.into())),
                    ..Self::new(status, kind, "stripe_unavailable", message)
                }
            }
        }
    }
}

fn not_found() -> Problem {
    let message = "No payment of yours is known by this.";
    Problem::new(StatusCode::NOT_FOUND, ErrorKind::NotFound, "payment_not_found", message)
}

impl From<TopUpRefusal> for Problem {
    fn from(refusal: TopUpRefusal) -> Self {
        match refusal {
            TopUpRefusal::NoCredit => Self::invalid("code_is_for_credit", refusal.to_string()),
            TopUpRefusal::Bonus(refusal) => refusal.into(),
            TopUpRefusal::Payment(refusal) => refusal.into(),
        }
    }
}

impl From<PaymentRefusal> for Problem {
    fn from(refusal: PaymentRefusal) -> Self {
        CreditingRefusal::Payment(refusal).into()
    }
}

impl From<CreditingRefusal> for Problem {
    fn from(refusal: CreditingRefusal) -> Self {
        let code = reason_of(&refusal);
        match refusal {
            CreditingRefusal::Payment(PaymentRefusal::NotPaid) => not_confirmed(),
            CreditingRefusal::Payment(
                PaymentRefusal::NotStarted { .. } | PaymentRefusal::OtherAccount { .. },
            ) => not_found(),
            CreditingRefusal::Payment(
                refusal @ (PaymentRefusal::PriceOutOfRange { .. }
                | PaymentRefusal::NotWholeCents { .. }
                | PaymentRefusal::CreditOutOfRange { .. }
                | PaymentRefusal::QuantityOutOfRange { .. }
                | PaymentRefusal::BadProviderId { .. }),
            ) => Self::invalid(code, refusal.to_string()),
            refusal @ (CreditingRefusal::Payment(
                PaymentRefusal::AlreadyStarted { .. }
                | PaymentRefusal::OtherSession { .. }
                | PaymentRefusal::AmountMismatch { .. }
                | PaymentRefusal::CurrencyMismatch
                | PaymentRefusal::LivemodeMismatch { .. }
                | PaymentRefusal::OtherPurpose { .. }
                | PaymentRefusal::ReversalAmountChanged { .. }
                | PaymentRefusal::ReversalOutOfRange { .. }
                | PaymentRefusal::TooManyReversals { .. },
            )
            | CreditingRefusal::Wallet(_)
            | CreditingRefusal::Cash(_)) => conflict(code, refusal.to_string()),
            CreditingRefusal::Subscription(refusal) => of_subscription(code, &refusal),
        }
    }
}

fn of_subscription(code: &'static str, refusal: &SubscriptionRefusal) -> Problem {
    match refusal {
        SubscriptionRefusal::NotSubscribed | SubscriptionRefusal::UnknownSubscription { .. } => {
            Problem::new(StatusCode::NOT_FOUND, ErrorKind::NotFound, code, sentence(&refusal.to_string()))
        }
        SubscriptionRefusal::AlreadySubscribed { .. }
        | SubscriptionRefusal::CheckoutOpen { .. }
        | SubscriptionRefusal::OtherSubscription { .. }
        | SubscriptionRefusal::BadProviderId { .. }
        | SubscriptionRefusal::PeriodOutOfRange
        | SubscriptionRefusal::Over => conflict(code, sentence(&refusal.to_string())),
    }
}

impl From<SettleError> for Problem {
    fn from(error: SettleError) -> Self {
        match error {
            SettleError::Foreign => not_found(),
            SettleError::Stripe(error) => error.into(),
            SettleError::Command(error) => error.into(),
            SettleError::Read(error) => Self::unavailable(error),
        }
    }
}

impl From<CheckoutError> for Problem {
    fn from(error: CheckoutError) -> Self {
        match error {
            CheckoutError::Command(error) => error.into(),
            CheckoutError::Subscription(error) => error.into(),
            CheckoutError::Settle(error) => error.into(),
            CheckoutError::Stripe(StripeError::NotFound { what }) => {
                StripeError::Refused { what, status: 404, code: "resource_missing".into() }.into()
            }
            CheckoutError::Stripe(error) => error.into(),
            CheckoutError::Table(error) => Self::unavailable(error),
        }
    }
}

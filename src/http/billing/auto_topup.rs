//! `/api/v1/wallet/auto-topup`: whether, when and by how much the wallet tops itself up with the saved card.

use std::sync::Arc;

use axum::extract::State;
use axum::{Extension, Json};
use chrono::{DateTime, Utc};
use codexapi_aggregates::auto_topup::{
    AutoTopUp, AutoTopUpAction, AutoTopUpRefusal, OffReason, TopUpOrder, Wish,
};
use codexapi_aggregates::ids::AccountId;
use codexapi_aggregates::money::MicroUsd;
use codexapi_protocols::errors::ErrorKind;
use http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use super::stripe::payments;
use crate::app::App;
use crate::clock;
use crate::http::admin::Actor;
use crate::http::admin::body::AdminBody;
use crate::http::auth::CustomerCaller;
use crate::http::error::{ErrorBody, Problem};
use crate::http::query::NoQuery;
use crate::payments::profiles;

/// What the caller wishes. Amounts in micro-USD; $1 is 1 000 000.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SetAutoTopUp {
    /// Without the rest, `false` switches it off.
    enabled: bool,
    /// It tops up when the balance is below this.
    threshold_micro: Option<i64>,
    /// What each top-up costs, and gives as credit; whole cents.
    amount_micro: Option<i64>,
    /// The most it may cost in a calendar month (UTC).
    monthly_limit_micro: Option<i64>,
}

/// The wallet's automatic top-up.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct AutoTopUpStatus {
    enabled: bool,
    threshold_micro: Option<i64>,
    amount_micro: Option<i64>,
    monthly_limit_micro: Option<i64>,
    /// This calendar month (UTC), what is under way included.
    spent_this_month_micro: i64,
    #[schema(example = "20.000000")]
    spent_this_month_usd: String,
    /// `asked`, `declined` (too often in a row) or `no_card`, where it is off after having been on.
    off_reason: Option<&'static str>,
    /// The payment that is under way.
    open_payment_id: Option<Uuid>,
    /// After a declined card it does not try again before that.
    waits_until: Option<DateTime<Utc>>,
    /// Whether there is a card to be charged: pay once at a checkout with `saveCard`.
    has_card: bool,
}

/// The caller's automatic top-up.
#[utoipa::path(
    get, path = "/api/v1/wallet/auto-topup", operation_id = "auto_topup", tag = "billing",
    responses((status = 200, body = AutoTopUpStatus), (status = 401, body = ErrorBody), (status = 503, body = ErrorBody)),
    security(("bearer" = []), ("apiKey" = []))
)]
pub async fn read(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<CustomerCaller>,
    _: NoQuery,
) -> Result<Json<AutoTopUpStatus>, Problem> {
    status(&app, caller.account_id).await.map(Json)
}

/// Switches it on, changes it, or switches it off. It fires within seconds of the balance falling below the threshold,
/// once at a time.
#[utoipa::path(
    post, path = "/api/v1/wallet/auto-topup", operation_id = "set_auto_topup", tag = "billing",
    request_body = SetAutoTopUp,
    responses((status = 200, body = AutoTopUpStatus), (status = 400, body = ErrorBody),
        (status = 401, body = ErrorBody), (status = 409, body = ErrorBody), (status = 503, body = ErrorBody)),
    security(("bearer" = []), ("apiKey" = []))
)]
pub async fn set(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<CustomerCaller>,
    actor: Actor,
    _: NoQuery,
    AdminBody(wish): AdminBody<SetAutoTopUp>,
) -> Result<Json<AutoTopUpStatus>, Problem> {
    let (payments, account_id) = (payments(&app)?, caller.account_id);
    let action = action(&wish)?;
    if wish.enabled && card(&app, account_id).await?.is_none() {
        let message = "There is no saved card. Pay once at a checkout with `saveCard`, then switch this on.";
        let status = StatusCode::CONFLICT;
        return Err(Problem::new(status, ErrorKind::InvalidRequest, "no_saved_card", message));
    }
    payments.set_auto_topup(account_id, action, &actor.metadata).await?;
    status(&app, account_id).await.map(Json)
}

fn action(wish: &SetAutoTopUp) -> Result<AutoTopUpAction, Problem> {
    let SetAutoTopUp { enabled, threshold_micro, amount_micro, monthly_limit_micro } = *wish;
    if !enabled {
        return Ok(AutoTopUpAction::SwitchOff { reason: OffReason::Asked });
    }
    let (Some(threshold), Some(amount), Some(limit)) = (threshold_micro, amount_micro, monthly_limit_micro)
    else {
        let message = "`thresholdMicro`, `amountMicro` and `monthlyLimitMicro` are needed to switch it on.";
        return Err(Problem::invalid("auto_topup_incomplete", message));
    };
    if amount % MICRO_PER_CENT != 0 {
        return Err(Problem::invalid("price_not_whole_cents", "`amountMicro` must be whole cents."));
    }
    let order = TopUpOrder { plan_id: None, price_micro: MicroUsd(amount), credit_micro: MicroUsd(amount) };
    Ok(AutoTopUpAction::SwitchOn {
        order,
        threshold_micro: MicroUsd(threshold),
        monthly_limit_micro: MicroUsd(limit),
    })
}

const MICRO_PER_CENT: i64 = 10_000;

async fn card(app: &App, account_id: AccountId) -> Result<Option<profiles::PaymentProfile>, Problem> {
    let livemode = payments(app)?.livemode;
    profiles::get(&app.pool, account_id, livemode).await.map_err(Problem::unavailable)
}

async fn status(app: &App, account_id: AccountId) -> Result<AutoTopUpStatus, Problem> {
    let has_card = card(app, account_id).await?.is_some();
    let now = clock::now();
    let look = |auto: &AutoTopUp| {
        let wish: Option<&Wish> = auto.wish();
        let spent = auto.spent_in_month(now);
        AutoTopUpStatus {
            enabled: wish.is_some(),
            threshold_micro: wish.map(|wish| wish.threshold_micro.0),
            amount_micro: wish.map(|wish| wish.order.price_micro.0),
            monthly_limit_micro: wish.map(|wish| wish.monthly_limit_micro.0),
            spent_this_month_micro: spent.0,
            spent_this_month_usd: spent.to_string(),
            off_reason: auto.off_reason().map(name_of),
            open_payment_id: auto.attempt().map(|attempt| attempt.payment_id.0),
            waits_until: auto.cools_until(now).and_then(|until| DateTime::from_timestamp_micros(until.0)),
            has_card,
        }
    };
    app.log.read(&account_id.to_string(), look).await.map_err(Problem::unavailable)
}

fn name_of(reason: OffReason) -> &'static str {
    match reason {
        OffReason::Asked => "asked",
        OffReason::Declined => "declined",
        OffReason::NoCard => "no_card",
    }
}

impl From<AutoTopUpRefusal> for Problem {
    fn from(refusal: AutoTopUpRefusal) -> Self {
        let code = match refusal {
            AutoTopUpRefusal::ThresholdOutOfRange { .. } => "threshold_out_of_range",
            AutoTopUpRefusal::PriceOutOfRange { .. } => "price_out_of_range",
            AutoTopUpRefusal::LimitOutOfRange { .. } => "monthly_limit_out_of_range",
            AutoTopUpRefusal::Off => "auto_topup_off",
            AutoTopUpRefusal::AttemptOpen { .. } => "auto_topup_open",
            AutoTopUpRefusal::CoolingDown { .. } => "auto_topup_waits",
            AutoTopUpRefusal::BalanceSuffices { .. } => "balance_suffices",
            AutoTopUpRefusal::MonthlyLimit { .. } => "monthly_limit_reached",
        };
        Self::invalid(code, refusal.to_string())
    }
}

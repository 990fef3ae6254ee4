//! `/api/v1/subscription`: whether the caller's plan is paid again, until when it is paid, and the customer's say in it.
//!
//! It shows what the account's own stream says. A change is told to Stripe first, and what is shown afterwards is what
//! Stripe then says.

use std::sync::Arc;

use axum::extract::State;
use axum::{Extension, Json};
use chrono::{DateTime, Utc};
use codexapi_aggregates::ids::AccountId;
use codexapi_aggregates::subscription::{Current, Subscription, SubscriptionEnd, SubscriptionTerms};
use codexapi_aggregates::time::Timestamp;
use codexapi_protocols::errors::ErrorKind;
use http::StatusCode;
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use super::stripe::payments;
use crate::app::App;
use crate::http::admin::Actor;
use crate::http::auth::CustomerCaller;
use crate::http::error::{ErrorBody, Problem};
use crate::http::query::NoQuery;

/// The caller's subscription.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct SubscriptionStatus {
    /// `none`; `requested` (its checkout is not paid yet); `active`; `past_due` (the last invoice is not paid yet);
    /// `ended` (what is paid for lasts until `periodEndsAt`).
    status: &'static str,
    plan_id: Option<String>,
    /// Of each month.
    price_micro: Option<i64>,
    #[schema(example = "149.000000")]
    price_usd: Option<String>,
    /// Its first payment, or that of its checkout.
    payment_id: Option<Uuid>,
    started_at: Option<DateTime<Utc>>,
    /// Of the last month that is paid.
    period_ends_at: Option<DateTime<Utc>>,
    /// It is not paid again and ends with its period.
    cancel_at_period_end: bool,
    /// While it is past due, until when the plan still covers.
    grace_ends_at: Option<DateTime<Utc>>,
    /// `cancelled` or `unpaid`, where it has ended.
    #[schema(value_type = Option<String>)]
    ended_reason: Option<SubscriptionEnd>,
}

/// The caller's subscription.
#[utoipa::path(
    get, path = "/api/v1/subscription", operation_id = "subscription", tag = "billing",
    responses((status = 200, body = SubscriptionStatus), (status = 401, body = ErrorBody),
        (status = 503, body = ErrorBody)),
    security(("bearer" = []), ("apiKey" = []))
)]
pub async fn read(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<CustomerCaller>,
    _: NoQuery,
) -> Result<Json<SubscriptionStatus>, Problem> {
    status(&app, caller.account_id).await.map(Json)
}

/// Lets the subscription end when its period does; what is paid for stays. Again, it changes nothing.
#[utoipa::path(
    post, path = "/api/v1/subscription/cancel", operation_id = "cancel_subscription", tag = "billing",
    responses((status = 200, body = SubscriptionStatus), (status = 401, body = ErrorBody),
        (status = 404, body = ErrorBody), (status = 409, body = ErrorBody), (status = 503, body = ErrorBody)),
    security(("bearer" = []), ("apiKey" = []))
)]
pub async fn cancel(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<CustomerCaller>,
    actor: Actor,
    _: NoQuery,
) -> Result<Json<SubscriptionStatus>, Problem> {
    set_cancelled(&app, caller.account_id, true, &actor).await
}

/// Takes a cancellation back, as long as the subscription has not ended. Again, it changes nothing.
#[utoipa::path(
    post, path = "/api/v1/subscription/resume", operation_id = "resume_subscription", tag = "billing",
    responses((status = 200, body = SubscriptionStatus), (status = 401, body = ErrorBody),
        (status = 404, body = ErrorBody), (status = 409, body = ErrorBody), (status = 503, body = ErrorBody)),
    security(("bearer" = []), ("apiKey" = []))
)]
pub async fn resume(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<CustomerCaller>,
    actor: Actor,
    _: NoQuery,
) -> Result<Json<SubscriptionStatus>, Problem> {
    set_cancelled(&app, caller.account_id, false, &actor).await
}

async fn set_cancelled(
    app: &App,
    account_id: AccountId,
    cancels: bool,
    actor: &Actor,
) -> Result<Json<SubscriptionStatus>, Problem> {
    payments(app)?.set_cancelled(account_id, cancels, &actor.metadata).await?;
    let status = status(app, account_id).await?;
    if status.ended_reason.is_none() && status.cancel_at_period_end != cancels {
        let message =
            "The subscription was changed by another request at the same time. Look at it and ask again.";
        let kind = ErrorKind::InvalidRequest;
        return Err(Problem::new(StatusCode::CONFLICT, kind, "changed_meanwhile", message));
    }
    Ok(Json(status))
}

async fn status(app: &App, account_id: AccountId) -> Result<SubscriptionStatus, Problem> {
    let look = |subscription: &Subscription| match (subscription.current(), subscription.requested()) {
        (Some(current), None) => SubscriptionStatus::of(current),
        (Some(current), Some(_)) if current.ended.is_none() => SubscriptionStatus::of(current),
        (_, Some(requested)) => SubscriptionStatus::of_terms("requested", requested),
        (None, None) => SubscriptionStatus::none(),
    };
    app.log.read(&account_id.to_string(), look).await.map_err(Problem::unavailable)
}

impl SubscriptionStatus {
    fn none() -> Self {
        Self {
            status: "none",
            plan_id: None,
            price_micro: None,
            price_usd: None,
            payment_id: None,
            started_at: None,
            period_ends_at: None,
            cancel_at_period_end: false,
            grace_ends_at: None,
            ended_reason: None,
        }
    }

    fn of_terms(status: &'static str, terms: &SubscriptionTerms) -> Self {
        Self {
            status,
            plan_id: Some(terms.entitlement.plan_id.to_string()),
            price_micro: Some(terms.price_micro.0),
            price_usd: Some(terms.price_micro.to_string()),
            payment_id: Some(terms.payment_id.0),
            ..Self::none()
        }
    }

    fn of(current: &Current) -> Self {
        let status = match (current.ended, current.past_due) {
            (Some(_), _) => "ended",
            (None, Some(_)) => "past_due",
            (None, None) => "active",
        };
        Self {
            started_at: moment(current.started_at),
            period_ends_at: moment(current.period_ends_at),
            cancel_at_period_end: current.cancels,
            grace_ends_at: current.past_due.and_then(|due| moment(due.grace_ends_at)),
            ended_reason: current.ended,
            ..Self::of_terms(status, &current.terms)
        }
    }
}

fn moment(at: Timestamp) -> Option<DateTime<Utc>> {
    DateTime::from_timestamp_micros(at.0)
}

//! `/payments` and `/stripe/webhooks`: what customers paid, and what Stripe told us of it.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use chrono::{DateTime, Utc};
use codexapi_projections::{MAX_PAGE, Page, payments};
use http::Uri;
use serde::Serialize;
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use crate::app::App;
use crate::http::billing::payments::PaymentList;
use crate::http::error::{ErrorBody, Problem};
use crate::http::query::QueryParams;
use crate::payments::inbox::{self, Entry};

/// Rows on a page where the caller names no number.
const DEFAULT_LIMIT: u32 = 50;

#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct PageQuery {
    /// Rows on this page, 1 to 200; 50 by default.
    #[param(minimum = 1, maximum = 200)]
    limit: Option<u32>,
    /// `nextBefore` of the page before.
    #[param(value_type = Option<String>)]
    before: Option<i64>,
}

/// Deliveries of Stripe's, newest first.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct WebhookInbox {
    webhooks: Vec<Webhook>,
    /// Pass it as `before` for the next page; absent on the last.
    next_before: Option<String>,
}

/// One event, however often it was delivered.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct Webhook {
    /// Whether Stripe signed it; of what nobody we know signed nothing else is kept.
    verified: bool,
    event_id: Option<String>,
    event_type: Option<String>,
    object_id: Option<String>,
    livemode: Option<bool>,
    deliveries: i32,
    /// `received`, `credited`, `reversed`, `ended`, `subscription_changed`, `nothing_new`, `ignored`, `foreign`,
    /// `other_mode`, `refused`, `failed` or `unverified`.
    effect: String,
    /// Why it was refused or not believed.
    reason: Option<String>,
    payment_id: Option<Uuid>,
    first_received_at: DateTime<Utc>,
    last_received_at: DateTime<Utc>,
}

/// Everybody's payments, newest first.
#[utoipa::path(
    get, path = "/admin/api/payments", operation_id = "list_all_payments", tag = "operator money", params(PageQuery),
    responses((status = 200, body = PaymentList), (status = 400, body = ErrorBody), (status = 401, body = ErrorBody),
        (status = 403, body = ErrorBody)),
    security(("bearer" = []), ("apiKey" = []))
)]
pub async fn list(State(app): State<Arc<App>>, uri: Uri) -> Result<Json<PaymentList>, Problem> {
    let PageQuery { limit, before } = PageQuery::of(&uri)?;
    let page = payments::all(&app.pool, before, limit.unwrap_or(DEFAULT_LIMIT)).await?;
    Ok(Json(PaymentList::of(page)))
}

/// What Stripe told us, whether it was believed, and what came of it.
#[utoipa::path(
    get, path = "/admin/api/stripe/webhooks", operation_id = "list_stripe_webhooks", tag = "operator money",
    params(PageQuery),
    responses((status = 200, body = WebhookInbox), (status = 400, body = ErrorBody), (status = 401, body = ErrorBody),
        (status = 403, body = ErrorBody)),
    security(("bearer" = []), ("apiKey" = []))
)]
pub async fn webhooks(State(app): State<Arc<App>>, uri: Uri) -> Result<Json<WebhookInbox>, Problem> {
    let PageQuery { limit, before } = PageQuery::of(&uri)?;
    let page = inbox::page(&app.pool, before, limit.unwrap_or(DEFAULT_LIMIT)).await;
    let Page { rows, next } =
        page.map_err(|error| Problem::unavailable(anyhow::Error::new(error).context("reading the inbox")))?;
    let webhooks = rows.into_iter().map(Webhook::from).collect();
    Ok(Json(WebhookInbox { webhooks, next_before: next.map(|next| next.to_string()) }))
}

impl PageQuery {
    fn of(uri: &Uri) -> Result<Self, Problem> {
        let params = QueryParams::of(uri, &["limit", "before"])?;
        Ok(Self {
            limit: params.number("limit", 1..=MAX_PAGE)?,
            before: params.cursor("before", "nextBefore")?,
        })
    }
}

impl From<Entry> for Webhook {
    fn from(entry: Entry) -> Self {
        Self {
            verified: entry.verified,
            event_id: entry.event_id,
            event_type: entry.event_type,
            object_id: entry.object_id,
            livemode: entry.livemode,
            deliveries: entry.deliveries,
            effect: entry.effect,
            reason: entry.reason,
            payment_id: entry.payment_id,
            first_received_at: entry.first_received_at,
            last_received_at: entry.last_received_at,
        }
    }
}

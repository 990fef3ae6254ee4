//! `POST /api/v1/stripe/webhook`: what Stripe tells us. Its signature is its credential, so the body is read whole and
//! looked at byte for byte before it is parsed.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Request, State};
use serde::Serialize;
use utoipa::ToSchema;

use super::billing::stripe::payments;
use super::error::{ErrorBody, Problem};
use super::whole_body::whole;
use crate::app::App;
use crate::metrics::WebhookLabels;
use crate::payments::inbox::Effect;
use crate::payments::signature::BadSignature;
use crate::payments::webhook::NotTaken;

/// The largest event; Stripe's are well below it.
const LIMIT_BYTES: usize = 512 * 1024;

/// That an event needs not be sent again.
#[derive(Serialize, ToSchema)]
pub struct WebhookTaken {
    received: bool,
}

/// Takes an event of Stripe's. It is only a hint: what it names is fetched from Stripe before anything comes of it.
#[utoipa::path(
    post, path = "/api/v1/stripe/webhook", operation_id = "stripe_webhook", tag = "billing", security(()),
    params(("Stripe-Signature" = String, Header, description = "Stripe's signature over time and body")),
    request_body(content = String, content_type = "application/json", description = "An event of Stripe's"),
    responses((status = 200, body = WebhookTaken), (status = 400, body = ErrorBody), (status = 413, body = ErrorBody),
        (status = 503, body = ErrorBody))
)]
pub async fn take(State(app): State<Arc<App>>, request: Request) -> Result<Json<WebhookTaken>, Problem> {
    let payments = payments(&app)?;
    let signature = request.headers().get("stripe-signature").cloned();
    let body = whole(request, LIMIT_BYTES).await?;
    let taken = payments.take_webhook(signature.as_ref().map(|value| value.as_bytes()), &body).await;
    let count = |effect: Effect| {
        app.metrics.stripe_webhooks.get_or_create(&WebhookLabels { effect: effect.name() }).inc();
    };
    match taken {
        Ok(outcome) => {
            count(outcome.effect);
            Ok(Json(WebhookTaken { received: true }))
        }
        Err(NotTaken::BadSignature(refused)) => {
            count(Effect::Unverified);
            Err(not_believed(refused))
        }
        Err(NotTaken::NotAnEvent) => {
            Err(Problem::invalid("not_an_event", "The body is no event of Stripe's."))
        }
        Err(NotTaken::Later(error)) => {
            count(Effect::Failed);
            Err(Problem::unavailable(error.context("taking a webhook of Stripe's")))
        }
    }
}

fn not_believed(refused: BadSignature) -> Problem {
    let code = match refused {
        BadSignature::Missing => "unsigned",
        BadSignature::Wrong => "wrong_signature",
        BadSignature::OutOfTime => "out_of_time",
    };
    Problem::invalid(code, format!("{refused}.").replacen("the", "The", 1))
}

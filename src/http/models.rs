//! The models on sale, in the caller's dialect.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use codexapi_protocols::errors::ErrorKind;
use http::{HeaderMap, StatusCode};
use serde_json::{Value, json};

use super::error::Problem;
use crate::app::App;

/// Clients of the Messages API name its version; OpenAI's clients never do.
const ANTHROPIC_VERSION: &str = "anthropic-version";

/// A moment before the first model: the day a model was made is the provider's to know.
const CREATED_SECS: i64 = 1_767_225_600;
const CREATED_AT: &str = "2026-01-01T00:00:00Z";

/// Every model on sale: Anthropic's form where `anthropic-version` is sent, else OpenAI's.
#[utoipa::path(
    get, path = "/v1/models", tag = "models",
    responses((status = 200, body = serde_json::Value)),
    security(("bearer" = []), ("apiKey" = []))
)]
pub async fn list(State(app): State<Arc<App>>, headers: HeaderMap) -> Response {
    let models = match app.gateway.models_on_sale().await {
        Ok(models) => models,
        Err(error) => return Problem::unavailable(error).into_response(),
    };
    let anthropic = headers.contains_key(ANTHROPIC_VERSION);
    let data: Vec<Value> = models.iter().map(|model| descriptor(model, anthropic)).collect();
    let list = if anthropic {
        json!({ "data": data, "has_more": false, "first_id": models.first(), "last_id": models.last() })
    } else {
        json!({ "object": "list", "data": data })
    };
    Json(list).into_response()
}

/// One model on sale.
#[utoipa::path(
    get, path = "/v1/models/{model_id}", tag = "models", params(("model_id" = String, Path)),
    responses((status = 200, body = serde_json::Value)),
    security(("bearer" = []), ("apiKey" = []))
)]
pub async fn retrieve(
    State(app): State<Arc<App>>,
    Path(model): Path<String>,
    headers: HeaderMap,
) -> Response {
    match app.gateway.models_on_sale().await {
        Ok(models) if models.contains(&model) => {
            Json(descriptor(&model, headers.contains_key(ANTHROPIC_VERSION))).into_response()
        }
        Ok(models) => {
            let message = format!("The model {model:?} is not sold here. Available: {}", models.join(", "));
            Problem::new(StatusCode::NOT_FOUND, ErrorKind::NotFound, "model_not_found", message)
                .into_response()
        }
        Err(error) => Problem::unavailable(error).into_response(),
    }
}

fn descriptor(model: &str, anthropic: bool) -> Value {
    if anthropic {
        json!({ "type": "model", "id": model, "display_name": model, "created_at": CREATED_AT })
    } else {
        json!({ "id": model, "object": "model", "created": CREATED_SECS, "owned_by": "codexapi" })
    }
}

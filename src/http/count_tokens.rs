//! `/v1/messages/count_tokens`, answered here: it costs nobody anything and no provider is asked.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use codexapi_aggregates::usage::Protocol;
use codexapi_protocols::count::count_input_tokens;
use codexapi_protocols::request::ParsedRequest;
use serde_json::{Value, json};

use super::error::Problem;
use super::models;
use super::whole_body::WholeBody;
use crate::app::App;

/// How many input tokens a Messages request has.
///
/// Counting reads the whole body with a tokenizer, which is no work for the threads that serve requests.
#[utoipa::path(
    post, path = "/v1/messages/count_tokens", tag = "generations", request_body = serde_json::Value,
    responses(
        (status = 200, body = serde_json::Value, description = "`{\"input_tokens\": …}`"),
        (status = 404, body = serde_json::Value, description = "The model is not sold here")
    ),
    security(("bearer" = []), ("apiKey" = []))
)]
pub async fn count(State(app): State<Arc<App>>, WholeBody(body): WholeBody) -> Result<Json<Value>, Problem> {
    let unreadable = |bad: &dyn std::error::Error| Problem::invalid("invalid_request", bad.to_string());
    let counting = tokio::task::spawn_blocking(move || {
        let model = ParsedRequest::parse(Protocol::Messages, &body)?.model;
        Ok::<_, codexapi_protocols::request::BadRequest>((model, count_input_tokens(&body)?))
    });
    let counted = counting.await.map_err(|panicked| Problem::failed(panicked.into()))?;
    let (model, input_tokens) = counted.map_err(|bad| unreadable(&bad))?;
    // A count for a model that is refused afterwards would be a promise.
    if app.gateway.sold_as(&model).await.map_err(Problem::unavailable)?.is_none() {
        return Err(models::not_sold(&model, &models::on_sale(&app).await?));
    }
    Ok(Json(json!({ "input_tokens": input_tokens })))
}

//! How many input tokens a Responses request has; answered here, and free.

use std::sync::Arc;

use axum::extract::State;
use axum::{Extension, Json};
use bytes::Bytes;
use codexapi_aggregates::usage::Protocol;
use codexapi_protocols::count::count_response_input_tokens;
use codexapi_protocols::request::{BadRequest, ParsedRequest};
use codexapi_protocols::restate::restate;
use serde_json::{Value, json};

use super::owner;
use crate::app::App;
use crate::http::auth::Principal;
use crate::http::error::Problem;
use crate::http::whole_body::WholeBody;

/// Input tokens of a Responses request, the conversation it goes on from included: an estimate.
#[utoipa::path(
    post, path = "/v1/responses/count_tokens",
    operation_id = "count_response_tokens", tag = "generations", request_body = serde_json::Value,
    responses((status = 200, body = serde_json::Value, description = "`{\"object\":\"response.input_tokens\",\"input_tokens\": …}`")),
    security(("bearer" = []), ("apiKey" = []))
)]
pub async fn count(
    State(app): State<Arc<App>>,
    Extension(principal): Extension<Principal>,
    WholeBody(body): WholeBody,
) -> Result<Json<Value>, Problem> {
    counted(&app, principal, body).await
}

/// The same, under the name that OpenAI's SDKs know.
#[utoipa::path(
    post, path = "/v1/responses/input_tokens",
    operation_id = "count_response_input_tokens", tag = "generations", request_body = serde_json::Value,
    responses((status = 200, body = serde_json::Value, description = "`{\"object\":\"response.input_tokens\",\"input_tokens\": …}`")),
    security(("bearer" = []), ("apiKey" = []))
)]
pub async fn input_tokens(
    State(app): State<Arc<App>>,
    Extension(principal): Extension<Principal>,
    WholeBody(body): WholeBody,
) -> Result<Json<Value>, Problem> {
    counted(&app, principal, body).await
}

async fn counted(app: &App, principal: Principal, body: Bytes) -> Result<Json<Value>, Problem> {
    let parsed = match ParsedRequest::parse(Protocol::Responses, &body) {
        // Who only counts need not name a model.
        Err(BadRequest::Missing { field: "model", .. }) => {
            let text = String::from_utf8_lossy(&body);
            let named = restate(&text, &[("model", r#""any""#.to_owned())]);
            ParsedRequest::parse(Protocol::Responses, &named.into())
        }
        parsed => parsed,
    };
    let request = parsed.map_err(|bad| bad_request(&bad))?;
    let expanded = app.stored.expand(owner(principal)?, &request).await?;
    let body = expanded.unwrap_or_else(|| request.body().clone());
    // Counting reads the whole text with a tokenizer: no work for the threads that serve requests.
    match tokio::task::spawn_blocking(move || count_response_input_tokens(&body)).await {
        Ok(Ok(tokens)) => Ok(Json(json!({ "object": "response.input_tokens", "input_tokens": tokens }))),
        Ok(Err(bad)) => Err(bad_request(&bad)),
        Err(panicked) => Err(Problem::failed(panicked.into())),
    }
}

fn bad_request(bad: &BadRequest) -> Problem {
    Problem { param: bad.field(), ..Problem::invalid("invalid_request", bad.to_string()) }
}

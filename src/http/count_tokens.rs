//! `/v1/messages/count_tokens`, answered here: it costs nobody anything and no provider is asked.

use axum::Json;
use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::response::{IntoResponse, Response};
use codexapi_protocols::count::count_input_tokens;
use codexapi_protocols::errors::ErrorKind;
use http::StatusCode;
use serde_json::json;

use super::error::Problem;

/// How many input tokens a Messages request has.
///
/// Counting reads the whole body with a tokenizer, which is no work for the threads that serve requests.
#[utoipa::path(
    post, path = "/v1/messages/count_tokens", tag = "generations", request_body = serde_json::Value,
    responses((status = 200, body = serde_json::Value, description = "`{\"input_tokens\": …}`")),
    security(("bearer" = []), ("apiKey" = []))
)]
pub async fn count(body: Result<Bytes, BytesRejection>) -> Response {
    let body = match body {
        Ok(body) => body,
        Err(rejection) => {
            return Problem::new(
                rejection.status(),
                ErrorKind::InvalidRequest,
                "bad_body",
                rejection.body_text(),
            )
            .into_response();
        }
    };
    match tokio::task::spawn_blocking(move || count_input_tokens(&body)).await {
        Ok(Ok(input_tokens)) => Json(json!({ "input_tokens": input_tokens })).into_response(),
        Ok(Err(bad)) => Problem::new(
            StatusCode::BAD_REQUEST,
            ErrorKind::InvalidRequest,
            "invalid_request",
            bad.to_string(),
        )
        .into_response(),
        Err(panicked) => Problem::failed(panicked.into()).into_response(),
    }
}

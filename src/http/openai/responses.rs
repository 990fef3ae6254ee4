//! Stored responses: fetched, deleted, cancelled, compacted.

use std::sync::Arc;
use std::time::Instant;

use axum::Extension;
use axum::Json;
use axum::body::to_bytes;
use axum::extract::{Path, Query, RawQuery, State};
use axum::response::{IntoResponse, Response};
use codexapi_aggregates::usage::Protocol;
use http::StatusCode;
use serde_json::{Value, json};

use super::paging::Parameters;
use super::{json_text, owner};
use crate::app::App;
use crate::gateway::Incoming;
use crate::http::address::ClientAddress;
use crate::http::auth::Principal;
use crate::http::envelope::RequestId;
use crate::http::error::Problem;
use crate::http::generations::{Parts, payee};
use crate::stored::compaction;

/// A summary is far smaller.
const SUMMARY_LIMIT: usize = 64 * 1024 * 1024;

/// A stored response; of one in the background, how far it is.
#[utoipa::path(
    get, path = "/v1/responses/{response_id}",
    operation_id = "retrieve_response", tag = "stored", params(("response_id" = String, Path)),
    responses((status = 200, body = serde_json::Value), (status = 404, body = serde_json::Value)),
    security(("bearer" = []), ("apiKey" = []))
)]
pub async fn retrieve(
    State(app): State<Arc<App>>,
    Extension(principal): Extension<Principal>,
    Path(id): Path<String>,
    Query(parameters): Query<Parameters>,
) -> Result<Response, Problem> {
    if parameters.iter().any(|(name, value)| name == "stream" && value != "false") {
        let message = "A stored response is not streamed again: leave `stream` out.";
        return Err(Problem::invalid("stream_not_offered", message).about("stream"));
    }
    Ok(json_text(app.stored.response(owner(principal)?, &id).await?.body))
}

/// Deletes a stored response; one in the background is given up, and what it has cost is charged.
#[utoipa::path(
    delete, path = "/v1/responses/{response_id}",
    operation_id = "delete_response", tag = "stored", params(("response_id" = String, Path)),
    responses((status = 200, body = serde_json::Value), (status = 404, body = serde_json::Value)),
    security(("bearer" = []), ("apiKey" = []))
)]
pub async fn delete(
    State(app): State<Arc<App>>,
    Extension(principal): Extension<Principal>,
    Path(id): Path<String>,
) -> Result<Json<Value>, Problem> {
    app.background.delete(owner(principal)?, &id).await?;
    Ok(Json(json!({ "id": id, "object": "response", "deleted": true })))
}

/// Cancels a response in the background; what it has cost until then is charged.
#[utoipa::path(
    post, path = "/v1/responses/{response_id}/cancel",
    operation_id = "cancel_response", tag = "stored", params(("response_id" = String, Path)),
    responses(
        (status = 200, body = serde_json::Value, description = "The response; unchanged if it was finished"),
        (status = 400, body = serde_json::Value, description = "It was not created with `background`"),
        (status = 404, body = serde_json::Value)
    ),
    security(("bearer" = []), ("apiKey" = []))
)]
pub async fn cancel(
    State(app): State<Arc<App>>,
    Extension(principal): Extension<Principal>,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    Ok(json_text(app.background.cancel(owner(principal)?, &id).await?))
}

/// Summarises a stored conversation for continuation, by the response's own model. This is a
/// generation, billed as every other; its usage is in the answer.
#[utoipa::path(
    post, path = "/v1/responses/{response_id}/compact",
    operation_id = "compact_response", tag = "stored", params(("response_id" = String, Path)),
    responses(
        (status = 200, body = serde_json::Value, description = "A `response.compaction`; its `output` can be the beginning of another input"),
        (status = 402, body = serde_json::Value), (status = 404, body = serde_json::Value)
    ),
    security(("bearer" = []), ("apiKey" = []))
)]
pub async fn compact(Path(id): Path<String>, parts: Parts) -> Result<Response, Problem> {
    let arrived = Instant::now();
    let (
        State(app),
        Extension(principal),
        Extension(access),
        Extension(RequestId(request_id)),
        Extension(ClientAddress(address)),
        headers,
        RawQuery(query),
    ) = parts;
    let payee = payee(principal)?;
    let body = compaction::request(&app.stored.response(payee.into(), &id).await?)?;
    let protocol = Protocol::Responses;
    let incoming = Incoming {
        payee,
        access,
        address,
        protocol,
        headers,
        query,
        body,
        parsed: None,
        request_id,
        arrived,
        checked: None,
        admitted: None,
    };
    let answer = app.gateway.serve(incoming).await;
    if answer.status() != StatusCode::OK {
        return Ok(answer);
    }
    let answer =
        to_bytes(answer.into_body(), SUMMARY_LIMIT).await.map_err(|error| Problem::failed(error.into()))?;
    let object = compaction::object(&answer).map_err(|error| Problem::failed(error.into()))?;
    Ok(Json(object).into_response())
}

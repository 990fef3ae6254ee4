//! The routes that generate: read the body, hand everything to the gateway.

use std::sync::Arc;
use std::time::Instant;

use axum::Extension;
use axum::extract::{Path, RawQuery, State};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use codexapi_aggregates::usage::Protocol;
use codexapi_protocols::errors::ErrorKind;
use http::header::{ALLOW, CONNECTION, CONTENT_ENCODING, UPGRADE};
use http::{HeaderMap, HeaderValue, StatusCode};

use super::address::ClientAddress;
use super::auth::{AuthError, Principal};
use super::envelope::RequestId;
use super::error::Problem;
use super::whole_body::WholeBody;
use crate::app::App;
use crate::gateway::refusal::{Caller, GatewayError, respond};
use crate::gateway::{Incoming, KeyAccess, Payee};
use crate::stored::serving::Serving;

/// What the guard, the envelope and the client have given a request.
pub type Parts = (
    State<Arc<App>>,
    Extension<Principal>,
    Extension<Arc<KeyAccess>>,
    Extension<RequestId>,
    Extension<ClientAddress>,
    HeaderMap,
    RawQuery,
);

/// A generation in OpenAI's Responses dialect; fields pass through as sent.
#[utoipa::path(
    post, path = "/v1/responses", tag = "generations", request_body = serde_json::Value,
    responses((status = 200, body = serde_json::Value, description = "Whole, or as server-sent events where `stream` is set")),
    security(("bearer" = []), ("apiKey" = []))
)]
pub async fn responses(parts: Parts, body: Result<WholeBody, Problem>) -> Response {
    generate(Protocol::Responses, parts, body).await
}

/// A generation in OpenAI's Chat Completions dialect; fields pass through as sent.
#[utoipa::path(
    post, path = "/v1/chat/completions", tag = "generations", request_body = serde_json::Value,
    responses((status = 200, body = serde_json::Value, description = "Whole, or as server-sent events where `stream` is set")),
    security(("bearer" = []), ("apiKey" = []))
)]
pub async fn chat(parts: Parts, body: Result<WholeBody, Problem>) -> Response {
    generate(Protocol::Chat, parts, body).await
}

/// A legacy text completion: one prompt, one text; served by the model's current route.
#[utoipa::path(
    post, path = "/v1/completions", tag = "generations", request_body = serde_json::Value,
    responses((status = 200, body = serde_json::Value, description = "Whole, or as server-sent events where `stream` is set")),
    security(("bearer" = []), ("apiKey" = []))
)]
pub async fn completions(parts: Parts, body: Result<WholeBody, Problem>) -> Response {
    generate(Protocol::Completions, parts, body).await
}

/// A generation in Anthropic's Messages dialect; fields pass through as sent.
#[utoipa::path(
    post, path = "/v1/messages", tag = "generations", request_body = serde_json::Value,
    responses((status = 200, body = serde_json::Value, description = "Whole, or as server-sent events where `stream` is set")),
    security(("bearer" = []), ("apiKey" = []))
)]
pub async fn messages(parts: Parts, body: Result<WholeBody, Problem>) -> Response {
    generate(Protocol::Messages, parts, body).await
}

/// Codex tries a websocket first where it is told to; 426 makes it go on over HTTP at once.
pub async fn no_websocket(headers: HeaderMap) -> Response {
    if !headers.contains_key(UPGRADE) {
        let mut response = Problem::method_not_allowed().into_response();
        response.headers_mut().insert(ALLOW, HeaderValue::from_static("POST"));
        return response;
    }
    let message = "Websockets are not offered here; send the request over HTTP.";
    let code = "websocket_not_offered";
    let kind = ErrorKind::InvalidRequest;
    let mut response = Problem::new(StatusCode::UPGRADE_REQUIRED, kind, code, message).into_response();
    response.headers_mut().insert(UPGRADE, HeaderValue::from_static("HTTP/1.1"));
    response.headers_mut().insert(CONNECTION, HeaderValue::from_static("upgrade"));
    response
}

/// What else clients of the Messages API may ask for; nothing of it is offered.
///
/// Batches above all: each would be a generation that nobody waits for and no balance was held for.
#[utoipa::path(
    post, path = "/v1/messages/{subpath}", tag = "generations", params(("subpath" = String, Path)),
    responses((status = 404, body = serde_json::Value, description = "Not supported; in Anthropic's dialect")),
    security(("bearer" = []), ("apiKey" = []))
)]
pub async fn messages_subpath(Path(subpath): Path<String>) -> Problem {
    let first = subpath.split('/').next().unwrap_or_default();
    let message = match first {
        "batches" => "Message batches are not supported here. Send each request to /v1/messages.".to_owned(),
        _ => "Of the Messages API, /v1/messages and /v1/messages/count_tokens are supported here.".to_owned(),
    };
    Problem::new(StatusCode::NOT_FOUND, ErrorKind::NotFound, "not_supported", message)
}

async fn generate(
    protocol: Protocol,
    (
        State(app),
        Extension(principal),
        Extension(access),
        Extension(request_id),
        Extension(ClientAddress(address)),
        headers,
        RawQuery(query),
    ): Parts,
    body: Result<WholeBody, Problem>,
) -> Response {
    let arrived = Instant::now();
    let body = body.map_err(|problem| body_error(&app, &problem));
    let body = match body.and_then(|WholeBody(body)| plain(body, &headers)) {
        Ok(body) => body,
        Err(error) => return respond(&error, &Caller::unparsed(protocol, &headers, &request_id.0)),
    };
    let payee = match payee(principal) {
        Ok(payee) => payee,
        Err(refusal) => return Problem::from(refusal).into_response(),
    };
    let request_id = request_id.0;
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
    let serving = Serving { gateway: &app.gateway, stored: &app.stored, background: &app.background };
    serving.serve(incoming).await.unwrap_or_else(|refusal| Problem::from(refusal).into_response())
}

/// Who pays for what this caller asks.
///
/// # Errors
/// `PayersOnly`.
pub fn payee(principal: Principal) -> Result<Payee, AuthError> {
    match principal {
        Principal::Customer { account_id, key_id } => Ok(Payee::Customer { account_id, key_id }),
        Principal::Operator { key_id, .. } => Ok(Payee::Operator { key_id }),
        Principal::Admin { .. } => Err(AuthError::PayersOnly),
    }
}

/// A body as it is to be read.
///
/// # Errors
/// It is compressed.
fn plain(body: Bytes, headers: &HeaderMap) -> Result<Bytes, GatewayError> {
    match headers.get(CONTENT_ENCODING) {
        Some(coding) if !coding.as_bytes().eq_ignore_ascii_case(b"identity") => {
            let message = "`Content-Encoding` is not taken here: send the body uncompressed".to_owned();
            Err(GatewayError::BadRequest { message, field: None })
        }
        _ => Ok(body),
    }
}

fn body_error(app: &App, problem: &Problem) -> GatewayError {
    if problem.status == StatusCode::PAYLOAD_TOO_LARGE {
        let limit_mib = usize::try_from(app.config.http.body_limit_bytes >> 20).unwrap_or(usize::MAX);
        return GatewayError::TooLarge { limit_mib };
    }
    GatewayError::BadRequest { message: "the body could not be read to its end".into(), field: None }
}

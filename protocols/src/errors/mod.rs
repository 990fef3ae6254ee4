//! Our refusals and failures in the caller's dialect: error bodies, and the frames that end or keep
//! alive a stream.
//!
//! Which text a customer gets to see is decided by the clients, not by us: see the tables of what
//! each does with a status, a code and a frame. Codex shows a message word for word only with
//! `invalid_prompt`, and retries every code it does not know.

mod frames;

use bytes::Bytes;
use codexapi_aggregates::usage::Protocol;
use serde_json::json;

pub use frames::{FailureFrame, codex_refusal_stream, failure_frame, keepalive_frame};

/// What kind of refusal or failure it is; each dialect has its own word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    InvalidRequest,
    Authentication,
    Permission,
    NotFound,
    InsufficientCredit,
    RateLimited,
    Overloaded,
    Unavailable,
    Internal,
    UpstreamFailed,
}

/// One refusal or failure, as the caller is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ErrorShape<'a> {
    /// HTTP status.
    pub status: u16,
    pub kind: ErrorKind,
    /// Machine-readable reason, OpenAI's dialects only (`model_not_found`).
    pub code: Option<&'a str>,
    /// The field at fault, OpenAI's dialects only.
    pub param: Option<&'a str>,
    pub message: &'a str,
    pub request_id: &'a str,
}

/// The error as a JSON body.
pub fn render_json(protocol: Protocol, error: &ErrorShape) -> Bytes {
    let body = match protocol {
        Protocol::Responses | Protocol::Chat | Protocol::Completions => json!({
            "error": {
                "message": error.message,
                "type": openai_type(error.kind),
                "param": error.param,
                "code": error.code,
            }
        }),
        Protocol::Messages => json!({
            "type": "error",
            "error": { "type": anthropic_type(error.kind, error.status), "message": error.message },
            "request_id": error.request_id,
        }),
    };
    body.to_string().into()
}

/// OpenAI's `error.type`.
pub fn openai_type(kind: ErrorKind) -> &'static str {
    match kind {
        ErrorKind::InvalidRequest | ErrorKind::NotFound => "invalid_request_error",
        ErrorKind::Authentication => "authentication_error",
        ErrorKind::Permission => "permission_error",
        ErrorKind::InsufficientCredit => "insufficient_quota",
        ErrorKind::RateLimited => "rate_limit_exceeded",
        ErrorKind::Overloaded | ErrorKind::Unavailable | ErrorKind::Internal | ErrorKind::UpstreamFailed => {
            "server_error"
        }
    }
}

/// Anthropic's `error.type`.
pub fn anthropic_type(kind: ErrorKind, status: u16) -> &'static str {
    match kind {
        ErrorKind::InvalidRequest if status == 413 => "request_too_large",
        ErrorKind::InvalidRequest => "invalid_request_error",
        ErrorKind::Authentication => "authentication_error",
        ErrorKind::Permission => "permission_error",
        ErrorKind::NotFound => "not_found_error",
        ErrorKind::InsufficientCredit => "billing_error",
        ErrorKind::RateLimited => "rate_limit_error",
        ErrorKind::Overloaded => "overloaded_error",
        ErrorKind::Unavailable | ErrorKind::Internal | ErrorKind::UpstreamFailed => "api_error",
    }
}

/// The code in a `response.failed`: `invalid_prompt` shows our text and ends Codex's turn,
/// `rate_limit_exceeded` makes it wait as long as the text says ("try again in 10s"), any code it
/// does not know is tried again.
pub fn responses_code(kind: ErrorKind) -> &'static str {
    match kind {
        ErrorKind::InvalidRequest
        | ErrorKind::Authentication
        | ErrorKind::Permission
        | ErrorKind::NotFound
        | ErrorKind::InsufficientCredit => "invalid_prompt",
        ErrorKind::RateLimited => "rate_limit_exceeded",
        ErrorKind::Overloaded | ErrorKind::Unavailable | ErrorKind::Internal | ErrorKind::UpstreamFailed => {
            "server_error"
        }
    }
}

#[cfg(test)]
mod tests;

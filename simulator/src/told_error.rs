//! An error that a directive asks for, worded as the vendor words that status.

use http::StatusCode;
use serde_json::Value;

use crate::directive::ErrorTold;
use crate::refusal::{anthropic_error, openai_error};
use crate::request::Dialect;

const MESSAGE: &str = "The simulator failed, as told.";

pub fn status(told: &ErrorTold) -> StatusCode {
    told.status
        .and_then(|status| StatusCode::from_u16(status).ok())
        .unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
}

/// The error body in the caller's dialect; what is not told is what that status has.
pub fn body(told: &ErrorTold, dialect: Dialect) -> Value {
    let status = status(told).as_u16();
    let message = told.message.as_deref().unwrap_or(MESSAGE);
    match dialect {
        Dialect::Messages => {
            let kind = told.kind.as_deref().unwrap_or(anthropic_type(status));
            anthropic_error(kind, message)
        }
        Dialect::Responses | Dialect::Chat => {
            let kind = told.kind.as_deref().unwrap_or(openai_type(status));
            let code = told.code.as_deref().or(openai_code(status));
            openai_error(kind, code, None, message)
        }
    }
}

fn anthropic_type(status: u16) -> &'static str {
    match status {
        401 => "authentication_error",
        402 => "billing_error",
        403 => "permission_error",
        404 => "not_found_error",
        413 => "request_too_large",
        429 => "rate_limit_error",
        504 => "timeout_error",
        529 => "overloaded_error",
        500..=599 => "api_error",
        _ => "invalid_request_error",
    }
}

fn openai_type(status: u16) -> &'static str {
    match status {
        429 => "requests",
        500..=599 => "server_error",
        _ => "invalid_request_error",
    }
}

fn openai_code(status: u16) -> Option<&'static str> {
    match status {
        401 => Some("invalid_api_key"),
        404 => Some("model_not_found"),
        429 => Some("rate_limit_exceeded"),
        503 => Some("server_is_overloaded"),
        _ => None,
    }
}

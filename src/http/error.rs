//! The one table from refusals and failures to what a caller is told.
//!
//! A refusal is told with its reason. A failure is logged once, with its cause and the request id, and the caller is
//! told the id alone. Which words an answer is in is the caller's dialect, decided by the URL.

use std::any::Any;
use std::sync::Arc;

use axum::response::{IntoResponse, Response};
use codexapi_aggregates::account::AccountRefusal;
use codexapi_aggregates::printable::printable;
use codexapi_aggregates::usage::Protocol;
use codexapi_projections::ReadError;
use codexapi_protocols::errors::{ErrorKind, ErrorShape, render_json};
use codexapi_protocols::headers::X_SHOULD_RETRY;
use http::header::{CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderValue, StatusCode};
use serde::Serialize;
use utoipa::ToSchema;

use super::auth::AuthError;
use crate::commands::CommandError;

/// Seconds after which what is unavailable may be back.
const RETRY_AFTER_SECONDS: u32 = 2;

/// Of a message, which may repeat what was sent, in characters.
const MOST_TOLD: usize = 2_000;

/// What a caller is told instead of an answer.
#[derive(Clone, Debug)]
pub struct Problem {
    pub status: StatusCode,
    pub kind: ErrorKind,
    /// Machine-readable reason, snake case.
    pub code: &'static str,
    /// The field at fault; OpenAI's dialects show it.
    pub param: Option<&'static str>,
    /// For people; holds nothing but what the caller may know.
    pub message: String,
    pub retry_after_seconds: Option<u32>,
    /// For the log alone.
    pub cause: Option<Arc<anyhow::Error>>,
}

/// An error on our own routes.
#[derive(Serialize, ToSchema)]
pub struct ErrorBody {
    error: ErrorDetail,
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct ErrorDetail {
    /// Machine-readable reason, snake case.
    code: String,
    message: String,
    /// Tell us this when you ask what happened.
    request_id: String,
}

/// A message that shows all that is in it, and has an end.
fn told(message: &str) -> String {
    let lines: Vec<_> = message.split('\n').map(printable).collect();
    let mut told = lines.join("\n");
    if let Some((end, _)) = told.char_indices().nth(MOST_TOLD) {
        told.truncate(end);
        told.push('…');
    }
    told
}

impl Problem {
    pub fn new(status: StatusCode, kind: ErrorKind, code: &'static str, message: impl Into<String>) -> Self {
        Self {
            status,
            kind,
            code,
            param: None,
            message: told(&message.into()),
            retry_after_seconds: None,
            cause: None,
        }
    }

    pub fn invalid(code: &'static str, message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, ErrorKind::InvalidRequest, code, message)
    }

    /// Names the field at fault.
    pub fn about(self, param: &'static str) -> Self {
        Self { param: Some(param), ..self }
    }

    pub fn no_such_route() -> Self {
        Self::new(StatusCode::NOT_FOUND, ErrorKind::NotFound, "no_such_route", "There is no such URL here.")
    }

    pub fn method_not_allowed() -> Self {
        let message = "This URL does not take that method.";
        Self::new(StatusCode::METHOD_NOT_ALLOWED, ErrorKind::InvalidRequest, "method_not_allowed", message)
    }

    /// What we need is away; the same request may work soon.
    pub fn unavailable(cause: anyhow::Error) -> Self {
        let message = "This is not available at the moment. Try again shortly.";
        let problem =
            Self::new(StatusCode::SERVICE_UNAVAILABLE, ErrorKind::Unavailable, "unavailable", message);
        Self { retry_after_seconds: Some(RETRY_AFTER_SECONDS), cause: Some(Arc::new(cause)), ..problem }
    }

    /// Something went wrong that the caller cannot mend.
    pub fn failed(cause: anyhow::Error) -> Self {
        let message = "Something went wrong on our side. Tell us the request id if it stays so.";
        let problem = Self::new(StatusCode::INTERNAL_SERVER_ERROR, ErrorKind::Internal, "internal", message);
        Self { cause: Some(Arc::new(cause)), ..problem }
    }

    /// What a 401 asks for. The scheme says more only of a token that was sent.
    fn challenge(&self) -> &'static str {
        match self.code {
            "invalid_token" | "revoked_token" => r#"Bearer realm="codexapi", error="invalid_token""#,
            _ => r#"Bearer realm="codexapi""#,
        }
    }

    /// The body for `dialect`; `None` is our own.
    pub fn body(&self, dialect: Option<Protocol>, request_id: &str) -> bytes::Bytes {
        if let Some(protocol) = dialect {
            let (status, kind) = (self.status.as_u16(), self.kind);
            let shape = ErrorShape {
                status,
                kind,
                code: Some(self.code),
                param: self.param,
                message: &self.message,
                request_id,
            };
            return render_json(protocol, &shape);
        }
        let request_id = request_id.to_owned();
        let error = ErrorDetail { code: self.code.into(), message: self.message.clone(), request_id };
        serde_json::to_vec(&ErrorBody { error }).expect("strings are JSON").into()
    }

    /// The whole answer for `dialect`; `None` is our own.
    pub fn response(&self, dialect: Option<Protocol>, request_id: &str) -> Response {
        let mut response = (self.status, self.body(dialect, request_id)).into_response();
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if self.status == StatusCode::UNAUTHORIZED {
            response.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static(self.challenge()));
        }
        if let Some(seconds) = self.retry_after_seconds {
            response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds));
        } else if self.status.is_client_error() {
            // Claude Code repeats a 401 for minutes, and shows nothing, unless it is told not to.
            response.headers_mut().insert(X_SHOULD_RETRY, HeaderValue::from_static("false"));
        }
        response
    }
}

/// Carries the problem out to where dialect and request id are known.
impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = self.status.into_response();
        response.extensions_mut().insert(self);
        response
    }
}

/// The dialect of an answer; `None` is our own. The URL decides, and for the models, which both kinds of client list
/// at one URL, who asks.
pub fn dialect(path: &str, headers: &HeaderMap) -> Option<Protocol> {
    match path {
        _ if path.starts_with("/v1/messages") => Some(Protocol::Messages),
        _ if path.starts_with("/v1/models") && is_anthropic(headers) => Some(Protocol::Messages),
        _ if path.starts_with("/v1/responses") => Some(Protocol::Responses),
        _ if path.starts_with("/v1/") => Some(Protocol::Chat),
        _ => None,
    }
}

/// Whether a client of the Messages API asks: it names the API's version, or sends its key as only such clients do.
pub fn is_anthropic(headers: &HeaderMap) -> bool {
    headers.contains_key("anthropic-version") || headers.contains_key("x-api-key")
}

/// What a caught panic is told as.
pub fn caught_panic(panic: Box<dyn Any + Send>) -> Response {
    let said = panic
        .downcast_ref::<&str>()
        .map(ToString::to_string)
        .or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "something that is not text".into());
    Problem::failed(anyhow::anyhow!("a handler panicked: {said}")).into_response()
}

impl From<AuthError> for Problem {
    fn from(error: AuthError) -> Self {
        use AuthError as E;
        let unauthorized =
            |code, message| Self::new(StatusCode::UNAUTHORIZED, ErrorKind::Authentication, code, message);
        let forbidden =
            |code, message| Self::new(StatusCode::FORBIDDEN, ErrorKind::Permission, code, message);
        let wrong_kind = |message| forbidden("wrong_kind_of_key", message);
        match error {
            E::Missing => unauthorized(
                "missing_token",
                "No token was sent. Send yours as `Authorization: Bearer` or `x-api-key`.",
            ),
            E::NotBearer => unauthorized(
                "bearer_wanted",
                "`Authorization` holds no bearer token. Send yours as `Authorization: Bearer` or `x-api-key`.",
            ),
            E::Unknown => unauthorized("invalid_token", "This token is not known here."),
            E::Revoked => unauthorized("revoked_token", "This token was revoked or replaced."),
            E::Expired => forbidden("key_expired", "This key has expired. Issue a new one."),
            E::NotFromHere => {
                forbidden("network_not_allowed", "This token may not be used from your network.")
            }
            E::Conflicting => Self::invalid(
                "conflicting_tokens",
                "`Authorization` and `x-api-key` hold tokens of different accounts. Send only one.",
            ),
            E::CustomersOnly => wrong_kind("This needs the token of a customer; this one is the operator's."),
            E::PayersOnly => wrong_kind("This needs a token that generations are billed to."),
            E::AdminsOnly => wrong_kind("This needs an admin key."),
            E::Unavailable(cause) => Self::unavailable(cause.context("looking up a token")),
        }
    }
}

impl From<AccountRefusal> for Problem {
    fn from(refusal: AccountRefusal) -> Self {
        use AccountRefusal as R;
        let (status, kind, code) = match refusal {
            R::NotRegistered => (StatusCode::NOT_FOUND, ErrorKind::NotFound, "account_not_found"),
            R::UnknownKey { .. } => (StatusCode::NOT_FOUND, ErrorKind::NotFound, "key_not_found"),
            R::AlreadyRegistered => (StatusCode::CONFLICT, ErrorKind::InvalidRequest, "account_exists"),
            R::KeyExists { .. } => (StatusCode::CONFLICT, ErrorKind::InvalidRequest, "key_exists"),
            R::KeyRevoked { .. } => (StatusCode::CONFLICT, ErrorKind::InvalidRequest, "key_revoked"),
            R::SystemTokenIsReplaced => {
                (StatusCode::CONFLICT, ErrorKind::InvalidRequest, "system_token_is_replaced")
            }
            R::TooManyActiveKeys => (StatusCode::CONFLICT, ErrorKind::InvalidRequest, "too_many_active_keys"),
            R::TooManyKeys => (StatusCode::CONFLICT, ErrorKind::InvalidRequest, "too_many_keys"),
            R::WrongKindOfKey { .. } => {
                (StatusCode::BAD_REQUEST, ErrorKind::InvalidRequest, "wrong_kind_of_key")
            }
            R::ZeroLimit { .. }
            | R::NegativeBudget { .. }
            | R::NeedsAWallet { .. }
            | R::TooManyModels { .. }
            | R::BadModelName { .. }
            | R::ExpiresInThePast => (StatusCode::BAD_REQUEST, ErrorKind::InvalidRequest, "bad_key_limits"),
        };
        Self::new(status, kind, code, refusal.to_string())
    }
}

impl<R: Into<Problem>> From<CommandError<R>> for Problem {
    fn from(error: CommandError<R>) -> Self {
        match error {
            CommandError::Refused(refusal) => refusal.into(),
            CommandError::IdempotencyMismatch { .. } => Self::new(
                StatusCode::CONFLICT,
                ErrorKind::InvalidRequest,
                "idempotency_mismatch",
                "This idempotency key was used before with other inputs.",
            ),
            CommandError::Unavailable { context, outcome_unknown } => Self::unavailable(anyhow::anyhow!(
                "the event log is unavailable (outcome unknown: {outcome_unknown}): {context}"
            )),
            CommandError::TooMuchContention => Self::unavailable(anyhow::anyhow!("too much contention")),
            CommandError::Overloaded => Self::unavailable(anyhow::anyhow!("the event log's queue is full")),
            CommandError::Failed(cause) => Self::failed(cause),
        }
    }
}

impl From<ReadError> for Problem {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Database(cause) => Self::unavailable(anyhow::Error::new(cause).context("reading")),
            row @ ReadError::Row { .. } => Self::failed(row.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json(problem: &Problem, path: &str) -> serde_json::Value {
        serde_json::from_slice(&problem.body(dialect(path, &HeaderMap::new()), "req_1")).expect("JSON")
    }

    #[test]
    fn the_models_are_told_of_in_the_dialect_of_who_asks() {
        let mut headers = HeaderMap::new();
        assert_eq!(dialect("/v1/models", &headers), Some(Protocol::Chat));
        headers.insert("anthropic-version", HeaderValue::from_static("2026-10-21"));
        assert_eq!(dialect("/v1/models/x", &headers), Some(Protocol::Messages));
        assert_eq!(dialect("/v1/chat/completions", &headers), Some(Protocol::Chat));
    }

    #[test]
    fn a_refusal_is_told_in_the_dialect_of_its_url() {
        let problem = Problem::from(AuthError::Missing);
        assert_eq!(problem.status, StatusCode::UNAUTHORIZED);
        assert_eq!(json(&problem, "/api/v1/me")["error"]["code"], "missing_token");
        assert_eq!(json(&problem, "/v1/messages")["error"]["type"], "authentication_error");
        assert_eq!(json(&problem, "/v1/messages")["type"], "error");
        assert_eq!(json(&problem, "/v1/responses")["error"]["code"], "missing_token");
    }

    #[test]
    fn what_was_sent_is_told_where_it_shows_and_not_without_end() {
        let problem = Problem::invalid("bad", format!("`a\u{202e}b`\n{}", "x".repeat(60_000)));
        assert!(problem.message.starts_with("`a\\u202eb`\nxxx"), "{}", &problem.message[..20]);
        assert_eq!(problem.message.chars().count(), MOST_TOLD + 1);
    }

    #[test]
    fn a_cause_is_never_told() {
        let problem = Problem::failed(anyhow::anyhow!("password=hunter2"));
        for path in ["/api/v1/me", "/v1/messages", "/v1/chat/completions"] {
            assert!(!json(&problem, path).to_string().contains("hunter2"));
        }
    }
}

//! Why the gateway answers a request itself: the one table from reason to status, code and sentence.
//!
//! The same reason reaches each client in the form that makes it show our sentence and not retry in
//! vain. Codex hides the text of a 429 and retries a 402, so it is told inside a stream: what waiting
//! cannot mend as `invalid_prompt`, which it shows verbatim; what waiting mends as
//! `rate_limit_exceeded`, whose "try again in Ns" it obeys.
//! Claude Code hides the text of a 404 and tries a 400 again, so it is told of models it cannot have by a 410. A
//! 413 it takes for too many pictures, whatever we say; so a request beyond its key's tokens a minute is a 403.

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use codexapi_aggregates::ids::PlanId;
use codexapi_aggregates::money::MicroUsd;
use codexapi_aggregates::usage::{ClientFamily, Protocol};
use codexapi_protocols::client::is_codex;
use codexapi_protocols::errors::{self, ErrorKind, ErrorShape};
use codexapi_protocols::headers::X_SHOULD_RETRY;
use http::header::{CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderValue, StatusCode};

/// Seconds a client is asked to wait where nothing says better.
pub const DEFAULT_RETRY_SECS: u32 = 10;

/// Seconds after which one of a key's parallel requests may have ended.
const BUSY_RETRY_SECS: u32 = 5;

/// Seconds for which a client is told to wait and try again by itself; for longer a person is told.
const LONGEST_WAIT_SECS: u32 = 60;

/// Who is answered, and how they listen.
#[derive(Clone, Debug)]
pub struct Caller {
    pub protocol: Protocol,
    pub family: ClientFamily,
    /// Whether the client asked for a stream; `false` until the body is parsed.
    pub streaming: bool,
    pub model: String,
    pub request_id: String,
}

/// A reason to refuse, or to report a failure before a response has begun.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GatewayError {
    #[error("{message}")]
    BadRequest { message: String, field: Option<String> },
    #[error("the body is larger than {limit_mib} MiB")]
    TooLarge { limit_mib: usize },
    #[error("the model {model:?} is not sold here. Available: {available}")]
    UnknownModel { model: String, available: String },
    #[error("the model {model:?} is switched off at the moment. Available: {available}")]
    ModelDisabled { model: String, available: String },
    #[error("this key may not use the model {model:?}. It may use: {allowed}")]
    ModelNotAllowed { model: String, allowed: String },
    /// The operator's own words.
    #[error("{message}")]
    Maintenance { message: String, retry_secs: Option<u32> },
    #[error(
        "Surge Pricing is on{until}, and your Toolbox is set to pause new requests meanwhile. Set it to stay or \
         deepseek to go on now"
    )]
    PausedBySurge { until: String, retry_secs: Option<u32> },
    #[error(
        "Surge Pricing is on, and the budget model {model:?} that your Toolbox asks for is not available; set the \
         Toolbox to stay to go on now"
    )]
    BudgetModelUnavailable { model: String },
    #[error("this account is suspended; write to support to have it looked at")]
    AccountSuspended,
    #[error("this key has expired; issue a new one")]
    KeyExpired,
    #[error("this key may not be used from this network")]
    KeyNotFromHere,
    #[error("this key may make {limit} requests a minute; try again in {retry_secs}s")]
    TooManyRequests { limit: u32, retry_secs: u32 },
    #[error(
        "this key may use {limit} tokens a minute, {used} are used and this request needs {requested}; \
         try again in {retry_secs}s"
    )]
    TooManyTokens { limit: u64, used: u64, requested: u64, retry_secs: u32 },
    #[error("this request needs about {requested} tokens; this key may use {limit} a minute")]
    RequestBeyondTokenLimit { limit: u64, requested: u64 },
    #[error("{limit} requests of this key are running, as many as it may; try again in {BUSY_RETRY_SECS}s")]
    TooManyParallel { limit: u32 },
    #[error(
        "${left} of this key's budget is left, and this request with the {running} that are running may cost up to \
         ${worst}; try again in {BUSY_RETRY_SECS}s, when they may have ended"
    )]
    BudgetMayBeSpent { running: usize, worst: MicroUsd, left: MicroUsd },
    #[error("this key's {period} budget of ${limit} is spent (${spent}); it begins anew at {resets_at}")]
    BudgetSpent { period: &'static str, limit: MicroUsd, spent: MicroUsd, resets_at: String },
    #[error(
        "Insufficient credit: your balance is ${available} and this request needs about ${requested}. Top up to go on."
    )]
    InsufficientCredit { available: MicroUsd, requested: MicroUsd },
    #[error(
        "A payment was taken back after its credit had been spent: ${debt} is owed. The next top-up pays that first."
    )]
    InDebt { debt: MicroUsd },
    #[error(
        "A payment to your Cash Wallet was taken back after its money had been spent: ${debt} is owed. Load the Cash \
         Wallet to go on."
    )]
    CashInDebt { debt: MicroUsd },
    #[error(
        "Your plan {plan} covers {covers} only, and you have switched your wallet off for everything else. Switch \
         walletOutsideScope on (POST /api/v1/plan-settings) to let it pay."
    )]
    OutsidePlanSwitchedOff { plan: PlanId, covers: String },
    #[error(
        "Your plan {plan} covers {covers} only, and your wallet holds no paid credit for anything else. Top up to go \
         on (walletOutsideScope in /api/v1/plan-settings says whether the wallet pays)."
    )]
    OutsidePlanWithoutCredit { plan: PlanId, covers: String },
    #[error(
        "The fair use of your plan {plan} is reached; it begins anew at {resets_at}. Switch walletPastFairUse on \
         (POST /api/v1/plan-settings) to go on at your wallet's expense."
    )]
    FairUseReached { plan: PlanId, resets_at: String },
    #[error(
        "{running} {} still running on this balance; try again in {DEFAULT_RETRY_SECS}s",
        if *running == 1 { "request is" } else { "requests are" }
    )]
    StillWaiting { running: usize },
    /// The settlement queue is nearly full, or the service is stopping.
    #[error("the service is busy; try again in {DEFAULT_RETRY_SECS}s")]
    Busy,
    #[error("the service cannot reach its database; try again in {DEFAULT_RETRY_SECS}s")]
    StoreUnavailable,
    #[error("the model's provider is not available; try again in {retry_secs}s")]
    ProviderUnavailable { retry_secs: u32 },
    #[error("the model's provider is overloaded; try again in {retry_secs}s")]
    ProviderOverloaded { retry_secs: u32 },
    #[error("the model's provider refused this service; the operator has been told")]
    ProviderRefusedUs,
    #[error("the model's provider failed before its answer was complete")]
    ProviderFailed,
    /// The provider found fault with the request itself; its own words, in its own dialect.
    #[error("the provider refused the request")]
    ProviderRefusedRequest { status: u16, body: Bytes, protocol: Protocol },
    #[error("the generation ended but could not be recorded in time; nothing was charged")]
    SettlementTimedOut,
    /// This service ends, and did not wait for the answer.
    #[error("the service was stopped before the answer was complete; nothing was charged, so try again")]
    CutOff,
    #[error("an internal error; quote the request id to the operator")]
    Internal,
}

impl GatewayError {
    /// The status for everyone but a streaming Codex.
    pub fn status(&self) -> StatusCode {
        match self {
            Self::BadRequest { .. } => StatusCode::BAD_REQUEST,
            Self::TooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
            Self::UnknownModel { .. } | Self::ModelDisabled { .. } => StatusCode::NOT_FOUND,
            Self::ModelNotAllowed { .. }
            | Self::AccountSuspended
            | Self::KeyExpired
            | Self::RequestBeyondTokenLimit { .. }
            | Self::OutsidePlanSwitchedOff { .. }
            | Self::OutsidePlanWithoutCredit { .. }
            | Self::KeyNotFromHere => StatusCode::FORBIDDEN,
            Self::InsufficientCredit { .. }
            | Self::InDebt { .. }
            | Self::CashInDebt { .. }
            | Self::BudgetSpent { .. }
            | Self::FairUseReached { .. } => StatusCode::PAYMENT_REQUIRED,
            Self::StillWaiting { .. }
            | Self::TooManyRequests { .. }
            | Self::TooManyTokens { .. }
            | Self::TooManyParallel { .. }
            | Self::BudgetMayBeSpent { .. }
            | Self::PausedBySurge { .. } => StatusCode::TOO_MANY_REQUESTS,
            Self::Maintenance { .. } | Self::BudgetModelUnavailable { .. } => StatusCode::SERVICE_UNAVAILABLE,
            Self::Busy
            | Self::StoreUnavailable
            | Self::ProviderUnavailable { .. }
            | Self::SettlementTimedOut
            | Self::CutOff => StatusCode::SERVICE_UNAVAILABLE,
            Self::ProviderOverloaded { .. } => StatusCode::SERVICE_UNAVAILABLE,
            Self::ProviderRefusedUs | Self::ProviderFailed => StatusCode::BAD_GATEWAY,
            Self::ProviderRefusedRequest { status, .. } => {
                StatusCode::from_u16(*status).unwrap_or(StatusCode::BAD_REQUEST)
            }
            Self::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    /// Seconds after which trying again may help; `None` where it cannot, or not soon.
    fn retry_secs(&self) -> Option<u32> {
        match self {
            Self::TooManyRequests { retry_secs, .. } | Self::TooManyTokens { retry_secs, .. } => {
                Some(*retry_secs)
            }
            Self::TooManyParallel { .. } | Self::BudgetMayBeSpent { .. } => Some(BUSY_RETRY_SECS),
            Self::Maintenance { retry_secs, .. } | Self::PausedBySurge { retry_secs, .. } => {
                retry_secs.filter(|secs| *secs <= LONGEST_WAIT_SECS)
            }
            Self::StillWaiting { .. } | Self::Busy | Self::StoreUnavailable | Self::CutOff => {
                Some(DEFAULT_RETRY_SECS)
            }
            Self::ProviderUnavailable { retry_secs } | Self::ProviderOverloaded { retry_secs } => {
                Some(*retry_secs)
            }
            Self::BadRequest { .. }
            | Self::TooLarge { .. }
            | Self::UnknownModel { .. }
            | Self::ModelDisabled { .. }
            | Self::ModelNotAllowed { .. }
            | Self::AccountSuspended
            | Self::BudgetModelUnavailable { .. }
            | Self::KeyExpired
            | Self::KeyNotFromHere
            | Self::RequestBeyondTokenLimit { .. }
            | Self::BudgetSpent { .. }
            | Self::InsufficientCredit { .. }
            | Self::InDebt { .. }
            | Self::CashInDebt { .. }
            | Self::OutsidePlanSwitchedOff { .. }
            | Self::OutsidePlanWithoutCredit { .. }
            | Self::FairUseReached { .. }
            | Self::ProviderRefusedUs
            | Self::ProviderFailed
            | Self::ProviderRefusedRequest { .. }
            | Self::SettlementTimedOut
            | Self::Internal => None,
        }
    }

    pub(super) fn kind(&self) -> ErrorKind {
        match self {
            Self::BadRequest { .. } | Self::TooLarge { .. } | Self::ProviderRefusedRequest { .. } => {
                ErrorKind::InvalidRequest
            }
            Self::UnknownModel { .. } | Self::ModelDisabled { .. } => ErrorKind::NotFound,
            Self::ModelNotAllowed { .. }
            | Self::AccountSuspended
            | Self::KeyExpired
            | Self::RequestBeyondTokenLimit { .. }
            | Self::OutsidePlanSwitchedOff { .. }
            | Self::OutsidePlanWithoutCredit { .. }
            | Self::KeyNotFromHere => ErrorKind::Permission,
            Self::InsufficientCredit { .. }
            | Self::InDebt { .. }
            | Self::CashInDebt { .. }
            | Self::BudgetSpent { .. }
            | Self::FairUseReached { .. } => ErrorKind::InsufficientCredit,
            Self::StillWaiting { .. }
            | Self::TooManyRequests { .. }
            | Self::TooManyTokens { .. }
            | Self::TooManyParallel { .. }
            | Self::BudgetMayBeSpent { .. }
            | Self::PausedBySurge { .. } => ErrorKind::RateLimited,
            Self::Maintenance { .. } | Self::BudgetModelUnavailable { .. } => ErrorKind::Unavailable,
            Self::ProviderOverloaded { .. } => ErrorKind::Overloaded,
            Self::Busy
            | Self::StoreUnavailable
            | Self::ProviderUnavailable { .. }
            | Self::SettlementTimedOut
            | Self::CutOff => ErrorKind::Unavailable,
            Self::ProviderRefusedUs | Self::ProviderFailed => ErrorKind::UpstreamFailed,
            Self::Internal => ErrorKind::Internal,
        }
    }

    fn code(&self) -> &'static str {
        match self {
            Self::BadRequest { .. } | Self::ProviderRefusedRequest { .. } => "invalid_request",
            Self::TooLarge { .. } => "request_too_large",
            Self::UnknownModel { .. } => "model_not_found",
            Self::ModelDisabled { .. } => "model_disabled",
            Self::ModelNotAllowed { .. } => "model_not_allowed",
            Self::Maintenance { .. } => "maintenance",
            Self::AccountSuspended => "account_suspended",
            Self::PausedBySurge { .. } => "paused_by_surge",
            Self::BudgetModelUnavailable { .. } => "budget_model_unavailable",
            Self::KeyExpired => "key_expired",
            Self::KeyNotFromHere => "network_not_allowed",
            Self::RequestBeyondTokenLimit { .. } => "request_beyond_token_limit",
            Self::BudgetSpent { .. } => "budget_spent",
            Self::InsufficientCredit { .. } => "insufficient_credit",
            Self::InDebt { .. } => "debt_owed",
            Self::CashInDebt { .. } => "cash_wallet_in_debt",
            Self::OutsidePlanSwitchedOff { .. } | Self::OutsidePlanWithoutCredit { .. } => "outside_plan",
            Self::FairUseReached { .. } => "fair_use_reached",
            Self::StillWaiting { .. }
            | Self::TooManyRequests { .. }
            | Self::TooManyTokens { .. }
            | Self::TooManyParallel { .. }
            | Self::BudgetMayBeSpent { .. } => "rate_limit_exceeded",
            Self::Busy => "service_busy",
            Self::StoreUnavailable => "service_unavailable",
            Self::ProviderUnavailable { .. } => "provider_unavailable",
            Self::ProviderOverloaded { .. } => "provider_overloaded",
            Self::ProviderRefusedUs => "provider_refused",
            Self::ProviderFailed => "provider_failed",
            Self::SettlementTimedOut => "settlement_timed_out",
            Self::CutOff => "service_stopped",
            Self::Internal => "internal_error",
        }
    }

    /// The field at fault, for OpenAI's `param`.
    fn field(&self) -> Option<&str> {
        match self {
            Self::BadRequest { field, .. } => field.as_deref(),
            _ => None,
        }
    }

    /// Whether this is our own outage, which even Codex is told as the plain status.
    fn is_our_outage(&self) -> bool {
        matches!(
            self,
            Self::Busy | Self::StoreUnavailable | Self::SettlementTimedOut | Self::CutOff | Self::Internal
        )
    }
}

/// Answers in the caller's dialect.
pub fn respond(error: &GatewayError, caller: &Caller) -> Response {
    if is_codex(caller.family) && !error.is_our_outage() {
        return if caller.streaming { codex_stream(error, caller) } else { codex_json(error, caller) };
    }
    json(error, status_for(error, caller.family), caller)
}

/// Claude Code puts words of its own in place of a 404's and asks twice; a 400 it tries six times, shedding betas.
fn status_for(error: &GatewayError, family: ClientFamily) -> StatusCode {
    match (family, error.kind()) {
        (ClientFamily::ClaudeCode, ErrorKind::NotFound) => StatusCode::GONE,
        _ => error.status(),
    }
}

/// Codex shows a failed response's message; `invalid_prompt` is not retried, `rate_limit_exceeded` is.
fn codex_stream(error: &GatewayError, caller: &Caller) -> Response {
    let code = if error.retry_secs().is_some() { "rate_limit_exceeded" } else { "invalid_prompt" };
    let created_at = crate::clock::now().0 / 1_000_000;
    let id = format!("resp_{}", crate::clock::new_id().simple());
    let frames = errors::codex_refusal_stream(&id, &caller.model, code, &sentence(error), created_at);
    Response::builder()
        .status(StatusCode::OK)
        .header(CONTENT_TYPE, "text/event-stream")
        .body(Body::from(frames))
        .expect("constant headers")
}

fn codex_json(error: &GatewayError, caller: &Caller) -> Response {
    match error {
        GatewayError::UnknownModel { .. } => json(error, error.status(), caller),
        _ if error.retry_secs().is_some() => json(error, error.status(), caller),
        _ => json(error, StatusCode::BAD_REQUEST, caller),
    }
}

fn json(error: &GatewayError, status: StatusCode, caller: &Caller) -> Response {
    let body = match error {
        GatewayError::ProviderRefusedRequest { body, protocol, .. }
            if alike(*protocol, caller.protocol) && message_of(body).is_some() =>
        {
            body.clone()
        }
        _ => errors::render_json(
            caller.protocol,
            &ErrorShape {
                status: status.as_u16(),
                kind: error.kind(),
                code: Some(error.code()),
                param: error.field(),
                message: &sentence(error),
                request_id: &caller.request_id,
            },
        ),
    };
    let mut response = Response::builder().status(status).header(CONTENT_TYPE, "application/json");
    let wait_secs = error.retry_secs();
    // When maintenance or a surge ends is said in any case, also where no client should wait for it.
    let ends_in = match error {
        GatewayError::Maintenance { retry_secs, .. } | GatewayError::PausedBySurge { retry_secs, .. } => {
            *retry_secs
        }
        _ => wait_secs,
    };
    if let Some(secs) = ends_in {
        response = response.header(RETRY_AFTER, secs);
    }
    if wait_secs.is_none() && (status == StatusCode::TOO_MANY_REQUESTS || status.is_server_error()) {
        response = response.header(X_SHOULD_RETRY, HeaderValue::from_static("false"));
    }
    response.body(Body::from(body)).expect("constant headers")
}

/// Whether two dialects have the same error bodies.
fn alike(provider: Protocol, client: Protocol) -> bool {
    (provider == Protocol::Messages) == (client == Protocol::Messages)
}

/// What a person reads. A provider's own words are dug out of its body.
fn sentence(error: &GatewayError) -> String {
    match error {
        GatewayError::ProviderRefusedRequest { body, .. } => {
            message_of(body).unwrap_or_else(|| error.to_string())
        }
        _ => error.to_string(),
    }
}

/// `error.message` of an error body, in either dialect.
fn message_of(body: &[u8]) -> Option<String> {
    let body: serde_json::Value = serde_json::from_slice(body).ok()?;
    Some(body.get("error")?.get("message")?.as_str()?.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(error: &GatewayError, family: ClientFamily) -> StatusCode {
        let caller = Caller {
            protocol: Protocol::Messages,
            family,
            streaming: true,
            model: "missing".into(),
            request_id: "req".into(),
        };
        respond(error, &caller).status()
    }

    #[test]
    fn claude_code_is_told_of_a_model_it_cannot_have_by_the_status_whose_sentence_it_shows() {
        let unknown = GatewayError::UnknownModel { model: "missing".into(), available: "one, two".into() };
        let disabled = GatewayError::ModelDisabled { model: "off".into(), available: "one, two".into() };
        for error in [unknown, disabled] {
            assert_eq!(status(&error, ClientFamily::ClaudeCode), StatusCode::GONE);
            assert_eq!(status(&error, ClientFamily::Other), StatusCode::NOT_FOUND);
        }
        assert_eq!(status(&GatewayError::KeyExpired, ClientFamily::ClaudeCode), StatusCode::FORBIDDEN);
    }
}

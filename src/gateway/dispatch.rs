//! Sending a held generation to its provider, and what a provider's refusal means for the hold.

use axum::http::HeaderMap;
use bytes::{Bytes, BytesMut};
use codexapi_aggregates::wallet::ReleaseReason;
use http::StatusCode;
use http::header::{CONTENT_TYPE, RETRY_AFTER};
use std::time::Duration;

use super::begin::UpstreamRequest;
use super::generation::Generation;
use super::refusal::{DEFAULT_RETRY_SECS, GatewayError};
use super::{Answer, Gateway, refuse};

/// Bytes of a provider's error body that are read.
const ERROR_BODY_LIMIT: usize = 256 * 1024;
const ERROR_BODY_TIMEOUT: Duration = Duration::from_secs(10);

/// Seconds after which a provider's passing fault may be over.
const QUICK_RETRY_SECS: u32 = 1;

/// Seconds a client is asked to wait at most, whatever the provider says.
const LONGEST_RETRY_SECS: u32 = 300;

impl Gateway {
    /// Ends with the generation settled or released, whatever happens to the client.
    pub(super) async fn dispatch(&self, generation: Generation, request: UpstreamRequest, answer: Answer) {
        if answer.is_closed() {
            return self.release(&generation, ReleaseReason::NotDispatched).await;
        }
        let UpstreamRequest { headers, query, body, meter } = request;
        let sent = self
            .providers
            .send(&generation.target, generation.protocol(), query.as_deref(), headers, body)
            .await;
        match sent {
            Ok(response) if response.status().is_success() => {
                if generation.caller.streaming && is_event_stream(response.headers()) {
                    self.stream(generation, response, meter, answer).await;
                } else {
                    self.whole(generation, response, answer).await;
                }
            }
            Ok(response) => {
                let error = read_refusal(&generation, response).await;
                self.release(&generation, ReleaseReason::NothingDelivered).await;
                refuse(answer, &error, &generation.caller);
            }
            Err(error) => {
                tracing::warn!(generation = %generation.id, %error, "a provider gave no response");
                self.release(&generation, ReleaseReason::NothingDelivered).await;
                let error = GatewayError::ProviderUnavailable { retry_secs: DEFAULT_RETRY_SECS };
                refuse(answer, &error, &generation.caller);
            }
        }
    }

    pub(super) async fn release(&self, generation: &Generation, reason: ReleaseReason) {
        self.settlements.release(&generation.ending(), reason).await;
    }
}

fn is_event_stream(headers: &HeaderMap) -> bool {
    let content_type = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    content_type.starts_with("text/event-stream")
}

/// What the provider's status means for the client. Its body is passed on only where it is about the
/// request itself; about us and our account the client learns nothing.
async fn read_refusal(generation: &Generation, response: reqwest::Response) -> GatewayError {
    let status = response.status();
    let retry_secs = retry_after(response.headers()).unwrap_or(DEFAULT_RETRY_SECS);
    let provider = generation.target.provider.name();
    tracing::warn!(generation = %generation.id, provider, status = status.as_u16(), "a provider refused");
    match status {
        StatusCode::UNAUTHORIZED | StatusCode::PAYMENT_REQUIRED | StatusCode::FORBIDDEN => {
            GatewayError::ProviderRefusedUs
        }
        StatusCode::TOO_MANY_REQUESTS => GatewayError::ProviderOverloaded { retry_secs },
        status if status.is_client_error() => {
            let read = tokio::time::timeout(ERROR_BODY_TIMEOUT, read_limited(response)).await;
            match read.unwrap_or_default() {
                body if body.is_empty() => GatewayError::ProviderFailed,
                body => GatewayError::ProviderRefusedRequest { status: status.as_u16(), body },
            }
        }
        StatusCode::SERVICE_UNAVAILABLE => GatewayError::ProviderOverloaded { retry_secs },
        status if status.as_u16() == 529 => GatewayError::ProviderOverloaded { retry_secs },
        _ => GatewayError::ProviderUnavailable { retry_secs: retry_after(response.headers()).unwrap_or(QUICK_RETRY_SECS) },
    }
}

/// The error body as far as it came; a longer one is cut.
async fn read_limited(mut response: reqwest::Response) -> Bytes {
    let mut body = BytesMut::new();
    while let Ok(Some(chunk)) = response.chunk().await {
        let room = ERROR_BODY_LIMIT.saturating_sub(body.len());
        body.extend_from_slice(&chunk[..chunk.len().min(room)]);
        if body.len() >= ERROR_BODY_LIMIT {
            break;
        }
    }
    body.freeze()
}

fn retry_after(headers: &HeaderMap) -> Option<u32> {
    let seconds: u32 = headers.get(RETRY_AFTER)?.to_str().ok()?.parse().ok()?;
    Some(seconds.clamp(1, LONGEST_RETRY_SECS))
}

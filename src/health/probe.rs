//! One check: a tiny generation in the provider's own dialect, and what became of it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use codexapi_aggregates::event::AnyEvent;
use codexapi_aggregates::ids::KeyId;
use codexapi_aggregates::money::MicroUsd;
use codexapi_aggregates::routing::{HealthSettings, ProviderKind};
use codexapi_aggregates::usage::{Protocol, UsageEvent};
use http::HeaderMap;
use http_body_util::{BodyExt, Limited};
use serde_json::{Value, json};
use uuid::Uuid;

use super::{CheckTarget, Checks};
use crate::event_log::read;
use crate::gateway::{CheckedTarget, FailureClass, Incoming, KeyAccess, Payee};

/// Output asked for. The least that OpenAI takes.
const OUTPUT_TOKENS: u32 = 16;

/// The longest a check is waited for: a little more than the gateway gives it. What is still under way then is ended
/// and settled by the gateway.
const LONGEST_CHECK: Duration = Duration::from_secs(130);

/// An answer longer than this is none to a prompt for a word.
const BODY_LIMIT: usize = 1024 * 1024;

const MESSAGE_CHARS: usize = 300;

/// Events of a check's own stream: opened, two attempts, an end.
const EVENTS_OF_A_CHECK: i64 = 20;

/// How a check ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CheckClass {
    Ok,
    /// It answered, later than the operator's threshold.
    Slow,
    NotReached,
    Refused,
    Overloaded,
    Failed,
    BadRequest,
    /// No end of an answer in two minutes.
    TimedOut,
    /// The gateway did not send it, for reasons of its own; it says nothing about the provider.
    NotSent,
}

/// What a check has found.
#[derive(Clone, Debug, PartialEq)]
pub struct Checked {
    pub target: CheckTarget,
    pub class: CheckClass,
    /// Until the whole answer was there, or the failure.
    pub latency_ms: u32,
    /// Why not, in our words or the provider's.
    pub message: Option<String>,
    /// Where one was settled.
    pub generation_id: Option<Uuid>,
    /// What the provider charges for it.
    pub cost_micro: Option<MicroUsd>,
}

impl CheckClass {
    /// In the history and in reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Slow => "slow",
            Self::NotReached => "not_reached",
            Self::Refused => "refused",
            Self::Overloaded => "overloaded",
            Self::Failed => "failed",
            Self::BadRequest => "bad_request",
            Self::TimedOut => "timed_out",
            Self::NotSent => "not_sent",
        }
    }
}

impl From<FailureClass> for CheckClass {
    fn from(class: FailureClass) -> Self {
        match class {
            FailureClass::NotReached => Self::NotReached,
            FailureClass::Refused => Self::Refused,
            FailureClass::Overloaded { .. } => Self::Overloaded,
            FailureClass::Failed => Self::Failed,
            FailureClass::BadRequest => Self::BadRequest,
        }
    }
}

impl Checks {
    pub(super) async fn check(
        &self,
        target: CheckTarget,
        settings: &HealthSettings,
        request_id: &str,
    ) -> Checked {
        let arrived = Instant::now();
        let served = tokio::time::timeout(LONGEST_CHECK, async {
            let response = self.gateway.serve(incoming(&target, settings, request_id, arrived)).await;
            read_answer(response, &target).await
        })
        .await;
        let latency_ms = u32::try_from(arrived.elapsed().as_millis()).unwrap_or(u32::MAX);
        let Ok(answer) = served else {
            let message = Some(format!("no whole answer in {} s", LONGEST_CHECK.as_secs()));
            let class = CheckClass::TimedOut;
            return Checked { target, class, latency_ms, message, generation_id: None, cost_micro: None };
        };
        let class = match answer.class {
            CheckClass::Ok if latency_ms > settings.latency_threshold_ms => CheckClass::Slow,
            class => class,
        };
        let cost_micro = match answer.generation_id {
            Some(generation_id) => self.cost_of(generation_id).await,
            None => None,
        };
        let Answered { message, generation_id, .. } = answer;
        Checked { target, class, latency_ms, message, generation_id, cost_micro }
    }

    /// What the provider charges for a generation, from the log itself: read models come later.
    async fn cost_of(&self, generation_id: Uuid) -> Option<MicroUsd> {
        let stream = format!("operator:{generation_id}");
        let events = match read::read_stream(&self.pool, "usage", &stream, 0, EVENTS_OF_A_CHECK).await {
            Ok(events) => events,
            Err(error) => {
                tracing::warn!(%error, "what a check cost cannot be read");
                return None;
            }
        };
        events.iter().find_map(|stored| match stored.decode().ok()?.event {
            AnyEvent::Usage(UsageEvent::GenerationSettled(settled)) => Some(settled.provider_cost_micro),
            _ => None,
        })
    }
}

fn incoming(target: &CheckTarget, settings: &HealthSettings, request_id: &str, arrived: Instant) -> Incoming {
    Incoming {
        payee: Payee::Operator { key_id: KeyId::CHECKS },
        access: Arc::new(KeyAccess::default()),
        address: None,
        protocol: target.protocol,
        headers: HeaderMap::new(),
        query: None,
        body: Bytes::from(request(target, &settings.prompt).to_string()),
        parsed: None,
        request_id: request_id.to_owned(),
        arrived,
        checked: Some(CheckedTarget {
            provider: target.provider.clone(),
            upstream_model: target.upstream_model.clone(),
            protocol: target.protocol,
        }),
        admitted: None,
    }
}

/// The request in the provider's own dialect. A signed-in account takes streams only, wants instructions and knows no
/// limit of its output.
fn request(target: &CheckTarget, prompt: &str) -> Value {
    let (model, signed_in) = (&target.model, target.kind == ProviderKind::SignedIn);
    let messages = json!([{ "role": "user", "content": prompt }]);
    match target.protocol {
        Protocol::Responses => {
            let content = json!([{ "type": "input_text", "text": prompt }]);
            let input = json!([{ "type": "message", "role": "user", "content": content }]);
            let mut request = json!({ "model": model, "input": input, "store": false, "stream": signed_in });
            if signed_in {
                request["instructions"] = "Answer in one word.".into();
            } else {
                request["max_output_tokens"] = OUTPUT_TOKENS.into();
            }
            request
        }
        // Deepseek's models know only the older of the two names.
        Protocol::Chat | Protocol::Completions if target.upstream_model.contains("deepseek") => {
            json!({ "model": model, "messages": messages, "max_tokens": OUTPUT_TOKENS })
        }
        Protocol::Chat | Protocol::Completions => {
            json!({ "model": model, "messages": messages, "max_completion_tokens": OUTPUT_TOKENS })
        }
        Protocol::Messages => json!({ "model": model, "messages": messages, "max_tokens": OUTPUT_TOKENS }),
    }
}

struct Answered {
    class: CheckClass,
    message: Option<String>,
    generation_id: Option<Uuid>,
}

async fn read_answer(response: Response, target: &CheckTarget) -> Answered {
    let status = response.status();
    let failure = response.extensions().get::<FailureClass>().copied();
    let generation_id =
        response.headers().get("x-codexapi-generation-id").and_then(|id| id.to_str().ok()?.parse().ok());
    let body = match read_body(response.into_body()).await {
        Ok(body) => body,
        Err(why) => {
            return Answered { class: CheckClass::Failed, message: Some(why), generation_id };
        }
    };
    let streamed = target.kind == ProviderKind::SignedIn;
    if status.is_success() && (!streamed || says_finished(&body)) {
        return Answered { class: CheckClass::Ok, message: None, generation_id };
    }
    let class = match failure {
        Some(failure) => failure.into(),
        None if status.is_success() => CheckClass::Failed,
        None => CheckClass::NotSent,
    };
    Answered { class, message: Some(message_of(&body, status)), generation_id }
}

async fn read_body(body: Body) -> Result<Bytes, String> {
    let read = Limited::new(body, BODY_LIMIT).collect().await;
    read.map(|whole| whole.to_bytes()).map_err(|_| "its answer broke off or was too long".to_owned())
}

/// Whether a stream of the Responses API ends as it should.
fn says_finished(stream: &[u8]) -> bool {
    let stream = String::from_utf8_lossy(stream);
    ["response.completed", "response.incomplete"].iter().any(|end| stream.contains(end))
}

/// The sentence of an error body, in whichever dialect; cut short.
fn message_of(body: &[u8], status: http::StatusCode) -> String {
    let parsed: Option<Value> = serde_json::from_slice(body).ok();
    let message = parsed.as_ref().and_then(|body| body["error"]["message"].as_str());
    message.map_or_else(|| format!("status {status}"), |text| text.chars().take(MESSAGE_CHARS).collect())
}

#[cfg(test)]
mod tests {
    use codexapi_protocols::request::ParsedRequest;

    use super::*;

    fn target(protocol: Protocol, kind: ProviderKind, upstream_model: &str) -> CheckTarget {
        let model = "gpt-5.5".to_owned();
        CheckTarget { provider: "p".into(), upstream_model: upstream_model.into(), model, protocol, kind }
    }

    #[test]
    fn a_check_is_a_small_request_of_its_dialect() {
        for protocol in [Protocol::Responses, Protocol::Chat, Protocol::Messages] {
            for upstream in ["gpt-5.5", "deepseek-chat"] {
                let target = target(protocol, ProviderKind::Api, upstream);
                let body = Bytes::from(request(&target, "Say \"OK\".").to_string());
                let parsed = ParsedRequest::parse(protocol, &body).expect("a good request");
                assert_eq!((parsed.max_output_tokens, parsed.stream), (Some(16), false));
                assert_eq!(parsed.model, "gpt-5.5");
            }
        }
    }

    #[test]
    fn a_signed_in_account_is_asked_for_a_stream() {
        let target = target(Protocol::Responses, ProviderKind::SignedIn, "gpt-5.5");
        let body = request(&target, "OK?");
        assert_eq!((&body["stream"], body.get("max_output_tokens")), (&json!(true), None));
        assert!(says_finished(b"event: response.completed\ndata: {}\n\n"));
        assert!(!says_finished(b"event: response.failed\ndata: {}\n\n"));
    }

    #[test]
    fn an_errors_sentence_is_told_and_cut_short() {
        let body = json!({ "error": { "message": "x".repeat(1_000) } }).to_string();
        assert_eq!(message_of(body.as_bytes(), http::StatusCode::BAD_GATEWAY).len(), MESSAGE_CHARS);
        assert_eq!(message_of(b"<html>", http::StatusCode::BAD_GATEWAY), "status 502 Bad Gateway");
    }
}

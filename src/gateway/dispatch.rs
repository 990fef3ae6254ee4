//! Sending a held generation to its providers in turn, and what a provider's refusal means for the hold.
//!
//! The next provider is tried only where the one before cannot have begun to bill. Each attempt is on record
//! before it is dispatched: the first with the hold, each further one by an event of its own.

use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use codexapi_aggregates::usage::AttemptResult;
use codexapi_aggregates::wallet::ReleaseReason;
use http::header::{CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderMap, StatusCode};

use super::asked::{Asked, UpstreamRequest};
use super::begin::{Held, not_durable};
use super::failure::FailureClass;
use super::generation::Generation;
use super::refusal::{DEFAULT_RETRY_SECS, GatewayError};
use super::routing::{Leg, Route};
use super::wait::{Waited, longest_wait};
use super::{Answer, Gateway, refuse, refuse_after};
use crate::crash_points;
use crate::nodes::command::RecordAttempt;
use crate::upstream::SendError;

/// Attempts of one generation, all providers together.
const MOST_ATTEMPTS: usize = 4;

/// Bytes of a provider's error body that are read.
const ERROR_BODY_LIMIT: usize = 256 * 1024;
const ERROR_BODY_TIMEOUT: Duration = Duration::from_secs(10);

/// Seconds after which a provider's passing fault may be over.
const QUICK_RETRY_SECS: u32 = 1;

/// Seconds a client is asked to wait at most, whatever the provider says.
const LONGEST_RETRY_SECS: u32 = 300;

/// The longest pause before the only provider is tried once more; what asks for longer is told to the client.
const LONGEST_PAUSE: Duration = Duration::from_secs(3);
const SHORTEST_PAUSE: Duration = Duration::from_millis(200);

/// An attempt that came to nothing.
struct Failure {
    class: FailureClass,
    /// `None` where the provider was not reached.
    status: Option<u16>,
    /// What the client is told if no other attempt follows.
    error: GatewayError,
}

impl Gateway {
    /// Ends with the generation settled or released, whatever happens to the client.
    pub(super) async fn dispatch(&self, held: Held, mut answer: Answer) {
        let Held { mut generation, asked, mut route, mut leg } = held;
        loop {
            if answer.is_closed() {
                return self.not_dispatched(&generation).await;
            }
            let Leg { request, pass, .. } = leg;
            let UpstreamRequest { headers, query, body, meter, back } = request;
            generation.dispatched_ms = generation.elapsed_ms();
            let left = generation.deadline.saturating_duration_since(Instant::now());
            let too_late = match (self.cut_off.is_cancelled(), left.is_zero()) {
                (true, _) => Some(GatewayError::CutOff),
                (false, true) => Some(GatewayError::Busy),
                (false, false) => None,
            };
            if let Some(error) = too_late {
                self.not_dispatched(&generation).await;
                return refuse(answer, &error, &generation.caller);
            }
            let streamed = asked.parsed.stream;
            let longest = longest_wait(&generation, streamed, left);
            let sent = self.providers.send(&generation.target, query.as_deref(), headers, body, longest);
            let sent = match self.wait(sent, &generation, streamed, &mut answer).await {
                Waited::Sent { sent, left_at } => {
                    generation.client_left_at = left_at;
                    sent
                }
                Waited::GivenUp => {
                    self.traffic.given_up(&generation.target);
                    return self.give_up(&generation).await;
                }
                Waited::CutOff => {
                    let attempts = generation.attempts_with_failed(None);
                    self.release(&generation, ReleaseReason::NothingDelivered, attempts).await;
                    return refuse(answer, &GatewayError::CutOff, &generation.caller);
                }
            };
            let failure = match sent {
                Ok(response) if response.status().is_success() => {
                    self.traffic.attempted(&generation.target, None);
                    self.stick(&generation, route.plan.revision);
                    return match streamed && is_event_stream(response.headers()) {
                        true => self.stream(generation, response, meter, back, pass, answer).await,
                        false => self.whole(generation, response, back, pass, answer).await,
                    };
                }
                Ok(response) => refused(&generation, response).await,
                Err(error) => not_answered(&generation, &error),
            };
            self.traffic.attempted(&generation.target, Some(failure.class));
            match failure.class.is_the_providers() {
                true => pass.failed(failure.class.retry_after()),
                false => drop(pass),
            }
            generation.attempt_failed(failure.status, failure.class.attempt_end());
            match self.next_attempt(&mut generation, &asked, &mut route, &failure).await {
                Some(next) => leg = next,
                None => {
                    let attempts = generation.failed_attempts.clone();
                    self.release(&generation, ReleaseReason::NothingDelivered, attempts).await;
                    return refuse_after(answer, &failure.error, &generation.caller, failure.class);
                }
            }
        }
    }

    /// Nothing more is sent; what was tried before has failed.
    async fn not_dispatched(&self, generation: &Generation) {
        self.release(generation, ReleaseReason::NotDispatched, generation.failed_attempts.clone()).await;
    }

    pub(super) async fn release(
        &self,
        generation: &Generation,
        reason: ReleaseReason,
        attempts: Vec<AttemptResult>,
    ) {
        self.settlements.release(generation.ending(), reason, attempts).await;
    }

    /// The next target after one that has failed, on record; `None` where the generation ends here.
    async fn next_attempt(
        &self,
        generation: &mut Generation,
        asked: &Asked,
        route: &mut Route,
        failure: &Failure,
    ) -> Option<Leg> {
        let free = failure.status.is_some() && generation.target.provider.errors_are_free();
        let more_attempts = generation.failed_attempts.len() < MOST_ATTEMPTS;
        if !more_attempts || !failure.class.may_be_tried_again(free) {
            return None;
        }
        let leg = match self.next_leg(route, asked) {
            Ok(leg) => leg,
            Err(_) => self.once_more(generation, asked, route, failure).await?,
        };
        let (left, next) = (generation.target.provider.name(), leg.target.provider.name());
        if left != next {
            self.traffic.failed_over(left);
        }
        generation.target = leg.target.clone();
        match self.record_attempt(generation).await {
            Ok(()) => {
                crash_points::reached(crash_points::ATTEMPT_RECORDED);
                Some(leg)
            }
            Err(error) => {
                tracing::warn!(generation = %generation.id, %error, "a further attempt could not be put on record");
                None
            }
        }
    }

    /// No other target is left: the one that was just tried gets another turn, once, if it does not want to be
    /// left alone for long.
    async fn once_more(
        &self,
        generation: &Generation,
        asked: &Asked,
        route: &mut Route,
        failure: &Failure,
    ) -> Option<Leg> {
        let pause = failure.class.retry_after().unwrap_or(SHORTEST_PAUSE);
        let in_time = Instant::now() + pause < generation.deadline;
        let worth_it = match failure.class {
            FailureClass::NotReached | FailureClass::Overloaded { .. } => pause <= LONGEST_PAUSE,
            FailureClass::Refused | FailureClass::Failed | FailureClass::BadRequest => false,
        };
        let is_first = generation.failed_attempts.len() == 1;
        if !worth_it || !in_time || !is_first {
            return None;
        }
        tokio::time::sleep(pause.max(SHORTEST_PAUSE)).await;
        route.again();
        self.next_leg(route, asked).ok()
    }

    /// # Errors
    /// It is not durable, so it may not be dispatched.
    async fn record_attempt(&self, generation: &Generation) -> Result<(), GatewayError> {
        let command = RecordAttempt {
            generation_id: generation.id,
            attempt: generation.attempt(),
            payer: generation.payer,
            usage_stream: generation.usage_stream.clone(),
            terms: self.settings.terms.clone(),
            metadata: generation.metadata.clone(),
        };
        self.homes.run(&command).await.outcome.map_err(not_durable)
    }
}

fn is_event_stream(headers: &HeaderMap) -> bool {
    let content_type = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    content_type.starts_with("text/event-stream")
}

fn not_answered(generation: &Generation, error: &SendError) -> Failure {
    tracing::warn!(generation = %generation.id, %error, "a provider gave no response");
    let class = match error {
        SendError::NotReached { .. } => FailureClass::NotReached,
        SendError::NoCredentials { .. } => FailureClass::Refused,
        SendError::NoResponse { .. } | SendError::TimedOut { .. } => FailureClass::Failed,
    };
    Failure {
        class,
        status: None,
        error: GatewayError::ProviderUnavailable { retry_secs: DEFAULT_RETRY_SECS },
    }
}

/// What the provider's status means for the client. Its body is passed on only where it is about the
/// request itself; about us and our account the client learns nothing.
async fn refused(generation: &Generation, response: reqwest::Response) -> Failure {
    let status = response.status();
    let retry_after = retry_after(response.headers());
    let retry_secs = retry_after.unwrap_or(DEFAULT_RETRY_SECS);
    let provider = generation.target.provider.name();
    tracing::warn!(generation = %generation.id, provider, status = status.as_u16(), "a provider refused");
    let pause = retry_after.map(|secs| Duration::from_secs(secs.into()));
    let class = FailureClass::of_status(status, pause);
    let error = match (class, status) {
        (FailureClass::Refused, StatusCode::NOT_FOUND) | (FailureClass::BadRequest, _) => {
            let read = tokio::time::timeout(ERROR_BODY_TIMEOUT, read_limited(response)).await;
            match read.unwrap_or_default() {
                body if body.is_empty() => GatewayError::ProviderFailed,
                body => GatewayError::ProviderRefusedRequest {
                    status: status.as_u16(),
                    body,
                    protocol: generation.target.protocol,
                },
            }
        }
        (FailureClass::Refused, _) => GatewayError::ProviderRefusedUs,
        (FailureClass::Overloaded { .. }, _) => GatewayError::ProviderOverloaded { retry_secs },
        (FailureClass::Failed | FailureClass::NotReached, _) => {
            GatewayError::ProviderUnavailable { retry_secs: retry_after.unwrap_or(QUICK_RETRY_SECS) }
        }
    };
    Failure { class, status: Some(status.as_u16()), error }
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

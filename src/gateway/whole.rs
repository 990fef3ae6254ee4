//! Relaying an answer that is not streamed: the whole body waits for the durable settlement.
//!
//! A client that leaves does not end the call: half an answer could only be guessed at, so it is read
//! to its end within a longer limit.

use std::time::Instant;

use axum::body::Body;
use axum::response::Response;
use bytes::{Bytes, BytesMut};
use codexapi_aggregates::wallet::ReleaseReason;
use codexapi_protocols::headers::passed_response;
use codexapi_protocols::meter::meter_body;
use codexapi_protocols::note::with_note_in_body;
use codexapi_protocols::relabel::Relabeler;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue};

use super::asked::Back;
use super::generation::Generation;
use super::refusal::GatewayError;
use super::told;
use super::verdict::AnswerEnd;
use super::{Answer, FailureClass, Gateway, refuse, refuse_after};
use crate::crash_points;
use crate::upstream::circuits::Pass;

/// The largest answer that is relayed.
const BODY_LIMIT: usize = 64 * 1024 * 1024;

impl Gateway {
    pub(super) async fn whole(
        &self,
        generation: Generation,
        response: reqwest::Response,
        back: Back,
        pass: Pass,
        answer: Answer,
    ) {
        let status = response.status().as_u16();
        let mut headers = passed_response(response.headers());
        let first_byte_ms = Some(generation.elapsed_ms());
        let body = self.read_whole(&generation, response).await;
        crash_points::reached(crash_points::UPSTREAM_DONE);
        let body = match body {
            Ok(body) => body,
            Err(error) => {
                let provider_failed = !matches!(error, GatewayError::CutOff);
                if provider_failed {
                    pass.failed(None);
                }
                let attempts = generation.attempts_with_failed(Some(status));
                self.release(&generation, ReleaseReason::NothingDelivered, attempts).await;
                return match provider_failed {
                    true => refuse_after(answer, &error, &generation.caller, FailureClass::Failed),
                    false => refuse(answer, &error, &generation.caller),
                };
            }
        };
        let metered = meter_body(generation.target.protocol, &body);
        let carried = carried(&generation, &back, &body);
        let end = match metered.terminal.is_finished() && carried.is_some() {
            true => AnswerEnd::Finished,
            false => AnswerEnd::Failed,
        };
        match end {
            AnswerEnd::Finished => pass.succeeded(generation.since_dispatch(first_byte_ms)),
            AnswerEnd::Failed | AnswerEnd::DrainLimit | AnswerEnd::CutOff => pass.failed(None),
        }
        let client_left = answer.is_closed();
        let concluded =
            self.conclude(&generation, end, &metered, client_left, Some(status), first_byte_ms).await;
        crash_points::reached(crash_points::SETTLED_UNTOLD);
        match (concluded, carried) {
            (Ok(paid), Some(body)) => {
                told::at_the_beginning(&generation, &mut headers);
                told::at_the_end(&paid, generation.caller.family, &mut headers);
                let body = match generation.wants_cost {
                    true => with_note_in_body(&body, &told::note(&generation, &paid)),
                    false => body,
                };
                let _client_left = answer.send(success(headers, body)).is_err();
            }
            (Ok(_), None) => unreachable!("only what was carried is finished"),
            (Err(error @ GatewayError::ProviderFailed), _) => {
                refuse_after(answer, &error, &generation.caller, FailureClass::Failed)
            }
            (Err(error), _) => refuse(answer, &error, &generation.caller),
        }
    }

    /// The whole body.
    ///
    /// # Errors
    /// `ProviderFailed` where it broke off, fell silent or sent too much, `CutOff` where this service ends first.
    async fn read_whole(
        &self,
        generation: &Generation,
        mut response: reqwest::Response,
    ) -> Result<Bytes, GatewayError> {
        let mut body = BytesMut::new();
        let left = generation.deadline.saturating_duration_since(Instant::now());
        let longest = self.drains.limits().longest_unstreamed.min(left);
        let read = async {
            loop {
                match response.chunk().await {
                    Ok(Some(chunk)) if body.len() + chunk.len() <= BODY_LIMIT => {
                        body.extend_from_slice(&chunk)
                    }
                    Ok(None) => return true,
                    Ok(Some(_)) => return false,
                    Err(error) => {
                        let error = error.without_url();
                        tracing::warn!(generation = %generation.id, %error, "a provider's answer broke off");
                        return false;
                    }
                }
            }
        };
        let complete = tokio::select! {
            biased;
            complete = read => complete,
            () = tokio::time::sleep(longest) => false,
            () = self.cut_off.cancelled() => return Err(GatewayError::CutOff),
        };
        complete.then(|| body.freeze()).ok_or(GatewayError::ProviderFailed)
    }
}

/// The answer in the client's dialect; `None` where it cannot be carried.
fn carried(generation: &Generation, back: &Back, body: &Bytes) -> Option<Bytes> {
    match back {
        Back::Native => Some(Relabeler::new(generation.protocol(), &generation.caller.model).body(body)),
        Back::Translated(translation) => match translation.answer(body) {
            Ok(body) => Some(body),
            Err(error) => {
                tracing::warn!(generation = %generation.id, %error, "a provider's answer cannot be carried");
                None
            }
        },
    }
}

fn success(headers: HeaderMap, body: Bytes) -> Response {
    let mut response = Response::new(Body::from(body));
    *response.headers_mut() = headers;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

//! Relaying a streamed answer: metered as it passes, and not called finished before it is paid.
//!
//! Frames go to the client as they come, until one says *finished*. From that frame on everything
//! waits for the durable settlement; then it follows, or the dialect's failure frame does. When the
//! client leaves, the stream is drained to its usage within limits.

use axum::response::Response;
use bytes::{Bytes, BytesMut};
use codexapi_aggregates::usage::Protocol;
use codexapi_protocols::errors::{FailureFrame, failure_frame, keepalive_frame};
use codexapi_protocols::headers::passed_response;
use codexapi_protocols::meter::{Disposition, MeterSettings, Metered, StreamMeter};
use codexapi_protocols::relabel::Relabeler;
use codexapi_protocols::sse::{Frame, SseSplitter};
use http::HeaderValue;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use tokio::time::{Instant, sleep_until};

use super::client::ClientStream;
use super::drains::Drain;
use super::generation::Generation;
use super::refusal::GatewayError;
use super::verdict::AnswerEnd;
use super::{Answer, Gateway};
use crate::crash_points;

/// Withheld bytes; an answer's end is small, so more is a broken provider.
const WITHHELD_LIMIT: usize = 64 * 1024 * 1024;

/// A stream on its way from a provider to a client.
struct Relay<'a> {
    gateway: &'a Gateway,
    generation: &'a Generation,
    client: ClientStream,
    meter: StreamMeter,
    relabeler: Relabeler,
    splitter: SseSplitter,
    /// From the frame that says *finished* on.
    withheld: BytesMut,
    client_left: bool,
    draining: Option<Draining>,
    first_byte_ms: Option<u32>,
}

/// Reading on for a client that has left.
struct Draining {
    _permission: Drain,
    until: Instant,
    /// Output tokens at which it ends.
    output_limit: u64,
}

/// What the relay does after a piece.
enum Step {
    GoOn,
    End(AnswerEnd),
}

impl Gateway {
    pub(super) async fn stream(
        &self,
        generation: Generation,
        response: reqwest::Response,
        settings: MeterSettings,
        answer: Answer,
    ) {
        let status = response.status().as_u16();
        let (client, body) = ClientStream::new();
        let mut head = Response::new(body);
        *head.headers_mut() = passed_response(response.headers());
        head.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
        head.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
        let mut relay = Relay {
            gateway: self,
            generation: &generation,
            client,
            meter: StreamMeter::new(generation.protocol(), settings),
            relabeler: Relabeler::new(generation.protocol(), &generation.caller.model),
            splitter: SseSplitter::default(),
            withheld: BytesMut::new(),
            client_left: false,
            draining: None,
            first_byte_ms: None,
        };
        // Where the client is gone already, its end of the stream reads as closed.
        drop(answer.send(head));
        let end = relay.pump(response).await;
        relay.finish(end, status).await;
    }
}

impl Relay<'_> {
    /// Moves frames until the answer ends, one way or another.
    async fn pump(&mut self, mut response: reqwest::Response) -> AnswerEnd {
        let settings = &self.gateway.settings;
        let mut keepalive = tokio::time::interval(settings.keepalive);
        keepalive.reset();
        let mut idle_until = Instant::now() + settings.upstream_idle;
        loop {
            let drain_until = self.draining.as_ref().map(|draining| draining.until);
            let step = tokio::select! {
                chunk = response.chunk() => {
                    idle_until = Instant::now() + settings.upstream_idle;
                    keepalive.reset();
                    match chunk {
                        Ok(Some(chunk)) => self.take(&chunk).await,
                        Ok(None) => self.take_rest().await,
                        Err(error) => {
                            let error = error.without_url();
                            tracing::warn!(generation = %self.generation.id, %error, "a provider's stream broke");
                            Step::End(AnswerEnd::Failed)
                        }
                    }
                }
                () = self.client.left() => self.drain(),
                _ = keepalive.tick(), if self.client.is_there() => {
                    let frame = keepalive_frame(self.generation.protocol(), self.generation.family);
                    self.client.send(frame).await;
                    Step::GoOn
                }
                () = sleep_until(drain_until.unwrap_or(idle_until)), if drain_until.is_some() => {
                    Step::End(AnswerEnd::DrainLimit)
                }
                () = sleep_until(idle_until) => {
                    tracing::warn!(generation = %self.generation.id, "a provider's stream fell silent");
                    Step::End(AnswerEnd::Failed)
                }
            };
            if let Step::End(end) = step {
                return end;
            }
        }
    }

    async fn take(&mut self, chunk: &Bytes) -> Step {
        self.first_byte_ms.get_or_insert_with(|| self.generation.elapsed_ms());
        let mut frames = Vec::new();
        if self.splitter.push(chunk, &mut frames).is_err() {
            tracing::warn!(generation = %self.generation.id, "a provider's frame is too large");
            return Step::End(AnswerEnd::Failed);
        }
        self.observe(frames).await
    }

    /// The provider has closed the connection in good order; that alone does not finish an answer.
    async fn take_rest(&mut self) -> Step {
        let rest = std::mem::take(&mut self.splitter).finish();
        match self.observe(rest.into_iter().collect()).await {
            Step::End(end) => Step::End(end),
            Step::GoOn if self.meter.so_far().terminal.is_finished() => Step::End(AnswerEnd::Finished),
            Step::GoOn => Step::End(AnswerEnd::Failed),
        }
    }

    /// Meters the frames and passes on what may be passed on, in one piece.
    async fn observe(&mut self, frames: Vec<Frame>) -> Step {
        let mut piece = Vec::with_capacity(frames.len());
        let mut end = None;
        for frame in frames {
            match self.meter.observe(&frame) {
                Disposition::Forward => piece.push(self.relabeler.frame(&frame)),
                Disposition::Withhold => self.withheld.extend_from_slice(&self.relabeler.frame(&frame)),
                Disposition::Hide => {}
                Disposition::UpstreamFailed => {
                    end = Some(AnswerEnd::Failed);
                    break;
                }
            }
            if self.meter.so_far().terminal.is_finished() && is_last(self.generation.protocol(), &frame) {
                end = Some(AnswerEnd::Finished);
                break;
            }
        }
        self.client.send(joined(piece)).await;
        if self.withheld.len() > WITHHELD_LIMIT {
            return Step::End(AnswerEnd::Failed);
        }
        match (end, &self.draining) {
            (Some(end), _) => Step::End(end),
            (None, Some(draining)) if self.output_tokens() > draining.output_limit => {
                Step::End(AnswerEnd::DrainLimit)
            }
            (None, _) => Step::GoOn,
        }
    }

    /// The client has left: read on within limits, or stop here where too much is being drained.
    fn drain(&mut self) -> Step {
        self.client.leave();
        self.client_left = true;
        let limits = self.gateway.drains.limits();
        match self.gateway.drains.begin(self.generation.payer) {
            Some(permission) => {
                self.draining = Some(Draining {
                    _permission: permission,
                    until: Instant::now() + limits.longest,
                    output_limit: self.output_tokens() + limits.output_tokens,
                });
                Step::GoOn
            }
            None => Step::End(AnswerEnd::DrainLimit),
        }
    }

    /// Output tokens received so far, estimated.
    fn output_tokens(&self) -> u64 {
        self.meter.so_far().estimated_output_tokens()
    }

    /// Settles or releases, and only then tells the client how it ended.
    async fn finish(mut self, end: AnswerEnd, status: u16) {
        crash_points::reached(crash_points::UPSTREAM_DONE);
        let metered = self.meter.end();
        let failed = self.gateway.conclude(
            self.generation,
            end,
            &metered,
            self.client_left,
            status,
            self.first_byte_ms,
        );
        let last = match failed.await {
            None => self.withheld.freeze(),
            Some(error) => failure_of(self.generation, &metered, &error),
        };
        crash_points::reached(crash_points::SETTLED_UNTOLD);
        self.client.send(last).await;
    }
}

/// The frame after which nothing follows, so that a provider that leaves the connection open does
/// not delay the settlement.
fn is_last(protocol: Protocol, frame: &Frame) -> bool {
    match protocol {
        Protocol::Responses => true,
        Protocol::Chat | Protocol::Completions => frame.data().is_some_and(|data| data.as_ref() == b"[DONE]"),
        Protocol::Messages => frame.event() == Some(b"message_stop"),
    }
}

fn failure_of(generation: &Generation, metered: &Metered, error: &GatewayError) -> Bytes {
    let ours = format!("resp_{}", generation.id.0.simple());
    let failure = FailureFrame {
        kind: error.kind(),
        message: &error.to_string(),
        response_id: metered.response_id.as_deref().unwrap_or(&ours),
        model: &generation.caller.model,
        created_at_secs: crate::clock::now().0 / 1_000_000,
        sequence_number: metered.events_seen,
        request_id: &generation.caller.request_id,
    };
    failure_frame(generation.protocol(), generation.family, &failure)
}

/// One buffer for what arrived together; a single frame is passed on as it is.
fn joined(mut pieces: Vec<Bytes>) -> Bytes {
    match pieces.len() {
        0 => Bytes::new(),
        1 => pieces.remove(0),
        _ => {
            let mut all = BytesMut::with_capacity(pieces.iter().map(Bytes::len).sum());
            pieces.iter().for_each(|piece| all.extend_from_slice(piece));
            all.freeze()
        }
    }
}

//! Relaying a streamed answer: metered as it passes, and not called finished before it is paid.
//!
//! Frames go to the client as they come, until one says *finished*. From that frame on everything
//! waits for the durable settlement; then it follows, or the dialect's failure frame does. When the
//! client leaves, the stream is drained to its usage within limits.

use std::pin::pin;

use axum::response::Response;
use bytes::{Bytes, BytesMut};
use codexapi_aggregates::usage::Protocol;
use codexapi_protocols::conversation::BadAnswer;
use codexapi_protocols::errors::{FailureFrame, failure_frame, keepalive_frame};
use codexapi_protocols::headers::passed_response;
use codexapi_protocols::meter::{Disposition, MeterSettings, Metered, StreamMeter};
use codexapi_protocols::note::with_note;
use codexapi_protocols::notice::{blocks_begun, with_notice};
use codexapi_protocols::sse::{Frame, SseSplitter};
use http::HeaderValue;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use tokio::time::{Instant, Interval, interval_at, sleep_until};

use super::asked::Back;
use super::carry::Carrier;
use super::client::ClientStream;
use super::drains::Drain;
use super::generation::Generation;
use super::refusal::GatewayError;
use super::told::{self, Paid};
use super::verdict::AnswerEnd;
use super::{Answer, Gateway};
use crate::crash_points;
use crate::upstream::circuits::Pass;

/// Withheld bytes; an answer's end is small, so more is a broken provider.
const WITHHELD_LIMIT: usize = 64 * 1024 * 1024;

/// A stream on its way from a provider to a client.
struct Relay<'a> {
    gateway: &'a Gateway,
    generation: &'a Generation,
    client: ClientStream,
    meter: StreamMeter,
    carrier: Carrier,
    splitter: SseSplitter,
    /// From the frame that says *finished* on.
    withheld: BytesMut,
    /// What the next frame of a Responses stream is numbered, as far as the client has been sent it.
    next_number: u64,
    /// Blocks of content that a Messages stream has begun; counted where a notice may follow them.
    blocks: u64,
    client_left: bool,
    draining: Option<Draining>,
    first_byte_ms: Option<u32>,
    /// The verdict on the provider, given when the stream ends.
    pass: Pass,
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
        back: Back,
        pass: Pass,
        answer: Answer,
    ) {
        let status = response.status().as_u16();
        let (client, body) = ClientStream::new(self.cut_off.clone());
        let mut head = Response::new(body);
        *head.headers_mut() = passed_response(response.headers());
        head.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
        head.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
        told::at_the_beginning(&generation, head.headers_mut());
        told::announce_trailers(head.headers_mut());
        let mut relay = Relay {
            gateway: self,
            generation: &generation,
            client,
            meter: StreamMeter::new(generation.target.protocol, settings),
            carrier: Carrier::new(&back, generation.protocol(), &generation.caller.model),
            splitter: SseSplitter::default(),
            withheld: BytesMut::new(),
            next_number: 0,
            blocks: 0,
            client_left: false,
            draining: None,
            first_byte_ms: None,
            pass,
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
        let (mut silence, sign) = keepalive(self.gateway, self.generation);
        let deadline = Instant::from_std(self.generation.deadline);
        let mut idle_until = Instant::now() + self.generation.idle;
        let mut cut_off = pin!(self.gateway.cut_off.cancelled());
        loop {
            let drain_until = self.draining.as_ref().map(|draining| draining.until);
            let step = tokio::select! {
                chunk = response.chunk() => {
                    let step = match chunk {
                        Ok(Some(chunk)) => self.take(&chunk).await,
                        Ok(None) => self.take_rest().await,
                        Err(error) => {
                            let error = error.without_url();
                            tracing::warn!(generation = %self.generation.id, %error, "a provider's stream broke");
                            Step::End(AnswerEnd::Failed)
                        }
                    };
                    // From here, not from its arrival: a client that takes its time is no silence of the provider's.
                    idle_until = Instant::now() + self.generation.idle;
                    silence.reset();
                    step
                }
                () = self.client.left() => self.drain(),
                _ = silence.tick(), if self.client.is_there() => {
                    self.client.send(sign.clone()).await;
                    Step::GoOn
                }
                () = sleep_until(drain_until.unwrap_or(idle_until)), if drain_until.is_some() => {
                    Step::End(AnswerEnd::DrainLimit)
                }
                () = &mut cut_off => Step::End(self.cut_off()),
                () = sleep_until(idle_until.min(deadline)) => match self.meter.so_far().terminal.is_finished() {
                    // All that is missing is a frame without content, or the end of the connection.
                    true => Step::End(self.finished()),
                    false => {
                    tracing::warn!(generation = %self.generation.id, "a provider's stream fell silent or took too long");
                        Step::End(AnswerEnd::Failed)
                    }
                }
            };
            if let Step::End(end) = step {
                return end;
            }
        }
    }

    async fn take(&mut self, chunk: &Bytes) -> Step {
        if self.first_byte_ms.is_none() {
            self.first_byte_ms = Some(self.generation.elapsed_ms());
            self.pass.answering();
        }
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
        if let Step::End(end) = self.observe(rest.into_iter().collect()).await {
            return Step::End(end);
        }
        if !self.meter.so_far().terminal.is_finished() {
            return Step::End(AnswerEnd::Failed);
        }
        Step::End(self.finished())
    }

    /// The answer is whole; what its translation still holds back follows.
    fn finished(&mut self) -> AnswerEnd {
        match self.carrier.end() {
            Ok(rest) => {
                self.withheld.extend_from_slice(&rest);
                AnswerEnd::Finished
            }
            Err(error) => self.untranslatable(&error),
        }
    }

    fn untranslatable(&self, error: &BadAnswer) -> AnswerEnd {
        tracing::warn!(generation = %self.generation.id, %error, "a provider's answer cannot be carried");
        AnswerEnd::Failed
    }

    /// Meters the frames and passes on what may be passed on, in one piece.
    async fn observe(&mut self, frames: Vec<Frame>) -> Step {
        let mut piece = Vec::with_capacity(frames.len());
        let mut end = None;
        for frame in frames {
            let disposition = self.meter.observe(&frame);
            if disposition == Disposition::UpstreamFailed {
                end = Some(AnswerEnd::Failed);
                break;
            }
            if disposition != Disposition::Hide || self.carrier.wants_hidden() {
                match self.carrier.frame(&frame) {
                    Ok(carried) if disposition == Disposition::Forward => {
                        piece.push(carried);
                        self.next_number = self.carrier.sequence_number(self.meter.so_far());
                    }
                    Ok(carried) => self.withheld.extend_from_slice(&carried),
                    Err(error) => {
                        end = Some(self.untranslatable(&error));
                        break;
                    }
                }
            }
            if self.meter.so_far().terminal.is_finished() && is_last(self.generation.target.protocol, &frame)
            {
                end = Some(self.finished());
                break;
            }
        }
        if self.generation.notice.as_ref().is_some_and(|notice| notice.in_session) {
            self.blocks += piece.iter().map(|carried| blocks_begun(carried)).sum::<u64>();
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
        if self.gateway.cut_off.is_cancelled() {
            // It may be us who did not wait for it.
            return Step::End(self.cut_off());
        }
        self.client.leave();
        self.client_left = true;
        let limits = self.gateway.drains.limits();
        match self.gateway.drains.begin(self.generation.payer) {
            Some(permission) => {
                self.draining = Some(Draining {
                    _permission: permission,
                    until: self.generation.client_left_at.map_or_else(Instant::now, Instant::from_std)
                        + limits.longest,
                    output_limit: self.output_tokens() + limits.output_tokens,
                });
                Step::GoOn
            }
            None => Step::End(AnswerEnd::DrainLimit),
        }
    }

    /// The service ends: what is whole is still told, and who has left pays for what came until now.
    fn cut_off(&mut self) -> AnswerEnd {
        match (self.meter.so_far().terminal.is_finished(), self.client_left) {
            (true, _) => self.finished(),
            (false, true) => AnswerEnd::DrainLimit,
            (false, false) => AnswerEnd::CutOff,
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
        let client_left = self.client_left || !self.client.is_there();
        match end {
            AnswerEnd::Finished => self.pass.succeeded(self.generation.since_dispatch(self.first_byte_ms)),
            AnswerEnd::Failed => self.pass.failed(None),
            AnswerEnd::DrainLimit | AnswerEnd::CutOff => drop(self.pass),
        }
        let (gateway, generation) = (self.gateway, self.generation);
        let first_byte_ms = self.first_byte_ms;
        let concluding =
            gateway.conclude(generation, end, &metered, client_left, Some(status), first_byte_ms);
        let concluded = self.client.not_forgotten(keepalive(gateway, generation), concluding).await;
        crash_points::reached(crash_points::SETTLED_UNTOLD);
        match concluded {
            Ok(paid) => {
                let withheld = self.withheld.freeze();
                let last = last_words(gateway, generation, withheld, self.blocks, &paid);
                self.client.send(last).await;
                self.client.send_trailers(told::trailers(&paid)).await;
            }
            Err(error) => {
                let failure = failure_of(generation, &self.carrier, &metered, self.next_number, &error);
                self.client.send(failure).await;
            }
        }
    }
}

/// How long a client hears nothing, and the sign of life that it hears then.
fn keepalive(gateway: &Gateway, generation: &Generation) -> (Interval, Bytes) {
    let sign = keepalive_frame(generation.protocol(), generation.caller.family);
    let period = gateway.settings.keepalive;
    (interval_at(Instant::now() + period, period), sign)
}

/// The end of the answer, with what its session has to be told, and what it cost where the client has asked for that.
fn last_words(
    gateway: &Gateway,
    generation: &Generation,
    withheld: Bytes,
    blocks: u64,
    paid: &Paid,
) -> Bytes {
    let withheld = match &generation.notice {
        Some(notice) if notice.in_session => {
            let id = generation.id.0.simple().to_string();
            match with_notice(generation.protocol(), &withheld, &notice.text, &id, blocks) {
                Some(noticed) => {
                    gateway.told_of_surge(&generation.usage_stream, notice);
                    noticed
                }
                None => withheld,
            }
        }
        Some(_) | None => withheld,
    };
    match generation.wants_cost {
        true => with_note(generation.protocol(), &withheld, &told::note(generation, paid)),
        false => withheld,
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

fn failure_of(
    generation: &Generation,
    carrier: &Carrier,
    metered: &Metered,
    sequence_number: u64,
    error: &GatewayError,
) -> Bytes {
    let ours = format!("resp_{}", generation.id.0.simple());
    let failure = FailureFrame {
        kind: error.kind(),
        message: &error.to_string(),
        response_id: carrier.response_id(metered).unwrap_or(&ours),
        model: &generation.caller.model,
        created_at_secs: crate::clock::now().0 / 1_000_000,
        sequence_number,
        request_id: &generation.caller.request_id,
    };
    failure_frame(generation.protocol(), generation.caller.family, &failure)
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

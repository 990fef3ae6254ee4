//! An answer on its way out: paced, cut and billed as told.
//!
//! The body is a stream that makes each event when the network asks for it. So a
//! client that hangs up stops the making, and the receipt dropped with the stream
//! bills what had been made.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use futures::stream;
use tokio::time::sleep;

use crate::answer::Answer;
use crate::bills::{Receipt, Status};
use crate::directive::Directive;
use crate::sse::{Event, Events, Mark};

/// Time for the bytes before a cut to leave: the server drops what it still holds
/// when a body fails.
const FLUSH: Duration = Duration::from_millis(20);

/// The body of a streamed answer.
pub fn streamed(events: Events, answer: &Arc<Answer>, receipt: Receipt) -> Body {
    let frames = events.map(|event: Event| Frame {
        bytes: event.encode(),
        mark: event.mark,
        produced: event.produced,
    });
    let stall_after = match answer.told.stall_forever {
        Some(true) => Some(0),
        _ => answer.told.stall_after,
    };
    body(Delivery::new(Box::new(frames), &answer.told, stall_after, receipt))
}

/// The body of an answer given whole.
pub fn whole(bytes: Bytes, answer: &Arc<Answer>, mut receipt: Receipt) -> Body {
    let told = &answer.told;
    let plain =
        told.first_byte_delay_ms.is_none() && told.cut_at_byte.is_none() && told.clean_end_at_byte.is_none();
    if plain {
        receipt.delivered(bytes.len());
        receipt.finish();
        return Body::from(bytes);
    }
    let frame = Frame { bytes, mark: Mark::Final, produced: Some(answer.billed.output_tokens) };
    body(Delivery::new(Box::new(std::iter::once(frame)), told, None, receipt))
}

struct Frame {
    bytes: Bytes,
    mark: Mark,
    produced: Option<u64>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Cut {
    /// The transfer is left unfinished and the connection closed.
    Abrupt,
    /// The body ends early but properly.
    Clean,
}

struct Delivery {
    frames: Box<dyn Iterator<Item = Frame> + Send>,
    receipt: Receipt,
    first_delay: Option<Duration>,
    delta_delay: Option<Duration>,
    deltas: u64,
    stall_after: Option<u64>,
    cut: Option<(u64, Cut)>,
    sent: u64,
    cut_reached: bool,
}

impl Delivery {
    fn new(
        frames: Box<dyn Iterator<Item = Frame> + Send>,
        told: &Directive,
        stall_after: Option<u64>,
        receipt: Receipt,
    ) -> Self {
        let cut = match (told.cut_at_byte, told.clean_end_at_byte) {
            (Some(at), _) => Some((at, Cut::Abrupt)),
            (None, Some(at)) => Some((at, Cut::Clean)),
            (None, None) => None,
        };
        Delivery {
            frames,
            receipt,
            first_delay: told.first_byte_delay_ms.map(Duration::from_millis),
            delta_delay: told.chunk_delay_ms.map(Duration::from_millis),
            deltas: 0,
            stall_after,
            cut,
            sent: 0,
            cut_reached: false,
        }
    }

    async fn next(mut self) -> Option<(Result<Bytes, io::Error>, Self)> {
        if let Some(delay) = self.first_delay.take() {
            sleep(delay).await;
        }
        if self.cut_reached {
            return self.end().await;
        }
        let Some(frame) = self.frames.next() else {
            self.cut_reached = self.cut.is_some_and(|(at, _)| at == self.sent);
            return self.end().await;
        };
        if frame.mark == Mark::Delta {
            self.pace().await;
        }
        self.send(frame).await
    }

    /// Waits before a delta as told, for ever where told to stall.
    async fn pace(&mut self) {
        if self.stall_after == Some(self.deltas) {
            std::future::pending::<()>().await;
        }
        if let Some(delay) = self.delta_delay.filter(|_| self.deltas > 0) {
            sleep(delay).await;
        }
        self.deltas += 1;
    }

    async fn send(mut self, frame: Frame) -> Option<(Result<Bytes, io::Error>, Self)> {
        if let Some(tokens) = frame.produced {
            self.receipt.produced(tokens);
        }
        let room = self.cut.map(|(at, _)| at - self.sent);
        let length = frame.bytes.len() as u64;
        let bytes = match room.filter(|room| *room < length) {
            Some(room) => {
                self.cut_reached = true;
                frame.bytes.slice(..room as usize)
            }
            None => frame.bytes,
        };
        self.sent += bytes.len() as u64;
        self.receipt.delivered(bytes.len());
        if self.cut_reached {
            self.receipt.close(Status::Cut);
            if bytes.is_empty() {
                return self.end().await;
            }
            return Some((Ok(bytes), self));
        }
        match frame.mark {
            Mark::Final => self.receipt.finish(),
            Mark::Failed => self.receipt.close(Status::Errored),
            Mark::Plain | Mark::Delta => {}
        }
        Some((Ok(bytes), self))
    }

    async fn end(mut self) -> Option<(Result<Bytes, io::Error>, Self)> {
        match self.cut.take() {
            Some((_, Cut::Abrupt)) if self.cut_reached => {
                sleep(FLUSH).await;
                let broken = io::Error::new(io::ErrorKind::ConnectionAborted, "cut as told");
                Some((Err(broken), self))
            }
            _ => None,
        }
    }
}

fn body(delivery: Delivery) -> Body {
    Body::from_stream(stream::unfold(delivery, Delivery::next))
}

//! The client's end of a streamed answer: bounded, and allowed to disappear.

use std::convert::Infallible;
use std::pin::pin;
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use futures::StreamExt;
use http::HeaderMap;
use http_body::Frame;
use http_body_util::StreamBody;
use tokio::sync::mpsc;
use tokio::time::{Interval, sleep};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;

/// Pieces that may wait for a slow client.
const QUEUE: usize = 32;

/// A client that takes nothing for this long has left.
const STALLED: Duration = Duration::from_secs(120);

/// The same, once this service ends.
const STALLED_AT_THE_END: Duration = Duration::from_secs(1);

/// Sends to a client until it leaves.
pub(super) struct ClientStream {
    sender: Option<mpsc::Sender<Frame<Bytes>>>,
    cut_off: CancellationToken,
    /// Something could not be sent, which may show before the closed connection does.
    unreachable: bool,
}

impl ClientStream {
    /// The sending end and the response body it feeds. After `cut_off` nobody is waited for.
    pub fn new(cut_off: CancellationToken) -> (Self, Body) {
        let (sender, receiver) = mpsc::channel(QUEUE);
        let frames = ReceiverStream::new(receiver).map(Ok::<_, Infallible>);
        (Self { sender: Some(sender), cut_off, unreachable: false }, Body::new(StreamBody::new(frames)))
    }

    pub fn is_there(&self) -> bool {
        self.sender.is_some() && !self.unreachable
    }

    pub async fn send(&mut self, piece: Bytes) {
        if !piece.is_empty() {
            self.send_frame(Frame::data(piece)).await;
        }
    }

    /// Waits for what the end depends on, giving a sign of life where that takes long; one that finds no room is not sent,
    /// since nothing may hold up what is waited for.
    pub async fn not_forgotten<T>(
        &self,
        (mut silence, sign): (Interval, Bytes),
        waited_for: impl Future<Output = T>,
    ) -> T {
        let mut waited_for = pin!(waited_for);
        loop {
            tokio::select! {
                biased;
                done = &mut waited_for => return done,
                _ = silence.tick() => {
                    if let Some(sender) = &self.sender {
                        let _no_room_or_gone = sender.try_send(Frame::data(sign.clone()));
                    }
                }
            }
        }
    }

    /// The last thing that is sent; a client that did not say it takes trailers never sees them.
    pub async fn send_trailers(&mut self, trailers: HeaderMap) {
        self.send_frame(Frame::trailers(trailers)).await;
    }

    async fn send_frame(&mut self, frame: Frame<Bytes>) {
        let Some(sender) = self.sender.as_ref().filter(|_| !self.unreachable) else { return };
        let given_up = async {
            self.cut_off.cancelled().await;
            sleep(STALLED_AT_THE_END).await;
        };
        let sent = tokio::select! {
            biased;
            sent = sender.send_timeout(frame, STALLED) => sent.is_ok(),
            () = given_up => false,
        };
        self.unreachable = !sent;
    }

    /// Resolves when the client has left, however that was noticed; never after `leave`.
    pub async fn left(&self) {
        match &self.sender {
            Some(_) if self.unreachable => {}
            Some(sender) => sender.closed().await,
            None => std::future::pending().await,
        }
    }

    /// From here on nothing is sent.
    pub fn leave(&mut self) {
        self.sender = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_client_that_is_found_gone_in_sending_has_left() {
        let (mut client, body) = ClientStream::new(CancellationToken::new());
        drop(body);
        client.send(Bytes::from_static(b"piece")).await;
        assert!(!client.is_there());
        client.left().await;
        client.leave();
        let again = tokio::time::timeout(Duration::ZERO, client.left()).await;
        assert!(again.is_err(), "a client leaves once");
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_takes_nothing_for_long_has_left() {
        let (mut client, _body) = ClientStream::new(CancellationToken::new());
        for _ in 0..=QUEUE {
            client.send(Bytes::from_static(b"piece")).await;
        }
        client.left().await;
    }

    #[tokio::test(start_paused = true)]
    async fn at_the_end_nobody_is_waited_for_for_long() {
        let cut_off = CancellationToken::new();
        let (mut client, _body) = ClientStream::new(cut_off.clone());
        for _ in 0..QUEUE {
            client.send(Bytes::from_static(b"piece")).await;
        }
        cut_off.cancel();
        let began = tokio::time::Instant::now();
        client.send(Bytes::from_static(b"last words")).await;
        assert!(!client.is_there() && began.elapsed() == STALLED_AT_THE_END);
    }
}

//! The client's end of a streamed answer: bounded, and allowed to disappear.

use std::convert::Infallible;
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use futures::StreamExt;
use http::HeaderMap;
use http_body::Frame;
use http_body_util::StreamBody;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

/// Pieces that may wait for a slow client.
const QUEUE: usize = 32;

/// A client that takes nothing for this long has left.
const STALLED: Duration = Duration::from_secs(120);

/// Sends to a client until it leaves.
pub(super) struct ClientStream {
    sender: Option<mpsc::Sender<Frame<Bytes>>>,
    /// Something could not be sent, which may show before the closed connection does.
    unreachable: bool,
}

impl ClientStream {
    /// The sending end and the response body it feeds.
    pub fn new() -> (Self, Body) {
        let (sender, receiver) = mpsc::channel(QUEUE);
        let frames = ReceiverStream::new(receiver).map(Ok::<_, Infallible>);
        (Self { sender: Some(sender), unreachable: false }, Body::new(StreamBody::new(frames)))
    }

    pub fn is_there(&self) -> bool {
        self.sender.is_some() && !self.unreachable
    }

    pub async fn send(&mut self, piece: Bytes) {
        if !piece.is_empty() {
            self.send_frame(Frame::data(piece)).await;
        }
    }

    /// The last thing that is sent; a client that did not say it takes trailers never sees them.
    pub async fn send_trailers(&mut self, trailers: HeaderMap) {
        self.send_frame(Frame::trailers(trailers)).await;
    }

    async fn send_frame(&mut self, frame: Frame<Bytes>) {
        let Some(sender) = self.sender.as_ref().filter(|_| !self.unreachable) else { return };
        if sender.send_timeout(frame, STALLED).await.is_err() {
            self.unreachable = true;
        }
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
        let (mut client, body) = ClientStream::new();
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
        let (mut client, _body) = ClientStream::new();
        for _ in 0..=QUEUE {
            client.send(Bytes::from_static(b"piece")).await;
        }
        client.left().await;
    }
}

//! The client's end of a streamed answer: bounded, and allowed to disappear.

use std::convert::Infallible;
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use futures::StreamExt;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

/// Pieces that may wait for a slow client.
const QUEUE: usize = 32;

/// A client that takes nothing for this long has left.
const STALLED: Duration = Duration::from_secs(120);

/// Sends to a client until it leaves.
pub(super) struct ClientStream {
    sender: Option<mpsc::Sender<Bytes>>,
}

impl ClientStream {
    /// The sending end and the response body it feeds.
    pub fn new() -> (Self, Body) {
        let (sender, receiver) = mpsc::channel(QUEUE);
        let body = Body::from_stream(ReceiverStream::new(receiver).map(Ok::<_, Infallible>));
        (Self { sender: Some(sender) }, body)
    }

    pub fn is_there(&self) -> bool {
        self.sender.is_some()
    }

    pub async fn send(&mut self, piece: Bytes) {
        let Some(sender) = &self.sender else { return };
        if piece.is_empty() {
            return;
        }
        if sender.send_timeout(piece, STALLED).await.is_err() {
            self.sender = None;
        }
    }

    /// Resolves when the client leaves; never for one that has left already.
    pub async fn left(&self) {
        match &self.sender {
            Some(sender) => sender.closed().await,
            None => std::future::pending().await,
        }
    }

    /// From here on nothing is sent.
    pub fn leave(&mut self) {
        self.sender = None;
    }
}

//! A body must come to its end: at once a while, and then at a rate that any line has.
//!
//! Without this, a client that sends a byte now and then would keep a connection, and what has been read, for ever. A
//! large body on a slow line is given the time it needs.

use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody};
use axum::extract::Request;
use axum::response::{IntoResponse, Response};
use codexapi_protocols::errors::ErrorKind;
use http::StatusCode;
use http_body::{Frame, SizeHint};
use tokio::time::{Instant, Sleep, sleep_until};

use super::error::Problem;

/// What each further second of patience takes.
const BYTES_PER_SECOND: u64 = 8 * 1024;

/// How a request's body has come: whole, or not in time; unset while it comes.
#[derive(Clone, Default)]
pub struct Arrival(Arc<OnceLock<bool>>);

impl Arrival {
    pub fn is_complete(&self) -> bool {
        self.0.get() == Some(&true)
    }

    fn is_too_slow(&self) -> bool {
        self.0.get() == Some(&false)
    }

    fn ends(&self, whole: bool) {
        self.0.get_or_init(|| whole);
    }
}

/// Ends a request whose body does not come, with a 408.
pub async fn expect(
    patience: Duration,
    request: Request,
    answer: impl AsyncFnOnce(Request) -> Response,
) -> Response {
    if request.body().is_end_stream() {
        return answer(request).await;
    }
    let arrival = Arrival::default();
    let (mut parts, body) = request.into_parts();
    parts.extensions.insert(arrival.clone());
    let until = Instant::now() + patience;
    let body = Arriving { body, arrival: arrival.clone(), until, due: Box::pin(sleep_until(until)) };
    let response = answer(Request::from_parts(parts, Body::new(body))).await;
    if arrival.is_too_slow() { too_slow().into_response() } else { response }
}

/// What a client is told whose body did not come in time.
pub fn too_slow() -> Problem {
    let message = "The body of this request did not come to its end in time.";
    Problem::new(StatusCode::REQUEST_TIMEOUT, ErrorKind::InvalidRequest, "request_timeout", message)
}

struct Arriving {
    body: Body,
    arrival: Arrival,
    until: Instant,
    due: Pin<Box<Sleep>>,
}

impl HttpBody for Arriving {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(context);
        match &polled {
            Poll::Ready(Some(Ok(frame))) => {
                let bytes = frame.data_ref().map_or(0, |data| data.len() as u64);
                self.until += Duration::from_micros(bytes * 1_000_000 / BYTES_PER_SECOND);
                if self.body.is_end_stream() {
                    self.arrival.ends(true);
                }
            }
            Poll::Ready(None) => self.arrival.ends(true),
            Poll::Ready(Some(Err(_))) => {}
            Poll::Pending => {
                let until = self.until;
                if self.due.deadline() != until {
                    self.due.as_mut().reset(until);
                }
                if self.due.as_mut().poll(context).is_ready() {
                    self.arrival.ends(false);
                    return Poll::Ready(Some(Err(axum::Error::new("the body did not come in time"))));
                }
            }
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use futures::StreamExt;
    use http_body_util::{BodyExt, StreamBody};

    use super::*;

    /// Pieces of so many bytes, one every so many seconds.
    async fn arrives(pieces: usize, bytes: usize, seconds: u64) -> bool {
        let pieces = futures::stream::iter(0..pieces).then(move |_| async move {
            tokio::time::sleep(Duration::from_secs(seconds)).await;
            Ok::<_, axum::Error>(Frame::data(Bytes::from(vec![b' '; bytes])))
        });
        let until = Instant::now() + Duration::from_secs(30);
        let body = Body::new(StreamBody::new(pieces));
        let arrival = Arrival::default();
        let body = Arriving { body, arrival: arrival.clone(), until, due: Box::pin(sleep_until(until)) };
        let came = body.collect().await.is_ok();
        assert_eq!((came, !came), (arrival.is_complete(), arrival.is_too_slow()));
        came
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_may_be_slow_but_must_not_trickle() {
        assert!(arrives(1, 10, 29).await);
        assert!(!arrives(1, 10, 31).await);
        assert!(arrives(400, 64 * 1024, 7).await, "26 MB in three quarters of an hour: a slow line");
        assert!(!arrives(400, 1, 1).await, "a byte every second: nobody's line");
    }
}

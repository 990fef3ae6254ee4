//! Lets a client read its answer though it has not finished sending.
//!
//! A request is often answered before its body has been read: no token, a body that is too large. Closing the
//! connection then makes the client's kernel throw away the answer, and what its user sees is a broken pipe. So the
//! rest is read and thrown away first, up to a limit of bytes and of time. A client that waits for our permission to
//! send (`Expect: 100-continue`) has sent nothing, and is answered at once. So is one that sends too much, which may be
//! more than is ever read, or nothing at all after a head that announced it: the rest is thrown away while it reads.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody};
use axum::extract::Request;
use axum::response::Response;
use http::header::{CONNECTION, EXPECT};
use http::{HeaderValue, StatusCode};
use http_body::{Frame, SizeHint};
use http_body_util::BodyExt;

/// Bytes read and thrown away at most.
const DISCARDED_BYTES: u64 = 64 * 1024 * 1024;

/// How long that may take, ...
const DISCARDING_TIMEOUT: Duration = Duration::from_secs(10);

/// ... and how long nothing of it may come.
const SILENCE_TIMEOUT: Duration = Duration::from_secs(2);

/// Answers, and then reads what the client was still sending.
pub async fn discard(request: Request, answer: impl AsyncFnOnce(Request) -> Response) -> Response {
    if request.body().is_end_stream() || request.headers().contains_key(EXPECT) {
        return answer(request).await;
    }
    let left = Left::default();
    let (parts, body) = request.into_parts();
    let body = Body::new(Returned { body: Some(body), left: left.clone() });
    let mut response = answer(Request::from_parts(parts, body)).await;
    let unread = left.lock().unwrap_or_else(PoisonError::into_inner).take();
    if let Some(body) = unread {
        if response.status() == StatusCode::REQUEST_TIMEOUT {
            // It has had its time.
            response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
            return response;
        }
        if response.status() == StatusCode::PAYLOAD_TOO_LARGE {
            response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
            tokio::spawn(tokio::time::timeout(DISCARDING_TIMEOUT, read_to_end(body)));
            return response;
        }
        let all = tokio::time::timeout(DISCARDING_TIMEOUT, read_to_end(body)).await;
        if all != Ok(true) {
            response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        }
    }
    response
}

/// Where a body goes that was dropped before its end.
type Left = Arc<Mutex<Option<Body>>>;

/// A body that is not lost when whoever reads it stops.
struct Returned {
    body: Option<Body>,
    left: Left,
}

impl HttpBody for Returned {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let Some(body) = self.body.as_mut() else { return Poll::Ready(None) };
        let polled = Pin::new(body).poll_frame(context);
        if matches!(polled, Poll::Ready(None | Some(Err(_)))) {
            self.body = None;
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(HttpBody::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map_or(SizeHint::with_exact(0), HttpBody::size_hint)
    }
}

impl Drop for Returned {
    fn drop(&mut self) {
        if let Some(body) = self.body.take().filter(|body| !body.is_end_stream()) {
            *self.left.lock().unwrap_or_else(PoisonError::into_inner) = Some(body);
        }
    }
}

/// Whether the end came within the limits.
async fn read_to_end(mut body: Body) -> bool {
    let mut read = 0_u64;
    while read <= DISCARDED_BYTES {
        match tokio::time::timeout(SILENCE_TIMEOUT, body.frame()).await {
            Ok(Some(Ok(frame))) => read += frame.data_ref().map_or(0, |data| data.len() as u64),
            Ok(None) => return true,
            Ok(Some(Err(_))) | Err(_) => return false,
        }
    }
    false
}

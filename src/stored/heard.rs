//! What a streamed answer comes to, for a response that nobody listens to.

use axum::body::Body;
use bytes::Bytes;
use codexapi_aggregates::usage::Protocol;
use codexapi_protocols::assemble::Assembler;
use codexapi_protocols::sse::{Frame, SseSplitter};
use http::HeaderMap;
use http::header::CONTENT_TYPE;
use http_body_util::BodyExt;
use serde::Deserialize;

use super::Status;

/// How an answer ended.
pub(super) enum Heard {
    /// The response object, finished.
    Ended {
        status: Status,
        body: String,
    },
    Failed {
        code: String,
        message: String,
    },
    TooLarge,
    Unreadable,
}

impl Heard {
    /// Reads a stream of the gateway's to its end. Dropping the future is leaving it.
    pub async fn read(mut body: Body, limit_bytes: usize) -> Self {
        let mut splitter = SseSplitter::default();
        let mut assembler = Assembler::new(Protocol::Responses, limit_bytes);
        let mut failure = None;
        let mut seen = 0;
        while let Some(frame) = body.frame().await {
            // The gateway's streams end well, and have no frames that are too large.
            let Ok(frame) = frame else { return Self::Unreadable };
            let Ok(chunk) = frame.into_data() else { continue };
            seen += chunk.len();
            let mut frames = Vec::new();
            if splitter.push(&chunk, &mut frames).is_err() {
                return Self::Unreadable;
            }
            for frame in &frames {
                assembler.observe(frame);
                failure = failure.or_else(|| failure_in(frame));
            }
        }
        match (failure, assembler.finish()) {
            (Some((code, message)), _) => Self::Failed { code, message },
            (None, Some(whole)) => Self::of_object(&whole),
            (None, None) if seen > limit_bytes => Self::TooLarge,
            (None, None) => Self::Unreadable,
        }
    }

    /// A whole response object.
    pub fn of_object(body: &Bytes) -> Self {
        #[derive(Deserialize)]
        struct Said {
            status: Status,
        }
        let Ok(text) = std::str::from_utf8(body) else { return Self::Unreadable };
        match serde_json::from_str::<Said>(text) {
            Ok(said) if !said.status.is_running() => {
                Self::Ended { status: said.status, body: text.to_owned() }
            }
            Ok(_) | Err(_) => Self::Unreadable,
        }
    }
}

pub(super) fn is_event_stream(headers: &HeaderMap) -> bool {
    let content_type = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    content_type.is_some_and(|kind| kind.starts_with("text/event-stream"))
}

/// Code and message of the frame that ends a stream as failed.
fn failure_in(frame: &Frame) -> Option<(String, String)> {
    #[derive(Deserialize)]
    struct Event {
        response: Failed,
    }
    #[derive(Deserialize)]
    struct Failed {
        error: Detail,
    }
    #[derive(Deserialize)]
    struct Detail {
        code: String,
        message: String,
    }
    if frame.event() != Some(b"response.failed") {
        return None;
    }
    let Event { response: Failed { error } } = serde_json::from_slice(&frame.data()?).ok()?;
    Some((error.code, error.message))
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn read(stream: &str, limit: usize) -> Heard {
        Heard::read(Body::from(stream.to_owned()), limit).await
    }

    #[tokio::test]
    async fn a_stream_is_what_its_last_event_says() {
        let completed = "event: response.completed\ndata: {\"type\":\"response.completed\",\
                         \"response\":{\"id\":\"r\",\"status\":\"completed\",\"output\":[1]}}\n\n";
        let Heard::Ended { status, body } = read(completed, 1_000).await else { panic!("not ended") };
        assert_eq!(status, Status::Completed);
        assert!(body.contains("\"output\":[1]"));
        let failed = "event: response.failed\ndata: {\"type\":\"response.failed\",\"response\":\
                      {\"error\":{\"code\":\"no\",\"message\":\"not so\"}}}\n\n";
        let Heard::Failed { code, message } = read(failed, 1_000).await else { panic!("not failed") };
        assert_eq!((code.as_str(), message.as_str()), ("no", "not so"));
        assert!(matches!(read(": cut off\n\n", 1_000).await, Heard::Unreadable));
    }
}

//! Where stored objects meet the gateway: a request is expanded, sent to the background or kept, and
//! the gateway serves the rest.
//!
//! One function around the gateway, so that what is kept is what the client got, in the client's
//! dialect, whichever way it was made.

use std::convert::Infallible;
use std::sync::Arc;

use axum::body::{Body, to_bytes};
use axum::response::Response;
use bytes::{Bytes, BytesMut};
use codexapi_aggregates::usage::Protocol;
use codexapi_protocols::assemble::Assembler;
use codexapi_protocols::request::ParsedRequest;
use codexapi_protocols::restate::restate_event;
use codexapi_protocols::sse::{Frame, SseSplitter};
use futures::StreamExt;
use http::StatusCode;
use http::header::CONTENT_TYPE;
use http_body::Frame as BodyFrame;
use http_body_util::{BodyExt, StreamBody};

use super::background::Background;
use super::keeping::{Keep, restated_body};
use super::{Owner, Stored, StoredError};
use crate::gateway::{Gateway, Incoming};

/// The largest answer that is read whole; the gateway relays none that is larger.
const ANSWER_LIMIT: usize = 64 * 1024 * 1024;

/// What serving needs.
pub struct Serving<'a> {
    pub gateway: &'a Arc<Gateway>,
    pub stored: &'a Arc<Stored>,
    pub background: &'a Arc<Background>,
}

impl Serving<'_> {
    /// Serves one generation. Dropping the future means that the client has left.
    ///
    /// # Errors
    /// What is refused for reasons of stored objects; all else is the gateway's answer.
    pub async fn serve(&self, incoming: Incoming) -> Result<Response, StoredError> {
        if incoming.protocol == Protocol::Messages {
            return Ok(self.gateway.serve(incoming).await);
        }
        let Ok(request) = ParsedRequest::parse(incoming.protocol, &incoming.body) else {
            // The gateway finds the same fault, and words it.
            return Ok(self.gateway.serve(incoming).await);
        };
        let owner = Owner::from(incoming.payee);
        let previous = request.previous_response_id.clone();
        let expanded = self.stored.expand(owner, &request).await?;
        let body = expanded.clone().unwrap_or_else(|| request.body().clone());
        let request = match expanded {
            None => request,
            Some(body) => match ParsedRequest::parse(incoming.protocol, &body) {
                Ok(expanded) => expanded,
                Err(_) => return Ok(self.gateway.serve(Incoming { body, ..incoming }).await),
            },
        };
        if request.background {
            return self.background.start(&request, previous, incoming).await;
        }
        let keep = Keep::of(self.stored, owner, &request, previous)?;
        let response = self.gateway.serve(Incoming { body, parsed: Some(request), ..incoming }).await;
        match keep {
            Some(keep) if response.status() == StatusCode::OK => Ok(self.keep(keep, response).await),
            Some(_) | None => Ok(response),
        }
    }

    async fn keep(&self, keep: Keep, response: Response) -> Response {
        let (head, body) = response.into_parts();
        let content_type = head.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
        if content_type.is_some_and(|kind| kind.starts_with("text/event-stream")) {
            let recorder = Recorder::new(Arc::clone(self.stored), keep, body);
            let frames = futures::stream::unfold(recorder, Recorder::next);
            return Response::from_parts(head, Body::new(StreamBody::new(frames.map(Ok::<_, Infallible>))));
        }
        // It is in memory already; only a fault of ours could keep it from being read.
        let body = to_bytes(body, ANSWER_LIMIT).await.unwrap_or_default();
        let body = restated_body(body, &keep.restated());
        keep.keep(self.stored, body.clone(), None).await;
        Response::from_parts(head, Body::from(body))
    }
}

/// Passes a stream on, and keeps what it adds up to before its last frame is out, so that a client may
/// fetch it the moment it has heard that it is finished.
struct Recorder {
    stored: Arc<Stored>,
    members: Vec<(&'static str, String)>,
    /// Until it is kept.
    open: Option<(Keep, Assembler)>,
    splitter: SseSplitter,
    body: Option<Body>,
}

impl Recorder {
    fn new(stored: Arc<Stored>, keep: Keep, body: Body) -> Self {
        Self {
            members: keep.restated(),
            open: Some((keep.clone(), keep.assembler(&stored))),
            stored,
            splitter: SseSplitter::default(),
            body: Some(body),
        }
    }

    async fn next(mut self) -> Option<(BodyFrame<Bytes>, Self)> {
        loop {
            let mut frames = Vec::new();
            match self.body.as_mut()?.frame().await {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(chunk) if self.splitter.push(&chunk, &mut frames).is_ok() => {}
                    // The gateway's streams have no frames of that size.
                    Ok(_) => return None,
                    Err(trailers) => return Some((trailers, self)),
                },
                // The gateway's streams end well.
                Some(Err(_)) => return None,
                None => {
                    self.body = None;
                    frames.extend(std::mem::take(&mut self.splitter).finish());
                }
            }
            let piece = self.pass(frames).await;
            if !piece.is_empty() {
                return Some((BodyFrame::data(piece), self));
            }
        }
    }

    async fn pass(&mut self, frames: Vec<Frame>) -> Bytes {
        let mut piece = BytesMut::new();
        for frame in frames {
            if let Some((_, assembler)) = &mut self.open {
                assembler.observe(&frame);
            }
            piece.extend_from_slice(&match self.members.is_empty() {
                true => frame.bytes().clone(),
                false => restate_event(&frame, &self.members),
            });
        }
        let complete = self.open.as_ref().is_some_and(|(_, assembler)| assembler.is_complete());
        if let Some((keep, assembler)) = self.open.take_if(|_| complete)
            && let Some(whole) = assembler.finish()
        {
            let whole = restated_body(whole, &self.members);
            keep.keep(&self.stored, whole, None).await;
        }
        piece.freeze()
    }
}

//! A page of the log as one JetStream message, and back.
//!
//! The headers say where the page stands (its last position, its predecessor, the epoch), so that a reader sees a
//! hole without reading the body; the body is the events themselves.

use std::borrow::Cow;

use async_nats::HeaderMap;
use async_nats::header::{HeaderName, NATS_EXPECTED_LAST_SEQUENCE, NATS_MESSAGE_ID};
use bytes::Bytes;
use codexapi_aggregates::event::{AnyEvent, DecodeError, Metadata, RecordedEvent};
use codexapi_aggregates::time::Timestamp;
use codexapi_projections::Entry;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use uuid::Uuid;

use crate::event_log::read::StoredEvent;

/// What an event takes besides payload and metadata, most of the time.
const TYPICAL_ENVELOPE_BYTES: usize = 384;

static POSITION: HeaderName = HeaderName::from_static("Codexapi-Position");
static PREVIOUS_POSITION: HeaderName = HeaderName::from_static("Codexapi-Previous-Position");
static EPOCH: HeaderName = HeaderName::from_static("Codexapi-Epoch");
static EVENT_ID: HeaderName = HeaderName::from_static("Codexapi-Event-Id");

/// Where a message stands in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Of its last event.
    pub position: i64,
    /// The position of the event before its first in the log; 0 where there is none.
    pub previous_position: i64,
    /// Rises each time the stream is made anew; messages of an older one are void.
    pub epoch: i64,
    /// Of its last event.
    pub event_id: Uuid,
}

#[derive(Debug, thiserror::Error)]
pub enum MessageError {
    #[error("header {0} is missing or not what this version writes")]
    Header(&'static HeaderName),
    #[error("body: {0}")]
    Body(#[from] serde_json::Error),
    #[error("it has no headers")]
    NoHeaders,
}

#[derive(Serialize, Deserialize)]
struct Body<'a> {
    position: i64,
    event_id: Uuid,
    #[serde(borrow)]
    aggregate_type: Cow<'a, str>,
    #[serde(borrow)]
    aggregate_id: Cow<'a, str>,
    sequence: i64,
    #[serde(borrow)]
    event_type: Cow<'a, str>,
    recorded_at: Timestamp,
    #[serde(borrow)]
    payload: &'a RawValue,
    #[serde(borrow)]
    metadata: &'a RawValue,
}

impl<'a> Body<'a> {
    fn of(event: &'a StoredEvent) -> serde_json::Result<Self> {
        Ok(Self {
            position: event.position,
            event_id: event.event_id,
            aggregate_type: event.aggregate_type.as_str().into(),
            aggregate_id: event.aggregate_id.as_str().into(),
            sequence: event.sequence,
            event_type: event.event_type.as_str().into(),
            recorded_at: event.recorded_at,
            payload: serde_json::from_str(&event.payload)?,
            metadata: serde_json::from_str(&event.metadata)?,
        })
    }

    fn recorded(&self, metadata: Metadata) -> Result<RecordedEvent, DecodeError> {
        Ok(RecordedEvent {
            position: self.position,
            event_id: self.event_id,
            aggregate_id: self.aggregate_id.clone().into_owned(),
            sequence: self.sequence,
            recorded_at: self.recorded_at,
            metadata,
            event: AnyEvent::decode(&self.aggregate_type, self.payload.get().as_bytes())?,
        })
    }

    /// The event, or that this build cannot read it: whether that matters is the projection's to say.
    fn entry(&self) -> serde_json::Result<Entry> {
        let recorded = self.recorded(serde_json::from_str(self.metadata.get())?);
        Ok(recorded.map_or_else(
            |error| Entry::Unreadable {
                position: self.position,
                aggregate_type: self.aggregate_type.clone().into_owned(),
                error: error.to_string(),
            },
            Entry::from,
        ))
    }
}

/// The message for consecutive `events` that end at `place`; the stream refuses it unless its last sequence is
/// `expected_last_sequence`.
///
/// # Errors
/// Where what is stored of an event is no JSON.
pub fn encode(
    events: &[StoredEvent],
    place: Place,
    expected_last_sequence: u64,
) -> Result<(HeaderMap, Bytes), serde_json::Error> {
    let body = events.iter().map(Body::of).collect::<Result<Vec<_>, _>>()?;
    let mut headers = HeaderMap::new();
    headers.insert(NATS_MESSAGE_ID, format!("{}:{}", place.epoch, place.position));
    headers.insert(NATS_EXPECTED_LAST_SEQUENCE, expected_last_sequence.to_string());
    headers.insert(POSITION.clone(), place.position.to_string());
    headers.insert(PREVIOUS_POSITION.clone(), place.previous_position.to_string());
    headers.insert(EPOCH.clone(), place.epoch.to_string());
    headers.insert(EVENT_ID.clone(), place.event_id.to_string());
    let bytes =
        events.iter().map(|event| event.payload.len() + event.metadata.len() + TYPICAL_ENVELOPE_BYTES).sum();
    let mut text = Vec::with_capacity(bytes);
    serde_json::to_writer(&mut text, &body)?;
    Ok((headers, text.into()))
}

/// Where the message with these headers stands.
pub fn place(headers: &HeaderMap) -> Result<Place, MessageError> {
    Ok(Place {
        position: header(headers, &POSITION)?,
        previous_position: header(headers, &PREVIOUS_POSITION)?,
        epoch: header(headers, &EPOCH)?,
        event_id: header(headers, &EVENT_ID)?,
    })
}

/// The events in a message's body, in order.
///
/// # Errors
/// Where this version has not written it.
pub fn decode(payload: &[u8]) -> Result<Vec<Entry>, MessageError> {
    let bodies: Vec<Body<'_>> = serde_json::from_slice(payload)?;
    Ok(bodies.iter().map(Body::entry).collect::<Result<_, _>>()?)
}

fn header<T: std::str::FromStr>(headers: &HeaderMap, name: &'static HeaderName) -> Result<T, MessageError> {
    headers.get(name.clone()).and_then(|value| value.as_str().parse().ok()).ok_or(MessageError::Header(name))
}

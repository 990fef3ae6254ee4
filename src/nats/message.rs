//! A stored event as a JetStream message, and back.
//!
//! The headers say where the event stands (position, predecessor, epoch), so that a reader sees a
//! hole without reading the payload; the body is the event itself.

use async_nats::HeaderMap;
use async_nats::header::{
    HeaderName, NATS_EXPECTED_LAST_MESSAGE_ID, NATS_EXPECTED_LAST_SEQUENCE, NATS_MESSAGE_ID,
};
use bytes::Bytes;
use codexapi_aggregates::event::{AnyEvent, DecodeError, Metadata, RecordedEvent};
use codexapi_aggregates::time::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use uuid::Uuid;

use crate::event_log::read::StoredEvent;

static POSITION: HeaderName = HeaderName::from_static("Codexapi-Position");
static PREVIOUS_POSITION: HeaderName = HeaderName::from_static("Codexapi-Previous-Position");
static EPOCH: HeaderName = HeaderName::from_static("Codexapi-Epoch");
static EVENT_ID: HeaderName = HeaderName::from_static("Codexapi-Event-Id");

/// Where a message stands in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    pub position: i64,
    /// The position of the event before it in the log; 0 for the first. Holes make it differ from
    /// `position − 1`.
    pub previous_position: i64,
    /// Rises each time the stream is made anew; messages of an older one are void.
    pub epoch: i64,
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
    #[error("an event of {aggregate_type} that this build cannot read: {source}")]
    Event { aggregate_type: String, source: DecodeError },
}

#[derive(Serialize, Deserialize)]
struct Body<'a> {
    #[serde(borrow)]
    aggregate_type: std::borrow::Cow<'a, str>,
    #[serde(borrow)]
    aggregate_id: std::borrow::Cow<'a, str>,
    sequence: i64,
    recorded_at: Timestamp,
    #[serde(borrow)]
    payload: &'a RawValue,
    #[serde(borrow)]
    metadata: &'a RawValue,
}

/// The message for `event`, whose predecessor in the log is at `previous_position`; the stream
/// refuses it unless its last sequence is `expected_last_sequence`, and, where it `follows_ours`, unless its last
/// message is the predecessor's.
pub fn encode(
    event: &StoredEvent,
    previous_position: i64,
    epoch: i64,
    expected_last_sequence: u64,
    follows_ours: bool,
) -> Result<(HeaderMap, Bytes), serde_json::Error> {
    let body = Body {
        aggregate_type: event.aggregate_type.as_str().into(),
        aggregate_id: event.aggregate_id.as_str().into(),
        sequence: event.sequence,
        recorded_at: event.recorded_at,
        payload: serde_json::from_str(&event.payload)?,
        metadata: serde_json::from_str(&event.metadata)?,
    };
    let mut headers = HeaderMap::new();
    headers.insert(NATS_MESSAGE_ID, message_id(epoch, event.position));
    if follows_ours {
        headers.insert(NATS_EXPECTED_LAST_MESSAGE_ID, message_id(epoch, previous_position));
    }
    headers.insert(NATS_EXPECTED_LAST_SEQUENCE, expected_last_sequence.to_string());
    headers.insert(POSITION.clone(), event.position.to_string());
    headers.insert(PREVIOUS_POSITION.clone(), previous_position.to_string());
    headers.insert(EPOCH.clone(), epoch.to_string());
    headers.insert(EVENT_ID.clone(), event.event_id.to_string());
    Ok((headers, serde_json::to_vec(&body)?.into()))
}

fn message_id(epoch: i64, position: i64) -> String {
    format!("{epoch}:{position}")
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

/// The event in a message's body.
pub fn decode(place: Place, payload: &[u8]) -> Result<RecordedEvent, MessageError> {
    let body: Body<'_> = serde_json::from_slice(payload)?;
    let metadata: Metadata = serde_json::from_str(body.metadata.get())?;
    let unreadable =
        |source| MessageError::Event { aggregate_type: body.aggregate_type.clone().into_owned(), source };
    let event = AnyEvent::decode(&body.aggregate_type, body.payload.get().as_bytes()).map_err(unreadable)?;
    Ok(RecordedEvent {
        position: place.position,
        event_id: place.event_id,
        aggregate_id: body.aggregate_id.clone().into_owned(),
        sequence: body.sequence,
        recorded_at: body.recorded_at,
        metadata,
        event,
    })
}

fn header<T: std::str::FromStr>(headers: &HeaderMap, name: &'static HeaderName) -> Result<T, MessageError> {
    headers.get(name.clone()).and_then(|value| value.as_str().parse().ok()).ok_or(MessageError::Header(name))
}

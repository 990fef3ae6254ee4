//! Publishing a page: few messages, each fenced by the sequence it follows and acknowledged before the next.

use anyhow::Context;
use async_nats::jetstream::context::{PublishError, PublishErrorKind};

use super::Checkpoint;
use crate::event_log::read::StoredEvent;
use crate::nats::Nats;
use crate::nats::message::{self, Place};

/// What a message may take where it holds more than one event: half of what a server accepts by default.
const MESSAGE_BYTES: usize = 512 * 1024;

/// What an event takes in a message besides payload and metadata, at most.
const MOST_ENVELOPE_BYTES: usize = 1_024;

/// The stream is not in the state this relay left it in: wiped, made anew, or written by another.
#[derive(Debug, thiserror::Error)]
pub(super) enum LostPlace {
    #[error("the stream is missing")]
    StreamMissing,
    #[error("the stream does not end with sequence {expected}")]
    WrongLastSequence { expected: i64 },
    #[error("whether position {position} was stored is unknown")]
    OutcomeUnknown { position: i64 },
    #[error("position {position} was taken for a duplicate of stream sequence {sequence}")]
    Duplicate { position: i64, sequence: u64 },
    /// An old server does not fence a stream's first message.
    #[error("position {position} became stream sequence {sequence}: the stream has messages of someone else")]
    Intruder { position: i64, sequence: u64 },
    #[error("JetStream refuses, {doing}: {cause}")]
    Refused { doing: String, cause: String },
}

/// Publishes `page`, which follows `cursor` in the log, and returns the cursor after its last
/// acknowledgement. What a failed page has stored is found again from the stream's last message.
pub(super) async fn publish_page(
    nats: &Nats,
    mut cursor: Checkpoint,
    mut page: &[StoredEvent],
) -> anyhow::Result<Checkpoint> {
    while !page.is_empty() {
        let (events, rest) = page.split_at(fitting(page));
        cursor = publish_message(nats, cursor, events).await?;
        page = rest;
    }
    Ok(cursor)
}

/// How many events from the front share a message; at least one.
fn fitting(page: &[StoredEvent]) -> usize {
    let mut bytes = 0;
    let within = page.iter().take_while(|event| {
        bytes += event.payload.len() + event.metadata.len() + MOST_ENVELOPE_BYTES;
        bytes <= MESSAGE_BYTES
    });
    within.count().max(1)
}

async fn publish_message(
    nats: &Nats,
    cursor: Checkpoint,
    events: &[StoredEvent],
) -> anyhow::Result<Checkpoint> {
    let last = events.last().context("a message without events")?;
    let place = Place {
        position: last.position,
        previous_position: cursor.position,
        epoch: cursor.epoch,
        event_id: last.event_id,
    };
    let (headers, body) = message::encode(events, place, u64::try_from(cursor.stream_sequence)?)?;
    let moved = Checkpoint {
        epoch: cursor.epoch,
        position: last.position,
        event_id: Some(last.event_id),
        stream_sequence: cursor.stream_sequence + 1,
    };
    let sent = nats.jetstream().publish_with_headers(nats.names.pages(), headers, body).await;
    let ack = sent.map_err(|error| lost(&moved, error))?.await.map_err(|error| lost(&moved, error))?;
    let position = moved.position;
    if ack.duplicate {
        return Err(LostPlace::Duplicate { position, sequence: ack.sequence }.into());
    }
    if i64::try_from(ack.sequence)? != moved.stream_sequence {
        return Err(LostPlace::Intruder { position, sequence: ack.sequence }.into());
    }
    Ok(moved)
}

fn lost(place: &Checkpoint, error: PublishError) -> anyhow::Error {
    match error.kind() {
        PublishErrorKind::StreamNotFound => LostPlace::StreamMissing.into(),
        PublishErrorKind::WrongLastSequence => {
            LostPlace::WrongLastSequence { expected: place.stream_sequence - 1 }.into()
        }
        PublishErrorKind::TimedOut | PublishErrorKind::BrokenPipe => {
            LostPlace::OutcomeUnknown { position: place.position }.into()
        }
        PublishErrorKind::WrongLastMessageId
        | PublishErrorKind::MaxAckPending
        | PublishErrorKind::MaxPayloadExceeded
        | PublishErrorKind::Other => {
            let doing = format!("publishing position {}", place.position);
            LostPlace::Refused { doing, cause: error.to_string() }.into()
        }
    }
}

#[cfg(test)]
mod tests {
    use codexapi_aggregates::time::Timestamp;

    use super::*;
    use crate::clock;

    fn event(payload_bytes: usize) -> StoredEvent {
        StoredEvent {
            position: 1,
            event_id: clock::new_id(),
            aggregate_type: "purse".into(),
            aggregate_id: "p".into(),
            sequence: 1,
            event_type: "purse.filled".into(),
            event_version: "1".into(),
            payload: format!("{:?}", "x".repeat(payload_bytes)),
            metadata: "{}".into(),
            hash: vec![7; 32],
            recorded_at: Timestamp(5),
        }
    }

    fn message_bytes(events: &[StoredEvent]) -> usize {
        let place = Place { position: 1, previous_position: 0, epoch: 1, event_id: events[0].event_id };
        message::encode(events, place, 0).expect("JSON").1.len()
    }

    #[test]
    fn a_message_takes_as_many_events_as_fit() {
        for payload_bytes in [0, 1_000, 200_000] {
            let page = vec![event(payload_bytes); 2_000];
            let first = fitting(&page);
            assert!(message_bytes(&page[..first]) <= MESSAGE_BYTES, "{first} of {payload_bytes} bytes");
            assert!(first > 1);
        }
        assert_eq!(fitting(&vec![event(0); 3]), 3);
    }

    #[test]
    fn an_event_beyond_the_limit_goes_alone() {
        assert_eq!(fitting(&[event(MESSAGE_BYTES), event(0)]), 1);
        assert_eq!(fitting(&[event(0), event(MESSAGE_BYTES)]), 1);
    }
}

//! Publishing a page: each message fenced by what it follows, the last one acknowledged.
//!
//! The first names the sequence it follows, which the server knows after a restart, too. Each further one also
//! names the message before it: a stranger's message in the place of one of ours would have its sequence. So where
//! one is not taken none after it is, and one acknowledgement speaks for all.

use anyhow::Context;
use async_nats::HeaderMap;
use async_nats::jetstream::context::{PublishError, PublishErrorKind};
use bytes::Bytes;

use super::Checkpoint;
use crate::event_log::read::StoredEvent;
use crate::nats::{Nats, message};

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
}

/// Publishes `page`, which follows `cursor` in the log, and returns the cursor after its last
/// acknowledgement. What a failed page has stored is found again from the stream's last message.
pub(super) async fn publish_page(
    nats: &Nats,
    mut cursor: Checkpoint,
    page: &[StoredEvent],
) -> anyhow::Result<Checkpoint> {
    let Some((last, before)) = page.split_last() else { return Ok(cursor) };
    for (event, number) in before.iter().zip(0..) {
        let (headers, body) = encode(event, &cursor, number > 0)?;
        let subject = nats.names.subject(&event.event_type);
        nats.client.publish_with_headers(subject, headers, body).await.context("publishing to NATS")?;
        cursor = after(event, &cursor);
    }
    let (headers, body) = encode(last, &cursor, !before.is_empty())?;
    cursor = after(last, &cursor);
    let position = cursor.position;
    let (jetstream, subject) = (nats.jetstream(), nats.names.subject(&last.event_type));
    let sent = jetstream.publish_with_headers(subject, headers, body).await;
    let ack = sent.map_err(|error| lost(&cursor, error))?.await.map_err(|error| lost(&cursor, error))?;
    if ack.duplicate {
        return Err(LostPlace::Duplicate { position, sequence: ack.sequence }.into());
    }
    if i64::try_from(ack.sequence)? != cursor.stream_sequence {
        return Err(LostPlace::Intruder { position, sequence: ack.sequence }.into());
    }
    Ok(cursor)
}

fn encode(
    event: &StoredEvent,
    cursor: &Checkpoint,
    follows_ours: bool,
) -> anyhow::Result<(HeaderMap, Bytes)> {
    let expected = u64::try_from(cursor.stream_sequence)?;
    Ok(message::encode(event, cursor.position, cursor.epoch, expected, follows_ours)?)
}

/// The place of `event`, which follows `cursor`.
fn after(event: &StoredEvent, cursor: &Checkpoint) -> Checkpoint {
    Checkpoint {
        epoch: cursor.epoch,
        position: event.position,
        event_id: Some(event.event_id),
        stream_sequence: cursor.stream_sequence + 1,
    }
}

fn lost(place: &Checkpoint, error: PublishError) -> anyhow::Error {
    match error.kind() {
        PublishErrorKind::StreamNotFound => LostPlace::StreamMissing.into(),
        PublishErrorKind::WrongLastSequence | PublishErrorKind::WrongLastMessageId => {
            LostPlace::WrongLastSequence { expected: place.stream_sequence - 1 }.into()
        }
        PublishErrorKind::TimedOut | PublishErrorKind::BrokenPipe => {
            LostPlace::OutcomeUnknown { position: place.position }.into()
        }
        PublishErrorKind::MaxAckPending | PublishErrorKind::MaxPayloadExceeded | PublishErrorKind::Other => {
            anyhow::Error::new(error).context(format!("publishing position {}", place.position))
        }
    }
}

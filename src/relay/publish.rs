//! Publishing a page: many publishes under way, each fenced by the sequence it expects to follow.

use async_nats::jetstream::context::{PublishAckFuture, PublishError, PublishErrorKind};

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
    let jetstream = nats.jetstream();
    let mut under_way: Vec<(Checkpoint, PublishAckFuture)> = Vec::with_capacity(page.len());
    for event in page {
        let expected = u64::try_from(cursor.stream_sequence)?;
        let publish = message::encode(event, cursor.position, cursor.epoch, expected)?;
        let subject = nats.names.subject(&event.event_type);
        let ack = jetstream.send_publish(subject, publish).await.map_err(|error| lost(&cursor, error))?;
        cursor = Checkpoint {
            epoch: cursor.epoch,
            position: event.position,
            event_id: Some(event.event_id),
            stream_sequence: cursor.stream_sequence + 1,
        };
        under_way.push((cursor, ack));
    }
    for (place, ack) in under_way {
        let ack = ack.await.map_err(|error| lost(&place, error))?;
        let (position, sequence) = (place.position, ack.sequence);
        if ack.duplicate {
            return Err(LostPlace::Duplicate { position, sequence }.into());
        }
        if i64::try_from(sequence)? != place.stream_sequence {
            return Err(LostPlace::Intruder { position, sequence }.into());
        }
    }
    Ok(cursor)
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
            anyhow::Error::new(error).context(format!("publishing position {}", place.position))
        }
    }
}

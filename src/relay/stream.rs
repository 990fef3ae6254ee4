//! Finding the relay's place: does the stream hold this log, and up to where?
//!
//! The stream's last message says what was published last. If the log has that very event there, the
//! relay goes on after it, whatever its checkpoint says. If the log does not (Postgres was restored
//! from a backup), or nothing can be known, the stream is made anew under a higher epoch, and begins
//! at the log's end. What a stream lacks, projections read from the log.

use std::time::Duration;

use anyhow::Context as _;
use async_nats::jetstream::context::GetStreamErrorKind;
use async_nats::jetstream::stream::{
    Config, DiscardPolicy, Info, RawMessageErrorKind, RetentionPolicy, StorageType, Stream,
};
use async_nats::jetstream::{self, ErrorCode};
use sqlx::PgPool;
use uuid::Uuid;

use super::checkpoint;
use super::publish::LostPlace;
use super::{Checkpoint, PAGE};
use crate::advisory_lock::SessionLock;
use crate::event_log::read::{self, SHARD};
use crate::nats::message::{self, Place};
use crate::nats::{Nats, NatsNames};

/// How long JetStream keeps messages; the log itself is for ever.
const KEPT_FOR: Duration = Duration::from_secs(24 * 3_600);

/// How much JetStream keeps.
const KEPT_BYTES: i64 = 2 * 1024 * 1024 * 1024;

/// How long JetStream recognises a message id that it has seen.
const DUPLICATE_WINDOW: Duration = Duration::from_secs(120);

const EPOCH_NOTE: &str = "epoch ";

/// How much of a stream is believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Trust {
    /// If its last message is this log's, so are all before it.
    LastMessage,
    /// It is known to hold messages of someone else.
    Nothing,
}

/// The place to publish after. Makes the stream where it is missing or holds another log.
pub(super) async fn find_place(
    pool: &PgPool,
    nats: &Nats,
    lock: &mut SessionLock,
    trust: Trust,
) -> anyhow::Result<Checkpoint> {
    lock.confirm().await?;
    let saved = checkpoint::load(lock.connection()).await?;
    let jetstream = nats.jetstream();
    let found = find_stream(&jetstream, &nats.names).await?;
    let known_epoch = saved.map_or(0, |saved| saved.epoch);
    let (info, last) = match found {
        None => {
            return make_anew(pool, nats, lock, known_epoch, "it is missing").await;
        }
        Some(stream) => {
            let last = match last_message(&stream).await {
                Ok(last) => last,
                // What is not believed need not be readable.
                Err(_) if trust == Trust::Nothing => None,
                Err(failure) => return Err(failure),
            };
            (stream.cached_info().clone(), last)
        }
    };
    let stream_sequence = i64::try_from(info.state.last_sequence)?;
    let noted = noted_epoch(&info);
    let highest_epoch = known_epoch.max(noted.unwrap_or(0)).max(last.map_or(0, |last| last.epoch));
    let place = match (saved, last) {
        _ if trust == Trust::Nothing => None,
        (Some(saved), Some(last)) => {
            let same = last.epoch == saved.epoch && is_in_log(pool, &last).await?;
            same.then_some(Checkpoint {
                epoch: saved.epoch,
                position: last.position,
                event_id: Some(last.event_id),
                stream_sequence,
            })
        }
        // Everything has aged out, or nothing was published yet.
        (Some(saved), None) => {
            let same = noted == Some(saved.epoch) && saved.stream_sequence == stream_sequence;
            (same && is_saved_in_log(pool, &saved).await?).then_some(saved)
        }
        (None, _) => None,
    };
    match place {
        Some(place) => {
            let place = past_backlog(pool, place).await?;
            checkpoint::save(lock.connection(), &place).await?;
            Ok(place)
        }
        None => {
            let why = match trust {
                Trust::LastMessage => "it holds another log than this database",
                Trust::Nothing => "it cannot be gone on with",
            };
            make_anew(pool, nats, lock, highest_epoch, why).await
        }
    }
}

/// `place`, or the log's end where that is more than a page on: after an hour without NATS the projections have long read
/// that hour from the log, and publishing it all at once would have the disk to itself while commits wait.
async fn past_backlog(pool: &PgPool, place: Checkpoint) -> sqlx::Result<Checkpoint> {
    let last = read::last(pool, SHARD).await?;
    let Some((position, event_id)) = last.filter(|(last, _)| last - place.position > PAGE as i64) else {
        return Ok(place);
    };
    tracing::info!(after = place.position, up_to = position, "a backlog is left to the log");
    Ok(Checkpoint { position, event_id: Some(event_id), ..place })
}

/// Replaces the stream by an empty one under the next epoch, which begins at the log's end.
async fn make_anew(
    pool: &PgPool,
    nats: &Nats,
    lock: &mut SessionLock,
    highest_epoch: i64,
    why: &str,
) -> anyhow::Result<Checkpoint> {
    let last = read::last(pool, SHARD).await?;
    let place = Checkpoint {
        epoch: highest_epoch + 1,
        position: last.map_or(0, |(position, _)| position),
        event_id: last.map(|(_, event_id)| event_id),
        stream_sequence: 0,
    };
    // The epoch is saved first: after a crash in between the stream is made anew once more.
    checkpoint::save(lock.connection(), &place).await?;
    let jetstream = nats.jetstream();
    let name = nats.names.stream();
    if find_stream(&jetstream, &nats.names).await?.is_some() {
        jetstream.delete_stream(&name).await.context("deleting the stream")?;
    }
    jetstream.create_stream(config(&nats.names, place.epoch)).await.context("making the stream")?;
    tracing::info!(
        stream = name,
        epoch = place.epoch,
        after_position = place.position,
        why,
        "the stream is made anew"
    );
    Ok(place)
}

fn config(names: &NatsNames, epoch: i64) -> Config {
    Config {
        name: names.stream(),
        description: Some(format!("{EPOCH_NOTE}{epoch}")),
        subjects: vec![names.subjects()],
        retention: RetentionPolicy::Limits,
        discard: DiscardPolicy::Old,
        storage: StorageType::File,
        max_age: KEPT_FOR,
        max_bytes: KEPT_BYTES,
        duplicate_window: DUPLICATE_WINDOW,
        num_replicas: 1,
        ..Config::default()
    }
}

async fn find_stream(jetstream: &jetstream::Context, names: &NatsNames) -> anyhow::Result<Option<Stream>> {
    match jetstream.get_stream(names.stream()).await {
        Ok(stream) => Ok(Some(stream)),
        Err(error) => match error.kind() {
            GetStreamErrorKind::JetStream(answer) if answer.error_code() == ErrorCode::STREAM_NOT_FOUND => {
                Ok(None)
            }
            _ => Err(error).context("looking for the stream"),
        },
    }
}

/// Where the last message stands; `None` where the stream is empty or the message is not ours.
async fn last_message(stream: &Stream) -> anyhow::Result<Option<Place>> {
    let state = &stream.cached_info().state;
    if state.messages == 0 {
        return Ok(None);
    }
    match stream.get_raw_message(state.last_sequence).await {
        Ok(message) => Ok(message::place(&message.headers).ok()),
        Err(error) => {
            let doing = "reading the stream's last message";
            Err(match error.kind() {
                // None: a store whose files are gone counts messages that it has no more.
                RawMessageErrorKind::JetStream(_) | RawMessageErrorKind::NoMessageFound => {
                    LostPlace::Refused { doing: doing.into(), cause: error.to_string() }.into()
                }
                RawMessageErrorKind::InvalidSubject | RawMessageErrorKind::Other => {
                    anyhow::Error::new(error).context(doing)
                }
            })
        }
    }
}

fn noted_epoch(info: &Info) -> Option<i64> {
    info.config.description.as_deref()?.strip_prefix(EPOCH_NOTE)?.parse().ok()
}

async fn is_in_log(pool: &PgPool, place: &Place) -> sqlx::Result<bool> {
    has_event(pool, place.position, place.event_id).await
}

async fn is_saved_in_log(pool: &PgPool, saved: &Checkpoint) -> sqlx::Result<bool> {
    match saved.event_id {
        Some(event_id) => has_event(pool, saved.position, event_id).await,
        None => Ok(saved.position == 0),
    }
}

/// Whether the log has this very event at this very position.
pub(crate) async fn has_event(pool: &PgPool, position: i64, event_id: Uuid) -> sqlx::Result<bool> {
    sqlx::query_scalar("SELECT EXISTS (SELECT FROM events WHERE position = $1 AND event_id = $2)")
        .bind(position)
        .bind(event_id)
        .fetch_one(pool)
        .await
}

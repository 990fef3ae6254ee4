//! Holding a stream: its lock, with its state loaded and caught up.

use std::borrow::Cow;
use std::sync::Arc;

use tokio::sync::OwnedMutexGuard;

use super::{Call, CommandError, LiveAggregate};
use crate::event_log::{Inner, Live, Loaded, Reads, Slot, Snapshot, StreamKey, Unread, load};

/// A stream whose lock is held and whose state is loaded.
pub(super) struct Held {
    pub slot: Arc<Slot>,
    pub live: OwnedMutexGuard<Option<Live>>,
}

pub(super) fn stream_key<A: LiveAggregate>(id: &str) -> StreamKey {
    StreamKey { aggregate_type: Cow::Borrowed(A::TYPE), aggregate_id: id.into() }
}

/// Locks in the order of the keys, so that two commands never wait for each other.
pub(super) async fn hold_streams<A: LiveAggregate, B: LiveAggregate, R>(
    log: &Inner<impl Reads>,
    first_id: &str,
    second_id: Option<&str>,
    call: Call<'_>,
) -> Result<(Held, Option<Held>), CommandError<R>> {
    let Call { fresh, single_use, .. } = call;
    let first_key = stream_key::<A>(first_id);
    let Some(second_id) = second_id else {
        return Ok((hold_first::<A, R>(log, &first_key, fresh[0], single_use).await?, None));
    };
    let second_key = stream_key::<B>(second_id);
    assert_ne!(first_key, second_key, "a pair is of two streams");
    if first_key < second_key {
        let first = hold_first::<A, R>(log, &first_key, fresh[0], single_use).await?;
        let second = hold::<B, R>(log, &second_key, fresh[1]).await?;
        Ok((first, Some(second)))
    } else {
        let second = hold::<B, R>(log, &second_key, fresh[1]).await?;
        let first = hold_first::<A, R>(log, &first_key, fresh[0], single_use).await?;
        Ok((first, Some(second)))
    }
}

async fn hold_first<A: LiveAggregate, R>(
    log: &Inner<impl Reads>,
    key: &StreamKey,
    fresh: bool,
    single_use: bool,
) -> Result<Held, CommandError<R>> {
    if !(fresh && single_use) {
        return hold::<A, R>(log, key, fresh).await;
    }
    // Known to nobody else, so that it is gone with the command.
    let slot = Slot::unlisted(key.clone());
    let mut live = slot.lock().await;
    *live = Some(load::empty::<A>());
    Ok(Held { slot, live })
}

pub(super) async fn hold<A: LiveAggregate, R>(
    log: &Inner<impl Reads>,
    key: &StreamKey,
    fresh: bool,
) -> Result<Held, CommandError<R>> {
    loop {
        let slot = log.cache.slot(key);
        let mut live = slot.lock().await;
        if slot.progress().dead {
            continue;
        }
        let all_committed = live.as_ref().is_none_or(|live| slot.progress().committed >= live.sequence);
        // With events on their way, catching up must wait; if they collide, the slot dies anyway.
        if live.is_none() || (all_committed && slot.take_stale()) {
            slot.take_stale();
            let known = live.take();
            let loaded = if fresh && known.is_none() {
                load::empty::<A>()
            } else {
                catch_up::<A>(log, key, known).await?
            };
            slot.loaded(loaded.sequence);
            *live = Some(loaded);
        }
        return Ok(Held { slot, live });
    }
}

/// Folds what is stored after `known`, read by read. Of a long stream a snapshot is kept as it goes, so that a caller
/// who leaves has not waited in vain, and the next one need not.
async fn catch_up<A: LiveAggregate>(
    log: &Inner<impl Reads>,
    key: &StreamKey,
    mut known: Option<Live>,
) -> Result<Live, Unread> {
    loop {
        let Loaded { mut live, goes_on } = log.reader.load::<A>(key, known, log.load_at_once).await?;
        if let Some(snapshot) = snapshot_due::<A>(log, key, &live)
            && log.snapshots.try_send(snapshot).is_ok()
        {
            live.snapshot_sequence = live.sequence;
        }
        if !goes_on {
            return Ok(live);
        }
        known = Some(live);
    }
}

/// The state, where enough has happened since it was last handed over to be kept.
pub(super) fn snapshot_due<A: LiveAggregate>(
    log: &Inner<impl Reads>,
    key: &StreamKey,
    live: &Live,
) -> Option<Snapshot> {
    let due = live.sequence - live.snapshot_sequence >= log.snapshot_every;
    due.then(|| Snapshot::of::<A>(key, live)).flatten()
}

impl Held {
    pub(super) fn live(&self) -> &Live {
        self.live.as_ref().expect("a held stream is loaded")
    }

    pub(super) fn state<A: LiveAggregate>(&self) -> &A {
        self.live().state.downcast_ref().expect("a stream is folded by one aggregate only")
    }

    pub(super) fn version(&self) -> (Arc<Slot>, i64) {
        (Arc::clone(&self.slot), self.live().sequence)
    }
}

//! Live aggregates, each behind its own lock, with what the next event of its stream needs.
//!
//! A slot's state runs ahead of Postgres by what is queued. When a queued event cannot be stored, the
//! slot is *dead*: it leaves the cache for good, whoever decided on it decides anew, and the next
//! command loads a fresh one. A slot that another node has overtaken is *stale*: it catches up in place.

use std::any::Any;
use std::borrow::Cow;
use std::collections::hash_map::Entry;
use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use codexapi_aggregates::time::Timestamp;
use tokio::sync::{OwnedMutexGuard, watch};

/// Idle slots looked at per insertion when the cache is full; what is in use is never evicted.
const EVICTION_SCAN: usize = 64;

/// Names a stream. Locks of several streams are taken in this order.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct StreamKey {
    pub aggregate_type: Cow<'static, str>,
    pub aggregate_id: Arc<str>,
}

/// An aggregate's state after its last decided event, which may not be committed yet.
pub(crate) struct Live {
    pub state: Box<dyn Any + Send + Sync>,
    pub sequence: i64,
    pub last_hash: [u8; 32],
    pub last_recorded_at: Timestamp,
    /// The sequence up to which a snapshot was last handed over.
    pub snapshot_sequence: i64,
}

#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Progress {
    /// The last sequence known to be committed.
    pub committed: i64,
    /// The last sequence that came by loading; what is committed beyond it, this process has written.
    pub loaded: i64,
    pub dead: bool,
}

/// One incarnation of a stream in the cache.
pub(crate) struct Slot {
    pub key: StreamKey,
    live: Arc<tokio::sync::Mutex<Option<Live>>>,
    progress: watch::Sender<Progress>,
    stale: AtomicBool,
    used: AtomicBool,
}

impl Slot {
    fn new(key: StreamKey) -> Self {
        Self {
            key,
            live: Arc::default(),
            progress: watch::Sender::new(Progress::default()),
            stale: AtomicBool::new(false),
            used: AtomicBool::new(true),
        }
    }

    /// A slot that the cache does not know of; the stream's sequence alone guards it.
    pub fn unlisted(key: StreamKey) -> Arc<Self> {
        Arc::new(Self::new(key))
    }

    /// The stream's lock; `None` inside means not loaded.
    pub async fn lock(&self) -> OwnedMutexGuard<Option<Live>> {
        Arc::clone(&self.live).lock_owned().await
    }

    pub fn progress(&self) -> Progress {
        *self.progress.borrow()
    }

    /// Notes that `sequence` is committed, and wakes who waits for it.
    pub fn committed(&self, sequence: i64) {
        self.progress.send_if_modified(|progress| {
            let moved = sequence > progress.committed;
            progress.committed = progress.committed.max(sequence);
            moved
        });
    }

    /// Notes that the stream was loaded up to `sequence`.
    pub fn loaded(&self, sequence: i64) {
        self.progress.send_modify(|progress| {
            progress.loaded = sequence;
            progress.committed = progress.committed.max(sequence);
        });
    }

    /// Waits until `sequence` is committed. False where the slot died, so that it never will be.
    pub async fn wait_committed(&self, sequence: i64) -> bool {
        let mut progress = self.progress.subscribe();
        let settled = progress.wait_for(|progress| progress.dead || progress.committed >= sequence).await;
        let settled = settled.expect("the sender lives in self");
        !settled.dead
    }

    /// Another process has written to the stream.
    pub fn mark_stale(&self) {
        self.stale.store(true, Ordering::Release);
    }

    /// Whether the slot must catch up; asking takes the mark away.
    pub fn take_stale(&self) -> bool {
        self.stale.swap(false, Ordering::AcqRel)
    }
}

pub(crate) struct Cache {
    capacity: usize,
    streams: Mutex<Streams>,
}

#[derive(Default)]
struct Streams {
    by_key: HashMap<StreamKey, Arc<Slot>>,
    /// In order of insertion, a second chance for what was used since; may hold dead slots for a while.
    ring: VecDeque<Arc<Slot>>,
}

impl Cache {
    pub fn new(capacity: usize) -> Self {
        Self { capacity: capacity.max(1), streams: Mutex::default() }
    }

    /// The stream's slot, made if need be. A slot is not evicted while its `Arc` is held.
    pub fn slot(&self, key: &StreamKey) -> Arc<Slot> {
        let mut streams = self.streams();
        match streams.by_key.entry(key.clone()) {
            Entry::Occupied(found) => {
                found.get().used.store(true, Ordering::Relaxed);
                Arc::clone(found.get())
            }
            Entry::Vacant(vacant) => {
                let slot = Arc::clone(vacant.insert(Arc::new(Slot::new(key.clone()))));
                streams.ring.push_back(Arc::clone(&slot));
                streams.evict_beyond(self.capacity);
                slot
            }
        }
    }

    /// Ends a slot: nothing more can be decided on it.
    pub fn kill(&self, slot: &Arc<Slot>) {
        let mut streams = self.streams();
        if streams.by_key.get(&slot.key).is_some_and(|current| Arc::ptr_eq(current, slot)) {
            streams.by_key.remove(&slot.key);
        }
        slot.progress.send_modify(|progress| progress.dead = true);
    }

    /// Makes cached streams catch up where `last_sequence` is beyond what this process has committed.
    pub fn mark_stale(&self, aggregate_type: &str, aggregate_id: &str, last_sequence: i64) {
        let streams = self.streams();
        let key = StreamKey {
            aggregate_type: Cow::Owned(aggregate_type.into()),
            aggregate_id: aggregate_id.into(),
        };
        if let Some(slot) = streams.by_key.get(&key)
            && slot.progress().committed < last_sequence
        {
            slot.mark_stale();
        }
    }

    /// Makes every cached stream catch up: something may have been written unseen.
    pub fn mark_all_stale(&self) {
        self.streams().by_key.values().for_each(|slot| slot.mark_stale());
    }

    pub fn len(&self) -> usize {
        self.streams().by_key.len()
    }

    /// Nothing done under this lock can leave the map half changed.
    fn streams(&self) -> MutexGuard<'_, Streams> {
        self.streams.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Streams {
    fn evict_beyond(&mut self, capacity: usize) {
        for _ in 0..EVICTION_SCAN {
            if self.ring.len() <= capacity {
                return;
            }
            let Some(slot) = self.ring.pop_front() else { return };
            if slot.progress().dead {
                continue;
            }
            // The map and the ring hold one each; a third is a command at work or an event in the queue.
            let idle = Arc::strong_count(&slot) == 2;
            if idle && !slot.used.swap(false, Ordering::Relaxed) {
                self.by_key.remove(&slot.key);
            } else {
                self.ring.push_back(slot);
            }
        }
    }
}

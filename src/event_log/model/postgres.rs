//! Postgres as the log knows it, in memory: its two unique keys, batches stored whole or not at all, and
//! trouble on the way there and back.

use std::future::poll_fn;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::Poll;
use std::time::Duration;

use codexapi_aggregates::time::Timestamp;
use cqrs_es::Aggregate;
use shuttle::future::{JoinHandle, spawn, yield_now};

use super::purse::{Moved, Purse};
use super::trouble::{Trouble, Troubles};
use crate::clock;
use crate::event_log::cache::{Cache, Live, StreamKey};
use crate::event_log::chain::CHAIN_START;
use crate::event_log::idempotency::{IdempotencyKey, StoredKey, WrittenRange};
use crate::event_log::load::{self, Loaded};
use crate::event_log::queue::{Append, NewEvent, keys_of};
use crate::event_log::read::StoredEvent;
use crate::event_log::reads::{Reads, Unread};
use crate::event_log::writes::{Failure, Stored, Writes};

#[derive(Clone)]
pub struct Postgres(Arc<Shared>);

struct Shared {
    tables: Mutex<Tables>,
    grain: Grain,
    troubles: Mutex<Troubles>,
    /// Whether a batch was lost and could not be looked up.
    lost_from_sight: AtomicBool,
    /// Server processes whose connection was lost.
    at_work: Mutex<Vec<JoinHandle<()>>>,
}

#[derive(Default)]
pub struct Tables {
    /// In the order of their positions.
    pub events: Vec<StoredEvent>,
    pub keys: Vec<Key>,
    last_position: i64,
}

pub struct Key {
    pub key: IdempotencyKey,
    pub streams: Vec<WrittenRange>,
}

/// Where tasks can change besides where one waits for another.
#[derive(Clone, Copy, Debug)]
pub enum Grain {
    /// Before and after whatever reaches Postgres.
    Fine,
    /// Before and after a commit alone, so that all schedules can be run.
    Coarse,
}

/// By whom the purses were filled to begin with.
const GIVEN: usize = 500;

/// Another task may run here.
async fn point() {
    let mut passed = false;
    poll_fn(|context| {
        if std::mem::replace(&mut passed, true) {
            return Poll::Ready(());
        }
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

impl Postgres {
    /// With `balance` in each of the purses.
    pub fn holding(purses: &[(&str, i64)], grain: Grain, troubles: Troubles) -> Self {
        let mut tables = Tables::default();
        for (by, (purse, balance)) in purses.iter().enumerate() {
            let by = GIVEN + by;
            let moved = Moved { by, part: 0, amount: *balance, balance: *balance, malformed: false };
            let mut event = StoredEvent {
                position: 0,
                event_id: clock::new_id(),
                aggregate_type: Purse::TYPE.into(),
                aggregate_id: (*purse).into(),
                sequence: 1,
                event_type: "purse.moved".into(),
                event_version: "1".into(),
                payload: serde_json::to_string(&moved).expect("JSON"),
                metadata: "{}".into(),
                hash: vec![],
                recorded_at: Timestamp(0),
            };
            event.hash = event.expected_hash(&CHAIN_START).expect("canonical").to_vec();
            tables.append(vec![event], vec![]).expect("stored");
        }
        Self(Arc::new(Shared {
            tables: Mutex::new(tables),
            grain,
            troubles: Mutex::new(troubles),
            lost_from_sight: AtomicBool::new(false),
            at_work: Mutex::default(),
        }))
    }

    pub fn tables(&self) -> MutexGuard<'_, Tables> {
        self.0.tables.lock().expect("no panic while it is held")
    }

    pub fn lost_from_sight(&self) -> bool {
        self.0.lost_from_sight.load(Ordering::Relaxed)
    }

    /// Waits for what is still at work.
    pub async fn settled(&self) {
        let at_work = std::mem::take(&mut *self.0.at_work.lock().expect("no panic while it is held"));
        for process in at_work {
            process.await.expect("not aborted");
        }
    }

    fn troubles(&self) -> MutexGuard<'_, Troubles> {
        self.0.troubles.lock().expect("no panic while it is held")
    }

    /// Another task may run here, unless all schedules are to be run.
    pub async fn fine_point(&self) {
        if let Grain::Fine = self.0.grain {
            point().await;
        }
    }

    async fn read<T>(&self, read: impl FnOnce(&Tables) -> T) -> Result<T, Unread> {
        self.fine_point().await;
        if self.troubles().of_read() {
            return Err(Unread::Away("away".into()));
        }
        let read = read(&self.tables());
        self.fine_point().await;
        Ok(read)
    }
}

impl Tables {
    pub fn stream<'a>(&'a self, id: &'a str) -> impl Iterator<Item = &'a StoredEvent> {
        self.events.iter().filter(move |event| event.aggregate_id == id)
    }

    pub fn last_sequence(&self, id: &str) -> i64 {
        self.stream(id).last().map_or(0, |event| event.sequence)
    }

    fn key_is_taken(&self, key: &IdempotencyKey) -> bool {
        self.keys.iter().any(|stored| same(&stored.key, key))
    }

    fn append(&mut self, events: Vec<StoredEvent>, keys: Vec<Key>) -> Result<Vec<i64>, Failure> {
        let (events_before, keys_before) = (self.events.len(), self.keys.len());
        let stored = self.append_rows(events, keys);
        if stored.is_err() {
            self.events.truncate(events_before);
            self.keys.truncate(keys_before);
        }
        stored
    }

    fn append_rows(&mut self, events: Vec<StoredEvent>, keys: Vec<Key>) -> Result<Vec<i64>, Failure> {
        let mut positions = vec![];
        if events.iter().any(|event| moved(event).malformed) {
            return Err(Failure::Data { reason: "malformed".into() });
        }
        for mut event in events {
            // A failed statement leaves its positions unused.
            self.last_position += 1;
            if self.stream(&event.aggregate_id).any(|stored| stored.sequence == event.sequence) {
                return Err(Failure::SequenceTaken);
            }
            event.position = self.last_position;
            positions.push(event.position);
            self.events.push(event);
        }
        for key in keys {
            if self.key_is_taken(&key.key) {
                return Err(Failure::KeyTaken);
            }
            self.keys.push(key);
        }
        Ok(positions)
    }
}

pub fn moved(event: &StoredEvent) -> Moved {
    serde_json::from_str(&event.payload).expect("a purse's event")
}

fn same(one: &IdempotencyKey, other: &IdempotencyKey) -> bool {
    (one.command, &one.account, &one.key) == (other.command, &other.account, &other.key)
}

impl Reads for Postgres {
    async fn load<A: Aggregate + 'static>(
        &self,
        key: &StreamKey,
        known: Option<Live>,
        most: i64,
    ) -> Result<Loaded, Unread> {
        let mut live = known.unwrap_or_else(load::empty::<A>);
        let after = live.sequence;
        let read = |tables: &Tables| {
            let newer = tables.stream(&key.aggregate_id).filter(|event| event.sequence > after);
            newer.take(usize::try_from(most).expect("a few")).cloned().collect::<Vec<_>>()
        };
        let newer = self.read(read).await?;
        let goes_on = i64::try_from(newer.len()) == Ok(most);
        for event in newer {
            let state = live.state.downcast_mut::<A>().expect("a purse");
            state.apply(serde_json::from_str(&event.payload).expect("a purse's event"));
            live.sequence = event.sequence;
            live.last_hash = event.hash.try_into().expect("a hash");
            live.last_recorded_at = live.last_recorded_at.max(event.recorded_at);
        }
        Ok(Loaded { live, goes_on })
    }

    async fn last_sequences(&self, streams: &[&StreamKey]) -> Result<Vec<i64>, Unread> {
        self.read(|tables| streams.iter().map(|key| tables.last_sequence(&key.aggregate_id)).collect()).await
    }

    async fn find_key(&self, key: &IdempotencyKey) -> Result<Option<StoredKey>, Unread> {
        self.read(|tables| {
            let found = tables.keys.iter().find(|stored| same(&stored.key, key))?;
            let Key { key, streams } = found;
            Some(StoredKey { inputs_digest: key.inputs_digest.to_vec(), streams: streams.clone() })
        })
        .await
    }

    async fn written(&self, range: &WrittenRange) -> Result<Vec<StoredEvent>, Unread> {
        self.read(|tables| {
            let stream = tables.stream(&range.aggregate_id);
            stream.filter(|event| (range.first..=range.last).contains(&event.sequence)).cloned().collect()
        })
        .await
    }

    /// Nobody listens.
    async fn tell_of_turn(&self, _: &str) {}

    async fn pause(&self, _: Duration) {
        yield_now().await;
    }
}

/// The writer's connection.
pub struct Connection {
    pub postgres: Postgres,
    pub cache: Arc<Cache>,
    /// Set to end a server process whose connection was lost.
    pub orphans: Vec<Arc<AtomicBool>>,
    pub announced: Mutex<i64>,
}

impl Connection {
    fn append(&self, batch: &[Append]) -> Result<Vec<i64>, Failure> {
        let (events, keys) = rows(batch);
        self.postgres.tables().append(events, keys)
    }

    fn leave_at_work(&mut self, batch: &[Append]) {
        let ended = Arc::new(AtomicBool::new(false));
        self.orphans.push(Arc::clone(&ended));
        let (postgres, (events, keys)) = (self.postgres.clone(), rows(batch));
        let process = spawn(async move {
            point().await;
            if !ended.load(Ordering::Relaxed) {
                let _nobody_hears = postgres.tables().append(events, keys);
            }
        });
        self.postgres.0.at_work.lock().expect("no panic while it is held").push(process);
    }
}

impl Writes for Connection {
    async fn store(&mut self, batch: &[Append]) -> Result<Vec<i64>, Failure> {
        point().await;
        let trouble = self.postgres.troubles().of_batch();
        let lost = Err(Failure::OutcomeUnknown { context: "lost".into() });
        match trouble {
            Some(Trouble::Away) => Err(Failure::Away(anyhow::anyhow!("away"))),
            Some(Trouble::Transient) => Err(Failure::Transient { context: "transient".into() }),
            Some(Trouble::SequenceWasTaken) => Err(Failure::SequenceTaken),
            Some(Trouble::KeyWasTaken) => Err(Failure::KeyTaken),
            Some(Trouble::LostBeforeCommit) => lost,
            Some(Trouble::LostAfterCommit) => {
                let _nobody_hears = self.append(batch);
                point().await;
                lost
            }
            Some(Trouble::LostAtWork) => {
                self.leave_at_work(batch);
                lost
            }
            None => {
                let stored = self.append(batch);
                point().await;
                stored
            }
        }
    }

    async fn last_sequences(&mut self, _: &[&str], ids: &[&str]) -> anyhow::Result<Vec<i64>> {
        let last = |tables: &Tables| ids.iter().map(|id| tables.last_sequence(id)).collect();
        self.postgres.read(last).await.map_err(|unread| anyhow::anyhow!("{unread:?}"))
    }

    async fn taken_keys(&mut self, keys: &[&IdempotencyKey]) -> anyhow::Result<Vec<bool>> {
        let taken = |tables: &Tables| keys.iter().map(|key| tables.key_is_taken(key)).collect();
        self.postgres.read(taken).await.map_err(|unread| anyhow::anyhow!("{unread:?}"))
    }

    async fn look_up(&mut self, batch: &[Append]) -> anyhow::Result<Stored> {
        self.postgres.fine_point().await;
        if self.postgres.troubles().of_look_up() {
            self.postgres.0.lost_from_sight.store(true, Ordering::Relaxed);
            anyhow::bail!("away");
        }
        self.orphans.drain(..).for_each(|ended| ended.store(true, Ordering::Relaxed));
        point().await;
        let batch_has = |stored: &&StoredEvent| {
            batch.iter().flat_map(|append| &append.events).any(|event| event.event_id == stored.event_id)
        };
        let tables = self.postgres.tables();
        let stored = tables.events.iter().filter(batch_has);
        let positions = stored.map(|event| (event.event_id, event.position)).collect();
        let keys = keys_of(batch).into_iter().map(|key| tables.key_is_taken(key)).collect();
        Ok(Stored { positions, keys })
    }

    async fn pause(&mut self, _: Duration) {
        yield_now().await;
    }

    fn cache(&self) -> &Cache {
        &self.cache
    }

    fn committed(&self, events: Vec<(i64, NewEvent)>) {
        for (position, event) in events {
            let tables = self.postgres.tables();
            let stored = tables.events.iter().find(|stored| stored.position == position);
            assert_eq!(stored.map(|stored| stored.event_id), Some(event.event_id), "told of what is stored");
            drop(tables);
            self.announce(position);
        }
    }

    fn announce(&self, position: i64) {
        let mut announced = self.announced.lock().expect("no panic while it is held");
        assert!(position > *announced, "{position} is announced after {announced}");
        *announced = position;
    }
}

fn rows(batch: &[Append]) -> (Vec<StoredEvent>, Vec<Key>) {
    let events = batch.iter().flat_map(|append| &append.events).map(row);
    let keys = batch.iter().filter_map(|append| append.key.as_ref());
    let keys = keys.map(|new| Key { key: new.key.clone(), streams: new.streams.clone() });
    (events.collect(), keys.collect())
}

fn row(event: &NewEvent) -> StoredEvent {
    StoredEvent {
        position: 0,
        event_id: event.event_id,
        aggregate_type: event.stream.aggregate_type.to_string(),
        aggregate_id: event.stream.aggregate_id.to_string(),
        sequence: event.sequence,
        event_type: event.event_type.clone(),
        event_version: event.event_version.clone(),
        payload: event.payload.clone(),
        metadata: event.metadata.to_string(),
        hash: event.hash.to_vec(),
        recorded_at: event.recorded_at,
    }
}

//! One process of the service: the real commands, cache, queue and rules over the model's Postgres.

use std::collections::HashMap;
use std::future::poll_fn;
use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::task::Poll;

use codexapi_aggregates::event::Metadata;
use shuttle::future::{JoinHandle, spawn};
use tokio::sync::{broadcast, mpsc, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::postgres::{Connection, Postgres};
use super::purse::{Ask, Moved, Purse, TooLittle};
use crate::commands::{Call, CommandError, Committed};
use crate::event_log::cache::Cache;
use crate::event_log::idempotency::{IdempotencyKey, KeyTurns};
use crate::event_log::{Inner, Recent, Turns, Unannounced, conflict};

/// The purses there are.
pub const PURSES: [&str; 2] = ["one", "two"];

#[derive(Clone)]
pub struct Process {
    pub log: Arc<Inner<Postgres>>,
}

/// What a command was told: what it left in each of its streams.
pub type Answer = Result<Vec<Committed<Moved>>, CommandError<TooLittle>>;

/// A command, and how it ended.
#[derive(Debug)]
pub struct Asked {
    /// The same for all who bring the same key.
    pub by: usize,
    pub ask: Ask,
    /// None where the caller left before.
    pub answer: Option<Answer>,
    /// The purses' last sequences when it was asked and when it was answered.
    pub from: HashMap<&'static str, i64>,
    pub to: HashMap<&'static str, i64>,
}

impl Process {
    pub fn start(postgres: &Postgres, queue: usize, live_streams: usize) -> (Self, JoinHandle<()>) {
        let cache = Arc::new(Cache::new(live_streams));
        let (queue, queued) = mpsc::channel(queue);
        let mut writer = Connection {
            postgres: postgres.clone(),
            cache: Arc::clone(&cache),
            orphans: vec![],
            announced: Mutex::new(0),
        };
        let writer = spawn(async move { conflict::write_queued(&mut writer, queued).await });
        let log = Inner {
            reader: postgres.clone(),
            cache,
            queue,
            // Nobody takes them: a snapshot may be missing.
            snapshots: mpsc::channel(1).0,
            snapshot_every: i64::MAX,
            load_at_once: 2,
            key_turns: KeyTurns::default(),
            turns: Arc::new(Turns::new("a process".into())),
            unanswered: TaskTracker::new(),
            appended: watch::Sender::new(0),
            recent: Arc::<Recent>::default(),
            unannounced: Unannounced::by("model"),
            written_elsewhere: broadcast::Sender::new(1),
            _stop_tasks: CancellationToken::new().drop_guard(),
        };
        (Self { log: Arc::new(log) }, writer)
    }

    /// Runs a command; its caller leaves when it has waited `patience` times.
    pub async fn ask(&self, by: usize, ask: Ask, patience: usize) -> Asked {
        self.log.reader.fine_point().await;
        let from = last_sequences(&self.log.reader);
        let answer = for_a_while(self.answer(by, ask), patience).await;
        Asked { by, ask, answer, from, to: last_sequences(&self.log.reader) }
    }

    async fn answer(&self, by: usize, ask: Ask) -> Answer {
        let (first, second) = ask.streams();
        let metadata = Metadata::process("model");
        let call = Call::new(&metadata);
        let decide = |first: &Purse, second: Option<&Purse>, _| {
            ask.decide(by, first, second).map(|(first, second)| (first, second, ()))
        };
        let (first, second) = match ask.key() {
            None => {
                let (first, second_done, ()) = self.log.run(first, second, call, None, decide).await?;
                (first, second.map(|_| second_done))
            }
            Some(key) => {
                let (first, _, _) = self.log.run_once(first, None, call, named(key), decide).await?;
                (first, None)
            }
        };
        Ok([Some(first), second].into_iter().flatten().collect())
    }

    /// Hears of what others have written, as often as `times`.
    pub async fn hear(self, times: usize) {
        for _ in 0..times {
            self.log.reader.fine_point().await;
            for (purse, last) in last_sequences(&self.log.reader) {
                self.log.cache.mark_stale("purse", purse, last);
            }
        }
    }
}

pub fn last_sequences(postgres: &Postgres) -> HashMap<&'static str, i64> {
    let tables = postgres.tables();
    PURSES.iter().map(|purse| (*purse, tables.last_sequence(purse))).collect()
}

pub fn named(key: usize) -> IdempotencyKey {
    IdempotencyKey {
        command: "model",
        account: "system".into(),
        key: key.to_string(),
        inputs_digest: [7; 32],
        keep_forever: true,
    }
}

/// The future's result, unless it has waited so often before; then it is dropped where it stands.
async fn for_a_while<T>(future: impl Future<Output = T>, mut patience: usize) -> Option<T> {
    let mut future = pin!(future);
    poll_fn(|context| match future.as_mut().poll(context) {
        Poll::Ready(result) => Poll::Ready(Some(result)),
        Poll::Pending if patience == 0 => Poll::Ready(None),
        Poll::Pending => {
            patience -= 1;
            Poll::Pending
        }
    })
    .await
}

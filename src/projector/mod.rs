//! Keeps every read model at the log's head.
//!
//! The feed only says what is new, quickly; the log is what counts. So whatever does not fit (a hole, a silent feed, a wiped NATS)
//! ends in one answer: read the log from the checkpoint. No event is ever skipped.
//!
//! One node does this at a time, by a session advisory lock, and others stand by. That saves work
//! and is not what keeps the tables right: the checkpoint is (`codexapi_projections::apply`), so two
//! at once would only get in each other's way.

mod feed;
mod follow;

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::Duration;

use anyhow::Context;
use codexapi_projections::{ReadModel, checkpoint};
use sqlx::PgPool;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::advisory_lock::SessionLock;
use crate::event_log::read::{self, SHARD};

pub use feed::{Feed, FeedBatch, LogFeed};
pub(crate) use feed::{entries, entry};
use follow::Followers;

/// What the connections of a projector's pool call themselves.
pub const APPLICATION_NAME: &str = "codexapi read models";

/// Held by the node that projects.
const PROJECTOR_LOCK: i64 = 7_263_542_003;

/// How often a standby asks for the lock, and a leader whether it still holds it.
const LOCK_EVERY: Duration = Duration::from_secs(1);

/// A leader that is paused for so long has a successor; what doors know of keys must not stand still with it.
const LEADER_SILENT: Duration = Duration::from_secs(4);

/// How far a read model is behind the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lag {
    pub projection: String,
    /// Everything up to here is in its tables.
    pub position: i64,
    /// The log's last position.
    pub head: i64,
    /// Why it stands still, if this node tried to move it and could not.
    pub error: Option<String>,
}

impl Lag {
    /// Positions to go; at most this many events.
    pub fn positions(&self) -> i64 {
        (self.head - self.position).max(0)
    }
}

/// Follows the log into the read models.
pub struct Projector {
    pool: PgPool,
    appended: watch::Receiver<i64>,
    errors: Errors,
}

impl Projector {
    /// `pool` is the projector's own, under `APPLICATION_NAME`; `appended` changes whenever something was appended (`EventLog::appended`).
    pub fn new(pool: PgPool, appended: watch::Receiver<i64>) -> Self {
        Self { pool, appended, errors: Errors::default() }
    }

    /// Runs until `stop`; `feed` makes the feed, anew for each time that this node leads.
    pub async fn run<F: Feed>(&self, feed: impl Fn() -> F, stop: CancellationToken) {
        let leading = async {
            loop {
                match self.try_take_lock().await {
                    Ok(Some(lock)) => self.lead(lock, feed()).await,
                    Ok(None) => {}
                    Err(error) => {
                        tracing::warn!(error = format!("{error:#}"), "cannot ask for the projector's lock");
                    }
                }
                sleep(LOCK_EVERY).await;
            }
        };
        stop.run_until_cancelled(leading).await;
    }

    async fn try_take_lock(&self) -> anyhow::Result<Option<SessionLock>> {
        let Some(lock) = SessionLock::try_take(&self.pool, PROJECTOR_LOCK).await? else { return Ok(None) };
        let mut lock = lock.freed_after(LEADER_SILENT).await?;
        if let Err(error) = end_what_others_left(&mut lock).await {
            let error = format!("{error:#}");
            tracing::warn!(error, "what another node had begun to project may hold up the read models");
        }
        Ok(Some(lock))
    }

    /// How far each read model is behind, as Postgres knows it: true on every node. Asked through `pool`, that of who
    /// wants to know, so that it also says whether that one reaches Postgres.
    pub async fn lags(&self, pool: &PgPool) -> sqlx::Result<Vec<Lag>> {
        // Checkpoints first: a head read before them could lie behind them.
        let checkpoints = checkpoint::all(pool).await?;
        let head = read::head(pool, SHARD).await?;
        let lag = |checkpoint: checkpoint::Checkpoint| Lag {
            error: self.errors.of(&checkpoint.projection),
            projection: checkpoint.projection,
            position: checkpoint.position,
            head,
        };
        Ok(checkpoints.into_iter().map(lag).collect())
    }

    /// Follows the log until the lock is lost. Whatever a batch was doing then is rolled back, or
    /// committed with its checkpoint.
    async fn lead<F: Feed>(&self, mut lock: SessionLock, feed: F) {
        tracing::info!("projecting the event log");
        let lost = async {
            loop {
                sleep(LOCK_EVERY).await;
                if let Err(error) = lock.confirm().await {
                    return error;
                }
            }
        };
        tokio::select! {
            () = self.follow(feed) => {}
            error = lost => tracing::warn!(error = format!("{error:#}"), "no longer projecting"),
        }
        // Whoever projects now knows which read models stand; what stood here is old news.
        self.errors.forget();
    }

    async fn follow<F: Feed>(&self, feed: F) {
        let mut followers = Followers::new(self.pool.clone(), &self.errors, self.appended.clone(), feed);
        let mut pause = follow::FIRST_PAUSE;
        loop {
            let Err(error) = followers.follow().await;
            if followers.took_progress() {
                pause = follow::FIRST_PAUSE;
            }
            let error = format!("{error:#}");
            followers.together().iter().for_each(|model| self.errors.note(model, error.clone()));
            sleep(pause).await;
            pause = follow::LONGEST_PAUSE.min(pause * 2);
        }
    }
}

/// Ends the transactions of whoever projected before: paused or cut off in the middle of a COPY, it would hold the
/// checkpoints for as long as it stays away, and no timeout of Postgres sees that.
async fn end_what_others_left(lock: &mut SessionLock) -> anyhow::Result<()> {
    let ending = sqlx::query_scalar::<_, i64>(
        "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
         WHERE datname = current_database() AND application_name = $1 AND xact_start IS NOT NULL
           AND pid <> pg_backend_pid()",
    );
    let ended = timeout(LEADER_SILENT, ending.bind(APPLICATION_NAME).fetch_one(lock.connection())).await;
    let ended = ended.context("Postgres does not answer")?.context("ending what another left")?;
    if ended > 0 {
        tracing::warn!(transactions = ended, "ended what another node had begun to project");
    }
    Ok(())
}

/// Why read models stand still, by their names.
#[derive(Default)]
struct Errors(Mutex<BTreeMap<&'static str, String>>);

impl Errors {
    fn of(&self, projection: &str) -> Option<String> {
        self.0.lock().expect("no holder panics").get(projection).cloned()
    }

    /// Logs an error once, however often it recurs.
    fn note(&self, model: &'static ReadModel, error: String) {
        let mut errors = self.0.lock().expect("no holder panics");
        if errors.get(model.name) != Some(&error) {
            tracing::error!(projection = model.name, error, "a read model stands still; trying again");
            errors.insert(model.name, error);
        }
    }

    fn forget(&self) {
        self.0.lock().expect("no holder panics").clear();
    }

    fn clear(&self, model: &'static ReadModel) {
        let mut errors = self.0.lock().expect("no holder panics");
        if errors.remove(model.name).is_some() {
            tracing::info!(projection = model.name, "the read model moves on");
        }
    }
}

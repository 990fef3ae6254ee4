//! Publishes the event log to JetStream a page at a time: every event once, in order, and each page with the
//! position before it.
//!
//! The log is the outbox. One relay works at a time (a session advisory lock); every publish names
//! the stream sequence it expects to follow, so that a relay which has lost the lock without noticing
//! is refused by JetStream itself. The checkpoint moves after the acknowledgements, on the connection
//! that holds the lock.
//!
//! JetStream acknowledges before it has fsynced and may lose its data: that costs freshness, never an
//! event. Projections find their way by positions and read the log wherever a message is missing.

mod checkpoint;
mod publish;
mod stream;

use std::sync::Arc;
use std::time::Duration;

use sqlx::PgPool;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::advisory_lock::SessionLock;
use crate::crash_points;
use crate::event_log::read::{self, SHARD};
use crate::event_log::{Recent, StoredEvent};
use crate::nats::Nats;
pub use checkpoint::{Checkpoint, current_epoch};
use publish::LostPlace;
use stream::Trust;
pub(crate) use stream::has_event;

/// Held by the relay that works.
const RELAY_LOCK: i64 = 7_263_542_002;

/// A relay that is paused for so long has a successor; longer than publishing a page may take.
const LEADER_SILENT: Duration = Duration::from_secs(15);

/// Events read and published at a time.
pub const PAGE: usize = 2_000;

/// Pages that are not full begin at least this far apart: what comes meanwhile shares a page. A busy machine is spared no
/// work by longer ones, since its read models are still at the page before.
const PAGE_EVERY: Duration = Duration::from_millis(25);

/// A page of few events waits for so long. The first one after a while of rest waits for nothing.
const SMALL_PAGE_EVERY: Duration = Duration::from_millis(100);

/// Fewer are few.
const WORTH_A_PAGE: i64 = 50;

/// How often it is looked whether they are few still.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// The floor under every way of being woken.
pub const POLL: Duration = Duration::from_secs(1);

/// How long a connection may take before the relay says that it cannot publish.
const CONNECTED_WITHIN: Duration = Duration::from_secs(2);

/// After so many refusals in a row the stream is made anew: a store that has lost its files takes nothing any more, and
/// holds nothing that the log has not.
const REFUSALS: u32 = 5;

/// A relay that still cannot publish says so again after this.
const SAID_EVERY: Duration = Duration::from_secs(60);

const RETRY_FLOOR: Duration = Duration::from_millis(100);
const RETRY_CAP: Duration = Duration::from_secs(5);

/// What the relay is doing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RelayState {
    /// Another node's relay works, or none has started yet.
    #[default]
    Standby,
    Publishing,
    /// Postgres or NATS cannot be used, or JetStream takes nothing; the relay keeps trying.
    Retrying,
}

/// How far the relay is, for metrics and readiness.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RelayProgress {
    pub state: RelayState,
    /// The last position of the log that this relay has seen.
    pub head: i64,
    /// The last position that JetStream has acknowledged.
    pub position: i64,
}

impl RelayProgress {
    /// Positions not yet published; 0 on a node whose relay stands by.
    pub fn lag(&self) -> i64 {
        match self.state {
            RelayState::Standby => 0,
            RelayState::Publishing | RelayState::Retrying => (self.head - self.position).max(0),
        }
    }
}

/// Runs until `shutdown`, whatever happens to Postgres and NATS meanwhile. `appended` is
/// `EventLog::appended()`, which hears of this process's and of other nodes' appends, and `recent` what this
/// process has appended last; `progress` is kept up to date.
pub async fn run(
    pool: PgPool,
    nats: Nats,
    appended: watch::Receiver<i64>,
    recent: Arc<Recent>,
    progress: watch::Sender<RelayProgress>,
    shutdown: CancellationToken,
) {
    let mut relay = Relay { pool, nats, appended, recent, progress, refusals: 0, said: Instant::now() };
    let mut delay = RETRY_FLOOR;
    while !shutdown.is_cancelled() {
        let attempt = shutdown.run_until_cancelled(relay.lead(&mut delay)).await;
        let Some(Err(failure)) = attempt else { continue };
        relay.enter(RelayState::Retrying, Some(&failure));
        if shutdown.run_until_cancelled(tokio::time::sleep(delay)).await.is_none() {
            break;
        }
        delay = (delay * 2).min(RETRY_CAP);
    }
}

struct Relay {
    pool: PgPool,
    nats: Nats,
    appended: watch::Receiver<i64>,
    recent: Arc<Recent>,
    progress: watch::Sender<RelayProgress>,
    /// How often JetStream has refused since it last took something.
    refusals: u32,
    /// When it was last logged what the relay is doing.
    said: Instant,
}

impl Relay {
    /// Waits for the lock, finds its place, and publishes until something fails.
    async fn lead(&mut self, delay: &mut Duration) -> anyhow::Result<()> {
        let mut lock = self.become_leader().await?;
        let mut trust = Trust::LastMessage;
        loop {
            let result = self.publish_all(&mut lock, trust, delay).await;
            let Err(failure) = result else { continue };
            // A stream in another state than expected is looked at afresh, while the lock is held.
            trust = match failure.downcast_ref::<LostPlace>() {
                Some(LostPlace::Intruder { .. }) => Trust::Nothing,
                Some(LostPlace::Refused { .. }) => self.trust_after_refusal(),
                Some(_) => Trust::LastMessage,
                None => return Err(failure),
            };
            if lock.confirm().await.is_err() {
                return Err(failure);
            }
            if let Some(LostPlace::Refused { .. }) = failure.downcast_ref() {
                self.enter(RelayState::Retrying, Some(&failure));
            } else {
                tracing::warn!(cause = %failure, "the relay has lost its place and looks for it");
            }
            tokio::time::sleep(*delay).await;
            *delay = (*delay * 2).min(RETRY_CAP);
        }
    }

    fn trust_after_refusal(&mut self) -> Trust {
        self.refusals += 1;
        if self.refusals < REFUSALS {
            return Trust::LastMessage;
        }
        self.refusals = 0;
        Trust::Nothing
    }

    async fn become_leader(&mut self) -> anyhow::Result<SessionLock> {
        loop {
            if let Some(lock) = SessionLock::try_take(&self.pool, RELAY_LOCK).await? {
                return lock.freed_after(LEADER_SILENT).await;
            }
            self.enter(RelayState::Standby, None);
            tokio::time::sleep(POLL).await;
        }
    }

    async fn publish_all(
        &mut self,
        lock: &mut SessionLock,
        trust: Trust,
        delay: &mut Duration,
    ) -> anyhow::Result<()> {
        anyhow::ensure!(self.nats.connects_within(CONNECTED_WITHIN).await, "NATS is not connected");
        let mut cursor = stream::find_place(&self.pool, &self.nats, lock, trust).await?;
        self.report(cursor.position, cursor.position);
        // The checkpoint may lag behind the stream's last message, which is looked at on every start.
        sqlx::query("SET synchronous_commit = off").execute(lock.connection()).await?;
        loop {
            let began = Instant::now();
            let page = self.page_after(cursor.position).await?;
            let Some(last) = page.last() else {
                self.report(cursor.position, cursor.position);
                self.enter(RelayState::Publishing, None);
                lock.confirm().await?;
                self.wait_for_events().await;
                continue;
            };
            let more = page.len() == PAGE;
            let head = if more { read::head(&self.pool, SHARD).await? } else { last.position };
            self.report(head, cursor.position);
            cursor = publish::publish_page(&self.nats, cursor, &page).await?;
            crash_points::reached(crash_points::PUBLISHED);
            checkpoint::save(lock.connection(), &cursor).await?;
            self.report(head, cursor.position);
            self.enter(RelayState::Publishing, None);
            *delay = RETRY_FLOOR;
            self.refusals = 0;
            if !more {
                self.gather(cursor.position, began).await;
            }
        }
    }

    /// What follows `position` in the log: most of the time, what this process has just written.
    async fn page_after(&self, position: i64) -> sqlx::Result<Vec<StoredEvent>> {
        let recent = self.recent.take_after(position, PAGE);
        if !recent.is_empty() {
            return Ok(recent);
        }
        read::read_after(&self.pool, SHARD, position, PAGE as i64).await
    }

    /// Returns when the page after `position` is due; the one before it was begun at `began`.
    async fn gather(&mut self, position: i64, began: Instant) {
        tokio::time::sleep_until(began + PAGE_EVERY).await;
        while began.elapsed() < SMALL_PAGE_EVERY && *self.appended.borrow() - position < WORTH_A_PAGE {
            tokio::time::sleep(LOOK_EVERY).await;
        }
        // Of what was heard of together, another node's part may still be to be read.
        if *self.appended.borrow_and_update() <= position {
            self.wait_for_events().await;
        }
    }

    /// Returns when something was appended, and after `POLL` at the latest.
    async fn wait_for_events(&mut self) {
        let changed = tokio::time::timeout(POLL, self.appended.changed()).await;
        if matches!(changed, Ok(Err(_))) {
            // The log of this process has closed; other nodes still append.
            tokio::time::sleep(POLL).await;
        }
    }

    fn report(&self, head: i64, position: i64) {
        self.progress.send_modify(|progress| {
            progress.head = head.max(position);
            progress.position = position;
        });
    }

    /// Notes what the relay is doing. A change is logged, and a failure that lasts again after a while.
    fn enter(&mut self, state: RelayState, cause: Option<&anyhow::Error>) {
        // Nothing else tells how far behind the log a relay is that publishes nothing.
        let appended = *self.appended.borrow();
        let changed = self.progress.borrow().state != state;
        self.progress.send_if_modified(|progress| {
            progress.state = state;
            if state == RelayState::Retrying {
                progress.head = progress.head.max(appended);
            }
            changed
        });
        let lasts = state == RelayState::Retrying && self.said.elapsed() >= SAID_EVERY;
        if !(changed || lasts) {
            return;
        }
        self.said = Instant::now();
        match (state, cause) {
            (RelayState::Standby, _) => tracing::info!("the relay stands by: another one works"),
            (RelayState::Publishing, _) => tracing::info!("the relay publishes"),
            (RelayState::Retrying, cause) => {
                let cause = cause.map(|cause| format!("{cause:#}")).unwrap_or_default();
                tracing::warn!(cause, "the relay cannot publish and keeps trying");
            }
        }
    }
}

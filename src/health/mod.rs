//! Checks of providers: a tiny real generation at each target, through the gateway, at the operator's cost.
//!
//! A check goes the way of every generation, so that it is metered and settled like one, and so that its fate is the
//! circuit's: it closes an open circuit or prolongs it. Circuits are each node's own, because a provider that one
//! node cannot reach is only that node's to avoid; so every node checks for itself and signs what it found with its
//! name. One round of checks at a time runs on a node, whoever asked for it.

pub mod history;
mod probe;
mod targets;

use std::sync::Arc;

use codexapi_aggregates::routing::{HealthSettings, POLICY_STREAM, RoutingPolicy};
use sqlx::PgPool;
use tokio::sync::{Mutex, OwnedMutexGuard, Semaphore, mpsc};

use crate::event_log::EventLog;
use crate::gateway::Gateway;

pub use probe::{CheckClass, Checked};
pub use targets::{CheckTarget, Which};

/// Checks under way at a time.
const AT_ONCE: usize = 8;

/// Checks of one round.
pub const MOST_TARGETS: usize = 500;

/// Checks providers on this node.
pub struct Checks {
    gateway: Arc<Gateway>,
    log: EventLog,
    pool: PgPool,
    node: String,
    round: Arc<Mutex<()>>,
}

/// A round of checks under way; it goes on when this is dropped.
pub struct Round {
    pub targets: Vec<CheckTarget>,
    found: mpsc::Receiver<Checked>,
}

/// Why no round began.
#[derive(Debug, thiserror::Error)]
pub enum NotBegun {
    #[error("a round of checks is running on this node already")]
    Running,
    #[error("nothing that is configured and priced fits: there is nothing to check")]
    NoTarget,
    #[error("the policy cannot be read: {0:#}")]
    Unavailable(anyhow::Error),
}

impl Checks {
    pub fn new(gateway: Arc<Gateway>, log: EventLog, pool: PgPool, node: String) -> Self {
        Self { gateway, log, pool, node, round: Arc::default() }
    }

    /// The name this node signs with.
    pub fn node(&self) -> &str {
        &self.node
    }

    /// How providers are to be watched.
    ///
    /// # Errors
    /// The event log cannot be read.
    pub async fn settings(&self) -> anyhow::Result<HealthSettings> {
        self.log.read(POLICY_STREAM, |policy: &RoutingPolicy| policy.health().clone()).await
    }

    /// Begins to check `which` targets. `request_id` goes into the events that this leaves.
    ///
    /// # Errors
    /// One is running, or there is nothing to check.
    pub async fn begin(self: &Arc<Self>, which: &Which, request_id: &str) -> Result<Round, NotBegun> {
        let turn = self.round.clone().try_lock_owned().map_err(|_| NotBegun::Running)?;
        let settings = self.settings().await.map_err(NotBegun::Unavailable)?;
        let mut targets = self.targets(which).await.map_err(NotBegun::Unavailable)?;
        if targets.is_empty() {
            return Err(NotBegun::NoTarget);
        }
        if targets.len() > MOST_TARGETS {
            tracing::warn!(targets = targets.len(), most = MOST_TARGETS, "some targets are not checked");
            targets.truncate(MOST_TARGETS);
        }
        // As many places as results: telling never waits for whoever listens.
        let (tell, found) = mpsc::channel(targets.len());
        let (checks, round, request_id) = (self.clone(), targets.clone(), request_id.to_owned());
        tokio::spawn(async move { checks.run(round, settings, request_id, tell, turn).await });
        Ok(Round { targets, found })
    }

    async fn run(
        self: Arc<Self>,
        targets: Vec<CheckTarget>,
        settings: HealthSettings,
        request_id: String,
        tell: mpsc::Sender<Checked>,
        _turn: OwnedMutexGuard<()>,
    ) {
        let places = Arc::new(Semaphore::new(AT_ONCE));
        let settings = Arc::new(settings);
        let mut under_way = tokio::task::JoinSet::new();
        for target in targets {
            let place = places.clone().acquire_owned().await.expect("the semaphore is never closed");
            let (checks, settings) = (self.clone(), settings.clone());
            let (request_id, tell) = (request_id.clone(), tell.clone());
            under_way.spawn(async move {
                let checked = checks.check(target, &settings, &request_id).await;
                if let Err(error) = history::keep(&checks.pool, &checks.node, &checked).await {
                    tracing::warn!(%error, "a check was not noted in the history");
                }
                let _nobody_listens = tell.send(checked).await.is_err();
                drop(place);
            });
        }
        while let Some(ended) = under_way.join_next().await {
            if let Err(error) = ended {
                tracing::error!(%error, "a check ended by a panic");
            }
        }
    }
}

impl Round {
    /// What the next check that ended has found; `None` after the last one.
    pub async fn next(&mut self) -> Option<Checked> {
        self.found.recv().await
    }
}

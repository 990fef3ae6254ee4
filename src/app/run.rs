//! Running a built service: what starts, in which order, and how it ends.

use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use tokio::net::TcpListener;
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::App;
use crate::event_log::{idempotency, seal};
use crate::feed::JetStreamFeed;
use crate::listener::{self, Limits};
use crate::nodes::listener::Desk;
use crate::nodes::{self, members};
use crate::processes::lease::Lease;
use crate::processes::rewards::Rewards;
use crate::processes::sweeper::{Sweeper, SweeperSettings};
use crate::processes::{auto_topup, health, long_wallets, reconciler, waking};
use crate::{clock, http, metrics, relay, stored};

/// How often idempotency keys that are not kept for ever are looked over.
const PURGE_EVERY: Duration = Duration::from_secs(3_600);

/// How long such a key is kept.
const KEYS_KEPT_SECS: i64 = 30 * 86_400;

/// What the read models' consumer is called in JetStream.
const READ_MODELS_FEED: &str = "read_models";

/// A node that has missed so many renewals of its lease is nobody's home any more; it is dead only when it lapses.
const MISSED_RENEWALS: u32 = 3;

/// What was cut off is settled, and its clients are told, within this time.
const LAST_WORDS: Duration = Duration::from_secs(10);

impl App {
    /// Answers requests and follows the log until `stop`, then finishes what is running. `ready` is
    /// told the address once requests are answered.
    ///
    /// # Errors
    /// The node's name or a listener's address is taken, the node's name was taken over meanwhile, or
    /// what was running did not end in time.
    pub async fn serve(
        self: &Arc<Self>,
        stop: CancellationToken,
        ready: impl FnOnce(SocketAddr),
    ) -> anyhow::Result<()> {
        listener::files::allow(self.config.connections.client_connections);
        let listener = bind("CODEXAPI_LISTEN", self.config.http.listen).await?;
        let metrics_listener = bind("CODEXAPI_METRICS_LISTEN", self.config.http.metrics_listen).await?;
        let address = listener.local_addr()?;
        let address = *self.listening.get_or_init(|| address);
        let node_listener = match self.config.node.node_listen {
            Some(address) => Some(bind("CODEXAPI_NODE_LISTEN", address).await?),
            None => None,
        };
        let reached_at = node_listener.as_ref().map(|listener| self.reached_at(listener)).transpose()?;
        let (database, name) = (self.config.database.url.reveal(), &self.config.node.node_name);
        let mut lease =
            Lease::take(self.pool.clone(), database, name, self.incarnation, reached_at.as_deref()).await?;

        // What the end of a generation needs goes on until the last generation has ended.
        let background = CancellationToken::new();
        let processes = self.start_processes(&background);
        if let Some(listener) = node_listener {
            self.join_nodes(listener, &processes, &background);
        }
        tracing::info!(%address, node = name, "listening");
        ready(address);
        let renew = Duration::from_secs(self.config.wallet.lease_renew_seconds.into());
        let work = async {
            let cut_off_at = self.answer(listener, metrics_listener, stop.clone()).await;
            self.finish(cut_off_at).await
        };
        let outcome = tokio::select! {
            finished = work => finished,
            superseded = lease.keep(renew, background.clone()) => {
                let finished = self.finish(Instant::now() + self.shutdown_deadline()).await;
                superseded.map_err(anyhow::Error::from).and(finished)
            }
        };
        background.cancel();
        processes.close();
        processes.wait().await;
        lease.end().await.context("ending the lease")?;
        outcome
    }

    /// Answers requests until `stop`, and then those that are being answered; what is not finished by the deadline is
    /// cut off. Returns when that is.
    async fn answer(
        self: &Arc<Self>,
        listener: TcpListener,
        metrics_listener: TcpListener,
        stop: CancellationToken,
    ) -> Instant {
        let limits = Limits::new(&self.config.connections, &self.config.http);
        let counted = self.metrics.connections.clone();
        let requests =
            listener::serve(listener, http::router(Arc::clone(self)), limits, counted, stop.clone());
        let mut answering = pin!(async {
            tokio::join!(requests, metrics::serve(Arc::clone(self), metrics_listener, stop.clone()));
            stop.cancelled().await;
        });
        let answered = tokio::select! {
            () = &mut answering => true,
            () = stop.cancelled() => false,
        };
        let cut_off_at = Instant::now() + self.shutdown_deadline();
        self.background.stop();
        if !answered && timeout_at(cut_off_at, &mut answering).await.is_err() {
            tracing::warn!("what still runs is cut off");
            self.gateway.cut_off();
            if timeout_at(cut_off_at + LAST_WORDS, answering).await.is_err() {
                tracing::warn!("some clients did not take their last words");
            }
        }
        cut_off_at
    }

    /// Waits for running generations and for the log; cuts off what still runs at `cut_off_at`.
    async fn finish(&self, cut_off_at: Instant) -> anyhow::Result<()> {
        self.background.stop();
        self.tasks.close();
        let running = self.tasks.len();
        if running > 0 {
            let at_most = cut_off_at.saturating_duration_since(Instant::now());
            tracing::info!(running, ?at_most, "finishing what runs; a second signal ends it at once");
        }
        let mut generations = timeout_at(cut_off_at, self.tasks.wait()).await;
        if generations.is_err() {
            self.gateway.cut_off();
            generations = timeout_at(cut_off_at + LAST_WORDS, self.tasks.wait()).await;
        }
        if generations.is_err() {
            let failed = self.background.fail_stopped().await.context("failing background responses")?;
            tracing::warn!(failed, "background responses were not finished in time");
        }
        anyhow::ensure!(
            generations.is_ok(),
            "generations were still running {LAST_WORDS:?} after the deadline"
        );
        anyhow::ensure!(
            self.log.drain(LAST_WORDS).await,
            "commands were still unanswered after {LAST_WORDS:?}"
        );
        Ok(())
    }

    fn shutdown_deadline(&self) -> Duration {
        Duration::from_secs(self.config.http.shutdown_seconds)
    }

    /// Where other nodes reach this one.
    fn reached_at(&self, listener: &TcpListener) -> anyhow::Result<String> {
        match &self.config.node.node_address {
            Some(address) => Ok(address.clone()),
            None => Ok(listener.local_addr()?.to_string()),
        }
    }

    /// Takes other nodes' commands, and knows where to send its own.
    fn join_nodes(&self, listener: TcpListener, processes: &TaskTracker, stop: &CancellationToken) {
        let admission = self.gateway.admission().clone();
        let desk = Desk::new(self.homes.clone(), self.incarnation, self.node_key(), admission);
        processes.spawn(nodes::listener::serve(desk, listener, stop.clone()));
        let renewals = self.config.wallet.lease_renew_seconds * MISSED_RENEWALS;
        let renewed_within = Duration::from_secs(renewals.min(self.config.wallet.lease_lapse_seconds).into());
        processes.spawn(members::follow(self.homes.clone(), self.pool.clone(), renewed_within, stop.clone()));
    }

    fn start_processes(self: &Arc<Self>, stop: &CancellationToken) -> TaskTracker {
        let processes = TaskTracker::new();
        let (pool, log) = (self.pool.clone(), self.log.clone());
        processes.spawn(relay::run(
            pool.clone(),
            self.nats.clone(),
            log.appended(),
            log.recent(),
            self.relay.clone(),
            stop.clone(),
        ));
        processes.spawn({
            let (app, stop) = (Arc::clone(self), stop.clone());
            async move {
                let feed = || JetStreamFeed::new(app.pool.clone(), app.nats.clone(), READ_MODELS_FEED);
                app.projector.run(feed, stop).await;
            }
        });
        let sweeper = Sweeper {
            node: self.incarnation,
            pool: pool.clone(),
            log: log.clone(),
            admission: self.gateway.admission().clone(),
            settings: SweeperSettings {
                interval: Duration::from_secs(self.config.wallet.sweep_seconds.into()),
                lease_lapse: Duration::from_secs(self.config.wallet.lease_lapse_seconds.into()),
                terms: self.config.wallet.terms(),
            },
        };
        processes.spawn(sweeper.run(stop.clone()));
        processes.spawn(waking::run(log.clone(), self.gateway.admission().clone(), stop.clone()));
        let rewards = Rewards {
            pool: pool.clone(),
            log: log.clone(),
            referral_basis_points: self.config.bonuses.referral_basis_points,
        };
        processes.spawn(rewards.run(stop.clone()));
        processes.spawn(long_wallets::run(log.clone(), stop.clone()));
        processes.spawn(seal::run(log, seal::SEAL_EVERY, stop.clone()));
        processes.spawn(health::run(Arc::clone(&self.checks), pool.clone(), stop.clone()));
        if let Some(payments) = &self.payments {
            let interval = Duration::from_secs(self.config.stripe.stripe_reconcile_seconds.into());
            processes.spawn(reconciler::run(Arc::clone(payments), interval, stop.clone()));
            processes.spawn(auto_topup::run(Arc::clone(payments), stop.clone()));
        }
        processes.spawn(purge_keys(pool, stop.clone()));
        processes.spawn(stored::purge(Arc::clone(&self.background), stop.clone()));
        processes
    }
}

/// Forgets idempotency keys after 30 days; those of payments and grants are kept for ever.
async fn purge_keys(pool: sqlx::PgPool, stop: CancellationToken) {
    let purging = async {
        let mut due = tokio::time::interval(PURGE_EVERY);
        loop {
            due.tick().await;
            match idempotency::purge(&pool, clock::now().minus_secs(KEYS_KEPT_SECS)).await {
                Ok(0) => {}
                Ok(keys) => tracing::info!(keys, "forgot old idempotency keys"),
                Err(error) => {
                    tracing::warn!(error = format!("{error:#}"), "old idempotency keys were not purged")
                }
            }
        }
    };
    stop.run_until_cancelled(purging).await;
}

async fn bind(setting: &str, address: SocketAddr) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address).await.with_context(|| format!("{setting}: cannot listen on {address}"))
}

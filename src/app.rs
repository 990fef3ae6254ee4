//! Builds the whole service, for `main` and for tests alike, and runs it.

use std::sync::Arc;

use anyhow::Context;
use codexapi_aggregates::ids::NodeIncarnation;
use codexapi_projections::versions;
use sqlx::PgPool;
use sqlx::postgres::PgPoolOptions;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::config::{Config, DatabaseSettings};
use crate::event_log::{EventLog, EventLogOptions};
use crate::http::auth::Authenticator;
use crate::metrics::Metrics;
use crate::projector::{LogFeed, Projector};
use crate::{clock, http, metrics, migrate, pricing_seed};

/// Everything a request may need. Built once, shared by all.
pub struct App {
    pub config: Config,
    /// This run of this node.
    pub incarnation: NodeIncarnation,
    pub pool: PgPool,
    pub log: EventLog,
    pub auth: Authenticator,
    pub projector: Projector,
    pub metrics: Metrics,
    nats: async_nats::Client,
}

impl App {
    /// Connects, migrates, installs the read models, fills an empty price book. Starts nothing that works in the
    /// background but the log's writer. NATS may be away.
    ///
    /// # Errors
    /// Postgres is away or unsafe, or cannot be migrated.
    pub async fn build(config: Config) -> anyhow::Result<Arc<Self>> {
        let pool = connect(&config.database).await?;
        prepare(&pool).await?;
        let incarnation = NodeIncarnation(clock::new_id());
        let log = EventLog::open(pool.clone(), EventLogOptions::new(incarnation)).await?;
        pricing_seed::fill_empty_book(&log, &config.catalog.prices)
            .await
            .context("filling the price book")?;
        let nats = async_nats::ConnectOptions::new()
            .retry_on_initial_connect()
            .connect(config.nats.url.address())
            .await
            .context("preparing the connection to NATS")?;
        Ok(Arc::new(Self {
            incarnation,
            auth: Authenticator::new(&config.credentials, pool.clone()),
            projector: Projector::new(pool.clone(), log.appended()),
            metrics: Metrics::new(),
            nats,
            log,
            pool,
            config,
        }))
    }

    pub fn nats_is_connected(&self) -> bool {
        self.nats.connection_state() == async_nats::connection::State::Connected
    }

    /// Where customers reach this service, without a trailing slash.
    pub fn public_url(&self) -> String {
        let configured = self.config.http.public_url.clone();
        configured.unwrap_or_else(|| format!("http://{}", self.config.http.listen))
    }

    /// Answers requests and follows the log until `stop`, then finishes what is running.
    ///
    /// # Errors
    /// A listener's address is taken, or the log could not be drained in time.
    pub async fn serve(self: &Arc<Self>, stop: CancellationToken) -> anyhow::Result<()> {
        let listener = bind("CODEXAPI_LISTEN", self.config.http.listen).await?;
        let metrics_listener = bind("CODEXAPI_METRICS_LISTEN", self.config.http.metrics_listen).await?;
        tracing::info!(address = %listener.local_addr()?, node = self.config.node.node_name, "listening");
        let stopped = stop.clone();
        let requests = async {
            axum::serve(listener, http::router(Arc::clone(self)))
                .with_graceful_shutdown(async move { stopped.cancelled().await })
                .await
                .context("answering requests")
        };
        let feed = |model| LogFeed::new(self.pool.clone(), model, self.log.appended());
        let projecting = async {
            self.projector.run(feed, stop.clone()).await;
            Ok(())
        };
        tokio::try_join!(
            requests,
            metrics::serve(Arc::clone(self), metrics_listener, stop.clone()),
            projecting
        )?;
        let deadline = std::time::Duration::from_secs(self.config.http.shutdown_seconds);
        anyhow::ensure!(self.log.drain(deadline).await, "commands were still unanswered after {deadline:?}");
        Ok(())
    }
}

/// A pool on the database of the event log.
pub async fn connect(settings: &DatabaseSettings) -> anyhow::Result<PgPool> {
    PgPoolOptions::new()
        .max_connections(settings.connections)
        .connect_with(settings.url.options())
        .await
        .context("connecting to Postgres (DATABASE_URL)")
}

/// Brings schema and read models to what this build expects.
pub async fn prepare(pool: &PgPool) -> anyhow::Result<()> {
    migrate::migrate(pool).await?;
    versions::install(pool).await.context("installing the read models")
}

async fn bind(setting: &str, address: std::net::SocketAddr) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address).await.with_context(|| format!("{setting}: cannot listen on {address}"))
}

//! Builds the whole service, for `main` and for tests alike, and runs it.

mod run;

use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use anyhow::Context;
use codexapi_aggregates::ids::NodeIncarnation;
use codexapi_projections::versions;
use sqlx::postgres::PgPoolOptions;
use sqlx::{Connection, PgConnection, PgPool};
use tokio::sync::watch;
use tokio_util::task::TaskTracker;

use crate::config::{Config, CredentialSettings, DatabaseSettings};
use crate::event_log::{EventLog, EventLogOptions};
use crate::gateway::admission::WaitingLimits;
use crate::gateway::{DrainLimits, Gateway, GatewaySettings, SettlementLimits};
use crate::gumroad::Gumroad;
use crate::health::Checks;
use crate::http::auth::Authenticator;
use crate::http::sign_ups::SignUpLimit;
use crate::metrics::Metrics;
use crate::nats::{Nats, NatsConfig, NatsNames};
use crate::nodes::Homes;
use crate::nodes::signed::NodeKey;
use crate::payments::Payments;
use crate::projector::{self, Projector};
use crate::rebuild::{self, Progress};
use crate::relay::RelayProgress;
use crate::stored::Stored;
use crate::stored::background::Background;
use crate::upstream::Providers;
use crate::{catalog_seed, clock, migrate, nodes, pricing_seed};

/// Silence after which a streaming client is sent a sign of life; the shortest idle limit of a known
/// client is minutes.
const KEEPALIVE: Duration = Duration::from_secs(15);

/// How often a waiting request asks again for credit though nothing was heard of it.
const ASK_AGAIN: Duration = Duration::from_secs(1);

/// How long Postgres has to answer a first connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// A connection that was used a moment ago is there still; one that was idle for longer is asked first.
const ASKED_WHEN_IDLE: Duration = Duration::from_millis(500);

/// For the lock, the batches, and read models that go on alone.
const PROJECTOR_CONNECTIONS: u32 = 5;

/// Tries at connecting come ever further apart, up to a fifth of this: Postgres must not be back for long before it is seen.
const PROJECTOR_CONNECTS_WITHIN: Duration = Duration::from_secs(10);

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
    /// Where wallets' commands run.
    pub homes: Homes,
    pub gateway: Arc<Gateway>,
    /// Checks of providers.
    pub checks: Arc<Checks>,
    pub stored: Arc<Stored>,
    pub background: Arc<Background>,
    /// Absent where no payments are taken.
    pub payments: Option<Arc<Payments>>,
    pub gumroad: Arc<Gumroad>,
    pub sign_ups: SignUpLimit,
    /// How far this node's relay is.
    pub relay: watch::Sender<RelayProgress>,
    /// What is really listened on, where the settings leave the port open.
    listening: OnceLock<SocketAddr>,
    nats: Nats,
    /// Generations and what they leave to be done; they outlive their clients' connections.
    tasks: TaskTracker,
}

impl App {
    /// Connects, migrates, installs the read models, fills an empty price book and an empty catalogue. Starts nothing that works in the
    /// background but the log's writer. NATS may be away.
    ///
    /// # Errors
    /// Postgres is away or unsafe, or cannot be migrated.
    pub async fn build(config: Config) -> anyhow::Result<Arc<Self>> {
        let pool = connect(&config.database).await?;
        prepare(&pool).await?;
        check_digest_key(&pool, &config.credentials).await?;
        if config.catalog.providers.is_empty() {
            tracing::warn!("no provider is configured (CODEXAPI_PROVIDERS_FILE): no model can be served");
        }
        let incarnation = NodeIncarnation(clock::new_id());
        let log = EventLog::open(pool.clone(), EventLogOptions::new(incarnation)).await?;
        pricing_seed::fill_empty_book(&log, &config.catalog.prices)
            .await
            .context("filling the price book")?;
        catalog_seed::fill_empty_catalog(&log, &config.catalog.plans)
            .await
            .context("filling the catalogue")?;
        let names = NatsNames::new(&config.nats.prefix)?;
        let nats = Nats::connect(&NatsConfig { url: config.nats.url.reveal().to_owned(), names }).await?;
        let tasks = TaskTracker::new();
        let providers = Providers::new(&config.catalog.providers)?;
        let settings = gateway_settings(&config, incarnation);
        let homes = homes(&config, incarnation, &log)?;
        let gateway = Arc::new(Gateway::new(log.clone(), homes.clone(), providers, settings, tasks.clone()));
        let stored = Arc::new(Stored::new(pool.clone(), &config.stored));
        let background = Arc::new(Background::new(
            stored.clone(),
            gateway.clone(),
            tasks.clone(),
            incarnation,
            &config.stored,
        ));
        let payments = Payments::new(&config.stripe, log.clone(), pool.clone(), config.wallet.terms())?;
        let node = config.node.node_name.clone();
        let checks = Arc::new(Checks::new(gateway.clone(), log.clone(), pool.clone(), node));
        Ok(Arc::new(Self {
            incarnation,
            auth: Authenticator::new(&config.credentials, pool.clone()),
            projector: Projector::new(few_connections(&pool), log.appended()),
            metrics: Metrics::new(gateway.traffic(), homes.counts()),
            homes,
            gateway,
            checks,
            stored,
            background,
            payments,
            gumroad: Arc::new(Gumroad::new(&config.gumroad)?),
            sign_ups: SignUpLimit::new(config.gumroad.sign_ups_per_hour),
            relay: watch::Sender::default(),
            listening: OnceLock::new(),
            nats,
            tasks,
            log,
            pool,
            config,
        }))
    }

    /// What nodes sign with between each other.
    pub fn node_key(&self) -> NodeKey {
        NodeKey::derive(&self.config.credentials.token_digest_key)
    }

    pub fn nats_is_connected(&self) -> bool {
        self.nats.is_connected()
    }

    /// For what must come to its end though its caller has left.
    pub fn tasks(&self) -> &TaskTracker {
        &self.tasks
    }

    /// Where customers reach this service, without a trailing slash.
    pub fn public_url(&self) -> String {
        let configured = self.config.http.public_url.clone();
        let address = || self.listening.get().unwrap_or(&self.config.http.listen);
        configured.unwrap_or_else(|| format!("http://{}", address()))
    }
}

/// A pool on the database of the event log.
pub async fn connect(settings: &DatabaseSettings) -> anyhow::Result<PgPool> {
    const FAILED: &str = "connecting to Postgres (DATABASE_URL)";
    // A pool only says that it waited in vain; one plain connection says why.
    let options = settings.url.options();
    let first = tokio::time::timeout(CONNECT_TIMEOUT, PgConnection::connect_with(&options)).await;
    let first = first.with_context(|| format!("{FAILED}: no answer within {CONNECT_TIMEOUT:?}"))?;
    first.context(FAILED)?.close().await.context(FAILED)?;
    pool_options(settings.connections).connect_with(options).await.context(FAILED)
}

/// A pool beside `pool` for who asks the same all the time: among all of a large pool's connections each would have to
/// plan those statements, and hold what it needs for them.
fn few_connections(pool: &PgPool) -> PgPool {
    let options = pool_options(PROJECTOR_CONNECTIONS).acquire_timeout(PROJECTOR_CONNECTS_WITHIN);
    options.connect_lazy_with((*pool.connect_options()).clone().application_name(projector::APPLICATION_NAME))
}

fn pool_options(connections: u32) -> PgPoolOptions {
    PgPoolOptions::new().max_connections(connections).test_before_acquire(false).before_acquire(
        |connection, known| {
            Box::pin(async move {
                if known.idle_for >= ASKED_WHEN_IDLE {
                    connection.ping().await?;
                }
                Ok(true)
            })
        },
    )
}

/// Brings schema and read models to what this build expects.
pub async fn prepare(pool: &PgPool) -> anyhow::Result<()> {
    migrate::migrate(pool).await?;
    versions::install(pool).await.context("installing the read models")?;
    rebuild::rebuild_outdated(pool, &Progress::on_stderr()).await
}

/// Refuses a key other than the one this database's tokens were issued under; notes it the first time.
///
/// # Errors
/// The key is another one, or Postgres cannot be asked.
pub async fn check_digest_key(pool: &PgPool, credentials: &CredentialSettings) -> anyhow::Result<()> {
    let ours = hex::encode(credentials.token_digest_key.mac(b"codexapi fingerprint v1"));
    sqlx::query(
        "INSERT INTO deployment_keys (name, fingerprint) VALUES ('token_digest', $1) ON CONFLICT DO NOTHING",
    )
    .bind(&ours)
    .execute(pool)
    .await?;
    let noted: String =
        sqlx::query_scalar("SELECT fingerprint FROM deployment_keys WHERE name = 'token_digest'")
            .fetch_one(pool)
            .await?;
    anyhow::ensure!(
        noted == ours,
        "CODEXAPI_TOKEN_DIGEST_KEY is not the key that this database's tokens were issued under: \
         every token would be unknown. Set the key it was first started with"
    );
    Ok(())
}

fn homes(config: &Config, node: NodeIncarnation, log: &EventLog) -> anyhow::Result<Homes> {
    match config.node.node_listen {
        Some(_) => {
            let key = NodeKey::derive(&config.credentials.token_digest_key);
            Homes::shared(log.clone(), node, key, nodes::PATIENCE)
        }
        None => Ok(Homes::here(log.clone(), node)),
    }
}

fn gateway_settings(config: &Config, node: NodeIncarnation) -> GatewaySettings {
    let seconds = |seconds: u32| Duration::from_secs(seconds.into());
    let count = |count: u32| usize::try_from(count).unwrap_or(usize::MAX);
    GatewaySettings {
        node,
        terms: config.wallet.terms(),
        waiting: WaitingLimits {
            longest: seconds(config.wait.wait_seconds),
            per_wallet: count(config.wait.waiting_per_wallet),
            ask_again: ASK_AGAIN,
        },
        drain: DrainLimits {
            longest: seconds(config.drain.drain_seconds),
            output_tokens: config.drain.drain_tokens.into(),
            per_node: count(config.drain.draining_per_node),
            per_wallet: count(config.drain.draining_per_wallet),
            longest_unstreamed: seconds(config.drain.drain_whole_seconds),
        },
        settlement: SettlementLimits {
            deadline: seconds(config.gateway.settle_seconds),
            in_doubt: seconds(config.gateway.in_doubt_seconds),
            queue: count(config.gateway.settlement_queue),
        },
        keepalive: KEEPALIVE,
        region: config.node.region.clone(),
        budget_model: config.catalog.budget_model.clone(),
        failures_to_open: config.gateway.circuit_failures,
        // Derived, so that conversations and tokens are never keyed alike.
        conversation_key: config.credentials.token_digest_key.mac(b"codexapi conversations v1"),
    }
}

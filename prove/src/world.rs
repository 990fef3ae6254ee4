//! Everything there is in a run: the real service on each node, Postgres, NATS, the provider, Stripe, and a line that
//! can be broken between each node and each of them.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use codexapi::accounts::{self, GrantCredit, NewCustomer};
use codexapi::clock;
use codexapi::config::Config;
use codexapi::embedded::{
    EmbeddedNats, EmbeddedNatsOptions, EmbeddedPostgres, EmbeddedPostgresOptions, FakeStripe,
    FakeStripeOptions, Service, ServiceOptions, Simulator, SimulatorOptions, free_port, simulated_providers,
};
use codexapi::event_log::{EventLog, EventLogOptions};
use codexapi_aggregates::account::KeyKind;
use codexapi_aggregates::event::Metadata;
use codexapi_aggregates::ids::{AccountId, KeyId, NodeIncarnation};
use codexapi_aggregates::money::MicroUsd;
use codexapi_aggregates::wallet::GrantSource;
use sqlx::PgPool;
use sqlx::postgres::PgPoolOptions;
use tempfile::TempDir;
use tokio::sync::Mutex;

use crate::disk::SmallDisk;
use crate::links::{Link, State};
use crate::plan::{Line, Plan};

pub const ADMIN_TOKEN: &str = "cdx-admin-whoever-proves-it-has-this";
pub const STRIPE_KEY: &str = "sk_test_0123456789abcdef";
const STRIPE_SECRET: &str = "whsec_0123456789abcdef";

/// What the first customer has, who is to run out of it, and what the others have, who are not.
const LITTLE: MicroUsd = MicroUsd(60_000);
const PLENTY: MicroUsd = MicroUsd::dollars(500);

/// How long a node may take until it answers, on a busy machine.
pub const READY_WITHIN: Duration = Duration::from_secs(120);

const POLL: Duration = Duration::from_millis(50);
const PROBE_TIMEOUT: Duration = Duration::from_secs(2);
const POOL_CONNECTIONS: u32 = 8;

/// Said where no disk of our own can be had.
pub const NO_DISK: &str = "NOT PROVEN HERE: a full disk; no file system of our own can be mounted";

/// Settings that make minutes of a service's life seconds; a provider is never left alone for failing.
const QUICK: [(&str, &str); 14] = [
    ("CODEXAPI_DATABASE_CONNECTIONS", "16"),
    ("CODEXAPI_LEASE_RENEW_SECONDS", "1"),
    ("CODEXAPI_LEASE_LAPSE_SECONDS", "3"),
    ("CODEXAPI_SWEEP_SECONDS", "1"),
    ("CODEXAPI_SETTLE_SECONDS", "5"),
    ("CODEXAPI_DRAIN_SECONDS", "4"),
    ("CODEXAPI_DRAIN_WHOLE_SECONDS", "10"),
    ("CODEXAPI_WAIT_SECONDS", "3"),
    ("CODEXAPI_SHUTDOWN_SECONDS", "5"),
    ("CODEXAPI_CIRCUIT_FAILURES", "0"),
    ("CODEXAPI_STRIPE_RECONCILE_SECONDS", "2"),
    ("CODEXAPI_INSURED_GENERATIONS_PER_DAY", "10000"),
    ("CODEXAPI_INSURED_USD_PER_DAY", "10000"),
    ("CODEXAPI_LOG", "warn,codexapi=info"),
];

/// What outlasts a run: Postgres, where it can be on a disk of its own.
pub struct Ground {
    // In this order: the server goes before its disk, the disk before its folder.
    pub postgres: Mutex<EmbeddedPostgres>,
    pub disk: Option<SmallDisk>,
    databases: std::sync::atomic::AtomicU32,
    folder: TempDir,
}

impl Ground {
    /// `small_disk`: whether this process may mount one.
    pub async fn prepare(small_disk: bool) -> anyhow::Result<Self> {
        // Open to the account that Postgres runs as when root runs this.
        let folder = tempfile::Builder::new()
            .prefix("codexapi-prove-")
            .permissions(Permissions::from_mode(0o711))
            .tempdir()
            .context("a temporary folder")?;
        let mounted = small_disk.then(|| SmallDisk::mount(folder.path().join("disk")));
        let disk = match mounted {
            Some(Ok(disk)) => Some(disk),
            Some(Err(error)) => {
                println!("{NO_DISK} ({error:#})");
                None
            }
            None => None,
        };
        let place = disk.as_ref().map_or(folder.path(), SmallDisk::folder);
        let mut options = EmbeddedPostgresOptions::new(place.join("postgres"));
        options.shared_buffers_mb = 64;
        options.max_wal_size_mb = 64;
        options.settings = vec!["min_wal_size=32MB".to_owned()];
        let postgres = Mutex::new(EmbeddedPostgres::start(options).await?);
        Ok(Self { postgres, disk, databases: 0.into(), folder })
    }

    /// Whatever became of Postgres, it runs.
    pub async fn heal(&self) -> anyhow::Result<()> {
        if let Some(disk) = &self.disk {
            disk.free()?;
        }
        let mut postgres = self.postgres.lock().await;
        if postgres.pid().is_none() || postgres.check_running().is_err() {
            postgres.restart().await?;
        }
        Ok(())
    }
}

pub struct World<'a> {
    pub ground: &'a Ground,
    pub nodes: Vec<Node>,
    pub nats: Mutex<EmbeddedNats>,
    pub simulator: Simulator,
    pub stripe: FakeStripe,
    pub customers: Vec<Customer>,
    /// Straight to Postgres, as an operator's own tools go.
    pub log: EventLog,
    pub http: reqwest::Client,
    database: String,
    _folder: TempDir,
}

pub struct Node {
    pub service: Mutex<Service>,
    /// Through its line.
    pub base_url: String,
    links: [(Line, Link); 6],
    /// Straight to it.
    direct_url: String,
}

pub struct Customer {
    pub account_id: AccountId,
    pub system_token: String,
    pub api_key: String,
    pub key_id: KeyId,
    /// What it had to begin with.
    pub granted_micro: i64,
}

impl Node {
    pub fn set(&self, line: Line, state: State) {
        for (name, link) in &self.links {
            if *name == line {
                link.set(state);
            }
        }
    }

    async fn is_ready(&self, http: &reqwest::Client) -> bool {
        let asked = http.get(format!("{}/ready", self.direct_url)).timeout(PROBE_TIMEOUT).send().await;
        asked.is_ok_and(|answer| answer.status().is_success())
    }
}

impl<'a> World<'a> {
    /// Everything, running; every node answers, and every customer's credentials work. `more` are settings of each
    /// node.
    pub async fn start(ground: &'a Ground, plan: &Plan, more: &[(String, String)]) -> anyhow::Result<Self> {
        ground.heal().await?;
        let number = ground.databases.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let database = format!("prove_{number}");
        let (url, postgres_port) = {
            let postgres = ground.postgres.lock().await;
            postgres.create_database(&database).await?;
            (postgres.database_url(&database), postgres.port())
        };
        let pool = PgPoolOptions::new().max_connections(POOL_CONNECTIONS).connect(&url).await?;
        codexapi::migrate::migrate(&pool).await?;

        let folder = tempfile::tempdir_in(ground.folder.path()).context("a temporary folder")?;
        let nats = EmbeddedNats::start(EmbeddedNatsOptions::new(folder.path().join("nats"))).await?;
        let simulator = Simulator::start(SimulatorOptions::new(folder.path().join("provider"))).await?;
        let stripe =
            FakeStripe::start(FakeStripeOptions::new(folder.path().join("stripe"), STRIPE_KEY)).await?;
        let targets = Targets {
            postgres: postgres_port,
            nats: nats.port(),
            provider: port_of(simulator.base_url())?,
            stripe: port_of(stripe.base_url())?,
        };
        let mut nodes = Vec::new();
        for number in 0..plan.nodes {
            nodes.push(node(number, folder.path(), &url, &targets, more).await?);
        }
        let node = NodeIncarnation(clock::new_id());
        let log = EventLog::open(pool, EventLogOptions::new(node)).await?;
        let http = codexapi::tls::http_client_builder()
            .no_proxy()
            // A connection that lay idle while its line was cut would fail a request that was never sent.
            .pool_max_idle_per_host(0)
            .build()?;
        let mut world = Self {
            ground,
            nodes,
            nats: Mutex::new(nats),
            simulator,
            stripe,
            customers: Vec::new(),
            log,
            http,
            database,
            _folder: folder,
        };
        for node in &world.nodes {
            node.service.lock().await.start()?;
        }
        world.nodes_are_ready().await?;
        let webhook = format!("{}/api/v1/stripe/webhook", world.nodes[0].base_url);
        world.stripe.tell(&webhook, STRIPE_SECRET).await?;
        world.customers = world.register(plan.customers, &url).await?;
        Ok(world)
    }

    pub fn pool(&self) -> &PgPool {
        self.log.pool()
    }

    /// Every fault is over: every program runs, every line is open. `Ok` once every node answers.
    pub async fn heal(&self) -> anyhow::Result<()> {
        for node in &self.nodes {
            for (_, link) in &node.links {
                link.set(State::Open);
            }
        }
        self.ground.heal().await?;
        {
            let mut nats = self.nats.lock().await;
            if nats.pid().is_none() || nats.check_running().is_err() {
                nats.restart().await?;
            }
        }
        for node in &self.nodes {
            let mut service = node.service.lock().await;
            service.has_ended()?;
            service.start()?;
        }
        self.nodes_are_ready().await
    }

    pub async fn nodes_are_ready(&self) -> anyhow::Result<()> {
        let started = Instant::now();
        for (number, node) in self.nodes.iter().enumerate() {
            let mut before = String::new();
            while !node.is_ready(&self.http).await {
                let mut service = node.service.lock().await;
                if service.has_ended()?.is_some() {
                    before = format!("it ended by itself: {}\n", tail(&service.logged()));
                    service.start()?;
                }
                if started.elapsed() > READY_WITHIN {
                    let logged = tail(&service.logged());
                    bail!("node {number} is not ready after {READY_WITHIN:?}: {before}{logged}");
                }
                drop(service);
                tokio::time::sleep(POLL).await;
            }
        }
        Ok(())
    }

    /// Ends everything and drops the database.
    pub async fn end(self) -> anyhow::Result<()> {
        for node in &self.nodes {
            node.service.lock().await.kill9()?;
        }
        self.log.pool().close().await;
        self.ground.heal().await?;
        let url = self.ground.postgres.lock().await.database_url("postgres");
        let pool = PgPoolOptions::new().max_connections(1).connect(&url).await?;
        let drop = format!("DROP DATABASE \"{}\" WITH (FORCE)", self.database);
        sqlx::query(&drop).execute(&pool).await.context("dropping the run's database")?;
        pool.close().await;
        Ok(())
    }

    async fn register(&self, count: usize, database_url: &str) -> anyhow::Result<Vec<Customer>> {
        let digest_key = digest_key();
        let settings = [
            ("DATABASE_URL", database_url),
            ("NATS_URL", "nats://127.0.0.1:9"),
            ("CODEXAPI_TOKEN_DIGEST_KEY", &digest_key),
        ];
        let config = Config::from_pairs(settings)?;
        let metadata = Metadata { actor: "operator:prove".into(), ..Metadata::default() };
        let (mut customers, mut last) = (Vec::new(), 0);
        for number in 0..count {
            let new = NewCustomer::default();
            let created = accounts::create_customer(&self.log, &config.credentials, &metadata, new).await?;
            let account_id = created.account_id;
            let amount = if number == 0 { LITTLE } else { PLENTY };
            let grant = GrantCredit {
                account_id,
                source: GrantSource::Admin,
                amount_micro: amount,
                expires_at: None,
                idempotency_key: "to begin with".into(),
            };
            accounts::grant_credit(&self.log, &config.wallet.terms(), &metadata, grant).await?;
            let account = Some(account_id);
            let key =
                accounts::issue_key(&self.log, &config.credentials, &metadata, account, KeyKind::Api).await?;
            last = key.position;
            customers.push(Customer {
                account_id,
                system_token: created.system_token.token.reveal().to_owned(),
                api_key: key.token.reveal().to_owned(),
                key_id: key.key_id,
                granted_micro: amount.0,
            });
        }
        ensure!(
            accounts::wait_until_in_force(self.pool(), last).await,
            "the customers' keys do not work yet"
        );
        Ok(customers)
    }
}

struct Targets {
    postgres: u16,
    nats: u16,
    provider: u16,
    stripe: u16,
}

async fn node(
    number: usize,
    folder: &Path,
    database_url: &str,
    targets: &Targets,
    more: &[(String, String)],
) -> anyhow::Result<Node> {
    let (port, node_port) = (free_port()?, free_port()?);
    let to = |line: Line, port: u16| async move { anyhow::Ok((line, Link::to(port).await?)) };
    let links = [
        to(Line::Clients, port).await?,
        to(Line::Postgres, targets.postgres).await?,
        to(Line::Nats, targets.nats).await?,
        to(Line::Provider, targets.provider).await?,
        to(Line::Stripe, targets.stripe).await?,
        to(Line::Nodes, node_port).await?,
    ];
    let [clients, postgres, nats, provider, stripe, nodes] = links.each_ref().map(|(_, link)| link.port());
    let data_dir = folder.join(format!("node-{number}"));
    std::fs::create_dir_all(&data_dir).context("a node's folder")?;
    let providers = data_dir.join("providers.toml");
    std::fs::write(&providers, simulated_providers(&format!("http://127.0.0.1:{provider}"), ""))
        .context("the node's providers")?;
    let through_link = format!("127.0.0.1:{postgres}");
    let ours = [
        ("DATABASE_URL", database_url.replace(&format!("127.0.0.1:{}", targets.postgres), &through_link)),
        ("NATS_URL", format!("nats://127.0.0.1:{nats}")),
        ("CODEXAPI_LISTEN", format!("127.0.0.1:{port}")),
        ("CODEXAPI_METRICS_LISTEN", format!("127.0.0.1:{}", free_port()?)),
        ("CODEXAPI_NODE_NAME", format!("prove-{number}")),
        ("CODEXAPI_NODE_LISTEN", format!("127.0.0.1:{node_port}")),
        ("CODEXAPI_NODE_ADDRESS", format!("127.0.0.1:{nodes}")),
        ("CODEXAPI_TOKEN_DIGEST_KEY", digest_key()),
        ("CODEXAPI_PROVIDERS_FILE", providers.display().to_string()),
        ("CODEXAPI_STATIC_ADMIN_TOKENS", ADMIN_TOKEN.to_owned()),
        ("CODEXAPI_STRIPE_API_BASE", format!("http://127.0.0.1:{stripe}")),
        ("CODEXAPI_STRIPE_SECRET_KEY", STRIPE_KEY.to_owned()),
        ("CODEXAPI_STRIPE_WEBHOOK_SECRET", STRIPE_SECRET.to_owned()),
    ];
    let owned = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
    let environment = QUICK
        .into_iter()
        .map(owned)
        .chain(ours.into_iter().map(|(name, value)| (name.to_owned(), value)))
        .chain(more.iter().cloned())
        .collect();
    Ok(Node {
        service: Mutex::new(Service::new(ServiceOptions { data_dir, environment })?),
        base_url: format!("http://127.0.0.1:{clients}"),
        direct_url: format!("http://127.0.0.1:{port}"),
        links,
    })
}

fn digest_key() -> String {
    "5a".repeat(32)
}

fn port_of(base_url: &str) -> anyhow::Result<u16> {
    let port = base_url.rsplit(':').next().and_then(|port| port.parse().ok());
    port.with_context(|| format!("{base_url} names no port"))
}

/// The last lines of a log.
pub fn tail(log: &str) -> String {
    let lines: Vec<&str> = log.lines().collect();
    lines[lines.len().saturating_sub(20)..].join("\n")
}

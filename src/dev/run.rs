//! Starting everything on this machine, and stopping it in order.

use std::io::Write;
use std::net::SocketAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use clap::Args;
use codexapi_projections::checkpoint;
use rustix::process::{Pid, WaitId, WaitIdOptions, waitid};
use serde_json::json;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use super::banner::Banner;
use super::secrets::DevSecrets;
use super::{default_data_dir, demo};
use crate::app::App;
use crate::config::Config;
use crate::config::catalog::CatalogSettings;
use crate::config::providers::Providers;
use crate::embedded::{
    EmbeddedNats, EmbeddedNatsOptions, EmbeddedPostgres, EmbeddedPostgresOptions, FakeStripe,
    FakeStripeOptions, FolderLock, Simulator, SimulatorOptions, free_port, simulated_providers,
};
use crate::http::system;
use crate::telemetry::{self, say};

const DATABASE: &str = "codexapi";

/// What the fake Stripe is called with; it guards nothing.
const STRIPE_KEY: &str = "sk_test_codexapi_dev";

/// How often it is looked whether a server has ended by itself.
const WATCHED_EVERY: Duration = Duration::from_millis(250);

/// How long the service may take to be ready, the demo customer's token known to its read tables, ...
const READY_WITHIN: Duration = Duration::from_secs(30);

/// ... and how often it is asked meanwhile.
const ASKED_EVERY: Duration = Duration::from_millis(200);

/// What `codexapi dev` can be told.
#[derive(Clone, Debug, Args)]
pub struct DevArguments {
    /// The address to listen on; port 0 takes a free one
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:8080")]
    listen: SocketAddr,
    /// Where Postgres, NATS, the bills and the secrets are kept; the same folder continues where it stopped
    #[arg(long = "data", value_name = "FOLDER", default_value_os_t = default_data_dir())]
    data_dir: PathBuf,
    /// Print one JSON line when ready, for scripts, instead of the explanation
    #[arg(long)]
    json: bool,
    /// What is logged
    #[arg(long, env = "CODEXAPI_LOG", value_name = "FILTER", default_value = "warn,codexapi=info")]
    log: String,
    #[command(flatten)]
    catalog: CatalogSettings,
}

/// The servers around the service.
struct Servers {
    postgres: EmbeddedPostgres,
    nats: EmbeddedNats,
    simulator: Simulator,
    stripe: FakeStripe,
}

/// Runs until `stop`, then stops the service, and the servers after it.
pub async fn run(arguments: DevArguments, stop: CancellationToken) -> anyhow::Result<()> {
    let data_dir = &arguments.data_dir;
    std::fs::create_dir_all(data_dir).with_context(|| format!("cannot create {}", data_dir.display()))?;
    let _lock = FolderLock::acquire(data_dir)?;
    let secrets = DevSecrets::load_or_create(&data_dir.join("secrets"))?;
    progress(&arguments, "starting Postgres, NATS, the simulated provider and the fake Stripe …");
    let mut servers = Servers::start(data_dir).await?;
    let served = {
        let mut serving = pin!(serve(&arguments, &servers, &secrets, stop.clone()));
        tokio::select! {
            served = &mut serving => served,
            name = ended_by_itself(servers.processes()) => {
                say(&format!("{name} has ended by itself, so everything is stopped"));
                stop.cancel();
                serving.await
            }
        }
    };
    let ran = servers.check_running();
    let stopped = servers.stop().await;
    ran.and(served).and(stopped)
}

/// Returns the name of the first of the processes to end.
async fn ended_by_itself(processes: Vec<(&'static str, Pid)>) -> &'static str {
    // Asked so, it stays to be waited for by whom it belongs to.
    let ask = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
    loop {
        for (name, pid) in &processes {
            if !matches!(waitid(WaitId::Pid(*pid), ask), Ok(None)) {
                return name;
            }
        }
        tokio::time::sleep(WATCHED_EVERY).await;
    }
}

async fn serve(
    arguments: &DevArguments,
    servers: &Servers,
    secrets: &DevSecrets,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let config = config(arguments, servers, secrets)?;
    telemetry::start(&config.log)?;
    let simulated = arguments.catalog.providers.is_empty();
    let app = App::build(config).await?;
    let (ready, is_ready) = oneshot::channel();
    let announce = async {
        let Ok(address) = is_ready.await else { return Ok(()) };
        announce(arguments, servers, secrets, &app, address, simulated).await
    };
    let serving = app.serve(stop.clone(), |address| {
        let _nobody_waits = ready.send(address).is_err();
    });
    let (served, announced) = tokio::join!(serving, async {
        // Who stops it meanwhile need not hear that it has not become ready.
        let announced = stop.run_until_cancelled(announce).await.unwrap_or(Ok(()));
        if announced.is_err() {
            stop.cancel();
        }
        announced
    });
    announced.and(served)
}

async fn announce(
    arguments: &DevArguments,
    servers: &Servers,
    secrets: &DevSecrets,
    app: &App,
    address: SocketAddr,
    simulated: bool,
) -> anyhow::Result<()> {
    let (account_id, balance) = demo::ensure_customer(app, secrets).await?;
    wait_until_ready(app).await?;
    let base_url = format!("http://{address}");
    let webhook = format!("{base_url}/api/v1/stripe/webhook");
    servers.stripe.tell(&webhook, &secrets.stripe_webhook_secret).await?;
    let environment = write_environment(arguments, servers, secrets)?;
    let metrics_url = format!("http://{}/metrics", app.config.http.metrics_listen);
    if arguments.json {
        let line = json!({
            "ready": true,
            "baseUrl": base_url,
            "customerToken": secrets.customer_token,
            "customerId": account_id,
            "adminKey": secrets.admin_key,
            "simulatorUrl": servers.simulator.base_url(),
            "stripeUrl": servers.stripe.base_url(),
            "metricsUrl": metrics_url,
            "databaseUrl": servers.postgres.database_url(DATABASE),
            "natsUrl": servers.nats.url(),
            "tokenDigestKey": hex::encode(secrets.token_digest_key),
            "sealingKey": hex::encode(secrets.sealing_key),
        });
        println!("{line}");
        return Ok(());
    }
    let banner = Banner {
        base_url: &base_url,
        customer_token: &secrets.customer_token,
        balance: &format!("${balance}"),
        simulator_url: simulated.then(|| servers.simulator.base_url()),
        stripe_url: servers.stripe.base_url(),
        data_dir: &arguments.data_dir.display().to_string(),
        metrics_url: &metrics_url,
        environment: &environment.display().to_string(),
        program: &std::env::current_exe().context("where this program is")?.display().to_string(),
        customer_id: &account_id.to_string(),
        openai_model: "gpt-5.5",
        anthropic_model: "claude-opus-4-8",
    };
    println!("{}", banner.text());
    Ok(())
}

/// Waits until `/ready` says so and the demo customer's token works.
///
/// # Errors
/// It did not come to that in time: what `/ready` says.
async fn wait_until_ready(app: &App) -> anyhow::Result<()> {
    let deadline = Instant::now() + READY_WITHIN;
    let head = crate::event_log::read::head(&app.pool, crate::event_log::SHARD).await?;
    let is_known = checkpoint::wait_for(&app.pool, "api_keys", head, READY_WITHIN)
        .await
        .context("looking for the demo customer in the read tables")?;
    loop {
        let readiness = system::readiness(app).await;
        if is_known && readiness.is_ready() {
            return Ok(());
        }
        if Instant::now() >= deadline {
            let unknown = if is_known { "" } else { " The demo customer is not in the read tables yet." };
            bail!(
                "not ready within {} seconds, so everything was stopped again. /ready says: {readiness}.{unknown}",
                READY_WITHIN.as_secs()
            );
        }
        tokio::time::sleep(ASKED_EVERY).await;
    }
}

/// What `codexapi admin`, `events` and `verify` need to work on these servers, as a file to source.
/// Ports change from start to start, so it is written anew each time; it holds secrets.
fn write_environment(
    arguments: &DevArguments,
    servers: &Servers,
    secrets: &DevSecrets,
) -> anyhow::Result<PathBuf> {
    let path = arguments.data_dir.join("secrets").join("environment");
    let text = format!(
        "export DATABASE_URL='{}'\nexport NATS_URL='{}'\nexport CODEXAPI_TOKEN_DIGEST_KEY='{}'\n\
         export CODEXAPI_SEALING_KEY='{}'\n",
        servers.postgres.database_url(DATABASE),
        servers.nats.url(),
        hex::encode(secrets.token_digest_key),
        hex::encode(secrets.sealing_key),
    );
    let failed = || format!("cannot write {}", path.display());
    let mut file = std::fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&path)
        .with_context(failed)?;
    file.write_all(text.as_bytes()).with_context(failed)?;
    Ok(path)
}

fn config(arguments: &DevArguments, servers: &Servers, secrets: &DevSecrets) -> anyhow::Result<Config> {
    let stripe = servers.stripe.base_url();
    let settings = [
        ("DATABASE_URL", servers.postgres.database_url(DATABASE)),
        ("NATS_URL", servers.nats.url()),
        ("CODEXAPI_LISTEN", arguments.listen.to_string()),
        ("CODEXAPI_METRICS_LISTEN", format!("127.0.0.1:{}", free_port()?)),
        ("CODEXAPI_NODE_NAME", "dev".to_owned()),
        ("CODEXAPI_TOKEN_DIGEST_KEY", hex::encode(secrets.token_digest_key)),
        ("CODEXAPI_SEALING_KEY", hex::encode(secrets.sealing_key)),
        ("CODEXAPI_STATIC_ADMIN_TOKENS", secrets.admin_key.clone()),
        ("CODEXAPI_STRIPE_API_BASE", stripe.to_owned()),
        ("CODEXAPI_STRIPE_SECRET_KEY", STRIPE_KEY.to_owned()),
        ("CODEXAPI_STRIPE_WEBHOOK_SECRET", secrets.stripe_webhook_secret.clone()),
        // There is no page of ours to come back to yet.
        ("CODEXAPI_STRIPE_SUCCESS_URL", format!("{stripe}/c/pay/{{CHECKOUT_SESSION_ID}}")),
        ("CODEXAPI_STRIPE_CANCEL_URL", format!("{stripe}/c/left")),
        ("CODEXAPI_COMPANY_NAME", "Example Company Ltd".to_owned()),
        ("CODEXAPI_COMPANY_ADDRESS", "1 Example Street|Exampletown".to_owned()),
        ("CODEXAPI_COMPANY_COUNTRY", "IE".to_owned()),
        ("CODEXAPI_COMPANY_EMAIL", "billing@example.com".to_owned()),
        ("CODEXAPI_COMPANY_VAT_ID", "IE0000000XX".to_owned()),
        ("CODEXAPI_COMPANY_VAT_BASIS_POINTS", "2300".to_owned()),
        ("CODEXAPI_SHUTDOWN_SECONDS", "10".to_owned()),
        ("CODEXAPI_LOG", arguments.log.clone()),
    ];
    let mut config = Config::from_pairs(settings)?;
    config.catalog = arguments.catalog.clone();
    if config.catalog.providers.is_empty() {
        let text = simulated_providers(servers.simulator.base_url(), "");
        // Written for other nodes that are started beside this one.
        let path = arguments.data_dir.join("providers.toml");
        std::fs::write(&path, &text).with_context(|| format!("cannot write {}", path.display()))?;
        config.catalog.providers = Providers::parse(&text, |_| None).map_err(anyhow::Error::msg)?;
    }
    Ok(config)
}

impl Servers {
    async fn start(data_dir: &Path) -> anyhow::Result<Self> {
        let postgres =
            EmbeddedPostgres::start(EmbeddedPostgresOptions::new(data_dir.join("postgres"))).await?;
        postgres.create_database(DATABASE).await?;
        let nats = EmbeddedNats::start(EmbeddedNatsOptions::new(data_dir.join("nats"))).await?;
        let simulator = Simulator::start(SimulatorOptions::new(data_dir.join("simulator"))).await?;
        let stripe = FakeStripe::start(FakeStripeOptions::new(data_dir.join("stripe"), STRIPE_KEY)).await?;
        Ok(Self { postgres, nats, simulator, stripe })
    }

    fn processes(&self) -> Vec<(&'static str, Pid)> {
        let named = [
            ("Postgres", self.postgres.pid()),
            ("nats-server", self.nats.pid()),
            ("the simulated provider", self.simulator.pid()),
            ("the fake Stripe", self.stripe.pid()),
        ];
        let pid = |(name, pid): (_, Option<u32>)| Some((name, Pid::from_raw(i32::try_from(pid?).ok()?)?));
        named.into_iter().filter_map(pid).collect()
    }

    /// An error with the end of its log for the first that has ended by itself.
    fn check_running(&mut self) -> anyhow::Result<()> {
        self.postgres.check_running()?;
        self.nats.check_running()?;
        self.simulator.check_running()?;
        self.stripe.check_running()
    }

    /// Postgres last: nothing may write to it any more.
    async fn stop(&mut self) -> anyhow::Result<()> {
        let stripe = self.stripe.stop().await;
        let simulator = self.simulator.stop().await;
        let nats = self.nats.stop().await;
        let postgres = self.postgres.stop().await;
        stripe.and(simulator).and(nats).and(postgres)
    }
}

fn progress(arguments: &DevArguments, text: &str) {
    if !arguments.json {
        say(text);
    }
}

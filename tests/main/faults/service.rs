//! A world to break: the real `codexapi serve` on a database, a nats-server and a simulated provider of its own.

use std::fs::File;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Output, Stdio};
use std::time::Duration;

use codexapi::accounts::{self, GrantCredit, NewCustomer};
use codexapi::clock;
use codexapi::config::Config;
use codexapi::embedded::{
    EmbeddedNats, EmbeddedNatsOptions, Simulator, SimulatorOptions, free_port, simulated_providers,
};
use codexapi::event_log::read::{self, SHARD};
use codexapi::event_log::{EventLog, EventLogOptions};
use codexapi_aggregates::event::Metadata;
use codexapi_aggregates::ids::NodeIncarnation;
use codexapi_aggregates::money::MicroUsd;
use codexapi_aggregates::wallet::GrantSource;
use codexapi_projections::checkpoint;
use rustix::process::{Pid, Signal, kill_process};
use sqlx::{ConnectOptions, PgPool};
use tempfile::TempDir;
use tokio::process::{Child, Command};

use crate::harness::{PATIENCE, wait_for};

/// What every customer starts with; nothing here is about running out of it.
const CREDIT: MicroUsd = MicroUsd::dollars(500);

/// One answer on readiness; the service under test may be too busy dying to give it.
const PROBE_TIMEOUT: Duration = Duration::from_secs(2);

/// The service and everything around it but Postgres, which belongs to the test.
pub struct World {
    pub pool: PgPool,
    pub nats: EmbeddedNats,
    pub simulator: Simulator,
    pub http: reqwest::Client,
    pub base_url: String,
    settings: Vec<(&'static str, String)>,
    service: Option<Child>,
    folder: TempDir,
}

/// A further node of a world, until it is dropped.
pub struct Node {
    pub base_url: String,
    /// Where it is scraped.
    pub metrics_url: String,
    service: Child,
}

impl Node {
    /// Stops it (SIGSTOP), lets it go on (SIGCONT), kills it.
    pub fn signal(&self, signal: Signal) {
        signal_child(&self.service, signal);
    }

    /// Waits until it has ended by itself, or by what it was sent.
    pub async fn ends(&mut self) -> ExitStatus {
        ends(&mut self.service).await
    }
}

async fn ends(child: &mut Child) -> ExitStatus {
    let ended = tokio::time::timeout(PATIENCE, child.wait()).await;
    ended.expect("it ends in time").expect("a child")
}

fn signal_child(child: &Child, signal: Signal) {
    signal_process(child.id(), signal);
}

pub fn signal_process(id: Option<u32>, signal: Signal) {
    let id = id.and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
    kill_process(id.expect("a process"), signal).expect("told");
}

impl World {
    /// The service, running on the database behind `pool`.
    pub async fn start(pool: PgPool) -> Self {
        Self::start_with(pool, &[]).await
    }

    /// The same with `more` settings.
    pub async fn start_with(pool: PgPool, more: &[(&'static str, &str)]) -> Self {
        Self::start_at(pool, more, |simulator| simulated_providers(simulator, "")).await
    }

    /// The same with the providers that `providers` writes down, given the simulator's address.
    pub async fn start_at(
        pool: PgPool,
        more: &[(&'static str, &str)],
        providers: impl FnOnce(&str) -> String,
    ) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let nats = EmbeddedNats::start(EmbeddedNatsOptions::new(folder.path().join("nats")));
        let simulator = Simulator::start(SimulatorOptions::new(folder.path().join("simulator")));
        let (nats, simulator) = (nats.await.expect("NATS"), simulator.await.expect("the simulator"));
        let file = folder.path().join("providers.toml");
        std::fs::write(&file, providers(simulator.base_url())).expect("a file");
        let listen = format!("127.0.0.1:{}", free_port().expect("a free port"));
        let mut settings = vec![
            ("DATABASE_URL", pool.connect_options().to_url_lossy().to_string()),
            ("NATS_URL", nats.url()),
            ("CODEXAPI_LISTEN", listen.clone()),
            ("CODEXAPI_METRICS_LISTEN", format!("127.0.0.1:{}", free_port().expect("a free port"))),
            ("CODEXAPI_NODE_NAME", "fault-test".to_owned()),
            ("CODEXAPI_TOKEN_DIGEST_KEY", "5a".repeat(32)),
            ("CODEXAPI_PROVIDERS_FILE", file.display().to_string()),
            ("CODEXAPI_DATABASE_CONNECTIONS", "16".to_owned()),
            ("CODEXAPI_LEASE_RENEW_SECONDS", "1".to_owned()),
            ("CODEXAPI_LEASE_LAPSE_SECONDS", "2".to_owned()),
            ("CODEXAPI_SWEEP_SECONDS", "1".to_owned()),
            ("CODEXAPI_LOG", "warn,codexapi=info".to_owned()),
        ];
        settings.extend(more.iter().map(|(name, value)| (*name, (*value).to_owned())));
        let http = codexapi::tls::http_client_builder().build().expect("a client");
        let base_url = format!("http://{listen}");
        let mut world = Self { pool, nats, simulator, http, base_url, settings, service: None, folder };
        world.start_service(&[]).await;
        world
    }

    /// Starts the service with `more` settings and waits until it answers requests.
    pub async fn start_service(&mut self, more: &[(&str, &str)]) {
        self.service = Some(self.serve(more));
        wait_for("the service answers", async || {
            self.service_still_runs();
            self.is_ready().await.then_some(())
        })
        .await;
    }

    /// Starts a further node over the same database and waits until it answers requests.
    pub async fn another_node(&self, name: &str) -> Node {
        let address = || format!("127.0.0.1:{}", free_port().expect("a free port"));
        let (listen, metrics, nodes) = (address(), address(), address());
        let settings = [
            ("CODEXAPI_NODE_NAME", name),
            ("CODEXAPI_LISTEN", listen.as_str()),
            ("CODEXAPI_METRICS_LISTEN", metrics.as_str()),
            ("CODEXAPI_NODE_LISTEN", nodes.as_str()),
        ];
        let service = self.serve(&settings);
        let (base_url, metrics_url) = (format!("http://{listen}"), format!("http://{metrics}/metrics"));
        wait_for("the node answers", async || answers(&self.http, &base_url).await.then_some(())).await;
        Node { base_url, metrics_url, service }
    }

    /// A service with `more` settings that is left alone, whether or not it can be ready.
    fn serve(&self, more: &[(&str, &str)]) -> Child {
        let log = File::options().create(true).append(true).open(self.service_log()).expect("a log");
        let mut program = self.program(&["serve"], more);
        program.stdout(log.try_clone().expect("a log")).stderr(log).spawn().expect("the service is started")
    }

    /// SIGKILL: nothing runs after it.
    pub async fn kill_service(&mut self) {
        self.service.take().expect("a running service").kill().await.expect("killed");
    }

    /// SIGTERM, as an operator stops it; returns when it has ended.
    pub async fn stop_service(&mut self) {
        self.signal_service(Signal::TERM);
        self.service_ends().await;
    }

    /// Stops the service (SIGSTOP) or lets it go on (SIGCONT).
    pub fn signal_service(&self, signal: Signal) {
        signal_child(self.service.as_ref().expect("a running service"), signal);
    }

    /// Waits until the service has ended by itself.
    pub async fn service_ends(&mut self) -> ExitStatus {
        ends(&mut self.service.take().expect("a running service")).await
    }

    /// Where the service is scraped.
    pub fn metrics_url(&self) -> String {
        format!("http://{}/metrics", self.setting("CODEXAPI_METRICS_LISTEN"))
    }

    /// One number of a node's metrics, by its name and labels; `None` where it is not counted yet.
    pub async fn metric(&self, metrics_url: &str, name: &str) -> Option<i64> {
        let text = self.http.get(metrics_url).timeout(PROBE_TIMEOUT).send().await.ok()?.text().await.ok()?;
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '))?;
        Some(line.parse().expect("a whole number"))
    }

    /// Waits until the service has killed itself at a crash point.
    pub async fn service_crashes(&mut self) {
        let status = self.service_ends().await;
        assert_eq!(status.signal(), Some(9), "it ended by its own SIGKILL:\n{}", self.log_tail());
    }

    /// The service runs still, as it was started.
    pub fn service_still_runs(&mut self) {
        let ended = self.service.as_mut().expect("started").try_wait().expect("a child");
        assert!(ended.is_none(), "the service ended ({ended:?}):\n{}", self.log_tail());
    }

    /// Runs another command of the program to its end.
    pub async fn run(&self, arguments: &[&str]) -> Output {
        self.program(arguments, &[]).output().await.expect("the program runs")
    }

    /// The program with this world's settings and no others.
    pub fn program(&self, arguments: &[&str], more: &[(&str, &str)]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_codexapi"));
        command.args(arguments).env_clear().kill_on_drop(true).stdin(Stdio::null());
        command.envs(self.settings.iter().map(|(name, value)| (*name, value.as_str())));
        command.envs(more.iter().copied());
        command
    }

    /// `codexapi verify` finds every event, balance and projection as it should be.
    pub async fn verifies(&self) {
        let output = self.run(&["verify", "--json"]).await;
        let said = String::from_utf8_lossy(&output.stdout);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "verify: {said}{errors}\n{}", self.log_tail());
    }

    /// Customers with credit; their tokens, which work.
    pub async fn customers(&self, count: usize) -> Vec<String> {
        self.customers_with(count, CREDIT).await
    }

    /// The same, with `credit` each.
    pub async fn customers_with(&self, count: usize, credit: MicroUsd) -> Vec<String> {
        let node = NodeIncarnation(clock::new_id());
        let log = EventLog::open(self.pool.clone(), EventLogOptions::new(node)).await.expect("the log");
        let settings = self.settings.iter().map(|(name, value)| (*name, value));
        let config = Config::from_pairs(settings).expect("good settings");
        let metadata = Metadata { actor: "operator:test".into(), ..Metadata::default() };
        let mut tokens = Vec::new();
        for _ in 0..count {
            let new = NewCustomer::default();
            let created =
                accounts::create_customer(&log, &config.credentials, &metadata, new).await.expect("created");
            let grant = GrantCredit {
                account_id: created.account_id,
                source: GrantSource::Admin,
                amount_micro: credit,
                expires_at: None,
                idempotency_key: "credit".into(),
            };
            accounts::grant_credit(&log, &config.wallet.terms(), &metadata, grant).await.expect("granted");
            tokens.push(created.system_token.token.reveal().to_owned());
        }
        self.projected().await;
        tokens
    }

    /// Waits until every read model has come to where the log ends now; more may be appended meanwhile.
    pub async fn follows(&self) {
        let head = read::head(&self.pool, SHARD).await.expect("readable");
        for model in codexapi_projections::READ_MODELS {
            let reached = checkpoint::wait_for(&self.pool, model.name, head, PATIENCE).await;
            assert!(reached.expect("readable"), "{} did not reach {head}", model.name);
        }
    }

    /// Waits until every read model is where the log ends.
    pub async fn projected(&self) {
        wait_for("the read models reach the log's head", async || {
            let head = read::head(&self.pool, SHARD).await.expect("readable");
            let checkpoints = checkpoint::all(&self.pool).await.expect("readable");
            checkpoints.iter().all(|checkpoint| checkpoint.position == head).then_some(())
        })
        .await;
    }

    pub fn log_tail(&self) -> String {
        let log = std::fs::read_to_string(self.service_log()).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(40)..].join("\n")
    }

    async fn is_ready(&self) -> bool {
        answers(&self.http, &self.base_url).await
    }

    /// What was set, or set last.
    pub fn setting(&self, name: &str) -> &str {
        let set = self.settings.iter().rev().find(|(setting, _)| *setting == name);
        &set.unwrap_or_else(|| panic!("{name} is not set")).1
    }

    /// Where this world keeps its files.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The service's, as everybody on the machine can read it.
    pub fn command_line(&self) -> Vec<u8> {
        let id = self.service.as_ref().and_then(Child::id).expect("a running service");
        std::fs::read(format!("/proc/{id}/cmdline")).expect("readable")
    }

    pub fn service_log(&self) -> PathBuf {
        self.folder.path().join("service.log")
    }
}

async fn answers(http: &reqwest::Client, base_url: &str) -> bool {
    let asked = http.get(format!("{base_url}/ready")).timeout(PROBE_TIMEOUT).send().await;
    asked.is_ok_and(|answer| answer.status().is_success())
}

//! A private Postgres as durable as `serve` demands, a private NATS, and the real `codexapi serve` on them.

use std::fs::File;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use codexapi::embedded::{
    EmbeddedNats, EmbeddedNatsOptions, EmbeddedPostgres, EmbeddedPostgresOptions, free_port,
};
use codexapi::event_log::{EventLog, EventLogOptions};
use codexapi::{app, clock};
use codexapi_aggregates::ids::NodeIncarnation;
use rustix::process::{Pid, Signal, kill_process};
use serde::Serialize;
use sqlx::PgPool;
use sqlx::postgres::PgPoolOptions;
use tempfile::TempDir;
use tokio::process::{Child, Command};

/// A start that takes longer is a failure, not a figure.
const READY_WITHIN: Duration = Duration::from_secs(120);
const STOP_WITHIN: Duration = Duration::from_secs(30);
const LOOK_EVERY: Duration = Duration::from_millis(2);
const WEIGH_EVERY: Duration = Duration::from_millis(500);

/// Opens the operator's pages; the service is this program's own and listens on loopback.
pub const ADMIN_TOKEN: &str = "bench-admin-token-0000000000000000";
const DIGEST_KEY: &str = "5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a";

pub struct World {
    pub pool: PgPool,
    pub base_url: String,
    settings: Vec<(&'static str, String)>,
    binaries: PathBuf,
    service: Option<Child>,
    nats: EmbeddedNats,
    postgres: EmbeddedPostgres,
    folder: TempDir,
}

/// How long the service took until it answered.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Started {
    ready_millis: u128,
    again_millis: u128,
}

/// What a check of the whole log took.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Verified {
    seconds: u64,
    peak_resident_mb: u64,
}

impl World {
    /// An empty, migrated database; the service does not run yet.
    pub async fn start(binaries: PathBuf) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir().context("a temporary folder")?;
        // Open to the account that Postgres runs as when root runs this.
        std::fs::set_permissions(folder.path(), PermissionsExt::from_mode(0o711))?;
        let postgres = EmbeddedPostgresOptions::new(folder.path().join("postgres"));
        let postgres = EmbeddedPostgres::start(postgres).await?;
        postgres.create_database("bench").await?;
        let nats = EmbeddedNats::start(EmbeddedNatsOptions::new(folder.path().join("nats"))).await?;
        let database_url = postgres.database_url("bench");
        let pool = PgPoolOptions::new().max_connections(20).connect(&database_url).await?;
        app::prepare(&pool).await?;
        let listen = format!("127.0.0.1:{}", free_port()?);
        let settings = vec![
            ("DATABASE_URL", database_url),
            ("NATS_URL", nats.url()),
            ("CODEXAPI_LISTEN", listen.clone()),
            ("CODEXAPI_METRICS_LISTEN", format!("127.0.0.1:{}", free_port()?)),
            ("CODEXAPI_NODE_NAME", "bench".to_owned()),
            ("CODEXAPI_TOKEN_DIGEST_KEY", DIGEST_KEY.to_owned()),
            ("CODEXAPI_STATIC_ADMIN_TOKENS", ADMIN_TOKEN.to_owned()),
            ("CODEXAPI_LOG", "warn".to_owned()),
        ];
        let base_url = format!("http://{listen}");
        Ok(Self { pool, base_url, settings, binaries, service: None, nats, postgres, folder })
    }

    /// The settings that commands in this process need, too.
    pub fn config(&self) -> anyhow::Result<codexapi::config::Config> {
        Ok(codexapi::config::Config::from_pairs(self.settings.clone())?)
    }

    /// A log of this process's own on the same database, with nothing cached.
    pub async fn open_log(&self) -> anyhow::Result<EventLog> {
        EventLog::open(self.pool.clone(), EventLogOptions::new(NodeIncarnation(clock::new_id()))).await
    }

    /// Starts the service twice, the read models caught up in between, and leaves it running.
    pub async fn start_service(&mut self) -> anyhow::Result<Started> {
        self.launch().await?;
        self.stop_service().await?;
        let ready_millis = self.launch().await?.as_millis();
        self.stop_service().await?;
        let again_millis = self.launch().await?.as_millis();
        Ok(Started { ready_millis, again_millis })
    }

    /// Checks the whole log. Errors: it finds something.
    pub async fn verify(&self) -> anyhow::Result<Verified> {
        let started = Instant::now();
        let mut verify = self.program("verify");
        let verify = verify.arg("--json").stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
        let process = verify.id().context("a process id")?;
        let ended = verify.wait_with_output();
        tokio::pin!(ended);
        let mut peak_resident_mb = 0;
        let output = loop {
            tokio::select! {
                output = &mut ended => break output.context("running verify")?,
                () = tokio::time::sleep(WEIGH_EVERY) => {
                    peak_resident_mb = peak_resident_mb.max(peak_resident_kb(process) / 1_024);
                }
            }
        };
        let said = String::from_utf8_lossy(&output.stdout);
        let errors = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "verify found something: {said}{errors}");
        Ok(Verified { seconds: started.elapsed().as_secs(), peak_resident_mb })
    }

    pub async fn stop(mut self) -> anyhow::Result<()> {
        self.stop_service().await?;
        self.pool.close().await;
        self.nats.stop().await?;
        self.postgres.stop().await
    }

    /// From the process's start until it says that it is ready.
    async fn launch(&mut self) -> anyhow::Result<Duration> {
        let log = File::options().create(true).append(true).open(self.folder.path().join("service.log"))?;
        let started = Instant::now();
        let mut child =
            self.program("serve").stdout(Stdio::null()).stderr(log).spawn().context("starting")?;
        let http = codexapi::tls::http_client_builder().build()?;
        loop {
            let asked = http.get(format!("{}/ready", self.base_url)).send().await;
            if asked.is_ok_and(|answer| answer.status().is_success()) {
                break;
            }
            ensure!(child.try_wait()?.is_none(), "the service ended: {}", self.log_tail());
            ensure!(started.elapsed() < READY_WITHIN, "the service is not ready: {}", self.log_tail());
            tokio::time::sleep(LOOK_EVERY).await;
        }
        let took = started.elapsed();
        self.service = Some(child);
        Ok(took)
    }

    async fn stop_service(&mut self) -> anyhow::Result<()> {
        let Some(mut service) = self.service.take() else { return Ok(()) };
        let id = service.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
        kill_process(id.context("a process id")?, Signal::TERM).context("telling the service to stop")?;
        tokio::time::timeout(STOP_WITHIN, service.wait()).await.context("the service does not stop")??;
        Ok(())
    }

    fn program(&self, command: &str) -> Command {
        let mut program = Command::new(self.binaries.join("codexapi"));
        program.arg(command).env_clear().kill_on_drop(true).stdin(Stdio::null());
        program.envs(self.settings.iter().map(|(name, value)| (*name, value.as_str())));
        program
    }

    fn log_tail(&self) -> String {
        let log = std::fs::read_to_string(self.folder.path().join("service.log")).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(20)..].join("\n")
    }
}

/// The most that the process has had resident; 0 once it has ended.
fn peak_resident_kb(process: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    peak.and_then(|peak| peak.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}

//! A private nats-server with JetStream.
//!
//! Its store is no more than the log's copy in motion: it is killed, not shut down, when this process dies, and
//! [`EmbeddedNats::wipe`] loses freshness only.
//!
//! It asks for no password, unlike the private Postgres: async-nats takes none from a URL, and the plain URL is what
//! every client, tool and test can use. Whoever has an account on the machine can reach it; it is for development.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::Context;
use rustix::process::Signal;

use super::children::ChildProcess;
use super::folder::{FolderLock, LogFile, write_private};
use super::{binaries, free_port};

const READY_DEADLINE: Duration = Duration::from_secs(30);
const PROBE_TIMEOUT: Duration = Duration::from_secs(2);
const PORT_ATTEMPTS: usize = 5;
const STOP_SIGNALS: [(Signal, Duration); 1] = [(Signal::TERM, Duration::from_secs(10))];
/// Twice what the events stream may hold, so that a new epoch fits beside the old one.
const MAX_STORE_BYTES: u64 = 4 << 30;

/// Where.
#[derive(Clone, Debug)]
pub struct EmbeddedNatsOptions {
    /// Holds the store and the logs. Created if missing.
    pub data_dir: PathBuf,
    /// `None`: any free port. Kept over [`EmbeddedNats::restart`].
    pub port: Option<u16>,
}

impl EmbeddedNatsOptions {
    pub fn new(data_dir: impl Into<PathBuf>) -> Self {
        Self { data_dir: data_dir.into(), port: None }
    }
}

/// A running (or, between `kill9` and `restart`, stopped) server. Dropping it stops it.
#[derive(Debug)]
pub struct EmbeddedNats {
    // Before the lock: the folder is free only when the server is gone.
    server: Option<ChildProcess>,
    options: EmbeddedNatsOptions,
    program: PathBuf,
    port: u16,
    _lock: FolderLock,
}

impl EmbeddedNats {
    /// Answers once JetStream answers.
    ///
    /// # Errors
    /// When another process holds the folder (with its id), nats-server is not installed, or it does not start (with
    /// the end of its log).
    pub async fn start(options: EmbeddedNatsOptions) -> anyhow::Result<Self> {
        let program = binaries::nats_server()?;
        let lock = FolderLock::acquire(&options.data_dir)?;
        let mut nats = Self { server: None, options, program, port: 0, _lock: lock };
        nats.launch_on_a_port().await.context("cannot start nats-server")?;
        Ok(nats)
    }

    /// `nats://127.0.0.1:…`
    pub fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// The server's process id while it runs.
    pub fn pid(&self) -> Option<u32> {
        self.server.as_ref().map(ChildProcess::pid)
    }

    /// An error with the end of the log if the server has ended by itself.
    pub fn check_running(&mut self) -> anyhow::Result<()> {
        self.server.as_mut().map_or(Ok(()), ChildProcess::check_running)
    }

    /// Stopping what is stopped does nothing.
    pub async fn stop(&mut self) -> anyhow::Result<()> {
        match self.server.take() {
            Some(server) => server.stop(&STOP_SIGNALS).await,
            None => Ok(()),
        }
    }

    /// Stops it if it runs, and starts it on the same port with what it has stored.
    pub async fn restart(&mut self) -> anyhow::Result<()> {
        self.stop().await?;
        self.launch().await.context("cannot restart nats-server")
    }

    /// The server dies by SIGKILL, as in a crash.
    pub fn kill9(&mut self) -> anyhow::Result<()> {
        match self.server.take() {
            Some(mut server) => server.kill9(),
            None => Ok(()),
        }
    }

    /// Kills the server and removes every stream and consumer. It stays down until `restart`.
    pub fn wipe(&mut self) -> anyhow::Result<()> {
        self.kill9()?;
        match fs::remove_dir_all(self.store()) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(error).context("cannot remove the JetStream store")
            }
            _ => Ok(()),
        }
    }

    async fn launch_on_a_port(&mut self) -> anyhow::Result<()> {
        if let Some(port) = self.options.port {
            self.port = port;
            return self.launch().await;
        }
        for _ in 1..PORT_ATTEMPTS {
            self.port = free_port()?;
            match self.launch().await {
                Err(_) if self.log().text().contains("address already in use") => {}
                outcome => return outcome,
            }
        }
        self.port = free_port()?;
        self.launch().await
    }

    async fn launch(&mut self) -> anyhow::Result<()> {
        let configuration = self.options.data_dir.join("nats.conf");
        write_private(&configuration, &self.configuration())?;
        let mut command = Command::new(&self.program);
        command.env_clear().arg("--config").arg(&configuration);
        let mut server = ChildProcess::spawn("nats-server", command, &self.log(), Signal::KILL)?;
        let url = self.url();
        server.ready(READY_DEADLINE, || jetstream_answers(url.clone())).await?;
        self.server = Some(server);
        Ok(())
    }

    fn configuration(&self) -> String {
        // A JSON string is a string here too.
        let store = serde_json::Value::from(self.store().to_string_lossy());
        format!(
            "listen: \"127.0.0.1:{port}\"\njetstream {{ store_dir: {store}, max_file_store: {MAX_STORE_BYTES} }}\n",
            port = self.port,
        )
    }

    fn store(&self) -> PathBuf {
        self.options.data_dir.join("store")
    }

    fn log(&self) -> LogFile {
        LogFile::in_folder(&self.options.data_dir, "nats-server.log")
    }
}

async fn jetstream_answers(url: String) -> anyhow::Result<()> {
    let ask = async {
        let client = async_nats::ConnectOptions::new().max_reconnects(1).connect(url).await?;
        // Asked by hand: Debian's server leaves out fields that the library's account type demands.
        client.request("$JS.API.INFO", Default::default()).await?;
        anyhow::Ok(())
    };
    tokio::time::timeout(PROBE_TIMEOUT, ask).await?
}

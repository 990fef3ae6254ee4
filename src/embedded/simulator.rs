//! The upstream simulator, a program of this repository, as a child process.
//!
//! A process and not a task: it is the independent witness of what was billed, so it must survive, and be able to
//! outlive, whatever the service under test does to its own process.

use std::path::PathBuf;

use super::sibling::{Sibling, SiblingOptions};

/// Where.
#[derive(Clone, Debug)]
pub struct SimulatorOptions {
    /// Holds the bills and the log. Created if missing.
    pub data_dir: PathBuf,
    /// `None`: any free port. Kept over [`Simulator::restart`].
    pub port: Option<u16>,
}

impl SimulatorOptions {
    pub fn new(data_dir: impl Into<PathBuf>) -> Self {
        Self { data_dir: data_dir.into(), port: None }
    }
}

/// A file of providers (`CODEXAPI_PROVIDERS_FILE`): the simulator, reached at `base_url`, sells a model of each of three
/// makers. `more` is said of each of the three, a line each.
pub fn simulated_providers(base_url: &str, more: &str) -> String {
    let provider = |(maker, protocols, model): (&str, &str, &str)| {
        format!(
            "[[providers]]\nname = \"simulated-{maker}\"\nprotocol = [{protocols}]\nbase_url = \"{base_url}\"\n{more}\n\
             [[providers.models]]\nmodel = \"{model}\"\n\n"
        )
    };
    let makers = [
        ("openai", r#""responses", "chat""#, "gpt-5.5"),
        ("anthropic", r#""messages""#, "claude-opus-4-8"),
        ("deepseek", r#""responses", "chat", "messages""#, "deepseek-v4-pro"),
    ];
    makers.map(provider).concat()
}

/// A running (or stopped) simulator. Dropping it stops it; its bills stay in their file.
#[derive(Debug)]
pub struct Simulator {
    sibling: Sibling,
    bills_file: PathBuf,
}

impl Simulator {
    /// # Errors
    /// When the program was not built (with the command that builds it) or does not start (with the end of its log).
    pub async fn start(options: SimulatorOptions) -> anyhow::Result<Self> {
        let SimulatorOptions { data_dir, port } = options;
        let bills_file = data_dir.join("bills.jsonl");
        let sibling = Sibling::start(SiblingOptions {
            program: "codexapi-simulator",
            called: "the upstream simulator",
            data_dir,
            log: "simulator.log",
            port,
            arguments: vec!["--bills".into(), bills_file.clone().into()],
            environment: vec![],
        });
        Ok(Self { sibling: sibling.await?, bills_file })
    }

    /// Without a trailing slash, e.g. `http://127.0.0.1:20001`.
    pub fn base_url(&self) -> &str {
        self.sibling.base_url()
    }

    /// Where the simulator writes what it billed.
    pub fn bills_file(&self) -> PathBuf {
        self.bills_file.clone()
    }

    /// The process id while it runs.
    pub fn pid(&self) -> Option<u32> {
        self.sibling.pid()
    }

    /// An error with the end of the log if it has ended by itself.
    pub fn check_running(&mut self) -> anyhow::Result<()> {
        self.sibling.check_running()
    }

    /// Stopping what is stopped does nothing.
    pub async fn stop(&mut self) -> anyhow::Result<()> {
        self.sibling.stop().await
    }

    /// Stops it if it runs, and starts it on the same port with the same bills.
    pub async fn restart(&mut self) -> anyhow::Result<()> {
        self.sibling.restart().await
    }

    /// The simulator dies by SIGKILL, as when a provider drops off the net.
    pub fn kill9(&mut self) -> anyhow::Result<()> {
        self.sibling.kill9()
    }
}

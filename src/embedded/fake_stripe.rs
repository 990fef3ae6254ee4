//! The fake Stripe, a program of this repository, as a child process.
//!
//! A process and not a task, like the simulator: what was paid there must outlive whatever the service under test does
//! to its own process.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::Context;
use rustix::process::Signal;
use serde::Deserialize;

use super::children::ChildProcess;
use super::folder::LogFile;
use super::{binaries, free_port};

const PROGRAM: &str = "codexapi-fake-stripe";
const READY_DEADLINE: Duration = Duration::from_secs(20);
const CONTROL_TIMEOUT: Duration = Duration::from_secs(10);
const PORT_ATTEMPTS: usize = 5;
const STOP_SIGNALS: [(Signal, Duration); 1] = [(Signal::TERM, Duration::from_secs(5))];

/// Where, and who may call.
#[derive(Clone, Debug)]
pub struct FakeStripeOptions {
    /// Holds the kept objects and the log. Created if missing.
    pub data_dir: PathBuf,
    /// `None`: any free port. Kept over [`FakeStripe::restart`].
    pub port: Option<u16>,
    /// The secret key that callers must send.
    pub api_key: String,
}

impl FakeStripeOptions {
    pub fn new(data_dir: impl Into<PathBuf>, api_key: impl Into<String>) -> Self {
        Self { data_dir: data_dir.into(), port: None, api_key: api_key.into() }
    }
}

/// A running (or stopped) fake. Dropping it stops it; its objects stay in their file.
#[derive(Debug)]
pub struct FakeStripe {
    server: Option<ChildProcess>,
    options: FakeStripeOptions,
    program: PathBuf,
    port: u16,
    base_url: String,
}

/// What the fake prints, as one line, once it listens.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct ReadyLine {
    ready: bool,
    base_url: String,
}

impl FakeStripe {
    /// # Errors
    /// When the program was not built (with the command that builds it) or does not start (with the end of its log).
    pub async fn start(options: FakeStripeOptions) -> anyhow::Result<Self> {
        let program = binaries::sibling_program(PROGRAM)?;
        std::fs::create_dir_all(&options.data_dir)
            .with_context(|| format!("cannot create {}", options.data_dir.display()))?;
        let mut fake = Self { server: None, options, program, port: 0, base_url: String::new() };
        fake.launch_on_a_port().await.context("cannot start the fake Stripe")?;
        Ok(fake)
    }

    /// Without a trailing slash, e.g. `http://127.0.0.1:20002`: the API's base, and the control's below `/_control`.
    pub fn base_url(&self) -> &str {
        &self.base_url
    }

    pub fn api_key(&self) -> &str {
        &self.options.api_key
    }

    /// From now on events are sent to `webhook`, signed with `secret`.
    pub async fn tell(&self, webhook: &str, secret: &str) -> anyhow::Result<()> {
        let told = crate::tls::http_client_builder()
            .timeout(CONTROL_TIMEOUT)
            .build()?
            .post(format!("{}/_control/webhooks", self.base_url))
            .json(&serde_json::json!({ "url": webhook, "secret": secret }))
            .send()
            .await
            .context("telling the fake Stripe where to send events")?;
        anyhow::ensure!(told.status().is_success(), "the fake Stripe sends no events to {webhook}");
        Ok(())
    }

    /// An error with the end of the log if it has ended by itself.
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

    /// Stops it if it runs, and starts it on the same port with the same objects. Webhooks must be set again.
    pub async fn restart(&mut self) -> anyhow::Result<()> {
        self.stop().await?;
        self.launch().await.context("cannot restart the fake Stripe")
    }

    /// It dies by SIGKILL, as when Stripe drops off the net.
    pub fn kill9(&mut self) -> anyhow::Result<()> {
        match self.server.take() {
            Some(mut server) => server.kill9(),
            None => Ok(()),
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
                Err(_) if self.log().text().to_lowercase().contains("address already in use") => {}
                outcome => return outcome,
            }
        }
        self.port = free_port()?;
        self.launch().await
    }

    async fn launch(&mut self) -> anyhow::Result<()> {
        let mut command = Command::new(&self.program);
        command
            .arg("--listen")
            .arg(format!("127.0.0.1:{}", self.port))
            .arg("--keep")
            .arg(self.options.data_dir.join("objects.json"))
            .env("CODEXAPI_FAKE_STRIPE_API_KEY", &self.options.api_key);
        let log = self.log();
        let mut server = ChildProcess::spawn(PROGRAM, command, &log, Signal::KILL)?;
        let probe = || std::future::ready(ready_line(&log.text()).context("no ready line yet"));
        self.base_url = server.ready(READY_DEADLINE, probe).await?.base_url.trim_end_matches('/').to_owned();
        self.server = Some(server);
        Ok(())
    }

    fn log(&self) -> LogFile {
        LogFile::in_folder(&self.options.data_dir, "fake-stripe.log")
    }
}

fn ready_line(output: &str) -> Option<ReadyLine> {
    output.lines().find_map(|line| serde_json::from_str::<ReadyLine>(line).ok().filter(|line| line.ready))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ready_line_is_found_among_log_lines_and_a_half_written_one_is_not_taken() {
        let output = "listening\n{\"ready\":false,\"baseUrl\":\"http://a\"}\n{\"ready\":true,\"baseUrl\":\"http://127.0.0.1:20002\"}\n";
        assert_eq!(ready_line(output).expect("found").base_url, "http://127.0.0.1:20002");
        assert!(ready_line("{\"ready\":true,\"baseUr").is_none());
    }
}

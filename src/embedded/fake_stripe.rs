//! The fake Stripe, a program of this repository, as a child process.
//!
//! A process and not a task, like the simulator: what was paid there must outlive whatever the service under test does
//! to its own process.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;

use super::sibling::{Sibling, SiblingOptions};

const CONTROL_TIMEOUT: Duration = Duration::from_secs(10);

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
    sibling: Sibling,
    api_key: String,
}

impl FakeStripe {
    /// # Errors
    /// When the program was not built (with the command that builds it) or does not start (with the end of its log).
    pub async fn start(options: FakeStripeOptions) -> anyhow::Result<Self> {
        let FakeStripeOptions { data_dir, port, api_key } = options;
        let objects = data_dir.join("objects.json");
        let sibling = Sibling::start(SiblingOptions {
            program: "codexapi-fake-stripe",
            called: "the fake Stripe",
            data_dir,
            log: "fake-stripe.log",
            port,
            arguments: vec!["--keep".into(), objects.into()],
            environment: vec![("CODEXAPI_FAKE_STRIPE_API_KEY", api_key.clone())],
        });
        Ok(Self { sibling: sibling.await?, api_key })
    }

    /// Without a trailing slash, e.g. `http://127.0.0.1:20002`: the API's base, and the control's below `/_control`.
    pub fn base_url(&self) -> &str {
        self.sibling.base_url()
    }

    pub fn api_key(&self) -> &str {
        &self.api_key
    }

    /// From now on events are sent to `webhook`, signed with `secret`.
    pub async fn tell(&self, webhook: &str, secret: &str) -> anyhow::Result<()> {
        let told = crate::tls::http_client_builder()
            .timeout(CONTROL_TIMEOUT)
            .build()?
            .post(format!("{}/_control/webhooks", self.base_url()))
            .json(&serde_json::json!({ "url": webhook, "secret": secret }))
            .send()
            .await
            .context("telling the fake Stripe where to send events")?;
        anyhow::ensure!(told.status().is_success(), "the fake Stripe sends no events to {webhook}");
        Ok(())
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

    /// Stops it if it runs, and starts it on the same port with the same objects. Webhooks must be set again.
    pub async fn restart(&mut self) -> anyhow::Result<()> {
        self.sibling.restart().await
    }

    /// It dies by SIGKILL, as when Stripe drops off the net.
    pub fn kill9(&mut self) -> anyhow::Result<()> {
        self.sibling.kill9()
    }
}

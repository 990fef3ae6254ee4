//! The connection to JetStream and the names used on it.
//!
//! NATS is the bloodstream, never the truth: `connect` succeeds while the server is away, the client
//! keeps trying with a capped delay, and everything built on it can do without. Names carry a prefix,
//! so that several deployments (or tests) share one server.

pub mod message;

use std::time::Duration;

use anyhow::Context as _;
use async_nats::jetstream;
use async_nats::{Client, ConnectOptions, Event, connection::State};

/// The longest wait for any answer from NATS.
pub const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);

const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// How often the server is asked whether it lives. One that hangs counts as away when three of these were not answered.
const ASKED_EVERY: Duration = Duration::from_secs(2);
const RECONNECT_DELAY_FLOOR: Duration = Duration::from_millis(50);
const RECONNECT_DELAY_CAP: Duration = Duration::from_secs(2);

/// Where NATS is and what this deployment calls its things there.
#[derive(Clone, Debug)]
pub struct NatsConfig {
    /// `nats://[user:password@]host:port`; may hold a secret, so it is never logged.
    pub url: String,
    pub names: NatsNames,
}

/// Names of the stream and its subjects, apart from those of other deployments on the same server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NatsNames {
    prefix: String,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a NATS prefix has at most 64 letters, digits, '-' and '_'; {0:?} has not")]
pub struct BadPrefix(String);

impl NatsNames {
    /// `prefix` may be empty: the stream is then `events`, else `<prefix>_events`.
    pub fn new(prefix: &str) -> Result<Self, BadPrefix> {
        let allowed = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        if prefix.len() > 64 || !prefix.chars().all(allowed) {
            return Err(BadPrefix(prefix.into()));
        }
        Ok(Self { prefix: prefix.into() })
    }

    pub fn stream(&self) -> String {
        if self.prefix.is_empty() { "events".into() } else { format!("{}_events", self.prefix) }
    }

    /// What the stream listens to.
    pub fn subjects(&self) -> String {
        self.subject(">")
    }

    /// Where pages of the log are published.
    pub fn pages(&self) -> String {
        self.subject("pages")
    }

    fn subject(&self, rest: &str) -> String {
        if self.prefix.is_empty() {
            format!("events.{rest}")
        } else {
            format!("{}.events.{rest}", self.prefix)
        }
    }
}

/// A shared connection; cheap to clone.
#[derive(Clone)]
pub struct Nats {
    pub(crate) client: Client,
    pub names: NatsNames,
}

impl Nats {
    /// Starts connecting and returns at once; what is asked meanwhile fails or times out.
    ///
    /// # Errors
    /// Where the URL is none.
    pub async fn connect(config: &NatsConfig) -> anyhow::Result<Self> {
        let client = ConnectOptions::new()
            .name("codexapi")
            .retry_on_initial_connect()
            .connection_timeout(CONNECT_TIMEOUT)
            .request_timeout(Some(REQUEST_TIMEOUT))
            .ping_interval(ASKED_EVERY)
            .reconnect_delay_callback(reconnect_delay)
            .event_callback(|event| async move { log_connection_change(&event) })
            .connect(config.url.as_str())
            .await
            .context("the NATS URL is not usable")?;
        Ok(Self { client, names: config.names.clone() })
    }

    pub fn is_connected(&self) -> bool {
        self.client.connection_state() == State::Connected
    }

    /// Whether it is connected, or comes to be within `patience`: a connection is made while the service starts.
    pub async fn connects_within(&self, patience: Duration) -> bool {
        let connected = async {
            while !self.is_connected() {
                tokio::time::sleep(RECONNECT_DELAY_FLOOR).await;
            }
        };
        tokio::time::timeout(patience, connected).await.is_ok()
    }

    /// A JetStream context whose every request is answered or given up within `REQUEST_TIMEOUT`.
    pub fn jetstream(&self) -> jetstream::Context {
        let mut context = jetstream::new(self.client.clone());
        context.set_timeout(REQUEST_TIMEOUT);
        context
    }
}

fn reconnect_delay(attempt: usize) -> Duration {
    let doublings = u32::try_from(attempt.min(10)).expect("at most 10");
    RECONNECT_DELAY_FLOOR.saturating_mul(2_u32.saturating_pow(doublings)).min(RECONNECT_DELAY_CAP)
}

/// Only changes are worth a line; the failed attempts in between are not.
fn log_connection_change(event: &Event) {
    match event {
        Event::Connected => tracing::info!("NATS is connected"),
        Event::Disconnected => tracing::warn!("NATS is away; projections read the log meanwhile"),
        other => tracing::debug!(event = %other, "NATS"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deployments_on_one_server_share_no_name() {
        let plain = NatsNames::new("").unwrap();
        let other = NatsNames::new("eu-1").unwrap();
        assert_eq!(plain.stream(), "events");
        assert_eq!(plain.pages(), "events.pages");
        assert_eq!(other.stream(), "eu-1_events");
        assert_eq!(other.subjects(), "eu-1.events.>");
    }

    #[test]
    fn a_prefix_that_would_change_the_subject_is_refused() {
        for bad in ["a.b", "a b", ">", "a*"] {
            assert_eq!(NatsNames::new(bad), Err(BadPrefix(bad.into())));
        }
    }

    #[test]
    fn reconnecting_never_waits_longer_than_the_cap() {
        assert!(reconnect_delay(0) < reconnect_delay(2));
        assert_eq!(reconnect_delay(1_000_000), RECONNECT_DELAY_CAP);
    }
}

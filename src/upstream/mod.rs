//! Providers: transport only. Which provider, what it costs and what its answer means is decided elsewhere.
//!
//! Redirects are never followed: a provider that could send a request elsewhere could send its key elsewhere.

mod provider;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use codexapi_aggregates::usage::Protocol;
use http::HeaderMap;

pub use provider::{Provider, Target};

use crate::config::providers::Providers as Configured;

/// Seconds for name look-up, TCP and TLS together.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Until the response's headers; a model may think this long before it answers.
const HEADERS_TIMEOUT: Duration = Duration::from_secs(600);

/// Idle connections kept per provider.
const IDLE_CONNECTIONS: usize = 256;
const IDLE_CONNECTION_AGE: Duration = Duration::from_secs(50);

/// Every provider the operator has configured, and the connections to them.
pub struct Providers {
    providers: Vec<Arc<Provider>>,
    client: reqwest::Client,
}

/// Why a provider gave no response at all.
#[derive(Debug, thiserror::Error)]
pub enum SendError {
    /// Nothing of the request was sent.
    #[error("{provider} was not reached")]
    NotReached { provider: String, source: reqwest::Error },
    /// The request was sent, at least in part; it may have begun.
    #[error("{provider} took the request and gave no response")]
    NoResponse { provider: String, source: reqwest::Error },
    #[error("{provider} gave no response within {} s", HEADERS_TIMEOUT.as_secs())]
    TimedOut { provider: String },
}

impl Providers {
    /// # Errors
    /// When a provider's key cannot be sent, or the TLS set-up fails.
    pub fn new(configured: &Configured) -> anyhow::Result<Self> {
        let client = crate::tls::http_client_builder()
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(CONNECT_TIMEOUT)
            .pool_max_idle_per_host(IDLE_CONNECTIONS)
            .pool_idle_timeout(IDLE_CONNECTION_AGE)
            .tcp_nodelay(true)
            .no_proxy()
            .build()?;
        let providers = configured.iter().map(|provider| Ok(Arc::new(Provider::new(provider)?)));
        Ok(Self { providers: providers.collect::<anyhow::Result<_>>()?, client })
    }

    /// How the first configured provider that sells `label` over `protocol` serves it.
    pub fn target(&self, label: &str, protocol: Protocol) -> Option<Target> {
        self.providers.iter().find_map(|provider| Provider::target(provider, label, protocol))
    }

    /// Whether some provider sells `label` over any protocol.
    pub fn sells(&self, label: &str) -> bool {
        let sold = self.providers.iter().flat_map(|provider| provider.models());
        sold.into_iter().any(|sold| sold.model == label || sold.aliases.iter().any(|alias| alias == label))
    }

    /// Our names of every model that some provider sells.
    pub fn models(&self) -> BTreeSet<&str> {
        self.providers.iter().flat_map(|provider| provider.models()).map(|sold| sold.model.as_str()).collect()
    }

    /// Sends one request and waits for the response's headers. `query` is the client's, without `?`.
    pub async fn send(
        &self,
        target: &Target,
        protocol: Protocol,
        query: Option<&str>,
        mut headers: HeaderMap,
        body: Bytes,
    ) -> Result<reqwest::Response, SendError> {
        let provider = || target.provider.name().to_owned();
        target.provider.authorize(protocol, &mut headers);
        let request =
            self.client.post(target.provider.url(protocol, query)).headers(headers).body(body).send();
        match tokio::time::timeout(HEADERS_TIMEOUT, request).await {
            Ok(Ok(response)) => Ok(response),
            Ok(Err(source)) if source.is_connect() => {
                Err(SendError::NotReached { provider: provider(), source: source.without_url() })
            }
            Ok(Err(source)) => {
                Err(SendError::NoResponse { provider: provider(), source: source.without_url() })
            }
            Err(_) => Err(SendError::TimedOut { provider: provider() }),
        }
    }
}

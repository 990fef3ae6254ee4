//! Providers: transport only. Which provider, what it costs and what its answer means is decided elsewhere.
//!
//! Redirects are never followed: a provider that could send a request elsewhere could send its key elsewhere. For the
//! same reason each is connected to within its reach alone.

pub mod circuits;
mod provider;
mod signed_in;

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use codexapi_aggregates::routing::{Catalog, CatalogModel, CatalogProvider, PlannedTarget, ProviderKind};
use http::HeaderMap;

pub use provider::{Provider, Target};

use crate::config::providers::{ProviderAccount, Providers as Configured};
use crate::egress::{Reach, Resolver};

/// Seconds for name look-up, TCP and TLS together.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Idle connections kept per provider.
const IDLE_CONNECTIONS: usize = 256;
const IDLE_CONNECTION_AGE: Duration = Duration::from_secs(50);

/// Every provider the operator has configured, and the connections to them.
pub struct Providers {
    by_name: HashMap<String, Arc<Provider>>,
    catalog: Catalog,
    clients: HashMap<Reach, reqwest::Client>,
}

/// Why a provider gave no response at all.
#[derive(Debug, thiserror::Error)]
pub enum SendError {
    /// Nothing of the request was sent.
    #[error("{provider} was not reached")]
    NotReached { provider: String, source: reqwest::Error },
    /// Nothing was sent, for want of credentials.
    #[error("{provider} cannot be called: {source:#}")]
    NoCredentials { provider: String, source: anyhow::Error },
    /// The request was sent, at least in part; it may have begun.
    #[error("{provider} took the request and gave no response")]
    NoResponse { provider: String, source: reqwest::Error },
    #[error("{provider} gave no response within {} s", within.as_secs())]
    TimedOut { provider: String, within: Duration },
}

impl Providers {
    /// # Errors
    /// When a provider's key cannot be sent, or the TLS set-up fails.
    pub fn new(configured: &Configured) -> anyhow::Result<Self> {
        let mut clients = HashMap::new();
        for reach in configured.iter().map(|provider| provider.base_url.reach()) {
            if let Entry::Vacant(none) = clients.entry(reach) {
                none.insert(client(reach)?);
            }
        }
        let named =
            configured.iter().map(|provider| Ok((provider.name.clone(), Arc::new(Provider::new(provider)?))));
        Ok(Self { by_name: named.collect::<anyhow::Result<_>>()?, catalog: catalog(configured), clients })
    }

    /// What is configured, for routing.
    pub fn catalog(&self) -> &Catalog {
        &self.catalog
    }

    /// `None` for a provider that is not configured; a plan names none.
    pub fn target(&self, planned: &PlannedTarget) -> Option<Target> {
        let provider = self.by_name.get(&planned.provider)?.clone();
        Some(Target { provider, protocol: planned.protocol, upstream_model: planned.upstream_model.clone() })
    }

    /// Sends one request and waits for the response's headers, at most `within`. `query` is the client's,
    /// without `?`.
    pub async fn send(
        &self,
        target: &Target,
        query: Option<&str>,
        mut headers: HeaderMap,
        body: Bytes,
        within: Duration,
    ) -> Result<reqwest::Response, SendError> {
        let provider = || target.provider.name().to_owned();
        if let Err(source) = target.provider.authorize(target.protocol, &mut headers).await {
            return Err(SendError::NoCredentials { provider: provider(), source });
        }
        let url = target.provider.url(target.protocol, query);
        let client = &self.clients[&target.provider.reach()];
        let request = client.post(url).headers(headers).body(body).send();
        match tokio::time::timeout(within, request).await {
            Ok(Ok(response)) => Ok(response),
            Ok(Err(source)) if source.is_connect() => {
                Err(SendError::NotReached { provider: provider(), source: source.without_url() })
            }
            Ok(Err(source)) => {
                Err(SendError::NoResponse { provider: provider(), source: source.without_url() })
            }
            Err(_) => Err(SendError::TimedOut { provider: provider(), within }),
        }
    }
}

fn client(reach: Reach) -> reqwest::Result<reqwest::Client> {
    crate::tls::http_client_builder()
        .redirect(reqwest::redirect::Policy::none())
        .dns_resolver(Resolver(reach))
        .connect_timeout(CONNECT_TIMEOUT)
        .pool_max_idle_per_host(IDLE_CONNECTIONS)
        .pool_idle_timeout(IDLE_CONNECTION_AGE)
        .tcp_nodelay(true)
        .no_proxy()
        .build()
}

fn catalog(configured: &Configured) -> Catalog {
    let providers = configured.iter().map(|provider| CatalogProvider {
        name: provider.name.clone(),
        kind: match provider.account {
            ProviderAccount::Api(_) => ProviderKind::Api,
            ProviderAccount::SignedIn { .. } => ProviderKind::SignedIn,
        },
        protocols: provider.protocols.clone(),
        models: provider
            .models
            .iter()
            .map(|sold| CatalogModel {
                model: sold.model.clone(),
                upstream: sold.upstream.clone(),
                aliases: sold.aliases.clone(),
            })
            .collect(),
    });
    Catalog { providers: providers.collect() }
}

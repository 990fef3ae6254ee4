//! One provider: where it is, what it speaks, what it calls our models, and the key it is paid by.

use std::fmt;
use std::sync::Arc;

use anyhow::Context;
use codexapi_aggregates::usage::Protocol;
use http::header::{AUTHORIZATION, InvalidHeaderValue};
use http::{HeaderMap, HeaderName, HeaderValue};

use crate::config::providers::{self, ProviderModel};

const X_API_KEY: HeaderName = HeaderName::from_static("x-api-key");
const ANTHROPIC_VERSION: HeaderName = HeaderName::from_static("anthropic-version");
const DEFAULT_ANTHROPIC_VERSION: HeaderValue = HeaderValue::from_static("2023-06-01");

pub struct Provider {
    name: String,
    protocols: Vec<Protocol>,
    /// Without a trailing slash.
    base_url: String,
    key: Option<Key>,
    models: Vec<ProviderModel>,
}

/// The provider's key, in the two forms it is sent in.
struct Key {
    bare: HeaderValue,
    bearer: HeaderValue,
}

/// A provider, the model in its price book's name, and what the provider calls it.
#[derive(Clone, Debug)]
pub struct Target {
    pub provider: Arc<Provider>,
    /// Our name of the model, which is billed whatever label the client used.
    pub model: String,
    pub upstream_model: String,
}

impl Provider {
    pub(super) fn new(settings: &providers::Provider) -> anyhow::Result<Self> {
        let key = settings.api_key.as_ref().map(|key| Key::new(key.reveal())).transpose();
        Ok(Self {
            name: settings.name.clone(),
            protocols: settings.protocols.clone(),
            base_url: settings.base_url.as_str().trim_end_matches('/').to_owned(),
            key: key.with_context(|| {
                format!("the key of provider {:?} cannot stand in a header", settings.name)
            })?,
            models: settings.models.clone(),
        })
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    /// Our names of what it sells, and the further names clients may use.
    pub fn models(&self) -> impl Iterator<Item = &ProviderModel> {
        self.models.iter()
    }

    /// How it serves what a client calls `label`, if it does.
    pub(super) fn target(self_: &Arc<Self>, label: &str, protocol: Protocol) -> Option<Target> {
        let sold = self_
            .models
            .iter()
            .find(|sold| sold.model == label || sold.aliases.iter().any(|a| a == label))?;
        self_.protocols.contains(&protocol).then(|| Target {
            provider: self_.clone(),
            model: sold.model.clone(),
            upstream_model: sold.upstream.clone(),
        })
    }

    pub(super) fn url(&self, protocol: Protocol, query: Option<&str>) -> String {
        let path = match protocol {
            Protocol::Responses => "v1/responses",
            Protocol::Chat => "v1/chat/completions",
            Protocol::Completions => "v1/completions",
            Protocol::Messages => "v1/messages",
        };
        let base = &self.base_url;
        match query {
            Some(query) => format!("{base}/{path}?{query}"),
            None => format!("{base}/{path}"),
        }
    }

    pub(super) fn authorize(&self, protocol: Protocol, headers: &mut HeaderMap) {
        match protocol {
            Protocol::Responses | Protocol::Chat | Protocol::Completions => {
                if let Some(key) = &self.key {
                    headers.insert(AUTHORIZATION, key.bearer.clone());
                }
            }
            Protocol::Messages => {
                if let Some(key) = &self.key {
                    headers.insert(X_API_KEY, key.bare.clone());
                }
                headers.entry(ANTHROPIC_VERSION).or_insert(DEFAULT_ANTHROPIC_VERSION);
            }
        }
    }
}

impl Key {
    fn new(secret: &str) -> Result<Self, InvalidHeaderValue> {
        let mut bare = HeaderValue::from_str(secret)?;
        let mut bearer = HeaderValue::from_str(&format!("Bearer {secret}"))?;
        bare.set_sensitive(true);
        bearer.set_sensitive(true);
        Ok(Self { bare, bearer })
    }
}

impl fmt::Debug for Provider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Provider").field("name", &self.name).finish_non_exhaustive()
    }
}

//! One provider: where it is, what it speaks, and the account requests to it are paid by.

use std::fmt;
use std::sync::Arc;

use anyhow::Context;
use codexapi_aggregates::usage::Protocol;
use http::header::{AUTHORIZATION, InvalidHeaderValue};
use http::{HeaderMap, HeaderName, HeaderValue};

use super::circuits::CircuitKey;
use super::signed_in::SignedIn;
use crate::config::providers::{self, ProviderAccount};
use crate::egress::Reach;

const X_API_KEY: HeaderName = HeaderName::from_static("x-api-key");
const ANTHROPIC_VERSION: HeaderName = HeaderName::from_static("anthropic-version");
const DEFAULT_ANTHROPIC_VERSION: HeaderValue = HeaderValue::from_static("2023-06-01");
const CHATGPT_ACCOUNT_ID: HeaderName = HeaderName::from_static("chatgpt-account-id");

pub struct Provider {
    name: String,
    /// Without a trailing slash.
    base_url: String,
    reach: Reach,
    account: Account,
    errors_are_free: bool,
}

enum Account {
    Api(Option<Key>),
    SignedIn(SignedIn),
}

/// The provider's key, in the two forms it is sent in.
struct Key {
    bare: HeaderValue,
    bearer: HeaderValue,
}

/// A provider, the dialect it is spoken to in, and what it calls the model.
#[derive(Clone, Debug)]
pub struct Target {
    pub provider: Arc<Provider>,
    pub protocol: Protocol,
    pub upstream_model: String,
}

impl Target {
    pub fn circuit(&self) -> CircuitKey {
        let (provider, upstream_model) = (self.provider.name.clone(), self.upstream_model.clone());
        CircuitKey { provider, upstream_model }
    }
}

impl Provider {
    pub(super) fn new(settings: &providers::Provider) -> anyhow::Result<Self> {
        let account = match &settings.account {
            ProviderAccount::Api(key) => {
                let key = key.as_ref().map(|key| Key::new(key.reveal())).transpose();
                Account::Api(key.with_context(|| {
                    format!("the key of provider {:?} cannot stand in a header", settings.name)
                })?)
            }
            ProviderAccount::SignedIn { codex_home } => Account::SignedIn(SignedIn::new(codex_home)),
        };
        Ok(Self {
            name: settings.name.clone(),
            base_url: settings.base_url.as_str().to_owned(),
            reach: settings.base_url.reach(),
            account,
            errors_are_free: settings.errors_are_free,
        })
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    /// It bills nothing for an answer with an error status.
    pub fn errors_are_free(&self) -> bool {
        self.errors_are_free
    }

    /// A signed-in account is served as streams only.
    pub fn only_streams(&self) -> bool {
        matches!(self.account, Account::SignedIn(_))
    }

    pub(super) fn reach(&self) -> Reach {
        self.reach
    }

    pub(super) fn url(&self, protocol: Protocol, query: Option<&str>) -> String {
        let path = match (&self.account, protocol) {
            (Account::SignedIn(_), _) => "responses",
            (Account::Api(_), Protocol::Responses) => "v1/responses",
            (Account::Api(_), Protocol::Chat) => "v1/chat/completions",
            (Account::Api(_), Protocol::Completions) => "v1/completions",
            (Account::Api(_), Protocol::Messages) => "v1/messages",
        };
        let base = &self.base_url;
        match query {
            Some(query) => format!("{base}/{path}?{query}"),
            None => format!("{base}/{path}"),
        }
    }

    /// # Errors
    /// The signed-in account's credentials cannot be read.
    pub(super) async fn authorize(&self, protocol: Protocol, headers: &mut HeaderMap) -> anyhow::Result<()> {
        match (&self.account, protocol) {
            (Account::SignedIn(account), _) => {
                let credentials = account.credentials().await?;
                headers.insert(AUTHORIZATION, credentials.bearer.clone());
                if let Some(account_id) = &credentials.account_id {
                    headers.insert(CHATGPT_ACCOUNT_ID, account_id.clone());
                }
            }
            (Account::Api(key), Protocol::Responses | Protocol::Chat | Protocol::Completions) => {
                if let Some(key) = key {
                    headers.insert(AUTHORIZATION, key.bearer.clone());
                }
            }
            (Account::Api(key), Protocol::Messages) => {
                if let Some(key) = key {
                    headers.insert(X_API_KEY, key.bare.clone());
                }
                headers.entry(ANTHROPIC_VERSION).or_insert(DEFAULT_ANTHROPIC_VERSION);
            }
        }
        Ok(())
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

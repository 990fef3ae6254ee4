//! One provider: where it is, what it speaks, and the account requests to it are paid by.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use anyhow::Context;
use codexapi_aggregates::usage::Protocol;
use http::header::{AUTHORIZATION, InvalidHeaderValue};
use http::{HeaderMap, HeaderName, HeaderValue};
use reqwest::Url;

use super::circuits::CircuitKey;
use super::signed_in::SignedIn;
use crate::config::providers::{self, ProviderAccount};
use crate::egress::Reach;

const PROTOCOLS: [Protocol; 4] =
    [Protocol::Responses, Protocol::Chat, Protocol::Messages, Protocol::Completions];

const X_API_KEY: HeaderName = HeaderName::from_static("x-api-key");
const ANTHROPIC_VERSION: HeaderName = HeaderName::from_static("anthropic-version");
const DEFAULT_ANTHROPIC_VERSION: HeaderValue = HeaderValue::from_static("2023-06-01");
const CHATGPT_ACCOUNT_ID: HeaderName = HeaderName::from_static("chatgpt-account-id");

pub struct Provider {
    name: String,
    /// Where each dialect is spoken: taken apart once, since every request goes to one of them.
    urls: BTreeMap<Protocol, Url>,
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
        let base_url = settings.base_url.as_str();
        let url = |protocol| Ok((protocol, Url::parse(&format!("{base_url}/{}", path(&account, protocol)))?));
        let urls = PROTOCOLS.map(url).into_iter().collect::<anyhow::Result<_>>();
        Ok(Self {
            name: settings.name.clone(),
            urls: urls.with_context(|| format!("the base URL of provider {:?}", settings.name))?,
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

    /// Where a dialect is spoken, with the client's query.
    pub(super) fn url(&self, protocol: Protocol, query: Option<&str>) -> Url {
        let mut url = self.urls[&protocol].clone();
        if query.is_some() {
            url.set_query(query);
        }
        url
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

/// Below the base URL, which has no trailing slash.
fn path(account: &Account, protocol: Protocol) -> &'static str {
    match (account, protocol) {
        (Account::SignedIn(_), _) => "responses",
        (Account::Api(_), Protocol::Responses) => "v1/responses",
        (Account::Api(_), Protocol::Chat) => "v1/chat/completions",
        (Account::Api(_), Protocol::Completions) => "v1/completions",
        (Account::Api(_), Protocol::Messages) => "v1/messages",
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

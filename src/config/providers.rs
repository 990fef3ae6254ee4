//! Providers: who serves which model, in which protocol, at which address.
//!
//! The file holds no secret: it names the environment variable that does. Everything wrong with it is reported with
//! the line it stands on.

use std::collections::BTreeSet;
use std::fmt;

use codexapi_aggregates::usage::Protocol;
use serde::Deserialize;
use toml::Spanned;

/// Every provider of this deployment, in the order of the file.
#[derive(Clone, Debug, Default)]
pub struct Providers(Vec<Provider>);

/// One upstream.
#[derive(Clone, Debug)]
pub struct Provider {
    /// In reports and metrics; unique.
    pub name: String,
    /// What it speaks; each protocol once.
    pub protocols: Vec<Protocol>,
    /// Without a trailing slash; `/v1/responses` and the like are added to it.
    pub base_url: reqwest::Url,
    /// What it is called with; `None` where it wants no credential.
    pub api_key: Option<ProviderKey>,
    pub models: Vec<ProviderModel>,
}

/// A model as we sell it and as this provider calls it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProviderModel {
    /// The name in the price book.
    pub model: String,
    /// The provider's name of it.
    pub upstream: String,
    /// Further names clients may ask for it by.
    pub aliases: Vec<String>,
}

/// A provider's credential; never shown.
#[derive(Clone)]
pub struct ProviderKey(String);

impl ProviderKey {
    pub fn new(key: String) -> Self {
        Self(key)
    }

    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for ProviderKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ProviderKey(..)")
    }
}

impl Providers {
    pub fn new(providers: Vec<Provider>) -> Self {
        Self(providers)
    }

    pub fn iter(&self) -> impl Iterator<Item = &Provider> {
        self.0.iter()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Reads the file at `path`, secrets from the environment; an empty path is no providers.
    pub(super) fn load(path: &str) -> Result<Self, String> {
        if path.is_empty() {
            return Ok(Self::default());
        }
        let text = std::fs::read_to_string(path).map_err(|error| format!("cannot read it: {error}"))?;
        Self::parse(&text, |name| std::env::var(name).ok().filter(|value| !value.is_empty()))
    }

    /// Reads the text of a providers file; `secret` looks up what `api_key_env` names.
    ///
    /// # Errors
    /// What is wrong and on which line.
    pub fn parse(text: &str, secret: impl Fn(&str) -> Option<String>) -> Result<Self, String> {
        let file: File = toml::from_str(text).map_err(|error| error.to_string())?;
        let mut names = BTreeSet::new();
        let mut providers = Vec::new();
        for entry in file.providers {
            if !names.insert(entry.name.get_ref().clone()) {
                return Err(at(text, &entry.name, "names a provider that stands further up already"));
            }
            providers.push(check(text, entry, &secret)?);
        }
        Ok(Self(providers))
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    providers: Vec<ProviderEntry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ProviderEntry {
    name: Spanned<String>,
    protocol: Spanned<OneOrMany>,
    base_url: Spanned<String>,
    api_key_env: Option<Spanned<String>>,
    #[serde(default)]
    models: Vec<ModelEntry>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum OneOrMany {
    One(Protocol),
    Many(Vec<Protocol>),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ModelEntry {
    model: Spanned<String>,
    upstream: Option<String>,
    #[serde(default)]
    aliases: Vec<Spanned<String>>,
}

fn check(
    text: &str,
    entry: ProviderEntry,
    secret: impl Fn(&str) -> Option<String>,
) -> Result<Provider, String> {
    let name = entry.name.get_ref().clone();
    if !is_label(&name) {
        return Err(at(text, &entry.name, "should be 1 to 40 lower-case letters, digits, '-' or '_'"));
    }
    let span = entry.protocol.span();
    let protocols = match entry.protocol.into_inner() {
        OneOrMany::One(protocol) => vec![protocol],
        OneOrMany::Many(protocols) => protocols,
    };
    if protocols.contains(&Protocol::Completions) {
        return Err(at_offset(
            text,
            span.start,
            "completions is spoken by clients only; a provider is asked in responses, chat or messages",
        ));
    }
    let distinct: BTreeSet<_> = protocols.iter().collect();
    if protocols.is_empty() || distinct.len() != protocols.len() {
        return Err(at_offset(
            text,
            span.start,
            "protocol names each of responses, chat, messages at most once",
        ));
    }
    let base_url = base_url(entry.base_url.get_ref())
        .ok_or_else(|| at(text, &entry.base_url, "should be an http or https URL without query or user"))?;
    let api_key = entry
        .api_key_env
        .map(|variable| {
            let key = secret(variable.get_ref());
            key.map(ProviderKey)
                .ok_or_else(|| at(text, &variable, "names an environment variable that is not set"))
        })
        .transpose()?;
    let models = check_models(text, entry.models)?;
    if models.is_empty() {
        return Err(at(text, &entry.name, "has no [[providers.models]]"));
    }
    Ok(Provider { name, protocols, base_url, api_key, models })
}

fn check_models(text: &str, entries: Vec<ModelEntry>) -> Result<Vec<ProviderModel>, String> {
    let mut names = BTreeSet::new();
    let mut models = Vec::new();
    for entry in entries {
        for name in std::iter::once(&entry.model).chain(&entry.aliases) {
            if name.get_ref().is_empty() {
                return Err(at(text, name, "should be a model's name"));
            }
            if !names.insert(name.get_ref().clone()) {
                return Err(at(text, name, "names a model that this provider has already"));
            }
        }
        let model = entry.model.into_inner();
        let upstream = entry.upstream.unwrap_or_else(|| model.clone());
        let aliases = entry.aliases.into_iter().map(Spanned::into_inner).collect();
        models.push(ProviderModel { model, upstream, aliases });
    }
    Ok(models)
}

fn base_url(text: &str) -> Option<reqwest::Url> {
    let url: reqwest::Url = text.trim_end_matches('/').parse().ok()?;
    let plain = url.username().is_empty() && url.password().is_none() && url.query().is_none();
    (matches!(url.scheme(), "http" | "https") && url.has_host() && plain).then_some(url)
}

fn is_label(name: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'_';
    (1..=40).contains(&name.len()) && name.bytes().all(allowed)
}

fn at(text: &str, value: &Spanned<String>, problem: &str) -> String {
    at_offset(text, value.span().start, &format!("{:?} {problem}", value.get_ref()))
}

fn at_offset(text: &str, offset: usize, problem: &str) -> String {
    let line = text[..offset].matches('\n').count() + 1;
    format!("line {line}: {problem}")
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"
[[providers]]
name = "openai"
protocol = ["responses", "chat"]
base_url = "https://api.openai.com/"
api_key_env = "OPENAI_API_KEY"

[[providers.models]]
model = "gpt-5.5"
upstream = "gpt-5.5-2026"
aliases = ["gpt-5.5-high"]
"#;

    fn parse(text: &str) -> Result<Providers, String> {
        Providers::parse(text, |name| (name == "OPENAI_API_KEY").then(|| "sk-secret".into()))
    }

    #[test]
    fn a_provider_is_read_with_its_secret_from_the_environment() {
        let providers = parse(GOOD).expect("good");
        let provider = providers.iter().next().expect("one");
        assert_eq!(provider.protocols, [Protocol::Responses, Protocol::Chat]);
        assert_eq!(provider.api_key.as_ref().map(ProviderKey::reveal), Some("sk-secret"));
        assert_eq!(provider.models[0].upstream, "gpt-5.5-2026");
        assert!(!format!("{providers:?}").contains("sk-secret"));
    }

    #[test]
    fn what_is_wrong_is_told_with_its_line() {
        let cases = [
            (GOOD.replace("OPENAI_API_KEY", "UNSET"), "line 6: \"UNSET\" names an environment variable"),
            (
                GOOD.replace("https://", "ftp://"),
                "line 5: \"ftp://api.openai.com/\" should be an http or https",
            ),
            (GOOD.replace("\"chat\"", "\"responses\""), "line 4: protocol names each of"),
            (GOOD.replace("\"chat\"", "\"completions\""), "line 4: completions is spoken by clients only"),
            (GOOD.replace("\"openai\"", "\"Open AI\""), "line 3: \"Open AI\" should be 1 to 40"),
            (GOOD.replace("gpt-5.5-high", "gpt-5.5"), "line 11: \"gpt-5.5\" names a model"),
            (format!("{GOOD}{GOOD}"), "line 14: \"openai\" names a provider"),
            (GOOD.replace("upstream", "upsteam"), "line 10"),
            (GOOD.replace("\"chat\"", "\"telepathy\""), "line 4"),
        ];
        for (text, expected) in cases {
            let refusal = parse(&text).expect_err("bad");
            assert!(refusal.contains(&expected.replace("line 10", "upsteam")), "{expected}: {refusal}");
        }
    }

    #[test]
    fn the_example_file_is_read() {
        let text = include_str!("../../config/providers.example.toml");
        let providers = Providers::parse(text, |_| Some("key".into())).expect("the example");
        assert!(providers.iter().count() >= 2);
    }
}

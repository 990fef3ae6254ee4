//! Providers: who serves which model, in which protocol, at which address.
//!
//! The file holds no secret: it names the environment variable that does. Everything wrong with it is reported with
//! the line it stands on.

use std::collections::BTreeSet;
use std::fmt;
use std::path::PathBuf;

use codexapi_aggregates::usage::Protocol;
use serde::Deserialize;
use toml::Spanned;

use super::addresses::ProviderUrl;
use super::masked::without_user;
use super::toml_file;

/// Where a signed-in Codex account is served.
const SIGNED_IN_URL: &str = "https://chatgpt.com/backend-api/codex";

/// Every provider of this deployment, in the order of the file.
#[derive(Clone, Debug, Default)]
pub struct Providers {
    all: Vec<Provider>,
    key_variables: BTreeSet<String>,
}

/// One upstream.
#[derive(Clone, Debug)]
pub struct Provider {
    /// In reports and metrics; unique.
    pub name: String,
    /// What it speaks; each protocol once.
    pub protocols: Vec<Protocol>,
    /// Without a trailing slash; `/v1/responses` and the like are added to it.
    pub base_url: ProviderUrl,
    pub account: ProviderAccount,
    /// It bills nothing for an answer with an error status, so that such a request may be tried again.
    pub errors_are_free: bool,
    pub models: Vec<ProviderModel>,
}

/// How requests to a provider are paid for.
#[derive(Clone, Debug)]
pub enum ProviderAccount {
    /// An API with a key; `None` where it wants none.
    Api(Option<ProviderKey>),
    /// The account somebody has signed in to with Codex, in this Codex home. Its terms may forbid resale, so the
    /// operator has to say that they allow it.
    SignedIn { codex_home: PathBuf },
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
        Self { all: providers, key_variables: BTreeSet::new() }
    }

    pub fn iter(&self) -> impl Iterator<Item = &Provider> {
        self.all.iter()
    }

    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// The environment variables that keys were read from.
    pub fn key_variables(&self) -> impl Iterator<Item = &str> {
        self.key_variables.iter().map(String::as_str)
    }

    /// Reads the file at `path`, secrets from the environment; an empty path is no providers.
    pub(super) fn load(path: &str) -> Result<Self, String> {
        if path.is_empty() {
            return Ok(Self::default());
        }
        let text = toml_file::read(path)?;
        Self::parse(&text, |name| std::env::var(name).ok().filter(|value| !value.is_empty()))
    }

    /// Reads the text of a providers file; `secret` looks up what `api_key_env` names.
    ///
    /// # Errors
    /// What is wrong and on which line.
    pub fn parse(text: &str, secret: impl Fn(&str) -> Option<String>) -> Result<Self, String> {
        toml_file::parse(text, |file| Self::checked(file, text, secret))
    }

    fn checked(file: File, text: &str, secret: impl Fn(&str) -> Option<String>) -> Result<Self, String> {
        let mut names = BTreeSet::new();
        let mut providers = Self::default();
        for entry in file.providers {
            if !names.insert(entry.name.get_ref().clone()) {
                return Err(at(text, &entry.name, "names a provider that stands further up already"));
            }
            providers
                .key_variables
                .extend(entry.api_key_env.iter().map(|variable| variable.get_ref().clone()));
            providers.all.push(check(text, entry, &secret)?);
        }
        Ok(providers)
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
    #[serde(default)]
    kind: Kind,
    protocol: Option<Spanned<OneOrMany>>,
    base_url: Option<Spanned<String>>,
    /// It stands in the operator's own network: at a private address, which may be spoken to in the clear.
    #[serde(default)]
    own_network: bool,
    api_key_env: Option<Spanned<String>>,
    codex_home: Option<PathBuf>,
    #[serde(default)]
    terms_allow_resale: bool,
    #[serde(default)]
    errors_are_free: bool,
    #[serde(default)]
    models: Vec<ModelEntry>,
}

#[derive(Clone, Copy, Default, PartialEq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Kind {
    #[default]
    Api,
    CodexHome,
}

#[derive(Clone, Deserialize)]
#[serde(untagged, expecting = "protocol is responses, chat or messages, or a list of them")]
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
    let (protocols, base_url, account) = match entry.kind {
        Kind::Api => api(text, &entry, secret)?,
        Kind::CodexHome => signed_in(text, &entry)?,
    };
    let models = check_models(text, entry.models)?;
    if models.is_empty() {
        return Err(at(text, &entry.name, "has no [[providers.models]]"));
    }
    Ok(Provider { name, protocols, base_url, account, errors_are_free: entry.errors_are_free, models })
}

type Reached = (Vec<Protocol>, ProviderUrl, ProviderAccount);

fn api(
    text: &str,
    entry: &ProviderEntry,
    secret: impl Fn(&str) -> Option<String>,
) -> Result<Reached, String> {
    let lacks = |what| at(text, &entry.name, what);
    if entry.codex_home.is_some() || entry.terms_allow_resale {
        return Err(lacks("has codex_home or terms_allow_resale, which belong to kind = \"codex_home\""));
    }
    let protocol = entry.protocol.as_ref().ok_or_else(|| lacks("has no protocol"))?;
    let protocols = match protocol.get_ref() {
        OneOrMany::One(protocol) => vec![*protocol],
        OneOrMany::Many(protocols) => protocols.clone(),
    };
    if protocols.contains(&Protocol::Completions) {
        let problem =
            "completions is spoken by clients only; a provider is asked in responses, chat or messages";
        return Err(toml_file::at(text, protocol.span().start, problem));
    }
    let distinct: BTreeSet<_> = protocols.iter().collect();
    if protocols.is_empty() || distinct.len() != protocols.len() {
        let problem = "protocol names each of responses, chat, messages at most once";
        return Err(toml_file::at(text, protocol.span().start, problem));
    }
    let address = entry.base_url.as_ref().ok_or_else(|| lacks("has no base_url"))?;
    let base_url = ProviderUrl::parse(address.get_ref(), entry.own_network)
        .map_err(|refusal| at(text, address, &refusal.to_string()))?;
    let key = entry.api_key_env.as_ref().map(|variable| {
        // Not repeated: it may be the key itself, written where its variable's name belongs.
        let unset = "api_key_env names the environment variable that holds the key: this one is not set";
        let key = secret(variable.get_ref());
        key.map(ProviderKey).ok_or_else(|| toml_file::at(text, variable.span().start, unset))
    });
    Ok((protocols, base_url, ProviderAccount::Api(key.transpose()?)))
}

/// Off by default: the operator names a home and says that the account's terms allow it.
fn signed_in(text: &str, entry: &ProviderEntry) -> Result<Reached, String> {
    let wrong = |what: &str| at(text, &entry.name, what);
    if entry.protocol.is_some() || entry.api_key_env.is_some() {
        return Err(wrong("is a codex_home: it speaks responses and has no api_key_env"));
    }
    if !entry.terms_allow_resale {
        return Err(wrong(
            "uses a signed-in Codex account, whose terms may forbid resale: where they allow it, say \
             terms_allow_resale = true",
        ));
    }
    let codex_home =
        entry.codex_home.clone().ok_or_else(|| wrong("needs codex_home, the folder that holds auth.json"))?;
    let address = entry.base_url.as_ref().map_or(SIGNED_IN_URL, |address| address.get_ref());
    let base_url = ProviderUrl::parse(address, entry.own_network)
        .map_err(|refusal| wrong(&format!("has a base_url that {refusal}")))?;
    Ok((vec![Protocol::Responses], base_url, ProviderAccount::SignedIn { codex_home }))
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

fn is_label(name: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'_';
    (1..=40).contains(&name.len()) && name.bytes().all(allowed)
}

fn at(text: &str, value: &Spanned<String>, problem: &str) -> String {
    toml_file::at(text, value.span().start, &format!("{:?} {problem}", without_user(value.get_ref())))
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
        let ProviderAccount::Api(Some(key)) = &provider.account else { panic!("{provider:?}") };
        assert_eq!(key.reveal(), "sk-secret");
        assert_eq!(provider.models[0].upstream, "gpt-5.5-2026");
        assert!(!format!("{providers:?}").contains("sk-secret"));
    }

    #[test]
    fn what_is_wrong_is_told_with_its_line() {
        let cases = [
            (
                GOOD.replace("OPENAI_API_KEY", "sk-canary"),
                "line 6: api_key_env names the environment variable",
            ),
            (
                GOOD.replace("https://", "ftp://"),
                "line 5: \"ftp://api.openai.com/\" should be an http or https",
            ),
            (
                GOOD.replace("https://", "http://"),
                "line 5: \"http://api.openai.com/\" would send the key in the clear",
            ),
            (
                GOOD.replace("api.openai.com", "10.0.0.1"),
                "line 5: \"https://10.0.0.1/\" is an address of a private network",
            ),
            (GOOD.replace("\"chat\"", "\"responses\""), "line 4: protocol names each of"),
            (GOOD.replace("\"chat\"", "\"completions\""), "line 4: completions is spoken by clients only"),
            (GOOD.replace("\"openai\"", "\"Open AI\""), "line 3: \"Open AI\" should be 1 to 40"),
            (GOOD.replace("gpt-5.5-high", "gpt-5.5"), "line 11: \"gpt-5.5\" names a model"),
            (format!("{GOOD}{GOOD}"), "line 14: \"openai\" names a provider"),
            (GOOD.replace("upstream", "upsteam"), "line 10: unknown field `upsteam`"),
            (GOOD.replace("\"chat\"", "\"telepathy\""), "line 4: "),
        ];
        for (text, expected) in cases {
            let refusal = parse(&text).expect_err("bad");
            assert!(refusal.starts_with(expected) && !refusal.contains("sk-canary"), "{expected}: {refusal}");
        }
    }

    #[test]
    fn a_signed_in_account_is_used_only_where_its_terms_are_said_to_allow_it() {
        let entry = |terms: &str| {
            format!(
                "[[providers]]\nname = \"mine\"\nkind = \"codex_home\"\ncodex_home = \"/srv/codex\"\n{terms}\n\
                 [[providers.models]]\nmodel = \"gpt-5.5\"\n"
            )
        };
        let refusal = parse(&entry("")).expect_err("not said");
        assert!(refusal.contains("may forbid resale"), "{refusal}");
        let providers = parse(&entry("terms_allow_resale = true")).expect("said");
        let provider = providers.iter().next().expect("one");
        assert!(matches!(&provider.account, ProviderAccount::SignedIn { .. }));
        assert_eq!(provider.base_url.as_str(), SIGNED_IN_URL);
        let keyed = parse(&entry("terms_allow_resale = true\napi_key_env = \"OPENAI_API_KEY\""));
        assert!(keyed.expect_err("a key").contains("no api_key_env"));
        let stray = GOOD.replace("api_key_env", "terms_allow_resale = true\napi_key_env");
        assert!(parse(&stray).expect_err("stray").contains("belong to kind"));
    }

    #[test]
    fn the_example_file_is_read() {
        let text = include_str!("../../config/providers.example.toml");
        let providers = Providers::parse(text, |_| Some("key".into())).expect("the example");
        assert!(providers.iter().count() >= 2);
    }
}

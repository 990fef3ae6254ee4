//! What customers see of the deployment in their own tools: names, packages, the models set up by default.
//!
//! These values are written into shell, PowerShell, TOML and JSON that customers run. Each is therefore held to an
//! alphabet that none of those languages gives a meaning to; nothing has to be quoted later, and nothing can be
//! forgotten to be.

use std::collections::BTreeMap;
use std::str::FromStr;

use clap::Args;

/// Names in what customers are given; the documented ones by default.
#[derive(Clone, Debug, Args)]
pub struct BrandSettings {
    /// The provider's id in Codex's configuration: 1 to 32 lower-case letters, digits, '-' or '_'
    #[arg(
        long,
        env = "CODEXAPI_PROVIDER_ID",
        value_name = "ID",
        default_value = "codexapi",
        value_parser = provider_id
    )]
    pub provider_id: String,
    /// The name shown to people: 1 to 64 letters, digits, spaces, '.', '-' or '_'
    #[arg(
        long,
        env = "CODEXAPI_PROVIDER_NAME",
        value_name = "NAME",
        default_value = "CodexAPI.pro",
        value_parser = shown_name
    )]
    pub provider_name: String,
    /// The variable Codex may read its token from: capital letters, digits and '_', not beginning with a digit
    #[arg(
        long,
        env = "CODEXAPI_CODEX_ENV_KEY",
        value_name = "NAME",
        default_value = "CODEXAPI_CODEX_API_KEY",
        value_parser = variable
    )]
    pub codex_env_key: String,
    /// The model Codex is set up with
    #[arg(
        long,
        env = "CODEXAPI_CODEX_MODEL",
        value_name = "MODEL",
        default_value = "gpt-5.5",
        value_parser = model
    )]
    pub codex_model: String,
    /// How hard that model is told to think: minimal, low, medium, high or xhigh
    #[arg(
        long,
        env = "CODEXAPI_CODEX_EFFORT",
        value_name = "EFFORT",
        default_value = "high",
        value_parser = ["minimal", "low", "medium", "high", "xhigh"]
    )]
    pub codex_effort: String,
    /// The model Claude Code is set up with
    #[arg(
        long,
        env = "CODEXAPI_CLAUDE_MODEL",
        value_name = "MODEL",
        default_value = "claude-opus-4-8",
        value_parser = model
    )]
    pub claude_model: String,
    /// The model Claude Code is set up with for its small background requests
    #[arg(
        long,
        env = "CODEXAPI_CLAUDE_SMALL_MODEL",
        value_name = "MODEL",
        default_value = "claude-opus-4-8",
        value_parser = model
    )]
    pub claude_small_model: String,
    /// What models are called where people read, as model=label, comma separated; others go by their own name
    #[arg(
        long,
        env = "CODEXAPI_MODEL_LABELS",
        value_name = "MODEL=LABEL,…",
        default_value = "gpt-5.5=ChatGPT-5.5,claude-opus-4-8=Opus 4.8,deepseek-v4-pro=Deepseek v4 Budget"
    )]
    pub model_labels: ModelLabels,
    /// The npm package of the codexclaude launcher
    #[arg(
        long,
        env = "CODEXAPI_LAUNCHER_PACKAGE",
        value_name = "PACKAGE",
        default_value = "@codexapi/codexclaude",
        value_parser = package
    )]
    pub launcher_package: String,
    /// The launcher's version that customers must have, as 2.0.11
    #[arg(
        long,
        env = "CODEXAPI_LAUNCHER_VERSION",
        value_name = "VERSION",
        default_value = "2.0.11",
        value_parser = version
    )]
    pub launcher_version: String,
}

/// Model → what people read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ModelLabels(BTreeMap<String, String>);

impl ModelLabels {
    /// The label of `model`; its own name where it has none.
    pub fn of<'a>(&'a self, model: &'a str) -> &'a str {
        self.0.get(model).map_or(model, String::as_str)
    }
}

impl FromStr for ModelLabels {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let pair = |pair: &str| {
            let (name, label) = pair.split_once('=').ok_or("not pairs of model=label")?;
            Ok((model(name.trim())?, shown_name(label.trim())?))
        };
        let pairs = text.split(',').map(str::trim).filter(|part| !part.is_empty());
        pairs.map(pair).collect::<Result<_, _>>().map(Self)
    }
}

fn held_to(text: &str, longest: usize, allowed: impl Fn(u8) -> bool) -> Result<String, &'static str> {
    let fits = (1..=longest).contains(&text.len()) && text.bytes().all(allowed);
    if fits { Ok(text.into()) } else { Err("not such a text") }
}

fn provider_id(text: &str) -> Result<String, &'static str> {
    held_to(text, 32, |b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'_')
}

fn shown_name(text: &str) -> Result<String, &'static str> {
    let trimmed = text.trim() == text;
    let name = held_to(text, 64, |b| b.is_ascii_alphanumeric() || b" .-_".contains(&b))?;
    if trimmed { Ok(name) } else { Err("begins or ends with a space") }
}

fn variable(text: &str) -> Result<String, &'static str> {
    let begins_well = !text.starts_with(|first: char| first.is_ascii_digit());
    let name = held_to(text, 64, |b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_')?;
    if begins_well { Ok(name) } else { Err("begins with a digit") }
}

fn model(text: &str) -> Result<String, &'static str> {
    held_to(text, 128, |b| b.is_ascii_alphanumeric() || b"-_.:/".contains(&b))
}

fn package(text: &str) -> Result<String, &'static str> {
    let scoped = text.strip_prefix('@').unwrap_or(text);
    let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-_./".contains(&b);
    held_to(scoped, 128, allowed).map(|_| text.into())
}

fn version(text: &str) -> Result<String, &'static str> {
    let numbers: Vec<_> = text.split('.').collect();
    let number =
        |part: &&str| !part.is_empty() && part.len() <= 9 && part.bytes().all(|b| b.is_ascii_digit());
    if numbers.len() == 3 && numbers.iter().all(number) { Ok(text.into()) } else { Err("not such a version") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_a_shell_or_a_configuration_would_read_as_more_than_a_name_is_accepted() {
        for mark in ["\"", "'", "`", "$", "\\", "\n", ";", "#", "{", "<", "é"] {
            let text = format!("a{mark}b");
            for check in [provider_id, shown_name, variable, model, package, version] {
                assert!(check(&text).is_err(), "{text:?}");
            }
            assert!(format!("m={text}").parse::<ModelLabels>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn a_model_without_a_label_goes_by_its_name() {
        let labels: ModelLabels = "gpt-5.5=ChatGPT-5.5, b = B two".parse().expect("good");
        assert_eq!((labels.of("gpt-5.5"), labels.of("b"), labels.of("c")), ("ChatGPT-5.5", "B two", "c"));
    }
}

//! What the operator cannot decide, and the checks of single values.

use crate::pricing::is_model_name;
use crate::printable::shows;

const MAX_LABEL_CHARS: usize = 100;

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PolicyRefusal {
    #[error("{model:?} is not a model's name: 1 to 100 letters, digits, '.', '-', '_', ':' and '/'")]
    BadModelName { model: String },
    #[error("{alias:?} is not an alias: 1 to 100 letters, digits, '.', '-', '_', ':' and '/'")]
    BadAlias { alias: String },
    #[error(
        "a label has 1 to {MAX_LABEL_CHARS} visible characters and no space around them; {label:?} has not"
    )]
    BadLabel { label: String },
    #[error("{provider:?} is not a provider's name: 1 to 40 lower-case letters, digits, '-' and '_'")]
    BadProviderName { provider: String },
    #[error("a model has at most {most} targets, not {got}")]
    TooManyTargets { got: usize, most: usize },
    #[error("provider {provider} is named twice for the same upstream model")]
    RepeatedTarget { provider: String },
    #[error("rules may name at most {most} regions")]
    TooManyRegions { most: usize },
    #[error("at most {most} models may have rules of this kind")]
    TooManyModels { most: usize },
    #[error("a model has at most {most} aliases, not {got}")]
    TooManyAliases { got: usize, most: usize },
    #[error("{name:?} means {model} already")]
    NameTaken { name: String, model: String },
    #[error("{field} is {least} to {most}; {got} is not")]
    OutOfRange { field: SettingName, got: u32, least: u32, most: u32 },
    #[error("a prompt has 1 to {most} characters, not {got}")]
    PromptLength { got: usize, most: usize },
    #[error("the monitor cannot sleep until a moment in the past")]
    AsleepInThePast,
}

/// A setting that is a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SettingName {
    DeadlineSecs,
    IdleSecs,
    IntervalSecs,
    FailuresToOpen,
    LatencyThresholdMs,
}

impl std::fmt::Display for SettingName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::DeadlineSecs => "a deadline in seconds",
            Self::IdleSecs => "an idle timeout in seconds",
            Self::IntervalSecs => "an interval in seconds",
            Self::FailuresToOpen => "the number of failures",
            Self::LatencyThresholdMs => "the latency threshold in milliseconds",
        })
    }
}

pub(super) fn refuse_model_name(model: &str) -> Result<(), PolicyRefusal> {
    if is_model_name(model) { Ok(()) } else { Err(PolicyRefusal::BadModelName { model: model.into() }) }
}

pub(super) fn refuse_provider_name(provider: &str) -> Result<(), PolicyRefusal> {
    let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'_';
    let is_name = (1..=40).contains(&provider.len()) && provider.bytes().all(allowed);
    if is_name { Ok(()) } else { Err(PolicyRefusal::BadProviderName { provider: provider.into() }) }
}

pub(super) fn refuse_label(label: &str) -> Result<(), PolicyRefusal> {
    let is_label =
        (1..=MAX_LABEL_CHARS).contains(&label.chars().count()) && label.trim() == label && shows(label);
    if is_label { Ok(()) } else { Err(PolicyRefusal::BadLabel { label: label.into() }) }
}

pub(super) fn within(
    field: SettingName,
    got: Option<u32>,
    least: u32,
    most: u32,
) -> Result<(), PolicyRefusal> {
    match got.filter(|got| !(least..=most).contains(got)) {
        Some(got) => Err(PolicyRefusal::OutOfRange { field, got, least, most }),
        None => Ok(()),
    }
}

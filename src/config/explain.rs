//! Says which setting is wrong, by the name an operator knows it by, and what it should look like.
//!
//! The parser's own messages name flags and quote values; here the environment variable is named, and the value of a
//! secret never shown.

use std::borrow::Cow;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Arg, Command};

/// A setting that is missing or cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{setting} {problem}")]
pub struct SettingError {
    /// The environment variable's name.
    pub setting: String,
    /// What is wrong, and what a right value looks like.
    pub problem: String,
}

impl SettingError {
    pub(super) fn unknown(name: &str) -> Self {
        Self { setting: name.into(), problem: "is not a setting; see `codexapi serve --help`".into() }
    }

    /// A setting that `arg` stands for and nothing gives.
    pub(super) fn missing(arg: &Arg) -> Self {
        let setting = arg.get_env().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        Self { setting, problem: format!("is not set. It is: {}", expected(arg)) }
    }

    pub(super) fn other(error: &clap::Error) -> Self {
        Self { setting: "configuration".into(), problem: format!("cannot be read: {}", error.kind()) }
    }
}

/// Translates the parser's error about one setting; `None` where it is about something else, such as an unknown
/// subcommand.
pub fn explain(command: &Command, error: &clap::Error) -> Option<SettingError> {
    let names: Vec<&str> = match error.get(ContextKind::InvalidArg)? {
        ContextValue::String(name) => vec![name],
        ContextValue::Strings(names) => names.iter().map(String::as_str).collect(),
        _ => return None,
    };
    let arg = names.iter().find_map(|name| find(command, name))?;
    if error.kind() == ErrorKind::MissingRequiredArgument {
        return Some(SettingError::missing(arg));
    }
    let setting = arg.get_env()?.to_string_lossy().into_owned();
    let problem = format!("is set, but {}. It is: {}", complaint(arg, error), expected(arg));
    Some(SettingError { setting, problem })
}

/// What a right value looks like.
fn expected(arg: &Arg) -> String {
    arg.get_help().map(ToString::to_string).unwrap_or_default()
}

/// What was found, without the value of a secret.
fn complaint(arg: &Arg, error: &clap::Error) -> String {
    let reason = std::error::Error::source(error).map(|source| format!(" ({source})")).unwrap_or_default();
    match error.get(ContextKind::InvalidValue) {
        Some(ContextValue::String(value)) if !arg.is_hide_env_values_set() => {
            format!("{:?} cannot be used{reason}", without_user(value))
        }
        _ => format!("cannot be used{reason}"),
    }
}

/// A value as an error may show it: what an address has before its host may be a password.
pub(super) fn without_user(value: &str) -> Cow<'_, str> {
    let user = value.split_once("://").and_then(|(scheme, rest)| Some((scheme, rest.rsplit_once('@')?)));
    match user {
        Some((scheme, (_, host))) => format!("{scheme}://…@{host}").into(),
        None => value.into(),
    }
}

/// The argument a message means by `--flag <VALUE>`, here or in a subcommand.
fn find<'a>(command: &'a Command, shown: &str) -> Option<&'a Arg> {
    let flag = shown.split([' ', '=', '[']).next()?.trim_start_matches("--");
    command
        .get_arguments()
        .find(|arg| arg.get_long() == Some(flag) && arg.get_env().is_some())
        .or_else(|| command.get_subcommands().find_map(|inner| find(inner, shown)))
}

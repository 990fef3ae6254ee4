//! Says which setting is wrong, by the name an operator knows it by, and what it should look like.
//!
//! The parser's own messages name flags and quote values; here the environment variable is named, and the value of a
//! secret never shown.

use std::borrow::Cow;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::parser::ValueSource;
use clap::{Arg, ArgMatches, Command};

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
    let setting = arg.get_env()?.to_string_lossy().into_owned();
    let expected = arg.get_help().map(ToString::to_string).unwrap_or_default();
    let problem = match error.kind() {
        ErrorKind::MissingRequiredArgument => format!("is not set. It is: {expected}"),
        _ => format!("is set, but {}. It is: {expected}", complaint(arg, error)),
    };
    Some(SettingError { setting, problem })
}

/// A secret given as a flag, where every user of the machine can read it.
pub fn secret_on_command_line(command: &Command, matches: &ArgMatches) -> Option<SettingError> {
    let given = |arg: &&Arg| {
        arg.is_hide_env_values_set()
            && matches.try_contains_id(arg.get_id().as_str()).is_ok()
            && matches.value_source(arg.get_id().as_str()) == Some(ValueSource::CommandLine)
    };
    if let Some(arg) = command.get_arguments().find(given) {
        let setting = arg.get_env()?.to_string_lossy().into_owned();
        let problem = "is a secret: set it in the environment, not on the command line".into();
        return Some(SettingError { setting, problem });
    }
    let (name, inner) = matches.subcommand()?;
    secret_on_command_line(command.find_subcommand(name)?, inner)
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

//! Says which setting or argument is wrong, by the name it was given under, and what it should look like.
//!
//! The parser's own messages name flags where the environment was read, quote secrets, and say of a value only how
//! reading it failed.

use std::ffi::OsString;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Arg, Command};

use super::masked::{masked, without_keys};

/// A setting that is missing or cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{setting} {problem}")]
pub struct SettingError {
    /// The environment variable's name; what was typed goes by its own.
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

/// Translates the parser's error about one setting or argument; `None` where it is about something else, such as an
/// unknown subcommand. `path` are the commands that `arguments` name, the outermost first.
pub fn explain(path: &[&Command], arguments: &[OsString], error: &clap::Error) -> Option<SettingError> {
    if error.kind() == ErrorKind::InvalidUtf8 {
        return not_text(path, arguments);
    }
    let names: Vec<&str> = match error.get(ContextKind::InvalidArg)? {
        ContextValue::String(name) => vec![name],
        ContextValue::Strings(names) => names.iter().map(String::as_str).collect(),
        _ => return None,
    };
    let arg = names.iter().find_map(|name| path.iter().rev().find_map(|command| find(command, name)))?;
    let variable = arg.get_env().map(|name| name.to_string_lossy().into_owned());
    let kind = error.kind();
    match variable.filter(|_| !is_typed(arg, arguments)) {
        Some(_) if kind == ErrorKind::MissingRequiredArgument => Some(SettingError::missing(arg)),
        Some(setting) => {
            let problem =
                format!("is set, but cannot be {}. It is: {}", complaint(arg, error), expected(arg));
            Some(SettingError { setting, problem })
        }
        None if kind == ErrorKind::ValueValidation => {
            let problem = format!("cannot be {}. It is: {}", complaint(arg, error), expected(arg));
            Some(SettingError { setting: typed_name(arg), problem })
        }
        None => None,
    }
}

/// What of all that was read is not text, which the parser does not say.
fn not_text(path: &[&Command], arguments: &[OsString]) -> Option<SettingError> {
    let is_not_text = |value: &OsString| value.to_str().is_none();
    if let Some(number) = arguments.iter().position(is_not_text) {
        return Some(SettingError {
            setting: format!("argument {number}"),
            problem: "is not UTF-8 text".into(),
        });
    }
    let mut variables =
        path.iter().flat_map(|command| command.get_arguments()).filter_map(|arg| arg.get_env());
    let name = variables.find(|name| std::env::var_os(name).as_ref().is_some_and(is_not_text))?;
    let problem = "is set, but not to UTF-8 text".into();
    Some(SettingError { setting: name.to_string_lossy().into_owned(), problem })
}

/// `error` without what may be a password or a key in what it quotes.
pub fn without_secrets(mut error: clap::Error) -> clap::Error {
    for kind in [ContextKind::InvalidArg, ContextKind::InvalidSubcommand, ContextKind::InvalidValue] {
        if let Some(ContextValue::String(quoted)) = error.get(kind) {
            let masked = masked(quoted);
            error.insert(kind, ContextValue::String(masked));
        }
    }
    error
}

/// Whether it stands among the arguments; one without a flag can come from nowhere else.
fn is_typed(arg: &Arg, arguments: &[OsString]) -> bool {
    let Some(flag) = arg.get_long() else { return true };
    arguments
        .iter()
        .filter_map(|argument| argument.to_str()?.strip_prefix("--"))
        .any(|typed| typed.strip_prefix(flag).is_some_and(|rest| rest.is_empty() || rest.starts_with('=')))
}

/// `--flag`, or what the help calls a value that has none.
fn typed_name(arg: &Arg) -> String {
    match (arg.get_long(), arg.get_value_names()) {
        (Some(flag), _) => format!("--{flag}"),
        (None, Some([name, ..])) => name.to_string(),
        (None, _) => arg.get_id().as_str().to_uppercase(),
    }
}

/// What a right value looks like.
fn expected(arg: &Arg) -> String {
    arg.get_help().map(ToString::to_string).unwrap_or_default()
}

/// What was found and why it cannot be, without the value of a secret.
fn complaint(arg: &Arg, error: &clap::Error) -> String {
    let source = std::error::Error::source(error).map(|source| without_keys(&source.to_string()));
    let reason = source.map(|source| format!(" ({source})")).unwrap_or_default();
    match error.get(ContextKind::InvalidValue) {
        Some(ContextValue::String(value)) if !arg.is_hide_env_values_set() => {
            format!("{:?}{reason}", masked(value))
        }
        _ => format!("used{reason}"),
    }
}

/// The argument of `command` that a message means by `--flag <VALUE>` or `<VALUE>`.
fn find<'a>(command: &'a Command, shown: &str) -> Option<&'a Arg> {
    let name = shown.split([' ', '=', '[']).next()?;
    command.get_arguments().find(|arg| match name.strip_prefix("--") {
        Some(flag) => arg.get_long() == Some(flag),
        None => arg.is_positional() && format!("<{}>", typed_name(arg)) == name,
    })
}

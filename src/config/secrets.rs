//! Settings that are secrets come from the environment alone: a command line is seen by everyone on the machine.
//!
//! The parser knows them as flags like any other setting. Here those flags are hidden from the help, which names the
//! variables instead, and refused by the variable's name before anything is parsed.

use std::ffi::OsString;

use clap::{Arg, ArgMatches, Command};

use super::SettingError;

/// The heading of these variables in the help.
const HEADING: &str = "Secrets, from the environment alone:";

/// `command` as it is shown and parsed: no secret looks like a flag, in no subcommand either.
pub fn without_secret_flags(command: Command) -> Command {
    let named: String = secrets(&command).map(described).collect();
    let command = if named.is_empty() { command } else { command.after_help(format!("{HEADING}\n{named}")) };
    command
        .mut_args(|arg| match is_secret(&arg) {
            // Where it is missing, `missing_secret` says so by the variable's name.
            true => arg.hide(true).required(false),
            false => arg,
        })
        .mut_subcommands(without_secret_flags)
}

/// A secret that one of `arguments` gives as a flag of the command they are for.
pub fn secret_on_command_line(command: &Command, arguments: &[OsString]) -> Option<SettingError> {
    let mut path = vec![command];
    for argument in arguments.iter().map(|argument| argument.to_string_lossy()) {
        if argument == "--" {
            break;
        }
        let Some(flag) = argument.strip_prefix("--") else {
            path.extend(path.last().and_then(|command| command.find_subcommand(&*argument)));
            continue;
        };
        let flag = flag.split('=').next();
        let given = path.iter().flat_map(|command| secrets(command)).find(|arg| arg.get_long() == flag);
        if let Some(arg) = given {
            let problem = "is a secret: set it in the environment, not on the command line".into();
            return Some(SettingError { setting: variable(arg), problem });
        }
    }
    None
}

/// A secret that `command`, as it was before `without_secret_flags`, cannot do without.
pub fn missing_secret(command: &Command, matches: &ArgMatches) -> Option<SettingError> {
    let is_missing = |arg: &&Arg| arg.is_required_set() && !matches.contains_id(arg.get_id().as_str());
    if let Some(arg) = secrets(command).find(is_missing) {
        return Some(SettingError::missing(arg));
    }
    let (name, inner) = matches.subcommand()?;
    missing_secret(command.find_subcommand(name)?, inner)
}

fn secrets(command: &Command) -> impl Iterator<Item = &Arg> {
    command.get_arguments().filter(|arg| is_secret(arg))
}

fn is_secret(arg: &Arg) -> bool {
    arg.is_hide_env_values_set()
}

fn variable(arg: &Arg) -> String {
    arg.get_env().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}

fn described(arg: &Arg) -> String {
    let help = arg.get_help().map(ToString::to_string).unwrap_or_default();
    format!("  {}\n          {help}\n", variable(arg))
}

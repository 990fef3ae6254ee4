//! Names in the environment that look like settings and are none. A misspelt one leaves its default in force, which
//! nobody notices; it is no reason to refuse a start, for other programs may have set it.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fmt;

use clap::Command;

use super::Config;

/// What our settings' names begin with.
const PREFIX: &str = "CODEXAPI_";

/// Read where no setting can be: tests say by it where a node shall die.
const CRASH_AT: &str = "CODEXAPI_CRASH_AT";

/// Letters that a misspelt name may be away from what was meant.
const NEAR: usize = 3;

/// A name that nothing reads. Its value may be a secret, and is not looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownSetting {
    name: String,
    nearest: Option<String>,
}

/// Those among the `environment`'s names that begin as ours do, and that neither `command` nor `config` knows.
pub fn unknown_settings(
    command: &Command,
    config: &Config,
    environment: impl IntoIterator<Item = OsString>,
) -> Vec<UnknownSetting> {
    let mut known = BTreeSet::from([CRASH_AT.to_owned(), config.brand.codex_env_key.clone()]);
    known.extend(config.catalog.providers.key_variables().map(ToOwned::to_owned));
    let mut settings = BTreeSet::new();
    gather(command, &mut settings);
    let names: BTreeSet<_> =
        environment.into_iter().map(|name| name.to_string_lossy().into_owned()).collect();
    names
        .into_iter()
        .filter(|name| name.starts_with(PREFIX) && !known.contains(name) && !settings.contains(name))
        .map(|name| UnknownSetting { nearest: nearest(&name, &settings), name })
        .collect()
}

/// Variables of all commands: whoever works with several may have all of them set.
fn gather(command: &Command, settings: &mut BTreeSet<String>) {
    let variables = command.get_arguments().filter_map(|arg| arg.get_env());
    settings.extend(variables.map(|name| name.to_string_lossy().into_owned()));
    command.get_subcommands().for_each(|inner| gather(inner, settings));
}

/// Without what they begin with, so that `CODEXAPI_DATABASE_URL` leads to `DATABASE_URL`.
fn nearest(name: &str, settings: &BTreeSet<String>) -> Option<String> {
    let bare = |name: &str| name.strip_prefix(PREFIX).unwrap_or(name).to_owned();
    let distances = settings.iter().map(|known| (strsim::osa_distance(&bare(name), &bare(known)), known));
    distances.min().filter(|(distance, _)| *distance <= NEAR).map(|(_, known)| known.clone())
}

impl fmt::Display for UnknownSetting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} is not a setting, and nothing reads it", self.name.escape_debug())?;
        match &self.nearest {
            Some(nearest) => write!(f, "; {nearest} is the nearest one there is"),
            None => write!(f, "; `codexapi serve --help` lists those there are"),
        }
    }
}

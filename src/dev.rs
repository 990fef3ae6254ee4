//! `codexapi dev`: everything on one machine, started and explained by one command.

pub mod banner;
mod demo;
mod run;
pub mod secrets;

pub use run::{DevArguments, run};

use std::env;
use std::path::PathBuf;

/// Where `dev` keeps its data when it is told nothing: outside root's home, which Postgres could not reach, and
/// else where a user's programs keep theirs.
pub fn default_data_dir() -> PathBuf {
    data_dir_for(rustix::process::geteuid().is_root(), env::var_os("XDG_DATA_HOME"), env::var_os("HOME"))
}

fn data_dir_for(
    root: bool,
    data_home: Option<std::ffi::OsString>,
    home: Option<std::ffi::OsString>,
) -> PathBuf {
    const NAME: &str = "codexapi-dev";
    if root {
        return PathBuf::from("/var/lib").join(NAME);
    }
    let given =
        |value: Option<std::ffi::OsString>| value.filter(|value| !value.is_empty()).map(PathBuf::from);
    given(data_home)
        .or_else(|| given(home).map(|home| home.join(".local/share")))
        .unwrap_or_else(env::temp_dir)
        .join(NAME)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_data_folder_is_out_of_roots_home_and_in_a_users_own() {
        let home = || Some("/home/ada".into());
        assert_eq!(data_dir_for(true, None, Some("/root".into())), PathBuf::from("/var/lib/codexapi-dev"));
        assert_eq!(data_dir_for(false, None, home()), PathBuf::from("/home/ada/.local/share/codexapi-dev"));
        assert_eq!(data_dir_for(false, Some("/data".into()), home()), PathBuf::from("/data/codexapi-dev"));
        assert_eq!(
            data_dir_for(false, Some("".into()), home()),
            PathBuf::from("/home/ada/.local/share/codexapi-dev")
        );
    }
}

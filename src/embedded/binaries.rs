//! Where the server programs are.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, bail};

/// Debian keeps one folder per major version here and puts none of them on the PATH.
const DEBIAN_POSTGRES: &str = "/usr/lib/postgresql";
/// Not on the PATH of an ordinary Debian user, yet where daemons are installed.
const SYSTEM_FOLDERS: [&str; 2] = ["/usr/sbin", "/usr/local/bin"];

/// The folder that holds `postgres` and `initdb`, of the newest version installed.
pub(super) fn postgres_folder() -> anyhow::Result<PathBuf> {
    let found = newest_debian_postgres(Path::new(DEBIAN_POSTGRES))
        .or_else(postgres_of_pg_config)
        .or_else(|| find_program("postgres").and_then(|program| program.parent().map(Path::to_owned)))
        .filter(|folder| folder.join("initdb").is_file());
    match found {
        Some(folder) => Ok(folder),
        None => bail!(
            "no Postgres server found in {DEBIAN_POSTGRES}/*/bin, by `pg_config --bindir` or on the PATH; \
             install it with `scripts/setup` or `apt-get install postgresql`"
        ),
    }
}

/// The nats-server program.
pub(super) fn nats_server() -> anyhow::Result<PathBuf> {
    match find_program("nats-server") {
        Some(program) => Ok(program),
        None => bail!(
            "no nats-server found on the PATH or in /usr/sbin; \
             install it with `scripts/setup` or `apt-get install nats-server`"
        ),
    }
}

/// A program built with this one: beside it, or one folder up when this is a test in `target/debug/deps`.
pub(super) fn sibling_program(name: &str) -> anyhow::Result<PathBuf> {
    let this = env::current_exe().context("cannot tell where this program is")?;
    let found =
        this.ancestors().skip(1).take(2).map(|folder| folder.join(name)).find(|program| program.is_file());
    match found {
        Some(program) => Ok(program),
        None => {
            bail!("{name} is not beside {}; build it with `cargo build --workspace --bins`", this.display())
        }
    }
}

fn newest_debian_postgres(versions: &Path) -> Option<PathBuf> {
    let version_of = |folder: &Path| folder.file_name()?.to_str()?.parse::<u32>().ok();
    std::fs::read_dir(versions)
        .ok()?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|folder| folder.join("bin/postgres").is_file())
        .max_by_key(|folder| version_of(folder))
        .map(|folder| folder.join("bin"))
}

fn postgres_of_pg_config() -> Option<PathBuf> {
    let output = Command::new("pg_config").arg("--bindir").output().ok()?;
    let folder = PathBuf::from(String::from_utf8(output.stdout).ok()?.trim());
    (output.status.success() && folder.join("postgres").is_file()).then_some(folder)
}

fn find_program(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path)
        .chain(SYSTEM_FOLDERS.iter().map(PathBuf::from))
        .map(|folder| folder.join(name))
        .find(|program| program.is_file())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn the_newest_version_is_chosen_by_number_and_leftover_folders_are_passed_over() {
        let versions = tempfile::tempdir().expect("temporary folder");
        for version in ["9", "15"] {
            let bin = versions.path().join(version).join("bin");
            fs::create_dir_all(&bin).expect("folder");
            fs::write(bin.join("postgres"), "").expect("file");
        }
        fs::create_dir_all(versions.path().join("17/lib")).expect("folder");

        assert_eq!(newest_debian_postgres(versions.path()), Some(versions.path().join("15/bin")));
    }

    #[test]
    fn a_missing_sibling_is_named_with_the_command_that_builds_it() {
        let refusal = sibling_program("codexapi-nothing").expect_err("no such program").to_string();
        assert!(refusal.contains("codexapi-nothing") && refusal.contains("cargo build"), "{refusal}");
    }
}

//! The command line: parse, then call. What commands do stands elsewhere.

mod admin;
mod output;
mod words;

pub use words::told;

use std::ffi::OsString;
use std::io::IsTerminal;
use std::path::PathBuf;

use anyhow::Context;
use clap::error::ErrorKind;
use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};
use codexapi_aggregates::time::Timestamp;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use utoipa::OpenApi as _;

use crate::app::{self, App};
use crate::config::{
    Config, DatabaseSettings, SettingError, WalletSettings, explain, missing_secret, secret_on_command_line,
    unknown_settings, without_secret_flags, without_secrets,
};
use crate::http::openapi::ApiDocument;
use crate::processes::lease;
use crate::rebuild::{self, Models, Progress};
use crate::verify::{HoldTerms, VerifyOptions};
use crate::{clock, dev, history, schemas, telemetry, verify};

/// Where event schemas stand in the repository.
const SCHEMA_FOLDER: &str = "schemas/events";

/// Over what a command shares with the service.
const SETTINGS: &str = "Settings, as the service runs with them";

/// A hosted gateway that sells metered access to coding models.
///
/// Every setting is an environment variable; `codexapi serve --help` lists them all.
#[derive(Parser)]
#[command(name = "codexapi", version, max_term_width = 110)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run the service against given Postgres and NATS
    Serve(Box<Config>),
    /// Bring the database to the schema this build expects, and install the read models
    Migrate(DatabaseSettings),
    /// Build read models anew from the event log, beside the live ones, and swap them in
    Rebuild(RebuildArguments),
    /// Check the whole log and everything folded from it; names the first difference
    Verify(VerifyArguments),
    /// Print an aggregate's history, or its state at a time
    Events(EventsArguments),
    /// Run everything on this machine: Postgres, NATS, a simulated provider, a demo customer
    Dev(dev::DevArguments),
    /// Write the schemas of every event's payload
    Schemas(SchemaArguments),
    /// Print the description of the HTTP API
    Openapi,
    /// What operators do: customers, credit, keys, prices
    Admin(Box<admin::AdminArguments>),
}

#[derive(clap::Args)]
struct RebuildArguments {
    /// The read model's name, or `all`
    #[arg(value_name = "NAME", value_parser = rebuild::named)]
    models: Models,
    #[command(flatten, next_help_heading = SETTINGS)]
    database: DatabaseSettings,
}

#[derive(clap::Args)]
struct VerifyArguments {
    /// Print one line of JSON
    #[arg(long)]
    json: bool,
    #[command(flatten, next_help_heading = SETTINGS)]
    database: DatabaseSettings,
    #[command(flatten)]
    wallet: WalletSettings,
}

#[derive(clap::Args)]
struct EventsArguments {
    /// The stream, as aggregate/id such as wallet/0199…, or a customer's account id for its wallet
    stream: history::StreamName,
    /// Print the state as of then, such as 2026-11-22T10:00:00Z, instead of the history
    #[arg(long, value_name = "TIME", conflicts_with = "json", value_parser = history::parse_time)]
    at: Option<Timestamp>,
    /// Print one JSON object per event
    #[arg(long)]
    json: bool,
    #[command(flatten, next_help_heading = SETTINGS)]
    database: DatabaseSettings,
}

#[derive(clap::Args)]
struct SchemaArguments {
    /// Compare instead of writing, and fail where they differ
    #[arg(long)]
    check: bool,
    /// The folder of schemas
    #[arg(long, default_value = SCHEMA_FOLDER)]
    folder: PathBuf,
}

/// Why the command line cannot be used.
#[derive(Debug)]
pub enum CliError {
    /// A setting is missing or bad.
    Setting(SettingError),
    /// Anything else, help and version included; prints itself.
    Usage(clap::Error),
}

impl Cli {
    /// Parses `arguments`, the program's name first, and the environment.
    ///
    /// # Errors
    /// The setting that is missing or bad, by its name; else the parser's own words.
    pub fn read(arguments: impl IntoIterator<Item = OsString>) -> Result<Self, CliError> {
        let command = Self::command();
        let arguments: Vec<OsString> = arguments.into_iter().collect();
        if let Some(secret) = secret_on_command_line(&command, &arguments) {
            return Err(CliError::Setting(secret));
        }
        let matches = shown(command.clone())
            .try_get_matches_from(&arguments)
            .map_err(|error| settle(&command, &arguments, error))?;
        if let Some(missing) = missing_secret(&command, &matches) {
            return Err(CliError::Setting(missing));
        }
        let cli = Self::from_arg_matches(&matches).map_err(|error| settle(&command, &arguments, error))?;
        match cli.command {
            Command::Serve(config) => {
                let config = Box::new(config.checked().map_err(CliError::Setting)?);
                Ok(Self { command: Command::Serve(config) })
            }
            _ => Ok(cli),
        }
    }

    /// Does what was asked.
    pub async fn run(self) -> anyhow::Result<()> {
        match self.command {
            Command::Serve(config) => serve(*config).await,
            Command::Migrate(database) => app::prepare(&app::connect(&database).await?).await,
            Command::Rebuild(arguments) => {
                let pool = app::connect(&arguments.database).await?;
                rebuild::rebuild(&pool, &arguments.models, &Progress::on_stderr()).await
            }
            Command::Verify(arguments) => verify_log(arguments).await,
            Command::Events(EventsArguments { stream, at, json, database }) => {
                let show = match (at, json) {
                    (Some(at), _) => history::Show::StateAt(at),
                    (None, true) => history::Show::JsonLines,
                    (None, false) => history::Show::Text,
                };
                let pool = app::connect(&database).await?;
                history::print(&pool, &stream, show, &mut std::io::stdout().lock()).await
            }
            Command::Dev(arguments) => {
                let stop = CancellationToken::new();
                tokio::spawn(stop_on_signal(stop.clone())?);
                dev::run(arguments, stop).await
            }
            Command::Schemas(SchemaArguments { check: true, folder }) => {
                let checked = schemas::check(&folder)?;
                println!("{checked} schemas are those of the code");
                Ok(())
            }
            Command::Schemas(SchemaArguments { check: false, folder }) => {
                println!("{} schemas in {}", schemas::write(&folder)?, folder.display());
                Ok(())
            }
            Command::Openapi => {
                let document = ApiDocument::openapi().to_pretty_json().context("writing the API document")?;
                output::print(&format!("{document}\n"));
                Ok(())
            }
            Command::Admin(arguments) => admin::run(*arguments).await,
        }
    }
}

/// The command line as people meet it.
fn shown(command: clap::Command) -> clap::Command {
    numbers_may_be_negative(without_secret_flags(command))
}

/// Else the parser takes `-5` for a flag, and advises what fails; so whatever reads the number says what is wrong.
fn numbers_may_be_negative(command: clap::Command) -> clap::Command {
    command
        .mut_args(|arg| match arg.get_action().takes_values() {
            true => arg.allow_negative_numbers(true),
            false => arg,
        })
        .mut_subcommands(numbers_may_be_negative)
}

async fn serve(config: Config) -> anyhow::Result<()> {
    telemetry::start(&config.log)?;
    for unknown in unknown_settings(&Cli::command(), &config, std::env::vars_os().map(|(name, _)| name)) {
        tracing::warn!("{unknown}");
    }
    let stop = CancellationToken::new();
    tokio::spawn(stop_on_signal(stop.clone())?);
    App::build(config).await?.serve(stop, |_| {}).await
}

/// Cancels `stop` at the first SIGTERM or Ctrl-C; a second one ends the process as it stands.
fn stop_on_signal(stop: CancellationToken) -> anyhow::Result<impl Future<Output = ()>> {
    let mut terminate = signal(SignalKind::terminate()).context("listening for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("listening for Ctrl-C")?;
    Ok(async move {
        for _ in 0..2 {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            if stop.is_cancelled() {
                std::process::exit(130);
            }
            tracing::info!("stopping");
            stop.cancel();
        }
    })
}

/// Ends with an error where anything differs, so that a script can rely on the exit code.
async fn verify_log(arguments: VerifyArguments) -> anyhow::Result<()> {
    let pool = app::connect(&arguments.database).await?;
    let holds = HoldTerms {
        now: clock::now(),
        max_age_secs: i64::from(arguments.wallet.hold_max_age_seconds),
        sweep_secs: i64::from(arguments.wallet.sweep_seconds),
        lapsed_leases: lease::dead_nodes(&pool).await?,
    };
    let options = VerifyOptions { progress: Box::new(verify_progress), ..VerifyOptions::new(holds) };
    let report = verify::run(&pool, &options).await?;
    let out = &mut std::io::stdout().lock();
    if arguments.json {
        verify::print_json(&report, out)?;
    } else {
        verify::print(&report, out)?;
    }
    anyhow::ensure!(report.difference.is_none(), "something is not as it was written");
    Ok(())
}

/// A line that rewrites itself, for people who wait; nothing where nobody watches.
fn verify_progress(progress: verify::Progress) {
    if std::io::stderr().is_terminal() {
        let of = if progress.of > 0 { format!(" of {}", progress.of) } else { String::new() };
        eprint!("\r\x1b[K{}: {}{of}\r", progress.step, progress.done);
    }
}

/// The error about a setting or a value in our words, any other in the parser's.
fn settle(command: &clap::Command, arguments: &[OsString], error: clap::Error) -> CliError {
    let mut path = vec![command];
    for word in arguments.iter().skip(1).filter_map(|word| word.to_str()) {
        path.extend(path.last().and_then(|command| command.find_subcommand(word)));
    }
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => CliError::Usage(error),
        _ => match explain(&path, arguments, &error) {
            Some(setting) => CliError::Setting(setting),
            None => CliError::Usage(without_secrets(error)),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        shown(Cli::command()).debug_assert();
    }

    #[test]
    fn every_command_and_argument_has_help() {
        fn check(command: &clap::Command) {
            for arg in command.get_arguments() {
                assert!(arg.get_help().is_some(), "{} of {} has no help", arg.get_id(), command.get_name());
            }
            for inner in command.get_subcommands() {
                assert!(inner.get_about().is_some(), "{} has no help", inner.get_name());
                check(inner);
            }
        }
        check(&Cli::command());
    }

    /// What the program says to these words, before it does anything.
    fn refusal(words: &str) -> String {
        let words: Vec<_> = words.split(' ').map(|word| OsString::from(word.replace("EMPTY", ""))).collect();
        match shown(Cli::command()).try_get_matches_from(words).map(|matches| Cli::from_arg_matches(&matches))
        {
            Ok(_) => panic!("taken"),
            Err(error) => error.to_string(),
        }
    }

    /// The same where what it says is about a setting or a flag.
    fn complaint(words: &str) -> String {
        match Cli::read(words.split(' ').map(OsString::from)) {
            Ok(_) => panic!("taken"),
            Err(CliError::Setting(setting)) => setting.to_string(),
            Err(CliError::Usage(error)) => error.to_string(),
        }
    }

    #[test]
    fn a_value_is_named_as_it_was_typed_and_what_it_should_be_is_said() {
        for (words, name, wanted) in [
            ("serve --listen nonsense", "--listen", "as address:port"),
            ("dev --listen=nonsense", "--listen", "port 0 takes a free one"),
            ("admin customer suspend nonsense --reason abuse", "ACCOUNT", "as `customer list` shows it"),
            ("admin resolve nonsense dismiss", "ENTRY", "as `queue` shows it"),
            ("admin margin --from yesterday", "--from", "such as 2026-11-01"),
            ("admin --hold-max-age-seconds 0 customer list", "--hold-max-age-seconds", "from 1 to 604800"),
            ("rebuild nonsense", "NAME", "or `all`"),
            ("events nonsense", "STREAM", "a customer's account id for its wallet"),
        ] {
            let said = complaint(&format!("codexapi {words}"));
            assert!(said.starts_with(&format!("{name} cannot be \"")), "{words}: {said}");
            assert!(said.contains(wanted) && !said.contains("CODEXAPI"), "{words}: {said}");
        }
    }

    #[test]
    fn a_password_in_the_wrong_place_is_not_repeated() {
        for words in ["serve", "", "serve DATABASE_URL=", "admin", "serve --public-url"] {
            let said = complaint(
                &format!("codexapi {words} postgres://u:hunter2@h/x").replace("  ", " ").replace("= ", "="),
            );
            assert!(!said.contains("hunter2") && said.contains("postgres://…@h/x"), "{words}: {said}");
        }
    }

    #[test]
    fn a_key_in_the_wrong_place_is_not_repeated() {
        for words in [
            "admin resolve KEY dismiss",
            "admin resolve 1,KEY dismiss",
            "serve --listen KEY",
            "KEY",
            "serve KEY",
        ] {
            let said = complaint(&format!("codexapi {words}").replace("KEY", "sk-proj-canary0123456789"));
            assert!(!said.contains("canary") && said.contains('…'), "{words}: {said}");
        }
    }

    #[test]
    fn what_is_not_text_is_named() {
        use std::os::unix::ffi::OsStringExt;

        let words = ["codexapi", "events"].map(OsString::from).into_iter();
        let said = match Cli::read(words.chain([OsString::from_vec(vec![0xff])])) {
            Err(CliError::Setting(setting)) => setting.to_string(),
            _ => panic!("taken"),
        };
        assert_eq!(said, "argument 2 is not UTF-8 text");
    }

    #[test]
    fn a_key_must_tell_one_command_from_another() {
        let long = "x".repeat(201);
        for key in ["EMPTY", long.as_str()] {
            for command in [
                "customer credit A 1",
                "customer set-balance A 1 --seen 1",
                "customer take A 1 --reason abuse",
                "plans grant A --hours 1",
            ] {
                let command = command.replace('A', ACCOUNT);
                let said = refusal(&format!("codexapi admin {command} --key {key}"));
                assert!(said.contains("an idempotency key has 1 to 200 bytes"), "{command}: {said}");
            }
        }
    }

    #[test]
    fn a_negative_amount_is_refused_as_one_wherever_it_stands() {
        for words in [
            "customer credit A -5 --key k",
            "customer take A -2.50 --reason abuse --key k",
            "customer set-balance A 5 --seen -5 --key k",
            "pricing per-call -1",
        ] {
            let said = refusal(&format!("codexapi admin {}", words.replace('A', ACCOUNT)));
            assert!(said.contains("an amount is never negative"), "{words}: {said}");
        }
    }

    #[test]
    fn a_customer_has_a_name_that_can_be_shown() {
        for name in ["EMPTY", "\x1b[2JAda"] {
            let said = refusal(&format!("codexapi admin customer create --name {name}"));
            assert!(said.contains("a name has 1 to 200 characters"), "{said}");
        }
    }

    const ACCOUNT: &str = "0de00000-0000-7000-8000-000000000001";
}

//! Parses the command line and calls.

use std::process::ExitCode;

use codexapi::cli::{Cli, CliError, told};
use codexapi::telemetry::say;
use codexapi::tls;

/// Requests allocate much and live short, on all threads.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let cli = match Cli::read(std::env::args_os()) {
        Ok(cli) => cli,
        Err(CliError::Usage(error)) => error.exit(),
        Err(CliError::Setting(error)) => {
            say(&format!("codexapi: {error}"));
            return ExitCode::from(2);
        }
    };
    match run(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say(&format!("codexapi: {}", told(&error)));
            ExitCode::FAILURE
        }
    }
}

fn run(cli: Cli) -> anyhow::Result<()> {
    tls::install_provider();
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(cli.run())
}

//! What the benchmark measures with: a fast provider, a load generator, and a clock for commits. `bench/run` puts them
//! together and writes the report.

mod answers;
mod commits;
mod load;
mod log;
mod summary;
mod upstream;

use std::net::SocketAddr;

use anyhow::{Context, bail};
use clap::{Parser, Subcommand};
use tokio::runtime::{Builder, Runtime};
use tokio::signal::unix::{SignalKind, signal};

/// The service's: the append path is measured in this process.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Measures gateways; see bench/README.md.
#[derive(Parser)]
#[command(name = "codexapi-bench", version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// A provider of chat completions with fixed answers. Prints {"ready":true,"baseUrl":…} and serves until killed
    Upstream {
        /// Address to listen on; port 0 takes a free one
        #[arg(long, default_value = "127.0.0.1:0", value_name = "ADDR")]
        listen: SocketAddr,
    },
    /// Reads a plan as JSON from standard input, puts the load on, prints what was measured as JSON
    Load,
    /// How long one row takes to be committed, by one client after the other. Prints JSON
    Commits {
        #[arg(long, env = "DATABASE_URL", hide_env_values = true)]
        database_url: String,

        /// Commits to wait for
        #[arg(long, default_value_t = 1_000)]
        count: u32,
    },
    /// What a long log costs: appends, cold loads, rebuilds, a start, pages. Prints JSON; several minutes and GB
    Log(log::LogArguments),
}

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    runtime(&arguments.command)?.block_on(run(arguments.command))
}

/// One thread: what measures should take as little as possible from what is measured. The append path is measured in
/// this process and has as many as in the service.
fn runtime(command: &Command) -> std::io::Result<Runtime> {
    let mut builder = if let Command::Log(_) = command {
        Builder::new_multi_thread()
    } else {
        Builder::new_current_thread()
    };
    builder.enable_all().build()
}

async fn run(command: Command) -> anyhow::Result<()> {
    match command {
        Command::Upstream { listen } => upstream::serve(listen).await,
        Command::Load => load::run(std::io::stdin().lock()).await,
        Command::Commits { database_url, count } => commits::measure(&database_url, count).await,
        Command::Log(arguments) => until_told_to_end(log::run(arguments)).await,
    }
}

/// What is ended on the way stops its servers and removes its gigabytes, too.
async fn until_told_to_end(work: impl Future<Output = anyhow::Result<()>>) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate()).context("listening for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("listening for Ctrl-C")?;
    let mut hangup = signal(SignalKind::hangup()).context("listening for SIGHUP")?;
    tokio::select! {
        done = work => done,
        _ = terminate.recv() => bail!("ended by SIGTERM"),
        _ = hangup.recv() => bail!("ended by SIGHUP"),
        _ = interrupt.recv() => bail!("ended by Ctrl-C"),
    }
}

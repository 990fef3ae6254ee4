//! What the benchmark measures with: a fast provider, a load generator, and a clock for commits. `bench/run` puts them
//! together and writes the report.

mod answers;
mod commits;
mod load;
mod log;
mod summary;
mod upstream;

use std::net::SocketAddr;

use clap::{Parser, Subcommand};

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

/// One thread: what measures should take as little as possible from what is measured.
#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    match Arguments::parse().command {
        Command::Upstream { listen } => upstream::serve(listen).await,
        Command::Load => load::run(std::io::stdin().lock()).await,
        Command::Commits { database_url, count } => commits::measure(&database_url, count).await,
        Command::Log(arguments) => log::run(arguments).await,
    }
}

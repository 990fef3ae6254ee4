//! What a long log costs: appends beside raw rows, a wallet's cold load, rebuilds beside pure SQL, a start, how far the
//! read models are behind, and every report's page.
//!
//! The log is made through the log's own append path, so that every chain, balance and read table in it is real;
//! `verify` has the last word.

mod appends;
mod business;
mod catch_up;
mod filling;
mod loads;
mod pages;
mod rebuilds;
mod service;

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use serde::Serialize;
use serde_json::json;

use self::service::World;

#[derive(Args)]
pub struct LogArguments {
    /// Where the `codexapi` to be measured is
    #[arg(long, value_name = "FOLDER")]
    binaries: PathBuf,
    /// Generations in the log; each is three events
    #[arg(long, default_value_t = 350_000)]
    generations: u64,
    /// Customers that they are spread over
    #[arg(long, default_value_t = 1_000)]
    customers: usize,
    /// Seconds that each of the rates is measured for
    #[arg(long, default_value_t = 10)]
    seconds: u64,
    /// What is measured once the log is filled and the service started on it; all of it where nothing is named
    #[arg(long, value_delimiter = ',', value_name = "PARTS")]
    only: Vec<Part>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Part {
    Appends,
    Loads,
    Rebuilds,
    Pages,
    CatchUp,
    Verify,
}

pub async fn run(arguments: LogArguments) -> anyhow::Result<()> {
    let LogArguments { binaries, generations, customers, seconds, only } = arguments;
    let mut world = World::start(binaries).await?;
    let appends = part(&only, Part::Appends, appends::measure(&world, seconds)).await?;
    say(&format!("filling the log with {generations} generations of {customers} customers"));
    let business = business::Business::open(&world, customers).await?;
    let filling = filling::measure(&business, generations).await?;
    let loads = part(&only, Part::Loads, loads::measure(&world, &business)).await?;
    let rebuilds = part(&only, Part::Rebuilds, rebuilds::measure(&world)).await?;
    if rebuilds.is_none() {
        say("building the read models");
        rebuilds::build(&world).await?;
    }
    say("starting the service on it");
    let start = world.start_service().await?;
    let pages = part(&only, Part::Pages, pages::measure(&world, &business)).await?;
    let catch_up = part(&only, Part::CatchUp, catch_up::measure(&world, &business, seconds)).await?;
    let verified = part(&only, Part::Verify, world.verify()).await?;
    let sizes = filling::sizes(&world.pool).await?;
    world.stop().await?;
    let report = json!({
        "generations": generations, "customers": customers, "appends": appends, "filling": filling, "loads": loads,
        "rebuilds": rebuilds, "start": start, "pages": pages, "catchUp": catch_up, "sizes": sizes, "verify": verified,
    });
    println!("{report}");
    Ok(())
}

/// Measures one part, where it is wanted.
async fn part<T: Serialize>(
    only: &[Part],
    part: Part,
    measuring: impl Future<Output = anyhow::Result<T>>,
) -> anyhow::Result<Option<T>> {
    if !only.is_empty() && !only.contains(&part) {
        return Ok(None);
    }
    say(match part {
        Part::Appends => "appending wallet commands, and raw rows beside them",
        Part::Loads => "loading long wallets",
        Part::Rebuilds => "rebuilding, and the same in SQL beside it",
        Part::Pages => "asking for every page",
        Part::CatchUp => "following a thousand generations a second",
        Part::Verify => "verifying every event of it",
    });
    let measured = measuring.await?;
    // The report comes at the very end: a part that fails takes nothing with it.
    say(&serde_json::to_string(&measured)?);
    Ok(Some(measured))
}

fn say(what: &str) {
    eprintln!("log: {what}");
}

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

use clap::Args;
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
}

pub async fn run(arguments: LogArguments) -> anyhow::Result<()> {
    let LogArguments { binaries, generations, customers, seconds } = arguments;
    let mut world = World::start(binaries).await?;
    told("appending wallet commands, and raw rows beside them");
    let appends = appends::measure(&world, seconds).await?;
    told(&format!("filling the log with {generations} generations of {customers} customers"));
    let business = business::Business::open(&world, customers).await?;
    let filling = filling::measure(&business, generations).await?;
    told("loading long wallets");
    let loads = loads::measure(&world, &business).await?;
    told("rebuilding, and the same in SQL beside it");
    let rebuilds = rebuilds::measure(&world).await?;
    told("starting the service on it");
    let start = world.start_service().await?;
    told("asking for every page");
    let pages = pages::measure(&world, &business).await?;
    told("following a thousand generations a second");
    let catch_up = catch_up::measure(&world, &business, seconds).await?;
    told("verifying every event of it");
    let verified = world.verify().await?;
    let sizes = filling::sizes(&world.pool).await?;
    world.stop().await?;
    let report = json!({
        "generations": generations, "customers": customers, "appends": appends, "filling": filling, "loads": loads,
        "rebuilds": rebuilds, "start": start, "pages": pages, "catchUp": catch_up, "sizes": sizes, "verify": verified,
    });
    println!("{report}");
    Ok(())
}

fn told(what: &str) {
    eprintln!("log: {what}");
}

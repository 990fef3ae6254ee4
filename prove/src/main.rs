//! Breaks everything there is to break under load, and proves that the money is right all the same.

mod books;
mod chance;
mod disk;
mod driver;
mod links;
mod nemesis;
mod oracle;
mod plan;
mod run;
mod shrink;
mod told;
mod world;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::Context;
use clap::Parser;

use chance::Size;
use plan::Plan;
use run::Settings;
use world::{Ground, NO_DISK};

/// What is drawn for one run of the long form, of the short form, and of the short form's fixed plan.
const LONG: Size =
    Size { nodes: 1, customers: 5, operations: 400, faults: 14, span_ms: 45_000, fault_ms: 6_000 };
const SHORT: Size =
    Size { nodes: 1, customers: 5, operations: 110, faults: 4, span_ms: 12_000, fault_ms: 2_500 };
const FIXED: Size =
    Size { nodes: 1, customers: 5, operations: 240, faults: 0, span_ms: 28_000, fault_ms: 2_000 };

/// The seed of the plan that the short form begins with, the same every time.
const FIXED_SEED: u64 = 1;

/// Findings that are printed of one run.
const MOST_SHOWN: usize = 20;

/// Breaks everything there is to break under load, and proves that the money is right; see prove/README.md.
#[derive(Parser)]
#[command(name = "codexapi-prove", version)]
struct Arguments {
    /// Goes on with new runs until this many seconds have passed
    #[arg(long, default_value_t = 600, value_name = "N")]
    seconds: u64,

    /// Every choice follows from it; drawn where it is not given, and printed in any case
    #[arg(long, value_name = "N")]
    seed: Option<u64>,

    /// Services over one Postgres
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=9), value_name = "N")]
    nodes: u64,

    /// One fixed run with every kind of fault, and one of a seed
    #[arg(long)]
    short: bool,

    /// Carries out a plan that was written down, once
    #[arg(long, value_name = "FILE", conflicts_with_all = ["short", "nodes", "seed"])]
    plan: Option<PathBuf>,

    /// A further setting of every node, such as CODEXAPI_REGION=canada; several times for several
    #[arg(long = "node-setting", value_name = "NAME=VALUE", value_parser = setting)]
    node_settings: Vec<(String, String)>,

    /// Runs that may be made to find the smallest plan that fails
    #[arg(long, default_value_t = 40, value_name = "N")]
    shrink_tries: usize,

    /// Where plans that fail are written
    #[arg(long, default_value = "target/prove", value_name = "FOLDER")]
    out: PathBuf,

    /// Forgets one of the provider's bills, to show that it is missed
    #[arg(long, hide = true)]
    drop_bill: bool,
}

fn setting(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("wants NAME=VALUE")?;
    Ok((name.to_owned(), value.to_owned()))
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    // Before there are threads.
    let own_mounts = disk::own_mounts();
    let small_disk = match &own_mounts {
        Ok(()) => true,
        Err(error) => {
            println!("{NO_DISK} ({error})");
            false
        }
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let proven = runtime.context("starting the runtime").and_then(|runtime| {
        runtime.block_on(async {
            tokio::select! {
                proven = prove(&arguments, small_disk) => proven,
                interrupted = tokio::signal::ctrl_c() => {
                    interrupted?;
                    anyhow::bail!("interrupted")
                }
            }
        })
    });
    match proven {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("could not be carried out: {error:#}");
            ExitCode::from(2)
        }
    }
}

/// Whether everything held.
async fn prove(arguments: &Arguments, small_disk: bool) -> anyhow::Result<bool> {
    let started = Instant::now();
    let nodes = usize::try_from(arguments.nodes)?;
    let sized = |size: Size| Size { nodes, ..size };
    let settings = Settings {
        environment: arguments.node_settings.clone(),
        drop_bill: arguments.drop_bill,
        progress: true,
    };
    if let Some(file) = &arguments.plan {
        let text = std::fs::read_to_string(file).with_context(|| format!("reading {}", file.display()))?;
        let plan: Plan =
            serde_json::from_str(&text).with_context(|| format!("{} is no plan", file.display()))?;
        let ground = Ground::prepare(small_disk).await?;
        return proven(&ground, &plan, &settings, arguments).await;
    }
    let seed = arguments.seed.unwrap_or_else(|| u64::from(rand::random::<u32>()));
    println!("seed {seed}, {nodes} node(s)");
    let ground = Ground::prepare(small_disk).await?;
    if arguments.short {
        let fixed = Plan::of_each_fault(FIXED_SEED, sized(FIXED));
        let fresh = Plan::drawn(seed, sized(SHORT));
        return Ok(proven(&ground, &fixed, &settings, arguments).await?
            && proven(&ground, &fresh, &settings, arguments).await?);
    }
    let until = Duration::from_secs(arguments.seconds);
    for seed in seed.. {
        if !proven(&ground, &Plan::drawn(seed, sized(LONG)), &settings, arguments).await? {
            return Ok(false);
        }
        if started.elapsed() >= until {
            break;
        }
    }
    println!("all of it held, for {} s", started.elapsed().as_secs());
    Ok(true)
}

/// One run; where it fails, the smallest part of its plan that does, too.
async fn proven(
    ground: &Ground,
    plan: &Plan,
    settings: &Settings,
    arguments: &Arguments,
) -> anyhow::Result<bool> {
    let (steps, faults) = (plan.steps.len(), plan.faults().count());
    println!("run of seed {}: {steps} steps, {faults} of them faults", plan.seed);
    if run::wants_disk(plan) && ground.disk.is_none() {
        println!("  the disk is NOT filled on this machine");
    }
    let report = run::run(ground, plan, settings).await?;
    println!("  {report}");
    for ended in &report.ended {
        println!("  {ended}");
    }
    if report.findings.is_empty() {
        println!("  held");
        return Ok(true);
    }
    println!("  FAILED, seed {}:", plan.seed);
    show(&report);
    let file = written(&arguments.out, "failed", plan)?;
    println!("  the whole plan: {}", file.display());
    for (number, log) in report.logs.iter().enumerate() {
        let file = file.with_extension(format!("node-{number}.log"));
        std::fs::write(&file, log).with_context(|| format!("cannot write {}", file.display()))?;
        println!("  what node {number} wrote: {}", file.display());
    }
    println!("  looking for the smallest plan that fails, with at most {} runs", arguments.shrink_tries);
    let quiet = Settings { progress: false, ..settings.clone() };
    let smallest = shrink::shrink(plan, arguments.shrink_tries, async |candidate: &Plan| {
        let outcome = run::run(ground, &candidate.closed_up(), &quiet).await;
        let said = match &outcome {
            Ok(report) if report.findings.is_empty() => "held".to_owned(),
            Ok(report) => format!("FAILED: {}", report.findings[0]),
            Err(error) => format!("could not be carried out: {error:#}"),
        };
        println!("  {} steps: {said}", candidate.steps.len());
        outcome.is_ok_and(|report| !report.findings.is_empty())
    })
    .await;
    let smallest = if smallest.steps.len() < steps { smallest.closed_up() } else { smallest };
    let file = written(&arguments.out, "smallest", &smallest)?;
    println!("  the smallest plan that fails has {} steps:", smallest.steps.len());
    println!("{}", serde_json::to_string_pretty(&smallest)?);
    println!("  again: codexapi-prove --plan {}", file.display());
    Ok(false)
}

fn show(report: &run::Report) {
    for finding in report.findings.iter().take(MOST_SHOWN) {
        println!("  - {finding}");
    }
    if let Some(more) = report.findings.len().checked_sub(MOST_SHOWN).filter(|more| *more > 0) {
        println!("  and {more} more");
    }
}

fn written(folder: &Path, kind: &str, plan: &Plan) -> anyhow::Result<PathBuf> {
    std::fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
    let file = folder.join(format!("{kind}-{}.json", plan.seed));
    std::fs::write(&file, serde_json::to_string_pretty(plan)?)
        .with_context(|| format!("cannot write {}", file.display()))?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        Arguments::command().debug_assert();
    }
}

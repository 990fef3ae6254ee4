//! The price book: cards, windows, percentages, what they would mean, and what else is set about billing.

use std::io::IsTerminal;
use std::path::PathBuf;

use anyhow::Context;
use clap::{Args, Subcommand};
use codexapi_aggregates::money::{MicroUsd, Rate};
use codexapi_aggregates::pricing::events::{InternalPlan, ModePlan, ModelTariff, PricingEvent};
use codexapi_aggregates::pricing::tariff::{Fees, Mode, Rates, Tariff};
use codexapi_aggregates::pricing::{
    BOOK_STREAM, DEFAULT_INTERNAL_SECS, DEFAULT_MODE_SECS, PriceBook, PricingCommand, ServingCost, Span,
};
use codexapi_aggregates::routing::ModelFamily;
use codexapi_aggregates::time::Timestamp;
use codexapi_aggregates::usage::{BillingPolicy, ClientFamily};
use cqrs_es::DomainEvent;
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Value, json};

use super::Desk;
use crate::cli::output::{self, Output};
use crate::cli::words::{dollars, variant};
use crate::clock;
use crate::config::Disclosure;
use crate::config::prices::PriceList;
use crate::http::admin::rate_changes::Preview;
use crate::http::admin::tariffs::parse_percent;
use crate::http::pricing::master_pricing;
use crate::named_moment::NamedMoment;
use crate::pricing_seed;
use crate::rerating::{self, Asked, Comparison, MAX_DAYS, Proposal, Proposals, Reached};

const SECS_PER_DAY: i64 = 86_400;

/// Days of usage that are priced anew where none are named.
const DEFAULT_DAYS: u32 = 7;

#[derive(Subcommand)]
pub(super) enum PricingVerb {
    /// Publish every card of FILE that differs from the one in force
    Publish {
        /// A TOML file of rate cards
        file: PathBuf,
        /// From when on, such as 2027-01-01T00:00:00Z; at once by default
        #[arg(long)]
        effective_at: Option<NamedMoment>,
    },
    /// Show the prices in force
    Show,
    /// Schedule a surge, reduced prices, or a stretch of standard prices
    Window(WindowArguments),
    /// Schedule internal rates, and those after them, of some models
    Internal(Box<InternalArguments>),
    /// Call off a window that has not begun
    Cancel(NamedWindow),
    /// End a window that is going on
    End(NamedWindow),
    /// Raise or lower what is deducted by a percentage; what is displayed stays
    Adjust {
        /// Such as 10 or -2.5
        #[arg(allow_hyphen_values = true, value_parser = percentage)]
        percent: i32,
        /// A model; several times for several, never for all
        #[arg(long = "model", value_name = "MODEL")]
        models: Vec<String>,
        /// Show old and new rates and what the last seven days would have earned, and change nothing
        #[arg(long)]
        dry_run: bool,
    },
    /// Price the usage of the last days anew under the cards of FILE: revenue, cost and margin, side by side
    WhatIf {
        /// A TOML file of rate cards
        file: PathBuf,
        /// Days of usage, 1 to 90
        #[arg(long, default_value_t = DEFAULT_DAYS, value_parser = clap::value_parser!(u32).range(1..=i64::from(MAX_DAYS)))]
        days: u32,
    },
    /// Set what every call of a customer costs, beside what it uses
    PerCall {
        /// Dollars, such as 0.001; 0 for nothing
        #[arg(value_parser = dollars)]
        dollars: MicroUsd,
    },
    /// Set how a client family is billed
    Policy {
        /// codex-cli, claude-code, codexclaude, openai-sdk, anthropic-sdk or other
        #[arg(value_parser = variant::<ClientFamily>)]
        family: ClientFamily,
        /// full: all input; delta: input the conversation was not billed for before. Left out: the default again
        #[arg(value_parser = variant::<BillingPolicy>)]
        policy: Option<BillingPolicy>,
        /// Under this plan alone
        #[arg(long)]
        plan: Option<String>,
    },
    /// Set what serving a family is reckoned to cost in reports
    ServingCost {
        /// gpt, claude or deepseek
        #[arg(value_parser = variant::<ModelFamily>)]
        family: ModelFamily,
        /// Dollars per million input tokens
        #[arg(value_parser = dollars)]
        input: MicroUsd,
        /// Dollars per million output tokens
        #[arg(value_parser = dollars)]
        output: MicroUsd,
    },
}

#[derive(Args)]
pub(super) struct WindowArguments {
    /// surge, reduced or standard
    #[arg(value_parser = variant::<Mode>)]
    mode: Mode,
    /// The mode afterwards
    #[arg(long, default_value = "standard", value_parser = variant::<Mode>)]
    landing: Mode,
    #[command(flatten)]
    time: TimeArguments,
}

#[derive(Args)]
pub(super) struct InternalArguments {
    /// A model it is about; several times for several
    #[arg(long = "model", value_name = "MODEL", required = true)]
    models: Vec<String>,
    /// Dollars per million input tokens meanwhile
    #[arg(long, value_name = "DOLLARS", value_parser = dollars)]
    input: MicroUsd,
    /// Of input read from a cache; as input by default
    #[arg(long, value_name = "DOLLARS", value_parser = dollars)]
    cached_input: Option<MicroUsd>,
    /// Dollars per million output tokens meanwhile
    #[arg(long, value_name = "DOLLARS", value_parser = dollars)]
    output: MicroUsd,
    /// Dollars per million input tokens afterwards
    #[arg(long, value_name = "DOLLARS", value_parser = dollars)]
    landing_input: MicroUsd,
    /// Of input read from a cache; as input by default
    #[arg(long, value_name = "DOLLARS", value_parser = dollars)]
    landing_cached_input: Option<MicroUsd>,
    /// Dollars per million output tokens afterwards
    #[arg(long, value_name = "DOLLARS", value_parser = dollars)]
    landing_output: MicroUsd,
    #[command(flatten)]
    time: TimeArguments,
}

#[derive(Args)]
struct TimeArguments {
    /// When it begins, such as 2027-01-01T00:00:00Z; now by default
    #[arg(long)]
    start: Option<NamedMoment>,
    /// How long it is; 60 by default, 720 for internal rates
    #[arg(long)]
    minutes: Option<u32>,
}

#[derive(Args)]
pub(super) struct NamedWindow {
    /// Of which kind it is
    #[arg(value_enum)]
    timeline: TimelineName,
    /// Its number, which the command that scheduled it printed
    number: u32,
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum TimelineName {
    Mode,
    Internal,
}

pub(super) async fn run(desk: &Desk, verb: PricingVerb) -> anyhow::Result<()> {
    match verb {
        PricingVerb::Publish { file, effective_at } => publish(desk, &file, effective_at).await,
        PricingVerb::Show => show(desk).await,
        PricingVerb::Window(WindowArguments { mode, landing, time }) => {
            let plan = ModePlan { mode, landing };
            let schedule =
                |now| PricingCommand::ScheduleMode { span: time.span(now, DEFAULT_MODE_SECS), plan, now };
            change(desk, &schedule).await
        }
        PricingVerb::Internal(arguments) => {
            let fees =
                desk.log.read(BOOK_STREAM, |book: &PriceBook| fees_of(book, &arguments.models)).await?;
            let plan = arguments.plan(&fees);
            let schedule = |now| PricingCommand::ScheduleInternal {
                span: arguments.time.span(now, DEFAULT_INTERNAL_SECS),
                plan: plan.clone(),
                now,
            };
            change(desk, &schedule).await
        }
        PricingVerb::Cancel(NamedWindow { timeline, number }) => {
            let cancel = |now| match timeline {
                TimelineName::Mode => PricingCommand::CancelMode { number, now },
                TimelineName::Internal => PricingCommand::CancelInternal { number, now },
            };
            change(desk, &cancel).await
        }
        PricingVerb::End(NamedWindow { timeline, number }) => {
            let end = |now| match timeline {
                TimelineName::Mode => PricingCommand::EndMode { number, now },
                TimelineName::Internal => PricingCommand::EndInternal { number, now },
            };
            change(desk, &end).await
        }
        PricingVerb::Adjust { percent, models, dry_run } => adjust(desk, percent, &models, dry_run).await,
        PricingVerb::WhatIf { file, days } => what_if(desk, &file, days).await,
        PricingVerb::PerCall { dollars } => {
            change(desk, &|now| PricingCommand::SetPerCallPrice { amount_micro: dollars, now }).await
        }
        PricingVerb::Policy { family, policy, plan } => {
            let set = |now| PricingCommand::SetBillingPolicy { family, plan: plan.clone(), policy, now };
            change(desk, &set).await
        }
        PricingVerb::ServingCost { family, input, output } => {
            let cost = ServingCost { input: Rate(input.0), output: Rate(output.0) };
            change(desk, &|now| PricingCommand::SetServingCost { family, cost, now }).await
        }
    }
}

/// Runs one command on the book and tells which events it left.
async fn change(desk: &Desk, command: &(dyn Fn(Timestamp) -> PricingCommand + Sync)) -> anyhow::Result<()> {
    let decide = |book: &PriceBook, now| book.decide(command(now));
    let committed = desk.log.execute(BOOK_STREAM, &desk.metadata, decide).await?;
    let events = committed.events;
    match desk.output {
        Output::Json => desk.output.record(&json!({ "changed": !events.is_empty(), "events": events })),
        Output::Text if events.is_empty() => output::print("nothing to change\n"),
        Output::Text => desk.output.table(&events.iter().map(event_row).collect::<Vec<_>>()),
    }
    Ok(())
}

/// What has happened, and of a window its number, which `end` and `cancel` want.
fn event_row(event: &PricingEvent) -> Value {
    let (window, from, to) = match event {
        PricingEvent::ModeWindowScheduled { window, .. } => {
            (Some(window.number), Some(window.start), Some(window.end))
        }
        PricingEvent::InternalWindowScheduled { window, .. } => {
            (Some(window.number), Some(window.start), Some(window.end))
        }
        PricingEvent::ModeWindowCancelled { number, .. }
        | PricingEvent::InternalWindowCancelled { number, .. } => (Some(*number), None, None),
        PricingEvent::ModeWindowEnded { number, end, .. }
        | PricingEvent::InternalWindowEnded { number, end, .. } => (Some(*number), None, Some(*end)),
        _ => (None, None, None),
    };
    let moment = |at: Option<Timestamp>| at.map(clock::rfc3339);
    json!({ "done": event.event_type(), "window": window, "from": moment(from), "to": moment(to) })
}

async fn publish(
    desk: &Desk,
    file: &std::path::Path,
    effective_at: Option<NamedMoment>,
) -> anyhow::Result<()> {
    let prices = read_list(file)?;
    let effective_at = effective_at.map(|named| named.0);
    let cards = pricing_seed::publish(&desk.log, &desk.metadata, &prices, effective_at).await?;
    let row = |card: &pricing_seed::PublishedCard| json!({ "model": card.model, "version": card.version });
    desk.output.table(&cards.iter().map(row).collect::<Vec<_>>());
    Ok(())
}

async fn show(desk: &Desk) -> anyhow::Result<()> {
    let now = clock::now();
    let seen = |book: &PriceBook| json!(master_pricing(book, Disclosure::Full, now));
    let payload = desk.log.read(BOOK_STREAM, seen).await?;
    match desk.output {
        Output::Json => desk.output.record(&payload),
        Output::Text => desk.output.table(&price_rows(&payload)),
    }
    Ok(())
}

async fn adjust(desk: &Desk, basis_points: i32, models: &[String], dry_run: bool) -> anyhow::Result<()> {
    let command = |now| PricingCommand::AdjustInternal { basis_points, models: models.to_vec(), now };
    if !dry_run {
        return change(desk, &command).await;
    }
    let now = clock::now();
    let preview =
        desk.log.read(BOOK_STREAM, |book: &PriceBook| Preview::of(book, command(now), now)).await??;
    let comparison = compare(desk, &preview.proposals(), DEFAULT_DAYS).await?;
    let dollars = |rate: Rate| MicroUsd(rate.0).to_string();
    let changes: Vec<Value> = preview
        .changes()
        .map(|(model, old, new)| {
            json!({
                "model": model,
                "oldInputUsd": dollars(old.rates.input), "newInputUsd": dollars(new.rates.input),
                "oldOutputUsd": dollars(old.rates.output), "newOutputUsd": dollars(new.rates.output),
            })
        })
        .collect();
    match desk.output {
        Output::Json => {
            desk.output.record(&json!({ "models": changes, "lastSevenDays": comparison_rows(&comparison) }));
        }
        Output::Text => {
            desk.output.table(&changes);
            output::print("\n");
            desk.output.table(&comparison_rows(&comparison));
        }
    }
    Ok(())
}

async fn what_if(desk: &Desk, file: &std::path::Path, days: u32) -> anyhow::Result<()> {
    let now = clock::now();
    let proposals: Proposals = read_list(file)?
        .commands(now, now)
        .into_iter()
        .map(|card| {
            let billed = card.internal.unwrap_or(card.display);
            (card.model, Proposal { billed, cost: Some(card.cost) })
        })
        .collect();
    let comparison = compare(desk, &proposals, days).await?;
    desk.output.table(&comparison_rows(&comparison));
    Ok(())
}

/// Prices all usage of the last days anew, with a bar where somebody watches.
async fn compare(desk: &Desk, proposals: &Proposals, days: u32) -> anyhow::Result<Comparison> {
    let from = clock::now().minus_secs(i64::from(days) * SECS_PER_DAY);
    let bar = match std::io::stderr().is_terminal() {
        true => ProgressBar::new(0)
            .with_style(ProgressStyle::with_template("{bar:30} position {pos} of {len}, {eta} left")?),
        false => ProgressBar::hidden(),
    };
    let tell = |Reached { done, of }| {
        bar.set_length(u64::try_from(of).unwrap_or_default());
        bar.set_position(u64::try_from(done).unwrap_or_default());
    };
    let compared = rerating::compare(desk.log.pool(), Asked { from, most: u64::MAX }, proposals, &tell).await;
    bar.finish_and_clear();
    compared
}

fn comparison_rows(comparison: &Comparison) -> Vec<Value> {
    let total = comparison.total();
    let all = comparison.models.iter().map(|(model, rerated)| (model.as_str(), rerated));
    all.chain([("*", &total)])
        .map(|(model, rerated)| {
            let (now, then) = (rerated.as_charged, rerated.as_proposed);
            json!({
                "model": model,
                "generations": rerated.generations,
                "inputTokens": rerated.input_tokens,
                "outputTokens": rerated.output_tokens,
                "revenueUsd": now.revenue_micro.to_string(),
                "newRevenueUsd": then.revenue_micro.to_string(),
                "costUsd": now.cost_micro.to_string(),
                "newCostUsd": then.cost_micro.to_string(),
                "marginUsd": now.margin_micro().to_string(),
                "newMarginUsd": then.margin_micro().to_string(),
            })
        })
        .collect()
}

fn read_list(file: &std::path::Path) -> anyhow::Result<PriceList> {
    let text = std::fs::read_to_string(file).with_context(|| format!("reading {}", file.display()))?;
    PriceList::parse(&text).map_err(|wrong| anyhow::anyhow!("{}: {wrong}", file.display()))
}

fn price_rows(payload: &Value) -> Vec<Value> {
    let row = |prices: &Value| {
        json!({
            "model": prices["model"],
            "mode": payload["mode"],
            "inputUsd": prices["active"]["inputUsd"],
            "cachedInputUsd": prices["active"]["cachedInputUsd"],
            "outputUsd": prices["active"]["outputUsd"],
            "billedInputUsd": prices["billed"]["inputUsd"],
            "billedOutputUsd": prices["billed"]["outputUsd"],
        })
    };
    payload["models"].as_array().map(|models| models.iter().map(row).collect()).unwrap_or_default()
}

/// What is displayed of the models' fees, in their order; none of a model that is not in the book.
fn fees_of(book: &PriceBook, models: &[String]) -> Vec<Fees> {
    let now = clock::now();
    models
        .iter()
        .map(|model| book.card(model, now).map(|card| card.display.fees).unwrap_or_default())
        .collect()
}

fn percentage(text: &str) -> Result<i32, String> {
    parse_percent(text).ok_or_else(|| "a percentage with at most two decimals, such as 10 or -2.5".into())
}

impl TimeArguments {
    fn span(&self, now: Timestamp, default_secs: i64) -> Span {
        let start = self.start.map_or(now, |named| named.0);
        let secs = self.minutes.map_or(default_secs, |minutes| i64::from(minutes) * 60);
        Span { start, end: start.plus_secs(secs) }
    }
}

impl InternalArguments {
    /// Fees per call stay as they are displayed.
    fn plan(&self, fees: &[Fees]) -> InternalPlan {
        let rates = |input: MicroUsd, cached: Option<MicroUsd>, output: MicroUsd| {
            let cached_input = cached.map(|rate| Rate(rate.0));
            Rates { input: Rate(input.0), cached_input, output: Rate(output.0), ..Rates::default() }
        };
        let of_all = |rates: Rates| {
            let of = |(model, fees): (&String, &Fees)| ModelTariff {
                model: model.clone(),
                tariff: Tariff { rates, tiers: vec![], fees: *fees },
            };
            self.models.iter().zip(fees).map(of).collect()
        };
        InternalPlan {
            rates: of_all(rates(self.input, self.cached_input, self.output)),
            landing: of_all(rates(self.landing_input, self.landing_cached_input, self.landing_output)),
        }
    }
}

//! The catalogue of plans, how much of a plan is fair use, and hours of a plan for a customer.

use std::path::PathBuf;

use anyhow::Context;
use clap::{Args, Subcommand};
use codexapi_aggregates::catalog::{CATALOG_STREAM, Catalog, CatalogCommand, CatalogEvent, Plan, PlanBuys};
use codexapi_aggregates::ids::{AccountId, GrantId, PlanId};
use codexapi_aggregates::money::{MicroUsd, Rate};
use codexapi_aggregates::wallet::entitlements::{AssumedRates, FairUse, FairUseWindow};
use serde_json::{Value, json};

use super::{ACCOUNT, Desk, moment};
use crate::accounts::{self, GrantHours, given};
use crate::catalog_seed;
use crate::cli::words::dollars;
use crate::config::plans::PlanList;

/// What the help says of a plan's id.
const PLAN: &str = "The plan's id, as `plans show` names it";

const SECONDS_PER_HOUR: u32 = 3_600;

#[derive(Subcommand)]
pub(super) enum PlansVerb {
    /// Publish every plan of FILE that differs from the one on sale
    Publish {
        /// A TOML file of plans
        file: PathBuf,
    },
    /// Show the plans on sale
    Show,
    /// Sell a plan no longer; what was bought of it goes on
    Withdraw {
        #[arg(help = PLAN)]
        plan: PlanId,
    },
    /// Show how much of each plan is fair use, or set it, from the next request on
    FairUse(FairUseArguments),
    /// Grant hours of a plan to a customer, once per idempotency key
    Grant {
        #[arg(help = ACCOUNT)]
        account: AccountId,
        #[arg(long, default_value = "unlimited", help = PLAN)]
        plan: PlanId,
        /// How long it lasts
        #[arg(long)]
        hours: u32,
        /// The same key with the same inputs grants once, however often it is sent
        #[arg(long = "key", value_name = "IDEMPOTENCY_KEY", value_parser = given::idempotency_key)]
        idempotency_key: String,
    },
    /// Take back what of a grant lies ahead
    End {
        #[arg(help = ACCOUNT)]
        account: AccountId,
        /// The id that `plans grant` printed
        entitlement: GrantId,
    },
}

/// Without a plan, what is in force is shown; with one, all of it is set.
#[derive(Args)]
pub(super) struct FairUseArguments {
    #[arg(requires_all = ["input", "output", "windows"], help = PLAN)]
    plan: Option<PlanId>,
    /// Dollars that a million input tokens count for, such as 5
    #[arg(long, requires = "plan", value_parser = dollars)]
    input: Option<MicroUsd>,
    /// Dollars that a million output tokens count for
    #[arg(long, requires = "plan", value_parser = dollars)]
    output: Option<MicroUsd>,
    /// Hours of a window and its limit in dollars, such as 5=40; shortest first
    #[arg(long = "window", value_name = "HOURS=DOLLARS", requires = "plan", value_parser = window)]
    windows: Vec<FairUseWindow>,
}

pub(super) async fn run(desk: &Desk, verb: PlansVerb) -> anyhow::Result<()> {
    match verb {
        PlansVerb::Publish { file } => {
            let text =
                std::fs::read_to_string(&file).with_context(|| format!("reading {}", file.display()))?;
            let plans =
                PlanList::parse(&text).map_err(|wrong| anyhow::anyhow!("{}: {wrong}", file.display()))?;
            let published = catalog_seed::publish(&desk.log, &desk.metadata, &plans).await?;
            desk.output.table(&published.iter().map(|plan| json!({ "plan": plan })).collect::<Vec<_>>());
            Ok(())
        }
        PlansVerb::Show => {
            let rows = |catalog: &Catalog| catalog.plans().into_iter().map(plan_row).collect::<Vec<_>>();
            desk.output.table(&desk.log.read(CATALOG_STREAM, rows).await?);
            Ok(())
        }
        PlansVerb::Withdraw { plan } => {
            let events = decide(desk, |now| CatalogCommand::Withdraw { plan_id: plan.clone(), now }).await?;
            desk.output.record(&json!({ "plan": plan, "withdrawn": true, "changed": !events.is_empty() }));
            Ok(())
        }
        PlansVerb::FairUse(arguments) => fair_use(desk, arguments).await,
        PlansVerb::Grant { account, plan, hours, idempotency_key } => {
            let grant = GrantHours { account_id: account, plan_id: plan, hours, idempotency_key };
            let granted =
                accounts::grant_hours(&desk.log, &desk.wallet.terms(), &desk.metadata, grant).await?;
            desk.output.record(&json!({
                "entitlement": granted.entitlement_id,
                "plan": granted.plan_id,
                "startsAt": moment(granted.starts_at),
                "endsAt": moment(granted.ends_at),
                "replayed": granted.replayed,
            }));
            Ok(())
        }
        PlansVerb::End { account, entitlement } => {
            let (log, terms) = (&desk.log, desk.wallet.terms());
            let position =
                accounts::end_entitlement(log, &terms, &desk.metadata, account, entitlement).await?;
            desk.output.record(&json!({ "entitlement": entitlement, "changed": position > 0 }));
            Ok(())
        }
    }
}

async fn fair_use(desk: &Desk, arguments: FairUseArguments) -> anyhow::Result<()> {
    if let FairUseArguments { plan: Some(plan_id), input: Some(input), output: Some(output), windows } =
        arguments
    {
        let rates = AssumedRates { input: Rate(input.0), output: Rate(output.0) };
        decide(desk, |now| CatalogCommand::SetFairUse {
            plan_id: plan_id.clone(),
            rates,
            windows: windows.clone(),
            now,
        })
        .await?;
    }
    let rows = |catalog: &Catalog| {
        let in_force = catalog.fair_use();
        in_force.iter().map(|(plan, fair_use)| fair_use_row(plan, fair_use)).collect::<Vec<_>>()
    };
    desk.output.table(&desk.log.read(CATALOG_STREAM, rows).await?);
    Ok(())
}

async fn decide(
    desk: &Desk,
    command: impl Fn(codexapi_aggregates::time::Timestamp) -> CatalogCommand,
) -> anyhow::Result<Vec<CatalogEvent>> {
    let committed = desk
        .log
        .execute(CATALOG_STREAM, &desk.metadata, |catalog: &Catalog, now| catalog.decide(command(now)))
        .await?;
    Ok(committed.events)
}

fn plan_row(plan: &Plan) -> Value {
    let buys = match &plan.buys {
        PlanBuys::Credit { credit_micro } => format!("${credit_micro} of credit"),
        PlanBuys::Entitlement { block_secs, .. } => format!("{} hours", block_secs / SECONDS_PER_HOUR),
    };
    json!({
        "plan": plan.id,
        "name": plan.name,
        "priceUsd": plan.price_micro.to_string(),
        "buys": buys,
        "visibility": plan.visibility,
        "sold": plan.sold,
        "maxQuantity": plan.max_quantity,
    })
}

fn fair_use_row(plan: &PlanId, fair_use: &FairUse) -> Value {
    let dollars = |rate: Rate| MicroUsd(rate.0).to_string();
    let window =
        |window: &FairUseWindow| format!("{}={}", window.length_secs / SECONDS_PER_HOUR, window.limit_micro);
    json!({
        "plan": plan,
        "inputUsd": dollars(fair_use.rates.input),
        "outputUsd": dollars(fair_use.rates.output),
        "windows": fair_use.windows.iter().map(window).collect::<Vec<_>>().join(" "),
    })
}

/// `5=40`: 5 hours, at most $40.
fn window(text: &str) -> Result<FairUseWindow, String> {
    let expected = || format!("{text:?} is not hours and dollars, such as 5=40");
    let (hours, dollars) = text.split_once('=').ok_or_else(expected)?;
    let hours: u32 = hours.parse().map_err(|_| expected())?;
    let length_secs = hours.checked_mul(SECONDS_PER_HOUR).ok_or_else(expected)?;
    Ok(FairUseWindow { length_secs, limit_micro: dollars.parse().map_err(|_| expected())? })
}

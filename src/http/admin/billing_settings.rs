//! `/billing/settings`: the price of a call, how client families are billed, what serving is reckoned to cost.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use codexapi_aggregates::money::MicroUsd;
use codexapi_aggregates::pricing::{
    BOOK_STREAM, PriceBook, PricingCommand, PricingEvent, PricingRefusal, ServingCost,
};
use codexapi_aggregates::routing::ModelFamily;
use codexapi_aggregates::time::Timestamp;
use codexapi_aggregates::usage::{BillingPolicy, ClientFamily};
use cqrs_es::Aggregate;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::body::{AdminBody, named};
use super::tariffs::{dollars, rate};
use super::{Actor, positions};
use crate::app::App;
use crate::http::error::{ErrorBody, Problem};
use crate::http::query::NoQuery;

/// Policies and costs that one request may set.
const MAX_CHANGES: usize = 100;

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct BillingSettings {
    /// What every call of a customer costs, beside what it uses; 0 for nothing.
    per_call_micro: i64,
    per_call_usd: String,
    /// How client families are billed from the wallet, each; and under plans, where that was set.
    policies: Vec<BillingPolicyView>,
    /// What serving is reckoned to cost, per million tokens.
    serving_costs: Vec<ServingCostView>,
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct BillingPolicyView {
    family: &'static str,
    plan: Option<String>,
    /// `full`: all input is billed; `delta`: input its conversation was not billed for before.
    #[schema(value_type = String)]
    policy: BillingPolicy,
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct ServingCostView {
    /// `gpt`, `claude` or `deepseek`.
    family: &'static str,
    input_micro: i64,
    input_usd: String,
    output_micro: i64,
    output_usd: String,
}

/// What is left out stays as it is.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SetBillingSettings {
    /// Decimal dollars, such as "0.001".
    per_call_usd: Option<String>,
    #[serde(default)]
    policies: Vec<SetPolicy>,
    #[serde(default)]
    serving_costs: Vec<SetServingCost>,
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct SetPolicy {
    /// `codex_cli`, `claude_code`, `codexclaude`, `openai_sdk`, `anthropic_sdk` or `other`.
    #[schema(value_type = String)]
    family: ClientFamily,
    /// A plan's id; left out for what the wallet pays.
    plan: Option<String>,
    /// `full`, `delta`, or null for the default.
    #[serde(deserialize_with = "named")]
    #[schema(value_type = Option<String>)]
    policy: Option<BillingPolicy>,
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct SetServingCost {
    /// `gpt`, `claude` or `deepseek`.
    #[schema(value_type = String)]
    family: ModelFamily,
    /// Dollars per million tokens.
    input_usd: String,
    output_usd: String,
}

/// What a change has come to.
#[derive(Serialize, ToSchema)]
pub struct BillingSettingsChanged {
    /// Where its events stand in the log; none where nothing changed.
    positions: Vec<i64>,
    state: BillingSettings,
}

/// What is set beside rates.
#[utoipa::path(
    get, path = "/admin/api/billing/settings", operation_id = "read_billing_settings", tag = "operator prices",
    responses((status = 200, body = BillingSettings), (status = 401, body = ErrorBody), (status = 403, body = ErrorBody)),
    security(("bearer" = []), ("apiKey" = []))
)]
pub async fn read(State(app): State<Arc<App>>, _: NoQuery) -> Result<Json<BillingSettings>, Problem> {
    settings(&app).await.map(Json)
}

/// Changes what is set beside rates, all of it or nothing; counts from the next request on.
#[utoipa::path(
    post, path = "/admin/api/billing/settings", operation_id = "set_billing_settings", tag = "operator prices",
    request_body = SetBillingSettings,
    responses((status = 200, body = BillingSettingsChanged), (status = 400, body = ErrorBody),
        (status = 401, body = ErrorBody), (status = 403, body = ErrorBody), (status = 409, body = ErrorBody)),
    security(("bearer" = []), ("apiKey" = []))
)]
pub async fn set(
    State(app): State<Arc<App>>,
    actor: Actor,
    _: NoQuery,
    AdminBody(set): AdminBody<SetBillingSettings>,
) -> Result<Json<BillingSettingsChanged>, Problem> {
    if set.policies.len() + set.serving_costs.len() > MAX_CHANGES {
        let message = format!("At most {MAX_CHANGES} policies and costs are set at once.");
        return Err(Problem::invalid("too_many_changes", message));
    }
    let changes = Changes::of(set)?;
    let committed = app
        .log
        .execute(BOOK_STREAM, &actor.metadata, |book: &PriceBook, now| {
            decide_all(book, changes.commands(now))
        })
        .await?;
    let positions = positions(committed.position, committed.events.len());
    Ok(Json(BillingSettingsChanged { positions, state: settings(&app).await? }))
}

/// The events of several commands, each on what the ones before have left.
pub fn decide_all(
    book: &PriceBook,
    commands: impl IntoIterator<Item = PricingCommand>,
) -> Result<Vec<PricingEvent>, PricingRefusal> {
    let mut book = book.clone();
    let mut events = Vec::new();
    for command in commands {
        for event in book.decide(command)? {
            book.apply(event.clone());
            events.push(event);
        }
    }
    Ok(events)
}

/// What was sent, read.
struct Changes {
    per_call_micro: Option<MicroUsd>,
    policies: Vec<SetPolicy>,
    serving_costs: Vec<(ModelFamily, ServingCost)>,
}

impl Changes {
    fn of(set: SetBillingSettings) -> Result<Self, Problem> {
        let cost = |set: &SetServingCost| {
            Ok((set.family, ServingCost { input: rate(&set.input_usd)?, output: rate(&set.output_usd)? }))
        };
        Ok(Self {
            per_call_micro: set.per_call_usd.as_deref().map(dollars).transpose()?,
            serving_costs: set.serving_costs.iter().map(cost).collect::<Result<_, Problem>>()?,
            policies: set.policies,
        })
    }

    fn commands(&self, now: Timestamp) -> impl Iterator<Item = PricingCommand> {
        let per_call =
            self.per_call_micro.map(|amount_micro| PricingCommand::SetPerCallPrice { amount_micro, now });
        let policies = self.policies.iter().map(move |set| PricingCommand::SetBillingPolicy {
            family: set.family,
            plan: set.plan.clone(),
            policy: set.policy,
            now,
        });
        let costs = self.serving_costs.iter();
        let costs = costs.map(move |(family, cost)| PricingCommand::SetServingCost {
            family: *family,
            cost: *cost,
            now,
        });
        per_call.into_iter().chain(policies).chain(costs)
    }
}

async fn settings(app: &App) -> Result<BillingSettings, Problem> {
    let seen = |book: &PriceBook| {
        let by_wallet = ClientFamily::ALL.map(|family| BillingPolicyView {
            family: family.name(),
            plan: None,
            policy: book.billing_policy(family, None),
        });
        let by_plan = book.billing_policies().filter_map(|(family, plan, policy)| {
            Some(BillingPolicyView { family: family.name(), plan: Some(plan?.to_owned()), policy })
        });
        BillingSettings {
            per_call_micro: book.per_call_micro().0,
            per_call_usd: book.per_call_micro().to_string(),
            policies: by_wallet.into_iter().chain(by_plan).collect(),
            serving_costs: ModelFamily::ALL.map(|family| serving_cost(book, family)).into(),
        }
    };
    app.log.read(BOOK_STREAM, seen).await.map_err(Problem::unavailable)
}

fn serving_cost(book: &PriceBook, family: ModelFamily) -> ServingCostView {
    let ServingCost { input, output } = book.serving_cost(family);
    let usd = |micro: i64| MicroUsd(micro).to_string();
    ServingCostView {
        family: family.name(),
        input_micro: input.0,
        input_usd: usd(input.0),
        output_micro: output.0,
        output_usd: usd(output.0),
    }
}

//! `/billing`: what is sold and how much of a plan is fair use; and who has credit and plans.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use chrono::{DateTime, Utc};
use codexapi_aggregates::catalog::{
    CATALOG_STREAM, Catalog, CatalogCommand, CatalogRefusal, Plan, PlanBuys, Sold, Visibility,
};
use codexapi_aggregates::ids::PlanId;
use codexapi_aggregates::money::{MicroUsd, Rate};
use codexapi_aggregates::wallet::entitlements::{AssumedRates, FairUse, FairUseWindow};
use codexapi_projections::entitlements::{self, Entitlement};
use codexapi_projections::{MAX_PAGE, accounts, balances};
use http::Uri;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use super::body::AdminBody;
use super::{Actor, positions};
use crate::accounts::persons;
use crate::app::App;
use crate::http::error::{ErrorBody, Problem};
use crate::http::query::{NoQuery, QueryParams};

const SECONDS_PER_HOUR: u32 = 3_600;

/// Customers on a page where the caller names no number.
const DEFAULT_LIMIT: u32 = 50;

/// What is sold, and one page of customers.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Billing {
    settings: Selling,
    /// Newest first.
    users: Vec<BillingUser>,
    /// Pass it as `before` for the next page; absent on the last.
    next_before: Option<i64>,
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Selling {
    /// Every plan on sale, cheapest first.
    plans: Vec<SoldPlan>,
}

/// One plan, with what customers are not shown.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct SoldPlan {
    plan_id: String,
    name: String,
    price_micro: i64,
    price_usd: String,
    credit_micro: Option<i64>,
    credit_usd: Option<String>,
    #[schema(value_type = String)]
    visibility: Visibility,
    #[schema(value_type = String)]
    sold: Sold,
    max_quantity: u32,
    /// How long one lasts, where it buys time.
    hours: Option<u32>,
    /// Covered clients.
    clients: Vec<&'static str>,
    models: Vec<String>,
    fair_use: Option<FairUseSettings>,
}

/// How much of a plan is fair use. Private: customers see tokens and a coarse share.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct FairUseSettings {
    /// Micro-USD that a million tokens count for.
    input_micro: i64,
    input_usd: String,
    output_micro: i64,
    output_usd: String,
    windows: Vec<WindowSettings>,
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct WindowSettings {
    hours: u32,
    limit_micro: i64,
    limit_usd: String,
}

/// A customer, their credit and their plans.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct BillingUser {
    user_id: Uuid,
    name: Option<String>,
    email: Option<String>,
    balance_micro: i64,
    #[schema(example = "12.345678")]
    balance_usd: String,
    held_micro: i64,
    plans: Vec<UserPlan>,
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct UserPlan {
    plan_id: String,
    ends_at: DateTime<Utc>,
    running: bool,
}

#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Query)]
#[allow(dead_code, reason = "describes the parameters; they are read by name")]
pub struct BillingQuery {
    /// Customers on this page, 1 to 200; 50 by default.
    #[param(minimum = 1, maximum = 200)]
    limit: Option<u32>,
    /// `nextBefore` of the page before.
    before: Option<i64>,
}

/// What is sold, and customers with their credit and plans, newest first.
#[utoipa::path(
    get, path = "/admin/api/billing", operation_id = "read_billing", tag = "operator billing", params(BillingQuery),
    responses((status = 200, body = Billing), (status = 400, body = ErrorBody), (status = 401, body = ErrorBody),
        (status = 403, body = ErrorBody)),
    security(("bearer" = []), ("apiKey" = []))
)]
pub async fn read(State(app): State<Arc<App>>, uri: Uri) -> Result<Json<Billing>, Problem> {
    let params = QueryParams::of(&uri, &["limit", "before"])?;
    let limit = params.number("limit", 1..=MAX_PAGE)?.unwrap_or(DEFAULT_LIMIT);
    let page = accounts::page(&app.pool, params.cursor("before", "nextBefore")?, limit).await?;
    let ids: Vec<Uuid> = page.rows.iter().map(|row| row.account_id).collect();
    let person_ids: Vec<Uuid> = page.rows.iter().map(|row| row.person_id).collect();
    let mut persons = persons::by_ids(&app.pool, &person_ids).await.map_err(Problem::unavailable)?;
    let mut balances = balances::of_accounts(&app.pool, &ids).await?;
    let mut plans: BTreeMap<Uuid, Vec<UserPlan>> = BTreeMap::new();
    for entitlement in entitlements::of_accounts(&app.pool, &ids).await? {
        plans.entry(entitlement.account_id).or_default().push(UserPlan::of(entitlement));
    }
    let user = |row: accounts::AccountRow| {
        let person = persons.remove(&row.person_id);
        let (name, email) = person.map_or((None, None), |person| (person.name, person.email));
        let balance = balances.remove(&row.account_id).unwrap_or_default();
        BillingUser {
            user_id: row.account_id,
            name,
            email,
            balance_micro: balance.balance_micro.0,
            balance_usd: balance.balance_micro.to_string(),
            held_micro: balance.held_micro.0,
            plans: plans.remove(&row.account_id).unwrap_or_default(),
        }
    };
    Ok(Json(Billing {
        settings: settings(&app).await?,
        users: page.rows.into_iter().map(user).collect(),
        next_before: page.next,
    }))
}

/// Changes one plan; what is left out stays. What was bought before stays as it was sold.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SetPlan {
    #[schema(value_type = String)]
    plan_id: PlanId,
    /// `false` takes it off sale; what was bought of it goes on.
    on_sale: Option<bool>,
    name: Option<String>,
    /// Micro-USD of one.
    price_micro: Option<i64>,
    /// Micro-USD of credit that one gives.
    credit_micro: Option<i64>,
    /// `public`, `private` or `exit_intent`.
    #[schema(value_type = Option<String>)]
    visibility: Option<Visibility>,
    max_quantity: Option<u32>,
}

/// What a change has come to.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct PlanSet {
    /// Where its events stand in the log; none where nothing changed.
    positions: Vec<i64>,
    settings: Selling,
}

/// Changes what a plan costs and gives, who is shown it, and whether it is on sale.
#[utoipa::path(
    post, path = "/admin/api/billing/plans", operation_id = "set_plan", tag = "operator billing",
    request_body = SetPlan,
    responses((status = 200, body = PlanSet), (status = 400, body = ErrorBody), (status = 401, body = ErrorBody),
        (status = 403, body = ErrorBody), (status = 404, body = ErrorBody), (status = 409, body = ErrorBody)),
    security(("bearer" = []), ("apiKey" = []))
)]
pub async fn set(
    State(app): State<Arc<App>>,
    actor: Actor,
    _: NoQuery,
    AdminBody(set): AdminBody<SetPlan>,
) -> Result<Json<PlanSet>, Problem> {
    let committed = app
        .log
        .execute(CATALOG_STREAM, &actor.metadata, |catalog: &Catalog, now| {
            let plan_id = set.plan_id.clone();
            if set.on_sale == Some(false) {
                return catalog.decide(CatalogCommand::Withdraw { plan_id, now });
            }
            let known = match set.on_sale {
                Some(true) => catalog.plan_ever(&plan_id),
                Some(false) | None => catalog.plan(&plan_id),
            };
            let plan = known.ok_or(CatalogRefusal::UnknownPlan { plan_id })?;
            catalog.decide(CatalogCommand::Publish { plan: Box::new(set.changed(plan)?), now })
        })
        .await?;
    let positions = positions(committed.position, committed.events.len());
    Ok(Json(PlanSet { positions, settings: settings(&app).await? }))
}

impl SetPlan {
    fn changed(&self, plan: &Plan) -> Result<Plan, CatalogRefusal> {
        let mut plan = plan.clone();
        if let Some(credit) = self.credit_micro {
            match &mut plan.buys {
                PlanBuys::Credit { credit_micro } => *credit_micro = MicroUsd(credit),
                PlanBuys::Entitlement { .. } => return Err(CatalogRefusal::BuysTime { plan_id: plan.id }),
            }
        }
        Ok(Plan {
            name: self.name.clone().unwrap_or(plan.name),
            price_micro: self.price_micro.map_or(plan.price_micro, MicroUsd),
            visibility: self.visibility.unwrap_or(plan.visibility),
            max_quantity: self.max_quantity.unwrap_or(plan.max_quantity),
            ..plan
        })
    }
}

/// Sets how much of a plan is fair use; what is left out stays. Counts from the next request on.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SetFairUse {
    /// By default the one the URL is of.
    #[schema(value_type = Option<String>)]
    plan_id: Option<PlanId>,
    /// Micro-USD that a million input tokens count for.
    input_micro: Option<i64>,
    output_micro: Option<i64>,
    /// All of them, shortest first.
    windows: Option<Vec<SetWindow>>,
}

#[derive(Clone, Copy, Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct SetWindow {
    hours: u32,
    limit_micro: i64,
}

/// What a change has come to.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct FairUseSet {
    plan_id: String,
    /// Where its event stands in the log; none where nothing changed.
    positions: Vec<i64>,
    fair_use: FairUseSettings,
}

/// Sets the limits of the Unlimited plan, or of another one, and what tokens count for.
#[utoipa::path(
    post, path = "/admin/api/billing/fup-settings", operation_id = "set_fair_use", tag = "operator billing",
    request_body = SetFairUse,
    responses((status = 200, body = FairUseSet), (status = 400, body = ErrorBody), (status = 401, body = ErrorBody),
        (status = 403, body = ErrorBody), (status = 404, body = ErrorBody), (status = 409, body = ErrorBody)),
    security(("bearer" = []), ("apiKey" = []))
)]
pub async fn set_fair_use(
    State(app): State<Arc<App>>,
    actor: Actor,
    _: NoQuery,
    AdminBody(set): AdminBody<SetFairUse>,
) -> Result<Json<FairUseSet>, Problem> {
    fair_use_of(&app, &actor, set, super::unlimited::UNLIMITED).await.map(Json)
}

/// Sets the fair use of the plan that `set` names, else of `plan_id`.
pub(super) async fn fair_use_of(
    app: &App,
    actor: &Actor,
    set: SetFairUse,
    plan_id: &str,
) -> Result<FairUseSet, Problem> {
    let plan_id = match &set.plan_id {
        Some(plan_id) => plan_id.clone(),
        None => plan_id.parse().expect("the name of a plan"),
    };
    let committed = app
        .log
        .execute(CATALOG_STREAM, &actor.metadata, |catalog: &Catalog, now| {
            let FairUse { rates, windows } = set.changed(catalog, &plan_id)?;
            catalog.decide(CatalogCommand::SetFairUse { plan_id: plan_id.clone(), rates, windows, now })
        })
        .await?;
    let in_force = app.log.read(CATALOG_STREAM, Catalog::fair_use).await.map_err(Problem::unavailable)?;
    let fair_use = in_force.get(&plan_id).map(FairUseSettings::of);
    Ok(FairUseSet {
        plan_id: plan_id.to_string(),
        positions: positions(committed.position, committed.events.len()),
        fair_use: fair_use.ok_or(CatalogRefusal::UnknownPlan { plan_id })?,
    })
}

impl SetFairUse {
    fn changed(&self, catalog: &Catalog, plan_id: &PlanId) -> Result<FairUse, CatalogRefusal> {
        let in_force = catalog.fair_use();
        let known = in_force.get(plan_id).ok_or_else(|| match catalog.plan_ever(plan_id) {
            Some(_) => CatalogRefusal::BuysCredit { plan_id: plan_id.clone() },
            None => CatalogRefusal::UnknownPlan { plan_id: plan_id.clone() },
        })?;
        let rates = AssumedRates {
            input: self.input_micro.map_or(known.rates.input, Rate),
            output: self.output_micro.map_or(known.rates.output, Rate),
        };
        let windows = match &self.windows {
            None => known.windows.clone(),
            Some(windows) => windows.iter().map(|window| window.fair_use()).collect(),
        };
        Ok(FairUse { rates, windows })
    }
}

impl SetWindow {
    fn fair_use(self) -> FairUseWindow {
        FairUseWindow {
            length_secs: self.hours.saturating_mul(SECONDS_PER_HOUR),
            limit_micro: MicroUsd(self.limit_micro),
        }
    }
}

async fn settings(app: &App) -> Result<Selling, Problem> {
    let plans = |catalog: &Catalog| catalog.plans().into_iter().map(SoldPlan::of).collect();
    let plans = app.log.read(CATALOG_STREAM, plans).await.map_err(Problem::unavailable)?;
    Ok(Selling { plans })
}

impl UserPlan {
    fn of(entitlement: Entitlement) -> Self {
        Self {
            plan_id: entitlement.plan_id.to_string(),
            ends_at: entitlement.ends_at,
            running: !entitlement.is_over,
        }
    }
}

impl SoldPlan {
    pub(super) fn of(plan: &Plan) -> Self {
        let credit = plan.credit(1);
        let (hours, clients, models, fair_use) = match &plan.buys {
            PlanBuys::Credit { .. } => (None, vec![], vec![], None),
            PlanBuys::Entitlement { scope, fair_use, block_secs } => (
                Some(block_secs / SECONDS_PER_HOUR),
                scope.families.iter().map(|family| family.name()).collect(),
                scope.models.clone(),
                Some(FairUseSettings::of(fair_use)),
            ),
        };
        Self {
            plan_id: plan.id.to_string(),
            name: plan.name.clone(),
            price_micro: plan.price_micro.0,
            price_usd: plan.price_micro.to_string(),
            credit_micro: credit.map(|credit| credit.0),
            credit_usd: credit.map(|credit| credit.to_string()),
            visibility: plan.visibility,
            sold: plan.sold,
            max_quantity: plan.max_quantity,
            hours,
            clients,
            models,
            fair_use,
        }
    }
}

impl FairUseSettings {
    fn of(fair_use: &FairUse) -> Self {
        let AssumedRates { input, output } = fair_use.rates;
        let window = |window: &FairUseWindow| WindowSettings {
            hours: window.length_secs / SECONDS_PER_HOUR,
            limit_micro: window.limit_micro.0,
            limit_usd: window.limit_micro.to_string(),
        };
        Self {
            input_micro: input.0,
            input_usd: MicroUsd(input.0).to_string(),
            output_micro: output.0,
            output_usd: MicroUsd(output.0).to_string(),
            windows: fair_use.windows.iter().map(window).collect(),
        }
    }
}

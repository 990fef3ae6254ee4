//! How much of a customer's plans is used: tokens, a coarse share, when it begins anew. The limits, the rates and every
//! amount counted from them stay private.

use chrono::{DateTime, Utc};
use codexapi_aggregates::catalog::{CATALOG_STREAM, Catalog};
use codexapi_aggregates::ids::AccountId;
use codexapi_aggregates::time::Timestamp;
use codexapi_aggregates::wallet::Wallet;
use codexapi_aggregates::wallet::entitlements::{PlanStatus, WindowStatus};
use serde::Serialize;
use utoipa::ToSchema;

use crate::app::App;
use crate::clock;
use crate::http::error::Problem;

const SECONDS_PER_HOUR: u32 = 3_600;

/// One plan that is running.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct PlanUsage {
    plan_id: String,
    name: String,
    ends_at: DateTime<Utc>,
    /// Shortest first.
    windows: Vec<WindowUsage>,
}

/// A window that fair use is counted in. The first request after it has closed opens the next one.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct WindowUsage {
    hours: u32,
    /// In steps of ten; at 100 nothing more is covered until it closes.
    used_percent: u8,
    /// Tokens counted: input not billed before, and output.
    input_tokens: u64,
    output_tokens: u64,
    /// When it closes; absent while none is open.
    resets_at: Option<DateTime<Utc>>,
    resets_in_seconds: Option<u32>,
}

/// The running plans of one customer, soonest end first.
pub async fn of(app: &App, account_id: AccountId) -> Result<Vec<PlanUsage>, Problem> {
    let now = clock::now();
    let in_force = app.log.read(CATALOG_STREAM, Catalog::fair_use).await.map_err(Problem::unavailable)?;
    let status = |wallet: &Wallet| wallet.plan_status(now, &in_force);
    let running = app.log.read(&account_id.to_string(), status).await.map_err(Problem::unavailable)?;
    if running.is_empty() {
        return Ok(vec![]);
    }
    let named = |catalog: &Catalog| {
        let name = |plan: &PlanStatus| catalog.plan_ever(&plan.plan_id).map(|plan| plan.name.clone());
        running.iter().map(|plan| usage(plan, name(plan), now)).collect()
    };
    app.log.read(CATALOG_STREAM, named).await.map_err(Problem::unavailable)
}

fn usage(plan: &PlanStatus, name: Option<String>, now: Timestamp) -> PlanUsage {
    PlanUsage {
        plan_id: plan.plan_id.to_string(),
        name: name.unwrap_or_else(|| plan.plan_id.to_string()),
        ends_at: moment(plan.ends_at),
        windows: plan.windows.iter().map(|window| window_usage(window, now)).collect(),
    }
}

fn window_usage(window: &WindowStatus, now: Timestamp) -> WindowUsage {
    WindowUsage {
        hours: window.length_secs / SECONDS_PER_HOUR,
        used_percent: window.used_percent,
        input_tokens: window.input_tokens,
        output_tokens: window.output_tokens,
        resets_at: window.resets_at.map(moment),
        resets_in_seconds: window.resets_at.map(|at| at.secs_after(now)),
    }
}

fn moment(at: Timestamp) -> DateTime<Utc> {
    DateTime::from_timestamp_micros(at.0).unwrap_or_default()
}

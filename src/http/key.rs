//! `GET /api/v1/key`: the key a request is made with, what it may use, what is left of that, and what was used.
//!
//! For programs that watch their own spending: the figures are this key's alone, not the account's. What is left comes
//! from the wallet itself, which is what refuses; the usage by day comes from a read model, in the caller's zone.

use std::sync::Arc;

use axum::extract::State;
use axum::{Extension, Json};
use chrono::{DateTime, Datelike, Days, NaiveDate, Utc};
use chrono_tz::Tz;
use codexapi_aggregates::account::{KeyKind, KeyLimits};
use codexapi_aggregates::money::MicroUsd;
use codexapi_aggregates::time::Timestamp;
use codexapi_aggregates::wallet::{KeyUseNow, Wallet};
use codexapi_projections::api_keys;
use codexapi_projections::usage::{self, UsageSums};
use http::{HeaderMap, Uri};
use serde::Serialize;
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use super::auth::{AuthError, CustomerCaller};
use super::days::{start_of_day, zone};
use super::error::{ErrorBody, Problem};
use super::query::QueryParams;
use crate::app::App;
use crate::clock;

#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct KeyQuery {
    /// The zone days are counted in, as Europe/Berlin; UTC by default.
    timezone: Option<String>,
}

/// The key of this request; never its secret.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct CallingKey {
    id: Uuid,
    /// `system_token` or `api`.
    #[schema(value_type = String)]
    kind: KeyKind,
    /// The token's first characters.
    prefix: String,
    created_at: DateTime<Utc>,
    limits: LimitsOfCaller,
    remaining: LeftOfKey,
    usage: KeyUsage,
}

/// What the key may use; what is absent is not limited. Amounts in micro-USD, and in dollars for people.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct LimitsOfCaller {
    requests_per_minute: Option<u32>,
    /// Input and output together.
    tokens_per_minute: Option<u64>,
    parallel_requests: Option<u32>,
    /// Per UTC day.
    daily_budget_micro: Option<i64>,
    daily_budget_usd: Option<String>,
    /// Per UTC month.
    monthly_budget_micro: Option<i64>,
    monthly_budget_usd: Option<String>,
    /// Empty for all.
    allowed_models: Vec<String>,
    /// From when on the key does not work.
    expires_at: Option<DateTime<Utc>>,
    /// Whether it works from some networks only.
    limited_to_networks: bool,
}

/// What is left of each limit; what is absent is not limited. What running requests have set aside is not yet taken
/// off the budgets.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct LeftOfKey {
    requests_this_minute: Option<u32>,
    tokens_this_minute: Option<u64>,
    /// When the two above begin anew.
    minute_ends_at: DateTime<Utc>,
    parallel_requests: Option<usize>,
    daily_budget_micro: Option<i64>,
    daily_budget_usd: Option<String>,
    monthly_budget_micro: Option<i64>,
    monthly_budget_usd: Option<String>,
}

/// What was used with this key, in calendar days of `timezone`; weeks begin on Monday.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct KeyUsage {
    timezone: String,
    today: KeySums,
    this_week: KeySums,
    this_month: KeySums,
}

/// Amounts in micro-USD, and in dollars for people.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct KeySums {
    since: DateTime<Utc>,
    requests: i64,
    /// Input tokens that were billed.
    input_tokens: i64,
    /// Every input token sent, those billed before in the same conversation included.
    cumulative_input_tokens: i64,
    cached_input_tokens: i64,
    /// Reasoning included.
    output_tokens: i64,
    /// Charged, less what was given back.
    spent_micro: i64,
    #[schema(example = "0.012345")]
    spent_usd: String,
    charged_micro: i64,
    charged_usd: String,
    reversed_micro: i64,
    reversed_usd: String,
}

/// The key of this request.
#[utoipa::path(
    get, path = "/api/v1/key", operation_id = "calling_key", tag = "account", params(KeyQuery),
    responses((status = 200, body = CallingKey), (status = 400, body = ErrorBody), (status = 401, body = ErrorBody)),
    security(("bearer" = []), ("apiKey" = []))
)]
pub async fn read(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<CustomerCaller>,
    headers: HeaderMap,
    uri: Uri,
) -> Result<Json<CallingKey>, Problem> {
    let query = KeyQuery::of(&uri)?;
    let zone = zone(query.timezone.as_deref(), &headers)?;
    let (account, key_id) = (caller.account_id.0, caller.key_id.0);
    let key = api_keys::get(&app.pool, account, key_id).await?.ok_or(AuthError::Unknown)?;
    let at = clock::now();
    let used = app
        .log
        .read(&caller.account_id.to_string(), |wallet: &Wallet| wallet.key_use(caller.key_id, at))
        .await
        .map_err(Problem::unavailable)?;
    let now = moment(at);
    let [today, week, month] = beginnings(now.with_timezone(&zone).date_naive(), zone);
    let since = async |moment| {
        let used = usage::of_key_since(&app.pool, account, key_id, moment).await?;
        Ok::<_, Problem>(sums(moment, &used))
    };
    let (today, this_week, this_month) = tokio::try_join!(since(today), since(week), since(month))?;
    Ok(Json(CallingKey {
        id: key.key_id,
        kind: key.kind,
        prefix: key.prefix,
        created_at: key.issued_at,
        remaining: left(&key.limits, &used),
        limits: limits(key.limits),
        usage: KeyUsage { timezone: zone.name().into(), today, this_week, this_month },
    }))
}

impl KeyQuery {
    fn of(uri: &Uri) -> Result<Self, Problem> {
        let params = QueryParams::of(uri, &["timezone"])?;
        Ok(Self { timezone: params.text("timezone").map(str::to_owned) })
    }
}

fn limits(limits: KeyLimits) -> LimitsOfCaller {
    let (daily, monthly) = (limits.daily_budget_micro, limits.monthly_budget_micro);
    LimitsOfCaller {
        requests_per_minute: limits.requests_per_minute,
        tokens_per_minute: limits.tokens_per_minute,
        parallel_requests: limits.parallel_requests,
        daily_budget_micro: daily.map(|amount| amount.0),
        daily_budget_usd: daily.map(|amount| amount.to_string()),
        monthly_budget_micro: monthly.map(|amount| amount.0),
        monthly_budget_usd: monthly.map(|amount| amount.to_string()),
        allowed_models: limits.allowed_models,
        expires_at: limits.expires_at.map(moment),
        limited_to_networks: limits.has_networks,
    }
}

/// A limit that was lowered below what is used leaves nothing, not less.
fn left(limits: &KeyLimits, used: &KeyUseNow) -> LeftOfKey {
    let budget = |limit: Option<MicroUsd>, spent: MicroUsd| {
        limit.map(|limit| if limit > spent { limit - spent } else { MicroUsd::ZERO })
    };
    let daily = budget(limits.daily_budget_micro, used.spent_today_micro);
    let monthly = budget(limits.monthly_budget_micro, used.spent_month_micro);
    let parallel = limits.parallel_requests.map(|limit| usize::try_from(limit).unwrap_or(usize::MAX));
    LeftOfKey {
        requests_this_minute: limits
            .requests_per_minute
            .map(|limit| limit.saturating_sub(used.requests_this_minute)),
        tokens_this_minute: limits
            .tokens_per_minute
            .map(|limit| limit.saturating_sub(used.tokens_this_minute)),
        minute_ends_at: moment(used.minute_ends_at),
        parallel_requests: parallel.map(|limit| limit.saturating_sub(used.open)),
        daily_budget_micro: daily.map(|amount| amount.0),
        daily_budget_usd: daily.map(|amount| amount.to_string()),
        monthly_budget_micro: monthly.map(|amount| amount.0),
        monthly_budget_usd: monthly.map(|amount| amount.to_string()),
    }
}

fn moment(at: Timestamp) -> DateTime<Utc> {
    DateTime::from_timestamp_micros(at.0).unwrap_or_default()
}

/// When the day, its week and its month began.
fn beginnings(today: NaiveDate, zone: Tz) -> [DateTime<Utc>; 3] {
    let into_week = u64::from(today.weekday().num_days_from_monday());
    let monday = today.checked_sub_days(Days::new(into_week)).unwrap_or(today);
    let first = today.with_day(1).unwrap_or(today);
    [today, monday, first].map(|day| start_of_day(zone, day))
}

fn sums(since: DateTime<Utc>, used: &UsageSums) -> KeySums {
    let spent = used.charged_micro - used.reversed_micro;
    KeySums {
        since,
        requests: used.requests,
        input_tokens: used.billed_input_tokens(),
        cumulative_input_tokens: used.cumulative_input_tokens,
        cached_input_tokens: used.cached_input_tokens,
        output_tokens: used.output_tokens,
        spent_micro: spent.0,
        spent_usd: spent.to_string(),
        charged_micro: used.charged_micro.0,
        charged_usd: used.charged_micro.to_string(),
        reversed_micro: used.reversed_micro.0,
        reversed_usd: used.reversed_micro.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_is_the_limit_less_what_is_used_and_never_below_nothing() {
        let limits = KeyLimits {
            requests_per_minute: Some(5),
            tokens_per_minute: Some(100),
            parallel_requests: Some(2),
            daily_budget_micro: Some(MicroUsd(1_000_000)),
            ..KeyLimits::default()
        };
        let used = KeyUseNow {
            requests_this_minute: 3,
            tokens_this_minute: 170,
            minute_ends_at: Timestamp::from_secs(60),
            open: 1,
            spent_today_micro: MicroUsd(250_000),
            spent_week_micro: MicroUsd(250_000),
            spent_month_micro: MicroUsd(250_000),
        };
        let left = left(&limits, &used);
        assert_eq!((left.requests_this_minute, left.tokens_this_minute), (Some(2), Some(0)));
        assert_eq!((left.parallel_requests, left.daily_budget_micro), (Some(1), Some(750_000)));
        assert_eq!((left.daily_budget_usd.as_deref(), left.monthly_budget_micro), (Some("0.750000"), None));
    }

    #[test]
    fn a_week_begins_on_monday_and_a_month_on_the_first_in_the_callers_zone() {
        let kolkata: Tz = "Asia/Kolkata".parse().expect("a zone");
        let sunday: NaiveDate = "2026-11-22".parse().expect("a day");
        let begun = beginnings(sunday, kolkata).map(|moment| moment.to_rfc3339());
        let expected =
            ["2026-11-21T18:30:00+00:00", "2026-11-15T18:30:00+00:00", "2026-10-31T18:30:00+00:00"];
        assert_eq!(begun, expected);
    }
}

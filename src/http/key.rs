//! `GET /api/v1/key`: the key a request is made with, and what was used with it.
//!
//! For programs that watch their own spending: the figures are this key's alone, not the account's.

use std::sync::Arc;

use axum::extract::State;
use axum::{Extension, Json};
use chrono::{DateTime, Datelike, Days, NaiveDate, Utc};
use chrono_tz::Tz;
use codexapi_aggregates::account::KeyKind;
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
    usage: KeyUsage,
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
    let now = DateTime::from_timestamp_micros(clock::now().0).unwrap_or_default();
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
        usage: KeyUsage { timezone: zone.name().into(), today, this_week, this_month },
    }))
}

impl KeyQuery {
    fn of(uri: &Uri) -> Result<Self, Problem> {
        let params = QueryParams::of(uri, &["timezone"])?;
        Ok(Self { timezone: params.text("timezone").map(str::to_owned) })
    }
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
    fn a_week_begins_on_monday_and_a_month_on_the_first_in_the_callers_zone() {
        let kolkata: Tz = "Asia/Kolkata".parse().expect("a zone");
        let sunday: NaiveDate = "2026-11-22".parse().expect("a day");
        let begun = beginnings(sunday, kolkata).map(|moment| moment.to_rfc3339());
        let expected =
            ["2026-11-21T18:30:00+00:00", "2026-11-15T18:30:00+00:00", "2026-10-31T18:30:00+00:00"];
        assert_eq!(begun, expected);
    }
}

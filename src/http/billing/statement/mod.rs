//! `GET /api/v1/billing/statement`: every movement of a range with the balance after it, as JSON or CSV.
//!
//! Written as it is read, a page at a time, so that a statement of years costs no more memory than one of a day. One
//! that cannot be read to its end breaks off: the connection is cut, and JSON lacks its closing bracket.

mod csv;
mod text;

use std::sync::Arc;

use anyhow::Context;
use axum::Extension;
use axum::body::Body;
use axum::extract::State;
use axum::response::Response;
use bytes::Bytes;
use chrono::{DateTime, Datelike, Days, NaiveDate, Utc};
use codexapi_projections::MAX_PAGE;
use codexapi_projections::movements::{self, Movement};
use futures::{Stream, stream};
use http::header::{CACHE_CONTROL, CONTENT_DISPOSITION, CONTENT_TYPE};
use http::{HeaderMap, Uri};
use serde::Serialize;
use sqlx::PgPool;
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use crate::app::App;
use crate::clock;
use crate::http::auth::CustomerCaller;
use crate::http::days::{start_of_day, zone};
use crate::http::error::{ErrorBody, Problem};
use crate::http::movement::MovementLine;
use crate::http::query::QueryParams;
use text::{Format, Standing};

/// Years that can be asked for; Postgres's calendar ends sooner than ours.
const YEARS: std::ops::RangeInclusive<i32> = 2_000..=9_999;

/// The first day of a statement that names none; nothing moved before it.
const BEGINNING: (i32, u32, u32) = (2_000, 1, 1);

#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "describes the query")]
pub struct StatementQuery {
    /// The first day, as 2026-11-22; the beginning by default.
    from: Option<NaiveDate>,
    /// The last day; today by default.
    to: Option<NaiveDate>,
    /// `json` (the default) or `csv`.
    format: Option<String>,
    /// The zone days are counted in, as Europe/Berlin. Times are UTC whatever it is.
    timezone: Option<String>,
}

/// A statement. Opening balance and the movements' amounts add up to the closing balance; debt likewise.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Statement {
    account_id: Uuid,
    from: NaiveDate,
    to: NaiveDate,
    timezone: String,
    opening_balance_micro: i64,
    #[schema(example = "12.345678")]
    opening_balance_usd: String,
    opening_debt_micro: i64,
    /// Oldest first.
    movements: Vec<MovementLine>,
    closing_balance_micro: i64,
    closing_balance_usd: String,
    closing_debt_micro: i64,
}

/// A range of a wallet's movements.
struct Range {
    account: Uuid,
    /// Whole days of the caller's, the last one included.
    days: (NaiveDate, NaiveDate),
    timezone: &'static str,
    /// From the first moment to before the last.
    moments: (DateTime<Utc>, DateTime<Utc>),
}

/// The caller's statement, whole days from `from` to `to`.
#[utoipa::path(
    get, path = "/api/v1/billing/statement", operation_id = "statement", tag = "billing", params(StatementQuery),
    responses((status = 200, content((Statement = "application/json"), (String = "text/csv"))),
        (status = 400, body = ErrorBody), (status = 401, body = ErrorBody)),
    security(("bearer" = []), ("apiKey" = []))
)]
pub async fn export(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<CustomerCaller>,
    headers: HeaderMap,
    uri: Uri,
) -> Result<Response, Problem> {
    let params = QueryParams::of(&uri, &["from", "to", "format", "timezone"])?;
    let format = match params.text("format") {
        None | Some("json") => Format::Json,
        Some("csv") => Format::Csv,
        Some(_) => return Err(Problem::invalid("invalid_query", "`format` is json or csv.")),
    };
    let zone = zone(params.text("timezone"), &headers)?;
    let (from, to) = days(&params, zone)?;
    let end = to.checked_add_days(Days::new(1)).unwrap_or(to);
    let range = Range {
        account: caller.account_id.0,
        days: (from, to),
        timezone: zone.name(),
        moments: (start_of_day(zone, from), start_of_day(zone, end)),
    };
    let (balance, debt) = movements::standing_before(&app.pool, range.account, range.moments.0).await?;
    let (kind, extension) = match format {
        Format::Json => ("application/json", "json"),
        Format::Csv => ("text/csv; charset=utf-8", "csv"),
    };
    let name = format!("attachment; filename=\"statement-{from}-{to}.{extension}\"");
    Response::builder()
        .header(CONTENT_TYPE, kind)
        .header(CONTENT_DISPOSITION, name)
        .header(CACHE_CONTROL, "private, no-store")
        .body(Body::from_stream(written(app.pool.clone(), range, format, Standing { balance, debt })))
        .map_err(|error| Problem::failed(error.into()))
}

fn days(params: &QueryParams, zone: chrono_tz::Tz) -> Result<(NaiveDate, NaiveDate), Problem> {
    let now = DateTime::from_timestamp_micros(clock::now().0).unwrap_or_default();
    let (year, month, day) = BEGINNING;
    let beginning = NaiveDate::from_ymd_opt(year, month, day).unwrap_or_default();
    let from = params.day("from")?.unwrap_or(beginning);
    let to = params.day("to")?.unwrap_or_else(|| now.with_timezone(&zone).date_naive());
    if [from, to].iter().any(|day| !YEARS.contains(&day.year())) {
        let message = "`from` and `to` are days such as 2026-11-22, of the years 2000 to 9999.";
        return Err(Problem::invalid("invalid_range", message));
    }
    if from > to {
        return Err(Problem::invalid("invalid_range", "`from` is after `to`."));
    }
    Ok((from, to))
}

/// Where the writing stands.
enum Place {
    Head,
    /// After the movement with this key.
    Lines(Option<(DateTime<Utc>, i64)>),
    Done,
}

fn written(
    pool: PgPool,
    range: Range,
    format: Format,
    opening: Standing,
) -> impl Stream<Item = anyhow::Result<Bytes>> + Send {
    let begun = (Place::Head, opening, true);
    stream::try_unfold((begun, pool, range), move |((place, mut standing, first), pool, range)| async move {
        let (text, next) = match place {
            Place::Done => return Ok(None),
            Place::Head => (text::head(format, &range, standing), Place::Lines(None)),
            Place::Lines(after) => {
                let page = movements::between(&pool, range.account, range.moments, after, MAX_PAGE);
                let page = page.await.context("reading a statement")?;
                let mut text = text::lines(format, &page, &mut standing, first)?;
                let is_last = page.len() < MAX_PAGE as usize;
                if is_last {
                    text.push_str(&text::foot(format, standing));
                }
                let key = |movement: &Movement| (movement.at, movement.position);
                let next = if is_last { Place::Done } else { Place::Lines(page.last().map(key)) };
                return Ok(Some((
                    Bytes::from(text),
                    ((next, standing, first && page.is_empty()), pool, range),
                )));
            }
        };
        Ok(Some((Bytes::from(text), ((next, standing, first), pool, range))))
    })
}

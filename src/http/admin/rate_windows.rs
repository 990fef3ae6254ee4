//! `/token-rates/windows`: scheduling, cancelling and ending surges, reduced prices and internal windows, and what
//! one has brought in.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use chrono::{DateTime, Utc};
use codexapi_aggregates::pricing::events::{InternalPlan, ModePlan, ModelTariff};
use codexapi_aggregates::pricing::tariff::{Fees, Mode};
use codexapi_aggregates::pricing::timeline::Window;
use codexapi_aggregates::pricing::{
    BOOK_STREAM, DEFAULT_INTERNAL_SECS, DEFAULT_MODE_SECS, PriceBook, PricingCommand, Span,
};
use codexapi_aggregates::time::Timestamp;
use codexapi_aggregates::usage::GenerationSettled;
use http::{StatusCode, Uri};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::Actor;
use super::body::AdminBody;
use super::rerated::{ComparedUsage, compared};
use super::tariffs::TariffBody;
use super::token_rates::{TokenRatesChanged, changed, displayed_fees};
use crate::app::App;
use crate::http::error::{ErrorBody, Problem};
use crate::http::query::{NoQuery, QueryParams};
use crate::named_moment::NamedMoment;
use crate::rerating::{self, Asked, Proposal, Proposals};
use codexapi_protocols::errors::ErrorKind;

/// Which of the two a window belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum TimelineName {
    Mode,
    Internal,
}

/// A window to be scheduled. It ends at `end`, or after `minutes`; by default after 60, an internal one after 720.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ScheduleWindow {
    /// `mode`: what is displayed, and billed where nothing else is set; `internal`: what is deducted alone.
    #[schema(value_type = String)]
    timeline: TimelineName,
    /// Now where left out.
    #[schema(value_type = Option<DateTime<Utc>>)]
    start: Option<NamedMoment>,
    #[schema(value_type = Option<DateTime<Utc>>)]
    end: Option<NamedMoment>,
    minutes: Option<u32>,
    /// Of the mode timeline: `surge`, `reduced` or `standard`.
    #[schema(value_type = Option<String>)]
    mode: Option<Mode>,
    /// The mode afterwards; `standard` where left out.
    #[schema(value_type = Option<String>)]
    landing_mode: Option<Mode>,
    /// Of the internal timeline: what is deducted meanwhile, by model.
    rates: Option<BTreeMap<String, TariffBody>>,
    /// What is deducted afterwards, by model.
    landing_rates: Option<BTreeMap<String, TariffBody>>,
}

/// A window by its number.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct NamedWindow {
    /// `mode` or `internal`.
    #[schema(value_type = String)]
    timeline: TimelineName,
    number: u32,
}

/// What the generations of a window came to, beside what they would have come to without it.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct WindowReport {
    number: u32,
    start: DateTime<Utc>,
    end: DateTime<Utc>,
    /// Revenue as charged less revenue without the window.
    extra_margin_micro: i64,
    extra_margin_usd: String,
    #[serde(flatten)]
    usage: ComparedUsage,
}

/// Schedules a window, or begins one at once.
#[utoipa::path(
    post, path = "/admin/api/token-rates/windows", operation_id = "schedule_rate_window", tag = "operator prices",
    request_body = ScheduleWindow,
    responses((status = 200, body = TokenRatesChanged), (status = 400, body = ErrorBody),
        (status = 401, body = ErrorBody), (status = 403, body = ErrorBody), (status = 404, body = ErrorBody),
        (status = 409, body = ErrorBody, description = "It overlaps another window, or there are too many")),
    security(("bearer" = []), ("apiKey" = []))
)]
pub async fn schedule(
    State(app): State<Arc<App>>,
    actor: Actor,
    _: NoQuery,
    AdminBody(asked): AdminBody<ScheduleWindow>,
) -> Result<Json<TokenRatesChanged>, Problem> {
    let plan = Planned::of(&asked, &displayed_fees(&app).await?)?;
    let committed = app
        .log
        .execute(BOOK_STREAM, &actor.metadata, |book: &PriceBook, now| {
            let span = asked.span(now);
            book.decide(match plan.clone() {
                Planned::Mode(plan) => PricingCommand::ScheduleMode { span, plan, now },
                Planned::Internal(plan) => PricingCommand::ScheduleInternal { span, plan, now },
            })
        })
        .await?;
    changed(&app, &committed).await.map(Json)
}

/// Calls off a window that has not begun.
#[utoipa::path(
    post, path = "/admin/api/token-rates/windows/cancel", operation_id = "cancel_rate_window",
    tag = "operator prices", request_body = NamedWindow,
    responses((status = 200, body = TokenRatesChanged), (status = 400, body = ErrorBody),
        (status = 401, body = ErrorBody), (status = 403, body = ErrorBody), (status = 404, body = ErrorBody),
        (status = 409, body = ErrorBody)),
    security(("bearer" = []), ("apiKey" = []))
)]
pub async fn cancel(
    State(app): State<Arc<App>>,
    actor: Actor,
    _: NoQuery,
    AdminBody(NamedWindow { timeline, number }): AdminBody<NamedWindow>,
) -> Result<Json<TokenRatesChanged>, Problem> {
    let committed = app
        .log
        .execute(BOOK_STREAM, &actor.metadata, |book: &PriceBook, now| {
            book.decide(match timeline {
                TimelineName::Mode => PricingCommand::CancelMode { number, now },
                TimelineName::Internal => PricingCommand::CancelInternal { number, now },
            })
        })
        .await?;
    changed(&app, &committed).await.map(Json)
}

/// Ends a window that is going on, now.
#[utoipa::path(
    post, path = "/admin/api/token-rates/windows/end", operation_id = "end_rate_window", tag = "operator prices",
    request_body = NamedWindow,
    responses((status = 200, body = TokenRatesChanged), (status = 400, body = ErrorBody),
        (status = 401, body = ErrorBody), (status = 403, body = ErrorBody), (status = 404, body = ErrorBody),
        (status = 409, body = ErrorBody)),
    security(("bearer" = []), ("apiKey" = []))
)]
pub async fn end(
    State(app): State<Arc<App>>,
    actor: Actor,
    _: NoQuery,
    AdminBody(NamedWindow { timeline, number }): AdminBody<NamedWindow>,
) -> Result<Json<TokenRatesChanged>, Problem> {
    let committed = app
        .log
        .execute(BOOK_STREAM, &actor.metadata, |book: &PriceBook, now| {
            book.decide(match timeline {
                TimelineName::Mode => PricingCommand::EndMode { number, now },
                TimelineName::Internal => PricingCommand::EndInternal { number, now },
            })
        })
        .await?;
    changed(&app, &committed).await.map(Json)
}

#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "describes the query")]
pub struct WindowQuery {
    /// `mode` or `internal`.
    timeline: String,
    number: u32,
}

/// Tokens in a window, and what it has brought in beyond the rates outside of it.
#[utoipa::path(
    get, path = "/admin/api/token-rates/windows", operation_id = "report_rate_window", tag = "operator prices",
    params(WindowQuery),
    responses((status = 200, body = WindowReport), (status = 400, body = ErrorBody), (status = 401, body = ErrorBody),
        (status = 403, body = ErrorBody), (status = 404, body = ErrorBody)),
    security(("bearer" = []), ("apiKey" = []))
)]
pub async fn report(State(app): State<Arc<App>>, uri: Uri) -> Result<Json<WindowReport>, Problem> {
    let params = QueryParams::of(&uri, &["timeline", "number"])?;
    let number = params.number("number", 1..=u32::MAX)?;
    let number = number.ok_or_else(|| Problem::invalid("invalid_query", "`number` names a window."))?;
    let seen = match params.text("timeline") {
        Some("mode") => app.log.read(BOOK_STREAM, |book: &PriceBook| Seen::mode(book, number)).await,
        Some("internal") => app.log.read(BOOK_STREAM, |book: &PriceBook| Seen::internal(book, number)).await,
        Some(_) | None => return Err(Problem::invalid("invalid_query", "`timeline` is mode or internal.")),
    };
    let Some(seen) = seen.map_err(Problem::unavailable)? else { return Err(no_such_window(number)) };
    let Span { start, end } = seen.span;
    let asked = Asked { from: start, most: rerating::MAX_OVER_HTTP };
    let comparison =
        rerating::compare_where(&app.pool, asked, &|one| seen.counts(one), &seen.outside, &|_| {})
            .await
            .map_err(Problem::unavailable)?;
    let total = comparison.total();
    let extra = total.as_charged.revenue_micro - total.as_proposed.revenue_micro;
    Ok(Json(WindowReport {
        number,
        start: super::moment(start),
        end: super::moment(end),
        extra_margin_micro: extra.0,
        extra_margin_usd: extra.to_string(),
        usage: compared(&comparison),
    }))
}

/// A window, how its generations are known, and the rates outside of it.
struct Seen {
    number: u32,
    span: Span,
    /// `None` for an internal window, whose number stands in each generation.
    mode: Option<Mode>,
    outside: Proposals,
}

impl Seen {
    fn mode(book: &PriceBook, number: u32) -> Option<Self> {
        let window = book.modes().known().find(|window| window.number == number)?;
        let normal = |card: &codexapi_aggregates::pricing::RateCard| {
            (card.model.clone(), Proposal { billed: book.shown(card, Mode::Standard), cost: None })
        };
        // Where internal rates are set, a mode changes nothing that is billed.
        let outside = book
            .cards_in_force(window.start)
            .filter(|card| book.internal_base(&card.model, window.start).is_none())
            .map(normal)
            .collect();
        Some(Self { number, span: span_of(window), mode: Some(window.plan.mode), outside })
    }

    fn internal(book: &PriceBook, number: u32) -> Option<Self> {
        let window = book.internals().known().find(|window| window.number == number)?;
        let landing =
            |of: &ModelTariff| (of.model.clone(), Proposal { billed: of.tariff.clone(), cost: None });
        let outside = window.plan.landing.iter().map(landing).collect();
        Some(Self { number, span: span_of(window), mode: None, outside })
    }

    fn counts(&self, settled: &GenerationSettled) -> bool {
        let held_ms = settled.timings.total_ms.saturating_sub(settled.timings.held_ms);
        let held_at = Timestamp(settled.at.0 - i64::from(held_ms) * 1_000);
        match self.mode {
            // Its mode is on record; which window of that mode, the time of its hold tells.
            Some(mode) => settled.mode == mode && self.span.start <= held_at && held_at < self.span.end,
            None => settled.internal_window == Some(self.number),
        }
    }
}

fn span_of<P>(window: &Window<P>) -> Span {
    Span { start: window.start, end: window.end }
}

fn no_such_window(number: u32) -> Problem {
    let message = format!("There is no window {number}, or it is over for long.");
    Problem::new(StatusCode::NOT_FOUND, ErrorKind::NotFound, "window_not_found", message)
}

#[derive(Clone)]
enum Planned {
    Mode(ModePlan),
    Internal(InternalPlan),
}

impl Planned {
    fn of(asked: &ScheduleWindow, fees: &BTreeMap<String, Fees>) -> Result<Self, Problem> {
        let wrong = |message: &str| Err(Problem::invalid("bad_window", message));
        if asked.end.is_some() && asked.minutes.is_some() {
            return wrong("Send `end` or `minutes`, not both.");
        }
        match (asked.timeline, asked.mode, &asked.rates, &asked.landing_rates) {
            (TimelineName::Mode, Some(mode), None, None) => {
                Ok(Self::Mode(ModePlan { mode, landing: asked.landing_mode.unwrap_or_default() }))
            }
            (TimelineName::Mode, ..) => wrong("A window of the mode timeline has a `mode` and no rates."),
            (TimelineName::Internal, None, Some(rates), Some(landing)) if asked.landing_mode.is_none() => {
                Ok(Self::Internal(InternalPlan {
                    rates: tariffs(rates, fees)?,
                    landing: tariffs(landing, fees)?,
                }))
            }
            (TimelineName::Internal, ..) => {
                wrong("A window of the internal timeline has `rates` and `landingRates` and no modes.")
            }
        }
    }
}

fn tariffs(
    rates: &BTreeMap<String, TariffBody>,
    fees: &BTreeMap<String, Fees>,
) -> Result<Vec<ModelTariff>, Problem> {
    let of = |(model, body): (&String, &TariffBody)| {
        let displayed = fees.get(model).copied().unwrap_or_default();
        Ok(ModelTariff { model: model.clone(), tariff: body.tariff(displayed)? })
    };
    rates.iter().map(of).collect()
}

impl ScheduleWindow {
    fn span(&self, now: Timestamp) -> Span {
        let start = self.start.map_or(now, |named| named.0);
        let default_secs = match self.timeline {
            TimelineName::Mode => DEFAULT_MODE_SECS,
            TimelineName::Internal => DEFAULT_INTERNAL_SECS,
        };
        let secs = self.minutes.map_or(default_secs, |minutes| i64::from(minutes) * 60);
        Span { start, end: self.end.map_or(start.plus_secs(secs), |named| named.0) }
    }
}

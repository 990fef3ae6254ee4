//! `/token-rates/adjust-percent` and `/token-rates/what-if`: what a change of prices would mean, before it is made.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use codexapi_aggregates::pricing::tariff::Tariff;
use codexapi_aggregates::pricing::{BOOK_STREAM, PriceBook, PricingCommand, PricingRefusal};
use codexapi_aggregates::time::Timestamp;
use cqrs_es::Aggregate;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::body::AdminBody;
use super::rerated::{ComparedUsage, compared};
use super::tariffs::{TariffBody, basis_points};
use super::token_rates::displayed_fees;
use super::{Actor, positions};
use crate::app::App;
use crate::clock;
use crate::commands::CommandError;
use crate::http::error::{ErrorBody, Problem};
use crate::http::pricing::{TariffPayload, tariff_payload};
use crate::http::query::NoQuery;
use crate::rerating::{self, Asked, MAX_DAYS, MAX_OVER_HTTP, Proposal, Proposals};

/// Days of usage that a preview prices anew.
const PREVIEW_DAYS: u32 = 7;

const SECS_PER_DAY: i64 = 86_400;

/// Raises or lowers what is deducted; what is displayed stays as it is.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AdjustPercent {
    /// Of the rates in force, as text with at most two decimals: "10" raises, "-2.5" lowers.
    percent: String,
    /// All models where left out.
    #[serde(default)]
    models: Vec<String>,
    /// Shows what it would mean and changes nothing.
    #[serde(default)]
    dry_run: bool,
}

/// Old and new rates, and what the last seven days' usage came to and would have come to.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct AdjustedPercent {
    dry_run: bool,
    /// Where its events stand in the log; none where nothing changed.
    positions: Vec<i64>,
    basis_points: i32,
    models: Vec<AdjustedModel>,
    last_seven_days: ComparedUsage,
}

/// What is deducted of one model.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct AdjustedModel {
    model: String,
    old: TariffPayload,
    new: TariffPayload,
    /// As before and after.
    displayed: TariffPayload,
}

/// Prices to be tried on the usage of the last days.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct WhatIf {
    /// 1 to 90; 7 where left out.
    days: Option<u32>,
    /// By billed model; models that are left out stay as they were charged.
    models: BTreeMap<String, ProposedRates>,
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct ProposedRates {
    billed: TariffBody,
    /// What its provider would charge; as on record where left out.
    cost: Option<TariffBody>,
}

/// Adjusts internal rates by a percentage, or shows what that would mean.
#[utoipa::path(
    post, path = "/admin/api/token-rates/adjust-percent", operation_id = "adjust_token_rates",
    tag = "operator prices", request_body = AdjustPercent,
    responses((status = 200, body = AdjustedPercent), (status = 400, body = ErrorBody),
        (status = 401, body = ErrorBody), (status = 403, body = ErrorBody), (status = 404, body = ErrorBody)),
    security(("bearer" = []), ("apiKey" = []))
)]
pub async fn adjust(
    State(app): State<Arc<App>>,
    actor: Actor,
    _: NoQuery,
    AdminBody(asked): AdminBody<AdjustPercent>,
) -> Result<Json<AdjustedPercent>, Problem> {
    let AdjustPercent { percent, models, dry_run } = asked;
    let basis_points = basis_points(&percent)?;
    let command = |now| PricingCommand::AdjustInternal { basis_points, models: models.clone(), now };
    let now = clock::now();
    let preview = app
        .log
        .read(BOOK_STREAM, |book: &PriceBook| Preview::of(book, command(now), now))
        .await
        .map_err(Problem::unavailable)??;
    let from = now.minus_secs(i64::from(PREVIEW_DAYS) * SECS_PER_DAY);
    let asked = Asked { from, most: MAX_OVER_HTTP };
    let comparison = rerating::compare(&app.pool, asked, &preview.proposals(), &|_| {}).await;
    let comparison = comparison.map_err(Problem::unavailable)?;
    let positions = match dry_run {
        true => vec![],
        false => {
            let decide = |book: &PriceBook, now| book.decide(command(now));
            let adjusted: Result<_, CommandError<PricingRefusal>> =
                app.log.execute(BOOK_STREAM, &actor.metadata, decide).await;
            let committed = adjusted?;
            positions(committed.position, committed.events.len())
        }
    };
    Ok(Json(AdjustedPercent {
        dry_run,
        positions,
        basis_points,
        models: preview.models(),
        last_seven_days: compared(&comparison),
    }))
}

/// Prices the usage of the last days anew: revenue, cost and margin per model, side by side. Changes nothing.
#[utoipa::path(
    post, path = "/admin/api/token-rates/what-if", operation_id = "what_if_token_rates", tag = "operator prices",
    request_body = WhatIf,
    responses((status = 200, body = ComparedUsage), (status = 400, body = ErrorBody), (status = 401, body = ErrorBody),
        (status = 403, body = ErrorBody)),
    security(("bearer" = []), ("apiKey" = []))
)]
pub async fn what_if(
    State(app): State<Arc<App>>,
    _: NoQuery,
    AdminBody(asked): AdminBody<WhatIf>,
) -> Result<Json<ComparedUsage>, Problem> {
    let days = asked.days.unwrap_or(PREVIEW_DAYS);
    if !(1..=MAX_DAYS).contains(&days) {
        return Err(Problem::invalid("bad_days", format!("`days` is 1 to {MAX_DAYS}.")));
    }
    let fees = displayed_fees(&app).await?;
    let proposal = |model: &String, rates: &ProposedRates| {
        let displayed = fees.get(model).copied().unwrap_or_default();
        let cost = rates.cost.as_ref().map(|cost| cost.tariff(displayed)).transpose()?;
        Ok((model.clone(), Proposal { billed: rates.billed.tariff(displayed)?, cost }))
    };
    let proposals = asked
        .models
        .iter()
        .map(|(model, rates)| proposal(model, rates))
        .collect::<Result<Proposals, Problem>>()?;
    let from = clock::now().minus_secs(i64::from(days) * SECS_PER_DAY);
    let comparison =
        rerating::compare(&app.pool, Asked { from, most: MAX_OVER_HTTP }, &proposals, &|_| {}).await;
    Ok(Json(compared(&comparison.map_err(Problem::unavailable)?)))
}

/// What is deducted of each model before and after a command.
pub struct Preview(Vec<Previewed>);

struct Previewed {
    model: String,
    old: Tariff,
    new: Tariff,
    displayed: Tariff,
}

impl Preview {
    /// # Errors
    /// The command would be refused.
    pub fn of(book: &PriceBook, command: PricingCommand, now: Timestamp) -> Result<Self, PricingRefusal> {
        let mut after = book.clone();
        book.decide(command)?.into_iter().for_each(|event| after.apply(event));
        let previewed = book.cards_in_force(now).filter_map(|card| {
            let (old, new) = (book.quote(&card.model, now)?, after.quote(&card.model, now)?);
            let displayed = old.display.clone().unwrap_or_else(|| old.billed.clone());
            (old.billed != new.billed).then_some(Previewed {
                model: card.model.clone(),
                old: old.billed,
                new: new.billed,
                displayed,
            })
        });
        Ok(Self(previewed.collect()))
    }

    /// The new prices, to be tried on usage.
    pub fn proposals(&self) -> Proposals {
        let of = |one: &Previewed| (one.model.clone(), Proposal { billed: one.new.clone(), cost: None });
        self.0.iter().map(of).collect()
    }

    /// Model, old and new tariff.
    pub fn changes(&self) -> impl Iterator<Item = (&str, &Tariff, &Tariff)> {
        self.0.iter().map(|one| (one.model.as_str(), &one.old, &one.new))
    }

    fn models(&self) -> Vec<AdjustedModel> {
        let of = |one: &Previewed| AdjustedModel {
            model: one.model.clone(),
            old: tariff_payload(&one.old),
            new: tariff_payload(&one.new),
            displayed: tariff_payload(&one.displayed),
        };
        self.0.iter().map(of).collect()
    }
}

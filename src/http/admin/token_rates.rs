//! `/token-rates`: every price, both timelines, and what else is set; changing the card of one model.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use chrono::{DateTime, Utc};
use codexapi_aggregates::pricing::events::{InternalPlan, ModePlan, ModelTariff};
use codexapi_aggregates::pricing::tariff::{Fees, Tariff};
use codexapi_aggregates::pricing::timeline::Window;
use codexapi_aggregates::pricing::{
    BOOK_STREAM, PriceBook, PricingCommand, PricingEvent, PricingRefusal, PublishRateCard, RateCard,
};
use codexapi_aggregates::time::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::body::{AdminBody, given};
use super::tariffs::TariffBody;
use super::{Actor, moment, positions};
use crate::app::App;
use crate::clock;
use crate::commands::Committed;
use crate::config::Disclosure;
use crate::http::error::{ErrorBody, Problem};
use crate::http::pricing::{PricingPayload, TariffPayload, master_pricing, mode_name, tariff_payload};
use crate::http::query::NoQuery;
use crate::named_moment::NamedMoment;

/// Prices as customers see them, what is deducted, and what is planned.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct TokenRates {
    /// What every customer's page shows, with what is billed whatever the disclosure.
    pricing: PricingPayload,
    /// What the customers' payload discloses: `full` or `display_only`.
    customers_see: &'static str,
    cards: Vec<CardRates>,
    /// Windows that are known: going on, to come, and the last ones that are over; by their start.
    mode_windows: Vec<ModeWindowView>,
    internal_windows: Vec<InternalWindowView>,
}

/// The card of a model, and what is deducted now.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct CardRates {
    model: String,
    version: u32,
    effective_at: DateTime<Utc>,
    /// Deducted outside of internal windows; absent where the displayed rates are.
    internal_base: Option<TariffPayload>,
    /// Deducted now.
    billed: Option<TariffPayload>,
    /// What the provider charges.
    cost: TariffPayload,
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct ModeWindowView {
    number: u32,
    /// `ahead`, `on` or `over`.
    state: &'static str,
    start: DateTime<Utc>,
    end: DateTime<Utc>,
    mode: &'static str,
    landing: &'static str,
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct InternalWindowView {
    number: u32,
    /// `ahead`, `on` or `over`.
    state: &'static str,
    start: DateTime<Utc>,
    end: DateTime<Utc>,
    rates: Vec<ModelRates>,
    landing: Vec<ModelRates>,
}

#[derive(Serialize, ToSchema)]
struct ModelRates {
    model: String,
    #[serde(flatten)]
    tariff: TariffPayload,
}

/// The price of one model. What is left out stays as it is; null takes it away.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SetTokenRates {
    model: String,
    /// From when; at once where left out.
    #[schema(value_type = Option<DateTime<Utc>>)]
    effective_at: Option<NamedMoment>,
    display: Option<TariffBody>,
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<TariffBody>)]
    surge: Option<Option<TariffBody>>,
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<TariffBody>)]
    reduced: Option<Option<TariffBody>>,
    /// What is deducted; null for what is displayed.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<TariffBody>)]
    internal: Option<Option<TariffBody>>,
    cost: Option<TariffBody>,
    context_tokens: Option<u64>,
    max_output_tokens: Option<u64>,
}

/// What a change of prices has come to.
#[derive(Serialize, ToSchema)]
pub struct TokenRatesChanged {
    /// Where its events stand in the log; none where nothing changed.
    positions: Vec<i64>,
    state: TokenRates,
}

/// Every price there is, and what is planned.
#[utoipa::path(
    get, path = "/admin/api/token-rates", operation_id = "read_token_rates", tag = "operator prices",
    responses((status = 200, body = TokenRates), (status = 401, body = ErrorBody), (status = 403, body = ErrorBody)),
    security(("bearer" = []), ("apiKey" = []))
)]
pub async fn read(State(app): State<Arc<App>>, _: NoQuery) -> Result<Json<TokenRates>, Problem> {
    state(&app).await.map(Json)
}

/// Publishes a new card of one model. Generations under way keep the prices they began with.
#[utoipa::path(
    post, path = "/admin/api/token-rates", operation_id = "set_token_rates", tag = "operator prices",
    request_body = SetTokenRates,
    responses((status = 200, body = TokenRatesChanged), (status = 400, body = ErrorBody),
        (status = 401, body = ErrorBody), (status = 403, body = ErrorBody), (status = 404, body = ErrorBody),
        (status = 409, body = ErrorBody)),
    security(("bearer" = []), ("apiKey" = []))
)]
pub async fn set(
    State(app): State<Arc<App>>,
    actor: Actor,
    _: NoQuery,
    AdminBody(set): AdminBody<SetTokenRates>,
) -> Result<Json<TokenRatesChanged>, Problem> {
    let effective_at = set.effective_at.map(|named| named.0);
    let fees = displayed_fees(&app).await?;
    let change = Change::of(&set, fees.get(&set.model).copied().unwrap_or_default())?;
    let committed = app
        .log
        .execute(BOOK_STREAM, &actor.metadata, |book: &PriceBook, now| {
            let effective_at = effective_at.unwrap_or(now);
            let publish = change.on(book, &set.model, effective_at, now)?;
            book.decide(PricingCommand::Publish(Box::new(publish)))
        })
        .await?;
    changed(&app, &committed).await.map(Json)
}

/// What is displayed of each model's fees now; what rates that name none come with.
pub(super) async fn displayed_fees(app: &App) -> Result<BTreeMap<String, Fees>, Problem> {
    let now = clock::now();
    let fees = |book: &PriceBook| {
        book.cards_in_force(now).map(|card| (card.model.clone(), card.display.fees)).collect()
    };
    app.log.read(BOOK_STREAM, fees).await.map_err(Problem::unavailable)
}

/// What a command on the book is answered with.
pub(super) async fn changed(
    app: &App,
    committed: &Committed<PricingEvent>,
) -> Result<TokenRatesChanged, Problem> {
    let positions = positions(committed.position, committed.events.len());
    Ok(TokenRatesChanged { positions, state: state(app).await? })
}

/// Tariffs to be changed, read.
struct Change {
    display: Option<Tariff>,
    surge: Option<Option<Tariff>>,
    reduced: Option<Option<Tariff>>,
    internal: Option<Option<Tariff>>,
    cost: Option<Tariff>,
    context_tokens: Option<u64>,
    max_output_tokens: Option<u64>,
}

impl Change {
    fn of(set: &SetTokenRates, displayed: Fees) -> Result<Self, Problem> {
        let one = |body: &Option<TariffBody>| body.as_ref().map(|body| body.tariff(displayed)).transpose();
        let clearable = |body: &Option<Option<TariffBody>>| body.as_ref().map(one).transpose();
        Ok(Self {
            display: one(&set.display)?,
            surge: clearable(&set.surge)?,
            reduced: clearable(&set.reduced)?,
            internal: clearable(&set.internal)?,
            cost: one(&set.cost)?,
            context_tokens: set.context_tokens,
            max_output_tokens: set.max_output_tokens,
        })
    }

    /// The card with this change; a model without one has to be given everything.
    fn on(
        &self,
        book: &PriceBook,
        model: &str,
        effective_at: Timestamp,
        now: Timestamp,
    ) -> Result<PublishRateCard, PricingRefusal> {
        let card = book.card(model, effective_at);
        let unknown = || PricingRefusal::UnknownModel { model: model.to_owned() };
        let kept = |given: &Option<Tariff>, of: fn(&RateCard) -> &Tariff| {
            given.clone().or_else(|| card.map(|card| of(card).clone())).ok_or_else(unknown)
        };
        let clearable = |given: &Option<Option<Tariff>>, of: fn(&RateCard) -> &Option<Tariff>| {
            given.clone().unwrap_or_else(|| card.and_then(|card| of(card).clone()))
        };
        let base = book.internal_base(model, effective_at);
        Ok(PublishRateCard {
            model: model.to_owned(),
            effective_at,
            display: kept(&self.display, |card| &card.display)?,
            surge: clearable(&self.surge, |card| &card.surge),
            reduced: clearable(&self.reduced, |card| &card.reduced),
            internal: self.internal.clone().unwrap_or_else(|| base.cloned()),
            cost: kept(&self.cost, |card| &card.cost)?,
            context_tokens: self.context_tokens.or(card.map(|c| c.context_tokens)).ok_or_else(unknown)?,
            max_output_tokens: self
                .max_output_tokens
                .or(card.map(|c| c.max_output_tokens))
                .ok_or_else(unknown)?,
            now,
        })
    }
}

pub(super) async fn state(app: &App) -> Result<TokenRates, Problem> {
    let now = clock::now();
    let customers_see = app.config.catalog.disclosure.name();
    let seen = |book: &PriceBook| TokenRates {
        pricing: master_pricing(book, Disclosure::Full, now),
        customers_see,
        cards: book.cards_in_force(now).map(|card| card_rates(book, card, now)).collect(),
        mode_windows: book.modes().known().map(|window| mode_window(window, now)).collect(),
        internal_windows: book.internals().known().map(|window| internal_window(window, now)).collect(),
    };
    app.log.read(BOOK_STREAM, seen).await.map_err(Problem::unavailable)
}

fn card_rates(book: &PriceBook, card: &RateCard, now: Timestamp) -> CardRates {
    CardRates {
        model: card.model.clone(),
        version: card.version,
        effective_at: moment(card.effective_at),
        internal_base: book.internal_base(&card.model, now).map(tariff_payload),
        billed: book.quote(&card.model, now).map(|quote| tariff_payload(&quote.billed)),
        cost: tariff_payload(&card.cost),
    }
}

fn state_of<P>(window: &Window<P>, now: Timestamp) -> &'static str {
    match (window.start <= now, window.end <= now) {
        (_, true) => "over",
        (true, false) => "on",
        (false, false) => "ahead",
    }
}

fn mode_window(window: &Window<ModePlan>, now: Timestamp) -> ModeWindowView {
    ModeWindowView {
        number: window.number,
        state: state_of(window, now),
        start: moment(window.start),
        end: moment(window.end),
        mode: mode_name(window.plan.mode),
        landing: mode_name(window.plan.landing),
    }
}

fn internal_window(window: &Window<InternalPlan>, now: Timestamp) -> InternalWindowView {
    let rates = |tariffs: &[ModelTariff]| {
        let of =
            |of: &ModelTariff| ModelRates { model: of.model.clone(), tariff: tariff_payload(&of.tariff) };
        tariffs.iter().map(of).collect()
    };
    InternalWindowView {
        number: window.number,
        state: state_of(window, now),
        start: moment(window.start),
        end: moment(window.end),
        rates: rates(&window.plan.rates),
        landing: rates(&window.plan.landing),
    }
}

//! `/models`: every model that a provider, a price or a rule knows.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use chrono::{DateTime, Utc};
use codexapi_aggregates::pricing::{BOOK_STREAM, PriceBook, RateCard};
use codexapi_aggregates::routing::{ModelFamily, POLICY_STREAM, RoutingPolicy};
use codexapi_aggregates::time::Timestamp;
use serde::Serialize;
use utoipa::ToSchema;

use super::moment;
use super::policy_view::known_models;
use crate::app::App;
use crate::clock;
use crate::config::Disclosure;
use crate::http::error::{ErrorBody, Problem};
use crate::http::pricing::{ModelPrices, TariffPayload, model_prices, tariff_payload};
use crate::http::query::NoQuery;

/// Every model there is: prices and models are few, so it is one page.
#[derive(Serialize, ToSchema)]
pub struct AdminModels {
    models: Vec<AdminModel>,
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct AdminModel {
    model: String,
    /// What customers see: the policy's label, else the configured one.
    label: String,
    enabled: bool,
    /// Whether customers can ask for it on this node now: priced, enabled, and served by somebody.
    on_sale: bool,
    /// `gpt`, `claude`, `deepseek`, or none.
    family: Option<&'static str>,
    /// The prices in force.
    card: Option<AdminCard>,
    providers: Vec<ProviderOfModel>,
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct AdminCard {
    version: u32,
    effective_at: DateTime<Utc>,
    #[serde(flatten)]
    prices: ModelPrices,
    /// What the provider charges us.
    cost: TariffPayload,
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct ProviderOfModel {
    provider: String,
    upstream_model: String,
}

/// Every model, with its prices, and who has it.
#[utoipa::path(
    get, path = "/admin/api/models", operation_id = "list_all_models", tag = "operator routing",
    responses((status = 200, body = AdminModels), (status = 401, body = ErrorBody), (status = 403, body = ErrorBody)),
    security(("bearer" = []), ("apiKey" = []))
)]
pub async fn list(State(app): State<Arc<App>>, _: NoQuery) -> Result<Json<AdminModels>, Problem> {
    let now = clock::now();
    let mut cards: BTreeMap<String, AdminCard> = app
        .log
        .read(BOOK_STREAM, |book: &PriceBook| {
            book.cards_in_force(now)
                .map(|in_force| (in_force.model.clone(), card(book, in_force, now)))
                .collect()
        })
        .await
        .map_err(Problem::unavailable)?;
    let on_sale = app.gateway.models_on_sale().await.map_err(Problem::unavailable)?;
    let priced: BTreeSet<String> = cards.keys().cloned().collect();
    let catalog = app.gateway.providers().catalog();
    let rules = app.log.read(POLICY_STREAM, |policy: &RoutingPolicy| {
        let known = known_models(policy, catalog, &priced);
        known.into_iter().map(|model| (policy.model(&model), model)).collect::<Vec<_>>()
    });
    let models = rules.await.map_err(Problem::unavailable)?.into_iter().map(|(rule, model)| AdminModel {
        label: rule.label.unwrap_or_else(|| app.config.brand.model_labels.of(&model).to_owned()),
        enabled: rule.enabled,
        on_sale: on_sale.contains(&model),
        family: ModelFamily::of(&model).map(ModelFamily::name),
        card: cards.remove(&model),
        providers: catalog
            .providers
            .iter()
            .flat_map(|provider| provider.models.iter().map(move |sold| (provider, sold)))
            .filter(|(_, sold)| sold.model == model)
            .map(|(provider, sold)| ProviderOfModel {
                provider: provider.name.clone(),
                upstream_model: sold.upstream.clone(),
            })
            .collect(),
        model,
    });
    Ok(Json(AdminModels { models: models.collect() }))
}

fn card(book: &PriceBook, card: &RateCard, now: Timestamp) -> AdminCard {
    AdminCard {
        version: card.version,
        effective_at: moment(card.effective_at),
        prices: model_prices(book, card, Disclosure::Full, now),
        cost: tariff_payload(&card.cost),
    }
}

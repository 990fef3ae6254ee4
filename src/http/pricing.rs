//! The one pricing payload: every page and endpoint that shows prices shows this.

use chrono::{DateTime, Utc};
use codexapi_aggregates::money::{MicroUsd, Rate};
use codexapi_aggregates::pricing::tariff::{Mode, Tariff};
use codexapi_aggregates::pricing::{PriceBook, RateCard};
use codexapi_aggregates::time::Timestamp;
use serde::Serialize;
use utoipa::ToSchema;

/// Prices in force at one moment.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct PricingPayload {
    /// `standard`, `surge` or `reduced`.
    mode: &'static str,
    models: Vec<ModelPrices>,
    /// When the mode in force began; absent for the standard mode.
    start: Option<DateTime<Utc>>,
    /// When it ends.
    end: Option<DateTime<Utc>>,
    server_time: DateTime<Utc>,
    /// Until `end`.
    seconds_left: Option<i64>,
}

#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ModelPrices {
    model: String,
    /// Published, in the mode in force.
    active: TariffPayload,
    /// Published, in the standard mode.
    normal: TariffPayload,
    /// Published, in the reduced mode, where there is one.
    reduced: Option<TariffPayload>,
    /// What a generation is charged at.
    billed: TariffPayload,
    context_tokens: u64,
    max_output_tokens: u64,
}

/// Rates in micro-USD per million tokens, and in dollars; fees per call.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct TariffPayload {
    input_micro: i64,
    input_usd: String,
    cached_input_micro: i64,
    cached_input_usd: String,
    cache_write_5m_micro: i64,
    cache_write_5m_usd: String,
    cache_write_1h_micro: i64,
    cache_write_1h_usd: String,
    output_micro: i64,
    output_usd: String,
    web_search_micro: i64,
    per_call_micro: i64,
    /// Rates of long contexts, which reprice the whole request.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tiers: Vec<TierPayload>,
}

#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct TierPayload {
    threshold_tokens: u64,
    /// Whether the threshold itself is in the tier.
    inclusive: bool,
    input_micro: i64,
    cached_input_micro: i64,
    output_micro: i64,
}

/// What is sold at `now`, and at which price.
pub fn pricing_payload(book: &PriceBook, now: Timestamp) -> PricingPayload {
    PricingPayload {
        mode: mode_name(Mode::Standard),
        models: book.cards_in_force(now).map(model_prices).collect(),
        start: None,
        end: None,
        server_time: DateTime::from_timestamp_micros(now.0).unwrap_or_default(),
        seconds_left: None,
    }
}

/// The prices of one card.
pub fn model_prices(card: &RateCard) -> ModelPrices {
    ModelPrices {
        model: card.model.clone(),
        active: tariff_payload(&card.display),
        normal: tariff_payload(&card.display),
        reduced: None,
        billed: tariff_payload(card.internal.as_ref().unwrap_or(&card.display)),
        context_tokens: card.context_tokens,
        max_output_tokens: card.max_output_tokens,
    }
}

/// One tariff, in micro-USD and in dollars.
pub fn tariff_payload(tariff: &Tariff) -> TariffPayload {
    let rates = &tariff.rates;
    let usd = |rate: Rate| MicroUsd(rate.0).to_string();
    let tiers = tariff.tiers.iter().map(|tier| TierPayload {
        threshold_tokens: tier.threshold_tokens,
        inclusive: tier.inclusive,
        input_micro: tier.rates.input.0,
        cached_input_micro: tier.rates.cached_input().0,
        output_micro: tier.rates.output.0,
    });
    TariffPayload {
        input_micro: rates.input.0,
        input_usd: usd(rates.input),
        cached_input_micro: rates.cached_input().0,
        cached_input_usd: usd(rates.cached_input()),
        cache_write_5m_micro: rates.cache_write_5m().0,
        cache_write_5m_usd: usd(rates.cache_write_5m()),
        cache_write_1h_micro: rates.cache_write_1h().0,
        cache_write_1h_usd: usd(rates.cache_write_1h()),
        output_micro: rates.output.0,
        output_usd: usd(rates.output),
        web_search_micro: tariff.fees.web_search_micro.0,
        per_call_micro: tariff.fees.per_call_micro.0,
        tiers: tiers.collect(),
    }
}

fn mode_name(mode: Mode) -> &'static str {
    match mode {
        Mode::Standard => "standard",
        Mode::Surge => "surge",
        Mode::Reduced => "reduced",
    }
}

#[cfg(test)]
mod tests {
    use codexapi_aggregates::pricing::PricingCommand;
    use cqrs_es::Aggregate;

    use super::*;
    use crate::config::prices::PriceList;

    #[test]
    fn a_card_shows_from_the_second_it_takes_effect() {
        let mut book = PriceBook::default();
        for command in PriceList::built_in().commands(Timestamp::from_secs(10), Timestamp::from_secs(1)) {
            let events = book.decide(PricingCommand::Publish(Box::new(command))).expect("published");
            events.into_iter().for_each(|event| book.apply(event));
        }
        assert!(pricing_payload(&book, Timestamp::from_secs(9)).models.is_empty());
        let payload = pricing_payload(&book, Timestamp::from_secs(10));
        let gpt = payload.models.iter().find(|prices| prices.model == "gpt-5.5").expect("sold");
        assert_eq!((gpt.active.input_micro, gpt.active.input_usd.as_str()), (5_000_000, "5.000000"));
        assert_eq!(gpt.billed, gpt.active);
    }
}

//! The one pricing payload: every page and endpoint that shows prices shows this.

use chrono::{DateTime, Utc};
use codexapi_aggregates::money::{MicroUsd, Rate};
use codexapi_aggregates::pricing::tariff::{Mode, Tariff};
use codexapi_aggregates::pricing::{PriceBook, RateCard};
use codexapi_aggregates::time::Timestamp;
use serde::Serialize;
use utoipa::ToSchema;

use crate::config::Disclosure;

/// Prices in force at one moment.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct PricingPayload {
    /// `standard`, `surge` or `reduced`.
    mode: &'static str,
    models: Vec<ModelPrices>,
    /// When the window of this mode began; absent where none is on.
    start: Option<DateTime<Utc>>,
    /// When it ends by itself.
    end: Option<DateTime<Utc>>,
    /// The mode after it.
    next_mode: Option<&'static str>,
    server_time: DateTime<Utc>,
    /// Until `end`, rounded up; nothing has to be asked again before.
    seconds_left: Option<u32>,
    /// What a call costs beside its tokens; it stands in each tariff, too.
    per_call_micro: i64,
    /// `full`: `billed` is shown; `display_only`: published rates alone.
    disclosure: &'static str,
}

#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ModelPrices {
    model: String,
    /// Published, in the mode in force.
    active: TariffPayload,
    /// Published, in the standard mode.
    normal: TariffPayload,
    /// Published, in the surge mode, where it touches this model.
    surge: Option<TariffPayload>,
    /// Published, in the reduced mode, where it touches this model.
    reduced: Option<TariffPayload>,
    /// What a generation is charged at; absent where that is not disclosed.
    #[serde(skip_serializing_if = "Option::is_none")]
    billed: Option<TariffPayload>,
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

/// What is sold at `now`, at which prices, and until when: right at the very second a window ends.
pub fn master_pricing(book: &PriceBook, disclosure: Disclosure, now: Timestamp) -> PricingPayload {
    let window = book.mode_window(now);
    PricingPayload {
        mode: mode_name(book.mode(now)),
        models: book.cards_in_force(now).map(|card| model_prices(book, card, disclosure, now)).collect(),
        start: window.map(|window| moment(window.start)),
        end: window.map(|window| moment(window.end)),
        next_mode: window.map(|window| mode_name(window.plan.landing)),
        server_time: moment(now),
        seconds_left: window.map(|window| window.end.secs_after(now)),
        per_call_micro: book.per_call_micro().0,
        disclosure: disclosure.name(),
    }
}

/// The prices of one card in force at `now`.
pub fn model_prices(
    book: &PriceBook,
    card: &RateCard,
    disclosure: Disclosure,
    now: Timestamp,
) -> ModelPrices {
    let shown = |mode| tariff_payload(&book.shown(card, mode));
    let billed = match disclosure {
        Disclosure::Full => book.quote(&card.model, now).map(|quote| tariff_payload(&quote.billed)),
        Disclosure::DisplayOnly => None,
    };
    ModelPrices {
        model: card.model.clone(),
        active: shown(book.mode(now)),
        normal: shown(Mode::Standard),
        surge: card.surge.as_ref().map(|_| shown(Mode::Surge)),
        reduced: card.reduced.as_ref().map(|_| shown(Mode::Reduced)),
        billed,
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

fn moment(at: Timestamp) -> DateTime<Utc> {
    DateTime::from_timestamp_micros(at.0).unwrap_or_default()
}

pub fn mode_name(mode: Mode) -> &'static str {
    match mode {
        Mode::Standard => "standard",
        Mode::Surge => "surge",
        Mode::Reduced => "reduced",
    }
}

#[cfg(test)]
mod tests {
    use codexapi_aggregates::pricing::{ModePlan, PricingCommand, Span};
    use cqrs_es::Aggregate;

    use super::*;
    use crate::config::prices::PriceList;

    fn book() -> PriceBook {
        let mut book = PriceBook::default();
        for command in PriceList::built_in().commands(Timestamp::from_secs(10), Timestamp::from_secs(1)) {
            act(&mut book, PricingCommand::Publish(Box::new(command)));
        }
        book
    }

    fn act(book: &mut PriceBook, command: PricingCommand) {
        book.decide(command).expect("allowed").into_iter().for_each(|event| book.apply(event));
    }

    fn of<'a>(payload: &'a PricingPayload, model: &str) -> &'a ModelPrices {
        payload.models.iter().find(|prices| prices.model == model).expect("sold")
    }

    #[test]
    fn a_card_shows_from_the_second_it_takes_effect() {
        let book = book();
        let pricing = |secs| master_pricing(&book, Disclosure::Full, Timestamp::from_secs(secs));
        assert!(pricing(9).models.is_empty());
        let payload = pricing(10);
        let gpt = of(&payload, "gpt-5.5");
        assert_eq!((gpt.active.input_micro, gpt.active.input_usd.as_str()), (5_000_000, "5.000000"));
        assert_eq!(gpt.billed, Some(gpt.active.clone()));
    }

    #[test]
    fn a_surge_is_counted_down_and_over_at_its_second() {
        let mut book = book();
        let span = Span { start: Timestamp::from_secs(100), end: Timestamp::from_secs(160) };
        let plan = ModePlan { mode: Mode::Surge, landing: Mode::Standard };
        act(&mut book, PricingCommand::ScheduleMode { span, plan, now: Timestamp::from_secs(20) });
        let on = master_pricing(&book, Disclosure::Full, Timestamp(100_000_001));
        assert_eq!((on.mode, on.seconds_left, on.next_mode), ("surge", Some(60), Some("standard")));
        let gpt = of(&on, "gpt-5.5");
        let inputs = [&gpt.active, &gpt.normal].map(|tariff| (tariff.input_micro, tariff.output_micro));
        assert_eq!(inputs, [(6_000_000, 32_000_000), (5_000_000, 30_000_000)]);
        assert_eq!(gpt.reduced.as_ref().map(|tariff| tariff.input_micro), Some(4_500_000));
        let deepseek = of(&on, "deepseek-v4-pro");
        assert_eq!((deepseek.active.input_micro, &deepseek.surge), (2_000_000, &None));
        let over = master_pricing(&book, Disclosure::Full, Timestamp::from_secs(160));
        assert_eq!((over.mode, over.end, over.seconds_left), ("standard", None, None));
        assert_eq!(of(&over, "gpt-5.5").active, of(&over, "gpt-5.5").normal);
    }

    #[test]
    fn what_is_deducted_is_shown_under_full_disclosure_alone() {
        let mut book = book();
        let now = Timestamp::from_secs(20);
        act(&mut book, PricingCommand::AdjustInternal { basis_points: 6_000, models: vec![], now });
        let full = serde_json::to_value(master_pricing(&book, Disclosure::Full, now)).expect("JSON");
        let only = serde_json::to_value(master_pricing(&book, Disclosure::DisplayOnly, now)).expect("JSON");
        let gpt = |payload: &serde_json::Value| {
            let models = payload["models"].as_array().expect("models");
            models.iter().find(|prices| prices["model"] == "gpt-5.5").expect("sold").clone()
        };
        assert_eq!(
            (&full["disclosure"], &gpt(&full)["billed"]["inputMicro"]),
            (&"full".into(), &8_000_000.into())
        );
        assert_eq!((&only["disclosure"], gpt(&only).get("billed")), (&"display_only".into(), None));
        assert!(!only.to_string().contains("8000000"));
        assert_eq!(gpt(&only)["active"], gpt(&full)["active"]);
    }
}

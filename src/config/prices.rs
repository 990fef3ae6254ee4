//! The file of rate cards: decimal text in dollars, read exactly into whole micro-USD.

use codexapi_aggregates::pricing::tariff::{Fees, Rates, Tariff, Tier};
use codexapi_aggregates::pricing::{PriceBook, PricingCommand, PublishRateCard};
use codexapi_aggregates::time::Timestamp;
use cqrs_es::Aggregate;
use serde::Deserialize;

use super::dollars::Dollars;
use super::toml_file;

/// The rate cards that come with the service.
const BUILT_IN: &str = include_str!("../../config/prices.toml");

/// Rate cards in the order of the file; the price book has accepted them all in a trial.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PriceList(Vec<Card>);

impl PriceList {
    /// The rate cards that come with the service.
    pub fn built_in() -> Self {
        Self::parse(BUILT_IN).expect("the built-in price list is tested")
    }

    /// Reads the file at `path`; an empty path is the built-in list.
    pub(super) fn load(path: &str) -> Result<Self, String> {
        if path.is_empty() {
            return Self::parse(BUILT_IN);
        }
        let text = toml_file::read(path)?;
        Self::parse(&text)
    }

    /// Reads the text of a price file and tries it on an empty price book.
    ///
    /// # Errors
    /// What is wrong: with its line where it cannot be read, with the book's refusal where it breaks a rule.
    pub fn parse(text: &str) -> Result<Self, String> {
        toml_file::parse(text, Self::tried)
    }

    fn tried(file: File) -> Result<Self, String> {
        let list = Self(file.models);
        let mut book = PriceBook::default();
        for command in list.commands(Timestamp::default(), Timestamp::default()) {
            let model = command.model.clone();
            if book.card(&model, Timestamp::default()).is_some() {
                return Err(format!("{model:?} is priced twice"));
            }
            let events = book
                .decide(PricingCommand::Publish(Box::new(command)))
                .map_err(|refusal| format!("{model:?}: {refusal}"))?;
            events.into_iter().for_each(|event| book.apply(event));
        }
        Ok(list)
    }

    pub fn models(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|card| card.model.as_str())
    }

    /// One command per card, all in force from `effective_at` on.
    pub fn commands(&self, effective_at: Timestamp, now: Timestamp) -> Vec<PublishRateCard> {
        let command = |card: &Card| PublishRateCard {
            model: card.model.clone(),
            effective_at,
            display: card.display.tariff(),
            surge: card.surge.as_ref().map(TariffText::tariff),
            reduced: card.reduced.as_ref().map(TariffText::tariff),
            internal: card.internal.as_ref().map(TariffText::tariff),
            cost: card.cost.tariff(),
            context_tokens: card.context_tokens,
            max_output_tokens: card.max_output_tokens,
            now,
        };
        self.0.iter().map(command).collect()
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    models: Vec<Card>,
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
struct Card {
    model: String,
    context_tokens: u64,
    max_output_tokens: u64,
    display: TariffText,
    surge: Option<TariffText>,
    reduced: Option<TariffText>,
    internal: Option<TariffText>,
    cost: TariffText,
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
struct TariffText {
    input: Dollars,
    cached_input: Option<Dollars>,
    cache_write_5m: Option<Dollars>,
    cache_write_1h: Option<Dollars>,
    output: Dollars,
    #[serde(default)]
    tiers: Vec<TierText>,
    #[serde(default)]
    fees: FeesText,
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
struct TierText {
    threshold_tokens: u64,
    /// Whether the threshold itself is in the tier.
    #[serde(default)]
    inclusive: bool,
    input: Dollars,
    cached_input: Option<Dollars>,
    cache_write_5m: Option<Dollars>,
    cache_write_1h: Option<Dollars>,
    output: Dollars,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
struct FeesText {
    #[serde(default)]
    web_search: Dollars,
    #[serde(default)]
    per_call: Dollars,
}

impl TariffText {
    fn tariff(&self) -> Tariff {
        let rates = Rates {
            input: self.input.rate(),
            cached_input: self.cached_input.map(Dollars::rate),
            cache_write_5m: self.cache_write_5m.map(Dollars::rate),
            cache_write_1h: self.cache_write_1h.map(Dollars::rate),
            output: self.output.rate(),
        };
        let fees = Fees { web_search_micro: self.fees.web_search.0, per_call_micro: self.fees.per_call.0 };
        Tariff { rates, tiers: self.tiers.iter().map(TierText::tier).collect(), fees }
    }
}

impl TierText {
    fn tier(&self) -> Tier {
        let rates = Rates {
            input: self.input.rate(),
            cached_input: self.cached_input.map(Dollars::rate),
            cache_write_5m: self.cache_write_5m.map(Dollars::rate),
            cache_write_1h: self.cache_write_1h.map(Dollars::rate),
            output: self.output.rate(),
        };
        Tier { threshold_tokens: self.threshold_tokens, inclusive: self.inclusive, rates }
    }
}

#[cfg(test)]
mod tests {
    use codexapi_aggregates::money::Rate;

    use super::*;

    const CARD: &str = r#"
[[models]]
model = "m"
context_tokens = 1000
max_output_tokens = 100
display = { input = "4.50", cached_input = "0.000001", output = "27" }
cost = { input = "2", output = "5", tiers = [{ threshold_tokens = 200, input = "4", output = "10" }] }
"#;

    #[test]
    fn decimal_text_becomes_exact_rates() {
        let list = PriceList::parse(CARD).expect("good");
        let card = &list.commands(Timestamp(7), Timestamp(8))[0];
        assert_eq!(card.display.rates.input, Rate(4_500_000));
        assert_eq!(card.display.rates.cached_input, Some(Rate(1)));
        assert_eq!(card.cost.tiers[0].rates.output, Rate(10_000_000));
        assert_eq!((card.effective_at, card.now), (Timestamp(7), Timestamp(8)));
    }

    #[test]
    fn numbers_unknown_keys_and_repeated_models_are_refused() {
        let cases = [
            (CARD.replace("\"4.50\"", "4.50"), "decimal text"),
            (CARD.replace("4.50", "-1"), "decimal text"),
            (CARD.replace("cached_input", "cache_input"), "cache_input"),
            (CARD.replace("model = \"m\"", "model = \"m m\""), "m m"),
            (CARD.replace("context_tokens = 1000", "context_tokens = 0"), "at least one token"),
            (format!("{CARD}{CARD}"), "priced twice"),
        ];
        for (text, expected) in cases {
            let refusal = PriceList::parse(&text).expect_err("bad");
            assert!(refusal.contains(expected), "{expected}: {refusal}");
        }
    }

    #[test]
    fn the_built_in_list_has_the_published_prices() {
        let cards = PriceList::built_in().commands(Timestamp(0), Timestamp(0));
        let rates =
            |model: &str| cards.iter().find(|card| card.model == model).map(|card| card.display.rates);
        let gpt = rates("gpt-5.5").expect("priced");
        assert_eq!((gpt.input, gpt.output), (Rate(5_000_000), Rate(30_000_000)));
        let opus = rates("claude-opus-4-8").expect("priced");
        assert_eq!((opus.cache_write_5m(), opus.cache_write_1h()), (Rate(6_250_000), Rate(10_000_000)));
        let deepseek = rates("deepseek-v4-pro").expect("priced");
        assert_eq!((deepseek.input, deepseek.output), (Rate(2_000_000), Rate(5_000_000)));
    }
}

//! A book to try things on, and cards to put into it.

use cqrs_es::Aggregate;

use crate::examples::{MODEL, flat, second};
use crate::pricing::tariff::{Mode, Tariff};
use crate::pricing::{
    InternalPlan, ModePlan, ModelTariff, PriceBook, PricingCommand, PricingEvent, PricingRefusal,
    PublishRateCard, Span,
};
use crate::time::Timestamp;

pub const MINUTE: i64 = 60;
pub const HOUR: i64 = 3_600;

/// $5/$25 for `model`, published and effective at `at`.
pub fn publish(model: &str, at: i64) -> PublishRateCard {
    PublishRateCard {
        model: model.into(),
        effective_at: second(at),
        display: flat(5_000_000, 25_000_000),
        surge: None,
        reduced: None,
        internal: None,
        cost: flat(2_000_000, 10_000_000),
        context_tokens: 400_000,
        max_output_tokens: 128_000,
        now: second(at),
    }
}

/// Another price, so that it is not the same card.
pub fn dearer(model: &str, at: i64, input: i64) -> PublishRateCard {
    PublishRateCard { display: flat(input, 25_000_000), ..publish(model, at) }
}

#[derive(Default)]
pub struct Book(pub PriceBook);

impl Book {
    pub fn act(&mut self, command: PricingCommand) -> Result<Vec<PricingEvent>, PricingRefusal> {
        let events = self.0.decide(command)?;
        events.iter().cloned().for_each(|event| self.0.apply(event));
        Ok(events)
    }

    pub fn publish(&mut self, command: PublishRateCard) -> Result<Vec<PricingEvent>, PricingRefusal> {
        self.act(PricingCommand::Publish(Box::new(command)))
    }

    pub fn with(mut self, command: PublishRateCard) -> Self {
        self.publish(command).expect("such a card is allowed");
        self
    }

    pub fn withdraw(&mut self, model: &str, at: i64) -> Result<Vec<PricingEvent>, PricingRefusal> {
        self.act(PricingCommand::Withdraw { model: model.into(), now: second(at) })
    }

    pub fn input_rate(&self, at: Timestamp) -> Option<i64> {
        self.0.card(MODEL, at).map(|card| card.display.rates.input.0)
    }
}

/// The prices of the documentation: $5/$30, in a surge $6/$32, reduced $4.50/$27.
pub fn three_modes(model: &str, at: i64) -> PublishRateCard {
    PublishRateCard {
        display: flat(5_000_000, 30_000_000),
        surge: Some(flat(6_000_000, 32_000_000)),
        reduced: Some(flat(4_500_000, 27_000_000)),
        cost: flat(5_000_000, 30_000_000),
        ..publish(model, at)
    }
}

pub fn span(start: i64, end: i64) -> Span {
    Span { start: second(start), end: second(end) }
}

pub fn schedule(mode: Mode, start: i64, end: i64, now: i64) -> PricingCommand {
    let plan = ModePlan { mode, landing: Mode::Standard };
    PricingCommand::ScheduleMode { span: span(start, end), plan, now: second(now) }
}

pub fn of_model(tariff: Tariff) -> Vec<ModelTariff> {
    vec![ModelTariff { model: MODEL.into(), tariff }]
}

/// An internal window of the example's model.
pub fn internal(rates: Tariff, landing: Tariff, start: i64, end: i64, now: i64) -> PricingCommand {
    let plan = InternalPlan { rates: of_model(rates), landing: of_model(landing) };
    PricingCommand::ScheduleInternal { span: span(start, end), plan, now: second(now) }
}

/// What is deducted and what is shown of the example's model, input and output.
pub fn prices(book: &PriceBook, at: Timestamp) -> ((i64, i64), (i64, i64)) {
    let quote = book.quote(MODEL, at).expect("sold");
    let of = |tariff: &Tariff| (tariff.rates.input.0, tariff.rates.output.0);
    (of(&quote.billed), of(quote.display.as_ref().unwrap_or(&quote.billed)))
}

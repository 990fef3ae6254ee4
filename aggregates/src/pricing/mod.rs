//! The price book: immutable, effective-dated rate cards. A price is right at the very second a
//! card takes effect, though no timer fires.

pub mod rating;
pub mod tariff;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use cqrs_es::event_sink::EventSink;
use cqrs_es::{Aggregate, DomainEvent};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::time::Timestamp;
use tariff::{Mode, Quote, Tariff};

/// The one stream of the price book.
pub const BOOK_STREAM: &str = "book";

/// The most models a book may hold; a limit on its state.
pub const MAX_MODELS: usize = 200;

/// The most models that may ever have been sold; their last versions are kept, because a model that
/// returns must not give an old version's number to other prices.
const MAX_MODELS_EVER: usize = 2_000;

/// Cards kept per model, of which all but one may be yet to take effect. A hold carries its own
/// quote, so no superseded card is needed to settle.
const KEPT_CARDS: usize = 32;

/// Rates are refused beyond this: micro-USD per million tokens, or per call ($100 000).
const MAX_RATE: i64 = 100_000_000_000;

// Events

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub enum PricingEvent {
    /// A card for one model, in force from `effective_at`. Versions rise by one per model.
    RateCardPublished { card: Box<RateCard>, at: Timestamp },
    /// The model is no longer sold.
    RateCardWithdrawn { model: String, at: Timestamp },
}

/// The prices of one model.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RateCard {
    pub model: String,
    pub version: u32,
    pub effective_at: Timestamp,
    /// What customers are shown.
    pub display: Tariff,
    /// What is deducted, where the operator has set it apart from `display`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub internal: Option<Tariff>,
    /// What the provider charges.
    pub cost: Tariff,
    /// Tokens; what a request may bring at most. Usage beyond it is absurd.
    pub context_tokens: u64,
    /// Tokens; what an answer has at most where the request names no limit.
    pub max_output_tokens: u64,
}

// Commands

/// Publishes the prices of one model from `effective_at` on.
#[derive(Clone, Debug, PartialEq)]
pub struct PublishRateCard {
    pub model: String,
    pub effective_at: Timestamp,
    pub display: Tariff,
    pub internal: Option<Tariff>,
    pub cost: Tariff,
    pub context_tokens: u64,
    pub max_output_tokens: u64,
    pub now: Timestamp,
}

#[derive(Clone, Debug, PartialEq)]
pub enum PricingCommand {
    Publish(Box<PublishRateCard>),
    Withdraw { model: String, now: Timestamp },
}

// Refusals

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PricingRefusal {
    #[error(
        "a model's name has 1 to 100 characters of letters, digits, '.', '-', '_', ':' and '/'; {model:?} has not"
    )]
    BadModelName { model: String },
    #[error("{amount} is not a rate: rates and fees are 0 to {MAX_RATE} micro-USD")]
    RateOutOfRange { amount: i64 },
    #[error("tiers of {model} must have rising thresholds")]
    TiersOutOfOrder { model: String },
    #[error("{model} needs a context and a maximum output of at least one token")]
    NoContext { model: String },
    #[error(
        "cards take effect in order: {model} has one from {latest:?}, this one would start at {effective_at:?}"
    )]
    EffectiveBeforeLatest { model: String, latest: Timestamp, effective_at: Timestamp },
    #[error("{model} has {most} cards that are yet to take effect")]
    TooManyScheduled { model: String, most: usize },
    #[error("the book is full: {MAX_MODELS} models")]
    BookFull,
    #[error("{model} is not in the price book")]
    UnknownModel { model: String },
}

// State

/// Every card that is, or is yet to be, in force.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct PriceBook {
    /// Per model, by rising version.
    cards: BTreeMap<String, Vec<RateCard>>,
    /// The last version of every model that was ever sold.
    versions: BTreeMap<String, u32>,
}

impl PriceBook {
    /// The card in force for `model` at `now`.
    pub fn card(&self, model: &str, now: Timestamp) -> Option<&RateCard> {
        self.cards.get(model)?.iter().rev().find(|card| card.effective_at <= now)
    }

    /// Every card in force at `now`, by model name.
    pub fn cards_in_force(&self, now: Timestamp) -> impl Iterator<Item = &RateCard> {
        self.cards.keys().filter_map(move |model| self.card(model, now))
    }

    /// The prices a hold placed at `now` freezes; `None` where the model is not sold.
    pub fn quote(&self, model: &str, now: Timestamp) -> Option<Quote> {
        let card = self.card(model, now)?;
        let (billed, display) = match &card.internal {
            Some(internal) => (internal.clone(), Some(card.display.clone())),
            None => (card.display.clone(), None),
        };
        Some(Quote {
            model: card.model.clone(),
            card_version: card.version,
            mode: Mode::Standard,
            billed,
            display,
            cost: card.cost.clone(),
        })
    }

    /// The prices of a generation that is billed as one model and served by another: what is
    /// deducted and shown is the billed model's, what the provider charges is the served one's.
    /// `None` where either is not sold.
    pub fn quote_served(&self, billed_model: &str, served_model: &str, now: Timestamp) -> Option<Quote> {
        let cost = self.cost_tariff(served_model, now)?.clone();
        Some(Quote { cost, ..self.quote(billed_model, now)? })
    }

    /// What providers charge for `served_model` at `now`; for an attempt at another model than the
    /// one the hold was quoted with.
    pub fn cost_tariff(&self, served_model: &str, now: Timestamp) -> Option<&Tariff> {
        Some(&self.card(served_model, now)?.cost)
    }

    // Rules

    pub fn decide(&self, command: PricingCommand) -> Result<Vec<PricingEvent>, PricingRefusal> {
        match command {
            PricingCommand::Publish(publish) => self.publish(*publish),
            PricingCommand::Withdraw { model, now } => self.withdraw(model, now),
        }
    }

    fn publish(&self, command: PublishRateCard) -> Result<Vec<PricingEvent>, PricingRefusal> {
        let PublishRateCard {
            model,
            effective_at,
            display,
            internal,
            cost,
            context_tokens,
            max_output_tokens,
            now,
        } = command;
        if !is_model_name(&model) {
            return Err(PricingRefusal::BadModelName { model });
        }
        for tariff in [Some(&display), internal.as_ref(), Some(&cost)].into_iter().flatten() {
            check_tariff(&model, tariff)?;
        }
        if context_tokens == 0 || max_output_tokens == 0 {
            return Err(PricingRefusal::NoContext { model });
        }
        let latest = self.cards.get(&model).and_then(|cards| cards.last());
        if let Some(latest) = latest {
            let same = latest.display == display
                && latest.internal == internal
                && latest.cost == cost
                && latest.context_tokens == context_tokens
                && latest.max_output_tokens == max_output_tokens;
            if same && latest.effective_at <= effective_at {
                return Ok(vec![]);
            }
            if latest.effective_at > effective_at {
                let latest = latest.effective_at;
                return Err(PricingRefusal::EffectiveBeforeLatest { model, latest, effective_at });
            }
        }
        self.refuse_without_room(&model, now)?;
        let version = self.versions.get(&model).map_or(1, |version| version + 1);
        let card = RateCard {
            model,
            version,
            effective_at,
            display,
            internal,
            cost,
            context_tokens,
            max_output_tokens,
        };
        Ok(vec![PricingEvent::RateCardPublished { card: Box::new(card), at: now }])
    }

    fn refuse_without_room(&self, model: &str, now: Timestamp) -> Result<(), PricingRefusal> {
        let is_new = !self.versions.contains_key(model);
        let Some(cards) = self.cards.get(model) else {
            let full = self.cards.len() >= MAX_MODELS || (is_new && self.versions.len() >= MAX_MODELS_EVER);
            return if full { Err(PricingRefusal::BookFull) } else { Ok(()) };
        };
        // One place is for the card in force.
        let most = KEPT_CARDS - 1;
        let scheduled = cards.iter().filter(|card| card.effective_at > now).count();
        if scheduled < most {
            return Ok(());
        }
        Err(PricingRefusal::TooManyScheduled { model: model.into(), most })
    }

    fn withdraw(&self, model: String, now: Timestamp) -> Result<Vec<PricingEvent>, PricingRefusal> {
        if !self.cards.contains_key(&model) {
            return Err(PricingRefusal::UnknownModel { model });
        }
        Ok(vec![PricingEvent::RateCardWithdrawn { model, at: now }])
    }

    fn evolve(&mut self, event: PricingEvent) {
        match event {
            PricingEvent::RateCardPublished { card, .. } => {
                self.versions.insert(card.model.clone(), card.version);
                let cards = self.cards.entry(card.model.clone()).or_default();
                cards.push(*card);
                let surplus = cards.len().saturating_sub(KEPT_CARDS);
                cards.drain(..surplus);
            }
            PricingEvent::RateCardWithdrawn { model, .. } => {
                self.cards.remove(&model);
            }
        }
    }
}

/// Whether `name` may name a model anywhere here.
pub fn is_model_name(name: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || ".-_:/".contains(c);
    (1..=100).contains(&name.len()) && name.chars().all(allowed)
}

fn check_tariff(model: &str, tariff: &Tariff) -> Result<(), PricingRefusal> {
    if let Some(amount) = tariff.amounts().into_iter().find(|amount| !(0..=MAX_RATE).contains(amount)) {
        return Err(PricingRefusal::RateOutOfRange { amount });
    }
    let rising = tariff.tiers.windows(2).all(|pair| pair[0].threshold_tokens < pair[1].threshold_tokens);
    if rising { Ok(()) } else { Err(PricingRefusal::TiersOutOfOrder { model: model.into() }) }
}

// cqrs-es

impl DomainEvent for PricingEvent {
    fn event_type(&self) -> String {
        match self {
            Self::RateCardPublished { .. } => "pricing.rate_card_published",
            Self::RateCardWithdrawn { .. } => "pricing.rate_card_withdrawn",
        }
        .into()
    }

    fn event_version(&self) -> String {
        "1".into()
    }
}

impl Aggregate for PriceBook {
    const TYPE: &'static str = "pricing";
    type Command = PricingCommand;
    type Event = PricingEvent;
    type Error = PricingRefusal;
    type Services = ();

    async fn handle(
        &mut self,
        command: PricingCommand,
        _: &(),
        sink: &EventSink<Self>,
    ) -> Result<(), PricingRefusal> {
        for event in self.decide(command)? {
            sink.write(event, self).await;
        }
        Ok(())
    }

    fn apply(&mut self, event: PricingEvent) {
        self.evolve(event);
    }
}

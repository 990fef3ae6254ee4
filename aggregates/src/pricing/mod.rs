//! The price book: immutable, effective-dated rate cards, and two timelines of windows over them.
//!
//! *Modes* change what is displayed and, where the operator has not set it apart, what is billed. *Internal windows*
//! change what is deducted alone; their landing rates are the internal base afterwards. A price is right at the very
//! second a card takes effect or a window ends, though no timer fires.

mod adjust;
mod cards;
pub mod events;
mod prices;
pub mod rating;
pub mod refusal;
pub mod tariff;
mod terms;
pub mod timeline;
mod windows;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use cqrs_es::Aggregate;
use cqrs_es::event_sink::EventSink;
use serde::{Deserialize, Serialize};

pub use adjust::adjusted;
pub use cards::is_model_name;
pub use events::{InternalPlan, InternalWindow, ModePlan, ModeWindow, ModelTariff, PricingEvent, RateCard};
pub use refusal::{PricingRefusal, WindowRefusal};
pub use terms::{FamilyPolicies, ServingCost};
pub use timeline::{Span, Timeline};
pub use windows::{DEFAULT_INTERNAL_SECS, DEFAULT_MODE_SECS};

use crate::money::MicroUsd;
use crate::routing::ModelFamily;
use crate::time::Timestamp;
use crate::usage::{BillingPolicy, ClientFamily};
use tariff::{Mode, Tariff};

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

/// Adjustments go from all but nothing to eleven times.
pub const MIN_BASIS_POINTS: i32 = -9_999;
pub const MAX_BASIS_POINTS: i32 = 100_000;

/// Billing policies that may be set.
const MAX_POLICIES: usize = 500;

// Commands

/// Publishes the prices of one model from `effective_at` on.
#[derive(Clone, Debug, PartialEq)]
pub struct PublishRateCard {
    pub model: String,
    pub effective_at: Timestamp,
    pub display: Tariff,
    pub surge: Option<Tariff>,
    pub reduced: Option<Tariff>,
    pub internal: Option<Tariff>,
    pub cost: Tariff,
    pub context_tokens: u64,
    pub max_output_tokens: u64,
    pub now: Timestamp,
}

#[derive(Clone, Debug, PartialEq)]
pub enum PricingCommand {
    Publish(Box<PublishRateCard>),
    Withdraw {
        model: String,
        now: Timestamp,
    },
    ScheduleMode {
        span: Span,
        plan: ModePlan,
        now: Timestamp,
    },
    CancelMode {
        number: u32,
        now: Timestamp,
    },
    EndMode {
        number: u32,
        now: Timestamp,
    },
    ScheduleInternal {
        span: Span,
        plan: InternalPlan,
        now: Timestamp,
    },
    CancelInternal {
        number: u32,
        now: Timestamp,
    },
    EndInternal {
        number: u32,
        now: Timestamp,
    },
    /// Raises or lowers internal rates of the models named, or of all.
    AdjustInternal {
        basis_points: i32,
        models: Vec<String>,
        now: Timestamp,
    },
    SetPerCallPrice {
        amount_micro: MicroUsd,
        now: Timestamp,
    },
    SetBillingPolicy {
        family: ClientFamily,
        plan: Option<String>,
        policy: Option<BillingPolicy>,
        now: Timestamp,
    },
    SetServingCost {
        family: ModelFamily,
        cost: ServingCost,
        now: Timestamp,
    },
}

impl PricingCommand {
    fn now(&self) -> Timestamp {
        match self {
            Self::Publish(publish) => publish.now,
            Self::Withdraw { now, .. }
            | Self::ScheduleMode { now, .. }
            | Self::CancelMode { now, .. }
            | Self::EndMode { now, .. }
            | Self::ScheduleInternal { now, .. }
            | Self::CancelInternal { now, .. }
            | Self::EndInternal { now, .. }
            | Self::AdjustInternal { now, .. }
            | Self::SetPerCallPrice { now, .. }
            | Self::SetBillingPolicy { now, .. }
            | Self::SetServingCost { now, .. } => *now,
        }
    }
}

// State

/// Every card that is, or is yet to be, in force, and what changes their prices for a time.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct PriceBook {
    /// Per model, by rising version.
    cards: BTreeMap<String, Vec<RateCard>>,
    /// The last version of every model that was ever sold.
    versions: BTreeMap<String, u32>,
    #[serde(default)]
    modes: Timeline<ModePlan>,
    /// The landing of the last mode window on record as over.
    #[serde(default)]
    base_mode: Mode,
    #[serde(default)]
    internals: Timeline<InternalPlan>,
    /// Internal rates that landings and adjustments have set.
    #[serde(default)]
    bases: BTreeMap<String, InternalBase>,
    #[serde(default)]
    per_call_micro: MicroUsd,
    #[serde(default)]
    policies: Vec<(PolicyKey, BillingPolicy)>,
    #[serde(default)]
    serving_costs: Vec<(ModelFamily, ServingCost)>,
}

/// Internal rates that no card has set.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct InternalBase {
    since: Timestamp,
    /// The model's latest card when it was set: a later one of the same moment counts more.
    card_version: u32,
    tariff: Tariff,
}

impl InternalBase {
    fn counts_before(&self, card: &RateCard) -> bool {
        self.since > card.effective_at
            || (self.since == card.effective_at && self.card_version >= card.version)
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct PolicyKey {
    family: ClientFamily,
    plan: Option<String>,
}

impl PriceBook {
    /// The events of a command, after those that put on record what has ended by itself.
    pub fn decide(&self, command: PricingCommand) -> Result<Vec<PricingEvent>, PricingRefusal> {
        let mut events = self.record_ends(command.now());
        if events.is_empty() {
            return self.act(command);
        }
        let mut book = self.clone();
        events.iter().cloned().for_each(|event| book.evolve(event));
        events.extend(book.act(command)?);
        Ok(events)
    }

    fn act(&self, command: PricingCommand) -> Result<Vec<PricingEvent>, PricingRefusal> {
        use PricingCommand as C;
        match command {
            C::Publish(publish) => self.publish(*publish),
            C::Withdraw { model, now } => self.withdraw(model, now),
            C::ScheduleMode { span, plan, now } => self.schedule_mode(span, plan, now),
            C::CancelMode { number, now } => self.cancel_mode(number, now),
            C::EndMode { number, now } => self.end_mode(number, now),
            C::ScheduleInternal { span, plan, now } => self.schedule_internal(span, plan, now),
            C::CancelInternal { number, now } => self.cancel_internal(number, now),
            C::EndInternal { number, now } => self.end_internal(number, now),
            C::AdjustInternal { basis_points, models, now } => self.adjust(basis_points, &models, now),
            C::SetPerCallPrice { amount_micro, now } => self.set_per_call(amount_micro, now),
            C::SetBillingPolicy { family, plan, policy, now } => self.set_policy(family, plan, policy, now),
            C::SetServingCost { family, cost, now } => self.set_serving_cost(family, cost, now),
        }
    }

    fn evolve(&mut self, event: PricingEvent) {
        use PricingEvent as E;
        match event {
            E::RateCardPublished { card, .. } => {
                self.versions.insert(card.model.clone(), card.version);
                let cards = self.cards.entry(card.model.clone()).or_default();
                cards.push(*card);
                let surplus = cards.len().saturating_sub(KEPT_CARDS);
                cards.drain(..surplus);
            }
            E::RateCardWithdrawn { model, .. } => {
                self.cards.remove(&model);
                self.bases.remove(&model);
            }
            E::ModeWindowScheduled { window, .. } => self.modes.add(window),
            E::ModeWindowCancelled { number, .. } => self.modes.cancel(number),
            E::ModeWindowEnded { number, end, landing, .. } => {
                self.modes.end(number, end);
                self.base_mode = landing;
            }
            E::InternalWindowScheduled { window, .. } => self.internals.add(*window),
            E::InternalWindowCancelled { number, .. } => self.internals.cancel(number),
            E::InternalWindowEnded { number, end, landing, .. } => {
                self.internals.end(number, end);
                landing.into_iter().for_each(|of| self.set_base(of, end));
            }
            E::InternalRatesAdjusted { base, window, at, .. } => {
                base.into_iter().for_each(|of| self.set_base(of, at));
                if let Some(window) = window {
                    self.internals.replan(window.number, window.plan);
                }
            }
            E::PerCallPriceSet { amount_micro, .. } => self.per_call_micro = amount_micro,
            E::BillingPolicySet { family, plan, policy, .. } => {
                let key = PolicyKey { family, plan };
                self.policies.retain(|(set, _)| *set != key);
                self.policies.extend(policy.map(|policy| (key, policy)));
            }
            E::ServingCostSet { family, input, output, .. } => {
                self.serving_costs.retain(|(of, _)| *of != family);
                self.serving_costs.push((family, ServingCost { input, output }));
            }
        }
    }

    fn set_base(&mut self, of: ModelTariff, since: Timestamp) {
        let Some(version) = self.versions.get(&of.model).filter(|_| self.cards.contains_key(&of.model))
        else {
            return;
        };
        let base = InternalBase { since, card_version: *version, tariff: of.tariff };
        self.bases.insert(of.model, base);
    }
}

// cqrs-es

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

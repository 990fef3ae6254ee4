//! What can happen to the price book.

use cqrs_es::DomainEvent;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::tariff::{Mode, Tariff};
use super::timeline::Window;
use crate::money::{MicroUsd, Rate};
use crate::routing::ModelFamily;
use crate::time::Timestamp;
use crate::usage::{BillingPolicy, ClientFamily};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub enum PricingEvent {
    /// A card for one model, in force from `effective_at`. Versions rise by one per model.
    RateCardPublished {
        card: Box<RateCard>,
        at: Timestamp,
    },
    /// The model is no longer sold.
    RateCardWithdrawn {
        model: String,
        at: Timestamp,
    },
    ModeWindowScheduled {
        window: ModeWindow,
        at: Timestamp,
    },
    /// It never began.
    ModeWindowCancelled {
        number: u32,
        at: Timestamp,
    },
    /// It was over at `end`, by itself or because it was ended; what is known of it since `at`.
    ModeWindowEnded {
        number: u32,
        end: Timestamp,
        landing: Mode,
        at: Timestamp,
    },
    InternalWindowScheduled {
        window: Box<InternalWindow>,
        at: Timestamp,
    },
    /// It never began.
    InternalWindowCancelled {
        number: u32,
        at: Timestamp,
    },
    /// It was over at `end`; its landing rates are the internal base from then on.
    InternalWindowEnded {
        number: u32,
        end: Timestamp,
        landing: Vec<ModelTariff>,
        at: Timestamp,
    },
    /// Internal rates were raised or lowered; what is displayed stays as it is.
    InternalRatesAdjusted {
        /// Of the old rates; 10 % is 1 000.
        basis_points: i32,
        /// The new internal base of each model.
        base: Vec<ModelTariff>,
        /// The new rates of the internal window going on, where it names some of the models.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        window: Option<AdjustedWindow>,
        at: Timestamp,
    },
    /// What every call of a customer costs, beside what it uses.
    PerCallPriceSet {
        amount_micro: MicroUsd,
        at: Timestamp,
    },
    /// How generations of a client family are billed, under a plan or from the wallet; `policy` is absent where the
    /// default counts again.
    BillingPolicySet {
        family: ClientFamily,
        /// A plan's id; absent for what the wallet pays.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        plan: Option<String>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        policy: Option<BillingPolicy>,
        at: Timestamp,
    },
    /// What serving a family is reckoned to cost in reports.
    ServingCostSet {
        family: ModelFamily,
        input: Rate,
        output: Rate,
        at: Timestamp,
    },
}

/// The prices of one model.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RateCard {
    pub model: String,
    pub version: u32,
    pub effective_at: Timestamp,
    /// What customers are shown.
    pub display: Tariff,
    /// What they are shown in the surge mode, where it touches this model.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub surge: Option<Tariff>,
    /// What they are shown in the reduced mode, where it touches this model.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reduced: Option<Tariff>,
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

impl RateCard {
    /// What is published in a mode.
    pub fn display_in(&self, mode: Mode) -> &Tariff {
        let own = match mode {
            Mode::Standard => None,
            Mode::Surge => self.surge.as_ref(),
            Mode::Reduced => self.reduced.as_ref(),
        };
        own.unwrap_or(&self.display)
    }
}

/// A tariff of one model.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ModelTariff {
    pub model: String,
    pub tariff: Tariff,
}

/// The mode of a stretch of time, and the one after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ModePlan {
    pub mode: Mode,
    pub landing: Mode,
}

/// Internal rates of a stretch of time, and those after it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct InternalPlan {
    pub rates: Vec<ModelTariff>,
    pub landing: Vec<ModelTariff>,
}

pub type ModeWindow = Window<ModePlan>;
pub type InternalWindow = Window<InternalPlan>;

/// New rates of an internal window that is going on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AdjustedWindow {
    pub number: u32,
    pub plan: InternalPlan,
}

impl DomainEvent for PricingEvent {
    fn event_type(&self) -> String {
        match self {
            Self::RateCardPublished { .. } => "pricing.rate_card_published",
            Self::RateCardWithdrawn { .. } => "pricing.rate_card_withdrawn",
            Self::ModeWindowScheduled { .. } => "pricing.mode_window_scheduled",
            Self::ModeWindowCancelled { .. } => "pricing.mode_window_cancelled",
            Self::ModeWindowEnded { .. } => "pricing.mode_window_ended",
            Self::InternalWindowScheduled { .. } => "pricing.internal_window_scheduled",
            Self::InternalWindowCancelled { .. } => "pricing.internal_window_cancelled",
            Self::InternalWindowEnded { .. } => "pricing.internal_window_ended",
            Self::InternalRatesAdjusted { .. } => "pricing.internal_rates_adjusted",
            Self::PerCallPriceSet { .. } => "pricing.per_call_price_set",
            Self::BillingPolicySet { .. } => "pricing.billing_policy_set",
            Self::ServingCostSet { .. } => "pricing.serving_cost_set",
        }
        .into()
    }

    fn event_version(&self) -> String {
        "1".into()
    }
}

//! Rates, tiers and fees of one model, and the quote that a hold freezes.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::money::{MicroUsd, Rate};

/// What a token of each kind costs. A kind of input without a rate of its own is priced as `input`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Rates {
    pub input: Rate,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cached_input: Option<Rate>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cache_write_5m: Option<Rate>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cache_write_1h: Option<Rate>,
    pub output: Rate,
}

impl Rates {
    pub fn cached_input(&self) -> Rate {
        self.cached_input.unwrap_or(self.input)
    }

    pub fn cache_write_5m(&self) -> Rate {
        self.cache_write_5m.unwrap_or(self.input)
    }

    pub fn cache_write_1h(&self) -> Rate {
        self.cache_write_1h.unwrap_or(self.input)
    }

    /// The rate that no input token can exceed.
    pub fn dearest_input(&self) -> Rate {
        self.input.max(self.cached_input()).max(self.cache_write_5m()).max(self.cache_write_1h())
    }
}

/// A long context reprices the whole request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Tier {
    /// Total input tokens at which the tier begins.
    pub threshold_tokens: u64,
    /// Whether `threshold_tokens` itself is in the tier (`≥`) or only more than it (`>`).
    #[serde(default)]
    pub inclusive: bool,
    pub rates: Rates,
}

impl Tier {
    fn applies_to(&self, total_input: u64) -> bool {
        total_input > self.threshold_tokens || (self.inclusive && total_input == self.threshold_tokens)
    }
}

/// Fees per call, in micro-USD per unit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Fees {
    #[serde(default)]
    pub web_search_micro: MicroUsd,
    #[serde(default)]
    pub per_call_micro: MicroUsd,
}

impl Fees {
    fn is_free(&self) -> bool {
        *self == Self::default()
    }
}

/// All that one generation of one model can cost.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Tariff {
    pub rates: Rates,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tiers: Vec<Tier>,
    #[serde(default, skip_serializing_if = "Fees::is_free")]
    pub fees: Fees,
}

impl Tariff {
    /// The rates for a request of `total_input` tokens: those of the highest tier it reaches.
    pub fn rates_for(&self, total_input: u64) -> &Rates {
        self.tiers
            .iter()
            .filter(|tier| tier.applies_to(total_input))
            .max_by_key(|tier| (tier.threshold_tokens, !tier.inclusive))
            .map_or(&self.rates, |tier| &tier.rates)
    }

    /// The input rate that no request can exceed, over every tier.
    pub fn dearest_input(&self) -> Rate {
        self.every_rates().map(Rates::dearest_input).max().unwrap_or_default()
    }

    /// The output rate that no request can exceed, over every tier.
    pub fn dearest_output(&self) -> Rate {
        self.every_rates().map(|rates| rates.output).max().unwrap_or_default()
    }

    fn every_rates(&self) -> impl Iterator<Item = &Rates> {
        std::iter::once(&self.rates).chain(self.tiers.iter().map(|tier| &tier.rates))
    }

    /// Every rate and fee in one list, so that a publisher can be refused a negative one.
    pub fn amounts(&self) -> Vec<i64> {
        let mut amounts: Vec<i64> = self
            .every_rates()
            .flat_map(|r| [r.input, r.cached_input(), r.cache_write_5m(), r.cache_write_1h(), r.output])
            .map(|rate| rate.0)
            .collect();
        amounts.extend([self.fees.web_search_micro.0, self.fees.per_call_micro.0]);
        amounts
    }
}

/// Which display tariff is in force.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    #[default]
    Standard,
    Surge,
    Reduced,
}

/// The prices of one generation, frozen when its hold is placed; later changes never re-price it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Quote {
    /// The model the card is for: what is billed, whatever label the client used.
    pub model: String,
    pub card_version: u32,
    pub mode: Mode,
    /// The number of the internal window that set `billed`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub internal_window: Option<u32>,
    /// What is deducted.
    pub billed: Tariff,
    /// What is published, where that differs from what is deducted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub display: Option<Tariff>,
    /// What the provider charges.
    pub cost: Tariff,
}

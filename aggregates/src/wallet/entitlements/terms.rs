//! What an entitlement is: what it covers, for how long, and how much of it is fair use.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::ids::PlanId;
use crate::money::{MicroUsd, PicoUsd, Rate};
use crate::time::Timestamp;
use crate::usage::ClientFamily;

/// Windows that a plan's fair use is counted in, at most.
pub const MAX_WINDOWS: usize = 4;

/// Blocks that one grant may bring.
pub const MAX_BLOCKS: u32 = 100;

/// What is granted: `blocks` times `block_secs` of a plan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct EntitlementTerms {
    pub plan_id: PlanId,
    pub scope: Scope,
    /// As it was when granted; a hold is placed under the catalogue's of its own day.
    pub fair_use: FairUse,
    /// Seconds.
    pub block_secs: u32,
    pub blocks: u32,
}

impl EntitlementTerms {
    /// Seconds that are granted.
    pub fn length_secs(&self) -> i64 {
        i64::from(self.block_secs) * i64::from(self.blocks)
    }
}

/// The period that a payment is for, as the payment provider counts it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PaidPeriod {
    pub starts_at: Timestamp,
    pub ends_at: Timestamp,
}

impl PaidPeriod {
    /// When time bought for it ends. On a plan that runs until `running_until` it follows; after a gap it is what is
    /// left of the period, or the whole of one that was paid for when it was over. Never more than the period is long.
    pub fn end(self, running_until: Option<Timestamp>, now: Timestamp) -> Timestamp {
        let length_us = self.ends_at.0 - self.starts_at.0;
        match running_until {
            Some(running_until) => Timestamp(running_until.0 + length_us),
            None if self.ends_at > now => self.ends_at.min(Timestamp(now.0 + length_us)),
            None => Timestamp(now.0 + length_us),
        }
    }
}

/// Which generations a plan covers. A client's family is read from its headers, which can be forged:
/// a scope keeps honest clients within what they bought, the fair-use limits keep the others.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Scope {
    pub families: Vec<ClientFamily>,
    /// Billed models.
    pub models: Vec<String>,
}

impl Scope {
    pub fn covers(&self, family: ClientFamily, model: &str) -> bool {
        self.families.contains(&family) && self.models.iter().any(|covered| covered == model)
    }
}

/// How much a plan may be used, and at which prices that is counted. Private: customers see tokens
/// and a coarse share.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct FairUse {
    pub rates: AssumedRates,
    pub windows: Vec<FairUseWindow>,
}

/// What a token counts for against the limits, whatever it costs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AssumedRates {
    pub input: Rate,
    pub output: Rate,
}

impl AssumedRates {
    /// What `input` and `output` tokens count for, rounded once.
    pub fn count(&self, input_tokens: u64, output_tokens: u64) -> MicroUsd {
        let exact: PicoUsd = self.input.of(input_tokens) + self.output.of(output_tokens);
        exact.round().0
    }
}

/// A fixed window: opened by the first hold after the last one closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct FairUseWindow {
    /// Seconds.
    pub length_secs: u32,
    pub limit_micro: MicroUsd,
}

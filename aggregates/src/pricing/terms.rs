//! What the operator has set beside rates: the price of a call, billing policies, what serving is reckoned to cost.

use super::cards::is_model_name;
use super::{MAX_POLICIES, MAX_RATE, PolicyKey, PriceBook, PricingEvent, PricingRefusal};
use crate::money::{MicroUsd, Rate};
use crate::routing::ModelFamily;
use crate::time::Timestamp;
use crate::usage::{BillingPolicy, ClientFamily};
use serde::{Deserialize, Serialize};

/// What serving a family is reckoned to cost, whatever providers bill.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServingCost {
    pub input: Rate,
    pub output: Rate,
}

impl Default for ServingCost {
    fn default() -> Self {
        Self { input: Rate(5_000_000), output: Rate(30_000_000) }
    }
}

/// Which input of one client family is charged, whoever turns out to pay.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FamilyPolicies {
    /// From the wallet, and under every plan that has none of its own.
    pub by_wallet: BillingPolicy,
    pub by_plan: Vec<(String, BillingPolicy)>,
}

impl FamilyPolicies {
    pub fn of(&self, plan: Option<&str>) -> BillingPolicy {
        let own = self.by_plan.iter().find(|(id, _)| Some(id.as_str()) == plan);
        own.map_or(self.by_wallet, |(_, policy)| *policy)
    }

    /// Whether any payer's policy asks what a conversation was billed for before.
    pub fn ask_what_was_billed(&self) -> bool {
        let mut plans = self.by_plan.iter().map(|(_, policy)| *policy);
        self.by_wallet == BillingPolicy::Delta || plans.any(|policy| policy == BillingPolicy::Delta)
    }
}

impl PriceBook {
    /// What every call of a customer costs, beside what it uses.
    pub fn per_call_micro(&self) -> MicroUsd {
        self.per_call_micro
    }

    /// Which input of a client family is charged, under a plan or from the wallet: what was set for that plan, else
    /// for the family, else new input only for Codex and all of it for everyone else.
    pub fn billing_policy(&self, family: ClientFamily, plan: Option<&str>) -> BillingPolicy {
        self.family_policies(family).of(plan)
    }

    /// All that `billing_policy` says of a family, for who does not know yet which plan will pay.
    pub fn family_policies(&self, family: ClientFamily) -> FamilyPolicies {
        let set = || self.policies.iter().filter(move |(key, _)| key.family == family);
        let by_wallet = set().find(|(key, _)| key.plan.is_none()).map(|(_, policy)| *policy);
        FamilyPolicies {
            by_wallet: by_wallet.unwrap_or(match family {
                ClientFamily::CodexCli => BillingPolicy::Delta,
                ClientFamily::ClaudeCode
                | ClientFamily::Codexclaude
                | ClientFamily::OpenaiSdk
                | ClientFamily::AnthropicSdk
                | ClientFamily::Other => BillingPolicy::Full,
            }),
            by_plan: set().filter_map(|(key, policy)| Some((key.plan.clone()?, *policy))).collect(),
        }
    }

    /// Every policy that was set.
    pub fn billing_policies(&self) -> impl Iterator<Item = (ClientFamily, Option<&str>, BillingPolicy)> {
        self.policies.iter().map(|(key, policy)| (key.family, key.plan.as_deref(), *policy))
    }

    pub fn serving_cost(&self, family: ModelFamily) -> ServingCost {
        let set = self.serving_costs.iter().find(|(of, _)| *of == family);
        set.map_or_else(ServingCost::default, |(_, cost)| *cost)
    }

    pub(super) fn set_per_call(
        &self,
        amount_micro: MicroUsd,
        now: Timestamp,
    ) -> Result<Vec<PricingEvent>, PricingRefusal> {
        refuse_out_of_range(amount_micro.0)?;
        if amount_micro == self.per_call_micro {
            return Ok(vec![]);
        }
        Ok(vec![PricingEvent::PerCallPriceSet { amount_micro, at: now }])
    }

    pub(super) fn set_policy(
        &self,
        family: ClientFamily,
        plan: Option<String>,
        policy: Option<BillingPolicy>,
        now: Timestamp,
    ) -> Result<Vec<PricingEvent>, PricingRefusal> {
        if let Some(got) = plan.as_ref().filter(|plan| !is_model_name(plan) || plan.contains([':', '/'])) {
            return Err(PricingRefusal::BadPlanId { got: got.clone() });
        }
        let key = PolicyKey { family, plan };
        let before = self.policies.iter().find(|(set, _)| *set == key).map(|(_, policy)| *policy);
        if before == policy {
            return Ok(vec![]);
        }
        if before.is_none() && self.policies.len() >= MAX_POLICIES {
            return Err(PricingRefusal::TooManyPolicies);
        }
        let PolicyKey { family, plan } = key;
        Ok(vec![PricingEvent::BillingPolicySet { family, plan, policy, at: now }])
    }

    pub(super) fn set_serving_cost(
        &self,
        family: ModelFamily,
        cost: ServingCost,
        now: Timestamp,
    ) -> Result<Vec<PricingEvent>, PricingRefusal> {
        let ServingCost { input, output } = cost;
        refuse_out_of_range(input.0)?;
        refuse_out_of_range(output.0)?;
        if self.serving_cost(family) == cost {
            return Ok(vec![]);
        }
        Ok(vec![PricingEvent::ServingCostSet { family, input, output, at: now }])
    }
}

fn refuse_out_of_range(amount: i64) -> Result<(), PricingRefusal> {
    match (0..=MAX_RATE).contains(&amount) {
        true => Ok(()),
        false => Err(PricingRefusal::RateOutOfRange { amount }),
    }
}

//! Who pays for a generation: a plan or the wallet, decided at the hold and never split.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Entitlement;
use super::terms::AssumedRates;
use crate::ids::PlanId;
use crate::money::MicroUsd;
use crate::time::Timestamp;
use crate::wallet::{PlaceHold, Wallet, WalletRefusal};

/// The plan that pays for a hold, with what is counted of it, frozen.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PlanCover {
    pub plan_id: PlanId,
    pub rates: AssumedRates,
    /// The estimate that counts in each window until the hold is closed.
    pub counted_micro: MicroUsd,
    pub windows: Vec<WindowAtHold>,
}

/// A fair-use window as a hold found or opened it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct WindowAtHold {
    pub opened_at: Timestamp,
    pub ends_at: Timestamp,
    pub limit_micro: MicroUsd,
}

/// What a covered generation has used of its plan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PlanUse {
    pub plan_id: PlanId,
    /// At the rates frozen into the hold.
    pub used_micro: MicroUsd,
    /// Input that was not billed before, and output.
    pub input_tokens: u64,
    pub output_tokens: u64,
    /// The windows it counts in, by when they close.
    pub windows: Vec<Timestamp>,
}

impl PlanCover {
    /// What `input_tokens` and `output_tokens` use of the plan.
    pub(in crate::wallet) fn use_of(&self, input_tokens: u64, output_tokens: u64) -> PlanUse {
        PlanUse {
            plan_id: self.plan_id.clone(),
            used_micro: self.rates.count(input_tokens, output_tokens),
            input_tokens,
            output_tokens,
            windows: self.windows.iter().map(|window| window.ends_at).collect(),
        }
    }
}

impl Wallet {
    /// The plan that pays for `request`, or none where the wallet does.
    ///
    /// # Errors
    /// A customer with a plan is refused what it does not cover and the wallet may not pay.
    pub(in crate::wallet) fn cover(
        &self,
        request: &PlaceHold,
        expected_output: u64,
        now: Timestamp,
    ) -> Result<Option<PlanCover>, WalletRefusal> {
        let active = self.entitlements.active(now);
        let Some((first, first_plan)) = active.first() else { return Ok(None) };
        let covers = |plan: &Entitlement| plan.terms.scope.covers(request.family, &request.quote.model);
        let mut full: Option<(&PlanId, Timestamp)> = None;
        for &(plan_id, plan) in active.iter().filter(|(_, plan)| covers(plan)) {
            let fair_use = request.fair_use.get(plan_id).unwrap_or(&plan.terms.fair_use);
            match plan.admit(fair_use, now) {
                Ok(windows) => {
                    return Ok(Some(PlanCover {
                        plan_id: plan_id.clone(),
                        rates: fair_use.rates,
                        counted_micro: fair_use
                            .rates
                            .count(request.new_input(Some(plan_id)), expected_output),
                        windows,
                    }));
                }
                Err(resets_at) if full.is_none_or(|(_, soonest)| resets_at < soonest) => {
                    full = Some((plan_id, resets_at));
                }
                Err(_) => {}
            }
        }
        let fallback = self.entitlements.fallback;
        match full {
            Some(_) if fallback.past_fair_use => Ok(None),
            Some((plan_id, resets_at)) => {
                Err(WalletRefusal::FairUseReached { plan_id: plan_id.clone(), resets_at })
            }
            None if fallback.outside_scope && self.holds_paid_credit() => Ok(None),
            None => {
                let (plan_id, scope) = ((*first).clone(), Box::new(first_plan.terms.scope.clone()));
                Err(match fallback.outside_scope {
                    true => WalletRefusal::OutsidePlanWithoutCredit { plan_id, scope },
                    false => WalletRefusal::OutsidePlanSwitchedOff { plan_id, scope },
                })
            }
        }
    }

    fn holds_paid_credit(&self) -> bool {
        let paid = self.grants.iter().filter(|grant| grant.source.is_paid() && !grant.expired);
        paid.map(|grant| grant.remaining_micro).sum::<MicroUsd>().is_positive()
    }
}

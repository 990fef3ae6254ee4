//! Settling: reported or estimated usage becomes lines and a cost, once per generation.
//!
//! The wallet is asked in between (`rate`, then the wallet's rule, then `settle`), because only it
//! knows what it can pay; both streams are appended atomically.

use serde::{Deserialize, Serialize};

use super::{
    AttemptResult, BillingPolicy, ClientFamily, GenerationSettled, Mark, Outcome, Payer, Protocol, Timings,
    TokenUsage, Usage, UsageEvent, UsageRefusal, UsageSource,
};
use crate::ids::{GenerationId, KeyId};
use crate::money::MicroUsd;
use crate::pricing::rating::{Rated, rate};
use crate::pricing::tariff::Quote;
use crate::time::Timestamp;
use crate::wallet::entitlements::PlanUse;
use crate::wallet::events::GrantPart;

/// The input items of one request, as cumulative keyed digests.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct InputPrefix {
    /// `digests[n − 1]` covers the first n input items; lower-case hex.
    pub digests: std::sync::Arc<Vec<String>>,
    /// Estimated tokens of instructions and tools.
    pub fixed_tokens: u64,
}

impl InputPrefix {
    /// The digest over the first `items` items, or `None` where there are fewer.
    pub fn digest_after(&self, items: u32) -> Option<&str> {
        let index = usize::try_from(items).ok()?.checked_sub(1)?;
        self.digests.get(index).map(String::as_str)
    }
}

/// Everything known of a generation when it ends.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SettleGeneration {
    pub generation_id: GenerationId,
    pub payer: Payer,
    pub key_id: KeyId,
    pub family: ClientFamily,
    pub protocol: Protocol,
    /// The label the client asked for.
    pub model: String,
    pub served_model: String,
    pub provider: String,
    pub provider_response_id: Option<String>,
    pub outcome: Outcome,
    pub usage_source: UsageSource,
    pub usage: Usage,
    /// The most the estimate may cost (the hold's worst case); reported usage is charged in full.
    pub estimate_cap_micro: MicroUsd,
    pub quote: Quote,
    pub policy: BillingPolicy,
    /// Absent where the client names no conversation.
    pub prefix: Option<InputPrefix>,
    /// In order; the last one served, and its cost is set here.
    pub attempts: Vec<AttemptResult>,
    pub timings: Timings,
    pub now: Timestamp,
}

impl SettleGeneration {
    /// Rates × capped tokens cannot leave the range of micro-USD, so nothing after this overflows.
    ///
    /// # Errors
    /// `AbsurdUsage`, which the gateway should have replaced by an estimate.
    pub fn refuse_absurd_usage(&self) -> Result<(), UsageRefusal> {
        let generation_id = self.generation_id;
        if self.usage.is_absurd() { Err(UsageRefusal::AbsurdUsage { generation_id }) } else { Ok(()) }
    }
}

/// What a generation costs, before anyone has paid.
#[derive(Clone, Debug, PartialEq)]
pub struct RatedGeneration {
    pub already_billed_tokens: u64,
    /// The generation whose mark that was read from.
    pub continues: Option<GenerationId>,
    pub rated: Rated,
    /// micro-USD, after the cap on estimates.
    pub cost_micro: MicroUsd,
    /// What the provider charges the operator for `usage`.
    pub provider_cost_micro: MicroUsd,
}

/// How a cost was met: `cost = charged + covered_by_plan + shortfall`, unless insured, when all are 0.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct WalletShare {
    pub cost_micro: MicroUsd,
    pub charged_micro: MicroUsd,
    pub covered_by_plan_micro: MicroUsd,
    pub shortfall_micro: MicroUsd,
    pub insured_micro: MicroUsd,
    pub from: Vec<GrantPart>,
    /// What it used of the plan that pays.
    pub plan: Option<Box<PlanUse>>,
    /// Absent for operator principals.
    pub balance_micro: Option<MicroUsd>,
}

impl TokenUsage {
    /// Prices a generation against how far this conversation has been billed. Absurd usage has been
    /// refused before.
    pub fn rate(&self, command: &SettleGeneration) -> RatedGeneration {
        let billed_before = match (command.policy, &command.prefix) {
            (BillingPolicy::Delta, Some(prefix)) => self.billed_before(&command.quote.model, prefix),
            (BillingPolicy::Delta, None) | (BillingPolicy::Full, _) => None,
        };
        let already_billed = billed_before.map_or(0, |(_, tokens)| tokens);
        let total_input = command.usage.total_input();
        let billable = command.usage.beyond(already_billed);
        let rated = rate(&billable, total_input, &command.quote.billed);
        let cost_micro = match command.usage_source {
            UsageSource::Reported => rated.total_micro,
            UsageSource::Estimated | UsageSource::Rejected => {
                rated.total_micro.min(command.estimate_cap_micro)
            }
        };
        RatedGeneration {
            already_billed_tokens: total_input - billable.total_input(),
            continues: billed_before.map(|(generation_id, _)| generation_id),
            cost_micro,
            provider_cost_micro: rate(&command.usage, total_input, &command.quote.cost).total_micro,
            rated,
        }
    }

    /// Records a settled generation. No event where it is settled already for the same usage; other
    /// usage is refused.
    pub fn settle(
        &self,
        command: SettleGeneration,
        rated: RatedGeneration,
        share: WalletShare,
    ) -> Result<Vec<UsageEvent>, UsageRefusal> {
        let generation_id = command.generation_id;
        if self.is_settled_alike(&command)? {
            return Ok(vec![]);
        }
        if command.payer == Payer::Operator && !self.is_open(generation_id) {
            return Err(UsageRefusal::NotOpen { generation_id });
        }
        assert_eq!(
            share.cost_micro,
            share.charged_micro + share.covered_by_plan_micro + share.shortfall_micro,
            "cost = charged + covered by plan + shortfall"
        );
        let mark = mark_of(&command, &share);
        let mut attempts = command.attempts;
        if let Some(serving) = attempts.last_mut() {
            serving.provider_cost_micro = rated.provider_cost_micro;
        }
        Ok(vec![UsageEvent::GenerationSettled(Box::new(GenerationSettled {
            generation_id,
            payer: command.payer,
            key_id: command.key_id,
            family: command.family,
            protocol: command.protocol,
            mark,
            model: command.model,
            billed_model: command.quote.model,
            served_model: command.served_model,
            provider: command.provider,
            provider_response_id: command.provider_response_id,
            outcome: command.outcome,
            usage_source: command.usage_source,
            usage: command.usage,
            policy: command.policy,
            already_billed_tokens: rated.already_billed_tokens,
            continues: rated.continues,
            card_version: command.quote.card_version,
            mode: command.quote.mode,
            internal_window: command.quote.internal_window,
            lines: rated.rated.lines,
            remainder_pico: rated.rated.remainder_pico,
            cost_micro: share.cost_micro,
            charged_micro: share.charged_micro,
            covered_by_plan_micro: share.covered_by_plan_micro,
            shortfall_micro: share.shortfall_micro,
            insured_micro: share.insured_micro,
            from: share.from,
            plan: share.plan,
            provider_cost_micro: attempts.iter().map(|attempt| attempt.provider_cost_micro).sum(),
            attempts,
            timings: command.timings,
            balance_micro: share.balance_micro,
            at: command.now,
        }))])
    }

    /// Whether this very generation is settled already for the same usage.
    ///
    /// # Errors
    /// `SettledDifferently` for other usage, `AlreadyReversed` after a reversal.
    pub fn is_settled_alike(&self, command: &SettleGeneration) -> Result<bool, UsageRefusal> {
        let generation_id = command.generation_id;
        let Some(settled) = self.settled(generation_id) else { return Ok(false) };
        if settled.reversed {
            return Err(UsageRefusal::AlreadyReversed { generation_id });
        }
        let alike = (settled.usage, settled.outcome, settled.usage_source)
            == (command.usage, command.outcome, command.usage_source);
        if alike { Ok(true) } else { Err(UsageRefusal::SettledDifferently { generation_id }) }
    }
}

/// Only a charged or plan-covered generation whose input the provider itself counted sets a mark.
fn mark_of(command: &SettleGeneration, share: &WalletShare) -> Option<Mark> {
    let paid = share.charged_micro.is_positive() || share.covered_by_plan_micro.is_positive();
    if !paid || command.usage_source != UsageSource::Reported {
        return None;
    }
    let prefix = command.prefix.as_ref()?;
    let items = u32::try_from(prefix.digests.len()).ok()?;
    Some(Mark {
        items,
        digest: prefix.digest_after(items)?.to_owned(),
        input_tokens: command.usage.total_input(),
        fixed_tokens: prefix.fixed_tokens,
    })
}

//! The two-stream rules: a generation ends in its usage stream and in the payer's wallet at once.
//!
//! Each function looks at both aggregates and returns the events of both; the caller appends them
//! atomically. Nothing else closes a hold with a charge.

use serde::{Deserialize, Serialize};

use crate::ids::GenerationId;
use crate::money::MicroUsd;
use crate::time::Timestamp;
use crate::usage::{
    Outcome, Payer, SettleGeneration, TokenUsage, UsageEvent, UsageRefusal, UsageSource, WalletShare,
};
use crate::wallet::{
    ChargedBy, ProviderFailure, ReversalReason, SettleHold, Wallet, WalletAction, WalletCommand, WalletEvent,
    WalletRefusal, WalletTerms,
};

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
pub enum SettlementRefusal {
    #[error(transparent)]
    Usage(#[from] UsageRefusal),
    #[error(transparent)]
    Wallet(#[from] WalletRefusal),
}

/// What a settlement came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settlement {
    pub charged_micro: MicroUsd,
    /// After the charge.
    pub balance_micro: MicroUsd,
    /// It was settled before, for the same usage; nothing was appended.
    pub repeated: bool,
}

/// Events for a usage stream and for a wallet, to be appended atomically.
pub type BothStreams = (Vec<UsageEvent>, Vec<WalletEvent>, Settlement);

/// Settles a customer's generation.
///
/// # Errors
/// Refused where the generation has no hold, or was settled for other usage, or reversed, or where
/// its usage is absurd.
pub fn settle(
    usage: &TokenUsage,
    wallet: &Wallet,
    command: &SettleGeneration,
    terms: &WalletTerms,
) -> Result<BothStreams, SettlementRefusal> {
    if usage.is_settled_alike(command)? {
        let charged_micro = usage.settled(command.generation_id).map_or(MicroUsd::ZERO, |s| s.charged_micro);
        let repeated = Settlement { charged_micro, balance_micro: wallet.balance(), repeated: true };
        return Ok((vec![], vec![], repeated));
    }
    command.refuse_absurd_usage()?;
    let rated = usage.rate(command);
    let wallet_events = wallet.decide(WalletCommand {
        action: WalletAction::SettleHold(SettleHold {
            generation_id: command.generation_id,
            cost_micro: rated.cost_micro,
            new_input_tokens: command.usage.total_input() - rated.already_billed_tokens,
            output_tokens: command.usage.output,
            model: command.quote.model.clone(),
            provider_failure: provider_failure(command),
        }),
        terms: terms.clone(),
        now: command.now,
    })?;
    let share = share_of(&wallet_events, command.generation_id);
    let settlement = Settlement {
        charged_micro: share.charged_micro,
        balance_micro: wallet_events.last().map_or(MicroUsd::ZERO, WalletEvent::balance),
        repeated: false,
    };
    let usage_events = usage.settle(command.clone(), rated, share)?;
    Ok((usage_events, wallet_events, settlement))
}

/// Settles an operator principal's generation: nobody is charged, the provider's cost is recorded.
///
/// # Errors
/// Refused where the generation was never opened, or was settled for other usage, or where its usage
/// is absurd.
pub fn settle_operator(
    usage: &TokenUsage,
    command: &SettleGeneration,
) -> Result<Vec<UsageEvent>, SettlementRefusal> {
    command.refuse_absurd_usage()?;
    let rated = usage.rate(command);
    Ok(usage.settle(command.clone(), rated, WalletShare::default())?)
}

/// Takes a whole charge back, once; the parts return to the grants they came from.
///
/// # Errors
/// Refused where the generation is not among the stream's last settled ones.
pub fn reverse(
    usage: &TokenUsage,
    wallet: &Wallet,
    generation_id: GenerationId,
    reason: ReversalReason,
    terms: &WalletTerms,
    now: Timestamp,
) -> Result<BothStreams, SettlementRefusal> {
    let usage_events = usage.reverse(generation_id, reason, now)?;
    let settled = usage.settled(generation_id).ok_or(UsageRefusal::UnknownGeneration { generation_id })?;
    let took_nothing = settled.from.is_empty() && settled.plan.is_none();
    let nothing_to_give_back = usage_events.is_empty() || took_nothing;
    let wallet_events = if nothing_to_give_back {
        vec![]
    } else {
        let parts = settled.from.clone();
        let charged = Some(ChargedBy { key_id: settled.key_id, at: settled.settled_at });
        let plan = settled.plan.clone();
        let action = WalletAction::ReverseCharge { generation_id, reason, parts, charged, plan };
        wallet.decide(WalletCommand { action, terms: terms.clone(), now })?
    };
    let settlement = Settlement {
        charged_micro: MicroUsd::ZERO,
        balance_micro: wallet_events.last().map_or_else(|| wallet.balance(), WalletEvent::balance),
        repeated: usage_events.is_empty(),
    };
    Ok((usage_events, wallet_events, settlement))
}

fn provider_failure(command: &SettleGeneration) -> ProviderFailure {
    debug_assert_ne!(command.payer, Payer::Operator, "an operator's generation has no wallet");
    match (command.outcome, command.usage_source) {
        (Outcome::UpstreamFailed, UsageSource::Reported) => ProviderFailure::Reported,
        (Outcome::UpstreamFailed, UsageSource::Estimated | UsageSource::Rejected) => {
            ProviderFailure::Unreported
        }
        (Outcome::ToldFailed, _) => ProviderFailure::Unreported,
        (Outcome::Completed | Outcome::ClientLeft | Outcome::DrainLimit, _) => ProviderFailure::None,
    }
}

/// How the wallet met the cost, read from its own event.
fn share_of(events: &[WalletEvent], settled: GenerationId) -> WalletShare {
    events
        .iter()
        .find_map(|event| match event {
            WalletEvent::UsageCharged {
                generation_id,
                cost_micro,
                charged_micro,
                covered_by_plan_micro,
                shortfall_micro,
                insured_micro,
                from,
                plan,
                balance_micro,
                ..
            } if *generation_id == settled => Some(WalletShare {
                cost_micro: *cost_micro,
                charged_micro: *charged_micro,
                covered_by_plan_micro: *covered_by_plan_micro,
                shortfall_micro: *shortfall_micro,
                insured_micro: *insured_micro,
                from: from.clone(),
                plan: plan.clone(),
                balance_micro: Some(*balance_micro),
            }),
            _ => None,
        })
        .expect("settling a hold always emits its charge")
}

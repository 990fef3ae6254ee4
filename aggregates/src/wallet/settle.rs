//! Closing a hold: charged, or released.

use super::events::{ReleaseReason, WalletEvent};
use super::{Decision, WalletRefusal};
use crate::ids::GenerationId;
use crate::money::MicroUsd;
use crate::usage::AttemptResult;

/// Closes a hold, open or expired, with what the generation cost.
#[derive(Clone, Debug, PartialEq)]
pub struct SettleHold {
    pub generation_id: GenerationId,
    pub cost_micro: MicroUsd,
    /// Input that was not billed before.
    pub new_input_tokens: u64,
    pub output_tokens: u64,
    /// The billed model.
    pub model: String,
    pub provider_failure: ProviderFailure,
}

/// Whether the provider failed after output had begun, which customers are insured against.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProviderFailure {
    /// It did not fail: the cost is charged.
    None,
    /// It failed and reported usage: free within the day's insurance, charged above it.
    Reported,
    /// It failed and reported nothing: never charged.
    Unreported,
}

impl Decision<'_> {
    /// A charge above the hold is charged in full; what the balance cannot cover is shortfall.
    pub(super) fn settle_hold(&mut self, command: SettleHold) -> Result<(), WalletRefusal> {
        let SettleHold {
            generation_id,
            cost_micro,
            new_input_tokens,
            output_tokens,
            model,
            provider_failure,
        } = command;
        let wallet = self.wallet.as_ref();
        let open = wallet.holds.get(&generation_id).map(|hold| (hold, false));
        let expired = || wallet.expired_hold(generation_id, self.now).map(|hold| (hold, true));
        let (hold, late) = open.or_else(expired).ok_or(WalletRefusal::UnknownHold { generation_id })?;
        let insured = match provider_failure {
            ProviderFailure::None => false,
            ProviderFailure::Reported => wallet.history.is_insured(cost_micro, &self.terms, self.now),
            ProviderFailure::Unreported => true,
        };
        let (cost_micro, insured_micro) =
            if insured { (MicroUsd::ZERO, cost_micro) } else { (cost_micro, MicroUsd::ZERO) };
        let from = match &hold.plan {
            Some(_) => vec![],
            None => wallet.parts_for(cost_micro, hold.placed_at),
        };
        let charged_micro: MicroUsd = from.iter().map(|part| part.amount_micro).sum();
        let covered_by_plan_micro = if hold.plan.is_some() { cost_micro } else { MicroUsd::ZERO };
        // What the customer is insured against counts for nothing.
        let (used_input, used_output) = if insured { (0, 0) } else { (new_input_tokens, output_tokens) };
        let plan = hold.plan.as_ref().map(|cover| Box::new(cover.use_of(used_input, used_output)));
        let still_held = if late { MicroUsd::ZERO } else { hold.amount_micro };
        let event = WalletEvent::UsageCharged {
            generation_id,
            model,
            output_tokens,
            cost_micro,
            charged_micro,
            covered_by_plan_micro,
            shortfall_micro: cost_micro - charged_micro - covered_by_plan_micro,
            insured_micro,
            from,
            plan,
            late,
            balance_micro: wallet.balance() - charged_micro,
            held_micro: wallet.held_micro - still_held,
            at: self.now,
        };
        self.emit_closing(event);
        Ok(())
    }

    /// Frees a hold of which nothing is charged. A hold that has expired is free already.
    pub(super) fn release_hold(
        &mut self,
        generation_id: GenerationId,
        reason: ReleaseReason,
        attempts: Vec<AttemptResult>,
    ) -> Result<(), WalletRefusal> {
        let wallet = self.wallet.as_ref();
        let open = wallet.holds.get(&generation_id).map(|hold| hold.amount_micro);
        let expired = || wallet.expired_hold(generation_id, self.now).map(|_| MicroUsd::ZERO);
        let still_held = open.or_else(expired).ok_or(WalletRefusal::UnknownHold { generation_id })?;
        let event = WalletEvent::HoldReleased {
            generation_id,
            reason,
            attempts,
            balance_micro: wallet.balance(),
            held_micro: wallet.held_micro - still_held,
            at: self.now,
        };
        self.emit_closing(event);
        Ok(())
    }
}

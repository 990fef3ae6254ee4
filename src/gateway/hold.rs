//! Making a generation durable before anything of it leaves: an operator's in its usage stream, a customer's as a
//! hold in the wallet, for which it may have to wait.

use std::sync::atomic::{AtomicBool, Ordering};

use codexapi_aggregates::ids::PlanId;
use codexapi_aggregates::money::MicroUsd;
use codexapi_aggregates::time::Timestamp;
use codexapi_aggregates::usage::{Payer, TokenUsage};
use codexapi_aggregates::wallet::entitlements::Scope;
use codexapi_aggregates::wallet::{PlaceHold, Wallet, WalletRefusal};

use super::admission::{Asked, NotAdmitted};
use super::begin::{not_durable, unavailable};
use super::generation::Generation;
use super::refusal::GatewayError;
use super::told::KeyHeadroom;
use super::{Answer, Gateway};
use crate::clock;
use crate::commands::CommandError;
use crate::nodes::Ran;
use crate::nodes::command::{Held, HoldCredit};

impl Gateway {
    /// Makes the generation durable before anything of it leaves; `false` where the client left while it
    /// waited.
    pub(super) async fn hold(
        &self,
        generation: &mut Generation,
        hold: PlaceHold,
        answer: &mut Answer,
    ) -> Result<bool, GatewayError> {
        let Payer::Wallet { account_id } = generation.payer else {
            let PlaceHold { generation_id, key_id, attempt, .. } = hold;
            self.log
                .execute(&generation.usage_stream, &generation.metadata, |usage: &TokenUsage, now| {
                    usage.open(generation_id, key_id, attempt.clone(), now)
                })
                .await
                .map_err(not_durable)?;
            return Ok(true);
        };
        let (terms, metadata) = (self.settings.terms.clone(), generation.metadata.clone());
        let command = HoldCredit { account_id, hold, terms, metadata };
        let Some(held) = self.hold_credit(generation, &command, answer).await? else {
            return Ok(false);
        };
        generation.worst_micro = held.worst_micro;
        generation.balance_micro = Some(held.balance_micro);
        generation.by_plan = held.plan_id.is_some();
        generation.policy = command.hold.policies.of(held.plan_id.as_ref().map(PlanId::as_str));
        if let Some(key_use) = held.key_use {
            generation.limits = KeyHeadroom::new(&command.hold.limits, &key_use, clock::now());
        }
        Ok(true)
    }

    async fn hold_credit(
        &self,
        generation: &Generation,
        command: &HoldCredit,
        answer: &mut Answer,
    ) -> Result<Option<Held>, GatewayError> {
        let may_be_held = AtomicBool::new(false);
        let ask = || async {
            if self.cut_off.is_cancelled() {
                return Asked::Refused(GatewayError::CutOff);
            }
            let Ran { outcome, elsewhere_too } = self.homes.run(command).await;
            may_be_held.fetch_or(elsewhere_too || may_be_stored(&outcome), Ordering::Relaxed);
            match outcome {
                Ok(held) => Asked::Admitted(held),
                Err(CommandError::Refused(WalletRefusal::MustWait { .. })) => Asked::MustWait,
                Err(CommandError::Refused(refusal)) => Asked::Refused(refused(&refusal)),
                Err(error) => Asked::Refused(not_durable(error)),
            }
        };
        let nobody_waits = async {
            tokio::select! {
                () = answer.closed() => {}
                () = self.cut_off.cancelled() => {}
            }
        };
        let admitted = self.admission.admit(command.account_id, nobody_waits, ask).await;
        if admitted.is_err() && may_be_held.into_inner() {
            self.settlements.release_what_may_be_held(generation.ending());
        }
        match admitted {
            Ok(held) => Ok(Some(held)),
            Err(NotAdmitted::ClientLeft) if answer.is_closed() => Ok(None),
            Err(NotAdmitted::ClientLeft) => Err(GatewayError::CutOff),
            Err(NotAdmitted::Refused(error)) => Err(error),
            Err(NotAdmitted::StillWaiting) => {
                let running = self
                    .log
                    .read(&command.account_id.to_string(), |wallet: &Wallet| wallet.open_holds().count())
                    .await
                    .map_err(unavailable)?;
                Err(GatewayError::StillWaiting { running })
            }
        }
    }
}

/// Whether a hold may be in the log though nobody knows it as placed.
fn may_be_stored(outcome: &Result<Held, CommandError<WalletRefusal>>) -> bool {
    match outcome {
        Ok(_)
        | Err(
            CommandError::Refused(_)
            | CommandError::IdempotencyMismatch { .. }
            | CommandError::TooMuchContention
            | CommandError::Overloaded,
        ) => false,
        Err(CommandError::Unavailable { outcome_unknown, .. }) => *outcome_unknown,
        Err(CommandError::Failed(_)) => true,
    }
}

fn refused(refusal: &WalletRefusal) -> GatewayError {
    match refusal {
        WalletRefusal::InsufficientCredit { available, requested } => {
            GatewayError::InsufficientCredit { available: *available, requested: *requested }
        }
        WalletRefusal::InDebt { debt } => GatewayError::InDebt { debt: *debt },
        WalletRefusal::CashInDebt { debt } => GatewayError::CashInDebt { debt: *debt },
        WalletRefusal::RequestsPerMinute { limit, retry_secs } => {
            GatewayError::TooManyRequests { limit: *limit, retry_secs: *retry_secs }
        }
        WalletRefusal::TokensPerMinute { limit, used, requested, retry_secs } => {
            GatewayError::TooManyTokens {
                limit: *limit,
                used: *used,
                requested: *requested,
                retry_secs: *retry_secs,
            }
        }
        WalletRefusal::LargerThanTokensPerMinute { limit, requested } => {
            GatewayError::RequestBeyondTokenLimit { limit: *limit, requested: *requested }
        }
        WalletRefusal::ParallelRequests { limit } => GatewayError::TooManyParallel { limit: *limit },
        WalletRefusal::DailyBudget { limit_micro, spent_micro, resets_at } => {
            budget_spent("daily", *limit_micro, *spent_micro, *resets_at)
        }
        WalletRefusal::MonthlyBudget { limit_micro, spent_micro, resets_at } => {
            budget_spent("monthly", *limit_micro, *spent_micro, *resets_at)
        }
        WalletRefusal::BudgetMayBeSpent { running, worst_micro, left_micro } => {
            GatewayError::BudgetMayBeSpent { running: *running, worst: *worst_micro, left: *left_micro }
        }
        WalletRefusal::FairUseReached { plan_id, resets_at } => {
            GatewayError::FairUseReached { plan: plan_id.clone(), resets_at: clock::rfc3339(*resets_at) }
        }
        WalletRefusal::OutsidePlanSwitchedOff { plan_id, scope } => {
            GatewayError::OutsidePlanSwitchedOff { plan: plan_id.clone(), covers: covered_by(scope) }
        }
        WalletRefusal::OutsidePlanWithoutCredit { plan_id, scope } => {
            GatewayError::OutsidePlanWithoutCredit { plan: plan_id.clone(), covers: covered_by(scope) }
        }
        WalletRefusal::MustWait { .. }
        | WalletRefusal::HoldExists { .. }
        | WalletRefusal::UnknownHold { .. }
        | WalletRefusal::AttemptOutOfOrder { .. }
        | WalletRefusal::TooManyAttempts { .. }
        | WalletRefusal::GrantExists { .. }
        | WalletRefusal::UnknownGrant { .. }
        | WalletRefusal::AmountOutOfRange { .. }
        | WalletRefusal::PurchaseExists { .. }
        | WalletRefusal::AdjustmentExists { .. }
        | WalletRefusal::MoreThanTakenBack { .. }
        | WalletRefusal::ExpiresInThePast
        | WalletRefusal::TooManyGrants { .. }
        | WalletRefusal::EntitlementExists { .. }
        | WalletRefusal::BlocksOutOfRange { .. }
        | WalletRefusal::TooManyPlans { .. }
        | WalletRefusal::TooManyEntitlements { .. }
        | WalletRefusal::EndOutOfRange { .. } => {
            tracing::error!(%refusal, "a hold was refused for a reason that holds do not have");
            GatewayError::Internal
        }
    }
}

/// What a plan covers, for people.
fn covered_by(scope: &Scope) -> String {
    let families: Vec<&str> = scope.families.iter().map(|family| family.label()).collect();
    format!("{} with {}", families.join(" and "), scope.models.join(" and "))
}

fn budget_spent(
    period: &'static str,
    limit: MicroUsd,
    spent: MicroUsd,
    resets_at: Timestamp,
) -> GatewayError {
    GatewayError::BudgetSpent { period, limit, spent, resets_at: clock::rfc3339(resets_at) }
}

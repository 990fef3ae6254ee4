//! Making a generation durable before anything of it leaves: an operator's in its usage stream, a customer's as a
//! hold in the wallet, for which it may have to wait.

use codexapi_aggregates::ids::{AccountId, PlanId};
use codexapi_aggregates::money::MicroUsd;
use codexapi_aggregates::time::Timestamp;
use codexapi_aggregates::usage::{Payer, TokenUsage};
use codexapi_aggregates::wallet::entitlements::Scope;
use codexapi_aggregates::wallet::{
    HoldLimits, PlaceHold, Wallet, WalletAction, WalletCommand, WalletEvent, WalletRefusal,
};

use super::admission::{Asked, NotAdmitted};
use super::begin::{not_durable, unavailable};
use super::generation::Generation;
use super::refusal::GatewayError;
use super::told::KeyHeadroom;
use super::{Answer, Gateway};
use crate::clock;
use crate::commands::CommandError;

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
        let Some(placed) = self.hold_credit(generation, account_id, &hold, answer).await? else {
            return Ok(false);
        };
        generation.worst_micro = placed.worst_micro;
        generation.balance_micro = Some(placed.balance_micro);
        generation.by_plan = placed.plan_id.is_some();
        generation.policy = hold.policies.of(placed.plan_id.as_ref().map(PlanId::as_str));
        if hold.limits != HoldLimits::default() {
            generation.limits = self.headroom(account_id, &hold).await?;
        }
        Ok(true)
    }

    async fn hold_credit(
        &self,
        generation: &Generation,
        account_id: AccountId,
        hold: &PlaceHold,
        answer: &mut Answer,
    ) -> Result<Option<Placed>, GatewayError> {
        let wallet_stream = account_id.to_string();
        let ask = || async {
            let placed = self
                .log
                .execute(&wallet_stream, &generation.metadata, |wallet: &Wallet, now| {
                    let action = WalletAction::PlaceHold(Box::new(hold.clone()));
                    wallet.decide(WalletCommand { action, terms: self.settings.terms.clone(), now })
                })
                .await;
            match placed {
                Ok(committed) => Asked::Admitted(placed_in(&committed.events)),
                Err(CommandError::Refused(WalletRefusal::MustWait { .. })) => Asked::MustWait,
                Err(CommandError::Refused(refusal)) => Asked::Refused(refused(&refusal)),
                Err(error) => Asked::Refused(not_durable(error)),
            }
        };
        match self.admission.admit(account_id, answer.closed(), ask).await {
            Ok(placed) => Ok(Some(placed)),
            Err(NotAdmitted::ClientLeft) => Ok(None),
            Err(NotAdmitted::Refused(error)) => Err(error),
            Err(NotAdmitted::StillWaiting) => {
                let running = self
                    .log
                    .read(&wallet_stream, |wallet: &Wallet| wallet.open_holds().count())
                    .await
                    .map_err(unavailable)?;
                Err(GatewayError::StillWaiting { running })
            }
        }
    }

    /// What is left of the key's limits after this hold.
    async fn headroom(&self, account_id: AccountId, hold: &PlaceHold) -> Result<KeyHeadroom, GatewayError> {
        let now = clock::now();
        self.log
            .read(&account_id.to_string(), |wallet: &Wallet| {
                KeyHeadroom::new(&hold.limits, &wallet.key_use(hold.key_id, now), now)
            })
            .await
            .map_err(unavailable)
    }
}

/// A hold as it was placed.
struct Placed {
    worst_micro: MicroUsd,
    balance_micro: MicroUsd,
    plan_id: Option<PlanId>,
}

fn placed_in(events: &[WalletEvent]) -> Placed {
    events
        .iter()
        .find_map(|event| match event {
            WalletEvent::HoldPlaced { worst_micro, balance_micro, plan, .. } => Some(Placed {
                worst_micro: *worst_micro,
                balance_micro: *balance_micro,
                plan_id: plan.as_ref().map(|cover| cover.plan_id.clone()),
            }),
            _ => None,
        })
        .expect("placing a hold always emits it")
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

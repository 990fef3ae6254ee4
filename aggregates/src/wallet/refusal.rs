//! Why a wallet does not do what it is asked, each with its numbers.

use serde::{Deserialize, Serialize};

use super::entitlements::Scope;
use crate::ids::{AdjustmentId, GenerationId, GrantId, PlanId, PurchaseId};
use crate::money::MicroUsd;
use crate::time::Timestamp;

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
pub enum WalletRefusal {
    #[error("the balance of ${available} does not cover ${requested}")]
    InsufficientCredit { available: MicroUsd, requested: MicroUsd },
    #[error("a payment was taken back and ${debt} of it is owed; the next top-up pays that first")]
    InDebt { debt: MicroUsd },
    #[error("the Cash Wallet owes ${debt} of a payment that was taken back; loading it pays that first")]
    CashInDebt { debt: MicroUsd },
    #[error("{open_holds} requests are still running on this balance")]
    MustWait { open_holds: usize },
    #[error("generation {generation_id} has a hold already")]
    HoldExists { generation_id: GenerationId },
    #[error("generation {generation_id} has no hold here")]
    UnknownHold { generation_id: GenerationId },
    #[error("grant {grant_id} exists already")]
    GrantExists { grant_id: GrantId },
    #[error("grant {grant_id} is no longer known here; credit the difference instead")]
    UnknownGrant { grant_id: GrantId },
    #[error("an amount is more than $0 and at most ${most}; ${amount} is not")]
    AmountOutOfRange { amount: MicroUsd, most: MicroUsd },
    #[error("purchase {purchase_id} was made already")]
    PurchaseExists { purchase_id: PurchaseId },
    #[error("adjustment {adjustment_id} was made already")]
    AdjustmentExists { adjustment_id: AdjustmentId },
    #[error("of payment {payment_id} ${taken} is taken back, so ${requested} cannot be given back")]
    MoreThanTakenBack { payment_id: GrantId, taken: MicroUsd, requested: MicroUsd },
    #[error("credit that expires must expire in the future")]
    ExpiresInThePast,
    #[error("a wallet has at most {most} live grants")]
    TooManyGrants { most: usize },
    #[error("attempt {expected} is the next, not attempt {got}")]
    AttemptOutOfOrder { expected: u32, got: u32 },
    #[error("a generation has at most {most} attempts")]
    TooManyAttempts { most: u32 },
    #[error("this key may make {limit} requests a minute; try again in {retry_secs} s")]
    RequestsPerMinute { limit: u32, retry_secs: u32 },
    #[error(
        "this key may use {limit} tokens a minute, of which {used} are used, and this request brings {requested}; try again in {retry_secs} s"
    )]
    TokensPerMinute { limit: u64, used: u64, requested: u64, retry_secs: u32 },
    #[error("this key may use {limit} tokens a minute; a request of {requested} is larger than that")]
    LargerThanTokensPerMinute { limit: u64, requested: u64 },
    #[error("this key may have {limit} requests running at a time")]
    ParallelRequests { limit: u32 },
    #[error("this key may spend ${limit_micro} a day (UTC), of which ${spent_micro} is spent")]
    DailyBudget { limit_micro: MicroUsd, spent_micro: MicroUsd, resets_at: Timestamp },
    #[error("this key may spend ${limit_micro} a month (UTC), of which ${spent_micro} is spent")]
    MonthlyBudget { limit_micro: MicroUsd, spent_micro: MicroUsd, resets_at: Timestamp },
    #[error(
        "with the {running} requests of this key that are running, this one may cost ${worst_micro}, and ${left_micro} of the key's budget is left"
    )]
    BudgetMayBeSpent { running: usize, worst_micro: MicroUsd, left_micro: MicroUsd },
    #[error("the fair use of plan {plan_id} is reached until {resets_at}")]
    FairUseReached { plan_id: PlanId, resets_at: Timestamp },
    #[error("plan {plan_id} does not cover this, and the wallet is switched off for what it does not cover")]
    OutsidePlanSwitchedOff { plan_id: PlanId, scope: Box<Scope> },
    #[error("plan {plan_id} does not cover this, and the wallet holds no paid credit")]
    OutsidePlanWithoutCredit { plan_id: PlanId, scope: Box<Scope> },
    #[error("entitlement {entitlement_id} exists already")]
    EntitlementExists { entitlement_id: GrantId },
    #[error("a grant brings 1 to {most} blocks of a plan, not {got}")]
    BlocksOutOfRange { got: u32, most: u32 },
    #[error("a wallet has at most {most} plans at a time")]
    TooManyPlans { most: usize },
    #[error("at most {most} grants of one plan follow one another")]
    TooManyEntitlements { most: usize },
    #[error("an entitlement has some length and ends within {most_days} days")]
    EndOutOfRange { most_days: i64 },
}

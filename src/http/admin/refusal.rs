//! What operators are told when a decision of theirs is refused.

use codexapi_aggregates::catalog::CatalogRefusal;
use codexapi_aggregates::pricing::{PricingRefusal, WindowRefusal};
use codexapi_aggregates::routing::PolicyRefusal;
use codexapi_aggregates::service::ServiceRefusal;
use codexapi_aggregates::wallet::WalletRefusal;
use codexapi_protocols::errors::ErrorKind;
use http::StatusCode;

use crate::accounts::{AdjustRefusal, HoursRefusal, LimitsError};
use crate::http::error::Problem;

/// 409 where the same decision would be fine in another state, 400 where it never is.
pub fn of_policy(refusal: &PolicyRefusal) -> (StatusCode, &'static str) {
    use PolicyRefusal as R;
    match refusal {
        R::BadModelName { .. } => (StatusCode::BAD_REQUEST, "bad_model_name"),
        R::BadAlias { .. } => (StatusCode::BAD_REQUEST, "bad_alias"),
        R::BadLabel { .. } => (StatusCode::BAD_REQUEST, "bad_label"),
        R::BadProviderName { .. } => (StatusCode::BAD_REQUEST, "bad_provider_name"),
        R::TooManyTargets { .. } => (StatusCode::BAD_REQUEST, "too_many_targets"),
        R::RepeatedTarget { .. } => (StatusCode::BAD_REQUEST, "repeated_target"),
        R::TooManyAliases { .. } => (StatusCode::BAD_REQUEST, "too_many_aliases"),
        R::OutOfRange { .. } => (StatusCode::BAD_REQUEST, "out_of_range"),
        R::PromptLength { .. } => (StatusCode::BAD_REQUEST, "prompt_length"),
        R::AsleepInThePast => (StatusCode::BAD_REQUEST, "asleep_in_the_past"),
        R::NameTaken { .. } => (StatusCode::CONFLICT, "name_taken"),
        R::TooManyRegions { .. } => (StatusCode::CONFLICT, "too_many_regions"),
        R::TooManyModels { .. } => (StatusCode::CONFLICT, "too_many_models"),
    }
}

impl From<PolicyRefusal> for Problem {
    fn from(refusal: PolicyRefusal) -> Self {
        let (status, code) = of_policy(&refusal);
        Self::new(status, ErrorKind::InvalidRequest, code, refusal.to_string())
    }
}

/// 404 for what there is not, 409 where the same would be fine in another state, 400 where it never is.
fn of_pricing(refusal: &PricingRefusal) -> (StatusCode, &'static str) {
    use PricingRefusal as R;
    use WindowRefusal as W;
    match refusal {
        R::BadModelName { .. } => (StatusCode::BAD_REQUEST, "bad_model_name"),
        R::RateOutOfRange { .. } => (StatusCode::BAD_REQUEST, "rate_out_of_range"),
        R::TiersOutOfOrder { .. } => (StatusCode::BAD_REQUEST, "tiers_out_of_order"),
        R::NoContext { .. } => (StatusCode::BAD_REQUEST, "no_context"),
        R::BadInternalRates => (StatusCode::BAD_REQUEST, "bad_internal_rates"),
        R::AdjustmentOutOfRange { .. } => (StatusCode::BAD_REQUEST, "adjustment_out_of_range"),
        R::BadPlanId { .. } => (StatusCode::BAD_REQUEST, "bad_plan_id"),
        R::UnknownModel { .. } => (StatusCode::NOT_FOUND, "model_not_found"),
        R::EffectiveBeforeLatest { .. } => (StatusCode::CONFLICT, "effective_before_latest"),
        R::TooManyScheduled { .. } => (StatusCode::CONFLICT, "too_many_scheduled"),
        R::BookFull => (StatusCode::CONFLICT, "book_full"),
        R::NoRatesOfMode { .. } => (StatusCode::CONFLICT, "no_rates_of_mode"),
        R::NothingToAdjust => (StatusCode::CONFLICT, "nothing_to_adjust"),
        R::BilledByMode { .. } => (StatusCode::CONFLICT, "billed_by_mode"),
        R::TooManyPolicies => (StatusCode::CONFLICT, "too_many_policies"),
        R::Window(W::BeginsInThePast { .. }) => (StatusCode::BAD_REQUEST, "begins_in_the_past"),
        R::Window(W::TooFarAhead { .. }) => (StatusCode::BAD_REQUEST, "too_far_ahead"),
        R::Window(W::BadLength { .. }) => (StatusCode::BAD_REQUEST, "bad_length"),
        R::Window(W::Unknown { .. }) => (StatusCode::NOT_FOUND, "window_not_found"),
        R::Window(W::Overlaps { .. }) => (StatusCode::CONFLICT, "window_overlaps"),
        R::Window(W::TooMany { .. }) => (StatusCode::CONFLICT, "too_many_windows"),
        R::Window(W::HasBegun { .. }) => (StatusCode::CONFLICT, "window_has_begun"),
        R::Window(W::HasNotBegun { .. }) => (StatusCode::CONFLICT, "window_has_not_begun"),
        R::Window(W::IsOver { .. }) => (StatusCode::CONFLICT, "window_is_over"),
    }
}

impl From<PricingRefusal> for Problem {
    fn from(refusal: PricingRefusal) -> Self {
        let (status, code) = of_pricing(&refusal);
        let kind = match status {
            StatusCode::NOT_FOUND => ErrorKind::NotFound,
            _ => ErrorKind::InvalidRequest,
        };
        Self::new(status, kind, code, refusal.to_string())
    }
}

impl From<ServiceRefusal> for Problem {
    fn from(refusal: ServiceRefusal) -> Self {
        let code = match refusal {
            ServiceRefusal::MessageLength { .. } => "message_length",
            ServiceRefusal::MessageHides => "message_hides",
            ServiceRefusal::EndsInThePast => "ends_in_the_past",
        };
        Self::invalid(code, refusal.to_string())
    }
}

/// 409 where the wallet does not allow it as it is, 400 where no wallet would.
pub fn of_wallet(refusal: &WalletRefusal) -> (StatusCode, &'static str) {
    use WalletRefusal as R;
    match refusal {
        R::InsufficientCredit { .. } => (StatusCode::CONFLICT, "insufficient_credit"),
        R::InDebt { .. } => (StatusCode::CONFLICT, "debt_owed"),
        R::CashInDebt { .. } => (StatusCode::CONFLICT, "cash_wallet_in_debt"),
        R::MustWait { .. } => (StatusCode::CONFLICT, "requests_running"),
        R::GrantExists { .. } => (StatusCode::CONFLICT, "grant_exists"),
        R::UnknownGrant { .. } => (StatusCode::CONFLICT, "unknown_grant"),
        R::PurchaseExists { .. } => (StatusCode::CONFLICT, "purchase_exists"),
        R::AdjustmentExists { .. } => (StatusCode::CONFLICT, "adjustment_exists"),
        R::MoreThanTakenBack { .. } => (StatusCode::CONFLICT, "more_than_taken_back"),
        R::TooManyGrants { .. } => (StatusCode::CONFLICT, "too_many_grants"),
        R::EndOutOfRange { .. } => (StatusCode::CONFLICT, "too_far_ahead"),
        R::TooManyPlans { .. } => (StatusCode::CONFLICT, "too_many_plans"),
        R::TooManyEntitlements { .. } => (StatusCode::CONFLICT, "too_many_entitlements"),
        R::EntitlementExists { .. } => (StatusCode::CONFLICT, "entitlement_exists"),
        R::AmountOutOfRange { .. } => (StatusCode::BAD_REQUEST, "amount_out_of_range"),
        R::BlocksOutOfRange { .. } => (StatusCode::BAD_REQUEST, "blocks_out_of_range"),
        R::ExpiresInThePast => (StatusCode::BAD_REQUEST, "expires_in_the_past"),
        R::HoldExists { .. }
        | R::UnknownHold { .. }
        | R::AttemptOutOfOrder { .. }
        | R::TooManyAttempts { .. }
        | R::RequestsPerMinute { .. }
        | R::TokensPerMinute { .. }
        | R::LargerThanTokensPerMinute { .. }
        | R::ParallelRequests { .. }
        | R::BudgetMayBeSpent { .. }
        | R::DailyBudget { .. }
        | R::MonthlyBudget { .. }
        | R::FairUseReached { .. }
        | R::OutsidePlanSwitchedOff { .. }
        | R::OutsidePlanWithoutCredit { .. } => (StatusCode::CONFLICT, "refused"),
    }
}

impl From<CatalogRefusal> for Problem {
    fn from(refusal: CatalogRefusal) -> Self {
        use CatalogRefusal as R;
        let (status, kind, code) = match refusal {
            R::UnknownPlan { .. } => (StatusCode::NOT_FOUND, ErrorKind::NotFound, "plan_not_found"),
            R::BuysCredit { .. } => (StatusCode::CONFLICT, ErrorKind::InvalidRequest, "plan_buys_credit"),
            R::BuysTime { .. } => (StatusCode::CONFLICT, ErrorKind::InvalidRequest, "plan_buys_time"),
            R::BuysSomethingElse { .. } => {
                (StatusCode::CONFLICT, ErrorKind::InvalidRequest, "plan_buys_something_else")
            }
            R::CatalogFull { .. } => (StatusCode::CONFLICT, ErrorKind::InvalidRequest, "catalog_full"),
            R::NameLength { .. }
            | R::AmountOutOfRange { .. }
            | R::PriceNotPayable { .. }
            | R::QuantityOutOfRange { .. }
            | R::QuantityBeyondAmounts { .. }
            | R::MonthlyBuysOne { .. }
            | R::ScopeSize { .. }
            | R::BadModelName { .. }
            | R::LengthOutOfRange { .. } => (StatusCode::BAD_REQUEST, ErrorKind::InvalidRequest, "bad_plan"),
            R::WindowCount { .. }
            | R::WindowsOutOfOrder
            | R::LimitOutOfRange { .. }
            | R::RateOutOfRange { .. } => {
                (StatusCode::BAD_REQUEST, ErrorKind::InvalidRequest, "bad_fair_use")
            }
        };
        Self::new(status, kind, code, refusal.to_string())
    }
}

impl From<HoursRefusal> for Problem {
    fn from(refusal: HoursRefusal) -> Self {
        let (status, code) = match &refusal {
            HoursRefusal::Account(account) => return account.clone().into(),
            HoursRefusal::Plan(plan) => return plan.clone().into(),
            HoursRefusal::HoursOutOfRange { .. } => (StatusCode::BAD_REQUEST, "hours_out_of_range"),
            HoursRefusal::Wallet(wallet) => of_wallet(wallet),
        };
        Self::new(status, ErrorKind::InvalidRequest, code, refusal.to_string())
    }
}

impl From<AdjustRefusal> for Problem {
    fn from(refusal: AdjustRefusal) -> Self {
        let (status, code) = match &refusal {
            AdjustRefusal::Account(account) => return account.clone().into(),
            AdjustRefusal::Wallet(wallet) => of_wallet(wallet),
            AdjustRefusal::BalanceChanged { .. } => (StatusCode::CONFLICT, "balance_changed"),
            AdjustRefusal::OwesDebt { .. } => (StatusCode::CONFLICT, "debt_owed"),
            AdjustRefusal::NegativeBalance { .. } => (StatusCode::BAD_REQUEST, "amount_out_of_range"),
            AdjustRefusal::NoteLength { .. } => (StatusCode::BAD_REQUEST, "note_length"),
        };
        Self::new(status, ErrorKind::InvalidRequest, code, refusal.to_string())
    }
}

impl From<LimitsError> for Problem {
    fn from(error: LimitsError) -> Self {
        match error {
            LimitsError::UnknownKey(_) => {
                Self::new(StatusCode::NOT_FOUND, ErrorKind::NotFound, "key_not_found", error.to_string())
            }
            LimitsError::TooManyNetworks { .. } => Self::invalid("too_many_networks", error.to_string()),
            LimitsError::UnknownModel { .. } => Self::invalid("unknown_model", error.to_string()),
            LimitsError::Command(error) => error.into(),
            LimitsError::Read(error) => error.into(),
            LimitsError::Unavailable(cause) => Self::unavailable(cause),
            LimitsError::Table(error) => Self::unavailable(anyhow::Error::new(error).context("key networks")),
        }
    }
}

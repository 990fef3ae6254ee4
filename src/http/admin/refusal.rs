//! What operators are told when a decision of theirs is refused.

use codexapi_aggregates::routing::PolicyRefusal;
use codexapi_aggregates::service::ServiceRefusal;
use codexapi_aggregates::wallet::WalletRefusal;
use codexapi_protocols::errors::ErrorKind;
use http::StatusCode;

use crate::accounts::{AdjustRefusal, LimitsError};
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

impl From<ServiceRefusal> for Problem {
    fn from(refusal: ServiceRefusal) -> Self {
        let code = match refusal {
            ServiceRefusal::MessageLength { .. } => "message_length",
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
        R::MustWait { .. } => (StatusCode::CONFLICT, "requests_running"),
        R::GrantExists { .. } => (StatusCode::CONFLICT, "grant_exists"),
        R::UnknownGrant { .. } => (StatusCode::CONFLICT, "unknown_grant"),
        R::PurchaseExists { .. } => (StatusCode::CONFLICT, "purchase_exists"),
        R::AdjustmentExists { .. } => (StatusCode::CONFLICT, "adjustment_exists"),
        R::MoreThanTakenBack { .. } => (StatusCode::CONFLICT, "more_than_taken_back"),
        R::TooManyGrants { .. } => (StatusCode::CONFLICT, "too_many_grants"),
        R::AmountOutOfRange { .. } => (StatusCode::BAD_REQUEST, "amount_out_of_range"),
        R::ExpiresInThePast => (StatusCode::BAD_REQUEST, "expires_in_the_past"),
        R::HoldExists { .. }
        | R::UnknownHold { .. }
        | R::AttemptOutOfOrder { .. }
        | R::TooManyAttempts { .. }
        | R::RequestsPerMinute { .. }
        | R::TokensPerMinute { .. }
        | R::LargerThanTokensPerMinute { .. }
        | R::ParallelRequests { .. }
        | R::DailyBudget { .. }
        | R::MonthlyBudget { .. } => (StatusCode::CONFLICT, "refused"),
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

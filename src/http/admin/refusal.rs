//! What operators are told when a decision of theirs is refused.

use codexapi_aggregates::routing::PolicyRefusal;
use codexapi_aggregates::service::ServiceRefusal;
use codexapi_protocols::errors::ErrorKind;
use http::StatusCode;

use crate::accounts::LimitsError;
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

//! How an attempt at a provider failed, and whether another may follow.
//!
//! Another attempt is made only where the failed one cannot have begun to bill: the provider was not reached,
//! would not have us, or was too busy to begin. What failed after it had begun is not tried again, here or
//! elsewhere, unless the operator has declared that this provider bills nothing for an answer with an error
//! status.

use std::time::Duration;

use codexapi_aggregates::usage::AttemptEnd;
use http::StatusCode;

/// How an attempt failed. An answer of the gateway that says so to the client has it among its extensions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailureClass {
    /// Nothing of the request was sent.
    NotReached,
    /// It does not want us: our key, our account, no such model there.
    Refused,
    /// Too busy to begin; it may say for how long.
    Overloaded { retry_after: Option<Duration> },
    /// It may have begun.
    Failed,
    /// The request itself is at fault; every provider would say so.
    BadRequest,
}

impl FailureClass {
    /// In reports and metric labels.
    pub fn name(self) -> &'static str {
        match self {
            Self::NotReached => "not_reached",
            Self::Refused => "refused",
            Self::Overloaded { .. } => "overloaded",
            Self::Failed => "failed",
            Self::BadRequest => "bad_request",
        }
    }

    /// On record.
    pub(super) fn attempt_end(self) -> AttemptEnd {
        match self {
            Self::NotReached => AttemptEnd::NotReached,
            Self::Refused => AttemptEnd::Refused,
            Self::Overloaded { .. } => AttemptEnd::Overloaded,
            Self::Failed => AttemptEnd::Failed,
            Self::BadRequest => AttemptEnd::BadRequest,
        }
    }

    /// What a provider's status means.
    pub(super) fn of_status(status: StatusCode, retry_after: Option<Duration>) -> Self {
        match status.as_u16() {
            // A redirect is never followed; it was answered in place of the request.
            300..=399 | 401..=404 => Self::Refused,
            408 | 409 | 425 | 500..=502 | 504..=528 | 530..=599 => Self::Failed,
            429 | 503 | 529 => Self::Overloaded { retry_after },
            _ => Self::BadRequest,
        }
    }

    /// Whether another attempt may follow. `errors_are_free`: the provider bills nothing for an answer with
    /// an error status, and this was one.
    pub(super) fn may_be_tried_again(self, errors_are_free: bool) -> bool {
        match self {
            Self::NotReached | Self::Refused | Self::Overloaded { .. } => true,
            Self::Failed => errors_are_free,
            Self::BadRequest => false,
        }
    }

    /// Whether it speaks against the provider's health.
    pub(super) fn is_the_providers(self) -> bool {
        match self {
            Self::NotReached | Self::Refused | Self::Overloaded { .. } | Self::Failed => true,
            Self::BadRequest => false,
        }
    }

    pub(super) fn retry_after(self) -> Option<Duration> {
        match self {
            Self::Overloaded { retry_after } => retry_after,
            Self::NotReached | Self::Refused | Self::Failed | Self::BadRequest => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn class(status: u16) -> FailureClass {
        FailureClass::of_status(StatusCode::from_u16(status).expect("a status"), None)
    }

    #[test]
    fn only_what_cannot_have_begun_is_tried_again() {
        for status in [301, 307, 401, 402, 403, 404, 429, 503, 529] {
            assert!(class(status).may_be_tried_again(false), "{status}");
        }
        assert!(FailureClass::NotReached.may_be_tried_again(false));
        for status in [408, 500, 502, 504, 520, 524] {
            assert!(!class(status).may_be_tried_again(false), "{status}");
            assert!(class(status).may_be_tried_again(true), "{status}");
        }
        for status in [400, 405, 413, 418, 422] {
            assert!(!class(status).may_be_tried_again(true), "{status}");
        }
    }

    #[test]
    fn a_bad_request_says_nothing_of_the_provider() {
        assert!(!class(400).is_the_providers());
        assert!(class(401).is_the_providers());
        assert!(FailureClass::NotReached.is_the_providers());
    }
}

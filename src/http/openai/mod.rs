//! What customers fetch again, in OpenAI's dialects: stored responses and chat completions.

pub mod completion_messages;
pub mod completions;
pub mod input_items;
pub mod input_tokens;
mod paging;
pub mod responses;

use axum::response::{IntoResponse, Response};
use codexapi_protocols::errors::ErrorKind;
use http::StatusCode;
use http::header::CONTENT_TYPE;

use super::auth::Principal;
use super::error::Problem;
use super::generations::payee;
use crate::stored::{Owner, StoredError};

/// Whose objects this caller may see.
fn owner(principal: Principal) -> Result<Owner, Problem> {
    Ok(payee(principal)?.into())
}

/// JSON that is text already.
fn json_text(body: impl Into<axum::body::Body>) -> Response {
    ([(CONTENT_TYPE, "application/json")], body.into()).into_response()
}

impl From<StoredError> for Problem {
    fn from(error: StoredError) -> Self {
        use StoredError as E;
        let (message, previous) = (error.to_string(), "previous_response_id");
        let missing = |code| Self::new(StatusCode::NOT_FOUND, ErrorKind::NotFound, code, message.clone());
        match error {
            E::ResponseNotFound { .. } => missing("response_not_found"),
            E::ItemNotFound { .. } => missing("item_not_found").about("input"),
            E::TooManyReferences { .. } => Self::invalid("too_many_references", message).about("input"),
            E::CompletionNotFound { .. } => missing("completion_not_found"),
            E::PreviousNotFound { .. } => {
                Self::invalid("previous_response_not_found", message).about(previous)
            }
            E::PreviousUnfinished { .. } => {
                Self::invalid("previous_response_unfinished", message).about(previous)
            }
            E::TooManyEarlierItems { .. } => {
                Self::invalid("previous_response_too_long", message).about(previous)
            }
            E::TooLarge { .. } => Self::invalid("conversation_too_large", message).about("input"),
            E::BackgroundUnstored => Self::invalid("background_unstored", message).about("store"),
            E::BackgroundStream => Self::invalid("background_stream", message).about("stream"),
            E::StoringIsOff => Self::invalid("storing_is_off", message).about("background"),
            E::TooManyRunning { .. } => Self {
                retry_after_seconds: Some(crate::gateway::refusal::DEFAULT_RETRY_SECS),
                ..Self::new(
                    StatusCode::TOO_MANY_REQUESTS,
                    ErrorKind::RateLimited,
                    "rate_limit_exceeded",
                    message,
                )
            },
            E::NotBackground => Self::invalid("not_in_background", message),
            E::BadMetadata => Self::invalid("invalid_metadata", message).about("metadata"),
            E::UnknownCursor => Self::invalid("invalid_cursor", message).about("after"),
            E::Unfinished { .. } => Self::invalid("response_unfinished", message),
            E::Unavailable(cause) => Self::unavailable(cause.context("stored objects")),
        }
    }
}

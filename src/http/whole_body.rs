//! A request's whole body, refused by its head alone where that announces more than is taken.
//!
//! Nobody waits for bytes that would not be kept: a client that asks first (`Expect: 100-continue`) is spared sending
//! them, and one that never sends them holds nothing.

use std::error::Error;
use std::sync::Arc;

use axum::extract::{FromRequest, Request};
use bytes::Bytes;
use codexapi_protocols::errors::ErrorKind;
use http::StatusCode;
use http_body::Body;
use http_body_util::{BodyExt, LengthLimitError, Limited};

use super::error::Problem;
use crate::app::App;

/// A body of the size that generations may have.
pub struct WholeBody(pub Bytes);

impl FromRequest<Arc<App>> for WholeBody {
    type Rejection = Problem;

    async fn from_request(request: Request, app: &Arc<App>) -> Result<Self, Problem> {
        let limit_bytes = usize::try_from(app.config.http.body_limit_bytes).unwrap_or(usize::MAX);
        whole(request, limit_bytes).await.map(Self)
    }
}

/// A whole body of at most `limit_bytes`.
///
/// # Errors
/// 413 where it is larger, 400 where it does not come to its end.
pub async fn whole(request: Request, limit_bytes: usize) -> Result<Bytes, Problem> {
    let body = request.into_body();
    let announced = body.size_hint().lower();
    if !usize::try_from(announced).is_ok_and(|bytes| bytes <= limit_bytes) {
        return Err(too_large(limit_bytes));
    }
    let read = Limited::new(body, limit_bytes).collect().await;
    Ok(read.map_err(|error| unreadable(&*error, limit_bytes))?.to_bytes())
}

fn unreadable(error: &(dyn Error + Send + Sync + 'static), limit_bytes: usize) -> Problem {
    match error.is::<LengthLimitError>() {
        true => too_large(limit_bytes),
        false => Problem::invalid("unreadable_body", "The body could not be read to its end."),
    }
}

fn too_large(limit_bytes: usize) -> Problem {
    let message = format!("The body is larger than {limit_bytes} bytes.");
    let (status, kind) = (StatusCode::PAYLOAD_TOO_LARGE, ErrorKind::InvalidRequest);
    Problem::new(status, kind, "request_too_large", message)
}

//! A request that could be read in two ways is read in none.
//!
//! Of a header that stands twice, one reader takes the first and the next one the last; whoever stands between two such
//! readers is told different things by both. What decides who pays and what is read must stand once.

use axum::extract::Request;
use axum::response::{IntoResponse, Response};
use http::HeaderName;
use http::header::{AUTHORIZATION, CONTENT_ENCODING, CONTENT_TYPE, EXPECT, HOST};

use super::error::Problem;

/// What may stand in a request once.
static ONCE: [HeaderName; 9] = [
    AUTHORIZATION,
    HeaderName::from_static("x-api-key"),
    HOST,
    CONTENT_TYPE,
    CONTENT_ENCODING,
    EXPECT,
    HeaderName::from_static("idempotency-key"),
    HeaderName::from_static("anthropic-version"),
    HeaderName::from_static("stripe-signature"),
];

pub async fn check(request: Request, answer: impl AsyncFnOnce(Request) -> Response) -> Response {
    let headers = request.headers();
    let Some(name) = ONCE.iter().find(|name| headers.get_all(*name).iter().nth(1).is_some()) else {
        return answer(request).await;
    };
    let message = format!("The header `{name}` stands in this request more than once. Send it once.");
    Problem::invalid("repeated_header", message).into_response()
}

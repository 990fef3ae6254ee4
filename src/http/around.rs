//! What is around every request.
//!
//! One function and not a layer for each part: axum clones and boxes every layer anew for each request, which was a
//! twentieth of what this service does for a generation.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;
use futures::FutureExt;

use super::{arrival, envelope, error, sound, unread};
use crate::app::App;

/// From the handler outwards.
pub async fn every_request(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    let patience = Duration::from_secs(app.config.connections.client_body_seconds.into());
    let answer = async move |request| caught(next.run(request)).await;
    let answer = async move |request| arrival::expect(patience, request, answer).await;
    let answer = async move |request| sound::check(request, answer).await;
    let answer = async move |request| unread::discard(request, answer).await;
    envelope::wrap(&app, request, answer).await
}

/// An answer even where its handler panics.
async fn caught(answer: impl Future<Output = Response>) -> Response {
    AssertUnwindSafe(answer).catch_unwind().await.unwrap_or_else(error::caught_panic)
}

#[cfg(test)]
mod tests {
    use http::StatusCode;

    use super::*;
    use crate::http::error::Problem;

    #[tokio::test]
    async fn a_handler_that_panics_is_a_500_that_names_its_words_to_the_log_alone() {
        let response = caught(async { panic!("no room left") }).await;
        assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR);
        let problem = response.extensions().get::<Problem>().expect("a problem");
        assert!(problem.cause.as_ref().is_some_and(|cause| format!("{cause:#}").contains("no room left")));
        assert!(!problem.message.contains("no room left"));
    }
}

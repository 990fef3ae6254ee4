//! What is around every request: an id, one log line, metrics, and errors put into words.
//!
//! The line names the route's pattern, never the URL as sent: a query may hold what nobody should log.

use std::time::Instant;

use axum::extract::{MatchedPath, Request};
use axum::response::{IntoResponse, Response};
use codexapi_aggregates::usage::Protocol;
use http::header::{ALLOW, CONNECTION};
use http::{HeaderName, HeaderValue};
use tracing::Instrument;

use super::address::ClientAddress;
use super::error::{Problem, dialect};
use super::nul;
use crate::app::App;
use crate::clock;
use crate::metrics::RequestLabels;

/// Where OpenAI's clients look for the request's id.
const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Where Anthropic's clients do.
const REQUEST_ID: HeaderName = HeaderName::from_static("request-id");

/// The id the caller is told and the log and events name; ours, never the caller's.
#[derive(Clone, Debug)]
pub struct RequestId(pub String);

/// Around everything else.
pub async fn wrap(
    app: &App,
    mut request: Request,
    answer: impl AsyncFnOnce(Request) -> Response,
) -> Response {
    let started = Instant::now();
    let id = RequestId(format!("req_{}", clock::new_id().simple()));
    let method = request.method().clone();
    let spoken = dialect(request.uri().path(), request.headers());
    let route: String = request
        .extensions()
        .get::<MatchedPath>()
        .map_or_else(|| "unknown".into(), |path| path.as_str().into());
    request.extensions_mut().insert(id.clone());
    let address = ClientAddress::of(&request, &app.config.http.trusted_proxies);
    request.extensions_mut().insert(address);

    let span = tracing::info_span!("request", id = %id.0);
    let mut response = match refusal_of(request.uri().path()) {
        None => answer(request).instrument(span.clone()).await,
        Some(message) => Problem::invalid("invalid_path", message).into_response(),
    };
    let _entered = span.enter();
    if let Some(problem) = response.extensions_mut().remove::<Problem>() {
        log_cause(&problem);
        let headers = std::mem::take(response.headers_mut());
        response = problem.response(spoken, &id.0);
        keep(&headers, &mut response);
    }
    add_id(&mut response, spoken, &id);

    let (status, elapsed) = (response.status().as_u16(), started.elapsed());
    tracing::info!(%method, route, status, elapsed_ms = elapsed.as_millis() as u64, "answered");
    app.metrics.requests.get_or_create(&RequestLabels::new(route, response.status())).inc();
    response
}

/// Why a path is not text that could name anything.
fn refusal_of(path: &str) -> Option<String> {
    match std::str::from_utf8(&unescaped(path)) {
        Err(_) => Some("The path of this URL is no text: its escaped bytes are not UTF-8.".into()),
        Ok(text) if text.contains('\0') => Some(format!("The path of this URL: {}.", nul::REFUSED)),
        Ok(_) => None,
    }
}

/// The bytes a path stands for, with its escapes read.
fn unescaped(path: &str) -> Vec<u8> {
    let digit = |byte: &u8| char::from(*byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let (mut bytes, mut rest) = (Vec::with_capacity(path.len()), path.as_bytes());
    while let Some((first, after)) = rest.split_first() {
        let escaped = match after {
            [high, low, ..] if *first == b'%' => digit(high).zip(digit(low)),
            _ => None,
        };
        bytes.push(escaped.map_or(*first, |(high, low)| high * 16 + low));
        rest = if escaped.is_some() { &after[2..] } else { after };
    }
    bytes
}

/// The one place a cause is logged.
fn log_cause(problem: &Problem) {
    if let Some(cause) = &problem.cause {
        tracing::error!(code = problem.code, "{cause:#}");
    }
}

/// A 405 says which methods there are; and a connection whose body nobody reads to its end is closed.
fn keep(from: &http::HeaderMap, to: &mut Response) {
    for name in [ALLOW, CONNECTION] {
        if let Some(value) = from.get(&name) {
            to.headers_mut().insert(name, value.clone());
        }
    }
}

fn add_id(response: &mut Response, spoken: Option<Protocol>, id: &RequestId) {
    let value = HeaderValue::from_str(&id.0).expect("an id is ASCII");
    if spoken == Some(Protocol::Messages) {
        response.headers_mut().insert(REQUEST_ID, value.clone());
    }
    response.headers_mut().insert(X_REQUEST_ID, value);
}

#[cfg(test)]
mod tests {
    use super::refusal_of;

    #[test]
    fn a_path_is_text_where_its_escapes_are() {
        for text in ["/v1/models/gpt-5.5", "/v1/models/%C3%A4", "/%", "/%zz", "/100%25", "/%c3%a4%2"] {
            assert_eq!(refusal_of(text), None, "{text}");
        }
        for bytes in ["/v1/models/%ff", "/%C3", "/%C3/%A4", "/a%80"] {
            assert!(refusal_of(bytes).is_some_and(|said| said.contains("UTF-8")), "{bytes}");
        }
        for nul in ["/v1/models/%00", "/a%00b"] {
            assert!(refusal_of(nul).is_some_and(|said| said.contains("U+0000")), "{nul}");
        }
    }
}

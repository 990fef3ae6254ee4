//! What tests ask of the simulator itself: bills, counts, and the script.

use std::sync::Arc;

use axum::Router;
use axum::extract::{Path, Query, State as Shared};
use axum::response::Response;
use axum::routing::get;
use bytes::Bytes;
use http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::script::Entry;
use crate::server::{State, json_response};

const DEFAULT_PAGE: usize = 1_000;
const MOST_PER_PAGE: usize = 10_000;

pub fn router() -> Router<Arc<State>> {
    Router::new()
        .route("/_bills", get(list_bills).delete(reset))
        .route("/_bills/{id}", get(bills_of_response))
        .route("/_requests", get(counts))
        .route("/_received", get(received))
        .route("/_script", get(read_script).post(extend_script).delete(clear_script))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Page {
    #[serde(default)]
    after: u64,
    limit: Option<usize>,
    tag: Option<String>,
}

async fn list_bills(Shared(state): Shared<Arc<State>>, Query(page): Query<Page>) -> Response {
    let limit = page.limit.unwrap_or(DEFAULT_PAGE).clamp(1, MOST_PER_PAGE);
    let bills = state.ledger.page(page.after, limit, page.tag.as_deref());
    let next = bills.last().filter(|_| bills.len() == limit).map(|bill| bill.n);
    ok(json!({ "bills": bills, "next": next, "totals": state.ledger.totals() }))
}

async fn bills_of_response(Shared(state): Shared<Arc<State>>, Path(id): Path<String>) -> Response {
    let bills = state.ledger.of_response(&id);
    let status = if bills.is_empty() { StatusCode::NOT_FOUND } else { StatusCode::OK };
    json_response(status, &json!({ "bills": bills }))
}

/// Forgets bills and counts; the bills file keeps its lines.
async fn reset(Shared(state): Shared<Arc<State>>) -> Response {
    state.ledger.reset();
    state.requests.reset();
    ok(json!({ "reset": true }))
}

async fn counts(Shared(state): Shared<Arc<State>>) -> Response {
    ok(json!(state.requests.snapshot()))
}

async fn read_script(Shared(state): Shared<Arc<State>>) -> Response {
    ok(json!({ "entries": state.script.list() }))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Which {
    #[serde(rename = "match", default)]
    matches: String,
}

/// The bodies of the last requests to generate, oldest first.
async fn received(Shared(state): Shared<Arc<State>>, Query(which): Query<Which>) -> Response {
    ok(json!({ "requests": state.received.containing(&which.matches) }))
}

/// Takes one entry or a list of them.
async fn extend_script(Shared(state): Shared<Arc<State>>, body: Bytes) -> Response {
    let entries = serde_json::from_slice::<Value>(&body).and_then(|value| match value {
        Value::Array(_) => serde_json::from_value::<Vec<Entry>>(value),
        one => serde_json::from_value::<Entry>(one).map(|entry| vec![entry]),
    });
    let added = match entries {
        Ok(entries) => state.script.extend(entries).map_err(|refusal| format!("{refusal:?}")),
        Err(error) => Err(error.to_string()),
    };
    match added {
        Ok(waiting) => ok(json!({ "waiting": waiting })),
        Err(why) => json_response(StatusCode::BAD_REQUEST, &json!({ "error": why })),
    }
}

async fn clear_script(Shared(state): Shared<Arc<State>>) -> Response {
    state.script.clear();
    ok(json!({ "cleared": true }))
}

fn ok(body: Value) -> Response {
    json_response(StatusCode::OK, &body)
}

//! A strict stand-in for Gumroad's licence check, from its public documentation: what it is not told rightly it refuses.
//!
//! The licence key says what Gumroad knows of it: `GOOD-…`, `REFUNDED-…`, `CHARGEBACKED-…`, `DISPUTED-…`, `WON-…` (a
//! dispute that was won), `TEST-…`, `OTHER-…` (another product's), `DOWN-…` (an answer of 500), `ODD-…` (no JSON),
//! `SLOW-…` (never answers). Anything else it has never heard of.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Json, Router};
use http::{HeaderMap, StatusCode};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio_util::sync::{CancellationToken, DropGuard};

pub const PRODUCT: &str = "aBcD1234eFgH5678==";

pub struct FakeGumroad {
    pub url: String,
    asked: Arc<AtomicU32>,
    _stop: DropGuard,
}

impl FakeGumroad {
    pub async fn start() -> Self {
        let asked = Arc::new(AtomicU32::new(0));
        let router = Router::new().route("/v2/licenses/verify", post(verify)).with_state(Arc::clone(&asked));
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let stop = CancellationToken::new();
        let stopped = stop.clone().cancelled_owned();
        tokio::spawn(async move {
            axum::serve(listener, router).with_graceful_shutdown(stopped).await.expect("served");
        });
        Self { url, asked, _stop: stop.drop_guard() }
    }

    /// How often a licence was asked about.
    pub fn asked(&self) -> u32 {
        self.asked.load(Ordering::Relaxed)
    }
}

async fn verify(State(asked): State<Arc<AtomicU32>>, headers: HeaderMap, body: String) -> Response {
    asked.fetch_add(1, Ordering::Relaxed);
    let kind = headers.get("content-type").and_then(|kind| kind.to_str().ok());
    if kind != Some("application/x-www-form-urlencoded") {
        return refused(StatusCode::BAD_REQUEST, "send a form");
    }
    let form = reqwest::Url::parse(&format!("http://form/?{body}")).expect("a form");
    let fields: BTreeMap<String, String> = form.query_pairs().into_owned().collect();
    let known = ["increment_uses_count", "license_key", "product_id"];
    if fields.len() != form.query_pairs().count() || !fields.keys().all(|name| known.contains(&name.as_str()))
    {
        return refused(StatusCode::BAD_REQUEST, "unknown or repeated fields");
    }
    if fields.get("increment_uses_count").is_some_and(|count| !["true", "false"].contains(&count.as_str())) {
        return refused(StatusCode::BAD_REQUEST, "increment_uses_count is true or false");
    }
    let (Some(product), Some(key)) = (fields.get("product_id"), fields.get("license_key")) else {
        return refused(StatusCode::BAD_REQUEST, "product_id and license_key are required");
    };
    let unknown = "That license does not exist for the provided product.";
    match (product == PRODUCT, key.split('-').next().unwrap_or_default()) {
        (true, "GOOD") => sold(key, json!({})),
        (true, "REFUNDED") => sold(key, json!({ "refunded": true })),
        (true, "CHARGEBACKED") => sold(key, json!({ "chargebacked": true })),
        (true, "DISPUTED") => sold(key, json!({ "disputed": true })),
        (true, "WON") => sold(key, json!({ "disputed": true, "dispute_won": true })),
        (true, "TEST") => sold(key, json!({ "test": true })),
        (true, "OTHER") => sold(key, json!({ "product_id": "another==" })),
        (true, "DOWN") => refused(StatusCode::INTERNAL_SERVER_ERROR, "down"),
        (true, "ODD") => (StatusCode::OK, "<html>").into_response(),
        (true, "SLOW") => std::future::pending().await,
        _ => refused(StatusCode::NOT_FOUND, unknown),
    }
}

fn refused(status: StatusCode, message: &str) -> Response {
    (status, Json(json!({ "success": false, "message": message }))).into_response()
}

fn sold(key: &str, but: Value) -> Response {
    let mut purchase = json!({
        "seller_id": "seller==", "product_id": PRODUCT, "product_name": "CodexAPI starter", "permalink": "abc",
        "email": "buyer@example.com", "price": 4900, "currency": "usd", "quantity": 1, "order_number": 1,
        "sale_id": "sale==", "sale_timestamp": "2026-11-01T00:00:00Z", "license_key": key,
        "is_multiseat_license": false, "recurrence": null, "refunded": false, "disputed": false,
        "dispute_won": false, "chargebacked": false, "id": "purchase==", "custom_fields": [],
    });
    let changed = but.as_object().expect("an object").clone();
    purchase.as_object_mut().expect("an object").extend(changed);
    Json(json!({ "success": true, "uses": 1, "purchase": purchase })).into_response()
}

//! The service over HTTP, without providers: who may call what, and what customers read.

mod access;
pub mod admin;
mod edges;
mod generations;
mod nul;
mod operating;
mod reading;
mod setup;
mod statement;

use std::process::{Output, Stdio};
use std::sync::Arc;

use axum::body::Body;
use axum::response::Response;
use codexapi::accounts::{self, CreatedCustomer, GrantCredit, NewCustomer};
use codexapi::app::App;
use codexapi::config::Config;
use codexapi::http::router;
use codexapi::projector::LogFeed;
use codexapi_aggregates::event::Metadata;
use codexapi_aggregates::ids::AccountId;
use codexapi_aggregates::money::MicroUsd;
use codexapi_aggregates::wallet::events::GrantSource;
use codexapi_projections::checkpoint;
use http::{Request, StatusCode};
use http_body_util::BodyExt;
use serde_json::Value;
use sqlx::ConnectOptions;
use tokio::process::Command;
use tokio_util::sync::{CancellationToken, DropGuard};
use tower::ServiceExt;

use crate::harness::{PATIENCE, TestDatabase, in_force};

pub const ADMIN_TOKEN: &str = "cdx-admin-static-for-tests-0001";
pub const OPERATOR_TOKEN: &str = "cdx-op-static-for-tests-000001";

/// A service whose read models follow the log, without listeners and without NATS.
pub struct Service {
    pub app: Arc<App>,
    database: TestDatabase,
    _stop: DropGuard,
}

impl Service {
    pub async fn start() -> Self {
        Self::start_with(&[]).await
    }

    pub async fn start_with(settings: &[(&str, &str)]) -> Self {
        Self::start_on(TestDatabase::new().await, settings).await
    }

    /// Another node over the same database.
    pub async fn beside(&self) -> Self {
        Self::start_on(self.database.clone(), &[("CODEXAPI_NODE_NAME", "node-2")]).await
    }

    async fn start_on(database: TestDatabase, settings: &[(&str, &str)]) -> Self {
        let url = database.pool.connect_options().to_url_lossy().to_string();
        let digest_key = "5a".repeat(32);
        let fixed = [
            ("DATABASE_URL", url.as_str()),
            // Nobody listens there: NATS away costs freshness, never an answer.
            ("NATS_URL", "nats://127.0.0.1:9"),
            ("CODEXAPI_TOKEN_DIGEST_KEY", digest_key.as_str()),
            ("CODEXAPI_STATIC_ADMIN_TOKENS", ADMIN_TOKEN),
            ("CODEXAPI_STATIC_API_TOKENS", OPERATOR_TOKEN),
            ("CODEXAPI_DATABASE_CONNECTIONS", "20"),
        ];
        let config = Config::from_pairs(fixed.iter().chain(settings).copied()).expect("good settings");
        let app = App::build(config).await.expect("built");
        let stop = CancellationToken::new();
        tokio::spawn({
            let (app, stop) = (Arc::clone(&app), stop.clone());
            async move {
                let feed = || LogFeed::new(app.pool.clone(), app.log.appended());
                app.projector.run(feed, stop).await;
            }
        });
        Self { app, database, _stop: stop.drop_guard() }
    }

    /// Runs a command of the program on the service's database.
    pub async fn command(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_codexapi"));
        let database_url = self.database.pool.connect_options().to_url_lossy().to_string();
        command.args(arguments).env_clear().kill_on_drop(true).stdin(Stdio::null());
        command.env("DATABASE_URL", database_url).env("CODEXAPI_TOKEN_DIGEST_KEY", "5a".repeat(32));
        command.output().await.expect("the program runs")
    }

    /// A customer whose token works.
    pub async fn customer(&self) -> CreatedCustomer {
        let credentials = &self.app.config.credentials;
        let new = NewCustomer { name: Some("Ada".into()), ..NewCustomer::default() };
        let created =
            accounts::create_customer(&self.app.log, credentials, &operator(), new).await.expect("created");
        self.in_force(created.system_token.position).await;
        created
    }

    pub async fn credit(&self, account_id: AccountId, dollars: i64) {
        let grant = GrantCredit {
            account_id,
            source: GrantSource::Admin,
            amount_micro: MicroUsd::dollars(dollars),
            expires_at: None,
            idempotency_key: format!("credit-{dollars}"),
        };
        let terms = self.app.config.wallet.terms();
        accounts::grant_credit(&self.app.log, &terms, &operator(), grant).await.expect("granted");
    }

    /// Waits until no door goes by what was before `position`.
    pub async fn in_force(&self, position: i64) {
        in_force(&self.app, position).await;
    }

    pub async fn projected(&self, projection: &str, position: i64) {
        let wait = checkpoint::wait_for(&self.app.pool, projection, position, PATIENCE);
        assert!(wait.await.expect("readable"), "{projection} did not reach {position}");
    }

    /// A GET with headers; the answer's status and JSON body.
    pub async fn get(&self, path: &str, headers: &[(&str, &str)]) -> (StatusCode, Value) {
        let response = self.send("GET", path, headers).await;
        (response.status(), json_body(response).await)
    }

    /// A POST of JSON; the answer's status and JSON body.
    pub async fn post(&self, path: &str, headers: &[(&str, &str)], body: String) -> (StatusCode, Value) {
        let mut request =
            Request::builder().method("POST").uri(path).header("content-type", "application/json");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Body::from(body)).expect("a request");
        let response = router(Arc::clone(&self.app)).oneshot(request).await.expect("an answer");
        (response.status(), json_body(response).await)
    }

    pub async fn send(&self, method: &str, path: &str, headers: &[(&str, &str)]) -> Response {
        let mut request = Request::builder().method(method).uri(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Body::empty()).expect("a request");
        router(Arc::clone(&self.app)).oneshot(request).await.expect("an answer")
    }
}

/// An answer's JSON; null where it is none.
pub async fn json_body(response: Response) -> Value {
    let body = response.into_body().collect().await.expect("a body").to_bytes();
    serde_json::from_slice(&body).unwrap_or(Value::Null)
}

pub fn operator() -> Metadata {
    Metadata { actor: "operator:test".into(), ..Metadata::default() }
}

pub fn bearer(token: &str) -> String {
    format!("Bearer {token}")
}

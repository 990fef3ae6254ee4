//! The service about itself: what it is, whether it lives, whether it can work.

use std::fmt::{self, Display, Formatter};
use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use serde::Serialize;
use utoipa::ToSchema;

use crate::app::App;
use crate::relay::RelayState;

/// How long Postgres has to answer before this node is not ready.
const DATABASE_PATIENCE: Duration = Duration::from_secs(2);

/// Positions a read model may be behind the log before this node is not ready.
const MAX_LAG: i64 = 50_000;

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ApiRoot {
    name: &'static str,
    version: &'static str,
    /// The description of this API.
    openapi: &'static str,
}

#[derive(Serialize, ToSchema)]
pub struct Health {
    status: &'static str,
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Readiness {
    /// `ready`; `degraded`: answers come later than usual; `not_ready`: send requests elsewhere.
    status: &'static str,
    /// What is wrong, each by name.
    problems: Vec<ReadinessProblem>,
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct ReadinessProblem {
    /// `database`, `nats` or `projection:<name>`.
    part: String,
    /// Whether requests can be answered all the same.
    degraded_only: bool,
    detail: String,
}

/// What this API is.
#[utoipa::path(get, path = "/", tag = "system", responses((status = 200, body = ApiRoot)), security(()))]
pub async fn api_root() -> Json<ApiRoot> {
    Json(ApiRoot { name: "codexapi", version: env!("CARGO_PKG_VERSION"), openapi: "/openapi.json" })
}

/// Whether the process lives; asks nobody else.
#[utoipa::path(get, path = "/health", tag = "system", responses((status = 200, body = Health)), security(()))]
pub async fn health() -> Json<Health> {
    Json(Health { status: "ok" })
}

/// Whether requests can be answered, and if not, what is missing.
#[utoipa::path(
    get, path = "/ready", tag = "system", security(()),
    responses((status = 200, body = Readiness), (status = 503, body = Readiness))
)]
pub async fn ready(State(app): State<Arc<App>>) -> Response {
    let readiness = readiness(&app).await;
    let status = if readiness.is_ready() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(readiness)).into_response()
}

/// What `/ready` says.
pub async fn readiness(app: &App) -> Readiness {
    let mut problems = projection_problems(app).await;
    if !app.nats_is_connected() {
        let detail = "not connected; read models follow the event log itself".into();
        problems.push(ReadinessProblem { part: "nats".into(), degraded_only: true, detail });
    } else if app.relay.borrow().state == RelayState::Retrying {
        let detail =
            "the relay cannot publish, see the service's log; read models follow the event log itself".into();
        problems.push(ReadinessProblem { part: "nats".into(), degraded_only: true, detail });
    }
    let status = match problems.iter().all(|problem| problem.degraded_only) {
        true if problems.is_empty() => "ready",
        true => "degraded",
        false => "not_ready",
    };
    Readiness { status, problems }
}

impl Readiness {
    /// Whether requests can be answered, if later than usual.
    pub fn is_ready(&self) -> bool {
        self.problems.iter().all(|problem| problem.degraded_only)
    }
}

impl Display for Readiness {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.status)?;
        for (place, ReadinessProblem { part, detail, .. }) in self.problems.iter().enumerate() {
            let separator = if place == 0 { ": " } else { ", " };
            write!(formatter, "{separator}{part} {detail}")?;
        }
        Ok(())
    }
}

/// The database, and each read model that lags or stands.
async fn projection_problems(app: &App) -> Vec<ReadinessProblem> {
    let database = |detail: &str| {
        vec![ReadinessProblem { part: "database".into(), degraded_only: false, detail: detail.into() }]
    };
    let lags = match tokio::time::timeout(DATABASE_PATIENCE, app.projector.lags(&app.pool)).await {
        Ok(Ok(lags)) => lags,
        Ok(Err(error)) => {
            tracing::warn!(%error, "not ready: Postgres");
            return database("does not answer as it should");
        }
        Err(_) => return database("does not answer in time"),
    };
    let problem = |lag: crate::projector::Lag| {
        let behind = lag.positions();
        let stands = lag.error.is_some();
        (stands || behind > MAX_LAG).then(|| ReadinessProblem {
            part: format!("projection:{}", lag.projection),
            degraded_only: !stands,
            detail: if stands {
                "stands still; see the log".into()
            } else {
                format!("{behind} events behind")
            },
        })
    };
    lags.into_iter().filter_map(problem).collect()
}

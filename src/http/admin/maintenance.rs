//! `/maintenance-mode`: turning new generations away, in the operator's words.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use chrono::{DateTime, Utc};
use codexapi_aggregates::service::{MAX_MESSAGE_CHARS, SERVICE_STREAM, Service, ServiceCommand};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::body::AdminBody;
use super::{Actor, moment, positions};
use crate::app::App;
use crate::clock;
use crate::http::error::{ErrorBody, Problem};
use crate::http::query::NoQuery;
use crate::named_moment::NamedMoment;

/// Whether new generations are turned away. Those under way go on to their end.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct MaintenanceMode {
    active: bool,
    /// What clients are told.
    message: Option<String>,
    /// When it ends by itself.
    until: Option<DateTime<Utc>>,
}

/// Begins maintenance, changes what is said of it, or ends it.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SetMaintenanceMode {
    active: bool,
    /// What clients are told, 1 to 500 characters; wanted where `active` is true.
    message: Option<String>,
    /// When it ends by itself; without it, it goes on until it is ended.
    #[schema(value_type = Option<DateTime<Utc>>)]
    until: Option<NamedMoment>,
}

/// What a change has come to.
#[derive(Serialize, ToSchema)]
pub struct MaintenanceChanged {
    /// Where its event stands in the log; none where nothing changed.
    positions: Vec<i64>,
    state: MaintenanceMode,
}

/// Whether new generations are turned away, and with which words.
#[utoipa::path(
    get, path = "/admin/api/maintenance-mode", operation_id = "read_maintenance", tag = "operator service",
    responses((status = 200, body = MaintenanceMode), (status = 401, body = ErrorBody), (status = 403, body = ErrorBody)),
    security(("bearer" = []), ("apiKey" = []))
)]
pub async fn read(State(app): State<Arc<App>>, _: NoQuery) -> Result<Json<MaintenanceMode>, Problem> {
    mode(&app).await.map(Json)
}

/// Begins or ends maintenance on all nodes; counts from the next request on.
#[utoipa::path(
    post, path = "/admin/api/maintenance-mode", operation_id = "set_maintenance", tag = "operator service",
    request_body = SetMaintenanceMode,
    responses((status = 200, body = MaintenanceChanged), (status = 400, body = ErrorBody),
        (status = 401, body = ErrorBody), (status = 403, body = ErrorBody), (status = 413, body = ErrorBody)),
    security(("bearer" = []), ("apiKey" = []))
)]
pub async fn set(
    State(app): State<Arc<App>>,
    actor: Actor,
    _: NoQuery,
    AdminBody(set): AdminBody<SetMaintenanceMode>,
) -> Result<Json<MaintenanceChanged>, Problem> {
    let SetMaintenanceMode { active, message, until } = set;
    if !active && (message.is_some() || until.is_some()) {
        let message =
            "`message` and `until` are of maintenance that is on; leave them out where `active` is false.";
        return Err(Problem::invalid("nothing_to_say", message));
    }
    if active && message.is_none() {
        let message = format!(
            "`message` is missing: what clients are told while maintenance is on, 1 to {MAX_MESSAGE_CHARS} characters."
        );
        return Err(Problem::invalid("message_missing", message));
    }
    let committed = app
        .log
        .execute(SERVICE_STREAM, &actor.metadata, |service: &Service, now| {
            service.decide(match active {
                true => ServiceCommand::SetMaintenance {
                    message: message.clone().unwrap_or_default(),
                    until: until.map(|named| named.0),
                    now,
                },
                false => ServiceCommand::ClearMaintenance { now },
            })
        })
        .await?;
    let positions = positions(committed.position, committed.events.len());
    Ok(Json(MaintenanceChanged { positions, state: mode(&app).await? }))
}

async fn mode(app: &App) -> Result<MaintenanceMode, Problem> {
    let now = clock::now();
    let going_on = app.log.read(SERVICE_STREAM, |service: &Service| service.maintenance(now)).await;
    Ok(match going_on.map_err(Problem::unavailable)? {
        Some(maintenance) => MaintenanceMode {
            active: true,
            message: Some(maintenance.message),
            until: maintenance.until.map(moment),
        },
        None => MaintenanceMode { active: false, message: None, until: None },
    })
}

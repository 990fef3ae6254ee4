//! `/users/{user_id}/active`: whether a customer's keys work at all.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use codexapi_aggregates::account::SuspensionReason;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::body::AdminBody;
use super::ids;
use super::{Actor, of_change};
use crate::accounts;
use crate::app::App;
use crate::http::error::{ErrorBody, Problem};
use crate::http::query::NoQuery;

/// Suspends an account or reinstates it.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SetActive {
    active: bool,
    /// Why it is suspended: `requested`, `abuse`, `payment_dispute`, `compromised` or `investigation`; wanted where
    /// `active` is false, and only there.
    #[schema(value_type = Option<String>)]
    reason: Option<SuspensionReason>,
}

/// What a change has come to.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ActiveSet {
    active: bool,
    /// Where its event stands in the log; none where nothing changed.
    positions: Vec<i64>,
    /// Whether the next request on every node feels it. False where the read models lag: it is made, and counts as
    /// soon as they have caught up.
    in_force: bool,
}

/// Suspends a customer (no key of theirs works) or reinstates them; answers once it counts everywhere.
#[utoipa::path(
    post, path = "/admin/api/users/{user_id}/active", operation_id = "set_user_active", tag = "operator accounts",
    params(("user_id" = String, Path, description = "The account's id")), request_body = SetActive,
    responses((status = 200, body = ActiveSet), (status = 400, body = ErrorBody), (status = 401, body = ErrorBody),
        (status = 403, body = ErrorBody), (status = 404, body = ErrorBody)),
    security(("bearer" = []), ("apiKey" = []))
)]
pub async fn set_active(
    State(app): State<Arc<App>>,
    Path(user_id): Path<String>,
    actor: Actor,
    _: NoQuery,
    AdminBody(SetActive { active, reason }): AdminBody<SetActive>,
) -> Result<Json<ActiveSet>, Problem> {
    let account_id = ids::account_id(&user_id)?;
    let position = match (active, reason) {
        (true, None) => accounts::reinstate(&app.log, &actor.metadata, account_id).await?,
        (false, Some(reason)) => accounts::suspend(&app.log, &actor.metadata, account_id, reason).await?,
        (true, Some(_)) => {
            let message = "`reason` says why an account is suspended; leave it out where `active` is true.";
            return Err(Problem::invalid("reason_of_suspension", message));
        }
        (false, None) => {
            let message = "`reason` is missing. Say why the account is suspended: `requested`, `abuse`, \
                           `payment_dispute`, `compromised` or `investigation`.";
            return Err(Problem::invalid("reason_of_suspension", message));
        }
    };
    let in_force = accounts::wait_until_in_force(&app.pool, position).await;
    Ok(Json(ActiveSet { active, positions: of_change(position), in_force }))
}

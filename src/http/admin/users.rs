//! `/users/{user_id}/active`: whether a customer's keys work at all.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use codexapi_aggregates::account::SuspensionReason;
use codexapi_aggregates::ids::AccountId;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Actor;
use super::body::AdminBody;
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
pub struct ActiveSet {
    active: bool,
    /// Where its event stands in the log; none where nothing changed.
    positions: Vec<i64>,
}

/// Suspends a customer (no key of theirs works) or reinstates them; counts everywhere within about a second.
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
    let account_id: AccountId =
        user_id.parse().map_err(|_| Problem::invalid("invalid_user_id", "A user's id is a UUID."))?;
    let position = match (active, reason) {
        (true, None) => accounts::reinstate(&app.log, &actor.metadata, account_id).await?,
        (false, Some(reason)) => accounts::suspend(&app.log, &actor.metadata, account_id, reason).await?,
        (true, Some(_)) | (false, None) => {
            let message = "`reason` says why an account is suspended: it stands where `active` is false.";
            return Err(Problem::invalid("reason_of_suspension", message));
        }
    };
    Ok(Json(ActiveSet {
        active,
        positions: Some(position).filter(|position| *position > 0).into_iter().collect(),
    }))
}

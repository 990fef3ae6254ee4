//! `/api-keys/{key_id}/limits`: what a key may use, and from where.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use codexapi_aggregates::account::KeyLimits;
use codexapi_aggregates::ids::KeyId;
use codexapi_aggregates::money::MicroUsd;
use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::body::AdminBody;
use super::{Actor, of_change};
use crate::accounts::given;
use crate::accounts::{self, SetLimits};
use crate::app::App;
use crate::http::error::{ErrorBody, Problem};
use crate::http::query::NoQuery;
use crate::named_moment::NamedMoment;

/// The whole of what a key may use: what is left out or null is not limited any more.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct LimitsOfKey {
    requests_per_minute: Option<u32>,
    /// Input and output together.
    tokens_per_minute: Option<u64>,
    parallel_requests: Option<u32>,
    /// Per UTC day, in micro-USD.
    daily_budget_micro: Option<i64>,
    /// Per UTC month, in micro-USD.
    monthly_budget_micro: Option<i64>,
    /// Models by their names, labels or aliases; empty for all, at most 100.
    allowed_models: Vec<String>,
    /// From when on the key does not work.
    #[schema(value_type = Option<DateTime<Utc>>)]
    expires_at: Option<NamedMoment>,
    /// Networks it may be used from, as `192.0.2.0/24`; empty for everywhere, at most 100.
    networks: Vec<String>,
}

/// What a change has come to.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct LimitsSet {
    /// Where its event stands in the log; none where nothing changed.
    positions: Vec<i64>,
    /// Whether the next request on every node feels it. False where the read models lag: it is made, and counts as
    /// soon as they have caught up.
    in_force: bool,
}

/// Sets the whole of what a key may use; answers once it counts everywhere.
#[utoipa::path(
    post, path = "/admin/api/api-keys/{key_id}/limits", operation_id = "set_key_limits", tag = "operator accounts",
    params(("key_id" = String, Path)), request_body = LimitsOfKey,
    responses((status = 200, body = LimitsSet), (status = 400, body = ErrorBody), (status = 401, body = ErrorBody),
        (status = 403, body = ErrorBody), (status = 404, body = ErrorBody), (status = 409, body = ErrorBody)),
    security(("bearer" = []), ("apiKey" = []))
)]
pub async fn set_limits(
    State(app): State<Arc<App>>,
    Path(key_id): Path<String>,
    actor: Actor,
    _: NoQuery,
    AdminBody(body): AdminBody<LimitsOfKey>,
) -> Result<Json<LimitsSet>, Problem> {
    let key_id = key_id.parse().map(KeyId);
    let key_id = key_id.map_err(|_| Problem::invalid("invalid_key_id", "A key's id is a UUID."))?;
    let set = body.read()?;
    let catalog = app.gateway.providers().catalog();
    let position = accounts::set_key_limits(&app.log, catalog, &actor.metadata, key_id, set).await?;
    let in_force = accounts::wait_until_in_force(&app.pool, position).await;
    Ok(Json(LimitsSet { positions: of_change(position), in_force }))
}

impl LimitsOfKey {
    fn read(self) -> Result<SetLimits, Problem> {
        let networks = self.networks.iter().map(|text| network(text)).collect::<Result<_, _>>()?;
        let limits = KeyLimits {
            requests_per_minute: self.requests_per_minute,
            tokens_per_minute: self.tokens_per_minute,
            parallel_requests: self.parallel_requests,
            daily_budget_micro: self.daily_budget_micro.map(MicroUsd),
            monthly_budget_micro: self.monthly_budget_micro.map(MicroUsd),
            allowed_models: self.allowed_models,
            expires_at: self.expires_at.map(|named| named.0),
            has_networks: !self.networks.is_empty(),
        };
        Ok(SetLimits { limits, networks })
    }
}

/// A network, or one address alone.
fn network(text: &str) -> Result<IpNet, Problem> {
    given::network(text).map_err(|refusal| {
        let shown: String = text.chars().take(64).collect();
        Problem::invalid("invalid_network", format!("{shown:?}: {refusal}."))
    })
}

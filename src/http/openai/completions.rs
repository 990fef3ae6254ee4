//! Stored chat completions: listed, fetched, given metadata, deleted.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::{Path, Query, State};
use axum::response::Response;
use axum::{Extension, Json};
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::paging::{List, Paging, Parameters};
use super::{json_text, owner};
use crate::app::App;
use crate::http::auth::Principal;
use crate::http::error::Problem;
use crate::http::whole_body::WholeBody;
use crate::stored::{CompletionQuery, Metadata, Order};

/// Completions that were created with `store`, oldest first.
#[utoipa::path(
    get, path = "/v1/chat/completions",
    operation_id = "list_completions", tag = "stored",
    params(
        ("limit" = Option<u32>, Query, description = "1 to 100; 20 by default"),
        ("order" = Option<String>, Query, description = "`asc` or `desc`; `asc` by default"),
        ("after" = Option<String>, Query, description = "The last id of the page before"),
        ("model" = Option<String>, Query),
        ("metadata" = Option<String>, Query, description = "As `metadata[name]=value`, several if need be")
    ),
    responses((status = 200, body = serde_json::Value)),
    security(("bearer" = []), ("apiKey" = []))
)]
pub async fn list(
    State(app): State<Arc<App>>,
    Extension(principal): Extension<Principal>,
    Query(parameters): Query<Parameters>,
) -> Result<Json<List<Box<RawValue>>>, Problem> {
    let Paging { limit, order, after } = Paging::read(&parameters, Order::Asc)?;
    let metadata = wanted_metadata(&parameters)?;
    let model = parameters.into_iter().find(|(name, _)| name == "model").map(|(_, model)| model);
    if model.as_ref().is_some_and(|model| model.contains('\0')) {
        return Err(
            Problem::invalid("invalid_model", "`model` should be the name of a model.").about("model")
        );
    }
    let query = CompletionQuery { limit, order, after, model, metadata };
    let page = app.stored.completions(owner(principal)?, &query).await?;
    let read = |completion: crate::stored::StoredCompletion| {
        Ok((completion.completion_id, RawValue::from_string(completion.body)?))
    };
    let data: serde_json::Result<Vec<_>> = page.completions.into_iter().map(read).collect();
    let data = data.map_err(|error| Problem::failed(error.into()))?;
    Ok(Json(List::new(data, page.has_more)))
}

/// One stored completion.
#[utoipa::path(
    get, path = "/v1/chat/completions/{completion_id}",
    operation_id = "retrieve_completion", tag = "stored", params(("completion_id" = String, Path)),
    responses((status = 200, body = serde_json::Value), (status = 404, body = serde_json::Value)),
    security(("bearer" = []), ("apiKey" = []))
)]
pub async fn retrieve(
    State(app): State<Arc<App>>,
    Extension(principal): Extension<Principal>,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    Ok(json_text(app.stored.completion(owner(principal)?, &id).await?.body))
}

/// Gives a stored completion other `metadata`, in the place of what it had.
#[utoipa::path(
    post, path = "/v1/chat/completions/{completion_id}",
    operation_id = "update_completion", tag = "stored", params(("completion_id" = String, Path)),
    request_body = serde_json::Value,
    responses((status = 200, body = serde_json::Value), (status = 400, body = serde_json::Value), (status = 404, body = serde_json::Value)),
    security(("bearer" = []), ("apiKey" = []))
)]
pub async fn update(
    State(app): State<Arc<App>>,
    Extension(principal): Extension<Principal>,
    Path(id): Path<String>,
    WholeBody(body): WholeBody,
) -> Result<Response, Problem> {
    change(&app, principal, &id, &body).await
}

/// The same as the POST of this URL.
#[utoipa::path(
    patch, path = "/v1/chat/completions/{completion_id}",
    operation_id = "patch_completion", tag = "stored", params(("completion_id" = String, Path)),
    request_body = serde_json::Value,
    responses((status = 200, body = serde_json::Value), (status = 400, body = serde_json::Value), (status = 404, body = serde_json::Value)),
    security(("bearer" = []), ("apiKey" = []))
)]
pub async fn patch(
    State(app): State<Arc<App>>,
    Extension(principal): Extension<Principal>,
    Path(id): Path<String>,
    WholeBody(body): WholeBody,
) -> Result<Response, Problem> {
    change(&app, principal, &id, &body).await
}

/// Deletes a stored completion.
#[utoipa::path(
    delete, path = "/v1/chat/completions/{completion_id}",
    operation_id = "delete_completion", tag = "stored", params(("completion_id" = String, Path)),
    responses((status = 200, body = serde_json::Value), (status = 404, body = serde_json::Value)),
    security(("bearer" = []), ("apiKey" = []))
)]
pub async fn delete(
    State(app): State<Arc<App>>,
    Extension(principal): Extension<Principal>,
    Path(id): Path<String>,
) -> Result<Json<Value>, Problem> {
    app.stored.delete_completion(owner(principal)?, &id).await?;
    Ok(Json(json!({ "id": id, "object": "chat.completion.deleted", "deleted": true })))
}

async fn change(app: &App, principal: Principal, id: &str, body: &[u8]) -> Result<Response, Problem> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Change<'a> {
        #[serde(borrow)]
        metadata: &'a RawValue,
    }
    let unreadable = |_| {
        let message = "The body should be a JSON object with `metadata` and nothing else.";
        Problem::invalid("invalid_request", message).about("metadata")
    };
    let change: Change = serde_json::from_slice(body).map_err(unreadable)?;
    let metadata = Metadata::parse(change.metadata.get())?;
    Ok(json_text(app.stored.update_completion(owner(principal)?, id, &metadata).await?.body))
}

/// The pairs of `metadata[name]=value`.
fn wanted_metadata(parameters: &Parameters) -> Result<Metadata, Problem> {
    let pairs: BTreeMap<String, String> = parameters
        .iter()
        .filter_map(|(name, value)| {
            let name = name.strip_prefix("metadata[")?.strip_suffix(']')?;
            Some((name.to_owned(), value.clone()))
        })
        .collect();
    Ok(Metadata::checked(pairs)?)
}

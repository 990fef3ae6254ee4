//! The messages that a stored completion was generated from.

use std::sync::Arc;

use axum::extract::{Path, Query, State};
use axum::{Extension, Json};
use serde_json::{Value, json};

use super::owner;
use super::paging::{List, Paging, Parameters};
use crate::app::App;
use crate::http::auth::Principal;
use crate::http::error::Problem;
use crate::stored::Order;

/// The request's messages, each with an id; content that came in parts is in `content_parts`.
#[utoipa::path(
    get, path = "/v1/chat/completions/{completion_id}/messages",
    operation_id = "list_completion_messages", tag = "stored",
    params(
        ("completion_id" = String, Path),
        ("limit" = Option<u32>, Query, description = "1 to 100; 20 by default"),
        ("order" = Option<String>, Query, description = "`asc` or `desc`; `asc` by default"),
        ("after" = Option<String>, Query, description = "The last id of the page before")
    ),
    responses((status = 200, body = serde_json::Value), (status = 404, body = serde_json::Value)),
    security(("bearer" = []), ("apiKey" = []))
)]
pub async fn list(
    State(app): State<Arc<App>>,
    Extension(principal): Extension<Principal>,
    Path(id): Path<String>,
    Query(parameters): Query<Parameters>,
) -> Result<Json<List<Value>>, Problem> {
    let paging = Paging::read(&parameters, Order::Asc)?;
    let completion = app.stored.completion(owner(principal)?, &id).await?;
    let messages: Vec<Value> =
        serde_json::from_str(&completion.messages).map_err(|error| Problem::failed(error.into()))?;
    let listed = messages.into_iter().enumerate().map(|(place, message)| {
        let message_id = format!("{id}-{place}");
        (message_id.clone(), listed(message_id, message))
    });
    Ok(Json(paging.page(listed.collect())?))
}

fn listed(id: String, message: Value) -> Value {
    let mut message = if message.is_object() { message } else { json!({ "content": message }) };
    message["id"] = id.into();
    let parts = message.get_mut("content").filter(|content| content.is_array()).map(Value::take);
    message["content_parts"] = parts.unwrap_or(Value::Null);
    message
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_in_parts_is_listed_apart() {
        let text = listed("c-0".into(), json!({"role": "user", "content": "hi"}));
        assert_eq!(text, json!({"id": "c-0", "role": "user", "content": "hi", "content_parts": null}));
        let parts =
            listed("c-1".into(), json!({"role": "user", "content": [{"type": "text", "text": "hi"}]}));
        assert_eq!((&parts["content"], &parts["content_parts"][0]["text"]), (&Value::Null, &json!("hi")));
    }
}

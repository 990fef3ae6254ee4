//! The input of a stored response, item by item.
//!
//! Items are kept as they were sent, mostly without ids. Here they get what OpenAI's lists have: an
//! id, the same at every look, a type, and content in parts.

use std::collections::HashSet;
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

/// The items that a stored response was generated from, those of the responses it went on from included.
#[utoipa::path(
    get, path = "/v1/responses/{response_id}/input_items",
    operation_id = "list_input_items", tag = "stored",
    params(
        ("response_id" = String, Path),
        ("limit" = Option<u32>, Query, description = "1 to 100; 20 by default"),
        ("order" = Option<String>, Query, description = "`asc` or `desc`; `desc` by default"),
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
    let paging = Paging::read(&parameters, Order::Desc)?;
    let response = app.stored.response(owner(principal)?, &id).await?;
    let items: Vec<Value> =
        serde_json::from_str(&response.input).map_err(|error| Problem::failed(error.into()))?;
    Ok(Json(paging.page(listed(&id, items))?))
}

/// Each item as OpenAI lists it, with its id.
fn listed(response_id: &str, items: Vec<Value>) -> Vec<(String, Value)> {
    let mut known = HashSet::new();
    let suffix = response_id.trim_start_matches("resp_");
    items
        .into_iter()
        .enumerate()
        .map(|(place, item)| {
            let mut item = if item.is_object() { item } else { json!({ "type": "unknown", "value": item }) };
            complete_message(&mut item);
            let own = item["id"].as_str().map(str::to_owned).filter(|id| known.insert(id.clone()));
            let id = own.unwrap_or_else(|| format!("{}_{suffix}_{place}", prefix(&item)));
            item["id"] = id.as_str().into();
            (id, item)
        })
        .collect()
}

fn complete_message(item: &mut Value) {
    if item.get("type").is_none() && item.get("role").is_some() {
        item["type"] = "message".into();
    }
    if item["type"] != "message" {
        return;
    }
    let is_answer = item["role"] == "assistant";
    if let Some(text) = item["content"].as_str() {
        item["content"] = match is_answer {
            true => json!([{ "type": "output_text", "text": text, "annotations": [] }]),
            false => json!([{ "type": "input_text", "text": text }]),
        };
    }
    if item.get("status").is_none() {
        item["status"] = "completed".into();
    }
}

fn prefix(item: &Value) -> &'static str {
    match item["type"].as_str() {
        Some("message") => "msg",
        Some("reasoning") => "rs",
        Some("function_call") => "fc",
        Some("function_call_output") => "fco",
        Some("custom_tool_call") => "ctc",
        Some("custom_tool_call_output") => "ctco",
        Some(_) | None => "item",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn items_get_ids_types_and_parts_and_keep_what_they_have() {
        let items = vec![
            json!({"role": "user", "content": "hi"}),
            json!({"id": "msg_own", "type": "message", "role": "assistant", "content": "ho"}),
            json!({"id": "msg_own", "type": "message", "role": "user", "content": []}),
            json!({"type": "function_call_output", "call_id": "c", "output": "x"}),
        ];
        let listed = listed("resp_7", items);
        let ids: Vec<&str> = listed.iter().map(|(id, _)| id.as_str()).collect();
        assert_eq!(ids, ["msg_7_0", "msg_own", "msg_7_2", "fco_7_3"]);
        let user = json!({"id": "msg_7_0", "type": "message", "role": "user", "status": "completed",
            "content": [{"type": "input_text", "text": "hi"}]});
        assert_eq!(listed[0].1, user);
        assert_eq!(listed[1].1["content"][0]["type"], "output_text");
        assert_eq!(listed[3].1.get("status"), None);
    }
}

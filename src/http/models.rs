//! The models on sale, in the caller's dialect.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use codexapi_protocols::errors::ErrorKind;
use http::{HeaderMap, StatusCode, Uri};
use serde_json::{Value, json};

use super::error::{Problem, is_anthropic};
use super::query::QueryParams;
use crate::app::App;

/// A moment before the first model: the day a model was made is the provider's to know.
const CREATED_SECS: i64 = 1_767_225_600;
const CREATED_AT: &str = "2026-01-01T00:00:00Z";

/// Models on one of Anthropic's pages, where the client names no number, and at most.
const DEFAULT_PAGE: u32 = 20;
const MAX_PAGE: u32 = 1_000;

/// Every model on sale.
///
/// In Anthropic's form, page by page, where `anthropic-version` or `x-api-key` is sent; else in OpenAI's, whole.
#[utoipa::path(
    get, path = "/v1/models", operation_id = "list_models", tag = "models",
    params(
        ("limit" = Option<u32>, Query, minimum = 1, maximum = 1000, description = "Models on a page; Anthropic's form only, 20 by default."),
        ("after_id" = Option<String>, Query, description = "The page after this model; Anthropic's form only."),
        ("before_id" = Option<String>, Query, description = "The page before this model; Anthropic's form only.")
    ),
    responses((status = 200, body = serde_json::Value)),
    security(("bearer" = []), ("apiKey" = []))
)]
pub async fn list(State(app): State<Arc<App>>, headers: HeaderMap, uri: Uri) -> Result<Json<Value>, Problem> {
    if !is_anthropic(&headers) {
        // Clients of OpenAI's list send parameters of their own making; it has none that could be meant.
        let data: Vec<Value> = on_sale(&app).await?.iter().map(|model| openai(&app, model)).collect();
        return Ok(Json(json!({ "object": "list", "data": data })));
    }
    let params = QueryParams::of(&uri, &["limit", "after_id", "before_id"])?;
    let limit = params.number("limit", 1..=MAX_PAGE)?.unwrap_or(DEFAULT_PAGE);
    let models = on_sale(&app).await?;
    let (page, has_more) = page(&models, limit, params.text("after_id"), params.text("before_id"))?;
    let data: Vec<Value> = page.iter().map(|model| anthropic(&app, model)).collect();
    Ok(Json(json!({
        "data": data, "has_more": has_more, "first_id": page.first(), "last_id": page.last(),
    })))
}

/// One model on sale.
#[utoipa::path(
    get, path = "/v1/models/{model_id}", operation_id = "read_model", tag = "models", params(("model_id" = String, Path)),
    responses((status = 200, body = serde_json::Value), (status = 404, body = serde_json::Value)),
    security(("bearer" = []), ("apiKey" = []))
)]
pub async fn retrieve(
    State(app): State<Arc<App>>,
    Path(model): Path<String>,
    headers: HeaderMap,
) -> Result<Json<Value>, Problem> {
    let models = on_sale(&app).await?;
    if !models.contains(&model) {
        return Err(not_sold(&model, &models));
    }
    Ok(Json(if is_anthropic(&headers) { anthropic(&app, &model) } else { openai(&app, &model) }))
}

/// The names of every model on sale, in order.
pub async fn on_sale(app: &App) -> Result<Vec<String>, Problem> {
    app.gateway.models_on_sale().await.map_err(Problem::unavailable)
}

/// The refusal of a model that is not among those `on_sale`.
pub fn not_sold(model: &str, on_sale: &[String]) -> Problem {
    let message = format!("The model {model:?} is not sold here. Available: {}", on_sale.join(", "));
    Problem::new(StatusCode::NOT_FOUND, ErrorKind::NotFound, "model_not_found", message)
}

/// The models of one page, and whether there are more in the direction asked for.
fn page<'a>(
    models: &'a [String],
    limit: u32,
    after: Option<&str>,
    before: Option<&str>,
) -> Result<(&'a [String], bool), Problem> {
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let place = |name: &str, id: &str| {
        let message = format!("`{name}` is the id of a model of this list.");
        let refusal = || Problem::invalid("invalid_query", message);
        models.iter().position(|model| model == id).ok_or_else(refusal)
    };
    match (after, before) {
        (Some(_), Some(_)) => {
            Err(Problem::invalid("invalid_query", "Send `after_id` or `before_id`, not both."))
        }
        (None, Some(id)) => {
            let end = place("before_id", id)?;
            let start = end.saturating_sub(limit);
            Ok((&models[start..end], start > 0))
        }
        (after, None) => {
            let start = after.map(|id| place("after_id", id)).transpose()?.map_or(0, |place| place + 1);
            let end = start.saturating_add(limit).min(models.len());
            Ok((&models[start..end], end < models.len()))
        }
    }
}

fn anthropic(app: &App, model: &str) -> Value {
    let label = app.config.brand.model_labels.of(model);
    json!({ "type": "model", "id": model, "display_name": label, "created_at": CREATED_AT })
}

/// OpenAI's form has no label; clients that do not know the field pass over it.
fn openai(app: &App, model: &str) -> Value {
    let label = app.config.brand.model_labels.of(model);
    json!({
        "id": model, "object": "model", "created": CREATED_SECS, "owned_by": "codexapi", "display_name": label,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn models() -> Vec<String> {
        ["a", "b", "c", "d"].map(str::to_owned).to_vec()
    }

    #[test]
    fn pages_forward_and_backward_meet_every_model_once() {
        let models = models();
        let (first, more) = page(&models, 3, None, None).expect("a page");
        assert_eq!((first, more), (&models[..3], true));
        let (rest, more) = page(&models, 3, Some("c"), None).expect("a page");
        assert_eq!((rest, more), (&models[3..], false));
        let (back, more) = page(&models, 2, None, Some("d")).expect("a page");
        assert_eq!((back, more), (&models[1..3], true));
        let (start, more) = page(&models, 2, None, Some("b")).expect("a page");
        assert_eq!((start, more), (&models[..1], false));
        assert_eq!(page(&models, 2, Some("d"), None).expect("past the end"), (&models[4..], false));
    }

    #[test]
    fn a_place_that_is_none_is_refused() {
        let models = models();
        assert!(page(&models, 2, Some("x"), None).expect_err("unknown").message.contains("`after_id`"));
        assert!(page(&models, 2, None, Some("x")).expect_err("unknown").message.contains("`before_id`"));
        assert!(page(&models, 2, Some("a"), Some("b")).is_err());
    }
}

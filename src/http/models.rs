//! The models on sale, in the caller's dialect, under the labels that the operator gives them.
//!
//! A list names each model once, by its own name. One model is also found by its label and its aliases, as requests
//! find it, and is then shown under its own name, as Anthropic's API resolves aliases.

use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use codexapi_aggregates::routing::{ModelRule, POLICY_STREAM, RoutingPolicy};
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
        let data: Vec<Value> = shown(&app, on_sale(&app).await?).await?.iter().map(openai).collect();
        return Ok(Json(json!({ "object": "list", "data": data })));
    }
    let params = QueryParams::of(&uri, &["limit", "after_id", "before_id"])?;
    let limit = params.number("limit", 1..=MAX_PAGE)?.unwrap_or(DEFAULT_PAGE);
    let models = on_sale(&app).await?;
    let (page, has_more) = page(&models, limit, params.text("after_id"), params.text("before_id"))?;
    let page = models[page].to_vec();
    let (first_id, last_id) = (page.first().cloned(), page.last().cloned());
    let data: Vec<Value> = shown(&app, page).await?.iter().map(anthropic).collect();
    Ok(Json(json!({ "data": data, "has_more": has_more, "first_id": first_id, "last_id": last_id })))
}

/// One model on sale, by its name, its label or an alias.
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
    let Some(name) = app.gateway.sold_as(&model).await.map_err(Problem::unavailable)? else {
        return Err(not_sold(&model, &on_sale(&app).await?));
    };
    let shown = shown(&app, vec![name]).await?;
    let form = if is_anthropic(&headers) { anthropic } else { openai };
    Ok(Json(shown.first().map(form).unwrap_or_default()))
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

/// A model as it is shown.
struct Shown {
    model: String,
    label: String,
    /// Further names it may be asked for by.
    aliases: BTreeSet<String>,
}

async fn shown(app: &App, models: Vec<String>) -> Result<Vec<Shown>, Problem> {
    let catalog = app.gateway.providers().catalog();
    let look = |policy: &RoutingPolicy| {
        let configured = |model: &String| {
            let sold = catalog.providers.iter().flat_map(|provider| &provider.models);
            let aliases =
                sold.filter(|sold| sold.model == *model).flat_map(|sold| sold.aliases.iter().cloned());
            // The policy may have given a configured name another meaning.
            aliases.filter(|alias| policy.resolve(catalog, alias) == Some(model)).collect::<BTreeSet<_>>()
        };
        let rules = models.iter().map(|model| (policy.model(model), configured(model)));
        rules.collect::<Vec<(ModelRule, BTreeSet<String>)>>()
    };
    let rules = app.log.read(POLICY_STREAM, look).await.map_err(Problem::unavailable)?;
    let shown = models.into_iter().zip(rules).map(|(model, (rule, mut aliases))| {
        aliases.extend(rule.aliases);
        let label = rule.label.unwrap_or_else(|| app.config.brand.model_labels.of(&model).to_owned());
        Shown { model, label, aliases }
    });
    Ok(shown.collect())
}

/// The models of one page, as a range of `models`, and whether there are more in the direction asked for.
fn page(
    models: &[String],
    limit: u32,
    after: Option<&str>,
    before: Option<&str>,
) -> Result<(Range<usize>, bool), Problem> {
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
            Ok((start..end, start > 0))
        }
        (after, None) => {
            let start = after.map(|id| place("after_id", id)).transpose()?.map_or(0, |place| place + 1);
            let end = start.saturating_add(limit).min(models.len());
            Ok((start..end, end < models.len()))
        }
    }
}

fn anthropic(shown: &Shown) -> Value {
    let Shown { model, label, .. } = shown;
    json!({ "type": "model", "id": model, "display_name": label, "created_at": CREATED_AT })
}

/// OpenAI's form has neither label nor aliases; clients that do not know the fields pass over them.
fn openai(shown: &Shown) -> Value {
    let Shown { model, label, aliases } = shown;
    json!({
        "id": model, "object": "model", "created": CREATED_SECS, "owned_by": "codexapi", "display_name": label,
        "aliases": aliases,
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
        assert_eq!((first, more), (0..3, true));
        let (rest, more) = page(&models, 3, Some("c"), None).expect("a page");
        assert_eq!((rest, more), (3..4, false));
        let (back, more) = page(&models, 2, None, Some("d")).expect("a page");
        assert_eq!((back, more), (1..3, true));
        let (start, more) = page(&models, 2, None, Some("b")).expect("a page");
        assert_eq!((start, more), (0..1, false));
        assert_eq!(page(&models, 2, Some("d"), None).expect("past the end"), (4..4, false));
    }

    #[test]
    fn a_place_that_is_none_is_refused() {
        let models = models();
        assert!(page(&models, 2, Some("x"), None).expect_err("unknown").message.contains("`after_id`"));
        assert!(page(&models, 2, None, Some("x")).expect_err("unknown").message.contains("`before_id`"));
        assert!(page(&models, 2, Some("a"), Some("b")).is_err());
    }
}

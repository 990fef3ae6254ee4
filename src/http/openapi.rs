//! The description of this API, made from the code that answers.

use axum::Json;
use utoipa::openapi::security::{ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::{Modify, OpenApi};

use super::openai::{completion_messages, completions, input_items, input_tokens, responses};
use super::{account, api_docs, billing, count_tokens, generations, key, models, setup, system};

#[derive(OpenApi)]
#[openapi(
    info(title = "codexapi", description = "Metered access to coding models."),
    paths(
        system::api_root,
        system::health,
        system::ready,
        document,
        api_docs::page,
        setup::public_codex,
        setup::public_claude_code,
        setup::codex_version,
        setup::launcher_version,
        generations::responses,
        generations::chat,
        generations::completions,
        generations::messages,
        responses::retrieve,
        responses::delete,
        responses::cancel,
        responses::compact,
        input_items::list,
        input_tokens::count,
        input_tokens::input_tokens,
        completions::list,
        completions::retrieve,
        completions::update,
        completions::patch,
        completions::delete,
        completion_messages::list,
        generations::messages_subpath,
        count_tokens::count,
        models::list,
        models::retrieve,
        account::me,
        key::read,
        billing::generations::list,
        billing::generations::read,
        billing::wallet_status::read,
        billing::token_usage::read
    ),
    modifiers(&Credentials)
)]
pub struct ApiDocument;

/// This document.
#[utoipa::path(
    get, path = "/openapi.json", tag = "system", security(()),
    responses((status = 200, content_type = "application/json"))
)]
pub async fn document() -> Json<utoipa::openapi::OpenApi> {
    Json(ApiDocument::openapi())
}

/// The document as plain JSON.
pub fn document_value() -> serde_json::Value {
    serde_json::to_value(ApiDocument::openapi()).expect("the document is JSON")
}

struct Credentials;

impl Modify for Credentials {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        let components = document.components.get_or_insert_default();
        let bearer = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).build();
        components.add_security_scheme("bearer", SecurityScheme::Http(bearer));
        let key = ApiKey::Header(ApiKeyValue::new("x-api-key"));
        components.add_security_scheme("apiKey", SecurityScheme::ApiKey(key));
    }
}

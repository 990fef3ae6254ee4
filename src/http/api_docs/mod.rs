//! `GET /api-docs`: the API for people, made from the same document as `/openapi.json`.
//!
//! The page is plain HTML and one style sheet inside it: nothing is fetched from anywhere, nothing runs. Its security
//! policy allows that style by its digest and nothing else, so that not even a mistake in escaping could do harm.

mod reference;

use std::sync::{Arc, LazyLock};

use askama::Template;
use axum::extract::State;
use axum::response::{Html, IntoResponse, Response};
use data_encoding::BASE64;
use http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS};
use sha2::{Digest, Sha256};

use self::reference::{Part, Schema};
use super::setup::{self, PLACEHOLDER, WARNING};
use crate::app::App;

const CSS: &str = include_str!("../../../templates/api_docs.css");

/// Only the style that stands in the page; no frame, form, script, image or base.
static POLICY: LazyLock<String> = LazyLock::new(|| {
    let digest = BASE64.encode(&Sha256::digest(CSS.as_bytes()));
    format!(
        "default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
});

#[derive(Template)]
#[template(path = "api_docs.html")]
struct Page<'a> {
    name: &'a str,
    about: &'a str,
    css: &'a str,
    base_url: &'a str,
    placeholder: &'a str,
    warning: &'a str,
    codex_toml: String,
    claude_settings: String,
    parts: Vec<Part>,
    schemas: Vec<Schema>,
}

/// This API for people.
#[utoipa::path(
    get, path = "/api-docs", tag = "system", security(()),
    responses((status = 200, content_type = "text/html", body = String))
)]
pub async fn page(State(app): State<Arc<App>>) -> Response {
    let html = Html(render(&app.config.brand, &app.public_url()));
    let headers = [
        (CONTENT_SECURITY_POLICY, POLICY.as_str()),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (REFERRER_POLICY, "no-referrer"),
        (CACHE_CONTROL, "public, max-age=300"),
    ];
    (headers, html).into_response()
}

fn render(brand: &crate::config::BrandSettings, base_url: &str) -> String {
    let reference = reference::of(&super::openapi::document_value(), &super::routes(), base_url, brand);
    let page = Page {
        name: &brand.provider_name,
        about: "Metered access to coding models, in OpenAI's and Anthropic's dialects.",
        css: CSS,
        base_url,
        placeholder: PLACEHOLDER,
        warning: WARNING,
        codex_toml: setup::codex_toml(brand, base_url),
        claude_settings: setup::claude_settings(brand, base_url),
        parts: reference.parts,
        schemas: reference.schemas,
    };
    page.render().expect("writing to a string does not fail")
}

#[cfg(test)]
mod tests;

use clap::{Args as _, FromArgMatches as _};
use serde_json::json;

use super::*;
use crate::config::BrandSettings;
use crate::http::auth::Audience;
use crate::http::{Route, routes};

const URL: &str = "https://gateway.example";

fn brand() -> BrandSettings {
    let command = BrandSettings::augment_args(clap::Command::new("test").no_binary_name(true));
    let matches = command.mut_args(|arg| arg.env(clap::builder::Resettable::Reset)).get_matches_from([""; 0]);
    BrandSettings::from_arg_matches(&matches).expect("defaults")
}

#[test]
fn every_route_is_on_the_page_with_who_may_call_it() {
    let page = render(&brand(), URL);
    for Route { method, path, .. } in routes() {
        let heading =
            format!(r#"<span class="method">{method}</span> <code>{}</code>"#, path.replace("{*", "{"));
        assert!(page.contains(&heading), "{method} {path}");
    }
    assert!(!page.contains("see the operation it goes with"));
    assert!(page.contains("curl -sN https://gateway.example/v1/responses"));
    assert!(page.contains("base_url = &#34;https://gateway.example/v1&#34;"), "the host is filled in");
}

#[test]
fn the_page_fetches_nothing_runs_nothing_and_its_policy_allows_its_own_style_alone() {
    let page = render(&brand(), URL);
    for forbidden in
        ["<script", "<link", "<img", "<iframe", "src=", "@import", "url(", "style=", "javascript:"]
    {
        assert!(!page.contains(forbidden), "{forbidden}");
    }
    let style =
        page.split_once("<style>").and_then(|(_, rest)| rest.split_once("</style>")).expect("a style").0;
    let digest = BASE64.encode(&Sha256::digest(style.as_bytes()));
    assert!(POLICY.contains(&format!("style-src 'sha256-{digest}'")), "{}", *POLICY);
    assert!(POLICY.starts_with("default-src 'none'"));
}

#[test]
fn every_link_on_the_page_leads_somewhere_on_it() {
    let page = render(&brand(), URL);
    for link in page.split("href=\"#").skip(1) {
        let target = link.split_once('"').expect("closed").0;
        assert!(page.contains(&format!("id=\"{target}\"")), "#{target}");
    }
}

#[test]
fn what_the_document_says_is_text_and_never_markup_and_operators_stand_apart() {
    let hostile = "<script>alert('x')</script>\"&";
    let document = json!({
        "paths": {
            "/admin/api/x": {"get": {"tags": [hostile], "summary": hostile, "responses": {"200": {"description": hostile}}}},
            "/v1/y": {"post": {"tags": ["t"], "summary": "s", "responses": {}}},
        },
        "components": {"schemas": {"S": {"properties": {hostile: {"type": hostile, "description": hostile}}}}},
    });
    let handler = || axum::routing::get(async || "");
    let route = Route { method: http::Method::GET, path: "/admin/api/x", audience: Audience::Admin, handler };
    let reference = reference::of(&document, &[route], URL, &brand());
    let titles: Vec<_> = reference.parts.iter().map(|part| (part.title, part.groups.len())).collect();
    assert_eq!(titles, [("For customers", 1), ("For operators", 1)]);
    let page = Page {
        name: hostile,
        about: hostile,
        css: CSS,
        base_url: URL,
        placeholder: PLACEHOLDER,
        warning: WARNING,
        codex_toml: hostile.into(),
        claude_settings: hostile.into(),
        parts: reference.parts,
        schemas: reference.schemas,
    };
    let page = page.render().expect("rendered");
    assert!(!page.contains("<script"), "{page}");
    assert!(page.contains("&#60;script&#62;"));
}

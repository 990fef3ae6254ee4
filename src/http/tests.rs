use std::collections::BTreeSet;

use utoipa::OpenApi as _;

use super::*;

/// Whoever adds to this list opens a route to everybody.
const PUBLIC: [&str; 9] = [
    "/",
    "/api-docs",
    "/api/v1/cli/public-claude-code",
    "/api/v1/cli/public-codex",
    "/api/v1/cli/version",
    "/api/v1/codexclaude/version",
    "/health",
    "/openapi.json",
    "/ready",
];

#[test]
fn only_the_named_routes_are_public() {
    let public: BTreeSet<&str> =
        routes().iter().filter(|route| route.audience == Audience::Public).map(|route| route.path).collect();
    assert_eq!(public, PUBLIC.into_iter().collect());
}

#[test]
fn no_route_stands_in_the_map_twice() {
    let all: Vec<_> = routes().iter().map(|route| (route.method.clone(), route.path)).collect();
    let distinct: BTreeSet<_> = all.iter().map(|(method, path)| (method.as_str(), path)).collect();
    assert_eq!(distinct.len(), all.len());
}

#[test]
fn the_api_document_describes_exactly_the_routes_of_the_map() {
    let documented: BTreeSet<String> = openapi::ApiDocument::openapi().paths.paths.keys().cloned().collect();
    let mapped: BTreeSet<String> = routes().iter().map(|route| route.path.replace("{*", "{")).collect();
    assert_eq!(documented, mapped);
}

#[test]
fn the_committed_api_document_is_that_of_the_code() {
    let written = openapi::ApiDocument::openapi().to_pretty_json().expect("the document is JSON");
    let committed = include_str!("../../schemas/openapi.json");
    let differs = committed.lines().zip(written.lines()).find(|(ours, theirs)| ours != theirs);
    assert_eq!(differs, None, "`make schemas` writes it anew");
    assert_eq!(committed.lines().count(), written.lines().count(), "`make schemas` writes it anew");
}

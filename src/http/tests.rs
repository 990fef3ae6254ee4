use std::collections::BTreeSet;

use utoipa::OpenApi as _;

use super::*;

/// Whoever adds to this list opens a route to everybody.
const PUBLIC: [&str; 12] = [
    "/",
    "/api-docs",
    "/api/v1/cli/public-claude-code",
    "/api/v1/cli/public-codex",
    "/api/v1/cli/version",
    "/api/v1/codexclaude/version",
    "/api/v1/gumroad/register",
    "/api/v1/plans",
    "/api/v1/stripe/webhook",
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
    let document = openapi::ApiDocument::openapi();
    let described = document.paths.paths.iter().flat_map(|(path, item)| {
        openapi::operations(item).map(move |(method, _)| (method.to_owned(), path.clone()))
    });
    let mapped = routes().into_iter().map(|route| (route.method.to_string(), route.path.replace("{*", "{")));
    assert_eq!(described.collect::<BTreeSet<_>>(), mapped.collect());
}

#[test]
fn every_operation_has_a_name_of_its_own_and_operators_stand_apart() {
    let document = openapi::ApiDocument::openapi();
    let mut names = BTreeSet::new();
    for (path, item) in &document.paths.paths {
        for (method, operation) in openapi::operations(item) {
            let name = operation.operation_id.clone().expect("named");
            assert!(names.insert(name.clone()), "{method} {path}: {name} is another's name");
            assert!(operation.summary.is_some(), "{method} {path} is not described");
            let tags = operation.tags.clone().unwrap_or_default();
            let route = routes()
                .into_iter()
                .find(|route| route.path.replace("{*", "{") == *path && route.method.as_str() == method);
            let is_operators = route.is_some_and(|route| route.audience == Audience::Admin);
            let tagged = tags.iter().all(|tag| tag.starts_with(openapi::OPERATOR_TAG));
            assert!(!tags.is_empty() && tagged == is_operators, "{method} {path}: {tags:?}");
        }
    }
}

#[test]
fn the_committed_api_document_is_that_of_the_code() {
    let written = openapi::ApiDocument::openapi().to_pretty_json().expect("the document is JSON");
    let committed = include_str!("../../schemas/openapi.json");
    let differs = committed.lines().zip(written.lines()).find(|(ours, theirs)| ours != theirs);
    assert_eq!(differs, None, "`make schemas` writes it anew");
    assert_eq!(committed.lines().count(), written.lines().count(), "`make schemas` writes it anew");
}

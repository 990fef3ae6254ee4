//! Who opens the operator's routes, and what bodies they take.

use codexapi::http::auth::Audience;
use codexapi::http::routes;
use http::StatusCode;
use serde_json::json;

use crate::http::{ADMIN_TOKEN, OPERATOR_TOKEN, Service};

use super::Fleet;

const PREFIXES: [&str; 2] = ["/admin/api", "/admin-api/v1"];

#[test]
fn every_operators_route_stands_under_both_prefixes() {
    let paths = |prefix: &str| {
        let all = routes().into_iter().filter(|route| route.audience == Audience::Admin);
        let mut under: Vec<_> = all
            .filter_map(|route| Some((route.method.to_string(), route.path.strip_prefix(prefix)?)))
            .collect();
        under.sort();
        under
    };
    assert_eq!(paths(PREFIXES[0]), paths(PREFIXES[1]));
    assert!(paths(PREFIXES[0]).len() >= 18);
}

#[tokio::test(flavor = "multi_thread")]
async fn only_an_admins_key_opens_the_operators_routes() {
    let service = Service::start().await;
    let customer = service.customer().await;
    for route in routes().iter().filter(|route| route.audience == Audience::Admin) {
        let method = route.method.as_str();
        for token in [customer.system_token.token.reveal(), OPERATOR_TOKEN] {
            let status = service.send(method, route.path, &[("x-api-key", token)]).await.status();
            assert_eq!(status, StatusCode::FORBIDDEN, "{method} {}", route.path);
        }
        let status = service.send(method, route.path, &[]).await.status();
        assert_eq!(status, StatusCode::UNAUTHORIZED, "{method} {}", route.path);
    }
    let admin = [("x-api-key", ADMIN_TOKEN)];
    assert_eq!(service.send("POST", "/v1/responses", &admin).await.status(), StatusCode::FORBIDDEN);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_read_is_the_same_under_both_prefixes_and_names_no_address() {
    let fleet = Fleet::start().await;
    for path in ["/manage-models", "/model-provider", "/models", "/model-usage", "/maintenance-mode"] {
        let mut answers = Vec::new();
        for prefix in PREFIXES {
            let admin = [("x-api-key", ADMIN_TOKEN)];
            let (status, body) = fleet.service.get(&format!("{prefix}{path}"), &admin).await;
            assert_eq!(status, StatusCode::OK, "{body}");
            answers.push(body);
        }
        assert_eq!(answers[0], answers[1]);
        assert!(!answers[0].to_string().contains("127.0.0.1"), "{}", answers[0]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_that_are_too_large_or_of_another_shape_are_refused() {
    let fleet = Fleet::start().await;
    let takes_json = |path: &str| !path.ends_with("/provider-invoices");
    let posts = routes().into_iter().filter(|route| {
        route.audience == Audience::Admin && route.method == "POST" && takes_json(route.path)
    });
    for route in posts {
        let id = "0190a0a0-0000-7000-8000-000000000001";
        let path = route.path.replace("{key_id}", id).replace("{user_id}", id).replace("{entry_id}", "1");
        let send = async |body: String| {
            let (status, body) = fleet.service.post(&path, &[("x-api-key", ADMIN_TOKEN)], body).await;
            (status.as_u16(), body["error"]["code"].as_str().unwrap_or_default().to_owned())
        };
        let large = json!({ "message": "x".repeat(1 << 20) }).to_string();
        assert_eq!(send(large).await, (413, "request_too_large".into()), "{path}");
        for bad in ["[]", "{", "null", r#"{"nonsense": 1}"#] {
            assert_eq!(send(bad.into()).await, (400, "invalid_body".into()), "{path} {bad}");
        }
    }
    assert!(fleet.events("routing.targets_set").await.is_empty());
}

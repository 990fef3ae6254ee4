//! What anybody reads about setting clients up, and the page about the API.

use http::StatusCode;

use super::{Service, bearer, json_body};

#[tokio::test(flavor = "multi_thread")]
async fn the_payloads_name_this_host_and_this_brand_and_never_the_callers_token() {
    let service = Service::start_with(&[
        ("CODEXAPI_PUBLIC_URL", "https://gateway.example"),
        ("CODEXAPI_PROVIDER_ID", "acme"),
        ("CODEXAPI_PROVIDER_NAME", "Acme Models"),
        ("CODEXAPI_LAUNCHER_VERSION", "3.1.4"),
    ])
    .await;
    let customer = service.customer().await;
    let token = customer.system_token.token.reveal();
    let authorization = bearer(token);
    for path in ["/api/v1/cli/public-codex", "/api/v1/cli/public-claude-code"] {
        let answer = service.send("GET", path, &[("authorization", &authorization)]).await;
        assert_eq!(answer.status(), StatusCode::OK);
        let payload = json_body(answer).await;
        assert_eq!(
            (&payload["providerId"], &payload["providerName"]),
            (&"acme".into(), &"Acme Models".into())
        );
        assert!(payload["baseUrl"].as_str().is_some_and(|url| url.starts_with("https://gateway.example")));
        let text = payload.to_string();
        assert!(!text.contains(token) && text.contains("<CODEXAPI_API_KEY>"));
        assert!(!text.contains("CodexAPI.pro"), "the brand is a setting");
    }
    let (_, launcher) = service.get("/api/v1/codexclaude/version", &[]).await;
    assert_eq!(launcher["requiredVersion"], "3.1.4");
    let (_, codex) = service.get("/api/v1/cli/version", &[]).await;
    assert_eq!(codex["officialCliVersion"], "0.141.0");
    assert_eq!(codex["officialInstallCommand"], "npm install -g @openai/codex@latest");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_about_the_api_is_open_to_all_and_allows_nothing_to_run() {
    let service = Service::start().await;
    let answer = service.send("GET", "/api-docs", &[]).await;
    assert_eq!(answer.status(), StatusCode::OK);
    let headers = answer.headers();
    assert!(headers["content-type"].to_str().expect("text").starts_with("text/html"));
    let policy = headers["content-security-policy"].to_str().expect("text");
    assert!(policy.starts_with("default-src 'none'") && !policy.contains("unsafe"), "{policy}");
    assert_eq!(headers["x-content-type-options"], "nosniff");
}

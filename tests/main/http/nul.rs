//! The character U+0000, which Postgres keeps in no text: refused on our own routes, passed on in prompts.

use codexapi::http::auth::Audience;
use codexapi::http::routes;
use http::StatusCode;
use serde_json::{Value, json};

use super::admin::Fleet;
use super::{ADMIN_TOKEN, bearer, json_body};

const REFUSED: &str = "text must not contain the character U+0000";

fn refused(what: &str, (status, body): &(StatusCode, Value), named: &str) {
    assert_eq!(*status, StatusCode::BAD_REQUEST, "{what}: {body}");
    let said = body["error"]["message"].as_str().unwrap_or_default();
    assert!(said.contains(REFUSED) && said.contains(named), "{what}: {body}");
    assert!(body["error"]["requestId"].is_string(), "{what}: {body}");
}

#[tokio::test(flavor = "multi_thread")]
async fn our_own_routes_refuse_it_by_the_name_of_what_holds_it() {
    let fleet = Fleet::start().await;
    let (account_id, token) = fleet.customer().await;
    let authorization = bearer(&token);
    let customer = [("authorization", authorization.as_str())];
    let admin = [("x-api-key", ADMIN_TOKEN)];
    let wallet = format!("/admin/api/users/{account_id}/wallet/credit");
    let bodies = [
        ("/api/v1/referral", customer, json!({"code": "\0"}), "`code`"),
        (
            "/api/v1/cash-wallet/token-purchase",
            customer,
            json!({"planId": "starter", "idempotencyKey": "a\0b"}),
            "`idempotencyKey`",
        ),
        (&wallet, admin, json!({"grantMicro": 1, "note": "\0", "idempotencyKey": "k"}), "`note`"),
        ("/admin/api/maintenance-mode", admin, json!({"enabled": true, "message": "soon\0"}), "`message`"),
    ];
    for (path, headers, body, named) in bodies {
        refused(path, &fleet.service.post(path, &headers, body.to_string()).await, named);
    }
    let import = "/admin/api/provider-invoices?provider=";
    let line = "day,model,tokens,cost_usd\n2026-11-22,gpt\0,7,0.5\n";
    refused(import, &fleet.service.post(&format!("{import}%00"), &admin, line.into()).await, "`provider`");
    refused("users", &fleet.service.get("/admin/api/users?search=a%00b", &admin).await, "`search`");
    for path in ["/api/v1/generations/%00", "/api/v1/receipts/a%00b"] {
        refused(path, &fleet.service.get(path, &customer).await, "path");
    }
    fleet.ask(&token, "gpt-5.5", "c").await;
    let head: i64 = sqlx::query_scalar("select max(position) from events")
        .fetch_one(&fleet.service.app.pool)
        .await
        .expect("the head");
    fleet.service.projected("generations", head).await;
    refused(import, &fleet.service.post(&format!("{import}one"), &admin, line.into()).await, "invoice");
}

#[tokio::test(flavor = "multi_thread")]
async fn no_route_of_ours_fails_over_it() {
    let fleet = Fleet::start().await;
    let (account_id, token) = fleet.customer().await;
    for route in routes() {
        let token = match route.audience {
            Audience::Customer | Audience::Payer | Audience::Generation | Audience::Public => token.as_str(),
            Audience::Admin => ADMIN_TOKEN,
        };
        let method = route.method.as_str();
        let named = route.path.replace("{user_id}", &account_id.to_string()).replace("{*", "{");
        let in_path = match named.split_once('{') {
            Some((before, _)) => format!("{before}%00"),
            None => named.replace('{', ""),
        };
        for path in [in_path, format!("{}?search=%00&after=%00", named.replace(['{', '}'], ""))] {
            let headers = [("x-api-key", token)];
            let (status, answer) = match method {
                "POST" | "PATCH" => {
                    let body = json!({"model": "gpt\0", "input": "\0", "message": "\0", "code": "\0"});
                    fleet.service.post(&path, &headers, body.to_string()).await
                }
                _ => {
                    let answer = fleet.service.send(method, &path, &headers).await;
                    (answer.status(), json_body(answer).await)
                }
            };
            // What is not set up here, such as payments, says so whatever it is sent.
            let failed = status == StatusCode::INTERNAL_SERVER_ERROR
                || answer.to_string().contains("not available at the moment");
            assert!(!failed, "{method} {path}: {status} {answer}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_prompt_may_hold_it_and_what_would_be_kept_is_refused_or_left_out() {
    let fleet = Fleet::start().await;
    let (_, token) = fleet.customer().await;
    let authorization = bearer(&token);
    let headers = [("authorization", authorization.as_str())];
    let post = async |path: &str, body: Value| fleet.service.post(path, &headers, body.to_string()).await;
    let asked = json!({
        "model": "gpt-5.5", "input": "\0", "max_output_tokens": 16, "prompt_cache_key": "\0", "user": "\0",
        "store": true, "metadata": {"a": "\0"},
    });
    let (status, answer) = post("/v1/responses", asked.clone()).await;
    assert_eq!(status, StatusCode::OK, "{answer}");
    let stored = format!("/v1/responses/{}", answer["id"].as_str().expect("an id"));
    assert_eq!(fleet.service.get(&stored, &headers).await.0, StatusCode::OK);

    let changed = |name: &str, value: Value| {
        let mut body = asked.clone();
        body[name] = value;
        body
    };
    for (name, value) in [("model", "gpt\0"), ("previous_response_id", "resp_\0")] {
        for background in [false, true] {
            let mut body = changed(name, value.into());
            body["background"] = background.into();
            let (status, answer) = post("/v1/responses", body).await;
            assert_eq!(
                (status, &answer["error"]["param"]),
                (StatusCode::BAD_REQUEST, &name.into()),
                "{answer}"
            );
        }
    }
    let chat = json!({
        "model": "gpt-5.5", "max_tokens": 16, "store": true, "metadata": {"a": "\0"},
        "messages": [{"role": "user", "content": "\0"}],
    });
    let (status, answer) = post("/v1/chat/completions", chat).await;
    assert_eq!(
        (status, &answer["error"]["param"]),
        (StatusCode::BAD_REQUEST, &"metadata".into()),
        "{answer}"
    );
}

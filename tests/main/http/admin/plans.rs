//! Plans, end to end: what they cover, who pays otherwise, what customers are told and what they never are.

use axum::body::Body;
use codexapi::http::router;
use codexapi::verify::{self, HoldTerms, VerifyOptions};
use codexapi::{accounts, clock};
use codexapi_aggregates::ids::AccountId;
use codexapi_aggregates::money::MicroUsd;
use codexapi_aggregates::wallet::events::GrantSource;
use http::{HeaderMap, Request, StatusCode};
use http_body_util::BodyExt;
use serde_json::{Value, json};
use tower::ServiceExt;

use super::Fleet;
use crate::http::{bearer, operator};

const CODEX: (&str, &str) = ("originator", "codex_exec");
const CLAUDE: (&str, &str) = ("user-agent", "claude-cli/2.1.0 (external, cli)");
const CODEXCLAUDE: (&str, &str) = ("x-codexclaude-version", "2.0.2");

/// Figures that would stand out in whatever they leak into, in micro-USD.
const SHORT_LIMIT: i64 = 12_345_678;
const LONG_LIMIT: i64 = 98_765_432;
const INPUT_RATE: i64 = 7_654_321;
const OUTPUT_RATE: i64 = 9_753_186;

struct Told {
    status: StatusCode,
    headers: HeaderMap,
    text: String,
}

async fn send(fleet: &Fleet, token: &str, path: &str, header: (&str, &str), body: &Value) -> Told {
    let request = Request::builder()
        .method("POST")
        .uri(path)
        .header("authorization", bearer(token))
        .header("content-type", "application/json")
        .header(header.0, header.1)
        .body(Body::from(body.to_string()))
        .expect("a request");
    let response = router(fleet.service.app.clone()).oneshot(request).await.expect("an answer");
    let (status, headers) = (response.status(), response.headers().clone());
    let bytes = response.into_body().collect().await.expect("a body").to_bytes();
    Told { status, headers, text: String::from_utf8(bytes.to_vec()).expect("text") }
}

fn responses(model: &str, stream: bool) -> Value {
    json!({ "model": model, "input": "go on", "max_output_tokens": 16, "stream": stream })
}

async fn codex(fleet: &Fleet, token: &str) -> Told {
    send(fleet, token, "/v1/responses", CODEX, &responses("gpt-5.5", false)).await
}

/// A customer with hours of Unlimited and nothing else.
async fn planned(fleet: &Fleet) -> (AccountId, String) {
    let created = fleet.service.customer().await;
    let account_id = created.account_id;
    let body = json!({ "hours": 48, "idempotencyKey": "first" });
    fleet.set(&format!("/users/{account_id}/unlimited"), &body).await;
    (account_id, created.system_token.token.reveal().to_owned())
}

async fn pay_in(fleet: &Fleet, account_id: AccountId, dollars: i64) {
    let grant = accounts::GrantCredit {
        account_id,
        source: GrantSource::TopUp,
        amount_micro: MicroUsd::dollars(dollars),
        expires_at: None,
        idempotency_key: "paid".into(),
    };
    let app = &fleet.service.app;
    accounts::grant_credit(&app.log, &app.config.wallet.terms(), &operator(), grant).await.expect("granted");
}

async fn read(fleet: &Fleet, token: &str, path: &str) -> Value {
    let (status, body) = fleet.service.get(path, &[("x-api-key", token)]).await;
    assert_eq!(status, StatusCode::OK, "{path}: {body}");
    body
}

async fn asked(fleet: &Fleet) -> usize {
    let (one, two) = fleet.billed().await;
    one + two
}

async fn assert_verified(fleet: &Fleet) {
    let options = VerifyOptions::new(HoldTerms::standard(clock::now()));
    let report = verify::run(&fleet.service.app.pool, &options).await.expect("carried out");
    assert_eq!(report.difference, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn plans_are_shown_by_their_visibility_and_without_their_limits() {
    let fleet = Fleet::start().await;
    let shown = async |query: &str| -> Vec<(String, i64, Option<i64>)> {
        let (status, body) = fleet.service.get(&format!("/api/v1/plans{query}"), &[]).await;
        assert_eq!(status, StatusCode::OK, "{body}");
        assert!(body["pricing"]["models"].is_array());
        let text = body.to_string().to_lowercase();
        assert!(!text.contains("limit_") && !text.contains("limitmicro"), "{text}");
        let plans = body["plans"].as_array().expect("plans").iter();
        let offer = |plan: &Value| {
            let id = plan["id"].as_str().expect("an id").to_owned();
            (id, plan["priceMicro"].as_i64().expect("a price"), plan["creditMicro"].as_i64())
        };
        plans.map(offer).collect()
    };
    let public = shown("").await;
    let dollars = |amount: i64| amount * 1_000_000;
    for (id, price, credit) in [("titan", 120, 1_250), ("apex", 150, 1_600), ("enterprise", 200, 2_200)] {
        assert!(public.contains(&(id.into(), dollars(price), Some(dollars(credit)))), "{id}: {public:?}");
    }
    assert!(public.contains(&("unlimited".into(), dollars(149), None)));
    assert!(public.contains(&("unlimited-promo".into(), dollars(99), None)));
    assert!(public.is_sorted_by_key(|(_, price, _)| *price), "cheapest first");
    let exit = ("exit-intent".to_owned(), dollars(50), Some(dollars(585)));
    assert!(!public.contains(&exit));
    assert!(shown("?offer=exit_intent").await.contains(&exit));

    fleet.set("/billing/plans", &json!({ "planId": "titan", "visibility": "private" })).await;
    assert!(shown("").await.iter().chain(&shown("?offer=exit_intent").await).all(|(id, ..)| id != "titan"));
    let (status, _) = fleet.service.get("/api/v1/plans?offer=all", &[]).await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_covers_the_codex_cli_with_gpt_5_5_and_refuses_all_else_before_any_provider_is_asked() {
    let fleet = Fleet::start().await;
    let (account_id, token) = planned(&fleet).await;
    let told = codex(&fleet, &token).await;
    assert_eq!(told.status, StatusCode::OK, "{}", told.text);
    assert_eq!(told.headers["x-codexapi-cost-micro"], "0");
    assert_eq!(told.headers["x-codex-credits-unlimited"], "true");
    assert_eq!(asked(&fleet).await, 1);

    let messages = json!({
        "model": "claude-opus-4-8", "max_tokens": 16, "messages": [{ "role": "user", "content": "go on" }],
    });
    let chat = json!({ "model": "gpt-5.5", "messages": [{ "role": "user", "content": "go on" }] });
    let outside = "Your plan unlimited covers the official Codex CLI with gpt-5.5 only";
    let cases = [
        ("/v1/messages", CLAUDE, messages.clone(), StatusCode::FORBIDDEN, "permission_error"),
        ("/v1/responses", CODEXCLAUDE, responses("gpt-5.5", false), StatusCode::BAD_REQUEST, "outside_plan"),
        (
            "/v1/responses",
            CODEX,
            responses("claude-opus-4-8", false),
            StatusCode::BAD_REQUEST,
            "outside_plan",
        ),
        (
            "/v1/chat/completions",
            ("user-agent", "OpenAI/Python 2.0"),
            chat,
            StatusCode::FORBIDDEN,
            "outside_plan",
        ),
    ];
    for (path, header, body, status, code) in cases {
        let told = send(&fleet, &token, path, header, &body).await;
        assert_eq!(told.status, status, "{path}: {}", told.text);
        assert!(told.text.contains(outside) && told.text.contains(code), "{path}: {}", told.text);
        assert!(told.text.contains("walletOutsideScope"), "the switch is named: {}", told.text);
    }
    let streamed = send(&fleet, &token, "/v1/responses", CODEX, &responses("claude-opus-4-8", true)).await;
    assert_eq!(streamed.status, StatusCode::OK);
    assert!(streamed.text.contains("\"code\":\"invalid_prompt\"") && streamed.text.contains(outside));
    assert_eq!(asked(&fleet).await, 1, "no provider heard of what was refused");

    // With paid credit the wallet pays, unless that is switched off.
    pay_in(&fleet, account_id, 5).await;
    let paid = send(&fleet, &token, "/v1/messages", CLAUDE, &messages).await;
    assert_eq!(paid.status, StatusCode::OK, "{}", paid.text);
    assert_ne!(paid.headers["x-codexapi-cost-micro"], "0");
    let off = json!({ "walletOutsideScope": false });
    let (status, settings) =
        fleet.service.post("/api/v1/plan-settings", &[("x-api-key", &token)], off.to_string()).await;
    assert_eq!((status, &settings["walletOutsideScope"]), (StatusCode::OK, &json!(false)));
    let refused = send(&fleet, &token, "/v1/messages", CLAUDE, &messages).await;
    assert_eq!(refused.status, StatusCode::FORBIDDEN);
    assert!(refused.text.contains("you have switched your wallet off"), "{}", refused.text);
    let settings = read(&fleet, &token, "/api/v1/plan-settings").await;
    assert_eq!(settings, json!({ "walletOutsideScope": false, "walletPastFairUse": false }));
    assert_verified(&fleet).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn past_fair_use_the_customer_is_told_when_it_begins_anew_and_which_switch_lets_the_wallet_pay() {
    let fleet = Fleet::start().await;
    let (account_id, token) = planned(&fleet).await;
    let windows = json!([{ "hours": 5, "limitMicro": 1 }, { "hours": 72, "limitMicro": 9_000_000 }]);
    let set = fleet.set("/billing/fup-settings", &json!({ "windows": windows })).await;
    assert_eq!(set["fairUse"]["windows"][0]["limitMicro"], 1);
    assert_eq!(codex(&fleet, &token).await.status, StatusCode::OK, "nothing was used yet");
    let streamed = send(&fleet, &token, "/v1/responses", CODEX, &responses("gpt-5.5", true)).await;
    let sentence = "The fair use of your plan unlimited is reached; it begins anew at 2";
    assert!(streamed.text.contains(sentence), "{}", streamed.text);
    assert!(streamed.text.contains("\"code\":\"invalid_prompt\""), "a person is told, nothing retries");
    let whole = codex(&fleet, &token).await;
    assert_eq!(whole.status, StatusCode::BAD_REQUEST);
    assert!(
        whole.text.contains("fair_use_reached") && whole.text.contains("walletPastFairUse"),
        "{}",
        whole.text
    );
    assert_eq!(asked(&fleet).await, 1);
    let shown = read(&fleet, &token, "/api/v1/wallet/status").await;
    let window = &shown["plans"][0]["windows"][0];
    assert_eq!((&window["usedPercent"], &window["hours"]), (&json!(100), &json!(5)));
    assert!(window["resetsAt"].is_string() && window["inputTokens"].as_u64() > Some(0), "{shown}");

    pay_in(&fleet, account_id, 5).await;
    assert_eq!(codex(&fleet, &token).await.status, StatusCode::BAD_REQUEST, "credit alone changes nothing");
    let on = json!({ "walletPastFairUse": true });
    let headers = [("x-api-key", token.as_str())];
    let (status, _) = fleet.service.post("/api/v1/plan-settings", &headers, on.to_string()).await;
    assert_eq!(status, StatusCode::OK);
    let paid = codex(&fleet, &token).await;
    assert_eq!(paid.status, StatusCode::OK, "{}", paid.text);
    assert_ne!(paid.headers["x-codexapi-cost-micro"], "0");
    // A wider limit counts from the next request on.
    fleet
        .set("/billing/fup-settings", &json!({ "windows": [{ "hours": 5, "limitMicro": 90_000_000 }] }))
        .await;
    assert_eq!(codex(&fleet, &token).await.headers["x-codexapi-cost-micro"], "0");
    assert_verified(&fleet).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_a_customer_reads_tells_a_plans_limits_rates_or_computed_costs() {
    let fleet = Fleet::start().await;
    let windows =
        json!([{ "hours": 5, "limitMicro": SHORT_LIMIT }, { "hours": 72, "limitMicro": LONG_LIMIT }]);
    let fair_use = json!({ "windows": windows, "inputMicro": INPUT_RATE, "outputMicro": OUTPUT_RATE });
    fleet.set("/billing/fup-settings", &fair_use).await;
    let (account_id, token) = planned(&fleet).await;
    let whole = send(&fleet, &token, "/v1/responses", CODEX, &responses("gpt-5.5", false)).await;
    let streamed = send(&fleet, &token, "/v1/responses", CODEX, &responses("gpt-5.5", true)).await;
    assert_eq!((whole.status, streamed.status), (StatusCode::OK, StatusCode::OK));
    let refused = send(&fleet, &token, "/v1/responses", CODEX, &responses("claude-opus-4-8", false)).await;

    let charges = fleet.events("wallet.usage_charged").await;
    let charged: Vec<&Value> = charges.iter().map(|(_, payload)| &payload["UsageCharged"]).collect();
    assert_eq!(charged.len(), 2);
    let mut secrets = vec![SHORT_LIMIT, LONG_LIMIT, INPUT_RATE, OUTPUT_RATE];
    for charge in &charged {
        assert_eq!(charge["charged_micro"], 0);
        assert_eq!(
            (&charge["cost_micro"], &charge["shortfall_micro"]),
            (&charge["covered_by_plan_micro"], &json!(0))
        );
        let of = |amount: &Value| amount.as_i64().expect("an amount");
        assert!(of(&charge["cost_micro"]) > 0 && of(&charge["plan"]["used_micro"]) > 0);
        secrets.extend([of(&charge["cost_micro"]), of(&charge["plan"]["used_micro"])]);
    }

    let id = charged[0]["generation_id"].as_str().expect("an id");
    let shown = read(&fleet, &token, &format!("/api/v1/generations/{id}")).await;
    assert_eq!(
        (&shown["charge"]["coveredByPlan"], &shown["charge"]["planId"]),
        (&json!(true), &json!("unlimited"))
    );
    assert!(shown["usage"]["outputTokens"].as_i64() > Some(0), "tokens are shown");
    let mut told = vec![whole.text, streamed.text, refused.text, shown.to_string()];
    for headers in [whole.headers, streamed.headers, refused.headers] {
        told.extend(headers.iter().map(|(name, value)| format!("{name}: {}", value.to_str().expect("text"))));
    }
    for path in [
        "/api/v1/me",
        "/api/v1/wallet/status",
        "/api/v1/plan-settings",
        "/api/v1/plans",
        "/api/v1/generations",
        "/api/v1/billing/token-usage",
        "/api/v1/key",
    ] {
        told.push(format!("{path} {}", read(&fleet, &token, path).await));
    }
    for secret in secrets {
        // Short ones are told only as an amount of a field of its own.
        let micro = [format!("Micro\":{secret},"), format!("Micro\":{secret}}}"), format!("micro: {secret}")];
        let usd = format!("\"{}\"", MicroUsd(secret));
        let mut forms = vec![usd];
        forms.extend(micro);
        if secret > 1_000_000 {
            forms.push(secret.to_string());
        }
        for text in &told {
            let leaked = forms.iter().find(|form| text.contains(*form));
            assert_eq!(leaked, None, "{account_id}: {text}");
        }
    }
    assert_verified(&fleet).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn operators_grant_hours_once_and_see_who_has_which_plan() {
    let fleet = Fleet::start().await;
    let created = fleet.service.customer().await;
    let path = format!("/users/{}/unlimited", created.account_id);
    let body = json!({ "hours": 10, "planId": "unlimited-promo", "idempotencyKey": "gift" });
    let first = fleet.set(&path, &body).await;
    let again = fleet.set(&path, &body).await;
    assert_eq!((&first["replayed"], &again["replayed"]), (&json!(false), &json!(true)));
    assert_eq!((&again["entitlementId"], &again["endsAt"]), (&first["entitlementId"], &first["endsAt"]));
    let more =
        fleet.set(&path, &json!({ "hours": 2, "planId": "unlimited-promo", "idempotencyKey": "more" })).await;
    assert_eq!(more["startsAt"], first["endsAt"], "time of one plan follows on");

    fleet.service.projected("entitlements", more["positions"][0].as_i64().expect("a position")).await;
    let billing = fleet.read("/billing?limit=10").await;
    let user = &billing["users"][0];
    assert_eq!(user["userId"], created.account_id.to_string());
    assert_eq!(
        (&user["plans"][0]["planId"], &user["plans"][0]["running"]),
        (&json!("unlimited-promo"), &json!(true))
    );
    assert_eq!(user["plans"][0]["endsAt"], more["endsAt"]);
    let plans = billing["settings"]["plans"].as_array().expect("plans");
    assert!(plans.iter().any(|plan| plan["planId"] == "exit-intent" && plan["visibility"] == "exit_intent"));
    let (actor, _) = fleet.events("wallet.entitlement_granted").await.remove(0);
    assert_eq!(actor, "operator:static-admin-1");
    assert_verified(&fleet).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_promos_assumptions_and_what_is_sold_are_audited_settings() {
    let fleet = Fleet::start().await;
    let before = fleet.read("/billing/unlimited-promo").await;
    assert_eq!(
        (&before["priceMicro"], &before["hours"], &before["maxQuantity"]),
        (&json!(99_000_000), &json!(240), &json!(5))
    );
    let set = fleet.set("/billing/unlimited-promo", &json!({ "inputMicro": 4_000_000 })).await;
    assert_eq!(
        (&set["planId"], &set["fairUse"]["inputUsd"]),
        (&json!("unlimited-promo"), &json!("4.000000"))
    );
    assert_eq!(set["fairUse"]["outputMicro"], before["fairUse"]["outputMicro"], "what is left out stays");
    assert_eq!(fleet.read("/billing/unlimited-promo").await["fairUse"], set["fairUse"]);
    let again = fleet.set("/billing/unlimited-promo", &json!({ "inputMicro": 4_000_000 })).await;
    assert_eq!(again["positions"], json!([]), "saying it twice changes nothing");
    let events = fleet.events("catalog.fair_use_set").await;
    assert_eq!((events.len(), events[0].0.as_str()), (1, "operator:static-admin-1"));

    let sold = fleet.set("/billing/plans", &json!({ "planId": "titan", "creditMicro": 1_300_000_000 })).await;
    let titan =
        sold["settings"]["plans"].as_array().expect("plans").iter().find(|plan| plan["planId"] == "titan");
    assert_eq!(titan.expect("titan")["creditUsd"], "1300.000000");
    fleet.set("/billing/plans", &json!({ "planId": "titan", "onSale": false })).await;
    let refusals = [
        ("/billing/plans", json!({ "planId": "titan", "priceMicro": 1 }), 404, "plan_not_found"),
        ("/billing/plans", json!({ "planId": "apex", "priceMicro": 0 }), 400, "bad_plan"),
        ("/billing/plans", json!({ "planId": "unlimited", "creditMicro": 5 }), 409, "plan_buys_time"),
        ("/billing/plans", json!({ "planId": "Apex" }), 400, "invalid_body"),
        ("/billing/fup-settings", json!({ "windows": [] }), 400, "bad_fair_use"),
        ("/billing/fup-settings", json!({ "inputMicro": -1 }), 400, "bad_fair_use"),
        ("/billing/fup-settings", json!({ "planId": "apex" }), 409, "plan_buys_credit"),
        ("/billing/fup-settings", json!({ "planId": "none" }), 404, "plan_not_found"),
        ("/billing/unlimited-promo", json!({ "limits": 3 }), 400, "invalid_body"),
    ];
    for (path, body, status, code) in refusals {
        assert_eq!(fleet.refused(path, &body).await, (status, code.to_owned()), "{path} {body}");
    }
    let id = fleet.service.customer().await.account_id;
    let hours = [
        (id.to_string(), json!({ "hours": 0, "idempotencyKey": "k" }), 400, "hours_out_of_range"),
        (id.to_string(), json!({ "hours": 1, "idempotencyKey": "" }), 400, "invalid_idempotency_key"),
        (
            id.to_string(),
            json!({ "hours": 1, "planId": "apex", "idempotencyKey": "k" }),
            409,
            "plan_buys_credit",
        ),
        (
            id.to_string(),
            json!({ "hours": 1, "planId": "none", "idempotencyKey": "k" }),
            404,
            "plan_not_found",
        ),
        (
            uuid::Uuid::from_u128(1).to_string(),
            json!({ "hours": 1, "idempotencyKey": "k" }),
            404,
            "account_not_found",
        ),
        ("me".into(), json!({ "hours": 1, "idempotencyKey": "k" }), 400, "invalid_user_id"),
    ];
    for (user, body, status, code) in hours {
        let path = format!("/users/{user}/unlimited");
        assert_eq!(fleet.refused(&path, &body).await, (status, code.to_owned()), "{path} {body}");
    }
}

/// A turn of one conversation that resends what was said before.
fn turn(said: &[&str]) -> Value {
    let items: Vec<Value> = said.iter().map(|text| json!({ "role": "user", "content": text })).collect();
    json!({ "model": "gpt-5.5", "input": items, "max_output_tokens": 16, "prompt_cache_key": "thread" })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_policy_set_for_a_plan_decides_what_its_turns_use_and_not_what_the_wallet_pays() {
    let fleet = Fleet::start().await;
    let (account_id, token) = planned(&fleet).await;
    pay_in(&fleet, account_id, 5).await;
    let full = json!({ "policies": [{ "family": "codex_cli", "plan": "unlimited", "policy": "full" }] });
    fleet.set("/billing/settings", &full).await;
    let on = json!({ "walletPastFairUse": true });
    fleet.service.post("/api/v1/plan-settings", &[("x-api-key", &token)], on.to_string()).await;
    let said = ["a long story", "and then", "the end"];
    for turns in 1..=3 {
        if turns == 3 {
            fleet
                .set("/billing/fup-settings", &json!({ "windows": [{ "hours": 5, "limitMicro": 1 }] }))
                .await;
        }
        let told = send(&fleet, &token, "/v1/responses", CODEX, &turn(&said[..turns])).await;
        assert_eq!(told.status, StatusCode::OK, "{}", told.text);
    }
    let settled: Vec<Value> =
        fleet.events("usage.generation_settled").await.into_iter().map(|(_, one)| one).collect();
    let [_, second, third] = [0, 1, 2].map(|turn| &settled[turn]["GenerationSettled"]);
    assert_eq!((&second["policy"], &second["already_billed_tokens"]), (&"full".into(), &0.into()));
    assert_eq!((&third["policy"], &third["plan"]), (&"delta".into(), &Value::Null));
    assert!(third["already_billed_tokens"].as_i64() > Some(0), "the plan's turns were paid for: {third}");
    assert_verified(&fleet).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_plan_covered_is_not_billed_again_when_the_wallet_pays() {
    let fleet = Fleet::start().await;
    let (account_id, token) = planned(&fleet).await;
    pay_in(&fleet, account_id, 5).await;
    let first = send(&fleet, &token, "/v1/responses", CODEX, &turn(&["a long story"])).await;
    assert_eq!(
        (first.status, &first.headers["x-codexapi-cost-micro"]),
        (StatusCode::OK, &"0".parse().unwrap())
    );
    let on = json!({ "walletPastFairUse": true });
    fleet.service.post("/api/v1/plan-settings", &[("x-api-key", &token)], on.to_string()).await;
    fleet.set("/billing/fup-settings", &json!({ "windows": [{ "hours": 5, "limitMicro": 1 }] })).await;
    let second = send(&fleet, &token, "/v1/responses", CODEX, &turn(&["a long story", "and then"])).await;
    assert_eq!(second.status, StatusCode::OK, "{}", second.text);
    let settled = fleet.events("usage.generation_settled").await;
    let [first, second] = [&settled[0].1["GenerationSettled"], &settled[1].1["GenerationSettled"]];
    assert_eq!(first["plan"]["plan_id"], "unlimited");
    assert_eq!(second["plan"], Value::Null);
    let input =
        first["usage"]["input"].as_i64().unwrap() + first["usage"]["cached_input"].as_i64().unwrap_or(0);
    assert_eq!(second["already_billed_tokens"].as_i64(), Some(input), "{second}");
    assert_verified(&fleet).await;
}

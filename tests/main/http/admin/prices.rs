//! Prices as operators set them: cards, windows, percentages, and what each would have meant.

use chrono::{DateTime, TimeDelta, Utc};
use codexapi::clock;
use codexapi_projections::checkpoint;
use http::StatusCode;
use serde_json::{Value, json};

use super::Fleet;
use crate::harness::PATIENCE;

fn now() -> DateTime<Utc> {
    DateTime::from_timestamp_micros(clock::now().0).expect("a moment")
}

fn of<'a>(list: &'a Value, model: &str) -> &'a Value {
    let models = list.as_array().expect("a list");
    models.iter().find(|one| one["model"] == model).unwrap_or_else(|| panic!("{model}: {list}"))
}

async fn projected(fleet: &Fleet) {
    let head: i64 = sqlx::query_scalar("select max(position) from events")
        .fetch_one(&fleet.service.app.pool)
        .await
        .expect("the head");
    let reached = checkpoint::wait_for(&fleet.service.app.pool, "generations", head, PATIENCE);
    assert!(reached.await.expect("readable"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_surge_begins_is_shown_alike_everywhere_and_ends() {
    let fleet = Fleet::start().await;
    let (_, token) = fleet.customer().await;
    let begun = fleet.set("/token-rates/windows", &json!({ "timeline": "mode", "mode": "surge" })).await;
    assert_eq!(begun["positions"].as_array().map(Vec::len), Some(1));
    assert_eq!(begun["state"]["pricing"]["mode"], "surge");
    assert_eq!(begun["state"]["modeWindows"][0]["state"], "on");
    let seconds = begun["state"]["pricing"]["secondsLeft"].as_u64().expect("a countdown");
    assert!((3_500..=3_600).contains(&seconds), "{seconds}");
    let mut seen = Vec::new();
    for path in ["/api/v1/wallet/status", "/api/v1/me", "/api/v1/toolbox"] {
        let (status, body) = fleet.service.get(path, &[("x-api-key", &token)]).await;
        assert_eq!(status, StatusCode::OK, "{path}: {body}");
        let mut pricing = body["pricing"].clone();
        let fields = pricing.as_object_mut().expect("the master payload");
        assert!(fields.remove("serverTime").is_some() && fields.remove("secondsLeft").is_some());
        seen.push(pricing);
    }
    assert!(seen.windows(2).all(|pair| pair[0] == pair[1]), "{seen:?}");
    let gpt = of(&seen[0]["models"], "gpt-5.5");
    assert_eq!(
        (&gpt["active"]["inputUsd"], &gpt["normal"]["inputUsd"]),
        (&"6.000000".into(), &"5.000000".into())
    );
    assert_eq!(gpt["reduced"]["outputUsd"], "27.000000");
    assert_eq!(fleet.ask(&token, "gpt-5.5", "c").await.0, StatusCode::OK);
    let ended = fleet.set("/token-rates/windows/end", &json!({ "timeline": "mode", "number": 1 })).await;
    assert_eq!(ended["state"]["pricing"]["mode"], "standard");
    assert_eq!(fleet.ask(&token, "gpt-5.5", "c").await.0, StatusCode::OK);
    let settled = fleet.events("usage.generation_settled").await;
    let rates: Vec<_> = settled
        .iter()
        .map(|(_, event)| {
            let event = &event["GenerationSettled"];
            let output =
                event["lines"].as_array().expect("lines").iter().find(|line| line["kind"] == "output");
            (event["mode"].clone(), output.expect("output is billed")["price"].clone())
        })
        .collect();
    assert_eq!(rates, [("surge".into(), 32_000_000.into()), ("standard".into(), 30_000_000.into())]);
    projected(&fleet).await;
    let report = fleet.read("/token-rates/windows?timeline=mode&number=1").await;
    assert_eq!((&report["total"]["generations"], &report["complete"]), (&1.into(), &true.into()));
    let surge = settled[0].1["GenerationSettled"]["cost_micro"].as_i64().expect("an amount");
    assert_eq!(report["total"]["asCharged"]["revenueMicro"], surge);
    assert!(report["extraMarginMicro"].as_i64().is_some_and(|extra| extra > 0), "{report}");
}

#[tokio::test(flavor = "multi_thread")]
async fn internal_rates_are_deducted_and_land_while_the_display_stays() {
    let fleet = Fleet::start().await;
    let (_, token) = fleet.customer().await;
    let rates = |input: &str, output: &str| json!({ "gpt-5.5": { "inputUsd": input, "outputUsd": output } });
    let window = json!({
        "timeline": "internal", "rates": rates("9", "48.00"), "landingRates": rates("8", "45.00"),
    });
    let begun = fleet.set("/token-rates/windows", &window).await;
    let internal = &begun["state"]["internalWindows"][0];
    let length =
        |field: &str| internal[field].as_str().expect("a moment").parse::<DateTime<Utc>>().expect("a moment");
    assert_eq!(length("end") - length("start"), TimeDelta::hours(12));
    let seen = |answer: &Value| {
        let card = of(&answer["state"]["cards"], "gpt-5.5").clone();
        let shown = of(&answer["state"]["pricing"]["models"], "gpt-5.5").clone();
        (
            card["billed"]["outputUsd"].clone(),
            shown["active"]["outputUsd"].clone(),
            card["billed"]["webSearchMicro"].clone(),
        )
    };
    assert_eq!(seen(&begun), ("48.000000".into(), "30.000000".into(), 10_000.into()));
    assert_eq!(fleet.ask(&token, "gpt-5.5", "c").await.0, StatusCode::OK);
    let ended = fleet.set("/token-rates/windows/end", &json!({ "timeline": "internal", "number": 1 })).await;
    assert_eq!(seen(&ended), ("45.000000".into(), "30.000000".into(), 10_000.into()));
    let report = fleet.read("/token-rates/windows?timeline=internal&number=1").await;
    let extra = report["extraMarginMicro"].as_i64().expect("an amount");
    assert!(
        extra > 0 && report["total"]["outputTokens"].as_i64().is_some_and(|tokens| tokens > 0),
        "{report}"
    );
    let (status, status_body) = fleet.service.get("/api/v1/wallet/status", &[("x-api-key", &token)]).await;
    assert_eq!(status, StatusCode::OK);
    let gpt = of(&status_body["pricing"]["models"], "gpt-5.5");
    assert_eq!(
        (&gpt["active"]["inputUsd"], &gpt["billed"]["inputUsd"]),
        (&"5.000000".into(), &"8.000000".into())
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_percentage_is_previewed_on_real_usage_and_then_made() {
    let fleet = Fleet::start().await;
    let (_, token) = fleet.customer().await;
    for _ in 0..2 {
        assert_eq!(fleet.ask(&token, "gpt-5.5", "c").await.0, StatusCode::OK);
    }
    let asked = |percent: &str, dry_run: bool| json!({ "percent": percent, "models": ["gpt-5.5"], "dryRun": dry_run });
    let preview = fleet.set("/token-rates/adjust-percent", &asked("10", true)).await;
    assert_eq!((&preview["positions"], &preview["basisPoints"]), (&json!([]), &1_000.into()));
    let gpt = of(&preview["models"], "gpt-5.5");
    let inputs = ["old", "new", "displayed"].map(|which| gpt[which]["inputUsd"].as_str().expect("an amount"));
    assert_eq!(inputs, ["5.000000", "5.500000", "5.000000"]);
    let usage = of(&preview["lastSevenDays"]["models"], "gpt-5.5");
    let charged: i64 = fleet
        .events("usage.generation_settled")
        .await
        .iter()
        .map(|(_, event)| event["GenerationSettled"]["charged_micro"].as_i64().expect("an amount"))
        .sum();
    let revenue = |which: &str| usage[which]["revenueMicro"].as_i64().expect("an amount");
    assert_eq!((revenue("asCharged"), usage["generations"].as_i64()), (charged, Some(2)));
    assert!(
        (revenue("asProposed") * 10 - charged * 11).abs() <= 20,
        "a tenth more but for rounding: {usage}"
    );
    assert!(fleet.events("pricing.internal_rates_adjusted").await.is_empty(), "it was a preview");
    let made = fleet.set("/token-rates/adjust-percent", &asked("10", false)).await;
    assert_eq!(made["positions"].as_array().map(Vec::len), Some(1));
    let rates = fleet.read("/token-rates").await;
    let card = of(&rates["cards"], "gpt-5.5");
    assert_eq!(
        (&card["billed"]["inputUsd"], &card["internalBase"]["outputUsd"]),
        (&"5.500000".into(), &"33.000000".into())
    );
    assert_eq!(of(&rates["cards"], "claude-opus-4-8")["internalBase"], Value::Null);
    for (percent, code) in
        [("0", "adjustment_out_of_range"), ("ten", "bad_percentage"), ("-100", "adjustment_out_of_range")]
    {
        let refused = fleet.refused("/token-rates/adjust-percent", &asked(percent, true)).await;
        assert_eq!(refused, (400, code.to_owned()), "{percent}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn usage_is_priced_anew_under_proposed_cards() {
    let fleet = Fleet::start().await;
    let (_, token) = fleet.customer().await;
    assert_eq!(fleet.ask(&token, "gpt-5.5", "c").await.0, StatusCode::OK);
    let (_, settled) = fleet.events("usage.generation_settled").await.remove(0);
    let settled = &settled["GenerationSettled"];
    let tokens = |kind: &str| settled["usage"][kind].as_i64().unwrap_or_default();
    let input = tokens("input") + tokens("cached_input");
    let proposed = json!({
        "days": 1,
        "models": { "gpt-5.5": {
            "billed": { "inputUsd": "1", "outputUsd": "2" }, "cost": { "inputUsd": "3", "outputUsd": "4" },
        } },
    });
    let answer = fleet.set("/token-rates/what-if", &proposed).await;
    let gpt = of(&answer["models"], "gpt-5.5");
    assert_eq!(gpt["asProposed"]["revenueMicro"], input + 2 * tokens("output"));
    assert_eq!(gpt["asProposed"]["costMicro"], 3 * input + 4 * tokens("output"));
    assert_eq!(gpt["asCharged"]["revenueMicro"], settled["charged_micro"]);
    assert_eq!(gpt["asCharged"]["costMicro"], settled["provider_cost_micro"]);
    let refused = fleet.refused("/token-rates/what-if", &json!({ "days": 91, "models": {} })).await;
    assert_eq!(refused, (400, "bad_days".to_owned()));
}

#[tokio::test(flavor = "multi_thread")]
async fn windows_and_cards_that_cannot_be_are_refused_by_name() {
    let fleet = Fleet::start().await;
    let (soon, later) = (now() + TimeDelta::hours(1), now() + TimeDelta::hours(2));
    let surge = json!({ "timeline": "mode", "mode": "surge", "start": soon, "end": later });
    fleet.set("/token-rates/windows", &surge).await;
    let rates = json!({ "gpt-5.5": { "inputUsd": "9", "outputUsd": "48" } });
    let cases: [(&str, Value, (u16, &str)); 12] = [
        ("windows", surge.clone(), (409, "window_overlaps")),
        (
            "windows",
            json!({ "timeline": "mode", "mode": "surge", "start": "2001-01-01T00:00:00Z" }),
            (400, "begins_in_the_past"),
        ),
        ("windows", json!({ "timeline": "mode", "mode": "surge", "minutes": 0 }), (400, "bad_length")),
        (
            "windows",
            json!({ "timeline": "mode", "mode": "surge", "minutes": 5, "end": later }),
            (400, "bad_window"),
        ),
        ("windows", json!({ "timeline": "mode" }), (400, "bad_window")),
        ("windows", json!({ "timeline": "internal", "rates": rates }), (400, "bad_window")),
        ("windows", json!({ "timeline": "mode", "mode": "dear" }), (400, "invalid_body")),
        ("windows/end", json!({ "timeline": "mode", "number": 1 }), (409, "window_has_not_begun")),
        ("windows/cancel", json!({ "timeline": "mode", "number": 7 }), (404, "window_not_found")),
        ("windows/cancel", json!({ "timeline": "internal", "number": 1 }), (404, "window_not_found")),
        (
            "",
            json!({ "model": "unheard-of", "display": { "inputUsd": "1", "outputUsd": "1" } }),
            (404, "model_not_found"),
        ),
        (
            "",
            json!({ "model": "gpt-5.5", "display": { "inputUsd": "-1", "outputUsd": "1" } }),
            (400, "bad_amount"),
        ),
    ];
    for (path, body, (status, code)) in cases {
        let path = format!("/token-rates/{path}");
        let refused = fleet.refused(path.trim_end_matches('/'), &body).await;
        assert_eq!(refused, (status, code.to_owned()), "{path} {body}");
    }
    fleet.set("/token-rates/windows/cancel", &json!({ "timeline": "mode", "number": 1 })).await;
    assert_eq!(fleet.read("/token-rates").await["modeWindows"], json!([]));
}

#[tokio::test(flavor = "multi_thread")]
async fn one_price_of_one_model_is_set_and_everything_else_stays() {
    let fleet = Fleet::start().await;
    let set = json!({ "model": "gpt-5.5", "surge": { "inputUsd": "7", "outputUsd": "33" }, "reduced": null });
    let answer = fleet.set("/token-rates", &set).await;
    let gpt = of(&answer["state"]["pricing"]["models"], "gpt-5.5").clone();
    assert_eq!((&gpt["surge"]["inputUsd"], &gpt["reduced"]), (&"7.000000".into(), &Value::Null));
    assert_eq!((&gpt["normal"]["inputUsd"], &gpt["contextTokens"]), (&"5.000000".into(), &400_000.into()));
    assert_eq!(of(&answer["state"]["cards"], "gpt-5.5")["version"], 2);
    assert_eq!(fleet.set("/token-rates", &set).await["positions"], json!([]), "nothing is new");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_price_of_a_call_and_billing_policies_count_from_the_next_request() {
    let fleet = Fleet::start().await;
    let (_, token) = fleet.customer().await;
    let settings = fleet.read("/billing/settings").await;
    assert_eq!(settings["perCallMicro"], 0);
    let policy = |settings: &Value, family: &str| {
        let policies = settings["policies"].as_array().expect("a list").clone();
        policies.into_iter().find(|one| one["family"] == family && one["plan"].is_null()).expect("listed")["policy"].clone()
    };
    assert_eq!(
        (policy(&settings, "codex_cli"), policy(&settings, "claude_code")),
        ("delta".into(), "full".into())
    );
    let set = json!({
        "perCallUsd": "0.25",
        "policies": [{ "family": "other", "policy": "delta" }, { "family": "codex_cli", "plan": "unlimited", "policy": "full" }],
        "servingCosts": [{ "family": "deepseek", "inputUsd": "0.56", "outputUsd": "1.68" }],
    });
    let changed = fleet.set("/billing/settings", &set).await;
    assert_eq!(changed["positions"].as_array().map(Vec::len), Some(4));
    assert_eq!(fleet.set("/billing/settings", &set).await["positions"], json!([]));
    assert_eq!(fleet.ask(&token, "gpt-5.5", "c").await.0, StatusCode::OK);
    let (_, settled) = fleet.events("usage.generation_settled").await.remove(0);
    let settled = &settled["GenerationSettled"];
    let lines = settled["lines"].as_array().expect("lines");
    let call = lines.iter().find(|line| line["kind"] == "call").expect("a line for the call");
    assert_eq!((&call["price"], &settled["policy"]), (&250_000.into(), &"delta".into()));
    let bad = json!({ "policies": [{ "family": "other", "plan": "no such/plan", "policy": "full" }] });
    assert_eq!(fleet.refused("/billing/settings", &bad).await, (400, "bad_plan_id".to_owned()));
    let bad = json!({ "perCallUsd": "a quarter" });
    assert_eq!(fleet.refused("/billing/settings", &bad).await, (400, "bad_amount".to_owned()));
}

#[tokio::test(flavor = "multi_thread")]
async fn serving_usage_is_reckoned_at_the_serving_cost_and_adds_up() {
    let fleet = Fleet::start().await;
    let (account, token) = fleet.customer().await;
    for model in ["gpt-5.5", "gpt-5.5", "claude-opus-4-8"] {
        assert_eq!(fleet.ask(&token, model, "c").await.0, StatusCode::OK);
    }
    projected(&fleet).await;
    let usage = fleet.read("/serving-usage").await;
    let families = usage["families"].as_array().expect("families");
    let names: Vec<_> = families.iter().map(|family| family["family"].as_str().expect("a name")).collect();
    assert_eq!(names, ["gpt", "claude", "deepseek"]);
    let gpt = &families[0];
    let total = |field: &str| gpt["total"][field].as_i64().expect("a number");
    let settled: Vec<Value> = fleet
        .events("usage.generation_settled")
        .await
        .into_iter()
        .map(|(_, event)| event["GenerationSettled"].clone())
        .filter(|event| event["billed_model"] == "gpt-5.5")
        .collect();
    let sum = |field: &str| settled.iter().map(|event| event[field].as_i64().expect("a number")).sum::<i64>();
    assert_eq!((total("requests"), total("chargedMicro")), (2, sum("charged_micro")));
    assert_eq!(total("providerCostMicro"), sum("provider_cost_micro"));
    assert_eq!(total("servingCostMicro"), 5 * total("inputTokens") + 30 * total("outputTokens"));
    assert_eq!(total("grossMarginMicro"), total("chargedMicro") - total("servingCostMicro"));
    assert_eq!(gpt["days"].as_array().map(Vec::len), Some(1));
    assert_eq!(gpt["topCustomers"][0]["accountId"], account.to_string());
    assert_eq!(gpt["topCustomers"][0]["chargedMicro"], total("chargedMicro"));
    assert_eq!(gpt["recent"].as_array().map(Vec::len), Some(2));
    assert_eq!(families[2]["total"]["requests"], 0);
    let claude = fleet.read("/serving-usage?family=claude&limit=1").await;
    assert_eq!(claude["families"].as_array().map(Vec::len), Some(1));
    assert_eq!(claude["families"][0]["models"], json!(["claude-opus-4-8"]));
    let path = "/admin/api/serving-usage?family=llama";
    let (status, body) = fleet.service.get(path, &[("x-api-key", super::ADMIN_TOKEN)]).await;
    assert_eq!((status.as_u16(), &body["error"]["code"]), (400, &"invalid_query".into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_that_generate_nothing_are_bought_from_the_wallet_where_they_have_a_price() {
    let fleet = Fleet::start().await;
    let (account, token) = fleet.customer().await;
    let call = async |path: &str| fleet.service.send("GET", path, &[("x-api-key", token.as_str())]).await;
    assert_eq!(call("/v1/models").await.status(), StatusCode::OK);
    assert!(fleet.events("wallet.purchase_made").await.is_empty(), "by default a call costs nothing");
    fleet.set("/billing/settings", &json!({ "perCallUsd": "4" })).await;
    let listed = call("/v1/models").await;
    assert_eq!(listed.status(), StatusCode::OK);
    assert_eq!(listed.headers()["x-codexapi-cost-micro"], "4000000");
    assert_eq!(listed.headers()["x-codexapi-balance-micro"], "6000000");
    assert_eq!(call("/v1/models/unheard-of").await.status(), StatusCode::NOT_FOUND, "and a refusal nothing");
    assert_eq!(
        call("/api/v1/wallet/status").await.status(),
        StatusCode::OK,
        "as does looking after an account"
    );
    assert_eq!(call("/v1/models").await.status(), StatusCode::OK);
    let refused = call("/v1/models").await;
    assert_eq!(refused.status(), StatusCode::PAYMENT_REQUIRED, "$2 are left");
    let operators = [("x-api-key", crate::http::OPERATOR_TOKEN)];
    assert_eq!(fleet.service.send("GET", "/v1/models", &operators).await.status(), StatusCode::OK);
    let bought = fleet.events("wallet.purchase_made").await;
    let seen: Vec<_> = bought
        .iter()
        .map(|(actor, event)| {
            let event = &event["PurchaseMade"];
            (actor.clone(), event["item"].clone(), event["balance_micro"].as_i64().expect("an amount"))
        })
        .collect();
    let by = format!("customer:{account}");
    assert_eq!(seen, [(by.clone(), "api_call".into(), 6_000_000), (by, "api_call".into(), 2_000_000)]);
}

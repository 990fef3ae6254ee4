//! Decisions about routing: all or none, by name, and counting from the next request on.

use http::StatusCode;
use serde_json::{Value, json};

use super::Fleet;
use crate::http::bearer;

fn only(provider: &str) -> Value {
    json!({ "targets": [{ "model": "gpt-5.5", "targets": [{ "provider": provider }] }] })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_decision_moves_the_next_request_of_a_running_conversation() {
    let fleet = Fleet::start().await;
    let (_, token) = fleet.customer().await;
    for _ in 0..2 {
        assert_eq!(fleet.ask(&token, "gpt-5.5", "c").await.0, StatusCode::OK);
    }
    assert_eq!(fleet.billed().await, (2, 0));
    fleet.set("/manage-models", &only("two")).await;
    assert_eq!(fleet.ask(&token, "gpt-5.5", "c").await.0, StatusCode::OK);
    assert_eq!(fleet.billed().await, (2, 1));
    let back = json!({ "family": "gpt", "source": "external", "provider": "one" });
    fleet.set("/model-provider", &back).await;
    assert_eq!(fleet.ask(&token, "gpt-5.5", "c").await.0, StatusCode::OK);
    assert_eq!(fleet.billed().await, (2, 2), "targets of a model count before its family's provider");
    fleet.set("/manage-models", &json!({ "targets": [{ "model": "gpt-5.5", "targets": [] }] })).await;
    assert_eq!(fleet.ask(&token, "gpt-5.5", "c").await.0, StatusCode::OK);
    assert_eq!(fleet.billed().await, (3, 2));
}

#[tokio::test(flavor = "multi_thread")]
async fn labels_aliases_and_switching_off_count_at_once_and_leave_the_rest_as_it_is() {
    let fleet = Fleet::start().await;
    let (_, token) = fleet.customer().await;
    let decided = json!({ "models": [{ "model": "gpt-5.5", "label": "House Model", "aliases": ["house"] }] });
    let answer = fleet.set("/manage-models", &decided).await;
    assert_eq!(answer["positions"].as_array().map(Vec::len), Some(1));
    assert_eq!(answer["state"]["models"][0]["label"], "House Model");
    assert_eq!(fleet.ask(&token, "house", "c").await.0, StatusCode::OK);
    let authorization = bearer(&token);
    let openai = [("authorization", authorization.as_str())];
    let (_, listed) = fleet.service.get("/v1/models", &openai).await;
    let listed = listed["data"].as_array().expect("models").clone();
    let ids: Vec<&Value> = listed.iter().map(|model| &model["id"]).collect();
    assert_eq!(ids, [&json!("claude-opus-4-8"), &json!("gpt-5.5")], "each once, under its own name");
    assert_eq!(
        (&listed[1]["display_name"], &listed[1]["aliases"]),
        (&json!("House Model"), &json!(["house"]))
    );
    for name in ["gpt-5.5", "house", "House%20Model"] {
        let path = format!("/v1/models/{name}");
        let (status, model) = fleet.service.get(&path, &openai).await;
        assert_eq!((status, &model), (StatusCode::OK, &listed[1]), "{name}");
        let (_, model) = fleet.service.get(&path, &[("x-api-key", &token)]).await;
        assert_eq!(
            (&model["id"], &model["display_name"]),
            (&json!("gpt-5.5"), &json!("House Model")),
            "{name}"
        );
    }

    fleet.set("/manage-models", &json!({ "models": [{ "model": "gpt-5.5", "enabled": false }] })).await;
    let (status, refused) = fleet.ask(&token, "house", "c").await;
    assert_eq!((status, &refused["error"]["code"]), (StatusCode::NOT_FOUND, &json!("model_disabled")));
    assert_eq!(fleet.service.get("/v1/models/house", &openai).await.0, StatusCode::NOT_FOUND);
    let (_, listed) = fleet.service.get("/v1/models", &openai).await;
    assert_eq!(listed["data"].as_array().map(Vec::len), Some(1), "what is switched off is not on sale");
    let again = json!({ "models": [{ "model": "gpt-5.5", "enabled": true, "label": null, "idleSecs": 60 }] });
    let answer = fleet.set("/manage-models", &again).await;
    let model = &answer["state"]["models"][0];
    assert_eq!((&model["label"], &model["aliases"]), (&Value::Null, &json!(["house"])));
    assert_eq!((&model["idleSecs"], &model["enabled"]), (&json!(60), &json!(true)));
    assert_eq!(fleet.ask(&token, "house", "c").await.0, StatusCode::OK);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rule_that_may_serve_nobody_is_made_with_a_warning() {
    let fleet = Fleet::start().await;
    let target = |model: &str, target: Value| json!({ "targets": [{ "model": model, "targets": [target] }] });
    let cases = [
        (target("claude-opus-4-8", json!({ "provider": "two" })), None),
        (target("claude-opus-4-8", json!({ "provider": "one" })), Some("provider one does not list")),
        (target("gpt-5.5", json!({ "provider": "two", "upstreamModel": "claude-opus-4-8" })), None),
        (target("gpt-5.5", json!({ "provider": "two", "upstreamModel": "gpt-6" })), Some("\"gpt-6\"")),
        (
            json!({ "familyProviders": [{ "family": "claude", "source": "external", "provider": "one" }] }),
            Some("no model of the family claude"),
        ),
    ];
    for (body, told) in cases {
        let answer = fleet.set("/manage-models", &body).await;
        let warnings = answer["warnings"].as_array().expect("a list");
        assert_eq!(warnings.len(), usize::from(told.is_some()), "{body}: {answer}");
        let said = warnings.first().and_then(Value::as_str).unwrap_or_default();
        assert!(said.contains(told.unwrap_or_default()), "{said}");
        assert_eq!(answer["positions"].as_array().map(Vec::len), Some(1), "it is made");
    }
    let claude = json!({ "family": "claude", "source": "external", "provider": "two" });
    assert_eq!(fleet.set("/model-provider", &claude).await["warnings"], json!([]));
}

#[tokio::test(flavor = "multi_thread")]
async fn one_bad_decision_among_good_ones_changes_nothing() {
    let fleet = Fleet::start().await;
    let before = fleet.read("/manage-models").await;
    let good = json!({ "model": "gpt-5.5", "targets": [{ "provider": "two" }] });
    let bad = |place: &str, decision: Value| {
        let mut body = json!({ "models": [{ "model": "gpt-5.5", "label": "New" }], "targets": [good] });
        let list = body[place].as_array().cloned().unwrap_or_default();
        body[place] = list.into_iter().chain([decision]).collect();
        body
    };
    let many: Vec<Value> =
        (0..17).map(|n| json!({ "provider": "one", "upstreamModel": format!("m{n}") })).collect();
    let target = |provider: &str| json!({ "model": "gpt-5.5", "targets": [{ "provider": provider }] });
    let cases = [
        (bad("models", json!({ "model": "no-such" })), 400, "unknown_model"),
        (bad("models", json!({ "model": "gpt-5.5", "deadlineSecs": 0 })), 400, "out_of_range"),
        (bad("models", json!({ "model": "claude-opus-4-8", "label": "New" })), 409, "name_taken"),
        (bad("targets", target("nobody")), 400, "unknown_provider"),
        (bad("targets", target("Not A Name")), 400, "bad_provider_name"),
        (bad("targets", json!({ "model": "gpt-5.5", "targets": many })), 400, "too_many_targets"),
        (
            bad(
                "targets",
                json!({ "model": "gpt-5.5", "targets": [{ "provider": "one" }, { "provider": "one" }] }),
            ),
            400,
            "repeated_target",
        ),
        (
            bad("targets", json!({ "model": "gpt-5.5", "region": "Not A Region", "targets": [] })),
            400,
            "invalid_body",
        ),
        (
            bad("familyProviders", json!({ "family": "gpt", "source": "signed_in" })),
            400,
            "no_signed_in_account",
        ),
        (
            bad("familyProviders", json!({ "family": "gpt", "source": "external" })),
            400,
            "provider_and_source",
        ),
        (bad("familyProviders", json!({ "family": "gpt" })), 400, "invalid_body"),
        (bad("crossModel", json!({ "mode": "sideways" })), 400, "invalid_body"),
        (json!({ "models": "gpt-5.5" }), 400, "invalid_body"),
        (json!({}), 400, "no_decision"),
        (json!({ "models": vec![json!({ "model": "gpt-5.5" }); 101] }), 400, "too_many_decisions"),
        (json!({ "expectedRevision": 7, "targets": [good] }), 409, "policy_changed"),
    ];
    for (body, status, code) in cases {
        assert_eq!(fleet.refused("/manage-models", &body).await, (status, code.to_owned()), "{body}");
    }
    assert_eq!(fleet.read("/manage-models").await, before);
    assert!(fleet.events("routing.model_set").await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn decisions_of_one_request_stand_side_by_side_in_the_log_with_their_actor() {
    let fleet = Fleet::start().await;
    let body = json!({
        "expectedRevision": 0,
        "models": [{ "model": "gpt-5.5", "label": "G" }, { "model": "claude-opus-4-8", "deadlineSecs": 90 }],
        "targets": [{ "model": "gpt-5.5", "region": "canada", "targets": [{ "provider": "two", "weight": 3 }] }],
        "familyProviders": [{ "family": "claude", "source": "configured" }],
        "crossModel": [{ "region": "chicago", "mode": "gpt55_via_opus48" }],
    });
    let answer = fleet.set("/manage-models", &body).await;
    let positions: Vec<i64> = serde_json::from_value(answer["positions"].clone()).expect("positions");
    let stored: Vec<(i64, String)> = sqlx::query_as(
        "select position, metadata->>'actor' from events where aggregate_type = 'routing' order by position",
    )
    .fetch_all(&fleet.service.app.pool)
    .await
    .expect("events");
    assert_eq!(positions, stored.iter().map(|(position, _)| *position).collect::<Vec<_>>());
    assert_eq!(positions.len(), 5);
    assert!(stored.iter().all(|(_, actor)| actor == "operator:static-admin-1"), "{stored:?}");

    let state = fleet.read("/manage-models?limit=200").await;
    assert_eq!(state["revision"], 5);
    let model = |name: &str| {
        let models = state["models"].as_array().expect("models");
        models.iter().find(|model| model["model"] == name).expect(name).clone()
    };
    let plan = |model: &Value, region: Value, client: &str| {
        let regions = model["plans"].as_array().expect("plans").clone();
        let region = regions.into_iter().find(|plans| plans["region"] == region).expect("the region");
        let clients = region["clients"].as_array().expect("clients").clone();
        clients.into_iter().find(|plan| plan["client"] == client).expect("the client")
    };
    let gpt = model("gpt-5.5");
    assert_eq!(plan(&gpt, json!("canada"), "chat")["targets"][0]["provider"], "two");
    assert_eq!(plan(&gpt, Value::Null, "chat")["targets"][0]["provider"], "one");
    assert_eq!(plan(&gpt, json!("chicago"), "messages")["servedModel"], "claude-opus-4-8");
    let repeated = json!({ "models": [{ "model": "gpt-5.5", "label": "G" }] });
    assert_eq!(fleet.set("/manage-models", &repeated).await["positions"], json!([]));
    let mut history = Vec::new();
    let stream = "routing".parse().expect("a stream");
    let show = codexapi::history::Show::Text;
    codexapi::history::print(&fleet.service.app.pool, &stream, show, &mut history).await.expect("printed");
    let history = String::from_utf8(history).expect("text");
    assert_eq!(history.matches("operator:static-admin-1").count(), 5, "{history}");
}

#[tokio::test(flavor = "multi_thread")]
async fn models_are_shown_page_by_page_and_each_once() {
    let fleet = Fleet::start().await;
    let whole = fleet.read("/manage-models?limit=200").await;
    let (mut seen, mut after) = (Vec::new(), String::new());
    loop {
        let page = fleet.read(&format!("/manage-models?limit=1{after}")).await;
        seen.extend(page["models"].as_array().expect("models").clone());
        match page["nextAfter"].as_str() {
            Some(next) => after = format!("&after={next}"),
            None => break,
        }
    }
    assert_eq!(json!(seen), whole["models"]);
    assert!(seen.len() >= 3);
    let all = fleet.read("/models").await;
    let gpt = all["models"].as_array().expect("models").iter().find(|model| model["model"] == "gpt-5.5");
    let gpt = gpt.expect("gpt-5.5");
    assert_eq!(
        (&gpt["onSale"], &gpt["enabled"], &gpt["family"]),
        (&json!(true), &json!(true), &json!("gpt"))
    );
    assert_eq!(gpt["providers"].as_array().map(Vec::len), Some(2));
    assert!(gpt["card"]["cost"]["inputMicro"].as_i64() > Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn apply_local_says_how_far_this_node_is() {
    let fleet = Fleet::start().await;
    fleet.set("/manage-models", &only("two")).await;
    let applied = fleet.set("/manage-models/apply-local", &json!({})).await;
    assert_eq!((&applied["revision"], &applied["logRevision"]), (&json!(1), &json!(1)));
    assert_eq!((&applied["inForce"], &applied["node"]), (&json!(true), &json!("node-1")));
}

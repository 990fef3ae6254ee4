//! `previous_response_id`: the provider gets the whole conversation, and is told of no stored state.

use http::Method;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::{Api, refusal, text_of, with_model};
use crate::harness::wait_for;
use crate::money::{Deployment, MODEL};

/// What the simulator received last, as a digest; and how many requests it billed with this tag.
async fn received(deployment: &Deployment, tag: &str) -> (String, usize) {
    let bills = deployment.bills(tag).await;
    (text_of(bills.last().expect("a bill"), "request_sha256").to_owned(), bills.len())
}

fn digest(body: &str) -> String {
    hex::encode(Sha256::digest(body.as_bytes()))
}

/// An answer as it goes back to the provider: without what only means something where it is stored.
fn output(response: &Value) -> Vec<String> {
    let items = response["output"].as_array().expect("items").iter();
    items.filter(|item| item["type"] != "reasoning").map(strip).collect()
}

fn strip(item: &Value) -> String {
    let mut item = item.clone();
    let members = item.as_object_mut().expect("an object");
    members.remove("id");
    members.remove("status");
    item.to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_provider_receives_the_whole_conversation_and_nothing_of_the_chain() {
    let deployment = Deployment::start(&[]).await;
    let api = Api::new(&deployment).await;
    let told =
        |text: &str| format!(r#"{text} [[sim:{{"tag":"chain","reasoning_tokens":3,"output_tokens":20}}]]"#);
    let first = api.respond(json!({"input": told("one"), "instructions": "not inherited"})).await;
    let item = json!({"type": "message", "role": "user", "content": told("two")});
    let body = format!(
        r#"{{"input":[ {item} ],"metadata":{{"n" : "2"}},"model":"{MODEL}","previous_response_id":"{}"}}"#,
        text_of(&first, "id")
    );
    let (status, second) = post_text(&api, &body).await;
    assert_eq!(status, 200, "{second}");
    assert_eq!(second["previous_response_id"], first["id"]);
    let mut items = vec![one(&told("one"))];
    items.extend(output(&first));
    items.push(item.to_string());
    let metadata = r#""metadata":{"n" : "2"}"#;
    let expected = format!(r#"{{"store":false,"input":[{}],{metadata},"model":"{MODEL}"}}"#, items.join(","));
    assert_eq!(received(&deployment, "chain").await, (digest(&expected), 2));

    // A third, streamed: it goes on from the second, which had the first in it.
    let third =
        with_model(json!({"input": told("three"), "previous_response_id": second["id"], "stream": true}));
    let stream = api.send(Method::POST, "/v1/responses", Some(&third)).await.text().await.expect("read");
    assert!(stream.contains("response.completed"), "{stream}");
    items.extend(output(&second));
    items.push(one(&told("three")));
    let expected =
        format!(r#"{{"store":false,"input":[{}],"model":"{MODEL}","stream":true}}"#, items.join(","));
    assert_eq!(received(&deployment, "chain").await, (digest(&expected), 3));
    let created = stream.lines().find_map(|line| line.strip_prefix("data: ")).expect("an event");
    let created: Value = serde_json::from_str(created).expect("JSON");
    assert_eq!(created["response"]["previous_response_id"], second["id"]);

    let path = format!("/v1/responses/{}/input_items?order=asc", text_of(&created["response"], "id"));
    assert_eq!(api.get(&path).await.1["data"].as_array().expect("items").len(), items.len());
}

/// A text as the item it is taken for.
fn one(text: &str) -> String {
    format!(r#"{{"type":"message","role":"user","content":{}}}"#, Value::from(text))
}

async fn post_text(api: &Api<'_>, body: &str) -> (u16, Value) {
    let url = format!("{}/v1/responses", api.deployment.url);
    let request = api.deployment.client.post(url).bearer_auth(&api.token);
    let answer = request.header("content-type", "application/json").body(body.to_owned()).send().await;
    let answer = answer.expect("an answer");
    let status = answer.status().as_u16();
    (status, answer.json().await.expect("JSON"))
}

#[tokio::test(flavor = "multi_thread")]
async fn an_item_is_named_in_place_of_being_sent_by_its_owner_alone() {
    let deployment = Deployment::start(&[]).await;
    let api = Api::new(&deployment).await;
    let mut begun = with_model(json!({"input": "one", "background": true}));
    let (_, queued) = api.post("/v1/responses", &begun).await;
    let path = format!("/v1/responses/{}", text_of(&queued, "id"));
    let in_background = wait_for("a response that is finished", async || {
        let response = api.get(&path).await.1;
        (response["status"] == "completed").then_some(response)
    })
    .await;
    begun["background"] = false.into();
    let at_once = api.respond(begun).await;
    let references = [&in_background, &at_once]
        .map(|response| json!({"type": "item_reference", "id": response["output"][0]["id"]}));
    let told = "two [[sim:{\"tag\":\"named\"}]]";
    let user = json!({"role": "user", "content": told});
    let input = json!([references[0], user, references[1]]);
    let named = api.respond(json!({"input": input})).await;
    let items = [output(&in_background).remove(0), user.to_string(), output(&at_once).remove(0)].join(",");
    let expected = format!(r#"{{"store":false,"input":[{items}],"model":"{MODEL}"}}"#);
    assert_eq!(received(&deployment, "named").await, (digest(&expected), 1));
    // What was sent is what is kept and gone on from.
    let path = format!("/v1/responses/{}/input_items", text_of(&named, "id"));
    assert_eq!(api.get(&path).await.1["data"].as_array().expect("items").len(), 3);

    let other = Api::new(&deployment).await;
    let id = text_of(&references[1], "id");
    let answer = other.post("/v1/responses", &with_model(json!({"input": input}))).await;
    assert_eq!(refusal(&answer).0, 404);
    for (unknown, status) in [("msg_nobodys", 404), ("not an id", 404)] {
        let input = json!([{"type": "item_reference", "id": unknown}, user]);
        let answer = api.post("/v1/responses", &with_model(json!({"input": input}))).await;
        assert_eq!(refusal(&answer), (status, "item_not_found", &json!("input")));
        assert!(text_of(&answer.1["error"], "message").contains(unknown), "{}", answer.1);
    }
    let many: Vec<Value> =
        (0..101).map(|number| json!({"type": "item_reference", "id": format!("msg_{number}")})).collect();
    let answer = api.post("/v1/responses", &with_model(json!({"input": many}))).await;
    assert_eq!(refusal(&answer), (400, "too_many_references", &json!("input")));
    // With its response the item goes.
    let (status, _) =
        api.json(Method::DELETE, &format!("/v1/responses/{}", text_of(&at_once, "id")), None).await;
    assert_eq!(status, 200);
    let answer = api.post("/v1/responses", &with_model(json!({"input": [references[1]]}))).await;
    assert_eq!(refusal(&answer).0, 404, "{id}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tool_call_is_answered_over_a_chain() {
    let deployment = Deployment::start(&[]).await;
    let api = Api::new(&deployment).await;
    let tools =
        json!([{"type": "function", "name": "look", "parameters": {"type": "object", "properties": {}}}]);
    let first = api.respond(json!({"input": "[[tool:look {}]]", "tools": tools})).await;
    let call = first["output"].as_array().expect("items").iter().find(|item| item["type"] == "function_call");
    let call_id = text_of(call.expect("a call"), "call_id");
    let output = json!([{"type": "function_call_output", "call_id": call_id, "output": "seen"}]);
    let second =
        api.respond(json!({"input": output, "tools": tools, "previous_response_id": first["id"]})).await;
    assert_eq!(second["output"][0]["type"], "message");
}

#[tokio::test(flavor = "multi_thread")]
async fn sealed_reasoning_is_carried_and_bare_reasoning_is_not() {
    let deployment = Deployment::start(&[]).await;
    let api = Api::new(&deployment).await;
    let told = r#"one [[sim:{"tag":"sealed","reasoning_tokens":3,"output_tokens":20}]]"#;
    let include = json!(["reasoning.encrypted_content"]);
    let first = api.respond(json!({"input": told, "include": include})).await;
    let sealed = first["output"].as_array().expect("items").iter().find(|item| item["type"] == "reasoning");
    assert!(sealed.expect("reasoning")["encrypted_content"].is_string(), "{first}");
    api.respond(json!({"input": told, "previous_response_id": first["id"]})).await;
    let items = first["output"].as_array().expect("items").iter().map(strip).collect::<Vec<_>>().join(",");
    let expected =
        format!(r#"{{"store":false,"input":[{},{items},{}],"model":"{MODEL}"}}"#, one(told), one(told));
    assert_eq!(received(&deployment, "sealed").await.0, digest(&expected));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_gone_on_from_is_refused_and_costs_nothing() {
    let deployment = Deployment::start(&[("CODEXAPI_STORED_LIMIT_BYTES", "65536")]).await;
    let api = Api::new(&deployment).await;
    for unknown in ["resp_none", "", "a b", "resp_\u{0}"] {
        let body = with_model(json!({"input": "x", "previous_response_id": unknown}));
        let answer = api.post("/v1/responses", &body).await;
        let expected = (400, "previous_response_not_found", &json!("previous_response_id"));
        assert_eq!(refusal(&answer), expected, "{unknown:?}");
    }
    let long = api.respond(json!({"input": "x".repeat(40_000)})).await;
    let body = with_model(json!({"input": "x".repeat(40_000), "previous_response_id": long["id"]}));
    let answer = api.post("/v1/responses", &body).await;
    assert_eq!(refusal(&answer), (400, "conversation_too_large", &json!("input")));
    let unstored = api.respond(json!({"input": "x", "store": false})).await;
    let body = with_model(json!({"input": "x", "previous_response_id": unstored["id"]}));
    assert_eq!(refusal(&api.post("/v1/responses", &body).await).1, "previous_response_not_found");
}

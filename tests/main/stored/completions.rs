//! Stored chat completions: as their client got them, listed, tagged and deleted.

use http::Method;
use serde_json::{Value, json};

use super::{Api, refusal, text_of, with_model};
use crate::money::{ALIAS, Deployment, MODEL};

fn chat(n: usize, metadata: Value) -> Value {
    json!({"messages": [{"role": "user", "content": format!("question {n}")}], "store": true, "metadata": metadata})
}

#[tokio::test(flavor = "multi_thread")]
async fn a_completion_is_fetched_as_its_client_got_it_with_its_metadata() {
    let deployment = Deployment::start(&[]).await;
    let api = Api::new(&deployment).await;
    let mut completion = api.complete(chat(1, json!({"topic": "tests"}))).await;
    let (status, fetched) = api.get(&format!("/v1/chat/completions/{}", text_of(&completion, "id"))).await;
    completion["metadata"] = json!({"topic": "tests"});
    assert_eq!((status, fetched), (200, completion));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_streamed_completion_is_added_up() {
    let deployment = Deployment::start(&[]).await;
    let api = Api::new(&deployment).await;
    let told = r#"go on [[sim:{"text":"one two three four"}]]"#;
    let body = with_model(json!({
        "messages": [{"role": "user", "content": told}], "store": true, "stream": true,
        "stream_options": {"include_usage": true},
    }));
    let stream =
        api.send(Method::POST, "/v1/chat/completions", Some(&body)).await.text().await.expect("read");
    assert!(stream.contains("[DONE]"), "{stream}");
    let (_, list) = api.get("/v1/chat/completions").await;
    let completion = &list["data"][0];
    assert_eq!(completion["object"], "chat.completion");
    assert_eq!(completion["choices"][0]["message"]["content"], "one two three four");
    assert_eq!(completion["choices"][0]["finish_reason"], "stop");
    assert!(completion["usage"]["total_tokens"].as_u64().is_some_and(|tokens| tokens > 0), "{completion}");
    assert!(stream.contains(text_of(completion, "id")));
}

#[tokio::test(flavor = "multi_thread")]
async fn completions_are_listed_in_pages_by_model_and_by_metadata() {
    let deployment = Deployment::start(&[]).await;
    let api = Api::new(&deployment).await;
    let mut ids = vec![];
    for n in 0..5 {
        let parity = if n % 2 == 0 { "even" } else { "odd" };
        let mut body = chat(n, json!({"parity": parity, "of": "five"}));
        body["model"] = if n == 4 { ALIAS.into() } else { MODEL.into() };
        let (status, completion) = api.post("/v1/chat/completions", &body).await;
        assert_eq!(status, 200, "{completion}");
        ids.push(text_of(&completion, "id").to_owned());
    }
    let listed = async |query: &str| -> (Vec<usize>, bool) {
        let (status, page) = api.get(&format!("/v1/chat/completions?{query}")).await;
        assert_eq!(status, 200, "{page}");
        let place = |entry: &Value| ids.iter().position(|id| entry["id"] == id.as_str()).expect("known");
        let data = page["data"].as_array().expect("a list").iter().map(place).collect();
        (data, page["has_more"] == true)
    };
    assert_eq!(listed("").await, (vec![0, 1, 2, 3, 4], false));
    assert_eq!(listed("limit=2").await, (vec![0, 1], true));
    assert_eq!(listed(&format!("limit=2&after={}", ids[1])).await, (vec![2, 3], true));
    assert_eq!(listed(&format!("limit=2&after={}", ids[3])).await, (vec![4], false));
    assert_eq!(listed(&format!("limit=3&order=desc&after={}", ids[4])).await, (vec![3, 2, 1], true));
    assert_eq!(listed(&format!("model={ALIAS}")).await, (vec![4], false));
    assert_eq!(listed("metadata[parity]=odd").await, (vec![1, 3], false));
    assert_eq!(listed("metadata%5Bparity%5D=even&metadata[of]=five&limit=2").await, (vec![0, 2], true));
    assert_eq!(listed("metadata[parity]=none").await, (vec![], false));
    let answer = api.get("/v1/chat/completions?after=chatcmpl-none").await;
    assert_eq!(refusal(&answer), (400, "invalid_cursor", &json!("after")));
}

#[tokio::test(flavor = "multi_thread")]
async fn metadata_is_replaced_and_checked() {
    let deployment = Deployment::start(&[]).await;
    let api = Api::new(&deployment).await;
    let completion = api.complete(chat(1, json!({"a": "b"}))).await;
    let path = format!("/v1/chat/completions/{}", text_of(&completion, "id"));
    for (method, metadata) in [(Method::POST, json!({"c": "d"})), (Method::PATCH, json!({"e": "f"}))] {
        let (status, changed) = api.json(method, &path, Some(&json!({"metadata": metadata}))).await;
        assert_eq!((status, &changed["metadata"]), (200, &metadata));
        assert_eq!(api.get(&path).await.1, changed);
    }
    for bad in [json!({"metadata": {"a": 1}}), json!({}), json!({"metadata": {}, "model": "m"})] {
        let answer = api.post(&path, &bad).await;
        assert_eq!((answer.0, &answer.1["error"]["param"]), (400, &json!("metadata")), "{bad}");
    }
    let answer = api.post("/v1/chat/completions", &with_model(chat(1, json!({"a": 1})))).await;
    assert_eq!(refusal(&answer), (400, "invalid_metadata", &json!("metadata")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_completions_messages_are_listed_with_ids() {
    let deployment = Deployment::start(&[]).await;
    let api = Api::new(&deployment).await;
    let messages = json!([
        {"role": "system", "content": "be brief"},
        {"role": "user", "content": [{"type": "text", "text": "hello"}]},
        {"role": "assistant", "content": "hi"},
        {"role": "user", "content": "bye"},
    ]);
    let completion = api.complete(json!({"messages": messages, "store": true})).await;
    let path = format!("/v1/chat/completions/{}/messages", text_of(&completion, "id"));
    let (status, first) = api.get(&format!("{path}?limit=2")).await;
    assert_eq!((status, &first["has_more"]), (200, &json!(true)), "{first}");
    assert_eq!(first["data"][0]["content"], "be brief");
    assert_eq!(first["data"][1]["content_parts"][0]["text"], "hello");
    let (_, second) = api.get(&format!("{path}?limit=2&after={}", text_of(&first, "last_id"))).await;
    assert_eq!((&second["data"][1]["content"], &second["has_more"]), (&json!("bye"), &json!(false)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_completion_is_gone() {
    let deployment = Deployment::start(&[]).await;
    let api = Api::new(&deployment).await;
    let completion = api.complete(chat(1, json!({}))).await;
    let path = format!("/v1/chat/completions/{}", text_of(&completion, "id"));
    let (status, deleted) = api.json(Method::DELETE, &path, None).await;
    let expected = json!({"id": completion["id"], "object": "chat.completion.deleted", "deleted": true});
    assert_eq!((status, deleted), (200, expected));
    assert_eq!(api.get(&path).await.0, 404);
    assert_eq!(api.json(Method::DELETE, &path, None).await.0, 404);
}

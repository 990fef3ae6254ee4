//! A response is fetched as its client got it.

use http::Method;
use serde_json::{Value, json};

use super::{Api, refusal, text_of, with_model};
use crate::money::{Deployment, MODEL};

fn final_response(stream: &str) -> Value {
    let data = stream.lines().filter_map(|line| line.strip_prefix("data: "));
    let events = data.map(|data| serde_json::from_str::<Value>(data).expect("JSON"));
    let mut last = events.filter(|event| event["type"] == "response.completed");
    last.next().expect("completed")["response"].clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_response_is_fetched_as_its_client_got_it_streamed_or_not() {
    let deployment = Deployment::start(&[]).await;
    let api = Api::new(&deployment).await;
    let body = json!({"input": "hello", "metadata": {"a": "b"}});
    let whole = api.respond(body.clone()).await;
    let mut streamed = with_model(body);
    streamed["stream"] = true.into();
    let stream = api.send(Method::POST, "/v1/responses", Some(&streamed)).await.text().await.expect("read");
    for response in [whole, final_response(&stream)] {
        assert_eq!((&response["store"], &response["model"]), (&json!(true), &json!(MODEL)));
        assert_eq!(response["status"], "completed");
        let (status, fetched) = api.get(&format!("/v1/responses/{}", text_of(&response, "id"))).await;
        assert_eq!((status, fetched), (200, response));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stored_response_is_not_streamed_and_get_of_all_is_not_offered() {
    let deployment = Deployment::start(&[]).await;
    let api = Api::new(&deployment).await;
    let response = api.respond(json!({"input": "hello"})).await;
    let path = format!("/v1/responses/{}", text_of(&response, "id"));
    let answer = api.get(&format!("{path}?stream=true&starting_after=3")).await;
    assert_eq!(refusal(&answer), (400, "stream_not_offered", &json!("stream")));
    assert_eq!(api.get(&format!("{path}?stream=false&include[]=reasoning.encrypted_content")).await.0, 200);
    assert_eq!(api.get("/v1/responses").await.0, 405);
}

#[tokio::test(flavor = "multi_thread")]
async fn input_items_are_listed_in_pages_in_either_order() {
    let deployment = Deployment::start(&[]).await;
    let api = Api::new(&deployment).await;
    let input: Vec<Value> = (0..5).map(|n| json!({"role": "user", "content": format!("text {n}")})).collect();
    let response = api.respond(json!({"input": input})).await;
    let path = format!("/v1/responses/{}/input_items", text_of(&response, "id"));
    for (order, expected) in [("asc", [0, 1, 2, 3, 4]), ("desc", [4, 3, 2, 1, 0])] {
        let (mut seen, mut after) = (vec![], String::new());
        loop {
            let (status, page) = api.get(&format!("{path}?limit=2&order={order}{after}")).await;
            assert_eq!((status, &page["object"]), (200, &json!("list")), "{page}");
            let data = page["data"].as_array().expect("a list");
            assert_eq!(page["first_id"], data[0]["id"]);
            seen.extend(data.iter().map(|item| text_of(&item["content"][0], "text").to_owned()));
            if page["has_more"] == false {
                break;
            }
            after = format!("&after={}", text_of(&page, "last_id"));
        }
        assert_eq!(seen, expected.map(|n| format!("text {n}")), "{order}");
    }
    // Newest first, where nothing is said.
    let (_, newest) = api.get(&format!("{path}?limit=1")).await;
    assert_eq!(newest["data"][0]["content"][0]["text"], "text 4");
    let bad = [("limit=0", "limit"), ("limit=101", "limit"), ("order=x", "order"), ("after=msg_x", "after")];
    for (query, field) in bad {
        let answer = api.get(&format!("{path}?{query}")).await;
        assert_eq!((answer.0, &answer.1["error"]["param"]), (400, &json!(field)), "{query}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_compaction_is_a_summary_that_is_billed() {
    let deployment = Deployment::start(&[]).await;
    let api = Api::new(&deployment).await;
    let response = api.respond(json!({"input": "the first question"})).await;
    let path = format!("/v1/responses/{}/compact", text_of(&response, "id"));
    let before = balance(&api).await;
    let (status, compaction) = api.post(&path, &json!({})).await;
    assert_eq!(status, 200, "{compaction}");
    assert_eq!(compaction["object"], "response.compaction");
    assert_eq!(compaction["output"][0]["type"], "message");
    let tokens = |field: &str| compaction["usage"][field].as_i64().expect("a count");
    let cost = tokens("input_tokens") * crate::money::INPUT_RATE
        + tokens("output_tokens") * crate::money::OUTPUT_RATE;
    let after = balance(&api).await;
    assert_eq!(before - after, cost);
    // The output is good input.
    let input = [
        compaction["output"].as_array().expect("items").as_slice(),
        &[json!({"role": "user", "content": "on"})],
    ];
    api.respond(json!({"input": input.concat()})).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn input_tokens_are_counted_for_nothing_and_with_what_came_before() {
    let deployment = Deployment::start(&[]).await;
    let api = Api::new(&deployment).await;
    let first = api.respond(json!({"input": "a question of some length, to be counted"})).await;
    let count = async |body: Value| {
        let (status, counted) = api.post("/v1/responses/input_tokens", &body).await;
        assert_eq!((status, &counted["object"]), (200, &json!("response.input_tokens")), "{counted}");
        assert_eq!(api.post("/v1/responses/count_tokens", &body).await.1, counted);
        counted["input_tokens"].as_u64().expect("a count")
    };
    let alone = count(json!({"model": MODEL, "input": "hello"})).await;
    assert_eq!(count(json!({"input": "hello"})).await, alone);
    let on = json!({"model": MODEL, "input": "hello", "previous_response_id": first["id"]});
    assert!(count(on).await > alone + 10);
    let answer = api.post("/v1/responses/input_tokens", &json!({"input": "x", "stream": 7})).await;
    assert_eq!(refusal(&answer), (400, "invalid_request", &json!("stream")));
}

async fn balance(api: &Api<'_>) -> i64 {
    let (_, status) = api.get("/api/v1/wallet/status").await;
    status["balanceMicro"].as_i64().expect("an amount")
}

//! A request is answered as it, or the script, says.

use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::{CHAT, MESSAGES, RESPONSES, Reply, Simulator, small, streamed, told};

const ALL: [&str; 3] = [RESPONSES, CHAT, MESSAGES];

async fn stream(simulator: &Simulator, path: &str, directive: &Value) -> Reply {
    let mut body = streamed(small(path, &told(directive)));
    if path == CHAT {
        body["stream_options"] = json!({ "include_usage": true });
    }
    simulator.post(path, body).await
}

#[tokio::test]
async fn the_header_the_marker_and_the_script_all_steer() {
    let simulator = Simulator::start();
    let directive = json!({ "text": "as told", "tag": "t" });
    simulator.ask(CHAT, &told(&directive)).await;
    let request = simulator.request(CHAT).json(&small(CHAT, "hello"));
    let request = request.header("x-simulator", directive.to_string());
    request.send().await.unwrap().text().await.unwrap();
    simulator.script(json!({ "directive": directive })).await;
    simulator.ask(CHAT, "hello").await;
    simulator.ask(CHAT, "hello").await;
    let tags: Vec<Value> = simulator.bills().await.iter().map(|bill| bill["tag"].clone()).collect();
    assert_eq!(tags, [json!("t"), json!("t"), json!("t"), Value::Null]);
}

#[tokio::test]
async fn a_script_entry_waits_for_the_request_it_matches() {
    let simulator = Simulator::start();
    let entries = json!([
        { "match": "needle", "times": 2, "directive": { "text": "found" } },
        { "path": MESSAGES, "directive": { "text": "message" } },
    ]);
    simulator.script(entries).await;
    let text = async |path: &str, text: &str| {
        let body = simulator.ask(path, text).await.json();
        let pointer = if path == CHAT { "/choices/0/message/content" } else { "/content/0/text" };
        body.pointer(pointer).unwrap().as_str().unwrap().to_owned()
    };
    assert!(text(CHAT, "hay").await.starts_with("Hello"));
    assert_eq!(text(MESSAGES, "hay").await, "message");
    assert_eq!(text(CHAT, "a needle").await, "found");
    assert_eq!(text(CHAT, "a needle").await, "found");
    assert!(text(CHAT, "a needle").await.starts_with("Hello"));
    assert_eq!(simulator.get("/_script").await["entries"], json!([]));
}

#[tokio::test]
async fn an_invalid_directive_is_refused_wherever_it_stands() {
    let simulator = Simulator::start();
    let bad = [
        json!({ "output_token": 1 }),
        json!({ "input_tokens": 5, "cached_tokens": 6 }),
        json!({ "output_tokens": 5, "reasoning_tokens": 6 }),
        json!({ "error": { "status": 200 } }),
        json!({ "headers": { "no good": "x" } }),
    ];
    for directive in bad {
        let reply = simulator.ask(CHAT, &told(&directive)).await;
        assert_eq!(reply.status, 400, "{directive}");
        assert_eq!(reply.json()["error"]["code"], "simulator_directive");
        let posted = simulator.client().post(simulator.url("/_script"));
        let posted = posted.json(&json!({ "directive": directive })).send().await.unwrap();
        assert_eq!(posted.status(), 400, "{directive}");
    }
}

#[tokio::test]
async fn an_error_before_the_answer_has_the_vendors_shape_and_no_bill() {
    let simulator = Simulator::start();
    let directive = json!({ "error": { "status": 429, "message": "slow down", "retry_after": 3 } });
    for path in ALL {
        let reply = simulator.ask(path, &told(&directive)).await;
        assert_eq!(reply.status, 429);
        assert_eq!(reply.headers["retry-after"], "3");
        assert_eq!(reply.json()["error"]["message"], "slow down");
        let kind = if path == MESSAGES { "rate_limit_error" } else { "requests" };
        assert_eq!(reply.json()["error"]["type"], kind);
    }
    let overloaded = simulator.ask(MESSAGES, &told(&json!({ "error": { "status": 529 } }))).await;
    assert_eq!(overloaded.json()["error"]["type"], "overloaded_error");
    assert_eq!(simulator.bills().await.len(), 0);
}

#[tokio::test]
async fn an_error_inside_a_200_has_no_bill() {
    let simulator = Simulator::start();
    for path in ALL {
        let directive = json!({ "error_in_200": { "message": "oops", "code": "broken" } });
        let reply = simulator.ask(path, &told(&directive)).await;
        assert_eq!(reply.status, 200);
        assert_eq!(reply.json()["error"]["message"], "oops");
    }
    assert_eq!(simulator.bills().await.len(), 0);
}

#[tokio::test]
async fn a_mid_stream_error_takes_each_dialects_form_and_bills_what_was_made() {
    let simulator = Simulator::start();
    let failed = json!({ "delta_count": 10, "mid_stream_error": { "after": 4, "code": "server_error", "message": "m" } });
    let event =
        json!({ "delta_count": 10, "mid_stream_error": { "after": 4, "message": "m", "form": "error" } });
    let first = json!({ "delta_count": 10, "mid_stream_error": { "after": 0, "message": "m" } });
    let cases = [
        (RESPONSES, &failed, "response.failed", "/response/error/message", 4),
        (RESPONSES, &event, "error", "/message", 4),
        (RESPONSES, &first, "response.failed", "/response/error/message", 0),
        (CHAT, &failed, "", "/error/message", 4),
        (MESSAGES, &failed, "error", "/error/message", 4),
        (MESSAGES, &first, "error", "/error/message", 0),
    ];
    for (path, directive, name, pointer, made) in cases {
        let reply = stream(&simulator, path, directive).await;
        let events = reply.events();
        let (last_name, last) = events.last().unwrap();
        assert_eq!(last_name, name);
        assert_eq!(last.pointer(pointer), Some(&json!("m")), "{path} {last}");
        let bill = simulator.bills().await.pop().unwrap();
        assert_eq!(bill["status"], "errored");
        assert_eq!(bill["output_tokens"], made);
    }
}

#[tokio::test]
async fn the_usage_reported_can_be_false_while_the_bill_stays_true() {
    let simulator = Simulator::start();
    for path in ALL {
        let usage_of = async |report: Value| {
            let mut directive = json!({ "input_tokens": 70, "output_tokens": 8 });
            directive.as_object_mut().unwrap().extend(report.as_object().unwrap().clone());
            let whole = simulator.ask(path, &told(&directive)).await.json();
            let streamed = terminal_usage(path, &stream(&simulator, path, &directive).await);
            for bill in simulator.bills().await {
                assert_eq!((&bill["input_tokens"], &bill["output_tokens"]), (&json!(70), &json!(8)));
            }
            (whole.get("usage").cloned(), streamed)
        };
        let output = if path == CHAT { "completion_tokens" } else { "output_tokens" };
        assert_eq!(usage_of(json!({ "usage": "absent" })).await, (None, None));
        for (report, number) in [("zero", 0), ("garbage", -7), ("negative", -7), ("absurd", i64::MAX)] {
            let (whole, streamed) = usage_of(json!({ "usage": report })).await;
            assert_eq!(whole.unwrap()[output], number);
            assert_eq!(streamed.unwrap()[output], number);
        }
        let (whole, streamed) = usage_of(json!({ "usage_json": { "odd": [1] } })).await;
        assert_eq!((whole, streamed), (Some(json!({ "odd": [1] })), Some(json!({ "odd": [1] }))));
    }
}

/// The usage in the place where a dialect's stream ends with it.
fn terminal_usage(path: &str, reply: &Reply) -> Option<Value> {
    let events = reply.events();
    events.iter().rev().find_map(|(_, data)| match path {
        RESPONSES => data.pointer("/response/usage").filter(|usage| !usage.is_null()).cloned(),
        _ => data.get("usage").filter(|usage| !usage.is_null()).cloned(),
    })
}

#[tokio::test]
async fn deltas_come_in_the_number_and_with_the_text_told() {
    let simulator = Simulator::start();
    let directive = json!({ "delta_count": 25, "delta_text": "ab" });
    let reply = stream(&simulator, MESSAGES, &directive).await;
    let texts = reply.events().into_iter().filter(|(name, _)| name == "content_block_delta");
    let texts: Vec<Value> = texts.map(|(_, data)| data["delta"]["text"].clone()).collect();
    assert_eq!(texts, vec![json!("ab"); 25]);
    assert_eq!(simulator.bill().await["output_tokens"], 25);
}

#[tokio::test]
async fn told_output_beats_the_requests_limit() {
    let simulator = Simulator::start();
    let mut body = small(MESSAGES, &told(&json!({ "output_tokens": 500 })));
    body["max_tokens"] = json!(10);
    let answer = simulator.post(MESSAGES, body).await.json();
    assert_eq!(answer["usage"]["output_tokens"], 500);
    assert_eq!(answer["stop_reason"], "end_turn");
}

#[tokio::test]
async fn a_response_id_can_be_repeated_and_model_and_headers_replaced() {
    let simulator = Simulator::start();
    let directive = json!({
        "repeat_response_id": "resp_same", "response_model": "other", "headers": { "x-extra": "1" },
    });
    for _ in 0..2 {
        let reply = simulator.ask(RESPONSES, &told(&directive)).await;
        assert_eq!(reply.json()["id"], "resp_same");
        assert_eq!(reply.json()["model"], "other");
        assert_eq!(reply.headers["openai-model"], "other");
        assert_eq!(reply.headers["x-extra"], "1");
    }
    let bills = simulator.get("/_bills/resp_same").await["bills"].clone();
    assert_eq!(bills.as_array().unwrap().len(), 2);
    assert_eq!(bills[0]["model"], "m");
}

#[tokio::test]
async fn an_answer_that_stalls_sends_its_opening_and_nothing_more() {
    let simulator = Simulator::start();
    for (directive, deltas) in
        [(json!({ "stall_forever": true }), 0), (json!({ "stall_after": 2, "delta_count": 9 }), 2)]
    {
        let body = streamed(small(RESPONSES, &told(&directive)));
        let mut response = simulator.send(RESPONSES, body).await;
        let mut text = String::new();
        let quiet = Duration::from_millis(300);
        while let Ok(chunk) = tokio::time::timeout(quiet, response.chunk()).await {
            let chunk = chunk.unwrap().expect("the stream does not end");
            text += std::str::from_utf8(&chunk).unwrap();
        }
        assert!(text.contains("response.content_part.added"));
        assert_eq!(text.matches("event: response.output_text.delta").count(), deltas);
    }
}

#[tokio::test]
async fn delays_hold_back_headers_first_byte_and_deltas() {
    let simulator = Simulator::start();
    let short = Duration::from_millis(100);
    let waiting = async |directive: Value, is_stream: bool| {
        let body = small(CHAT, &told(&directive));
        let body = if is_stream { streamed(body) } else { body };
        tokio::time::timeout(short, async { simulator.send(CHAT, body).await.text().await.unwrap() })
            .await
            .is_err()
    };
    let long = 60_000;
    assert!(waiting(json!({ "header_delay_ms": long }), false).await);
    assert!(waiting(json!({ "header_delay_ms": long, "error": {} }), false).await);
    assert!(waiting(json!({ "first_byte_delay_ms": long }), false).await);
    assert!(waiting(json!({ "first_byte_delay_ms": long }), true).await);
    assert!(waiting(json!({ "chunk_delay_ms": long }), true).await);
    let headers = simulator.send(CHAT, streamed(small(CHAT, &told(&json!({ "first_byte_delay_ms": long })))));
    assert_eq!(headers.await.status(), 200, "headers come before the first byte");
}

//! The simulator's own count.

use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::{CHAT, MESSAGES, RESPONSES, Simulator, small, streamed, told};

#[tokio::test]
async fn a_bill_says_what_was_served_and_to_whom() {
    let simulator = Simulator::start();
    let text = told(&json!({
        "input_tokens": 100, "cached_tokens": 60, "cache_write_5m": 10, "cache_write_1h": 5,
        "output_tokens": 40, "reasoning_tokens": 30, "web_search_calls": 2, "tag": "case 1",
    }));
    for path in [RESPONSES, CHAT, MESSAGES] {
        for body in [small(path, &text), streamed(small(path, &text))] {
            let request = simulator.request(path).json(&body);
            let request = request.header("thread-id", "thread").header("authorization", "Bearer secret");
            request.send().await.unwrap().text().await.unwrap();
        }
    }
    let bills = simulator.bills().await;
    assert_eq!(bills.len(), 6);
    for (at, bill) in bills.iter().enumerate() {
        let expected = json!({
            "n": at + 1, "model": "m", "status": "completed", "stream": at % 2 == 1,
            "input_tokens": 100, "uncached_input_tokens": 25, "cached_tokens": 60,
            "cache_write_5m": 10, "cache_write_1h": 5,
            "output_tokens": 40, "reasoning_tokens": 30, "web_search_calls": 2, "tag": "case 1",
        });
        for (key, value) in expected.as_object().unwrap() {
            assert_eq!(bill[key], *value, "{key} of {bill}");
        }
        assert_eq!(bill["client_ref"]["thread_id"], "thread");
        assert_eq!(bill["request_sha256"].as_str().unwrap().len(), 64);
    }
    assert!(!json!(bills).to_string().contains("secret"));
}

#[tokio::test]
async fn the_bill_is_there_when_the_answer_is() {
    let simulator = Simulator::start();
    for path in [RESPONSES, CHAT, MESSAGES] {
        let id = simulator.ask(path, "hello").await.json()["id"].clone();
        let bills = simulator.get(&format!("/_bills/{}", id.as_str().unwrap())).await;
        assert_eq!(bills["bills"][0]["path"], path);
    }
}

#[tokio::test]
async fn a_client_that_leaves_is_billed_for_what_was_made_until_then() {
    let simulator = Simulator::start();
    for path in [RESPONSES, CHAT, MESSAGES] {
        simulator.client().delete(simulator.url("/_bills")).send().await.unwrap();
        let directive = json!({ "delta_count": 100_000, "chunk_delay_ms": 5, "input_tokens": 77 });
        let body = streamed(small(path, &told(&directive)));
        let mut response = simulator.send(path, body).await;
        let mut text = String::new();
        while text.matches("tok ").count() < 5 {
            let chunk = response.chunk().await.unwrap().expect("the stream goes on");
            text += std::str::from_utf8(&chunk).unwrap();
        }
        drop(response);
        let bill = simulator.bill_to_come().await;
        assert_eq!(bill["status"], "client_gone");
        assert_eq!(bill["input_tokens"], 77);
        let made = bill["output_tokens"].as_u64().unwrap();
        assert!((5..100_000).contains(&made), "{made} tokens");
    }
}

#[tokio::test]
async fn an_answer_that_is_not_streamed_is_billed_in_full_to_a_client_that_left() {
    let simulator = Simulator::start();
    let directive = json!({ "header_delay_ms": 60_000, "output_tokens": 50 });
    let text = told(&directive);
    let asking = simulator.ask(CHAT, &text);
    let answered = tokio::time::timeout(Duration::from_millis(200), asking).await;
    assert!(answered.is_err(), "the answer was to be delayed");
    let bill = simulator.bill_to_come().await;
    assert_eq!(bill["status"], "client_gone");
    assert_eq!(bill["output_tokens"], 50);
}

#[tokio::test]
async fn bills_are_paged_by_number_and_filtered_by_tag() {
    let simulator = Simulator::start();
    for at in 0..5 {
        let tag = if at % 2 == 0 { "even" } else { "odd" };
        simulator.ask(CHAT, &told(&json!({ "tag": tag, "output_tokens": 10 }))).await;
    }
    let numbers = async |query: &str| -> (Vec<u64>, Value) {
        let page = simulator.get(&format!("/_bills?{query}")).await;
        let bills = page["bills"].as_array().unwrap().iter();
        (bills.map(|bill| bill["n"].as_u64().unwrap()).collect(), page["next"].clone())
    };
    assert_eq!(numbers("limit=2").await, (vec![1, 2], json!(2)));
    assert_eq!(numbers("limit=2&after=4").await, (vec![5], Value::Null));
    assert_eq!(numbers("tag=odd").await, (vec![2, 4], Value::Null));
    let totals = simulator.get("/_bills").await["totals"].clone();
    assert_eq!((&totals["bills"], &totals["output_tokens"]), (&json!(5), &json!(50)));

    simulator.client().delete(simulator.url("/_bills")).send().await.unwrap();
    assert_eq!(simulator.get("/_bills").await["totals"]["bills"], 0);
    simulator.ask(CHAT, "hello").await;
    assert_eq!(numbers("").await.0, [1]);
}

#[tokio::test]
async fn the_bills_file_gets_every_bill_and_outlives_the_process() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("bills.jsonl");
    let arguments = ["--bills", file.to_str().unwrap()];
    let mut expected = Vec::new();
    for _ in 0..2 {
        let simulator = Simulator::start_with(&arguments);
        simulator.ask(CHAT, "hello").await;
        simulator.ask(MESSAGES, "hello").await;
        expected.extend(simulator.bills().await);
    }
    let text = std::fs::read_to_string(&file).unwrap();
    let written: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(written, expected);
}

#[tokio::test]
async fn response_ids_differ_between_processes() {
    let mut ids = Vec::new();
    for _ in 0..2 {
        let simulator = Simulator::start();
        ids.push(simulator.ask(CHAT, "hello").await.json()["id"].clone());
    }
    assert_ne!(ids[0], ids[1]);
}

#[tokio::test]
async fn sigterm_stops_it_and_bills_what_was_under_way() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("bills.jsonl");
    let simulator = Simulator::start_with(&["--bills", file.to_str().unwrap()]);
    let body = streamed(small(CHAT, &told(&json!({ "stall_forever": true }))));
    let response = simulator.send(CHAT, body).await;
    let killed = Command::new("kill").arg(simulator.pid().to_string()).status().unwrap();
    assert!(killed.success());
    let status = simulator.wait_for_end();
    assert!(status.success());
    drop(response);
    let text = std::fs::read_to_string(&file).unwrap();
    let bill: Value = serde_json::from_str(text.trim()).unwrap();
    assert_eq!(bill["status"], "client_gone");
}

#[tokio::test]
async fn requests_are_counted_whatever_became_of_them() {
    let simulator = Simulator::start();
    simulator.ask(CHAT, "hello").await;
    simulator.post(CHAT, json!({})).await;
    let counts = simulator.get("/_requests").await;
    assert_eq!(counts["total"], 2);
    assert_eq!(counts["by_path"][CHAT], 2);
    assert_eq!(counts["by_status"], json!({ "200": 1, "400": 1 }));
    assert_eq!(counts["refusals"][0]["message"], "Missing required parameter: 'model'.");
}

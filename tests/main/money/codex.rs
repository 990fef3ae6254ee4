//! What Codex is charged and told: new input only, and refusals in the form it shows.

use codexapi_aggregates::usage::{BillingPolicy, Protocol};
use serde_json::{Value, json};

use super::asking::Ask;
use super::{Deployment, INPUT_RATE, OUTPUT_RATE};

const BALANCE: i64 = 10_000_000;

/// A turn of a conversation: what was said so far, and what the provider reports of it.
fn turn(thread: &str, said: &[&str], input: i64, output: i64) -> Ask {
    let told = json!({"input_tokens": input, "output_tokens": output, "delta_count": 3});
    let mut ask = Ask::new(Protocol::Responses, true, 64, &told);
    let last = ask.body["input"].take();
    let mut items: Vec<Value> = said.iter().map(|text| json!({"role": "user", "content": text})).collect();
    items.push(json!({"role": "user", "content": last}));
    ask.body["input"] = items.into();
    codex(ask).header("thread-id", thread)
}

fn codex(ask: Ask) -> Ask {
    ask.header("originator", "codex_exec")
}

/// The same turn with the marker of the turn before still standing in it, as Codex resends it.
fn next_turn(before: &Ask, said: &str, input: i64, output: i64) -> Ask {
    let mut ask = before.clone();
    let told = json!({"input_tokens": input, "output_tokens": output, "delta_count": 3});
    let items = ask.body["input"].as_array_mut().expect("items");
    items.push(json!({"role": "user", "content": format!("{said} [[sim:{told}]]")}));
    ask
}

#[tokio::test(flavor = "multi_thread")]
async fn a_growing_conversation_is_charged_for_new_input_only() {
    let deployment = Deployment::start(&[]).await;
    let customer = deployment.customer(BALANCE).await;
    let first = turn("thread-1", &["a"], 1_000, 10);
    let second = next_turn(&first, "and then", 1_300, 20);
    let third = next_turn(&second, "and then", 1_350, 30);
    for ask in [&first, &second, &third] {
        let told = ask.run(&deployment, &customer).await;
        assert!(told.is_success(Protocol::Responses, true), "{}", told.text);
    }
    let ledger = deployment.ledger(customer.account_id).await;
    let seen: Vec<(i64, u64)> =
        ledger.settled.iter().map(|s| (s.charged_micro.0, s.usage.total_input())).collect();
    let cost = |input: i64, output: i64| input * INPUT_RATE + output * OUTPUT_RATE;
    assert_eq!(seen, [(cost(1_000, 10), 1_000), (cost(300, 20), 1_300), (cost(50, 30), 1_350)]);
    assert!(ledger.settled.iter().all(|settled| settled.policy == BillingPolicy::Delta));
    deployment.verify().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_compacted_conversation_and_another_thread_are_charged_in_full() {
    let deployment = Deployment::start(&[]).await;
    let customer = deployment.customer(BALANCE).await;
    let first = turn("thread-1", &["a long story"], 1_000, 10);
    let compacted = turn("thread-1", &["a summary of it"], 400, 10);
    let elsewhere = Ask { headers: vec![], ..next_turn(&first, "more", 1_100, 10) };
    let elsewhere = codex(elsewhere).header("thread-id", "thread-2");
    for ask in [&first, &compacted, &elsewhere] {
        assert_eq!(ask.run(&deployment, &customer).await.status, 200);
    }
    let ledger = deployment.ledger(customer.account_id).await;
    let mut charged: Vec<i64> = ledger.settled.iter().map(|settled| settled.charged_micro.0).collect();
    charged.sort_unstable();
    assert_eq!(charged, [400, 1_000, 1_100].map(|input| input * INPUT_RATE + 10 * OUTPUT_RATE));
    deployment.verify().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn parallel_turns_of_one_conversation_settle_once_each_and_share_its_mark() {
    // A conversation keeps its last eight marks: the one they all begin with, and one of each.
    const TURNS: i64 = 7;
    let deployment = Deployment::start(&[]).await;
    let customer = deployment.customer(BALANCE).await;
    let first = turn("thread-1", &["a"], 1_000, 10);
    assert_eq!(first.run(&deployment, &customer).await.status, 200);
    let turns: Vec<Ask> =
        (0..TURNS).map(|number| next_turn(&first, &format!("branch {number}"), 1_100, 10)).collect();
    let told = futures::future::join_all(turns.iter().map(|ask| ask.run(&deployment, &customer))).await;
    assert!(told.iter().all(|told| told.is_success(Protocol::Responses, true)), "{told:#?}");
    let ledger = deployment.ledger(customer.account_id).await;
    let charged: i64 = ledger.settled.iter().map(|settled| settled.charged_micro.0).sum();
    let cost = |input: i64| input * INPUT_RATE + 10 * OUTPUT_RATE;
    assert_eq!(charged, cost(1_000) + TURNS * cost(100));
    assert_eq!(ledger.charges() as i64, TURNS + 1);
    deployment.verify().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn codex_is_told_inside_a_stream_that_its_credit_is_gone() {
    let deployment = Deployment::start(&[]).await;
    let customer = deployment.customer(1).await;
    let streamed = turn("thread-1", &["a"], 1_000, 10).run(&deployment, &customer).await;
    assert_eq!(streamed.status, 200);
    assert!(streamed.text.starts_with("event: response.created"), "{}", streamed.text);
    assert!(streamed.text.contains("event: response.failed"), "{}", streamed.text);
    assert!(streamed.text.contains("\"code\":\"invalid_prompt\""), "{}", streamed.text);
    assert!(streamed.text.contains("Insufficient credit: your balance is $0.000001"), "{}", streamed.text);
    let mut whole = turn("thread-1", &["a"], 1_000, 10);
    whole.body["stream"] = false.into();
    let refused = whole.run(&deployment, &customer).await;
    assert_eq!(refused.status, 400, "{}", refused.text);
    assert!(refused.text.contains("Insufficient credit"), "{}", refused.text);
    assert_eq!(deployment.ledger(customer.account_id).await.holds(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn codex_is_told_to_try_again_while_its_balance_is_held() {
    let settings = [("CODEXAPI_LEAK_FLOOR_USD", "0"), ("CODEXAPI_WAIT_SECONDS", "0")];
    let deployment = Deployment::start(&settings).await;
    let customer = deployment.customer(2_000).await;
    let told = json!({"input_tokens": 10, "output_tokens": 5, "delta_count": 5, "stall_after": 2});
    let running = codex(Ask::new(Protocol::Responses, true, 200, &told));
    let answer = running.send(&deployment, &customer.token).await;
    let waiting = codex(Ask::new(Protocol::Responses, true, 200, &json!({"output_tokens": 5})));
    let refused = waiting.run(&deployment, &customer).await;
    assert_eq!(refused.status, 200);
    assert!(refused.text.contains("\"code\":\"rate_limit_exceeded\""), "{}", refused.text);
    assert!(refused.text.contains("try again in 10s"), "{}", refused.text);
    let other = Ask::new(Protocol::Chat, false, 200, &json!({"output_tokens": 5}));
    let answered = other.send(&deployment, &customer.token).await;
    assert_eq!(
        (answered.status().as_u16(), &answered.headers()["retry-after"]),
        (429, &"10".parse().expect("a value"))
    );
    drop(answer);
}

//! How long is waited: for a provider that is silent, for one that does not come to an end, for a client that reads
//! slowly, for credit.

use std::time::Duration;

use codexapi_aggregates::routing::ModelRule;
use codexapi_aggregates::usage::{Outcome, Protocol};
use futures::StreamExt;
use serde_json::json;

use super::failover::{COST, asked, hello};
use super::front::Manner;
use super::{BALANCE, World};
use crate::money::asking::Ask;
use crate::money::{INPUT_RATE, OUTPUT_RATE};

#[tokio::test(flavor = "multi_thread")]
async fn a_models_deadline_ends_an_answer_that_does_not_come_to_an_end() {
    let world = World::start(&[]).await;
    let soon = ModelRule { deadline_secs: Some(2), ..ModelRule::default() };
    let begun = Manner::Stalls { content_type: "application/json", body: "{".into() };
    let scene = world.scene(&[("one", &[begun]), ("two", &[])]).await;
    world.rule(&scene, soon.clone()).await;
    let stalled = world.scene(&[("one", &[])]).await;
    world.rule(&stalled, soon).await;
    let told = json!({"input_tokens": 10, "output_tokens": 5, "delta_count": 5, "stall_after": 2});
    let streamed = Ask::new(Protocol::Chat, true, 64, &told).of(&stalled.model);
    let whole = hello(&scene, Protocol::Chat, false);
    let ((told, ledger), (streamed, settled)) = tokio::join!(asked(&world, &whole), asked(&world, &streamed));
    assert_eq!(told.status, 502, "{}", told.text);
    ledger.assert_only_released();
    assert_eq!(world.front.served(&scene.upstream), ["one"]);
    assert!(!streamed.is_success(Protocol::Chat, true), "{}", streamed.text);
    assert_eq!(settled.only_settlement().charged_micro.0, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_does_not_begin_is_given_up_and_a_whole_answer_is_thought_about_for_longer() {
    let world = World::start(&[]).await;
    let late = Manner::Late(Duration::from_secs(3));
    let scene = world.scene(&[("one", &[Manner::Silent, late]), ("two", &[])]).await;
    world.rule(&scene, ModelRule { idle_secs: Some(1), ..ModelRule::default() }).await;
    // The rule names no deadline: only the silence can end the wait within the test's time.
    let (told, ledger) = asked(&world, &hello(&scene, Protocol::Chat, true)).await;
    assert_eq!(told.status, 503, "{}", told.text);
    ledger.assert_only_released();
    let (told, ledger) = asked(&world, &hello(&scene, Protocol::Chat, false)).await;
    assert_eq!(told.status, 200, "{}", told.text);
    assert_eq!(ledger.only_settlement().charged_micro.0, COST);
    assert_eq!(world.front.served(&scene.upstream), ["one", "one"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_leaves_before_its_stream_begins_is_not_waited_for_longer_than_a_drain() {
    let world = World::start(&[("CODEXAPI_DRAIN_SECONDS", "1")]).await;
    let scene = world.scene(&[("one", &[Manner::Silent])]).await;
    let customer = world.deployment.customer(BALANCE).await;
    let ask = hello(&scene, Protocol::Chat, true);
    let leaving = tokio::spawn({
        let (client, token, body) =
            (world.deployment.client.clone(), customer.token.clone(), ask.body.clone());
        let url = format!("{}{}", world.deployment.url, ask.path());
        async move { client.post(url).bearer_auth(token).json(&body).send().await }
    });
    world.front.sees(&scene.upstream, 1).await;
    leaving.abort();
    let ledger = world.deployment.ledger(customer.account_id).await;
    let settled = ledger.only_settlement();
    assert_eq!((settled.outcome, settled.usage.output), (Outcome::DrainLimit, 0));
    assert_eq!(settled.charged_micro.0, ask.estimated_input() * INPUT_RATE);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_reads_slowly_is_no_silence_of_its_provider() {
    let world = World::start(&[]).await;
    let scene = world.scene(&[("one", &[])]).await;
    world.rule(&scene, ModelRule { idle_secs: Some(1), ..ModelRule::default() }).await;
    // More than all buffers on the way hold, so that the gateway has to wait for its client.
    let text = "x".repeat(100_000);
    let told = json!({"input_tokens": 10, "output_tokens": 5, "delta_count": 200, "delta_text": text});
    let ask = Ask::new(Protocol::Chat, true, 64, &told).of(&scene.model);
    let customer = world.deployment.customer(BALANCE).await;
    let mut answer = ask.send(&world.deployment, &customer.token).await.bytes_stream();
    answer.next().await.expect("a piece").expect("read");
    tokio::time::sleep(Duration::from_secs(3)).await;
    let mut rest = String::new();
    while let Some(piece) = answer.next().await {
        rest += &String::from_utf8_lossy(&piece.expect("read"));
    }
    assert!(rest.ends_with("data: [DONE]\n\n"), "{}", &rest[rest.len().saturating_sub(300)..]);
    let charged = 10 * INPUT_RATE + 5 * OUTPUT_RATE;
    assert_eq!(world.deployment.ledger(customer.account_id).await.only_settlement().charged_micro.0, charged);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_whole_answer_is_told_and_charged_though_its_provider_does_not_hang_up() {
    let world = World::start(&[]).await;
    let recorded = world.scene(&[("chat", &[])]).await;
    let mut ask = hello(&recorded, Protocol::Chat, true);
    ask.body["stream_options"] = json!({"include_usage": true});
    let (told, _) = asked(&world, &ask).await;
    let body = told.text.strip_suffix("data: [DONE]\n\n").expect("an end").to_owned();
    for client in [Protocol::Chat, Protocol::Messages] {
        let stalls = Manner::Stalls { content_type: "text/event-stream", body: body.clone() };
        let scene = world.scene(&[("chat", &[stalls])]).await;
        world.rule(&scene, ModelRule { idle_secs: Some(1), ..ModelRule::default() }).await;
        let (told, ledger) = asked(&world, &hello(&scene, client, true)).await;
        assert!(told.is_success(client, true), "{}", told.text);
        assert_eq!(ledger.only_settlement().charged_micro.0, COST);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waited_for_credit_past_its_deadline_is_not_dispatched() {
    let settings = [("CODEXAPI_LEAK_FLOOR_USD", "0"), ("CODEXAPI_DRAIN_SECONDS", "2")];
    let world = World::start(&settings).await;
    let running = world.scene(&[("one", &[])]).await;
    let waiting = world.scene(&[("one", &[])]).await;
    world.rule(&waiting, ModelRule { deadline_secs: Some(1), ..ModelRule::default() }).await;
    let told = json!({"input_tokens": 10, "output_tokens": 5, "delta_count": 5, "stall_after": 2});
    let stalled = Ask::new(Protocol::Chat, true, 200, &told).of(&running.model);
    let customer = world.deployment.customer(2_000).await;
    // It is drained for two seconds, and its hold is free again only then.
    drop(stalled.send(&world.deployment, &customer.token).await);
    let mut ask = hello(&waiting, Protocol::Chat, false);
    ask.body["max_completion_tokens"] = 200.into();
    let refused = ask.run(&world.deployment, &customer).await;
    assert_eq!(
        (refused.status, &refused.json()["error"]["code"]),
        (503, &"service_busy".into()),
        "{}",
        refused.text
    );
    let ledger = world.deployment.ledger(customer.account_id).await;
    assert_eq!((ledger.holds(), ledger.charges(), ledger.releases()), (2, 1, 1));
    assert_eq!(world.front.seen(&waiting.upstream).len(), 0);
}
